package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// TestCol2im compares, to the bit, both ways of adding up terms: pixel by pixel, of all terms of an
// image, and row by row.
func TestCol2im(t *testing.T) {
	for _, path := range gemm.Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testCol2im[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testCol2im[float64](t, path) })
	}
}

func testCol2im[T Float](t *testing.T, path string) {
	vec := gemm.NewVector[T](path)
	r := rand.New(rand.NewPCG(74, 2))
	for range 60 {
		l := lower.Unfold{
			In:     lower.Shape{C: 1 + r.IntN(5), H: 5 + r.IntN(7), W: 5 + r.IntN(8)},
			Kernel: [2]int{1 + r.IntN(3), 1 + r.IntN(3)}, Stride: [2]int{1 + r.IntN(3), 1 + r.IntN(3)},
			Pad: [4]int{r.IntN(3), r.IntN(3), r.IntN(3), r.IntN(3)}, Dilation: [2]int{1 + r.IntN(2), 1 + r.IntN(2)}, Groups: 1,
		}
		if l.In.C > gemm.FewChannels && vec.Takes(8) {
			l.In.C = 8
		} else {
			l.In.C = min(l.In.C, gemm.FewChannels)
		}
		side := func(size, d int) int {
			return (size+l.Pad[d]+l.Pad[d+2]-(l.Kernel[d]-1)*l.Dilation[d]-1)/l.Stride[d] + 1
		}
		l.Out = lower.Shape{C: 1 + r.IntN(20), H: side(l.In.H, 0), W: side(l.In.W, 1)}
		numbers := func(n int) []T {
			v := make([]T, n)
			for i := range v {
				v[i] = T(r.NormFloat64())
			}
			return v
		}
		weight := lower.Filter([]int{l.Out.C, l.In.C, l.Kernel[0], l.Kernel[1]}, numbers(l.Out.C*l.In.C*l.Kernel[0]*l.Kernel[1]))
		sums, rowByRow := newCol2im(path, l, weight), newCol2im(path, l, weight)
		if sums.sums == nil {
			t.Fatalf("%+v: terms are added row by row", l)
		}
		rowByRow.sums, rowByRow.reads.Rows = nil, 1
		d, got, want := numbers(l.Out.Size()), numbers(l.In.Size()), numbers(l.In.Size())
		var a, b []T
		sums.image(got, d, &a, new(gemm.Scratch[T]))
		rowByRow.image(want, d, &b, new(gemm.Scratch[T]))
		same(t, fmt.Sprintf("%+v", l), got, want)
	}
}
