package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/portable"

	"gorgonia.org/tensor"
)

// rows are those of one batch: images lo to hi-1 at each of eps [E], R of each, one a restart. The loops of all attacks over
// their steps are here and nowhere else.
type rows struct {
	b       Backend
	a       attack.Attack
	bounds  attack.Bounds
	labels  []int32 // of all images that b holds
	lo, hi  int
	E, R    int
	columns []float64 // [E·R]
	restart []int     // [E·R], nil for one
	targets []int32   // [rows], nil for an untargeted attack
}

func rowsOf(b Backend, a attack.Attack, eps []float64, bounds attack.Bounds, labels []int32, lo, hi int) *rows {
	r := &rows{b: b, a: a, bounds: bounds, labels: labels, lo: lo, hi: hi, E: len(eps)}
	r.restarts(eps, 0, a.Runs())
	return r
}

// restarts makes the rows those of n restarts from the first on.
func (r *rows) restarts(eps []float64, first, n int) {
	r.R, r.columns, r.restart = n, eps, nil
	if r.a.Runs() == 1 {
		return
	}
	r.columns = nil
	for _, v := range eps {
		for k := range n {
			r.columns, r.restart = append(r.columns, v), append(r.restart, first+k)
		}
	}
}

// newRows returns the rows of a batch that b has begun.
func newRows(ctx context.Context, b Backend, a attack.Attack, eps []float64, bounds attack.Bounds, labels []int32, lo, hi int) (*rows, error) {
	r := rowsOf(b, a, eps, bounds, labels, lo, hi)
	return r, r.begin(ctx)
}

func (r *rows) begin(ctx context.Context) error {
	if r.a.Target != attack.Untargeted {
		if err := r.aim(ctx); err != nil {
			return err
		}
	}
	return r.b.Begin(ctx, r.lo, r.hi, r.columns)
}

func (r *rows) n() int { return (r.hi - r.lo) * len(r.columns) }

// label is that of row k.
func (r *rows) label(k int) int { return int(r.labels[r.lo+k/len(r.columns)]) }

// aim chooses the target of every row by what the model says of the clean image.
func (r *rows) aim(ctx context.Context) error {
	if err := r.b.Begin(ctx, r.lo, r.hi, []float64{0}); err != nil {
		return err
	}
	logits, err := r.logits(ctx)
	if err != nil {
		return err
	}
	r.targets = make([]int32, 0, r.n())
	for i, z := range logits {
		t := int32(r.a.Target.Of(int(r.labels[r.lo+i]), z))
		for range r.columns {
			r.targets = append(r.targets, t)
		}
	}
	return nil
}

// logits returns those of all rows that b holds.
func (r *rows) logits(ctx context.Context) ([][]float64, error) {
	d, err := r.b.Logits(ctx)
	if err != nil {
		return nil, err
	}
	return r.split(d), nil
}

// split returns the rows of logits d [rows, O].
func (r *rows) split(d *tensor.Dense) [][]float64 {
	if d == nil { // no rows
		return nil
	}
	return slices.Collect(slices.Chunk(float64s(d), r.b.Info().Classes))
}

// step is step k of the attack with what depends on the batch.
func (r *rows) step(k int) attack.Step {
	s := r.a.At(k, r.columns, r.bounds)
	s.Restarts, s.Targets = r.restart, r.targets
	return s
}

// attack moves the rows. It calls after once for each of the attack's K steps.
func (r *rows) attack(ctx context.Context, after func()) error {
	if r.a.Start {
		s := r.a.Random(r.columns, r.bounds)
		s.Restarts = r.restart
		if err := r.b.Step(ctx, s); err != nil {
			return err
		}
	}
	if r.a.Adaptive {
		return r.adapt(ctx, after)
	}
	for k := range r.a.Steps {
		if err := r.b.Step(ctx, r.step(k)); err != nil {
			return err
		}
		after()
	}
	return nil
}

// adapt is APGD from where the rows are.
//
// Croce and Hein 2020, arXiv:2003.01690: algorithm 1, the checkpoints of section 3.2 and the two conditions for
// halving, with its ρ = 0.75 and α = 0.75.
func (r *rows) adapt(ctx context.Context, after func()) error {
	const slotBest, slotFooled, rho, alpha = 0, 1, 0.75, 0.75
	n := r.n()
	size := make([]float64, n)
	for k := range size {
		size[k] = 2 * r.columns[k%len(r.columns)]
	}
	best, atCheck := make([]float64, n), make([]float64, n)
	last := make([]float64, n)
	rises := make([]int, n)
	halved := make([]bool, n) // at the last checkpoint
	for k := range halved {
		halved[k] = true // at the first only how often the loss rose counts
	}
	better, wrong, fooled := make([]bool, n), make([]bool, n), make([]bool, n)

	// look takes in what the model says of the rows and keeps those that are better than before.
	look := func(first bool) error {
		logits, err := r.logits(ctx)
		if err != nil {
			return err
		}
		for k, z := range logits {
			label := r.label(k)
			class, _, ok := judge(z, label)
			if !ok {
				return notFinite(k)
			}
			t := -1
			if r.targets != nil {
				t = int(r.targets[k])
			}
			loss := Loss(r.a.Loss, z, label, t)
			if !first && loss > last[k] {
				rises[k]++
			}
			better[k], wrong[k] = first || loss > best[k], class != label
			fooled[k] = fooled[k] || wrong[k]
			if better[k] {
				best[k] = loss
			}
			last[k] = loss
		}
		if err := r.b.Keep(ctx, slotBest, better); err != nil {
			return err
		}
		return r.b.Keep(ctx, slotFooled, wrong)
	}
	if err := look(true); err != nil {
		return err
	}
	copy(atCheck, best)

	K := r.a.Steps
	share := func(p float64) int { return max(1, int(p*float64(K))) }
	period, shrink, least := share(0.22), share(0.03), share(0.06)
	next, since := period, 0
	for k := range K {
		s := r.step(k)
		s.Size, s.Alpha = size, alpha
		if k == 0 {
			s.Alpha = 1
		}
		if err := r.b.Step(ctx, s); err != nil {
			return err
		}
		if err := look(false); err != nil {
			return err
		}
		after()
		if since++; k+1 != next || k+1 == K {
			continue
		}
		back := false
		for j := range halved {
			rare := float64(rises[j]) < rho*float64(since)
			stale := !halved[j] && best[j] <= atCheck[j]
			if halved[j] = rare || stale; halved[j] {
				size[j] /= 2
				last[j] = best[j]
				back = true
			}
			rises[j] = 0
		}
		copy(atCheck, best)
		if back {
			if err := r.b.Restore(ctx, slotBest, halved); err != nil {
				return err
			}
		}
		since, period = 0, max(period-shrink, least)
		next += period
	}
	rest := make([]bool, n)
	for k := range rest {
		rest[k] = !fooled[k]
	}
	if err := r.b.Restore(ctx, slotFooled, fooled); err != nil {
		return err
	}
	return r.b.Restore(ctx, slotBest, rest)
}

// outcomes returns what became of every row, rows and not images: each is its own restart.
func (r *rows) outcomes(ctx context.Context, rounded bool) ([]Outcome, error) {
	var rounding *backend.Rounding
	if rounded {
		rounding = &backend.Rounding{Norm: r.a.Norm}
	}
	found, err := r.b.Outcomes(ctx, rounding)
	if err != nil {
		return nil, err
	}
	out := make([]Outcome, r.n())
	for k, z := range r.split(found.Logits) {
		class, margin, ok := judge(z, r.label(k))
		if !ok {
			return nil, notFinite(k)
		}
		out[k] = Outcome{Class: int32(class), Margin: float32(margin), Rounded: -1, Zero: found.Zero[k], Norms: found.Norms[k]}
	}
	for k, c := range found.Rounded {
		if c < 0 {
			return nil, notFinite(k)
		}
		out[k].Rounded = c
	}
	return out, nil
}

// pick returns the row that speaks for image lo+i at eps e: see Outcome.
func (r *rows) pick(i, e int, out []Outcome) int {
	first := (i*r.E + e) * r.R
	best := first
	for k := first + 1; k < first+r.R; k++ {
		if worse(out[k], out[best], int32(r.label(k))) {
			best = k
		}
	}
	return best
}

// worse reports whether a is what speaks for an image with a label rather than b, an earlier restart or attack.
func worse(a, b Outcome, label int32) bool {
	return b.Class == label && (a.Class != label || a.Margin < b.Margin)
}

// notFinite is the error of a row with a logit that is not finite.
type notFinite int

func (k notFinite) Error() string { return fmt.Sprintf("logits of row %d are not finite", int(k)) }

// A NotFiniteError says that the logits of an image, or its gradient, are not finite.
type NotFiniteError struct {
	Attack string
	Image  int // in the data set
	Eps    float64
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("pipeline: %s: logits of image %d at eps %v are not finite", e.Attack, e.Image, e.Eps)
}

// named says of which image err is, if it is of a row. first is the index of the first image in the data set.
func (r *rows) named(err error, first int) error {
	k, ok := err.(notFinite)
	if !ok {
		return err
	}
	return &NotFiniteError{r.a.Name, first + r.lo + int(k)/len(r.columns), r.columns[int(k)%len(r.columns)]}
}

// judge returns the class of logits z, the first largest, and the margin of label. ok is false if one is not finite.
func judge(z []float64, label int) (class int, margin float64, ok bool) {
	other := math.Inf(-1)
	for j, v := range z {
		if v-v != 0 {
			return 0, 0, false
		}
		if v > z[class] {
			class = j
		}
		if j != label {
			other = max(other, v)
		}
	}
	return class, z[label] - other, true
}

// Loss returns loss l of logits z [O] with a label or, if target is not negative, of coming near to target: what an attack makes
// larger. See attack.Loss for the formulas.
func Loss(l attack.Loss, z []float64, label, target int) float64 {
	switch l {
	case attack.Margin:
		if target < 0 {
			return largest(z, label) - z[label]
		}
		return z[target] - largest(z, target)
	case attack.DLR:
		sorted := slices.Clone(z)
		slices.Sort(sorted)
		slices.Reverse(sorted)
		up, down := largest(z, label)-z[label], 1.0
		if target < 0 {
			down = sorted[0] - sorted[2]
		} else {
			up, down = z[target]-z[label], sorted[0]-float64((sorted[2]+sorted[3])/2)
		}
		if down == 0 {
			return up
		}
		return up / down
	}
	sign, y := 1.0, label
	if target >= 0 {
		sign, y = -1, target
	}
	top := slices.Max(z)
	sum := 0.0
	for _, v := range z {
		sum += portable.Exp(v - top)
	}
	return sign * (portable.Log(sum) + top - z[y])
}

// largest is the largest of z but that of class y.
func largest(z []float64, y int) float64 {
	top := math.Inf(-1)
	for j, v := range z {
		if j != y {
			top = max(top, v)
		}
	}
	return top
}
