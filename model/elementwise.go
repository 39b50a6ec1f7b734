package model

import (
	"fmt"
	"math"
)

// An Elementwise is a layer that applies one function of one number to each number that it takes.
//
// Backends and the float64 truth each have a table of such functions, by name: a value and a
// derivative.
type Elementwise interface {
	Layer
	// Function returns the name of the function in those tables, and its parameter: 0 where it has
	// none.
	Function() (name string, parameter float64)
	// Value returns the function at x by its definition. That tells functions apart, and is close
	// to the truth where nothing cancels; no result is computed with it.
	Value(x float64) float64
}

// elementwiseKinds are the rows of functions of one number, see kinds. A new function is a type
// with its methods Kind, Function and Value in this file, and a row here.
var elementwiseKinds = []kind{
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
func (ReLU) Function() (string, float64) { return "relu", 0 }

// Value returns max(x, 0).
func (ReLU) Value(x float64) float64 { return max(x, 0) }

// Kind returns "leakyrelu".
func (LeakyReLU) Kind() string { return "leakyrelu" }

// Function returns "leaky_relu" and the slope.
func (l LeakyReLU) Function() (string, float64) { return "leaky_relu", l.Slope }

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
func (Sigmoid) Function() (string, float64) { return "sigmoid", 0 }

// Value returns 1/(1 + exp(-x)).
func (Sigmoid) Value(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// Kind returns "tanh".
func (Tanh) Kind() string { return "tanh" }

// Function returns "tanh".
func (Tanh) Function() (string, float64) { return "tanh", 0 }

// Value returns tanh(x).
func (Tanh) Value(x float64) float64 { return math.Tanh(x) }

// Kind returns "gelu".
func (GELU) Kind() string { return "gelu" }

// Function returns "gelu", or "gelu_tanh" for the approximation by a tanh.
func (l GELU) Function() (string, float64) {
	if l.Tanh {
		return "gelu_tanh", 0
	}
	return "gelu", 0
}

// Value returns the form that l is of.
func (l GELU) Value(x float64) float64 {
	if l.Tanh {
		return float64(x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+float64(0.044715*x*x*x)))))
	}
	return float64(x / 2 * (1 + math.Erf(x/math.Sqrt2)))
}
