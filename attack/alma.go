package attack

import (
	"context"
	"fmt"
	"math"

	"advsweep/internal/portable"
)

// ALMA makes the distance smaller under the constraint that the image is misread, by an augmented
// Lagrangian: RMSProp on the distance and a penalty of the DLR loss, whose multiplier follows the
// penalty's slope, and whose weight grows until the image is misread. k is how many steps.
//
// Rony, Granger, Pedersoli, Ben Ayed 2021, arXiv:2011.11857, algorithm 1, with its penalty P2.
func ALMA(k int) Attack {
	return Attack{Name: "alma", Kind: "alma", Steps: k, Direction: Along, Norm: L2, Loss: DLR}
}

// ALMATargeted is ALMA towards one class after another, targets of them, those with the largest
// logits of the clean image, the label left out. An image has as many steps towards each.
//
// The paper has one target; so many are FAB's (Croce and Hein 2020, arXiv:2003.01690, section 5).
func ALMATargeted(k, targets int) Attack {
	a := ALMA(k)
	a.Name, a.Kind, a.Restarts, a.Target = "alma-t", "alma-t", targets, ByRank
	return a
}

type alma struct{ nearest }

func (alma) Facts() Facts {
	return Facts{
		Default: ALMA(1000),
		Options: []string{"steps", "norm"},
		Norms:   []Norm{L2, L1},
		OwnLoss: true,
		About:   "minimum norm: gradient steps on distance and a penalty, by an augmented Lagrangian",
		Source:  "Rony et al. 2021, arXiv:2011.11857",
	}
}

func (alma) Label(a Attack) string { return fmt.Sprintf("ALMA, k = %d", a.Steps) }

// Cost is a gradient a step.
func (alma) Cost(a Attack) Cost { return searchCost(a, 2) }

func (m alma) Run(ctx context.Context, a Attack, rows Rows) error { return runNearest(ctx, m, a, rows) }

// An almaRow is what the search knows of one row.
type almaRow struct {
	multiplier, weight float64 // the paper's μ and ρ
	penalty            float64 // by what part of its slope the penalty counts at this look
	ratio              float64 // the difference of logits ratio; negative where the image is misread
	before             float64 // ratio at the last check of the weight
	rate               float64 // of the first step
	misread            bool    // whether it ever was misread
	found              int     // the step at which it first was
}

func (alma) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	// The paper's: how much of the means stays at a step, how many steps lie between two checks of
	// the weight, by what factor it grows, unless the ratio fell below this part of it, and the part
	// of the first rate that the last step has.
	const stays, between, grows, fell, last = 0.9, 10, 1.2, 0.95, 0.01
	// How much more than misread an image is to be, and what a multiplier may be.
	const beyond, least, most = 1e-4, 1e-6, 1e12
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	bounds, n := rows.Bounds(), rows.N()
	at := make([]almaRow, n)
	for k := range at {
		at[k] = almaRow{multiplier: 1, weight: 1}
	}
	in := almaNorms[a.Norm]
	square, pace := make([]float64, len(s.along)), make([]float64, len(s.along))
	for i := range square {
		square[i] = 1
	}
	for step := range a.Steps {
		g, err := s.see(ctx, func(k int, z, q []float64) {
			r := &at[k]
			label, target := int(s.labels[k]), targetOf(s.rows, k)
			up, down := dlrParts(z, label, target)
			value := -up / down
			if r.ratio = value; step == 0 {
				r.before = value
			} else {
				if (step+1)%between == 0 {
					if !(r.misread || value < 0 || value < fell*r.before) {
						r.weight *= grows
					}
					r.before = value
				}
				slope := penaltySlope(value+beyond, r.weight, r.multiplier)
				r.multiplier = min(max(float64(stays*r.multiplier)+float64((1-stays)*slope), least), most)
			}
			r.penalty = penaltySlope(value+beyond, r.weight, r.multiplier)
			// What LossGradient writes is the gradient times down/max(|ratio|, 1).
			_ = LossGradient(DLR, q, z, label, target) // a loss that is known
			for j := range q {
				q[j] *= max(math.Abs(value), 1) / down
			}
		})
		if err != nil {
			return nil, err
		}
		s.noteZero(g)
		s.eachRow(func(m *scratch, k int) {
			if s.found[k].Distance == 0 {
				return
			}
			r, way, length := &at[k], s.way(k), m.vector(0, s.size)
			if r.ratio < 0 && !r.misread {
				r.misread, r.found = true, step
			}
			slope := g[k] // of what becomes smaller; g is that of -ratio
			for i, v := range slope {
				slope[i] = -float64(r.penalty * v)
			}
			if copy(length, way); s.norm.length(length) > 0 { // at 0 it has no slope
				in.slope(length)
				for i, v := range length {
					slope[i] += v
				}
			}
			if step == 0 {
				r.rate = s.almaRate(m, slope, s.clean[k], in.first)
			}
			rate := r.rate
			if r.misread {
				rate *= portable.Pow(last, float64(step-r.found)/float64(a.Steps-r.found))
			}
			for i, v := range slope {
				e := k*s.size + i
				square[e] = float64(stays*square[e]) + float64((1-stays)*float64(v*v))
				pace[e] = float64(stays*pace[e]) + v/(math.Sqrt(square[e])+1e-8)
				x0 := s.clean[k][i]
				way[i] = bounds.box(x0+(way[i]-float64(rate*pace[e]))) - x0
			}
		})
		if err := s.move(ctx); err != nil {
			return nil, err
		}
		rows.Done()
	}
	return s.polish(ctx)
}

// penaltySlope is the derivative at y of the penalty P2: μy + μρy² + ρ²y³/6 where y is not
// negative, and else μy/(1 - ρy), with the weight ρ and the multiplier μ.
func penaltySlope(y, weight, multiplier float64) float64 {
	if y >= 0 {
		return multiplier + float64(2*multiplier*weight*y) + float64(weight*weight*y*y/2)
	}
	below := 1 - float64(weight*y)
	return multiplier / (below * below)
}

// almaNorms are the norms of ALMA: how far the first step goes, as in its authors' experiments, and
// what makes a way the slope of its length. That is the steepest way in the dual norm.
var almaNorms = map[Norm]struct {
	first float64
	slope func(way []float64)
}{
	L2: {0.1, norms[L2].steepest},
	L1: {0.5, norms[Linf].steepest},
}

// almaRate is the rate at which a plain step against slope [I] from x0 [I] is so far in the norm of
// the attack within bounds, as in the code of the authors; the largest that is tried if none is.
func (s *seeker) almaRate(m *scratch, slope, x0 []float64, far float64) float64 {
	const most = 0x1p40
	bounds, d := s.rows.Bounds(), m.vector(1, s.size)
	length := func(rate float64) float64 {
		for i, v := range slope {
			d[i] = bounds.box(x0[i]-float64(rate*v)) - x0[i]
		}
		return s.norm.length(d)
	}
	low, high := 0.0, 1.0
	for length(high) < far && high < most {
		low, high = high, 2*high
	}
	for range 30 { // to a millionth and less
		if middle := (low + high) / 2; length(middle) < far {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

type almaTargeted struct{ alma }

func (almaTargeted) Facts() Facts {
	f := alma{}.Facts()
	f.Default = ALMATargeted(300, 3)
	f.Options = []string{"steps", "targets", "norm"}
	f.About = "alma towards the classes next in the clean image, one after the other"
	return f
}

func (almaTargeted) Label(a Attack) string { return fmt.Sprintf("ALMA-T, k = %d", a.Steps) }

func (m almaTargeted) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}
