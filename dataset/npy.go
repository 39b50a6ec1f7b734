package dataset

import (
	"fmt"
	"io"
	"math"

	"advsweep/internal/npy"
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

// strides says where elements lie: the one at index i is element Σ i·strides of the file.
func (a *array) strides() []int {
	strides := make([]int, len(a.Shape))
	step := 1
	for i := range a.Shape {
		at := len(a.Shape) - 1 - i
		if a.Fortran {
			at = i
		}
		strides[at] = step
		step *= a.Shape[at]
	}
	return strides
}

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
