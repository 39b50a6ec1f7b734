package cpu

import (
	"slices"

	"advsweep/internal/gemm"
)

// rates bound how far logits can leave the straight line between two points of a ray.
//
// Between points e0 and e1 of a ray let h̃ be the line between the values h(e0) and h(e1) of a unit after its ReLU. If the unit's
// input z is straight and changes sign, h lies below h̃, by at most p = |z(e0)·z(e1)|/(|z(e0)|+|z(e1)|). An affine layer
// takes lines to lines, and a ReLU brings no two values further apart, so a margin of the logits leaves its own line by at most the sum over all
// units that change sign, in all layers, of p times a rate: how much the margin can move per unit that h moves, along all paths. A pixel that
// stops at a bound is such a unit too.
//
// A move down of h lowers a margin z_y - z_c by at most down, and a move up by at most up; each is the other for
// raising it. Here c is the rival for which that is most.
//
//	down_k = max_c (W_yk - W_ck)⁺, up_k = max_c (W_yk - W_ck)⁻ in the last layer,
//	down ← down·W⁺ + up·W⁻, up ← down·W⁻ + up·W⁺ through each layer below.
type rates[T Float] struct {
	down, up [][]T // of the input of each layer [L], each [O, in]
	rivals   [][]int32
	never    []bool // [O]: class y loses every tie with a class of equal weights, and is never predicted
}

func newRates[T Float](kernel string, layers []affine[T]) *rates[T] {
	L := len(layers)
	top := &layers[L-1]
	O, n := top.out, top.in
	r := &rates[T]{down: make([][]T, L), up: make([][]T, L), rivals: make([][]int32, O), never: make([]bool, O)}
	// sum and difference of down and up go through |W| and W.
	sum, dif := make([]T, O*n), make([]T, O*n)
	down, up := make([]T, O*n), make([]T, O*n)
	for y := range O {
		for c := range O {
			same := top.bias[y] == top.bias[c]
			for k := range n {
				d := top.weight[y*n+k] - top.weight[c*n+k]
				down[y*n+k] = max(down[y*n+k], d)
				up[y*n+k] = max(up[y*n+k], -d)
				same = same && d == 0
			}
			switch {
			case !same:
				r.rivals[y] = append(r.rivals[y], int32(c))
			case c < y:
				r.never[y] = true
			}
		}
	}
	for l := L - 1; ; l-- {
		r.down[l], r.up[l] = down, up
		if l == 0 {
			return r
		}
		a := &layers[l-1]
		n := a.out
		sum, dif = resize(sum, O*n), resize(dif, O*n)
		for i, d := range down {
			sum[i], dif[i] = d+up[i], d-up[i]
		}
		abs := slices.Clone(a.weight)
		for i, w := range abs {
			abs[i] = max(w, -w)
		}
		m := gemm.NewMatrix[T](kernel, a.out, a.in)
		m.Pack(abs, a.in, 1)
		down, up = make([]T, O*a.in), make([]T, O*a.in)
		var s gemm.Scratch[T]
		m.MulAdd(down, a.in, sum, n, 1, O, &s)
		a.w.MulAdd(up, a.in, dif, n, 1, O, &s)
		for i, s := range down {
			d := up[i]
			down[i], up[i] = max(0, (s+d)/2), max(0, (s-d)/2)
		}
	}
}
