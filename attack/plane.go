package attack

import "math"

// What geometry.toPlane does: it writes to d [I] the shortest way from u [I] along which Σ w_i·d_i
// becomes rise and which stays within bounds. Where no way in the bounds does, it goes to the corner
// that comes nearest to it. w is [I].

// A planeScratch is the memory of toPlane.
type planeScratch struct {
	room  []float64 // [I], how far each pixel may go
	first []steepPixel
}

// minus is the sign bit.
const minus = 1 << 63

// A heading is which way pixels go so that slope·d becomes rise, and how far they may. It has no
// branches: signs of slopes are random, and a processor would guess half of them wrong.
type heading struct {
	rise uint64 // the sign bit of rise
	// ends are where a pixel goes that goes up, and one that goes down.
	ends [2]float64
}

func headingOf(rise float64, bounds Bounds) heading {
	lo, hi := bounds.Ends()
	return heading{math.Float64bits(rise) & minus, [2]float64{hi, lo}}
}

// down is the sign bit, set if a pixel with a slope goes down.
func (h *heading) down(slope float64) uint64 { return math.Float64bits(slope)&minus ^ h.rise }

// room is how far a pixel at u may go, down as of heading.down. It is at least 0.
func (h *heading) room(u float64, down uint64) float64 {
	room := math.Float64bits(h.ends[down>>63]-u) ^ down
	return math.Float64frombits(room &^ uint64(int64(room)>>63))
}

// flip is v, or -v if the sign bit is set.
func flip(v float64, sign uint64) float64 { return math.Float64frombits(math.Float64bits(v) ^ sign) }

// inProportion is toPlane of a norm whose shortest way takes each pixel along its slope until it is
// at the bounds: min(λ·steep, room_i) far, where steep is 1, or |w_i| if bySlope. A pixel without a
// slope has no room. What λ is follows from the sum, which is concave and of straight pieces in λ,
// by Newton's steps from below: each takes in the pixels that the last one brought to the bounds,
// and none comes back. At the first step none is at the bounds, not even one without room.
//
// Sums are in the order of pixels.
func inProportion(bySlope bool) func(m *scratch, d, u, w []float64, rise float64, bounds Bounds) {
	return func(m *scratch, d, u, w []float64, rise float64, bounds Bounds) {
		if rise == 0 {
			clear(d)
			return
		}
		m.plane.room = resize(m.plane.room, len(w))
		to, room, rate := headingOf(rise, bounds), m.plane.room, 0.0
		d, u = d[:len(w)], u[:len(w)]
		for i, slope := range w {
			perSteep := math.Abs(slope)
			if bySlope {
				perSteep = float64(perSteep * perSteep)
			}
			rate += perSteep
			if room[i] = to.room(u[i], to.down(slope)); slope == 0 {
				room[i] = 0
			}
		}
		lambda, have, before := 0.0, 0.0, 0
		for {
			if rate == 0 {
				lambda = math.Inf(1)
				break
			}
			lambda = max(lambda, (math.Abs(rise)-have)/rate)
			full := 0
			if have, rate, full = sums(w, room, lambda, bySlope); full == before {
				break
			}
			before = full
		}
		for i, slope := range w {
			far := lambda
			if bySlope {
				far = float64(lambda * math.Abs(slope))
			}
			if d[i] = flip(min(far, room[i]), to.down(slope)); slope == 0 {
				d[i] = 0
			}
		}
	}
}

// sums returns what the pixels at the bounds add to the sum, what the others do for λ = 1, and how
// many are at the bounds. w and room are [I]. Each pixel adds to both sums, to one of them 0, which
// changes no bit and needs no branch.
func sums(w, room []float64, lambda float64, bySlope bool) (have, rate float64, full int) {
	room = room[:len(w)]
	for i, slope := range w {
		size := math.Abs(slope)
		far, perSteep := lambda, size
		if bySlope {
			far, perSteep = float64(lambda*size), float64(size*size)
		}
		at := uint64(0)
		if far >= room[i] {
			at = 1
		}
		have += math.Float64frombits(math.Float64bits(float64(size*room[i])) & -at)
		rate += math.Float64frombits(math.Float64bits(perSteep) & (at - 1))
		full += int(at)
	}
	return have, rate, full
}

// A steepPixel is one of those that steepestFirst takes to the bounds.
type steepPixel struct {
	gain, slope, room float64 // slope is |w_i|
	i                 int
}

// before reports whether p goes before q.
func (p *steepPixel) before(q *steepPixel) bool {
	switch {
	case p.gain != q.gain:
		return p.gain > q.gain
	case p.slope != q.slope:
		return p.slope > q.slope
	}
	return p.i < q.i
}

// steepestFirst is toPlane of a norm whose shortest way takes one pixel to the bounds after
// another, by falling gain of its |slope| and its room, until the plane is reached. Of equal gains
// the steeper goes first, then the first one.
//
// Most pixels are never taken, so that they are in a heap rather than sorted.
func steepestFirst(gain func(slope, room float64) float64) func(m *scratch, d, u, w []float64, rise float64, bounds Bounds) {
	return func(m *scratch, d, u, w []float64, rise float64, bounds Bounds) {
		clear(d)
		if rise == 0 {
			return
		}
		to, heap := headingOf(rise, bounds), m.plane.first[:0]
		for i, slope := range w {
			if room := to.room(u[i], to.down(slope)); slope != 0 && room > 0 {
				size := math.Abs(slope)
				heap = append(heap, steepPixel{gain(size, room), size, room, i})
			}
		}
		m.plane.first = heap
		for at := len(heap)/2 - 1; at >= 0; at-- {
			sink(heap, at)
		}
		for rest := math.Abs(rise); len(heap) > 0; {
			p := heap[0]
			far := min(rest/p.slope, p.room)
			d[p.i] = flip(far, to.down(w[p.i]))
			if rest -= float64(far * p.slope); far < p.room || rest <= 0 {
				return
			}
			last := len(heap) - 1
			heap[0] = heap[last]
			heap = heap[:last]
			sink(heap, 0)
		}
	}
}

// sink moves pixel at down the heap, below which the heap is in order, until it is before both of
// those below it.
func sink(heap []steepPixel, at int) {
	for {
		top := 2*at + 1
		if top >= len(heap) {
			return
		}
		if top+1 < len(heap) && heap[top+1].before(&heap[top]) {
			top++
		}
		if !heap[top].before(&heap[at]) {
			return
		}
		heap[at], heap[top] = heap[top], heap[at]
		at = top
	}
}
