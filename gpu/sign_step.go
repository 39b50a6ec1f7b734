//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/attack"

	"gorgonia.org/cu"
)

// signOf launches d [n, in] of int8 = sign(g) for a microbatch. It sets zero [n] where a row of g
// is zero in every pixel, and lowers broken to the least image with a gradient that is not finite.
func (p *card) signOf(d, zero, g cu.DevicePtr, c span) error {
	return p.launch("sign_of", dim{ceil(c.n, 8), 1}, dim{256, 1}, 0, []int{c.n, p.inputs},
		d, zero, p.batch.broken(), g, int32(c.lo), int32(c.first), int32(c.n), int32(c.E), int32(p.inputs), int32(p.in()))
}

// signStep launches x ← project(from + size·d) for a microbatch of the batch, with size [E]. from
// is x0 if clean is set, else x. d is of int8: [images, in] of the batch if byImage is set, else
// [n, in] of the microbatch.
func (p *card) signStep(c span, d, size cu.DevicePtr, bounds attack.Bounds, clean, byImage bool) error {
	return p.launch("sign_step", dim{ceil(c.n, 8), 1}, dim{256, 1}, 0, []int{c.n, p.inputs},
		p.batch.x.DevicePtr, p.loaded.image(c.lo), d, size, p.batch.epsOnDevice(), float32(bounds.Lo), float32(bounds.Hi),
		!bounds.None(), clean, byImage, int32(c.first), int32(c.n), int32(c.E), int32(p.in()))
}
