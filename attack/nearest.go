package attack

import (
	"context"
	"fmt"
	"math"
	"slices"

	"advsweep/internal/threads"
)

// A Nearest is a Method whose attacks do not know eps. Of each image they look for the nearest one
// that is misread, in the attack's norm: an attack of minimum norm. So one search serves every eps,
// and the curve is known at all of them.
type Nearest interface {
	Method
	// Search looks at points around the clean images, where rows are, and returns what it found of
	// each row, [N]. It calls rows.Done a.Steps times. The rows of an image differ in their restart
	// alone. Their eps is as large as any distance that matters, and is no part of the search. It
	// returns an error of rows as it is, or NotFiniteRow.
	Search(ctx context.Context, a Attack, rows Rows) ([]Found, error)
}

// Found is what a search has found of one row.
type Found struct {
	// Along is the way [I] from the clean image to the nearest misread point that was looked at, as
	// Step.Along takes it at size 1; nil if there is none.
	Along []float64
	// Distance is the norm of what lies between them, +Inf if there is none. It is that of the
	// search: what a result says of distances a backend measures.
	Distance float64
	// Zero is set if a gradient that the search goes along was zero in every pixel.
	Zero bool
}

// MinimumNorm reports whether the attack looks for the nearest misread image, whatever eps.
func (a Attack) MinimumNorm() bool {
	m, err := MethodOf(a.Kind)
	_, ok := m.(Nearest)
	return err == nil && ok
}

// Search is Nearest.Search of the attack's kind. It returns an error for another kind.
func (a Attack) Search(ctx context.Context, rows Rows) ([]Found, error) {
	m, err := MethodOf(a.Kind)
	if err != nil {
		return nil, err
	}
	n, ok := m.(Nearest)
	if !ok {
		return nil, fmt.Errorf("attack: %s is no attack of minimum norm", a.Name)
	}
	return n.Search(ctx, a, rows)
}

// Place moves each row k, which is at its clean image, to what was found of it, where found[k] has
// something and the row's eps is not below the distance.
func (a Attack) Place(ctx context.Context, rows Rows, found []Found) error {
	columns, size := rows.Columns(), inputs(rows)
	along := make([]float64, rows.N()*size)
	for k, f := range found {
		if f.Along != nil && f.Distance <= columns[k%len(columns)] {
			copy(along[k*size:], f.Along)
		}
	}
	return rows.Step(ctx, a.along(rows, along))
}

// along is the step of rows, which are at their clean images, along [N·I], at size 1. It keeps them
// in the ball of each one's eps and in the bounds.
func (a Attack) along(rows Rows, along []float64) Step {
	s := a.step(0, rows.Columns(), rows.Bounds())
	s.Direction, s.Along, s.Ball, s.Restarts = Along, along, true, rows.Restarts()
	for e := range s.Size {
		s.Size[e] = 1
	}
	return s
}

// nearest is what the kinds share that look for the nearest misread image.
type nearest struct{}

// Ray is false: where it goes depends on what the model says.
func (nearest) Ray(Attack) bool { return false }

// searchCost is the cost of a search whose steps take each passes: a look before them, and those of
// polish.
func searchCost(a Attack, each int) Cost {
	one := 1 + halvings + each*a.Steps
	return Cost{Image: float64(a.Runs() * one), Share: 1 + one}
}

// runNearest is Method.Run of n: it searches and goes to what it found. Bounds keep the search
// within the eps of each row then, so that a caller who can gives a search rows of a larger eps.
func runNearest(ctx context.Context, n Nearest, a Attack, rows Rows) error {
	found, err := n.Search(ctx, a, rows)
	if err != nil {
		return err
	}
	if err := toClean(ctx, rows); err != nil {
		return err
	}
	return a.Place(ctx, rows, found)
}

// slotClean is a slot that neither a search nor Square keeps anything in, so that it has the clean
// images.
const slotClean = 1

// toClean moves all rows to their clean images.
func toClean(ctx context.Context, rows Rows) error {
	all := make([]bool, rows.N())
	for k := range all {
		all[k] = true
	}
	return rows.Restore(ctx, slotClean, all)
}

// A holder holds where the rows of an attack are that decides in float64, above the backends, where
// they go. A backend moves each row from its clean image along a way in its own precision, and
// pixels are read back from it, so that x is where the row is to the last bit.
type holder struct {
	a        Attack
	rows     Rows
	size     int         // I
	clean, x [][]float64 // [N][I]
	along    []float64   // [N·I], the way from clean to x
	memory   []scratch   // of each thread of eachRow
}

// newHolder returns that of rows, which are at their clean images.
func newHolder(ctx context.Context, a Attack, rows Rows) (*holder, error) {
	x, err := rows.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	size, clean := inputs(rows), make([][]float64, len(x))
	for k := range x {
		clean[k] = slices.Clone(x[k]) // x lasts until the next Pixels
	}
	return &holder{
		a: a, rows: rows, size: size, clean: clean, x: x, along: make([]float64, rows.N()*size),
		memory: make([]scratch, max(1, min(rows.Threads(), rows.N()))),
	}, nil
}

// eachRow calls f for every row k on the threads that the rows have, with the memory of the thread.
// f may write to what is row k's alone, so that no result depends on the threads.
func (h *holder) eachRow(f func(m *scratch, k int)) {
	threads.Each(len(h.memory), h.rows.N(), func(thread, k int) { f(&h.memory[thread], k) })
}

// way is the way of row k, [I]: what move goes along.
func (h *holder) way(k int) []float64 { return h.along[k*h.size:][:h.size] }

// inBounds makes d [I] a way of row k that ends within the bounds.
func (h *holder) inBounds(k int, d []float64) {
	bounds := h.rows.Bounds()
	for i, v := range d {
		d[i] = bounds.box(h.clean[k][i]+v) - h.clean[k][i]
	}
}

// move goes from the clean image the way of each row.
func (h *holder) move(ctx context.Context) error {
	if err := toClean(ctx, h.rows); err != nil {
		return err
	}
	if err := h.rows.Step(ctx, h.a.along(h.rows, h.along)); err != nil {
		return err
	}
	var err error
	h.x, err = h.rows.Pixels(ctx)
	return err
}

// A seeker holds the rows of a search: where each is, what the model says there, and the nearest
// misread point so far.
type seeker struct {
	*holder
	norm   geometry
	labels []int32
	logits [][]float64 // [N][O], at x
	wrong  []bool      // [N], whether x is misread
	found  []Found     // [N]
	// farthest [N] is the norm of the longest way from each clean image that the bounds let it go;
	// +Inf without bounds.
	farthest []float64
}

// newSeeker returns that of rows, which are at their clean images, where nobody has looked yet.
func newSeeker(ctx context.Context, a Attack, rows Rows) (*seeker, error) {
	if !a.Norm.known() {
		return nil, fmt.Errorf("attack: %s: unknown norm %d", a.Name, int(a.Norm))
	}
	h, err := newHolder(ctx, a, rows)
	if err != nil {
		return nil, err
	}
	n := rows.N()
	s := &seeker{
		holder: h, norm: norms[a.Norm], labels: rows.Labels(), wrong: make([]bool, n), found: make([]Found, n),
		farthest: make([]float64, n),
	}
	for k := range n {
		s.found[k].Distance = math.Inf(1)
	}
	b := rows.Bounds()
	s.eachRow(func(m *scratch, k int) {
		if s.farthest[k] = math.Inf(1); b.None() {
			return
		}
		most := m.vector(0, s.size)
		for i, v := range s.clean[k] {
			most[i] = max(v-b.Lo, b.Hi-v)
		}
		s.farthest[k] = s.norm.length(most)
	})
	return s, nil
}

// inputs is I, the number of pixels of an image.
func inputs(rows Rows) int {
	channels, height, width := rows.Shape()
	return channels * height * width
}

// look asks what the model says of every row, and keeps those that are misread and nearer than any
// before.
func (s *seeker) look(ctx context.Context) error {
	logits, err := s.rows.Logits(ctx)
	if err != nil {
		return err
	}
	return s.judge(logits)
}

// see is look, and returns the gradients [N][I] with weights q [O] that weigh writes for each row at
// its logits z [O]; q is 0 before.
func (s *seeker) see(ctx context.Context, weigh func(k int, z, q []float64)) ([][]float64, error) {
	logits, g, err := s.rows.See(ctx, weigh)
	if err != nil {
		return nil, err
	}
	return g, s.judge(logits)
}

// seeRivals is see of z_rival - z_label, rival [N] the class with the largest logit but that of the
// label. Rows that are not misread and where it is zero in every pixel are noted.
func (s *seeker) seeRivals(ctx context.Context) (g [][]float64, rival []int, err error) {
	rival = make([]int, s.rows.N())
	g, err = s.see(ctx, func(k int, z, q []float64) {
		rival[k] = byLogit(int(s.labels[k]), z)[0]
		q[rival[k]], q[s.labels[k]] = 1, -1
	})
	if err == nil {
		s.noteZero(g)
	}
	return g, rival, err
}

// seeToward is see of z_rival - z_label of every row, rival [N].
func (s *seeker) seeToward(ctx context.Context, rival []int) ([][]float64, error) {
	return s.see(ctx, func(k int, _, q []float64) { q[rival[k]], q[s.labels[k]] = 1, -1 })
}

// seeAim is seeToward of the targets of the rows, and seeRivals if they have none. It notes rows as
// that does.
func (s *seeker) seeAim(ctx context.Context) (g [][]float64, rival []int, err error) {
	targets := s.rows.Targets()
	if targets == nil {
		return s.seeRivals(ctx)
	}
	rival = make([]int, len(targets))
	for k, t := range targets {
		rival[k] = int(t)
	}
	if g, err = s.seeToward(ctx, rival); err == nil {
		s.noteZero(g)
	}
	return g, rival, err
}

// judge takes in the logits of the rows where they are.
func (s *seeker) judge(logits [][]float64) error {
	s.logits = logits
	for k, z := range s.logits {
		class, _, ok := Judge(z, int(s.labels[k]))
		if !ok {
			return NotFiniteRow(k)
		}
		s.wrong[k] = class != int(s.labels[k])
	}
	s.eachRow(func(m *scratch, k int) {
		if !s.wrong[k] || s.found[k].Distance == 0 {
			return
		}
		if d := s.distance(m, k); d < s.found[k].Distance {
			s.found[k].Distance = d
			s.found[k].Along = append(s.found[k].Along[:0], s.way(k)...)
		}
	})
	return nil
}

// distance is that of row k from its clean image. It uses the first vector of m.
func (s *seeker) distance(m *scratch, k int) float64 {
	apart, clean := m.vector(0, s.size), s.clean[k]
	for i, v := range s.x[k] {
		apart[i] = v - clean[i]
	}
	return s.norm.length(apart)
}

// slopes returns the gradient [N][I] of z_rival - z_label with respect to the pixels of every row,
// rival [N].
func (s *seeker) slopes(ctx context.Context, rival []int) ([][]float64, error) {
	classes := len(s.logits[0])
	q := make([]float64, len(rival)*classes)
	for k, c := range rival {
		q[k*classes+c], q[k*classes+int(s.labels[k])] = 1, -1
	}
	return s.rows.Gradient(ctx, q)
}

// noteZero notes the rows that are not misread and where a gradient g [N][I], which the search goes
// along, is zero in every pixel.
func (s *seeker) noteZero(g [][]float64) {
	for k := range g {
		if !s.wrong[k] && !slices.ContainsFunc(g[k], func(v float64) bool { return v != 0 }) {
			s.found[k].Zero = true
		}
	}
}

// lead is z_rival - z_label of row k.
func (s *seeker) lead(k, rival int) float64 { return s.logits[k][rival] - s.logits[k][s.labels[k]] }

// goThere moves the rows their ways and looks at them.
func (s *seeker) goThere(ctx context.Context) error {
	if err := s.move(ctx); err != nil {
		return err
	}
	return s.look(ctx)
}

// right reports whether a row is left that is not misread where it is.
func (s *seeker) right() bool { return slices.Contains(s.wrong, false) }

// mostRivals is how many other classes a search looks at where it looks at all planes: those with
// the largest logits, as DeepFool's code has them. The papers say all.
const mostRivals = 9

// nearestPlanes looks at the rows and returns for each the nearest plane on which another class
// would take over, were the model linear: its slope [N][I] and the class [N]. A class whose plane
// has no slope is as far as can be.
func (s *seeker) nearestPlanes(ctx context.Context) (w [][]float64, rival []int, err error) {
	n := s.rows.N()
	order := make([][]int, n)
	first, err := s.see(ctx, func(k int, z, q []float64) {
		order[k] = byLogit(int(s.labels[k]), z)
		q[order[k][0]], q[s.labels[k]] = 1, -1
	})
	if err != nil {
		return nil, nil, err
	}
	rival, nearest := make([]int, n), make([]float64, n)
	for rank := range min(mostRivals, len(order[0])) {
		one, g := make([]int, n), first
		for k := range one {
			one[k] = order[k][rank]
		}
		if rank > 0 {
			if g, err = s.slopes(ctx, one); err != nil {
				return nil, nil, err
			}
		}
		if rank == 0 {
			w = g
		}
		s.eachRow(func(_ *scratch, k int) {
			away := math.Inf(1)
			if size := s.norm.dual(g[k]); size > 0 {
				away = math.Abs(s.lead(k, one[k])) / size
			}
			if rank == 0 || away < nearest[k] {
				w[k], rival[k], nearest[k] = g[k], one[k], away
			}
		})
	}
	return w, rival, nil
}

// halvings is how many looks polish takes.
const halvings = 10

// polish returns what was found, each brought nearer to its clean image on the straight way there:
// by halving, from half of the distance on; of L0 from half of the pixels that move, those that move
// farthest. Every attack of minimum norm ends so here. It is what
// FAB's paper calls a final search, with more looks. In the other papers there is none, but a look
// is cheap beside a step. Where the class changes at one place of the way, what is found then is at
// most 1/1000 of the distance farther than that.
func (s *seeker) polish(ctx context.Context) ([]Found, error) {
	if err := s.look(ctx); err != nil { // a search need not have looked where it ended
		return nil, err
	}
	n := len(s.found)
	from, low, high := make([][]float64, n), make([]float64, n), make([]float64, n)
	for k, f := range s.found {
		low[k], high[k] = 0.5, 1
		from[k] = slices.Clone(f.Along) // look writes to what was found
	}
	for range halvings {
		s.eachRow(func(m *scratch, k int) {
			if from[k] != nil {
				s.norm.part(m, s.way(k), from[k], (low[k]+high[k])/2)
			}
		})
		if err := s.goThere(ctx); err != nil {
			return nil, err
		}
		for k := range from {
			if middle := (low[k] + high[k]) / 2; s.wrong[k] {
				high[k] = middle
			} else {
				low[k] = middle
			}
		}
	}
	return s.found, nil
}
