package cpu

import (
	"fmt"
	"math"

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
			return newDepthwise[T](o), nil
		}
		return newConvolution[T](path, o), nil
	case lower.Scale:
		return &scale[T]{vec, batch.Floats[T](nil, o.Weight), batch.Floats[T](nil, o.Bias)}, nil
	case lower.MaxPool:
		return &maxPool[T]{vec, pool{o.Unfold}}, nil
	case lower.AvgPool:
		return newAvgPool(vec, pool{o.Unfold}, o.CountPad), nil
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

// A scale is x·w + b, with a w and a b for each channel.
type scale[T Float] struct {
	vec  gemm.Vector[T]
	w, b []T // [C]
}

func (a *scale[T]) forward(_ *memory[T], y []T, x [][]T) {
	a.by(y, x[0], func(w, b, x T) T { return T(w*x) + b })
}

func (a *scale[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	a.by(dx, d, func(w, _, d T) T { return w * d })
}

func (a *scale[T]) by(to, from []T, f func(w, b, v T) T) {
	for len(from) > 0 {
		for c, w := range a.w {
			to[c] = f(w, a.b[c], from[c])
		}
		to, from = to[len(a.w):], from[len(a.w):]
	}
}

// A pool is windows that slide over each channel.
type pool struct{ lower.Unfold }

// each goes through the rows of windows and, within a row, through the places k = (u, v) of a
// window. It calls f for the windows of that row in which the place is a pixel and not padding.
// These are cols windows side by side. The first of them is element y of the output. It has element
// x of the image at that place, and each further window has the element step behind.
func (p *pool) each(f func(k, y, x, cols, step int)) {
	in, out, stride, pad, far := p.In, p.Out, p.Stride, p.Pad, p.Dilation
	for r := range out.H {
		for u := range p.Kernel[0] {
			h := r*stride[0] + u*far[0] - pad[0]
			if h < 0 || h >= in.H {
				continue
			}
			for v := range p.Kernel[1] {
				// where the image begins, from the place in the first window
				left := pad[1] - v*far[1]
				// The first window where this place is not left of the image.
				first := max(0, (left+stride[1]-1)/stride[1])
				if last := min(out.W-1, (in.W-1+left)/stride[1]); in.W-1+left >= 0 && first <= last {
					f(u*p.Kernel[1]+v, (r*out.W+first)*out.C, (h*in.W+first*stride[1]-left)*in.C, last-first+1, stride[1]*in.C)
				}
			}
		}
	}
}

type maxPool[T Float] struct {
	vec gemm.Vector[T]
	pool
}

func (a *maxPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	inf := T(math.Inf(-1))
	for i := range y {
		y[i] = inf
	}
	c := a.Out.C
	a.each(func(_, to, from, cols, step int) { a.vec.Larger(cols, c, y[to:], c, x[0][from:], step) })
}

// backward adds each of d to the first largest element of its window. It is the first since each
// goes through the places of a window by rows and columns, and Hand takes what it gives out of d.
func (a *maxPool[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, y, d []T) {
	clear(dx)
	c := a.Out.C
	a.each(func(_, to, from, cols, step int) {
		a.vec.Hand(cols, c, dx[from:], step, x[0][from:], y[to:], c, d[to:])
	})
}

type avgPool[T Float] struct {
	vec gemm.Vector[T]
	pool
	count []T // [OH·OW]: how many elements each window averages
}

func newAvgPool[T Float](vec gemm.Vector[T], p pool, countPad bool) *avgPool[T] {
	a := &avgPool[T]{vec, p, make([]T, p.Out.Pixels())}
	p.each(func(_, to, _, cols, _ int) {
		for i := range cols {
			a.count[to/p.Out.C+i]++
		}
	})
	if countPad {
		for i := range a.count {
			a.count[i] = T(p.Kernel[0] * p.Kernel[1])
		}
	}
	return a
}

func (a *avgPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	clear(y)
	c := a.Out.C
	a.each(func(_, to, from, cols, step int) {
		for i := range cols {
			a.sum(y[to+i*c:][:c], x[0][from+i*step:])
		}
	})
	for i := range y {
		y[i] /= a.count[i/c]
	}
}

func (a *avgPool[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	clear(dx)
	c := a.Out.C
	for i := range d {
		d[i] /= a.count[i/c]
	}
	a.each(func(_, to, from, cols, step int) {
		for i := range cols {
			a.sum(dx[from+i*step:][:c], d[to+i*c:])
		}
	})
}

func (a *avgPool[T]) sum(to, from []T) {
	if len(to) >= short {
		a.vec.Add(to, from)
		return
	}
	for i := range to {
		to[i] += from[i]
	}
}

// An add is a residual connection: the sum of all that it takes.
type add[T Float] struct{ vec gemm.Vector[T] }

func (a add[T]) forward(_ *memory[T], y []T, x [][]T) {
	copy(y, x[0])
	for _, x := range x[1:] {
		a.vec.Add(y, x)
	}
}

func (a add[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) { copy(dx, d) }
