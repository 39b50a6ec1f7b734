//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/batch"
	"advsweep/model"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A network is a model that is no stack, on the device: any layers, one after the other or in a graph. It runs a chunk of
// images, forward and backward, one layer after the other, and keeps every layer's output for the way back.
type network struct {
	image shape
	nodes []node  // of the layers that the logits depend on
	uses  [][]int // [1 + nodes]: those that take the image, those that take the output of node 0, …; rising

	// Of a gradient that only passes an Add on there is no copy; others wait in slots until all that is below has been made of them.
	slot  []int // [1 + nodes]: of the gradient at the image, at the output of node 0, …; -1: none of its own
	width []int // of each slot, in floats a row
	slots []buffer

	columns, pixels buffer       // of one convolution at a time
	spare           buffer       // a Linear's gradient before it is added to others
	spareWidth      int          // floats a row; 0: none is added
	x               cu.DevicePtr // what forward took last
}

// A node is a layer with its output y [rows, width].
type node struct {
	operation
	shape
	takes []int // -1 is the image
	y     buffer
}

// An operation is what a layer does to n images, whose elements lie in rows of a shape's width.
type operation interface {
	// forward launches y for all that the layer takes.
	forward(p *part, y cu.DevicePtr, x []cu.DevicePtr, n int) error
	// backward launches dx = from + the gradient at x, which the layer took, given dy at its output. from may be dx, and 0 for none but of add.
	backward(p *part, dx, from, dy, x cu.DevicePtr, n int) error
}

// A shape is how many elements an image has and how far it is to the next.
type shape struct{ elements, width int }

func newShape(dims []int) shape {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return shape{n, padded(n)}
}

// linear is a Linear layer as a node.
type linear struct{ layer }

func (l *linear) forward(p *part, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return p.affineForward(y, x[0], &l.layer, l.bias, false, n)
}

func (l *linear) backward(p *part, dx, from, dy, _ cu.DevicePtr, n int) error {
	if from == 0 {
		return p.affineBackward(dx, dy, &l.layer, 0, n)
	}
	if err := p.affineBackward(p.net.spare.DevicePtr, dy, &l.layer, 0, n); err != nil {
		return err
	}
	return p.sum(dx, from, p.net.spare.DevicePtr, n*padded(l.in))
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
	// Of all layers only those count that the logits depend on, numbered anew.
	live, number := make([]bool, len(m.Layers)), map[int]int{-1: -1}
	live[len(live)-1] = true
	for i := len(live) - 1; i >= 0; i-- {
		for _, j := range m.Takes(i) {
			if live[i] && j >= 0 {
				live[j] = true
			}
		}
	}
	net := &network{image: newShape(input), uses: make([][]int, 1)}
	for i, l := range m.Layers {
		if !live[i] {
			continue
		}
		n := node{shape: newShape(shapes[i])}
		for _, j := range m.Takes(i) {
			n.takes = append(n.takes, number[j])
			net.uses[number[j]+1] = append(net.uses[number[j]+1], len(net.nodes))
		}
		x := input
		if j := m.Takes(i)[0]; j >= 0 {
			x = shapes[j]
		}
		if n.operation, err = p.newOperation(l, x, shapes[i], product); err != nil {
			return nil, err
		}
		number[i] = len(net.nodes)
		net.nodes, net.uses = append(net.nodes, n), append(net.uses, nil)
	}
	net.place()
	return net, nil
}

// newOperation copies l, which takes x and makes y, to the device.
func (p *part) newOperation(l model.Layer, x, y []int, product string) (operation, error) {
	s := newShape(y)
	switch l := l.(type) {
	case model.Linear:
		a, err := p.newLayer(l, product)
		return &linear{a}, err
	case model.Conv2D:
		return p.newConv(l, x, y, product)
	case model.Scale:
		w, err := p.keep(l.Weight)
		if err != nil {
			return nil, err
		}
		b, err := p.keep(l.Bias)
		return &scale{w, b, s.elements / y[0], s}, err
	case model.MaxPool2D:
		return &maxPool{window: newWindow(x, y, l.Kernel, l.Stride, l.Pad), x: newShape(x), y: s}, nil
	case model.AvgPool2D:
		return &avgPool{newWindow(x, y, l.Kernel, l.Stride, l.Pad), newShape(x), s, l.CountPad}, nil
	case model.ReLU:
		return &activation{"relu", 0, s}, nil
	case model.LeakyReLU:
		return &activation{"leaky_relu", float32(l.Slope), s}, nil
	case model.Sigmoid:
		return &activation{"sigmoid", 0, s}, nil
	case model.Tanh:
		return &activation{"tanh", 0, s}, nil
	case model.GELU:
		if l.Tanh {
			return &activation{"gelu_tanh", 0, s}, nil
		}
		return &activation{"gelu", 0, s}, nil
	case model.Add:
		return &add{s}, nil
	}
	return nil, fmt.Errorf("gpu: no operation for a layer of %T", l)
}

// keep copies t to the device as floats.
func (p *part) keep(t *tensor.Dense) (cu.DevicePtr, error) {
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

// place gives gradients their slots, in the order in which backward makes them.
func (net *network) place() {
	net.slot = make([]int, 1+len(net.nodes))
	owner := make([]int, 1+len(net.nodes)) // of the slot where that gradient lies: -1 is that at the logits, which is not of a slot
	var reads []int                        // of each slot, still to come
	var unused []int
	owner[len(net.nodes)] = -1
	net.slot[len(net.nodes)] = -1
	for i := len(net.nodes) - 2; i >= -1; i-- {
		s := shape{}
		if s = net.image; i >= 0 {
			s = net.nodes[i].shape
		}
		net.slot[i+1] = -1
		if net.passes(i) {
			owner[i+1] = owner[net.uses[i+1][0]+1]
		} else {
			k := len(net.width)
			if n := len(unused); n > 0 {
				k, unused = unused[n-1], unused[:n-1]
			} else {
				net.width, reads = append(net.width, 0), append(reads, 0)
			}
			net.slot[i+1], owner[i+1] = k, k
			net.width[k] = max(net.width[k], s.width)
		}
		if k := owner[i+1]; k >= 0 {
			if i >= 0 {
				reads[k] += len(net.nodes[i].takes)
			} else {
				reads[k]++ // by who asked for it
			}
		}
		for n, j := range net.uses[i+1] {
			if _, ok := net.nodes[j].operation.(*linear); ok && n > 0 {
				net.spareWidth = max(net.spareWidth, s.width)
			}
			if k := owner[j+1]; k >= 0 {
				if reads[k]--; reads[k] == 0 {
					unused = append(unused, k)
				}
			}
		}
	}
	net.slots = make([]buffer, len(net.width))
}

// A claim is a buffer and its size in bytes.
type claim struct {
	*buffer
	bytes int
}

// claims lists what a chunk of n rows takes.
func (net *network) claims(n int) []claim {
	columns, pixels := 0, 0
	var all []claim
	for i := range net.nodes {
		nd := &net.nodes[i]
		all = append(all, claim{&nd.y, 4 * n * nd.width})
		switch l := nd.operation.(type) {
		case *conv:
			columns, pixels = max(columns, l.columns(n)), max(pixels, l.pixels(n))
		case *maxPool:
			all = append(all, claim{&l.place, 4 * n * l.y.width})
		}
	}
	for k, w := range net.width {
		all = append(all, claim{&net.slots[k], 4 * n * w})
	}
	return append(all, claim{&net.columns, 4 * columns}, claim{&net.pixels, 4 * pixels}, claim{&net.spare, 4 * n * net.spareWidth})
}

// plan is how much memory the network takes.
func (net *network) plan() plan {
	in, out := net.image.width, net.nodes[len(net.nodes)-1].width
	p := plan{row: 4*int64(in) + 4 + 1, image: int64(in), scratch: 4*int64(out) + int64(in), least: 1}
	for _, v := range net.claims(1) {
		if v.buffer != &net.columns && v.buffer != &net.pixels {
			p.scratch += int64(v.bytes)
		}
	}
	for _, v := range net.claims(maxRows) {
		if v.buffer == &net.columns || v.buffer == &net.pixels {
			p.fixed += int64(v.bytes)
		}
	}
	return p
}

// widest is the most elements of an image between two layers.
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
	net.x = x
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
	return net.value(len(net.nodes) - 1), nil
}

// backward returns the gradient [n, in] at the images of the last forward, given dz at their logits, valid until the next one. What several
// layers take has the sum of their gradients, by rising layer.
func (net *network) backward(p *part, dz cu.DevicePtr, n int) (cu.DevicePtr, error) {
	grads := make([]cu.DevicePtr, 1+len(net.nodes))
	grads[len(net.nodes)] = dz
	for i := len(net.nodes) - 2; i >= -1; i-- {
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
	return grads[0], nil
}
