//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package staged

import (
	"errors"
	"os"
	"syscall"
)

const (
	renamesOpen = true // a file can be renamed and removed while it is open
	syncsDirs   = true
)

// tryLock locks f until it is closed or the process ends. got is false if another has the lock. An
// error says that the file system keeps no locks.
func tryLock(f *os.File) (got bool, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	controlled := c.Control(func(fd uintptr) {
		for {
			if err = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case controlled != nil:
		return false, controlled
	case err == syscall.EWOULDBLOCK:
		return false, nil
	}
	return err == nil, err
}

// cannotSync reports whether an error of opening or syncing a folder says that this cannot be done
// here at all. Some file systems sync no folders, and a folder above the user's own may be one that
// only its owner reads.
func cannotSync(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission)
}
