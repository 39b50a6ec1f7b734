package certify

import "math"

// A largest is lower.MaxPool and a Reduce by max: the largest number of each window.
type largest struct{ of [][]int32 }

func (n largest) asks(want []bool, in []*box, _ int) {
	x := in[0]
	for _, of := range n.of {
		if _, decided := n.top(x, of); decided {
			continue
		}
		floor := math.Inf(-1)
		for _, i := range of {
			floor = max(floor, x.lo[i])
		}
		for _, i := range of {
			want[i] = want[i] || x.hi[i] > floor
		}
	}
}

// top returns the number of the window with the highest lower end, and whether no other can exceed
// it.
func (n largest) top(x *box, of []int32) (at int32, decided bool) {
	at = of[0]
	for _, i := range of {
		if x.lo[i] > x.lo[at] {
			at = i
		}
	}
	for _, i := range of {
		if i != at && x.hi[i] > x.lo[at] {
			return at, false
		}
	}
	return at, true
}

// bounds puts the output above the number with the highest lower end, and below the highest upper
// end, unless it is that number for sure. bent has that number.
func (n largest) bounds(s *state, out *box, in []*box) {
	x := in[0]
	if s.lower == nil {
		s.lower, s.upper, s.bent = make([]line, len(n.of)), make([]line, len(n.of)), make([]int32, len(n.of))
	}
	for o, of := range n.of {
		at, decided := n.top(x, of)
		s.bent[o] = at
		if decided {
			out.copyFrom(o, x, int(at))
			s.lower[o], s.upper[o] = line{slope: 1}, line{slope: 1}
			continue
		}
		hi := x.hi[at]
		for _, i := range of {
			hi = max(hi, x.hi[i])
		}
		out.set(o, x.lo[at], hi)
		s.lower[o] = line{slope: 1, at: height(0, 1, x.c[at], out.c[o], -1)}
		s.upper[o] = line{at: height(hi, 0, 0, out.c[o], 1)}
	}
}

func (largest) settle(*state, *box) {}

func (n largest) back(w *work, i int, p *pass, a []float32) {
	s, j := &w.states[i], w.prog.Ops[i].Takes[0]+1
	size, lda, ld, r := len(n.of), len(a)/p.m, wide(w.size(j)), w.boxes[j].r
	to := w.room(p.m * ld)
	clear(to)
	for k := range p.m {
		to := to[k*ld:][:ld]
		for o, v := range a[k*lda:][:size] {
			if v == 0 {
				continue
			}
			l := &s.upper[o]
			if !(v < 0) {
				l = &s.lower[o]
			}
			t := float64(float64(v) * l.at)
			p.d[k] += t
			p.sum[k] += math.Abs(t)
			if l.slope == 0 {
				continue
			}
			at := s.bent[o]
			had := to[at]
			if to[at] += v; had != 0 { // windows overlap
				p.lost[k] += float64((float64(unit32*math.Abs(float64(to[at]))) + tiny32) * r[at])
			}
		}
	}
	p.terms += 2 * size
	w.add(p, j, to)
}

func (n largest) apply(s *state, out []float64, in [][]float64, a, _ []float32) {
	x, y := s.in[0], in[0]
	for o, at := range s.bent {
		l := &s.lower[o]
		if a[o] < 0 {
			l = &s.upper[o]
		}
		out[o] = float64(float64(l.slope)*(y[at]-x.c[at])) + l.at
	}
}
