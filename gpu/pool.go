//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A window is what a kernel of a convolution or pool covers as it moves over an image: see
// kernels/window.cuh.
type window struct {
	in, out        [2]int // H and W; OH and OW
	kernel, stride [2]int // rows and columns
	pad            [4]int // top, left, bottom, right
	dilation       [2]int // rows and columns, at least 1
}

// newWindow is w without the channels.
func newWindow(w lower.Unfold) window {
	return window{[2]int{w.In.H, w.In.W}, [2]int{w.Out.H, w.Out.W}, w.Kernel, w.Stride, w.Pad, w.Dilation}
}

// outputs is how many places the window has on an image: the pixels of the output.
func (w window) outputs() int { return w.out[0] * w.out[1] }

// args returns the arguments of a launch: w as kernels take it, between those before and behind.
func (w window) args(before []any, behind ...any) []any {
	for _, v := range []int{w.in[0], w.in[1], w.kernel[0], w.kernel[1], w.stride[0], w.stride[1], w.pad[0], w.pad[1],
		w.dilation[0], w.dilation[1], w.out[0], w.out[1]} {
		before = append(before, int32(v))
	}
	return append(before, behind...)
}

// A maxPool is the largest element of each window. forward notes in place which one that was, and
// backward gives the gradient to it.
type maxPool struct {
	window
	x, y  shape
	place buffer // [n, width of y] of int32: a pixel of x, h·W + w
}

func (l *maxPool) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("max_pool_forward", n, l.y,
		l.args([]any{y, l.place.DevicePtr, x[0], int32(l.y.channels), int32(l.y.pitch)})...)
}

func (l *maxPool) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	return net.elementwise("max_pool_backward", n, l.x,
		l.args([]any{dx, from, dy, l.place.DevicePtr, int32(l.x.channels), int32(l.x.pitch)})...)
}

// An avgPool is the mean of each window.
type avgPool struct {
	window
	x, y     shape
	countPad bool // the mean is of padding too, which is 0
}

func (l *avgPool) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("avg_pool_forward", n, l.y,
		l.args([]any{y, x[0], int32(l.y.channels), int32(l.y.pitch)}, l.countPad)...)
}

func (l *avgPool) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	return net.elementwise("avg_pool_backward", n, l.x,
		l.args([]any{dx, from, dy, int32(l.x.channels), int32(l.x.pitch)}, l.countPad)...)
}
