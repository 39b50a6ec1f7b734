package cpu

import (
	"context"
	"fmt"
	"math"

	"advsweep/attack"
	"advsweep/backend"
)

// A slot holds copies of rows. A row that it does not have counts as its clean image. Begin empties
// it, and Keep fills it.
type slot[T Float] struct {
	in   int    // I
	x    []T    // [rows, I]
	have []bool // [rows]
}

// empty makes room for so many rows and has none of them. Room for x is made when it is needed.
func (s *slot[T]) empty(rows int) {
	s.have = resize(s.have, rows)
	clear(s.have)
}

// keep copies x of row r.
func (s *slot[T]) keep(r int, x []T) {
	copy(s.row(r), x)
	s.have[r] = true
}

// row returns the place of row r, [I].
func (s *slot[T]) row(r int) []T { return s.x[r*s.in:][:s.in] }

// slotOf checks the arguments of Keep and Restore, and returns slot k.
func (b *Backend[T]) slotOf(verb string, k int, rows []bool) (*slot[T], error) {
	if err := b.ready(len(rows)); err != nil {
		return nil, err
	}
	if k < 0 || k >= len(b.kept) {
		return nil, fmt.Errorf("cpu: %s: slot %d, want 0 to %d", verb, k, len(b.kept)-1)
	}
	return &b.kept[k], nil
}

// Keep copies x of the rows r with rows[r] set to slot 0 or 1.
func (b *Backend[T]) Keep(ctx context.Context, slot int, rows []bool) error {
	s, err := b.slotOf("keep", slot, rows)
	if err != nil {
		return err
	}
	defer b.leave(b.enter(backend.Steps))
	s.in, s.x = b.model.in, resize(s.x, b.batch.rows*b.model.in)
	return b.lost(b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		x := b.images(w, lo, hi)
		for r := lo; r < hi; r++ {
			if rows[r] {
				s.keep(r, x[(r-lo)*s.in:])
			}
		}
	}))
}

// Restore copies slot 0 or 1 back to x of the rows r with rows[r] set. A row that Keep has not
// copied since Begin becomes its clean image.
func (b *Backend[T]) Restore(ctx context.Context, slot int, rows []bool) error {
	s, err := b.slotOf("restore", slot, rows)
	if err != nil {
		return err
	}
	defer b.leave(b.enter(backend.Steps))
	if err := b.whole(ctx); err != nil {
		return b.lost(err)
	}
	return b.lost(b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		for r := lo; r < hi; r++ {
			switch i, _ := b.batch.of(r); {
			case !rows[r]:
			case s.have[r]:
				copy(b.pixels(r), s.row(r))
			default:
				copy(b.pixels(r), b.loaded.clean(i))
			}
		}
	}))
}

// roundPixels moves every x to one of the 256 levels v/255 of 8-bit pixels, inside the row's ball in
// norm. See backend.Rounding.
func (b *Backend[T]) roundPixels(ctx context.Context, norm attack.Norm) error {
	if err := b.whole(ctx); err != nil {
		return b.lost(err)
	}
	return b.lost(b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		for r := lo; r < hi; r++ {
			i, e := b.batch.of(r)
			x, x0, eps := b.pixels(r), b.loaded.clean(i), float64(b.batch.eps[e])
			for k, v := range x {
				n := 0.0
				if norm == attack.Linf {
					n = levelWithin(float64(v), float64(x0[k]), eps)
				} else {
					n = levelToward(float64(v), float64(x0[k]))
				}
				x[k] = T(n) / 255 // as Load makes a pixel of a byte
			}
		}
	}))
}

// nearLevel is how far from a level, in levels, a value may lie and still count as that level.
// float32 pixels err by 2e-5.
const nearLevel = 1e-4

// levelWithin returns the level nearest to x that lies in [x0 - eps, x0 + eps], or the one nearest
// to x0 if no level lies there.
func levelWithin(x, x0, eps float64) float64 {
	lo := max(math.Ceil(float64(255*(x0-eps))-nearLevel), 0)
	hi := min(math.Floor(float64(255*(x0+eps))+nearLevel), 255)
	n := math.RoundToEven(255 * x)
	if lo > hi {
		n, lo, hi = math.RoundToEven(255*x0), 0, 255
	}
	return min(max(n, lo), hi)
}

// levelToward returns the level below or above x that is nearer to x0, the one below on a tie.
func levelToward(x, x0 float64) float64 {
	x, x0 = float64(255*x), float64(255*x0)
	n := math.RoundToEven(x)
	if math.Abs(x-n) > nearLevel {
		if n = math.Floor(x); math.Abs(n+1-x0) < math.Abs(n-x0) {
			n++
		}
	}
	return min(max(n, 0), 255)
}

// norms writes the norms of x - x0 of every row to dst [rows].
func (b *Backend[T]) norms(ctx context.Context, dst []attack.Norms) error {
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		x := b.images(w, lo, hi)
		for r := lo; r < hi; r++ {
			i, _ := b.batch.of(r)
			x, x0 := x[(r-lo)*b.model.in:][:b.model.in], b.loaded.clean(i)
			top, differ := 0.0, int32(0)
			for k, v := range x {
				top = max(top, math.Abs(float64(v)-float64(x0[k])))
				if v != x0[k] {
					differ++
				}
			}
			dst[r] = attack.Norms{Linf: float32(top), L2: float32(distance(x, x0)), L0: differ}
		}
	})
}
