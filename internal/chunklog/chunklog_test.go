package chunklog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"advsweep/internal/counts"
	"advsweep/internal/regular"
)

const testManifest = `{"attack":"fgsm","eps":[0,0.1],"seed":1}`

// payload is what the tests store as chunk i: up to 200 bytes that depend on i, and none for every
// seventh.
func payload(i int) []byte {
	if i%7 == 3 {
		return []byte{}
	}
	r := rand.NewPCG(uint64(i), 5)
	b := make([]byte, r.Uint64()%200)
	for k := range b {
		b[k] = byte(r.Uint64())
	}
	return b
}

func mustOpen(t testing.TB, dir string, chunks int) *Log {
	t.Helper()
	l, err := Open(dir, []byte(testManifest), chunks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, chunks ...int) {
	t.Helper()
	for _, i := range chunks {
		if err := l.Append(i, payload(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes the folder dir with those chunks finished, in that order, and gives its log's bytes.
func fill(t testing.TB, dir string, total int, chunks ...int) []byte {
	t.Helper()
	l := mustOpen(t, dir, total)
	mustAppend(t, l, chunks...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return logBytes(t, dir)
}

func logBytes(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeLog(t testing.TB, dir string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, logName), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// holds fails unless l has those chunks of payload, and no others.
func holds(t testing.TB, l *Log, chunks ...int) {
	t.Helper()
	if l.Done() != len(chunks) {
		t.Fatalf("%d chunks are finished, want %d", l.Done(), len(chunks))
	}
	for _, i := range chunks {
		got, err := l.Get(i)
		if err != nil {
			t.Fatal(err)
		}
		if !l.Has(i) || !bytes.Equal(got, payload(i)) {
			t.Fatalf("chunk %d: got %x, want %x", i, got, payload(i))
		}
	}
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	l := mustOpen(t, dir, 5)
	holds(t, l)
	mustAppend(t, l, 4, 0, 3)
	holds(t, l, 0, 3, 4)
	if l.Has(1) || l.Has(-1) || l.Has(5) {
		t.Error("a chunk is finished that was not appended")
	}
	if _, err := l.Get(1); err == nil {
		t.Error("Get of an unfinished chunk: no error")
	}
	if got := string(l.Manifest()); got != testManifest || l.Chunks() != 5 {
		t.Errorf("manifest %s of %d chunks, want %s of 5", got, l.Chunks(), testManifest)
	}
	r, err := Read(dir) // beside the writer
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	holds(t, r, 0, 3, 4)
	if got := string(r.Manifest()); got != testManifest || r.Chunks() != 5 {
		t.Errorf("read: manifest %s of %d chunks, want %s of 5", got, r.Chunks(), testManifest)
	}
	if err := r.Append(1, nil); err == nil {
		t.Error("Append to a log that Read opened: no error")
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := l.Append(1, payload(1)); err == nil {
		t.Error("Append after Close: no error")
	}
	l = mustOpen(t, dir, 5)
	mustAppend(t, l, 1, 2)
	holds(t, l, upTo(5)...)
}

func TestAppendRefuses(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 3)
	mustAppend(t, l, 1)
	before := logBytes(t, dir)
	mustAppend(t, l, 1) // the same again is harmless
	for _, test := range []struct {
		name    string
		chunk   int
		payload []byte
		want    string
	}{
		{"other bytes", 1, []byte("other"), "chunk 1 came out different"},
		{"below", -1, nil, "chunk -1, want 0 to 2"},
		{"above", 3, nil, "chunk 3, want 0 to 2"},
	} {
		if err := l.Append(test.chunk, test.payload); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q in it", test.name, err, test.want)
		}
	}
	if !bytes.Equal(logBytes(t, dir), before) {
		t.Error("the log changed")
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name     string
		manifest string
		chunks   int
		change   func(dir string) error
		want     string
		as       any
	}{
		{name: "other value", manifest: `{"attack":"fgsm","eps":[0,0.2],"seed":1}`, chunks: 3,
			want: "holds another run: eps: 0,0.1, here 0,0.2: give the settings of that run or choose another folder", as: new(*OtherRunError)},
		{name: "other fields", manifest: `{"attack":{"k":[{"a":1}]},"eps":[0,0.1],"data":"x"}`, chunks: 3,
			want: `attack: "fgsm", here {"k":[{"a":1}]}; data: none, here "x"; seed: 1, here none`, as: new(*OtherRunError)},
		{name: "other spaces", manifest: testManifest + "\n", chunks: 3, want: "manifest.json differs", as: new(*OtherRunError)},
		{name: "other number of chunks", chunks: 4, want: "chunks: 3, here 4", as: new(*OtherRunError)},
		{name: "manifest missing, other run", manifest: `{}`, chunks: 3, want: "manifest.json: the file at byte 0: missing", as: new(*CorruptError),
			change: func(dir string) error { return os.Remove(filepath.Join(dir, manifestName)) }},
		{name: "manifest changed", chunks: 3, want: "manifest.json: the file at byte 0: changed", as: new(*CorruptError),
			change: func(dir string) error {
				return os.WriteFile(filepath.Join(dir, manifestName), []byte(`{"eps":0}`), 0o666)
			}},
		{name: "log missing, other run", manifest: `{"eps":[1]}`, chunks: 3, want: "eps: 0,0.1, here 1", as: new(*OtherRunError),
			change: func(dir string) error { return os.Remove(filepath.Join(dir, logName)) }},
		{name: "a manifest of another program", chunks: 3, want: "manifest.json differs", as: new(*OtherRunError),
			change: func(dir string) error {
				return errors.Join(os.Remove(filepath.Join(dir, logName)), os.WriteFile(filepath.Join(dir, manifestName), []byte("hello"), 0o666))
			}},
		{name: "a log of another program", chunks: 3, want: "no log of chunks", as: new(*CorruptError),
			change: func(dir string) error { return os.WriteFile(filepath.Join(dir, logName), make([]byte, 300), 0o666) }},
		{name: "version", chunks: 3, want: "format version 2, want 1", as: new(*VersionError), change: func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, logName))
			b[len(magic)] = 2
			return errors.Join(err, os.WriteFile(filepath.Join(dir, logName), b, 0o666))
		}},
		{name: "log is a folder", chunks: 3, want: "a directory, want a regular file", change: func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, logName)), os.Mkdir(filepath.Join(dir, logName), 0o777))
		}},
		{name: "lock is a folder", chunks: 3, want: "a directory, want a regular file", change: func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, lockName)), os.Mkdir(filepath.Join(dir, lockName), 0o777))
		}},
		{name: "no chunks", chunks: 0, want: "0 chunks, want 1 to"},
		{name: "no JSON", manifest: "{", chunks: 3, want: "not JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, 3, 0, 2)
			if test.change != nil {
				if err := test.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			if test.manifest == "" {
				test.manifest = testManifest
			}
			before := snapshot(t, dir)
			for range 2 { // a refusal lets go of the lock
				_, err := Open(dir, []byte(test.manifest), test.chunks)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q in it", err, test.want)
				}
				if test.as != nil && !errors.As(err, test.as) {
					t.Errorf("error %T, want %T", err, test.as)
				}
			}
			if after := snapshot(t, dir); after != before {
				t.Errorf("the folder changed from %s to %s", before, after)
			}
		})
	}
	if _, err := Open("", []byte(testManifest), 1); err == nil {
		t.Error("no name: no error")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, []byte(testManifest), 1); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file for a folder: error %v, want its name", err)
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of an empty folder: error %v, want fs.ErrNotExist", err)
	}
}

// snapshot lists what is in dir, but for the process id in the lock.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == lockName {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(&s, "%s %x\n", d.Name(), sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// A crash while the folder is made leaves the manifest alone, or temporary files.
func TestOpenAfterCrashInCreate(t *testing.T) {
	dir := t.TempDir()
	whole := fill(t, dir, 3, 0, 1)
	for _, left := range []int{-1, 0, 7, headerSize - 1, headerSize} {
		if err := os.Remove(filepath.Join(dir, logName)); err != nil {
			t.Fatal(err)
		}
		if left >= 0 {
			writeLog(t, dir, whole[:left])
		}
		tmp := filepath.Join(dir, ".tmp-advsweep-0123456789abcdef")
		if err := os.WriteFile(tmp, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-48 * time.Hour) // where no locks are kept, it goes by age
		if err := os.Chtimes(tmp, old, old); err != nil {
			t.Fatal(err)
		}
		if got := fill(t, dir, 3, 0, 1); !bytes.Equal(got, whole) {
			t.Errorf("%d bytes left: the log differs", left)
		}
		if _, err := os.Lstat(tmp); err == nil {
			t.Errorf("%d bytes left: what the crash left under a temporary name is there still", left)
		}
	}
	if err := os.Remove(filepath.Join(dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, dir, 3) // the caller has it
	holds(t, l, 0, 1)
	if got, err := os.ReadFile(filepath.Join(dir, manifestName)); err != nil || string(got) != testManifest {
		t.Errorf("manifest.json: %q, %v", got, err)
	}
}

// A disk that fails when the folder is synced is told of: the log might not be there after a power
// cut.
func TestSyncFails(t *testing.T) {
	defer func(was func(string) error) { syncDir = was }(syncDir)
	failed := errors.New("input/output error")
	syncDir = func(string) error { return failed }
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := Open(dir, []byte(testManifest), 3); !errors.Is(err, failed) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v, want %v of %s", err, failed, dir)
	}
}

// A manifest that is larger than any is not read.
func TestLargeManifest(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3, 0)
	if err := os.Truncate(filepath.Join(dir, manifestName), 1<<40); err != nil {
		t.Skip(err)
	}
	if _, err := Read(dir); !errors.As(err, new(*regular.TooLargeError)) {
		t.Errorf("Read: %v, want that it is too large", err)
	}
	if _, err := Open(dir, []byte(testManifest), 3); !errors.As(err, new(*regular.TooLargeError)) {
		t.Errorf("Open: %v, want that it is too large", err)
	}
	if _, err := Open(t.TempDir(), append([]byte(testManifest), make([]byte, MaxManifest)...), 3); err == nil {
		t.Error("a manifest is written that is not read again")
	}
}

// ends gives where each frame of the chunks ends, the header first.
func ends(chunks ...int) []int {
	e := []int{headerSize}
	for _, i := range chunks {
		e = append(e, e[len(e)-1]+overhead+len(payload(i)))
	}
	return e
}

// A log cut anywhere has the chunks that are whole, and goes on from there to the same bytes.
func TestTruncatedAnywhere(t *testing.T) {
	order := []int{2, 0, 3, 1, 4}
	dir := t.TempDir()
	whole := fill(t, dir, 5, order...)
	e := ends(order...)
	if e[len(e)-1] != len(whole) {
		t.Fatalf("the log has %d bytes, want %d", len(whole), e[len(e)-1])
	}
	done := 0
	counted := counts.Start(t, "log-cuts")
	for n := range whole {
		counted.Add(1)
		writeLog(t, dir, whole[:n])
		for done+1 < len(e) && n >= e[done+1] {
			done++
		}
		if n >= headerSize {
			r, err := Read(dir)
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			holds(t, r, order[:done]...)
			r.Close()
		} else if _, err := Read(dir); !errors.As(err, new(*CorruptError)) {
			t.Fatalf("%d bytes: error %v, want *CorruptError", n, err)
		}
		l := mustOpen(t, dir, 5)
		holds(t, l, order[:done]...)
		mustAppend(t, l, order...)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(logBytes(t, dir), whole) {
			t.Fatalf("cut to %d bytes and continued: the log differs", n)
		}
	}
}

// A changed byte is refused by name, or costs the last chunk; it is never read as a result.
func TestFlippedAnywhere(t *testing.T) {
	order := []int{2, 0, 1, 4} // 3 has no payload
	dir := t.TempDir()
	whole := fill(t, dir, 5, order...)
	e := ends(order...)
	last := e[len(e)-2]
	counted := counts.Start(t, "log-flips")
	for n := range whole {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			counted.Add(1)
			b := bytes.Clone(whole)
			b[n] ^= mask
			writeLog(t, dir, b)
			r, err := Read(dir)
			l, openErr := Open(dir, []byte(testManifest), 5)
			if (err == nil) != (openErr == nil) {
				t.Fatalf("byte %d: Read says %v, Open %v", n, err, openErr)
			}
			if n >= last {
				if err != nil {
					t.Fatalf("byte %d of the last frame: %v", n, err)
				}
				holds(t, r, order[:len(order)-1]...)
				holds(t, l, order[:len(order)-1]...)
				r.Close()
				l.Close()
				continue
			}
			for _, err := range []error{err, openErr} {
				var corrupt *CorruptError
				if errors.As(err, new(*VersionError)) && n >= len(magic) && n < len(magic)+4 {
					continue
				}
				if !errors.As(err, &corrupt) {
					t.Fatalf("byte %d: error %v, want *CorruptError", n, err)
				}
				k := 0
				for n >= e[k] {
					k++
				}
				wantChunk, wantOffset := -1, 0
				if k > 0 {
					wantOffset = e[k-1]
					if n >= wantOffset+frameHead {
						wantChunk = order[k-1]
					}
				}
				if corrupt.File != filepath.Join(dir, logName) || corrupt.Chunk != wantChunk || corrupt.Offset != int64(wantOffset) {
					t.Fatalf("byte %d: %+v, want chunk %d at %d", n, corrupt, wantChunk, wantOffset)
				}
			}
			if !bytes.Equal(logBytes(t, dir), b) {
				t.Fatalf("byte %d: a refused log was changed", n)
			}
		}
	}
}

// bytesLog makes the bytes of a log from frames that need not be in their place.
type bytesLog struct {
	id [sha256.Size]byte
	b  []byte
}

func newBytesLog(chunks int) *bytesLog {
	id := sha256.Sum256([]byte(testManifest))
	return &bytesLog{id, header{id, chunks}.encode()}
}

func (l *bytesLog) add(i int, payload []byte) *bytesLog {
	l.b = append(l.b, encodeFrame(l.id, int64(len(l.b)), i, payload)...)
	return l
}

// head adds the first part of a frame whose length says length.
func (l *bytesLog) head(i int, length uint64) *bytesLog {
	at := int64(len(l.b))
	b := encodeFrame(l.id, at, i, nil)[:frameHead]
	le.PutUint64(b[8:], length)
	le.PutUint32(b[frameHead-4:], headSum(l.id, at, b))
	l.b = append(l.b, b...)
	return l
}

func (l *bytesLog) raw(b ...byte) *bytesLog {
	l.b = append(l.b, b...)
	return l
}

func TestScan(t *testing.T) {
	noise := make([]byte, 150_000) // more than the search reads at once
	for i := range noise {
		noise[i] = marker[i%len(marker)]
	}
	otherPlace := newBytesLog(9).add(0, []byte("somewhere else")).b[headerSize:]
	for _, test := range []struct {
		name string
		log  *bytesLog
		done []int
		want string // in a *CorruptError
	}{
		{name: "empty", log: newBytesLog(9)},
		{name: "zeros at the end", log: newBytesLog(9).add(0, payload(0)).raw(make([]byte, 5000)...), done: []int{0}},
		{name: "noise at the end", log: newBytesLog(9).add(0, payload(0)).raw(noise...), done: []int{0}},
		{name: "noise between", log: newBytesLog(9).add(0, payload(0)).raw(noise...).add(1, payload(1)), want: "more chunks behind it"},
		{name: "noise between, second torn", log: newBytesLog(9).raw(noise...).head(1, 100), want: "more chunks behind it"},
		{name: "frame of another place", log: newBytesLog(9).add(0, payload(0)).raw(otherPlace...), done: []int{0}},
		{name: "a log in the payload, torn", log: newBytesLog(9).add(0, payload(0)).head(1, 1000).raw(newBytesLog(9).add(0, payload(0)).b...), done: []int{0}},
		{name: "same twice", log: newBytesLog(9).add(1, payload(1)).add(1, payload(1)).add(2, payload(2)), done: []int{1, 2}},
		{name: "different twice", log: newBytesLog(9).add(1, []byte("abc")).add(1, []byte("abd")), want: "chunk 1 at byte 107: here for the second time and different from byte 52"},
		{name: "different lengths", log: newBytesLog(9).add(1, []byte("abc")).add(1, nil), want: "for the second time"},
		{name: "chunk too high", log: newBytesLog(9).add(9, nil), want: "chunk 9 at byte 52: want 0 to 8"},
		{name: "chunk highest", log: newBytesLog(9).add(math.MaxInt32, nil), want: "want 0 to 8"},
		{name: "chunk negative", log: newBytesLog(9).add(-1, nil), want: "want 0 to 8"},
		{name: "huge length", log: newBytesLog(9).head(0, 1<<40).raw(make([]byte, 40)...)},
		{name: "length past int64", log: newBytesLog(9).head(0, math.MaxUint64).raw(make([]byte, 40)...)},
		{name: "length that wraps", log: newBytesLog(9).head(0, math.MaxUint64-uint64(overhead)+1).raw(make([]byte, 40)...)},
		{name: "length one too many", log: newBytesLog(9).head(0, 9).raw(make([]byte, 8+sha256.Size)...)},
		{name: "huge length, frames behind", log: newBytesLog(9).head(3, 1<<40).add(0, nil), want: "chunk 3 at byte 52"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, 9)
			writeLog(t, dir, test.log.b)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := Read(dir)
			runtime.ReadMemStats(&after)
			// a search drops 48 bytes for each marker, of 4
			if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20+64*uint64(len(test.log.b)) {
				t.Errorf("Read took %d bytes for a log of %d", got, len(test.log.b))
			}
			if test.want != "" {
				if !errors.As(err, new(*CorruptError)) || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("error %v, want %q in it", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			holds(t, r, test.done...)
			l := mustOpen(t, dir, 9)
			mustAppend(t, l, upTo(9)...)
			l.Close()
			holds(t, mustOpen(t, dir, 9), upTo(9)...)
		})
	}
}

// What changes on the disk while it is open is noticed too.
func TestGetNoticesDamage(t *testing.T) {
	dir := t.TempDir()
	whole := fill(t, dir, 3, 0, 1)
	for _, test := range []struct {
		log  []byte
		want string
	}{
		{append(bytes.Clone(whole[:len(whole)-40]), make([]byte, 40)...), "chunk 1 at byte"},
		{whole[:len(whole)-1], "cut short"},
	} {
		writeLog(t, dir, whole)
		r, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		writeLog(t, dir, test.log)
		if _, err := r.Get(1); !errors.As(err, new(*CorruptError)) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q in it", err, test.want)
		}
		r.Close()
	}
}

// A failing is a file on a full disk: it takes room more bytes, and what else is set fails.
type failing struct {
	*os.File
	room           int
	sync, truncate bool
}

func (f *failing) WriteAt(b []byte, at int64) (int, error) {
	if len(b) > f.room {
		n, _ := f.File.WriteAt(b[:f.room], at)
		return n, syscall.ENOSPC
	}
	return f.File.WriteAt(b, at)
}

func (f *failing) Sync() error {
	if f.sync {
		return syscall.EIO
	}
	return f.File.Sync()
}

func (f *failing) Truncate(size int64) error {
	if f.truncate {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}

func TestFailedAppend(t *testing.T) {
	counted := counts.Start(t, "log-faults")
	for _, test := range []struct {
		name string
		fail failing
		want error
	}{
		{"full disk", failing{room: 0}, syscall.ENOSPC},
		{"full disk, part written", failing{room: 30}, syscall.ENOSPC},
		{"full disk, part cannot be cut", failing{room: 30, truncate: true}, syscall.ENOSPC},
		{"sync fails", failing{room: 1 << 20, sync: true}, syscall.EIO},
		{"sync fails, cannot be cut", failing{room: 1 << 20, sync: true, truncate: true}, syscall.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, dir, 5)
			mustAppend(t, l, 0, 1)
			good := l.file.(*os.File)
			test.fail.File = good
			l.file = &test.fail
			for range 2 {
				counted.Add(1)
				err := l.Append(2, bytes.Repeat([]byte("x"), 1000)) // longer than what comes later
				if want := errors.Is(err, test.want); err == nil || !want && !test.fail.truncate {
					t.Fatalf("error %v, want %v", err, test.want)
				}
				holds(t, l, 0, 1)
			}
			r, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			// A chunk that was written whole but not synced and not cut may show; it is what was
			// appended.
			if written := test.fail.sync && test.fail.truncate; !written {
				holds(t, r, 0, 1)
			}
			r.Close()
			l.file = good // there is room again
			mustAppend(t, l, 2, 3, 4)
			l.Close()
			holds(t, mustOpen(t, dir, 5), upTo(5)...)
		})
	}
}

// The test program run as a child by TestMain: what to do, and where.
const childEnv = "CHUNKLOG_TEST_CHILD"

func TestMain(m *testing.M) {
	what, dir, _ := strings.Cut(os.Getenv(childEnv), " ")
	switch what {
	case "":
		os.Exit(m.Run())
	case "open": // says what Open says
		_, err := Open(dir, []byte(testManifest), killChunks)
		var locked *LockedError
		if errors.As(err, &locked) {
			fmt.Println("locked by", locked.PID)
		} else {
			fmt.Println("error:", err)
		}
	case "hold": // until killed
		_, err := Open(dir, []byte(testManifest), killChunks)
		fmt.Println("error:", err)
		time.Sleep(time.Hour)
	case "fill": // finishes what is missing, saying so
		l, err := Open(dir, []byte(testManifest), killChunks)
		for _, i := range rand.Perm(killChunks) {
			if err == nil && !l.Has(i) {
				if err = l.Append(i, killPayload(i)); err == nil {
					fmt.Println(i)
				}
			}
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
}

func child(what, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what+" "+dir)
	return cmd
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, killChunks)
	if _, err := Open(dir, []byte(testManifest), killChunks); !errors.As(err, new(*LockedError)) {
		t.Errorf("a second Open here: error %v, want *LockedError", err)
	}
	say := func(want string) {
		t.Helper()
		out, err := child("open", dir).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("a child says %q, %v, want %q", out, err, want)
		}
	}
	say(fmt.Sprint("locked by ", os.Getpid()))
	mustAppend(t, l, 0)
	say(fmt.Sprint("locked by ", os.Getpid()))
	l.Close()
	say("error: <nil>")

	// A holder that is killed lets go.
	for range 3 {
		holder := child("hold", dir)
		pipe, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 100)
		n, _ := pipe.Read(line)
		if got := strings.TrimSpace(string(line[:n])); got != "error: <nil>" {
			t.Errorf("the holder says %q", got)
		}
		_, err = Open(dir, []byte(testManifest), killChunks)
		var locked *LockedError
		if !errors.As(err, &locked) || locked.PID != holder.Process.Pid || locked.Dir != dir {
			t.Errorf("error %v, want *LockedError of process %d", err, holder.Process.Pid)
		}
		if err := holder.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		holder.Wait()
		mustOpen(t, dir, killChunks).Close()
	}
}

const killChunks = 400

// killPayload is large enough for a kill to hit a write in the middle.
func killPayload(i int) []byte {
	return bytes.Repeat([]byte(strconv.Itoa(i)+" "), 20_000)
}

// A child is killed at random moments, many times: whatever it said was finished is there, and at
// last all is, as if nothing had happened.
func TestKill(t *testing.T) {
	kills, torn := 0, 0
	counted := counts.Start(t, "log-kills")
	for wanted := counts.Wanted(t, "log-kills", 50); kills < wanted; {
		dir := filepath.Join(t.TempDir(), "run")
		said := map[int]bool{}
		// A busy machine may take longer to start a child than a child has, so each has more.
		for lives := 40 * time.Millisecond; ; lives += time.Millisecond {
			cmd := child("fill", dir)
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(rand.Int64N(int64(lives))), func() { cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			lines := strings.Split(out.String(), "\n")
			for _, line := range lines[:len(lines)-1] {
				i, err := strconv.Atoi(line)
				if err != nil {
					t.Fatalf("the child says %q", line)
				}
				if said[i] {
					t.Fatalf("chunk %d was finished twice", i)
				}
				said[i] = true
			}
			if err == nil {
				break
			}
			kills++
			counted.Add(1)
			r, readErr := Read(dir)
			if errors.Is(readErr, fs.ErrNotExist) {
				if len(said) > 0 {
					t.Fatal(readErr)
				}
				continue
			}
			if readErr != nil {
				t.Fatal(readErr)
			}
			if info, err := os.Stat(filepath.Join(dir, logName)); err == nil && info.Size() > r.end {
				torn++
			}
			for i := range killChunks {
				if !r.Has(i) && said[i] {
					t.Fatalf("chunk %d was finished and is lost", i)
				}
				if r.Has(i) {
					if got, err := r.Get(i); err != nil || !bytes.Equal(got, killPayload(i)) {
						t.Fatalf("chunk %d differs: %v", i, err)
					}
				}
			}
			if r.Done() > len(said)+1 { // the chunk in hand may be there too, unsaid
				t.Fatalf("%d chunks are there, %d were finished", r.Done(), len(said))
			}
			for i := range killChunks {
				said[i] = r.Has(i)
				if !said[i] {
					delete(said, i)
				}
			}
			r.Close()
		}
		l := mustOpen(t, dir, killChunks)
		if l.Done() != killChunks {
			t.Fatalf("%d chunks, want %d", l.Done(), killChunks)
		}
		for i := range killChunks {
			if got, err := l.Get(i); err != nil || !bytes.Equal(got, killPayload(i)) {
				t.Fatalf("chunk %d differs: %v", i, err)
			}
		}
		l.Close()
	}
	t.Logf("%d kills, %d of them in a write", kills, torn)
}

// A reader beside a writer sees some of the chunks, each right, and never an error.
func TestReadBesideAppend(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 300)
	done := make(chan error, 1)
	go func() {
		for i := range 300 {
			if err := l.Append(i, payload(i)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for last := 0; last < 300; {
		r, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if r.Done() < last {
			t.Fatalf("%d chunks after %d", r.Done(), last)
		}
		last = r.Done()
		holds(t, r, upTo(last)...)
		r.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			done <- nil
		default:
		}
	}
}
