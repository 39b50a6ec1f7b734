package cpu

import (
	"context"
	"slices"

	"advsweep/internal/gemm"
)

// rates bound how far logits can leave the straight line between two points of a ray.
//
// Between points e0 and e1 of a ray let h̃ be the line from h(e0) to h(e1), h a unit after its
// ReLU. If the unit's input z is straight and changes sign, h lies below h̃, by at most p =
// |z(e0)·z(e1)|/(|z(e0)|+|z(e1)|). An affine layer takes lines to lines, and a ReLU brings no two
// values further apart, so a margin of the logits leaves its own line by at most the sum over all
// units that change sign, in all layers, of p times a rate: how much the margin can change per unit
// that h does, along all paths. A pixel that stops at a bound is such a unit too.
//
// A move of h down lowers the margin z_y - z_c by at most down, and a move up by at most up; each
// is the other for raising it. With v⁺ = max(v, 0) and v⁻ = max(-v, 0)
//
//	down_k = (W_yk - W_ck)⁺, up_k = (W_yk - W_ck)⁻ in the last layer,
//	down ← down·W⁺ + up·W⁻, up ← down·W⁻ + up·W⁺ through each layer below.
type rates[T Float] struct {
	// of has for the input of each layer [L] and each label [O] the rates [in, 2·C], down and then
	// up for each rival [C]. Of more than maxRated classes there is one for all labels with one
	// rival, the worst.
	of      [][]*gemm.Matrix[T]
	classes int // C
	// What computing the next layer down starts from: down + up and down - up, by label, [C, in].
	sum, dif [][]T

	rivals [][]int32 // classes that a label [O] can lose to
	// [O]: the label loses every tie with a class of equal weights, and is never given
	never  []bool
	spread []T // max_c W_ck - min_c W_ck of the last layer [in]
}

const maxRated = 32

// rate returns the rates down to the input of layer lowest, 0 or 1, from what is there already.
func (b *Backend[T]) rate(ctx context.Context, lowest int) error {
	L := len(b.layers)
	if b.rates == nil {
		b.rates = newRates(b.kernel, &b.layers[L-1], L)
	}
	r := b.rates
	for l := L - 1; l > lowest; l-- {
		if r.of[l-1] != nil {
			continue
		}
		a := &b.layers[l-1]
		abs := slices.Clone(a.weight)
		for i, w := range abs {
			abs[i] = max(w, -w)
		}
		m := gemm.NewMatrix[T](b.kernel, a.out, a.in)
		m.Pack(abs, a.in, 1)
		of := make([]*gemm.Matrix[T], len(r.sum))
		err := b.blocks(ctx, len(of), func(w *scratch[T], y int) {
			sum, dif := make([]T, r.classes*a.in), make([]T, r.classes*a.in)
			m.MulAdd(sum, a.in, r.sum[y], a.out, 1, r.classes, &w.gemm)
			a.w.MulAdd(dif, a.in, r.dif[y], a.out, 1, r.classes, &w.gemm)
			r.sum[y], r.dif[y] = sum, dif
			of[y] = r.matrix(b.kernel, y, a.in)
		})
		if err != nil {
			b.rates = nil // sums of two layers
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
	row := func(c int) []T { return top.weight[c*n:][:n] }
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
		lo, hi := top.weight[k], top.weight[k]
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

// matrix returns the rates of label y, of an input of n units, from sum and dif.
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

// at returns the rates of layer l's input for label y.
func (r *rates[T]) at(l int, y int32) *gemm.Matrix[T] {
	if len(r.of[l]) == 1 {
		return r.of[l][0]
	}
	return r.of[l][y]
}
