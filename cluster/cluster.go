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
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// names are those of a study on the server.
type names struct{ id string }

const prefix, shardsSuffix = "advsweep-", "-shards"

func (n names) shards() string               { return prefix + n.id + shardsSuffix }
func (n names) results() string              { return prefix + n.id + "-results" }
func (n names) bucket() string               { return prefix + n.id }
func (n names) shard(index string) string    { return "advsweep." + n.id + ".shard." + index }
func (n names) result(index string) string   { return "advsweep." + n.id + ".result." + index }
func (n names) beat() string                 { return "advsweep." + n.id + ".beat" }
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

// A state is what the coordinator tells workers. It is kept on the server, so that a worker that
// comes late knows it too.
type state struct {
	Mixed    bool `json:"mixed"`
	Attempts int  `json:"attempts"`
	Done     bool `json:"done"` // nothing is left to do
	// that there are results of; without mixed of one fingerprint for all else
	Seen []record.Arithmetic `json:"seen"`
}

// refuse says why a result of run that was computed by a may not go with those that are there, or
// returns nil.
func (s *state) refuse(plan *study.Plan, run int, a record.Arithmetic) error {
	if s.Mixed {
		return nil
	}
	m := &plan.Runs[run].Manifest
	if !a.Planned(m) {
		return remedy.Want(remedy.ServeMixed, fmt.Errorf("cluster: run %s is planned for %s %s and this is by %s, whose bits may differ: only a server that allows it mixes them", plan.Runs[run].Name, m.Backend, m.Arithmetic, a))
	}
	for _, seen := range s.Seen {
		if seen.Backend == a.Backend && seen.Precision == a.Precision && seen.Product == a.Product && seen.Fingerprint != a.Fingerprint {
			return remedy.Want(remedy.ServeMixed, fmt.Errorf("cluster: results are there by %s and this is by %s: the machines compute different bits; use machines of one kind, or allow the server to mix them, which marks the results", seen, a))
		}
	}
	return nil
}

// has reports whether results of a are there.
func (s *state) has(a record.Arithmetic) bool { return slices.Contains(s.Seen, a) }

// Bounds of one try, at messages and at objects, which may be models of gigabytes.
const (
	messageTime = 15 * time.Second
	objectTime  = 15 * time.Minute
)

func readState(ctx context.Context, kv jetstream.KeyValue) (*state, error) {
	entry, err := kv.Get(ctx, stateName)
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := json.Unmarshal(entry.Value(), s); err != nil {
		return nil, fmt.Errorf("cluster: state: %w", err)
	}
	return s, nil
}

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

// persist calls do until it succeeds, with longer and longer pauses, each try bounded by each, or
// ctx ends. It gives up at once where stop, if given, says that the error is there to stay. tell is
// called once.
func persist(ctx context.Context, each time.Duration, tell func(error), stop func(error) bool, do func(context.Context) error) error {
	told := false
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		try, cancel := context.WithTimeout(ctx, each)
		err := do(try)
		cancel()
		if err == nil || stop != nil && stop(err) {
			return err
		}
		if ctx.Err() == nil && !told {
			told = true
			tell(err)
		}
		if !pause(ctx, wait) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// dial connects once. An error names url and says what to do.
func dial(url string, cred *credential, ca string, extra ...nats.Option) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name("advsweep"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(20 * time.Second),
	}, extra...)
	options = append(options, cred.options()...)
	if ca != "" {
		options = append(options, nats.RootCAs(ca))
	}
	nc, err := nats.Connect(url, options...)
	if err == nil {
		return nc, nil
	}
	return nil, explain(url, cred, ca, err)
}

// A permanentError is one of connecting that trying again does not help.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func explain(url string, cred *credential, ca string, err error) error {
	text := err.Error()
	switch {
	case refusedCredential(err) && cred.kind == noCredential:
		return permanentError{remedy.Want(remedy.Credential, fmt.Errorf("cluster: %s wants a credential: give a copy of the server's file", url))}
	case refusedCredential(err):
		return permanentError{remedy.Want(remedy.Credential, fmt.Errorf("cluster: %s refuses the credential in %s: want a copy of the server's file", url, cred.path))}
	case strings.Contains(text, "x509:") || strings.Contains(text, "certificate"):
		hint := "give the certificate of who signed the server's"
		if ca != "" {
			hint = "it is not signed by who is in " + ca + ", or not for that name"
		}
		err := fmt.Errorf("cluster: %s: its certificate is not trusted: %w; %s", url, err, hint)
		if ca == "" {
			err = remedy.Want(remedy.Authority, err)
		}
		return permanentError{err}
	case errors.Is(err, nats.ErrSecureConnWanted), strings.Contains(text, "secure connection not available"):
		return permanentError{remedy.Want(remedy.TLS, fmt.Errorf("cluster: %s does not offer TLS: start it with a certificate and a key, or use nats://", url))}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("cluster: no answer from %s: %w; is it a NATS server, and can it be reached from here?", url, err)
	}
	return fmt.Errorf("cluster: no answer from %s: %w", url, err)
}

func refusedCredential(err error) bool {
	if err == nil {
		return false
	}
	for _, one := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported} {
		if errors.Is(err, one) {
			return true
		}
	}
	return strings.Contains(strings.ToLower(err.Error()), "authorization violation")
}
