//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"
	"advsweep/internal/lower"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// A Backend holds one model and one batch on one or more devices. Each device is a card: it has
// some of the batch's images. It implements pipeline.Backend. One goroutine at a time uses it.
// After an error of Step, or of a method that returns something of the rows, the rows are gone:
// call Begin again.
//
// New sets cards, in, out and info. Load sets first, labels, min and max. Begin sets eps, lo and
// rows, and an error clears eps and rows.
type Backend struct {
	cards    []*card      // in the order of their images
	in, out  int          // I and O
	info     backend.Info // without Rows, which depends on Load
	closed   bool
	first    int       // index in the data set of the first loaded image
	labels   []int32   // [N]
	min, max float32   // of the clean pixels
	eps      []float32 // [E]
	lo, rows int       // the first loaded image of the batch; rows in all
}

var errClosed = fmt.Errorf("gpu: %w", batch.ErrClosed)

// New opens the devices of o and copies m to each of them; m is not kept. It returns an error that
// wraps ErrUnavailable where there is no device, and one for a device that lacks what o asks.
func New(m *model.Model, o Options) (_ *Backend, err error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	infos, err := Devices()
	if err != nil {
		return nil, err
	}
	if len(o.Devices) == 0 {
		o.Devices = []int{0}
	}
	for _, i := range o.Devices {
		if i < 0 || i >= len(infos) {
			return nil, fmt.Errorf("gpu: device %d, but there are %d (0 to %d)", i, len(infos), len(infos)-1)
		}
	}
	b := &Backend{in: m.Inputs(), out: m.Outputs()}
	mode, err := choose(o, infos)
	if err != nil {
		return nil, err
	}
	prog, err := lower.New(m)
	if err != nil {
		return nil, fmt.Errorf("gpu: %w", err)
	}
	defer func() {
		if err != nil {
			_ = b.Close() // if it fails too, the reason is the same
		}
	}()
	for _, i := range o.Devices {
		p, err := openCard(i, prog, mode)
		if err != nil {
			return nil, err
		}
		b.cards = append(b.cards, p)
	}
	b.describe(mode)
	if b.info.Threads = o.Threads; o.Threads <= 0 {
		b.info.Threads = runtime.GOMAXPROCS(0)
	}
	return b, nil
}

// describe fills info once all cards are there.
func (b *Backend) describe(mode string) {
	var names []string
	for _, p := range b.cards {
		names = append(names, fmt.Sprintf("cuda:%d %s, %s", p.Index, p.Name, p.Image))
	}
	b.info = backend.Info{
		Name: "cuda", Device: strings.Join(names, "; ") + " " + mode, Precision: "float32", MathMode: mode,
		Inputs: b.in, Classes: b.out,
	}
	if mode == "tf32" {
		b.info.Precision = mode
	}
}

// choose returns the math mode to use. It is one for all devices, so that the bits of a row do not
// depend on the device that computes it.
func choose(o Options, infos []Info) (string, error) {
	name, from := o.MathMode, ""
	if name == "" {
		name, from = os.Getenv(EnvMathMode), EnvMathMode+"="
	}
	if name != "" && !slices.Contains(MathModes, name) {
		return "", fmt.Errorf("gpu: %s%s: no such math mode, want one of %s", from, name, strings.Join(MathModes, ", "))
	}
	for _, i := range o.Devices {
		in := infos[i]
		switch {
		case in.Image == "":
			return "", fmt.Errorf("gpu: cuda:%d %s has compute capability %d.%d, want 7.5 (Turing) or later", i, in.Name, in.Capability/10, in.Capability%10)
		case name != "" && !slices.Contains(in.MathModes, name):
			return "", fmt.Errorf("gpu: cuda:%d %s has compute capability %d.%d, and %s needs 8.0 or later", i, in.Name, in.Capability/10, in.Capability%10, name)
		}
	}
	if name != "" {
		return name, nil
	}
	name = infos[o.Devices[0]].MathMode
	for _, i := range o.Devices {
		if infos[i].MathMode != name {
			name = "fp32" // all devices have it
		}
	}
	return name, nil
}

// Info describes the backend. Device names the devices, the kernels and the math mode: "cuda:0
// NVIDIA H100 80GB HBM3, sm_80 3xtf32". Precision is "float32", but "tf32" in math mode tf32.
func (b *Backend) Info() backend.Info {
	info := b.info
	info.Rows = b.maxRows()
	return info
}

// maxRows is the most rows of one Begin: what fits beside the loaded images on the device with the
// least memory.
func (b *Backend) maxRows() int {
	rows := maxRows
	for _, p := range b.cards {
		rows = min(rows, p.budget.rowsMax)
	}
	return rows
}

// each calls f for every card at the same time and returns their errors.
func (b *Backend) each(f func(p *card) error) error {
	if len(b.cards) == 1 {
		return b.cards[0].do(func() error { return f(b.cards[0]) })
	}
	errs := make([]error, len(b.cards))
	var wg sync.WaitGroup
	for i, p := range b.cards {
		wg.Go(func() { errs[i] = p.do(func() error { return f(p) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lose forgets the rows if err is an error, and returns err.
func (b *Backend) lose(err error) error {
	if err != nil {
		b.rows, b.eps = 0, nil
	}
	return err
}

// collect calls f for every card at the same time. f starts downloads, for which every card waits
// once. After an error the rows are gone, and with OutOfMemory also their memory.
func (b *Backend) collect(ctx context.Context, f func(p *card) error) error {
	return b.lose(b.each(func(p *card) error {
		return p.freeing(p.collect(ctx, func() error { return f(p) }))
	}))
}

// Load copies clean images x0 [N, …] and labels [N] to every device, see pipeline.Backend. Bytes go
// up as bytes. It returns an error for shapes that do not fit the model, for labels out of range
// and for pixels that are not finite.
func (b *Backend) Load(ctx context.Context, first int, x0 *tensor.Dense, labels []int32) error {
	if b.closed {
		return errClosed
	}
	if err := batch.Load(first, x0, labels, b.in, b.out); err != nil {
		return fmt.Errorf("gpu: %w", err)
	}
	b.rows, b.eps, b.labels = 0, nil, nil // the devices are about to overwrite what they hold
	bytes, _ := x0.Data().([]uint8)
	var floats []float32
	var err error
	if bytes == nil {
		floats = batch.Floats[float32](nil, x0)
		b.min, b.max, err = batch.Range(floats, first, b.in)
	} else {
		b.min, b.max = batch.ByteRange[float32](bytes)
	}
	if err != nil {
		return fmt.Errorf("gpu: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.each(func(p *card) error { return p.load(first, bytes, floats, labels) }); err != nil {
		return err
	}
	b.first, b.labels = first, slices.Clone(labels)
	return ctx.Err()
}

// Begin makes a row x = x0 for each of the loaded images lo to hi-1 and each of eps [E]. Image i at
// eps e is row (i-lo)·E + e. Begin takes the memory that plain steps need. Other steps, slots and
// norms take theirs when they are first used. The error has OutOfMemory if there is too little.
func (b *Backend) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if b.closed {
		return errClosed
	}
	rounded, err := batch.Begin[float32](lo, hi, len(b.labels), eps, b.maxRows())
	if err != nil {
		return fmt.Errorf("gpu: %w", err)
	}
	b.lo, b.rows, b.eps = lo, (hi-lo)*len(eps), rounded
	// The images are shared out in order. Each device has as many, or one more.
	for i, p := range b.cards {
		n, next := len(b.cards), lo
		p.batch.images = (hi - lo) / n
		if i < (hi-lo)%n {
			p.batch.images++
		}
		if i > 0 {
			next = b.cards[i-1].batch.lo + b.cards[i-1].batch.images
		}
		p.batch.lo = next
	}
	if err := b.each(func(p *card) error { return p.begin(rounded) }); err != nil {
		return b.lose(err)
	}
	return ctx.Err()
}

// Step moves every row, see attack.Step. It returns when the work is launched, before it is done. A
// step that is not plain takes the memory here that it needs beside the rows. The error has
// OutOfMemory if there is too little, and then a Begin of fewer rows may succeed.
func (b *Backend) Step(ctx context.Context, s attack.Step) error {
	if b.closed {
		return errClosed
	}
	size, err := batch.Step(s, b.rows, len(b.eps), b.out, b.min, b.max)
	if err != nil {
		return fmt.Errorf("gpu: %w", err)
	}
	if s.Plain(len(b.eps)) {
		for e, v := range b.eps {
			if v == 0 {
				size[e] = 0 // such a row stays
			}
		}
		return b.lose(b.each(func(p *card) error { return p.step(ctx, s, size) }))
	}
	along, err := batch.Along[float32](s, b.rows, b.in)
	if err != nil {
		return fmt.Errorf("gpu: %w", err)
	}
	return b.lose(b.each(func(p *card) error {
		own, targets, along := size, s.Targets, along
		if len(size) != len(b.eps) {
			own = rowsOf(b, p, size, 1)
		}
		if targets != nil {
			targets = rowsOf(b, p, targets, 1)
		}
		if along != nil {
			along = rowsOf(b, p, along, b.in)
		}
		return p.generalStep(ctx, s, own, targets, along)
	}))
}

// Count counts rows by eps. It writes to correct [E] how many have the class of their label, and to
// zero [E] how many had a gradient since Begin that was zero in every pixel. It writes to stuck
// [images] whether an image had such a gradient at any eps. bad is the first row with a logit that
// is not finite, or -1.
func (b *Backend) Count(ctx context.Context, correct, zero []int, stuck []bool) (bad int, err error) {
	if err := b.ready(b.rows); err != nil {
		return -1, err
	}
	E := len(b.eps)
	if len(correct) != E || len(zero) != E || len(stuck) != b.rows/E {
		return -1, fmt.Errorf("gpu: count: room for %d, %d and %d, want %d eps twice and %d images", len(correct), len(zero), len(stuck), E, b.rows/E)
	}
	all := make(map[*card]*counts)
	for _, p := range b.cards {
		all[p] = new(counts)
	}
	if err := b.collect(ctx, func(p *card) error { return p.count(ctx, all[p]) }); err != nil {
		return -1, err
	}
	clear(correct)
	clear(zero)
	bad = -1
	for _, p := range b.cards {
		found := all[p]
		for e := range E {
			correct[e] += int(found.correct[e])
			zero[e] += int(found.zero[e])
		}
		for i, v := range found.stuck {
			stuck[p.batch.lo-b.lo+i] = v != 0
		}
		if row := found.bad; row >= 0 && bad < 0 {
			bad = (p.batch.lo-b.lo)*E + row
		}
	}
	return bad, nil
}

// Predictions writes the class of each row to dst [rows]: the one with the largest logit, the first
// of them on a tie, or -1 if a logit is not finite.
func (b *Backend) Predictions(ctx context.Context, dst []int32) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	return b.collect(ctx, func(p *card) error { return p.predictions(ctx, rowsOf(b, p, dst, 1)) })
}

// ZeroGradient writes to dst [rows] whether the gradient of a Step since Begin was zero in every
// pixel of that row.
func (b *Backend) ZeroGradient(ctx context.Context, dst []bool) error {
	if err := b.ready(len(dst)); err != nil {
		return err
	}
	return b.collect(ctx, func(p *card) error { return p.zeroGradient(rowsOf(b, p, dst, 1)) })
}

// Logits returns f(x) [rows, O], Float32.
func (b *Backend) Logits(ctx context.Context) (*tensor.Dense, error) {
	return b.matrix(ctx, b.out, func(p *card, dst []float32) error { return p.logits(ctx, dst) })
}

// Images returns x [rows, I], Float32.
func (b *Backend) Images(ctx context.Context) (*tensor.Dense, error) {
	return b.matrix(ctx, b.in, func(p *card, dst []float32) error { return p.imagesTo(ctx, dst) })
}

// matrix returns [rows, cols] of what f starts to download for each card. It returns an error for a
// batch without rows.
func (b *Backend) matrix(ctx context.Context, cols int, f func(p *card, dst []float32) error) (*tensor.Dense, error) {
	if err := b.ready(b.rows); err != nil {
		return nil, err
	}
	if b.rows == 0 {
		return nil, errors.New("gpu: the batch is empty")
	}
	dst := make([]float32, b.rows*cols)
	if err := b.collect(ctx, func(p *card) error { return f(p, rowsOf(b, p, dst, cols)) }); err != nil {
		return nil, err
	}
	return tensor.New(tensor.WithShape(len(dst)/cols, cols), tensor.WithBacking(dst)), nil
}

// rowsOf is what p has of dst [rows, cols].
func rowsOf[T any](b *Backend, p *card, dst []T, cols int) []T {
	E := len(b.eps)
	return dst[(p.batch.lo-b.lo)*E*cols:][:p.batch.images*E*cols]
}

// Close frees the devices. Later calls of any method return an error.
func (b *Backend) Close() error {
	if b.closed {
		return errClosed
	}
	b.closed = true
	var errs []error
	for _, p := range b.cards {
		errs = append(errs, p.close())
	}
	b.cards, b.labels, b.eps, b.rows = nil, nil, nil, 0
	return errors.Join(errs...)
}

// ready returns an error unless there is a batch whose rows are n.
func (b *Backend) ready(n int) error {
	if b.closed {
		return errClosed
	}
	if err := batch.Ready(len(b.eps), n, b.rows); err != nil {
		return fmt.Errorf("gpu: %w", err)
	}
	return nil
}
