package study

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"advsweep/pipeline"
)

// A Job is a list of shards to do on the devices of this machine. Run changes none of its fields.
type Job struct {
	Folder  *Folder
	Shards  []Shard
	Mixed   bool   // also what was planned for another arithmetic
	Name    string // of the workers: NAME, or NAME-1, NAME-2, … if there are several
	Devices []Device
	// Progress, if set, is called now and then, from one goroutine at a time. done and total are in
	// expected seconds of all Shards.
	Progress func(done, total float64, note string)
	// Failed, if set, is called for each shard that failed, when the folder has its failure.
	Failed func(s Shard, err error)
	// Log, if set, is called with what else is not as it should be.
	Log func(format string, args ...any)
}

// Run does the shards that are not done. A device that is free takes the next one. When a shard
// fails Run notes it in the folder and goes on with the others. It returns an error if a result
// cannot be kept, and pipeline.ErrStopped when stop is closed. Shards that were begun are done anew
// the next time.
func (j Job) Run(ctx context.Context, stop <-chan struct{}) error {
	if len(j.Devices) == 0 {
		return errors.New("study: no devices")
	}
	var mu sync.Mutex
	total, done := 0.0, 0.0
	var todo []Shard
	for _, s := range j.Shards {
		total += share(s)
		if j.Folder.Has(s) {
			done += share(s)
		} else {
			todo = append(todo, s)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inHand := make([]float64, len(j.Devices)) // done of the shard that each has in hand
	report := func() {
		if j.Progress != nil {
			sum := done
			for _, v := range inHand {
				sum += v
			}
			j.Progress(sum, total, "")
		}
	}
	next := func() (Shard, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(todo) == 0 {
			return Shard{}, false
		}
		s := todo[0]
		todo = todo[1:]
		return s, true
	}
	errs := make([]error, len(j.Devices))
	var wg sync.WaitGroup
	for i, d := range j.Devices {
		name := j.Name
		if len(j.Devices) > 1 {
			name = fmt.Sprintf("%s-%d", j.Name, i+1)
		}
		wg.Go(func() {
			w := NewWorker(j.Folder.Plan, j.Folder, d, j.Mixed)
			h := startHeartbeats(j.Folder, WorkerState{Name: name, Device: d.Name, Shard: -1})
			defer h.end()
			for {
				s, ok := next()
				if !ok {
					break
				}
				h.begin(s)
				err := j.one(ctx, stop, w, h, s, func(done float64) {
					mu.Lock()
					defer mu.Unlock()
					inHand[i] = done * share(s)
					report()
				}, func(opened []int) {
					mu.Lock()
					defer mu.Unlock()
					for _, s := range j.Shards {
						if slices.Contains(opened, s.Index) {
							todo, done = append(todo, s), done-share(s)
						}
					}
				})
				mu.Lock()
				inHand[i] = 0
				if err == nil || errors.Is(err, errFailed) {
					done += share(s)
				}
				report()
				mu.Unlock()
				if err != nil && !errors.Is(err, errFailed) {
					errs[i] = err
					cancel()
					break
				}
			}
			if err := w.Close(); err != nil && errs[i] == nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	var stopped error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, pipeline.ErrStopped) {
			return err // the one that ended the others
		}
		if err != nil && stopped == nil {
			stopped = err
		}
	}
	return stopped
}

// share returns what a shard counts for in Progress, in seconds. It is not 0, so that each counts.
func share(s Shard) float64 { return max(s.Seconds, 1e-3) }

// errFailed stands for a failure that is in the folder.
var errFailed = errors.New("study: the shard failed")

// settled excludes the workers that a dispute about s showed to be wrong, says so, and calls again
// with the shards that are to be done again because of it.
func (j Job) settled(s Shard, settled Settled, again func([]int)) error {
	if !settled.Any() {
		return nil
	}
	opened, err := j.Folder.ExcludeWrong(settled)
	if j.Log != nil {
		j.Log("the dispute about shard %d is settled: %s, found by %s and others, is believed", s.Index, settled.Winner.Hash[:6], settled.Winner.Author)
		for _, c := range settled.Wrong {
			j.Log("%s found %s of shard %d, which is wrong: what nobody else found too of its results is done again, %d shards", c.Author, c.Hash[:6], s.Index, len(opened))
		}
	}
	again(opened)
	return err
}

// one does s and keeps what it finds. It calls progress with the fraction of s that is done, and
// again with other shards that are to be done again.
func (j Job) one(ctx context.Context, stop <-chan struct{}, w *Worker, h *heartbeats, s Shard, progress func(float64), again func([]int)) error {
	r, err := w.Do(ctx, stop, s, func(done, total int) { progress(float64(done) / float64(max(1, total))) })
	h.arithmetic(w)
	var mixed *MixedError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, pipeline.ErrStopped), errors.As(err, &mixed):
		return err // which no other shard would do better
	case err == nil:
		r.By = AuthorOf(h.state.Name)
		var data []byte
		if data, err = r.Encode(s.ID); err != nil {
			return err
		}
		var settled Settled
		settled, err = j.Folder.Put(s, data)
		different := errors.As(err, new(*DifferentError))
		if different && j.Mixed {
			err = nil // another process was first
		}
		if err == nil {
			h.finished(s, true)
			return j.settled(s, settled, again)
		}
		if !different && !errors.As(err, new(*DisputeError)) {
			return err // the disk, or this worker is excluded: other results could not be kept either
		}
	}
	h.finished(s, false)
	if !errors.As(err, new(*DisputeError)) { // that is in the folder already
		if err := j.Folder.Fail(s, h.state.Name, 1, err.Error()); err != nil {
			return err
		}
	}
	if j.Failed != nil {
		j.Failed(s, err)
	}
	return errFailed
}

// heartbeats are what a worker puts into the folder until end, every five seconds and when its
// state changes. All methods but the goroutine's are called by the worker; they change state under
// mu.
type heartbeats struct {
	folder *Folder
	stop   chan struct{}
	done   sync.WaitGroup

	mu    sync.Mutex
	state WorkerState
}

func startHeartbeats(f *Folder, state WorkerState) *heartbeats {
	h := &heartbeats{folder: f, state: state, stop: make(chan struct{})}
	h.done.Go(func() {
		t := time.NewTicker(5 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				h.change(func(*WorkerState) {})
			case <-h.stop:
				return
			}
		}
	})
	return h
}

func (h *heartbeats) change(do func(*WorkerState)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(&h.state)
	_ = h.folder.Heartbeat(h.state) // the work does not need it
}

func (h *heartbeats) begin(s Shard) {
	h.change(func(w *WorkerState) { w.Shard, w.Since = s.Index, time.Now().UTC() })
}

func (h *heartbeats) arithmetic(w *Worker) {
	if w.run >= 0 {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.state.Arithmetic = w.open.arithmetic
	}
}

func (h *heartbeats) finished(s Shard, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Finish(s, ok, time.Now())
}

// Finish counts shard s, which w had in hand until now, as done if ok is set and else as failed.
func (w *WorkerState) Finish(s Shard, ok bool, now time.Time) {
	if ok {
		w.Done++
		w.Busy += now.Sub(w.Since).Seconds()
		w.Expected += s.Seconds
	} else {
		w.Failed++
	}
	w.Shard = -1
}

func (h *heartbeats) end() {
	close(h.stop)
	h.done.Wait()
	h.change(func(w *WorkerState) { w.Shard = -1 })
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// WorkerName names a worker of this process by its machine and number.
func WorkerName() string { return fmt.Sprintf("%s-%d", machineName(), os.Getpid()) }

// machineName is the name of this machine as far as it is fit for a file.
func machineName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "worker"
	}
	host = strings.Trim(notInName.ReplaceAllString(host, "-"), "-.")
	if len(host) > 60 {
		host = host[:60]
	}
	return cmp.Or(host, "worker")
}
