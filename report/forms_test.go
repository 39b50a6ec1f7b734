package report

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/internal/raytest"
	"advsweep/pipeline"
	"advsweep/record"

	"github.com/google/go-cmp/cmp"
)

// alike is swept with images whose gradient is zero at every eps or at none, as rays have it.
func alike(eps ...float64) *pipeline.Result {
	r := swept(eps...)
	for k := range r.Curves {
		c := &r.Curves[k]
		for j := range c.Outcomes {
			if c.Outcomes[j].Zero = k < 2 && j/len(eps) == 38; c.Outcomes[j].Zero {
				c.Outcomes[j].Norms = attack.Norms{}
			}
		}
		for e := range eps {
			c.ZeroGradient[e] = len(c.ZeroImages)
		}
	}
	return r
}

// followed is alike with FGSM as an exact curve: an image fails half way between two eps, or
// nowhere.
func followed(eps ...float64) *pipeline.Result {
	r := alike(eps...)
	c, top := &r.Curves[0], eps[len(eps)-1]
	c.Exact = &pipeline.Exact{Max: top, Walks: make([]attack.Walk, r.N)}
	for i := range c.Exact.Walks {
		w := &c.Exact.Walks[i]
		w.Class, w.Zero = int(r.Images[i].Class), c.Zero(i, 0)
		switch e := c.FirstFailing(r.Images, i); {
		case e < 0:
			w.Correct = []attack.Interval{{Lo: 0, Hi: top}}
		case e > 0:
			w.Correct, w.Ends = []attack.Interval{{Lo: 0, Hi: (eps[e-1] + eps[e]) / 2}}, 1
		}
	}
	return r
}

// unrounded is r without rounded pixels.
func unrounded(r *pipeline.Result) *pipeline.Result {
	for k := range r.Curves {
		for j := range r.Curves[k].Outcomes {
			r.Curves[k].Outcomes[j].Rounded = -1
		}
	}
	return r
}

// TestForms wants of one result in either form of its curves the same bytes of every file, the same
// page but for what it says of ties, and the same warnings.
func TestForms(t *testing.T) {
	few := []float64{0, 0.05, 0.1, 0.2, 0.3}
	study := studied(t, 60, 1).Runs[0].Result
	for _, c := range []struct {
		name string
		r    *pipeline.Result
	}{
		{"a grid", alike(few...)},
		{"an exact curve", followed(few...)},
		{"from above 0", followed(0.01, 0.15, 0.35)},
		{"one eps", alike(0.1)},
		{"more eps than a page shows", followed(grid(maxEpsShown+50, 0.4)...)},
		{"not rounded", unrounded(followed(few...))},
		{"a sweep", study},
	} {
		for _, curves := range [][]int{{0}, {0, 1, 2}} {
			t.Run(fmt.Sprint(c.name, curves), func(t *testing.T) {
				rays := raytest.Rays(t, c.r, curves...)
				p, q := page(c.r, "m"), page(rays, "m")
				want, err := Files(p.Manifest, c.r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Files(q.Manifest, rays)
				if err != nil {
					t.Fatal(err)
				}
				for i := range want {
					if !bytes.Equal(want[i].Data, got[i].Data) {
						t.Errorf("%s (-outcomes +rays):\n%.2000s", want[i].Name, cmp.Diff(string(want[i].Data), string(got[i].Data)))
					}
				}
				if d := cmp.Diff(Warnings(c.r), Warnings(rays)); d != "" {
					t.Errorf("warnings (-outcomes +rays):\n%s", d)
				}
				if c.r.Classes == 4 { // as the pictures have it
					p, q = withPictures(t, p, 2, 2), withPictures(t, q, 2, 2)
				} else {
					k, _ := Rank(c.r, 3)
					p.Ranking = &k
					k, _ = Rank(rays, 3)
					q.Ranking = &k
				}
				if d := cmp.Diff(p.Ranking, q.Ranking); d != "" {
					t.Errorf("ranking (-outcomes +rays):\n%s", d)
				}
				a, _ := render(t, p)
				b, _ := render(t, q)
				if slices.Contains(curves, p.Ranking.Curve) {
					if !bytes.Contains(b, []byte("by the least margin.")) {
						t.Error("the page of rays does not say that ties are broken by the least margin")
					}
					b = bytes.Replace(b, []byte("by the least margin."), []byte("by the margin there."), 1)
				}
				if !bytes.Equal(a, b) {
					t.Errorf("page (-outcomes +rays):\n%.2000s", cmp.Diff(string(a), string(b)))
				}
			})
		}
	}
}

// TestFormsOfStudy is TestForms of a study and of a comparison.
func TestFormsOfStudy(t *testing.T) {
	s := many(studied(t, 60, 1), 3, 2)
	other := Study{Name: s.Name}
	for _, run := range s.Runs {
		run.Result = raytest.Rays(t, run.Result, 0)
		other.Runs = append(other.Runs, run)
	}
	a, _ := renderStudy(t, s)
	b, _ := renderStudy(t, other)
	if !bytes.Equal(a, b) {
		t.Errorf("page (-outcomes +rays):\n%.2000s", cmp.Diff(string(a), string(b)))
	}
	if d := cmp.Diff(string(s.CSV()), string(other.CSV())); d != "" {
		t.Errorf("%s (-outcomes +rays):\n%.2000s", StudyName, d)
	}
	compared := func(s Study) []File {
		x, y, left, err := pipeline.Common(s.Runs[0].Result, s.Runs[2].Result)
		if err != nil {
			t.Fatal(err)
		}
		found, err := pipeline.NewComparison(x, y)
		if err != nil {
			t.Fatal(err)
		}
		files, err := (&Compared{A: Side{"a", s.Runs[0].Manifest}, B: Side{"b", s.Runs[2].Manifest}, Comparison: found, Left: left}).Files("compare")
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	want, got := compared(s), compared(other)
	for i := range want {
		if !bytes.Equal(want[i].Data, got[i].Data) {
			t.Errorf("%s (-outcomes +rays):\n%.2000s", want[i].Name, cmp.Diff(string(want[i].Data), string(got[i].Data)))
		}
	}
	other.Runs[1].Result.Curves[0].Rays = other.Runs[1].Result.Curves[0].Rays[1:]
	if _, err := other.HTML(); err == nil {
		t.Error("a ray is missing: no error")
	}
}

// fgsm is FGSM on n images at so many eps up to 0.3, as rays and an exact curve.
func fgsm(n, E int) (*record.Manifest, *pipeline.Result) {
	const O, top = 10, 0.3
	x := walks(n, top)
	r := &pipeline.Result{N: n, Classes: O, Eps: grid(E, top), Bounds: attack.Bounds{Lo: 0, Hi: 1}, Images: make([]pipeline.Clean, n)}
	c := pipeline.Curve{Attack: attack.FGSM(), Correct: make([]int, E), ZeroGradient: make([]int, E), Exact: x, Rays: make([]pipeline.Ray, n), RayNorms: make([]pipeline.MeanNorms, E)}
	for e, eps := range r.Eps {
		c.RayNorms[e] = pipeline.MeanNorms{Linf: eps, L2: 20 * eps, L0: 400}
	}
	for i := range x.Walks {
		label := int32(i % O)
		r.Images[i] = pipeline.Clean{Label: label, Class: int32(x.Walks[i].Class), Margin: 3 + float32(math.Sin(float64(i)))}
		if r.Images[i].Class == label {
			r.Clean++
		}
		ray := pipeline.Ray{Classes: make([]int32, E), Rounded: make([]bool, E), Least: float32(math.Cos(float64(i))), At: i % E}
		for e, eps := range r.Eps {
			ray.Classes[e] = (label + 1 + int32(i/O)%3) % O
			if right := x.Walks[i].At(eps, top); right {
				ray.Classes[e], ray.Rounded[e] = label, true
				c.Correct[e]++
			}
		}
		c.Rays[i] = ray
	}
	r.Curves = []pipeline.Curve{c}
	return page(r, "m").Manifest, r
}

// BenchmarkFiles makes the files and the page of a run of 10,000 images at 1,001 eps.
func BenchmarkFiles(b *testing.B) {
	m, r := fgsm(10000, 1001)
	for _, c := range []struct {
		name string
		make func() error
	}{
		{"files", func() error { _, err := Files(m, r); return err }},
		{"curve.csv", func() error { CurveCSV(r); return nil }},
		{"curve.json", func() error { _, err := CurveJSON(m.Meta, r); return err }},
		{"curve.png", func() error { _, err := Figure{Title: "t", Result: r}.PNG(); return err }},
		{"curve.svg", func() error { _, err := Figure{Title: "t", Result: r}.SVG(); return err }},
		{ImagesName, func() error { ImagesCSV(r, "float32"); return nil }},
		{ClassesName, func() error { ClassesCSV(r); return nil }},
		{PageName, func() error { _, err := page(r, "m").HTML(); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.make(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
