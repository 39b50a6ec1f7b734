package cpu

import "math"

// An end is where an interval of an image begins or ends, between the ends before and after it.
type end struct {
	image             int // in the block
	before, at, after float64
	right             bool // the label is given before it
}

// asides are how far from an end it is checked, in units of rounding at scale. The first is 1e-6
// in float32 for an eps of 1. A forward pass may find something else there, where the logits cross
// at so small an angle that they are equal within rounding. The check is then tried at the next.
//
// From the third on an end is tried again only where rounding might decide what the forward pass
// said: where its margin is no larger than rounding may make it. That is so far from the end where
// terms are large that cancel, as with a constant of 1e6 on every logit, and where a deep network
// moves its logits little. What contradicts by more than rounding is an error of the walk.
var asides = [...]float64{16, 16 << 4, 16 << 8, 16 << 12, 16 << 16, 16 << 20, 16 << 24, 16 << 28, 16 << 32, 16 << 36}

// sureAside is the place in asides from which on only rounding may have an end tried again.
const sureAside = 2

// ends writes the intervals of image i from what is known, and lists their ends for check.
func (w *walk[T]) ends(i int) {
	v := &w.images[i]
	v.dst.Correct = intervals(v.known)
	correct, first := v.dst.Correct, len(w.found)
	right, before := len(correct) > 0 && correct[0].Lo == 0, 0.0
	for _, c := range correct {
		for _, e := range []float64{c.Lo, c.Hi} {
			if e > 0 && e < float64(w.max) {
				w.found = append(w.found, end{i, before, e, float64(w.max), right})
				right, before = !right, e
			}
		}
	}
	v.dst.Ends = len(w.found) - first
	for k := first; k+1 < len(w.found); k++ {
		w.found[k].after = w.found[k+1].at
	}
}

// check looks beside every end on both sides. It does so by forward passes that know nothing of the
// walk, but that without bounds the first layer is a + eps·c as for any other step, see ray.
//
// An end that rounding might decide at every distance, up to half of what is between it and the
// next one, does not disagree, but is known to within the whole ray only.
func (w *walk[T]) check() {
	for k, aside := range asides {
		var again []end
		for lo := 0; lo < len(w.found); lo += groupsAtOnce {
			open, wrong := w.disagreeing(w.found[lo:min(lo+groupsAtOnce, len(w.found))], aside)
			if again = append(again, open...); k < sureAside {
				again = append(again, wrong...)
				continue
			}
			for _, e := range wrong {
				dst := w.images[e.image].dst
				dst.Disagreed = append(dst.Disagreed, e.at)
			}
		}
		w.found = again
	}
	for _, e := range w.found {
		dst := w.images[e.image].dst
		dst.Within = max(dst.Within, float64(w.max))
	}
}

// disagreeing returns those of some ends that a forward pass beside them contradicts: open where
// rounding might have decided on each side that does, wrong where not. aside says how far beside,
// see asides. The results of the others note that distance.
func (w *walk[T]) disagreeing(some []end, aside float64) (open, wrong []end) {
	step := func(e float64) float64 { return aside * float64(unit[T]()) * float64(w.scale(T(e))) }
	images, eps := make([]int, 0, 2*groupsAtOnce), make([]T, 0, 2*groupsAtOnce)
	for _, e := range some {
		images = append(images, e.image, e.image)
		eps = append(eps, T(e.at-min(step(e.at), (e.at-e.before)/2)), T(e.at+min(step(e.at), (e.after-e.at)/2)))
	}
	class := w.forward(images, eps)
	for j, e := range some {
		label := w.b.loaded.labels[w.images[e.image].image]
		contradicts, sure := false, false
		for side, right := range [2]bool{e.right, !e.right} {
			if r := 2*j + side; (class[r] == label) != right {
				contradicts, sure = true, sure || class[r] < 0 || !w.mayRound(r, label)
			}
		}
		switch {
		case sure:
			wrong = append(wrong, e)
		case contradicts:
			open = append(open, e)
		default:
			dst := w.images[e.image].dst
			dst.Within = max(dst.Within, step(e.at))
		}
	}
	return open, wrong
}

// mayRound reports whether rounding may have decided if row r of the points, of a forward pass, has
// the class label: whether its margin is no larger than twice what rounding may do to one, since
// the walk's margin there is rounded too.
func (w *walk[T]) mayRound(r int, label int32) bool {
	top := w.m.top()
	z := w.points[len(w.m.layers)-1][r*top.stride:][:top.out]
	other := T(math.Inf(-1))
	for o, v := range z {
		if int32(o) != label {
			other = max(other, v)
		}
	}
	margin := z[label] - other
	return max(margin, -margin) <= 2*w.rounding(w.points, r)
}

// forward returns for each of some images of the block, at an eps of its own, the class that it is
// given there, as said has it.
func (w *walk[T]) forward(images []int, eps []T) []int32 {
	b, m, n := w.b, w.m, len(images)
	a, in := &m.layers[0], b.model.in
	w.points[0] = resize(w.points[0], n*a.stride)
	if w.bounds.None() {
		for r, i := range images {
			m.vec.Line(w.points[0][r*a.stride:][:a.stride], w.origin.z[0][i*a.stride:][:a.stride], eps[r], w.origin.c[i*a.stride:][:a.stride])
		}
	} else {
		w.x = resize(w.x, n*in)
		for r, i := range images {
			image := w.images[i].image
			x, x0 := w.x[r*in:][:in], b.loaded.clean(image)
			signStep(x, x0, b.loaded.signs.of(image), eps[r])
			project(x, x0, eps[r], T(w.bounds.Lo), T(w.bounds.Hi))
		}
		copy(w.points[0], m.first(w.scratch, w.x, n, unlike))
	}
	return w.said(n)
}

// said returns the classes of n points, of which the first layer is there: -1 where a logit is not
// finite.
func (w *walk[T]) said(n int) []int32 {
	class, top := make([]int32, n), w.m.top()
	w.m.up(&w.rows, w.points, 1, n, unlike)
	argmax(class, w.points[len(w.m.layers)-1], top.out, top.stride)
	return class
}
