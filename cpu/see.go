package cpu

import (
	"context"
	"fmt"
	"slices"

	"advsweep/attack"
	"advsweep/internal/batch"

	"gorgonia.org/tensor"
)

// See is pipeline.Seer.See: Logits, and Gradient with weights made of them, in one pass up and down.
func (b *Backend[T]) See(ctx context.Context, weigh func(row int, z, q []float64)) (logits, gradient *tensor.Dense, err error) {
	rows, in, out := b.batch.rows, b.model.in, b.model.out
	if err := b.ready(rows); err != nil {
		return nil, nil, err
	}
	defer b.leave(b.enter(b.sloping()))
	all := make([]T, rows*out)
	gradient, err = b.matrix(ctx, in, func(w *scratch[T], lo, hi int) []T {
		return b.downFrom(w, b.slopingForward(w, lo, hi), lo, hi, func(r int, z, q []T) {
			copy(all[r*out:][:out], z)
			wide, weights := make([]float64, out), make([]float64, out)
			for j, v := range z {
				wide[j] = float64(v)
			}
			if finite(wide) {
				weigh(r, wide, weights)
			}
			for j, v := range weights {
				q[j] = T(v)
			}
		})
	})
	if err != nil {
		return nil, nil, err
	}
	logits = tensor.New(tensor.WithShape(rows, out), tensor.WithBacking(all))
	if err := batch.FiniteGradient(gradient.Data().([]T), b.loaded.first+b.batch.lo, len(b.batch.eps), in, b.model.info.Precision); err != nil {
		return logits, nil, fmt.Errorf("cpu: %w", err)
	}
	return logits, gradient, nil
}

func finite(z []float64) bool {
	for _, v := range z {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// slopingForward returns the logits of rows lo to hi-1, [hi-lo, stride], with all that a way back
// from them needs. It is valid until w is used again.
func (b *Backend[T]) slopingForward(w *scratch[T], lo, hi int) []T {
	if b.model.net != nil {
		return b.model.net.forward(w, b.images(w, lo, hi), b.subset(lo, hi, 0), forGradient)
	}
	return b.forward(w, lo, hi, 0)
}

// downFrom returns the gradient of Σ_j q_j·z_j with respect to x of rows lo to hi-1, [hi-lo,
// stride], z [hi-lo, ld] being what slopingForward or ahead has just returned. weigh writes q [O] of row r at
// its logits [O]; q is 0 before. The result is valid until w is used again.
func (b *Backend[T]) downFrom(w *scratch[T], z []T, lo, hi int, weigh func(r int, z, q []T)) []T {
	n, out := hi-lo, b.model.out
	ld := len(z) / n
	w.grad[0] = resize(w.grad[0], n*ld)
	for r := range n {
		q := w.grad[0][r*ld:][:out]
		clear(q)
		weigh(lo+r, z[r*ld:][:out], q)
	}
	p := b.subset(lo, hi, 0)
	if b.model.net != nil {
		return b.model.net.backward(w, w.grad[0], p, nil)
	}
	return b.model.mlp.down(w, &w.rows, w.z, n, p.split, b.stripes(lo, hi, 0))
}

// A sight is what was found of the rows as they are, before a step that goes along it: logits and a
// multiple of the gradient. Each of them counts until the rows move.
type sight[T Float] struct {
	z, g         []T // [rows, O], [rows, I]
	haveZ, haveG bool
	of           aim
}

// An aim is what a gradient depends on besides the rows.
type aim struct {
	loss    attack.Loss
	targets []int32
}

func (a aim) equal(b aim) bool { return a.loss == b.loss && slices.Equal(a.targets, b.targets) }

func (s *sight[T]) forget() { s.haveZ, s.haveG = false, false }

// serves reports whether g is what step s goes along.
func (s *sight[T]) serves(step attack.Step) bool {
	return s.haveG && step.Direction == attack.Gradient && !step.Nesterov && s.of.equal(aim{step.Loss, step.Targets})
}

// Look is pipeline.Looker.Look: Logits, with the gradient that step s, which is not plain, takes at
// the rows as they are. The next Step uses it if it is one like s but for its sizes, and no row has
// moved but by Restore from slot 0 to where Look has been.
func (b *Backend[T]) Look(ctx context.Context, s attack.Step) (*tensor.Dense, error) {
	if b.closed {
		return nil, errClosed
	}
	rows, in, out := b.batch.rows, b.model.in, b.model.out
	if _, err := batch.Step(s, rows, len(b.batch.eps), out, b.loaded.min, b.loaded.max); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if s.Plain(len(b.batch.eps)) || s.Direction != attack.Gradient || s.Nesterov {
		return b.Logits(ctx)
	}
	defer b.leave(b.enter(b.stepping(s)))
	if err := b.whole(ctx); err != nil {
		return nil, b.lost(err)
	}
	v := &b.state.sight
	v.forget()
	v.z, v.g = resize(v.z, rows*out), resize(v.g, rows*in)
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		z := b.ahead(w, b.state.x[lo*in:hi*in], lo, hi)
		for r, ld := lo, len(z)/(hi-lo); r < hi; r++ {
			copy(v.z[r*out:][:out], z[(r-lo)*ld:])
		}
		g := b.gradientFrom(w, s, z, lo, hi)
		for r, ld := lo, len(g)/(hi-lo); r < hi; r++ {
			copy(v.g[r*in:][:in], g[(r-lo)*ld:])
		}
	})
	if err != nil {
		return nil, b.lost(err)
	}
	if rows == 0 {
		return b.Logits(ctx) // which says so
	}
	v.haveZ, v.haveG, v.of = true, true, aim{s.Loss, slices.Clone(s.Targets)}
	return b.Logits(ctx)
}
