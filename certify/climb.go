package certify

import (
	"math"
	"slices"
)

// climbs is how many steps climb takes, climbRate how far the first one goes, as a part of the
// range of a slope, and climbFade by what each is shorter than the one before.
const (
	climbs    = 20
	climbRate = 0.3
	climbFade = 0.85
)

// climb returns bounds of rows [K][O] whose lower slopes were moved to where the bound of that row
// is high, by projected gradient steps. Every slope gives a bound, so that the highest one counts.
// Slopes of the bounds on units stay as they are.
//
// Xu et al. 2021, arXiv:2011.13824, optimise the slopes of all bounds.
func (w *work) climb(rows [][]float64) ([]float64, error) {
	best := make([]float64, 0, len(rows))
	for some := range slices.Chunk(rows, min(32, w.rows())) {
		c := w.newClimb(some, nil)
		if err := c.run(climbs); err != nil {
			return nil, err
		}
		best = append(best, c.best...)
	}
	return best, nil
}

// A climbing is rows whose bounds are being made higher.
type climbing struct {
	*work
	rows   [][]float64
	splits [][]split   // by row; nil: there are none
	slopes [][]float32 // by operation, see pass
	best   []float64   // [rows]
	values [][]float64 // by value, those of one row at the point where its bound is least
	last   *pass
}

func (w *work) newClimb(rows [][]float64, splits [][]split) *climbing {
	c := &climbing{work: w, rows: rows, splits: splits, slopes: w.firstSlopes(len(rows)), values: make([][]float64, len(w.boxes))}
	c.best = slices.Repeat([]float64{math.Inf(-1)}, len(rows))
	for j := range c.values {
		c.values[j] = make([]float64, w.size(j))
	}
	return c
}

// run takes so many steps. look, if it is given, is called for each row after the last one, when
// values are those of the row.
func (c *climbing) run(steps int, look ...func(k int)) error {
	rate := climbRate
	for step := range steps {
		p := c.logits(c.rows)
		p.slopes, p.splits, p.kept = c.slopes, c.splits, make([][]float32, len(c.boxes))
		if err := c.work.run(p, len(c.nodes)); err != nil {
			return err
		}
		c.last = p
		for k := range c.rows {
			if v := p.bound(k); v > c.best[k] {
				c.best[k] = v
			}
			switch {
			case step < steps-1:
				c.move(k, rate)
			case len(look) > 0:
				c.move(k, 0)
				look[0](k)
			}
		}
		for _, a := range p.kept {
			if a != nil {
				c.release(a)
			}
		}
		rate *= climbFade
	}
	for _, s := range c.slopes {
		if s != nil {
			c.release(s)
		}
	}
	return nil
}

// firstSlopes are the slopes of m rows that CROWN has, by operation; nil where none can be chosen.
func (w *work) firstSlopes(m int) [][]float32 {
	all := make([][]float32, len(w.nodes))
	for i := range w.nodes {
		s, ld := &w.states[i], wide(w.size(i+1))
		if !slices.ContainsFunc(s.lower, func(l line) bool { return l.least < l.most }) {
			continue
		}
		all[i] = w.room(m * ld)
		for k := range m {
			for o, l := range s.lower {
				all[i][k*ld+o] = l.slope
			}
		}
	}
	return all
}

// move moves the slopes of row k one step up. The bound is the value of a network of straight
// lines at the point of the box where it is least: a slope's derivative there is the form at the
// function's output times how far its input lies from the pivot.
func (w *climbing) move(k int, rate float64) {
	p, values := w.last, w.values
	x := &w.boxes[0]
	copy(values[0], x.c)
	if a := p.kept[0]; a != nil {
		ld := wide(w.size(0))
		for i, v := range a[k*ld:][:len(x.c)] {
			switch {
			case v > 0:
				values[0][i] = x.c[i] - x.r[i]
			case v < 0:
				values[0][i] = x.c[i] + x.r[i]
			}
		}
	}
	for i, n := range w.nodes {
		s, ld := &w.states[i], wide(w.size(i+1))
		var in [][]float64
		for _, j := range w.prog.Ops[i].Takes {
			in = append(in, values[j+1])
		}
		form := w.zeros[:w.size(i+1)]
		if a := p.kept[i+1]; a != nil {
			form = a[k*ld:]
		}
		var slopes []float32
		if p.slopes[i] != nil {
			slopes = p.slopes[i][k*ld:]
		}
		n.apply(s, values[i+1], in, form, slopes)
		if _, bends := n.(bending); bends { // whose lines are relative to the center
			for o, c := range w.boxes[i+1].c {
				values[i+1][o] += c
			}
		}
		if w.splits != nil {
			w.moveSplits(i, w.splits[k], form, rate)
		}
		for o := range slopes[:min(len(slopes), len(s.lower))] {
			l := &s.lower[o]
			if l.least >= l.most || !(form[o] > 0) {
				continue
			}
			moved := float64(slopes[o])
			breadth := float64(l.most) - float64(l.least)
			switch away := in[0][o] - s.in[0].c[o] - l.pivot; {
			case away > 0:
				moved += float64(rate * breadth)
			case away < 0:
				moved -= float64(rate * breadth)
			}
			slopes[o] = min(max(float32(moved), l.least), l.most)
		}
	}
}
