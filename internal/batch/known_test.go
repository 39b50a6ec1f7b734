package batch

import (
	"strings"
	"testing"

	"advsweep/attack"
)

// What package attack may know one day and no backend computes yet is refused by name.
func TestKnown(t *testing.T) {
	for want, s := range map[string]attack.Step{
		"loss(3)":      {Loss: attack.DLR + 1},
		"loss(-1)":     {Loss: -1},
		"norm(4)":      {Norm: attack.L0 + 1},
		"norm(-1)":     {Norm: -1},
		"l1":           {Norm: attack.L1}, // see attack.Norm.Above
		"l0":           {Norm: attack.L0},
		"direction 4":  {Direction: attack.Along + 1},
		"direction -1": {Direction: -1},
	} {
		if err := Known(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %s", s, err, want)
		}
	}
	for _, d := range []attack.Direction{attack.Gradient, attack.RandomSign, attack.Uniform, attack.Along} {
		for _, n := range []attack.Norm{attack.Linf, attack.L2} {
			for _, l := range []attack.Loss{attack.CrossEntropy, attack.Margin, attack.DLR} {
				if err := Known(attack.Step{Direction: d, Norm: n, Loss: l}); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
