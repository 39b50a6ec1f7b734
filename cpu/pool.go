package cpu

import (
	"math"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

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
