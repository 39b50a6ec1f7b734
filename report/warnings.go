package report

import (
	"fmt"
	"strings"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/stat"
)

// Warnings says in plain words what a reader of r should know before believing it: each is a sentence or two. r has Outcomes. There are
// none for a sweep in which all is as it should be.
func Warnings(r *pipeline.Result) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	E := len(r.Eps)
	top := r.Eps[E-1]
	control := false
	var strongest *pipeline.Curve
	for i := range r.Curves {
		c := &r.Curves[i]
		control = control || c.Attack.Control()
		if !c.Attack.Control() && (strongest == nil || c.Correct[E-1] < strongest.Correct[E-1]) {
			strongest = c
		}
	}
	if chance := stat.Ratio(1, r.Classes); stat.Ratio(r.Clean, r.N) <= chance {
		add("The model is no better than chance on the clean images: %d of %d are right, chance is 1/%d. Its robustness says nothing.", r.Clean, r.N, r.Classes)
	}
	for i := range r.Curves {
		c := &r.Curves[i]
		name := c.Attack.Label()
		if r.Eps[0] == 0 && c.Correct[0] != r.Clean {
			add("%s: at eps 0, where nothing may move, %d images are right instead of %d.", name, c.Correct[0], r.Clean)
		}
		if from, to := rise(c.Correct); to > 0 && apart(c.Correct[from], c.Correct[to], r.N) {
			add("%s: accuracy rises from %d of %d at eps %s to %d at eps %s. A larger eps allows all that a smaller one does, so the attack is at fault, not the model: trust the curve within eps.",
				name, c.Correct[from], r.N, short(r.Eps[from]), c.Correct[to], short(r.Eps[to]))
		}
		if c.Attack.Short(top) {
			add("%s: %s of %s %s not reach eps %s: the model looks stronger than it is.", name, plural(c.Attack.Steps, "step", "steps"), c.Attack.StepSize(),
				map[bool]string{true: "does", false: "do"}[c.Attack.Steps == 1], short(top))
		}
		if n := unmoved(r, c); n > 0 {
			add("%s: %s right although not attacked, or not to the end: the gradient was zero in every pixel at some step. Being right says nothing of them.",
				name, plural(n, "image is", "images are"))
		}
		if c.Exact != nil {
			if checked, bad := c.Exact.Ends(); bad > 0 {
				add("%s: %d of %d ends of the exact curve disagree with a forward pass beside them: do not trust it.", name, bad, checked)
			}
		}
	}
	for i := range r.Curves {
		for j := range r.Curves {
			a, b := &r.Curves[i], &r.Curves[j]
			if a.Attack.Norm != b.Attack.Norm || a.Attack.Control() || a.Attack.Target != attack.Untargeted {
				continue
			}
			weaker := -1
			for e := range E {
				if a.Correct[e] > b.Correct[e] && apart(a.Correct[e], b.Correct[e], r.N) {
					weaker = e
					break
				}
			}
			switch {
			case weaker < 0:
			case b.Attack.Control():
				add("%s is weaker than %s at eps %s: %d images are right under the attack and %d under the control. It has found nothing that chance does not find: the gradient may be masked, which 'advsweep check' looks into.",
					a.Attack.Label(), b.Attack.Label(), short(r.Eps[weaker]), a.Correct[weaker], b.Correct[weaker])
			case a.Attack.Steps > 1 && b.Attack.Steps == 1 && b.Attack.Kind == "fgsm" && b.Attack.Target == attack.Untargeted:
				add("%s is weaker than one step of %s at eps %s (%d against %d images are right), which an iterated attack should not be: the gradient may be masked, which 'advsweep check' looks into, or the steps too few.",
					a.Attack.Label(), b.Attack.Label(), short(r.Eps[weaker]), a.Correct[weaker], b.Correct[weaker])
			}
		}
	}
	switch {
	case strongest == nil:
		out = append(out, "No attack looks at the model: random noise alone says nothing of an adversary.")
	case top > 0:
		if !control {
			out = append(out, "There is no noise to compare with: with noise in the list of attacks one sees what they find beyond chance.")
		}
		if lo, _ := stat.Wilson(strongest.Correct[E-1], r.N); lo > stat.Ratio(1, r.Classes) {
			add("At the largest eps, %s, the strongest attack, %s, leaves %d of %d images right, above chance. A larger eps would show whether it can fool the rest.",
				short(top), strongest.Attack.Label(), strongest.Correct[E-1], r.N)
		}
	}
	return out
}

// unmoved counts the images that are right at some eps with a gradient that was zero.
func unmoved(r *pipeline.Result, c *pipeline.Curve) (n int) {
	E := len(r.Eps)
	for i, im := range r.Images {
		for _, o := range c.Outcomes[i*E:][:E] {
			if o.Zero && o.Class == im.Label {
				n++
				break
			}
		}
	}
	return n
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

// apart reports whether two counts of n differ by more than their 95 % intervals.
func apart(a, b, n int) bool {
	alo, ahi := stat.Wilson(a, n)
	blo, bhi := stat.Wilson(b, n)
	return alo > bhi || blo > ahi
}

// list names things up to a number of them: "3, 17 and 5 more".
func list(items []string, most int) string {
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}
