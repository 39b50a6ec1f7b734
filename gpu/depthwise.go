//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A depthwise is a convolution of each channel with a filter of its own: see kernels/depthwise.cu.
type depthwise struct {
	window
	x, y    shape
	w, bias cu.DevicePtr // [KH·KW, pitch], [pitch]
	relu    bool         // a ReLU follows, and the kernel computes it
}

// isDepthwise reports whether there is one filter for each of several channels.
func isDepthwise(l *lower.Convolution) bool {
	return l.Groups > 1 && l.Depth() == 1 && l.Out.C == l.Groups
}

// newDepthwise copies l to the device.
func (d *device) newDepthwise(l *lower.Convolution) (*depthwise, error) {
	a := &depthwise{window: newWindow(l.Unfold), x: newShape(l.In), y: newShape(l.Out)}
	filter := lower.Filter(l.Weight.Shape(), batch.Elements[float32](l.Weight))
	w, bias := make([]float32, a.kernel[0]*a.kernel[1]*a.y.pitch), make([]float32, a.y.pitch)
	l.Terms(func(k, c, u, v int) {
		for o := range a.y.channels {
			w[k*a.y.pitch+o] = filter(o, c, u, v)
		}
	})
	copy(bias, batch.Elements[float32](l.Bias))
	var err error
	if a.w, err = upload32(d, w); err == nil {
		a.bias, err = upload32(d, bias)
	}
	return a, err
}

func (l *depthwise) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.elementwise("depthwise_forward", n, l.y,
		l.args([]any{y, x[0], l.w, l.bias, int32(l.y.channels), int32(l.y.pitch)}, l.relu)...)
}

func (l *depthwise) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	return net.elementwise("depthwise_backward", n, l.x, l.args([]any{dx, from, dy, l.w, int32(l.x.channels), int32(l.x.pitch)})...)
}
