package attack

import (
	"math"

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
