package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A serverLink is a worker's way to the server. connect sets nc and js, and nothing sets a field
// after that.
type serverLink struct {
	url  string
	cred *credential
	ca   string // file with who signs the server's certificate; "": whom the system trusts

	nc   *nats.Conn
	js   jetstream.JetStream
	back chan struct{} // holds a value once the server was away and is back
}

// A servedStudy is a study as a worker finds it on the server. connect sets its fields, and nothing
// sets them after that.
type servedStudy struct {
	names
	plan   *study.Plan
	shards []study.Shard
	inputs *cache

	queue   jetstream.Consumer // of shards
	ackWait time.Duration      // after which the server takes a shard for lost
	objects *objects           // the plan and inputs
	large   *objects           // results that are too large for a message
	kv      jetstream.KeyValue // the state
}

// first calls do until it succeeds or FirstPatience is over.
func (m *machine) first(do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(m.ctx, m.o.FirstPatience)
	defer cancel()
	reported := false
	// A try is short at first: a server that died never answers what it was asked.
	for wait := 2 * time.Second; ; wait = min(2*wait, 15*time.Second) {
		try, cancel := context.WithTimeout(ctx, wait)
		err := do(try)
		cancel()
		var permanent permanentError
		if err == nil || errors.As(err, &permanent) {
			return err
		}
		if !reported {
			reported = true
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
	link := m.server
	var away atomic.Pointer[time.Time] // since when the server is away; nil: it is there
	err := m.first(func(context.Context) (err error) {
		link.nc, err = dial(link.url, link.cred, link.ca,
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if now := time.Now(); err != nil && m.ctx.Err() == nil && !m.state.isDone() && away.CompareAndSwap(nil, &now) {
					m.o.Log("lost the server; waiting up to %v for it", m.o.Patience)
				}
			}),
			nats.ReconnectHandler(func(*nats.Conn) {
				if away.Swap(nil) != nil {
					m.o.Log("the server is back")
				}
				select {
				case link.back <- struct{}{}:
				default:
				}
			}),
			nats.ClosedHandler(func(nc *nats.Conn) {
				if err := nc.LastError(); err != nil && m.ctx.Err() == nil {
					m.cancel(explain(link.url, link.cred, link.ca, err))
				}
			}),
			nats.ErrorHandler(ignoreError),
		)
		return err
	})
	if err != nil {
		return err
	}
	if link.js, err = jetstream.New(link.nc); err != nil {
		return err
	}
	go func() { // ends what waits for a server that stays away
		for pause(m.ctx, 200*time.Millisecond) {
			if since := away.Load(); since != nil && time.Since(*since) > m.o.Patience {
				m.cancel(fmt.Errorf("cluster: no answer from %s for %v: start 'advsweep serve' again, with the same folder, and this worker again; if the study is done, all is well", link.url, m.o.Patience))
			}
		}
	}()
	if err := m.first(func(ctx context.Context) error {
		found, s, err := find(ctx, link, m.o.Study)
		if err != nil {
			return err
		}
		m.study = found
		m.state.learn(s)
		return nil
	}); err != nil {
		return err
	}
	// Before all that takes long: if the study ends meanwhile, and the server with it, nobody else
	// says so.
	if err := m.listen(); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(m.ctx)
	go func() {
		select {
		case <-m.state.done:
		case <-ctx.Done():
		}
		end(errDone)
	}()
	m.study.inputs = &cache{ctx: ctx, dir: m.o.Cache, bucket: m.study.objects, log: m.o.Log}
	return m.readPlan(ctx)
}

// readPlan fetches the plan, which may be large and the way to it slow.
func (m *machine) readPlan(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heed(ctx, m.stop, cancel)
	s, url := m.study, m.server.url
	var data []byte
	err := persist(ctx, objectTime, func(err error) { m.o.Log("the plan: %v; trying again", err) }, gone, func(ctx context.Context) (err error) {
		data, err = s.objects.get(ctx, planName)
		return err
	})
	switch {
	case errors.Is(err, pipeline.ErrStopped):
		return pipeline.ErrStopped
	case errors.Is(err, errDone):
		return errDone
	case err != nil:
		return fmt.Errorf("cluster: %s: the plan of study %s: %w", url, s.id, err)
	}
	if s.plan, err = study.ParsePlan(data, m.o.Version); err != nil {
		return fmt.Errorf("cluster: %s: study %s: %w", url, s.id, err)
	}
	if s.shards, err = s.plan.Shards(); err != nil {
		return err
	}
	if id, err := s.plan.ID(); err != nil || id != s.id {
		return fmt.Errorf("cluster: %s: the plan of study %s is that of %s: the server's store is damaged", url, s.id, id)
	}
	return nil
}

// find finds the study whose id or name is want, or the only one if want is empty, and opens what
// it has on the server. It returns the study without its plan and inputs, and its state.
func find(ctx context.Context, link *serverLink, want string) (*servedStudy, *protocol.State, error) {
	id, err := findID(ctx, link, want)
	if err != nil {
		return nil, nil, err
	}
	s := &servedStudy{names: names{id}}
	if s.queue, err = link.js.Consumer(ctx, s.shardsStream(), workersName); err != nil {
		return nil, nil, err
	}
	s.ackWait = s.queue.CachedInfo().Config.AckWait
	if s.kv, err = link.js.KeyValue(ctx, s.bucket()); err != nil {
		return nil, nil, err
	}
	if s.objects, err = openObjects(ctx, link.js, s.names.objects()); err != nil {
		return nil, nil, err
	}
	if s.large, err = openObjects(ctx, link.js, s.resultObjects()); err != nil {
		return nil, nil, err
	}
	if _, err := s.objects.GetInfo(ctx, planName); err != nil { // that it is there whole
		return nil, nil, err
	}
	now, err := readState(ctx, s.kv)
	return s, now, err
}

// findID returns the id of the study that find is to find.
func findID(ctx context.Context, link *serverLink, want string) (string, error) {
	var ids, descriptions []string
	list := link.js.ListStreams(ctx)
	for info := range list.Info() {
		id, ours := strings.CutPrefix(info.Config.Name, prefix)
		id, whole := strings.CutSuffix(id, shardsSuffix)
		name := info.Config.Metadata[studyMeta]
		if ours && whole && (want == "" || want == id || want == name) {
			ids, descriptions = append(ids, id), append(descriptions, fmt.Sprintf("%s (%s)", id, name))
		}
	}
	if err := list.Err(); err != nil {
		return "", fmt.Errorf("cluster: %s: %w", link.url, err)
	}
	switch {
	case len(ids) == 0 && want != "":
		return "", fmt.Errorf("cluster: %s serves no study %q: start 'advsweep serve' on its folder", link.url, want)
	case len(ids) == 0:
		return "", fmt.Errorf("cluster: %s serves no study: start 'advsweep serve' on its folder", link.url)
	case len(ids) > 1:
		slices.Sort(descriptions)
		return "", permanentError{remedy.Want(remedy.Study, fmt.Errorf("cluster: %s serves %d studies: choose one: %s", link.url, len(ids), strings.Join(descriptions, ", ")))}
	}
	return ids[0], nil
}
