//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"math"

	"gorgonia.org/cu"
)

// On the device and on its way down the results of a batch are one piece: bad, broken, correct [E],
// zero [E], stuck [images], all int32. broken, the least image with a gradient that is not finite,
// gathers from begin on; the rest is made by count.
func (p *part) resultBytes() int { return 4 * (2 + 2*p.E() + p.images) }

// count classifies every row and fills found.
func (p *part) count(ctx context.Context) error {
	E, rows := p.E(), p.rows()
	if err := p.classify(ctx); err != nil {
		return err
	}
	all := p.deviceResults.DevicePtr
	if err := upload(p.device, all, []int32{math.MaxInt32}); err != nil {
		return err
	}
	if err := p.fill(at(all, 2, 4), 0, int64(p.resultBytes()-8)); err != nil {
		return err
	}
	if rows > 0 {
		var flat cu.DevicePtr
		if p.flatCounts {
			flat = at(p.flat.DevicePtr, p.lo, 1)
		}
		err := p.launch("count", dim{ceil(rows, 256), 1}, dim{256, 1}, 0, []int{rows, E},
			at(all, 2, 4), at(all, 2+E, 4), at(all, 2+2*E, 4), all, p.class.DevicePtr, at(p.labels.DevicePtr, p.lo, 4), p.zero.DevicePtr, flat,
			int32(rows), int32(E))
		if err != nil {
			return err
		}
	}
	if err := download(p.device, pinnedSlice[int32](p.results, p.resultBytes()/4), all); err != nil {
		return err
	}
	words := pinnedSlice[int32](p.results, p.resultBytes()/4)
	p.found = found{correct: words[2:][:E], zero: words[2+E:][:E], stuck: words[2+2*E:], bad: -1}
	if words[0] != math.MaxInt32 {
		p.found.bad = int(words[0])
	}
	return p.broken(words[1])
}
