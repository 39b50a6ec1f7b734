package pipeline_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// randomSet makes n images [n, h, w] of random 8-bit pixels.
func randomSet(r *rand.Rand, n, h, w, classes int) *dataset.Set {
	pixels, labels := make([]uint8, n*h*w), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(classes))
	}
	return &dataset.Set{Images: tensor.New(tensor.WithShape(n, h, w), tensor.WithBacking(pixels)), Labels: labels}
}

// TestAssembleClasses: a log that names classes which the model has not, as only a forged one can,
// is an error and no panic of what counts them.
func TestAssembleClasses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	set := randomSet(r, 2, 2, 2, 3)
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0.1}, Rounded: true}
	log := pipeline.Memory{}
	if err := s.Work(t.Context(), open[float32](t, ref.RandomModel(r, 1, 4, 3)), set, log, pipeline.Fraction{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Assemble(2, 0, 3, log); err != nil {
		t.Fatal(err)
	}
	// Chunk and byte. An image of the second has a byte, the pixels that moved, and its one byte of
	// bits.
	for _, at := range [][2]int{{0, 0}, {0, 4}, {0, 8}, {1, 6}, {1, 7}} {
		was := log[at[0]]
		log[at[0]] = slices.Clone(was)
		log[at[0]][at[1]] = 3
		if _, err := s.Assemble(2, 0, 3, log); err == nil || !strings.Contains(err.Error(), "class") {
			t.Errorf("chunk %d, byte %d: %v, want an error", at[0], at[1], err)
		}
		log[at[0]] = was
	}
}

// TestRows compares results over batches of all sizes, one eps at a time included.
func TestRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := randomSet(r, 123, 5, 6, 5)
	set.First = 40
	s := pipeline.Sweep{
		Attacks: []attack.Attack{attack.FGSM(), attack.BIM(4), attack.Noise(3)},
		Eps:     []float64{0, 0.01, 0.02, 0.05, 0.1, 0.5}, Bounds: attack.Bounds{Lo: 0, Hi: 1},
	}
	b := open[float32](t, m)
	want, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	if c := want.Curves[0].Correct; c[0] != want.Clean || c[0] == 0 || c[len(c)-1] == c[0] {
		t.Fatalf("curve %v of %d clean: the test says too little", c, want.Clean)
	}
	for _, s.Rows = range []int{1, 4, 6, 7, 100, 1000} {
		got, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d rows (-one batch +these):\n%s", s.Rows, d)
		}
	}
	// Two halves add up.
	s.Rows = 0
	sum := make([]int, len(s.Eps))
	for _, half := range [][2]int{{0, 61}, {61, 62}} {
		part, err := set.Slice(half[0], half[1])
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Run(t.Context(), b, part)
		if err != nil {
			t.Fatal(err)
		}
		for e, c := range res.Curves[2].Correct {
			sum[e] += c
		}
	}
	if d := cmp.Diff(want.Curves[2].Correct, sum); d != "" {
		t.Errorf("noise over two halves (-whole +sum):\n%s", d)
	}
}

// TestSoftmaxRegression holds FGSM on a one-layer model to its closed form. Along
// x + eps·s every margin is a line, (z_y - z_j) + eps·(w_y - w_j)·s, so an image is right exactly
// while eps is below the first zero of a falling one (or above the last of a rising one).
func TestSoftmaxRegression(t *testing.T) {
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	train := cpu.DefaultTraining()
	train.Hidden, train.Epochs, train.Rate = nil, 3, 1e-2
	m, err := train.Run(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	eps, err := attack.ParseEps("0:0.4:0.002")
	if err != nil {
		t.Fatal(err)
	}
	b := open[float64](t, m)
	if err := b.Load(t.Context(), 0, set.Images, set.Labels); err != nil {
		t.Fatal(err)
	}
	predicted := make([]int32, set.N()*len(eps))
	for lo := 0; lo < set.N(); lo += 25 { // fewer rows than the backend takes
		if err := b.Begin(t.Context(), lo, lo+25, eps); err != nil {
			t.Fatal(err)
		}
		if err := b.Step(t.Context(), attack.FGSM().At(0, eps, attack.Bounds{})); err != nil {
			t.Fatal(err)
		}
		if err := b.Predictions(t.Context(), predicted[lo*len(eps):(lo+25)*len(eps)]); err != nil {
			t.Fatal(err)
		}
	}
	w, bias := ref.Float64s(m.Layers[0].(model.Linear).Weight), ref.Float64s(m.Layers[0].(model.Linear).Bias)
	pixels := set.Images.Data().([]uint8)
	flips, near := 0, 0
	for i, label := range set.Labels {
		x := make([]float64, 784)
		for k, v := range pixels[i*784:][:784] {
			x[k] = float64(v) / 255
		}
		z := ref.AffineForward(x, w, bias)
		g := ref.AffineBackward(ref.LossGradient(z, int(label)), w)
		slope := make([]float64, 10)
		for k, v := range g {
			s := 0.0
			if v != 0 {
				s = math.Copysign(1, v)
			}
			for j := range slope {
				slope[j] += w[j*784+k] * s
			}
		}
		lo, hi := 0.0, math.Inf(1) // right for lo < eps < hi
		for j := range z {
			if j == int(label) {
				continue
			}
			margin, rise := z[label]-z[j], slope[label]-slope[j]
			switch at := -margin / rise; {
			case rise < 0:
				hi = min(hi, at)
			case rise > 0:
				lo = max(lo, at)
			case margin < 0:
				hi = -1
			}
		}
		if hi > 0 && hi < 0.4 {
			flips++
		}
		for e, v := range eps {
			if math.Abs(v-hi) < 1e-9 || lo > 0 && math.Abs(v-lo) < 1e-9 {
				near++ // a tie to rounding
				continue
			}
			right := v < hi && (v > lo || lo == 0)
			if got := predicted[i*len(eps)+e] == label; got != right {
				t.Fatalf("image %d at eps %v: right is %v, the closed form says right on (%v, %v)", i, v, got, lo, hi)
			}
		}
	}
	if flips < 700 || near > 5 {
		t.Errorf("%d images flip on the grid, %d comparisons left out: the test says too little", flips, near)
	}
}

// TestZeroEps asks that an attack of eps 0 changes no bit.
func TestZeroEps(t *testing.T) {
	m, set := embedded(t)
	for _, b := range []pipeline.Backend{open[float32](t, m), open[float64](t, m)} {
		for _, a := range []attack.Attack{attack.FGSM(), attack.BIM(5), attack.Noise(1)} {
			for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
				one, err := set.Slice(3, 1)
				if err != nil {
					t.Fatal(err)
				}
				ex, err := pipeline.Craft(t.Context(), b, one, a, 0, bounds)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(ex.Original, ex.Adversarial); d != "" {
					t.Errorf("%s, %s, bounds %s:\n%s", b.Info().Precision, a.Name, bounds, d)
				}
				if d := cmp.Diff(ex.Clean.Data(), ex.Perturbed.Data()); d != "" {
					t.Errorf("%s, %s, bounds %s: pixels:\n%s", b.Info().Precision, a.Name, bounds, d)
				}
			}
		}
	}
}

// TestCraft asks for what Craft promises: an example inside the ball, and vectors that fit.
func TestCraft(t *testing.T) {
	m, set := embedded(t)
	b := open[float32](t, m)
	one, err := pipeline.FirstCorrect(t.Context(), b, set, 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		ex, err := pipeline.Craft(t.Context(), b, one, attack.BIM(5), 0.3, bounds)
		if err != nil {
			t.Fatal(err)
		}
		if ex.Index != 0 || ex.Label != 7 || ex.Original.Class != 7 || !ex.Fooled() {
			t.Errorf("image %d of class %d, seen as %d and then %d; want the first 7, fooled", ex.Index, ex.Label, ex.Original.Class, ex.Adversarial.Class)
		}
		if d := cmp.Diff([]int{28, 28}, []int(ex.Perturbed.Shape())); d != "" {
			t.Errorf("shape:\n%s", d)
		}
		x0, x := ex.Clean.Data().([]float64), ex.Perturbed.Data().([]float64)
		linf, outside := 0.0, 0
		for i := range x {
			linf = max(linf, math.Abs(x[i]-x0[i]))
			if x[i] < 0 || x[i] > 1 {
				outside++
			}
		}
		if linf > 0.3+1e-6 || linf < 0.29 || (outside > 0) != bounds.None() {
			t.Errorf("bounds %s: L∞ %v, %d pixels out of [0, 1]", bounds, linf, outside)
		}
		for _, p := range []pipeline.Prediction{ex.Original, ex.Adversarial} {
			sum := 0.0
			for _, v := range p.Probabilities {
				sum += v
			}
			if len(p.Logits) != 10 || !(math.Abs(sum-1) < 1e-12) || p.Class != ref.Argmax(p.Probabilities) {
				t.Errorf("prediction %+v: want 10 classes, a sum of 1, the class with the most", p)
			}
		}
	}
	var none *pipeline.NotFoundError
	few, err := set.Slice(0, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.FirstCorrect(t.Context(), b, few, 9); !errors.As(err, &none) {
		t.Errorf("no image of class 9: %v, want a NotFoundError", err)
	}
}

// TestNoise asks that random signs fool less than FGSM at every eps where there is a difference.
func TestNoise(t *testing.T) {
	m, set := embedded(t)
	res, err := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM(), attack.Noise(1)}, Eps: []float64{0, 0.05, 0.1, 0.2}}.Run(t.Context(), open[float32](t, m), set)
	if err != nil {
		t.Fatal(err)
	}
	for e, eps := range res.Eps[1:] {
		if f, n := res.Curves[0].Correct[e+1], res.Curves[1].Correct[e+1]; f >= n-100 {
			t.Errorf("eps %v: %d right under FGSM, %d under noise; want at least 100 more", eps, f, n)
		}
	}
}

// TestZeroGradient counts images that nothing reaches through the ReLU: those that are right and
// were never moved. One that is wrong, or that a step moved before its gradient vanished, was
// attacked.
func TestZeroGradient(t *testing.T) {
	m := model.MLP(4, 1, 2)
	for i := range 4 { // z = Σx - 1: a dark image has no gradient
		m.Layers[0].(model.Linear).Weight.Data().([]float32)[i] = 1
	}
	m.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = -1
	m.Layers[2].(model.Linear).Weight.Data().([]float32)[1] = 1
	set := &dataset.Set{
		Images: tensor.New(tensor.WithShape(4, 2, 2), tensor.WithBacking([]uint8{255, 255, 255, 255, 9, 9, 9, 9, 0, 0, 0, 0, 5, 5, 5, 5})),
		Labels: []int32{1, 0, 0, 1}, First: 10,
	}
	attacks := append(parse(t, "fgsm,bim:steps=4,mifgsm:steps=4", attack.Options{Decay: -1}), attack.Noise(1))
	start := parse(t, "pgd:steps=4,apgd-ce:steps=4", attack.Options{Seed: 1})
	for _, c := range []struct {
		name    string
		bias    float32 // of class 1, which a dark image then has or has not
		attacks []attack.Attack
		want    [][]int // [attacks][eps]
		images  []int
	}{
		// BIM takes the bright image from 1 by 0.3 a step to 0.1, below the kink at 0.25: its
		// fourth gradient is zero, and it is wrong. The dark image with label 1 always is.
		{"wrong in the end", 0, attacks, [][]int{{2, 2}, {2, 2}, {2, 2}, {0, 0}}, []int{11, 12}},
		// Now the bright image is right all the way, moved, and stuck at last. Of the dark ones the
		// one with label 1 is right.
		{"right all the way", 0.5, attacks, [][]int{{1, 1}, {1, 1}, {1, 1}, {0, 0}}, []int{13}},
		// A start within 0.1 leaves dark images dark, and no step moves them from there. The worst
		// of all did not attack what none of its attacks did.
		{"random start", 0, append(start, attack.Worst()), [][]int{{2}, {2}, {2}}, []int{11, 12}},
		// BIM moves the bright image at eps 1.2, so that the worst of both attacked it.
		{"worst", 0.5, parse(t, "bim:steps=4,pgd:steps=4,worst", attack.Options{Seed: 1}), [][]int{{1}, {1}, {1}}, []int{13}},
	} {
		m.Layers[2].(model.Linear).Bias.Data().([]float32)[1] = c.bias
		s := pipeline.Sweep{Attacks: c.attacks, Eps: []float64{0.1, 1.2}[:len(c.want[0])]}
		res, err := s.Run(t.Context(), open[float32](t, m), set)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			if d := cmp.Diff(want, res.Curves[i].ZeroGradient); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", c.name, res.Curves[i].Attack.Name, d)
			}
		}
		if d := cmp.Diff(c.images, res.ZeroGradient()); d != "" {
			t.Errorf("%s: images that were not attacked (-want +got):\n%s", c.name, d)
		}
	}
	// The gradient of DLR vanishes where the label ranks third: that image is wrong, not
	// unattacked.
	three := model.MLP(1, 3)
	copy(three.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{3, -1, -2})
	three.Layers[0].(model.Linear).Bias.Data().([]float32)[1] = 0.05
	one := &dataset.Set{Images: tensor.New(tensor.WithShape(1, 1, 1), tensor.WithBacking([]float32{0.1})), Labels: []int32{0}}
	res, err := pipeline.Sweep{Attacks: parse(t, "apgd-dlr:steps=10,worst", attack.Options{Seed: 1}), Eps: []float64{0, 1}}.Run(t.Context(), open[float32](t, three), one)
	if err != nil {
		t.Fatal(err)
	}
	if o := res.Curves[0].Outcomes[1]; !o.Zero || o.Class == 0 {
		t.Errorf("%+v: want an image that is wrong, with a gradient that vanished", o)
	}
	if got := res.ZeroGradient(); len(got) > 0 {
		t.Errorf("%v were not attacked, want none", got)
	}
}

// TestFirstCorrect has a first image of the class that is classified wrongly.
func TestFirstCorrect(t *testing.T) {
	m := model.MLP(2, 2) // z = x
	copy(m.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{1, 0, 0, 1})
	set := &dataset.Set{
		Images: tensor.New(tensor.WithShape(4, 1, 2), tensor.WithBacking([]uint8{9, 5, 5, 9, 9, 5, 5, 9})),
		Labels: []int32{0, 0, 1, 1}, First: 50,
	}
	b := open[float32](t, m)
	one, err := pipeline.FirstCorrect(t.Context(), b, set, 1)
	if err != nil || one.First != 53 {
		t.Errorf("%+v, %v; want image 53", one, err)
	}
	set.Labels[3] = 0
	var none *pipeline.NotFoundError
	if _, err := pipeline.FirstCorrect(t.Context(), b, set, 1); !errors.As(err, &none) || none.Seen != 1 {
		t.Errorf("%v, want a NotFoundError that has seen 1", err)
	}
	if n, err := pipeline.Correct(t.Context(), b, set); n != 1 || err != nil {
		t.Errorf("%d correct, %v; want 1", n, err)
	}
	for name, bad := range map[string]*dataset.Set{"nil": nil, "empty": {}, "no images": {Labels: []int32{1}}} {
		if _, err := pipeline.FirstCorrect(t.Context(), b, bad, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := (pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0}}).Run(t.Context(), b, bad); err == nil {
			t.Errorf("%s: no error from a sweep", name)
		}
	}
}

// TestCraftUnattacked says so of an image without a gradient, and refuses logits that are not
// finite.
func TestCraftUnattacked(t *testing.T) {
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(1, 1, 2), tensor.WithBacking([]uint8{9, 5})), Labels: []int32{0}}
	m := model.MLP(2, 2)
	ex, err := pipeline.Craft(t.Context(), open[float32](t, m), set, attack.FGSM(), 0.1, attack.Bounds{})
	if err != nil || !ex.ZeroGradient {
		t.Errorf("%+v, %v; want a zero gradient", ex, err)
	}
	set.Labels[0] = 1 // wrong as it is
	if ex, err := pipeline.Craft(t.Context(), open[float32](t, m), set, attack.FGSM(), 0.1, attack.Bounds{}); err != nil || ex.ZeroGradient {
		t.Errorf("%+v, %v; want that a wrong image does not count", ex, err)
	}
	set.Labels[0] = 0
	for i := range 4 {
		m.Layers[0].(model.Linear).Weight.Data().([]float32)[i] = 3e38
	}
	set.Images.Data().([]uint8)[0] = 255
	set.Images.Data().([]uint8)[1] = 255
	if _, err := pipeline.Craft(t.Context(), open[float32](t, m), set, attack.FGSM(), 0.1, attack.Bounds{}); err == nil {
		t.Error("logits that are not finite: no error")
	}
}

func TestSweepErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, 4, 3, 2)
	huge := ref.RandomModel(r, 1, 4, 3, 2)
	for i := range 12 {
		huge.Layers[0].(model.Linear).Weight.Data().([]float32)[i] = 3e38
	}
	good := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0.1}}
	set := randomSet(r, 5, 2, 2, 2)
	for name, c := range map[string]struct {
		m    *model.Model
		set  *dataset.Set
		edit func(*pipeline.Sweep)
		want string
	}{
		"no attack":        {m, set, func(s *pipeline.Sweep) { s.Attacks = nil }, "no attack"},
		"no steps":         {m, set, func(s *pipeline.Sweep) { s.Attacks = []attack.Attack{attack.BIM(0)} }, "0 steps"},
		"no eps":           {m, set, func(s *pipeline.Sweep) { s.Eps = nil }, "empty"},
		"eps not a number": {m, set, func(s *pipeline.Sweep) { s.Eps = []float64{math.NaN()} }, "NaN"},
		"bounds":           {m, set, func(s *pipeline.Sweep) { s.Bounds = attack.Bounds{Lo: 1, Hi: 0} }, "bounds"},
		"images too large": {m, randomSet(r, 5, 2, 3, 2), func(*pipeline.Sweep) {}, "6 pixels"},
		"label":            {m, &dataset.Set{Images: set.Images, Labels: []int32{0, 1, 2, 0, 0}}, func(*pipeline.Sweep) {}, "label 2 is 2"},
		"infinite logits":  {huge, set, func(*pipeline.Sweep) {}, "not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			c.edit(&s)
			_, err := s.Run(t.Context(), open[float32](t, c.m), c.set)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestProgressAndCancel stops a sweep from its own progress callback.
func TestProgressAndCancel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := open[float32](t, ref.RandomModel(r, 1, 4, 3, 2))
	set := randomSet(r, 50, 2, 2, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last, calls := 0, 0
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM(), attack.BIM(3)}, Eps: []float64{0, 0.1}, Rows: 10}
	s.Progress = func(done, total int) {
		if done <= last || done > total {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
		if calls++; done == total {
			last = -1
		}
	}
	if _, err := s.Run(ctx, b, set); err != nil || last != -1 {
		t.Errorf("%v, last call %d; want no error and the last call at the total", err, last)
	}
	all := calls
	last, calls = 0, 0
	s.Progress = func(int, int) {
		if calls++; calls == all/2 {
			cancel()
		}
	}
	if _, err := s.Run(ctx, b, set); !errors.Is(err, context.Canceled) || calls > all/2+1 {
		t.Errorf("%v after %d of %d calls, want %v soon after half", err, calls, all, context.Canceled)
	}
}
