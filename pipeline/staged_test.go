package pipeline_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"
)

// relay is a staged attack whose stages are short: one of each form that there is.
type relay struct{}

func init() { attack.Register(relay{}) }

func (relay) Facts() attack.Facts {
	return attack.Facts{Default: attack.Attack{Name: "relay", Kind: "relay", Steps: 1}, Options: []string{"norm", "seed"}, About: "short stages"}
}
func (relay) Label(attack.Attack) string     { return "relay" }
func (relay) Cost(attack.Attack) attack.Cost { return attack.Cost{Row: 100, Share: 100} }
func (relay) Ray(attack.Attack) bool         { return false }
func (relay) Run(context.Context, attack.Attack, attack.Rows) error {
	return errors.New("pipeline runs it")
}

func (relay) Stages(a attack.Attack, _ int) []attack.Attack {
	stages := []attack.Attack{
		attack.BIM(1), attack.APGD(attack.CrossEntropy, 4, a.Seed), attack.APGDTargeted(4, 3, a.Seed), attack.MALT(3, 2, a.Seed),
		attack.FABTargeted(20, 2), attack.Square(10, a.Seed),
	}
	for i := range stages {
		stages[i].Norm = a.Norm
	}
	return stages
}

// TestStaged compares a staged attack with its stages, each run on all images by itself. An image
// is fooled at the eps at which the first of its stages fools it alone, and stays so; stages after
// the one that fooled it take no passes. Draws of the stages are those that they have alone.
func TestStaged(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 1))
	const n = 60
	m := ref.RandomModel(r, 1.5, 30, 21, 17, 5)
	set := correctSet(t, r, m, n, 5, 6)
	set.First = 17
	for i := range 5 {
		set.Labels[i] = (set.Labels[i] + 1) % 5
	}
	eps := []float64{0, 0.01, 0.03, 0.06, 0.1}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		if norm == attack.L2 {
			eps = []float64{0, 0.05, 0.1, 0.2, 0.4}
		}
		b := open[float64](t, m)
		s := pipeline.Sweep{Attacks: parse(t, "relay", attack.Options{Seed: 5, Norm: norm}), Eps: eps, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Rounded: true}
		got, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		stages := s.Attacks[0].Stages(5)
		s.Attacks = stages
		alone, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		E, by := len(eps), make([]int, len(stages)+1)
		for i := range n {
			fooledAt := -1
			for e := range eps {
				o := got.Curves[0].Outcomes[i*E+e]
				label := set.Labels[i]
				first := 0
				for k := range stages {
					if alone.Curves[k].Outcomes[i*E+e].Class != label && first == 0 {
						first = k + 1
					}
				}
				wrong := got.Images[i].Class != label
				switch {
				case wrong:
					if o.Class == label || o.Stage != 0 || o.Passes != map[bool]uint32{true: 1}[e == 0] || o.Norms != (attack.Norms{}) {
						t.Fatalf("%v, image %d, eps %v, wrong as it is: %+v", norm, i, eps[e], o)
					}
				case fooledAt >= 0:
					want := got.Curves[0].Outcomes[i*E+fooledAt]
					want.Passes = 0
					if o != want {
						t.Fatalf("%v, image %d, eps %v: %+v, fooled before: %+v", norm, i, eps[e], o, want)
					}
				case first == 0:
					// A look and a step; 4, 3·4 and 2·3 steps of two passes, each with a look at the end of
					// the steps and one at what came out; ten queries and a look. The first eps has the
					// search: of two targets 20 steps of three passes, a look at their end and ten more; and
					// nine gradients for the order.
					passes := []uint32{1, 3 + 10 + 3*10 + 2*8 + 11 + 2*(60+1+10) + 18, 3 + 10 + 3*10 + 2*8 + 11}[min(e, 2)]
					if o.Class != label || o.Stage != 0 || o.Passes != passes {
						t.Fatalf("%v, image %d, eps %v: %+v, want it right after %d passes", norm, i, eps[e], o, passes)
					}
				default:
					fooledAt = e
					want := alone.Curves[first-1].Outcomes[i*E+e]
					if int(o.Stage) != first || o.Class != want.Class || o.Norms != want.Norms || o.Rounded != want.Rounded {
						t.Fatalf("%v, image %d, eps %v: %+v, by stage %d alone %+v", norm, i, eps[e], o, first, want)
					}
					by[first]++
				}
				if o.Norms.In(norm) > eps[e]*(1+1e-6) {
					t.Fatalf("%v, image %d, eps %v: norm %v", norm, i, eps[e], o.Norms.In(norm))
				}
			}
		}
		t.Logf("%v: images by stage %v", norm, by[1:])
		few := 0
		for _, k := range by[1:] {
			if k > 0 {
				few++
			}
		}
		if few < 3 {
			t.Errorf("%v: images by stage %v: the test says too little", norm, by[1:])
		}
	}
}

// TestStagedCrafted: the images that are written are those that a sweep finds, and so is that of
// one image.
func TestStagedCrafted(t *testing.T) {
	r := rand.New(rand.NewPCG(42, 1))
	m := ref.RandomModel(r, 1.5, 30, 21, 17, 5)
	set := correctSet(t, r, m, 20, 5, 6)
	b := open[float32](t, m)
	a := parse(t, "relay", attack.Options{Seed: 5})[0]
	bounds := attack.Bounds{Lo: 0, Hi: 1}
	s := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: []float64{0.04}, Bounds: bounds, Rounded: true}
	res, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pipeline.CraftAll(t.Context(), b, set, a, 0.04, bounds, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(all.Outcomes, res.Curves[0].Outcomes) {
		t.Errorf("outcomes of crafted images are others than a sweep's")
	}
	x := all.Images.Data().([]float32)
	for i := range set.N() {
		one, err := set.Slice(i, 1)
		if err != nil {
			t.Fatal(err)
		}
		ex, err := pipeline.Craft(t.Context(), b, one, a, 0.04, bounds)
		if err != nil {
			t.Fatal(err)
		}
		if ex.Adversarial.Class != int(all.Outcomes[i].Class) {
			t.Errorf("image %d: class %d, crafted with others %d", i, ex.Adversarial.Class, all.Outcomes[i].Class)
		}
		for k, v := range ex.Perturbed.Data().([]float64) {
			if float32(v) != x[i*30+k] {
				t.Fatalf("image %d, pixel %d: %v, crafted with others %v", i, k, v, x[i*30+k])
			}
		}
	}
}

// TestStagedStill: of a network without gradients every image counts as not attacked by stages that
// need one.
func TestStagedStill(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 1))
	m := ref.RandomModel(r, 1, 30, 8, 5)
	bias := m.Layers[0].(model.Linear).Bias.Data().([]float32)
	for i := range bias {
		bias[i] = -1e4
	}
	set := correctSet(t, r, m, 5, 5, 6)
	for name, want := range map[string]int{"quick": 5, "relay": 0} { // which has Square
		s := pipeline.Sweep{Attacks: parse(t, name, attack.Options{Decay: -1}), Eps: []float64{0.1}, Bounds: attack.Bounds{Lo: 0, Hi: 1}}
		res, err := s.Run(t.Context(), open[float32](t, m), set)
		if err != nil {
			t.Fatal(err)
		}
		if c := res.Curves[0]; c.ZeroGradient[0] != want || c.Correct[0] != 5 {
			t.Errorf("%s: %v right, %v not attacked, want 5 and %d", name, c.Correct, c.ZeroGradient, want)
		}
	}
}

// TestNearer puts targets in the order of the planes' distances from the clean image, by plain
// loops over the reference's gradients.
func TestNearer(t *testing.T) {
	r := rand.New(rand.NewPCG(44, 1))
	m := ref.RandomModel(r, 1.5, 30, 21, 6)
	set := correctSet(t, r, m, 10, 5, 6)
	differ := 0
	for i := range set.N() {
		x, y := image64(set, i), int(set.Labels[i])
		z, _ := ref.Forward(m, x)
		rivals := attack.Rivals(y, z)
		var size, away []float64
		for _, c := range rivals {
			g := make([]float64, 30)
			for k := range g { // central differences of z_c - z_y
				const h = 1e-6
				x[k] += h
				up, _ := ref.Forward(m, x)
				x[k] -= 2 * h
				down, _ := ref.Forward(m, x)
				x[k] += h
				g[k] = ((up[c] - up[y]) - (down[c] - down[y])) / (2 * h)
			}
			size = append(size, attack.Linf.Dual(g))
			away = append(away, (z[y]-z[c])/size[len(size)-1])
		}
		order := attack.Nearer(y, z, rivals, size)
		at := func(c int) float64 { return away[slices.Index(rivals, c)] }
		if !slices.IsSortedFunc(order, func(a, b int) int { return cmp.Compare(at(a), at(b)) }) {
			t.Errorf("image %d: order %v at distances %v of %v", i, order, away, rivals)
		}
		if !slices.Equal(order, rivals) {
			differ++
		}
	}
	if differ == 0 {
		t.Error("the order is that of the logits for all images: the test says too little")
	}
}
