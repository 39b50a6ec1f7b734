package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"advsweep/attack"
	"advsweep/stat"
)

// A Pair counts how two sides, A and B, judge the same images: a table of two by two.
type Pair struct {
	Both, OnlyA, OnlyB, Neither int // images that are right on both sides, on one alone, on neither

	// P is McNemar's exact test. Suppose that both sides are right equally often. Then P is the
	// chance that the images which one side alone gets right fall on the two sides as unevenly as
	// here, or more so.
	P float64
	// Holm is P corrected for the number of rows of a Comparison, by Holm's method: a small P is no
	// surprise among many.
	Holm float64
	// Flips are the images whose class differs between the sides, by their index in the data set,
	// increasing.
	Flips []int
}

// N is how many images there are, CorrectA and CorrectB how many of them are right on a side.
func (p *Pair) N() int        { return p.Both + p.OnlyA + p.OnlyB + p.Neither }
func (p *Pair) CorrectA() int { return p.Both + p.OnlyA }
func (p *Pair) CorrectB() int { return p.Both + p.OnlyB }

// add counts an image.
func (p *Pair) add(image int, label, a, b int32) {
	switch {
	case a == label && b == label:
		p.Both++
	case a == label:
		p.OnlyA++
	case b == label:
		p.OnlyB++
	default:
		p.Neither++
	}
	if a != b {
		p.Flips = append(p.Flips, image)
	}
}

// A Comparison is two results of the same attacks at the same eps on the same images.
type Comparison struct {
	A, B  *Result
	Clean Pair   // of the images as they are; its Holm is its P
	Pairs []Pair // [attacks·E], attack a at eps e in a·E + e
	// Models is what only the two models can tell. It is nil for two results that were read from
	// files.
	Models *Models
}

// Flips lists the images whose class differs between the sides: of the clean image, or under any
// attack at any eps. They are indices in the data set, increasing.
func (c *Comparison) Flips() []int {
	all := slices.Clone(c.Clean.Flips)
	for i := range c.Pairs {
		all = append(all, c.Pairs[i].Flips...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// NewComparison sets a and b side by side. It returns an error unless they have the same images,
// attacks, eps and bounds, and outcomes.
func NewComparison(a, b *Result) (*Comparison, error) {
	switch {
	case a.N != b.N || a.First != b.First || a.Classes != b.Classes:
		return nil, fmt.Errorf("pipeline: compare: %d images of %d classes from index %d with %d images of %d classes from index %d",
			a.N, a.Classes, a.First, b.N, b.Classes, b.First)
	case len(a.Images) != a.N || len(b.Images) != b.N:
		return nil, errors.New("pipeline: compare: a result without outcomes")
	case !slices.Equal(a.Eps, b.Eps) || a.Bounds != b.Bounds || len(a.Curves) != len(b.Curves):
		return nil, fmt.Errorf("pipeline: compare: %d attacks at eps %v, bounds %s with %d at eps %v, bounds %s: see Common",
			len(a.Curves), a.Eps, a.Bounds, len(b.Curves), b.Eps, b.Bounds)
	}
	c := &Comparison{A: a, B: b, Pairs: make([]Pair, len(a.Curves)*len(a.Eps))}
	for i := range a.Images {
		if a.Images[i].Label != b.Images[i].Label {
			return nil, fmt.Errorf("pipeline: compare: image %d has label %d and label %d", a.First+i, a.Images[i].Label, b.Images[i].Label)
		}
		c.Clean.add(a.First+i, a.Images[i].Label, a.Images[i].Class, b.Images[i].Class)
	}
	c.Clean.P = stat.McNemar(c.Clean.OnlyA, c.Clean.OnlyB)
	c.Clean.Holm = c.Clean.P
	E := len(a.Eps)
	for k := range a.Curves {
		if !sameAttack(a.Curves[k].Attack, b.Curves[k].Attack) {
			return nil, fmt.Errorf("pipeline: compare: attack %s with %s", a.Curves[k].Attack.Name, b.Curves[k].Attack.Name)
		}
		x, y := &a.Curves[k], &b.Curves[k]
		if !x.KnownOf(a.N, E) || !y.KnownOf(a.N, E) {
			return nil, fmt.Errorf("pipeline: compare: %s has no outcomes of all images", x.Attack.Name)
		}
		for i := range a.Images {
			for e := range E {
				c.Pairs[k*E+e].add(a.First+i, a.Images[i].Label, x.Class(i, e), y.Class(i, e))
			}
		}
	}
	p := make([]float64, len(c.Pairs))
	for i := range c.Pairs {
		p[i] = stat.McNemar(c.Pairs[i].OnlyA, c.Pairs[i].OnlyB)
	}
	for i, h := range stat.Holm(p) {
		c.Pairs[i].P, c.Pairs[i].Holm = p[i], h
	}
	return c, nil
}

// sameAttack reports whether a and b do the same, whatever they are called.
func sameAttack(a, b attack.Attack) bool { return plainly(a) == plainly(b) }

// plainly returns a in one form for all attacks that do the same, so that == compares what they do.
func plainly(a attack.Attack) attack.Attack {
	a.Name, a.Restarts = "", a.Starts()
	if a.Factor == 0 {
		a.Factor = 1
	}
	if !a.Draws() {
		a.Seed = 0
	}
	return a
}

// Common returns the attacks and eps of a and b that both have, in a's order. left says what it
// left out. Both have the worst of all attacks only if it is the worst of the same attacks. Common
// returns an error if they have nothing in common. So it does if their bounds differ: an attack
// with other bounds is another attack.
func Common(a, b *Result) (x, y *Result, left []string, err error) {
	if a.Bounds != b.Bounds {
		return nil, nil, nil, fmt.Errorf("pipeline: bounds %s and %s: an attack with other bounds is another attack", a.Bounds, b.Bounds)
	}
	var eps []float64
	var from [2][]int
	for i, v := range a.Eps {
		if j := slices.Index(b.Eps, v); j >= 0 {
			eps = append(eps, v)
			from[0], from[1] = append(from[0], i), append(from[1], j)
		}
	}
	if eps == nil {
		return nil, nil, nil, fmt.Errorf("pipeline: no eps in common: %v and %v", a.Eps, b.Eps)
	}
	for side, r := range []*Result{a, b} {
		if rest := slices.DeleteFunc(slices.Clone(r.Eps), func(v float64) bool { return slices.Contains(eps, v) }); len(rest) > 0 {
			left = append(left, fmt.Sprintf("eps that only %s has: %v", [2]string{"the first", "the second"}[side], rest))
		}
	}
	names := func(r *Result) []string {
		var all []string
		for i := range r.Curves {
			all = append(all, r.Curves[i].Attack.Name)
		}
		return all
	}
	only := func(r, other *Result) []string {
		var all []string
		for i := range r.Curves {
			if matching(other, r, i) < 0 {
				all = append(all, r.Curves[i].Attack.Name)
			}
		}
		return all
	}
	missing := [2][]string{only(a, b), only(b, a)}
	cut := func(r *Result, places []int) *Result {
		some := *r
		some.Eps, some.Curves = eps, nil
		return &some
	}
	x, y = cut(a, from[0]), cut(b, from[1])
	for i := range a.Curves {
		if j := matching(b, a, i); j >= 0 {
			x.Curves = append(x.Curves, a.Curves[i].At(a.Images, a.First, from[0]...))
			y.Curves = append(y.Curves, b.Curves[j].At(b.Images, b.First, from[1]...))
		}
	}
	if x.Curves == nil {
		return nil, nil, nil, fmt.Errorf("pipeline: no attack in common with the same options and seed: %s and %s", strings.Join(names(a), ", "), strings.Join(names(b), ", "))
	}
	for side, m := range missing {
		if len(m) > 0 {
			left = append(left, fmt.Sprintf("attacks that only %s has with these options and seed: %s", [2]string{"the first", "the second"}[side], strings.Join(m, ", ")))
		}
	}
	return x, y, left, nil
}

// matching returns the place in other of the attack that r has in place i, or -1.
func matching(other, r *Result, i int) int {
	a := r.Curves[i].Attack
	if a.Composite() && !slices.EqualFunc(other.Curves, r.Curves, func(x, y Curve) bool { return sameAttack(x.Attack, y.Attack) }) {
		return -1
	}
	return slices.IndexFunc(other.Curves, func(c Curve) bool { return sameAttack(c.Attack, a) })
}
