package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestIm2col compares products, to the bit, with those of a copy of each window.
func TestIm2col(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testIm2col[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testIm2col[float64](t, path) })
	}
}

func testIm2col[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		g Im2col
		n int
	}{
		{Im2col{1, 1, 0, 0, []Segment{{3, 1}}, 1}, 1},
		{Im2col{7, 9, 31, 2, []Segment{{0, 5}, {40, 5}, {17, 1}}, 1}, 16},
		{Im2col{5, 5, 40, 8, []Segment{{0, 24}}, 1}, 33},
		{Im2col{4, 3, 11, 1, []Segment{{0, 3}, {11, 3}}, 1}, 90},
		{Im2col{2, 14, 900, 3, []Segment{{7, 700}, {800, 700}}, 1}, 7},
		{Im2col{11, 2, 9, 3, []Segment{{0, 1}, {5, 2}}, 1}, 100},
		{Im2col{3, 12, 30, 1, []Segment{{0, 9}, {120, 9}, {240, 9}}, 4}, 32},
		{Im2col{1, 9, 0, 1, []Segment{{0, 600}}, 3}, 81},
	} {
		k := 0
		for _, segment := range c.g.Segments {
			k += segment.N
		}
		a, b, bias := random[T](r, 5000), random[T](r, k*c.n), random[T](r, c.n+100)
		m := NewMatrix[T](path, k, c.n)
		m.Pack(b, c.n, 1)
		ldc, rows := c.n+3, c.g.Rows*c.g.Cols
		got, want := random[T](r, rows*ldc), make([]T, rows*ldc)
		copy(want, got)
		copied := make([]T, rows*k)
		for row := range rows {
			at := row / c.g.Cols * c.g.RowStride
			at += row % c.g.Cols * c.g.ColStride
			to := copied[row*k:]
			for _, segment := range c.g.Segments {
				for i := range segment.N {
					to[i] = a[at+segment.At+i*c.g.Step]
				}
				to = to[segment.N:]
			}
			copy(want[row*ldc:][:c.n], bias)
		}
		var s Scratch[T]
		m.MulAdd(want, ldc, copied, k, 1, rows, &s)
		m.MulIm2col(got, ldc, bias, a, &c.g, &s)
		equal(t, fmt.Sprintf("%+v", c.g), got, want)
		m.MulAdd(want, ldc, copied, k, 1, rows, &s)
		m.MulIm2col(got, ldc, nil, a, &c.g, &s)
		equal(t, fmt.Sprintf("%+v on what is there", c.g), got, want)
	}
}
