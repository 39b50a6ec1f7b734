//go:build linux || darwin

package report

import (
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// A disk that fills up within the second file: a limit on the size of files
// stands for it, since it too lets a write begin and then fail.
func TestFolderFullDisk(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "old a", "old b")
	f := open(t, dir)

	signal.Ignore(syscall.SIGXFSZ) // so that the write returns an error
	defer signal.Reset(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Skip(err)
	}
	limit := was
	limit.Cur = 4096
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Skip(err)
	}
	err := f.Write(files("new a", strings.Repeat("b", 10_000))...)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.Contains(err.Error(), "write "+f.Path("b.json")+": ") {
		t.Errorf("error %v, want one about writing b.json", err)
	}
	holds(t, dir, "old a", "old b")
}
