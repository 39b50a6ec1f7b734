package cpu

import (
	"context"
	"fmt"
	"math"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/batch"

	"gorgonia.org/tensor"
)

// A loaded is the clean images and what is known of them. Load sets it. After that only signs
// and logits change: signClean adds to both, and a walk to the signs.
type loaded[T Float] struct {
	in       int  // I
	first    int  // index of the first image in the data set, which keys random draws
	x0       []T  // [N, I]
	min, max T    // of x0
	levels   bool // every pixel is a level n/255, to the bit
	labels   []int32
	signs    cleanSigns[T]
	logits   cleanLogits[T]
}

// clean returns the pixels of image i, [I].
func (l *loaded[T]) clean(i int) []T { return l.x0[i*l.in:][:l.in] }

// areLevels reports whether every element of x is a level n/255, to the bit.
func areLevels[T Float](x []T) bool {
	for _, v := range x {
		n := math.RoundToEven(255 * float64(v))
		if n < 0 || n > 255 || T(n)/255 != v {
			return false
		}
	}
	return true
}

// A cleanSigns is the signs of the gradients at the clean images. All eps and all attacks share
// them, so each is computed once, when a step or a walk first asks for it.
type cleanSigns[T Float] struct {
	in   int    // I
	sign []int8 // [N, I]
	have []bool // [N]: sign is there
	flat []bool // [N]: the gradient is zero in every pixel
}

// reset forgets all signs and makes room for n images of in pixels.
func (s *cleanSigns[T]) reset(n, in int) {
	s.in, s.sign, s.have, s.flat = in, resize(s.sign, n*in), resize(s.have, n), resize(s.flat, n)
	clear(s.have)
}

// of returns the signs of image i, [I], which must be there.
func (s *cleanSigns[T]) of(i int) []int8 { return s.sign[i*s.in:][:s.in] }

// take stores the signs of g [I], the gradient at image i. It returns false, and has no signs, if
// an element of g is not finite.
func (s *cleanSigns[T]) take(i int, g []T) (finite bool) {
	s.flat[i], finite = signOf(s.of(i), g)
	s.have[i] = finite
	return finite
}

// Load copies in clean images x0 [N, …] and labels [N]. x0 is Uint8 (a value v is the pixel
// v/255), Float32 or Float64. What follows its first dimension is one image. first is the index of
// its first image in the data set, which keys random draws. Load returns an error for shapes that
// do not fit the model, labels out of range, and pixels that are not finite.
func (b *Backend[T]) Load(ctx context.Context, first int, x0 *tensor.Dense, labels []int32) error {
	if b.closed {
		return errClosed
	}
	in := b.model.in
	if err := batch.Load(first, x0, labels, in, b.model.out); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	defer b.leave(b.enter(backend.CleanPass))
	l := &b.loaded
	b.batch.drop()
	l.labels = l.labels[:0] // the images that belong to them are overwritten below
	l.x0 = batch.Floats(l.x0, x0)
	var err error
	if bytes, ok := x0.Data().([]uint8); ok {
		l.min, l.max = batch.ByteRange[T](bytes)
	} else if l.min, l.max, err = batch.Range(l.x0, first, in); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	_, bytes := x0.Data().([]uint8)
	l.levels = bytes || areLevels(l.x0)
	l.in, l.first, l.labels = in, first, append(l.labels, labels...)
	l.signs.reset(len(labels), in)
	l.logits.reset(len(labels), b.model.out)
	return ctx.Err()
}

// signClean computes the signs of the clean images that Begin named, as far as they are not there.
// Only images that a gradient is asked of need them: all at a first step, and later those with rows
// that have not moved. A gradient that is not finite is reported.
func (b *Backend[T]) signClean(ctx context.Context) error {
	if !b.state.fresh && b.state.still == 0 {
		return nil
	}
	defer b.leave(b.enter(backend.Gradient))
	s, first := &b.loaded.signs, b.batch.lo
	return b.workers.each(ctx, b.batch.images(), b.model.block, func(w *scratch[T], lo, hi int) {
		lo, hi = first+lo, first+hi
		for lo < hi && s.have[lo] {
			lo++
		}
		for lo < hi && s.have[hi-1] {
			hi--
		}
		if lo == hi {
			return
		}
		g := b.cleanGradient(w, lo, hi)
		ld := len(g) / (hi - lo)
		for i := lo; i < hi; i++ {
			if !s.take(i, g[(i-lo)*ld:][:b.model.in]) {
				b.broken.report(i)
			}
		}
	})
}

// cleanGradient returns the gradient of the loss at the clean images lo to hi-1, [hi-lo, stride].
// It is valid until w is used again. It stores the logits.
func (b *Backend[T]) cleanGradient(w *scratch[T], lo, hi int) []T {
	n, in := hi-lo, b.model.in
	x, label := b.loaded.x0[lo*in:hi*in], func(r int) int32 { return b.loaded.labels[lo+r] }
	take := func(z []T) {
		for r := range n {
			b.loaded.logits.take(lo+r, z[r*(len(z)/n):][:b.model.out])
		}
	}
	if net := b.model.net; net != nil {
		p := allOf[T](n)
		z := net.forward(w, x, p, forGradient)
		take(z)
		return net.lossDown(w, z, p, label)
	}
	m := b.model.mlp
	m.forward(w, x, n, unlike)
	take(w.z[len(w.z)-1])
	m.loss(w, w.z, n, label)
	return m.down(w, &w.rows, w.z, n, unlike, nil)
}

// A direction is the memory in which one worker makes the directions of steps.
type direction[T Float] struct {
	signs []int8  // [I]
	ints  []int32 // [I]: draws before they are scaled
	d     []T     // a direction as numbers: [I], or [n, I] in enterMoves
	image int     // the image that d belongs to, see rayDirection
}

// random returns the random signs of step s for image i of the data set, [I]. They are valid until
// the next call.
func (d *direction[T]) random(s attack.Step, i, restart, in int) []int8 {
	d.signs = resize(d.signs, in)
	attack.RandomSigns(d.signs, s.Seed, i, restart, s.Index)
	return d.signs
}

// direction returns the signs of a plain step s for image i, [I]: random ones, or those of the
// gradient at the clean image, which must be there. They are valid until w is used again.
func (b *Backend[T]) direction(w *scratch[T], s attack.Step, i int) []int8 {
	if s.Direction == attack.Gradient {
		return b.loaded.signs.of(i)
	}
	return w.dir.random(s, b.loaded.first+i, 0, b.model.in)
}
