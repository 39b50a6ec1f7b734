package pipeline_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// TestExactGolden reads the counts at the grid off the exact curve of the embedded model, with and
// without bounds, and wants those that JAX gets in float64, all of them. The ends of the intervals
// must lie within 1e-6 of those of the walk in float64, ten times what they are seen to differ by.
func TestExactGolden(t *testing.T) {
	g := readGolden(t)
	m, set := embedded(t)
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: g.Eps, Bounds: bounds, Exact: true}
		want := g.Float64["k1_unclipped"]
		if !bounds.None() {
			want = g.Float64["k1_clipped"]
		}
		run := func(b pipeline.Backend) *pipeline.Exact {
			res, err := s.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			if c := res.Curves[0]; !slices.Equal(c.Correct, want) || res.Clean != g.CleanCorrect {
				t.Errorf("%s, bounds %s: %v right, %d clean; want %v and %d", b.Info().Precision, bounds, c.Correct, res.Clean, want, g.CleanCorrect)
			}
			x := res.Curves[0].Exact
			if ends, bad := x.Ends(); bad != 0 || ends < 900 || len(x.Ties) > 2 {
				t.Errorf("%s, bounds %s: %d ends, %d disagree, ties %v", b.Info().Precision, bounds, ends, bad, x.Ties)
			}
			return x
		}
		x := run(open[float32](t, m))
		if testing.Short() {
			continue
		}
		y := run(open[float64](t, m))
		farthest := 0.
		for i := range x.Walks {
			a, b := x.Walks[i].Correct, y.Walks[i].Correct
			if len(a) != len(b) {
				t.Fatalf("bounds %s, image %d: intervals %v, in float64 %v", bounds, i, a, b)
			}
			for k := range a {
				farthest = max(farthest, math.Abs(a[k].Lo-b[k].Lo), math.Abs(a[k].Hi-b[k].Hi))
			}
		}
		t.Logf("bounds %s: ends lie within %.2g of those in float64", bounds, farthest)
		if !(farthest <= 1e-6) {
			t.Errorf("bounds %s: an end is %v away from that in float64", bounds, farthest)
		}
		if d := math.Abs(x.Area() - y.Area()); !(d <= 1e-6) {
			t.Errorf("bounds %s: areas differ by %v", bounds, d)
		}
	}
}

// TestExactCurve does by hand what Exact computes of three walks.
func TestExactCurve(t *testing.T) {
	x := pipeline.Exact{Max: 1, Walks: []attack.Walk{
		{Correct: []attack.Interval{{Lo: 0, Hi: 0.25}, {Lo: 0.5, Hi: 0.75}}, Ends: 3},
		{Correct: []attack.Interval{{Lo: 0, Hi: 1}}},
		{Ends: 0, Disagreed: []float64{0.5}},
	}}
	want := []pipeline.Jump{{Eps: 0, Correct: 2}, {Eps: 0.25, Correct: 1}, {Eps: 0.5, Correct: 2}, {Eps: 0.75, Correct: 1}}
	if got := x.Curve(); !slices.Equal(got, want) {
		t.Errorf("curve %v, want %v", got, want)
	}
	if got := x.Area(); got != 0.5 {
		t.Errorf("area %v, want 0.5", got)
	}
	if got, ok := x.MedianCritical(); got != 0.25 || !ok { // of 0, 0.25 and never
		t.Errorf("median %v %v, want 0.25", got, ok)
	}
	if ends, bad := x.Ends(); ends != 3 || bad != 1 {
		t.Errorf("%d ends, %d disagree, want 3 and 1", ends, bad)
	}
	x.Walks = x.Walks[1:2]
	if got, ok := x.MedianCritical(); ok {
		t.Errorf("median %v of an image that never fails", got)
	}
}

// gridOnly is a backend that cannot walk.
type gridOnly struct{ pipeline.Backend }

func TestExactNeedsExacter(t *testing.T) {
	m, set := embedded(t)
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 1}, Exact: true}
	if _, err := s.Run(t.Context(), gridOnly{open[float32](t, m)}, set); err == nil {
		t.Error("a backend that cannot walk: no error")
	}
	m.Layers[1] = model.Tanh{}
	curved := open[float32](t, m)
	if _, ok := pipeline.AsExacter(curved); ok {
		t.Error("a backend whose model has no linear regions can follow its rays")
	}
	if _, err := s.Run(t.Context(), curved, set); err == nil {
		t.Error("a model without linear regions: no error")
	}
	if err := curved.Load(t.Context(), 0, set.Images, set.Labels); err != nil {
		t.Fatal(err)
	}
	if err := curved.Exact(t.Context(), 0, 1, attack.Bounds{}, make([]attack.Walk, 1)); err == nil {
		t.Error("exact of a model without linear regions: no error")
	}
	if m, set = embedded(t); m.Layers[1] != (model.ReLU{}) {
		t.Fatal("the embedded model has changed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx, open[float32](t, m), set); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestExactRefusals: what a walk cannot be asked.
func TestExactRefusals(t *testing.T) {
	b := open[float32](t, ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 3, 4, 2))
	x := tensor.New(tensor.WithShape(2, 3), tensor.WithBacking(make([]uint8, 6)))
	if err := b.Load(t.Context(), 0, x, []int32{0, 1}); err != nil {
		t.Fatal(err)
	}
	walks := make([]attack.Walk, 2)
	for name, err := range map[string]error{
		"images below": b.Exact(t.Context(), -1, 1, attack.Bounds{}, walks),
		"images above": b.Exact(t.Context(), 1, 1, attack.Bounds{}, walks),
		"no eps":       b.Exact(t.Context(), 0, 0, attack.Bounds{}, walks),
		"not a number": b.Exact(t.Context(), 0, math.NaN(), attack.Bounds{}, walks),
		"infinite":     b.Exact(t.Context(), 0, math.Inf(1), attack.Bounds{}, walks),
		"not float32":  b.Exact(t.Context(), 0, 1e39, attack.Bounds{}, walks),
		"bounds":       b.Exact(t.Context(), 0, 1, attack.Bounds{Lo: 0.5, Hi: 1}, walks),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := b.Exact(t.Context(), 0, 1, attack.Bounds{}, walks); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Exact(t.Context(), 0, 1, attack.Bounds{}, walks); err == nil {
		t.Error("closed: no error")
	}
}

// TestExactTie: two clean images of which two classes have the same logits, and the first of them
// is taken. That is so at eps 0 alone, but counts there, as on the grid.
func TestExactTie(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 2, 2, 3)
	for l, v := range [][]float32{{1, 0, 0, 1}, {1, 1}, {1, 2, 2, 1, -3, -3}, {0, 0, 0}} {
		layer := m.Layers[l/2*2].(model.Linear)
		d := []*tensor.Dense{layer.Weight, layer.Bias}[l%2]
		copy(d.Data().([]float32), v)
	}
	x := tensor.New(tensor.WithShape(2, 1, 2), tensor.WithBacking(make([]uint8, 4)))
	set := &dataset.Set{Images: x, Labels: []int32{0, 1}}
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 0.5}}
	for _, s.Exact = range []bool{false, true} {
		res, err := s.Run(t.Context(), open[float32](t, m), set)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Curves[0].Correct; !slices.Equal(got, []int{1, 0}) || res.Clean != 1 {
			t.Errorf("exact %v: %v right, %d clean, want [1 0] and 1", s.Exact, got, res.Clean)
		}
	}
}
