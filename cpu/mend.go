package cpu

import "unsafe"

// A mendRoom is the memory in which a worker mends the outputs of an image.
type mendRoom struct {
	pixels []likeness // [rows, columns] of all that windows take, with padding
	rows   []likeness // of three pixels side by side: [rows, columns of outputs]
	first  []int32    // by output: see winograd.mend
}

// A likeness is what is true of a pixel, or of all pixels of a window.
type likeness uint8

const (
	isZero    likeness = 1 << iota // all its numbers are 0
	likeLeft                       // they are those of the pixel on its left
	likeAbove                      // they are those of the pixel above it
)

// mend sets outputs y of an image x as internal/lower says of a Tile that is Mended.
func (a *winograd[T]) mend(r *mendRoom, y, x []T) {
	out := a.Out
	if !a.compare(r, x) {
		return
	}
	wide := out.W + 2
	r.rows = resize(r.rows, (out.H+2)*out.W)
	for h := range out.H + 2 {
		from := r.pixels[h*wide:][:wide]
		for w := range out.W {
			r.rows[h*out.W+w] = from[w] & from[w+1] & from[w+2]
		}
	}
	// first has an earlier output that is the same or the output itself, so that a way leads to the
	// first of all that are the same. Of a window that is all zero it is -1.
	r.first = resize(r.first, out.Pixels())
	for p := range r.first {
		window := r.rows[p] & r.rows[p+out.W] & r.rows[p+2*out.W]
		r.first[p] = int32(p)
		if window&isZero != 0 {
			r.first[p] = -1
			continue
		}
		if window&likeLeft != 0 && p%out.W > 0 {
			r.join(p, p-1)
		}
		if window&likeAbove != 0 && p >= out.W {
			r.join(p, p-out.W)
		}
	}
	for p := range r.first {
		to := y[p*out.C:][:out.C]
		if r.first[p] < 0 {
			copy(to, a.empty)
		} else if q := int(r.first[p]); q != p {
			copy(to, y[q*out.C:])
		}
	}
}

// root returns the first of all outputs that are the same as p.
func (r *mendRoom) root(p int) int {
	for int(r.first[p]) != p {
		p = int(r.first[p])
	}
	return p
}

// join makes p and q, and all that are the same as one of them, the same.
func (r *mendRoom) join(p, q int) {
	p, q = r.root(p), r.root(q)
	r.first[max(p, q)] = int32(min(p, q))
}

// compare finds the likeness of all pixels that windows take. It reports whether a pixel of the
// image has any, of those that are asked for. Pixels outside of it are 0.
func (a *winograd[T]) compare(r *mendRoom, x []T) (found bool) {
	in, wide := a.In, a.Out.W+2
	r.pixels = resize(r.pixels, (a.Out.H+2)*wide)
	top, left := a.Pad[0], a.Pad[1]
	for i := range r.pixels {
		r.pixels[i] = isZero
	}
	// at is the place in pixels of the one in row h and column w of the image.
	at := func(h, w int) int { return (h+top)*wide + w + left }
	for h := range in.H {
		line := x[h*in.W*in.C:]
		for w := range in.W {
			p := line[w*in.C:][:in.C]
			l := likeness(0)
			if zero(p) {
				l = isZero
			} else if a.Ties {
				if w > 0 && equal(p, line[(w-1)*in.C:]) {
					l = likeLeft
				}
				if h > 0 && equal(p, x[((h-1)*in.W+w)*in.C:]) {
					l |= likeAbove
				}
			}
			r.pixels[at(h, w)] = l
			found = found || l != 0
		}
	}
	if !found || !a.Ties {
		return found
	}
	// Zeros are like zeros. Nobody asks for what is beyond the first row and column.
	for i, l := range r.pixels {
		if l&isZero == 0 {
			continue
		}
		if i > 0 && r.pixels[i-1]&isZero != 0 {
			r.pixels[i] |= likeLeft
		}
		if i >= wide && r.pixels[i-wide]&isZero != 0 {
			r.pixels[i] |= likeAbove
		}
	}
	return true
}

// zero reports whether all of v, which is not empty, is 0 or -0.
func zero[T Float](v []T) bool {
	if unsafe.Sizeof(v[0]) == 4 {
		return noBits(unsafe.Slice((*uint32)(unsafe.Pointer(&v[0])), len(v)))
	}
	return noBits(unsafe.Slice((*uint64)(unsafe.Pointer(&v[0])), len(v)))
}

// noBits reports whether no element of v has a bit but the first, which is the sign of a float. It
// takes eight at a time without a branch.
func noBits[U uint32 | uint64](v []U) bool {
	for len(v) >= 8 {
		if ((v[0]|v[1])|(v[2]|v[3])|(v[4]|v[5])|(v[6]|v[7]))<<1 != 0 {
			return false
		}
		v = v[8:]
	}
	for _, b := range v {
		if b<<1 != 0 {
			return false
		}
	}
	return true
}
