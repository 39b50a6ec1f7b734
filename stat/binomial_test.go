package stat

import (
	"math"
	"testing"
)

// TestBinomialTail: against sums of products, which small numbers allow, and against the sign test.
func TestBinomialTail(t *testing.T) {
	for _, n := range []int{1, 2, 5, 17} {
		for _, p := range []float64{0.1, 1.0 / 3, 0.5, 0.95} {
			want := 0.0
			for k := n; k >= -1; k-- {
				if k >= 0 {
					term := 1.0
					for i := range k {
						term *= float64(n-i) / float64(i+1) * p
					}
					want += term * math.Pow(1-p, float64(n-k))
				}
				if got := BinomialTail(k, n, p); !(math.Abs(got-want) <= 1e-12) {
					t.Errorf("k %d of n %d at p %v: %v, want %v", k, n, p, got, want)
				}
			}
		}
	}
	if got, want := BinomialTail(9, 12, 0.5), SignTest(9, 3); !(math.Abs(got-want) <= 1e-14) {
		t.Errorf("at p 1/2: %v, want %v of the sign test", got, want)
	}
	for _, c := range []struct {
		k, n int
		p    float64
		want float64
	}{{4, 3, 0.5, 0}, {3, 3, 1, 1}, {4, 3, 1, 0}, {1, 3, 0, 0}, {0, 3, 0, 1}} {
		if got := BinomialTail(c.k, c.n, c.p); got != c.want {
			t.Errorf("k %d of n %d at p %v: %v, want %v", c.k, c.n, c.p, got, c.want)
		}
	}
}
