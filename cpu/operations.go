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

// A memory is what one worker has for one layer. Only the layer's operation, and learn for packed,
// write to it.
type memory[T Float] struct {
	// frame is the input with its padding, see im2col.frame, or a number that is taken again, see
	// pairwise.operand.
	frame []T
	// back is likewise on the way back, or the product of col2im, or terms of a sum.
	back   []T
	rows   *rows[T]
	gemm   *gemm.Scratch[T]
	packed *gemm.Matrix[T]    // see learn
	right  [3]*gemm.Matrix[T] // of a matMul: for the product, and for both gradients
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
		f, err := newElementwise(vec, o)
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

// A convolution is a product with the im2col matrix of its input. Its way back is another such
// product, of d and the flipped filters, or else a product that col2im adds up. lower.Convolution
// says which.
type convolution[T Float] struct {
	lowered *lower.Convolution
	weight  func(o, c, u, v int) T // by output, channel, row and column
	there   *im2col[T]
	back    *im2col[T] // nil: by cols
	cols    *col2im[T]
}

func newConvolution[T Float](path string, l *lower.Convolution) *convolution[T] {
	filter := lower.Filter(l.Weight.Shape(), batch.Floats[T](nil, l.Weight))
	a := &convolution[T]{lowered: l, weight: filter, there: newIm2col(path, l.Unfold, batch.Floats[T](nil, l.Bias), filter)}
	if l.Back != nil {
		a.back = newIm2col(path, *l.Back, nil, lower.FlipTranspose(l, filter))
	} else {
		a.cols = newCol2im(path, l.Unfold, filter)
	}
	return a
}

// pack takes new weights of a convolution of one group.
func (a *convolution[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	a.weight = weight
	a.there.pack(weight)
	copy(a.there.from[0], bias)
	if a.back != nil {
		a.back.pack(lower.FlipTranspose(a.lowered, weight))
	} else {
		a.cols.pack(weight)
	}
}

func (a *convolution[T]) forward(m *memory[T], y []T, x [][]T) {
	a.there.apply(y, x[0], &m.frame, m.gemm)
	m.rows.flop += a.there.flop()
}

func (a *convolution[T]) backward(m *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	if a.back != nil {
		a.back.apply(dx, d, &m.back, m.gemm)
		m.rows.flop += a.back.flop()
		return
	}
	a.cols.apply(dx, d, &m.back, m.gemm)
	m.rows.flop += a.cols.flop()
}
