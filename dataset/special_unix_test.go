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
	dir := t.TempDir()
	images := writeFile(t, dir, "images", idx(t, []int{1, 1, 1}, []byte{1}))
	writeFile(t, dir, "labels.csv", []byte("file,label\npipe,1\n"))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	cifar := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(cifar, "test_batch.bin"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(images, labels string) func() (*Set, error) {
		return func() (*Set, error) { return Read(images, labels) }
	}
	load := func(path string) func() (*Set, error) {
		return func() (*Set, error) { return Load(path, "test") }
	}
	for name, c := range map[string]struct {
		read func() (*Set, error)
		want []string
	}{
		"images, pipe":   {read(pipe, images), []string{pipe, "a pipe"}},
		"images, device": {read("/dev/zero", images), []string{"/dev/zero", "a device"}},
		"labels, device": {read(images, "/dev/null"), []string{"/dev/null", "a device"}},
		"npz, pipe":      {load(pipe), []string{pipe, "a pipe"}},
		"npz, device":    {load("/dev/zero"), []string{"/dev/zero", "a device"}},
		"png, pipe":      {load(dir), []string{dir, "pipe: a pipe"}},
		"cifar, pipe":    {load(cifar), []string{cifar, "test_batch.bin: a pipe"}},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := c.read()
				done <- err
			}()
			select {
			case err := <-done:
				wantError(t, err, append(c.want, "dataset: ", "want a regular file")...)
			case <-time.After(10 * time.Second):
				t.Fatal("has not returned in 10 s")
			}
		})
	}
}
