package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A worker does shards on one device, one at a time.
type worker struct {
	m          *machine
	doer       doer
	heartbeats *heartbeatSender
}

// work takes shards from the queue until the study is done.
func (w *worker) work() error {
	ctx, cancel := context.WithCancel(w.m.ctx)
	defer cancel()
	go w.heartbeats.send(ctx)
	a, err := w.doer.Prepare(0)
	if err != nil {
		return err
	}
	now := w.m.state.get()
	if err := now.refuse(w.m.study.plan, 0, a); err != nil {
		return err
	}
	w.heartbeats.change(func(s *study.WorkerState) { s.Arithmetic = a })
	defer w.heartbeats.change(func(s *study.WorkerState) { s.Shard = -1 })
	failures := 0 // in a row
	for {
		switch {
		case w.m.state.isDone():
			return errDone
		case w.m.ctx.Err() != nil:
			return context.Cause(w.m.ctx)
		case w.m.isStopped():
			return pipeline.ErrStopped
		}
		msg, err := w.next()
		if err != nil {
			return err
		}
		if msg == nil {
			continue
		}
		ok, err := w.handle(msg)
		if err != nil {
			return err
		}
		if failures++; ok {
			failures = 0
		}
		if failures > 1 {
			wait := w.m.backoff(failures - 1)
			w.m.o.Log("%d shards in a row failed here: pausing for %v", failures, wait)
			select {
			case <-time.After(wait):
			case <-w.m.state.done:
			case <-w.m.stop:
			case <-w.m.ctx.Done():
			}
		}
	}
}

// backoff is the pause after failure n of some in a row, n from 1. It grows from pace to 60 of it.
func (m *machine) backoff(n int) time.Duration {
	return min(m.o.pace<<min(n-1, 10), 60*m.o.pace)
}

// next waits for a shard for a second or so. It returns nil if none came, or the server is away.
func (w *worker) next() (jetstream.Msg, error) {
	ctx := w.m.ctx
	batch, err := w.m.study.queue.Fetch(1, jetstream.FetchMaxWait(time.Second))
	if err == nil {
		for msg := range batch.Messages() {
			return msg, nil
		}
		err = batch.Error()
	}
	switch {
	case err == nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages):
		return nil, nil
	case errors.Is(err, nats.ErrConnectionClosed):
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	// The server is away, or not yet itself again; or the study is gone from it, and askForState
	// will say whether it is done.
	pause(ctx, 200*time.Millisecond)
	return nil, nil
}

// A delivery is a shard's message that a worker has received.
type delivery struct {
	w        *worker
	msg      jetstream.Msg
	shard    study.Shard
	number   int    // of this delivery of the message, from 1
	sequence uint64 // of the message
}

// handle does the shard of msg, and reports whether it is done. An error ends the worker.
func (w *worker) handle(msg jetstream.Msg) (ok bool, err error) {
	shards := w.m.study.shards
	i := indexOf(msg.Subject(), len(shards))
	meta, err := msg.Metadata()
	if err != nil || i < 0 || shards[i].ID != string(msg.Data()) {
		w.m.o.Log("a message of no shard is thrown away: %s", msg.Subject())
		return true, msg.TermWithReason("no shard")
	}
	d := &delivery{w: w, msg: msg, shard: shards[i], number: int(meta.NumDelivered), sequence: meta.Sequence.Stream}
	if before := d.number - 1; before >= w.m.state.get().Attempts {
		return true, d.giveUp(before, fmt.Sprintf("its workers died, or were cut off, each of the %d times that it was handed out", before))
	}
	held, release := context.WithCancel(w.m.ctx)
	defer release()
	go d.hold(held)
	if w.m.isStopped() {
		return false, d.giveBack(pipeline.ErrStopped)
	}
	w.heartbeats.change(func(st *study.WorkerState) { st.Shard, st.Since = i, time.Now().UTC() })
	r, err := w.do(held, d.shard)
	if err != nil {
		return false, d.failed(err)
	}
	now := w.m.state.get()
	if err := now.refuse(w.m.study.plan, d.shard.Run, r.Arithmetic); err != nil {
		return false, d.giveBack(err)
	}
	if err := d.send(r); err != nil {
		return false, err
	}
	release()
	if err := msg.Ack(); err != nil { // then the shard is done twice, which changes nothing
		w.m.o.Log("shard %d: %v", i, err)
	}
	w.heartbeats.finish(d.shard, true, r.Arithmetic)
	return true, nil
}

// hold tells the server until ctx ends that the shard is in hand, so that nobody else gets it. It
// goes on while a result waits to be sent.
func (d *delivery) hold(ctx context.Context) {
	for pause(ctx, d.w.m.study.ackWait/4) {
		_ = d.msg.InProgress() // the next one may get through
	}
}

// message returns a message about the shard to the coordinator.
func (d *delivery) message(kind string, body []byte) *nats.Msg {
	m := nats.NewMsg(d.w.m.study.result(strconv.Itoa(d.shard.Index)))
	m.Data = body
	m.Header.Set(kindHeader, kind)
	m.Header.Set(workerHeader, d.w.heartbeats.state.Name)
	m.Header.Set(sequenceHeader, strconv.FormatUint(d.sequence, 10))
	return m
}

// failed deals with a shard that ended with err. Another worker tries it, or nobody if it was tried
// often enough. It returns an error if this worker cannot go on.
func (d *delivery) failed(err error) error {
	m, s := d.w.m, d.shard
	attempts := m.state.get().Attempts
	var mixed *study.MixedError
	switch {
	case m.state.isDone():
		return errDone
	case m.ctx.Err() != nil:
		return context.Cause(m.ctx)
	case errors.Is(err, errStopped), errors.Is(err, pipeline.ErrStopped):
		return d.giveBack(pipeline.ErrStopped)
	case errors.As(err, &mixed):
		return d.giveBack(err)
	}
	d.w.heartbeats.finish(s, false, record.Arithmetic{})
	m.o.Log("shard %d of run %s failed, time %d of %d: %v", s.Index, m.study.plan.Runs[s.Run].Name, d.number, attempts, err)
	if d.number == attempts {
		return d.giveUp(d.number, err.Error())
	}
	return d.msg.NakWithDelay(m.backoff(d.number))
}

// giveBack gives the shard back as if this worker had not had it, and returns why.
func (d *delivery) giveBack(why error) error {
	if err := d.w.send(d.message(kindBack, []byte(why.Error()))); err != nil {
		d.w.m.o.Log("could not give shard %d back: the server will miss it: %v", d.shard.Index, err)
	}
	return why
}

// giveUp says that nobody could do the shard in so many attempts.
func (d *delivery) giveUp(attempts int, message string) error {
	m := d.message(kindFailed, []byte(message))
	m.Header.Set(attemptsHeader, strconv.Itoa(attempts))
	if err := d.w.send(m); err != nil {
		return err
	}
	return d.msg.TermWithReason("given up")
}

// send sends the result of the shard, one that is too large for a message through the object store.
func (d *delivery) send(r *study.Result) error {
	data, err := r.Encode(d.shard.ID)
	if err != nil {
		return err
	}
	m := d.message(kindResult, data)
	if room := d.w.m.server.nc.MaxPayload() - 4096; int64(len(data)) > room {
		object := resultPrefix + nats.NewInbox()[len(nats.InboxPrefix):]
		if err := d.w.try(objectTime, func(ctx context.Context) error {
			_, err := d.w.m.study.large.PutBytes(ctx, object, data)
			return err
		}); err != nil {
			return err
		}
		m.Data = nil
		m.Header.Set(objectHeader, object)
	}
	return d.w.send(m)
}

// do does s. It ends early when the study is done, and when stop is closed before 80 % of s is
// done. A panic becomes an error.
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
		case <-w.m.state.done:
			cancel(errDone)
		case <-w.m.stop:
			if share.Load() < 800 {
				cancel(errStopped)
			}
		}
	}()
	return w.doer.Do(ctx, nil, s, func(done, total int) { share.Store(int64(done) * 1000 / int64(max(1, total))) })
}

// send sends m to the coordinator, however long it takes until the server has stored it.
func (w *worker) send(m *nats.Msg) error {
	return w.try(messageTime, func(ctx context.Context) error {
		_, err := w.m.server.js.PublishMsg(ctx, m)
		return err
	})
}

// try calls do until it succeeds. When stop is closed, or the study is done, it gives up after five
// seconds.
func (w *worker) try(each time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(w.m.ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-w.m.state.done:
		case <-w.m.stop:
		}
		if pause(ctx, 5*time.Second) {
			cancel(pipeline.ErrStopped)
		}
	}()
	return persist(ctx, each, func(err error) {
		if full(err) {
			w.m.o.Log("the server's store is full: waiting for room for a result")
			return
		}
		w.m.o.Log("cannot send a result: %v; trying again", err)
	}, nil, do)
}
