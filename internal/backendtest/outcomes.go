package backendtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// outcomes compares Outcomes, in every state of the rows, with Logits and with what a second
// backend says of the same rows part by part. It also checks what Outcomes must refuse.
func (s suite) outcomes(t *testing.T) {
	r := rand.New(rand.NewPCG(18, 1))
	m := ref.RandomModel(r, 1, 40, 9, 5)
	const n = 4
	x, labels := batch(r, n, m)
	clear(x.Data().([]uint8)[:40]) // of which a gradient may be zero
	b, other := s.load(t, m, x, labels), s.load(t, m, x, labels)
	eps := []float64{0, 0.1, 0.3}
	both := func(f func(b Backend) error) {
		t.Helper()
		must(t, f(b))
		must(t, f(other))
	}
	images := func(b Backend) [][]float64 {
		t.Helper()
		d, err := b.Images(t.Context())
		return get(t, d, err)
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for steps := range 4 {
			for _, rounding := range []*backend.Rounding{nil, {Norm: attack.Linf}, {Norm: attack.L2}} {
				what := fmt.Sprintf("bounds %v, %d steps, rounding %v", bounds, steps, rounding)
				both(func(b Backend) error { return b.Begin(t.Context(), 0, n, eps) })
				for k := range steps {
					step := attack.BIM(3).At(k, eps, bounds)
					step.Ball = k == 2 // general
					both(func(b Backend) error { return b.Step(t.Context(), step) })
				}
				got, err := b.Outcomes(t.Context(), rounding)
				must(t, err)
				d, err := other.Logits(t.Context())
				want := get(t, d, err)
				if z := get(t, got.Logits, nil); !slices.EqualFunc(z, want, sameBits) {
					t.Fatalf("%s: logits %v, want %v", what, z, want)
				}
				zero, norms := make([]bool, 3*n), make([]attack.Norms, 3*n)
				must(t, zeroGradient(t.Context(), t, other, zero))
				must(t, rowNorms(t.Context(), t, other, norms))
				if !slices.Equal(got.Zero, zero) || !slices.Equal(got.Norms, norms) {
					t.Fatalf("%s: zero %v and norms %v, want %v and %v", what, got.Zero, got.Norms, zero, norms)
				}
				var class []int32
				if rounding != nil {
					class = make([]int32, 3*n)
					must(t, roundRows(t.Context(), t, other, rounding.Norm))
					must(t, predictions(t.Context(), t, other, class))
				}
				if !slices.Equal(got.Rounded, class) || (got.Rounded == nil) != (rounding == nil) {
					t.Fatalf("%s: rounded %v, want %v", what, got.Rounded, class)
				}
				if x, y := images(b), images(other); !slices.EqualFunc(x, y, sameBits) {
					t.Fatalf("%s: the rows are %v, want %v", what, x, y)
				}
			}
		}
	}
	before := images(b)
	for _, norm := range []attack.Norm{-1, 2} {
		if _, err := b.Outcomes(t.Context(), &backend.Rounding{Norm: norm}); err == nil {
			t.Errorf("rounding in norm %d: no error", norm)
		}
	}
	if !slices.EqualFunc(before, images(b), sameBits) {
		t.Error("what was refused moved rows")
	}
	must(t, b.Begin(t.Context(), 1, 1, eps))
	if o, err := b.Outcomes(t.Context(), &backend.Rounding{}); err != nil || o.Logits != nil || len(o.Zero)+len(o.Norms)+len(o.Rounded) != 0 {
		t.Errorf("of no rows: %+v, %v", o, err)
	}
	must(t, b.Close())
	if _, err := b.Outcomes(t.Context(), nil); err == nil {
		t.Error("after Close: no error")
	}
	c := s.open(t, m)
	if _, err := c.Outcomes(t.Context(), nil); err == nil {
		t.Error("before Load: no error")
	}
	// Logits that are not finite come as they are. Once rounded, such a row has no class.
	large := model.MLP(1, 2)
	large.Layers[0].(model.Linear).Weight.Data().([]float32)[0] = 3e38
	if s.rounding.Unit == ref.Float64.Unit {
		return // which holds them
	}
	b = s.load(t, large, tensor.New(tensor.WithShape(2, 1), tensor.WithBacking([]float32{1, 8})), []int32{0, 0})
	must(t, b.Begin(t.Context(), 0, 2, []float64{8}))
	o, err := b.Outcomes(t.Context(), nil)
	if z := get(t, o.Logits, err); z[0][0]-z[0][0] != 0 || z[1][0]-z[1][0] == 0 {
		t.Errorf("logits %v, want a finite one and one that is not", z)
	}
}
