package cpu

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A trail is one image and what is known of its ray x0 + eps·sign, on which each pixel stops at
// its bound.
type trail struct {
	image  int // its place among the loaded ones
	label  int
	x0     []float64 // [I], NHWC like all that follows
	sign   []float64 // -1, 0 or 1
	room   []float64 // how far a pixel can move, or infinite
	known  []piece
	looked int // points of the ray
	deep   bool
	failed bool
}

// at writes the pixels at eps.
func (t *trail) at(x []float64, eps float64) {
	for p, s := range t.sign {
		x[p] = t.x0[p] + float64(s*min(eps, t.room[p]))
	}
}

// bend writes by how much pixels that stop between e0 and e1 leave their chords. It reports whether
// one does.
func (t *trail) bend(centre, radius []float64, e0, e1 float64) (some bool) {
	clear(centre)
	clear(radius)
	for p, stop := range t.room {
		if e0 < stop && stop < e1 && t.sign[p] != 0 {
			// It moves as far as its chord does, but faster, and is farthest ahead where it stops.
			half := (stop - e0) * ((e1 - stop) / (e1 - e0)) / 2
			centre[p], radius[p] = t.sign[p]*half, half
			some = true
		}
	}
	return some
}

// A job is points of one ray that are to be looked at, rising. Between neighbours are stretches.
type job struct {
	trail int // its place in the block
	eps   []float64
}

// deepPoints bounds the points of one ray. The networks of two to five convolutions that this was
// measured on take 6 to 60, and one of nine 190 where eps is small. Where it is not that one takes
// more than a thousand: bounds grow with each layer, and stretches must be ever shorter. A ray that
// takes so many forward passes is worth less than a grid of as many eps.
const deepPoints = 1 << 10

// Every ray is looked at at firstPoints. Each part of a stretch that is still open is looked at at
// its ends, for bounds shrink with the square of the length. A part of at least half of the stretch
// is cut in two. Measured on the embedded network up to eps 0.5: 13 to 15 points of a ray in all,
// where five points of each part are 21.
const firstPoints = 5

// stretchBytes bounds the memory of the bands of one worker.
const stretchBytes = 32 << 20

// A stretchWalk is what one worker needs to walk a block of trails.
type stretchWalk struct {
	net    *stretchNet
	room   *stretchRoom
	most   int // points at once
	trails []*trail
	open   []job
	all    []margin
	marks  []float64
	units  headRoom
	far    float64
	deep   int  // points of one ray, at most about
	gaveUp bool // a ray takes more
}

func (b *Backend[T]) newStretchWalk(n *stretchNet) *stretchWalk {
	w := &stretchWalk{net: n, room: n.newRoom(gemm.NewVector[float64](b.model.kernel))}
	w.most = min(max(stretchBytes/max(1, n.bytes()), firstPoints), 60)
	return w
}

// walk decides all of the trails' rays up to w.far, or some of them when ctx ends or one is too
// deep.
func (w *stretchWalk) walk(ctx context.Context) {
	w.open, w.gaveUp = w.open[:0], false
	for k := range w.trails {
		w.open = append(w.open, job{k, evenly(0, w.far, firstPoints)})
	}
	for len(w.open) > 0 && ctx.Err() == nil && !w.gaveUp {
		n, points := 0, 0
		for n < len(w.open) && (n == 0 || points+len(w.open[n].eps) <= w.most) {
			points += len(w.open[n].eps)
			n++
		}
		now := slices.Clone(w.open[:n])
		w.open = append(w.open[:0], w.open[n:]...)
		w.look(now)
	}
}

// evenly returns n points from lo to hi.
func evenly(lo, hi float64, n int) []float64 {
	eps := make([]float64, n)
	for k := range eps {
		eps[k] = lo + float64((hi-lo)*(float64(k)/float64(n-1)))
	}
	eps[n-1] = hi
	return eps
}

// look looks at some jobs together, and opens what they leave undecided.
func (w *stretchWalk) look(jobs []job) {
	var c cut
	for _, j := range jobs {
		for k := range j.eps {
			if k > 0 {
				c.ends = append(c.ends, [2]int{c.points - 1, c.points})
			}
			c.points++
		}
	}
	x := &w.room.bands[0]
	x.resize(c.points, len(c.ends))
	p, s := 0, 0
	for _, j := range jobs {
		t := w.trails[j.trail]
		t.looked += len(j.eps)
		for k, eps := range j.eps {
			t.at(x.point(p), eps)
			p++
			if k > 0 {
				centre, radius := x.deviation(s)
				x.flat[s] = !t.bend(centre, radius, j.eps[k-1], eps)
				s++
			}
		}
	}
	w.net.carry(w.room, &c)
	s = 0
	for _, j := range jobs {
		t := w.trails[j.trail]
		for k := range j.eps[1:] {
			w.all = w.net.head.margins(w.all[:0], &w.room.bands[w.net.head.value], s, c.ends[s], t.label, &w.units)
			w.conclude(j.trail, j.eps[k], j.eps[k+1])
			s++
		}
	}
}

// leastStretch is the length, relative to eps, of a stretch whose chords are taken for the truth:
// a few roundings of its ends.
const leastStretch = 0x1p-46

// conclude draws from w.all, the margins between e0 and e1 of a ray, what is known there, and opens
// the rest.
func (w *stretchWalk) conclude(k int, e0, e1 float64) {
	t := w.trails[k]
	for _, m := range w.all {
		if span := m.m0 + m.m1 + m.down + m.up; span-span != 0 {
			t.failed = true
		}
	}
	if t.failed {
		return
	}
	tiny := e1-e0 <= leastStretch*e1
	w.cuts(func(m *margin) [2]float64 { return [2]float64{m.down, m.up} })
	from := 0.0
	for i, to := range w.marks {
		if to <= from {
			continue
		}
		right, wrong := w.says(t.label, (from+to)/2, true)
		join := i + 1
		// Neighbours that are open too are opened together.
		for !right && !wrong && join < len(w.marks) {
			if r, q := w.says(t.label, (to+w.marks[join])/2, true); w.marks[join] > to && (r || q) {
				break
			}
			to = w.marks[join]
			join++
		}
		lo, hi := e0+float64((e1-e0)*from), e0+float64((e1-e0)*to)
		if to == 1 {
			hi = e1
		}
		from = to
		switch {
		case right || wrong:
			t.know(lo, hi, right)
		case !(lo < hi):
		case tiny || w.rounded():
			w.straight(t, e0, e1, lo, hi)
			return // straight has decided all of the rest of the stretch
		case t.looked >= w.deep:
			t.deep, w.gaveUp = true, true
			return
		default:
			n := 2
			if hi-lo >= (e1-e0)/2 {
				n = 3
			}
			w.open = append(w.open, job{k, evenly(lo, hi, n)})
		}
	}
}

// cuts writes to w.marks, rising, where a line at some distances from the chord of a margin is 0
// within the stretch, and its end.
func (w *stretchWalk) cuts(lines func(m *margin) [2]float64) {
	w.marks = w.marks[:0]
	for i := range w.all {
		m := &w.all[i]
		for _, by := range lines(m) {
			if a, b := m.m0+by, m.m1+by; a < 0 && b > 0 || a > 0 && b < 0 {
				w.marks = append(w.marks, a/(a-b))
			}
		}
	}
	w.marks = append(w.marks, 1)
	slices.Sort(w.marks)
}

// says reports whether the margins at t in (0, 1) prove that the label is given there, or that it
// is not. With bounds their deviations count. Of equal logits the first class wins.
func (w *stretchWalk) says(label int, t float64, bounds bool) (right, wrong bool) {
	right = true
	for i := range w.all {
		m := &w.all[i]
		low, high := chordAt(m.m0, m.m1, t), chordAt(m.m0, m.m1, t)
		if bounds {
			low, high = low+m.down, high+m.up
		}
		first := label < m.class // and the label wins a tie
		right = right && (low > 0 || low == 0 && first)
		wrong = wrong || high < 0 || high == 0 && !first
	}
	return right, wrong
}

// rounded reports whether rounding alone keeps the stretch open: whether every margin that may be 0
// is 0 within what rounding does to it, all along.
func (w *stretchWalk) rounded() bool {
	for i := range w.all {
		m := &w.all[i]
		low, high := min(m.m0, m.m1)+m.down, max(m.m0, m.m1)+m.up
		if low <= 0 && high >= 0 && max(-low, high) > m.noise {
			return false
		}
	}
	return true
}

// straight takes the chords of w.all for the truth between lo and the end of the stretch e0 to e1.
func (w *stretchWalk) straight(t *trail, e0, e1, lo, hi float64) {
	w.cuts(func(*margin) [2]float64 { return [2]float64{0, 0} })
	at := lo
	for _, to := range w.marks {
		next := e0 + float64((e1-e0)*to)
		if to == 1 {
			next = e1
		}
		if next > at {
			middle := (float64((at+next)/2) - e0) / (e1 - e0)
			right, _ := w.says(t.label, middle, false)
			t.know(at, next, right)
			at = next
		}
	}
}

func (t *trail) know(lo, hi float64, right bool) {
	if lo < hi {
		t.known = append(t.known, piece{lo, hi, right})
	}
}

// A found is a class at a point of a ray: whether the label is given there, and whether rounding
// might have decided that.
type found struct{ right, unsure bool }

// forward says of points of rays, by trail and eps, what a forward pass in float64 finds there.
// Only with sure it says what rounding might have decided, by a bound that is carried along: see
// cut.rounds.
func (w *stretchWalk) forward(trails []int, eps []float64, sure bool) []found {
	all := make([]found, len(eps))
	for lo := 0; lo < len(eps); lo += w.most {
		n := min(w.most, len(eps)-lo)
		c := cut{points: n, rounds: sure}
		x := &w.room.bands[0]
		x.resize(n, n)
		for p := range n {
			w.trails[trails[lo+p]].at(x.point(p), eps[lo+p])
			x.flatten(p)
			c.ends = append(c.ends, [2]int{p, p})
		}
		if sure {
			addRounding(x, &c, oneRounding)
		}
		w.net.carry(w.room, &c)
		for p := range n {
			t := w.trails[trails[lo+p]]
			w.all = w.net.head.margins(w.all[:0], &w.room.bands[w.net.head.value], p, c.ends[p], t.label, &w.units)
			f := found{right: true}
			for _, m := range w.all {
				f.right = f.right && (m.m0 > 0 || m.m0 == 0 && t.label < m.class)
				f.unsure = f.unsure || math.Abs(m.m0) <= max(m.up, -m.down)+m.noise
			}
			// A margin that is surely below 0 decides, whatever rounding does to others.
			for _, m := range w.all {
				f.unsure = f.unsure && !(m.m0+m.up+m.noise < 0)
			}
			all[lo+p] = f
		}
	}
	return all
}

// ends returns the ends of intervals within the ray, by trail, and counts them.
func (w *stretchWalk) ends(dst []*attack.Walk) (ends []end) {
	for k, d := range dst {
		first := len(ends)
		before, right := 0.0, len(d.Correct) > 0 && d.Correct[0].Lo == 0
		for _, v := range d.Correct {
			for _, e := range []float64{v.Lo, v.Hi} {
				if e > 0 && e < w.far {
					ends = append(ends, end{k, before, e, w.far, right})
					before, right = e, !right
				}
			}
		}
		d.Ends = len(ends) - first
		for i := first; i+1 < len(ends); i++ {
			ends[i].after = ends[i+1].at
		}
	}
	return ends
}

// check looks beside every end on both sides, at the distances that asides has in roundings of a
// unit. said tells of points, by trail and eps, what a forward pass finds there. An end that it
// contradicts is tried again at the next distance. It has disagreed if rounding cannot have decided
// that. Of the others dst notes the distance at which nothing contradicts, or the whole ray.
func (w *stretchWalk) check(dst []*attack.Walk, ends []end, unit float64, said func(trails []int, eps []float64, sure bool) []found) {
	for k, aside := range asides {
		if len(ends) == 0 {
			return
		}
		var again []end
		var trails []int
		var eps []float64
		step := func(e end) float64 { return aside * unit * min(w.far, max(1, 2*e.at)) }
		for _, e := range ends {
			trails = append(trails, e.image, e.image)
			eps = append(eps, e.at-min(step(e), (e.at-e.before)/2), e.at+min(step(e), (e.after-e.at)/2))
		}
		all := said(trails, eps, k >= sureAside)
		for i, e := range ends {
			a, b := all[2*i], all[2*i+1]
			d := dst[e.image]
			switch sure := a.right != e.right && !a.unsure || b.right == e.right && !b.unsure; {
			case a.right == e.right && b.right != e.right:
				d.Within = max(d.Within, step(e))
			case sure && k >= sureAside:
				d.Disagreed = append(d.Disagreed, e.at)
			default:
				again = append(again, e)
			}
		}
		ends = again
	}
	for _, e := range ends {
		dst[e.image].Within = max(dst[e.image].Within, w.far)
	}
}

// said returns what the backend itself finds at points of rays, by trail and eps, in T. Where it
// contradicts float64 it has rounded.
func (b *Backend[T]) said(s *scratch[T], trails []*trail, bounds attack.Bounds) func(of []int, eps []float64, sure bool) []found {
	return func(of []int, eps []float64, _ bool) []found {
		all, in, net := make([]found, len(eps)), b.model.in, b.model.net
		for lo := 0; lo < len(eps); lo += b.model.block {
			n := min(b.model.block, len(eps)-lo)
			s.x = resize(s.x, n*in)
			for r := range n {
				i, x := trails[of[lo+r]].image, s.x[r*in:][:in]
				x0, e := b.loaded.clean(i), T(eps[lo+r])
				signStep(x, x0, b.loaded.signs.of(i), e)
				if !bounds.None() {
					project(x, x0, e, T(bounds.Lo), T(bounds.Hi))
				}
			}
			z := net.forward(s, s.x, allOf[T](n), forLogits)
			class := make([]int32, n)
			argmax(class, z, b.model.out, len(z)/n)
			for r := range n {
				all[lo+r] = found{right: int(class[r]) == trails[of[lo+r]].label, unsure: true}
			}
		}
		return all
	}
}

// stretchRays is how many images one worker walks at once, whose open stretches fill its products.
const stretchRays = 16

// walkStretches is walks for a model that is no MLP.
func (b *Backend[T]) walkStretches(ctx context.Context, lo, n int, max float64, bounds attack.Bounds, dst func(k int) *attack.Walk) error {
	net, err := b.stretches()
	if err != nil {
		return err
	}
	if err := b.signWalks(ctx, lo, n); err != nil {
		return err
	}
	around := b.enter(backend.Walk)
	defer func() { b.leave(around) }()
	net.pack()
	far := max
	if !bounds.None() { // no pixel moves farther
		if all := float64(T(bounds.Hi)) - float64(T(bounds.Lo)); all > 0 {
			far = min(far, all)
		}
	}
	deep, broken := make([]int, n), make([]bool, n)
	var tooDeep failure // after which no block is walked that lies behind
	tooDeep.clear()
	err = b.workers.each(ctx, n, stretchRays, func(s *scratch[T], from, to int) {
		if first, ok := tooDeep.first(); ok && first < from {
			return
		}
		if s.stretch == nil {
			s.stretch = b.newStretchWalk(net)
		}
		w := s.stretch
		w.far, w.deep, w.trails = far, cmp.Or(b.rays.most, deepPoints), w.trails[:0]
		for k := from; k < to; k++ {
			w.trails = append(w.trails, b.newTrail(lo+k, bounds))
		}
		w.walk(ctx)
		walks := make([]*attack.Walk, 0, to-from)
		for k, t := range w.trails {
			d := dst(from + k)
			if broken[from+k] = t.failed; t.deep {
				deep[from+k] = t.looked
				tooDeep.report(from + k)
			}
			class, _, _ := attack.Judge(logits64(b.loaded.logits.of(t.image)), t.label)
			*d = attack.Walk{Class: class, Zero: b.loaded.signs.flat[t.image], Correct: intervals(t.known)}
			walks = append(walks, d)
		}
		if w.gaveUp || ctx.Err() != nil {
			return
		}
		ends := w.ends(walks)
		w.check(walks, ends, 0x1p-53, w.forward)
		// Within is for who asks the backend, which rounds in its own precision.
		w.check(walks, ends, float64(unit[T]()), b.said(s, w.trails, bounds))
		for k, t := range w.trails { // what is right at far is right up to max
			if all := walks[k].Correct; far < max && len(all) > 0 && all[len(all)-1].Hi == far {
				all[len(all)-1].Hi = max
			}
			b.rays.looked.Add(int64(t.looked))
		}
	})
	if err != nil {
		return err
	}
	for k := range n {
		switch {
		case broken[k]:
			return fmt.Errorf("image %d: the logits are not finite", b.loaded.first+lo+k)
		case deep[k] > 0:
			return &backend.DeepError{Image: b.loaded.first + lo + k, Points: deep[k]}
		}
	}
	return nil
}

// stretches returns what carries bands through the model, which is no MLP. It returns an error that
// names the first layer that is not piecewise linear.
func (b *Backend[T]) stretches() (*stretchNet, error) {
	r := &b.rays
	if r.net == nil && r.err == nil {
		r.net, r.err = newStretchNet(b.model.kernel, b.model.prog, b.model.net)
	}
	return r.net, r.err
}

// signWalks computes logits and signs of the gradients at the loaded images lo to lo+n-1, as far as
// they are not there.
func (b *Backend[T]) signWalks(ctx context.Context, lo, n int) error {
	defer b.leave(b.enter(backend.Gradient))
	s := &b.loaded.signs
	b.broken.clear()
	err := b.workers.each(ctx, n, b.model.block, func(w *scratch[T], from, to int) {
		from, to = lo+from, lo+to
		g := b.cleanGradient(w, from, to)
		ld := len(g) / (to - from)
		for i := from; i < to; i++ {
			if !s.take(i, g[(i-from)*ld:][:b.model.in]) {
				b.broken.report(i)
			}
		}
	})
	if i, ok := b.broken.first(); ok && err == nil {
		err = fmt.Errorf("image %d: the logits or the gradient are not finite in %s", b.loaded.first+i, b.model.info.Precision)
	}
	return err
}

// newTrail returns the ray of loaded image i within bounds.
func (b *Backend[T]) newTrail(i int, bounds attack.Bounds) *trail {
	in, shape := b.model.in, b.model.prog.Image
	t := &trail{image: i, label: int(b.loaded.labels[i]), x0: make([]float64, in), sign: make([]float64, in), room: make([]float64, in)}
	x0, sign := b.loaded.clean(i), b.loaded.signs.of(i)
	nhwc := func(to []float64, f func(p int) float64) {
		from := make([]float64, in)
		for p := range from {
			from[p] = f(p)
		}
		lower.ToNHWC(to, from, shape)
	}
	nhwc(t.x0, func(p int) float64 { return float64(x0[p]) })
	nhwc(t.sign, func(p int) float64 { return float64(sign[p]) })
	nhwc(t.room, func(p int) float64 {
		switch {
		case bounds.None():
			return math.Inf(1)
		case sign[p] > 0:
			return max(0, float64(T(bounds.Hi))-float64(x0[p]))
		}
		return max(0, float64(x0[p])-float64(T(bounds.Lo)))
	})
	return t
}
