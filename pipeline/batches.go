package pipeline

import "errors"

// A batch is what a backend holds at once: images lo to hi-1, each at eps from to to-1, each of
// these at restarts first to last-1.
type batch struct{ lo, hi, from, to, first, last int }

func (b batch) images() int   { return b.hi - b.lo }
func (b batch) eps() int      { return b.to - b.from }
func (b batch) restarts() int { return b.last - b.first }
func (b batch) rows() int     { return b.images() * b.eps() * b.restarts() }

// batches cuts all into batches of at most r.rows rows and calls do for each, by images, then eps,
// then restarts. A batch has as many images as fit with all their eps and restarts. If not even one
// image fits, it has one image and as many eps as fit. If not even one eps fits, it has one image
// at one eps and as many restarts as fit. With whole it never parts the restarts of an image at an
// eps, so that a batch may be larger than r.rows.
//
// If do returns an error that memory is short, batches sets the progress back and calls do again
// from the same place with half the rows, and so for all batches after it. Until then do must not
// have counted anything. Any other error ends batches, and so does this one if a batch cannot be
// smaller.
func (r *sweeping) batches(all batch, whole bool, do func(batch) error) error {
	r.limit()
	for at := (batch{lo: all.lo, from: all.from, first: all.first}); at.lo < all.hi; {
		b := all.next(at, r.rows, whole)
		done := r.done
		err := do(b)
		if r.halve(err, b, whole) {
			r.done = done
			continue
		}
		if err != nil {
			return err
		}
		if at.first = b.last; at.first < all.last {
			continue
		}
		at.first, at.from = all.first, b.to
		if at.from == all.to {
			at.lo, at.from = b.hi, all.from
		}
	}
	return nil
}

// next is the batch of at most so many rows with which all goes on at the image, eps and restart
// where at begins.
func (all batch) next(at batch, rows int, whole bool) batch {
	R := all.restarts()
	if at.first > all.first || rows < R && !whole {
		return batch{at.lo, at.lo + 1, at.from, at.from + 1, at.first, min(at.first+max(1, rows), all.last)}
	}
	fit := max(1, rows/R)
	b := batch{at.lo, min(at.lo+max(1, fit/all.eps()), all.hi), at.from, min(at.from+fit, all.to), all.first, all.last}
	if at.from > all.from { // the rest of one image
		b.hi = at.lo + 1
	}
	return b
}

// limit sets the rows of a batch at most, if they are not known yet.
func (r *sweeping) limit() {
	if r.rows == 0 {
		r.rows = r.b.Info().Rows
		if r.Rows > 0 {
			r.rows = min(r.rows, r.Rows)
		}
	}
}

// outOfMemory is the error of a Begin or a Step that would do with fewer rows.
type outOfMemory interface{ OutOfMemory() bool }

// halve reports whether err says that memory is short for b, which can be smaller, and makes the
// next ones so.
func (r *sweeping) halve(err error, b batch, whole bool) bool {
	unit := 1 // rows that stay together
	if whole {
		unit = b.restarts()
	}
	n := b.rows() / unit
	var short outOfMemory
	if n <= 1 || !errors.As(err, &short) || !short.OutOfMemory() {
		return false
	}
	r.rows = n / 2 * unit // from here on
	return true
}
