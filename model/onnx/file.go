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
	p, halves, err := parse(io.TeeReader(f, f.Sum), f.Size)
	if err != nil {
		return nil, err
	}
	if p.GetGraph() == nil {
		return nil, errors.New("no graph: not an ONNX file")
	}
	t := tensors{files: make(map[string]*openFile), open: f.Open, halves: halves, left: 8*uint64(f.Size) + 1<<18, memory: f.Memory}
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

// parse returns the message in size bytes of r, and the numbers of 16 bits that were cut out of its
// tensors. What else was cut out is where it was in the message.
func parse(r io.Reader, size int64) (*pb.ModelProto, map[*pb.TensorProto][]float32, error) {
	data, parts, err := cut(r, size)
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
	halves := make(map[*pb.TensorProto][]float32)
	for at, part := range parts {
		t := at.in(p.GetGraph())
		switch {
		case t == nil || part.floats == nil && len(t.GetRawData()) > 0:
			return nil, nil, errors.New("not an ONNX file: two graphs, or a tensor with two of raw data")
		case part.halves != nil && t.GetDataType() != part.kind:
			return nil, nil, errors.New("not an ONNX file: a tensor of two types")
		case part.floats != nil:
			t.FloatData = append(part.floats, t.GetFloatData()...)
		case part.halves != nil:
			halves[t] = part.halves
		default:
			t.RawData = part.raw
		}
	}
	return p, halves, nil
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
	files  map[string]*openFile          // by location
	halves map[*pb.TensorProto][]float32 // numbers of 16 bits, read as float32, see cut
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

// A numberType is a type whose numbers are read.
type numberType struct {
	width int // in bytes
	value func(b []byte) float64
}

var order16, order32, order64 = binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64

// numberTypes are all of them.
var numberTypes = map[pb.TensorProto_DataType]numberType{
	pb.TensorProto_FLOAT:    {4, func(b []byte) float64 { return float64(math.Float32frombits(order32(b))) }},
	pb.TensorProto_DOUBLE:   {8, func(b []byte) float64 { return math.Float64frombits(order64(b)) }},
	pb.TensorProto_FLOAT16:  {2, func(b []byte) float64 { return float64(math.Float32frombits(formats.FromHalf(order16(b)))) }},
	pb.TensorProto_BFLOAT16: {2, func(b []byte) float64 { return float64(math.Float32frombits(formats.FromBfloat(order16(b)))) }},
	pb.TensorProto_INT64:    {8, func(b []byte) float64 { return float64(int64(order64(b))) }},
	pb.TensorProto_INT32:    {4, func(b []byte) float64 { return float64(int32(order32(b))) }},
	pb.TensorProto_INT16:    {2, func(b []byte) float64 { return float64(int16(order16(b))) }},
	pb.TensorProto_INT8:     {1, func(b []byte) float64 { return float64(int8(b[0])) }},
	pb.TensorProto_UINT64:   {8, func(b []byte) float64 { return float64(order64(b)) }},
	pb.TensorProto_UINT32:   {4, func(b []byte) float64 { return float64(order32(b)) }},
	pb.TensorProto_UINT16:   {2, func(b []byte) float64 { return float64(order16(b)) }},
	pb.TensorProto_UINT8:    {1, func(b []byte) float64 { return float64(b[0]) }},
	pb.TensorProto_BOOL:     {1, func(b []byte) float64 { return float64(b[0]) }},
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
	// halves are numbers of 16 bits that were read as float32. raw then is nil.
	halves []float32
}

// form returns how p is stored, without reading other files, or an error unless there are as many
// bytes or elements as its shape says.
func (t *tensors) form(p *pb.TensorProto) (form, error) {
	_, n, err := tensorDims(p)
	if err != nil {
		return form{}, err
	}
	f := form{n: n, kind: pb.TensorProto_DataType(p.GetDataType()), raw: p.GetRawData(), halves: t.halves[p]}
	// how many bytes of raw data there are
	stored := len(f.raw) + 2*len(f.halves)
	if _, ok := pb.TensorProto_DataType_name[int32(f.kind)]; !ok || f.kind == pb.TensorProto_UNDEFINED {
		return f, fmt.Errorf("type %v, want one that there is", f.kind)
	}
	if p.Segment != nil {
		return f, errors.New("a segment of a tensor, want it whole")
	}
	typed := len(p.GetFloatData()) + len(p.GetDoubleData()) + len(p.GetInt32Data()) + len(p.GetInt64Data()) + len(p.GetStringData()) + len(p.GetUint64Data())
	width := numberTypes[f.kind].width
	switch {
	case p.GetDataLocation() == pb.TensorProto_EXTERNAL:
		if stored+typed > 0 {
			return f, errors.New("data both here and in another file")
		}
		if _, err := externalOf(p); err != nil {
			return f, fmt.Errorf("external data: %w", err)
		}
	case stored > 0 && typed > 0:
		return f, errors.New("data of two forms, raw and typed")
	case width == 0: // of a type that is not read
	case typed > 0:
		f.typed = true
		if have, _ := fieldOf(p, f.kind); have != n || have != typed {
			return f, fmt.Errorf("%d elements of %d in the field for %v, want %d, shape %v", have, typed, f.kind, n, p.GetDims())
		}
	case stored != n*width:
		return f, fmt.Errorf("%d bytes, want %d, shape %v of %v", stored, n*width, p.GetDims(), f.kind)
	}
	return f, nil
}

// read returns the elements of p, not to be written to.
func (t *tensors) read(p *pb.TensorProto) ([]float64, error) {
	f, err := t.form(p)
	if err != nil {
		return nil, err
	}
	number, ok := numberTypes[f.kind]
	if !ok {
		return nil, fmt.Errorf("type %v, want a float or an integer of at least 8 bits", f.kind)
	}
	if f.typed {
		return t.typed(p, f.kind, f.n)
	}
	raw, err := t.rawOf(p, f, number.width)
	if err != nil {
		return nil, err
	}
	if f.kind == pb.TensorProto_DOUBLE {
		if all, ok := formats.View[float64](raw); ok {
			return all, nil
		}
	}
	if err := t.spend(f.n); err != nil {
		return nil, err
	}
	out := make([]float64, f.n)
	for i, v := range f.halves {
		out[i] = float64(v)
	}
	if f.halves == nil {
		for i := range out {
			out[i] = number.value(raw[i*number.width:])
		}
	}
	return out, nil
}

// rawOf returns the raw data of p, of form f, here or in another file.
func (t *tensors) rawOf(p *pb.TensorProto, f form, width int) ([]byte, error) {
	if p.GetDataLocation() != pb.TensorProto_EXTERNAL {
		return f.raw, nil
	}
	raw, err := t.readExternal(p, f.n*width)
	if err != nil {
		return nil, fmt.Errorf("external data: %w", err)
	}
	return raw, nil
}

// readSingle returns the elements of p if all numbers of its type are of float32, not to be written
// to; nil: it is of another type.
func (t *tensors) readSingle(p *pb.TensorProto) ([]float32, error) {
	kind := pb.TensorProto_DataType(p.GetDataType())
	if kind != pb.TensorProto_FLOAT && widen16[kind] == nil {
		return nil, nil
	}
	f, err := t.form(p)
	if err != nil {
		return nil, err
	}
	switch {
	case f.halves != nil:
		return f.halves, nil
	case f.typed && kind == pb.TensorProto_FLOAT:
		return p.GetFloatData(), nil
	case f.typed:
		all, err := t.typed(p, kind, f.n)
		out := make([]float32, len(all))
		for i, v := range all {
			out[i] = float32(v)
		}
		return out, err
	}
	raw, err := t.rawOf(p, f, numberTypes[kind].width)
	if err != nil {
		return nil, err
	}
	if kind == pb.TensorProto_FLOAT {
		if all, ok := formats.View[float32](raw); ok {
			return all, nil
		}
	}
	if err := t.spend(f.n); err != nil {
		return nil, err
	}
	out := make([]float32, f.n)
	if widen := widen16[kind]; widen != nil {
		widen(out, raw)
		return out, nil
	}
	for i := range out {
		out[i] = math.Float32frombits(order32(raw[4*i:]))
	}
	return out, nil
}

// widen16 writes numbers of 16 bits as float32, by their type.
var widen16 = map[pb.TensorProto_DataType]func(dst []float32, b []byte){
	pb.TensorProto_FLOAT16: formats.FromHalves[float32], pb.TensorProto_BFLOAT16: formats.FromBfloats[float32],
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
	raw := formats.Bytes(make([]float64, (size+7)/8))[:size] // aligned for any number
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
