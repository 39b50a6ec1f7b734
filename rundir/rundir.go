// Package rundir is the durable sweep: a run in a folder, where what is done is safe at once, and
// which goes on after it was stopped. The bytes are those of a run that was never stopped.
//
// Run computes, Read reads what was found, and Merge puts shards together. The files that show a
// result are made by package report: this package draws nothing, so that a worker may import it.
package rundir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"advsweep/dataset"
	"advsweep/internal/chunklog"
	"advsweep/pipeline"
	"advsweep/record"
)

// An UnfinishedError says that the run in a folder has begun and is not finished.
type UnfinishedError struct {
	Dir         string
	Done, Total int // chunks
	// Err says in what that run differs from the one that was to be computed in Dir. It is nil where
	// the run was only to be read.
	Err error
}

func (e *UnfinishedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("rundir: %s: %d of %d chunks are done", e.Dir, e.Done, e.Total)
	}
	return fmt.Sprintf("%v; that run has %d of %d chunks", e.Err, e.Done, e.Total)
}

func (e *UnfinishedError) Unwrap() error { return e.Err }

// A State is how far the run in a folder is.
type State struct {
	Done, Total int           // chunks
	Appending   time.Duration // what Run took so far to put chunks into the log, until they were on the disk
}

// Options are what a run may do without. The zero value computes the whole run.
type Options struct {
	// Shard is what to compute of the run. Its zero value is all of it.
	Shard pipeline.Fraction
	// Once Stop is closed, the chunk in hand is finished, and Run returns pipeline.ErrStopped.
	Stop <-chan struct{}
	// Begin, if set, is called before anything is computed, with what the folder has already.
	Begin func(had State) error
}

// Run computes s, which m fixes, with b on set, in the folder dir, going on with what is there. It
// returns how far the run is then, also with an error: what is done stays. s.Progress tells how it
// goes. A finished run of other settings, or of another version, gives way. One that is not
// finished is an *UnfinishedError, or a *VersionError. When all is done res is what was found;
// where other shards are missing it is nil.
func Run(ctx context.Context, dir string, m *record.Manifest, s pipeline.Sweep, b pipeline.Backend, set *dataset.Set, o Options) (res *pipeline.Result, st State, err error) {
	if err := s.Validate(b, set); err != nil {
		return nil, st, err
	}
	data, err := m.JSON()
	if err != nil {
		return nil, st, err
	}
	log, err := openLog(dir, data, len(s.Plan(set.N())))
	if err != nil {
		return nil, st, err
	}
	defer func() {
		if failed := log.Close(); err == nil && failed != nil {
			err = failed
		}
	}()
	st = State{Done: log.Done(), Total: log.Chunks()}
	if o.Begin != nil {
		if err := o.Begin(st); err != nil {
			return nil, st, err
		}
	}
	timed := timedLog{Log: log}
	err = s.WorkUntil(ctx, o.Stop, b, set, &timed, o.Shard)
	st.Done, st.Appending = log.Done(), timed.appending
	if err != nil || st.Done < st.Total {
		return nil, st, err
	}
	res, err = m.Assemble(log)
	return res, st, err
}

// A timedLog is a log that notes how long appending to it takes. Only Append changes it.
type timedLog struct {
	*chunklog.Log
	appending time.Duration
}

// Append is that of the log.
func (l *timedLog) Append(i int, payload []byte) error {
	start := time.Now()
	defer func() { l.appending += time.Since(start) }()
	return l.Log.Append(i, payload)
}

// openLog opens the log of the run that manifest fixes in dir. The log of another run that is
// finished gives way, as its other files do; one that is not would lose what it has, if it has
// anything, so it is an error.
func openLog(dir string, manifest []byte, chunks int) (*chunklog.Log, error) {
	log, err := chunklog.Open(dir, manifest, chunks)
	var other *chunklog.OtherRunError
	if !errors.As(err, &other) {
		return log, err
	}
	switch old, failed := chunklog.Read(dir); {
	case errors.Is(failed, fs.ErrNotExist): // begun, but nothing is in it
	case failed != nil:
		return nil, err
	default:
		done, total := old.Done(), old.Chunks()
		version := sameVersion(dir, old)
		if failed := old.Close(); failed != nil {
			return nil, failed
		}
		if done > 0 && done < total {
			if version != nil {
				return nil, version
			}
			return nil, &UnfinishedError{Dir: dir, Done: done, Total: total, Err: err}
		}
	}
	if err := chunklog.Remove(dir); err != nil {
		return nil, err
	}
	return chunklog.Open(dir, manifest, chunks)
}
