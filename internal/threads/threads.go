// Package threads spreads work over threads so that no result depends on how many there are.
package threads

import (
	"runtime"
	"sync/atomic"
	"time"
)

// patience is how long a helper looks for more work before it ends, and a caller for the last
// helper before it sleeps. To wake a thread that sleeps takes some 0.1 ms on a virtual machine: as
// long as all the work of many a call.
const patience = 200 * time.Microsecond

// A job is one call of Each.
type job struct {
	n     int64
	f     func(thread, i int)
	next  atomic.Int64 // the next i
	free  atomic.Int64 // threads that no helper has yet; below 0 once there are none
	ended chan struct{}
	bug   atomic.Pointer[any]
}

// offered is a job that wants helpers, and looking how many helpers look for one.
var (
	offered atomic.Pointer[job]
	looking atomic.Int64
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
	helpers := threads - 1
	j := &job{n: int64(n), f: f, ended: make(chan struct{}, helpers)}
	j.free.Store(int64(helpers))
	there := 0
	if offered.CompareAndSwap(nil, j) { // else another caller has those that look
		there = min(int(looking.Load()), helpers)
	}
	for range helpers - there {
		go help(j)
	}
	j.work(helpers)
	offered.CompareAndSwap(j, nil)
	atWork := helpers - int(max(j.free.Swap(-1<<32), 0))
	for start := time.Now(); len(j.ended) < atWork && time.Since(start) < patience; {
		runtime.Gosched()
	}
	for range atWork {
		<-j.ended
	}
	if p := j.bug.Load(); p != nil {
		panic(*p) // on the caller's goroutine, who can recover
	}
}

// work makes calls on a thread until none is left, or one panics.
func (j *job) work(thread int) {
	defer func() {
		if p := recover(); p != nil {
			j.bug.Store(&p)
		}
	}()
	for i := j.next.Add(1) - 1; i < j.n; i = j.next.Add(1) - 1 {
		j.f(thread, int(i))
	}
}

// help works on j, and then on what is offered until nothing has been for a while.
func help(j *job) {
	for ; j != nil; j = look() {
		if thread := j.free.Add(-1); thread >= 0 {
			j.work(int(thread))
			j.ended <- struct{}{}
		}
	}
}

// look returns a job that wants helpers; nil if there is none for a while.
func look() *job {
	looking.Add(1)
	defer looking.Add(-1)
	for start := time.Now(); time.Since(start) < patience; runtime.Gosched() {
		if j := offered.Load(); j != nil && j.free.Load() > 0 {
			return j
		}
	}
	return nil
}
