package pipeline

import (
	"context"
	"fmt"

	"advsweep/attack"

	"gorgonia.org/tensor"
)

// lossGradient returns the direction in which FGSM moves the rows that b holds: ∂L/∂x [rows, I],
// each row divided by its positive 1 - p_y, see attack.CrossEntropyGradient. logits [rows, O] are
// the rows', and label returns the label of a row.
func lossGradient(ctx context.Context, b Backend, logits [][]float64, label func(r int) int) ([]float64, error) {
	classes := b.Info().Classes
	q := make([]float64, len(logits)*classes)
	for r, z := range logits {
		attack.CrossEntropyGradient(q[r*classes:][:classes], z, label(r))
	}
	return gradient(ctx, b, q)
}

// gradient is Backend.Gradient of weights q, of all rows and logits one after another.
func gradient(ctx context.Context, b Backend, q []float64) ([]float64, error) {
	classes := b.Info().Classes
	if len(q) == 0 || len(q)%classes != 0 {
		return nil, fmt.Errorf("pipeline: gradient: %d weights, want one for each of %d logits of every row", len(q), classes)
	}
	d, err := b.Gradient(ctx, tensor.New(tensor.WithShape(len(q)/classes, classes), tensor.WithBacking(q)))
	if err != nil {
		return nil, err
	}
	return float64s(d), nil
}
