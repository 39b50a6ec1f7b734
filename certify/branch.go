package certify

import (
	"math"
	"slices"
)

// BranchBudget is how many cases the rows of a call of Branch have together at most. branchRows of
// them are bounded at once.
const (
	BranchBudget = 600
	branchRows   = 32
	branchClimbs = 12
)

// A split says that a unit is on one side of its kink: y = x where on is set, and else y = 0. With
// beta >= 0 what is not on that side is paid for: x·beta is taken off where x >= 0, and added where
// x <= 0. So the least value over the box is no higher than that over the side.
//
// Wang et al. 2021, arXiv:2103.06624, section 3.
type split struct {
	op   int
	unit int32
	on   bool
	beta float32
}

// back returns what form v at the unit's output makes of its input, and of the bound. cx and cy are
// the centers.
func (s *split) back(v float32, cx, cy float64) (to float32, d float64) {
	if s.on {
		to = v - s.beta
		return to, float64(float64(v)*(cx-cy)) - float64(float64(s.beta)*cx)
	}
	return s.beta, float64(float64(s.beta)*cx) - float64(float64(v)*cy)
}

// mark notes in sides which units of an operation are split, or forgets it.
func (w *work) mark(splits []split, op int, on bool) {
	for k := range splits {
		if splits[k].op != op {
			continue
		}
		w.sides[splits[k].unit] = 0
		if on {
			w.sides[splits[k].unit] = k + 1
		}
	}
}

// moveSplits puts the units of an operation that are split on their side, and moves their betas one
// step up: the bound's derivative is how far the input is on the other side.
func (w *climbing) moveSplits(i int, splits []split, form []float32, rate float64) {
	scale := 0.0
	for k := range splits {
		s := &splits[k]
		if s.op != i {
			continue
		}
		x := w.values[w.prog.Ops[i].Takes[0]+1][s.unit]
		w.values[i+1][s.unit] = 0
		away := x
		if s.on {
			w.values[i+1][s.unit], away = x, -x
		}
		if scale == 0 {
			for _, v := range form[:len(w.values[i+1])] {
				scale = max(scale, math.Abs(float64(v)))
			}
		}
		switch {
		case away > 0:
			s.beta += float32(rate * scale)
		case away < 0:
			s.beta = max(0, s.beta-float32(rate*scale))
		}
	}
}

// splittable reports whether node i is a ReLU.
func (w *work) splittable(i int) bool {
	n, ok := w.nodes[i].(curved)
	if !ok {
		return false
	}
	f, ok := n.f.(piecewise)
	return ok && len(f.kinks) == 1 && f.kinks[0] == 0 && f.value == 0 && f.slope[0] == 0 && f.slope[1] == 1
}

// A domain is a case: a part of the box by the sides of some units.
type domain struct {
	splits []split
	bound  float64
	next   split // the unit to split next; op is -1 if there is none
}

// branch returns a bound of row: the least one of cases that together are the box. It takes the
// cases that it makes off budget.
func (w *work) branch(row []float64, budget *int) (float64, error) {
	open, done := []domain{{bound: math.Inf(-1)}}, math.Inf(1)
	if err := w.bound(row, open); err != nil {
		return 0, err
	}
	for *budget--; len(open) > 0 && *budget >= 2; {
		// The lowest bounds are split first; of equal ones the first.
		slices.SortStableFunc(open, func(a, b domain) int {
			switch {
			case a.bound < b.bound:
				return -1
			case a.bound > b.bound:
				return 1
			}
			return 0
		})
		n := min(len(open), branchRows/2, *budget/2)
		var cases []domain
		for _, d := range open[:n] {
			if d.next.op < 0 {
				return min(done, open[0].bound), nil
			}
			for _, on := range []bool{true, false} {
				s := d.next
				s.on = on
				cases = append(cases, domain{splits: append(slices.Clone(d.splits), s), bound: d.bound})
			}
		}
		if err := w.bound(row, cases); err != nil {
			return 0, err
		}
		*budget -= len(cases)
		open = open[n:]
		for _, d := range cases {
			if d.bound > 0 {
				done = min(done, d.bound)
			} else {
				open = append(open, d)
			}
		}
	}
	for _, d := range open {
		done = min(done, d.bound)
	}
	return done, nil
}

// bound makes the bounds of cases higher, and chooses what to split next of each: the unit whose
// line lies farthest from its function where the bound is least.
func (w *work) bound(row []float64, cases []domain) error {
	rows, splits := make([][]float64, len(cases)), make([][]split, len(cases))
	for k := range cases {
		rows[k], splits[k] = row, cases[k].splits
	}
	c := w.newClimb(rows, splits)
	err := c.run(branchClimbs, func(k int) {
		cases[k].next = split{op: -1}
		most := 0.0
		for i := range w.nodes {
			a := c.last.kept[i+1]
			if a == nil || !w.splittable(i) {
				continue
			}
			ld, in := wide(w.size(i+1)), c.values[w.prog.Ops[i].Takes[0]+1]
			for _, o := range w.states[i].bent {
				off := math.Abs(float64(a[k*ld+int(o)]) * (c.values[i+1][o] - max(in[o], 0)))
				if off > most && !slices.ContainsFunc(splits[k], func(s split) bool { return s.op == i && s.unit == o }) {
					most, cases[k].next = off, split{op: i, unit: o}
				}
			}
		}
	})
	if err != nil {
		return err
	}
	for k := range cases {
		cases[k].bound = max(cases[k].bound, c.best[k])
	}
	return nil
}
