package pipeline_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// made-up results: classes[attack][image][eps], all labels 0.
func handMade(eps []float64, attacks []attack.Attack, clean []int32, classes [][][]int32) *pipeline.Result {
	r := &pipeline.Result{N: len(clean), First: 100, Classes: 3, Eps: eps}
	for _, c := range clean {
		r.Images = append(r.Images, pipeline.Clean{Class: c})
	}
	for k, a := range attacks {
		curve := pipeline.Curve{Attack: a, Correct: make([]int, len(eps))}
		for _, image := range classes[k] {
			for e, class := range image {
				if class == 0 {
					curve.Correct[e]++
				}
				curve.Outcomes = append(curve.Outcomes, pipeline.Outcome{Class: class})
			}
		}
		r.Curves = append(r.Curves, curve)
	}
	return r
}

func TestNewComparison(t *testing.T) {
	fgsm := []attack.Attack{attack.FGSM()}
	a := handMade([]float64{0, 0.1}, fgsm, []int32{0, 0, 1, 1, 0}, [][][]int32{{{0, 0}, {0, 0}, {1, 1}, {1, 2}, {0, 0}}})
	b := handMade([]float64{0, 0.1}, fgsm, []int32{0, 1, 0, 1, 0}, [][][]int32{{{0, 0}, {1, 1}, {0, 1}, {1, 1}, {0, 2}}})
	c, err := pipeline.NewComparison(a, b)
	if err != nil {
		t.Fatal(err)
	}
	want := pipeline.Pair{Both: 2, OnlyA: 1, OnlyB: 1, Neither: 1, P: 1, Holm: 1, Flips: []int{101, 102}}
	if diff := cmp.Diff(want, c.Clean); diff != "" {
		t.Errorf("clean (-want +got):\n%s", diff)
	}
	// Of eps 0.1: image 0 both; 1 and 4 only a; 2 neither, the same class; 3 neither, another
	// class. p is 2·(1/2)² = 0.5 and that corrected for two rows 1.
	if diff := cmp.Diff([]pipeline.Pair{want, {Both: 1, OnlyA: 2, Neither: 2, P: 0.5, Holm: 1, Flips: []int{101, 103, 104}}}, c.Pairs, cmp.Comparer(near)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got := c.Flips(); !slices.Equal(got, []int{101, 102, 103, 104}) {
		t.Errorf("images that flip: %v", got)
	}
	p := &c.Pairs[1]
	if p.N() != 5 || p.CorrectA() != 3 || p.CorrectB() != 1 || p.CorrectA() != a.Curves[0].Correct[1] || p.CorrectB() != b.Curves[0].Correct[1] {
		t.Errorf("counts %+v, of the curves %d and %d", p, a.Curves[0].Correct[1], b.Curves[0].Correct[1])
	}

	for _, c := range []struct {
		name, want string
		change     func(r *pipeline.Result)
	}{
		{"n", "5 images of 3 classes", func(r *pipeline.Result) { r.N-- }},
		{"first", "from index 7", func(r *pipeline.Result) { r.First = 7 }},
		{"classes", "of 4 classes", func(r *pipeline.Result) { r.Classes = 4 }},
		{"no images", "without outcomes", func(r *pipeline.Result) { r.Images = nil }},
		{"eps", "[0 0.2]", func(r *pipeline.Result) { r.Eps = []float64{0, 0.2} }},
		{"bounds", "bounds 0,1", func(r *pipeline.Result) { r.Bounds = attack.Bounds{Hi: 1} }},
		{"label", "image 102 has label 0 and label 2", func(r *pipeline.Result) { r.Images[2].Label = 2 }},
		{"attack", "fgsm with bim", func(r *pipeline.Result) { r.Curves[0].Attack = attack.BIM(5) }},
		{"attacks", "1 attacks at", func(r *pipeline.Result) { r.Curves = nil }},
		{"outcomes", "fgsm has no outcomes", func(r *pipeline.Result) { r.Curves[0].Outcomes = nil }},
	} {
		other := *b
		other.Images, other.Curves = slices.Clone(b.Images), slices.Clone(b.Curves)
		c.change(&other)
		if _, err := pipeline.NewComparison(a, &other); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func near(x, y float64) bool { return math.Abs(x-y) <= 1e-12 }

func TestCommon(t *testing.T) {
	classes := func(k int32, images, eps int) [][]int32 {
		var all [][]int32
		for i := range images {
			var row []int32
			for e := range eps {
				row = append(row, (k+int32(i)+int32(e))%3)
			}
			all = append(all, row)
		}
		return all
	}
	clean := []int32{0, 1, 2, 0}
	build := func(eps []float64, attacks ...attack.Attack) *pipeline.Result {
		var all [][][]int32
		for k := range attacks {
			all = append(all, classes(int32(attacks[k].Steps), len(clean), len(eps)))
		}
		return handMade(eps, attacks, clean, all)
	}
	seeded := attack.FGSM()
	// draws nothing, and eps/k is its own size
	seeded.Seed, seeded.Name, seeded.Factor = 9, "fgsm:norm=linf", 1
	a := build([]float64{0, 0.1, 0.2, 0.4}, attack.FGSM(), attack.PGD(7, 1), attack.BIM(3))
	b := build([]float64{0.1, 0.3, 0.4}, attack.BIM(3), attack.PGD(7, 2), seeded)
	x, y, left, err := pipeline.Common(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"eps that only the first has: [0 0.2]", "eps that only the second has: [0.3]",
		"attacks that only the first has with these options and seed: pgd", "attacks that only the second has with these options and seed: pgd",
	}, left); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if !slices.Equal(x.Eps, []float64{0.1, 0.4}) || len(x.Curves) != 2 || x.Curves[0].Attack.Kind != "fgsm" || y.Curves[0].Attack.Kind != "fgsm" || y.Curves[1].Attack.Kind != "bim" {
		t.Fatalf("eps %v, attacks %v and %v", x.Eps, x.Curves, y.Curves)
	}
	for i := range clean {
		for e, at := range [][2]int{{1, 0}, {3, 2}} { // places of 0.1 and 0.4 in a and in b
			if x.Curves[1].Outcomes[2*i+e] != a.Curves[2].Outcomes[4*i+at[0]] || y.Curves[1].Outcomes[2*i+e] != b.Curves[0].Outcomes[3*i+at[1]] {
				t.Errorf("image %d, eps %v: outcomes of another eps", i, x.Eps[e])
			}
		}
	}
	if got, want := x.Curves[0].Correct, []int{a.Curves[0].Correct[1], a.Curves[0].Correct[3]}; !slices.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}
	if _, err := pipeline.NewComparison(x, y); err != nil {
		t.Error(err)
	}
	if len(a.Eps) != 4 || len(a.Curves[0].Outcomes) != 16 {
		t.Error("a was changed")
	}

	// The worst of other attacks is another attack.
	a, b = build([]float64{0.1}, attack.FGSM(), attack.BIM(3), attack.Worst()), build([]float64{0.1}, attack.FGSM(), attack.Worst())
	if x, _, left, err = pipeline.Common(a, b); err != nil || len(x.Curves) != 1 || len(left) != 2 || !strings.Contains(left[0], "bim, worst") {
		t.Errorf("worst of others: %v, left %q", err, left)
	}
	if x, _, left, err = pipeline.Common(a, a); err != nil || len(x.Curves) != 3 || left != nil {
		t.Errorf("worst of the same: %v, left %q", err, left)
	}
	clipped := build([]float64{0.1}, attack.FGSM())
	clipped.Bounds = attack.Bounds{Hi: 1}
	for _, c := range []struct {
		name, want string
		b          *pipeline.Result
	}{
		{"bounds", "bounds none and 0,1", clipped},
		{"eps", "no eps in common: [0.1] and [0.2]", build([]float64{0.2}, attack.FGSM())},
		{"attacks", "no attack in common with the same options and seed: fgsm and bim, pgd", build([]float64{0.1}, attack.BIM(3), attack.PGD(7, 1))},
	} {
		if _, _, _, err := pipeline.Common(build([]float64{0.1}, attack.FGSM()), c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestCompare checks a comparison of two models against sweeps of each alone and against the
// reference, and that it doesn't depend on batches.
func TestCompare(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	ma, mb := ref.RandomModel(r, 1, 12, 15, 5), ref.RandomModel(r, 1, 12, 9, 9, 5)
	whole := randomSet(r, 23, 3, 4, 5)
	set, err := whole.Slice(3, 20)
	if err != nil {
		t.Fatal(err)
	}
	attacks := parse(t, "fgsm,pgd:steps=3:restarts=2,noise,worst", attack.Options{Seed: 4})
	q := pipeline.Compare{Attacks: attacks, Eps: []float64{0, 0.05, 0.3}, Bounds: attack.Bounds{Hi: 1}}
	a, b := open[float64](t, ma), open[float64](t, mb)
	last, total := 0, 0
	q.Progress = func(done, of int) { last, total = done, of }
	got, err := q.Run(t.Context(), a, b, set)
	if err != nil {
		t.Fatal(err)
	}
	if last != total || total == 0 {
		t.Errorf("progress ends at %d of %d", last, total)
	}
	q.Progress = nil
	for _, rows := range []int{1, 2, 7, 50} {
		q.Rows = rows
		other, err := q.Run(t.Context(), a, b, set)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, other); diff != "" {
			t.Errorf("with %d rows (-unbounded +so):\n%s", rows, diff)
		}
	}
	q.Rows = 0
	if other, err := q.Run(t.Context(), a, cramped{b}, set); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(got, other); diff != "" {
		t.Errorf("with little memory (-much +little):\n%s", diff)
	}

	s := pipeline.Sweep{Attacks: attacks, Eps: q.Eps, Bounds: q.Bounds}
	for i, back := range []pipeline.Backend{a, b} {
		alone, err := s.Run(t.Context(), back, set)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(alone, []*pipeline.Result{got.A, got.B}[i]); diff != "" {
			t.Errorf("side %d (-alone +compared):\n%s", i, diff)
		}
	}

	// The reference in float64: of small sums, so 1e-9 is far more than rounding.
	m, E := got.Models, len(q.Eps)
	if m.Judged || m.Flips != nil {
		t.Error("two models were judged as one")
	}
	var apart []float64
	differ, images := 0, 0
	for i := range set.N() {
		x := image64(set, i)
		za, _ := ref.Forward(ma, x)
		zb, _ := ref.Forward(mb, x)
		apart = appendApart(apart, za, zb)
		ga, gb := ref.InputGradient(ma, x, int(set.Labels[i])), ref.InputGradient(mb, x, int(set.Labels[i]))
		n := 0
		for j := range ga {
			if sign(ga[j]) != sign(gb[j]) {
				n++
			}
		}
		if differ += n; n > 0 {
			images++
		}
	}
	spread(t, "clean", m.Clean, apart)
	if want := (pipeline.Signs{differ, 12 * set.N(), images}); m.Signs != want || differ == 0 {
		t.Errorf("signs %+v, want %+v", m.Signs, want)
	}
	for k, at := range attacks {
		for e, eps := range q.Eps {
			i := k*E + e
			if at.Composite() {
				if m.Own[i] != nil || m.Same[i] != nil || m.SameFlips[i] != -1 {
					t.Errorf("worst has logits of its own: %v %v %d", m.Own[i], m.Same[i], m.SameFlips[i])
				}
				continue
			}
			var own, same []float64
			flips := 0
			for j := range set.N() {
				one, err := set.Slice(j, 1)
				if err != nil {
					t.Fatal(err)
				}
				xa, err := pipeline.Craft(t.Context(), a, one, at, eps, q.Bounds)
				if err != nil {
					t.Fatal(err)
				}
				xb, err := pipeline.Craft(t.Context(), b, one, at, eps, q.Bounds)
				if err != nil {
					t.Fatal(err)
				}
				za, _ := ref.Forward(ma, ref.Float64s(xa.Perturbed))
				zb, _ := ref.Forward(mb, ref.Float64s(xb.Perturbed))
				ba, _ := ref.Forward(mb, ref.Float64s(xa.Perturbed))
				own, same = appendApart(own, za, zb), appendApart(same, za, ba)
				if ref.Argmax(za) != ref.Argmax(ba) {
					flips++
				}
			}
			what := fmt.Sprintf("%s, eps %v", at.Name, eps)
			spread(t, what+", own", *m.Own[i], own)
			spread(t, what+", same", *m.Same[i], same)
			if m.SameFlips[i] != flips {
				t.Errorf("%s: %d flips at the same pixels, want %d", what, m.SameFlips[i], flips)
			}
		}
	}
}

func appendApart(to, a, b []float64) []float64 {
	for j := range a {
		to = append(to, math.Abs(a[j]-b[j]))
	}
	return to
}

// spread compares s with the quantiles of values, taken by counting: the least value that so many
// are no larger than.
func spread(t *testing.T, what string, s pipeline.Spread, values []float64) {
	t.Helper()
	for share, got := range map[float64]float64{0.5: s.P50, 0.9: s.P90, 0.99: s.P99, 1: s.Max} {
		want := math.Inf(1)
		for _, v := range values {
			n := 0
			for _, u := range values {
				if u <= v {
					n++
				}
			}
			if float64(n) >= share*float64(len(values)) && v < want {
				want = v
			}
		}
		if !(math.Abs(got-want) <= 1e-9) {
			t.Errorf("%s: quantile %v is %v, want %v", what, share, got, want)
		}
	}
}

// flat3 has logits x0 + x1 - x2 and bias.
func flat3(bias float32) *model.Model {
	return &model.Model{Layers: []model.Layer{model.Linear{
		Weight: tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float32{1, 1, -1, 0, 0, 0})),
		Bias:   tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{0, bias})),
	}}}
}

// TestJudge: 1 + 2^-30 - 1 is 2^-30 in float64 and 0 in float32, below and above a bias of 2^-31.
// That flip is rounding; one by a weight that is wrong is not.
func TestJudge(t *testing.T) {
	set := &dataset.Set{
		Images: tensor.New(tensor.WithShape(3, 1, 3), tensor.WithBacking([]float32{1, 0x1p-30, 1, 0.5, 0.25, 0.5, 0, 0, 1})),
		Labels: []int32{0, 0, 1}, First: 40,
	}
	m := flat3(0x1p-31)
	q := pipeline.Compare{Attacks: parse(t, "fgsm,worst", attack.Options{}), Eps: []float64{0, 0x1p-20}, Model: m}
	sound, err := q.Run(t.Context(), open[float32](t, m), open[float64](t, m), set)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{40}, sound.Clean.Flips); diff != "" {
		t.Errorf("flips (-want +got):\n%s", diff)
	}
	if !sound.Models.Judged || sound.Models.Outside() != 0 || len(sound.Models.Flips) != 2 {
		t.Fatalf("judged %+v, want the flip of the image as it is and at eps 0, explained", sound.Models.Flips)
	}
	f := sound.Models.Flips[0]
	// float32 gives class 1, which is 2^-31 below class 0, and may err by far more than that.
	if f.Attack != -1 || f.Image != 40 || f.A != 1 || f.B != 0 || f.Short != 0x1p-31 || !(f.Bound >= f.Short && f.Bound < 1e-5) {
		t.Errorf("%+v", f)
	}
	if f := sound.Models.Flips[1]; f.Attack != 0 || f.Eps != 0 || !f.Explained {
		t.Errorf("%+v", f)
	}

	// that is not q.Model
	broken, err := q.Run(t.Context(), open[float32](t, m), open[float64](t, flat3(0.5)), set)
	if err != nil {
		t.Fatal(err)
	}
	// Image 41 has logits 0.25 and 2^-31: b says 1, 0.25 short but for its attack.
	seen := false
	for _, f := range broken.Models.Flips {
		if f.Image == 41 && f.Attack == -1 {
			seen = true
			if f.Explained || f.A != 0 || f.B != 1 || !(math.Abs(f.Short-0.25) <= 1e-9) || !(f.Bound < 1e-12) {
				t.Errorf("%+v", f)
			}
		}
	}
	if !seen || broken.Models.Outside() == 0 {
		t.Errorf("a wrong weight was not found: %+v", broken.Models.Flips)
	}
}

func TestCompareErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	m := ref.RandomModel(r, 1, 12, 7, 5)
	set := randomSet(r, 4, 3, 4, 5)
	good := pipeline.Compare{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0.1}}
	b := open[float64](t, m)
	more := open[float64](t, ref.RandomModel(r, 1, 12, 7, 6))
	wide := open[float64](t, ref.RandomModel(r, 1, 13, 7, 5))
	huge := ref.RandomModel(r, 1e30, 12, 7, 5)
	for _, c := range []struct {
		name, want string
		q          pipeline.Compare
		other      pipeline.Backend
	}{
		{"classes", "5 classes with one of 6", good, more},
		{"pixels", "takes 13", good, wide},
		{"no attack", "no attack", pipeline.Compare{Eps: good.Eps}, b},
		{"eps", "eps", pipeline.Compare{Attacks: good.Attacks}, b},
		{"not finite", "not finite", good, open[float32](t, huge)},
		{"precision", `rounding of float16`, pipeline.Compare{Attacks: good.Attacks, Eps: good.Eps, Model: m}, half{b}},
		{"math mode", `rounding of float32 in math mode bf16x9`, pipeline.Compare{Attacks: good.Attacks, Eps: good.Eps, Model: m}, oddMath{open[float32](t, m)}},
	} {
		if _, err := c.q.Run(t.Context(), b, c.other, set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := good.Run(ctx, b, b, set); err == nil {
		t.Error("no error once the context ended")
	}
}

// cramped is a backend with memory for 7 rows.
type cramped struct{ pipeline.Backend }

func (b cramped) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if (hi-lo)*len(eps) > 7 {
		return noMemory{}
	}
	return b.Backend.Begin(ctx, lo, hi, eps)
}

type half struct{ pipeline.Backend }

func (h half) Info() backend.Info {
	i := h.Backend.Info()
	i.Precision = "float16"
	return i
}

// oddMath is a backend whose matrices are multiplied in a way of which there is no bound.
type oddMath struct{ pipeline.Backend }

func (o oddMath) Info() backend.Info {
	i := o.Backend.Info()
	i.MathMode = "bf16x9"
	return i
}
