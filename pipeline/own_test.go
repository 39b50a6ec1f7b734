package pipeline_test

import (
	"context"
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

func init() { attack.Register(own{}) }

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
	s := pipeline.Sweep{Attacks: []attack.Attack{mine, bim}, Eps: []float64{0, 0.02, 0.1}, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Outcomes: true, Rounded: true}
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
