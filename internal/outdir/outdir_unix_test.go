//go:build linux || darwin

package outdir

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// A disk that fills up within the second file: a limit on the size of files
// stands for it, since it too lets a write begin and then fail. The limit holds for a
// whole process, so the write runs in one of its own.
func TestFolderFullDisk(t *testing.T) {
	const childDir = "ADVSWEEP_TEST_FULL_DISK"
	if dir := os.Getenv(childDir); dir != "" {
		f := open(t, dir)
		signal.Ignore(syscall.SIGXFSZ) // so that the write returns an error
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		was := limit.Cur
		limit.Cur = 4096
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		err := f.Write(files("new a", strings.Repeat("b", 10_000))...)
		limit.Cur = was // for the coverage file
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		fmt.Println("error:", err)
		return
	}
	dir := t.TempDir()
	write(t, dir, "old a", "old b")
	child := exec.Command(os.Args[0], "-test.run=^TestFolderFullDisk$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "error: outdir: write " + dir + "/b.json: file too large"; !strings.Contains(string(out), want) {
		t.Errorf("output %q, want %q", out, want)
	}
	holds(t, dir, "old a", "old b")
}
