package certify

import (
	"context"
	"math"
)

// Linear returns the linear functions that CROWN puts below the rows of Lower: at every point x of
// the box Σ_j rows[k][j]·z_j is not below slopes[k]·x + d for some d, which is least [K] at the
// corner of the box where slopes[k]·x is least. least is proven as that of Lower is; slopes [K][I],
// in the order of the model's inputs, say where to look and no more, as they are rounded to
// float32.
func (c *Certifier) Linear(ctx context.Context, lo, hi []float64, rows [][]float64) (least []float64, slopes [][]float64, err error) {
	if err := c.fits(lo, hi, rows); err != nil {
		return nil, nil, err
	}
	w := c.spare.Get().(*work)
	defer c.spare.Put(w)
	w.ctx = ctx
	w.load(lo, hi)
	if err := w.forward(true); err != nil {
		return nil, nil, err
	}
	p := w.logits(rows)
	p.kept = make([][]float32, len(w.boxes))
	if err := w.run(p, len(w.nodes)); err != nil {
		return nil, nil, err
	}
	ld, image := wide(w.size(0)), p.kept[0]
	least, slopes = make([]float64, len(rows)), make([][]float64, len(rows))
	for k := range rows {
		if least[k] = p.bound(k); !(least[k] > math.Inf(-1)) { // NaN
			least[k] = math.Inf(-1)
		}
		slopes[k] = make([]float64, len(lo))
		if image == nil { // no row depends on the image
			continue
		}
		for o, i := range w.order {
			slopes[k][i] = float64(image[k*ld+o])
		}
	}
	for _, a := range p.kept {
		if a != nil {
			w.release(a)
		}
	}
	return least, slopes, nil
}
