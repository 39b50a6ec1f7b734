package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"advsweep/internal/plain"
	"advsweep/internal/words"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/stat"
)

//go:embed html.tmpl
var htmlTemplate string

//go:embed html.css
var htmlStyle string

//go:embed html.js
var htmlScript string

var pageTemplate = template.Must(template.New("report").Parse(htmlTemplate))

const (
	// Columns of eps that a page shows at most; curve.csv has all.
	maxEpsShown = 201
	// Classes that have a chart of their own, a row of the confusion and a bar at most.
	maxClasses = 20
	maxBars    = 10
)

// A Page is a report on a finished sweep as one HTML file, which needs no other file and no
// network. Equal pages give equal bytes.
type Page struct {
	Manifest *record.Manifest
	Result   *pipeline.Result
	// Run is the run's run.json, nil if it is not there.
	Run []byte
	// Confusion is the place in Result.Eps at which the confusion is shown; negative: where the
	// strongest attack leaves nearest to half of the images right.
	Confusion int
	// Ranking is that of Rank, nil if it has none.
	Ranking *Ranking
	// Examples are the images of Ranking.Least and then of Ranking.Most as Craft made them at their
	// eps; nil if they could not be made, for the reason NoExamples.
	Examples   []*pipeline.Example
	NoExamples string

	// What several parts of the page ask is set while it is made.
	rows [][]Row  // of each curve, [curves][E]
	id   string   // SHA-256 of the manifest, whose names are made plain behind that
	hard *Ranking // that of Rank without images; nil if there is none
}

// What the template of a page takes.
type (
	fact     struct{ Name, Value string }
	curveRow struct {
		Swatch                                           template.HTML
		Label, Last, Mean, Median, Never, Linf, L2, Name string
	}
	attackRow struct {
		Name  string
		Facts []fact
	}
	figureContent struct {
		Title    string
		SVG      template.HTML
		Captions []string
	}
	heatCell struct {
		N     int
		Share template.CSS // of its row
		High  bool
		Right bool
		Title string
	}
	heatRow struct {
		Class string
		N     int
		Cells []heatCell
	}
	heatMap struct {
		Title string
		Heads []string
		Rows  []heatRow
	}
	flowRow   struct{ From, To, N, Of string }
	imageCard struct {
		Title, Outcome, Scale            string
		Clean, Perturbation, Perturbed   template.URL
		CleanNote, MoveNote, PerturbNote string
		Bars                             template.HTML
	}
	legendItem struct {
		Swatch template.HTML
		Label  string
	}
	headContent struct {
		Title, CSP string // CSP is the content security policy
		Style      template.CSS
		Script     template.JS
	}
	leadContent struct {
		Model, Layers string
		Data, Text    string
		Tiles         []fact
		Warnings      []string
	}
	chartsContent struct {
		Legend  []legendItem
		Within  bool // some line is dotted, and the legend says why
		Figures []figureContent
		Curves  []curveRow
	}
	classesContent struct {
		Note     string
		Figures  []figureContent
		HeatNote string
		Flows    []flowRow // of many classes, instead of Heats
		Heats    []heatMap
	}
	imagesContent struct {
		Note        string // on the order
		NoExamples  string // why there are no cards
		Least, Most []imageCard
		Zero        []fact
	}
	// A numbersContent is a table with a note.
	numbersContent struct {
		Note  string
		Heads []string
		Rows  [][]string
	}
	madeContent struct {
		Facts, RunFacts []fact
		Eps             string
	}
	// A pageContent is what html.tmpl makes a page of, section by section.
	pageContent struct {
		Head    headContent
		Lead    leadContent
		Charts  chartsContent
		Bracket *numbersContent // nil without certificates
		Classes classesContent
		Images  imagesContent
		Attacks []attackRow
		Numbers numbersContent
		Made    madeContent
	}
)

// HTML makes the page.
func (p Page) HTML() ([]byte, error) {
	v, err := p.content()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("report: page: %w", err)
	}
	return b.Bytes(), nil
}

func (p Page) content() (*pageContent, error) {
	data, err := p.Manifest.JSON()
	if err != nil {
		return nil, err
	}
	p.id = fmt.Sprintf("%x", sha256.Sum256(data))
	p.Manifest = p.Manifest.Plain()
	m, r := p.Manifest, p.Result
	if len(r.Eps) == 0 || len(r.Curves) == 0 {
		return nil, fmt.Errorf("report: page: %d eps and %d curves, want at least one of each", len(r.Eps), len(r.Curves))
	}
	for _, c := range r.Curves {
		if !c.Known() {
			return nil, fmt.Errorf("report: page: nothing is known of single images under %s", c.Attack.Name)
		}
	}
	if p.Confusion >= len(r.Eps) {
		return nil, fmt.Errorf("report: page: confusion at eps %d, want below %d", p.Confusion, len(r.Eps))
	}
	p.rows = make([][]Row, len(r.Curves))
	for i := range p.rows {
		p.rows[i] = curveRows(r, i)
	}
	if k, ok := Rank(r, 0); ok {
		p.hard = &k
	}
	columns := shown(len(r.Eps))
	v := &pageContent{
		Head: headContent{Title: "Robustness of " + m.Model.Name, CSP: policy(), Style: template.CSS(htmlStyle), Script: template.JS(htmlScript)},
		Lead: leadContent{Model: m.Model.Name, Layers: m.Layers + m.Model.Reading(), Data: m.Data.Images.Name, Warnings: Warnings(r)},
	}
	if mixture := m.Mixture(); mixture != "" {
		v.Lead.Warnings = append([]string{"This run was " + mixture}, v.Lead.Warnings...)
	}
	p.lead(v)
	for i, c := range r.Curves {
		v.Charts.Legend = append(v.Charts.Legend, legendItem{swatch(r, i), c.Attack.Label()})
		v.Charts.Curves = append(v.Charts.Curves, p.curveRow(i))
		v.Attacks = append(v.Attacks, p.attackRow(i))
		if n := len(c.ZeroImages); n > 0 {
			var names []string
			for _, i := range c.ZeroImages {
				names = append(names, strconv.Itoa(i))
			}
			v.Images.Zero = append(v.Images.Zero, fact{c.Attack.Label(), fmt.Sprintf("%d: %s", n, list(names, 200))})
		}
	}
	v.Charts.Figures, v.Charts.Within = p.figures(columns)
	p.classes(v, columns)
	p.confusion(v)
	if err := p.cards(v); err != nil {
		return nil, err
	}
	p.table(v, columns)
	v.Bracket = bracketTable(r, columns)
	return v, p.facts(v)
}

// policy is the content security policy of a page: whatever a name in a file may hold, nothing is
// loaded and no script but html.js runs.
func policy() string {
	script := sha256.Sum256([]byte(htmlScript))
	return "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(script[:]) +
		"'; base-uri 'none'; form-action 'none'"
}

// shown are the places among E eps that are shown.
func shown(E int) []int {
	var at []int
	for k := range min(E, maxEpsShown) {
		at = append(at, k*(E-1)/max(1, min(E, maxEpsShown)-1))
	}
	return at
}

func interval(k, n int) string {
	lo, hi := stat.Wilson(k, n)
	return percent(lo) + "–" + percent(hi)
}

// counted says a count for a person: "322 of 1000, 32.2 % (29.4–35.2)".
func counted(k, n int) string {
	return fmt.Sprintf("%d of %d, %s %% (%s)", k, n, percent(stat.Ratio(k, n)), interval(k, n))
}

func (p Page) lead(v *pageContent) {
	m, r := p.Manifest, p.Result
	bounds := "pixels are not clipped"
	if !r.Bounds.None() {
		bounds = fmt.Sprintf("pixels are clipped to [%s, %s]", short(r.Bounds.Lo), short(r.Bounds.Hi))
	}
	v.Lead.Text = fmt.Sprintf("%d images from index %d on, %d classes; %s; %s of eps from %s to %s.",
		r.N, m.Data.Offset, r.Classes, bounds, plural(len(r.Eps), "value", "values"), short(r.Eps[0]), short(r.Eps[len(r.Eps)-1]))
	if len(r.Eps) == 1 {
		v.Lead.Text = fmt.Sprintf("%d images from index %d on, %d classes; %s; eps %s.", r.N, m.Data.Offset, r.Classes, bounds, short(r.Eps[0]))
	}
	v.Lead.Text += fmt.Sprintf(" Computed on %s, %s.", m.Backend, m.Arithmetic)
	if len(m.Mixed) > 0 {
		v.Lead.Text += fmt.Sprintf(" %s by others, whose last bits may differ.", plural(len(m.Mixed), "part", "parts"))
	}
	v.Lead.Tiles = append(v.Lead.Tiles, fact{"Accuracy on the clean images", percent(stat.Ratio(r.Clean, r.N)) + " %\n" + fmt.Sprintf("%d of %d; 95 %%: %s", r.Clean, r.N, interval(r.Clean, r.N))})
	k := p.hard
	if k == nil {
		return
	}
	c := &r.Curves[k.Curve]
	e := halfway(r, c)
	within := p.rows[k.Curve][e].Outcomes.Within
	v.Lead.Tiles = append(v.Lead.Tiles,
		fact{"Within eps " + short(r.Eps[e]) + ", " + c.Attack.Label(), percent(stat.Ratio(within, r.N)) + " %\n" + fmt.Sprintf("%d of %d; 95 %%: %s", within, r.N, interval(within, r.N))})
	median := medianCritical(r, c)
	text := short(median)
	if math.IsInf(median, 1) {
		text = "> " + short(r.Eps[len(r.Eps)-1])
	}
	v.Lead.Tiles = append(v.Lead.Tiles,
		fact{"Median image first fails at eps", text + "\nunder " + c.Attack.Label()},
		fact{"Never fooled up to eps " + short(r.Eps[len(r.Eps)-1]), strconv.Itoa(k.Never) + "\n" + fmt.Sprintf("of %d that are right as they are", r.Clean)})
}

// never counts the images that are right as they are and at all eps.
func never(r *pipeline.Result, c *pipeline.Curve) (n int) {
	for i, im := range r.Images {
		if im.Class != im.Label {
			continue
		}
		if c.Exact != nil {
			if _, fails := c.Exact.Walks[i].Critical(c.Exact.Max); !fails {
				n++
			}
		} else if c.FirstFailing(r.Images, i) < 0 {
			n++
		}
	}
	return n
}

func (p Page) curveRow(i int) curveRow {
	r, c := p.Result, &p.Result.Curves[i]
	E := len(r.Eps)
	row := p.rows[i][E-1]
	median := medianCritical(r, c)
	text := short(median)
	if math.IsInf(median, 1) {
		text = "> " + short(r.Eps[E-1])
	}
	return curveRow{
		Swatch: swatch(r, i), Label: c.Attack.Label(), Name: c.Attack.Name,
		Last: percent(row.Right.Ratio) + " %", Mean: percent(meanAccuracy(r, c)) + " %", Median: text,
		Never: fmt.Sprintf("%d/%d", never(r, c), r.Clean), Linf: short(row.Outcomes.MeanNorm[0]), L2: short(row.Outcomes.MeanNorm[1]),
	}
}

func (p Page) attackRow(i int) attackRow {
	c := p.Result.Curves[i]
	a := c.Attack
	j := newAttackJSON(c, p.Manifest.Precision)
	row := attackRow{Name: a.Label()}
	add := func(name, value string) { row.Facts = append(row.Facts, fact{name, value}) }
	add("name", a.Name)
	if a.Composite() {
		add("what", worstOf(p.Result.WorstOf()))
		return row
	}
	add("norm", j.Norm)
	add("steps", strconv.Itoa(a.Steps))
	if a.Control() {
		add("what", a.Direction.String()+": does not look at the model")
	} else {
		if j.StepSize != "" {
			add("step size", j.StepSize)
		}
		if j.Loss != "" {
			add("loss", a.Loss.Title())
		}
		add("random start", map[bool]string{true: "yes", false: "no"}[a.Start])
	}
	if stages := a.Stages(p.Result.Classes); stages != nil {
		var names []string
		for _, s := range stages {
			names = append(names, s.Label())
		}
		add("stages", strings.Join(names, "; "))
	}
	if a.Restartable() {
		add("restarts", strconv.Itoa(a.Starts()))
	}
	if a.Momentum {
		add("momentum", float(a.Decay)+map[bool]string{true: ", Nesterov", false: ""}[a.Nesterov])
	}
	if j.Draws != 0 {
		add("noise of each gradient", fmt.Sprintf("%d draws, standard deviation %v", j.Draws, j.Sigma))
	}
	if j.Target != "" {
		add("target", j.Target)
	}
	if j.Seed != nil {
		add("seed", strconv.FormatUint(*j.Seed, 10))
	}
	switch {
	case c.Exact == nil:
	case c.Exact.MinimumNorm:
		add("minimum norm", fmt.Sprintf("every eps up to %s, by the distance of each image", short(c.Exact.Max)))
	default:
		checked, bad := c.Exact.Ends()
		add("exact", fmt.Sprintf("every eps up to %s; of %d ends %d disagree with forward passes", short(c.Exact.Max), checked, bad))
	}
	return row
}

// epsTitle names the x axis.
func epsTitle(r *pipeline.Result) string {
	n, ok := normOf(r)
	if !ok {
		return "eps, each attack's in its own norm"
	}
	return "eps, " + n.Axis()
}

// wide is the empty panel of the large charts of r, accuracy against eps.
func wide(r *pipeline.Result, columns []int) panel {
	E := len(r.Eps)
	lo, hi := epsRange(r.Eps)
	for _, c := range r.Curves {
		if c.Exact != nil {
			lo, hi = 0, max(c.Exact.Max, r.Eps[E-1])
		}
	}
	base := panel{w: 520, h: 360, left: 60, right: 18, top: 14, bottom: 54, x: linear(lo, hi), y: shares(0.2), xTitle: epsTitle(r),
		lines: []float64{stat.Ratio(1, r.Classes)}, lineText: fmt.Sprintf("chance, 1/%d", r.Classes)}
	for _, e := range columns {
		base.xs, base.heads = append(base.xs, r.Eps[e]), append(base.heads, "eps "+float(r.Eps[e]))
	}
	return base
}

// figures are the large charts.
func (p Page) figures(columns []int) (figures []figureContent, within bool) {
	r := p.Result
	base := wide(r, columns)
	at, rounding, rates := base, base, base
	at.label, rounding.label = "accuracy against eps", "accuracy against eps once pixels are rounded to 8 bits"

	asked := false
	undone, undoneBy, undoneEps := 0, "", 0.0
	for i := range r.Curves {
		c := &r.Curves[i]
		s := series{class: style(r, i), label: c.Attack.Label(), shape: i, tips: []string{}}
		w := series{class: s.class, second: true}
		q, thin := s, series{class: s.class, faint: true}
		differs := false
		rows := p.rows[i]
		for _, e := range columns {
			eps, k, inside := r.Eps[e], c.Correct[e], rows[e].Outcomes.Within
			l, h := stat.Wilson(k, r.N)
			here := xy{eps, stat.Ratio(k, r.N)}
			s.line = append(s.line, here)
			s.band = append(s.band, [3]float64{eps, l, h})
			w.line = append(w.line, xy{eps, stat.Ratio(inside, r.N)})
			text := counted(k, r.N)
			if inside != k {
				text += fmt.Sprintf("; within %d", inside)
				differs = true
			}
			s.tips = append(s.tips, text)
			s.marks = append(s.marks, point{here, s.label + ", eps " + float(eps) + ": " + text})
			if rounded := rows[e].Outcomes.Rounded; rounded != nil {
				asked = true
				n := *rounded
				there := xy{eps, stat.Ratio(n, r.N)}
				text := fmt.Sprintf("%s; unrounded %d", counted(n, r.N), k)
				q.line = append(q.line, there)
				q.tips = append(q.tips, text)
				q.marks = append(q.marks, point{there, s.label + ", eps " + float(eps) + ": " + text})
				if !c.Attack.Control() && n-k > undone {
					undone, undoneBy, undoneEps = n-k, s.label, eps
				}
			}
		}
		thin.line = s.line
		if x := c.Exact; x != nil {
			s.line, s.band = nil, nil
			jumps := thinned(x)
			for n, j := range jumps {
				add := func(k int) {
					l, h := stat.Wilson(k, r.N)
					s.line = append(s.line, xy{j.Eps, stat.Ratio(k, r.N)})
					s.band = append(s.band, [3]float64{j.Eps, l, h})
				}
				if n > 0 && jumps[n-1].Correct != j.Correct {
					add(jumps[n-1].Correct)
				}
				add(j.Correct)
			}
		}
		at.series = append(at.series, s)
		if differs {
			within = true
			at.series = append(at.series, w)
		}
		rounding.series = append(rounding.series, thin, q)
	}
	if s, ok := certifiedSeries(r, columns); ok {
		at.series = append(at.series, s)
	}
	f := figureContent{Title: "Accuracy against eps", Captions: []string{fmt.Sprintf("Of all %d images, those that are still given their label. Bands: 95 %% (Wilson).", r.N)}}
	if within {
		f.Captions = append(f.Captions, "Dotted: right at every eps up to there, the accuracy within eps.")
	} else {
		f.Captions = append(f.Captions, "The accuracy within eps, right at every eps up to there, is the same for every attack.")
	}
	exact, nearest := everyEps(r.Curves)
	if exact != nil {
		f.Captions = append(f.Captions, strings.Join(exact, " and ")+" is exact: a step at every eps at which an image changes.")
	}
	if nearest != nil {
		f.Captions = append(f.Captions, words.And(nearest)+": a step at the distance of each image from the nearest misread one that was found.")
	}
	if r.Certified != nil {
		f.Captions = append(f.Captions, fmt.Sprintf("Black, with a band up to the attacks: certified by %s. What lies in the band is not known.", r.Certified.Method))
	}
	f.SVG = at.svg()
	figures = append(figures, f)

	if asked {
		f := figureContent{Title: "Once saved as 8-bit pictures", SVG: rounding.svg(), Captions: []string{"Accuracy after pixels are rounded to one of 256 levels inside the ball; faint: before."}}
		if undone > 0 {
			f.Captions = append(f.Captions, fmt.Sprintf("Rounding undoes at most %d of %d attacks: %s at eps %s.", undone, r.N, undoneBy, short(undoneEps)))
		} else {
			f.Captions = append(f.Captions, "Rounding undoes none of the attacks on balance.")
		}
		figures = append(figures, f)
	}
	if f, ok := p.rates(rates, columns); ok {
		figures = append(figures, f)
	}
	return figures, within
}

// thinned is the curve of x as the eye can tell it at the width of a panel, and its end.
func thinned(x *pipeline.Exact) []pipeline.Jump {
	jumps := thin(x.Curve(), x.Max/1000)
	return append(slices.Clone(jumps), pipeline.Jump{Eps: x.Max, Correct: jumps[len(jumps)-1].Correct})
}

// rates is the success rate on logarithmic axes.
func (p Page) rates(base panel, columns []int) (figureContent, bool) {
	r := p.Result
	columns = slices.DeleteFunc(slices.Clone(columns), func(e int) bool { return r.Eps[e] == 0 })
	if len(columns) < 2 || r.Clean == 0 {
		return figureContent{}, false
	}
	floor := 1.0
	for i := range r.Curves {
		for _, row := range p.rows[i] {
			if o := row.Outcomes; o.Fooled > 0 && row.Eps > 0 {
				floor = min(floor, o.Success.Ratio)
			}
		}
	}
	if floor == 1 {
		return figureContent{}, false
	}
	floor = math.Pow(10, math.Floor(math.Log10(floor)))
	base.label, base.lines, base.lineText = "attack success rate against eps, both logarithmic", nil, ""
	base.xs, base.heads = nil, nil
	for _, e := range columns {
		base.xs, base.heads = append(base.xs, r.Eps[e]), append(base.heads, "eps "+float(r.Eps[e]))
	}
	base.x = logarithmic(r.Eps[columns[0]], r.Eps[columns[len(columns)-1]], short)
	base.y = logarithmic(floor, 1, func(v float64) string { return short(100*v) + " %" })
	hidden := false
	for i, c := range r.Curves {
		s := series{class: style(r, i), label: c.Attack.Label(), shape: i, tips: []string{}}
		rows := p.rows[i]
		for _, e := range columns {
			k := rows[e].Outcomes.Fooled
			text := counted(k, r.Clean)
			s.tips = append(s.tips, text)
			if k == 0 {
				hidden = true
				continue
			}
			here := xy{r.Eps[e], rows[e].Outcomes.Success.Ratio}
			s.line = append(s.line, here)
			s.marks = append(s.marks, point{here, s.label + ", eps " + float(r.Eps[e]) + ": " + text})
		}
		base.series = append(base.series, s)
	}
	f := figureContent{Title: "Success rate, log-log", SVG: base.svg(), Captions: []string{fmt.Sprintf("Of the %d images that are right as they are, those that are wrong at eps.", r.Clean)}}
	if hidden {
		f.Captions = append(f.Captions, "A rate of 0 has no place on this axis.")
	}
	return f, true
}

// className names class k: "3", or "3 Dress".
func (p Page) className(k int) string {
	if names := p.Manifest.ClassNames; k < len(names) {
		return strconv.Itoa(k) + " " + names[k]
	}
	return strconv.Itoa(k)
}

// strongest is the curve that speaks for all attacks: the worst of all if it was asked, else that
// of Rank.
func (p Page) strongest() int {
	for i, c := range p.Result.Curves {
		if c.Attack.Composite() {
			return i
		}
	}
	if p.hard != nil {
		return p.hard.Curve
	}
	return 0
}

// classes are the charts of single classes: of more than maxClasses those in which the strongest
// attack leaves the fewest right.
func (p Page) classes(v *pageContent, columns []int) {
	r := p.Result
	O := r.Classes
	n := make([]int, O)
	for _, im := range r.Images {
		n[im.Label]++
	}
	right := make([][][]int, len(r.Curves)) // by curve, class, column
	for i := range r.Curves {
		c := &r.Curves[i]
		right[i] = make([][]int, O)
		for k := range O {
			right[i][k] = make([]int, len(columns))
		}
		for j, im := range r.Images {
			for at, e := range columns {
				if c.Class(j, e) == im.Label {
					right[i][im.Label][at]++
				}
			}
		}
	}
	var shown []int
	for k := range O {
		if n[k] > 0 {
			shown = append(shown, k)
		}
	}
	top := p.strongest()
	share := func(k int) float64 {
		sum := 0
		for _, v := range right[top][k] {
			sum += v
		}
		return float64(sum) / float64(n[k])
	}
	if len(shown) > maxClasses {
		v.Classes.Note = fmt.Sprintf("The %d of %d classes of which %s leaves the fewest right; classes.csv has all.", maxClasses, len(shown), r.Curves[top].Attack.Label())
		sort.SliceStable(shown, func(a, b int) bool { return share(shown[a]) < share(shown[b]) })
		shown = shown[:maxClasses]
	}
	lo, hi := epsRange(r.Eps)
	for _, k := range shown {
		f := panel{w: 250, h: 170, left: 58, right: 18, top: 8, bottom: 28, x: linear(lo, hi), y: shares(0.5), label: "accuracy against eps of class " + p.className(k)}
		f.x.ticks = slices.DeleteFunc(f.x.ticks, func(t axisTick) bool { return t.text == "" })
		for len(f.x.ticks) > 4 { // fewer fit
			var kept []axisTick
			for i := 0; i < len(f.x.ticks); i += 2 {
				kept = append(kept, f.x.ticks[i])
			}
			f.x.ticks = kept
		}
		for _, e := range columns {
			f.xs, f.heads = append(f.xs, r.Eps[e]), append(f.heads, "eps "+float(r.Eps[e]))
		}
		for i, c := range r.Curves {
			s := series{class: style(r, i), label: c.Attack.Label()}
			for at, e := range columns {
				s.line = append(s.line, xy{r.Eps[e], stat.Ratio(right[i][k][at], n[k])})
				s.tips = append(s.tips, counted(right[i][k][at], n[k]))
			}
			if len(s.line) == 1 {
				s.marks = []point{{s.line[0], s.tips[0]}}
			}
			f.series = append(f.series, s)
		}
		v.Classes.Figures = append(v.Classes.Figures, figureContent{Title: p.className(k), SVG: f.svg(), Captions: []string{"n = " + strconv.Itoa(n[k])}})
	}
}

// confusion are the heat maps or, of many classes, the largest flows.
func (p Page) confusion(v *pageContent) {
	r := p.Result
	c := &r.Curves[p.strongest()]
	e := p.Confusion
	if e < 0 {
		e = halfway(r, c)
	}
	title := fmt.Sprintf("%s, eps %s", c.Attack.Label(), short(r.Eps[e]))
	if r.Classes > maxClasses {
		var flows []flow
		of := make([]int, r.Classes)
		for _, f := range confusions(r, c, e, e+1)[0] {
			if of[f.from] += f.n; f.from != f.to {
				flows = append(flows, f)
			}
		}
		slices.SortStableFunc(flows, func(a, b flow) int { return b.n - a.n })
		v.Classes.HeatNote = fmt.Sprintf("The largest of %d flows under %s; classes.csv has all.", len(flows), title)
		for _, f := range flows[:min(len(flows), maxClasses)] {
			v.Classes.Flows = append(v.Classes.Flows, flowRow{p.className(f.from), p.className(f.to), strconv.Itoa(f.n), strconv.Itoa(of[f.from])})
		}
		return
	}
	before := make([][]int, r.Classes)
	for k := range before {
		before[k] = make([]int, r.Classes)
	}
	for _, im := range r.Images {
		before[im.Label][im.Class]++
	}
	v.Classes.HeatNote = "Rows: the label. Columns: what the model says. Colour: the share of the row."
	v.Classes.Heats = append(v.Classes.Heats, p.heat("Clean images", before), p.heat(title, Confusion(r, c, e)))
}

func (p Page) heat(title string, flow [][]int) heatMap {
	h := heatMap{Title: title}
	for from, row := range flow {
		h.Heads = append(h.Heads, strconv.Itoa(from))
		n := 0
		for _, k := range row {
			n += k
		}
		line := heatRow{Class: p.className(from), N: n}
		for to, k := range row {
			share := stat.Ratio(k, n)
			line.Cells = append(line.Cells, heatCell{
				N: k, Share: template.CSS("--share:" + strconv.FormatFloat(100*share, 'f', 0, 64) + "%"), High: share > 0.85, Right: from == to,
				Title: fmt.Sprintf("label %s, taken for %s: %d of %d", p.className(from), p.className(to), k, n),
			})
		}
		h.Rows = append(h.Rows, line)
	}
	return h
}

// cards are the images at both ends of the ranking.
func (p Page) cards(v *pageContent) error {
	r, k := p.Result, p.Ranking
	v.Images.NoExamples = p.NoExamples
	if k == nil {
		v.Images.NoExamples = "There is no order of images: no attack looks at the model, or it is wrong of all of them as they are."
		return nil
	}
	c := &r.Curves[k.Curve]
	margin := "the margin there"
	if c.Rays != nil {
		margin = "the least margin"
	}
	v.Images.Note = fmt.Sprintf("By the least eps at which %s fools the model or, where that is equal, by %s. Wrong as they are, and left out: %d. Never fooled up to eps %s: %d.",
		c.Attack.Label(), margin, k.Wrong, short(r.Eps[len(r.Eps)-1]), k.Never)
	all := append(slices.Clone(k.Least), k.Most...)
	if p.Examples == nil {
		return nil
	}
	if len(p.Examples) != len(all) {
		return fmt.Errorf("report: page: %d examples, want %d", len(p.Examples), len(all))
	}
	for n, one := range all {
		c, err := p.card(one, p.Examples[n])
		if err != nil {
			return err
		}
		if n < len(k.Least) {
			v.Images.Least = append(v.Images.Least, c)
		} else {
			v.Images.Most = append(v.Images.Most, c)
		}
	}
	return nil
}

func (p Page) card(one Ranked, e *pipeline.Example) (c imageCard, err error) {
	r := p.Result
	c.Title = fmt.Sprintf("Image %d, label %s", e.Index, p.className(e.Label))
	shown := "shown at eps " + short(e.Eps)
	if math.IsInf(one.Critical, 1) {
		c.Outcome = fmt.Sprintf("Never fooled up to eps %s; %s.", short(r.Eps[len(r.Eps)-1]), shown)
	} else if one.Critical == e.Eps {
		c.Outcome = fmt.Sprintf("Fails from eps %s, shown, as %s.", short(one.Critical), p.className(e.Adversarial.Class))
	} else {
		c.Outcome = fmt.Sprintf("Fails from eps %s; %s: %s.", short(one.Critical), shown, p.className(e.Adversarial.Class))
	}
	if was := r.Curves[p.Ranking.Curve].Class(one.Image, one.At); int(was) != e.Adversarial.Class {
		c.Outcome += fmt.Sprintf(" The run said %s: it was computed elsewhere, and rounded otherwise.", p.className(int(was)))
	}
	d, err := newDifference(e)
	if err != nil {
		return c, err
	}
	reach := max(e.Eps, -d.perturbed.lo, d.perturbed.hi-1, -d.clean.lo, d.clean.hi-1)
	scale := max(d.linf, math.SmallestNonzeroFloat64)
	shape := e.Clean.Shape()
	show := func(p pixels, paint func(float64) color.RGBA) template.URL { return dataURL(small(p, paint)) }
	if len(shape) == 3 && shape[0] == 3 {
		c.Clean = dataURL(coloured(d.clean.v, shape[1], shape[2], func(v float64) float64 { return v }))
		c.Perturbed = dataURL(coloured(d.perturbed.v, shape[1], shape[2], func(v float64) float64 { return v }))
		c.Perturbation = dataURL(coloured(d.delta.v, shape[1], shape[2], func(v float64) float64 { return 0.5 + v/scale/2 }))
		c.Scale = fmt.Sprintf("of each channel ±%s, grey is 0", short(d.linf))
	} else {
		c.Clean = show(d.clean, func(v float64) color.RGBA { return grey(v, reach) })
		c.Perturbed = show(d.perturbed, func(v float64) color.RGBA { return grey(v, reach) })
		c.Perturbation = show(d.delta, func(v float64) color.RGBA { return diverging(v, scale) })
		c.Scale = fmt.Sprintf("blue −%s, white 0, red +%s", short(d.linf), short(d.linf))
	}
	c.CleanNote, c.PerturbNote = p.className(e.Original.Class), p.className(e.Adversarial.Class)
	c.MoveNote = fmt.Sprintf("L∞ %s, L2 %s", short(d.linf), short(d.l2))
	if below, above := d.perturbed.outside(); below+above > 0 {
		c.Scale += fmt.Sprintf("; %d of %d pixels are out of [0, 1]", below+above, len(d.perturbed.v))
	}
	c.Bars = p.bars(e)
	return c, nil
}

// bars draws both probability vectors, of many classes the largest.
func (p Page) bars(e *pipeline.Example) template.HTML {
	before, after := e.Original.Probabilities, e.Adversarial.Probabilities
	var shown []int
	for k := range before {
		shown = append(shown, k)
	}
	if len(shown) > maxBars {
		sort.SliceStable(shown, func(a, b int) bool {
			return max(before[shown[a]], after[shown[a]]) > max(before[shown[b]], after[shown[b]])
		})
		shown = shown[:maxBars]
		if !slices.Contains(shown, e.Label) {
			shown[maxBars-1] = e.Label
		}
		slices.Sort(shown)
	}
	const row, wide = 19, 300.0
	names, left := p.Manifest.ClassNames != nil || len(before) > 1000, 24.0
	if names {
		left = 92
	}
	const right = 100
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bars" viewBox="0 0 %v %d" role="img" aria-label="probability of each class before and after">`, wide, row*len(shown)+2)
	for i, k := range shown {
		y := float64(row * i)
		name := []rune(strconv.Itoa(k))
		if names && k < len(p.Manifest.ClassNames) {
			name = []rune(p.Manifest.ClassNames[k])
		}
		if len(name) > 13 {
			name = append(name[:12], '…')
		}
		class := ""
		if k == e.Label {
			class = " label"
		}
		text := fmt.Sprintf("%s: %s before, %s after", p.className(k), probability(before[k]), probability(after[k]))
		fmt.Fprintf(&b, `<g><title>%s</title><text class="y%s" x="%s" y="%s">%s</text>`, template.HTMLEscapeString(text), class, length(left-6), length(y+14), template.HTMLEscapeString(string(name)))
		for n, v := range []float64{before[k], after[k]} {
			fmt.Fprintf(&b, `<rect class="%s" x="%s" y="%s" width="%s" height="6"/>`, []string{"before", "after"}[n], length(left), length(y+3+7*float64(n)), length((wide-left-right)*v))
		}
		both := brief(before[k])
		if now := brief(after[k]); now != both {
			both += " → " + now
		}
		fmt.Fprintf(&b, `<text class="v" x="%s" y="%s">%s</text></g>`, length(wide-right+8), length(y+14), template.HTMLEscapeString(both))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// brief is a probability with three decimals that never claims certainty.
func brief(v float64) string {
	switch {
	case v < 0.0005 && v > 0:
		return "<.001"
	case v > 0.9995 && v < 1:
		return ">.999"
	}
	return strings.TrimPrefix(strconv.FormatFloat(v, 'f', 3, 64), "0")
}

// small is p, a pixel of it a pixel.
func small(p pixels, paint func(float64) color.RGBA) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, p.w, p.h))
	for i, v := range p.v {
		m.SetRGBA(i%p.w, i/p.w, paint(v))
	}
	return m
}

// coloured is the image v [3, h, w] as level gives its channels, cut to [0, 1].
func coloured(v []float64, h, w int, level func(float64) float64) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range h * w {
		at := func(c int) uint8 { return uint8(math.Round(255 * min(1, max(0, level(v[c*h*w+i]))))) }
		m.SetRGBA(i%w, i/w, color.RGBA{at(0), at(1), at(2), 255})
	}
	return m
}

func dataURL(m image.Image) template.URL {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil { // to memory, of a size that is there already
		panic(err)
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes()))
}

func (p Page) table(v *pageContent, columns []int) {
	r := p.Result
	v.Numbers.Heads = []string{"attack", "eps", "right", "accuracy", "95 % interval", "within", "rounded", "fooled", "success rate", "95 % interval", "mean L∞", "mean L2", "mean L0", "zero gradient"}
	if inL1(r) {
		v.Numbers.Heads = append(v.Numbers.Heads, "mean L1")
	}
	for i := range r.Curves {
		rows := p.rows[i]
		for _, e := range columns {
			w, o := rows[e], rows[e].Outcomes
			rounded, rate, of := "–", "–", "–"
			if o.Rounded != nil {
				rounded = strconv.Itoa(*o.Rounded)
			}
			if o.Success != nil {
				rate, of = percent(o.Success.Ratio)+" %", percent(o.Success.Low)+"–"+percent(o.Success.High)
			}
			row := []string{w.Attack, float(w.Eps), strconv.Itoa(w.Right.Count), percent(w.Right.Ratio) + " %", percent(w.Right.Low) + "–" + percent(w.Right.High),
				strconv.Itoa(o.Within), rounded, strconv.Itoa(o.Fooled), rate, of,
				short(o.MeanNorm[0]), short(o.MeanNorm[1]), short(o.MeanNorm[2]), strconv.Itoa(w.ZeroGradient)}
			switch {
			case o.MeanL1 != nil:
				row = append(row, short(*o.MeanL1))
			case inL1(r):
				row = append(row, "–")
			}
			v.Numbers.Rows = append(v.Numbers.Rows, row)
		}
	}
	if len(columns) < len(r.Eps) {
		v.Numbers.Note = fmt.Sprintf("Of %d eps %d are shown here and in the charts; curve.csv has all.", len(r.Eps), len(columns))
	}
}

func (p Page) facts(v *pageContent) error {
	m := p.Manifest
	shape := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(m.Shape)), " × "), "[]")
	names := "none"
	if m.ClassNames != nil {
		names = list(m.ClassNames, 100)
	}
	yes := map[bool]string{true: "yes", false: "no"}
	v.Made.Facts = []fact{
		{"advsweep", m.Version},
		{"manifest, SHA-256", p.id},
		{"model", m.Model.Name + ", " + m.Layers + m.Model.Reading()},
		{"model, SHA-256", m.Model.SHA256},
		{"images", fmt.Sprintf("%s, %d from index %d on, each %s", m.Data.Images.Name, m.Data.N, m.Data.Offset, shape)},
		{"images file, SHA-256", m.Data.Images.SHA256},
		{"labels", m.Data.Labels.Name},
		{"labels file, SHA-256", m.Data.Labels.SHA256},
		{"these images and labels, SHA-256", m.Data.SHA256},
		{"class names", names},
		{"bounds", m.Bounds},
		{"seed", strconv.FormatUint(m.Seed, 10)},
		{"backend, precision, arithmetic", m.Backend + ", " + m.Precision + ", " + m.Arithmetic},
		{"exact curve asked", yes[m.Exact]},
		{"rounding asked", yes[m.Rounded]},
	}
	var eps []string
	for _, e := range m.Eps {
		eps = append(eps, float(e))
	}
	v.Made.Eps = list(eps, 1000)
	if p.Run == nil {
		v.Made.RunFacts = []fact{{"run.json", "not there: where and how fast it ran is not known"}}
		return nil
	}
	var run struct {
		Version, Build, Backend, Device string
		Threads                         int
		Seconds                         record.Seconds
		Notes                           []string
	}
	if err := json.Unmarshal(p.Run, &run); err != nil {
		return fmt.Errorf("report: run.json: %w", err)
	}
	v.Made.RunFacts = []fact{
		{"advsweep there, build", plain.Line(run.Version+", "+cmp.Or(run.Build, record.UnknownBuild), plain.Name)},
		{"device", plain.Line(run.Backend+" ("+run.Device+")", plain.Name)}, {"threads", strconv.Itoa(run.Threads)},
		{"seconds", fmt.Sprintf("load %s, compute %s, write %s", short(run.Seconds.Load), short(run.Seconds.Compute), short(run.Seconds.Write))},
	}
	for _, n := range run.Notes {
		v.Made.RunFacts = append(v.Made.RunFacts, fact{"note on the model", plain.Line(n, plain.Message)})
	}
	return nil
}

// Style is the style sheet of the pages, for others that look like them.
func Style() string { return htmlStyle }
