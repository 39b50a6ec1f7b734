package pipeline

import (
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
)

// A Text is a sweep as people write it, in flags or in a file. An empty Norm, Loss, Step or Target,
// and 0 Steps or Restarts, leave the defaults; see attack.Parse for what is in Attack.
type Text struct {
	Attack, Eps, Bounds      string
	Norm, Loss, Step, Target string
	Steps, Restarts          int
	Decay                    *float64 // of the momentum
	Seed                     uint64
}

// A FieldError is a mistake in one field of a Text: its message begins with the field's name, in
// lower case.
type FieldError struct{ err error }

func (e *FieldError) Error() string { return e.err.Error() }
func (e *FieldError) Unwrap() error { return e.err }

func fieldf(format string, args ...any) error { return &FieldError{fmt.Errorf(format, args...)} }

// Sweep reads t. Errors are *FieldError.
func (t Text) Sweep() (s Sweep, err error) {
	if s.Eps, err = attack.ParseEps(t.Eps); err != nil {
		return s, fieldf("eps: %w", err)
	}
	if s.Bounds, err = attack.ParseBounds(t.Bounds); err != nil {
		return s, fieldf("bounds: %w", err)
	}
	if t.Steps < 0 || t.Steps > attack.MostSteps {
		return s, fieldf("steps %d, want 1 to %d", t.Steps, attack.MostSteps)
	}
	o := attack.Options{Steps: t.Steps, Seed: t.Seed, Restarts: t.Restarts, Decay: -1}
	if t.Norm != "" {
		if o.Norm, err = attack.ParseNorm(t.Norm); err != nil {
			return s, fieldf("norm: %w", err)
		}
	}
	if t.Loss != "" {
		l, err := attack.ParseLoss(t.Loss)
		if err != nil {
			return s, fieldf("loss: %w", err)
		}
		o.Loss = &l
	}
	if t.Target != "" {
		if o.Target, err = attack.ParseTarget(t.Target); err != nil {
			return s, fieldf("target: %w", err)
		}
	}
	if t.Step != "" {
		if o.Step, err = attack.ParseSize(t.Step); err != nil {
			return s, fieldf("step: %w", err)
		}
	}
	if t.Restarts < 0 || t.Restarts > attack.MaxRestarts {
		return s, fieldf("restarts %d, want 1 to %d", t.Restarts, attack.MaxRestarts)
	}
	if t.Decay != nil {
		if o.Decay = *t.Decay; !(o.Decay >= 0) || math.IsInf(o.Decay, 0) {
			return s, fieldf("decay %v, want a finite number of at least 0", o.Decay)
		}
	}
	list, err := attack.ParseList(t.Attack, o)
	if err != nil {
		return s, fieldf("attack: %w", err)
	}
	s.Attacks, s.Implied = list.Attacks, list.Implied
	for _, a := range s.Attacks {
		if a.Norm != attack.Linf { // how long a step may be there depends on the images
			continue
		}
		if err := a.FitsRange(s.Bounds, 1); err != nil {
			field := "attack"
			if a.StepLength == o.Step {
				field = "step"
			}
			return s, fieldf("%s: %w", field, err)
		}
	}
	return s, measure(s.Attacks)
}

// measure gives worst the norm of the attacks that it is the worst of. It returns an error if they
// have not one norm: the same eps would then be two balls.
func measure(attacks []attack.Attack) error {
	first := slices.IndexFunc(attacks, func(a attack.Attack) bool { return !a.Composite() })
	at := slices.IndexFunc(attacks, func(a attack.Attack) bool { return a.Composite() })
	if first < 0 || at < 0 {
		return nil
	}
	for _, a := range attacks {
		if one := attacks[first]; !a.Composite() && a.Norm != one.Norm {
			return fieldf("attack: worst of %s in %s and %s in %s: give both one norm or leave worst out", one.Name, one.Norm, a.Name, a.Norm)
		}
	}
	attacks[at].Norm = attacks[first].Norm
	return nil
}
