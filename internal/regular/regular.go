// Package regular opens files whose size is known before they are read.
package regular

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Open opens the regular file at path and returns its size. Directories, pipes and
// devices are errors: what they hold has no known end, and opening a pipe that nobody
// writes to would wait for ever. Errors do not repeat the path.
func Open(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err := want(info, err); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, Cause(err)
	}
	return f, info.Size(), nil
}

// OpenFS is Open of the file name in fsys.
func OpenFS(fsys fs.FS, name string) (fs.File, int64, error) {
	info, err := fs.Stat(fsys, name)
	if err := want(info, err); err != nil {
		return nil, 0, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, 0, Cause(err)
	}
	return f, info.Size(), nil
}

func want(info fs.FileInfo, err error) error {
	if err != nil {
		return Cause(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s, want a regular file", kind(info.Mode()))
	}
	return nil
}

// Cause returns what an error of package os says besides the operation and its paths: a message
// names the file that the user knows, once.
func Cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}
