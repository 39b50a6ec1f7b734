package attack

// PGD is projected gradient descent: k steps of 2.5·eps/k from a random point, kept in the ball.
//
// Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083, section 2.1 and appendix.
func PGD(k int, seed uint64) Attack {
	return Attack{Name: "pgd", Kind: "pgd", Steps: k, StepLength: StepLength{Factor: 2.5}, Start: true, Seed: seed}
}

type pgd struct{ iterated }

func (pgd) Facts() Facts {
	return Facts{
		Default: PGD(40, 0),
		Options: []string{"steps", "step", "restarts", "norm", "loss", "target", "seed"},
		About:   "k steps of 2.5·eps/k from a random point, kept in the ball",
		Source:  "Madry et al. 2018, arXiv:1706.06083",
	}
}
