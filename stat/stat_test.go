package stat_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"advsweep/stat"

	"gonum.org/v1/gonum/stat/distuv"
)

// paired holds numbers of other programs; paired.py says which.
type paired struct {
	Tables []struct {
		Table    [4]int
		McNemar  float64
		Interval [2]float64
	}
	Holm []struct{ P, Corrected []float64 }
}

func readPaired(t *testing.T) (p paired) {
	t.Helper()
	data, err := os.ReadFile("testdata/paired.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Logarithms of factorials near 10,000 are about 1e5 and rounded to 1e-11: so much is their
// exponential off by, relative to itself.
func TestMcNemar(t *testing.T) {
	p := readPaired(t)
	if len(p.Tables) < 10 {
		t.Fatalf("%d tables", len(p.Tables))
	}
	for _, c := range p.Tables {
		for _, got := range []float64{stat.McNemar(c.Table[1], c.Table[2]), stat.McNemar(c.Table[2], c.Table[1])} {
			if !(math.Abs(got-c.McNemar) <= 1e-10*c.McNemar) {
				t.Errorf("%v: %v, statsmodels %v", c.Table, got, c.McNemar)
			}
		}
	}
	for _, c := range []struct {
		a, b int
		want float64 // by hand
	}{{0, 0, 1}, {1, 1, 1}, {1, 0, 1}, {5, 0, 2.0 / 32}, {5, 1, 2 * 7.0 / 64}, {4, 2, 2 * 22.0 / 64}} {
		if got := stat.McNemar(c.a, c.b); !(math.Abs(got-c.want) <= 1e-13) {
			t.Errorf("(%d, %d): %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestHolm(t *testing.T) {
	all := readPaired(t).Holm
	if len(all) < 5 {
		t.Fatalf("%d lists", len(all))
	}
	for _, c := range all {
		before := slices.Clone(c.P)
		got := stat.Holm(c.P)
		for i := range c.P {
			if !(math.Abs(got[i]-c.Corrected[i]) <= 1e-15) {
				t.Errorf("%v: corrected %d is %v, statsmodels %v", c.P, i, got[i], c.Corrected[i])
			}
		}
		if !slices.Equal(before, c.P) {
			t.Errorf("p was changed from %v to %v", before, c.P)
		}
	}
	if got := stat.Holm(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// Both are short sums of float64 numbers below 1 under a root: near 0 that has half the digits.
func TestPairedInterval(t *testing.T) {
	want := readPaired(t)
	if len(want.Tables) < 10 {
		t.Fatalf("%d tables", len(want.Tables))
	}
	for _, c := range want.Tables {
		n := c.Table
		lo, hi := stat.PairedInterval(n[0], n[1], n[2], n[3])
		if !(math.Abs(lo-c.Interval[0]) <= 1e-9 && math.Abs(hi-c.Interval[1]) <= 1e-9) {
			t.Errorf("%v: [%v, %v], want %v", n, lo, hi, c.Interval)
		}
	}
	for both := range 7 {
		for onlyA := range 7 {
			for onlyB := range 7 {
				for neither := range 7 {
					lo, hi := stat.PairedInterval(both, onlyA, onlyB, neither)
					d := stat.Ratio(onlyA-onlyB, both+onlyA+onlyB+neither)
					if !(-1 <= lo && lo <= d+1e-15 && d-1e-15 <= hi && hi <= 1) {
						t.Errorf("%d %d %d %d: [%v, %v] without %v", both, onlyA, onlyB, neither, lo, hi, d)
					}
					if l, h := stat.PairedInterval(both, onlyB, onlyA, neither); !(math.Abs(l+hi) <= 1e-15 && math.Abs(h+lo) <= 1e-15) {
						t.Errorf("%d %d %d %d: [%v, %v], with the sides exchanged [%v, %v]", both, onlyA, onlyB, neither, lo, hi, l, h)
					}
				}
			}
		}
	}
}

func TestWilson(t *testing.T) {
	// By mpmath 1.3 with 40 digits as the roots of (n+z²)x² - (2k+z²)x + k²/n = 0,
	// another form of the interval, z = 1.959963984540054.
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{
		{0, 0, 0, 1},
		{0, 1, 0, 0.79345068562276257},
		{1, 1, 0.20654931437723743, 1},
		{0, 10, 0, 0.2775327998628892},
		{10, 10, 0.7224672001371108, 1},
		{5, 10, 0.236593090512564, 0.763406909487436},
		{985, 1000, 0.9753990230730932, 0.99088902119591833},
		{1, 1000, 0.00017654637062607804, 0.0056425585979579349},
		{9821, 10000, 0.97931010848232859, 0.98451964028866503},
		{333333, 1000000, 0.33240970614283903, 0.33425757434107658},
	} {
		// The difference centre - half rounds at the size of the centre.
		const tol = 1e-15
		lo, hi := stat.Wilson(c.k, c.n)
		if !(math.Abs(lo-c.lo) <= tol && math.Abs(hi-c.hi) <= tol) {
			t.Errorf("stat.Wilson(%d, %d) = %v, %v, want %v, %v", c.k, c.n, lo, hi, c.lo, c.hi)
		}
		if c.k == 0 && lo != 0 || c.k == c.n && hi != 1 {
			t.Errorf("stat.Wilson(%d, %d) = %v, %v, want an end of exactly 0 or 1", c.k, c.n, lo, hi)
		}
	}
}

// TestSignTest compares with sums of exact binomials.
func TestSignTest(t *testing.T) {
	for _, c := range []struct {
		a, b int
		want float64
	}{{0, 0, 1}, {1, 0, 0.5}, {0, 1, 1}, {3, 1, 5. / 16}, {10, 0, 1. / 1024}, {2, 2, 11. / 16}} {
		if got := stat.SignTest(c.a, c.b); !(math.Abs(got-c.want) <= 1e-12) {
			t.Errorf("SignTest(%d, %d) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// TestGonum holds tails against another way to them: the incomplete beta function of gonum's
// binomial distribution, and the quantile of its normal distribution.
func TestGonum(t *testing.T) {
	for _, n := range []int{1, 2, 7, 30, 200, 1000} {
		d := distuv.Binomial{N: float64(n), P: 0.5}
		for a := 0; a <= n; a += max(1, n/25) {
			// By symmetry. Survival is 1 - CDF, which leaves nothing of a small tail.
			want := d.CDF(float64(n - a))
			if got := stat.SignTest(a, n-a); !(math.Abs(got-want) <= 1e-11*want) {
				t.Errorf("SignTest(%d, %d) = %v, gonum %v", a, n-a, got, want)
			}
		}
	}
	// Of one trial Wilson's upper end of none is z²/(1 + z²).
	z := distuv.UnitNormal.Quantile(0.975)
	if _, hi := stat.Wilson(0, 1); !(math.Abs(hi-z*z/(1+z*z)) <= 1e-14) {
		t.Errorf("Wilson(0, 1) ends at %v, gonum's quantile gives %v", hi, z*z/(1+z*z))
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		k, n int
		want float64
	}{{0, 0, 0}, {0, 4, 0}, {1, 4, 0.25}, {4, 4, 1}, {-1, 4, -0.25}} {
		if got := stat.Ratio(c.k, c.n); got != c.want {
			t.Errorf("Ratio(%d, %d) = %v, want %v", c.k, c.n, got, c.want)
		}
	}
}
