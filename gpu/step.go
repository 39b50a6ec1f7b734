//go:build cuda && linux && cgo

package gpu

import (
	"context"

	"advsweep/attack"

	"gorgonia.org/cu"
)

// A recording is the launches of a gradient step that may come again in the same batch. They are
// recorded at the second time, and replayed as one graph from then on: a launch of many small
// kernels costs more than the kernels.
//
// gradientStep changes all fields. forget drops the graph when a buffer or a size in it changes.
type recording struct {
	bounds attack.Bounds // of the step before
	again  bool          // there was a step with these bounds in this batch
	graph  *graph        // nil until it is recorded
	manual bool          // the driver of this device can't record
}

// forget drops what is recorded. The next step is the first of its kind.
func (r *recording) forget(d *device) error {
	r.again = false
	return d.dropGraph(&r.graph)
}

// mostRecorded is the most microbatches of a recorded step. With more, each launch is so long that
// no kernel waits for the next launch.
const mostRecorded = 32

// step launches one plain move of every row.
func (p *card) step(ctx context.Context, s attack.Step, size []float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.batch.rows() == 0 {
		return nil
	}
	if err := p.setSizes(size); err != nil {
		return err
	}
	gradient := s.Direction == attack.Gradient
	p.batch.unread = p.batch.unread || gradient
	if gradient && !p.position.fresh {
		return p.gradientStep(ctx, s)
	}
	// All eps of an image share the direction.
	d := p.loaded.signs(p.batch.lo)
	if gradient {
		if err := p.signClean(ctx); err != nil {
			return err
		}
		p.batch.flatCounts = true
	} else {
		d = p.position.random.DevicePtr
		if p.position.ray == d { // about to be overwritten
			if err := p.leaveRay(ctx); err != nil {
				return err
			}
		}
		if err := p.randomSigns(d, s.Seed, p.loaded.first+p.batch.lo, s.Index, p.batch.images); err != nil {
			return err
		}
	}
	if p.position.fresh && s.Bounds.None() && p.mlp != nil {
		return p.enterRay(ctx, d)
	}
	if err := p.leaveRay(ctx); err != nil {
		return err
	}
	err := p.batchMicrobatches(ctx, func(c span) error {
		return p.signStep(c, d, p.batch.sizes.DevicePtr, s.Bounds, p.position.fresh, true)
	})
	p.position.moved()
	return err
}

// gradientStep launches a step along the gradient at rows that have moved.
func (p *card) gradientStep(ctx context.Context, s attack.Step) error {
	launch := func(ctx context.Context) error {
		return p.batchMicrobatches(ctx, func(c span) error {
			g, err := p.gradient(c, 0, objective{})
			if err != nil {
				return err
			}
			if p.position.ray != 0 {
				if err := p.fillRows(c); err != nil {
					return err
				}
			}
			d := p.scratch.d.DevicePtr
			if err := p.signOf(d, at(p.batch.zero.DevicePtr, c.first, 1), g, c); err != nil {
				return err
			}
			return p.signStep(c, d, p.batch.sizes.DevicePtr, s.Bounds, false, false)
		})
	}
	if p.position.ray != 0 {
		err := launch(ctx)
		p.position.moved()
		return err
	}
	r := &p.recording
	if !r.again || r.bounds != s.Bounds {
		if err := r.forget(p.device); err != nil {
			return err
		}
		r.bounds, r.again = s.Bounds, true
		return launch(ctx)
	}
	if r.manual || p.batch.rows() > mostRecorded*p.budget.microbatch {
		return launch(ctx)
	}
	if r.graph == nil {
		var err error
		if r.graph, err = p.capture(func() error { return launch(context.WithoutCancel(ctx)) }); err != nil {
			return err
		}
		if r.graph == nil {
			r.manual = true
			return launch(ctx)
		}
	}
	return p.replay(r.graph)
}

// setSizes writes the sizes of a step, unless they are there.
func (p *card) setSizes(size []float32) error {
	if p.batch.hasSizes(size) {
		return nil
	}
	if p.position.ray != 0 { // x depends on the sizes of the step before
		if err := p.leaveRay(context.Background()); err != nil {
			return err
		}
	}
	return p.batch.setSizes(p.device, size)
}

// signClean fills sign and flat for the clean images of the batch.
func (p *card) signClean(ctx context.Context) error {
	lo, hi := p.loaded.unsigned(p.batch.lo, p.batch.lo+p.batch.images)
	err := p.microbatches(ctx, lo, hi-lo, 1, func(c span) error {
		g, err := p.gradient(c, p.loaded.image(lo+c.first), objective{})
		if err != nil {
			return err
		}
		return p.signOf(p.loaded.signs(lo+c.first), p.loaded.flats(lo+c.first), g, c)
	})
	if err != nil {
		return err
	}
	for i := lo; i < hi; i++ {
		p.loaded.signed[i] = true
	}
	return nil
}

// fillRows writes x of a microbatch whose rows are fresh or on a ray.
func (p *card) fillRows(c span) error {
	d, size := p.position.ray, p.batch.sizes.DevicePtr
	if p.position.fresh {
		d, size = p.loaded.signs(p.batch.lo), p.batch.cleanSizes()
	}
	return p.signStep(c, d, size, attack.Bounds{}, true, true)
}

// leaveRay writes x of all rows, if they are on a ray.
func (p *card) leaveRay(ctx context.Context) error {
	if p.position.ray == 0 {
		return nil
	}
	err := p.batchMicrobatches(ctx, p.fillRows)
	p.position.moved()
	return err
}

// rowsAt returns x of a microbatch, which it writes if it is not in memory.
func (p *card) rowsAt(c span) (cu.DevicePtr, error) {
	fresh := p.position.fresh
	switch {
	case fresh && c.E == 1:
		return p.loaded.image(c.lo + c.first), nil
	case fresh || p.position.ray != 0:
		if err := p.fillRows(c); err != nil {
			return 0, err
		}
	}
	return p.batch.rowX(c.first, p.in()), nil
}
