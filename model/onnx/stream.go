package onnx

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/encoding/protowire"
)

// Most of a file is the bytes of its weights. They are read straight to where they stay, so that a
// large file is in memory once. The rest, the skeleton, is read as any message is.

// Numbers of fields of onnx.proto.
const (
	fieldGraph       = 7 // of ModelProto
	fieldNode        = 1 // of GraphProto
	fieldInitializer = 5
	fieldAttribute   = 5 // of NodeProto
	fieldTensor      = 5 // of AttributeProto
	fieldDataType    = 2 // of TensorProto
	fieldFloatData   = 4
	fieldRawData     = 9
)

// leastCut is the least length in bytes of data that is cut out of the skeleton, and of messages in
// which data is looked for.
const leastCut = 1 << 12

// A place is where a tensor is in a graph: an initializer, or an attribute of a node.
type place struct {
	initializer     int // -1: it is none
	node, attribute int
}

// in returns the tensor at a place in g, or nil.
func (at place) in(g *pb.GraphProto) *pb.TensorProto {
	if all := g.GetInitializer(); at.initializer >= 0 && at.initializer < len(all) {
		return all[at.initializer]
	}
	if all := g.GetNode(); at.initializer < 0 && at.node < len(all) {
		if a := all[at.node].GetAttribute(); at.attribute < len(a) {
			return a[at.attribute].GetT()
		}
	}
	return nil
}

// A part is what was cut out of a tensor. One of raw, halves and floats is set.
type part struct {
	raw    []byte    // aligned for numbers of 64 bits
	halves []float32 // of raw data of 16 bits
	kind   int32     // the type of halves
	floats []float32 // of the field for float32
}

// A cutter reads a file of ONNX and cuts long data out of its tensors.
type cutter struct {
	r                   *bufio.Reader
	left                int64 // bytes of the message in hand
	parts               map[place]part
	initializers, nodes int // so far
}

// errCut is for a message that ends before its last field does.
var errCut = errors.New("not an ONNX file: a field is longer than what it is in")

// cut returns the skeleton of size bytes of r, and what was cut out of it.
func cut(r io.Reader, size int64) (skeleton []byte, parts map[place]part, err error) {
	c := &cutter{r: bufio.NewReaderSize(r, 1<<16), left: size, parts: make(map[place]part)}
	skeleton, err = c.message(map[protowire.Number]descent{fieldGraph: func(uint64) func() ([]byte, error) {
		return func() ([]byte, error) {
			return c.message(map[protowire.Number]descent{fieldInitializer: c.initializer, fieldNode: c.node})
		}
	}})
	return skeleton, c.parts, err
}

// A descent is called for each message of a field, with its length. It returns what reads the
// message, or nil for one that is copied.
type descent func(length uint64) func() ([]byte, error)

func (c *cutter) initializer(length uint64) func() ([]byte, error) {
	at := place{initializer: c.initializers}
	c.initializers++
	return c.tensorAt(at, length)
}

func (c *cutter) tensorAt(at place, length uint64) func() ([]byte, error) {
	if length < leastCut {
		return nil
	}
	return func() ([]byte, error) { return c.tensor(at) }
}

func (c *cutter) node(length uint64) func() ([]byte, error) {
	node, attribute := c.nodes, 0
	c.nodes++
	if length < leastCut {
		return nil
	}
	return func() ([]byte, error) {
		return c.message(map[protowire.Number]descent{fieldAttribute: func(length uint64) func() ([]byte, error) {
			at := place{-1, node, attribute}
			attribute++
			if length < leastCut {
				return nil
			}
			return func() ([]byte, error) {
				return c.message(map[protowire.Number]descent{fieldTensor: func(length uint64) func() ([]byte, error) {
					return c.tensorAt(at, length)
				}})
			}
		}})
	}
}

// message reads the message in hand, in which fields of some numbers are looked into.
func (c *cutter) message(fields map[protowire.Number]descent) ([]byte, error) {
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
		length, err := c.length()
		if err != nil {
			return nil, err
		}
		if look := fields[n]; look != nil {
			if inner := look(length); inner != nil {
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
		}
		out = protowire.AppendVarint(out, length)
		if out, err = c.copy(out, length); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// length reads the length of a field of bytes.
func (c *cutter) length() (uint64, error) {
	length, err := c.varint()
	if err == nil && length > uint64(c.left) {
		err = errCut
	}
	return length, err
}

// tensor reads a tensor, all but its data if that is long. Data that comes in several parts stays in
// the skeleton, all but the first part.
func (c *cutter) tensor(at place) ([]byte, error) {
	var out []byte
	var dataType uint64
	_, seen := c.parts[at] // data
	for c.left > 0 {
		tag, err := c.varint()
		if err != nil {
			return nil, err
		}
		n, kind := protowire.DecodeTag(tag)
		if kind != protowire.BytesType {
			out = protowire.AppendVarint(out, tag)
			value := len(out)
			if out, err = c.scalar(out, kind); err != nil {
				return nil, err
			}
			if n == fieldDataType && kind == protowire.VarintType {
				dataType, _ = protowire.ConsumeVarint(out[value:])
			}
			seen = seen || n == fieldFloatData
			continue
		}
		length, err := c.length()
		if err != nil {
			return nil, err
		}
		data := n == fieldRawData || n == fieldFloatData
		if cuts := data && !seen && length >= leastCut; cuts {
			var p part
			if p, err = c.part(n, length, dataType); err != nil {
				return nil, err
			}
			if p.raw != nil || p.halves != nil || p.floats != nil {
				c.parts[at], seen = p, true
				continue
			}
		}
		seen = seen || data
		out = protowire.AppendVarint(protowire.AppendVarint(out, tag), length)
		if out, err = c.copy(out, length); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// part reads the data of a field of a tensor, or nothing of data that cannot be cut out.
func (c *cutter) part(n protowire.Number, length, dataType uint64) (p part, err error) {
	widen := widen16[pb.TensorProto_DataType(dataType)]
	switch {
	case n == fieldFloatData && (!formats.LittleEndian || length%4 != 0):
	case n == fieldFloatData:
		p.floats = make([]float32, length/4)
		err = c.read(formats.Bytes(p.floats))
	case widen != nil && length%2 == 0:
		p.kind, p.halves = int32(dataType), make([]float32, length/2)
		piece := make([]byte, 64<<10)
		for rest := p.halves; len(rest) > 0 && err == nil; {
			k := min(len(rest), len(piece)/2)
			if err = c.read(piece[:2*k]); err == nil {
				widen(rest[:k], piece)
			}
			rest = rest[k:]
		}
	default:
		p.raw = formats.Bytes(make([]float64, (length+7)/8))[:length]
		err = c.read(p.raw)
	}
	return p, err
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
