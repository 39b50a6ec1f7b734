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
}

// elementwiseKinds are the rows of functions of one number, see kinds. A new function is a type
// with its methods in this file and a row here.
var elementwiseKinds = []kind{
	{name: "relu", layer: ReLU{}, decode: fixed(ReLU{})},
	{name: "leakyrelu", fields: []string{"slope"}, layer: LeakyReLU{},
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			if l.Slope != nil {
				return LeakyReLU{*l.Slope}, nil
			}
			return LeakyReLU{0.01}, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(LeakyReLU)
			l.Slope = &v.Slope
		}},
	{name: "sigmoid", layer: Sigmoid{}, decode: fixed(Sigmoid{})},
	{name: "tanh", layer: Tanh{}, decode: fixed(Tanh{})},
	{name: "gelu", fields: []string{"tanh"}, layer: GELU{},
		decode: func(_ *builder, l listed, _ []int) (Layer, error) { return GELU{l.Tanh}, nil },
		encode: func(layer Layer, l *listed) { l.Tanh = layer.(GELU).Tanh }},
}

// ReLU is max(x, 0), its derivative at 0 taken as 0.
type ReLU struct{}

// LeakyReLU is x where x > 0 and Slope·x elsewhere, its derivative at 0 taken as Slope.
type LeakyReLU struct{ Slope float64 }

// Sigmoid is 1/(1 + exp(-x)).
type Sigmoid struct{}

// Tanh is the hyperbolic tangent.
type Tanh struct{}

// GELU is x·Φ(x), Φ the normal distribution function; with Tanh set x/2·(1 + tanh(√(2/π)·(x +
// 0.044715·x³))).
//
// Hendrycks and Gimpel 2016, arXiv:1606.08415.
type GELU struct{ Tanh bool }

// Kind returns "relu".
func (ReLU) Kind() string { return "relu" }

// Function returns "relu".
func (ReLU) Function() (string, float64) { return "relu", 0 }

// Arity returns 1, 1.
func (ReLU) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes.
func (ReLU) Shape(in [][]int) ([]int, error) { return in[0], nil }

// Params returns nil.
func (ReLU) Params() []Param { return nil }

// MACs returns 0.
func (ReLU) MACs([][]int, []int) int64 { return 0 }

// Kind returns "leakyrelu".
func (LeakyReLU) Kind() string { return "leakyrelu" }

// Function returns "leaky_relu" and the slope.
func (l LeakyReLU) Function() (string, float64) { return "leaky_relu", l.Slope }

// Arity returns 1, 1.
func (LeakyReLU) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes, or an error for a slope that is not finite.
func (l LeakyReLU) Shape(in [][]int) ([]int, error) {
	if math.IsNaN(l.Slope) || math.IsInf(l.Slope, 0) {
		return nil, fmt.Errorf("slope %v, want a finite number", l.Slope)
	}
	return in[0], nil
}

// Params returns nil.
func (LeakyReLU) Params() []Param { return nil }

// MACs returns 0.
func (LeakyReLU) MACs([][]int, []int) int64 { return 0 }

// Kind returns "sigmoid".
func (Sigmoid) Kind() string { return "sigmoid" }

// Function returns "sigmoid".
func (Sigmoid) Function() (string, float64) { return "sigmoid", 0 }

// Arity returns 1, 1.
func (Sigmoid) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes.
func (Sigmoid) Shape(in [][]int) ([]int, error) { return in[0], nil }

// Params returns nil.
func (Sigmoid) Params() []Param { return nil }

// MACs returns 0.
func (Sigmoid) MACs([][]int, []int) int64 { return 0 }

// Kind returns "tanh".
func (Tanh) Kind() string { return "tanh" }

// Function returns "tanh".
func (Tanh) Function() (string, float64) { return "tanh", 0 }

// Arity returns 1, 1.
func (Tanh) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes.
func (Tanh) Shape(in [][]int) ([]int, error) { return in[0], nil }

// Params returns nil.
func (Tanh) Params() []Param { return nil }

// MACs returns 0.
func (Tanh) MACs([][]int, []int) int64 { return 0 }

// Kind returns "gelu".
func (GELU) Kind() string { return "gelu" }

// Function returns "gelu", or "gelu_tanh" for the approximation by a tanh.
func (l GELU) Function() (string, float64) {
	if l.Tanh {
		return "gelu_tanh", 0
	}
	return "gelu", 0
}

// Arity returns 1, 1.
func (GELU) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes.
func (GELU) Shape(in [][]int) ([]int, error) { return in[0], nil }

// Params returns nil.
func (GELU) Params() []Param { return nil }

// MACs returns 0.
func (GELU) MACs([][]int, []int) int64 { return 0 }
