//go:build unix

package regular

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSpecial wants pipes, devices and links to them to be refused at once.
func TestSpecial(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Skip("no pipes here:", err)
	}
	for name, to := range map[string]string{"to pipe": "pipe", "zero": "/dev/zero"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	within(t, func() {
		if _, err := OpenRoot(filepath.Join(dir, "pipe")); err == nil || err.Error() != "a pipe, want a folder" {
			t.Errorf("OpenRoot of a pipe: %v", err)
		}
		if _, ok, err := TryLock(filepath.Join(dir, "pipe")); ok || err == nil || err.Error() != "a pipe, want a regular file" {
			t.Errorf("TryLock of a pipe: %v, %v", ok, err)
		}
	})
	for way, read := range openers {
		for name, want := range map[string]string{"pipe": "a pipe", "to pipe": "a pipe", "zero": "a device"} {
			if (way == "OpenIn" || way == "ReadFrom") && name == "zero" {
				want = "escapes" // before it is looked at
			}
			within(t, func() {
				if _, err := read(dir, name); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s of %s: %v, want %q", way, name, err, want)
				}
			})
		}
	}
}

// TestExchangedForPipe exchanges a file for a pipe and back while it is opened.
func TestExchangedForPipe(t *testing.T) {
	dir := t.TempDir()
	file, pipe, path := filepath.Join(dir, "file"), filepath.Join(dir, "pipe"), filepath.Join(dir, "it")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Skip("no pipes here:", err)
	}
	if err := os.Symlink(file, path); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := filepath.Join(dir, "next")
			_ = os.Symlink([]string{pipe, file}[i%2], next)
			_ = os.Rename(next, path)
		}
	}()
	within(t, func() {
		files, pipes := 0, 0
		for range 3000 {
			f, _, err := Open(path)
			switch {
			case err == nil:
				info, _ := f.Stat()
				if !info.Mode().IsRegular() {
					t.Error("a pipe was opened")
				}
				f.Close()
				files++
			case strings.Contains(err.Error(), "a pipe"):
				pipes++
			default:
				t.Error(err)
			}
		}
		t.Logf("%d files, %d pipes", files, pipes)
	})
	close(stop)
	<-stopped
}

// within fails the test if do waits.
func within(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the other end of a pipe")
	}
}
