package study

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
	"advsweep/record"

	"github.com/gofrs/flock"
)

// The parts of a study's folder.
const (
	planName    = "plan.json"
	shardsName  = "shards.csv"
	studyName   = "study.toml"
	inputsName  = "inputs"
	resultsName = "shards"
	failedName  = "failed"
	workersName = "workers"
	runsName    = "runs"
	StoreName   = "nats"      // of package cluster's server
	KeyName     = "worker.nk" // what its workers show, unless the user names another file
	lockName    = ".lock"
	tmpPrefix   = ".tmp-" // of files that are being written
)

// A Folder holds a study: its plan, the models and images that it needs, and what its shards have
// found. Any number of processes may use one folder, on a shared file system too. A result is there
// whole or not at all, and all results of a shard are alike. Several goroutines may call its
// methods.
type Folder struct {
	Dir    string
	Plan   *Plan
	Shards []Shard
}

// Create makes the folder dir for plan. inputs are what the plan names, by their SHA-256, and text
// is the study file as it was read. If dir holds the same study already, its results stay. It
// returns an error if dir holds another study, or one by another version, or other files.
func Create(dir string, plan *Plan, inputs map[string][]byte, text []byte) (*Folder, error) {
	data, err := plan.JSON()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, planName)
	switch old, err := os.ReadFile(path); {
	case err == nil && !json.Valid(old): // damaged: it is made again, and results are found by what they are of
	case err == nil && record.VersionOf(old) != plan.Version:
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("%s: %w, or delete that folder", path, &VersionError{record.VersionOf(old), plan.Version}))
	case err == nil && !bytes.Equal(old, data):
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("study: %s holds another study: choose another folder, or delete that folder", dir))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("study: %s: %w", path, regular.Cause(err))
	case err != nil:
		if entries, err := os.ReadDir(dir); err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !ours(e.Name()) }) {
			return nil, remedy.Want(remedy.Folder, fmt.Errorf("study: %s holds other files: choose another folder", dir))
		}
	}
	f := &Folder{Dir: dir, Plan: plan}
	if f.Shards, err = plan.Shards(); err != nil {
		return nil, err
	}
	for hash, data := range inputs {
		if _, err := f.Input(hash); err == nil {
			continue
		}
		if err := writeWhole(filepath.Join(dir, inputsName, hash), data); err != nil {
			return nil, err
		}
	}
	if err := writeWhole(filepath.Join(dir, shardsName), plan.ShardsCSV(f.Shards)); err != nil {
		return nil, err
	}
	if err := writeWhole(filepath.Join(dir, studyName), text); err != nil {
		return nil, err
	}
	return f, writeWhole(path, data) // last: a folder with a plan is whole
}

// ours reports whether a file of that name may be of a study whose plan is lost or was never
// written.
func ours(name string) bool {
	return slices.Contains([]string{inputsName, shardsName, studyName, resultsName, failedName, workersName, runsName, StoreName, KeyName, lockName}, name) || strings.HasPrefix(name, tmpPrefix)
}

// Open opens the study in dir, which Create made with this version of the program.
func Open(dir, version string) (*Folder, error) {
	path := filepath.Join(dir, planName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("study: %s holds no study: no %s; 'advsweep plan' makes one: %w", dir, planName, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("study: %s: %w", path, regular.Cause(err))
	}
	plan, err := ParsePlan(data, version)
	if err != nil {
		if !json.Valid(data) {
			err = remedy.Want(remedy.Folder, fmt.Errorf("%w: it is damaged; 'advsweep plan' with the study file and the folder %s makes it again, and keeps what is done", err, dir))
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &Folder{Dir: dir, Plan: plan}
	f.Shards, err = plan.Shards()
	return f, err
}

// Is reports whether dir holds a study.
func Is(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, planName))
	return err == nil && info.Mode().IsRegular()
}

// Lock makes the folder the caller's alone until unlock. Who hands out its shards or merges them
// takes the lock; who does single shards does not. It does not wait but returns an error.
func (f *Folder) Lock() (unlock func(), err error) {
	l := flock.New(filepath.Join(f.Dir, lockName), flock.SetPermissions(0o666))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("study: lock %s: %w", f.Dir, regular.Cause(err))
	}
	if !ok {
		return nil, fmt.Errorf("study: %s is in use by another 'advsweep work', serve or merge: wait for it to end", f.Dir)
	}
	f.sweepUp(time.Now())
	return func() { _ = l.Close() }, nil
}

// sweepUp removes files that a writer began and did not finish, if they are over a day old at time
// now: then the writer was killed.
func (f *Folder) sweepUp(now time.Time) {
	_ = filepath.WalkDir(f.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), tmpPrefix) {
			return nil
		}
		if info, err := d.Info(); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(path)
		}
		return nil
	})
}

// Input returns the input with that SHA-256. It returns an error if it is not there or is damaged.
func (f *Folder) Input(hash string) ([]byte, error) {
	path := filepath.Join(f.Dir, inputsName, hash)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("study: %s: %w; 'advsweep plan' with the same study file makes it again", path, regular.Cause(err))
	}
	if Hash(data) != hash {
		return nil, fmt.Errorf("study: %s is damaged: its SHA-256 is not its name; 'advsweep plan' with the same study file makes it again", path)
	}
	return data, nil
}

// Inputs lists the hashes of all inputs that the plan names.
func (f *Folder) Inputs() []string {
	var all []string
	for _, r := range f.Plan.Runs {
		all = append(all, r.Model, r.Images)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Hash is the name of data among the inputs: its SHA-256 in hexadecimal.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (f *Folder) resultPath(s Shard) string {
	return filepath.Join(f.Dir, resultsName, s.ID[:2], s.ID)
}

// Has reports whether the result of s is there.
func (f *Folder) Has(s Shard) bool {
	_, err := os.Stat(f.resultPath(s))
	return err == nil
}

// Done returns for each shard whether its result is there.
func (f *Folder) Done() ([]bool, error) {
	there := map[string]bool{}
	dirs, err := os.ReadDir(filepath.Join(f.Dir, resultsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("study: %w", regular.Cause(err))
	}
	for _, d := range dirs {
		names, err := os.ReadDir(filepath.Join(f.Dir, resultsName, d.Name()))
		if err != nil {
			return nil, fmt.Errorf("study: %w", regular.Cause(err))
		}
		for _, n := range names {
			there[n.Name()] = true
		}
	}
	done := make([]bool, len(f.Shards))
	for i, s := range f.Shards {
		done[i] = there[s.ID]
	}
	return done, nil
}

// A DifferentError says that a shard came out different from the result that is there already.
type DifferentError struct {
	Shard    Shard
	Old, New record.Arithmetic
}

func (e *DifferentError) Error() string {
	if e.Old != e.New {
		return fmt.Sprintf("study: shard %d came out different by %s from its result by %s", e.Shard.Index, e.New, e.Old)
	}
	return fmt.Sprintf("study: shard %d came out different from its result that is there, both by %s: one of the machines computes wrong", e.Shard.Index, e.New)
}

// Put keeps r, encoded, as the result of s. When it returns nil the result is on the disk to stay.
// A second result that is the same changes nothing; one that is not is a *DifferentError, and the
// first one stays.
func (f *Folder) Put(s Shard, encoded []byte) error {
	r, err := DecodeResult(s, encoded)
	if err != nil {
		return err
	}
	path := f.resultPath(s)
	if old, err := os.ReadFile(path); err == nil {
		was, err := DecodeResult(s, old)
		if err == nil {
			if bytes.Equal(old, encoded) {
				return nil
			}
			return &DifferentError{s, was.Arithmetic, r.Arithmetic}
		} // damaged: the new one takes its place
	}
	if err := writeWhole(path, encoded); err != nil {
		return err
	}
	_ = os.Remove(f.failurePath(s)) // may not be there
	return nil
}

// Get returns the result of s.
func (f *Folder) Get(s Shard) (*Result, error) {
	path := f.resultPath(s)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("study: shard %d of run %s is not done: %w", s.Index, f.Plan.Runs[s.Run].Name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("study: %s: %w", path, regular.Cause(err))
	}
	r, err := DecodeResult(s, data)
	if err != nil {
		return nil, fmt.Errorf("%w: delete %s and the shard is done again", err, path)
	}
	return r, nil
}

// A Failure is a shard that nobody could do.
type Failure struct {
	Shard    int       `json:"shard"`
	Run      string    `json:"run"`
	ID       string    `json:"id"`
	Message  string    `json:"message"`
	Worker   string    `json:"worker"`
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"`
}

func (f *Folder) failurePath(s Shard) string {
	return filepath.Join(f.Dir, failedName, s.ID+".json")
}

// Fail notes that s failed. Retry forgets it, and so does Put.
func (f *Folder) Fail(s Shard, worker string, attempts int, message string) error {
	return writeJSON(f.failurePath(s), Failure{s.Index, f.Plan.Runs[s.Run].Name, s.ID, message, worker, attempts, time.Now().UTC().Truncate(time.Second)})
}

// Failures lists what Fail noted of shards that are not done, by shard.
func (f *Folder) Failures() ([]Failure, error) {
	var all []Failure
	err := eachJSON(filepath.Join(f.Dir, failedName), func(name string, data []byte) error {
		var one Failure
		if err := json.Unmarshal(data, &one); err != nil || one.Shard < 0 || one.Shard >= len(f.Shards) || f.Shards[one.Shard].ID != one.ID {
			return nil // half a file of a full disk: no failure that counts
		}
		if !f.Has(f.Shards[one.Shard]) {
			all = append(all, one)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Failure) int { return a.Shard - b.Shard })
	return all, err
}

// Retry forgets the failure of s.
func (f *Folder) Retry(s Shard) error {
	if err := os.Remove(f.failurePath(s)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("study: %w", regular.Cause(err))
	}
	return nil
}

// A WorkerState is what a worker says of itself.
type WorkerState struct {
	Name       string            `json:"name"`
	Device     string            `json:"device"`
	Arithmetic record.Arithmetic `json:"arithmetic"`
	Shard      int               `json:"shard"` // in hand; -1: none
	Since      time.Time         `json:"since"` // it has it
	Updated    time.Time         `json:"updated"`
	Done       int               `json:"done"` // shards
	Failed     int               `json:"failed"`
	Busy       float64           `json:"busy_seconds"`     // on shards that it has done
	Expected   float64           `json:"expected_seconds"` // that they were expected to take
}

// Heartbeat keeps w for Status. The study does not need it: callers may ignore its error.
func (f *Folder) Heartbeat(w WorkerState) error {
	if !validName(w.Name) {
		return fmt.Errorf("study: bad name %q of a worker", w.Name)
	}
	w.Updated = time.Now().UTC().Truncate(time.Millisecond)
	return writeSoft(filepath.Join(f.Dir, workersName, w.Name+".json"), w)
}

// Workers lists all workers of which Heartbeat kept one, by name.
func (f *Folder) Workers() ([]WorkerState, error) {
	var all []WorkerState
	err := eachJSON(filepath.Join(f.Dir, workersName), func(name string, data []byte) error {
		var one WorkerState
		if json.Unmarshal(data, &one) == nil && one.Name+".json" == name {
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

// writeWhole writes a file so that after a crash it is there whole or not at all.
func writeWhole(path string, data []byte) error { return write(path, data, true) }

// writeSoft is writeWhole for JSON that a power cut may lose.
func writeSoft(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("study: %s: %w", path, err)
	}
	return write(path, append(data, '\n'), false)
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("study: %s: %w", path, err)
	}
	return writeWhole(path, append(data, '\n'))
}

func write(path string, data []byte, sync bool) error {
	dir := filepath.Dir(path)
	err := os.MkdirAll(dir, 0o777)
	var tmp *os.File
	if err == nil {
		tmp, err = os.CreateTemp(dir, tmpPrefix) // several processes may write one result
	}
	if err == nil {
		_, err = tmp.Write(data)
		if err == nil {
			err = tmp.Chmod(0o644)
		}
		if err == nil && sync {
			err = tmp.Sync()
		}
		if failed := tmp.Close(); err == nil {
			err = failed
		}
		if err == nil {
			err = os.Rename(tmp.Name(), path)
		}
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("study: write %s: %w: what is done is safe", path, regular.Cause(err))
	}
	if d, err := os.Open(dir); sync && err == nil { // makes the name last; not every system can
		_ = d.Sync()
		d.Close()
	}
	return nil
}

// eachJSON calls do for every .json file of dir, by name.
func eachJSON(dir string, do func(name string, data []byte) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("study: %w", regular.Cause(err))
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("study: %w", regular.Cause(err))
		}
		if err := do(e.Name(), data); err != nil {
			return err
		}
	}
	return nil
}
