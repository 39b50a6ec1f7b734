package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ServeOptions say how a study is served. The zero value is a server of its own on the loopback
// address, for workers of this machine.
type ServeOptions struct {
	// Listen is the address of the server that Serve brings; "" is 127.0.0.1:4222, and port 0 any
	// that is free. With URL there is none, but a cluster that exists is used.
	Listen, URL string
	// Credentials is the file with the nkey's seed or the user and password that workers must have.
	// If it is not there, and there is no URL, a seed is made and written to it; "" is a file in
	// the study's folder then, study.KeyName.
	Credentials string
	Encryption
	// StoreBytes bounds the server's store on the disk. 0 is three quarters of what is free.
	StoreBytes int64
	AckWait    time.Duration // 0 is the constant AckWait
	Attempts   int           // how often a shard is tried; 0 is the constant Attempts
	Trust

	// Ready, if set, is called once workers can come, with the URL for them, that of this machine's
	// name if Listen is any address, and the file of Credentials.
	Ready func(url, credentials string)
	// Progress, if set, is called now and then, and Arrived for each new result. Both are called
	// from one goroutine at a time.
	Progress func(Snapshot)
	Arrived  func(study.Shard, *study.Result)
	// Log, if set, is called with what is not as it should be.
	Log func(format string, args ...any)

	look   time.Duration     // between two looks at the server's store; 0 is 5 s
	opened func(*connection) // a test sets it, to see the server as the coordinator does
}

// Encryption names the files for TLS. Without them nothing is encrypted.
type Encryption struct {
	TLSCert, TLSKey string // of the server that Serve brings: its certificate and its key
	// TLSCA is who signs the certificate of ServeOptions.URL; "": whom the system trusts.
	TLSCA string
}

// Trust says which results are believed. The zero value believes what was checked and nobody
// contradicts.
type Trust struct {
	// AllowMixed takes results of another arithmetic than planned, and of several fingerprints.
	AllowMixed bool
	// Verify is the fraction of shards that a second worker does too, on another machine if there
	// is one, and at least one shard of each worker; 0: none. What nobody else is there to do is
	// not waited for.
	Verify float64
	// Fingerprint returns what this machine computes with, for an arithmetic without a fingerprint,
	// if it can compute so. Workers must have the same one. Where that is not known, that of most
	// workers counts. It may be nil.
	Fingerprint func(record.Arithmetic) (fingerprint string, ok bool)
}

// AckWait is how long a worker that has a shard may say nothing before another gets the shard,
// unless ServeOptions say otherwise.
const AckWait = 30 * time.Second

// Attempts is how often a shard is tried, unless ServeOptions say otherwise.
const Attempts = 5

// A Snapshot is how far a study is.
type Snapshot struct {
	Total, Done, Failed int // shards
	// Expected is how many seconds all shards are expected to take, Left those that are still open.
	Expected, Left float64
	Running        int // shards in hand of workers that were heard lately
	Workers        []study.WorkerState
	Verified       protocol.Verification
}

// A ConflictError says that machines disagree about shards, and that nobody is left to decide.
type ConflictError = protocol.ConflictError

// Serve hands out the shards of f that are not done, until each is done or has failed: see
// f.Failures. Shards that failed before are tried again. The caller has f.Lock.
//
// It returns pipeline.ErrStopped once stop is closed. Served again the study goes on, also after a
// kill at any moment. It returns an error if a result cannot be kept, as when the disk is full; the
// result waits on the server. It returns a *ConflictError when machines disagree about a shard in
// the end. Package protocol says what is believed.
func Serve(ctx context.Context, stop <-chan struct{}, f *study.Folder, o ServeOptions) (err error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.AckWait == 0 {
		o.AckWait = AckWait
	}
	if o.Attempts == 0 {
		o.Attempts = Attempts
	}
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:4222")
	switch {
	case o.AckWait < 100*time.Millisecond || o.AckWait > time.Hour:
		return remedy.Want(remedy.AckWait, fmt.Errorf("cluster: time to wait for a worker %v, want 100ms to 1h", o.AckWait))
	case o.Attempts < 1 || o.Attempts > 1000:
		return remedy.Want(remedy.Attempts, fmt.Errorf("cluster: tries of a shard %d, want 1 to 1000", o.Attempts))
	case !(o.Verify >= 0 && o.Verify <= 1):
		return remedy.Want(remedy.Verify, fmt.Errorf("cluster: fraction of shards to be done twice %v, want 0 to 1", o.Verify))
	case o.StoreBytes < 0:
		return remedy.Want(remedy.Store, fmt.Errorf("cluster: store of %d bytes, want at least 0", o.StoreBytes))
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return remedy.Want(remedy.TLS, errors.New("cluster: the certificate and the key for TLS go together"))
	}
	id, err := f.Plan.ID()
	if err != nil {
		return err
	}
	return serveRounds(ctx, stop, f, names{id}, o)
}

// serveRound serves f until all shards are closed, or the server's store fails: see serveRounds. It
// sets o.Listen to the address that the server has got.
func serveRound(ctx context.Context, stop <-chan struct{}, f *study.Folder, n names, o *ServeOptions) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &coordinator{f: f, o: *o, ctx: ctx, fail: cancel, workers: newWorkerTable()}
	beginning, begun := context.WithCancel(ctx)
	defer begun()
	heed(beginning, stop, cancel) // until run, which looks at stop itself
	if c.conn, err = connect(f, n, &c.o, cancel, func() bool { return ctx.Err() != nil }); err != nil {
		return c.cause(err)
	}
	c.queues = &queues{names: n, f: f, nc: c.conn.nc, js: c.conn.js, log: o.Log, largeBytes: c.conn.largeBytes()}
	if c.conn.server != nil {
		c.queues.patience = patientLooks * o.look
	}
	if o.opened != nil {
		o.opened(c.conn)
	}
	finished := false
	defer func() { err = errors.Join(err, c.close(finished && err == nil)) }()
	if err := c.prepare(); err != nil {
		return c.cause(err)
	}
	if err := c.conn.listen(&c.o); err != nil {
		return err
	}
	o.Listen = c.o.Listen
	begun()
	finished, err = c.run(stop)
	if err != nil {
		return c.cause(err)
	}
	return c.study.Conflict()
}

// A coordinator serves one study by NATS: study says what is to be done, and this brings it
// messages and the time. Serve and prepare set its fields before anything runs beside them, and
// nothing sets them after that. What changes while it runs is inside study and workers, each with a
// lock of its own.
type coordinator struct {
	f    *study.Folder
	o    ServeOptions
	ctx  context.Context
	fail context.CancelCauseFunc // ends ctx, and so the coordinator, with an error

	conn   *connection
	queues *queues
	// returned is when the workers of a coordinator that was killed before have all found this one.
	returned time.Time

	study    *protocol.Coordinator
	finished chan struct{} // holds a value once nothing is left to do
	workers  *workerTable
	handled  atomic.Int64 // messages of workers

	callbacks sync.Mutex // held while a callback of o runs
}

// cause returns why c ended, where an error is only that it did.
func (c *coordinator) cause(err error) error {
	if c.ctx.Err() != nil && !errors.Is(err, pipeline.ErrStopped) {
		if why := context.Cause(c.ctx); why != nil {
			return why
		}
	}
	return err
}

// close ends the connection and the server. If all is done it removes what the study has on the
// server.
func (c *coordinator) close(all bool) error {
	if all && c.conn.server == nil {
		c.queues.remove()
	}
	c.workers.save(c.f)
	c.conn.close()
	if all && c.conn.server != nil {
		return os.RemoveAll(filepath.Join(c.f.Dir, study.StoreName))
	}
	return nil
}

// prepare reads what is done, and puts the study on the server, but for its shards.
func (c *coordinator) prepare() error {
	var err error
	c.finished = make(chan struct{}, 1)
	if c.study, err = protocol.New(c.f.Plan, c.f.Shards, c.f, c.queues, clock{}, new(gate), protocol.Options{
		Build: record.Build(), Attempts: c.o.Attempts, Mixed: c.o.AllowMixed, Verify: c.o.Verify, Grace: c.o.AckWait, Fingerprint: c.o.Fingerprint,
		Alive: func() []string { return c.workers.alive(time.Now()) }, Arrived: c.arrived, Log: c.o.Log,
	}); err != nil {
		return err
	}
	if err := c.queues.create(c.ctx); err != nil {
		return err
	}
	// It may be full of results, which run takes in.
	if err := c.queues.persistState(c.ctx, c.study.State(), full); full(err) {
		c.o.Log("the server's store is full; if it stays so, give it a larger store")
	} else if err != nil {
		return err
	}
	if err := c.queues.upload(c.ctx); err != nil {
		return err
	}
	if err := c.queues.open(c.ctx, c.o.AckWait); err != nil {
		return err
	}
	workers, err := c.f.Workers()
	if err != nil {
		return err
	}
	now := time.Now()
	if slices.ContainsFunc(workers, func(w study.WorkerState) bool { return w.Alive(now) }) {
		c.returned = now.Add(returnTime)
	}
	return nil
}

// returnTime is how long workers take at most to find a server that is back: several times what
// dial makes them wait between two tries.
const returnTime = 3 * time.Second

// run takes results until no shard is open, and reports whether all shards are done.
func (c *coordinator) run(stop <-chan struct{}) (all bool, err error) {
	heartbeats, err := c.conn.nc.Subscribe(c.queues.heartbeat(), func(m *nats.Msg) {
		c.workers.receive(m.Data, len(c.f.Shards), time.Now())
	})
	if err != nil {
		return false, err
	}
	defer func() { _ = heartbeats.Unsubscribe() }()
	info, err := c.queues.results.Info(c.ctx)
	if err != nil {
		return false, err
	}
	before := info.State.LastSeq
	messages, err := c.queues.received.Messages(jetstream.PullMaxMessagesWithBytesLimit(64, 8*maxPayload))
	if err != nil {
		return false, err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	// ctx is of what goes on beside. It ends when run returns, so that none of it waits for what
	// nobody needs any more.
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer messages.Stop()
	wg.Go(func() { c.receive(ctx, messages) })
	wg.Go(func() { c.tick(ctx) })
	wg.Go(func() { c.look(ctx) })
	wg.Go(func() {
		if err := (&probe{c: c}).run(ctx); err != nil {
			c.fail(err)
		}
	})
	queued := make(chan error, 1)
	wg.Go(func() { queued <- c.drainAndQueue(ctx, before) })
	for {
		select {
		case <-stop:
			return false, pipeline.ErrStopped
		case <-c.ctx.Done():
			return false, context.Cause(c.ctx)
		case err := <-queued:
			if err != nil {
				return false, err
			}
			if c.o.Ready != nil && !c.isFinished() {
				c.o.Ready(c.conn.url, c.o.Credentials)
			}
		case <-c.finished:
			if err := c.queues.persistState(c.ctx, c.study.State(), nil); err != nil {
				return false, err
			}
			c.leave()
			c.progress()
			return c.study.AllDone(), nil
		}
	}
}

// isFinished reports whether nothing is left to do, and tells run.
func (c *coordinator) isFinished() bool {
	if !c.study.IsFinished() {
		return false
	}
	select {
	case c.finished <- struct{}{}:
	default:
	}
	return true
}

// leave waits until workers have heard that all is done, which is when they disconnect, but not
// long: those that did not hear it wait for the server for as long as they have patience. A study
// may be done as soon as the coordinator starts, if the one before was killed at the end. Then
// workers are still to come back.
func (c *coordinator) leave() {
	_ = c.conn.nc.FlushTimeout(time.Second)
	start := time.Now()
	if c.returned.After(start) && c.conn.server != nil {
		start = c.returned
	}
	for end := start.Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s := c.conn.server; s != nil && s.NumClients() <= 1 && !time.Now().Before(start) {
			return
		}
		if c.conn.server == nil && c.snapshot().Running == 0 { // others see that the study is gone
			return
		}
	}
}

// drainAndQueue waits until the results that were there up to sequence number before are taken, and
// queues the shards that are still open then.
func (c *coordinator) drainAndQueue(ctx context.Context, before uint64) error {
	for {
		info, err := c.queues.results.Info(ctx)
		if err == nil && (info.State.Msgs == 0 || info.State.FirstSeq > before) {
			break
		}
		if !pause(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	return c.study.Start(ctx)
}

// period is how often the coordinator looks after itself.
const period = 500 * time.Millisecond

// tick calls Progress, saves heartbeats and looks after the server, until ctx ends.
func (c *coordinator) tick(ctx context.Context) {
	for i := 0; pause(ctx, period); i++ {
		c.progress()
		if i%2 == 0 {
			c.workers.save(c.f)
		}
		if i%10 > 0 {
			continue
		}
		// Of our own server the probe says it.
		if _, err := c.queues.Waiting(ctx); gone(err) && c.conn.server == nil {
			c.fail(fmt.Errorf("cluster: study %s was removed from the server by someone else: serve it again; what is done is safe", c.f.Plan.Name))
			return
		}
	}
}

// look looks after the study until ctx ends. It may wait for the server for long.
func (c *coordinator) look(ctx context.Context) {
	for pause(ctx, period) {
		if err := c.study.Look(ctx); err != nil && ctx.Err() == nil {
			c.fail(err)
			return
		}
		c.isFinished()
	}
}

func (c *coordinator) snapshot() (s Snapshot) {
	s.Total = len(c.f.Shards)
	s.Done, s.Failed, s.Left = c.study.Progress()
	s.Verified = c.study.Verified()
	for _, shard := range c.f.Shards {
		s.Expected += shard.Seconds
	}
	s.Workers, s.Running = c.workers.list(time.Now())
	return s
}

func (c *coordinator) progress() {
	if c.o.Progress == nil {
		return
	}
	s := c.snapshot()
	c.callbacks.Lock()
	defer c.callbacks.Unlock()
	c.o.Progress(s)
}
