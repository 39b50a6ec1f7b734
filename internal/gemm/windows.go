package gemm

// A Grid is a left-hand matrix A [Rows·Cols, K] that lies in an array as the windows of an image
// do: row (r, c) is made of runs, one behind the other, of which each begins at its own distance
// from r·RowStride + c·ColStride. Windows may overlap, so that a convolution is a product without a
// copy of each window.
type Grid struct {
	Rows, Cols           int
	RowStride, ColStride int // from a window to the one below and to the one to the right
	Runs                 []Run
	Step                 int // between the elements of a run; at least 1
}

// A Run is N elements of each row of A, for the next N rows of B.
type Run struct{ At, N int }

// MulWindows computes C ← from + A·B with A = g in a: C [Rows·Cols, N] row-major with stride ldc,
// from [Padded()] a bias or zeros, or nil for what is in C. The runs must have K elements in all. C
// must not overlap the others.
func (m *Matrix[T]) MulWindows(c []T, ldc int, from, a []T, g *Grid, s *Scratch[T]) {
	if g.Rows == 0 || g.Cols == 0 || m.N == 0 || m.K == 0 {
		return
	}
	_ = c[(g.Rows*g.Cols-1)*ldc+m.N-1]
	if from != nil {
		from = from[:m.Padded()]
	}
	last := (g.Rows-1)*g.RowStride + (g.Cols-1)*g.ColStride
	if cap(s.tile) < GroupRows*m.width {
		s.tile = make([]T, GroupRows*m.width)
	}
	for j0 := 0; j0 < m.N; j0 += m.width {
		b, width := m.panel(j0)
		w := min(width, m.N-j0)
		k := 0
		for _, run := range g.Runs {
			_ = a[last+run.At+(run.N-1)*g.Step]
			for n := 0; n < run.N; n += m.depth { // what the cache holds of a panel
				p := windows[T]{m: m, list: m.identity[k:][:min(m.depth, run.N-n)], b: b, c: c[j0:], ldc: ldc, a: a[run.At+n*g.Step:], g: g, w: w, width: width, tile: s.tile}
				if k == 0 && from != nil {
					p.from = from[j0:]
				}
				p.all()
				k += len(p.list)
			}
		}
	}
}

// windows is the product of one panel and a part of one run.
type windows[T Float] struct {
	m          *Matrix[T]
	list       []uint32
	b, from, c []T // from is nil but where the chains begin
	ldc        int
	a          []T
	g          *Grid
	w, width   int
	tile       []T
}

// all takes windows by fives: those of a row, then, where less than five of a row are left, those
// of columns.
func (p *windows[T]) all() {
	g := p.g
	whole := g.Cols - g.Cols%GroupRows
	for r := range g.Rows {
		p.line(r, 0, whole, false)
	}
	tall := g.Rows - g.Rows%GroupRows
	for c := whole; c < g.Cols; c++ {
		p.line(0, c, tall, true)
	}
	for r := tall; r < g.Rows; r++ {
		p.line(r, whole, g.Cols-whole, false)
	}
}

// line multiplies n windows from (r, c) on, to the right or down.
func (p *windows[T]) line(r, c, n int, down bool) {
	g, ars, step := p.g, p.g.ColStride, 1
	if down {
		ars, step = g.RowStride, g.Cols
	}
	at, to := r*g.RowStride+c*g.ColStride, (r*g.Cols+c)*p.ldc
	ldc := step * p.ldc
	for n > 0 {
		h, mulAdd := p.m.kernel.of(n, p.width/p.m.kernel.lanes)
		out := p.c[to:]
		if p.w == p.width {
			init, ldi := &out[0], ldc
			if p.from != nil {
				init, ldi = &p.from[0], 0
			}
			mulAdd(len(p.list), &p.list[0], &p.a[at], ars, g.Step, &p.b[0], init, ldi, &out[0], ldc)
		} else { // not whole vectors: the kernel works on a copy
			init, ldi := &p.tile[0], p.width
			if p.from != nil {
				init, ldi = &p.from[0], 0
			} else {
				for i := range h {
					copy(p.tile[i*p.width:][:p.w], out[i*ldc:])
				}
			}
			mulAdd(len(p.list), &p.list[0], &p.a[at], ars, g.Step, &p.b[0], init, ldi, &p.tile[0], p.width)
			for i := range h {
				copy(out[i*ldc:][:p.w], p.tile[i*p.width:])
			}
		}
		at, to, n = at+h*ars, to+h*ldc, n-h
	}
}
