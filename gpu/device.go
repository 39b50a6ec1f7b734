//go:build cuda && linux && cgo

package gpu

// #include <cuda.h>
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"unsafe"

	"advsweep/gpu/cudrv"
	"advsweep/kernels"

	"gorgonia.org/cu"
)

// Devices lists the devices that the driver shows. If it shows none, the error wraps ErrUnavailable
// and says why.
func Devices() ([]Info, error) {
	n, err := cu.NumDevices()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if n == 0 {
		why := cudrv.Why()
		if why == "" {
			why = "the driver shows no device"
		}
		return nil, fmt.Errorf("%w: %s", ErrUnavailable, why)
	}
	infos := make([]Info, n)
	for i := range infos {
		if infos[i], err = info(i); err != nil {
			return nil, fmt.Errorf("gpu: cuda:%d: %w", i, err)
		}
	}
	return infos, nil
}

func info(index int) (Info, error) {
	// cu takes memory from C's heap and gives it to the driver. Go may move a goroutine to another
	// thread in between. A thread sanitizer does not see that and calls it a race.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in := Info{Index: index, Driver: cu.Version()}
	dev, err := cu.GetDevice(index)
	if err != nil {
		return in, err
	}
	if in.Name, err = dev.Name(); err != nil {
		return in, err
	}
	in.Name = strings.TrimRight(in.Name, "\x00")
	if in.Memory, err = dev.TotalMem(); err != nil {
		return in, err
	}
	major, err := dev.Attribute(cu.ComputeCapabilityMajor)
	if err != nil {
		return in, err
	}
	minor, err := dev.Attribute(cu.ComputeCapabilityMinor)
	if err != nil {
		return in, err
	}
	in.Capability = 10*major + minor
	if _, name, tensor, err := kernels.Image(in.Capability); err == nil {
		in.Image = name
		in.MathModes, in.MathMode = mathModesOf(in.Capability, tensor)
	}
	return in, nil
}

// mathModesOf returns the math modes of a device, and its default. The chips for data centres
// (sm_80, sm_90 and sm_10x) compute TF32 at 8 times the rate of FP32. All others compute it at most
// at twice the rate, so that three products in TF32 take longer there than one in FP32.
func mathModesOf(capability int, tensorCores bool) (modes []string, standard string) {
	switch {
	case !tensorCores:
		return MathModes[:1], "fp32"
	case capability == 80 || capability == 90 || capability/10 == 10:
		return MathModes, "3xtf32"
	}
	return MathModes, "fp32"
}

// An outOfMemory is a device that has too little memory for what was asked.
type outOfMemory struct{ error }

func (outOfMemory) OutOfMemory() bool { return true }
func (e outOfMemory) Unwrap() error   { return e.error }

// A device is one GPU, and a goroutine that owns the thread of its context. All methods but do and
// close are called inside do.
//
// open sets Info, multiprocessors, dev, ctx, mod, stream and opened, and only close changes them.
// launch changes fn and since, alloc and free change held, and upload changes alive. wait empties
// since and alive and counts waits.
type device struct {
	Info
	multiprocessors int

	work   chan func() // what the goroutine runs
	dev    cu.Device
	ctx    bool // whether the primary context is retained
	mod    cu.Module
	stream cu.Stream
	opened struct{ mod, stream bool } // whether mod and stream are there

	fn    map[string]cu.Function // kernels that were launched, by name
	held  map[cu.DevicePtr]int64 // allocations and their bytes
	since []string               // what was launched since the last wait, newest last
	alive []any                  // what the driver may read until the next wait
	waits int                    // how often wait was called
}

// openDevice starts the goroutine and takes the device's context, a stream and the kernels.
func openDevice(index int) (*device, error) {
	d := &device{work: make(chan func()), fn: map[string]cu.Function{}, held: map[cu.DevicePtr]int64{}}
	go func() {
		// The thread has the context. It is never unlocked, so that it ends with the goroutine.
		runtime.LockOSThread()
		for f := range d.work {
			f()
		}
	}()
	err := d.do(func() error { return d.open(index) })
	if err != nil {
		_ = d.close() // if it fails too, the reason is the same
		return nil, err
	}
	return d, nil
}

// open takes the context of device index, a stream, and the kernels.
func (d *device) open(index int) (err error) {
	d.Index = index
	if d.Info, err = info(index); err != nil {
		return d.errorf(err, "open")
	}
	ptx, _, _, err := kernels.Image(d.Capability)
	if err != nil {
		return d.errorf(err, "%s", d.Name)
	}
	if d.dev, err = cu.GetDevice(index); err != nil {
		return d.errorf(err, "open")
	}
	if d.multiprocessors, err = d.dev.Attribute(cu.MultiprocessorCount); err != nil {
		return d.errorf(err, "open")
	}
	ctx, err := d.dev.RetainPrimaryCtx()
	if err != nil {
		return d.errorf(err, "context")
	}
	d.ctx = true
	if err := cu.SetCurrentContext(ctx); err != nil {
		return d.errorf(err, "context")
	}
	if d.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return d.errorf(err, "stream")
	}
	d.opened.stream = true
	if d.mod, err = cu.LoadData(ptx); err != nil {
		return d.errorf(err, "load the kernels for %s (driver for CUDA %d.%d)", d.Image, d.Driver/1000, d.Driver%1000/10)
	}
	d.opened.mod = true
	return nil
}

// close frees all that d holds and ends its goroutine and thread. It goes on after an error and
// returns the first one: a lost device gives the same error for every call.
func (d *device) close() error {
	err := d.do(func() (first error) {
		keep := func(what string, err error) {
			if err != nil && first == nil {
				first = d.errorf(err, "%s", what)
			}
		}
		if d.opened.stream {
			keep("wait", d.stream.Synchronize())
		}
		for p := range d.held {
			keep("free", cu.MemFree(p))
		}
		clear(d.held)
		if d.opened.mod {
			keep("unload", d.mod.Unload())
		}
		if d.opened.stream {
			keep("stream", d.stream.Destroy())
		}
		if d.ctx {
			keep("context", d.dev.ReleasePrimaryCtx())
		}
		return first
	})
	close(d.work)
	return err
}

// do runs f on the device's thread and waits until it has returned.
func (d *device) do(f func() error) (err error) {
	done := make(chan struct{})
	var bug any
	d.work <- func() {
		defer close(done)
		defer func() { bug = recover() }()
		err = f()
	}
	<-done
	if bug != nil {
		panic(bug) // on the goroutine of the caller, which can recover
	}
	return err
}

// errorf says what failed on d, with the driver's own words.
func (d *device) errorf(err error, format string, args ...any) error {
	text := driverText(err)
	out := fmt.Errorf("gpu: cuda:%d: %s: %w%s", d.Index, fmt.Sprintf(format, args...), err, text)
	if errors.Is(err, cu.OutOfMemory) {
		return outOfMemory{out}
	}
	return out
}

// driverText is the driver's text for an error of cu. The type of such an error is an unexported
// int that holds the CUresult.
func driverText(err error) string {
	v := reflect.ValueOf(err)
	if !v.IsValid() || !v.CanInt() {
		return ""
	}
	var p *C.char
	if C.cuGetErrorString(C.CUresult(v.Int()), &p) != C.CUDA_SUCCESS || p == nil {
		return ""
	}
	return " (" + C.GoString(p) + ")"
}

// result makes an error of cu's type of what a driver call returned that does not go through cu.
func result(rc C.CUresult) error {
	if rc == C.CUDA_SUCCESS {
		return nil
	}
	// The type is unexported, so reflect makes the value. Values of it compare as errors.
	v := reflect.New(reflect.TypeOf(cu.OutOfMemory)).Elem()
	v.SetInt(int64(rc))
	return v.Interface().(error)
}

// A dim is the size of a grid or a block.
type dim struct{ x, y int }

// launch starts a kernel on the stream. shared is the bytes of dynamic shared memory of a block,
// and shape is for the error.
//
// args are of type cu.DevicePtr, int32, uint32, int64, float32, float64 and bool. A kernel takes a
// bool as int32. cu reads eight bytes at the pointer of each argument, so each is put into a cell
// of eight.
func (d *device) launch(name string, grid, block dim, shared int, shape []int, args ...any) error {
	f, ok := d.fn[name]
	if !ok {
		var err error
		if f, err = d.mod.Function(name); err != nil {
			return d.errorf(err, "kernel %s", name)
		}
		h := *(*C.CUfunction)(unsafe.Pointer(&f)) // the one field of f
		if shared > 48<<10 {                      // more than a kernel has without asking
			if err := result(C.cuFuncSetAttribute(h, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(shared))); err != nil {
				return d.errorf(err, "kernel %s: %d bytes of shared memory", name, shared)
			}
		}
		if shared > 0 { // take as much as there is, so that two blocks fit on a multiprocessor
			if err := result(C.cuFuncSetAttribute(h, C.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, C.CU_SHAREDMEM_CARVEOUT_MAX_SHARED)); err != nil {
				return d.errorf(err, "kernel %s: shared memory", name)
			}
		}
		d.fn[name] = f
	}
	cells := make([]uint64, len(args))
	params := make([]unsafe.Pointer, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case cu.DevicePtr:
			cells[i] = uint64(v)
		case int32:
			cells[i] = uint64(uint32(v))
		case uint32:
			cells[i] = uint64(v)
		case int64:
			cells[i] = uint64(v)
		case bool:
			if v {
				cells[i] = 1
			}
		case float32:
			*(*float32)(unsafe.Pointer(&cells[i])) = v
		case float64:
			*(*float64)(unsafe.Pointer(&cells[i])) = v
		default:
			panic(fmt.Sprintf("gpu: argument %d of %s is a %T", i, name, a))
		}
		params[i] = unsafe.Pointer(&cells[i])
	}
	if err := f.Launch(grid.x, grid.y, 1, block.x, block.y, 1, shared, d.stream, params); err != nil {
		return d.errorf(err, "launch %s %v", name, shape)
	}
	if what := fmt.Sprint(name, " ", shape); len(d.since) == 0 || d.since[len(d.since)-1] != what {
		if len(d.since) == 4 {
			d.since = append(d.since[:0], d.since[1:]...)
		}
		d.since = append(d.since, what)
	}
	return nil
}

// wait waits until the stream has done everything. Its error may come from any launch since the
// last wait, so it names the last few.
func (d *device) wait() error {
	d.waits++
	err := d.stream.Synchronize()
	if err != nil {
		err = d.errorf(err, "running %s", strings.Join(d.since, ", "))
	}
	d.since = d.since[:0]
	clear(d.alive)
	d.alive = d.alive[:0]
	return err
}
