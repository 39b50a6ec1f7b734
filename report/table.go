package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/stat"
)

// attacksAcross is how many curves stand side by side in 80 columns.
const attacksAcross = 3

// CurveTable writes r for a terminal: eps down, attacks across, and in each cell
// the count of correct predictions, the accuracy in % and its 95 % interval. It
// fits 80 columns; more than three attacks go below each other. What is known of
// every eps follows in a few lines.
func CurveTable(w io.Writer, r *pipeline.Result) error {
	var b strings.Builder
	lo, hi := stat.Wilson(r.Clean, r.N)
	fmt.Fprintf(&b, "%d images, %d correct as they are: %s (%s).\n", r.N, r.Clean, percent(stat.Ratio(r.Clean, r.N))+" %", span(lo, hi))
	fmt.Fprintf(&b, "Columns: correct of %d, accuracy in %% (95 %% interval). Bounds %s.\n", r.N, r.Bounds)
	fmt.Fprintf(&b, "Chance is %s %%, one of %d classes.\n", percent(stat.Ratio(1, r.Classes)), r.Classes)

	eps := aligned(r.Eps)
	for curves := range slices.Chunk(r.Curves, attacksAcross) {
		b.WriteByte('\n')
		columns := [][]string{append([]string{"eps"}, eps...)}
		for _, c := range curves {
			cells := [3][]string{}
			for _, k := range c.Correct {
				lo, hi := stat.Wilson(k, r.N)
				for i, s := range []string{strconv.Itoa(k), percent(stat.Ratio(k, r.N)), "(" + span(lo, hi) + ")"} {
					cells[i] = append(cells[i], s)
				}
			}
			count, share, interval := justify(cells[0], true), justify(cells[1], true), justify(cells[2], false)
			column := []string{c.Attack.Label()}
			for e := range r.Eps {
				column = append(column, count[e]+" "+share[e]+" "+interval[e])
			}
			columns = append(columns, column)
		}
		writeColumns(&b, columns)
	}
	writeCertified(&b, r)
	writeOutcomes(&b, r)
	if of := r.WorstOf(); of != nil {
		b.WriteString("\n" + wrapped(fmt.Sprintf("%s: %s.", attack.Worst().Label(), worstOf(of)), 80) + "\n")
	}
	for i := range r.Curves {
		writeStages(&b, r, &r.Curves[i])
	}
	for i := range r.Curves {
		writeReached(&b, r, &r.Curves[i])
	}
	for _, c := range r.Curves {
		switch {
		case c.Exact == nil:
		case c.Exact.MinimumNorm:
			writeMinimumNorm(&b, c.Attack, c.Exact)
		default:
			writeExact(&b, c.Attack, c.Exact)
		}
	}
	if z := len(r.ZeroGradient()); z > 0 {
		fmt.Fprintf(&b, "\nZero gradient: %s not attacked at some eps.\nBeing correct there says nothing of them.\n", images(z))
	}
	return flush(w, &b)
}

// worstOf says what the worst of all is made of: "of each image at each eps the worst of FGSM;
// PGD, k = 40". A label has commas of its own, so that names are parted by semicolons.
func worstOf(of []attack.Attack) string {
	var labels []string
	for _, a := range of {
		labels = append(labels, a.Label())
	}
	return "of each image at each eps the worst of " + strings.Join(labels, "; ")
}

// writeStages writes how many images are right after each stage of c, a curve of r, for a terminal;
// nothing if it is of no staged attack.
func writeStages(b *strings.Builder, r *pipeline.Result, c *pipeline.Curve) {
	if !c.Attack.Staged() || !c.Known() {
		return
	}
	fmt.Fprintf(b, "\n%s: of %d images those that are right after each stage, which sees what is\nright so far, at this eps and at smaller ones; and its passes up or down the\nnetwork for an image.\n\n", c.Attack.Label(), r.N)
	columns := [][]string{{"eps"}}
	for _, eps := range r.Eps {
		columns[0] = append(columns[0], short(eps))
	}
	for _, s := range c.Stages(r.Images, r.Classes) {
		column := []string{s.Attack.Label()}
		for _, n := range s.Right {
			column = append(column, strconv.Itoa(n))
		}
		columns = append(columns, column)
	}
	column := []string{"passes"}
	passes, _ := c.MeanPasses() // a staged attack has them
	for _, n := range passes {
		column = append(column, strconv.FormatFloat(n, 'f', 0, 64))
	}
	writeColumns(b, append(columns, column))
}

// reachedClasses is the most classes that writeReached has columns for in 80.
const reachedClasses = 12

// writeReached writes which classes the images reached at the largest eps under c, a curve of r,
// for a terminal; nothing if its attack is not toward all other classes.
func writeReached(b *strings.Builder, r *pipeline.Result, c *pipeline.Curve) {
	if c.Reached == nil {
		return
	}
	e := len(r.Eps) - 1
	some, all := 0, 0
	for i := range r.Images {
		if n := len(c.Reached[i*len(r.Eps)+e]); n > 0 {
			some, all = some+1, all+n
		}
	}
	fmt.Fprintf(b, "\n%s\n", wrapped(fmt.Sprintf("%s at eps %s: %d of %d images reach at least one other class, and %.1f of the %d in the mean.",
		c.Attack.Label(), short(r.Eps[e]), some, r.N, stat.Ratio(all, r.N), r.Classes-1), 80))
	if r.Classes > reachedClasses {
		b.WriteString("Which ones stands in classes.csv, in the column reached.\n")
		return
	}
	b.WriteString("Rows: the label. Columns: how many of its images reach each class.\n\n")
	columns := make([][]string, r.Classes+2)
	columns[0], columns[1] = []string{"label"}, []string{"images"}
	n := make([]int, r.Classes)
	for i := range r.Images {
		n[r.Images[i].Label]++
	}
	flows := reachedFlows(r, c, e)
	for class := range r.Classes {
		columns[class+2] = []string{strconv.Itoa(class)}
	}
	for label := range r.Classes {
		columns[0], columns[1] = append(columns[0], strconv.Itoa(label)), append(columns[1], strconv.Itoa(n[label]))
		for class := range r.Classes {
			cell := "0"
			switch {
			case class == label:
				cell = "-"
			case len(flows) > 0 && flows[0].from == label && flows[0].to == class:
				cell, flows = strconv.Itoa(flows[0].n), flows[1:]
			}
			columns[class+2] = append(columns[class+2], cell)
		}
	}
	writeColumns(b, columns)
}

// writeOutcomes writes what curve.csv has beside accuracy, at the largest eps, for a terminal.
func writeOutcomes(b *strings.Builder, r *pipeline.Result) {
	if r.Images == nil || len(r.Eps) == 0 {
		return
	}
	fmt.Fprintf(b, "\nAt eps %s: success of %d that are right as they are; right within eps, and with\n8-bit pixels; mean norms of the perturbation.\n\n", short(r.Eps[len(r.Eps)-1]), r.Clean)
	columns := [][]string{{""}, {"success %"}, {"within"}, {"8-bit"}, {"L∞"}, {"L2"}, {"L0"}}
	if inL1(r) {
		columns = append(columns, []string{"L1"})
	}
	for i, row := range Rows(r) {
		if (i+1)%len(r.Eps) != 0 || row.Outcomes == nil {
			continue
		}
		o := row.Outcomes
		success := "-"
		if s := o.Success; s != nil {
			success = percent(s.Ratio) + " (" + span(s.Low, s.High) + ")"
		}
		rounded := "-"
		if o.Rounded != nil {
			rounded = strconv.Itoa(*o.Rounded)
		}
		digits := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
		cells := []string{r.Curves[i/len(r.Eps)].Attack.Label(), success, strconv.Itoa(o.Within), rounded, digits(o.MeanNorm[0]), digits(o.MeanNorm[1]), digits(o.MeanNorm[2]), "-"}
		if o.MeanL1 != nil {
			cells[7] = digits(*o.MeanL1)
		}
		for k := range columns {
			columns[k] = append(columns[k], cells[k])
		}
	}
	writeColumns(b, columns)
}

// PredictionTable writes e for a terminal: every class with its logit and
// probability, before and after, the predicted and the true class marked.
func PredictionTable(w io.Writer, e *pipeline.Example) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Image %d, label %d. %s, eps = %s, bounds %s: %s.\n", e.Index, e.Label, e.Attack.Label(), short(e.Eps), e.Bounds, outcome(e))
	if e.ZeroGradient {
		b.WriteString("Its gradient was zero in every pixel: it was not attacked, and being right says nothing.\n")
	}
	b.WriteString("\n                original                perturbed\n")
	b.WriteString("class       logit  probability       logit  probability\n")
	for class := range e.Original.Logits {
		var marks []string
		if class == e.Label {
			marks = append(marks, "label")
		}
		if class == e.Original.Class {
			marks = append(marks, "original")
		}
		if class == e.Adversarial.Class {
			marks = append(marks, "perturbed")
		}
		line := fmt.Sprintf("%5d  %10.4f  %11s  %10.4f  %11s", class,
			e.Original.Logits[class], probability(e.Original.Probabilities[class]),
			e.Adversarial.Logits[class], probability(e.Adversarial.Probabilities[class]))
		if marks != nil {
			line += "  <- " + strings.Join(marks, ", ")
		}
		b.WriteString(line + "\n")
	}
	return flush(w, &b)
}

// outcome says in a few words what the attack did.
func outcome(e *pipeline.Example) string {
	from, to := e.Original.Class, e.Adversarial.Class
	switch {
	case from != e.Label && e.Fooled():
		return fmt.Sprintf("wrong before (class %d) and after (class %d)", from, to)
	case from != e.Label:
		return fmt.Sprintf("wrong before (class %d), right after", from)
	case e.Fooled():
		return fmt.Sprintf("fooled, class %d becomes %d", from, to)
	}
	return fmt.Sprintf("not fooled, class %d stays", from)
}

// images counts for a person: "1 image was", "3 images were".
func images(n int) string { return plural(n, "image was", "images were") }

// plural counts for a person.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// percent is a share of 1 in % with one digit, the precision of a count of 1000.
func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) }

func span(lo, hi float64) string { return percent(lo) + "-" + percent(hi) }

// short is v with four significant digits, for a person.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// probability keeps what a person asks of p: how small, or how close to 1.
func probability(p float64) string {
	switch {
	case p == 0 || p == 1:
		return strconv.FormatFloat(p, 'f', 6, 64)
	case p < 1e-4:
		return strconv.FormatFloat(p, 'e', 2, 64)
	case p >= 0.9999995:
		return ">0.999999" // 1.000000 would claim certainty
	}
	return strconv.FormatFloat(p, 'f', 6, 64)
}

// aligned writes increasing values below each other: with as few digits, at least four,
// as keep them apart, and with equally many decimals where that is not too wide.
func aligned(values []float64) []string {
	out := make([]string, len(values))
	for digits := 4; digits <= 17; digits++ {
		for i, v := range values {
			out[i] = strconv.FormatFloat(v, 'g', digits, 64)
		}
		if len(slices.Compact(slices.Clone(out))) == len(out) {
			break
		}
	}
	decimals := 0
	for _, s := range out {
		if strings.Contains(s, "e") {
			return out
		}
		if _, frac, ok := strings.Cut(s, "."); ok {
			decimals = max(decimals, len(frac))
		}
	}
	if decimals <= 6 {
		for i, v := range values {
			out[i] = strconv.FormatFloat(v, 'f', decimals, 64)
		}
	}
	return out
}

// justify pads cells with spaces to the widest of them.
func justify(cells []string, right bool) []string {
	width := 0
	for _, s := range cells {
		width = max(width, utf8.RuneCountInString(s))
	}
	out := make([]string, len(cells))
	for i, s := range cells {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(s))
		if right {
			out[i] = pad + s
		} else {
			out[i] = s + pad
		}
	}
	return out
}

// wrapped breaks s between words into lines of at most so many columns, a longer word aside.
func wrapped(s string, columns int) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Fields(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > columns:
			b.WriteByte('\n')
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

// writeColumns sets columns, equally long, side by side with two spaces between.
func writeColumns(b *strings.Builder, columns [][]string) {
	for i, c := range columns {
		columns[i] = justify(c, false)
	}
	for row := range columns[0] {
		var line []string
		for _, c := range columns {
			line = append(line, c[row])
		}
		b.WriteString(strings.TrimRight(strings.Join(line, "  "), " ") + "\n")
	}
}

func flush(w io.Writer, b *strings.Builder) error {
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("report: table: %w", err)
	}
	return nil
}
