//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A conv is a convolution in NHWC. Forward it is im2col and a product.
//
// There are two ways backward, and the lowering chooses between them, for the CPU too. One is a
// convolution of the gradient at the output with the filters flipped. The other is a product whose
// terms col2im adds up. Both sum in the CPU's order, so that they give the CPU's bits in math mode
// fp32.
type conv struct {
	there *unfolding
	back  *unfolding // the flipped convolution; nil: col2im
}

// newConv copies l to the device.
func (d *device) newConv(l *lower.Convolution, mode string) (*conv, error) {
	filter := lower.Filter(l.Weight.Shape(), batch.Elements[float32](l.Weight))
	c := new(conv)
	var err error
	if c.there, err = d.newUnfolding(l.Name, l.Unfold, filter, l.Bias, mode); err != nil {
		return nil, err
	}
	if l.Back != nil {
		channels := l.In.C
		none := tensor.New(tensor.WithShape(channels), tensor.WithBacking(make([]float32, channels)))
		c.back, err = d.newUnfolding(l.Name, *l.Back, lower.FlipTranspose(l, filter), none, mode)
	}
	return c, err
}

func (c *conv) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return c.there.run(net, y, x[0], n)
}

func (c *conv) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	w := c.there
	if c.back != nil {
		if from == 0 {
			return c.back.run(net, dx, dy, n)
		}
		if err := c.back.run(net, net.spare.DevicePtr, dy, n); err != nil {
			return err
		}
		return net.sum(dx, from, net.spare.DevicePtr, n*w.x.width)
	}
	return w.pieces(n, func(i, m int) error {
		if err := net.affineBackward(net.columns.DevicePtr, at(dy, i*w.y.width, 4), &w.filters, 0, m*w.outputs()); err != nil {
			return err
		}
		image := from
		if image != 0 {
			image = at(from, i*w.x.width, 4)
		}
		return net.col2im(at(dx, i*w.x.width, 4), image, net.columns.DevicePtr, w, m)
	})
}

// columns is how many floats of network.columns, which all convolutions share, c needs for n
// images.
func (c *conv) columns(n int) int {
	size := 0
	if !c.there.direct || c.back == nil {
		size = c.there.columns(n)
	}
	if c.back != nil && !c.back.direct {
		size = max(size, c.back.columns(n))
	}
	return size
}

// An unfolding is a convolution as a product. im2col copies the windows of some images into a
// matrix, with a row for each pixel of the output. The matrix is multiplied by the filters, as in a
// Linear layer.
type unfolding struct {
	window
	x, y    shape
	filters layer // in = KH·KW·C, out = O
	relu    bool  // a ReLU follows, and the product computes it
	swapped bool  // a row of the matrix has its window by columns, else by rows
	direct  bool  // x is that matrix as it is, so that im2col is left out
	images  int   // how many are unfolded at a time
}

// newUnfolding copies the filters to the device. weight(o, i, u, v) is the weight of output o for
// channel i at row u and column v of the window. It returns an error if one image makes a matrix
// that kernels can't index.
func (d *device) newUnfolding(name string, places lower.Unfold, weight func(o, i, u, v int) float32, bias *tensor.Dense, mode string) (*unfolding, error) {
	w, x, y := newWindow(places), newShape(places.In), newShape(places.Out)
	a := &unfolding{window: w, x: x, y: y, swapped: places.Swapped(), direct: places.Direct()}
	C, KH, KW := x.channels, w.kernel[0], w.kernel[1]
	// A product keeps the multiprocessors busy if each has four waves of two tiles. More images
	// would only need more memory: the matrix is KH·KW times as large as the images. A grid has at
	// most 65,535 rows of tiles of 128, and kernels index matrices in 32 bits.
	most := min(65535*128, (1<<32-1)/max(padded(KH*KW*C), y.pitch))
	if w.outputs() > most {
		return nil, fmt.Errorf("gpu: layer %s makes %d products of %d terms of an image, want at most %d", name, w.outputs(), KH*KW*C, most)
	}
	a.images = max(1, min(most, 4*2*128*d.multiprocessors)/w.outputs())
	filters := make([]float32, y.channels*KH*KW*C)
	places.Terms(func(k, c, u, v int) {
		for o := range y.channels {
			filters[o*KH*KW*C+k] = weight(o, c, u, v)
		}
	})
	var err error
	a.filters, err = d.newLayer(tensor.New(tensor.WithShape(y.channels, KH*KW*C), tensor.WithBacking(filters)), bias, mode)
	return a, err
}

// pieces calls f(i, m) for images i to i+m-1 of n, as many at a time as are unfolded at a time.
func (w *unfolding) pieces(n int, f func(i, m int) error) error {
	for i := 0; i < n; i += w.images {
		if err := f(i, min(w.images, n-i)); err != nil {
			return err
		}
	}
	return nil
}

// columns is how many floats the matrix has for n images.
func (w *unfolding) columns(n int) int {
	return min(n, w.images) * w.outputs() * padded(w.filters.in)
}

// run launches y of n images x.
func (w *unfolding) run(net *network, y, x cu.DevicePtr, n int) error {
	return w.pieces(n, func(i, m int) error {
		a := at(x, i*w.x.width, 4)
		if !w.direct {
			if err := net.im2col(net.columns.DevicePtr, a, w, m); err != nil {
				return err
			}
			a = net.columns.DevicePtr
		}
		return net.affineForward(at(y, i*w.y.width, 4), a, &w.filters, w.filters.bias, w.relu, m*w.outputs())
	})
}

// im2col launches a [images·OH·OW, padded(KH·KW·C)]: row r is the window of x at pixel r of the
// output.
func (d *device) im2col(a, x cu.DevicePtr, w *unfolding, images int) error {
	rows, width := images*w.outputs(), padded(w.filters.in)
	return d.launch("im2col", dim{width / 16, ceil(rows, 128)}, dim{256, 1}, 0, []int{rows, w.filters.in},
		w.args([]any{a, x, int32(rows), int32(w.x.channels), int32(w.x.pitch)}, w.swapped, int32(w.filters.in), int32(width))...)
}

// col2im launches dx = from + the sum of what the rows of a [images·OH·OW, padded(KH·KW·C)] have
// for each pixel. If from is 0, it is nothing.
func (d *device) col2im(dx, from, a cu.DevicePtr, w *unfolding, images int) error {
	return d.elementwise("col2im", images, w.x,
		w.args([]any{dx, from, a, int32(w.x.channels), int32(w.x.pitch)}, w.swapped, int32(padded(w.filters.in)))...)
}
