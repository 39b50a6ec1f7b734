// Package vnnlib reads VNN-LIB, the language in which properties of networks are written for the
// verification competition VNN-COMP, and writes its counterexamples. It reads the part of versions
// 1 and 2 that speaks of one network, whose inputs lie in boxes and whose outputs fulfil linear
// constraints.
//
// A property describes the counterexamples: an input is one if all that the file asserts holds for
// it and for the network's outputs. The file's "and" and "or" are multiplied out into cases.
//
// Demarchi, Guidotti, Pulina, Tacchella, "Supporting Standardization of Neural Networks
// Verification with VNN-LIB and CoCoNet", FoMLAS 2023. Version 2: https://www.vnnlib.org.
package vnnlib

import (
	"fmt"
	"math"
	"slices"
)

// A Property is what makes an input of a network a counterexample: it is one if some case holds.
type Property struct {
	Inputs, Outputs int // how many numbers the network takes and gives
	// Cases are in the order of the file. None is left if no input can be a counterexample,
	// whatever the network: then the property is unsat.
	Cases []Case
}

// A Case holds for an input in a box whose outputs fulfil all of some constraints.
type Case struct {
	// Lo, Hi [Inputs] are the ends of the box, in the network's own units, finite, with Lo <= Hi.
	// Cases of one box share them.
	Lo, Hi []float64
	All    []Constraint // none: every input of the box is a counterexample
}

// A Constraint says of the outputs y that Σ Factor·y[Output] is at most Bound, or below it if
// Strict.
type Constraint struct {
	Terms  []Term // of different outputs, in rising order, no factor 0
	Bound  float64
	Strict bool
}

// A Term is a factor times an output.
type Term struct {
	Output int
	Factor float64
}

// Excess returns Σ Factor·y - Bound of outputs y [Outputs]. Where it is below 0 the constraint
// holds; at 0 it holds unless it is strict.
func (c *Constraint) Excess(y []float64) float64 {
	sum := 0.0
	for _, t := range c.Terms {
		sum += float64(t.Factor * y[t.Output])
	}
	return sum - c.Bound
}

// Length is the Euclidean length of the factors.
func (c *Constraint) Length() float64 {
	sum := 0.0
	for _, t := range c.Terms {
		sum += float64(t.Factor * t.Factor)
	}
	return math.Sqrt(sum)
}

// Holds reports whether outputs y [Outputs] fulfil the constraint. Those that are not numbers do
// not.
func (c *Constraint) Holds(y []float64) bool {
	e := c.Excess(y)
	return e < 0 || e == 0 && !c.Strict
}

// Holds reports whether inputs x [Inputs] with outputs y [Outputs] are a counterexample by the
// case.
func (c *Case) Holds(x, y []float64) bool {
	for i, v := range x {
		if !(v >= c.Lo[i] && v <= c.Hi[i]) {
			return false
		}
	}
	return !slices.ContainsFunc(c.All, func(k Constraint) bool { return !k.Holds(y) })
}

// Holds returns the first case by which x [Inputs] with outputs y [Outputs] is a counterexample, or
// -1 if there is none.
func (p *Property) Holds(x, y []float64) int {
	return slices.IndexFunc(p.Cases, func(c Case) bool { return c.Holds(x, y) })
}

// Fits returns an error unless a network of so many inputs and outputs is one that p can be asked
// of.
func (p *Property) Fits(inputs, outputs int) error {
	if p.Inputs != inputs || p.Outputs != outputs {
		return fmt.Errorf("vnnlib: the property is of a network with %d inputs and %d outputs, and this one has %d and %d: is it the network that the property was written for?",
			p.Inputs, p.Outputs, inputs, outputs)
	}
	return nil
}
