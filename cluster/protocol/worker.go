package protocol

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"
)

// A Worker does shards on one device, one at a time. Its caller sets the fields, and nothing
// changes them after that.
type Worker struct {
	Plan   *study.Plan
	Shards []study.Shard
	Doer   Doer
	Link   Link
	Clock  Clock
	By     study.Author
	// Pace is the unit of the pauses after failures, a second.
	Pace time.Duration
	Log  func(format string, args ...any)

	// Prepared is called when it is known what the worker computes with, Began when it begins a
	// shard, and Finished when it has done one or failed to; then a is empty.
	Prepared func(a record.Arithmetic)
	Began    func(s study.Shard)
	Finished func(s study.Shard, ok bool, a record.Arithmetic)
}

// printPatience is how many times Pace a worker waits for others to have its fingerprint too.
const printPatience = 120

// avoidDelay is after how many times Pace a shard that a worker is to leave to others is offered
// again.
const avoidDelay = 2

// leaveTimes is after how many deliveries of such a shard the coordinator is asked.
const leaveTimes = 10

// Work takes shards from the queue until it is to end, and returns why.
func (w *Worker) Work(ctx context.Context) error {
	if err := w.admit(); err != nil {
		return err
	}
	a, err := w.Doer.Prepare(0)
	if err != nil {
		return err
	}
	w.Prepared(a)
	if err := w.fit(ctx, 0, a); err != nil {
		return err
	}
	failures := 0 // in a row
	for {
		if err := w.Link.Ended(); err != nil {
			return err
		}
		if err := w.admit(); err != nil {
			return err
		}
		d, err := w.Link.Next(ctx)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		ok, err := w.handle(ctx, d)
		if err != nil {
			return err
		}
		if failures++; ok {
			failures = 0
		}
		if failures > 1 {
			wait := w.backoff(failures - 1)
			w.Log("%d shards in a row failed here: pausing for %v", failures, wait)
			w.Clock.Sleep(ctx, wait)
		}
	}
}

// backoff is the pause after failure n of some in a row, n from 1. It grows from Pace to 60 of it.
func (w *Worker) backoff(n int) time.Duration {
	return min(w.Pace<<min(n-1, 10), 60*w.Pace)
}

// admit says why the coordinator takes nothing of this worker, or returns nil.
func (w *Worker) admit() error {
	s := w.Link.State()
	return s.Admit(w.By.Worker, w.By.Build)
}

// fit returns nil once results of run that are computed by a are taken. Where workers disagree
// about a fingerprint, and a's is not that of most, it says that it has this one and waits a while
// for others that have it too.
func (w *Worker) fit(ctx context.Context, run int, a record.Arithmetic) error {
	refused := func() error {
		s := w.Link.State()
		return s.Refuse(w.Plan, run, a)
	}
	err := refused()
	var other *PrintError
	if !errors.As(err, &other) || other.Rule.Own {
		return err
	}
	body, failed := json.Marshal(a)
	if failed != nil {
		return fmt.Errorf("cluster: %w", failed)
	}
	if err := w.Link.Send(ctx, Message{Kind: KindVote, Worker: w.By.Worker, Body: body}); err != nil {
		return err
	}
	w.Log("%v; waiting up to %v for other workers like this one", err, printPatience*w.Pace)
	for until := w.Clock.Now().Add(printPatience * w.Pace); err != nil && w.Clock.Now().Before(until); err = refused() {
		if err := cmp.Or(w.Link.Ended(), w.admit()); err != nil {
			return err
		}
		w.Clock.Sleep(ctx, w.Pace)
	}
	return err
}

// A work is a shard that a worker has in hand.
type work struct {
	*Worker
	d Delivery
	s study.Shard
}

// handle does the shard of d, and reports whether it is done. An error ends the worker.
func (w *Worker) handle(ctx context.Context, d Delivery) (ok bool, err error) {
	i := d.Index()
	if i < 0 || i >= len(w.Shards) || w.Shards[i].ID != d.ID() {
		w.Log("a message of no shard is thrown away")
		return true, d.Term("no shard")
	}
	k := work{w, d, w.Shards[i]}
	if slices.Contains(d.Avoid(), w.By.Worker) {
		return true, k.leave(ctx)
	}
	attempts := w.attempts()
	if before := d.Number() - 1; before >= attempts && len(d.Avoid()) == 0 {
		return true, k.giveUp(ctx, before, fmt.Sprintf("its workers died, or were cut off, each of the %d times that it was handed out", before))
	}
	held, release := d.Hold(ctx)
	defer release()
	if err := w.Link.Ended(); err != nil {
		return false, k.giveBack(ctx, err)
	}
	w.Began(k.s)
	r, err := w.Doer.Do(held, k.s)
	if err != nil {
		return false, k.failed(ctx, err)
	}
	s := w.Link.State()
	if err := s.Refuse(w.Plan, k.s.Run, r.Arithmetic); err != nil {
		_ = k.giveBack(ctx, err)
		w.Finished(k.s, false, record.Arithmetic{})
		release()
		return true, w.fit(ctx, k.s.Run, r.Arithmetic)
	}
	r.By, r.Confirmed = w.By, nil
	data, err := r.Encode(k.s.ID)
	if err != nil {
		return false, err
	}
	if err := w.Link.Send(ctx, k.message(KindResult, data)); err != nil {
		return false, err
	}
	release()
	if err := d.Ack(); err != nil { // then the shard is done twice, which changes nothing
		w.Log("shard %d: %v", i, err)
	}
	w.Finished(k.s, true, r.Arithmetic)
	return true, nil
}

// leave leaves the shard to others. Where they do not take it for long the coordinator says anew who
// is to leave it: the one that said so may have been killed.
func (k work) leave(ctx context.Context) error {
	if k.d.Number()%leaveTimes != 0 {
		return k.d.Nak(avoidDelay * k.Pace)
	}
	if err := k.Link.Send(ctx, k.message(KindBack, nil)); err != nil {
		return err
	}
	return k.d.Term("left to others") // it is queued anew, if it is not done
}

func (w *Worker) attempts() int {
	s := w.Link.State()
	return s.Attempts
}

// message returns a message about the shard to the coordinator.
func (k work) message(kind string, body []byte) Message {
	return Message{Kind: kind, Shard: k.s.Index, Worker: k.By.Worker, Sequence: k.d.Sequence(), Body: body}
}

// failed deals with a shard that ended with err. Another worker tries it, or nobody if it was tried
// often enough. It returns an error if this worker cannot go on.
func (k work) failed(ctx context.Context, err error) error {
	ended := k.Link.Ended()
	switch {
	case errors.Is(ended, pipeline.ErrStopped):
		return k.giveBack(ctx, ended)
	case ended != nil:
		return ended
	case errors.Is(err, pipeline.ErrStopped), errors.As(err, new(*study.MixedError)):
		return k.giveBack(ctx, err)
	}
	k.Finished(k.s, false, record.Arithmetic{})
	attempts, number := k.attempts(), k.d.Number()
	if len(k.d.Avoid()) > 0 {
		k.Log("shard %d of run %s failed: %v", k.s.Index, k.Plan.Runs[k.s.Run].Name, err)
		if err := k.Link.Send(ctx, k.message(KindTried, []byte(err.Error()))); err != nil {
			return err
		}
		return nil // the coordinator puts another message in the place of this one
	}
	k.Log("shard %d of run %s failed, time %d of %d: %v", k.s.Index, k.Plan.Runs[k.s.Run].Name, number, attempts, err)
	if number >= attempts {
		return k.giveUp(ctx, number, err.Error())
	}
	return k.d.Nak(k.backoff(number))
}

// giveBack gives the shard back as if this worker had not had it, and returns why.
func (k work) giveBack(ctx context.Context, why error) error {
	if err := k.Link.Send(ctx, k.message(KindBack, []byte(why.Error()))); err != nil {
		k.Log("could not give shard %d back: the server will miss it: %v", k.s.Index, err)
	}
	return why
}

// giveUp says that nobody could do the shard in so many attempts.
func (k work) giveUp(ctx context.Context, attempts int, message string) error {
	m := k.message(KindFailed, []byte(message))
	m.Attempts = attempts
	if err := k.Link.Send(ctx, m); err != nil {
		return err
	}
	return k.d.Term("given up")
}
