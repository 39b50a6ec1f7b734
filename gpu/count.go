//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"math"

	"gorgonia.org/cu"
)

// A counts is what count finds in the rows of a card.
type counts struct {
	correct, zero []int32 // [E]
	stuck         []int32 // [images]
	bad           int     // the first row with a logit that is not finite, or -1
}

// resultBytes is the size of results: bad, broken, correct [E], zero [E] and stuck [images], all
// int32, which come down as one piece. Every gradient since begin lowers broken to the least image
// whose gradient is not finite. count makes the rest.
func (r *batchRows) resultBytes() int { return 4 * (2 + 2*r.E() + r.images) }

// count classifies every row and starts the download of found.
func (p *card) count(ctx context.Context, found *counts) error {
	E, rows := p.batch.E(), p.batch.rows()
	if err := p.classify(ctx); err != nil {
		return err
	}
	all, words := p.batch.results.DevicePtr, p.batch.resultBytes()/4
	if err := upload(p.device, all, []int32{math.MaxInt32}); err != nil {
		return err
	}
	if err := p.fill(at(all, 2, 4), 0, int64(4*(words-2))); err != nil {
		return err
	}
	if rows > 0 {
		var flat cu.DevicePtr
		if p.batch.flatCounts {
			flat = p.loaded.flats(p.batch.lo)
		}
		err := p.launch("count", dim{ceil(rows, 256), 1}, dim{256, 1}, 0, []int{rows, E},
			at(all, 2, 4), at(all, 2+E, 4), at(all, 2+2*E, 4), all, p.batch.class.DevicePtr, p.loaded.labelsFrom(p.batch.lo), p.batch.zero.DevicePtr, flat,
			int32(rows), int32(E))
		if err != nil {
			return err
		}
	}
	list := make([]int32, words)
	return downloadRows(&p.downloads, all, words, 1, func(first int, piece []int32) {
		copy(list[first:], piece)
		*found = counts{correct: list[2:][:E], zero: list[2+E:][:E], stuck: list[2+2*E:], bad: -1}
		if list[0] != math.MaxInt32 {
			found.bad = int(list[0])
		}
	})
}
