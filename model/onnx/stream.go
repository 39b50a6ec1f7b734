package onnx

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"advsweep/model/internal/formats"

	"google.golang.org/protobuf/encoding/protowire"
)

// Most of a file is the bytes of its weights. They are read straight to where they stay, so that a
// large file is in memory once. The rest, the skeleton, is read as any message is.

// Numbers of fields of onnx.proto.
const (
	fieldGraph       = 7 // of ModelProto
	fieldInitializer = 5 // of GraphProto
	fieldRawData     = 9 // of TensorProto
)

// leastCut is the least length in bytes of raw data that is cut out of the skeleton.
const leastCut = 1 << 12

// A cutter reads a file of ONNX and cuts the raw data of initializers out of it.
type cutter struct {
	r    *bufio.Reader
	left int64 // bytes of the message in hand
	// raw has the raw data of an initializer, by its place among them. The memory is aligned for
	// float32.
	raw     map[int][]byte
	tensors int
}

// errCut is for a message that ends before its last field does.
var errCut = errors.New("not an ONNX file: a field is longer than what it is in")

// cut returns the skeleton of size bytes of r, and what was cut out of it.
func cut(r io.Reader, size int64) (skeleton []byte, raw map[int][]byte, err error) {
	c := &cutter{r: bufio.NewReaderSize(r, 1<<16), left: size, raw: make(map[int][]byte)}
	skeleton, err = c.message(fieldGraph, func() ([]byte, error) {
		return c.message(fieldInitializer, c.tensor)
	})
	return skeleton, c.raw, err
}

// message reads the message in hand, in which inner reads the fields of a number.
func (c *cutter) message(number protowire.Number, inner func() ([]byte, error)) ([]byte, error) {
	var out []byte
	for c.left > 0 {
		tag, err := c.varint()
		if err != nil {
			return nil, err
		}
		out = protowire.AppendVarint(out, tag)
		n, kind := protowire.DecodeTag(tag)
		if kind != protowire.BytesType {
			if out, err = c.scalar(out, kind); err != nil {
				return nil, err
			}
			continue
		}
		length, err := c.varint()
		if err != nil {
			return nil, err
		}
		if length > uint64(c.left) {
			return nil, errCut
		}
		if n == number {
			rest := c.left - int64(length)
			c.left = int64(length)
			field, err := inner()
			if err != nil {
				return nil, err
			}
			c.left = rest
			out = protowire.AppendBytes(out, field)
			continue
		}
		out = protowire.AppendVarint(out, length)
		if out, err = c.copy(out, length); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// tensor reads an initializer, all but its raw data if that is long.
func (c *cutter) tensor() ([]byte, error) {
	place := c.tensors
	c.tensors++
	var out []byte
	for c.left > 0 {
		tag, err := c.varint()
		if err != nil {
			return nil, err
		}
		n, kind := protowire.DecodeTag(tag)
		if n != fieldRawData || kind != protowire.BytesType {
			out = protowire.AppendVarint(out, tag)
			if kind != protowire.BytesType {
				out, err = c.scalar(out, kind)
			} else {
				var length uint64
				if length, err = c.varint(); err == nil && length > uint64(c.left) {
					err = errCut
				}
				if err == nil {
					out, err = c.copy(protowire.AppendVarint(out, length), length)
				}
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		length, err := c.varint()
		if err != nil {
			return nil, err
		}
		if length > uint64(c.left) {
			return nil, errCut
		}
		if length < leastCut || c.raw[place] != nil {
			if out, err = c.copy(protowire.AppendVarint(protowire.AppendVarint(out, tag), length), length); err != nil {
				return nil, err
			}
			continue
		}
		data := aligned(int(length))
		if err := c.read(data); err != nil {
			return nil, err
		}
		c.raw[place] = data
	}
	return out, nil
}

// aligned returns n bytes that may be read as float32.
func aligned(n int) []byte {
	words := make([]float32, (n+3)/4)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

// singlesOf returns bytes of aligned as float32 of this machine's order.
func singlesOf(raw []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/4)
}

// varint reads a number, and counts its bytes.
func (c *cutter) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		if c.left == 0 {
			return 0, errCut
		}
		b, err := c.r.ReadByte()
		if err != nil {
			return 0, shrunk(err)
		}
		c.left--
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errors.New("not an ONNX file: a number of more than 64 bits")
}

// scalar copies a field that is no bytes.
func (c *cutter) scalar(out []byte, kind protowire.Type) ([]byte, error) {
	switch kind {
	case protowire.VarintType:
		v, err := c.varint()
		return protowire.AppendVarint(out, v), err
	case protowire.Fixed32Type:
		return c.copy(out, 4)
	case protowire.Fixed64Type:
		return c.copy(out, 8)
	}
	return nil, fmt.Errorf("not an ONNX file: a field of type %d", kind)
}

// copy appends the next n bytes to out.
func (c *cutter) copy(out []byte, n uint64) ([]byte, error) {
	if n > uint64(c.left) {
		return nil, errCut
	}
	at := len(out)
	out = append(out, make([]byte, n)...)
	return out, c.read(out[at:])
}

// read fills p.
func (c *cutter) read(p []byte) error {
	if err := formats.Read(c.r, p); err != nil {
		return err
	}
	c.left -= int64(len(p))
	return nil
}

// shrunk says what an end of the file means that comes too early.
func shrunk(err error) error {
	if err == io.EOF {
		return errors.New("the file shrank while it was read")
	}
	return err
}
