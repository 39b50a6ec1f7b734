package cpu

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/internal/portable"
)

// A function is an elementwise function: its value and its derivative (slope) at x, in float64.
// steepest is not less than any |slope|, or 0 where none is known. zero is |value| at 0.
type function struct {
	value, slope   func(x float64) float64
	steepest, zero float64
}

// constantly is a row of a function without parameters.
func constantly(f function) func([2]float64) function {
	return func([2]float64) function { return f }
}

// functions has, by the name that model.Elementwise gives, the elementwise functions that are
// computed in float64 and rounded once. A row returns the function with its parameters, which are
// rounded as the backend's numbers are, and 0 where the function has fewer. A new one is a row
// here.
var functions = map[string]func(parameters [2]float64) function{
	"sigmoid":    constantly(function{sigmoid, sigmoidSlope, 0.25, 0.5}),
	"tanh":       constantly(function{portable.Tanh, func(x float64) float64 { return 4 * sigmoidSlope(2*x) }, 1, 0}),
	"gelu":       constantly(function{gelu, geluSlope, 1.13, 0}),
	"gelu_tanh":  constantly(function{geluTanh, geluTanhSlope, 1.13, 0}),
	"silu":       constantly(function{silu, siluSlope, 1.1, 0}),
	"mish":       constantly(function{mish, mishSlope, 1.09, 0}),
	"hardswish":  constantly(function{hardSwish, hardSwishSlope, 1.5, 0}),
	"softplus":   constantly(function{softPlus, sigmoid, 1, math.Ln2}),
	"softsign":   constantly(function{softSign, softSignSlope, 1, 0}),
	"exp":        constantly(function{portable.Exp, portable.Exp, 0, 1}),
	"log":        constantly(function{portable.Log, func(x float64) float64 { return 1 / x }, 0, 0}),
	"sqrt":       constantly(power(0.5)),
	"reciprocal": constantly(power(-1)),
	"pow":        func(p [2]float64) function { return power(p[0]) },
	"erf":        constantly(function{portable.Erf, erfSlope, 1.129, 0}),
	"sin":        constantly(function{portable.Sin, portable.Cos, 1, 0}),
	"cos":        constantly(function{portable.Cos, func(x float64) float64 { return -portable.Sin(x) }, 1, 1}),
	"round_clip": func(p [2]float64) function { return roundClip(p[0], p[1]) },
	"elu":        func(p [2]float64) function { return elu(p[0], p[1]) },
}

// exactFunctions are the elementwise functions that need no float64, by the same name: their
// operations work in the backend's own precision.
func exactFunctions[T Float](path string) map[string]func(parameters [2]T, by vectors[T]) operation[T] {
	return map[string]func([2]T, vectors[T]) operation[T]{
		"relu":             func([2]T, vectors[T]) operation[T] { return relu[T]{gemm.NewVector[T](path)} },
		"leaky_relu":       func(p [2]T, by vectors[T]) operation[T] { return leaky[T]{by, p[0]} },
		"clip":             func(p [2]T, by vectors[T]) operation[T] { return clip[T]{by, p[0], p[1]} },
		"thresholded_relu": func(p [2]T, by vectors[T]) operation[T] { return thresholded[T]{by, p[0]} },
		"abs":              func(_ [2]T, by vectors[T]) operation[T] { return absolute[T]{by} },
	}
}

// newElementwise returns the operation of e, a row of either table, on a path of package gemm. It
// returns an error that names e if there is none.
func newElementwise[T Float](path string, e lower.Elementwise) (operation[T], error) {
	parameters := [2]T{T(e.Parameters[0]), T(e.Parameters[1])}
	wide := [2]float64{float64(parameters[0]), float64(parameters[1])}
	by := vectors[T]{gemm.NewActivation[T](path, e.Name), wide}
	exact := exactFunctions[T](path)
	if f, ok := exact[e.Name]; ok {
		return f(parameters, by), nil
	}
	if f, ok := functions[e.Name]; ok {
		return activation[T]{by, f(wide)}, nil
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(exact)), maps.Keys(functions))
	slices.Sort(names)
	return nil, fmt.Errorf("no elementwise function %q, want one of %q", e.Name, names)
}

// vectors is the vector form of an operation below, which is the scalar code. They give the same
// bits. The vector form may take no element, or leave the last ones.
type vectors[T Float] struct {
	gemm.Activation[T]
	parameters [2]float64
}

// start does the first elements of y = f(x) in vectors. It returns the others.
func (v *vectors[T]) start(y, x []T) (yRest, xRest []T) {
	n := v.Forward(y, x, &v.parameters)
	return y[n:], x[n:len(y)]
}

// startBack does the first elements of dx in vectors, for d at f(x). It returns the others.
func (v *vectors[T]) startBack(dx, x, d []T) (dxRest, xRest, dRest []T) {
	n := v.Backward(dx, x, d, &v.parameters)
	return dx[n:], x[n:len(dx)], d[n:len(dx)]
}

// A relu is max(x, 0). Its y may lie where x lies, and its dx where d lies.
type relu[T Float] struct{ vec gemm.Vector[T] }

func (a relu[T]) forward(_ *memory[T], y []T, x [][]T) {
	a.vec.Gated(y, x[0], x[0])
}

func (a relu[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, y, d []T) {
	a.vec.Gated(dx, d, y)
}

// A leaky is x where x > 0 and slope·x elsewhere.
type leaky[T Float] struct {
	vectors[T]
	slope T
}

func (a leaky[T]) forward(_ *memory[T], y []T, x [][]T) {
	to, v := a.start(y, x[0])
	a.by(to, v, v)
}

func (a leaky[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, _, d []T) {
	to, v, d := a.startBack(dx, x[0], d)
	a.by(to, d, v)
}

// by writes v, times slope where x is not positive.
func (a leaky[T]) by(to, v, x []T) {
	for i, x := range x {
		if to[i] = v[i]; !(x > 0) {
			to[i] = a.slope * v[i]
		}
	}
}

// A clip is x between lo and hi. A NaN stays.
type clip[T Float] struct {
	vectors[T]
	lo, hi T
}

func (a clip[T]) forward(_ *memory[T], y []T, x [][]T) {
	to, vs := a.start(y, x[0])
	for i, v := range vs {
		if v < a.lo {
			v = a.lo
		}
		if v > a.hi {
			v = a.hi
		}
		to[i] = v
	}
}

func (a clip[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, _, d []T) {
	to, vs, d := a.startBack(dx, x[0], d)
	for i, v := range vs {
		g := d[i]
		if v <= a.lo || v >= a.hi {
			g = 0
		}
		to[i] = g
	}
}

// A thresholded is x where x > alpha and 0 elsewhere. A NaN stays.
type thresholded[T Float] struct {
	vectors[T]
	alpha T
}

func (a thresholded[T]) forward(_ *memory[T], y []T, x [][]T) {
	to, v := a.start(y, x[0])
	a.by(to, v, v)
}

func (a thresholded[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, _, d []T) {
	to, v, d := a.startBack(dx, x[0], d)
	a.by(to, d, v)
}

// by writes v, and 0 where x is not above alpha.
func (a thresholded[T]) by(to, v, x []T) {
	for i, x := range x {
		if to[i] = v[i]; x <= a.alpha {
			to[i] = 0
		}
	}
}

// An absolute is |x|, with a derivative of 0 at 0.
type absolute[T Float] struct{ vectors[T] }

func (a absolute[T]) forward(_ *memory[T], y []T, x [][]T) {
	to, vs := a.start(y, x[0])
	for i, v := range vs {
		to[i] = T(math.Abs(float64(v)))
	}
}

func (a absolute[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, _, d []T) {
	to, vs, d := a.startBack(dx, x[0], d)
	for i, v := range vs {
		switch {
		case v < 0:
			to[i] = -d[i]
		case v == 0:
			to[i] = 0
		default: // also a NaN
			to[i] = d[i]
		}
	}
}

// An activation computes its function in float64 and rounds once.
type activation[T Float] struct {
	vectors[T]
	function
}

func (a activation[T]) forward(_ *memory[T], y []T, x [][]T) {
	a.inFloat64(a.start(y, x[0]))
}

// wideBlock is how many numbers inFloat64 widens together.
const wideBlock = 64

// inFloat64 writes the value at x to y, by the scalar code. Numbers are widened in a loop of their
// own: on amd64 that instruction leaves a part of its register, so it waits for what was there, and
// each number would wait for the last one's value.
func (a activation[T]) inFloat64(y, x []T) {
	var wide [wideBlock]float64
	for len(x) > 0 {
		n := min(len(x), wideBlock)
		for i, v := range x[:n] {
			wide[i] = float64(v)
		}
		for i, v := range wide[:n] {
			wide[i] = a.value(v)
		}
		for i, v := range wide[:n] {
			y[i] = T(v)
		}
		x, y = x[n:], y[n:]
	}
}

func (a activation[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, _, d []T) {
	a.backInFloat64(a.startBack(dx, x[0], d))
}

// backInFloat64 writes dx by the scalar code.
func (a activation[T]) backInFloat64(dx, x, d []T) {
	var wide [wideBlock]float64
	for len(x) > 0 {
		n := min(len(x), wideBlock)
		for i, v := range x[:n] {
			wide[i] = float64(v)
		}
		for i, v := range wide[:n] {
			wide[i] = a.slope(v)
		}
		for i, v := range wide[:n] {
			dx[i] = T(v * float64(d[i]))
		}
		dx, x, d = dx[n:], x[n:], d[n:]
	}
}

// No function below, and no derivative, takes the difference of numbers that may be nearly equal.
// 1 - s loses every digit where s rounds to 1, and the gradient would be lost with it.

func sigmoid(x float64) float64 {
	if x < 0 {
		e := portable.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + portable.Exp(-x))
}

// sigmoidSlope is s·(1-s).
func sigmoidSlope(x float64) float64 {
	e := portable.Exp(-math.Abs(x))
	return e / ((1 + e) * (1 + e))
}

// gelu is x·Φ(x), with Φ from the complementary error function.
func gelu(x float64) float64 { return times(x, portable.Erfc(-x/math.Sqrt2)/2) }

func geluSlope(x float64) float64 {
	return float64(portable.Erfc(-x/math.Sqrt2)/2) + times(x, portable.Exp(-x*x/2)/math.Sqrt(2*math.Pi))
}

// times is x·v, but 0 at v = 0 even if x is infinite.
func times(x, v float64) float64 {
	if v == 0 {
		return 0
	}
	return float64(x * v)
}

// geluTanh is x/2·(1 + tanh(u)) = x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³).
func geluTanh(x float64) float64 { return times(x, sigmoid(geluArgument(x))) }

func geluTanhSlope(x float64) float64 {
	const a, b = 0.79788456080286535588, 3 * 0.044715
	u := geluArgument(x)
	return sigmoid(u) + times(x*2*a*(1+float64(b*x*x)), sigmoidSlope(u))
}

func geluArgument(x float64) float64 {
	const a, b = 0.79788456080286535588, 0.044715
	return 2 * a * x * (1 + float64(b*x*x))
}

func silu(x float64) float64 { return times(x, sigmoid(x)) }

// siluSlope is s + x·s·(1-s).
func siluSlope(x float64) float64 { return sigmoid(x) + times(x, sigmoidSlope(x)) }

// mishGate is tanh(log(1 + e)), e = exp(x), and its derivative: n/(n+2) and 4e(e+1)/(n+2)², n = e²
// + 2e. Above 0 both are divided by powers of e, which may be too large.
func mishGate(x float64) (p, slope float64) {
	e := portable.Exp(-math.Abs(x))
	if x < 0 {
		n := float64(e * (e + 2))
		return n / (n + 2), 4 * e * (e + 1) / ((n + 2) * (n + 2))
	}
	n := 1 + float64(2*e)
	m := n + float64(2*e*e)
	return n / m, 4 * e * e * (1 + e) / (m * m)
}

func mish(x float64) float64 {
	p, _ := mishGate(x)
	return times(x, p)
}

func mishSlope(x float64) float64 {
	p, s := mishGate(x)
	return p + times(x, s)
}

func hardSwish(x float64) float64 {
	switch {
	case x <= -3:
		return 0
	case x >= 3:
		return x
	}
	return x * (x + 3) / 6
}

func hardSwishSlope(x float64) float64 {
	switch {
	case x <= -3:
		return 0
	case x >= 3:
		return 1
	}
	return (x + x + 3) / 6
}

// softPlus is log(1 + exp(x)).
func softPlus(x float64) float64 {
	return max(x, 0) + portable.Log1p(portable.Exp(-math.Abs(x)))
}

func softSign(x float64) float64 {
	if math.IsInf(x, 0) {
		return math.Copysign(1, x)
	}
	return x / (1 + math.Abs(x))
}

func softSignSlope(x float64) float64 {
	a := 1 + math.Abs(x)
	return 1 / a / a
}

// erfSlope is 2/√π·exp(-x²).
func erfSlope(x float64) float64 { return 2 / math.SqrtPi * portable.Exp(-float64(x*x)) }

// power is x to the power of p, with derivative p·x^(p-1).
func power(p float64) function {
	f := function{value: func(x float64) float64 { return portable.Pow(x, p) }}
	f.slope = func(x float64) float64 { return p * portable.Pow(x, p-1) }
	switch p {
	case 0:
		f.slope = func(float64) float64 { return 0 }
	case 1:
		f.steepest = 1
	case 0.5: // for which Pow would take the root of x, and a quotient
		f.slope = func(x float64) float64 { return 0.5 / math.Sqrt(x) }
	}
	return f
}

// roundClip is x rounded to the nearest whole number, to the even one of two, and clipped. Its
// derivative is by definition 1 where the whole number is not clipped, and 0 elsewhere.
func roundClip(lo, hi float64) function {
	return function{
		value: func(x float64) float64 { return min(max(math.RoundToEven(x), lo), hi) },
		slope: func(x float64) float64 {
			if r := math.RoundToEven(x); r < lo || r > hi {
				return 0
			}
			return 1
		},
	}
}

// elu is x where x > 0 and alpha·(exp(rate·x) - 1) elsewhere.
func elu(alpha, rate float64) function {
	f := function{
		value: func(x float64) float64 {
			if x > 0 {
				return x
			}
			return alpha * portable.Expm1(float64(rate*x))
		},
		slope: func(x float64) float64 {
			if x > 0 {
				return 1
			}
			return alpha * rate * portable.Exp(float64(rate*x))
		},
	}
	if rate >= 0 { // below 0 the slope is then largest at 0
		f.steepest = max(1, math.Abs(float64(alpha*rate)))
	}
	return f
}
