//go:build cuda && linux && cgo

package gpu

import (
	"context"

	"gorgonia.org/cu"
)

// enterRay makes the first step of the rows, without bounds, along d [images, in] of int8, of the
// sizes on the device. It forms no x. The output of the first layer is a + size·c, with a = W·x0 +
// b and c = W·d: two products for an image at all its eps. See cpu/ray.go.
func (p *card) enterRay(ctx context.Context, d cu.DevicePtr) error {
	l, width := &p.mlp.layers[0], padded(p.mlp.layers[0].out)
	err := p.microbatches(ctx, p.batch.lo, p.batch.images, 1, func(c span) error {
		x := p.loaded.image(c.lo + c.first)
		if err := p.affineForward(at(p.position.rayA.DevicePtr, c.first*width, 4), x, l, l.bias, false, c.n); err != nil {
			return err
		}
		if err := p.widen(p.mlp.grad[0].DevicePtr, at(d, c.first*p.in(), 1), c.n*p.in()); err != nil {
			return err
		}
		return p.affineForward(at(p.position.rayC.DevicePtr, c.first*width, 4), p.mlp.grad[0].DevicePtr, l, p.mlp.zeros.DevicePtr, false, c.n)
	})
	if err == nil {
		p.position.enter(d)
	}
	return err
}

// rayForward returns the logits [n, out] of a microbatch of rows on the ray, valid until the next
// forward. A kernel of its own makes the output of the first layer.
func (p *card) rayForward(c span) (cu.DevicePtr, error) {
	m := p.mlp
	l, width := &m.layers[0], padded(m.layers[0].out)
	err := p.launch("ray_forward", dim{ceil(width, 256), c.n}, dim{256, 1}, 0, []int{c.n, l.out},
		m.act[0].DevicePtr, p.position.rayA.DevicePtr, p.position.rayC.DevicePtr, p.batch.sizes.DevicePtr, l.relu, int32(c.first), int32(c.E), int32(width))
	if err != nil {
		return 0, err
	}
	return m.forwardFrom(1, m.act[0].DevicePtr, c.n)
}
