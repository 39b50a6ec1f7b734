//go:build cuda && linux && cgo

package gpu

import "gorgonia.org/cu"

// A reduce makes one number of the channels of each pixel: see kernels/reduce.cu.
type reduce struct {
	name string // as in that file, without _forward and _backward
	x, y shape
}

func (l *reduce) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.channelwise(l.name+"_forward", n, l.x, y, x[0], int32(l.x.channels), int32(l.x.pitch), int32(l.y.pitch))
}

func (l *reduce) backward(net *network, dx, from, dy cu.DevicePtr, x []cu.DevicePtr, arg, n int) error {
	return net.channelwise(l.name+"_backward", n, l.x, dx, from, dy, x[arg], int32(l.x.channels), int32(l.x.pitch), int32(l.y.pitch))
}

// A softmax is that of the channels of each pixel: see kernels/softmax.cu.
type softmax struct{ shape }

func (l *softmax) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.channelwise("softmax_forward", n, l.shape, y, x[0], int32(l.channels), int32(l.pitch))
}

func (l *softmax) backward(net *network, dx, from, dy cu.DevicePtr, x []cu.DevicePtr, arg, n int) error {
	return net.channelwise("softmax_backward", n, l.shape, dx, from, dy, x[arg], int32(l.channels), int32(l.pitch))
}

// channelwise launches a kernel that has a warp for each pixel of n images of shape s. How many
// pixels these are is its last argument.
func (d *device) channelwise(name string, n int, s shape, args ...any) error {
	return d.launch(name, dim{ceil(n*s.pixels, 8), 1}, dim{256, 1}, 0, []int{n, s.pixels, s.channels}, append(args, int64(n*s.pixels))...)
}
