package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
)

// WorkOptions say how a worker works.
type WorkOptions struct {
	Version     string // of this program: the plan must be by the same
	Credentials string // file with what Serve's holds
	TLSCA       string // file with who signs the server's certificate; "" is who the system trusts
	Study       string // id or name of the study, where the server has several
	Cache       string // folder for models and images; "" is one of the user's
	Name        string // of the worker; "" is the machine's name and the process's number
	// Patience is how long to wait for a server that went away, and FirstPatience for one that was
	// never there. 0 is ten minutes and half a minute.
	Patience, FirstPatience time.Duration
	// Devices returns what to work on, a worker for each.
	Devices func(*study.Plan) ([]study.Device, error)
	Log     func(format string, args ...any) // nil: nothing is said

	pace time.Duration // unit of the pauses after failures; 0 is a second
	// A test sets open to what takes the place of study.NewWorker.
	open func(*study.Plan, study.Inputs, study.Device, bool) doer
}

// A doer is a *study.Worker.
type doer interface {
	Prepare(run int) (record.Arithmetic, error)
	Do(ctx context.Context, stop <-chan struct{}, s study.Shard, progress func(done, total int)) (*study.Result, error)
	Close() error
}

var (
	errDone    = errors.New("cluster: the study is done")
	errStopped = errors.New("cluster: the worker was told to stop")
)

// Work does shards of the study that is served at url until the study is done. When stop is closed
// it gives its shards back and returns pipeline.ErrStopped. It finishes a shard that is nearly
// done. When ctx ends it gives nothing back, and the server misses the shards after a while.
//
// A shard that fails is tried again, by whichever worker gets it. After several failures in a row a
// worker pauses, for longer and longer, so that a broken machine does not use up the tries of all
// shards. A worker waits for a server that is away, and for room for its result. It returns an
// error at once for what another machine may do but this one cannot, as a run that is planned for
// another arithmetic.
func Work(ctx context.Context, stop <-chan struct{}, url string, o WorkOptions) error {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	o.Patience = cmp.Or(o.Patience, 10*time.Minute)
	o.FirstPatience = cmp.Or(o.FirstPatience, 30*time.Second)
	o.pace = cmp.Or(o.pace, time.Second)
	o.Name = cmp.Or(o.Name, study.WorkerName())
	if err := study.CheckWorkerName(o.Name); err != nil {
		return err
	}
	cred, err := awaitCredential(ctx, stop, &o)
	if err != nil {
		return err
	}
	if err := checkURL(url, cred, o.TLSCA); err != nil {
		return err
	}
	if o.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return remedy.Want(remedy.Cache, fmt.Errorf("cluster: no folder to keep models and images in: %w: name one", err))
		}
		o.Cache = filepath.Join(dir, "advsweep", "inputs")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &machine{o: o, ctx: ctx, cancel: cancel, stop: stop, state: newWorkerState()}
	m.server = &serverLink{url: url, cred: cred, ca: o.TLSCA, back: make(chan struct{}, 1)}
	err = m.connect()
	if m.server.nc == nil {
		return err
	}
	defer m.server.nc.Close()
	if err == nil {
		err = m.work()
	}
	switch cause := context.Cause(ctx); {
	case m.state.isDone() && (err == nil || errors.Is(err, errDone) || errors.Is(err, context.Canceled)):
		err = nil
	case cause != nil && (err == nil || errors.Is(err, context.Canceled)):
		err = cause
	}
	_ = m.server.nc.FlushTimeout(2 * time.Second) // acks and heartbeats
	return err
}

// A machine is all workers of a process. Work sets its fields before it starts a worker, and
// nothing sets them after that. Of what they hold only state changes, which has a lock of its own.
type machine struct {
	o      WorkOptions
	ctx    context.Context
	cancel context.CancelCauseFunc // ends ctx, and so all workers, with an error
	stop   <-chan struct{}

	server *serverLink
	study  *servedStudy
	state  *workerState
}

func (m *machine) isStopped() bool {
	select {
	case <-m.stop:
		return true
	default:
		return false
	}
}

// work runs a worker on each device. One that cannot go on does not end the others.
func (m *machine) work() error {
	devices, err := m.o.Devices(m.study.plan)
	if err != nil {
		return err
	}
	errs := make([]error, len(devices))
	var wg sync.WaitGroup
	for i, d := range devices {
		name := m.o.Name
		if len(devices) > 1 {
			name = fmt.Sprintf("%s-%d", m.o.Name, i+1)
		}
		wg.Go(func() {
			w := m.newWorker(name, d)
			err := w.work()
			if errors.Is(err, errDone) || m.state.isDone() && errors.Is(err, context.Canceled) {
				err = nil
			}
			if errs[i] = errors.Join(err, w.doer.Close()); errs[i] != nil && len(devices) > 1 {
				errs[i] = fmt.Errorf("%s: %w", d.Name, errs[i])
				if m.ctx.Err() == nil && !errors.Is(err, pipeline.ErrStopped) {
					m.o.Log("%v", errs[i])
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, pipeline.ErrStopped) {
			return errors.Join(errs...)
		}
	}
	if m.isStopped() && !m.state.isDone() {
		return pipeline.ErrStopped
	}
	return nil
}

// newWorker returns a worker of that name on d.
func (m *machine) newWorker(name string, d study.Device) *worker {
	w := &worker{m: m, heartbeats: &heartbeatSender{
		nc: m.server.nc, subject: m.study.heartbeat(), state: study.WorkerState{Name: name, Device: d.Name, Shard: -1},
	}}
	mixed := m.state.get().Mixed
	if m.o.open != nil {
		w.doer = m.o.open(m.study.plan, m.study.inputs, d, mixed)
	} else {
		w.doer = study.NewWorker(m.study.plan, m.study.inputs, d, mixed)
	}
	return w
}

// listen learns the state from now on until ctx ends. It reads it at once, now and then, and when
// the server is back: who is away misses what is sent.
func (m *machine) listen() error {
	_, err := m.server.nc.Subscribe(m.study.state(), func(msg *nats.Msg) {
		s := new(protocol.State)
		if json.Unmarshal(msg.Data, s) == nil {
			m.state.learn(s)
		}
	})
	if err != nil {
		return err
	}
	go func() {
		for m.readState() {
			select {
			case <-time.After(2 * time.Second):
			case <-m.server.back:
			case <-m.ctx.Done():
				return
			}
		}
	}()
	return nil
}

// readState learns the state that is on the server, and reports whether to read it again.
func (m *machine) readState() bool {
	ctx, cancel := context.WithTimeout(m.ctx, 5*time.Second)
	defer cancel()
	s, err := readState(ctx, m.study.kv)
	switch {
	case err == nil:
		m.state.learn(s)
	case gone(err): // as is removed when all is done
		m.state.setDone()
		return false
	}
	return true
}
