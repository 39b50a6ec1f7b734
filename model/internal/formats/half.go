package formats

import (
	"encoding/binary"
	"math"
)

// FromHalf returns the binary32 bits of the number with the bits h in IEEE 754
// binary16. It is exact.
func FromHalf(h uint16) uint32 {
	// Written so that the compiler inlines it, which halves the time to read a
	// file. One comparison finds the least and the largest exponent; the sign
	// is copied by extension and then masked.
	if h&0x7c00-0x400 >= 0x7800 {
		return fromHalfEdge(h)
	}
	return uint32(int16(h))<<13&0x8fffe000 + (127-15)<<23
}

// fromHalfEdge is FromHalf of 0, subnormal numbers (fraction·2⁻²⁴), Inf and NaN.
//
//go:noinline
func fromHalfEdge(h uint16) uint32 {
	sign, fraction := uint32(h&0x8000)<<16, uint32(h&0x3ff)
	if h&0x7c00 == 0 {
		return sign | math.Float32bits(float32(fraction)*0x1p-24)
	}
	return sign | 0x7f800000 | fraction<<13
}

// ToHalf returns the bits of the binary16 number nearest to v, the even one
// of two, and false if that is infinite or v is not finite.
func ToHalf(v float64) (uint16, bool) {
	sign := uint16(math.Float64bits(v) >> 48 & 0x8000)
	v = math.Abs(v)
	switch {
	case !(v < 65520): // halfway from the largest number, 65504, to the next
		return sign, false
	case v < 0x1p-14:
		// Subnormal, in units of 2⁻²⁴. 1024 of them are the bits of 2⁻¹⁴.
		return sign | uint16(math.RoundToEven(v*0x1p24)), true
	}
	// In units of the last of 11 bits: 1024 to 2048, both ends included. A
	// carry to 2048 adds one to the exponent, as it should.
	exponent := math.Ilogb(v)
	units := uint16(math.RoundToEven(math.Ldexp(v, 10-exponent)))
	return sign | (uint16(exponent+15)<<10 + units - 1024), true
}

// FromBfloat returns the binary32 bits of the number with the bits b in
// bfloat16, their upper half. It is exact.
func FromBfloat(b uint16) uint32 { return uint32(b) << 16 }

// FromHalves writes as many little-endian numbers of binary16 as dst takes. It is exact.
func FromHalves[T float32 | float64](dst []T, b []byte) {
	for len(dst) >= 4 { // a load for four of them
		v, to := binary.LittleEndian.Uint64(b), (*[4]T)(dst)
		to[0] = T(math.Float32frombits(FromHalf(uint16(v))))
		to[1] = T(math.Float32frombits(FromHalf(uint16(v >> 16))))
		to[2] = T(math.Float32frombits(FromHalf(uint16(v >> 32))))
		to[3] = T(math.Float32frombits(FromHalf(uint16(v >> 48))))
		dst, b = dst[4:], b[8:]
	}
	for i := range dst {
		dst[i] = T(math.Float32frombits(FromHalf(binary.LittleEndian.Uint16(b[2*i:]))))
	}
}

// FromBfloats is FromHalves for bfloat16.
func FromBfloats[T float32 | float64](dst []T, b []byte) {
	for i := range dst {
		dst[i] = T(math.Float32frombits(FromBfloat(binary.LittleEndian.Uint16(b[2*i:]))))
	}
}
