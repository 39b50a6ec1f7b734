// Package portable has functions that give the same bits on every processor. Those of package math
// do not: some are assembly, which differs from one processor to the next, and in the others the
// compiler fuses a product and a sum on some processors. Here every product is rounded before it is
// added, which a conversion says, and nothing but sums, products and quotients is taken.
package portable

import "math"

const (
	// ln 2 as a number of 36 bits, whose multiples by small integers are exact, and the rest.
	ln2Hi, ln2Lo = 0x1.62e42fefap-1, 0x1.cf79abc9e3b3ap-40
	// 64/ln 2.
	steps = 0x1.71547652b82fep+6
)

// Exp returns e**x, off by less than 0.52 units in the last place where that is a normal number,
// and by less than one below.
//
// With k = 64·m + j the integer next to 64·x/ln 2 it is 2**m · 2**(j/64) · e**r: Tang 1989, ACM
// Transactions on Mathematical Software 15.
func Exp(x float64) float64 {
	switch {
	case x != x || x > 1e3 || x < -1e3:
		switch {
		case x > 1e3:
			return math.Inf(1)
		case x < -1e3:
			return 0
		}
		return x
	case x > -0x1p-54 && x < 0x1p-54:
		return 1 + x
	}
	fk := math.Floor(float64(x*steps) + 0.5)
	k := int(fk)
	r := (x - float64(fk*(ln2Hi/64))) - float64(fk*(ln2Lo/64))
	p := 1.0/120 + float64(r*(1.0/720))
	p = 1.0/24 + float64(r*p)
	p = 1.0/6 + float64(r*p)
	p = 0.5 + float64(r*p)
	p = r + float64(float64(r*r)*p)
	t, m := &powers[k&63], k>>6
	y := t[0] + (t[1] + float64(t[0]*p))
	if m < -1021 || m > 1022 {
		return math.Ldexp(y, m)
	}
	return y * math.Float64frombits(uint64(m+1023)<<52)
}

// Log returns the natural logarithm of x, off by less than one unit in the last place.
//
// With x = 2**k·(1+f), 1+f between √½ and √2, and s = f/(2+f) it is k·ln 2 + 2·atanh(s), atanh by
// its series. 2·s is f - (f²/2 - s·f²/2), of which the first term is exact.
func Log(x float64) float64 {
	switch {
	case x != x || x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case x > math.MaxFloat64:
		return x
	}
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	return logOf(m-1, float64(e))
}

// logOf is k·ln 2 + log(1+f), see Log.
func logOf(f, k float64) float64 {
	s := f / (2 + f)
	z := float64(s * s)
	p := logTerms[0]
	for _, c := range logTerms[1:] {
		p = c + float64(z*p)
	}
	half := float64(float64(f*f) * 0.5)
	low := float64(k*ln2Lo) + float64(s*(half+float64(z*p)))
	return float64(k*ln2Hi) + (f - (half - low))
}

// logTerms are 2/(2n+1) from n = 12 down to 1.
var logTerms = [...]float64{
	2.0 / 25, 2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3,
}

// Tanh returns the hyperbolic tangent of x, off by less than two units in the last place.
//
// It is 1 - 2/(e**2x + 1) and, where that would cancel, the ninth convergent of its continued
// fraction x/(1 + x²/(3 + x²/(5 + …))).
func Tanh(x float64) float64 {
	a := math.Abs(x)
	switch {
	case a > 22: // 1 is nearest
		return math.Copysign(1, x)
	case a >= 0.625:
		return math.Copysign(1-2/(Exp(2*a)+1), x)
	case x == 0 || x != x: // also -0
		return x
	}
	z := float64(x * x)
	n := 675675 + float64(z*(45045+float64(z*(594+z))))
	d := 2027025 + float64(z*(945945+float64(z*(51975+float64(z*(630+z))))))
	return x - float64(x*float64(z*(n/d)))
}

// Erfc returns the complementary error function of x, off by less than 5 units in the last place
// where that is a normal number.
//
// It is e**-x²·h(t)/(1 + 2x), t = (x - 3.75)/(x + 3.75), h by a polynomial: Shepherd and
// Laframboise 1981, Mathematics of Computation 36, with coefficients of our own, the Chebyshev
// expansion of h up to degree 24, to which that is within 2**-58.
func Erfc(x float64) float64 {
	a := math.Abs(x)
	switch {
	case x != x:
		return x
	case x > 28:
		return 0
	case x < -6:
		return 2
	}
	t := (a - 3.75) / (a + 3.75)
	u := float64(t * t)
	even, odd := 0.0, 0.0
	for i, c := range erfcOdd {
		even, odd = erfcEven[i]+float64(u*even), c+float64(u*odd)
	}
	even = erfcEven[len(erfcOdd)] + float64(u*even)
	// a² in two parts, the first exact: its rounding error would be as many units of e**-a² as a²
	// is large.
	top := math.Float64frombits(math.Float64bits(a) &^ (1<<27 - 1))
	e := float64(Exp(-float64(top*top)) * Exp(float64((top-a)*(top+a))))
	y := float64(e*(even+float64(t*odd))) / (1 + 2*a)
	if x < 0 {
		return 2 - y
	}
	return y
}

// The coefficients of the even and of the odd powers of t, the highest first.
var (
	erfcEven = [...]float64{
		0x1.d3744857e262bp-32, -0x1.638dcc665be8dp-28, 0x1.4c37f59c36e71p-25, -0x1.15be4201dc721p-22, 0x1.d6339f66a50f8p-20,
		-0x1.800077b775cf3p-17, 0x1.b1439865f8d9ep-15, 0x1.33fb2968decd9p-12, -0x1.3f603c398c6c5p-7, -0x1.e0d0fa6ddfe85p-5,
		-0x1.bda9309a2949ap-4, 0x1.d5f294815a405p-9, 0x1.3ccda0b5d5dc2p+0,
	}
	erfcOdd = [...]float64{
		0x1.561b105822235p-32, -0x1.014cd7201b5adp-28, 0x1.8fa9fe49c359bp-26, -0x1.eb803840c0574p-25, -0x1.055686d42aa63p-20,
		0x1.778b933adcce7p-16, -0x1.303fa4966bc38p-12, 0x1.cc3a0e7d2150cp-10, 0x1.d0b0037d167adp-6, 0x1.7a14188a9ce2ap-4,
		0x1.510169d09665bp-4, -0x1.1f367683f89a5p-3,
	}
)

// powers are 2**(j/64) and what rounding that left.
var powers = [64][2]float64{
	{0x1p+0, 0x0p+0},
	{0x1.02c9a3e778061p+0, -0x1.19083535b085dp-56},
	{0x1.059b0d3158574p+0, 0x1.d73e2a475b465p-55},
	{0x1.0874518759bc8p+0, 0x1.186be4bb284ffp-57},
	{0x1.0b5586cf9890fp+0, 0x1.8a62e4adc610bp-54},
	{0x1.0e3ec32d3d1a2p+0, 0x1.03a1727c57b53p-59},
	{0x1.11301d0125b51p+0, -0x1.6c51039449b3ap-54},
	{0x1.1429aaea92dep+0, -0x1.32fbf9af1369ep-54},
	{0x1.172b83c7d517bp+0, -0x1.19041b9d78a76p-55},
	{0x1.1a35beb6fcb75p+0, 0x1.e5b4c7b4968e4p-55},
	{0x1.1d4873168b9aap+0, 0x1.e016e00a2643cp-54},
	{0x1.2063b88628cd6p+0, 0x1.dc775814a8495p-55},
	{0x1.2387a6e756238p+0, 0x1.9b07eb6c70573p-54},
	{0x1.26b4565e27cddp+0, 0x1.2bd339940e9d9p-55},
	{0x1.29e9df51fdee1p+0, 0x1.612e8afad1255p-55},
	{0x1.2d285a6e4030bp+0, 0x1.0024754db41d5p-54},
	{0x1.306fe0a31b715p+0, 0x1.6f46ad23182e4p-55},
	{0x1.33c08b26416ffp+0, 0x1.32721843659a6p-54},
	{0x1.371a7373aa9cbp+0, -0x1.63aeabf42eae2p-54},
	{0x1.3a7db34e59ff7p+0, -0x1.5e436d661f5e3p-56},
	{0x1.3dea64c123422p+0, 0x1.ada0911f09ebcp-55},
	{0x1.4160a21f72e2ap+0, -0x1.ef3691c309278p-58},
	{0x1.44e086061892dp+0, 0x1.89b7a04ef80dp-59},
	{0x1.486a2b5c13cdp+0, 0x1.3c1a3b69062fp-56},
	{0x1.4bfdad5362a27p+0, 0x1.d4397afec42e2p-56},
	{0x1.4f9b2769d2ca7p+0, -0x1.4b309d25957e3p-54},
	{0x1.5342b569d4f82p+0, -0x1.07abe1db13cadp-55},
	{0x1.56f4736b527dap+0, 0x1.9bb2c011d93adp-54},
	{0x1.5ab07dd485429p+0, 0x1.6324c054647adp-54},
	{0x1.5e76f15ad2148p+0, 0x1.ba6f93080e65ep-54},
	{0x1.6247eb03a5585p+0, -0x1.383c17e40b497p-54},
	{0x1.6623882552225p+0, -0x1.bb60987591c34p-54},
	{0x1.6a09e667f3bcdp+0, -0x1.bdd3413b26456p-54},
	{0x1.6dfb23c651a2fp+0, -0x1.bbe3a683c88abp-57},
	{0x1.71f75e8ec5f74p+0, -0x1.16e4786887a99p-55},
	{0x1.75feb564267c9p+0, -0x1.0245957316dd3p-54},
	{0x1.7a11473eb0187p+0, -0x1.41577ee04992fp-55},
	{0x1.7e2f336cf4e62p+0, 0x1.05d02ba15797ep-56},
	{0x1.82589994cce13p+0, -0x1.d4c1dd41532d8p-54},
	{0x1.868d99b4492edp+0, -0x1.fc6f89bd4f6bap-54},
	{0x1.8ace5422aa0dbp+0, 0x1.6e9f156864b27p-54},
	{0x1.8f1ae99157736p+0, 0x1.5cc13a2e3976cp-55},
	{0x1.93737b0cdc5e5p+0, -0x1.75fc781b57ebcp-57},
	{0x1.97d829fde4e5p+0, -0x1.d185b7c1b85d1p-54},
	{0x1.9c49182a3f09p+0, 0x1.c7c46b071f2bep-56},
	{0x1.a0c667b5de565p+0, -0x1.359495d1cd533p-54},
	{0x1.a5503b23e255dp+0, -0x1.d2f6edb8d41e1p-54},
	{0x1.a9e6b5579fdbfp+0, 0x1.0fac90ef7fd31p-54},
	{0x1.ae89f995ad3adp+0, 0x1.7a1cd345dcc81p-54},
	{0x1.b33a2b84f15fbp+0, -0x1.2805e3084d708p-57},
	{0x1.b7f76f2fb5e47p+0, -0x1.5584f7e54ac3bp-56},
	{0x1.bcc1e904bc1d2p+0, 0x1.23dd07a2d9e84p-55},
	{0x1.c199bdd85529cp+0, 0x1.11065895048ddp-55},
	{0x1.c67f12e57d14bp+0, 0x1.2884dff483cadp-54},
	{0x1.cb720dcef9069p+0, 0x1.503cbd1e949dbp-56},
	{0x1.d072d4a07897cp+0, -0x1.cbc3743797a9cp-54},
	{0x1.d5818dcfba487p+0, 0x1.2ed02d75b3707p-55},
	{0x1.da9e603db3285p+0, 0x1.c2300696db532p-54},
	{0x1.dfc97337b9b5fp+0, -0x1.1a5cd4f184b5cp-54},
	{0x1.e502ee78b3ff6p+0, 0x1.39e8980a9cc8fp-55},
	{0x1.ea4afa2a490dap+0, -0x1.e9c23179c2893p-54},
	{0x1.efa1bee615a27p+0, 0x1.dc7f486a4b6bp-54},
	{0x1.f50765b6e454p+0, 0x1.9d3e12dd8a18bp-54},
	{0x1.fa7c1819e90d8p+0, 0x1.74853f3a5931ep-55},
}
