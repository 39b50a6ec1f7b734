// Package cluster does a study's shards on many machines, by NATS JetStream. Serve is the
// coordinator, which has the study's folder; it brings the server with it, or uses a cluster that
// exists. Work is a worker, which needs the server's URL and nothing else.
//
// On the server a study with the id ID of its plan has
//
//	advsweep-ID-shards   a work queue, subjects advsweep.ID.shard.INDEX: one message for each shard that is to be done
//	advsweep-ID-results  a work queue, subjects advsweep.ID.result.INDEX: what workers have to say of shards, for the coordinator
//	advsweep-ID          an object store: the plan, models and images by SHA-256, and results that no message can hold
//	advsweep-ID          a key and its value: the state, see state
//
// and the subjects advsweep.ID.beat and advsweep.ID.state, which nothing depends on.
//
// Nothing is lost, whoever is killed: a worker takes its shard off the queue after its result is in
// the other, and the coordinator takes the result off that after it is in the folder. What is done
// twice for that reason changes nothing, for equal shards give equal results and the folder keeps
// one. What neither the folder nor a queue has, as after a power cut, is queued anew.
//
// A shard's message is delivered a bounded number of times. Whoever gets it once more does not try
// it: it reports that the shard's workers died. So the count is the server's, and outlives workers
// and coordinator.
package cluster

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"advsweep/pipeline"
	"advsweep/study"

	"github.com/nats-io/nats.go/jetstream"
)

// names are those of a study on the server.
type names struct{ id string }

const prefix, shardsSuffix = "advsweep-", "-shards"

func (n names) shardsStream() string         { return prefix + n.id + shardsSuffix }
func (n names) resultsStream() string        { return prefix + n.id + "-results" }
func (n names) bucket() string               { return prefix + n.id }
func (n names) shard(index string) string    { return "advsweep." + n.id + ".shard." + index }
func (n names) result(index string) string   { return "advsweep." + n.id + ".result." + index }
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

// indexOf is the shard's index that a subject ends with, or -1.
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

// Kinds of messages to the coordinator.
const (
	kindResult = "result" // the body is the encoded study.Result
	kindFailed = "failed" // nobody could do the shard; the body says why
	kindBack   = "back"   // the worker stops: the shard is as if it had not been begun
)

// Bounds of one try, at messages and at objects, which may be models of gigabytes.
const (
	messageTime = 15 * time.Second
	objectTime  = 15 * time.Minute
)

// full reports whether the server refused a message for want of room.
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

// storeFailed is the code of a message that a stream did not take.
const storeFailed jetstream.ErrorCode = 10077

// there reports whether a queue did not take a message because it has one of that subject.
func there(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == storeFailed && strings.Contains(api.Description, "per subject")
}

// gone reports whether a stream or consumer is no longer there.
func gone(err error) bool {
	for _, one := range []error{jetstream.ErrStreamNotFound, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerDoesNotExist, jetstream.ErrBucketNotFound} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// pause waits, and reports whether ctx is still on.
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
