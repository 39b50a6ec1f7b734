package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// TestGroupwise compares, to the bit, convolutions of narrow groups with products of each group, and
// their way back with col2im.
func TestGroupwise(t *testing.T) {
	for _, path := range gemm.Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testGroupwise[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testGroupwise[float64](t, path) })
	}
}

func testGroupwise[T Float](t *testing.T, path string) {
	if gemm.NewVector[T](path).Groups(2, 16) == nil {
		t.Skip("this path has only products of each group")
	}
	r := rand.New(rand.NewPCG(73, 2))
	for n := 0; n < 60; {
		depth := 1 << r.IntN(4)
		groups := 16 / depth * (1 + r.IntN(5))
		if path == "avx512" {
			groups = 1 + r.IntN(20)
		}
		l := lower.Unfold{
			In:     lower.Shape{C: depth * groups, H: 3 + r.IntN(7), W: 3 + r.IntN(8)},
			Kernel: [2]int{1 + r.IntN(3), 1 + r.IntN(3)}, Stride: [2]int{1 + r.IntN(2), 1 + r.IntN(2)},
			Pad: [4]int{r.IntN(3), r.IntN(3), r.IntN(3), r.IntN(3)}, Dilation: [2]int{1 + r.IntN(2), 1 + r.IntN(2)}, Groups: groups,
		}
		side := func(size, d int) int {
			return (size + l.Pad[d] + l.Pad[d+2] - (l.Kernel[d]-1)*l.Dilation[d] - 1 + l.Stride[d]) / l.Stride[d]
		}
		l.Out = lower.Shape{C: l.In.C, H: side(l.In.H, 0), W: side(l.In.W, 1)}
		g := groupsOf[T](path, l)
		if g == nil || l.Out.H < 1 || l.Out.W < 1 {
			continue
		}
		n++
		numbers := func(n int) []T {
			v := make([]T, n)
			for i := range v {
				v[i] = T(r.NormFloat64())
			}
			return v
		}
		w, bias := numbers(l.Out.C*depth*l.Kernel[0]*l.Kernel[1]), numbers(l.Out.C)
		weight := lower.Filter([]int{l.Out.C, depth, l.Kernel[0], l.Kernel[1]}, w)
		const images = 2
		both := func(what string, a, b way[T], in, out int) {
			m := &memory[T]{rows: new(rows[T]), gemm: new(gemm.Scratch[T])}
			x, got, want := numbers(images*(in+3)), numbers(images*(out+5)), []T(nil)
			want = append(want, got...)
			var f, h []T
			a.apply(m, &f, images, got, out+5, x, in+3)
			flop := m.rows.flop
			b.apply(m, &h, images, want, out+5, x, in+3)
			same(t, fmt.Sprintf("%s of %+v", what, l), got, want)
			if flop != m.rows.flop-flop {
				t.Fatalf("%s of %+v: %d operations, want %d", what, l, flop, m.rows.flop-flop)
			}
		}
		both("convolution", newGroupwise(path, l, g, bias, weight), newIm2col(path, l, bias, weight), l.In.Size(), l.Out.Size())
		both("way back", newGroupwiseBack(path, l, g, weight), newCol2im(path, l, weight), l.Out.Size(), l.In.Size())
	}
}
