package cpu

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"
	"advsweep/internal/gemm"
)

// NotExact returns why Exact cannot walk the model, by its first layer that is not piecewise linear
// or not known to be, or nil if it can.
func (b *Backend[T]) NotExact() error {
	if b.closed {
		return errClosed
	}
	if b.model.net == nil {
		return nil
	}
	_, err := b.stretches()
	return err
}

// ExactPays reports whether a walk costs less than a grid of some twenty eps, which it does for an
// MLP.
func (b *Backend[T]) ExactPays() bool { return b.model.net == nil }

// Exact walks the loaded images lo to lo+len(dst)-1 along x(eps) = x0 + eps·sign(∂L/∂x), clipped
// to bounds. It writes for each the intervals of eps in [0, max] on which the image is given its
// label.
//
// The walk looks at points, five of an image at a time. From two neighbours it draws conclusions
// for the stretch between them:
//
//   - If no unit of any layer changes sign, the logits are straight on the stretch, for then both
//     points lie in one linear region of the model, and so does all between them. Where a margin is
//     0 follows from its two ends.
//   - Else rates bound how far each margin leaves its straight line. Where the line is farther from
//     0 than that, the sign is known. Only the rest is looked at again, at five points of its own.
//
// A bound is quadratic in the length of a stretch. So a crossing is found in a few turns, without a
// visit to each breakpoint. Ends lie within rounding of the truth, and a forward pass on both sides
// checks each of them.
//
// Exact returns an error if the model is no MLP, for images that are not loaded, for a max that is
// not above 0 and finite, and if logits or a gradient are not finite.
func (b *Backend[T]) Exact(ctx context.Context, lo int, max float64, bounds attack.Bounds, dst []attack.Walk) error {
	if b.closed {
		return errClosed
	}
	if err := b.walkable(lo, len(dst), max, bounds); err != nil {
		return fmt.Errorf("cpu: exact: %w", err)
	}
	if b.model.net != nil {
		if err := b.walkStretches(ctx, lo, len(dst), max, bounds, func(k int) *attack.Walk { return &dst[k] }); err != nil {
			return fmt.Errorf("cpu: exact: %w", err)
		}
		return nil
	}
	return b.walks(ctx, lo, len(dst), max, bounds, nil, func(k int) *attack.Walk { return &dst[k] })
}

// walks walks the n loaded images from lo on, which are walkable, for Exact and Read. dst is where
// the result of image lo + k goes. read, if not nil, is called for each block before it is walked.
func (b *Backend[T]) walks(ctx context.Context, lo, n int, max float64, bounds attack.Bounds, read func(w *walk[T]) *reading[T], dst func(k int) *attack.Walk) error {
	around := b.enter(backend.Walk)
	defer func() { b.leaveWalk(around) }()
	m, lowest := b.model.mlp, 1 // a layer whose units can have kinks
	if !bounds.None() {
		lowest = 0 // and pixels that stop; a reading bounds those in another way
	}
	if err := m.rate(ctx, &b.workers, min(lowest, len(m.layers)-1)); err != nil {
		return err
	}
	// With bounds no pixel moves any more from hi - lo on. Where eps is much larger, the line of
	// the first layer and what its stopped pixels are behind would cancel.
	far := T(max)
	if all := T(bounds.Hi) - T(bounds.Lo); !bounds.None() && all > 0 {
		far = min(far, 2*all)
	}
	order := b.byLabel(lo, n)
	b.broken.clear()
	err := b.workers.each(ctx, n, walkRows, func(w *scratch[T], from, to int) {
		if w.walk == nil {
			w.walk = newWalk(b, w)
		}
		w.walk.begin(order[from:to], far, bounds)
		w.walk.cost.since, w.walk.cost.flop = time.Now(), w.flop()
		for k, i := range order[from:to] {
			w.walk.images[k].dst = dst(i - lo)
		}
		if read != nil {
			w.walk.read = read(w.walk)
		}
		w.walk.do()
		w.walk.took(backend.Walk)
		for _, i := range order[from:to] { // what is right at far is right up to max
			if all := dst(i - lo).Correct; len(all) > 0 && all[len(all)-1].Hi >= float64(far) {
				last := &all[len(all)-1]
				last.Lo, last.Hi = min(last.Lo, max), max
			}
		}
		if w.walk.read != nil && !w.walk.failed {
			w.walk.read.finish(w.walk)
		}
	})
	if i, ok := b.broken.first(); ok && err == nil {
		err = fmt.Errorf("cpu: exact: image %d: the logits or the gradient are not finite in %s", b.loaded.first+i, b.model.info.Precision)
	}
	return err
}

// walkable returns an error if n images from lo on cannot be walked up to max.
func (b *Backend[T]) walkable(lo, n int, max float64, bounds attack.Bounds) error {
	if err := b.NotExact(); err != nil {
		return fmt.Errorf("%w: ask for counts at eps only", err)
	}
	if lo < 0 || lo+n > len(b.loaded.labels) {
		return fmt.Errorf("images %d to %d of %d", lo, lo+n, len(b.loaded.labels))
	}
	if !(max > 0) || math.IsInf(max, 0) || T(max) == 0 || T(max)-T(max) != 0 {
		return fmt.Errorf("eps up to %v, want a number that is above 0 and finite in %s", max, b.model.info.Precision)
	}
	_, err := batch.Step(attack.Step{Size: []float64{max}, Bounds: bounds}, n, 1, b.model.out, b.loaded.min, b.loaded.max)
	return err
}

// byLabel returns the n loaded images from lo on by rising label. Images of one label have more
// units in common, and so share more of a product.
func (b *Backend[T]) byLabel(lo, n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = lo + i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(b.loaded.labels[i], b.loaded.labels[j]) })
	return order
}

// A walk is what one worker needs to walk a block of images. newWalk ties it to a worker, and begin
// to a block. Rows of a matrix have the stride of their layer.
//
// It reads the Backend, but for the signs of the gradients at clean images, which it stores there.
type walk[T Float] struct {
	b       *Backend[T]
	m       *mlp[T]
	scratch *scratch[T]
	rows    rows[T] // the list of the product in hand

	limits[T]
	images []walked[T] // [n]; set by begin
	origin origin[T]

	open   []stretch[T] // what is still to be looked at; firstPoints and reopen add to it
	points [][]T        // each layer before its ReLU at the points of a look
	chord  chord[T]
	found  []end // ends that are still to be checked; ends adds to it, and check takes away
	failed bool  // something is not finite
	x      []T   // [·, I]

	read   *reading[T] // what Read wants to know of the block; nil for Exact
	memory *reading[T] // that of the last block
	cost   walkCost
}

// A limits says how far rays go. begin sets it, and turn.
type limits[T Float] struct {
	max    T // the largest eps
	bounds attack.Bounds
	turned bool // rays are clipped to [0, 1] beyond the walk's bounds, see turn
}

// room is how far a pixel x0 can move up, or down, to its bound.
func (l *limits[T]) room(x0 T, up bool) T {
	if up {
		return T(l.bounds.Hi) - x0
	}
	return x0 - T(l.bounds.Lo)
}

// A walked is one image of a block and what is known of its ray. start sets what does not change
// later. know, reopen and ends add what is found out.
type walked[T Float] struct {
	image int          // its place among the loaded images
	dst   *attack.Walk // the result
	// the eps at which the margin would be 0 if the model were linear, or negative
	guess  T
	noise  T         // what rounding may do to a margin
	active int       // units of the first layer at eps 0
	stops  []stop[T] // the pixels that reach a bound
	opened int       // stretches looked at again so far
	known  []piece
}

// An origin is the model at eps 0 for each image: what all points of a ray share. start sets it.
type origin[T Float] struct {
	z [][]T // each layer before its ReLU, [n, stride]; the last is the logits
	s []T   // where pixels move: -1, 0 or 1 [n, I]
	c []T   // W·s: the slope of the first layer [n, stride]
	d []T   // the slope of the second layer [n, stride]
}

// A stop is a pixel that reaches a bound at eps t, and stays there.
type stop[T Float] struct {
	t     T
	pixel int32
}

// A stretch is a part of an image's ray on which it is not yet known where its label is given. It
// has the points to look at: five or two, as a product takes them.
type stretch[T Float] struct {
	image int // in the block
	from  int8
	n     int8
	eps   [gemm.GroupRows]T // [n], rising
	last  T                 // the point before, if from is fromLast
	row   int               // of its first point in the matrices
}

// What lies before the points of a stretch: what is known, the clean image, or the last point of
// the stretch before.
const (
	fromKnown = iota
	fromClean
	fromLast
)

func (s *stretch[T]) points() []T { return s.eps[:s.n] }

// A piece is a part of a ray on which the label is given everywhere, or nowhere.
type piece struct {
	lo, hi float64
	right  bool
}

// walkRows and groupsAtOnce bound the images and the stretches that a worker has in memory.
const (
	walkRows     = 96
	groupsAtOnce = 96
)

// maxOpened bounds the stretches of one image that are looked at again. MLPs of five layers take
// hundreds. More are only needed by a model made to have many kinks that matter, or whose rates are
// not finite. From there on lines are taken for the truth, and the checks of the ends tell.
const maxOpened = 1 << 13

// newWalk returns a walk for the worker whose memory is w.
func newWalk[T Float](b *Backend[T], w *scratch[T]) *walk[T] {
	return &walk[T]{b: b, m: b.model.mlp, scratch: w, rows: rows[T]{vec: b.model.vec, dense: b.model.dense}}
}

// begin makes room for a block: images, by their place among the loaded ones, up to eps max. The
// caller says where the result of each goes.
func (w *walk[T]) begin(images []int, max T, bounds attack.Bounds) {
	n, L, m := len(images), len(w.m.layers), w.m
	w.limits = limits[T]{max: max, bounds: bounds}
	w.images = resize(w.images, n)
	for k, i := range images {
		v := &w.images[k]
		*v = walked[T]{image: i, stops: v.stops[:0], known: v.known[:0]}
	}
	w.open, w.found, w.failed = w.open[:0], w.found[:0], false
	if w.read != nil {
		w.read, w.memory = nil, w.read
	}
	w.points = resize(w.points, L)
	o := &w.origin
	o.z, o.s, o.c = resize(o.z, L), resize(o.s, n*w.b.model.in), resize(o.c, n*m.layers[0].stride)
	if L > 1 {
		o.d = resize(o.d, n*m.layers[1].stride)
	}
	w.chord.resize(m, w.b.model.in)
}

// do walks the images of the block. It stops where something is not finite.
func (w *walk[T]) do() {
	if !w.start() {
		return
	}
	for len(w.open) > 0 {
		now := min(len(w.open), groupsAtOnce)
		for now < len(w.open) && w.open[now].from == fromLast {
			now++
		}
		w.look(w.open[:now])
		if w.read != nil {
			w.read.points(w, w.open[:now])
		}
		for g := range now {
			w.conclude(w.open[g]) // appends to open
		}
		if w.failed {
			return
		}
		w.open = append(w.open[:0], w.open[now:]...)
	}
	for i := range w.images {
		w.ends(i)
	}
	w.check()
}

// start computes what all points of a ray share, and chooses the first points. It returns false if
// something is not finite.
func (w *walk[T]) start() bool {
	if w.classify(); w.failed {
		return false
	}
	if w.read != nil {
		w.read.clean(w)
	}
	w.took(backend.CleanPass)
	if w.aim(); w.failed {
		return false
	}
	w.took(backend.Gradient)
	w.slopes()
	a := &w.m.layers[0]
	for i := range w.images {
		v := &w.images[i]
		v.noise = w.rounding(w.origin.z, i)
		if w.m.rates.never[w.b.loaded.labels[v.image]] {
			v.know(0, w.max, false)
			continue
		}
		z := w.origin.z[0][i*a.stride:]
		v.active = w.m.vec.Positive(w.chord.list, w.chord.kink, len(w.chord.kink), z, z, a.stride, a.out, 1)
		w.firstPoints(i)
	}
	return true
}

// classify computes all layers at the clean images, and their classes.
func (w *walk[T]) classify() {
	n, in, m, z := len(w.images), w.b.model.in, w.m, w.origin.z
	w.x = resize(w.x, n*in)
	for i := range w.images {
		copy(w.x[i*in:], w.b.loaded.clean(w.images[i].image))
	}
	z[0] = resize(z[0], n*m.layers[0].stride)
	copy(z[0], m.first(w.scratch, w.x, n, unlike))
	m.up(&w.rows, z, 1, n, unlike)
	ld, class := m.top().stride, make([]int32, 1)
	for i := range w.images {
		argmax(class, z[len(z)-1][i*ld:], w.b.model.out, 0)
		if class[0] < 0 {
			w.fail(i)
		}
		*w.images[i].dst = attack.Walk{Class: int(class[0])}
	}
}

// aim computes the gradients at the clean images: where pixels move and stop, and where the first
// failure would be if the model were linear.
func (w *walk[T]) aim() {
	n, out, m, z, labels := len(w.images), w.b.model.out, w.m, w.origin.z, w.b.loaded.labels
	ld, logits := m.top().stride, z[len(z)-1]
	m.loss(w.scratch, z, n, func(r int) int32 { return labels[w.images[r].image] })
	for i := range w.images {
		for j, q := range w.scratch.grad[0][i*ld:][:out] {
			w.images[i].guess -= T(q * logits[i*ld+j])
		}
	}
	grad, signs := m.down(w.scratch, &w.rows, z, n, unlike, nil), &w.b.loaded.signs
	for i := range w.images {
		v, g := &w.images[i], grad[i*m.layers[0].below:][:w.b.model.in]
		if !signs.take(v.image, g) {
			w.fail(i)
		}
		v.dst.Zero = signs.flat[v.image]
		if w.read != nil {
			w.read.aim(w, i, g)
		}
		if steep := w.direct(i, g, signs.of(v.image)); steep > 0 {
			v.guess /= steep
		} else {
			v.guess = -1
		}
	}
}

// direct notes where the pixels of image i move and where they stop, for their gradient g [I] and
// its signs. It returns the sum of |g| over those that move: the slope of the loss.
func (w *walk[T]) direct(i int, g []T, sign []int8) T {
	v := &w.images[i]
	s, x0 := w.origin.s[i*len(g):][:len(g)], w.b.loaded.clean(v.image)
	steep := T(0)
	for p, d := range sign {
		s[p] = T(d)
		if d == 0 {
			continue
		}
		if !w.bounds.None() {
			t := w.room(x0[p], d > 0)
			if t <= 0 {
				s[p] = 0
				continue
			}
			if t < w.max {
				v.stops = append(v.stops, stop[T]{t, int32(p)})
			}
		}
		steep += max(g[p], -g[p])
	}
	return steep
}

// slopes computes the slopes of the first two layers at eps 0.
func (w *walk[T]) slopes() {
	o, m, n := &w.origin, w.m, len(w.images)
	m.slopes(&w.rows, o.c, o.s, n)
	if len(m.layers) > 1 {
		a := &m.layers[1]
		w.rows.positives(o.c, o.z[0], m.layers[0].stride, n, a.in, unlike)
		w.rows.multiplyFrom(m.zeros, o.d, a.stride, a.wt)
	}
}

// fail notes that something of image i is not finite.
func (w *walk[T]) fail(i int) {
	w.failed = true
	w.b.broken.report(w.images[i].image)
}

// firstPoints opens the whole ray of image i: five points around the first failure that the
// gradient promises, and then points farther and farther apart. What is far from a crossing needs
// few.
func (w *walk[T]) firstPoints(i int) {
	open := func(from int8, eps ...T) {
		s := stretch[T]{image: i, from: from, n: int8(len(eps))}
		if from == fromLast {
			p := w.open[len(w.open)-1].points()
			s.last = p[len(p)-1]
		}
		copy(s.eps[:], eps)
		w.open = append(w.open, s)
	}
	r, max := w.images[i].guess, w.max
	switch {
	case r > max/4:
		open(fromClean, max/5, max*2/5, max*3/5, max*4/5, max)
		return
	case r > max/1024:
		open(fromClean, r*0.6, r*0.9, r*1.15, r*1.5, r*2.2)
		open(fromLast, r+T((max-r)*0.4), max)
	default: // wrong as it is, or nearly
		open(fromClean, max/64, max/32, max/16, max/8, max/4)
		open(fromLast, max/2, max)
	}
}

// rounding estimates what rounding may do to a margin at row i of the layers z. It is the
// probabilistic bound λ·√n·u·Σ|terms| of Higham and Mary 2019 (SIAM J. Sci. Comput. 41), with λ = 4
// and n the terms of all layers.
func (w *walk[T]) rounding(z [][]T, i int) T {
	L, top := len(w.m.layers), w.m.top()
	terms := 0
	for l := range w.m.layers {
		terms += w.m.layers[l].in
	}
	sum := T(0)
	for o, v := range z[L-1][i*top.stride:][:top.out] {
		bias := top.bias[o]
		sum = max(sum, v, -v, bias, -bias)
	}
	if L > 1 {
		a := &w.m.layers[L-2]
		for k, v := range z[L-2][i*a.stride:][:a.out] {
			sum += T(max(v, 0) * w.m.rates.spread[k])
		}
	}
	return 4 * T(math.Sqrt(float64(terms))) * unit[T]() * sum
}

// unit is the relative error of one rounding.
func unit[T Float]() T {
	if unsafe.Sizeof(T(0)) == 4 {
		return 0x1p-24
	}
	return 0x1p-53
}

// look computes every layer at the points of stretches s.
func (w *walk[T]) look(s []stretch[T]) {
	n := 0
	for g := range s {
		s[g].row = n
		n += int(s[g].n)
	}
	for l := range w.m.layers {
		a := &w.m.layers[l]
		w.points[l] = resize(w.points[l], n*a.stride)
		w.rows.reset(n, a.in)
		for g := range s {
			w.prepare(&s[g], l)
		}
		w.rows.multiply(w.points[l], a.stride, a.wt)
	}
}

// prepare writes to layer l at the points of s what the product is added to, and lists the product.
// The first two layers start from a line in eps and add what has left it. The others start from
// their bias.
func (w *walk[T]) prepare(s *stretch[T], l int) {
	a, o := &w.m.layers[l], &w.origin
	start, slope := o.z[0], o.c
	switch {
	case l == 0:
		w.stopped(s)
	case l == 1 && w.flipped(s):
		start, slope = o.z[1], o.d
	default:
		w.rows.positive(s.row, int(s.n), w.points[l-1], w.points[l-1], w.m.layers[l-1].stride, a.in)
		start = nil
	}
	for r, e := range s.points() {
		z := w.points[l][(s.row+r)*a.stride:][:a.stride]
		if start == nil {
			copy(z, a.bias)
		} else {
			w.m.vec.Line(z, start[s.image*a.stride:][:a.stride], e, slope[s.image*a.stride:][:a.stride])
		}
	}
}

// stopped lists how far the pixels that have stopped are behind those that move.
func (w *walk[T]) stopped(s *stretch[T]) {
	last, v, in := s.eps[s.n-1], &w.images[s.image], w.b.model.in
	if !v.stopsBefore(last) {
		return
	}
	list, a, lda := w.rows.next(int(s.n), in)
	k := 0
	for _, stop := range v.stops {
		if stop.t >= last {
			continue
		}
		list[k] = uint32(stop.pixel)
		for r, e := range s.points() {
			a[r*lda+k] = -w.origin.s[s.image*in+int(stop.pixel)] * max(e-stop.t, 0)
		}
		k++
	}
	w.rows.add(s.row, int(s.n), list, a, lda, k)
}

// stopsBefore reports whether a pixel of the image stops before eps.
func (v *walked[T]) stopsBefore(eps T) bool {
	for _, stop := range v.stops {
		if stop.t < eps {
			return true
		}
	}
	return false
}

// flipped lists the units of the first layer that have changed sign since eps 0. It does so, and
// returns true, if no pixel has stopped and if these are fewer than the active units. The second
// layer is then the line z(0) + eps·d, plus the weights of each listed unit times its |z|.
func (w *walk[T]) flipped(s *stretch[T]) bool {
	v := &w.images[s.image]
	if w.turned || v.stopsBefore(s.eps[s.n-1]) {
		return false
	}
	a, n := &w.m.layers[0], int(s.n)
	z, z0 := w.points[0][s.row*a.stride:], w.origin.z[0][s.image*a.stride:]
	before := w.rows.mark()
	list, values, lda := w.rows.next(n, a.out)
	flips := w.m.vec.Flipped(list, values, lda, z, z0[:a.out], a.stride, a.out, n)
	if flips >= v.active {
		w.rows.back(before)
		return false
	}
	w.rows.add(s.row, n, list, values, lda, flips)
	return true
}
