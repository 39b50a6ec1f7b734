package cpu

import (
	"slices"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A pool is windows that slide over each channel.
type pool struct {
	lower.Unfold
	there []span
}

func newPool(l lower.Unfold) pool { return pool{l, there(l)} }

type maxPool[T Float] struct {
	vec gemm.Vector[T]
	pool
	// last are the spans on the way back: of each row of windows, the last one first. A pixel then
	// gets what it gets in the order of back.
	last []span
	// once says that no pixel is in two windows, and all that each is in one.
	once, all bool
}

func newMaxPool[T Float](vec gemm.Vector[T], p pool) *maxPool[T] {
	a := &maxPool[T]{vec, p, slices.Clone(p.there), true, true}
	row := p.Out.W * p.Out.C
	slices.SortStableFunc(a.last, func(s, t span) int {
		if r := s.to/row - t.to/row; r != 0 {
			return r
		}
		return t.to - s.to
	})
	for _, s := range backByPlace(p.Unfold) {
		a.once = a.once && len(s.Places) <= 1
		a.all = a.all && len(s.Places) > 0
	}
	return a
}

func (a *maxPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	for i := range a.there {
		s := &a.there[i]
		a.vec.Largest(&s.Windows, y[s.to:], x[0][s.from:])
	}
}

// backward adds each of d to the first largest element of its window.
func (a *maxPool[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, y, d []T) {
	if !a.once || !a.all {
		clear(dx)
	}
	for i := range a.last {
		s := &a.last[i]
		a.vec.Hand(&s.Windows, dx[s.from:], x[0][s.from:], y[s.to:], d[s.to:], !a.once)
	}
}

type avgPool[T Float] struct {
	vec gemm.Vector[T]
	pool
	back  []span
	count []T // [OH·OW]: how many elements each window averages
}

func newAvgPool[T Float](vec gemm.Vector[T], p pool, countPad bool) *avgPool[T] {
	a := &avgPool[T]{vec, p, backByPlace(p.Unfold), make([]T, p.Out.Pixels())}
	for _, s := range p.there {
		n := T(len(s.Places))
		if countPad {
			n = T(p.Places())
		}
		fill(a.count[s.to/p.Out.C:][:s.N], n)
	}
	return a
}

func (a *avgPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	for i := range a.there {
		s := &a.there[i]
		a.vec.Mean(&s.Windows, y[s.to:], x[0][s.from:], a.count[s.to/a.Out.C])
	}
}

// backward divides d in its place, and then adds it up.
func (a *avgPool[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	c := a.Out.C
	for i := range a.there {
		s := &a.there[i]
		d := d[s.to:]
		a.vec.Mean(&gemm.Windows{N: s.N, Channels: c, LDX: c, LDY: c, Places: onePlace}, d, d, a.count[s.to/c])
	}
	for i := range a.back {
		s := &a.back[i]
		a.vec.Sum(&s.Windows, dx[s.to:], d[s.from:])
	}
}
