package model

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"
)

// A Layer is one operation of a Model: a Linear, Conv2D, Scale, MaxPool2D, AvgPool2D, ReLU, LeakyReLU, Sigmoid,
// Tanh, GELU or Add.
type Layer interface {
	// shape returns the shape of one image's output for the shapes of all that the layer takes.
	shape(in [][]int) ([]int, error)
	// parameters returns what the layer holds of learned numbers.
	parameters() []parameter
}

// A parameter is a tensor of a layer.
type parameter struct {
	name string
	*tensor.Dense
	rank int
}

// Linear is x·Wᵀ + b. It takes any shape of as many elements as W has columns, row-major: there is no layer that flattens.
type Linear struct {
	Name   string        // "fc1"
	Weight *tensor.Dense // [out, in], Float32 or Float64
	Bias   *tensor.Dense // [out], of the same type
}

// Conv2D is the cross-correlation of an image with each filter, plus a bias:
//
//	y[o, r, c] = b[o] + Σ_{i, u, v} W[o, i, u, v]·x[i, r·Stride[0] + u - Pad[0], c·Stride[1] + v - Pad[1]],
//
// x being 0 outside.
type Conv2D struct {
	Name   string        // "conv1"
	Weight *tensor.Dense // [out, in, KH, KW], Float32 or Float64
	Bias   *tensor.Dense // [out], of the same type
	Stride [2]int        // rows, columns
	Pad    [4]int        // top, left, bottom, right
}

// Scale is x·w_c + b_c, c the channel of [C, H, W] or the element of [I]: batch normalisation as it is at
// inference, or the normalisation of the input.
type Scale struct {
	Name         string
	Weight, Bias *tensor.Dense // [C], Float32 or Float64
}

// MaxPool2D is the largest element of each window of each channel; padding never wins. The gradient goes to the first largest
// element of a window, by rows.
type MaxPool2D struct {
	Kernel, Stride [2]int // rows, columns
	Pad            [4]int // top, left, bottom, right
}

// AvgPool2D is the mean of each window of each channel: of the elements within the image, or with CountPad of all with
// padding 0. The global average has the image's size as its Kernel.
type AvgPool2D struct {
	Kernel, Stride [2]int // rows, columns
	Pad            [4]int // top, left, bottom, right
	CountPad       bool
}

// ReLU is max(x, 0), its derivative at 0 taken as 0.
type ReLU struct{}

// LeakyReLU is x where x > 0 and Slope·x elsewhere, its derivative at 0 taken as Slope.
type LeakyReLU struct{ Slope float64 }

// Sigmoid is 1/(1 + exp(-x)).
type Sigmoid struct{}

// Tanh is the hyperbolic tangent.
type Tanh struct{}

// GELU is x·Φ(x), Φ the normal distribution function; with Tanh set x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
//
// Hendrycks and Gimpel 2016, arXiv:1606.08415.
type GELU struct{ Tanh bool }

// Add is the sum of all that it takes, two or more of one shape: a residual connection.
type Add struct{}

func (l Linear) parameters() []parameter {
	return []parameter{{weightName(l.Name), l.Weight, 2}, {biasName(l.Name), l.Bias, 1}}
}

func (l Conv2D) parameters() []parameter {
	return []parameter{{weightName(l.Name), l.Weight, 4}, {biasName(l.Name), l.Bias, 1}}
}

func (l Scale) parameters() []parameter {
	return []parameter{{weightName(l.Name), l.Weight, 1}, {biasName(l.Name), l.Bias, 1}}
}

func (MaxPool2D) parameters() []parameter { return nil }
func (AvgPool2D) parameters() []parameter { return nil }
func (ReLU) parameters() []parameter      { return nil }
func (LeakyReLU) parameters() []parameter { return nil }
func (Sigmoid) parameters() []parameter   { return nil }
func (Tanh) parameters() []parameter      { return nil }
func (GELU) parameters() []parameter      { return nil }
func (Add) parameters() []parameter       { return nil }

func (l Linear) shape(in [][]int) ([]int, error) {
	if got, want := volume(in[0]), l.size(1); got != want {
		return nil, fmt.Errorf("takes %v, %d elements, want %d", in[0], got, want)
	}
	return []int{l.size(0)}, nil
}

func (l Conv2D) shape(in [][]int) ([]int, error) {
	w := l.Weight.Shape()
	out, err := window(in[0], [2]int{w[2], w[3]}, l.Stride, l.Pad)
	if err != nil {
		return nil, err
	}
	if in[0][0] != w[1] {
		return nil, fmt.Errorf("takes %v, %d channels, want %d", in[0], in[0][0], w[1])
	}
	out[0] = w[0]
	return out, nil
}

func (l Scale) shape(in [][]int) ([]int, error) {
	if got, want := in[0][0], l.Weight.Shape()[0]; got != want {
		return nil, fmt.Errorf("takes %v, want %d channels", in[0], want)
	}
	return in[0], nil
}

func (l MaxPool2D) shape(in [][]int) ([]int, error) {
	return pool(in[0], l.Kernel, l.Stride, l.Pad)
}

func (l AvgPool2D) shape(in [][]int) ([]int, error) {
	return pool(in[0], l.Kernel, l.Stride, l.Pad)
}

func (ReLU) shape(in [][]int) ([]int, error)    { return in[0], nil }
func (Sigmoid) shape(in [][]int) ([]int, error) { return in[0], nil }
func (Tanh) shape(in [][]int) ([]int, error)    { return in[0], nil }
func (GELU) shape(in [][]int) ([]int, error)    { return in[0], nil }

func (l LeakyReLU) shape(in [][]int) ([]int, error) {
	if math.IsNaN(l.Slope) || math.IsInf(l.Slope, 0) {
		return nil, fmt.Errorf("slope %v, want a finite number", l.Slope)
	}
	return in[0], nil
}

func (Add) shape(in [][]int) ([]int, error) {
	for _, s := range in[1:] {
		if fmt.Sprint(s) != fmt.Sprint(in[0]) {
			return nil, fmt.Errorf("takes %v and %v, want equal shapes", in[0], s)
		}
	}
	return in[0], nil
}

// pool is window for a layer whose every window must hold something of the image.
func pool(in []int, kernel, stride [2]int, pad [4]int) ([]int, error) {
	for d := range 2 {
		if pad[d] >= kernel[d] || pad[2+d] >= kernel[d] {
			return nil, fmt.Errorf("padding %v with a kernel of %v, want less", pad, kernel)
		}
	}
	return window(in, kernel, stride, pad)
}

// maxSide bounds kernels, strides and padding, so that no sum of them overflows.
const maxSide = 1 << 20

// window returns the shape that a kernel moved over an image of shape in gives, with its channels.
func window(in []int, kernel, stride [2]int, pad [4]int) ([]int, error) {
	if len(in) != 3 {
		return nil, fmt.Errorf("takes %v, want an image [C, H, W]", in)
	}
	out := []int{in[0], 0, 0}
	for d := range 2 {
		for _, v := range []int{kernel[d], stride[d]} {
			if v < 1 || v > maxSide {
				return nil, fmt.Errorf("kernel %v and stride %v, want 1 to %d", kernel, stride, maxSide)
			}
		}
		if min(pad[d], pad[2+d]) < 0 || max(pad[d], pad[2+d]) > maxSide {
			return nil, fmt.Errorf("padding %v, want 0 to %d", pad, maxSide)
		}
		room := in[1+d] + pad[d] + pad[2+d] - kernel[d]
		if room < 0 {
			return nil, fmt.Errorf("takes %v with padding %v, smaller than the kernel %v", in, pad, kernel)
		}
		out[1+d] = room/stride[d] + 1
	}
	return out, nil
}

// volume is how many elements a shape has.
func volume(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// kind names a layer's type as a layer list does: "conv2d".
func kind(l Layer) string {
	switch l.(type) {
	case Linear:
		return "linear"
	case Conv2D:
		return "conv2d"
	case Scale:
		return "scale"
	case MaxPool2D:
		return "maxpool2d"
	case AvgPool2D:
		return "avgpool2d"
	case ReLU:
		return "relu"
	case LeakyReLU:
		return "leakyrelu"
	case Sigmoid:
		return "sigmoid"
	case Tanh:
		return "tanh"
	case GELU:
		return "gelu"
	case Add:
		return "add"
	}
	return fmt.Sprintf("%T", l)
}
