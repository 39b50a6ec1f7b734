//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/model"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A conv is a convolution: im2col makes a matrix of its windows, a row for each pixel of the output, which is multiplied by the
// filters as a Linear layer does. A few images go through at a time, in two matrices that all convolutions share.
type conv struct {
	window
	filters layer // in = C·KH·KW, out = O
	x, y    shape
	images  int // at a time
}

// newConv copies l, which makes y [O, OH, OW] of x [C, H, W], to the device.
func (p *part) newConv(l model.Conv2D, x, y []int, product string) (*conv, error) {
	s := l.Weight.Shape()
	c := &conv{window: newWindow(x, y, [2]int(s[2:]), l.Stride, l.Pad), x: newShape(x), y: newShape(y)}
	var err error
	if c.filters, err = p.newLayer(model.Linear{
		Weight: tensor.New(tensor.WithShape(s[0], s[1]*s[2]*s[3]), tensor.WithBacking(l.Weight.Data())),
		Bias:   l.Bias,
	}, product); err != nil {
		return nil, err
	}
	// Four waves of two tiles a multiprocessor: as long as a product must be to keep them busy, and no more, since the matrix is KH·KW times
	// the image. A grid has 65,535 rows of 128 at most, and kernels index matrices in 32 bits.
	pixels, widest := c.outputs(), max(padded(c.filters.in), padded(c.filters.out))
	most := min(65535*128, (1<<32-1)/widest)
	if pixels > most {
		return nil, fmt.Errorf("gpu: layer %s makes %d products of %d terms of an image, want at most %d", l.Name, pixels, c.filters.in, most)
	}
	c.images = max(1, min(most, 4*2*128*p.multiprocessors)/pixels)
	return c, nil
}

// columns and pixels are the sizes of the shared matrices for n images: [n·OH·OW, padded(C·KH·KW)] and [n·OH·OW, padded(O)].
func (c *conv) columns(n int) int { return min(n, c.images) * c.outputs() * padded(c.filters.in) }
func (c *conv) pixels(n int) int  { return min(n, c.images) * c.outputs() * padded(c.filters.out) }

func (c *conv) forward(p *part, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	a, z := p.net.columns.DevicePtr, p.net.pixels.DevicePtr
	for i := 0; i < n; i += c.images {
		m := min(c.images, n-i)
		if err := p.im2col(a, at(x[0], i*c.x.width, 4), c, m); err != nil {
			return err
		}
		if err := p.affineForward(z, a, &c.filters, c.filters.bias, false, m*c.outputs()); err != nil {
			return err
		}
		if err := p.transpose(at(y, i*c.y.width, 4), z, m, c.outputs(), c.filters.out, padded(c.filters.out), c.outputs()*padded(c.filters.out), c.outputs(), c.y.width); err != nil {
			return err
		}
	}
	return nil
}

func (c *conv) backward(p *part, dx, from, dy, _ cu.DevicePtr, n int) error {
	a, z := p.net.columns.DevicePtr, p.net.pixels.DevicePtr
	for i := 0; i < n; i += c.images {
		m := min(c.images, n-i)
		if err := p.transpose(z, at(dy, i*c.y.width, 4), m, c.filters.out, c.outputs(), c.outputs(), c.y.width, padded(c.filters.out), c.outputs()*padded(c.filters.out)); err != nil {
			return err
		}
		if err := p.affineBackward(a, z, &c.filters, 0, m*c.outputs()); err != nil {
			return err
		}
		part := from
		if part != 0 {
			part = at(from, i*c.x.width, 4)
		}
		if err := p.col2im(at(dx, i*c.x.width, 4), part, a, c, m); err != nil {
			return err
		}
	}
	return nil
}

// im2col launches a [images·OH·OW, padded(C·KH·KW)], the windows of x.
func (p *part) im2col(a, x cu.DevicePtr, c *conv, images int) error {
	rows, width := images*c.outputs(), padded(c.filters.in)
	return p.launch("im2col", dim{width / 16, ceil(rows, 128)}, dim{256, 1}, 0, []int{rows, c.filters.in},
		c.args([]any{a, x, int32(rows), int32(c.x.width)}, int32(c.filters.in), int32(width))...)
}

// col2im launches dx = from, if that is not 0, + what a [images·OH·OW, padded(C·KH·KW)] adds up to.
func (p *part) col2im(dx, from, a cu.DevicePtr, c *conv, images int) error {
	return p.elementwise("col2im", images, c.x,
		c.args([]any{dx, from, a, int32(c.x.elements), int32(c.x.width)}, int32(padded(c.filters.in)))...)
}

// transpose launches y = xᵀ for each of the images: see kernels/transpose.cu.
func (p *part) transpose(y, x cu.DevicePtr, images, rows, cols, xPitch, xStride, yPitch, yStride int) error {
	return p.launch("transpose", dim{ceil(yPitch, 32) * ceil(cols, 32), images}, dim{256, 1}, 0, []int{images, rows, cols},
		y, x, int32(rows), int32(cols), int32(xPitch), int32(xStride), int32(yPitch), int32(yStride))
}
