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

// nearest searches for the nearest misread image of each image, and moves the rows of each to it
// whose eps is not below its distance. Of restarts the nearest counts, the first one on a tie. What
// is found depends on the image, and not on the batch or on eps.
func (r *rows) nearest(ctx context.Context) error {
	eps := wideEps(r.a, r.bounds, r.b.Info().Inputs)
	n := r.hi - r.lo
	best := make([]attack.Found, n)
	r.still = make([]bool, n)
	for i := range best {
		best[i].Distance, r.still[i] = math.Inf(1), true
	}
	for first := 0; first < r.a.Runs(); first += r.E {
		one := rowsOf(r.b, r.a, nil, r.bounds, r.held, r.lo, r.hi)
		one.E, one.wide = 1, true
		one.restarts([]float64{eps}, first, min(r.a.Runs()-first, r.E)) // memory is there for E rows of an image
		one.after = func() {
			if first == 0 {
				r.after()
			}
		}
		found, err := one.search(ctx)
		if err != nil {
			return one.named(err)
		}
		for k, f := range found {
			i := k / one.R
			r.still[i] = r.still[i] && f.Zero && f.Along == nil
			if f.Distance < best[i].Distance {
				best[i] = f
			}
		}
	}
	if err := r.b.Begin(ctx, r.lo, r.hi, r.columns); err != nil {
		return err
	}
	found := make([]attack.Found, r.n())
	for k := range found {
		found[k] = best[k/len(r.columns)]
	}
	return r.a.Place(ctx, r, found)
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
	if err := r.b.Begin(ctx, r.lo, r.hi, r.columns); err != nil {
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
