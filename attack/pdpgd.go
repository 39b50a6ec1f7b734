package attack

import (
	"context"
	"fmt"

	"advsweep/internal/portable"
)

// PDPGD looks for the saddle point of the distance and of a multiplier times the loss of being
// right: Adam on the pixels, a proximal step for the norm, and a multiplier that grows where the
// image is still right and falls where it is not. k is how many steps.
//
// Matyasko, Chau 2021, arXiv:2106.01538, algorithm 2.
func PDPGD(k int) Attack {
	return Attack{Name: "pdpgd", Kind: "pdpgd", Steps: k, Direction: Along, Loss: Margin}
}

type pdpgd struct{ nearest }

func (pdpgd) Facts() Facts {
	return Facts{
		Default: PDPGD(500),
		Options: []string{"steps", "norm"},
		Norms:   []Norm{Linf, L2, L1},
		About:   "minimum norm: Adam and proximal steps, with a multiplier between distance and loss",
		Source:  "Matyasko and Chau 2021, arXiv:2106.01538",
	}
}

func (pdpgd) Label(a Attack) string { return fmt.Sprintf("PDPGD, k = %d", a.Steps) }

// Cost is a gradient a step.
func (pdpgd) Cost(a Attack) Cost { return searchCost(a, 2) }

func (m pdpgd) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

func (pdpgd) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	// The paper's: the first step of Adam and the last one's part of it, the first ratio of distance
	// to loss, the first step of the multiplier and the last one's part of it, how much of its mean
	// stays at a step, and how large it may be.
	const rate, ratePart, ratio, dualRate, dualPart, stays, most = 0.1, 0.01, 0.01, 0.1, 0.1, 0.9, 1e6
	// How many proximal steps there are, and the relative change below which no further one is.
	const proximal, still = 5, 1e-2
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	bounds, n := rows.Bounds(), rows.N()
	m := newAdam(len(s.along))
	// The multiplier is exp(dual). share is a mean of the part that it has of 1 + multiplier.
	dual, share := make([]float64, n), make([]float64, n)
	limit := portable.Log(most)
	for k := range dual {
		dual[k] = -portable.Log(ratio)
		share[k] = sigmoid(dual[k])
	}
	for step := range a.Steps {
		g, rival, err := s.seeRivals(ctx)
		if err != nil {
			return nil, err
		}
		m.next()
		eta := rate * portable.Pow(ratePart, float64(step)/float64(a.Steps))
		theta := float64(dualRate * (dualPart + float64((1-dualPart)*float64(a.Steps-1-step)/float64(max(a.Steps-1, 1)))))
		s.eachRow(func(room *scratch, k int) {
			if s.found[k].Distance == 0 {
				return
			}
			spread, to, z := room.vector(0, s.size), room.vector(1, s.size), room.vector(2, s.size)
			way, margin, top := s.way(k), -s.lead(k, rival[k]), 0.0
			pull := sigmoid(margin) // the slope of log(1 + exp(margin))
			for i, v := range g[k] {
				var mean float64
				mean, spread[i] = m.take(k*s.size+i, -float64(pull*v))
				x0 := s.clean[k][i]
				to[i] = bounds.box(x0+(way[i]-float64(eta*mean)/spread[i])) - x0
				top = max(top, spread[i])
			}
			by := (1 - share[k]) / share[k] * (eta / top)
			copy(way, to)
			for range proximal {
				for i, v := range way {
					z[i] = v - float64(spread[i]/top*(v-to[i]))
				}
				s.norm.prox(room, z, by)
				apart, size := 0.0, 0.0
				for i, v := range z {
					x0 := s.clean[k][i]
					v = bounds.box(x0+v) - x0
					apart += float64((v - way[i]) * (v - way[i]))
					size += float64(v * v)
					way[i] = v
				}
				if !(apart >= float64(still*still)*size) || size == 0 {
					break
				}
			}
			switch {
			case margin > 0:
				dual[k] += theta
			case margin < 0:
				dual[k] -= theta
			}
			dual[k] = min(max(dual[k], -limit), limit)
			share[k] = float64(stays*share[k]) + float64((1-stays)*sigmoid(dual[k]))
		})
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		rows.Done()
	}
	return s.polish(ctx)
}

// sigmoid is 1/(1 + exp(-x)).
func sigmoid(x float64) float64 {
	if x < 0 {
		e := portable.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + portable.Exp(-x))
}
