package main

import (
	"strings"
	"testing"

	"advsweep/attack"

	"github.com/spf13/cobra"
)

// margins is an attack that a program brings itself, with defaults that are not those of the flags.
type margins struct{ attack.Method }

func (margins) Facts() attack.Facts {
	a := attack.MIFGSM(3)
	a.Name, a.Kind, a.Loss, a.Decay, a.Restarts = "margins", "margins", attack.Margin, 0.25, 2
	return attack.Facts{Default: a, Options: []string{"steps", "restarts", "loss", "decay"}}
}

// TestOwnDefaults: what the command line does not give is the attack's own default, not the flag's,
// and the help says so.
func TestOwnDefaults(t *testing.T) {
	defer func(methods []attack.Method, names, single []string, most int) {
		attack.Methods, attack.Names, attack.Single, attack.MostSteps = methods, names, single, most
	}(attack.Methods, attack.Names, attack.Single, attack.MostSteps)
	before := [...]string{ownLosses(), defaultLosses()}
	if before != [...]string{"eot, apgd, alma and alma-t", ""} {
		t.Errorf("losses of their own %q, other defaults %q, want eot, apgd, alma, alma-t and none", before[0], before[1])
	}
	attack.Register(margins{})
	if got := [...]string{ownLosses(), defaultLosses()}; got != [...]string{"eot, apgd, alma and alma-t", "; margins cw"} {
		t.Errorf("losses of their own %q, other defaults %q, want eot, apgd, alma, alma-t and margins cw", got[0], got[1])
	}
	for _, c := range []struct {
		args     string
		loss     attack.Loss
		decay    float64
		restarts int
	}{
		{"", attack.Margin, 0.25, 2},
		{"--loss ce --decay 1 --restarts 1", attack.CrossEntropy, 1, 1},
		{"--loss dlr --decay 0 --restarts 5", attack.DLR, 0, 5},
	} {
		cmd, f := &cobra.Command{}, &attackFlags{}
		f.add(cmd, "fgsm", "")
		if err := cmd.ParseFlags(append([]string{"--attack", "margins,mifgsm"}, strings.Fields(c.args)...)); err != nil {
			t.Fatal(err)
		}
		s, err := f.parse(cmd, ballFlags{eps: "0.1", bounds: "none"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.Attacks[0]; a.Loss != c.loss || a.Decay != c.decay || a.Restarts != c.restarts {
			t.Errorf("%q: %+v, want loss %v, decay %v, %d restarts", c.args, a, c.loss, c.decay, c.restarts)
		}
		if a := s.Attacks[1]; c.args == "" && (a.Loss != attack.CrossEntropy || a.Decay != 1) {
			t.Errorf("mifgsm without flags: %+v, want ce and decay 1", a)
		}
	}
}
