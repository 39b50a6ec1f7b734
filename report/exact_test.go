package report

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/stat"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/plotter"
)

// walks makes n walks of [0, top] up: 1.5 % of the images are wrong as they are, the others up to a
// critical eps that is log-normal around 0.05, and some are right again for a while.
func walks(n int, top float64) *pipeline.Exact {
	random := rand.New(rand.NewPCG(1, 2))
	x := &pipeline.Exact{Max: top, Walks: make([]attack.Walk, n)}
	for i := range x.Walks {
		w := &x.Walks[i]
		w.Class = i % 10
		if i%66 == 65 {
			w.Class = (i + 1) % 10
			continue
		}
		lo, hi := 0.0, float64(float32(0.05*math.Exp(0.45*random.NormFloat64())))
		for hi < top {
			w.Correct = append(w.Correct, attack.Interval{Lo: lo, Hi: hi})
			w.Ends, w.Within = w.Ends+1, 1e-6*top
			if random.Float64() > 0.05 {
				break
			}
			lo = float64(float32(hi * 1.3))
			hi = float64(float32(hi * 1.7))
			w.Ends++
		}
		if len(w.Correct) == 0 || hi >= top && lo < top {
			w.Correct = append(w.Correct, attack.Interval{Lo: lo, Hi: top})
		}
	}
	return x
}

// exactly is result with n images and walks for FGSM.
func exactly(n int, eps ...float64) *pipeline.Result {
	r := result(eps...)
	x := walks(n, eps[len(eps)-1])
	for c := range r.Curves {
		for e, eps := range eps {
			if c > 0 {
				r.Curves[c].Correct[e] = r.Curves[c].Correct[e] * n / r.N
				continue
			}
			r.Curves[0].Correct[e] = 0
			for i := range x.Walks {
				if x.Walks[i].At(eps, x.Max) {
					r.Curves[0].Correct[e]++
				}
			}
		}
	}
	r.N, r.Clean = n, r.Curves[0].Correct[0]
	r.Curves[0].Exact = x
	return r
}

// six is FGSM on six images, from index 40 on, one of each kind.
func six() *pipeline.Result {
	third := float64(float32(1) / 3)
	labels := []int32{7, 2, 1, 0, 4, 1}
	x := &pipeline.Exact{Max: 0.5, Walks: []attack.Walk{
		{Class: 7, Correct: []attack.Interval{{Lo: 0, Hi: 0.5}}, Zero: true}, // never wrong
		{Class: 3}, // never right
		// wrong from 1/3 on
		{Class: 1, Correct: []attack.Interval{{Lo: 0, Hi: third}}, Ends: 1, Within: 0x1p-20},
		// right for a while
		{Class: 6, Correct: []attack.Interval{{Lo: 0.1, Hi: 0.2}}, Ends: 2},
		// wrong for a while
		{Class: 4, Correct: []attack.Interval{{Lo: 0, Hi: 0.1}, {Lo: 0.25, Hi: 0.5}}, Ends: 2},
		// wrong at once, nearly
		{Class: 1, Correct: []attack.Interval{{Lo: 0, Hi: 1e-7}}, Ends: 1, Disagreed: []float64{1e-7, 2e-7}},
	}, Ties: []int{43}}
	c := pipeline.Curve{Attack: attack.FGSM(), Correct: []int{4, 2, 2}, ZeroGradient: []int{1, 1, 1}, ZeroImages: []int{40}, Exact: x}
	r := &pipeline.Result{N: 6, First: 40, Clean: 4, Classes: 10, Eps: []float64{0, 0.2, 0.5}}
	// what a grid says of the same images: where one is wrong it is taken for class 9, and its
	// margin falls by eps
	for i, w := range x.Walks {
		r.Images = append(r.Images, pipeline.Clean{Label: labels[i], Class: int32(w.Class), Margin: 1.5})
		for _, eps := range r.Eps {
			o := pipeline.Outcome{Class: 9, Rounded: labels[i], Margin: float32(1.5 - eps), Zero: w.Zero, Norms: attack.Norms{Linf: float32(eps), L2: float32(2 * eps), L0: 4}}
			if w.At(eps, x.Max) {
				o.Class = labels[i]
			}
			if w.Zero {
				o.Norms = attack.Norms{}
			}
			c.Outcomes = append(c.Outcomes, o)
		}
	}
	r.Curves = []pipeline.Curve{c}
	return r
}

func TestImagesCSV(t *testing.T) {
	r := six()
	golden(t, "images.csv", ImagesCSV(r, "float32"))
	golden(t, "classes.csv", ClassesCSV(r))
	// The same numbers in float64 have all the digits of the float32 third.
	want := bytes.ReplaceAll(ImagesCSV(r, "float32"), []byte("0.33333334"), []byte("0.3333333432674408"))
	if diff := cmp.Diff(string(want), string(ImagesCSV(r, "float64"))); diff != "" {
		t.Errorf("float64 (-want +got):\n%s", diff)
	}
}

// TestRows computes the numbers of six by hand: images 0, 2, 4 and 5 are right as they are (0 stays
// right, 2 fails at 0.5, 4 at 0.2 alone, 5 at both), 1 is never right, 3 at neither of the eps that
// are asked (its interval ends at 0.2).
func TestRows(t *testing.T) {
	type row struct {
		correct, fooled, within, rounded int
		success, linf, l0                float64
	}
	r := six()
	r.Curves[0].Correct = []int{4, 2, 2}
	for e, got := range Rows(r) {
		// Of the six images all but one move by eps, in 4 pixels.
		want := []row{{4, 0, 4, 6, 0, 0, 20. / 6}, {2, 2, 2, 6, 0.5, 5 * float64(float32(0.2)) / 6, 20. / 6}, {2, 2, 1, 6, 0.5, 2.5 / 6, 20. / 6}}[e]
		o := got.Outcomes
		if g := (row{got.Right.Count, o.Fooled, o.Within, *o.Rounded, o.Success.Ratio, o.MeanNorm[0], o.MeanNorm[2]}); math.Abs(g.linf-want.linf) > 1e-15 {
			t.Errorf("eps %v: mean of L∞ %v, want %v", r.Eps[e], g.linf, want.linf)
		} else if g.linf = want.linf; g != want {
			t.Errorf("eps %v: %+v, want %+v", r.Eps[e], g, want)
		}
	}
	r.Clean = 0 // and of nothing there is no rate
	if got := Rows(r)[1].Outcomes; got.Success != nil {
		t.Errorf("success rate of no image is %v, want none", *got.Success)
	}
}

func TestExactFiles(t *testing.T) {
	r := six()
	data, err := CurveJSON(meta(), r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "exact.json", data)
	plain := *r
	plain.Curves = slices.Clone(r.Curves)
	plain.Curves[0].Exact = nil
	if !bytes.Equal(CurveCSV(r), CurveCSV(&plain)) {
		t.Error("curve.csv depends on what is known between its eps, want the same bytes")
	}
	if data, err = CurveJSON(meta(), &plain); err != nil || bytes.Contains(data, []byte(`"exact"`)) {
		t.Errorf("a curve of a grid has \"exact\", or error %v:\n%s", err, data)
	}

	// The median of one image that is never wrong is null.
	r.Curves[0].Exact.Walks = r.Curves[0].Exact.Walks[:1]
	if data, err = CurveJSON(meta(), r); err != nil || !bytes.Contains(data, []byte(`"median_critical_eps": null`)) {
		t.Errorf("no median: error %v\n%s", err, data)
	}
}

// TestOnOneLine wants what a regular expression of the same meaning writes.
func TestOnOneLine(t *testing.T) {
	pair := regexp.MustCompile(`(\n +\[)\n +([-+.\de]+),\n +(\d+)\n +\]`)
	list := func(x, y string) string { return "\n  [\n   " + x + ",\n   " + y + "\n  ]" }
	for _, text := range []string{
		"", "[", "[\n", "\n [\n", "\n [\n 1", "\n [\n 1,", "\n [\n 1,\n 2", "\n [\n 1,\n 2\n ",
		"{" + list("1", "2") + "," + list("-1.5e-7", "10000") + "," + list("0", "7") + "\n}",
		"\n[\n 1,\n 2\n ]", "\n [\n1,\n 2\n ]", "\n [\n 1,\n2\n ]", "\n [\n 1,\n 2\n]", "\n x [\n 1,\n 2\n ]", " [\n 1,\n 2\n ]",
		list("1", "-2"), list("1", "2.5"), list("1", "2,\n 3"), list("x", "2"), list("", "2"), list("1", ""), list("1", "2x"), list("1 ", "2"),
		"\n \"a\": [\n  1,\n  2\n ]" + list("3", "4"), "\n [" + list("3", "4") + "," + list("5", "6") + "\n ]",
	} {
		want := pair.ReplaceAllString(text, "$1$2, $3]")
		if got := string(onOneLine([]byte(text))); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// What curve.json holds of 1,000 images reads back as the curve.
func TestExactJumps(t *testing.T) {
	r := exactly(1000, grid(21, 0.5)...)
	data, err := CurveJSON(meta(), r)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Attacks []struct {
			Exact *struct {
				Jumps [][2]float64
				Max   float64
				Area  float64
			}
		}
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if v.Attacks[0].Exact == nil || v.Attacks[1].Exact != nil {
		t.Fatal("want an exact curve of FGSM and none of BIM")
	}
	jumps := v.Attacks[0].Exact.Jumps
	at := func(eps float64) (k int) {
		for _, j := range jumps {
			if j[0] <= eps {
				k = int(j[1])
			}
		}
		return k
	}
	for e, eps := range r.Eps {
		if got, want := at(eps), r.Curves[0].Correct[e]; got != want {
			t.Errorf("eps %v: %d correct by the jumps, want %d", eps, got, want)
		}
	}
	area := 0.0
	for i, j := range jumps {
		end := v.Attacks[0].Exact.Max
		if i+1 < len(jumps) {
			end = jumps[i+1][0]
		}
		if end <= j[0] {
			t.Errorf("jump %d at %v is not below the next one at %v", i, j[0], end)
		}
		area += (end - j[0]) * j[1] / float64(r.N)
	}
	// Each end is rounded by at most half a unit in the last place of a float32 below 0.5, 2⁻²⁶;
	// there are fewer than two an image.
	if want := v.Attacks[0].Exact.Area; !(math.Abs(area-want) <= 0x1p-25) {
		t.Errorf("area under the jumps %v, want %v", area, want)
	}
	if n := bytes.Count(data, []byte("\n")); n > len(jumps)+23*3*21+200 {
		t.Errorf("%d lines for %d jumps, want one for each", n, len(jumps))
	}
}

func TestSteps(t *testing.T) {
	interval := func(lo, hi float64) attack.Walk {
		return attack.Walk{Correct: []attack.Interval{{Lo: lo, Hi: hi}}}
	}
	near := math.Nextafter(0.25, 1) // the same float32
	for _, c := range []struct {
		name  string
		walks []attack.Walk
		want  []pipeline.Jump
	}{
		{"no change", []attack.Walk{interval(0, 1)}, []pipeline.Jump{{Eps: 0, Correct: 1}}},
		{"one fails where one recovers", []attack.Walk{interval(0, 0.5), interval(0.5, 1)}, []pipeline.Jump{{Eps: 0, Correct: 1}}},
		{"a point", []attack.Walk{interval(0, 1), interval(0.5, 0.5)}, []pipeline.Jump{{Eps: 0, Correct: 1}}},
		{"one float32", []attack.Walk{interval(0, 0.25), interval(0, near)}, []pipeline.Jump{{Eps: 0, Correct: 2}, {Eps: 0.25, Correct: 0}}},
	} {
		if diff := cmp.Diff(c.want, steps(&pipeline.Exact{Max: 1, Walks: c.walks}, newDigits("float32"))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestExactTable(t *testing.T) {
	r := six()
	one := exactly(1000, grid(5, 0.1)...)
	one.Curves[0].Exact.Ties = []int{3, 14, 159, 265, 358, 979, 323, 846, 264, 338}
	none := exactly(1000, grid(3, 0.01)...)
	var b bytes.Buffer
	for _, r := range []*pipeline.Result{r, one, none} {
		if err := CurveTable(&b, r); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	golden(t, "exact.txt", b.Bytes())
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line) - 1; n > 80 {
			t.Errorf("line of %d columns, want at most 80: %q", n, line)
		}
	}
}

// An exact curve is drawn through both ends of every jump, without markers, whatever the grid.
func TestExactCurve(t *testing.T) {
	r := six()
	c := newCurve(r, 0)
	want := plotter.XYs{
		// and, at 0.1, one fails where another one recovers:
		{X: 0, Y: 4. / 6}, {X: 1e-7, Y: 4. / 6}, {X: 1e-7, Y: 3. / 6},
		{X: 0.1, Y: 3. / 6}, {X: 0.1, Y: 3. / 6}, {X: 0.2, Y: 3. / 6}, {X: 0.2, Y: 2. / 6}, {X: 0.25, Y: 2. / 6}, {X: 0.25, Y: 3. / 6},
		{X: float64(float32(1) / 3), Y: 3. / 6}, {X: float64(float32(1) / 3), Y: 2. / 6}, {X: 0.5, Y: 2. / 6},
	}
	if diff := cmp.Diff(want, c.points); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, p := range c.points {
		if lo, hi := stat.Wilson(int(math.Round(6*p.Y)), 6); c.bands[i] != [2]float64{lo, hi} {
			t.Errorf("point %d: band %v, want %v", i, c.bands[i], [2]float64{lo, hi})
		}
	}
	ps, thumbs, err := c.plotters()
	if err != nil || len(ps) != 2 || len(thumbs) != 2 {
		t.Errorf("%d plotters, %d in the legend, error %v, want band and line", len(ps), len(thumbs), err)
	}
	for _, eps := range [][]float64{{0.3}, {0.1, 0.12}, {0, 1e-3}, grid(100, 0.2), {5e-324}, {1e300}} {
		f := Figure{Title: "t", Result: exactly(50, eps...)}
		p, err := f.plot(1)
		if err != nil {
			t.Fatalf("eps %v: %v", eps, err)
		}
		if p.X.Min != 0 || p.X.Max != eps[len(eps)-1] {
			t.Errorf("%d eps up to %v: axis from %v to %v, want all of the curve", len(eps), eps[len(eps)-1], p.X.Min, p.X.Max)
		}
		if _, err := f.PNG(); err != nil {
			t.Errorf("eps %v: %v", eps, err)
		}
	}
}

func TestExactCaption(t *testing.T) {
	for _, c := range []struct {
		eps    []float64
		curves []int
		want   string
	}{
		{grid(3, 0.5), nil, "FGSM exact at every eps · bands: 95 %"},
		{grid(3, 0.5), []int{1, 2}, "not clipped · bands: 95 %"},
		{[]float64{0.5}, nil, "FGSM exact at every eps · bands and bars: 95 %"},
		{[]float64{0.5}, []int{0}, "FGSM exact at every eps · bands: 95 %"},
		{[]float64{0.5}, []int{1}, "not clipped · bars: 95 %"},
	} {
		got := Figure{Result: exactly(10, c.eps...), Curves: c.curves}.caption()
		if !strings.Contains(got, c.want) {
			t.Errorf("%d eps, curves %v: caption %q, want %q in it", len(c.eps), c.curves, got, c.want)
		}
	}
}

// Of many jumps few are drawn, and the line still covers the same places.
func TestThin(t *testing.T) {
	x := walks(20000, 0.5)
	all := x.Curve()
	const width = 0.5 / 500
	thinned := thin(all, width)
	if n := len(thinned); n > 4*501 {
		t.Errorf("%d jumps, want at most 4 in each of 500 columns", n)
	}
	type span struct{ first, last, low, high int }
	spans := func(jumps []pipeline.Jump) map[int]span {
		m := map[int]span{}
		for _, j := range jumps {
			k := int(j.Eps / width)
			s, ok := m[k]
			if !ok {
				s = span{j.Correct, j.Correct, j.Correct, j.Correct}
			}
			m[k] = span{s.first, j.Correct, min(s.low, j.Correct), max(s.high, j.Correct)}
		}
		return m
	}
	want, got := spans(all), spans(thinned)
	if len(got) != len(want) {
		t.Errorf("%d columns, want %d", len(got), len(want))
	}
	for k := range want {
		if got[k] != want[k] {
			t.Errorf("column %d: first, last, lowest, highest %v, want %v", k, got[k], want[k])
		}
	}
	few := walks(5, 0.5).Curve()
	if diff := cmp.Diff(few, thin(few, 0.5/maxColumns)); diff != "" {
		t.Errorf("5 images (-want +got):\n%s", diff)
	}
}

func BenchmarkFigure(b *testing.B) {
	for _, c := range []struct {
		name string
		r    *pipeline.Result
	}{
		{"grid", result(grid(21, 0.5)...)},
		{"exact/N=1000", exactly(1000, grid(21, 0.5)...)},
		{"exact/N=10000", exactly(10000, grid(21, 0.5)...)},
		{"exact/N=60000", exactly(60000, grid(21, 0.2)...)},
	} {
		f := Figure{Title: "Accuracy against eps", Model: "m", Result: c.r}
		for name, draw := range map[string]func() ([]byte, error){"PNG": f.PNG, "SVG": f.SVG} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				var data []byte
				var err error
				for b.Loop() {
					if data, err = draw(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(data)), "bytes")
			})
		}
	}
}
