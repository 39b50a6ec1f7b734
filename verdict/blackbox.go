package verdict

import (
	"slices"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/stat"
)

// A finder is an attack of a result, or a part of one, with what it finds.
type finder struct {
	attack attack.Attack
	black  bool // it asks for logits or classes alone
	// part says that it is a stage, which sees only what the stages before it have left.
	part bool
	// from [N] is for each image the place of the first eps at which it fools the image, E if it
	// does at none.
	from []int
}

// finders are the attacks of the result that ask the model anything. A staged attack that holds
// black-box stages is several: the others together, and each of these.
func (j judge) finders() (all []finder) {
	for k := range j.Curves {
		c := &j.Curves[k]
		if c.Attack.Control() || c.Attack.Composite() {
			continue
		}
		stages := c.Attack.Stages(j.Classes)
		fooling := func(by func(i, e int) bool) []int {
			return j.firsts(func(i, e int) bool { return !j.right(c, i, e) && by(i, e) })
		}
		if len(stages) == 0 {
			all = append(all, finder{c.Attack, c.Attack.BlackBox(), false, fooling(func(int, int) bool { return true })})
			continue
		}
		black := func(i, e int) bool {
			stage := int(c.Outcomes[i*len(j.Eps)+e].Stage)
			return stage > 0 && stages[stage-1].BlackBox()
		}
		all = append(all, finder{c.Attack, false, false, fooling(func(i, e int) bool { return !black(i, e) })})
		for s, stage := range stages {
			if stage.BlackBox() {
				all = append(all, finder{stage, true, true, fooling(func(i, e int) bool {
					return int(c.Outcomes[i*len(j.Eps)+e].Stage) == s+1
				})})
			}
		}
	}
	return all
}

// firsts returns for each image that is right as it is the place of the first eps at which wrong
// holds, [N]; E for the others.
func (j judge) firsts(wrong func(i, e int) bool) []int {
	from := make([]int, j.N)
	for i := range j.Images {
		from[i] = len(j.Eps)
		if j.Images[i].Class != j.Images[i].Label {
			continue
		}
		for e := range j.Eps {
			if wrong(i, e) {
				from[i] = e
				break
			}
		}
	}
	return from
}

// blackBox asks of each black-box attack whether it fools images that no attack along gradients of
// the same norm does, at the same eps or a smaller one. It asks nothing where the only such attacks
// take one step or go to a chosen class, for these need not be stronger.
//
// An attack that sees less and finds more says that gradients are masked: Athalye, Carlini, Wagner
// 2018, arXiv:1802.00420; Carlini et al. 2019, arXiv:1902.06705.
func (j judge) blackBox() (found []Finding) {
	asksLess := func(c pipeline.Curve) bool {
		return c.Attack.BlackBox() || slices.ContainsFunc(c.Attack.Stages(j.Classes), attack.Attack.BlackBox)
	}
	if !slices.ContainsFunc(j.Curves, asksLess) {
		return nil
	}
	all := j.finders()
	for _, s := range all {
		if !s.black {
			continue
		}
		along, strong := s.along(all), false
		for _, g := range along {
			strong = strong || g.attack.Steps > 1 && !g.attack.Target.Aims()
		}
		if strong {
			found = append(found, j.against(s, along))
		}
	}
	return found
}

// along are those of all that go along gradients in the norm of s.
func (s *finder) along(all []finder) (some []finder) {
	for _, g := range all {
		if !g.black && g.attack.Norm == s.attack.Norm {
			some = append(some, g)
		}
	}
	return some
}

// against holds s against all of along together. The finding is of the eps at which the chance is
// least, and of such the one with the most images that s alone fools.
//
// Of a stage there is no chance: nobody asked it of images that the stages before it fool.
func (j judge) against(s finder, along []finder) Finding {
	E := len(j.Eps)
	first := make([]int, j.N)
	for i := range first {
		first[i] = E
		for _, g := range along {
			first[i] = min(first[i], g.from[i])
		}
	}
	f := Finding{What: BlackBox, Attack: along[0].attack, Other: s.attack, N: j.N, P: 1}
	for e, eps := range j.Eps {
		var only, right [2]int // under the gradients, under s
		for i := range j.Images {
			there, here := first[i] <= e, s.from[i] <= e
			switch {
			case there && !here:
				only[0]++
			case here && !there:
				only[1]++
			}
			if !there {
				right[0]++
			}
			if !here {
				right[1]++
			}
		}
		p := 1.0
		if !s.part && only[1] > only[0] {
			p = stat.SignTest(only[1], only[0])
		}
		if only[1] > 0 && (p < f.P || p == f.P && only[1] > f.Only[1]) {
			f.Level, f.P, f.Eps, f.Only, f.Right = level(p), p, eps, only, right
			f.Images = j.which(func(i int, _ *pipeline.Clean) bool { return s.from[i] <= e && first[i] > e })
			f.Attack = strongest(along, e)
		}
	}
	return f
}

// strongest is the one of all that fools the most images at the eps with place e, or at a smaller
// one, the first on a tie.
func strongest(all []finder, e int) attack.Attack {
	best, most := all[0].attack, -1
	for _, s := range all {
		n := 0
		for _, at := range s.from {
			if at <= e {
				n++
			}
		}
		if n > most {
			best, most = s.attack, n
		}
	}
	return best
}
