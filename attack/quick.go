package attack

// Quick is a short evaluation: Auto-PGD with cross-entropy, and then Auto-PGD towards five targets
// in the order of MALT, each on what the ones before have left. An image that is fooled at an eps
// is so at every larger one. An image that stays right takes a sixth of AutoAttack's passes, and
// under a quarter at further eps, which share AutoAttack's search by FAB. There is neither FAB nor
// Square: those find little where gradients are sound, which package verdict asks.
//
// Melamed, Yehudai, Shamir 2024, arXiv:2407.02240.
func Quick(seed uint64) Attack {
	return Attack{Name: "quick", Kind: "quick", Steps: 100, Direction: Along, Seed: seed}
}

type quick struct{ staged }

func (quick) Facts() Facts {
	return Facts{
		Default: Quick(0),
		Options: []string{"norm", "seed"},
		About:   "apgd-ce and malt with five targets, each on the images that are still right",
		Source:  "Melamed et al. 2024, arXiv:2407.02240",
	}
}

func (quick) Label(Attack) string { return "quick" }

// Cost is that of an image that is right after all stages.
func (m quick) Cost(a Attack) Cost { return stagesCost(m.all(a)) }

func (quick) all(Attack) []Attack {
	return []Attack{APGD(CrossEntropy, 100, 0), MALT(100, 5, 0)}
}

func (m quick) Stages(a Attack, classes int) []Attack { return stagesFor(a, classes, m.all(a)...) }
