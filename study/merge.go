package study

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/chunklog"
	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"
)

// RunDir is the folder of run i once it is merged.
func (f *Folder) RunDir(i int) string {
	return filepath.Join(f.Dir, runsName, f.Plan.Runs[i].Name)
}

// Take puts the results of other, a copy of the same study, here, and what is disputed there. Two
// results of one shard that differ are a *DisputeError when all is taken, unless they end a
// dispute. With mixed the one that is here stays if they are of different arithmetic; else that is a
// *DifferentError.
func (f *Folder) Take(other *Folder, mixed bool) error {
	here, err := f.Plan.ID()
	if err != nil {
		return err
	}
	there, err := other.Plan.ID()
	if err != nil {
		return err
	}
	if here != there {
		return fmt.Errorf("study: %s holds study %s (%s) and %s study %s (%s): want copies of one", f.Dir, f.Plan.Name, here, other.Dir, other.Plan.Name, there)
	}
	var disputed error
	put := func(s Shard, r *Result) error {
		data, err := r.Encode(s.ID)
		if err != nil {
			return err
		}
		settled, err := f.Put(s, data)
		var different *DifferentError
		switch {
		case errors.As(err, new(*DisputeError)):
			disputed = cmp.Or(disputed, err)
		case errors.As(err, &different) && mixed, errors.As(err, new(*ExcludedError)):
		case err != nil:
			return err
		}
		_, err = f.ExcludeWrong(settled)
		return err
	}
	for _, s := range f.Shards {
		claims, err := other.claims(s)
		if err != nil {
			return err
		}
		for _, c := range claims {
			if err := put(s, c.result); err != nil {
				return err
			}
		}
		r, err := other.accepted(s)
		if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*DamagedError)) {
			continue
		}
		if err != nil {
			return other.wrap(resultName(s), err)
		}
		if err := put(s, r); err != nil {
			return err
		}
	}
	return disputed
}

// A Merged is a run of a study that is put together.
type Merged struct {
	Index    int    // of the run in the plan
	Dir      string // its folder
	Manifest *record.Manifest
	Result   *pipeline.Result
}

// Merge puts all runs together, as MergeRun does, one after the other, and hands each to do, which
// writes its files. It returns an error if shards are not done, and the error of ctx once that
// ends: then runs from the one in hand on are left, and merging again does all.
func (f *Folder) Merge(ctx context.Context, mixed bool, do func(Merged) error) error {
	if err := f.Missing(); err != nil {
		return err
	}
	for i := range f.Plan.Runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, res, err := f.MergeRun(i, mixed)
		if err != nil {
			return err
		}
		if err := do(Merged{i, f.RunDir(i), m, res}); err != nil {
			return err
		}
	}
	return nil
}

// Gather opens the study in the first of dirs, locks it, and takes the results of the others, which
// are copies of it. The study is the caller's alone until unlock.
func Gather(version string, mixed bool, dirs ...string) (f *Folder, unlock func(), err error) {
	if len(dirs) == 0 {
		return nil, nil, errors.New("study: no folder to gather results in")
	}
	if f, err = Open(dirs[0], version); err != nil {
		return nil, nil, err
	}
	if unlock, err = f.Lock(); err != nil {
		return nil, nil, err
	}
	for _, dir := range dirs[1:] {
		other, err := Open(dir, version)
		if err == nil {
			err = f.Take(other, mixed)
		}
		if err != nil {
			unlock()
			return nil, nil, err
		}
	}
	return f, unlock, nil
}

// A NotMergedError says that a run of a study is not put together yet.
type NotMergedError struct {
	Run, Dir string // the run's name, the study's folder
	Err      error  // a *rundir.NoRunError
}

func (e *NotMergedError) Error() string { return fmt.Sprintf("study: run %s is not merged", e.Run) }

func (e *NotMergedError) Unwrap() error { return e.Err }

// ReadRun reads run i, which MergeRun put together. It returns a *NotMergedError if that was not
// done.
func (f *Folder) ReadRun(i int) (*record.Manifest, *pipeline.Result, error) {
	if err := f.unsettled(i); err != nil {
		return nil, nil, err
	}
	m, res, err := rundir.Read(f.RunDir(i))
	if errors.As(err, new(*rundir.NoRunError)) {
		if _, missing := os.Stat(f.RunDir(i)); errors.Is(missing, fs.ErrNotExist) {
			err = &NotMergedError{f.Plan.Runs[i].Name, f.Dir, err}
		}
	}
	return m, res, err
}

// unsettled returns an error if a result of run i that is or may be in its folder is not believed
// any more: it is disputed, or set aside, or was done again after the run was merged.
func (f *Folder) unsettled(i int) error {
	disputes, err := f.Disputes()
	if err != nil {
		return err
	}
	for _, d := range disputes {
		if f.Shards[d.Shard].Run == i {
			return &DisputeError{d}
		}
	}
	for _, put := range []string{asideName, settledName} {
		ids, err := f.disk.List(put)
		if err != nil {
			return f.wrap(put, err)
		}
		for _, s := range f.Shards {
			if _, ok := slices.BinarySearch(ids, s.ID); !ok || s.Run != i {
				continue
			}
			if err := f.merged(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// merged returns an error if s is not done, or its run was merged with another result of s. It
// returns nil if the run was not merged.
func (f *Folder) merged(s Shard) error {
	run := f.Plan.Runs[s.Run].Name
	r, err := f.Get(s)
	if err != nil {
		return fmt.Errorf("study: a result of shard %d of run %s is not believed any more, and the shard is not done again: 'advsweep work %s' does it", s.Index, run, f.Dir)
	}
	log, err := chunklog.Read(f.RunDir(s.Run))
	if err != nil {
		return nil // who reads the run finds out
	}
	err = agree(log, s, r)
	if failed := log.Close(); err == nil {
		err = failed
	}
	if errors.Is(err, errOutdated) {
		return fmt.Errorf("study: run %s was merged before shard %d was done again, and is wrong: 'advsweep merge %s' merges it anew", run, s.Index, f.Dir)
	}
	return err
}

// Believed returns an error if dir is the folder of a merged run of a study, and a result in it is
// not believed any more. Of other folders it says nothing.
func Believed(dir, version string) error {
	abs, err := filepath.Abs(dir)
	if err != nil || filepath.Base(filepath.Dir(abs)) != runsName {
		return nil
	}
	of := filepath.Dir(filepath.Dir(abs))
	if !Is(of) {
		return nil
	}
	f, err := Open(of, version)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(f.Plan.Runs, func(r Run) bool { return r.Name == filepath.Base(abs) })
	if i < 0 {
		return nil
	}
	return f.unsettled(i)
}

// MergeRun puts the shards of run i together in RunDir, and returns its manifest and result. The
// log there is that of one sweep on one machine, byte for byte. If shards of other arithmetic than
// planned, or of several, are among them, it is an error unless mixed is set; then the manifest
// lists whose chunks are whose.
func (f *Folder) MergeRun(i int, mixed bool) (m *record.Manifest, res *pipeline.Result, err error) {
	run := f.Plan.Runs[i]
	manifest := run.Manifest
	chunks := run.Ends[len(run.Ends)-1]
	var parts []record.Part
	read := func(do func(s Shard, r *Result) error) error {
		for _, s := range f.Shards {
			if s.Run != i {
				continue
			}
			r, err := f.Get(s)
			if err == nil {
				err = do(s, r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	// First who computed what: it is part of the manifest, which the log begins with.
	if err := read(func(s Shard, r *Result) error {
		p := record.Part{Arithmetic: r.Arithmetic, From: s.From, To: s.To}
		if n := len(parts); n > 0 && parts[n-1].Arithmetic == p.Arithmetic {
			parts[n-1].To = s.To
		} else {
			parts = append(parts, p)
		}
		return nil
	}); err != nil {
		return nil, nil, err
	}
	if planned := parts[0].Planned(&manifest); !planned || len(parts) > 1 {
		if !mixed {
			return nil, nil, mixture(run.Name, &manifest, parts)
		}
		manifest.Mixed = parts
	}
	data, err := manifest.JSON()
	if err != nil {
		return nil, nil, err
	}
	dir := f.RunDir(i)
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return nil, nil, fmt.Errorf("study: %s is %s, want a folder", dir, kindOf(info.Mode()))
	}
	log, err := chunklog.Open(dir, data, chunks)
	var other *chunklog.OtherRunError
	var corrupt *chunklog.CorruptError
	if errors.As(err, &other) || errors.As(err, &corrupt) { // all that is there can be made again
		if err = chunklog.Remove(dir); err == nil {
			log, err = chunklog.Open(dir, data, chunks)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	// A result that was merged before may have been wrong, and been done again since.
	if err := read(func(s Shard, r *Result) error { return agree(log, s, r) }); errors.Is(err, errOutdated) {
		if err = log.Close(); err == nil {
			err = chunklog.Remove(dir)
		}
		if err == nil {
			log, err = chunklog.Open(dir, data, chunks)
		}
		if err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	defer func() {
		if failed := log.Close(); err == nil && failed != nil {
			err = failed
		}
	}()
	if err := read(func(s Shard, r *Result) error {
		for k, payload := range r.Chunks {
			if err := log.Append(s.From+k, payload); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, nil, err
	}
	res, err = manifest.Assemble(log)
	return &manifest, res, err
}

var errOutdated = errors.New("study: a chunk was merged that is another one now")

// agree returns errOutdated if log has another chunk of s than r has.
func agree(log *chunklog.Log, s Shard, r *Result) error {
	for k, payload := range r.Chunks {
		if !log.Has(s.From + k) {
			continue
		}
		// What is damaged is made again too.
		if have, err := log.Get(s.From + k); err != nil || !bytes.Equal(have, payload) {
			return errOutdated
		}
	}
	return nil
}

// mixture says that a run is a mixture of parts.
func mixture(name string, m *record.Manifest, parts []record.Part) error {
	var told []string
	seen := map[string]bool{}
	for _, p := range parts {
		if who := p.String(); !seen[who] {
			seen[who] = true
			told = append(told, fmt.Sprintf("%s (chunk %d first)", who, p.From))
		}
	}
	return remedy.Want(remedy.Mixed, fmt.Errorf("study: run %s is planned for %s %s and was computed by %s, whose bits may differ: allow to mix them, which is marked in the manifest and the report, or delete those results and do them again",
		name, m.Backend, m.Arithmetic, strings.Join(told, " and ")))
}
