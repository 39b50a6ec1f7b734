package cpu

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"advsweep/attack"
	"advsweep/internal/backendtest"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// TestBackend runs the suite on every kernel that this processor has.
func TestBackend(t *testing.T) {
	for _, kernel := range Kernels() {
		o := Options{Kernel: kernel, Threads: 3}
		t.Run(kernel+"/float32", func(t *testing.T) { backendtest.Run(t, ref.Float32, opener[float32](o)) })
		t.Run(kernel+"/float64", func(t *testing.T) { backendtest.Run(t, ref.Float64, opener[float64](o)) })
	}
}

// TestNetworks runs the suite's cases for networks.
func TestNetworks(t *testing.T) {
	for _, kernel := range Kernels() {
		o := Options{Kernel: kernel, Threads: 3}
		t.Run(kernel+"/float32", func(t *testing.T) { backendtest.RunNetworks(t, ref.Float32, opener[float32](o)) })
		t.Run(kernel+"/float64", func(t *testing.T) { backendtest.RunNetworks(t, ref.Float64, opener[float64](o)) })
	}
}

// TestFastNetworks runs these cases in fast math. TestNetworkBits says that kernels are alike.
func TestFastNetworks(t *testing.T) {
	o := Options{Threads: 3, Math: "fast"}
	t.Run("float32", func(t *testing.T) { backendtest.RunNetworks(t, ref.Fast32, opener[float32](o)) })
	t.Run("float64", func(t *testing.T) { backendtest.RunNetworks(t, ref.Fast64, opener[float64](o)) })
}

func opener[T Float](o Options) func(*testing.T, *model.Model) backendtest.Backend {
	return func(t *testing.T, m *model.Model) backendtest.Backend {
		t.Helper()
		b, err := New[T](m, o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// TestThreads compares the bits that 1, 2, 3 and 8 threads give: logits and images after BIM, few
// eps and many, with and without bounds, and walks.
func TestThreads(t *testing.T) {
	const n, k = 131, 4
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, 20, 40, 30, 5)
	pixels, labels := make([]float32, n*20), make([]int32, n)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	for i := range labels {
		labels[i] = int32(r.IntN(5))
	}
	for _, E := range []int{1, 3, 7, 21} {
		eps := make([]float64, E)
		for e := range eps {
			eps[e] = 0.02 * float64(e+E%2)
		}
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			var first []float32
			var walks []attack.Walk
			for _, threads := range []int{1, 2, 3, 8} {
				b, err := New[float32](m, Options{Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, 20), tensor.WithBacking(pixels)), labels); err != nil {
					t.Fatal(err)
				}
				if err := b.Begin(t.Context(), 0, n, eps); err != nil {
					t.Fatal(err)
				}
				for s := range k {
					if err := b.Step(t.Context(), attack.BIM(k).At(s, eps, bounds)); err != nil {
						t.Fatal(err)
					}
				}
				var got []float32
				for _, f := range []func(context.Context) (*tensor.Dense, error){b.Logits, b.Images} {
					d, err := f(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, d.Data().([]float32)...)
				}
				walked := make([]attack.Walk, n)
				if err := b.Exact(t.Context(), 0, 0.5, bounds, walked); err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first, walks = got, walked
				}
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(first[i]) {
						t.Fatalf("%d eps, bounds %s, %d threads: value %d of the logits and images is %v, with 1 thread %v", E, bounds, threads, i, got[i], first[i])
					}
				}
				for i := range walked {
					if !reflect.DeepEqual(walked[i], walks[i]) {
						t.Fatalf("bounds %s, %d threads: walk of image %d is %+v, with 1 thread %+v", bounds, threads, i, walked[i], walks[i])
					}
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestNewErrors(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 4, 3, 2)
	for name, c := range map[string]struct {
		m *model.Model
		o Options
	}{
		"negative threads": {m, Options{Threads: -1}},
		"unknown kernel":   {m, Options{Kernel: "mmx"}},
		"unknown math":     {m, Options{Math: "wild"}},
		"no layers":        {&model.Model{}, Options{}},
		"one class":        {model.MLP(4, 1), Options{}},
	} {
		if b, err := New[float32](c.m, c.o); err == nil {
			t.Errorf("%s: %v, want an error", name, b)
		}
	}
}

func BenchmarkForward(b *testing.B)  { benchmark(b, false) }
func BenchmarkGradient(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, gradient bool) {
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, 784, 1024, 1024, 10)
	const n = 1000
	pixels := make([]float32, n*784)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	for _, kernel := range Kernels() {
		b.Run(fmt.Sprintf("kernel=%s/B=%d", kernel, n), func(b *testing.B) {
			back, err := New[float32](m, Options{Kernel: kernel})
			if err != nil {
				b.Fatal(err)
			}
			if err := back.Load(b.Context(), 0, tensor.New(tensor.WithShape(n, 784), tensor.WithBacking(pixels)), make([]int32, n)); err != nil {
				b.Fatal(err)
			}
			if err := back.Begin(b.Context(), 0, n, []float64{0.1}); err != nil {
				b.Fatal(err)
			}
			step := attack.FGSM().At(0, []float64{0.1}, attack.Bounds{})
			// From here on rows are not clean images.
			if err := back.Step(b.Context(), step); err != nil {
				b.Fatal(err)
			}
			class := make([]int32, n)
			for b.Loop() {
				if gradient {
					err = back.Step(b.Context(), step)
				} else {
					err = back.Predictions(b.Context(), class)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			flop := 2 * float64(784*1024+1024*1024+1024*10) * n
			if gradient {
				flop *= 2
			}
			s := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(n/s, "images/s")
			b.ReportMetric(flop/s/1e9, "GFLOP/s")
		})
	}
}

// TestDense compares the usual way, which leaves out zeros and follows moves, with the dense one.
// Before the first step, and after it without bounds, all bits are the same. Later a layer differs
// by the rounding of a few more additions, and a gradient that near to 0 may have another sign.
func TestDense(t *testing.T) {
	for _, kernel := range Kernels() {
		t.Run(kernel+"/float32", func(t *testing.T) { testDense[float32](t, kernel, 1e-4) })
		t.Run(kernel+"/float64", func(t *testing.T) { testDense[float64](t, kernel, 1e-12) })
	}
}

func testDense[T Float](t *testing.T, kernel string, tol float64) {
	const n, k = 7, 5
	r := rand.New(rand.NewPCG(2, 9))
	signs, other := 0, 0
	for _, sizes := range [][]int{{5, 3}, {33, 40, 4}, {64, 70, 31, 10}, {50, 64, 64, 64, 10}} {
		m := ref.RandomModel(r, 1, sizes...)
		x0, labels := images(r, n, m)
		for _, E := range []int{1, 4, 5, 6, 21} {
			eps := make([]float64, E)
			for e := range eps {
				eps[e] = float64(e) / 40
			}
			for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
				var logits, x [2][]float64
				for step := range k {
					var b [2]*Backend[T]
					for i := range b {
						var err error
						if b[i], err = New[T](m, Options{Kernel: kernel, Threads: 2, Dense: i == 1}); err != nil {
							t.Fatal(err)
						}
						if err := b[i].Load(t.Context(), 0, x0, labels); err != nil {
							t.Fatal(err)
						}
						if err := b[i].Begin(t.Context(), 0, n, eps); err != nil {
							t.Fatal(err)
						}
						for s := range step {
							a := attack.BIM(k)
							if step == 4 && s == 2 {
								// A step that takes no gradient, among those that do.
								a = attack.Noise(3)
							}
							if err := b[i].Step(t.Context(), a.At(s, eps, bounds)); err != nil {
								t.Fatal(err)
							}
						}
						d, err := b[i].Logits(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						logits[i] = ref.Float64s(d)
						if d, err = b[i].Images(t.Context()); err != nil {
							t.Fatal(err)
						}
						x[i] = ref.Float64s(d)
						if err := b[i].Close(); err != nil {
							t.Fatal(err)
						}
					}
					moved := make([]bool, n*E) // elsewhere
					for p, v := range x[0] {
						signs++
						if !(math.Abs(v-x[1][p]) <= tol/100) {
							other++
							moved[p/m.Inputs()] = true
						}
					}
					limit := tol
					if step == 0 || step == 1 && bounds.None() {
						limit = 0
					}
					for j, v := range logits[0] {
						if row := j / m.Outputs(); !moved[row] && !(math.Abs(v-logits[1][j]) <= limit*(1+math.Abs(v))) {
							t.Fatalf("%v, %d eps, bounds %s, %d steps: logit %d of row %d is %v, on the dense way %v", sizes, E, bounds, step, j%m.Outputs(), row, v, logits[1][j])
						}
					}
				}
			}
		}
	}
	if other*10_000 > signs {
		t.Errorf("%d of %d pixels are elsewhere", other, signs)
	}
	t.Logf("%d of %d pixels are elsewhere", other, signs)
}
