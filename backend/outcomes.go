package backend

import (
	"advsweep/attack"

	"gorgonia.org/tensor"
)

// A Rounding asks Outcomes to move every x to one of the 256 levels n/255, inside the ball of Norm.
// With t = 1e-4,
//
//	Linf: n = rint(255·x) clamped to [ceil(255·(x0 - eps) - t), floor(255·(x0 + eps) + t)]
//	      and to [0, 255], or if that is empty rint(255·x0);
//	L2:   n = floor or ceil of 255·x, whichever is nearer to 255·x0 (the floor on a tie),
//	      or rint(255·x) where that is within t of it; in [0, 255].
type Rounding struct{ Norm attack.Norm }

// Outcomes are all that one look at the rows brings. What is judged of them is judged above the
// backends, once for all.
type Outcomes struct {
	// Logits is f(x) [rows, O] in the backend's precision, or nil if there are no rows.
	Logits *tensor.Dense
	// Zero [rows] tells whether the gradient of a Step since Begin was zero in every pixel.
	Zero []bool
	// Norms [rows] are those of x - x0.
	Norms []attack.Norms
	// Rounded [rows] is argmax f(x) once x is rounded, -1 where a logit is not finite; nil if
	// that was not asked for.
	Rounded []int32
}
