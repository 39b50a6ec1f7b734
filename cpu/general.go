package cpu

import (
	"context"
	"fmt"
	"math"

	"advsweep/attack"
	"advsweep/internal/batch"
)

// general is what general steps keep of every row between them, each as large as x and there only
// once a step has asked for it.
type general[T Float] struct {
	m, old       []T  // [rows, I]: the momentum, and x before the last step with Alpha
	hasM, hasOld bool // since Begin; else m is 0 and old is x
}

// whole fills x of all rows, which nothing then follows: no ray and no moves. Steps from here on
// start at the pixels, the plain ones, too.
func (b *Backend[T]) whole(ctx context.Context) error {
	if b.fresh || b.ray.on {
		err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
			copy(b.x[lo*b.in:hi*b.in], b.images(w, lo, hi))
		})
		if err != nil {
			return err
		}
	}
	b.fresh, b.ray.on, b.moves.on, b.still = false, false, false, 0
	return nil
}

// lost drops the rows if err is not nil: some have moved, some have not.
func (b *Backend[T]) lost(err error) error {
	if err != nil {
		b.rows, b.eps = 0, nil
	}
	return err
}

// generalStep moves every row by a step s of size [E] or [rows], along [rows, I] if that is its
// direction, that is not plain, see attack.Step.
// A pixel is computed in float64 and rounded to T after the move, after each projection and after
// the inertia.
func (b *Backend[T]) generalStep(ctx context.Context, s attack.Step, size, along []T) error {
	if err := b.whole(ctx); err != nil {
		return b.lost(err)
	}
	g := &b.general
	if s.Momentum {
		if g.m = resize(g.m, b.rows*b.in); !g.hasM {
			clear(g.m)
		}
		g.hasM = true
	}
	if s.Alpha != 0 {
		if g.old = resize(g.old, b.rows*b.in); !g.hasOld {
			copy(g.old, b.x)
		}
		g.hasOld = true
	}
	b.broken.Store(-1)
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		var d []T // what the direction is made of [hi-lo, ld]
		switch s.Direction {
		case attack.Gradient:
			d = b.gradientAt(w, s, b.lookAt(w, s, size, lo, hi), lo, hi)
		case attack.Along:
			d = along[lo*b.in : hi*b.in]
		default: // random
			d = resize(w.grad[0], (hi-lo)*b.in)
			w.grad[0] = d
		}
		ld := len(d) / (hi - lo)
		w.v = resize(w.v, b.in)
		for r := lo; r < hi; r++ {
			d := d[(r-lo)*ld:][:b.in]
			by := 1.0
			switch s.Direction {
			case attack.Gradient:
				if by = b.ascend(s, d, r); by < 0 {
					continue // not finite
				}
			case attack.Along:
			default:
				by = b.draw(w, s, d, r)
			}
			if e := r % len(b.eps); b.eps[e] != 0 {
				b.moveRow(s, d, sizeOf(size, r, e), by, b.eps[e], w.v, r)
			}
		}
	})
	if i := b.broken.Load(); i >= 0 && err == nil {
		err = fmt.Errorf("cpu: %w", batch.NotFinite(b.first+int(i), b.info.Precision))
	}
	return b.lost(err)
}

// sizeOf returns the size of row r at column e, of size [E] or [rows].
func sizeOf[T Float](size []T, r, e int) float64 {
	if e < len(size) && r >= len(size) {
		return float64(size[e])
	}
	return float64(size[r])
}

// lookAt returns where step s takes the gradient of rows lo to hi-1, [hi-lo, I], valid until w is
// used again.
func (b *Backend[T]) lookAt(w *scratch[T], s attack.Step, size []T, lo, hi int) []T {
	if !s.Nesterov {
		return b.x[lo*b.in : hi*b.in]
	}
	w.x = resize(w.x, (hi-lo)*b.in)
	for r := lo; r < hi; r++ {
		at, x, m := w.x[(r-lo)*b.in:][:b.in], b.x[r*b.in:][:b.in], b.general.m[r*b.in:][:b.in]
		c := 0.0
		if e := r % len(b.eps); b.eps[e] != 0 {
			c = sizeOf(size, r, e) * s.Decay
		}
		for k, v := range x {
			at[k] = T(float64(v) + float64(c*float64(m[k])))
		}
	}
	return w.x
}

// gradientAt returns a positive multiple of the gradient of the step's loss at images x [hi-lo, I]
// of rows lo to hi-1, [hi-lo, stride], valid until w is used again.
func (b *Backend[T]) gradientAt(w *scratch[T], s attack.Step, x []T, lo, hi int) []T {
	if b.net != nil {
		p := b.part(lo, hi, 0)
		z := b.net.forward(w, x, p, true)
		w.grad[0] = resize(w.grad[0], len(z))
		b.lossGradients(s, w.grad[0], z, len(z)/p.n, lo, hi)
		return b.net.backward(w, w.grad[0], p, nil)
	}
	n, split := hi-lo, b.alike(lo, hi, 0)
	z := w.layers(b)
	z[0] = b.affine(w, x, n, split)
	b.up(&w.rows, z, 1, n, split)
	l := len(b.layers) - 1
	ld := b.layers[l].stride
	w.grad[0] = resize(w.grad[0], n*ld)
	b.lossGradients(s, w.grad[0], z[l], ld, lo, hi)
	return b.down(w, &w.rows, z, n, split, b.stripes(lo, hi, 0))
}

// lossGradients writes a positive multiple of the gradient of the step's loss at the logits z of
// rows lo to hi-1 to q, both [hi-lo, ld].
func (b *Backend[T]) lossGradients(s attack.Step, q, z []T, ld, lo, hi int) {
	for r := lo; r < hi; r++ {
		i, _ := b.image(r)
		target := -1
		if s.Targets != nil {
			target = int(s.Targets[r])
		}
		if err := lossGradientOf(s.Loss, q[(r-lo)*ld:][:b.out], z[(r-lo)*ld:][:b.out], int(b.labels[i]), target); err != nil {
			panic(err) // batch.Known lets no such step in
		}
	}
}

// ascend makes the gradient g of row r what step s moves along and returns what to divide it by. It
// is -1 if something is not finite.
func (b *Backend[T]) ascend(s attack.Step, g []T, r int) (by float64) {
	top, finite := largestSize(g)
	if top == 0 {
		b.zero[r] = true
	}
	if s.Momentum && finite {
		tame(g, top)
		m := b.general.m[r*b.in:][:b.in]
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
		i, _ := b.image(r)
		b.fail(i)
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

// tame multiplies g, whose largest size is top, by a power of two if the squares of it would
// overflow or vanish in float64.
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
		// Signs are coin tosses to a branch predictor: these compile without branches.
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

// draw writes the random direction of step s for row r to d and returns what to divide it by.
func (b *Backend[T]) draw(w *scratch[T], s attack.Step, d []T, r int) (by float64) {
	i, e := b.image(r)
	restart := 0
	if s.Restarts != nil {
		restart = s.Restarts[e]
	}
	if s.Direction == attack.RandomSign {
		w.sign = resize(w.sign, b.in)
		attack.RandomSigns(w.sign, s.Seed, b.first+i, restart, s.Index)
		for k, v := range w.sign {
			d[k] = T(v)
		}
		if s.Norm == attack.L2 {
			return math.Sqrt(float64(b.in))
		}
		return 1
	}
	u := attack.NewUniformDraw(s.Seed, b.first+i, restart, s.Index)
	if s.Norm == attack.Linf {
		for k := range d {
			d[k] = T(u.Linf(k))
		}
		return 1
	}
	w.draw = resize(w.draw, b.in)
	f := u.L2(w.draw)
	for k, v := range w.draw {
		d[k] = T(float64(v) * f)
	}
	return 1
}

// moveRow moves row r by size·d/by, and so on as step s says. z [I] is room for a row.
func (b *Backend[T]) moveRow(s attack.Step, d []T, size, by float64, eps T, z []T, r int) {
	i, _ := b.image(r)
	x, x0 := b.x[r*b.in:][:b.in], b.clean(i)
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
		old := b.general.old[r*b.in:][:b.in]
		for k, v := range z {
			f := float64(x[k])
			z[k] = T(f + float64(a*(float64(v)-f)) + float64((1-a)*(f-float64(old[k]))))
		}
		projectStep(z, x0, s, eps)
		copy(old, x)
	}
	copy(x, z)
}

// projectStep keeps x in the eps-ball of x0, if step s has one, and in its bounds.
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
