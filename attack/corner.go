package attack

import (
	"context"
	"fmt"
)

// A Sloper is Rows whose backend may know more of the network than one point tells.
type Sloper interface {
	Rows
	// Slopes returns for each row, at its clean image and with targets, a linear function of the
	// pixels [N][I] that is least where the margin z_label - z_target is lowest, by a bound that
	// holds in the whole ball of Linf within the bounds. It is nil where the backend has no such
	// bound.
	Slopes(ctx context.Context) ([][]float64, error)
}

// Corner starts, toward each of so many targets, at the corner of the ball within the bounds at
// which a linear function below the margin of the label over the target is least, and then takes K
// steps along the sign of the gradient of that margin, of half of eps at first and falling in a
// line to 0. The targets are the classes with the largest logits of the clean image, the label left
// out; of fewer classes each is a target more than once. There is no draw.
//
// The linear function is that of CROWN, Zhang et al. 2018, arXiv:1811.00866, where the backend can
// tell it: see Sloper. Else it is the margin's gradient at the clean image.
func Corner(k, targets int) Attack {
	return Attack{Name: "corner", Kind: "corner", Steps: k, Direction: Along, Restarts: targets, Aim: Aim{Target: ByRank}}
}

type corner struct{}

func (corner) Facts() Facts {
	return Facts{
		Default: Corner(50, 9),
		Options: []string{"steps", "targets"},
		About:   "toward the classes next in the clean image, from the corner where CROWN's bound of the margin is lowest",
		Source:  "bound: Zhang et al. 2018, arXiv:1811.00866",
	}
}

func (corner) Label(a Attack) string { return fmt.Sprintf("corner, k = %d", a.Steps) }

// Cost is a gradient for each step and the loss at the end. The linear function is none of the
// passes.
func (corner) Cost(a Attack) Cost { return Cost{Row: float64(2*a.Steps) + 1, Share: 1 + 3*a.Steps} }

// Ray is false: each image goes its own way.
func (corner) Ray(Attack) bool { return false }

// Run goes to the corner and takes the steps. A row ends where it was misread with the lowest
// margin over the target, or where that was lowest at all.
func (corner) Run(ctx context.Context, a Attack, rows Rows) error {
	const slotBest = 0
	n, columns, labels := rows.N(), rows.Columns(), rows.Labels()
	size := make([]float64, n)
	toward := func(scale float64, slopes [][]float64) error {
		s := a.Move(0, rows)
		s.Direction, s.Targets, s.Size, s.Ball, s.Along = Along, nil, size, true, make([]float64, 0, n*len(slopes[0]))
		for k, g := range slopes {
			size[k] = scale * columns[k%len(columns)]
			for _, v := range g {
				d := 0.0
				switch {
				case v > 0:
					d = -1
				case v < 0:
					d = 1
				}
				s.Along = append(s.Along, d)
			}
		}
		return rows.Step(ctx, s)
	}
	if n == 0 {
		return nil
	}
	slopes, err := slopesOf(ctx, rows)
	if err != nil {
		return err
	}
	if err := toward(1, slopes); err != nil {
		return err
	}
	least, fooled, better := make([]float64, n), make([]bool, n), make([]bool, n)
	look := func(first bool, logits [][]float64) error {
		for k, z := range logits {
			class, _, ok := Judge(z, int(labels[k]))
			if !ok {
				return NotFiniteRow(k)
			}
			margin, wrong := z[labels[k]], class != int(labels[k])
			if t := targetOf(rows, k); t >= 0 {
				margin -= z[t]
			}
			better[k] = first || wrong && !fooled[k] || wrong == fooled[k] && margin < least[k]
			if better[k] {
				least[k], fooled[k] = margin, wrong
			}
		}
		return rows.Keep(ctx, slotBest, better)
	}
	for step := range a.Steps {
		logits, slopes, err := rows.See(ctx, margins(rows))
		if err != nil {
			return err
		}
		if err := look(step == 0, logits); err != nil {
			return err
		}
		if err := toward(0.5*(1-float64(step)/float64(a.Steps)), slopes); err != nil {
			return err
		}
		rows.Done()
	}
	logits, err := rows.Logits(ctx)
	if err != nil {
		return err
	}
	if err := look(false, logits); err != nil {
		return err
	}
	for k := range better {
		better[k] = true
	}
	return rows.Restore(ctx, slotBest, better)
}

// slopesOf returns the slopes of a Sloper, or the gradients of the margins.
func slopesOf(ctx context.Context, rows Rows) ([][]float64, error) {
	if s, ok := rows.(Sloper); ok {
		if slopes, err := s.Slopes(ctx); slopes != nil || err != nil {
			return slopes, err
		}
	}
	_, gradient, err := rows.See(ctx, margins(rows))
	return gradient, err
}

// margins weighs z_label - z_target of each row, or z_label where it has no target.
func margins(rows Rows) func(k int, z, q []float64) {
	labels := rows.Labels()
	return func(k int, _, q []float64) {
		q[labels[k]] = 1
		if t := targetOf(rows, k); t >= 0 {
			q[t] = -1
		}
	}
}
