package chunklog

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"advsweep/internal/counts"
)

// mount gives an empty file system of 64 KiB.
func mount(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small tmpfs, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that is full while chunks are appended keeps those that were finished, and the run goes on
// when there is room.
func TestFullDisk(t *testing.T) {
	dir := mount(t)
	counts.Start(t, "log-faults").Add(1)
	big := make([]byte, 10_000)
	l := mustOpen(t, dir, 20)
	done := 0
	var err error
	for ; done < 20; done++ {
		if err = l.Append(done, big); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) || done == 0 {
		t.Fatalf("after %d chunks: error %v, want ENOSPC and %s", done, err, dir)
	}
	check := func(l *Log) {
		t.Helper()
		if l.Done() != done {
			t.Fatalf("%d chunks, want %d", l.Done(), done)
		}
		for i := range done {
			if got, err := l.Get(i); err != nil || string(got) != string(big) {
				t.Fatalf("chunk %d: %d bytes, %v", i, len(got), err)
			}
		}
	}
	check(l)
	if err := l.Append(done, []byte("small")); err != nil {
		t.Fatalf("a chunk for which there is room: %v", err)
	}
	l.Close()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, 20)
	if got, err := l.Get(done); err != nil || string(got) != "small" {
		t.Fatalf("%q, %v", got, err)
	}
	for i := done + 1; i < 20; i++ {
		if err := l.Append(i, big); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
}

// A disk too full for a new folder says so, and the folder can be used when there is room.
func TestFullDiskAtOpen(t *testing.T) {
	dir := mount(t)
	_, err := Open(dir+"/run", []byte(`"`+strings.Repeat("x", 100_000)+`"`), 20)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("error %v, want ENOSPC and %s", err, dir)
	}
	fill(t, dir+"/run", 3, upTo(3)...)
}

// A folder that cannot be written is an error to Open, and none to Read.
func TestReadOnlyFolder(t *testing.T) {
	dir := mount(t)
	fill(t, dir, 3, 0, 1)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, dir + "/new"} {
		if _, err := Open(d, []byte(testManifest), 3); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), d) {
			t.Errorf("error %v, want EROFS and %s", err, d)
		}
	}
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, r, 0, 1)
	r.Close()
}
