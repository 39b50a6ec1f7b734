//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A pairwise applies one function to each pair of numbers of two values: see kernels/pairwise.cu.
type pairwise struct {
	name string // as in that file, without pair_, _forward and _backward
	x    [2]pair
	y    pair
}

// A pair is one of the values of a pairwise.
type pair struct {
	shape
	columns int    // W of its pixels
	stride  [4]int // in floats, by row, h, w and c of the output; 0 where it is taken again
	along   [3]int // how often each number is taken, by h, w and c of the output
}

// newPairwise is the function of this name of values of shapes in. Its output has shape out.
func newPairwise(name string, in []lower.Shape, out lower.Shape) *pairwise {
	return &pairwise{name, [2]pair{newPair(in[0], out), newPair(in[1], out)}, newPair(out, out)}
}

// newPair is a value of shape x, which numbers of an output of shape y come from.
func newPair(x, y lower.Shape) pair {
	s := newShape(x)
	p := pair{shape: s, columns: x.W, stride: [4]int{s.width}, along: [3]int{1, 1, 1}}
	step := [3]int{x.W * s.pitch, s.pitch, 1}
	size := [3][2]int{{x.H, y.H}, {x.W, y.W}, {x.C, y.C}}
	for d, n := range size {
		if n[0] == n[1] {
			p.stride[1+d] = step[d]
		} else {
			p.along[d] = n[1]
		}
	}
	return p
}

// args returns the arguments of a launch: the strides of all between those before and behind.
func (p *pairwise) args(before []any, all []*pair, behind ...int) []any {
	for _, x := range all {
		for _, s := range x.stride {
			before = append(before, int32(s))
		}
	}
	for _, v := range behind {
		before = append(before, int32(v))
	}
	return before
}

func (p *pairwise) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("pair_"+p.name+"_forward", n, p.y.shape,
		p.args([]any{y, x[0], x[1]}, []*pair{&p.x[0], &p.x[1]}, p.y.channels, p.y.pitch, p.y.columns, p.y.width)...)
}

func (p *pairwise) backward(net *network, dx, from, dy cu.DevicePtr, x []cu.DevicePtr, arg, n int) error {
	to := &p.x[arg]
	return net.elementwise("pair_"+p.name+"_backward", n, to.shape,
		p.args([]any{dx, from, dy, x[0], x[1]}, []*pair{&p.x[0], &p.x[1], &p.y},
			to.channels, to.pitch, to.columns, to.width, to.along[0], to.along[1], to.along[2], arg)...)
}
