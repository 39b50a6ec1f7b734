package falsify

import (
	"context"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/internal/portable"
	"advsweep/internal/ref"
	"advsweep/internal/threads"
	"advsweep/pipeline"
	"advsweep/vnnlib"

	"gorgonia.org/tensor"
)

// A criterion is what a row minimises. Of a case it is the largest excess of its constraints, each
// divided by the length of its factors: at 0 or below they hold, all of them. Of several cases it
// is a smooth minimum of theirs.
type criterion struct {
	cases  []int                 // their places
	all    [][]vnnlib.Constraint // of each case
	length [][]float64           // of the factors of each
}

// newCriterion is that of some cases of p.
func newCriterion(p *vnnlib.Property, cases ...int) criterion {
	c := criterion{cases: cases}
	for _, k := range cases {
		length := make([]float64, len(p.Cases[k].All))
		for i := range length {
			length[i] = p.Cases[k].All[i].Length()
		}
		c.all, c.length = append(c.all, p.Cases[k].All), append(c.length, length)
	}
	return c
}

// of returns the criterion of case number n at outputs y [O], and which constraint it is of: the
// first one on a tie. It is -Inf, of none, where there are no constraints.
func (c *criterion) of(n int, y []float64) (v float64, constraint int) {
	v, constraint = math.Inf(-1), -1
	for i := range c.all[n] {
		if e := c.all[n][i].Excess(y) / c.length[n][i]; e > v {
			v, constraint = e, i
		}
	}
	return v, constraint
}

// best returns the least criterion of any case at outputs y [O], and the number of the case.
func (c *criterion) best(y []float64) (v float64, n int) {
	v = math.Inf(1)
	for k := range c.all {
		if e, _ := c.of(k, y); e < v {
			v, n = e, k
		}
	}
	return v, n
}

// sharpness is how sharp the minimum of several cases is: where they are that each rival of a class
// has the larger logit, it makes the criterion a multiple of the cross-entropy.
const sharpness = math.Sqrt2

// value returns what the row minimises at outputs y [O], and adds its gradient to q [O].
func (c *criterion) value(y, q []float64) float64 {
	least, _ := c.best(y)
	if math.IsInf(least, 0) {
		return least
	}
	sum := 0.0
	share := make([]float64, len(c.all))
	for k := range c.all {
		v, _ := c.of(k, y)
		share[k] = portable.Exp(float64(sharpness * (least - v)))
		sum += share[k]
	}
	for k := range c.all {
		if _, i := c.of(k, y); i >= 0 {
			for _, t := range c.all[k][i].Terms {
				q[t.Output] += float64(share[k] / sum * t.Factor / c.length[k][i])
			}
		}
	}
	return least - portable.Log(sum)/sharpness
}

// How a round goes: the steps of Auto-PGD, in units of the half-width of the box at each input.
const (
	// RoundSteps is how many steps a round has.
	RoundSteps = 100
	firstStep  = 2
	momentum   = 0.25 // the share of the step before
	// A round has so many rows, if there are fewer cases: they start at different points.
	roundRows = 24
	// So many steps follow a counterexample that rounding might undo.
	surerSteps = 20
	// A batch has no more rows than this, and no more numbers of inputs: cases beyond them wait.
	batchRows    = 512
	batchNumbers = 1 << 24
)

// A hunt is a search as it runs.
type hunt struct {
	search *Search
	answer *Answer
	least  float64 // see Progress
	// corners are where proofs have shown that a case may be met, by its place, [I] each: the next
	// round starts there too.
	corners map[int][]float64
	begun   bool
	// excess is the largest of the constraints' excesses of the counterexample in answer.
	excess float64
}

// A row is one way to look for a counterexample of a case.
type row struct {
	box   *vnnlib.Case // one of the cases of goal, which share the box
	goal  criterion
	reach []float64 // [I], see reach
	x     []float64 // [I], in the box
	value float64   // of goal at x
	pace
}

// A pace is how far a row's steps go, by the rules of Auto-PGD. Croce and Hein 2020,
// arXiv:2003.01690, algorithm 1.
type pace struct {
	before        []float64 // [I], x before the last step
	best, slope   []float64 // [I], the x with the least criterion so far, and its gradient there
	least, last   float64   // the criterion there, and at the last x
	atCheck, size float64   // least at the last checkpoint; of steps, in half-widths
	falls         int       // how often the criterion fell since then
	halved        bool      // there
}

// round makes each open case's rows take all their steps, case by case in order. Round 0 starts at
// the centre of the box, later ones at random points or corners. A counterexample that rounding
// could undo is kept while the rows of its batch go on.
func (h *hunt) round(ctx context.Context, r int, open []int) error {
	each := max(1, roundRows/len(open))
	if r == 0 {
		each = 1
	}
	most := min(batchRows, h.search.Backend.Info().Rows, batchNumbers/h.search.Property.Inputs)
	var rows []row
	for left := open; len(left) > 0; {
		box := sameBox(h.search.Property, left)
		left = left[len(box):]
		goals := make([]criterion, 0, len(box)+1)
		for _, k := range box {
			goals = append(goals, newCriterion(h.search.Property, k))
		}
		if len(box) > 1 {
			goals = append(goals, newCriterion(h.search.Property, box...))
		}
		c := &h.search.Property.Cases[box[0]]
		units := reach(c, r)
		flush := func() error {
			err := h.batch(ctx, r, rows, len(open))
			rows = rows[:0]
			return err
		}
		for _, g := range goals {
			var starts [][]float64
			if x, ok := h.corners[g.cases[0]]; ok && len(g.cases) == 1 {
				starts = append(starts, x)
				delete(h.corners, g.cases[0])
			}
			for i := range each {
				start := 0
				if r > 0 {
					start = 1 + (r-1)*each + i
				}
				key := g.cases[0] + len(h.search.Property.Cases)*(len(g.cases)-1)
				starts = append(starts, h.search.start(c, units, key, start))
			}
			for _, x := range starts {
				if len(rows) >= max(1, most) {
					if err := flush(); err != nil || h.answer.Verdict == Sat {
						return err
					}
				}
				rows = append(rows, row{box: c, goal: g, reach: units, x: x})
			}
		}
		if len(left) == 0 {
			return flush()
		}
	}
	return nil
}

// sameBox is how many of the first cases share one box.
func sameBox(p *vnnlib.Property, cases []int) []int {
	n := 1
	for n < len(cases) && &p.Cases[cases[n]].Lo[0] == &p.Cases[cases[0]].Lo[0] {
		n++
	}
	return cases[:n]
}

// reach is a half-width for each input of the box, [I]: what steps are measured in. In two of four
// rounds it is that of the widest input for all, as for an image's pixels: those whose intervals
// are cut off by the range of pixels go as far as the others then.
func reach(c *vnnlib.Case, round int) []float64 {
	all, widest := make([]float64, len(c.Lo)), 0.0
	for i := range all {
		all[i] = half(c, i)
		widest = max(widest, all[i])
	}
	if round%4 < 2 {
		for i := range all {
			all[i] = widest
		}
	}
	return all
}

// start is a point of c's box: its centre for start 0, then a random corner or a random point in
// turn, of the box around the centre that reach is the half-widths of. It is keyed by seed, key,
// start and input; key tells rows of one start apart.
func (s *Search) start(c *vnnlib.Case, reach []float64, key, start int) []float64 {
	x := make([]float64, len(c.Lo))
	draw := attack.NewUniformDraw(s.Seed, key, start&0xffff, start>>16)
	for i := range x {
		u := 0.0
		if start > 0 {
			u = draw.Linf(i)
		}
		if start%2 == 1 {
			u = math.Copysign(1, u)
		}
		x[i] = within(middle(c, i)+float64(u*reach[i]), c.Lo[i], c.Hi[i])
	}
	return x
}

// turn keeps a corner of c's box for each of the cases of: where the linear function below a
// constraint is least, of the constraint that is hardest to fulfil by what is proven. least and
// slopes are those of Prover.Linear.
func (h *hunt) turn(c *vnnlib.Case, of []int, least []float64, slopes [][]float64) {
	hardest := map[int]float64{}
	n := 0 // of the constraint in its case
	for k, place := range of {
		if n++; k == 0 || of[k-1] != place {
			n = 0
		}
		one := &h.search.Property.Cases[place].All[n]
		excess := (least[k] - one.Bound) / one.Length()
		if was, ok := hardest[place]; ok && !(excess > was) {
			continue
		}
		hardest[place] = excess
		x := make([]float64, len(c.Lo))
		for i, a := range slopes[k] {
			to := middle(c, i)
			switch {
			case a > 0:
				to = c.Lo[i]
			case a < 0:
				to = c.Hi[i]
			}
			x[i] = within(to, c.Lo[i], c.Hi[i])
		}
		h.corners[place] = x
	}
}

// middle and half are the centre and the half-width of the box at input i.
func middle(c *vnnlib.Case, i int) float64 { return float64(c.Lo[i]/2) + float64(c.Hi[i]/2) }
func half(c *vnnlib.Case, i int) float64   { return float64(c.Hi[i]/2) - float64(c.Lo[i]/2) }

// within returns the float32 that is nearest to v and lies between lo and hi, where there is one:
// networks are computed from such numbers. Where there is none it returns v kept between them.
func within(v, lo, hi float64) float64 {
	v = min(max(v, lo), hi)
	f := float32(v)
	if float64(f) < lo {
		f = math.Nextafter32(f, float32(math.Inf(1)))
	} else if float64(f) > hi {
		f = math.Nextafter32(f, float32(math.Inf(-1)))
	}
	if w := float64(f); w >= lo && w <= hi {
		return w
	}
	return v
}

// batch makes rows take all steps of a round.
func (h *hunt) batch(ctx context.Context, round int, rows []row, open int) error {
	check, more := attack.NewCheckpoints(RoundSteps), surerSteps
	for step := 0; ; step++ {
		logits, gradient, err := h.look(ctx, rows)
		if err != nil {
			return err
		}
		better := h.judge(rows, logits)
		if p := h.search.Progress; p != nil {
			p(Progress{Round: round + 1, Open: open, Least: h.least})
		}
		if h.answer.Verdict == Sat {
			if more--; more < 0 || better && h.sure() {
				return nil
			}
		}
		if step == RoundSteps {
			return nil
		}
		since := check.Due(step)
		threads.Each(max(1, h.search.Backend.Info().Threads), len(rows), func(_, k int) {
			rows[k].move(step, since, gradient[k])
		})
	}
}

// move takes step number step along the gradient g [I] of the criterion. since is
// how many steps there were since the last checkpoint if there is one now, else 0.
func (r *row) move(step, since int, g []float64) {
	p, v := &r.pace, r.value
	if step == 0 {
		*p = pace{before: slices.Clone(r.x), best: slices.Clone(r.x), slope: slices.Clone(g), least: v, last: v, atCheck: v, size: firstStep, halved: true}
	}
	if step > 0 && v < p.last {
		p.falls++
	}
	if v < p.least {
		p.least = v
		copy(p.best, r.x)
		copy(p.slope, g)
	}
	p.last = v
	if since > 0 {
		p.halved = attack.Halves(since, p.falls, p.halved, p.least >= p.atCheck)
		p.atCheck, p.falls = p.least, 0
		if p.halved {
			p.size /= 2
			copy(r.x, p.best)
			g, p.last = p.slope, p.least
		}
	}
	share := momentum
	if step == 0 {
		share = 0
	}
	for i, x := range r.x {
		d := 0.0
		switch {
		case g[i] > 0:
			d = -p.size
		case g[i] < 0:
			d = p.size
		}
		to := min(max(x+float64(d*r.reach[i]), r.box.Lo[i]), r.box.Hi[i])
		to = x + float64((1-share)*(to-x)) + float64(share*(x-p.before[i]))
		p.before[i], r.x[i] = x, within(to, r.box.Lo[i], r.box.Hi[i])
	}
}

// look returns the outputs of rows [rows][O], and the gradients [rows][I] of their criteria.
func (h *hunt) look(ctx context.Context, rows []row) (logits, gradient [][]float64, err error) {
	b, in := h.search.Backend, h.search.Property.Inputs
	x := make([]float64, 0, len(rows)*in)
	for _, r := range rows {
		x = append(x, r.x...)
	}
	images := tensor.New(tensor.WithShape(len(rows), in), tensor.WithBacking(x))
	if err := b.Load(ctx, 0, images, make([]int32, len(rows))); err != nil {
		return nil, nil, err
	}
	if err := b.Begin(ctx, 0, len(rows), []float64{0}); err != nil {
		return nil, nil, err
	}
	h.answer.Passes += 2 * len(rows)
	z, g, err := pipeline.See(ctx, b, func(k int, y, q []float64) { rows[k].value = rows[k].goal.value(y, q) })
	if z != nil {
		logits = rowsOf(z, len(rows))
		for k, y := range logits {
			if slices.ContainsFunc(y, func(v float64) bool { return v-v != 0 }) {
				return nil, nil, fmt.Errorf("falsify: the network's outputs are not finite at a point of the box of case %d", rows[k].goal.cases[0])
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return logits, rowsOf(g, len(rows)), nil
}

// rowsOf returns the n rows of t in float64.
func rowsOf(t *tensor.Dense, n int) [][]float64 {
	all := ref.Float64s(t)
	return slices.Collect(slices.Chunk(all, len(all)/n))
}

// judge takes in the outputs of rows. The row with the least criterion is a counterexample if the
// judge says so: at its x, and where that is no float32, at the float32 nearest to it. judge
// reports whether the answer has a counterexample that it had not before.
func (h *hunt) judge(rows []row, logits [][]float64) (better bool) {
	best, at := math.Inf(1), -1
	for k, y := range logits {
		if v, _ := rows[k].goal.best(y); v < best {
			best, at = v, k
		}
	}
	if !h.begun || best < h.least {
		h.least, h.begun = best, true
	}
	if at < 0 || best > 0 {
		return false
	}
	x := rows[at].x
	y, _ := ref.Forward(h.search.Model, x)
	rounded := make([]float64, len(x))
	for i, v := range x {
		rounded[i] = float64(float32(v))
	}
	near, _ := ref.Forward(h.search.Model, rounded)
	_, n := rows[at].goal.best(logits[at])
	c := &h.search.Property.Cases[rows[at].goal.cases[n]]
	again := *c
	again.Lo, again.Hi = rounded, rounded // the box is asked of x alone
	if !c.Holds(x, y) || !again.Holds(rounded, near) {
		return false
	}
	worst := math.Inf(-1)
	for i := range c.All {
		worst = max(worst, c.All[i].Excess(y))
	}
	a := h.answer
	if a.Verdict == Sat && !(worst < h.excess) {
		return false
	}
	a.Verdict, a.X, a.Y, h.excess = Sat, append([]float64(nil), x...), y, worst
	a.Case = h.search.Property.Holds(x, y)
	return true
}

// sure reports whether the counterexample is one in float32 too, whoever computes it: rounding
// cannot undo a constraint.
func (h *hunt) sure() bool {
	y, _ := ref.BoundForward(h.search.Model, ref.Pixels(h.answer.X, ref.Float32), ref.Float32)
	for _, c := range h.search.Property.Cases[h.answer.Case].All {
		e := c.Excess(h.answer.Y)
		for _, t := range c.Terms {
			e += float64(math.Abs(t.Factor) * y[t.Output].Err)
		}
		if !(e < 0) {
			return false
		}
	}
	return true
}
