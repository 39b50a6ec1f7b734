package cpu

import (
	"unsafe"

	"advsweep/internal/gemm"
)

// A listing is the memory in which a worker lists the pixels of images by the channels that are not
// zero. Rows of one image at neighbouring eps have most of these in common, so that a list is made
// for several of them together. It serves all windows over the pixel. Leaving out what is zero in
// all of them changes no bit.
type listing[T Float] struct {
	list   []uint32
	a      []T
	pixels []gemm.Group[T]
	taps   []gemm.Tap[T]
	rows   []gemm.ListedRow[T]
}

// listedBytes bounds the lists that are made before they are multiplied. They and a part of the
// weights should stay in the second-level cache.
const listedBytes = 512 << 10

// fewListed is the least number of channels for which lists are tried.
const fewListed = 32

// listedShare is what a product with lists takes for 1, 2 and GroupRows images, as a share of what
// the dense one takes for GroupRows. Measured for 32 to 512 channels of which none is zero.
var listedShare = map[int]float64{1: 0.5, 2: 0.7, gemm.GroupRows: 1.1}

// listed returns how many of n images x should be listed together, or 0 if the product should take
// all that they have. It lists the middle row of the first images, and compares what the products
// take.
func (l *im2col[T]) listed(m *memory[T], n int, x []T, ldx int) int {
	if l.Groups > 1 || l.Swapped() || l.In.C < fewListed || m.rows.dense {
		return 0
	}
	best, least := 0, 1.0
	for _, images := range []int{gemm.GroupRows, 2, 1} {
		if images > n {
			continue
		}
		m.listing.reset(l.In.W, images, l.In.C)
		sum := 0
		for col := range l.In.W {
			sum += m.listing.pixel(m.rows.vec, x[(l.In.H/2*l.In.W+col)*l.In.C:], ldx, images, l.In.C)
		}
		share := listedShare[images] * float64(sum) / float64(l.In.W*l.In.C) * gemm.GroupRows / float64(images)
		if share < least {
			best, least = images, share
		}
	}
	return best
}

// reset makes room for so many pixels of so many images.
func (s *listing[T]) reset(pixels, images, channels int) {
	lda := channels + gemm.VectorPad
	s.list, s.a = resize(s.list, pixels*lda)[:0], resize(s.a, pixels*images*lda)[:0]
	s.pixels = resize(s.pixels, pixels)[:0]
	s.taps, s.rows = s.taps[:0], s.rows[:0]
}

// pixel lists the channels of a pixel, which images have ld apart in x. It returns how many are not
// zero in all of them.
func (s *listing[T]) pixel(vec gemm.Vector[T], x []T, ld, images, channels int) int {
	lda, l, v := channels+gemm.VectorPad, len(s.list), len(s.a)
	s.list, s.a = s.list[:l+lda], s.a[:v+images*lda]
	n := vec.NonZero(s.list[l:], s.a[v:], lda, x, ld, channels, images)
	s.pixels = append(s.pixels, gemm.Group[T]{Rows: images, List: s.list[l:][:n], A: s.a[v:], LDA: lda})
	return n
}

// applyListed is apply by lists of so many images together.
func (l *im2col[T]) applyListed(m *memory[T], n, images int, y []T, ldy int, x []T, ldx int) {
	s := m.listing
	bytes := (l.In.C + gemm.VectorPad) * (4 + images*int(unsafe.Sizeof(T(0)))) // of a pixel
	room := max(listedBytes/bytes, l.In.W*l.reach())                           // pixels
	s.reset(room, images, l.In.C)
	for i := 0; i < n; {
		count := images
		for count > n-i { // the last images
			count = max(1, count/2)
		}
		for r := 0; r < l.Out.H; {
			from, _ := l.needs(r)
			left := room - len(s.pixels)
			end := r
			for end < l.Out.H {
				if _, to := l.needs(end); (to-from)*l.In.W > left {
					break
				}
				end++
			}
			if end == r { // there is room when the lists are empty
				l.multiplyListed(m)
				s.reset(room, images, l.In.C)
				continue
			}
			l.listRows(m, count, y[i*ldy:], ldy, x[i*ldx:], ldx, r, end)
			r = end
		}
		i += count
	}
	l.multiplyListed(m)
}

// reach is how many rows of an image a row of windows takes.
func (l *im2col[T]) reach() int { return (l.Kernel[0]-1)*l.Dilation[0] + 1 }

// needs returns the rows of an image that row r of windows takes, from the first to the one behind
// the last.
func (l *im2col[T]) needs(r int) (from, to int) {
	top := r*l.Stride[0] - l.Pad[0]
	from = min(max(0, top), l.In.H)
	return from, max(from, min(l.In.H, top+l.reach()))
}

// listRows lists what rows r to end-1 of windows take of so many images, and notes these rows.
func (l *im2col[T]) listRows(m *memory[T], images int, y []T, ldy int, x []T, ldx int, r, end int) {
	s, in := m.listing, l.In
	first, _ := l.needs(r)
	_, last := l.needs(end - 1)
	start := len(s.pixels)
	for p := first * in.W; p < last*in.W; p++ {
		s.pixel(m.rows.vec, x[p*in.C:], ldx, images, in.C)
	}
	pixels := s.pixels[start:]
	for ; r < end; r++ {
		begin := len(s.taps)
		for u := range l.Kernel[0] {
			h := r*l.Stride[0] + u*l.Dilation[0] - l.Pad[0]
			if h < 0 || h >= in.H {
				continue
			}
			for v := range l.Kernel[1] {
				lo, hi, col := l.Inside(v)
				if lo < hi {
					s.taps = append(s.taps, gemm.Tap[T]{K: (u*l.Kernel[1] + v) * in.C, First: lo, Last: hi, Pixels: pixels[(h-first)*in.W+col:], Step: l.Stride[1]})
				}
			}
		}
		s.rows = append(s.rows, gemm.ListedRow[T]{C: y[r*l.Out.W*l.Out.C:], LDC: ldy, Images: images, Windows: l.Out.W, Taps: s.taps[begin:len(s.taps):len(s.taps)]})
	}
}

// multiplyListed computes the rows of windows that are noted.
func (l *im2col[T]) multiplyListed(m *memory[T]) {
	l.w[0].MulListed(m.listing.rows, l.from[0], m.gemm)
}
