package cpu

// An end is where an interval of an image begins or ends, between the ends before and after it.
type end struct {
	image             int // in the block
	before, at, after float64
	right             bool // the label is given before it
}

// asides are how far from an end it is checked, in units of rounding at scale. The first is 1e-6
// in float32 for an eps of 1. A forward pass may find something else there, where the logits cross
// at so small an angle that they are equal within rounding. The check is then tried at the next.
var asides = [...]float64{16, 16 * 16, 16 * 256}

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
func (w *walk[T]) check() {
	for k, aside := range asides {
		var again []end
		for lo := 0; lo < len(w.found); lo += groupsAtOnce {
			for _, e := range w.disagreeing(w.found[lo:min(lo+groupsAtOnce, len(w.found))], aside) {
				if k+1 < len(asides) {
					again = append(again, e)
				} else {
					dst := w.images[e.image].dst
					dst.Disagreed = append(dst.Disagreed, e.at)
				}
			}
		}
		w.found = again
	}
}

// disagreeing returns those of some ends that a forward pass beside them contradicts. aside says
// how far beside, see asides. The results of the others note that distance.
func (w *walk[T]) disagreeing(some []end, aside float64) (all []end) {
	step := func(e float64) float64 { return aside * float64(unit[T]()) * float64(w.scale(T(e))) }
	images, eps := make([]int, 0, 2*groupsAtOnce), make([]T, 0, 2*groupsAtOnce)
	for _, e := range some {
		images = append(images, e.image, e.image)
		eps = append(eps, T(e.at-min(step(e.at), (e.at-e.before)/2)), T(e.at+min(step(e.at), (e.after-e.at)/2)))
	}
	class := w.forward(images, eps)
	for j, e := range some {
		label := w.b.loaded.labels[w.images[e.image].image]
		if (class[2*j] == label) == e.right && (class[2*j+1] == label) != e.right {
			dst := w.images[e.image].dst
			dst.Within = max(dst.Within, step(e.at))
		} else {
			all = append(all, e)
		}
	}
	return all
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
