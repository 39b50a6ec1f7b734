package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/internal/plain"
	"advsweep/internal/remedy"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// resultsAckWait is how long the server waits for the coordinator to take a message off the queue
// of results. After that it delivers the message again. The coordinator asks for more time while it
// works on one, so only a message that was lost on its way waits so long.
const resultsAckWait = time.Minute

// resultTime is how long a large result waits in the server's store for the coordinator. It bounds
// what a worker leaves there that was killed while it sent one. A result that is gone is computed
// again.
const resultTime = 24 * time.Hour

// queues are what a study has on the server, as the coordinator uses it. create sets objects, large,
// kv, results and received, and open sets shards. Nothing changes a field after that, so several
// goroutines may call the other methods then.
type queues struct {
	names
	f   *study.Folder
	nc  *nats.Conn
	js  jetstream.JetStream
	log func(format string, args ...any)
	// largeBytes bounds the store of large results, so that they leave room for all else. 0: the
	// server has limits of its own.
	largeBytes int64
	// patience is how long the server's store may refuse all while the study is put there. After
	// that it has failed. 0: however long, as of a server that is another's.
	patience time.Duration
	probed   struct{ sent, came atomic.Int64 } // messages of probes to the coordinator itself

	objects  *objects           // the plan and inputs
	large    *objects           // results that are too large for a message
	kv       jetstream.KeyValue // the state
	shards   jetstream.Stream
	results  jetstream.Stream
	received jetstream.Consumer // of results
}

// create puts the study on the server, but for the stream of shards. Workers find a study by that
// stream, so open makes it when all else is there.
func (q *queues) create(ctx context.Context) error {
	about := "advsweep study " + q.f.Plan.Name
	err := q.persist(ctx, messageTime, q.notReady, staysSo, func(ctx context.Context) (err error) {
		if q.kv, err = q.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: q.bucket(), Description: about, Storage: jetstream.FileStorage}); err != nil {
			return err
		}
		if _, err = q.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: q.names.objects().name, Description: about, Storage: jetstream.FileStorage}); err != nil {
			return err
		}
		if _, err = q.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: q.resultObjects().name, Description: about, Storage: jetstream.FileStorage, TTL: resultTime, MaxBytes: q.largeBytes,
		}); err != nil {
			return err
		}
		if q.objects, err = openObjects(ctx, q.js, q.names.objects()); err != nil {
			return err
		}
		if q.large, err = openObjects(ctx, q.js, q.resultObjects()); err != nil {
			return err
		}
		if q.results, err = q.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: q.resultsStream(), Description: about, Subjects: []string{q.result("*")}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		}); err != nil {
			return err
		}
		// The consumer of a coordinator that was killed waits for what that had in hand. A new one
		// delivers it at once.
		if err := q.results.DeleteConsumer(ctx, coordinatorName); err != nil && !gone(err) {
			return err
		}
		q.received, err = q.results.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: coordinatorName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: resultsAckWait, MaxAckPending: 256,
		})
		return err
	})
	if full(err) {
		return remedy.Want(remedy.Store, fmt.Errorf("cluster: study %s does not fit into the server's store: give it a larger store, or make room on its disk: %w", q.f.Plan.Name, err))
	}
	if err != nil {
		return fmt.Errorf("cluster: put study %s on the server: %w", q.f.Plan.Name, err)
	}
	return nil
}

// open makes the stream of shards, by which workers find the study. The server gives a shard to
// another worker if the one that has it says nothing for ackWait.
func (q *queues) open(ctx context.Context, ackWait time.Duration) error {
	// A stream that is made anew goes on counting where no other has counted before. Else a worker
	// that had a shard of the one before would acknowledge another shard with it.
	first := uint64(time.Now().UnixMicro())
	return q.persist(ctx, messageTime, q.notReady, staysSo, func(ctx context.Context) (err error) {
		if old, err := q.js.Stream(ctx, q.shardsStream()); err == nil {
			first = old.CachedInfo().Config.FirstSeq
		} else if !gone(err) {
			return err
		}
		if q.shards, err = q.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: q.shardsStream(), Description: "advsweep study " + q.f.Plan.Name, Subjects: []string{q.shard("*"), q.shardProbe()}, Metadata: map[string]string{studyMeta: q.f.Plan.Name},
			Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
			FirstSeq: first,
			// A shard that is in the queue is not added again.
			MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		}); err != nil {
			return err
		}
		_, err = q.shards.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: workersName, FilterSubject: q.shard("*"), AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 100_000,
		})
		return err
	})
}

// persist is persist, but for patience. Where that is over, or the server says that it cannot read
// its store, the error is a *storeError.
func (q *queues) persist(ctx context.Context, each time.Duration, report func(error), stop func(error) bool, do func(context.Context) error) error {
	var since time.Time // of the first error
	over := false
	err := persist(ctx, each, report, func(err error) bool {
		if stop != nil && stop(err) {
			return true
		}
		if since.IsZero() {
			since = time.Now()
		}
		over = q.patience > 0 && time.Since(since) > q.patience
		return over
	}, do)
	if err != nil && (over || damaged(err)) {
		return &storeError{fmt.Errorf("cluster: the server's store has failed: %w", err)}
	}
	return err
}

// staysSo reports whether it is no use to try again after err to make a stream or consumer.
func staysSo(err error) bool {
	return full(err) || damaged(err) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)
}

func (q *queues) notReady(err error) { q.log("the server is not ready: %v; trying again", err) }

// remove removes all of the study from the server.
func (q *queues) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), messageTime)
	defer cancel()
	for _, do := range []func() error{
		func() error { return q.js.DeleteStream(ctx, q.shardsStream()) },
		func() error { return q.js.DeleteStream(ctx, q.resultsStream()) },
		func() error { return q.js.DeleteObjectStore(ctx, q.names.objects().name) },
		func() error { return q.js.DeleteObjectStore(ctx, q.resultObjects().name) },
		func() error { return q.js.DeleteKeyValue(ctx, q.bucket()) },
	} {
		if err := do(); err != nil && !gone(err) {
			q.log("could not remove a part of the study from the server: %v", err)
		}
	}
}

// upload puts the plan and the inputs into the object store.
func (q *queues) upload(ctx context.Context) error {
	plan, err := q.f.Plan.JSON()
	if err != nil {
		return err
	}
	for _, hash := range q.f.Inputs() {
		if q.holds(ctx, hash, hash) {
			continue
		}
		data, err := q.f.Input(hash)
		if err != nil {
			return err
		}
		if err := q.put(ctx, hash, data); err != nil {
			return err
		}
	}
	if q.holds(ctx, planName, study.Hash(plan)) {
		return nil
	}
	return q.put(ctx, planName, plan)
}

// put puts data into the object store under name.
func (q *queues) put(ctx context.Context, name string, data []byte) error {
	err := q.persist(ctx, getTime(uint64(len(data))), func(err error) { q.log("upload %s: %v; trying again", name, err) }, full, func(ctx context.Context) error {
		_, err := q.objects.Put(ctx, jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize}}, bytes.NewReader(data))
		return err
	})
	if err != nil && full(err) {
		return remedy.Want(remedy.Store, fmt.Errorf("cluster: %s of %d bytes does not fit into the server's store: give it a larger store, or make room on its disk: %w", name, len(data), err))
	}
	return err
}

// chunkSize is that of the plan and inputs. Readers ask for one chunk after the other, and many
// servers take no message of more than a mebibyte.
const chunkSize = 512 << 10

// holds reports whether the object store has what has that SHA-256 under name. It reads all of it:
// a store that was damaged keeps what it once knew of an object.
func (q *queues) holds(ctx context.Context, name, hash string) bool {
	data, err := q.objects.get(ctx, name)
	return err == nil && study.Hash(data) == hash
}

// Publish puts s where workers find it, and sends it to those that listen. It tries once.
func (q *queues) Publish(ctx context.Context, s *protocol.State) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := q.nc.Publish(q.state(), data); err != nil {
		return err
	}
	_, err = q.kv.Put(ctx, stateName, data)
	return err
}

// persistState is Publish until it succeeds, or stop, if given, says that an error is there to stay.
func (q *queues) persistState(ctx context.Context, s *protocol.State, stop func(error) bool) error {
	report := func(err error) { q.log("tell workers: %v; trying again", err) }
	err := q.persist(ctx, messageTime, report, stop, func(ctx context.Context) error { return q.Publish(ctx, s) })
	if err != nil {
		return fmt.Errorf("cluster: tell workers: %w", err)
	}
	return nil
}

// message returns the message of a task.
func (q *queues) message(t protocol.Task) *nats.Msg {
	m := nats.NewMsg(q.shardOf(t.Shard))
	m.Data = []byte(t.Shard.ID)
	for _, name := range t.Avoid {
		m.Header.Add(avoidHeader, name)
	}
	return m
}

// Add adds tasks to the queue, unless a message of the shard is there. It waits however long there
// is no room for one.
func (q *queues) Add(ctx context.Context, tasks ...protocol.Task) error {
	const batch = 256
	for len(tasks) > 0 {
		now := tasks[:min(batch, len(tasks))]
		tasks = tasks[len(now):]
		if len(now) == 1 {
			if err := q.add(ctx, now[0]); err != nil {
				return err
			}
			continue
		}
		var futures []jetstream.PubAckFuture
		for _, t := range now {
			f, err := q.js.PublishMsgAsync(q.message(t))
			if err != nil {
				return err
			}
			futures = append(futures, f)
		}
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
				if err := q.add(ctx, now[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add is Add of one task.
func (q *queues) add(ctx context.Context, t protocol.Task) error {
	return q.persistTask(ctx, t, func(ctx context.Context) error {
		_, err := q.js.PublishMsg(ctx, q.message(t))
		if there(err) {
			return nil
		}
		return err
	})
}

func (q *queues) persistTask(ctx context.Context, t protocol.Task, do func(context.Context) error) error {
	return persist(ctx, messageTime, func(err error) { q.log("queue shard %d: %v; trying again", t.Shard.Index, err) }, nil, do)
}

// Replace adds t in the place of the message of its shard that has that sequence number, or of
// whatever message there is if sequence is 0.
func (q *queues) Replace(ctx context.Context, t protocol.Task, sequence uint64) error {
	return q.persistTask(ctx, t, func(ctx context.Context) error {
		old, err := q.shards.GetLastMsgForSubject(ctx, q.shardOf(t.Shard))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return err
		case sequence != 0 && old.Sequence != sequence:
			return nil
		default:
			err := q.shards.DeleteMsg(ctx, old.Sequence)
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
				return err
			}
		}
		_, err = q.js.PublishMsg(ctx, q.message(t))
		if there(err) {
			return nil
		}
		return err
	})
}

// Waiting returns how many messages both queues hold.
func (q *queues) Waiting(ctx context.Context) (int, error) {
	shards, err := q.shards.Info(ctx)
	if err != nil {
		return 0, err
	}
	results, err := q.results.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int(shards.State.Msgs + results.State.Msgs), nil
}

// Known returns the shards that have a message in one of the queues.
func (q *queues) Known(ctx context.Context) (map[int]bool, error) {
	known := map[int]bool{}
	for _, stream := range []jetstream.Stream{q.shards, q.results} { // in this order: see protocol.Queue
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return nil, err
		}
		for subject := range info.State.Subjects {
			known[indexOf(subject, len(q.f.Shards))] = true
		}
	}
	return known, nil
}

// Object returns a large result.
func (q *queues) Object(ctx context.Context, name string) (data []byte, err error) {
	report := func(err error) { q.log("result %s: %v; trying again", name, err) }
	missing := func(err error) bool {
		return errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, errDamagedObject)
	}
	if !isResult(name) { // a worker may name the plan
		return nil, fmt.Errorf("%w: %q, want a name as in %sID", protocol.ErrNoObject, plain.Line(name, plain.Name), resultPrefix)
	}
	err = persist(ctx, objectTime, report, missing, func(ctx context.Context) (err error) {
		data, err = q.large.get(ctx, name)
		return err
	})
	if missing(err) {
		return nil, fmt.Errorf("%w: %w", protocol.ErrNoObject, err)
	}
	return data, err
}

// Delete removes a large result.
func (q *queues) Delete(ctx context.Context, name string) error { return q.large.Delete(ctx, name) }
