package cpu

import "advsweep/internal/gemm"

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

// An add is a residual connection: the sum of all that it takes.
type add[T Float] struct{ vec gemm.Vector[T] }

func (a add[T]) forward(_ *memory[T], y []T, x [][]T) {
	copy(y, x[0])
	for _, x := range x[1:] {
		a.vec.Add(y, x)
	}
}

func (a add[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) { copy(dx, d) }
