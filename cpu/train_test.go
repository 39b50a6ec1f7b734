package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// TestTrainingSteps follows a few steps of Adam on a small network in float64, by the formulas of
// Kingma and Ba's algorithm 1, the gradient of the mean cross-entropy taken by central
// differences. A weight moves by about 1e-3 a step; float32 is held to a hundredth of one.
func TestTrainingSteps(t *testing.T) {
	const n, in, epochs, batch = 10, 6, 3, 4 // batches of 4, 4 and 2
	r := rand.New(rand.NewPCG(1, 2))
	pixels, labels := make([]uint8, n*in), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(3))
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(n, 2, 3), tensor.WithBacking(pixels)), Labels: labels}
	train := Training{Hidden: []int{5, 4}, Classes: 3, Epochs: epochs, Batch: batch, Rate: 1e-3, Seed: 7, Options: Options{Threads: 2}}
	got, err := train.Run(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}

	// The same draws: weights and biases of each layer in turn, then an order for each epoch.
	rng := rand.New(rand.NewPCG(train.Seed, 0))
	want := model.MLP(in, 5, 4, 3)
	type moments struct{ w, m, v []float64 }
	var params []*moments
	for _, l := range want.Layers {
		if l, ok := l.(model.Linear); ok {
			bound := 1 / math.Sqrt(float64(l.Weight.Shape()[1]))
			for _, w := range [][]float32{l.Weight.Data().([]float32), l.Bias.Data().([]float32)} {
				p := &moments{make([]float64, len(w)), make([]float64, len(w)), make([]float64, len(w))}
				for i := range w {
					w[i] = float32((2*rng.Float64() - 1) * bound)
					p.w[i] = float64(w[i])
				}
				params = append(params, p)
			}
		}
	}
	loss := func(drawn []int) float64 {
		sum := 0.0
		for _, i := range drawn {
			x := make([]float64, in)
			for k, v := range pixels[i*in:][:in] {
				x[k] = float64(v) / 255
			}
			for l := 0; l < len(params); l += 2 {
				if l > 0 {
					x = ref.ReLUForward(x)
				}
				x = ref.AffineForward(x, params[l].w, params[l+1].w)
			}
			sum += ref.Loss(x, int(labels[i]))
		}
		return sum / float64(len(drawn))
	}
	step := 0
	for range epochs {
		order := rng.Perm(n)
		for at := 0; at < n; at += batch {
			drawn := order[at:min(at+batch, n)]
			rate := train.Rate * (1 - 0.9*float64(step)/9)
			step++
			var grads [][]float64
			for _, p := range params { // by central differences: nothing of the program's own formulas
				g := make([]float64, len(p.w))
				for i, w := range p.w {
					const h = 1e-5
					p.w[i] = w + h
					up := loss(drawn)
					p.w[i] = w - h
					g[i] = (up - loss(drawn)) / (2 * h)
					p.w[i] = w
				}
				grads = append(grads, g)
			}
			for k, p := range params {
				for i, g := range grads[k] {
					p.m[i] = 0.9*p.m[i] + 0.1*g
					p.v[i] = 0.999*p.v[i] + 0.001*g*g
					m := p.m[i] / (1 - math.Pow(0.9, float64(step)))
					v := p.v[i] / (1 - math.Pow(0.999, float64(step)))
					p.w[i] -= rate * m / (math.Sqrt(v) + 1e-8)
				}
			}
		}
	}
	k := 0
	for _, l := range got.Layers {
		if l, ok := l.(model.Linear); ok {
			for _, w := range [][]float64{ref.Float64s(l.Weight), ref.Float64s(l.Bias)} {
				for i, v := range w {
					if d := math.Abs(v - params[k].w[i]); !(d <= 1e-5) {
						t.Errorf("layer %s, parameter %d: %v, want %v (off by %.2g)", l.Name, i, v, params[k].w[i], d)
					}
				}
				k++
			}
		}
	}
}
