package attack

import (
	"context"
	"fmt"
	"math"

	"advsweep/internal/portable"
)

// FMN is the fast minimum norm attack: it goes along the gradient of the margin and then into a
// ball around the clean image, whose radius is what a linear model would need at first, and then
// shrinks where the image is misread and grows where it is not. k is how many steps.
//
// Until the image is misread the radius is what the paper says, or grows as it does later if that
// is more, and the linear model's part of it is longer by what it grows. By the paper's rule alone
// the rows of a linear model end on the boundary, or where pixels are at their bounds before it.
//
// Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827, algorithm 1.
func FMN(k int) Attack {
	return Attack{Name: "fmn", Kind: "fmn", Steps: k, Direction: Along, Loss: Margin}
}

type fmn struct{ nearest }

func (fmn) Facts() Facts {
	return Facts{
		Default: FMN(100),
		Options: []string{"steps", "norm"},
		Norms:   allNorms(),
		About:   "minimum norm: along the gradient in a ball that shrinks while misread",
		Source:  "Pintor et al. 2021, arXiv:2102.12827",
	}
}

func (fmn) Label(a Attack) string { return fmt.Sprintf("FMN, k = %d", a.Steps) }

// Cost is a gradient a step.
func (fmn) Cost(a Attack) Cost { return searchCost(a, 2) }

func (m fmn) Run(ctx context.Context, a Attack, rows Rows) error { return runNearest(ctx, m, a, rows) }

func (fmn) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	// The size of the first and the last step, and by what part the radius changes at them.
	const firstAlpha, lastAlpha, firstGamma, lastGamma = 1, 0.01, 0.05, 0.001
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	bounds := rows.Bounds()
	radius := make([]float64, rows.N())
	if s.norm.counts {
		for k := range radius {
			radius[k] = 1
		}
	}
	for step := range a.Steps {
		g, rival, err := s.seeRivals(ctx)
		if err != nil {
			return nil, err
		}
		alpha, gamma := cosine(firstAlpha, lastAlpha, step, a.Steps), cosine(firstGamma, lastGamma, step, a.Steps)
		s.eachRow(func(m *scratch, k int) {
			best := s.found[k].Distance
			if best == 0 {
				return
			}
			switch {
			case s.wrong[k] && s.norm.counts:
				radius[k] = min(radius[k]-1, math.Floor(radius[k]*(1-gamma)), best)
			case s.norm.counts:
				radius[k] = max(radius[k]+1, math.Floor(radius[k]*(1+gamma)))
			case s.wrong[k]:
				radius[k] = min(radius[k]*(1-gamma), best)
			case !math.IsInf(best, 1):
				radius[k] *= 1 + gamma
			default:
				need := s.distance(m, k)
				if size := s.norm.dual(g[k]); size > 0 {
					need += float64(math.Abs(s.lead(k, rival[k])) / size * (1 + gamma))
				}
				radius[k] = max(need, radius[k]*(1+gamma))
			}
			radius[k] = min(radius[k], s.farthest[k])
			d := s.way(k)
			if size := length2(g[k]); size > 0 {
				for i, v := range g[k] {
					d[i] += float64(alpha * (v / size))
				}
			}
			s.norm.shrink(m, d, radius[k])
			for i, v := range d {
				d[i] = bounds.box(s.clean[k][i]+v) - s.clean[k][i]
			}
		})
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		rows.Done()
	}
	return s.polish(ctx)
}

// cosine goes from first at step 0 to almost last at step k-1 of k, slowly at both ends.
func cosine(first, last float64, step, k int) float64 {
	half := (1 + portable.Cos(math.Pi*float64(step)/float64(k))) / 2
	return last + float64((first-last)*half)
}
