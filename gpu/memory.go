//go:build cuda && linux && cgo

package gpu

// #include <cuda.h>
import "C"

import (
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// alloc returns so many bytes of device memory, not cleared. The error has OutOfMemory if there is
// too little. What is not freed before, close of the device frees.
func (d *device) alloc(bytes int64) (cu.DevicePtr, error) {
	p, err := cu.MemAlloc(max(bytes, 16))
	if err != nil {
		return 0, d.errorf(err, "allocate %d bytes", bytes)
	}
	d.held[p] = bytes
	return p, nil
}

// free gives back what alloc returned. p may be 0.
func (d *device) free(p cu.DevicePtr) error {
	if p == 0 {
		return nil
	}
	delete(d.held, p)
	if err := cu.MemFree(p); err != nil {
		return d.errorf(err, "free")
	}
	return nil
}

// A buffer is device memory that is used again and grows when more is needed. grow and drop change
// it.
type buffer struct {
	cu.DevicePtr       // 0: none
	size         int64 // bytes
}

// grow makes b at least so many bytes large. What a smaller one held is lost.
func (d *device) grow(b *buffer, bytes int64) error {
	if b.size >= bytes && b.DevicePtr != 0 {
		return nil
	}
	if err := d.drop(b); err != nil {
		return err
	}
	p, err := d.alloc(bytes)
	if err != nil {
		return err
	}
	*b = buffer{p, bytes}
	return nil
}

// drop gives back the memory of b.
func (d *device) drop(b *buffer) error {
	p := b.DevicePtr
	*b = buffer{}
	return d.free(p)
}

// A claim is a buffer and how many bytes its owner wants of it.
type claim struct {
	*buffer
	bytes int
}

// growAll makes every buffer at least as large as is claimed.
func (d *device) growAll(claims []claim) error {
	for _, c := range claims {
		if err := d.grow(c.buffer, int64(c.bytes)); err != nil {
			return err
		}
	}
	return nil
}

// buffersOf lists the buffers of claims.
func buffersOf(claims []claim) (list []*buffer) {
	for _, c := range claims {
		list = append(list, c.buffer)
	}
	return list
}

// at is the address of element n behind p, of elements of so many bytes.
func at(p cu.DevicePtr, n, bytes int) cu.DevicePtr { return p + cu.DevicePtr(n*bytes) }

// upload starts the copy of s to dst, in the order of the stream. s must not change until the next
// wait.
func upload[T any](d *device, dst cu.DevicePtr, s []T) error {
	if len(s) == 0 {
		return nil
	}
	n := int64(len(s)) * int64(unsafe.Sizeof(s[0]))
	if err := cu.MemcpyHtoDAsync(dst, unsafe.Pointer(&s[0]), n, d.stream); err != nil {
		return d.errorf(err, "upload %d bytes", n)
	}
	d.alive = append(d.alive, s)
	return nil
}

// download copies from src to s and waits for it, and so for everything that was launched before.
// What a batch brings down goes through downloads instead.
func download[T any](d *device, s []T, src cu.DevicePtr) error {
	if len(s) > 0 {
		n := int64(len(s)) * int64(unsafe.Sizeof(s[0]))
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&s[0]), src, n, d.stream); err != nil {
			return d.errorf(err, "download %d bytes after %s", n, strings.Join(d.since, ", "))
		}
	}
	return d.wait()
}

// fill sets so many bytes of device memory to v, in the order of the stream.
func (d *device) fill(p cu.DevicePtr, v byte, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	if err := cu.MemsetD8Async(p, v, bytes, d.stream); err != nil {
		return d.errorf(err, "clear %d bytes", bytes)
	}
	return nil
}

// freeMemory is how many bytes of d are free.
func (d *device) freeMemory() (int64, error) {
	free, _, err := cu.MemInfo()
	if err != nil {
		return 0, d.errorf(err, "free memory")
	}
	return free, nil
}

// A pinned is page-locked memory of the host. Copies from and to it run at full speed. growPinned
// and unpin change it.
type pinned struct {
	p    unsafe.Pointer // nil: none
	size int            // bytes
}

// growPinned makes m at least so many bytes large. What a smaller one held is lost, so no copy may
// be under way.
func (d *device) growPinned(m *pinned, bytes int) error {
	bytes = max(bytes, 16)
	if m.size >= bytes {
		return nil
	}
	if err := d.unpin(m); err != nil {
		return err
	}
	if err := result(C.cuMemAllocHost(&m.p, C.size_t(bytes))); err != nil {
		m.p = nil
		return d.errorf(err, "allocate %d bytes of pinned memory", bytes)
	}
	m.size = bytes
	return nil
}

// unpin gives back the memory of m.
func (d *device) unpin(m *pinned) error {
	p := m.p
	*m = pinned{}
	if p == nil {
		return nil
	}
	if err := result(C.cuMemFreeHost(p)); err != nil {
		return d.errorf(err, "free pinned memory")
	}
	return nil
}

// pinnedSlice is m as a slice of n elements.
func pinnedSlice[T any](m pinned, n int) []T { return unsafe.Slice((*T)(m.p), n) }
