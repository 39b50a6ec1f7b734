//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"fmt"
	"slices"

	"gorgonia.org/cu"
)

// Keep copies x of some rows to slot 0 or 1: of those rows r where rows[r] is set, with rows
// [rows]. The error has OutOfMemory if there is no room for the slot.
func (b *Backend) Keep(ctx context.Context, slot int, rows []bool) error {
	if err := b.slotReady("keep", slot, rows); err != nil {
		return err
	}
	return b.lose(b.each(func(p *card) error { return p.freeing(p.keep(ctx, slot, rowsOf(b, p, rows, 1))) }))
}

// Restore copies slot 0 or 1 back to x of the rows r where rows[r] is set: what Keep copied since
// Begin, or else the clean image.
func (b *Backend) Restore(ctx context.Context, slot int, rows []bool) error {
	if err := b.slotReady("restore", slot, rows); err != nil {
		return err
	}
	return b.lose(b.each(func(p *card) error { return p.freeing(p.restore(ctx, slot, rowsOf(b, p, rows, 1))) }))
}

// slotReady returns an error unless there is a batch with these rows, and the slot is 0 or 1.
func (b *Backend) slotReady(verb string, slot int, rows []bool) error {
	if err := b.ready(len(rows)); err != nil {
		return err
	}
	if slot < 0 || slot > 1 {
		return fmt.Errorf("gpu: %s: slot %d, want 0 or 1", verb, slot)
	}
	return nil
}

// keep launches Keep for the rows of the card.
func (p *card) keep(ctx context.Context, slot int, rows []bool) error {
	if len(rows) == 0 {
		return ctx.Err()
	}
	if err := p.filled(ctx); err != nil {
		return err
	}
	to, has := &p.general.slots[slot], &p.general.has[slot]
	if !*has { // rows that were never kept are the clean images
		if err := p.grow(to, int64(4*len(rows)*p.in())); err != nil {
			return err
		}
		if err := p.copyRows(to.DevicePtr, p.cleanRows(), 0, true); err != nil {
			return err
		}
		*has = true
	}
	if err := p.choose(rows); err != nil {
		return err
	}
	if err := p.copyRows(to.DevicePtr, p.batch.x.DevicePtr, p.general.set.DevicePtr, false); err != nil {
		return err
	}
	return ctx.Err()
}

// restore launches Restore for the rows of the card.
func (p *card) restore(ctx context.Context, slot int, rows []bool) error {
	if len(rows) == 0 {
		return ctx.Err()
	}
	if err := p.whole(ctx); err != nil {
		return err
	}
	if err := p.choose(rows); err != nil {
		return err
	}
	from, clean := p.general.slots[slot].DevicePtr, !p.general.has[slot]
	if clean {
		from = p.cleanRows()
	}
	if err := p.copyRows(p.batch.x.DevicePtr, from, p.general.set.DevicePtr, clean); err != nil {
		return err
	}
	return ctx.Err()
}

// choose copies up which rows are set.
func (p *card) choose(rows []bool) error {
	if err := p.grow(&p.general.set, int64(len(rows))); err != nil {
		return err
	}
	return upload(p.device, p.general.set.DevicePtr, slices.Clone(rows))
}

// copyRows launches to [rows, in] ← from for the rows where set [rows] is set, or for all rows if
// set is 0. from is [images, in] if byImage is set, else [rows, in].
func (p *card) copyRows(to, from, set cu.DevicePtr, byImage bool) error {
	rows := p.batch.rows()
	return p.launch("copy_rows", dim{ceil(rows, 8), 1}, dim{256, 1}, 0, []int{rows, p.inputs},
		to, from, set, byImage, int32(rows), int32(p.batch.E()), int32(p.in()))
}
