package verdict

import (
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/stat"
)

// A judge looks at one result with outcomes. What check and the pages both ask is decided here.
type judge struct{ *pipeline.Result }

// outcome is that of image i under c at eps[e].
func (j judge) outcome(c *pipeline.Curve, i, e int) *pipeline.Outcome {
	return &c.Outcomes[i*len(j.Eps)+e]
}

func (j judge) right(c *pipeline.Curve, i, e int) bool {
	return j.outcome(c, i, e).Class == j.Images[i].Label
}

// crossed counts images under a at eps[x] against b at eps[y]: those right only here, only there, and on each side in all.
// bad lists those that are right only here.
func (j judge) crossed(a *pipeline.Curve, x int, b *pipeline.Curve, y int) (only, right [2]int, bad []int) {
	for i := range j.Images {
		here, there := j.right(a, i, x), j.right(b, i, y)
		if here {
			right[0]++
		}
		if there {
			right[1]++
		}
		switch {
		case here && !there:
			only[0]++
			bad = append(bad, j.First+i)
		case there && !here:
			only[1]++
		}
	}
	return only, right, bad
}

// level is that of a difference with chance p.
func level(p float64) Level {
	if p < sure {
		return Fail
	}
	return Warn
}

// stronger asks whether attack strong fools at least as many images as attack weak at every eps.
// Images that only weak fools count against those that only strong does, by the sign test.
// The finding is of the eps at which the chance is least.
func (j judge) stronger(what Question, strong, weak *pipeline.Curve) Finding {
	f := Finding{What: what, Attack: strong.Attack, Other: weak.Attack, N: j.N, P: 1}
	for e, eps := range j.Eps {
		only, right, bad := j.crossed(strong, e, weak, e)
		if only[0] <= only[1] {
			continue
		}
		if p := stat.SignTest(only[0], only[1]); p < f.P {
			f.Level, f.P, f.Eps, f.Images = level(p), p, eps, bad
			f.Only, f.Right = [2]int{only[1], only[0]}, right
		}
	}
	return f
}

// monotone asks whether a larger eps makes images right under c.
// Each eps is held against the one before it, and the ends of the largest rise against each other.
// The finding is of the two eps between which the chance is least.
func (j judge) monotone(c *pipeline.Curve) Finding {
	f := Finding{What: Monotone, Attack: c.Attack, N: j.N, P: 1}
	try := func(from, to int) {
		only, right, bad := j.crossed(c, to, c, from)
		if only[0] <= only[1] {
			return
		}
		if p := stat.SignTest(only[0], only[1]); p < f.P {
			f.Level, f.P, f.From, f.Eps, f.Images = level(p), p, j.Eps[from], j.Eps[to], bad
			f.Only, f.Right = only, [2]int{right[1], right[0]}
		}
	}
	if from, to := rise(c.Correct); to > 0 {
		try(from, to)
	}
	for e := 1; e < len(j.Eps); e++ {
		try(e-1, e)
	}
	return f
}

// rise returns the places of the largest rise of counts, from a lowest one to a later one, or 0, 0.
func rise(counts []int) (from, to int) {
	low := 0
	for e, k := range counts {
		if k < counts[low] {
			low = e
		}
		if k-counts[low] > counts[to]-counts[from] {
			from, to = low, e
		}
	}
	return from, to
}

// atZero asks whether each of curves leaves images and logits as they are at eps 0, the first one.
func (j judge) atZero(curves ...*pipeline.Curve) Finding {
	f := Finding{What: AtZero, N: j.N, Attack: curves[0].Attack, Right: [2]int{curves[0].Correct[0], j.Clean}}
	f.Images = j.which(func(i int, im *pipeline.Clean) bool {
		return slices.ContainsFunc(curves, func(c *pipeline.Curve) bool {
			o := j.outcome(c, i, 0)
			return o.Norms != (attack.Norms{}) || o.Class != im.Class || o.Margin != im.Margin
		})
	})
	if f.Only[0] = len(f.Images); f.Only[0] > 0 {
		f.Level = Fail
	}
	return f
}

// zeroGradient asks which images are right at some eps with a gradient that was zero under one of curves.
func (j judge) zeroGradient(curves ...*pipeline.Curve) Finding {
	f := Finding{What: ZeroGradient, N: j.N, Attack: curves[0].Attack}
	E := len(j.Eps)
	f.Images = j.which(func(i int, im *pipeline.Clean) bool {
		return slices.ContainsFunc(curves, func(c *pipeline.Curve) bool {
			return slices.ContainsFunc(c.Outcomes[i*E:][:E], func(o pipeline.Outcome) bool { return o.Zero && o.Class == im.Label })
		})
	})
	if n := len(f.Images); n > 0 {
		f.Level, f.Only[0] = Warn, n
		if 100*n > j.N {
			f.Level = Fail
		}
	}
	return f
}

// which lists the images of which is holds.
func (j judge) which(is func(i int, im *pipeline.Clean) bool) (images []int) {
	for i := range j.Images {
		if is(i, &j.Images[i]) {
			images = append(images, j.First+i)
		}
	}
	return images
}

// luck is how many images are right by chance on average.
func (j judge) luck() float64 { return float64(j.N) * stat.Ratio(1, j.Classes) }

// beyondLuck reports whether k right images are more than chance gives.
// How many are right by luck is binomial: 4 standard deviations above the mean are no luck.
func (j judge) beyondLuck(k int) bool {
	n, chance := float64(j.N), stat.Ratio(1, j.Classes)
	return float64(k) > float64(n*chance)+float64(4*math.Sqrt(n*chance*(1-chance)))
}
