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
	if err := b.ready(b.batch.rows); err != nil {
		return o, err
	}
	if rounding != nil {
		if err := batch.KnownNorm(rounding.Norm); err != nil {
			return o, fmt.Errorf("cpu: round: %w", err)
		}
	}
	defer b.leave(b.enter(b.looking()))
	o.Zero, o.Norms = make([]bool, b.batch.rows), make([]attack.Norms, b.batch.rows)
	if b.batch.rows > 0 {
		if o.Logits, err = b.Logits(ctx); err != nil {
			return backend.Outcomes{}, err
		}
	}
	if err := b.ZeroGradient(ctx, o.Zero); err != nil {
		return backend.Outcomes{}, err
	}
	if err := b.norms(ctx, o.Norms); err != nil {
		return backend.Outcomes{}, err
	}
	if rounding == nil {
		return o, nil
	}
	defer b.leave(b.enter(backend.Roundings))
	if err := b.roundPixels(ctx, rounding.Norm); err != nil {
		return backend.Outcomes{}, err
	}
	o.Rounded = make([]int32, b.batch.rows)
	if err := b.Predictions(ctx, o.Rounded); err != nil {
		return backend.Outcomes{}, err
	}
	return o, nil
}
