package pipeline_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/pipeline"
)

// TestEOT holds a step in L2 to the gradient of the mean cross-entropy of the copies with noise, by
// central differences of forward passes in float64. Their error is the square of their width, 1e-5,
// and rounding over it. The copies of an image differ in confidence, so that their gradients count
// for different shares.
func TestEOT(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 1))
	const h, w, draws, sigma, width = 4, 5, 6, 0.5, 1e-5
	m := ref.RandomModel(r, 1, h*w, 12, 4)
	set := correctSet(t, r, m, 8, h, w)
	b := open[float64](t, m)
	uneven := 0
	for _, target := range []attack.Target{attack.Untargeted, attack.Class(2)} {
		a := attack.EOT(1, draws, sigma, 7)
		a.Norm, a.Target = attack.L2, target
		for i := range set.N() {
			one, err := set.Slice(i, 1)
			if err != nil {
				t.Fatal(err)
			}
			ex, err := pipeline.Craft(t.Context(), b, one, a, 0.01, attack.Bounds{})
			if err != nil {
				t.Fatal(err)
			}
			x0, label := image64(set, i), int(set.Labels[i])
			of, sign := label, 1.0
			if target != attack.Untargeted {
				if of, sign = 2, -1; label == of {
					of = 3
				}
			}
			noise := make([][]float64, draws)
			for d := range noise {
				noise[d] = make([]float64, h*w)
				attack.Normals(noise[d], 7, set.First+i, uint32(d))
			}
			// loss is that of one copy, sign by where the attack goes.
			loss := func(x []float64, d int) float64 {
				at := make([]float64, len(x))
				for k, v := range x {
					at[k] = v + sigma*noise[d][k]
				}
				z, _ := ref.Forward(m, at)
				top := math.Inf(-1)
				for _, v := range z {
					top = max(top, v)
				}
				sum := 0.0
				for _, v := range z {
					sum += math.Exp(v - top)
				}
				return sign * (top + math.Log(sum) - z[of])
			}
			want := make([]float64, h*w)
			low, high := math.Inf(1), 0.0
			for d := range draws {
				low, high = min(low, math.Abs(loss(x0, d))), max(high, math.Abs(loss(x0, d)))
				for k := range want {
					up, down := append([]float64(nil), x0...), append([]float64(nil), x0...)
					up[k] += width
					down[k] -= width
					want[k] += (loss(up, d) - loss(down, d)) / (2 * width)
				}
			}
			if high > 2*low {
				uneven++
			}
			dot, a2, b2 := 0.0, 0.0, 0.0
			for k, v := range ex.Perturbed.Data().([]float64) {
				d := v - x0[k]
				dot += d * want[k]
				a2 += d * d
				b2 += want[k] * want[k]
			}
			if cos := dot / math.Sqrt(a2*b2); !(cos >= 1-1e-8) || !(math.Abs(math.Sqrt(a2)-0.01) <= 1e-9) {
				t.Errorf("target %v, image %d: a step of length %v at a cosine of %v to the gradient, want 0.01 and 1", target, i, math.Sqrt(a2), cos)
			}
		}
	}
	if uneven < 4 {
		t.Errorf("%d images whose copies differ in confidence: the test says too little", uneven)
	}
	t.Logf("%d images whose copies differ in confidence", uneven)
}
