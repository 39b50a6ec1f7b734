package cpu

import (
	"unsafe"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"

	"gorgonia.org/tensor"
)

// An affine is a layer y = x·Wᵀ + b, followed by ReLU if relu is set. Only a trainer changes it
// after New: its weights, not its shape.
type affine[T Float] struct {
	in, out int
	stride  int // from a row of outputs to the next: out, rounded up to whole vectors
	below   int // from a row of gradients at the input to the next: in, likewise
	relu    bool
	bias    []T             // [stride], 0 behind out
	wt, w   *gemm.Matrix[T] // Wᵀ [in, out] and W [out, in], packed: the weights are nowhere else
}

// newAffine packs weight [out, in] and bias [out]. The columns of weight are in the order of the
// layer's input.
func newAffine[T Float](kernel string, weight, bias *tensor.Dense) affine[T] {
	w := batch.Elements[T](weight)
	a := affine[T]{in: weight.Shape()[1], out: weight.Shape()[0]}
	a.wt = gemm.NewMatrix[T](kernel, a.in, a.out)
	a.wt.Pack(w, 1, a.in)
	a.w = gemm.NewMatrix[T](kernel, a.out, a.in)
	a.w.Pack(w, a.in, 1)
	a.stride, a.below = stride[T](a.wt.Padded()), stride[T](a.w.Padded())
	a.bias = make([]T, a.stride)
	copy(a.bias, batch.Elements[T](bias))
	return a
}

// weights returns a copy of W [out, in], for what is made of it once.
func (a *affine[T]) weights() []T {
	w := make([]T, a.out*a.in)
	a.w.Unpack(w, a.in, 1)
	return w
}

// forward writes y [rows, out] for x [rows, in].
func (a *affine[T]) forward(y, x []T, rows int, s *gemm.Scratch[T]) {
	for r := range rows {
		copy(y[r*a.out:][:a.out], a.bias)
	}
	a.wt.MulAdd(y, a.out, x, a.in, 1, rows, s)
	if a.relu {
		for i, v := range y {
			y[i] = max(v, 0)
		}
	}
}

// backward writes dx [rows, in] = dz·W. dz is dy where the ReLU let y through, and 0 where y <= 0.
// It takes the place of dy [rows, out].
func (a *affine[T]) backward(dx, dy, y []T, rows int, s *gemm.Scratch[T]) {
	a.mask(dy, y)
	clear(dx)
	a.w.MulAdd(dx, a.in, dy, a.out, 1, rows, s)
}

// mask is the ReLU's share of backward: dy ← 0 where y <= 0. A NaN in y masks nothing, so that the
// gradient shows it.
func (a *affine[T]) mask(dy, y []T) {
	if !a.relu {
		return
	}
	for i, v := range y {
		open := 1 // without a branch, which a processor could not predict
		if v <= 0 {
			open = 0
		}
		// Not times 0 or 1: an infinite dy at a dead unit must become 0, not NaN.
		dy[i] = [2]T{0, dy[i]}[open]
	}
}

// stride is the distance from a row of n elements to the next. At a multiple of 4096 bytes all rows
// would share the same sets of a first-level cache, which slows a pass over several rows at once.
func stride[T Float](n int) int {
	if n*int(unsafe.Sizeof(T(0)))%4096 == 0 {
		return n + 64/int(unsafe.Sizeof(T(0)))
	}
	return n
}
