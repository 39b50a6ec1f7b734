package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"advsweep/study"

	"github.com/nats-io/nats.go/jetstream"
)

// receivers is how many messages of workers are handled at a time, so that the disk syncs several
// results at once.
const receivers = 8

// receive handles what workers say until messages end or ctx does. One receiver handles all that is
// said of a shard, in order.
func (c *coordinator) receive(ctx context.Context, messages jetstream.MessagesContext) {
	toReceiver := make([]chan jetstream.Msg, receivers)
	var wg sync.WaitGroup
	for i := range toReceiver {
		toReceiver[i] = make(chan jetstream.Msg)
		wg.Go(func() {
			for m := range toReceiver[i] {
				if ctx.Err() != nil {
					continue
				}
				if err := c.handle(ctx, m); err != nil && ctx.Err() == nil {
					c.fail(err)
				}
			}
		})
	}
	for {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			continue // the server is away; the iterator asks again
		}
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				c.fail(fmt.Errorf("cluster: results: %w", err))
			}
			break
		}
		i := max(0, indexOf(m.Subject(), len(c.f.Shards)))
		select {
		case toReceiver[i%receivers] <- m:
		case <-ctx.Done():
		}
	}
	for _, ch := range toReceiver {
		close(ch)
	}
	wg.Wait()
}

// handle does what m says, and then takes it off the queue. It returns an error if ctx ends before or
// if the coordinator cannot go on; then the next coordinator handles m again.
func (c *coordinator) handle(ctx context.Context, m jetstream.Msg) error {
	working, done := context.WithCancel(ctx)
	defer done()
	go func() { // else the server delivers m again while a slow disk keeps it waiting
		for pause(working, resultsAckWait/4) {
			_ = m.InProgress() // the next one may get through
		}
	}()
	i := indexOf(m.Subject(), len(c.f.Shards))
	if i < 0 {
		c.o.Log("a message of no shard is thrown away: %s", m.Subject())
		return m.Term()
	}
	s, worker := c.f.Shards[i], m.Headers().Get(workerHeader)
	var err error
	switch kind := m.Headers().Get(kindHeader); kind {
	case kindResult:
		err = c.arrived(ctx, s, worker, m)
	case kindFailed:
		attempts, _ := strconv.Atoi(m.Headers().Get(attemptsHeader))
		err = c.failed(s, worker, attempts, string(m.Data()))
	case kindBack:
		err = c.requeue(ctx, i, m)
	default:
		c.o.Log("a message about shard %d of unknown kind %q is thrown away", i, kind)
	}
	if err != nil {
		return err
	}
	return m.Ack()
}

// requeue puts shard i to the end of the queue, as if it had not been delivered, unless it is
// settled. m names the message of the shard that its worker had.
func (c *coordinator) requeue(ctx context.Context, i int, m jetstream.Msg) error {
	if sequence, err := strconv.ParseUint(m.Headers().Get(sequenceHeader), 10, 64); err == nil {
		if err := c.queues.withdraw(ctx, sequence); err != nil {
			return err
		}
	}
	if c.shards.isSettled(i) {
		return nil
	}
	return c.queues.add(ctx, c.f.Shards[i])
}

// failed notes that nobody could do s.
func (c *coordinator) failed(s study.Shard, worker string, attempts int, message string) error {
	if c.shards.isSettled(s.Index) {
		return nil
	}
	if err := c.f.Fail(s, worker, attempts, message); err != nil {
		return err
	}
	c.o.Log("shard %d of run %s failed %d times and is not tried again: %s", s.Index, c.f.Plan.Runs[s.Run].Name, attempts, message)
	c.shards.setFailed(s.Index)
	return nil
}

// arrived keeps the result of s that m brings, or names if it is too large for a message.
func (c *coordinator) arrived(ctx context.Context, s study.Shard, worker string, m jetstream.Msg) error {
	data, object := m.Data(), m.Headers().Get(objectHeader)
	if object == "" {
		return c.keep(ctx, s, worker, data, m)
	}
	report := func(err error) { c.o.Log("result of shard %d: %v; trying again", s.Index, err) }
	missing := func(err error) bool {
		return errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, errDamagedObject)
	}
	if !isResult(object) {
		return c.refuse(ctx, s, worker, fmt.Errorf("cluster: it is in object %.80q, want one named %sID", object, resultPrefix), m)
	}
	err := persist(ctx, objectTime, report, missing, func(ctx context.Context) (err error) {
		data, err = c.queues.large.get(ctx, object)
		return err
	})
	if missing(err) { // it was kept, or its worker sent it twice
		return c.requeue(ctx, s.Index, m)
	}
	if err != nil {
		return err
	}
	if err := c.keep(ctx, s, worker, data, m); err != nil {
		return err
	}
	if err := c.queues.large.Delete(ctx, object); err != nil {
		c.o.Log("the server keeps a result that is in the folder: %v", err)
	}
	return nil
}

// keep puts data, the encoded result of s, into the folder, and counts s as done. It refuses what
// is no result of s, or is of an arithmetic that may not go with those that are there.
func (c *coordinator) keep(ctx context.Context, s study.Shard, worker string, data []byte, m jetstream.Msg) error {
	r, err := study.DecodeResult(s, data)
	if err != nil {
		return c.refuse(ctx, s, worker, err, m)
	}
	// This may add to the state. Tick publishes that, not keep: a full store has no room for it
	// until results are taken off the queue.
	if err := c.state.accept(c.f.Plan, s.Run, r.Arithmetic); err != nil {
		return c.refuse(ctx, s, worker, err, m)
	}
	_, err = c.f.Put(s, data)
	switch {
	case errors.As(err, new(*study.DifferentError)): // mixed: the first stays
	case errors.As(err, new(*study.DisputeError)):
		c.o.Log("%v; the other came from %s", err, worker)
		c.shards.addConflict(fmt.Errorf("%w (the second by %s)", err, worker))
		if err := c.f.Fail(s, worker, 1, err.Error()); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if c.shards.setDone(s.Index) && c.o.Arrived != nil {
		c.callbacks.Lock()
		defer c.callbacks.Unlock()
		c.o.Arrived(s, r)
	}
	return nil
}

// refuse does not take a result, and has the shard done again, a few times.
func (c *coordinator) refuse(ctx context.Context, s study.Shard, worker string, why error, m jetstream.Msg) error {
	if c.shards.isSettled(s.Index) {
		return nil
	}
	n := c.shards.addRefusal(s.Index)
	c.o.Log("the result of shard %d from %s is not taken: %v", s.Index, worker, why)
	if n >= c.o.Attempts {
		return c.failed(s, worker, n, why.Error())
	}
	return c.requeue(ctx, s.Index, m)
}
