package pipeline

import (
	"context"
	"math"

	"advsweep/attack"
)

// runs is how many rows an image has at each eps under a: one for each restart. An attack of
// minimum norm has its restarts in its search, and one row that speaks for them.
func runs(a attack.Attack) int {
	if a.MinimumNorm() {
		return 1
	}
	return a.Runs()
}

// wideEps is the eps of a search of minimum norm: any image of so many inputs can be reached from
// any other. Without bounds pixels may leave [0, 1], so that it is more.
func wideEps(a attack.Attack, bounds attack.Bounds, inputs int) float64 {
	const beyond = 64
	eps := attack.Reach(a.Norm, bounds, inputs)
	if bounds.None() {
		eps *= beyond
	}
	return eps
}

// nearest moves the rows of each image to the nearest misread one that a search finds, where their
// eps is not below its distance.
func (r *rows) nearest(ctx context.Context) error {
	best, err := r.find(ctx)
	if err != nil {
		return err
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	return r.placeAll(ctx, best)
}

// placeAll moves the rows, which are at their clean images, to what was found of each image.
func (r *rows) placeAll(ctx context.Context, best []attack.Found) error {
	found := make([]attack.Found, r.n())
	r.still = make([]bool, len(best))
	for k := range found {
		found[k] = best[k/len(r.columns)]
	}
	for i, f := range best {
		r.still[i] = f.Zero && f.Along == nil
	}
	return r.a.Place(ctx, r, found)
}

// find searches for the nearest misread image of each image, [hi-lo]. Of restarts the nearest
// counts, the first one on a tie. Zero is set of an image if it is of every restart. What is found
// depends on the image, and not on the batch or on eps.
func (r *rows) find(ctx context.Context) ([]attack.Found, error) {
	eps := wideEps(r.a, r.bounds, r.b.Info().Inputs)
	best := make([]attack.Found, r.hi-r.lo)
	for i := range best {
		best[i] = attack.Found{Distance: math.Inf(1), Zero: true}
	}
	for first := 0; first < r.a.Runs(); first += r.E {
		one := rowsOf(r.b, r.a, nil, r.bounds, r.held, r.lo, r.hi)
		one.E, one.wide = 1, true
		one.restarts([]float64{eps}, first, min(r.a.Runs()-first, r.E)) // memory is there for E rows of an image
		one.after = func() {
			if first == 0 && r.after != nil {
				r.after()
			}
		}
		found, err := one.search(ctx)
		if err != nil {
			return nil, one.named(err)
		}
		for k, f := range found {
			b := &best[k/one.R]
			zero := b.Zero && f.Zero
			if f.Distance < b.Distance {
				*b = f
			}
			b.Zero = zero
		}
	}
	return best, nil
}

// search returns what the attack finds of the rows, with distances as the backend measures them:
// these are what outcomes say.
func (r *rows) search(ctx context.Context) ([]attack.Found, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	found, err := r.a.Search(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	if err := r.a.Place(ctx, r, found); err != nil {
		return nil, err
	}
	out, err := r.outcomes(ctx, false)
	if err != nil {
		return nil, err
	}
	for k := range found {
		if found[k].Along != nil {
			found[k].Distance = out[k].Norms.In(r.a.Norm)
		}
	}
	return found, nil
}

// distances is the curve of an attack of minimum norm at every eps up to the largest of Eps; nil if
// that is 0. At the largest eps each row is where the search went, if that is near enough.
func (r *Result) distances(c *Curve) *Exact {
	E := len(r.Eps)
	x := &Exact{Max: r.Eps[E-1], Walks: make([]attack.Walk, r.N), MinimumNorm: true}
	if x.Max == 0 {
		return nil
	}
	for i, im := range r.Images {
		w := &x.Walks[i]
		w.Class = int(im.Class)
		if im.Class != im.Label {
			continue
		}
		to := x.Max
		o := &c.Outcomes[i*E+E-1]
		w.Zero = o.Zero
		if o.Class != im.Label {
			// An end at Max itself would say that the image is right there.
			to = min(o.Norms.In(c.Attack.Norm), math.Nextafter(x.Max, 0))
		}
		w.Correct = []attack.Interval{{Lo: 0, Hi: to}}
	}
	return x
}
