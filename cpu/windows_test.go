package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"

	"gorgonia.org/tensor"
)

// eachPlace calls f for each place k of each window that is no padding, with the first channel of
// the window in the output and that of the place in the image: by rows of windows, then by places,
// and then by columns. It is the order in which gradients are added up.
func eachPlace(l lower.Unfold, f func(k, to, from int)) {
	for r := range l.Out.H {
		for u := range l.Kernel[0] {
			for v := range l.Kernel[1] {
				for col := range l.Out.W {
					y, x := r*l.Stride[0]+u*l.Dilation[0]-l.Pad[0], col*l.Stride[1]+v*l.Dilation[1]-l.Pad[1]
					if y >= 0 && y < l.In.H && x >= 0 && x < l.In.W {
						f(u*l.Kernel[1]+v, (r*l.Out.W+col)*l.Out.C, (y*l.In.W+x)*l.In.C)
					}
				}
			}
		}
	}
}

// A windowCase is an operation on windows and its definition.
type windowCase[T Float] struct {
	name           string
	op             operation[T]
	forward        func(y, x []T)
	backward       func(dx, x, y, d []T)
	changesNothing bool // in d
}

// windowCases makes one of each operation on windows l.
func windowCases[T Float](path string, r *rand.Rand, l lower.Unfold) []windowCase[T] {
	vec := gemm.NewVector[T](path)
	c, k := l.Out.C, l.Kernel[0]*l.Kernel[1]
	w, bias := make([]T, c*k), make([]T, c)
	for i := range w {
		w[i] = T(r.NormFloat64())
	}
	for i := range bias {
		bias[i] = T(r.NormFloat64())
	}
	conv := &lower.Convolution{
		Unfold: l,
		Weight: tensor.New(tensor.WithShape(c, 1, l.Kernel[0], l.Kernel[1]), tensor.WithBacking(w)),
		Bias:   tensor.New(tensor.WithShape(c), tensor.WithBacking(bias)),
	}
	// products adds what a place has, times its weight, to the other side.
	products := func(to, from []T, back bool) {
		eachPlace(l, func(p, o, i int) {
			if back {
				o, i = i, o
			}
			for ch := range c {
				to[o+ch] += T(w[ch*k+p] * from[i+ch])
			}
		})
	}
	count := make([]T, l.Out.Size())
	eachPlace(l, func(_, o, _ int) {
		for ch := range c {
			count[o+ch]++
		}
	})
	all := []windowCase[T]{{
		"depthwise", newDepthwise(vec, conv),
		func(y, x []T) {
			for i := range y {
				y[i] = bias[i%c]
			}
			products(y, x, false)
		},
		func(dx, _, _, d []T) { products(dx, d, true) }, true,
	}, {
		"max-pool", newMaxPool(vec, newPool(l)),
		func(y, x []T) {
			for i := range y {
				y[i] = T(math.Inf(-1))
			}
			eachPlace(l, func(_, o, i int) {
				for ch := range c {
					if y := &y[o+ch]; !(*y > x[i+ch] || *y != *y) {
						*y = x[i+ch]
					}
				}
			})
		},
		func(dx, x, y, d []T) {
			eachPlace(l, func(_, o, i int) {
				for ch := range c {
					if !(x[i+ch] < y[o+ch]) {
						dx[i+ch] += d[o+ch]
						d[o+ch] = 0
					}
				}
			})
		}, true,
	}}
	for _, pad := range []bool{false, true} {
		by := func(i int) T {
			if pad {
				return T(k)
			}
			return count[i]
		}
		all = append(all, windowCase[T]{
			fmt.Sprintf("average pool, padding counts %v", pad), newAvgPool(vec, newPool(l), pad),
			func(y, x []T) {
				eachPlace(l, func(_, o, i int) {
					for ch := range c {
						y[o+ch] += x[i+ch]
					}
				})
				for i := range y {
					y[i] /= by(i)
				}
			},
			func(dx, _, _, d []T) {
				eachPlace(l, func(_, o, i int) {
					for ch := range c {
						dx[i+ch] += d[o+ch] / by(o+ch)
					}
				})
			}, false,
		})
	}
	return all
}

// TestWindowOperations compares, to the bit, the operations on windows with their definitions,
// place by place, on random windows.
func TestWindowOperations(t *testing.T) {
	for _, path := range gemm.Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testWindowOperations[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testWindowOperations[float64](t, path) })
	}
}

func testWindowOperations[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(71, 2))
	overlaps := 0
	for n := 0; n < 150; {
		l := lower.Unfold{
			In:     lower.Shape{C: 1 + r.IntN(40), H: 1 + r.IntN(9), W: 1 + r.IntN(9)},
			Kernel: [2]int{1 + r.IntN(3), 1 + r.IntN(4)}, Stride: [2]int{1 + r.IntN(3), 1 + r.IntN(3)},
			Pad: [4]int{r.IntN(3), r.IntN(3), r.IntN(3), r.IntN(3)}, Dilation: [2]int{1 + r.IntN(2), 1 + r.IntN(2)},
		}
		side := func(size, d int) int {
			return (size+l.Pad[d]+l.Pad[d+2]-(l.Kernel[d]-1)*l.Dilation[d]-1)/l.Stride[d] + 1
		}
		if n < 4 { // rows of windows that lie behind each other, one below the other
			l.Kernel, l.Stride, l.Pad = [2]int{2 + n%2, 1}, [2]int{1, 1}, [4]int{}
		}
		l.Out, l.Groups = lower.Shape{C: l.In.C, H: side(l.In.H, 0), W: side(l.In.W, 1)}, l.In.C
		if l.In.H+l.Pad[0]+l.Pad[2] <= (l.Kernel[0]-1)*l.Dilation[0] || l.In.W+l.Pad[1]+l.Pad[3] <= (l.Kernel[1]-1)*l.Dilation[1] {
			continue
		}
		n++
		for _, c := range windowCases[T](path, r, l) {
			if p, ok := c.op.(*maxPool[T]); ok && !p.once {
				overlaps++
			}
			x, d := make([]T, l.In.Size()), make([]T, l.Out.Size())
			for i := range x { // with ties
				x[i] = T(r.IntN(7)-3) / 4
			}
			if r.IntN(4) == 0 {
				x[r.IntN(len(x))] = T(math.NaN())
			}
			for i := range d {
				d[i] = T(r.NormFloat64())
			}
			y, want := make([]T, len(d)), make([]T, len(d))
			fill(y, T(math.NaN())) // what is there must not matter
			m := &memory[T]{rows: new(rows[T])}
			c.op.forward(m, y, [][]T{x})
			c.forward(want, x)
			same(t, fmt.Sprintf("%s of %+v", c.name, l), y, want)
			dx, wantX, mine := make([]T, len(x)), make([]T, len(x)), append([]T(nil), d...)
			fill(dx, T(math.NaN()))
			c.op.backward(m, dx, [][]T{x}, 0, y, mine)
			c.backward(wantX, x, want, append([]T(nil), d...))
			same(t, fmt.Sprintf("the way back of %s of %+v", c.name, l), dx, wantX)
			if c.changesNothing {
				same(t, "d", mine, d)
			}
		}
	}
	if overlaps < 20 {
		t.Fatalf("windows overlap in %d cases, want some", overlaps)
	}
}

// same fails unless both have the same bits, or both are NaN.
func same[T Float](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i, w := range want {
		g := got[i]
		if g != w && (g == g || w == w) || g == 0 && math.Signbit(float64(g)) != math.Signbit(float64(w)) {
			t.Fatalf("%s: [%d] = %v, want %v", what, i, g, w)
		}
	}
}

// TestScale compares w·x + b, and w·d on the way back, number by number and to the bit, zeros of
// either sign among them.
func TestScale(t *testing.T) {
	for _, path := range gemm.Paths() {
		vec := gemm.NewVector[float32](path)
		r := rand.New(rand.NewPCG(72, 2))
		for c := 1; c < 40; c++ {
			numbers := func(n int) []float32 {
				v := make([]float32, n)
				for i := range v {
					v[i] = float32(r.IntN(5)-2) * r.Float32()
					if r.IntN(4) == 0 {
						v[i] = float32(math.Copysign(0, float64(r.IntN(2)*2-1)))
					}
				}
				return v
			}
			pixels := 1 + r.IntN(9)
			w, b, x, y := numbers(c), numbers(c), numbers(c*pixels), make([]float32, c*pixels)
			want, back := make([]float32, len(x)), make([]float32, len(x))
			for i, v := range x {
				back[i] = float32(w[i%c] * v)
				want[i] = back[i] + b[i%c]
			}
			a := newScale(vec, w, b)
			a.forward(nil, y, [][]float32{x})
			same(t, path+": scale", y, want)
			a.backward(nil, y, nil, 0, nil, x)
			same(t, path+": the way back", y, back)
		}
	}
}
