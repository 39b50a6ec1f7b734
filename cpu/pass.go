package cpu

import "advsweep/internal/gemm"

// A split takes rows 0 to n-1 of a product in groups: it calls list for each, which makes the group's list of columns, and
// returns how many these are of n columns.
type split[T Float] func(r *rows[T], count, columns int, list func(row, count int) int)

// alike is the split of rows lo to hi-1: five neighbours of one image at a time, whose units are mostly the same. It
// leaves out the first skip eps of each image.
func (b *Backend[T]) alike(lo, hi, skip int) split[T] {
	E := len(b.eps)
	if E < gemm.GroupRows && skip == 0 {
		return unlike[T]
	}
	return func(_ *rows[T], _, _ int, list func(row, count int) int) {
		for r := lo; r < hi; {
			end := min(hi, (r/E+1)*E)
			count := 1
			switch e := r % E; {
			case e < skip:
				r++
				continue
			case e >= b.still && end-r >= gemm.GroupRows:
				count = gemm.GroupRows
			}
			list(r-lo, count)
			r += count
		}
	}
}

// affine returns the first layer before its ReLU of x [n, I], [n, stride], valid until w is used again.
func (b *Backend[T]) affine(w *scratch[T], x []T, n int, s split[T]) []T {
	a := &b.layers[0]
	w.z0 = resize(w.z0, n*a.stride)
	a.biases(w.z0, n)
	w.rows.reset(n, a.in)
	s(&w.rows, n, a.in, func(row, count int) int { return w.rows.nonZero(row, count, x, a.in, a.in) })
	w.rows.multiply(w.z0, a.stride, a.wt)
	return w.z0
}

// up computes z[l] [n, stride] of every layer but the first, whose z[0] is there.
func (b *Backend[T]) up(r *rows[T], z [][]T, n int, s split[T]) {
	for l := 1; l < len(b.layers); l++ {
		a, ld := &b.layers[l], b.layers[l-1].stride
		z[l] = resize(z[l], n*a.stride)
		a.biases(z[l], n)
		r.reset(n, a.in)
		s(r, n, a.in, func(row, count int) int { return r.positive(row, count, z[l-1], z[l-1], ld, a.in) })
		r.multiply(z[l], a.stride, a.wt)
	}
}

// loss writes the gradient at the logits of n rows to w.grad[0]; label gives the label of a row.
func (b *Backend[T]) loss(w *scratch[T], z [][]T, n int, label func(r int) int32) {
	l := len(b.layers) - 1
	ld := b.layers[l].stride
	w.grad[0] = resize(w.grad[0], n*ld)
	for r := range n {
		lossGradient(w.grad[0][r*ld:][:b.out], z[l][r*ld:][:b.out], int(label(r)))
	}
}

// down returns the gradient at the pixels [n, below of the first layer], given that at the logits in grad[0] and z of every
// layer. A unit passes it on where z is positive.
func (b *Backend[T]) down(r *rows[T], z [][]T, grad *[2][]T, n int, s split[T]) []T {
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
		clear(grad[1])
		r.multiply(grad[1], a.below, a.w)
		grad[0], grad[1] = grad[1], grad[0]
	}
	return grad[0]
}
