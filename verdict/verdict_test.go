package verdict_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/verdict"
)

// judged is a made-up result of Check's attacks on 1,000 images of 10 classes, all right as they
// are, at eps 0, 0.1 and 1. fooled [8][3] is how many images, from the first on, an attack fools at
// an eps.
func judged(fooled [8][3]int) *pipeline.Result {
	const n = 1000
	r := &pipeline.Result{N: n, Clean: n, Classes: 10, Eps: []float64{0, 0.1, 1}, Images: make([]pipeline.Clean, n)}
	for i := range r.Images {
		r.Images[i].Margin = 1
	}
	for k, a := range []attack.Attack{attack.FGSM(), attack.BIM(20), attack.PGD(20, 1), attack.PGD(40, 1), attack.PGD(20, 1), attack.Noise(1), attack.UniformNoise(1), attack.Square(100, 1)} {
		c := pipeline.Curve{Attack: a, Correct: make([]int, 3), ZeroGradient: make([]int, 3), Outcomes: make([]pipeline.Outcome, 3*n)}
		for i := range n {
			for e := range r.Eps {
				o := &c.Outcomes[i*3+e]
				if o.Margin = 1; i < fooled[k][e] {
					o.Class, o.Margin = 1, -1
				} else {
					c.Correct[e]++
				}
			}
		}
		r.Curves = append(r.Curves, c)
	}
	return r
}

// TestOneJudge: noise fools 400 of 1,000 images and PGD 370 of the same. Check fails, and the
// warnings hold the same finding. Of 30 images that noise alone fools the chance is 2^-30. The 95 %
// intervals of Wilson overlap, 0.340 to 0.400 and 0.370 to 0.431.
func TestOneJudge(t *testing.T) {
	r := judged([8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 370, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 400, 1000}, {0, 100, 1000}, {0, 290, 990}})
	var asked, warned *verdict.Finding
	for _, f := range (verdict.Check{Far: 1}).Judge(r) {
		if f.What == verdict.Noise {
			asked = &f
		} else if f.Level == verdict.Fail && f.What != verdict.BetterThanNoise {
			t.Errorf("%s fails: %s", f.What, f)
		}
	}
	pgd := r.Curves[2].Attack
	for _, f := range verdict.Warnings(r) {
		if f.What == verdict.Noise && reflect.DeepEqual(f.Attack, pgd) && f.Other.Kind == "noise" {
			warned = &f
		}
	}
	if asked == nil || warned == nil {
		t.Fatalf("check found %v, warnings %v", asked, warned)
	}
	if !reflect.DeepEqual(asked, warned) {
		t.Errorf("check found %+v, warnings %+v", *asked, *warned)
	}
	if f := asked; f.Level != verdict.Fail || f.Eps != 0.1 || f.Only != [2]int{0, 30} || f.Right != [2]int{630, 600} || f.N != 1000 ||
		!(math.Abs(f.P-0x1p-30) <= 1e-12*0x1p-30) || len(f.Images) != 30 || f.Images[0] != 370 {
		t.Errorf("%+v", *f)
	}
	if verdict.Failed(verdict.Check{Far: 1}.Judge(r)) == 0 {
		t.Error("nothing failed")
	}
}

// TestFew: 9 images that noise alone fools may be chance, 2^-9: check warns, and no page does. 10,
// 2^-10, are none.
func TestFew(t *testing.T) {
	for only, want := range map[int]verdict.Level{0: verdict.Pass, 9: verdict.Warn, 10: verdict.Fail} {
		r := judged([8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 370, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 370 + only, 1000}, {0, 100, 1000}, {0, 290, 990}})
		for _, f := range (verdict.Check{Far: 1}).Judge(r) {
			if f.What == verdict.Noise && f.Level != want {
				t.Errorf("%d: %s, want %s: %s", only, f.Level, want, f)
			}
		}
		warned := false
		for _, f := range verdict.Warnings(r) {
			warned = warned || f.What == verdict.Noise && f.Attack == r.Curves[2].Attack
		}
		if warned != (want == verdict.Fail) {
			t.Errorf("%d: a page warns: %v", only, warned)
		}
	}
}

// TestRise: neighbours that may be chance are none once they add up.
func TestRise(t *testing.T) {
	r := judged([8][3]int{{}, {}, {20, 13, 6}, {}, {}, {}, {}, {}})
	found := 0
	for _, f := range verdict.Warnings(r) {
		if f.What == verdict.Monotone {
			found++
			if f.From != 0 || f.Eps != 1 || f.Only != [2]int{14, 0} || f.Right != [2]int{980, 994} || f.Level != verdict.Fail {
				t.Errorf("%+v", f)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d curves rise, want 1", found)
	}
}

// TestNoWords: a question that String does not know is named.
func TestNoWords(t *testing.T) {
	if got := (verdict.Finding{What: "new"}).String(); !strings.Contains(got, "new") || !strings.Contains(got, "no words") {
		t.Error(got)
	}
}
