package cpu

import (
	"context"
	"fmt"

	"advsweep/internal/batch"

	"gorgonia.org/tensor"
)

// Gradient returns the gradient of Σ_j q_j·z_j with respect to x [rows, I], for weights q [rows, O]
// on the logits z, at the rows' x, which stay where they are. See pipeline.Backend.
func (b *Backend[T]) Gradient(ctx context.Context, q *tensor.Dense) (*tensor.Dense, error) {
	if err := b.ready(b.rows); err != nil {
		return nil, err
	}
	var weights []T
	if b.rows > 0 { // matrix refuses an empty batch
		var err error
		if weights, err = batch.Weights[T](q, b.rows, b.out); err != nil {
			return nil, fmt.Errorf("cpu: %w", err)
		}
	}
	d, err := b.matrix(ctx, b.in, func(w *scratch[T], lo, hi int) []T {
		return b.weightedGradient(w, weights[lo*b.out:hi*b.out], lo, hi)
	})
	if err != nil {
		return nil, err
	}
	if err := batch.FiniteGradient(d.Data().([]T), b.first+b.lo, len(b.eps), b.in, b.info.Precision); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	return d, nil
}

// weightedGradient returns Gradient for q [hi-lo, O] of rows lo to hi-1, [hi-lo, stride], valid
// until w is used again.
func (b *Backend[T]) weightedGradient(w *scratch[T], q []T, lo, hi int) []T {
	n := hi - lo
	var z []T
	part := b.part(lo, hi, 0)
	if b.net != nil {
		z = b.net.forward(w, b.images(w, lo, hi), part, true)
	} else {
		z = b.forward(w, lo, hi, 0)
	}
	ld := len(z) / n
	w.grad[0] = resize(w.grad[0], n*ld)
	for r := range n {
		copy(w.grad[0][r*ld:][:b.out], q[r*b.out:])
	}
	if b.net != nil {
		return b.net.backward(w, w.grad[0], part, nil)
	}
	return b.down(w, &w.rows, w.z, n, b.alike(lo, hi, 0), b.stripes(lo, hi, 0))
}
