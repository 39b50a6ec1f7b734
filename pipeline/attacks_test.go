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
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// parse is attack.Parse of a list that is right.
func parse(t testing.TB, list string, o attack.Options) []attack.Attack {
	t.Helper()
	a, err := attack.Parse(list, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// brief names every attack that has something to run, with at most so many steps, five times as
// many of DDN, which begins far away.
func brief(steps int) (items []string) {
	for _, m := range attack.Methods {
		f := m.Facts()
		steps := steps
		if f.Name() == "ddn" {
			steps *= 5
		}
		_, staged := m.(attack.Staged)
		switch {
		case f.Composite, staged && f.Name() != "relay":
		case f.Takes("steps") && f.Default.Steps > steps:
			items = append(items, fmt.Sprintf("%s:steps=%d", withNorm(f), steps))
		default:
			items = append(items, withNorm(f))
		}
	}
	return items
}

// withNorm is the name of a kind, with its norm where it has not the one that a list has by default.
func withNorm(f attack.Facts) string {
	if f.Takes("norm") && !f.Has(attack.Linf) {
		return fmt.Sprintf("%s:norm=%v", f.Name(), f.Default.Norm)
	}
	return f.Name()
}

// everyAttack is a list of all, a few steps each: every kind as it is and with all of its options,
// forms of those that have had bugs or routes of their own, and last what is made of the others.
func everyAttack() string {
	items := brief(4)
	for _, m := range attack.Methods {
		f := m.Facts()
		item := f.Name()
		if _, staged := m.(attack.Staged); staged && item != "relay" {
			continue
		}
		steps := "3"
		if f.Name() == "ddn" {
			steps = "21"
		}
		for _, key := range f.Options {
			item += ":" + key + "=" + map[string]string{"steps": steps, "step": "2*eps/k", "restarts": "2", "norm": "l2", "loss": "cw", "decay": "0.5", "target": "2", "targets": "2", "draws": "2", "sigma": "0.1", "seed": "9"}[key]
		}
		if !f.Composite && item != f.Name() {
			items = append(items, item)
		}
	}
	items = append(items, "bim:step=0.03:loss=dlr", "pgd:steps=4:restarts=3", "pgd:steps=3:loss=cw:norm=l2", "fgsm:norm=l2", "nifgsm:steps=3:decay=0.5",
		"apgd-ce:steps=12:restarts=2", "apgd-dlr:steps=9", "apgd-ce:steps=8:norm=l2", "pgd:steps=3:target=least-likely", "bim:target=2", "pgd:steps=2:restarts=2:target=all", "noise:norm=l2", "uniform:norm=l2",
		"apgd-ce:steps=12:restarts=2:norm=l1", "apgd-t:steps=7:targets=2:norm=l1", "square:steps=9:norm=l1", "fab:steps=3:norm=l1", "fmn:steps=4:norm=l1", "fmn:steps=4:norm=l0", "pdpgd:steps=4:norm=l1",
		"fab-apgd:steps=47", "alma:steps=12:norm=l1")
	for _, m := range attack.Methods {
		if f := m.Facts(); f.Composite {
			items = append(items, f.Name())
		}
	}
	return strings.Join(items, ",")
}

// TestChunks compares the result of a sweep with itself in batches of any size, in shards that
// different backends do, out of order and with a log that has some already.
func TestChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := randomSet(r, 61, 5, 6, 5)
	set.First = 40
	s := pipeline.Sweep{
		Attacks: parse(t, everyAttack(), attack.Options{Seed: 3, Decay: 1}), Eps: []float64{0, 0.02, 0.5, 6}, // 6 pixels in L0
		Bounds: attack.Bounds{Lo: 0, Hi: 1}, Rounded: true, Exact: true,
	}
	s, _ = s.LeaveOut(5)
	want, err := s.Run(t.Context(), open[float32](t, m), set)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range want.Curves {
		if c.Correct[0] != want.Clean || c.Correct[3] == want.Clean && !c.Attack.Control() {
			t.Errorf("%s: curve %v of %d clean: the test says too little", c.Attack.Name, c.Correct, want.Clean)
		}
		if (c.Exact != nil) != (pipeline.Rays(c.Attack) || c.Attack.MinimumNorm()) {
			t.Errorf("%s: exact curve %v", c.Attack.Name, c.Exact)
		}
	}
	for _, rows := range []int{1, 3, 13, 64} {
		s.Rows = rows
		got, err := s.Run(t.Context(), short{open[float32](t, m), 2 * rows}, set)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d rows (-one batch +these):\n%s", rows, d)
		}
	}

	s.Rows = 0
	log := pipeline.Memory{}
	plan := s.Plan(set.N())
	for _, i := range []int{2, 0, 1} {
		b, err := cpu.New[float32](m, cpu.Options{Threads: i + 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Assemble(set.N(), set.First, 5, log); err == nil {
			t.Error("a result of two shards of three: no error")
		}
		before := len(log)
		if err := s.Work(t.Context(), b, set, log, pipeline.Fraction{Index: i, Count: 3}); err != nil {
			t.Fatal(err)
		}
		if n := len(log) - before; n < len(plan)/3 || n > len(plan)/3+1 {
			t.Errorf("shard %d of 3 has %d of %d chunks", i, n, len(plan))
		}
		b.Close()
	}
	got, err := s.Assemble(set.N(), set.First, 5, log)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("shards (-one run +three):\n%s", d)
	}
}

// short is a backend with memory for so many rows, which it finds at Begin or, of a step that is
// not plain, there.
type short struct {
	*cpu.Backend[float32]
	most int
}

type noMemory struct{}

func (noMemory) Error() string     { return "no memory" }
func (noMemory) OutOfMemory() bool { return true }

func (b short) Info() backend.Info {
	i := b.Backend.Info()
	i.Rows = 1000
	return i
}

func (b short) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if hi-lo > 1 && (hi-lo)*len(eps) > 2*b.most { // one image has to do
		return noMemory{}
	}
	return b.Backend.Begin(ctx, lo, hi, eps)
}

func (b short) Step(ctx context.Context, s attack.Step) error {
	if len(s.Size) > max(b.most, 12) {
		return noMemory{}
	}
	return b.Backend.Step(ctx, s)
}

// TestRestarts: an image that one restart fools is fooled with more of them, at every eps, since
// each is what it is alone.
func TestRestarts(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	m := ref.RandomModel(r, 3, 30, 41, 33, 5)
	set := correctSet(t, r, m, 300, 5, 6)
	s := pipeline.Sweep{Attacks: parse(t, "pgd:steps=1,pgd:steps=1:restarts=2,pgd:steps=1:restarts=7", attack.Options{Seed: 3}), Eps: []float64{0.02, 0.05, 0.1}}
	res, err := s.Run(t.Context(), open[float64](t, m), set)
	if err != nil {
		t.Fatal(err)
	}
	more := 0
	for k := range res.Curves[0].Outcomes {
		label := res.Images[k/3].Label
		for c := 1; c < 3; c++ {
			few, many := res.Curves[c-1].Outcomes[k], res.Curves[c].Outcomes[k]
			switch {
			case few.Class != label && few != many:
				t.Fatalf("image %d: %+v with few restarts becomes %+v", k/3, few, many)
			case few.Class == label && many.Class != label:
				more++
			case few.Class == label && many.Margin > few.Margin:
				t.Fatalf("image %d: margin %v with few restarts becomes %v", k/3, few.Margin, many.Margin)
			}
		}
	}
	if more == 0 {
		t.Error("more restarts fool no image more: the test says too little")
	}
}

// correctSet is randomSet with the labels that m gives.
func correctSet(t *testing.T, r *rand.Rand, m *model.Model, n, h, w int) *dataset.Set {
	set := randomSet(r, n, h, w, m.Outputs())
	for i := range set.Labels {
		z, _ := ref.Forward(m, image64(set, i))
		set.Labels[i] = int32(ref.Argmax(z))
	}
	return set
}

// TestTargets: with two classes there is one target, and coming near to it is leaving the other;
// with more the least likely is that of the smallest logit.
func TestTargets(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for _, classes := range []int{2, 6} {
		m := ref.RandomModel(r, 1, 30, 21, classes)
		set := correctSet(t, r, m, 100, 5, 6)
		s := pipeline.Sweep{Attacks: parse(t, "fgsm,fgsm:target=least-likely,fgsm:target=1,bim:target=least-likely:steps=30:step=0.1", attack.Options{}), Eps: []float64{0.05, 0.5}}
		b := open[float64](t, m)
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		hit := 0
		for i, im := range res.Images {
			z, _ := ref.Forward(m, image64(set, i))
			least := -1
			for j := range z {
				if j != int(im.Label) && (least < 0 || z[j] < z[least]) {
					least = j
				}
			}
			if int(im.Least) != least {
				t.Fatalf("image %d: least likely class %d, want %d of %v", i, im.Least, least, z)
			}
			if classes == 2 {
				for c := 1; c < 3; c++ {
					if a, b := res.Curves[0].Outcomes[2*i], res.Curves[c].Outcomes[2*i]; a.Class != b.Class || math.Abs(float64(a.Margin-b.Margin)) > 1e-5 {
						t.Fatalf("image %d: %+v untargeted, %+v to the other class", i, a, b)
					}
				}
			}
			if res.Curves[3].Outcomes[2*i+1].Class == im.Least {
				hit++
			}
			// One step in float64 by the truth.
			target := 1
			if im.Label == 1 {
				target = (1 + 1) % classes
			}
			x, g := image64(set, i), ref.InputGradient(m, image64(set, i), target)
			for p := range g {
				x[p] -= 0.05 * sign(g[p])
			}
			want, _ := ref.Forward(m, x)
			if got := res.Curves[2].Outcomes[2*i].Class; int(got) != ref.Argmax(want) {
				t.Fatalf("image %d to class %d: class %d, want %d", i, target, got, ref.Argmax(want))
			}
		}
		if hit < 50 {
			t.Errorf("%d of 100 images become their target, want most", hit)
		}
	}
}

// TestReached: toward a target the restart that becomes it speaks for an image, though an earlier
// one fools the model into another class.
func TestReached(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	m := ref.RandomModel(r, 2, 30, 21, 6)
	set := correctSet(t, r, m, 200, 5, 6)
	b := open[float64](t, m)
	for _, target := range []string{"2", "least-likely"} {
		s := pipeline.Sweep{Attacks: parse(t, "pgd:steps=2:target="+target+",pgd:steps=2:restarts=9:target="+target, attack.Options{Seed: 3}), Eps: []float64{0.1, 0.3}}
		var want *pipeline.Result
		for _, s.Rows = range []int{0, 4, 100} { // restarts in one batch, and parted
			res, err := s.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = res
			} else if d := cmp.Diff(want, res); d != "" {
				t.Fatalf("%d rows:\n%s", s.Rows, d)
			}
		}
		reached, other := [2]int{}, 0
		for i := range set.N() {
			for e := range s.Eps {
				goal, ok := want.Target(s.Attacks[0], i)
				if !ok {
					t.Fatal("no target")
				}
				one, nine := want.Curves[0].Outcomes[i*2+e], want.Curves[1].Outcomes[i*2+e]
				for k, o := range []pipeline.Outcome{one, nine} {
					if o.Class == goal {
						reached[k]++
					}
				}
				if one.Class == goal && nine != one {
					t.Errorf("image %d: the first restart becomes the target: %+v, and of nine %+v", i, one, nine)
				}
				if one.Class != goal && one.Class != set.Labels[i] && nine.Class == goal {
					other++
				}
			}
		}
		if reached[1] <= reached[0] || other == 0 {
			t.Errorf("target %s: one restart reaches %d, nine %d, %d of them fooled otherwise before: the test says too little", target, reached[0], reached[1], other)
		}
	}
	if _, ok := (&pipeline.Result{Images: []pipeline.Clean{{}}}).Target(attack.APGDTargeted(1, 2, 0), 0); ok {
		t.Error("an attack on several targets has one")
	}
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}

// image64 is image i of a set of bytes as the backend sees it in float64.
func image64(set *dataset.Set, i int) []float64 {
	n := set.Images.DataSize() / set.N()
	x := make([]float64, n)
	for k, v := range set.Images.Data().([]uint8)[i*n:][:n] {
		x[k] = float64(v) / 255
	}
	return x
}

// TestAPGD compares with the algorithm as the paper writes it, in plain loops over one image, whose
// gradients are those of package ref: the class and the norm of what it ends at.
func TestAPGD(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	m := ref.RandomModel(r, 1, 12, 9, 4)
	set := randomSet(r, 60, 3, 4, 4)
	set.First = 5
	eps := []float64{0.03, 0.1}
	bounds := attack.Bounds{Lo: 0, Hi: 1}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		for _, loss := range []attack.Loss{attack.CrossEntropy, attack.DLR} {
			a := attack.APGD(loss, 40, 9)
			a.Norm = norm
			s := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: eps, Bounds: bounds}
			res, err := s.Run(t.Context(), open[float64](t, m), set)
			if err != nil {
				t.Fatal(err)
			}
			fooled := 0
			for i := range set.N() {
				for e, eps := range eps {
					x := apgd(m, image64(set, i), int(set.Labels[i]), loss, norm, eps, bounds, ref.Draw(a.Random([]float64{eps}, bounds), 12, set.First+i, 0), a.Steps)
					z, _ := ref.Forward(m, x)
					linf, l2, _ := ref.Norms(x, image64(set, i))
					got := res.Curves[0].Outcomes[i*2+e]
					// Rounding of float64 can be told apart in the margin of an image only where a
					// step's decision is that close.
					if want := ref.Argmax(z); int(got.Class) != want || !(math.Abs(float64(got.L2)-l2) <= 1e-6) || !(math.Abs(float64(got.Linf)-linf) <= 1e-6) {
						t.Errorf("%v, %v, image %d, eps %v: %+v, want class %d, norms %v and %v", norm, loss, i, eps, got, want, linf, l2)
					}
					if got.Class != set.Labels[i] {
						fooled++
					}
				}
			}
			if fooled < 60 || fooled == 120 {
				t.Errorf("%v, %v: %d of 120 fooled: the test says too little", norm, loss, fooled)
			}
		}
	}
}

// apgd is Auto-PGD from x0 + draw·eps: Croce and Hein 2020, algorithm 1, on one image.
func apgd(m *model.Model, x0 []float64, label int, loss attack.Loss, norm attack.Norm, eps float64, bounds attack.Bounds, draw []float64, steps int) []float64 {
	project := func(x []float64) []float64 {
		y := slices.Clone(x)
		if norm == attack.L2 {
			n := 0.0
			for p := range y {
				n += (y[p] - x0[p]) * (y[p] - x0[p])
			}
			if n = math.Sqrt(n); n > eps {
				for p := range y {
					y[p] = x0[p] + (y[p]-x0[p])*eps/n
				}
			}
		}
		for p := range y {
			if norm == attack.Linf {
				y[p] = min(max(y[p], x0[p]-eps), x0[p]+eps)
			}
			y[p] = min(max(y[p], bounds.Lo), bounds.Hi)
		}
		return y
	}
	f := func(x []float64) (value float64, wrong bool, direction []float64) {
		z, values := ref.Forward(m, x)
		g := ref.Backward(m, values, ref.ObjectiveGradient(loss, z, label, -1))
		n := 0.0
		for _, v := range g {
			n += v * v
		}
		for p, v := range g {
			if norm == attack.Linf {
				g[p] = sign(v)
			} else if n > 0 {
				g[p] = v / math.Sqrt(n)
			}
		}
		return ref.Objective(loss, z, label, -1), ref.Argmax(z) != label, g
	}
	x := slices.Clone(x0)
	for p := range x {
		x[p] += eps * draw[p]
	}
	x = project(x)
	value, wrong, d := f(x)
	best, bestX, bestD := value, x, d
	var fooled []float64
	if wrong {
		fooled = x
	}
	old, size := x, 2*eps
	checkpoints := []int{0, int(math.Max(1, math.Floor(0.22*float64(steps))))}
	for last := checkpoints[1]; last < steps; {
		before := checkpoints[len(checkpoints)-1] - checkpoints[len(checkpoints)-2]
		last += max(before-max(1, int(0.03*float64(steps))), max(1, int(0.06*float64(steps))))
		checkpoints = append(checkpoints, last)
	}
	rises, since, bestThen, halvedThen := 0, 0, best, true
	for k := range steps {
		alpha := 0.75
		if k == 0 {
			alpha = 1
		}
		z := make([]float64, len(x))
		for p := range z {
			z[p] = x[p] + size*d[p]
		}
		z = project(z)
		for p := range z {
			z[p] = x[p] + alpha*(z[p]-x[p]) + (1-alpha)*(x[p]-old[p])
		}
		old, x = x, project(z)
		was := value
		value, wrong, d = f(x)
		if value > was {
			rises++
		}
		since++
		if value > best {
			best, bestX, bestD = value, x, d
		}
		if wrong {
			fooled = x
		}
		if slices.Contains(checkpoints[1:], k+1) {
			halved := float64(rises) < 0.75*float64(since) || !halvedThen && best == bestThen
			if halved {
				size /= 2
				x, d, value = bestX, bestD, best
			}
			rises, since, bestThen, halvedThen = 0, 0, best, halved
		}
	}
	if fooled != nil {
		return fooled
	}
	return bestX
}

// TestStrength: on the embedded model, within bounds, more steps fool at least as many images, the
// strongest are the strongest, controls are weaker than all, and worst is at least as good as each.
func TestStrength(t *testing.T) {
	if testing.Short() {
		t.Skip("attacks 100 images in many ways")
	}
	m, all := embedded(t)
	set, err := all.Slice(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		s := pipeline.Sweep{
			Attacks: parse(t, "uniform,noise,fgsm,bim:steps=10,pgd:steps=20,apgd-ce:steps=30,worst", attack.Options{Seed: 1, Norm: norm}),
			Eps:     map[attack.Norm][]float64{attack.Linf: {0.03, 0.06, 0.1}, attack.L2: {0.5, 1, 2}}[norm], Bounds: attack.Bounds{Lo: 0, Hi: 1},
		}
		res, err := s.Run(t.Context(), open[float32](t, m), set)
		if err != nil {
			t.Fatal(err)
		}
		for e, eps := range s.Eps {
			for c := 1; c < len(res.Curves); c++ {
				weak, strong := res.Curves[c-1], res.Curves[c]
				// Of 100 images one may by chance be left by the attack that is stronger on the
				// whole.
				if strong.Correct[e] > weak.Correct[e]+1 || c == len(res.Curves)-1 && strong.Correct[e] > weak.Correct[e] {
					t.Errorf("%v, eps %v: %d right under %s, %d under %s", norm, eps, strong.Correct[e], strong.Attack.Name, weak.Correct[e], weak.Attack.Name)
				}
			}
			for i := range set.N() {
				worst := res.Curves[len(res.Curves)-1].Outcomes[i*len(s.Eps)+e]
				for _, c := range res.Curves {
					if o := c.Outcomes[i*len(s.Eps)+e]; o.Class != set.Labels[i] && worst.Class == set.Labels[i] {
						t.Fatalf("image %d: worst %+v, but %s fools", i, worst, c.Attack.Name)
					}
				}
			}
		}
		if a, b := res.Curves[2].Correct[1], res.Curves[5].Correct[1]; b >= a {
			t.Errorf("%v: FGSM leaves %d, APGD %d: the test says too little", norm, a, b)
		}
	}
}

// TestWithin holds curves, first failures and the box against outcomes by hand.
func TestWithin(t *testing.T) {
	images := []pipeline.Clean{{Label: 1, Class: 1}, {Label: 2, Class: 2}, {Label: 0, Class: 1}}
	out := func(classes ...int32) (o []pipeline.Outcome) {
		for _, c := range classes {
			o = append(o, pipeline.Outcome{Class: c})
		}
		return o
	}
	c := pipeline.Curve{Correct: make([]int, 4), Outcomes: out(1, 0, 1, 0, 2, 2, 2, 2, 1, 0, 0, 1)}
	if d := cmp.Diff([]int{2, 1, 1, 1}, c.Within(images)); d != "" {
		t.Errorf("within (-want +got):\n%s", d)
	}
	for i, want := range []int{1, -1, 0} {
		if got := c.FirstFailing(images, i); got != want {
			t.Errorf("image %d fails first at %d, want %d", i, got, want)
		}
	}
}

// TestLoss: what pipeline computes of logits is what package ref does.
func TestLoss(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	for range 1000 {
		z := make([]float64, 4+r.IntN(4))
		for j := range z {
			z[j] = math.Round(20*r.NormFloat64()) / 4 // ties are common
		}
		y, target := r.IntN(len(z)), -1
		if r.IntN(2) == 0 {
			if target = r.IntN(len(z)); target == y {
				continue
			}
		}
		for l := attack.CrossEntropy; l <= attack.DLR; l++ {
			got, err := l.Value(z, y, target)
			want := ref.Objective(l, z, y, target)
			if err != nil {
				t.Fatal(err)
			}
			// three largest are equal: the ratio is not there, and pipeline takes the difference
			if want-want != 0 {
				if got-got != 0 {
					t.Errorf("loss %v of %v, label %d, target %d: %v, want a finite number", l, z, y, target, got)
				}
			} else if !(math.Abs(got-want) <= 1e-12*(1+math.Abs(want))) {
				t.Errorf("loss %v of %v, label %d, target %d: %v, want %v", l, z, y, target, got, want)
			}
		}
	}
}

func Example_list() {
	list, err := attack.Parse("pgd:steps=20:restarts=5,apgd-dlr", attack.Options{Seed: 1})
	fmt.Println(list[0].Label(), "and", list[1].Label(), err)
	// Output: PGD, k = 20 × 5 and APGD-DLR, k = 100 <nil>
}
