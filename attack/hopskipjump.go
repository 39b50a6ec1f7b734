package attack

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// HopSkipJump asks the model for classes alone. It stands at a misread point next to the boundary,
// estimates by random points around it which way the boundary rises there, jumps that way, and goes
// back to the boundary by halving. k is how many jumps it makes. The estimate before jump t, from 0,
// takes min(100·√(t+1), 10⁴) points.
//
// Chen, Jordan, Wainwright 2020, arXiv:1904.02144, algorithms 1 and 2, with its code's constants.
func HopSkipJump(k int, seed uint64) Attack {
	return Attack{Name: "hopskipjump", Kind: "hopskipjump", Steps: k, Direction: Along, Seed: seed, Loss: Margin}
}

type hopSkipJump struct{ nearest }

const (
	// jumpStarts is how many images are looked at, at most, to find one that is misread: random ones
	// and last jumpPlain of one level, from black to white. The paper has random ones alone, which
	// some networks give one class: then no image of that class would be attacked.
	jumpStarts = 100
	jumpPlain  = 3
	// jumpLooks is how many looks a jump and the way back take together. The paper halves until the
	// boundary is known to d^-1.5 of the distance in L2 and d^-2 in L∞, for d pixels. 20 halvings
	// are as fine for 10,000 pixels in L2 and for 1,000 in L∞. Pixels in float32 are told apart no
	// finer.
	jumpLooks = 24
)

func (hopSkipJump) Facts() Facts {
	return Facts{
		Default:  HopSkipJump(64, 0),
		Options:  []string{"steps", "restarts", "norm", "seed"},
		BlackBox: true,
		About:    "minimum norm: jumps along an estimate of the boundary's slope; asks for classes alone",
		Source:   "Chen, Jordan and Wainwright 2020, arXiv:1904.02144",
	}
}

func (hopSkipJump) Label(a Attack) string { return fmt.Sprintf("HopSkipJump, k = %d", a.Steps) }

// Cost is a look for each point of an estimate, for each halving, and for each start, of which all
// are counted though one is often enough.
func (hopSkipJump) Cost(a Attack) Cost {
	c := searchCost(a, jumpLooks)
	more := jumpStarts + jumpLooks
	for t := range a.Steps {
		more += estimatePoints(t)
	}
	c.Image += float64(a.Runs() * more)
	c.Share += more
	return c
}

// estimatePoints is how many points the estimate before jump t takes.
func estimatePoints(t int) int { return min(int(100*math.Sqrt(float64(t+1))), 10_000) }

func (m hopSkipJump) Run(ctx context.Context, a Attack, rows Rows) error {
	return runNearest(ctx, m, a, rows)
}

// A jumper is a seeker that jumps along the boundary.
type jumper struct {
	*seeker
	// at [N] is the way [I] from each clean image to a misread point next to the boundary; nil of a
	// row that is misread as it is, or of which no start was found.
	at     [][]float64
	images []int // [N], as Rows.Images
}

func (hopSkipJump) Search(ctx context.Context, a Attack, rows Rows) ([]Found, error) {
	s, err := newSeeker(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	j := &jumper{s, make([][]float64, rows.N()), rows.Images()}
	if err := j.begin(ctx); err != nil {
		return nil, err
	}
	moves := slices.ContainsFunc(j.at, func(way []float64) bool { return way != nil })
	for t := range a.Steps {
		if moves {
			rise, err := j.estimate(ctx, t)
			if err != nil {
				return nil, err
			}
			if err := j.jump(ctx, rise, math.Sqrt(float64(t+1))); err != nil {
				return nil, err
			}
		}
		rows.Done()
	}
	return s.polish(ctx)
}

// begin looks for an image that is misread, and goes to the boundary from there. Pixels of random
// images are uniform within the bounds, or in [0, 1] without any. Their draws are those of step K.
func (j *jumper) begin(ctx context.Context) error {
	bounds := j.rows.Bounds()
	started := make([]bool, len(j.at))
	for k := range started {
		started[k] = j.found[k].Distance == 0
	}
	for try := 0; try < jumpStarts && slices.Contains(started, false); try++ {
		for k, done := range started {
			if done {
				continue
			}
			d, u := j.way(k), j.draw(k, j.a.Steps)
			plain := try - (jumpStarts - jumpPlain)
			for i := range d {
				share := float64(plain) / (jumpPlain - 1)
				if plain < 0 {
					share = (u.Linf(try*len(d)+i) + 1) / 2
				}
				d[i] = bounds.Lo + float64(share*bounds.Width()) - j.clean[k][i]
			}
		}
		if err := j.goThere(ctx); err != nil {
			return err
		}
		for k := range started {
			if !started[k] && j.wrong[k] {
				started[k], j.at[k] = true, slices.Clone(j.way(k))
			}
		}
	}
	still := make([][]float64, len(j.at))
	return j.jump(ctx, still, 1)
}

// draw is that of row k at a step.
func (j *jumper) draw(k, step int) *UniformDraw {
	return NewUniformDraw(j.a.Seed, j.images[k], restartOf(j.rows.Restarts(), k), step)
}

// estimate returns for each row the way [I] along which the boundary rises where the row is: of
// size 1 in L2, and signs in L∞. It is nil of a row that does not move, and where nothing is known.
// Around x it looks at points x + δ·u, u random of size 1 in L2, and takes the mean of (φ - φ̄)·u,
// where φ is 1 if the point is misread and else -1, and φ̄ is its mean: equations 8 and 16 of the
// paper. Where all φ are equal it is φ·u. u is what the bounds and the backend's precision have left
// of it. In L2 pixels of u are in proportion to sums of four random bytes, which are near normal. In
// L∞ they are uniform, as in the paper's code.
func (j *jumper) estimate(ctx context.Context, t int) ([][]float64, error) {
	bounds, points := j.rows.Bounds(), estimatePoints(t)
	n, size := len(j.at), j.size
	at := make([][]float64, n) // x
	if err := j.stand(ctx); err != nil {
		return nil, err
	}
	draws, delta := make([]*UniformDraw, n), make([]float64, n)
	sum, rise, misread := make([][]float64, n), make([][]float64, n), make([]int, n)
	for k, way := range j.at {
		if way == nil {
			continue
		}
		at[k], draws[k], delta[k] = slices.Clone(j.x[k]), j.draw(k, t), jumpDelta(t, j.norm.length(way), size)
		sum[k], rise[k] = make([]float64, size), make([]float64, size)
	}
	for point := range points {
		j.eachRow(func(m *scratch, k int) {
			if j.at[k] == nil {
				return
			}
			u := m.vector(0, size)
			for i := range u {
				if w := point*size + i; j.a.Norm == L2 {
					u[i] = float64(draws[k].Bytes(w))
				} else {
					u[i] = draws[k].Linf(w)
				}
			}
			by := 0.0
			if length := length2(u); length > 0 {
				by = delta[k] / length
			}
			d := j.way(k)
			for i, v := range u {
				d[i] = bounds.box(at[k][i]+float64(by*v)) - j.clean[k][i]
			}
		})
		if err := j.goThere(ctx); err != nil {
			return nil, err
		}
		j.eachRow(func(_ *scratch, k int) {
			if j.at[k] == nil {
				return
			}
			sign := -1.0
			if j.wrong[k] {
				sign = 1
				misread[k]++
			}
			for i, v := range j.x[k] {
				d := v - at[k][i]
				sum[k][i] += d
				rise[k][i] += float64(sign * d)
			}
		})
	}
	for k, r := range rise {
		if r == nil {
			continue
		}
		if mean := float64(2*misread[k]-points) / float64(points); math.Abs(mean) < 1 {
			for i := range r {
				r[i] -= float64(mean * sum[k][i])
			}
		}
		if largestSize(r) == 0 {
			rise[k] = nil
			continue
		}
		j.norm.steepest(r)
	}
	return rise, nil
}

// jumpDelta is how far around x the points of estimate t lie: 0.1 at first, then the distance over
// the number of pixels, which is √d·θ of it in L2 and d·θ in L∞. It is no less than 2⁻²⁰ a pixel,
// which the paper does not say: of less float32 leaves nothing.
func jumpDelta(t int, distance float64, pixels int) float64 {
	if t == 0 {
		return 0.1
	}
	return max(distance/float64(pixels), 0x1p-20*math.Sqrt(float64(pixels)))
}

// stand moves the rows to where they are next to the boundary.
func (j *jumper) stand(ctx context.Context) error {
	for k, way := range j.at {
		if way != nil {
			copy(j.way(k), way)
		}
	}
	return j.move(ctx)
}

// jump goes from where each row is along rise, its distance over by far, or half of that, and so on
// until that is misread. From there it goes back to the boundary on the way to the clean image, by
// halving: on the straight way in L2, in L∞ on the one that cuts off what is farther than the
// radius. A row without a rise goes to the boundary from where it is. One that finds nothing misread
// stays.
func (j *jumper) jump(ctx context.Context, rise [][]float64, by float64) error {
	bounds, n := j.rows.Bounds(), len(j.at)
	far, from := make([]float64, n), make([][]float64, n)
	low, high := make([]float64, n), make([]float64, n)
	land := func(k int, way []float64) {
		from[k], low[k], high[k] = slices.Clone(way), 0, j.norm.length(way)
	}
	for k, way := range j.at {
		if way == nil {
			continue
		}
		if far[k] = j.norm.length(way) / by; rise[k] == nil {
			land(k, way)
		}
	}
	for range jumpLooks {
		j.eachRow(func(m *scratch, k int) {
			way := j.at[k]
			switch d := j.way(k); {
			case way == nil:
			case from[k] == nil:
				for i, v := range rise[k] {
					d[i] = bounds.box(j.clean[k][i]+way[i]+float64(far[k]*v)) - j.clean[k][i]
				}
			default:
				copy(d, from[k])
				j.norm.shrink(m, d, (low[k]+high[k])/2)
			}
		})
		if err := j.goThere(ctx); err != nil {
			return err
		}
		for k, way := range j.at {
			switch middle := (low[k] + high[k]) / 2; {
			case way == nil:
			case from[k] == nil && j.wrong[k]:
				land(k, j.way(k))
			case from[k] == nil:
				far[k] /= 2
			case j.wrong[k]:
				high[k] = middle
			default:
				low[k] = middle
			}
		}
	}
	j.eachRow(func(m *scratch, k int) {
		if from[k] != nil {
			j.norm.shrink(m, from[k], high[k])
			j.at[k] = from[k]
		}
	})
	return nil
}
