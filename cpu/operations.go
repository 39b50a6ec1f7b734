package cpu

import (
	"fmt"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// An operation is what a layer other than Linear does to one image. Images are NHWC.
type operation[T Float] interface {
	// forward writes y for x, all the values that the layer takes.
	forward(m *memory[T], y []T, x [][]T)
	// backward writes dx, the gradient at x[arg], for d at the output y, x being all the values
	// that the layer takes. It may change d, but only if the layer takes no more than one. A ReLU
	// may have been computed in the place of y.
	backward(m *memory[T], dx []T, x [][]T, arg int, y, d []T)
}

// A batched is an operation of one value that computes several images at once, faster than one by
// one or as fast.
type batched[T Float] interface {
	operation[T]
	// forwardAll writes y [n, out] for x [n, in], whose images lie ldy and ldx apart.
	forwardAll(m *memory[T], n int, y []T, ldy int, x []T, ldx int)
	// backwardAll writes dx, the gradient at x, for d at y, likewise.
	backwardAll(m *memory[T], n int, dx []T, lddx int, d []T, ldd int)
	// together is how many images it wants at once at least.
	together() int
}

// A blind is an operation whose way back looks at less than all that it took and made.
type blind interface {
	// looks reports whether backward looks at x and at y.
	looks() (x, y bool)
}

func (*convolution[T]) looks() (x, y bool) { return false, false }
func (*depthwise[T]) looks() (x, y bool)   { return false, false }
func (*scale[T]) looks() (x, y bool)       { return false, false }
func (*avgPool[T]) looks() (x, y bool)     { return false, false }
func (add[T]) looks() (x, y bool)          { return false, false }
func (*arrange[T]) looks() (x, y bool)     { return false, false }
func (constant[T]) looks() (x, y bool)     { return false, false }
func (relu[T]) looks() (x, y bool)         { return false, true }

// A memory is what one worker has for one layer. Only the layer's operation, and learn for packed,
// write to it.
type memory[T Float] struct {
	// frame is the input with its padding, see windows.frames, or a number that is taken again, see
	// pairwise.operand.
	frame []T
	// back is likewise on the way back, or the product of col2im, or terms of a sum.
	back    []T
	rows    *rows[T]
	gemm    *gemm.Scratch[T]
	tiles   *tileRoom[T]
	listing *listing[T]
	packed  *gemm.Matrix[T] // see learn, like learned, a frame of the input
	learned []T
	right   [3]*gemm.Matrix[T] // of a matMul: for the product, and for both gradients
}

// newOperation returns the operation of op, which takes values of shapes in. It returns an error
// that names op if there is none.
func newOperation[T Float](path string, op lower.Op, in []lower.Shape) (operation[T], error) {
	vec := gemm.NewVector[T](path)
	switch o := op.Operation.(type) {
	case *lower.Convolution:
		if o.Depth() == 1 && o.Out.C == o.Groups && o.Groups > 1 {
			return newDepthwise(vec, o), nil
		}
		return newConvolution[T](path, o), nil
	case lower.Scale:
		return newScale(vec, batch.Floats[T](nil, o.Weight), batch.Floats[T](nil, o.Bias)), nil
	case lower.MaxPool:
		return newMaxPool(vec, newPool(o.Unfold)), nil
	case lower.AvgPool:
		return newAvgPool(vec, newPool(o.Unfold), o.CountPad), nil
	case lower.Add:
		return add[T]{vec}, nil
	case lower.Elementwise:
		f, err := newElementwise[T](path, o)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", op.Layer, err)
		}
		return f, nil
	case lower.Pairwise:
		f, err := newPairwise(vec, o.Name, in, op.Out)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", op.Layer, err)
		}
		return f, nil
	case lower.Constant:
		return constant[T]{batch.Floats[T](nil, o.Value)}, nil
	case *lower.Arrange:
		return newArrange(vec, o, in), nil
	case lower.Reduce:
		f, err := newReduce[T](o.By, op.In.C)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", op.Layer, err)
		}
		return f, nil
	case lower.Softmax:
		return softmax[T]{op.In.C}, nil
	case lower.MatMul:
		return &matMul[T]{path, o.A, o.B, op.Out, o.Transpose}, nil
	}
	return nil, fmt.Errorf("layer %d: no operation for %T", op.Layer, op.Operation)
}

// A convolution goes forward and back in the ways that lower.Convolution says.
type convolution[T Float] struct {
	lowered     *lower.Convolution
	weight      func(o, c, u, v int) T // by output, channel, row and column
	bias        []T
	there, back way[T]
}

// A way is a convolution of images, or the gradient at its input.
type way[T Float] interface {
	// apply writes y for n images x, which lie ldy and ldx apart. It keeps a copy of images with
	// their padding in frame, or other numbers, as m says.
	apply(m *memory[T], frame *[]T, n int, y []T, ldy int, x []T, ldx int)
	// pack takes other weights, by output, channel, row and column of this way, and a bias or nil.
	pack(weight func(o, c, u, v int) T, bias []T)
}

// newWay returns a convolution of images with the windows of places.
func newWay[T Float](path string, places lower.Unfold, bias []T, weight func(o, c, u, v int) T) way[T] {
	if places.Tile != nil {
		return newWinograd(path, places, bias, weight)
	}
	if g := groupsOf[T](path, places); g != nil {
		return newGroupwise(path, places, g, bias, weight)
	}
	return newIm2col(path, places, bias, weight)
}

func newConvolution[T Float](path string, l *lower.Convolution) *convolution[T] {
	// Bounds read it later: see own.
	filter := lower.Filter(l.Weight.Shape(), batch.Elements[T](l.Weight))
	a := &convolution[T]{lowered: l, weight: filter, bias: batch.Floats[T](nil, l.Bias)}
	a.there = newWay(path, l.Unfold, a.bias, filter)
	if l.Back != nil {
		a.back = newWay(path, *l.Back, nil, lower.FlipTranspose(l, filter))
	} else if g := groupsOf[T](path, l.Unfold); g != nil {
		a.back = newGroupwiseBack(path, l.Unfold, g, filter)
	} else {
		a.back = newCol2im(path, l.Unfold, filter)
	}
	return a
}

// pack takes new weights of a convolution of one group.
func (a *convolution[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	a.weight = weight
	copy(a.bias, bias)
	a.there.pack(weight, bias)
	if a.lowered.Back != nil {
		weight = lower.FlipTranspose(a.lowered, weight)
	}
	a.back.pack(weight, nil)
}

func (a *convolution[T]) forward(m *memory[T], y []T, x [][]T) {
	a.forwardAll(m, 1, y, len(y), x[0], len(x[0]))
}

func (a *convolution[T]) backward(m *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	a.backwardAll(m, 1, dx, len(dx), d, len(d))
}

func (a *convolution[T]) forwardAll(m *memory[T], n int, y []T, ldy int, x []T, ldx int) {
	a.there.apply(m, &m.frame, n, y, ldy, x, ldx)
}

func (a *convolution[T]) backwardAll(m *memory[T], n int, dx []T, lddx int, d []T, ldd int) {
	a.back.apply(m, &m.back, n, dx, lddx, d, ldd)
}

// together is such that products have some 40 to 80 rows, for which weights are worth reading.
func (a *convolution[T]) together() int {
	switch rows, cols := a.lowered.Tiles(); {
	case rows*cols >= 40:
		return 1
	case rows*cols >= 10:
		return 5
	}
	return 20
}
