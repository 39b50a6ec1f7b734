package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A worker does shards on one device, one at a time. A protocol.Worker says what is done with them;
// this is its Link, Doer and Clock.
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
	defer w.heartbeats.change(func(s *study.WorkerState) { s.Shard = -1 })
	p := &protocol.Worker{
		Plan: w.m.study.plan, Shards: w.m.study.shards, Doer: w, Link: w, Clock: w, By: study.AuthorOf(w.heartbeats.state.Name), Pace: w.m.o.pace, Log: w.m.o.Log,
		Prepared: func(a record.Arithmetic) { w.heartbeats.change(func(s *study.WorkerState) { s.Arithmetic = a }) },
		Began: func(s study.Shard) {
			w.heartbeats.change(func(st *study.WorkerState) { st.Shard, st.Since = s.Index, time.Now().UTC() })
		},
		Finished: w.heartbeats.finish,
	}
	return p.Work(w.m.ctx)
}

// Ended returns why the worker is to end, or nil.
func (w *worker) Ended() error {
	switch {
	case w.m.state.isDone():
		return errDone
	case w.m.ctx.Err() != nil:
		return context.Cause(w.m.ctx)
	case w.m.isStopped():
		return pipeline.ErrStopped
	}
	return nil
}

// State returns what the coordinator said last.
func (w *worker) State() protocol.State { return w.m.state.get() }

// Now is the time.
func (w *worker) Now() time.Time { return time.Now() }

// Sleep waits for d, or until the worker is to end.
func (w *worker) Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.m.state.done:
	case <-w.m.stop:
	case <-ctx.Done():
	}
}

// Next waits for a shard for a second or so. It returns nil if none came, or the server is away.
func (w *worker) Next(ctx context.Context) (protocol.Delivery, error) {
	batch, err := w.m.study.queue.Fetch(1, jetstream.FetchMaxWait(time.Second))
	if err == nil {
		if msg, ok := <-batch.Messages(); ok {
			meta, err := msg.Metadata()
			if err != nil {
				return nil, nil // it was not delivered as one of a queue
			}
			return &delivery{w, msg, meta}, nil
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
	w    *worker
	msg  jetstream.Msg
	meta *jetstream.MsgMetadata
}

func (d *delivery) Index() int                    { return indexOf(d.msg.Subject(), len(d.w.m.study.shards)) }
func (d *delivery) ID() string                    { return string(d.msg.Data()) }
func (d *delivery) Avoid() []string               { return d.msg.Headers()[avoidHeader] }
func (d *delivery) Number() int                   { return int(d.meta.NumDelivered) }
func (d *delivery) Sequence() uint64              { return d.meta.Sequence.Stream }
func (d *delivery) Ack() error                    { return d.msg.Ack() }
func (d *delivery) Nak(delay time.Duration) error { return d.msg.NakWithDelay(delay) }
func (d *delivery) Term(why string) error         { return d.msg.TermWithReason(why) }

// Hold tells the server, until release is called, that the shard is in hand, so that nobody else
// gets it. That goes on while a result waits to be sent.
func (d *delivery) Hold(ctx context.Context) (context.Context, func()) {
	held, release := context.WithCancel(ctx)
	go func() {
		for pause(held, d.w.m.study.ackWait/4) {
			_ = d.msg.InProgress() // the next one may get through
		}
	}()
	return held, release
}

// Prepare opens a run, and returns what the device computes with.
func (w *worker) Prepare(run int) (record.Arithmetic, error) { return w.doer.Prepare(run) }

// Do does s. It ends early when the study is done, and when stop is closed before 80 % of s is
// done. A panic becomes an error.
func (w *worker) Do(ctx context.Context, s study.Shard) (r *study.Result, err error) {
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

// Send sends m to the coordinator, however long it takes until the server has stored it. A result
// that is too large for a message goes through the object store.
func (w *worker) Send(_ context.Context, m protocol.Message) error {
	out := nats.NewMsg(w.m.study.result(strconv.Itoa(m.Shard)))
	out.Data = m.Body
	out.Header.Set(kindHeader, m.Kind)
	out.Header.Set(workerHeader, m.Worker)
	out.Header.Set(sequenceHeader, strconv.FormatUint(m.Sequence, 10))
	out.Header.Set(attemptsHeader, strconv.Itoa(m.Attempts))
	if room := w.m.server.nc.MaxPayload() - 4096; int64(len(m.Body)) > room {
		object := resultPrefix + nats.NewInbox()[len(nats.InboxPrefix):]
		if err := w.try(objectTime, func(ctx context.Context) error {
			_, err := w.m.study.large.PutBytes(ctx, object, m.Body)
			return err
		}); err != nil {
			return err
		}
		out.Data = nil
		out.Header.Set(objectHeader, object)
	}
	return w.try(messageTime, func(ctx context.Context) error {
		_, err := w.m.server.js.PublishMsg(ctx, out)
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
