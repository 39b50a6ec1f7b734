package chunklog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
)

// Remove takes a run out of the folder dir, so that another one may begin there. A process that
// appends to it keeps it: *LockedError.
func Remove(dir string) (err error) {
	lock, err := takeLock(dir)
	if err != nil {
		return err
	}
	defer func() {
		if failed := lock.release(); err == nil {
			err = failed
		}
	}()
	// The log first: a log without its manifest could not be told from damage.
	for _, name := range []string{logName, manifestName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return remedy.Want(remedy.Folder, fmt.Errorf("chunklog: remove the run in %s: %w: %s", dir, regular.Cause(err), instead))
		}
	}
	return nil
}
