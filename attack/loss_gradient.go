package attack

import (
	"fmt"
	"math"
	"slices"

	"advsweep/internal/portable"
)

// CrossEntropyGradient writes q [O] for the logits z [O] of one row with label y:
//
//	q_j = exp(z_j) / Σ_{k≠y} exp(z_k) for j ≠ y,  q_y = -1.
//
// It is ∂L/∂z = softmax(z) - onehot(y) divided by 1 - p_y. That factor is positive and so
// leaves every sign as it is, but it is never formed: in float32 p_y - 1 is exactly 0 once the
// margin passes 25·ln 2 = 17.3, and wrong in its leading digits long before, and then
// the signs of ∂L/∂x are those of rounding errors. The sum of q is 0.
func CrossEntropyGradient[T float32 | float64](q, z []T, y int) {
	top := math.Inf(-1)
	for j, v := range z {
		if j != y {
			top = max(top, float64(v))
		}
	}
	sum := 0.0
	for j, v := range z {
		if j != y {
			sum += portable.Exp(float64(v) - top)
		}
	}
	for j, v := range z {
		q[j] = T(portable.Exp(float64(v)-top) / sum)
	}
	q[y] = -1
}

// LossGradient writes to q [O] a positive multiple of the gradient of loss at the logits z [O]
// of one row with label y. target is the class to come near to, or -1. See Loss. A logit
// that is not finite makes an element of q NaN; for CrossEntropy only as far as it enters the
// formula. The function returns an error for a loss that it does not know.
func LossGradient[T float32 | float64](loss Loss, q, z []T, y, target int) error {
	switch loss {
	case CrossEntropy:
		crossEntropyGradient(q, z, y, target)
	case Margin:
		if zeroUnlessFinite(q, z) {
			marginGradient(q, z, y, target)
		}
	case DLR:
		if zeroUnlessFinite(q, z) {
			dlrGradient(q, z, y, target)
		}
	default:
		return fmt.Errorf("attack: no gradient of %v", loss)
	}
	return nil
}

// zeroUnlessFinite clears q. It makes q[0] NaN and returns false if an element of z is not finite.
func zeroUnlessFinite[T float32 | float64](q, z []T) bool {
	clear(q)
	for _, v := range z {
		if v-v != 0 {
			q[0] = T(math.NaN())
			return false
		}
	}
	return true
}

// crossEntropyGradient is CrossEntropyGradient of the label. With a target it is minus that
// of the target, which leads towards it.
func crossEntropyGradient[T float32 | float64](q, z []T, y, target int) {
	if target < 0 {
		CrossEntropyGradient(q, z, y)
		return
	}
	CrossEntropyGradient(q, z, target)
	for j, v := range q {
		q[j] = -v
	}
}

// marginGradient writes 1 and -1 to q at the two classes of the margin. q is 0 before.
func marginGradient[T float32 | float64](q, z []T, y, target int) {
	if target < 0 {
		q[largestBut(z, y)], q[y] = 1, -1
	} else {
		q[largestBut(z, target)], q[target] = -1, 1
	}
}

// dlrGradient writes the gradient of the loss -n/d times d², divided by the larger of |n| and d:
//
//	q = (n·∂d - d·∂n)/max(|n|, d),
//
// which is neither too large nor too small for T. q is 0 before.
func dlrGradient[T float32 | float64](q, z []T, y, target int) {
	scale := 1.0
	if float64(slices.Max(z)) > 0x1p1000 || float64(slices.Min(z)) < -0x1p1000 {
		scale = 0.125 // so that no difference overflows
	}
	at := func(j int) float64 { return float64(scale * float64(z[j])) }
	p1 := largestBut(z)
	p2 := largestBut(z, p1)
	p3 := largestBut(z, p1, p2)
	low, to := p3, target // d is z_p1 less the mean of z_p3 and z_low
	if target < 0 {
		to = largestBut(z, y)
	} else {
		low = largestBut(z, p1, p2, p3)
	}
	n, d := at(y)-at(to), at(p1)-(float64(at(p3)/2)+float64(at(low)/2))
	if d == 0 {
		n, d = 0, 1
	}
	by := max(math.Abs(n), d)
	n, d = n/by, d/by
	terms := [...]struct {
		j int
		v float64
	}{{p1, n}, {p3, -n / 2}, {low, -n / 2}, {y, -d}, {to, d}}
	// Terms may be of one class. Their sum rounds once.
	for _, a := range terms {
		sum := 0.0
		for _, b := range terms {
			if b.j == a.j {
				sum += b.v
			}
		}
		q[a.j] = T(sum)
	}
}

// largestBut returns the place of the first largest element of z, leaving out the places in but.
func largestBut[T float32 | float64](z []T, but ...int) int {
	best := -1
	for j, v := range z {
		if (best < 0 || v > z[best]) && !slices.Contains(but, j) {
			best = j
		}
	}
	return best
}
