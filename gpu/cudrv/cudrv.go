//go:build cuda && linux && cgo

package cudrv

// link/libcuda.a is an empty archive. It satisfies the -lcuda of cu, so that neither a driver nor the
// stub of a toolkit is needed to link, and --as-needed drops a driver that the linker finds before it.

// #cgo LDFLAGS: -L${SRCDIR}/link -Wl,--as-needed -ldl
// extern const char *cudrv_why(void);
import "C"

// Why says why there is no device, in one line, or returns "" if there is one. The first call
// opens the driver, which can take a second.
func Why() string { return C.GoString(C.cudrv_why()) }
