package regular

import (
	"errors"
	"io/fs"
	"os"

	"github.com/gofrs/flock"
)

// TryLock locks the file at path, which it makes if there is none, until the lock is closed or the
// process ends. ok is false if another has the lock. A link is not followed: it is an error, as is
// all that is no regular file.
func TryLock(path string) (l *flock.Flock, ok bool, err error) {
	if info, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		if err := want(info, err); err != nil {
			return nil, false, err
		}
	}
	l = flock.New(path, flock.SetPermissions(0o666), flock.SetFlag(os.O_CREATE|os.O_RDONLY|noWait|noFollow))
	if ok, err = l.TryLock(); err != nil {
		return nil, false, Cause(err)
	}
	if ok {
		info, err := l.Stat()
		if err := want(info, err); err != nil {
			l.Close()
			return nil, false, err
		}
		return l, true, nil
	}
	l.Close()
	return nil, false, nil
}
