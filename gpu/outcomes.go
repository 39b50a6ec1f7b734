//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"fmt"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"

	"gorgonia.org/tensor"
)

// Outcomes returns the logits, zero gradients and norms of all rows as they are. If rounding is not
// nil, it then rounds x and returns the classes there. See pipeline.Backend.
//
// A device works through all rows and starts all copies before anything waits, and then waits once.
// It waits once more for each mostPinned bytes that come down.
func (b *Backend) Outcomes(ctx context.Context, rounding *backend.Rounding) (backend.Outcomes, error) {
	var o backend.Outcomes
	if err := b.ready(b.rows); err != nil {
		return o, err
	}
	if rounding != nil {
		if err := batch.KnownNorm(rounding.Norm); err != nil {
			return o, fmt.Errorf("gpu: round: %w", err)
		}
	}
	logits := make([]float32, b.rows*b.out)
	o.Zero, o.Norms = make([]bool, b.rows), make([]attack.Norms, b.rows)
	if rounding != nil {
		o.Rounded = make([]int32, b.rows)
	}
	err := b.collect(ctx, func(p *card) error {
		if err := p.downloads.reserve(p.outcomeBytes()); err != nil {
			return err
		}
		if err := p.logits(ctx, rowsOf(b, p, logits, b.out)); err != nil {
			return err
		}
		if err := p.zeroGradient(rowsOf(b, p, o.Zero, 1)); err != nil {
			return err
		}
		if err := p.rowNorms(ctx, rowsOf(b, p, o.Norms, 1)); err != nil || rounding == nil {
			return err
		}
		if err := p.roundPixels(ctx, rounding.Norm); err != nil {
			return err
		}
		return p.predictions(ctx, rowsOf(b, p, o.Rounded, 1))
	})
	if err != nil {
		return backend.Outcomes{}, err
	}
	if b.rows > 0 {
		o.Logits = tensor.New(tensor.WithShape(b.rows, b.out), tensor.WithBacking(logits))
	}
	return o, nil
}

// outcomeBytes is how much comes down for Outcomes of all rows: logits, classes, norms, and which
// gradients were zero.
func (p *card) outcomeBytes() int {
	return p.batch.rows()*(4*p.out()+4+normsBytes+1) + p.batch.images
}
