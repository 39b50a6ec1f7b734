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

// images makes n random images of floats, as many pixels as m takes, half of them 0.
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

// TestProductError holds the default to what it claims: on sums of 10 to 1,024 terms the root mean square of its error against
// float64 is at most twice that of FP32. One Linear layer is one product. Terms of one sign are the harder kind:
// what tensor cores cut off then adds up.
func TestProductError(t *testing.T) {
	if len(products(t)) == 1 {
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
				for _, product := range Products {
					b := open(t, m, Options{Product: product})
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
					rms[product] = math.Sqrt(sum / size)
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

// TestCPU wants from the fp32 product the very bits of the CPU backend, along every path that a batch can take: both sum in one chain
// of fused multiply-adds over k. (exp is another function on a GPU, but its last bit of 53 rounds away.)
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
				dev := open(t, m, Options{Product: "fp32"})
				dev.parts[0].planned = minChunk // two chunks
				for _, b := range []interface {
					walker
				}{host, dev} {
					must(t, b.Load(t.Context(), 9, x, labels))
					must(t, b.Begin(t.Context(), 2, n, eps))
				}
				for k := range a.Steps {
					s := a.At(k, eps, bounds)
					if a.Name == "walk" && k == 1 { // other sizes, a gradient: off the ray of random signs
						s.Direction, s.Size = attack.Gradient, []float64{0.01, 0.02, 0.03, 0.04}
					}
					must(t, host.Step(t.Context(), s))
					must(t, dev.Step(t.Context(), s))
					if a.Steps == 7 && k%3 != 2 {
						continue // steps that follow each other with nothing between
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
	InputGradient(ctx ctx) (*tensor.Dense, error)
}

func compare(t *testing.T, when string, host, dev walker) {
	t.Helper()
	for name, get := range map[string]func(walker) (*tensor.Dense, error){
		"images":    func(b walker) (*tensor.Dense, error) { return b.Images(t.Context()) },
		"logits":    func(b walker) (*tensor.Dense, error) { return b.Logits(t.Context()) },
		"gradients": func(b walker) (*tensor.Dense, error) { return b.InputGradient(t.Context()) },
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
