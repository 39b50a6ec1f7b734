package stat

import (
	"cmp"
	"math"
	"slices"

	"advsweep/internal/portable"
)

// PairedInterval returns the 95 % interval of p_A - p_B, the difference of two proportions of the
// same n things.
// both, onlyA, onlyB and neither of them have what is counted on both sides, on one, on neither.
// The Wilson intervals (l, u) of both sides are joined by their correlation φ:
//
//	lo = d - √((p_A - l_A)² - 2φ·(p_A - l_A)(u_B - p_B) + (u_B - p_B)²),
//	hi = d + √((u_A - p_A)² - 2φ·(u_A - p_A)(p_B - l_B) + (p_B - l_B)²),  d = p_A - p_B,
//	φ  = c/√((both+onlyA)(onlyB+neither)(both+onlyB)(onlyA+neither)),
//	c  = both·neither - onlyA·onlyB.
//
// A positive c is made less by n/2, but not below 0. φ is 0 if the root is 0.
// If n is 0 nothing is known: [-1, 1].
//
// Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
// based on paired data", Statist. Med. 17, 2635–2650, method 10.
func PairedInterval(both, onlyA, onlyB, neither int) (lo, hi float64) {
	n := both + onlyA + onlyB + neither
	if n <= 0 {
		return -1, 1
	}
	a, b := both+onlyA, both+onlyB
	lA, uA := Wilson(a, n)
	lB, uB := Wilson(b, n)
	pA, pB := Ratio(a, n), Ratio(b, n)
	c := float64(float64(both)*float64(neither)) - float64(float64(onlyA)*float64(onlyB))
	if c > 0 {
		c = max(0, c-float64(float64(n)/2))
	}
	phi := 0.0
	if root := math.Sqrt(float64(a)*float64(n-a)) * math.Sqrt(float64(b)*float64(n-b)); root > 0 {
		phi = c / root
	}
	// float64(…) for the reason in Wilson.
	// Under the root, x² - 2φxy + y² ≥ (x - y)² but for rounding.
	side := func(x, y float64) float64 {
		return math.Sqrt(max(0, float64(x*x)-float64(2*phi*float64(x*y))+float64(y*y)))
	}
	d := pA - pB
	return max(-1, d-side(pA-lA, uB-pB)), min(1, d+side(uA-pA, pB-lB))
}

// McNemar returns the two-sided chance that a fair coin, thrown onlyA + onlyB times, falls as
// unevenly as (onlyA, onlyB) or more so. It is 1 for no throws.
//
// McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
// percentages", Psychometrika 12, 153–157. It is exact, by the binomial distribution, as for two
// classifiers in Dietterich 1998, Neural Computation 10, 1895–1923.
func McNemar(onlyA, onlyB int) float64 {
	return min(1, 2*SignTest(max(onlyA, onlyB), min(onlyA, onlyB)))
}

// Holm returns p [m] corrected for their number, in the same order.
// Who calls all those small whose result is below a level is wrong about any of them with at most
// that chance, however the p depend on each other.
//
// Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6,
// 65–70.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	out, worst := make([]float64, len(p)), 0.0
	for k, i := range order {
		worst = max(worst, min(1, float64(len(p)-k)*p[i]))
		out[i] = worst
	}
	return out
}

// SignTest returns the chance that a fair coin, thrown a + b times, shows heads a times or more.
// It is 1 for no throws. For two attacks: of the images that one of them alone fools, the first
// fools a and the second b. The result says how surprising that is if they are as strong.
func SignTest(a, b int) float64 {
	n := a + b
	if n == 0 {
		return 1
	}
	total, _ := math.Lgamma(float64(n + 1))
	sum := 0.0
	for k := a; k <= n; k++ {
		x, _ := math.Lgamma(float64(k + 1))
		y, _ := math.Lgamma(float64(n - k + 1))
		sum += portable.Exp(total - x - y - float64(float64(n)*math.Ln2))
	}
	return min(1, sum)
}
