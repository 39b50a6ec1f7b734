package cpu

import (
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A shape is height, width and channels of what lies [H, W, C] row-major: channels are beside each
// other, so that a window's rows are runs and a vector is filled by them. A vector of I is 1×1×I.
type shape struct{ h, w, c int }

func (s shape) size() int { return s.h * s.w * s.c }

// windows is y = b + Σ W·x over the windows of an image, one product of which each window is a row.
// An image with padding is copied into a frame of zeros. Where a window's rows are short (see
// lower.Windows.Swapped), a run would be over before it began: then the frame has, for each row of
// windows, the rows of the image that they take interleaved, and each window is one run.
type windows[T Float] struct {
	places         lower.Windows
	in, out        shape
	kernel, stride [2]int
	pad            [4]int
	interleaved    bool
	grid           gemm.Grid
	w              *gemm.Matrix[T] // [terms of a window, out.c]
	from           []T             // b, or zeros
}

// short is the least length for which a vector operation is worth its call. It changes no bit.
const short = 16

// newWindows has the weight that weight gives for output o, channel c, row u and column v of a
// window. bias may be nil.
func newWindows[T Float](path string, places lower.Windows, bias []T, weight func(o, c, u, v int) T) *windows[T] {
	in, out, kernel, stride, pad := shapeOf(places.In), shapeOf(places.Out), places.Kernel, places.Stride, places.Pad
	l := &windows[T]{places: places, in: in, out: out, kernel: kernel, stride: stride, pad: pad, interleaved: places.Swapped()}
	wide := in.w + pad[1] + pad[3]
	k := kernel[0] * kernel[1] * in.c
	l.grid = gemm.Grid{Rows: out.h, Cols: out.w, Step: 1}
	if l.interleaved {
		l.grid.RowStride, l.grid.ColStride = wide*kernel[0]*in.c, stride[1]*kernel[0]*in.c
		l.grid.Runs = []gemm.Run{{At: 0, N: k}}
	} else {
		l.grid.RowStride, l.grid.ColStride = stride[0]*wide*in.c, stride[1]*in.c
		for u := range kernel[0] {
			l.grid.Runs = append(l.grid.Runs, gemm.Run{At: u * wide * in.c, N: kernel[1] * in.c})
		}
	}
	l.w = gemm.NewMatrix[T](path, k, out.c)
	l.from = make([]T, l.w.Padded())
	copy(l.from, bias)
	l.pack(weight)
	return l
}

func (l *windows[T]) pack(weight func(o, c, u, v int) T) {
	b := make([]T, l.w.K*l.w.N)
	l.places.Terms(func(k, c, u, v int) {
		for o := range l.w.N {
			b[k*l.w.N+o] = weight(o, c, u, v)
		}
	})
	l.w.Pack(b, l.w.N, 1)
}

// terms is the grid of the transpose: row k has term k of each window.
func (l *windows[T]) terms() gemm.Grid {
	g := gemm.Grid{Rows: len(l.grid.Runs), Cols: l.grid.Runs[0].N, ColStride: 1, Step: l.grid.ColStride}
	if g.Rows > 1 {
		g.RowStride = l.grid.Runs[1].At
	}
	for r := range l.out.h {
		g.Runs = append(g.Runs, gemm.Run{At: r * l.grid.RowStride, N: l.out.w})
	}
	return g
}

// flop is how many operations one image takes.
func (l *windows[T]) flop() uint64 { return 2 * uint64(l.out.h*l.out.w) * uint64(l.w.K*l.w.N) }

// frame returns x [in] as the grid wants it, in the memory of buffer, whose zeros stay from one
// image to the next.
func (l *windows[T]) frame(buffer *[]T, x []T) []T {
	if !l.interleaved && l.pad == [4]int{} {
		return x
	}
	row, wide := l.in.w*l.in.c, l.in.w+l.pad[1]+l.pad[3]
	if !l.interleaved {
		tall := l.in.h + l.pad[0] + l.pad[2]
		if *buffer == nil {
			*buffer = make([]T, tall*wide*l.in.c)
		}
		for y := range l.in.h {
			copy((*buffer)[((y+l.pad[0])*wide+l.pad[1])*l.in.c:][:row], x[y*row:])
		}
		return *buffer
	}
	if *buffer == nil {
		*buffer = make([]T, l.out.h*wide*l.kernel[0]*l.in.c)
	}
	step := l.kernel[0] * l.in.c
	for r := range l.out.h {
		for u := range l.kernel[0] {
			y := r*l.stride[0] + u - l.pad[0]
			if y < 0 || y >= l.in.h {
				continue
			}
			from, to := x[y*row:][:row], (*buffer)[(r*wide+l.pad[1])*step+u*l.in.c:]
			if l.in.c == 1 {
				at := 0
				for _, v := range from {
					to[at] = v
					at += step
				}
				continue
			}
			for at := 0; len(from) > 0; at += step {
				for c, v := range from[:l.in.c] {
					to[at+c] = v
				}
				from = from[l.in.c:]
			}
		}
	}
	return *buffer
}

// apply writes y [out] for x [in].
func (l *windows[T]) apply(y, x []T, buffer *[]T, s *gemm.Scratch[T]) {
	l.w.MulWindows(y, l.out.c, l.from, l.frame(buffer, x), &l.grid, s)
}

// columns is the gradient of windows at x where a window of d is none of theirs: at each window
// W·d, added up where windows overlap.
type columns[T Float] struct {
	in, out        shape
	kernel, stride [2]int
	pad            [4]int
	vec            gemm.Vector[T]
	w              *gemm.Matrix[T] // [out.c, terms of a window]
	zeros          []T
	grid           gemm.Grid // of one row of windows
}

func newColumns[T Float](path string, in, out shape, kernel, stride [2]int, pad [4]int, weight func(o, c, u, v int) T) *columns[T] {
	l := &columns[T]{in: in, out: out, kernel: kernel, stride: stride, pad: pad, vec: gemm.NewVector[T](path)}
	l.w = gemm.NewMatrix[T](path, out.c, kernel[0]*kernel[1]*in.c)
	l.pack(weight)
	l.zeros = make([]T, l.w.Padded())
	l.grid = gemm.Grid{Rows: 1, Cols: out.w, ColStride: out.c, Runs: []gemm.Run{{At: 0, N: out.c}}, Step: 1}
	return l
}

func (l *columns[T]) pack(weight func(o, c, u, v int) T) {
	k := l.w.N
	b := make([]T, l.out.c*k)
	for o := range l.out.c {
		for u := range l.kernel[0] {
			for v := range l.kernel[1] {
				for c := range l.in.c {
					b[o*k+(u*l.kernel[1]+v)*l.in.c+c] = weight(o, c, u, v)
				}
			}
		}
	}
	l.w.Pack(b, k, 1)
}

func (l *columns[T]) flop() uint64 { return 2 * uint64(l.out.h*l.out.w) * uint64(l.w.K*l.w.N) }

// apply writes dx [in] for d [out].
func (l *columns[T]) apply(dx, d []T, buffer *[]T, s *gemm.Scratch[T]) {
	clear(dx)
	k := l.w.N
	*buffer = resize(*buffer, l.out.w*k)
	p := *buffer
	for r := range l.out.h {
		l.w.MulWindows(p, k, l.zeros, d[r*l.out.w*l.out.c:], &l.grid, s)
		for u := range l.kernel[0] {
			y := r*l.stride[0] + u - l.pad[0]
			if y < 0 || y >= l.in.h {
				continue
			}
			for col := range l.out.w {
				x := col*l.stride[1] - l.pad[1]
				from, to := max(0, -x), min(l.kernel[1], l.in.w-x) // of the window's columns
				if from >= to {
					continue
				}
				part := p[col*k+(u*l.kernel[1]+from)*l.in.c:][:(to-from)*l.in.c]
				sum := dx[(y*l.in.w+x+from)*l.in.c:][:len(part)]
				if len(part) >= short {
					l.vec.Add(sum, part)
					continue
				}
				for i, v := range part {
					sum[i] += v
				}
			}
		}
	}
}
