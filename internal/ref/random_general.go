package ref

import (
	"math"
	"math/rand/v2"

	"advsweep/model"

	"gorgonia.org/tensor"
)

// RandomGeneral returns a small model with the layers of general tensors, drawn from r:
// convolutions in groups and with dilation, gates by channel, attention, layer normalisation,
// arrangements, constants, and all elementwise functions that keep numbers small. Seeds of tests
// draw from RandomNetwork, so that new layers are here. It has 4 to 7 classes.
func RandomGeneral(r *rand.Rand) *model.Model {
	n := network{r: r, m: &model.Model{}}
	n.shape = []int{2 * (1 + r.IntN(3)), 2 + r.IntN(4), 2 + r.IntN(4)}
	n.m.Input = n.shape
	blocks := []func(){n.grouped, n.gate, n.attention, n.normalisation, n.arrangement, n.position, n.choice, n.holes, func() { n.add(n.function()) }}
	for range 2 + r.IntN(4) {
		blocks[r.IntN(len(blocks))]()
	}
	if r.IntN(3) == 0 {
		n.add(model.Reduce{By: model.Reductions[r.IntN(len(model.Reductions))]})
	}
	n.add(n.linear(4 + r.IntN(4)))
	if r.IntN(6) == 0 {
		n.add(model.Softmax{})
	}
	return n.m
}

// function is one of all elementwise functions that make no large number of one up to 4.
func (n *network) function() model.Layer {
	var all []model.Layer
	for _, e := range model.Examples() {
		if l, ok := e.Layer.(model.Elementwise); ok && !e.Positive && math.Abs(l.Value(4)) <= 8 && math.Abs(l.Value(-4)) <= 8 {
			all = append(all, l)
		}
	}
	return all[n.r.IntN(len(all))]
}

// pixelwise is a convolution of one pixel.
func (n *network) pixelwise(in, out int) model.Layer {
	w, b := n.weights(in, out, in, 1, 1)
	return model.Conv2D{Name: n.name("conv"), Weight: w, Bias: b, Stride: [2]int{1, 1}}
}

// grouped is a convolution with groups, dilation or both, and a function.
func (n *network) grouped() {
	channels := n.shape[0]
	groups := []int{1, 2, channels}[n.r.IntN(3)]
	if channels%groups != 0 {
		groups = 1
	}
	l := model.Conv2D{Name: n.name("conv"), Groups: groups, Stride: [2]int{1, 1}}
	var kernel [2]int
	for d := range 2 {
		kernel[d], l.Dilation[d] = 1+n.r.IntN(3), 1+n.r.IntN(2)
		reach := (kernel[d] - 1) * l.Dilation[d]
		l.Pad[d], l.Pad[2+d] = (reach+1)/2+n.r.IntN(2), reach/2
		if l.Pad[d]+l.Pad[2+d]+n.shape[1+d] > 3 {
			l.Stride[d] += n.r.IntN(2)
		}
	}
	depth := channels / groups
	out := groups * (1 + n.r.IntN(2))
	if out%2 == 1 {
		out *= 2
	}
	l.Weight, l.Bias = n.weights(depth*kernel[0]*kernel[1], out, depth, kernel[0], kernel[1])
	n.add(l)
	n.add(n.function())
}

// gate multiplies each channel by a function of the means of all.
func (n *network) gate() {
	from, in := n.last(), n.shape
	n.add(model.AvgPool2D{Kernel: [2]int{in[1], in[2]}, Stride: [2]int{1, 1}})
	n.add(n.pixelwise(in[0], in[0]))
	n.add([]model.Layer{model.Sigmoid{}, model.Clip{Lo: 0, Hi: 1}}[n.r.IntN(2)])
	n.add(model.Mul{}, [][]int{{from, n.last()}, {n.last(), from}}[n.r.IntN(2)]...)
}

// attention has a head for each row of the image, and the columns as tokens.
func (n *network) attention() {
	from, in := n.last(), n.shape
	keys := 1 + n.r.IntN(4)
	n.add(n.pixelwise(in[0], keys), from)
	query := n.last()
	n.add(n.pixelwise(in[0], keys), from)
	key := n.last()
	n.add(n.pixelwise(in[0], in[0]), from)
	value := n.last()
	n.add(model.MatMul{Transpose: true}, query, key)
	n.add(model.Softmax{})
	n.add(model.MatMul{}, n.last(), value)
	n.add(model.Add{}, n.last(), from)
}

// constant returns the same number everywhere, or drawn ones.
func (n *network) constant(v float64, shape ...int) model.Layer {
	values := make([]float32, size(shape))
	for i := range values {
		if values[i] = float32(v); v == 0 {
			values[i] = float32(n.r.NormFloat64() / 2)
		}
	}
	return model.Constant{Name: n.name("constant"), Value: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))}
}

// normalisation takes from each pixel the mean of its channels, and divides by their deviation.
func (n *network) normalisation() {
	from := n.last()
	n.add(model.Reduce{By: "mean"})
	n.add(model.Sub{}, from, n.last())
	centred := n.last()
	if n.r.IntN(2) == 0 {
		n.add(model.Mul{}, centred, centred)
	} else {
		n.add(model.Pow{Power: 2})
	}
	n.add(model.Reduce{By: "mean"})
	variance := n.last()
	n.add(n.constant(0.125, 1, 1, 1), []int{}...)
	n.add(model.Add{}, variance, n.last())
	if n.r.IntN(2) == 0 {
		n.add(model.Pow{Power: -0.5})
		n.add(model.Mul{}, centred, n.last())
	} else {
		n.add(model.Plain{Of: "sqrt"})
		n.add(model.Div{}, centred, n.last())
	}
}

// arrangement turns rows and columns around, or puts another value behind, with a channel of zeros,
// and shuffles all channels.
func (n *network) arrangement() {
	from, in := n.last(), n.shape
	pixels := in[1] * in[2]
	if n.r.IntN(2) == 0 {
		l := model.Arrange{Dims: []int{in[0], in[2], in[1]}}
		for o := range size(in) {
			c, w, h := o/pixels, o/in[1]%in[2], o%in[1]
			l.Index = append(l.Index, int32((c*in[1]+h)*in[2]+w))
		}
		n.add(l)
		return
	}
	n.add(n.pixelwise(in[0], 1))
	l := model.Arrange{Dims: []int{in[0] + 2, in[1], in[2]}}
	for _, c := range n.r.Perm(in[0] + 2) {
		for p := range pixels {
			i := c*pixels + p
			if c == in[0]+1 {
				i = -1
			}
			l.Index = append(l.Index, int32(i))
		}
	}
	n.add(l, from, n.last())
}

// position adds a constant by pixel, by channel, or of all shapes, after a function of it.
func (n *network) position() {
	from, in := n.last(), n.shape
	shape := [][]int{{in[0], in[1], in[2]}, {1, in[1], in[2]}, {in[0], 1, 1}}[n.r.IntN(3)]
	n.add(n.constant(0, shape...), []int{}...)
	if n.r.IntN(2) == 0 {
		n.add(model.Tanh{})
	}
	n.add(model.Add{}, from, n.last())
}

// choice is the larger or the smaller of two values, of which one may be taken along the other.
func (n *network) choice() {
	from, in := n.last(), n.shape
	n.add(n.pixelwise(in[0], []int{1, in[0]}[n.r.IntN(2)]))
	n.add([]model.Layer{model.Max{}, model.Min{}}[n.r.IntN(2)], from, n.last())
}

// holes is a max-pool whose places lie apart.
func (n *network) holes() {
	if min(n.shape[1], n.shape[2]) < 3 {
		return
	}
	n.add(model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}, Dilation: [2]int{2, 1 + n.r.IntN(2)}})
}
