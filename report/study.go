package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"advsweep/attack"
	"advsweep/internal/plain"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/stat"
)

//go:embed study.tmpl
var studyTemplate string

//go:embed study.css
var studyStyle string

var studyPage = template.Must(template.Must(pageTemplate.Clone()).New("study").Parse(studyTemplate))

const (
	// Models that have a colour of their own: more the eye cannot tell apart.
	maxColours = 8
	// Models of which every pair is shown; of more, the best against each other.
	maxPaired = 10
	// Runs in the summary before the rest is folded away.
	maxSummary = 30
	// Marks along a line at most: more hide it.
	maxMarks = 25
)

// A Study is many sweeps in one report.
//
// What is of the same images, classes, eps and bounds stands together and is compared; runs that
// differ in their seed alone are one model there.
type Study struct {
	Name string
	Runs []StudyRun
	// Warnings stand first: what a reader must know before believing the study, such as runs whose
	// parts different arithmetic computed.
	Warnings []string
}

// A StudyRun is one sweep of a Study. Result has outcomes.
type StudyRun struct {
	Name string // that no other run has
	// Model is what the study calls the model; empty: as in the manifest, most often a file's name.
	Model    string
	Data     string // the same of the images
	Manifest *record.Manifest
	Result   *pipeline.Result
}

func (r *StudyRun) model() string { return cmp.Or(r.Model, r.Manifest.Model.Name) }

func (r *StudyRun) data() string { return cmp.Or(r.Data, r.Manifest.Data.Images.Name) }

// CSV writes a row for each run, attack and eps below one header line: the run's name, model, data,
// seed and precision, then the columns of CurveCSV. Equal studies give equal bytes. A run without a
// manifest or result, of which HTML returns an error, has no row.
func (s Study) CSV() []byte {
	lines := [][]string{append([]string{"run", "model", "data", "seed", "precision"}, curveHead()...)}
	for _, r := range s.Runs {
		m := r.Manifest
		if m == nil || r.Result == nil {
			continue
		}
		for _, line := range curveLines(r.Result, Rows(r.Result)) {
			lines = append(lines, append([]string{r.Name, r.model(), r.data(), strconv.FormatUint(m.Seed, 10), m.Precision}, line...))
		}
	}
	return asCSV(lines)
}

// A group is the runs of one model in one arithmetic, which differ in their seeds.
type group struct {
	runs  []*StudyRun // by seed
	label string
	mean  float64 // accuracy over all eps and the attacks that count, in the mean over runs
	class string  // of its lines
	shape int
}

// A board is the groups of the same images, classes, eps and bounds, the best first.
type board struct {
	groups  []*group
	attacks []boardAttack
	runs    []*StudyRun // the best first
}

// A boardAttack is an attack of a board, whatever its seed.
type boardAttack struct {
	key, label string
	attack.Attack
	first *StudyRun // that has it
}

// attackKeys name the attacks of r so that those which do the same but for their seeds are the same
// in all runs. The worst of all attacks is the same if it is of the same ones.
func attackKeys(r *pipeline.Result) []string {
	keys := make([]string, len(r.Curves))
	seen := map[string]int{}
	for i, c := range r.Curves {
		a := c.Attack
		a.Name, a.Seed, a.Restarts = "", 0, a.Starts()
		key := fmt.Sprintf("%+v", a)
		if seen[key]++; seen[key] > 1 {
			key += fmt.Sprintf(" again, %d", seen[key])
		}
		keys[i] = key
	}
	all := strings.Join(keys, "\n")
	for i, c := range r.Curves {
		if c.Attack.Composite() {
			keys[i] = all
		}
	}
	return keys
}

// curve returns the place of the attack with a key in r, or -1.
func (r *StudyRun) curve(key string) int { return slices.Index(attackKeys(r.Result), key) }

// check returns an error unless a report can be made of s.
func (s Study) check() error {
	if len(s.Runs) == 0 {
		return fmt.Errorf("report: study: no run")
	}
	names := map[string]bool{}
	for i, r := range s.Runs {
		switch {
		case r.Manifest == nil || r.Result == nil:
			return fmt.Errorf("report: study: run %d, %s: no manifest or no result", i, r.Name)
		case names[r.Name]:
			return fmt.Errorf("report: study: two runs are called %s", r.Name)
		case len(r.Result.Eps) == 0 || len(r.Result.Curves) == 0:
			return fmt.Errorf("report: study: run %s: %d eps and %d curves, want at least one of each", r.Name, len(r.Result.Eps), len(r.Result.Curves))
		case len(r.Result.Images) != r.Result.N:
			return fmt.Errorf("report: study: run %s: nothing is known of single images", r.Name)
		}
		for _, c := range r.Result.Curves {
			if !c.KnownOf(r.Result.N, len(r.Result.Eps)) {
				return fmt.Errorf("report: study: run %s: nothing is known of single images under %s", r.Name, c.Attack.Name)
			}
		}
		names[r.Name] = true
	}
	return nil
}

// boards sorts the runs of s into what can be compared.
func (s Study) boards() ([]*board, error) {
	var boards []*board
	byKey, groupOf := map[string]*board{}, map[string]*group{}
	for i := range s.Runs {
		r := &s.Runs[i]
		d := r.Manifest.Data
		key := fmt.Sprintln(d.SHA256, r.data(), r.Result.First, r.Result.N, r.Result.Classes, r.Result.Eps, r.Result.Bounds)
		b := byKey[key]
		if b == nil {
			b = new(board)
			byKey[key] = b
			boards = append(boards, b)
		}
		m := *r.Manifest
		m.Seed, m.Attacks = 0, slices.Clone(m.Attacks)
		for k := range m.Attacks {
			m.Attacks[k].Seed = 0
		}
		data, err := m.JSON()
		if err != nil {
			return nil, err
		}
		key += r.model() + string(data)
		g := groupOf[key]
		if g == nil {
			g = new(group)
			groupOf[key] = g
			b.groups = append(b.groups, g)
		}
		g.runs, b.runs = append(g.runs, r), append(b.runs, r)
		for k, key := range attackKeys(r.Result) {
			if !slices.ContainsFunc(b.attacks, func(a boardAttack) bool { return a.key == key }) {
				a := r.Result.Curves[k].Attack
				b.attacks = append(b.attacks, boardAttack{key, a.Label(), a, r})
			}
		}
	}
	for _, b := range boards {
		b.order()
		b.name()
	}
	return boards, nil
}

// counting are the attacks by which models are ordered: of those that look at the model, the worst
// of all left out, the ones that every run of b has; all, if there are none.
func (b *board) counting() (keys []string) {
	for _, a := range b.attacks {
		if !a.Control() && !a.Composite() && !slices.ContainsFunc(b.runs, func(r *StudyRun) bool { return r.curve(a.key) < 0 }) {
			keys = append(keys, a.key)
		}
	}
	return keys
}

// order puts the best first.
func (b *board) order() {
	keys := b.counting()
	mean := func(r *StudyRun) float64 {
		sum, n := 0.0, 0
		for k, key := range attackKeys(r.Result) {
			if keys == nil || slices.Contains(keys, key) {
				sum += meanAccuracy(r.Result, &r.Result.Curves[k])
				n++
			}
		}
		return sum / float64(n)
	}
	means := map[*StudyRun]float64{}
	for _, r := range b.runs {
		means[r] = mean(r)
	}
	for _, g := range b.groups {
		for _, r := range g.runs {
			g.mean += means[r] / float64(len(g.runs))
		}
		slices.SortStableFunc(g.runs, func(x, y *StudyRun) int { return cmp.Compare(x.Manifest.Seed, y.Manifest.Seed) })
	}
	slices.SortStableFunc(b.groups, func(x, y *group) int { return cmp.Compare(y.mean, x.mean) })
	slices.SortStableFunc(b.runs, func(x, y *StudyRun) int { return cmp.Compare(means[y], means[x]) })
	for i, g := range b.groups {
		g.class, g.shape = "sg", i
		if i < maxColours {
			g.class = fmt.Sprintf("s%d", i%len(okabeIto))
			if i >= len(okabeIto) {
				g.class += " d1"
			}
		}
	}
}

// base is a file's name without its folders, on any system.
func base(name string) string { return name[strings.LastIndexAny(name, `/\`)+1:] }

// name calls each group by its model and by as much more as tells it from the others.
func (b *board) name() {
	for _, more := range []func(g *group) string{
		func(g *group) string { return base(g.runs[0].model()) },
		func(g *group) string { return g.runs[0].model() },
		func(g *group) string { return g.runs[0].Manifest.Precision },
		func(g *group) string { return g.runs[0].Manifest.Backend },
		func(g *group) string { return g.runs[0].Manifest.Arithmetic },
		func(g *group) string { return fmt.Sprintf("%.8s", g.runs[0].Manifest.Model.SHA256) },
		func(g *group) string { return g.runs[0].Name },
	} {
		same := map[string][]*group{}
		for _, g := range b.groups {
			same[g.label] = append(same[g.label], g)
		}
		for _, groups := range same {
			differ := slices.ContainsFunc(groups, func(g *group) bool { return more(g) != more(groups[0]) })
			for _, g := range groups {
				if g.label == "" {
					g.label = more(g)
				} else if differ {
					g.label += ", " + more(g)
				}
			}
		}
	}
	labels := map[string]int{}
	for _, a := range b.attacks {
		labels[a.label]++
	}
	for i := range b.attacks {
		if a := &b.attacks[i]; labels[a.label] > 1 {
			a.label += " (" + a.Name + ")"
		}
	}
}

// telling are the places in eps at which all runs of b together are, under one of its attacks,
// nearest to so many quarters of what they get right as it is. Which models differ there has no
// part in it.
func (b *board) telling(key string, quarters ...int) (places []int) {
	E := len(b.runs[0].Result.Eps)
	right, clean := make([]int, E), 0
	for _, r := range b.runs {
		if k := r.curve(key); k >= 0 {
			clean += r.Result.Clean
			for e, n := range r.Result.Curves[k].Correct {
				right[e] += n
			}
		}
	}
	for _, q := range quarters {
		best := 0
		for e, n := range right {
			if abs(4*n-q*clean) < abs(4*right[best]-q*clean) {
				best = e
			}
		}
		places = append(places, best)
	}
	slices.Sort(places)
	return slices.Compact(places)
}

// A paired is one test between two groups of a board.
type paired struct {
	a, b   *group
	attack int // in board.attacks; -1: the images as they are
	at     int // in eps
	seed   string
	pairJSON
	none string // why there is no test
}

// together are the runs of x and y with the least seed that both have, or the first of each.
func together(x, y *group) (a, b *StudyRun) {
	for _, a := range x.runs {
		for _, b := range y.runs {
			if a.Manifest.Seed == b.Manifest.Seed {
				return a, b
			}
		}
	}
	return x.runs[0], y.runs[0]
}

// tests are those of every pair of groups or, of more than maxPaired groups, of the best with each
// other, on the images as they are and under each attack that looks at the model. missing is how
// many there would be of all pairs that are not among them. Holm's p is not filled in yet.
func (b *board) tests() (tests []paired, missing int) {
	// slim is r under the attack with a key at eps e alone.
	type cut struct {
		r *StudyRun
		k int
	}
	slims := map[cut]*pipeline.Result{}
	slim := func(r *StudyRun, k, e int) *pipeline.Result {
		if one := slims[cut{r, k}]; one != nil {
			return one
		}
		at := r.curve(b.attacks[k].key)
		if at < 0 {
			return nil
		}
		one := *r.Result
		one.Eps, one.Curves = one.Eps[e:e+1], []pipeline.Curve{one.Curves[at].At(one.Images, one.First, e)}
		slims[cut{r, k}] = &one
		return &one
	}
	var attacks, places []int
	for k, a := range b.attacks {
		if !a.Control() {
			attacks, places = append(attacks, k), append(places, b.telling(a.key, 2)[0])
		}
	}
	G := len(b.groups)
	for i, x := range b.groups {
		if i > 0 && G > maxPaired {
			break
		}
		for _, y := range b.groups[i+1:] {
			ra, rb := together(x, y)
			test := paired{a: x, b: y, attack: -1, seed: strconv.FormatUint(ra.Manifest.Seed, 10)}
			if other := strconv.FormatUint(rb.Manifest.Seed, 10); other != test.seed {
				test.seed += ", " + other
			}
			add := func(c *pipeline.Comparison, err error, pair func() *pipeline.Pair) {
				if err != nil {
					test.none = strings.TrimPrefix(err.Error(), "pipeline: compare: ")
				} else {
					test.none, test.pairJSON = "", newPairJSON(pair())
					test.P = pair().P // Holm's needs all digits
				}
				tests = append(tests, test)
			}
			as, bs := *ra.Result, *rb.Result // as they are
			as.Curves, bs.Curves = nil, nil
			c, err := pipeline.NewComparison(&as, &bs)
			add(c, err, func() *pipeline.Pair { return &c.Clean })
			for n, k := range attacks {
				test.attack, test.at = k, places[n]
				one, two := slim(ra, k, places[n]), slim(rb, k, places[n])
				if one == nil || two == nil {
					add(nil, fmt.Errorf("one of them was not attacked so"), nil)
					continue
				}
				c, err := pipeline.NewComparison(one, two)
				add(c, err, func() *pipeline.Pair { return &c.Pairs[0] })
			}
		}
	}
	return tests, G*(G-1)/2*(1+len(attacks)) - len(tests)
}

// correct fills in Holm's p of all tests of all boards, of which missing more were not made; it
// returns how many it corrects for. A test that was not made counts as the least significant, so
// that p is none the smaller for it.
func correct(boards [][]paired, missing int) int {
	var p []float64
	for _, tests := range boards {
		for _, t := range tests {
			if t.none != "" {
				p = append(p, 1)
			} else {
				p = append(p, t.P)
			}
		}
	}
	made := len(p)
	for range missing {
		p = append(p, 1)
	}
	holm := stat.Holm(p)
	at := 0
	for _, tests := range boards {
		for i := range tests {
			tests[i].Holm = holm[at]
			at++
		}
	}
	return made + missing
}

// What the template of a study's page takes.
type (
	rated   struct{ Value, Span string }
	headCol struct {
		Label string
		Span  int
	}
	summaryRow struct {
		Swatch                      template.HTML
		Name, What, Seed, Precision string
		Clean                       rated
		Cells                       []rated
	}
	testCell struct {
		Value, Span, P, Title string
		Share                 template.CSS
		Better, Worse         bool
		None                  bool
	}
	testRow struct {
		Swatch template.HTML
		Label  string
		Cells  []testCell
	}
	testTable struct {
		Title, Corner string
		Wide          bool // a test a line
		Heads         []legendItem
		Rows          []testRow
	}
	boardContent struct {
		Title, Note string
		Open        bool
		Attacks     []headCol
		Columns     []string
		Rows, More  []summaryRow
		RowNote     string
		Legend      []legendItem
		Others      string
		Figures     []figureContent
		TestNotes   []string
		Tests       []testTable
		AllTests    [][]string
	}
	runWarning   struct{ Run, Text string }
	studyContent struct {
		Title, CSP           string
		Style                template.CSS
		Script               template.JS
		Tiles                []fact
		Warnings             []string
		RunWarnings          []runWarning
		Boards               []boardContent
		Attacks              []attackRow
		Models, Datas, Lines [][]string
		Eps                  []fact
	}
)

// HTML makes the report as one file, which needs no other file and no network. Equal studies give
// equal bytes.
func (s Study) HTML() ([]byte, error) {
	v, err := s.content()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := studyPage.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("report: study: %w", err)
	}
	return b.Bytes(), nil
}

func (s Study) content() (*studyContent, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	s.Runs = slices.Clone(s.Runs)
	for i := range s.Runs {
		r := &s.Runs[i]
		r.Name, r.Model, r.Data = plain.Line(r.Name, plain.Name), plain.Line(r.model(), plain.Name), plain.Line(r.data(), plain.Name)
	}
	boards, err := s.boards()
	if err != nil {
		return nil, err
	}
	v := &studyContent{Title: plain.Line(s.Name, plain.Name), CSP: policy(), Style: template.CSS(htmlStyle + studyStyle), Script: template.JS(htmlScript), Warnings: s.Warnings}
	if v.Title == "" {
		v.Title = "Study"
	}
	for _, r := range s.Runs {
		for _, w := range Warnings(r.Result) {
			v.RunWarnings = append(v.RunWarnings, runWarning{r.Name, w})
		}
	}
	tests, missing := make([][]paired, len(boards)), 0
	for i, b := range boards {
		var m int
		tests[i], m = b.tests()
		missing += m
	}
	of := correct(tests, missing)
	for i, b := range boards {
		one := b.content(tests[i], of)
		one.Open = len(boards) <= 4 || i == 0
		v.Boards = append(v.Boards, one)
	}
	s.attacks(v)
	return v, s.facts(v, boards)
}

func (b *board) content(tests []paired, of int) boardContent {
	r := b.runs[0].Result
	v := boardContent{Title: b.runs[0].data()}
	v.Note = fmt.Sprintf("%d images from index %d on, %d classes; %s of eps from %s to %s; bounds %s.", r.N, r.First, r.Classes,
		plural(len(r.Eps), "value", "values"), short(r.Eps[0]), short(r.Eps[len(r.Eps)-1]), r.Bounds)
	b.summary(&v)
	columns := shown(len(r.Eps))
	for i, g := range b.groups {
		if i < maxColours {
			text := g.label
			if len(g.runs) > 1 {
				text += fmt.Sprintf(" (%d seeds)", len(g.runs))
			}
			v.Legend = append(v.Legend, legendItem{sample(g.class, g.shape), text})
		}
	}
	if n := len(b.groups) - maxColours; n > 0 {
		v.Legend = append(v.Legend, legendItem{sample("sg", 0), plural(n, "other", "others")})
		v.Others = fmt.Sprintf("In colour the %d of %d models with the highest mean accuracy; the others are thin and grey.", maxColours, len(b.groups))
	}
	for _, a := range b.attacks {
		v.Figures = append(v.Figures, b.figure(a, columns))
	}
	b.paired(&v, tests, of)
	return v
}

// summary is the table of runs.
func (b *board) summary(v *boardContent) {
	r := b.runs[0].Result
	groupOf := map[*StudyRun]*group{}
	for _, g := range b.groups {
		for _, r := range g.runs {
			groupOf[r] = g
		}
	}
	places := make([][]int, len(b.attacks))
	for i, a := range b.attacks {
		places[i] = b.telling(a.key, 3, 2, 1)
		v.Attacks = append(v.Attacks, headCol{a.label, len(places[i]) + 1})
		for _, e := range places[i] {
			v.Columns = append(v.Columns, "eps "+short(r.Eps[e]))
		}
		v.Columns = append(v.Columns, "mean")
	}
	for i, run := range b.runs {
		m, r := run.Manifest.Plain(), run.Result
		row := summaryRow{Swatch: sample(groupOf[run].class, groupOf[run].shape), Name: run.Name, What: base(run.model()) + ", " + m.Layers, Seed: strconv.FormatUint(m.Seed, 10), Precision: m.Precision,
			Clean: rated{percent(stat.Ratio(r.Clean, r.N)), interval(r.Clean, r.N)}}
		for k, a := range b.attacks {
			at := run.curve(a.key)
			for _, e := range places[k] {
				cell := rated{"–", ""}
				if at >= 0 {
					n := r.Curves[at].Correct[e]
					cell = rated{percent(stat.Ratio(n, r.N)), interval(n, r.N)}
				}
				row.Cells = append(row.Cells, cell)
			}
			cell := rated{"–", ""}
			if at >= 0 {
				cell.Value = percent(meanAccuracy(r, &r.Curves[at]))
			}
			row.Cells = append(row.Cells, cell)
		}
		if i < maxSummary {
			v.Rows = append(v.Rows, row)
		} else {
			v.More = append(v.More, row)
		}
	}
	by := "all attacks that look at the model"
	if b.counting() == nil {
		by = "its attacks"
	}
	v.RowNote = fmt.Sprintf("Accuracy in %% with its 95 %% interval (Wilson) at the eps at which all runs together keep nearest to 3/4, 1/2 and 1/4 of what is right as it is. Mean: over eps from the smallest to the largest. The first has the highest mean over %s.", by)
}

// figure is the chart of one attack.
func (b *board) figure(a boardAttack, columns []int) figureContent {
	all := b.runs[0].Result
	at := a.first.curve(a.key)
	p := wide(a.first.Result.Select(at), columns)
	p.label = "accuracy against eps under " + a.label
	seeds := slices.ContainsFunc(b.groups, func(g *group) bool { return len(g.runs) > 1 })
	wilson := !seeds && len(b.groups) <= 4
	for i := len(b.groups) - 1; i >= 0; i-- { // the best on top
		g := b.groups[i]
		coloured := g.class != "sg"
		s := series{class: g.class, label: g.label, shape: g.shape, faint: !coloured}
		if coloured {
			s.tips = []string{}
		}
		var counts [][]int // by run
		for _, r := range g.runs {
			if k := r.curve(a.key); k >= 0 {
				counts = append(counts, r.Result.Curves[k].Correct)
			}
		}
		if counts == nil {
			continue
		}
		for _, e := range columns {
			sum, low, high := 0, counts[0][e], counts[0][e]
			for _, c := range counts {
				sum, low, high = sum+c[e], min(low, c[e]), max(high, c[e])
			}
			here := xy{all.Eps[e], stat.Ratio(sum, all.N*len(counts))}
			s.line = append(s.line, here)
			if !coloured {
				continue
			}
			text := counted(low, all.N)
			if len(counts) > 1 {
				text = fmt.Sprintf("%s %% (%s–%s)", percent(here.y), percent(stat.Ratio(low, all.N)), percent(stat.Ratio(high, all.N)))
				s.band = append(s.band, [3]float64{here.x, stat.Ratio(low, all.N), stat.Ratio(high, all.N)})
			} else if wilson {
				l, h := stat.Wilson(low, all.N)
				s.band = append(s.band, [3]float64{here.x, l, h})
			}
			s.tips = append(s.tips, text)
			if len(columns) <= maxMarks {
				s.marks = append(s.marks, point{here, s.label + ", eps " + float(here.x) + ": " + text})
			}
		}
		if len(columns) == 1 && !coloured {
			s.marks = []point{{s.line[0], s.label}}
		}
		p.series = append(p.series, s)
	}
	// The hover lists them as the legend does.
	sort.SliceStable(p.series, func(i, j int) bool { return p.series[i].class == "sg" && p.series[j].class != "sg" })
	f := figureContent{Title: a.label, SVG: p.svg()}
	switch {
	case seeds:
		f.Captions = append(f.Captions, "Lines: the mean over seeds. Bands: from the lowest to the highest of them.")
	case wilson:
		f.Captions = append(f.Captions, "Bands: 95 % (Wilson).")
	}
	return f
}

// verdict is a test as a cell, as a less b, or the other way round.
func (b *board) verdict(t *paired, turned bool) testCell {
	x, y := t.a, t.b
	if turned {
		x, y = y, x
	}
	c := testCell{Title: fmt.Sprintf("%s less %s, %s", x.label, y.label, b.tested(t))}
	if t.none != "" {
		c.None, c.Value, c.Title = true, "–", c.Title+": "+t.none
		return c
	}
	d, lo, hi, only, other := t.Difference, t.Low, t.High, t.OnlyA, t.OnlyB
	if turned {
		d, lo, hi, only, other = -d, -hi, -lo, other, only
	}
	c.Value, c.Span, c.P = signed(d), signed(lo)+", "+signed(hi), "p "+pValue(t.Holm)
	c.Title += fmt.Sprintf(": only the first right %d, only the second %d, of %d; p %s, Holm %s", only, other, t.N, pValue(t.P), pValue(t.Holm))
	if t.Holm < 0.05 {
		c.Better, c.Worse = d > 0, d < 0
		c.Share = template.CSS(fmt.Sprintf("--share:%.0f%%", 12+min(45, 150*math.Abs(d))))
	}
	return c
}

// signed is a difference of accuracies in points of %.
func signed(v float64) string {
	text := fmt.Sprintf("%+.1f", 100*v)
	if text == "-0.0" {
		text = "+0.0"
	}
	return strings.Replace(text, "-", "−", 1)
}

// tested says at what t was made.
func (b *board) tested(t *paired) string {
	if t.attack < 0 {
		return "images as they are"
	}
	return fmt.Sprintf("%s at eps %s", b.attacks[t.attack].label, short(b.runs[0].Result.Eps[t.at]))
}

// paired are the tests: a matrix for each attack or, of two or many models, each against the best.
func (b *board) paired(v *boardContent, tests []paired, of int) {
	G := len(b.groups)
	if G < 2 {
		v.TestNotes = []string{"There is one model on these images: nothing to test it against."}
		return
	}
	per := len(tests) / (G - 1)
	if G <= maxPaired {
		per = len(tests) / (G * (G - 1) / 2)
	}
	v.TestNotes = []string{
		"The same images under both models: a difference of accuracies in points of %, its 95 % interval (Newcombe), in colour where p, of McNemar's exact test with Holm's correction, is below 0.05.",
		fmt.Sprintf("Each attack is tested at one eps, where all runs together keep nearest to half of what is right as it is: how models differ has no part in the choice. Holm's correction is for all %s of this report.", plural(of, "test", "tests")),
	}
	if slices.ContainsFunc(b.attacks, func(a boardAttack) bool { return a.Control() }) {
		v.TestNotes = append(v.TestNotes, "Random noise is not tested.")
	}
	if slices.ContainsFunc(b.groups, func(g *group) bool { return len(g.runs) > 1 }) {
		v.TestNotes = append(v.TestNotes, "Of a model with several seeds the run with the least seed that both have speaks.")
	}
	if G > maxPaired {
		v.TestNotes = append(v.TestNotes, fmt.Sprintf("Of %d models the others are set against the first, %s. It was chosen by the same images, so the correction counts all pairs, those not shown among them.", G, b.groups[0].label))
	}
	if G > 2 && G <= maxPaired {
		for n := range per {
			t := testTable{Title: b.tested(&tests[n]), Corner: "row less column"}
			for i, x := range b.groups {
				t.Heads = append(t.Heads, legendItem{sample(x.class, x.shape), x.label})
				row := testRow{Swatch: sample(x.class, x.shape), Label: x.label}
				for j := range b.groups {
					cell := testCell{None: true}
					if i != j {
						lo, hi := min(i, j), max(i, j)
						pair := lo*(2*G-lo-1)/2 + hi - lo - 1
						cell = b.verdict(&tests[pair*per+n], i > j)
					}
					row.Cells = append(row.Cells, cell)
				}
				t.Rows = append(t.Rows, row)
			}
			v.Tests = append(v.Tests, t)
		}
	} else {
		t := testTable{Title: "Difference to " + b.groups[0].label, Corner: "model", Wide: true}
		for n := range per {
			t.Heads = append(t.Heads, legendItem{"", b.tested(&tests[n])})
		}
		for i, g := range b.groups[1:] {
			row := testRow{Swatch: sample(g.class, g.shape), Label: g.label}
			for n := range per {
				row.Cells = append(row.Cells, b.verdict(&tests[i*per+n], true))
			}
			t.Rows = append(t.Rows, row)
		}
		v.Tests = []testTable{t}
	}
	for i := range tests {
		t := &tests[i]
		line := []string{t.a.label, t.b.label, b.tested(t), t.seed}
		if t.none != "" {
			line = append(line, "–", "–", "–", "–", "–", "not tested: "+t.none, "–", "–")
		} else {
			for _, n := range []int{t.N, t.Both, t.OnlyA, t.OnlyB, t.Neither} {
				line = append(line, strconv.Itoa(n))
			}
			line = append(line, fmt.Sprintf("%s (%s, %s)", signed(t.Difference), signed(t.Low), signed(t.High)), pValue(t.P), pValue(t.Holm))
		}
		v.AllTests = append(v.AllTests, line)
	}
}

// attacks are the hyperparameters of all attacks, each once with all its seeds.
func (s Study) attacks(v *studyContent) {
	type card struct {
		row   attackRow
		seeds []string
	}
	var cards []*card
	byKey := map[string]*card{}
	for _, r := range s.Runs {
		for k, key := range attackKeys(r.Result) {
			c := byKey[key]
			if c == nil {
				c = &card{row: Page{Manifest: r.Manifest, Result: r.Result}.attackRow(k)}
				// These are of one run.
				c.row.Facts = slices.DeleteFunc(c.row.Facts, func(f fact) bool { return f.Name == "exact" || f.Name == "seed" })
				byKey[key] = c
				cards = append(cards, c)
			}
			if seed := newAttackJSON(r.Result.Curves[k], "").Seed; seed != nil {
				if text := strconv.FormatUint(*seed, 10); !slices.Contains(c.seeds, text) {
					c.seeds = append(c.seeds, text)
				}
			}
		}
	}
	for _, c := range cards {
		if c.seeds != nil {
			name := "seed"
			if len(c.seeds) > 1 {
				name = "seeds"
			}
			c.row.Facts = append(c.row.Facts, fact{name, list(c.seeds, 100)})
		}
		v.Attacks = append(v.Attacks, c.row)
	}
}

// facts are what every run was made of.
func (s Study) facts(v *studyContent, boards []*board) error {
	yes := map[bool]string{true: "yes", false: "no"}
	seen := map[string]bool{}
	once := func(table *[][]string, row ...string) {
		if key := strings.Join(row, "\x00"); !seen[key] {
			seen[key] = true
			*table = append(*table, row)
		}
	}
	models := map[string]bool{}
	for _, r := range s.Runs {
		m := r.Manifest
		data, err := m.JSON()
		if err != nil {
			return err
		}
		id := sha256.Sum256(data)
		models[m.Model.SHA256+m.Model.Reading()] = true
		m = m.Plain()
		once(&v.Models, r.model(), m.Model.Name, m.Layers+m.Model.Reading(), m.Model.SHA256)
		shape := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(m.Shape)), " × "), "[]")
		once(&v.Datas, r.data(), m.Data.Images.Name, m.Data.Labels.Name, fmt.Sprintf("%d from %d", m.Data.N, m.Data.Offset), shape, strconv.Itoa(m.Classes), m.Data.SHA256, m.Data.Images.SHA256, m.Data.Labels.SHA256)
		v.Lines = append(v.Lines, []string{r.Name, r.model(), r.data(), strconv.FormatUint(m.Seed, 10), m.Backend, m.Precision, m.Arithmetic, m.Bounds, yes[m.Exact], yes[m.Rounded], m.Version, hex.EncodeToString(id[:])})
	}
	for _, b := range boards {
		var eps []string
		for _, e := range b.runs[0].Result.Eps {
			eps = append(eps, float(e))
		}
		v.Eps = append(v.Eps, fact{b.runs[0].data(), list(eps, 1000)})
	}
	v.Tiles = []fact{
		{"Runs", strconv.Itoa(len(s.Runs)) + "\n" + plural(len(v.Models), "model", "models")},
		{"Sets of images", strconv.Itoa(len(v.Datas)) + "\n" + plural(len(v.Attacks), "attack", "attacks")},
	}
	for _, b := range boards[:min(2, len(boards))] {
		if g := b.groups[0]; len(b.groups) > 1 {
			name := "Highest mean accuracy"
			if len(boards) > 1 {
				name += ", " + b.runs[0].data()
			}
			v.Tiles = append(v.Tiles, fact{name, percent(g.mean) + " %\n" + g.label})
		}
	}
	return nil
}

// Folded is the rest of the summary, nil if there is none.
func (v boardContent) Folded() *boardContent {
	if v.More == nil {
		return nil
	}
	return &boardContent{Attacks: v.Attacks, Columns: v.Columns, Rows: v.More}
}
