// Package stat computes the statistics of counts: intervals of a proportion and tests of two. Each
// is computed here and nowhere else. It prints nothing and judges nothing. Every function gives the
// same bits on every machine. The tails are not those of gonum's distuv, which differ in the last
// digits: files hold all digits. The tests hold both against each other.
package stat

import "math"

// z95 is the 0.975 quantile of the standard normal distribution.
const z95 = 1.959963984540054

// Wilson returns the 95 % score interval of a proportion of which k of n trials
// were counted, 0 ≤ k ≤ n:
//
//	(p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n),  p = k/n, z = 1.96
//
// The ends are exactly 0 at k = 0 and exactly 1 at k = n. Of no trials nothing is
// known: n = 0 gives [0, 1].
//
// Wilson 1927, "Probable inference, the law of succession, and statistical
// inference", J. Am. Stat. Assoc. 22, 209–212.
func Wilson(k, n int) (lo, hi float64) {
	if n <= 0 {
		return 0, 1
	}
	// float64(…) around a product keeps arm64 from fusing it with the sum, so that
	// every machine writes the same digits.
	m := float64(n)
	p := float64(k) / m
	z2 := float64(z95 * z95)
	scale := 1 + z2/m
	centre := (p + z2/(2*m)) / scale
	half := float64(z95 / scale * math.Sqrt(p*(1-p)/m+z2/(4*float64(m*m))))
	lo, hi = max(0, centre-half), min(1, centre+half)
	// Rounding would leave about 1e-17 here, and a band that misses its end.
	if k == 0 {
		lo = 0
	}
	if k == n {
		hi = 1
	}
	return lo, hi
}

// Ratio is k/n, and 0 if n is 0.
func Ratio(k, n int) float64 {
	if n == 0 {
		return 0
	}
	return float64(k) / float64(n)
}
