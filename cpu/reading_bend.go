package cpu

import "advsweep/internal/gemm"

// A sharpBend is the memory for bounds that are sharper than those of a walk where pixels stop. The
// rates of a pixel count every path from it to a margin, those through units that are off too. Here
// the units of the first layer are looked at first.
type sharpBend[T Float] struct {
	first, whole []T // [stride]: Σ h·W and Σ h·|W| over the pixels that stop
	sign         []T // where each of these pixels moves: -1 or 1
	list         []uint32
	kink         []T
}

// bend is walk.bend, but sharper where pixels stop between p0 and p1.
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
func (r *reading[T]) bend(w *walk[T], i int, y int32, p0, p1 *point[T]) {
	c, in, m, s := &w.chord, w.b.model.in, w.m, &r.bends
	if len(m.layers) == 1 {
		w.bend(i, y, p0, p1)
		return
	}
	n := 0
	s.sign = s.sign[:0]
	for _, v := range w.images[i].stops { // pixels rise, as a list must
		if v.t > p0.eps && v.t < p1.eps {
			c.list[n], c.kink[n] = uint32(v.pixel), (v.t-p0.eps)*(p1.eps-v.t)/(p1.eps-p0.eps)
			s.sign = append(s.sign, w.origin.s[i*in+int(v.pixel)])
			n++
		}
	}
	if n == 0 {
		w.bend(i, y, p0, p1)
		return
	}
	a := &m.layers[0]
	s.first, s.whole = resize(s.first, a.stride), resize(s.whole, a.stride)
	clear(s.first)
	clear(s.whole)
	w.rows.flop += 4 * uint64(n) * uint64(a.wt.N)
	m.absolute.MulAddGroups(s.whole, a.stride, []gemm.Group[T]{{Rows: 1, List: c.list[:n], A: c.kink}})
	// A pixel that moves up and stops lies above its line, one that moves down lies below.
	for k, sign := range s.sign {
		c.kink[k] *= sign
	}
	a.wt.MulAddGroups(s.first, a.stride, []gemm.Group[T]{{Rows: 1, List: c.list[:n], A: c.kink}})
	z0, z1 := p0.layer(m, 0), p1.layer(m, 0)
	s.list, s.kink = resize(s.list, a.out+gemm.VectorPad), resize(s.kink, a.out+gemm.VectorPad)
	falls, rises := 0, 0
	first, whole := s.first[:len(z0)], s.whole[:len(z0)]
	z1 = z1[:len(z0)]
	for k, v0 := range z0 {
		v1, sum := z1[k], whole[k]
		if v0+sum <= 0 && v1+sum <= 0 { // it is off all the way
			continue
		}
		up, down := max((sum+first[k])/2, 0), max((sum-first[k])/2, 0)
		switch {
		case v0 <= 0 && v1 <= 0:
			up, down = max(max(v0, v1)+up, 0), 0
		case v0 < 0:
			down += v0 * v1 / (v0 - v1)
		case v1 < 0:
			down += v0 * v1 / (v1 - v0)
		}
		if down > 0 {
			c.list[falls], c.kink[falls] = uint32(k), down
			falls++
		}
		if up > 0 {
			s.list[rises], s.kink[rises] = uint32(k), up
			rises++
		}
	}
	clear(c.bound)
	rates := w.m.rates
	w.weigh(rates.at(1, y), falls)
	c.swap(rates.classes)
	c.list, s.list, c.kink, s.kink = s.list, c.list, s.kink, c.kink
	w.weigh(rates.at(1, y), rises)
	c.list, s.list, c.kink, s.kink = s.list, c.list, s.kink, c.kink
	c.swap(rates.classes)
	w.bendFrom(1, y, p0, p1)
}
