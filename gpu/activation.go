//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// An activation applies one function to each element: see kernels/activation.cu.
type activation struct {
	name       string     // as in that file, without _forward and _backward
	parameters [2]float32 // of the function; 0 where it has fewer
	done       bool       // a ReLU that the product before it computes: forward does nothing
	shape
}

// newActivation is e for images of shape s.
func newActivation(e lower.Elementwise, s shape) *activation {
	return &activation{name: e.Name, parameters: [2]float32{float32(e.Parameters[0]), float32(e.Parameters[1])}, shape: s}
}

func (l *activation) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	if l.done {
		return nil
	}
	return net.elementwise(l.name+"_forward", n, l.shape, y, x[0], l.parameters[0], l.parameters[1], int32(l.channels), int32(l.pitch), int32(l.width))
}

func (l *activation) backward(net *network, dx, from, dy cu.DevicePtr, x []cu.DevicePtr, arg, n int) error {
	return net.elementwise(l.name+"_backward", n, l.shape, dx, from, dy, x[arg], l.parameters[0], l.parameters[1], int32(l.channels), int32(l.pitch), int32(l.width))
}

// A scale is x·w_c + b_c, where c is the channel of x. w and b [C] are on the device.
type scale struct {
	w, b cu.DevicePtr
	shape
}

func (l *scale) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("scale_forward", n, l.shape, y, x[0], l.w, l.b, int32(l.channels), int32(l.pitch), int32(l.width))
}

func (l *scale) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	return net.elementwise("scale_backward", n, l.shape, dx, from, dy, l.w, int32(l.channels), int32(l.pitch), int32(l.width))
}

// An add is the sum of all that it takes, added in their order.
type add struct{ shape }

func (l *add) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	from := x[0]
	for _, x := range x[1:] {
		if err := net.sum(y, from, x, n*l.width); err != nil {
			return err
		}
		from = y
	}
	return nil
}

func (l *add) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	return net.sum(dx, from, dy, n*l.width)
}

// sum launches y [n] = a + b. y may be a or b.
func (d *device) sum(y, a, b cu.DevicePtr, n int) error {
	return d.launch("sum", dim{min(ceil(n, 256), 1<<16), 1}, dim{256, 1}, 0, []int{n}, y, a, b, int64(n))
}

// elementwise launches a kernel that has a thread for each element of n images of shape s, also for
// those of the padding.
func (d *device) elementwise(name string, n int, s shape, args ...any) error {
	block := min(s.width, 256)
	return d.launch(name, dim{ceil(s.width, block), n}, dim{block, 1}, 0, []int{n, s.pixels, s.channels}, args...)
}
