package attack

import (
	"fmt"
	"strings"
)

// MIFGSM is the iterated attack with momentum, decay 1.
//
// Dong et al. 2018, arXiv:1710.06081, algorithm 1.
func MIFGSM(k int) Attack {
	return Attack{Name: "mifgsm", Kind: "mifgsm", Steps: k, Inertia: Inertia{Momentum: true, Decay: 1}}
}

// NIFGSM is MIFGSM with Nesterov's look ahead.
//
// Lin, Song, He, Wang, Hopcroft 2020, arXiv:1908.06281, section 3.1.
func NIFGSM(k int) Attack {
	a := MIFGSM(k)
	a.Name, a.Kind, a.Nesterov = "nifgsm", "nifgsm", true
	return a
}

type mifgsm struct {
	iterated
	nesterov bool
}

func (m mifgsm) Facts() Facts {
	f := Facts{
		Default: MIFGSM(10),
		Options: []string{"steps", "step", "norm", "loss", "decay", "target"},
		About:   "k steps of eps/k along the sign of a momentum of gradients",
		Source:  "Dong et al. 2018, arXiv:1710.06081",
	}
	if m.nesterov {
		f.Default = NIFGSM(10)
		f.About = "mifgsm with the gradient taken where the momentum leads"
		f.Source = "Lin et al. 2020, arXiv:1908.06281"
	}
	return f
}

// Label is "MI-FGSM" or "NI-FGSM" and the number of steps.
func (mifgsm) Label(a Attack) string {
	return fmt.Sprintf("%s-FGSM, k = %d", strings.ToUpper(a.Kind[:2]), a.Steps)
}
