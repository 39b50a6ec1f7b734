package rundir

import (
	"errors"
	"fmt"
	"io/fs"

	"advsweep/internal/chunklog"
	"advsweep/pipeline"
	"advsweep/record"
)

// A NoRunError says that a folder holds no run.
type NoRunError struct {
	Dir string
	Err error // that showed it; it wraps fs.ErrNotExist
}

func (e *NoRunError) Error() string { return fmt.Sprintf("rundir: %s holds no run", e.Dir) }

func (e *NoRunError) Unwrap() error { return e.Err }

// A VersionError says that another version of advsweep wrote the run in a folder, which cuts its
// work otherwise.
type VersionError struct {
	Dir          string
	Chunks, Want int    // of the run there, and of the same run here
	Version      string // which wrote it
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("rundir: %s: %d chunks, want %d: another version of advsweep wrote it (%s, here %s)", e.Dir, e.Chunks, e.Want, e.Version, record.Version)
}

// Read reads the finished run in dir. It returns a *NoRunError where there is none, an
// *UnfinishedError where chunks are missing, and a *VersionError where another version wrote it.
func Read(dir string) (*record.Manifest, *pipeline.Result, error) {
	log, err := chunklog.Read(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = &NoRunError{dir, err}
		}
		return nil, nil, err
	}
	defer log.Close()
	m, err := record.ParseManifest(log.Manifest())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if want := len(m.Sweep().Plan(m.Data.N)); log.Chunks() != want {
		return nil, nil, &VersionError{dir, log.Chunks(), want, m.Version}
	}
	if log.Done() < log.Chunks() {
		return nil, nil, &UnfinishedError{Dir: dir, Done: log.Done(), Total: log.Chunks()}
	}
	res, err := m.Assemble(log)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, res, nil
}

// Merge puts the shards of one run in the folders from together in dir, in any order, and reads the
// run. Nothing is written unless every chunk of the run is there once.
func Merge(dir string, from ...string) (*record.Manifest, *pipeline.Result, error) {
	if err := chunklog.Merge(dir, from...); err != nil {
		return nil, nil, err
	}
	return Read(dir)
}
