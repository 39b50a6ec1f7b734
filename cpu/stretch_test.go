package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// straightNetwork returns a random network that is piecewise linear and no MLP, disfigured every
// other time: with dead units, units that are there twice, and equal rows of the last layer.
func straightNetwork(t *testing.T, r *rand.Rand, seed int) *model.Model {
	for {
		m := ref.RandomNetwork(r)
		if seed%3 == 2 {
			m = ref.RandomGeneral(r)
		}
		b, err := New[float64](m, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if b.NotExact() == nil {
			if seed%2 == 0 {
				spoil(r, m)
			}
			return m
		}
	}
}

// spoil gives layers rows that are zero, equal or opposite, and biases of 0.
func spoil(r *rand.Rand, m *model.Model) {
	for l, layer := range m.Layers {
		var w, b *tensor.Dense
		switch a := layer.(type) {
		case model.Linear:
			w, b = a.Weight, a.Bias
		case model.Conv2D:
			w, b = a.Weight, a.Bias
		default:
			continue
		}
		switch w := w.Data().(type) {
		case []float32:
			spoilRows(r, w, b.Data().([]float32), l == len(m.Layers)-1)
		case []float64:
			spoilRows(r, w, b.Data().([]float64), l == len(m.Layers)-1)
		}
	}
}

func spoilRows[T Float](r *rand.Rand, w, b []T, last bool) {
	n := len(w) / len(b)
	for o := range b {
		from := r.IntN(len(b))
		switch r.IntN(10) {
		case 0:
			copy(w[o*n:][:n], w[from*n:][:n])
			b[o] = b[from]
		case 1:
			b[o] = 0
		case 2:
			if !last {
				clear(w[o*n:][:n])
				b[o] = -1
			}
		case 3:
			for k := range n {
				w[o*n+k] = -w[from*n+k]
			}
			b[o] = -b[from]
		case 4:
			for k := range n {
				w[o*n+k] = T(r.IntN(3) - 1)
			}
			b[o] = T(r.IntN(3)-1) / 2
		}
	}
}

// TestStretches compares the intervals of small random networks of convolutions, pools, residual
// connections, bent and linear layers of all kinds with a grid in float64 that internal/ref
// computes, with and without bounds.
func TestStretches(t *testing.T) {
	t.Run("float64", func(t *testing.T) { testStretches[float64](t, 1e-11) })
	t.Run("float32", func(t *testing.T) { testStretches[float32](t, 1e-4) })
}

// testStretches lets a point of the grid be on either side where the margin is within tol of 0,
// relative to the largest number on the way.
func testStretches[T Float](t *testing.T, tol float64) {
	models, grid := testsize.Of(30, 60, 400), testsize.Of(200, 500, 2000)
	points, close, ends, islands, looked, rays, ties := 0, 0, 0, 0, 0, 0, 0
	for seed := range models {
		r := rand.New(rand.NewPCG(20, uint64(seed)))
		m := straightNetwork(t, r, seed)
		n := 1 + r.IntN(9)
		x0, labels := images(r, n, m)
		max := []float64{0.1, 0.5, 3}[r.IntN(3)]
		b, err := New[T](m, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Load(t.Context(), 0, x0, labels); err != nil {
			t.Fatal(err)
		}
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.5}} {
			walks := make([]attack.Walk, n)
			before := b.rays.looked.Load()
			if err := b.Exact(t.Context(), 0, max, bounds, walks); err != nil {
				t.Fatalf("model %d %s: %v", seed, m, err)
			}
			looked, rays = looked+int(b.rays.looked.Load()-before), rays+n
			for i, w := range walks {
				x, g := make([]float64, m.Inputs()), make([]float64, m.Inputs())
				for k := range x {
					x[k], g[k] = float64(b.loaded.clean(i)[k]), float64(b.loaded.signs.of(i)[k])
				}
				if len(w.Disagreed) > 0 {
					t.Errorf("model %d %s, bounds %s, image %d: forward passes disagree with the ends at %v of %v", seed, m, bounds, i, w.Disagreed, w.Correct)
				}
				if w.Within >= max && w.Ends > 0 {
					ties++
				}
				if ends += w.Ends; len(w.Correct) > 1 {
					islands++
				}
				for k := range grid + 1 {
					eps := max * float64(k) / float64(grid)
					z, values := ref.Forward(m, ref.SignStep(x, x, g, eps, eps, bounds))
					points++
					y := int(labels[i])
					if w.At(eps, max) == (ref.Argmax(z) == y) {
						continue
					}
					top, scale := math.Inf(-1), 0.0
					for c, v := range z {
						if c != y {
							top = math.Max(top, v)
						}
					}
					for _, v := range values {
						for _, v := range v {
							scale = math.Max(scale, math.Abs(v))
						}
					}
					if math.Abs(z[y]-top) <= tol*scale {
						close++
						continue
					}
					t.Fatalf("model %d %s, bounds %s, image %d of label %d: at eps %v right is %v, but the margin is %v of %v; intervals %v", seed, m, bounds, i, y, eps, w.At(eps, max), z[y]-top, scale, w.Correct)
				}
			}
		}
	}
	t.Logf("%d points, %d of them close to a tie and on the other side; %d ends, %d of rays where rounding decides, %d images with islands; %.1f points looked at a ray", points, close, ends, ties, islands, float64(looked)/float64(rays))
	if close*200 > points || ends < models || islands == 0 {
		t.Errorf("the test says too little")
	}
}
