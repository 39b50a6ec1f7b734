package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/stat"

	"golang.org/x/net/html"
)

// studied runs the embedded models on the first n images of MNIST with these seeds, under FGSM,
// PGD, noise and the worst of them.
func studied(t testing.TB, n int, seeds ...uint64) (s Study) {
	t.Helper()
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Slice(0, n); err != nil {
		t.Fatal(err)
	}
	s.Name = "embedded models"
	for _, name := range model.EmbeddedNames {
		m, err := model.Embedded(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := cpu.New[float32](m, cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, seed := range seeds {
			sweep := pipeline.Sweep{
				Attacks: []attack.Attack{attack.FGSM(), attack.PGD(3, seed), attack.Noise(seed), attack.Worst()},
				Eps:     []float64{0, 0.02, 0.05, 0.1, 0.15, 0.2}, Bounds: attack.Bounds{Lo: 0, Hi: 1},
			}
			r, err := sweep.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			classes := b.Info().Classes
			s.Runs = append(s.Runs, StudyRun{Name: name + "-" + strconv.FormatUint(seed, 10), Manifest: &record.Manifest{
				Meta: record.Meta{Version: record.Version, Model: record.Model{Source: record.Source{Name: m.Source.Name, SHA256: m.Source.SHA256}}, Data: record.Data{
					Images: record.Source{Name: "MNIST", SHA256: strings.Repeat("b2", 32)}, Labels: record.Source{Name: "MNIST labels", SHA256: strings.Repeat("c3", 32)}, N: n, SHA256: strings.Repeat("d4", 32),
				}, Seed: seed, Backend: "cpu", Precision: "float32"},
				Arithmetic: "float32", Layers: m.String(), Shape: []int{28, 28}, Classes: classes, Attacks: sweep.Attacks, Eps: sweep.Eps, Bounds: sweep.Bounds.String(),
			}, Result: r})
		}
	}
	return s
}

// vary makes another model's run with another seed of r: of a share of the images, drawn by seed
// and strength, the attacks fail; of another one they always succeed.
func vary(r StudyRun, name, modelName, sha string, strength float64, seed uint64) StudyRun {
	m, res := *r.Manifest, *r.Result
	m.Model.Name, m.Model.SHA256, m.Seed = modelName, sha, seed
	m.Attacks, res.Curves = slices.Clone(m.Attacks), slices.Clone(res.Curves)
	rnd := rand.New(rand.NewPCG(seed, uint64(strength*1000)))
	luck := make([]float64, res.N)
	for i := range luck {
		luck[i] = rnd.Float64()
	}
	for k := range res.Curves {
		c := &res.Curves[k]
		if c.Attack.Start || c.Attack.Control() {
			c.Attack.Seed, m.Attacks[k].Seed = seed, seed
		}
		c.Outcomes, c.Correct = slices.Clone(c.Outcomes), make([]int, len(res.Eps))
		for i, im := range res.Images {
			for e := range res.Eps {
				o := &c.Outcomes[i*len(res.Eps)+e]
				switch {
				case luck[i] < strength:
					o.Class = im.Label
				case luck[i] > 1.02-strength/8:
					o.Class = (im.Label + 1) % 10
				}
				if o.Class == im.Label {
					c.Correct[e]++
				}
			}
		}
	}
	return StudyRun{Name: name, Manifest: &m, Result: &res}
}

// many is n models of seeds each.
func many(base Study, n, seeds int) Study {
	s := Study{Name: "many"}
	for k := range n {
		for seed := range seeds {
			s.Runs = append(s.Runs, vary(base.Runs[k%len(base.Runs)], fmt.Sprintf("net%02d-%d", k, seed), fmt.Sprintf("nets/net%02d.onnx", k), fmt.Sprintf("%064d", k), 0.6*float64(k)/float64(n), uint64(seed+1)))
		}
	}
	return s
}

func renderStudy(t *testing.T, s Study) ([]byte, *html.Node) {
	t.Helper()
	data, err := s.HTML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.HTML()
	if err != nil || !bytes.Equal(data, again) {
		t.Fatalf("two pages of the same study differ (%v)", err)
	}
	doc, err := html.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "NaN") || strings.Contains(string(data), "Inf") {
		t.Error("a number that is none")
	}
	return data, doc
}

// table returns the texts of the cells of a table's body.
func table(n *html.Node) (rows [][]string) {
	for _, body := range find(n, "tbody") {
		for _, tr := range find(body, "tr") {
			var cells []string
			for c := range tr.ChildNodes() {
				if c.Type == html.ElementNode {
					cells = append(cells, textOf(c))
				}
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// tables are those of a class.
func tables(doc *html.Node, class string) (all []*html.Node) {
	for _, n := range find(doc, "table") {
		if slices.Contains(strings.Fields(attr(n, "class")), class) {
			all = append(all, n)
		}
	}
	return all
}

// right counts the images that r gets right under attack k at eps e, by its outcomes.
func right(r *pipeline.Result, k, e int) (n int) {
	for i, im := range r.Images {
		if r.Curves[k].Outcomes[i*len(r.Eps)+e].Class == im.Label {
			n++
		}
	}
	return n
}

// binomial is McNemar's p in whole numbers: twice the share of the 2^n falls of n coins with at
// most min(a, b) heads.
func binomial(a, b int) float64 {
	sum := new(big.Int)
	for k := range min(a, b) + 1 {
		sum.Add(sum, new(big.Int).Binomial(int64(a+b), int64(k)))
	}
	p, _ := new(big.Rat).SetFrac(sum.Lsh(sum, 1), new(big.Int).Lsh(big.NewInt(1), uint(a+b))).Float64()
	return min(1, p)
}

// TestStudyNumbers holds what the page says of two models with two seeds each against the runs'
// outcomes.
func TestStudyNumbers(t *testing.T) {
	s := studied(t, 100, 7, 8)
	_, doc := renderStudy(t, s)
	text := textOf(doc)
	byName := map[string]*StudyRun{}
	for i := range s.Runs {
		byName[s.Runs[i].Name] = &s.Runs[i]
	}
	eps := s.Runs[0].Result.Eps

	// Where all runs together keep nearest to 3/4, 1/2 and 1/4 of the clean images.
	var columns [4][]int
	clean := 0
	for _, r := range s.Runs {
		clean += r.Result.Clean
	}
	half := func(k int, share float64) int {
		best, least := 0, math.Inf(1)
		for e := range eps {
			sum := 0
			for _, r := range s.Runs {
				sum += right(r.Result, k, e)
			}
			if d := math.Abs(float64(sum) - share*float64(clean)); d < least {
				best, least = e, d
			}
		}
		return best
	}
	for k := range columns {
		for _, share := range []float64{0.75, 0.5, 0.25} {
			if e := half(k, share); !slices.Contains(columns[k], e) {
				columns[k] = append(columns[k], e)
			}
		}
	}
	said := func(k, n int) string {
		lo, hi := stat.Wilson(k, n)
		return fmt.Sprintf("%.1f %.1f–%.1f", 100*float64(k)/float64(n), 100*lo, 100*hi)
	}
	rows := table(tables(doc, "runs")[0])
	if len(rows) != 4 || !strings.HasPrefix(rows[0][0], "cnn-") || !strings.HasPrefix(rows[3][0], "mlp-") {
		t.Fatalf("rows %q", rows)
	}
	best := 0.0 // of the CNN, over both seeds, FGSM and PGD
	for _, row := range rows {
		name, _, _ := strings.Cut(row[0], " ")
		r := byName[name]
		want := []string{strconv.FormatUint(r.Manifest.Seed, 10), "float32", said(r.Result.Clean, 100)}
		for k := range columns {
			area := 0.0
			for e := range eps[1:] {
				area += float64(right(r.Result, k, e)+right(r.Result, k, e+1)) / 2 * (eps[e+1] - eps[e])
			}
			if k < 2 && strings.HasPrefix(name, "cnn") {
				best += area / (eps[len(eps)-1] - eps[0]) / 4
			}
			for _, e := range columns[k] {
				want = append(want, said(right(r.Result, k, e), 100))
			}
			want = append(want, fmt.Sprint(area/(eps[len(eps)-1]-eps[0]))) // of 100 images: in %
		}
		same := slices.EqualFunc(row[1:], want, func(got, want string) bool {
			// a mean, to one digit; the sums round apart
			if g, err := strconv.ParseFloat(got, 64); err == nil && strings.Contains(got, ".") {
				w, err := strconv.ParseFloat(want, 64)
				return err == nil && math.Abs(g-w) <= 0.05+1e-9
			}
			return got == want
		})
		if !same {
			t.Errorf("%s: %q, want %q", name, row[1:], want)
		}
	}

	tile := regexp.MustCompile(`Highest mean accuracy (\S+) % embedded cnn`).FindStringSubmatch(text)
	if tile == nil {
		t.Fatal("no tile of the best")
	}
	if got, err := strconv.ParseFloat(tile[1], 64); err != nil || !(math.Abs(got-best) <= 0.05+1e-9) {
		t.Errorf("the best has %s, want %v", tile[1], best)
	}

	// The hover of each chart: the mean of both seeds, from the lower to the higher.
	charts := slices.DeleteFunc(find(doc, "svg"), func(n *html.Node) bool { return attr(n, "class") != "chart" })
	if len(charts) != 4 {
		t.Fatalf("%d charts, want 4", len(charts))
	}
	for k, chart := range charts {
		seen := 0
		for g := range chart.Descendants() {
			label := attr(g, "data-label")
			if label == "" {
				continue
			}
			seen++
			a, b := byName["mlp-7"], byName["mlp-8"]
			if label == "embedded cnn" {
				a, b = byName["cnn-7"], byName["cnn-8"]
			}
			for e, got := range strings.Split(attr(g, "data-tips"), "|") {
				x, y := right(a.Result, k, e), right(b.Result, k, e)
				if want := fmt.Sprintf("%.1f %% (%.1f–%.1f)", float64(x+y)/2, float64(min(x, y)), float64(max(x, y))); got != want {
					t.Errorf("%s, attack %d, eps %v: %q, want %q", label, k, eps[e], got, want)
				}
			}
		}
		if seen != 2 {
			t.Errorf("%d lines with a hover, want 2", seen)
		}
	}

	// The tests, of the runs with seed 7, which is the least: Holm's p by its definition, from the
	// smallest p on.
	tests := table(tables(doc, "alltests")[0])
	if len(tests) != 4 { // clean, FGSM, PGD, worst: not noise
		t.Fatalf("tests %q", tests)
	}
	type counted struct{ both, a, b, neither int }
	var pairs []counted
	var p []float64
	a, b := byName["cnn-7"].Result, byName["mlp-7"].Result
	for _, k := range []int{-1, 0, 1, 3} {
		var c counted
		for i, im := range a.Images {
			x, y := im.Class, b.Images[i].Class
			if k >= 0 {
				at := i*len(eps) + half(k, 0.5)
				x, y = a.Curves[k].Outcomes[at].Class, b.Curves[k].Outcomes[at].Class
			}
			switch xr, yr := x == im.Label, y == im.Label; {
			case xr && yr:
				c.both++
			case xr:
				c.a++
			case yr:
				c.b++
			default:
				c.neither++
			}
		}
		pairs, p = append(pairs, c), append(p, binomial(c.a, c.b))
	}
	for n, row := range tests {
		c, holm := pairs[n], 0.0
		for _, q := range p {
			if q <= p[n] {
				before := 0
				for _, other := range p {
					if other < q {
						before++
					}
				}
				holm = max(holm, min(1, float64(len(p)-before)*q))
			}
		}
		lo, hi := stat.PairedInterval(c.both, c.a, c.b, c.neither)
		d := fmt.Sprintf("%+.1f (%+.1f, %+.1f)", float64(c.a-c.b), 100*lo, 100*hi)
		want := []string{"7", "100", strconv.Itoa(c.both), strconv.Itoa(c.a), strconv.Itoa(c.b), strconv.Itoa(c.neither), strings.ReplaceAll(d, "-", "−"), pValue(p[n]), pValue(holm)}
		if row[0] != "embedded cnn" || row[1] != "embedded" || !slices.Equal(row[3:], want) {
			t.Errorf("%q, want %q", row, want)
		}
	}
	for _, want := range []string{"all 4 tests", "Of a model with several seeds", "2 seeds", "seeds 7, 8", "Random noise is not tested", s.Runs[0].Manifest.Model.SHA256, s.Runs[0].Manifest.Data.SHA256, "MNIST labels", "0, 0.02, 0.05, 0.1, 0.15, 0.2"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if got := strings.Count(text, "cpu float32 float32 0,1 no no "+record.Version); got != 4 {
		t.Errorf("what made the runs is there %d times, want 4", got)
	}
}

func TestStudyCSV(t *testing.T) {
	s := studied(t, 30, 7)
	s.Runs[0].Name = "a,\"b\""
	lines, err := csv.NewReader(bytes.NewReader(s.CSV())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	head, err := csv.NewReader(bytes.NewReader(CurveCSV(s.Runs[0].Result))).Read()
	if err != nil || !slices.Equal(lines[0], append([]string{"run", "model", "data", "seed", "precision"}, head...)) {
		t.Errorf("head %q (%v)", lines[0], err)
	}
	at := 1
	for _, r := range s.Runs {
		for k, c := range r.Result.Curves {
			for e, eps := range r.Result.Eps {
				n := right(r.Result, k, e)
				want := []string{r.Name, r.Manifest.Model.Name, "MNIST", "7", "float32", c.Attack.Name, strconv.Itoa(c.Attack.Steps), float(eps), "30", strconv.Itoa(n), float(float64(n) / 30)}
				if !slices.Equal(lines[at][:len(want)], want) {
					t.Errorf("line %d: %q, want %q", at, lines[at], want)
				}
				at++
			}
		}
	}
	if len(lines) != at {
		t.Errorf("%d lines, want %d", len(lines), at)
	}
}

// TestStudyMany: few models are tested in all pairs, many against the best with the correction for
// all pairs; 8 have colours.
func TestStudyMany(t *testing.T) {
	base := studied(t, 60, 7)
	for _, c := range []struct {
		models, seeds, tables, tests, of, grey, folded int
	}{
		{1, 1, 0, 0, 0, 0, 0},
		{1, 3, 0, 0, 0, 0, 0},
		{2, 1, 1, 4, 4, 0, 0},
		{3, 2, 4, 12, 12, 0, 0},
		{10, 1, 4, 180, 180, 2, 0},
		{11, 4, 1, 40, 220, 3, 14},
		{60, 1, 1, 236, 7080, 52, 30},
	} {
		t.Run(fmt.Sprintf("%d models", c.models), func(t *testing.T) {
			s := many(base, c.models, c.seeds)
			_, doc := renderStudy(t, s)
			text := textOf(doc)
			got := tables(doc, "tests")
			var all [][]string
			for _, n := range tables(doc, "alltests") {
				all = append(all, table(n)...)
			}
			if len(got) != c.tables || len(all) != c.tests {
				t.Errorf("%d tables and %d tests, want %d and %d", len(got), len(all), c.tables, c.tests)
			}
			if c.of > 0 && !strings.Contains(text, fmt.Sprintf("all %d tests of this report", c.of)) {
				t.Errorf("no correction for %d tests", c.of)
			}
			if c.of == 0 && !strings.Contains(text, "nothing to test it against") {
				t.Error("one model: nothing said")
			}
			grey := 0
			for _, n := range find(doc, "g") {
				if attr(n, "class") == "sg faint" {
					grey++
				}
			}
			if grey != 4*c.grey {
				t.Errorf("%d grey lines in 4 charts, want %d each", grey, c.grey)
			}
			rows, more := len(table(tables(doc, "runs")[0])), 0
			if c.folded > 0 {
				more = len(table(tables(doc, "runs")[1]))
			}
			if rows != c.models*c.seeds-c.folded || more != c.folded {
				t.Errorf("%d rows and %d folded, want %d in all, %d folded", rows, more, c.models*c.seeds, c.folded)
			}
			// No p of Holm is below that of Bonferroni's smallest, and those of cells are those of
			// the list.
			for _, row := range all {
				p, err1 := strconv.ParseFloat(row[10], 64)
				holm, err2 := strconv.ParseFloat(row[11], 64)
				if err1 != nil || err2 != nil || !(holm >= p) {
					t.Errorf("%q: Holm below p", row)
				}
			}
			says := regexp.MustCompile(`^(\S+) less (\S+), (.*): only the first right (\d+), only the second (\d+), of 60; p (\S+), Holm (\S+)$`)
			listed := map[string][]string{}
			for _, row := range all {
				_, span, _ := strings.Cut(strings.TrimSuffix(row[9], ")"), "(")
				lo, hi, _ := strings.Cut(span, ", ")
				turn := strings.NewReplacer("+", "−", "−", "+", "+0.0", "+0.0")
				listed[row[0]+row[1]+row[2]] = []string{row[6], row[7], row[10], row[11], lo + ", " + hi}
				listed[row[1]+row[0]+row[2]] = []string{row[7], row[6], row[10], row[11], turn.Replace(hi) + ", " + turn.Replace(lo)}
			}
			signs := map[string]int{}
			for _, n := range got {
				heads := find(n, "th")
				for k, td := range find(n, "td") {
					if title := attr(td, "title"); title != "" {
						m := says.FindStringSubmatch(title)
						if m == nil || listed[m[1]+m[2]+m[3]] == nil || !slices.Equal(m[4:], listed[m[1]+m[2]+m[3]][:4]) {
							t.Fatalf("title %q, the list has %q", title, listed)
						}
						if span := listed[m[1]+m[2]+m[3]][4]; !strings.Contains(textOf(td), span) {
							t.Errorf("%q: %q, want the interval %s", title, textOf(td), span)
						}
						// the best, in the title of its table
						row, column := textOf(find(td.Parent, "th")[0]), "net"
						if c.models > 2 && c.models <= maxPaired {
							column = textOf(heads[1+k%c.models])
						} else if m[1] == all[0][0] {
							t.Errorf("%q: the best is what is taken away", title)
						}
						if m[1] != row || !strings.HasPrefix(m[2], column) {
							t.Errorf("%q in row %q, column %q", title, row, column)
						}
						only, _ := strconv.Atoi(m[4])
						other, _ := strconv.Atoi(m[5])
						if value := signed(float64(only-other) / 60); !strings.HasPrefix(textOf(td), value+" ") {
							t.Errorf("%q: %q, want %q", title, textOf(td), value)
						}
						holm, _ := strconv.ParseFloat(m[7], 64)
						class, want := attr(td, "class"), ""
						if holm < 0.05 {
							want = "better"
							if strings.HasPrefix(textOf(td), "−") {
								want = "worse"
							}
						}
						signs[want]++
						if class != want {
							t.Errorf("%q: %q is %q, want %q", title, textOf(td), class, want)
						}
					}
				}
			}
			if c.models > 2 && c.models <= 10 && (signs["better"] != signs["worse"] || signs["better"] == 0) {
				t.Errorf("%v: a matrix has each difference both ways", signs)
			}
		})
	}
}

// TestStudyApart: runs of other images are not compared, other attacks only where both have them,
// and without a seed in common not where it matters.
func TestStudyApart(t *testing.T) {
	base := studied(t, 40, 7)
	s := many(base, 4, 1)
	other := s.Runs[3]
	other.Manifest.Data.SHA256, other.Manifest.Data.Images.Name = "e5", "other images"
	fewer := s.Runs[2]
	fewer.Manifest.Attacks, fewer.Result.Curves = fewer.Manifest.Attacks[:2], fewer.Result.Curves[:2]
	seed := s.Runs[1]
	seed.Manifest.Seed = 99
	for k := range seed.Result.Curves {
		seed.Result.Curves[k].Attack.Seed = 99
	}
	s.Warnings = []string{"net00-0 was mixed"}
	_, doc := renderStudy(t, s)
	text := textOf(doc)
	for _, want := range []string{"net00-0 was mixed", "other images", "nothing to test it against", "all 12 tests", "not tested: one of them was not attacked so", "not tested: attack pgd with pgd"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if n := len(find(doc, "details")); n < 2 {
		t.Errorf("%d details", n)
	}
	byPair := map[string]string{}
	for _, row := range table(tables(doc, "alltests")[0]) {
		name, _, _ := strings.Cut(row[2], " at eps")
		names := []string{row[0], row[1]}
		slices.Sort(names)
		byPair[names[0]+names[1]+name] = row[9]
	}
	if len(byPair) != 12 {
		t.Fatalf("%d tests, want those of 3 pairs: %v", len(byPair), byPair)
	}
	for key, value := range byPair {
		none := strings.HasPrefix(value, "not tested")
		want := strings.Contains(key, "net02.onnx") && strings.Contains(key, "worst") || strings.Contains(key, "net01.onnx") && strings.Contains(key, "PGD")
		if none != want {
			t.Errorf("%s: %s, want one %v", key, value, !want)
		}
	}
}

// TestStudyCalled: what the study calls a model tells it from another of the same file.
func TestStudyCalled(t *testing.T) {
	s := many(studied(t, 20, 7), 2, 2)
	for i := range s.Runs {
		r := &s.Runs[i]
		r.Manifest.Model.Source = record.Source{Name: "file.onnx", SHA256: strings.Repeat("0", 64)}
		r.Model, r.Data = "first", "digits"
		if i >= 2 {
			r.Model = "second"
		}
	}
	_, doc := renderStudy(t, s)
	text := textOf(doc)
	for _, want := range []string{"first (2 seeds)", "second (2 seeds)", "first file.onnx", "digits MNIST"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if lines := strings.Split(string(s.CSV()), "\n"); !strings.HasPrefix(lines[1], "net00-0,first,digits,1,float32,") {
		t.Errorf("CSV: %s", lines[1])
	}
}

// TestStudyEscapes puts names that are HTML wherever a name goes.
func TestStudyEscapes(t *testing.T) {
	base := studied(t, 20, 7)
	count := func(name string) int {
		s := many(base, 3, 1)
		s.Name, s.Warnings = name, []string{name}
		for i := range s.Runs {
			r := &s.Runs[i]
			r.Name, r.Model, r.Manifest.Model.Name = name+strconv.Itoa(i), name, name
			r.Manifest.Layers, r.Manifest.Version, r.Manifest.Backend, r.Manifest.Precision, r.Manifest.Arithmetic = name, name, name, name, name
			r.Manifest.Data.Images.Name, r.Manifest.Data.Labels.Name = name, name
			for k := range r.Result.Curves {
				r.Result.Curves[k].Attack.Name = name + strconv.Itoa(k)
			}
		}
		_, doc := renderStudy(t, s)
		for _, n := range find(doc, "") {
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" {
					t.Errorf("%s: <%s %s>", name, n.Data, a.Key)
				}
			}
		}
		if text := textOf(doc); strings.Count(text, strings.Join(strings.Fields(name), " ")) < 20 {
			t.Errorf("%s: not there as text", name)
		}
		if scripts := find(doc, "script"); len(scripts) != 1 {
			t.Errorf("%s: %d scripts", name, len(scripts))
		}
		return len(find(doc, ""))
	}
	want := count("plain")
	for _, name := range []string{`</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style></svg><b>`, `<!--`, `{{.}}`} {
		if got := count(name); got != want {
			t.Errorf("%s: %d elements, want %d", name, got, want)
		}
	}
}

func TestStudyErrors(t *testing.T) {
	base := many(studied(t, 20, 7), 2, 1)
	for _, c := range []struct {
		name string
		edit func(*Study)
		want string
	}{
		{"no run", func(s *Study) { s.Runs = nil }, "no run"},
		{"two of a name", func(s *Study) { s.Runs[1].Name = s.Runs[0].Name }, "two runs are called net00-0"},
		{"no manifest", func(s *Study) { s.Runs[1].Manifest = nil }, "run 1, net01-0"},
		{"no result", func(s *Study) { s.Runs[0].Result = nil }, "run 0, net00-0"},
		{"no images", func(s *Study) { r := *s.Runs[0].Result; r.Images = nil; s.Runs[0].Result = &r }, "net00-0: nothing is known"},
		{"no outcomes", func(s *Study) {
			r := *s.Runs[0].Result
			r.Curves = slices.Clone(r.Curves)
			r.Curves[2].Outcomes = nil
			s.Runs[0].Result = &r
		}, "net00-0: nothing is known of single images under noise"},
		{"no curve", func(s *Study) { r := *s.Runs[0].Result; r.Curves = nil; s.Runs[0].Result = &r }, "6 eps and 0 curves"},
	} {
		s := base
		s.Runs = slices.Clone(s.Runs)
		c.edit(&s)
		s.CSV() // does not panic
		if _, err := s.HTML(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestCorrect: Holm's p over two boards and eight tests that were not made, of which one was
// counted that could not be.
func TestCorrect(t *testing.T) {
	boards := [][]paired{{{pairJSON: pairJSON{P: 0.02}}, {none: "not tested"}}, {{pairJSON: pairJSON{P: 0.001}}}}
	if of := correct(boards, 7); of != 10 {
		t.Errorf("corrects for %d, want 10", of)
	}
	for _, c := range []struct{ got, want float64 }{{boards[0][0].Holm, 9 * 0.02}, {boards[0][1].Holm, 1}, {boards[1][0].Holm, 10 * 0.001}} {
		if !(math.Abs(c.got-c.want) <= 1e-15) {
			t.Errorf("Holm %v, want %v", c.got, c.want)
		}
	}
}

// TestTogether: the least seed that both have.
func TestTogether(t *testing.T) {
	of := func(seeds ...uint64) *group {
		g := new(group)
		for _, s := range seeds {
			g.runs = append(g.runs, &StudyRun{Manifest: &record.Manifest{Meta: record.Meta{Seed: s}}})
		}
		return g
	}
	for _, c := range []struct {
		a, b         *group
		wantA, wantB uint64
	}{{of(1, 3, 4), of(2, 3, 4), 3, 3}, {of(1, 2), of(0, 1, 2), 1, 1}, {of(5), of(6, 7), 5, 6}} {
		if a, b := together(c.a, c.b); a.Manifest.Seed != c.wantA || b.Manifest.Seed != c.wantB {
			t.Errorf("seeds %d and %d, want %d and %d", a.Manifest.Seed, b.Manifest.Seed, c.wantA, c.wantB)
		}
	}
}

// TestStudySizes: one eps, more than are shown, exact curves, controls alone, the same attack
// twice, L2.
func TestStudySizes(t *testing.T) {
	for _, c := range []struct {
		name string
		eps  []float64
		edit func(*pipeline.Result)
		want string
	}{
		{"one eps", []float64{0.1}, nil, "1 value of eps from 0.1 to 0.1"},
		{"eps 0", []float64{0}, nil, "1 value of eps from 0 to 0"},
		{"many eps", grid(300, 0.3), nil, "300 values of eps from 0 to 0.3"},
		{"noise alone", grid(4, 0.3), func(r *pipeline.Result) { r.Curves = r.Curves[2:] }, "The first has the highest mean over its attacks."},
		{"twice", grid(4, 0.3), func(r *pipeline.Result) {
			r.Curves = append(r.Curves, r.Curves[2])
			r.Curves[3].Attack.Seed, r.Curves[3].Attack.Name = 8, "noise:seed=8"
		}, "random ±eps, seed 8"},
		{"twice with one label", grid(4, 0.3), func(r *pipeline.Result) {
			r.Curves = append(r.Curves, r.Curves[2])
			r.Curves[3].Attack.Name = "noise:norm=linf"
		}, "random ±eps (noise:norm=linf)"},
		{"l2", grid(4, 0.3), func(r *pipeline.Result) {
			for i := range r.Curves {
				r.Curves[i].Attack.Norm = attack.L2
			}
		}, "eps, L2 norm of the perturbation"},
		{"exact", grid(4, 0.3), func(r *pipeline.Result) {
			x := &pipeline.Exact{Max: 0.3, Walks: make([]attack.Walk, r.N)}
			for i := range x.Walks {
				// half of the way: a mean of 50 %
				x.Walks[i].Correct = []attack.Interval{{Lo: 0, Hi: 0.15}}
			}
			r.Curves[0].Exact = x
			r.Curves = r.Curves[:1]
		}, "Highest mean accuracy 50.0 % a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Study
			for _, name := range []string{"a", "b"} {
				r := swept(c.eps...)
				if c.edit != nil {
					c.edit(r)
				}
				s.Runs = append(s.Runs, StudyRun{Name: name, Manifest: page(r, name).Manifest, Result: r})
			}
			for i := range s.Runs { // page gives what is read the model's name
				s.Runs[i].Manifest.Data.Images.Name, s.Runs[i].Manifest.ClassNames = "images", nil
			}
			_, doc := renderStudy(t, s)
			if text := textOf(doc); !strings.Contains(text, c.want) {
				t.Errorf("no %q in %s", c.want, text)
			}
			s.Runs = s.Runs[:1]
			renderStudy(t, s)
		})
	}
}
