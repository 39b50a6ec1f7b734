package cpu

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// someNetworks is how many seeds someNetwork takes.
const someNetworks uint64 = 34

// someNetwork returns a random network of a kind that goes by seed, and n images for it.
func someNetwork(r *rand.Rand, seed uint64, n int) (m *model.Model, pixels []float32) {
	m = ref.RandomNetwork(r)
	switch {
	case seed >= 28:
		m = ref.RandomWide(r)
	case seed >= 12:
		m = ref.RandomGeneral(r)
	}
	pixels = make([]float32, n*m.Inputs())
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	return m, pixels
}

// TestNetworkBits compares the bits that 1, 2, 3 and 8 threads and, but for plain Go, which may not
// fuse, all kernels give: logits, gradients and images after three steps.
func TestNetworkBits(t *testing.T) {
	const n = 33
	for seed := range someNetworks {
		if testing.Short() && seed%3 != 0 { // some of each kind, in either math
			continue
		}
		r := rand.New(rand.NewPCG(seed, 30))
		m, pixels := someNetwork(r, seed, n)
		labels := make([]int32, n)
		for i := range labels {
			labels[i] = int32(r.IntN(m.Outputs()))
		}
		eps := []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5}[seed%2*3:]
		var fused []float32
		for _, kernel := range Kernels() {
			var first []float32
			for _, threads := range []int{1, 2, 3, 8} {
				b, err := New[float32](m, Options{Threads: threads, Kernel: kernel, Math: mathOf(int(seed))})
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, m.Inputs()), tensor.WithBacking(pixels)), labels); err != nil {
					t.Fatal(err)
				}
				if err := b.Begin(t.Context(), 0, n, eps); err != nil {
					t.Fatal(err)
				}
				for k := range 3 {
					if err := b.Step(t.Context(), attack.BIM(3).At(k, eps, attack.Bounds{})); err != nil {
						t.Fatal(err)
					}
				}
				var got []float32
				q := make([]float64, n*len(eps)*m.Outputs())
				for i := range q {
					q[i] = float64(i%7 - 3)
				}
				gradient := func(ctx context.Context) (*tensor.Dense, error) {
					return b.Gradient(ctx, tensor.New(tensor.WithShape(n*len(eps), m.Outputs()), tensor.WithBacking(q)))
				}
				for _, f := range []func(context.Context) (*tensor.Dense, error){b.Logits, gradient, b.Images} {
					d, err := f(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, d.Data().([]float32)...)
				}
				if first == nil {
					first = got
				}
				if fused == nil {
					fused = got
				}
				for i, v := range got {
					if math.Float32bits(v) != math.Float32bits(first[i]) {
						t.Fatalf("seed %d, %s, %s, %d threads: value %d is %v, with 1 thread %v", seed, m, kernel, threads, i, v, first[i])
					}
					if kernel != "go" && v != fused[i] { // 0 and -0 may differ
						t.Fatalf("seed %d, %s, %s: value %d is %v, with another kernel %v", seed, m, kernel, i, v, fused[i])
					}
				}
			}
		}
	}
}

// BenchmarkNetwork times FGSM at 21 eps on a convolutional network with two convolutions and two
// Linear layers.
func BenchmarkNetwork(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func(in int, shape ...int) *tensor.Dense {
		w := make([]float32, volume(shape))
		for i := range w {
			w[i] = float32(r.NormFloat64() * math.Sqrt(2/float64(in)))
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(w))
	}
	conv := func(name string, out, in int) model.Layer {
		return model.Conv2D{Name: name, Weight: random(9*in, out, in, 3, 3), Bias: random(100, out), Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}}
	}
	fc := func(name string, out, in int) model.Layer {
		return model.Linear{Name: name, Weight: random(in, out, in), Bias: random(100, out)}
	}
	pool := model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}
	m := &model.Model{Input: []int{1, 28, 28}, Layers: []model.Layer{
		conv("conv1", 16, 1), model.ReLU{}, pool, conv("conv2", 32, 16), model.ReLU{}, pool, fc("fc1", 128, 1568), model.ReLU{}, fc("fc2", 10, 128)}}
	const n = 50 // a backend takes 63 images at 21 eps of this network at once
	pixels := make([]float32, n*784)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	eps := make([]float64, 21)
	for e := range eps {
		eps[e] = float64(e) / 40
	}
	for _, kernel := range Kernels() {
		b.Run("kernel="+kernel, func(b *testing.B) {
			back, err := New[float32](m, Options{Kernel: kernel})
			if err != nil {
				b.Fatal(err)
			}
			correct, zero, stuck := make([]int, len(eps)), make([]int, len(eps)), make([]bool, n)
			for b.Loop() {
				if err := back.Load(b.Context(), 0, tensor.New(tensor.WithShape(n, 784), tensor.WithBacking(pixels)), make([]int32, n)); err != nil {
					b.Fatal(err)
				}
				if err := back.Begin(b.Context(), 0, n, eps); err != nil {
					b.Fatal(err)
				}
				if err := back.Step(b.Context(), attack.FGSM().At(0, eps, attack.Bounds{})); err != nil {
					b.Fatal(err)
				}
				if _, err := back.Count(b.Context(), correct, zero, stuck); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
