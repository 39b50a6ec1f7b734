package pipeline_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/raytest"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// atRandom is a made-up result of FGSM and BIM on n images of 5 classes at eps, all drawn with a
// seed. Every tenth image has a zero gradient, and does not move.
func atRandom(n int, seed uint64, eps ...float64) *pipeline.Result {
	random := rand.New(rand.NewPCG(seed, 1))
	r := &pipeline.Result{N: n, First: 30, Classes: 5, Eps: eps, Images: make([]pipeline.Clean, n)}
	for i := range r.Images {
		r.Images[i] = pipeline.Clean{Label: int32(i % 5), Class: int32(i%5) + int32(random.IntN(2))*int32(i%2)}
		r.Images[i].Class %= 5
	}
	for _, a := range []attack.Attack{attack.FGSM(), attack.BIM(3)} {
		c := pipeline.Curve{Attack: a, Correct: make([]int, len(eps)), ZeroGradient: make([]int, len(eps))}
		for i, im := range r.Images {
			unattacked := false
			for e, v := range eps {
				o := pipeline.Outcome{Class: int32(random.IntN(5)), Rounded: int32(random.IntN(5)), Margin: float32(random.IntN(7)) - 3, Zero: i%10 == 9,
					Norms: attack.Norms{Linf: float32(v), L2: float32(random.NormFloat64()), L0: int32(random.IntN(784))}}
				if o.Class == im.Label {
					c.Correct[e]++
				}
				if o.Zero {
					o.Norms = attack.Norms{}
				}
				if o.Zero && o.Class == im.Label {
					c.ZeroGradient[e]++
					unattacked = true
				}
				c.Outcomes = append(c.Outcomes, o)
			}
			if unattacked {
				c.ZeroImages = append(c.ZeroImages, r.First+i)
			}
		}
		r.Curves = append(r.Curves, c)
	}
	return r
}

// TestForms wants the methods of a curve to say the same in either form, and what they say of
// outcomes to be what these hold.
func TestForms(t *testing.T) {
	r := atRandom(40, 1, 0, 0.1, 0.2, 0.3)
	rays := raytest.Rays(t, r, 0)
	c, d := &r.Curves[0], &rays.Curves[0]
	E := len(r.Eps)
	for _, c := range []*pipeline.Curve{c, d} {
		for _, bad := range [][2]int{{39, E}, {41, E}, {40, E - 1}, {40, E + 1}} {
			if !c.Known() || !c.KnownOf(40, E) || c.KnownOf(bad[0], bad[1]) {
				t.Errorf("of 40 images at %d eps it is known %v, of %d and %d %v", E, c.KnownOf(40, E), bad[0], bad[1], c.KnownOf(bad[0], bad[1]))
			}
		}
	}
	for i, im := range r.Images {
		least := float32(math.Inf(1))
		zero := false
		for e := range r.Eps {
			o := &c.Outcomes[i*E+e]
			least = min(least, o.Margin)
			zero = zero || o.Zero && o.Class == im.Label
			for _, c := range []*pipeline.Curve{c, d} {
				right, asked := c.RoundedRight(i, e, im.Label)
				if c.Class(i, e) != o.Class || c.Zero(i, e) != o.Zero || c.Unattacked(i, e, im.Label) != (o.Zero && o.Class == im.Label) || !asked || right != (o.Rounded == im.Label) {
					t.Fatalf("image %d, eps %v: class %d, zero %v, rounded %v %v, want %+v", i, r.Eps[e], c.Class(i, e), c.Zero(i, e), right, asked, *o)
				}
			}
			if m, ok := c.Margin(i, e); !ok || m != o.Margin {
				t.Errorf("image %d, eps %v: margin %v, %v, want %v", i, r.Eps[e], m, ok, o.Margin)
			}
			if m, ok := d.Margin(i, e); ok {
				t.Errorf("image %d, eps %v: a ray has margin %v", i, r.Eps[e], m)
			}
		}
		for _, c := range []*pipeline.Curve{c, d} {
			m, at := c.Least(i)
			if m != least || r.Curves[0].Outcomes[i*E+at].Margin != least || c.EverUnattacked(i, im.Label) != zero || c.FirstFailing(r.Images, i) != r.Curves[0].FirstFailing(r.Images, i) {
				t.Errorf("image %d: least margin %v at %d, zero %v, want %v, zero %v", i, m, at, c.EverUnattacked(i, im.Label), least, zero)
			}
		}
	}
	var norms []pipeline.MeanNorms
	for e := range r.Eps {
		norms = append(norms, c.MeanNorms(e))
		if d.MeanNorms(e) != norms[e] {
			t.Errorf("eps %v: mean norms %v of rays, want %v", r.Eps[e], d.MeanNorms(e), norms[e])
		}
	}
	for _, c := range []*pipeline.Curve{c, d} {
		if diff := cmp.Diff(norms, c.AllMeanNorms()); diff != "" {
			t.Errorf("mean norms (-each +all):\n%s", diff)
		}
	}
	if diff := cmp.Diff(c.Within(r.Images), d.Within(r.Images)); diff != "" {
		t.Errorf("within (-outcomes +rays):\n%s", diff)
	}
}

// TestCutForms wants a curve that is cut to say at its eps what it said there before, and a ray to
// say nothing of margins.
func TestCutForms(t *testing.T) {
	r := atRandom(40, 2, 0, 0.1, 0.2, 0.3)
	rays := raytest.Rays(t, r, 0)
	places := []int{1, 3}
	for _, c := range []*pipeline.Curve{&r.Curves[0], &rays.Curves[0]} {
		cut := c.At(r.Images, r.First, places...)
		if !cut.KnownOf(r.N, len(places)) || cut.Exact != nil {
			t.Fatalf("the cut is not known: %+v", cut)
		}
		for k, e := range places {
			for i, im := range r.Images {
				right, asked := cut.RoundedRight(i, k, im.Label)
				was, had := c.RoundedRight(i, e, im.Label)
				if cut.Class(i, k) != c.Class(i, e) || cut.Zero(i, k) != c.Zero(i, e) || right != was || asked != had {
					t.Errorf("image %d, eps %v: the cut says otherwise", i, r.Eps[e])
				}
			}
			if cut.Correct[k] != c.Correct[e] || cut.ZeroGradient[k] != c.ZeroGradient[e] || cut.MeanNorms(k) != c.MeanNorms(e) {
				t.Errorf("eps %v: %d right, %d zero, norms %v; want %d, %d, %v", r.Eps[e], cut.Correct[k], cut.ZeroGradient[k], cut.MeanNorms(k), c.Correct[e], c.ZeroGradient[e], c.MeanNorms(e))
			}
		}
		var unattacked []int
		for i, im := range r.Images {
			if c.Unattacked(i, places[0], im.Label) || c.Unattacked(i, places[1], im.Label) {
				unattacked = append(unattacked, r.First+i)
			}
		}
		if diff := cmp.Diff(unattacked, cut.ZeroImages); diff != "" || unattacked == nil {
			t.Errorf("images that were not attacked (-want +got):\n%s", diff)
		}
		if m, e := cut.Least(5); cut.Rays != nil && (!math.IsNaN(float64(m)) || e >= 0) {
			t.Errorf("a cut ray has its least margin, %v, at %d", m, e)
		}
		if len(c.Correct) != 4 {
			t.Error("the curve was changed")
		}
	}
	unasked := *rays
	unasked.Curves[0].Rays[0].Rounded = nil
	if cut := unasked.Curves[0].At(r.Images, 0, 1); cut.Rays[0].Rounded != nil || cut.Rays[1].Rounded == nil {
		t.Error("the cut is asked for the rounding of another image")
	}
}

// TestCompareForms wants the same comparison of results in either form, each with each, also where
// they are cut to what both have.
func TestCompareForms(t *testing.T) {
	a, b := atRandom(40, 3, 0, 0.1, 0.2, 0.3), atRandom(40, 4, 0.1, 0.15, 0.3)
	b.Images = a.Images
	compared := func(a, b *pipeline.Result) []pipeline.Pair {
		x, y, _, err := pipeline.Common(a, b)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pipeline.NewComparison(x, y)
		if err != nil {
			t.Fatal(err)
		}
		return append(c.Pairs, c.Clean)
	}
	want := compared(a, b)
	if len(want) != 5 || want[0].OnlyA == 0 || want[3].OnlyB == 0 {
		t.Fatalf("%+v", want)
	}
	forms := func(r *pipeline.Result) []*pipeline.Result {
		return []*pipeline.Result{r, raytest.Rays(t, r, 0), raytest.Rays(t, r, 0, 1)}
	}
	for i, x := range forms(a) {
		for k, y := range forms(b) {
			if diff := cmp.Diff(want, compared(x, y)); diff != "" {
				t.Errorf("forms %d and %d (-outcomes +so):\n%s", i, k, diff)
			}
		}
	}
	for name, change := range map[string]func(c *pipeline.Curve){
		"a ray":         func(c *pipeline.Curve) { c.Rays = c.Rays[1:] },
		"an eps":        func(c *pipeline.Curve) { c.Rays[3].Classes = c.Rays[3].Classes[1:] },
		"some rounding": func(c *pipeline.Curve) { c.Rays[3].Rounded = c.Rays[3].Rounded[1:] },
		"norms":         func(c *pipeline.Curve) { c.RayNorms = nil },
		"all":           func(c *pipeline.Curve) { c.Rays = nil },
	} {
		t.Run(fmt.Sprint(name, " is missing"), func(t *testing.T) {
			rays := raytest.Rays(t, a, 0)
			change(&rays.Curves[0])
			if _, err := pipeline.NewComparison(a, rays); err == nil {
				t.Error("no error")
			}
		})
	}
}
