package cpu

import (
	"context"
	"math"
	"unsafe"

	"advsweep/attack"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A network is a model that is no stack. What makes stacks fast does not hold for it, so every step
// starts at the pixels, and it goes forward and backward as the formulas do, a few images at a
// time.
//
// Linear layers take all rows of a block at once, for each row would read the weights again. All
// other layers are done in runs, row by row, so that what one leaves the next finds in the cache;
// what only a run needs is not kept unless a gradient follows.
type network[T Float] struct {
	in, out int
	image   shape // of the model's input; transposed tells that its order is not that of shape
	values  []value
	layers  []netLayer[T]
	runs    []run
	zeros   []T
	block   int  // rows
	reached bool // the logits depend on the image
}

// A value is the image, values[0], or what layer j gives, values[j+1].
type value struct {
	shape
	ld, gld int  // between rows, and between those of its gradient
	of      int  // whose memory it is in: its own, or that of the value it is the ReLU of
	kept    bool // of every row: more than one run needs it
	used    bool // an operation makes or takes it
}

type netLayer[T Float] struct {
	index  int    // its place in the model's Layers
	takes  []int  // values
	second []bool // for each of takes: something has been added to its gradient before
	linear *affine[T]
	op     operation[T] // nil for a Linear
}

// A run is layers from to to-1: one Linear, or none.
type run struct{ from, to int }

// networkBytes is what a block of rows keeps for its gradient, about.
const networkBytes = 4 << 20

// newNetwork packs the weights of prog.
func newNetwork[T Float](path string, prog *lower.Program) (*network[T], error) {
	n := &network[T]{
		in: prog.Inputs, out: prog.Classes, reached: len(prog.Uses[0]) > 0,
		values: make([]value, len(prog.Ops)+1), layers: make([]netLayer[T], len(prog.Ops)),
	}
	for j := range n.values {
		v := value{shape: shapeOf(prog.Shape(j - 1)), of: j}
		v.ld, v.gld = v.size(), v.size()
		n.values[j] = v
	}
	n.values[0].used = n.reached
	n.image = n.values[0].shape
	for i, op := range prog.Ops {
		l := &n.layers[i]
		for _, j := range op.Takes {
			l.takes = append(l.takes, j+1)
		}
		l.index, l.second = op.Layer, prog.Later(i)
		in, out := &n.values[l.takes[0]], &n.values[i+1]
		out.used = true
		linear, ok := op.Operation.(*lower.Linear)
		if ok {
			a := newAffine[T](path, linear.Weight, linear.Bias)
			l.linear = &a
			out.ld, out.gld = max(out.ld, a.stride), max(out.gld, a.stride)
			in.gld = max(in.gld, a.below)
			n.zeros = make([]T, max(len(n.zeros), a.below))
		} else {
			var err error
			if l.op, err = newOperation[T](path, op); err != nil {
				return nil, err
			}
		}
		if op.InPlace {
			out.of = in.of
			out.ld = in.ld
		}
		if r := len(n.runs) - 1; r < 0 || ok || n.layers[n.runs[r].from].linear != nil {
			n.runs = append(n.runs, run{i, i + 1})
		} else {
			n.runs[r].to = i + 1
		}
	}
	for _, r := range n.runs {
		for i := r.from; i < r.to; i++ {
			for _, j := range n.layers[i].takes {
				if j <= r.from { // another run makes it
					n.values[n.values[j].of].kept = true
				}
			}
		}
	}
	n.values[n.values[len(n.layers)].of].kept = true
	bytes := 0
	for j := range n.values {
		v := &n.values[j]
		o := &n.values[v.of]
		o.gld = max(o.gld, v.gld)
		v.kept = o.kept
		if v.of == j && v.used {
			bytes += v.ld * int(unsafe.Sizeof(T(0)))
		}
	}
	for j := range n.values { // a gradient is where its value's is
		n.values[j].gld = n.values[n.values[j].of].gld
	}
	n.block = min(blockRows, max(1, networkBytes/bytes/gemm.GroupRows)*gemm.GroupRows)
	return n, nil
}

// turned tells whether an image of shape s has another order in the model.
func (s shape) turned() bool { return s.lowered().Reordered() }

// shapeOf is s of the lowered program as this package has it, and lowered is the reverse.
func shapeOf(s lower.Shape) shape { return shape{s.H, s.W, s.C} }

func (s shape) lowered() lower.Shape { return lower.Shape{C: s.c, H: s.h, W: s.w} }

// A part is n rows of a block.
type part[T Float] struct {
	n     int
	split split[T]
	skips func(r int) bool // row r is left out, as by split
}

// all is n rows of different images.
func all[T Float](n int) part[T] { return part[T]{n, unlike[T], func(int) bool { return false }} }

// part is rows lo to hi-1 without the first skip eps.
func (b *Backend[T]) part(lo, hi, skip int) part[T] {
	E := len(b.eps)
	return part[T]{hi - lo, b.alike(lo, hi, skip), func(r int) bool { return (lo+r)%E < skip }}
}

// netScratch is the memory of one worker.
type netScratch[T Float] struct {
	v, g   [][]T // by value
	whole  bool  // v has every value of every row
	memory []memory[T]
	x      [][]T
	sum    []T
	logits []T
}

// row returns the row of a value, or of its gradient.
func (n *network[T]) row(w *netScratch[T], j, r int) []T {
	v := &n.values[j]
	if !v.kept && !w.whole {
		r = 0
	}
	return w.v[v.of][r*v.ld:][:v.size()]
}

func (n *network[T]) gradRow(w *netScratch[T], j, r int) []T {
	v := &n.values[j]
	if !v.kept {
		r = 0
	}
	return w.g[v.of][r*v.gld:][:v.size()]
}

// forward returns the logits of images x [n, I], [n, stride] valid until w is used again. whole
// keeps what backward needs.
func (n *network[T]) forward(w *scratch[T], x []T, p part[T], whole bool) []T {
	s := &w.net
	if s.v == nil {
		s.v, s.g, s.memory = make([][]T, len(n.values)), make([][]T, len(n.values)), make([]memory[T], len(n.layers))
		for i := range s.memory {
			s.memory[i].rows, s.memory[i].gemm = &w.rows, &w.gemm
		}
	}
	s.whole = whole
	for j := range n.values {
		if v := &n.values[j]; v.of == j && v.used && (j > 0 || v.turned()) {
			rows := 1
			if v.kept || whole {
				rows = p.n
			}
			s.v[j] = resize(s.v[j], rows*v.ld)
		}
	}
	if n.image.turned() {
		for r := range p.n {
			if n.values[0].used && !p.skips(r) {
				lower.ToNHWC(n.row(s, 0, r), x[r*n.in:][:n.in], n.image.lowered())
			}
		}
	} else {
		s.v[0] = x
	}
	for _, run := range n.runs {
		if l := &n.layers[run.from]; l.linear != nil {
			from, to := &n.values[l.takes[0]], &n.values[run.to]
			a, in := l.linear, s.v[from.of]
			w.rows.reset(p.n, a.in)
			p.split(&w.rows, p.n, a.in, func(row, count int) int { return w.rows.nonZero(row, count, in, from.ld, a.in) })
			w.rows.multiplyFrom(a.bias, s.v[to.of], to.ld, a.wt)
			continue
		}
		for r := range p.n {
			if p.skips(r) {
				continue
			}
			for i := run.from; i < run.to; i++ {
				l := &n.layers[i]
				s.x = s.x[:0]
				for _, j := range l.takes {
					s.x = append(s.x, n.row(s, j, r))
				}
				l.op.forward(&s.memory[i], n.row(s, i+1, r), s.x)
			}
		}
	}
	top := &n.values[len(n.layers)]
	if !top.turned() {
		return s.v[top.of][:p.n*top.ld]
	}
	s.logits = resize(s.logits, p.n*n.out)
	for r := range p.n {
		lower.ToNCHW(s.logits[r*n.out:][:n.out], n.row(s, len(n.layers), r), top.lowered())
	}
	return s.logits
}

// backward returns the gradient at the images [n, stride], for d [n, stride of the logits] at the
// logits of the last forward, which was whole, valid until w is used again. With learn, which is
// called for each Linear once and for each other layer and row when the gradient at its output is
// there, it leaves the images out.
func (n *network[T]) backward(w *scratch[T], d []T, p part[T], learn func(layer, r int)) []T {
	s := &w.net
	for j := range n.values {
		if v := &n.values[j]; v.of == j && v.used {
			rows := 1
			if v.kept || j == 0 {
				rows = p.n
			}
			s.g[j] = resize(s.g[j], rows*v.gld)
		}
	}
	image := &n.values[0]
	if !n.reached {
		s.g[0] = resize(s.g[0], p.n*image.gld)
		clear(s.g[0])
		return s.g[0]
	}
	top := len(n.layers)
	ld := len(d) / p.n
	for r := range p.n {
		to := n.gradRow(s, top, r)
		if n.values[top].turned() {
			lower.ToNHWC(to, d[r*ld:][:n.out], n.values[top].lowered())
		} else {
			copy(to, d[r*ld:])
		}
	}
	for k := len(n.runs) - 1; k >= 0; k-- {
		run := n.runs[k]
		if l := &n.layers[run.from]; l.linear != nil {
			to, from := &n.values[l.takes[0]], &n.values[run.to]
			a, g := l.linear, s.g[from.of]
			if learn != nil {
				if learn(run.from, 0); l.takes[0] == 0 {
					continue
				}
			}
			w.rows.reset(p.n, a.out)
			p.split(&w.rows, p.n, a.out, func(row, count int) int { return w.rows.nonZero(row, count, g, from.gld, a.out) })
			dx := s.g[to.of]
			if l.second[0] {
				s.sum = resize(s.sum, p.n*to.gld)
				dx = s.sum
			}
			w.rows.multiplyFrom(n.zeros, dx, to.gld, a.w)
			for r := range p.n {
				if l.second[0] && !p.skips(r) {
					w.rows.vec.Add(n.gradRow(s, l.takes[0], r), dx[r*to.gld:])
				}
			}
			continue
		}
		for r := range p.n {
			if p.skips(r) {
				continue
			}
			for i := run.to - 1; i >= run.from; i-- {
				l := &n.layers[i]
				if learn != nil {
					learn(i, r)
				}
				for t, j := range l.takes {
					if learn != nil && j == 0 {
						continue
					}
					dx := n.gradRow(s, j, r)
					x, y, d := n.row(s, j, r), n.row(s, i+1, r), n.gradRow(s, i+1, r)
					if !l.second[t] {
						l.op.backward(&s.memory[i], dx, x, y, d)
						continue
					}
					s.sum = resize(s.sum, len(dx))
					l.op.backward(&s.memory[i], s.sum, x, y, d)
					w.rows.vec.Add(dx, s.sum)
				}
			}
		}
	}
	if !image.turned() {
		return s.g[0]
	}
	s.sum = resize(s.sum, n.in)
	for r := range p.n {
		g := s.g[0][r*image.gld:][:n.in]
		copy(s.sum, g)
		lower.ToNCHW(g, s.sum, n.image.lowered())
	}
	return s.g[0]
}

// netGradient returns the gradient of the loss at images x [n, I] whose labels label gives, each
// divided by its 1 - p_y, [n, stride] valid until w is used again.
func (b *Backend[T]) netGradient(w *scratch[T], x []T, p part[T], label func(r int) int32) []T {
	z := b.net.forward(w, x, p, true)
	ld := len(z) / p.n
	w.grad[0] = resize(w.grad[0], len(z))
	for r := range p.n {
		if !p.skips(r) {
			attack.CrossEntropyGradient(w.grad[0][r*ld:][:b.out], z[r*ld:][:b.out], int(label(r)))
		}
	}
	return b.net.backward(w, w.grad[0], p, nil)
}

// moveNetwork makes step s of every row.
func (b *Backend[T]) moveNetwork(ctx context.Context, s attack.Step, size []T) error {
	inf := T(math.Inf(1))
	bottom, top := -inf, inf
	if !s.Bounds.None() {
		bottom, top = T(s.Bounds.Lo), T(s.Bounds.Hi)
	}
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		var g []T
		if s.Direction == attack.Gradient && !b.fresh {
			g = b.gradient(w, lo, hi, b.still)
		}
		w.v, w.x, w.d = resize(w.v, b.in), resize(w.x, b.in), resize(w.d, b.in)
		clear(w.v)
		image := -1 // whose direction is in w.d
		for r := lo; r < hi; r++ {
			i, e := b.image(r)
			x := b.x[r*b.in:][:b.in]
			if b.fresh {
				copy(x, b.clean(i))
			}
			if e < b.still {
				continue
			}
			d := w.d
			switch {
			case g != nil:
				d = g[(r-lo)*(len(g)/(hi-lo)):][:b.in]
			case image != i:
				image = i
				for k, v := range b.direction(w, s, i) {
					d[k] = T(v)
				}
			}
			ball := inf
			if !s.Bounds.None() {
				ball = b.eps[e]
			}
			zero, finite := b.vec.Move(x, w.v, w.x, d, b.clean(i), size[e], ball, bottom, top)
			if !finite {
				b.fail(i)
			}
			if zero && g != nil {
				b.zero[r] = true
			}
		}
	})
}
