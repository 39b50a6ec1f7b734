package cpu

import (
	"context"
	"fmt"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/model"
)

// A netTrainer trains a network. It takes a batch in groups of groupRows images, whatever the
// threads. Each group has a sum of gradients of its own, and these are added up in their order. So
// a result does not depend on the threads.
type netTrainer struct {
	*sample
	b      *Backend[float32]
	m      *model.Model
	steps  int
	params []netParam
	// sums has by group and layer the gradient of the weights, with that of the bias behind it. It
	// is nil for a layer that has none. learn adds to it.
	sums [][][]float32
}

const groupRows = 8

// A netParam is the weights of one layer, which the model shares, and what Adam keeps of them. Only
// update changes it.
type netParam struct {
	layer        int // of the network
	w, bias      []float32
	order        []int            // element i of a sum is that of w[order[i]]
	there        windows[float32] // of a convolution
	terms        gemm.Im2col      // of a convolution: its transposed im2col matrix
	g, gb        []float32        // the gradient in the order of w, and that of bias
	m, v, mb, vb []float32        // first and second moments of w and bias
	nhwc         []float32        // of a Linear: w with columns in the order of its input
}

// trains returns an error that names the layer of m that has weights, or a form, that training does
// not know.
func trains(m *model.Model) error {
	for i, l := range m.Layers {
		w, _ := learned(l)
		if w == nil && len(l.Params()) > 0 {
			return fmt.Errorf("cpu: train: layer %d (%s): its weights are not trained, want linear or conv2d", i, l.Kind())
		}
		if c, ok := l.(model.Conv2D); ok && (c.Split() > 1 || max(c.Dilation[0], c.Dilation[1]) > 1) {
			return fmt.Errorf("cpu: train: layer %d (%s): %d groups and dilation %v are not trained, want 1 of each", i, l.Kind(), c.Split(), c.Dilation)
		}
	}
	return nil
}

// newNetTrainer returns an error for a model that training does not know, see trains.
func newNetTrainer(b *Backend[float32], m *model.Model, s *sample) (*netTrainer, error) {
	if err := trains(m); err != nil {
		return nil, err
	}
	t := &netTrainer{sample: s, b: b, m: m, sums: make([][][]float32, (s.batch+groupRows-1)/groupRows)}
	net := b.model.net
	for c := range t.sums {
		t.sums[c] = make([][]float32, len(net.layers))
	}
	for i := range net.layers {
		l := m.Layers[net.layers[i].index]
		w, bias := learned(l)
		if w == nil {
			continue
		}
		p := netParam{layer: i, w: w, bias: bias, order: make([]int, len(w))}
		switch l := l.(type) {
		case model.Linear:
			p.nhwc = make([]float32, len(w))
			places := make([]int, len(w))
			for k := range places {
				places[k] = k
			}
			in := net.values[net.layers[i].takes[0]].Shape
			for o := range bias {
				lower.ToNHWC(p.order[o*in.Size():][:in.Size()], places[o*in.Size():], in)
			}
		case model.Conv2D:
			p.there = newWindows[float32](net.layers[i].op.(*convolution[float32]).lowered.Unfold)
			p.terms = p.there.transposed(len(bias))
			in, size := p.there.In.C, p.there.Places()
			p.there.Terms(func(k, c, u, v int) {
				for o := range bias {
					p.order[k*len(bias)+o] = (o*in+c)*size + u*l.Weight.Shape()[3] + v
				}
			})
		}
		p.g, p.m, p.v = make([]float32, len(w)), make([]float32, len(w)), make([]float32, len(w))
		p.gb, p.mb, p.vb = make([]float32, len(bias)), make([]float32, len(bias)), make([]float32, len(bias))
		t.params = append(t.params, p)
		for c := range t.sums {
			t.sums[c][i] = make([]float32, len(w)+len(bias))
		}
	}
	return t, nil
}

// step does what step of trainer does.
func (t *netTrainer) step(ctx context.Context, rows int, rate float64) error {
	net, in := t.b.model.net, t.b.model.in
	groups := (rows + groupRows - 1) / groupRows
	err := t.b.workers.run(ctx, groups, func(w *scratch[float32], c int) {
		lo, hi := c*groupRows, min((c+1)*groupRows, rows)
		n := hi - lo
		z := net.forward(w, t.images[lo*in:hi*in], allOf[float32](n), forLearning)
		ld := len(z) / n
		argmax(t.class[lo:hi], z, net.out, ld)
		w.grad[0] = resize(w.grad[0], len(z))
		for r := range n {
			t.loss[lo+r] = meanLossGradient(w.grad[0][r*ld:][:net.out], z[r*ld:][:net.out], int(t.labels[lo+r]), rows)
		}
		for i := range t.params {
			clear(t.sums[c][t.params[i].layer])
		}
		net.backward(w, w.grad[0], allOf[float32](n), func(layer, r int) { t.learn(w, t.sums[c][layer], layer, r, n) })
	})
	if err != nil {
		return err
	}
	t.steps++
	size := stepSize(rate, t.steps)
	return t.b.workers.run(ctx, len(t.params), func(_ *scratch[float32], i int) { t.update(&t.params[i], groups, size) })
}

// learn adds to sum the gradient of the weights and the bias of a layer. It is that of row r, or of
// all n rows if the layer is a Linear. sum is nil for a layer without weights.
func (t *netTrainer) learn(w *scratch[float32], sum []float32, layer, r, n int) {
	if sum == nil {
		return
	}
	net, s := t.b.model.net, &w.net
	m, l := &s.memory[layer], &net.layers[layer]
	x, y := &net.values[l.takes[0]], &net.values[layer+1]
	if l.linear != nil { // dW = dzᵀ·x
		out, in := l.linear.out, l.linear.in
		if m.packed == nil || m.packed.K != n {
			m.packed = gemm.NewMatrix[float32](t.b.model.kernel, n, in)
		}
		m.packed.Pack(s.v[x.of], x.ld, 1)
		d := s.g[y.of]
		m.packed.MulAdd(sum, in, d, 1, y.gld, out, &w.gemm)
		for row := range n {
			addTo(sum[out*in:], d[row*y.gld:])
		}
		return
	}
	// dW of a term is the sum over all windows of the term times dz.
	d, windows, out := net.gradRow(s, layer+1, r), y.Pixels(), y.C
	if m.packed == nil {
		m.packed = gemm.NewMatrix[float32](t.b.model.kernel, windows, out)
	}
	m.packed.Pack(d, out, 1)
	for i := range t.params {
		if p := &t.params[i]; p.layer == layer {
			image := net.row(s, l.takes[0], r)
			from, _ := p.there.frames(&m.learned, 1, image, len(image))
			m.packed.MulIm2col(sum, out, nil, from, &p.terms, &w.gemm)
		}
	}
	for i := range windows {
		addTo(sum[len(sum)-out:], d[i*out:])
	}
}

func addTo(sum, v []float32) {
	for i := range sum {
		sum[i] += v[i]
	}
}

// update moves the weights of one layer by Adam, with the sums of so many groups, and packs them.
func (t *netTrainer) update(p *netParam, groups int, size float32) {
	sum := t.sums[0][p.layer]
	for _, c := range t.sums[1:groups] {
		t.b.model.vec.Add(sum, c[p.layer])
	}
	for i, at := range p.order {
		p.g[at] = sum[i]
	}
	copy(p.gb, sum[len(p.w):])
	adam(p.w, p.g, p.m, p.v, size)
	adam(p.bias, p.gb, p.mb, p.vb, size)
	net := t.b.model.net
	l := &net.layers[p.layer]
	if a := l.linear; a != nil {
		s := net.values[l.takes[0]].Shape
		for o := range a.out {
			lower.ToNHWC(p.nhwc[o*a.in:][:a.in], p.w[o*a.in:], s)
		}
		a.wt.Pack(p.nhwc, 1, a.in)
		a.w.Pack(p.nhwc, a.in, 1)
		copy(a.bias, p.bias)
		return
	}
	l.op.(*convolution[float32]).pack(lower.Filter(t.m.Layers[l.index].(model.Conv2D).Weight.Shape(), p.w), p.bias)
}
