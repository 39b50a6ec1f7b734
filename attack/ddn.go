package attack

import (
	"context"
	"fmt"
)

// DDN decouples direction and norm: it goes along the gradient of the cross-entropy, and then to a
// sphere around the clean image, which shrinks where the image is misread and grows where it is
// not. k is how many steps. Pixels are not rounded to 256 levels on the way, which the paper does:
// what rounding makes of the image the sweep says.
//
// Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger 2019, arXiv:1811.09600, algorithm 1.
func DDN(k int) Attack {
	return Attack{Name: "ddn", Kind: "ddn", Steps: k, Direction: Along, Norm: L2}
}

type ddn struct{ nearest }

func (ddn) Facts() Facts {
	return Facts{
		Default: DDN(100),
		Options: []string{"steps"},
		About:   "minimum norm, L2: along the gradient on a sphere that shrinks while misread",
		Source:  "Rony et al. 2019, arXiv:1811.09600",
	}
}

func (ddn) Label(a Attack) string { return fmt.Sprintf("DDN, k = %d", a.Steps) }

// Cost is a gradient a step.
func (ddn) Cost(a Attack) Cost { return searchCost(a, 2) }

func (m ddn) Run(ctx context.Context, a Attack, rows Rows) error { return runNearest(ctx, m, a, rows) }

func (ddn) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	// The first radius, by what part it changes at each step, and the last step's size. The first
	// is 1.
	const first, gamma, last = 1, 0.05, 0.01
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	bounds := rows.Bounds()
	radius := make([]float64, rows.N())
	for k := range radius {
		radius[k] = first
	}
	for step := range a.Steps {
		g, err := s.see(ctx, func(k int, z, q []float64) { CrossEntropyGradient(q, z, int(s.labels[k])) })
		if err != nil {
			return nil, err
		}
		s.noteZero(g)
		alpha := cosine(1, last, step, a.Steps)
		s.eachRow(func(_ *scratch, k int) {
			if s.found[k].Distance == 0 {
				return
			}
			d := s.way(k)
			if size := s.norm.length(g[k]); size > 0 {
				for i, v := range g[k] {
					d[i] += float64(alpha * (v / size))
				}
			}
			if s.wrong[k] {
				radius[k] *= 1 - gamma
			} else {
				radius[k] *= 1 + gamma
			}
			radius[k] = min(radius[k], s.farthest[k])
			if size := s.norm.length(d); size > 0 {
				for i, v := range d {
					d[i] = bounds.box(s.clean[k][i]+float64(radius[k]*(v/size))) - s.clean[k][i]
				}
			}
		})
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		rows.Done()
	}
	return s.polish(ctx)
}
