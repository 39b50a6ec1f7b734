package attack

import "fmt"

// APGDTargeted is Auto-PGD with the targeted DLR loss, once for each of so many targets: the classes
// with the largest logits of the clean image, the label left out. Of fewer classes each is a target
// more than once, from another start.
//
// Croce and Hein 2020, arXiv:2003.01690, section 4.1 and table 1: AutoAttack's second attack.
func APGDTargeted(k, targets int, seed uint64) Attack {
	return Attack{Name: "apgd-t", Kind: "apgd-t", Steps: k, Loss: DLR, Start: true, Seed: seed, Adaptive: true, Restarts: targets, Aim: Aim{Target: ByRank}}
}

// apgdTargeted runs as Auto-PGD does. Its restarts are its targets, so that a row goes towards one.
type apgdTargeted struct{ apgd }

func (apgdTargeted) Facts() Facts {
	return Facts{
		Default: APGDTargeted(100, 9, 0),
		Options: []string{"steps", "targets", "norm", "seed"},
		Norms:   []Norm{Linf, L2, L1},
		Family:  "apgd",
		OwnLoss: true,
		OwnSize: true,
		About:   "apgd towards the classes next in the clean image, one after the other, loss dlr",
		Source:  "Croce and Hein 2020, arXiv:2003.01690",
	}
}

func (apgdTargeted) Label(a Attack) string { return fmt.Sprintf("APGD-T, k = %d", a.Steps) }
