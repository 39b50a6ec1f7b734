//go:build unix

package model

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A pipe without a writer must not hang, nor a device be read for ever.
func TestLoadSpecialFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("cannot make a pipe: %v", err)
	}
	for path, kind := range map[string]string{pipe: "a pipe", "/dev/zero": "a device", "/dev/null": "a device"} {
		t.Run(kind+" "+filepath.Base(path), func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := Load(path)
				done <- err
			}()
			select {
			case err := <-done:
				wantError(t, err, "model: "+path, kind, "want a regular file")
			case <-time.After(10 * time.Second):
				t.Fatalf("Load(%s) has not returned in 10 s", path)
			}
		})
	}
}
