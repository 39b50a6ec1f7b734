package cpu

import (
	"advsweep/internal/batch"
	"advsweep/internal/lower"
)

// A depthwise is a convolution of each channel with a filter of its own. A sum has so few terms
// that no matrix product pays: it adds, place by place of a window, the products of all channels.
type depthwise[T Float] struct {
	pool
	w    []T // [KH·KW, C]
	bias []T // [C]
}

func newDepthwise[T Float](l *lower.Convolution) *depthwise[T] {
	a := &depthwise[T]{pool{l.Unfold}, nil, batch.Floats[T](nil, l.Bias)}
	w, channels := batch.Floats[T](nil, l.Weight), l.Out.C
	a.w = make([]T, len(w))
	lower.ToNHWC(a.w, w, lower.Shape{C: channels, H: l.Kernel[0], W: l.Kernel[1]})
	return a
}

// forward adds the terms of a sum in rising order of rows, and then of columns, of its window.
func (a *depthwise[T]) forward(m *memory[T], y []T, x [][]T) {
	c := a.Out.C
	for at := 0; at < len(y); at += c {
		copy(y[at:][:c], a.bias)
	}
	a.each(func(k, to, from, cols, step int) {
		w := a.w[k*c:][:c]
		for i := range cols {
			addProducts(y[to+i*c:], w, x[0][from+i*step:])
		}
	})
	m.rows.flop += a.flop()
}

func (a *depthwise[T]) backward(m *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	clear(dx)
	c := a.Out.C
	a.each(func(k, to, from, cols, step int) {
		w := a.w[k*c:][:c]
		for i := range cols {
			addProducts(dx[from+i*step:], w, d[to+i*c:])
		}
	})
	m.rows.flop += a.flop()
}

// addProducts adds w·x, number by number, to y. Each product is rounded before it is added.
func addProducts[T Float](y, w, x []T) {
	y, x = y[:len(w)], x[:len(w)]
	for i, w := range w {
		y[i] += T(w * x[i])
	}
}

// flop is how many operations one image takes.
func (a *depthwise[T]) flop() uint64 {
	return 2 * uint64(a.Out.Size()) * uint64(a.Kernel[0]*a.Kernel[1])
}
