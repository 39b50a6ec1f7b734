package protocol

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"advsweep/study"
)

// patience is how long a shard waits to be done by a worker that did not do it, at least. A worker
// that is alive may be busy, or be no worker at all: a name costs whoever makes it up nothing.
const patience = 10 * time.Minute

// wait is how long s waits so.
func wait(s study.Shard) time.Duration {
	return max(patience, min(time.Duration(10*s.Seconds*float64(time.Second)), 24*time.Hour))
}

// opinions are what is known of shards that two workers did.
type opinions struct {
	first  map[string]bool // workers of which a shard was chosen
	twice  map[int]bool    // shards that two workers found the same; true: on two machines
	gaveUp int             // shards that were chosen, and that no second worker did
}

// confirm notes that two workers found the same of shard i.
func (o *opinions) confirm(i int, machines bool) {
	if o.twice == nil {
		o.twice = map[int]bool{}
	}
	o.twice[i] = o.twice[i] || machines
}

// chosen reports whether s is one of a fraction of all shards: by its id, so that it is the same on
// every day.
func chosen(s study.Shard, fraction float64) bool {
	n, err := strconv.ParseUint(s.ID[:13], 16, 64) // 52 bits: a float64 holds them
	return err == nil && float64(n) < fraction*(1<<52)
}

// note takes up r, a result of s that was checked, and reports whether a second worker is to do s.
// The caller holds mu, or nobody else has c yet.
func (c *Coordinator) note(s study.Shard, r *study.Result) bool {
	o := &c.known.opinions
	if len(r.Confirmed) > 0 {
		o.confirm(s.Index, slices.ContainsFunc(r.Confirmed, func(a study.Author) bool { return a.Machine != r.By.Machine }))
		return false
	}
	if c.o.Verify <= 0 || r.By.Worker == "" {
		return false
	}
	if chosen(s, c.o.Verify) || !o.first[r.By.Worker] {
		o.first[r.By.Worker] = true
		return true
	}
	return false
}

// second notes the result r of s that came with m, as the first or a second one, and has a second
// worker do s if it is to be.
func (c *Coordinator) second(ctx context.Context, s study.Shard, m Message, r *study.Result) error {
	c.mu.Lock()
	a := c.known.table.asks[s.Index]
	if a != nil { // r confirms what is there, or is the same once more
		if !slices.ContainsFunc(a.by, func(by study.Author) bool { return by.Worker == r.By.Worker }) {
			c.known.opinions.confirm(s.Index, !slices.ContainsFunc(a.by, func(by study.Author) bool { return by.Machine == r.By.Machine }))
			delete(c.known.table.asks, s.Index)
		}
		c.mu.Unlock()
		return nil
	}
	if _, twice := c.known.opinions.twice[s.Index]; twice || !c.note(s, r) {
		c.mu.Unlock()
		return nil
	}
	c.known.table.asks[s.Index] = &ask{by: []study.Author{r.By}}
	c.mu.Unlock()
	return c.ask(ctx, s, m.Sequence)
}

// contradicted notes that a worker said what others contradict, for the shard's message with that
// sequence number. It said it again if that was another message than the first time.
func (a *ask) contradicted(worker string, sequence uint64) {
	switch first, ok := a.first[worker]; {
	case !ok:
		a.first[worker] = sequence
	case first != sequence:
		a.again[worker] = true
	}
}

// whom returns who is to leave s to others, and whether it is to be queued now. over is set if
// nobody is left to ask. The caller holds mu.
func (c *Coordinator) whom(s study.Shard, a *ask) (avoid []string, now, over bool) {
	var did []string
	for _, by := range a.by {
		did = append(did, by.Worker)
	}
	alive := c.alive()
	at := c.clock.Now().UnixNano()
	if a.since == 0 {
		a.since = at
	}
	late := time.Duration(at-a.since) > wait(s)
	if c.others(did) && !late {
		return c.elsewhere(did, a.by, alive), true, false
	}
	if !a.dispute {
		return nil, false, late
	}
	var fresh, said []string
	for _, n := range alive {
		switch {
		case !slices.Contains(did, n):
		case a.again[n]:
			said = append(said, n)
		default:
			fresh = append(fresh, n)
		}
	}
	return said, true, len(fresh) == 0 && len(said) > 0
}

// elsewhere adds to did the workers that are on the machines of by, if others are alive.
func (c *Coordinator) elsewhere(did []string, by []study.Author, alive []string) []string {
	more := slices.Clone(did)
	for _, n := range alive {
		if machine := c.known.machines[n]; machine != "" && slices.ContainsFunc(by, func(a study.Author) bool { return a.Machine == machine }) {
			more = append(more, n)
		}
	}
	slices.Sort(more)
	more = slices.Compact(more)
	if c.others(more) {
		return more
	}
	slices.Sort(did)
	return slices.Compact(did)
}

// ask queues s to be done once more, by a worker that did not do it if there is one. sequence is of
// the message of s that was answered; see Queue.Replace.
func (c *Coordinator) ask(ctx context.Context, s study.Shard, sequence uint64) error {
	c.mu.Lock()
	a := c.known.table.asks[s.Index]
	if a == nil {
		c.mu.Unlock()
		return nil
	}
	avoid, now, over := c.whom(s, a)
	if now && !over {
		a.avoid, a.queued = avoid, true
	}
	dispute, by := a.dispute, a.by
	if over && !dispute {
		delete(c.known.table.asks, s.Index)
		c.known.opinions.gaveUp++
	}
	c.mu.Unlock()
	switch {
	case over && dispute:
		return c.failed(s, "", len(by), fmt.Sprintf("machines disagree about it, each says the same again, and no other is there: %s", who(by)))
	case over, !now:
		return nil
	}
	return c.queue.Replace(ctx, Task{s, avoid}, sequence)
}

// asks asks for second opinions where nobody was there before, or nobody is there any more.
func (c *Coordinator) asks(ctx context.Context) error {
	c.mu.Lock()
	var again []int
	for i, a := range c.known.table.asks {
		if a.dispute && c.known.table.failed[i] {
			continue
		}
		if avoid, now, over := c.whom(c.shards[i], a); over || now && (!a.queued || !c.others(a.avoid) && !slices.Equal(avoid, a.avoid)) {
			again = append(again, i)
		}
	}
	c.mu.Unlock()
	slices.Sort(again)
	for _, i := range again {
		if err := c.ask(ctx, c.shards[i], 0); err != nil {
			return err
		}
	}
	return nil
}

// waiting reports whether shards wait to be verified by workers that are alive. At first it waits
// for workers too, where nobody is there yet. The caller holds mu.
func (c *Coordinator) waiting() bool {
	early := len(c.alive()) == 0 && c.clock.Now().Sub(c.known.started) < c.o.Grace
	for i, a := range c.known.table.asks {
		if a.dispute {
			continue
		}
		if _, now, over := c.whom(c.shards[i], a); !over && (now || early) {
			return true
		}
	}
	return false
}

// A Verification is how many shards two workers did, and found the same.
type Verification struct {
	Twice    int // shards
	Machines int // of these on two machines
	Missed   int // shards that were to be done twice, and nobody else was there to do them
}

// Verified says how far the study was verified.
func (c *Coordinator) Verified() (v Verification) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.Twice, v.Missed = len(c.known.opinions.twice), c.known.opinions.gaveUp
	for _, far := range c.known.opinions.twice {
		if far {
			v.Machines++
		}
	}
	for _, a := range c.known.table.asks {
		if !a.dispute {
			v.Missed++
		}
	}
	return v
}
