package certify

import (
	"math"
	"slices"

	"advsweep/internal/lower"
)

// A linear is an affine map, as straight makes a node of it.
type linear interface {
	// point writes to s z, slack and reach, see state.
	point(s *state, in []*box)
	// value writes W·x + b to out, in float64, without a bound on rounding.
	value(out []float64, in [][]float64)
	// roundings is the n of γ_n that bounds the error of carry: 0 where it only moves numbers.
	roundings() int
	// carry adds to p the form Aᵀ·W at what is taken, for a [rows][wide(out)], and what
	// pass.shifted says of a.
	carry(w *work, p *pass, s *state, takes []int, a []float32)
}

// A straight is the node of an affine map.
type straight struct{ linear }

func (n straight) bounds(s *state, out *box, in []*box) {
	if s.z == nil {
		size := len(out.c)
		all := make([]float64, 4*size)
		s.z, s.slack, s.reach, s.cost, s.shifts = all[:size], all[size:2*size], all[2*size:3*size], all[3*size:], make([]shift, size)
	}
	n.point(s, in)
	for o, z := range s.z {
		out.around(o, z, up(s.reach[o]+s.slack[o]))
	}
}

func (n straight) settle(s *state, out *box) {
	gamma := 0.0
	if k := n.roundings(); k > 0 {
		gamma = gamma32(k)
	}
	s.still = true
	for o, z := range s.z {
		s.cost[o] = up(s.slack[o] + float64(gamma*s.reach[o]))
		s.shifts[o] = shift{z - out.c[o], s.cost[o]}
		s.still = s.still && s.shifts[o].shift == 0
	}
}

func (n straight) back(w *work, i int, p *pass, a []float32) {
	op := &w.prog.Ops[i]
	if k := n.roundings(); k > 0 { // below the normal numbers
		most := 0.0
		for _, b := range w.states[i].in {
			for _, r := range b.r {
				most += r
			}
		}
		for row := range p.m {
			p.lost[row] += up(float64(tiny32*float64(k)) * most)
		}
		p.terms++
	}
	n.carry(w, p, &w.states[i], op.Takes, a)
}

func (n straight) apply(_ *state, out []float64, in [][]float64, _, _ []float32) { n.value(out, in) }

// A scale is lower.Scale, w_c·x + b_c.
type scale struct {
	weight, bias []float64 // [C]
	narrow       []float32 // weight, rounded
}

func (n scale) roundings() int { return 2 }

func (n scale) point(s *state, in []*box) {
	x, C := in[0], len(n.weight)
	for o := range s.z {
		w, b := n.weight[o%C], n.bias[o%C]
		s.z[o] = float64(w*x.c[o]) + b
		s.slack[o] = up(gamma64(2) * (math.Abs(float64(w*x.c[o])) + math.Abs(b)))
		s.reach[o] = up(math.Abs(w) * x.r[o])
	}
}

func (n scale) value(out []float64, in [][]float64) {
	C := len(n.weight)
	for o := range out {
		out[o] = float64(n.weight[o%C]*in[0][o]) + n.bias[o%C]
	}
}

func (n scale) carry(w *work, p *pass, s *state, takes []int, a []float32) {
	p.shifted(s, a)
	j := takes[0] + 1
	size, C := w.size(j), len(n.weight)
	ld := wide(size)
	to := w.room(p.m * ld)
	for k := range p.m {
		from, to := a[k*ld:][:size], to[k*ld:][:size]
		for i, v := range from {
			to[i] = v * n.narrow[i%C]
		}
	}
	w.add(p, j, to)
}

// A sum is lower.Add, and a Pairwise that adds or subtracts: Σ sign_k·x_k. places has for each
// number of the output where it is taken from x_k; nil is its own place.
type sum struct {
	sign   []float32
	places [][]int32
}

// roundings is not 0 where a number is taken more than once, since their forms are then summed.
func (n sum) roundings() int {
	if n.places == nil {
		return 0
	}
	return len(n.places[0])
}

func (n sum) place(k, o int) int {
	if n.places == nil {
		return o
	}
	return int(n.places[k][o])
}

func (n sum) point(s *state, in []*box) {
	for o := range s.z {
		z, r, m := 0.0, 0.0, 0.0
		for k, x := range in {
			i := n.place(k, o)
			z += float64(float64(n.sign[k]) * x.c[i])
			m += math.Abs(x.c[i])
			r += x.r[i]
		}
		s.z[o], s.reach[o], s.slack[o] = z, up(float64(r*(1+gamma64(len(in))))), up(gamma64(len(in))*m)
	}
}

func (n sum) value(out []float64, in [][]float64) {
	for o := range out {
		out[o] = 0
		for k, x := range in {
			out[o] += float64(float64(n.sign[k]) * x[n.place(k, o)])
		}
	}
}

func (n sum) carry(w *work, p *pass, s *state, takes []int, a []float32) {
	p.shifted(s, a)
	ldo := len(a) / p.m
	for k, take := range takes {
		size := w.size(take + 1)
		ld := wide(size)
		to := w.room(p.m * ld)
		if n.places != nil {
			clear(to)
		}
		for row := range p.m {
			from, to := a[row*ldo:][:ldo], to[row*ld:][:size]
			if n.places == nil {
				for i := range to {
					to[i] = n.sign[k] * from[i]
				}
				continue
			}
			for o, i := range n.places[k] {
				to[i] += float32(n.sign[k] * from[o])
			}
		}
		w.add(p, take+1, to)
	}
}

// An arrange is lower.Arrange. Numbers change places.
type arrange struct{ *lower.Arrange }

// from returns the value that number o is taken from, -1 for a 0, and its place there.
func (n arrange) from(o int) (k, i int) {
	if n.From == nil {
		return 0, int(n.Index[o])
	}
	return int(n.From[o]), int(n.Index[o])
}

func (n arrange) roundings() int {
	if slices.Contains(n.Once, false) {
		return len(n.Index)
	}
	return 0
}

func (n arrange) point(s *state, in []*box) {
	for o := range s.z {
		s.z[o], s.reach[o], s.slack[o] = 0, 0, 0
		if k, i := n.from(o); k >= 0 {
			s.z[o], s.reach[o] = in[k].c[i], in[k].r[i]
		}
	}
}

func (n arrange) value(out []float64, in [][]float64) {
	for o := range out {
		out[o] = 0
		if k, i := n.from(o); k >= 0 {
			out[o] = in[k][i]
		}
	}
}

func (n arrange) carry(w *work, p *pass, s *state, takes []int, a []float32) {
	p.shifted(s, a)
	ldo := len(a) / p.m
	for k, take := range takes {
		ld := wide(w.size(take + 1))
		to := w.room(p.m * ld)
		clear(to)
		for row := range p.m {
			from, to := a[row*ldo:], to[row*ld:]
			for o := range n.Index {
				if of, i := n.from(o); of == k {
					to[i] += from[o]
				}
			}
		}
		w.add(p, take+1, to)
	}
}

// A constant is lower.Constant. It is the same for every image.
type constant struct{ v []float64 }

func (n constant) roundings() int { return 0 }

func (n constant) point(s *state, _ []*box) {
	copy(s.z, n.v)
	clear(s.reach)
	clear(s.slack)
}

func (n constant) value(out []float64, _ [][]float64)           { copy(out, n.v) }
func (n constant) carry(*work, *pass, *state, []int, []float32) {}

// A mean is lower.AvgPool and a Reduce by sum or mean: Σ x_i/count over the numbers of a window.
type mean struct {
	of     [][]int32 // by number of the output
	share  []float64 // what each is multiplied by
	narrow []float32
	most   int // of a window, and of windows that a number is in
}

func (n *mean) roundings() int { return n.most + 3 }

func (n *mean) point(s *state, in []*box) {
	x, gamma := in[0], gamma64(n.most+3)
	for o, of := range n.of {
		z, r, m := 0.0, 0.0, 0.0
		for _, i := range of {
			z += x.c[i]
			m += math.Abs(x.c[i])
			r += x.r[i]
		}
		s.z[o] = float64(z * n.share[o])
		s.slack[o], s.reach[o] = up(float64(gamma*m)*n.share[o]), up(float64(r*(1+gamma))*n.share[o])
	}
}

func (n *mean) value(out []float64, in [][]float64) {
	for o, of := range n.of {
		z := 0.0
		for _, i := range of {
			z += in[0][i]
		}
		out[o] = float64(z * n.share[o])
	}
}

func (n *mean) carry(w *work, p *pass, s *state, takes []int, a []float32) {
	p.shifted(s, a)
	j, ldo := takes[0]+1, len(a)/p.m
	ld := wide(w.size(j))
	to := w.room(p.m * ld)
	clear(to)
	for k := range p.m {
		to := to[k*ld:][:ld]
		for o, v := range a[k*ldo:][:len(n.of)] {
			if v == 0 {
				continue
			}
			v = float32(v * n.narrow[o])
			for _, i := range n.of[o] {
				to[i] += v
			}
		}
	}
	w.add(p, j, to)
}
