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

// functions has, by the name that model.Elementwise gives, the elementwise functions that are
// computed in float64 and rounded once. A row returns the function with a parameter, which is
// rounded as the backend's numbers are, and 0 where the function has none. A new one is a row here.
var functions = map[string]func(parameter float64) function{
	"sigmoid": func(float64) function { return function{sigmoid, sigmoidSlope, 0.25, 0.5} },
	"tanh": func(float64) function {
		return function{portable.Tanh, func(x float64) float64 { return 4 * sigmoidSlope(2*x) }, 1, 0}
	},
	"gelu":      func(float64) function { return function{gelu, geluSlope, 1.13, 0} },
	"gelu_tanh": func(float64) function { return function{geluTanh, geluTanhSlope, 1.13, 0} },
}

// exactFunctions are the elementwise functions that need no float64, by the same name: their
// operations work in the backend's own precision.
func exactFunctions[T Float](vec gemm.Vector[T]) map[string]func(parameter T) operation[T] {
	return map[string]func(T) operation[T]{
		"relu":       func(T) operation[T] { return relu[T]{vec} },
		"leaky_relu": func(slope T) operation[T] { return leaky[T]{slope} },
	}
}

// newElementwise returns the operation of e, a row of either table. It returns an error that names
// e if there is none.
func newElementwise[T Float](vec gemm.Vector[T], e lower.Elementwise) (operation[T], error) {
	parameter, exact := T(e.Parameters[0]), exactFunctions(vec)
	if f, ok := exact[e.Name]; ok {
		return f(parameter), nil
	}
	if f, ok := functions[e.Name]; ok {
		return activation[T]{f(float64(parameter))}, nil
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(exact)), maps.Keys(functions))
	slices.Sort(names)
	return nil, fmt.Errorf("no elementwise function %q, want one of %q", e.Name, names)
}

// A relu is max(x, 0). Its y may lie where x lies, and its dx where d lies.
type relu[T Float] struct{ vec gemm.Vector[T] }

func (a relu[T]) forward(_ *memory[T], y []T, x [][]T) {
	copy(y, x[0])
	a.vec.Gate(y, y)
}

func (a relu[T]) backward(_ *memory[T], dx, _, y, d []T) {
	copy(dx, d)
	a.vec.Gate(dx, y)
}

// A leaky is x where x > 0 and slope·x elsewhere.
type leaky[T Float] struct{ slope T }

func (a leaky[T]) forward(_ *memory[T], y []T, x [][]T) { a.by(y, x[0], x[0]) }

func (a leaky[T]) backward(_ *memory[T], dx, x, _, d []T) { a.by(dx, d, x) }

// by writes v, times slope where x is not positive.
func (a leaky[T]) by(to, v, x []T) {
	for i, x := range x {
		if to[i] = v[i]; !(x > 0) {
			to[i] = a.slope * v[i]
		}
	}
}

// An activation computes its function in float64 and rounds once.
type activation[T Float] struct{ function }

func (a activation[T]) forward(_ *memory[T], y []T, x [][]T) {
	for i, v := range x[0] {
		y[i] = T(a.value(float64(v)))
	}
}

func (a activation[T]) backward(_ *memory[T], dx, x, _, d []T) {
	for i, v := range x {
		dx[i] = T(a.slope(float64(v)) * float64(d[i]))
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
