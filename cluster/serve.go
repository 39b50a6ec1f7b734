package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/study"

	"github.com/nats-io/nats-server/v2/server"
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
	// If it is not there, and there is no URL, a seed is made and written to it.
	Credentials     string
	TLSCert, TLSKey string // files of the server
	TLSCA           string // file with who signs the certificates of URL
	// bound of the server's store on the disk; 0: three quarters of what is free
	StoreBytes int64
	AckWait    time.Duration
	Attempts   int // deliveries of a shard before nobody is asked to do it again; 0 is 5
	// take results of other arithmetic than planned, or of several fingerprints
	AllowMixed bool

	// Ready, if set, is called once workers can come, with the URL for them: that of this machine's
	// name if Listen is any address.
	Ready func(url string)
	// Progress, if set, is called now and then, and Arrived for each new result. Both are called
	// from one goroutine at a time.
	Progress func(Snapshot)
	Arrived  func(study.Shard, *study.Result)
	// what happens that is not as it should be; nil: nothing is said
	Log func(format string, args ...any)
}

// AckWait is after how long without a sign of life a shard is given to another worker, unless
// ServeOptions say otherwise.
const AckWait = 30 * time.Second

// Attempts is how often a shard is tried, unless ServeOptions say otherwise.
const Attempts = 5

// A Snapshot is how far a study is.
type Snapshot struct {
	Total, Done, Failed int // shards
	// seconds expected of all shards, and of those that are neither done nor failed
	Expected, Left float64
	Running        int // shards in hand of workers that were heard lately
	Workers        []study.WorkerState
}

// A ConflictError says that equal arithmetic gave different results: some machine computes wrong,
// and it is not known which.
type ConflictError struct{ Errors []error }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("cluster: %d shards came out different on machines of equal arithmetic, so one of these computes wrong and its other results are not to be trusted either; the first: %v", len(e.Errors), e.Errors[0])
}

func (e *ConflictError) Unwrap() []error { return e.Errors }

// Serve hands out the shards of f that are not done, those that failed included, until each is done
// or failed: see f.Failures. It returns pipeline.ErrStopped once stop is closed; served again the
// study goes on, also after a kill at any moment. The caller has f.Lock.
//
// A result that cannot be kept, for a full disk say, is an error; it waits on the server. A
// *ConflictError comes when all is done.
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
	case o.StoreBytes < 0:
		return remedy.Want(remedy.Store, fmt.Errorf("cluster: store of %d bytes, want at least 0", o.StoreBytes))
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return remedy.Want(remedy.TLS, errors.New("cluster: the certificate and the key for TLS go together"))
	}
	id, err := f.Plan.ID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &coordinator{f: f, o: o, names: names{id}, ctx: ctx, fail: cancel, dead: map[int]bool{}, refused: map[int]int{}, workers: map[string]*beat{}, wake: make(chan struct{}, 1)}
	c.state.Mixed, c.state.Attempts = o.AllowMixed, o.Attempts
	beginning, begun := context.WithCancel(ctx)
	defer begun()
	heed(beginning, stop, cancel) // until run, which looks at stop itself
	if err := c.connect(); err != nil {
		return c.cause(err)
	}
	finished := false
	defer func() { err = errors.Join(err, c.close(finished && err == nil)) }()
	if err := c.prepare(); err != nil {
		return c.cause(err)
	}
	begun()
	finished, err = c.run(stop)
	if err != nil {
		return c.cause(err)
	}
	if len(c.conflicts) > 0 {
		return &ConflictError{c.conflicts}
	}
	return nil
}

// A coordinator serves one study.
type coordinator struct {
	names
	f      *study.Folder
	o      ServeOptions
	ctx    context.Context
	fail   context.CancelCauseFunc
	server *server.Server // nil: it is another's
	nc     *nats.Conn
	js     jetstream.JetStream

	inputs          jetstream.ObjectStore
	kv              jetstream.KeyValue
	shards, results jetstream.Stream
	inbox           jetstream.Consumer

	telling sync.Mutex // one callback at a time
	mu      sync.Mutex
	state   state
	done    []bool
	left    int // shards that are neither done nor dead
	count   int // done
	dead    map[int]bool
	refused map[int]int // how often a shard's result was not taken
	workers map[string]*beat
	wake    chan struct{} // left is 0
	untold  atomic.Bool   // workers do not know all of state yet

	conflicts []error
}

type beat struct {
	study.WorkerState
	fresh bool // not yet in the folder
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

// connect starts the server or finds one.
func (c *coordinator) connect() error {
	o := &c.o
	if o.URL == "" && o.Credentials != "" && !exists(o.Credentials) {
		if err := createCredential(o.Credentials); err != nil {
			return err
		}
		o.Log("made a new credential, an nkey's seed, in %s: workers need a copy of it", o.Credentials)
	}
	cred, err := readCredential(o.Credentials, o.Log)
	if err != nil {
		return err
	}
	extra := []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil && c.ctx.Err() == nil {
				o.Log("lost the server: %v; trying again", err)
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if err := nc.LastError(); err != nil {
				c.fail(fmt.Errorf("cluster: the server has ended the connection for good: %w", err))
			}
		}),
		// what matters comes back as an error of a call
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	url := o.URL
	if url == "" {
		if c.server, err = start(c.f.Dir, o, cred); err != nil {
			return err
		}
		url = "nats://in-process" // no scheme of TLS: there is no network between
		extra = append(extra, nats.InProcessServer(c.server))
	} else if err := checkURL(url, cred, o.TLSCA); err != nil {
		return err
	}
	if c.nc, err = dial(url, cred, o.TLSCA, extra...); err == nil {
		c.js, err = jetstream.New(c.nc)
	}
	if err != nil && c.server != nil {
		c.server.Shutdown()
		c.server.WaitForShutdown()
	}
	return err
}

// URL is what workers connect to.
func (c *coordinator) url() string {
	if c.server == nil {
		return c.o.URL
	}
	scheme := "nats"
	if c.o.TLSCert != "" {
		scheme = "tls"
	}
	addr := c.server.Addr().String()
	port := addr[strings.LastIndexByte(addr, ':'):]
	host, _, _ := strings.Cut(c.o.Listen, ":")
	if strings.HasPrefix(c.o.Listen, "[") {
		host = c.o.Listen[:strings.IndexByte(c.o.Listen, ']')+1]
	}
	if host == "" || host == "0.0.0.0" || host == "[::]" {
		host = "HOST"
		if name, err := os.Hostname(); err == nil && name != "" {
			host = name
		}
	}
	return scheme + "://" + host + port
}

// close ends the connection and the server. If all is done what the study has on the server is
// removed.
func (c *coordinator) close(all bool) error {
	var err error
	if all && c.server == nil {
		ctx, cancel := context.WithTimeout(context.Background(), messageTime)
		defer cancel()
		for _, do := range []func() error{
			func() error { return c.js.DeleteStream(ctx, c.names.shards()) },
			func() error { return c.js.DeleteStream(ctx, c.names.results()) },
			func() error { return c.js.DeleteObjectStore(ctx, c.bucket()) },
			func() error { return c.js.DeleteKeyValue(ctx, c.bucket()) },
		} {
			if failed := do(); failed != nil && !gone(failed) {
				c.o.Log("could not remove a part of the study from the server: %v", failed)
			}
		}
	}
	c.flushBeats()
	c.nc.Close()
	if c.server != nil {
		c.server.Shutdown()
		c.server.WaitForShutdown()
		if all {
			err = os.RemoveAll(filepath.Join(c.f.Dir, study.StoreName))
		}
	}
	return err
}

// prepare puts the study on the server, but for its shards.
func (c *coordinator) prepare() error {
	done, err := c.f.Done()
	if err != nil {
		return err
	}
	c.done = done
	failures, err := c.f.Failures()
	if err != nil {
		return err
	}
	for _, one := range failures {
		if err := c.f.Retry(c.f.Shards[one.Shard]); err != nil {
			return err
		}
	}
	known := map[int]bool{}
	for i, d := range done {
		if !d {
			c.left++
			continue
		}
		c.count++
		if run := c.f.Shards[i].Run; !known[run] { // one of each run: there may be a million
			known[run] = true
			r, err := c.f.Get(c.f.Shards[i])
			if err != nil {
				return err
			}
			if err := c.state.refuse(c.f.Plan, run, r.Arithmetic); err != nil {
				return fmt.Errorf("shard %d of run %s: %w", i, c.f.Plan.Runs[run].Name, err)
			}
			if !c.state.has(r.Arithmetic) {
				c.state.Seen = append(c.state.Seen, r.Arithmetic)
			}
		}
	}
	meta := map[string]string{studyMeta: c.f.Plan.Name}
	about := "advsweep study " + c.f.Plan.Name
	tell := func(err error) { c.o.Log("the server is not ready: %v; trying again", err) }
	if err := persist(c.ctx, messageTime, tell, func(err error) bool { return full(err) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) }, func(ctx context.Context) (err error) {
		if c.kv, err = c.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: c.bucket(), Description: about, Storage: jetstream.FileStorage}); err != nil {
			return err
		}
		if c.inputs, err = c.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: c.bucket(), Description: about, Storage: jetstream.FileStorage}); err != nil {
			return err
		}
		if c.results, err = c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: c.names.results(), Description: about, Subjects: []string{c.result("*")}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		}); err != nil {
			return err
		}
		// Anew, so that what a coordinator that was killed had in hand is delivered again at once.
		if err := c.results.DeleteConsumer(ctx, coordinatorName); err != nil && !gone(err) {
			return err
		}
		c.inbox, err = c.results.CreateConsumer(ctx, jetstream.ConsumerConfig{
			// a full disk may take a while
			Durable: coordinatorName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Minute, MaxAckPending: 256,
		})
		return err
	}); err != nil {
		return fmt.Errorf("cluster: put study %s on the server: %w", c.f.Plan.Name, err)
	}
	if err := c.tell(full); full(err) { // of results, it may be, which run takes in
		c.untold.Store(true)
		c.o.Log("the server's store is full; if it stays so, give it a larger store")
	} else if err != nil {
		return err
	}
	if err := c.upload(); err != nil {
		return err
	}
	// Last, for by it workers find the study.
	return persist(c.ctx, messageTime, tell, full, func(ctx context.Context) (err error) {
		if c.shards, err = c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: c.names.shards(), Description: about, Subjects: []string{c.shard("*")}, Metadata: meta, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
			// a shard that is queued is not queued twice
			MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		}); err != nil {
			return err
		}
		_, err = c.shards.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: workersName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.o.AckWait, MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 100_000,
		})
		return err
	})
}

// upload puts the plan and the inputs into the object store.
func (c *coordinator) upload() error {
	plan, err := c.f.Plan.JSON()
	if err != nil {
		return err
	}
	put := func(name string, data []byte) error {
		err := persist(c.ctx, objectTime, func(err error) { c.o.Log("upload %s: %v; trying again", name, err) }, full, func(ctx context.Context) error {
			_, err := c.inputs.PutBytes(ctx, name, data)
			return err
		})
		if err != nil && full(err) {
			return remedy.Want(remedy.Store, fmt.Errorf("cluster: %s of %d bytes does not fit into the server's store: give it a larger store, or make room on its disk: %w", name, len(data), err))
		}
		return err
	}
	for _, hash := range c.f.Inputs() {
		if c.holds(hash, hash) {
			continue
		}
		data, err := c.f.Input(hash)
		if err != nil {
			return err
		}
		if err := put(hash, data); err != nil {
			return err
		}
	}
	if c.holds(planName, study.Hash(plan)) {
		return nil
	}
	return put(planName, plan)
}

// holds reports whether the object store has an object of that SHA-256 under name.
func (c *coordinator) holds(name, hash string) bool {
	ctx, cancel := context.WithTimeout(c.ctx, messageTime)
	defer cancel()
	info, err := c.inputs.GetInfo(ctx, name)
	if err != nil {
		return false
	}
	sum, err := jetstream.DecodeObjectDigest(info.Digest)
	return err == nil && hex.EncodeToString(sum) == hash
}

// tell puts the state where workers find it, and sends it to those that listen. It gives up where
// stop, if given, says that an error is there to stay.
func (c *coordinator) tell(stop func(error) bool) error {
	if err := persist(c.ctx, messageTime, func(err error) { c.o.Log("tell workers: %v; trying again", err) }, stop, c.tellOnce); err != nil {
		return fmt.Errorf("cluster: tell workers: %w", err)
	}
	return nil
}

func (c *coordinator) tellOnce(ctx context.Context) error {
	c.mu.Lock()
	data, err := json.Marshal(c.state)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.nc.Publish(c.names.state(), data); err != nil {
		return err
	}
	_, err = c.kv.Put(ctx, stateName, data)
	return err
}

// run takes results until nothing is left, and reports whether all shards are done.
func (c *coordinator) run(stop <-chan struct{}) (all bool, err error) {
	beats, err := c.nc.Subscribe(c.beat(), c.heard)
	if err != nil {
		return false, err
	}
	defer func() { _ = beats.Unsubscribe() }()
	info, err := c.results.Info(c.ctx)
	if err != nil {
		return false, err
	}
	before := info.State.LastSeq
	messages, err := c.inbox.Messages(jetstream.PullMaxMessagesWithBytesLimit(64, 8*maxPayload))
	if err != nil {
		return false, err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(c.ctx) // of what goes on beside
	defer cancel()
	defer messages.Stop()
	wg.Go(func() { c.take(messages) })
	wg.Go(func() { c.tick(ctx) })
	queued := make(chan error, 1)
	wg.Go(func() { queued <- c.drainAndQueue(ctx, before) })
	if c.nothingLeft() {
		c.wakeUp()
	}
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
			if c.o.Ready != nil && !c.nothingLeft() {
				c.o.Ready(c.url())
			}
		case <-c.wake:
			c.mu.Lock()
			c.state.Done = true
			all := c.count == len(c.done)
			c.mu.Unlock()
			if err := c.tell(nil); err != nil {
				return false, err
			}
			c.leave()
			c.progress()
			return all, nil
		}
	}
}

func (c *coordinator) nothingLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left == 0
}

func (c *coordinator) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// leave waits until workers have heard that all is done, but not long: who did not hear it will see
// that the study is gone.
func (c *coordinator) leave() {
	_ = c.nc.FlushTimeout(time.Second)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c.server != nil && c.server.NumClients() <= 1 {
			return
		}
		if c.server == nil && c.snapshot().Running == 0 {
			return
		}
	}
}

// drainAndQueue waits until the messages that were there up to sequence number before are taken,
// and queues what is not done then.
func (c *coordinator) drainAndQueue(ctx context.Context, before uint64) error {
	for {
		info, err := c.results.Info(ctx)
		if err == nil && (info.State.Msgs == 0 || info.State.FirstSeq > before) {
			break
		}
		if !pause(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	return c.queueMissing(ctx)
}

// queueMissing queues every shard that is neither done nor failed, unless it is queued.
func (c *coordinator) queueMissing(ctx context.Context) error {
	const batch = 256
	var futures []jetstream.PubAckFuture
	var of []study.Shard
	wait := func() error {
		for i, f := range futures {
			var err error
			select {
			case <-f.Ok():
				continue
			case err = <-f.Err():
			case <-time.After(messageTime):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if !there(err) {
				if err := c.queue(ctx, of[i]); err != nil {
					return err
				}
			}
		}
		futures, of = futures[:0], of[:0]
		return nil
	}
	for i, s := range c.f.Shards {
		if c.settled(i) {
			continue
		}
		f, err := c.js.PublishAsync(c.shardOf(s), []byte(s.ID))
		if err != nil {
			return err
		}
		if futures, of = append(futures, f), append(of, s); len(futures) == batch {
			if err := wait(); err != nil {
				return err
			}
		}
	}
	return wait()
}

func (c *coordinator) settled(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done[i] || c.dead[i]
}

// queue queues s, unless it is queued, however long there is no room for it.
func (c *coordinator) queue(ctx context.Context, s study.Shard) error {
	return persist(ctx, messageTime, func(err error) { c.o.Log("queue shard %d: %v; trying again", s.Index, err) }, nil, func(ctx context.Context) error {
		_, err := c.js.Publish(ctx, c.shardOf(s), []byte(s.ID))
		if there(err) {
			return nil
		}
		return err
	})
}

// requeue puts a shard's message, that with the sequence number in m, to the end of the queue, as
// if it had not been delivered.
func (c *coordinator) requeue(i int, m jetstream.Msg) error {
	if seq, err := strconv.ParseUint(m.Headers().Get(sequenceHeader), 10, 64); err == nil {
		if err := c.shards.DeleteMsg(c.ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			return err
		}
	}
	if c.settled(i) {
		return nil
	}
	return c.queue(c.ctx, c.f.Shards[i])
}

// tick tells onlookers how far it is, looks after the queue and the server, and keeps the workers'
// beats.
func (c *coordinator) tick(ctx context.Context) {
	idle := 0
	for i := 0; pause(ctx, 500*time.Millisecond); i++ {
		c.progress()
		if i%2 == 0 {
			c.flushBeats()
		}
		if c.untold.Swap(false) && c.tellOnce(ctx) != nil {
			c.untold.Store(true)
		}
		if i%10 > 0 {
			continue
		}
		if c.server != nil && !c.server.JetStreamEnabled() {
			c.fail(fmt.Errorf("cluster: the server has given up its store in %s, as it does when the disk is full: make room and serve the study again; what is done is safe", filepath.Join(c.f.Dir, study.StoreName)))
			return
		}
		// A shard that neither queue has, and the folder neither, is lost: to a power cut, or to
		// who empties queues by hand.
		shards, err1 := c.shards.Info(ctx)
		results, err2 := c.results.Info(ctx)
		if gone(err1) || gone(err2) {
			c.fail(fmt.Errorf("cluster: study %s was removed from the server by someone else: serve it again; what is done is safe", c.f.Plan.Name))
			return
		}
		if err1 != nil || err2 != nil || shards.State.Msgs+results.State.Msgs > 0 || c.nothingLeft() {
			idle = 0
			continue
		}
		if idle++; idle == 2 {
			idle = 0
			c.o.Log("the queue is empty and shards are missing: they are queued again")
			if err := c.queueMissing(ctx); err != nil && ctx.Err() == nil {
				c.fail(err)
				return
			}
		}
	}
}

// take handles what workers say, that of one shard in order and of several at once: the disk syncs
// them together.
func (c *coordinator) take(messages jetstream.MessagesContext) {
	hands := make([]chan jetstream.Msg, 8)
	var wg sync.WaitGroup
	for i := range hands {
		hands[i] = make(chan jetstream.Msg)
		wg.Go(func() {
			for m := range hands[i] {
				if c.ctx.Err() != nil {
					continue
				}
				if err := c.handle(m); err != nil {
					c.fail(err)
				}
			}
		})
	}
	for {
		m, err := messages.Next()
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				// the server is away; the iterator asks again
				if errors.Is(err, jetstream.ErrNoHeartbeat) {
					continue
				}
				c.fail(fmt.Errorf("cluster: results: %w", err))
			}
			break
		}
		i := max(0, indexOf(m.Subject(), len(c.f.Shards)))
		hands[i%len(hands)] <- m
	}
	for _, h := range hands {
		close(h)
	}
	wg.Wait()
}

// handle does what m says, and then takes it off the queue. An error ends the coordinator; m is
// handled again by the next.
func (c *coordinator) handle(m jetstream.Msg) error {
	i := indexOf(m.Subject(), len(c.f.Shards))
	if i < 0 {
		c.o.Log("a message of no shard is thrown away: %s", m.Subject())
		return m.Term()
	}
	s, worker := c.f.Shards[i], m.Headers().Get(workerHeader)
	var err error
	switch kind := m.Headers().Get(kindHeader); kind {
	case kindResult:
		err = c.arrived(s, worker, m)
	case kindFailed:
		attempts, _ := strconv.Atoi(m.Headers().Get(attemptsHeader))
		err = c.failed(s, worker, attempts, string(m.Data()))
	case kindBack:
		err = c.requeue(i, m)
	default:
		c.o.Log("a message about shard %d of unknown kind %q is thrown away", i, kind)
	}
	if err != nil {
		return err
	}
	return m.Ack()
}

// failed notes that nobody could do s.
func (c *coordinator) failed(s study.Shard, worker string, attempts int, message string) error {
	if c.settled(s.Index) {
		return nil
	}
	if err := c.f.Fail(s, worker, attempts, message); err != nil {
		return err
	}
	c.o.Log("shard %d of run %s failed %d times and is not tried again: %s", s.Index, c.f.Plan.Runs[s.Run].Name, attempts, message)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead[s.Index] = true
	c.lessLeft()
	return nil
}

func (c *coordinator) lessLeft() {
	if c.left--; c.left == 0 {
		c.wakeUp()
	}
}

// arrived keeps the result of s that m brings.
func (c *coordinator) arrived(s study.Shard, worker string, m jetstream.Msg) error {
	data, object := m.Data(), m.Headers().Get(objectHeader)
	if object != "" {
		var err error
		err = persist(c.ctx, objectTime, func(err error) { c.o.Log("result of shard %d: %v; trying again", s.Index, err) }, func(err error) bool { return errors.Is(err, jetstream.ErrObjectNotFound) }, func(ctx context.Context) error {
			data, err = c.inputs.GetBytes(ctx, object)
			return err
		})
		if errors.Is(err, jetstream.ErrObjectNotFound) { // it was kept, or its worker sent it twice
			return c.requeue(s.Index, m)
		}
		if err != nil {
			return err
		}
	}
	if err := c.keep(s, worker, data, m); err != nil {
		return err
	}
	if object != "" {
		if err := c.inputs.Delete(c.ctx, object); err != nil {
			c.o.Log("the server keeps a result that is in the folder: %v", err)
		}
	}
	return nil
}

func (c *coordinator) keep(s study.Shard, worker string, data []byte, m jetstream.Msg) error {
	r, err := study.DecodeResult(s, data)
	if err != nil {
		return c.refuse(s, worker, err, m)
	}
	c.mu.Lock()
	why := c.state.refuse(c.f.Plan, s.Run, r.Arithmetic)
	first := why == nil && !c.state.has(r.Arithmetic)
	if first { // before it is kept: results that come at the same moment must fit it
		c.state.Seen = append(c.state.Seen, r.Arithmetic)
	}
	c.mu.Unlock()
	if why != nil {
		return c.refuse(s, worker, why, m)
	}
	if first { // told by tick: a full store has no room for it until results are taken
		c.untold.Store(true)
	}
	err = c.f.Put(s, data)
	var different *study.DifferentError
	switch {
	case errors.As(err, &different) && different.Old != different.New: // mixed: the first stays
		err = nil
	case errors.As(err, &different):
		c.o.Log("%v; the other came from %s", err, worker)
		c.mu.Lock()
		c.conflicts = append(c.conflicts, fmt.Errorf("%w (the second by %s)", err, worker))
		c.mu.Unlock()
		if err := c.f.Fail(s, worker, 1, err.Error()); err != nil {
			return err
		}
		err = nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	again := c.done[s.Index]
	if !again {
		c.done[s.Index] = true
		c.count++
		if c.dead[s.Index] { // a worker that was given up did it after all
			delete(c.dead, s.Index)
		} else {
			c.lessLeft()
		}
	}
	c.mu.Unlock()
	if !again && c.o.Arrived != nil {
		c.telling.Lock()
		defer c.telling.Unlock()
		c.o.Arrived(s, r)
	}
	return nil
}

// refuse does not take a result, and has the shard done again, a few times.
func (c *coordinator) refuse(s study.Shard, worker string, why error, m jetstream.Msg) error {
	if c.settled(s.Index) {
		return nil
	}
	c.mu.Lock()
	c.refused[s.Index]++
	n := c.refused[s.Index]
	c.mu.Unlock()
	c.o.Log("the result of shard %d from %s is not taken: %v", s.Index, worker, why)
	if n >= c.o.Attempts {
		return c.failed(s, worker, n, why.Error())
	}
	return c.requeue(s.Index, m)
}

// heard takes the beat of a worker.
func (c *coordinator) heard(m *nats.Msg) {
	var w study.WorkerState
	d := json.NewDecoder(bytes.NewReader(m.Data))
	if d.Decode(&w) != nil || w.Shard >= len(c.f.Shards) || len(w.Name) > 100 {
		return
	}
	w.Updated = time.Now().UTC()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.workers[w.Name]; !ok && len(c.workers) >= 100_000 {
		return
	}
	c.workers[w.Name] = &beat{w, true}
}

// flushBeats puts what workers said lately into the folder, for 'advsweep status'.
func (c *coordinator) flushBeats() {
	var fresh []study.WorkerState
	c.mu.Lock()
	for _, b := range c.workers {
		if b.fresh {
			b.fresh = false
			fresh = append(fresh, b.WorkerState)
		}
	}
	c.mu.Unlock()
	for _, w := range fresh {
		_ = c.f.Beat(w) // it is for onlookers
	}
}

func (c *coordinator) snapshot() Snapshot {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Snapshot{Total: len(c.done), Done: c.count, Failed: len(c.dead)}
	for i, shard := range c.f.Shards {
		s.Expected += shard.Seconds
		if !c.done[i] && !c.dead[i] {
			s.Left += shard.Seconds
		}
	}
	for _, b := range c.workers {
		s.Workers = append(s.Workers, b.WorkerState)
		if b.Shard >= 0 && b.Alive(now) {
			s.Running++
		}
	}
	slices.SortFunc(s.Workers, func(a, b study.WorkerState) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (c *coordinator) progress() {
	if c.o.Progress == nil {
		return
	}
	s := c.snapshot()
	c.telling.Lock()
	defer c.telling.Unlock()
	c.o.Progress(s)
}
