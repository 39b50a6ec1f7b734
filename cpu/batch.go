package cpu

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"

	"gorgonia.org/tensor"
)

// A batchRows says which rows there are: one for each (image, eps). Begin sets it. Load, and an
// error that leaves rows half moved, drop it.
type batchRows[T Float] struct {
	lo   int // the first image, by its place among the loaded ones
	rows int
	eps  []T // [E]
}

// drop leaves no rows.
func (r *batchRows[T]) drop() { r.rows, r.eps = 0, nil }

// images returns how many images the rows are of.
func (r *batchRows[T]) images() int { return r.rows / len(r.eps) }

// of returns the image of a row, by its place among the loaded ones, and the place of its eps.
func (r *batchRows[T]) of(row int) (i, e int) { return r.lo + row/len(r.eps), row % len(r.eps) }

// A state is where the rows are. Begin resets it. Step, Restore and Outcomes change it.
//
// Where x lies has three forms. At first every row is its clean image (fresh). One step without
// bounds puts all rows on rays (ray.on). Otherwise x holds the pixels, and the moves of an MLP may
// follow them.
type state[T Float] struct {
	x       []T  // [rows, I]; not filled while fresh or on a ray
	fresh   bool // every row is its clean image
	ray     ray[T]
	moves   moves[T]
	still   int    // rows of the first still eps have not moved: they are their clean images
	zero    []bool // [rows]: a gradient was zero in every pixel
	history history[T]
	sight   sight[T]
}

// begin puts rows of in pixels at their clean images, E eps of each.
func (s *state[T]) begin(rows, in, E int) {
	s.fresh, s.ray.on, s.moves.on, s.still = true, false, false, E
	s.history.forget()
	s.sight.forget()
	s.x, s.zero = resize(s.x, rows*in), resize(s.zero, rows)
	clear(s.zero)
}

// inPixels notes that x holds all pixels and that nothing else follows the rows from here on.
func (s *state[T]) inPixels() { s.fresh, s.ray.on, s.moves.on, s.still = false, false, false, 0 }

// advance lowers still to the first eps that a step of size [E] moves.
func (s *state[T]) advance(size []T) {
	for e, v := range size[:s.still] {
		if v != 0 {
			s.still = e
			return
		}
	}
}

// Begin makes a row x = x0 for each of the loaded images lo to hi-1 and each of eps [E]: row
// (i-lo)·E + e.
func (b *Backend[T]) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if b.closed {
		return errClosed
	}
	rounded, err := batch.Begin[T](lo, hi, len(b.loaded.labels), eps, b.model.info.Rows)
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	defer b.leave(b.enter(backend.Steps))
	rows := (hi - lo) * len(eps)
	b.batch = batchRows[T]{lo, rows, rounded}
	b.state.begin(rows, b.model.in, len(eps))
	for k := range b.kept {
		b.kept[k].empty(rows)
	}
	return ctx.Err()
}

// Step moves every row: x ← project(x + Size[e]·d), see attack.Step.
func (b *Backend[T]) Step(ctx context.Context, s attack.Step) error {
	if b.closed {
		return errClosed
	}
	size, err := batch.Step(s, b.batch.rows, len(b.batch.eps), b.model.out, b.loaded.min, b.loaded.max)
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	along, err := batch.Along[T](s, b.batch.rows, b.model.in)
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	defer b.leave(b.enter(b.stepping(s)))
	b.broken.clear()
	defer b.state.sight.forget()
	if s.Plain(len(b.batch.eps)) {
		err = b.plainStep(ctx, s, size)
	} else {
		err = b.generalStep(ctx, s, size, along)
	}
	if i, ok := b.broken.first(); ok && err == nil {
		err = fmt.Errorf("cpu: %w", batch.NotFinite(b.loaded.first+i, b.model.info.Precision))
	}
	return b.lost(err)
}

// plainStep moves every row by a plain step s of size [E].
func (b *Backend[T]) plainStep(ctx context.Context, s attack.Step, size []T) error {
	limit(size, b.batch.eps, s.Bounds)
	st := &b.state
	st.advance(size)
	var err error
	if s.Direction == attack.Gradient {
		if err = b.signClean(ctx); err != nil {
			return err
		}
	}
	switch {
	case b.model.net != nil:
		err = b.moveNetwork(ctx, s, size)
	case st.fresh && s.Bounds.None():
		err = b.enterRay(ctx, s, size)
	case st.fresh:
		err = b.enterMoves(ctx, s, size)
	default:
		err = b.move(ctx, s, size)
	}
	if err != nil {
		return err
	}
	if s.Direction == attack.Gradient {
		b.zeroAtClean()
	}
	st.fresh = false
	return nil
}

// limit changes the sizes of a step [E]. Rows of eps 0 stay. Within bounds no size is larger than
// twice the range of pixels, which takes any pixel from one bound past the other. Were it larger,
// the sums that follow the first layer (moves.go) would cancel.
func limit[T Float](size, eps []T, bounds attack.Bounds) {
	all := 2 * (T(bounds.Hi) - T(bounds.Lo))
	for e, v := range size {
		switch {
		case eps[e] == 0:
			size[e] = 0
		case !bounds.None():
			size[e] = min(v, all)
		}
	}
}

// zeroAtClean notes for each row whose last gradient was that at its clean image whether that
// gradient is zero in every pixel.
func (b *Backend[T]) zeroAtClean() {
	for r := range b.state.zero {
		if i, e := b.batch.of(r); b.state.fresh || e < b.state.still {
			b.state.zero[r] = b.state.zero[r] || b.loaded.signs.flat[i]
		}
	}
}

// ZeroGradient writes to each of dst [rows] whether the gradient of a Step was zero in every pixel
// of that row since Begin.
func (b *Backend[T]) ZeroGradient(ctx context.Context, dst []bool) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	copy(dst, b.state.zero)
	return ctx.Err()
}

// Predictions writes to each of dst [rows] the class with the largest logit, the first one on a
// tie, or -1 if a logit is not finite.
func (b *Backend[T]) Predictions(ctx context.Context, dst []int32) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	defer b.leave(b.enter(b.looking()))
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		z := b.logits(w, lo, hi)
		argmax(dst[lo:hi], z, b.model.out, len(z)/(hi-lo))
	})
}

// Count writes to correct [E] how many rows of each eps have the class of their label, and to zero
// [E] for how many of them a gradient was zero in every pixel since Begin. It writes to stuck
// [images] whether that was so at any eps of the image. bad is the first row with a logit that is
// not finite, or -1.
func (b *Backend[T]) Count(ctx context.Context, correct, zero []int, stuck []bool) (bad int, err error) {
	rows, eps := b.batch.rows, b.batch.eps
	if err := b.ready(rows); err != nil {
		return -1, err
	}
	if len(correct) != len(eps) || len(zero) != len(eps) || len(stuck) != b.batch.images() {
		return -1, fmt.Errorf("cpu: count: room for %d, %d and %d, want %d eps twice and %d images", len(correct), len(zero), len(stuck), len(eps), b.batch.images())
	}
	defer b.leave(b.enter(b.looking()))
	b.class = resize(b.class, rows)
	if err := b.Predictions(ctx, b.class); err != nil {
		return -1, err
	}
	clear(correct)
	clear(zero)
	clear(stuck)
	bad = -1
	for r, class := range b.class {
		i, e := b.batch.of(r)
		switch {
		case class < 0 && bad < 0:
			bad = r
		case class == b.loaded.labels[i]:
			correct[e]++
		}
		if b.state.zero[r] {
			zero[e]++
			stuck[i-b.batch.lo] = true
		}
	}
	return bad, nil
}

// Logits returns f(x) [rows, O] in the Backend's precision.
func (b *Backend[T]) Logits(ctx context.Context) (*tensor.Dense, error) {
	if v := &b.state.sight; v.haveZ && !b.closed {
		return tensor.New(tensor.WithShape(b.batch.rows, b.model.out), tensor.WithBacking(slices.Clone(v.z))), ctx.Err()
	}
	defer b.leave(b.enter(b.looking()))
	return b.matrix(ctx, b.model.out, b.logits)
}

// Images returns x [rows, I] in the Backend's precision.
func (b *Backend[T]) Images(ctx context.Context) (*tensor.Dense, error) {
	defer b.leave(b.enter(b.looking()))
	return b.matrix(ctx, b.model.in, b.images)
}

// matrix collects f of every block of rows, whatever its stride, into one [rows, cols].
func (b *Backend[T]) matrix(ctx context.Context, cols int, f func(w *scratch[T], lo, hi int) []T) (*tensor.Dense, error) {
	rows := b.batch.rows
	if err := b.ready(rows); err != nil {
		return nil, err
	}
	if rows == 0 {
		return nil, errors.New("cpu: the batch is empty")
	}
	dst := make([]T, rows*cols)
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		from := f(w, lo, hi)
		ld := len(from) / (hi - lo)
		for r := lo; r < hi; r++ {
			copy(dst[r*cols:][:cols], from[(r-lo)*ld:])
		}
	})
	if err != nil {
		return nil, err
	}
	return tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(dst)), nil
}

// eachRow calls f on all threads for blocks that cover all rows. The rows of an image are in one
// block if they fit.
func (b *Backend[T]) eachRow(ctx context.Context, f func(w *scratch[T], lo, hi int)) error {
	rows, block := b.batch.rows, b.model.block
	unit := min(len(b.batch.eps), block)
	return b.workers.each(ctx, (rows+unit-1)/unit, max(1, (block+unit/2)/unit), func(w *scratch[T], lo, hi int) {
		f(w, lo*unit, min(hi*unit, rows))
	})
}

// pixels returns x of row r, [I], as Step keeps it: not while fresh or on a ray.
func (b *Backend[T]) pixels(r int) []T { return b.state.x[r*b.model.in:][:b.model.in] }

// images returns x of rows lo to hi-1, [hi-lo, I]. It is valid until w is used again.
func (b *Backend[T]) images(w *scratch[T], lo, hi int) []T {
	in, s := b.model.in, &b.state
	if !s.fresh && !s.ray.on {
		return s.x[lo*in : hi*in]
	}
	w.x = resize(w.x, (hi-lo)*in)
	if s.ray.on {
		b.rayImages(w, w.x, lo, hi)
		return w.x
	}
	for r := lo; r < hi; r++ {
		i, _ := b.batch.of(r)
		copy(w.x[(r-lo)*in:][:in], b.loaded.clean(i))
	}
	return w.x
}

// whole fills x of all rows. Nothing follows the rows from here on, so later steps start at the
// pixels, the plain ones too.
func (b *Backend[T]) whole(ctx context.Context) error {
	if s := &b.state; s.fresh || s.ray.on {
		in := b.model.in
		err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
			copy(s.x[lo*in:hi*in], b.images(w, lo, hi))
		})
		if err != nil {
			return err
		}
	}
	b.state.inPixels()
	return nil
}

// forward returns the logits of rows lo to hi-1, [hi-lo, stride of the last layer]. They are valid
// until w is used again. Rows of the first skip eps are left out.
func (b *Backend[T]) forward(w *scratch[T], lo, hi, skip int) []T {
	if b.model.net != nil {
		return b.model.net.forward(w, b.images(w, lo, hi), b.subset(lo, hi, skip), forLogits)
	}
	m := b.model.mlp
	z, l := w.layers(len(m.layers)), 1
	z[0] = b.firstLayer(w, lo, hi)
	if ray := &b.state.ray; ray.on && ray.second {
		z[1] = resize(z[1], (hi-lo)*m.layers[1].stride)
		b.raySecond(w, z[1], z[0], lo, hi, skip)
		l = 2
	}
	m.up(&w.rows, z, l, hi-lo, b.alike(lo, hi, skip))
	return z[len(z)-1]
}

// gradient returns the gradient of the loss with respect to x of rows lo to hi-1, each divided by
// its 1 - p_y, [hi-lo, stride]. It is valid until w is used again. Rows of the first skip eps are
// left out.
func (b *Backend[T]) gradient(w *scratch[T], lo, hi, skip int) []T {
	label := func(r int) int32 { i, _ := b.batch.of(lo + r); return b.loaded.labels[i] }
	if b.model.net != nil {
		return b.model.net.lossGradient(w, b.images(w, lo, hi), b.subset(lo, hi, skip), label)
	}
	m := b.model.mlp
	b.forward(w, lo, hi, skip)
	m.loss(w, w.z, hi-lo, label)
	return m.down(w, &w.rows, w.z, hi-lo, b.alike(lo, hi, skip), b.stripes(lo, hi, skip))
}

// firstLayer returns the first layer of an MLP before its ReLU for rows lo to hi-1, [hi-lo,
// stride].
func (b *Backend[T]) firstLayer(w *scratch[T], lo, hi int) []T {
	m, ld := b.model.mlp, b.model.mlp.layers[0].stride
	switch {
	case b.state.moves.on:
		return b.state.moves.layer(lo, hi)
	case b.state.ray.on:
		w.z0 = resize(w.z0, (hi-lo)*ld)
		b.rayLayer(w.z0, lo, hi)
		return w.z0
	}
	return m.first(w, b.images(w, lo, hi), hi-lo, b.alike(lo, hi, 0))
}
