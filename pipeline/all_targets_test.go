package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// TestAllTargets: an attack toward all other classes finds what attacks toward each of them find
// together, of those without draws, where the number of a run means nothing. An image is fooled if
// one of them fools it, and has reached the classes that one of them brings it to.
func TestAllTargets(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 2))
	const classes = 5
	m := ref.RandomModel(r, 2, 30, 21, classes)
	set := correctSet(t, r, m, 60, 5, 6)
	for i := range 10 { // some are wrong as they are
		set.Labels[i] = (set.Labels[i] + 1) % classes
	}
	b := open[float64](t, m)
	for _, kind := range []string{"fgsm", "bim:steps=3", "mifgsm:steps=3:loss=cw", "bim:steps=4:step=2*eps/k:norm=l2"} {
		list := []string{kind + ":target=all"}
		for c := range classes {
			list = append(list, fmt.Sprintf("%s:target=%d", kind, c))
		}
		s, _ := pipeline.Sweep{Attacks: parse(t, strings.Join(list, ","), attack.Options{}), Eps: []float64{0, 0.02, 0.1, 0.3}, Rounded: true}.LeaveOut(classes)
		var res *pipeline.Result
		for _, s.Rows = range []int{0, 3, 50} { // targets in one batch, and parted
			got, err := s.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			if res == nil {
				res = got
			} else if d := cmp.Diff(res, got); d != "" {
				t.Fatalf("%s: %d rows:\n%s", kind, s.Rows, d)
			}
		}
		all, several, other := &res.Curves[0], 0, 0
		for i, im := range res.Images {
			for e := range res.Eps {
				var reached []int32
				right := true
				for c := range int32(classes) {
					if c == im.Label {
						continue // its attack goes to the next class
					}
					class := res.Curves[1+c].Class(i, e)
					if right = right && class == im.Label; class == c {
						reached = append(reached, c)
					}
					if class != c && class != im.Label {
						other++
					}
				}
				if got := all.Reached[i*len(res.Eps)+e]; !slices.Equal(got, reached) {
					t.Errorf("%s: image %d at eps %v reaches %v, want %v", kind, i, res.Eps[e], got, reached)
				}
				if got := all.Class(i, e) == im.Label; got != right {
					t.Errorf("%s: image %d at eps %v is right: %v, want %v", kind, i, res.Eps[e], got, right)
				}
				if len(reached) > 1 {
					several++
				}
			}
		}
		if several == 0 || other == 0 {
			t.Errorf("%s: %d times several classes are reached, %d times another than was gone to: the test says too little", kind, several, other)
		}
		made, err := pipeline.CraftAll(t.Context(), b, set, s.Attacks[0], 0.1, s.Bounds, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range made.Outcomes {
			if want := all.Outcomes[i*len(res.Eps)+2]; o != want {
				t.Errorf("%s: image %d: crafted %+v, in the sweep %+v", kind, i, o, want)
			}
		}
		if cut := all.At(res.Images, 0, 3, 1); !slices.Equal(cut.Reached[2*4+1], all.Reached[4*4+1]) || !slices.Equal(cut.Reached[2*4], all.Reached[4*4+3]) {
			t.Errorf("%s: cut to two eps: %v, %v", kind, cut.Reached[2*4], cut.Reached[2*4+1])
		}
		if res.Curves[1].Reached != nil {
			t.Errorf("%s toward one class has reached several", kind)
		}
	}
	s := pipeline.Sweep{Attacks: parse(t, "bim:target=all", attack.Options{}), Eps: []float64{0.1}}
	if _, err := s.Run(t.Context(), b, set); err == nil || !strings.Contains(err.Error(), "Attack.For") {
		t.Errorf("nobody said how many classes there are: error %v", err)
	}
	// Starts and targets: run r goes to target r mod 4, each from a point of its own.
	s, _ = pipeline.Sweep{Attacks: parse(t, "pgd:steps=3:restarts=2:target=all,pgd:steps=3:target=all,pgd:steps=3", attack.Options{Seed: 3}), Eps: []float64{0.1}}.LeaveOut(classes)
	res, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	more := 0
	for i := range res.Images {
		two, one := res.Curves[0].Reached[i], res.Curves[1].Reached[i]
		for _, c := range one {
			if !slices.Contains(two, c) {
				t.Errorf("image %d: one start reaches class %d, two starts %v", i, c, two)
			}
		}
		more += len(two) - len(one)
	}
	if more == 0 {
		t.Error("the second start reaches nothing: the test says too little")
	}
}
