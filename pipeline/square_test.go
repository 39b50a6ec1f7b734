package pipeline_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"
)

// TestSquareOnPlane holds Square to the closed form on a model of two classes without a hidden
// layer. Its margin falls along a plane with normal w, so that no point of the ball of eps has less
// than the margin at the image less eps·‖w‖, in the dual norm. More queries find no larger one.
// Nothing says how near a random search comes: an L∞ search that may flip each pixel alone comes
// near, one of L2 by windows of nine pixels does not.
func TestSquareOnPlane(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 1))
	const h, w, n = 5, 6, 12
	m := ref.RandomModel(r, 1, h*w, 2)
	set := correctSet(t, r, m, n, h, w)
	b := open[float64](t, m)
	weights := m.Layers[0].(model.Linear).Weight.Data().([]float32)
	for _, c := range []struct {
		norm   attack.Norm
		eps    float64
		least  float64 // of the way to the closed form that 3,000 queries must go
		length func(v []float64) float64
	}{
		{attack.Linf, 1e-3, 0.99, func(v []float64) (sum float64) {
			for _, x := range v {
				sum += math.Abs(x)
			}
			return sum
		}},
		{attack.L2, 1e-3, 0.5, func(v []float64) (sum float64) {
			for _, x := range v {
				sum += x * x
			}
			return math.Sqrt(sum)
		}},
	} {
		normal := make([]float64, h*w)
		for k := range normal {
			normal[k] = float64(weights[k]) - float64(weights[h*w+k])
		}
		dual := c.eps * c.length(normal)
		before, held := make([]float64, n), 0
		for i, queries := range []int{1, 100, 3000} {
			s := pipeline.Sweep{Attacks: []attack.Attack{attack.Square(queries, 3)}, Eps: []float64{0, c.eps}}
			s.Attacks[0].Norm = c.norm
			res, err := s.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			for k := range n {
				o := res.Curves[0].Outcomes
				clean, margin := float64(o[2*k].Margin), float64(o[2*k+1].Margin)
				if clean < 2*dual { // it stops where the class changes
					continue
				}
				held++
				fell := (clean - margin) / dual
				if fell > 1+1e-4 || i == 2 && !(fell >= c.least) {
					t.Errorf("%v, %d queries, image %d: the margin %v fell to %v, %.4f of what is possible, want %v to 1", c.norm, queries, k, clean, margin, fell, c.least)
				}
				if i > 0 && !(margin <= before[k]+1e-6) {
					t.Errorf("%v, image %d: margin %v with %d queries, %v with fewer", c.norm, k, margin, queries, before[k])
				}
				before[k] = margin
				if norms := o[2*k+1].Norms; float64(norms.Linf) > c.eps*(1+1e-6) || c.norm == attack.L2 && float64(norms.L2) > c.eps*(1+1e-6) {
					t.Errorf("%v, image %d: norms %+v, want at most %v", c.norm, k, norms, c.eps)
				}
			}
		}
		if held < 3*n/2 {
			t.Errorf("%v: %d margins were held to the closed form: the test says too little", c.norm, held)
		}
	}
}
