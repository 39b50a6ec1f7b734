package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"

	"gorgonia.org/tensor"
)

// tiledForms are the forms of tiles, by the name of their math.
var tiledForms = []struct {
	math lower.Math
	tile *lower.Tile
}{{lower.Default, lower.Tile2}, {lower.Fast, lower.Tile4}}

// tiledCase is a convolution of 3×3 windows from in to out channels.
func tiledCase(tile *lower.Tile, in, out, h, w int, pad [4]int) lower.Unfold {
	return lower.Unfold{
		In: lower.Shape{C: in, H: h, W: w}, Out: lower.Shape{C: out, H: h + pad[0] + pad[2] - 2, W: w + pad[1] + pad[3] - 2},
		Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: pad, Dilation: [2]int{1, 1}, Groups: 1, Tile: tile,
	}
}

// tiledMemory is what a winograd needs of a worker.
func tiledMemory[T Float]() *memory[T] {
	return &memory[T]{rows: new(rows[T]), gemm: new(gemm.Scratch[T]), tiles: new(tileRoom[T])}
}

// TestTiledWindows compares convolutions by tiles with sums over windows in float64, on every path.
// Images have pixels that are all zero. An output is 0 with the bias, to the bit, where its window
// has no other pixel.
func TestTiledWindows(t *testing.T) {
	for _, path := range gemm.Paths() {
		for _, f := range tiledForms {
			t.Run(fmt.Sprintf("%s/float32/%s", path, f.math), func(t *testing.T) { testTiledWindows[float32](t, path, f.tile) })
			t.Run(fmt.Sprintf("%s/float64/%s", path, f.math), func(t *testing.T) { testTiledWindows[float64](t, path, f.tile) })
		}
	}
}

func testTiledWindows[T Float](t *testing.T, path string, tile *lower.Tile) {
	r := rand.New(rand.NewPCG(61, 62))
	unit, _ := roundoff[T]()
	empty, copies, m := 0, 0, tiledMemory[T]()
	for k := range testsize.Of(4, 12, 60) {
		pad := [4]int{r.IntN(3), r.IntN(3), r.IntN(3), r.IntN(3)}
		l := tiledCase(tile, 16+r.IntN(20), 16+r.IntN(20), 3+r.IntN(11), 3+r.IntN(11), pad)
		n := 1 + r.IntN(3)*r.IntN(40)
		in, out := l.In, l.Out
		weight := make([]T, out.C*in.C*9)
		for i := range weight {
			weight[i] = T(r.NormFloat64())
		}
		bias := make([]T, out.C)
		for i := range bias {
			bias[i] = T(r.NormFloat64())
			if r.IntN(3) == 0 {
				bias[i] = T(math.Copysign(0, -1))
			}
		}
		share := r.Float64() // of pixels that are not zero
		x := make([]T, n*in.Size())
		for p := range n * in.Pixels() {
			for c := range in.C {
				x[p*in.C+c] = T(math.Copysign(0, float64(r.IntN(2))-0.5))
			}
			if r.Float64() < share*share {
				for range 1 + r.IntN(2*in.C) { // may be in one channel alone
					x[p*in.C+r.IntN(in.C)] = T(r.NormFloat64())
				}
			}
		}
		for range n { // some are flat in parts
			image := x[r.IntN(n)*in.Size():][:in.Size()]
			from := image[r.IntN(in.Pixels())*in.C:][:in.C]
			from[0] = 1
			top, left := r.IntN(in.H/2), r.IntN(in.W/2)
			for h := top; h < in.H-r.IntN(3); h++ { // with an edge of steps
				for w := left; w < in.W-r.IntN(4); w++ {
					copy(image[(h*in.W+w)*in.C:], from)
				}
			}
		}
		l.Ties = k%2 == 1
		a := newWinograd(path, l, bias, lower.Filter([]int{out.C, in.C, 3, 3}, weight))
		y := make([]T, n*out.Size())
		for i := range y {
			y[i] = T(math.NaN())
		}
		a.apply(m, nil, n, y, out.Size(), x, in.Size())
		if tile.Mended && l.Ties {
			for i := range n {
				copies += checkTies(t, l, y[i*out.Size():], x[i*in.Size():])
			}
		}
		// Of a number of size 1 the transforms make some of In², and products of these sum up.
		limit := unit * 4 * tile.In * tile.In * tile.Out * math.Sqrt(float64(9*in.C))
		for i := range n {
			for p := range out.Pixels() {
				for o := range out.C {
					want, filled := 0.0, false
					for u := range 3 {
						for v := range 3 {
							h, w := p/out.W+u-pad[0], p%out.W+v-pad[1]
							if h < 0 || w < 0 || h >= in.H || w >= in.W {
								continue
							}
							for c := range in.C {
								d := float64(x[i*in.Size()+(h*in.W+w)*in.C+c])
								want += float64(d * float64(weight[(o*in.C+c)*9+3*u+v]))
								filled = filled || d != 0
							}
						}
					}
					got := y[i*out.Size()+p*out.C+o]
					if !filled {
						empty++
						zero := T(0)
						if zero += bias[o]; got != zero || math.Signbit(float64(got)) != math.Signbit(float64(zero)) {
							t.Fatalf("case %d, %+v: image %d of %d, pixel %d, output %d of a window of zeros is %g, want %g", k, l, i, n, p, o, got, zero)
						}
					} else if want += float64(bias[o]); !(math.Abs(float64(got)-want) < limit) {
						t.Fatalf("case %d, %+v: image %d of %d, pixel %d, output %d is %g, want %g within %g", k, l, i, n, p, o, got, want, limit)
					}
				}
			}
		}
	}
	if empty < 1000 {
		t.Errorf("%d outputs of windows of zeros, want more", empty)
	}
	if tile.Mended && copies < 100 {
		t.Errorf("%d windows that are the same as one beside them, want more", copies)
	}
}

// checkTies wants outputs of one number where windows that lie side by side are the same, over all
// that are connected so. It returns how many pairs there are of such windows, but for those of
// zeros.
func checkTies[T Float](t *testing.T, l lower.Unfold, y, x []T) (pairs int) {
	in, out := l.In, l.Out
	at := func(p, u, v, c int) T {
		h, w := p/out.W+u-l.Pad[0], p%out.W+v-l.Pad[1]
		if h < 0 || w < 0 || h >= in.H || w >= in.W {
			return 0
		}
		return x[(h*in.W+w)*in.C+c]
	}
	// each reports whether f is true of every place of a window.
	each := func(f func(u, v, c int) bool) bool {
		for k := range 9 * in.C {
			if !f(k/in.C/3, k/in.C%3, k%in.C) {
				return false
			}
		}
		return true
	}
	for p := range out.Pixels() {
		for _, q := range []int{p - 1, p - out.W} {
			if q < 0 || q == p-1 && p%out.W == 0 || each(func(u, v, c int) bool { return at(p, u, v, c) == 0 }) ||
				!each(func(u, v, c int) bool { return at(p, u, v, c) == at(q, u, v, c) }) {
				continue
			}
			pairs++
			for o := range out.C {
				if a, b := y[p*out.C+o], y[q*out.C+o]; a != b {
					t.Fatalf("%+v: output %d of pixels %d and %d, whose windows are the same, is %g and %g", l, o, q, p, a, b)
				}
			}
		}
	}
	return pairs
}

// TestFastErrors holds the errors of fast math against those of the default, on wide random
// networks whose truth is in float64: of logits and gradients, as a root of the mean square in
// units of what the network has. Fast math errs more, but not by more than its help says.
func TestFastErrors(t *testing.T) {
	var square [2][2]float64 // by math, and of logits or gradients
	tiled := 0
	for seed := range uint64(testsize.Of(30, 60, 300)) {
		r := rand.New(rand.NewPCG(seed, 63))
		m := ref.RandomWide(r)
		p, err := lower.NewMath(m, lower.Fast)
		must(t, err)
		for _, op := range p.Ops {
			if c, ok := op.Operation.(*lower.Convolution); ok && c.Tile == lower.Tile4 {
				tiled++
			}
		}
		pixels, truth := make([]float32, m.Inputs()), make([]float64, m.Inputs())
		for i := range pixels {
			pixels[i] = r.Float32()
			truth[i] = float64(pixels[i])
		}
		q := make([]float64, m.Outputs())
		for i := range q {
			q[i] = r.NormFloat64()
		}
		logits, values := ref.Forward(m, truth)
		gradient := ref.Backward(m, values, q)
		for k, mode := range Maths() {
			b, err := New[float32](m, Options{Math: mode, Threads: 1})
			must(t, err)
			must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(1, len(pixels)), tensor.WithBacking(pixels)), make([]int32, 1)))
			must(t, b.Begin(t.Context(), 0, 1, []float64{0}))
			z := denseOf[float32](t, b.Logits)
			d, err := b.Gradient(t.Context(), tensor.New(tensor.WithShape(1, len(q)), tensor.WithBacking(q)))
			must(t, err)
			for of, c := range []struct {
				got  []float32
				want []float64
			}{{z, logits}, {d.Data().([]float32), gradient}} {
				off, size := 0.0, 0.0
				for i, want := range c.want {
					off += (float64(c.got[i]) - want) * (float64(c.got[i]) - want)
					size += want * want
				}
				square[k][of] += min(off/size, 1e-10) // more is another way through a ReLU or a max-pool
			}
		}
	}
	for of, what := range []string{"logits", "gradients"} {
		ratio := math.Sqrt(square[1][of] / square[0][of])
		t.Logf("%s: the errors of fast math are %.2f times those of the default", what, ratio)
		if !(ratio > 1 && ratio < 4) {
			t.Errorf("%s: the errors of fast math are %.2f times those of the default, want 1 to 4", what, ratio)
		}
	}
	if tiled < 10 {
		t.Errorf("%d convolutions by tiles of 4×4, want more", tiled)
	}
}

// BenchmarkTiled times layers of a ResNet-18 for small images, on one thread, by both forms of
// tiles.
func BenchmarkTiled(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, path := range gemm.Paths() {
		for _, s := range [][3]int{{16, 28, 5}, {64, 32, 1}, {128, 16, 5}, {256, 8, 5}, {512, 4, 20}, {512, 7, 5}, {64, 56, 1}} {
			c, side, n := s[0], s[1], s[2]
			for _, f := range tiledForms {
				for _, share := range []float64{1, 0.5} {
					b.Run(fmt.Sprintf("path=%s/layer=%dx%dx%d/filled=%g/math=%s", path, c, side, side, share, f.math), func(b *testing.B) {
						l := tiledCase(f.tile, c, c, side, side, [4]int{1, 1, 1, 1})
						a := newWinograd(path, l, nil, func(_, _, _, _ int) float32 { return float32(r.NormFloat64()) })
						x, y, m := make([]float32, n*l.In.Size()), make([]float32, n*l.Out.Size()), tiledMemory[float32]()
						for i := range x {
							if i/c%side < int(share*float64(side)) {
								x[i] = float32(max(0, r.NormFloat64()))
							}
						}
						for b.Loop() {
							a.apply(m, nil, n, y, l.Out.Size(), x, l.In.Size())
						}
						b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/image")
					})
				}
			}
		}
	}
}
