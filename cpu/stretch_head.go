package cpu

import (
	"math"

	"advsweep/internal/lower"
)

// A head makes margins of the label of what comes before them: z_label - z_c for every other class
// c. Where the last operation is a Linear it takes the differences of its rows, so that what is
// common to both cancels before anything is rounded. Elsewhere it takes those of the logits.
type head struct {
	from    int // the operations before it; margins are made of the output of the last one
	value   int // whose band it reads
	classes int
	in      int
	forms   func() (w, bias []float64)
	w, bias []float64 // [classes, in] and [classes]; w is nil where logits are read as they are
	places  []int     // by class, where its logit is, where w is nil
	terms   int       // of all sums on the way, for noise
}

// newHead returns the head of n, whose carriers are made.
func newHead(n *stretchNet) head {
	last := len(n.prog.Ops) - 1
	h := head{from: last + 1, value: last + 1, classes: n.prog.Classes}
	for _, c := range n.carriers {
		if l, ok := c.(*linear); ok {
			h.terms += l.terms
		}
	}
	op := n.prog.Ops[last]
	if c, ok := n.carriers[last].(*linear); ok && c.rows != nil {
		h.from, h.value, h.forms = last, op.Takes[0]+1, c.rows
		h.in = op.In.Size()
		return h
	}
	places := make([]int, h.classes)
	for k := range places {
		places[k] = k
	}
	h.places = make([]int, h.classes)
	lower.ToNCHW(h.places, places, op.Out)
	return h
}

func (h *head) pack() {
	if h.forms != nil {
		h.w, h.bias = h.forms()
	}
}

// A margin is that of one class along a stretch: its values at both ends, how far it may leave its
// chord, and what rounding may have done to it.
type margin struct {
	class    int
	m0, m1   float64
	down, up float64 // down <= 0 <= up
	noise    float64
}

// margins appends those of a label on stretch s of v, which is between points e.
//
// Noise is the probabilistic bound λ·√n·u·Σ|terms| of Higham and Mary 2019 (SIAM J. Sci. Comput.
// 41), with λ = 4 and n the terms of all operations.
func (h *head) margins(all []margin, v *band, s int, e [2]int, label int, room *headRoom) []margin {
	z0, z1 := v.point(e[0]), v.point(e[1])
	centre, radius := v.deviation(s)
	unit := 4 * math.Sqrt(float64(h.terms)) * 0x1p-53
	if h.w != nil {
		room.list(z0, z1, centre, radius)
	}
	for c := range h.classes {
		if c == label {
			continue
		}
		m := margin{class: c}
		mid, wide, sum := 0.0, 0.0, 0.0
		if h.w == nil {
			y, k := h.places[label], h.places[c]
			m.m0, m.m1 = z0[y]-z0[k], z1[y]-z1[k]
			mid, wide = centre[y]-centre[k], radius[y]+radius[k]
			sum = max(math.Abs(z0[y]), math.Abs(z1[y])) + max(math.Abs(z0[k]), math.Abs(z1[k]))
		} else {
			m.m0 = h.bias[label] - h.bias[c]
			m.m1, sum = m.m0, math.Abs(h.bias[label])+math.Abs(h.bias[c])
			wy, wc := h.w[label*h.in:][:h.in], h.w[c*h.in:][:h.in]
			for _, u := range room.units {
				w := wy[u.at] - wc[u.at]
				m.m0 += float64(w * u.z0)
				m.m1 += float64(w * u.z1)
				mid += float64(w * u.centre)
				wide += float64(math.Abs(w) * u.radius)
				sum += float64(math.Abs(w) * u.size)
			}
		}
		m.down, m.up = min(mid-wide, 0), max(mid+wide, 0)
		m.noise = float64(unit * sum)
		all = append(all, m)
	}
	return all
}

// A headRoom lists the units of a stretch that are not 0 all along.
type headRoom struct{ units []headUnit }

type headUnit struct {
	at                           int32
	z0, z1, centre, radius, size float64 // size is the larger of |z0| and |z1|
}

func (r *headRoom) list(z0, z1, centre, radius []float64) {
	r.units = r.units[:0]
	for i, a := range z0 {
		if b := z1[i]; a != 0 || b != 0 || radius[i] != 0 || centre[i] != 0 {
			r.units = append(r.units, headUnit{int32(i), a, b, centre[i], radius[i], max(math.Abs(a), math.Abs(b))})
		}
	}
}
