package portable

import "math"

// NormalQuantile returns Φ⁻¹(p), the number below which a standard normal one lies with chance p,
// off by less than 1e-15 times 1 + |Φ⁻¹(p)| for p from 1e-300 to 1/2. It is -Inf of 0, +Inf of 1,
// and NaN of what is no chance.
//
// Wichura 1988, Applied Statistics 37, 477–484: algorithm AS 241, PPND16. It is a quotient of two
// polynomials of degree 7 in each of three ranges.
func NormalQuantile(p float64) float64 {
	const half, bend = 0.425, 1.6 // where ranges end; 5 is the third
	q := p - 0.5
	if math.Abs(q) <= half {
		r := float64(half*half) - float64(q*q)
		return float64(q * quotient(&quantileMiddle, r))
	}
	r := p
	if q > 0 {
		r = 1 - p
	}
	switch {
	case !(r >= 0):
		return math.NaN()
	case r == 0:
		return math.Copysign(math.Inf(1), q)
	}
	if r = math.Sqrt(-Log(r)); r <= 5 {
		r = quotient(&quantileNear, r-bend)
	} else {
		r = quotient(&quantileFar, r-5)
	}
	return math.Copysign(r, q)
}

// quotient is that of two polynomials in r, whose coefficients from the constant one on are the rows
// of c.
func quotient(c *[2][8]float64, r float64) float64 {
	a, b := &c[0], &c[1]
	over := a[6] + float64(r*a[7])
	over = a[5] + float64(r*over)
	over = a[4] + float64(r*over)
	over = a[3] + float64(r*over)
	over = a[2] + float64(r*over)
	over = a[1] + float64(r*over)
	over = a[0] + float64(r*over)
	under := b[6] + float64(r*b[7])
	under = b[5] + float64(r*under)
	under = b[4] + float64(r*under)
	under = b[3] + float64(r*under)
	under = b[2] + float64(r*under)
	under = b[1] + float64(r*under)
	under = b[0] + float64(r*under)
	return over / under
}

// The coefficients of AS 241: where |p - 1/2| is at most 0.425, and where √-log(min(p, 1-p)) is at
// most 5 and above.
var (
	quantileMiddle = [2][8]float64{
		{3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
			4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3},
		{1, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
			2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4, 5.2264952788528545610e+3},
	}
	quantileNear = [2][8]float64{
		{1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
			1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
		{1, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
			1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9},
	}
	quantileFar = [2][8]float64{
		{6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
			2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
		{1, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
			7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15},
	}
)
