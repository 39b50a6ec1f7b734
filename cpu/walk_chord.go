package cpu

import (
	"cmp"
	"slices"

	"advsweep/attack"
	"advsweep/internal/gemm"
)

// A point is a place on a ray with the layers there: row row of the matrices z.
type point[T Float] struct {
	eps T
	z   [][]T
	row int
}

// layer returns layer l before its ReLU, [out].
func (p *point[T]) layer(m *mlp[T], l int) []T {
	a := &m.layers[l]
	return p.z[l][p.row*a.stride:][:a.out]
}

// A chord is the memory for what is concluded of a ray between two of its points. between
// overwrites it for each pair: bend sets bound, and margins sets margin. A rival of a label is a
// class that it can lose to.
type chord[T Float] struct {
	list []uint32 // units with a kink, or pixels that stop, between the points
	kink []T      // how far each leaves its line
	// how far margins lie below, then above their lines, by rival [2·C, whole vectors]
	bound  []T
	margin [2][]T // over each rival at both points [rivals]
	inner  [2][]T // the same on their lines, at two places between the points
}

// resize makes room for a model with in pixels.
func (c *chord[T]) resize(m *mlp[T], in int) {
	widest, out := in, m.top().out
	for l := range m.layers {
		widest = max(widest, m.layers[l].out)
	}
	c.list, c.kink = resize(c.list, widest+gemm.VectorPad), resize(c.kink, widest+gemm.VectorPad)
	c.bound = resize(c.bound, m.rates.at(len(m.layers)-1, 0).Padded())
	for k := range c.margin {
		c.margin[k], c.inner[k] = resize(c.margin[k], out), resize(c.inner[k], out)
	}
}

// weigh adds to bound the rates m of the first n kinks, times how far they go.
func (w *walk[T]) weigh(m *gemm.Matrix[T], n int) {
	c := &w.chord
	w.rows.flop += 2 * uint64(n) * uint64(m.N)
	m.MulAddGroups(c.bound, len(c.bound), []gemm.Group[T]{{Rows: 1, List: c.list[:n], A: c.kink}})
}

// swap exchanges what bounds margins below and above, for C rivals.
func (c *chord[T]) swap(C int) {
	below, above := c.bound[:C], c.bound[C:2*C]
	for k, v := range below {
		below[k], above[k] = above[k], v
	}
}

// conclude draws conclusions from the points of s, which were looked at.
func (w *walk[T]) conclude(s stretch[T]) {
	at := func(r int) point[T] { return point[T]{s.eps[r], w.points, s.row + r} }
	switch s.from {
	case fromClean:
		w.between(s.image, point[T]{0, w.origin.z, s.image}, at(0))
	case fromLast:
		w.between(s.image, point[T]{s.last, w.points, s.row - 1}, at(0))
	}
	for r := range len(s.points()) - 1 {
		w.between(s.image, at(r), at(r+1))
	}
}

// between draws conclusions for the ray of image i from p0 to p1.
func (w *walk[T]) between(i int, p0, p1 point[T]) {
	c, v := &w.chord, &w.images[i]
	C, y := w.m.rates.classes, w.b.loaded.labels[v.image]
	w.bend(i, y, &p0, &p1)
	if !w.margins(y, &p0, &p1) {
		w.fail(i)
		return
	}
	if w.read != nil {
		w.read.between(w, i, &p0, &p1)
		defer w.read.beyond(w, i, &p0, &p1)
	}
	// A unit whose input is 0 but for rounding changes sign again and again, wherever one looks. It
	// moves a margin by less than rounding does, which no shorter stretch can tell.
	farthest := T(0)
	for _, far := range c.bound[:2*C] {
		farthest = max(farthest, far)
	}
	if farthest <= v.noise/256 || v.opened > maxOpened {
		w.straight(i, p0.eps, p1.eps, c.margin[0], c.margin[1])
		return
	}
	widen(c.bound[:2*C], c.bound, v.noise)
	s := w.sure(y, c.bound, p0.eps, p1.eps)
	if s.from >= s.to {
		v.know(p0.eps, p1.eps, false)
		return
	}
	v.know(p0.eps, s.from, false)
	if s.lo < s.hi {
		w.reopen(i, s.from, s.lo, p0.eps, p1.eps)
		v.know(s.lo, s.hi, true)
		w.reopen(i, s.hi, s.to, p0.eps, p1.eps)
	} else {
		w.reopen(i, s.from, s.to, p0.eps, p1.eps)
	}
	v.know(s.to, p1.eps, false)
}

// widen writes to dst bounds of margins that are wider by what rounding may do to a margin. dst may
// be bound.
func widen[T Float](dst, bound []T, noise T) {
	const safe = 1 + 1e-4 // the bounds round too
	for j := range dst {
		dst[j] = T(bound[j]*safe) + noise
	}
}

// bend computes how far each margin of class y over its rivals may lie below and above its line
// from p0 to p1 on the ray of image i.
func (w *walk[T]) bend(i int, y int32, p0, p1 *point[T]) {
	c, r := &w.chord, w.m.rates
	clear(c.bound)
	w.bendFrom(0, y, p0, p1)
	if n := w.stopsBetween(i, p0.eps, p1.eps, false); n > 0 {
		w.weigh(r.at(0, y), n)
	}
	// A pixel that moved up to its bound lies above its line and not below, as a unit does.
	if n := w.stopsBetween(i, p0.eps, p1.eps, true); n > 0 {
		c.swap(r.classes)
		w.weigh(r.at(0, y), n)
		c.swap(r.classes)
	}
}

// bendFrom adds to the bounds what the units of the layers from l on do.
func (w *walk[T]) bendFrom(l int, y int32, p0, p1 *point[T]) {
	c := &w.chord
	for ; l < len(w.m.layers)-1; l++ {
		if n := w.m.vec.Kinked(c.list, c.kink, p0.layer(w.m, l), p1.layer(w.m, l)); n > 0 {
			w.weigh(w.m.rates.at(l+1, y), n)
		}
	}
}

// stopsBetween lists the pixels of image i that stop between e0 and e1 and move up, or down, with
// how far each leaves its line. It returns how many they are.
func (w *walk[T]) stopsBetween(i int, e0, e1 T, up bool) (n int) {
	c, in := &w.chord, w.b.model.in
	for _, v := range w.images[i].stops {
		if v.t > e0 && v.t < e1 && up == (w.origin.s[i*in+int(v.pixel)] > 0) {
			c.list[n], c.kink[n] = uint32(v.pixel), (v.t-e0)*(e1-v.t)/(e1-e0)
			n++
		}
	}
	return n
}

// margins writes the margins of class y over its rivals at p0 and p1. It returns false if one is
// not finite.
func (w *walk[T]) margins(y int32, p0, p1 *point[T]) (finite bool) {
	c, top := &w.chord, len(w.m.layers)-1
	z0, z1 := p0.layer(w.m, top), p1.layer(w.m, top)
	c.margin[0], c.margin[1] = c.margin[0][:0], c.margin[1][:0]
	for _, rival := range w.m.rates.rivals[y] {
		c.margin[0] = append(c.margin[0], z0[y]-z0[rival])
		c.margin[1] = append(c.margin[1], z1[y]-z1[rival])
	}
	for k, m0 := range c.margin[0] {
		m1 := c.margin[1][k]
		if d := m0 - m0 + m1 - m1; d != 0 { // NaN
			return false
		}
	}
	return true
}

// A sure is what margins and their bounds say of a part of a ray: the class is given from lo to hi,
// unless lo >= hi, and not given up to from and after to.
type sure[T Float] struct{ lo, hi, from, to T }

// sure finds where from e0 to e1 every margin of class y, of which the chord has the ends, is above
// 0, and where one is below, wherever within its bound [2·C] it lies.
func (w *walk[T]) sure(y int32, bound []T, e0, e1 T) sure[T] {
	c, C := &w.chord, w.m.rates.classes
	below, above := bound[:C], bound[C:2*C]
	s := sure[T]{e0, e1, e0, e1}
	for k, rival := range w.m.rates.rivals[y] {
		m0, m1 := c.margin[0][k], c.margin[1][k]
		if C == 1 {
			rival = 0
		}
		low, high := below[rival], above[rival]
		switch l0, l1 := m0-low, m1-low; {
		case l0 > 0 && l1 > 0:
		case l0 > 0:
			s.hi = min(s.hi, root(e0, e1, l0, l1))
		case l1 > 0:
			s.lo = max(s.lo, root(e0, e1, l0, l1))
		default:
			s.lo = e1
		}
		switch h0, h1 := m0+high, m1+high; {
		case h0 < 0 && h1 < 0:
			s.from = e1
		case h0 < 0:
			s.from = max(s.from, root(e0, e1, h0, h1))
		case h1 < 0:
			s.to = min(s.to, root(e0, e1, h0, h1))
		}
	}
	s.lo, s.hi = max(s.lo, s.from), min(s.hi, s.to)
	return s
}

// root is where the line from v0 at e0 to v1 at e1 is 0. v0 and v1 have opposite signs.
func root[T Float](e0, e1, v0, v1 T) T {
	t := float64(v0) / (float64(v0) - float64(v1))
	return min(max(T(float64(e0)+float64(t*(float64(e1)-float64(e0)))), e0), e1)
}

// reopen has the ray of image i from u0 to u1 looked at again. It lies within e0 to e1, of which
// the margins are in the chord. Where it is so short that rounding decides, their lines are taken
// for the truth.
func (w *walk[T]) reopen(i int, u0, u1, e0, e1 T) {
	if u1 <= u0 {
		return
	}
	// Two points have a quarter of the bound that five have. Where the rest is short, that is
	// little enough.
	s := stretch[T]{image: i, n: 2, eps: [gemm.GroupRows]T{u0, u1}}
	if (u1-u0)*8 > e1-e0 {
		s.n = gemm.GroupRows
		for k := range s.eps {
			s.eps[k] = u0 + T(T((u1-u0)*T(k))/T(len(s.eps)-1))
		}
		s.eps[len(s.eps)-1] = u1
	}
	if p := s.points(); u1-u0 > 4*unit[T]()*w.scale(u1) && p[1] > u0 && p[len(p)-2] < u1 {
		w.open = append(w.open, s)
		w.images[i].opened++
		return
	}
	c, t0, t1 := &w.chord, (u0-e0)/(e1-e0), (u1-e0)/(e1-e0)
	c.inner[0], c.inner[1] = c.inner[0][:0], c.inner[1][:0]
	for k, m0 := range c.margin[0] {
		c.inner[0] = append(c.inner[0], m0+T((c.margin[1][k]-m0)*t0))
		c.inner[1] = append(c.inner[1], m0+T((c.margin[1][k]-m0)*t1))
	}
	w.straight(i, u0, u1, c.inner[0], c.inner[1])
}

// straight draws conclusions for a part of a ray on which the margins over the rivals are lines,
// from m0 at e0 to m1 at e1.
func (w *walk[T]) straight(i int, e0, e1 T, m0, m1 []T) {
	v := &w.images[i]
	y := w.b.loaded.labels[v.image]
	lo, hi := e0, e1
	for k, rival := range w.m.rates.rivals[y] {
		wins := func(m T) bool { return m > 0 || m == 0 && rival > y } // the first class on a tie
		switch r0, r1 := wins(m0[k]), wins(m1[k]); {
		case r0 && r1:
		case r0:
			hi = min(hi, root(e0, e1, m0[k], m1[k]))
		case r1:
			lo = max(lo, root(e0, e1, m0[k], m1[k]))
		default:
			lo = e1
		}
	}
	if lo >= hi {
		v.know(e0, e1, false)
		return
	}
	v.know(e0, lo, false)
	v.know(lo, hi, true)
	v.know(hi, e1, false)
}

// know notes that the image is given its label everywhere from e0 to e1, or nowhere.
func (v *walked[T]) know(e0, e1 T, right bool) {
	if e0 < e1 {
		v.known = append(v.known, piece{float64(e0), float64(e1), right})
	}
}

// intervals joins the pieces of a whole ray to the intervals of those that are right.
func intervals(p []piece) []attack.Interval {
	slices.SortFunc(p, func(a, b piece) int { return cmp.Compare(a.lo, b.lo) })
	var all []attack.Interval
	for _, v := range p {
		switch n := len(all); {
		case !v.right:
		case n > 0 && all[n-1].Hi == v.lo:
			all[n-1].Hi = v.hi
		default:
			all = append(all, attack.Interval{Lo: v.lo, Hi: v.hi})
		}
	}
	return all
}

// scale is what x0 + e·s rounds at: that of the pixels, or of e, at most the largest eps.
func (w *walk[T]) scale(e T) T { return min(w.max, max(1, 2*e)) }
