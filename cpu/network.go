package cpu

import (
	"cmp"
	"context"
	"slices"
	"unsafe"

	"advsweep/attack"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A network is a model that is no MLP. What makes an MLP fast does not hold for it. So every step
// starts at the pixels and computes all layers forward and backward, a few images at a time.
//
// A Linear takes all rows of a block at once, for each row alone would read the weights again.
// Other layers are done in stages, a few rows at a time, so that each layer finds in the cache what
// the one before left there. Where images are small and weights are many, a few rows are more. What
// only one stage needs is kept for every row only if a gradient follows that looks at it.
//
// New makes it, and nothing but a trainer changes its weights. All that a pass writes is in the
// worker's netScratch.
type network[T Float] struct {
	in, out int
	image   lower.Shape // of the model's input, which comes as NCHW and is computed as NHWC
	values  []value
	layers  []netLayer[T]
	stages  []stage
	zeros   []T
	rooms   []gradientRoom
	block   int  // rows
	reached bool // the logits depend on the image
}

// A value is the image, values[0], or the output of layer j, values[j+1].
type value struct {
	lower.Shape
	ld, gld int  // from a row to the next, and from a row of its gradient to the next
	of      int  // the value in whose memory it lies: itself, or the one it is the ReLU of
	kept    bool // every row has a place, since more than one stage needs it
	looked  bool // a gradient looks at it
	used    bool // an operation makes or takes it
	moves   bool // it depends on the image; else nobody asks for its gradient
}

type netLayer[T Float] struct {
	index  int    // its place in the model's Layers
	takes  []int  // values
	second []bool // by place in takes: that gradient has a term before the one that this layer adds
	linear *affine[T]
	op     operation[T] // nil for a Linear
	all    batched[T]   // op, or nil if that takes a row at a time
	shared []T          // of a Constant whose numbers all rows read; else nil
	// Where no gradient follows, a late ReLU is not done, but by the max-pool above it, whose then
	// it is.
	late bool
	then operation[T]
}

// A stage is the layers from to to-1: one Linear, or layers of which none is a Linear. These are
// done for so many rows at a time.
type stage struct{ from, to, rows int }

// A block has as many rows as keep networkBytes for their gradient, which a cache should hold. But
// where layers want several rows at a time it has manyRows, as far as these keep mostBytes.
const (
	networkBytes = 4 << 20
	manyRows     = 20
	mostBytes    = 24 << 20
)

// newNetwork packs the weights of prog, on so many threads. It returns an error that names the
// layer for an operation that this package does not know.
func newNetwork[T Float](path string, prog *lower.Program, threads int) (*network[T], error) {
	n := &network[T]{
		in: prog.Inputs, out: prog.Classes, image: prog.Image, reached: len(prog.Uses[0]) > 0,
		values: make([]value, len(prog.Ops)+1), layers: make([]netLayer[T], len(prog.Ops)),
	}
	for j := range n.values {
		s := prog.Shape(j - 1)
		n.values[j] = value{Shape: s, of: j, ld: s.Size(), gld: s.Size(), moves: prog.Moves[j]}
	}
	n.values[0].used = n.reached
	if err := n.makeOperations(path, prog, threads); err != nil {
		return nil, err
	}
	for i, op := range prog.Ops {
		n.addLayer(path, prog, i, op)
	}
	for k := range n.stages {
		n.stages[k].rows = max(1, n.stages[k].rows)
	}
	n.keepBetweenStages()
	n.look()
	n.postpone(prog)
	n.block = n.blockRows()
	n.placeGradients()
	return n, nil
}

// blockRows returns how many rows a block has. Large images whose Linear layers are small go one by
// one.
func (n *network[T]) blockRows() int {
	row, weights := n.rowBytes(), 0
	for i := range n.layers {
		if a := n.layers[i].linear; a != nil {
			weights += a.in * a.out * int(unsafe.Sizeof(T(0)))
		}
	}
	if row*gemm.GroupRows > mostBytes && weights < mostBytes {
		return max(1, mostBytes/row)
	}
	fives := func(bytes int) int { return max(1, bytes/row/gemm.GroupRows) * gemm.GroupRows }
	rows := fives(networkBytes)
	for _, s := range n.stages {
		if s.rows > 1 {
			rows = max(rows, min(manyRows, fives(mostBytes)))
		}
	}
	return min(blockRows, rows)
}

// makeOperations makes the operations of the layers that are no Linear, on so many threads, since
// packing weights takes most of the time of New. Of several errors it returns that of the first
// layer.
func (n *network[T]) makeOperations(path string, prog *lower.Program, threads int) error {
	errs := make([]error, len(prog.Ops))
	err := onThreads(context.Background(), threads, len(prog.Ops), func(_, i int) {
		op := prog.Ops[i]
		if _, ok := op.Operation.(*lower.Linear); ok {
			return
		}
		var shapes []lower.Shape
		for _, j := range op.Takes {
			shapes = append(shapes, prog.Shape(j))
		}
		n.layers[i].op, errs[i] = newOperation[T](path, op, shapes)
	})
	return cmp.Or(append([]error{err}, errs...)...)
}

// addLayer makes layer i of operation i of prog, and puts it in a stage.
func (n *network[T]) addLayer(path string, prog *lower.Program, i int, op lower.Op) {
	l := &n.layers[i]
	for _, j := range op.Takes {
		l.takes = append(l.takes, j+1)
	}
	l.index, l.second = op.Layer, prog.Later(i)
	out := &n.values[i+1]
	out.used = true
	linear, ok := op.Operation.(*lower.Linear)
	if ok {
		in := &n.values[l.takes[0]]
		a := newAffine[T](path, linear.Weight, linear.Bias)
		l.linear = &a
		out.ld, out.gld = max(out.ld, a.stride), max(out.gld, a.stride)
		in.gld = max(in.gld, a.below)
		n.zeros = make([]T, max(len(n.zeros), a.below))
	} else {
		l.all, _ = l.op.(batched[T])
		if c, ok := l.op.(constant[T]); ok && sharable(prog, i) {
			l.shared, out.used = c.v, false
		}
	}
	if op.InPlace {
		in := &n.values[l.takes[0]]
		out.of = in.of
		out.ld = in.ld
	}
	n.stageLayer(i)
}

// stageLayer puts layer i in the last stage, or in a new one if it is, or if before it is, a
// Linear, or if it wants another number of rows at a time.
func (n *network[T]) stageLayer(i int) {
	l := &n.layers[i]
	rows := 0 // any
	if l.all != nil {
		rows = l.all.together()
	}
	if r := len(n.stages) - 1; r >= 0 && l.linear == nil && n.layers[n.stages[r].from].linear == nil {
		if s := &n.stages[r]; rows == 0 || s.rows == 0 || rows == s.rows {
			s.rows, s.to = max(s.rows, rows), i+1
			return
		}
	}
	n.stages = append(n.stages, stage{i, i + 1, rows})
}

// sharable reports whether each row may read the output of Ops[i], a Constant, where it is. The
// logits, and what a Linear takes, lie row by row.
func sharable(prog *lower.Program, i int) bool {
	for _, u := range prog.Uses[i+1] {
		if _, ok := prog.Ops[u.Op].Operation.(*lower.Linear); ok {
			return false
		}
	}
	return i < len(prog.Ops)-1
}

// keepBetweenStages marks the values that are kept: what another stage made, and the logits. Values
// that share memory share the mark, and a gradient has one stride wherever its values lie.
func (n *network[T]) keepBetweenStages() {
	for _, s := range n.stages {
		for i := s.from; i < s.to; i++ {
			for _, j := range n.layers[i].takes {
				if j <= s.from {
					n.values[n.values[j].of].kept = true
				}
			}
		}
	}
	n.values[n.values[len(n.layers)].of].kept = true
	for j := range n.values {
		v := &n.values[j]
		o := &n.values[v.of]
		o.gld = max(o.gld, v.gld)
		v.kept = o.kept
	}
	for j := range n.values {
		n.values[j].gld = n.values[n.values[j].of].gld
	}
}

// postpone marks each ReLU that is done after the max-pool above it where no gradient follows. The
// largest of max(x, 0) is max(0, the largest of x), to the bit and with the same NaN, if a window
// has a place at all. A pool has fewer outputs than inputs.
func (n *network[T]) postpone(prog *lower.Program) {
	for i := range n.layers {
		l := &n.layers[i]
		pool, ok := l.op.(*maxPool[T])
		if !ok || l.takes[0] == 0 || len(prog.Uses[l.takes[0]]) != 1 {
			continue
		}
		below := &n.layers[l.takes[0]-1]
		_, ok = below.op.(relu[T])
		inPlace := ok && n.values[l.takes[0]].of == n.values[below.takes[0]].of
		empty := slices.ContainsFunc(pool.there, func(s span) bool { return len(s.Places) == 0 })
		if inPlace && !empty {
			below.late, l.then = true, below.op
		}
	}
}

// look marks the values that gradients look at.
func (n *network[T]) look() {
	mark := func(j int) { n.values[n.values[j].of].looked = true }
	for i := range n.layers {
		l := &n.layers[i]
		if l.op == nil {
			continue
		}
		x, y := true, true
		if b, ok := l.op.(blind); ok {
			x, y = b.looks()
		}
		if y {
			mark(i + 1)
		}
		for _, j := range l.takes {
			if x {
				mark(j)
			}
		}
	}
}

// rowBytes returns how many bytes the values of one row take that are kept for its gradient.
func (n *network[T]) rowBytes() (bytes int) {
	for j, v := range n.values {
		if v.of == j && v.used && n.keeps(j, forGradient) {
			bytes += v.ld * int(unsafe.Sizeof(T(0)))
		}
	}
	return bytes
}

// A purpose is what values are kept for.
type purpose int

const (
	forLogits   purpose = iota
	forGradient         // of the images
	forLearning         // of the weights too, which looks at all values
)

// keeps reports whether every row of value j has a place in a forward pass for p.
func (n *network[T]) keeps(j int, p purpose) bool {
	o := &n.values[n.values[j].of]
	return o.kept || p == forLearning || p == forGradient && o.looked
}

// A netScratch is what one worker computes a network in. forward writes v, logits and purpose;
// backward writes rooms, where g lies, and sum. Both write first.
type netScratch[T Float] struct {
	v, g    [][]T       // by value
	rooms   [][]T       // of gradients
	purpose purpose     // of the last forward
	first   int         // of the rows that a stage has in hand
	memory  []memory[T] // by layer
	x       [][]T       // what the layer in hand takes
	sum     []T         // a gradient before it is added to another
	logits  []T         // in the order NCHW, where that is another than NHWC
}

// row returns the place of row r of value j.
func (n *network[T]) row(w *netScratch[T], j, r int) []T {
	if j > 0 && n.layers[j-1].shared != nil {
		return n.layers[j-1].shared
	}
	return n.rows(w, j, r)[:n.values[j].Size()]
}

// rows returns the places of value j from row r on, which lie ld apart.
func (n *network[T]) rows(w *netScratch[T], j, r int) []T {
	v := &n.values[j]
	if !n.keeps(j, w.purpose) {
		r -= w.first
	}
	return w.v[v.of][r*v.ld:]
}

// gradRow returns the place of the gradient at row r of value j.
func (n *network[T]) gradRow(w *netScratch[T], j, r int) []T {
	return n.gradRows(w, j, r)[:n.values[j].Size()]
}

// gradRows returns the places of the gradient at value j from row r on, which lie gld apart.
func (n *network[T]) gradRows(w *netScratch[T], j, r int) []T {
	v := &n.values[j]
	if !v.kept && j > 0 {
		r -= w.first
	}
	return w.g[v.of][r*v.gld:]
}

// chunks calls f for rows from r to r+m-1 of a block, in the groups that stage s takes at a time:
// all that p does not leave out.
func (w *netScratch[T]) chunks(s stage, rows int, p subset[T], f func(r, m int)) {
	for r := 0; r < rows; {
		m := 0
		for r+m < rows && m < s.rows && !p.skips(r+m) {
			m++
		}
		if w.first = r; m > 0 {
			f(r, m)
		}
		r += max(1, m)
	}
}

// forward returns the logits of images x [n, I], [n, stride]. They are valid until w is used again.
// It keeps what backward needs for a purpose.
func (n *network[T]) forward(w *scratch[T], x []T, p subset[T], purpose purpose) []T {
	s := &w.net
	n.makeValues(w, p.n, purpose)
	if n.image.Reordered() {
		for r := range p.n {
			if n.values[0].used && !p.skips(r) {
				lower.ToNHWC(n.row(s, 0, r), x[r*n.in:][:n.in], n.image)
			}
		}
	} else {
		s.v[0] = x
	}
	for _, st := range n.stages {
		if n.layers[st.from].linear != nil {
			n.linearForward(w, st.from, p)
			continue
		}
		s.chunks(st, p.n, p, func(r, m int) {
			for i := st.from; i < st.to; i++ {
				n.layerForward(w, i, r, m)
			}
		})
	}
	top := &n.values[len(n.layers)]
	if !top.Reordered() {
		return s.v[top.of][:p.n*top.ld]
	}
	s.logits = resize(s.logits, p.n*n.out)
	for r := range p.n {
		lower.ToNCHW(s.logits[r*n.out:][:n.out], n.row(s, len(n.layers), r), top.Shape)
	}
	return s.logits
}

// layerForward computes layer i, no Linear, for rows r to r+m-1.
func (n *network[T]) layerForward(w *scratch[T], i, r, m int) {
	s, l := &w.net, &n.layers[i]
	switch {
	case l.shared != nil:
	case l.late && s.purpose == forLogits:
	case l.all != nil && !n.constant(l.takes[0]):
		from, to := l.takes[0], i+1
		l.all.forwardAll(&s.memory[i], m, n.rows(s, to, r), n.values[to].ld, n.rows(s, from, r), n.values[from].ld)
	default:
		for k := r; k < r+m; k++ {
			n.takeRow(s, l, k)
			l.op.forward(&s.memory[i], n.row(s, i+1, k), s.x)
			if l.then != nil && s.purpose == forLogits {
				s.x[0] = n.row(s, i+1, k)
				l.then.forward(&s.memory[i], s.x[0], s.x)
			}
		}
	}
}

// constant reports whether all rows share value j.
func (n *network[T]) constant(j int) bool { return j > 0 && n.layers[j-1].shared != nil }

// takeRow puts all that layer l takes of row r in x.
func (n *network[T]) takeRow(s *netScratch[T], l *netLayer[T], r int) {
	s.x = s.x[:0]
	for _, j := range l.takes {
		s.x = append(s.x, n.row(s, j, r))
	}
}

// makeValues makes room for the values of so many rows, for a purpose.
func (n *network[T]) makeValues(w *scratch[T], rows int, purpose purpose) {
	s := &w.net
	if s.v == nil {
		s.v, s.g, s.memory = make([][]T, len(n.values)), make([][]T, len(n.values)), make([]memory[T], len(n.layers))
		s.rooms = make([][]T, len(n.rooms))
		for i := range s.memory {
			s.memory[i].rows, s.memory[i].gemm, s.memory[i].tiles, s.memory[i].listing = &w.rows, &w.gemm, &w.tiles, &w.lists
		}
	}
	s.purpose, s.first = purpose, 0
	for j := range n.values {
		if v := &n.values[j]; v.of == j && v.used && (j > 0 || v.Reordered()) {
			count := rows
			if !n.keeps(j, purpose) {
				count = min(rows, n.stageOf(j).rows)
			}
			s.v[j] = resize(s.v[j], count*v.ld)
		}
	}
}

// stageOf returns the stage that makes value j, or the first one for the image.
func (n *network[T]) stageOf(j int) stage {
	for _, s := range n.stages {
		if j <= s.to {
			return s
		}
	}
	return stage{rows: 1}
}

// linearForward computes layer i, a Linear, for all rows.
func (n *network[T]) linearForward(w *scratch[T], i int, p subset[T]) {
	l := &n.layers[i]
	from, to, a := &n.values[l.takes[0]], &n.values[i+1], l.linear
	w.rows.nonZeros(w.net.v[from.of], from.ld, p.n, a.in, p.split)
	w.rows.multiplyFrom(a.bias, w.net.v[to.of], to.ld, a.wt)
}

// backward returns the gradient at the images [n, stride], for d [n, stride of the logits] at the
// logits of the last forward, whose purpose must have been this. It is valid until w is used again.
//
// learn may be nil. Else it is called when the gradient at the output of a layer is there: for a
// Linear once, with r 0, and for each other layer once a row. The gradient at the images is then
// left out.
func (n *network[T]) backward(w *scratch[T], d []T, p subset[T], learn func(layer, r int)) []T {
	s := &w.net
	image := &n.values[0]
	n.makeGradients(w, p.n)
	if !n.reached {
		s.g[0] = resize(s.g[0], p.n*image.gld)
		clear(s.g[0])
		return s.g[0]
	}
	n.startGradient(w, d, p.n)
	for k := len(n.stages) - 1; k >= 0; k-- {
		st := n.stages[k]
		if n.layers[st.from].linear != nil {
			if learn != nil {
				if learn(st.from, 0); n.layers[st.from].takes[0] == 0 {
					continue
				}
			}
			n.linearBackward(w, st.from, p)
			continue
		}
		s.chunks(st, p.n, p, func(r, m int) {
			for i := st.to - 1; i >= st.from; i-- {
				for k := r; learn != nil && k < r+m; k++ {
					learn(i, k)
				}
				n.layerBackward(w, i, r, m, learn != nil)
			}
		})
	}
	s.first = 0
	if !image.Reordered() {
		return s.g[0]
	}
	s.sum = resize(s.sum, n.in)
	for r := range p.n {
		g := s.g[0][r*image.gld:][:n.in]
		copy(s.sum, g)
		lower.ToNCHW(g, s.sum, n.image)
	}
	return s.g[0]
}

// startGradient copies d, the gradient at the logits of n rows, to its place as NHWC.
func (n *network[T]) startGradient(w *scratch[T], d []T, rows int) {
	top, ld := len(n.layers), len(d)/rows
	for r := range rows {
		to := n.gradRow(&w.net, top, r)
		if n.values[top].Reordered() {
			lower.ToNHWC(to, d[r*ld:][:n.out], n.values[top].Shape)
		} else {
			copy(to, d[r*ld:])
		}
	}
}

// linearBackward computes the gradient at what layer i, a Linear, takes, for all rows.
func (n *network[T]) linearBackward(w *scratch[T], i int, p subset[T]) {
	s, l := &w.net, &n.layers[i]
	to, from, a := &n.values[l.takes[0]], &n.values[i+1], l.linear
	if !to.moves {
		return
	}
	w.rows.nonZeros(s.g[from.of], from.gld, p.n, a.out, p.split)
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
}

// layerBackward computes the gradient at what layer i, no Linear, takes, for rows r to r+m-1. It
// may leave out the gradient at the image.
func (n *network[T]) layerBackward(w *scratch[T], i, r, m int, noImage bool) {
	s, l := &w.net, &n.layers[i]
	if !n.values[i+1].moves {
		return
	}
	for t, j := range l.takes {
		if noImage && j == 0 || !n.values[j].moves {
			continue
		}
		if _, ok := l.op.(add[T]); ok && l.second[t] { // the gradient is d itself
			for k := range m {
				w.rows.vec.Add(n.gradRow(s, j, r+k), n.gradRow(s, i+1, r+k))
			}
			continue
		}
		size, dx, ld := n.values[j].Size(), n.gradRows(s, j, r), n.values[j].gld
		if l.second[t] {
			s.sum = resize(s.sum, m*ld)
			dx = s.sum
		}
		if l.all != nil {
			l.all.backwardAll(&s.memory[i], m, dx, ld, n.gradRows(s, i+1, r), n.values[i+1].gld)
		} else {
			for k := range m {
				n.takeRow(s, l, r+k)
				l.op.backward(&s.memory[i], dx[k*ld:][:size], s.x, t, n.row(s, i+1, r+k), n.gradRow(s, i+1, r+k))
			}
		}
		for k := range m {
			if l.second[t] {
				w.rows.vec.Add(n.gradRow(s, j, r+k), dx[k*ld:])
			}
		}
	}
}

// lossGradient returns the gradient of the cross-entropy at images x [n, I], each divided by its 1
// - p_y, [n, stride]. label gives the label of a row. It is valid until w is used again.
func (n *network[T]) lossGradient(w *scratch[T], x []T, p subset[T], label func(r int) int32) []T {
	return n.lossDown(w, n.forward(w, x, p, forGradient), p, label)
}

// lossDown is lossGradient at the images of the last forward, which must have been for a gradient,
// for their logits z.
func (n *network[T]) lossDown(w *scratch[T], z []T, p subset[T], label func(r int) int32) []T {
	ld := len(z) / p.n
	w.grad[0] = resize(w.grad[0], len(z))
	for r := range p.n {
		if !p.skips(r) {
			attack.CrossEntropyGradient(w.grad[0][r*ld:][:n.out], z[r*ld:][:n.out], int(label(r)))
		}
	}
	return n.backward(w, w.grad[0], p, nil)
}

// moveNetwork makes a plain step s of every row of a network.
func (b *Backend[T]) moveNetwork(ctx context.Context, s attack.Step, size []T) error {
	in, st := b.model.in, &b.state
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		var g []T
		if s.Direction == attack.Gradient && !st.fresh {
			g = b.gradient(w, lo, hi, st.still)
		}
		w.v, w.x, w.dir.d = resize(w.v, in), resize(w.x, in), resize(w.dir.d, in)
		clear(w.v)
		image := -1 // whose direction is in w.dir.d
		for r := lo; r < hi; r++ {
			i, e := b.batch.of(r)
			if st.fresh {
				copy(b.pixels(r), b.loaded.clean(i))
			}
			if e < st.still {
				continue
			}
			d := w.dir.d
			switch {
			case g != nil:
				d = g[(r-lo)*(len(g)/(hi-lo)):][:in]
			case image != i:
				image = i
				for k, v := range b.direction(w, s, i) {
					d[k] = T(v)
				}
			}
			b.moveOne(s, r, w.v, w.x, d, size[e])
		}
	})
}
