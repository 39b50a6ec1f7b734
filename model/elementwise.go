package model

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// An Elementwise is a layer that applies one function of one number to each number that it takes.
//
// Backends and the float64 truth each have a table of such functions, by name: a value and a
// derivative.
type Elementwise interface {
	Layer
	// Function returns the name of the function in those tables, and its parameters: 0 where it has
	// fewer.
	Function() (name string, parameters [2]float64)
	// Value returns the function at x by its definition. That tells functions apart, and is close
	// to the truth where nothing cancels; no result is computed with it.
	Value(x float64) float64
}

// elementwiseKinds are the rows of functions of one number, see kinds. A new function is a row of
// plainFunctions if it has no parameters. Else it is a type with its methods Kind, Function and
// Value in this file, and a row here.
var elementwiseKinds = append([]kind{
	{name: "relu", layer: ReLU{}, decode: fixed(ReLU{}), examples: each(Example{Layer: ReLU{}})},
	{name: "leakyrelu", fields: []string{"slope"}, layer: LeakyReLU{},
		examples: each(Example{Layer: LeakyReLU{Slope: 0.1}}, Example{Layer: LeakyReLU{Slope: -0.5}}),
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			if l.Slope != nil {
				return LeakyReLU{Slope: *l.Slope}, nil
			}
			return LeakyReLU{Slope: 0.01}, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(LeakyReLU)
			l.Slope = &v.Slope
		}},
	{name: "sigmoid", layer: Sigmoid{}, decode: fixed(Sigmoid{}), examples: each(Example{Layer: Sigmoid{}, Lo: -60, Hi: 60})},
	{name: "tanh", layer: Tanh{}, decode: fixed(Tanh{}), examples: each(Example{Layer: Tanh{}, Lo: -30, Hi: 30})},
	{name: "gelu", fields: []string{"tanh"}, layer: GELU{},
		examples: each(Example{Layer: GELU{}, Lo: -9, Hi: 9}, Example{Layer: GELU{Tanh: true}, Lo: -7, Hi: 7}),
		decode:   func(_ *builder, l listed, _ []int) (Layer, error) { return GELU{Tanh: l.Tanh}, nil },
		encode:   func(layer Layer, l *listed) { l.Tanh = layer.(GELU).Tanh }},
	{name: "clip", fields: []string{"lo", "hi"}, layer: Clip{},
		examples: each(Example{Layer: Clip{-0.25, 0.5}}, Example{Layer: Clip{0, 6}}),
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			lo, hi, err := l.bounds()
			return Clip{lo, hi}, err
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(Clip)
			l.Lo, l.Hi = &v.Lo, &v.Hi
		}},
	{name: "roundclip", fields: []string{"lo", "hi"}, layer: RoundClip{}, examples: each(Example{Layer: RoundClip{-1, 2}}),
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			lo, hi, err := l.bounds()
			return RoundClip{lo, hi}, err
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(RoundClip)
			l.Lo, l.Hi = &v.Lo, &v.Hi
		}},
	{name: "elu", fields: []string{"alpha", "rate"}, layer: ELU{},
		examples: each(Example{Layer: ELU{1, 1}, Lo: -30, Hi: 30}, Example{Layer: ELU{1.5, 0.5}}),
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			v := ELU{1, 1}
			if l.Alpha != nil {
				v.Alpha = *l.Alpha
			}
			if l.Rate != nil {
				v.Rate = *l.Rate
			}
			return v, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(ELU)
			l.Alpha, l.Rate = &v.Alpha, &v.Rate
		}},
	{name: "thresholdedrelu", fields: []string{"alpha"}, layer: ThresholdedReLU{}, examples: each(Example{Layer: ThresholdedReLU{0.125}}),
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			if l.Alpha == nil {
				return nil, errors.New("no alpha")
			}
			return ThresholdedReLU{*l.Alpha}, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(ThresholdedReLU)
			l.Alpha = &v.Alpha
		}},
	{name: "pow", fields: []string{"power"}, layer: Pow{},
		examples: each(Example{Layer: Pow{2}, Lo: 0.125, Hi: 9}, Example{Layer: Pow{3}}, Example{Layer: Pow{-0.75}, Positive: true, Lo: 0.125, Hi: 9}),
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			if l.Power == nil {
				return nil, errors.New("no power")
			}
			return Pow{*l.Power}, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(Pow)
			l.Power = &v.Power
		}},
}, plainKinds()...)

// A plainFunction is a function without parameters.
type plainFunction struct {
	value    func(x float64) float64 // by its definition
	examples []Example               // without their layer
}

// plainFunctions are those that have no type of their own, by the name that layer lists and the
// tables of backends have.
var plainFunctions = map[string]plainFunction{
	"silu":       {func(x float64) float64 { return x / (1 + math.Exp(-x)) }, []Example{{Lo: -60, Hi: 60}}},
	"hardswish":  {func(x float64) float64 { return float64(x * max(0, min(1, float64(x/6)+0.5))) }, []Example{{}}},
	"mish":       {func(x float64) float64 { return float64(x * math.Tanh(softplus(x))) }, []Example{{Lo: -60, Hi: 60}}},
	"softplus":   {softplus, []Example{{Lo: -60, Hi: 60}}},
	"softsign":   {func(x float64) float64 { return x / (1 + math.Abs(x)) }, []Example{{Lo: -60, Hi: 60}}},
	"abs":        {math.Abs, []Example{{}}},
	"exp":        {math.Exp, []Example{{Lo: -60, Hi: 60}}},
	"log":        {math.Log, []Example{{Positive: true, Lo: 0.125, Hi: 60}}},
	"sqrt":       {math.Sqrt, []Example{{Positive: true, Lo: 0.125, Hi: 60}}},
	"reciprocal": {func(x float64) float64 { return 1 / x }, []Example{{Positive: true, Lo: 0.125, Hi: 60}}},
	"erf":        {math.Erf, []Example{{Lo: -6, Hi: 6}}},
	"sin":        {math.Sin, []Example{{Lo: -1, Hi: 1}}},
	"cos":        {math.Cos, []Example{{Lo: 0.25, Hi: 3}}},
}

// softplus is log(1 + exp(x)).
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// plainKinds are the rows of plainFunctions, see kinds.
func plainKinds() []kind {
	var all []kind
	for _, name := range slices.Sorted(maps.Keys(plainFunctions)) {
		examples := slices.Clone(plainFunctions[name].examples)
		for i := range examples {
			examples[i].Layer = Plain{Of: name}
		}
		all = append(all, kind{name: name, layer: Plain{Of: name}, decode: fixed(Plain{Of: name}), examples: each(examples...)})
	}
	return all
}

// Plain is a function without parameters that has no type of its own, by its name:
//
//	silu          x/(1 + exp(-x)); Hendrycks and Gimpel 2016, arXiv:1606.08415
//	hardswish     x·min(max(x/6 + 1/2, 0), 1); Howard et al. 2019, arXiv:1905.02244
//	mish          x·tanh(log(1 + exp(x))); Misra 2019, arXiv:1908.08681
//	softplus      log(1 + exp(x))
//	softsign      x/(1 + |x|)
//	abs, exp, log, sqrt, reciprocal, erf, sin, cos
//
// The derivative of abs at 0 is taken as 0, and at the kinks of hardswish as that of the flat or
// the straight side.
type Plain struct {
	pointwise
	Of string
}

// Clip is x between Lo and Hi, Lo below it and Hi above. Its derivative at both is taken as 0.
type Clip struct{ Lo, Hi float64 }

// RoundClip is x rounded to the nearest whole number, to the even one of two, and then between Lo
// and Hi: what a quantised network does to a number in units of its scale. Its derivative is taken
// as 1 where the rounded number is not clipped, and 0 elsewhere (straight-through estimator).
//
// Bengio, Léonard, Courville 2013, arXiv:1308.3432.
type RoundClip struct{ Lo, Hi float64 }

// ELU is x where x > 0 and Alpha·(exp(Rate·x) - 1) elsewhere. Its derivative at 0 is taken as
// Alpha·Rate. CELU has a Rate of 1/Alpha.
//
// Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289.
type ELU struct{ Alpha, Rate float64 }

// ThresholdedReLU is x where x > Alpha and 0 elsewhere. Its derivative at Alpha is taken as 0.
type ThresholdedReLU struct{ Alpha float64 }

// Pow is x to the power of Power.
type Pow struct{ Power float64 }

// Kind returns the name of the function.
func (l Plain) Kind() string { return l.Of }

// Function returns the name of the function.
func (l Plain) Function() (string, [2]float64) { return l.Of, [2]float64{} }

// Value returns the function at x by its definition, and NaN for a function that is not known.
func (l Plain) Value(x float64) float64 {
	if f, ok := plainFunctions[l.Of]; ok {
		return f.value(x)
	}
	return math.NaN()
}

// pointwise is what all functions of one number have in common as layers.
type pointwise struct{}

// Arity returns 1, 1.
func (pointwise) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes.
func (pointwise) Shape(in [][]int) ([]int, error) { return in[0], nil }

// Params returns nil.
func (pointwise) Params() []Param { return nil }

// MACs returns 0.
func (pointwise) MACs([][]int, []int) int64 { return 0 }

// ReLU is max(x, 0), its derivative at 0 taken as 0.
type ReLU struct{ pointwise }

// LeakyReLU is x where x > 0 and Slope·x elsewhere, its derivative at 0 taken as Slope.
type LeakyReLU struct {
	pointwise
	Slope float64
}

// Sigmoid is 1/(1 + exp(-x)).
type Sigmoid struct{ pointwise }

// Tanh is the hyperbolic tangent.
type Tanh struct{ pointwise }

// GELU is x·Φ(x), Φ the normal distribution function; with Tanh set x/2·(1 + tanh(√(2/π)·(x +
// 0.044715·x³))).
//
// Hendrycks and Gimpel 2016, arXiv:1606.08415.
type GELU struct {
	pointwise
	Tanh bool
}

// Kind returns "relu".
func (ReLU) Kind() string { return "relu" }

// Function returns "relu".
func (ReLU) Function() (string, [2]float64) { return "relu", [2]float64{} }

// Value returns max(x, 0).
func (ReLU) Value(x float64) float64 { return max(x, 0) }

// Kind returns "leakyrelu".
func (LeakyReLU) Kind() string { return "leakyrelu" }

// Function returns "leaky_relu" and the slope.
func (l LeakyReLU) Function() (string, [2]float64) { return "leaky_relu", [2]float64{l.Slope} }

// Value returns x, or below 0 the slope times x.
func (l LeakyReLU) Value(x float64) float64 {
	if x > 0 {
		return x
	}
	return float64(l.Slope * x)
}

// Shape returns the shape that the layer takes, or an error for a slope that is not finite.
func (l LeakyReLU) Shape(in [][]int) ([]int, error) {
	if math.IsNaN(l.Slope) || math.IsInf(l.Slope, 0) {
		return nil, fmt.Errorf("slope %v, want a finite number", l.Slope)
	}
	return in[0], nil
}

// Kind returns "sigmoid".
func (Sigmoid) Kind() string { return "sigmoid" }

// Function returns "sigmoid".
func (Sigmoid) Function() (string, [2]float64) { return "sigmoid", [2]float64{} }

// Value returns 1/(1 + exp(-x)).
func (Sigmoid) Value(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// Kind returns "tanh".
func (Tanh) Kind() string { return "tanh" }

// Function returns "tanh".
func (Tanh) Function() (string, [2]float64) { return "tanh", [2]float64{} }

// Value returns tanh(x).
func (Tanh) Value(x float64) float64 { return math.Tanh(x) }

// Kind returns "gelu".
func (GELU) Kind() string { return "gelu" }

// Function returns "gelu", or "gelu_tanh" for the approximation by a tanh.
func (l GELU) Function() (string, [2]float64) {
	if l.Tanh {
		return "gelu_tanh", [2]float64{}
	}
	return "gelu", [2]float64{}
}

// Value returns the form that l is of.
func (l GELU) Value(x float64) float64 {
	if l.Tanh {
		return float64(x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+float64(0.044715*x*x*x)))))
	}
	return float64(x / 2 * (1 + math.Erf(x/math.Sqrt2)))
}

// finite returns the shape of in, or an error unless all numbers are finite.
func finite(in [][]int, what string, all ...float64) ([]int, error) {
	for _, v := range all {
		if v-v != 0 {
			return nil, fmt.Errorf("%s %v, want finite numbers", what, all)
		}
	}
	return in[0], nil
}

// Kind returns "clip".
func (Clip) Kind() string { return "clip" }

// Arity returns 1, 1.
func (Clip) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (Clip) Params() []Param { return nil }

// MACs returns 0.
func (Clip) MACs([][]int, []int) int64 { return 0 }

// Function returns "clip" and its bounds.
func (l Clip) Function() (string, [2]float64) { return "clip", [2]float64{l.Lo, l.Hi} }

// Shape returns the shape that the layer takes, or an error for bounds that it cannot have.
func (l Clip) Shape(in [][]int) ([]int, error) {
	if !(l.Lo <= l.Hi) {
		return nil, fmt.Errorf("from %v to %v, want lo not above hi", l.Lo, l.Hi)
	}
	return finite(in, "bounds", l.Lo, l.Hi)
}

// Value returns the function at x by its definition.
func (l Clip) Value(x float64) float64 {
	return min(max(x, l.Lo), l.Hi)
}

// Kind returns "roundclip".
func (RoundClip) Kind() string { return "roundclip" }

// Arity returns 1, 1.
func (RoundClip) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (RoundClip) Params() []Param { return nil }

// MACs returns 0.
func (RoundClip) MACs([][]int, []int) int64 { return 0 }

// Function returns "round_clip" and its bounds.
func (l RoundClip) Function() (string, [2]float64) { return "round_clip", [2]float64{l.Lo, l.Hi} }

// Shape returns the shape that the layer takes, or an error for bounds that it cannot have.
func (l RoundClip) Shape(in [][]int) ([]int, error) {
	if !(l.Lo <= l.Hi) {
		return nil, fmt.Errorf("from %v to %v, want lo not above hi", l.Lo, l.Hi)
	}
	return finite(in, "bounds", l.Lo, l.Hi)
}

// Value returns the function at x by its definition.
func (l RoundClip) Value(x float64) float64 {
	return min(max(math.RoundToEven(x), l.Lo), l.Hi)
}

// Kind returns "elu".
func (ELU) Kind() string { return "elu" }

// Arity returns 1, 1.
func (ELU) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (ELU) Params() []Param { return nil }

// MACs returns 0.
func (ELU) MACs([][]int, []int) int64 { return 0 }

// Function returns "elu" and both numbers.
func (l ELU) Function() (string, [2]float64) { return "elu", [2]float64{l.Alpha, l.Rate} }

// Shape returns the shape that the layer takes, or an error for alpha and rate that it cannot have.
func (l ELU) Shape(in [][]int) ([]int, error) {
	return finite(in, "alpha and rate", l.Alpha, l.Rate)
}

// Value returns the function at x by its definition.
func (l ELU) Value(x float64) float64 {
	if x > 0 {
		return x
	}
	return float64(l.Alpha * math.Expm1(float64(l.Rate*x)))
}

// Kind returns "thresholdedrelu".
func (ThresholdedReLU) Kind() string { return "thresholdedrelu" }

// Arity returns 1, 1.
func (ThresholdedReLU) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (ThresholdedReLU) Params() []Param { return nil }

// MACs returns 0.
func (ThresholdedReLU) MACs([][]int, []int) int64 { return 0 }

// Function returns "thresholded_relu" and alpha.
func (l ThresholdedReLU) Function() (string, [2]float64) {
	return "thresholded_relu", [2]float64{l.Alpha}
}

// Shape returns the shape that the layer takes, or an error for alpha that it cannot have.
func (l ThresholdedReLU) Shape(in [][]int) ([]int, error) {
	return finite(in, "alpha", l.Alpha)
}

// Value returns the function at x by its definition.
func (l ThresholdedReLU) Value(x float64) float64 {
	if x > l.Alpha {
		return x
	}
	return 0
}

// Kind returns "pow".
func (Pow) Kind() string { return "pow" }

// Arity returns 1, 1.
func (Pow) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (Pow) Params() []Param { return nil }

// MACs returns 0.
func (Pow) MACs([][]int, []int) int64 { return 0 }

// Function returns "pow" and the power.
func (l Pow) Function() (string, [2]float64) { return "pow", [2]float64{l.Power} }

// Shape returns the shape that the layer takes, or an error for power that it cannot have.
func (l Pow) Shape(in [][]int) ([]int, error) {
	return finite(in, "power", l.Power)
}

// Value returns the function at x by its definition.
func (l Pow) Value(x float64) float64 {
	return math.Pow(x, l.Power)
}
