package cpu

import (
	"unsafe"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A windows is how the windows of a convolution lie in an image, NHWC. Terms of a window that lie
// beside each other in the order of their sum are one segment of memory.
//
// An image with padding is first copied into a frame of zeros.
type windows[T Float] struct {
	lower.Unfold
	reads gemm.Im2col // of the first group
}

// An im2col is y = b + Σ W·x over the windows of images: one product for each group of channels,
// whose left-hand matrix has a row for each window. The matrix is not made. The product reads the
// windows where they lie.
//
// New makes it. Only pack changes its weights.
type im2col[T Float] struct {
	windows[T]
	w    []*gemm.Matrix[T] // by group: [terms of a window, channels of Out in the group]
	from [][]T             // by group: b, or zeros
}

// short is the least length for which a vector operation is worth its call. It changes no bit.
const short = 16

func newWindows[T Float](places lower.Unfold) windows[T] {
	l := windows[T]{Unfold: places}
	in, kernel, wide, far := l.In, l.Kernel, l.wide(), l.Dilation
	l.reads = gemm.Im2col{Rows: l.Out.H, Cols: l.Out.W, Step: 1}
	l.reads.RowStride, l.reads.ColStride = l.Stride[0]*wide*in.C, l.Stride[1]*in.C
	if l.Swapped() {
		for v := range kernel[1] {
			for u := range kernel[0] {
				l.reads.Segments = append(l.reads.Segments, gemm.Segment{At: (u*far[0]*wide + v*far[1]) * in.C, N: l.Depth()})
			}
		}
		return l
	}
	for u := range kernel[0] {
		row := u * far[0] * wide * in.C
		if l.joined() {
			l.reads.Segments = append(l.reads.Segments, gemm.Segment{At: row, N: kernel[1] * in.C})
			continue
		}
		for v := range kernel[1] {
			l.reads.Segments = append(l.reads.Segments, gemm.Segment{At: row + v*far[1]*in.C, N: l.Depth()})
		}
	}
	return l
}

// newIm2col packs the weights. weight gives the one for output o, channel c, row u and column v of
// a window. bias may be nil.
func newIm2col[T Float](path string, places lower.Unfold, bias []T, weight func(o, c, u, v int) T) *im2col[T] {
	l := &im2col[T]{windows: newWindows[T](places)}
	terms, filters := l.Size(), l.Out.C/l.Groups
	for range l.Groups {
		w := gemm.NewMatrix[T](path, terms, filters)
		l.w, l.from = append(l.w, w), append(l.from, make([]T, w.Padded()))
	}
	l.pack(weight, bias)
	return l
}

// joined reports whether the places of a row of a window lie beside each other, with nothing of
// another group between them.
func (l *windows[T]) joined() bool { return l.Groups == 1 && l.Dilation[1] == 1 }

// wide is the width of an image with its padding.
func (l *windows[T]) wide() int { return l.In.W + l.Pad[1] + l.Pad[3] }

// pack takes other weights. bias may be nil.
func (l *im2col[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	for g, w := range l.w {
		if bias != nil {
			copy(l.from[g], bias[g*w.N:][:w.N])
		}
		part := w.Part()
		b := make([]T, w.K*part)
		for j0 := 0; j0 < w.N; j0 += part {
			l.Terms(func(k, c, u, v int) {
				for o := j0; o < min(j0+part, w.N); o++ {
					b[k*part+o-j0] = weight(g*w.N+o, c, u, v)
				}
			})
			w.PackPart(j0, b, part, 1)
		}
	}
}

// transposed reads the transpose of the matrix of a convolution of one group without dilation: row
// k has term k of each window. Rows of what it makes lie ld apart.
func (l *windows[T]) transposed(ld int) gemm.Im2col {
	row := l.wide() * l.In.C
	g := gemm.Im2col{Rows: l.Kernel[0], RowStride: row, Cols: l.Kernel[1] * l.In.C, ColStride: 1, Step: l.reads.ColStride}
	if l.Swapped() {
		g.Cols, g.Images, g.ImageStride = l.In.C, l.Kernel[1], l.In.C
		g.Below = g.Rows * g.Cols * ld
	}
	for r := range l.Out.H {
		g.Segments = append(g.Segments, gemm.Segment{At: r * l.reads.RowStride, N: l.Out.W})
	}
	return g
}

// flop is how many operations one image takes, with those that lists leave out. How many these are
// depends on which images are listed together.
func (l *im2col[T]) flop() uint64 { return 2 * uint64(l.Out.Size()) * uint64(l.w[0].K) }

// frames returns n images x [In], which lie ldx apart, as reads wants them, and how far apart: x
// itself, or copies in buffer. The zeros of buffer stay from one image to the next.
func (l *windows[T]) frames(buffer *[]T, n int, x []T, ldx int) (from []T, ld int) {
	if l.Pad == [4]int{} {
		return x, ldx
	}
	ld = (l.In.H + l.Pad[0] + l.Pad[2]) * l.wide() * l.In.C
	if len(*buffer) < n*ld {
		*buffer = make([]T, n*ld)
	}
	for i := range n {
		frame((*buffer)[i*ld:][:ld], l.wide(), x[i*ldx:], l.Unfold)
	}
	return *buffer, ld
}

// frame writes the image x [In] of l to its place in a frame that is so many pixels wide, with the
// padding of l above and on its left. What lies around stays as it is.
func frame[T Float](to []T, wide int, x []T, l lower.Unfold) {
	row := l.In.W * l.In.C
	for y := range l.In.H {
		copy(to[((y+l.Pad[0])*wide+l.Pad[1])*l.In.C:][:row], x[y*row:])
	}
}

// apply writes y [n, Out] for x [n, In], whose images lie ldy and ldx apart.
func (l *im2col[T]) apply(m *memory[T], frame *[]T, n int, y []T, ldy int, x []T, ldx int) {
	m.rows.flop += uint64(n) * l.flop()
	if images := l.listed(m, n, x, ldx); images > 0 {
		l.applyListed(m, n, images, y, ldy, x, ldx)
		return
	}
	reads := l.reads
	x, reads.ImageStride = l.frames(frame, n, x, ldx)
	reads.Images, reads.Below = n, ldy
	for g, w := range l.w {
		w.MulIm2col(y[g*w.N:], l.Out.C, l.from[g], x[g*l.Depth():], &reads, m.gemm)
	}
}

// A col2im is the gradient at the input of a convolution where that is no convolution of d itself.
// The product W·d has for each window the gradient at each of its pixels. Where windows overlap
// these are added, over windows by rising row and then by rising column, as lower.Convolution says.
// Each group has a product of its own.
//
// The terms of a window lie in the order row, column, channel, so that a row of the window is
// contiguous where it is added. Each term is a column of the product, so their order is the order
// of no sum, and need not be that of lower.Unfold.Terms.
//
// New makes it. Only pack changes its weights.
type col2im[T Float] struct {
	lower.Unfold
	vec gemm.Vector[T]
	// by group: [channels of Out in the group, terms of a window and padding]
	w     []*gemm.Matrix[T]
	terms int // of a window
	zeros []T
	reads gemm.Im2col // one row of windows of d, or all of them, each of one pixel
	sums  []span      // the terms that each pixel is the sum of; nil if they are added row by row
}

func newCol2im[T Float](path string, places lower.Unfold, weight func(o, c, u, v int) T) *col2im[T] {
	l := &col2im[T]{Unfold: places, vec: gemm.NewVector[T](path), terms: places.Size()}
	filters := l.Out.C / l.Groups
	for range l.Groups { // of whole vectors, which a product writes without a copy
		padded := gemm.NewMatrix[T](path, 0, l.terms).Padded()
		l.w = append(l.w, gemm.NewMatrix[T](path, filters, padded))
	}
	l.pack(weight, nil)
	l.zeros = make([]T, l.w[0].Padded())
	l.reads = gemm.Im2col{Rows: 1, Cols: l.Out.W, ColStride: l.Out.C, Segments: []gemm.Segment{{At: 0, N: filters}}, Step: 1}
	k, c := l.w[0].N, l.In.C
	if size := l.Out.Pixels() * k; l.Groups == 1 && size*int(unsafe.Sizeof(T(0))) <= sumsBytes && (l.vec.Takes(c) || c <= gemm.FewChannels) {
		l.reads.Rows, l.reads.RowStride = l.Out.H, l.Out.W*l.Out.C
		l.sums = back(places, byWindow, k, func(window, place int) gemm.Place { return gemm.Place{X: int32(window*k + place*c)} })
	}
	return l
}

// sumsBytes bounds the terms of an image that are all made before they are added up. They should
// stay in the second-level cache. The bits are the same either way.
const sumsBytes = 256 << 10

// pack takes other weights, see newIm2col. There is no bias.
func (l *col2im[T]) pack(weight func(o, c, u, v int) T, _ []T) {
	depth := l.Depth()
	for g, w := range l.w {
		b := make([]T, w.K*w.N)
		for o := range w.K {
			for u := range l.Kernel[0] {
				for v := range l.Kernel[1] {
					for c := range depth {
						b[o*w.N+(u*l.Kernel[1]+v)*depth+c] = weight(g*w.K+o, c, u, v)
					}
				}
			}
		}
		w.Pack(b, w.N, 1)
	}
}

// flop is how many operations one image takes.
func (l *col2im[T]) flop() uint64 { return 2 * uint64(l.Out.Size()) * uint64(l.terms) }

// apply writes dx [n, In] for d [n, Out], whose images lie lddx and ldd apart.
func (l *col2im[T]) apply(m *memory[T], buffer *[]T, n int, dx []T, lddx int, d []T, ldd int) {
	for i := range n {
		l.image(dx[i*lddx:][:l.In.Size()], d[i*ldd:], buffer, m.gemm)
	}
	m.rows.flop += uint64(n) * l.flop()
}

// image writes dx [In] for d [Out].
func (l *col2im[T]) image(dx, d []T, buffer *[]T, s *gemm.Scratch[T]) {
	k := l.w[0].N
	*buffer = resize(*buffer, l.reads.Rows*l.Out.W*k)
	if l.sums != nil {
		l.w[0].MulIm2col(*buffer, k, l.zeros, d, &l.reads, s)
		for i := range l.sums {
			a := &l.sums[i]
			l.vec.Sum(&a.Windows, dx[a.to:], (*buffer)[a.from:])
		}
		return
	}
	clear(dx)
	for r := range l.Out.H {
		for g, w := range l.w {
			w.MulIm2col(*buffer, k, l.zeros, d[r*l.Out.W*l.Out.C+g*w.K:], &l.reads, s)
			for u := range l.Kernel[0] {
				if y := r*l.Stride[0] + u*l.Dilation[0] - l.Pad[0]; y >= 0 && y < l.In.H {
					row := dx[y*l.In.W*l.In.C:]
					if l.Groups == 1 && l.Dilation[1] == 1 {
						l.addRow(row, *buffer, u)
					} else {
						l.addPlaces(row[g*l.Depth():], *buffer, u)
					}
				}
			}
		}
	}
}

// addRow adds row u of each window of one row of windows, from p [OW, terms], to the image row dx.
func (l *col2im[T]) addRow(dx, p []T, u int) {
	k, wide, channels, stride, pad := l.w[0].N, l.Kernel[1], l.In.C, l.Stride[1], l.Pad[1]
	// the first window that begins in the image, and the one behind the last that ends in it
	first, end := (pad+stride-1)/stride, 0
	if room := l.In.W - wide + pad; room >= 0 {
		end = min(room/stride+1, l.Out.W)
	}
	for col := 0; col < l.Out.W; col++ {
		x := col*stride - pad
		if n := wide * channels; col == first && first < end && n < short && n%3 == 0 {
			addTriples(dx[x*channels:], p[col*k+u*n:], end-first, n, stride*channels, k)
			col = end - 1
			continue
		}
		from, to := max(0, -x), min(wide, l.In.W-x) // the window's columns that are in the image
		if from >= to {
			continue
		}
		l.add(dx[(x+from)*channels:], p[col*k+(u*wide+from)*channels:][:(to-from)*channels])
	}
}

// addTriples adds n terms, a multiple of 3, of each of so many windows. It is for windows 3 wide,
// for which a loop over the terms takes longer than the terms.
func addTriples[T Float](sum, terms []T, windows, n, step, k int) {
	for w := range windows {
		for i := 0; i < n; i += 3 {
			s, t := (*[3]T)(sum[w*step+i:]), (*[3]T)(terms[w*k+i:])
			s[0] += t[0]
			s[1] += t[1]
			s[2] += t[2]
		}
	}
}

// addPlaces does the same for one group, whose channels begin at dx, or for places that lie apart.
func (l *col2im[T]) addPlaces(dx, p []T, u int) {
	k, wide, depth := l.w[0].N, l.Kernel[1], l.Depth()
	for col := range l.Out.W {
		for v := range wide {
			if x := col*l.Stride[1] + v*l.Dilation[1] - l.Pad[1]; x >= 0 && x < l.In.W {
				l.add(dx[x*l.In.C:], p[col*k+(u*wide+v)*depth:][:depth])
			}
		}
	}
}

// add adds terms to as many numbers of sum.
func (l *col2im[T]) add(sum, terms []T) {
	sum = sum[:len(terms)]
	if len(terms) >= short {
		l.vec.Add(sum, terms)
		return
	}
	for i, v := range terms {
		sum[i] += v
	}
}
