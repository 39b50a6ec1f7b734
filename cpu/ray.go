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
	a, c []T // [images, out of the first layer]
}

// enterRay makes the rows' first step s.
func (b *Backend[T]) enterRay(ctx context.Context, s attack.Step, size []T) error {
	l, images, p := &b.layers[0], b.rows/len(b.eps), &b.ray
	p.step, p.size = s, size
	p.a, p.c = resize(p.a, images*l.out), resize(p.c, images*l.out)
	err := b.each(ctx, images, func(w *scratch[T], lo, hi int) {
		a, c := p.a[lo*l.out:hi*l.out], p.c[lo*l.out:hi*l.out]
		l.affine(a, b.x0[(b.lo+lo)*b.in:(b.lo+hi)*b.in], hi-lo, &w.gemm)
		w.x = resize(w.x, (hi-lo)*b.in)
		for i := lo; i < hi; i++ {
			for k, d := range b.direction(w, s, b.lo+i) {
				w.x[(i-lo)*b.in+k] = T(d)
			}
		}
		clear(c)
		l.wt.MulAdd(c, l.out, w.x, b.in, 1, hi-lo, &w.gemm)
	})
	p.on = err == nil
	return err
}

// rayLayer writes the output of the first layer, y [hi-lo, out], for rows lo to hi-1.
func (b *Backend[T]) rayLayer(y []T, lo, hi int) {
	l, p := &b.layers[0], &b.ray
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		a, c := p.a[(i-b.lo)*l.out:][:l.out], p.c[(i-b.lo)*l.out:][:l.out]
		for j, v := range c {
			// The conversion keeps compilers from fusing, so that processors agree.
			y[(r-lo)*l.out+j] = a[j] + T(p.size[e]*v)
		}
	}
	l.rectify(y)
}

// rayImages writes x [hi-lo, I] of rows lo to hi-1.
func (b *Backend[T]) rayImages(w *scratch[T], x []T, lo, hi int) {
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		signStep(x[(r-lo)*b.in:][:b.in], b.clean(i), b.direction(w, b.ray.step, i), b.ray.size[e])
	}
}
