package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// TestExact compares the intervals of small random models with a fine grid in float64, for every kernel, with and without
// bounds: one to five layers of 1 to 40 units, some dead, some twice, classes of equal weights, and black images, at which
// all units without a bias have their breakpoint at once.
func TestExact(t *testing.T) {
	for _, kernel := range Kernels() {
		t.Run(kernel+"/float32", func(t *testing.T) { testExact[float32](t, kernel, 2e-5) })
		t.Run(kernel+"/float64", func(t *testing.T) { testExact[float64](t, kernel, 1e-9) })
	}
}

// testExact allows a point of the grid to be on either side where a crossing lies within tol, or where the margin is
// within tol of 0 relative to the logits: there rounding decides.
func testExact[T Float](t *testing.T, kernel string, tol float64) {
	models, grid := 60, 1000
	if testing.Short() {
		models, grid = 20, 200
	}
	points, close, ends, islands, zero := 0, 0, 0, 0, 0
	for seed := range models {
		r := rand.New(rand.NewPCG(7, uint64(seed)))
		sizes := []int{1 + r.IntN(40)}
		for range r.IntN(5) {
			sizes = append(sizes, 1+r.IntN(40))
		}
		sizes = append(sizes, 2+r.IntN(9))
		m := ref.RandomModel(r, 1, sizes...)
		disfigure(r, m)
		n := 1 + r.IntN(23)
		x0, labels := images(r, n, m)
		max := []float64{0.1, 0.5, 3}[r.IntN(3)]
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.5}} {
			b, err := New[T](m, Options{Kernel: kernel, Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Load(t.Context(), 0, x0, labels); err != nil {
				t.Fatal(err)
			}
			walks := make([]attack.Walk, n)
			if err := b.Exact(t.Context(), 0, max, bounds, walks); err != nil {
				t.Fatal(err)
			}
			for i, w := range walks {
				x := make([]float64, m.Inputs())
				for k, v := range x0.Data().([]uint8)[i*len(x):][:len(x)] {
					x[k] = float64(v) / 255
				}
				y := int(labels[i])
				for _, v := range w.Correct {
					if !(v.Lo >= 0 && v.Lo < v.Hi && v.Hi <= max*(1+1e-6)) {
						t.Fatalf("model %d %v, image %d: interval %v", seed, sizes, i, v)
					}
				}
				if len(w.Correct) > 1 {
					islands++
				}
				if w.Zero {
					zero++
				}
				if len(w.Disagreed) > 0 {
					t.Errorf("model %d %v, bounds %s, image %d: forward passes disagree with the ends at %v of %v", seed, sizes, bounds, i, w.Disagreed, w.Correct)
				}
				ends += w.Ends
				sign := b.sign[i*len(x):][:len(x)]
				g := make([]float64, len(x))
				for k, s := range sign {
					g[k] = float64(s)
				}
				for k := range grid + 1 {
					eps := max * float64(k) / float64(grid)
					z, _ := ref.Forward(m, ref.SignStep(x, x, g, eps, eps, bounds))
					points++
					want := ref.Argmax(z) == y
					top := math.Inf(-1)
					scale := 0.0
					for c, v := range z {
						if c != y {
							top = math.Max(top, v)
						}
						scale = math.Max(scale, math.Abs(v))
					}
					if w.At(eps, max) == want {
						continue
					}
					if math.Abs(z[y]-top) <= tol*(scale+1) {
						close++
						continue
					}
					t.Fatalf("model %d %v, bounds %s, image %d of label %d: at eps %v right is %v, want %v (margin %v); intervals %v", seed, sizes, bounds, i, y, eps, w.At(eps, max), want, z[y]-top, w.Correct)
				}
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d points, %d of them close to a tie and on the other side; %d ends, %d images with islands, %d with zero gradients", points, close, ends, islands, zero)
	if close*1000 > points || ends < models || islands == 0 || zero == 0 {
		t.Errorf("the test says too little")
	}
}

// disfigure makes a model with what could trip a walk.
func disfigure(r *rand.Rand, m *model.Model) {
	for l, layer := range m.Layers {
		a, ok := layer.(model.Linear)
		if !ok {
			continue
		}
		w, b := a.Weight.Data().([]float32), a.Bias.Data().([]float32)
		n := len(w) / len(b)
		last := l == len(m.Layers)-1
		for o := range b {
			switch r.IntN(12) {
			case 0: // the same as another
				from := r.IntN(len(b))
				copy(w[o*n:][:n], w[from*n:][:n])
				b[o] = b[from]
			case 1: // a breakpoint where a black image is
				b[o] = 0
			case 2:
				if !last { // dead
					clear(w[o*n:][:n])
					b[o] = -1
				}
			case 3: // opposite of another: a breakpoint shared
				from := r.IntN(len(b))
				for k := range n {
					w[o*n+k] = -w[from*n+k]
				}
				b[o] = -b[from]
			case 4: // round numbers, so that sums are exact
				for k := range n {
					w[o*n+k] = float32(r.IntN(3) - 1)
				}
				b[o] = float32(r.IntN(3)-1) / 2
			}
		}
	}
}

// images makes n images, some black, and labels of which about half are right.
func images(r *rand.Rand, n int, m *model.Model) (*tensor.Dense, []int32) {
	in := m.Inputs()
	pixels, labels := make([]uint8, n*in), make([]int32, n)
	for i := range n {
		x := make([]float64, in)
		for k := range in {
			if i%5 > 0 && r.IntN(3) > 0 {
				pixels[i*in+k] = uint8(r.IntN(256))
			}
			x[k] = float64(pixels[i*in+k]) / 255
		}
		z, _ := ref.Forward(m, x)
		labels[i] = int32(ref.Argmax(z))
		if r.IntN(4) == 0 {
			labels[i] = int32(r.IntN(m.Outputs()))
		}
	}
	return tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels
}

var _ = fmt.Sprint
