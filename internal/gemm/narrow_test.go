package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestNarrow compares, to the bit, products of many rows with one panel of one vector with those of
// one row after another. The kernels for more than GroupRows rows must be among those that are used.
func TestNarrow(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testNarrow[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testNarrow[float64](t, path) })
	}
}

func testNarrow[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(61, 1))
	for _, k := range []int{1, 2, 9, 27, 144} {
		for rows := 1; rows < 47; rows++ {
			probe := NewMatrix[T](path, k, 1)
			n := 1 + r.IntN(probe.kernel.lanes)
			m := NewMatrix[T](path, k, n)
			m.Pack(random[T](r, k*n), n, 1)
			if h, _ := m.kernel.index.of(rows, 1); h > rows || len(m.kernel.index.narrow) > 0 && rows >= 15 && h <= GroupRows {
				t.Fatalf("%d rows at once of %d", h, rows)
			}
			a, c := random[T](r, rows*k), random[T](r, rows*(n+2))
			want := append([]T(nil), c...)
			var s Scratch[T]
			m.MulAdd(c, n+2, a, k, 1, rows, &s)
			for i := range rows {
				m.MulAdd(want[i*(n+2):], n+2, a[i*k:], k, 1, 1, &s)
			}
			equal(t, fmt.Sprintf("%d rows, %d terms, %d columns", rows, k, n), c, want)
		}
	}
}
