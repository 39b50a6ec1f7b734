package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"gorgonia.org/tensor"
)

// A parser of our own: npyio 0.6.0 allocates what the header's length claims,
// panics on a header whose keys come in another order, and leaves Fortran order
// to its caller.
//
// Format: numpy.org/neps/nep-0001-npy-format.html, versions 1.0 to 3.0.

const npyMagic = "\x93NUMPY"

// maxNPYHeader is the longest header that is read, that of NumPy's own
// max_header_size.
const maxNPYHeader = 10000

// An npyHeader is what an NPY file says of its array.
type npyHeader struct {
	kind    byte // 'u', 'i', 'f' and so on
	width   int  // of an element, in bytes
	order   binary.ByteOrder
	fortran bool
	shape   []int
	descr   string // as it stands
	start   int    // of the data, in bytes from the start of the file
}

// An array is the content of an NPY file, its elements as stored.
type array struct {
	npyHeader
	data []byte
}

// readNPY reads an NPY file to the end of r, which holds size bytes: those of
// the file, or, where compressed is true, what they are compressed to.
func readNPY(r io.Reader, size int64, compressed bool) (*array, error) {
	h, err := readNPYHeader(r)
	if err != nil {
		return nil, err
	}
	dims := []uint64{uint64(h.width)}
	for i, d := range h.shape {
		if d == 0 {
			return nil, fmt.Errorf("dimension %d of %d is 0, want at least 1", i, len(h.shape))
		}
		dims = append(dims, uint64(d))
	}
	n, ok := product(dims)
	if !ok || n > math.MaxInt {
		return nil, fmt.Errorf("dimensions %v of %d bytes overflow, want a product of at most %d", h.shape, h.width, math.MaxInt)
	}
	first := int(n)
	if compressed {
		if err := backed(n, size, h.shape); err != nil {
			return nil, err
		}
		first = atFirst(n, size)
	} else if left := uint64(size) - uint64(h.start); n != left {
		what := "truncated"
		if n < left {
			what = "oversized"
		}
		return nil, fmt.Errorf("%s: %d bytes after the header, want %d for %v of %s", what, left, n, h.shape, h.descr)
	}
	data, err := readBody(r, h.shape, int(n), first)
	if err != nil {
		return nil, err
	}
	return &array{h, data}, nil
}

func readNPYHeader(r io.Reader) (h npyHeader, err error) {
	start := make([]byte, 12)
	n, err := io.ReadFull(r, start[:10])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return h, err
	}
	if n < 10 || string(start[:6]) != npyMagic {
		if n == 10 || !bytes.HasPrefix([]byte(npyMagic), start[:min(n, 6)]) {
			return h, fmt.Errorf("starts with %q, want %q of an NPY file", start[:min(n, 6)], npyMagic)
		}
		return h, fmt.Errorf("truncated: header of %d bytes, want at least 10", n)
	}
	h.start = 10
	length := int64(binary.LittleEndian.Uint16(start[8:]))
	switch major := start[6]; major {
	case 1:
	case 2, 3:
		if err := readHeaderBytes(r, start[10:12]); err != nil {
			return h, err
		}
		h.start = 12
		length = int64(binary.LittleEndian.Uint32(start[8:]))
	default:
		return h, fmt.Errorf("NPY version %d.%d, want 1.0 to 3.0", major, start[7])
	}
	if length > maxNPYHeader {
		return h, fmt.Errorf("header of %d bytes, want at most %d", length, maxNPYHeader)
	}
	text := make([]byte, length)
	if err := readHeaderBytes(r, text); err != nil {
		return h, err
	}
	h.start += len(text)
	p := literal{rest: string(text)}
	if err := p.header(&h); err != nil {
		return h, fmt.Errorf("header %.60q: %w", strings.TrimSpace(string(text)), err)
	}
	return h, nil
}

func readHeaderBytes(r io.Reader, dst []byte) error {
	switch n, err := io.ReadFull(r, dst); err {
	case nil:
		return nil
	case io.EOF, io.ErrUnexpectedEOF:
		return fmt.Errorf("truncated: %d bytes of the header's last %d", n, len(dst))
	default:
		return err
	}
}

// A literal is Python source, as far as NumPy writes it into headers: a dict of
// strings, True, False and tuples of integers.
type literal struct{ rest string }

// take skips blanks and then reports whether token follows, which it passes.
func (p *literal) take(token string) (ok bool) {
	p.rest = strings.TrimLeft(p.rest, " \t\n")
	p.rest, ok = strings.CutPrefix(p.rest, token)
	return ok
}

func (p *literal) text() (string, error) {
	for _, quote := range []string{"'", `"`} {
		if p.take(quote) {
			if s, rest, ok := strings.Cut(p.rest, quote); ok && !strings.Contains(s, `\`) {
				p.rest = rest
				return s, nil
			}
		}
	}
	return "", fmt.Errorf("%.20q, want a string", p.rest)
}

func (p *literal) header(h *npyHeader) error {
	if !p.take("{") {
		return errors.New("want a dict")
	}
	seen := map[string]bool{}
	for !p.take("}") {
		key, err := p.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%s is there twice", key)
		}
		seen[key] = true
		if !p.take(":") {
			return fmt.Errorf("%.20q after %s, want a colon", p.rest, key)
		}
		switch key {
		case "descr":
			err = p.descr(h)
		case "fortran_order":
			if h.fortran = p.take("True"); !h.fortran && !p.take("False") {
				err = fmt.Errorf("%.20q, want True or False", p.rest)
			}
		case "shape":
			err = p.shape(h)
		default:
			err = errors.New("want only descr, fortran_order and shape")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return fmt.Errorf("%.20q after %s, want a comma", p.rest, key)
		}
	}
	if p.take(""); p.rest != "" {
		return fmt.Errorf("%.20q after the dict, want nothing", p.rest)
	}
	if len(seen) != 3 {
		return errors.New("want descr, fortran_order and shape")
	}
	return nil
}

func (p *literal) descr(h *npyHeader) error {
	if p.take("[") {
		return errors.New("an array of records, want one of numbers: save its fields one by one")
	}
	s, err := p.text()
	if err != nil {
		return err
	}
	h.descr = s
	if len(s) < 3 || !strings.Contains("<>|=", s[:1]) {
		return fmt.Errorf("%q, want one as in '<f4'", s)
	}
	h.order = binary.LittleEndian
	if s[0] == '>' {
		h.order = binary.BigEndian
	}
	h.kind = s[1]
	width, err := strconv.ParseUint(s[2:], 10, 8)
	if err != nil || width == 0 || !strings.Contains("biufc", s[1:2]) { // a text's width counts letters
		return fmt.Errorf("%q, want numbers, as in '<f4'", s)
	}
	h.width = int(width)
	return nil
}

func (p *literal) shape(h *npyHeader) error {
	if !p.take("(") {
		return fmt.Errorf("%.20q, want a tuple", p.rest)
	}
	for !p.take(")") {
		p.take("")
		digits := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "0123456789"))]
		d, err := strconv.ParseInt(digits, 10, strconv.IntSize)
		if err != nil {
			return fmt.Errorf("dimension %d is %.20q, want an integer up to %d", len(h.shape), p.rest, math.MaxInt)
		}
		h.shape = append(h.shape, int(d))
		p.rest = strings.TrimPrefix(p.rest[len(digits):], "L") // as Python 2 wrote it
		if !p.take(",") && !strings.HasPrefix(p.rest, ")") {
			return fmt.Errorf("%.20q after dimension %d, want a comma", p.rest, len(h.shape)-1)
		}
	}
	return nil
}

// images returns a as images: [N, H, W], or [N, C, H, W] where C > 1. See Read
// for what a may be.
func (a *array) images() (*tensor.Dense, error) {
	// Of the file's elements the one at index i lies at Σ i·strides.
	shape, strides := a.shape, make([]int, len(a.shape))
	step := 1
	for i := range shape {
		at := len(shape) - 1 - i
		if a.fortran {
			at = i
		}
		strides[at] = step
		step *= shape[at]
	}
	switch len(shape) {
	case 3:
	case 4:
		first, last := isChannels(shape[1]), isChannels(shape[3])
		if first == last {
			which := "neither dimension 1 nor 3 is"
			if first {
				which = "both dimensions 1 and 3 are"
			}
			return nil, fmt.Errorf("images are %v, and %s 1, 3 or 4, want the channels told by one that is: save images of one channel as [N, H, W]",
				shape, which)
		}
		if last {
			shape = []int{shape[0], shape[3], shape[1], shape[2]}
			strides = []int{strides[0], strides[3], strides[1], strides[2]}
		}
		if shape[1] == 1 {
			shape = []int{shape[0], shape[2], shape[3]}
			strides = []int{strides[0], strides[2], strides[3]}
		}
	default:
		return nil, fmt.Errorf("images are %v, want [N, H, W], [N, C, H, W] or [N, H, W, C]", shape)
	}
	switch a.descr[1:] {
	case "u1":
		return dense(shape, gather(a.data, shape, strides)), nil
	case "f4":
		pixels := make([]float32, len(a.data)/4)
		for i := range pixels {
			pixels[i] = math.Float32frombits(a.order.Uint32(a.data[4*i:]))
		}
		return dense(shape, gather(pixels, shape, strides)), nil
	case "f8":
		pixels := make([]float32, len(a.data)/8)
		for i := range pixels {
			v := math.Float64frombits(a.order.Uint64(a.data[8*i:]))
			pixels[i] = float32(v)
			if math.IsInf(float64(pixels[i]), 0) && !math.IsInf(v, 0) {
				return nil, fmt.Errorf("element %d is %v, want one that fits float32", i, v)
			}
		}
		return dense(shape, gather(pixels, shape, strides)), nil
	}
	return nil, fmt.Errorf("images of %s, want uint8, float32 or float64: in NumPy, save images.astype(numpy.float32)", a.descr)
}

func isChannels(d int) bool { return d == 1 || d == 3 || d == 4 }

// gather returns the elements of src, at Σ i·strides for each index i of shape,
// in row-major order. It returns src itself if that is how they lie.
func gather[T any](src []T, shape, strides []int) []T {
	inOrder, step := true, 1
	for i := len(shape) - 1; i >= 0; i-- {
		inOrder = inOrder && (strides[i] == step || shape[i] == 1)
		step *= shape[i]
	}
	if inOrder {
		return src
	}
	dst := make([]T, 0, len(src))
	last := len(shape) - 1
	index := make([]int, last)
	for len(dst) < len(src) {
		from := 0
		for i, at := range index {
			from += at * strides[i]
		}
		for range shape[last] {
			dst = append(dst, src[from])
			from += strides[last]
		}
		for i := last - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return dst
}

// labels returns a, integers of shape [N] or [N, 1], as labels.
func (a *array) labels() ([]int32, error) {
	if len(a.shape) != 1 && (len(a.shape) != 2 || a.shape[1] != 1) {
		hint := ""
		if len(a.shape) == 2 {
			hint = ": for one row of scores a label, save labels.argmax(1)"
		}
		return nil, fmt.Errorf("labels are %v, want [N] or [N, 1]%s", a.shape, hint)
	}
	if (a.kind != 'i' && a.kind != 'u') || (a.width != 1 && a.width != 2 && a.width != 4 && a.width != 8) {
		return nil, fmt.Errorf("labels of %s, want integers: in NumPy, save labels.astype(numpy.int64)", a.descr)
	}
	labels := make([]int32, a.shape[0])
	for i := range labels {
		at := a.data[i*a.width : (i+1)*a.width]
		var u uint64
		switch a.width {
		case 1:
			u = uint64(at[0])
		case 2:
			u = uint64(a.order.Uint16(at))
		case 4:
			u = uint64(a.order.Uint32(at))
		case 8:
			u = a.order.Uint64(at)
		}
		if a.kind == 'i' { // extend the sign
			shift := 64 - 8*a.width
			v := int64(u<<shift) >> shift
			if v < math.MinInt32 || v > math.MaxInt32 {
				return nil, fmt.Errorf("label %d is %d, want one that fits int32", i, v)
			}
			labels[i] = int32(v)
			continue
		}
		if u > math.MaxInt32 {
			return nil, fmt.Errorf("label %d is %d, want one that fits int32", i, u)
		}
		labels[i] = int32(u)
	}
	return labels, nil
}
