package study

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"advsweep/internal/plain"
	"advsweep/internal/staged"
	"advsweep/internal/words"
	"advsweep/pipeline"
	"advsweep/record"
)

// Which result of a shard is believed is decided here, for local work, arrays of tasks, servers and
// merges alike. The first result that was checked is believed until a worker of equal arithmetic
// finds another one. From then on none is, and all are kept as claims, in disputed/ID, until two
// workers agree that no greater number contradicts, or the user decides. What was not believed in
// the end is kept in settled/ID.

// A Claim is what a worker says that a shard came out as.
type Claim struct {
	Author
	Arithmetic record.Arithmetic `json:"arithmetic"`
	// Hash tells claims of one shard apart: 16 hexadecimal digits, equal for what is the same.
	Hash string `json:"hash"`
}

// A Dispute is a shard that came out different, and what is claimed of it, at least two claims.
type Dispute struct {
	Shard  int     `json:"shard"`
	Run    string  `json:"run"`
	Claims []Claim `json:"claims"`
}

func (d Dispute) String() string {
	var who []string
	for _, c := range d.Claims {
		who = append(who, fmt.Sprintf("%s by %s", c.Hash[:min(6, len(c.Hash))], c.Author))
	}
	return fmt.Sprintf("shard %d of run %s came out as %s", d.Shard, d.Run, words.And(who))
}

// Settled says how a dispute ended.
type Settled struct {
	Winner Claim
	Wrong  []Claim // what the others claimed
}

// Any reports whether a dispute ended.
func (s Settled) Any() bool { return s.Winner.Hash != "" }

// A DamagedError says that bytes are no result of the shard.
type DamagedError struct {
	Shard int
	Run   string
	Err   error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("study: shard %d of run %s: what came as its result is none: %v", e.Shard, e.Run, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// A DisputeError says that a shard came out different on workers of equal arithmetic: one of them
// computes wrong, and it is not known which. No result of the shard is believed now.
type DisputeError struct{ Dispute }

func (e *DisputeError) Error() string {
	return fmt.Sprintf("study: %v: one of the machines computes wrong; the shard is to be done once more, by another one, or 'advsweep settle' decides", e.Dispute)
}

// An ExcludedError says that results of a worker are not taken.
type ExcludedError struct{ Worker, Why string }

func (e *ExcludedError) Error() string {
	return fmt.Sprintf("study: results of worker %s are not taken: %s", e.Worker, e.Why)
}

// A DifferentError says that a shard came out different from the result that is there, by another
// arithmetic.
type DifferentError struct {
	Shard    Shard
	Old, New record.Arithmetic
}

func (e *DifferentError) Error() string {
	return fmt.Sprintf("study: shard %d came out different by %s from its result by %s", e.Shard.Index, e.New, e.Old)
}

func resultName(s Shard) string   { return path.Join(resultsName, s.ID[:2], s.ID) }
func disputeName(s Shard) string  { return path.Join(disputedName, s.ID) }
func excludeName(w string) string { return path.Join(excludedName, w+".json") }

// checkers check what chunks of runs have found. They hold the checkers of a few runs.
type checkers struct {
	plan *Plan

	mu    sync.Mutex
	byRun map[int]*pipeline.Checker
}

// of returns the checker of run i.
func (c *checkers) of(i int) *pipeline.Checker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.byRun[i]; have != nil {
		return have
	}
	const most = 8 // shards of a run follow each other
	if c.byRun == nil || len(c.byRun) >= most {
		c.byRun = map[int]*pipeline.Checker{}
	}
	m := &c.plan.Runs[i].Manifest
	c.byRun[i] = m.Sweep().Checker(m.Data.N, m.Classes)
	return c.byRun[i]
}

// Check returns an error if s cannot have found r: if a chunk is no record of that chunk. Whether
// its numbers are the true ones it cannot say.
func (f *Folder) Check(s Shard, r *Result) error {
	if len(r.Chunks) != s.To-s.From {
		return fmt.Errorf("study: result of shard %d: %d chunks, want %d", s.Index, len(r.Chunks), s.To-s.From)
	}
	checker := f.checks.of(s.Run)
	for k, payload := range r.Chunks {
		if err := checker.Check(s.From+k, payload); err != nil {
			return fmt.Errorf("study: result of shard %d: %w", s.Index, err)
		}
	}
	return nil
}

// decode is DecodeResult and Check.
func (f *Folder) decode(s Shard, data []byte) (*Result, error) {
	r, err := DecodeResult(s, data)
	if err == nil {
		err = f.Check(s, r)
	}
	return r, err
}

// accepted returns the result of s that is in its place, whether it is disputed or not. It returns
// fs.ErrNotExist if there is none, and a *DamagedError if what is there is none.
func (f *Folder) accepted(s Shard) (*Result, error) {
	data, err := f.disk.Read(resultName(s), maxResult)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var r *Result
	if err == nil {
		r, err = f.decode(s, data)
	}
	if err != nil {
		return nil, &DamagedError{s.Index, f.Plan.Runs[s.Run].Name, err}
	}
	return r, nil
}

// Put keeps r, encoded, as a result of s by the worker that it names. When it returns nil the
// result is on the disk to stay.
//
// It returns a *DamagedError for what is no result of s, an *ExcludedError for one of a worker that
// was found wrong, a *DifferentError for one of another arithmetic that is not the same as the
// result that is there, which stays, and a *DisputeError if the shard came out different: then it is
// not done any more. The same result of another worker confirms the one that is there. If that ends
// a dispute, Settled says how.
func (f *Folder) Put(s Shard, encoded []byte) (Settled, error) {
	r, err := f.decode(s, encoded)
	if err != nil {
		return Settled{}, &DamagedError{s.Index, f.Plan.Runs[s.Run].Name, err}
	}
	if why, ok, err := f.excluded(r.By.Worker); err != nil || ok {
		return Settled{}, cmp.Or(err, error(&ExcludedError{r.By.Worker, why}))
	}
	claims, err := f.claims(s)
	if err != nil {
		return Settled{}, err
	}
	var old *Result
	if len(claims) == 0 {
		if old, err = f.first(s, r, encoded); old == nil {
			return Settled{}, err
		}
		switch {
		case old.Same(r):
			return Settled{}, f.confirm(s, old, r.By)
		case old.Arithmetic != r.Arithmetic:
			return Settled{}, &DifferentError{s, old.Arithmetic, r.Arithmetic}
		}
	} else if old, err = f.accepted(s); err != nil { // it is there if a process was killed below
		old = nil
	}
	for _, one := range []*Result{old, r} {
		if one != nil {
			if err := f.claim(s, one); err != nil {
				return Settled{}, err
			}
		}
	}
	if err := f.disk.Remove(resultName(s)); err != nil {
		return Settled{}, f.wrap(resultName(s), err)
	}
	return f.settle(s)
}

// first keeps r as the result of s if there is none, or one that is damaged. Else it returns the
// one that is there.
func (f *Folder) first(s Shard, r *Result, encoded []byte) (*Result, error) {
	for {
		old, err := f.accepted(s)
		switch {
		case err == nil:
			return old, nil
		case errors.As(err, new(*DamagedError)):
			if err := f.disk.Remove(resultName(s)); err != nil {
				return nil, f.wrap(resultName(s), err)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, f.wrap(resultName(s), err)
		}
		err = f.disk.Create(resultName(s), encoded)
		if errors.Is(err, fs.ErrExist) {
			continue // another process was first
		}
		if err != nil {
			return nil, fmt.Errorf("study: write %s: %w: what is done is safe", f.at(resultName(s)), err)
		}
		_ = f.disk.Remove(failureName(s)) // may not be there
		return nil, nil
	}
}

// confirm notes that by found the same as old.
func (f *Folder) confirm(s Shard, old *Result, by Author) error {
	if by.Worker == "" || slices.ContainsFunc(old.workers(), func(a Author) bool { return a.Worker == by.Worker }) {
		return nil
	}
	old.Confirmed = append(old.Confirmed, by)
	data, err := old.Encode(s.ID)
	if err != nil {
		return err
	}
	return f.write(resultName(s), data, true)
}

// workers lists who has found r.
func (r *Result) workers() []Author { return append([]Author{r.By}, r.Confirmed...) }

// claim keeps r as what its workers say of s.
func (f *Folder) claim(s Shard, r *Result) error {
	for _, by := range r.workers() {
		data, err := (&Result{Arithmetic: r.Arithmetic, Chunks: r.Chunks, By: by}).Encode(s.ID)
		if err != nil {
			return err
		}
		// A worker that says the same again changes nothing.
		id := sha256.Sum256([]byte(by.Worker))
		if err := f.write(path.Join(disputeName(s), r.hash()+"-"+hex.EncodeToString(id[:4])), data, true); err != nil {
			return err
		}
	}
	return nil
}

// A claimed result is one in disputed/ID.
type claimed struct {
	Claim
	name   string // of its file
	result *Result
}

// claims lists what is claimed of s. Files that are no results of s are not counted.
func (f *Folder) claims(s Shard) ([]claimed, error) {
	names, err := f.disk.List(disputeName(s))
	if err != nil {
		return nil, f.wrap(disputeName(s), err)
	}
	var all []claimed
	for _, n := range names {
		if staged.Is(n) {
			continue
		}
		name := path.Join(disputeName(s), n)
		data, err := f.disk.Read(name, maxResult)
		if err != nil {
			continue // it is gone, or no file
		}
		if r, err := f.decode(s, data); err == nil {
			all = append(all, claimed{Claim{r.By, r.Arithmetic, r.hash()}, name, r})
		}
	}
	return all, nil
}

// believed returns the hash of the claim that is to be believed: the only one, or the one of two
// workers at least and of more workers than any other. It is "" if there is none.
func believed(claims []claimed) string {
	workers := map[string]map[string]bool{}
	for _, c := range claims {
		if workers[c.Hash] == nil {
			workers[c.Hash] = map[string]bool{}
		}
		if c.Worker != "" {
			workers[c.Hash][c.Worker] = true
		}
	}
	best, next := "", 0
	for hash, by := range workers {
		switch n := len(by); {
		case best == "" || n > len(workers[best]):
			if best != "" {
				next = max(next, len(workers[best]))
			}
			best = hash
		default:
			next = max(next, n)
		}
	}
	if len(workers) == 1 || best != "" && len(workers[best]) >= 2 && len(workers[best]) > next {
		return best
	}
	return ""
}

// settle believes one of the claims of s, if one is to be believed. Else it returns a
// *DisputeError.
func (f *Folder) settle(s Shard) (Settled, error) {
	claims, err := f.claims(s)
	if err != nil || len(claims) == 0 {
		return Settled{}, err
	}
	hash := believed(claims)
	if hash == "" {
		return Settled{}, &DisputeError{f.dispute(s, claims)}
	}
	if err := f.outvote(s, claims, hash); err != nil {
		return Settled{}, err
	}
	return f.take(s, claims, hash)
}

// outvote notes that workers are excluded that claimed anything but what has that hash, also those
// that claimed both. It comes before anything of the dispute goes: a process that is killed then
// leaves the dispute, or the note. Exclude does the rest.
func (f *Folder) outvote(s Shard, claims []claimed, hash string) error {
	for _, c := range claims {
		if c.Hash == hash || !validName(c.Worker) {
			continue
		}
		if err := f.note(c.Worker, fmt.Sprintf("what it found of shard %d, %.6s, was contradicted by others, who found %.6s", s.Index, c.Hash, hash)); err != nil {
			return err
		}
	}
	return nil
}

// note notes that a worker is excluded.
func (f *Folder) note(worker, why string) error {
	return f.writeJSON(excludeName(worker), exclusion{worker, plain.Line(why, maxMessage), time.Now().UTC().Truncate(time.Second)})
}

func (f *Folder) dispute(s Shard, claims []claimed) Dispute {
	d := Dispute{Shard: s.Index, Run: f.Plan.Runs[s.Run].Name}
	for _, c := range claims {
		d.Claims = append(d.Claims, c.Claim)
	}
	return d
}

// take makes the claim of that hash the result of s, and puts all others away.
func (f *Folder) take(s Shard, claims []claimed, hash string) (Settled, error) {
	var out Settled
	var winner *Result
	for _, c := range claims {
		switch {
		case c.Hash != hash:
			out.Wrong = append(out.Wrong, c.Claim)
		case winner == nil:
			winner, out.Winner = c.result, c.Claim
		default:
			winner.Confirmed = append(winner.Confirmed, c.Author)
		}
	}
	data, err := winner.Encode(s.ID)
	if err != nil {
		return Settled{}, err
	}
	if err := f.write(resultName(s), data, true); err != nil {
		return Settled{}, err
	}
	for _, c := range claims {
		if c.Hash != hash {
			if err := f.move(s, c.result, settledName, c.name); err != nil {
				return Settled{}, err
			}
			continue
		}
		if err := f.disk.Remove(c.name); err != nil {
			return Settled{}, f.wrap(c.name, err)
		}
	}
	_ = f.disk.Remove(disputeName(s)) // it is empty but for what is no claim
	_ = f.disk.Remove(failureName(s)) // may not be there
	return out, nil
}

// move puts r, which is in the file called from, below the folder called to.
func (f *Folder) move(s Shard, r *Result, to, from string) error {
	data, err := r.Encode(s.ID)
	if err != nil {
		return err
	}
	id := sha256.Sum256([]byte(r.By.Worker))
	if err := f.write(path.Join(to, s.ID, r.hash()+"-"+hex.EncodeToString(id[:4])), data, true); err != nil {
		return err
	}
	if err := f.disk.Remove(from); err != nil {
		return f.wrap(from, err)
	}
	return nil
}

func (f *Folder) wrap(name string, err error) error {
	return fmt.Errorf("study: %s: %w", f.at(name), err)
}

// Disputes lists the shards that came out different and are not settled, by shard.
func (f *Folder) Disputes() ([]Dispute, error) {
	ids, err := f.disk.List(disputedName)
	if err != nil {
		return nil, f.wrap(disputedName, err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var all []Dispute
	for _, s := range f.Shards {
		if _, ok := slices.BinarySearch(ids, s.ID); !ok {
			continue
		}
		claims, err := f.claims(s)
		if err != nil {
			return nil, err
		}
		if len(claims) > 0 && believed(claims) == "" {
			all = append(all, f.dispute(s, claims))
		}
	}
	return all, nil
}

// Recover settles what can be settled: a process may have been killed before it did.
func (f *Folder) Recover() error {
	ids, err := f.disk.List(disputedName)
	if err != nil {
		return f.wrap(disputedName, err)
	}
	for _, s := range f.Shards {
		if _, ok := slices.BinarySearch(ids, s.ID); !ok {
			continue
		}
		if r, err := f.accepted(s); err == nil {
			if err := f.claim(s, r); err != nil {
				return err
			}
		}
		if _, err := f.settle(s); err != nil && !errors.As(err, new(*DisputeError)) {
			return err
		}
	}
	return nil
}

// Decide ends the dispute about shard i in favour of the claim whose hash begins with hash, as the
// user wants it. It returns an error if that is none or several of them.
func (f *Folder) Decide(i int, hash string) (Settled, error) {
	if i < 0 || i >= len(f.Shards) {
		return Settled{}, fmt.Errorf("study: shard %d, want 0 to %d", i, len(f.Shards)-1)
	}
	claims, err := f.claims(f.Shards[i])
	if err != nil {
		return Settled{}, err
	}
	if len(claims) == 0 {
		return Settled{}, fmt.Errorf("study: nothing is disputed about shard %d", i)
	}
	found := map[string]bool{}
	for _, c := range claims {
		if hash != "" && strings.HasPrefix(c.Hash, hash) {
			found[c.Hash] = true
		}
	}
	if len(found) != 1 {
		return Settled{}, fmt.Errorf("study: %d results begin with %q: %v", len(found), plain.Line(hash, 20), f.dispute(f.Shards[i], claims))
	}
	if err := f.disk.Remove(resultName(f.Shards[i])); err != nil {
		return Settled{}, f.wrap(resultName(f.Shards[i]), err)
	}
	return f.take(f.Shards[i], claims, slices.Collect(maps.Keys(found))[0])
}

// Disbelieved lists the workers of results that are not believed any more, by name.
func (f *Folder) Disbelieved() ([]string, error) {
	known := map[string]bool{}
	for _, put := range []string{asideName, settledName} {
		ids, err := f.disk.List(put)
		if err != nil {
			return nil, f.wrap(put, err)
		}
		for _, s := range f.Shards {
			if _, ok := slices.BinarySearch(ids, s.ID); !ok {
				continue
			}
			names, err := f.disk.List(path.Join(put, s.ID))
			if err != nil {
				return nil, f.wrap(path.Join(put, s.ID), err)
			}
			for _, n := range names {
				data, err := f.disk.Read(path.Join(put, s.ID, n), maxResult)
				if err != nil {
					continue
				}
				if r, err := DecodeResult(s, data); err == nil && r.By.Worker != "" {
					known[r.By.Worker] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(known)), nil
}

// SetAside takes back results for which match holds: they are kept in aside/, and their shards are
// to be done again. It returns these shards. What is disputed about other shards stays.
func (f *Folder) SetAside(match func(Shard, *Result) bool) (opened []int, err error) {
	for _, s := range f.Shards {
		r, err := f.accepted(s)
		if err != nil || !match(s, r) {
			continue // there is none, or one that is done again anyway
		}
		if err := f.move(s, r, asideName, resultName(s)); err != nil {
			return opened, err
		}
		opened = append(opened, s.Index)
	}
	return opened, nil
}

// An exclusion is what the folder notes of a worker that was found wrong.
type exclusion struct {
	Worker string    `json:"worker"`
	Why    string    `json:"why"`
	Time   time.Time `json:"time"`
}

// Exclude notes that a worker computes wrong, and why: Put takes nothing of it any more. Results of
// it that nobody else has found too are set aside. It returns their shards, which are open now, and
// those of disputes that ended because of it are done.
func (f *Folder) Exclude(worker, why string) (opened []int, err error) {
	if !validName(worker) {
		return nil, fmt.Errorf("study: bad name %q of a worker", plain.Line(worker, 40))
	}
	if err := f.note(worker, why); err != nil {
		return nil, err
	}
	opened, err = f.SetAside(func(_ Shard, r *Result) bool { return r.By.Worker == worker && len(r.Confirmed) == 0 })
	if err != nil {
		return opened, err
	}
	ids, err := f.disk.List(disputedName)
	if err != nil {
		return opened, f.wrap(disputedName, err)
	}
	for _, s := range f.Shards {
		if _, ok := slices.BinarySearch(ids, s.ID); !ok {
			continue
		}
		claims, err := f.claims(s)
		if err != nil {
			return opened, err
		}
		for _, c := range claims {
			if c.Worker == worker {
				if err := f.move(s, c.result, settledName, c.name); err != nil {
					return opened, err
				}
			}
		}
		if _, err := f.settle(s); err != nil && !errors.As(err, new(*DisputeError)) {
			return opened, err
		}
	}
	return opened, nil
}

// ExcludeWrong excludes the workers that a dispute showed to be wrong, and returns the shards that
// are open because of it.
func (f *Folder) ExcludeWrong(s Settled) (opened []int, err error) {
	for _, c := range s.Wrong {
		if c.Worker == "" || c.Worker == s.Winner.Worker {
			continue
		}
		more, err := f.Exclude(c.Worker, fmt.Sprintf("what it found of a shard, %s, was contradicted by others, who found %s", c.Hash[:6], s.Winner.Hash[:6]))
		opened = append(opened, more...)
		if err != nil {
			return opened, err
		}
	}
	return opened, nil
}

// Trust forgets that a worker was excluded.
func (f *Folder) Trust(worker string) error {
	if _, ok, err := f.excluded(worker); err != nil || !ok {
		return cmp.Or(err, fmt.Errorf("study: no worker %q is excluded", plain.Line(worker, 100)))
	}
	if err := f.disk.Remove(excludeName(worker)); err != nil {
		return f.wrap(excludeName(worker), err)
	}
	return nil
}

// excluded reports whether a worker is excluded, and why.
func (f *Folder) excluded(worker string) (why string, ok bool, err error) {
	if !validName(worker) {
		return "", false, nil
	}
	data, err := f.disk.Read(excludeName(worker), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, f.wrap(excludeName(worker), err)
	}
	var one exclusion
	_ = json.Unmarshal(data, &one) // half a file of a full disk excludes too
	return cmp.Or(plain.Line(one.Why, maxMessage), "it was found wrong"), true, nil
}

// Excluded returns the workers that are excluded, and why.
func (f *Folder) Excluded() (map[string]string, error) {
	all := map[string]string{}
	err := f.eachJSON(excludedName, func(name string, _ []byte) error {
		worker := strings.TrimSuffix(name, ".json")
		why, ok, err := f.excluded(worker)
		if ok {
			all[worker] = why
		}
		return err
	})
	return all, err
}

// Get returns the result of s. It returns fs.ErrNotExist if the shard is not done, and a
// *DisputeError if it came out different.
func (f *Folder) Get(s Shard) (*Result, error) {
	claims, err := f.claims(s)
	if err != nil {
		return nil, err
	}
	if len(claims) > 0 && believed(claims) == "" {
		return nil, &DisputeError{f.dispute(s, claims)}
	}
	r, err := f.accepted(s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("study: shard %d of run %s is not done: %w", s.Index, f.Plan.Runs[s.Run].Name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: 'advsweep work %s' does it again", err, f.at(resultName(s)), f.Dir)
	}
	return r, nil
}

// Has reports whether the result of s is there, whole, and not disputed.
func (f *Folder) Has(s Shard) bool {
	_, err := f.Get(s)
	return err == nil
}
