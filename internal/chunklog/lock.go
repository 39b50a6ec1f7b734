package chunklog

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
)

const (
	lockName = ".chunks.lock"
	// Windows locks byte 0, and nobody else may read it then, so the process id stands behind it.
	pidOffset, pidWidth = 1, 20
)

// A lock keeps a folder for one Log. The kernel gives it back when the process dies. Its file
// stays: to remove it while another process waits to open it would let two have it.
type lock struct {
	f    *flock.Flock
	path string
}

func takeLock(dir string) (*lock, error) {
	path := filepath.Join(dir, lockName)
	f, ok, err := regular.TryLock(path)
	if err != nil {
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("chunklog: lock %s: %s: %w: %s", dir, lockName, err, instead))
	}
	l := &lock{f, path}
	if !ok {
		return nil, &LockedError{Dir: dir, PID: l.pid()}
	}
	l.setPID(strconv.Itoa(os.Getpid()))
	return l, nil
}

func (l *lock) release() error {
	if l.f.Locked() {
		l.setPID("")
	}
	return l.f.Close()
}

// setPID is for the error message of others, so on a full disk it may fail.
func (l *lock) setPID(pid string) {
	if f, _, err := regular.OpenFile(l.path, os.O_WRONLY); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%-*s\n", pidWidth, pid), pidOffset)
		f.Close()
	}
}

// pid gives the id of the process that has the lock, or 0.
func (l *lock) pid() int {
	f, _, err := regular.Open(l.path)
	if err != nil {
		return 0
	}
	defer f.Close()
	b := make([]byte, pidWidth)
	n, _ := f.ReadAt(b, pidOffset)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
