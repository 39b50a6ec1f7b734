package lower

import (
	"fmt"

	"advsweep/model"

	"gorgonia.org/tensor"
)

// An Operation is what an Op does: a *Linear, *Convolution, Scale, MaxPool, AvgPool, Elementwise or
// Add. A backend has a switch over these types. The switch ends in an error that names the type.
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
	Name      string
	Parameter float64
}

// An Add is the sum of all that it takes, in their order.
type Add struct{}

// operation returns what l does to a value of shape in. The result has shape out. It returns an
// error that names the type of l if there is no such operation.
func operation(l model.Layer, in, out Shape) (Operation, error) {
	switch l := l.(type) {
	case model.Linear:
		w, err := weightNHWC(l.Weight, in)
		return &Linear{w, l.Bias}, err
	case model.Conv2D:
		return newConvolution(l, in, out), nil
	case model.Scale:
		return Scale{l.Weight, l.Bias}, nil
	case model.MaxPool2D:
		return MaxPool{Unfold{In: in, Out: out, Kernel: l.Kernel, Stride: l.Stride, Pad: l.Pad}}, nil
	case model.AvgPool2D:
		return AvgPool{Unfold{In: in, Out: out, Kernel: l.Kernel, Stride: l.Stride, Pad: l.Pad}, l.CountPad}, nil
	case model.Add:
		return Add{}, nil
	case model.Elementwise:
		name, parameter := l.Function()
		return Elementwise{name, parameter}, nil
	}
	return nil, fmt.Errorf("no operation for a layer of %T", l)
}

// weightNHWC returns the weights w [out, in] of a layer that takes s, with columns in NHWC order.
func weightNHWC(w *tensor.Dense, s Shape) (*tensor.Dense, error) {
	if !s.Reordered() {
		return w, nil
	}
	switch data := w.Data().(type) {
	case []float32:
		return reordered(data, w.Shape(), s), nil
	case []float64:
		return reordered(data, w.Shape(), s), nil
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
