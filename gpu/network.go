//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A network is a model on the device that is no MLP. Its layers are of any kind, one after another
// or in a graph. A microbatch of images goes through all layers forward, and every output is kept
// for the way back. Images between layers are in NHWC: then the product of a convolution is its
// output, and im2col reads whole runs of its input.
//
// newNetwork sets image, nodes, uses, moves and place. forward and backward fill the buffers and set
// x; reserve of card changes the size of the buffers.
type network struct {
	*device
	image shape
	nodes []node        // one for each operation of the program
	uses  [][]lower.Use // Uses of the program
	moves []bool        // Moves of the program
	place lower.Slots   // where gradients wait; widths are in floats of a row
	slots []buffer      // [n, width] each: the places

	columns buffer // the matrix of im2col, for one convolution at a time
	spare   buffer // a product that is then added to others

	nhwc   [2]buffer    // [n, width]: the images, and the gradient at logits that are images
	logits buffer       // [n, out]: logits that are images, in NCHW
	grad   buffer       // [n, in]: the gradient at the images, in NCHW
	x      cu.DevicePtr // the images that forward took last, in NHWC
}

// A node is a layer and its output y [n, width].
type node struct {
	operation
	shape
	takes []int   // the nodes whose outputs it takes; -1 is the image
	y     *buffer // for a ReLU that the product before it computes, the output of that product
}

// An operation is what a layer does to n images. An image is a row of its shape's width. net has
// the device and the buffers that operations share.
type operation interface {
	// forward launches y, given x: all that the layer takes.
	forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error
	// backward launches dx = from + the gradient at x[arg], given x, all that the layer took, and
	// the gradient dy at its output. from may be dx. It may be 0 for no summand, but not for an add.
	backward(net *network, dx, from, dy cu.DevicePtr, x []cu.DevicePtr, arg, n int) error
}

// A shape is the shape of an image between layers, in NHWC. Each pixel has pitch floats: those of
// the channels, and zeros. An image has width floats. A vector of I elements is one pixel of I
// channels.
type shape struct{ pixels, channels, pitch, width int }

// flat is the padded length of a row that holds an image of s in NCHW.
func (s shape) flat() int { return padded(s.pixels * s.channels) }

// newShape is s with the padding that kernels need.
func newShape(s lower.Shape) shape {
	pitch := padded(s.C)
	return shape{pixels: s.Pixels(), channels: s.C, pitch: pitch, width: s.Pixels() * pitch}
}

// mostWidth is the most floats of an image between layers: kernels count them in 31 bits.
const mostWidth = 1 << 30

// A linear is a Linear layer in a network.
type linear struct {
	layer
	x shape // what it takes
}

// newLinear copies l, which takes x, to the device. The columns of W have zeros where x has
// padding.
func (d *device) newLinear(l *lower.Linear, x shape, mode string) (*linear, error) {
	weight := l.Weight
	if x.pixels > 1 {
		w, out := batch.Elements[float32](l.Weight), l.Weight.Shape()[0]
		spread := make([]float32, out*x.width)
		for o := range out {
			for q := range x.pixels {
				copy(spread[o*x.width+q*x.pitch:][:x.channels], w[(o*x.pixels+q)*x.channels:])
			}
		}
		weight = tensor.New(tensor.WithShape(out, x.width), tensor.WithBacking(spread))
	}
	a, err := d.newLayer(weight, l.Bias, mode)
	return &linear{a, x}, err
}

func (l *linear) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.affineForward(y, x[0], &l.layer, l.bias, l.relu, n)
}

func (l *linear) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	if from == 0 {
		return net.affineBackward(dx, dy, &l.layer, 0, n)
	}
	if err := net.affineBackward(net.spare.DevicePtr, dy, &l.layer, 0, n); err != nil {
		return err
	}
	return net.sum(dx, from, net.spare.DevicePtr, n*l.x.width)
}

// newNetwork copies prog to the device. It returns an error for an operation that there is no
// kernel of, and for images between layers that are too large.
func newNetwork(d *device, prog *lower.Program, mode string) (*network, error) {
	net := &network{device: d, image: newShape(prog.Image), uses: prog.Uses, moves: prog.Moves}
	for _, op := range prog.Ops {
		n := node{shape: newShape(op.Out), takes: op.Takes, y: new(buffer)}
		if w := max(n.width, net.image.width); w > mostWidth {
			return nil, fmt.Errorf("gpu: layer %d takes or makes %d numbers an image, padding and all, want at most %d", op.Layer, w, mostWidth)
		}
		var err error
		var in []lower.Shape
		for _, j := range op.Takes {
			in = append(in, prog.Shape(j))
		}
		if n.operation, err = d.newOperation(op, in, mode); err != nil {
			return nil, err
		}
		if op.InPlace && prog.Ops[op.Takes[0]].Rectified {
			n.operation.(*activation).done = true
			n.y = net.nodes[op.Takes[0]].y
		}
		net.nodes = append(net.nodes, n)
	}
	net.place = prog.Slots(func(s lower.Shape) int { return newShape(s).width })
	net.slots = make([]buffer, len(net.place.Width))
	return net, nil
}

// newOperation copies what op, which takes values of shapes in, needs to the device. It returns an
// error that names the operation if there is no kernel of it.
func (d *device) newOperation(op lower.Op, in []lower.Shape, mode string) (operation, error) {
	x, y := newShape(op.In), newShape(op.Out)
	switch o := op.Operation.(type) {
	case *lower.Linear:
		l, err := d.newLinear(o, x, mode)
		if err != nil {
			return nil, err
		}
		l.relu = op.Rectified
		return l, nil
	case *lower.Convolution:
		if isDepthwise(o) {
			c, err := d.newDepthwise(o)
			if err != nil {
				return nil, err
			}
			c.relu = op.Rectified
			return c, nil
		}
		if o.Groups > 1 {
			c, err := d.newGroupedConv(o)
			if err != nil {
				return nil, err
			}
			c.relu = op.Rectified
			return c, nil
		}
		return d.newConv(o, op.Rectified, mode)
	case lower.Scale:
		w, err := d.parameter(o.Weight)
		if err != nil {
			return nil, err
		}
		b, err := d.parameter(o.Bias)
		return &scale{w, b, y}, err
	case lower.MaxPool:
		return &maxPool{window: newWindow(o.Unfold), x: x, y: y}, nil
	case lower.AvgPool:
		return &avgPool{newWindow(o.Unfold), x, y, o.CountPad}, nil
	case lower.Elementwise:
		if err := d.known(o.Name); err != nil {
			return nil, fmt.Errorf("gpu: layer %d: no kernel for the elementwise function %q: %w", op.Layer, o.Name, err)
		}
		return newActivation(o, y), nil
	case lower.Add:
		return &add{y}, nil
	case lower.Pairwise:
		if err := d.known("pair_" + o.Name); err != nil {
			return nil, fmt.Errorf("gpu: layer %d: no kernel for the function %q of two numbers: %w", op.Layer, o.Name, err)
		}
		return newPairwise(o.Name, in, op.Out), nil
	case lower.Constant:
		return d.newConstant(o, y)
	case *lower.Arrange:
		return d.newArrange(o, in, op.Out)
	case lower.Reduce:
		if err := d.known("reduce_" + o.By); err != nil {
			return nil, fmt.Errorf("gpu: layer %d: no kernel to reduce by %q: %w", op.Layer, o.By, err)
		}
		return &reduce{"reduce_" + o.By, x, y}, nil
	case lower.Softmax:
		return &softmax{x}, nil
	case lower.MatMul:
		return newMatMul(o), nil
	}
	return nil, fmt.Errorf("gpu: layer %d: no operation for %T", op.Layer, op.Operation)
}

// known returns an error unless there are kernels name_forward and name_backward. Else the first
// launch would fail.
func (d *device) known(name string) error {
	for _, way := range []string{"_forward", "_backward"} {
		if _, err := d.mod.Function(name + way); err != nil {
			return err
		}
	}
	return nil
}

// parameter copies t to the device as float32.
func (d *device) parameter(t *tensor.Dense) (cu.DevicePtr, error) {
	v := batch.Elements[float32](t)
	ptr, err := d.alloc(int64(4 * len(v)))
	if err != nil {
		return 0, err
	}
	return ptr, upload(d, ptr, v)
}

// shapeOf is the shape of the output of node i, or of the image for -1.
func (net *network) shapeOf(i int) shape {
	if i < 0 {
		return net.image
	}
	return net.nodes[i].shape
}

func (net *network) claims(n int) []claim {
	columns := 0
	var all []claim
	for _, nd := range net.nodes {
		switch l := nd.operation.(type) {
		case *conv:
			columns = max(columns, l.columns(n))
		case *maxPool:
			all = append(all, claim{&l.place, 4 * n * l.y.width})
		case *activation:
			if l.done {
				continue // y belongs to the product before it
			}
		}
		all = append(all, claim{nd.y, 4 * n * nd.width})
	}
	for k, w := range net.place.Width {
		all = append(all, claim{&net.slots[k], 4 * n * w})
	}
	all = append(all, claim{&net.columns, 4 * columns}, claim{&net.spare, 4 * n * net.place.Spare})
	if s := net.image; s.pixels > 1 {
		all = append(all, claim{&net.nhwc[0], 4 * n * s.width}, claim{&net.grad, 4 * n * s.flat()})
	}
	if s := net.shapeOf(len(net.nodes) - 1); s.pixels > 1 {
		all = append(all, claim{&net.nhwc[1], 4 * n * s.width}, claim{&net.logits, 4 * n * s.flat()})
	}
	return all
}

func (net *network) plan() plan {
	in, out := net.image.flat(), net.shapeOf(len(net.nodes)-1).flat()
	p := plan{row: 4*int64(in) + 4 + 1, image: int64(in), scratch: 4*int64(out) + int64(in), least: 1}
	for _, c := range net.claims(1) {
		if c.buffer != &net.columns {
			p.scratch += int64(c.bytes)
		}
	}
	for _, c := range net.claims(maxRows) {
		if c.buffer == &net.columns {
			p.fixed = int64(c.bytes)
		}
	}
	return p
}

// widest is the most floats of an image or between two layers.
func (net *network) widest() int {
	n := net.image.width
	for _, nd := range net.nodes {
		n = max(n, nd.width)
	}
	return n
}

// value is the output of node i, or the image for -1, as forward left it.
func (net *network) value(i int) cu.DevicePtr {
	if i < 0 {
		return net.x
	}
	return net.nodes[i].y.DevicePtr
}

// taken is all that nd takes, as forward left it.
func (net *network) taken(nd *node) (x []cu.DevicePtr) {
	for _, j := range nd.takes {
		x = append(x, net.value(j))
	}
	return x
}

func (net *network) forward(x cu.DevicePtr, n int) (cu.DevicePtr, error) {
	if net.x = x; net.image.pixels > 1 {
		net.x = net.nhwc[0].DevicePtr
		if err := net.toNHWC(net.x, x, net.image, n); err != nil {
			return 0, err
		}
	}
	for i := range net.nodes {
		nd := &net.nodes[i]
		if err := nd.forward(net, nd.y.DevicePtr, net.taken(nd), n); err != nil {
			return 0, err
		}
	}
	last := len(net.nodes) - 1
	if s := net.shapeOf(last); s.pixels > 1 {
		return net.logits.DevicePtr, net.toNCHW(net.logits.DevicePtr, net.value(last), s, n)
	}
	return net.value(last), nil
}

// backward goes through the nodes from the last to the first. Where several nodes take a value,
// their gradients are added, the last node's first: the order is the same on every backend. Values
// that do not move have none.
func (net *network) backward(dz cu.DevicePtr, n int) (cu.DevicePtr, error) {
	last := len(net.nodes) - 1
	grads := make([]cu.DevicePtr, last+2)
	if grads[last+1] = dz; net.shapeOf(last).pixels > 1 {
		grads[last+1] = net.nhwc[1].DevicePtr
		if err := net.toNHWC(grads[last+1], dz, net.shapeOf(last), n); err != nil {
			return 0, err
		}
	}
	for i := last - 1; i >= -1; i-- {
		if !net.moves[i+1] {
			continue
		}
		var g, to cu.DevicePtr
		if k := net.place.Of[i+1]; k >= 0 {
			to = net.slots[k].DevicePtr
		}
		for _, u := range net.uses[i+1] {
			nd, dy := &net.nodes[u.Op], grads[u.Op+1]
			if _, ok := nd.operation.(*add); ok && g == 0 {
				g = dy
				continue
			}
			if err := nd.backward(net, to, g, dy, net.taken(nd), u.Arg, n); err != nil {
				return 0, err
			}
			g = to
		}
		if g == 0 { // the logits do not depend on the image
			if err := net.fill(to, 0, int64(4*n*net.shapeOf(i).width)); err != nil {
				return 0, err
			}
			g = to
		}
		grads[i+1] = g
	}
	if net.image.pixels > 1 {
		return net.grad.DevicePtr, net.toNCHW(net.grad.DevicePtr, grads[0], net.image, n)
	}
	return grads[0], nil
}

// toNHWC launches images y [n, s.width] in NHWC, as layers take them, of x [n, padded(C·H·W)] in
// NCHW, as they are loaded.
func (d *device) toNHWC(y, x cu.DevicePtr, s shape, n int) error {
	return d.transpose(y, x, n, s.channels, s.pixels, s.pixels, s.flat(), s.pitch, s.width)
}

// toNCHW is the reverse of toNHWC.
func (d *device) toNCHW(y, x cu.DevicePtr, s shape, n int) error {
	return d.transpose(y, x, n, s.pixels, s.channels, s.pitch, s.width, s.pixels, s.flat())
}

// transpose launches y [cols, rows] = xᵀ for each of the images: see kernels/transpose.cu.
func (d *device) transpose(y, x cu.DevicePtr, images, rows, cols, xPitch, xStride, yPitch, yStride int) error {
	return d.launch("transpose", dim{ceil(yPitch, 32) * ceil(cols, 32), images}, dim{256, 1}, 0, []int{images, rows, cols},
		y, x, int32(rows), int32(cols), int32(xPitch), int32(xStride), int32(yPitch), int32(yStride))
}
