package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A small reader of Python's pickles, as far as NumPy's arrays in dicts and lists need it. Nothing
// is run: of the functions that a pickle may name those below have a meaning here, and all others
// are an error. Values refer to the file's bytes, so that memory grows with the file only.
//
// Formats: docs.python.org/3/library/pickletools.html, protocols 0 to 5, and what
// ndarray.__reduce__ of NumPy 1 and 2 and dtype.__reduce__ write.

type (
	pickleMark struct{}
	pickleNone struct{}
	// pickleGlobal is a name in a module: "numpy.dtype".
	pickleGlobal string
	pickleTuple  []any
	pickleList   struct{ items []any }
	pickleDict   struct {
		keys, values []any
	}
	pickleDtype struct{ descr, order string }
	pickleArray struct {
		shape   []int
		descr   string // "u1"
		fortran bool
		data    []byte
	}
	// pickleOther is a value that no array or list of numbers needs.
	pickleOther string
)

// get returns the value of a key, which Python 2 wrote as bytes.
func (d *pickleDict) get(key string) any {
	for i, k := range d.keys {
		switch k := k.(type) {
		case string:
			if k == key {
				return d.values[i]
			}
		case []byte:
			if string(k) == key {
				return d.values[i]
			}
		}
	}
	return nil
}

// pickleName says what v is.
func pickleName(v any) string {
	switch v := v.(type) {
	case nil:
		return "missing"
	case pickleNone:
		return "None"
	case bool, float64, int64:
		return fmt.Sprint(v)
	case string, []byte:
		return fmt.Sprintf("%.20q", v)
	case pickleTuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *pickleList:
		return fmt.Sprintf("a list of %d", len(v.items))
	case *pickleDict:
		return fmt.Sprintf("a dict of %d", len(v.keys))
	case *pickleArray:
		return fmt.Sprintf("an array %v of %q", v.shape, v.descr)
	case pickleGlobal:
		return fmt.Sprintf("%.40q", string(v))
	case pickleOther:
		return string(v)
	}
	return fmt.Sprintf("a %T", v)
}

// maxPickleRank keeps shapes short: an array of many dimensions could be named again and again.
const maxPickleRank = 8

// A pickler is the machine that a pickle is written for: a stack and a memo.
type pickler struct {
	rest  []byte
	stack []any
	memo  map[uint32]any
	// decoded counts bytes that no longer refer to the file's. A short pickle could decode one text
	// again and again.
	decoded, most int
}

// readPickle returns the value of a pickle.
func readPickle(data []byte) (any, error) {
	p := &pickler{rest: data, memo: map[uint32]any{}, most: len(data)}
	for {
		at := len(data) - len(p.rest)
		op, err := p.bytes(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			return p.pop()
		}
		if err := p.do(op[0]); err != nil {
			return nil, fmt.Errorf("byte %d: %w", at, err)
		}
	}
}

var errPickleEnds = errors.New("truncated: the pickle ends early")

func (p *pickler) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(p.rest)) {
		return nil, errPickleEnds
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b, nil
}

// number reads n bytes, little-endian.
func (p *pickler) number(n int) (uint64, error) {
	b, err := p.bytes(uint64(n))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

// counted reads a length of n bytes, and then as many bytes.
func (p *pickler) counted(n int) ([]byte, error) {
	length, err := p.number(n)
	if err != nil {
		return nil, err
	}
	return p.bytes(length)
}

func (p *pickler) line() (string, error) {
	end := bytes.IndexByte(p.rest, '\n')
	if end < 0 {
		return "", errPickleEnds
	}
	line := string(p.rest[:end])
	p.rest = p.rest[end+1:]
	return line, nil
}

func (p *pickler) push(v any) error {
	p.stack = append(p.stack, v)
	return nil
}

func (p *pickler) pop() (any, error) {
	n := len(p.stack)
	if n == 0 {
		return nil, errors.New("the stack is empty")
	}
	v := p.stack[n-1]
	p.stack = p.stack[:n-1]
	if _, mark := v.(pickleMark); mark {
		return nil, errors.New("a mark on the stack, want a value")
	}
	return v, nil
}

// toMark takes what lies above the last mark, and the mark.
func (p *pickler) toMark() ([]any, error) {
	for i := len(p.stack) - 1; i >= 0; i-- {
		if _, mark := p.stack[i].(pickleMark); mark {
			items := append([]any(nil), p.stack[i+1:]...)
			p.stack = p.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("no mark on the stack")
}

// A pickleOp is what one opcode does.
type pickleOp func(p *pickler) error

// pickleOps are the opcodes of protocols 0 to 5 that data needs, by byte.
var pickleOps = map[byte]pickleOp{
	0x80: skip(1), 0x95: skip(8), // PROTO, FRAME
	'(':  func(p *pickler) error { return p.push(pickleMark{}) },
	'N':  func(p *pickler) error { return p.push(pickleNone{}) },
	0x88: func(p *pickler) error { return p.push(true) },
	0x89: func(p *pickler) error { return p.push(false) },
	'K':  integer(1), 'M': integer(2),
	'J': func(p *pickler) error {
		v, err := p.number(4)
		return errors.Join(err, p.push(int64(int32(v))))
	},
	'I': decimal, 'L': decimal,
	0x8a: func(p *pickler) error { // LONG1
		b, err := p.counted(1)
		if err != nil || len(b) > 8 {
			return errors.Join(err, p.push(pickleOther("a long integer")))
		}
		var wide [8]byte
		if len(b) > 0 && b[len(b)-1] >= 0x80 {
			wide = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
		}
		copy(wide[:], b)
		return p.push(int64(binary.LittleEndian.Uint64(wide[:])))
	},
	'G': func(p *pickler) error { // BINFLOAT, big-endian
		b, err := p.bytes(8)
		if err != nil {
			return err
		}
		return p.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	},
	'F': func(p *pickler) error {
		s, err := p.line()
		v, _ := strconv.ParseFloat(s, 64)
		return errors.Join(err, p.push(v))
	},
	'T': raw(4), 'U': raw(1), 'B': raw(4), 'C': raw(1), 0x8e: raw(8), 0x96: raw(8),
	'X': text(4), 0x8c: text(1), 0x8d: text(8),
	'V': func(p *pickler) error {
		s, err := p.line()
		return errors.Join(err, p.push(pickleText(s)))
	},
	'S': func(p *pickler) error {
		s, err := p.line()
		return errors.Join(err, p.push(pickleString(s)))
	},
	']': func(p *pickler) error { return p.push(&pickleList{}) },
	'}': func(p *pickler) error { return p.push(&pickleDict{}) },
	')': func(p *pickler) error { return p.push(pickleTuple{}) },
	'l': func(p *pickler) error {
		items, err := p.toMark()
		return errors.Join(err, p.push(&pickleList{items}))
	},
	't': func(p *pickler) error {
		items, err := p.toMark()
		return errors.Join(err, p.push(pickleTuple(items)))
	},
	0x85: tuple(1), 0x86: tuple(2), 0x87: tuple(3),
	'd': func(p *pickler) error {
		items, err := p.toMark()
		d := &pickleDict{}
		return errors.Join(err, d.set(items), p.push(d))
	},
	'a': func(p *pickler) error { // APPEND
		v, err := p.pop()
		if err != nil {
			return err
		}
		return p.extend([]any{v})
	},
	'e': func(p *pickler) error { // APPENDS
		items, err := p.toMark()
		if err != nil {
			return err
		}
		return p.extend(items)
	},
	's': func(p *pickler) error { // SETITEM
		v, err := p.pop()
		k, err2 := p.pop()
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		return p.update([]any{k, v})
	},
	'u': func(p *pickler) error { // SETITEMS
		items, err := p.toMark()
		if err != nil {
			return err
		}
		return p.update(items)
	},
	'0': func(p *pickler) error { // POP
		if n := len(p.stack); n > 0 {
			p.stack = p.stack[:n-1]
			return nil
		}
		return errors.New("the stack is empty")
	},
	'1': func(p *pickler) error { _, err := p.toMark(); return err },
	'p': putLine, 'q': put(1), 'r': put(4),
	0x94: func(p *pickler) error { return p.remember(uint32(len(p.memo))) }, // MEMOIZE
	'g':  getLine, 'h': get(1), 'j': get(4),
	'c': func(p *pickler) error { // GLOBAL
		module, err := p.line()
		name, err2 := p.line()
		return errors.Join(err, err2, p.push(pickleGlobal(module+"."+name)))
	},
	0x93: func(p *pickler) error { // STACK_GLOBAL
		name, err := p.pop()
		module, err2 := p.pop()
		m, ok := module.(string)
		n, ok2 := name.(string)
		if !ok || !ok2 {
			return errors.Join(err, err2, errors.New("a name that is no text"))
		}
		return p.push(pickleGlobal(m + "." + n))
	},
	'R': reduce, 0x81: reduce, // REDUCE, NEWOBJ: both take a callable and a tuple
	'b': build,
}

func (p *pickler) do(op byte) error {
	f := pickleOps[op]
	if f == nil {
		return fmt.Errorf("opcode %#x (%q), which data does not need", op, op)
	}
	return f(p)
}

func skip(n uint64) pickleOp {
	return func(p *pickler) error { _, err := p.bytes(n); return err }
}

func integer(n int) pickleOp {
	return func(p *pickler) error {
		v, err := p.number(n)
		return errors.Join(err, p.push(int64(v)))
	}
}

// decimal reads INT and LONG, where 00 and 01 are booleans.
func decimal(p *pickler) error {
	s, err := p.line()
	if err != nil {
		return err
	}
	if s == "00" || s == "01" {
		return p.push(s == "01")
	}
	v, err := strconv.ParseInt(strings.TrimSuffix(s, "L"), 10, 64)
	if err != nil {
		return fmt.Errorf("integer %.20q, want one of 64 bits", s)
	}
	return p.push(v)
}

func raw(n int) pickleOp {
	return func(p *pickler) error {
		b, err := p.counted(n)
		return errors.Join(err, p.push(b))
	}
}

func text(n int) pickleOp {
	return func(p *pickler) error {
		b, err := p.counted(n)
		return errors.Join(err, p.push(string(b)))
	}
}

// pickleString is the bytes of a quoted string of protocol 0, without its escapes undone: no array
// that is written so is read.
func pickleString(s string) any {
	if n := len(s); n >= 2 && s[0] == s[n-1] && !strings.Contains(s, `\`) {
		return []byte(s[1 : n-1])
	}
	return pickleOther("a string with escapes")
}

// pickleText is a text of protocol 0. One with escapes is not read, as of strings.
func pickleText(s string) any {
	for _, b := range []byte(s) {
		if b == '\\' || b >= 0x80 {
			return pickleOther("a text with escapes")
		}
	}
	return s
}

func tuple(n int) pickleOp {
	return func(p *pickler) error {
		if len(p.stack) < n {
			return errors.New("the stack is empty")
		}
		at := len(p.stack) - n
		items := append(pickleTuple(nil), p.stack[at:]...)
		p.stack = p.stack[:at]
		return p.push(items)
	}
}

func (p *pickler) top() any {
	if n := len(p.stack); n > 0 {
		return p.stack[n-1]
	}
	return nil
}

func (p *pickler) extend(items []any) error {
	list, ok := p.top().(*pickleList)
	if !ok {
		return fmt.Errorf("items for %s, want a list", pickleName(p.top()))
	}
	list.items = append(list.items, items...)
	return nil
}

func (p *pickler) update(items []any) error {
	d, ok := p.top().(*pickleDict)
	if !ok {
		return fmt.Errorf("keys for %s, want a dict", pickleName(p.top()))
	}
	return d.set(items)
}

func (d *pickleDict) set(items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		d.keys, d.values = append(d.keys, items[i]), append(d.values, items[i+1])
	}
	return nil
}

func (p *pickler) remember(at uint32) error {
	v := p.top()
	if v == nil {
		return errors.New("the stack is empty")
	}
	p.memo[at] = v
	return nil
}

func (p *pickler) recall(at uint32) error {
	v, ok := p.memo[at]
	if !ok {
		return fmt.Errorf("memo %d, which is empty", at)
	}
	return p.push(v)
}

func put(n int) pickleOp {
	return func(p *pickler) error {
		at, err := p.number(n)
		if err != nil {
			return err
		}
		return p.remember(uint32(at))
	}
}

func get(n int) pickleOp {
	return func(p *pickler) error {
		at, err := p.number(n)
		if err != nil {
			return err
		}
		return p.recall(uint32(at))
	}
}

func (p *pickler) index() (uint32, error) {
	s, err := p.line()
	if err != nil {
		return 0, err
	}
	at, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("memo %.20q, want a number", s)
	}
	return uint32(at), nil
}

func putLine(p *pickler) error {
	at, err := p.index()
	if err != nil {
		return err
	}
	return p.remember(at)
}

func getLine(p *pickler) error {
	at, err := p.index()
	if err != nil {
		return err
	}
	return p.recall(at)
}

// pickleCalls are the functions that have a meaning here, by module and name.
var pickleCalls = map[string]func(p *pickler, args pickleTuple) (any, error){
	"numpy.core.multiarray._reconstruct":  func(*pickler, pickleTuple) (any, error) { return &pickleArray{}, nil },
	"numpy._core.multiarray._reconstruct": func(*pickler, pickleTuple) (any, error) { return &pickleArray{}, nil },
	"numpy.core.numeric._frombuffer":      fromBuffer,
	"numpy._core.numeric._frombuffer":     fromBuffer,
	"numpy.dtype": func(_ *pickler, args pickleTuple) (any, error) {
		if len(args) > 0 {
			switch d := args[0].(type) {
			case string:
				return &pickleDtype{descr: d}, nil
			case []byte:
				return &pickleDtype{descr: string(d)}, nil
			}
		}
		return nil, errors.New("a type of NumPy without a name")
	},
	// Python 3 writes bytes so for Python 2: as text of the same numbers.
	"_codecs.encode": func(p *pickler, args pickleTuple) (any, error) {
		if len(args) == 2 {
			s, ok := args[0].(string)
			if coding, _ := args[1].(string); ok && coding == "latin1" {
				if p.decoded += len(s); p.decoded > p.most {
					return nil, errors.New("the same text as bytes again and again")
				}
				b := make([]byte, 0, len(s))
				for _, r := range s {
					if r > 255 {
						return nil, errors.New("bytes as text with a letter above 255")
					}
					b = append(b, byte(r))
				}
				return b, nil
			}
		}
		return nil, errors.New("_codecs.encode of something else than latin1")
	},
	"__builtin__.bytes": func(*pickler, pickleTuple) (any, error) { return []byte{}, nil },
	"builtins.bytes":    func(*pickler, pickleTuple) (any, error) { return []byte{}, nil },
}

func reduce(p *pickler) error {
	a, err := p.pop()
	f, err2 := p.pop()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	args, ok := a.(pickleTuple)
	name, named := f.(pickleGlobal)
	if !ok || !named {
		return fmt.Errorf("a call of %s with %s", pickleName(f), pickleName(a))
	}
	call := pickleCalls[string(name)]
	if call == nil {
		return fmt.Errorf("it calls %.60q, and nothing of a pickle is run", string(name))
	}
	v, err := call(p, args)
	if err != nil {
		return err
	}
	return p.push(v)
}

// build fills a dtype or an array with its state.
func build(p *pickler) error {
	state, err := p.pop()
	if err != nil {
		return err
	}
	args, _ := state.(pickleTuple)
	switch v := p.top().(type) {
	case *pickleDtype: // (version, byte order, …)
		if len(args) > 1 {
			switch o := args[1].(type) {
			case string:
				v.order = o
			case []byte:
				v.order = string(o)
			}
		}
		return nil
	case *pickleArray: // (version, shape, dtype, is Fortran, data)
		if len(args) != 5 {
			return fmt.Errorf("an array with the state %s, want five parts", pickleName(state))
		}
		return v.fill(args[1], args[2], args[3], args[4])
	}
	return fmt.Errorf("a state for %s, want an array", pickleName(p.top()))
}

// fromBuffer is how protocol 5 writes arrays: data, dtype, shape, order.
func fromBuffer(_ *pickler, args pickleTuple) (any, error) {
	if len(args) != 4 {
		return nil, errors.New("an array without data, type, shape and order")
	}
	order, _ := args[3].(string)
	a := &pickleArray{}
	return a, a.fill(args[2], args[1], order == "F", args[0])
}

func (a *pickleArray) fill(shape, dtype, fortran, data any) error {
	dims, ok := shape.(pickleTuple)
	d, ok2 := dtype.(*pickleDtype)
	b, ok3 := data.([]byte)
	if !ok || !ok2 || !ok3 || len(dims) > maxPickleRank {
		return fmt.Errorf("an array of shape %s, type %s and data %s", pickleName(shape), pickleName(dtype), pickleName(data))
	}
	n := uint64(1)
	a.shape = nil
	for _, dim := range dims {
		v, ok := dim.(int64)
		if !ok || v < 0 || v > math.MaxInt32 {
			return fmt.Errorf("an array with a dimension of %s", pickleName(dim))
		}
		a.shape = append(a.shape, int(v))
		if n, ok = product([]uint64{n, uint64(v)}); !ok {
			return fmt.Errorf("dimensions %v overflow", a.shape)
		}
	}
	a.descr = d.descr
	if a.descr == "u1" && n != uint64(len(b)) {
		return fmt.Errorf("%d bytes of data, want %d for %v", len(b), n, a.shape)
	}
	a.fortran, _ = fortran.(bool)
	a.data = b
	return nil
}
