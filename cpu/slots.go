package cpu

import (
	"context"
	"fmt"

	"advsweep/backend"
)

// A slot holds copies of rows. A row that it does not have counts as its clean image. Begin empties
// it, and Keep fills it.
type slot[T Float] struct {
	in   int    // I
	x    []T    // [rows, I]
	have []bool // [rows]
	// g [rows, I] and haveG [rows] are the gradients of sight with x, of slot 0 alone: a row that
	// goes back there needs none anew.
	g     []T
	haveG []bool
	of    aim // of all g
}

// empty makes room for so many rows and has none of them. Room for x is made when it is needed.
func (s *slot[T]) empty(rows int) {
	s.have, s.haveG = resize(s.have, rows), resize(s.haveG, rows)
	clear(s.have)
	clear(s.haveG)
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
	seen := &b.state.sight
	sees := slot == 0 && seen.haveG
	if sees {
		if s.g = resize(s.g, len(s.x)); !s.of.equal(seen.of) {
			clear(s.haveG)
			s.of = seen.of
		}
	}
	return b.lost(b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		x := b.images(w, lo, hi)
		for r := lo; r < hi; r++ {
			if rows[r] {
				s.keep(r, x[(r-lo)*s.in:])
				if s.haveG[r] = sees; sees {
					copy(s.g[r*s.in:][:s.in], seen.g[r*s.in:])
				}
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
	seen := &b.state.sight
	for r, set := range rows {
		if set {
			seen.haveZ = false
			seen.haveG = seen.haveG && s.haveG[r] && s.of.equal(seen.of)
		}
	}
	return b.lost(b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		for r := lo; r < hi; r++ {
			switch i, _ := b.batch.of(r); {
			case !rows[r]:
			case s.have[r]:
				copy(b.pixels(r), s.row(r))
				if seen.haveG {
					copy(seen.g[r*s.in:][:s.in], s.g[r*s.in:])
				}
			default:
				copy(b.pixels(r), b.loaded.clean(i))
			}
		}
	}))
}
