//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"slices"

	"advsweep/internal/batch"
	"advsweep/model"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A network is a model that is no stack, on the device: any layers, one after the other or in a graph. It runs a chunk of images, forward and
// backward, one layer after the other, and keeps every layer's output for the way back. Of what is between layers the channels of a
// pixel lie beside each other: a convolution's product then is its output, and reads runs of its input.
type network struct {
	image shape
	nodes []node  // of the layers that the logits depend on
	uses  [][]int // [1 + nodes]: those that take the image, those that take the output of node 0, …; falling

	// Of a gradient that only passes an Add on there is no copy; the others wait in slots until all that is below has been made of them.
	slot  []int // [1 + nodes]: of the gradient at the image, at the output of node 0, …; -1: none of its own
	width []int // of each slot, in floats a row
	slots []buffer

	columns    buffer // of one convolution at a time
	spare      buffer // a product before it is added to others
	spareWidth int    // floats a row; 0: none is added

	turned       [2]buffer    // images, and the gradient at logits that are images, as layers take them
	logits, grad buffer       // as the caller takes them: those logits, and the gradient at images
	x            cu.DevicePtr // the image that forward took last, as layers do
}

// A node is a layer with its output y [rows, width].
type node struct {
	operation
	shape
	takes []int   // -1 is the image
	y     *buffer // that of the product before it, for a ReLU that is done there
}

// An operation is what a layer does to n images, whose elements lie in rows of a shape's width.
type operation interface {
	// forward launches y for all that the layer takes.
	forward(p *part, y cu.DevicePtr, x []cu.DevicePtr, n int) error
	// backward launches dx = from + the gradient at x, which the layer took, given dy at its output. from may be dx, and 0 for none but of add.
	backward(p *part, dx, from, dy, x cu.DevicePtr, n int) error
}

// A shape is that of an image between layers: pixels, each of channels in pitch floats, the last ones 0. A vector of I is one pixel.
type shape struct{ pixels, channels, pitch, width int }

// newShape is [C, H, W] or [I].
func newShape(dims []int) shape {
	s := shape{pixels: 1, channels: dims[0], pitch: padded(dims[0])}
	for _, d := range dims[1:] {
		s.pixels *= d
	}
	s.width = s.pixels * s.pitch
	return s
}

// mostWidth bounds the floats of an image between layers: kernels count them in 31 bits.
const mostWidth = 1 << 30

// linear is a Linear layer as a node.
type linear struct {
	layer
	x shape
}

// newLinear copies l, which takes x, to the device, with the columns in the order of x.
func (p *part) newLinear(l model.Linear, x shape, product string) (*linear, error) {
	if x.pixels > 1 {
		w, out := batch.Floats[float32](nil, l.Weight), l.Weight.Shape()[0]
		turned := make([]float32, out*x.width)
		for o := range out {
			for c := range x.channels {
				for q := range x.pixels {
					turned[o*x.width+q*x.pitch+c] = w[(o*x.channels+c)*x.pixels+q]
				}
			}
		}
		l.Weight = tensor.New(tensor.WithShape(out, x.width), tensor.WithBacking(turned))
	}
	a, err := p.newLayer(l, product)
	return &linear{a, x}, err
}

func (l *linear) forward(p *part, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return p.affineForward(y, x[0], &l.layer, l.bias, l.relu, n)
}

func (l *linear) backward(p *part, dx, from, dy, _ cu.DevicePtr, n int) error {
	if from == 0 {
		return p.affineBackward(dx, dy, &l.layer, 0, n)
	}
	if err := p.affineBackward(p.net.spare.DevicePtr, dy, &l.layer, 0, n); err != nil {
		return err
	}
	return p.sum(dx, from, p.net.spare.DevicePtr, n*l.x.width)
}

// newNetwork copies m to the device.
func (p *part) newNetwork(m *model.Model, product string) (*network, error) {
	shapes, err := m.Shapes()
	if err != nil {
		return nil, fmt.Errorf("gpu: model: %w", err)
	}
	input := m.Input
	if input == nil {
		input = []int{m.Inputs()}
	}
	shapeOf := func(i int) []int {
		if i < 0 {
			return input
		}
		return shapes[i]
	}
	// Only those layers count that the logits depend on; they are numbered anew.
	users, number := make([]int, len(m.Layers)), map[int]int{-1: -1}
	users[len(users)-1] = 1 // who asks for the logits
	for i := len(users) - 1; i >= 0; i-- {
		for _, j := range m.Takes(i) {
			if users[i] > 0 && j >= 0 {
				users[j]++
			}
		}
	}
	net := &network{image: newShape(input), uses: make([][]int, 1)}
	for i, l := range m.Layers {
		if users[i] == 0 {
			continue
		}
		n := node{shape: newShape(shapes[i]), y: new(buffer)}
		if w := max(n.width, net.image.width); w > mostWidth {
			return nil, fmt.Errorf("gpu: layer %d takes or makes %d numbers an image, padding and all, want at most %d", i, w, mostWidth)
		}
		for _, j := range m.Takes(i) {
			n.takes = append(n.takes, number[j])
			net.uses[number[j]+1] = append(net.uses[number[j]+1], len(net.nodes))
		}
		j := m.Takes(i)[0]
		if n.operation, err = p.newOperation(l, shapeOf(j), shapes[i], product); err != nil {
			return nil, err
		}
		if _, ok := l.(model.ReLU); ok && j >= 0 && users[j] == 1 && net.nodes[number[j]].rectify() {
			n.operation.(*activation).done = true
			n.y = net.nodes[number[j]].y
		}
		number[i] = len(net.nodes)
		net.nodes, net.uses = append(net.nodes, n), append(net.uses, nil)
	}
	for _, u := range net.uses {
		slices.Reverse(u)
	}
	net.place()
	return net, nil
}

// rectify makes n's product do the ReLU that follows it, if it is one.
func (n *node) rectify() bool {
	switch l := n.operation.(type) {
	case *linear:
		l.relu = true
	case *conv:
		l.there.relu = true
	default:
		return false
	}
	return true
}

// newOperation copies l, which takes x and makes y, to the device.
func (p *part) newOperation(l model.Layer, x, y []int, product string) (operation, error) {
	s := newShape(y)
	switch l := l.(type) {
	case model.Linear:
		return p.newLinear(l, newShape(x), product)
	case model.Conv2D:
		return p.newConv(l, x, y, product)
	case model.Scale:
		w, err := p.parameter(l.Weight)
		if err != nil {
			return nil, err
		}
		b, err := p.parameter(l.Bias)
		return &scale{w, b, s}, err
	case model.MaxPool2D:
		return &maxPool{window: newWindow(x, y, l.Kernel, l.Stride, l.Pad), x: newShape(x), y: s}, nil
	case model.AvgPool2D:
		return &avgPool{newWindow(x, y, l.Kernel, l.Stride, l.Pad), newShape(x), s, l.CountPad}, nil
	case model.ReLU:
		return &activation{name: "relu", shape: s}, nil
	case model.LeakyReLU:
		return &activation{name: "leaky_relu", slope: float32(l.Slope), shape: s}, nil
	case model.Sigmoid:
		return &activation{name: "sigmoid", shape: s}, nil
	case model.Tanh:
		return &activation{name: "tanh", shape: s}, nil
	case model.GELU:
		if l.Tanh {
			return &activation{name: "gelu_tanh", shape: s}, nil
		}
		return &activation{name: "gelu", shape: s}, nil
	case model.Add:
		return &add{s}, nil
	}
	return nil, fmt.Errorf("gpu: no operation for a layer of %T", l)
}

// parameter copies t to the device as floats.
func (p *part) parameter(t *tensor.Dense) (cu.DevicePtr, error) {
	v := batch.Floats[float32](nil, t)
	ptr, err := p.alloc(int64(4 * len(v)))
	if err != nil {
		return 0, err
	}
	return ptr, upload(p.device, ptr, v)
}

// passes reports whether the gradient at the output of node i, or the image at -1, is that of an Add.
func (net *network) passes(i int) bool {
	if len(net.uses[i+1]) != 1 {
		return false
	}
	_, ok := net.nodes[net.uses[i+1][0]].operation.(*add)
	return ok
}

// shapeOf is that of node i's output, or of the image at -1.
func (net *network) shapeOf(i int) shape {
	if i < 0 {
		return net.image
	}
	return net.nodes[i].shape
}

// place gives gradients their slots, in the order in which backward makes them.
func (net *network) place() {
	last := len(net.nodes) - 1
	net.slot = make([]int, last+2)
	lies := make([]int, last+2) // the slot in which that gradient is, its own or another's; -1: where that at the logits is
	net.slot[last+1], lies[last+1] = -1, -1
	var reads, unused []int // of each slot what is still to be made of it; slots that are free again
	for i := last - 1; i >= -1; i-- {
		if net.slot[i+1] = -1; net.passes(i) {
			lies[i+1] = lies[net.uses[i+1][0]+1]
		} else {
			k := len(net.width)
			if n := len(unused); n > 0 {
				k, unused = unused[n-1], unused[:n-1]
			} else {
				net.width, reads = append(net.width, 0), append(reads, 0)
			}
			net.slot[i+1], lies[i+1] = k, k
			net.width[k] = max(net.width[k], net.shapeOf(i).width)
		}
		if k := lies[i+1]; k >= 0 && i >= 0 {
			reads[k] += len(net.nodes[i].takes)
		}
		for n, j := range net.uses[i+1] {
			if n > 0 && net.nodes[j].makesProduct() {
				net.spareWidth = max(net.spareWidth, net.shapeOf(i).width)
			}
			if k := lies[j+1]; k >= 0 {
				if reads[k]--; reads[k] == 0 {
					unused = append(unused, k)
				}
			}
		}
	}
	net.slots = make([]buffer, len(net.width))
}

// makesProduct reports whether backward ends with a product, which can't be added to what is there.
func (n *node) makesProduct() bool {
	switch l := n.operation.(type) {
	case *linear:
		return true
	case *conv:
		return l.back != nil
	}
	return false
}

// A claim is a buffer and its size in bytes.
type claim struct {
	*buffer
	bytes int
}

// claims lists what a chunk of n rows takes.
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
				continue // y is another's
			}
		}
		all = append(all, claim{nd.y, 4 * n * nd.width})
	}
	for k, w := range net.width {
		all = append(all, claim{&net.slots[k], 4 * n * w})
	}
	all = append(all, claim{&net.columns, 4 * columns}, claim{&net.spare, 4 * n * net.spareWidth})
	if s := net.image; s.pixels > 1 {
		all = append(all, claim{&net.turned[0], 4 * n * s.width}, claim{&net.grad, 4 * n * padded(s.pixels*s.channels)})
	}
	if s := net.shapeOf(len(net.nodes) - 1); s.pixels > 1 {
		all = append(all, claim{&net.turned[1], 4 * n * s.width}, claim{&net.logits, 4 * n * padded(s.pixels*s.channels)})
	}
	return all
}

// plan is how much memory the network takes for images and logits of these padded lengths.
func (net *network) plan(in, out int) plan {
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

// widest is the most floats of an image between two layers.
func (net *network) widest() int {
	n := net.image.width
	for _, nd := range net.nodes {
		n = max(n, nd.width)
	}
	return n
}

// value is what node i gave, or the image at -1.
func (net *network) value(i int) cu.DevicePtr {
	if i < 0 {
		return net.x
	}
	return net.nodes[i].y.DevicePtr
}

// forward returns the logits [n, out] of images x [n, in], valid until the next one.
func (net *network) forward(p *part, x cu.DevicePtr, n int) (cu.DevicePtr, error) {
	if net.x = x; net.image.pixels > 1 {
		net.x = net.turned[0].DevicePtr
		if err := p.turn(net.x, x, net.image, n); err != nil {
			return 0, err
		}
	}
	for i := range net.nodes {
		nd := &net.nodes[i]
		var in []cu.DevicePtr
		for _, j := range nd.takes {
			in = append(in, net.value(j))
		}
		if err := nd.forward(p, nd.y.DevicePtr, in, n); err != nil {
			return 0, err
		}
	}
	last := len(net.nodes) - 1
	if s := net.shapeOf(last); s.pixels > 1 {
		return net.logits.DevicePtr, p.turnBack(net.logits.DevicePtr, net.value(last), s, n)
	}
	return net.value(last), nil
}

// backward returns the gradient [n, in] at the images of the last forward, given dz [n, out] at their logits, valid until the next one. What
// several layers take has the sum of their gradients, by falling layer.
func (net *network) backward(p *part, dz cu.DevicePtr, n int) (cu.DevicePtr, error) {
	last := len(net.nodes) - 1
	grads := make([]cu.DevicePtr, last+2)
	if grads[last+1] = dz; net.shapeOf(last).pixels > 1 {
		grads[last+1] = net.turned[1].DevicePtr
		if err := p.turn(grads[last+1], dz, net.shapeOf(last), n); err != nil {
			return 0, err
		}
	}
	for i := last - 1; i >= -1; i-- {
		var g, to cu.DevicePtr
		if k := net.slot[i+1]; k >= 0 {
			to = net.slots[k].DevicePtr
		}
		for _, j := range net.uses[i+1] {
			nd, dy := &net.nodes[j], grads[j+1]
			if _, ok := nd.operation.(*add); ok && g == 0 {
				g = dy
				continue
			}
			if err := nd.backward(p, to, g, dy, net.value(i), n); err != nil {
				return 0, err
			}
			g = to
		}
		grads[i+1] = g
	}
	if net.image.pixels > 1 {
		return net.grad.DevicePtr, p.turnBack(net.grad.DevicePtr, grads[0], net.image, n)
	}
	return grads[0], nil
}

// turn launches y [n, s.width], as layers take images, of x [n, padded(C·H·W)] as they are loaded. turnBack is the reverse.
func (p *part) turn(y, x cu.DevicePtr, s shape, n int) error {
	return p.transpose(y, x, n, s.channels, s.pixels, s.pixels, padded(s.channels*s.pixels), s.pitch, s.width)
}

func (p *part) turnBack(y, x cu.DevicePtr, s shape, n int) error {
	return p.transpose(y, x, n, s.pixels, s.channels, s.pitch, s.width, s.pixels, padded(s.channels*s.pixels))
}

// transpose launches y = xᵀ for each of the images: see kernels/transpose.cu.
func (p *part) transpose(y, x cu.DevicePtr, images, rows, cols, xPitch, xStride, yPitch, yStride int) error {
	return p.launch("transpose", dim{ceil(yPitch, 32) * ceil(cols, 32), images}, dim{256, 1}, 0, []int{images, rows, cols},
		y, x, int32(rows), int32(cols), int32(xPitch), int32(xStride), int32(yPitch), int32(yStride))
}
