package cpu

import (
	"context"
	"sync/atomic"

	"advsweep/internal/gemm"
	"advsweep/internal/threads"
)

// A workers is the threads of a Backend, each with memory of its own. New makes it. Only the
// function that each or run calls may use a worker's memory, while it runs.
type workers[T Float] struct{ scratch []scratch[T] }

func newWorkers[T Float](threads int, vec gemm.Vector[T], dense bool) workers[T] {
	w := workers[T]{make([]scratch[T], threads)}
	for i := range w.scratch {
		w.scratch[i].rows = rows[T]{vec: vec, dense: dense}
	}
	return w
}

// flop returns how many operations all products have taken so far.
func (w *workers[T]) flop() (flop uint64) {
	for i := range w.scratch {
		flop += w.scratch[i].flop()
	}
	return flop
}

// flop returns how many operations the worker's products have taken so far.
func (w *scratch[T]) flop() uint64 {
	if w.walk != nil {
		return w.rows.flop + w.walk.rows.flop
	}
	return w.rows.flop
}

// each calls f on all threads for blocks of at most most that cover 0 to n-1. It stops early if ctx
// ends, and returns its error.
func (w *workers[T]) each(ctx context.Context, n, most int, f func(w *scratch[T], lo, hi int)) error {
	threads := len(w.scratch)
	blocks := (n + most - 1) / most
	if n > threads { // every thread gets as many
		blocks = (blocks + threads - 1) / threads * threads
	}
	return w.run(ctx, blocks, func(w *scratch[T], i int) {
		start := func(i int) int { return i*(n/blocks) + min(i, n%blocks) }
		if lo, hi := start(i), start(i+1); lo < hi {
			f(w, lo, hi)
		}
	})
}

// run calls f on all threads for the tasks 0 to n-1. It stops early if ctx ends, and returns its
// error.
func (w *workers[T]) run(ctx context.Context, n int, f func(w *scratch[T], i int)) error {
	return onThreads(ctx, len(w.scratch), n, func(t, i int) { f(&w.scratch[t], i) })
}

// onThreads calls f on most threads at most for the tasks i from 0 to n-1, with the number of the
// thread. It stops early if ctx ends, and returns its error.
func onThreads(ctx context.Context, most, n int, f func(thread, i int)) error {
	threads.Each(most, n, func(thread, i int) {
		if ctx.Err() == nil {
			f(thread, i)
		}
	})
	return ctx.Err()
}

// A scratch is the memory of one worker. It holds nothing from one block to the next but room,
// counts of operations, and the frames whose zeros an image leaves as they are.
type scratch[T Float] struct {
	rows    rows[T] // the list of the product in hand
	gemm    gemm.Scratch[T]
	tiles   tileRoom[T]
	lists   listing[T]
	x       []T    // [rows, I]
	z0      []T    // an MLP's first layer [rows, stride]
	z       [][]T  // each layer before its ReLU; the first may be z0, or belong to moves
	grad    [2][]T // the gradient at the output of a layer, and that at its input
	v       []T    // [I]: the move of a row that nothing keeps
	slope   []T    // W·d of each image [n, stride], see enterMoves
	dir     direction[T]
	union   selector[T]
	walk    *walk[T] // made by the first Exact
	net     netScratch[T]
	stretch *stretchWalk // made by the first Exact of a model that is no MLP
}

// layers returns w.z with an element for each of n layers.
func (w *scratch[T]) layers(n int) [][]T {
	w.z = resize(w.z, n)
	w.z[0] = nil
	return w.z
}

// A failure is the first image in which something was not finite. Workers report to it while they
// run. The zero value is not ready: clear it first.
type failure struct{ image atomic.Int64 }

// clear forgets what was reported.
func (f *failure) clear() { f.image.Store(-1) }

// report says that something of image i, by its place among the loaded ones, is not finite. Of
// several images the first counts, so that the error does not depend on the threads.
func (f *failure) report(i int) {
	for {
		old := f.image.Load()
		if old >= 0 && old <= int64(i) || f.image.CompareAndSwap(old, int64(i)) {
			return
		}
	}
}

// first returns the first image that was reported, and false if there is none.
func (f *failure) first() (i int, ok bool) {
	at := f.image.Load()
	return int(at), at >= 0
}

// resize returns s with length n. It may have the old elements or not.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}
