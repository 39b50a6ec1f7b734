package pipeline_test

import (
	"math"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
)

// TestReadSweep compares a sweep that is read off walks with one whose rows are all asked, on the
// embedded model: the same counts, classes, rounded classes and zero gradients, margins and norms
// within rounding, and intervals to the bit.
func TestReadSweep(t *testing.T) {
	m, set := embedded(t)
	list := "0:0.5:1/40"
	if !testing.Short() {
		list = "0:0.5:1/200,1/255,2/255,4/255,8/255,16/255"
	}
	eps, err := attack.ParseEps(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		run := func(list string, exact bool) *pipeline.Result {
			s := pipeline.Sweep{Attacks: parse(t, list, attack.Options{}), Eps: eps, Bounds: bounds, Exact: exact, Rounded: true}
			res, err := s.Run(t.Context(), open[float32](t, m), set)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		read, asked := run("fgsm", true), run("fgsm", false)
		both := run("fgsm,worst", true) // whose rows are asked although there is a walk
		if read.Clean != asked.Clean || !slices.Equal(read.Images, asked.Images) || !slices.Equal(both.Images, asked.Images) {
			t.Errorf("bounds %s: the clean images differ", bounds)
		}
		a, b := &read.Curves[0], &asked.Curves[0]
		if a.Outcomes != nil || b.Outcomes == nil || both.Curves[0].Outcomes == nil {
			t.Fatalf("bounds %s: outcomes where there should be none, or none", bounds)
		}
		if !slices.Equal(a.Correct, b.Correct) || !slices.Equal(a.ZeroGradient, b.ZeroGradient) || !slices.Equal(a.ZeroImages, b.ZeroImages) {
			t.Errorf("bounds %s: %v right, %v stuck; asked: %v and %v", bounds, a.Correct, a.ZeroGradient, b.Correct, b.ZeroGradient)
		}
		if !slices.Equal(a.Exact.Ties, both.Curves[0].Exact.Ties) {
			t.Errorf("bounds %s: ties %v, want %v", bounds, a.Exact.Ties, both.Curves[0].Exact.Ties)
		}
		for i := range set.N() {
			if x, y := a.Exact.Walks[i], both.Curves[0].Exact.Walks[i]; !slices.Equal(x.Correct, y.Correct) || x.Class != y.Class || x.Within != y.Within || x.Ends != y.Ends {
				t.Fatalf("bounds %s, image %d: walk %+v, want %+v", bounds, i, x, y)
			}
			label := read.Images[i].Label
			for e := range eps {
				right, ok := a.RoundedRight(i, e, label)
				want, asked := b.RoundedRight(i, e, label)
				if a.Class(i, e) != b.Class(i, e) || right != want || !ok || !asked {
					t.Fatalf("bounds %s, image %d, eps %v: class %d, rounded right %v; want %d and %v", bounds, i, eps[e], a.Class(i, e), right, b.Class(i, e), want)
				}
			}
			margin, at := a.Least(i)
			least, _ := b.Least(i)
			if there := b.Outcomes[i*len(eps)+at].Margin; !(math.Abs(float64(margin-least)) <= 1e-3 && math.Abs(float64(there-margin)) <= 1e-3) {
				t.Fatalf("bounds %s, image %d: least margin %v at eps %v where it is %v; want %v", bounds, i, margin, eps[at], there, least)
			}
		}
		for e := range eps {
			x, y := a.MeanNorms(e), b.MeanNorms(e)
			// A pixel of float32 is rounded by up to 3e-8.
			if x.L0 != y.L0 || !(math.Abs(x.Linf-y.Linf) <= 1e-7) || !(math.Abs(x.L2-y.L2) <= 1e-6) {
				t.Errorf("bounds %s, eps %v: norms %v, want %v", bounds, eps[e], x, y)
			}
		}
	}
}
