package attack

import (
	"cmp"
	"math"
	"slices"
)

// What geometry.toPlane does: it writes to d [I] the shortest way from u [I] along which Σ w_i·d_i
// becomes rise and which stays within bounds. Where no way in the bounds does, it goes to the corner
// that comes nearest to it. w is [I].

// roomOf is how far pixel i of u may go the way along which slope·d becomes rise.
func roomOf(u, slope, rise float64, bounds Bounds) float64 {
	switch up := (slope > 0) == (rise > 0); {
	case bounds.None():
		return math.Inf(1)
	case up:
		return max(bounds.Hi-u, 0)
	default:
		return max(u-bounds.Lo, 0)
	}
}

// inProportion is toPlane of a norm whose shortest way takes each pixel along its slope until it is
// at the bounds: min(λ·steep(w_i), room_i) far, steep of a slope that is not 0. What λ is follows
// from the sum, which is concave and of straight pieces in λ, by Newton's steps from below: each
// takes in the pixels that the last one brought to the bounds, and none comes back.
func inProportion(steep func(slope float64) float64) func(d, u, w []float64, rise float64, bounds Bounds) {
	type pixel struct {
		i                  int
		steep, room        float64
		atBounds, perSteep float64 // what it adds to the sum at the bounds, and for λ = 1
	}
	return func(d, u, w []float64, rise float64, bounds Bounds) {
		clear(d)
		if rise == 0 {
			return
		}
		pixels := make([]pixel, 0, len(w))
		for i, slope := range w {
			if slope != 0 {
				p := pixel{i: i, steep: steep(slope), room: roomOf(u[i], slope, rise, bounds)}
				p.atBounds, p.perSteep = math.Abs(slope)*p.room, math.Abs(slope)*p.steep
				pixels = append(pixels, p)
			}
		}
		lambda, before := 0.0, -1
		for {
			rate, have, full := 0.0, 0.0, 0
			for k := range pixels {
				if p := &pixels[k]; before >= 0 && float64(lambda*p.steep) >= p.room {
					have += p.atBounds
					full++
				} else {
					rate += p.perSteep
				}
			}
			if full == before {
				break
			}
			before = full
			if rate == 0 {
				lambda = math.Inf(1)
				break
			}
			lambda = max(lambda, (math.Abs(rise)-have)/rate)
		}
		for _, p := range pixels {
			d[p.i] = min(float64(lambda*p.steep), p.room)
			if (w[p.i] > 0) != (rise > 0) {
				d[p.i] = -d[p.i]
			}
		}
	}
}

// steepestFirst is toPlane of a norm whose shortest way takes one pixel to the bounds after
// another, by falling gain of its |slope| and its room, until the plane is reached. Of equal gains
// the steeper goes first, then the first one.
func steepestFirst(gain func(slope, room float64) float64) func(d, u, w []float64, rise float64, bounds Bounds) {
	return func(d, u, w []float64, rise float64, bounds Bounds) {
		clear(d)
		if rise == 0 {
			return
		}
		type pixel struct {
			i                 int
			slope, room, gain float64
		}
		var order []pixel
		for i, slope := range w {
			if room := roomOf(u[i], slope, rise, bounds); slope != 0 && room > 0 {
				order = append(order, pixel{i, math.Abs(slope), room, gain(math.Abs(slope), room)})
			}
		}
		slices.SortFunc(order, func(a, b pixel) int {
			return cmp.Or(cmp.Compare(b.gain, a.gain), cmp.Compare(b.slope, a.slope), cmp.Compare(a.i, b.i))
		})
		rest := math.Abs(rise)
		for _, p := range order {
			far := min(rest/p.slope, p.room)
			if d[p.i] = far; (w[p.i] > 0) != (rise > 0) {
				d[p.i] = -far
			}
			if rest -= float64(far * p.slope); far < p.room || rest <= 0 {
				return
			}
		}
	}
}
