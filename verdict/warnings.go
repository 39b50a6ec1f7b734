package verdict

import (
	"advsweep/attack"
	"advsweep/pipeline"
)

// Warnings returns what a reader of r should know before believing it, in the order to say it in.
// r is a sweep that somebody else set up, whose curves are Known. What Check asks too is asked by
// the same functions; a difference that may be chance is left out.
// There are no warnings of a sweep in which all is as it should be.
func Warnings(r *pipeline.Result) []Finding {
	var out []Finding
	add := func(f Finding) { out = append(out, f) }
	j := judge{r}
	last := len(r.Eps) - 1
	top := r.Eps[last]
	control := false
	var strongest *pipeline.Curve
	for i := range r.Curves {
		c := &r.Curves[i]
		control = control || c.Attack.Control()
		if !c.Attack.Control() && (strongest == nil || c.Correct[last] < strongest.Correct[last]) {
			strongest = c
		}
	}
	if f := j.clean(); f.Level == Fail {
		add(f)
	}
	for i := range r.Curves {
		c := &r.Curves[i]
		if r.Eps[0] == 0 {
			if f := j.atZero(c); f.Level > Pass {
				add(f)
			}
		}
		if f := j.monotone(c); f.Level == Fail {
			add(f)
		}
		if c.Attack.Short(top) {
			add(Finding{Level: Warn, What: ShortSteps, Attack: c.Attack, Eps: top})
		}
		if f := j.zeroGradient(c); f.Level > Pass {
			add(f)
		}
		if c.Exact != nil {
			if checked, bad := c.Exact.Ends(); bad > 0 {
				add(Finding{Level: Fail, What: ExactEnds, Attack: c.Attack, Only: [2]int{bad}, N: checked})
			}
		}
	}
	for i := range r.Curves {
		for k := range r.Curves {
			a, b := &r.Curves[i], &r.Curves[k]
			if what, ok := question(a.Attack, b.Attack); ok {
				if f := j.stronger(what, a, b); f.Level == Fail {
					add(f)
				}
			}
		}
	}
	for _, f := range j.blackBox() {
		if f.Level == Fail {
			add(f)
		}
	}
	if strongest == nil {
		add(Finding{Level: Warn, What: NoAttack})
		return out
	}
	if top > 0 && !control {
		add(Finding{Level: Warn, What: NoControl})
	}
	if k := strongest.Correct[last]; top > 0 && j.beyondLuck(k) {
		add(Finding{Level: Warn, What: AboveChance, Attack: strongest.Attack, Eps: top, Right: [2]int{k}, N: r.N, Want: j.luck()})
	}
	return out
}

// question returns the question that asks whether a is at least as strong as b, if it must be:
// b is a control, or b is one step along the gradient and a has many.
func question(a, b attack.Attack) (Question, bool) {
	switch {
	case a.Norm != b.Norm || a.Control() || a.Target != attack.Untargeted:
		return "", false
	case b.Control():
		return Noise, true
	case a.Steps > 1 && a.HasLoss() && b.Steps == 1 && b.Kind == "fgsm" && b.Target == attack.Untargeted:
		return Iterated, true
	}
	return "", false
}
