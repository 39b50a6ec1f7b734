//go:build cuda && linux && cgo

package gpu

import "gorgonia.org/cu"

// pixels launches x0 [images, width] = raw [images, inputs] / 255.
func (p *part) pixels(x0, raw cu.DevicePtr, images, inputs, width int) error {
	return p.launch("pixels", dim{min(ceil(images*width, 256), 1<<16), 1}, dim{256, 1}, 0, []int{images, inputs},
		x0, raw, int32(images), int32(inputs), int32(width))
}

// widen launches x [n] = d [n] of int8.
func (p *part) widen(x, d cu.DevicePtr, n int) error {
	return p.launch("widen", dim{min(ceil(n, 256), 1<<16), 1}, dim{256, 1}, 0, []int{n}, x, d, int64(n))
}
