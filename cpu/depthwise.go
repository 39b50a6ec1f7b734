package cpu

import (
	"unsafe"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A depthwise is a convolution of each channel with a filter of its own. A sum has so few terms
// that no matrix product pays. It is made in a register, of the products of one channel.
type depthwise[T Float] struct {
	lower.Unfold
	vec         gemm.Vector[T]
	w           []T // [KH·KW, C]
	bias, zeros []T // [C]
	there, back []span
	block       int // channels
}

// depthwiseBytes is about how many weights are in use at once. They should stay in the first-level
// cache beside a few rows of the image. How many these are changes no bit.
const depthwiseBytes = 8 << 10

func newDepthwise[T Float](vec gemm.Vector[T], l *lower.Convolution) *depthwise[T] {
	w, channels := batch.Elements[T](l.Weight), l.Out.C
	a := &depthwise[T]{
		Unfold: l.Unfold, vec: vec, w: make([]T, len(w)), bias: batch.Floats[T](nil, l.Bias), zeros: make([]T, channels),
		there: there(l.Unfold), back: backByPlace(l.Unfold),
	}
	lower.ToNHWC(a.w, w, lower.Shape{C: channels, H: l.Kernel[0], W: l.Kernel[1]})
	const lanes = 16 // a vector, or some
	a.block = max(1, depthwiseBytes/(l.Places()*lanes*int(unsafe.Sizeof(T(0))))) * lanes
	return a
}

// forward adds the terms of a sum in rising order of rows, and then of columns, of its window.
func (a *depthwise[T]) forward(m *memory[T], y []T, x [][]T) {
	a.apply(a.there, y, a.bias, x[0])
	m.rows.flop += a.flop()
}

// backward adds them as back says, so that dx is written once.
func (a *depthwise[T]) backward(m *memory[T], dx []T, _ [][]T, _ int, _, d []T) {
	a.apply(a.back, dx, a.zeros, d)
	m.rows.flop += a.flop()
}

// apply computes a block of channels after another.
func (a *depthwise[T]) apply(spans []span, y, from, x []T) {
	for c := 0; c < a.Out.C; c += a.block {
		for i := range spans {
			s := &spans[i]
			g := s.Windows
			g.Channels = min(a.block, a.Out.C-c)
			a.vec.Products(&g, y[s.to+c:], from[c:], x[s.from+c:], a.w[c:])
		}
	}
}

// flop is how many operations one image takes.
func (a *depthwise[T]) flop() uint64 {
	return 2 * uint64(a.Out.Size()) * uint64(a.Places())
}
