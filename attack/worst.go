package attack

import (
	"context"
	"fmt"

	"advsweep/internal/words"
)

// Worst stands for the worst of the other attacks of a sweep, controls left out, image by image.
func Worst() Attack { return Attack{Name: "worst", Kind: "worst", Steps: 1} }

// worstOf are the kinds that worst is made of where a list names no attack.
var worstOf = []string{"pgd", "quick"}

// worst is the composite of all attacks that are no controls. pipeline takes it from their
// outcomes.
type worst struct{}

func (worst) Facts() Facts {
	return Facts{
		Default:   Worst(),
		About:     "of each image the worst of all attacks of the list, controls left out; where it names none, of " + words.And(worstOf),
		Composite: true,
		Of:        worstOf,
	}
}

func (worst) Label(Attack) string { return "worst of all" }
func (worst) Cost(Attack) Cost    { return Cost{} }
func (worst) Ray(Attack) bool     { return false }

// Run returns an error: there is nothing to run.
func (worst) Run(_ context.Context, a Attack, _ Rows) error {
	return fmt.Errorf("attack: %s is made of what other attacks found: there is nothing to run", a.Name)
}

// Parts returns the places in all of the attacks that a composite among them is made of: those that
// are to be run and are no controls.
func Parts(all []Attack) (places []int) {
	for i, a := range all {
		if !a.Composite() && !a.Control() {
			places = append(places, i)
		}
	}
	return places
}
