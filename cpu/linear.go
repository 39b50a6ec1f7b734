package cpu

import "context"

// CanBound is pipeline.Bounder.CanBound.
func (b *Backend[T]) CanBound() bool {
	_, err := b.certifier()
	return err == nil
}

// Linear is pipeline.Bounder.Linear, by CROWN.
func (b *Backend[T]) Linear(ctx context.Context, lo, hi []float64, rows [][]float64) (least []float64, slopes [][]float64, err error) {
	c, err := b.certifier()
	if err != nil {
		return nil, nil, err
	}
	return c.Linear(ctx, lo, hi, rows)
}
