package rundir

import (
	"errors"
	"fmt"
	"io/fs"

	"advsweep/internal/chunklog"
	"advsweep/record"
)

// Begun returns the manifest of the run in dir, finished or not. It returns a *NoRunError where
// nothing was stored yet, and a *VersionError where another version wrote the run.
func Begun(dir string) (*record.Manifest, error) {
	log, err := chunklog.Read(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = &NoRunError{dir, err}
		}
		return nil, err
	}
	defer log.Close()
	if err := sameVersion(dir, log); err != nil {
		return nil, err
	}
	m, err := record.ParseManifest(log.Manifest())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}
