package cpu

import (
	"advsweep/attack"
	"advsweep/internal/gemm"
)

// A split takes rows 0 to n-1 of a product in groups: it calls list for each, which makes the
// group's list of columns, and returns how many these are of n columns.
type split[T Float] func(r *rows[T], count, columns int, list func(row, count int) int)

// alike is the split of rows lo to hi-1: five neighbours of one image at a time, whose units are
// mostly the same. It leaves out the first skip eps of each image.
func (b *Backend[T]) alike(lo, hi, skip int) split[T] {
	if len(b.eps) < gemm.GroupRows && skip == 0 {
		return unlike[T]
	}
	return b.neighbours(lo, hi, skip)
}

// neighbours is alike with no group of different images.
func (b *Backend[T]) neighbours(lo, hi, skip int) split[T] {
	return func(_ *rows[T], _, _ int, list func(row, count int) int) {
		E := len(b.eps)
		for r := lo; r < hi; {
			end := min(hi, (r/E+1)*E)
			count := 1
			switch e := r % E; {
			case e < skip:
				r++
				continue
			case e >= b.still && end-r >= gemm.GroupRows:
				count = gemm.GroupRows
			case e >= b.still && end-r >= 2:
				count = 2
			}
			list(r-lo, count)
			r += count
		}
	}
}

// affine returns the first layer before its ReLU of x [n, I], [n, stride], valid until w is used
// again.
func (b *Backend[T]) affine(w *scratch[T], x []T, n int, s split[T]) []T {
	a := &b.layers[0]
	w.z0 = resize(w.z0, n*a.stride)
	w.rows.reset(n, a.in)
	s(&w.rows, n, a.in, func(row, count int) int { return w.rows.nonZero(row, count, x, a.in, a.in) })
	w.rows.multiplyFrom(a.bias, w.z0, a.stride, a.wt)
	return w.z0
}

// up computes z[l] [n, stride] of the layers from l on; those below are there.
func (b *Backend[T]) up(r *rows[T], z [][]T, l, n int, s split[T]) {
	for ; l < len(b.layers); l++ {
		a, ld := &b.layers[l], b.layers[l-1].stride
		z[l] = resize(z[l], n*a.stride)
		r.reset(n, a.in)
		s(r, n, a.in, func(row, count int) int { return r.positive(row, count, z[l-1], z[l-1], ld, a.in) })
		r.multiplyFrom(a.bias, z[l], a.stride, a.wt)
	}
}

// loss writes the gradient at the logits of n rows to w.grad[0]; label gives the label of a row.
func (b *Backend[T]) loss(w *scratch[T], z [][]T, n int, label func(r int) int32) {
	l := len(b.layers) - 1
	ld := b.layers[l].stride
	w.grad[0] = resize(w.grad[0], n*ld)
	for r := range n {
		attack.CrossEntropyGradient(w.grad[0][r*ld:][:b.out], z[l][r*ld:][:b.out], int(label(r)))
	}
}

// A stripe is rows from to to-1 of a product that have many active units in common: those of one
// image.
type stripe struct{ from, to int }

// stripes returns the images among rows lo to hi-1 that have many rows, without the first skip eps
// of each.
func (b *Backend[T]) stripes(lo, hi, skip int) (all []stripe) {
	// To gather the columns that an image wants takes about as long as the product of 5 to 10 rows.
	const many = 15
	E := len(b.eps)
	for r := lo; r < hi; {
		end := min(hi, (r/E+1)*E)
		if from := max(r, r/E*E+skip); end-from >= many && !b.dense {
			all = append(all, stripe{from - lo, end - lo})
		}
		r = end
	}
	return all
}

// down returns the gradient at the pixels [n, below of the first layer], given that at the logits
// in w.grad[0] and z of every layer. A unit passes it on where z is positive, and only there it is
// computed for rows in stripes.
func (b *Backend[T]) down(w *scratch[T], r *rows[T], z [][]T, n int, s split[T], stripes []stripe) []T {
	grad := &w.grad
	for l := len(b.layers) - 1; l >= 0; l-- {
		a := &b.layers[l]
		g := grad[0] // [n, stride]: what is below for the layer above
		r.reset(n, a.out)
		s(r, n, a.out, func(row, count int) int {
			if !a.relu {
				return r.nonZero(row, count, g, a.stride, a.out)
			}
			return r.positive(row, count, g, z[l], a.stride, a.out)
		})
		grad[1] = resize(grad[1], n*a.below)
		if l > 0 && a.relu {
			b.selected(w, r, grad[1], z[l-1], a, stripes)
		}
		r.multiplyFrom(b.zeros, grad[1], a.below, a.w)
		grad[0], grad[1] = grad[1], grad[0]
	}
	return grad[0]
}

// selected writes dx = dz·W of layer a, dz listed in r, for the rows in stripes, in those columns
// in which z, [·, below], is positive in any row of the stripe; elsewhere dx holds anything. It
// takes their groups out of r.
func (b *Backend[T]) selected(w *scratch[T], r *rows[T], dx, z []T, a *affine[T], stripes []stripe) {
	if len(stripes) == 0 {
		return
	}
	w.selections, w.columns = w.selections[:0], resize(w.columns, len(stripes)*a.in)[:0]
	w.active = resize(w.active, a.in)
	w.list, w.values = resize(w.list, a.in+gemm.VectorPad), resize(w.values, gemm.GroupRows*(a.in+gemm.VectorPad))
	w.compact = resize(w.compact, len(dx))
	rest := r.groups[:0]
	groups := r.groups
	for len(groups) > 0 {
		if len(stripes) == 0 || groups[0].Row < stripes[0].from {
			rest, groups = append(rest, groups[0]), groups[1:]
			continue
		}
		k := 0
		clear(w.active)
		for ; k < len(groups) && groups[k].Row < stripes[0].to; k++ {
			g := &groups[k]
			m := z[g.Row*a.below:]
			n := b.vec.Positive(w.list, w.values, a.in+gemm.VectorPad, m, m, a.below, a.in, g.Rows)
			for _, c := range w.list[:n] {
				w.active[c] = true
			}
		}
		first := len(w.columns)
		for c, on := range w.active {
			if on {
				w.columns = append(w.columns, uint32(c))
			}
		}
		w.selections = append(w.selections, gemm.Selection[T]{Columns: w.columns[first:], Groups: append([]gemm.Group[T](nil), groups[:k]...)})
		for _, g := range groups[:k] {
			r.flop += 2 * uint64(g.Rows*len(g.List)*(len(w.columns)-first))
		}
		groups, stripes = groups[k:], stripes[1:]
	}
	r.groups = rest
	a.w.MulSelected(w.compact, a.below, w.selections, &w.gemm)
	for _, s := range w.selections {
		for _, g := range s.Groups {
			for row := g.Row; row < g.Row+g.Rows; row++ {
				to, from := dx[row*a.below:][:a.below], w.compact[row*a.below:]
				for j, c := range s.Columns {
					to[c] = from[j]
				}
			}
		}
	}
}
