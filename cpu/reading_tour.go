package cpu

import "advsweep/internal/gemm"

// A tour is points on the ray of one image, rising, at which the model is to be looked at. Without
// bounds each unit of the first layer flips once at most along the ray, where a + eps·c is 0. So
// the second layer is a line in eps, with a kink at each flip, and a tour adds each flip to that
// line once for all points behind it, not once for each of them:
//
//	z(eps) = P + eps·Q,  P ← P - |c|·t·V_k,  Q ← Q + |c|·V_k  at the flip t of unit k.
type tour[T Float] struct {
	image int // in the block
	eps   []T
	row   int // of its first point in the walk's matrices
}

// A touring is the memory for tours.
type touring[T Float] struct {
	open []tour[T]
	eps  []T // of all tours in turn
	line []T // P and Q [2, stride]
	list []T // P's and Q's share of each flip [2, lda]
	flip []uint32
	by   []T
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
			r.todo = r.todo[:0]
			for e := range r.marks.eps {
				if r.wanted(i, e) {
					r.todo = append(r.todo, e)
				}
			}
			n, from := len(r.todo), len(t.eps)
			for k := range min(n, tourPoints) {
				at := k
				if n > tourPoints {
					at = k * (n - 1) / (tourPoints - 1)
				}
				t.eps = append(t.eps, r.marks.eps[r.todo[at]])
			}
			if n > 0 {
				t.open = append(t.open, tour[T]{image: i, row: from})
			}
		}
		if len(t.open) == 0 {
			return
		}
		for k := range t.open {
			to := len(t.eps)
			if k+1 < len(t.open) {
				to = t.open[k+1].row
			}
			t.open[k].eps = t.eps[t.open[k].row:to]
		}
		for lo := 0; lo < len(t.open); {
			hi, rows := lo, 0
			for hi < len(t.open) && (hi == lo || rows+len(t.open[hi].eps) <= toursAtOnce) {
				t.open[hi].row = rows
				rows += len(t.open[hi].eps)
				hi++
			}
			r.visit(w, t.open[lo:hi], rows)
			lo = hi
		}
	}
}

// visit looks at the points of some tours, rows in all, and takes what they say.
func (r *reading[T]) visit(w *walk[T], some []tour[T], rows int) {
	m, o := w.m, &w.origin
	for l := range m.layers {
		w.points[l] = resize(w.points[l], rows*m.layers[l].stride)
	}
	a := &m.layers[0]
	for _, t := range some {
		for k, e := range t.eps {
			m.vec.Line(w.points[0][(t.row+k)*a.stride:][:a.stride], o.z[0][t.image*a.stride:][:a.stride], e, o.c[t.image*a.stride:][:a.stride])
		}
		r.second(w, t)
	}
	for l := 2; l < len(m.layers); l++ {
		below, a := &m.layers[l-1], &m.layers[l]
		w.rows.reset(rows, a.in)
		for _, t := range some {
			for k := 0; k < len(t.eps); {
				n := gemm.GroupRows
				if left := len(t.eps) - k; left < n {
					n = 1
				}
				w.rows.positive(t.row+k, n, w.points[l-1], w.points[l-1], below.stride, a.in)
				k += n
			}
		}
		w.rows.multiplyFrom(a.bias, w.points[l], a.stride, a.wt)
	}
	for _, t := range some {
		for k, e := range t.eps {
			r.seen(w, t.image, e, t.row+k)
			if k > 0 && e > t.eps[k-1] && r.asks(w, t.image, t.eps[k-1], e) {
				r.chord(w, t.image, &point[T]{t.eps[k-1], w.points, t.row + k - 1}, &point[T]{e, w.points, t.row + k})
			}
		}
	}
}

// second writes the second layer at the points of t, of which the first is there.
func (r *reading[T]) second(w *walk[T], t tour[T]) {
	m, o, s := w.m, &w.origin, &r.touring
	a, b := &m.layers[0], &m.layers[1]
	s.line = resize(s.line, 2*b.stride)
	p, q := s.line[:b.stride], s.line[b.stride:]
	copy(p, o.z[1][t.image*b.stride:][:b.stride])
	copy(q, o.d[t.image*b.stride:][:b.stride])
	lda := a.out + gemm.VectorPad
	s.flip, s.by, s.list = resize(s.flip, lda), resize(s.by, lda), resize(s.list, 2*lda)
	z0, c := o.z[0][t.image*a.stride:][:a.out], o.c[t.image*a.stride:][:a.out]
	before := z0
	for k, e := range t.eps {
		z := w.points[0][(t.row+k)*a.stride:][:a.out]
		n := m.vec.Flipped(s.flip, s.by, lda, z, before, a.stride, a.out, 1)
		for f, unit := range s.flip[:n] {
			s.list[f] = z0[unit]
			if s.list[lda+f] = c[unit]; c[unit] < 0 {
				s.list[f], s.list[lda+f] = -z0[unit], -c[unit]
			}
		}
		if n > 0 {
			w.rows.flop += 4 * uint64(n) * uint64(b.wt.N)
			b.wt.MulAddGroups(s.line, b.stride, []gemm.Group[T]{{Rows: 2, List: s.flip[:n], A: s.list, LDA: lda}})
		}
		m.vec.Line(w.points[1][(t.row+k)*b.stride:][:b.stride], p, e, q)
		before = z
	}
}
