package model

import (
	"fmt"
	"math"
	"math/bits"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// A Layer is one operation of a Model, such as a Linear, a Conv2D or a ReLU.
//
// The interface is open, so that other packages can pass layers around. A Model is valid only with
// layers that have a row in the table of kinds, see kinds.go: what can be written can be read back.
type Layer interface {
	// Kind returns how layer lists and messages name the layer: "conv2d".
	Kind() string
	// Arity returns how many outputs the layer takes: at least least, at most most.
	Arity() (least, most int)
	// Shape returns the shape of one image's output for the shapes of all that the layer takes.
	// It returns an error if the layer cannot take them.
	Shape(in [][]int) ([]int, error)
	// Params returns what the layer holds of learned numbers, or nil.
	Params() []Param
	// MACs returns how many multiply-adds a forward pass of one image takes, at most math.MaxInt64.
	// in and out are the shapes that the layer takes and gives. See Model.MACs for what counts.
	MACs(in [][]int, out []int) int64
}

// A Param is a tensor of a layer.
type Param struct {
	Name   string        // "fc1.weight", as a file names it
	Tensor *tensor.Dense // Float32 or Float64
	Rank   int           // the rank that the tensor must have
}

// Any number of outputs may be taken, see Layer's Arity.
const unlimited = math.MaxInt

// Linear is x·Wᵀ + b. It takes any shape of as many elements as W has columns, row-major: there is
// no layer that flattens.
type Linear struct {
	Name   string        // "fc1"
	Weight *tensor.Dense // [out, in], Float32 or Float64
	Bias   *tensor.Dense // [out], of the same type
}

// Conv2D is the cross-correlation of an image with each filter, plus a bias:
//
//	y[o, r, c] = b[o] + Σ_{i, u, v} W[o, i, u, v]·x[i, r·S + u·D - T, c·S' + v·D' - L],
//
// x being 0 outside, with S, S' the stride, D, D' the dilation, T and L the padding above and on
// the left. With G groups channels and filters are in G parts of equal size, and filters of part g
// take the channels of part g: i counts within the part.
type Conv2D struct {
	Name     string        // "conv1"
	Weight   *tensor.Dense // [out, in/Groups, KH, KW], Float32 or Float64
	Bias     *tensor.Dense // [out], of the same type
	Stride   [2]int        // rows, columns
	Pad      [4]int        // top, left, bottom, right
	Dilation [2]int        // rows, columns; 0 stands for 1
	Groups   int           // 0 stands for 1
}

// Split returns in how many groups channels are, at least 1.
func (l Conv2D) Split() int { return max(1, l.Groups) }

// Scale is x·w_c + b_c, c the channel of [C, H, W] or the element of [I]: batch normalisation as it
// is at inference, or the normalisation of the input.
type Scale struct {
	Name         string
	Weight, Bias *tensor.Dense // [C], Float32 or Float64
}

// MaxPool2D is the largest element of each window of each channel; padding never wins. The gradient
// goes to the first largest element of a window, by rows.
type MaxPool2D struct {
	Kernel, Stride [2]int // rows, columns
	Pad            [4]int // top, left, bottom, right
	Dilation       [2]int // rows, columns; 0 stands for 1
}

// AvgPool2D is the mean of each window of each channel: of the elements within the image, or with
// CountPad of all with padding 0. The global average has the image's size as its Kernel.
type AvgPool2D struct {
	Kernel, Stride [2]int // rows, columns
	Pad            [4]int // top, left, bottom, right
	CountPad       bool
}

// Add is the sum of all that it takes, two or more of one shape: a residual connection. Two outputs
// may also be of shapes as a Pairwise takes them.
type Add struct{}

func weightAndBias(name string, weight, bias *tensor.Dense, rank int) []Param {
	return []Param{{weightName(name), weight, rank}, {biasName(name), bias, 1}}
}

// product returns a·b, which are not negative, and at most math.MaxInt64.
func product(a, b int) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

// Kind returns "linear".
func (Linear) Kind() string { return "linear" }

// Arity returns 1, 1.
func (Linear) Arity() (least, most int) { return 1, 1 }

// Params returns the weight and the bias.
func (l Linear) Params() []Param { return weightAndBias(l.Name, l.Weight, l.Bias, 2) }

// MACs returns out·in.
func (l Linear) MACs(_ [][]int, out []int) int64 { return product(formats.Volume(out), l.size(1)) }

// Kind returns "conv2d".
func (Conv2D) Kind() string { return "conv2d" }

// Arity returns 1, 1.
func (Conv2D) Arity() (least, most int) { return 1, 1 }

// Params returns the weight and the bias.
func (l Conv2D) Params() []Param { return weightAndBias(l.Name, l.Weight, l.Bias, 4) }

// MACs returns in·KH·KW of each pixel that it gives, of each filter.
func (l Conv2D) MACs(_ [][]int, out []int) int64 {
	return product(formats.Volume(out), formats.Volume(l.Weight.Shape()[1:]))
}

// Kind returns "scale".
func (Scale) Kind() string { return "scale" }

// Arity returns 1, 1.
func (Scale) Arity() (least, most int) { return 1, 1 }

// Params returns the weight and the bias.
func (l Scale) Params() []Param { return weightAndBias(l.Name, l.Weight, l.Bias, 1) }

// MACs returns 1 of each element.
func (Scale) MACs(_ [][]int, out []int) int64 { return product(formats.Volume(out), 1) }

// Kind returns "maxpool2d".
func (MaxPool2D) Kind() string { return "maxpool2d" }

// Arity returns 1, 1.
func (MaxPool2D) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (MaxPool2D) Params() []Param { return nil }

// MACs returns 0.
func (MaxPool2D) MACs([][]int, []int) int64 { return 0 }

// Kind returns "avgpool2d".
func (AvgPool2D) Kind() string { return "avgpool2d" }

// Arity returns 1, 1.
func (AvgPool2D) Arity() (least, most int) { return 1, 1 }

// Params returns nil.
func (AvgPool2D) Params() []Param { return nil }

// MACs returns 0.
func (AvgPool2D) MACs([][]int, []int) int64 { return 0 }

// Kind returns "add".
func (Add) Kind() string { return "add" }

// Arity returns 2 and no upper limit.
func (Add) Arity() (least, most int) { return 2, unlimited }

// Params returns nil.
func (Add) Params() []Param { return nil }

// MACs returns 0.
func (Add) MACs([][]int, []int) int64 { return 0 }

// Shape returns the shape of the output, see Layer.
func (l Linear) Shape(in [][]int) ([]int, error) {
	if got, want := formats.Volume(in[0]), l.size(1); got != want {
		return nil, fmt.Errorf("takes %v, %d elements, want %d", in[0], got, want)
	}
	return []int{l.size(0)}, nil
}

// Shape returns the shape of the output, see Layer.
func (l Conv2D) Shape(in [][]int) ([]int, error) {
	w := l.Weight.Shape()
	out, err := window(in[0], [2]int{w[2], w[3]}, l.Stride, l.Dilation, l.Pad)
	if err != nil {
		return nil, err
	}
	groups := l.Split()
	if l.Groups < 0 || w[0]%groups != 0 || groups > formats.MaxElements {
		return nil, fmt.Errorf("%d groups of %d filters, want a number that divides them", l.Groups, w[0])
	}
	if in[0][0] != w[1]*groups {
		return nil, fmt.Errorf("takes %v, %d channels, want %d", in[0], in[0][0], w[1]*groups)
	}
	out[0] = w[0]
	return out, nil
}

// Shape returns the shape of the output, see Layer.
func (l Scale) Shape(in [][]int) ([]int, error) {
	if got, want := in[0][0], l.Weight.Shape()[0]; got != want {
		return nil, fmt.Errorf("takes %v, want %d channels", in[0], want)
	}
	return in[0], nil
}

// Shape returns the shape of the output, see Layer.
func (l MaxPool2D) Shape(in [][]int) ([]int, error) {
	return pool(in[0], l.Kernel, l.Stride, l.Dilation, l.Pad)
}

// Shape returns the shape of the output, see Layer.
func (l AvgPool2D) Shape(in [][]int) ([]int, error) {
	return pool(in[0], l.Kernel, l.Stride, [2]int{}, l.Pad)
}

// Shape returns the shape of the output, see Layer.
func (Add) Shape(in [][]int) ([]int, error) {
	if len(in) == 2 {
		return broadcast(in[0], in[1])
	}
	for _, s := range in[1:] {
		if fmt.Sprint(s) != fmt.Sprint(in[0]) {
			return nil, fmt.Errorf("takes %v and %v, want equal shapes", in[0], s)
		}
	}
	return in[0], nil
}

// pool is window for a layer whose every window must hold something of the image.
func pool(in []int, kernel, stride, dilation [2]int, pad [4]int) ([]int, error) {
	for d := range 2 {
		if pad[d] >= kernel[d] || pad[2+d] >= kernel[d] {
			return nil, fmt.Errorf("padding %v with a kernel of %v, want less", pad, kernel)
		}
		// A window whose places are further apart may miss a small image.
		if len(in) == 3 && dilation[d] > 1 && (pad[d] > 0 || pad[2+d] > 0) && in[1+d] < (kernel[d]-1)*dilation[d]+1 {
			return nil, fmt.Errorf("takes %v with padding %v and dilation %v, want an image of the kernel's size", in, pad, dilation)
		}
	}
	return window(in, kernel, stride, dilation, pad)
}

// window returns the shape that a kernel moved over an image of shape in gives, with its channels.
func window(in []int, kernel, stride, dilation [2]int, pad [4]int) ([]int, error) {
	if len(in) != 3 {
		return nil, fmt.Errorf("takes %v, want an image [C, H, W]", in)
	}
	out := []int{in[0], 0, 0}
	for d := range 2 {
		for _, v := range []int{kernel[d], stride[d]} {
			if v < 1 || v > formats.MaxSide {
				return nil, fmt.Errorf("kernel %v and stride %v, want 1 to %d", kernel, stride, formats.MaxSide)
			}
		}
		if min(pad[d], pad[2+d]) < 0 || max(pad[d], pad[2+d]) > formats.MaxSide {
			return nil, fmt.Errorf("padding %v, want 0 to %d", pad, formats.MaxSide)
		}
		if dilation[d] < 0 || dilation[d] > formats.MaxSide {
			return nil, fmt.Errorf("dilation %v, want 1 to %d", dilation, formats.MaxSide)
		}
		room := in[1+d] + pad[d] + pad[2+d] - (kernel[d]-1)*max(1, dilation[d]) - 1
		if room < 0 {
			return nil, fmt.Errorf("takes %v with padding %v, smaller than the kernel %v", in, pad, kernel)
		}
		out[1+d] = room/stride[d] + 1
	}
	return out, nil
}
