//go:build unix

package staged

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

var syncErrors = []struct {
	err     error
	failure bool
}{
	{syscall.EIO, true}, {syscall.ENOSPC, true}, {syscall.EINVAL, false}, {syscall.ENOTSUP, false}, {syscall.EACCES, false},
}

// TestKilled kills a process that has a file staged. Until then it is its own; then it goes.
func TestKilled(t *testing.T) {
	const childDir = "ADVSWEEP_TEST_STAGED"
	if dir := os.Getenv(childDir); dir != "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Stage(root, ".", []byte("half"), true)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.Drop()
		return
	}
	if !renamesOpen {
		t.Skip("no locks here")
	}
	root := openRoot(t)
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), childDir+"="+root.Name())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if left := names(t, root); left != "" {
			if data, err := root.ReadFile(left); err == nil && string(data) == "half" {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("the other process writes nothing")
		}
	}
	Sweep(root, ".")
	if left := names(t, root); !strings.HasPrefix(left, prefix) {
		t.Fatalf("%q is left, want what a live process writes", left)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	Sweep(root, ".")
	if left := names(t, root); left != "" {
		t.Errorf("%s is left of a killed process", left)
	}
}
