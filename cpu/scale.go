package cpu

import (
	"math"

	"advsweep/internal/gemm"
)

// A scale is x·w + b, with a w and a b for each channel.
type scale[T Float] struct {
	vec  gemm.Vector[T]
	w, b []T // [C]
	none []T // [C] of -0, which changes nothing that it is added to
}

func newScale[T Float](vec gemm.Vector[T], w, b []T) *scale[T] {
	none := make([]T, len(w))
	fill(none, T(math.Copysign(0, -1)))
	return &scale[T]{vec, w, b, none}
}

func (a *scale[T]) forward(_ *memory[T], y []T, x [][]T) { a.by(y, a.b, x[0]) }

func (a *scale[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) { a.by(dx, a.none, d) }

// by writes w·x, which is rounded, + b for all pixels of x.
func (a *scale[T]) by(y, b, x []T) {
	c := len(a.w)
	a.vec.Products(&gemm.Windows{N: len(x) / c, Channels: c, LDX: c, LDY: c, Places: onePlace}, y, b, x, a.w)
}

// onePlace is the places of a window that is one pixel.
var onePlace = []gemm.Place{{}}

// An add is a residual connection: the sum of all that it takes.
type add[T Float] struct{ vec gemm.Vector[T] }

func (a add[T]) forward(_ *memory[T], y []T, x [][]T) {
	if len(x) == 1 {
		copy(y, x[0])
		return
	}
	a.vec.Plus(y, x[0], x[1])
	for _, x := range x[2:] {
		a.vec.Add(y, x)
	}
}

func (a add[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) { copy(dx, d) }
