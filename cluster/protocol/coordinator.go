package protocol

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"advsweep/internal/plain"
	"advsweep/internal/remedy"
	"advsweep/internal/words"
	"advsweep/record"
	"advsweep/study"
)

// Options are what a Coordinator is told.
type Options struct {
	Build    string
	Attempts int // how often a shard is tried
	Mixed    bool
	// Verify is the fraction of shards that a second worker does.
	Verify float64
	// Grace is how long the coordinator waits after its start for workers that verify.
	Grace time.Duration
	// Fingerprint returns what this machine computes with, for an arithmetic without a fingerprint.
	// It may be nil.
	Fingerprint func(record.Arithmetic) (fingerprint string, ok bool)
	// Alive returns the names of the workers that were heard lately.
	Alive func() []string
	// Arrived, if set, is called for each shard that becomes done.
	Arrived func(study.Shard, *study.Result)
	Log     func(format string, args ...any)
}

// maxDamaged is how many damaged results of a worker exclude it.
const maxDamaged = 3

// maxNames bounds what is remembered of workers beside the folder, and maxExcluded how many are
// excluded for damaged results: names cost whoever makes them up nothing.
const maxNames, maxExcluded = 100_000, 1000

// A Coordinator hands out the shards of a study that are not done, and keeps what comes back.
// Several goroutines may call its methods, but Handle for one shard only one at a time.
//
// New sets the first fields, and nothing changes them. What changes is in known, under mu, which no
// method holds while it calls anything that waits.
type Coordinator struct {
	plan   *study.Plan
	shards []study.Shard
	store  Store
	queue  Queue
	clock  Clock
	gate   Gate
	o      Options

	mu    sync.Mutex
	known known
}

// known is what a coordinator knows.
type known struct {
	table    *table
	ballot   *ballot
	excluded map[string]string
	damaged  map[string]int       // results of a worker
	seen     map[string]time.Time // when a message of a worker came last
	names    []string             // see alive; nil: to be looked up
	named    time.Time            // when names was looked up
	machines map[string]string    // of workers whose results were checked
	opinions opinions
	changed  bool // workers do not know the state
	changing int  // calls that run and may open shards: see begin
	started  time.Time
	counted  time.Time // when the queues were counted last
	finished bool
}

// A ConflictError says that shards came out different on workers of equal arithmetic, that each says
// the same again, and that nobody else is there to decide.
type ConflictError struct{ Disputes []study.Dispute }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("cluster: machines disagree about %s, so one of them computes wrong: %v; serve the study again with another machine, which decides, or decide by 'advsweep settle'", shardCount(len(e.Disputes)), e.Disputes[0])
}

func shardCount(n int) string {
	if n == 1 {
		return "1 shard"
	}
	return fmt.Sprintf("%d shards", n)
}

// New returns the coordinator of a study. It reads what is done, and forgets what failed, so that
// it is tried again. What is there by a fingerprint that does not rule is set aside.
func New(plan *study.Plan, shards []study.Shard, store Store, queue Queue, clock Clock, gate Gate, o Options) (*Coordinator, error) {
	c := &Coordinator{plan: plan, shards: shards, store: store, queue: queue, clock: clock, gate: gate, o: o}
	k := &c.known
	k.ballot, k.damaged, k.seen, k.machines, k.changed = newBallot(), map[string]int{}, map[string]time.Time{}, map[string]string{}, true
	k.started = clock.Now()
	k.opinions.first = map[string]bool{}
	if err := store.Recover(); err != nil {
		return nil, err
	}
	var err error
	if k.excluded, err = store.Excluded(); err != nil {
		return nil, err
	}
	done, err := store.Done()
	if err != nil {
		return nil, err
	}
	failures, err := store.Failures()
	if err != nil {
		return nil, err
	}
	for _, one := range failures {
		if err := store.Retry(shards[one.Shard]); err != nil {
			return nil, err
		}
	}
	if o.Fingerprint != nil && !o.Mixed {
		for _, r := range plan.Runs {
			a := r.Manifest.Planned()
			if _, ok := k.ballot.rules(a); ok {
				continue
			}
			if print, ok := o.Fingerprint(a); ok {
				a.Fingerprint = print
				k.ballot.own(a)
			}
		}
	}
	asks := map[int]*ask{}
	for i, s := range shards {
		if !done[i] {
			continue
		}
		r, err := store.Get(s)
		if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*study.DamagedError)) || errors.As(err, new(*study.DisputeError)) {
			done[i] = false // since Done has looked
			continue
		}
		if err != nil {
			return nil, err
		}
		if m := &plan.Runs[s.Run].Manifest; !o.Mixed && !r.Arithmetic.Planned(m) {
			return nil, fmt.Errorf("shard %d of run %s: %w", i, plan.Runs[s.Run].Name, remedy.Want(remedy.ServeMixed, &PlanError{plan.Runs[s.Run].Name, m, r.Arithmetic}))
		}
		for _, by := range append([]study.Author{r.By}, r.Confirmed...) {
			k.ballot.vote(cmp.Or(by.Worker, by.String()), r.Arithmetic, i)
			c.learn(by)
		}
		if c.note(s, r) {
			asks[i] = &ask{by: []study.Author{r.By}}
		}
	}
	k.table = newTable(done)
	k.table.asks = asks
	k.ballot.count()
	disputes, err := store.Disputes()
	if err != nil {
		return nil, err
	}
	for _, d := range disputes {
		c.dispute(d)
	}
	_, err = c.setAside(func(_ study.Shard, r *study.Result) bool {
		_, out := k.excluded[r.By.Worker] // a coordinator was killed before all of it was set aside
		return out && len(r.Confirmed) == 0 || !c.ruled(r.Arithmetic)
	})
	return c, err
}

// Start queues all shards that are to be done. Results that are waiting should be handled before.
func (c *Coordinator) Start(ctx context.Context) error {
	return c.queue.Add(ctx, c.tasks(nil)...)
}

// tasks returns tasks for all shards that are to be done, but for those in except.
func (c *Coordinator) tasks(except map[int]bool) []Task {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Task
	for i, s := range c.shards {
		a := c.known.table.asks[i]
		if except[i] || c.known.table.isClosed(i) && (a == nil || a.dispute || !a.queued) {
			continue
		}
		t := Task{Shard: s}
		if a != nil {
			t.Avoid = a.avoid
		}
		all = append(all, t)
	}
	return all
}

// State returns what workers are told.
func (c *Coordinator) State() *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &State{
		Format: study.ResultFormat, Build: c.o.Build, Mixed: c.o.Mixed, Attempts: c.o.Attempts, Done: c.known.finished,
		Prints: slices.Clone(c.known.ballot.prints), Excluded: maps.Clone(c.known.excluded),
	}
}

// Handle does what m says. The caller then takes m off its queue. It returns an error if ctx ends
// before or if the coordinator cannot go on; then the next coordinator handles m again.
func (c *Coordinator) Handle(ctx context.Context, m Message) error {
	if m.Shard < 0 || m.Shard >= len(c.shards) {
		c.o.Log("a message of shard %d is thrown away, want 0 to %d", m.Shard, len(c.shards)-1)
		return nil
	}
	s := c.shards[m.Shard]
	if study.CheckWorkerName(m.Worker) != nil {
		m.Worker = "" // nobody: the folder has no place for such a name
	}
	out := c.hear(m)
	switch m.Kind {
	case KindResult:
		return c.arrived(ctx, s, m)
	case KindFailed:
		if out {
			return c.again(ctx, s, m)
		}
		return c.failed(s, m.Worker, m.Attempts, string(m.Body))
	case KindTried:
		return c.tried(ctx, s, m, out)
	case KindBack:
		return c.again(ctx, s, m)
	case KindVote:
		if out {
			return nil
		}
		return c.voted(ctx, m)
	}
	c.o.Log("a message about shard %d of unknown kind %q is thrown away", m.Shard, plain.Line(m.Kind, plain.Name))
	return nil
}

// hear notes that the worker of m is alive. It reports whether the worker is excluded.
func (c *Coordinator) hear(m Message) (excluded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known.excluded[m.Worker]; ok {
		return true
	}
	if len(c.known.seen) >= maxNames {
		clear(c.known.seen)
	}
	if _, ok := c.known.seen[m.Worker]; !ok {
		c.known.names = nil
	}
	c.known.seen[m.Worker] = c.clock.Now()
	return false
}

// learn notes where a worker is.
func (c *Coordinator) learn(by study.Author) {
	if len(c.known.machines) >= maxNames {
		clear(c.known.machines)
	}
	if by.Worker != "" {
		c.known.machines[by.Worker] = by.Machine
	}
}

// again puts s to the end of the queue, as if it had not been delivered, unless it is closed.
func (c *Coordinator) again(ctx context.Context, s study.Shard, m Message, avoid ...string) error {
	c.mu.Lock()
	a := c.known.table.asks[s.Index]
	closed := c.known.table.isClosed(s.Index)
	if a != nil {
		avoid = a.avoid
	} else if !c.others(avoid) {
		avoid = nil
	}
	c.mu.Unlock()
	if closed && (a == nil || !a.queued) {
		return nil
	}
	return c.queue.Replace(ctx, Task{s, avoid}, m.Sequence)
}

// others reports whether a worker is alive that is not in names. The caller holds mu.
func (c *Coordinator) others(names []string) bool {
	return slices.ContainsFunc(c.alive(), func(n string) bool { return !slices.Contains(names, n) })
}

// alive returns the names of the workers that are alive and not excluded, sorted. It looks anew twice
// a second: many shards may be asked about at once. The caller holds mu, and does not change the
// result.
func (c *Coordinator) alive() []string {
	k, now := &c.known, c.clock.Now()
	if k.names != nil && now.Sub(k.named) < 500*time.Millisecond {
		return k.names
	}
	all := slices.Clone(c.o.Alive())
	for n, at := range k.seen {
		if now.Sub(at) < heard {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	k.names, k.named = slices.DeleteFunc(slices.Compact(all), func(n string) bool {
		_, out := k.excluded[n]
		return out || n == ""
	}), now
	return k.names
}

// failed notes that nobody could do s.
func (c *Coordinator) failed(s study.Shard, worker string, attempts int, message string) error {
	c.mu.Lock()
	closed := c.known.table.isClosed(s.Index)
	if closed { // a verification that failed is none
		delete(c.known.table.asks, s.Index)
	}
	c.mu.Unlock()
	if closed {
		return nil
	}
	message = plain.Line(message, plain.Message)
	if err := c.store.Fail(s, worker, attempts, message); err != nil {
		return err
	}
	c.o.Log("shard %d of run %s failed %d times and is not tried again: %s", s.Index, c.plan.Runs[s.Run].Name, attempts, message)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.table.setFailed(s.Index)
	return nil
}

// tried counts a try of a shard whose deliveries say nothing of its tries.
func (c *Coordinator) tried(ctx context.Context, s study.Shard, m Message, excluded bool) error {
	if !excluded {
		c.mu.Lock()
		c.known.table.tried[s.Index]++
		n := c.known.table.tried[s.Index]
		c.mu.Unlock()
		if n >= c.o.Attempts {
			return c.failed(s, m.Worker, n, string(m.Body))
		}
	}
	return c.again(ctx, s, m)
}

// voted counts what a worker says that it computes with.
func (c *Coordinator) voted(ctx context.Context, m Message) error {
	var a record.Arithmetic
	if err := json.Unmarshal(m.Body, &a); err != nil || !sound(a) || m.Worker == "" {
		c.o.Log("what %s says that it computes with is none, and is thrown away", plain.Line(m.Worker, plain.Name))
		return nil
	}
	return c.vote(ctx, m.Worker, a, -1)
}

// sound reports whether a can be an arithmetic: anybody who has the credential can send one.
func sound(a record.Arithmetic) bool {
	for _, text := range []string{a.Backend, a.Precision, a.MathMode, a.Fingerprint} {
		if text == "" || plain.Line(text, plain.Name) != text {
			return false
		}
	}
	return true
}

// vote counts that worker computes by a, and sets aside what does not go with the fingerprint that
// rules then, if that is another than before.
func (c *Coordinator) vote(ctx context.Context, worker string, a record.Arithmetic, shard int) error {
	c.mu.Lock()
	if c.known.ballot.vote(worker, a, shard) {
		c.known.changed = true
	}
	turned := c.known.ballot.count()
	rule, _ := c.known.ballot.rules(a)
	c.mu.Unlock()
	if len(turned) == 0 || c.o.Mixed {
		return nil
	}
	c.o.Log("most workers compute by %s now: what others found is set aside and done again", rule)
	opened, err := c.setAside(func(_ study.Shard, r *study.Result) bool {
		return slices.Contains(turned, class(r.Arithmetic)) && !c.ruled(r.Arithmetic)
	})
	if err != nil {
		return err
	}
	return c.reopen(ctx, opened)
}

// ruled reports whether results of a are taken as far as its fingerprint goes.
func (c *Coordinator) ruled(a record.Arithmetic) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	rule, ok := c.known.ballot.rules(a)
	return c.o.Mixed || ok && rule == a
}

// setAside takes back results for which match holds, and opens their shards.
func (c *Coordinator) setAside(match func(study.Shard, *study.Result) bool) ([]int, error) {
	over, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer over()
	end := c.gate.Alone()
	opened, err := c.store.SetAside(match)
	end()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened(opened)
	if len(opened) > 0 {
		c.o.Log("%s, which do not go with the others or are not to be trusted, are set aside and done again", shardCount(len(opened)))
	}
	return opened, err
}

// opened notes that shards are to be done again. The caller holds mu.
func (c *Coordinator) opened(shards []int) {
	for _, i := range shards {
		c.known.table.reopen(i)
		if a := c.known.table.asks[i]; a != nil && !a.dispute {
			delete(c.known.table.asks, i)
		}
		delete(c.known.opinions.twice, i)
	}
}

// reopen queues shards that were opened.
func (c *Coordinator) reopen(ctx context.Context, opened []int) error {
	var tasks []Task
	for _, i := range opened {
		tasks = append(tasks, Task{Shard: c.shards[i]})
	}
	return c.queue.Add(ctx, tasks...)
}

// exclude takes nothing of a worker any more, and has done again what nobody else confirmed.
func (c *Coordinator) exclude(ctx context.Context, worker, why string) error {
	over, err := c.begin()
	if err != nil {
		return err
	}
	defer over()
	// Whoever keeps a result of it at this moment looks at excluded afterwards.
	c.mu.Lock()
	c.known.excluded[worker] = why
	c.known.names = nil
	c.mu.Unlock()
	end := c.gate.Alone()
	opened, err := c.store.Exclude(worker, why)
	end()
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.known.changed = true
	c.known.ballot.forget(worker)
	delete(c.known.seen, worker)
	delete(c.known.damaged, worker)
	c.known.table.forgive(worker)
	c.opened(opened)
	c.mu.Unlock()
	c.o.Log("worker %s is excluded: %s; %s of it, which no other worker found too, are done again", worker, why, shardCount(len(opened)))
	if err := c.reopen(ctx, opened); err != nil {
		return err
	}
	return c.refresh(ctx)
}

// refresh takes up what the folder has of disputes, and what has become of them.
func (c *Coordinator) refresh(ctx context.Context) error {
	disputes, err := c.store.Disputes()
	if err != nil {
		return err
	}
	now := map[int]bool{}
	for _, d := range disputes {
		now[d.Shard] = true
	}
	c.mu.Lock()
	var over []study.Shard
	for i, a := range c.known.table.asks {
		if a.dispute && !now[i] {
			over = append(over, c.shards[i])
			delete(c.known.table.asks, i)
		}
	}
	for _, d := range disputes {
		if a := c.known.table.asks[d.Shard]; a == nil || !a.dispute {
			c.dispute(d)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(over, func(a, b study.Shard) int { return a.Index - b.Index })
	for _, s := range over {
		r, err := c.store.Get(s)
		if err != nil {
			if err := c.reopen(ctx, []int{s.Index}); err != nil {
				return err
			}
			continue
		}
		c.done(s, r)
		if len(r.Confirmed) > 0 {
			continue
		}
		// It is what was left when a worker was excluded: nobody says that it is right.
		c.mu.Lock()
		c.known.table.asks[s.Index] = &ask{by: []study.Author{r.By}}
		c.mu.Unlock()
		if err := c.ask(ctx, s, 0); err != nil {
			return err
		}
	}
	return nil
}

// done notes that s is done by r.
func (c *Coordinator) done(s study.Shard, r *study.Result) {
	c.mu.Lock()
	fresh := c.known.table.setDone(s.Index)
	c.mu.Unlock()
	if fresh && c.o.Arrived != nil {
		c.o.Arrived(s, r)
	}
}

// arrived keeps the result of s that m brings, or names if it is too large for a message.
func (c *Coordinator) arrived(ctx context.Context, s study.Shard, m Message) error {
	data := m.Body
	if m.Object != "" {
		var err error
		data, err = c.queue.Object(ctx, m.Object)
		if errors.Is(err, ErrNoObject) { // it was kept, or its worker sent it twice
			return c.again(ctx, s, m)
		}
		if err != nil {
			return err
		}
	}
	if err := c.take(ctx, s, m, data); err != nil {
		return err
	}
	if r, err := study.DecodeResult(s, data); m.Object == "" || err != nil || r.By.Worker != m.Worker {
		return nil // nor does anybody remove what another worker sent
	}
	if err := c.queue.Delete(ctx, m.Object); err != nil {
		c.o.Log("the server keeps a result that is in the folder: %v", err)
	}
	return nil
}

// take keeps data, which is said to be the result of s.
func (c *Coordinator) take(ctx context.Context, s study.Shard, m Message, data []byte) error {
	c.mu.Lock()
	_, out := c.known.excluded[m.Worker]
	c.mu.Unlock()
	if out {
		return c.again(ctx, s, m, m.Worker)
	}
	r, err := study.DecodeResult(s, data)
	switch {
	case err != nil:
	case r.By.Worker != m.Worker || m.Worker == "":
		err = fmt.Errorf("it names %q as its worker", r.By.Worker)
	case len(r.Confirmed) > 0:
		err = errors.New("it says itself that others confirm it")
	case !sound(r.Arithmetic):
		err = fmt.Errorf("it is of arithmetic %q", plain.Line(fmt.Sprintf("%+v", r.Arithmetic), plain.Name))
	case !c.o.Mixed && !r.Arithmetic.Planned(&c.plan.Runs[s.Run].Manifest):
		err = &PlanError{c.plan.Runs[s.Run].Name, &c.plan.Runs[s.Run].Manifest, r.Arithmetic}
	case !c.ruled(r.Arithmetic): // also before the first result
		if err = c.store.Check(s, r); err != nil {
			break
		}
		if err := c.vote(ctx, m.Worker, r.Arithmetic, s.Index); err != nil {
			return err
		}
		if !c.ruled(r.Arithmetic) {
			state := c.State()
			c.o.Log("the result of shard %d from %s is not taken: %v", s.Index, m.Worker, state.Refuse(c.plan, s.Run, r.Arithmetic))
			return c.again(ctx, s, m, m.Worker)
		}
	}
	if err != nil {
		return c.refuse(ctx, s, m, err)
	}
	return c.keep(ctx, s, m, r, data)
}

// ErrFinished says that a result came when all was done. It is not looked at any more.
var ErrFinished = errors.New("protocol: the study is finished")

// begin notes that what is done may change, so that the study is not finished before the call of end.
// It returns ErrFinished if it is.
func (c *Coordinator) begin() (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known.finished {
		return nil, ErrFinished
	}
	c.known.changing++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.known.changing--
	}, nil
}

// keep is put, unless the study is finished.
func (c *Coordinator) keep(ctx context.Context, s study.Shard, m Message, r *study.Result, data []byte) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	return c.put(ctx, s, m, r, data)
}

// keepOne is Put. What goes through many shards does not run beside it: it would take a dispute that
// is half written for one that is over.
func (c *Coordinator) keepOne(s study.Shard, data []byte) (study.Settled, error) {
	end := c.gate.Share()
	defer end()
	return c.store.Put(s, data)
}

// put puts r into the folder, and counts s as done if it is.
func (c *Coordinator) put(ctx context.Context, s study.Shard, m Message, r *study.Result, data []byte) error {
	settled, err := c.keepOne(s, data)
	if errors.As(err, new(*study.DifferentError)) && !c.o.Mixed { // by who worked in the folder beside us
		if _, err := c.setAside(func(t study.Shard, r *study.Result) bool { return t.Index == s.Index && !c.ruled(r.Arithmetic) }); err != nil {
			return err
		}
		settled, err = c.keepOne(s, data)
	}
	var dispute *study.DisputeError
	switch {
	case errors.As(err, new(*study.DamagedError)):
		return c.refuse(ctx, s, m, err)
	case errors.As(err, new(*study.ExcludedError)):
		return c.again(ctx, s, m, m.Worker)
	case errors.As(err, new(*study.DifferentError)): // mixed: the first stays
	case errors.As(err, &dispute):
		return c.disputed(ctx, s, m, dispute.Dispute)
	case err != nil:
		return err
	}
	if err := c.vote(ctx, m.Worker, r.Arithmetic, s.Index); err != nil {
		return err
	}
	if back, err := c.late(s, m.Worker, r); err != nil || back {
		return cmp.Or(err, c.reopen(ctx, []int{s.Index}))
	}
	c.mu.Lock()
	c.learn(r.By)
	a := c.known.table.asks[s.Index]
	if a != nil && a.dispute {
		delete(c.known.table.asks, s.Index)
	}
	c.mu.Unlock()
	c.done(s, r)
	if settled.Any() {
		return c.settled(ctx, s, settled)
	}
	return c.second(ctx, s, m, r)
}

// late takes r, a result of s that was just kept, back if its worker was excluded, or another
// fingerprint came to rule, while it was kept. It reports whether s has no result now: who excluded
// the worker may have taken it back already.
func (c *Coordinator) late(s study.Shard, worker string, r *study.Result) (back bool, err error) {
	c.mu.Lock()
	_, out := c.known.excluded[worker]
	c.mu.Unlock()
	if !out && c.ruled(r.Arithmetic) {
		return false, nil
	}
	if _, err := c.setAside(func(t study.Shard, r *study.Result) bool {
		return t.Index == s.Index && (!c.ruled(r.Arithmetic) || r.By.Worker == worker && len(r.Confirmed) == 0)
	}); err != nil {
		return false, err
	}
	_, err = c.store.Get(s)
	return err != nil, nil
}

// settled excludes who was outvoted.
func (c *Coordinator) settled(ctx context.Context, s study.Shard, how study.Settled) error {
	if r, err := c.store.Get(s); err == nil { // who confirmed it
		c.mu.Lock()
		c.note(s, r)
		c.mu.Unlock()
	}
	for _, wrong := range how.Wrong {
		if wrong.Worker == "" {
			continue
		}
		why := fmt.Sprintf("what it found of shard %d of run %s, %.6s, was contradicted by others, who found %.6s", s.Index, c.plan.Runs[s.Run].Name, wrong.Hash, how.Winner.Hash)
		if err := c.exclude(ctx, wrong.Worker, why); err != nil {
			return err
		}
	}
	return nil
}

// refuse does not take what came as a result of s, counts it against its worker, and has the shard
// done by another. A shard of which several workers send no result fails.
func (c *Coordinator) refuse(ctx context.Context, s study.Shard, m Message, why error) error {
	name := cmp.Or(plain.Line(m.Worker, plain.Name), "a worker without a name")
	c.o.Log("the result of shard %d from %s is not taken: %v", s.Index, name, why)
	c.mu.Lock()
	if len(c.known.damaged) >= maxNames {
		clear(c.known.damaged)
	}
	c.known.damaged[m.Worker]++
	out := c.known.damaged[m.Worker] >= maxDamaged && len(c.known.excluded) < maxExcluded && m.Worker == name
	tries := 0
	if !c.known.table.isClosed(s.Index) {
		tries = c.known.table.refuse(s.Index, m.Worker)
	}
	c.mu.Unlock()
	if out {
		if err := c.exclude(ctx, m.Worker, fmt.Sprintf("it sent %d results that are none, the last of shard %d: %v", maxDamaged, s.Index, why)); err != nil {
			return err
		}
	} else if tries >= c.o.Attempts {
		return c.failed(s, name, tries, why.Error())
	}
	return c.again(ctx, s, m, m.Worker)
}

// Conflict returns a *ConflictError if shards are disputed, or nil.
func (c *Coordinator) Conflict() error {
	disputes, err := c.store.Disputes()
	if err != nil || len(disputes) == 0 {
		return err
	}
	return &ConflictError{disputes}
}

// AllDone reports whether each shard is done.
func (c *Coordinator) AllDone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.table.count == len(c.shards)
}

// IsFinished reports whether nothing is left to do. Once it has said so, State does too.
func (c *Coordinator) IsFinished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.known
	if !k.finished && k.table.open == 0 && k.changing == 0 && !c.waiting() {
		k.finished, k.changed = true, true
	}
	return k.finished
}

// Progress is how many shards are done, how many failed, and how many seconds those that are open
// are expected to take.
func (c *Coordinator) Progress() (done, failed int, left float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.shards {
		if !c.known.table.isClosed(i) {
			left += s.Seconds
		}
	}
	return c.known.table.count, len(c.known.table.failed), left
}

// countEvery is how often Look counts the queues.
const countEvery = 5 * time.Second

// Look does what is to be done now and then: it tells workers the state, queues what is in no queue
// any more, and asks others for a second opinion once there are others. It may be called as often
// as every half second.
func (c *Coordinator) Look(ctx context.Context) error {
	c.mu.Lock()
	changed := c.known.changed
	c.known.changed = false
	now := c.clock.Now()
	count := now.Sub(c.known.counted) >= countEvery
	if count {
		c.known.counted = now
	}
	c.mu.Unlock()
	if changed && c.queue.Publish(ctx, c.State()) != nil { // the store may be full, until results are taken
		c.mu.Lock()
		c.known.changed = true
		c.mu.Unlock()
	}
	if !count {
		return nil
	}
	if err := c.asks(ctx); err != nil {
		return err
	}
	return c.find(ctx)
}

// find queues the shards that are in no queue and whose results are not in the folder. A power cut
// loses shards so, and a worker that says that it has done what it has not.
func (c *Coordinator) find(ctx context.Context) error {
	waiting, err := c.queue.Waiting(ctx)
	if err != nil || waiting >= len(c.tasks(nil)) {
		return nil // the server is away, or all may be there
	}
	there, err := c.queue.Known(ctx)
	if err != nil {
		return nil
	}
	lost := c.tasks(there)
	if len(lost) == 0 {
		return nil
	}
	c.o.Log("%s are in no queue and not done, the first is %d: they are queued again", shardCount(len(lost)), lost[0].Shard.Index)
	return c.queue.Add(ctx, lost...)
}

// disputed opens s, which came out different, and has it done once more.
func (c *Coordinator) disputed(ctx context.Context, s study.Shard, m Message, d study.Dispute) error {
	c.o.Log("%v: one of the machines computes wrong, and the shard is done once more", d)
	c.mu.Lock()
	a := c.dispute(d)
	a.contradicted(m.Worker, m.Sequence)
	delete(c.known.opinions.twice, s.Index)
	why, out := c.known.excluded[m.Worker]
	c.mu.Unlock()
	if out { // it was excluded while this was kept
		if err := c.exclude(ctx, m.Worker, why); err != nil {
			return err
		}
	}
	return c.ask(ctx, s, m.Sequence)
}

// dispute opens the shard of d. The caller holds mu, or nobody else has c yet.
func (c *Coordinator) dispute(d study.Dispute) *ask {
	c.known.table.reopen(d.Shard)
	a := c.known.table.asks[d.Shard]
	if a == nil || !a.dispute {
		a = &ask{dispute: true, first: map[string]uint64{}, again: map[string]bool{}}
		c.known.table.asks[d.Shard] = a
	}
	a.by = nil
	for _, claim := range d.Claims {
		a.by = append(a.by, claim.Author)
	}
	return a
}

// who names those that disagree.
func who(by []study.Author) string {
	var names []string
	for _, a := range by {
		names = append(names, a.String())
	}
	slices.Sort(names)
	return words.And(slices.Compact(names))
}
