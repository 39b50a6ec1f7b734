//go:build cuda && linux && cgo

package gpu

import (
	"context"

	"advsweep/attack"
)

// Norms writes the norms of x - x0 to dst [rows].
func (b *Backend) Norms(ctx context.Context, dst []attack.Norms) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	return b.lose(b.each(func(p *part) error { return p.freeing(p.rowNorms(ctx, rowsOf(b, p, dst, 1))) }))
}

func (p *part) rowNorms(ctx context.Context, dst []attack.Norms) error {
	rows := len(dst)
	if rows > 0 {
		if err := p.filled(ctx); err != nil {
			return err
		}
		norms := &p.general.norms
		if err := p.grow(norms, int64(12*rows)); err != nil { // float, float, int32
			return err
		}
		err := p.launch("norms", dim{ceil(rows, 8), 1}, dim{256, 1}, 0, []int{rows, p.inputs},
			norms.DevicePtr, p.x.DevicePtr, p.cleanRows(), int32(rows), int32(p.E()), int32(p.inputs), int32(p.in()))
		if err != nil {
			return err
		}
		if err := download(p.device, dst, norms.DevicePtr); err != nil {
			return err
		}
	}
	if err := p.check(); err != nil {
		return err
	}
	return ctx.Err()
}
