package attack

import (
	"context"
	"fmt"
	"math"

	"advsweep/internal/portable"
)

// CarliniWagner is the L2 attack of Carlini and Wagner: Adam on the square of the distance plus c
// times the margin, for nine values of c, by halving between those that are enough and those that
// are not. k is how many steps each takes. With bounds the pixels are those of a tanh, which keeps
// them inside.
//
// Carlini and Wagner 2017, arXiv:1608.04644, sections V and VI.A, with its code's constants.
func CarliniWagner(k int) Attack {
	return Attack{Name: "carlini-wagner", Kind: "carlini-wagner", Steps: k, Direction: Along, Loss: Margin, Norm: L2}
}

type carliniWagner struct{ nearest }

// carliniSearches is how many values of c there are.
const carliniSearches = 9

func (carliniWagner) Facts() Facts {
	return Facts{
		Default: CarliniWagner(200),
		Options: []string{"steps"},
		About:   "minimum norm, L2: Adam on distance² + c·margin, nine values of c, k steps each",
		Source:  "Carlini and Wagner 2017, arXiv:1608.04644",
	}
}

func (carliniWagner) Label(a Attack) string {
	return fmt.Sprintf("C&W, k = %d × %d", a.Steps, carliniSearches)
}

// Cost is a gradient and a look a step.
func (carliniWagner) Cost(a Attack) Cost { return searchCost(a, 3*carliniSearches) }

func (m carliniWagner) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

// A squeeze maps numbers to pixels within the bounds, and without bounds to themselves.
type squeeze struct{ bounds Bounds }

// from returns the number whose pixel is x, or one near it at the bounds, where there is none.
func (q squeeze) from(x float64) float64 {
	if q.bounds.None() {
		return x
	}
	const inside = 1 - 1e-6
	t := float64((2*(x-q.bounds.Lo)/q.bounds.Width() - 1) * inside)
	return (portable.Log(1+t) - portable.Log(1-t)) / 2
}

// to returns the pixel of w, and its slope there.
func (q squeeze) to(w float64) (x, slope float64) {
	if q.bounds.None() {
		return w, 1
	}
	t := portable.Tanh(w)
	half := q.bounds.Width() / 2
	return q.bounds.Lo + float64((t+1)*half), (1 - float64(t*t)) * half
}

func (carliniWagner) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	const rate, firstC, growth = 0.01, 1e-3, 10
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	q := squeeze{rows.Bounds()}
	n, size := rows.N(), s.size
	c, low, high := make([]float64, n), make([]float64, n), make([]float64, n)
	for k := range n {
		c[k], high[k] = firstC, math.Inf(1)
	}
	w, slope := make([]float64, n*size), make([]float64, n*size)
	m := newAdam(n * size)
	enough := make([]bool, n)
	put := func() { // writes the ways of w
		s.eachRow(func(_ *scratch, k int) {
			for i, x0 := range s.clean[k] {
				at := k*size + i
				var x float64
				x, slope[at] = q.to(w[at])
				s.along[at] = x - x0
			}
		})
	}
	noteEnough := func() { // takes in which rows are misread where they are
		for k, wrong := range s.wrong {
			enough[k] = enough[k] || wrong
		}
	}
	taken := 0
	for range carliniSearches {
		m.reset()
		clear(enough)
		for at := range w {
			w[at] = q.from(s.clean[at/size][at%size])
		}
		put()
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		for step := range a.Steps {
			g, rival, err := s.seeRivals(ctx)
			if err != nil {
				return nil, err
			}
			if step > 0 {
				noteEnough()
			}
			m.next()
			s.eachRow(func(_ *scratch, k int) {
				pull := 0.0 // of the margin z_label - z_rival, while it is above 0
				if s.lead(k, rival[k]) <= 0 {
					pull = c[k]
				}
				for i, v := range g[k] {
					at := k*size + i
					d := float64(2*s.along[at]) - float64(pull*v)
					d *= slope[at]
					mean, spread := m.take(at, d)
					w[at] -= rate * mean / spread
				}
			})
			put()
			if err := s.move(ctx); err != nil {
				return nil, err
			}
			if taken++; taken%carliniSearches == 0 {
				rows.Done()
			}
		}
		if err := s.look(ctx); err != nil {
			return nil, err
		}
		noteEnough()
		for k := range n {
			if enough[k] {
				high[k] = c[k]
			} else {
				low[k] = c[k]
			}
			if math.IsInf(high[k], 1) {
				c[k] *= growth
			} else {
				c[k] = (low[k] + high[k]) / 2
			}
		}
	}
	return s.polish(ctx)
}
