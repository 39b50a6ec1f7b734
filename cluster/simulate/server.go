package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"advsweep/cluster/protocol"
)

// A server is a model of JetStream with a study's two queues, its objects and its state. What it
// was told lately is lost at a power cut: it syncs its store now and then only.
type server struct {
	w     *world
	store store
	saved store // as after a power cut
}

// A store is what a server has on its disk.
type store struct {
	shards   []shardMessage
	results  []resultMessage
	objects  map[string][]byte
	state    []byte
	sequence uint64
}

// A shardMessage is a shard in the queue. One shard has one message at most.
type shardMessage struct {
	sequence  uint64
	shard     int
	id        string
	avoid     []string
	delivered int
	next      time.Duration // it is delivered from then on
	holder    *group        // who says that it has the shard in hand
}

// A resultMessage is what a worker says, in the other queue.
type resultMessage struct {
	sequence uint64
	m        protocol.Message
	next     time.Duration
	honest   bool // its worker does not lie
}

func newServer(w *world) *server { return &server{w: w, store: store{objects: map[string][]byte{}}} }

func (s store) clone() store {
	s.shards, s.results, s.objects = slices.Clone(s.shards), slices.Clone(s.results), maps.Clone(s.objects)
	return s
}

// sync makes all of the store last.
func (s *server) sync() { s.saved = s.store.clone() }

// cut is a power cut.
func (s *server) cut() {
	if s.saved.objects == nil {
		s.saved.objects = map[string][]byte{}
	}
	s.store = s.saved.clone()
	for i := range s.store.shards { // it does not know who has them
		s.store.shards[i].holder = nil
	}
	s.released()
}

// released makes all that is in the hand of a coordinator, or of one that died, to be delivered now.
func (s *server) released() {
	for i := range s.store.results {
		s.store.results[i].next = 0
	}
}

// add adds a task unless the shard has a message.
func (s *server) add(t protocol.Task) {
	if slices.ContainsFunc(s.store.shards, func(m shardMessage) bool { return m.shard == t.Shard.Index }) {
		return
	}
	s.store.sequence++
	s.w.s.trace("server", "queue", t.Shard.Index)
	s.store.shards = append(s.store.shards, shardMessage{sequence: s.store.sequence, shard: t.Shard.Index, id: t.Shard.ID, avoid: slices.Clone(t.Avoid)})
}

// replace is protocol.Queue's Replace.
func (s *server) replace(t protocol.Task, sequence uint64) {
	if i := slices.IndexFunc(s.store.shards, func(m shardMessage) bool { return m.shard == t.Shard.Index }); i >= 0 {
		if sequence != 0 && s.store.shards[i].sequence != sequence {
			return
		}
		s.store.shards = slices.Delete(s.store.shards, i, i+1)
	}
	s.add(t)
}

// take delivers a shard to g, mostly the one that waits longest.
func (s *server) take(g *group) (m shardMessage, ok bool) {
	var free []int
	for i := range s.store.shards {
		one := &s.store.shards[i]
		if one.holder != nil && one.holder.alive && !s.w.unreachable(one.holder) {
			one.next = s.w.s.now + s.w.conf.ackWait // it gives signs of life
		}
		if one.next <= s.w.s.now {
			free = append(free, i)
		}
	}
	if len(free) == 0 {
		return m, false
	}
	k := free[0]
	if s.w.s.chance(0.2) {
		k = free[s.w.s.rng.IntN(len(free))]
	}
	one := &s.store.shards[k]
	one.delivered++
	one.next, one.holder = s.w.s.now+s.w.conf.ackWait, nil
	s.w.s.trace(g.name, "gets", one.shard)
	return *one, true
}

// find returns the message of that sequence number, or nil.
func (s *server) find(sequence uint64) *shardMessage {
	for i := range s.store.shards {
		if s.store.shards[i].sequence == sequence {
			return &s.store.shards[i]
		}
	}
	return nil
}

// ackShard takes a message off the queue of shards.
func (s *server) ackShard(sequence uint64) {
	s.store.shards = slices.DeleteFunc(s.store.shards, func(m shardMessage) bool { return m.sequence == sequence })
}

// publish puts what a worker says into the queue of results.
func (s *server) publish(m protocol.Message, honest bool) {
	s.store.sequence++
	s.w.s.trace(m.Worker, m.Kind, m.Shard)
	m.Body = bytes.Clone(m.Body)
	s.store.results = append(s.store.results, resultMessage{sequence: s.store.sequence, m: m, honest: honest})
}

// result delivers a message to receiver k of so many.
func (s *server) result(k, receivers int) (m resultMessage, ok bool) {
	for i := range s.store.results {
		one := &s.store.results[i]
		if one.next <= s.w.s.now && one.m.Shard%receivers == k {
			one.next = s.w.s.now + time.Minute
			return *one, true
		}
	}
	return m, false
}

// ackResult takes a message off the queue of results.
func (s *server) ackResult(m resultMessage) {
	s.store.results = slices.DeleteFunc(s.store.results, func(one resultMessage) bool { return one.sequence == m.sequence })
	s.w.acknowledged(m)
}

// A coordinatorQueue is the server as the coordinator has it.
type coordinatorQueue struct{ w *world }

// call does do on the server. A coordinator whose server is its own loses nothing on the way.
func (q coordinatorQueue) call(do func()) {
	q.w.persist(q.w.s.current, do)
}

func (q coordinatorQueue) Add(_ context.Context, tasks ...protocol.Task) error {
	for _, t := range tasks {
		q.call(func() { q.w.server.add(t) })
	}
	return nil
}

func (q coordinatorQueue) Replace(_ context.Context, t protocol.Task, sequence uint64) error {
	q.call(func() { q.w.server.replace(t, sequence) })
	return nil
}

func (q coordinatorQueue) Waiting(context.Context) (n int, err error) {
	q.call(func() { n = len(q.w.server.store.shards) + len(q.w.server.store.results) })
	return n, nil
}

func (q coordinatorQueue) Known(context.Context) (map[int]bool, error) {
	known := map[int]bool{}
	q.call(func() {
		for _, m := range q.w.server.store.shards {
			known[m.shard] = true
		}
	})
	q.call(func() {
		for _, m := range q.w.server.store.results {
			known[m.m.Shard] = true
		}
	})
	return known, nil
}

func (q coordinatorQueue) Publish(_ context.Context, s *protocol.State) error {
	data, err := json.Marshal(s)
	if err == nil {
		q.call(func() { q.w.server.store.state = data })
	}
	return err
}

func (q coordinatorQueue) Object(_ context.Context, name string) (data []byte, err error) {
	q.call(func() {
		var ok bool
		if data, ok = q.w.server.store.objects[name]; !ok {
			err = protocol.ErrNoObject
		}
	})
	return data, err
}

func (q coordinatorQueue) Delete(_ context.Context, name string) error {
	q.call(func() { delete(q.w.server.store.objects, name) })
	return nil
}
