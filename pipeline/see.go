package pipeline

import (
	"context"

	"gorgonia.org/tensor"
)

// See is Seer.See, by Logits and Gradient if b is no Seer. Then it returns NotFiniteRow, with the
// logits, for the first row whose logits are not finite.
func See(ctx context.Context, b Backend, weigh func(row int, z, q []float64)) (logits, gradient *tensor.Dense, err error) {
	if s, ok := b.(Seer); ok {
		return s.See(ctx, weigh)
	}
	if logits, err = b.Logits(ctx); err != nil || logits == nil {
		return nil, nil, err
	}
	z, classes := float64s(logits), b.Info().Classes
	q := make([]float64, len(z))
	for k := range len(z) / classes {
		one := z[k*classes:][:classes]
		if err := finiteRows([][]float64{one}); err != nil {
			return logits, nil, notFinite(k)
		}
		weigh(k, one, q[k*classes:][:classes])
	}
	gradient, err = b.Gradient(ctx, tensor.New(tensor.WithShape(len(z)/classes, classes), tensor.WithBacking(q)))
	return logits, gradient, err
}
