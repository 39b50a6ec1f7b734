package pipeline_test

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gorgonia.org/tensor"
)

// roomFor is a backend with room for few rows.
type roomFor struct {
	pipeline.Backend
	rows int
}

func (b roomFor) Info() backend.Info {
	i := b.Backend.Info()
	i.Rows = b.rows
	return i
}

// TestCraftAll compares with what a sweep counts, with Craft, and with itself in small batches.
func TestCraftAll(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := randomSet(r, 23, 5, 6, 5)
	set.First = 40
	b := open[float32](t, m)
	const eps = 0.03
	pgd := attack.PGD(4, 7)
	pgd.Restarts = 3
	l2 := attack.PGD(3, 1)
	l2.Name, l2.Norm = "l2", attack.L2
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM(), pgd, l2, attack.Noise(5), attack.Worst()}, Eps: []float64{0.01, eps}, Bounds: bounds, Rounded: true}
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		var all []*pipeline.Crafted
		check := func(c *pipeline.Crafted, at int) {
			t.Helper()
			for i := range set.N() {
				// Records hold norms that follow from eps as such, without the rounding of pixels.
				if d := cmp.Diff(res.Curves[at].Outcomes[2*i+1], c.Outcomes[i], cmpopts.EquateApprox(1e-5, 0)); d != "" {
					t.Errorf("%s, bounds %v, image %d (-sweep +crafted):\n%s", c.Attack.Name, bounds, i, d)
				}
			}
		}
		for at, a := range s.Attacks[:4] {
			last := 0
			c, err := pipeline.CraftAll(t.Context(), b, set, a, eps, bounds, func(done, total int) { last = done*100 + total })
			if err != nil {
				t.Fatal(err)
			}
			if last != 23*100+23 {
				t.Errorf("progress ended at %d", last)
			}
			check(c, at)
			for _, rows := range []int{1, 7} {
				again, err := pipeline.CraftAll(t.Context(), roomFor{b, rows}, set, a, eps, bounds, nil)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.Images.Data(), again.Images.Data()) + cmp.Diff(c.Levels.Data(), again.Levels.Data()) + cmp.Diff(c.Outcomes, again.Outcomes); d != "" {
					t.Errorf("%s in batches of %d rows:\n%s", a.Name, rows, d)
				}
			}
			x, levels, x0 := c.Images.Data().([]float32), c.Levels.Data().([]uint8), set.Images.Data().([]uint8)
			for i := range set.N() {
				one, err := set.Slice(i, 1)
				if err != nil {
					t.Fatal(err)
				}
				e, err := pipeline.Craft(t.Context(), b, one, a, eps, bounds)
				if err != nil {
					t.Fatal(err)
				}
				square := 0.0
				for j, v := range e.Perturbed.Data().([]float64) {
					k := 30*i + j
					if float64(x[k]) != v {
						t.Fatalf("%s: image %d, pixel %d is %v, Craft's is %v", a.Name, i, j, x[k], v)
					}
					move := (float64(levels[k]) - float64(x0[k])) / 255
					square += move * move
					// Inside the ball but for the 1e-4 levels that Round forgives.
					if a.Norm == attack.Linf && !(math.Abs(move) <= eps+1e-4/255) {
						t.Fatalf("%s: image %d, pixel %d: level %d of %d is %v away, eps is %v", a.Name, i, j, levels[k], x0[k], move, eps)
					}
				}
				// Levels toward x0 are no farther than x, but for the 1e-4 levels a pixel that
				// Round forgives.
				if norm := math.Sqrt(square); a.Norm == attack.L2 && !(norm <= eps+math.Sqrt(30)*1e-4/255) {
					t.Errorf("%s: image %d: levels are %v away, eps is %v", a.Name, i, norm, eps)
				}
			}
			all = append(all, c)
		}
		check(pipeline.WorstCrafted(all, set.Labels), 4)
	}
}

func TestCraftAllShape(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	m := ref.RandomModel(r, 1, 24, 9, 4)
	pixels := make([]float32, 5*24)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(5, 3, 2, 4), tensor.WithBacking(pixels)), Labels: []int32{0, 1, 2, 3, 0}}
	b := open[float64](t, m)
	c, err := pipeline.CraftAll(t.Context(), b, set, attack.BIM(2), 0.1, attack.Bounds{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Images.Shape(); !got.Eq(tensor.Shape{5, 3, 2, 4}) || !c.Levels.Shape().Eq(got) {
		t.Errorf("images %v, levels %v", got, c.Levels.Shape())
	}
	if _, err := pipeline.CraftAll(t.Context(), b, set, attack.Worst(), 0.1, attack.Bounds{}, nil); err == nil || !strings.Contains(err.Error(), "no attack of its own") {
		t.Errorf("worst: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pipeline.CraftAll(ctx, b, set, attack.BIM(2), 0.1, attack.Bounds{}, nil); err == nil {
		t.Error("a context that has ended: no error")
	}
}

// TestUnknownAttack: an attack that nobody knows is refused by name before anything is done.
func TestUnknownAttack(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	m := ref.RandomModel(r, 1, 30, 21, 5)
	set := randomSet(r, 3, 5, 6, 5)
	one, err := set.Slice(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	b := open[float32](t, m)
	strange, loss, norm := attack.FGSM(), attack.FGSM(), attack.FGSM()
	strange.Kind, loss.Loss, norm.Norm = "strange", attack.DLR+1, attack.L0+1
	for want, a := range map[string]attack.Attack{`"strange"`: strange, "loss 3": loss, "norm 4": norm} {
		s := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: []float64{0.1}}
		_, ofRun := s.Run(t.Context(), b, set)
		_, ofCraft := pipeline.Craft(t.Context(), b, one, a, 0.1, attack.Bounds{})
		_, ofAll := pipeline.CraftAll(t.Context(), b, set, a, 0.1, attack.Bounds{}, nil)
		for name, err := range map[string]error{
			"Validate": s.Validate(b, set), "Run": ofRun, "Craft": ofCraft, "CraftAll": ofAll,
			"Work": s.Work(t.Context(), b, set, pipeline.Memory{}, pipeline.Fraction{}),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one with %s", name, err, want)
			}
		}
	}
	defer func() {
		if got := recover(); got == nil || !strings.Contains(got.(string), `"strange"`) {
			t.Errorf("a plan of a sweep that was not validated: panic %v, want one that names the attack", got)
		}
	}()
	pipeline.Sweep{Attacks: []attack.Attack{strange}, Eps: []float64{0.1}}.Plan(3)
}
