package stat

import (
	"math"

	"advsweep/internal/portable"
)

// BinomialTail returns the chance of k or more successes in n throws that each succeed with chance
// p: the sum of the exact probabilities. It is 1 for k of at most 0, and for p of 1 where k is at
// most n.
func BinomialTail(k, n int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	total, _ := math.Lgamma(float64(n + 1))
	yes, no := math.Log(p), math.Log1p(-p)
	sum := 0.0
	for i := k; i <= n; i++ {
		x, _ := math.Lgamma(float64(i + 1))
		y, _ := math.Lgamma(float64(n - i + 1))
		sum += portable.Exp(total - x - y + float64(float64(i)*yes) + float64(float64(n-i)*no))
	}
	return min(1, sum)
}
