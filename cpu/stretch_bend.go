package cpu

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"advsweep/internal/lower"
)

// A bent is a carrier of a continuous function of one number that is straight between its kinks.
//
// With z(t) the chord of what it takes and h(t) that of what it gives, t in [0, 1], the deviation
// is f(z(t) + d) - h(t) for some d between those of the unit. That is straight between lines
// z(t) + d = kink. So it is largest and smallest at a corner of the rectangle of t and d, or where
// such a line meets an edge of it.
type bent struct {
	value applied
	shape
}

func (*bent) pack() {}

func (a *bent) carry(m *carrying, to *band, in []*band, c *cut) {
	x := in[0]
	a.value(&m.memory[0], c.points, to.z, to.ld, [][]float64{x.z}, []int{x.ld})
	for s, e := range c.ends {
		z0, z1, h0, h1 := x.point(e[0]), x.point(e[1]), to.point(e[0]), to.point(e[1])
		centre, radius := x.deviation(s)
		toCentre, toRadius := to.deviation(s)
		some := false
		for i, c := range centre {
			r := radius[i]
			lo, hi := a.piece(min(z0[i], z1[i])+(c-r), true), a.piece(max(z0[i], z1[i])+(c+r), false)
			if lo >= hi {
				k := a.slope[min(lo, len(a.kinks))]
				c, r = float64(k*c), max(float64(k*r), -float64(k*r))
			} else {
				c, r = middle(a.leaves(z0[i], z1[i], h0[i], h1[i], c-r, c+r))
			}
			toCentre[i], toRadius[i] = c, r
			some = some || c != 0 || r != 0
		}
		to.flat[s] = !some
	}
}

// piece returns which piece x is on. At a kink it is the upper one if up is set, else the lower.
func (a *bent) piece(x float64, up bool) int {
	for k, kink := range a.kinks {
		if x < kink || x == kink && !up {
			return k
		}
	}
	return len(a.kinks)
}

// leaves returns the least and the largest deviation of the function from its chord h0 to h1, for a
// unit whose chord is z0 to z1 and that leaves it by d to u.
func (a *bent) leaves(z0, z1, h0, h1, d, u float64) (lo, hi float64) {
	try := func(v float64) { lo, hi = min(lo, v), max(hi, v) }
	for _, by := range [2]float64{d, u} {
		try(a.f(z0+by) - h0)
		try(a.f(z1+by) - h1)
		for _, kink := range a.kinks {
			if at := kink - by; (at-z0)*(at-z1) < 0 {
				try(a.f(kink) - chordAt(h0, h1, (at-z0)/(z1-z0)))
			}
		}
	}
	for _, kink := range a.kinks {
		if by := kink - z0; d < by && by < u {
			try(a.f(kink) - h0)
		}
		if by := kink - z1; d < by && by < u {
			try(a.f(kink) - h1)
		}
	}
	return lo, hi
}

// chordAt is the value at t of the line from a at 0 to b at 1.
func chordAt(a, b, t float64) float64 { return a + float64((b-a)*t) }

// middle returns the centre and the radius of an interval.
func middle(lo, hi float64) (centre, radius float64) { return (lo + hi) / 2, (hi - lo) / 2 }

// A rectified is a bent of max(x, 0), without its loops: most units are ReLUs. Whether a unit is
// shut a processor cannot predict, so that is written to compile without a branch. Few units bend.
type rectified struct{}

func (rectified) pack() {}

func (rectified) carry(_ *carrying, to *band, in []*band, c *cut) {
	x := in[0]
	for p := range c.points {
		from, to := x.point(p), to.point(p)
		to = to[:len(from)]
		for i, v := range from {
			to[i] = rectify(v)
		}
	}
	for s, e := range c.ends {
		z0, z1 := x.point(e[0]), x.point(e[1])
		z1 = z1[:len(z0)]
		centre, radius := to.deviation(s)
		centre, radius = centre[:len(z0)], radius[:len(z0)]
		if x.flat[s] {
			to.flatten(s)
			for i, a := range z0 {
				// Of numbers of one sign the product is not below 0.
				if b := z1[i]; a*b < 0 {
					centre[i], radius[i] = middle(rectifiedLeaves(a, b, 0, 0))
					to.flat[s] = false
				}
			}
			continue
		}
		fromCentre, fromRadius := x.deviation(s)
		fromCentre, fromRadius = fromCentre[:len(z0)], fromRadius[:len(z0)]
		most := 0.0
		for i, a := range z0 {
			b, c, r := z1[i], fromCentre[i], fromRadius[i]
			lo, hi := a, b
			if b < a {
				lo, hi = b, a
			}
			open, bends := 0, 0
			if hi+(c+r) > 0 {
				open = 1
			}
			if lo+(c-r) < 0 {
				bends = open
			}
			c, r = float64(c*opened[open]), float64(r*opened[open])
			if bends != 0 {
				c, r = middle(rectifiedLeaves(a, b, c-r, c+r))
			}
			centre[i], radius[i] = c, r
			most += r + math.Abs(c)
		}
		to.flat[s] = most == 0
	}
}

// opened is what a unit makes of its deviation, by whether it is open.
var opened = [2]float64{0, 1}

// rectify is max(v, 0), without a branch. A NaN whose sign is not set stays.
func rectify(v float64) float64 {
	b := math.Float64bits(v)
	return math.Float64frombits(b &^ uint64(int64(b)>>63))
}

// rectifiedLeaves is bent.leaves of max(x, 0), which rises: d gives the least deviation, and u the
// largest one, at an end.
func rectifiedLeaves(z0, z1, d, u float64) (lo, hi float64) {
	h0, h1 := max(z0, 0), max(z1, 0)
	hi = max(0, max(z0+u, 0)-h0, max(z1+u, 0)-h1)
	a, b := z0+d, z1+d
	lo = min(0, max(a, 0)-h0, max(b, 0)-h1)
	if a < 0 && b > 0 || a > 0 && b < 0 {
		lo = min(lo, -chordAt(h0, h1, a/(a-b)))
	}
	return lo, hi
}

// A shape is a function that is straight between its kinks, with the slopes of its pieces.
type shape struct {
	f            func(x float64) float64
	kinks, slope []float64
}

// shapes has, by the name that model.Elementwise gives, the elementwise functions that are
// continuous and straight between kinks. A new one is a row here. thresholded_relu jumps, and
// round_clip is flat between jumps.
var shapes = map[string]func(p [2]float64) shape{
	"relu": func([2]float64) shape {
		return shape{func(x float64) float64 { return max(x, 0) }, []float64{0}, []float64{0, 1}}
	},
	"leaky_relu": func(p [2]float64) shape {
		return shape{func(x float64) float64 {
			if x > 0 {
				return x
			}
			return p[0] * x
		}, []float64{0}, []float64{p[0], 1}}
	},
	"clip": func(p [2]float64) shape {
		return shape{func(x float64) float64 { return min(max(x, p[0]), p[1]) }, p[:], []float64{0, 1, 0}}
	},
	"abs": func([2]float64) shape { return shape{math.Abs, []float64{0}, []float64{-1, 1}} },
}

// newBent returns the carrier of e for so many numbers, with parameters as T has them. It returns
// an error that names e if it has none.
func newBent[T Float](path string, e lower.Elementwise, size int) (carrier, error) {
	of, ok := shapes[e.Name]
	if !ok {
		return nil, fmt.Errorf("%s is not continuous and piecewise linear, as %q are", e.Name, slices.Sorted(maps.Keys(shapes)))
	}
	if e.Name == "relu" {
		return rectified{}, nil
	}
	for k, p := range e.Parameters {
		e.Parameters[k] = float64(T(p))
	}
	op, err := newElementwise[float64](path, e)
	if err != nil {
		return nil, err
	}
	return &bent{byRow(op, size, size), of(e.Parameters)}, nil
}

// tops is a carrier of the largest of some numbers each: of the windows of a max-pool, or of the
// channels of a pixel.
//
// Let a be the first largest at one end of a stretch and b at the other. The largest is not above
// its chord by more than some number's upper line is at an end of it. It is not below the larger of
// the lower lines of a and b, which falls and rises: their crossing is the least of it. A number
// that no other can reach passes its own deviation on.
type tops struct {
	windows [][]int32 // by number of the output, the places that it is the largest of
	// rectified says that the numbers are to pass a ReLU first. It is done behind: the largest of
	// ReLUs is the ReLU of the largest, of which there are fewer.
	rectified bool
}

func (*tops) pack() {}

func (a *tops) carry(_ *carrying, to *band, in []*band, c *cut) {
	x := in[0]
	for s, e := range c.ends {
		z0, z1 := x.point(e[0]), x.point(e[1])
		h0, h1 := to.point(e[0]), to.point(e[1])
		if e[0] == e[1] && x.flat[s] {
			a.values(h0, z0)
			to.flatten(s)
			continue
		}
		centre, radius := x.deviation(s)
		toCentre, toRadius := to.deviation(s)
		most := 0.0
		for o, places := range a.windows {
			t := topOf(places, z0, z1, centre, radius)
			if a.rectified && t.over0 <= 0 && t.over1 <= 0 { // shut throughout
				h0[o], h1[o], toCentre[o], toRadius[o] = 0, 0, 0, 0
				continue
			}
			c, r := t.leaves(places, z0, z1, centre, radius)
			if a.rectified {
				if min(t.h0, t.h1)+(c-r) < 0 {
					c, r = middle(rectifiedLeaves(t.h0, t.h1, c-r, c+r))
				}
				t.h0, t.h1 = rectify(t.h0), rectify(t.h1)
			}
			h0[o], h1[o] = t.h0, t.h1
			toCentre[o], toRadius[o] = c, r
			most += r
		}
		to.flat[s] = most == 0
	}
}

// values writes the largest of z at one point.
func (a *tops) values(h, z []float64) {
	for o, places := range a.windows {
		v := z[places[0]]
		for _, i := range places[1:] {
			v = max(v, z[i])
		}
		if a.rectified {
			v = rectify(v)
		}
		h[o] = v
	}
}

// A top is the largest of some numbers on a stretch at both ends, and the largest of their upper
// lines there.
type top struct{ h0, h1, over0, over1 float64 }

func topOf(places []int32, z0, z1, centre, radius []float64) top {
	i := places[0]
	u := centre[i] + radius[i]
	h0, h1 := z0[i], z1[i]
	over0, over1 := h0+u, h1+u
	for _, i := range places[1:] {
		v0, v1, u := z0[i], z1[i], centre[i]+radius[i]
		h0, h1 = max(h0, v0), max(h1, v1)
		over0, over1 = max(over0, v0+u), max(over1, v1+u)
	}
	return top{h0, h1, over0, over1}
}

// leaves returns the centre and the radius of t.
func (t *top) leaves(places []int32, z0, z1, centre, radius []float64) (c, r float64) {
	a, b := firstOf(places, z0, t.h0), firstOf(places, z1, t.h1)
	lo := centre[a] - radius[a]
	if a == b {
		alone := true
		for _, i := range places {
			u := centre[i] + radius[i]
			alone = alone && (i == a || z0[i]-t.h0+u <= lo && z1[i]-t.h1+u <= lo)
		}
		if alone {
			return centre[a], radius[a]
		}
	} else {
		low := centre[b] - radius[b]
		fall, rise := t.h1-z1[a], t.h0-z0[b] // of a's line, and of b's
		at := 0.0
		if fall+rise > 0 {
			at = min(max((lo-low+rise)/(fall+rise), 0), 1)
		}
		lo = max(lo-float64(fall*at), low-float64(rise*(1-at)))
	}
	return middle(min(lo, 0), max(0, t.over0-t.h0, t.over1-t.h1))
}

// firstOf returns the first of the places where z is v, or the last place if it is nowhere.
func firstOf(places []int32, z []float64, v float64) int32 {
	for _, i := range places {
		if z[i] == v {
			return i
		}
	}
	return places[len(places)-1]
}

// poolWindows returns the places of the windows of a pool, NHWC, without padding.
func poolWindows(l lower.Unfold) [][]int32 {
	all := make([][]int32, 0, l.Out.Size())
	for r := range l.Out.H {
		for col := range l.Out.W {
			for c := range l.Out.C {
				var places []int32
				for u := range l.Kernel[0] {
					for v := range l.Kernel[1] {
						y, x := r*l.Stride[0]+u*l.Dilation[0]-l.Pad[0], col*l.Stride[1]+v*l.Dilation[1]-l.Pad[1]
						if y >= 0 && y < l.In.H && x >= 0 && x < l.In.W {
							places = append(places, int32((y*l.In.W+x)*l.In.C+c))
						}
					}
				}
				all = append(all, places)
			}
		}
	}
	return all
}

// channelWindows returns the places of the channels of each pixel.
func channelWindows(s lower.Shape) [][]int32 {
	all := make([][]int32, s.Pixels())
	for p := range all {
		for c := range s.C {
			all[p] = append(all[p], int32(p*s.C+c))
		}
	}
	return all
}
