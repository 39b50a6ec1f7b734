package cpu

// signOf writes sign(g), with sign(0) = 0, to dst. It reports whether that is zero in every pixel,
// and whether every element of g is finite.
func signOf[T Float](dst []int8, g []T) (zero, finite bool) {
	some := 0
	var check T
	for i, v := range g {
		// A processor cannot predict these branches, so they are written to compile without any.
		var plus, minus int
		if v > 0 {
			plus = 1
		}
		if v < 0 {
			minus = 1
		}
		dst[i] = int8(plus - minus)
		some |= plus | minus
		check += T(v * 0) // NaN from then on if v is NaN or infinite
	}
	return some == 0, check == 0
}

// signStep writes x ← from + size·d, where each d is -1, 0 or 1.
func signStep[T Float](x, from []T, d []int8, size T) {
	for i, s := range d {
		x[i] = from[i] + T(size*T(s))
	}
}

// project clips x to the ball [x0 - eps, x0 + eps] and to [lo, hi].
func project[T Float](x, x0 []T, eps, lo, hi T) {
	for i, v := range x0 {
		x[i] = min(max(x[i], v-eps, lo), v+eps, hi)
	}
}
