package portable

import "math"

// Expm1 returns e**x - 1, off by less than 3 units in the last place.
//
// It is the series of the exponential near 0, and elsewhere Exp(x) - 1, in which less than two bits
// are lost.
func Expm1(x float64) float64 {
	if !(x > -0.35 && x < 0.41) {
		return Exp(x) - 1
	}
	if x > -0x1p-54 && x < 0x1p-54 { // also -0
		return x
	}
	p := expm1Terms[0]
	for _, c := range expm1Terms[1:] {
		p = c + float64(x*p)
	}
	return x + float64(float64(x*x)*p)
}

// expm1Terms are 1/n! from n = 15 down to 2.
var expm1Terms = [...]float64{
	1.0 / 1307674368000, 1.0 / 87178291200, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
	1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2,
}

// Log1p returns log(1+x), off by less than two units in the last place.
//
// Near 0 it is Log's series, which takes x as it is. Elsewhere it is the logarithm of 1+x as it
// rounds, plus what the rounding left out, divided by it.
func Log1p(x float64) float64 {
	switch {
	case x > -0x1p-54 && x < 0x1p-54: // also -0
		return x
	case x > math.Sqrt2/2-1 && x < math.Sqrt2-1:
		return logOf(x, 0)
	}
	u := 1 + x
	if !(u > 0 && u <= math.MaxFloat64) {
		return Log(u)
	}
	lost := x - (u - 1)
	if x > 1 {
		lost = 1 - (u - x)
	}
	return Log(u) + lost/u
}

// Erf returns the error function of x, off by less than 4 units in the last place.
//
// It is its series near 0 and 1 - Erfc(|x|) elsewhere, where that is the larger.
func Erf(x float64) float64 {
	a := math.Abs(x)
	if !(a < 0.5) {
		return math.Copysign(1-Erfc(a), x)
	}
	z := float64(x * x)
	p := erfTerms[0]
	for _, c := range erfTerms[1:] {
		p = c + float64(z*p)
	}
	// 2/√π = 1 + 0.128…, so that the larger part of the product is exact.
	const rest = 2/1.77245385090551602729816748334114518279754945612238712821380779 - 1
	return x + float64(x*(rest+float64(z*p)))
}

// erfTerms are 2/√π·(-1)**n/(n!·(2n+1)) from n = 13 down to 1.
var erfTerms = func() (c [13]float64) {
	factorial := 1.0
	for n := 1; n <= len(c); n++ {
		factorial *= -float64(n) // exact: 13! has 33 bits
		c[len(c)-n] = 2 / math.SqrtPi / (factorial * float64(2*n+1))
	}
	return c
}()

// Pow returns x to the power of p. For whole powers up to 64 it is a product, off by |p| units in
// the last place at most; for 1/2 and -1/2 it is a root and its reciprocal, off by less than two.
// Elsewhere it is e**(p·log|x|), off by less than 2 + 4·|p·log|x|| units, with the sign of a whole
// power.
func Pow(x, p float64) float64 {
	whole := p == math.Trunc(p)
	switch {
	case p == 0:
		return 1
	case whole && math.Abs(p) <= 64:
		y := times(x, int(math.Abs(p)))
		if p < 0 {
			return 1 / y
		}
		return y
	case p == 0.5:
		return math.Sqrt(x)
	case p == -0.5:
		return 1 / math.Sqrt(x)
	case x < 0 && !whole:
		return math.NaN()
	}
	y := Exp(float64(p * Log(math.Abs(x))))
	if x < 0 && math.Mod(p, 2) != 0 {
		return -y
	}
	return y
}

// times is x to the power of n >= 1, by squares of x.
func times(x float64, n int) float64 {
	y := 1.0
	for ; n > 1; n /= 2 {
		if n%2 == 1 {
			y = float64(y * x)
		}
		x = float64(x * x)
	}
	return float64(y * x)
}
