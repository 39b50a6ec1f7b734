package cpu

import (
	"math"

	"advsweep/attack"
	"advsweep/internal/gemm"
)

// Sums over the pixels of a row are taken in float64 in one order. No block, vector width or thread
// changes it, and one warp of a GPU has the same. There are 32 partial sums (lanes). Sum k adds, in
// rising order, the pixels whose index is k modulo 32. Then s_k ← s_k + s_{k+h} for h = 16, 8, 4, 2
// and 1. A product is rounded before it is added.
const lanes = 32

// total adds the partial sums up. It overwrites them.
func total(s *[lanes]float64) float64 {
	for h := lanes / 2; h > 0; h /= 2 {
		for k := range h {
			s[k] += s[k+h]
		}
	}
	return s[0]
}

// norm2 returns ‖g‖₂.
func norm2[T Float](g []T) float64 {
	var s [lanes]float64
	for len(g) >= lanes {
		for k, v := range (*[lanes]T)(g) {
			s[k] += float64(float64(v) * float64(v))
		}
		g = g[lanes:]
	}
	for k, v := range g {
		s[k] += float64(float64(v) * float64(v))
	}
	return math.Sqrt(total(&s))
}

// distance returns ‖x - x0‖₂.
func distance[T Float](x, x0 []T) float64 {
	var s [lanes]float64
	for len(x) >= lanes {
		y := (*[lanes]T)(x0)
		for k, v := range (*[lanes]T)(x) {
			d := float64(v) - float64(y[k])
			s[k] += float64(d * d)
		}
		x, x0 = x[lanes:], x0[lanes:]
	}
	for k, v := range x {
		d := float64(v) - float64(x0[k])
		s[k] += float64(d * d)
	}
	return math.Sqrt(total(&s))
}

// meanAbs returns the mean of |g|.
func meanAbs[T Float](g []T) float64 {
	var s [lanes]float64
	n := float64(len(g))
	for len(g) >= lanes {
		for k, v := range (*[lanes]T)(g) {
			s[k] += math.Abs(float64(v))
		}
		g = g[lanes:]
	}
	for k, v := range g {
		s[k] += math.Abs(float64(v))
	}
	return total(&s) / n
}

// compare returns the norms of x - x0, and ‖x - x0‖₂ as it is before it is rounded.
func compare[T Float](vec *gemm.Vector[T], x, x0 []T) (norms attack.Norms, l2 float64) {
	s, top, differ := vec.Differences(x, x0)
	l2 = math.Sqrt(total(&s))
	return attack.Norms{Linf: float32(top), L2: float32(l2), L0: int32(differ)}, l2
}
