package verdict_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/internal/raytest"
	"advsweep/pipeline"
	"advsweep/verdict"
)

// TestForms wants the same findings of one result in either form of its curves.
func TestForms(t *testing.T) {
	const E = 3
	edit := func(fooled [8][3]int, edit func(*pipeline.Result)) *pipeline.Result {
		r := judged(fooled)
		if edit != nil {
			edit(r)
		}
		return r
	}
	sound := [8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 390, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 100, 900}, {0, 100, 900}, {0, 290, 990}}
	for _, c := range []struct {
		name string
		r    *pipeline.Result
		// want are questions of Judge that are not passed
		want []verdict.Question
	}{
		{"sound", edit(sound, nil), nil},
		{"weaker than noise", edit([8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 370, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 400, 1000}, {0, 100, 1000}, {0, 290, 990}}, nil), []verdict.Question{verdict.Noise, verdict.BetterThanNoise}},
		{"a rise", edit([8][3]int{{}, {}, {20, 13, 6}, {}, {}, {}, {}, {}}, nil), []verdict.Question{verdict.AtZero, verdict.BetterThanNoise, verdict.AtFar, verdict.Monotone}},
		{"weaker than one step", edit([8][3]int{{0, 500, 1000}, {0, 380, 1000}, {0, 390, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 100, 900}, {0, 100, 900}, {0, 290, 990}}, nil), []verdict.Question{verdict.Iterated}},
		{"weaker than a search", edit([8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 390, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 100, 900}, {0, 100, 900}, {0, 420, 1000}}, nil), []verdict.Question{verdict.BlackBox}},
		{"zero gradients", edit(sound, func(r *pipeline.Result) {
			for _, image := range []int{3, 600, 999} {
				for e := range E {
					o := &r.Curves[0].Outcomes[image*E+e]
					o.Zero, o.Norms = true, attack.Norms{}
				}
			}
		}), []verdict.Question{verdict.ZeroGradient}},
		{"never right with zero gradients", edit(sound, func(r *pipeline.Result) {
			for e := range E {
				o := &r.Curves[0].Outcomes[7*E+e]
				o.Zero, o.Class = true, 2
			}
			r.Images[7].Class = 2
			r.Images[7].Margin = -1
			for k := range r.Curves {
				o := &r.Curves[k].Outcomes[7*E]
				o.Class, o.Margin = 2, -1
			}
		}), []verdict.Question{verdict.CleanAccuracy}}, // all have one label, which always 0 gives to more
		{"few", edit([8][3]int{{0, 300, 1000}, {0, 380, 1000}, {0, 370, 1000}, {0, 390, 1000}, {0, 370, 1000}, {0, 379, 1000}, {0, 100, 1000}, {0, 290, 990}}, nil), []verdict.Question{verdict.Noise}},
	} {
		for _, curves := range [][]int{{0}, {0, 1, 2, 3, 4, 5, 6, 7}} {
			t.Run(fmt.Sprint(c.name, curves), func(t *testing.T) {
				rays := raytest.Rays(t, c.r, curves...)
				check := verdict.Check{Far: 1, Norm: attack.Linf, Gates: []verdict.Gate{{Accuracy: 0.7, Eps: 0.1}}}
				want := check.Judge(c.r)
				if got := check.Judge(rays); !reflect.DeepEqual(want, got) {
					t.Errorf("check finds\n%+v of rays, want\n%+v", got, want)
				}
				for _, f := range want {
					if bad := f.Level > verdict.Pass; f.What != verdict.MinAccuracy && bad && !slices.Contains(c.want, f.What) {
						t.Errorf("check finds %s", f)
					}
				}
				for _, q := range c.want {
					if !slices.ContainsFunc(want, func(f verdict.Finding) bool { return f.What == q && f.Level > verdict.Pass }) {
						t.Errorf("check does not find %s", q)
					}
				}
				if want, got := verdict.Warnings(c.r), verdict.Warnings(rays); !reflect.DeepEqual(want, got) {
					t.Errorf("warnings\n%+v of rays, want\n%+v", got, want)
				}
			})
		}
	}
}
