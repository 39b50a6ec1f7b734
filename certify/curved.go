package certify

import (
	"math"
)

// A relaxation is what is known of a function of one number on an interval.
type relaxation interface {
	// span returns numbers that the function lies between from l to u, l < u.
	span(l, u float64) (lo, hi float64)
	// straight returns how the function is w·x + b from l to u, if it is so in exact arithmetic.
	straight(l, u float64) (w, b float64, ok bool)
	// slopes returns the slopes of the lines below and above it.
	slopes(l, u float64) (lower, upper float32)
	// heights returns lo and hi with w·x + lo <= f(x) for w = lower, and f(x) <= w·x + hi for w =
	// upper.
	heights(l, u float64, lower, upper float32) (lo, hi float64)
	// pivot returns a point that a line below may turn around, with any slope from least to most.
	// ok is false if there is none.
	pivot(l, u float64) (x, y float64, least, most float32, ok bool)
}

// A curved is an elementwise function.
type curved struct{ f relaxation }

func (n curved) asks(want []bool, in []*box, _ int) {
	x := in[0]
	for i := range want {
		if x.r[i] == 0 {
			continue
		}
		if _, _, ok := n.f.straight(x.lo[i], x.hi[i]); !ok {
			want[i] = true
		}
	}
}

func (n curved) bounds(s *state, out *box, in []*box) {
	x, size := in[0], len(out.c)
	if s.lower == nil {
		s.lower, s.upper, s.bent = make([]line, size), make([]line, size), make([]int32, 0, size)
		s.plain = make([]float32, size)
	}
	s.bent = s.bent[:0]
	for i := range size {
		l, u := x.lo[i], x.hi[i]
		w, b, ok := n.f.straight(l, u)
		switch {
		case ok && w == 1 && b == 0:
			out.copyFrom(i, x, i)
			s.lower[i] = line{slope: 1, least: 1, most: 1}
			s.upper[i] = s.lower[i]
			continue
		case ok && w == 0:
			out.set(i, b, b)
			s.lower[i], s.upper[i] = line{}, line{}
			continue
		}
		s.bent = append(s.bent, int32(i))
		if !(l < u) { // a number that every image has
			u = above(l)
		}
		lo, hi := n.f.span(l, u)
		out.set(i, lo, hi)
		below, above := n.f.slopes(l, u)
		lo, hi = n.f.heights(l, u, below, above)
		cx, cy := x.c[i], out.c[i]
		s.lower[i] = line{slope: below, at: height(lo, float64(below), cx, cy, -1), least: below, most: below}
		s.upper[i] = line{slope: above, at: height(hi, float64(above), cx, cy, 1)}
		if px, py, least, most, ok := n.f.pivot(l, u); ok {
			v := &s.lower[i]
			v.least, v.most, v.pivot = least, most, px-cx
			v.value = height(py, 0, 0, cy, -1) - float64(4*unit64*(math.Abs(v.pivot)+math.Abs(px)))
		}
	}
}

// height returns b + w·cx - cy, moved by more than its rounding downward if to is -1, and upward if
// it is 1.
func height(b, w, cx, cy float64, to float64) float64 {
	x := float64(w * cx)
	return float64(b+x) - cy + float64(to*8*unit64*(math.Abs(b)+math.Abs(x)+math.Abs(cy)))
}

func (curved) settle(s *state, _ *box) {
	for o := range s.plain {
		s.plain[o] = s.lower[o].slope
	}
	s.sides = s.sides[:0]
	for _, o := range s.bent {
		s.plain[o] = 0
		l, u := &s.lower[o], &s.upper[o]
		s.sides = append(s.sides, side{o, [2]float32{l.slope, u.slope}, s.in[0].r[o], [2]float64{l.at, u.at}})
	}
}

func (n curved) back(w *work, i int, p *pass, a []float32) {
	s, j, size := &w.states[i], w.prog.Ops[i].Takes[0]+1, w.prog.Ops[i].Out.Size()
	ld := wide(size)
	to := w.room(p.m * ld)
	tiny := 0.0
	for n := range s.sides {
		tiny += s.sides[n].r
	}
	tiny = up(tiny32 * tiny)
	for k := range p.m {
		from, to := a[k*ld:][:size], to[k*ld:][:size]
		w.back.Gated(to, from, s.plain) // lines of slope 1 or 0, through the centers
		var slopes []float32
		if p.slopes != nil && p.slopes[i] != nil {
			slopes = p.slopes[i][k*ld:]
		}
		var splits []split
		if p.splits != nil {
			splits = p.splits[k]
			w.mark(splits, i, true)
		}
		var d, sum, lost float64
		for n := range s.sides {
			u := &s.sides[n]
			o := u.number
			v := from[o]
			if splits != nil && w.sides[o] > 0 {
				sp, cx, cy := &splits[w.sides[o]-1], s.in[0].c[o], w.boxes[i+1].c[o]
				var t float64
				to[o], t = sp.back(v, cx, cy)
				d += t
				sum += float64((math.Abs(float64(v)) + float64(sp.beta)) * (math.Abs(cx) + math.Abs(cy)))
				lost += float64(math.Abs(float64(to[o])) * u.r)
				continue
			}
			below := math.Float32bits(v) >> 31
			slope, at := u.slope[below], u.height[below]
			if slopes != nil && below == 0 {
				if l := &s.lower[o]; l.least < l.most {
					slope, at = slopes[o], l.turned(slopes[o])
				}
			}
			to[o] = v * slope
			t := float64(float64(v) * at)
			d += t
			sum += math.Abs(t)
			lost += float64(math.Abs(float64(to[o])) * u.r)
		}
		w.mark(splits, i, false)
		p.d[k] += d
		p.sum[k] += sum
		p.lost[k] += float64(unit32*lost) + tiny
	}
	p.terms += 3 * len(s.bent)
	w.add(p, j, to)
}

// turned is the height of the lower line of another slope, which turns around the pivot.
func (l *line) turned(slope float32) float64 {
	x := float64(float64(slope) * l.pivot)
	return l.value - x - float64(8*unit64*(math.Abs(l.value)+math.Abs(x)))
}

func (n curved) apply(s *state, out []float64, in [][]float64, a, slopes []float32) {
	x, y := s.in[0], in[0]
	for o := range out {
		l, at := &s.lower[o], s.lower[o].at
		slope := l.slope
		switch {
		case a[o] < 0:
			l = &s.upper[o]
			slope, at = l.slope, l.at
		case l.least < l.most:
			slope, at = slopes[o], l.turned(slopes[o])
		}
		out[o] = float64(float64(slope)*(y[o]-x.c[o])) + at
	}
}
