package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/dataset"
	"advsweep/internal/threads"

	"gorgonia.org/tensor"
)

// rows are the rows of one batch: images lo to hi-1 at each of E eps, with R restarts of each. The
// loops of attacks over their steps are in package attack; rows is what they see of the batch.
// restarts changes R, columns and restart, aim changes targets, and attack changes after.
type rows struct {
	b       Backend
	a       attack.Attack
	bounds  attack.Bounds
	held    // what b holds
	lo, hi  int
	E, R    int
	columns []float64                            // [E·R]
	restart []int                                // [E·R], nil for one
	wide    bool                                 // these are the rows of a search of minimum norm
	still   []bool                               // [images], of a search: nothing was found, and a gradient was zero
	targets []int32                              // [rows], nil for an untargeted attack
	after   func()                               // called by Done
	memory  struct{ pixels, gradient []float64 } // of what Pixels and See returned last
	// above is what attacks need that are decided above the backends: by attack.Norm.Above, or
	// because they go along what they say.
	above struct {
		clean [][]float64 // [images][I], the clean images
		flat  []bool      // [rows], whether each gradient that the attack asked for was zero; nil if it asked for none
		begun bool        // whether the attack has begun
	}
}

// held says which images a backend holds: those of its last Load.
type held struct {
	labels []int32 // [N]
	first  int     // the index of the first image in its data set
	shape  []int   // of one image
	// index [N] is that of each image in its data set where they do not follow each other; else nil
	index []int
}

func heldOf(set *dataset.Set) held {
	return held{labels: set.Labels, first: set.First, shape: set.Images.Shape()[1:]}
}

// image is the index of image i in its data set.
func (h *held) image(i int) int {
	if h.index != nil {
		return h.index[i]
	}
	return h.first + i
}

func rowsOf(b Backend, a attack.Attack, eps []float64, bounds attack.Bounds, of held, lo, hi int) *rows {
	r := &rows{b: b, a: a, bounds: bounds, held: of, lo: lo, hi: hi, E: len(eps)}
	r.restarts(eps, 0, runs(a))
	return r
}

// restarts makes the rows those of n restarts from the first on.
func (r *rows) restarts(eps []float64, first, n int) {
	r.R, r.columns, r.restart = n, eps, nil
	if r.a.Runs() == 1 {
		return
	}
	r.columns = nil
	for _, v := range eps {
		for k := range n {
			r.columns, r.restart = append(r.columns, v), append(r.restart, first+k)
		}
	}
}

// newRows returns the rows of a batch that b has begun.
func newRows(ctx context.Context, b Backend, a attack.Attack, eps []float64, bounds attack.Bounds, of held, lo, hi int) (*rows, error) {
	r := rowsOf(b, a, eps, bounds, of, lo, hi)
	return r, r.begin(ctx)
}

func (r *rows) begin(ctx context.Context) error {
	if r.a.Target != attack.Untargeted && r.targets == nil && (r.wide || !r.a.MinimumNorm()) {
		if err := r.aim(ctx); err != nil {
			return err
		}
	}
	return r.open(ctx)
}

// open begins the rows, whose targets are known if they need any, at their clean images.
func (r *rows) open(ctx context.Context) error {
	if !r.a.Norm.Above() {
		return r.b.Begin(ctx, r.lo, r.hi, r.columns)
	}
	// A backend has its own ball of each eps: one that holds all that the bounds do.
	wide := slices.Clone(r.columns)
	for c, eps := range wide {
		if wide[c] = 0; eps > 0 {
			wide[c] = r.bounds.Width()
		}
	}
	if err := r.b.Begin(ctx, r.lo, r.hi, wide); err != nil || r.above.clean != nil {
		return err
	}
	all, err := r.Pixels(ctx)
	for k := 0; k < len(all); k += len(wide) {
		r.above.clean = append(r.above.clean, slices.Clone(all[k]))
	}
	return err
}

func (r *rows) n() int { return (r.hi - r.lo) * len(r.columns) }

// at is the place of row k's image among those that b holds.
func (r *rows) at(k int) int { return r.lo + k/len(r.columns) }

// label is that of row k.
func (r *rows) label(k int) int { return int(r.labels[r.at(k)]) }

// aim chooses the target of every row by what the model says of the clean image.
func (r *rows) aim(ctx context.Context) error {
	if err := r.b.Begin(ctx, r.lo, r.hi, []float64{0}); err != nil {
		return err
	}
	logits, err := r.logits(ctx)
	if err != nil {
		return err
	}
	order, err := r.order(ctx, logits)
	if err != nil {
		return err
	}
	r.aimAt(logits, order)
	return nil
}

// order returns the classes that targets go by for each image that b holds, clean and with these
// logits [images][O], where logits alone do not say it or there are many; else nil.
func (r *rows) order(ctx context.Context, logits [][]float64) ([][]int, error) {
	if r.a.Target == attack.All {
		all := make([][]int, len(logits))
		for i, z := range logits {
			all[i] = attack.Others(int(r.labels[r.lo+i]), z)
		}
		return all, nil
	}
	if r.a.Target != attack.ByDistance {
		return nil, nil
	}
	n, O := len(logits), r.b.Info().Classes
	rivals, size := make([][]int, n), make([][]float64, n)
	for i, z := range logits {
		rivals[i] = attack.Rivals(int(r.labels[r.lo+i]), z)
	}
	for rank := range rivals[0] {
		q := make([]float64, n*O)
		for i := range rivals {
			q[i*O+rivals[i][rank]], q[i*O+int(r.labels[r.lo+i])] = 1, -1
		}
		g, err := r.Gradient(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range g {
			size[i] = append(size[i], r.a.Norm.Dual(g[i]))
		}
	}
	for i, z := range logits {
		rivals[i] = attack.Nearer(int(r.labels[r.lo+i]), z, rivals[i], size[i])
	}
	return rivals, nil
}

// aimAt sets the targets of the rows by the logits of the clean images [images][O] and order.
func (r *rows) aimAt(logits [][]float64, order [][]int) {
	r.targets = make([]int32, 0, r.n())
	for i, z := range logits {
		for c := range r.columns {
			restart := 0
			if r.restart != nil {
				restart = r.restart[c]
			}
			target := 0
			if order != nil {
				target = order[i][restart%len(order[i])]
			} else {
				target = r.a.Target.Of(int(r.labels[r.lo+i]), z, restart)
			}
			r.targets = append(r.targets, int32(target))
		}
	}
}

// logits returns those of all rows that b holds.
func (r *rows) logits(ctx context.Context) ([][]float64, error) {
	d, err := r.b.Logits(ctx)
	if err != nil {
		return nil, err
	}
	return r.split(d), nil
}

// split returns the rows of logits d [rows, O].
func (r *rows) split(d *tensor.Dense) [][]float64 {
	if d == nil { // no rows
		return nil
	}
	return slices.Collect(slices.Chunk(float64s(d), r.b.Info().Classes))
}

// attack moves the rows, as the attack's method says. It calls after once for each of the attack's
// K steps.
func (r *rows) attack(ctx context.Context, after func()) error {
	if r.a == untouched {
		return nil
	}
	r.after = after
	r.above.begun = r.a.Norm.Above() || r.a.Direction == attack.Along && !r.a.MinimumNorm()
	if r.a.MinimumNorm() {
		return r.nearest(ctx)
	}
	return r.a.Run(ctx, r)
}

// What an attack.Method sees of the rows: see attack.Rows.

func (r *rows) N() int                { return r.n() }
func (r *rows) Columns() []float64    { return r.columns }
func (r *rows) Restarts() []int       { return r.restart }
func (r *rows) Targets() []int32      { return r.targets }
func (r *rows) Bounds() attack.Bounds { return r.bounds }
func (r *rows) Threads() int          { return max(1, r.b.Info().Threads) }
func (r *rows) Done()                 { r.after() }

func (r *rows) Labels() []int32 {
	labels := make([]int32, r.n())
	for k := range labels {
		labels[k] = int32(r.label(k))
	}
	return labels
}

func (r *rows) Images() []int {
	images := make([]int, r.n())
	for k := range images {
		images[k] = r.image(r.at(k))
	}
	return images
}

func (r *rows) Shape() (channels, height, width int) {
	switch s := r.shape; len(s) {
	case 2:
		return 1, s[0], s[1]
	case 3:
		return s[0], s[1], s[2]
	}
	return 1, 1, r.b.Info().Inputs
}

// Step draws above the backend where the images do not follow each other: it knows none but the
// first one's index.
func (r *rows) Step(ctx context.Context, s attack.Step) error {
	if r.index != nil && (s.Direction == attack.RandomSign || s.Direction == attack.Uniform) {
		var err error
		if s, err = s.Drawn(r.Images(), r.b.Info().Inputs); err != nil {
			return err
		}
	}
	if s.Norm.Above() {
		if s.Direction != attack.Along {
			return fmt.Errorf("pipeline: %s: a step of direction %d in %v, want one along what the attack says", r.a.Name, s.Direction, s.Norm)
		}
		s.Norm, s.Ball = attack.Linf, false // the attack keeps the ball
	}
	return r.b.Step(ctx, s)
}

func (r *rows) Logits(ctx context.Context) ([][]float64, error) { return r.logits(ctx) }

func (r *rows) Look(ctx context.Context, s attack.Step) ([][]float64, error) {
	b, ok := r.b.(Looker)
	if !ok {
		return r.logits(ctx)
	}
	d, err := b.Look(ctx, s)
	if err != nil {
		return nil, err
	}
	return r.split(d), nil
}

func (r *rows) See(ctx context.Context, weigh func(k int, z, q []float64)) (logits, g [][]float64, err error) {
	z, d, err := See(ctx, r.b, weigh)
	if z != nil {
		logits = r.split(z)
		if err := finiteRows(logits); err != nil {
			return nil, nil, err
		}
	}
	if err != nil {
		return nil, nil, err
	}
	g = r.widen(&r.memory.gradient, d)
	r.noteFlat(g)
	return logits, g, nil
}

// finiteRows returns NotFiniteRow of the first row of logits [rows][O] that is not finite.
func finiteRows(logits [][]float64) error {
	for k, z := range logits {
		for _, v := range z {
			if v-v != 0 {
				return notFinite(k)
			}
		}
	}
	return nil
}

// noteFlat notes which gradients [rows][I] of an attack in a norm above the backends are zero.
func (r *rows) noteFlat(g [][]float64) {
	if r.above.begun && r.above.flat == nil {
		r.above.flat = slices.Repeat([]bool{true}, len(g))
	}
	for k := range r.above.flat {
		r.above.flat[k] = r.above.flat[k] && !slices.ContainsFunc(g[k], func(v float64) bool { return v != 0 })
	}
}

func (r *rows) Pixels(ctx context.Context) ([][]float64, error) {
	d, err := r.b.Images(ctx)
	if err != nil {
		return nil, err
	}
	return r.widen(&r.memory.pixels, d), nil
}

// widen returns the rows of t [rows, I] in float64: those of t, or a copy in old, which grows.
func (r *rows) widen(old *[]float64, t *tensor.Dense) [][]float64 {
	if t == nil { // no rows
		return nil
	}
	inputs := r.b.Info().Inputs
	d, ok := t.Data().([]float32)
	if !ok {
		return slices.Collect(slices.Chunk(float64s(t), inputs))
	}
	*old = slices.Grow((*old)[:0], len(d))[:len(d)]
	all := slices.Collect(slices.Chunk(*old, inputs))
	threads.Each(r.Threads(), len(all), func(_, k int) {
		for i, v := range d[k*inputs:][:inputs] {
			all[k][i] = float64(v)
		}
	})
	return all
}
func (r *rows) Gradient(ctx context.Context, q []float64) ([][]float64, error) {
	d, err := gradient(ctx, r.b, q)
	if err != nil {
		return nil, err
	}
	g := slices.Collect(slices.Chunk(d, r.b.Info().Inputs))
	r.noteFlat(g)
	return g, nil
}
func (r *rows) Keep(ctx context.Context, slot int, which []bool) error {
	return r.b.Keep(ctx, slot, which)
}
func (r *rows) Restore(ctx context.Context, slot int, which []bool) error {
	return r.b.Restore(ctx, slot, which)
}

// outcomes returns what became of every row, rows and not images: each is its own restart.
func (r *rows) outcomes(ctx context.Context, rounded bool) ([]Outcome, error) {
	var rounding *backend.Rounding
	if rounded {
		rounding = roundingIn(r.a.Norm)
	}
	far, err := r.lengths(ctx)
	if err != nil {
		return nil, err
	}
	found, err := r.b.Outcomes(ctx, rounding)
	if err != nil {
		return nil, err
	}
	out := make([]Outcome, r.n())
	for k, z := range r.split(found.Logits) {
		class, margin, ok := attack.Judge(z, r.label(k))
		if !ok {
			return nil, notFinite(k)
		}
		out[k] = Outcome{Class: int32(class), Margin: float32(margin), Rounded: -1, Norms: found.Norms[k]}
		out[k].Zero = found.Zero[k] || r.still != nil && r.still[k/len(r.columns)] || r.above.flat != nil && r.columns[k%len(r.columns)] > 0 && r.above.flat[k]
		if far != nil {
			out[k].L1 = far[k]
		}
	}
	for k, c := range found.Rounded {
		if c < 0 {
			return nil, notFinite(k)
		}
		out[k].Rounded = c
	}
	return out, nil
}

// lengths returns the L1 norm of each row's perturbation, [rows], if the attack is in that norm;
// else nil.
func (r *rows) lengths(ctx context.Context) ([]float32, error) {
	if r.a.Norm != attack.L1 {
		return nil, nil
	}
	x, err := r.Pixels(ctx)
	if err != nil {
		return nil, err
	}
	far := make([]float32, len(x))
	for k := range x {
		for i, v := range r.above.clean[k/len(r.columns)] {
			x[k][i] -= v
		}
		far[k] = float32(attack.L1.Length(x[k]))
	}
	return far, nil
}

// roundingIn is how pixels of an attack in norm are rounded. Where no backend knows the ball they go
// to the level towards the clean image, as for L2: no pixel comes farther from it than it is.
func roundingIn(norm attack.Norm) *backend.Rounding {
	if norm.Above() {
		norm = attack.L2
	}
	return &backend.Rounding{Norm: norm}
}

// reach adds to reached the classes that rows of image lo+i at eps e have come to where they were
// to go there, each once, rising.
func (r *rows) reach(reached []int32, i, e int, out []Outcome) []int32 {
	first := (i*r.E + e) * r.R
	for k := first; k < first+r.R; k++ {
		if class := out[k].Class; class == r.targets[k] {
			if at, ok := slices.BinarySearch(reached, class); !ok {
				reached = slices.Insert(reached, at, class)
			}
		}
	}
	return reached
}

// pick returns the row that speaks for image lo+i at eps e: see Outcome.
func (r *rows) pick(i, e int, out []Outcome) int {
	first := (i*r.E + e) * r.R
	best := first
	for k := first + 1; k < first+r.R; k++ {
		if r.beats(out[k], out[best], k) {
			best = k
		}
	}
	return best
}

// beats reports whether a is what speaks for the image of row k rather than b, an earlier restart
// at the same eps. Toward a target the first one that has become it does.
func (r *rows) beats(a, b Outcome, k int) bool {
	if r.a.Target.Aims() {
		if there := a.Class == r.targets[k]; there != (b.Class == r.targets[k]) {
			return there
		}
	}
	return worse(a, b, int32(r.label(k)))
}

// worse reports whether a is what speaks for an image with a label rather than b, an earlier
// restart or attack.
func worse(a, b Outcome, label int32) bool {
	return b.Class == label && (a.Class != label || a.Margin < b.Margin)
}

// notFinite is the error of a row with a logit that is not finite.
type notFinite = attack.NotFiniteRow

// A NotFiniteError says that the logits of an image, or its gradient, are not finite.
type NotFiniteError struct {
	Attack string
	Image  int // in the data set
	Eps    float64
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("pipeline: %s: logits of image %d at eps %v are not finite", e.Attack, e.Image, e.Eps)
}

// named returns err with the image that it is of, if it is of a row: a *NotFiniteError.
func (r *rows) named(err error) error {
	var gradient interface{ NotFiniteImage() int } // a backend's
	switch k, ok := err.(notFinite); {
	case ok:
		return &NotFiniteError{r.a.Name, r.image(r.at(int(k))), r.columns[int(k)%len(r.columns)]}
	case r.index != nil && errors.As(err, &gradient):
		return &NotFiniteError{r.a.Name, r.index[gradient.NotFiniteImage()], r.columns[0]}
	}
	return err
}
