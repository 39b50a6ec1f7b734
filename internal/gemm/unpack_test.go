package gemm

import (
	"math"
	"testing"
)

// What Unpack gives is what Pack took, to the bit, of every shape, in both orders, on every path.
func TestUnpack(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testUnpack[float32](t) })
	t.Run("float64", func(t *testing.T) { testUnpack[float64](t) })
}

func testUnpack[T Float](t *testing.T) {
	for _, path := range Paths() {
		for _, c := range [][2]int{{1, 1}, {0, 3}, {3, 0}, {5, 7}, {16, 16}, {3, 65}, {130, 33}, {7, 200}} {
			k, n := c[0], c[1]
			for _, turned := range []bool{false, true} {
				rs, cs := n, 1
				if turned {
					rs, cs = 1, k
				}
				b := make([]T, k*n)
				for i := range b {
					b[i] = T(i + 1)
				}
				if len(b) > 3 {
					b[2] = T(math.Copysign(0, -1))
				}
				m := NewMatrix[T](path, k, n)
				m.Pack(b, rs, cs)
				got := make([]T, k*n+1)
				got[k*n] = 77
				m.Unpack(got, rs, cs)
				for i, want := range b {
					if math.Float64bits(float64(got[i])) != math.Float64bits(float64(want)) {
						t.Fatalf("%s, [%d %d], turned %t: element %d is %v, want %v", path, k, n, turned, i, got[i], want)
					}
				}
				if got[k*n] != 77 {
					t.Errorf("%s, [%d %d]: wrote behind the matrix", path, k, n)
				}
			}
		}
	}
}
