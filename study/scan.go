package study

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"advsweep/internal/words"
	"advsweep/record"
)

// A scan is what all results of a study are, each of which was read and checked.
type scan struct {
	done     []bool // by index of the shard
	damaged  []int  // shards whose file is no result
	disputes []Dispute
	prints   []Print
	twice    int // shards that two workers found the same
}

// A Print is how many results of a study are of one arithmetic, and so of one fingerprint.
type Print struct {
	Arithmetic record.Arithmetic `json:"arithmetic"`
	Shards     int               `json:"shards"`
	Workers    []string          `json:"workers"` // who computed them, sorted
	First      int               `json:"first"`   // the first shard of them
}

// scan reads and checks all results. It changes nothing.
func (f *Folder) scan() (*scan, error) {
	sub, err := f.disk.List(resultsName)
	if err != nil {
		return nil, f.wrap(resultsName, err)
	}
	there := map[string]bool{}
	for _, d := range sub {
		names, err := f.disk.List(resultsName + "/" + d)
		if err != nil {
			return nil, f.wrap(resultsName+"/"+d, err)
		}
		for _, n := range names {
			there[n] = true
		}
	}
	sc := &scan{done: make([]bool, len(f.Shards))}
	if sc.disputes, err = f.Disputes(); err != nil {
		return nil, err
	}
	disputed := map[int]bool{}
	for _, d := range sc.disputes {
		disputed[d.Shard] = true
	}
	var todo []Shard
	for _, s := range f.Shards {
		if there[s.ID] && !disputed[s.Index] {
			todo = append(todo, s)
		}
	}
	c := counter{prints: map[record.Arithmetic]*Print{}, workers: map[record.Arithmetic]map[string]bool{}}
	var wg sync.WaitGroup
	n := min(runtime.GOMAXPROCS(0), 16)
	for k := range n { // each takes shards that follow each other, which share a checker
		wg.Go(func() {
			for _, s := range todo[k*len(todo)/n : (k+1)*len(todo)/n] {
				r, err := f.accepted(s)
				sc.done[s.Index] = err == nil
				c.add(s, r, err)
			}
		})
	}
	wg.Wait()
	slices.Sort(c.damaged)
	sc.damaged, sc.twice = c.damaged, c.twice
	for a, p := range c.prints {
		for w := range c.workers[a] {
			p.Workers = append(p.Workers, w)
		}
		slices.Sort(p.Workers)
		sc.prints = append(sc.prints, *p)
	}
	slices.SortFunc(sc.prints, func(a, b Print) int { return cmp.Or(b.Shards-a.Shards, a.First-b.First) })
	return sc, nil
}

// A counter counts results. add changes its fields, under mu.
type counter struct {
	mu      sync.Mutex
	damaged []int
	twice   int
	prints  map[record.Arithmetic]*Print
	workers map[record.Arithmetic]map[string]bool
}

func (c *counter) add(s Shard, r *Result, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if errors.As(err, new(*DamagedError)) {
			c.damaged = append(c.damaged, s.Index)
		}
		return
	}
	p := c.prints[r.Arithmetic]
	if p == nil {
		p = &Print{Arithmetic: r.Arithmetic, First: s.Index}
		c.prints[r.Arithmetic], c.workers[r.Arithmetic] = p, map[string]bool{}
	}
	if p.Shards++; len(r.Confirmed) > 0 {
		c.twice++
	}
	p.First = min(p.First, s.Index)
	if r.By.Worker != "" {
		c.workers[r.Arithmetic][r.By.Worker] = true
	}
}

// Done returns for each shard whether its result is there, whole, and not disputed. It reads all
// results.
func (f *Folder) Done() ([]bool, error) {
	sc, err := f.scan()
	if err != nil {
		return nil, err
	}
	return sc.done, nil
}

// Missing returns an error that says what is not done, or nil if all is.
func (f *Folder) Missing() error {
	sc, err := f.scan()
	if err != nil {
		return err
	}
	left, first := 0, ""
	for i, d := range sc.done {
		if !d {
			if left++; first == "" {
				first = fmt.Sprintf("shard %d of run %s", i, f.Plan.Runs[f.Shards[i].Run].Name)
			}
		}
	}
	if left == 0 {
		return nil
	}
	all := len(sc.done)
	if n := len(sc.disputes); n > 0 {
		return &MissingError{f.Dir, left, fmt.Sprintf("study: %d of %d shards of %s are not done, %d of them because machines disagree: %v; 'advsweep work' or serve has it done once more, and 'advsweep settle %s' decides", left, all, f.Dir, n, sc.disputes[0], f.Dir)}
	}
	if n := len(sc.damaged); n > 0 {
		return &MissingError{f.Dir, left, fmt.Sprintf("study: %d of %d shards of %s are not done, %d of them because their files are damaged: %s; 'advsweep work', serve or run-shard does them again", left, all, f.Dir, n, f.list(sc.damaged))}
	}
	if failures, err := f.Failures(); err == nil && len(failures) > 0 {
		one := failures[0]
		return &MissingError{f.Dir, left, fmt.Sprintf("study: %d of %d shards of %s are not done, %d of them failed: shard %d of run %s: %s", left, all, f.Dir, len(failures), one.Shard, one.Run, one.Message)}
	}
	return &MissingError{f.Dir, left, fmt.Sprintf("study: %d of %d shards of %s are not done, the first is %s", left, all, f.Dir, first)}
}

// A MissingError says that shards of a study are not done.
type MissingError struct {
	Dir  string
	Left int // shards
	text string
}

func (e *MissingError) Error() string { return e.text }

// list names some shards and their files.
func (f *Folder) list(shards []int) string {
	const most = 5
	var names []string
	for _, i := range shards[:min(most, len(shards))] {
		names = append(names, fmt.Sprintf("shard %d of run %s (%s)", i, f.Plan.Runs[f.Shards[i].Run].Name, f.at(resultName(f.Shards[i]))))
	}
	if n := len(shards) - most; n > 0 {
		return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", n)
	}
	return words.And(names)
}
