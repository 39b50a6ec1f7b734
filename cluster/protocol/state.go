package protocol

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"advsweep/internal/plain"
	"advsweep/internal/remedy"
	"advsweep/record"
	"advsweep/study"
)

// A State is what the coordinator tells workers. It is kept on the server, so that a worker that
// comes late knows it too.
type State struct {
	Format   int    `json:"format"` // of results: study.ResultFormat
	Build    string `json:"build"`  // of the coordinator: record.Build
	Mixed    bool   `json:"mixed"`
	Attempts int    `json:"attempts"`
	Done     bool   `json:"done"` // nothing is left to do
	// Prints are the arithmetics of which somebody computes. Unless Mixed is set, of those that
	// differ by their fingerprint alone only the one that rules is taken.
	Prints   []Print           `json:"prints"`
	Excluded map[string]string `json:"excluded,omitempty"` // workers of which nothing is taken, and why
}

// A Print is an arithmetic, and who computes by it. Of those that differ by their fingerprint
// alone, the coordinator's own machine's rules, if it can compute so. Else that of the most workers
// rules: those who sent results that were checked, and those who say that they have another one.
type Print struct {
	record.Arithmetic
	Rules   bool   `json:"rules"`
	Own     bool   `json:"own"`     // of the coordinator's machine
	Workers int    `json:"workers"` // how many compute so
	Worker  string `json:"worker"`  // the first of them
	Shard   int    `json:"shard"`   // that it did; -1: none yet
}

func (p Print) String() string {
	switch {
	case p.Own:
		return fmt.Sprintf("%s, as the coordinator's own machine computes", p.Arithmetic)
	case p.Workers == 0:
		return p.Arithmetic.String()
	case p.Shard < 0:
		return fmt.Sprintf("%s, as %s, the first %s", p.Arithmetic, workers(p.Workers), p.Worker)
	}
	return fmt.Sprintf("%s, as %s, the first %s, for shard %d", p.Arithmetic, workers(p.Workers), p.Worker, p.Shard)
}

func workers(n int) string {
	if n == 1 {
		return "1 worker computes"
	}
	return fmt.Sprintf("%d workers compute", n)
}

// A class is an arithmetic but for its fingerprint.
func class(a record.Arithmetic) record.Arithmetic {
	a.Fingerprint = ""
	return a
}

// A PlanError says that a run is planned for another arithmetic.
type PlanError struct {
	Run      string
	Manifest *record.Manifest
	Got      record.Arithmetic
}

func (e *PlanError) Error() string {
	return fmt.Sprintf("cluster: run %s is planned for %s %s and this is by %s, whose bits may differ: only a server that allows it mixes them", e.Run, e.Manifest.Backend, e.Manifest.Arithmetic, e.Got)
}

// A PrintError says that results of one fingerprint are not taken, as another one rules.
type PrintError struct {
	Mine Print // Workers is 0 if nobody is known to compute so
	Rule Print
}

func (e *PrintError) Error() string {
	return fmt.Sprintf("cluster: results count that are by %s, and this is by %s: the machines compute different bits; use machines of one kind, or allow the server to mix them, which marks the results", e.Rule, e.Mine)
}

// Refuse says why a result of run that was computed by a may not go with those that are there, or
// returns nil. The error wraps a *PlanError or a *PrintError.
func (s *State) Refuse(plan *study.Plan, run int, a record.Arithmetic) error {
	if s.Mixed {
		return nil
	}
	if m := &plan.Runs[run].Manifest; !a.Planned(m) {
		return remedy.Want(remedy.ServeMixed, &PlanError{plan.Runs[run].Name, m, a})
	}
	mine, rule := Print{Arithmetic: a, Shard: -1}, Print{}
	for _, p := range s.Prints {
		if p.Arithmetic == a {
			mine = p
		}
		if p.Rules && class(p.Arithmetic) == class(a) {
			rule = p
		}
	}
	if rule.Arithmetic == (record.Arithmetic{}) || rule.Arithmetic == a {
		return nil
	}
	return remedy.Want(remedy.ServeMixed, &PrintError{mine, rule})
}

// Admit says why the worker of that name cannot work for who has this state, or returns nil.
func (s *State) Admit(worker, build string) error {
	if s.Format != study.ResultFormat {
		return fmt.Errorf("cluster: the server's build of advsweep is %s, with results of format %d, and this is build %s, with format %d: use one build on all machines",
			cmp.Or(plain.Line(s.Build, plain.Name), "not known"), s.Format, build, study.ResultFormat)
	}
	if why, ok := s.Excluded[worker]; ok {
		return fmt.Errorf("cluster: the coordinator takes no results of worker %s any more: %s: look after this machine; 'advsweep settle' takes the worker back", worker, plain.Line(why, plain.Message))
	}
	return nil
}

// maxVoters and maxPrints bound what is remembered of votes: a name costs whoever sends one
// nothing.
const (
	maxVoters = 100_000
	maxPrints = 100
)

// A ballot is which arithmetics are there, and who computes by them. It has no lock.
type ballot struct {
	prints []Print
	voters map[voter]int // the index in prints
}

// A voter is a worker, for one class: a worker may have several precisions.
type voter struct {
	worker string
	class  record.Arithmetic
}

func newBallot() *ballot { return &ballot{voters: map[voter]int{}} }

// index returns where a is in prints, and adds it if it is not there. It returns -1 if there are
// too many.
func (b *ballot) index(a record.Arithmetic) int {
	if i := slices.IndexFunc(b.prints, func(p Print) bool { return p.Arithmetic == a }); i >= 0 {
		return i
	}
	if len(b.prints) >= maxPrints {
		return -1
	}
	b.prints = append(b.prints, Print{Arithmetic: a, Shard: -1})
	return len(b.prints) - 1
}

// own notes that the coordinator's machine computes by a.
func (b *ballot) own(a record.Arithmetic) {
	if i := b.index(a); i >= 0 {
		b.prints[i].Own, b.prints[i].Rules = true, true
	}
}

// vote notes that worker computes by a, and that it did shard, or none yet if that is -1. It
// reports whether anything changed that others want to know.
func (b *ballot) vote(worker string, a record.Arithmetic, shard int) bool {
	who := voter{worker, class(a)}
	old, voted := b.voters[who]
	i := b.index(a)
	if i < 0 || !voted && len(b.voters) >= maxVoters || voted && old == i && (shard < 0 || b.prints[i].Shard >= 0) {
		return false
	}
	p := &b.prints[i]
	if p.Worker == "" || p.Shard < 0 && shard >= 0 {
		p.Worker, p.Shard = worker, shard
	}
	if voted && old == i {
		return true
	}
	if voted {
		b.prints[old].Workers--
	}
	p.Workers++
	b.voters[who] = i
	return true
}

// forget takes back the votes of a worker.
func (b *ballot) forget(worker string) {
	for _, who := range slices.Collect(maps.Keys(b.voters)) {
		if who.worker == worker {
			b.prints[b.voters[who]].Workers--
			delete(b.voters, who)
		}
	}
}

// count lets the fingerprint rule in each class that most workers have, unless it is known which
// one does. One that rules stays if another has just as many. It returns the classes in which
// another rules now than before.
func (b *ballot) count() (turned []record.Arithmetic) {
	best := map[record.Arithmetic]int{}
	for i, p := range b.prints {
		c := class(p.Arithmetic)
		j, ok := best[c]
		if q := b.prints; !ok || !q[j].Own && (p.Own || p.Workers > q[j].Workers || p.Workers == q[j].Workers && p.Rules && !q[j].Rules) {
			best[c] = i
		}
	}
	for i := range b.prints {
		p := &b.prints[i]
		c := class(p.Arithmetic)
		rules := best[c] == i && (p.Own || p.Workers > 0 || p.Rules)
		if p.Rules && !rules {
			turned = append(turned, c)
		}
		p.Rules = rules
	}
	return turned
}

// rules returns the arithmetic of the class of a that rules, if one does.
func (b *ballot) rules(a record.Arithmetic) (record.Arithmetic, bool) {
	for _, p := range b.prints {
		if p.Rules && class(p.Arithmetic) == class(a) {
			return p.Arithmetic, true
		}
	}
	return record.Arithmetic{}, false
}
