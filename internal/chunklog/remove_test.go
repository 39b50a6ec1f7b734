package chunklog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, []byte(`{"a":1}`), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if err := Remove(dir); !errors.As(err, &locked) {
		t.Errorf("remove under a process that appends: %v, want a *LockedError", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read after remove: %v, want none", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if l, err = Open(dir, []byte(`{"a":2}`), 1); err != nil || l.Done() != 0 {
		t.Fatalf("another run: %v", err)
	}
	l.Close()
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("remove of nothing: %v", err)
	}
}
