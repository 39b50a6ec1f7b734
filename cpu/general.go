package cpu

import (
	"context"
	"math"

	"advsweep/attack"
)

// A history is what general steps keep of every row from one to the next. prepare makes what a
// step asks for, and ascend and moveRow change it row by row. Each array is as large as x, and
// there only once a step has asked for it.
type history[T Float] struct {
	m, old       []T  // [rows, I]: the momentum, and x before the last step with Alpha
	hasM, hasOld bool // since Begin; without them m is 0 and old is x
}

// forget makes the momentum 0 and old the rows' x.
func (h *history[T]) forget() { h.hasM, h.hasOld = false, false }

// prepare makes what step s needs of rows at x.
func (h *history[T]) prepare(s attack.Step, x []T) {
	if s.Momentum {
		if h.m = resize(h.m, len(x)); !h.hasM {
			clear(h.m)
		}
		h.hasM = true
	}
	if s.Alpha != 0 {
		if h.old = resize(h.old, len(x)); !h.hasOld {
			copy(h.old, x)
		}
		h.hasOld = true
	}
}

// generalStep moves every row by a step s of size [E] or [rows] that is not plain, see attack.Step.
// along [rows, I] is what rows go along where that is the direction.
// A pixel is computed in float64. It is rounded to T after the move, after each projection, and
// after the inertia that Alpha asks for.
func (b *Backend[T]) generalStep(ctx context.Context, s attack.Step, size, along []T) error {
	if err := b.whole(ctx); err != nil {
		return err
	}
	in := b.model.in
	b.state.history.prepare(s, b.state.x)
	seen := &b.state.sight
	known := seen.serves(s)
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		var d []T // what the direction is made of [hi-lo, ld]
		switch {
		case known:
			d = seen.g[lo*in : hi*in]
		case s.Direction == attack.Gradient:
			d = b.gradientAt(w, s, b.lookAt(w, s, size, lo, hi), lo, hi)
		case s.Direction == attack.Along:
			d = along[lo*in : hi*in]
		default: // random: draw knows which
			d = resize(w.grad[0], (hi-lo)*in)
			w.grad[0] = d
		}
		ld := len(d) / (hi - lo)
		w.v = resize(w.v, in)
		for r := lo; r < hi; r++ {
			d := d[(r-lo)*ld:][:in]
			by := 1.0
			switch s.Direction {
			case attack.Gradient:
				if by = b.ascend(s, d, r); by < 0 {
					continue // not finite
				}
			case attack.Along:
			default: // random
				by = b.draw(w, s, d, r)
			}
			if _, e := b.batch.of(r); b.batch.eps[e] != 0 {
				b.moveRow(s, d, sizeOf(size, r, e), by, b.batch.eps[e], w.v, r)
			}
		}
	})
}

// sizeOf returns the size for row r at the place e of its eps, from size [E] or [rows].
func sizeOf[T Float](size []T, r, e int) float64 {
	if e < len(size) && r >= len(size) {
		return float64(size[e])
	}
	return float64(size[r])
}

// lookAt returns where step s takes the gradient of rows lo to hi-1, [hi-lo, I]: at x, or with
// Nesterov ahead of it. It is valid until w is used again.
func (b *Backend[T]) lookAt(w *scratch[T], s attack.Step, size []T, lo, hi int) []T {
	in := b.model.in
	if !s.Nesterov {
		return b.state.x[lo*in : hi*in]
	}
	w.x = resize(w.x, (hi-lo)*in)
	for r := lo; r < hi; r++ {
		at, x, m := w.x[(r-lo)*in:][:in], b.pixels(r), b.state.history.m[r*in:][:in]
		c := 0.0
		if _, e := b.batch.of(r); b.batch.eps[e] != 0 {
			c = sizeOf(size, r, e) * s.Decay
		}
		for k, v := range x {
			at[k] = T(float64(v) + float64(c*float64(m[k])))
		}
	}
	return w.x
}

// gradientAt returns a positive multiple of the gradient of the step's loss for rows lo to hi-1,
// taken at x [hi-lo, I]. It is [hi-lo, stride] and valid until w is used again.
func (b *Backend[T]) gradientAt(w *scratch[T], s attack.Step, x []T, lo, hi int) []T {
	return b.gradientFrom(w, s, b.ahead(w, x, lo, hi), lo, hi)
}

// ahead returns the logits of rows lo to hi-1 at x [hi-lo, I], which need not be where they are,
// [hi-lo, stride], with all that a way back from them needs. It is valid until w is used again.
func (b *Backend[T]) ahead(w *scratch[T], x []T, lo, hi int) []T {
	if net := b.model.net; net != nil {
		return net.forward(w, x, b.subset(lo, hi, 0), forGradient)
	}
	b.model.mlp.forward(w, x, hi-lo, b.alike(lo, hi, 0))
	return w.z[len(w.z)-1]
}

// gradientFrom is gradientAt from the logits z, what ahead has just returned.
func (b *Backend[T]) gradientFrom(w *scratch[T], s attack.Step, z []T, lo, hi int) []T {
	return b.downFrom(w, z, lo, hi, func(r int, z, q []T) {
		i, _ := b.batch.of(r)
		target := -1
		if s.Targets != nil {
			target = int(s.Targets[r])
		}
		if err := lossGradientOf(s.Loss, q, z, int(b.loaded.labels[i]), target); err != nil {
			panic(err) // batch.Known lets no such step in
		}
	})
}

// ascend turns the gradient g of row r into what step s moves along, and returns what to divide
// that by. It returns -1, and reports the image, if something is not finite.
func (b *Backend[T]) ascend(s attack.Step, g []T, r int) (by float64) {
	top, finite := largestSize(g)
	if top == 0 {
		b.state.zero[r] = true
	}
	if s.Momentum && finite {
		tame(g, top)
		m := b.state.history.m[r*len(g):][:len(g)]
		mean := meanAbs(g)
		for k, v := range g {
			next := float64(s.Decay * float64(m[k]))
			if mean != 0 {
				next += float64(v) / mean
			}
			m[k] = T(next)
		}
		copy(g, m)
		top, finite = largestSize(g)
	}
	switch {
	case !finite:
		i, _ := b.batch.of(r)
		b.broken.report(i)
		return -1
	case s.Norm == attack.Linf:
		signs(g)
		return 1
	case top == 0:
		return 1
	}
	tame(g, top)
	return norm2(g)
}

// largestSize returns the largest |g|, and whether every element is finite.
func largestSize[T Float](g []T) (top T, finite bool) {
	var check T
	for _, v := range g {
		top = max(top, v, -v)
		check += T(v * 0) // NaN from then on if v is NaN or infinite
	}
	return top, check == 0
}

// tame multiplies g by a power of two if its squares would overflow or vanish in float64. top is
// the largest |g|.
func tame[T Float](g []T, top T) {
	if top := float64(top); top != 0 && (top > 0x1p500 || top < 0x1p-500) {
		_, e := math.Frexp(top)
		for k, v := range g {
			g[k] = T(math.Ldexp(float64(v), -e))
		}
	}
}

// signs is g ← sign(g), sign(0) = 0.
func signs[T Float](g []T) {
	for k, v := range g {
		// A processor cannot predict these branches, so they are written to compile without any.
		var plus, minus int
		if v > 0 {
			plus = 1
		}
		if v < 0 {
			minus = 1
		}
		g[k] = T(plus - minus)
	}
}

// draw writes the random direction of step s for row r to d, and returns what to divide it by.
func (b *Backend[T]) draw(w *scratch[T], s attack.Step, d []T, r int) (by float64) {
	i, e := b.batch.of(r)
	first := b.loaded.first
	restart := 0
	if s.Restarts != nil {
		restart = s.Restarts[e]
	}
	if s.Direction == attack.RandomSign {
		for k, v := range w.dir.random(s, first+i, restart, len(d)) {
			d[k] = T(v)
		}
		if s.Norm == attack.L2 {
			return math.Sqrt(float64(len(d)))
		}
		return 1
	}
	u := attack.NewUniformDraw(s.Seed, first+i, restart, s.Index)
	if s.Norm == attack.Linf {
		for k := range d {
			d[k] = T(u.Linf(k))
		}
		return 1
	}
	w.dir.ints = resize(w.dir.ints, len(d))
	f := u.L2(w.dir.ints)
	for k, v := range w.dir.ints {
		d[k] = T(float64(v) * f)
	}
	return 1
}

// moveRow moves row r by size·d/by, projects it, and adds the inertia of Alpha, as step s says. z
// [I] is room for a row.
func (b *Backend[T]) moveRow(s attack.Step, d []T, size, by float64, eps T, z []T, r int) {
	i, _ := b.batch.of(r)
	x, x0 := b.pixels(r), b.loaded.clean(i)
	if by == 1 {
		for k, v := range d {
			z[k] = T(float64(x[k]) + float64(size*float64(v)))
		}
	} else {
		for k, v := range d {
			z[k] = T(float64(x[k]) + float64(size*(float64(v)/by)))
		}
	}
	projectStep(z, x0, s, eps)
	if a := s.Alpha; a != 0 {
		old := b.state.history.old[r*len(x):][:len(x)]
		for k, v := range z {
			f := float64(x[k])
			z[k] = T(f + float64(a*(float64(v)-f)) + float64((1-a)*(f-float64(old[k]))))
		}
		projectStep(z, x0, s, eps)
		copy(old, x)
	}
	copy(x, z)
}

// projectStep moves x to the nearest point of the eps-ball of x0, if step s has one, and clips it
// to the bounds of s.
func projectStep[T Float](x, x0 []T, s attack.Step, eps T) {
	if !s.Ball && s.Bounds.None() {
		return
	}
	lo, hi := T(math.Inf(-1)), T(math.Inf(1))
	if !s.Bounds.None() {
		lo, hi = T(s.Bounds.Lo), T(s.Bounds.Hi)
	}
	if s.Norm == attack.Linf {
		project(x, x0, eps, lo, hi)
		return
	}
	if n := distance(x, x0); n > float64(eps) {
		c := float64(eps) / n
		for k, v := range x0 {
			f := float64(v)
			x[k] = T(f + float64(c*(float64(x[k])-f)))
		}
	}
	if !s.Bounds.None() {
		for k, v := range x {
			x[k] = min(max(v, lo), hi)
		}
	}
}
