package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/stat"
)

// A Compared is two runs side by side, for a person or a program to read.
type Compared struct {
	A, B Side
	*pipeline.Comparison
	Left []string // what the runs have that is not compared
}

// A Side is what there is to say of one of the two.
type Side struct {
	Label    string // by what it differs from the other
	Manifest *record.Manifest
}

// pairJSON is a pipeline.Pair as a result file has it. p and Holm's p have six digits: more are
// those of the machine.
type pairJSON struct {
	N          int     `json:"n"`
	CorrectA   int     `json:"correct_a"`
	CorrectB   int     `json:"correct_b"`
	Both       int     `json:"both"`
	OnlyA      int     `json:"only_a"`
	OnlyB      int     `json:"only_b"`
	Neither    int     `json:"neither"`
	P          float64 `json:"mcnemar_p"`
	Holm       float64 `json:"holm_p"` // of the clean images: the same as P
	Difference float64 `json:"difference"`
	Low        float64 `json:"ci_low"`
	High       float64 `json:"ci_high"`
	Flips      int     `json:"flips"`
}

func newPairJSON(p *pipeline.Pair) pairJSON {
	lo, hi := stat.PairedInterval(p.Both, p.OnlyA, p.OnlyB, p.Neither)
	return pairJSON{p.N(), p.CorrectA(), p.CorrectB(), p.Both, p.OnlyA, p.OnlyB, p.Neither, digits6(p.P), digits6(p.Holm),
		stat.Ratio(p.OnlyA-p.OnlyB, p.N()), lo, hi, len(p.Flips)}
}

// digits6 is v to six significant digits.
func digits6(v float64) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	return out
}

// finite6 is digits6, nil of what JSON cannot hold.
func finite6(v float64) *float64 {
	if v-v != 0 {
		return nil
	}
	v = digits6(v)
	return &v
}

type spreadJSON struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// A compareRow is one attack at one eps. What is a pointer is null where the models were not at
// hand.
type compareRow struct {
	Attack string  `json:"attack"`
	Steps  int     `json:"steps"`
	Norm   string  `json:"norm"`
	Eps    float64 `json:"eps"`
	pairJSON
	Own       *spreadJSON `json:"dlogit_own"`  // of each side's own perturbed images
	Same      *spreadJSON `json:"dlogit_same"` // of A's, on both sides
	SameFlips *int        `json:"same_flips"`  // of A's
	// Outside counts those that no rounding explains; null with two models.
	Outside *int `json:"outside"`
	// Flipped are the images whose class differs, each side under its own attack.
	Flipped []int `json:"flipped_images"`
}

// rows lists the pairs of c, attack by attack, eps increasing.
func (c *Compared) rows() []compareRow {
	var rows []compareRow
	for k, curve := range c.Comparison.A.Curves {
		for e, eps := range c.Comparison.A.Eps {
			i := k*len(c.Comparison.A.Eps) + e
			p := &c.Pairs[i]
			row := compareRow{Attack: curve.Attack.Name, Steps: curve.Attack.Steps, Norm: curve.Attack.Norm.String(), Eps: eps, pairJSON: newPairJSON(p), Flipped: append([]int{}, p.Flips...)}
			if m := c.Models; m != nil && m.Own[i] != nil {
				own, same := spreadJSON(*m.Own[i]), spreadJSON(*m.Same[i])
				row.Own, row.Same, row.SameFlips = &own, &same, &m.SameFlips[i]
				if m.Judged {
					outside := 0
					for _, f := range m.Flips {
						if f.Attack == k && f.Eps == eps && !f.Explained {
							outside++
						}
					}
					row.Outside = &outside
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// CSV writes a row for each attack and eps below one header line, each line ended by LF:
//
//	attack, steps, norm, eps
//	n                              images
//	correct_a, correct_b           that are right on a side
//	both, only_a, only_b, neither  the same images, crossed
//	mcnemar_p, holm_p              stat.McNemar, and stat.Holm over all rows
//	difference, ci_low, ci_high    of the accuracies, a less b, with stat.PairedInterval
//	flips                          images whose class differs
//	own_p50 … own_max              quantiles of |logit on A - logit on B| of each side's own
//	                               perturbed images; empty without models
//	same_p50 … same_max            the same of A's perturbed images on both sides
//	same_flips, outside            A's images whose class differs, and how many of them rounding
//	                               does not explain; empty for two models
func (c *Compared) CSV() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	// A bytes.Buffer takes every write, so the errors of w are nil.
	_ = w.Write([]string{"attack", "steps", "norm", "eps", "n", "correct_a", "correct_b", "both", "only_a", "only_b", "neither", "mcnemar_p", "holm_p",
		"difference", "ci_low", "ci_high", "flips", "own_p50", "own_p90", "own_p99", "own_max", "same_p50", "same_p90", "same_p99", "same_max", "same_flips", "outside"})
	for _, r := range c.rows() {
		line := []string{r.Attack, strconv.Itoa(r.Steps), r.Norm, float(r.Eps)}
		for _, k := range []int{r.N, r.CorrectA, r.CorrectB, r.Both, r.OnlyA, r.OnlyB, r.Neither} {
			line = append(line, strconv.Itoa(k))
		}
		for _, v := range []float64{r.P, r.Holm, r.Difference, r.Low, r.High} {
			line = append(line, float(v))
		}
		line = append(line, strconv.Itoa(r.Flips))
		for _, s := range []*spreadJSON{r.Own, r.Same} {
			if s == nil {
				line = append(line, "", "", "", "")
				continue
			}
			line = append(line, float(s.P50), float(s.P90), float(s.P99), float(s.Max))
		}
		_ = w.Write(append(line, optional(r.SameFlips, strconv.Itoa), optional(r.Outside, strconv.Itoa)))
	}
	w.Flush()
	return b.Bytes()
}

// JSON writes c as one indented object: both runs, the rows of CSV with the images that flip, and
// what the models say of the same pixels. Equal runs give equal bytes.
func (c *Compared) JSON() ([]byte, error) {
	type side struct {
		Label string `json:"label"`
		record.Meta
		Arithmetic string `json:"arithmetic"`
		Layers     string `json:"layers"`
	}
	newSide := func(s Side) side {
		out := side{s.Label, s.Manifest.Meta, s.Manifest.Arithmetic, s.Manifest.Layers}
		out.Device = ""
		return out
	}
	type flip struct {
		Attack    *string  `json:"attack"` // null: the image as it is
		Eps       float64  `json:"eps"`
		Image     int      `json:"image"`
		A         int32    `json:"class_a"`
		B         int32    `json:"class_b"`
		Short     *float64 `json:"short"` // null: not finite, as of a bound that overflows
		Bound     *float64 `json:"bound"`
		Explained bool     `json:"explained"`
	}
	type signs struct {
		Differ int `json:"differ"`
		Pixels int `json:"pixels"`
		Images int `json:"images"`
	}
	type models struct {
		Clean spreadJSON `json:"dlogit_clean"`
		Signs signs      `json:"gradient_signs"`
		// Judged is set for one model on both sides: flips at the same pixels are held against the
		// bound on rounding.
		Judged  bool   `json:"judged"`
		Outside *int   `json:"outside"`
		Flips   []flip `json:"flips"` // at the same pixels
	}
	type clean struct {
		pairJSON
		Flipped []int `json:"flipped_images"`
	}
	var m *models
	if c.Models != nil {
		m = &models{Clean: spreadJSON(c.Models.Clean), Signs: signs(c.Models.Signs), Judged: c.Models.Judged, Flips: []flip{}}
		if c.Models.Judged {
			outside := c.Models.Outside()
			m.Outside = &outside
		}
		for _, f := range c.Models.Flips {
			j := flip{nil, f.Eps, f.Image, f.A, f.B, finite6(f.Short), finite6(f.Bound), f.Explained}
			if f.Attack >= 0 {
				j.Attack = &c.Comparison.A.Curves[f.Attack].Attack.Name
			}
			m.Flips = append(m.Flips, j)
		}
	}
	attacks := make([]attackJSON, len(c.Comparison.A.Curves))
	for i, curve := range c.Comparison.A.Curves {
		attacks[i] = newAttackJSON(pipeline.Curve{Attack: curve.Attack}, c.A.Manifest.Precision)
	}
	data, err := record.Indented("report: comparison", struct {
		A       side         `json:"a"`
		B       side         `json:"b"`
		Attacks []attackJSON `json:"attacks"`
		Eps     []float64    `json:"eps"`
		Bounds  string       `json:"bounds"`
		Classes int          `json:"classes"`
		Left    []string     `json:"left_out"`
		Flipped []int        `json:"flipped_images"` // as they are or in any row
		Clean   clean        `json:"clean"`
		Holm    int          `json:"holm_rows"` // how many p holm_p corrects for
		Rows    []compareRow `json:"rows"`
		Models  *models      `json:"models"` // null if there were results alone
	}{
		newSide(c.A), newSide(c.B), attacks, c.Comparison.A.Eps, c.Comparison.A.Bounds.String(), c.Comparison.A.Classes, append([]string{}, c.Left...), append([]int{}, c.Flips()...),
		clean{newPairJSON(&c.Clean), append([]int{}, c.Clean.Flips...)}, len(c.Pairs), c.rows(), m,
	})
	return flatLists(data), err
}

// flatLists writes lists of whole numbers in data, indented JSON, on one line.
func flatLists(data []byte) []byte {
	lines := strings.Split(string(data), "\n")
	var out []string
	for i := 0; i < len(lines); i++ {
		if !strings.HasSuffix(lines[i], "_images\": [") {
			out = append(out, lines[i])
			continue
		}
		line := lines[i]
		for i++; !strings.HasPrefix(strings.TrimSpace(lines[i]), "]"); i++ {
			if !strings.HasSuffix(line, "[") {
				line += " "
			}
			line += strings.TrimSpace(lines[i])
		}
		out = append(out, line+strings.TrimSpace(lines[i]))
	}
	return []byte(strings.Join(out, "\n"))
}

// pValue is p for a person.
func pValue(p float64) string {
	switch {
	case p == 0:
		return "<1e-300"
	case p < 0.001:
		return strconv.FormatFloat(p, 'e', 0, 64)
	}
	return strconv.FormatFloat(p, 'f', 3, 64)
}

// points is a difference of accuracies in points of %, with its interval.
func points(p *pairJSON) string {
	signed := func(v float64) string { return fmt.Sprintf("%+.1f", 100*v) }
	return fmt.Sprintf("%s (%s, %s)", signed(p.Difference), signed(p.Low), signed(p.High))
}

// Table writes c for a terminal, in 80 columns: for each attack the counts, then what the models
// say, last what to make of it.
func (c *Compared) Table(w io.Writer) error {
	var b strings.Builder
	clean := newPairJSON(&c.Clean)
	for i, s := range []Side{c.A, c.B} {
		m := s.Manifest.Plain()
		fmt.Fprintf(&b, "%c        %s: %s, %s, sha256 %.12s; %s, %s\n", 'a'+i, s.Label, m.Model.Name, m.Layers+m.Model.Reading(), m.Model.SHA256, m.Backend, m.Computed())
	}
	d := c.A.Manifest.Plain().Data
	fmt.Fprintf(&b, "images   %s, %d from index %d, sha256 %.12s\n", d.Images.Name, d.N, d.Offset, d.SHA256)
	for _, l := range c.Left {
		fmt.Fprintf(&b, "left out %s\n", l)
	}
	fmt.Fprintf(&b, "\n%d images as they are: a %d right, b %d; only a %d, only b %d; p %s; %s.\n", clean.N, clean.CorrectA, clean.CorrectB, clean.OnlyA, clean.OnlyB, pValue(clean.P), plural(clean.Flips, "flip", "flips"))
	b.WriteString("a, b: how many are right; only: right there alone; a - b: points of % and 95 %\n")
	fmt.Fprintf(&b, "interval (Newcombe); p: McNemar, exact, and corrected for %s (Holm);\nflips: images whose class differs. Bounds %s.\n", plural(len(c.Pairs), "row", "rows"), c.Comparison.A.Bounds)
	rows := c.rows()
	E := len(c.Comparison.A.Eps)
	eps := aligned(c.Comparison.A.Eps)
	column := func(head string, block []compareRow, text func(r *compareRow) string) []string {
		cells := []string{head}
		for i := range block {
			cells = append(cells, text(&block[i]))
		}
		return justify(cells, true)
	}
	for k, curve := range c.Comparison.A.Curves {
		block := rows[k*E : (k+1)*E]
		fmt.Fprintf(&b, "\n%s\n", curve.Attack.Label())
		writeColumns(&b, [][]string{
			append([]string{"eps"}, eps...),
			column("a", block, func(r *compareRow) string { return strconv.Itoa(r.CorrectA) }),
			column("b", block, func(r *compareRow) string { return strconv.Itoa(r.CorrectB) }),
			column("only a", block, func(r *compareRow) string { return strconv.Itoa(r.OnlyA) }),
			column("only b", block, func(r *compareRow) string { return strconv.Itoa(r.OnlyB) }),
			column("a - b", block, func(r *compareRow) string { return points(&r.pairJSON) }),
			column("p", block, func(r *compareRow) string { return pValue(r.P) }),
			column("Holm", block, func(r *compareRow) string { return pValue(r.Holm) }),
			column("flips", block, func(r *compareRow) string { return strconv.Itoa(r.Flips) }),
		})
	}
	if c.Models != nil {
		c.writeModels(&b, rows, eps)
	}
	fmt.Fprintf(&b, "\n%d of %s, as they are or in some row.\n", len(c.Flips()), plural(clean.N, "image flips", "images flip"))
	return flush(w, &b)
}

// writeModels writes what the models themselves tell.
func (c *Compared) writeModels(b *strings.Builder, rows []compareRow, eps []string) {
	m := c.Models
	g := func(v float64) string { return strconv.FormatFloat(v, 'g', 2, 64) }
	b.WriteString("\n|logit of a - logit of b|: own: each side's own perturbed images;\nsame: those of a on both sides, with how many flip there.\n")
	fmt.Fprintf(b, "As they are: 50 %% up to %s, 90 %% %s, 99 %% %s, all %s.\n", g(m.Clean.P50), g(m.Clean.P90), g(m.Clean.P99), g(m.Clean.Max))
	fmt.Fprintf(b, "FGSM's direction differs in %d of %d pixels, in %s of %d.\n", m.Signs.Differ, m.Signs.Pixels, plural(m.Signs.Images, "image", "images"), c.Comparison.A.N)
	E := len(eps)
	for k, curve := range c.Comparison.A.Curves {
		block := rows[k*E : (k+1)*E]
		if block[0].Own == nil {
			continue
		}
		column := func(head string, text func(r *compareRow) string) []string {
			cells := []string{head}
			for i := range block {
				cells = append(cells, text(&block[i]))
			}
			return justify(cells, true)
		}
		fmt.Fprintf(b, "\n%s\n", curve.Attack.Label())
		columns := [][]string{
			append([]string{"eps"}, eps...),
			column("own 50 %", func(r *compareRow) string { return g(r.Own.P50) }),
			column("99 %", func(r *compareRow) string { return g(r.Own.P99) }),
			column("all", func(r *compareRow) string { return g(r.Own.Max) }),
			column("same 50 %", func(r *compareRow) string { return g(r.Same.P50) }),
			column("99 %", func(r *compareRow) string { return g(r.Same.P99) }),
			column("all", func(r *compareRow) string { return g(r.Same.Max) }),
			column("flips", func(r *compareRow) string { return strconv.Itoa(*r.SameFlips) }),
		}
		if m.Judged {
			columns = append(columns, column("outside", func(r *compareRow) string { return strconv.Itoa(*r.Outside) }))
		}
		writeColumns(b, columns)
	}
	if !m.Judged {
		return
	}
	b.WriteString("\nFlips at the same pixels, held against a bound on the rounding of both sides:\n")
	switch out := m.Outside(); {
	case len(m.Flips) == 0:
		b.WriteString("there are none.\n")
	case out == 0:
		fmt.Fprintf(b, "all %d lie within it.\n", len(m.Flips))
	default:
		fmt.Fprintf(b, "%d of %d lie OUTSIDE it: no rounding explains them.\n", out, len(m.Flips))
		const most = 10
		shown := 0
		for _, f := range m.Flips {
			if f.Explained {
				continue
			}
			if shown++; shown > most {
				fmt.Fprintf(b, "  and %d more; compare.json has all\n", out-most)
				break
			}
			at := "as it is"
			if f.Attack >= 0 {
				at = fmt.Sprintf("%s, eps %s", c.Comparison.A.Curves[f.Attack].Attack.Label(), short(f.Eps))
			}
			fmt.Fprintf(b, "  image %d, %s: class %d and %d; short by %s, bound %s\n", f.Image, at, f.A, f.B, g(f.Short), g(f.Bound))
		}
	}
	b.WriteString("Flips after each side's own attack are of other pixels where signs differ on the\nway: rounding at one image can't judge those.\n")
}
