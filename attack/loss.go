package attack

import (
	"fmt"
	"math"
	"slices"

	"advsweep/internal/portable"
	"advsweep/internal/words"
)

// A Loss is what a Gradient step ascends: at the logits z of a row with label y away from y or,
// with a target t, toward t. To add one, name it here, add its row to losses, and its gradient to
// the tables of cpu and gpu and to internal/ref: until then each of these has an error for it.
type Loss int

const (
	// CrossEntropy is -log softmax(z)_y, with a target t: log softmax(z)_t.
	CrossEntropy Loss = iota
	// Margin is max_{j≠y} z_j - z_y, with a target t: z_t - max_{j≠t} z_j. Of equal logits the
	// first is the largest.
	//
	// Carlini and Wagner 2017, arXiv:1608.04644, section IV.A, f6 without its cut.
	Margin
	// DLR is the difference of logits ratio -(z_y - max_{j≠y} z_j)/(z_π1 - z_π3), π the classes by
	// falling logit, which does not depend on the scale of the logits; with a target t: -(z_y -
	// z_t)/(z_π1 - (z_π3 + z_π4)/2). Where the denominator is 0 the gradient is that of minus the
	// numerator; equal logits are sorted by class.
	//
	// Croce and Hein 2020, arXiv:2003.01690, section 4.
	DLR
)

// losses are what is known of each Loss, by its number.
var losses = []struct {
	name, about   string
	title         string // where it stands alone
	least, aiming int    // classes that it needs, without and with a target
	// value is the loss at logits z [O] of a row with label y, and target t or -1.
	value func(z []float64, y, t int) float64
}{
	CrossEntropy: {"ce", "cross-entropy", "cross-entropy", 2, 2, crossEntropy},
	Margin:       {"cw", "margin of logits", "margin (cw)", 2, 2, margin},
	DLR:          {"dlr", "ratio of differences", "difference of logits ratio (dlr)", 3, 4, dlr},
}

// known reports whether l has a row in losses.
func (l Loss) known() bool { return l >= 0 && int(l) < len(losses) }

func (l Loss) String() string {
	if !l.known() {
		return name("loss", int(l))
	}
	return losses[l].name
}

// Title names l where it stands alone: "cross-entropy", "margin (cw)".
func (l Loss) Title() string {
	if !l.known() {
		return l.String()
	}
	return losses[l].title
}

// LossNames lists the losses for a person: "ce (cross-entropy), cw (margin of logits) or dlr (ratio
// of differences)".
func LossNames() string {
	var all []string
	for _, l := range losses {
		all = append(all, l.name+" ("+l.about+")")
	}
	return words.Or(all)
}

// ParseLoss reads the name of a loss: "ce", "cw" or "dlr".
func ParseLoss(s string) (Loss, error) {
	var all []string
	for i, l := range losses {
		if s == l.name {
			return Loss(i), nil
		}
		all = append(all, l.name)
	}
	return 0, fmt.Errorf("attack: loss %q, want %s", s, words.Or(all))
}

// MinClasses is how many classes the loss needs; more than there can be of a loss that is not
// known.
func (l Loss) MinClasses(targeted bool) int {
	switch {
	case !l.known():
		return math.MaxInt
	case targeted:
		return losses[l].aiming
	}
	return losses[l].least
}

// Value returns the loss of logits z [O] with a label or, if target is not negative, of coming near
// to target: what an attack makes larger. It returns an error for a loss that is not known.
func (l Loss) Value(z []float64, label, target int) (float64, error) {
	if !l.known() {
		return 0, fmt.Errorf("attack: unknown loss %d", int(l))
	}
	return losses[l].value(z, label, target), nil
}

func crossEntropy(z []float64, label, target int) float64 {
	sign, y := 1.0, label
	if target >= 0 {
		sign, y = -1, target
	}
	top := slices.Max(z)
	sum := 0.0
	for _, v := range z {
		sum += portable.Exp(v - top)
	}
	return sign * (portable.Log(sum) + top - z[y])
}

func margin(z []float64, label, target int) float64 {
	if target < 0 {
		return largest(z, label) - z[label]
	}
	return z[target] - largest(z, target)
}

func dlr(z []float64, label, target int) float64 {
	up, down := dlrParts(z, label, target)
	return up / down
}

// dlrParts are the numerator and the denominator of DLR, the minus in the numerator; a denominator
// of 0 is 1.
func dlrParts(z []float64, label, target int) (up, down float64) {
	sorted := slices.Clone(z)
	slices.Sort(sorted)
	slices.Reverse(sorted)
	if target < 0 {
		up, down = largest(z, label)-z[label], sorted[0]-sorted[2]
	} else {
		up, down = z[target]-z[label], sorted[0]-float64((sorted[2]+sorted[3])/2)
	}
	if down == 0 {
		down = 1
	}
	return up, down
}

// largest is the largest of z but that of class y.
func largest(z []float64, y int) float64 {
	top := math.Inf(-1)
	for j, v := range z {
		if j != y {
			top = max(top, v)
		}
	}
	return top
}
