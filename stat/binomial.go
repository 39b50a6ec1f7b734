package stat

// BinomialTail returns the chance of k or more successes in n throws that each succeed with chance
// p: the sum of the exact probabilities, off by less than n·2⁻⁵¹ of itself, or of 1 less itself if
// that is the smaller part. It is 1 for k of at most 0, and for p of 1 where k is at most n.
func BinomialTail(k, n int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	case float64(k) <= float64(n)*p:
		return 1 - BinomialTail(n-k+1, n, 1-p)
	}
	// From above the mean on each term is less than the one before.
	term := binomial(k, n, p)
	sum, odds := term, p/(1-p)
	for i := k; i < n && term > float64(sum*0x1p-70); i++ {
		term = float64(term * float64(float64(n-i)/float64(i+1)) * odds)
		sum += term
	}
	return min(1, sum)
}

// binomial is the chance of k successes in n throws that each succeed with chance p: the product of
// (n-k+i)/i·p for i from 1 to k, and of 1-p, n-k times. The factors come in an order that keeps the
// product so far near 1, and there is no logarithm, whose bits machines differ in.
func binomial(k, n int, p float64) float64 {
	product, misses := 1.0, n-k
	for i := 1; i <= k; i++ {
		for ; product >= 1 && misses > 0; misses-- {
			product *= 1 - p
		}
		product = float64(product * float64(float64(n-k+i)/float64(i)) * p)
	}
	for ; misses > 0; misses-- {
		product *= 1 - p
	}
	return product
}

// ClopperPearson returns the lower end of a one-sided interval of a chance, of which k of n throws
// were a success: the largest p, to the last bit, at which k or more successes have a chance of at
// most alpha. A chance lies below what is returned with a chance of at most alpha, whatever it is.
// It is 0 of no success, and alpha^(1/n) of nothing else.
//
// Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
// binomial", Biometrika 26, 404–413. It is the quantile alpha of the beta distribution of k and
// n-k+1.
func ClopperPearson(k, n int, alpha float64) float64 {
	lo, hi := 0.0, 1.0
	for k > 0 {
		p := (lo + hi) / 2
		if p == lo || p == hi {
			break
		}
		if BinomialTail(k, n, p) <= alpha {
			lo = p
		} else {
			hi = p
		}
	}
	return lo
}
