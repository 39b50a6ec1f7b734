package cpu

import (
	"context"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/model"
)

// A netTrainer is trainer for a network. A batch is taken in chunks of so many images, whatever the
// threads, of which each has a sum of the gradients of its own; these are then added up in their
// order.
type netTrainer struct {
	*sample
	b      *Backend[float32]
	m      *model.Model
	steps  int
	params []netParam
	// by chunk and layer: dw and the bias's gradient behind it, nil for a layer without
	chunks [][][]float32
}

const chunkRows = 8

// A netParam is one layer's weights, which the model shares, and what Adam keeps of them. order[i]
// is the place in w of element i of a chunk's gradient.
type netParam struct {
	layer        int // of the network
	w, bias      []float32
	order        []int
	terms        gemm.Grid // of a convolution
	g, gb        []float32
	m, v, mb, vb []float32
}

func newNetTrainer(b *Backend[float32], m *model.Model, s *sample) *netTrainer {
	t := &netTrainer{sample: s, b: b, m: m, chunks: make([][][]float32, (s.batch+chunkRows-1)/chunkRows)}
	for c := range t.chunks {
		t.chunks[c] = make([][]float32, len(b.net.layers))
	}
	for i := range b.net.layers {
		l := m.Layers[b.net.layers[i].index]
		w, bias := learned(l)
		if w == nil {
			continue
		}
		p := netParam{layer: i, w: w, bias: bias, order: make([]int, len(w))}
		switch l := l.(type) {
		case model.Linear:
			places := make([]int, len(w))
			for k := range places {
				places[k] = k
			}
			in := b.net.values[b.net.layers[i].takes[0]].shape
			for o := range bias {
				lower.ToNHWC(p.order[o*in.size():][:in.size()], places[o*in.size():], in.lowered())
			}
		case model.Conv2D:
			there := b.net.layers[i].op.(*convolution[float32]).there
			p.terms = there.terms()
			in, size := there.in.c, there.kernel[0]*there.kernel[1]
			there.places.Terms(func(k, c, u, v int) {
				for o := range bias {
					p.order[k*len(bias)+o] = (o*in+c)*size + u*l.Weight.Shape()[3] + v
				}
			})
		}
		p.g, p.m, p.v = make([]float32, len(w)), make([]float32, len(w)), make([]float32, len(w))
		p.gb, p.mb, p.vb = make([]float32, len(bias)), make([]float32, len(bias)), make([]float32, len(bias))
		t.params = append(t.params, p)
		for c := range t.chunks {
			t.chunks[c][i] = make([]float32, len(w)+len(bias))
		}
	}
	return t
}

// step is trainer's.
func (t *netTrainer) step(ctx context.Context, rows int, rate float64) error {
	net, in := t.b.net, t.b.in
	chunks := (rows + chunkRows - 1) / chunkRows
	err := t.b.blocks(ctx, chunks, func(w *scratch[float32], c int) {
		lo, hi := c*chunkRows, min((c+1)*chunkRows, rows)
		n := hi - lo
		z := net.forward(w, t.images[lo*in:hi*in], all[float32](n), true)
		ld := len(z) / n
		argmax(t.class[lo:hi], z, net.out, ld)
		w.grad[0] = resize(w.grad[0], len(z))
		for r := range n {
			t.loss[lo+r] = meanLossGradient(w.grad[0][r*ld:][:net.out], z[r*ld:][:net.out], int(t.labels[lo+r]), rows)
		}
		for i := range t.params {
			clear(t.chunks[c][t.params[i].layer])
		}
		net.backward(w, w.grad[0], all[float32](n), func(layer, r int) { t.learn(w, t.chunks[c][layer], layer, r, n) })
	})
	if err != nil {
		return err
	}
	t.steps++
	size := stepSize(rate, t.steps)
	return t.b.blocks(ctx, len(t.params), func(_ *scratch[float32], i int) { t.update(&t.params[i], chunks, size) })
}

// learn adds to sum what layer has of the gradient of its weights: of row r, or of all n if it is a
// Linear.
func (t *netTrainer) learn(w *scratch[float32], sum []float32, layer, r, n int) {
	if sum == nil {
		return
	}
	net, s := t.b.net, &w.net
	m, l := &s.memory[layer], &net.layers[layer]
	x, y := &net.values[l.takes[0]], &net.values[layer+1]
	if l.linear != nil { // dW = dzᵀ·x
		out, in := l.linear.out, l.linear.in
		if m.packed == nil || m.packed.K != n {
			m.packed = gemm.NewMatrix[float32](t.b.kernel, n, in)
		}
		m.packed.Pack(s.v[x.of], x.ld, 1)
		d := s.g[y.of]
		m.packed.MulAdd(sum, in, d, 1, y.gld, out, &w.gemm)
		for row := range n {
			addTo(sum[out*in:], d[row*y.gld:])
		}
		return
	}
	// dW of a term is the sum over windows of the term times dz.
	there := l.op.(*convolution[float32]).there
	d, windows, out := net.gradRow(s, layer+1, r), there.out.h*there.out.w, there.out.c
	if m.packed == nil {
		m.packed = gemm.NewMatrix[float32](t.b.kernel, windows, out)
	}
	m.packed.Pack(d, out, 1)
	for i := range t.params {
		if p := &t.params[i]; p.layer == layer {
			m.packed.MulWindows(sum, out, nil, there.frame(&m.frame, net.row(s, l.takes[0], r)), &p.terms, &w.gemm)
		}
	}
	for i := range windows {
		addTo(sum[there.w.K*out:], d[i*out:])
	}
}

func addTo(sum, v []float32) {
	for i := range sum {
		sum[i] += v[i]
	}
}

// update moves one layer's weights by Adam and packs them.
func (t *netTrainer) update(p *netParam, chunks int, size float32) {
	sum := t.chunks[0][p.layer]
	for _, c := range t.chunks[1:chunks] {
		t.b.vec.Add(sum, c[p.layer])
	}
	for i, at := range p.order {
		p.g[at] = sum[i]
	}
	copy(p.gb, sum[len(p.w):])
	adam(p.w, p.g, p.m, p.v, size)
	adam(p.bias, p.gb, p.mb, p.vb, size)
	l := &t.b.net.layers[p.layer]
	if a := l.linear; a != nil {
		s := t.b.net.values[l.takes[0]].shape
		for o := range a.out {
			lower.ToNHWC(a.weight[o*a.in:][:a.in], p.w[o*a.in:], s.lowered())
		}
		a.wt.Pack(a.weight, 1, a.in)
		a.w.Pack(a.weight, a.in, 1)
		copy(a.bias, p.bias)
		return
	}
	l.op.(*convolution[float32]).pack(lower.Filter(t.m.Layers[l.index].(model.Conv2D).Weight.Shape(), p.w), p.bias)
}
