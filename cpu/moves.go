package cpu

import (
	"context"
	"math"

	"advsweep/attack"
)

// moves follow the first layer from step to step. Most pixels move at a step as they did at the one
// before: at the second of five 17 % change their sign, at the fifth 6 %. With v the last move of
// x,
//
//	u = W·v,  u ← u + W·(v' - v),  z ← z + u,
//
// takes the columns of W of those pixels alone. z errs by the rounding of a few more additions than
// W·x + b does.
type moves[T Float] struct {
	on bool
	z  []T // W·x + b [rows, stride]
	v  []T // [rows, I]
	u  []T // [rows, stride]
}

func (m *moves[T]) resize(rows, in, stride int) {
	m.z, m.v, m.u = resize(m.z, rows*stride), resize(m.v, rows*in), resize(m.u, rows*stride)
}

// enterMoves makes the rows' first step s, within bounds.
func (b *Backend[T]) enterMoves(ctx context.Context, s attack.Step, size []T) error {
	a, E, m := &b.layers[0], len(b.eps), &b.moves
	lo, hi := T(s.Bounds.Lo), T(s.Bounds.Hi)
	if !b.dense {
		m.resize(b.rows, b.in, a.stride)
	}
	err := b.each(ctx, b.rows/E, max(1, blockRows/E), func(w *scratch[T], from, to int) {
		// What all eps of an image share: W·x0 + b, and W·d of the pixels that can move at all.
		n := to - from
		d, slope := resize(w.d, n*b.in), resize(w.slope, n*a.stride)
		w.d, w.slope = d, slope
		for i := range n {
			x0 := b.clean(b.lo + from + i)
			for p, v := range b.direction(w, s, b.lo+from+i) {
				d[i*b.in+p] = T(v)
				if v > 0 && x0[p] >= hi || v < 0 && x0[p] <= lo {
					d[i*b.in+p] = 0
				}
			}
		}
		var z0 []T
		if !b.dense {
			z0 = b.affine(w, b.x0[(b.lo+from)*b.in:], n, unlike)
			w.rows.reset(n, b.in)
			unlike(&w.rows, n, b.in, func(row, count int) int { return w.rows.nonZero(row, count, d, b.in, b.in) })
			w.rows.multiplyFrom(b.zeros, slope, a.stride, a.wt)
		}
		// Where a pixel stops short, what is left of its move.
		rows := n * E
		w.x = resize(w.x, rows*b.in)
		w.v = resize(w.v, b.in)
		for r := range rows {
			i, e := r/E, r%E
			x0 := b.clean(b.lo + from + i)
			x, v := b.x[(from*E+r)*b.in:][:b.in], w.v
			if !b.dense {
				v = m.v[(from*E+r)*b.in:][:b.in]
			}
			copy(x, x0)
			clear(v)
			b.vec.Line(v, v, size[e], d[i*b.in:][:b.in])
			b.vec.Move(x, v, w.x[r*b.in:][:b.in], d[i*b.in:][:b.in], x0, size[e], b.eps[e], lo, hi)
		}
		if b.dense {
			return
		}
		u, z := m.u[from*E*a.stride:to*E*a.stride], m.z[from*E*a.stride:to*E*a.stride]
		clear(u)
		for r := range rows {
			b.vec.Line(u[r*a.stride:][:a.stride], u[r*a.stride:][:a.stride], size[r%E], slope[r/E*a.stride:][:a.stride])
		}
		w.rows.reset(rows, b.in)
		b.alike(from*E, to*E, 0)(&w.rows, rows, b.in, func(row, count int) int { return w.rows.nonZero(row, count, w.x, b.in, b.in) })
		w.rows.multiply(u, a.stride, a.wt)
		for r := range rows {
			b.vec.Line(z[r*a.stride:][:a.stride], z0[r/E*a.stride:][:a.stride], 1, u[r*a.stride:][:a.stride])
		}
	})
	m.on = err == nil && !b.dense
	return err
}

// leaveRay fills x of rows lo to hi-1 from the ray that they are on, and their moves.
func (b *Backend[T]) leaveRay(w *scratch[T], lo, hi int) {
	a, m, p := &b.layers[0], &b.moves, &b.ray
	b.rayImages(w, b.x[lo*b.in:hi*b.in], lo, hi)
	if b.dense {
		return
	}
	b.rayLayer(m.z[lo*a.stride:hi*a.stride], lo, hi)
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		u, v := m.u[r*a.stride:][:a.stride], m.v[r*b.in:][:b.in]
		clear(u)
		b.vec.Line(u, u, p.size[e], p.c[(i-b.lo)*a.stride:][:a.stride])
		clear(v)
		b.vec.Line(v, v, p.size[e], b.rayDirection(w, i, r == lo))
	}
}

// move makes a step s that is not the first.
func (b *Backend[T]) move(ctx context.Context, s attack.Step, size []T) error {
	a, m := &b.layers[0], &b.moves
	follow := m.on || b.ray.on && !b.dense // not once all of x is there, see whole
	if follow && !m.on {
		m.resize(b.rows, b.in, a.stride)
	}
	if b.ray.on && follow && s.Direction == attack.Gradient && len(b.layers) > 1 {
		if err := b.enterSecond(ctx); err != nil {
			return err
		}
	}
	inf := T(math.Inf(1))
	bottom, top := -inf, inf
	if !s.Bounds.None() {
		bottom, top = T(s.Bounds.Lo), T(s.Bounds.Hi)
	}
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		var g []T
		if s.Direction == attack.Gradient {
			g = b.gradient(w, lo, hi, b.still)
		} else {
			w.grad[0] = resize(w.grad[0], (hi-lo)*a.below)
			g = w.grad[0]
		}
		if b.ray.on {
			b.leaveRay(w, lo, hi)
		}
		w.v = resize(w.v, b.in)
		for r := lo; r < hi; r++ {
			i, e := b.image(r)
			if e < b.still {
				continue
			}
			g := g[(r-lo)*a.below:][:b.in]
			if s.Direction != attack.Gradient {
				for k, d := range b.direction(w, s, i) {
					g[k] = T(d)
				}
			}
			v := w.v
			if follow {
				v = m.v[r*b.in:][:b.in]
			}
			ball := inf
			if !s.Bounds.None() {
				ball = b.eps[e]
			}
			// The differences of moves take the gradient's place.
			zero, finite := b.vec.Move(b.x[r*b.in:][:b.in], v, g, g, b.clean(i), size[e], ball, bottom, top)
			if !finite {
				b.fail(i)
			}
			if zero && s.Direction == attack.Gradient {
				b.zero[r] = true
			}
		}
		if !follow {
			return
		}
		w.rows.reset(hi-lo, b.in)
		b.alike(lo, hi, b.still)(&w.rows, hi-lo, b.in, func(row, count int) int { return w.rows.nonZero(row, count, g, a.below, b.in) })
		w.rows.multiply(m.u[lo*a.stride:hi*a.stride], a.stride, a.wt)
		for r := lo; r < hi; r++ {
			b.vec.Add(m.z[r*a.stride:][:a.stride], m.u[r*a.stride:][:a.stride])
		}
	})
	if err == nil {
		b.ray.on, m.on = false, follow
	}
	return err
}
