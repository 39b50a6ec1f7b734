package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// own is an attack that a program brings itself. It is BIM with a ball, by what any method can ask
// of rows: logits, gradients of weights on them, and a step along what it says.
type own struct{}

func init() {
	attack.Register(own{})
	attack.Register(drawn{})
}

func (own) Facts() attack.Facts {
	return attack.Facts{Default: attack.Attack{Name: "own", Kind: "own", Steps: 3}, Options: []string{"steps"}}
}
func (own) Label(attack.Attack) string       { return "own" }
func (own) Cost(a attack.Attack) attack.Cost { return attack.Cost{Row: float64(3 * a.Steps), Share: 4} }
func (own) Ray(attack.Attack) bool           { return false }

func (own) Run(ctx context.Context, a attack.Attack, rows attack.Rows) error {
	labels := rows.Labels()
	for k := range a.Steps {
		logits, err := rows.Logits(ctx)
		if err != nil {
			return err
		}
		var q []float64
		for r, z := range logits {
			d := make([]float64, len(z))
			attack.CrossEntropyGradient(d, z, int(labels[r]))
			q = append(q, d...)
		}
		for _, n := range []int{0, len(q) - 1, len(q) - 5} { // of 5 logits: whole rows, but too few
			if _, err := rows.Gradient(ctx, q[:n]); err == nil {
				return fmt.Errorf("no error for %d weights of %d", n, len(q))
			}
		}
		g, err := rows.Gradient(ctx, q)
		if err != nil {
			return err
		}
		s := a.Move(k, rows)
		s.Direction, s.Ball = attack.Along, true
		for _, row := range g {
			for _, v := range row {
				d := 0.0
				switch {
				case v > 0:
					d = 1
				case v < 0:
					d = -1
				}
				s.Along = append(s.Along, d)
			}
		}
		if err := rows.Step(ctx, s); err != nil {
			return err
		}
		rows.Done()
	}
	return nil
}

// An attack from outside finds what the same attack from inside finds, in batches of any size. In
// float64 no sign is in doubt; the model's gradient is the same but for rounding.
func TestOwnAttack(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := randomSet(r, 40, 5, 6, 5)
	set.First = 7
	bim := attack.BIM(3)
	bim.StepLength = attack.StepLength{Factor: 1.5} // which has a ball
	mine := parse(t, "own", attack.Options{Decay: -1})[0]
	mine.StepLength = bim.StepLength
	s := pipeline.Sweep{Attacks: []attack.Attack{mine, bim}, Eps: []float64{0, 0.02, 0.1}, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Rounded: true}
	b := open[float64](t, m)
	for _, s.Rows = range []int{0, 1, 7} {
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		got, want := res.Curves[0].Outcomes, res.Curves[1].Outcomes
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d rows (-inside +outside):\n%s", s.Rows, d)
		}
		if c := res.Curves[0].Correct; c[2] >= c[0] {
			t.Errorf("curve %v: the test says too little", c)
		}
	}
}

// drawn is an attack whose draws are keyed by what Rows says of images: a corner of each, of a size
// that is drawn, moves by eps.
type drawn struct{ own }

func (drawn) Facts() attack.Facts {
	return attack.Facts{Default: attack.Attack{Name: "drawn", Kind: "drawn", Steps: 2, Direction: attack.Along}, Options: []string{"steps", "restarts", "seed"}}
}

func (drawn) Run(ctx context.Context, a attack.Attack, rows attack.Rows) error {
	C, H, W := rows.Shape()
	images, restarts := rows.Images(), rows.Restarts()
	for k := range a.Steps {
		s := a.Move(k, rows)
		s.Along = make([]float64, rows.N()*C*H*W)
		for r := range images {
			restart := 0
			if restarts != nil {
				restart = restarts[r%len(restarts)]
			}
			u := attack.NewUniformDraw(a.Seed, images[r], restart, k)
			for c := range C {
				for y := range 1 + u.Word(0)%uint32(H) {
					for x := range 1 + u.Word(1)%uint32(W) {
						s.Along[((r*C+c)*H+int(y))*W+int(x)] = 1 - 2*float64(u.Word(2+c)>>31)
					}
				}
			}
		}
		if err := rows.Step(ctx, s); err != nil {
			return err
		}
		rows.Done()
	}
	return nil
}

// TestDraws: what an attack draws depends on the image, whatever the batch, where the set begins and
// who asks: a sweep, images to save or one example.
func TestDraws(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := correctSet(t, r, m, 23, 5, 6)
	set.First = 7
	a := parse(t, "drawn:restarts=3", attack.Options{Seed: 3})[0]
	s := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: []float64{0, 0.02, 0.1, 0.5}, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Rounded: true}
	b := open[float32](t, m)
	want, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	if c := want.Curves[0].Correct; c[3] >= c[0] {
		t.Errorf("curve %v: the test says too little", c)
	}
	for _, s.Rows = range []int{1, 2, 7, 64} {
		got, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d rows (-all +these):\n%s", s.Rows, d)
		}
	}
	s.Rows = 0
	last, err := set.Slice(10, 13)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Run(t.Context(), b, last)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := want.Curves[0].Outcomes[10*len(s.Eps):]
	if d := cmp.Diff(outcomes, got.Curves[0].Outcomes); d != "" {
		t.Errorf("the last 13 images alone (-all +these):\n%s", d)
	}
	crafted, err := pipeline.CraftAll(t.Context(), b, last, a, 0.5, s.Bounds, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range crafted.Outcomes {
		if want := outcomes[4*i+3]; o != want {
			t.Errorf("image %d: crafted %+v, want %+v", 17+i, o, want)
		}
		one, err := last.Slice(i, 1)
		if err != nil {
			t.Fatal(err)
		}
		ex, err := pipeline.Craft(t.Context(), b, one, a, 0.5, s.Bounds)
		if err != nil {
			t.Fatal(err)
		}
		if ex.Adversarial.Class != int(o.Class) {
			t.Errorf("image %d: an example has class %d, want %d", 17+i, ex.Adversarial.Class, o.Class)
		}
	}
}

// shapes asks rows what images they are of, and moves nothing.
type shapes struct {
	own
	images []int
	shape  [3]int
}

func (*shapes) Facts() attack.Facts {
	return attack.Facts{Default: attack.Attack{Name: "shapes", Kind: "shapes", Steps: 1, Direction: attack.Along}, Control: true}
}

func (*shapes) Cost(attack.Attack) attack.Cost { return attack.Cost{Share: 1} }

func (s *shapes) Run(_ context.Context, a attack.Attack, rows attack.Rows) error {
	s.images = append(s.images, rows.Images()...)
	s.shape[0], s.shape[1], s.shape[2] = rows.Shape()
	if c := len(rows.Columns()); rows.N() != len(rows.Images()) || rows.N()%c != 0 {
		return fmt.Errorf("%d images of %d rows, %d columns", len(rows.Images()), rows.N(), c)
	}
	rows.Done()
	return nil
}

var asked = &shapes{}

func init() { attack.Register(asked) }

// TestShape: rows say the shape of grey images and of those with channels.
func TestShape(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 1))
	m := ref.RandomModel(r, 1, 30, 9, 4)
	s := pipeline.Sweep{Attacks: parse(t, "shapes", attack.Options{}), Eps: []float64{0.1, 0.2}}
	for _, c := range []struct {
		of   []int
		want [3]int
	}{
		{[]int{5, 6}, [3]int{1, 5, 6}},
		{[]int{3, 5, 2}, [3]int{3, 5, 2}},
	} {
		set := randomSet(r, 3, 5, 6, 4)
		set.First = 11
		if err := set.Images.Reshape(append([]int{3}, c.of...)...); err != nil {
			t.Fatal(err)
		}
		asked.images = nil
		if _, err := s.Run(t.Context(), open[float64](t, m), set); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]int{11, 11, 12, 12, 13, 13}, asked.images); d != "" || asked.shape != c.want {
			t.Errorf("%v: shape %v, want %v; images (-want +got):\n%s", c.of, asked.shape, c.want, d)
		}
	}
}
