package attack

// BIM is the basic iterative method: k steps of eps/k along the sign of the
// gradient. BIM(1) moves as FGSM does.
//
// Kurakin, Goodfellow, Bengio 2017, arXiv:1607.02533, section 2.2.
func BIM(k int) Attack { return Attack{Name: "bim", Kind: "bim", Steps: k} }

type bim struct{ iterated }

func (bim) Facts() Facts {
	return Facts{
		Default: BIM(5),
		Options: []string{"steps", "step", "norm", "loss", "target"},
		About:   "k steps of eps/k, the gradient taken anew",
		Source:  "Kurakin et al. 2017, arXiv:1607.02533",
	}
}
