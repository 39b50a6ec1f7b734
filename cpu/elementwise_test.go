package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/internal/testsize"
	"advsweep/model"
)

// A stray is a layer that only this test knows.
type stray struct{ model.Layer }

// What this package has no operation for is an error of New that names it, not a nil that fails
// later: a layer that nobody knows, and a function that has no row in this package's table.
func TestUnknownOperation(t *testing.T) {
	tanh := functions["tanh"]
	delete(functions, "tanh")
	defer func() { functions["tanh"] = tanh }()
	for _, c := range []struct {
		layer model.Layer
		want  string
	}{
		{stray{model.ReLU{}}, "layer 1 is cpu.stray"},
		{model.Tanh{}, `cpu: layer 1: no elementwise function "tanh", want `},
	} {
		m := model.MLP(3, 2)
		m.Layers = append(m.Layers, c.layer)
		_, err := New[float32](m, Options{})
		_, err64 := New[float64](m, Options{})
		for _, err := range []error{err, err64} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%T: error %v, want %s", c.layer, err, c.want)
			}
		}
	}
}

// parameters are those that a function is tested with, if it has any.
var parameters = map[string][][2]float64{
	"pow":              {{2}},
	"round_clip":       {{-2, 2}, {0, 255}, {math.Copysign(0, -1), 3}, {-3, 0}, {-4, math.Copysign(0, -1)}},
	"elu":              {{1, 1}, {1.6732632423543772, 1}, {0.7, -0.3}},
	"leaky_relu":       {{0.01}, {-2}},
	"clip":             {{0, 6}, {-0.5, 0.25}, {-1, math.Inf(1)}},
	"thresholded_relu": {{1}, {0}},
}

// eachElementwise calls f for every function and its parameters.
func eachElementwise(f func(e lower.Elementwise)) {
	names := map[string]bool{}
	for name := range functions {
		names[name] = true
	}
	for name := range exactFunctions[float32]("go") {
		names[name] = true
	}
	for name := range names {
		ps := parameters[name]
		if ps == nil {
			ps = [][2]float64{{}}
		}
		for _, p := range ps {
			f(lower.Elementwise{Name: name, Parameters: p})
		}
	}
}

// smooth are the functions that must have a vector form on amd64.
var smooth = []string{
	"sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "mish", "hardswish", "softplus", "softsign", "exp", "erf", "elu", "round_clip",
	"leaky_relu", "clip", "thresholded_relu", "abs",
}

func TestSmoothAreVectors(t *testing.T) {
	for _, path := range gemm.Paths() {
		for _, name := range smooth {
			a, b := gemm.NewActivation[float32](path, name), gemm.NewActivation[float64](path, name)
			x, y := make([]float32, 8), make([]float64, 8)
			want := 0
			if strings.HasPrefix(path, "avx") {
				want = 8
			}
			if got := a.Forward(x, x, &[2]float64{}); got != want {
				t.Errorf("%s, %s, float32: %d of 8 in vectors, want %d", path, name, got, want)
			}
			if got := b.Forward(y, y, &[2]float64{}); got != want {
				t.Errorf("%s, %s, float64: %d of 8 in vectors, want %d", path, name, got, want)
			}
		}
	}
}

// edges are numbers at which some scalar code takes another way, with their neighbours.
func edges[T Float]() (x []T) {
	for _, v := range []float64{
		0, math.SmallestNonzeroFloat64, 0x1p-1022, 0x1p-600, 0x1p-149, 0x1p-126, 0x1p-55, 0x1p-54, 0x1p-53, 0x1p-27, 1e-9, 0.25, 0.35, 0.41,
		math.Sqrt2 - 1, 1 - math.Sqrt2/2, 0.5, 0.625, math.Ln2, 0.8813735870195429, 1, 1.5, 2, 3, 3.75, 6, 6 * math.Sqrt2, 11, 22, 26.5, 27.3, 28,
		28 * math.Sqrt2, 36, 37.5, 40, 87, 88.7, 89, 103.2, 104, 150, 354, 708, 708.4, 709.7, 709.8, 710, 744, 745.13, 745.2, 746, 1000, 1023, 1e4,
		1e18, math.MaxFloat32, 1e150, 1e154, 1e155, 1e300, math.MaxFloat64, math.Inf(1), math.NaN(),
	} {
		for _, v := range []float64{v, math.Nextafter(v, 0), math.Nextafter(v, math.Inf(1)), float64(math.Nextafter32(float32(v), 0)), float64(math.Nextafter32(float32(v), math.MaxFloat32))} {
			x = append(x, T(v), T(-v))
		}
	}
	return x
}

// alike reports whether a and b have the same bits, or both are NaN.
func alike[T Float](a, b T) bool {
	return a == b && math.Signbit(float64(a)) == math.Signbit(float64(b)) || a != a && b != b
}

// sameAsScalar compares the forward of e and, if there is a d, the backward, on every path, with
// the scalar code: with the path "go", which has no vectors.
func sameAsScalar[T Float](t *testing.T, e lower.Elementwise, x, d []T) {
	t.Helper()
	n := len(x)
	run := func(path string) (y, dx []T) {
		op, err := newElementwise[T](path, e)
		if err != nil {
			t.Fatal(err)
		}
		y, dx = make([]T, n+1), make([]T, n+1) // the last must stay
		op.forward(nil, y[:n], [][]T{x})
		if d != nil {
			op.backward(nil, dx[:n], [][]T{x}, 0, y[:n], slices.Clone(d))
		}
		return y, dx
	}
	y, dx := run("go")
	for _, path := range gemm.Paths() {
		if path == "go" {
			continue
		}
		gotY, gotX := run(path)
		if gotY[n] != 0 || gotX[n] != 0 {
			t.Fatalf("%s, %s %v, n=%d: %v and %v behind the last", path, e.Name, e.Parameters, n, gotY[n], gotX[n])
		}
		for i, v := range x {
			if !alike(gotY[i], y[i]) || !alike(gotX[i], dx[i]) {
				var g T
				if d != nil {
					g = d[i]
				}
				t.Fatalf("%s, %s %v, n=%d: f(%v) = %v, and back %v of %v, want %v and %v", path, e.Name, e.Parameters, n, v, gotY[i], gotX[i], g, y[i], dx[i])
			}
		}
	}
}

// TestElementwiseBits compares every function, on every path, with the scalar code: for all
// lengths of the end of a vector, at the edges of the scalar code, and for many numbers.
func TestElementwiseBits(t *testing.T) {
	t.Run("float32", testElementwiseBits[float32])
	t.Run("float64", testElementwiseBits[float64])
}

func testElementwiseBits[T Float](t *testing.T) {
	r := rand.New(rand.NewPCG(17, 1))
	numbers := func(n int, width float64) []T {
		x := make([]T, n)
		for i := range x {
			x[i] = T(width * r.NormFloat64())
		}
		return x
	}
	bits := make([]T, testsize.Of(2_000, 20_000, 2_000_000)) // any bits
	for i := range bits {
		bits[i] = T(math.Float64frombits(r.Uint64()))
		if v, ok := any(math.Float32frombits(r.Uint32())).(T); ok {
			bits[i] = v
		}
	}
	odd := []T{1, -1, 0, T(math.Copysign(0, -1)), T(math.Inf(1)), T(math.NaN()), 0x1p-140, -3}
	at := edges[T]()
	eachElementwise(func(e lower.Elementwise) {
		for n := range 68 {
			sameAsScalar(t, e, numbers(n, 2), numbers(n, 1))
		}
		for shift := range odd {
			d := make([]T, len(at))
			for i := range d {
				d[i] = odd[(i+shift)%len(odd)]
			}
			sameAsScalar(t, e, at, d)
		}
		for _, width := range []float64{1e-3, 1, 4, 30, 400} {
			n := testsize.Of(2_000, 20_000, 2_000_000)
			sameAsScalar(t, e, numbers(n, width), numbers(n, 1))
		}
		sameAsScalar(t, e, bits, numbers(len(bits), 1))
	})
}

// TestElementwiseEach compares Exp in float64, which most others are made of, at every float32 in
// the long form, and at every so many in the others. It compares the others at fewer.
func TestElementwiseEach(t *testing.T) {
	for _, name := range smooth {
		e := lower.Elementwise{Name: name}
		if p := parameters[name]; p != nil {
			e.Parameters = p[0]
		}
		if name == "exp" {
			t.Run("exp/float64", func(t *testing.T) { testEach[float64](t, e, testsize.Of(1<<16-15, 1<<10-3, 1), false) })
			continue
		}
		step := testsize.Of(1<<20-3, 1<<16-15, 1<<11-9)
		t.Run(name+"/float32", func(t *testing.T) { testEach[float32](t, e, step, true) })
		t.Run(name+"/float64", func(t *testing.T) { testEach[float64](t, e, step, true) })
	}
}

// testEach compares e at every so many of the float32, in parts that run at a time.
func testEach[T Float](t *testing.T, e lower.Elementwise, step int, back bool) {
	const parts, block = 8, 1 << 13
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			var x, d []T
			for i := int64(part * step); i < 1<<32; i += int64(parts * step) {
				x = append(x, T(math.Float32frombits(uint32(i))))
				if back {
					d = append(d, 1)
				}
				if len(x) == block {
					sameAsScalar(t, e, x, d)
					x, d = x[:0], d[:0]
				}
			}
			sameAsScalar(t, e, x, d)
		})
	}
}

// BenchmarkElementwise compares every path, in turns, with the scalar code. The numbers are
// those of an activation that follows a normalisation, and stay in the first-level cache.
func BenchmarkElementwise(b *testing.B) {
	b.Run("float32", benchElementwise[float32])
	b.Run("float64", benchElementwise[float64])
}

func benchElementwise[T Float](b *testing.B) {
	const n = 1024
	r := rand.New(rand.NewPCG(17, 3))
	x, y, d := make([]T, n), make([]T, n), make([]T, n)
	for i := range x {
		x[i], d[i] = T(r.NormFloat64()), T(r.NormFloat64())
	}
	for _, path := range gemm.Paths() {
		if path == "go" {
			continue
		}
		for _, name := range smooth {
			e := lower.Elementwise{Name: name}
			if p := parameters[name]; p != nil {
				e.Parameters = p[0]
			}
			b.Run(fmt.Sprintf("path=%s/%s", path, name), func(b *testing.B) {
				least := [4]time.Duration{1 << 62, 1 << 62, 1 << 62, 1 << 62}
				for b.Loop() {
					for i, path := range []string{path, "go"} {
						op, err := newElementwise[T](path, e)
						if err != nil {
							b.Fatal(err)
						}
						start := time.Now()
						op.forward(nil, y, [][]T{x})
						least[2*i] = min(least[2*i], time.Since(start))
						start = time.Now()
						op.backward(nil, y, [][]T{x}, 0, nil, d)
						least[2*i+1] = min(least[2*i+1], time.Since(start))
					}
				}
				for i, name := range []string{"ns-forward", "ns-backward", "ns-scalar-forward", "ns-scalar-backward"} {
					b.ReportMetric(float64(least[i])/n, name)
				}
			})
		}
	}
}
