// Package chunklog keeps the finished chunks of a run in a folder, so that kill -9 at any
// moment loses at most the chunk in hand.
//
// The folder holds manifest.json, which says what run it is, and chunks.log, to which each
// finished chunk is appended: see format.go. Whatever the order in which the chunks were
// finished, Get gives the same bytes.
package chunklog

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
	"advsweep/internal/staged"
)

const (
	manifestName = "manifest.json"
	logName      = "chunks.log"
)

// MaxManifest is how large a manifest may be, in bytes. One with 100,000 eps, each written with all
// its digits, has three million.
const MaxManifest = 8 << 20

// A Log holds the finished chunks of one run. It may be used by several goroutines at once.
type Log struct {
	dir      string
	manifest []byte
	id       [sha256.Size]byte // SHA-256 of manifest: the run's identity
	chunks   int
	lock     *lock // nil: opened by Read

	mu     sync.Mutex // guards what follows
	file   file
	frames map[int]frame
	end    int64 // where the last whole frame ends
	dirty  bool  // what stands after end could not be cut off
}

// A file is what a Log needs of *os.File. Tests put one there that fails.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

// Open makes the folder dir ready for the run that manifest fixes, of chunks 0 to chunks-1. It
// creates the log, or goes on with the log of the same run. manifest is canonical JSON and is
// compared byte for byte. Until Close no other Log, of this process or another, can append.
//
// Open cuts off what a kill left of a chunk at the end of the log. A caller may branch on the
// errors *LockedError, *OtherRunError, *VersionError and *CorruptError. With these it has changed
// nothing that is stored.
func Open(dir string, manifest []byte, chunks int) (*Log, error) {
	switch {
	case dir == "":
		return nil, errors.New("chunklog: the name of the folder is empty")
	case len(manifest) > MaxManifest:
		return nil, fmt.Errorf("chunklog: %s: a manifest of %d bytes, want at most %d", dir, len(manifest), MaxManifest)
	case !json.Valid(manifest):
		return nil, fmt.Errorf("chunklog: %s: the manifest is not JSON", dir)
	case chunks < 1 || int64(chunks) > math.MaxInt32:
		return nil, fmt.Errorf("chunklog: %s: %d chunks, want 1 to %d", dir, chunks, math.MaxInt32)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, remedy.Want(remedy.Folder, fmt.Errorf("chunklog: make folder %s: %w: %s", dir, regular.Cause(err), instead))
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, manifest: bytes.Clone(manifest), id: sha256.Sum256(manifest), chunks: chunks, lock: lock}
	if err := l.open(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// openRoot opens the folder dir: a link in it that leads out is followed by nobody.
func openRoot(dir string) (*os.Root, error) {
	root, err := regular.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("chunklog: folder %s: %w", dir, err)
	}
	return root, nil
}

func (l *Log) open() error {
	root, err := openRoot(l.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	staged.Sweep(root, ".")
	stored, haveManifest, err := readManifest(root, l.dir)
	if err != nil {
		return err
	}
	begun, err := l.begun(root)
	if err != nil {
		return err
	}
	if !begun && haveManifest && !bytes.Equal(stored, l.manifest) {
		return otherRun(l.dir, stored, "here", l.manifest)
	}
	if begun {
		f, size, err := openLog(root, l.dir, os.O_RDWR)
		if err != nil {
			return err
		}
		l.file = f
		h, err := readHeader(l.path(), f)
		if err != nil {
			return err
		}
		switch {
		case haveManifest && sha256.Sum256(stored) != h.id:
			return changedManifest(l.dir)
		case haveManifest && h.id != l.id:
			return otherRun(l.dir, stored, "here", l.manifest)
		case h.id != l.id:
			return missingManifest(l.dir)
		case h.chunks != l.chunks:
			return &OtherRunError{Dir: l.dir, Than: "here", Fields: []Field{{"chunks", fmt.Sprint(h.chunks), fmt.Sprint(l.chunks)}}}
		}
		if err := l.scan(f, size); err != nil {
			return err
		}
		l.dirty = l.end < size
	}
	// The manifest comes before the log: a log always has one beside it that says what run it is.
	if !haveManifest {
		if err := l.create(root, manifestName, l.manifest); err != nil {
			return err
		}
	}
	if !begun {
		h := header{l.id, l.chunks}.encode()
		if err := l.create(root, logName, h); err != nil {
			return err
		}
		f, _, err := openLog(root, l.dir, os.O_RDWR)
		if err != nil {
			return err
		}
		l.file, l.frames, l.end = f, map[int]frame{}, int64(len(h))
		return nil
	}
	if l.dirty {
		if err := l.cut(); err != nil {
			return l.failed("cut off the end of", err)
		}
	}
	// A frame that was written but not yet synced when the process died must be on the disk before
	// another one follows: scan takes a frame that is damaged but has followers for corruption.
	if err := l.file.Sync(); err != nil {
		return l.failed("sync", err)
	}
	return nil
}

// begun reports whether there is a log. Less than a whole header of this very run counts as
// none: nothing can be lost with it.
func (l *Log) begun(root *os.Root) (bool, error) {
	f, size, err := openLog(root, l.dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	want := header{l.id, l.chunks}.encode()
	if size >= int64(len(want)) {
		return true, nil
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil && err != io.EOF {
		return false, l.failed("read", err)
	}
	return !bytes.HasPrefix(want, got), nil
}

// syncDir is a variable for tests.
var syncDir = staged.SyncDir

// create writes a new file of the folder so that after a crash it is there whole or not at all.
func (l *Log) create(root *os.Root, name string, data []byte) error {
	err := staged.Write(root, name, data, true)
	if err == nil {
		err = syncDir(filepath.Dir(l.dir)) // Open may have made l.dir
	}
	if err != nil {
		return fmt.Errorf("chunklog: write %s: %w: no finished chunk is lost", filepath.Join(l.dir, name), err)
	}
	return nil
}

// Read opens the log in the folder dir for reading only. It takes no lock and may run beside
// the process that appends: it has the chunks that were finished by then. It changes nothing,
// and errors are as for Open; errors.Is(err, fs.ErrNotExist) if the folder holds no log.
func Read(dir string) (*Log, error) {
	l, err := read(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// A process that cuts off a torn end and appends while we read may look like corruption. It
		// does so once, when it opens.
		l, err = read(dir)
	}
	return l, err
}

func read(dir string) (*Log, error) {
	l := &Log{dir: dir}
	root, err := openRoot(dir)
	var f *os.File
	var size int64
	if err == nil {
		defer root.Close()
		f, size, err = openLog(root, dir, os.O_RDONLY)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("chunklog: %s holds no run: no %s: %w", dir, logName, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	l.file = f
	if err := l.readAll(root, f, size); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *Log) readAll(root *os.Root, f io.ReaderAt, size int64) error {
	h, err := readHeader(l.path(), f)
	if err != nil {
		return err
	}
	stored, ok, err := readManifest(root, l.dir)
	switch {
	case err != nil:
		return err
	case !ok:
		return missingManifest(l.dir)
	case sha256.Sum256(stored) != h.id:
		return changedManifest(l.dir)
	}
	l.manifest, l.id, l.chunks = stored, h.id, h.chunks
	return l.scan(f, size)
}

// Manifest is the JSON that fixes the run, as it was given to Open.
func (l *Log) Manifest() []byte { return bytes.Clone(l.manifest) }

// Chunks is how many chunks the whole run has.
func (l *Log) Chunks() int { return l.chunks }

// Done is how many chunks are finished.
func (l *Log) Done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.frames)
}

// Bytes is how many bytes were appended in all.
func (l *Log) Bytes() (sum int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fr := range l.frames {
		sum += fr.length
	}
	return sum
}

// Has reports whether chunk i is finished.
func (l *Log) Has(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.frames[i]
	return ok
}

// Get reads what was appended for chunk i, which must be finished. It returns a *CorruptError
// if the file changed since it was opened.
func (l *Log) Get(i int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.get(i)
}

func (l *Log) get(i int) ([]byte, error) {
	fr, ok := l.frames[i]
	if !ok {
		return nil, fmt.Errorf("chunklog: %s: chunk %d of %d is not finished", l.dir, i, l.chunks)
	}
	if fr.length > int64(math.MaxInt-overhead) {
		return nil, fmt.Errorf("chunklog: %s: chunk %d of %d bytes is too large for this machine", l.dir, i, fr.length)
	}
	b := make([]byte, int64(overhead)+fr.length)
	if err := readFull(l.file, b, fr.offset); err == io.ErrUnexpectedEOF {
		return nil, l.corrupt(i, fr.offset, "cut short while in use")
	} else if err != nil {
		return nil, l.failed("read", err)
	}
	payload := b[frameHead : len(b)-sha256.Size : len(b)-sha256.Size]
	if !bytes.Equal(b, encodeFrame(l.id, fr.offset, i, payload)) {
		return nil, l.corrupt(i, fr.offset, "changed while in use")
	}
	return payload, nil
}

// Append stores payload as chunk i. When it returns nil, chunk i is on the disk to stay. When it
// returns an error, chunk i is not finished and all chunks before it are as they were; the caller
// may try again. (On a disk that fails in every way a later Open may find chunk i whole.) To append
// the same bytes again does nothing; other bytes are an error.
func (l *Log) Append(i int, payload []byte) error {
	if l.lock == nil {
		return fmt.Errorf("chunklog: %s is open for reading only", l.dir)
	}
	if i < 0 || i >= l.chunks {
		return fmt.Errorf("chunklog: %s: chunk %d, want 0 to %d", l.dir, i, l.chunks-1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.frames[i]; ok {
		old, err := l.get(i)
		if err == nil && !bytes.Equal(old, payload) {
			err = fmt.Errorf("chunklog: %s: chunk %d came out different from what is stored: the run does not repeat itself", l.dir, i)
		}
		return err
	}
	if l.dirty {
		if err := l.cut(); err != nil {
			return l.failed("write", err)
		}
	}
	b := encodeFrame(l.id, l.end, i, payload)
	_, err := l.file.WriteAt(b, l.end)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.dirty = true
		_ = l.cut() // if this fails too, the next Append or Open does it
		return l.failed("write", err)
	}
	l.frames[i] = frame{l.end, int64(len(payload))}
	l.end += int64(len(b))
	return nil
}

// cut removes what stands after the last whole frame.
func (l *Log) cut() error {
	err := l.file.Truncate(l.end)
	if err == nil {
		err = l.file.Sync()
	}
	l.dirty = err != nil
	return err
}

// Close lets the folder go to others. A second Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.file != nil {
		if err = l.file.Close(); errors.Is(err, os.ErrClosed) {
			err = nil
		}
	}
	if l.lock != nil {
		if lockErr := l.lock.release(); err == nil {
			err = lockErr
		}
	}
	if err != nil {
		return l.failed("close", err)
	}
	return nil
}

func (l *Log) path() string { return filepath.Join(l.dir, logName) }

func (l *Log) failed(verb string, err error) error {
	return fmt.Errorf("chunklog: %s %s: %w: no finished chunk is lost", verb, l.path(), regular.Cause(err))
}

// openLog opens the log's file in root, the folder dir.
func openLog(root *os.Root, dir string, flag int) (*os.File, int64, error) {
	f, size, err := regular.OpenFileIn(root, logName, flag)
	if err != nil {
		return nil, 0, fmt.Errorf("chunklog: open %s: %w", filepath.Join(dir, logName), err)
	}
	return f, size, nil
}

// readManifest gives what manifest.json holds in root, the folder dir, and whether it is there.
func readManifest(root *os.Root, dir string) ([]byte, bool, error) {
	data, err := regular.ReadIn(root, manifestName, MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("chunklog: read %s: %w", filepath.Join(dir, manifestName), err)
	}
	return data, true, nil
}
