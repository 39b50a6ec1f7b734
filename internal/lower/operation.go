package lower

import (
	"fmt"

	"advsweep/model"

	"gorgonia.org/tensor"
)

// An Operation is what an Op does: a *Linear, *Convolution, Scale, MaxPool, AvgPool, Elementwise,
// Add, Pairwise, Constant, *Arrange, Reduce, Softmax or MatMul. A backend has a switch over these
// types. The switch ends in an error that names the type.
type Operation any

// A Linear is y = x·Wᵀ + b.
type Linear struct {
	Weight *tensor.Dense // [out, in], with columns in the order [H, W, C] of what it takes
	Bias   *tensor.Dense // [out]
}

// A Scale is x·w_c + b_c for a number x of channel c.
type Scale struct{ Weight, Bias *tensor.Dense } // [C]

// A MaxPool is model.MaxPool2D.
type MaxPool struct{ Unfold }

// An AvgPool is model.AvgPool2D.
type AvgPool struct {
	Unfold
	CountPad bool
}

// An Elementwise applies the function of this name to each number, see model.Elementwise.
type Elementwise struct {
	Name       string
	Parameters [2]float64
}

// An Add is the sum of all that it takes, in their order. All have one shape.
type Add struct{}

// A Pairwise applies the function of this name to each pair of numbers of the two values that it
// takes, see model.Pairwise: "add", "sub", "mul", "div", "max" or "min". A dimension in which one
// value has 1 and the other more is taken again along the other. The gradient at such a value is a
// sum over the dimensions that it is taken along: a sum from 0, in rising order of the output's
// numbers as [H, W, C].
type Pairwise struct{ Name string }

// A Constant gives Value [Out], in the order [H, W, C], for every image.
type Constant struct{ Value *tensor.Dense }

// An Arrange gives, as number o of its output [H, W, C], number Index[o] of all that it takes: of
// value Takes[From[o]], as [H, W, C]. A From of -1 stands for 0. The gradient at a number is a sum
// from 0 in rising order of o.
type Arrange struct {
	From  []int32 // which of Takes; -1 for a 0; nil: all of Takes[0]
	Index []int32 // the place in that value
	// Once has, by what it takes, whether each number of it is given at most once, so that the
	// gradient is no sum.
	Once []bool
}

// A Reduce makes one number of the channels of each pixel, see model.Reduce: "sum", "mean", "max"
// or "logsumexp". A sum runs from 0 in rising order of channels. A mean is a sum divided by the
// number of channels.
type Reduce struct{ By string }

// A Softmax is exp(x_c)/Σ exp(x_k) over the channels of each pixel.
type Softmax struct{}

// A MatMul is a product of two matrices for each H, see model.MatMul. A row of a matrix is a
// pixel's channels. The sum of a number runs in rising order of its terms.
type MatMul struct {
	Transpose bool // the second matrix
	A, B      Shape
}

// operation returns what l does to values of shapes in. The result has shape out. Tiles have one of
// the forms. It returns an error that names the type of l if there is no such operation.
func operation(l model.Layer, in []Shape, out Shape, forms []*Tile) (Operation, error) {
	switch l := l.(type) {
	case model.Linear:
		w, err := weightNHWC(l.Weight, in[0])
		return &Linear{w, l.Bias}, err
	case model.Conv2D:
		return newConvolution(l, in[0], out, forms), nil
	case model.Scale:
		return Scale{l.Weight, l.Bias}, nil
	case model.MaxPool2D:
		return MaxPool{newUnfold(in[0], out, l.Kernel, l.Stride, l.Pad, l.Dilation, 1)}, nil
	case model.AvgPool2D:
		return AvgPool{newUnfold(in[0], out, l.Kernel, l.Stride, l.Pad, [2]int{}, 1), l.CountPad}, nil
	case model.Add:
		if len(in) == 2 && in[0] != in[1] {
			return Pairwise{"add"}, nil
		}
		return Add{}, nil
	case model.Elementwise:
		name, parameters := l.Function()
		return Elementwise{name, parameters}, nil
	case model.Pairwise:
		return Pairwise{l.Pair()}, nil
	case model.Constant:
		v, err := nhwc(l.Value, []int{1, out.Size()}, out)
		return Constant{v}, err
	case model.Arrange:
		return newArrange(l, in, out), nil
	case model.Reduce:
		return Reduce{l.By}, nil
	case model.Softmax:
		return Softmax{}, nil
	case model.MatMul:
		return MatMul{l.Transpose, in[0], in[1]}, nil
	}
	return nil, fmt.Errorf("no operation for a layer of %T", l)
}

// weightNHWC returns the weights w [out, in] of a layer that takes s, with columns in NHWC order.
func weightNHWC(w *tensor.Dense, s Shape) (*tensor.Dense, error) {
	if !s.Reordered() {
		return w, nil
	}
	return nhwc(w, w.Shape(), s)
}

// nhwc copies w, of a shape [rows, size of s], with columns in the order [H, W, C] of s.
func nhwc(w *tensor.Dense, shape []int, s Shape) (*tensor.Dense, error) {
	switch data := w.Data().(type) {
	case []float32:
		return reordered(data, shape, s), nil
	case []float64:
		return reordered(data, shape, s), nil
	}
	return nil, fmt.Errorf("weights of %v, want float32 or float64", w.Dtype())
}

// reordered copies w, of a shape [out, in], with columns in the order [H, W, C] of s.
func reordered[E float32 | float64](w []E, shape []int, s Shape) *tensor.Dense {
	out := make([]E, len(w))
	for o := range shape[0] {
		ToNHWC(out[o*s.Size():][:s.Size()], w[o*s.Size():], s)
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(out))
}

// newArrange is l with all places in the order [H, W, C].
func newArrange(l model.Arrange, in []Shape, out Shape) *Arrange {
	a := &Arrange{From: make([]int32, len(l.Index)), Index: make([]int32, len(l.Index)), Once: make([]bool, len(in))}
	// start has the first place of each value among all that the layer takes, and their end.
	start := make([]int, len(in)+1)
	seen := make([][]bool, len(in))
	for k, s := range in {
		start[k+1] = start[k] + s.Size()
		a.Once[k], seen[k] = true, make([]bool, s.Size())
	}
	plain := len(in) == 1
	pixels := out.Pixels()
	for o, i := range l.Index {
		to := o%pixels*out.C + o/pixels
		if i < 0 {
			a.From[to] = -1
			plain = false
			continue
		}
		k := 0
		for int(i) >= start[k+1] {
			k++
		}
		at, s := int(i)-start[k], in[k]
		at = at%s.Pixels()*s.C + at/s.Pixels()
		a.From[to], a.Index[to] = int32(k), int32(at)
		a.Once[k] = a.Once[k] && !seen[k][at]
		seen[k][at] = true
	}
	if plain {
		a.From = nil
	}
	return a
}
