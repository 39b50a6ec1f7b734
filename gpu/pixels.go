//go:build cuda && linux && cgo

package gpu

import "gorgonia.org/cu"

// pixels launches x0 [images, width] = raw [images, inputs] / 255.
func (d *device) pixels(x0, raw cu.DevicePtr, images, inputs, width int) error {
	return d.launch("pixels", dim{min(ceil(images*width, 256), 1<<16), 1}, dim{256, 1}, 0, []int{images, inputs},
		x0, raw, int32(images), int32(inputs), int32(width))
}

// widen launches x [n] = signs [n], which are int8.
func (d *device) widen(x, signs cu.DevicePtr, n int) error {
	return d.launch("widen", dim{min(ceil(n, 256), 1<<16), 1}, dim{256, 1}, 0, []int{n}, x, signs, int64(n))
}
