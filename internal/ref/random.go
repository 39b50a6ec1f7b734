package ref

import (
	"fmt"
	"math"
	"math/rand/v2"

	"advsweep/model"

	"gorgonia.org/tensor"
)

// RandomModel returns an MLP of the given sizes. Its weights are normal with variance scale²·2/in,
// so that activations keep their size at scale 1.
func RandomModel(r *rand.Rand, scale float64, sizes ...int) *model.Model {
	m := model.MLP(sizes...)
	for _, l := range m.Layers {
		if l, ok := l.(model.Linear); ok {
			sd := scale * math.Sqrt(2/float64(l.Weight.Shape()[1]))
			for _, w := range [][]float32{l.Weight.Data().([]float32), l.Bias.Data().([]float32)} {
				for i := range w {
					w[i] = float32(r.NormFloat64() * sd)
				}
			}
		}
	}
	return m
}

// RandomNetwork returns a small model of layers, drawn from r. It may have convolutions with
// strides and padding, pools that overlap and reach over the edge, residual connections, any
// activation first or twice in a row, a Scale first or within, and Linear after Linear. Weights are
// of both types. It is no MLP, and has 4 to 7 classes.
func RandomNetwork(r *rand.Rand) *model.Model {
	n := network{r: r, m: &model.Model{}}
	if r.IntN(5) == 0 {
		n.shape = []int{1 + r.IntN(20)}
	} else {
		n.shape = []int{1 + r.IntN(3), 3 + r.IntN(6), 3 + r.IntN(6)}
	}
	n.m.Input = n.shape
	switch r.IntN(4) {
	case 0, 1:
		n.add(n.scale())
	case 2:
		n.add(n.activation())
	}
	for range 1 + r.IntN(3) {
		if len(n.shape) < 3 {
			break
		}
		switch r.IntN(6) {
		case 0, 1:
			n.add(n.conv(1 + r.IntN(4)))
			n.add(n.activation())
		case 2:
			n.residual()
		case 3:
			n.add(n.pool())
		case 4:
			n.add(n.scale())
			n.add(n.activation())
		case 5:
			n.add(n.conv(1 + r.IntN(9)))
		}
	}
	if len(n.shape) == 3 && r.IntN(3) == 0 { // the global average
		n.add(model.AvgPool2D{Kernel: [2]int{n.shape[1], n.shape[2]}, Stride: [2]int{1, 1}})
	}
	if r.IntN(2) == 0 {
		n.add(n.linear(2 + r.IntN(20)))
		if r.IntN(4) > 0 {
			n.add(n.activation())
		}
	}
	if len(n.shape) == 1 && r.IntN(4) == 0 { // two ways side by side, of which one is longer
		from := n.last()
		w := size(n.shape)
		n.add(n.linear(w))
		n.add(n.activation())
		n.add(model.Add{}, n.last(), from)
	}
	n.add(n.linear(4 + r.IntN(4)))
	if r.IntN(6) == 0 { // logits may be the output of any layer
		n.add(n.scale())
	}
	plain := true
	for i, from := range n.m.From {
		plain = plain && len(from) == 1 && from[0] == i-1
	}
	if plain && r.IntN(2) == 0 {
		n.m.From = nil
	}
	if n.m.IsMLP() {
		return RandomNetwork(r)
	}
	return n.m
}

// A network is a model while it is made.
type network struct {
	r     *rand.Rand
	m     *model.Model
	shape []int // of what comes last
}

// last is the layer that comes last.
func (n *network) last() int { return len(n.m.Layers) - 1 }

// add appends l, which takes what comes last or the layers that are told.
func (n *network) add(l model.Layer, from ...int) {
	if from == nil {
		from = []int{n.last()}
	}
	n.m.Layers, n.m.From = append(n.m.Layers, l), append(n.m.From, from)
	shapes, err := n.m.Shapes()
	if err != nil {
		panic("ref: " + err.Error())
	}
	n.shape = shapes[n.last()]
}

// name numbers layers with weights as they come.
func (n *network) name(kind string) string { return fmt.Sprint(kind, len(n.m.Layers)) }

// weights draws a weight of a shape, whose variance is 2/in, and a bias.
func (n *network) weights(in int, shape ...int) (w, b *tensor.Dense) {
	double := n.r.IntN(4) == 0
	draw := func(mean, sd float64, shape ...int) *tensor.Dense {
		values := make([]float64, size(shape))
		for i := range values {
			values[i] = mean + sd*n.r.NormFloat64()
		}
		if double {
			return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
		}
		single := make([]float32, len(values))
		for i, v := range values {
			single[i] = float32(v)
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(single))
	}
	if in == 0 { // of a Scale
		return draw(1, 0.5, shape...), draw(0, 0.3, shape...)
	}
	return draw(0, math.Sqrt(2/float64(in)), shape...), draw(0, 0.1, shape[0])
}

func (n *network) linear(out int) model.Layer {
	in := size(n.shape)
	w, b := n.weights(in, out, in)
	return model.Linear{Name: n.name("fc"), Weight: w, Bias: b}
}

func (n *network) scale() model.Layer {
	w, b := n.weights(0, n.shape[0])
	return model.Scale{Name: n.name("scale"), Weight: w, Bias: b}
}

func (n *network) conv(out int) model.Layer {
	l := model.Conv2D{Name: n.name("conv")}
	var kernel [2]int
	for d := range 2 {
		kernel[d] = 1 + n.r.IntN(min(1+n.r.IntN(5), n.shape[1+d]))
		l.Stride[d] = 1 + n.r.IntN(2)*n.r.IntN(3)
		l.Pad[d], l.Pad[2+d] = n.r.IntN(3), n.r.IntN(3)
		if n.r.IntN(2) == 0 { // as most are
			l.Stride[d], l.Pad[d], l.Pad[2+d] = 1, kernel[d]/2, kernel[d]/2
		}
	}
	l.Weight, l.Bias = n.weights(n.shape[0]*kernel[0]*kernel[1], out, n.shape[0], kernel[0], kernel[1])
	return l
}

func (n *network) pool() model.Layer {
	var kernel, stride [2]int
	var pad [4]int
	for d := range 2 {
		kernel[d] = 1 + n.r.IntN(min(3, n.shape[1+d]))
		stride[d] = 1 + n.r.IntN(3)
		pad[d], pad[2+d] = n.r.IntN(kernel[d]), n.r.IntN(kernel[d])
	}
	switch n.r.IntN(4) {
	case 0:
		return model.AvgPool2D{Kernel: kernel, Stride: stride, Pad: pad}
	case 1:
		return model.AvgPool2D{Kernel: kernel, Stride: stride, Pad: pad, CountPad: true}
	}
	return model.MaxPool2D{Kernel: kernel, Stride: stride, Pad: pad}
}

// activation is one of the common elementwise functions, ReLU three times as often as another. The
// list stays as it is, since seeds of tests draw from it.
func (n *network) activation() model.Layer {
	all := []model.Layer{
		model.ReLU{}, model.ReLU{}, model.ReLU{}, model.LeakyReLU{Slope: 0.1}, model.LeakyReLU{Slope: -0.5},
		model.Sigmoid{}, model.Tanh{}, model.GELU{}, model.GELU{Tanh: true},
	}
	return all[n.r.IntN(len(all))]
}

// residual adds the output of two convolutions to what came before. That is taken as it is, or
// through a convolution of one pixel.
func (n *network) residual() {
	from, in := n.last(), n.shape
	same := func(out int) model.Layer {
		w, b := n.weights(9*n.shape[0], out, n.shape[0], 3, 3)
		return model.Conv2D{Name: n.name("conv"), Weight: w, Bias: b, Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}}
	}
	out := in[0]
	if n.r.IntN(2) == 0 {
		out = 1 + n.r.IntN(4)
	}
	n.add(same(out))
	n.add(n.activation())
	n.add(same(out))
	way := n.last()
	if out != in[0] {
		w, b := n.weights(in[0], out, in[0], 1, 1)
		n.add(model.Conv2D{Name: n.name("conv"), Weight: w, Bias: b, Stride: [2]int{1, 1}}, from)
		from = n.last()
	}
	n.add(model.Add{}, way, from)
	n.add(n.activation())
}
