package cluster

import (
	"sync"

	"advsweep/study"
)

// A shardTable is what the coordinator knows of each shard. A shard is open until its result is in
// the folder (done) or nobody is asked to do it any more (failed); then it is settled. A failed
// shard becomes done when a worker that was given up sends its result after all.
//
// All fields change. Only the methods change them, under mu, so several goroutines may call them.
type shardTable struct {
	// allSettled holds a value once no shard is open. It has room for one, so that no method waits.
	allSettled chan struct{}

	mu        sync.Mutex
	done      []bool       // by index of the shard
	failed    map[int]bool // by index of the shard
	refused   map[int]int  // how often the result of a shard was refused
	open      int          // shards that are neither done nor failed
	count     int          // shards that are done
	conflicts []error      // see ConflictError
}

// newShardTable returns the table of a study of which done tells the shards that are done. It keeps
// done.
func newShardTable(done []bool) *shardTable {
	t := &shardTable{allSettled: make(chan struct{}, 1), done: done, failed: map[int]bool{}, refused: map[int]int{}}
	for _, d := range done {
		if d {
			t.count++
		}
	}
	t.open = len(done) - t.count
	if t.open == 0 {
		t.allSettled <- struct{}{}
	}
	return t
}

// isSettled reports whether shard i is done or failed.
func (t *shardTable) isSettled(i int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[i] || t.failed[i]
}

// noneOpen reports whether each shard is done or failed.
func (t *shardTable) noneOpen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open == 0
}

// allDone reports whether each shard is done.
func (t *shardTable) allDone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count == len(t.done)
}

// setDone notes that shard i is done, and reports whether that is new.
func (t *shardTable) setDone(i int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done[i] {
		return false
	}
	t.done[i] = true
	t.count++
	if t.failed[i] {
		delete(t.failed, i)
	} else {
		t.close()
	}
	return true
}

// setFailed notes that nobody could do shard i, unless it is settled.
func (t *shardTable) setFailed(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done[i] || t.failed[i] {
		return
	}
	t.failed[i] = true
	t.close()
}

// close counts one open shard less. The caller holds mu.
func (t *shardTable) close() {
	if t.open--; t.open > 0 {
		return
	}
	select {
	case t.allSettled <- struct{}{}:
	default:
	}
}

// addRefusal notes that a result of shard i was refused, and returns how often that happened.
func (t *shardTable) addRefusal(i int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused[i]++
	return t.refused[i]
}

// addConflict notes that a shard came out different twice.
func (t *shardTable) addConflict(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conflicts = append(t.conflicts, err)
}

// conflict returns a *ConflictError of what addConflict noted, or nil.
func (t *shardTable) conflict() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conflicts) == 0 {
		return nil
	}
	return &ConflictError{t.conflicts}
}

// snapshot fills in what the table knows of shards, the shards of its study.
func (t *shardTable) snapshot(s *Snapshot, shards []study.Shard) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Total, s.Done, s.Failed = len(t.done), t.count, len(t.failed)
	for i, shard := range shards {
		s.Expected += shard.Seconds
		if !t.done[i] && !t.failed[i] {
			s.Left += shard.Seconds
		}
	}
}
