package verdict

import (
	"math"
	"slices"

	"advsweep/pipeline"
	"advsweep/stat"
)

// A judge looks at one result whose curves are Known. What check and the pages both ask is decided
// here.
type judge struct{ *pipeline.Result }

func (j judge) right(c *pipeline.Curve, i, e int) bool {
	return c.Class(i, e) == j.Images[i].Label
}

// A crossing counts images under one attack at one eps against another: those right only here and
// only there, and on each side in all.
type crossing struct{ only, right [2]int }

// crossed counts images under a at eps at[k][0] against b at eps at[k][1], for every k, in one pass
// over the images.
func (j judge) crossed(a, b *pipeline.Curve, at [][2]int) []crossing {
	all := make([]crossing, len(at))
	for i := range j.Images {
		for k := range at {
			x, here, there := &all[k], j.right(a, i, at[k][0]), j.right(b, i, at[k][1])
			if here {
				x.right[0]++
			}
			if there {
				x.right[1]++
			}
			switch {
			case here && !there:
				x.only[0]++
			case there && !here:
				x.only[1]++
			}
		}
	}
	return all
}

// onlyHere lists the images that are right under a at eps at[0] and not under b at eps at[1].
func (j judge) onlyHere(a, b *pipeline.Curve, at [2]int) []int {
	return j.which(func(i int, _ *pipeline.Clean) bool { return j.right(a, i, at[0]) && !j.right(b, i, at[1]) })
}

// unlikeliest returns the place of the crossing that has more images right only here than there
// with the least chance, the first one on a tie, and that chance. ok is false if there is none with
// a chance below 1.
func unlikeliest(all []crossing) (k int, p float64, ok bool) {
	p = 1
	for i := range all {
		only := all[i].only
		if only[0] <= only[1] {
			continue
		}
		if chance := stat.SignTest(only[0], only[1]); chance < p {
			k, p, ok = i, chance, true
		}
	}
	return k, p, ok
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
	at := make([][2]int, len(j.Eps))
	for e := range at {
		at[e] = [2]int{e, e}
	}
	all := j.crossed(strong, weak, at)
	if k, p, ok := unlikeliest(all); ok {
		f.Level, f.P, f.Eps, f.Images = level(p), p, j.Eps[k], j.onlyHere(strong, weak, at[k])
		f.Only, f.Right = [2]int{all[k].only[1], all[k].only[0]}, all[k].right
	}
	return f
}

// monotone asks whether a larger eps makes images right under c.
// Each eps is held against the one before it, and the ends of the largest rise against each other.
// The finding is of the two eps between which the chance is least.
func (j judge) monotone(c *pipeline.Curve) Finding {
	f := Finding{What: Monotone, Attack: c.Attack, N: j.N, P: 1}
	var at [][2]int // later, earlier
	if from, to := rise(c.Correct); to > 0 {
		at = append(at, [2]int{to, from})
	}
	for e := 1; e < len(j.Eps); e++ {
		at = append(at, [2]int{e, e - 1})
	}
	all := j.crossed(c, c, at)
	if k, p, ok := unlikeliest(all); ok {
		to, from := at[k][0], at[k][1]
		f.Level, f.P, f.From, f.Eps, f.Images = level(p), p, j.Eps[from], j.Eps[to], j.onlyHere(c, c, at[k])
		f.Only, f.Right = all[k].only, [2]int{all[k].right[1], all[k].right[0]}
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
		return slices.ContainsFunc(curves, func(c *pipeline.Curve) bool { return c.Moved(i, 0, im) })
	})
	if f.Only[0] = len(f.Images); f.Only[0] > 0 {
		f.Level = Fail
	}
	return f
}

// zeroGradient asks which images are right at some eps since one of curves left them unattacked.
func (j judge) zeroGradient(curves ...*pipeline.Curve) Finding {
	f := Finding{What: ZeroGradient, N: j.N, Attack: curves[0].Attack}
	f.Images = j.which(func(i int, im *pipeline.Clean) bool {
		return slices.ContainsFunc(curves, func(c *pipeline.Curve) bool { return c.EverUnattacked(i, im.Label) })
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
