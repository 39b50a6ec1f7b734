package attack

import "context"

// APGD is Auto-PGD, which has no step size to choose. loss is CrossEntropy or DLR: of others
// Validate has an error.
//
// Croce and Hein 2020, arXiv:2003.01690, algorithm 1.
func APGD(loss Loss, k int, seed uint64) Attack {
	return Attack{Name: "apgd-" + loss.String(), Kind: "apgd-" + loss.String(), Steps: k, Loss: loss, Start: true, Seed: seed, Adaptive: true}
}

// apgd is Auto-PGD with a loss that its name says.
type apgd struct{ loss Loss }

func (m apgd) Facts() Facts {
	return Facts{
		Default: APGD(m.loss, 100, 0),
		Options: []string{"steps", "restarts", "norm", "target", "seed"},
		Norms:   []Norm{Linf, L2, L1},
		Family:  "apgd",
		OwnLoss: true,
		OwnSize: true,
		About:   "step sizes that adapt to each image, loss " + m.loss.String(),
		Source:  "Croce and Hein 2020, arXiv:2003.01690, and 2021, arXiv:2103.01208",
	}
}

func (apgd) Label(a Attack) string { return iterated{}.Label(a) }

// Cost is a gradient for each step, which brings the loss along, and the loss in the end. In L1
// there is a gradient at the end of each ball.
func (apgd) Cost(a Attack) Cost {
	c := Cost{Row: float64(2*a.Steps) + 1, Share: 1 + 3*a.Steps}
	if a.Norm == L1 {
		c.Row = float64(2 * (a.Steps + len(ballsL1(a.Steps))))
	}
	return c
}

// Ray is false: sizes differ from image to image.
func (apgd) Ray(Attack) bool { return false }

// Run is APGD from a random point of the ball.
//
// Croce and Hein 2020, arXiv:2003.01690: algorithm 1, the checkpoints of section 3.2 and the two
// conditions for halving, with its ρ = 0.75 and α = 0.75. In L1 it is another algorithm: see runL1.
func (m apgd) Run(ctx context.Context, a Attack, rows Rows) error {
	if a.Norm == L1 {
		return m.runL1(ctx, a, rows)
	}
	if err := a.start(ctx, rows); err != nil {
		return err
	}
	const slotBest, slotFooled, alpha = 0, 1, 0.75
	n := rows.N()
	columns, labels := rows.Columns(), rows.Labels()
	size := make([]float64, n)
	for k := range size {
		size[k] = 2 * columns[k%len(columns)]
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
	// next is the number of the step that follows, K after the last one.
	look := func(next int) error {
		first, see := next == 0, rows.Logits
		if next < a.Steps {
			see = func(ctx context.Context) ([][]float64, error) { return rows.Look(ctx, a.Move(next, rows)) }
		}
		logits, err := see(ctx)
		if err != nil {
			return err
		}
		for k, z := range logits {
			loss, misread, err := a.judge(rows, k, labels[k], z)
			if err != nil {
				return err
			}
			if !first && loss > last[k] {
				rises[k]++
			}
			better[k], wrong[k] = first || loss > best[k], misread
			fooled[k] = fooled[k] || wrong[k]
			if better[k] {
				best[k] = loss
			}
			last[k] = loss
		}
		if err := rows.Keep(ctx, slotBest, better); err != nil {
			return err
		}
		return rows.Keep(ctx, slotFooled, wrong)
	}
	if err := look(0); err != nil {
		return err
	}
	copy(atCheck, best)

	check := NewCheckpoints(a.Steps)
	for k := range a.Steps {
		s := a.Move(k, rows)
		s.Size, s.Alpha = size, alpha
		if k == 0 {
			s.Alpha = 1
		}
		if err := rows.Step(ctx, s); err != nil {
			return err
		}
		if err := look(k + 1); err != nil {
			return err
		}
		rows.Done()
		since := check.Due(k + 1)
		if since == 0 {
			continue
		}
		back := false
		for j := range halved {
			if halved[j] = Halves(since, rises[j], halved[j], best[j] <= atCheck[j]); halved[j] {
				size[j] /= 2
				last[j] = best[j]
				back = true
			}
			rises[j] = 0
		}
		copy(atCheck, best)
		if back {
			if err := rows.Restore(ctx, slotBest, halved); err != nil {
				return err
			}
		}
	}
	rest := make([]bool, n)
	for k := range rest {
		rest[k] = !fooled[k]
	}
	if err := rows.Restore(ctx, slotFooled, fooled); err != nil {
		return err
	}
	return rows.Restore(ctx, slotBest, rest)
}

// Checkpoints are the steps of Auto-PGD at which sizes may change: section 3.2 of its paper.
type Checkpoints struct{ steps, next, period, shrink, least int }

// NewCheckpoints returns those of so many steps.
func NewCheckpoints(steps int) *Checkpoints {
	share := func(p float64) int { return max(1, int(p*float64(steps))) }
	period := share(0.22)
	return &Checkpoints{steps: steps, next: period, period: period, shrink: share(0.03), least: share(0.06)}
}

// Halves reports whether steps are halved at a checkpoint so many steps after the last: the
// objective came nearer to its goal at less than ρ = 0.75 of them, or sizes were not halved there
// and its best is stale, no better than it was.
func Halves(since, nearer int, halved, stale bool) bool {
	const rho = 0.75
	return float64(nearer) < rho*float64(since) || !halved && stale
}

// Due returns how many steps there were since the last checkpoint if there is one after so many
// steps in all, and 0 if not. There is none after the last step. It is asked of one step after the
// other.
func (c *Checkpoints) Due(step int) (since int) {
	if step != c.next || step == c.steps {
		return 0
	}
	since = c.period
	c.period = max(c.period-c.shrink, c.least)
	c.next += c.period
	return since
}
