// Package batch holds the checks that every backend makes of what it is handed, so that they refuse
// the same things in the same words.
package batch

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"advsweep/attack"

	"gorgonia.org/tensor"
)

// Float is a type that a backend computes in.
type Float interface{ float32 | float64 }

// ErrClosed is what every method of a closed backend returns.
var ErrClosed = errors.New("backend is closed")

// Load returns an error unless x0 [N, …] are whole images of inputs pixels, contiguous and of a
// type that Floats takes, and labels [N] are classes below classes. first is the index of the first
// image in its data set.
func Load(first int, x0 *tensor.Dense, labels []int32, inputs, classes int) error {
	switch {
	case x0 == nil:
		return errors.New("load: no images")
	case x0.RequiresIterator() || !x0.DataOrder().IsRowMajor() || !x0.IsNativelyAccessible():
		return errors.New("load: images are not contiguous and row-major in the memory of Go")
	case x0.Dims() == 0 || x0.DataSize() != len(labels)*inputs || x0.Shape()[0] != len(labels):
		return fmt.Errorf("load: images %v with %d labels, want [%d %d]", x0.Shape(), len(labels), len(labels), inputs)
	}
	for i, y := range labels {
		if y < 0 || int(y) >= classes {
			return fmt.Errorf("load: image %d: label %d, but the model has classes 0 to %d", first+i, y, classes-1)
		}
	}
	switch x0.Data().(type) {
	case []uint8, []float32, []float64:
		return nil
	}
	return fmt.Errorf("load: images of %v, want uint8, float32 or float64", x0.Dtype())
}

// Floats returns a copy of the elements of x0 in T: of bytes v, which are pixels, v/255. It is in
// the memory of old, if that is enough.
func Floats[T Float](old []T, x0 *tensor.Dense) []T {
	x := old[:0]
	if n := x0.DataSize(); cap(x) < n {
		x = make([]T, n)
	} else {
		x = x[:n]
	}
	switch d := x0.Data().(type) {
	case []uint8:
		var pixel [256]T
		for v := range pixel {
			pixel[v] = T(v) / 255
		}
		for i, v := range d {
			x[i] = pixel[v]
		}
	case []float32:
		Convert(x, d)
	case []float64:
		Convert(x, d)
	}
	return x
}

// Elements returns the elements of t, of float32 or float64, in T, not to be written to: those of t
// itself if they are of T, and else a copy.
func Elements[T Float](t *tensor.Dense) []T {
	if all, ok := t.Data().([]T); ok {
		return all
	}
	return Floats[T](nil, t)
}

// Range returns the least and the largest of pixels x [N·inputs], or an error if one is not finite.
func Range[T Float](x []T, first, inputs int) (lo, hi T, err error) {
	lo, hi = T(math.Inf(1)), T(math.Inf(-1))
	for i, v := range x {
		if v-v != 0 {
			return 0, 0, fmt.Errorf("load: image %d: pixel %d is %v, want a finite number", first+i/inputs, i%inputs, v)
		}
		lo, hi = min(lo, v), max(hi, v)
	}
	return lo, hi, nil
}

// ByteRange is Range of bytes v as v/255.
func ByteRange[T Float](bytes []uint8) (lo, hi T) {
	if len(bytes) == 0 {
		return 0, 0
	}
	return T(slices.Min(bytes)) / 255, T(slices.Max(bytes)) / 255
}

// Begin checks images lo to hi-1 of n at eps, at most most rows, and returns eps in T.
func Begin[T Float](lo, hi, n int, eps []float64, most int) ([]T, error) {
	if lo < 0 || lo > hi || hi > n {
		return nil, fmt.Errorf("begin: images %d to %d of %d", lo, hi, n)
	}
	if err := attack.ValidateColumns(eps); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	if hi-lo > most/len(eps) && (hi-lo != 1 || len(eps) != 1) {
		return nil, fmt.Errorf("begin: %d images at %d eps, want at most %d rows", hi-lo, len(eps), most)
	}
	rounded, err := finite[T](eps)
	if err != nil {
		return nil, fmt.Errorf("begin: eps %w", err)
	}
	return rounded, nil
}

// Step checks s for a batch of so many rows and eps of a model with so many classes, whose clean
// pixels lie in [lo, hi], and returns its sizes in T.
func Step[T Float](s attack.Step, rows, eps, classes int, lo, hi T) ([]T, error) {
	switch {
	case eps == 0:
		return nil, errors.New("step: no rows, call Begin first")
	case !s.Bounds.None() && rows > 0 && (lo < T(s.Bounds.Lo) || hi > T(s.Bounds.Hi)):
		return nil, fmt.Errorf("step: clean pixels reach from %v to %v, outside the bounds %v", lo, hi, s.Bounds)
	}
	if err := s.Validate(rows, eps, classes); err != nil {
		return nil, fmt.Errorf("step: %w", err)
	}
	if err := Known(s); err != nil {
		return nil, fmt.Errorf("step: %w", err)
	}
	size, err := finite[T](s.Size)
	if err != nil {
		return nil, fmt.Errorf("step: size %w", err)
	}
	return size, nil
}

// Along returns what the rows of s, which Step has checked, go along [rows, inputs] in T; nil for
// other directions.
func Along[T Float](s attack.Step, rows, inputs int) ([]T, error) {
	if s.Direction != attack.Along {
		return nil, nil
	}
	if len(s.Along) != rows*inputs {
		return nil, fmt.Errorf("step: %d numbers to go along, want %d, one for each of %d inputs of %d rows", len(s.Along), rows*inputs, inputs, rows)
	}
	along, err := finite[T](s.Along)
	if err != nil {
		return nil, fmt.Errorf("step: along: %w", err)
	}
	return along, nil
}

// Known returns an error unless the backends compute s: its direction, its norm and, along a
// gradient, its loss. Package attack may know more of each than they do. Both backends give the
// same bits, so what one has the other has.
func Known(s attack.Step) error {
	switch s.Direction {
	case attack.Gradient, attack.RandomSign, attack.Uniform, attack.Along:
	default:
		return fmt.Errorf("no backend moves along direction %d", int(s.Direction))
	}
	switch s.Loss {
	case attack.CrossEntropy, attack.Margin, attack.DLR:
	default:
		return fmt.Errorf("no backend has the gradient of %v", s.Loss)
	}
	return KnownNorm(s.Norm)
}

// KnownNorm returns an error unless the backends move, project and round in norm.
func KnownNorm(norm attack.Norm) error {
	switch norm {
	case attack.Linf, attack.L2:
		return nil
	}
	return fmt.Errorf("no backend projects in %v", norm)
}

// Ready returns an error unless there are rows of so many eps, and room for all of them.
func Ready(eps, room, rows int) error {
	switch {
	case eps == 0:
		return errors.New("no rows, call Begin first")
	case room != rows:
		return fmt.Errorf("room for %d rows, want %d", room, rows)
	}
	return nil
}

// NotFinite is the error of a step whose gradient at an image of the data set is not finite.
func NotFinite(image int, precision string) error { return notFinite{"step", image, precision} }

type notFinite struct {
	verb      string
	image     int
	precision string
}

func (e notFinite) Error() string {
	return fmt.Sprintf("%s: image %d: the gradient is not finite in %s", e.verb, e.image, e.precision)
}

// NotFiniteImage is the image, by its index in the data set.
func (e notFinite) NotFiniteImage() int { return e.image }

// Convert rounds src to dst, as long.
func Convert[D, S Float](dst []D, src []S) {
	for i, v := range src {
		dst[i] = D(v)
	}
}

// finite rounds values to T and returns an error if one overflows.
func finite[T Float](values []float64) ([]T, error) {
	out := make([]T, len(values))
	Convert(out, values)
	for i, v := range out {
		if v-v != 0 {
			return nil, fmt.Errorf("%v is not finite in float%d", values[i], 8*unsafe.Sizeof(v))
		}
	}
	return out, nil
}
