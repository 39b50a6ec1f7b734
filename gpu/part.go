//go:build cuda && linux && cgo

package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A part is one device's share of a Backend: the model, the loaded images, and the rows of its
// share of the batch. All methods but close are called on the device's thread, and work on the
// stream in the order of the calls.
//
// Matrices on the device have rows of padded(columns) elements, zero beyond the columns.
type part struct {
	*device
	inputs  int // of an image
	classes int
	layers  []layer  // of a stack
	net     *network // of any other model, or nil
	plan    plan
	rowsMax int    // of a Begin
	planned int    // rows that pass through the layers at a time, as planned
	chunk   int    // and now: fewer if memory is short
	zeros   buffer // floats, as many as the widest layer has: a bias that is not there

	// Set by load: clean images x0 [N, in], labels [N], the signs of their gradients [N, in] as far
	// as signed, and flat [N]: the gradient is zero in every pixel.
	first         int
	x0, labels    buffer
	sign, flat    buffer
	signed        []bool // [N]
	staging       pinned // through which images go up
	results       pinned // through which counts come down: what found views
	deviceResults buffer // the same there, see count

	// Set by begin.
	lo, images int
	eps        []float32
	sizes      buffer       // size [E], eps [E], zero [E]
	x, class   buffer       // x [rows, in], class [rows]
	zero       buffer       // [rows] bytes: a gradient was zero in every pixel
	rayA, rayC buffer       // [images, out of the first layer]
	random     buffer       // [images, in] bytes: the signs of a random step
	fresh      bool         // x is x0, and not filled
	ray        cu.DevicePtr // if not 0, x = x0 + size·d and not filled, d here [images, in]
	// a step from the clean images took the gradient: flat tells of every row
	flatCounts bool
	sized      []float32 // what size on the device holds

	unread bool // a step took gradients, and whether they were finite has not been read since

	repeat struct { // the gradient step that may come again
		bounds attack.Bounds
		again  bool
		graph  *graph
	}

	// Scratch for one chunk: the output of each layer, q at the logits, two gradients, signs.
	act  []buffer
	q    buffer
	grad [2]buffer
	d    buffer

	general general

	found found
}

// A found is what count brought down.
type found struct {
	correct, zero []int32 // [E]
	stuck         []int32 // [images]
	bad           int     // row of the part, or -1
}

func openPart(index int, prog *lower.Program, mode string) (*part, error) {
	d, err := openDevice(index)
	if err != nil {
		return nil, err
	}
	p := &part{device: d}
	if err := d.do(func() error { return p.open(prog, mode) }); err != nil {
		_ = p.close() // for the same reason, if it fails too
		return nil, err
	}
	return p, nil
}

// open copies the model to the device.
func (p *part) open(prog *lower.Program, mode string) error {
	p.inputs, p.classes = prog.Inputs, prog.Classes
	if !prog.MLP {
		return p.openNetwork(prog, mode)
	}
	sizes := []int{prog.Inputs}
	for _, op := range prog.Ops {
		switch l := op.Operation.(type) {
		case *lower.Linear:
			a, err := p.newLayer(l.Weight, l.Bias, mode)
			if err != nil {
				return err
			}
			a.relu = op.Rectified
			p.layers = append(p.layers, a)
			sizes = append(sizes, a.out)
		case lower.Elementwise:
			if !op.InPlace {
				return fmt.Errorf("gpu: layer %d: %s in an MLP, want a ReLU behind a Linear", op.Layer, l.Name)
			}
		default:
			return fmt.Errorf("gpu: layer %d: %T in an MLP", op.Layer, l)
		}
	}
	widest := 0
	for _, n := range sizes {
		widest = max(widest, padRows(n))
	}
	if err := p.grow(&p.zeros, int64(4*widest)); err != nil {
		return err
	}
	if err := p.fill(p.zeros.DevicePtr, 0, int64(4*widest)); err != nil {
		return err
	}
	if err := p.probe(mode); err != nil {
		return err
	}
	p.act = make([]buffer, len(p.layers))
	p.plan = planFor(sizes)
	return p.planMemory(widest)
}

// openNetwork is open for a model that is no MLP.
func (p *part) openNetwork(prog *lower.Program, mode string) (err error) {
	if err := p.probe(mode); err != nil {
		return err
	}
	if p.net, err = p.newNetwork(prog, mode); err != nil {
		return err
	}
	p.plan = p.net.plan(p.in(), p.out())
	return p.planMemory(p.net.widest())
}

// planMemory decides how many rows fit; the widest matrix has so many columns.
func (p *part) planMemory(widest int) error {
	free, err := p.freeMemory()
	if err != nil {
		return err
	}
	p.planned = p.plan.chunk(free, p.multiprocessors, widest)
	p.rowsMax = p.plan.batch(free, p.planned)
	return p.wait()
}

func (p *part) close() error {
	err := p.do(func() error {
		// all are called
		return cmp.Or(p.dropGraph(&p.repeat.graph), p.unpin(&p.staging), p.unpin(&p.results))
	})
	if closed := p.device.close(); err == nil {
		err = closed
	}
	return err
}

// in and out are the padded lengths of an image and of a row of logits.
func (p *part) in() int   { return padded(p.inputs) }
func (p *part) out() int  { return padded(p.classes) }
func (p *part) E() int    { return len(p.eps) }
func (p *part) rows() int { return p.images * len(p.eps) }

// load copies up images, either bytes or floats [N, inputs], and labels [N].
func (p *part) load(first int, bytes []uint8, floats []float32, labels []int32) error {
	if err := p.dropGraph(&p.repeat.graph); err != nil {
		return err
	}
	err := p.loadImages(first, bytes, floats, labels)
	if errors.As(err, new(outOfMemory)) { // rows of the batch before may be in the way
		if err := p.release(); err != nil {
			return err
		}
		err = p.loadImages(first, bytes, floats, labels)
	}
	return err
}

func (p *part) loadImages(first int, bytes []uint8, floats []float32, labels []int32) error {
	n, inputs, in := len(labels), p.inputs, p.in()
	p.first, p.signed, p.unread = first, make([]bool, n), false
	for _, need := range []struct {
		b    *buffer
		size int
	}{{&p.x0, 4 * n * in}, {&p.labels, 4 * n}, {&p.sign, n * in}, {&p.flat, n}} {
		if err := p.grow(need.b, int64(need.size)); err != nil {
			return err
		}
	}
	// rows that have not moved read it, times 0
	if err := p.fill(p.sign.DevicePtr, 0, int64(n*in)); err != nil {
		return err
	}
	if err := p.fill(p.flat.DevicePtr, 0, int64(n)); err != nil {
		return err
	}
	if err := upload(p.device, p.labels.DevicePtr, labels); err != nil {
		return err
	}
	if bytes != nil {
		if err := p.loadBytes(bytes, n, inputs); err != nil {
			return err
		}
	} else if err := p.loadFloats(floats, n, inputs); err != nil {
		return err
	}
	free, err := p.freeMemory()
	if err != nil {
		return err
	}
	p.rowsMax = p.plan.batch(free+p.batchBytes(), p.planned)
	return nil
}

// stagingBytes is the size of the pinned piece through which images go up.
const stagingBytes = 4 << 20

// loadBytes copies pixels up as bytes, a piece of pinned memory at a time, and makes floats of them
// there.
func (p *part) loadBytes(bytes []uint8, n, inputs int) error {
	images := min(n, max(1, stagingBytes/inputs))
	if err := p.growPinned(&p.staging, images*inputs); err != nil {
		return err
	}
	raw, err := p.alloc(int64(images * inputs))
	if err != nil {
		return err
	}
	for i := 0; i < n && err == nil; i += images {
		piece := bytes[i*inputs : min(i+images, n)*inputs]
		to := pinnedSlice[uint8](p.staging, len(piece))
		copy(to, piece)
		if err = upload(p.device, raw, to); err == nil {
			err = p.pixels(at(p.x0.DevicePtr, i*p.in(), 4), raw, len(piece)/inputs, inputs, p.in())
		}
		if err == nil {
			err = p.wait() // the pinned memory is used again
		}
	}
	return errors.Join(err, p.free(raw))
}

// loadFloats copies pixels up as floats.
func (p *part) loadFloats(floats []float32, n, inputs int) error {
	in := p.in()
	images := min(n, max(1, stagingBytes/(4*in)))
	if err := p.growPinned(&p.staging, 4*images*in); err != nil {
		return err
	}
	for i := 0; i < n; i += images {
		count := min(images, n-i)
		to := pinnedSlice[float32](p.staging, count*in)
		clear(to)
		for k := range count {
			copy(to[k*in:], floats[(i+k)*inputs:][:inputs])
		}
		if err := upload(p.device, at(p.x0.DevicePtr, i*in, 4), to); err != nil {
			return err
		}
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

// batchBuffers are the buffers that grow with the rows of a batch.
func (p *part) batchBuffers() []*buffer {
	return []*buffer{&p.sizes, &p.x, &p.class, &p.zero, &p.rayA, &p.rayC, &p.random, &p.deviceResults}
}

// chunkBuffers are the buffers that grow with the chunk.
func (p *part) chunkBuffers() []*buffer {
	list := []*buffer{&p.q, &p.grad[0], &p.grad[1], &p.d}
	for i := range p.act {
		list = append(list, &p.act[i])
	}
	if p.net != nil {
		for _, v := range p.net.claims(0) {
			list = append(list, v.buffer)
		}
	}
	return list
}

// grown are the buffers that grow with batch or chunk.
func (p *part) grown() []*buffer {
	return slices.Concat(p.batchBuffers(), p.chunkBuffers(), p.general.buffers())
}

func (p *part) batchBytes() (sum int64) {
	for _, b := range p.grown() {
		sum += b.size
	}
	return sum
}

// release frees what grows with batch and chunk.
func (p *part) release() error {
	var first error
	for _, b := range p.grown() {
		first = cmp.Or(first, p.drop(b)) // drop is called all the same
	}
	return first
}

// begin takes memory for the rows and clears their flags.
func (p *part) begin(eps []float32) error {
	if err := p.dropGraph(&p.repeat.graph); err != nil {
		return err
	}
	p.repeat.again = false
	if p.unread { // broken is about to be cleared: take no sign on trust
		clear(p.signed)
		p.unread = false
	}
	p.eps, p.fresh, p.ray, p.flatCounts, p.sized = eps, true, 0, false, nil
	p.general.forget()
	if err := p.reserve(); err != nil {
		return err
	}
	E := p.E()
	if err := upload(p.device, at(p.sizes.DevicePtr, E, 4), eps); err != nil {
		return err
	}
	if err := p.fill(at(p.sizes.DevicePtr, 2*E, 4), 0, int64(4*E)); err != nil {
		return err
	}
	if err := upload(p.device, p.deviceResults.DevicePtr, []int32{math.MaxInt32, math.MaxInt32}); err != nil {
		return err
	}
	return p.fill(p.zero.DevicePtr, 0, int64(p.rows()))
}

// reserve takes all memory that the batch will need. When it is short the chunk is halved, down to
// the plan's least, and then the error has OutOfMemory.
func (p *part) reserve() error {
	least := p.plan.least
	for p.chunk = p.planned; ; p.chunk = max(least, p.chunk/2/least*least) {
		err := p.reserveChunk()
		if !errors.As(err, new(outOfMemory)) {
			return err
		}
		if failed := p.release(); failed != nil {
			return failed
		}
		if p.chunk <= least {
			return err
		}
	}
}

func (p *part) reserveChunk() error {
	rows, images, in := p.rows(), p.images, p.in()
	first := 0
	if p.net == nil {
		first = padded(p.layers[0].out)
	}
	sizes := []int{4 * 3 * p.E(), 4 * rows * in, 4 * rows, rows, 4 * images * first, 4 * images * first, images * in, p.resultBytes()}
	for i, b := range p.batchBuffers() {
		if err := p.grow(b, int64(sizes[i])); err != nil {
			return err
		}
	}
	if err := p.growPinned(&p.results, p.resultBytes()); err != nil {
		return err
	}
	n, widest := min(p.chunk, rows), 0
	if p.net == nil {
		widest = in
	}
	sizes = nil
	for _, l := range p.layers {
		widest = max(widest, padded(l.out))
		sizes = append(sizes, 4*n*padded(l.out))
	}
	if p.net != nil {
		for _, v := range p.net.claims(n) {
			sizes = append(sizes, v.bytes)
		}
	}
	sizes = append([]int{4 * n * p.out(), 4 * n * widest, 4 * n * widest, n * in}, sizes...)
	for i, b := range p.chunkBuffers() {
		if err := p.grow(b, int64(sizes[i])); err != nil {
			return err
		}
	}
	return nil
}

// A span is rows first to first+n-1 of a batch, one chunk, whose row r is image r/E and eps r%E of
// it; image 0 of the batch is image lo of the loaded ones.
type span struct{ lo, first, n, E int }

// chunks calls f for every chunk of n rows at E eps, image 0 being lo of the loaded ones, until ctx
// ends.
func (p *part) chunks(ctx context.Context, lo, n, E int, f func(s span) error) error {
	for first := 0; first < n; first += p.chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(span{lo, first, min(p.chunk, n-first), E}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// batchChunks is chunks of the rows of the batch.
func (p *part) batchChunks(ctx context.Context, f func(s span) error) error {
	return p.chunks(ctx, p.lo, p.rows(), p.E(), f)
}

// step launches one plain move of every row.
func (p *part) step(ctx context.Context, s attack.Step, size []float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.rows() == 0 {
		return nil
	}
	if err := p.setSizes(size); err != nil {
		return err
	}
	gradient := s.Direction == attack.Gradient
	p.unread = p.unread || gradient
	if gradient && !p.fresh {
		return p.gradientStep(ctx, s)
	}
	// All eps of an image share the direction.
	d := at(p.sign.DevicePtr, p.lo*p.in(), 1)
	if gradient {
		if err := p.signClean(ctx); err != nil {
			return err
		}
		p.flatCounts = true
	} else {
		d = p.random.DevicePtr
		if p.ray == d { // about to be overwritten
			if err := p.leaveRay(ctx); err != nil {
				return err
			}
		}
		if err := p.randomSigns(d, s.Seed, p.first+p.lo, s.Index, p.images); err != nil {
			return err
		}
	}
	if p.fresh && s.Bounds.None() && p.net == nil {
		return p.enterRay(ctx, d)
	}
	if err := p.leaveRay(ctx); err != nil {
		return err
	}
	err := p.batchChunks(ctx, func(c span) error {
		return p.signStep(c, d, p.sizes.DevicePtr, s.Bounds, p.fresh, true)
	})
	p.fresh = false
	return err
}

// gradientStep launches a step along the gradient at rows that have moved. One that comes again in
// the same batch is recorded, and then replayed as one graph.
func (p *part) gradientStep(ctx context.Context, s attack.Step) error {
	launch := func(ctx context.Context) error {
		return p.batchChunks(ctx, func(c span) error {
			g, err := p.gradient(c, 0, objective{})
			if err != nil {
				return err
			}
			if p.ray != 0 {
				if err := p.fillRows(c); err != nil {
					return err
				}
			}
			if err := p.signOf(p.d.DevicePtr, at(p.zero.DevicePtr, c.first, 1), g, c); err != nil {
				return err
			}
			return p.signStep(c, p.d.DevicePtr, p.sizes.DevicePtr, s.Bounds, false, false)
		})
	}
	if p.ray != 0 {
		err := launch(ctx)
		p.ray = 0
		return err
	}
	r := &p.repeat
	if !r.again || r.bounds != s.Bounds {
		r.bounds, r.again = s.Bounds, true
		if err := p.dropGraph(&r.graph); err != nil {
			return err
		}
		return launch(ctx)
	}
	if p.manual || p.rows() > mostRecorded*p.chunk {
		return launch(ctx)
	}
	if r.graph == nil { // the second of its kind
		var err error
		if r.graph, err = p.capture(func() error { return launch(context.WithoutCancel(ctx)) }); err != nil {
			return err
		}
		if r.graph == nil {
			p.manual = true
			return launch(ctx)
		}
	}
	return p.replay(r.graph)
}

// mostRecorded is the most chunks of a recorded step: with more, each launch is so long that
// nothing waits for the next.
const mostRecorded = 32

// setSizes writes the sizes of a step, unless they are there.
func (p *part) setSizes(size []float32) error {
	if slices.Equal(p.sized, size) {
		return nil
	}
	if p.ray != 0 { // x depends on the sizes of the step before
		if err := p.leaveRay(context.Background()); err != nil {
			return err
		}
	}
	p.sized = append(p.sized[:0], size...)
	return upload(p.device, p.sizes.DevicePtr, size)
}

// signClean fills sign and flat for the clean images of the batch.
func (p *part) signClean(ctx context.Context) error {
	lo, hi := p.lo, p.lo+p.images
	for lo < hi && p.signed[lo] {
		lo++
	}
	for lo < hi && p.signed[hi-1] {
		hi--
	}
	err := p.chunks(ctx, lo, hi-lo, 1, func(c span) error {
		g, err := p.gradient(c, at(p.x0.DevicePtr, (lo+c.first)*p.in(), 4), objective{})
		if err != nil {
			return err
		}
		return p.signOf(at(p.sign.DevicePtr, (lo+c.first)*p.in(), 1), at(p.flat.DevicePtr, lo+c.first, 1), g, c)
	})
	if err != nil {
		return err
	}
	for i := lo; i < hi; i++ {
		p.signed[i] = true
	}
	return nil
}

// fillRows writes x of rows that are fresh or on a ray.
func (p *part) fillRows(c span) error {
	d, size := p.ray, p.sizes.DevicePtr
	if p.fresh {
		d, size = at(p.sign.DevicePtr, p.lo*p.in(), 1), at(p.sizes.DevicePtr, 2*p.E(), 4) // zeros
	}
	return p.signStep(c, d, size, attack.Bounds{}, true, true)
}

// leaveRay writes x of all rows, if they are on a ray.
func (p *part) leaveRay(ctx context.Context) error {
	if p.ray == 0 {
		return nil
	}
	err := p.batchChunks(ctx, p.fillRows)
	p.ray = 0
	return err
}

// rowsAt returns x of a chunk, filled.
func (p *part) rowsAt(c span) (cu.DevicePtr, error) {
	switch {
	case p.fresh && c.E == 1:
		return at(p.x0.DevicePtr, (c.lo+c.first)*p.in(), 4), nil
	case p.fresh || p.ray != 0:
		if err := p.fillRows(c); err != nil {
			return 0, err
		}
	}
	return at(p.x.DevicePtr, c.first*p.in(), 4), nil
}

// forward returns the logits [n, out] of a chunk, valid until the next one: of the batch's rows, or
// of x if that is not 0.
func (p *part) forward(c span, x cu.DevicePtr) (cu.DevicePtr, error) {
	from := 0
	if x == 0 && p.ray != 0 {
		if err := p.rayForward(c); err != nil {
			return 0, err
		}
		from = 1
	} else if x == 0 {
		var err error
		if x, err = p.rowsAt(c); err != nil {
			return 0, err
		}
	}
	if p.net != nil {
		return p.net.forward(p, x, c.n)
	}
	for i := from; i < len(p.layers); i++ {
		if i > 0 {
			x = p.act[i-1].DevicePtr
		}
		l := &p.layers[i]
		if err := p.affineForward(p.act[i].DevicePtr, x, l, l.bias, l.relu, c.n); err != nil {
			return 0, err
		}
	}
	return p.act[len(p.layers)-1].DevicePtr, nil
}

// gradient returns a positive multiple of the gradient of objective o [n, in] at a chunk, of
// cross-entropy each row divided by its 1 - p_y, valid until the next one. x is as for forward.
func (p *part) gradient(c span, x cu.DevicePtr, o objective) (cu.DevicePtr, error) {
	z, err := p.forward(c, x)
	if err != nil {
		return 0, err
	}
	if err := p.lossGradient(p.q.DevicePtr, z, c, o); err != nil {
		return 0, err
	}
	return p.backward(c, p.q.DevicePtr)
}

// backward returns the gradient [n, in] at the pixels of the chunk that forward ran last, given g
// [n, out] at the logits, valid until the next one.
func (p *part) backward(c span, g cu.DevicePtr) (cu.DevicePtr, error) {
	if p.net != nil {
		return p.net.backward(p, g, c.n)
	}
	for i := len(p.layers) - 1; i >= 0; i-- {
		to := p.grad[i%2].DevicePtr
		var mask cu.DevicePtr
		if i > 0 && p.layers[i-1].relu {
			mask = p.act[i-1].DevicePtr
		}
		if err := p.affineBackward(to, g, &p.layers[i], mask, c.n); err != nil {
			return 0, err
		}
		g = to
	}
	return g, nil
}

// predictions writes the class of each row to dst [rows].
func (p *part) predictions(ctx context.Context, dst []int32) error {
	if err := p.classify(ctx); err != nil {
		return err
	}
	if err := download(p.device, dst, p.class.DevicePtr); err != nil {
		return err
	}
	return p.check()
}

// classify fills class.
func (p *part) classify(ctx context.Context) error {
	return p.batchChunks(ctx, func(c span) error {
		z, err := p.forward(c, 0)
		if err != nil {
			return err
		}
		return p.argmax(at(p.class.DevicePtr, c.first, 4), z, c.n)
	})
}

// zeroGradient writes to dst [rows] what zero and flat tell.
func (p *part) zeroGradient(ctx context.Context, dst []bool) error {
	zero, flat := make([]byte, p.rows()), make([]byte, p.images)
	if err := download(p.device, zero, p.zero.DevicePtr); err != nil {
		return err
	}
	if p.flatCounts {
		if err := download(p.device, flat, at(p.flat.DevicePtr, p.lo, 1)); err != nil {
			return err
		}
	}
	for r := range dst {
		dst[r] = zero[r]|flat[r/p.E()] != 0
	}
	if err := p.check(); err != nil {
		return err
	}
	return ctx.Err()
}

func (p *part) logits(ctx context.Context, dst []float32) error {
	return p.rowsTo(ctx, dst, p.classes, func(c span) (cu.DevicePtr, error) { return p.forward(c, 0) })
}

func (p *part) imagesTo(ctx context.Context, dst []float32) error {
	return p.rowsTo(ctx, dst, p.inputs, p.rowsAt)
}

// rowsTo collects f [n, padded(cols)] of every chunk in dst [rows, cols].
func (p *part) rowsTo(ctx context.Context, dst []float32, cols int, f func(c span) (cu.DevicePtr, error)) error {
	width := padded(cols)
	err := p.batchChunks(ctx, func(c span) error {
		from, err := f(c)
		if err != nil {
			return err
		}
		piece := make([]float32, c.n*width)
		if err := download(p.device, piece, from); err != nil {
			return err
		}
		for k := range c.n {
			copy(dst[(c.first+k)*cols:][:cols], piece[k*width:])
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.check()
}

// check returns an error if a step's gradient was not finite.
func (p *part) check() error {
	words := pinnedSlice[int32](p.results, 2)
	if err := download(p.device, words, p.deviceResults.DevicePtr); err != nil {
		return err
	}
	return p.broken(words[1])
}

// broken is the error for the least image with a gradient that was not finite, if there is one.
func (p *part) broken(image int32) error {
	p.unread = false
	if image == math.MaxInt32 {
		return nil
	}
	clear(p.signed) // some of them have no sign
	return fmt.Errorf("gpu: %w", batch.NotFinite(p.first+int(image), "float32"))
}
