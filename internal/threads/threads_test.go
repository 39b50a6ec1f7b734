package threads

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// Each call is made once, by a thread that makes no other at the same time.
func TestEach(t *testing.T) {
	for _, c := range []struct{ threads, n int }{{0, 3}, {1, 5}, {3, 0}, {4, 1}, {4, 1000}, {1000, 7}} {
		t.Run(fmt.Sprintf("threads=%d/n=%d", c.threads, c.n), func(t *testing.T) {
			calls := make([]atomic.Int32, c.n)
			busy := make([]atomic.Bool, max(1, min(c.threads, c.n)))
			Each(c.threads, c.n, func(thread, i int) {
				if busy[thread].Swap(true) {
					t.Errorf("thread %d is in two calls", thread)
				}
				calls[i].Add(1)
				busy[thread].Store(false)
			})
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Errorf("%d calls of %d, want 1", got, i)
				}
			}
		})
	}
}

// The caller can recover from a panic on any thread.
func TestEachPanics(t *testing.T) {
	for _, n := range []int{1, 3} {
		func() {
			defer func() {
				if p := recover(); p != "bug" {
					t.Errorf("%d threads: recovered %v, want bug", n, p)
				}
			}()
			Each(n, 10, func(_, i int) {
				if i == 5 {
					panic("bug")
				}
			})
		}()
	}
}

// Callers at the same time, and calls within calls, have all of their own calls made and no other's.
func TestEachAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 200 {
				var sum atomic.Int64
				Each(3, n, func(_, i int) {
					Each(2, 3, func(_, k int) { sum.Add(int64(3*i + k)) })
				})
				if want := int64(3*n-1) * int64(3*n) / 2; sum.Load() != want {
					t.Errorf("%d calls of 3: sum %d, want %d", n, sum.Load(), want)
				}
			}
		})
	}
	all.Wait()
}
