package attack

import (
	"context"
	"fmt"
	"math"
)

// runL1 is APGD in L1: steps along the signs of the steepest pixels, whose number adapts to each
// image as the sizes of steps do. It begins in a ball of three times eps, goes on in one of twice
// and ends in that of eps, each time from the best point so far, brought into the ball: 30, 30 and
// 40 % of the steps.
//
// Croce and Hein 2021, arXiv:2103.01208: algorithm 1, and section 4.3 for the three balls.
func (apgd) runL1(ctx context.Context, a Attack, rows Rows) error {
	s, err := newSparse(ctx, a, rows)
	if err != nil {
		return err
	}
	for _, ball := range ballsL1(a.Steps) {
		if err := s.run(ctx, ball.radius, ball.steps); err != nil {
			return err
		}
	}
	return s.end(ctx)
}

// A ballL1 is what APGD in L1 does in one ball, of radius times eps: so many steps.
type ballL1 struct {
	radius float64
	steps  int
}

// ballsL1 are those of so many steps.
func ballsL1(steps int) []ballL1 {
	early := 3 * steps / 10
	if early == 0 {
		return []ballL1{{1, steps}}
	}
	return []ballL1{{3, early}, {2, early}, {1, steps - 2*early}}
}

// sparse are the rows of APGD in L1. All ways are from the clean images.
type sparse struct {
	*holder
	labels []int32
	eps    []float64   // [N]
	at     []sparseRow // [N]
	begun  bool        // whether there was a ball before
}

// A sparseRow is what is known of one row.
type sparseRow struct {
	loss      float64
	best      float64
	bestWay   []float64 // [I]
	slope     []float64 // [I], a positive multiple of the gradient of the loss at the row's point
	bestSlope []float64 // [I], at bestWay
	fooled    []float64 // [I], the way to the last misread point in the ball of eps; nil if there is none
	size      float64   // of a step
	share     float64   // of the pixels that a step moves
	before    float64   // how many pixels bestWay moved at the last checkpoint
}

func newSparse(ctx context.Context, a Attack, rows Rows) (*sparse, error) {
	h, err := newHolder(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	n, columns := rows.N(), rows.Columns()
	s := &sparse{holder: h, labels: rows.Labels(), eps: make([]float64, n), at: make([]sparseRow, n)}
	near, images := make([]int32, h.size), rows.Images()
	for k := range s.at {
		s.eps[k] = columns[k%len(columns)]
		// A point that is normal in every pixel, before it is brought into the ball.
		NewUniformDraw(a.Seed, images[k], restartOf(rows.Restarts(), k), a.Steps).L2(near)
		for i, v := range near {
			h.way(k)[i] = float64(v) / byteSpread
		}
		s.at[k].bestWay, s.at[k].bestSlope = make([]float64, h.size), make([]float64, h.size)
	}
	return s, nil
}

// byteSpread is the standard deviation of the sum of four random bytes: √(4·(256² - 1)/12).
const byteSpread = 147.8005412710883

// run takes so many steps in the balls of radius times eps.
func (s *sparse) run(ctx context.Context, radius float64, steps int) error {
	const firstShare, fewer, stale, shrink, least = 0.2, 1.5, 0.95, 1.5, 10
	s.eachRow(func(m *scratch, k int) {
		r := &s.at[k]
		if s.begun {
			copy(s.way(k), r.bestWay)
		}
		s.project(m, k, radius*s.eps[k])
		r.size, r.share, r.before = radius*s.eps[k], firstShare, float64(s.size)
		if s.begun {
			r.before = moved(s.way(k))
			r.share = r.before / float64(s.size) / fewer
		}
	})
	s.begun = true
	inside := radius == 1
	if err := s.look(ctx, true, inside); err != nil {
		return err
	}
	period := max(1, int(0.04*float64(steps)))
	for step := range steps {
		s.eachRow(func(m *scratch, k int) { s.move(m, k, radius*s.eps[k]) })
		if err := s.look(ctx, false, inside); err != nil {
			return err
		}
		s.rows.Done()
		if (step+1)%period != 0 {
			continue
		}
		for k := range s.at {
			r := &s.at[k]
			now := moved(r.bestWay)
			r.share = now / float64(s.size) / fewer
			if now < stale*r.before {
				r.size = radius * s.eps[k]
				copy(s.way(k), r.bestWay)
				copy(r.slope, r.bestSlope)
			} else {
				r.size = max(r.size/shrink, radius*s.eps[k]/least)
			}
			r.before = now
		}
	}
	return nil
}

// project brings row k's way into the ball of a radius and the bounds.
func (s *sparse) project(m *scratch, k int, radius float64) {
	intoL1(m, s.way(k), s.clean[k], radius, s.rows.Bounds())
}

// move takes row k a step in the ball of a radius.
func (s *sparse) move(m *scratch, k int, radius float64) {
	r := &s.at[k]
	most := s.size - int((1-r.share)*float64(s.size))
	keepLargest(m, r.slope, max(most, 1))
	d := s.way(k)
	if n := moved(r.slope); n > 0 {
		for i, v := range r.slope {
			if v != 0 {
				d[i] += math.Copysign(r.size/n, v)
			}
		}
	}
	s.project(m, k, radius)
}

// look goes to where the ways lead, and takes in what the model says there. inside says that these
// are points of the ball of eps.
func (s *sparse) look(ctx context.Context, first, inside bool) error {
	if err := s.holder.move(ctx); err != nil {
		return err
	}
	if !s.a.Loss.known() {
		return fmt.Errorf("attack: %s: unknown loss %d", s.a.Name, int(s.a.Loss))
	}
	logits, g, err := s.rows.See(ctx, func(k int, z, q []float64) {
		_ = LossGradient(s.a.Loss, q, z, int(s.labels[k]), targetOf(s.rows, k)) // its error is that of the loss above
	})
	if err != nil {
		return err
	}
	for k, z := range logits {
		loss, misread, err := s.a.judge(s.rows, k, s.labels[k], z)
		if err != nil {
			return err
		}
		s.at[k].loss = loss
		if misread && inside {
			s.at[k].fooled = append(s.at[k].fooled[:0], s.way(k)...)
		}
	}
	for k := range s.at {
		r := &s.at[k]
		if r.slope = g[k]; first || r.loss > r.best {
			r.best = r.loss
			copy(r.bestWay, s.way(k))
			copy(r.bestSlope, r.slope)
		}
	}
	return nil
}

// end goes to a misread point of each row, and else to the one with the largest loss.
func (s *sparse) end(ctx context.Context) error {
	for k := range s.at {
		if r := &s.at[k]; r.fooled != nil {
			copy(s.way(k), r.fooled)
		} else {
			copy(s.way(k), r.bestWay)
		}
	}
	return s.holder.move(ctx)
}
