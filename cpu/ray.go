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
type ray[T Float] struct {
	on   bool
	step attack.Step
	size []T // [E]
	a, c []T // [images, stride of the first layer]
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
		clear(c)
		w.rows.reset(n, b.in)
		unlike(&w.rows, n, b.in, func(row, count int) int { return w.rows.nonZero(row, count, w.x, b.in, b.in) })
		w.rows.multiply(c, l.stride, l.wt)
	})
	p.on = err == nil
	return err
}

// rayLayer writes the output of the first layer before its ReLU, z [hi-lo, stride], for rows lo to hi-1.
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

// rayDirection returns the direction of image i's ray, [I], which w keeps for the rows of an image that follow each other.
func (b *Backend[T]) rayDirection(w *scratch[T], i int, first bool) []T {
	if first || w.image != i {
		w.d, w.image = resize(w.d, b.in), i
		for k, v := range b.direction(w, b.ray.step, i) {
			w.d[k] = T(v)
		}
	}
	return w.d[:b.in]
}
