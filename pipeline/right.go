package pipeline

import (
	"context"
	"errors"
	"fmt"

	"advsweep/attack"

	"gorgonia.org/tensor"
)

// Right returns which images of x0 [N, …], as Backend.Load takes them, are classified correctly,
// [N]. Their labels are [N], and first is the index of the first image in its data set. most bounds
// the rows of a batch, if it is less than backend.Info.Rows; 0 does not. It returns a
// *NotFiniteError for logits that are not finite, and an error of the backend as it is.
func Right(ctx context.Context, b Backend, first int, x0 *tensor.Dense, labels []int32, most int) ([]bool, error) {
	n := len(labels)
	if x0 == nil || n == 0 || x0.Shape()[0] != n {
		return nil, errors.New("pipeline: no images, or not as many as labels")
	}
	info := b.Info()
	if got := x0.DataSize() / n; got != info.Inputs {
		return nil, fmt.Errorf("pipeline: images %v have %d pixels, the model takes %d", x0.Shape(), got, info.Inputs)
	}
	if err := b.Load(ctx, first, x0, labels); err != nil {
		return nil, err
	}
	of := held{labels: labels, first: first, shape: x0.Shape()[1:]}
	r := sweeping{Sweep: Sweep{Rows: most}, b: b, held: of}
	right := make([]bool, n)
	err := r.batches(batch{0, n, 0, 1, 0, 1}, true, func(bt batch) error {
		one, err := newRows(ctx, b, untouched, []float64{0}, attack.Bounds{}, of, bt.lo, bt.hi)
		if err != nil {
			return err
		}
		logits, err := one.logits(ctx)
		if err != nil {
			return err
		}
		for k, z := range logits {
			class, _, ok := attack.Judge(z, one.label(k))
			if !ok {
				return one.named(notFinite(k))
			}
			right[bt.lo+k] = class == one.label(k)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return right, nil
}
