package protocol

import "advsweep/study"

// A table is what the coordinator knows of each shard. A shard is open until its result is in the
// folder (done) or nobody is asked to do it any more (failed); then it is closed. A failed shard
// becomes done when a worker that was given up sends its result after all. A done one becomes open
// when it is disputed, or its result set aside. It has no lock.
type table struct {
	done    []bool                  // by index of the shard
	failed  map[int]bool            // by index of the shard
	refused map[int]map[string]bool // workers whose result of the shard was refused
	tried   map[int]int             // see KindTried
	open    int                     // shards that are neither done nor failed
	count   int                     // shards that are done
	asks    map[int]*ask            // shards that another worker is to do once more
}

// An ask is a shard that came out different, or that is to be verified.
type ask struct {
	dispute bool
	by      []study.Author    // who did it
	first   map[string]uint64 // the sequence of the first message by which each was contradicted
	again   map[string]bool   // who said the same a second time
	avoid   []string          // of its task
	queued  bool
	since   int64 // when it was asked first, in ns
}

// newTable returns the table of a study of which done tells the shards that are done. It keeps
// done.
func newTable(done []bool) *table {
	t := &table{done: done, failed: map[int]bool{}, refused: map[int]map[string]bool{}, tried: map[int]int{}, asks: map[int]*ask{}}
	for _, d := range done {
		if d {
			t.count++
		}
	}
	t.open = len(done) - t.count
	return t
}

// isClosed reports whether shard i is done or failed.
func (t *table) isClosed(i int) bool { return t.done[i] || t.failed[i] }

// setDone notes that shard i is done, and reports whether that is new.
func (t *table) setDone(i int) bool {
	if t.done[i] {
		return false
	}
	t.done[i] = true
	t.count++
	if t.failed[i] {
		delete(t.failed, i)
	} else {
		t.open--
	}
	delete(t.refused, i)
	delete(t.tried, i)
	return true
}

// setFailed notes that nobody could do shard i, unless it is closed.
func (t *table) setFailed(i int) {
	if t.isClosed(i) {
		return
	}
	t.failed[i] = true
	t.open--
}

// reopen notes that shard i is to be done, whatever it was.
func (t *table) reopen(i int) {
	switch {
	case t.done[i]:
		t.done[i] = false
		t.count--
		t.open++
	case t.failed[i]:
		delete(t.failed, i)
		t.open++
	}
}

// refuse notes that a result of shard i from worker was refused, and returns of how many workers
// one was.
func (t *table) refuse(i int, worker string) int {
	if t.refused[i] == nil {
		t.refused[i] = map[string]bool{}
	}
	t.refused[i][worker] = true
	return len(t.refused[i])
}

// forgive forgets what was refused of a worker.
func (t *table) forgive(worker string) {
	for _, by := range t.refused {
		delete(by, worker)
	}
}
