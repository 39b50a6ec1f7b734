//go:build cuda && linux && cgo

package cudrv_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"advsweep/gpu/cudrv"

	"gorgonia.org/cu"
)

// A driver is opened once in a process, so every case is a process of its own: this test binary,
// told by the environment to run child.
func TestMain(m *testing.M) {
	if os.Getenv("CUDRV_TEST_CHILD") != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// child prints what a program sees. The library is named only here, long after cu's init.
func child() {
	os.Setenv("ADVSWEEP_LIBCUDA", os.Getenv("CUDRV_TEST_CHILD"))
	_, early := cu.GetDevice(1)
	n, err := cu.NumDevices()
	dev, late := cu.GetDevice(1)
	var stream cu.Stream
	x := uint64(10)
	launch := cu.Function{}.Launch(1, 2, 3, 4, 5, 6, 7, stream, []unsafe.Pointer{unsafe.Pointer(&x)})
	fmt.Println("devices", n, err, "version", cu.Version())
	fmt.Println("why", cudrv.Why())
	fmt.Println("early", early, "late", late, int(dev))
	fmt.Println("launch", launch, "missing", cu.Synchronize())
}

const (
	count   = "int cuDeviceGetCount(int *n) { *n = N; return 0; } int cuDriverGetVersion(int *v) { *v = 12080; return 0; }\n"
	initial = "int cuInit(unsigned f) { return INIT; }\n"
	// A launch has eleven arguments, five of them on the stack of amd64 and three on that of arm64.
	calls = `
int cuDeviceGet(int *d, int i) { *d = 40 + i; return 0; }
int cuLaunchKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h,
                   void *stream, unsigned long **args, void **extra) {
  return !f && a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && g == 6 && h == 7 && !stream && *args[0] == 10 && !extra ? 0 : 1;
}`
)

func TestDrivers(t *testing.T) {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	for _, test := range []struct {
		name, source, flags string
		want                string // $LIB stands for the library's path
	}{
		{"no library", "", "", `
devices 0 <nil> version 0
why ADVSWEEP_LIBCUDA: no NVIDIA driver: $LIB: cannot open shared object file: No such file or directory
early NotInitialized late NoDevice 0
launch NoDevice missing NoDevice`},
		{"no driver", initial, "-DINIT=0", `
devices 0 <nil> version 0
why ADVSWEEP_LIBCUDA: $LIB is no CUDA driver
early NotInitialized late NoDevice 0
launch NoDevice missing NoDevice`},
		{"no device", initial + count + calls, "-DINIT=100 -DN=2", `
devices 0 <nil> version 0
why cuInit of $LIB failed with CUDA_ERROR_NO_DEVICE (100)
early NotInitialized late NoDevice 0
launch NoDevice missing NoDevice`},
		{"driver and module of the kernel differ", initial + count + calls, "-DINIT=803 -DN=2", `
devices 0 <nil> version 0
why cuInit of $LIB failed with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)
early NotInitialized late SystemDriverMismatch 0
launch SystemDriverMismatch missing SystemDriverMismatch`},
		{"unknown error", initial + count + calls, "-DINIT=12345 -DN=2", `
devices 0 <nil> version 0
why cuInit of $LIB failed with CUDA error (12345)
early NotInitialized late UnknownErrorCode:12345 0
launch UnknownErrorCode:12345 missing UnknownErrorCode:12345`},
		{"zero devices", initial + count + calls, "-DINIT=0 -DN=0", `
devices 0 <nil> version 0
why $LIB finds no device
early NotInitialized late NoDevice 0
launch NoDevice missing NoDevice`},
		{"two devices", initial + count + calls, "-DINIT=0 -DN=2", `
devices 2 <nil> version 12080
why 
early NotInitialized late <nil> 41
launch <nil> missing NotFound`},
	} {
		t.Run(test.name, func(t *testing.T) {
			lib := filepath.Join(t.TempDir(), "libfake.so")
			if test.source != "" {
				args := append(strings.Fields(cc), "-shared", "-fPIC", "-x", "c", "-", "-o", lib)
				args = append(args, strings.Fields(test.flags)...)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Stdin = strings.NewReader(test.source)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Skipf("no C compiler for the driver of this case: %v\n%s", err, out)
				}
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CUDRV_TEST_CHILD="+lib)
			got, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("the program ended with %v, want 0", err)
			}
			want := strings.TrimPrefix(strings.ReplaceAll(test.want, "$LIB", lib), "\n") + "\n"
			if string(got) != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// The driver of this machine, or none: cu and Why agree.
func TestThisMachine(t *testing.T) {
	n, err := cu.NumDevices()
	if err != nil {
		t.Fatal(err)
	}
	why := cudrv.Why()
	t.Logf("%d devices, driver version %d, why %q", n, cu.Version(), why)
	if (n == 0) != (why != "") {
		t.Errorf("%d devices, but Why is %q", n, why)
	}
}
