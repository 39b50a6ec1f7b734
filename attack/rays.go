package attack

import (
	"context"
	"fmt"
	"math"
)

// RayS asks the model for classes alone: it looks along rays to the corners of the L∞ ball, flips
// the signs of one block of pixels after the other, ever smaller blocks, and keeps a flip where the
// ray is misread nearer. queries is how many points it looks at. Nothing in it is random.
//
// Chen and Gu 2020, arXiv:2006.12792, algorithms 1 to 3.
func RayS(queries int) Attack {
	return Attack{Name: "rays", Kind: "rays", Steps: queries, Direction: Along, Loss: Margin}
}

type rayS struct{ nearest }

func (rayS) Facts() Facts {
	return Facts{
		Default:   RayS(2000),
		Options:   []string{"steps"},
		MostSteps: 1<<16 - 1,
		BlackBox:  true,
		About:     "minimum norm, L∞: along rays whose signs flip in blocks; asks for classes alone, k times",
		Source:    "Chen and Gu 2020, arXiv:2006.12792",
	}
}

func (rayS) Label(a Attack) string { return fmt.Sprintf("RayS, %d queries", a.Steps) }

// Cost is a look for each query.
func (rayS) Cost(a Attack) Cost { return searchCost(a, 1) }

func (m rayS) Run(ctx context.Context, a Attack, rows Rows) error { return runNearest(ctx, m, a, rows) }

// A ray is what RayS knows of one row. At each query it looks along its signs, with those of one
// block turned round, either to see whether that is misread at all where the best is, or to find
// where it begins by halving.
type ray struct {
	signs     []float64 // [I], of the best ray
	best      float64   // how far the best goes; +Inf if none is misread
	block, of int       // the block that is turned round, and how many there are; of is 0 at first: none is
	low, high float64   // between which the class changes along the turned ray, while halving
	halving   bool
}

// at is how far the next query goes. farthest is as far as pixels can.
func (r *ray) at(farthest float64) float64 {
	switch {
	case r.halving:
		return (r.low + r.high) / 2
	case math.IsInf(r.best, 1):
		return farthest
	}
	return r.best
}

// turn turns the block round.
func (r *ray) turn() {
	if r.of == 0 {
		return
	}
	size := (len(r.signs) + r.of - 1) / r.of
	lo := min(r.block*size, len(r.signs))
	for i := lo; i < min(lo+size, len(r.signs)); i++ {
		r.signs[i] = -r.signs[i]
	}
}

// next goes on to the next block that has pixels.
func (r *ray) next() {
	n := len(r.signs)
	r.halving = false
	if r.block++; r.block >= r.of || r.block*((n+r.of-1)/r.of) >= n {
		r.block = 0
		if r.of = max(1, 2*r.of); r.of >= 2*n {
			r.of = 1
		}
	}
}

// take takes in whether the row was misread at the last query, which went so far. Halving ends
// where it is known to 1/1000, as in the paper's code.
func (r *ray) take(at float64, wrong bool) {
	const enough = 1e-3
	switch {
	case r.halving && wrong:
		r.high = at
	case r.halving:
		r.low = at
	case !wrong:
		r.turn() // back
		r.next()
		return
	default:
		r.low, r.high, r.halving = 0, at, true
	}
	if r.high-r.low <= enough*r.high {
		r.best = r.high
		r.next()
	}
}

func (rayS) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	bounds := rows.Bounds()
	all := make([]ray, rows.N())
	for k := range all {
		all[k] = ray{signs: make([]float64, s.size), best: math.Inf(1)}
		for i := range all[k].signs {
			all[k].signs[i] = 1
		}
	}
	at := make([]float64, len(all))
	for range a.Steps {
		s.eachRow(func(_ *scratch, k int) {
			r := &all[k]
			if s.found[k].Distance == 0 {
				return
			}
			if !r.halving {
				r.turn()
			}
			at[k] = r.at(min(s.farthest[k], bounds.Width()))
			d := s.way(k)
			for i, v := range r.signs {
				d[i] = bounds.box(s.clean[k][i]+float64(at[k]*v)) - s.clean[k][i]
			}
		})
		if err := s.goThere(ctx); err != nil {
			return nil, err
		}
		for k := range all {
			all[k].take(at[k], s.wrong[k])
		}
		rows.Done()
	}
	return s.polish(ctx)
}
