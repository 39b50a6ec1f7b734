//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// images makes n random images of floats for m, and labels. Half of the pixels are 0.
func images(r *rand.Rand, n int, m *model.Model) (*tensor.Dense, []int32) {
	pixels, labels := make([]float32, n*m.Inputs()), make([]int32, n)
	for i := range pixels {
		if r.IntN(2) == 0 {
			pixels[i] = r.Float32()
		}
	}
	for i := range labels {
		labels[i] = int32(r.IntN(m.Outputs()))
	}
	return tensor.New(tensor.WithShape(n, m.Inputs()), tensor.WithBacking(pixels)), labels
}

// TestProductError compares the error of each math mode against float64, on sums of 10 to 1,024
// terms. In 3xtf32 the root mean square of the error must be at most twice that of fp32. One Linear
// layer is one product. Terms of one sign are the harder kind, because tensor cores cut digits off,
// and those errors then add up.
func TestProductError(t *testing.T) {
	if len(mathModes(t)) == 1 {
		t.Skip("the device has no tensor cores for TF32")
	}
	for _, terms := range []int{10, 100, 784, 1024} {
		for _, positive := range []bool{false, true} {
			t.Run(fmt.Sprintf("K=%d/positive=%v", terms, positive), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, uint64(terms)))
				m := ref.RandomModel(r, 1, terms, 70)
				w := m.Layers[0].(model.Linear).Weight.Data().([]float32)
				if positive {
					for i, v := range w {
						w[i] = float32(math.Abs(float64(v)))
					}
				}
				const n = 130
				x, labels := images(r, n, m)
				pixels := x.Data().([]float32)
				rms := map[string]float64{}
				for _, mode := range MathModes {
					b := open(t, m, Options{MathMode: mode})
					must(t, b.Load(t.Context(), 0, x, labels))
					must(t, b.Begin(t.Context(), 0, n, []float64{0}))
					d, err := b.Logits(t.Context())
					must(t, err)
					sum, size := 0.0, 0.0
					for i := range n {
						px := make([]float64, terms)
						for k := range px {
							px[k] = float64(pixels[i*terms+k])
						}
						want, _ := ref.Forward(m, px)
						for j, v := range want {
							d := float64(d.Data().([]float32)[i*70+j]) - v
							sum += d * d
							size += v * v
						}
					}
					rms[mode] = math.Sqrt(sum / size)
				}
				t.Logf("relative error: fp32 %.3g, 3xtf32 %.3g (%.2f of it), tf32 %.3g", rms["fp32"], rms["3xtf32"], rms["3xtf32"]/rms["fp32"], rms["tf32"])
				if !(rms["3xtf32"] <= 2*rms["fp32"]) {
					t.Errorf("3xtf32 errs by %.3g, more than twice fp32's %.3g", rms["3xtf32"], rms["fp32"])
				}
				if !(rms["tf32"] > 10*rms["fp32"]) || !(rms["tf32"] < 0x1p-9) {
					t.Errorf("tf32 errs by %.3g: that is not factors of 11 bits", rms["tf32"])
				}
			})
		}
	}
}

// TestCPU checks that math mode fp32 gives the bits of the CPU backend, whatever way a batch takes.
// Both sum in one chain of fused multiply-adds over k. exp is a different function on a GPU, but it
// differs in the last bit of 53, which rounding to float32 takes away.
func TestCPU(t *testing.T) {
	need(t)
	if cpu.Kernels()[0] == "go" {
		t.Skip("the CPU kernel here does not fuse")
	}
	r := rand.New(rand.NewPCG(2, 2))
	m := ref.RandomModel(r, 1, 150, 70, 33, 10)
	const n = 37
	x, labels := images(r, n, m)
	eps := []float64{0, 0.02, 0.1, 0.3}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for _, a := range []attack.Attack{attack.FGSM(), attack.BIM(7), attack.Noise(5), {Name: "walk", Steps: 3, Direction: attack.RandomSign, Seed: 6}} {
			t.Run(fmt.Sprintf("%s/K=%d/bounds=%s", a.Name, a.Steps, bounds), func(t *testing.T) {
				host, err := cpu.New[float32](m, cpu.Options{Dense: true})
				must(t, err)
				dev := open(t, m, Options{MathMode: "fp32"})
				dev.cards[0].budget.planned = minMicrobatch // two microbatches
				for _, b := range []interface {
					walker
				}{host, dev} {
					must(t, b.Load(t.Context(), 9, x, labels))
					must(t, b.Begin(t.Context(), 2, n, eps))
				}
				for k := range a.Steps {
					s := a.At(k, eps, bounds)
					// Other sizes and a gradient take the rows off the ray of random signs.
					if a.Name == "walk" && k == 1 {
						s.Direction, s.Size = attack.Gradient, []float64{0.01, 0.02, 0.03, 0.04}
					}
					must(t, host.Step(t.Context(), s))
					must(t, dev.Step(t.Context(), s))
					if a.Steps == 7 && k%3 != 2 {
						continue // so that some steps have nothing between them
					}
					compare(t, fmt.Sprintf("step %d", k), host, dev)
				}
				compare(t, "end", host, dev)
			})
		}
	}
}

type walker interface {
	Load(ctx ctx, first int, x0 *tensor.Dense, labels []int32) error
	Begin(ctx ctx, lo, hi int, eps []float64) error
	Step(ctx ctx, s attack.Step) error
	Images(ctx ctx) (*tensor.Dense, error)
	Logits(ctx ctx) (*tensor.Dense, error)
	Gradient(ctx ctx, q *tensor.Dense) (*tensor.Dense, error)
}

// weighted returns Gradient of b for weights of both signs, which differ from row to row.
func weighted(ctx ctx, b walker) (*tensor.Dense, error) {
	z, err := b.Logits(ctx)
	if err != nil {
		return nil, err
	}
	q := make([]float64, z.DataSize())
	for k := range q {
		q[k] = float64(k%11-5) / 7
	}
	return b.Gradient(ctx, tensor.New(tensor.WithShape(z.Shape().Clone()...), tensor.WithBacking(q)))
}

func compare(t *testing.T, when string, host, dev walker) {
	t.Helper()
	for name, get := range map[string]func(walker) (*tensor.Dense, error){
		"images":    func(b walker) (*tensor.Dense, error) { return b.Images(t.Context()) },
		"logits":    func(b walker) (*tensor.Dense, error) { return b.Logits(t.Context()) },
		"gradients": func(b walker) (*tensor.Dense, error) { return weighted(t.Context(), b) },
	} {
		want, err := get(host)
		must(t, err)
		got, err := get(dev)
		must(t, err)
		w, g := want.Data().([]float32), got.Data().([]float32)
		for i := range w {
			if g[i] != w[i] {
				t.Fatalf("%s, %s: element %d of %v is %v, on the CPU %v", when, name, i, want.Shape(), g[i], w[i])
			}
		}
	}
}

// TestCPUNetworks is TestCPU for networks: each layer sums in the CPU's order. Some have channels
// enough for convolutions by tiles, one way or both.
func TestCPUNetworks(t *testing.T) {
	need(t)
	if cpu.Kernels()[0] == "go" {
		t.Skip("the CPU kernel here does not fuse")
	}
	eps := []float64{0, 0.02, 0.3}
	count, wide := 40, 12
	if testing.Short() {
		count, wide = 15, 5
	}
	for seed := range count + wide {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 3))
			m := residual(r)
			switch {
			case seed >= count:
				m = ref.RandomWide(r)
			case seed >= 5:
				m = ref.RandomNetwork(r)
			}
			const n = 5
			x, labels := images(r, n, m)
			bounds := attack.Bounds{}
			if seed%2 == 0 {
				bounds.Hi = 1
			}
			host, err := cpu.New[float32](m, cpu.Options{Dense: true})
			must(t, err)
			dev := open(t, m, Options{MathMode: "fp32"})
			inPieces(dev, 4)
			for _, b := range []walker{host, dev} {
				must(t, b.Load(t.Context(), 9, x, labels))
				must(t, b.Begin(t.Context(), 1, n, eps))
			}
			a := attack.BIM(4) // three steps of one kind: a graph
			for k := range a.Steps {
				compare(t, fmt.Sprintf("%s, before step %d", m, k), host, dev)
				for _, b := range []walker{host, dev} {
					must(t, b.Step(t.Context(), a.At(k, eps, bounds)))
				}
			}
			compare(t, m.String()+", end", host, dev)
		})
	}
}

// residual makes a network with residual connections, where a gradient is a sum of up to four. It
// has more channels than a tile has columns, strides, and pools that overlap.
func residual(r *rand.Rand) *model.Model {
	draw := func(sd float64, shape ...int) *tensor.Dense {
		n := 1
		for _, s := range shape {
			n *= s
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(sd * r.NormFloat64())
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	}
	conv := func(name string, out, in, kh, kw int, stride [2]int, pad [4]int) model.Layer {
		return model.Conv2D{Name: name, Weight: draw(math.Sqrt(2/float64(in*kh*kw)), out, in, kh, kw), Bias: draw(0.1, out), Stride: stride, Pad: pad}
	}
	one, same := [2]int{1, 1}, [4]int{1, 1, 1, 1}
	return &model.Model{
		Input: []int{3, 7, 6},
		Layers: []model.Layer{
			model.Scale{Name: "s", Weight: draw(2, 3), Bias: draw(1, 3)},
			conv("c1", 9, 3, 3, 3, one, same), model.ReLU{}, // 1, 2
			conv("c2", 9, 9, 3, 3, one, same), model.GELU{}, // 3, 4
			conv("c3", 9, 9, 1, 1, one, [4]int{}), model.Sigmoid{}, // 5, 6
			model.Add{},                 // 7: of 2, 4, 6
			model.LeakyReLU{Slope: 0.1}, // 8
			conv("c4", 40, 9, 2, 3, [2]int{2, 1}, [4]int{0, 1, 1, 2}), model.ReLU{}, // 9, 10
			// 11
			model.MaxPool2D{Kernel: [2]int{3, 2}, Stride: one, Pad: same},
			// 12
			model.AvgPool2D{Kernel: [2]int{2, 3}, Stride: one, Pad: same},
			// 13, 14
			model.Linear{Name: "f1", Weight: draw(0.05, 33, 40*5*8), Bias: draw(0.1, 33)}, model.Tanh{},
			// 15, 16
			model.Linear{Name: "f2", Weight: draw(0.2, 33, 33), Bias: draw(0.1, 33)}, model.GELU{Tanh: true},
			model.Add{}, // 17: of 16, 14, 14
			model.Linear{Name: "f3", Weight: draw(0.2, 5, 33), Bias: draw(0.1, 5)},
		},
		From: [][]int{{-1}, {0}, {1}, {2}, {2}, {4}, {2}, {2, 4, 6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}, {16, 14, 14}, {17}},
	}
}

// TestCPUExamples is TestCPU for every example of a layer. Those whose sums are of exponentials, and
// softmax, which goes back by another formula than on the CPU, are compared with their truth alone.
func TestCPUExamples(t *testing.T) {
	need(t)
	if cpu.Kernels()[0] == "go" {
		t.Skip("the CPU kernel here does not fuse")
	}
	for i, e := range model.Examples() {
		if l, ok := e.Layer.(model.Reduce); ok && l.By == "logsumexp" || e.Layer.Kind() == "softmax" {
			continue
		}
		t.Run(fmt.Sprintf("%d, %s", i, e.Layer.Kind()), func(t *testing.T) {
			m := e.Model()
			const n = 5
			x, labels := images(rand.New(rand.NewPCG(uint64(i), 4)), n, m)
			host, err := cpu.New[float32](m, cpu.Options{Dense: true})
			must(t, err)
			dev := open(t, m, Options{MathMode: "fp32"})
			for _, b := range []walker{host, dev} {
				must(t, b.Load(t.Context(), 9, x, labels))
				must(t, b.Begin(t.Context(), 1, n, []float64{0, 0.02}))
			}
			compare(t, m.String(), host, dev)
		})
	}
}
