package dataset

import (
	"fmt"
	"io"
	"math"

	"advsweep/internal/npy"

	"gorgonia.org/tensor"
)

// An array is the content of an NPY file.
type array struct{ *npy.Array }

// readNPY reads an NPY file to the end of r. stored is how many bytes back it: its size, or the
// size that it is compressed to.
func readNPY(r io.Reader, stored int64) (*array, error) {
	a, err := npy.Read(r, stored)
	if err != nil {
		return nil, err
	}
	return &array{a}, nil
}

// images returns a as images: [N, H, W], or [N, C, H, W] where C > 1. See Read
// for what a may be.
func (a *array) images() (*tensor.Dense, error) {
	// Of the file's elements the one at index i lies at Σ i·strides.
	shape, strides := a.Shape, make([]int, len(a.Shape))
	step := 1
	for i := range shape {
		at := len(shape) - 1 - i
		if a.Fortran {
			at = i
		}
		strides[at] = step
		step *= shape[at]
	}
	switch len(shape) {
	case 3:
	case 4:
		first, last := isChannels(shape[1]), isChannels(shape[3])
		if first == last {
			which := "neither dimension 1 nor 3 is"
			if first {
				which = "both dimensions 1 and 3 are"
			}
			return nil, fmt.Errorf("images are %v, and %s 1, 3 or 4, want the channels told by one that is: save images of one channel as [N, H, W]",
				shape, which)
		}
		if last {
			shape = []int{shape[0], shape[3], shape[1], shape[2]}
			strides = []int{strides[0], strides[3], strides[1], strides[2]}
		}
		if shape[1] == 1 {
			shape = []int{shape[0], shape[2], shape[3]}
			strides = []int{strides[0], strides[2], strides[3]}
		}
	default:
		return nil, fmt.Errorf("images are %v, want [N, H, W], [N, C, H, W] or [N, H, W, C]", shape)
	}
	switch a.Descr[1:] {
	case "u1":
		return dense(shape, gather(a.Data, shape, strides)), nil
	case "f4":
		pixels := make([]float32, len(a.Data)/4)
		for i := range pixels {
			pixels[i] = math.Float32frombits(a.Order.Uint32(a.Data[4*i:]))
		}
		return dense(shape, gather(pixels, shape, strides)), nil
	case "f8":
		pixels := make([]float32, len(a.Data)/8)
		for i := range pixels {
			v := math.Float64frombits(a.Order.Uint64(a.Data[8*i:]))
			pixels[i] = float32(v)
			if math.IsInf(float64(pixels[i]), 0) && !math.IsInf(v, 0) {
				return nil, fmt.Errorf("element %d is %v, want one that fits float32", i, v)
			}
		}
		return dense(shape, gather(pixels, shape, strides)), nil
	}
	return nil, fmt.Errorf("images of %s, want uint8, float32 or float64: in NumPy, save images.astype(numpy.float32)", a.Descr)
}

func isChannels(d int) bool { return d == 1 || d == 3 || d == 4 }

// gather returns the elements of src, at Σ i·strides for each index i of shape,
// in row-major order. It returns src itself if that is how they lie.
func gather[T any](src []T, shape, strides []int) []T {
	inOrder, step := true, 1
	for i := len(shape) - 1; i >= 0; i-- {
		inOrder = inOrder && (strides[i] == step || shape[i] == 1)
		step *= shape[i]
	}
	if inOrder {
		return src
	}
	dst := make([]T, 0, len(src))
	last := len(shape) - 1
	index := make([]int, last)
	for len(dst) < len(src) {
		from := 0
		for i, at := range index {
			from += at * strides[i]
		}
		for range shape[last] {
			dst = append(dst, src[from])
			from += strides[last]
		}
		for i := last - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return dst
}

// labels returns a, integers of shape [N] or [N, 1], as labels.
func (a *array) labels() ([]int32, error) {
	if len(a.Shape) != 1 && (len(a.Shape) != 2 || a.Shape[1] != 1) {
		hint := ""
		if len(a.Shape) == 2 {
			hint = ": for one row of scores a label, save labels.argmax(1)"
		}
		return nil, fmt.Errorf("labels are %v, want [N] or [N, 1]%s", a.Shape, hint)
	}
	if (a.Kind != 'i' && a.Kind != 'u') || (a.Width != 1 && a.Width != 2 && a.Width != 4 && a.Width != 8) {
		return nil, fmt.Errorf("labels of %s, want integers: in NumPy, save labels.astype(numpy.int64)", a.Descr)
	}
	labels := make([]int32, a.Shape[0])
	for i := range labels {
		at := a.Data[i*a.Width : (i+1)*a.Width]
		var u uint64
		switch a.Width {
		case 1:
			u = uint64(at[0])
		case 2:
			u = uint64(a.Order.Uint16(at))
		case 4:
			u = uint64(a.Order.Uint32(at))
		case 8:
			u = a.Order.Uint64(at)
		}
		if a.Kind == 'i' { // extend the sign
			shift := 64 - 8*a.Width
			v := int64(u<<shift) >> shift
			if v < math.MinInt32 || v > math.MaxInt32 {
				return nil, fmt.Errorf("label %d is %d, want one that fits int32", i, v)
			}
			labels[i] = int32(v)
			continue
		}
		if u > math.MaxInt32 {
			return nil, fmt.Errorf("label %d is %d, want one that fits int32", i, u)
		}
		labels[i] = int32(u)
	}
	return labels, nil
}
