package stat

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
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

// TestBinomialTailMany: of many throws, against the beta distribution by gonum, which goes another way.
func TestBinomialTailMany(t *testing.T) {
	for _, n := range []int{1000, 100_000} {
		for _, p := range []float64{1e-4, 0.1, 0.5, 0.77, 0.9999} {
			mean, sd := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
			for _, z := range []float64{-40, -3, -1, 0, 1, 3, 6, 30} {
				k := int(math.Round(mean + z*sd))
				if k < 1 || k > n {
					continue
				}
				got, want := BinomialTail(k, n, p), distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.CDF(p)
				if !(math.Abs(got-want) <= 1e-8*want+1e-300) {
					t.Errorf("k %d of n %d at p %v: %v, want %v", k, n, p, got, want)
				}
			}
		}
	}
}

// TestClopperPearson: against the closed form, the quantile of the beta distribution by gonum, and a
// sum of binomials in whole numbers.
func TestClopperPearson(t *testing.T) {
	for _, n := range []int{1, 2, 100, 100_000} {
		for _, alpha := range []float64{0.001, 0.05, 0.5} {
			if got, want := ClopperPearson(n, n, alpha), math.Pow(alpha, 1/float64(n)); !(math.Abs(got-want) <= 1e-13) {
				t.Errorf("all of %d at %v: %v, want %v", n, alpha, got, want)
			}
			if got := ClopperPearson(0, n, alpha); got != 0 {
				t.Errorf("none of %d at %v: %v, want 0", n, alpha, got)
			}
			for _, part := range []float64{0.001, 0.3, 0.5, 0.9, 0.99999} {
				k := int(math.Ceil(part * float64(n)))
				got, want := ClopperPearson(k, n, alpha), distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.Quantile(alpha)
				if !(math.Abs(got-want) <= 1e-9*want) {
					t.Errorf("%d of %d at %v: %v, gonum's %v", k, n, alpha, got, want)
				}
			}
		}
	}
	for _, c := range []struct {
		k, n  int
		alpha float64
	}{{7, 10, 0.001}, {51, 100, 0.01}, {99, 100, 0.05}, {180, 300, 0.001}} {
		got := ClopperPearson(c.k, c.n, c.alpha)
		for _, side := range []float64{-1, 1} {
			p := got * (1 + side*1e-12)
			if tail := exactTail(c.k, c.n, p); (tail > c.alpha) != (side > 0) {
				t.Errorf("%d of %d: at p %v, beside %v, so many have a chance of %v, and %v is the limit", c.k, c.n, p, got, tail, c.alpha)
			}
		}
	}
}

// exactTail is BinomialTail by sums of 500 bits.
func exactTail(k, n int, p float64) float64 {
	number := func(v float64) *big.Float { return new(big.Float).SetPrec(500).SetFloat64(v) }
	yes := number(p)
	no := number(1)
	no.Sub(no, yes)
	sum := number(0)
	for i := k; i <= n; i++ {
		term := number(0).SetInt(new(big.Int).Binomial(int64(n), int64(i)))
		for j := range n {
			if j < i {
				term.Mul(term, yes)
			} else {
				term.Mul(term, no)
			}
		}
		sum.Add(sum, term)
	}
	v, _ := sum.Float64()
	return v
}

// TestClopperPearsonSameBits: the hash was made on amd64, and is that of every processor.
func TestClopperPearsonSameBits(t *testing.T) {
	const want = "dfabec31e02f6d4d"
	h := sha256.New()
	for _, n := range []int{3, 100, 1000} {
		for k := 0; k <= n; k += 1 + n/40 {
			for _, alpha := range []float64{0.001, 0.05} {
				h.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(ClopperPearson(k, n, alpha))))
			}
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func BenchmarkClopperPearson(b *testing.B) {
	for _, k := range []int{60_000, 99_000, 100_000} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			for b.Loop() {
				ClopperPearson(k, 100_000, 0.001)
			}
		})
	}
}
