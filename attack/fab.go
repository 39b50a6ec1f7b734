package attack

import (
	"context"
	"fmt"
)

// FAB is the fast adaptive boundary attack: it goes back and forth between the clean image and the
// plane where another class would take over if the model were linear, each time the nearest of
// those planes, and keeps within the bounds exactly. k is how often.
//
// Croce and Hein 2020, arXiv:1907.02044: algorithm 1, without its restarts.
func FAB(k int) Attack {
	return Attack{Name: "fab", Kind: "fab", Steps: k, Direction: Along, Loss: Margin}
}

// FABTargeted is FAB towards one class after another, targets of them, those with the largest
// logits of the clean image, the label left out. It takes one gradient where FAB takes one for each
// class. It is AutoAttack's third attack.
//
// Croce and Hein 2020, arXiv:1907.02044 and arXiv:2003.01690, section 5.
func FABTargeted(k, targets int) Attack {
	a := FAB(k)
	a.Name, a.Kind, a.Restarts, a.Target = "fab-t", "fab-t", targets, ByRank
	return a
}

type fab struct{ nearest }

func (fab) Facts() Facts {
	return Facts{
		Default: FAB(100),
		Options: []string{"steps", "norm"},
		Norms:   []Norm{Linf, L2, L1},
		Family:  "fab",
		About:   "minimum norm: between the image and the nearest plane between classes, back and forth",
		Source:  "Croce and Hein 2020, arXiv:1907.02044",
	}
}

func (fab) Label(a Attack) string { return fmt.Sprintf("FAB, k = %d", a.Steps) }

// Cost is nine gradients and a look a step.
func (fab) Cost(a Attack) Cost { return searchCost(a, 2*mostRivals+1) }

func (m fab) Run(ctx context.Context, a Attack, rows Rows) error { return runNearest(ctx, m, a, rows) }

func (fab) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	return s.fab(ctx, s.nearestPlanes)
}

type fabTargeted struct{ nearest }

func (fabTargeted) Facts() Facts {
	return Facts{
		Default: FABTargeted(100, 9),
		Options: []string{"steps", "targets", "norm"},
		Norms:   []Norm{Linf, L2, L1},
		Family:  "fab",
		About:   "fab towards the classes next in the clean image, one after the other",
		Source:  "Croce and Hein 2020, arXiv:1907.02044, arXiv:2003.01690",
	}
}

func (fabTargeted) Label(a Attack) string { return fmt.Sprintf("FAB-T, k = %d", a.Steps) }

// Cost is a gradient and a look a step, of each target.
func (fabTargeted) Cost(a Attack) Cost { return searchCost(a, 3) }

func (m fabTargeted) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

func (fabTargeted) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	return s.fab(ctx, s.seeAim)
}

// fab is FAB with the plane of each row that planes returns: its slope [N][I], and the class on the
// other side [N], and looks at the rows. Constants are those of the paper's section 4, as
// AutoAttack has them.
func (s *seeker) fab(ctx context.Context, planes func(context.Context) (w [][]float64, rival []int, err error)) ([]Found, error) {
	if err := s.fabSteps(ctx, s.a.Steps, planes); err != nil {
		return nil, err
	}
	return s.polish(ctx)
}

// fabSteps are so many steps of fab, from where the rows are.
func (s *seeker) fabSteps(ctx context.Context, steps int, planes func(context.Context) (w [][]float64, rival []int, err error)) error {
	const most, eta, beta = 0.1, 1.05, 0.9
	bounds := s.rows.Bounds()
	lo, hi := bounds.Ends()
	for range steps {
		w, rival, err := planes(ctx)
		if err != nil {
			return err
		}
		s.noteZero(w)
		s.eachRow(func(m *scratch, k int) {
			if s.found[k].Distance == 0 { // misread as it is
				return
			}
			x, clean, slope, d := s.x[k], s.clean[k], w[k], s.way(k)
			fromX, fromClean := m.vector(0, s.size), m.vector(1, s.size)
			lead := s.lead(k, rival[k])
			there := lead // what the linear model has at the clean image
			for i, v := range slope {
				there -= float64(v * (x[i] - clean[i]))
			}
			s.norm.toPlane(m, fromX, x, slope, -lead, bounds)
			s.norm.toPlane(m, fromClean, clean, slope, -there, bounds)
			far, near := max(s.norm.length(fromX), 1e-8), max(s.norm.length(fromClean), 1e-8)
			alpha := min(far/(far+near), most)
			for i, x0 := range clean {
				beyond := x[i] + float64(eta*fromX[i])
				back := x0 + float64(eta*fromClean[i])
				d[i] = min(max(float64((1-alpha)*beyond)+float64(alpha*back), lo), hi) - x0
			}
		})
		if err := s.goThere(ctx); err != nil {
			return err
		}
		turns := func(k int) bool { return s.wrong[k] && s.found[k].Distance > 0 }
		back := false
		for k := range w {
			back = back || turns(k)
		}
		s.eachRow(func(_ *scratch, k int) {
			if turns(k) {
				d := s.way(k)
				for i := range d {
					d[i] *= beta
				}
			}
		})
		if back {
			if err := s.move(ctx); err != nil {
				return err
			}
		}
		s.rows.Done()
	}
	return nil
}
