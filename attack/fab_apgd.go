package attack

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
)

// FABAPGD looks for the nearest misread image in two parts. A fifth of its k steps are FAB towards
// one class after another, the nine with the largest logits. The others are runs of Auto-PGD of
// fifteen steps, towards the three classes whose points FAB found nearest, in balls that are a
// little smaller than the nearest distance so far: FAB knows slopes where it is, and Auto-PGD
// looks for other ways in.
//
// FAB is Croce and Hein 2020, arXiv:1907.02044, algorithm 1; Auto-PGD is arXiv:2003.01690,
// algorithm 1, with the margin of two logits as its loss. That one follows the other in smaller
// balls is our own; that balls are drawn in by what is found is as in AttackBench's search of an
// attack's least eps (Cinà et al. 2024, arXiv:2404.19460).
func FABAPGD(k int, seed uint64) Attack {
	return Attack{Name: "fab-apgd", Kind: "fab-apgd", Steps: k, Direction: Along, Loss: Margin, Seed: seed}
}

type fabAPGD struct{ nearest }

func (fabAPGD) Facts() Facts {
	return Facts{
		Default: FABAPGD(900, 0),
		Options: []string{"steps", "norm", "seed"},
		Norms:   []Norm{Linf, L2},
		About:   "minimum norm: fab-t, then apgd towards the nearest classes in ever smaller balls",
		Source:  "Croce and Hein 2020, arXiv:1907.02044, arXiv:2003.01690",
	}
}

func (fabAPGD) Label(a Attack) string { return fmt.Sprintf("FAB-APGD, k = %d", a.Steps) }

// Cost is a look before all, a gradient and a look a step of FAB, a gradient a step of Auto-PGD, a
// look after each of its runs, and those of polish.
func (fabAPGD) Cost(a Attack) Cost {
	fab, runs := fabPart(a.Steps)
	one := 2 + halvings + 3*fab + 2*(a.Steps-fab) + runs
	return Cost{Image: float64(a.Runs() * one), Share: 1 + one}
}

// ballSteps is how many steps a run of Auto-PGD has, of those that look for the nearest image.
const ballSteps = 15

// fabPart is how many of so many steps are those of FAB, and how many runs of Auto-PGD are in the
// others; the last run may be shorter.
func fabPart(steps int) (fab, runs int) {
	fab = (steps + 4) / 5
	return fab, (steps - fab + ballSteps - 1) / ballSteps
}

func (m fabAPGD) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

func (fabAPGD) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	const classes = 3 // that Auto-PGD goes towards
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	fab, runs := fabPart(a.Steps)
	near, err := s.fabOfEach(ctx, fab)
	if err != nil {
		return nil, err
	}
	balls := newBalls(s, near, classes)
	for run := range runs {
		if err := balls.run(ctx, run, min(ballSteps, a.Steps-fab-run*ballSteps)); err != nil {
			return nil, err
		}
	}
	return s.polish(ctx)
}

// A reached is the nearest misread point of a row that was found on the way towards a class.
type reached struct {
	class int
	Found
}

// fabOfEach is FAB towards one class after another, each from the clean image, in so many steps in
// all. It returns for each row what was found on the way towards each class, [N], the nearest
// first.
func (s *seeker) fabOfEach(ctx context.Context, steps int) ([][]reached, error) {
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	n := len(s.found)
	order := make([][]int, n)
	for k, z := range s.logits {
		order[k] = byLogit(int(s.labels[k]), z)
	}
	ranks := min(mostRivals, len(order[0]), steps)
	first := slices.Clone(s.found) // what is misread as it is
	best := slices.Clone(s.found)
	near := make([][]reached, n)
	rival := make([]int, n)
	for rank := range ranks {
		for k := range rival {
			rival[k] = order[k][rank]
			s.found[k] = Found{Distance: first[k].Distance, Along: slices.Clone(first[k].Along), Zero: s.found[k].Zero}
		}
		clear(s.along)
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		err := s.fabSteps(ctx, (rank+1)*steps/ranks-rank*steps/ranks, func(ctx context.Context) ([][]float64, []int, error) {
			w, err := s.seeToward(ctx, rival)
			return w, rival, err
		})
		if err != nil {
			return nil, err
		}
		for k, f := range s.found {
			near[k] = append(near[k], reached{rival[k], f})
			if f.Distance < best[k].Distance {
				best[k] = f
			}
			best[k].Zero = f.Zero
		}
	}
	for k := range near {
		slices.SortStableFunc(near[k], func(a, b reached) int { return cmp.Compare(a.Distance, b.Distance) })
		s.found[k] = best[k]
		s.found[k].Along = slices.Clone(best[k].Along) // near has the other
	}
	return near, nil
}

// balls are the rows of runs of Auto-PGD in balls that are a little smaller than the nearest
// distance.
type balls struct {
	*seeker
	near [][]reached // [N][classes], the nearest class first, as FAB found them
	at   []ballRow   // [N]
}

// A ballRow is what is known of one row.
type ballRow struct {
	less  float64 // by what part the ball is smaller than the nearest distance
	vain  int     // runs in a row that found nothing
	rival int     // the class that the run goes towards

	radius float64
	size   float64 // of a step
	before []float64
	lead   float64 // at the last look
	rises  int     // of lead, since the last checkpoint
	halved bool    // at the last checkpoint

	best      float64   // the largest lead
	bestWay   []float64 // [I], where it was
	bestSlope []float64 // [I], and its slope there
	checked   float64   // best at the last checkpoint
}

func newBalls(s *seeker, near [][]reached, classes int) *balls {
	// By how much the first ball is smaller.
	const less = 0.02
	b := &balls{seeker: s, near: near, at: make([]ballRow, len(near))}
	for k := range near {
		near[k] = near[k][:min(classes, len(near[k]))]
		b.at[k] = ballRow{
			less: less, before: make([]float64, s.size),
			bestWay: make([]float64, s.size), bestSlope: make([]float64, s.size),
		}
	}
	return b
}

// run is one run of Auto-PGD of so many steps. Runs take turns in the class, and then in where they
// begin: at the nearest point that was found towards the class, brought into the ball; half the
// way from there to a random point of the ball; at a random point.
func (b *balls) run(ctx context.Context, run, steps int) error {
	// How a ball changes: by what factor it grows smaller after a run that found a point in it, up to
	// what part of the distance; and after how many that found nothing it comes nearer to the
	// distance.
	const more, most, patience = 1.5, 0.1, 5
	before := make([]float64, len(b.at))
	for k := range b.at {
		before[k] = b.found[k].Distance
	}
	if err := b.begin(ctx, run); err != nil {
		return err
	}
	if err := b.ascend(ctx, steps); err != nil {
		return err
	}
	for k := range b.at {
		r, f := &b.at[k], b.found[k]
		if f.Distance < before[k] {
			of := &b.near[k][run%len(b.near[k])]
			of.Distance, of.Along = f.Distance, slices.Clone(f.Along)
			r.less, r.vain = min(more*r.less, most), 0
		} else if r.vain++; r.vain == patience {
			r.less, r.vain = r.less/2, 0
		}
	}
	return nil
}

// begin brings each row to where its run begins.
func (b *balls) begin(ctx context.Context, run int) error {
	s := b.a.step(0, b.rows.Columns(), b.rows.Bounds())
	s.Direction, s.Index, s.Restarts = Uniform, run, b.rows.Restarts()
	s, err := s.Drawn(b.rows.Images(), b.size)
	if err != nil {
		return err
	}
	b.eachRow(func(m *scratch, k int) {
		r, from := &b.at[k], &b.near[k][run%len(b.near[k])]
		if r.rival = from.class; b.found[k].Distance == 0 {
			return
		}
		r.radius = (1 - r.less) * min(b.found[k].Distance, b.farthest[k])
		if math.IsInf(r.radius, 1) { // nothing was found, and nothing bounds how far
			r.radius = 0
		}
		share := []float64{0, 0.5, 1}[run/len(b.near[k])%3] // of the random point
		if from.Along == nil {
			share = 1
		}
		d, random := b.way(k), s.Along[k*b.size:][:b.size]
		for i := range d {
			d[i] = 0
			if from.Along != nil {
				d[i] = from.Along[i]
			}
		}
		b.norm.shrink(m, d, r.radius)
		for i := range d {
			d[i] = float64((1-share)*d[i]) + float64(share*r.radius*random[i])
		}
		b.keep(m, k, d)
	})
	return b.move(ctx)
}

// keep brings a way d of row k into its ball and the bounds.
func (b *balls) keep(m *scratch, k int, d []float64) {
	b.norm.shrink(m, d, b.at[k].radius)
	b.inBounds(k, d)
}

// ascend is Auto-PGD in the ball of each row, from where it is. Its checkpoints and conditions are
// those of apgd.Run.
func (b *balls) ascend(ctx context.Context, steps int) error {
	const alpha = 0.75
	rival := make([]int, len(b.at))
	for k := range b.at {
		r := &b.at[k]
		r.size, r.rises, r.halved, rival[k] = 2*r.radius, 0, true, r.rival
	}
	check := NewCheckpoints(steps)
	for step := range steps {
		slope, err := b.seeToward(ctx, rival)
		if err != nil {
			return err
		}
		b.noteZero(slope)
		due := check.Due(step)
		b.eachRow(func(m *scratch, k int) {
			r := &b.at[k]
			if b.found[k].Distance == 0 {
				return
			}
			d, g, lead := b.way(k), slope[k], b.lead(k, rival[k])
			if step > 0 && lead > r.lead {
				r.rises++
			}
			if r.lead = lead; step == 0 || lead > r.best {
				r.best = lead
				copy(r.bestWay, d)
				copy(r.bestSlope, g)
			}
			if step == 0 {
				r.checked = r.best
			}
			if due > 0 {
				if r.halved = Halves(due, r.rises, r.halved, r.best <= r.checked); r.halved {
					r.size /= 2
					r.lead = r.best
					copy(d, r.bestWay)
					copy(g, r.bestSlope)
				}
				r.rises, r.checked = 0, r.best
			}
			b.step(m, k, g, step == 0, alpha)
		})
		if err := b.move(ctx); err != nil {
			return err
		}
		b.rows.Done()
	}
	return b.look(ctx)
}

// step moves the way of row k along its slope g, with alpha of it and the rest of the last step;
// the first goes all the way. g may change.
func (b *balls) step(m *scratch, k int, g []float64, first bool, alpha float64) {
	r, d := &b.at[k], b.way(k)
	if b.norm.dual(g) == 0 {
		return
	}
	b.norm.steepest(g)
	for i, v := range g {
		g[i] = d[i] + float64(r.size*v)
	}
	b.keep(m, k, g)
	for i, v := range d {
		to := g[i]
		if !first {
			to = v + float64(alpha*(to-v)) + float64((1-alpha)*(v-r.before[i]))
		}
		r.before[i], d[i] = v, to
	}
	b.keep(m, k, d)
}
