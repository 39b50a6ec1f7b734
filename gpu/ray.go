//go:build cuda && linux && cgo

package gpu

import (
	"context"

	"gorgonia.org/cu"
)

// enterRay makes the rows' first step without bounds, along d [images, in] and of the sizes on the
// device: the first layer becomes a + size·c with a = W·x0 + b and c = W·d, two products an image
// for all its eps. See cpu/ray.go.
func (p *part) enterRay(ctx context.Context, d cu.DevicePtr) error {
	l, width := &p.layers[0], padded(p.layers[0].out)
	err := p.chunks(ctx, p.lo, p.images, 1, func(c span) error {
		x := at(p.x0.DevicePtr, (c.lo+c.first)*p.in(), 4)
		if err := p.affineForward(at(p.rayA.DevicePtr, c.first*width, 4), x, l, l.bias, false, c.n); err != nil {
			return err
		}
		if err := p.widen(p.grad[0].DevicePtr, at(d, c.first*p.in(), 1), c.n*p.in()); err != nil {
			return err
		}
		return p.affineForward(at(p.rayC.DevicePtr, c.first*width, 4), p.grad[0].DevicePtr, l, p.zeros.DevicePtr, false, c.n)
	})
	if err == nil {
		p.ray, p.fresh = d, false
	}
	return err
}

// rayForward launches the first layer of a chunk of rows on the ray.
func (p *part) rayForward(c span) error {
	width := padded(p.layers[0].out)
	return p.launch("ray_forward", dim{ceil(width, 256), c.n}, dim{256, 1}, 0, []int{c.n, p.layers[0].out},
		p.act[0].DevicePtr, p.rayA.DevicePtr, p.rayC.DevicePtr, p.sizes.DevicePtr, p.layers[0].relu, int32(c.first), int32(c.E), int32(width))
}
