package cpu

import (
	"context"
	"fmt"
	"math"

	"advsweep/attack"
	"advsweep/internal/batch"
)

// general is what general steps keep of every row between them, each as large as x and there only once a step has asked for it.
type general[T Float] struct {
	m, old       []T // [rows, I]: the momentum, and x before the last step with Alpha
	hasM, hasOld bool
}

// whole fills x of all rows, which nothing then follows: no ray and no moves. Steps from here on start at the pixels, the
// plain ones, too.
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

// generalStep moves every row by a step that is not plain, see attack.Step.
func (b *Backend[T]) generalStep(ctx context.Context, s attack.Step, size []T) error {
	if err := b.whole(ctx); err != nil {
		return b.lost(err)
	}
	g := &b.general
	if s.Momentum {
		g.m = resize(g.m, b.rows*b.in)
		if !g.hasM {
			clear(g.m)
		}
		g.hasM = true
	}
	if s.Alpha != 0 {
		g.old = resize(g.old, b.rows*b.in)
		if !g.hasOld {
			copy(g.old, b.x)
		}
		g.hasOld = true
	}
	b.broken.Store(-1)
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) { b.moveRows(w, s, size, lo, hi) })
	if i := b.broken.Load(); i >= 0 && err == nil {
		err = fmt.Errorf("cpu: %w", batch.NotFinite(b.first+int(i), b.Precision()))
	}
	return b.lost(err)
}

// moveRows makes the general step s of rows lo to hi-1.
func (b *Backend[T]) moveRows(w *scratch[T], s attack.Step, size []T, lo, hi int) {
	E := len(b.eps)
	sizeOf := func(r int) float64 {
		switch {
		case b.eps[r%E] == 0: // stays
			return 0
		case len(size) == E:
			return float64(size[r%E])
		}
		return float64(size[r])
	}
	var grad []T
	ld := b.in
	if s.Direction == attack.Gradient {
		at := b.x[lo*b.in : hi*b.in]
		if s.Nesterov {
			w.x = resize(w.x, len(at))
			for r := lo; r < hi; r++ {
				c := sizeOf(r) * s.Decay
				m, x := b.general.m[r*b.in:][:b.in], b.x[r*b.in:][:b.in]
				for k := range x {
					w.x[(r-lo)*b.in+k] = T(float64(x[k]) + float64(c*float64(m[k])))
				}
			}
			at = w.x
		}
		grad = b.gradientAt(w, s, at, lo, hi)
		ld = len(grad) / (hi - lo)
	} else {
		w.grad[0] = resize(w.grad[0], (hi-lo)*b.in)
		grad = w.grad[0]
	}
	w.v = resize(w.v, b.in)
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		g := grad[(r-lo)*ld:][:b.in]
		factor := 1.0 // d = factor·g
		if s.Direction == attack.Gradient {
			zero, finite := inspect(g)
			if zero {
				b.zero[r] = true
			}
			if s.Momentum {
				m := b.general.m[r*b.in:][:b.in]
				accumulate(m, g, s.Decay)
				copy(g, m)
				_, stays := inspect(g)
				finite = finite && stays
			}
			if !finite {
				b.fail(i)
				continue
			}
			if s.Norm == attack.Linf {
				signs(g)
			} else {
				factor = normalize(g)
			}
		} else {
			factor = b.draw(w, g, s, i, e)
		}
		if b.eps[e] == 0 {
			continue
		}
		x, x0, z := b.x[r*b.in:][:b.in], b.clean(i), w.v
		c := sizeOf(r) * factor
		for k, v := range g {
			z[k] = T(float64(x[k]) + float64(c*float64(v)))
		}
		b.projectRow(z, x0, s, b.eps[e])
		if a := s.Alpha; a != 0 {
			old := b.general.old[r*b.in:][:b.in]
			for k, v := range z {
				f := float64(x[k])
				z[k] = T(f + float64(a*(float64(v)-f)) + float64((1-a)*(f-float64(old[k]))))
			}
			b.projectRow(z, x0, s, b.eps[e])
			copy(old, x)
		}
		copy(x, z)
	}
}

// gradientAt returns a positive multiple of the gradient of the step's loss at images x [hi-lo, I] of rows lo to hi-1,
// [hi-lo, stride], valid until w is used again.
func (b *Backend[T]) gradientAt(w *scratch[T], s attack.Step, x []T, lo, hi int) []T {
	n, split := hi-lo, b.alike(lo, hi, 0)
	z := w.layers(b)
	z[0] = b.affine(w, x, n, split)
	b.up(&w.rows, z, 1, n, split)
	l := len(b.layers) - 1
	ld := b.layers[l].stride
	w.grad[0] = resize(w.grad[0], n*ld)
	for r := lo; r < hi; r++ {
		i, _ := b.image(r)
		target := -1
		if s.Targets != nil {
			target = int(s.Targets[r])
		}
		lossGradientOf(s.Loss, w.grad[0][(r-lo)*ld:][:b.out], z[l][(r-lo)*ld:][:b.out], int(b.labels[i]), target)
	}
	return b.down(w, &w.rows, z, n, split, b.stripes(lo, hi, 0))
}

// draw writes a multiple of the random direction of step s for image i at column e to g [I] and returns the factor.
func (b *Backend[T]) draw(w *scratch[T], g []T, s attack.Step, i, e int) float64 {
	restart := 0
	if s.Restarts != nil {
		restart = s.Restarts[e]
	}
	if s.Direction == attack.RandomSign {
		w.sign = resize(w.sign, b.in)
		attack.RandomSigns(w.sign, s.Seed, b.first+i, restart, s.Index)
		for k, v := range w.sign {
			g[k] = T(v)
		}
		if s.Norm == attack.L2 {
			return 1 / math.Sqrt(float64(b.in))
		}
		return 1
	}
	u := attack.NewUniformDraw(s.Seed, b.first+i, restart, s.Index)
	if s.Norm == attack.Linf {
		for k := range g {
			g[k] = T(u.Linf(k))
		}
		return 1
	}
	w.draw = resize(w.draw, b.in)
	f := u.L2(w.draw)
	for k, v := range w.draw {
		g[k] = T(float64(v) * f)
	}
	return 1
}

// projectRow keeps x in the eps-ball of x0, if the step has one, and in its bounds.
func (b *Backend[T]) projectRow(x, x0 []T, s attack.Step, eps T) {
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
	for k, v := range x {
		x[k] = min(max(v, lo), hi)
	}
}
