package pipeline

import (
	"context"

	"advsweep/internal/threads"
)

// A Bounder is a Backend that can put linear functions below sums of logits, as certify.Certifier
// does.
type Bounder interface {
	Backend
	// CanBound reports whether it can for the model that it holds: whether Linear is more than an
	// error.
	CanBound() bool
	// Linear returns, for each of rows [K][O], the slopes [K][I] of a linear function of the pixels
	// that is nowhere in the box lo, hi [I] above Σ_j rows[k][j]·z_j, but for a constant; and the
	// least value of the function, with the constant, in the box. Several goroutines may call it.
	Linear(ctx context.Context, lo, hi []float64, rows [][]float64) (least []float64, slopes [][]float64, err error)
}

// Slopes is attack.Sloper.Slopes. Rows of one image at one eps share the bounds inside the network.
func (r *rows) Slopes(ctx context.Context) ([][]float64, error) {
	labels, n, O := r.Labels(), r.n(), r.b.Info().Classes
	weights := make([]float64, n*O)
	for k, y := range labels {
		weights[k*O+int(y)]++
		weights[k*O+int(r.targets[k])]--
	}
	b, ok := r.b.(Bounder)
	if !ok || !b.CanBound() {
		return nil, nil
	}
	clean, err := r.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	lo, hi := r.bounds.Ends()
	all, failed := make([][]float64, n), make([]error, n/r.R)
	threads.Each(r.Threads(), n/r.R, func(_, g int) {
		first := g * r.R
		eps := r.columns[first%len(r.columns)]
		low, high := make([]float64, len(clean[first])), make([]float64, len(clean[first]))
		for i, v := range clean[first] {
			low[i], high[i] = min(max(v-eps, lo), v), max(min(v+eps, hi), v)
		}
		q := make([][]float64, r.R)
		for k := range q {
			q[k] = weights[(first+k)*O:][:O]
		}
		_, slopes, err := b.Linear(ctx, low, high, q)
		failed[g] = err
		copy(all[first:first+r.R], slopes)
	})
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
