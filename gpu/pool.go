//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A window is a kernel that moves over an image: see kernels/window.cuh.
type window struct {
	in, out        [2]int // H and W, OH and OW
	kernel, stride [2]int
	pad            [4]int // top, left, bottom, right
}

// newWindow is w without its channels.
func newWindow(w lower.Windows) window {
	return window{[2]int{w.In.H, w.In.W}, [2]int{w.Out.H, w.Out.W}, w.Kernel, w.Stride, w.Pad}
}

// outputs is how many places there are for the kernel.
func (w window) outputs() int { return w.out[0] * w.out[1] }

// args puts w, as kernels take it, between what stands before and behind.
func (w window) args(before []any, behind ...any) []any {
	for _, v := range []int{w.in[0], w.in[1], w.kernel[0], w.kernel[1], w.stride[0], w.stride[1], w.pad[0], w.pad[1], w.out[0], w.out[1]} {
		before = append(before, int32(v))
	}
	return append(before, behind...)
}

// A maxPool notes in place [rows, y] which element was the largest.
type maxPool struct {
	window
	x, y  shape
	place buffer
}

func (l *maxPool) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("max_pool_forward", n, l.y,
		l.args([]any{y, l.place.DevicePtr, x[0], int32(l.y.channels), int32(l.y.pitch)})...)
}

func (l *maxPool) backward(net *network, dx, from, dy, _ cu.DevicePtr, n int) error {
	return net.elementwise("max_pool_backward", n, l.x,
		l.args([]any{dx, from, dy, l.place.DevicePtr, int32(l.x.channels), int32(l.x.pitch)})...)
}

type avgPool struct {
	window
	x, y     shape
	countPad bool
}

func (l *avgPool) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("avg_pool_forward", n, l.y,
		l.args([]any{y, x[0], int32(l.y.channels), int32(l.y.pitch)}, l.countPad)...)
}

func (l *avgPool) backward(net *network, dx, from, dy, _ cu.DevicePtr, n int) error {
	return net.elementwise("avg_pool_backward", n, l.x,
		l.args([]any{dx, from, dy, int32(l.x.channels), int32(l.x.pitch)}, l.countPad)...)
}
