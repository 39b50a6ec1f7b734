package cpu

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// TestGeneralThreads compares the bits that 1, 2, 3 and 8 threads give, at rows of one block and of
// several.
func TestGeneralThreads(t *testing.T) {
	const n, in = 47, 50
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, in, 40, 30, 5)
	pixels, labels := make([]float32, n*in), make([]int32, n)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	for i := range labels {
		labels[i] = int32(r.IntN(5))
	}
	for _, E := range []int{1, 7, 40} {
		eps, restarts := make([]float64, E), make([]int, E)
		for e := range eps {
			eps[e], restarts[e] = 0.05*float64(e/2), e%2
		}
		targets := make([]int32, n*E)
		for i := range targets {
			targets[i] = int32(r.IntN(5))
		}
		for k, s := range []attack.Step{
			{Loss: attack.DLR, Ball: true, Momentum: true, Nesterov: true, Decay: 0.9},
			{Norm: attack.L2, Targets: targets, Alpha: 0.75, Bounds: attack.Bounds{Lo: 0, Hi: 1}},
			{Norm: attack.L2, Loss: attack.Margin, Momentum: true, Decay: 1, Ball: true},
			{Direction: attack.Uniform, Norm: attack.L2, Restarts: restarts, Ball: true},
			{Direction: attack.RandomSign, Restarts: restarts, Ball: true, Alpha: 0.5},
		} {
			s.Size = eps
			var first []float32
			for _, threads := range []int{1, 2, 3, 8} {
				b, err := New[float32](m, Options{Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels))
				must(t, b.Begin(t.Context(), 0, n, eps))
				keep := make([]bool, n*E)
				for r := range keep {
					keep[r] = r%3 == 1
				}
				for s.Index = range 3 {
					must(t, b.Step(t.Context(), s))
					if s.Index == 0 {
						must(t, b.Keep(t.Context(), 1, keep))
					}
				}
				must(t, b.Restore(t.Context(), 1, keep))
				o, err := b.Outcomes(t.Context(), nil)
				must(t, err)
				var got []float32
				for range 2 {
					for _, f := range []func(context.Context) (*tensor.Dense, error){b.Logits, b.Images} {
						d, err := f(t.Context())
						must(t, err)
						got = append(got, d.Data().([]float32)...)
					}
					_, err := b.Outcomes(t.Context(), &backend.Rounding{Norm: s.Norm})
					must(t, err)
				}
				for _, v := range o.Norms {
					got = append(got, v.Linf, v.L2, float32(v.L0))
				}
				if first == nil {
					first = got
				}
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(first[i]) {
						t.Fatalf("step %d, %d eps, %d threads: value %d is %v, with 1 thread %v", k, E, threads, i, got[i], first[i])
					}
				}
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSums compares the sums with their documented order, to the bit, and with known numbers.
func TestSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	for _, n := range []int{1, 2, 31, 32, 33, 64, 100, 784} {
		x, x0 := make([]float32, n), make([]float32, n)
		for k := range x {
			x[k], x0[k] = float32(r.NormFloat64()), float32(r.NormFloat64())
		}
		inOrder := func(f func(k int) float64) float64 {
			var s [32]float64
			for k := range n {
				s[k%32] += f(k)
			}
			for _, h := range []int{16, 8, 4, 2, 1} {
				for k := range h {
					s[k] += s[k+h]
				}
			}
			return s[0]
		}
		// The compiler does not fuse it into a sum, since f returns it.
		square := func(v float64) float64 { return v * v }
		for name, c := range map[string][2]float64{
			"norm2":    {norm2(x), math.Sqrt(inOrder(func(k int) float64 { return square(float64(x[k])) }))},
			"distance": {distance(x, x0), math.Sqrt(inOrder(func(k int) float64 { return square(float64(x[k]) - float64(x0[k])) }))},
			"meanAbs":  {meanAbs(x), inOrder(func(k int) float64 { return math.Abs(float64(x[k])) }) / float64(n)},
		} {
			if c[0] != c[1] {
				t.Errorf("%s of %d: %v, want %v", name, n, c[0], c[1])
			}
		}
	}
	if got := norm2([]float64{3, 0, -4}); got != 5 {
		t.Errorf("norm of 3, 0, -4: %v, want 5", got)
	}
	if got := distance([]float64{3, 1}, []float64{0, -3}); got != 5 {
		t.Errorf("distance of (3, 1) and (0, -3): %v, want 5", got)
	}
	if got := meanAbs([]float64{3, 0, -6, 3}); got != 3 {
		t.Errorf("mean of |3, 0, -6, 3|: %v, want 3", got)
	}
}

// TestExtremeGradients has the gradient (3, -4) times a scale. Its squares, sums or reciprocals are
// too large or too small for float64, or for float32. The direction must be that of (3, -4) all the
// same.
func TestExtremeGradients(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testExtremeGradients[float32](t, 0x1p-147, 0x1p-100, 0x1p125) })
	t.Run("float64", func(t *testing.T) { testExtremeGradients[float64](t, 0x1p-1072, 0x1p-600, 0x1p600, 0x1p1021) })
}

func testExtremeGradients[T Float](t *testing.T, scales ...float64) {
	for _, scale := range scales {
		for _, momentum := range []bool{false, true} {
			for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
				m := model.MLP(2, 2)
				w := []float64{3 * scale, -4 * scale, 0, 0}
				m.Layers[0] = model.Linear{Name: "fc1", Weight: tensor.New(tensor.WithShape(2, 2), tensor.WithBacking(w)), Bias: tensor.New(tensor.WithShape(2), tensor.WithBacking([]float64{0, 0}))}
				b, err := New[T](m, Options{})
				must(t, err)
				must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]float64{0, 0})), []int32{1}))
				must(t, b.Begin(t.Context(), 0, 1, []float64{8}))
				must(t, b.Step(t.Context(), attack.Step{Loss: attack.Margin, Norm: norm, Ball: true, Momentum: momentum, Size: []float64{5}}))
				want := []T{3, -4}
				if norm == attack.Linf {
					want = []T{5, -5}
				}
				for k, v := range b.state.x {
					if !(math.Abs(float64(v-want[k])) <= 1e-6) {
						t.Errorf("gradient times %v, norm %v, momentum %v: moved to %v, want %v", scale, norm, momentum, b.state.x, want)
						break
					}
				}
				if b.state.zero[0] {
					t.Errorf("gradient times %v counts as zero", scale)
				}
			}
		}
	}
}

// TestMomentumOverflows: a momentum that is not finite is an error, and no row moves along it.
func TestMomentumOverflows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	m := ref.RandomModel(r, 1, 4, 3)
	b, err := New[float32](m, Options{})
	must(t, err)
	must(t, b.Load(t.Context(), 7, tensor.New(tensor.WithShape(1, 4), tensor.WithBacking([]float64{0, 1, 0.5, 0.25})), []int32{1}))
	must(t, b.Begin(t.Context(), 0, 1, []float64{8}))
	s := attack.Step{Ball: true, Momentum: true, Decay: 1e30, Size: []float64{5}}
	must(t, b.Step(t.Context(), s))
	must(t, b.Step(t.Context(), s))
	want := "cpu: step: image 7: the gradient is not finite in float32"
	if err := b.Step(t.Context(), s); fmt.Sprint(err) != want {
		t.Errorf("error %v, want %q", err, want)
	}
}
