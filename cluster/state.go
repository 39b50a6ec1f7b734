package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"advsweep/internal/remedy"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go/jetstream"
)

// A state is what the coordinator tells workers. It is kept on the server, so that a worker that
// comes late knows it too.
type state struct {
	Mixed    bool `json:"mixed"`
	Attempts int  `json:"attempts"`
	Done     bool `json:"done"` // nothing is left to do
	// Seen lists the arithmetic of the results that are there. Unless Mixed is set, no two of them
	// differ by their fingerprint alone.
	Seen []record.Arithmetic `json:"seen"`
}

// refuse says why a result of run that was computed by a may not go with those that are there, or
// returns nil.
func (s *state) refuse(plan *study.Plan, run int, a record.Arithmetic) error {
	if s.Mixed {
		return nil
	}
	m := &plan.Runs[run].Manifest
	if !a.Planned(m) {
		return remedy.Want(remedy.ServeMixed, fmt.Errorf("cluster: run %s is planned for %s %s and this is by %s, whose bits may differ: only a server that allows it mixes them", plan.Runs[run].Name, m.Backend, m.Arithmetic, a))
	}
	for _, seen := range s.Seen {
		if seen.Backend == a.Backend && seen.Precision == a.Precision && seen.MathMode == a.MathMode && seen.Fingerprint != a.Fingerprint {
			return remedy.Want(remedy.ServeMixed, fmt.Errorf("cluster: results are there by %s and this is by %s: the machines compute different bits; use machines of one kind, or allow the server to mix them, which marks the results", seen, a))
		}
	}
	return nil
}

// has reports whether results of a are there.
func (s *state) has(a record.Arithmetic) bool { return slices.Contains(s.Seen, a) }

// readState returns the state that the coordinator put into kv.
func readState(ctx context.Context, kv jetstream.KeyValue) (*state, error) {
	entry, err := kv.Get(ctx, stateName)
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := json.Unmarshal(entry.Value(), s); err != nil {
		return nil, fmt.Errorf("cluster: state: %w", err)
	}
	return s, nil
}

// A coordinatorState is the state as the coordinator has it. accept and finish change it, under mu.
// Several goroutines may call its methods.
type coordinatorState struct {
	// unpublished is set while workers do not know all of state. Who publishes state clears it.
	unpublished atomic.Bool

	mu    sync.Mutex
	state state
}

// accept adds a to what is seen, before a result of it is kept: results that come at the same
// moment must fit it. It returns an error, and adds nothing, if a result of run that was computed
// by a may not go with those that are there.
func (c *coordinatorState) accept(plan *study.Plan, run int, a record.Arithmetic) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.state.refuse(plan, run, a); err != nil {
		return err
	}
	if !c.state.has(a) {
		c.state.Seen = append(c.state.Seen, a)
		c.unpublished.Store(true)
	}
	return nil
}

// finish says that nothing is left to do.
func (c *coordinatorState) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Done = true
}

// json returns the state as workers read it.
func (c *coordinatorState) json() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Marshal(c.state)
}

// A workerState is the state as the workers of a process have it. learn and setDone change it,
// under mu. Several goroutines may call its methods.
type workerState struct {
	done chan struct{} // closed once the state says Done

	mu    sync.Mutex
	state state
}

func newWorkerState() *workerState { return &workerState{done: make(chan struct{})} }

// learn takes what the coordinator says.
func (w *workerState) learn(s *state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = *s
	if s.Done {
		w.end()
	}
}

// setDone says that the study is done, as the coordinator does who removes it from the server.
func (w *workerState) setDone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Done = true
	w.end()
}

// end closes done, once. The caller holds mu.
func (w *workerState) end() {
	if !w.isDone() {
		close(w.done)
	}
}

// get returns the state. Nobody changes what its Seen points to.
func (w *workerState) get() state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *workerState) isDone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}
