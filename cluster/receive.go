package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/internal/plain"
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
				c.fail(&storeError{fmt.Errorf("cluster: the server's store has failed: results: %w", err)})
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
	if c.queues.isProbe(m.Subject()) {
		return m.Ack()
	}
	c.handled.Add(1)
	i := indexOf(m.Subject(), len(c.f.Shards))
	if i < 0 {
		c.o.Log("a message of no shard is thrown away: %s", plain.Line(m.Subject(), plain.Name))
		return m.Term()
	}
	err := c.study.Handle(ctx, said(i, m))
	if errors.Is(err, protocol.ErrFinished) {
		return nil
	}
	if err == nil {
		err = m.Ack()
	}
	c.isFinished()
	return err
}

// said is what m says of shard i.
func said(i int, m jetstream.Msg) protocol.Message {
	h := m.Headers()
	sequence, _ := strconv.ParseUint(h.Get(sequenceHeader), 10, 64) // 0 is none
	attempts, _ := strconv.Atoi(h.Get(attemptsHeader))
	return protocol.Message{
		Kind: h.Get(kindHeader), Shard: i, Worker: plain.Line(h.Get(workerHeader), plain.Name), Sequence: sequence, Attempts: attempts, Object: h.Get(objectHeader), Body: m.Data(),
	}
}

// arrived tells Arrived that s is done.
func (c *coordinator) arrived(s study.Shard, r *study.Result) {
	if c.o.Arrived == nil {
		return
	}
	c.callbacks.Lock()
	defer c.callbacks.Unlock()
	c.o.Arrived(s, r)
}

// alive returns the names of the workers of which a heartbeat came lately.
func (t *workerTable) alive(now time.Time) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, h := range t.byName {
		if h.state.Alive(now) {
			names = append(names, name)
		}
	}
	return names
}
