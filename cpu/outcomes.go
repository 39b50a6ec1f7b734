package cpu

import (
	"context"
	"fmt"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"
)

// Outcomes returns logits, zero gradients and norms of all rows as they are. Then, if rounding is
// not nil, it rounds x and returns the classes there. See pipeline.Backend.
func (b *Backend[T]) Outcomes(ctx context.Context, rounding *backend.Rounding) (o backend.Outcomes, err error) {
	rows := b.batch.rows
	if err := b.ready(rows); err != nil {
		return o, err
	}
	if rounding != nil {
		if err := batch.KnownNorm(rounding.Norm); err != nil {
			return o, fmt.Errorf("cpu: round: %w", err)
		}
	}
	defer b.leave(b.enter(b.looking()))
	o.Zero, o.Norms = make([]bool, rows), make([]attack.Norms, rows)
	var z []T // [rows, O]
	if rows > 0 {
		if o.Logits, err = b.Logits(ctx); err != nil {
			return backend.Outcomes{}, err
		}
		z = o.Logits.Data().([]T)
	}
	if err := b.ZeroGradient(ctx, o.Zero); err != nil {
		return backend.Outcomes{}, err
	}
	if rounding == nil {
		if err := b.norms(ctx, o.Norms); err != nil {
			return backend.Outcomes{}, err
		}
		return o, nil
	}
	defer b.leave(b.enter(backend.Roundings))
	o.Rounded = make([]int32, rows)
	if err := b.round(ctx, rounding.Norm, z, o.Norms, o.Rounded); err != nil {
		return backend.Outcomes{}, b.lost(err)
	}
	return o, nil
}

// norms writes the norms of x - x0 of every row to dst [rows].
func (b *Backend[T]) norms(ctx context.Context, dst []attack.Norms) error {
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		x := b.images(w, lo, hi)
		for r := lo; r < hi; r++ {
			i, _ := b.batch.of(r)
			dst[r], _ = compare(&b.model.vec, x[(r-lo)*b.model.in:][:b.model.in], b.loaded.clean(i))
		}
	})
}
