package cpu

import (
	"cmp"
	"slices"

	"advsweep/internal/gemm"
)

// A tour is points on the ray of one image, rising, at which the model is to be looked at. Without
// bounds each unit of the first layer flips once at most along the ray, where a + eps·c is 0. So
// the second layer is a line in eps, with a kink at each flip, and a tour adds each flip to that
// line once for all points behind it, not once for each of them:
//
//	z(eps) = P + eps·Q,  P ← P - |c|·t·V_k,  Q ← Q + |c|·V_k  at the flip t of unit k.
type tour[T Float] struct {
	image int // in the block
	from  int // of its first point in touring.eps
	eps   []T
}

// A touring is the memory for tours.
type touring[T Float] struct {
	open   []tour[T]
	eps    []T // of all tours in turn
	line   []T // P and Q of each tour in hand [tours, 2, stride]
	groups []gemm.Group[T]
	list   []uint32 // units that flip before the next point, tour by tour
	by     []T      // what each adds to P, then to Q, tour by tour
	flip   []uint32 // of one tour
	at     []T
}

// tourPoints bounds the points of one tour, and toursAtOnce those of all that are in memory. A
// point costs little beside the flips, but for the bounds between points it does not have to be
// near.
const (
	tourPoints  = 64
	toursAtOnce = 480
)

// tours looks at the places of the list until none is wanted.
func (r *reading[T]) tours(w *walk[T]) {
	t := &r.touring
	for !w.failed {
		t.open, t.eps = t.open[:0], t.eps[:0]
		for i := range w.images {
			if w.m.rates.never[w.b.loaded.labels[w.images[i].image]] {
				continue // left open
			}
			from := len(t.eps)
			for _, at := range r.pick(len(r.marks.eps), tourPoints, func(e int) bool { return r.wanted(i, e) }) {
				t.eps = append(t.eps, r.marks.eps[at])
			}
			if len(t.eps) > from {
				t.open = append(t.open, tour[T]{image: i, from: from})
			}
		}
		if len(t.open) == 0 {
			return
		}
		for k := range t.open {
			to := len(t.eps)
			if k+1 < len(t.open) {
				to = t.open[k+1].from
			}
			t.open[k].eps = t.eps[t.open[k].from:to]
		}
		// Tours of one length keep each other company to the end.
		slices.SortStableFunc(t.open, func(a, b tour[T]) int { return cmp.Compare(len(b.eps), len(a.eps)) })
		for lo := 0; lo < len(t.open); lo += toursAtOnce {
			r.visit(w, t.open[lo:min(lo+toursAtOnce, len(t.open))])
		}
	}
}

// visit looks at the points of some tours, longer ones first, and takes what they say. All tours go
// on from point to point together. Tour k has rows 2k and 2k+1 of the walk's matrices in turn.
func (r *reading[T]) visit(w *walk[T], some []tour[T]) {
	m, o, s := w.m, &w.origin, &r.touring
	for l := range m.layers {
		w.points[l] = resize(w.points[l], 2*len(some)*m.layers[l].stride)
	}
	a, b := &m.layers[0], &m.layers[1]
	s.line = resize(s.line, 2*len(some)*b.stride)
	for k, t := range some {
		copy(s.line[2*k*b.stride:][:b.stride], o.z[1][t.image*b.stride:])
		copy(s.line[(2*k+1)*b.stride:][:b.stride], o.d[t.image*b.stride:])
	}
	for step := 0; len(some) > 0; step++ {
		for len(some) > 0 && step == len(some[len(some)-1].eps) {
			some = some[:len(some)-1]
		}
		row := func(k int) int { return 2*k + step%2 }
		for k, t := range some {
			m.vec.Line(w.points[0][row(k)*a.stride:][:a.stride], o.z[0][t.image*a.stride:][:a.stride], t.eps[step], o.c[t.image*a.stride:][:a.stride])
		}
		r.second(w, some, step)
		for l := 2; l < len(m.layers); l++ {
			below, a := &m.layers[l-1], &m.layers[l]
			w.rows.reset(2*len(some), a.in)
			for k := range some {
				w.rows.positive(row(k), 1, w.points[l-1], w.points[l-1], below.stride, a.in)
			}
			w.rows.multiplyFrom(a.bias, w.points[l], a.stride, a.wt)
		}
		for k, t := range some {
			r.seen(w, t.image, t.eps[step], row(k))
		}
		for k, t := range some {
			if step > 0 && t.eps[step] > t.eps[step-1] && r.asks(w, t.image, t.eps[step-1], t.eps[step]) {
				r.chord(w, &between[T]{t.image, point[T]{t.eps[step-1], w.points, row(k) ^ 1}, point[T]{t.eps[step], w.points, row(k)}, -1})
			}
		}
	}
}

// second writes the second layer at one step of some tours, of which the first layer is there, and
// goes on with their lines.
func (r *reading[T]) second(w *walk[T], some []tour[T], step int) {
	m, o, s := w.m, &w.origin, &r.touring
	a, b := &m.layers[0], &m.layers[1]
	lda := a.out + gemm.VectorPad
	s.flip, s.at = resize(s.flip, lda), resize(s.at, lda)
	s.groups, s.list, s.by = s.groups[:0], s.list[:0], s.by[:0]
	for k, t := range some {
		z0, c := o.z[0][t.image*a.stride:][:a.out], o.c[t.image*a.stride:][:a.out]
		z, before := w.points[0][(2*k+step%2)*a.stride:][:a.out], z0
		if step > 0 {
			before = w.points[0][(2*k+1-step%2)*a.stride:][:a.out]
		}
		n := m.vec.Flipped(s.flip, s.at, lda, z, before, a.stride, a.out, 1)
		if n == 0 {
			continue
		}
		from, at := len(s.list), len(s.by)
		s.list = append(s.list, s.flip[:n]...)
		for _, unit := range s.flip[:n] {
			if v := z0[unit]; c[unit] < 0 {
				s.by = append(s.by, -v)
			} else {
				s.by = append(s.by, v)
			}
		}
		for _, unit := range s.flip[:n] {
			s.by = append(s.by, max(c[unit], -c[unit]))
		}
		s.groups = append(s.groups, gemm.Group[T]{Row: 2 * k, Rows: 2, List: s.list[from:], A: s.by[at:], LDA: n})
		w.rows.flop += 4 * uint64(n) * uint64(b.wt.N)
	}
	b.wt.MulAddGroups(s.line, b.stride, s.groups)
	for k, t := range some {
		m.vec.Line(w.points[1][(2*k+step%2)*b.stride:][:b.stride], s.line[2*k*b.stride:][:b.stride], t.eps[step], s.line[(2*k+1)*b.stride:][:b.stride])
	}
}
