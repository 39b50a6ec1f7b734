package formats

import (
	"encoding/binary"
	"unsafe"
)

// LittleEndian says that the numbers of this machine lie as those of files do.
var LittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Bytes returns the memory of data, in this machine's order.
func Bytes[T float32 | float64](data []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(T(0))))
}

// NotFinite returns the index of the first number that is infinite or NaN, or -1.
func NotFinite[T float32 | float64](data []T) int {
	// v - v is 0, or NaN if v is no finite number. So is a sum of those. Four sums, since one would
	// wait for itself at every number.
	var a, b, c, d T
	rest := data
	for len(rest) >= 8 {
		v := (*[8]T)(rest)
		a += (v[0] - v[0]) + (v[4] - v[4])
		b += (v[1] - v[1]) + (v[5] - v[5])
		c += (v[2] - v[2]) + (v[6] - v[6])
		d += (v[3] - v[3]) + (v[7] - v[7])
		rest = rest[8:]
	}
	for _, v := range rest {
		a += v - v
	}
	if a+b+c+d == 0 {
		return -1
	}
	for i, v := range data {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

// View returns b, little-endian numbers, as numbers in the same memory. ok is false if b does not
// lie as this machine wants them.
func View[T float32 | float64](b []byte) (numbers []T, ok bool) {
	var one T
	start := unsafe.Pointer(unsafe.SliceData(b))
	if !LittleEndian || uintptr(start)%unsafe.Alignof(one) != 0 || uintptr(len(b))%unsafe.Sizeof(one) != 0 {
		return nil, false
	}
	if len(b) == 0 {
		return []T{}, true
	}
	return unsafe.Slice((*T)(start), uintptr(len(b))/unsafe.Sizeof(one)), true
}
