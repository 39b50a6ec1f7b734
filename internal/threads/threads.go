// Package threads spreads work over threads so that no result depends on how many there are.
package threads

import (
	"sync"
	"sync/atomic"
)

// Each calls f for each i from 0 to n-1, and returns when all calls have. At most so many run at
// once, each with a thread of its own, from 0 on, by which f finds memory. Which thread a call has
// is left to chance. With one thread, or one call, all run on the caller's goroutine. A panic of f
// becomes one of Each, once all threads have stopped.
func Each(threads, n int, f func(thread, i int)) {
	threads = min(threads, n)
	if threads <= 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	var bug atomic.Pointer[any]
	for t := range threads {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					bug.Store(&p)
				}
			}()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(t, i)
			}
		})
	}
	wg.Wait()
	if p := bug.Load(); p != nil {
		panic(*p) // on the caller's goroutine, who can recover
	}
}
