package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"advsweep/cluster/protocol"

	"github.com/nats-io/nats.go/jetstream"
)

// readState returns the state that the coordinator put into kv.
func readState(ctx context.Context, kv jetstream.KeyValue) (*protocol.State, error) {
	entry, err := kv.Get(ctx, stateName)
	if err != nil {
		return nil, err
	}
	s := new(protocol.State)
	if err := json.Unmarshal(entry.Value(), s); err != nil {
		return nil, fmt.Errorf("cluster: state: %w", err)
	}
	return s, nil
}

// A workerState is the state as the workers of a process have it. learn and setDone change it,
// under mu. Several goroutines may call its methods.
type workerState struct {
	done chan struct{} // closed once the state says Done

	mu    sync.Mutex
	state protocol.State
}

func newWorkerState() *workerState { return &workerState{done: make(chan struct{})} }

// learn takes what the coordinator says.
func (w *workerState) learn(s *protocol.State) {
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

// get returns the state. Nobody changes what its fields point to.
func (w *workerState) get() protocol.State {
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
