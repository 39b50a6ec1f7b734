//go:build cuda && linux && cgo

package gpu

import "gorgonia.org/cu"

// lossGradient launches q [n, out], the gradient of objective o at the logits z [n, out] of a
// microbatch. With cross-entropy each row is divided by its 1 - p_y: see kernels/loss_gradient.cu.
func (p *card) lossGradient(q, z cu.DevicePtr, c span, o objective) error {
	return p.launch("loss_gradient", dim{ceil(c.n, 256), 1}, dim{256, 1}, 0, []int{c.n, p.classes},
		q, z, p.loaded.labelsFrom(c.lo), o.targets, int32(o.loss), int32(c.first), int32(c.n), int32(c.E), int32(p.classes), int32(p.out()))
}
