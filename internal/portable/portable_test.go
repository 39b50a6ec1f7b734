package portable

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

const precision = 200

func number(v float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(v) }

func zero() *big.Float { return new(big.Float).SetPrec(precision) }

// bigExp is e**x by its series at x/2**n, squared n times.
func bigExp(x *big.Float) *big.Float {
	const halvings = 20
	y := zero().SetMantExp(x, -halvings)
	sum, term := number(1), number(1)
	for n := 1; n < 30; n++ {
		term.Mul(term, y)
		term.Quo(term, number(float64(n)))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// bigLog is the root of e**y = x by Newton from near it.
func bigLog(x float64) *big.Float {
	y := number(math.Log(x))
	for range 3 {
		e := bigExp(y)
		y.Add(y, zero().Quo(zero().Sub(number(x), e), e))
	}
	return y
}

func bigTanh(x float64) *big.Float {
	e := bigExp(number(2 * x))
	return zero().Quo(zero().Sub(e, number(1)), zero().Add(e, number(1)))
}

// bigErfc is 1 - erf(x) by the series 2/√π·e**-x²·Σ 2**n·x**(2n+1)/(2n+1)!!, in a precision that
// bears the difference.
func bigErfc(x float64) *big.Float {
	const prec = 3000
	n := func(v float64) *big.Float { return new(big.Float).SetPrec(prec).SetFloat64(v) }
	X := n(x)
	twice := n(0).Mul(X, X)
	e := n(0).Neg(twice)
	// The exponential in that precision.
	y := n(0).SetMantExp(e, -40)
	exp, term := n(1), n(1)
	for k := 1; k < 90; k++ {
		term.Mul(term, y)
		term.Quo(term, n(float64(k)))
		exp.Add(exp, term)
	}
	for range 40 {
		exp.Mul(exp, exp)
	}
	twice.Add(twice, twice)
	sum, t := n(0), n(0).Set(X)
	for k := 0; k < 6000 && (k < 10 || t.Sign() != 0 && t.MantExp(nil) > sum.MantExp(nil)-prec); k++ {
		sum.Add(sum, t)
		t.Mul(t, twice)
		t.Quo(t, n(float64(2*k+3)))
	}
	pi, _ := n(0).SetString(piDigits)
	erf := n(0).Mul(sum, exp)
	erf.Mul(erf, n(2))
	erf.Quo(erf, n(0).Sqrt(pi))
	return n(0).Sub(n(1), erf)
}

func bigExpm1(x float64) *big.Float { return zero().Sub(bigExp(number(x)), number(1)) }

func bigLog1p(x float64) *big.Float {
	sum := zero().Add(number(1), number(x))
	near, _ := sum.Float64()
	y := number(math.Log(near))
	for range 4 {
		e := bigExp(y)
		y.Add(y, zero().Quo(zero().Sub(sum, e), e))
	}
	return y
}

func bigErf(x float64) *big.Float { return new(big.Float).SetPrec(3000).Sub(number(1), bigErfc(x)) }

// bigSin is the series of the sine of x and so many quarter turns, in a precision that bears the
// size of its terms.
func bigSin(x float64, quarters float64) *big.Float {
	const prec = 1500
	n := func(v float64) *big.Float { return new(big.Float).SetPrec(prec).SetFloat64(v) }
	pi, _ := n(0).SetString(piDigits)
	turn := n(0).Mul(pi, n(2))
	y := n(0).Add(n(x), n(0).Mul(n(0).Quo(pi, n(2)), n(quarters)))
	turns, _ := n(0).Quo(y, turn).Int(nil)
	y.Sub(y, n(0).Mul(turn, n(0).SetInt(turns)))
	sum, term, square := n(0), n(0).Set(y), n(0).Mul(y, y)
	for k := 1; k < 100; k++ {
		sum.Add(sum, term)
		term.Mul(term, square)
		term.Quo(term, n(-float64(2*k*(2*k+1))))
	}
	return sum
}

// bigPow is e**(p·log|x|).
func bigPow(x, p float64) *big.Float {
	y := bigExp(zero().Mul(number(p), bigLog(math.Abs(x))))
	if x < 0 && math.Mod(p, 2) != 0 {
		y.Neg(y)
	}
	return y
}

// ulps is how far got is from want in units in the last place of a float64 there.
func ulps(got float64, want *big.Float) float64 {
	nearest, _ := want.Float64()
	if math.IsInf(nearest, 0) || math.IsInf(got, 0) {
		if got == nearest {
			return 0
		}
		return math.Inf(1)
	}
	unit := math.Nextafter(math.Abs(nearest), math.Inf(1)) - math.Abs(nearest)
	d := zero().Sub(number(got), want)
	off, _ := d.Quo(d.Abs(d), number(unit)).Float64()
	return off
}

// TestAccuracy compares with big.Float.
func TestAccuracy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	between := func(lo, hi float64) func() float64 { return func() float64 { return lo + (hi-lo)*r.Float64() } }
	small := func() float64 { return math.Ldexp(2*r.Float64()-1, -r.IntN(60)) }
	for _, c := range []struct {
		name string
		f    func(float64) float64
		want func(float64) *big.Float
		x    func() float64
		n    int
		most float64
	}{
		{"Exp", Exp, func(x float64) *big.Float { return bigExp(number(x)) }, between(-50, 50), 5000, 0.52},
		{"Exp, all", Exp, func(x float64) *big.Float { return bigExp(number(x)) }, between(-708, 709.7), 5000, 0.52},
		{"Exp, small", Exp, func(x float64) *big.Float { return bigExp(number(x)) }, small, 5000, 0.52},
		{"Exp, subnormal", Exp, func(x float64) *big.Float { return bigExp(number(x)) }, between(-746, -708), 2000, 1},
		{"Log", Log, bigLog, between(0.3, 3), 3000, 1},
		{"Log, near 1", Log, bigLog, func() float64 { return 1 + small()/4 }, 2000, 1},
		{"Log, all", Log, bigLog, func() float64 { return math.Ldexp(1+r.Float64(), r.IntN(2000)-1000) }, 2000, 1},
		{"Tanh", Tanh, bigTanh, between(-3, 3), 3000, 2},
		{"Tanh, large", Tanh, bigTanh, between(-25, 25), 2000, 2},
		{"Tanh, small", Tanh, bigTanh, small, 2000, 2},
		{"Erfc", Erfc, bigErfc, between(-3, 6), 60, 5},
		{"Erfc, all", Erfc, bigErfc, between(-6, 26.5), 30, 5},
		{"Erfc, small", Erfc, bigErfc, small, 20, 5},
		{"Expm1", Expm1, bigExpm1, between(-1.5, 1.5), 4000, 3},
		{"Expm1, all", Expm1, bigExpm1, between(-40, 700), 2000, 3},
		{"Expm1, small", Expm1, bigExpm1, small, 2000, 3},
		{"Log1p", Log1p, bigLog1p, between(-0.9, 3), 3000, 2},
		{"Log1p, large", Log1p, bigLog1p, func() float64 { return math.Ldexp(1+r.Float64(), r.IntN(600)) }, 1000, 2},
		{"Log1p, small", Log1p, bigLog1p, small, 2000, 2},
		{"Erf", Erf, bigErf, between(-6, 6), 60, 4},
		{"Erf, near 0.5", Erf, bigErf, between(0.45, 0.65), 60, 4},
		{"Erf, small", Erf, bigErf, small, 40, 4},
		{"Sin", Sin, func(x float64) *big.Float { return bigSin(x, 0) }, between(-8, 8), 1000, 1},
		{"Cos", Cos, func(x float64) *big.Float { return bigSin(x, 1) }, between(-8, 8), 1000, 1},
		{"Sin, to 2^20", Sin, func(x float64) *big.Float { return bigSin(x, 0) }, between(-1<<20, 1<<20), 500, 1},
		{"Sin, large", Sin, func(x float64) *big.Float { return bigSin(x, 0) }, func() float64 { return math.Ldexp(1+r.Float64(), r.IntN(1000)) }, 500, 1},
		{"Sin, next to multiples of π", Sin, func(x float64) *big.Float { return bigSin(x, 0) }, func() float64 { return math.Pi * float64(1+r.IntN(300_000)) }, 500, 1},
		{"Cos, next to odd multiples of π/2", Cos, func(x float64) *big.Float { return bigSin(x, 1) }, func() float64 { return math.Pi / 2 * float64(1+2*r.IntN(300_000)) }, 500, 1},
		{"Sin, small", Sin, func(x float64) *big.Float { return bigSin(x, 0) }, small, 500, 1},
		{"Pow 2", func(x float64) float64 { return Pow(x, 2) }, func(x float64) *big.Float { return bigPow(x, 2) }, between(-9, 9), 500, 2},
		{"Pow 3", func(x float64) float64 { return Pow(x, 3) }, func(x float64) *big.Float { return bigPow(x, 3) }, between(-9, 9), 500, 3},
		{"Pow -5", func(x float64) float64 { return Pow(x, -5) }, func(x float64) *big.Float { return bigPow(x, -5) }, between(-9, 9), 500, 5},
		{"Pow 0.5", func(x float64) float64 { return Pow(x, 0.5) }, func(x float64) *big.Float { return bigPow(x, 0.5) }, between(0.01, 9), 500, 1},
		{"Pow -0.5", func(x float64) float64 { return Pow(x, -0.5) }, func(x float64) *big.Float { return bigPow(x, -0.5) }, between(0.01, 9), 500, 2},
		// |p·log x| is at most 0.75·4.7 and 1.7·4.7.
		{"Pow -0.75", func(x float64) float64 { return Pow(x, -0.75) }, func(x float64) *big.Float { return bigPow(x, -0.75) }, between(0.01, 100), 1000, 2 + 4*3.5},
		{"Pow 1.7", func(x float64) float64 { return Pow(x, 1.7) }, func(x float64) *big.Float { return bigPow(x, 1.7) }, between(0.01, 100), 1000, 2 + 4*7.9},
		{"Pow 65", func(x float64) float64 { return Pow(x, 65) }, func(x float64) *big.Float { return bigPow(x, 65) }, between(-2, -1), 300, 2 + 4*46},
	} {
		worst, at := 0.0, 0.0
		for range c.n {
			x := c.x()
			off := ulps(c.f(x), c.want(x))
			if !(off <= worst) {
				worst, at = off, x
			}
		}
		if !(worst <= c.most) {
			t.Errorf("%s(%v): %v, off by %.3f units in the last place, want at most %v", c.name, at, c.f(at), worst, c.most)
		}
		t.Logf("%s: off by at most %.3f units in the last place, at %v", c.name, worst, at)
	}
}

// TestTables derives the constants anew.
func TestTables(t *testing.T) {
	root := number(2) // 2**(1/64)
	for range 6 {
		root.Sqrt(root)
	}
	v := number(1)
	for j, p := range powers {
		hi, _ := v.Float64()
		lo, _ := zero().Sub(v, number(hi)).Float64()
		if p[0] != hi || p[1] != lo {
			t.Errorf("powers[%d] = %v, want %v and %v", j, p, hi, lo)
		}
		v.Mul(v, root)
	}
	ln2 := bigLog(2)
	if lo, _ := zero().Sub(ln2, number(ln2Hi)).Float64(); lo != ln2Lo {
		t.Errorf("ln2Lo = %v, want %v", ln2Lo, lo)
	}
	if s, _ := zero().Quo(number(64), ln2).Float64(); s != steps {
		t.Errorf("steps = %v, want %v", steps, s)
	}
}

func TestSpecial(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name    string
		f       func(float64) float64
		x, want float64
	}{
		{"Exp", Exp, 0, 1}, {"Exp", Exp, inf, inf}, {"Exp", Exp, -inf, 0}, {"Exp", Exp, nan, nan}, {"Exp", Exp, 710, inf}, {"Exp", Exp, 1e300, inf}, {"Exp", Exp, -746, 0},
		{"Exp", Exp, -1e300, 0}, {"Exp", Exp, -745.13, math.SmallestNonzeroFloat64}, {"Exp", Exp, math.SmallestNonzeroFloat64, 1}, {"Exp", Exp, math.Log(math.MaxFloat64), math.Exp(math.Log(math.MaxFloat64))},
		{"Log", Log, 1, 0}, {"Log", Log, 0, -inf}, {"Log", Log, inf, inf}, {"Log", Log, -1, nan}, {"Log", Log, nan, nan}, {"Log", Log, math.SmallestNonzeroFloat64, -1074 * math.Ln2},
		{"Tanh", Tanh, 0, 0}, {"Tanh", Tanh, inf, 1}, {"Tanh", Tanh, -inf, -1}, {"Tanh", Tanh, nan, nan}, {"Tanh", Tanh, 0x1p-600, 0x1p-600},
		{"Erfc", Erfc, 0, 1}, {"Erfc", Erfc, inf, 0}, {"Erfc", Erfc, -inf, 2}, {"Erfc", Erfc, nan, nan}, {"Erfc", Erfc, 27.3, 0},
		{"Expm1", Expm1, 0, 0}, {"Expm1", Expm1, inf, inf}, {"Expm1", Expm1, -inf, -1}, {"Expm1", Expm1, nan, nan}, {"Expm1", Expm1, 0x1p-600, 0x1p-600},
		{"Log1p", Log1p, 0, 0}, {"Log1p", Log1p, inf, inf}, {"Log1p", Log1p, -1, -inf}, {"Log1p", Log1p, -1.5, nan}, {"Log1p", Log1p, nan, nan}, {"Log1p", Log1p, 0x1p-600, 0x1p-600},
		{"Erf", Erf, 0, 0}, {"Erf", Erf, inf, 1}, {"Erf", Erf, -inf, -1}, {"Erf", Erf, nan, nan},
		{"Sin", Sin, 0, 0}, {"Sin", Sin, inf, nan}, {"Sin", Sin, nan, nan}, {"Sin", Sin, 0x1p-600, 0x1p-600}, {"Cos", Cos, 0, 1}, {"Cos", Cos, -inf, nan}, {"Cos", Cos, nan, nan},
		{"Pow 0", func(x float64) float64 { return Pow(x, 0) }, -3, 1}, {"Pow 3", func(x float64) float64 { return Pow(x, 3) }, -2, -8}, {"Pow -1", func(x float64) float64 { return Pow(x, -1) }, 0, inf},
		{"Pow 1.5", func(x float64) float64 { return Pow(x, 1.5) }, -2, nan}, {"Pow 1.5", func(x float64) float64 { return Pow(x, 1.5) }, 0, 0}, {"Pow 1.5", func(x float64) float64 { return Pow(x, 1.5) }, inf, inf},
		{"Pow -1.5", func(x float64) float64 { return Pow(x, -1.5) }, 0, inf}, {"Pow -1.5", func(x float64) float64 { return Pow(x, -1.5) }, inf, 0}, {"Pow 1.5", func(x float64) float64 { return Pow(x, 1.5) }, nan, nan},
	} {
		got := c.f(c.x)
		if !(math.Abs(got-c.want) <= 1e-15*math.Abs(c.want) || got == c.want || got != got && c.want != c.want) {
			t.Errorf("%s(%v) = %v, want %v", c.name, c.x, got, c.want)
		}
	}
	if got := Tanh(math.Copysign(0, -1)); !math.Signbit(got) {
		t.Errorf("Tanh(-0) = %v, want -0", got)
	}
}

// TestSameBits hashes many results. The hash was made on amd64, and is that of every processor.
func TestSameBits(t *testing.T) {
	const want = "aede4461de343cbe"
	r := rand.New(rand.NewPCG(5, 6))
	h := sha256.New()
	for range 20_000 {
		x := 24 * (r.Float64() - 0.5)
		var b []byte
		for _, v := range []float64{Exp(x), Exp(40 * x), Log(math.Abs(x)), Tanh(x / 4), Erfc(x / 2)} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		h.Write(b)
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSameBitsMore is TestSameBits for the functions that came later.
func TestSameBitsMore(t *testing.T) {
	const want = "b03783c2683e96cb"
	r := rand.New(rand.NewPCG(5, 7))
	h := sha256.New()
	for range 20_000 {
		x := 24 * (r.Float64() - 0.5)
		var b []byte
		for _, v := range []float64{Expm1(x), Expm1(x / 30), Log1p(math.Abs(x)), Log1p(x / 30), Erf(x / 4), Sin(x), Cos(x), Sin(1e5 * x), Pow(math.Abs(x), 1.3), Pow(x, 5)} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		h.Write(b)
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func BenchmarkExp(b *testing.B)      { bench(b, Exp) }
func BenchmarkMathExp(b *testing.B)  { bench(b, math.Exp) }
func BenchmarkTanh(b *testing.B)     { bench(b, Tanh) }
func BenchmarkMathTanh(b *testing.B) { bench(b, math.Tanh) }
func BenchmarkErfc(b *testing.B)     { bench(b, Erfc) }
func BenchmarkMathErfc(b *testing.B) { bench(b, math.Erfc) }

var sink float64

func bench(b *testing.B, f func(float64) float64) {
	x := make([]float64, 1024)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = r.NormFloat64()
	}
	for b.Loop() {
		for _, v := range x {
			sink += f(v)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/value")
}

const piDigits = "3.1415926535897932384626433832795028841971693993751058209749445923078164062862089986280348253421170679821480865132823066" +
	"470938446095505822317253594081284811174502841027019385211055596446229489549303819644288109756659334461284756482337867831" +
	"652712019091456485669234603486104543266482133936072602491412737245870066063155881748815209209628292540917153643678925903" +
	"600113305305488204665213841469519415116094330572703657595919530921861173819326117931051185480744623799627495673518857527" +
	"248912279381830119491298336733624406566430860213949463952247371907021798609437027705392171762931767523846748184676694051" +
	"320005681271452635608277857713427577896091736371787214684409012249534301465495853710507922796892589235420199561121290219" +
	"608640344181598136297747713099605187072113499999983729780499510597317328160963185950244594553469083026425223082533446850" +
	"3526193118817101000313783875288658753320838142061717766914730359825349042876"
