package attack

// Quick is a short evaluation: Auto-PGD with cross-entropy, and then Auto-PGD towards five targets
// in the order of MALT, each on what the ones before have left. An image that is fooled at an eps
// is so at every larger one. An image that stays right takes an eighth of AutoAttack's passes, and
// under a fifth at further eps, which share AutoAttack's search by FAB. There is neither FAB nor
// Square: those find little where gradients are sound, which package verdict asks.
//
// Melamed, Yehudai, Shamir 2024, arXiv:2407.02240.
func Quick(seed uint64) Attack {
	return Attack{Name: "quick", Kind: "quick", Steps: 100, Direction: Along, Seed: seed}
}

var quick = staged{
	facts: Facts{
		Default: Quick(0),
		Options: []string{"norm", "seed"},
		Norms:   []Norm{Linf, L2, L1},
		About:   "apgd-ce and malt with five targets, each on the images that are still right",
		Source:  "Melamed et al. 2024, arXiv:2407.02240",
	},
	label:  "quick",
	stages: []Attack{APGD(CrossEntropy, 100, 0), MALT(100, 5, 0)},
}
