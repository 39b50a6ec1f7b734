package attack

import "context"

// Noise is the control: every pixel moves by +eps or -eps at random, without
// looking at the model. An attack that does no better has found nothing.
func Noise(seed uint64) Attack {
	return Attack{Name: "noise", Kind: "noise", Steps: 1, Direction: RandomSign, Seed: seed}
}

// UniformNoise is the weaker control: a point drawn from the eps-ball.
func UniformNoise(seed uint64) Attack {
	return Attack{Name: "uniform", Kind: "uniform", Steps: 1, Direction: Uniform, Seed: seed}
}

// noise is the control with random directions of one kind.
type noise struct{ direction Direction }

func (n noise) Facts() Facts {
	f := Facts{
		Default: Noise(0),
		Options: []string{"norm", "seed"},
		Norms:   []Norm{Linf, L2, L1},
		About:   "±eps in every pixel by a fair coin",
		Source:  "Salmon et al. 2011, Philox4x32-10",
		Control: true,
	}
	if n.direction == Uniform {
		f.Default = UniformNoise(0)
		f.About = "a random point of the ball"
	}
	return f
}

func (n noise) Label(Attack) string {
	if n.direction == Uniform {
		return "uniform noise"
	}
	return "random ±eps"
}

// Cost is nothing beside what the model says in the end. Plans count a pass up and down for each
// step all the same.
func (noise) Cost(a Attack) Cost { return Cost{Share: 1 + 2*a.Steps} }

// Ray is false: the model's gradient is not what it goes along.
func (noise) Ray(Attack) bool { return false }

// Run takes the step. No backend draws in L1.
func (noise) Run(ctx context.Context, a Attack, rows Rows) error {
	if !a.Norm.Above() {
		return iterated{}.Run(ctx, a, rows)
	}
	s, err := a.Move(0, rows).Drawn(rows.Images(), inputs(rows))
	if err != nil {
		return err
	}
	err = rows.Step(ctx, s)
	rows.Done()
	return err
}
