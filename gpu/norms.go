//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"unsafe"

	"advsweep/attack"
)

// rowNorms starts the download of the norms of x - x0 to dst [rows]. The error has OutOfMemory if
// there is no room for them on the device.
func (p *card) rowNorms(ctx context.Context, dst []attack.Norms) error {
	rows := len(dst)
	if rows == 0 {
		return nil
	}
	if err := p.filled(ctx); err != nil {
		return err
	}
	norms := &p.general.norms
	if err := p.grow(norms, int64(normsBytes*rows)); err != nil {
		return err
	}
	err := p.launch("norms", dim{ceil(rows, 8), 1}, dim{256, 1}, 0, []int{rows, p.inputs},
		norms.DevicePtr, p.batch.x.DevicePtr, p.cleanRows(), int32(rows), int32(p.batch.E()), int32(p.inputs), int32(p.in()))
	if err != nil {
		return err
	}
	return downloadRows(&p.downloads, norms.DevicePtr, rows, 1, func(first int, piece []measured) {
		for k, v := range piece {
			dst[first+k] = attack.Norms{Linf: v.linf, L2: v.l2, L0: v.l0}
		}
	})
}

// A measured is what the kernel norms writes of a row.
type measured struct {
	linf, l2 float32
	l0       int32
}

// normsBytes is the size of a measured.
const normsBytes = int(unsafe.Sizeof(measured{}))
