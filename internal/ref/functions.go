package ref

import (
	"fmt"
	"math"

	"advsweep/model"
)

// An activation is a function f of each element, with its derivative.
type activation struct {
	f, derivative func(x float64) float64
	// bound returns how far f and its derivative may lie from those at x.V, x being off by x.Err
	// and both functions computed in a: by a few units in the last place, from formulas in which
	// nothing cancels (see activations).
	bound func(x Value, a Rounding) (f, derivative float64)
}

func (l activation) forward(in [][]float64) []float64 {
	h := make([]float64, len(in[0]))
	for i, v := range in[0] {
		h[i] = l.f(v)
	}
	return h
}

func (l activation) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	for i, v := range in[arg] {
		dx[i] = d[i] * l.derivative(v)
	}
	return dx
}

func (l activation) boundForward(in [][]Value, a Rounding) []Value {
	h := make([]Value, len(in[0]))
	for i, x := range in[0] {
		err, _ := l.bound(x, a)
		h[i] = Value{l.f(x.V), err}
	}
	return h
}

func (l activation) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	dx := make([]Value, len(in[arg]))
	for i, x := range in[arg] {
		_, err := l.bound(x, a)
		dx[i] = times(d[i], Value{l.derivative(x.V), err}, a)
	}
	return dx
}

// Sigmoid returns 1/(1 + exp(-x)).
func Sigmoid(x float64) float64 {
	if e := math.Exp(-math.Abs(x)); x < 0 {
		return e / (1 + e)
	} else {
		return 1 / (1 + e)
	}
}

// sigmoidDerivative is s·(1-s). In that form it is 0 in float32 from x = 17 on, as s is 1.
func sigmoidDerivative(x float64) float64 {
	e := math.Exp(-math.Abs(x))
	return e / ((1 + e) * (1 + e))
}

// The tanh form of GELU is x·Sigmoid(2u(x)), u = geluA·(x + geluB·x³).
const (
	geluA = 0.7978845608028653558798921198687637369517 // √(2/π)
	geluB = 0.044715
)

// ulps is how many units in the last place an activation's formula may err by.
const ulps = 16

// tiny is where float32 begins to lose digits: a backend may take less for 0.
const tiny = 0x1p-126

// activationOf returns the function of an elementwise layer. It panics, naming the layer, if the
// table has no such function.
func activationOf(l model.Elementwise) activation {
	name, parameters := l.Function()
	row, ok := activations[name]
	if !ok {
		panic(fmt.Sprintf("ref: no function %q, which %T asks for", name, l))
	}
	return row(parameters)
}

// Function returns the function of an elementwise layer and its derivative, its parameters rounded
// to float32 as a backend's are. It panics as activationOf does.
func Function(l model.Elementwise) (f, derivative func(x float64) float64) {
	activationOf(l) // for the panic
	name, parameters := l.Function()
	for i, p := range parameters {
		parameters[i] = float64(float32(p))
	}
	a := activations[name](parameters)
	return a.f, a.derivative
}

// plain is a row of a function without parameters.
func plain(a activation) func([2]float64) activation {
	return func([2]float64) activation { return a }
}

// activations are the functions of one number, by the name that a layer says, with their
// derivatives. The formulas do not cancel, and those of a backend must not: a derivative keeps its
// sign and its first digits however small it is, down to 2^-126.
var activations = map[string]func(parameters [2]float64) activation{
	"relu":       plain(kink(0)),
	"leaky_relu": func(p [2]float64) activation { return kink(p[0]) },
	"sigmoid": plain(activation{Sigmoid, sigmoidDerivative, func(x Value, a Rounding) (float64, float64) {
		// |d log f'/dx| = |1 - 2s| ≤ 1: over x ± Err, f' changes by a factor of exp(Err) at most.
		s, d := Sigmoid(x.V), sigmoidDerivative(x.V)
		return d*math.Exp(x.Err)*x.Err + ulps*a.Unit*s + tiny, d*(math.Expm1(x.Err)+ulps*a.Unit) + tiny
	}}),
	"tanh": plain(tanhFunction()),
	"gelu": plain(gated(func(x float64) (p, density float64) { // Φ and φ
		return math.Erfc(-x/math.Sqrt2) / 2, math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
	}, geluSlope, geluBend,
		// Φ and φ change by x² for each unit that -x/√2 and x²/2 err by, relative to themselves.
		func(x float64) float64 { return ulps + 2*x*x })),
	"gelu_tanh": plain(gated(func(x float64) (p, density float64) {
		v := 2 * geluA * (x + geluB*x*x*x)
		return Sigmoid(v), sigmoidDerivative(v) * 2 * geluA * (1 + 3*geluB*x*x)
	}, geluSlope, geluBend, func(x float64) float64 { return ulps + 8*math.Abs(2*geluA*(x+geluB*x*x*x)) })),
	"silu": plain(gated(func(x float64) (p, density float64) { return Sigmoid(x), sigmoidDerivative(x) },
		siluSlope, siluBend, func(float64) float64 { return ulps })),
	"mish":             plain(gated(mishGate, mishSlope, mishBend, func(float64) float64 { return ulps })),
	"hardswish":        plain(hardSwish()),
	"softplus":         plain(softPlus()),
	"softsign":         plain(softSign()),
	"abs":              plain(absolute()),
	"exp":              plain(exponential()),
	"log":              plain(logarithm()),
	"sqrt":             plain(power(0.5)),
	"reciprocal":       plain(power(-1)),
	"pow":              func(p [2]float64) activation { return power(p[0]) },
	"erf":              plain(erf()),
	"sin":              plain(wave(math.Sin, math.Cos)),
	"cos":              plain(wave(math.Cos, func(x float64) float64 { return -math.Sin(x) })),
	"clip":             func(p [2]float64) activation { return clip(p[0], p[1]) },
	"round_clip":       func(p [2]float64) activation { return roundClip(p[0], p[1]) },
	"elu":              func(p [2]float64) activation { return elu(p[0], p[1]) },
	"thresholded_relu": func(p [2]float64) activation { return thresholded(p[0]) },
}

func tanhFunction() activation {
	derivative := func(x float64) float64 { return 4 * sigmoidDerivative(2*x) } // 1 - tanh²
	return activation{math.Tanh, derivative, func(x Value, a Rounding) (float64, float64) {
		d := derivative(x.V)
		return d*math.Exp(2*x.Err)*x.Err + ulps*a.Unit*math.Abs(math.Tanh(x.V)) + tiny, d*(math.Expm1(2*x.Err)+ulps*a.Unit) + tiny
	}}
}

// gated is x·p(x) with derivative p + x·p', for a gate that returns p and p'. steepest and bend are
// not less than any |f'| and |f"|. spread returns how many units in the last place both may err by
// at x.
func gated(gate func(x float64) (p, density float64), steepest, bend float64, spread func(x float64) float64) activation {
	return activation{
		func(x float64) float64 { p, _ := gate(x); return x * p },
		func(x float64) float64 { p, d := gate(x); return p + x*d },
		func(x Value, a Rounding) (float64, float64) {
			p, d := gate(x.V)
			x1, u := math.Abs(x.V), spread(x.V)*a.Unit
			return steepest*x.Err + u*x1*p + (1+x1)*tiny, bend*x.Err + u*(p+x1*d) + (1+x1)*tiny
		},
	}
}

// The largest |f'| and |f"| of either form of GELU, of SiLU and of Mish, rounded up (TestBends).
const (
	geluSlope, geluBend = 1.13, 0.80
	siluSlope, siluBend = 1.10, 0.51
	mishSlope, mishBend = 1.09, 0.65
)

// mishGate is tanh(log(1 + e)) = n/(n+2) with e = exp(x) and n = e² + 2e, and its derivative
// 4e(e+1)/(n+2)². Above 0 both are divided by powers of e, which may be too large.
func mishGate(x float64) (p, density float64) {
	e := math.Exp(-math.Abs(x))
	if x < 0 {
		n := e * (e + 2)
		return n / (n + 2), 4 * e * (e + 1) / ((n + 2) * (n + 2))
	}
	n := 1 + 2*e
	m := n + 2*e*e
	return n / m, 4 * e * e * (1 + e) / (m * m)
}

// kink is x where x > 0 and slope·x elsewhere.
func kink(slope float64) activation {
	f := func(x float64) float64 {
		if x > 0 {
			return x
		}
		if slope == 0 {
			return 0
		}
		return slope * x
	}
	derivative := func(x float64) float64 {
		if x > 0 {
			return 1
		}
		return slope
	}
	return activation{f, derivative, func(x Value, a Rounding) (float64, float64) {
		s := math.Abs(slope)
		switch {
		case x.V > x.Err:
			return x.Err, 0
		case x.V < -x.Err || x.V == 0 && x.Err == 0:
			return s*x.Err + 2*a.Unit*s*(math.Abs(x.V)+x.Err), a.Unit * s
		}
		return max(1, s)*x.Err + 2*a.Unit*s*(math.Abs(x.V)+x.Err), math.Abs(1-slope) + a.Unit*s
	}}
}

// nearest returns the least and the largest size of a number within x ± Err.
func nearest(x Value) (least, most float64) {
	v := math.Abs(x.V)
	return max(0, v-x.Err), v + x.Err
}

// spread returns how far a function f that rises or falls all over lies from f(x.V) at most, x
// being off by x.Err.
func spread(f func(x float64) float64, x Value) float64 {
	v := f(x.V)
	return max(math.Abs(f(x.V+x.Err)-v), math.Abs(f(x.V-x.Err)-v))
}

func hardSwish() activation {
	derivative := func(x float64) float64 {
		switch {
		case x <= -3:
			return 0
		case x >= 3:
			return 1
		}
		return (2*x + 3) / 6
	}
	return activation{
		func(x float64) float64 { return x * max(0, min(1, x/6+0.5)) },
		derivative,
		func(x Value, a Rounding) (float64, float64) {
			lo, hi := x.V-x.Err, x.V+x.Err
			u := ulps * a.Unit
			switch {
			case hi <= -3:
				return 0, 0
			case lo >= 3:
				return x.Err, 0
			}
			// |f'| is largest at an end, or at 3, where it is 3/2.
			steepest := 1.5
			if lo > -3 && hi < 3 {
				steepest = max(math.Abs(derivative(lo)), math.Abs(derivative(hi)))
			}
			f, d := steepest*x.Err+u*(math.Abs(x.V)+x.Err), x.Err/3+u*(1+x.Err)
			if lo <= -3 || hi >= 3 { // where f' jumps by 1/2
				d += 0.5
			}
			return f, d
		},
	}
}

// softPlus is log(1 + exp(x)), with the sigmoid as its derivative.
func softPlus() activation {
	f := func(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
	return activation{f, Sigmoid, func(x Value, a Rounding) (float64, float64) {
		u, s := ulps*a.Unit, Sigmoid(x.V)
		most := Sigmoid(x.V+x.Err) * x.Err
		// |d log s/dx| = 1 - s ≤ 1.
		return most + u*(f(x.V)+most) + tiny, s*(math.Expm1(x.Err)+u*math.Exp(x.Err)) + tiny
	}}
}

func softSign() activation {
	derivative := func(x float64) float64 { return 1 / ((1 + math.Abs(x)) * (1 + math.Abs(x))) }
	return activation{
		func(x float64) float64 { return x / (1 + math.Abs(x)) },
		derivative,
		func(x Value, a Rounding) (float64, float64) {
			least, most := nearest(x)
			u, d := ulps*a.Unit, derivative(x.V)
			steepest := derivative(least)
			return steepest*x.Err + u*most + tiny, max(steepest-d, d-derivative(most)) + u*steepest + tiny
		},
	}
}

// absolute is |x|, with a derivative of 0 at 0.
func absolute() activation {
	derivative := func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		}
		return 0
	}
	return activation{math.Abs, derivative, func(x Value, _ Rounding) (float64, float64) {
		if math.Abs(x.V) > x.Err || x.Err == 0 {
			return x.Err, 0
		}
		return x.Err, 2
	}}
}

func exponential() activation {
	return activation{math.Exp, math.Exp, func(x Value, a Rounding) (float64, float64) {
		e := math.Exp(x.V)*(math.Expm1(x.Err)+ulps*a.Unit*math.Exp(x.Err)) + tiny
		return e, e
	}}
}

// logarithm is log x. Nothing is known where x may be 0.
func logarithm() activation {
	return activation{math.Log, func(x float64) float64 { return 1 / x }, func(x Value, a Rounding) (float64, float64) {
		least := x.V - x.Err
		if !(least > 0) {
			return unknown, unknown
		}
		u, carried := ulps*a.Unit, math.Log1p(x.Err/least)
		return carried + u*(math.Abs(math.Log(x.V))+carried) + tiny, x.Err/least/x.V + u/least
	}}
}

// erf has 2/√π·exp(-x²) as its derivative.
func erf() activation {
	derivative := func(x float64) float64 { return 2 / math.SqrtPi * math.Exp(-x*x) }
	return activation{math.Erf, derivative, func(x Value, a Rounding) (float64, float64) {
		least, most := nearest(x)
		steepest, d := derivative(least), derivative(x.V)
		// exp(-x²) changes by x² for each unit that x² errs by.
		u := (ulps + 2*most*most) * a.Unit
		return steepest*x.Err + ulps*a.Unit*math.Abs(math.Erf(most)) + tiny, max(steepest-d, d-derivative(most)) + u*steepest + tiny
	}}
}

// wave is a sine or a cosine.
func wave(f, derivative func(x float64) float64) activation {
	return activation{f, derivative, func(x Value, a Rounding) (float64, float64) {
		v, d := math.Abs(f(x.V)), math.Abs(derivative(x.V))
		// Nor does either change by more than 2.
		carried, bent := min(2, (d+x.Err)*x.Err), min(2, (v+x.Err)*x.Err)
		return carried + ulps*a.Unit*(v+carried) + tiny, bent + ulps*a.Unit*(d+bent) + tiny
	}}
}

// power is x to the power of p.
func power(p float64) activation {
	raised := func(x, p float64) float64 {
		if p == 0.5 {
			return math.Sqrt(x)
		}
		return math.Pow(x, p)
	}
	derivative := func(x float64) float64 {
		if p == 0 {
			return 0
		}
		return p * raised(x, p-1)
	}
	return activation{
		func(x float64) float64 { return raised(x, p) },
		derivative,
		func(x Value, a Rounding) (float64, float64) {
			least, most := nearest(x)
			whole := p == math.Trunc(p)
			switch {
			case p == 0:
				return 0, 0
			case !whole && !(x.V-x.Err > 0), p < 0 && !(least > 0):
				return unknown, unknown // x may be 0 or below
			}
			// At the ends of the interval are the largest |f'| and |f"|. Of a whole power f' may
			// change its sign.
			largest := func(q float64) float64 {
				if q < 0 {
					return math.Pow(least, q)
				}
				return math.Pow(most, q)
			}
			f, d := largest(p), math.Abs(p)*largest(p-1)
			bend := 0.0
			if p != 1 {
				bend = math.Abs(p*(p-1)) * largest(p-2)
			}
			// x^p = exp(p·log x) errs by what p·log x errs, relative to itself, and so do products.
			far := max(math.Abs(p), 1)
			if !whole {
				far += 2 * math.Abs(p) * max(math.Abs(math.Log(least)), math.Abs(math.Log(most)))
			}
			u := (ulps + 2*far) * a.Unit
			return d*x.Err + u*f + tiny, bend*x.Err + u*d + tiny
		},
	}
}

// edges returns the interval in which a backend has the parameter p, which it may round.
func edges(p float64, a Rounding) (lo, hi float64) {
	e := rounded(p, a)
	return p - e, p + e
}

// clip is x between lo and hi, with a derivative of 0 at both.
func clip(lo, hi float64) activation {
	return activation{
		func(x float64) float64 { return min(max(x, lo), hi) },
		func(x float64) float64 {
			if x > lo && x < hi {
				return 1
			}
			return 0
		},
		func(x Value, a Rounding) (float64, float64) {
			least, most := x.V-x.Err, x.V+x.Err
			below, lowest := edges(lo, a)
			highest, above := edges(hi, a)
			f := spread(func(x float64) float64 { return min(max(x, lo), hi) }, x)
			switch {
			case least > lowest && most < highest:
				return x.Err, 0
			case most <= below:
				return rounded(lo, a), 0
			case least >= above:
				return rounded(hi, a), 0
			}
			return f + rounded(lo, a) + rounded(hi, a), 1
		},
	}
}

// roundClip is x rounded to the nearest whole number, to the even one of two, and clipped. Its
// derivative is by definition 1 where the whole number is not clipped, and 0 elsewhere.
func roundClip(lo, hi float64) activation {
	f := func(x float64) float64 { return min(max(math.RoundToEven(x), lo), hi) }
	derivative := func(x float64) float64 {
		if r := math.RoundToEven(x); r >= lo && r <= hi {
			return 1
		}
		return 0
	}
	return activation{f, derivative, func(x Value, a Rounding) (float64, float64) {
		// Between the ends of the interval the whole number is on either side of a bound, or not.
		least, most := x.V-x.Err, x.V+x.Err
		err := spread(f, x) + rounded(lo, a) + rounded(hi, a)
		if math.RoundToEven(least) == math.RoundToEven(most) {
			return err, 0
		}
		inside := derivative(least) == 1 && derivative(most) == 1
		outside := math.RoundToEven(most) < lo || math.RoundToEven(least) > hi
		if inside || outside {
			return err, 0
		}
		return err, 1
	}}
}

// elu is x where x > 0 and alpha·(exp(rate·x) - 1) elsewhere.
func elu(alpha, rate float64) activation {
	f := func(x float64) float64 {
		if x > 0 {
			return x
		}
		return alpha * math.Expm1(rate*x)
	}
	derivative := func(x float64) float64 {
		if x > 0 {
			return 1
		}
		return alpha * rate * math.Exp(rate*x)
	}
	return activation{f, derivative, func(x Value, a Rounding) (float64, float64) {
		lo, hi := x.V-x.Err, x.V+x.Err
		if lo > 0 {
			return x.Err, 0
		}
		// |f'| below 0 is largest at an end. exp(rate·x) errs by what rate·x errs.
		end := min(hi, 0)
		steepest := max(math.Abs(derivative(lo)), math.Abs(derivative(end)))
		u := (ulps + 4*math.Abs(rate*lo)) * a.Unit
		slope, bend := steepest, math.Abs(rate)*steepest*x.Err
		size := math.Abs(alpha) * max(math.Abs(math.Expm1(rate*lo)), math.Abs(math.Expm1(rate*end)))
		// The rounding of rate and alpha moves f by the derivatives by them.
		err := ulps*a.Unit*size + 4*a.Unit*steepest*math.Abs(lo) + tiny
		if hi > 0 && !(x.V == 0 && x.Err == 0) { // f' may be on either side of its jump
			slope = max(1, steepest)
			bend += math.Abs(1 - alpha*rate)
		}
		return slope*x.Err + err, bend + u*steepest + tiny
	}}
}

// thresholded is x where x > alpha and 0 elsewhere.
func thresholded(alpha float64) activation {
	return activation{
		func(x float64) float64 {
			if x > alpha {
				return x
			}
			return 0
		},
		func(x float64) float64 {
			if x > alpha {
				return 1
			}
			return 0
		},
		func(x Value, a Rounding) (float64, float64) {
			lo, hi := edges(alpha, a)
			switch {
			case x.V-x.Err > hi:
				return x.Err, 0
			case x.V+x.Err <= lo:
				return 0, 0
			}
			return math.Abs(x.V) + x.Err, 1
		},
	}
}
