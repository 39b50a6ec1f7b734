package certify

import (
	"math"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// An affine is a Linear or a convolution: at each of its pixels a product of the window there with
// the filters. A Linear has one pixel, whose window is all that it takes.
type affine struct {
	out, groups  int                     // channels of the output
	pixels       int                     // of the output
	terms, depth int                     // of a window of one group, and channels of a group of what it takes
	index        [][]int32               // by pixel [terms]: where in what it takes, of group 0; -1 for padding; nil for a Linear
	bias         []float64               // [out]
	norm         []float64               // [out], Σ |W| of a filter
	overlap      int                     // the most windows that a number is in
	forward      []*gemm.Matrix[float64] // by group [terms][out of a group]
	magnitude    []*gemm.Matrix[float64]
	backward     []*gemm.Matrix[float32] // by group [out of a group][terms]
}

// newAffine is the map with weights w [out][terms].
func newAffine(path string, w, bias []float64, groups, pixels, depth int, index [][]int32) *affine {
	n := &affine{out: len(bias), groups: groups, pixels: pixels, terms: len(w) / len(bias), depth: depth, index: index, bias: bias, overlap: 1}
	narrow := make([]float32, len(w))
	for i, v := range w {
		narrow[i] = float32(v)
	}
	per := n.out / groups
	for g := range groups {
		f := gemm.NewMatrix[float64](path, n.terms, per)
		f.Pack(w[g*per*n.terms:], 1, n.terms)
		b := gemm.NewMatrix[float32](path, per, n.terms)
		b.Pack(narrow[g*per*n.terms:], n.terms, 1)
		n.forward, n.magnitude, n.backward = append(n.forward, f), append(n.magnitude, f.Abs()), append(n.backward, b)
	}
	for o := range n.out {
		sum := 0.0
		for _, v := range w[o*n.terms:][:n.terms] {
			sum += math.Abs(v)
		}
		n.norm = append(n.norm, up(float64(sum*(1+gamma64(n.terms)))))
	}
	return n
}

func newLinear(path string, l *lower.Linear) *affine {
	w, b := numbers(l.Weight), numbers(l.Bias)
	return newAffine(path, w, b, 1, 1, len(w)/len(b), nil)
}

func newConvolution(path string, l *lower.Convolution) *affine {
	shape, w := l.Weight.Shape(), numbers(l.Weight)
	terms := l.Size()
	ordered := make([]float64, len(w))
	index := make([][]int32, l.Out.Pixels())
	for p := range index {
		index[p] = make([]int32, terms)
	}
	in := make([]int, l.In.Pixels()) // windows of a pixel
	l.Terms(func(k, c, u, v int) {
		filter := lower.Filter(shape, w)
		for o := range l.Out.C {
			ordered[o*terms+k] = filter(o, c, u, v)
		}
		for p := range index {
			i := l.Pixel(p, u, v)
			index[p][k] = int32(i)
			if i >= 0 {
				index[p][k] = int32(i*l.In.C + c)
				if c == 0 {
					in[i]++
				}
			}
		}
	})
	n := newAffine(path, ordered, numbers(l.Bias), l.Groups, len(index), l.Depth(), index)
	for _, most := range in {
		n.overlap = max(n.overlap, most)
	}
	return n
}

// roundings counts the chain of a product, the sum over windows, and the rounding of a weight.
func (n *affine) roundings() int { return n.out/n.groups + n.overlap + 2 }

// gather copies the windows of x for group g to to [pixels][terms].
func (n *affine) gather(to, x []float64, g int) {
	for p, index := range n.index {
		row := to[p*n.terms:][:n.terms]
		for k, i := range index {
			row[k] = 0
			if i >= 0 {
				row[k] = x[int(i)+g*n.depth]
			}
		}
	}
}

// product adds the products of the windows of x with matrices to out [pixels][out].
func (n *affine) product(out, x []float64, by []*gemm.Matrix[float64]) {
	var s gemm.Scratch[float64]
	if n.index == nil {
		by[0].MulAdd(out, n.out, x, n.terms, 1, 1, &s)
		return
	}
	windows := make([]float64, n.pixels*n.terms)
	for g, m := range by {
		n.gather(windows, x, g)
		m.MulAdd(out[g*n.out/n.groups:], n.out, windows, n.terms, 1, n.pixels, &s)
	}
}

func (n *affine) value(out []float64, in [][]float64) {
	for p := range n.pixels {
		copy(out[p*n.out:], n.bias)
	}
	n.product(out, in[0], n.forward)
}

func (n *affine) point(s *state, in []*box) {
	x := in[0]
	n.value(s.z, [][]float64{x.c})
	clear(s.reach)
	n.product(s.reach, x.r, n.magnitude)
	top := 0.0
	for _, c := range x.c {
		top = max(top, math.Abs(c))
	}
	gamma := gamma64(n.terms + 2)
	for o := range s.z {
		f := o % n.out
		s.slack[o] = up(gamma * (math.Abs(n.bias[f]) + float64(n.norm[f]*top)))
		s.reach[o] = up(s.reach[o] * (1 + gamma))
	}
}

func (n *affine) carry(w *work, p *pass, s *state, takes []int, a []float32) {
	j := takes[0] + 1
	size := w.size(j)
	ld := wide(size)
	to := w.room(p.m * ld)
	if n.index == nil {
		n.carryRows(w, p, s, to, ld, a)
	} else {
		p.shifted(s, a)
		clear(to)
		n.carryWindows(w, to, ld, a, p.m)
	}
	w.add(p, j, to)
}

// carryRows is carry of a Linear: the columns that are 0 in every form of a group are left out.
func (n *affine) carryRows(w *work, p *pass, s *state, to []float32, ld int, a []float32) {
	m, lda, room := p.m, wide(n.out), n.out+gemm.VectorPad
	p.terms += n.out
	groups := (m + gemm.GroupRows - 1) / gemm.GroupRows
	if need := (groups + gemm.GroupRows) * room; cap(w.list) < need {
		w.list = make([]uint32, need)
	}
	if need := (m + gemm.GroupRows) * room; cap(w.packed) < need {
		w.packed = make([]float32, need)
	}
	w.groups = w.groups[:0]
	for row, at := 0, 0; row < m; at++ {
		rows := min(gemm.GroupRows, m-row)
		if rows < gemm.GroupRows {
			rows = min(rows, 2)
		}
		list, packed := w.list[at*room:][:room], w.packed[row*room:][:rows*room]
		count := w.back.NonZero(list, packed, room, a[row*lda:], lda, n.out, rows)
		w.groups = append(w.groups, gemm.Group[float32]{Row: row, Rows: rows, List: list[:count], A: packed, LDA: room})
		for r := range rows {
			p.shiftedRow(s, row+r, packed[r*room:][:count], list[:count])
		}
		row += rows
	}
	n.backward[0].MulGroups(to, ld, w.groups, w.zeros)
}

// carryWindows is carry of a convolution: pixels whose forms are 0 are left out.
func (n *affine) carryWindows(w *work, to []float32, ld int, a []float32, m int) {
	lda, per := wide(n.out*n.pixels), n.out/n.groups
	const block = 512
	windows, forms := w.room(block*n.terms), w.room(block*per)
	at := make([][2]int32, 0, block) // row and pixel
	for g := range n.groups {
		flush := func() {
			clear(windows[:len(at)*n.terms])
			n.backward[g].MulAdd(windows, n.terms, forms, per, 1, len(at), &w.mul)
			for t, of := range at {
				row, index := to[int(of[0])*ld+g*n.depth:][:ld-g*n.depth], n.index[of[1]]
				for k, v := range windows[t*n.terms:][:n.terms] {
					if i := index[k]; i >= 0 {
						row[i] += v
					}
				}
			}
			at = at[:0]
		}
		for row := range m {
			for pixel := range n.pixels {
				form := a[row*lda+pixel*n.out+g*per:][:per]
				if zero(form) {
					continue
				}
				copy(forms[len(at)*per:], form)
				if at = append(at, [2]int32{int32(row), int32(pixel)}); len(at) == block {
					flush()
				}
			}
		}
		if len(at) > 0 {
			flush()
		}
	}
	w.release(windows)
	w.release(forms)
}

func zero(v []float32) bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}
