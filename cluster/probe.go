package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A probe asks the server's store again and again for what the study needs of it. A store that has
// failed once, as on a full disk or after a damaged byte, may say nothing of it: what it should
// deliver never comes.
type probe struct {
	c *coordinator
	// since is when what the probe asks for was not there first; zero: it was there.
	since time.Time
	last  mark // when since was set
}

// A mark says how far things are. While it moves the store works, however slowly.
type mark struct {
	handled   int64  // messages of workers
	delivered uint64 // shards
}

// How many looks in a row find a fault before it is believed, and before a shard is believed lost
// that nobody seems to have: some messages wait for a minute on purpose, see protocol.
const (
	patientLooks = 6
	lostLooks    = 24
)

// run looks after the store until ctx ends. It returns a *storeError once the store has failed.
func (p *probe) run(ctx context.Context) error {
	for pause(ctx, p.c.o.look) {
		looks, err := p.look(ctx)
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			p.since = time.Time{}
			continue
		}
		now := mark{handled: p.c.handled.Load(), delivered: p.last.delivered}
		if info, failed := p.info(ctx); failed == nil {
			now.delivered = info.Delivered.Consumer
		}
		if p.since.IsZero() || now != p.last {
			p.since, p.last = time.Now(), now
			continue
		}
		if time.Since(p.since) >= time.Duration(looks)*p.c.o.look {
			return &storeError{fmt.Errorf("cluster: the server's store has failed: %w", err)}
		}
	}
	return nil
}

func (p *probe) info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, max(p.c.o.look, 2*time.Second))
	defer cancel()
	consumer, err := p.c.queues.shards.Consumer(ctx, workersName)
	if err != nil {
		return nil, err
	}
	return consumer.CachedInfo(), nil
}

// look asks for everything once. It returns what is not as it should be, and how many looks have to
// find that.
func (p *probe) look(ctx context.Context) (looks int, err error) {
	if s := p.c.conn.server; s != nil && !s.JetStreamEnabled() {
		return 0, errors.New("the server has given it up, as it does when the disk is full")
	}
	q := p.c.queues
	each, cancel := context.WithTimeout(ctx, max(p.c.o.look, 2*time.Second))
	defer cancel()
	for _, one := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"shards", q.writeShards}, {"results", q.writeResults}, {"state", q.writeState}, {"large results", q.writeLarge},
	} {
		if err := one.do(each); err != nil {
			return patientLooks, fmt.Errorf("%s: a probe: %w", one.what, err)
		}
	}
	if sent, came := q.probed.sent.Load(), q.probed.came.Load(); came+1 < sent {
		return patientLooks, fmt.Errorf("results: %d messages were sent and %d came", sent, came)
	}
	stream, err := q.shards.Info(each)
	if err != nil {
		return patientLooks, fmt.Errorf("shards: %w", err)
	}
	consumer, err := p.info(ctx)
	if err != nil {
		return patientLooks, fmt.Errorf("shards: %w", err)
	}
	has, pending, taken := stream.State.Msgs, consumer.NumPending, uint64(max(0, consumer.NumAckPending))
	switch _, running := p.c.workers.list(time.Now()); {
	case has > pending+taken:
		return patientLooks, fmt.Errorf("shards: it has %d, and holds %d ready and takes %d for handed out", has, pending, taken)
	case pending > 0 && consumer.NumWaiting > 0:
		return patientLooks, fmt.Errorf("shards: %d are ready and %d workers ask for one, and get none", pending, consumer.NumWaiting)
	case taken > 0 && consumer.NumWaiting > 0 && running == 0:
		return lostLooks, fmt.Errorf("shards: it takes %d for handed out, and no worker has one", taken)
	}
	return 0, nil
}

// probeName is the last part of names and subjects that only probes use. No shard is called so.
const probeName = "probe"

// writeShards writes to the stream of shards, under a subject that its consumer does not deliver.
func (q *queues) writeShards(ctx context.Context) error {
	ack, err := q.js.Publish(ctx, q.shardProbe(), nil)
	if there(err) { // of a coordinator that was killed
		return q.shards.Purge(ctx, jetstream.WithPurgeSubject(q.shardProbe()))
	}
	if err != nil {
		return err
	}
	return q.shards.DeleteMsg(ctx, ack.Sequence)
}

// writeResults sends a message that the coordinator itself receives: see isProbe.
func (q *queues) writeResults(ctx context.Context) error {
	if _, err := q.js.Publish(ctx, q.result(probeName), nil); err != nil {
		return err
	}
	q.probed.sent.Add(1)
	return nil
}

// isProbe reports whether a message of that subject is a probe, and counts it.
func (q *queues) isProbe(subject string) bool {
	if subject != q.result(probeName) {
		return false
	}
	q.probed.came.Store(min(q.probed.came.Load()+1, q.probed.sent.Load()))
	return true
}

func (q *queues) writeState(ctx context.Context) error {
	if _, err := q.kv.Put(ctx, probeName, nil); err != nil {
		return err
	}
	_, err := q.kv.Get(ctx, stateName) // a worker that comes asks for it first
	return err
}

// writeLarge writes to the store of large results. If that is full it is cleared: what is in it and
// was not taken was left by a worker that was killed or lies, or is sent again.
func (q *queues) writeLarge(ctx context.Context) error {
	_, err := q.large.PutBytes(ctx, probeName, []byte{0})
	if full(err) {
		q.log("the server's store of large results is full, of what nobody waits for: it is cleared")
		return q.large.stream.Purge(ctx)
	}
	return err
}
