package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestWindows compares to the bit with the product of a copy of each window.
func TestWindows(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testWindows[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testWindows[float64](t, path) })
	}
}

func testWindows[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		g Grid
		n int
	}{
		{Grid{1, 1, 0, 0, []Run{{3, 1}}, 1}, 1},
		{Grid{7, 9, 31, 2, []Run{{0, 5}, {40, 5}, {17, 1}}, 1}, 16},
		{Grid{5, 5, 40, 8, []Run{{0, 24}}, 1}, 33},
		{Grid{4, 3, 11, 1, []Run{{0, 3}, {11, 3}}, 1}, 90},
		{Grid{2, 14, 900, 3, []Run{{7, 700}, {800, 700}}, 1}, 7},
		{Grid{11, 2, 9, 3, []Run{{0, 1}, {5, 2}}, 1}, 100},
		{Grid{3, 12, 30, 1, []Run{{0, 9}, {120, 9}, {240, 9}}, 4}, 32},
		{Grid{1, 9, 0, 1, []Run{{0, 600}}, 3}, 81},
	} {
		k := 0
		for _, run := range c.g.Runs {
			k += run.N
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
			for _, run := range c.g.Runs {
				for i := range run.N {
					to[i] = a[at+run.At+i*c.g.Step]
				}
				to = to[run.N:]
			}
			copy(want[row*ldc:][:c.n], bias)
		}
		var s Scratch[T]
		m.MulAdd(want, ldc, copied, k, 1, rows, &s)
		m.MulWindows(got, ldc, bias, a, &c.g, &s)
		equal(t, fmt.Sprintf("%+v", c.g), got, want)
		m.MulAdd(want, ldc, copied, k, 1, rows, &s)
		m.MulWindows(got, ldc, nil, a, &c.g, &s)
		equal(t, fmt.Sprintf("%+v on what is there", c.g), got, want)
	}
}
