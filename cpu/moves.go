package cpu

import (
	"context"
	"math"

	"advsweep/attack"
	"advsweep/internal/gemm"
)

// A moves follows the first layer of an MLP from step to step. Most pixels move at a step as they
// did at the one before: at the second of five steps 17 % change their sign, at the fifth 6 %. With
// v the last move of x,
//
//	u = W·v,  u ← u + W·(v' - v),  z ← z + u,
//
// takes the columns of W of those pixels alone. z errs by the rounding of a few more additions than
// W·x + b does.
//
// enterMoves and leaveRay fill it, and follow takes it a step on. Workers do so side by side, each
// for its own rows.
type moves[T Float] struct {
	on     bool     // z is the first layer at x
	in, ld int      // I, and the stride of the first layer
	z      []T      // W·x + b [rows, ld]
	v      []T      // [rows, I]
	u      []T      // [rows, ld]
	chains []chains // [rows]: what z has gone through, by which excess bounds its rounding
}

// resize makes room for so many rows.
func (m *moves[T]) resize(rows, in, ld int) {
	m.in, m.ld = in, ld
	m.z, m.v, m.u = resize(m.z, rows*ld), resize(m.v, rows*in), resize(m.u, rows*ld)
	m.chains = resize(m.chains, rows)
}

// layer returns z of rows lo to hi-1.
func (m *moves[T]) layer(lo, hi int) []T { return m.z[lo*m.ld : hi*m.ld] }

// last returns the last move of row r, [I].
func (m *moves[T]) last(r int) []T { return m.v[r*m.in:][:m.in] }

// sum returns u of row r.
func (m *moves[T]) sum(r int) []T { return m.u[r*m.ld:][:m.ld] }

// setScaled writes v = size·d, for d [I], and u = size·c, for c = W·d.
func (m *moves[T]) setScaled(vec *gemm.Vector[T], r int, size T, d, c []T) {
	u, v := m.sum(r), m.last(r)
	clear(u)
	vec.Line(u, u, size, c)
	clear(v)
	vec.Line(v, v, size, d)
}

// addDifferences makes u of rows lo to hi-1 larger by W·diff, for the rows of diff, of stride ld,
// in the groups of a split.
func (m *moves[T]) addDifferences(r *rows[T], a *affine[T], diff []T, ld, lo, hi int, s split[T]) {
	r.nonZeros(diff, ld, hi-lo, m.in, s)
	r.multiply(m.u[lo*m.ld:hi*m.ld], m.ld, a.wt)
	for k := range r.groups {
		g := &r.groups[k]
		for row := lo + g.Row; row < lo+g.Row+g.Rows; row++ {
			m.chains[row].add(len(g.List))
		}
	}
}

// follow takes rows lo to hi-1 a step on. diff, of stride ld, is how the step's moves differ from
// those before.
func (m *moves[T]) follow(vec *gemm.Vector[T], r *rows[T], a *affine[T], diff []T, ld, lo, hi int, s split[T]) {
	m.addDifferences(r, a, diff, ld, lo, hi, s)
	for row := lo; row < hi; row++ {
		vec.Add(m.z[row*m.ld:][:m.ld], m.sum(row))
		m.chains[row].step()
	}
}

// enterMoves makes the rows' first step s, within bounds.
func (b *Backend[T]) enterMoves(ctx context.Context, s attack.Step, size []T) error {
	a, E, m, in := &b.model.mlp.layers[0], len(b.batch.eps), &b.state.moves, b.model.in
	if !b.model.dense {
		m.resize(b.batch.rows, in, a.stride)
	}
	err := b.workers.each(ctx, b.batch.images(), max(1, blockRows/E), func(w *scratch[T], from, to int) {
		d := b.openDirections(w, s, from, to)
		if b.model.dense {
			b.firstMoves(w, s, size, d, from, to)
			return
		}
		// All eps of an image share W·x0 + b, and W·d of the pixels that can move at all.
		n := to - from
		w.slope = resize(w.slope, n*a.stride)
		z0 := b.model.mlp.first(w, b.loaded.x0[(b.batch.lo+from)*in:], n, unlike)
		b.model.mlp.slopes(&w.rows, w.slope, d, n)
		short := b.firstMoves(w, s, size, d, from, to)
		for r := from * E; r < to*E; r++ {
			u := m.sum(r)
			clear(u)
			b.model.vec.Line(u, u, size[r%E], w.slope[(r/E-from)*a.stride:][:a.stride])
		}
		m.addDifferences(&w.rows, a, short, in, from*E, to*E, b.alike(from*E, to*E, 0))
		for r := from * E; r < to*E; r++ {
			b.model.vec.Line(m.z[r*a.stride:][:a.stride], z0[(r/E-from)*a.stride:][:a.stride], 1, m.sum(r))
			m.chains[r].step()
		}
	})
	m.on = err == nil && !b.model.dense
	return err
}

// openDirections returns the directions of a first step s for images from to to-1 of the batch,
// [n, I] for n = to - from. They are valid until w is used again. A pixel that is at its bound
// does not move.
func (b *Backend[T]) openDirections(w *scratch[T], s attack.Step, from, to int) []T {
	in, lo, hi := b.model.in, T(s.Bounds.Lo), T(s.Bounds.Hi)
	w.dir.d = resize(w.dir.d, (to-from)*in)
	d := w.dir.d
	for k := range to - from {
		i := b.batch.lo + from + k
		x0 := b.loaded.clean(i)
		for p, v := range b.direction(w, s, i) {
			d[k*in+p] = T(v)
			if v > 0 && x0[p] >= hi || v < 0 && x0[p] <= lo {
				d[k*in+p] = 0
			}
		}
	}
	return d
}

// firstMoves moves the rows of images from to to-1 of the batch from their clean images by a step
// s along d [to-from, I]. It returns by how much each move differs from size·d, [rows, I]: 0 but
// where a bound stopped the pixel. That is valid until w is used again.
func (b *Backend[T]) firstMoves(w *scratch[T], s attack.Step, size, d []T, from, to int) (short []T) {
	E, in, vec := len(b.batch.eps), b.model.in, &b.model.vec
	w.x, w.v = resize(w.x, (to-from)*E*in), resize(w.v, in)
	for r := from * E; r < to*E; r++ {
		i, e := b.batch.of(r)
		d := d[(r/E-from)*in:][:in]
		x, x0, v := b.pixels(r), b.loaded.clean(i), w.v
		if !b.model.dense {
			v = b.state.moves.last(r)
			b.state.moves.chains[r] = chains{size: float64(size[e])}
		}
		copy(x, x0)
		clear(v)
		vec.Line(v, v, size[e], d)
		vec.Move(x, v, w.x[(r-from*E)*in:][:in], d, x0, size[e], b.batch.eps[e], T(s.Bounds.Lo), T(s.Bounds.Hi))
	}
	return w.x
}

// leaveRay fills x of rows lo to hi-1 from the ray that they are on, and their moves.
func (b *Backend[T]) leaveRay(w *scratch[T], lo, hi int) {
	m, p, in := &b.state.moves, &b.state.ray, b.model.in
	b.rayImages(w, b.state.x[lo*in:hi*in], lo, hi)
	if b.model.dense {
		return
	}
	b.rayLayer(m.layer(lo, hi), lo, hi)
	for r := lo; r < hi; r++ {
		i, e := b.batch.of(r)
		c := p.one.slope[(i-b.batch.lo)*p.one.ld:][:p.one.ld]
		m.chains[r] = chains{size: float64(p.size[e]), steps: 1}
		m.setScaled(&b.model.vec, r, p.size[e], b.rayDirection(w, i, r == lo), c)
	}
}

// move makes a step s of an MLP that is not the first.
func (b *Backend[T]) move(ctx context.Context, s attack.Step, size []T) error {
	st, a := &b.state, &b.model.mlp.layers[0]
	m := &st.moves
	follow := m.on || st.ray.on && !b.model.dense // not once all of x is there, see whole
	if follow && !m.on {
		m.resize(b.batch.rows, b.model.in, a.stride)
	}
	if st.ray.on && follow && s.Direction == attack.Gradient && len(b.model.mlp.layers) > 1 {
		if err := b.enterSecond(ctx); err != nil {
			return err
		}
	}
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		var g []T
		if s.Direction == attack.Gradient {
			g = b.gradient(w, lo, hi, st.still)
		} else {
			w.grad[0] = resize(w.grad[0], (hi-lo)*a.below)
			g = w.grad[0]
		}
		if st.ray.on {
			b.leaveRay(w, lo, hi)
		}
		w.v = resize(w.v, b.model.in)
		for r := lo; r < hi; r++ {
			i, e := b.batch.of(r)
			if e < st.still {
				continue
			}
			g := g[(r-lo)*a.below:][:b.model.in]
			if s.Direction != attack.Gradient {
				for k, d := range b.direction(w, s, i) {
					g[k] = T(d)
				}
			}
			v := w.v
			if follow {
				v = m.last(r)
				m.chains[r].size = max(m.chains[r].size, float64(size[e]))
			}
			// The differences of moves take the gradient's place.
			b.moveOne(s, r, v, g, g, size[e])
		}
		if follow {
			m.follow(&b.model.vec, &w.rows, a, g, a.below, lo, hi, b.alike(lo, hi, st.still))
		}
	})
	if err == nil {
		st.ray.on, m.on = false, follow
	}
	return err
}

// moveOne moves row r by a plain step s along the signs of g [I] and projects it. v is the row's
// last move and becomes this one; diff becomes their difference and may be g. A gradient that is
// zero is noted, and one that is not finite is reported.
func (b *Backend[T]) moveOne(s attack.Step, r int, v, diff, g []T, size T) {
	i, e := b.batch.of(r)
	ball, lo, hi := T(math.Inf(1)), T(math.Inf(-1)), T(math.Inf(1))
	if !s.Bounds.None() {
		ball, lo, hi = b.batch.eps[e], T(s.Bounds.Lo), T(s.Bounds.Hi)
	}
	zero, finite := b.model.vec.Move(b.pixels(r), v, diff, g, b.loaded.clean(i), size, ball, lo, hi)
	if !finite {
		b.broken.report(i)
	}
	if zero && s.Direction == attack.Gradient {
		b.state.zero[r] = true
	}
}
