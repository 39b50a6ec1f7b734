package cluster

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
)

// Bounds of what is heard of workers: a name costs whoever sends heartbeats nothing.
const (
	maxWorkers   = 10_000 // that are remembered
	maxHeartbeat = 4096   // bytes
	maxHeard     = 10_000 // heartbeats a second; workers send one in two seconds, or with each shard
	maxSaved     = 500    // that are written in one go
)

// A workerTable holds the last heartbeat of each worker. Nothing but what people see depends on it.
//
// All fields change. Only the methods change them, under mu, so several goroutines may call them.
type workerTable struct {
	mu     sync.Mutex
	byName map[string]*heartbeat
	second time.Time // when the second began in which so many were heard
	heard  int
}

// A heartbeat is the last one of a worker.
type heartbeat struct {
	state   study.WorkerState
	unsaved bool // not yet in the study's folder
}

func newWorkerTable() *workerTable { return &workerTable{byName: map[string]*heartbeat{}} }

// receive keeps the heartbeat in data, which came at time now. It drops one that cannot be of a
// study of so many shards: anybody who has the credential can send it.
func (t *workerTable) receive(data []byte, shards int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.second) >= time.Second {
		t.second, t.heard = now, 0
		if len(t.byName) >= maxWorkers { // forget who is gone
			maps.DeleteFunc(t.byName, func(_ string, h *heartbeat) bool { return !h.unsaved && !h.state.Alive(now) })
		}
	}
	if t.heard++; t.heard > maxHeard || len(data) > maxHeartbeat {
		return
	}
	w, ok := study.ParseWorkerState(data)
	if !ok || w.Shard >= shards {
		return
	}
	w.Updated = now.UTC()
	if _, ok := t.byName[w.Name]; !ok && len(t.byName) >= maxWorkers {
		return
	}
	t.byName[w.Name] = &heartbeat{w, true}
}

// save puts the heartbeats that came since the last call into the folder, where 'advsweep status'
// reads them. It ignores errors: the work does not need them.
func (t *workerTable) save(f *study.Folder) {
	var unsaved []study.WorkerState
	t.mu.Lock()
	for _, h := range t.byName {
		if h.unsaved && len(unsaved) < maxSaved { // of a map, so that none is always left out
			h.unsaved = false
			unsaved = append(unsaved, h.state)
		}
	}
	t.mu.Unlock()
	for _, w := range unsaved {
		_ = f.Heartbeat(w)
	}
}

// list returns all workers by name, and how many of them have a shard in hand and are alive.
func (t *workerTable) list(now time.Time) (all []study.WorkerState, running int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.byName {
		all = append(all, h.state)
		if h.state.Shard >= 0 && h.state.Alive(now) {
			running++
		}
	}
	slices.SortFunc(all, func(a, b study.WorkerState) int { return strings.Compare(a.Name, b.Name) })
	return all, running
}

// A heartbeatSender sends what a worker says of itself. change changes state and last, under mu.
// Several goroutines may call it.
type heartbeatSender struct {
	nc      *nats.Conn
	subject string

	mu    sync.Mutex
	state study.WorkerState
	last  time.Time // of the last heartbeat
}

// send sends a heartbeat every two seconds until ctx ends.
func (h *heartbeatSender) send(ctx context.Context) {
	for pause(ctx, 2*time.Second) {
		h.change(func(*study.WorkerState) {})
	}
}

// change changes the state by do, and sends it. A worker with a shard in hand that has just sent
// one sends no other: of many short shards people see enough of them.
func (h *heartbeatSender) change(do func(*study.WorkerState)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(&h.state)
	if time.Since(h.last) < 200*time.Millisecond && h.state.Shard >= 0 {
		return
	}
	h.last = time.Now()
	if data, err := json.Marshal(h.state); err == nil {
		_ = h.nc.Publish(h.subject, data) // the work does not need it
	}
}

// finish notes that shard s, in hand so far, was computed by a and is done if ok is set. The next
// heartbeat says so.
func (h *heartbeatSender) finish(s study.Shard, ok bool, a record.Arithmetic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Finish(s, ok, time.Now())
	if a != (record.Arithmetic{}) {
		h.state.Arithmetic = a
	}
}
