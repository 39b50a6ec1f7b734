package cpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"advsweep/attack"
	"advsweep/internal/batch"
	"advsweep/internal/gemm"
)

// CanExact reports whether the model is one that Exact can walk: a stack of Linear and ReLU.
func (b *Backend[T]) CanExact() bool { return b.net == nil }

// Exact walks the loaded images lo to lo+len(dst)-1 along x(eps) = x0 + eps·sign(∂L/∂x), clipped to
// bounds, and writes for each the intervals of eps in [0, max] on which it is given its label.
//
// The walk looks at points, five of an image at a time, and from two neighbours concludes for the
// stretch between them:
//
//   - If no unit of any layer changes sign, the logits are straight there (two points of one linear region have the
//     whole stretch between them in it), and where a margin is 0 follows from its two ends.
//   - Else rates bound how far each margin leaves its straight line. Where the line is farther from 0 than that, the sign
//     is known; only the rest is looked at again, at five points of its own.
//
// A bound is quadratic in the length of a stretch, so that a crossing is found in a few turns,
// without visiting the breakpoints one by one. Ends lie within rounding of the truth, and each is
// checked by a forward pass on both sides.
func (b *Backend[T]) Exact(ctx context.Context, lo int, max float64, bounds attack.Bounds, dst []attack.Walk) error {
	if b.closed {
		return errClosed
	}
	if !b.CanExact() {
		return errors.New("cpu: exact: the model is no stack of Linear and ReLU: ask for counts at eps only")
	}
	if lo < 0 || lo+len(dst) > len(b.labels) {
		return fmt.Errorf("cpu: exact: images %d to %d of %d", lo, lo+len(dst), len(b.labels))
	}
	if !(max > 0) || math.IsInf(max, 0) || T(max) == 0 || T(max)-T(max) != 0 {
		return fmt.Errorf("cpu: exact: eps up to %v, want a number that is above 0 and finite in %s", max, b.info.Precision)
	}
	if _, err := batch.Step(attack.Step{Size: []float64{max}, Bounds: bounds}, len(dst), 1, b.out, b.min, b.max); err != nil {
		return fmt.Errorf("cpu: exact: %w", err)
	}
	lowest := 1 // a layer whose units can have kinks
	if !bounds.None() {
		lowest = 0 // and pixels that stop
	}
	if err := b.rate(ctx, min(lowest, len(b.layers)-1)); err != nil {
		return err
	}
	// With bounds no pixel moves any more from hi - lo on. Where eps is much larger the line of the
	// first layer and what its stopped pixels are behind would cancel.
	far := T(max)
	if all := T(bounds.Hi) - T(bounds.Lo); !bounds.None() && all > 0 {
		far = min(far, 2*all)
	}
	// Images of one label lie together: pairs of them have more units in common.
	order := make([]int, len(dst))
	for i := range order {
		order[i] = lo + i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(b.labels[i], b.labels[j]) })
	b.broken.Store(-1)
	err := b.each(ctx, len(dst), walkRows, func(w *scratch[T], from, to int) {
		if w.walk == nil {
			w.walk = &walk[T]{b: b, scratch: w}
			w.walk.rows = rows[T]{vec: b.vec, dense: b.dense}
		}
		w.walk.image = order[from:to]
		w.walk.run(to-from, far, bounds, lo, dst)
		for _, i := range order[from:to] { // what is right at far is right up to max
			if all := dst[i-lo].Correct; len(all) > 0 && all[len(all)-1].Hi >= float64(far) {
				last := &all[len(all)-1]
				last.Lo, last.Hi = min(last.Lo, max), max
			}
		}
	})
	if i := b.broken.Load(); i >= 0 && err == nil {
		err = fmt.Errorf("cpu: exact: image %d: the logits or the gradient are not finite in %s", b.first+int(i), b.info.Precision)
	}
	return err
}

// A walk is what one worker needs to walk a block of images. Rows of a matrix have the stride of
// their layer.
type walk[T Float] struct {
	b       *Backend[T]
	scratch *scratch[T]
	rows    rows[T]
	image   []int // the images, by their place among the loaded ones [n]
	n       int
	dst     []*attack.Walk
	max     T
	bounds  attack.Bounds

	// the output of each layer before its ReLU at the clean images [n, stride]; the last are the
	// logits
	clean  [][]T
	points [][]T       // the same at the points looked at
	s      []T         // where pixels move to: -1, 0, 1 [n, I]
	c      []T         // the slope of the first layer's output at eps 0, W·s [n, stride]
	d      []T         // and of the second's [n, stride]
	stops  [][]stop[T] // by pixel [n]
	guess  []T         // where the margin would be 0 if the model were linear, or negative [n]
	noise  []T         // what rounding may do to a margin [n]
	pieces [][]piece   // what is known [n]
	active []int       // units of the first layer [n]
	opened []int       // stretches looked at again so far [n]
	open   []stretch[T]
	margin [2][]T // [O]
	part   [2][]T
	list   []uint32 // kinks between two points,
	kink   []T      // how far each goes,
	// and how far they let margins go: below and above for each rival [2·C, whole vectors]
	bound  []T
	found  []end
	failed bool // something is not finite
	x      []T
}

// A stop is a pixel that reaches a bound at eps t, and stays there.
type stop[T Float] struct {
	t     T
	pixel int32
}

// A stretch is a part of an image's ray on which it is not yet known where its label is given, with
// the points to look at: five or two, as a product takes them.
type stretch[T Float] struct {
	image int
	from  int8 // what lies before the first point: see below
	n     int8
	eps   [gemm.GroupRows]T // [n], rising
	last  T                 // the point before, if fromLast
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

// walkRows and groupsAtOnce bound the images and the points that a worker has in memory.
const (
	walkRows     = 96
	groupsAtOnce = 96
)

// maxOpened bounds the stretches of one image that are looked at again. Nets of five layers take
// hundreds. From there on lines are taken for the truth, by a model made to have more kinks that
// matter, or whose rates are not finite; the checks of the ends tell.
const maxOpened = 1 << 13

func (w *walk[T]) run(n int, max T, bounds attack.Bounds, lo int, all []attack.Walk) {
	w.n, w.max, w.bounds = n, max, bounds
	w.dst = w.dst[:0]
	for _, i := range w.image {
		w.dst = append(w.dst, &all[i-lo])
	}
	dst := w.dst
	if !w.start(dst) {
		return
	}
	for len(w.open) > 0 {
		now := min(len(w.open), groupsAtOnce)
		for now < len(w.open) && w.open[now].from == fromLast {
			now++
		}
		w.look(w.open[:now])
		for g := range now {
			w.conclude(w.open[g]) // appends to open
		}
		if w.failed {
			return
		}
		w.open = append(w.open[:0], w.open[now:]...)
	}
	for i := range n {
		dst[i].Correct = intervals(w.pieces[i])
		w.ends(i, dst[i])
	}
	w.check(dst)
}

// start computes what all points of a ray share, and chooses the first ones. It returns false if
// something is not finite.
func (w *walk[T]) start(dst []*attack.Walk) bool {
	b, n, L := w.b, w.n, len(w.b.layers)
	w.clean, w.points = resize(w.clean, L), resize(w.points, L)
	w.stops, w.pieces = resize(w.stops, n), resize(w.pieces, n)
	w.guess, w.noise, w.active = resize(w.guess, n), resize(w.noise, n), resize(w.active, n)
	w.opened = resize(w.opened, n)
	w.margin[0], w.margin[1] = resize(w.margin[0], b.out), resize(w.margin[1], b.out)
	w.part[0], w.part[1] = resize(w.part[0], b.out), resize(w.part[1], b.out)
	widest := b.in
	for l := range b.layers {
		widest = max(widest, b.layers[l].out)
	}
	w.list, w.kink = resize(w.list, widest+gemm.VectorPad), resize(w.kink, widest+gemm.VectorPad)
	w.bound = resize(w.bound, b.rates.at(L-1, 0).Padded())
	w.open, w.found, w.failed = w.open[:0], w.found[:0], false

	// The clean images, their classes, and their gradients.
	w.clean[0] = resize(w.clean[0], n*b.layers[0].stride)
	w.x = resize(w.x, n*b.in)
	for i := range n {
		copy(w.x[i*b.in:], b.clean(w.image[i]))
	}
	copy(w.clean[0], b.affine(w.scratch, w.x, n, unlike))
	b.up(&w.rows, w.clean, 1, n, unlike)
	top := &b.layers[L-1]
	for i := range n {
		class := make([]int32, 1)
		argmax(class, w.clean[L-1][i*top.stride:], b.out, 0)
		if class[0] < 0 {
			w.fail(i)
		}
		*dst[i] = attack.Walk{Class: int(class[0])}
	}
	if w.failed {
		return false
	}
	b.loss(w.scratch, w.clean, n, func(r int) int32 { return b.labels[w.image[r]] })
	for i := range n {
		w.guess[i] = 0
		for j, q := range w.scratch.grad[0][i*top.stride:][:b.out] {
			w.guess[i] -= T(q * w.clean[L-1][i*top.stride+j])
		}
	}
	grad := b.down(w.scratch, &w.rows, w.clean, n, unlike, nil)
	w.s = resize(w.s, n*b.in)
	for i := range n {
		g, s := grad[i*b.layers[0].below:][:b.in], b.sign[w.image[i]*b.in:][:b.in]
		zero, finite := signOf(s, g)
		if !finite {
			w.fail(i)
		}
		b.flat[w.image[i]], b.signed[w.image[i]] = zero, true
		dst[i].Zero = zero
		if steep := w.direct(i, g, s); steep > 0 {
			w.guess[i] /= steep
		} else {
			w.guess[i] = -1
		}
	}

	if w.failed {
		return false
	}

	// The slopes of the first two layers at eps 0.
	a := &b.layers[0]
	w.c = resize(w.c, n*a.stride)
	w.rows.reset(n, b.in)
	unlike(&w.rows, n, b.in, func(row, count int) int { return w.rows.nonZero(row, count, w.s, b.in, b.in) })
	w.rows.multiplyFrom(b.zeros, w.c, a.stride, a.wt)
	if L > 1 {
		a := &b.layers[1]
		w.d = resize(w.d, n*a.stride)
		w.positive(w.c, w.clean[0], 1)
		w.rows.multiplyFrom(b.zeros, w.d, a.stride, a.wt)
	}

	for i := range n {
		w.pieces[i], w.opened[i] = w.pieces[i][:0], 0
		if b.rates.never[b.labels[w.image[i]]] {
			w.know(i, 0, w.max, false)
			continue
		}
		w.noise[i] = w.rounding(i, w.clean, i)
		w.active[i] = b.vec.Positive(w.list, w.kink, len(w.kink), w.clean[0][i*a.stride:], w.clean[0][i*a.stride:], a.stride, a.out, 1)
		w.firstPoints(i)
	}
	return true
}

// fail notes that something of image i is not finite.
func (w *walk[T]) fail(i int) {
	w.failed = true
	w.b.fail(w.image[i])
}

// positive lists the images' rows of v where m is positive, the input of layer l.
func (w *walk[T]) positive(v, m []T, l int) {
	a := &w.b.layers[l-1]
	w.rows.reset(w.n, a.out)
	unlike(&w.rows, w.n, a.out, func(row, count int) int { return w.rows.positive(row, count, v, m, a.stride, a.out) })
}

// direct notes where the pixels of image i move, given their gradient g [I] and its signs, and
// where they stop. It returns the sum of |g| over those that move: the slope of the loss.
func (w *walk[T]) direct(i int, g []T, sign []int8) T {
	s, x0 := w.s[i*w.b.in:][:w.b.in], w.b.clean(w.image[i])
	w.stops[i] = w.stops[i][:0]
	lo, hi := T(w.bounds.Lo), T(w.bounds.Hi)
	steep := T(0)
	for p, v := range sign {
		s[p] = T(v)
		if v == 0 {
			continue
		}
		if !w.bounds.None() {
			t := hi - x0[p]
			if v < 0 {
				t = x0[p] - lo
			}
			if t <= 0 {
				s[p] = 0
				continue
			}
			if t < w.max {
				w.stops[i] = append(w.stops[i], stop[T]{t, int32(p)})
			}
		}
		steep += max(g[p], -g[p])
	}
	return steep
}

// firstPoints opens the whole ray of image i: five points around the first failure that the
// gradient promises, and then farther and farther ones, since what is far from a crossing needs
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
	r, max := w.guess[i], w.max
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

// rounding estimates what rounding may do to a margin of image i at one point: by the probabilistic
// bound λ·√n·u·Σ|terms| of Higham and Mary 2019 (SIAM J. Sci. Comput. 41), λ = 4, n the terms of
// all layers.
func (w *walk[T]) rounding(i int, z [][]T, row int) T {
	b, L := w.b, len(w.b.layers)
	terms := 0
	for l := range b.layers {
		terms += b.layers[l].in
	}
	sum := T(0)
	for o, v := range z[L-1][row*b.layers[L-1].stride:][:b.out] {
		bias := b.layers[L-1].bias[o]
		sum = max(sum, v, -v, bias, -bias)
	}
	if L > 1 {
		a := &b.layers[L-2]
		for k, v := range z[L-2][row*a.stride:][:a.out] {
			sum += T(max(v, 0) * b.rates.spread[k])
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
	b, n := w.b, 0
	for g := range s {
		s[g].row = n
		n += int(s[g].n)
	}
	for l := range b.layers {
		a := &b.layers[l]
		w.points[l] = resize(w.points[l], n*a.stride)
		w.rows.reset(n, a.in)
		for g := range s {
			i, start, slope := s[g].image, w.clean[0], w.c
			switch {
			case l == 0:
				w.stopped(&s[g])
			case l == 1 && w.flipped(&s[g]):
				start, slope = w.clean[1], w.d
			default:
				w.rows.positive(s[g].row, int(s[g].n), w.points[l-1], w.points[l-1], b.layers[l-1].stride, a.in)
				start = nil
			}
			for r, e := range s[g].points() {
				z := w.points[l][(s[g].row+r)*a.stride:][:a.stride]
				if start == nil {
					copy(z, a.bias)
				} else {
					b.vec.Line(z, start[i*a.stride:][:a.stride], e, slope[i*a.stride:][:a.stride])
				}
			}
		}
		w.rows.multiply(w.points[l], a.stride, a.wt)
	}
}

// stopped lists how far the pixels that have stopped are behind those that move.
func (w *walk[T]) stopped(s *stretch[T]) {
	last := s.eps[s.n-1]
	if !w.stopsBefore(s.image, last) {
		return
	}
	list, a, lda := w.rows.next(int(s.n), w.b.in)
	k := 0
	for _, v := range w.stops[s.image] {
		if v.t >= last {
			continue
		}
		list[k] = uint32(v.pixel)
		for r, e := range s.points() {
			a[r*lda+k] = -w.s[s.image*w.b.in+int(v.pixel)] * max(e-v.t, 0)
		}
		k++
	}
	w.rows.add(s.row, int(s.n), list, a, lda, k)
}

// stopsBefore reports whether a pixel of image i stops before eps.
func (w *walk[T]) stopsBefore(i int, eps T) bool {
	for _, v := range w.stops[i] {
		if v.t < eps {
			return true
		}
	}
	return false
}

// flipped lists the units of the first layer that have changed sign since eps 0, if these are fewer
// than the active ones. Up to the first stop the output of the second layer is then the line z(0) +
// eps·d that it would be on if none had changed and, for each that has, its weights times |z|.
func (w *walk[T]) flipped(s *stretch[T]) bool {
	if w.stopsBefore(s.image, s.eps[s.n-1]) {
		return false
	}
	a, n := &w.b.layers[0], int(s.n)
	z, z0 := w.points[0][s.row*a.stride:], w.clean[0][s.image*a.stride:]
	before := w.rows.mark()
	list, v, lda := w.rows.next(n, a.out)
	flips := w.b.vec.Flipped(list, v, lda, z, z0[:a.out], a.stride, a.out, n)
	if flips >= w.active[s.image] {
		w.rows.back(before)
		return false
	}
	w.rows.add(s.row, n, list, v, lda, flips)
	return true
}

// conclude draws what follows from the points of s.
func (w *walk[T]) conclude(s stretch[T]) {
	points := s.points()
	switch s.from {
	case fromClean:
		w.between(s.image, 0, points[0], w.clean, s.image, w.points, s.row)
	case fromLast:
		w.between(s.image, s.last, points[0], w.points, s.row-1, w.points, s.row)
	}
	for r := range len(points) - 1 {
		w.between(s.image, points[r], points[r+1], w.points, s.row+r, w.points, s.row+r+1)
	}
}

// between concludes for the part of image i's ray from e0, which is row0 of z0, to e1, row1 of z1.
func (w *walk[T]) between(i int, e0, e1 T, z0 [][]T, row0 int, z1 [][]T, row1 int) {
	b, L := w.b, len(w.b.layers)
	y := b.labels[w.image[i]]
	at := func(z [][]T, l, row int) []T { return z[l][row*b.layers[l].stride:][:b.layers[l].out] }

	// How far each margin may lie below and above its line.
	clear(w.bound)
	for l := range L - 1 {
		if n := b.vec.Kinked(w.list, w.kink, at(z0, l, row0), at(z1, l, row1)); n > 0 {
			w.weigh(b.rates.at(l+1, y), n)
		}
	}
	C := b.rates.classes
	below, above := w.bound[:C], w.bound[C:2*C]
	for _, up := range []bool{false, true} {
		n := 0
		for _, v := range w.stops[i] {
			if v.t > e0 && v.t < e1 && up == (w.s[i*b.in+int(v.pixel)] > 0) {
				w.list[n], w.kink[n] = uint32(v.pixel), (v.t-e0)*(e1-v.t)/(e1-e0)
				n++
			}
		}
		if n == 0 {
			continue
		}
		if !up {
			w.weigh(b.rates.at(0, y), n)
			continue
		}
		// A pixel that moved up to its bound lies above its line, not below: the other way round,
		// now and back.
		swap := func() {
			for c, v := range below {
				below[c], above[c] = above[c], v
			}
		}
		swap()
		w.weigh(b.rates.at(0, y), n)
		swap()
	}

	m := [2][]T{w.margin[0][:0], w.margin[1][:0]}
	for _, c := range b.rates.rivals[y] {
		m[0] = append(m[0], at(z0, L-1, row0)[y]-at(z0, L-1, row0)[c])
		m[1] = append(m[1], at(z1, L-1, row1)[y]-at(z1, L-1, row1)[c])
	}
	for k := range m[0] {
		if d := m[0][k] - m[0][k] + m[1][k] - m[1][k]; d != 0 { // NaN
			w.fail(i)
			return
		}
	}
	// A unit whose input is 0 but for rounding changes sign again and again, wherever one looks. It
	// moves a margin by less than rounding does, which no shorter stretch can tell.
	bend := T(0)
	for _, v := range w.bound[:2*C] {
		bend = max(bend, v)
	}
	if bend <= w.noise[i]/256 || w.opened[i] > maxOpened {
		w.straight(i, e0, e1, m[0], m[1])
		return
	}
	const safe = 1 + 1e-4 // the bounds round too
	for j, v := range w.bound[:2*C] {
		w.bound[j] = T(v*safe) + w.noise[i]
	}

	// right from a to b; wrong up to from and after to
	a, z, from, to := e0, e1, e0, e1
	for k, c := range b.rates.rivals[y] {
		m0, m1 := m[0][k], m[1][k]
		if C == 1 {
			c = 0
		}
		low, high := below[c], above[c]
		switch l0, l1 := m0-low, m1-low; {
		case l0 > 0 && l1 > 0:
		case l0 > 0:
			z = min(z, root(e0, e1, l0, l1))
		case l1 > 0:
			a = max(a, root(e0, e1, l0, l1))
		default:
			a = e1
		}
		switch h0, h1 := m0+high, m1+high; {
		case h0 < 0 && h1 < 0:
			from = e1
		case h0 < 0:
			from = max(from, root(e0, e1, h0, h1))
		case h1 < 0:
			to = min(to, root(e0, e1, h0, h1))
		}
	}
	a, z = max(a, from), min(z, to)
	if from >= to {
		w.know(i, e0, e1, false)
		return
	}
	more := func(u0, u1 T) {
		if u1 <= u0 {
			return
		}
		// Two points have a quarter of the bound that five have, but where the rest is short that
		// is little enough.
		s := stretch[T]{image: i, n: 2, eps: [gemm.GroupRows]T{u0, u1}}
		if (u1-u0)*8 > e1-e0 {
			s.n = gemm.GroupRows
			for k := range s.eps {
				s.eps[k] = u0 + T(T((u1-u0)*T(k))/T(len(s.eps)-1))
			}
			s.eps[len(s.eps)-1] = u1
		}
		if p := s.points(); u1-u0 > 4*unit[T]()*w.scale(u1) && p[1] > u0 && p[len(p)-2] < u1 {
			w.open = append(w.open, s)
			w.opened[i]++
			return
		}
		// So short that rounding decides: take the line for the truth.
		t0, t1 := (u0-e0)/(e1-e0), (u1-e0)/(e1-e0)
		part := [2][]T{w.part[0][:0], w.part[1][:0]}
		for k, m0 := range m[0] {
			part[0] = append(part[0], m0+T((m[1][k]-m0)*t0))
			part[1] = append(part[1], m0+T((m[1][k]-m0)*t1))
		}
		w.straight(i, u0, u1, part[0], part[1])
	}
	w.know(i, e0, from, false)
	if a < z {
		more(from, a)
		w.know(i, a, z, true)
		more(z, to)
	} else {
		more(from, to)
	}
	w.know(i, to, e1, false)
}

// weigh adds to bound the rates m of the first n kinks listed, times how far they go.
func (w *walk[T]) weigh(m *gemm.Matrix[T], n int) {
	m.MulAddGroups(w.bound, len(w.bound), []gemm.Group[T]{{Rows: 1, List: w.list[:n], A: w.kink}})
}

// root is where the line from v0 at e0 to v1 at e1, of opposite signs, is 0.
func root[T Float](e0, e1, v0, v1 T) T {
	t := float64(v0) / (float64(v0) - float64(v1))
	return min(max(T(float64(e0)+float64(t*(float64(e1)-float64(e0)))), e0), e1)
}

// straight concludes for a part of the ray on which the margins over the rivals are lines, m0 at e0
// and m1 at e1.
func (w *walk[T]) straight(i int, e0, e1 T, m0, m1 []T) {
	y := w.b.labels[w.image[i]]
	a, z := e0, e1
	for k, c := range w.b.rates.rivals[y] {
		wins := func(m T) bool { return m > 0 || m == 0 && c > y } // the first class on a tie
		switch r0, r1 := wins(m0[k]), wins(m1[k]); {
		case r0 && r1:
		case r0:
			z = min(z, root(e0, e1, m0[k], m1[k]))
		case r1:
			a = max(a, root(e0, e1, m0[k], m1[k]))
		default:
			a = e1
		}
	}
	if a >= z {
		w.know(i, e0, e1, false)
		return
	}
	w.know(i, e0, a, false)
	w.know(i, a, z, true)
	w.know(i, z, e1, false)
}

// know notes that image i is given its label everywhere from e0 to e1, or nowhere.
func (w *walk[T]) know(i int, e0, e1 T, right bool) {
	if e0 < e1 {
		w.pieces[i] = append(w.pieces[i], piece{float64(e0), float64(e1), right})
	}
}

// intervals joins the pieces of a whole ray to the intervals of those that are right.
func intervals(p []piece) []attack.Interval {
	slices.SortFunc(p, func(a, b piece) int { return cmp.Compare(a.lo, b.lo) })
	var all []attack.Interval
	for _, v := range p {
		switch n := len(all); {
		case !v.right:
		case n > 0 && all[n-1].Hi == v.lo:
			all[n-1].Hi = v.hi
		default:
			all = append(all, attack.Interval{Lo: v.lo, Hi: v.hi})
		}
	}
	return all
}

// An end is where an interval of image begins or ends, with the next ones before and after.
type end struct {
	image             int
	before, at, after float64
	right             bool // before it
}

// scale is what x0 + e·s rounds at: that of the pixels or of e, at most the largest eps.
func (w *walk[T]) scale(e T) T { return min(w.max, max(1, 2*e)) }

// asides are how far from an end it is checked, in units of rounding at scale. The first is 1e-6 in
// float32 of an eps of 1. Where a forward pass finds something else there, the logits may cross at
// so small an angle that they are equal within rounding, and it is tried again at the next.
var asides = [...]float64{16, 16 * 16, 16 * 256}

// ends lists the ends of intervals of image i.
func (w *walk[T]) ends(i int, walk *attack.Walk) {
	first := len(w.found)
	right, before := len(walk.Correct) > 0 && walk.Correct[0].Lo == 0, 0.0
	for _, v := range walk.Correct {
		for _, e := range []float64{v.Lo, v.Hi} {
			if e > 0 && e < float64(w.max) {
				w.found = append(w.found, end{i, before, e, float64(w.max), right})
				right, before = !right, e
			}
		}
	}
	walk.Ends = len(w.found) - first
	for k := first; k+1 < len(w.found); k++ {
		w.found[k].after = w.found[k+1].at
	}
}

// check looks beside every end on both sides, by forward passes that know nothing of the walk, but
// that without bounds the first layer is a + eps·c as for any other step, see ray.
func (w *walk[T]) check(dst []*attack.Walk) {
	for k, aside := range asides {
		step := func(e float64) float64 { return aside * float64(unit[T]()) * float64(w.scale(T(e))) }
		var again []end
		for lo := 0; lo < len(w.found); lo += groupsAtOnce {
			some := w.found[lo:min(lo+groupsAtOnce, len(w.found))]
			images, eps := make([]int, 0, 2*groupsAtOnce), make([]T, 0, 2*groupsAtOnce)
			for _, e := range some {
				images = append(images, e.image, e.image)
				eps = append(eps, T(e.at-min(step(e.at), (e.at-e.before)/2)), T(e.at+min(step(e.at), (e.after-e.at)/2)))
			}
			right := w.forward(images, eps)
			for j, e := range some {
				walk := dst[e.image]
				switch agree := right[2*j] == e.right && right[2*j+1] != e.right; {
				case agree:
					walk.Within = max(walk.Within, step(e.at))
				case k+1 < len(asides):
					again = append(again, e)
				default:
					walk.Disagreed = append(walk.Disagreed, e.at)
				}
			}
		}
		w.found = again
	}
}

// forward reports for images at eps, each, whether it is given its label.
func (w *walk[T]) forward(images []int, eps []T) []bool {
	b, n := w.b, len(images)
	a := &b.layers[0]
	w.points[0] = resize(w.points[0], n*a.stride)
	if w.bounds.None() {
		for r, i := range images {
			b.vec.Line(w.points[0][r*a.stride:][:a.stride], w.clean[0][i*a.stride:][:a.stride], eps[r], w.c[i*a.stride:][:a.stride])
		}
	} else {
		w.x = resize(w.x, n*b.in)
		for r, i := range images {
			x, x0 := w.x[r*b.in:][:b.in], b.clean(w.image[i])
			signStep(x, x0, b.sign[w.image[i]*b.in:][:b.in], eps[r])
			project(x, x0, eps[r], T(w.bounds.Lo), T(w.bounds.Hi))
		}
		copy(w.points[0], b.affine(w.scratch, w.x, n, unlike))
	}
	b.up(&w.rows, w.points, 1, n, unlike)
	top := &b.layers[len(b.layers)-1]
	class, right := make([]int32, 1), make([]bool, n)
	for r, i := range images {
		argmax(class, w.points[len(b.layers)-1][r*top.stride:][:b.out], b.out, b.out)
		right[r] = class[0] == b.labels[w.image[i]]
	}
	return right
}
