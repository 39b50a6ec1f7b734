// Package staged writes files that are there whole or not at all: each is written under a temporary
// name beside its place, and renamed. What a kill leaves under a temporary name Sweep removes.
//
// A writer holds a lock on its temporary file, which the system takes back when the process dies,
// however it dies. So Sweep can tell what a killed writer left from what another process is writing
// now.
package staged

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"time"

	"advsweep/internal/regular"
)

// prefix begins the names of temporary files. 16 hexadecimal digits follow.
const (
	prefix = ".tmp-advsweep-"
	digits = 16
)

// abandoned is how old a temporary file is when it counts as left by a kill, where the system keeps
// no locks.
const abandoned = 24 * time.Hour

// Is reports whether a file of that name, without its folder, is a temporary file of this package.
func Is(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && len(rest) == digits && strings.Trim(rest, "0123456789abcdef") == ""
}

// Write writes data to the file name in root, in the place of what is there. The folder of the file
// must exist. With sync it is on the disk to stay when Write returns; that is waited for. Errors do
// not name the file.
func Write(root *os.Root, name string, data []byte, sync bool) error {
	f, err := Stage(root, path.Dir(name), data, sync)
	if err != nil {
		return err
	}
	defer f.Drop()
	if err := f.Commit(name); err != nil {
		return err
	}
	if sync {
		return SyncDirIn(root, path.Dir(name))
	}
	return nil
}

// A File is written and has no name yet.
type File struct {
	root *os.Root
	dir  string // in root
	data []byte
	sync bool
	tmp  string   // in root; empty once it is committed or dropped
	open *os.File // it holds the lock; nil where that has to be closed before a rename
}

// Stage writes data to a temporary file in the folder dir of root. Commit gives it its name, and
// Drop removes it; the caller calls one of them, or both. It keeps data until then.
func Stage(root *os.Root, dir string, data []byte, sync bool) (*File, error) {
	s := &File{root: root, dir: dir, data: data, sync: sync}
	if err := s.stage(); err != nil {
		return nil, regular.Cause(err)
	}
	return s, nil
}

func (s *File) stage() error {
	f, tmp, err := create(s.root, s.dir)
	if err != nil {
		return err
	}
	s.open, s.tmp = f, tmp
	_, err = f.Write(s.data)
	if err == nil && s.sync {
		err = f.Sync()
	}
	if !renamesOpen && err == nil {
		s.open, err = nil, f.Close()
	}
	if err != nil {
		s.Drop()
	}
	return err
}

// create makes a temporary file that is locked. The mode leaves the rights to the umask. O_EXCL:
// another process never shares the file, and a link is never followed.
func create(root *os.Root, dir string) (*os.File, string, error) {
	const tries = 100
	for range tries {
		tmp := path.Join(dir, fmt.Sprintf("%s%0*x", prefix, digits, rand.Uint64()))
		f, err := root.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return nil, "", err
		}
		// A Sweep may come between the two. It has the lock then, or has removed the file.
		if got, err := tryLock(f); got && err == nil && isAt(root, tmp, f) || err != nil {
			return f, tmp, nil // err: no locks here, and Sweep goes by age
		}
		f.Close()
		_ = root.Remove(tmp)
	}
	return nil, "", errors.New("its temporary file is removed by another process again and again")
}

// isAt reports whether f is what has that name in root.
func isAt(root *os.Root, name string, f *os.File) bool {
	there, errThere := root.Lstat(name)
	open, errOpen := f.Stat()
	return errThere == nil && errOpen == nil && os.SameFile(there, open)
}

// Commit gives the file its name in root. The folder of that name is the one it was staged in.
func (s *File) Commit(name string) error {
	err := s.root.Rename(s.tmp, name)
	if errors.Is(err, fs.ErrNotExist) && s.tmp != "" {
		// A machine that sees our folder and not our locks took it for a leftover.
		s.Drop()
		if err = s.stage(); err == nil {
			err = s.root.Rename(s.tmp, name)
		}
	}
	if err != nil {
		s.Drop()
		return regular.Cause(err)
	}
	s.tmp = ""
	return s.close()
}

// CommitNew is Commit of a name that is not taken. It returns fs.ErrExist if it is: of several
// processes one is the first. On file systems without hard links two that come at the same moment
// both succeed, and the file of one stays.
func (s *File) CommitNew(name string) error {
	err := s.root.Link(s.tmp, name)
	switch {
	case err == nil:
		s.Drop()
		return nil
	case errors.Is(err, fs.ErrExist):
		s.Drop()
		return fs.ErrExist
	}
	if _, err := s.root.Lstat(name); err == nil {
		s.Drop()
		return fs.ErrExist
	}
	return s.Commit(name)
}

// Drop removes the file, if it was not committed.
func (s *File) Drop() {
	if s.tmp != "" {
		if !renamesOpen { // nor does it remove what is open
			_ = s.close()
		}
		_ = s.root.Remove(s.tmp) // what stays, the next Sweep removes
		s.tmp = ""
	}
	_ = s.close()
}

func (s *File) close() error {
	f := s.open
	if f == nil {
		return nil
	}
	s.open = nil
	return regular.Cause(f.Close())
}

// Sweep removes what killed writers left in the folder dir of root: temporary files of this package
// that nobody has locked. Where the system keeps no locks they go once they are a day old. What
// cannot be looked at or removed stays: nothing depends on it.
func Sweep(root *os.Root, dir string) { sweep(root, dir, time.Now()) }

func sweep(root *os.Root, dir string, now time.Time) {
	if info, err := root.Stat(dir); err != nil || !info.IsDir() { // not a pipe, on which Open would wait
		return
	}
	d, err := root.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000) // a folder of results may be large
		for _, name := range names {
			if Is(name) {
				sweepOne(root, path.Join(dir, name), now)
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

func sweepOne(root *os.Root, name string, now time.Time) {
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return
	}
	f, _, err := regular.OpenFileIn(root, name, os.O_RDWR) // some systems lock only what may be written
	if err != nil {
		return
	}
	got, err := tryLock(f)
	info, statErr := f.Stat()
	old := statErr == nil && now.Sub(info.ModTime()) > abandoned
	if !renamesOpen {
		f.Close()
	}
	if got || err != nil && old {
		_ = root.Remove(name)
	}
	f.Close()
}

// SyncDir makes what was made, renamed and removed in the folder dir last. It is an error if the
// disk fails. It does nothing where folders cannot be synced: there such changes last when the
// system says so.
func SyncDir(dir string) error { return syncDir(func() (*os.File, error) { return os.Open(dir) }) }

// SyncDirIn is SyncDir of a folder of root.
func SyncDirIn(root *os.Root, dir string) error {
	return syncDir(func() (*os.File, error) { return root.Open(dir) })
}

func syncDir(open func() (*os.File, error)) error {
	if !syncsDirs {
		return nil
	}
	d, err := open()
	if err == nil {
		err = fsync(d)
		d.Close()
	}
	if err == nil || cannotSync(err) {
		return nil
	}
	return fmt.Errorf("sync its folder: %w", regular.Cause(err))
}

// fsync is a variable for tests: a disk that fails cannot be had.
var fsync = (*os.File).Sync
