package verdict_test

import (
	"fmt"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/verdict"
)

// fooling is a made-up curve of a on the images of r. by says whether image i is fooled at the eps
// with place e, and by which stage of a staged attack.
func fooling(r *pipeline.Result, a attack.Attack, by func(i, e int) (fooled bool, stage uint8)) pipeline.Curve {
	E := len(r.Eps)
	c := pipeline.Curve{Attack: a, Correct: make([]int, E), ZeroGradient: make([]int, E), Outcomes: make([]pipeline.Outcome, r.N*E)}
	for i := range r.N {
		for e := range E {
			o := &c.Outcomes[i*E+e]
			o.Class, o.Margin = r.Images[i].Label, 1
			if fooled, stage := by(i, e); fooled {
				o.Class, o.Margin, o.Stage = r.Images[i].Label+1, -1, stage
			} else {
				c.Correct[e]++
			}
		}
	}
	return c
}

// upTo fools images lo to hi-1 from the eps with place e on.
func upTo(lo, hi, e int) func(int, int) (bool, uint8) {
	return func(i, at int) (bool, uint8) { return i >= lo && i < hi && at >= e, 0 }
}

// TestBlackBox: images that an attack which asks for no gradient fools alone are named, and what
// any attack along gradients fools, at that eps or a smaller one, is not counted.
func TestBlackBox(t *testing.T) {
	sound := [8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 390, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 100, 900}, {0, 100, 900}, {0, 290, 990}}
	square, few := attack.Square(5000, 1), attack.Square(100, 1)
	stages := func(i, e int) (bool, uint8) { // Square, the last stage, finds 395 to 399
		switch {
		case e == 0 || i >= 400:
			return false, 0
		case i >= 395:
			return true, 4
		}
		return true, 1
	}
	l2 := attack.APGDTargeted(100, 9, 1)
	l2.Norm = attack.L2
	toThree := attack.PGD(40, 1)
	toThree.Target = attack.Class(3)
	type want struct {
		other  attack.Attack
		level  verdict.Level
		lo, hi int // the images
	}
	for _, c := range []struct {
		name string
		more func(r *pipeline.Result) []pipeline.Curve
		want []want
	}{
		{"none more", func(*pipeline.Result) []pipeline.Curve { return nil }, []want{{other: few}}},
		{"more queries", func(r *pipeline.Result) []pipeline.Curve {
			return []pipeline.Curve{fooling(r, square, upTo(0, 430, 1))}
		}, []want{{other: few}, {square, verdict.Fail, 390, 430}}},
		{"classes alone", func(r *pipeline.Result) []pipeline.Curve {
			return []pipeline.Curve{fooling(r, attack.RayS(100), upTo(0, 430, 1))}
		}, []want{{other: few}, {attack.RayS(100), verdict.Fail, 390, 430}}},
		{"few", func(r *pipeline.Result) []pipeline.Curve {
			return []pipeline.Curve{fooling(r, square, upTo(385, 393, 1))}
		}, []want{{other: few}, {square, verdict.Warn, 390, 393}}},
		{"a targeted attack finds them too", func(r *pipeline.Result) []pipeline.Curve {
			return []pipeline.Curve{fooling(r, square, upTo(0, 430, 1)), fooling(r, attack.APGDTargeted(100, 9, 1), upTo(0, 430, 1))}
		}, []want{{other: few}, {other: square}}},
		{"one of another norm is no help", func(r *pipeline.Result) []pipeline.Curve {
			return []pipeline.Curve{fooling(r, square, upTo(0, 430, 1)), fooling(r, l2, upTo(0, 430, 1))}
		}, []want{{other: few}, {square, verdict.Fail, 390, 430}}},
		{"fooled at a smaller eps", func(r *pipeline.Result) []pipeline.Curve {
			once := func(i, e int) (bool, uint8) { return i < 430 && e == 0, 0 }
			return []pipeline.Curve{fooling(r, square, upTo(0, 430, 1)), fooling(r, attack.MALT(100, 9, 1), once)}
		}, []want{{other: few}, {other: square}}},
		{"wrong as they are", func(r *pipeline.Result) []pipeline.Curve {
			for i := 390; i < 430; i++ {
				r.Images[i].Class = 1
			}
			return []pipeline.Curve{fooling(r, square, upTo(0, 430, 1))}
		}, []want{{other: few}, {other: square}}},
		{"a stage", func(r *pipeline.Result) []pipeline.Curve {
			return []pipeline.Curve{fooling(r, attack.AutoAttack(1), stages)}
		}, []want{{other: few}, {square, verdict.Warn, 395, 400}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := judged(sound)
			r.Curves = append(r.Curves, c.more(r)...)
			found := slices.DeleteFunc(verdict.Check{Far: 1}.Judge(r), func(f verdict.Finding) bool { return f.What != verdict.BlackBox })
			if len(found) != len(c.want) {
				t.Fatalf("%d findings, want %d: %v", len(found), len(c.want), found)
			}
			for k, w := range c.want {
				f := found[k]
				var images []int
				for i := w.lo; i < w.hi; i++ {
					images = append(images, i)
				}
				if w.other.Kind != f.Other.Kind || w.other.Steps != f.Other.Steps || f.Level != w.level || !slices.Equal(f.Images, images) {
					t.Errorf("%d: %s of %s, images %v: %s; want %s of %s, images %v", k, f.Level, f.Other.Name, f.Images, f, w.level, w.other.Name, images)
				}
			}
		})
	}

	// Of a sweep that somebody else set up: one step, or a chosen class, need not be stronger.
	r := judged(sound)
	for _, c := range []struct {
		along attack.Attack
		warns bool
	}{{attack.FGSM(), false}, {toThree, false}, {attack.PGD(40, 1), true}, {attack.Quick(1), true}} {
		r.Curves = []pipeline.Curve{fooling(r, c.along, upTo(0, 300, 1)), fooling(r, square, upTo(0, 400, 1)), fooling(r, attack.Noise(1), upTo(0, 10, 1))}
		warns := slices.ContainsFunc(verdict.Warnings(r), func(f verdict.Finding) bool { return f.What == verdict.BlackBox })
		if warns != c.warns {
			t.Errorf("%s and Square: warned is %v, want %v: %s", c.along.Name, warns, c.warns, fmt.Sprint(verdict.Warnings(r)))
		}
	}
}
