package ref

import (
	"fmt"
	"slices"

	"advsweep/model"
)

// An operation is what a layer does to one image.
type operation interface {
	// forward returns the output for all that the layer takes.
	forward(in [][]float64) []float64
	// backward returns the gradient at in[arg] for d at the output, in being all that the layer
	// takes. A value that the layer takes twice has the sum of both gradients.
	backward(d []float64, in [][]float64, arg int) []float64
	boundForward(in [][]Value, a Rounding) []Value
	boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value
}

// layers returns the operations of m, which must be valid.
func layers(m *model.Model) []operation {
	shapes, err := m.Shapes()
	if err != nil {
		panic("ref: " + err.Error())
	}
	input := m.Input
	if input == nil {
		input = []int{m.Inputs()}
	}
	all := make([]operation, len(m.Layers))
	for i, l := range m.Layers {
		var in [][]int // none for a layer that takes nothing
		for _, j := range m.Takes(i) {
			if j < 0 {
				in = append(in, input)
			} else {
				in = append(in, shapes[j])
			}
		}
		all[i] = operationOf(i, l, in, shapes[i])
	}
	return all
}

// operationOf returns the operation of layer i, which takes values of shapes in and gives one of
// shape out. It panics, naming the layer, if there is none.
func operationOf(i int, l model.Layer, in [][]int, out []int) operation {
	switch l := l.(type) {
	case model.Linear:
		return linear(l)
	case model.Conv2D:
		return conv2D(l, in[0], out)
	case model.Scale:
		return scale(l, in[0])
	case model.AvgPool2D:
		return avgPool2D(l, in[0], out)
	case model.Add:
		if len(in) == 2 && !slices.Equal(in[0], in[1]) {
			return pairwiseOf("add", l, in, out)
		}
		return affine{bias: make([]float64, size(out)), row: func(o int, f func(int, float64)) { f(o, 1) }}
	case model.MaxPool2D:
		return maxPool{windows(in[0], out, l.Kernel, l.Stride, l.Dilation, l.Pad)}
	case model.Elementwise:
		return activationOf(l)
	case model.Pairwise:
		return pairwiseOf(l.Pair(), l, in, out)
	case model.Constant:
		return constant{Float64s(l.Value)}
	case model.Arrange:
		return newArrange(l, in)
	case model.Reduce:
		return reduceOf(l, in[0], out)
	case model.Softmax:
		return softmax{channels(in[0])}
	case model.MatMul:
		return matMul(l, in, out)
	}
	panic(fmt.Sprintf("ref: no operation for layer %d, %T (%s)", i, l, l.Kind()))
}

// affine is y = W·x + b. For several x it is the sum of the products, with b once. row calls f(i,
// w) for each element of row o of W, but for those that are 0 by the layer's form.
type affine struct {
	bias    []float64
	row     func(o int, f func(i int, w float64))
	product bool // a backend may take it to be a matrix product
	tiles   bool // and may compute it by tiles
}

func (l affine) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.bias))
	for o := range z {
		sum := l.bias[o]
		l.row(o, func(i int, w float64) {
			for _, x := range in {
				sum += w * x[i]
			}
		})
		z[o] = sum
	}
	return z
}

func (l affine) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	for o, d := range d {
		l.row(o, func(i int, w float64) { dx[i] += w * d })
	}
	return dx
}

func linear(l model.Linear) affine {
	w, b := Float64s(l.Weight), Float64s(l.Bias)
	in := len(w) / len(b)
	return affine{bias: b, product: true, row: func(o int, f func(int, float64)) {
		for i, w := range w[o*in:][:in] {
			f(i, w)
		}
	}}
}

func conv2D(l model.Conv2D, in, out []int) affine {
	w, b := Float64s(l.Weight), Float64s(l.Bias)
	depth, kh, kw := l.Weight.Shape()[1], l.Weight.Shape()[2], l.Weight.Shape()[3]
	filters := out[0] / max(1, l.Groups) // of a group
	far := apart(l.Dilation)
	bias := make([]float64, size(out))
	for o := range bias {
		bias[o] = b[o/(out[1]*out[2])]
	}
	side := kh == 3 && kw == 3 && l.Stride == [2]int{1, 1} && far == [2]int{1, 1} // by side
	return affine{bias: bias, product: true, tiles: side && min(depth, out[0]) >= 16, row: func(o int, f func(int, float64)) {
		filter, r, c := o/(out[1]*out[2]), o/out[2]%out[1], o%out[2]
		for ch := range depth {
			for u := range kh {
				for v := range kw {
					y, x := r*l.Stride[0]+u*far[0]-l.Pad[0], c*l.Stride[1]+v*far[1]-l.Pad[1]
					if y >= 0 && y < in[1] && x >= 0 && x < in[2] {
						f(((filter/filters*depth+ch)*in[1]+y)*in[2]+x, w[((filter*depth+ch)*kh+u)*kw+v])
					}
				}
			}
		}
	}}
}

// apart returns how far the places of a window lie apart: 0 stands for 1.
func apart(dilation [2]int) [2]int { return [2]int{max(1, dilation[0]), max(1, dilation[1])} }

func scale(l model.Scale, in []int) affine {
	w, b := Float64s(l.Weight), Float64s(l.Bias)
	each := size(in) / in[0]
	bias := make([]float64, size(in))
	for o := range bias {
		bias[o] = b[o/each]
	}
	return affine{bias: bias, row: func(o int, f func(int, float64)) { f(o, w[o/each]) }}
}

func avgPool2D(l model.AvgPool2D, in, out []int) affine {
	all := windows(in, out, l.Kernel, l.Stride, [2]int{}, l.Pad)
	return affine{bias: make([]float64, size(out)), row: func(o int, f func(int, float64)) {
		n := len(all[o])
		// What the window covers of the padded image, which is all of the window.
		if l.CountPad {
			n = l.Kernel[0] * l.Kernel[1]
		}
		for _, i := range all[o] {
			f(i, 1/float64(n))
		}
	}}
}

// windows returns, for each element of a pool's output, the elements of its input that it takes,
// row by row.
func windows(in, out []int, kernel, stride, dilation [2]int, pad [4]int) [][]int {
	var all [][]int
	far := apart(dilation)
	for ch := range out[0] {
		for r := range out[1] {
			for c := range out[2] {
				var window []int
				for u := range kernel[0] {
					for v := range kernel[1] {
						y, x := r*stride[0]+u*far[0]-pad[0], c*stride[1]+v*far[1]-pad[1]
						if y >= 0 && y < in[1] && x >= 0 && x < in[2] {
							window = append(window, (ch*in[1]+y)*in[2]+x)
						}
					}
				}
				all = append(all, window)
			}
		}
	}
	return all
}

// maxPool takes the first largest of each window.
type maxPool struct{ windows [][]int }

func (l maxPool) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.windows))
	for o, w := range l.windows {
		z[o] = in[0][first(w, in[0])]
	}
	return z
}

func (l maxPool) backward(d []float64, in [][]float64, arg int) []float64 {
	x := in[arg]
	dx := make([]float64, len(x))
	for o, w := range l.windows {
		dx[first(w, x)] += d[o]
	}
	return dx
}

// first returns which of the places has the first largest of x.
func first(places []int, x []float64) int {
	best := places[0]
	for _, i := range places {
		if x[i] > x[best] {
			best = i
		}
	}
	return best
}

func size(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}
