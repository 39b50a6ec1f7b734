package cpu

import (
	"math"

	"advsweep/attack"
)

// A place is one of a list on the ray of an image of the block.
type place struct{ image, at int }

// undecided lists the places of m at which the model was looked at and rounding might decide.
func (r *reading[T]) undecided(w *walk[T], m *marks[T]) []place {
	r.places = r.places[:0]
	G := len(m.eps)
	for i := range w.images {
		if w.m.rates.never[w.b.loaded.labels[w.images[i].image]] {
			continue // left open
		}
		for e, class := range m.known[i*G:][:G] {
			if class == attack.Open && m.seen[i*G+e] {
				r.places = append(r.places, place{i, e})
			}
		}
	}
	return r.places
}

// decide makes the very forward passes that rows on the ray take, without bounds, where rounding
// might decide of the class. Each layer is a sum in the order of any other forward pass.
func (r *reading[T]) decide(w *walk[T]) {
	o, a := &w.origin, &w.m.layers[0]
	r.forward(w, &r.marks, func(some []place) {
		w.points[0] = resize(w.points[0], len(some)*a.stride)
		for k, p := range some {
			w.m.vec.Line(w.points[0][k*a.stride:][:a.stride], o.z[0][p.image*a.stride:][:a.stride], r.to.eps[p.at], o.c[p.image*a.stride:][:a.stride])
		}
	}, func(_ int, class int32) int32 { return class })
}

// decideShades is decide for pixels that are rounded: they are levels, and a level is a pixel as
// Load makes it of a byte.
func (r *reading[T]) decideShades(w *walk[T]) {
	b, in := w.b, w.b.model.in
	r.forward(w, &r.shades, func(some []place) {
		w.x = resize(w.x, len(some)*in)
		for k, p := range some {
			image := w.images[p.image].image
			x, x0, by := w.x[k*in:][:in], b.loaded.clean(image), math.RoundToEven(255*float64(r.shades.eps[p.at]))
			for j, s := range b.loaded.signs.of(image) {
				n := math.RoundToEven(255*float64(x0[j])) + float64(by*float64(s))
				x[j] = T(min(max(n, 0), 255)) / 255
			}
		}
		a := &w.m.layers[0]
		w.points[0] = resize(w.points[0], len(some)*a.stride)
		copy(w.points[0], w.m.first(w.scratch, w.x, len(some), unlike))
	}, func(image int, class int32) int32 {
		if class == b.loaded.labels[w.images[image].image] {
			return 1
		}
		return 0
	})
}

// forward notes what said makes of the class at each undecided place of m. first writes the first
// layer of some of them.
func (r *reading[T]) forward(w *walk[T], m *marks[T], first func(some []place), said func(image int, class int32) int32) {
	all, top := r.undecided(w, m), w.m.top()
	class := make([]int32, 1)
	for ; len(all) > 0; all = all[min(len(all), 2*groupsAtOnce):] {
		some := all[:min(len(all), 2*groupsAtOnce)]
		first(some)
		w.m.up(&w.rows, w.points, 1, len(some), unlike)
		for k, p := range some {
			argmax(class, w.points[len(w.m.layers)-1][k*top.stride:][:top.out], top.out, top.out)
			if class[0] < 0 {
				w.fail(p.image)
				return
			}
			m.known[p.image*len(m.eps)+p.at] = said(p.image, class[0])
		}
	}
}
