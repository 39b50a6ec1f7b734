package regular

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// openers are all ways to read the file name in dir.
var openers = map[string]func(dir, name string) ([]byte, error){
	"Open": func(dir, name string) ([]byte, error) {
		f, size, err := Open(filepath.Join(dir, name))
		return drain(f, size, err)
	},
	"OpenIn": func(dir, name string) ([]byte, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		f, size, err := OpenIn(root, name)
		return drain(f, size, err)
	},
	"OpenFS": func(dir, name string) ([]byte, error) {
		f, size, err := OpenFS(os.DirFS(dir), name)
		return drain(f, size, err)
	},
	"Read":     func(dir, name string) ([]byte, error) { return Read(filepath.Join(dir, name), 100) },
	"ReadFrom": func(dir, name string) ([]byte, error) { return ReadFrom(dir, name, 100) },
}

func drain[F fs.File](f F, size int64, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return All(f, size, 100)
}

// TestOpen reads a regular file in each way, and wants a directory and a missing file to be errors
// without their paths.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o777); err != nil {
		t.Fatal(err)
	}
	for way, read := range openers {
		if data, err := read(dir, "file"); string(data) != "text" || err != nil {
			t.Errorf("%s of a file: %q, %v", way, data, err)
		}
		if _, err := read(dir, "folder"); err == nil || err.Error() != "a directory, want a regular file" {
			t.Errorf("%s of a directory: %v", way, err)
		}
		if _, err := read(dir, "none"); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s of a missing file: %v", way, err)
		}
	}
}

// TestOpenIn wants a link within the folder to be followed, and one that leads out to be refused.
func TestOpenIn(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for _, path := range []string{outside, filepath.Join(dir, "file")} {
		if err := os.WriteFile(path, []byte("text"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"in": "file", "out": outside} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skip("no links here:", err)
		}
	}
	for _, way := range []string{"OpenIn", "ReadFrom"} {
		if data, err := openers[way](dir, "in"); string(data) != "text" || err != nil {
			t.Errorf("%s of a link within: %q, %v", way, data, err)
		}
		if _, err := openers[way](dir, "out"); err == nil || strings.Contains(err.Error(), outside) {
			t.Errorf("%s of a link that leads out: %v, want an error", way, err)
		}
	}
}

// TestOpenRoot wants a folder.
func TestOpenRoot(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
	if _, err := OpenRoot(filepath.Join(dir, "file")); err == nil || err.Error() != "a file, want a folder" {
		t.Errorf("a file: %v", err)
	}
	if _, err := OpenRoot(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// TestOpenFileIn writes to a file that is there, and makes none.
func TestOpenFileIn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o666); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, size, err := OpenFileIn(root, "file", os.O_RDWR)
	if err != nil || size != 4 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("T"), 0); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "file")); string(data) != "Text" {
		t.Errorf("%q, want Text", data)
	}
	if _, _, err := OpenFileIn(root, "none", os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// TestTryLock wants one to have the lock, and a folder and a link to be errors.
func TestTryLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	l, ok, err := TryLock(path)
	if !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if _, ok, err := TryLock(path); ok || err != nil {
		t.Errorf("a second time: %v, %v, want that it is taken", ok, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l, ok, err = TryLock(path)
	if !ok || err != nil {
		t.Fatalf("once it is free: %v, %v", ok, err)
	}
	l.Close()
	if _, ok, err := TryLock(dir); ok || err == nil || err.Error() != "a directory, want a regular file" {
		t.Errorf("a folder: %v, %v", ok, err)
	}
	if _, ok, err := TryLock(filepath.Join(dir, "none", "lock")); ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no folder: %v, %v", ok, err)
	}
	for to, name := range map[string]string{path: "link", filepath.Join(dir, "made"): "dangling"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skip("no links here:", err)
		}
		if _, ok, err := TryLock(filepath.Join(dir, name)); ok || err == nil || err.Error() != "a link, want a regular file" {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "made")); err == nil {
		t.Error("a file was made where a link leads")
	}
}

// TestExchanged has a folder in the place of a file once it is opened.
func TestExchanged(t *testing.T) {
	fsys := &exchanged{MapFS: fstest.MapFS{"a": {Data: []byte("text")}, "d": {Mode: fs.ModeDir}}}
	if _, _, err := OpenFS(fsys, "a"); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("%v, want that it is a directory", err)
	}
}

type exchanged struct{ fstest.MapFS }

func (e *exchanged) Open(string) (fs.File, error) { return e.MapFS.Open("d") }

// TestAll reads as much as there is, whatever the size that a file claims, up to a bound.
func TestAll(t *testing.T) {
	for _, c := range []struct {
		name       string
		have       int
		size, most int64
		tooLarge   bool
	}{
		{"empty", 0, 0, 0, false},
		{"as it says", 10, 10, 10, false},
		{"more than it says", 1000, 10, 1000, false},
		{"made up by the system", 1000, 0, 1000, false},
		{"fewer", 5, 10, 10, false},
		{"says too much", 10, 11, 10, true},
		{"has too much", 11, 5, 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := bytes.Repeat([]byte{7}, c.have)
			got, err := All(bytes.NewReader(want), c.size, c.most)
			_, tooLarge := errors.AsType[*TooLargeError](err)
			if tooLarge != c.tooLarge || !c.tooLarge && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("%d bytes, %v, want %d, too large: %v", len(got), err, c.have, c.tooLarge)
			}
		})
	}
	failed := errors.New("a bad block")
	if _, err := All(io.MultiReader(strings.NewReader("a"), badReader{failed}), 9, 9); !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
}

type badReader struct{ err error }

func (r badReader) Read([]byte) (int, error) { return 0, r.err }
