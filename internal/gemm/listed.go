package gemm

// A ListedRow is a row of windows of several images, of which each pixel is listed by what is not
// zero in it. It is a part of a convolution in which terms that are zero are left out.
type ListedRow[T Float] struct {
	C       []T // from the first window of the first image on; windows lie N apart
	LDC     int // from an image to the next
	Images  int // GroupRows, 2 or 1
	Windows int
	Taps    []Tap[T]
}

// A Tap is a place of a window: which pixel each window has there. Pixels outside of the image are
// not there.
type Tap[T Float] struct {
	K           int        // the row of B that its first channel meets
	First, Last int        // the windows in which it is a pixel: First to Last-1
	Pixels      []Group[T] // Pixels[i·Step] is that of window First + i; its Row is not used
	Step        int
}

// MulListed computes C ← from + A·B, where the rows of A are the windows of rows, with the terms of
// each in the order of its taps, whose K rise. from [Padded()] is a bias or zeros. The bits are
// those of MulIm2col, but for the sign of zeros: only products with zero are left out of a chain. C
// must not overlap the others.
func (m *Matrix[T]) MulListed(rows []ListedRow[T], from []T, s *Scratch[T]) {
	from = from[:m.Padded()]
	for i := range rows {
		r := &rows[i]
		_ = r.C[(r.Images-1)*r.LDC+r.Windows*m.N-1]
		for _, tap := range r.Taps {
			for w := tap.First; w < tap.Last; w++ {
				if g := &tap.Pixels[(w-tap.First)*tap.Step]; len(g.List) > 0 {
					_ = g.A[(r.Images-1)*g.LDA+len(g.List)-1]
					_ = m.identity[tap.K+int(g.List[len(g.List)-1])]
				}
			}
		}
	}
	for j0 := 0; j0 < m.N; j0 += m.width {
		p := listedPanel[T]{m, m.part(j0, s), from[j0:]}
		for i := range rows {
			s.begun = p.row(&rows[i], j0, s.begun)
		}
	}
}

// A listedPanel is the product with one panel of B. It lives for one call of row.
type listedPanel[T Float] struct {
	m    *Matrix[T]
	b    part[T]
	from []T // what chains begin with
}

// row computes columns j0 to j0+w-1 of a row of windows. It returns begun, which says of each
// window whether its chains have begun, with the room that it needs.
func (p *listedPanel[T]) row(r *ListedRow[T], j0 int, begun []bool) []bool {
	n := p.m.N
	if cap(begun) < r.Windows {
		begun = make([]bool, r.Windows)
	}
	begun = begun[:r.Windows]
	clear(begun)
	_, mulAdd := p.m.kernel.index.of(r.Images, p.b.vectors)
	for _, tap := range r.Taps {
		b := &p.b.b[tap.K*p.b.width]
		for w := tap.First; w < tap.Last; w++ {
			g := &tap.Pixels[(w-tap.First)*tap.Step]
			if len(g.List) == 0 {
				continue
			}
			out, from := r.C[w*n+j0:], p.from
			if begun[w] {
				from = nil
			}
			begun[w] = true
			if p.b.w < p.b.width {
				init, ldi := p.b.begin(r.Images, from, out, r.LDC)
				mulAdd(len(g.List), &g.List[0], &g.A[0], g.LDA, 1, b, init, ldi, &p.b.tile[0], p.b.width)
				p.b.end(r.Images, out, r.LDC)
				continue
			}
			init, ldi := &out[0], r.LDC
			if from != nil {
				init, ldi = &from[0], 0
			}
			mulAdd(len(g.List), &g.List[0], &g.A[0], g.LDA, 1, b, init, ldi, &out[0], r.LDC)
		}
	}
	for w, yes := range begun {
		for i := 0; i < r.Images && !yes; i++ {
			copy(r.C[i*r.LDC+w*n+j0:][:p.b.w], p.from)
		}
	}
	return begun
}
