package pipeline

import (
	"context"
	"math"

	"advsweep/internal/portable"

	"gorgonia.org/tensor"
)

// ascent writes to q [O] the gradient of the cross-entropy of logits z [O] with label y, divided by
// 1 - p_y > 0:
//
//	q_j = exp(z_j) / Σ_{k≠y} exp(z_k) for j ≠ y,  q_y = -1.
//
// The division takes no sign away and keeps those of confident images: see cpu/loss_gradient.go,
// whose bits it has once they are rounded to a backend's precision.
func ascent(q, z []float64, y int) {
	top := math.Inf(-1)
	for j, v := range z {
		if j != y {
			top = max(top, v)
		}
	}
	sum := 0.0
	for j, v := range z {
		if j != y {
			sum += portable.Exp(v - top)
		}
	}
	for j, v := range z {
		if j != y {
			q[j] = portable.Exp(v-top) / sum
		}
	}
	q[y] = -1
}

// lossGradient returns the direction in which FGSM moves the rows that b holds, whose logits are
// given: ∂L/∂x [rows, I] by ascent. label tells that of a row.
func lossGradient(ctx context.Context, b Backend, logits [][]float64, label func(r int) int) ([]float64, error) {
	classes := b.Info().Classes
	q := make([]float64, len(logits)*classes)
	for r, z := range logits {
		ascent(q[r*classes:][:classes], z, label(r))
	}
	d, err := b.Gradient(ctx, tensor.New(tensor.WithShape(len(logits), classes), tensor.WithBacking(q)))
	if err != nil {
		return nil, err
	}
	return float64s(d), nil
}
