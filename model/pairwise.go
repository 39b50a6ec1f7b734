package model

import "fmt"

// A Pairwise is a layer that applies one function of two numbers to each pair of numbers of the two
// outputs that it takes. Both have one rank. Where a dimension of one of them is 1, its numbers are
// taken again along that dimension of the other: by channel, by pixel, or all over.
//
// Backends and the float64 truth each have a table of such functions, by name: a value and two
// derivatives.
type Pairwise interface {
	Layer
	// Pair returns the name of the function in those tables.
	Pair() string
}

// pairwiseKinds are the rows of functions of two numbers, see kinds. Add is among layerKinds, as it
// takes any number of outputs.
var pairwiseKinds = []kind{
	{name: "sub", layer: Sub{}, decode: fixed(Sub{}), examples: pairExamples(Sub{})},
	{name: "mul", layer: Mul{}, decode: fixed(Mul{}), examples: pairExamples(Mul{})},
	{name: "div", layer: Div{}, decode: fixed(Div{}), examples: divExamples},
	{name: "max", layer: Max{}, decode: fixed(Max{}), examples: pairExamples(Max{})},
	{name: "min", layer: Min{}, decode: fixed(Min{}), examples: pairExamples(Min{})},
}

// paired is what all functions of two numbers have in common as layers.
type paired struct{}

// Arity returns 2, 2.
func (paired) Arity() (least, most int) { return 2, 2 }

// Shape returns the shape that both outputs are taken along, see Pairwise.
func (paired) Shape(in [][]int) ([]int, error) { return broadcast(in[0], in[1]) }

// Params returns nil.
func (paired) Params() []Param { return nil }

// MACs returns 0.
func (paired) MACs([][]int, []int) int64 { return 0 }

// broadcast returns the shape of what is computed from numbers of a and of b, see Pairwise.
func broadcast(a, b []int) ([]int, error) {
	wrong := fmt.Errorf("takes %v and %v, want equal shapes, or 1 where they differ", a, b)
	if len(a) != len(b) {
		return nil, wrong
	}
	out := make([]int, len(a))
	for i := range a {
		if out[i] = max(a[i], b[i]); min(a[i], b[i]) != out[i] && min(a[i], b[i]) != 1 {
			return nil, wrong
		}
	}
	return out, nil
}

// Sub is x - y.
type Sub struct{ paired }

// Mul is x·y: a gate, as of squeeze-and-excite.
type Mul struct{ paired }

// Div is x/y.
type Div struct{ paired }

// Max is the larger of x and y. The gradient goes to x where they are equal.
type Max struct{ paired }

// Min is the smaller of x and y. The gradient goes to x where they are equal.
type Min struct{ paired }

// Kind returns "sub".
func (Sub) Kind() string { return "sub" }

// Pair returns "sub".
func (Sub) Pair() string { return "sub" }

// Kind returns "mul".
func (Mul) Kind() string { return "mul" }

// Pair returns "mul".
func (Mul) Pair() string { return "mul" }

// Kind returns "div".
func (Div) Kind() string { return "div" }

// Pair returns "div".
func (Div) Pair() string { return "div" }

// Kind returns "max".
func (Max) Kind() string { return "max" }

// Pair returns "max".
func (Max) Pair() string { return "max" }

// Kind returns "min".
func (Min) Kind() string { return "min" }

// Pair returns "min".
func (Min) Pair() string { return "min" }

// pairExamples have equal shapes, one by channel, one by pixel on the other side, and both at once.
func pairExamples(l Layer) func() []Example {
	return each(
		Example{Layer: l, In: [][]int{{3, 2, 3}, {3, 2, 3}}},
		Example{Layer: l, In: [][]int{{3, 2, 3}, {3, 1, 1}}},
		Example{Layer: l, In: [][]int{{1, 2, 3}, {3, 2, 3}}},
		Example{Layer: l, In: [][]int{{3, 2, 1}, {1, 1, 3}}},
		Example{Layer: l, In: [][]int{{6}, {1}}},
	)
}

// divExamples have divisors away from 0.
func divExamples() []Example {
	all := pairExamples(Div{})()
	for i := range all {
		all[i].Positive = true
	}
	return all
}
