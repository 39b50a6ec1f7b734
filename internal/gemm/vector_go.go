package gemm

import (
	"math"
	"math/bits"
	"unsafe"
)

// The functions here compute the methods of Vector on a processor without assembly, and the columns
// that the assembly leaves over. Those are from to n-1, and at columns are listed before. A
// conversion to T keeps compilers from fusing.

func positiveGo[T Float](list []uint32, a []T, lda int, v, m []T, ld, from, n, rows, at int) int {
	if rows == 1 {
		m, v, a := m[:n], v[:n], a[:n]
		for i := from; i < n; i++ {
			// Written before it is known to count, since a branch could not be predicted.
			list[at], a[at] = uint32(i), v[i]
			if !(m[i] <= 0) {
				at++
			}
		}
		return at
	}
	for i := from; i < n; i++ {
		any := 0
		for r := range rows {
			x := v[r*ld+i]
			own := 1
			if m[r*ld+i] <= 0 {
				x, own = 0, 0
			}
			a[r*lda+at] = x
			any |= own
		}
		list[at] = uint32(i)
		at += any
	}
	return at
}

func nonZeroGo[T Float](list []uint32, a []T, lda int, v []T, ld, from, n, rows, at int) int {
	for i := from; i < n; i++ {
		any := 0
		for r := range rows {
			x := v[r*ld+i]
			if x != 0 {
				any = 1
			}
			a[r*lda+at] = x
		}
		list[at] = uint32(i)
		at += any
	}
	return at
}

func flippedGo[T Float](list []uint32, a []T, lda int, z, z0 []T, ld, from, n, rows, at int) int {
	for i := from; i < n; i++ {
		any := 0
		old := z0[i] > 0
		for r := range rows {
			x := z[r*ld+i]
			if (x > 0) != old {
				any = 1
				x = T(math.Abs(float64(x)))
			} else {
				x = 0
			}
			a[r*lda+at] = x
		}
		list[at] = uint32(i)
		at += any
	}
	return at
}

func lineGo[T Float](dst, a []T, s T, c []T) {
	for i := range dst {
		dst[i] = a[i] + T(s*c[i])
	}
}

func plusGo[T Float](dst, a, c []T) {
	for i := range dst {
		dst[i] = a[i] + c[i]
	}
}

func moveGo[T Float](xs, v, diff, g, x0 []T, size, eps, lo, hi T) (zero, finite bool) {
	zero, finite = true, true
	for i, x := range xs {
		var s T
		switch {
		case g[i] > 0:
			s, zero = size, false
		case g[i] < 0:
			s, zero = -size, false
		}
		if d := g[i] - g[i]; d != d {
			finite = false
		}
		y := x + s
		c := y
		if l := x0[i] - eps; c < l {
			c = l
		}
		if c < lo {
			c = lo
		}
		if h := x0[i] + eps; c > h {
			c = h
		}
		if c > hi {
			c = hi
		}
		if c != y {
			s = c - x
		}
		xs[i], diff[i], v[i] = c, s-v[i], s
	}
	return zero, finite
}

func kinkedGo[T Float](list []uint32, p, z0, z1 []T, from, at int) int {
	for k := from; k < len(z0); k++ {
		a, b := z0[k], z1[k]
		if ab := a * b; ab < 0 {
			list[at] = uint32(k)
			// |a - b| = |a| + |b|, since the signs are opposite.
			p[at] = T(math.Abs(float64(ab / (a - b))))
			at++
		}
	}
	return at
}

func gateGo[T Float](dst, d, m []T) {
	for i, v := range m[:len(dst)] {
		x := d[i]
		if v <= 0 {
			x = 0
		}
		dst[i] = x
	}
}

// differencesGo adds to sums. It goes on from the bits of the largest difference, top, and from the
// count of those that differ. The bits of numbers that are not negative are in the order of the
// numbers, and those of a NaN are above all.
func differencesGo[T Float](sums *[32]float64, x, x0 []T, top uint64, differ int) (float64, int) {
	s := *sums
	for len(x) >= len(s) {
		y := (*[32]T)(x0)
		for k, v := range (*[32]T)(x) {
			d := float64(v) - float64(y[k])
			s[k] += float64(d * d)
			if bits := math.Float64bits(d) &^ (1 << 63); bits > top {
				top = bits
			}
			differ += differs(v, y[k])
		}
		x, x0 = x[len(s):], x0[len(s):]
	}
	for k, v := range x {
		d := float64(v) - float64(x0[k])
		s[k] += float64(d * d)
		top = max(top, math.Float64bits(d)&^(1<<63))
		differ += differs(v, x0[k])
	}
	*sums = s
	return math.Float64frombits(top), differ
}

// differs is 1 where a and b differ and 0 where they do not, without a branch.
func differs[T Float](a, b T) int {
	d := 0
	if a != b {
		d = 1
	}
	return d
}

func levelsGo[T Float](dst, x, x0 []T, eps, near float64) {
	for k, v := range x {
		lo := max(math.Ceil(float64(255*(float64(x0[k])-eps))-near), 0)
		hi := min(math.Floor(float64(255*(float64(x0[k])+eps))+near), 255)
		n := math.RoundToEven(255 * float64(v))
		if lo > hi {
			n, lo, hi = math.RoundToEven(255*float64(x0[k])), 0, 255
		}
		dst[k] = T(min(max(n, lo), hi)) / 255
	}
}

func expandGo[T Float](dst, src []T, masks []uint16) {
	lanes := 64 / int(unsafe.Sizeof(T(0)))
	for i, m := range masks {
		for ; m != 0; m &= m - 1 {
			dst[i*lanes+bits.TrailingZeros16(m)] = src[0]
			src = src[1:]
		}
	}
}
