// Package cpu is the backend that runs everywhere. It works on batches, uses all cores, needs no
// cgo, and computes in float32 or float64.
//
// Work is split by rows. A worker takes a block of rows through every layer, and workers meet only
// at the end. The results of a row do not depend on the block that it is in. So the same inputs
// give the same bits, whatever the batch size or the number of threads.
//
// Three things save arithmetic for an MLP. All other models are computed as in network.go.
//
//   - Products leave out units and pixels that are zero, which changes no bit (rows.go).
//   - From the second step of an attack on, the first layer follows the pixels that changed their
//     move (moves.go).
//   - The whole curve of FGSM follows from a few points on each ray (walk.go).
//
// Other networks save arithmetic in their convolutions: those of 3×3 by Winograd's tiles
// (winograd.go), others where what is zero can be left out (listed.go).
//
// Whatever the model, a row that was rounded to 8 bits takes a pass only where no earlier one has
// its class and no bound proves it (rounded.go, margin_bound.go).
package cpu

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"advsweep/backend"
	"advsweep/certify"
	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// Float is the type that a Backend computes in.
type Float = gemm.Float

// Options say how a Backend uses the machine. The zero value is the best choice.
type Options struct {
	Threads int    // goroutines; 0 is one for each processor
	Kernel  string // one of Kernels; "" is the best, or the one that ADVSWEEP_KERNEL names
	// Math is one of Maths; "" is the default. "fast" computes convolutions of 3×3 by larger tiles,
	// whose errors are larger.
	Math string
	// Dense makes every product whole and every step start from the pixels, as other programs do.
	// It is slower, and is there to compare with. Images that have moved twice, or within bounds,
	// then differ within rounding. EnvDense asks for it too.
	Dense bool
	// Shared says that the weights of the model stay as they are while the Backend is used. Then it
	// takes those of convolutions from the model where bounds ask for them, and makes no copy.
	Shared bool
}

// EnvDense names the environment variable that, if not empty, stands for Options.Dense.
const EnvDense = "ADVSWEEP_DENSE"

// MaxThreads is the largest Options.Threads.
const MaxThreads = 1024

// Kernels lists the matrix kernels that this processor can run, best first.
func Kernels() []string { return gemm.Paths() }

// Maths lists the values of Options.Math, the default first: see package internal/lower.
func Maths() []string { return lower.Maths() }

// A Backend holds one model and one batch. It implements pipeline.Backend and is used by one
// goroutine at a time. What it returns belongs to the caller. An error of Step, Keep or Restore, or
// of Outcomes with rounding, that is not about an argument loses the rows: call Begin again.
//
// Its fields are ordered by how often they change. A method that changes a field says so here.
type Backend[T Float] struct {
	model   prepared[T] // New; Exact adds the rates of an MLP, and training packs new weights
	workers workers[T]  // New; every method that computes overwrites the workers' memory
	loaded  loaded[T]   // Load; Step and Exact add the signs of gradients at clean images
	batch   batchRows[T]
	state   state[T]
	kept    [2]slot[T]    // Begin empties them, Keep fills them
	broken  failure       // Step and Exact clear it, and their workers set it
	class   []int32       // [rows]; Count overwrites it
	bound   modelBound[T] // Outcomes makes it when it rounds, and counts what it asks
	meter   meter         // every public method that computes
	rays    rays
	closed  bool // Close
	// certifier is made when it is first asked for, and reads the weights of the model then. So the
	// Backend keeps the model, whether it is Shared or not.
	certifier func() (*certify.Certifier, error)
}

// A prepared is a model as a Backend runs it. New makes it. It has either an MLP or a network.
type prepared[T Float] struct {
	info    backend.Info
	kernel  string
	vec     gemm.Vector[T]
	dense   bool        // Options.Dense
	in, out int         // I, O
	block   int         // the most rows that a worker takes at once
	mlp     *mlp[T]     // nil where the model is no MLP
	net     *network[T] // nil where it is one
	prog    *lower.Program
}

// A rays is what walks of a model that is no MLP share. NotExact makes net or err, and Exact adds
// to looked.
type rays struct {
	net    *stretchNet
	err    error        // why there is no net
	most   int          // points of one ray at most; 0 is deepPoints
	looked atomic.Int64 // points of all rays
}

// blockRows is the most rows of a block. The weights are read once for all rows of a block, from a
// cache that two processors share at best. What a block needs besides must fit there too.
const blockRows = 320

// batchBytes bounds the memory that grows with the rows. Of a network each thread has rowsBytes,
// for no step of one gains from more rows, and these stay in a cache from one look to the next.
const (
	batchBytes = 64 << 20
	rowsBytes  = 4 << 20
)

// New prepares m. It packs the weights once. Unless they are Shared, all but CanBound and Linear
// compute with the weights as they were then: these two read m when they are first asked. It
// returns an error if m is not valid, if m has an operation that this package does not know, or if
// there is no such kernel.
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
	math := cmp.Or(o.Math, string(lower.Default))
	prog, err := lower.NewMath(m, lower.Math(math))
	if err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if !o.Shared {
		own[T](prog)
	}
	b := &Backend[T]{}
	if b.model, err = prepare[T](prog, kernel, o.Dense || os.Getenv(EnvDense) != "", o.Threads); err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	if math != string(lower.Default) {
		b.model.info.MathMode = math
	}
	b.workers = newWorkers(o.Threads, b.model.vec, b.model.dense)
	b.certifier = sync.OnceValues(func() (*certify.Certifier, error) { return certify.New(m, certify.CROWN) })
	return b, nil
}

// own gives the convolutions of prog copies of their weights, which they keep.
func own[T Float](prog *lower.Program) {
	for _, op := range prog.Ops {
		if l, ok := op.Operation.(*lower.Convolution); ok {
			l.Weight = tensor.New(tensor.WithShape(l.Weight.Shape()...), tensor.WithBacking(batch.Floats[T](nil, l.Weight)))
		}
	}
}

// prepare packs the weights of prog for a kernel, on so many threads.
func prepare[T Float](prog *lower.Program, kernel string, dense bool, threads int) (prepared[T], error) {
	p := prepared[T]{
		prog:   prog,
		kernel: kernel, vec: gemm.NewVector[T](kernel), dense: dense,
		in: prog.Inputs, out: prog.Classes, block: blockRows,
	}
	size, most := int(unsafe.Sizeof(T(0))), 0
	var err error
	if prog.MLP {
		if p.mlp, err = newMLP[T](kernel, prog); err != nil {
			return p, err
		}
		most = maxRows(batchBytes, p.in, p.mlp.layers[0].out, size)
	} else {
		if p.net, err = newNetwork[T](kernel, prog, threads); err != nil {
			return p, err
		}
		p.block = p.net.block
		// As few as keep the threads busy with some blocks.
		most = min(maxRows(batchBytes, p.in, 0, size), threads*max(2*p.block, maxRows(rowsBytes, p.in, 0, size)))
	}
	p.info = backend.Info{
		Name: "cpu", Device: runtime.GOARCH + " " + kernel, Precision: fmt.Sprintf("float%d", 8*size),
		Inputs: p.in, Classes: p.out, Rows: most, Threads: threads,
	}
	return p, nil
}

// maxRows returns the most rows for one Begin whose memory stays within so many bytes, for in
// pixels, a first layer of width outputs (0 if the model is no MLP), and numbers of size bytes. It
// counts x and the moves of each row and, at one eps, a ray for each row. Momentum, Alpha and each
// slot of Keep add as much as x when they are first used. Rows of an attack that has them all take
// up to three times as much.
func maxRows(bytes, in, width, size int) int {
	return max(1, bytes/((2*in+4*width)*size))
}

// Info describes the backend. Device is the architecture and the kernel, as in "amd64 avx2".
// Precision is "float32" or "float64". MathMode is Options.Math, or "" for the default.
func (b *Backend[T]) Info() backend.Info { return b.model.info }

// Work returns how many floating-point operations the matrix products have taken so far: two for
// each multiplication and addition, without those that were left out. See rows.count for rows of
// different images that share a group. A convolution counts with what its lists leave out, see
// listed.go, and one by tiles counts the products of these.
func (b *Backend[T]) Work() uint64 { return b.workers.flop() }

var errClosed = fmt.Errorf("cpu: %w", batch.ErrClosed)

// ready returns an error if the backend is closed, has no rows, or has other than n rows.
func (b *Backend[T]) ready(n int) error {
	if b.closed {
		return errClosed
	}
	if err := batch.Ready(len(b.batch.eps), n, b.batch.rows); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	return nil
}

// lost drops the rows if err is not nil, for some have moved then and some have not. It returns
// err.
func (b *Backend[T]) lost(err error) error {
	if err != nil {
		b.batch.drop()
	}
	return err
}

// Close frees the memory. Later calls return an error.
func (b *Backend[T]) Close() error {
	if b.closed {
		return errClosed
	}
	*b = Backend[T]{model: prepared[T]{info: b.model.info}, closed: true, meter: meter{spent: b.meter.spent}}
	return nil
}
