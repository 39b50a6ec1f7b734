// Package cluster does a study's shards on many machines, by NATS JetStream. Serve is the
// coordinator. It has the study's folder, and brings the NATS server with it or uses one that
// exists. Work is a worker. It needs the server's URL and nothing else.
//
// A study whose plan has the id ID has on the server
//
//	advsweep-ID-shards   a work queue: a message for each shard that is to be done, under the
//	                     subject advsweep.ID.shard.INDEX
//	advsweep-ID-results  a work queue: what workers have to say of shards to the coordinator, under
//	                     the subject advsweep.ID.result.INDEX
//	advsweep-ID          an object store: the plan, models and images by their SHA-256
//	advsweep-ID-results  an object store: results that are too large for a message
//	advsweep-ID          a key and its value: the state, see protocol.State
//
// Two subjects carry what nothing depends on: advsweep.ID.beat heartbeats, and advsweep.ID.state
// the state as it changes.
//
// Nothing is lost, whoever is killed. A worker takes its shard off the queue when its result is in
// the other queue. The coordinator takes the result off that queue when it is in the folder. So
// some shards are done twice. That changes nothing: equal shards give equal results and the folder
// keeps one. After a power cut a shard may be in no queue and its result not in the folder. Then
// the coordinator queues it again.
//
// The server counts how often it delivers a shard's message. A worker that gets it once too often
// does not try the shard but reports that its workers died. The count outlives workers and
// coordinators.
package cluster

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"advsweep/pipeline"
	"advsweep/study"

	"github.com/nats-io/nats.go/jetstream"
)

// names are what a study's streams, stores and subjects are called on the server.
type names struct{ id string }

const prefix, shardsSuffix = "advsweep-", "-shards"

func (n names) shardsStream() string         { return prefix + n.id + shardsSuffix }
func (n names) resultsStream() string        { return prefix + n.id + "-results" }
func (n names) bucket() string               { return prefix + n.id }
func (n names) objects() store               { return store{n.bucket()} }
func (n names) resultObjects() store         { return store{n.resultsStream()} }
func (n names) shard(index string) string    { return "advsweep." + n.id + ".shard." + index }
func (n names) result(index string) string   { return "advsweep." + n.id + ".result." + index }
func (n names) shardProbe() string           { return "advsweep." + n.id + ".probe" }
func (n names) heartbeat() string            { return "advsweep." + n.id + ".beat" }
func (n names) state() string                { return "advsweep." + n.id + ".state" }
func (n names) shardOf(s study.Shard) string { return n.shard(strconv.Itoa(s.Index)) }

// What else is under these names.
const (
	workersName     = "workers"     // the consumer of shards
	coordinatorName = "coordinator" // the consumer of results
	planName        = "plan"        // in the object store
	stateName       = "state"       // the key
	studyMeta       = "advsweep-study"
)

// indexOf returns the index of the shard that a subject ends with. It returns -1 if that is none of
// so many shards.
func indexOf(subject string, shards int) int {
	i, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil || i < 0 || i >= shards {
		return -1
	}
	return i
}

// Headers of messages to the coordinator.
const (
	kindHeader     = "Advsweep-Kind"
	workerHeader   = "Advsweep-Worker"
	sequenceHeader = "Advsweep-Sequence" // of the shard's message
	attemptsHeader = "Advsweep-Attempts"
	objectHeader   = "Advsweep-Object" // where the result is, if not in the message
)

// avoidHeader is the header of shards' messages that names workers which are to leave the shard to
// others. It may be there several times.
const avoidHeader = "Advsweep-Avoid"

// How long one try may take, to send a message and to send or get an object. An object may be a
// model of gigabytes.
const (
	messageTime = 15 * time.Second
	objectTime  = 15 * time.Minute
)

// full reports whether err says that the server has no room for a message.
func full(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case 10023, 10047, 10002: // insufficient resources, insufficient storage, exceeded limits of the account
		return true
	}
	return api.ErrorCode == storeFailed && !there(err) && strings.Contains(api.Description, "maximum")
}

// storeFailed is the code of the error that a stream did not take a message.
const storeFailed jetstream.ErrorCode = 10077

// there reports whether err says that a queue has a message of that subject already.
func there(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == storeFailed && strings.Contains(api.Description, "per subject")
}

// damaged reports whether err says that the server cannot read what it has stored of a consumer.
func damaged(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == consumerStoreFailed
}

// consumerStoreFailed is the code of the error that the server cannot open the store of a consumer.
const consumerStoreFailed jetstream.ErrorCode = 10012

// gone reports whether err says that a stream, a consumer or a bucket is not there.
func gone(err error) bool {
	for _, one := range []error{jetstream.ErrStreamNotFound, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerDoesNotExist, jetstream.ErrBucketNotFound} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// clock is the time of this machine.
type clock struct{}

func (clock) Now() time.Time                             { return time.Now() }
func (clock) Sleep(ctx context.Context, d time.Duration) { pause(ctx, d) }

// A gate is a protocol.Gate.
type gate struct{ mu sync.RWMutex }

func (g *gate) Share() func() {
	g.mu.RLock()
	return g.mu.RUnlock
}

func (g *gate) Alone() func() {
	g.mu.Lock()
	return g.mu.Unlock
}

// pause waits for d, or until ctx ends. It reports whether ctx is still on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// heed calls cancel with pipeline.ErrStopped once stop is closed, unless ctx ends before.
func heed(ctx context.Context, stop <-chan struct{}, cancel context.CancelCauseFunc) {
	go func() {
		select {
		case <-stop:
			cancel(pipeline.ErrStopped)
		case <-ctx.Done():
		}
	}()
}

// persist calls do until it succeeds or ctx ends. Each try ends after each, and the pauses between
// tries grow to 5 s. It gives up at once where stop, if given, says that an error is there to stay.
// It calls report with the first error, and once a minute after that.
func persist(ctx context.Context, each time.Duration, report func(error), stop func(error) bool, do func(context.Context) error) error {
	var reported time.Time
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		try, cancel := context.WithTimeout(ctx, each)
		err := do(try)
		cancel()
		if err == nil || stop != nil && stop(err) {
			return err
		}
		if ctx.Err() == nil && time.Since(reported) > time.Minute {
			reported = time.Now()
			report(err)
		}
		if !pause(ctx, wait) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
