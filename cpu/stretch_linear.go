package cpu

import (
	"math"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// An applied writes rows y = f(x) for n rows of all that an operation takes, in float64.
type applied func(m *memory[float64], n int, y []float64, ldy int, x [][]float64, ldx []int)

// byRow applies an operation to a row at a time. sizes are those of what it takes, and out that of
// what it gives.
func byRow(op operation[float64], out int, sizes ...int) applied {
	return func(m *memory[float64], n int, y []float64, ldy int, x [][]float64, ldx []int) {
		row := make([][]float64, len(sizes))
		for r := range n {
			for k, size := range sizes {
				row[k] = x[k][r*ldx[k]:][:size]
			}
			op.forward(m, y[r*ldy:][:out], row)
		}
	}
}

// byWay applies a convolution to several rows at once.
func byWay(w way[float64]) applied {
	return func(m *memory[float64], n int, y []float64, ldy int, x [][]float64, ldx []int) {
		w.apply(m, &m.frame, n, y, ldy, x[0], ldx[0])
	}
}

// byMatrix applies from + W·x for a packed Wᵀ. It leaves out what is 0 in x.
func byMatrix(wt *gemm.Matrix[float64], in int, from []float64) applied {
	return func(m *memory[float64], n int, y []float64, ldy int, x [][]float64, ldx []int) {
		m.rows.nonZeros(x[0], ldx[0], n, in, unlike[float64])
		m.rows.multiplyFrom(from, y, ldy, wt)
	}
}

// linearForms are a linear operation as it is, without its bias, and with the magnitudes of its
// weights and no bias.
type linearForms struct {
	value, plain, absolute applied
	// summed is value as sums of products, where value takes tiles. What rounding does to a tile
	// goes by more than the numbers of one window.
	summed applied
}

// A linear is a carrier of y = W·x + b.
type linear struct {
	forms func() linearForms
	terms int // of a sum, about
	// rows returns W [out, in] and b [out], for a head that takes differences of rows; nil where an
	// operation is no matrix.
	rows func() (w, bias []float64)
	linearForms
}

func (a *linear) pack() { a.linearForms = a.forms() }

func (a *linear) carry(m *carrying, to *band, in []*band, c *cut) {
	m.x, m.ldx = resize(m.x, len(in)), resize(m.ldx, len(in))
	for k, v := range in {
		m.x[k], m.ldx[k] = v.z, v.ld
	}
	if value := a.value; c.rounds && a.summed != nil {
		a.summed(&m.memory[3], c.points, to.z, to.ld, m.x, m.ldx)
	} else {
		value(&m.memory[0], c.points, to.z, to.ld, m.x, m.ldx)
	}
	if c.rounds {
		for _, v := range in {
			addRounding(v, c, float64(float64(a.terms)*oneRounding))
		}
	}
	for s := 0; s < len(c.ends); {
		if allFlat(in, s) {
			to.flatten(s)
			s++
			continue
		}
		n := 0
		for ; s+n < len(c.ends) && !allFlat(in, s+n); n++ {
			to.flat[s+n] = false
		}
		for k, v := range in {
			m.x[k] = v.centre[s*v.ld:]
		}
		a.plain(&m.memory[1], n, to.centre[s*to.ld:], to.ld, m.x, m.ldx)
		for k, v := range in {
			m.x[k] = v.radius[s*v.ld:]
		}
		a.absolute(&m.memory[2], n, to.radius[s*to.ld:], to.ld, m.x, m.ldx)
		s += n
	}
}

// allFlat reports whether all that an operation takes is straight on stretch s.
func allFlat(in []*band, s int) bool {
	for _, v := range in {
		if !v.flat[s] {
			return false
		}
	}
	return true
}

// A fixed is a carrier of what no image changes: its value is the same at all points.
type fixed struct{ value applied }

func (fixed) pack() {}

func (a fixed) carry(m *carrying, to *band, in []*band, c *cut) {
	m.x, m.ldx = resize(m.x, len(in)), resize(m.ldx, len(in))
	for k, v := range in {
		m.x[k], m.ldx[k] = v.z, v.ld
	}
	a.value(&m.memory[0], c.points, to.z, to.ld, m.x, m.ldx)
	for s := range c.ends {
		to.flatten(s)
	}
}

// A factor is a carrier of a product of what it takes and numbers that no image changes, or of a
// quotient by such. moving is the place of what an image changes.
type factor struct {
	op     applied
	moving int
}

func (factor) pack() {}

func (a factor) carry(m *carrying, to *band, in []*band, c *cut) {
	v, k := in[a.moving], in[1-a.moving]
	x, ldx := make([][]float64, 2), make([]int, 2)
	x[a.moving], ldx[a.moving] = v.z, v.ld
	x[1-a.moving], ldx[1-a.moving] = k.z, k.ld
	a.op(&m.memory[0], c.points, to.z, to.ld, x, ldx)
	if c.rounds {
		addRounding(v, c, oneRounding)
	}
	by, magnitude := k.point(0), resize(m.spare[0], k.size)
	m.spare[0] = magnitude
	for i, w := range by {
		magnitude[i] = math.Abs(w)
	}
	for s := range c.ends {
		if v.flat[s] {
			to.flatten(s)
			continue
		}
		to.flat[s] = false
		x[a.moving], x[1-a.moving] = v.centre[s*v.ld:], by
		a.op(&m.memory[1], 1, to.centre[s*to.ld:], to.ld, x, ldx)
		x[a.moving], x[1-a.moving] = v.radius[s*v.ld:], magnitude
		a.op(&m.memory[2], 1, to.radius[s*to.ld:], to.ld, x, ldx)
	}
}

// wide returns the numbers of w, as the backend rounds them, in float64.
func wide[T Float](w []T) []float64 {
	all := make([]float64, len(w))
	for i, v := range w {
		all[i] = float64(v)
	}
	return all
}

// magnitudes returns |w|.
func magnitudes(w []float64) []float64 {
	all := make([]float64, len(w))
	for i, v := range w {
		all[i] = math.Abs(v)
	}
	return all
}

// convolutionForms returns those of l, whose weights and bias are rounded to T.
func convolutionForms[T Float](path string, l *lower.Convolution) func() linearForms {
	return func() linearForms {
		places := l.Unfold
		filter := lower.Filter(l.Weight.Shape(), batch.Elements[T](l.Weight))
		w := func(o, c, u, v int) float64 { return float64(filter(o, c, u, v)) }
		abs := func(o, c, u, v int) float64 { return math.Abs(w(o, c, u, v)) }
		bias := wide(batch.Elements[T](l.Bias))
		form := func(b []float64, w func(o, c, u, v int) float64) applied {
			return byWay(newWay(path, places, b, w))
		}
		all := linearForms{value: form(bias, w), plain: form(nil, w), absolute: form(nil, abs)}
		if places.Tile != nil {
			places.Tile = nil
			all.summed = form(bias, w)
		}
		return all
	}
}

// matrixForms returns those of a Linear layer.
func matrixForms[T Float](path string, a *affine[T]) func() linearForms {
	return func() linearForms {
		wt := gemm.NewMatrix[float64](path, a.in, a.out)
		wt.Pack(wide(a.weights()), 1, a.in)
		bias, zeros := make([]float64, wt.Padded()), make([]float64, wt.Padded())
		for o, v := range a.bias[:a.out] {
			bias[o] = float64(v)
		}
		return linearForms{value: byMatrix(wt, a.in, bias), plain: byMatrix(wt, a.in, zeros), absolute: byMatrix(wt.Abs(), a.in, zeros)}
	}
}

// oneForm returns the forms of an operation whose weights are not below 0 and that has no bias.
func oneForm(f applied) func() linearForms {
	return func() linearForms { return linearForms{value: f, plain: f, absolute: f} }
}
