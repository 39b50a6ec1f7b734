package cpu

// A cleanLogits is the logits of the clean images. A gradient there brings them along, so that rows
// that have not moved need no pass of their own.
type cleanLogits[T Float] struct {
	out  int    // O
	z    []T    // [N, O]
	have []bool // [N]: z is there
}

// reset forgets all logits and makes room for those of n images.
func (l *cleanLogits[T]) reset(n, out int) {
	l.out, l.z, l.have = out, resize(l.z, n*out), resize(l.have, n)
	clear(l.have)
}

// take stores logits z [O] of image i.
func (l *cleanLogits[T]) take(i int, z []T) {
	copy(l.of(i), z)
	l.have[i] = true
}

// of returns the logits of image i, [O].
func (l *cleanLogits[T]) of(i int) []T { return l.z[i*l.out:][:l.out] }

// logits is forward, but takes the logits of rows that have not moved from their images where these
// are there.
func (b *Backend[T]) logits(w *scratch[T], lo, hi int) []T {
	clean, E, skip := &b.loaded.logits, len(b.batch.eps), b.state.still
	for r := lo; r < hi; r += E - r%E {
		if i, _ := b.batch.of(r); !clean.have[i] {
			skip = 0
		}
	}
	var z []T
	if skip == E {
		w.grad[0] = resize(w.grad[0], (hi-lo)*b.model.out)
		z = w.grad[0]
	} else {
		z = b.forward(w, lo, hi, skip)
	}
	ld := len(z) / (hi - lo)
	for r := lo; r < hi; r++ {
		if i, e := b.batch.of(r); e < skip {
			copy(z[(r-lo)*ld:][:b.model.out], clean.of(i))
		}
	}
	return z
}
