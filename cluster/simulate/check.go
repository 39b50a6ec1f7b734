package simulate

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"advsweep/cluster/protocol"
	"advsweep/study"
)

// What must hold, whatever fails and whoever lies:
//
//   - a file that becomes a shard's result is one that the shard can have found;
//   - a result of an honest worker is not taken off the queue before it is in the folder, unless its
//     shard is queued again;
//   - a shard counts once, and while workers disagree about it, not at all;
//   - nothing that workers send ends the coordinator;
//   - no worker does a shard that it is to leave to others, and no honest worker is excluded;
//   - nothing of an excluded worker stays that nobody else confirmed;
//   - when faults stop, and two honest workers are there, the study is done in an hour;
//   - then a result is the true one if an honest worker's was taken for the shard, or two workers
//     did it; if all shards were to be done twice, and were, all are true.

// A ledger is what was taken for each shard.
type ledger struct {
	// claims is the hash of what each worker found, of the results that Put took.
	claims []map[string]string
	flight []map[string]string // of results that are on their way into the folder
	honest []bool              // an honest worker's result was taken
	counts []int               // how often the shard was counted since it was opened
}

func newLedger(n int) *ledger {
	l := &ledger{claims: make([]map[string]string, n), flight: make([]map[string]string, n), honest: make([]bool, n), counts: make([]int, n)}
	for i := range n {
		l.flight[i] = map[string]string{}
		l.open(i)
	}
	return l
}

// open forgets what is known of shard i.
func (l *ledger) open(i int) { l.claims[i], l.honest[i], l.counts[i] = map[string]string{}, false, 0 }

// disputed reports whether what was taken for shard i contradicts itself, and nobody is outvoted,
// also if what is on its way is counted.
func (l *ledger) disputed(i int) bool {
	all := maps.Clone(l.claims[i])
	maps.Copy(all, l.flight[i])
	return tied(l.claims[i]) && tied(all)
}

func tied(claims map[string]string) bool {
	votes := map[string]int{}
	for _, hash := range claims {
		votes[hash]++
	}
	best, next := 0, 0
	for _, n := range votes {
		if n > best {
			best, next = n, best
		} else if n > next {
			next = n
		}
	}
	return len(votes) > 1 && (best < 2 || best == next)
}

// A checkedStore is the folder as the coordinator has it. It notes what is taken.
type checkedStore struct {
	protocol.Store
	w *world
}

func (c checkedStore) Put(s study.Shard, encoded []byte) (study.Settled, error) {
	w, l := c.w, c.w.ledger
	r, bad := study.DecodeResult(s, encoded)
	if bad != nil {
		return c.Store.Put(s, encoded)
	}
	hash := fmt.Sprintf("%.3x", hashOf(r))
	l.flight[s.Index][r.By.Worker] = hash
	defer delete(l.flight[s.Index], r.By.Worker)
	settled, err := c.Store.Put(s, encoded)
	what := "honest"
	if !w.truth.isTrue(s.Index, r) {
		what = "lie"
	}
	if err == nil || isDispute(err) {
		if !w.excluded[r.By.Worker] {
			l.claims[s.Index][r.By.Worker] = hash
		}
		if w.isHonest(r.By.Worker) {
			l.honest[s.Index] = true
		}
		w.s.count(what + " taken")
	}
	if isDispute(err) {
		l.counts[s.Index] = 0
		w.s.count("disputes")
	}
	if settled.Any() {
		w.s.count("settled")
		for _, wrong := range settled.Wrong {
			delete(l.claims[s.Index], wrong.Worker)
			w.excluded[wrong.Worker] = true // also if the coordinator is killed now
		}
	}
	w.s.trace(r.By.Worker, "put "+what+" "+errorKind(err), s.Index)
	return settled, err
}

func (c checkedStore) Exclude(worker, why string) ([]int, error) {
	w := c.w
	w.s.trace("coordinator", "excludes "+worker, 0)
	w.s.count("excluded")
	if w.isHonest(worker) {
		w.s.fail("honest worker %s is excluded: %s", worker, why)
	}
	for _, claims := range w.ledger.claims {
		delete(claims, worker)
	}
	opened, err := c.Store.Exclude(worker, why)
	if err == nil {
		w.excluded[worker] = true
	}
	for _, i := range opened {
		w.ledger.open(i)
	}
	return opened, err
}

func (c checkedStore) SetAside(match func(study.Shard, *study.Result) bool) ([]int, error) {
	opened, err := c.Store.SetAside(match)
	for _, i := range opened {
		c.w.s.trace("coordinator", "sets aside", i)
		c.w.s.count("set aside")
		c.w.ledger.open(i)
	}
	return opened, err
}

// arrived checks that s counts once, and that nobody disputes it.
func (w *world) arrived(s study.Shard, r *study.Result) {
	w.s.trace("coordinator", "counts", s.Index)
	if w.ledger.counts[s.Index]++; w.ledger.counts[s.Index] > 1 {
		w.s.fail("shard %d counts %d times", s.Index, w.ledger.counts[s.Index])
	}
	if w.ledger.disputed(s.Index) {
		w.s.fail("shard %d counts, and workers disagree about it: %v", s.Index, w.ledger.claims[s.Index])
	}
}

// written checks what is written.
func (w *world) written(name string, data []byte) {
	if !strings.HasPrefix(name, "shards/") {
		return
	}
	s, ok := w.byID[path.Base(name)]
	if !ok {
		w.s.fail("%s is written, which is no shard", name)
		return
	}
	r, err := study.DecodeResult(s, data)
	if err == nil {
		err = w.checker.Check(s, r)
	}
	if err != nil {
		w.s.fail("what is no result of shard %d becomes its result: %v", s.Index, err)
	}
}

// acknowledged checks that the coordinator took m off its queue when it was safe.
func (w *world) acknowledged(m resultMessage) {
	i := m.m.Shard
	if !m.honest || m.m.Kind != protocol.KindResult || w.excluded[m.m.Worker] {
		return
	}
	queued := slices.ContainsFunc(w.server.store.shards, func(one shardMessage) bool { return one.shard == i })
	queued = queued || slices.ContainsFunc(w.server.store.results, func(one resultMessage) bool { return one.m.Shard == i })
	s := w.truth.Shards[i]
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	_, there := w.disk.files["shards/"+s.ID[:2]+"/"+s.ID]
	_, failed := w.disk.files["failed/"+s.ID+".json"]
	for name := range w.disk.files {
		there = there || strings.HasPrefix(name, "disputed/"+s.ID+"/")
	}
	if !there && !failed && !queued {
		w.s.fail("a result of shard %d by %s is taken off the queue and is nowhere", i, m.m.Worker)
	}
}

// final checks a study that is done. missed is how many shards were to be done twice and were not.
func (w *world) final(f *study.Folder, missed int) {
	for _, s := range f.Shards {
		r, err := f.Get(s)
		if err != nil {
			w.s.fail("the study is done, and shard %d is not: %v", s.Index, err)
			return
		}
		if w.excluded[r.By.Worker] && len(r.Confirmed) == 0 {
			w.s.fail("the result of shard %d is by %s, which is excluded, and nobody confirmed it", s.Index, r.By.Worker)
		}
		if w.truth.isTrue(s.Index, r) {
			continue
		}
		w.s.count("wrong in the end")
		switch {
		case len(r.Confirmed) > 0:
			w.s.fail("the result of shard %d is wrong, by %s, and confirmed by %v", s.Index, r.By, r.Confirmed)
		case w.ledger.honest[s.Index]:
			w.s.fail("the result of shard %d is wrong, by %s, and an honest worker's was taken too", s.Index, r.By)
		case w.conf.verify == 1 && missed == 0:
			w.s.fail("the result of shard %d is wrong, by %s, and all shards were to be done twice", s.Index, r.By)
		}
	}
}
