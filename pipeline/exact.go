package pipeline

import (
	"context"
	"math"
	"slices"

	"advsweep/attack"
)

// An Exacter is a Backend that can follow FGSM's ray through every linear region of a model that
// has such.
type Exacter interface {
	Backend
	// NotExact returns why it cannot follow the rays of the model that it holds, or nil if it can.
	NotExact() error
	// ExactPays reports whether a walk costs less than a grid of some twenty eps.
	ExactPays() bool
	// Exact walks the loaded images lo to lo+len(dst)-1 along x0 + eps·sign(∂L/∂x), clipped to
	// bounds, for every eps in [0, max], max > 0.
	Exact(ctx context.Context, lo int, max float64, bounds attack.Bounds, dst []attack.Walk) error
	// Read walks them up to the largest of eps [E], above 0, and reads off each walk what the model
	// says at eps, with rounded also once pixels are rounded to 8 bits as backend.Rounding says.
	// What it leaves open, which may be all, has to be asked row by row. It may use the memory of
	// what dst holds.
	Read(ctx context.Context, lo int, eps []float64, bounds attack.Bounds, rounded bool, dst []attack.Reading) error
}

// AsExacter returns b as an Exacter, if it can follow the rays of the model that it holds.
func AsExacter(b Backend) (Exacter, bool) {
	e, ok := b.(Exacter)
	return e, ok && e.NotExact() == nil
}

// ExactPays reports whether b can follow the rays of the model that it holds for less than a grid
// costs. Where it does not, a curve is exact only for who asks for it.
func ExactPays(b Backend) bool {
	e, ok := AsExacter(b)
	return ok && e.ExactPays()
}

// An Exact is accuracy as a function of every eps in [0, Max], without a grid.
//
// Along a ray every logit of a network of Linear and ReLU is piecewise linear in eps; see Sotoudeh
// and Thakur, "Computing Linear Restrictions of Neural Networks", NeurIPS 2019.
type Exact struct {
	Max   float64
	Walks []attack.Walk // [N]
	// MinimumNorm says that it is the curve of an attack of minimum norm: each image is given its
	// label up to the distance that was found, and a forward pass said there that it is not.
	MinimumNorm bool
	// Ties lists the images, by their index in the data set, that fail or recover so close to one
	// of Result.Eps, within attack.Walk.Within, that rounding may decide whether they count there.
	Ties []int
}

// Ends returns how many interval ends were checked by forward passes on both sides, and how many
// of those disagreed.
func (x *Exact) Ends() (checked, disagreed int) {
	for i := range x.Walks {
		checked += x.Walks[i].Ends
		disagreed += len(x.Walks[i].Disagreed)
	}
	return checked, disagreed
}

// A Jump is a place where the count of correct predictions changes.
type Jump struct {
	Eps     float64
	Correct int // from Eps on, to the next Jump
}

// Curve returns the step function: its value at 0 first, then every jump in (0, Max), eps rising.
func (x *Exact) Curve() []Jump {
	type change struct {
		eps float64
		by  int
	}
	var all []change
	for i := range x.Walks {
		for _, v := range x.Walks[i].Correct {
			all = append(all, change{v.Lo, 1})
			if v.Hi < x.Max {
				all = append(all, change{v.Hi, -1})
			}
		}
	}
	slices.SortFunc(all, func(a, b change) int {
		switch {
		case a.eps < b.eps:
			return -1
		case a.eps > b.eps:
			return 1
		}
		return 0
	})
	jumps := []Jump{{}}
	for _, c := range all {
		last := &jumps[len(jumps)-1]
		if c.eps > last.Eps {
			jumps = append(jumps, Jump{c.eps, last.Correct})
			last = &jumps[len(jumps)-1]
		}
		last.Correct += c.by
	}
	return jumps
}

// Area returns the integral of the accuracy over [0, Max], in units of eps: the mean of how much of
// the ray is classified correctly.
func (x *Exact) Area() float64 {
	sum := 0.0
	for i := range x.Walks {
		for _, v := range x.Walks[i].Correct {
			sum += v.Hi - v.Lo
		}
	}
	return sum / float64(len(x.Walks))
}

// MedianCritical returns the median over all images of the critical eps, the least at which an
// image is not given its label (0 for one that never is): the lower of the two middle ones. ok is
// false if the median image is given its label up to Max.
func (x *Exact) MedianCritical() (eps float64, ok bool) { return x.Quantile(0.5) }

// Quantile returns the critical eps below or at which a part p of all images fails, 0 ≤ p ≤ 1: of
// n images in their order that at p·(n-1), rounded down. ok is false if that image is given its
// label up to Max.
func (x *Exact) Quantile(p float64) (eps float64, ok bool) {
	all := make([]float64, len(x.Walks))
	for i := range x.Walks {
		all[i] = math.Inf(1)
		if eps, fails := x.Walks[i].Critical(x.Max); fails {
			all[i] = eps
		}
	}
	slices.Sort(all)
	eps = all[int(p*float64(len(all)-1))]
	return eps, !math.IsInf(eps, 1)
}

// newExact is the exact curve of walks up to the largest of eps, of images from first on in their
// data set.
func newExact(walks []attack.Walk, eps []float64, first int) *Exact {
	x := &Exact{Max: eps[len(eps)-1], Walks: walks}
	for i := range walks {
		w := &walks[i]
		near := false
		for _, eps := range eps {
			for _, v := range w.Correct {
				for _, end := range []float64{v.Lo, v.Hi} {
					near = near || end > 0 && end < x.Max && math.Abs(end-eps) <= w.Within
				}
			}
		}
		if near {
			x.Ties = append(x.Ties, first+i)
		}
	}
	return x
}

// walkImages is how many images one call of Exact or Read walks. It takes a few tenths of a second,
// so that progress is shown and ctx is looked at that often.
const walkImages = 1000
