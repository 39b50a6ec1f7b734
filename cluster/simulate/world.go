package simulate

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"
)

// A config is what a run is like. It is drawn from the seed.
type config struct {
	workers  int // that do not lie
	liars    []string
	ackWait  time.Duration
	slow     time.Duration // a write takes up to
	latency  time.Duration
	own      bool // the coordinator's machine has the workers' fingerprint
	external bool // the server is another's: it stays up, and the coordinator's way to it loses too
	verify   float64
	faults   time.Duration // how long the following goes on
	rates
}

// rates say how often what happens.
type rates struct {
	lose   float64 // messages that are lost on their way, of 1
	fails  float64 // shards that fail, though nothing is wrong with them, of 1
	kills  float64 // of processes, a second
	cuts   float64 // power cuts of the coordinator's machine, a second
	parts  float64 // times that a worker is cut off, a second
	full   float64 // times that the disk becomes full, a second
	damage float64 // bytes of results that are damaged, a second
}

func (s *scheduler) config() config {
	c := config{
		workers: 2 + s.rng.IntN(3), ackWait: s.between(2*time.Second, 20*time.Second), slow: s.between(0, 300*time.Millisecond),
		latency: s.between(time.Millisecond, 100*time.Millisecond), own: s.chance(0.3), external: s.chance(0.3), faults: s.between(20*time.Second, 3*time.Minute),
	}
	rate := func(p float64, most float64) float64 {
		if s.chance(p) {
			return s.rng.Float64() * most
		}
		return 0
	}
	c.lose, c.kills, c.cuts = rate(0.6, 0.3), rate(0.5, 0.2), rate(0.4, 0.1)
	c.parts, c.full, c.damage, c.fails = rate(0.4, 0.1), rate(0.3, 0.1), rate(0.2, 0.05), rate(0.4, 0.2)
	c.verify = []float64{0, 0, 0.3, 1, 1}[s.rng.IntN(5)]
	for s.chance(0.55) && len(c.liars) < min(lies, c.workers-1) {
		c.liars = append(c.liars, lieNames[s.rng.IntN(len(lieNames))])
	}
	return c
}

// receivers is how many messages of workers are handled at a time.
const receivers = 3

// A world is a run.
type world struct {
	s       *scheduler
	conf    config
	truth   *Truth
	disk    *disk
	server  *server
	ledger  *ledger
	checker *study.Folder
	byID    map[string]study.Shard
	mistake Mistake

	faults      bool
	coordinator *group
	crew        []*member
	beats       map[string]time.Duration // when a worker was heard last
	excluded    map[string]bool
	ended       bool // the study is done
}

// Run runs a study from a seed, and returns an error if a rule is broken. mistake is one that the
// model makes, so that a test sees that it is found; None is none.
func Run(truth *Truth, seed uint64, mistake Mistake) (*Report, error) {
	s := newScheduler(seed)
	w := &world{s: s, conf: s.config(), truth: truth, mistake: mistake, faults: true, byID: map[string]study.Shard{}, beats: map[string]time.Duration{}, excluded: map[string]bool{}}
	w.disk, w.server, w.ledger = newDisk(w), newServer(w), newLedger(len(truth.Shards))
	s.report.Config = fmt.Sprintf("%+v", w.conf)
	var err error
	if w.checker, err = study.On(nil, "simulated", truth.Plan); err != nil {
		return nil, err
	}
	for _, one := range truth.Shards {
		w.byID[one.ID] = one
	}
	for i := range w.conf.workers {
		w.crew = append(w.crew, &member{w: w, name: fmt.Sprintf("honest-%d", i), machine: fmt.Sprintf("m%d", i/2)})
	}
	for i, lie := range w.conf.liars {
		w.crew = append(w.crew, &member{w: w, name: fmt.Sprintf("liar-%d-%s", i, lie), machine: fmt.Sprintf("l%d", i), lie: lie, number: i})
	}
	s.after(w.conf.faults, w.calm)
	w.serve()
	for _, m := range w.crew {
		m.start(s.between(0, 5*time.Second))
	}
	w.trouble()
	const hour = time.Hour
	for s.step() && !w.ended {
		if s.now > w.conf.faults+hour {
			s.fail("the study is not done an hour after all faults have ended: %s", w.missing())
		}
	}
	if s.err == nil && !w.ended {
		s.fail("nothing happens any more, and the study is not done: %s", w.missing())
	}
	w.coordinator.kill()
	for _, m := range w.crew {
		m.g.kill()
	}
	s.finish()
	return s.report, s.err
}

// missing says what is not done.
func (w *world) missing() string {
	f, err := study.On(w.disk, "simulated", w.truth.Plan)
	if err == nil {
		err = f.Missing()
	}
	return fmt.Sprintf("%v; in the queue are %+v, and %d results; alive are %q", err, w.server.store.shards, len(w.server.store.results), w.alive())
}

// calm ends all faults. Workers that lie leave, and who was killed is started again.
func (w *world) calm() {
	w.s.trace("world", "faults end", 0)
	w.faults, w.disk.full = false, false
	w.conf.lose, w.conf.fails = 0, 0
	for _, m := range w.crew {
		m.g.cut = false
		if m.lie != "" {
			m.g.kill()
		}
	}
}

// trouble makes faults, as often as conf says.
func (w *world) trouble() {
	if !w.faults {
		return
	}
	const every = 200 * time.Millisecond
	w.s.after(every, w.trouble)
	c, happens := w.conf, func(perSecond float64) bool { return w.s.chance(perSecond * every.Seconds()) }
	if happens(c.kills) {
		if victim := w.s.rng.IntN(len(w.crew) + 1); victim < len(w.crew) {
			w.s.trace(w.crew[victim].name, "is killed", 0)
			w.s.count("kills")
			w.crew[victim].g.kill()
		} else {
			w.s.trace("coordinator", "is killed", 0)
			w.s.count("kills of the coordinator")
			w.coordinator.kill()
		}
	}
	if happens(c.cuts) {
		w.s.trace("coordinator", "has no power", 0)
		w.s.count("power cuts")
		w.coordinator.kill()
		w.disk.cut()
		if !c.external {
			w.server.cut()
		}
	}
	if happens(0.2) {
		w.server.sync()
	}
	if happens(c.parts) {
		g := w.crew[w.s.rng.IntN(len(w.crew))].g
		w.s.trace(g.name, "is cut off", 0)
		w.s.count("partitions")
		g.cut = true
		w.s.after(w.s.between(0, 60*time.Second), func() { g.cut = false })
	}
	if happens(c.full) {
		w.s.trace("disk", "is full", 0)
		w.disk.full = true
		w.s.after(w.s.between(0, 20*time.Second), func() { w.disk.full = false })
	}
	if happens(c.damage) {
		if name := w.disk.damage(); name != "" {
			w.s.trace("disk", "damages "+name, 0)
			w.s.count("damaged files")
			for i, s := range w.truth.Shards {
				if name == "shards/"+s.ID[:2]+"/"+s.ID {
					w.ledger.claims[i], w.ledger.honest[i] = map[string]string{}, false
				}
			}
		}
	}
}

// unreachable reports whether g and the server do not reach each other.
func (w *world) unreachable(g *group) bool {
	return g.cut || !w.coordinator.alive && !w.conf.external
}

// call has do done on the server, unless it or its answer is lost on the way.
func (w *world) call(p *process, do func()) bool {
	const timeout = 2 * time.Second
	near := p.g == w.coordinator && !w.conf.external
	if near {
		p.pause(w.s.between(0, 2*time.Millisecond))
		do()
		return true
	}
	p.pause(w.s.between(0, w.conf.latency))
	if w.unreachable(p.g) || w.s.chance(w.conf.lose) {
		w.s.count("lost")
		p.pause(timeout)
		return false
	}
	do()
	p.pause(w.s.between(0, w.conf.latency))
	if w.unreachable(p.g) || w.s.chance(w.conf.lose) {
		w.s.count("answers lost")
		p.pause(timeout)
		return false
	}
	return true
}

// persist calls until it succeeds.
func (w *world) persist(p *process, do func()) {
	for wait := 50 * time.Millisecond; !w.call(p, do); wait = min(2*wait, 5*time.Second) {
		p.pause(wait)
	}
}

// serve starts the coordinator, and starts it again when it has ended and something is left to do.
func (w *world) serve() {
	g := &group{s: w.s, name: "coordinator", alive: true}
	w.coordinator = g
	w.server.released()
	clear(w.beats)
	for i := range w.ledger.counts { // a coordinator does not count what was done before
		w.ledger.counts[i] = 0
	}
	w.forget()
	over := false
	g.spawn(func(p *process) {
		err := w.coordinate(p)
		w.s.trace("coordinator", "ends "+errorKind(err), 0)
		if err != nil {
			w.s.count("coordinators ended")
			if !errors.Is(err, errFull) && !errors.As(err, new(*protocol.ConflictError)) && !errors.As(err, new(*study.MissingError)) {
				w.s.fail("the coordinator ends: %v", err)
			}
		}
		over = true
	})
	var watch func()
	watch = func() {
		switch {
		case w.ended:
		case over:
			g.kill()
			w.s.after(w.s.between(time.Second, 10*time.Second), w.serve)
		case !g.alive:
			w.s.after(w.s.between(time.Second, 10*time.Second), w.serve)
		default:
			w.s.after(500*time.Millisecond, watch)
		}
	}
	watch()
}

// forget opens shards in the ledger that a coordinator set aside and could not say so.
func (w *world) forget() {
	for i, s := range w.truth.Shards {
		_, there := w.disk.files["shards/"+s.ID[:2]+"/"+s.ID]
		if names, err := w.disk.List("disputed/" + s.ID); !there && err == nil && len(names) == 0 {
			w.ledger.open(i)
		}
	}
}

// coordinate is what package cluster does around a protocol.Coordinator.
func (w *world) coordinate(p *process) error {
	f, err := study.On(w.disk, "simulated", w.truth.Plan)
	if err != nil {
		return err
	}
	q := coordinatorQueue{w}
	o := protocol.Options{
		Build: "simulated", Attempts: 5, Verify: w.conf.verify, Grace: w.conf.ackWait, Alive: w.alive, Arrived: w.arrived, Log: func(string, ...any) {},
	}
	if w.conf.own {
		o.Fingerprint = func(a record.Arithmetic) (string, bool) { return w.truth.arithmetic.Fingerprint, true }
	}
	c, err := protocol.New(w.truth.Plan, w.truth.Shards, w.mistake.store(checkedStore{f, w}, w), q, clock{w}, &gate{s: w.s}, o)
	if err != nil {
		return err
	}
	if err := q.Publish(context.Background(), c.State()); err != nil {
		return err
	}
	before := w.server.store.sequence
	var failed error
	for k := range receivers {
		p.g.spawn(func(p *process) {
			for failed == nil {
				if err := w.receive(p, c, k); err != nil {
					failed = err
				}
			}
		})
	}
	for failed == nil && slices.ContainsFunc(w.server.store.results, func(m resultMessage) bool { return m.sequence <= before }) {
		p.pause(100 * time.Millisecond)
	}
	if failed != nil {
		return failed
	}
	if err := c.Start(context.Background()); err != nil {
		return err
	}
	for !c.IsFinished() {
		p.pause(500 * time.Millisecond)
		if failed != nil {
			return failed
		}
		if err := c.Look(context.Background()); err != nil {
			return err
		}
	}
	if err := q.Publish(context.Background(), c.State()); err != nil {
		return err
	}
	if !c.AllDone() || c.Conflict() != nil {
		w.s.count("ended with failures")
		return c.Conflict()
	}
	// Serve leaves the folder to merge, which looks at all results again.
	if f, err = study.On(w.disk, "simulated", w.truth.Plan); err != nil {
		return err
	}
	if err := f.Missing(); err != nil && w.s.report.Counts["damaged files"] > 0 {
		return err
	}
	w.final(f, c.Verified().Missed)
	w.ended = true
	return nil
}

// receive handles a message.
func (w *world) receive(p *process, c *protocol.Coordinator, k int) error {
	m, ok := resultMessage{}, false
	w.persist(p, func() { m, ok = w.server.result(k, receivers) })
	if !ok {
		p.pause(w.s.between(5*time.Millisecond, 100*time.Millisecond))
		return nil
	}
	ack := func() {
		if w.s.chance(w.conf.lose / 4) { // an ack is sent and not waited for
			w.s.count("acks lost")
			return
		}
		w.server.ackResult(m)
	}
	if w.mistake == AckBeforeKeep {
		ack()
	}
	err := c.Handle(context.Background(), m.m)
	if errors.Is(err, protocol.ErrFinished) {
		p.pause(time.Hour)
		return nil
	}
	if err != nil {
		return err
	}
	p.pause(w.s.between(0, 5*time.Millisecond))
	ack()
	return nil
}

// alive returns the workers that the coordinator heard lately.
func (w *world) alive() (names []string) {
	for name, at := range w.beats {
		if w.s.now-at < 45*time.Second {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isHonest reports whether the worker of that name does not lie.
func (w *world) isHonest(name string) bool {
	return slices.ContainsFunc(w.crew, func(m *member) bool { return m.name == name && m.lie == "" })
}

// clock is the time of the model. Who sleeps is the process that runs.
type clock struct{ w *world }

func (c clock) Now() time.Time { return time.Unix(1_000_000_000, 0).Add(c.w.s.now) }

func (c clock) Sleep(_ context.Context, d time.Duration) { c.w.s.current.pause(d) }

// A gate is a protocol.Gate. Who waits looks again now and then.
type gate struct {
	s      *scheduler
	shared int
	alone  bool
}

func (g *gate) Share() func() {
	for g.alone {
		g.s.current.pause(time.Millisecond)
	}
	g.shared++
	return func() { g.shared-- }
}

func (g *gate) Alone() func() {
	for g.alone || g.shared > 0 {
		g.s.current.pause(time.Millisecond)
	}
	g.alone = true
	return func() { g.alone = false }
}

// A member is a worker that is started again whenever it has ended.
type member struct {
	w       *world
	g       *group
	name    string
	machine string
	lie     string // "": it is honest
	number  int    // of the liar
	lied    bool
}

// start starts m after a while.
func (m *member) start(after time.Duration) {
	w := m.w
	m.g = &group{s: w.s, name: m.name, alive: true}
	g := m.g
	over := false
	w.s.after(after, func() {
		if g.alive {
			g.spawn(func(p *process) {
				err := m.work(p)
				w.s.trace(m.name, "ends "+errorKind(err), 0)
				over = true
			})
		}
	})
	var watch func()
	watch = func() {
		if w.ended {
			return
		}
		if over || !g.alive {
			g.kill()
			if m.lie == "" || w.faults {
				m.start(w.s.between(time.Second, 20*time.Second))
			}
			return
		}
		w.s.after(time.Second, watch)
	}
	watch()
}

// work is what package cluster does around a protocol.Worker.
func (m *member) work(p *process) error {
	l := &link{m: m, p: p}
	l.learn()
	w := &protocol.Worker{
		Plan: m.w.truth.Plan, Shards: m.w.truth.Shards, Doer: l, Link: l, Clock: clock{m.w}, By: study.Author{Worker: m.name, Machine: m.machine, Build: "simulated"}, Pace: time.Second,
		Log: func(string, ...any) {}, Prepared: func(record.Arithmetic) {}, Began: func(study.Shard) {}, Finished: func(study.Shard, bool, record.Arithmetic) {},
	}
	return w.Work(context.Background())
}

// A link is the way of a worker to the server, and what it computes with.
type link struct {
	m     *member
	p     *process
	state protocol.State
	avoid []string // of the task in hand
}

// learn reads the state, and lets the coordinator hear of the worker.
func (l *link) learn() {
	w := l.m.w
	w.persist(l.p, func() { l.hear() })
}

func (l *link) hear() {
	w := l.m.w
	w.beats[l.m.name] = w.s.now
	if len(w.server.store.state) == 0 || w.s.chance(0.2) {
		return // it is late
	}
	l.state = protocol.State{}
	if err := json.Unmarshal(w.server.store.state, &l.state); err != nil {
		w.s.fail("state: %v", err)
	}
}

func (l *link) State() protocol.State {
	for l.state.Format == 0 { // the coordinator has not begun
		l.p.pause(time.Second)
		l.learn()
	}
	return l.state
}

func (l *link) Ended() error {
	if l.state.Done {
		return errDone
	}
	return nil
}

var errDone = errors.New("simulate: the study is done")

func (l *link) Next(context.Context) (protocol.Delivery, error) {
	w := l.m.w
	var msg shardMessage
	ok := false
	if w.call(l.p, func() { l.hear(); msg, ok = w.server.take(l.m.g) }) && ok {
		l.avoid = msg.avoid
		return &delivery{l, msg}, nil
	}
	l.p.pause(time.Second)
	return nil, nil
}

func (l *link) Send(_ context.Context, m protocol.Message) error {
	for _, one := range l.m.lies(m) {
		large := one.Kind == protocol.KindResult && one.Object == "" && l.m.w.s.chance(0.1)
		if large {
			name, body := fmt.Sprintf("result-%d", l.m.w.s.rng.Uint64()), one.Body
			l.m.w.persist(l.p, func() { l.m.w.server.store.objects[name] = body })
			one.Object, one.Body = name, nil
		}
		l.m.w.persist(l.p, func() { l.hear(); l.m.w.server.publish(one, l.m.lie == "") })
	}
	return nil
}

// Prepare opens a run.
func (l *link) Prepare(int) (record.Arithmetic, error) {
	l.p.pause(l.m.w.s.between(0, time.Second))
	return l.m.arithmetic(), nil
}

// Do gives the truth, after a while.
func (l *link) Do(_ context.Context, s study.Shard) (*study.Result, error) {
	w := l.m.w
	if l.m.lie == "" && slices.Contains(l.avoid, l.m.name) {
		w.s.fail("%s does shard %d, which it is to leave to others", l.m.name, s.Index)
	}
	l.p.pause(w.s.between(50*time.Millisecond, 4*time.Second))
	if w.s.chance(w.conf.fails) {
		w.s.count("failed")
		return nil, errors.New("simulate: no luck")
	}
	return &study.Result{Arithmetic: l.m.arithmetic(), Chunks: w.truth.results[s.Index]}, nil
}

// A delivery is a shard in the hand of a worker.
type delivery struct {
	l   *link
	msg shardMessage
}

func (d *delivery) Index() int       { return d.msg.shard }
func (d *delivery) ID() string       { return d.msg.id }
func (d *delivery) Number() int      { return d.msg.delivered }
func (d *delivery) Sequence() uint64 { return d.msg.sequence }

func (d *delivery) Avoid() []string {
	if d.l.m.w.mistake == AvoidIgnored {
		return nil
	}
	return d.msg.avoid
}

// send sends what is not waited for, and may be lost.
func (d *delivery) send(do func(*server)) {
	w := d.l.m.w
	d.l.p.pause(w.s.between(0, w.conf.latency))
	if w.unreachable(d.l.m.g) || w.s.chance(w.conf.lose) {
		w.s.count("acks lost")
		return
	}
	do(w.server)
}

func (d *delivery) Hold(ctx context.Context) (context.Context, func()) {
	d.send(func(s *server) {
		if m := s.find(d.msg.sequence); m != nil {
			m.holder = d.l.m.g
		}
	})
	return ctx, func() {
		if m := d.l.m.w.server.find(d.msg.sequence); m != nil && m.holder == d.l.m.g {
			m.holder = nil
		}
	}
}

func (d *delivery) Ack() error {
	d.send(func(s *server) { s.ackShard(d.msg.sequence) })
	return nil
}

func (d *delivery) Nak(delay time.Duration) error {
	d.send(func(s *server) {
		if m := s.find(d.msg.sequence); m != nil {
			m.next, m.holder = d.l.m.w.s.now+delay, nil
		}
	})
	return nil
}

func (d *delivery) Term(string) error { return d.Ack() }

// errorKind is what a trace says of an error.
func errorKind(err error) string {
	switch {
	case err == nil:
		return "well"
	case isDispute(err):
		return "disputed"
	case errors.As(err, new(*study.DamagedError)):
		return "damaged"
	case errors.As(err, new(*study.ExcludedError)):
		return "excluded"
	case errors.As(err, new(*study.DifferentError)):
		return "different"
	case errors.As(err, new(*protocol.ConflictError)):
		return "conflict"
	case errors.As(err, new(*protocol.PrintError)):
		return "print"
	case errors.Is(err, errFull):
		return "full"
	case errors.Is(err, errDone), errors.Is(err, pipeline.ErrStopped):
		return "done"
	}
	return "error"
}

func isDispute(err error) bool { return errors.As(err, new(*study.DisputeError)) }

// hashOf tells what results found apart.
func hashOf(r *study.Result) []byte {
	h := sha256.New()
	for _, c := range r.Chunks {
		fmt.Fprintf(h, "%d:", len(c))
		_, _ = h.Write(c) // a hash takes every write
	}
	return h.Sum(nil)
}
