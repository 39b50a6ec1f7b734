package gemm

import (
	"slices"
	"unsafe"
)

// A Vector has the operations on vectors of one path. Each gives the same bits on every path. n is
// the length of the first slice where it is not given. The others must not be shorter. Slices must
// not overlap, except that two may be the same where a method says so.
type Vector[T Float] struct {
	// The assembly takes multiples of so many elements. 0: there is no assembly.
	whole                      multiple
	positive, nonZero, flipped [3]lister[T]
	line                       func(n int, dst, a *T, s T, c *T)
	plus                       func(n int, dst, a, c *T)
	move                       func(n int, xs, v, diff, g, x0 *T, size, eps, lo, hi T) (zero, finite bool)
	kinked                     lister[T]
	gate                       func(n int, dst, d, m *T)
	differences                func(n int, sums *float64, tops *uint64, x, x0 *T) (differ int)
	levels                     func(n int, dst, x, x0 *T, eps, near float64)
	expand                     func(n int, dst, src *T, masks *uint16)
	window                     windowKernels[T]
}

// A lister makes a list, for GroupRows rows, for two or for one.
type lister[T Float] func(n int, list *uint32, a *T, lda int, v, m *T, ld int) int

// NewVector returns the operations of a path that Path returned.
func NewVector[T Float](path string) Vector[T] {
	for _, v := range vectors(path) {
		if v, ok := v.(Vector[T]); ok {
			return v
		}
	}
	return Vector[T]{}
}

// assembly returns how many of n elements the assembly takes.
func (x *Vector[T]) assembly(n int) int { return x.whole.of(n) }

// A multiple is of how many elements some assembly takes multiples. 0: there is no assembly.
type multiple int

// of returns how many of n elements the assembly takes.
func (m multiple) of(n int) int {
	if m == 0 {
		return 0
	}
	return n - n%int(m)
}

// Takes reports whether there is assembly for n elements, to the last one.
func (x *Vector[T]) Takes(n int) bool { return x.whole > 0 && x.whole.of(n) == n }

// VectorPad is the room that the list makers need behind n elements.
const VectorPad = 16

// The three list makers take GroupRows, 2 or 1 rows. Rows of v, m and z have stride ld and n
// elements. A list maker writes the columns, rising, to list and their values to a[r·lda+t]. It
// returns how many columns these are. list and each row of a have room for n+VectorPad elements,
// and what lies behind the count is undefined. lda >= n+VectorPad.

// Positive lists the columns where !(m <= 0) in any row, so that NaN counts as positive. The values
// are those of v, but 0 where a row's own m <= 0. v may be m.
func (x Vector[T]) Positive(list []uint32, a []T, lda int, v, m []T, ld, n, rows int) int {
	at, from := x.list(&x.positive, list, a, lda, v, m, (rows-1)*ld+n, ld, n, rows)
	return positiveGo(list, a, lda, v, m, ld, from, n, rows, at)
}

// NonZero lists the columns where v != 0 in any row; NaN counts.
func (x Vector[T]) NonZero(list []uint32, a []T, lda int, v []T, ld, n, rows int) int {
	at, from := x.list(&x.nonZero, list, a, lda, v, v, n, ld, n, rows)
	return nonZeroGo(list, a, lda, v, ld, from, n, rows, at)
}

// Flipped lists the columns where, in any row, one of z > 0 and z0 > 0 holds and the other does
// not. z0 [n] is for all rows. The values are |z|, but 0 in rows where both hold or neither does.
func (x Vector[T]) Flipped(list []uint32, a []T, lda int, z, z0 []T, ld, n, rows int) int {
	at, from := x.list(&x.flipped, list, a, lda, z, z0, n, ld, n, rows)
	return flippedGo(list, a, lda, z, z0, ld, from, n, rows, at)
}

// list makes as much of a list as the assembly can. It returns how many columns are listed (at),
// and how many were looked at (from). m must have need elements.
func (x *Vector[T]) list(f *[3]lister[T], list []uint32, a []T, lda int, v, m []T, need, ld, n, rows int) (at, from int) {
	from = x.assembly(n)
	var assembly lister[T]
	switch rows {
	case GroupRows:
		assembly = f[0]
	case 2:
		assembly = f[1]
	case 1:
		assembly = f[2]
	}
	if from == 0 || assembly == nil {
		return 0, 0
	}
	_, _ = list[n+VectorPad-1], a[(rows-1)*lda+n+VectorPad-1]
	_, _ = v[(rows-1)*ld+n-1], m[need-1]
	return assembly(from, &list[0], &a[0], lda, &v[0], &m[0], ld), from
}

// Line writes dst = a + s·c. The product and the sum are each rounded, so that processors agree.
// dst may be a or c.
func (x Vector[T]) Line(dst, a []T, s T, c []T) {
	a, c = a[:len(dst)], c[:len(dst)]
	k := x.assembly(len(dst))
	if k > 0 {
		x.line(k, &dst[0], &a[0], s, &c[0])
	}
	lineGo(dst[k:], a[k:], s, c[k:])
}

// Plus writes dst = a + c. dst may be a.
func (x Vector[T]) Plus(dst, a, c []T) {
	a, c = a[:len(dst)], c[:len(dst)]
	k := x.assembly(len(dst))
	if k > 0 {
		x.plus(k, &dst[0], &a[0], &c[0])
	}
	plusGo(dst[k:], a[k:], c[k:])
}

// Add writes dst += c.
func (x Vector[T]) Add(dst, c []T) { x.Plus(dst, dst, c) }

// Move is one step of an iterated attack on one row. With s = sign(g), sign(0) = 0,
//
//	y = x + size·s
//	x' = min(max(y, x0-eps, lo), x0+eps, hi)
//	v' = size·s where x' == y, else x' - x
//	diff = v' - v
//
// xs and v become x' and v'. A NaN of g has sign 0. A bound that is NaN does not bound. Without
// bounds eps = hi = +Inf and lo = -Inf. diff may be g. Move reports whether s is zero in every
// element, and whether g is finite in every element.
func (x Vector[T]) Move(xs, v, diff, g, x0 []T, size, eps, lo, hi T) (zero, finite bool) {
	n := len(xs)
	v, diff, g, x0 = v[:n], diff[:n], g[:n], x0[:n]
	zero, finite = true, true
	k := x.assembly(n)
	if k > 0 {
		zero, finite = x.move(k, &xs[0], &v[0], &diff[0], &g[0], &x0[0], size, eps, lo, hi)
	}
	z, f := moveGo(xs[k:], v[k:], diff[k:], g[k:], x0[k:], size, eps, lo, hi)
	return zero && z, finite && f
}

// Kinked lists the columns where a = z0 and b = z1 [n] have opposite signs (a·b < 0). The values
// are
//
//	p = |a·b|/(|a|+|b|),
//
// which is how far max(z, 0) lies below its chord at most, for z on the line from a to b. list and
// p have room for n+VectorPad elements.
func (x Vector[T]) Kinked(list []uint32, p []T, z0, z1 []T) int {
	n := len(z0)
	z1 = z1[:n]
	from, at := x.assembly(n), 0
	if from > 0 {
		_, _ = list[n+VectorPad-1], p[n+VectorPad-1]
		at = x.kinked(from, &list[0], &p[0], 0, &z0[0], &z1[0], 0)
	}
	return kinkedGo(list, p, z0, z1, from, at)
}

// Gated writes dst = d, but 0 where m <= 0. A NaN in m is not below 0. Any two of the three may be
// the same: if d and m are, it is a ReLU.
func (x Vector[T]) Gated(dst, d, m []T) {
	d, m = d[:len(dst)], m[:len(dst)]
	k := x.assembly(len(dst))
	if k > 0 {
		x.gate(k, &dst[0], &d[0], &m[0])
	}
	gateGo(dst[k:], d[k:], m[k:])
}

// Gate writes d = 0 where m <= 0, see Gated.
func (x Vector[T]) Gate(d, m []T) { x.Gated(d, d, m) }

// Differences compares v with v0, of one length, in float64. Element k of sums is the sum of
// (v - v0)² over the elements whose index is k modulo 32, in rising order, each square rounded
// before it is added. top is the largest |v - v0|, NaN if there is one. differ is how many elements
// differ.
func (x Vector[T]) Differences(v, v0 []T) (sums [32]float64, top float64, differ int) {
	v0 = v0[:len(v)]
	var tops [8]uint64
	n := 0
	if x.differences != nil {
		n = len(v) &^ 31
	}
	if n > 0 {
		differ = x.differences(n, &sums[0], &tops[0], &v[0], &v0[0])
	}
	most := slices.Max(tops[:])
	top, differ = differencesGo(&sums, v[n:], v0[n:], most, differ)
	return sums, top, differ
}

// Levels rounds v to the levels k/255 of 8-bit pixels that are nearest and lie within eps of v0, or
// that are nearest to v0 where none does. near is how far, in levels, a number may lie from a level
// and still count as it. dst may be v.
func (x Vector[T]) Levels(dst, v, v0 []T, eps, near float64) {
	dst, v0 = dst[:len(v)], v0[:len(v)]
	n := 0
	if x.levels != nil {
		n = len(v) &^ 7
	}
	if n > 0 {
		x.levels(n, &dst[0], &v[0], &v0[0], eps, near)
	}
	levelsGo(dst[n:], v[n:], v0[n:], eps, near)
}

// Masks writes to masks the columns that list names, rising, a bit each: for each vector of 64 bytes
// a mask. It returns as many masks as n columns have vectors. masks has room for them.
func (x Vector[T]) Masks(masks []uint16, list []uint32, n int) []uint16 {
	lanes := 64 / int(unsafe.Sizeof(T(0)))
	masks = masks[:(n+lanes-1)/lanes]
	clear(masks)
	for _, c := range list {
		masks[int(c)/lanes] |= 1 << (int(c) % lanes)
	}
	return masks
}

// Expand writes the elements of src, one after another, to the columns of dst that masks names, see
// Masks. What it writes to the other columns is not defined. dst has all the columns, and is as long
// as Matrix.Padded says.
func (x Vector[T]) Expand(dst, src []T, masks []uint16) {
	if x.expand == nil || len(src) == 0 {
		expandGo(dst, src, masks)
		return
	}
	_ = dst[len(masks)*64/int(unsafe.Sizeof(T(0)))-1]
	x.expand(len(masks), &dst[0], &src[0], &masks[0])
}
