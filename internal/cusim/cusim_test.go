//go:build cuda && linux

package cusim

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The simulator itself is tested by selftest.sh; here are the bindings, in a process of their own,
// since the library is chosen once.
func TestBindings(t *testing.T) {
	if os.Getenv("CUSIM_TEST_CHILD") == "" {
		if _, err := exec.LookPath("g++"); err != nil {
			t.Skip(err)
		}
		lib := filepath.Join(t.TempDir(), "cusim.so")
		build := exec.Command("sh", "build.sh", "plain", lib)
		build.Env = append(os.Environ(), "CUDA_KERNELS=testdata")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build.sh: %v\n%s", err, out)
		}
		child := exec.Command(os.Args[0], "-test.run=^TestBindings$", "-test.v")
		child.Env = append(os.Environ(), "CUSIM_TEST_CHILD=1", "ADVSWEEP_LIBCUDA="+lib)
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if !Loaded() {
		t.Fatal("the simulator was not recognised")
	}
	Fail(3, 719)
	FailAsync(1, 700)
	if n := Calls() + Live() + Leaked() + Launches("") + Launches("add_one"); n != 0 {
		t.Errorf("counts sum to %d before any call, want 0", n)
	}
	if s := FailedCall() + LastFault(); s != "" {
		t.Errorf("got %q before any fault, want nothing", s)
	}
	Reset()
}
