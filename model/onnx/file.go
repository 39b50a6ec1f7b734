// Package onnx reads ONNX files into models. Importing it, also as _, makes model.Load and
// model.Decode read them, as the packages of image formats do for image.Decode.
//
// See README.md in the folder of package model for the operators that are read. The graph takes one
// input, the images, as [N, I], [N, C, H, W] or [N, H, W, C] (the model's Input then is [C, H, W]
// all the same), and its logits become the model's: a Softmax at the end is left out, which Notes
// say. Data in other files is read by model.Load alone. Format: onnx.ai, IR.md and Operators.md.
package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"
	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The oldest version of the standard operators that is read, and the newest whose changes were read
// through. ONNX 1.20.1.
const (
	minOpset = 7
	maxOpset = 28
)

func init() {
	model.RegisterFormat("ONNX", isONNX, decode)
}

// isONNX goes by the ending of name, or by the first field of the file: ir_version is written
// first. A safetensors file of the same first byte has a { as its ninth.
func isONNX(name string, start []byte) bool {
	ext, n := filepath.Ext(name), len(start)
	return ext == ".onnx" || ext != ".safetensors" && n > 0 && start[0] == 0x08 && (n < 9 || start[8] != '{')
}

// decode reads the model in f. Data that lies in other files is opened by f.Open; nil: that is an
// error.
func decode(f model.File) (*model.Model, error) {
	if f.Size > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes, want at most 2 GiB, the most that ONNX allows: keep weights as external data", f.Size)
	}
	p, raw, err := parse(io.TeeReader(f, f.Sum), f.Size)
	if err != nil {
		return nil, err
	}
	if p.GetGraph() == nil {
		return nil, errors.New("no graph: not an ONNX file")
	}
	t := tensors{files: make(map[string]*openFile), open: f.Open, raw: raw, left: 8*uint64(f.Size) + 1<<18, memory: f.Memory}
	defer t.close()
	if err := t.find(p.GetGraph(), f.Sum); err != nil {
		return nil, err
	}
	notes, malformed := t.check(p) // before functions are put in place
	m, err := convert(p, &t, f.Size, f.Ask)
	if err == nil {
		err = malformed
	}
	if err != nil {
		return nil, err // what cannot be read says more than what is not whole
	}
	m.Notes = append(m.Notes, notes...)
	return m, nil
}

// parse returns the message in size bytes of r, and the raw data that was cut out of its tensors.
func parse(r io.Reader, size int64) (*pb.ModelProto, map[*pb.TensorProto][]byte, error) {
	data, cuts, err := cut(r, size)
	if err != nil {
		return nil, nil, err
	}
	p := new(pb.ModelProto)
	left := maxMessages
	if err := countMessages(data, p.ProtoReflect().Descriptor(), &left, maxNesting); err != nil {
		return nil, nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}).Unmarshal(data, p); err != nil {
		return nil, nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	raw := make(map[*pb.TensorProto][]byte)
	all := p.GetGraph().GetInitializer()
	for place, bytes := range cuts {
		if place >= len(all) || len(all[place].GetRawData()) > 0 {
			return nil, nil, errors.New("not an ONNX file: two graphs, or a tensor with two of raw data")
		}
		raw[all[place]] = bytes
	}
	return p, raw, nil
}

// A message of two bytes takes a hundred and more once it is a Go value, so their number is
// bounded, far above that of any classifier.
const (
	maxMessages = 1 << 18
	maxNesting  = 32
)

// countMessages walks through data as a message of the given type without keeping anything of it.
func countMessages(data []byte, m protoreflect.MessageDescriptor, left *int, nesting int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("more than %d messages", maxMessages)
	}
	if nesting == 0 {
		return fmt.Errorf("messages %d deep in each other", maxNesting)
	}
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		field := m.Fields().ByNumber(number)
		if field == nil || field.Message() == nil || wire != protowire.BytesType {
			n = protowire.ConsumeFieldValue(number, wire, data)
		} else {
			var inner []byte
			if inner, n = protowire.ConsumeBytes(data); n >= 0 {
				if err := countMessages(inner, field.Message(), left, nesting-1); err != nil {
					return err
				}
			}
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
	}
	return nil
}

// tensors reads the numbers of a model's tensors when they are asked for.
type tensors struct {
	files map[string]*openFile       // by location
	raw   map[*pb.TensorProto][]byte // data that was cut out of tensors, see cut
	// opens a file in the folder of the model and returns its size; nil: there are no others
	open func(location string) (*os.File, int64, error)
	// elements that may still be made: what one file holds could be asked for by any number of
	// nodes
	left   uint64
	memory model.Memory // for equal elements that no file holds, and for what layers give
}

type openFile struct {
	*os.File
	size int64
}

func (t *tensors) close() {
	for _, f := range t.files {
		f.Close()
	}
}

// find opens all files in which tensors of g lie, and adds what they hold to sum, in order of
// location.
func (t *tensors) find(g *pb.GraphProto, sum hash.Hash) error {
	var locations []string
	look := func(p *pb.TensorProto) error {
		if p.GetDataLocation() != pb.TensorProto_EXTERNAL {
			return nil
		}
		e, err := externalOf(p)
		if err == nil && t.files[e.location] == nil {
			err = t.add(e.location)
			locations = append(locations, e.location)
		}
		if err != nil {
			return fmt.Errorf("tensor %s: external data: %w", formats.Quote(p.GetName()), err)
		}
		return nil
	}
	for _, p := range g.GetInitializer() {
		if err := look(p); err != nil {
			return err
		}
	}
	for _, n := range g.GetNode() {
		for _, a := range n.GetAttribute() {
			if a.GetT() != nil {
				if err := look(a.GetT()); err != nil {
					return err
				}
			}
		}
	}
	slices.Sort(locations)
	for _, l := range locations {
		f := t.files[l]
		if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.size)); err != nil {
			return fmt.Errorf("external data: %s: %w", formats.Quote(l), regular.Cause(err))
		}
	}
	return nil
}

func (t *tensors) add(location string) error {
	if t.open == nil {
		return fmt.Errorf("in %s, want all in one file, or the path of the model's file", formats.Quote(location))
	}
	// Neither an absolute path nor one that leaves the folder, by the rules of any system.
	if !filepath.IsLocal(location) || strings.ContainsAny(location, `\:`) {
		return fmt.Errorf("in %s, want a path within the folder of the model", formats.Quote(location))
	}
	if len(t.files) == maxFiles {
		return fmt.Errorf("in more than %d files", maxFiles)
	}
	f, size, err := t.open(location)
	if err != nil {
		return fmt.Errorf("%s: %w", formats.Quote(location), regular.Cause(err))
	}
	t.files[location] = &openFile{f, size}
	t.left += 8 * uint64(size)
	return nil
}

// maxFiles bounds the files that are open at once: half of what a process may by default.
const maxFiles = 512

// An external says where the data of a tensor is.
type external struct {
	location       string
	offset, length int64 // length -1: not said
}

func externalOf(p *pb.TensorProto) (external, error) {
	e := external{length: -1}
	seen := make(map[string]bool)
	for _, kv := range p.GetExternalData() {
		key, value := kv.GetKey(), kv.GetValue()
		if seen[key] {
			return e, fmt.Errorf("two entries %s", formats.Quote(key))
		}
		seen[key] = true
		var to *int64
		switch key {
		case "location":
			e.location = value
		case "offset":
			to = &e.offset
		case "length":
			to = &e.length
		case "checksum": // says nothing that reading needs
		default:
			return e, fmt.Errorf("entry %s, want location, offset and length", formats.Quote(key))
		}
		if to != nil {
			if _, err := fmt.Sscanf(value, "%d", to); err != nil || *to < 0 || fmt.Sprint(*to) != value {
				return e, fmt.Errorf("%s %s, want a whole number", key, formats.Quote(value))
			}
		}
	}
	if e.location == "" {
		return e, errors.New("no location")
	}
	return e, nil
}

// fill is called before n equal elements are made. They then count as if the file held them, in
// four bytes each.
func (t *tensors) fill(n int) error {
	if err := t.memory.Take(n, 8); err != nil {
		return fmt.Errorf("numbers that no file holds: %w", err)
	}
	t.left += 4 * uint64(n)
	return nil
}

// spend is called before n elements are made.
func (t *tensors) spend(n int) error {
	if uint64(n) > t.left {
		return errors.New("the graph makes far more numbers than the file holds")
	}
	t.left -= uint64(n)
	return nil
}

// widths are those of the types whose numbers are read, in bytes.
var widths = map[pb.TensorProto_DataType]int{
	pb.TensorProto_FLOAT: 4, pb.TensorProto_DOUBLE: 8, pb.TensorProto_FLOAT16: 2, pb.TensorProto_BFLOAT16: 2,
	pb.TensorProto_INT64: 8, pb.TensorProto_INT32: 4, pb.TensorProto_UINT8: 1, pb.TensorProto_INT8: 1, pb.TensorProto_BOOL: 1,
	pb.TensorProto_INT16: 2, pb.TensorProto_UINT16: 2, pb.TensorProto_UINT32: 4, pb.TensorProto_UINT64: 8,
}

// dims returns the shape of p and its number of elements.
func tensorDims(p *pb.TensorProto) ([]int, int, error) {
	if len(p.GetDims()) > formats.MaxRank {
		return nil, 0, fmt.Errorf("rank %d, want at most %d", len(p.GetDims()), formats.MaxRank)
	}
	dims := make([]int, len(p.GetDims()))
	n := uint64(1)
	for i, d := range p.GetDims() {
		if d < 0 {
			return nil, 0, fmt.Errorf("shape %v: dimension %d is negative", p.GetDims(), i)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > formats.MaxElements || d > formats.MaxElements {
			return nil, 0, fmt.Errorf("shape %v, want at most %d elements", p.GetDims(), formats.MaxElements)
		}
		n, dims[i] = lo, int(d)
	}
	return dims, int(n), nil
}

// A form is how the elements of a tensor are stored.
type form struct {
	n     int // elements
	kind  pb.TensorProto_DataType
	raw   []byte // nil: they are typed, or in another file
	typed bool   // in the field for their type
}

// form returns how p is stored, without reading other files, or an error unless there are as many
// bytes or elements as its shape says.
func (t *tensors) form(p *pb.TensorProto) (form, error) {
	_, n, err := tensorDims(p)
	if err != nil {
		return form{}, err
	}
	f := form{n: n, kind: pb.TensorProto_DataType(p.GetDataType()), raw: t.rawOf(p)}
	if _, ok := pb.TensorProto_DataType_name[int32(f.kind)]; !ok || f.kind == pb.TensorProto_UNDEFINED {
		return f, fmt.Errorf("type %v, want one that there is", f.kind)
	}
	if p.Segment != nil {
		return f, errors.New("a segment of a tensor, want it whole")
	}
	typed := len(p.GetFloatData()) + len(p.GetDoubleData()) + len(p.GetInt32Data()) + len(p.GetInt64Data()) + len(p.GetStringData()) + len(p.GetUint64Data())
	width := widths[f.kind]
	switch {
	case p.GetDataLocation() == pb.TensorProto_EXTERNAL:
		if len(f.raw)+typed > 0 {
			return f, errors.New("data both here and in another file")
		}
		if _, err := externalOf(p); err != nil {
			return f, fmt.Errorf("external data: %w", err)
		}
	case len(f.raw) > 0 && typed > 0:
		return f, errors.New("data of two forms, raw and typed")
	case width == 0: // of a type that is not read
	case typed > 0:
		f.typed = true
		if have, _ := fieldOf(p, f.kind); have != n || have != typed {
			return f, fmt.Errorf("%d elements of %d in the field for %v, want %d, shape %v", have, typed, f.kind, n, p.GetDims())
		}
	case len(f.raw) != n*width:
		return f, fmt.Errorf("%d bytes, want %d, shape %v of %v", len(f.raw), n*width, p.GetDims(), f.kind)
	}
	return f, nil
}

// read returns the elements of p.
func (t *tensors) read(p *pb.TensorProto) ([]float64, error) {
	f, err := t.form(p)
	if err != nil {
		return nil, err
	}
	n, kind, raw, width := f.n, f.kind, f.raw, widths[f.kind]
	if width == 0 {
		return nil, fmt.Errorf("type %v, want a float or an integer of at least 8 bits", kind)
	}
	if f.typed {
		return t.typed(p, kind, n)
	}
	if p.GetDataLocation() == pb.TensorProto_EXTERNAL {
		if raw, err = t.readExternal(p, n*width); err != nil {
			return nil, fmt.Errorf("external data: %w", err)
		}
	}
	if err := t.spend(n); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		b := raw[i*width:]
		switch kind {
		case pb.TensorProto_FLOAT:
			out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case pb.TensorProto_DOUBLE:
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(b))
		case pb.TensorProto_FLOAT16:
			out[i] = float64(math.Float32frombits(formats.FromHalf(binary.LittleEndian.Uint16(b))))
		case pb.TensorProto_BFLOAT16:
			out[i] = float64(math.Float32frombits(formats.FromBfloat(binary.LittleEndian.Uint16(b))))
		case pb.TensorProto_INT64:
			out[i] = float64(int64(binary.LittleEndian.Uint64(b)))
		case pb.TensorProto_INT32:
			out[i] = float64(int32(binary.LittleEndian.Uint32(b)))
		case pb.TensorProto_INT8:
			out[i] = float64(int8(b[0]))
		case pb.TensorProto_INT16:
			out[i] = float64(int16(binary.LittleEndian.Uint16(b)))
		case pb.TensorProto_UINT16:
			out[i] = float64(binary.LittleEndian.Uint16(b))
		case pb.TensorProto_UINT32:
			out[i] = float64(binary.LittleEndian.Uint32(b))
		case pb.TensorProto_UINT64:
			out[i] = float64(binary.LittleEndian.Uint64(b))
		default:
			out[i] = float64(b[0])
		}
	}
	return out, nil
}

// rawOf returns the raw data of p.
func (t *tensors) rawOf(p *pb.TensorProto) []byte {
	if raw, ok := t.raw[p]; ok {
		return raw
	}
	return p.GetRawData()
}

// littleEndian says that this machine's float32 lie as those of files do.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// readSingle returns the elements of p if they are of float32, not to be written to; nil: they are
// of another type.
func (t *tensors) readSingle(p *pb.TensorProto) ([]float32, error) {
	if pb.TensorProto_DataType(p.GetDataType()) != pb.TensorProto_FLOAT {
		return nil, nil
	}
	if _, n, err := tensorDims(p); err == nil && littleEndian && p.Segment == nil {
		if raw, ok := t.raw[p]; ok && p.GetDataLocation() != pb.TensorProto_EXTERNAL && len(raw) == 4*n && len(p.GetFloatData()) == 0 {
			return singlesOf(raw), nil
		}
		if p.GetDataLocation() == pb.TensorProto_EXTERNAL && len(p.GetRawData())+len(p.GetFloatData()) == 0 {
			raw, err := t.readExternal(p, 4*n)
			if err != nil {
				return nil, fmt.Errorf("external data: %w", err)
			}
			return singlesOf(raw), nil
		}
	}
	all, err := t.read(p)
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(all))
	for i, v := range all {
		out[i] = float32(v)
	}
	return out, nil
}

func (t *tensors) readExternal(p *pb.TensorProto, size int) ([]byte, error) {
	e, err := externalOf(p)
	if err != nil {
		return nil, err
	}
	f := t.files[e.location]
	if f == nil { // of a graph within the graph
		return nil, errors.New("not looked for")
	}
	if e.length < 0 {
		e.length = f.size - e.offset
	}
	if e.length != int64(size) {
		return nil, fmt.Errorf("%d bytes, want %d", e.length, size)
	}
	if e.offset > f.size || e.length > f.size-e.offset {
		return nil, fmt.Errorf("%d bytes from %d on, want at most %d, the size of %s", e.length, e.offset, f.size, formats.Quote(e.location))
	}
	if err := t.spend(size); err != nil {
		return nil, err
	}
	raw := aligned(size)
	if _, err := f.ReadAt(raw, e.offset); err != nil {
		return nil, fmt.Errorf("%s: %w", formats.Quote(e.location), regular.Cause(err))
	}
	return raw, nil
}

// typed returns the n elements of p that lie in the field for their type.
func (t *tensors) typed(p *pb.TensorProto, kind pb.TensorProto_DataType, n int) ([]float64, error) {
	if err := t.spend(n); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	_, at := fieldOf(p, kind)
	for i := range out {
		out[i] = at(i)
	}
	return out, nil
}

// fieldOf returns how many elements the field of p for a type has, and what they are.
func fieldOf(p *pb.TensorProto, kind pb.TensorProto_DataType) (have int, at func(i int) float64) {
	switch kind {
	case pb.TensorProto_FLOAT:
		return len(p.GetFloatData()), func(i int) float64 { return float64(p.GetFloatData()[i]) }
	case pb.TensorProto_DOUBLE:
		return len(p.GetDoubleData()), func(i int) float64 { return p.GetDoubleData()[i] }
	case pb.TensorProto_UINT64, pb.TensorProto_UINT32:
		return len(p.GetUint64Data()), func(i int) float64 { return float64(p.GetUint64Data()[i]) }
	case pb.TensorProto_INT64:
		return len(p.GetInt64Data()), func(i int) float64 { return float64(p.GetInt64Data()[i]) }
	case pb.TensorProto_FLOAT16:
		return len(p.GetInt32Data()), func(i int) float64 {
			return float64(math.Float32frombits(formats.FromHalf(uint16(p.GetInt32Data()[i]))))
		}
	case pb.TensorProto_BFLOAT16:
		return len(p.GetInt32Data()), func(i int) float64 {
			return float64(math.Float32frombits(formats.FromBfloat(uint16(p.GetInt32Data()[i]))))
		}
	}
	return len(p.GetInt32Data()), func(i int) float64 { return float64(p.GetInt32Data()[i]) }
}
