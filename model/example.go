package model

import (
	"fmt"
	"slices"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// An Example is a layer with what it takes. The rows of the tables of kinds give them, so that the
// suite of backends, the tests of the float64 truth and fingerprints have every kind of layer
// without a list of their own. The examples of a kind that came after the first fingerprints are in
// fingerprints (pipeline.Fingerprint): a change of those, or of how they are made, changes them.
type Example struct {
	// Layer is the layer, with weights if it has any. The last number of each thing that it takes
	// counts in some number that it gives: a NaN there may not be lost.
	Layer Layer
	// In are the shapes of all that it takes, all [I], or all [C, H, W] of one H and W or of 1
	// there. An elementwise function takes any: nil stands for [2, 2, 3]. It is empty for a layer
	// that takes nothing.
	In [][]int
	// Positive says that the layer takes numbers above 0 alone.
	Positive bool
	// From Lo to Hi the derivative of an elementwise function is neither 0 nor too small for a
	// normal number of float32. Both are 0 where nobody looks at that.
	Lo, Hi float64
}

// Examples returns those of all kinds that a Model may hold, in the order of the tables. Weights
// are new at each call.
func Examples() []Example {
	var all []Example
	for _, k := range allKinds {
		if k.layer == nil {
			continue
		}
		for _, e := range k.examples() {
			if least, _ := e.Layer.Arity(); e.In == nil && least > 0 {
				e.In = [][]int{{2, 2, 3}}
			}
			all = append(all, e)
		}
	}
	return all
}

// exampleClasses is enough for every loss.
const exampleClasses = 5

// Model returns a small model with the layer between others, so that gradients come to it and go on
// from it: all that it takes comes from the image through a convolution of one pixel or a Linear,
// and a Linear makes the logits.
func (e Example) Model() *Model {
	m := &Model{Input: e.Image()}
	at := e.Add(m, -1, func(name string, out int) Layer {
		if len(m.Input) == 1 {
			w, b := exampleWeights(out, m.Input[0])
			return Linear{Name: name, Weight: w, Bias: b}
		}
		w, b := exampleWeights(out, m.Input[0], 1, 1)
		return Conv2D{Name: name, Weight: w, Bias: b, Stride: [2]int{1, 1}}
	})
	shapes, err := m.Shapes()
	if err != nil {
		panic("model: example: " + err.Error())
	}
	w, b := exampleWeights(exampleClasses, formats.Volume(shapes[at]))
	m.Layers, m.From = append(m.Layers, Linear{Name: "out", Weight: w, Bias: b}), append(m.From, []int{at})
	return m
}

// Image returns the shape of an image from which a convolution of one pixel, or a Linear, and a
// pool make all that the layer takes: that of the first thing that it takes, as large as the
// largest. For a layer that takes nothing it is the shape that the layer gives.
func (e Example) Image() []int {
	if len(e.In) == 0 {
		shape, err := e.Layer.Shape(nil)
		if err != nil {
			panic("model: example: " + err.Error())
		}
		return shape
	}
	image := slices.Clone(e.In[0])
	for _, in := range e.In {
		for d := 1; d < len(in); d++ {
			image[d] = max(image[d], in[d])
		}
	}
	return image
}

// Add appends to m the layer and all that brings it what it takes, made from the output of layer
// from, which has the H and W of Image. It returns the place of the layer, or of an Add of its
// numbers and others for one that takes nothing. feed returns a convolution of one pixel, or a
// Linear, of that name which gives so many channels.
func (e Example) Add(m *Model, from int, feed func(name string, out int) Layer) int {
	add := func(l Layer, from ...int) int {
		m.Layers, m.From = append(m.Layers, l), append(m.From, from)
		return len(m.Layers) - 1
	}
	image := e.Image()
	if len(e.In) == 0 {
		x := add(feed("in1", image[0]), from)
		return add(Add{}, x, add(e.Layer))
	}
	var takes []int
	for i, in := range e.In {
		at := add(feed(fmt.Sprint("in", i+1), in[0]), from)
		if kernel := [2]int{1, 1}; len(in) == 3 {
			for d := range kernel {
				if in[1+d] < image[1+d] {
					kernel[d] = image[1+d]
				}
			}
			if kernel != [2]int{1, 1} {
				at = add(AvgPool2D{Kernel: kernel, Stride: [2]int{1, 1}}, at)
			}
		}
		if e.Positive {
			at = add(Sigmoid{}, at)
		}
		takes = append(takes, at)
	}
	return add(e.Layer, takes...)
}

// each returns a function that returns the examples.
func each(all ...Example) func() []Example { return func() []Example { return all } }

// exampleWeights returns a weight of a shape and a bias for each of its first dimension: multiples
// of 1/256 from -100/256 to 100/256 that no two neighbours have alike.
func exampleWeights(shape ...int) (w, bias *tensor.Dense) {
	draw := func(step, n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32((i*step+13)%201-100) / 256
		}
		return v
	}
	return formats.Dense(draw(37, formats.Volume(shape)), shape...), formats.Dense(draw(59, shape[0]), shape[0])
}

func linearExamples() []Example {
	w, b := exampleWeights(7, 18)
	l := Linear{Name: "linear", Weight: w, Bias: b}
	return []Example{{Layer: l, In: [][]int{{18}}}, {Layer: l, In: [][]int{{3, 2, 3}}}}
}

// convExamples have windows that overlap, leave out nothing, and reach over each edge.
func convExamples() []Example {
	conv := func(in, out, kh, kw int, stride [2]int, pad [4]int) Conv2D {
		w, b := exampleWeights(out, in, kh, kw)
		return Conv2D{Name: "conv", Weight: w, Bias: b, Stride: stride, Pad: pad}
	}
	return []Example{
		// back by windows
		{Layer: conv(9, 11, 3, 3, [2]int{1, 1}, [4]int{1, 1, 1, 1}), In: [][]int{{9, 4, 5}}},
		{Layer: conv(3, 5, 3, 2, [2]int{2, 1}, [4]int{2, 0, 1, 3}), In: [][]int{{3, 5, 4}}},
		grouped(conv(3, 6, 3, 3, [2]int{1, 1}, [4]int{1, 1, 1, 1}), 2, [2]int{}, 4, 5),
		// by channel
		grouped(conv(1, 9, 3, 2, [2]int{2, 1}, [4]int{2, 0, 1, 3}), 9, [2]int{}, 5, 4),
		// two filters a channel
		grouped(conv(1, 6, 2, 3, [2]int{1, 1}, [4]int{0, 1, 1, 0}), 3, [2]int{}, 4, 4),
		// holes in windows
		grouped(conv(4, 3, 2, 3, [2]int{1, 2}, [4]int{2, 1, 0, 2}), 1, [2]int{3, 2}, 5, 6),
		// both
		grouped(conv(1, 17, 3, 3, [2]int{1, 1}, [4]int{2, 2, 2, 2}), 17, [2]int{2, 2}, 5, 6),
	}
}

// grouped returns an example of l with groups and dilation, on images of h rows and w columns.
func grouped(l Conv2D, groups int, dilation [2]int, h, w int) Example {
	l.Groups, l.Dilation = groups, dilation
	return Example{Layer: l, In: [][]int{{l.Weight.Shape()[1] * groups, h, w}}}
}

func scaleExamples() []Example {
	w, b := exampleWeights(3)
	l := Scale{Name: "scale", Weight: w, Bias: b}
	return []Example{{Layer: l, In: [][]int{{3, 2, 3}}}, {Layer: l, In: [][]int{{3}}}}
}

func maxPoolExamples() []Example {
	return []Example{
		{Layer: MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, In: [][]int{{3, 4, 6}}},
		{Layer: MaxPool2D{Kernel: [2]int{3, 2}, Stride: [2]int{1, 1}, Pad: [4]int{2, 0, 1, 1}}, In: [][]int{{2, 4, 5}}},
		{Layer: MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 2}, Pad: [4]int{1, 0, 0, 1}, Dilation: [2]int{2, 3}}, In: [][]int{{3, 4, 6}}},
	}
}

func avgPoolExamples() []Example {
	l := AvgPool2D{Kernel: [2]int{2, 3}, Stride: [2]int{1, 2}, Pad: [4]int{1, 2, 0, 1}}
	counted := l
	counted.CountPad = true
	return []Example{{Layer: l, In: [][]int{{2, 4, 5}}}, {Layer: counted, In: [][]int{{2, 4, 5}}}}
}

func addExamples() []Example {
	return []Example{
		{Layer: Add{}, In: [][]int{{2, 3, 4}, {2, 3, 4}}},
		{Layer: Add{}, In: [][]int{{6}, {6}, {6}}},
		{Layer: Add{}, In: [][]int{{3, 2, 1}, {3, 1, 3}}},
	}
}
