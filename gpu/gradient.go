//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"fmt"

	"advsweep/internal/batch"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// Gradient returns the gradient of Σ_j q_j·z_j with respect to x, as Float32 [rows, I]. q [rows, O]
// are weights on the logits z. The rows stay where they are. See pipeline.Backend.
func (b *Backend) Gradient(ctx context.Context, q *tensor.Dense) (*tensor.Dense, error) {
	if err := b.ready(b.rows); err != nil {
		return nil, err
	}
	var weights []float32
	if b.rows > 0 { // matrix refuses an empty batch below
		var err error
		if weights, err = batch.Weights[float32](q, b.rows, b.out); err != nil {
			return nil, fmt.Errorf("gpu: %w", err)
		}
	}
	d, err := b.matrix(ctx, b.in, func(p *card, dst []float32) error {
		return p.weightedGradient(ctx, rowsOf(b, p, weights, b.out), dst)
	})
	if err != nil {
		return nil, err
	}
	if err := batch.FiniteGradient(d.Data().([]float32), b.first+b.lo, len(b.eps), b.in, "float32"); err != nil {
		return nil, fmt.Errorf("gpu: %w", err)
	}
	return d, nil
}

// weightedGradient starts the download of Gradient for q [rows, classes] to dst [rows, inputs],
// both of the card's rows.
func (p *card) weightedGradient(ctx context.Context, q, dst []float32) error {
	return p.rowsTo(ctx, dst, p.inputs, func(c span) (cu.DevicePtr, error) {
		if _, err := p.forward(c, 0); err != nil {
			return 0, err
		}
		piece := make([]float32, c.n*p.out()) // with zeros in the padding
		for k := range c.n {
			copy(piece[k*p.out():][:p.classes], q[(c.first+k)*p.classes:])
		}
		if err := upload(p.device, p.scratch.q.DevicePtr, piece); err != nil {
			return 0, err
		}
		return p.model.backward(p.scratch.q.DevicePtr, c.n)
	})
}
