// Package regular opens files whose size is known before they are read. What else stands where a
// file is wanted, such as a directory, a pipe or a device, is an error at once: what it holds has no
// known end, and to open a pipe that nobody writes to would wait for ever.
//
// What was opened is what is judged, so a file that is exchanged for a pipe at the wrong moment is
// refused too. Errors do not repeat the path.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Open opens the regular file at path for reading and returns its size in bytes.
func Open(path string) (*os.File, int64, error) { return OpenFile(path, os.O_RDONLY) }

// OpenFile is Open for reading and writing too: flag is os.O_RDONLY, os.O_WRONLY or os.O_RDWR. It
// makes no file and empties none.
func OpenFile(path string, flag int) (*os.File, int64, error) {
	return open(func() (fs.FileInfo, error) { return os.Stat(path) },
		func() (*os.File, error) { return os.OpenFile(path, flag|noWait, 0) })
}

// OpenIn opens the regular file name in root for reading. A link that leads out of root is an
// error.
func OpenIn(root *os.Root, name string) (*os.File, int64, error) {
	return OpenFileIn(root, name, os.O_RDONLY)
}

// OpenFileIn is OpenFile in root, as OpenIn is Open.
func OpenFileIn(root *os.Root, name string, flag int) (*os.File, int64, error) {
	return open(func() (fs.FileInfo, error) { return root.Stat(name) },
		func() (*os.File, error) { return root.OpenFile(name, flag|noWait, 0) })
}

// OpenFS is Open of the file name in fsys.
func OpenFS(fsys fs.FS, name string) (fs.File, int64, error) {
	return open(func() (fs.FileInfo, error) { return fs.Stat(fsys, name) },
		func() (fs.File, error) { return fsys.Open(name) })
}

// Read returns what the regular file at path holds. A file of more than most bytes is an error, and
// is not read.
func Read(path string, most int64) ([]byte, error) {
	f, size, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return All(f, size, most)
}

// ReadIn is Read of the file name in root.
func ReadIn(root *os.Root, name string, most int64) ([]byte, error) {
	f, size, err := OpenIn(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return All(f, size, most)
}

// OpenRoot opens the folder at path. What is no folder is an error at once.
func OpenRoot(path string) (*os.Root, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, Cause(err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s, want a folder", kind(info.Mode()))
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, Cause(err)
	}
	return root, nil
}

// ReadFrom is ReadIn in the folder dir.
func ReadFrom(dir, name string, most int64) ([]byte, error) {
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return ReadIn(root, name, most)
}

// A TooLargeError says that a file holds more than fits where it is wanted.
type TooLargeError struct {
	Size int64 // in bytes; 0 if the file does not say
	Most int64
}

func (e *TooLargeError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("more than %d bytes, want at most that", e.Most)
	}
	return fmt.Sprintf("%d bytes, want at most %d", e.Size, e.Most)
}

// All reads r to its end. size is what its file said it has, in bytes: it may have more by now, and
// some systems say 0 of files that they make up. More than most bytes are a *TooLargeError.
func All(r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, &TooLargeError{size, most}
	}
	data := make([]byte, 0, max(0, size)+1) // the last byte finds the end without growing
	r = io.LimitReader(r, most+1)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > most:
			return nil, &TooLargeError{Most: most}
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, Cause(err)
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// open looks at a file before it opens it, since to open a device may do something to it, and again
// once it is open.
func open[F fs.File](look func() (fs.FileInfo, error), opened func() (F, error)) (F, int64, error) {
	var none F
	info, err := look()
	if err := want(info, err); err != nil {
		return none, 0, err
	}
	f, err := opened()
	if err != nil {
		return none, 0, Cause(err)
	}
	info, err = f.Stat()
	if err := want(info, err); err != nil {
		f.Close()
		return none, 0, err
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
	case m.IsRegular():
		return "a file"
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSymlink != 0:
		return "a link"
	}
	return "a special file"
}
