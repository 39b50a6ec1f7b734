package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// TestTrainingSteps follows a few steps of Adam on a small MLP in float64, by the formulas of
// algorithm 1 of Kingma and Ba. The gradient of the mean cross-entropy is taken by central
// differences. A weight moves by about 1e-3 in a step, and float32 may err by a hundredth of that.
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
			// Central differences use nothing of the program's own formulas.
			for _, p := range params {
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

// TestNetworkTrainingSteps is TestTrainingSteps for convolutions. It has two input channels, pools
// that leave out a row, a Linear behind them whose inputs are NHWC, and batches of several groups.
func TestNetworkTrainingSteps(t *testing.T) {
	const n, batch = 13, 11 // batches of 11 and 2: groups of 8 and 3, and of 2
	r := rand.New(rand.NewPCG(3, 2))
	pixels, labels := make([]uint8, n*2*8*6), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(3))
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(n, 2, 8, 6), tensor.WithBacking(pixels)), Labels: labels}
	train := Training{Channels: []int{8, 3}, Classes: 3, Epochs: 1, Batch: batch, Rate: 1e-3, Seed: 7}
	train.Options.Threads = 2
	got, err := train.Run(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	train.Options.Threads = 1
	again, err := train.Run(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range got.Layers {
		a, _ := learned(l)
		if b, _ := learned(again.Layers[i]); !slices.Equal(a, b) {
			t.Errorf("layer %d: other weights with other threads", i)
		}
	}

	rng := rand.New(rand.NewPCG(train.Seed, 0))
	want, err := train.model([]int{2, 8, 6})
	if err != nil {
		t.Fatal(err)
	}
	type moments struct {
		w, m, v []float64
		small   []bool
	}
	var params []*moments
	draw := func(shape []int, bound float64) *tensor.Dense {
		p := &moments{make([]float64, volume(shape)), make([]float64, volume(shape)), make([]float64, volume(shape)), make([]bool, volume(shape))}
		for i := range p.w {
			p.w[i] = float64(float32((2*rng.Float64() - 1) * bound))
		}
		params = append(params, p)
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(p.w))
	}
	for i, l := range want.Layers {
		switch l := l.(type) {
		case model.Conv2D:
			bound := 1 / math.Sqrt(float64(l.Weight.Shape()[1]*9))
			l.Weight, l.Bias = draw(l.Weight.Shape(), bound), draw(l.Bias.Shape(), bound)
			want.Layers[i] = l
		case model.Linear:
			bound := 1 / math.Sqrt(float64(l.Weight.Shape()[1]))
			l.Weight, l.Bias = draw(l.Weight.Shape(), bound), draw(l.Bias.Shape(), bound)
			want.Layers[i] = l
		}
	}
	loss := func(drawn []int) float64 {
		sum := 0.0
		for _, i := range drawn {
			x := make([]float64, 96)
			for k, v := range pixels[i*96:][:96] {
				x[k] = float64(v) / 255
			}
			z, _ := ref.Forward(want, x)
			sum += ref.Loss(z, int(labels[i]))
		}
		return sum / float64(len(drawn))
	}
	order := rng.Perm(n)
	for step := 1; step <= 2; step++ {
		drawn := order[(step-1)*batch : min(step*batch, n)]
		rate := train.Rate * (1 - 0.9*float64(step-1)/2)
		var grads [][]float64
		for _, p := range params {
			g := make([]float64, len(p.w))
			for i, w := range p.w {
				const h = 1e-6
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
				if g != 0 && math.Abs(g) < 1e-4 {
					p.small[i] = true
				}
			}
		}
	}
	// Adam divides by the size of a gradient. Where that is small, two things count: its rounding
	// in float32, and that 1e-8 is added to √v before the correction of its bias and not after it.
	k, judged, all := 0, 0, 0
	for i, l := range got.Layers {
		w, bias := learned(l)
		if w == nil {
			continue
		}
		for _, w := range [][]float32{w, bias} {
			for j, v := range w {
				all++
				tol := 1e-5
				if params[k].small[j] {
					tol = 4e-3
				} else {
					judged++
				}
				if d := math.Abs(float64(v) - params[k].w[j]); !(d <= tol) {
					t.Errorf("layer %d, parameter %d: %v, want %v (off by %.2g)", i, j, v, params[k].w[j], d)
				}
			}
			k++
		}
	}
	if judged*10 < all*8 {
		t.Errorf("%d of %d parameters are judged: the test says too little", judged, all)
	}
	t.Logf("%d of %d parameters are judged", judged, all)
}

// What training does not know is named before it begins.
func TestTrains(t *testing.T) {
	for _, e := range model.Examples() {
		m := e.Model()
		want := ""
		switch l := e.Layer.(type) {
		case model.Conv2D:
			if l.Groups > 1 || l.Dilation != [2]int{} {
				want = "(conv2d): "
			}
		case model.Scale, model.Constant:
			want = fmt.Sprintf("(%s): its weights are not trained", l.Kind())
		}
		err := trains(m)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", e.Layer.Kind(), err, want)
		}
	}
}
