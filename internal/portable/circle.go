package portable

import (
	"math"
	"math/big"
	"sync"
)

// Sin returns the sine of x, off by less than one unit in the last place.
//
// x is reduced by a multiple of π/2 to a sum of two numbers, as in Cody and Waite 1980, "Software
// Manual for the Elementary Functions". The sine and the cosine of that are their series.
func Sin(x float64) float64 {
	if x > -0x1p-27 && x < 0x1p-27 { // also -0
		return x
	}
	return turned(x, 0)
}

// Cos returns the cosine of x, off by less than one unit in the last place, see Sin.
func Cos(x float64) float64 { return turned(x, 1) }

// turned is the sine of x and so many quarter turns.
func turned(x float64, quarters int) float64 {
	if x-x != 0 { // infinite or NaN
		return math.NaN()
	}
	n, r, rest := reduce(x)
	var y float64
	if n += quarters; n&1 == 0 {
		y = sinNear(r, rest)
	} else {
		y = cosNear(r, rest)
	}
	if n&2 != 0 {
		return -y
	}
	return y
}

// π/2 in parts of 33 bits, whose multiples by numbers of 20 bits are exact, and the rest.
const quarter1, quarter2, quarter3, quarter4 = 0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69, 0x1.b839a252049c1p-104

// reduce returns n, modulo 4, and r + rest = x - n·π/2, at most about π/4 in size.
func reduce(x float64) (n int, r, rest float64) {
	if !(math.Abs(x) < 1<<20) {
		return reduceLarge(x)
	}
	k := math.Floor(float64(x*(2/math.Pi)) + 0.5)
	r = x - float64(k*quarter1) // exact
	r, rest = sum(r, -float64(k*quarter2))
	r, more := sum(r, -float64(k*quarter3))
	rest += more
	rest -= float64(k * quarter4)
	r, rest = sum(r, rest)
	return int(k) & 3, r, rest
}

// sum returns a + b rounded and what that leaves out (Knuth 1969, "Seminumerical Algorithms").
func sum(a, b float64) (s, rest float64) {
	s = a + b
	t := s - a
	return s, (a - (s - t)) + (b - t)
}

// reduceLarge is reduce for any size, with integers of as many bits as a float64 may have, and 200
// more. It is slow.
func reduceLarge(x float64) (n int, r, rest float64) {
	const bits = 1300
	mantissa, exponent := math.Frexp(x)
	v := big.NewInt(int64(math.Ldexp(mantissa, 53)))
	v.Lsh(v, uint(bits+exponent-53)) // x·2^bits; the exponent is at least 20
	half := quarterTurn()
	q, m := new(big.Int).DivMod(new(big.Int).Add(v, new(big.Int).Rsh(half, 1)), half, new(big.Int))
	m.Sub(m, new(big.Int).Rsh(half, 1))
	n = int(new(big.Int).And(q, big.NewInt(3)).Int64())
	scaled := new(big.Float).SetMantExp(new(big.Float).SetInt(m), -bits)
	r, _ = scaled.Float64()
	rest, _ = scaled.Sub(scaled, big.NewFloat(r)).Float64()
	return n, r, rest
}

// quarterTurn is π/2·2^1300, by Machin's π/4 = 4·atan(1/5) - atan(1/239).
var quarterTurn = sync.OnceValue(func() *big.Int {
	const bits, spare = 1300, 32
	atan := func(of int64) *big.Int {
		square := big.NewInt(of * of)
		term := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), bits+spare), big.NewInt(of))
		sum := new(big.Int)
		for k := int64(1); term.Sign() != 0; k += 2 {
			t := new(big.Int).Div(term, big.NewInt(k))
			if k%4 == 3 {
				t.Neg(t)
			}
			sum.Add(sum, t)
			term.Div(term, square)
		}
		return sum
	}
	v := new(big.Int).Mul(atan(5), big.NewInt(8))
	v.Sub(v, new(big.Int).Mul(atan(239), big.NewInt(2)))
	return v.Rsh(v, spare)
})

// sinTerms are (-1)**n/(2n+1)! from n = 9 down to 1, cosTerms (-1)**n/(2n)! from n = 9 down to 2.
var (
	sinTerms = [...]float64{
		-1.0 / 121645100408832000, 1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
		1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6,
	}
	cosTerms = [...]float64{
		-1.0 / 6402373705728000, 1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
		1.0 / 40320, -1.0 / 720, 1.0 / 24,
	}
)

// sinNear is the sine of r + rest for r within about π/4, and rest far smaller.
func sinNear(r, rest float64) float64 {
	z := float64(r * r)
	p := sinTerms[0]
	for _, c := range sinTerms[1:] {
		p = c + float64(z*p)
	}
	return r + (float64(float64(r*z)*p) + float64(rest*(1-float64(z*0.5))))
}

// cosNear is the cosine of r + rest.
func cosNear(r, rest float64) float64 {
	z := float64(r * r)
	p := cosTerms[0]
	for _, c := range cosTerms[1:] {
		p = c + float64(z*p)
	}
	half := float64(z * 0.5)
	top := 1 - half
	return top + (((1 - top) - half) + (float64(float64(z*z)*p) - float64(r*rest)))
}
