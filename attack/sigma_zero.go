package attack

import (
	"context"
	"fmt"
	"math"
)

// SigmaZero looks for the fewest pixels: it goes along the gradient of the margin and of a smooth
// count of the pixels that move, Σ d²/(d² + σ), and puts pixels back that moved less than a
// threshold, which grows where the image is misread and falls where it is not. k is how many steps.
//
// Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo 2024, arXiv:2402.01879, algorithm 1.
func SigmaZero(k int) Attack {
	return Attack{Name: "sigma-zero", Kind: "sigma-zero", Steps: k, Direction: Along, Norm: L0, Loss: Margin}
}

// SigmaZeroTargeted is SigmaZero towards one class after another, targets of them, those with the
// largest logits of the clean image, the label left out. An image has as many steps towards each.
//
// The paper has no targets; they are FAB's (Croce and Hein 2020, arXiv:2003.01690, section 5). At
// 190 steps towards five classes it takes as many passes as SigmaZero at 950, and moves fewer
// pixels.
func SigmaZeroTargeted(k, targets int) Attack {
	a := SigmaZero(k)
	a.Name, a.Kind, a.Restarts, a.Target = "sigma-zero-t", "sigma-zero-t", targets, ByRank
	return a
}

type sigmaZero struct{ nearest }

func (sigmaZero) Facts() Facts {
	return Facts{
		Default: SigmaZero(1000),
		Options: []string{"steps"},
		About:   "minimum norm, L0: along the gradients of margin and a smooth count of pixels",
		Source:  "Cinà et al. 2024, arXiv:2402.01879",
	}
}

func (sigmaZero) Label(a Attack) string { return fmt.Sprintf("σ-zero, k = %d", a.Steps) }

// Cost is a gradient a step.
func (sigmaZero) Cost(a Attack) Cost { return searchCost(a, 2) }

func (m sigmaZero) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

func (sigmaZero) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	// The paper's: of the smooth count, of the first and the last step, of the first threshold and
	// by what part of a step it changes.
	const sigma, first, last, threshold, change = 1e-3, 1, 0.1, 0.3, 0.01
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	bounds := rows.Bounds()
	m := newAdam(len(s.along))
	tau := make([]float64, rows.N())
	for k := range tau {
		tau[k] = threshold
	}
	eta := float64(first)
	for step := range a.Steps {
		g, _, err := s.seeAim(ctx)
		if err != nil {
			return nil, err
		}
		m.next()
		after := cosine(first, last, step, a.Steps)
		s.eachRow(func(room *scratch, k int) {
			if s.found[k].Distance == 0 {
				return
			}
			way, d := s.way(k), room.vector(0, s.size)
			for i, v := range way {
				square := float64(v * v)
				d[i] = float64(2*sigma*v) / float64((square+sigma)*(square+sigma)) / float64(s.size)
				if !s.wrong[k] {
					d[i] -= g[k][i]
				}
			}
			top := max(largestSize(d), 1e-12)
			if tau[k] -= float64(change * after); s.wrong[k] {
				tau[k] += float64(2 * change * after)
			}
			tau[k] = min(max(tau[k], 0), 1)
			for i, v := range d {
				mean, spread := m.take(k*s.size+i, v/top)
				x0 := s.clean[k][i]
				way[i] = bounds.box(x0+(way[i]-float64(eta*mean)/spread)) - x0
				if math.Abs(way[i]) < tau[k] {
					way[i] = 0
				}
			}
		})
		eta = after
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		rows.Done()
	}
	return s.polish(ctx)
}

type sigmaZeroTargeted struct{ sigmaZero }

func (sigmaZeroTargeted) Facts() Facts {
	return Facts{
		Default: SigmaZeroTargeted(200, 5),
		Options: []string{"steps", "targets"},
		About:   "sigma-zero towards the classes next in the clean image, one after the other",
		Source:  "Cinà et al. 2024, arXiv:2402.01879",
	}
}

func (sigmaZeroTargeted) Label(a Attack) string { return fmt.Sprintf("σ-zero-T, k = %d", a.Steps) }

func (m sigmaZeroTargeted) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}
