// Package attack describes adversarial attacks as small values. It holds no
// device code: pipeline runs the loop over the steps, a backend does each step.
package attack

import (
	"fmt"
	"strings"
)

// Direction is what the sign in a step is taken of.
type Direction int

const (
	// Gradient is sign(∂L/∂x) with sign(0) = 0, L the cross-entropy of the
	// softmax against the true label.
	Gradient Direction = iota
	// RandomSign is +1 or -1 for each pixel by a fair coin; see RandomSigns. For L2 it is divided by √I.
	RandomSign
	// Uniform is a point drawn from the unit ball; see UniformDraw.
	Uniform
)

// An Attack moves each image K times:
//
//	x ← x + (eps/K)·d,  d by Direction, taken anew at each step.
type Attack struct {
	Name      string // "fgsm", "bim" or "noise"
	Steps     int    // K, at least 1
	Direction Direction
	Seed      uint64 // keys RandomSign; not used by Gradient
}

// FGSM is the fast gradient sign method, x* = x + eps·sign(∂L/∂x).
//
// Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572, section 4.
func FGSM() Attack { return Attack{Name: "fgsm", Steps: 1} }

// BIM is the basic iterative method: k steps of eps/k along the sign of the
// gradient. BIM(1) moves as FGSM does.
//
// Kurakin, Goodfellow, Bengio 2017, arXiv:1607.02533, section 2.2.
func BIM(k int) Attack { return Attack{Name: "bim", Steps: k} }

// Noise is the control: every pixel moves by +eps or -eps at random, without
// looking at the model. An attack that does no better has found nothing.
func Noise(seed uint64) Attack {
	return Attack{Name: "noise", Steps: 1, Direction: RandomSign, Seed: seed}
}

// Names lists the names that Parse takes.
var Names = []string{"fgsm", "bim", "noise"}

// Parse reads a comma list of names such as "fgsm,bim". steps is bim's K, seed
// keys noise. A name may stand in the list once.
func Parse(list string, steps int, seed uint64) ([]Attack, error) {
	var out []Attack
	seen := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		var a Attack
		switch name {
		case "fgsm":
			a = FGSM()
		case "bim":
			a = BIM(steps)
		case "noise":
			a = Noise(seed)
		default:
			return nil, fmt.Errorf("attack: unknown attack %q, want one of %s", name, strings.Join(Names, ", "))
		}
		if seen[name] {
			return nil, fmt.Errorf("attack: %s stands twice in %q", name, list)
		}
		seen[name] = true
		if err := a.Validate(); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// MaxSteps is the largest K that Validate takes: with more, steps of eps/K come near the spacing of
// float32 numbers, and their rounding errors add up to a share of eps.
const MaxSteps = 1000

// Validate returns an error if no backend could run the attack.
func (a Attack) Validate() error {
	if a.Steps < 1 || a.Steps > MaxSteps {
		return fmt.Errorf("attack: %s: %d steps, want 1 to %d", a.Name, a.Steps, MaxSteps)
	}
	if a.Direction < Gradient || a.Direction > Uniform {
		return fmt.Errorf("attack: %s: unknown direction %d", a.Name, a.Direction)
	}
	return nil
}

// Label names the attack for a person: "FGSM", "BIM, k = 5", "random ±eps".
func (a Attack) Label() string {
	switch a.Name {
	case "fgsm":
		return "FGSM"
	case "bim":
		return fmt.Sprintf("BIM, k = %d", a.Steps)
	case "noise":
		return "random ±eps"
	}
	return a.Name
}
