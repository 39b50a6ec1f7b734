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

// A rectified is a bent of max(x, 0), without its loops: most units are ReLUs.
type rectified struct{ value applied }

func (rectified) pack() {}

func (a rectified) carry(m *carrying, to *band, in []*band, c *cut) {
	x := in[0]
	a.value(&m.memory[0], c.points, to.z, to.ld, [][]float64{x.z}, []int{x.ld})
	for s, e := range c.ends {
		z0, z1 := x.point(e[0]), x.point(e[1])
		z1 = z1[:len(z0)]
		centre, radius := x.deviation(s)
		toCentre, toRadius := to.deviation(s)
		centre, radius, toCentre, toRadius = centre[:len(z0)], radius[:len(z0)], toCentre[:len(z0)], toRadius[:len(z0)]
		some := false
		for i, a := range z0 {
			b, c, r := z1[i], centre[i], radius[i]
			switch d, u := c-r, c+r; {
			case max(a, b)+u <= 0:
				c, r = 0, 0
			case min(a, b)+d < 0:
				c, r = middle(rectifiedLeaves(a, b, d, u))
			}
			toCentre[i], toRadius[i] = c, r
			some = some || c != 0 || r != 0
		}
		to.flat[s] = !some
	}
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

// newBent returns the carrier of e for so many numbers, with parameters as T has them. It returns an error that names e
// if it has none.
func newBent[T Float](path string, e lower.Elementwise, size int) (carrier, error) {
	of, ok := shapes[e.Name]
	if !ok {
		return nil, fmt.Errorf("%s is not continuous and piecewise linear, as %q are", e.Name, slices.Sorted(maps.Keys(shapes)))
	}
	for k, p := range e.Parameters {
		e.Parameters[k] = float64(T(p))
	}
	op, err := newElementwise[float64](path, e)
	if err != nil {
		return nil, err
	}
	value := byRow(op, size, size)
	if e.Name == "relu" {
		return rectified{value}, nil
	}
	return &bent{value, of(e.Parameters)}, nil
}

// tops is a carrier of the largest of some numbers each: of the windows of a max-pool, or of the
// channels of a pixel.
//
// Let a be the first largest at one end of a stretch and b at the other. The largest is not above
// its chord by more than some number's upper line is at an end of it. It is not below the larger of
// the lower lines of a and b, which falls and rises: their crossing is the least of it. A number
// that no other can reach passes its own deviation on.
type tops struct {
	value   applied
	windows [][]int32 // by number of the output, the places that it is the largest of
}

func (tops) pack() {}

func (a tops) carry(m *carrying, to *band, in []*band, c *cut) {
	x := in[0]
	a.value(&m.memory[0], c.points, to.z, to.ld, [][]float64{x.z}, []int{x.ld})
	for s, e := range c.ends {
		z0, z1 := x.point(e[0]), x.point(e[1])
		centre, radius := x.deviation(s)
		toCentre, toRadius := to.deviation(s)
		some := false
		for o, places := range a.windows {
			c, r := topLeaves(places, z0, z1, centre, radius)
			toCentre[o], toRadius[o] = c, r
			some = some || c != 0 || r != 0
		}
		to.flat[s] = !some
	}
}

// topLeaves returns centre and radius of the largest of the numbers at some places.
func topLeaves(places []int32, z0, z1, centre, radius []float64) (c, r float64) {
	a, b := places[0], places[0]
	for _, i := range places[1:] {
		if z0[i] > z0[a] {
			a = i
		}
		if z1[i] > z1[b] {
			b = i
		}
	}
	h0, h1 := z0[a], z1[b]
	lowA := centre[a] - radius[a]
	hi, alone := 0.0, a == b
	for _, i := range places {
		u := centre[i] + radius[i]
		over0, over1 := z0[i]-h0+u, z1[i]-h1+u
		hi = max(hi, over0, over1)
		alone = alone && (i == a || over0 <= lowA && over1 <= lowA)
	}
	if alone {
		return centre[a], radius[a]
	}
	lo := lowA
	if a != b {
		lowB := centre[b] - radius[b]
		fall, rise := h1-z1[a], h0-z0[b] // of a's line, and of b's
		t := 0.0
		if fall+rise > 0 {
			t = min(max((lowA-lowB+rise)/(fall+rise), 0), 1)
		}
		lo = max(lowA-float64(fall*t), lowB-float64(rise*(1-t)))
	}
	return middle(min(lo, 0), hi)
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
