package gemm

import "slices"

// An Im2col says how to read a left-hand matrix A [Rows·Cols, K] from an image in which its rows
// lie as windows: the im2col matrix of a convolution, without a copy of each window. Row (r, c) of
// A is that of the window at row r and column c. It is made of segments of the image, one behind
// the other. A segment begins at its own distance from r·RowStride + c·ColStride. Windows may
// overlap.
type Im2col struct {
	Rows, Cols           int // of windows
	RowStride, ColStride int // from a window to the one below it, and to the one on its right
	Segments             []Segment
	Step                 int // from an element of a segment to the next; at least 1
	// Images is how many images there are, each with its windows; 0 stands for 1. ImageStride is
	// from an image to the next, and Below from its rows of C to those of the next.
	Images             int
	ImageStride, Below int
}

// A Segment is N elements of each row of A. They meet the next N rows of B.
type Segment struct{ At, N int }

// terms appends to list how far each element of a row of A lies from the beginning of its window.
func (g *Im2col) terms(list []int32) []int32 {
	for _, s := range g.Segments {
		for n := range s.N {
			list = append(list, int32(s.At+n*g.Step))
		}
	}
	return list
}

// flat returns g with windows that lie one behind the other as one row of them, for C with stride
// ldc. Rows of windows that are short fill no kernel.
func (g Im2col) flat(ldc int) Im2col {
	if g.Rows > 1 && g.RowStride == g.Cols*g.ColStride {
		g.Rows, g.Cols = 1, g.Rows*g.Cols
	}
	if g.Images > 1 && g.Rows == 1 && g.ImageStride == g.Cols*g.ColStride && g.Below == g.Cols*ldc {
		g.Images, g.Cols = 1, g.Images*g.Cols
	}
	return g
}

// MulIm2col computes C ← from + A·B, with A as g reads it from a, and C [Rows·Cols, N] row-major
// with stride ldc, for each image. from [Padded()] is a bias or zeros; nil stands for what is in C.
// The segments must have K elements in all, in the first 2³¹ of a. C must not overlap the others.
func (m *Matrix[T]) MulIm2col(c []T, ldc int, from, a []T, g *Im2col, s *Scratch[T]) {
	if g.Rows == 0 || g.Cols == 0 || m.N == 0 || m.K == 0 {
		return
	}
	more := max(1, g.Images) - 1
	_ = c[more*g.Below+(g.Rows*g.Cols-1)*ldc+m.N-1]
	if from != nil {
		from = from[:m.Padded()]
	}
	s.terms = g.terms(s.terms[:0])
	terms := s.terms[:m.K]
	_ = a[more*g.ImageStride+(g.Rows-1)*g.RowStride+(g.Cols-1)*g.ColStride+int(slices.Max(terms))]
	p := panelProduct[T]{m: m, ldc: ldc, a: a, g: g.flat(ldc)}
	for j0 := 0; j0 < m.N; j0 += m.width {
		p.b, p.c = m.part(j0, s), c[j0:]
		if p.from = nil; from != nil {
			p.from = from[j0:]
		}
		for k := 0; k < m.K; k += m.depth { // what the cache holds of a panel
			p.terms, p.w = terms[k:min(k+m.depth, m.K)], &p.b.b[k*p.b.width]
			p.all()
			p.from = nil
		}
	}
}

// A panelProduct is the product of some terms of the windows with one panel of B. It lives for one
// call of MulIm2col.
type panelProduct[T Float] struct {
	m     *Matrix[T]
	terms []int32 // where they lie in a window
	b     part[T]
	w     *T  // the row of the panel that the first term meets
	from  []T // what chains begin with; nil if they have begun
	c     []T // C from the panel's first column on
	ldc   int
	a     []T
	g     Im2col
}

// all computes all windows, five at a time. Where rows of windows are no multiple of five long, it
// takes the same window of five images. What is left of the images it takes one by one.
func (p *panelProduct[T]) all() {
	g := &p.g
	images, abreast := max(1, g.Images), 0
	if g.Cols%GroupRows != 0 {
		abreast = images - images%GroupRows
	}
	if abreast > 0 {
		for r := range g.Rows {
			for c := range g.Cols {
				p.line(p.place(0, r, c), g.ImageStride, g.Below, abreast)
			}
		}
	}
	for i := abreast; i < images; i++ {
		p.image(i)
	}
}

// image computes the windows of one image. It takes them from rows of windows. Where fewer than
// five of a row are left, it takes them from columns.
func (p *panelProduct[T]) image(i int) {
	g := &p.g
	right := func(r, c, n int) { p.line(p.place(i, r, c), g.ColStride, p.ldc, n) }
	whole := g.Cols - g.Cols%GroupRows
	for r := range g.Rows {
		right(r, 0, whole)
	}
	tall := g.Rows - g.Rows%GroupRows
	for c := whole; c < g.Cols; c++ {
		p.line(p.place(i, 0, c), g.RowStride, g.Cols*p.ldc, tall)
	}
	for r := tall; r < g.Rows; r++ {
		right(r, whole, g.Cols-whole)
	}
}

// A spot is where a window lies in a, and its row in c.
type spot struct{ at, to int }

// place returns the spot of window (r, c) of image i.
func (p *panelProduct[T]) place(i, r, c int) spot {
	g := &p.g
	return spot{i*g.ImageStride + r*g.RowStride + c*g.ColStride, i*g.Below + (r*g.Cols+c)*p.ldc}
}

// line computes n windows from w on. Each lies ars behind the one before it, and its row ldc.
func (p *panelProduct[T]) line(w spot, ars, ldc, n int) {
	for n > 0 {
		h, kernel := p.m.kernel.strips.of(n, p.b.vectors)
		times, out := n/h, p.c[w.to:]
		if p.b.w == p.b.width {
			init, ldi := &out[0], ldc
			if p.from != nil {
				init, ldi = &p.from[0], 0
			}
			kernel(times, len(p.terms), &p.terms[0], &p.a[w.at], ars, p.w, init, ldi, &out[0], ldc)
		} else {
			times = 1
			init, ldi := p.b.begin(h, p.from, out, ldc)
			kernel(times, len(p.terms), &p.terms[0], &p.a[w.at], ars, p.w, init, ldi, &p.b.tile[0], p.b.width)
			p.b.end(h, out, ldc)
		}
		w.at, w.to, n = w.at+times*h*ars, w.to+times*h*ldc, n-times*h
	}
}
