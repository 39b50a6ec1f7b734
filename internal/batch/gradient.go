package batch

import (
	"errors"
	"fmt"

	"gorgonia.org/tensor"
)

// Weights returns the elements of q [rows, classes], Float32 or Float64, rounded to T: what a
// backend's Gradient is asked for. It returns an error for another shape or type, and for an
// element that is not finite in T.
func Weights[T Float](q *tensor.Dense, rows, classes int) ([]T, error) {
	switch {
	case q == nil:
		return nil, errors.New("gradient: no weights")
	case q.RequiresIterator() || !q.DataOrder().IsRowMajor() || !q.IsNativelyAccessible():
		return nil, errors.New("gradient: weights are not contiguous and row-major in the memory of Go")
	case q.Dims() != 2 || q.Shape()[0] != rows || q.Shape()[1] != classes:
		return nil, fmt.Errorf("gradient: weights %v, want [%d %d]", q.Shape(), rows, classes)
	}
	out := make([]T, rows*classes)
	switch d := q.Data().(type) {
	case []float32:
		Convert(out, d)
	case []float64:
		Convert(out, d)
	default:
		return nil, fmt.Errorf("gradient: weights of %v, want float32 or float64", q.Dtype())
	}
	for k, v := range out {
		if v-v != 0 {
			return nil, fmt.Errorf("gradient: the weight of class %d in row %d is not finite", k%classes, k/classes)
		}
	}
	return out, nil
}

// FiniteGradient returns an error that names the image of the first row of g [rows, inputs] with an
// element that is not finite. Row r is of image first + r/eps of the data set.
func FiniteGradient[T Float](g []T, first, eps, inputs int, precision string) error {
	for k, v := range g {
		if v-v != 0 {
			return notFinite{"gradient", first + k/inputs/eps, precision}
		}
	}
	return nil
}
