package cpu

import (
	"context"
	"slices"

	"advsweep/internal/gemm"
)

// A rates bounds how far logits can leave the straight line between two points of a ray.
//
// Let h be a unit after its ReLU, and h̃ the line from h(e0) to h(e1) between the points e0 and e1
// of a ray. If the unit's input z is straight and changes sign, then h lies below h̃, by at most
//
//	p = |z(e0)·z(e1)|/(|z(e0)|+|z(e1)|).
//
// An affine layer takes lines to lines, and a ReLU moves no two values further apart. So a margin
// of the logits leaves its own line by at most a sum over the units of all layers that change
// sign: of p times the unit's rate. The rate is how much the margin can change, along all paths,
// for each 1 that h changes. A pixel that stops at a bound is such a unit too.
//
// There are two rates for a margin z_y - z_c. If h falls by 1, the margin falls by at most down and
// rises by at most up. If h rises by 1, it is the other way round. With v⁺ = max(v, 0) and v⁻ =
// max(-v, 0)
//
//	down_k = (W_yk - W_ck)⁺, up_k = (W_yk - W_ck)⁻ in the last layer,
//	down ← down·W⁺ + up·W⁻, up ← down·W⁻ + up·W⁺ through each layer below.
//
// Only rate changes it, before a walk.
type rates[T Float] struct {
	// of has by layer [L] and label [O] the rates of the layer's input [in, 2·C]: down for each
	// rival [C], then up for each. With more than maxRated classes all labels share one matrix,
	// which has one rival, the worst.
	of      [][]*gemm.Matrix[T]
	classes int // C
	// For the lowest layer that is there, by label: down + up, and down - up, [C, in]. The rates of
	// the layer below are computed from these.
	sum, dif [][]T

	rivals [][]int32 // [O]: the classes that a label can lose to
	// [O]: the label loses every tie with a class of equal weights: it is never given
	never  []bool
	spread []T // max_c W_ck - min_c W_ck of the last layer [in]
}

// maxRated is the most classes for which each label has rates of its own. Those of more would take
// too much memory.
const maxRated = 32

// rate computes the rates from the last layer down to the input of layer lowest, 0 or 1. It starts
// from what is there already. After an error, which is ctx's, there are none.
func (m *mlp[T]) rate(ctx context.Context, workers *workers[T], lowest int) error {
	L := len(m.layers)
	if m.rates == nil {
		m.rates = newRates(m.kernel, m.top(), L)
	}
	r := m.rates
	for l := L - 1; l > lowest; l-- {
		if r.of[l-1] != nil {
			continue
		}
		a := &m.layers[l-1]
		absolute := a.w.Abs()
		of := make([]*gemm.Matrix[T], len(r.sum))
		err := workers.run(ctx, len(of), func(w *scratch[T], y int) {
			sum, dif := make([]T, r.classes*a.in), make([]T, r.classes*a.in)
			absolute.MulAdd(sum, a.in, r.sum[y], a.out, 1, r.classes, &w.gemm)
			a.w.MulAdd(dif, a.in, r.dif[y], a.out, 1, r.classes, &w.gemm)
			w.rows.flop += 2 * 2 * uint64(r.classes) * uint64(a.in) * uint64(a.out)
			r.sum[y], r.dif[y] = sum, dif
			of[y] = r.matrix(m.kernel, y, a.in)
		})
		if err != nil {
			m.rates = nil // some of its sums are of one layer, some of the next
			return err
		}
		r.of[l-1] = of
	}
	return nil
}

// newRates returns the rates of the last layer.
func newRates[T Float](kernel string, top *affine[T], L int) *rates[T] {
	O, n := top.out, top.in
	r := &rates[T]{of: make([][]*gemm.Matrix[T], L), rivals: make([][]int32, O), never: make([]bool, O), spread: make([]T, n)}
	weights := top.weights()
	row := func(c int) []T { return weights[c*n:][:n] }
	for y := range O {
		for c := range O {
			if c != y && (top.bias[y] != top.bias[c] || !slices.Equal(row(y), row(c))) {
				r.rivals[y] = append(r.rivals[y], int32(c))
			} else if c < y {
				r.never[y] = true
			}
		}
	}
	for k := range n {
		lo, hi := weights[k], weights[k]
		for c := range O {
			lo, hi = min(lo, row(c)[k]), max(hi, row(c)[k])
		}
		r.spread[k] = hi - lo
	}
	if O > maxRated { // down = up = spread
		twice := slices.Clone(r.spread)
		for k := range twice {
			twice[k] *= 2
		}
		r.classes, r.sum, r.dif = 1, [][]T{twice}, [][]T{make([]T, n)}
	} else {
		r.classes, r.sum, r.dif = O, make([][]T, O), make([][]T, O)
		for y := range O {
			r.sum[y], r.dif[y] = make([]T, O*n), make([]T, O*n)
			for c := range O {
				for k, w := range row(y) {
					d := w - row(c)[k]
					r.sum[y][c*n+k], r.dif[y][c*n+k] = max(d, -d), d
				}
			}
		}
	}
	of := make([]*gemm.Matrix[T], len(r.sum))
	for y := range of {
		of[y] = r.matrix(kernel, y, n)
	}
	r.of[L-1] = of
	return r
}

// matrix packs the rates of label y for an input of n units, from sum and dif.
func (r *rates[T]) matrix(kernel string, y, n int) *gemm.Matrix[T] {
	both := make([]T, 2*r.classes*n)
	for i, s := range r.sum[y] {
		d := r.dif[y][i]
		both[i], both[r.classes*n+i] = max(0, (s+d)/2), max(0, (s-d)/2)
	}
	m := gemm.NewMatrix[T](kernel, n, 2*r.classes)
	m.Pack(both, 1, n)
	return m
}

// at returns the rates of the input of layer l for label y.
func (r *rates[T]) at(l int, y int32) *gemm.Matrix[T] {
	if len(r.of[l]) == 1 {
		return r.of[l][0]
	}
	return r.of[l][y]
}
