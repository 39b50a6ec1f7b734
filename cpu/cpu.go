// Package cpu is the backend that runs everywhere: batched, on all cores, without
// cgo, in float32 or float64.
//
// Work is split by rows. A worker takes a block of rows through every layer, so
// that activations stay in its cache and workers meet only at the end. A row's
// results do not depend on the block it is in: same inputs give the same bits, whatever
// the batch size or the number of threads.
package cpu

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"advsweep/attack"
	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// Float is the type that a Backend computes in.
type Float = gemm.Float

// Options are how a Backend uses the machine. The zero value is the best choice.
type Options struct {
	Threads int    // goroutines; 0 is one for each processor
	Kernel  string // one of Kernels; "" is the best, or the one that ADVSWEEP_KERNEL names
}

// MaxThreads is the largest Options.Threads.
const MaxThreads = 1024

// Kernels lists the matrix kernels that this processor can run, best first.
func Kernels() []string { return gemm.Paths() }

// A Backend holds one model and one batch. It implements pipeline.Backend and is
// used by one goroutine at a time. What it returns is the caller's. After an error of Step
// the rows are gone: call Begin again.
type Backend[T Float] struct {
	kernel  string
	vec     gemm.Vector[T]
	layers  []affine[T]
	rates   *rates[T] // once a walk has asked for them
	in, out int       // I, O
	width   int       // outputs of the first layer
	threads int
	scratch []scratch[T]
	broken  atomic.Int64 // an image whose gradient was not finite in a Step, or -1
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
	x        []T     // [rows, I]; not filled while fresh or on a ray
	fresh    bool    // x is x0
	ray      ray[T]  // if on, x is on it
	zero     []bool  // [rows]: a gradient was zero in every pixel
	class    []int32 // [rows], of Count
}

// blockRows is the most rows of a block: a multiple of every kernel's tile.
const blockRows = 96

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
	b := &Backend[T]{kernel: kernel, vec: gemm.NewVector[T](kernel), threads: o.Threads}
	for i, l := range m.Layers {
		switch l := l.(type) {
		case model.Linear:
			b.layers = append(b.layers, newAffine[T](kernel, l))
		case model.ReLU: // Validate lets none come first
			b.layers[len(b.layers)-1].relu = true
		default:
			return nil, fmt.Errorf("cpu: layer %d: no operation for %T", i, l)
		}
	}
	b.in, b.width, b.out = b.layers[0].in, b.layers[0].out, b.layers[len(b.layers)-1].out
	b.scratch = make([]scratch[T], o.Threads)
	return b, nil
}

// Device tells the architecture and the kernel: "amd64 avx2".
func (b *Backend[T]) Device() string { return runtime.GOARCH + " " + b.kernel }

// Precision is "float32" or "float64".
func (b *Backend[T]) Precision() string { return fmt.Sprintf("float%d", 8*unsafe.Sizeof(T(0))) }

// Shape returns the length I of an image and the number O of classes.
func (b *Backend[T]) Shape() (inputs, classes int) { return b.in, b.out }

// MaxRows is the most rows for one Begin that keep memory bounded: x of each row and, at one
// eps, a ray of each.
func (b *Backend[T]) MaxRows() int {
	return max(1, batchBytes/((b.in+2*b.width)*int(unsafe.Sizeof(T(0)))))
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
	x := batch.Floats[T](x0)
	lo, hi, err := batch.Range(x, first, b.in)
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	b.first, b.x0, b.min, b.max = first, x, lo, hi
	b.labels = append(b.labels[:0], labels...)
	b.sign, b.signed, b.flat = make([]int8, len(x)), make([]bool, len(labels)), make([]bool, len(labels))
	b.rows, b.eps = 0, nil
	return ctx.Err()
}

// Begin makes a row x = x0 for each of the loaded images lo to hi-1 and each of
// eps [E]: row (i-lo)·E + e.
func (b *Backend[T]) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if b.closed {
		return errClosed
	}
	rounded, err := batch.Begin[T](lo, hi, len(b.labels), eps, b.MaxRows())
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	b.eps = rounded
	b.lo, b.rows, b.fresh, b.ray.on = lo, (hi-lo)*len(eps), true, false
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
	size, err := batch.Step(s, b.rows, len(b.eps), b.min, b.max)
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	b.broken.Store(-1)
	if s.Direction == attack.Gradient && b.fresh {
		if err := b.signClean(ctx); err != nil {
			return err
		}
	}
	switch {
	case b.fresh && s.Bounds.None():
		err = b.enterRay(ctx, s, size)
	case b.fresh:
		err = b.each(ctx, b.rows, func(w *scratch[T], lo, hi int) {
			for r := lo; r < hi; r++ {
				i, e := b.image(r)
				signStep(b.x[r*b.in:][:b.in], b.clean(i), b.direction(w, s, i), size[e])
			}
			b.project(s.Bounds, lo, hi)
		})
	default:
		err = b.each(ctx, b.rows, func(w *scratch[T], lo, hi int) {
			var g []T
			if s.Direction == attack.Gradient {
				b.forwardRows(w, lo, hi)
				g = b.backward(w, hi-lo, func(r int) int32 { i, _ := b.image(lo + r); return b.labels[i] })
			}
			if b.ray.on {
				b.rayImages(w, b.x[lo*b.in:hi*b.in], lo, hi)
			}
			for r := lo; r < hi; r++ {
				i, e := b.image(r)
				x := b.x[r*b.in:][:b.in]
				if g == nil {
					signStep(x, x, b.direction(w, s, i), size[e])
					continue
				}
				w.sign = resize(w.sign, b.in)
				zero, finite := signOf(w.sign, g[(r-lo)*b.in:][:b.in])
				if !finite {
					b.broken.Store(int64(i))
				}
				if zero {
					b.zero[r] = true
				}
				signStep(x, x, w.sign, size[e])
			}
			b.project(s.Bounds, lo, hi)
		})
		b.ray.on = false
	}
	if i := b.broken.Load(); i >= 0 && err == nil {
		err = fmt.Errorf("cpu: %w", batch.NotFinite(b.first+int(i), b.Precision()))
	}
	if err != nil {
		b.rows, b.eps = 0, nil // some rows have moved, some have not
		return err
	}
	if b.fresh && s.Direction == attack.Gradient {
		for r := range b.zero {
			i, _ := b.image(r)
			b.zero[r] = b.flat[i]
		}
	}
	b.fresh = false
	return nil
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
	attack.RandomSigns(w.sign, s.Seed, b.first+i, s.Index)
	return w.sign
}

// project keeps rows lo to hi-1 in bounds and in the ball.
func (b *Backend[T]) project(bounds attack.Bounds, lo, hi int) {
	if bounds.None() {
		return
	}
	for r := lo; r < hi; r++ {
		i, e := b.image(r)
		project(b.x[r*b.in:][:b.in], b.clean(i), b.eps[e], T(bounds.Lo), T(bounds.Hi))
	}
}

// signClean fills sign and flat for the clean images that Begin named.
func (b *Backend[T]) signClean(ctx context.Context) error {
	in := b.in
	return b.each(ctx, b.rows/len(b.eps), func(w *scratch[T], lo, hi int) {
		lo, hi = b.lo+lo, b.lo+hi
		for lo < hi && b.signed[lo] {
			lo++
		}
		for lo < hi && b.signed[hi-1] {
			hi--
		}
		b.forward(w, b.x0[lo*in:hi*in], hi-lo)
		g := b.backward(w, hi-lo, func(r int) int32 { return b.labels[lo+r] })
		for i := lo; i < hi; i++ {
			var finite bool
			b.flat[i], finite = signOf(b.sign[i*in:][:in], g[(i-lo)*in:][:in])
			b.signed[i] = finite
			if !finite {
				b.broken.Store(int64(i))
			}
		}
	})
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
	return b.each(ctx, b.rows, func(w *scratch[T], lo, hi int) {
		argmax(dst[lo:hi], b.forwardRows(w, lo, hi), b.out)
	})
}

// Count writes, for each of eps [E], how many rows have the class of their label to correct [E] and for how many
// a gradient was zero in every pixel since Begin to zero [E], and for each image whether that
// was so at any eps to stuck [images]. bad is the first row with a logit that is not finite, or -1.
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
	return b.matrix(ctx, b.out, b.forwardRows)
}

// Images returns x [rows, I] in the Backend's precision.
func (b *Backend[T]) Images(ctx context.Context) (*tensor.Dense, error) {
	return b.matrix(ctx, b.in, b.images)
}

// InputGradient returns ∂L/∂x [rows, I] at the rows' x, each row divided by its
// 1 - p_y > 0. See lossGradient for why.
func (b *Backend[T]) InputGradient(ctx context.Context) (*tensor.Dense, error) {
	return b.matrix(ctx, b.in, func(w *scratch[T], lo, hi int) []T {
		b.forwardRows(w, lo, hi)
		return b.backward(w, hi-lo, func(r int) int32 { i, _ := b.image(lo + r); return b.labels[i] })
	})
}

// matrix collects f of every block of rows into one [rows, cols].
func (b *Backend[T]) matrix(ctx context.Context, cols int, f func(w *scratch[T], lo, hi int) []T) (*tensor.Dense, error) {
	if err := b.ready(b.rows); err != nil {
		return nil, err
	}
	if b.rows == 0 {
		return nil, errors.New("cpu: the batch is empty")
	}
	dst := make([]T, b.rows*cols)
	err := b.each(ctx, b.rows, func(w *scratch[T], lo, hi int) {
		copy(dst[lo*cols:hi*cols], f(w, lo, hi))
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
	b.layers, b.scratch, b.x0, b.labels, b.sign, b.signed, b.flat = nil, nil, nil, nil, nil, nil, nil
	b.x, b.ray, b.zero, b.rows, b.eps = nil, ray[T]{}, nil, 0, nil
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
	x    []T   // [rows, I]
	act  [][]T // the output of each layer [rows, out]
	grad [2][]T
	sign []int8 // [I]
	gemm gemm.Scratch[T]
	walk *walk[T]
}

// forwardRows returns the logits [hi-lo, O] of rows lo to hi-1, valid until w is used again.
func (b *Backend[T]) forwardRows(w *scratch[T], lo, hi int) []T {
	if !b.ray.on {
		return b.forward(w, b.images(w, lo, hi), hi-lo)
	}
	w.act = resize(w.act, len(b.layers))
	w.act[0] = resize(w.act[0], (hi-lo)*b.layers[0].out)
	b.rayLayer(w.act[0], lo, hi)
	return b.above(w, hi-lo)
}

// forward returns the logits [rows, O] of x [rows, I], valid until w is used again.
func (b *Backend[T]) forward(w *scratch[T], x []T, rows int) []T {
	w.act = resize(w.act, len(b.layers))
	w.act[0] = resize(w.act[0], rows*b.layers[0].out)
	b.layers[0].forward(w.act[0], x, rows, &w.gemm)
	return b.above(w, rows)
}

// above runs the layers above the first, whose output is w.act[0], and returns the logits.
func (b *Backend[T]) above(w *scratch[T], rows int) []T {
	for i := 1; i < len(b.layers); i++ {
		l := &b.layers[i]
		w.act[i] = resize(w.act[i], rows*l.out)
		l.forward(w.act[i], w.act[i-1], rows, &w.gemm)
	}
	return w.act[len(b.layers)-1]
}

// backward returns the gradient of the loss with respect to the x of the last forward pass,
// [rows, I], each row divided by its 1 - p_y, valid until w is used again. label gives the
// label of a row.
func (b *Backend[T]) backward(w *scratch[T], rows int, label func(r int) int32) []T {
	logits := w.act[len(b.layers)-1]
	w.grad[0] = resize(w.grad[0], rows*b.out)
	for r := range rows {
		lossGradient(w.grad[0][r*b.out:][:b.out], logits[r*b.out:][:b.out], int(label(r)))
	}
	for i := len(b.layers) - 1; i >= 0; i-- {
		l := &b.layers[i]
		w.grad[1] = resize(w.grad[1], rows*l.in)
		l.backward(w.grad[1], w.grad[0], w.act[i], rows, &w.gemm)
		w.grad[0], w.grad[1] = w.grad[1], w.grad[0]
	}
	return w.grad[0]
}

// each calls f for blocks that cover rows 0 to n-1, on all threads. It stops early if ctx ends,
// and returns its error.
func (b *Backend[T]) each(ctx context.Context, n int, f func(w *scratch[T], lo, hi int)) error {
	blocks := (n + blockRows - 1) / blockRows
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
