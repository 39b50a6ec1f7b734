//go:build cuda && linux && cgo

package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A card is one device's share of a Backend: the model, all loaded images, and some images of the
// batch. Each group of its state is a type of its own, whose comment says which methods change it.
//
// openCard sets device, inputs, classes, model and mlp, and nothing changes them later. Load
// changes loaded, and with it the budget. Begin starts batch, position, recording and general anew.
// What moves the rows changes them: Step, Restore and rounding. Between two calls of Backend downloads
// is empty, and scratch holds nothing that anybody reads.
//
// All methods but close run on the device's thread. They work on the stream in the order of the
// calls. Matrices on the device have rows of padded(columns) elements, with zeros beyond the
// columns.
type card struct {
	*device
	inputs  int         // I, of an image
	classes int         // O
	model   deviceModel // a *mlp or a *network
	mlp     *mlp        // the same model if it is an MLP, else nil: only an MLP has rays

	budget    budget
	loaded    loaded
	batch     batchRows
	position  position
	recording recording
	general   general
	scratch   scratch
	downloads downloads
}

// A deviceModel is a model whose weights are on a device. open makes it, and its weights stay as
// they are until the device is closed. forward and backward change its buffers, which hold what
// lies between the layers of one microbatch.
type deviceModel interface {
	// forward returns the logits [n, padded(classes)] of the images x [n, padded(inputs)]. They are
	// valid until the next forward.
	forward(x cu.DevicePtr, n int) (cu.DevicePtr, error)
	// backward returns the gradient [n, padded(inputs)] at the images that forward took last, given
	// the gradient g [n, padded(classes)] at their logits. It is valid until the next backward.
	backward(g cu.DevicePtr, n int) (cu.DevicePtr, error)
	// claims lists the buffers that a microbatch of n rows needs.
	claims(n int) []claim
	// plan says how much memory the model and its rows take.
	plan() plan
	// widest is the most elements of a row of any matrix.
	widest() int
}

// A scratch is what a microbatch needs beside the model's buffers. reserve changes its size; every
// step overwrites what it holds.
type scratch struct {
	q buffer // [n, out]: the gradient at the logits
	d buffer // [n, in] of int8: the signs of the gradient at the pixels
}

// claims lists the buffers for a microbatch of n rows with padded lengths in and out.
func (s *scratch) claims(n, in, out int) []claim {
	return []claim{{&s.q, 4 * n * out}, {&s.d, n * in}}
}

// openCard opens device index and copies the model to it.
func openCard(index int, prog *lower.Program, mode string) (*card, error) {
	d, err := openDevice(index)
	if err != nil {
		return nil, err
	}
	p := &card{device: d, inputs: prog.Inputs, classes: prog.Classes}
	p.loaded = loaded{device: d, inputs: prog.Inputs}
	p.downloads = downloads{device: d, most: mostPinned}
	if err := d.do(func() error { return p.open(prog, mode) }); err != nil {
		_ = p.close() // if it fails too, the reason is the same
		return nil, err
	}
	return p, nil
}

// open tests the kernels, copies the model to the device, and plans the memory.
func (p *card) open(prog *lower.Program, mode string) error {
	if err := p.prove(mode); err != nil {
		return err
	}
	if prog.MLP {
		m, err := newMLP(p.device, prog, mode)
		if err != nil {
			return err
		}
		p.model, p.mlp = m, m
	} else {
		net, err := newNetwork(p.device, prog, mode)
		if err != nil {
			return err
		}
		p.model = net
	}
	if err := p.budget.open(p.device, p.model); err != nil {
		return err
	}
	return p.wait()
}

// close gives back all that p holds. It goes on after an error and returns the first one.
func (p *card) close() error {
	err := p.do(func() error {
		// Go evaluates all arguments, so that all are closed.
		return cmp.Or(p.recording.forget(p.device), p.loaded.close(), p.downloads.close())
	})
	if closed := p.device.close(); err == nil {
		err = closed
	}
	return err
}

// in and out are the padded lengths of an image and of a row of logits.
func (p *card) in() int  { return padded(p.inputs) }
func (p *card) out() int { return padded(p.classes) }

// load copies up images and labels [N]. The images are bytes or floats [N, inputs].
func (p *card) load(first int, bytes []uint8, floats []float32, labels []int32) error {
	if err := p.recording.forget(p.device); err != nil {
		return err
	}
	p.batch.unread = false
	err := p.loaded.load(first, bytes, floats, labels)
	if errors.As(err, new(outOfMemory)) { // the rows of the batch before may take the room
		if err := p.release(); err != nil {
			return err
		}
		err = p.loaded.load(first, bytes, floats, labels)
	}
	if err != nil {
		return err
	}
	return p.budget.afterLoad(p.device, p.batchBytes())
}

// batchClaims lists the buffers that grow with the rows of a batch.
func (p *card) batchClaims() []claim {
	first := 0
	if p.mlp != nil {
		first = padded(p.mlp.layers[0].out)
	}
	return append(p.batch.claims(p.in()), p.position.claims(p.batch.images, p.in(), first)...)
}

// microbatchClaims lists the buffers that grow with a microbatch of n rows.
func (p *card) microbatchClaims(n int) []claim {
	return append(p.scratch.claims(n, p.in(), p.out()), p.model.claims(n)...)
}

// grown lists the buffers that grow with the batch or the microbatch.
func (p *card) grown() []*buffer {
	return slices.Concat(buffersOf(p.batchClaims()), buffersOf(p.microbatchClaims(0)), p.general.buffers())
}

// batchBytes is how much device memory the batch and the microbatch hold now.
func (p *card) batchBytes() (sum int64) {
	for _, b := range p.grown() {
		sum += b.size
	}
	return sum
}

// release frees what grows with the batch and the microbatch.
func (p *card) release() error {
	var first error
	for _, b := range p.grown() {
		first = cmp.Or(first, p.drop(b)) // drop is called after an error too
	}
	return first
}

// freeing gives back all memory of the batch if err has OutOfMemory: a batch of fewer rows then has
// all of it.
func (p *card) freeing(err error) error {
	if !errors.As(err, new(outOfMemory)) {
		return err
	}
	if failed := p.recording.forget(p.device); failed != nil {
		return failed
	}
	if failed := p.release(); failed != nil {
		return failed
	}
	return err
}

// begin takes memory for the rows and clears what is known of them. Backend.Begin has set which
// images the batch has.
func (p *card) begin(eps []float32) error {
	if err := p.recording.forget(p.device); err != nil {
		return err
	}
	if p.batch.unread {
		p.loaded.unsign() // the word that says which signs are wrong is about to be cleared
	}
	p.batch.forget(eps)
	p.position.begin()
	p.general.forget()
	if err := p.reserve(); err != nil {
		return err
	}
	return p.batch.begin(p.device)
}

// reserve takes all memory that the batch will need. When it is short the microbatch is halved,
// down to the plan's least, and then the error has OutOfMemory.
func (p *card) reserve() error {
	for p.budget.whole(); ; p.budget.halve() {
		err := p.reserveMicrobatch()
		if !errors.As(err, new(outOfMemory)) {
			return err
		}
		if failed := p.release(); failed != nil {
			return failed
		}
		if p.budget.smallest() {
			return err
		}
	}
}

// reserveMicrobatch is reserve for the microbatch as it is.
func (p *card) reserveMicrobatch() error {
	if err := p.growAll(p.batchClaims()); err != nil {
		return err
	}
	if err := p.downloads.reserve(p.outcomeBytes()); err != nil {
		return err
	}
	return p.growAll(p.microbatchClaims(min(p.budget.microbatch, p.batch.rows())))
}

// A span is one microbatch: rows first to first+n-1 of a batch with E eps. Row r of the batch is
// image r/E at eps r%E, and image 0 of the batch is image lo of the loaded ones.
type span struct{ lo, first, n, E int }

// microbatches calls f for every microbatch of n rows at E eps, until ctx ends. Image 0 of the rows
// is image lo of the loaded ones.
func (p *card) microbatches(ctx context.Context, lo, n, E int, f func(s span) error) error {
	for first := 0; first < n; first += p.budget.microbatch {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(span{lo, first, min(p.budget.microbatch, n-first), E}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// batchMicrobatches calls f for every microbatch of the rows of the batch, until ctx ends.
func (p *card) batchMicrobatches(ctx context.Context, f func(s span) error) error {
	return p.microbatches(ctx, p.batch.lo, p.batch.rows(), p.batch.E(), f)
}

// forward returns the logits [n, out] of a microbatch, valid until the next one: of the batch's
// rows, or of x [n, in] if x is not 0.
func (p *card) forward(c span, x cu.DevicePtr) (cu.DevicePtr, error) {
	if x == 0 && p.position.ray != 0 {
		return p.rayForward(c)
	}
	if x == 0 {
		var err error
		if x, err = p.rowsAt(c); err != nil {
			return 0, err
		}
	}
	return p.model.forward(x, c.n)
}

// gradient returns a positive multiple of the gradient of objective o [n, in] at a microbatch,
// valid until the next one. With cross-entropy each row is divided by its 1 - p_y. x is as in
// forward.
func (p *card) gradient(c span, x cu.DevicePtr, o objective) (cu.DevicePtr, error) {
	z, err := p.forward(c, x)
	if err != nil {
		return 0, err
	}
	if err := p.lossGradient(p.scratch.q.DevicePtr, z, c, o); err != nil {
		return 0, err
	}
	return p.model.backward(p.scratch.q.DevicePtr, c.n)
}

// classify launches the class of every row.
func (p *card) classify(ctx context.Context) error {
	return p.batchMicrobatches(ctx, func(c span) error {
		z, err := p.forward(c, 0)
		if err != nil {
			return err
		}
		return p.argmax(at(p.batch.class.DevicePtr, c.first, 4), z, c.n)
	})
}

// collect calls f, which launches work and starts downloads, and then waits for all of it once. It
// returns an error if the gradient of a step was not finite.
func (p *card) collect(ctx context.Context, f func() error) error {
	broken := []int32{math.MaxInt32}
	err := f()
	if err == nil {
		err = downloadTo(&p.downloads, broken, p.batch.broken())
	}
	if err != nil {
		p.downloads.forget()
		return err
	}
	if err := p.downloads.finish(); err != nil {
		return err
	}
	p.batch.unread = false
	if image := int(broken[0]); image != math.MaxInt32 {
		p.loaded.unsign() // some of them have no sign
		return fmt.Errorf("gpu: %w", batch.NotFinite(p.loaded.first+image, "float32"))
	}
	return ctx.Err()
}

// predictions starts the download of the class of each row to dst [rows].
func (p *card) predictions(ctx context.Context, dst []int32) error {
	if err := p.classify(ctx); err != nil {
		return err
	}
	return downloadTo(&p.downloads, dst, p.batch.class.DevicePtr)
}

// zeroGradient starts the download of which rows had a gradient that was zero in every pixel, to
// dst [rows]: those of which zero tells, and all rows of the images of which flat tells.
func (p *card) zeroGradient(dst []bool) error {
	err := downloadRows(&p.downloads, p.batch.zero.DevicePtr, len(dst), 1, func(first int, zero []byte) {
		for r, v := range zero {
			dst[first+r] = v != 0
		}
	})
	if err != nil || !p.batch.flatCounts {
		return err
	}
	E := p.batch.E()
	return downloadRows(&p.downloads, p.loaded.flats(p.batch.lo), p.batch.images, 1, func(first int, flat []byte) {
		for i, v := range flat {
			for r := (first + i) * E; v != 0 && r < (first+i+1)*E; r++ {
				dst[r] = true
			}
		}
	})
}

// logits starts the download of the logits of every row to dst [rows, classes].
func (p *card) logits(ctx context.Context, dst []float32) error {
	return p.rowsTo(ctx, dst, p.classes, func(c span) (cu.DevicePtr, error) { return p.forward(c, 0) })
}

// imagesTo starts the download of x of every row to dst [rows, inputs].
func (p *card) imagesTo(ctx context.Context, dst []float32) error {
	return p.rowsTo(ctx, dst, p.inputs, p.rowsAt)
}

// rowsTo starts the download of f [n, padded(cols)] of every microbatch to dst [rows, cols].
func (p *card) rowsTo(ctx context.Context, dst []float32, cols int, f func(c span) (cu.DevicePtr, error)) error {
	width := padded(cols)
	if err := p.downloads.reserve(4 * width * p.batch.rows()); err != nil {
		return err
	}
	return p.batchMicrobatches(ctx, func(c span) error {
		from, err := f(c)
		if err != nil {
			return err
		}
		return downloadRows(&p.downloads, from, c.n, width, func(first int, piece []float32) {
			for k := range len(piece) / width {
				copy(dst[(c.first+first+k)*cols:][:cols], piece[k*width:])
			}
		})
	})
}
