package cpu

import (
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
)

// lossGradientOf writes to q [O] a positive multiple of the gradient of loss at the logits z [O]
// of one row with label y. target is the class to come near to, or -1. See attack.Loss. A logit
// that is not finite makes an element of q NaN; for CrossEntropy only as far as it enters the
// formula. The function returns an error for a loss that it does not know.
func lossGradientOf[T Float](loss attack.Loss, q, z []T, y, target int) error {
	switch loss {
	case attack.CrossEntropy:
		crossEntropyGradient(q, z, y, target)
	case attack.Margin:
		if zeroUnlessFinite(q, z) {
			marginGradient(q, z, y, target)
		}
	case attack.DLR:
		if zeroUnlessFinite(q, z) {
			dlrGradient(q, z, y, target)
		}
	default:
		return fmt.Errorf("cpu: no gradient of %v", loss)
	}
	return nil
}

// zeroUnlessFinite clears q. It makes q[0] NaN and returns false if an element of z is not finite.
func zeroUnlessFinite[T Float](q, z []T) bool {
	clear(q)
	for _, v := range z {
		if v-v != 0 {
			q[0] = T(math.NaN())
			return false
		}
	}
	return true
}

// crossEntropyGradient is attack.CrossEntropyGradient of the label. With a target it is minus that
// of the target, which leads towards it.
func crossEntropyGradient[T Float](q, z []T, y, target int) {
	if target < 0 {
		attack.CrossEntropyGradient(q, z, y)
		return
	}
	attack.CrossEntropyGradient(q, z, target)
	for j, v := range q {
		q[j] = -v
	}
}

// marginGradient writes 1 and -1 to q at the two classes of the margin. q is 0 before.
func marginGradient[T Float](q, z []T, y, target int) {
	if target < 0 {
		q[largest(z, y)], q[y] = 1, -1
	} else {
		q[largest(z, target)], q[target] = -1, 1
	}
}

// dlrGradient writes the gradient of the loss -n/d times d², divided by the larger of |n| and d:
//
//	q = (n·∂d - d·∂n)/max(|n|, d),
//
// which is neither too large nor too small for T. q is 0 before.
func dlrGradient[T Float](q, z []T, y, target int) {
	scale := 1.0
	if float64(slices.Max(z)) > 0x1p1000 || float64(slices.Min(z)) < -0x1p1000 {
		scale = 0.125 // so that no difference overflows
	}
	at := func(j int) float64 { return float64(scale * float64(z[j])) }
	p1 := largest(z)
	p2 := largest(z, p1)
	p3 := largest(z, p1, p2)
	low, to := p3, target // d is z_p1 less the mean of z_p3 and z_low
	if target < 0 {
		to = largest(z, y)
	} else {
		low = largest(z, p1, p2, p3)
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

// largest returns the place of the first largest element of z, leaving out the places in but.
func largest[T Float](z []T, but ...int) int {
	best := -1
	for j, v := range z {
		if (best < 0 || v > z[best]) && !slices.Contains(but, j) {
			best = j
		}
	}
	return best
}
