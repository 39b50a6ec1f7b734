package verdict_test

import (
	"context"
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
	"advsweep/verdict"

	"gorgonia.org/tensor"
)

func open(t *testing.T, m *model.Model) *cpu.Backend[float32] {
	t.Helper()
	b, err := cpu.New[float32](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// masked puts a quantiser before m: each pixel becomes one of two levels by steps so steep that the
// gradient is zero nearly everywhere. soft is one of sigmoids that saturate, hard one of pairs of
// ReLUs.
func masked(t *testing.T, m *model.Model, soft bool) *model.Model {
	t.Helper()
	in := m.Inputs()
	dense := func(shape ...int) *tensor.Dense {
		n := 1
		for _, s := range shape {
			n *= s
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(make([]float32, n)))
	}
	fill := func(d *tensor.Dense, v float32) *tensor.Dense {
		for i := range d.Data().([]float32) {
			d.Data().([]float32)[i] = v
		}
		return d
	}
	const steep = 1024 // a power of 2, so that nothing is left of steep·g - steep·g
	if soft {
		out := &model.Model{Input: []int{in}, Layers: []model.Layer{
			model.Scale{Name: "steep", Weight: fill(dense(in), steep), Bias: fill(dense(in), -steep/2)}, model.Sigmoid{},
		}}
		out.Layers = append(out.Layers, m.Layers...)
		return out
	}
	// 1 where x > 0.5, 0 where x < 0.5 - 1/steep: relu(steep·(x - 0.5) + 1) - relu(steep·(x -
	// 0.5)).
	up := model.Linear{Name: "up", Weight: dense(2*in, in), Bias: dense(2 * in)}
	down := model.Linear{Name: "down", Weight: dense(in, 2*in), Bias: dense(in)}
	for i := range in {
		for k := range 2 {
			up.Weight.Data().([]float32)[(2*i+k)*in+i] = steep
			up.Bias.Data().([]float32)[2*i+k] = float32(1-k) - steep/2
			down.Weight.Data().([]float32)[i*2*in+2*i+k] = float32(1 - 2*k)
		}
	}
	// ReLU at the end of the quantiser changes nothing, and keeps the network an MLP.
	return &model.Model{Layers: append([]model.Layer{up, model.ReLU{}, down, model.ReLU{}}, m.Layers...)}
}

// embedded is the embedded model with the first n of its images.
func embedded(t *testing.T, n int) (*model.Model, *dataset.Set) {
	t.Helper()
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	set, err := whole.Slice(0, n)
	if err != nil {
		t.Fatal(err)
	}
	return m, set
}

// TestCheck: a sound model passes, and models that hide their gradients fail, by name.
func TestCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("attacks 100 images in many ways")
	}
	m, set := embedded(t, 60)
	c := verdict.Check{Eps: []float64{0.05, 0.1}, Far: 1, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Steps: 8, Seed: 1, Gates: []verdict.Gate{{0.9, 0.005}, {0.99, 0.2}}}
	levels := func(b pipeline.Backend) map[string]verdict.Level {
		found, _, err := c.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]verdict.Level{}
		for _, f := range found {
			t.Log(f.Level, f.What, f)
			if f.Level == verdict.Fail && len(f.Images) == 0 && f.What != verdict.BetterThanNoise {
				t.Errorf("%s fails and names no image", f.What)
			}
			all[string(f.What)] = max(all[string(f.What)], f.Level)
		}
		return all
	}
	for name, level := range levels(open(t, m)) {
		if want := map[bool]verdict.Level{true: verdict.Fail}[name == "min-accuracy"]; level != want && level != verdict.Warn {
			t.Errorf("sound model: %s is %v, want %v", name, level, want)
		}
	}
	c.Gates = nil
	for _, soft := range []bool{true, false} {
		got := levels(open(t, masked(t, m, soft)))
		for _, name := range []string{"zero-gradient", "better-than-noise"} {
			if got[name] != verdict.Fail {
				t.Errorf("masked, soft %v: %s is %v, want FAIL", soft, name, got[name])
			}
		}
		// The soft one can be attacked at large eps. Of the other one random starts fool most images
		// that Square fools, so that those that it alone fools are too few for a FAIL.
		if !soft && got["black-box"] == verdict.Pass {
			t.Errorf("masked: black-box is %v, want a warning", got["black-box"])
		}
		if got["eps-0"] != verdict.Pass || got["ball"] != verdict.Pass {
			t.Errorf("masked, soft %v: %v", soft, got)
		}
	}

	// A model whose logits overflow, and backends that break the rules.
	huge := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 784, 10)
	for i := range huge.Layers[0].(model.Linear).Weight.Data().([]float32) {
		huge.Layers[0].(model.Linear).Weight.Data().([]float32)[i] = 3e38
	}
	if got := levels(open(t, huge)); got["finite"] != verdict.Fail {
		t.Errorf("logits that overflow: %v", got)
	}
	if got := levels(&broken{Backend: open(t, m), grow: 1.5}); got["ball"] != verdict.Fail {
		t.Errorf("steps that are too long: %v", got)
	}
	if got := levels(&broken{Backend: open(t, m), backward: true, grow: 1}); got["noise"] != verdict.Fail || got["far"] != verdict.Fail || got["better-than-noise"] != verdict.Fail || got["black-box"] != verdict.Fail {
		t.Errorf("steps that go backward: %v", got)
	}
}

// TestCheckL1: the same in L1, and no check in L0.
func TestCheckL1(t *testing.T) {
	if testing.Short() {
		t.Skip("attacks 30 images in many ways")
	}
	m, set := embedded(t, 30)
	c := verdict.Check{Eps: []float64{5, 10}, Far: 784, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Norm: attack.L1, Steps: 10, Seed: 1}
	run := func(b pipeline.Backend) map[string]verdict.Level {
		found, _, err := c.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]verdict.Level{}
		for _, f := range found {
			t.Log(f.Level, f.What, f)
			all[string(f.What)] = max(all[string(f.What)], f.Level)
		}
		return all
	}
	for name, level := range run(open(t, m)) {
		if level == verdict.Fail {
			t.Errorf("sound model: %s fails", name)
		}
	}
	if got := run(open(t, masked(t, m, false))); got["zero-gradient"] != verdict.Fail || got["better-than-noise"] != verdict.Fail || got["ball"] != verdict.Pass {
		t.Errorf("masked: %v", got)
	}
	if got := run(&broken{Backend: open(t, m), grow: 1.5}); got["ball"] != verdict.Fail {
		t.Errorf("steps that are too long: %v", got)
	}
	c.Norm = attack.L0
	if _, _, err := c.Run(t.Context(), open(t, m), set); err == nil || !strings.Contains(err.Error(), "no check in l0") {
		t.Errorf("in L0: error %v", err)
	}
}

// TestCheckFooled: a healthy network under DLR, at an eps where no image is right. The gradient of
// DLR is zero once the label ranks third, and says nothing of images that are wrong already.
func TestCheckFooled(t *testing.T) {
	m, set := embedded(t, 20)
	more, err := attack.Parse("apgd-dlr:steps=10,pgd:steps=10:loss=dlr,apgd-t:steps=5,quick", attack.Options{Seed: 1, Decay: -1})
	if err != nil {
		t.Fatal(err)
	}
	c := verdict.Check{Eps: []float64{0.3}, Far: 1, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Steps: 5, Seed: 1, More: more}
	found, res, err := c.Run(t.Context(), open(t, m), set)
	if err != nil {
		t.Fatal(err)
	}
	flat := 0
	for k := range res.Curves {
		c := &res.Curves[k]
		if c.Attack.Loss != attack.DLR {
			continue
		}
		for i := range res.Images {
			if c.Zero(i, 1) {
				flat++
			}
		}
		if c.Correct[1] > 0 {
			t.Errorf("%s leaves %d images right, want none", c.Attack.Name, c.Correct[1])
		}
	}
	if flat == 0 {
		t.Error("no gradient of DLR was zero: the test says too little")
	}
	for _, f := range found {
		if f.What == verdict.ZeroGradient && (f.Level != verdict.Pass || len(f.Images) > 0) {
			t.Errorf("%s %s: %s, images %v", f.Level, f.What, f, f.Images)
		}
	}
}

// TestCheckWide: pixels far outside [0, 1] round by more, which is no step out of the ball, and a
// few images are no proof that gradients are masked.
func TestCheckWide(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	set := &dataset.Set{Labels: make([]int32, 6)}
	pixels := make([]float32, 6*16)
	for i := range pixels {
		pixels[i] = 255 * r.Float32()
	}
	set.Images = tensor.New(tensor.WithShape(6, 4, 4), tensor.WithBacking(pixels))
	m := ref.RandomModel(r, 1, 16, 3)
	b := open(t, m)
	clean, err := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0}}.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	for i, im := range clean.Images { // all are right
		set.Labels[i] = im.Class
	}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		c := verdict.Check{Eps: []float64{0.1}, Far: 255, Norm: norm, Steps: 20, Seed: 1}
		found, _, err := c.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.What == verdict.Ball && f.Level != verdict.Pass || f.What == verdict.BetterThanNoise && f.Level != verdict.Warn {
				t.Errorf("%v: %s %s: %s", norm, f.Level, f.What, f)
			}
		}
	}
}

// broken is a backend with a mistake: steps that are too long and leave the ball, or go down the
// gradient.
type broken struct {
	pipeline.Backend
	grow     float64
	backward bool
}

func (b *broken) Step(ctx context.Context, s attack.Step) error {
	s.Size = slices.Clone(s.Size)
	for i := range s.Size {
		s.Size[i] *= b.grow
		if b.backward && s.Direction == attack.Gradient {
			s.Size[i] *= -1
		}
	}
	if b.grow > 1 {
		s.Ball, s.Bounds = false, attack.Bounds{}
	}
	return b.Backend.Step(ctx, s)
}
