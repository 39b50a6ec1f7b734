//go:build cuda && linux && cgo

package gpu

import (
	"context"

	"advsweep/attack"
)

// roundPixels moves every x of the card to one of the 256 levels n/255 inside the row's ball in
// norm: see backend.Rounding.
func (p *card) roundPixels(ctx context.Context, norm attack.Norm) error {
	rows := p.batch.rows()
	if rows == 0 {
		return ctx.Err()
	}
	if err := p.whole(ctx); err != nil {
		return err
	}
	err := p.launch("round_pixels", dim{ceil(rows, 8), 1}, dim{256, 1}, 0, []int{rows, p.inputs},
		p.batch.x.DevicePtr, p.cleanRows(), p.batch.epsOnDevice(), norm == attack.L2, int32(rows), int32(p.batch.E()), int32(p.inputs), int32(p.in()))
	if err != nil {
		return err
	}
	return ctx.Err()
}
