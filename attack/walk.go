package attack

// An Interval is a range of eps, ends included.
type Interval struct{ Lo, Hi float64 }

// A Walk is what the model says of one image along the ray of a one-step attack, x0 + eps·d
// clipped to the bounds, for every eps in [0, Max].
type Walk struct {
	Class int // that the model gives the clean image
	// Correct are the intervals on which the image is given its label, rising and disjoint. What
	// lies between two of them is an island of failure, and a later one an island of recovery.
	Correct []Interval
	Zero    bool // the gradient is zero in every pixel: the image does not move
	// Ends counts the interval ends within (0, Max). Each was checked by a forward pass on both
	// sides, at the distance Within or nearer; Disagreed lists those where a forward pass said
	// otherwise at any distance.
	Ends      int
	Within    float64
	Disagreed []float64
}

// At reports whether the image is given its label at eps, for a walk of [0, max]. An interval's
// upper end is the first eps that fails, unless the walk ends there.
func (w *Walk) At(eps, max float64) bool {
	for _, v := range w.Correct {
		if v.Lo == eps || v.Lo < eps && eps < v.Hi || v.Hi == eps && v.Hi == max {
			return true
		}
	}
	return false
}

// Critical returns the least eps at which the image is not given its label, 0 if it never is. ok is
// false if it is given its label all the way to max.
func (w *Walk) Critical(max float64) (eps float64, ok bool) {
	if len(w.Correct) == 0 || w.Correct[0].Lo > 0 {
		return 0, true
	}
	first := w.Correct[0]
	return first.Hi, first.Hi < max
}
