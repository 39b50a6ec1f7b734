package cluster

import (
	"cmp"
	"context"
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
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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

	// unit of the pauses after failures; 0 is a second
	pace time.Duration
	// for tests: instead of study.NewWorker
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

// Work does shards of the study that is served at url until it is done. When stop is closed it
// gives its shards back, but for one that is nearly done, and returns pipeline.ErrStopped; when ctx
// ends it does not even do that, and the server misses them after a while.
//
// A shard that fails is tried again, by whoever takes it; after several failures in a row the
// worker pauses, for longer and longer, so that a machine that is broken does not use up the tries
// of all shards. A server that goes away is waited for, and so is room for a result. What another
// machine may do but this one cannot, a run of another arithmetic than planned say, is an error at
// once.
func Work(ctx context.Context, stop <-chan struct{}, url string, o WorkOptions) error {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	o.Patience = cmp.Or(o.Patience, 10*time.Minute)
	o.FirstPatience = cmp.Or(o.FirstPatience, 30*time.Second)
	o.pace = cmp.Or(o.pace, time.Second)
	o.Name = cmp.Or(o.Name, study.WorkerName())
	cred, err := readCredential(o.Credentials, o.Log)
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
	m := &machine{o: o, url: url, cred: cred, ctx: ctx, cancel: cancel, stop: stop, done: make(chan struct{})}
	if err := m.connect(); err != nil {
		return err
	}
	defer m.nc.Close()
	err = m.work()
	switch cause := context.Cause(ctx); {
	case m.isDone() && (err == nil || errors.Is(err, errDone) || errors.Is(err, context.Canceled)):
		err = nil
	case cause != nil && (err == nil || errors.Is(err, context.Canceled)):
		err = cause
	}
	_ = m.nc.FlushTimeout(2 * time.Second) // acks and beats
	return err
}

// A machine is all workers of a process.
type machine struct {
	names
	o      WorkOptions
	url    string
	cred   *credential
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   <-chan struct{}
	done   chan struct{} // closed once the study is done

	nc     *nats.Conn
	js     jetstream.JetStream
	plan   *study.Plan
	shards []study.Shard
	queue  jetstream.Consumer
	wait   time.Duration // after which the server takes a shard for lost
	inputs *cache
	kv     jetstream.KeyValue

	mu    sync.Mutex
	state *state
}

func (m *machine) isDone() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

func (m *machine) isStopped() bool {
	select {
	case <-m.stop:
		return true
	default:
		return false
	}
}

// first calls do until it succeeds or FirstPatience is over.
func (m *machine) first(do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(m.ctx, m.o.FirstPatience)
	defer cancel()
	told := false
	// what was asked of a server that died is never answered
	for wait := 2 * time.Second; ; wait = min(2*wait, 15*time.Second) {
		try, cancel := context.WithTimeout(ctx, wait)
		err := do(try)
		cancel()
		var permanent permanentError
		if err == nil || errors.As(err, &permanent) {
			return err
		}
		if !told {
			told = true
			m.o.Log("%v; waiting up to %v", err, m.o.FirstPatience)
		}
		select {
		case <-m.stop:
			return pipeline.ErrStopped
		case <-ctx.Done():
			if m.ctx.Err() != nil {
				return context.Cause(m.ctx)
			}
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// connect finds the server and the study, and what the study has there.
func (m *machine) connect() error {
	var away atomic.Pointer[time.Time]
	err := m.first(func(context.Context) (err error) {
		m.nc, err = dial(m.url, m.cred, m.o.TLSCA,
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if now := time.Now(); m.ctx.Err() == nil && !m.isDone() && away.CompareAndSwap(nil, &now) {
					m.o.Log("lost the server; waiting up to %v for it", m.o.Patience)
				}
			}),
			nats.ReconnectHandler(func(*nats.Conn) {
				if away.Swap(nil) != nil {
					m.o.Log("the server is back")
				}
			}),
			nats.ClosedHandler(func(nc *nats.Conn) {
				if err := nc.LastError(); err != nil && m.ctx.Err() == nil {
					m.cancel(explain(m.url, m.cred, m.o.TLSCA, err))
				}
			}),
			// what matters comes back as an error of a call
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
		)
		return err
	})
	if err != nil {
		return err
	}
	if m.js, err = jetstream.New(m.nc); err != nil {
		return err
	}
	go func() { // ends what waits for a server that stays away
		for pause(m.ctx, 200*time.Millisecond) {
			if since := away.Load(); since != nil && time.Since(*since) > m.o.Patience {
				m.cancel(fmt.Errorf("cluster: no answer from %s for %v: start 'advsweep serve' again, with the same folder, and this worker again; if the study is done, all is well", m.url, m.o.Patience))
			}
		}
	}()
	if err := m.first(m.find); err != nil {
		return err
	}
	return m.readPlan()
}

// readPlan fetches the plan, which may be large and the way to it slow.
func (m *machine) readPlan() error {
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer cancel(nil)
	heed(ctx, m.stop, cancel)
	var data []byte
	err := persist(ctx, objectTime, func(err error) { m.o.Log("the plan: %v; trying again", err) }, gone, func(ctx context.Context) (err error) {
		data, err = m.inputs.bucket.GetBytes(ctx, planName)
		return err
	})
	switch {
	case errors.Is(err, pipeline.ErrStopped):
		return pipeline.ErrStopped
	case err != nil:
		return fmt.Errorf("cluster: %s: the plan of study %s: %w", m.url, m.id, err)
	}
	if m.plan, err = study.ParsePlan(data, m.o.Version); err != nil {
		return err
	}
	if m.shards, err = m.plan.Shards(); err != nil {
		return err
	}
	if id, err := m.plan.ID(); err != nil || id != m.id {
		return fmt.Errorf("cluster: %s: the plan of study %s is that of %s: the server's store is damaged", m.url, m.id, id)
	}
	return nil
}

// find finds the study and opens what it has on the server.
func (m *machine) find(ctx context.Context) error {
	type found struct{ id, name string }
	var all []found
	list := m.js.ListStreams(ctx)
	for info := range list.Info() {
		id, ours := strings.CutPrefix(info.Config.Name, prefix)
		id, whole := strings.CutSuffix(id, shardsSuffix)
		if ours && whole && (m.o.Study == "" || m.o.Study == id || m.o.Study == info.Config.Metadata[studyMeta]) {
			all = append(all, found{id, info.Config.Metadata[studyMeta]})
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("cluster: %s: %w", m.url, err)
	}
	switch {
	case len(all) == 0 && m.o.Study != "":
		return fmt.Errorf("cluster: %s serves no study %q: start 'advsweep serve' on its folder", m.url, m.o.Study)
	case len(all) == 0:
		return fmt.Errorf("cluster: %s serves no study: start 'advsweep serve' on its folder", m.url)
	case len(all) > 1:
		var told []string
		for _, one := range all {
			told = append(told, fmt.Sprintf("%s (%s)", one.id, one.name))
		}
		slices.Sort(told)
		return permanentError{remedy.Want(remedy.Study, fmt.Errorf("cluster: %s serves %d studies: choose one: %s", m.url, len(all), strings.Join(told, ", ")))}
	}
	m.names = names{all[0].id}
	var err error
	if m.queue, err = m.js.Consumer(ctx, m.names.shards(), workersName); err != nil {
		return err
	}
	m.wait = m.queue.CachedInfo().Config.AckWait
	if m.kv, err = m.js.KeyValue(ctx, m.bucket()); err != nil {
		return err
	}
	bucket, err := m.js.ObjectStore(ctx, m.bucket())
	if err != nil {
		return err
	}
	m.inputs = &cache{ctx: m.ctx, dir: m.o.Cache, bucket: bucket, log: m.o.Log}
	if _, err := bucket.GetInfo(ctx, planName); err != nil { // that it is there whole
		return err
	}
	m.state, err = readState(ctx, m.kv)
	return err
}

// learn takes what the coordinator says.
func (m *machine) learn(s *state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	if s.Done && !m.isDone() {
		close(m.done)
	}
}

func (m *machine) known() *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// work runs a worker on each device. One that cannot go on does not end the others.
func (m *machine) work() error {
	devices, err := m.o.Devices(m.plan)
	if err != nil {
		return err
	}
	sub, err := m.nc.Subscribe(m.names.state(), func(msg *nats.Msg) {
		s := new(state)
		if json.Unmarshal(msg.Data, s) == nil {
			m.learn(s)
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	go m.ask()
	m.learn(m.known())
	errs := make([]error, len(devices))
	var wg sync.WaitGroup
	for i, d := range devices {
		name := m.o.Name
		if len(devices) > 1 {
			name = fmt.Sprintf("%s-%d", m.o.Name, i+1)
		}
		wg.Go(func() {
			w := &worker{machine: m, state: study.WorkerState{Name: name, Device: d.Name, Shard: -1}}
			if m.o.open != nil {
				w.doer = m.o.open(m.plan, m.inputs, d, m.known().Mixed)
			} else {
				w.doer = study.NewWorker(m.plan, m.inputs, d, m.known().Mixed)
			}
			err := w.work()
			if errors.Is(err, errDone) || m.isDone() && errors.Is(err, context.Canceled) {
				err = nil
			}
			if errs[i] = errors.Join(err, w.Close()); errs[i] != nil && len(devices) > 1 {
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
	if m.isStopped() && !m.isDone() {
		return pipeline.ErrStopped
	}
	return nil
}

// ask asks for the state now and then, for who is away misses what is sent.
func (m *machine) ask() {
	for pause(m.ctx, 2*time.Second) {
		ctx, cancel := context.WithTimeout(m.ctx, 5*time.Second)
		s, err := readState(ctx, m.kv)
		cancel()
		switch {
		case err == nil:
			m.learn(s)
		case gone(err): // as is removed when all is done
			s := *m.known()
			s.Done = true
			m.learn(&s)
			return
		}
	}
}

// A worker does shards on one device.
type worker struct {
	*machine
	doer

	mu    sync.Mutex
	state study.WorkerState
	last  time.Time // a beat was sent
}

// change changes what w says of itself, and says it.
func (w *worker) change(do func(*study.WorkerState)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(&w.state)
	// many short shards: say it soon enough
	if time.Since(w.last) < 200*time.Millisecond && w.state.Shard >= 0 {
		return
	}
	w.last = time.Now()
	if data, err := json.Marshal(w.state); err == nil {
		_ = w.nc.Publish(w.beat(), data) // it is for onlookers
	}
}

// work pulls shards until the study is done.
func (w *worker) work() error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	go func() {
		for pause(ctx, 2*time.Second) {
			w.change(func(*study.WorkerState) {})
		}
	}()
	a, err := w.Prepare(0)
	if err != nil {
		return err
	}
	if err := w.known().refuse(w.plan, 0, a); err != nil {
		return err
	}
	w.change(func(s *study.WorkerState) { s.Arithmetic = a })
	defer w.change(func(s *study.WorkerState) { s.Shard = -1 })
	failures := 0 // in a row
	for {
		switch {
		case w.isDone():
			return errDone
		case w.ctx.Err() != nil:
			return context.Cause(w.ctx)
		case w.isStopped():
			return pipeline.ErrStopped
		}
		msg, err := w.next()
		if err != nil {
			return err
		}
		if msg == nil {
			continue
		}
		ok, err := w.one(msg)
		if err != nil {
			return err
		}
		if failures++; ok {
			failures = 0
		}
		if failures > 1 {
			wait := min(w.o.pace<<min(failures-2, 10), 60*w.o.pace)
			w.o.Log("%d shards in a row failed here: pausing for %v", failures, wait)
			select {
			case <-time.After(wait):
			case <-w.done:
			case <-w.stop:
			case <-w.ctx.Done():
			}
		}
	}
}

// next waits for a shard, but not long; nil is none.
func (w *worker) next() (jetstream.Msg, error) {
	batch, err := w.queue.Fetch(1, jetstream.FetchMaxWait(time.Second))
	if err == nil {
		for msg := range batch.Messages() {
			return msg, nil
		}
		err = batch.Error()
	}
	switch {
	case err == nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages):
		return nil, nil
	case gone(err): // ask will say whether the study is done
		pause(w.ctx, 200*time.Millisecond)
		return nil, nil
	case errors.Is(err, nats.ErrConnectionClosed):
		if cause := context.Cause(w.ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	pause(w.ctx, 200*time.Millisecond) // the server is away, or not yet itself again
	return nil, nil
}

// one does the shard of msg, and reports whether it is done. An error ends the worker.
func (w *worker) one(msg jetstream.Msg) (ok bool, err error) {
	i := indexOf(msg.Subject(), len(w.shards))
	meta, err := msg.Metadata()
	if err != nil || i < 0 || w.shards[i].ID != string(msg.Data()) {
		w.o.Log("a message of no shard is thrown away: %s", msg.Subject())
		return true, msg.TermWithReason("no shard")
	}
	s, delivery := w.shards[i], int(meta.NumDelivered)
	about := func(kind string, body []byte) *nats.Msg {
		m := nats.NewMsg(w.result(strconv.Itoa(i)))
		m.Data = body
		m.Header.Set(kindHeader, kind)
		m.Header.Set(workerHeader, w.state.Name)
		m.Header.Set(sequenceHeader, strconv.FormatUint(meta.Sequence.Stream, 10))
		return m
	}
	back := func(why error) (bool, error) {
		if err := w.say(about(kindBack, []byte(why.Error()))); err != nil {
			w.o.Log("could not give shard %d back: the server will miss it: %v", i, err)
		}
		return false, why
	}
	giveUp := func(attempts int, message string) error {
		m := about(kindFailed, []byte(message))
		m.Header.Set(attemptsHeader, strconv.Itoa(attempts))
		if err := w.say(m); err != nil {
			return err
		}
		return msg.TermWithReason("given up")
	}
	attempts := w.known().Attempts
	if delivery > attempts {
		return true, giveUp(delivery-1, fmt.Sprintf("its workers died, or were cut off, each of the %d times that it was handed out", delivery-1))
	}

	alive, end := context.WithCancel(w.ctx)
	defer end()
	go func() { // until the result is sent, however long the server takes
		for pause(alive, w.wait/4) {
			_ = msg.InProgress() // the next one may get through
		}
	}()
	if w.isStopped() {
		return back(pipeline.ErrStopped)
	}
	w.change(func(st *study.WorkerState) { st.Shard, st.Since = i, time.Now().UTC() })
	r, err := w.do(alive, s)
	finished := func(ok bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.state.Finish(s, ok, time.Now())
		if r != nil {
			w.state.Arithmetic = r.Arithmetic
		}
	}
	var mixed *study.MixedError
	switch {
	case err != nil && w.isDone():
		return false, errDone
	case err != nil && w.ctx.Err() != nil:
		return false, context.Cause(w.ctx)
	case errors.Is(err, errStopped), errors.Is(err, pipeline.ErrStopped):
		return back(pipeline.ErrStopped)
	case errors.As(err, &mixed):
		return back(err)
	case err != nil:
		finished(false)
		w.o.Log("shard %d of run %s failed, time %d of %d: %v", i, w.plan.Runs[s.Run].Name, delivery, attempts, err)
		if delivery == attempts {
			return false, giveUp(delivery, err.Error())
		}
		return false, msg.NakWithDelay(min(w.o.pace<<min(delivery-1, 10), 60*w.o.pace))
	}
	if err := w.known().refuse(w.plan, s.Run, r.Arithmetic); err != nil {
		return back(err)
	}
	data, err := r.Encode(s.ID)
	if err != nil {
		return false, err
	}
	m := about(kindResult, data)
	if room := w.nc.MaxPayload() - 4096; int64(len(data)) > room {
		object := "result-" + nats.NewInbox()[len(nats.InboxPrefix):]
		if err := w.try(objectTime, func(ctx context.Context) error {
			_, err := w.inputs.bucket.PutBytes(ctx, object, data)
			return err
		}); err != nil {
			return false, err
		}
		m.Data = nil
		m.Header.Set(objectHeader, object)
	}
	if err := w.say(m); err != nil {
		return false, err
	}
	end()
	if err := msg.Ack(); err != nil { // then the shard is done twice, which changes nothing
		w.o.Log("shard %d: %v", i, err)
	}
	finished(true)
	return true, nil
}

// do does s. Stop ends it unless it is nearly done, and so does the end of the study.
func (w *worker) do(ctx context.Context, s study.Shard) (r *study.Result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("cluster: a bug in advsweep: %v", p)
		}
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	var share atomic.Int64 // thousandths that are done
	go func() {
		select {
		case <-ctx.Done():
		case <-w.done:
			cancel(errDone)
		case <-w.stop:
			if share.Load() < 800 {
				cancel(errStopped)
			}
		}
	}()
	return w.Do(ctx, nil, s, func(done, total int) { share.Store(int64(done) * 1000 / int64(max(1, total))) })
}

// say sends m to the coordinator so that it is there to stay, however long that takes.
func (w *worker) say(m *nats.Msg) error {
	return w.try(messageTime, func(ctx context.Context) error {
		_, err := w.js.PublishMsg(ctx, m)
		return err
	})
}

// try calls do until it succeeds. Who is told to stop does not wait long for a server or for room.
func (w *worker) try(each time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(w.ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-w.done:
		case <-w.stop:
		}
		if pause(ctx, 5*time.Second) {
			cancel(pipeline.ErrStopped)
		}
	}()
	return persist(ctx, each, func(err error) {
		if full(err) {
			w.o.Log("the server's store is full: waiting for room for a result")
			return
		}
		w.o.Log("cannot send a result: %v; trying again", err)
	}, nil, do)
}
