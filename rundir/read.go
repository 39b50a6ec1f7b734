package rundir

import (
	"cmp"
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

// A VersionError says that another version of advsweep wrote the run in a folder. Versions cut
// their work and write their records otherwise, so this one can neither read that run nor go on
// with it.
type VersionError struct {
	Dir         string
	Version     string // which wrote it; empty if it does not say
	Done, Total int    // chunks
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("rundir: %s holds %d of %d chunks by advsweep %s, and this is advsweep %s, which reads its own only",
		e.Dir, e.Done, e.Total, cmp.Or(e.Version, "of unknown version"), record.Version)
}

// CheckVersion returns a *VersionError where another version wrote the run in dir, and nil where
// this one did or there is none. It leaves a run that cannot be read to Run and Read, which say
// why, and of which Run can go on with some.
func CheckVersion(dir string) error {
	log, err := chunklog.Read(dir)
	if err != nil {
		return nil
	}
	defer log.Close()
	return sameVersion(dir, log)
}

// sameVersion returns a *VersionError if another version wrote log, that of dir.
func sameVersion(dir string, log *chunklog.Log) error {
	if version := record.VersionOf(log.Manifest()); version != record.Version {
		return &VersionError{dir, version, log.Done(), log.Chunks()}
	}
	return nil
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
	if err := sameVersion(dir, log); err != nil {
		return nil, nil, err
	}
	m, err := record.ParseManifest(log.Manifest())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	// Counted and not listed: what a manifest claims is not there yet.
	if want := m.Sweep().Chunks(m.Data.N); int64(log.Chunks()) != want {
		return nil, nil, fmt.Errorf("rundir: %s: %d chunks, want %d: they are not of its manifest", dir, log.Chunks(), want)
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
// run. Nothing is written unless every chunk of the run is there once, and by this version: else
// the error is a *VersionError.
func Merge(dir string, from ...string) (*record.Manifest, *pipeline.Result, error) {
	for _, part := range from {
		if err := CheckVersion(part); err != nil {
			return nil, nil, err
		}
	}
	if err := chunklog.Merge(dir, from...); err != nil {
		return nil, nil, err
	}
	return Read(dir)
}
