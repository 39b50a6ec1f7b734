package cpu

import (
	"context"

	"advsweep/attack"
	"advsweep/internal/gemm"
)

// A rounded is what rounding did to a row. Only a row that asks for its class takes a forward pass.
type rounded struct {
	by    float64 // ‖x̂ - x‖₂, for x̂ the row's x once it is rounded
	size  float64 // not less than ‖x‖₂ and ‖x̂‖₂
	still bool    // x̂ is x, to the bit but for the sign of zeros
	again bool    // x̂ is that of the row before
}

// round writes the norms of x - x0 of every row to norms [rows]. Then it rounds x in norm and
// writes the class of every row to class [rows], -1 where a logit is not finite. z [rows, O] is the
// logits before. The classes are those that Predictions gives, but not every row is asked for its
// own. An error leaves some rows rounded and some not.
func (b *Backend[T]) round(ctx context.Context, norm attack.Norm, z []T, norms []attack.Norms, class []int32) error {
	rows, excess := make([]rounded, b.batch.rows), b.excess()
	if err := b.roundRows(ctx, norm, norms, rows); err != nil {
		return err
	}
	b.state.inPixels()
	b.state.sight.forget()
	ask, hopeful := b.undecided(z, rows, excess, class)
	if b.sharpen(hopeful) {
		ask, _ = b.undecided(z, rows, excess, class)
	}
	if err := b.ask(ctx, ask, class); err != nil {
		return err
	}
	for r, v := range rows {
		if v.again && !v.still {
			class[r] = class[r-1]
		}
	}
	return nil
}

// undecided writes to class [rows] those of the rows that surely keep the class that they have by
// their logits z [rows, O], and marks them as still. It returns the rows that must be asked, and
// how many of them a sharper bound may decide.
func (b *Backend[T]) undecided(z []T, rows []rounded, excess func(r int, size float64) float64, class []int32) (ask []int, hopeful int) {
	m, out := &b.bound, b.model.out
	b.makeBound()
	logits := make([]float64, out)
	for r := range rows {
		v, z, hope := &rows[r], z[r*out:][:out], false
		if !v.still && m.known {
			for c, v := range z {
				logits[c] = float64(v)
			}
			e := excess(r, v.size)
			v.still = m.decides(logits, v.by, v.size, e)
			hope = !v.still && m.decides(logits, v.by/sharper, v.size/sharper, e/sharper)
		}
		switch {
		case v.still:
			argmax(class[r:r+1], z, out, out)
		case !v.again:
			ask = append(ask, r)
			if hope {
				hopeful++
			}
		}
	}
	return ask, hopeful
}

// roundRows writes the norms of x - x0 of every row to norms [rows], rounds x, and writes to did
// [rows] what that did. It leaves all of x in pixels.
func (b *Backend[T]) roundRows(ctx context.Context, norm attack.Norm, norms []attack.Norms, did []rounded) error {
	in := b.model.in
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		x := b.images(w, lo, hi)
		w.v = resize(w.v, in)
		clean := 0.0 // ‖x0‖₂ of the image in hand
		for r := lo; r < hi; r++ {
			i, e := b.batch.of(r)
			x, x0, to := x[(r-lo)*in:][:in], b.loaded.clean(i), w.v[:in]
			if e == 0 || r == lo {
				clean = norm2(x0)
			}
			var moved float64 // ‖x - x0‖₂
			norms[r], moved = compare(&b.model.vec, x, x0)
			roundPixels(&b.model.vec, to, x, x0, float64(b.batch.eps[e]), norm)
			change, by := compare(&b.model.vec, to, x)
			did[r] = rounded{by: by, size: (clean + moved + by) * spare, still: change.L0 == 0}
			copy(b.pixels(r), to)
			did[r].again = r > lo && equal(to, b.pixels(r-1))
		}
	})
}

// equal reports whether a and b [n] have equal elements. Zeros of either sign are equal.
func equal[T Float](a, b []T) bool {
	b = b[:len(a)]
	for k, v := range a {
		if v != b[k] {
			return false
		}
	}
	return true
}

// ask writes to class [rows] the classes of the rows that ask names, rising, at x in pixels.
func (b *Backend[T]) ask(ctx context.Context, ask []int, class []int32) error {
	in, out := b.model.in, b.model.out
	return b.workers.each(ctx, len(ask), b.model.block, func(w *scratch[T], lo, hi int) {
		ask, n := ask[lo:hi], hi-lo
		x := b.state.x[ask[0]*in:]
		if ask[n-1]-ask[0] != n-1 { // there are gaps
			w.x = resize(w.x, n*in)
			x = w.x
			for k, r := range ask {
				copy(x[k*in:][:in], b.pixels(r))
			}
		}
		split := b.gathered(ask)
		var z []T
		if net := b.model.net; net != nil {
			z = net.forward(w, x[:n*in], subset[T]{n, split, func(int) bool { return false }}, forLogits)
		} else {
			b.model.mlp.forward(w, x[:n*in], n, split)
			z = w.z[len(w.z)-1]
		}
		for k, r := range ask {
			argmax(class[r:r+1], z[k*(len(z)/n):], out, out)
		}
	})
}

// gathered is alike for the rows of the batch that ask names, rising, as they lie one after
// another. It takes five rows of one image at a time, and what is left over as unlike does.
func (b *Backend[T]) gathered(ask []int) split[T] {
	E := len(b.batch.eps)
	return func(r *rows[T], n, columns int, list func(row, count int) int) {
		r.loose = true
		five := func(row int) bool { return row+gemm.GroupRows <= n && ask[row]/E == ask[row+gemm.GroupRows-1]/E }
		for row := 0; row < n; {
			if five(row) {
				list(row, gemm.GroupRows)
				row += gemm.GroupRows
				continue
			}
			end := row + 1
			for end < min(row+gemm.GroupRows, n) && !five(end) {
				end++
			}
			mixed(r, row, end, columns, list)
			row = end
		}
	}
}
