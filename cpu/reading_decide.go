package cpu

import (
	"math"
	"slices"

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
	r.classes(w, &r.marks, func(some []place) []int32 {
		images, eps := make([]int, len(some)), make([]T, len(some))
		for k, p := range some {
			images[k], eps[k] = p.image, r.marks.eps[p.at]
		}
		return w.forward(images, eps)
	}, func(_ int, class int32) int32 { return class })
}

// decideShades is decide for pixels that are rounded: they are levels, and a level is a pixel as
// Load makes it of a byte.
func (r *reading[T]) decideShades(w *walk[T]) {
	b, in := w.b, w.b.model.in
	r.classes(w, &r.shades, func(some []place) []int32 {
		w.x = resize(w.x, len(some)*in)
		for k, p := range some {
			image := w.images[p.image].image
			x, x0, by := w.x[k*in:][:in], b.loaded.clean(image), math.RoundToEven(255*float64(r.shades.eps[p.at]))
			for j, s := range b.loaded.signs.of(image) {
				n := math.RoundToEven(255*float64(x0[j])) + float64(by*float64(s))
				x[j] = T(min(max(n, 0), 255)) / 255
			}
		}
		w.points[0] = resize(w.points[0], len(some)*w.m.layers[0].stride)
		copy(w.points[0], w.m.first(w.scratch, w.x, len(some), unlike))
		return w.said(len(some))
	}, func(image int, class int32) int32 {
		if class == b.loaded.labels[w.images[image].image] {
			return 1
		}
		return 0
	})
}

// classes notes what known makes of the class at each undecided place of m. ask returns the classes
// at some of them.
func (r *reading[T]) classes(w *walk[T], m *marks[T], ask func(some []place) []int32, known func(image int, class int32) int32) {
	for some := range slices.Chunk(r.undecided(w, m), 2*groupsAtOnce) {
		for k, class := range ask(some) {
			if class < 0 {
				w.fail(some[k].image)
				return
			}
			m.known[some[k].image*len(m.eps)+some[k].at] = known(some[k].image, class)
		}
	}
}
