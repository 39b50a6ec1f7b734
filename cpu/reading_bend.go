package cpu

import "advsweep/internal/gemm"

// A sharpBend is the memory for bounds that are sharper than those of a walk where pixels stop. The
// rates of a pixel count every path from it to a margin, those through units that are off too. Here
// the units of the first layer are looked at first.
type sharpBend[T Float] struct {
	chords       []between[T] // those in hand
	first, whole []T          // Σ h·W and Σ h·|W| over the pixels that stop [chords, stride]
	groups       [2][]gemm.Group[T]
	list         []uint32 // pixels that stop, chord by chord
	by           [2][]T   // how far each leaves its line, h, and h times -1 or 1, as it moves
	may          []T      // how high units may come at the two points [2, stride]
	units        []uint32 // units that are not off all the way, and then those that rise
	at, kink     []T
}

// A between is two points of the ray of an image.
type between[T Float] struct {
	image  int // in the block
	p0, p1 point[T]
	row    int // of what pixels do that stop between them, or -1 if none does
}

// chordsAtOnce bounds the chords of which what pixels do is in memory.
const chordsAtOnce = 128

// stopsOf computes what the pixels do that stop within chords, chordsAtOnce at most. Weights are
// read once for all of them.
func (r *reading[T]) stopsOf(w *walk[T], chords []between[T]) {
	s, m, in := &r.bends, w.m, w.b.model.in
	a := &m.layers[0]
	s.list, s.by[0], s.by[1] = s.list[:0], s.by[0][:0], s.by[1][:0]
	s.groups[0], s.groups[1] = s.groups[0][:0], s.groups[1][:0]
	rows := 0
	for k := range chords {
		c := &chords[k]
		c.row = -1
		from := len(s.list)
		for _, v := range w.images[c.image].stops { // pixels rise, as a list must
			if v.t > c.p0.eps && v.t < c.p1.eps {
				h := (v.t - c.p0.eps) * (c.p1.eps - v.t) / (c.p1.eps - c.p0.eps)
				// A pixel that moves up and stops lies above its line, one that moves down below.
				s.list = append(s.list, uint32(v.pixel))
				s.by[0], s.by[1] = append(s.by[0], h), append(s.by[1], h*w.origin.s[c.image*in+int(v.pixel)])
			}
		}
		if n := len(s.list) - from; n > 0 && len(m.layers) > 1 {
			c.row = rows
			for g := range s.groups {
				s.groups[g] = append(s.groups[g], gemm.Group[T]{Row: rows, Rows: 1, List: s.list[from:], A: s.by[g][from:]})
			}
			w.rows.flop += 4 * uint64(n) * uint64(a.wt.N)
			rows++
		}
	}
	s.whole, s.first = resize(s.whole, rows*a.stride), resize(s.first, rows*a.stride)
	if rows > 0 {
		m.absolute.MulGroups(s.whole, a.stride, s.groups[0], m.zeros)
		a.wt.MulGroups(s.first, a.stride, s.groups[1], m.zeros)
	}
}

// bend is walk.bend for class y, but sharper where pixels stop within c, of which stopsOf has seen.
//
// Let h_p be how far pixel p leaves its line at most, and s_p = ±1 where it moves. Then unit k of
// the first layer, before its ReLU, lies below its line by at most L_k and above it by at most U_k,
//
//	U_k = Σ_p h_p·max(s_p·W_kp, 0),  L_k = Σ_p h_p·max(-s_p·W_kp, 0),
//
// and after its ReLU, with z0 and z1 at the two points, p_k the depth of its own kink (see rates)
// and h̃ the line between the two points,
//
//	below h̃ by at most L_k + p_k, or not at all if z0 <= 0 and z1 <= 0,
//	above h̃ by at most U_k, or max(max(z0, z1) + U_k, 0) if z0 <= 0 and z1 <= 0.
//
// What that does to a margin is a matter of the unit's rates.
func (r *reading[T]) bend(w *walk[T], c *between[T], y int32) {
	if c.row < 0 {
		w.bend(c.image, y, &c.p0, &c.p1)
		return
	}
	s, m, ch := &r.bends, w.m, &w.chord
	a := &m.layers[0]
	first, whole := s.first[c.row*a.stride:][:a.out], s.whole[c.row*a.stride:][:a.out]
	z0, z1 := c.p0.layer(m, 0), c.p1.layer(m, 0)
	// A unit that stays below 0 whatever pixels do is left out.
	lda := a.out + gemm.VectorPad
	s.may, s.units, s.at, s.kink = resize(s.may, 2*a.stride), resize(s.units, lda), resize(s.at, 2*lda), resize(s.kink, lda)
	m.vec.Line(s.may[:a.out], z0, 1, whole)
	m.vec.Line(s.may[a.stride:][:a.out], z1, 1, whole)
	n := m.vec.Positive(s.units, s.at, lda, s.may, s.may, a.stride, a.out, 2)
	falls, rises := 0, 0
	for _, k := range s.units[:n] {
		v0, v1, sum, signed := z0[k], z1[k], whole[k], first[k]
		up, down := max((sum+signed)/2, 0), max((sum-signed)/2, 0)
		switch {
		case v0 <= 0 && v1 <= 0:
			up, down = max(max(v0, v1)+up, 0), 0
		case v0 < 0:
			down += v0 * v1 / (v0 - v1)
		case v1 < 0:
			down += v0 * v1 / (v1 - v0)
		}
		if down > 0 {
			ch.list[falls], ch.kink[falls] = k, down
			falls++
		}
		if up > 0 { // no later than k was read
			s.units[rises], s.kink[rises] = k, up
			rises++
		}
	}
	clear(ch.bound)
	rates := w.m.rates
	w.weigh(rates.at(1, y), falls)
	ch.swap(rates.classes)
	ch.list, s.units, ch.kink, s.kink = s.units, ch.list, s.kink, ch.kink
	w.weigh(rates.at(1, y), rises)
	ch.list, s.units, ch.kink, s.kink = s.units, ch.list, s.kink, ch.kink
	ch.swap(rates.classes)
	w.bendFrom(1, y, &c.p0, &c.p1)
}
