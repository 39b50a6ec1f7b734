package cpu

import (
	"context"
	"math"

	"advsweep/internal/gemm"
)

// spectral returns a bound on the spectral norm of what weights returns [rows, columns], or 0 where
// none is found. With G the smaller one of W·Wᵀ and Wᵀ·W,
//
//	‖W‖₂² = ‖G‖₂ and ‖G‖₂² = ‖G²‖₂ <= ‖G²‖_F,
//
// so that each squaring brings the bound nearer. A product of float numbers with chains of n terms
// errs in the Frobenius norm by n roundings of ‖A‖_F·‖B‖_F at most.
func (b *Backend[T]) spectral(weights func() []T, rows, columns int) float64 {
	w := weights()
	n, k, rs, cs := rows, columns, columns, 1 // G = A·Aᵀ for A [n, k]
	if columns < rows {
		n, k, rs, cs = columns, rows, 1, columns
	}
	f := norm2(w)
	if !(f > 1e-6 && f < 1e6) { // G might not hold the squares
		return 0
	}
	g := b.square(w, rs, cs, n, k)
	frobenius, errors := []float64{norm2(g)}, []float64{roundings[T](k) * f * f}
	for range squarings(n) {
		last := frobenius[len(frobenius)-1]
		if last > 1e15 || last < 1e-15 {
			break
		}
		g = b.square(g, n, 1, n, n)
		frobenius, errors = append(frobenius, norm2(g)), append(errors, roundings[T](n)*last*last)
	}
	norm := frobenius[len(frobenius)-1]
	for j := len(errors) - 1; j >= 0; j-- {
		norm = math.Sqrt(norm + errors[j])
	}
	return norm * spare
}

// roundings is the relative error of n roundings.
func roundings[T Float](n int) float64 {
	u, _ := roundoff[T]()
	return float64(n) * u * (1 + float64(2*float64(n)*u))
}

// squarings is how often a G [n, n] is squared. A large one takes long.
func squarings(n int) int {
	if n <= 128 {
		return 3
	}
	return 1
}

// spectralWork is about how many multiplications spectral takes for a matrix [rows, columns].
func spectralWork(rows, columns int) float64 {
	n, k := float64(min(rows, columns)), float64(max(rows, columns))
	return float64(n * n * (k + float64(float64(squarings(int(n)))*n)) * (squareParts + 1) / (2 * squareParts))
}

// squareParts is how many blocks of rows square makes.
const squareParts = 8

// square returns A·Aᵀ [n, n], for A [n, k] with strides (rs, cs). It computes a little more than
// the upper half, since the other has the same bits.
func (b *Backend[T]) square(a []T, rs, cs, n, k int) []T {
	c := make([]T, n*n)
	// It never ends early: there is no one to tell.
	_ = b.workers.run(context.Background(), squareParts, func(w *scratch[T], i int) {
		lo, hi := n*i/squareParts, n*(i+1)/squareParts
		if lo == hi {
			return
		}
		m := gemm.NewMatrix[T](b.model.kernel, k, n-lo)
		m.Pack(a[lo*rs:], cs, rs)
		m.MulAdd(c[lo*n+lo:], n, a[lo*rs:], rs, cs, hi-lo, &w.gemm)
		w.rows.flop += 2 * uint64(hi-lo) * uint64(n-lo) * uint64(k)
	})
	for r := range n {
		for j := range r {
			c[r*n+j] = c[j*n+r]
		}
	}
	return c
}
