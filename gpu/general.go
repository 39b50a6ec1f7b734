//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"math"
	"slices"

	"advsweep/attack"

	"gorgonia.org/cu"
)

// A general is what a batch needs beside its rows for general steps (those that are not plain), and
// for Keep, Restore and norms. Each buffer is taken when it is first used, and release of card
// gives all of them back.
//
// prepare fills hasM, hasOld and the buffers of a step. keep changes slots and has, choose changes
// set, and rowNorms changes norms. forget says for a new batch that nothing is there.
type general struct {
	m, old       buffer    // [rows, in]: the momentum; x before the last step with Alpha
	slots        [2]buffer // [rows, in]: what Keep copied
	hasM, hasOld bool      // whether m and old hold something of this batch
	has          [2]bool   // whether slots do
	set          buffer    // [rows] of int8: which rows Keep and Restore are for
	norms        buffer    // [rows] of measured

	sizes, targets, restarts buffer // of a step: [E] or [rows], [rows], [E]

	aside buffer // [microbatch, in]: where Nesterov takes its gradient, or a direction that was drawn
	by    buffer // [microbatch · rows that share a gradient] of float64: what a direction is divided by
}

// buffers lists all buffers of g.
func (g *general) buffers() []*buffer {
	return []*buffer{&g.m, &g.old, &g.slots[0], &g.slots[1], &g.set, &g.norms, &g.sizes, &g.targets, &g.restarts, &g.aside, &g.by}
}

// forget says for a new batch that no buffer holds anything of its rows.
func (g *general) forget() { g.hasM, g.hasOld, g.has = false, false, [2]bool{} }

// An objective is a loss of the logits of a microbatch. If targets is 0, it is of the labels, and
// grows as the rows get away from them. Else it grows as the rows come near to targets [n].
type objective struct {
	loss    attack.Loss
	targets cu.DevicePtr
}

// filled writes x of all rows, if it is not in memory. The position stays, so that rows on a ray go
// on along it.
func (p *card) filled(ctx context.Context) error {
	switch {
	case p.position.fresh:
		return p.copyRows(p.batch.x.DevicePtr, p.cleanRows(), 0, true)
	case p.position.ray != 0:
		return p.batchMicrobatches(ctx, p.fillRows)
	}
	return nil
}

// whole is filled for rows that are about to move: from here on x is where they are.
func (p *card) whole(ctx context.Context) error {
	err := p.filled(ctx)
	p.position.moved()
	return err
}

// cleanRows is x0 [images, in] of the batch's images.
func (p *card) cleanRows() cu.DevicePtr { return p.loaded.image(p.batch.lo) }

// generalStep launches a step that is not plain, see attack.Step. size [E] or [rows], targets
// [rows] or nil, and along [rows, inputs] or nil are those of this card.
func (p *card) generalStep(ctx context.Context, s attack.Step, size []float32, targets []int32, along []float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.batch.rows() == 0 {
		return nil
	}
	gradient := s.Direction == attack.Gradient
	share := 1 // how many rows share a gradient
	if gradient && p.position.fresh && targets == nil {
		share = p.batch.E()
	}
	if err := p.prepare(ctx, s, size, targets, share); err != nil {
		return p.freeing(err)
	}
	p.batch.unread = p.batch.unread || gradient
	g := &p.general
	return p.microbatches(ctx, p.batch.lo, p.batch.rows()/share, p.batch.E()/share, func(c span) error {
		rows := span{c.lo, c.first * share, c.n * share, p.batch.E()}
		x := p.batch.rowX(c.first, p.in())
		v := g.aside.DevicePtr
		switch {
		case s.Direction == attack.Along:
			if err := p.along(c, along); err != nil {
				return err
			}
			return p.move(c, v, s, len(size), 1)
		case !gradient: // random
			if err := p.draw(c, s); err != nil {
				return err
			}
			return p.move(c, v, s, len(size), 1)
		case share > 1:
			x = at(p.cleanRows(), c.first*p.in(), 4)
		case s.Nesterov:
			if err := p.ahead(c, s, len(size)); err != nil {
				return err
			}
			x = v
		}
		o := objective{loss: s.Loss}
		if targets != nil {
			o.targets = at(g.targets.DevicePtr, c.first, 4)
		}
		v, err := p.gradient(c, x, o)
		if err != nil {
			return err
		}
		if err := p.direction(rows, v, s, share); err != nil {
			return err
		}
		if s.Momentum {
			return p.move(rows, at(g.m.DevicePtr, rows.first*p.in(), 4), s, len(size), 1)
		}
		return p.move(rows, v, s, len(size), share)
	})
}

// prepare takes the memory that step s needs, and copies up what s brings. share is how many rows
// share a gradient.
func (p *card) prepare(ctx context.Context, s attack.Step, size []float32, targets []int32, share int) error {
	if err := p.whole(ctx); err != nil {
		return err
	}
	g := &p.general
	n, row := min(p.budget.microbatch, p.batch.rows()/share), int64(4*p.in())
	if err := p.grow(&g.by, int64(8*n*share)); err != nil {
		return err
	}
	if s.Nesterov || s.Direction != attack.Gradient {
		if err := p.grow(&g.aside, int64(n)*row); err != nil {
			return err
		}
	}
	if s.Momentum && !g.hasM {
		bytes := int64(p.batch.rows()) * row
		if err := p.grow(&g.m, bytes); err != nil {
			return err
		}
		if err := p.fill(g.m.DevicePtr, 0, bytes); err != nil {
			return err
		}
		g.hasM = true
	}
	if s.Alpha != 0 && !g.hasOld {
		if err := p.grow(&g.old, int64(p.batch.rows())*row); err != nil {
			return err
		}
		if err := p.copyRows(g.old.DevicePtr, p.batch.x.DevicePtr, 0, false); err != nil {
			return err
		}
		g.hasOld = true
	}
	if err := p.grow(&g.sizes, int64(4*len(size))); err != nil {
		return err
	}
	if err := upload(p.device, g.sizes.DevicePtr, size); err != nil {
		return err
	}
	if targets != nil {
		if err := p.grow(&g.targets, int64(4*len(targets))); err != nil {
			return err
		}
		if err := upload(p.device, g.targets.DevicePtr, slices.Clone(targets)); err != nil {
			return err
		}
	}
	if s.Restarts == nil {
		return nil
	}
	restarts := make([]int32, len(s.Restarts))
	for e, r := range s.Restarts {
		restarts[e] = int32(r)
	}
	if err := p.grow(&g.restarts, int64(4*len(restarts))); err != nil {
		return err
	}
	return upload(p.device, g.restarts.DevicePtr, restarts)
}

// ahead launches aside [n, in] = x + size·decay·m for a microbatch: where Nesterov's step takes the
// gradient. sizes is how many sizes there are, E or rows.
func (p *card) ahead(c span, s attack.Step, sizes int) error {
	g := &p.general
	return p.launch("ahead", dim{ceil(c.n, 8), 1}, dim{256, 1}, 0, []int{c.n, p.inputs},
		g.aside.DevicePtr, p.batch.x.DevicePtr, g.m.DevicePtr, g.sizes.DevicePtr, p.batch.epsOnDevice(), s.Decay, sizes != c.E,
		int32(c.first), int32(c.n), int32(c.E), int32(p.in()))
}

// direction launches what a step needs of the gradient g [n/share, in] of a microbatch: by, the
// momentum, which rows have a gradient of zero, and whether a gradient is not finite.
func (p *card) direction(c span, g cu.DevicePtr, s attack.Step, share int) error {
	var m cu.DevicePtr
	if s.Momentum {
		m = p.general.m.DevicePtr
	}
	return p.launch("direction", dim{ceil(c.n, 8), 1}, dim{256, 1}, 0, []int{c.n, p.inputs},
		p.general.by.DevicePtr, m, at(p.batch.zero.DevicePtr, c.first, 1), p.batch.broken(), g, s.Decay, s.Norm == attack.L2,
		int32(share), int32(c.lo), int32(c.first), int32(c.n), int32(c.E), int32(p.inputs), int32(p.in()))
}

// along copies up what a microbatch goes along, of along [rows, inputs] of this card: aside [n, in]
// and by [n].
func (p *card) along(c span, along []float32) error {
	d, by := make([]float32, c.n*p.in()), make([]float64, c.n)
	for k := range by {
		copy(d[k*p.in():], along[(c.first+k)*p.inputs:][:p.inputs])
		by[k] = 1
	}
	if err := upload(p.device, p.general.aside.DevicePtr, d); err != nil {
		return err
	}
	return upload(p.device, p.general.by.DevicePtr, by)
}

// draw launches aside [n, in] and by [n]: the random direction of a microbatch.
func (p *card) draw(c span, s attack.Step) error {
	var restarts cu.DevicePtr
	if s.Restarts != nil {
		restarts = p.general.restarts.DevicePtr
	}
	kind, first := int32(0), uint64(p.loaded.first+c.lo)
	if s.Direction == attack.Uniform {
		kind = 1
	}
	return p.launch("draw", dim{ceil(c.n, 8), 1}, dim{256, 1}, 0, []int{c.n, p.inputs},
		p.general.aside.DevicePtr, p.general.by.DevicePtr, restarts, uint32(s.Seed), uint32(s.Seed>>32), uint32(first), uint32(first>>32),
		uint32(s.Index), kind, s.Norm == attack.L2, int32(c.first), int32(c.n), int32(c.E), int32(p.inputs), int32(p.in()))
}

// move launches the move of a microbatch along v/by, with v [n/share, in]. sizes is how many sizes
// there are, E or rows.
func (p *card) move(c span, v cu.DevicePtr, s attack.Step, sizes, share int) error {
	g := &p.general
	var old cu.DevicePtr
	if s.Alpha != 0 {
		old = g.old.DevicePtr
	}
	lo, hi := float32(math.Inf(-1)), float32(math.Inf(1))
	if !s.Bounds.None() {
		lo, hi = float32(s.Bounds.Lo), float32(s.Bounds.Hi)
	}
	return p.launch("move", dim{ceil(c.n, 8), 1}, dim{256, 1}, 0, []int{c.n, p.inputs},
		p.batch.x.DevicePtr, old, p.loaded.image(c.lo), v, g.by.DevicePtr, g.sizes.DevicePtr, p.batch.epsOnDevice(),
		s.Alpha, lo, hi, s.Ball || !s.Bounds.None(), s.Norm == attack.L2, s.Direction == attack.Gradient && s.Norm == attack.Linf, sizes != c.E,
		int32(share), int32(c.first), int32(c.n), int32(c.E), int32(p.inputs), int32(p.in()))
}
