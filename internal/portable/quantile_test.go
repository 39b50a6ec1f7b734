package portable

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mathext"
)

// TestNormalQuantile: Φ of it, by the series of erfc, is p; gonum's is the same but for rounding; and
// it is odd around 1/2.
func TestNormalQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	ps := []float64{0x1p-33, 1e-300, 1e-20, 0.075, 0.0750000001, 0.25, 0.4999999, 0.5}
	for range 300 {
		ps = append(ps, r.Float64()/2, math.Pow(10, -30*r.Float64()))
	}
	worst := 0.0
	for _, p := range ps {
		z := NormalQuantile(p)
		slack := 1e-15 * (1 + math.Abs(z))
		if want := mathext.NormalQuantile(p); !(math.Abs(z-want) <= slack) {
			t.Errorf("p %v: %v, gonum's %v", p, z, want)
		}
		if p > 1e-25 {
			// The slope of Φ⁻¹ makes an error of Φ one of z.
			half := new(big.Float).Quo(bigErfc(-z/math.Sqrt2), number(2)) // z/√2 is rounded: a part of the slack
			got, _ := half.Sub(half, number(p)).Float64()
			off := math.Abs(got) / (math.Exp(-z*z/2) / math.Sqrt(2*math.Pi))
			if worst = max(worst, off/slack); !(off <= slack) {
				t.Errorf("p %v: %v, off by %v, want at most %v", p, z, off, slack)
			}
		}
		if q := 1 - p; 1-q == p && NormalQuantile(q) != -z {
			t.Errorf("p %v: %v, of 1 - p %v", p, z, NormalQuantile(q))
		}
	}
	t.Logf("off by at most %.2f of what is allowed", worst)
	for p, want := range map[float64]float64{0: math.Inf(-1), 1: math.Inf(1), 0.5: 0} {
		if z := NormalQuantile(p); z != want {
			t.Errorf("p %v: %v, want %v", p, z, want)
		}
	}
	for _, p := range []float64{math.NaN(), -0.1, 1.1, math.Inf(1)} {
		if z := NormalQuantile(p); z == z {
			t.Errorf("p %v: %v, want NaN", p, z)
		}
	}
}

// TestNormalQuantileSameBits is TestSameBits for the quantile.
func TestNormalQuantileSameBits(t *testing.T) {
	const want = "41a451eecaf14ac5"
	r := rand.New(rand.NewPCG(5, 8))
	h := sha256.New()
	for range 20_000 {
		var b []byte
		for _, p := range []float64{r.Float64(), Exp(-40 * r.Float64())} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(NormalQuantile(p)))
		}
		h.Write(b)
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func BenchmarkNormalQuantile(b *testing.B) {
	u := uint32(0)
	for b.Loop() {
		u = u*1664525 + 1013904223
		sink = NormalQuantile((float64(u) + 0.5) * 0x1p-32)
	}
}
