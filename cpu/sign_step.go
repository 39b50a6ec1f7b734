package cpu

// signOf writes sign(g) with sign(0) = 0 and reports whether g is zero in every pixel.
func signOf[T Float](dst []int8, g []T) (zero bool) {
	zero = true
	for i, v := range g {
		var s int8
		if v > 0 {
			s = 1
		}
		if v < 0 {
			s = -1
		}
		dst[i] = s
		if v != 0 { // NaN too is not zero
			zero = false
		}
	}
	return zero
}

// signStep writes x ← from + size·d, d of -1, 0, 1.
func signStep[T Float](x, from []T, d []int8, size T) {
	for i, s := range d {
		x[i] = from[i] + size*T(s)
	}
}

// project keeps x in the ball [x0 - eps, x0 + eps] and in [lo, hi].
func project[T Float](x, x0 []T, eps, lo, hi T) {
	for i, v := range x0 {
		x[i] = min(max(x[i], v-eps, lo), v+eps, hi)
	}
}
