//go:build unix

package dataset

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A pipe without a writer must not hang, nor a device be read for ever.
func TestReadSpecialFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("cannot make a pipe: %v", err)
	}
	for path, kind := range map[string]string{pipe: "a pipe", "/dev/zero": "a device", "/dev/null": "a device"} {
		t.Run(kind+" "+filepath.Base(path), func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, _, err := ReadIDXFile(path, 3)
				done <- err
			}()
			select {
			case err := <-done:
				wantError(t, err, "dataset: "+path, kind, "want a regular file")
			case <-time.After(10 * time.Second):
				t.Fatalf("ReadIDXFile(%s) has not returned in 10 s", path)
			}
		})
	}
}
