package attack

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// MALT is Auto-PGD with the targeted DLR loss as APGDTargeted has it, towards the classes whose
// planes are nearest in the clean image were the model linear there: by (z_y - z_c) over the norm
// of its gradient, dual to the attack's. Where there are many classes their logits alone say less.
//
// Melamed, Yehudai, Shamir 2024, arXiv:2407.02240, algorithm 1.
func MALT(k, targets int, seed uint64) Attack {
	a := APGDTargeted(k, targets, seed)
	a.Name, a.Kind, a.Target = "malt", "malt", ByDistance
	return a
}

type malt struct{ apgdTargeted }

func (malt) Facts() Facts {
	f := apgdTargeted{}.Facts()
	f.Default = MALT(100, 9, 0)
	f.About = "apgd-t towards the classes whose planes are nearest in the clean image, the nearest first"
	f.Source = "Melamed et al. 2024, arXiv:2407.02240"
	return f
}

func (malt) Label(a Attack) string { return fmt.Sprintf("MALT, k = %d", a.Steps) }

// Cost is that of apgd-t, and a gradient for each class to choose targets by.
func (malt) Cost(a Attack) Cost {
	c := apgdTargeted{}.Cost(a)
	c.Image += 2 * mostRivals
	return c
}

// mostByDistance is how many classes are put in order by ByDistance: those with the largest logits,
// as in the paper.
const mostByDistance = 100

// Rivals returns the classes but label whose planes ByDistance looks at, given the logits of the
// clean image, the largest first.
func Rivals(label int, logits []float64) []int {
	all := byLogit(label, logits)
	return all[:min(len(all), mostByDistance)]
}

// Nearer returns rivals, some of Rivals, with the nearest plane first, of equal ones in their
// order. size [rivals] is the norm of the gradient of z_rival - z_label with respect to the
// pixels, dual to that of the attack. A plane without a slope is as far as can be.
func Nearer(label int, logits []float64, rivals []int, size []float64) []int {
	away := make(map[int]float64, len(rivals))
	for k, c := range rivals {
		if away[c] = math.Inf(1); size[k] > 0 {
			away[c] = (logits[label] - logits[c]) / size[k]
		}
	}
	order := slices.Clone(rivals)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(away[a], away[b]) })
	return order
}
