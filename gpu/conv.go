//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A conv is a convolution in NHWC: a pass forward, and one back.
//
// How each goes is the lowering's choice, for the CPU too. Both backends sum in the same order, so
// that math mode fp32 gives the CPU's bits.
type conv struct{ there, back pass }

// A pass takes images through a convolution one way.
type pass interface {
	// run launches y = from + what the pass makes of n images x. from may be y, or 0 for no
	// summand.
	run(net *network, y, from, x cu.DevicePtr, n int) error
	// columns is how many floats of network.columns, which all convolutions share, run takes for n
	// images.
	columns(n int) int
}

// newConv copies l to the device. If relu is set, a ReLU follows, and the pass forward computes it.
func (d *device) newConv(l *lower.Convolution, relu bool, mode string) (*conv, error) {
	filter := lower.Filter(l.Weight.Shape(), batch.Elements[float32](l.Weight))
	c := new(conv)
	var err error
	if c.there, err = d.newPass(l.Name, l.Unfold, filter, l.Bias, relu, mode); err != nil {
		return nil, err
	}
	if l.Back != nil {
		channels := l.In.C
		none := tensor.New(tensor.WithShape(channels), tensor.WithBacking(make([]float32, channels)))
		c.back, err = d.newPass(l.Name, *l.Back, lower.FlipTranspose(l, filter), none, false, mode)
		return c, err
	}
	// The weights may be on the device already.
	u, ok := c.there.(*unfolding)
	if !ok {
		u, err = d.newUnfolding(l.Name, l.Unfold, filter, l.Bias, false, mode)
	}
	c.back = &folding{u}
	return c, err
}

// newPass copies the filters to the device. weight(o, i, u, v) is the weight of output o for channel
// i at row u and column v of the window.
func (d *device) newPass(name string, places lower.Unfold, weight func(o, i, u, v int) float32, bias *tensor.Dense, relu bool, mode string) (pass, error) {
	// The other modes have products of their own, whose bits are not the CPU's.
	if places.Tile != nil && mode == "fp32" {
		return d.newWinograd(name, places, weight, bias, relu)
	}
	return d.newUnfolding(name, places, weight, bias, relu, mode)
}

func (c *conv) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return c.there.run(net, y, 0, x[0], n)
}

func (c *conv) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	return c.back.run(net, dx, from, dy, n)
}

// columns is how many floats of network.columns c needs for n images.
func (c *conv) columns(n int) int { return max(c.there.columns(n), c.back.columns(n)) }

// A pieces is how many images a pass takes at a time: more would only need more memory.
type pieces struct{ images int }

// each calls f(i, m) for images i to i+m-1 of n, as many at a time as p says.
func (p *pieces) each(n int, f func(i, m int) error) error {
	for i := 0; i < n; i += p.images {
		if err := f(i, min(p.images, n-i)); err != nil {
			return err
		}
	}
	return nil
}

// behind is where image i of those from p on begins, of so many floats each. It is 0 if p is 0.
func behind(p cu.DevicePtr, i, width int) cu.DevicePtr {
	if p == 0 {
		return 0
	}
	return at(p, i*width, 4)
}

// An unfolding is a convolution as a product. im2col copies the windows of some images into a
// matrix, with a row for each pixel of the output. The matrix is multiplied by the filters, as in a
// Linear layer.
type unfolding struct {
	window
	pieces
	x, y    shape
	filters layer // in = KH·KW·C, out = O
	relu    bool  // a ReLU follows, and the product computes it
	swapped bool  // a row of the matrix has its window by columns, else by rows
	direct  bool  // x is that matrix as it is, so that im2col is left out
}

// newUnfolding copies the filters to the device, as newPass does. It returns an error if one image
// makes a matrix that kernels can't index.
func (d *device) newUnfolding(name string, places lower.Unfold, weight func(o, i, u, v int) float32, bias *tensor.Dense, relu bool, mode string) (*unfolding, error) {
	w, x, y := newWindow(places), newShape(places.In), newShape(places.Out)
	a := &unfolding{window: w, x: x, y: y, relu: relu, swapped: places.Swapped(), direct: places.Direct()}
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

// matrix is how many floats the matrix has for n images.
func (w *unfolding) matrix(n int) int {
	return min(n, w.images) * w.outputs() * padded(w.filters.in)
}

func (w *unfolding) columns(n int) int {
	if w.direct {
		return 0
	}
	return w.matrix(n)
}

// run goes through the spare buffer if there is something to add to, since a product overwrites.
func (w *unfolding) run(net *network, y, from, x cu.DevicePtr, n int) error {
	to := y
	if from != 0 {
		to = net.spare.DevicePtr
	}
	err := w.each(n, func(i, m int) error {
		a := at(x, i*w.x.width, 4)
		if !w.direct {
			if err := net.im2col(net.columns.DevicePtr, a, w, m); err != nil {
				return err
			}
			a = net.columns.DevicePtr
		}
		return net.affineForward(at(to, i*w.y.width, 4), a, &w.filters, w.filters.bias, w.relu, m*w.outputs())
	})
	if err != nil || from == 0 {
		return err
	}
	return net.sum(y, from, to, n*w.y.width)
}

// A folding is the way back through an unfolding: a product with the filters, whose terms col2im
// adds up. x is the gradient at the output of the unfolding.
type folding struct{ *unfolding }

func (w *folding) columns(n int) int { return w.matrix(n) }

func (w *folding) run(net *network, dx, from, dy cu.DevicePtr, n int) error {
	return w.each(n, func(i, m int) error {
		if err := net.affineBackward(net.columns.DevicePtr, at(dy, i*w.y.width, 4), &w.filters, 0, m*w.outputs()); err != nil {
			return err
		}
		return net.col2im(at(dx, i*w.x.width, 4), behind(from, i, w.x.width), net.columns.DevicePtr, w.unfolding, m)
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
