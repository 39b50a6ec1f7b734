package model

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// maxHeader is the longest JSON header that the format allows, in bytes.
const maxHeader = 100_000_000

// dtypeSize holds the types that are read, and the bytes of one number.
var dtypeSize = map[string]uint64{"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

// counterSize holds the types of tensors that may count, and are passed over then, see entry.
var counterSize = map[string]uint64{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}

// mlpOnly ends the messages about what a file may not hold.
const mlpOnly = "MLPs of Linear and ReLU are all that is read without a layer list, see model/README.md; ONNX needs none"

// safetensors reads all of a file. The header, with its claims about the data, is checked to the
// end before memory is taken for weights, and where names alone tell the layers, so are they.
func (d *decoder) safetensors() (*Model, error) {
	r, size := io.TeeReader(d.r, d.sum), d.size
	if size < 8 {
		return nil, fmt.Errorf("%d bytes, want a safetensors file", size)
	}
	start := make([]byte, 8)
	if err := formats.Read(r, start); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(start)
	if n > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, want at most %d: not a safetensors file", n, maxHeader)
	}
	if n > uint64(size-8) {
		return nil, fmt.Errorf("header of %d bytes, want at most %d, the rest of the file", n, size-8)
	}
	header := make([]byte, n)
	if err := formats.Read(r, header); err != nil {
		return nil, err
	}
	entries, list, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if err := checkLayout(entries, uint64(size)-8-n); err != nil {
		return nil, err
	}
	if list != "" && !d.insist {
		d.list, d.listName, d.inside = []byte(list), "in __metadata__", true
	}
	if d.list == nil { // so that no memory is taken in vain
		if _, err := arrange(entries); err != nil {
			return nil, err
		}
	}
	t := weights{entries: entries}
	t.double = slices.ContainsFunc(entries, func(e entry) bool { return e.dtype == "F64" })
	if t.double {
		t.tensors, err = readTensors[float64](r, entries)
	} else {
		t.tensors, err = readTensors[float32](r, entries)
	}
	if err != nil {
		return nil, err
	}
	if k, _ := r.Read(make([]byte, 1)); k > 0 {
		return nil, errors.New("the file grew while it was read")
	}
	return d.build(t)
}

// skip reads n bytes that nothing wants.
func skip(r io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, r, n)
	if err == io.EOF {
		return errors.New("the file shrank while it was read")
	}
	return err
}

// An entry is one tensor of the header.
type entry struct {
	name       string
	dtype      string
	shape      []uint64
	begin, end uint64 // in the data
	// counts is set for whole numbers that belong to no layer: of batch normalisation in training,
	// or a single one, such as an epoch.
	counts bool
}

// parseHeader returns the tensors in the order of the header, and the layer list of its metadata.
// It checks everything about an entry that does not depend on other entries.
func parseHeader(header []byte) (entries []entry, list string, err error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, "", errors.New("header does not start with {: not a safetensors file")
	}
	if !utf8.Valid(header) {
		return nil, "", errors.New("header is not valid UTF-8")
	}
	if !json.Valid(header) {
		// Unmarshal looks at the syntax first, so it says where it is wrong.
		return nil, "", fmt.Errorf("header is invalid JSON: %w", json.Unmarshal(header, &struct{}{}))
	}
	// By tokens, because Unmarshal accepts what must not be: the last one of
	// two equal keys, keys in the wrong case.
	p := parser{json.NewDecoder(bytes.NewReader(header))}
	p.UseNumber()
	p.next() // {
	seen := make(map[string]bool)
	for p.More() {
		name := p.next().(string)
		if seen[name] {
			return nil, "", fmt.Errorf("tensor %s: two of this name", formats.Quote(name))
		}
		seen[name] = true
		if name == "__metadata__" {
			if list, err = p.metadata(); err != nil {
				return nil, "", fmt.Errorf("header: __metadata__: %w", err)
			}
			continue
		}
		e, err := p.entry(name)
		if err != nil {
			return nil, "", fmt.Errorf("tensor %s: %w", formats.Quote(name), err)
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 && list == "" {
		return nil, "", errors.New("no tensors in the header")
	}
	return entries, list, nil
}

// A parser reads tokens of JSON that is known to be valid.
type parser struct{ *json.Decoder }

func (p parser) next() json.Token {
	t, err := p.Token()
	if err != nil {
		// A text that json.Valid passed, of which the caller reads no more
		// than it holds.
		panic("model: token of valid JSON: " + err.Error())
	}
	return t
}

// metadata reads an object of strings and returns the layer list in it, or "".
func (p parser) metadata() (list string, err error) {
	if p.next() != json.Delim('{') {
		return "", errors.New("not an object")
	}
	seen := false
	for p.More() {
		key := p.next().(string)
		value, ok := p.next().(string)
		if !ok {
			return "", fmt.Errorf("the value of %s is not a string", formats.Quote(key))
		}
		if key == listKey {
			if seen {
				return "", fmt.Errorf("two keys %s", listKey)
			}
			seen, list = true, value
		}
	}
	p.next() // }
	return list, nil
}

func (p parser) entry(name string) (entry, error) {
	e := entry{name: name}
	if p.next() != json.Delim('{') {
		return e, errors.New("not an object")
	}
	var offsets []uint64
	seen := make(map[string]bool, 3)
	for p.More() {
		key := p.next().(string)
		if seen[key] {
			return e, fmt.Errorf("two keys %s", formats.Quote(key))
		}
		seen[key] = true
		var err error
		switch key {
		case "dtype":
			dtype, ok := p.next().(string)
			if !ok {
				return e, errors.New("dtype is not a string")
			}
			e.dtype = dtype
		case "shape":
			e.shape, err = p.numbers(formats.MaxRank)
		case "data_offsets":
			offsets, err = p.numbers(2)
		default:
			return e, fmt.Errorf("key %s, want dtype, shape and data_offsets", formats.Quote(key))
		}
		if err != nil {
			return e, fmt.Errorf("%s: %w", key, err)
		}
	}
	p.next() // }
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return e, fmt.Errorf("no %s", key)
		}
	}
	size, ok := dtypeSize[e.dtype]
	if n, whole := counterSize[e.dtype]; whole && (isCounter(name) || single(e.shape)) {
		size, ok, e.counts = n, true, true
	}
	if !ok {
		return e, fmt.Errorf("dtype %s, want F64, F32, F16 or BF16", formats.Quote(e.dtype))
	}
	if len(offsets) != 2 {
		return e, fmt.Errorf("data_offsets: %d numbers, want 2", len(offsets))
	}
	e.begin, e.end = offsets[0], offsets[1]
	if e.begin > e.end {
		return e, fmt.Errorf("data_offsets %d are reversed, want the start first", offsets)
	}
	for i, d := range e.shape {
		hi, lo := bits.Mul64(size, d)
		if d == 0 {
			return e, fmt.Errorf("shape %d: dimension %d is 0, want at least 1", e.shape, i)
		}
		if hi != 0 {
			return e, fmt.Errorf("shape %d overflows 64 bits", e.shape)
		}
		size = lo
	}
	if e.end-e.begin != size {
		return e, fmt.Errorf("data_offsets %d: %d bytes, want %d, shape %d of %s",
			offsets, e.end-e.begin, size, e.shape, e.dtype)
	}
	return e, nil
}

// single reports whether a tensor of the shape is one number.
func single(shape []uint64) bool {
	return !slices.ContainsFunc(shape, func(d uint64) bool { return d != 1 })
}

// numbers reads an array of at most most whole numbers.
func (p parser) numbers(most int) ([]uint64, error) {
	if p.next() != json.Delim('[') {
		return nil, errors.New("not an array")
	}
	var all []uint64
	for p.More() {
		if len(all) == most {
			return nil, fmt.Errorf("more than %d numbers", most)
		}
		number, ok := p.next().(json.Number)
		if !ok {
			return nil, errors.New("not an array of numbers")
		}
		v, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s, want a whole number from 0 to 2⁶⁴-1", formats.Quote(number.String()))
		}
		all = append(all, v)
	}
	p.next() // ]
	return all, nil
}

// checkLayout sorts the entries by their place in the data and returns an
// error unless they cover its size bytes exactly.
func checkLayout(entries []entry, size uint64) error {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.begin, b.begin) })
	at, before := uint64(0), ""
	for _, e := range entries {
		if e.end > size {
			return fmt.Errorf("tensor %s: data_offsets [%d %d], want at most %d, the bytes of data in the file",
				formats.Quote(e.name), e.begin, e.end, size)
		}
		if e.begin < at {
			return fmt.Errorf("tensor %s: data_offsets [%d %d] overlap tensor %s, want them from %d",
				formats.Quote(e.name), e.begin, e.end, formats.Quote(before), at)
		}
		if e.begin > at {
			return fmt.Errorf("tensor %s: data_offsets [%d %d] leave a hole, want them from %d",
				formats.Quote(e.name), e.begin, e.end, at)
		}
		at, before = e.end, e.name
	}
	if at != size {
		return fmt.Errorf("%d bytes of data, want %d: some after the last tensor, %s, belong to none",
			size, at, formats.Quote(before))
	}
	// All bytes are there, so that a product that fits the file is an int; but
	// the widest number we make of two bytes takes eight.
	if size > math.MaxInt/4 {
		return fmt.Errorf("%d bytes of data, want at most %d on this machine", size, math.MaxInt/4)
	}
	return nil
}

// weightName and biasName return what PyTorch calls the tensors of a layer.
func weightName(layer string) string { return tensorName(layer, "weight") }
func biasName(layer string) string   { return tensorName(layer, "bias") }

// tensorName takes the name "" for a layer that was saved alone, without a
// module around it.
func tensorName(layer, part string) string {
	if layer == "" {
		return part
	}
	return layer + "." + part
}

// readTensors reads the data of the entries, which lie one after another.
func readTensors[T float32 | float64](r io.Reader, entries []entry) (map[string]*tensor.Dense, error) {
	tensors := make(map[string]*tensor.Dense, len(entries))
	if len(entries) == 0 {
		return tensors, nil
	}
	largest := slices.MaxFunc(entries, func(a, b entry) int { return cmp.Compare(a.end-a.begin, b.end-b.begin) })
	// In pieces that stay in the cache; a multiple of every type's size.
	buf := make([]byte, min(largest.end-largest.begin, 64<<10))
	for _, e := range entries {
		if e.counts {
			if err := skip(r, int64(e.end-e.begin)); err != nil {
				return nil, fmt.Errorf("tensor %s: %w", formats.Quote(e.name), err)
			}
			continue
		}
		size := dtypeSize[e.dtype]
		data := make([]T, (e.end-e.begin)/size)
		asTheyLie := formats.LittleEndian && uint64(unsafe.Sizeof(T(0))) == size
		for done := 0; done < len(data); {
			to := data[done:min(len(data), done+len(buf)/int(size))]
			piece := buf[:len(to)*int(size)]
			if asTheyLie {
				piece = formats.Bytes(to)
			}
			if err := formats.Read(r, piece); err != nil {
				return nil, fmt.Errorf("tensor %s: %w", formats.Quote(e.name), err)
			}
			if !asTheyLie {
				convert(to, piece, e.dtype)
			}
			if i := formats.NotFinite(to); i >= 0 {
				return nil, fmt.Errorf("tensor %s: %w", formats.Quote(e.name), notFinite(done+i, float64(to[i])))
			}
			done += len(to)
		}
		shape := make([]int, len(e.shape))
		for i, d := range e.shape {
			shape[i] = int(d)
		}
		tensors[e.name] = formats.Dense(data, shape...)
	}
	return tensors, nil
}

// convert widens the numbers in src, len(dst) of them, little-endian, to dst. T must hold every
// number of the dtype, one of dtypeSize.
func convert[T float32 | float64](dst []T, src []byte, dtype string) {
	switch dtype {
	case "F64":
		for i := range dst {
			dst[i] = T(math.Float64frombits(binary.LittleEndian.Uint64(src)))
			src = src[8:]
		}
	case "F32":
		for i := range dst {
			dst[i] = T(math.Float32frombits(binary.LittleEndian.Uint32(src)))
			src = src[4:]
		}
	case "F16":
		formats.FromHalves(dst, src)
	case "BF16":
		formats.FromBfloats(dst, src)
	}
}

// Dtype returns the dtype with which Encode keeps every bit: "float64" if a tensor of m has numbers
// of 64 bits, else "float32".
func (m *Model) Dtype() string {
	for _, l := range m.Layers {
		for _, p := range l.Params() {
			if p.Tensor != nil && p.Tensor.Dtype() == tensor.Float64 {
				return "float64"
			}
		}
	}
	return "float32"
}

// Encode returns m as the bytes of a safetensors file that Decode reads: NAME.weight and NAME.bias
// of each layer that has them, in order, the data from a multiple of 8 bytes on. PyTorch reads the
// tensors so. More than one layer are listed in the file's metadata, as README.md describes it,
// since names tell no activation. The same model and dtype give the same bytes.
//
// dtype is "float64", "float32" or "float16"; numbers are rounded to the nearest one, the even one
// of two. It returns an error if a number becomes infinite or if m is not valid.
func (m *Model) Encode(dtype string) ([]byte, error) {
	data, err := m.encode(dtype)
	if err != nil {
		return nil, fmt.Errorf("model: %s%w", prefix(m.Source.Name), err)
	}
	return data, nil
}

func (m *Model) encode(dtype string) ([]byte, error) {
	short, ok := map[string]string{"float64": "F64", "float32": "F32", "float16": "F16"}[dtype]
	if !ok {
		return nil, fmt.Errorf("dtype %s, want float64, float32 or float16", formats.Quote(dtype))
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	var tensors []Param
	for _, layer := range m.Layers {
		tensors = append(tensors, layer.Params()...)
	}
	header := []byte("{")
	if len(m.Layers) > 1 || !m.IsMLP() { // one Linear has no activation
		list, err := m.layerList()
		if err != nil {
			return nil, err
		}
		quoted, err := json.Marshal(map[string]string{listKey: string(list)})
		if err != nil {
			return nil, err
		}
		header = fmt.Appendf(header, `"__metadata__":%s`, quoted)
	}
	at := 0
	for _, t := range tensors {
		if len(header) > 1 {
			header = append(header, ',')
		}
		if !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("tensor %s: want a name in UTF-8", formats.Quote(t.Name))
		}
		quoted, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		end := at + t.Tensor.Shape().TotalSize()*int(dtypeSize[short])
		dims := strings.ReplaceAll(strings.Trim(fmt.Sprint([]int(t.Tensor.Shape())), "[]"), " ", ",")
		header = fmt.Appendf(header, `%s:{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}`, quoted, short, dims, at, end)
		at = end
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, want at most %d", len(header), maxHeader)
	}

	out := make([]byte, 0, 8+len(header)+at)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(header)))
	out = append(out, header...)
	for _, t := range tensors {
		var bad int
		var value float64
		switch data := t.Tensor.Data().(type) {
		case []float32:
			if out, bad = appendNumbers(out, data, short); bad >= 0 {
				value = float64(data[bad])
			}
		case []float64:
			if out, bad = appendNumbers(out, data, short); bad >= 0 {
				value = data[bad]
			}
		default:
			return nil, fmt.Errorf("tensor %s: type %v, want float32 or float64", formats.Quote(t.Name), t.Tensor.Dtype())
		}
		if bad >= 0 {
			return nil, fmt.Errorf("tensor %s: element %d is %g, too large for %s", formats.Quote(t.Name), bad, value, dtype)
		}
	}
	return out, nil
}

// appendNumbers returns out with data behind it, little-endian, and the index
// of the first number that does not fit the dtype, or -1.
func appendNumbers[T float32 | float64](out []byte, data []T, dtype string) ([]byte, int) {
	for i, v := range data {
		switch dtype {
		case "F64":
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(float64(v)))
		case "F32":
			single := float32(v)
			if single-single != 0 {
				return out, i
			}
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(single))
		case "F16":
			half, ok := formats.ToHalf(float64(v))
			if !ok {
				return out, i
			}
			out = binary.LittleEndian.AppendUint16(out, half)
		}
	}
	return out, -1
}
