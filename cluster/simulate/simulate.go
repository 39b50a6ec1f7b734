// Package simulate runs a whole study, coordinator, workers, server, network and disk, in one
// process and in a time of its own, from a seed: the coordinator and the workers are those of
// package protocol, the folder is that of package study, and all around them is a model that fails
// in every way it can. Exactly one process of the model runs at a time, and one random generator
// decides all, so a seed always gives the same run. That is how FoundationDB and TigerBeetle are
// tested.
//
// Run checks at every step that nothing wrong is believed, and at the end that the study is done:
// see check.go for what must hold.
package simulate

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Report is what became of a run.
type Report struct {
	Seed  uint64
	Trace uint64 // a hash of all events: equal for equal runs
	Steps int
	Time  time.Duration // in the model
	// What happened: how often processes were killed, the power failed, results were lies, and so on.
	Counts map[string]int
	Tail   []string // the last events
	Config string
}

// A failure is a rule that was broken. Run's error is one.
type failure struct{ error }

// An event is what happens at a time of the model.
type event struct {
	at    time.Duration
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// A scheduler runs processes one at a time, in a time of its own.
type scheduler struct {
	rng   *rand.Rand
	now   time.Duration
	queue events
	order int
	// current is the process that runs; nil between events.
	current *process
	report  *Report
	hash    interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}
	tail   [80]string
	traced int
	err    error
}

func newScheduler(seed uint64) *scheduler {
	return &scheduler{rng: rand.New(rand.NewPCG(seed, 16)), report: &Report{Seed: seed, Counts: map[string]int{}}, hash: fnv.New64a()}
}

// after has do called when d is over.
func (s *scheduler) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, event{s.now + d, s.order, do})
}

// step does the next event, and reports whether there was one and all is well.
func (s *scheduler) step() bool {
	if len(s.queue) == 0 || s.err != nil {
		return false
	}
	e := heap.Pop(&s.queue).(event)
	s.now = e.at
	s.report.Steps++
	e.do()
	return s.err == nil
}

// trace notes an event.
func (s *scheduler) trace(who, what string, shard int) {
	line := fmt.Sprintf("%10.3f %-14s %s %d", s.now.Seconds(), who, what, shard)
	_, _ = s.hash.Write([]byte(line)) // a hash takes every write
	s.tail[s.traced%len(s.tail)] = line
	s.traced++
}

// count counts what happened.
func (s *scheduler) count(what string) { s.report.Counts[what]++ }

// fail ends the run: a rule was broken.
func (s *scheduler) fail(format string, args ...any) {
	if s.err == nil {
		s.err = failure{fmt.Errorf(format, args...)}
	}
}

// finish fills in the report.
func (s *scheduler) finish() {
	r := s.report
	r.Trace, r.Time = s.hash.Sum64(), s.now
	for i := max(0, s.traced-len(s.tail)); i < s.traced; i++ {
		r.Tail = append(r.Tail, s.tail[i%len(s.tail)])
	}
}

// chance reports true so often, p from 0 to 1.
func (s *scheduler) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// between returns a random time from lo to hi.
func (s *scheduler) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(s.rng.Int64N(int64(hi-lo)+1))
}

// A group is processes that live and die together, as those of a machine do.
type group struct {
	s     *scheduler
	name  string
	alive bool
	cut   bool // from the network
	procs []*process
}

// A process runs until it calls pause, and goes on when that time is over.
type process struct {
	g     *group
	dead  bool
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// killed is the panic that ends a process.
type killed struct{}

// spawn starts a process in g.
func (g *group) spawn(body func(p *process)) {
	p := &process{g: g}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		p.yield = yield
		body(p)
	})
	g.procs = append(g.procs, p)
	p.wake(0)
}

func (p *process) wake(d time.Duration) {
	p.g.s.after(d, func() {
		if !p.dead {
			p.g.s.current = p
			_, _ = p.next()
			p.g.s.current = nil
		}
	})
}

// pause hands control back until d is over. Where the process is killed meanwhile it does not
// return.
func (p *process) pause(d time.Duration) {
	if p.dead {
		panic(killed{})
	}
	p.wake(d)
	if !p.yield(struct{}{}) || p.dead {
		panic(killed{})
	}
}

// kill ends all processes of g at once. No process of g may be running.
func (g *group) kill() {
	g.alive = false
	for _, p := range g.procs {
		p.dead = true
		p.stop()
	}
	g.procs = nil
}

// String tells what happened, sorted.
func (r *Report) String() string {
	var names []string
	for n := range r.Counts {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "%s %d, ", n, r.Counts[n])
	}
	return strings.TrimSuffix(b.String(), ", ")
}
