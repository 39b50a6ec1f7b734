//go:build cuda && linux

package cusim

// #cgo linux LDFLAGS: -ldl
// #define _GNU_SOURCE
// #include <dlfcn.h>
// #include <stdlib.h>
//
// static long (*calls)(void), (*live)(void), (*leaked)(void), (*launches)(void),
// (*launches_of)(const char *); static void (*fail)(long, int), (*fail_async)(long, int),
// (*reset)(void); static const char *(*failed_call)(void), *(*last_fault)(void);
//
// // load binds the control functions; 0 if the library has none, and so is no simulator.
// static int load(const char *path) {
//   void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
//   if (!h) return 0;
//   fail = dlsym(h, "cusim_fail");
//   fail_async = dlsym(h, "cusim_fail_async");
//   calls = dlsym(h, "cusim_calls");
//   failed_call = dlsym(h, "cusim_failed_call");
//   live = dlsym(h, "cusim_live");
//   leaked = dlsym(h, "cusim_leaked");
//   launches = dlsym(h, "cusim_launches");
//   launches_of = dlsym(h, "cusim_launches_of");
//   reset = dlsym(h, "cusim_reset");
//   last_fault = dlsym(h, "cusim_log");
//   return fail && fail_async && calls && failed_call && live && leaked && launches && launches_of && reset && last_fault;
// }
// static void call_fail(long n, int code) { fail(n, code); }
// static void call_fail_async(long n, int code) { fail_async(n, code); }
// static long call_calls(void) { return calls(); }
// static const char *call_failed_call(void) { return failed_call(); }
// static long call_live(void) { return live(); }
// static long call_leaked(void) { return leaked(); }
// static long call_launches(void) { return launches(); }
// static long call_launches_of(const char *k) { return launches_of(k); }
// static void call_reset(void) { reset(); }
// static const char *call_last_fault(void) { return last_fault(); }
import "C"

import (
	"os"
	"sync"
	"unsafe"
)

var load = sync.OnceValue(func() bool {
	path := os.Getenv("ADVSWEEP_LIBCUDA")
	if path == "" {
		return false
	}
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	return C.load(p) != 0
})

// Loaded tells whether the driver that ADVSWEEP_LIBCUDA names is the simulator. The dynamic linker
// gives this package the copy of it that the program has, so that both see the same state.
func Loaded() bool { return load() }

func mustLoad() {
	if !load() {
		panic("cusim: ADVSWEEP_LIBCUDA names no simulator; ask Loaded first")
	}
}

// Fail makes the nth driver call from now, counted from 1, return code instead of working. Codes of
// a lost device (46, 214, 700, 702, 716, 719) stay: every later call in the same context returns
// them, until its last release. A call that frees still frees. 0 takes an injection back.
func Fail(nth, code int) {
	mustLoad()
	C.call_fail(C.long(nth), C.int(code))
}

// FailAsync lets the nth kernel launch from now be accepted and fail with code at the next call
// that waits for it.
func FailAsync(nth, code int) {
	mustLoad()
	C.call_fail_async(C.long(nth), C.int(code))
}

// Calls is the number of driver calls so far, of those that Fail counts.
func Calls() int {
	mustLoad()
	return int(C.call_calls())
}

// FailedCall is the name of the driver call that the last injection hit, "" as long as it has hit
// none.
func FailedCall() string {
	mustLoad()
	return C.GoString(C.call_failed_call())
}

// Live is the number of objects alive now on all devices: allocations, modules, streams, events,
// graphs, and contexts as often as they are retained.
func Live() int {
	mustLoad()
	return int(C.call_live())
}

// Leaked is the number of objects so far that were alive when their context ended without an error.
func Leaked() int {
	mustLoad()
	return int(C.call_leaked())
}

// Launches is the number of launches of a kernel so far, replays of graphs included; of all kernels
// for "".
func Launches(kernel string) int {
	mustLoad()
	if kernel == "" {
		return int(C.call_launches())
	}
	k := C.CString(kernel)
	defer C.free(unsafe.Pointer(k))
	return int(C.call_launches_of(k))
}

// LastFault is the text of the last fault in a kernel: kernel, block, thread and what it did.
func LastFault() string {
	mustLoad()
	return C.GoString(C.call_last_fault())
}

// Reset forgets injections and the errors that stay.
func Reset() {
	mustLoad()
	C.call_reset()
}
