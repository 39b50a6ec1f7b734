// Package cpu is the backend that runs everywhere: batched, on all cores, without
// cgo, in float32 or float64.
//
// Work is split by rows. A worker takes a block of rows through every layer, and workers
// meet only at the end. A row's results do not depend on the block it is in: same inputs give
// the same bits, whatever the batch size or the number of threads.
//
// Three things make it do less arithmetic than the formulas have, for stacks of Linear and ReLU;
// other models are in network.go. Units that are zero, and pixels, are left out of products, which
// changes no bit (rows.go). From the second step of an attack on, the first layer follows the
// pixels that changed their move (moves.go). And the whole curve of FGSM comes of a few points on
// each ray (walk.go).
package cpu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// Float is the type that a Backend computes in.
type Float = gemm.Float

// Options are how a Backend uses the machine. The zero value is the best choice.
type Options struct {
	Threads int    // goroutines; 0 is one for each processor
	Kernel  string // one of Kernels; "" is the best, or the one that ADVSWEEP_KERNEL names
	// Dense makes every product whole and every step start from the pixels, as other programs do.
	// It is slower, and there to compare with: images that have moved twice, or within bounds,
	// differ within rounding. EnvDense asks for it too.
	Dense bool
}

// EnvDense names the environment variable that, if not empty, stands for Options.Dense.
const EnvDense = "ADVSWEEP_DENSE"

// MaxThreads is the largest Options.Threads.
const MaxThreads = 1024

// Kernels lists the matrix kernels that this processor can run, best first.
func Kernels() []string { return gemm.Paths() }

// A Backend holds one model and one batch. It implements pipeline.Backend and is used by one
// goroutine at a time. What it returns is the caller's. After an error of Step, Keep, Restore or
// Round other than of their arguments the rows are gone: call Begin again.
type Backend[T Float] struct {
	info    backend.Info
	kernel  string
	vec     gemm.Vector[T]
	layers  []affine[T]
	net     *network[T] // instead of layers, where the model is no stack
	block   int         // rows
	zeros   []T         // as many as any layer has inputs or outputs
	rates   *rates[T]   // once a walk has asked for them
	in, out int         // I, O
	width   int         // outputs of the first layer
	threads int
	dense   bool
	scratch []scratch[T]
	broken  atomic.Int64 // the first image of which something was not finite, or -1; see fail
	closed  bool

	// Set by Load: clean images x0 [N, I], labels [N], and their gradients' signs, which
	// all eps and all attacks share, as far as they have been asked for.
	first    int
	x0       []T
	min, max T
	labels   []int32
	sign     []int8 // [N, I]
	signed   []bool // [N]: sign is there
	flat     []bool // [N]: the gradient is zero in every pixel

	// Set by Begin: a row for each (image, eps), image lo + r/E and eps r%E.
	lo, rows int
	eps      []T
	x        []T    // [rows, I]; not filled while fresh or on a ray
	fresh    bool   // x is x0
	ray      ray[T] // if on, x is on it
	moves    moves[T]
	still    int     // eps before this one have not moved: x is x0
	zero     []bool  // [rows]: a gradient was zero in every pixel
	class    []int32 // [rows], of Count
	general  general[T]
	slots    [2]slot[T]
}

// blockRows is the most rows of a block. The weights are read once for all of them, from a cache
// that two processors share at best, and what a block needs besides must not crowd out too much.
const blockRows = 640

// batchBytes bounds what grows with the rows.
const batchBytes = 64 << 20

// New prepares m: weights are packed once, and m is not kept. It returns an error
// if m is not valid, or the kernel not there.
func New[T Float](m *model.Model, o Options) (*Backend[T], error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if o.Threads < 0 || o.Threads > MaxThreads {
		return nil, fmt.Errorf("cpu: %d threads, want 0 to %d", o.Threads, MaxThreads)
	}
	if o.Threads == 0 {
		o.Threads = min(runtime.GOMAXPROCS(0), MaxThreads)
	}
	kernel, err := gemm.Path(o.Kernel)
	if err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	b := &Backend[T]{kernel: kernel, vec: gemm.NewVector[T](kernel), threads: o.Threads, dense: o.Dense || os.Getenv(EnvDense) != ""}
	prog, err := lower.New(m)
	if err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if prog.MLP {
		if err := b.stack(prog); err != nil {
			return nil, fmt.Errorf("cpu: %w", err)
		}
	} else {
		if b.net, err = newNetwork[T](kernel, prog); err != nil {
			return nil, fmt.Errorf("cpu: %w", err)
		}
		b.in, b.out, b.block = b.net.in, b.net.out, b.net.block
	}
	b.info = backend.Info{
		Name: "cpu", Device: runtime.GOARCH + " " + kernel, Precision: fmt.Sprintf("float%d", 8*unsafe.Sizeof(T(0))),
		Inputs: b.in, Classes: b.out, Rows: b.maxRows(),
	}
	b.scratch = make([]scratch[T], o.Threads)
	for i := range b.scratch {
		b.scratch[i].rows = rows[T]{vec: b.vec, dense: b.dense}
	}
	return b, nil
}

// stack prepares an MLP.
func (b *Backend[T]) stack(prog *lower.Program) error {
	for _, op := range prog.Ops {
		switch l := op.Operation.(type) {
		case *lower.Linear:
			a := newAffine[T](b.kernel, l.Weight, l.Bias)
			a.relu = op.Rectified
			b.layers = append(b.layers, a)
		case lower.Elementwise:
			if !op.InPlace {
				return fmt.Errorf("layer %d: %s in an MLP, want a ReLU behind a Linear", op.Layer, l.Name)
			}
		default:
			return fmt.Errorf("layer %d: %T in an MLP", op.Layer, l)
		}
	}
	b.in, b.width, b.out, b.block = b.layers[0].in, b.layers[0].out, b.layers[len(b.layers)-1].out, blockRows
	for _, a := range b.layers {
		b.zeros = make([]T, max(len(b.zeros), a.stride, a.below))
	}
	return nil
}

// Info describes the backend. Device is the architecture and the kernel, "amd64 avx2";
// Precision is "float32" or "float64".
func (b *Backend[T]) Info() backend.Info { return b.info }

// maxRows is the most rows for one Begin that keep memory bounded: x and the moves of each row and,
// at one eps, a ray of each. Momentum, Alpha and each slot that Keep is asked for add as much as x
// when they are first used, so that the rows of an attack that has them all take up to three times
// as much.
func (b *Backend[T]) maxRows() int {
	return max(1, batchBytes/((2*b.in+4*b.width)*int(unsafe.Sizeof(T(0)))))
}

// Work returns how many floating-point operations the matrix products have taken so far, two for
// each multiplication and addition, without those that were left out.
func (b *Backend[T]) Work() (flop uint64) {
	for i := range b.scratch {
		flop += b.scratch[i].rows.flop
		if w := b.scratch[i].walk; w != nil {
			flop += w.rows.flop
		}
	}
	return flop
}

var errClosed = fmt.Errorf("cpu: %w", batch.ErrClosed)

// Load copies in clean images x0 [N, …] and labels [N]. x0 is Uint8 (a value v is the
// pixel v/255), Float32 or Float64; what follows its first dimension is one
// image. first is the index of its first image in the data set, which
// keys random draws. It returns an error for shapes that do not fit the model, labels out
// of range and pixels that are not finite.
func (b *Backend[T]) Load(ctx context.Context, first int, x0 *tensor.Dense, labels []int32) error {
	if b.closed {
		return errClosed
	}
	if err := batch.Load(first, x0, labels, b.in, b.out); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	b.rows, b.eps, b.labels = 0, nil, b.labels[:0] // what was there is overwritten
	b.x0 = batch.Floats(b.x0, x0)
	var err error
	if bytes, ok := x0.Data().([]uint8); ok {
		b.min, b.max = batch.ByteRange[T](bytes)
	} else if b.min, b.max, err = batch.Range(b.x0, first, b.in); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	b.first, b.labels = first, append(b.labels, labels...)
	b.sign, b.signed, b.flat = resize(b.sign, len(b.x0)), resize(b.signed, len(labels)), resize(b.flat, len(labels))
	clear(b.signed)
	return ctx.Err()
}

// Begin makes a row x = x0 for each of the loaded images lo to hi-1 and each of
// eps [E]: row (i-lo)·E + e.
func (b *Backend[T]) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if b.closed {
		return errClosed
	}
	rounded, err := batch.Begin[T](lo, hi, len(b.labels), eps, b.maxRows())
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	b.eps = rounded
	b.lo, b.rows, b.fresh, b.ray.on, b.moves.on = lo, (hi-lo)*len(eps), true, false, false
	b.still = len(eps)
	b.general.hasM, b.general.hasOld = false, false
	for k := range b.slots {
		b.slots[k].have = resize(b.slots[k].have, b.rows)
		clear(b.slots[k].have)
	}
	b.x = resize(b.x, b.rows*b.in)
	b.zero = resize(b.zero, b.rows)
	clear(b.zero)
	return ctx.Err()
}

// Step moves every row: x ← project(x + Size[e]·d), see attack.Step.
func (b *Backend[T]) Step(ctx context.Context, s attack.Step) error {
	if b.closed {
		return errClosed
	}
	size, err := batch.Step(s, b.rows, len(b.eps), b.out, b.min, b.max)
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	if !s.Plain(len(b.eps)) {
		along, err := batch.Along[T](s, b.rows, b.in)
		if err != nil {
			return fmt.Errorf("cpu: %w", err)
		}
		return b.generalStep(ctx, s, size, along)
	}
	for e, v := range b.eps {
		if v == 0 {
			size[e] = 0 // such a row stays
		}
	}
	if !s.Bounds.None() {
		// As far as any pixel can go. Farther, what the first layer follows of steps (moves.go)
		// would cancel.
		all := 2 * (T(s.Bounds.Hi) - T(s.Bounds.Lo))
		for e, v := range size {
			size[e] = min(v, all)
		}
	}
	b.broken.Store(-1)
	for e, v := range size[:b.still] {
		if v != 0 {
			b.still = e
			break
		}
	}
	if s.Direction == attack.Gradient {
		if err := b.signClean(ctx); err != nil {
			return err
		}
	}
	switch {
	case b.net != nil:
		err = b.moveNetwork(ctx, s, size)
	case b.fresh && s.Bounds.None():
		err = b.enterRay(ctx, s, size)
	case b.fresh:
		err = b.enterMoves(ctx, s, size)
	default:
		err = b.move(ctx, s, size)
	}
	if i := b.broken.Load(); i >= 0 && err == nil {
		err = fmt.Errorf("cpu: %w", batch.NotFinite(b.first+int(i), b.info.Precision))
	}
	if err != nil {
		b.rows, b.eps = 0, nil // some rows have moved, some have not
		return err
	}
	if s.Direction == attack.Gradient {
		for r := range b.zero {
			// the gradient was that at the clean image
			if i, e := b.image(r); b.fresh || e < b.still {
				b.zero[r] = b.zero[r] || b.flat[i]
			}
		}
	}
	b.fresh = false
	return nil
}

// fail notes that something of image i, of the loaded ones, is not finite. Of several the first is
// told, whatever the threads.
func (b *Backend[T]) fail(i int) {
	for {
		old := b.broken.Load()
		if old >= 0 && old <= int64(i) || b.broken.CompareAndSwap(old, int64(i)) {
			return
		}
	}
}

// image returns the place of row r among the loaded images and among eps.
func (b *Backend[T]) image(r int) (i, e int) { return b.lo + r/len(b.eps), r % len(b.eps) }

// clean returns the pixels of image i, [I].
func (b *Backend[T]) clean(i int) []T { return b.x0[i*b.in:][:b.in] }

// direction returns the signs of step s for image i, [I], valid until w is used again: random
// ones, or those of the gradient at the clean image, which must be there.
func (b *Backend[T]) direction(w *scratch[T], s attack.Step, i int) []int8 {
	if s.Direction == attack.Gradient {
		return b.sign[i*b.in:][:b.in]
	}
	w.sign = resize(w.sign, b.in)
	attack.RandomSigns(w.sign, s.Seed, b.first+i, 0, s.Index)
	return w.sign
}

// signClean fills sign and flat for the clean images that Begin named, as far as they are not
// there. Where moves follow, only images that a gradient is asked of need them: all of a first
// step, and those that stand still.
func (b *Backend[T]) signClean(ctx context.Context) error {
	if !b.fresh && b.still == 0 {
		return nil
	}
	return b.each(ctx, b.rows/len(b.eps), b.block, func(w *scratch[T], lo, hi int) {
		lo, hi = b.lo+lo, b.lo+hi
		for lo < hi && b.signed[lo] {
			lo++
		}
		for lo < hi && b.signed[hi-1] {
			hi--
		}
		if lo == hi {
			return
		}
		g := b.cleanGradient(w, lo, hi)
		for i := lo; i < hi; i++ {
			var finite bool
			b.flat[i], finite = signOf(b.sign[i*b.in:][:b.in], g[(i-lo)*(len(g)/(hi-lo)):][:b.in])
			b.signed[i] = finite
			if !finite {
				b.fail(i)
			}
		}
	})
}

// cleanGradient returns the gradient of clean images lo to hi-1, [hi-lo, stride], valid until w is
// used again.
func (b *Backend[T]) cleanGradient(w *scratch[T], lo, hi int) []T {
	n, x, label := hi-lo, b.x0[lo*b.in:hi*b.in], func(r int) int32 { return b.labels[lo+r] }
	if b.net != nil {
		return b.netGradient(w, x, all[T](n), label)
	}
	z := w.layers(b)
	z[0] = b.affine(w, x, n, unlike)
	b.up(&w.rows, z, 1, n, unlike)
	b.loss(w, z, n, label)
	return b.down(w, &w.rows, z, n, unlike, nil)
}

// ZeroGradient writes to each of dst [rows] whether a Step's gradient was zero in every
// pixel of that row since Begin.
func (b *Backend[T]) ZeroGradient(ctx context.Context, dst []bool) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	copy(dst, b.zero)
	return ctx.Err()
}

// Predictions writes to each of dst [rows] the class with the largest logit, the first
// one on a tie, or -1 if a logit is not finite.
func (b *Backend[T]) Predictions(ctx context.Context, dst []int32) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	return b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		z := b.forward(w, lo, hi, 0)
		argmax(dst[lo:hi], z, b.out, len(z)/(hi-lo))
	})
}

// Count writes, for each of eps [E], how many rows have the class of their label to correct [E] and
// for how many a gradient was zero in every pixel since Begin to zero [E], and for each image
// whether that was so at any eps to stuck [images]. bad is the first row with a logit that is not
// finite, or -1.
func (b *Backend[T]) Count(ctx context.Context, correct, zero []int, stuck []bool) (bad int, err error) {
	if err := b.ready(b.rows); err != nil {
		return -1, err
	}
	if len(correct) != len(b.eps) || len(zero) != len(b.eps) || len(stuck) != b.rows/len(b.eps) {
		return -1, fmt.Errorf("cpu: count: room for %d, %d and %d, want %d eps twice and %d images", len(correct), len(zero), len(stuck), len(b.eps), b.rows/len(b.eps))
	}
	b.class = resize(b.class, b.rows)
	if err := b.Predictions(ctx, b.class); err != nil {
		return -1, err
	}
	clear(correct)
	clear(zero)
	clear(stuck)
	bad = -1
	for r, class := range b.class {
		i, e := b.image(r)
		switch {
		case class < 0 && bad < 0:
			bad = r
		case class == b.labels[i]:
			correct[e]++
		}
		if b.zero[r] {
			zero[e]++
			stuck[i-b.lo] = true
		}
	}
	return bad, nil
}

// Logits returns f(x) [rows, O] in the Backend's precision.
func (b *Backend[T]) Logits(ctx context.Context) (*tensor.Dense, error) {
	return b.matrix(ctx, b.out, func(w *scratch[T], lo, hi int) []T { return b.forward(w, lo, hi, 0) })
}

// Images returns x [rows, I] in the Backend's precision.
func (b *Backend[T]) Images(ctx context.Context) (*tensor.Dense, error) {
	return b.matrix(ctx, b.in, b.images)
}

// matrix collects f of every block of rows, whatever their stride, into one [rows, cols].
func (b *Backend[T]) matrix(ctx context.Context, cols int, f func(w *scratch[T], lo, hi int) []T) (*tensor.Dense, error) {
	if err := b.ready(b.rows); err != nil {
		return nil, err
	}
	if b.rows == 0 {
		return nil, errors.New("cpu: the batch is empty")
	}
	dst := make([]T, b.rows*cols)
	err := b.eachRow(ctx, func(w *scratch[T], lo, hi int) {
		part := f(w, lo, hi)
		ld := len(part) / (hi - lo)
		for r := lo; r < hi; r++ {
			copy(dst[r*cols:][:cols], part[(r-lo)*ld:])
		}
	})
	if err != nil {
		return nil, err
	}
	return tensor.New(tensor.WithShape(b.rows, cols), tensor.WithBacking(dst)), nil
}

// Close frees the memory; later calls return an error.
func (b *Backend[T]) Close() error {
	if b.closed {
		return errClosed
	}
	b.closed = true
	b.layers, b.net, b.scratch, b.x0, b.labels, b.sign, b.signed, b.flat = nil, nil, nil, nil, nil, nil, nil, nil
	b.x, b.ray, b.moves, b.rates, b.zero, b.rows, b.eps = nil, ray[T]{}, moves[T]{}, nil, nil, 0, nil
	b.general, b.slots = general[T]{}, [2]slot[T]{}
	return nil
}

func (b *Backend[T]) ready(n int) error {
	if b.closed {
		return errClosed
	}
	if err := batch.Ready(len(b.eps), n, b.rows); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	return nil
}

// images returns x of rows lo to hi-1, [hi-lo, I], valid until w is used again.
func (b *Backend[T]) images(w *scratch[T], lo, hi int) []T {
	if !b.fresh && !b.ray.on {
		return b.x[lo*b.in : hi*b.in]
	}
	w.x = resize(w.x, (hi-lo)*b.in)
	if b.ray.on {
		b.rayImages(w, w.x, lo, hi)
		return w.x
	}
	for r := lo; r < hi; r++ {
		i, _ := b.image(r)
		copy(w.x[(r-lo)*b.in:][:b.in], b.clean(i))
	}
	return w.x
}

// A scratch is the memory of one worker.
type scratch[T Float] struct {
	rows rows[T]
	x    []T   // [rows, I]
	z0   []T   // the first layer [rows, stride]
	z    [][]T // the output of each layer before its ReLU; the first may be z0 or the rows' own
	grad [2][]T
	sign []int8 // [I]
	gemm gemm.Scratch[T]

	draw        []int32 // [I]
	d, slope, v []T     // see moves.go and ray.go
	image       int     // whose direction d is, see rayDirection

	// See selected.
	selections []gemm.Selection[T]
	columns    []uint32
	active     []bool
	list       []uint32
	values     []T
	compact    []T

	walk *walk[T]
	net  netScratch[T]
}

// layers returns w.z with an element for each layer.
func (w *scratch[T]) layers(b *Backend[T]) [][]T {
	w.z = resize(w.z, len(b.layers))
	w.z[0] = nil
	return w.z
}

// forward returns the logits of rows lo to hi-1, [hi-lo, stride of the last layer], valid until w
// is used again. It leaves out the first skip eps.
func (b *Backend[T]) forward(w *scratch[T], lo, hi, skip int) []T {
	if b.net != nil {
		return b.net.forward(w, b.images(w, lo, hi), b.part(lo, hi, skip), false)
	}
	z, l := w.layers(b), 1
	z[0] = b.firstLayer(w, lo, hi)
	if b.ray.on && b.ray.second {
		z[1] = resize(z[1], (hi-lo)*b.layers[1].stride)
		b.raySecond(w, z[1], z[0], lo, hi, skip)
		l = 2
	}
	b.up(&w.rows, z, l, hi-lo, b.alike(lo, hi, skip))
	return z[len(z)-1]
}

// gradient returns the gradient of the loss with respect to x of rows lo to hi-1, each divided by
// its 1 - p_y, [hi-lo, stride], valid until w is used again. It leaves out the first skip eps.
func (b *Backend[T]) gradient(w *scratch[T], lo, hi, skip int) []T {
	label := func(r int) int32 { i, _ := b.image(lo + r); return b.labels[i] }
	if b.net != nil {
		return b.netGradient(w, b.images(w, lo, hi), b.part(lo, hi, skip), label)
	}
	b.forward(w, lo, hi, skip)
	b.loss(w, w.z, hi-lo, label)
	return b.down(w, &w.rows, w.z, hi-lo, b.alike(lo, hi, skip), b.stripes(lo, hi, skip))
}

// firstLayer returns the output of the first layer before its ReLU of rows lo to hi-1, [hi-lo,
// stride].
func (b *Backend[T]) firstLayer(w *scratch[T], lo, hi int) []T {
	ld := b.layers[0].stride
	switch {
	case b.moves.on:
		return b.moves.z[lo*ld : hi*ld]
	case b.ray.on:
		w.z0 = resize(w.z0, (hi-lo)*ld)
		b.rayLayer(w.z0, lo, hi)
		return w.z0
	}
	return b.affine(w, b.images(w, lo, hi), hi-lo, b.alike(lo, hi, 0))
}

// eachRow calls f for blocks that cover all rows, as each does, the rows of an image in one block
// if they fit.
func (b *Backend[T]) eachRow(ctx context.Context, f func(w *scratch[T], lo, hi int)) error {
	unit := min(len(b.eps), b.block)
	return b.each(ctx, (b.rows+unit-1)/unit, max(1, b.block/unit), func(w *scratch[T], lo, hi int) {
		f(w, lo*unit, min(hi*unit, b.rows))
	})
}

// each calls f for blocks of at most most that cover 0 to n-1, on all threads. It stops early if
// ctx ends, and returns its error.
func (b *Backend[T]) each(ctx context.Context, n, most int, f func(w *scratch[T], lo, hi int)) error {
	blocks := (n + most - 1) / most
	if n > b.threads { // every thread gets as many
		blocks = (blocks + b.threads - 1) / b.threads * b.threads
	}
	return b.blocks(ctx, blocks, func(w *scratch[T], i int) {
		start := func(i int) int { return i*(n/blocks) + min(i, n%blocks) }
		if lo, hi := start(i), start(i+1); lo < hi {
			f(w, lo, hi)
		}
	})
}

// blocks calls f for 0 to n-1, on all threads.
func (b *Backend[T]) blocks(ctx context.Context, n int, f func(w *scratch[T], i int)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var bug atomic.Pointer[any]
	for t := range min(b.threads, n) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					bug.Store(&p)
				}
			}()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(&b.scratch[t], i)
			}
		})
	}
	wg.Wait()
	if p := bug.Load(); p != nil {
		panic(*p) // on the caller's goroutine, who can recover
	}
	return ctx.Err()
}

// resize returns s with length n, its old elements or not.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}
