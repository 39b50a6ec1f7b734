package cpu

import (
	"context"

	"advsweep/attack"
)

// A ray is where all rows lie after one step from the clean images without bounds:
// x = x0 + size·d, with one direction d for all eps of an image. The first layer before its
// ReLU is then affine in size,
//
//	W·x + b = a + size·c,  a = W·x0 + b,  c = W·d,
//
// so that two products an image serve all its eps. At size 0 it is a, bit for bit.
//
// The second step, whose rows have moved by a share of eps only, takes two products more for the
// second layer, V·max(a, 0) + b and V·c over the units that are active at size 0: the layer is on
// the line of these but for the few units that have changed sign, which add their columns of V
// times |a + size·c|.
type ray[T Float] struct {
	on     bool
	step   attack.Step
	size   []T // [E]
	a, c   []T // [images, stride of the first layer]
	second bool
	z, d   []T // the second layer's line, if second [images, its stride]
}

// enterRay makes the rows' first step s.
func (b *Backend[T]) enterRay(ctx context.Context, s attack.Step, size []T) error {
	l, images, p := &b.layers[0], b.rows/len(b.eps), &b.ray
	p.step, p.size = s, size
	p.a, p.c = resize(p.a, images*l.stride), resize(p.c, images*l.stride)
	err := b.each(ctx, images, blockRows, func(w *scratch[T], lo, hi int) {
		n := hi - lo
		copy(p.a[lo*l.stride:], b.affine(w, b.x0[(b.lo+lo)*b.in:], n, unlike))
		w.x = resize(w.x, n*b.in)
		for i := lo; i < hi; i++ {
			for k, d := range b.direction(w, s, b.lo+i) {
				w.x[(i-lo)*b.in+k] = T(d)
			}
		}
		c := p.c[lo*l.stride : hi*l.stride]
		w.rows.reset(n, b.in)
		unlike(&w.rows, n, b.in, func(row, count int) int { return w.rows.nonZero(row, count, w.x, b.in, b.in) })
		w.rows.multiplyFrom(b.zeros, c, l.stride, l.wt)
	})
	p.on, p.second = err == nil, false
	return err
}

// enterSecond computes the lines of the second layer.
func (b *Backend[T]) enterSecond(ctx context.Context) error {
	l, l2, p := &b.layers[0], &b.layers[1], &b.ray
	images := b.rows / len(b.eps)
	p.z, p.d = resize(p.z, images*l2.stride), resize(p.d, images*l2.stride)
	err := b.each(ctx, images, blockRows, func(w *scratch[T], lo, hi int) {
		n := hi - lo
		a, c, z, d := p.a[lo*l.stride:], p.c[lo*l.stride:], p.z[lo*l2.stride:hi*l2.stride], p.d[lo*l2.stride:hi*l2.stride]
		w.rows.reset(n, l2.in)
		unlike(&w.rows, n, l2.in, func(row, count int) int { return w.rows.positive(row, count, a, a, l.stride, l2.in) })
		w.rows.multiplyFrom(l2.bias, z, l2.stride, l2.wt)
		w.rows.reset(n, l2.in)
		unlike(&w.rows, n, l2.in, func(row, count int) int { return w.rows.positive(row, count, c, a, l.stride, l2.in) })
		w.rows.multiplyFrom(b.zeros, d, l2.stride, l2.wt)
	})
	p.second = err == nil
	return err
}

// raySecond writes the output of the second layer before its ReLU, z [hi-lo, stride], for rows lo
// to hi-1 whose first layer is first. It leaves out the first skip eps.
func (b *Backend[T]) raySecond(w *scratch[T], z, first []T, lo, hi, skip int) {
	l, l2, p := &b.layers[0], &b.layers[1], &b.ray
	for r := lo; r < hi; r++ {
		if i, e := b.image(r); e >= skip {
			b.vec.Line(z[(r-lo)*l2.stride:][:l2.stride], p.z[(i-b.lo)*l2.stride:][:l2.stride], p.size[e], p.d[(i-b.lo)*l2.stride:][:l2.stride])
		}
	}
	w.rows.reset(hi-lo, l2.in)
	b.neighbours(lo, hi, skip)(&w.rows, hi-lo, l2.in, func(row, count int) int {
		i, _ := b.image(lo + row)
		list, v, lda := w.rows.next(count, l2.in)
		n := b.vec.Flipped(list, v, lda, first[row*l.stride:], p.a[(i-b.lo)*l.stride:][:l2.in], l.stride, l2.in, count)
		w.rows.add(row, count, list, v, lda, n)
		return n
	})
	w.rows.multiply(z, l2.stride, l2.wt)
}

// rayLayer writes the output of the first layer before its ReLU, z [hi-lo, stride], for rows lo to
// hi-1.
func (b *Backend[T]) rayLayer(z []T, lo, hi int) {
	ld, p := b.layers[0].stride, &b.ray
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		b.vec.Line(z[(r-lo)*ld:][:ld], p.a[(i-b.lo)*ld:][:ld], p.size[e], p.c[(i-b.lo)*ld:][:ld])
	}
}

// rayImages writes x [hi-lo, I] of rows lo to hi-1.
func (b *Backend[T]) rayImages(w *scratch[T], x []T, lo, hi int) {
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		b.vec.Line(x[(r-lo)*b.in:][:b.in], b.clean(i), b.ray.size[e], b.rayDirection(w, i, r == lo))
	}
}

// rayDirection returns the direction of image i's ray, [I], which w keeps for the rows of an image
// that follow each other.
func (b *Backend[T]) rayDirection(w *scratch[T], i int, first bool) []T {
	if first || w.image != i {
		w.d, w.image = resize(w.d, b.in), i
		for k, v := range b.direction(w, b.ray.step, i) {
			w.d[k] = T(v)
		}
	}
	return w.d[:b.in]
}
