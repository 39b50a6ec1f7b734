package dataset

import (
	"fmt"
	"math"
	"strings"

	"advsweep/internal/remedy"
)

// store takes the numbers of a for the images of s. It sets what they were in the file.
//
// uint8 and other integers from 0 to 255 are bytes, of which 255 is white; booleans are 0 and 1,
// and floats are pixels themselves, unless the query says which number is white.
func (s *Stored) store(a *array) error {
	source := &s.set.Source
	source.Type = a.typeName()
	s.shape = a.Shape
	if n := len(s.shape); n < 2 || n > 4 {
		return fmt.Errorf("images are %v, want [N, H, W], [N, C, H, W], [N, H, W, C] or [N, I]", s.shape)
	}
	if a.Descr[1:] == "u1" {
		s.bytes = gather(a.Data, a.Shape, a.strides())
		source.Divisor = 255
		lo, hi := s.bytes[0], s.bytes[0]
		for _, v := range s.bytes {
			lo, hi = min(lo, v), max(hi, v)
		}
		source.Lo, source.Hi = float64(lo), float64(hi)
		s.scale()
		return nil
	}
	at, err := a.element()
	if err != nil {
		return err
	}
	if a.Descr[1:] == "f4" { // the most usual one, in one pass over its bytes
		narrow := make([]float32, len(a.Data)/4)
		for i := range narrow {
			narrow[i] = math.Float32frombits(a.Order.Uint32(a.Data[4*i:]))
		}
		at = func(i int) float64 { return float64(narrow[i]) }
		if s.query.PixelMax == 0 {
			return s.storePixels(narrow, a)
		}
	}
	n := len(a.Data) / a.Width
	return s.storeFloats(n, strings.IndexByte("iu", a.Kind) >= 0, at, a)
}

// storePixels takes float32 numbers in the order of the file as the pixels themselves.
func (s *Stored) storePixels(x []float32, a *array) error {
	source := &s.set.Source
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	for i, v := range x {
		if d := v - v; d != 0 { // NaN, as of infinities
			return fmt.Errorf("element %d is %v, want finite numbers", i, v)
		}
		lo, hi = min(lo, v), max(hi, v)
	}
	source.Lo, source.Hi, source.Divisor = float64(lo), float64(hi), 1
	s.floats = gather(x, a.Shape, a.strides())
	return nil
}

// storeFloats takes n numbers, at(i) in the order of the file. a says how they lie, nil: row-major.
func (s *Stored) storeFloats(n int, integers bool, at func(i int) float64, a *array) error {
	source := &s.set.Source
	source.Lo, source.Hi = math.Inf(1), math.Inf(-1)
	for i := range n {
		v := at(i)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("element %d is %v, want finite numbers", i, v)
		}
		source.Lo, source.Hi = min(source.Lo, v), max(source.Hi, v)
	}
	most := s.query.PixelMax
	if integers && most == 0 {
		if source.Lo < 0 || source.Hi > 255 {
			return remedy.Want(remedy.PixelMax, fmt.Errorf("images of %s from %v to %v, want uint8, floats, or to be told which number is white", source.Type, source.Lo, source.Hi))
		}
		s.bytes = make([]uint8, n)
		for i := range s.bytes {
			s.bytes[i] = uint8(at(i))
		}
		source.Divisor = 255
		s.note("", "its pixels are %s from %v to %v: 255 was taken for white", source.Type, source.Lo, source.Hi)
		if a != nil {
			s.bytes = gather(s.bytes, a.Shape, a.strides())
		}
		s.scale()
		return nil
	}
	source.Divisor = 1
	if most != 0 {
		source.Divisor = most
	}
	s.floats = make([]float32, n)
	for i := range s.floats {
		v := at(i) / source.Divisor
		s.floats[i] = float32(v)
		if math.IsInf(float64(s.floats[i]), 0) {
			return fmt.Errorf("element %d is %v, want one that fits float32", i, v)
		}
	}
	if a != nil {
		s.floats = gather(s.floats, a.Shape, a.strides())
	}
	return nil
}

// typeNames are NumPy's, by kind and bytes.
var typeNamesNumPy = map[string]string{
	"b1": "bool", "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
	"i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "f2": "float16", "f4": "float32", "f8": "float64",
}

func (a *array) typeName() string {
	if n := typeNamesNumPy[a.Descr[1:]]; n != "" {
		return n
	}
	return a.Descr
}

// element returns the number at index i of the file.
func (a *array) element() (func(i int) float64, error) {
	d, o := a.Data, a.Order
	switch a.Descr[1:] {
	case "b1":
		return func(i int) float64 {
			if d[i] != 0 {
				return 1
			}
			return 0
		}, nil
	case "i1":
		return func(i int) float64 { return float64(int8(d[i])) }, nil
	case "u2":
		return func(i int) float64 { return float64(o.Uint16(d[2*i:])) }, nil
	case "i2":
		return func(i int) float64 { return float64(int16(o.Uint16(d[2*i:]))) }, nil
	case "u4":
		return func(i int) float64 { return float64(o.Uint32(d[4*i:])) }, nil
	case "i4":
		return func(i int) float64 { return float64(int32(o.Uint32(d[4*i:]))) }, nil
	case "u8":
		return func(i int) float64 { return float64(o.Uint64(d[8*i:])) }, nil
	case "i8":
		return func(i int) float64 { return float64(int64(o.Uint64(d[8*i:]))) }, nil
	case "f2":
		return func(i int) float64 { return half(o.Uint16(d[2*i:])) }, nil
	case "f4":
		return func(i int) float64 { return float64(math.Float32frombits(o.Uint32(d[4*i:]))) }, nil
	case "f8":
		return func(i int) float64 { return math.Float64frombits(o.Uint64(d[8*i:])) }, nil
	}
	return nil, fmt.Errorf("images of %s, want integers or floats: in NumPy, save images.astype(numpy.float32)", a.Descr)
}

// half is the value of an IEEE 754 binary16 number.
func half(b uint16) float64 {
	exponent, fraction := int(b>>10&31), float64(b&1023)
	v := math.Ldexp(1024+fraction, exponent-25)
	switch {
	case exponent == 0:
		v = math.Ldexp(fraction, -24)
	case exponent == 31 && fraction != 0:
		v = math.NaN()
	case exponent == 31:
		v = math.Inf(1)
	}
	if b>>15 != 0 {
		return -v
	}
	return v
}
