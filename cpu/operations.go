package cpu

import (
	"fmt"
	"math"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// An operation is what a layer other than Linear does to one image.
type operation[T Float] interface {
	// forward writes y for all that the layer takes.
	forward(m *memory[T], y []T, x [][]T)
	// backward writes the gradient dx at x, one of what the layer takes, for d at its output y. It
	// may change d.
	backward(m *memory[T], dx, x, y, d []T)
}

// A memory is what one worker has for one layer.
type memory[T Float] struct {
	frame, back []T
	rows        *rows[T] // counts
	gemm        *gemm.Scratch[T]
	packed      *gemm.Matrix[T] // see learn
}

// newOperation returns the operation of op. It returns an error for one that there is none of.
func newOperation[T Float](path string, op lower.Op) (operation[T], error) {
	vec := gemm.NewVector[T](path)
	switch o := op.Operation.(type) {
	case *lower.Convolution:
		return newConvolution[T](path, o), nil
	case lower.Scale:
		return &scale[T]{vec, batch.Floats[T](nil, o.Weight), batch.Floats[T](nil, o.Bias)}, nil
	case lower.MaxPool:
		return &maxPool[T]{vec, newPool(o.Windows)}, nil
	case lower.AvgPool:
		return newAvgPool(vec, newPool(o.Windows), o.CountPad), nil
	case lower.Add:
		return add[T]{vec}, nil
	case lower.Elementwise:
		return newElementwise(vec, o)
	}
	return nil, fmt.Errorf("layer %d: no operation for %T", op.Layer, op.Operation)
}

// A convolution goes forward by the windows of its input. Backward it goes by windows of d, the
// filters turned round, where these are the same number and there are channels enough to fill
// vectors, and else by columns.
type convolution[T Float] struct {
	there *windows[T]
	back  *windows[T]
	cols  *columns[T]
}

func newConvolution[T Float](path string, l *lower.Convolution) *convolution[T] {
	filter := lower.Filter(l.Weight.Shape(), batch.Floats[T](nil, l.Weight))
	a := &convolution[T]{there: newWindows(path, l.Windows, batch.Floats[T](nil, l.Bias), filter)}
	if l.Back != nil {
		a.back = newWindows(path, *l.Back, nil, lower.TurnedRound(l.Kernel, filter))
	} else {
		a.cols = newColumns(path, shapeOf(l.In), shapeOf(l.Out), l.Kernel, l.Stride, l.Pad, filter)
	}
	return a
}

// pack takes new weights.
func (a *convolution[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	a.there.pack(weight)
	copy(a.there.from, bias)
	if a.back != nil {
		a.back.pack(lower.TurnedRound(a.back.kernel, weight))
	} else {
		a.cols.pack(weight)
	}
}

func (a *convolution[T]) forward(m *memory[T], y []T, x [][]T) {
	a.there.apply(y, x[0], &m.frame, m.gemm)
	m.rows.flop += a.there.flop()
}

func (a *convolution[T]) backward(m *memory[T], dx, _, _, d []T) {
	if a.back != nil {
		a.back.apply(dx, d, &m.back, m.gemm)
		m.rows.flop += a.back.flop()
		return
	}
	a.cols.apply(dx, d, &m.back, m.gemm)
	m.rows.flop += a.cols.flop()
}

// A scale is x·w + b by channel.
type scale[T Float] struct {
	vec  gemm.Vector[T]
	w, b []T // [C]
}

func (a *scale[T]) forward(_ *memory[T], y []T, x [][]T) {
	a.by(y, x[0], func(w, b, x T) T { return T(w*x) + b })
}

func (a *scale[T]) backward(_ *memory[T], dx, _, _, d []T) {
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

// A pool has windows in each channel.
type pool struct {
	in, out        shape
	kernel, stride [2]int
	pad            [4]int
}

func newPool(w lower.Windows) pool {
	return pool{shapeOf(w.In), shapeOf(w.Out), w.Kernel, w.Stride, w.Pad}
}

// each calls f for each row of windows and each place of a window that lies within the image there:
// for the windows cols, of which at is the first, from element at to on, and the elements x of the
// image, step apart.
func (p *pool) each(row func(r int), f func(y, x, cols, step int)) {
	for r := range p.out.h {
		row(r)
		for u := range p.kernel[0] {
			h := r*p.stride[0] + u - p.pad[0]
			if h < 0 || h >= p.in.h {
				continue
			}
			for v := range p.kernel[1] {
				// the first window where this place is not left of the image
				first := max(0, (p.pad[1]-v+p.stride[1]-1)/p.stride[1])
				if last := min(p.out.w-1, (p.in.w-1+p.pad[1]-v)/p.stride[1]); p.in.w-1+p.pad[1]-v >= 0 && first <= last {
					f((r*p.out.w+first)*p.out.c, (h*p.in.w+first*p.stride[1]+v-p.pad[1])*p.in.c, last-first+1, p.stride[1]*p.in.c)
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
	c := a.out.c
	a.each(func(int) {}, func(to, from, cols, step int) { a.vec.Larger(cols, c, y[to:], c, x[0][from:], step) })
}

// backward gives each of d to the first element of its window that is the largest: each calls by
// rows and columns of windows.
func (a *maxPool[T]) backward(_ *memory[T], dx, x, y, d []T) {
	clear(dx)
	c := a.out.c
	a.each(func(int) {}, func(to, from, cols, step int) {
		a.vec.Hand(cols, c, dx[from:], step, x[from:], y[to:], c, d[to:])
	})
}

type avgPool[T Float] struct {
	vec gemm.Vector[T]
	pool
	count []T // [out.h·out.w]: elements of each window
}

func newAvgPool[T Float](vec gemm.Vector[T], p pool, countPad bool) *avgPool[T] {
	a := &avgPool[T]{vec, p, make([]T, p.out.h*p.out.w)}
	p.each(func(int) {}, func(to, _, cols, _ int) {
		for i := range cols {
			a.count[to/p.out.c+i]++
		}
	})
	if countPad {
		for i := range a.count {
			a.count[i] = T(p.kernel[0] * p.kernel[1])
		}
	}
	return a
}

func (a *avgPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	clear(y)
	c := a.out.c
	a.each(func(int) {}, func(to, from, cols, step int) {
		for i := range cols {
			a.sum(y[to+i*c:][:c], x[0][from+i*step:])
		}
	})
	for i := range y {
		y[i] /= a.count[i/c]
	}
}

func (a *avgPool[T]) backward(_ *memory[T], dx, _, _, d []T) {
	clear(dx)
	c := a.out.c
	for i := range d {
		d[i] /= a.count[i/c]
	}
	a.each(func(int) {}, func(to, from, cols, step int) {
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

// add is a residual connection.
type add[T Float] struct{ vec gemm.Vector[T] }

func (a add[T]) forward(_ *memory[T], y []T, x [][]T) {
	copy(y, x[0])
	for _, x := range x[1:] {
		a.vec.Add(y, x)
	}
}

func (a add[T]) backward(_ *memory[T], dx, _, _, d []T) { copy(dx, d) }
