package attack

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// Square asks the model for logits alone: a random search that changes one square window of the
// image at a time, and keeps the change where the margin falls. queries is how many points it looks
// at.
//
// Andriushchenko, Croce, Flammarion, Hein 2020, arXiv:1912.00049: algorithms 1 to 3.
func Square(queries int, seed uint64) Attack {
	return Attack{Name: "square", Kind: "square", Steps: queries, Direction: Along, Seed: seed, Loss: Margin}
}

// square draws each image's windows and signs by themselves, where the authors' code has one window
// for a whole batch.
type square struct{}

// squareShare is how large a part of the image the first windows are: p of section 4.1, as it is in
// AutoAttack.
const squareShare = 0.8

func (square) Facts() Facts {
	return Facts{
		Default:   Square(5000, 0),
		Options:   []string{"steps", "restarts", "norm", "target", "seed"},
		Norms:     []Norm{Linf, L2, L1},
		MostSteps: 1<<16 - 1,
		BlackBox:  true,
		About:     "random squares, kept where the margin falls; asks for logits alone, k times",
		Source:    "Andriushchenko et al. 2020, arXiv:1912.00049; L1: Croce and Hein 2021, arXiv:2103.01208",
	}
}

func (square) Label(a Attack) string { return fmt.Sprintf("Square, %d queries", a.Steps) }

// Cost is a forward pass for each query.
func (square) Cost(a Attack) Cost { return Cost{Row: float64(a.Steps), Share: 1 + a.Steps} }

// Ray is false: where it goes depends on what the model says.
func (square) Ray(Attack) bool { return false }

// Run looks at K points, the start among them. A row that has another class than its label stays
// there. Where none is left that may still change, the rest is left out.
func (square) Run(ctx context.Context, a Attack, rows Rows) error {
	s, err := newSquares(ctx, a, rows)
	if err != nil {
		return err
	}
	const slotBest = 0
	n, E := rows.N(), len(rows.Columns())
	best, wrong, take, drop := make([]float64, n), make([]bool, n), make([]bool, n), make([]bool, n)
	for k := range wrong {
		wrong[k] = rows.Columns()[k%E] == 0 // which no step moves
	}
	labels := rows.Labels()
	for query := range a.Steps {
		if query > 0 && !slices.Contains(wrong, false) {
			rows.Done()
			continue
		}
		step := a.Move(query, rows)
		step.Ball = true
		s.propose(query, &step, wrong)
		if s.points != nil { // a proposal is a point, not a way from the last one
			if err := toClean(ctx, rows); err != nil {
				return err
			}
		}
		if err := rows.Step(ctx, step); err != nil {
			return err
		}
		logits, err := rows.Logits(ctx)
		if err != nil {
			return err
		}
		for k, z := range logits {
			loss, fooled, err := a.judge(rows, k, labels[k], z)
			if err != nil {
				return err
			}
			take[k] = query == 0 || !wrong[k] && (loss > best[k] || fooled)
			if drop[k] = !take[k]; take[k] {
				best[k], wrong[k] = loss, wrong[k] || fooled
				s.take(k)
			}
		}
		if err := rows.Keep(ctx, slotBest, take); err != nil {
			return err
		}
		if err := rows.Restore(ctx, slotBest, drop); err != nil {
			return err
		}
		rows.Done()
	}
	return nil
}

// squares are the perturbations of the rows of a batch, and what their next ones are made of.
// propose writes next, along and sizes, take writes delta.
type squares struct {
	a        Attack
	c, h, w  int
	columns  []float64
	images   []int
	restarts []int
	bounds   Bounds
	along    []float64 // [N·I]
	*points            // what L2 and L1 need besides; nil for Linf
}

// points are what proposals need that are points in a ball of L2 or L1.
type points struct {
	clean       [][]float64 // [N][I]
	delta, next [][]float64 // [N][I], x - x0 of the best point, and of the one proposed
	bump        []float64   // [side, side]
	// fill puts a perturbation into a window of row k, and place makes what is next the way to go.
	fill  func(k, query int, u *UniformDraw)
	place func(k int)
	// The k-th rectangle of a bump, from 0, is of 1/(k+1)^fall. A bump has the norm 1.
	fall int
	norm geometry

	memory scratch
}

// newSquares returns those of rows, which are at their clean images.
func newSquares(ctx context.Context, a Attack, rows Rows) (*squares, error) {
	s := &squares{a: a, columns: rows.Columns(), images: rows.Images(), restarts: rows.Restarts(), bounds: rows.Bounds()}
	s.c, s.h, s.w = rows.Shape()
	n, size := rows.N(), s.c*s.h*s.w
	s.along = make([]float64, n*size)
	if a.Norm == Linf {
		return s, nil
	}
	s.points = &points{delta: make([][]float64, n), next: make([][]float64, n), bump: make([]float64, s.h*s.w)}
	switch a.Norm {
	case L2:
		s.fill, s.place, s.fall, s.norm = s.windowL2, s.placeL2, 2, norms[L2]
	case L1:
		s.fill, s.place, s.fall, s.norm = s.windowL1, s.placeL1, 4, norms[L1]
	default:
		return nil, fmt.Errorf("attack: %s: norm %v, want %s", a.Name, a.Norm, namesOf(square{}.Facts().norms()))
	}
	var err error
	s.clean, err = rows.Pixels(ctx)
	for k := range n {
		s.delta[k], s.next[k] = make([]float64, size), make([]float64, size)
	}
	return s, err
}

// draw returns the random numbers of row k for a query. Word 0 to 3 are places of windows, word 4
// has the way that a bump lies, and from word 8 on there are signs, a bit each.
func (s *squares) draw(k, query int) *UniformDraw {
	return NewUniformDraw(s.a.Seed, s.images[k], restartOf(s.restarts, k), query)
}

// below returns a number from 0 to n-1 of word i.
func below(u *UniformDraw, i, n int) int { return int(uint64(u.Word(i)) * uint64(n) >> 32) }

// signBit returns 1 or -1 by bit i of the signs.
func signBit(u *UniformDraw, i int) float64 {
	return 1 - 2*float64(u.Word(8+i/32)>>(i%32)&1)
}

// propose writes to step where each row goes that is not done.
func (s *squares) propose(query int, step *Step, done []bool) {
	clear(s.along)
	step.Along, step.Size = s.along, make([]float64, len(s.columns))
	for e, eps := range s.columns {
		switch {
		case s.points != nil:
			step.Size[e] = 1
		case query == 0:
			step.Size[e] = eps
		default:
			step.Size[e] = 2 * eps // from any point of the ball to its side, as far as the bounds let it
		}
	}
	for k := range done {
		if done[k] {
			if s.points != nil {
				copy(s.row(k), s.delta[k])
			}
			continue
		}
		u := s.draw(k, query)
		switch {
		case s.points != nil && query == 0:
			s.bumps(k, u)
		case s.points != nil:
			s.fill(k, query, u)
		case query == 0:
			s.stripes(k, u)
		default:
			s.window(k, query, u)
		}
	}
}

// take makes what was proposed for row k its best point.
func (s *squares) take(k int) {
	if s.points != nil {
		copy(s.delta[k], s.row(k))
	}
}

func (s *squares) row(k int) []float64 {
	size := s.c * s.h * s.w
	return s.along[k*size:][:size]
}

// stripes gives each column of pixels of each channel a sign, as section 4.2 says.
func (s *squares) stripes(k int, u *UniformDraw) {
	d := s.row(k)
	for c := range s.c {
		for x := range s.w {
			v := signBit(u, c*s.w+x)
			for y := range s.h {
				d[(c*s.h+y)*s.w+x] = v
			}
		}
	}
}

// part returns which part of the image the windows of a query are. AutoAttack leaves the schedule
// as it is for 10,000 queries, and so do we.
func (square) part(query int) float64 {
	p := squareShare
	for _, from := range []int{10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000} {
		if query > from {
			p /= 2
		}
	}
	return p
}

// side is the side of the windows of a query, in pixels.
func (s *squares) side(query int) int {
	side := int(math.RoundToEven(math.Sqrt(square{}.part(query) * float64(s.h*s.w))))
	return min(max(side, 1), s.h, s.w)
}

// window gives each channel of one window a sign: algorithm 2.
func (s *squares) window(k, query int, u *UniformDraw) {
	side := s.side(query)
	top, left := below(u, 0, s.h-side+1), below(u, 1, s.w-side+1)
	d := s.row(k)
	for c := range s.c {
		v := signBit(u, c)
		for y := top; y < top+side; y++ {
			row := d[(c*s.h+y)*s.w:]
			for x := left; x < left+side; x++ {
				row[x] = v
			}
		}
	}
}

// bumps fills the image with bumps of random signs, five along each side: section 4.3.
func (s *squares) bumps(k int, u *UniformDraw) {
	const along = 5
	next := s.next[k]
	clear(next)
	high, wide := max(1, s.h/along), max(1, s.w/along)
	side := min(high, wide)
	bit := 0
	for top := (s.h - s.h/side*side) / 2; top+side <= s.h; top += side {
		for left := (s.w - s.w/side*side) / 2; left+side <= s.w; left += side {
			s.makeBump(side, signBit(u, bit) < 0)
			bit++
			for c := range s.c {
				v := signBit(u, bit)
				bit++
				s.each(c, top, left, side, func(at, in int) { next[at] = v * s.bump[in] })
			}
		}
	}
	s.place(k)
}

// each calls f for each pixel of a window of channel c, with its place in the image and in the
// window.
func (s *squares) each(c, top, left, side int, f func(at, in int)) {
	for y := range side {
		for x := range side {
			f((c*s.h+top+y)*s.w+left+x, y*side+x)
		}
	}
}

// windows returns the odd side of two windows of a query, and the places of the one that is filled
// and of the one that is emptied.
func (s *squares) windows(query int, u *UniformDraw) (side, top, left, from, beside int) {
	side = min(max(s.side(query), 3)|1, s.h, s.w)
	return side, below(u, 0, s.h-side+1), below(u, 1, s.w-side+1), below(u, 2, s.h-side+1), below(u, 3, s.w-side+1)
}

// windowL2 empties one window of the perturbation and puts what that had, and what the ball has
// left, into a bump in another: algorithm 3.
func (s *squares) windowL2(k, query int, u *UniformDraw) {
	side, top, left, from, beside := s.windows(query, u)
	delta, next := s.delta[k], s.next[k]
	copy(next, delta)
	both, here := 0.0, 0.0 // squares of norms: of both windows, of the one to fill
	for c := range s.c {
		s.each(c, from, beside, side, func(at, _ int) { next[at] = 0 })
		s.each(c, top, left, side, func(at, _ int) {
			here += float64(delta[at] * delta[at])
			next[at] = 0
		})
	}
	for i, v := range delta {
		if next[i] == 0 {
			both += float64(v * v)
		}
	}
	eps := s.columns[k%len(s.columns)]
	room := math.Sqrt(math.Max(float64(eps*eps)-sumOfSquares(delta), 0)/float64(s.c) + both)
	s.makeBump(side, u.Word(4)>>31 != 0)
	here = math.Sqrt(here) + 1e-12
	for c := range s.c {
		sign, norm := signBit(u, c), 0.0
		s.each(c, top, left, side, func(at, in int) {
			next[at] = float64(sign*s.bump[in]) + delta[at]/here
			norm += float64(next[at] * next[at])
		})
		scale := room / (math.Sqrt(norm) + 1e-12)
		s.each(c, top, left, side, func(at, _ int) { next[at] *= scale })
	}
	s.place(k)
}

// windowL1 is windowL2 with norms of L1, those of each channel by itself: what the ball has left goes
// to every channel, as in the code of the paper on L1, and the ball takes back what is too much.
func (s *squares) windowL1(k, query int, u *UniformDraw) {
	side, top, left, from, beside := s.windows(query, u)
	delta, next := s.delta[k], s.next[k]
	copy(next, delta)
	s.makeBump(side, u.Word(4)>>31 != 0)
	room := max(s.columns[k%len(s.columns)]-sumOfSizes(delta), 0)
	for c := range s.c {
		both, here := 0.0, 0.0 // of both windows, of the one to fill
		s.each(c, from, beside, side, func(at, _ int) {
			both += math.Abs(next[at])
			next[at] = 0
		})
		s.each(c, top, left, side, func(at, _ int) {
			here += math.Abs(delta[at])
			both += math.Abs(next[at])
		})
		sign, norm := signBit(u, c), 0.0
		s.each(c, top, left, side, func(at, in int) {
			next[at] = float64(sign*s.bump[in]) + delta[at]/(here+1e-12)
			norm += math.Abs(next[at])
		})
		scale := (room/float64(s.c) + both) * float64(s.c) / (norm + 1e-12)
		s.each(c, top, left, side, func(at, _ int) { next[at] *= scale })
	}
	s.place(k)
}

// placeL1 brings what is next for row k into the ball of eps and the bounds, and makes it the way to
// go from the clean image. The ball is smaller by a millionth than it may be, so that rounded pixels
// lie in it.
func (s *squares) placeL1(k int) {
	d := s.row(k)
	copy(d, s.next[k])
	intoL1(&s.memory, d, s.clean[k], s.columns[k%len(s.columns)]*(1-1e-6), s.bounds)
}

// placeL2 scales what is next for row k to length eps, keeps it in the bounds, and makes it the way
// to go from the clean image.
func (s *squares) placeL2(k int) {
	scale := s.columns[k%len(s.columns)] / (length2(s.next[k]) + 1e-12)
	d := s.row(k)
	for i, v := range s.next[k] {
		d[i] = float64(scale * v)
		if x0 := s.clean[k][i]; !s.bounds.None() {
			d[i] = min(max(x0+d[i], s.bounds.Lo), s.bounds.Hi) - x0
		}
	}
}

// makeBump writes a bump [side, side] of norm 1: two halves of opposite signs, one above the other
// or beside it. A half is a sum of growing rectangles round its middle.
func (s *squares) makeBump(side int, beside bool) {
	b := s.bump[:side*side]
	clear(b)
	for half, top := range []int{0, side / 2} {
		high := [2]int{side / 2, side - side/2}[half]
		middle, centre := top+high/2, side/2
		for y := top; y < top+high; y++ {
			for x := range side {
				v := 0.0
				for k := max(distance(y, middle), distance(x, centre)); k <= max(high, side)/2; k++ {
					power := 1.0
					for range s.fall {
						power *= float64(k + 1)
					}
					v += 1 / power
				}
				if half == 1 {
					v = -v
				}
				at := y*side + x
				if beside {
					at = x*side + y
				}
				b[at] = v
			}
		}
	}
	norm := s.norm.length(b)
	for i := range b {
		b[i] /= norm
	}
}

func distance(a, b int) int { return max(a-b, b-a) }
