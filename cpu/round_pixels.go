package cpu

import (
	"math"

	"advsweep/attack"
	"advsweep/internal/gemm"
)

// roundPixels writes x [I] to dst [I] with every pixel at one of the 256 levels v/255 of 8-bit
// pixels, inside the ball of eps around x0 [I] in norm. See backend.Rounding. dst may be x.
func roundPixels[T Float](vec *gemm.Vector[T], dst, x, x0 []T, eps float64, norm attack.Norm) {
	if norm == attack.Linf {
		vec.Levels(dst, x, x0, eps, nearLevel)
		return
	}
	dst, x0 = dst[:len(x)], x0[:len(x)]
	for k, v := range x {
		dst[k] = T(levelToward(float64(v), float64(x0[k]))) / 255 // as Load makes a pixel of a byte
	}
}

// nearLevel is how far from a level, in levels, a value may lie and still count as that level.
// float32 pixels err by 2e-5.
const nearLevel = 1e-4

// levelToward returns the level below or above x that is nearer to x0, the one below on a tie.
func levelToward(x, x0 float64) float64 {
	x, x0 = float64(255*x), float64(255*x0)
	n := math.RoundToEven(x)
	if math.Abs(x-n) > nearLevel {
		if n = math.Floor(x); math.Abs(n+1-x0) < math.Abs(n-x0) {
			n++
		}
	}
	return min(max(n, 0), 255)
}
