package certify

import "math"

// A piecewise is a function of straight pieces: slope[k] below kinks[k], the last one above all
// kinks. It is value at kinks[0]. There are one or two kinks.
type piecewise struct {
	kinks, slope []float64
	value        float64
}

// at returns the function at x, within 8 ulps of the magnitudes that it adds.
func (f piecewise) at(x float64) float64 {
	k0 := f.kinks[0]
	if x <= k0 {
		return f.value + float64(f.slope[0]*(x-k0))
	}
	y, from := f.value, k0
	for k := 1; k < len(f.kinks) && x > from; k++ {
		to := min(x, f.kinks[k])
		y += float64(f.slope[k] * (to - from))
		from = to
		if x <= f.kinks[k] {
			return y
		}
	}
	return y + float64(f.slope[len(f.slope)-1]*(x-from))
}

// piece returns the one piece that the function has from l to u, or -1.
func (f piecewise) piece(l, u float64) int {
	for k := range f.slope {
		if (k == 0 || l >= f.kinks[k-1]) && (k == len(f.kinks) || u <= f.kinks[k]) {
			return k
		}
	}
	return -1
}

// straight says so of the pieces x and constants, whose numbers are exact.
func (f piecewise) straight(l, u float64) (w, b float64, ok bool) {
	k := f.piece(l, u)
	if k < 0 {
		return 0, 0, false
	}
	from, value := f.kinks[max(0, k-1)], f.value
	if k == 2 {
		value = f.at(f.kinks[1])
		from = f.kinks[1]
		if f.slope[1] == 1 && f.value == f.kinks[0] {
			value = from
		}
	}
	switch {
	case f.slope[k] == 0:
		return 0, value, true
	case f.slope[k] == 1 && value == from:
		return 1, 0, true
	}
	return f.slope[k], value, false
}

// points calls visit at the ends and at the kinks between: a straight line is nearest to the
// function at one of these.
func (f piecewise) points(l, u float64, visit func(x, y float64)) {
	visit(l, f.at(l))
	for _, k := range f.kinks {
		if l < k && k < u {
			visit(k, f.at(k))
		}
	}
	visit(u, f.at(u))
}

func (f piecewise) span(l, u float64) (lo, hi float64) { return f.heights(l, u, 0, 0) }

func (f piecewise) heights(l, u float64, lower, upper float32) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	largest := math.Abs(f.value) + math.Abs(f.kinks[0])
	f.points(l, u, func(x, y float64) {
		a, b := float64(float64(lower)*x), float64(float64(upper)*x)
		off := float64(16*unit64) * (largest + math.Abs(x) + math.Abs(y) + math.Abs(a) + math.Abs(b))
		if y == 0 && f.value == 0 { // exact, as a ReLU's 0
			off = float64(16*unit64) * (math.Abs(a) + math.Abs(b))
		}
		lo, hi = min(lo, y-a-off), max(hi, y-b+off)
	})
	return lo, hi
}

func (f piecewise) slopes(l, u float64) (lower, upper float32) {
	if k := f.piece(l, u); k >= 0 {
		return float32(f.slope[k]), float32(f.slope[k])
	}
	chord := float32((f.at(u) - f.at(l)) / (u - l))
	first, last := f.pieceAt(l), f.pieceAt(u)
	if first+1 == last {
		k := f.kinks[first]
		nearer := float32(f.slope[first])
		if u-k > k-l {
			nearer = float32(f.slope[last])
		}
		if f.slope[first] < f.slope[last] { // it bends upward
			return nearer, chord
		}
		return chord, nearer
	}
	// Up between two flat pieces: each line goes through one of the kinks.
	p, q := f.kinks[0], f.kinks[1]
	rise := f.at(q) - f.at(p)
	if u-p > p-l {
		lower = float32(rise / (u - p))
	}
	if q-l > u-q {
		upper = float32(rise / (q - l))
	}
	return lower, upper
}

// pieceAt returns the piece at x.
func (f piecewise) pieceAt(x float64) int {
	for k, at := range f.kinks {
		if x < at {
			return k
		}
	}
	return len(f.kinks)
}

func (f piecewise) pivot(l, u float64) (x, y float64, least, most float32, ok bool) {
	first, last := f.pieceAt(l), f.pieceAt(u)
	if first+1 != last || f.slope[first] >= f.slope[last] || f.piece(l, u) >= 0 {
		return 0, 0, 0, 0, false
	}
	least, most = float32(f.slope[first]), float32(f.slope[last])
	if float64(least) < f.slope[first] {
		least = math.Nextafter32(least, float32(math.Inf(1)))
	}
	if float64(most) > f.slope[last] {
		most = math.Nextafter32(most, float32(math.Inf(-1)))
	}
	k := f.kinks[first]
	return k, f.at(k) - float64(16*unit64*math.Abs(f.at(k))), least, most, least < most
}
