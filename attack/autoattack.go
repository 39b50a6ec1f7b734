package attack

// AutoAttack is the standard evaluation of the field: Auto-PGD with cross-entropy, Auto-PGD
// towards nine targets, FAB towards nine targets, Square with 5,000 queries, each on what the ones
// before have left. It has no parameter. An image that is fooled at an eps is so at every larger
// one, for the perturbation lies in that ball too.
//
// Croce and Hein 2020, arXiv:2003.01690, section 6.1, in the version that its code calls standard.
func AutoAttack(seed uint64) Attack {
	return Attack{Name: "autoattack", Kind: "autoattack", Steps: 100, Direction: Along, Seed: seed}
}

// In L1 it has five starts of Auto-PGD with cross-entropy, and five targets.
var autoAttack = staged{
	facts: Facts{
		Default: AutoAttack(0),
		Options: []string{"norm", "seed"},
		Norms:   []Norm{Linf, L2, L1},
		About:   "apgd-ce, apgd-t, fab-t and square, each on the images that are still right",
		Source:  "Croce and Hein 2020, arXiv:2003.01690",
	},
	label:  "AutoAttack",
	stages: []Attack{APGD(CrossEntropy, 100, 0), APGDTargeted(100, 9, 0), FABTargeted(100, 9), Square(5000, 0)},
	inL1:   []Attack{startedOften(APGD(CrossEntropy, 100, 0), 5), APGDTargeted(100, 5, 0), FABTargeted(100, 9), Square(5000, 0)},
}

// startedOften is a with so many restarts.
func startedOften(a Attack, restarts int) Attack {
	a.Restarts = restarts
	return a
}

// AutoAttackPlus is what AutoAttack's code calls plus: Auto-PGD with cross-entropy and with DLR,
// from five starts each, FAB, Square with 5,000 queries, Auto-PGD and FAB towards nine targets. Each
// is on what the ones before have left. FAB has one start here, where that code has five.
//
// Croce and Hein 2020, arXiv:2003.01690, in the version that its code calls plus.
func AutoAttackPlus(seed uint64) Attack {
	return Attack{Name: "autoattack-plus", Kind: "autoattack-plus", Steps: 100, Direction: Along, Seed: seed}
}

var autoAttackPlus = staged{
	facts: Facts{
		Default: AutoAttackPlus(0),
		Options: []string{"norm", "seed"},
		Norms:   []Norm{Linf, L2, L1},
		About:   "apgd-ce and apgd-dlr from five starts, fab, square, apgd-t and fab-t, each on what is left",
		Source:  "Croce and Hein 2020, arXiv:2003.01690",
	},
	label: "AutoAttack plus",
	stages: []Attack{
		startedOften(APGD(CrossEntropy, 100, 0), 5), startedOften(APGD(DLR, 100, 0), 5),
		FAB(100), Square(5000, 0), APGDTargeted(100, 9, 0), FABTargeted(100, 9),
	},
}
