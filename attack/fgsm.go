package attack

// FGSM is the fast gradient sign method, x* = x + eps·sign(∂L/∂x); with L2 the fast gradient
// method, x* = x + eps·g/‖g‖₂.
//
// Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572, section 4.
func FGSM() Attack { return Attack{Name: "fgsm", Kind: "fgsm", Steps: 1} }

type fgsm struct{ iterated }

func (fgsm) Facts() Facts {
	return Facts{
		Default: FGSM(),
		Options: []string{"norm", "loss", "target"},
		OwnSize: true,
		About:   "one step along the sign of the gradient",
		Source:  "Goodfellow et al. 2015, arXiv:1412.6572",
	}
}

// Label is FGM, the fast gradient method, where the step is not along signs.
func (fgsm) Label(a Attack) string {
	if a.Norm == Linf {
		return "FGSM"
	}
	return "FGM"
}
