// Package protocol is what the coordinator and the workers of a study do with each other, without
// a network, a clock or a goroutine of its own: package cluster brings these by NATS, and package
// simulate brings models of them that fail in every way.
//
// A shard's message waits in a work queue until a worker takes it. The worker sends what it found,
// and then takes the message off its queue. The coordinator checks what was sent, keeps it in the
// study's folder, and then takes it off the other queue. So nothing is lost, whoever is killed, and
// some shards are done twice. Nothing is believed unchecked:
//
//   - A result must be one that its shard can have found. A worker that sends maxDamaged others is
//     excluded.
//   - Two workers of equal arithmetic must find the same. If they do not, the shard is open again,
//     and another worker does it. Who is outvoted is excluded.
//   - Results whose bits may differ are not mixed, unless the user allows it: see Print.
//   - A part of the shards is done by a second worker, if the user wants it.
//
// Whoever is excluded has what nobody else confirmed done again.
package protocol

import (
	"context"
	"errors"
	"time"

	"advsweep/record"
	"advsweep/study"
)

// A Message is what a worker says of a shard to the coordinator.
type Message struct {
	Kind     string
	Shard    int // index; for KindVote any
	Worker   string
	Sequence uint64 // of the shard's message that the worker had; 0: none
	Attempts int    // of KindFailed: how often the shard was tried
	Object   string // of KindResult: where the result is, if not in Body
	Body     []byte
}

// Kinds of messages to the coordinator.
const (
	KindResult = "result" // the body is the encoded study.Result
	KindFailed = "failed" // nobody could do the shard; the body says why
	KindTried  = "tried"  // this worker could not do the shard, of which nobody counts the tries
	KindBack   = "back"   // the worker stops: the shard is as if it had not been begun
	KindVote   = "vote"   // the body is the worker's record.Arithmetic, as JSON: see Print
)

// A Task is a shard in the queue. Workers of the names in Avoid leave it to others: the server
// counts how often it delivers a message, so of a task with Avoid that count says nothing of tries.
type Task struct {
	Shard study.Shard
	Avoid []string
}

// ErrNoObject says that a result which is too large for a message is not where the message says.
var ErrNoObject = errors.New("protocol: no such object")

// A Queue is what the coordinator has on the server. Its methods try until they succeed or ctx
// ends. Several goroutines may call them.
type Queue interface {
	// Add adds tasks to the queue of shards, unless a message of the shard is there.
	Add(ctx context.Context, tasks ...Task) error
	// Replace adds a task in the place of the message of its shard that has that sequence number,
	// so that the server counts its deliveries anew. If the shard has another message, that stays.
	// If sequence is 0 the task takes the place of whatever message there is.
	Replace(ctx context.Context, task Task, sequence uint64) error
	// Waiting returns how many messages both queues hold.
	Waiting(ctx context.Context) (int, error)
	// Known returns the shards that have a message in one of the queues. It looks at the queue of
	// shards first: a worker sends its result before it takes its shard off that queue.
	Known(ctx context.Context) (map[int]bool, error)
	// Publish tells workers the state. It tries once.
	Publish(ctx context.Context, s *State) error
	// Object returns a large result, or ErrNoObject. Delete removes it.
	Object(ctx context.Context, name string) ([]byte, error)
	Delete(ctx context.Context, name string) error
}

// A Store keeps results, as a *study.Folder does, whose methods it has.
type Store interface {
	Recover() error
	Check(s study.Shard, r *study.Result) error
	Put(s study.Shard, encoded []byte) (study.Settled, error)
	Get(s study.Shard) (*study.Result, error)
	Done() ([]bool, error)
	Disputes() ([]study.Dispute, error)
	Exclude(worker, why string) (opened []int, err error)
	Excluded() (map[string]string, error)
	SetAside(match func(study.Shard, *study.Result) bool) (opened []int, err error)
	Fail(s study.Shard, worker string, attempts int, message string) error
	Failures() ([]study.Failure, error)
	Retry(s study.Shard) error
}

// A Delivery is a shard's message that a worker has received.
type Delivery interface {
	Index() int       // of the shard; -1 if the message is of none
	ID() string       // of the shard
	Avoid() []string  // see Task
	Number() int      // of this delivery of the message, from 1
	Sequence() uint64 // of the message
	// Hold tells the server from now on that the shard is in hand, so that nobody else gets it.
	Hold(ctx context.Context) (held context.Context, release func())
	Ack() error                    // the shard is done
	Nak(delay time.Duration) error // somebody is to have it after delay
	Term(why string) error         // nobody is to have this message again
}

// A Link is a worker's way to the coordinator. One worker uses it.
type Link interface {
	// Next waits for a shard for a second or so. It returns nil if none came.
	Next(ctx context.Context) (Delivery, error)
	// Send sends m, however long it takes until the server has stored it. It sends a body that is
	// too large for a message as an object.
	Send(ctx context.Context, m Message) error
	// State returns what the coordinator said last.
	State() State
	// Ended returns why the worker is to end, or nil.
	Ended() error
}

// A Doer computes. A *study.Worker does, with some care around it.
type Doer interface {
	Prepare(run int) (record.Arithmetic, error)
	Do(ctx context.Context, s study.Shard) (*study.Result, error)
}

// A Clock tells the time.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or less if ctx ends or there is something better to do.
	Sleep(ctx context.Context, d time.Duration)
}

// A Gate lets several goroutines through, or one alone. Both methods wait, and return what is to be
// called at the end.
type Gate interface {
	Share() (end func())
	Alone() (end func())
}

// heard is how long after its last sign of life a worker counts as alive.
const heard = 45 * time.Second
