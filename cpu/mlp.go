package cpu

import (
	"fmt"

	"advsweep/attack"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// An mlp is Linear layers with one ReLU between each two. New makes it. Exact adds rates, and only
// a trainer packs other weights.
//
// Its methods work on n rows at a time. z has the output of each layer before its ReLU, z[l] [n,
// stride of layer l].
type mlp[T Float] struct {
	vec    gemm.Vector[T]
	kernel string
	layers []affine[T]
	zeros  []T       // as many as any layer has inputs or outputs
	rates  *rates[T] // nil until a walk asks for them
	// absolute is |W| of the first layer, as wt has W; nil until a reading asks for it.
	absolute *gemm.Matrix[T]
	// doubt is the 1 and the 2 of reading.noise. A test makes it so large that rounding might
	// decide everything.
	doubt T
}

// newMLP packs the weights of prog.
func newMLP[T Float](kernel string, prog *lower.Program) (*mlp[T], error) {
	m := &mlp[T]{vec: gemm.NewVector[T](kernel), kernel: kernel, doubt: 3}
	for _, op := range prog.Ops {
		switch l := op.Operation.(type) {
		case *lower.Linear:
			a := newAffine[T](kernel, l.Weight, l.Bias)
			a.relu = op.Rectified
			m.layers = append(m.layers, a)
		case lower.Elementwise:
			if !op.InPlace {
				return nil, fmt.Errorf("layer %d: %s in an MLP, want a ReLU behind a Linear", op.Layer, l.Name)
			}
		default:
			return nil, fmt.Errorf("layer %d: %T in an MLP", op.Layer, l)
		}
	}
	for _, a := range m.layers {
		m.zeros = make([]T, max(len(m.zeros), a.stride, a.below))
	}
	return m, nil
}

// top is the last layer.
func (m *mlp[T]) top() *affine[T] { return &m.layers[len(m.layers)-1] }

// first returns the first layer before its ReLU for x [n, I], [n, stride]. It is valid until w is
// used again.
func (m *mlp[T]) first(w *scratch[T], x []T, n int, s split[T]) []T {
	a := &m.layers[0]
	w.z0 = resize(w.z0, n*a.stride)
	w.rows.nonZeros(x, a.in, n, a.in, s)
	w.rows.multiplyFrom(a.bias, w.z0, a.stride, a.wt)
	return w.z0
}

// slopes writes c [n, stride] = W·d for the first layer and d [n, I]. That is how fast the layer
// changes along d.
func (m *mlp[T]) slopes(r *rows[T], c, d []T, n int) {
	a := &m.layers[0]
	r.nonZeros(d, a.in, n, a.in, unlike)
	r.multiplyFrom(m.zeros, c, a.stride, a.wt)
}

// forward computes w.z of all layers for x [n, I].
func (m *mlp[T]) forward(w *scratch[T], x []T, n int, s split[T]) {
	z := w.layers(len(m.layers))
	z[0] = m.first(w, x, n, s)
	m.up(&w.rows, z, 1, n, s)
}

// up computes z of the layers from l on. Those below must be there.
func (m *mlp[T]) up(r *rows[T], z [][]T, l, n int, s split[T]) {
	for ; l < len(m.layers); l++ {
		a := &m.layers[l]
		z[l] = resize(z[l], n*a.stride)
		r.positives(z[l-1], z[l-1], m.layers[l-1].stride, n, a.in, s)
		r.multiplyFrom(a.bias, z[l], a.stride, a.wt)
	}
}

// loss writes to w.grad[0] the gradient of the cross-entropy at the logits of n rows, each divided
// by its 1 - p_y. label gives the label of a row.
func (m *mlp[T]) loss(w *scratch[T], z [][]T, n int, label func(r int) int32) {
	top := m.top()
	ld, logits := top.stride, z[len(z)-1]
	w.grad[0] = resize(w.grad[0], n*ld)
	for r := range n {
		attack.CrossEntropyGradient(w.grad[0][r*ld:][:top.out], logits[r*ld:][:top.out], int(label(r)))
	}
}

// down returns the gradient at the pixels, [n, below of the first layer], given that at the logits
// in w.grad[0] and z of every layer. A unit lets the gradient through where its z is positive. For
// rows in stripes the gradient is computed only there.
func (m *mlp[T]) down(w *scratch[T], r *rows[T], z [][]T, n int, s split[T], stripes []stripe) []T {
	grad := &w.grad
	for l := len(m.layers) - 1; l >= 0; l-- {
		a := &m.layers[l]
		if a.relu {
			r.positives(grad[0], z[l], a.stride, n, a.out, s)
		} else {
			r.nonZeros(grad[0], a.stride, n, a.out, s)
		}
		grad[1] = resize(grad[1], n*a.below)
		if l > 0 && a.relu {
			w.union.multiply(m.vec, r, grad[1], z[l-1], a, stripes, &w.gemm)
		}
		r.multiplyFrom(m.zeros, grad[1], a.below, a.w)
		grad[0], grad[1] = grad[1], grad[0]
	}
	return grad[0]
}

// A selector is the memory of one worker for products of which only some columns are wanted. Only
// multiply uses it.
type selector[T Float] struct {
	selections []gemm.Selection[T]
	columns    []uint32 // the columns of all selections, one after another
	top        []T      // the largest z of the rows of a stripe
	rows       []gemm.Place
	masks      []uint16 // the columns of a stripe
	list       []uint32
	values     []T
	compact    []T // the product, its columns those of the selection
}

// multiply writes dx = dz·W of layer a, dz listed in r, for the rows in stripes. It does so in the
// columns in which z [·, below] is positive in any row of the stripe. Elsewhere dx holds anything.
// It takes the groups of those rows out of r.
func (u *selector[T]) multiply(vec gemm.Vector[T], r *rows[T], dx, z []T, a *affine[T], stripes []stripe, s *gemm.Scratch[T]) {
	if len(stripes) == 0 {
		return
	}
	u.selections, u.columns = u.selections[:0], resize(u.columns, len(stripes)*a.in)[:0]
	u.top = resize(u.top, a.in)
	u.list, u.values = resize(u.list, a.in+gemm.VectorPad), resize(u.values, a.in+gemm.VectorPad)
	u.compact = resize(u.compact, len(dx))
	rest, groups := r.groups[:0], r.groups
	for len(groups) > 0 {
		if len(stripes) == 0 || groups[0].Row < stripes[0].from {
			rest, groups = append(rest, groups[0]), groups[1:]
			continue
		}
		k := 0
		for k < len(groups) && groups[k].Row < stripes[0].to {
			k++
		}
		columns := u.wanted(vec, stripes[0], z, a)
		u.selections = append(u.selections, gemm.Selection[T]{Columns: columns, Groups: append([]gemm.Group[T](nil), groups[:k]...)})
		for _, g := range groups[:k] {
			r.flop += 2 * uint64(g.Rows*len(g.List)*len(columns))
		}
		groups, stripes = groups[k:], stripes[1:]
	}
	r.groups = rest
	a.w.MulSelected(u.compact, a.below, u.selections, s)
	u.spread(vec, dx, a.below, a.in)
}

// wanted returns the columns in which z [·, below of a] is positive in any row of s, rising.
func (u *selector[T]) wanted(vec gemm.Vector[T], s stripe, z []T, a *affine[T]) []uint32 {
	top := u.top[:a.in]
	u.rows = u.rows[:0]
	for r := range s.to - s.from {
		u.rows = append(u.rows, gemm.Place{X: int32(r * a.below)})
	}
	vec.Largest(&gemm.Windows{N: 1, Channels: a.in, Places: u.rows}, top, z[s.from*a.below:]) // of all rows
	n := vec.Positive(u.list, u.values, a.in+gemm.VectorPad, top, top, a.below, a.in, 1)
	first := len(u.columns)
	u.columns = append(u.columns, u.list[:n]...)
	return u.columns[first:]
}

// spread copies each column of the compact product to its place in dx, rows of stride ld with n
// columns.
func (u *selector[T]) spread(vec gemm.Vector[T], dx []T, ld, n int) {
	u.masks = resize(u.masks, n)
	for _, s := range u.selections {
		masks := vec.Masks(u.masks, s.Columns, n)
		for _, g := range s.Groups {
			for row := g.Row; row < g.Row+g.Rows; row++ {
				vec.Expand(dx[row*ld:][:ld], u.compact[row*ld:][:len(s.Columns)], masks)
			}
		}
	}
}
