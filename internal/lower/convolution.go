package lower

import (
	"advsweep/model"

	"gorgonia.org/tensor"
)

// Windows are the places of a kernel that moves over an image.
type Windows struct {
	In, Out        Shape
	Kernel, Stride [2]int // rows, columns
	Pad            [4]int // top, left, bottom, right
}

// shortRow bounds a row of a window below which the terms of a product run down columns first: a
// run along the row would be over before it began.
const shortRow = 16

// fewChannels fill a vector so badly that a convolution goes back by columns.
const fewChannels = 8

// Swapped reports whether the terms of a window run down its rows first: see Terms.
func (w Windows) Swapped() bool { return w.Kernel[0] > 1 && w.Kernel[1]*w.In.C < shortRow }

// Direct reports whether the matrix of windows is the image as it is.
func (w Windows) Direct() bool {
	return w.Kernel == [2]int{1, 1} && w.Stride == [2]int{1, 1} && w.Pad == [4]int{}
}

// Terms calls f for row u, column v and channel c of a window, which is term k of a product over
// windows. The terms are summed in rising order of k.
func (w Windows) Terms(f func(k, c, u, v int)) {
	for u := range w.Kernel[0] {
		for v := range w.Kernel[1] {
			at := u*w.Kernel[1] + v
			if w.Swapped() {
				at = v*w.Kernel[0] + u
			}
			for c := range w.In.C {
				f(at*w.In.C+c, c, u, v)
			}
		}
	}
}

// A Convolution is model.Conv2D. Forward it is one product over Windows, see Terms.
type Convolution struct {
	Windows
	Name   string
	Weight *tensor.Dense // [out, in, KH, KW], as in the model
	Bias   *tensor.Dense // [out]
	// Back has the windows of the gradient at the output, whose product with the filters, turned
	// round, is the gradient at the input. It is there where these windows are as many as the
	// pixels of the input and there are channels enough to fill vectors. Else it is nil: the
	// gradient is a product that is added up by columns (col2im).
	Back *Windows
}

func newConvolution(l model.Conv2D, in, out Shape) *Convolution {
	s := l.Weight.Shape()
	c := &Convolution{
		Windows: Windows{In: in, Out: out, Kernel: [2]int{s[2], s[3]}, Stride: l.Stride, Pad: l.Pad},
		Name:    l.Name, Weight: l.Weight, Bias: l.Bias,
	}
	back := Windows{In: out, Out: in, Kernel: c.Kernel, Stride: [2]int{1, 1}}
	fits := in.C >= fewChannels && l.Stride == back.Stride
	for d := range back.Pad {
		back.Pad[d] = c.Kernel[d%2] - 1 - l.Pad[d]
		fits = fits && back.Pad[d] >= 0
	}
	if fits {
		c.Back = &back
	}
	return c
}

// Filter reads weights w [out, in, KH, KW] of a shape by output o, channel c, row u and column v.
func Filter[E any](shape []int, w []E) func(o, c, u, v int) E {
	return func(o, c, u, v int) E { return w[((o*shape[1]+c)*shape[2]+u)*shape[3]+v] }
}

// TurnedRound returns the weights that take a gradient back over Convolution.Back, whose outputs
// are the channels of what the convolution takes.
func TurnedRound[E any](kernel [2]int, weight func(o, c, u, v int) E) func(c, o, u, v int) E {
	return func(c, o, u, v int) E { return weight(o, c, kernel[0]-1-u, kernel[1]-1-v) }
}
