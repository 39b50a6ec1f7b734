package cpu

import (
	"context"

	"advsweep/attack"
	"advsweep/internal/gemm"
)

// A ray is where all rows lie after one step from the clean images without bounds:
// x = x0 + size·d, with one direction d for all eps of an image. The first layer before its ReLU is
// then affine in size,
//
//	W·x + b = a + size·c,  a = W·x0 + b,  c = W·d,
//
// so that two products an image serve all its eps. At size 0 it is a, bit for bit.
//
// At the second step the rows have moved by a share of eps only. Then two more products an image
// serve the second layer: V·max(a, 0) + b, and V·c over the units that are active at size 0. The
// second layer lies on the line of these two, but for the few units that have changed sign. Each of
// those adds its column of V times |a + size·c|.
//
// enterRay and enterSecond set a ray. It is read until a step leaves it, see state.ray.
type ray[T Float] struct {
	on     bool
	step   attack.Step
	size   []T     // [E]
	one    line[T] // the first layer
	second bool    // two is there
	two    line[T] // the second layer, but for units that changed sign
}

// A line is a layer before its ReLU as an affine function of size: at + size·slope. It has a row
// for each image of the batch, all with the stride of the layer.
type line[T Float] struct {
	ld        int // stride
	at, slope []T // [images, ld]
}

// resize makes room for so many images of stride ld.
func (l *line[T]) resize(images, ld int) {
	l.ld, l.at, l.slope = ld, resize(l.at, images*ld), resize(l.slope, images*ld)
}

// point writes the layer of image k of the batch at size to z.
func (l *line[T]) point(vec *gemm.Vector[T], z []T, k int, size T) {
	vec.Line(z[:l.ld], l.at[k*l.ld:][:l.ld], size, l.slope[k*l.ld:][:l.ld])
}

// enterRay makes the rows' first step s.
func (b *Backend[T]) enterRay(ctx context.Context, s attack.Step, size []T) error {
	m, p, in, first := b.model.mlp, &b.state.ray, b.model.in, b.batch.lo
	p.step, p.size = s, size
	p.one.resize(b.batch.images(), m.layers[0].stride)
	ld := p.one.ld
	err := b.workers.each(ctx, b.batch.images(), blockRows, func(w *scratch[T], lo, hi int) {
		n := hi - lo
		copy(p.one.at[lo*ld:], m.first(w, b.loaded.x0[(first+lo)*in:], n, unlike))
		w.x = resize(w.x, n*in)
		for i := lo; i < hi; i++ {
			for k, d := range b.direction(w, s, first+i) {
				w.x[(i-lo)*in+k] = T(d)
			}
		}
		m.slopes(&w.rows, p.one.slope[lo*ld:hi*ld], w.x, n)
	})
	p.on, p.second = err == nil, false
	return err
}

// enterSecond computes the line of the second layer.
func (b *Backend[T]) enterSecond(ctx context.Context) error {
	m, p := b.model.mlp, &b.state.ray
	a := &m.layers[1]
	p.two.resize(b.batch.images(), a.stride)
	ld, ld2 := p.one.ld, p.two.ld
	err := b.workers.each(ctx, b.batch.images(), blockRows, func(w *scratch[T], lo, hi int) {
		n, at, slope := hi-lo, p.one.at[lo*ld:], p.one.slope[lo*ld:]
		w.rows.positives(at, at, ld, n, a.in, unlike)
		w.rows.multiplyFrom(a.bias, p.two.at[lo*ld2:hi*ld2], ld2, a.wt)
		w.rows.positives(slope, at, ld, n, a.in, unlike)
		w.rows.multiplyFrom(m.zeros, p.two.slope[lo*ld2:hi*ld2], ld2, a.wt)
	})
	p.second = err == nil
	return err
}

// raySecond writes the second layer before its ReLU, z [hi-lo, stride], for rows lo to hi-1 whose
// first layer is first. Rows of the first skip eps are left out.
func (b *Backend[T]) raySecond(w *scratch[T], z, first []T, lo, hi, skip int) {
	p, a, vec := &b.state.ray, &b.model.mlp.layers[1], &b.model.vec
	ld, ld2 := p.one.ld, p.two.ld
	for r := lo; r < hi; r++ {
		if i, e := b.batch.of(r); e >= skip {
			p.two.point(vec, z[(r-lo)*ld2:], i-b.batch.lo, p.size[e])
		}
	}
	w.rows.reset(hi-lo, a.in)
	b.neighbours(lo, hi, skip)(&w.rows, hi-lo, a.in, func(row, count int) int {
		i, _ := b.batch.of(lo + row)
		list, v, lda := w.rows.next(count, a.in)
		n := vec.Flipped(list, v, lda, first[row*ld:], p.one.at[(i-b.batch.lo)*ld:][:a.in], ld, a.in, count)
		w.rows.add(row, count, list, v, lda, n)
		return n
	})
	w.rows.multiply(z, ld2, a.wt)
}

// rayLayer writes the first layer before its ReLU, z [hi-lo, stride], for rows lo to hi-1.
func (b *Backend[T]) rayLayer(z []T, lo, hi int) {
	p := &b.state.ray
	for r := lo; r < hi; r++ {
		i, e := b.batch.of(r)
		p.one.point(&b.model.vec, z[(r-lo)*p.one.ld:], i-b.batch.lo, p.size[e])
	}
}

// rayImages writes x [hi-lo, I] of rows lo to hi-1.
func (b *Backend[T]) rayImages(w *scratch[T], x []T, lo, hi int) {
	in := b.model.in
	for r := lo; r < hi; r++ {
		i, e := b.batch.of(r)
		b.model.vec.Line(x[(r-lo)*in:][:in], b.loaded.clean(i), b.state.ray.size[e], b.rayDirection(w, i, r == lo))
	}
}

// rayDirection returns the direction of image i's ray, [I]. w keeps it for the rows of an image
// that follow each other. first says that w holds the direction of something else.
func (b *Backend[T]) rayDirection(w *scratch[T], i int, first bool) []T {
	d := &w.dir
	if first || d.image != i {
		d.d, d.image = resize(d.d, b.model.in), i
		for k, v := range b.direction(w, b.state.ray.step, i) {
			d.d[k] = T(v)
		}
	}
	return d.d[:b.model.in]
}
