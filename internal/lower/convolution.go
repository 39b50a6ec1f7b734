package lower

import (
	"advsweep/model"

	"gorgonia.org/tensor"
)

// An Unfold is how a kernel moves over an image: the windows that im2col copies out.
type Unfold struct {
	In, Out        Shape
	Kernel, Stride [2]int // rows, columns
	Pad            [4]int // top, left, bottom, right
	Dilation       [2]int // rows, columns; at least 1
	// Groups is in how many parts of equal size channels are, at least 1. Numbers of a part are
	// computed from the same part of what the operation takes.
	Groups int
	// Tile is the form by which a convolution is computed in Winograd's way, see winograd.go, or
	// nil.
	Tile *Tile
	// Ties is set for a convolution from whose output a MaxPool can be reached. With a Tile that is
	// Mended its outputs are the same where its windows are.
	Ties bool
}

// newUnfold is an Unfold with a dilation of which 0 stands for 1.
func newUnfold(in, out Shape, kernel, stride [2]int, pad [4]int, dilation [2]int, groups int) Unfold {
	return Unfold{In: in, Out: out, Kernel: kernel, Stride: stride, Pad: pad, Dilation: [2]int{max(1, dilation[0]), max(1, dilation[1])}, Groups: groups}
}

// Depth is how many channels a window has of one group.
func (w Unfold) Depth() int { return w.In.C / w.Groups }

// Places is how many places a window has, padding included.
func (w Unfold) Places() int { return w.Kernel[0] * w.Kernel[1] }

// Size is how many terms a window has of one group.
func (w Unfold) Size() int { return w.Places() * w.Depth() }

// shortRow is the least length of a row of a window for which the terms of a product run along rows
// first. In shorter rows they run down columns first, since a row would end before it began to pay.
const shortRow = 16

// fewChannels is the least number of channels for which a convolution goes back by another
// convolution. Fewer fill a vector so badly that col2im is better.
const fewChannels = 8

// Swapped reports whether the terms of a window run down its rows first: see Terms.
func (w Unfold) Swapped() bool {
	return w.Groups == 1 && w.Dilation == [2]int{1, 1} && w.Kernel[0] > 1 && w.Kernel[1]*w.In.C < shortRow
}

// Direct reports whether the im2col matrix is the image as it is.
func (w Unfold) Direct() bool {
	return w.Groups == 1 && w.Kernel == [2]int{1, 1} && w.Stride == [2]int{1, 1} && w.Pad == [4]int{}
}

// Inside returns the windows of a row, from lo to hi-1, in which column v is a pixel of the image
// and no padding, and the column of the image that it is in window lo.
func (w Unfold) Inside(v int) (lo, hi, col int) {
	// where the image begins, from the place in the first window
	left, stride := w.Pad[1]-v*w.Dilation[1], w.Stride[1]
	lo = max(0, (left+stride-1)/stride)
	if right := w.In.W - 1 + left; right >= 0 {
		hi = min(w.Out.W, right/stride+1)
	}
	return lo, max(lo, hi), lo*stride - left
}

// Terms calls f for each row u, column v and channel c of a window, which is term k of a product
// with the im2col matrix. c counts the channels of a group. The terms are summed in rising order of
// k. Only this order decides bits. Where terms are columns of a product, as on the way back by
// col2im, each backend may order them as it likes.
func (w Unfold) Terms(f func(k, c, u, v int)) {
	for u := range w.Kernel[0] {
		for v := range w.Kernel[1] {
			at := u*w.Kernel[1] + v
			if w.Swapped() {
				at = v*w.Kernel[0] + u
			}
			for c := range w.Depth() {
				f(at*w.Depth()+c, c, u, v)
			}
		}
	}
}

// A Convolution is model.Conv2D. Forward it is one product with the im2col matrix for each group,
// see Terms, unless it has a Tile.
type Convolution struct {
	Unfold
	Name   string
	Weight *tensor.Dense // [out, in/Groups, KH, KW], as in the model
	Bias   *tensor.Dense // [out]
	// Back has windows over the gradient at the output. The product of these with the flipped
	// filters is the gradient at the input. Back is there if these windows are as many as the
	// pixels of the input, and if there are channels enough to fill vectors. Else it is nil, and
	// the gradient is a product with the filters that col2im adds up. Each pixel is then a sum
	// from 0 over the windows that it is in, by rising row of windows and then by rising column.
	Back *Unfold
}

func newConvolution(l model.Conv2D, in, out Shape, forms []*Tile) *Convolution {
	s := l.Weight.Shape()
	c := &Convolution{
		Unfold: newUnfold(in, out, [2]int{s[2], s[3]}, l.Stride, l.Pad, l.Dilation, l.Split()),
		Name:   l.Name, Weight: l.Weight, Bias: l.Bias,
	}
	c.Tile = c.tile(forms)
	back := newUnfold(out, in, c.Kernel, [2]int{1, 1}, [4]int{}, c.Dilation, c.Groups)
	fits := c.Depth() >= fewChannels && l.Stride == back.Stride
	for d := range back.Pad {
		back.Pad[d] = (c.Kernel[d%2]-1)*c.Dilation[d%2] - l.Pad[d]
		fits = fits && back.Pad[d] >= 0
	}
	if fits {
		back.Tile = back.tile(forms)
		c.Back = &back
	}
	return c
}

// Filter returns a function that reads weights w [out, in, KH, KW], whose shape is given, by output
// o, channel c, row u and column v.
func Filter[E any](shape []int, w []E) func(o, c, u, v int) E {
	return func(o, c, u, v int) E { return w[((o*shape[1]+c)*shape[2]+u)*shape[3]+v] }
}

// FlipTranspose returns the weights for Back, the transposed convolution as an ordinary one: each
// filter is flipped in rows and columns, and inputs and outputs change places within their group.
func FlipTranspose[E any](c *Convolution, weight func(o, c, u, v int) E) func(c, o, u, v int) E {
	depth, filters := c.Depth(), c.Out.C/c.Groups
	kernel := c.Kernel
	return func(c, o, u, v int) E {
		return weight(c/depth*filters+o, c%depth, kernel[0]-1-u, kernel[1]-1-v)
	}
}

// Pixel returns the pixel of the image that is at row u and column v of window p, both counted by
// rows, or -1 where the window lies over the edge there.
func (w Unfold) Pixel(p, u, v int) int {
	y := p/w.Out.W*w.Stride[0] + u*w.Dilation[0] - w.Pad[0]
	x := p%w.Out.W*w.Stride[1] + v*w.Dilation[1] - w.Pad[1]
	if y < 0 || y >= w.In.H || x < 0 || x >= w.In.W {
		return -1
	}
	return y*w.In.W + x
}
