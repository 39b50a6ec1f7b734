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
	if places.Tiled {
		return newWinograd(path, places, bias, weight)
	}
	return newIm2col(path, places, bias, weight)
}

func newConvolution[T Float](path string, l *lower.Convolution) *convolution[T] {
	filter := lower.Filter(l.Weight.Shape(), batch.Floats[T](nil, l.Weight))
	a := &convolution[T]{lowered: l, weight: filter, bias: batch.Floats[T](nil, l.Bias)}
	a.there = newWay(path, l.Unfold, a.bias, filter)
	if l.Back != nil {
		a.back = newWay(path, *l.Back, nil, lower.FlipTranspose(l, filter))
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
