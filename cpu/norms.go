package cpu

import "math"

// Sums over the pixels of a row are taken in float64 in one order, which no block, vector width or thread changes: 32
// partial sums, of the pixels equal modulo 32 by their index, and then s_k ← s_k + s_{k+h} for h = 16, 8, 4, 2, 1.
// That is also the order of one warp of a GPU.
const lanes = 32

// sum returns Σ f(k) for k < n.
func sum(n int, f func(k int) float64) float64 {
	var s [lanes]float64
	for k := range n {
		s[k%lanes] += f(k)
	}
	for h := lanes / 2; h > 0; h /= 2 {
		for k := range h {
			s[k] += s[k+h]
		}
	}
	return s[0]
}

// norm2 returns √Σf(k)².
func norm2(n int, f func(k int) float64) float64 {
	return math.Sqrt(sum(n, func(k int) float64 { v := f(k); return float64(v * v) }))
}

// distance returns ‖x - x0‖₂.
func distance[T Float](x, x0 []T) float64 {
	return norm2(len(x), func(k int) float64 { return float64(x[k]) - float64(x0[k]) })
}

// normalize returns 1/‖g‖₂, or 0 if g is 0.
func normalize[T Float](g []T) float64 {
	n := norm2(len(g), func(k int) float64 { return float64(g[k]) })
	if n == 0 {
		return 0
	}
	return 1 / n
}

// accumulate is m ← decay·m + g/mean|g|, without the last term if g is 0.
func accumulate[T Float](m, g []T, decay float64) {
	mean := sum(len(g), func(k int) float64 { return math.Abs(float64(g[k])) }) / float64(len(g))
	for k, v := range g {
		if mean == 0 {
			m[k] = T(decay * float64(m[k]))
			continue
		}
		m[k] = T(float64(decay*float64(m[k])) + float64(v)/mean)
	}
}

// inspect reports whether g is zero in every pixel, and whether every element is finite.
func inspect[T Float](g []T) (zero, finite bool) {
	zero = true
	var check T
	for _, v := range g {
		zero = zero && v == 0
		check += v * 0 // NaN from then on if v is NaN or infinite
	}
	return zero, check == 0
}

// signs is g ← sign(g), sign(0) = 0.
func signs[T Float](g []T) {
	for k, v := range g {
		switch {
		case v > 0:
			g[k] = 1
		case v < 0:
			g[k] = -1
		default:
			g[k] = 0
		}
	}
}
