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

	"advsweep/internal/plain"
	"advsweep/internal/regular"
	"advsweep/internal/remedy"
	"advsweep/internal/staged"
	"advsweep/record"
)

// The parts of a study's folder.
const (
	planName     = "plan.json"
	shardsName   = "shards.csv"
	studyName    = "study.toml"
	inputsName   = "inputs"
	resultsName  = "shards"
	disputedName = "disputed" // results of shards that came out different, see Put
	settledName  = "settled"  // those of disputes that are over
	asideName    = "aside"    // results that are not believed any more, see SetAside
	excludedName = "excluded" // workers, see Exclude
	failedName   = "failed"
	workersName  = "workers"
	runsName     = "runs"
	StoreName    = "nats"      // of package cluster's server
	KeyName      = "worker.nk" // what its workers show, unless the user names another file
	lockName     = ".lock"
)

// How many bytes files of a folder have at most; others are not read.
const (
	maxPlan = 1 << 30
	maxNote = 1 << 20 // of a failure, a heartbeat, an exclusion
)

// A Folder holds a study: its plan, the models and images that it needs, and what its shards have
// found. Any number of processes may use one folder, on a shared file system too. A result is there
// whole or not at all, and it was checked: see Put. Several goroutines may call its methods.
type Folder struct {
	Dir    string
	Plan   *Plan
	Shards []Shard

	disk   Disk
	checks checkers
}

// On returns the study of plan whose files are on disk. dir is what messages call the folder.
func On(disk Disk, dir string, plan *Plan) (*Folder, error) {
	shards, err := plan.Shards()
	if err != nil {
		return nil, err
	}
	return &Folder{Dir: dir, Plan: plan, Shards: shards, disk: disk, checks: checkers{plan: plan}}, nil
}

// Create makes the folder dir for plan. inputs are what the plan names, by their SHA-256, and text
// is the study file as it was read. If dir holds the same study already, its results stay. It
// returns an error if dir holds another study, or one by another version, or other files.
func Create(dir string, plan *Plan, inputs map[string][]byte, text []byte) (*Folder, error) {
	data, err := plan.JSON()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("study: make folder %s: %w", dir, regular.Cause(err)))
	}
	disk := newDisk(dir)
	if err := disk.check(); err != nil {
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("study: %s: %w", dir, err))
	}
	path := filepath.Join(dir, planName)
	switch old, err := disk.Read(planName, maxPlan); {
	case err == nil && !json.Valid(old): // damaged: it is made again, and results are found by what they are of
	case err == nil && record.VersionOf(old) != plan.Version:
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("%s: %w, or delete that folder", path, &VersionError{record.VersionOf(old), plan.Version}))
	case err == nil && !bytes.Equal(old, data):
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("study: %s holds another study: choose another folder, or delete that folder", dir))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("study: %s: %w", path, err)
	case err != nil:
		names, err := disk.List(".")
		if err == nil && slices.ContainsFunc(names, func(name string) bool { return !ours(name) }) {
			return nil, remedy.Want(remedy.Folder, fmt.Errorf("study: %s holds other files: choose another folder", dir))
		}
	}
	f, err := On(disk, dir, plan)
	if err != nil {
		return nil, err
	}
	for hash, data := range inputs {
		if _, err := f.Input(hash); err == nil {
			continue
		}
		if err := f.write(inputsName+"/"+hash, data, true); err != nil {
			return nil, err
		}
	}
	if err := f.write(shardsName, plan.ShardsCSV(f.Shards), true); err != nil {
		return nil, err
	}
	if err := f.write(studyName, text, true); err != nil {
		return nil, err
	}
	return f, f.write(planName, data, true) // last: a folder with a plan is whole
}

// ours reports whether a file of that name may be of a study whose plan is lost or was never
// written.
func ours(name string) bool {
	return slices.Contains(folderParts, name) || slices.Contains(fileParts, name) || staged.Is(name)
}

// Open opens the study in dir, which Create made with this version of the program. It returns an
// error if a part of the folder is a link, or no file or folder where one is wanted: the folder may
// be from somebody else.
func Open(dir, version string) (*Folder, error) {
	path := filepath.Join(dir, planName)
	disk := newDisk(dir)
	var data []byte
	err := disk.check()
	if err == nil {
		data, err = disk.Read(planName, maxPlan)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", planName, err)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("study: %s holds no study: no %s; 'advsweep plan' makes one: %w", dir, planName, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("study: %s: %w", dir, err)
	}
	plan, err := ParsePlan(data, version)
	if err != nil {
		if !json.Valid(data) {
			err = remedy.Want(remedy.Folder, fmt.Errorf("%w: it is damaged; 'advsweep plan' with the study file and the folder %s makes it again, and keeps what is done", err, dir))
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return On(disk, dir, plan)
}

// Is reports whether dir holds a study.
func Is(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, planName))
	return err == nil && info.Mode().IsRegular()
}

// Lock makes the folder the caller's alone until unlock. Who hands out its shards or merges them
// takes the lock; who does single shards does not. It does not wait but returns an error.
//
// It also ends what a process that was killed had begun: it removes files that were not finished,
// and settles disputes that can be settled.
func (f *Folder) Lock() (unlock func(), err error) {
	l, ok, err := regular.TryLock(filepath.Join(f.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("study: lock %s: %w", f.Dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("study: %s is in use by another 'advsweep work', serve or merge: wait for it to end", f.Dir)
	}
	if d, ok := f.disk.(*osDisk); ok {
		d.sweep()
	}
	if err := f.Recover(); err != nil {
		_ = l.Close()
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}

// Input returns the input with that SHA-256. It returns an error if it is not there or is damaged.
func (f *Folder) Input(hash string) ([]byte, error) {
	name := inputsName + "/" + hash
	data, err := f.disk.Read(name, maxInput)
	if err != nil {
		return nil, fmt.Errorf("study: %s: %w; 'advsweep plan' with the same study file makes it again", f.at(name), err)
	}
	if Hash(data) != hash {
		return nil, fmt.Errorf("study: %s is damaged: its SHA-256 is not its name; 'advsweep plan' with the same study file makes it again", f.at(name))
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

func failureName(s Shard) string { return failedName + "/" + s.ID + ".json" }

// maxMessage is how many characters of a message of a worker are kept.
const maxMessage = 2000

// Fail notes that s failed. Retry forgets it, and so does Put. Of a long message the beginning is
// kept.
func (f *Folder) Fail(s Shard, worker string, attempts int, message string) error {
	return f.writeJSON(failureName(s), Failure{s.Index, f.Plan.Runs[s.Run].Name, s.ID, plain.Line(message, maxMessage), plain.Line(worker, 100), attempts, time.Now().UTC().Truncate(time.Second)})
}

// Failures lists what Fail noted of shards that are not done, by shard.
func (f *Folder) Failures() ([]Failure, error) {
	var all []Failure
	err := f.eachJSON(failedName, func(name string, data []byte) error {
		var one Failure
		if err := json.Unmarshal(data, &one); err != nil || one.Shard < 0 || one.Shard >= len(f.Shards) || f.Shards[one.Shard].ID != one.ID {
			return nil // half a file of a full disk: no failure that counts
		}
		if !f.Has(f.Shards[one.Shard]) {
			one.Message, one.Worker = plain.Line(one.Message, maxMessage), plain.Line(one.Worker, 100)
			one.Run = f.Plan.Runs[f.Shards[one.Shard].Run].Name
			all = append(all, one)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Failure) int { return a.Shard - b.Shard })
	return all, err
}

// Retry forgets the failure of s.
func (f *Folder) Retry(s Shard) error {
	if err := f.disk.Remove(failureName(s)); err != nil {
		return fmt.Errorf("study: %s: %w", f.at(failureName(s)), err)
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

// CheckWorkerName returns an error if no worker can be called so.
func CheckWorkerName(name string) error {
	if !validName(name) {
		return fmt.Errorf("study: bad name %q of a worker, want 1 to 100 letters, digits, - _ . (not first)", plain.Line(name, 40))
	}
	return nil
}

// ParseWorkerState reads what a worker says of itself, and makes it fit to be shown and to be
// reckoned with. It reports false if no worker can have said that.
func ParseWorkerState(data []byte) (w WorkerState, ok bool) {
	if json.Unmarshal(data, &w) != nil || CheckWorkerName(w.Name) != nil {
		return WorkerState{}, false
	}
	w.clean()
	return w, true
}

// Heartbeat keeps w for Status. The study does not need it: callers may ignore its error.
func (f *Folder) Heartbeat(w WorkerState) error {
	if err := CheckWorkerName(w.Name); err != nil {
		return err
	}
	w.Updated = time.Now().UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("study: heartbeat: %w", err)
	}
	return f.write(workersName+"/"+w.Name+".json", append(data, '\n'), false) // a power cut may lose it
}

// Workers lists all workers of which Heartbeat kept one, by name.
func (f *Folder) Workers() ([]WorkerState, error) {
	var all []WorkerState
	err := f.eachJSON(workersName, func(name string, data []byte) error {
		if one, ok := ParseWorkerState(data); ok && one.Name+".json" == name {
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

// clean makes what a worker says of itself fit for a terminal and a page.
func (w *WorkerState) clean() {
	w.Device = plain.Line(w.Device, 100)
	for _, text := range []*string{&w.Arithmetic.Backend, &w.Arithmetic.Precision, &w.Arithmetic.MathMode, &w.Arithmetic.Fingerprint} {
		*text = plain.Line(*text, 40)
	}
	const most = 1e12 // sums of these stay finite
	w.Shard, w.Done, w.Failed = max(-1, w.Shard), max(0, w.Done), max(0, w.Failed)
	w.Busy, w.Expected = min(most, max(0, w.Busy)), min(most, max(0, w.Expected))
}

// write writes a file of the folder, see Disk.
func (f *Folder) write(name string, data []byte, durable bool) error {
	if err := f.disk.Write(name, data, durable); err != nil {
		return fmt.Errorf("study: write %s: %w: what is done is safe", f.at(name), err)
	}
	return nil
}

func (f *Folder) writeJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("study: %s: %w", f.at(name), err)
	}
	return f.write(name, append(data, '\n'), true)
}

// eachJSON calls do for every .json file of dir, by name. A file that is too large, or none, is an
// error.
func (f *Folder) eachJSON(dir string, do func(name string, data []byte) error) error {
	names, err := f.disk.List(dir)
	if err != nil {
		return fmt.Errorf("study: %s: %w", f.at(dir), err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".json") || strings.HasPrefix(name, ".") {
			continue
		}
		data, err := f.disk.Read(dir+"/"+name, maxNote)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("study: %s: %w", f.at(dir+"/"+name), err)
		}
		if err := do(name, data); err != nil {
			return err
		}
	}
	return nil
}
