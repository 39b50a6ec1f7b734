package cpu

import (
	"context"
	"fmt"

	"advsweep/internal/batch"

	"gorgonia.org/tensor"
)

// Gradient returns the gradient of Σ_j q_j·z_j with respect to x [rows, I], for weights q [rows,
// O] on the logits z. It is taken at the rows' x, which stay where they are. See pipeline.Backend.
func (b *Backend[T]) Gradient(ctx context.Context, q *tensor.Dense) (*tensor.Dense, error) {
	rows, in, out := b.batch.rows, b.model.in, b.model.out
	if err := b.ready(rows); err != nil {
		return nil, err
	}
	defer b.leave(b.enter(b.sloping()))
	var weights []T
	if rows > 0 { // matrix refuses an empty batch
		var err error
		if weights, err = batch.Weights[T](q, rows, out); err != nil {
			return nil, fmt.Errorf("cpu: %w", err)
		}
	}
	d, err := b.matrix(ctx, in, func(w *scratch[T], lo, hi int) []T {
		return b.weightedGradient(w, weights[lo*out:hi*out], lo, hi)
	})
	if err != nil {
		return nil, err
	}
	if err := batch.FiniteGradient(d.Data().([]T), b.loaded.first+b.batch.lo, len(b.batch.eps), in, b.model.info.Precision); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	return d, nil
}

// weightedGradient returns Gradient for q [hi-lo, O] of rows lo to hi-1, [hi-lo, stride]. It is
// valid until w is used again.
func (b *Backend[T]) weightedGradient(w *scratch[T], q []T, lo, hi int) []T {
	out := b.model.out
	return b.downFrom(w, b.slopingForward(w, lo, hi), lo, hi, func(r int, _, to []T) { copy(to, q[(r-lo)*out:][:out]) })
}
