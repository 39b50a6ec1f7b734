package report

import (
	"cmp"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/stat"
)

// A Ranking is the images of a result by how far they withstand its strongest attack: Curve, the
// one that leaves the fewest images right over all eps. Only images that are right as they are have
// a place.
type Ranking struct {
	Curve int // in Result.Curves
	Wrong int // images that are wrong as they are: left out
	Never int // images that never fail up to the largest eps
	// Least and Most are the ends of the order, the extreme one first.
	Least, Most []Ranked
}

// A Ranked is one image of a Ranking.
type Ranked struct {
	Image int // in Result.Images
	// Critical is the least eps at which it is not given its label, of an exact curve or of
	// Result.Eps; +Inf if there is none.
	Critical float64
	At       int // in Result.Eps: the least eps that is not below Critical, or the largest
}

// Rank returns up to most images of either end. ok is false if no attack looks at the model or no
// image is right. An image comes before another if it fails at a smaller eps or, at the same one,
// by more: the margin there, or the least one of those that never fail and of rays, which have no
// other.
func Rank(r *pipeline.Result, most int) (k Ranking, ok bool) {
	k.Curve = -1
	best := 0
	for i := range r.Curves {
		c := &r.Curves[i]
		if !c.Known() || c.Attack.Control() || c.Attack.Composite() {
			continue
		}
		sum := 0
		for _, n := range c.Within(r.Images) {
			sum += n
		}
		if k.Curve < 0 || sum < best {
			k.Curve, best = i, sum
		}
	}
	if k.Curve < 0 {
		return k, false
	}
	type place struct {
		Ranked
		margin float32
	}
	var order []place
	c, E := &r.Curves[k.Curve], len(r.Eps)
	for i, im := range r.Images {
		if im.Class != im.Label {
			k.Wrong++
			continue
		}
		p := place{Ranked: Ranked{Image: i, Critical: math.Inf(1), At: E - 1}}
		if c.Exact != nil {
			if eps, fails := c.Exact.Walks[i].Critical(c.Exact.Max); fails {
				p.Critical = eps
			}
		} else if e := c.FirstFailing(r.Images, i); e >= 0 {
			p.Critical = r.Eps[e]
		}
		if math.IsInf(p.Critical, 1) {
			k.Never++
			p.margin, _ = c.Least(i)
		} else {
			for p.At > 0 && r.Eps[p.At-1] >= p.Critical {
				p.At--
			}
			var ok bool
			if p.margin, ok = c.Margin(i, p.At); !ok {
				p.margin, _ = c.Least(i)
			}
		}
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.Critical, b.Critical), cmp.Compare(a.margin, b.margin), cmp.Compare(a.Image, b.Image))
	})
	n := len(order)
	low := min(most, (n+1)/2)
	for _, p := range order[:low] {
		k.Least = append(k.Least, p.Ranked)
	}
	for i := n - 1; i >= max(low, n-most); i-- {
		k.Most = append(k.Most, order[i].Ranked)
	}
	return k, n > 0
}

// halfway is the place of the eps at which curve c leaves nearest to half of the clean images
// right: there the confusion says most.
func halfway(r *pipeline.Result, c *pipeline.Curve) int {
	best := 0
	for e, n := range c.Correct {
		if abs(2*n-r.Clean) < abs(2*c.Correct[best]-r.Clean) {
			best = e
		}
	}
	return best
}

func abs(v int) int { return max(v, -v) }

// medianCritical is the lower median over all images of the least of Eps at which they are not
// given their label under c, 0 for those that are wrong as they are; +Inf if it is above the
// largest. Of an exact curve it is over all eps.
func medianCritical(r *pipeline.Result, c *pipeline.Curve) float64 {
	if c.Exact != nil {
		if eps, ok := c.Exact.MedianCritical(); ok {
			return eps
		}
		return math.Inf(1)
	}
	all := make([]float64, r.N)
	for i := range all {
		all[i] = math.Inf(1)
		if r.Images[i].Class != r.Images[i].Label {
			all[i] = 0
		} else if e := c.FirstFailing(r.Images, i); e >= 0 {
			all[i] = r.Eps[e]
		}
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// meanAccuracy is the accuracy at an eps drawn evenly from the range of Eps, of an exact curve from
// 0 on; between two eps it is taken to be straight.
func meanAccuracy(r *pipeline.Result, c *pipeline.Curve) float64 {
	if c.Exact != nil {
		return mean(c.Exact)
	}
	E := len(r.Eps)
	if E == 1 {
		return stat.Ratio(c.Correct[0], r.N)
	}
	area := 0.0
	for e := 1; e < E; e++ {
		// The conversion keeps it from being fused on arm64.
		area += float64(float64(c.Correct[e]+c.Correct[e-1]) / 2 * (r.Eps[e] - r.Eps[e-1]))
	}
	return area / (r.Eps[E-1] - r.Eps[0]) / float64(r.N)
}

// normOf is the norm of all attacks of r, or ok false if they differ.
func normOf(r *pipeline.Result) (n attack.Norm, ok bool) {
	ok = true
	first := true
	for _, c := range r.Curves {
		if c.Attack.Composite() {
			continue
		}
		if first {
			n, first = c.Attack.Norm, false
		}
		ok = ok && c.Attack.Norm == n
	}
	return n, ok
}

// inL1 reports whether an attack of r is in L1, where that norm is known.
func inL1(r *pipeline.Result) bool {
	return slices.ContainsFunc(r.Curves, func(c pipeline.Curve) bool { return c.Attack.Norm == attack.L1 && !c.Attack.Composite() })
}
