package attack

import (
	"context"
	"fmt"
	"math"
)

// DeepFool goes again and again to the nearest of the planes where another class would take over if
// the model were linear, and a little further, until it is misread. k is how often at most. It is
// the oldest attack of minimum norm and a quick one, and finds points that are near, not nearest.
//
// Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599: algorithm 2, and section 3.3 for Linf.
func DeepFool(k int) Attack {
	return Attack{Name: "deepfool", Kind: "deepfool", Steps: k, Direction: Along, Loss: Margin}
}

type deepFool struct{ nearest }

func (deepFool) Facts() Facts {
	return Facts{
		Default: DeepFool(50),
		Options: []string{"steps", "norm"},
		About:   "minimum norm: to the nearest plane between classes, until misread",
		Source:  "Moosavi-Dezfooli et al. 2016, arXiv:1511.04599",
	}
}

func (deepFool) Label(a Attack) string { return fmt.Sprintf("DeepFool, k = %d", a.Steps) }

// Cost is that of an image that is misread at the last step: nine gradients a step.
func (deepFool) Cost(a Attack) Cost { return searchCost(a, 2*mostRivals) }

func (m deepFool) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

// Search moves the rows that are not misread yet.
func (deepFool) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	// As the paper's code has them: how much further than the plane, and a little more for planes
	// that are very near.
	const overshoot, further = 0.02, 1e-4
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	for range a.Steps {
		if s.right() {
			w, rival, err := s.nearestPlanes(ctx)
			if err != nil {
				return nil, err
			}
			s.noteZero(w)
			s.eachRow(func(_ *scratch, k int) {
				size := s.norm.dual(w[k])
				if s.wrong[k] || size == 0 {
					return
				}
				by := (math.Abs(s.lead(k, rival[k]))/size + further) * (1 + overshoot)
				s.norm.steepest(w[k])
				d := s.way(k)
				for i, v := range s.x[k] {
					d[i] = rows.Bounds().box(v+float64(by*w[k][i])) - s.clean[k][i]
				}
			})
			if err := s.move(ctx); err != nil {
				return nil, err
			}
		}
		rows.Done()
	}
	return s.polish(ctx)
}
