package cpu

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"
	"advsweep/internal/gemm"
)

// Read walks the loaded images lo to lo+len(dst)-1, as Exact does up to the largest of eps [E], and
// reads off each walk what the model says at eps. Rounded asks also what it says once pixels are
// rounded to 8 bits. It takes the memory of what dst held before.
//
// The points of the walk and what lies between them decide nearly all of it. At the rest the model
// is looked at again. Where rounding might decide, the rows themselves are asked, or within bounds
// left open. So is what rounding to 8 bits does to images that have no bytes as pixels.
//
// Where rounded pixels are asked for, they are on a ray too. A clean pixel is a level n/255, and
// one that moves by eps comes to rest at the level n ± floor(255·eps + 1e-4), or at 0 or 255. See
// backend.Rounding. That is the ray clipped to [0, 1], at multiples of 1/255.
func (b *Backend[T]) Read(ctx context.Context, lo int, eps []float64, bounds attack.Bounds, rounded bool, dst []attack.Reading) error {
	if b.closed {
		return errClosed
	}
	if err := b.readable(lo, len(dst), eps, bounds); err != nil {
		return fmt.Errorf("cpu: read: %w", err)
	}
	for k := range dst {
		d := &dst[k]
		*d = attack.Reading{Classes: resize(d.Classes, len(eps)), Norms: resize(d.Norms, len(eps)), Rounded: d.Rounded, At: attack.Open}
		clear(d.Norms)
		if d.Rounded = resize(d.Rounded, len(eps)); !rounded {
			d.Rounded = nil
		}
	}
	if b.model.net != nil {
		return b.readNothing(ctx, lo, eps[len(eps)-1], bounds, dst)
	}
	to := b.newListed(eps, bounds, rounded)
	if m := b.model.mlp; m.absolute == nil && (to.turns || !bounds.None()) {
		m.absolute = m.layers[0].wt.Abs()
	}
	read := func(w *walk[T]) *reading[T] {
		return newReading(w, to, func(k int) *attack.Reading { return &dst[k-lo] })
	}
	return b.walks(ctx, lo, len(dst), eps[len(eps)-1], bounds, read, func(k int) *attack.Walk { return &dst[k].Walk })
}

// readNothing walks images of a model that is no MLP, for Read, and leaves open what it says at the
// eps of a list. A walk in float64 cannot tell which way float32 rounds.
func (b *Backend[T]) readNothing(ctx context.Context, lo int, max float64, bounds attack.Bounds, dst []attack.Reading) error {
	if err := b.walkStretches(ctx, lo, len(dst), max, bounds, func(k int) *attack.Walk { return &dst[k].Walk }); err != nil {
		return fmt.Errorf("cpu: read: %w", err)
	}
	for k := range dst {
		d, label := &dst[k], int(b.loaded.labels[lo+k])
		z := logits64(b.loaded.logits.of(lo + k))
		_, margin, _ := attack.Judge(z, label)
		d.Margin, d.Lowest = float32(margin), int32(attack.LeastLikely.Of(label, z, 0))
		d.Norms = nil
		for e := range d.Classes {
			d.Classes[e] = attack.Open
		}
		for e := range d.Rounded {
			d.Rounded[e] = attack.Open
		}
	}
	return nil
}

// readable returns an error if n images from lo on cannot be read at eps.
func (b *Backend[T]) readable(lo, n int, eps []float64, bounds attack.Bounds) error {
	if err := attack.ValidateEps(eps); err != nil {
		return err
	}
	if len(eps) == 0 {
		return errors.New("no eps")
	}
	if _, err := batch.Begin[T](0, 0, 0, eps, math.MaxInt); err != nil {
		return err
	}
	return b.walkable(lo, n, eps[len(eps)-1], bounds)
}

// A listed is the eps of a Read, [E], and how they are looked up on rays. It is the same for all
// blocks.
type listed[T Float] struct {
	eps     []T // [E], as Begin has them
	at      []T // [E], as far as pixels can move
	rounded bool
	level   []int32 // [E], by how many levels a pixel moves and comes to rest, or attack.Open
	levels  []T     // those of level that are above 0, in pixels, rising [K]
	place   []int32 // [E], of an eps in levels, or -1 where its level is 0 or open
	turns   bool    // rounded images lie on other rays than those of the walk
}

// newListed looks eps up. Rounded images lie on rays if all clean pixels are levels, and bounds, if
// there are any, are those of levels.
func (b *Backend[T]) newListed(eps []float64, bounds attack.Bounds, rounded bool) *listed[T] {
	v := &listed[T]{rounded: rounded, level: make([]int32, len(eps)), place: make([]int32, len(eps))}
	far := T(math.Inf(1))
	if all := T(bounds.Hi) - T(bounds.Lo); !bounds.None() && all > 0 {
		far = 2 * all
	}
	onRays := rounded && b.loaded.levels && (bounds.None() || bounds == attack.Bounds{Lo: 0, Hi: 1})
	for e, value := range eps {
		v.eps, v.at = append(v.eps, T(value)), append(v.at, min(T(value), far))
		v.level[e], v.place[e] = attack.Open, -1
		if !onRays {
			continue
		}
		// In float32 a level errs by 2e-5 at most. Where that could take it past a whole number, a
		// forward pass has to tell.
		n := float64(255*float64(v.eps[e])) + nearLevel
		if f := n - math.Floor(n); f < nearLevel/2 || f > 1-nearLevel/2 {
			continue
		}
		k := int32(min(math.Floor(n), 256)) // which no pixel reaches
		if v.level[e] = k; k == 0 {
			continue
		}
		if x := T(k) / 255; len(v.levels) == 0 || v.levels[len(v.levels)-1] < x {
			v.levels = append(v.levels, x)
		}
		v.place[e] = int32(len(v.levels) - 1)
	}
	v.turns = bounds.None() && len(v.levels) > 0
	return v
}

// A reading is what Read wants to know of the block that a walk walks. The walk tells it of all
// points that it looks at and of the stretches between them.
type reading[T Float] struct {
	to  *listed[T]
	dst func(image int) *attack.Reading // by its place among the loaded ones
	// [n], what rounding may do to a margin anywhere on the ray
	most []T // [n], what rounding may do to a margin at the far end of the ray
	// inside [n] is the eps at which the margin would be 0 within [0, 1] if the model were linear.
	inside  []T
	marks   marks[T] // of the eps
	shades  marks[T] // of the levels
	bends   sharpBend[T]
	touring touring[T]
	wide    []T   // [2·C], bounds of margins with all that rounding may do
	todo    []int // places that one image is still to be looked at
	places  []place
	stops   []T // where the pixels of one image stop, rising
}

// A marks is a list of places on the rays of a block, and what is known there.
type marks[T Float] struct {
	eps []T // [G], not falling
	// [n, G]; of marks the class, of shades 1 where the label is given and else 0; or Open
	known []int32
	seen  []bool // [n, G]: the model was looked at there
	// Of marks alone: the least that the margin of the label can be, the margin where it was seen,
	// and the least one of these, [n, G] and [n].
	low    []T
	margin []float32
	best   []float32
}

// reset forgets all of n images at eps [G].
func (m *marks[T]) reset(eps []T, n int, margins bool) {
	G := len(eps)
	m.eps, m.known, m.seen = eps, resize(m.known, n*G), resize(m.seen, n*G)
	for k := range m.known {
		m.known[k] = attack.Open
	}
	clear(m.seen)
	m.low, m.margin, m.best = m.low[:0], m.margin[:0], m.best[:0]
	if margins {
		m.low, m.margin, m.best = resize(m.low, n*G), resize(m.margin, n*G), resize(m.best, n)
		for k := range m.low {
			m.low[k] = T(math.Inf(-1))
		}
		for k := range m.best {
			m.best[k] = float32(math.Inf(1))
		}
	}
}

// within returns the places of the eps from e0 to e1: from the first of them on, up to before the
// second.
func (m *marks[T]) within(e0, e1 T) (from, to int) {
	from, _ = slices.BinarySearch(m.eps, e0)
	to = from
	for to < len(m.eps) && m.eps[to] <= e1 {
		to++
	}
	return from, to
}

// newReading is that of the block in w.
func newReading[T Float](w *walk[T], to *listed[T], dst func(image int) *attack.Reading) *reading[T] {
	r := w.memory
	if r == nil {
		r = new(reading[T])
	}
	n := len(w.images)
	r.to, r.dst, r.most, r.inside = to, dst, resize(r.most, n), resize(r.inside, n)
	clear(r.most)
	r.wide = resize(r.wide, 2*w.m.rates.classes)
	r.marks.reset(to.at, n, true)
	r.shades.reset(to.levels, n, false)
	return r
}

// clean takes what the model says of the clean images.
func (r *reading[T]) clean(w *walk[T]) {
	top := w.m.top()
	for i := range w.images {
		v := &w.images[i]
		label := int(w.b.loaded.labels[v.image])
		z := logits64(w.origin.z[len(w.m.layers)-1][i*top.stride:][:w.b.model.out])
		class, margin, _ := attack.Judge(z, label)
		d := r.dst(v.image)
		d.Margin, d.Lowest = float32(margin), int32(attack.LeastLikely.Of(label, z, 0))
		G := len(r.to.eps)
		for e := 0; e < G && r.to.eps[e] == 0; e++ {
			r.marks.known[i*G+e], r.marks.seen[i*G+e] = int32(class), true
			r.marks.margin[i*G+e], r.marks.best[i] = d.Margin, d.Margin
		}
	}
}

// aim notes where image i would first fail within [0, 1] if the model were linear, or -1. Its guess
// is the loss at eps 0, and g [I] the gradient.
func (r *reading[T]) aim(w *walk[T], i int, g []T) {
	if r.inside[i] = -1; !r.to.turns {
		return
	}
	x0, steep := w.b.loaded.clean(w.images[i].image), T(0)
	for p, v := range g {
		if v > 0 && x0[p] < 1 || v < 0 && x0[p] > 0 {
			steep += max(v, -v)
		}
	}
	if steep > 0 {
		r.inside[i] = w.images[i].guess / steep
	}
}

// logits64 is z in float64.
func logits64[T Float](z []T) []float64 {
	out := make([]float64, len(z))
	for j, v := range z {
		out[j] = float64(v)
	}
	return out
}

// points takes what the model says at points of the walk that are on the list, and how much
// rounding may do at the last point of the ray.
func (r *reading[T]) points(w *walk[T], looked []stretch[T]) {
	for _, s := range looked {
		for k, e := range s.points() {
			if e == w.max {
				r.most[s.image] = max(r.most[s.image], w.rounding(w.points, s.row+k))
			}
		}
	}
	for _, s := range looked {
		for k, e := range s.points() {
			r.seen(w, s.image, e, s.row+k)
		}
	}
}

// noise is what rounding may do to the difference of two logits of image i, in two computations of
// it: that of a row, and that of a point, whose terms are up to twice as large (see tour).
func (r *reading[T]) noise(w *walk[T], i int) T {
	return T(w.m.doubt * max(w.images[i].noise, r.most[i]))
}

// seen takes the logits of image i at eps, which are in a row of the walk's points.
func (r *reading[T]) seen(w *walk[T], i int, eps T, row int) {
	top, label := w.m.top(), w.b.loaded.labels[w.images[i].image]
	z := w.points[len(w.m.layers)-1][row*top.stride:][:w.b.model.out]
	class, second := topTwo(z)
	m := z[label] - z[class]
	if int32(class) == label {
		m = z[class] - z[second]
	}
	noise, G := r.noise(w, i), len(r.marks.eps)
	if !w.turned {
		from, to := r.marks.within(eps, eps)
		for e := from; e < to; e++ {
			k := i*G + e
			r.marks.seen[k] = true
			rival := class
			if rival == int(label) {
				rival = second
			}
			margin := float32(float64(z[label]) - float64(z[rival]))
			r.marks.margin[k], r.marks.best[i] = margin, min(r.marks.best[i], margin)
			if z[class]-z[second] > noise {
				r.marks.known[k] = int32(class)
			}
		}
	}
	if w.turned || !r.to.turns {
		from, to := r.shades.within(eps, eps)
		for e := from; e < to; e++ {
			k := i*len(r.shades.eps) + e
			r.shades.seen[k] = true
			switch {
			case m > noise:
				r.shades.known[k] = 1
			case -m > noise:
				r.shades.known[k] = 0
			}
		}
	}
}

// topTwo returns the classes of the largest logit and of the second largest, the first ones on a
// tie.
func topTwo[T Float](z []T) (class, second int) {
	second = 1
	if z[1] > z[0] {
		class, second = 1, 0
	}
	for j := 2; j < len(z); j++ {
		switch {
		case z[j] > z[class]:
			class, second = j, class
		case z[j] > z[second]:
			second = j
		}
	}
	return class, second
}

// between takes what is sure of image i from p0 to p1: the chord has the margins of its label and
// their bounds.
func (r *reading[T]) between(w *walk[T], i int, p0, p1 *point[T]) {
	y := w.b.loaded.labels[w.images[i].image]
	widen(r.wide, w.chord.bound, r.noise(w, i))
	s := w.sure(y, r.wide, p0.eps, p1.eps)
	if !w.turned {
		from, to := r.marks.within(p0.eps, p1.eps)
		known, low := r.marks.known[i*len(r.marks.eps):], r.marks.low[i*len(r.marks.eps):]
		least := T(math.Inf(1))
		if from < to {
			least = min(r.lowest(w, y, 0), r.lowest(w, y, 1))
		}
		for e := from; e < to; e++ {
			at := r.marks.eps[e]
			if known[e] == attack.Open && s.lo < s.hi && s.lo <= at && at <= s.hi {
				known[e] = y
			}
			bound := least
			if float32(bound) < r.marks.best[i] {
				bound = r.lowest(w, y, (at-p0.eps)/(p1.eps-p0.eps))
			}
			low[e] = max(low[e], bound)
		}
	}
	if w.turned || !r.to.turns {
		from, to := r.shades.within(p0.eps, p1.eps)
		known := r.shades.known[i*len(r.shades.eps):]
		for e := from; e < to; e++ {
			switch at := r.shades.eps[e]; {
			case known[e] != attack.Open:
			case s.lo < s.hi && s.lo <= at && at <= s.hi:
				known[e] = 1
			case at < s.from || at > s.to:
				known[e] = 0
			}
		}
	}
}

// lowest is the least that the margin of class y can be at a share t of the chord.
func (r *reading[T]) lowest(w *walk[T], y int32, t T) T {
	c, rates := &w.chord, w.m.rates
	least := T(math.Inf(1))
	for k, rival := range rates.rivals[y] {
		if rates.classes == 1 {
			rival = 0
		}
		m := c.margin[0][k] + T((c.margin[1][k]-c.margin[0][k])*t)
		least = min(least, m-r.wide[rival])
	}
	if len(rates.rivals[y]) < w.b.model.out-1 { // another class has the same logits
		least = min(least, 0)
	}
	return least
}

// beyond is others for a stretch of the walk's own.
func (r *reading[T]) beyond(w *walk[T], i int, p0, p1 *point[T]) {
	if r.anyOpen(w, i, p0.eps, p1.eps) {
		one := [1]between[T]{{i, *p0, *p1, -1}}
		r.stopsOf(w, one[:])
		r.others(w, &one[0])
	}
}

// anyOpen reports whether a class of image i is open from e0 to e1.
func (r *reading[T]) anyOpen(w *walk[T], i int, e0, e1 T) bool {
	from, to := r.marks.within(e0, e1)
	G := len(r.marks.eps)
	return !w.turned && !w.failed && slices.Contains(r.marks.known[i*G+from:i*G+to], attack.Open)
}

// others finds which class the model gives the image within c, where that is not its label.
func (r *reading[T]) others(w *walk[T], c *between[T]) {
	if w.turned || w.failed {
		return
	}
	i, p0, p1 := c.image, &c.p0, &c.p1
	from, to := r.marks.within(p0.eps, p1.eps)
	known := r.marks.known[i*len(r.marks.eps):]
	for from < to && known[from] != attack.Open {
		from++
	}
	for from < to && known[to-1] != attack.Open {
		to--
	}
	if from == to {
		return
	}
	top, label := len(w.m.layers)-1, w.b.loaded.labels[w.images[i].image]
	first, _ := topTwo(p0.layer(w.m, top))
	last, _ := topTwo(p1.layer(w.m, top))
	for k, class := range [2]int32{int32(first), int32(last)} {
		if class == label || k == 1 && first == last {
			continue
		}
		r.bend(w, c, class)
		if !w.margins(class, p0, p1) {
			return // the walk fails there
		}
		widen(r.wide, w.chord.bound, r.noise(w, i))
		s := w.sure(class, r.wide, p0.eps, p1.eps)
		for e := from; e < to; e++ {
			if at := r.marks.eps[e]; known[e] == attack.Open && s.lo < s.hi && s.lo <= at && at <= s.hi {
				known[e] = class
			}
		}
	}
}

// finish looks at all places of the list that the walk left open, and writes the results.
func (r *reading[T]) finish(w *walk[T]) {
	if w.bounds.None() && len(w.m.layers) > 1 {
		r.tours(w)
	} else {
		r.settle(w, &r.marks, r.wanted)
	}
	if w.failed {
		return
	}
	if w.bounds.None() {
		r.decide(w)
	}
	r.norms(w)
	w.took(backend.Looks)
	if len(r.to.levels) > 0 {
		if r.to.turns {
			w.turn(r.to.levels[len(r.to.levels)-1])
			r.shadesFirst(w)
		}
		if r.settle(w, &r.shades, r.unshaded); !w.failed {
			r.decideShades(w)
		}
		w.took(backend.Roundings)
	}
	if !w.failed {
		r.write(w)
	}
}

// settle looks at places until none is wanted.
func (r *reading[T]) settle(w *walk[T], m *marks[T], wanted func(i, e int) bool) {
	for !w.failed {
		w.open = w.open[:0]
		for i := range w.images {
			if w.m.rates.never[w.b.loaded.labels[w.images[i].image]] {
				continue // left open
			}
			s, n := stretch[T]{image: i}, 0
			for _, at := range r.pick(len(m.eps), gemm.GroupRows, func(e int) bool { return wanted(i, e) }) {
				s.eps[n] = m.eps[at]
				n++
			}
			if n > 0 {
				w.open = append(w.open, s.filled(n))
			}
		}
		if len(w.open) == 0 {
			return
		}
		r.look(w)
	}
}

// pick returns those of G places that are wanted, rising. Of more than most it returns so many,
// spread evenly, the first and the last among them. They are valid until the next call.
func (r *reading[T]) pick(G, most int, wanted func(e int) bool) []int {
	r.todo = r.todo[:0]
	for e := range G {
		if wanted(e) {
			r.todo = append(r.todo, e)
		}
	}
	n := len(r.todo)
	if n <= most {
		return r.todo
	}
	for k := range most { // not below k
		r.todo[k] = r.todo[k*(n-1)/(most-1)]
	}
	return r.todo[:most]
}

// filled returns s with n points, and its last one again and again up to as many as a product
// takes.
func (s stretch[T]) filled(n int) stretch[T] {
	s.n = int8(n)
	if n > 2 {
		s.n = gemm.GroupRows
	}
	for k := n; k < int(s.n); k++ {
		s.eps[k] = s.eps[n-1]
	}
	return s
}

// look looks at the open stretches of w and takes what they say.
func (r *reading[T]) look(w *walk[T]) {
	for lo := 0; lo < len(w.open); lo += groupsAtOnce {
		now := w.open[lo:min(lo+groupsAtOnce, len(w.open))]
		w.look(now)
		for _, s := range now {
			for k, e := range s.points() {
				r.seen(w, s.image, e, s.row+k)
			}
		}
		chords := r.bends.chords[:0]
		for _, s := range now {
			before := point[T]{0, w.origin.z, s.image}
			for k, e := range s.points() {
				at := point[T]{e, w.points, s.row + k}
				if (k > 0 || s.from == fromClean) && e > before.eps && r.asks(w, s.image, before.eps, e) {
					chords = append(chords, between[T]{s.image, before, at, -1})
				}
				before = at
			}
		}
		r.bends.chords = chords
		for from := 0; from < len(chords); from += chordsAtOnce {
			some := chords[from:min(from+chordsAtOnce, len(chords))]
			r.stopsOf(w, some)
			for k := range some {
				r.chord(w, &some[k])
			}
		}
	}
}

// asks reports whether something of image i is still wanted between e0 and e1.
func (r *reading[T]) asks(w *walk[T], i int, e0, e1 T) bool {
	if !w.turned {
		from, to := r.marks.within(e0, e1)
		for e := from; e < to; e++ {
			if r.wanted(i, e) {
				return true
			}
		}
	}
	if w.turned || !r.to.turns {
		from, to := r.shades.within(e0, e1)
		for e := from; e < to; e++ {
			if r.unshaded(i, e) {
				return true
			}
		}
	}
	return false
}

// wanted reports whether image i is to be looked at at place e of the eps: where its class is open,
// or where its margin may be the least.
func (r *reading[T]) wanted(i, e int) bool {
	k := i*len(r.marks.eps) + e
	return !r.marks.seen[k] && (r.marks.known[k] == attack.Open || float32(r.marks.low[k]) < r.marks.best[i])
}

// unshaded reports whether image i is to be looked at at place e of the levels.
func (r *reading[T]) unshaded(i, e int) bool {
	k := i*len(r.shades.eps) + e
	return !r.shades.seen[k] && r.shades.known[k] == attack.Open
}

// chord takes what is sure within c, of which stopsOf has seen.
func (r *reading[T]) chord(w *walk[T], c *between[T]) {
	y := w.b.loaded.labels[w.images[c.image].image]
	r.bend(w, c, y)
	if !w.margins(y, &c.p0, &c.p1) {
		w.fail(c.image)
		return
	}
	r.between(w, c.image, &c.p0, &c.p1)
	r.others(w, c)
}

// turn bends the rays of the block to those clipped to [0, 1], up to eps max. Only looks are
// possible then.
func (w *walk[T]) turn(max T) {
	o, in, a := &w.origin, w.b.model.in, &w.m.layers[0]
	w.limits = limits[T]{max, attack.Bounds{Lo: 0, Hi: 1}, true}
	w.x = resize(w.x, len(w.images)*in)
	for i := range w.images {
		v := &w.images[i]
		v.stops = v.stops[:0]
		s, x0, less := o.s[i*in:][:in], w.b.loaded.clean(v.image), w.x[i*in:][:in]
		for p, d := range s {
			less[p] = 0
			if d == 0 {
				continue
			}
			switch t := w.room(x0[p], d > 0); {
			case t <= 0:
				s[p], less[p] = 0, -d
			case t < max:
				v.stops = append(v.stops, stop[T]{t, int32(p)})
			}
		}
	}
	w.rows.nonZeros(w.x, in, len(w.images), in, unlike)
	w.rows.multiply(o.c[:len(w.images)*a.stride], a.stride, a.wt)
}

// shadesFirst looks at five levels of each image that has levels: around the first failure that the
// gradient promises, and then farther and farther apart.
func (r *reading[T]) shadesFirst(w *walk[T]) {
	w.open = w.open[:0]
	G := len(r.shades.eps)
	max := r.shades.eps[G-1]
	for i := range w.images {
		v := &w.images[i]
		if w.m.rates.never[w.b.loaded.labels[v.image]] {
			continue
		}
		e := r.inside[i]
		var at [gemm.GroupRows]T
		switch {
		case e > 0 && e < max/2:
			at = [...]T{e * 0.8, e * 1.2, e * 1.7, e + T((max-e)*0.4), max}
		case e >= max/2:
			at = [...]T{max / 5, max * 2 / 5, max * 3 / 5, max * 4 / 5, max}
		default: // wrong as it is
			at = [...]T{max / 16, max / 8, max / 4, max / 2, max}
		}
		s := stretch[T]{image: i, from: fromClean}
		n := 0
		for _, e := range at {
			k, _ := slices.BinarySearch(r.shades.eps, e)
			if near := r.shades.eps[min(k, G-1)]; n == 0 || near > s.eps[n-1] {
				s.eps[n] = near
				n++
			}
		}
		w.open = append(w.open, s.filled(n))
	}
	r.look(w)
}

// norms writes the norms of all rows. A row has moved by eps in every pixel that moves, and no
// farther than to a bound.
func (r *reading[T]) norms(w *walk[T]) {
	in := w.b.model.in
	for i := range w.images {
		v, dst := &w.images[i], r.dst(w.images[i].image).Norms
		moving := 0
		for _, s := range w.origin.s[i*in:][:in] {
			if s != 0 {
				moving++
			}
		}
		stops := r.stops[:0]
		for _, s := range v.stops {
			stops = append(stops, s.t)
		}
		slices.Sort(stops) // none is NaN
		r.stops = stops
		k, stopped, far := 0, 0.0, 0.0 // stops so far, the sum of their squares, the last one
		for e, eps := range r.to.at {
			for k < len(stops) && stops[k] <= eps {
				far = float64(stops[k])
				stopped += float64(far * far)
				k++
			}
			if moving == 0 || eps == 0 {
				continue
			}
			if eps < leastMove[T](w.b.loaded.min, w.b.loaded.max) {
				dst[e] = w.measured(i, eps)
				continue
			}
			linf, free := far, float64(moving-k)
			if free > 0 {
				linf = float64(eps)
			}
			dst[e] = attack.Norms{Linf: float32(linf), L2: float32(math.Sqrt(stopped + float64(free*float64(eps)*float64(eps)))), L0: int32(moving)}
		}
	}
}

// leastMove is an eps that surely moves a pixel from lo to hi: below it rounding may leave the
// pixel where it is.
func leastMove[T Float](lo, hi T) T { return 4 * unit[T]() * max(hi, -lo) }

// measured measures the norms of image i of the block at eps.
func (w *walk[T]) measured(i int, eps T) attack.Norms {
	in := w.b.model.in
	x0 := w.b.loaded.clean(w.images[i].image)
	far, sum, n := 0.0, 0.0, int32(0)
	for p, s := range w.origin.s[i*in:][:in] {
		x := x0[p] + T(s*eps)
		if !w.bounds.None() {
			x = min(max(x, T(w.bounds.Lo)), T(w.bounds.Hi))
		}
		d := math.Abs(float64(x) - float64(x0[p]))
		far, sum = max(far, d), sum+float64(d*d)
		if d != 0 {
			n++
		}
	}
	return attack.Norms{Linf: float32(far), L2: float32(math.Sqrt(sum)), L0: n}
}

// write writes what is known to the results.
func (r *reading[T]) write(w *walk[T]) {
	G := len(r.marks.eps)
	for i := range w.images {
		v := &w.images[i]
		d := r.dst(v.image)
		open := w.m.rates.never[w.b.loaded.labels[v.image]] // was not followed
		copy(d.Classes, r.marks.known[i*G:][:G])
		for e := range G {
			if open {
				d.Classes[e] = attack.Open
				continue
			}
			if k := i*G + e; r.marks.seen[k] && (d.At == attack.Open || r.marks.margin[k] < d.Least) {
				d.Least, d.At = r.marks.margin[k], e
			}
		}
		if !r.to.rounded {
			continue
		}
		for e, level := range r.to.level {
			switch {
			case level == 0: // the clean image
				d.Rounded[e] = 0
				if int32(d.Class) == w.b.loaded.labels[v.image] {
					d.Rounded[e] = 1
				}
			case level < 0:
				d.Rounded[e] = attack.Open
			default:
				d.Rounded[e] = int8(r.shades.known[i*len(r.shades.eps)+int(r.to.place[e])])
			}
		}
	}
}
