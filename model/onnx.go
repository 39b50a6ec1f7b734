package model

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"
	"advsweep/model/internal/onnx"

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
	RegisterFormat("ONNX", isONNX, func(f File) (*Model, error) {
		return decodeONNX(f, f.Size, f.Sum, f.Open)
	})
}

// isONNX goes by the ending of name, or by the first field of the file: ir_version is written
// first. A safetensors file of the same first byte has a { as its ninth.
func isONNX(name string, start []byte) bool {
	ext, n := filepath.Ext(name), len(start)
	return ext == ".onnx" || ext != ".safetensors" && n > 0 && start[0] == 0x08 && (n < 9 || start[8] != '{')
}

// A sibling opens a file in the folder of the model.
type sibling func(location string) (*os.File, int64, error)

// decodeONNX reads size bytes of r. Data that lies in other files is opened by open; nil: that is
// an error.
func decodeONNX(r io.Reader, size int64, sum hash.Hash, open sibling) (*Model, error) {
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes, want at most 2 GiB, the most that ONNX allows: keep weights as external data", size)
	}
	p, err := parseONNX(io.TeeReader(r, sum), size)
	if err != nil {
		return nil, err
	}
	if p.GetGraph() == nil {
		return nil, errors.New("no graph: not an ONNX file")
	}
	t := tensors{files: make(map[string]*openFile), open: open, left: 8*uint64(size) + 1<<18}
	defer t.close()
	if err := t.find(p.GetGraph(), sum); err != nil {
		return nil, err
	}
	return convertONNX(p, &t)
}

func parseONNX(r io.Reader, size int64) (*onnx.ModelProto, error) {
	data := make([]byte, size)
	if err := read(r, data); err != nil {
		return nil, err
	}
	p := new(onnx.ModelProto)
	left := maxMessages
	if err := countMessages(data, p.ProtoReflect().Descriptor(), &left, maxNesting); err != nil {
		return nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}).Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	return p, nil
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
	files map[string]*openFile // by location
	open  sibling
	// elements that may still be made: what one file holds could be asked for by any number of
	// nodes
	left uint64
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
func (t *tensors) find(g *onnx.GraphProto, sum hash.Hash) error {
	var locations []string
	look := func(p *onnx.TensorProto) error {
		if p.GetDataLocation() != onnx.TensorProto_EXTERNAL {
			return nil
		}
		e, err := externalOf(p)
		if err == nil && t.files[e.location] == nil {
			err = t.add(e.location)
			locations = append(locations, e.location)
		}
		if err != nil {
			return fmt.Errorf("tensor %s: external data: %w", quote(p.GetName()), err)
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
			return fmt.Errorf("external data: %s: %w", quote(l), regular.Cause(err))
		}
	}
	return nil
}

func (t *tensors) add(location string) error {
	if t.open == nil {
		return fmt.Errorf("in %s, want all in one file, or the path of the model's file", quote(location))
	}
	// Neither an absolute path nor one that leaves the folder, by the rules of any system.
	if !filepath.IsLocal(location) || strings.ContainsAny(location, `\:`) {
		return fmt.Errorf("in %s, want a path within the folder of the model", quote(location))
	}
	if len(t.files) == maxFiles {
		return fmt.Errorf("in more than %d files", maxFiles)
	}
	f, size, err := t.open(location)
	if err != nil {
		return fmt.Errorf("%s: %w", quote(location), regular.Cause(err))
	}
	t.files[location] = &openFile{f, size}
	t.left += 8 * uint64(size)
	return nil
}

// maxFiles bounds the files that are open at once: half of what a process may by default.
const maxFiles = 512

// inFolder returns a sibling that opens regular files in dir. Links may not lead out of it.
func inFolder(dir string) sibling {
	return func(location string) (*os.File, int64, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, 0, err
		}
		defer root.Close()
		info, err := root.Stat(location)
		if err != nil {
			return nil, 0, err
		}
		if !info.Mode().IsRegular() { // a pipe would be waited for
			return nil, 0, fmt.Errorf("%v, want a regular file", info.Mode()&fs.ModeType)
		}
		f, err := root.Open(location)
		if err != nil {
			return nil, 0, err
		}
		return f, info.Size(), nil
	}
}

// An external says where the data of a tensor is.
type external struct {
	location       string
	offset, length int64 // length -1: not said
}

func externalOf(p *onnx.TensorProto) (external, error) {
	e := external{length: -1}
	seen := make(map[string]bool)
	for _, kv := range p.GetExternalData() {
		key, value := kv.GetKey(), kv.GetValue()
		if seen[key] {
			return e, fmt.Errorf("two entries %s", quote(key))
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
			return e, fmt.Errorf("entry %s, want location, offset and length", quote(key))
		}
		if to != nil {
			if _, err := fmt.Sscanf(value, "%d", to); err != nil || *to < 0 || fmt.Sprint(*to) != value {
				return e, fmt.Errorf("%s %s, want a whole number", key, quote(value))
			}
		}
	}
	if e.location == "" {
		return e, errors.New("no location")
	}
	return e, nil
}

// spend is called before n elements are made.
func (t *tensors) spend(n int) error {
	if uint64(n) > t.left {
		return errors.New("the graph makes far more numbers than the file holds")
	}
	t.left -= uint64(n)
	return nil
}

// widths of the types whose numbers are read, in bytes.
var onnxWidth = map[onnx.TensorProto_DataType]int{
	onnx.TensorProto_FLOAT: 4, onnx.TensorProto_DOUBLE: 8, onnx.TensorProto_FLOAT16: 2, onnx.TensorProto_BFLOAT16: 2,
	onnx.TensorProto_INT64: 8, onnx.TensorProto_INT32: 4, onnx.TensorProto_UINT8: 1, onnx.TensorProto_INT8: 1, onnx.TensorProto_BOOL: 1,
}

// dims returns the shape of p and its number of elements.
func tensorDims(p *onnx.TensorProto) ([]int, int, error) {
	if len(p.GetDims()) > maxRank {
		return nil, 0, fmt.Errorf("rank %d, want at most %d", len(p.GetDims()), maxRank)
	}
	dims := make([]int, len(p.GetDims()))
	n := uint64(1)
	for i, d := range p.GetDims() {
		if d < 0 {
			return nil, 0, fmt.Errorf("shape %v: dimension %d is negative", p.GetDims(), i)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > maxElements || d > maxElements {
			return nil, 0, fmt.Errorf("shape %v, want at most %d elements", p.GetDims(), maxElements)
		}
		n, dims[i] = lo, int(d)
	}
	return dims, int(n), nil
}

// read returns the elements of p.
func (t *tensors) read(p *onnx.TensorProto) ([]float64, error) {
	_, n, err := tensorDims(p)
	if err != nil {
		return nil, err
	}
	kind := onnx.TensorProto_DataType(p.GetDataType())
	width := onnxWidth[kind]
	if width == 0 {
		return nil, fmt.Errorf("type %v, want a float or an integer of at least 8 bits", kind)
	}
	if p.Segment != nil {
		return nil, errors.New("a segment of a tensor, want it whole")
	}
	raw := p.GetRawData()
	typed := len(p.GetFloatData()) + len(p.GetDoubleData()) + len(p.GetInt32Data()) + len(p.GetInt64Data()) + len(p.GetStringData()) + len(p.GetUint64Data())
	if p.GetDataLocation() == onnx.TensorProto_EXTERNAL {
		if len(raw)+typed > 0 {
			return nil, errors.New("data both here and in another file")
		}
		if raw, err = t.readExternal(p, n*width); err != nil {
			return nil, fmt.Errorf("external data: %w", err)
		}
	} else if len(raw) > 0 && typed > 0 {
		return nil, errors.New("data of two forms, raw and typed")
	}
	if len(raw) == 0 && typed > 0 {
		return t.typed(p, kind, n, typed)
	}
	if len(raw) != n*width {
		return nil, fmt.Errorf("%d bytes, want %d, shape %v of %v", len(raw), n*width, p.GetDims(), kind)
	}
	if err := t.spend(n); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		b := raw[i*width:]
		switch kind {
		case onnx.TensorProto_FLOAT:
			out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case onnx.TensorProto_DOUBLE:
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(b))
		case onnx.TensorProto_FLOAT16:
			out[i] = float64(math.Float32frombits(fromHalf(binary.LittleEndian.Uint16(b))))
		case onnx.TensorProto_BFLOAT16:
			out[i] = float64(math.Float32frombits(fromBfloat(binary.LittleEndian.Uint16(b))))
		case onnx.TensorProto_INT64:
			out[i] = float64(int64(binary.LittleEndian.Uint64(b)))
		case onnx.TensorProto_INT32:
			out[i] = float64(int32(binary.LittleEndian.Uint32(b)))
		case onnx.TensorProto_INT8:
			out[i] = float64(int8(b[0]))
		default:
			out[i] = float64(b[0])
		}
	}
	return out, nil
}

func (t *tensors) readExternal(p *onnx.TensorProto, size int) ([]byte, error) {
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
		return nil, fmt.Errorf("%d bytes from %d on, want at most %d, the size of %s", e.length, e.offset, f.size, quote(e.location))
	}
	if err := t.spend(size); err != nil {
		return nil, err
	}
	raw := make([]byte, size)
	if _, err := f.ReadAt(raw, e.offset); err != nil {
		return nil, fmt.Errorf("%s: %w", quote(e.location), regular.Cause(err))
	}
	return raw, nil
}

// typed returns the n elements of p that lie in the field for their type.
func (t *tensors) typed(p *onnx.TensorProto, kind onnx.TensorProto_DataType, n, all int) ([]float64, error) {
	var at func(i int) float64
	var have int
	switch kind {
	case onnx.TensorProto_FLOAT:
		have, at = len(p.GetFloatData()), func(i int) float64 { return float64(p.GetFloatData()[i]) }
	case onnx.TensorProto_DOUBLE:
		have, at = len(p.GetDoubleData()), func(i int) float64 { return p.GetDoubleData()[i] }
	case onnx.TensorProto_INT64:
		have, at = len(p.GetInt64Data()), func(i int) float64 { return float64(p.GetInt64Data()[i]) }
	case onnx.TensorProto_FLOAT16:
		have, at = len(p.GetInt32Data()), func(i int) float64 {
			return float64(math.Float32frombits(fromHalf(uint16(p.GetInt32Data()[i]))))
		}
	case onnx.TensorProto_BFLOAT16:
		have, at = len(p.GetInt32Data()), func(i int) float64 {
			return float64(math.Float32frombits(fromBfloat(uint16(p.GetInt32Data()[i]))))
		}
	default:
		have, at = len(p.GetInt32Data()), func(i int) float64 { return float64(p.GetInt32Data()[i]) }
	}
	if have != n || have != all {
		return nil, fmt.Errorf("%d elements of %d in the field for %v, want %d, shape %v", have, all, kind, n, p.GetDims())
	}
	if err := t.spend(n); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = at(i)
	}
	return out, nil
}

// digest is the SHA-256 so far.
func digest(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }
