// Package npy reads arrays in NumPy's format, and allocates no more than the file backs.
//
// A parser of our own: npyio 0.6.0 allocates what the header's length claims, panics on a header
// whose keys come in another order, and leaves Fortran order to its caller.
//
// Format: numpy.org/neps/nep-0001-npy-format.html, versions 1.0 to 3.0.
package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Magic is what NPY files start with.
const Magic = "\x93NUMPY"

// maxHeader is the longest header that is read, that of NumPy's own
// max_header_size.
const maxHeader = 10000

// An Array is the content of an NPY file, its elements as stored.
type Array struct {
	Kind    byte // 'u', 'i', 'f' and so on
	Width   int  // of an element, in bytes
	Order   binary.ByteOrder
	Fortran bool // the first index runs fastest
	Shape   []int
	Descr   string // the type as it stands: "<f4"
	Data    []byte
}

// Little files may shrink to anything; what claims to have shrunk to less than a hundredth must
// stay below bombSize.
const (
	maxRatio = 100
	bombSize = 64 << 20
)

// Read reads an NPY file to the end of r. stored is how many bytes back it: its size, or the size
// that it is compressed to.
func Read(r io.Reader, stored int64) (*Array, error) {
	h, n, err := Begin(r, stored)
	if err != nil {
		return nil, err
	}
	// At first as much memory as there is stored, and what is more comes as the bytes do.
	b := bytes.NewBuffer(make([]byte, 0, max(0, min(int64(n), stored))+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(r, int64(n)+1)); err != nil {
		return nil, err
	}
	h.Data = b.Bytes()
	if got := len(h.Data); got != n {
		return nil, h.WrongLength(got, n)
	}
	return h, nil
}

// Begin reads the header of an NPY file, for which see Read, and returns the array without its Data
// and of how many bytes these are. They follow in r, to its end, if the file is whole.
func Begin(r io.Reader, stored int64) (*Array, int, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, 0, err
	}
	n := uint64(h.Width)
	for i, d := range h.Shape {
		if d == 0 {
			return nil, 0, fmt.Errorf("dimension %d of %d is 0, want at least 1", i, len(h.Shape))
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt {
			return nil, 0, fmt.Errorf("dimensions %v of %d bytes overflow, want a product of at most %d", h.Shape, h.Width, math.MaxInt)
		}
		n = lo
	}
	if most := max(bombSize, uint64(stored)*maxRatio); n > most {
		return nil, 0, fmt.Errorf("declares %d bytes for %v, want at most %d of %d stored ones", n, h.Shape, most, stored)
	}
	return &h, int(n), nil
}

// WrongLength is the error for a file with got bytes behind its header, or more, of the n that a
// needs.
func (a *Array) WrongLength(got, n int) error {
	what := "truncated"
	if got > n {
		what = "oversized, at least"
	}
	return fmt.Errorf("%s: %d bytes after the header, want %d for %v of %s", what, got, n, a.Shape, a.Descr)
}

func readHeader(r io.Reader) (h Array, err error) {
	start := make([]byte, 12)
	n, err := io.ReadFull(r, start[:10])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return h, err
	}
	if n < 10 || string(start[:6]) != Magic {
		if n == 10 || !bytes.HasPrefix([]byte(Magic), start[:min(n, 6)]) {
			return h, fmt.Errorf("starts with %q, want %q of an NPY file", start[:min(n, 6)], Magic)
		}
		return h, fmt.Errorf("truncated: header of %d bytes, want at least 10", n)
	}
	length := int64(binary.LittleEndian.Uint16(start[8:]))
	switch major := start[6]; major {
	case 1:
	case 2, 3:
		if err := readHeaderBytes(r, start[10:12]); err != nil {
			return h, err
		}
		length = int64(binary.LittleEndian.Uint32(start[8:]))
	default:
		return h, fmt.Errorf("NPY version %d.%d, want 1.0 to 3.0", major, start[7])
	}
	if length > maxHeader {
		return h, fmt.Errorf("header of %d bytes, want at most %d", length, maxHeader)
	}
	text := make([]byte, length)
	if err := readHeaderBytes(r, text); err != nil {
		return h, err
	}
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

func (p *literal) header(h *Array) error {
	if !p.take("{") {
		return errors.New("want a dict")
	}
	seen := map[string]bool{}
	for !p.take("}") {
		key, err := p.text()
		if err != nil {
			return err
		}
		if key != "descr" && key != "fortran_order" && key != "shape" {
			return fmt.Errorf("key %.20q, want only descr, fortran_order and shape", key)
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
			if h.Fortran = p.take("True"); !h.Fortran && !p.take("False") {
				err = fmt.Errorf("%.20q, want True or False", p.rest)
			}
		case "shape":
			err = p.shape(h)
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

func (p *literal) descr(h *Array) error {
	if p.take("[") {
		return errors.New("an array of records, want one of numbers: save its fields one by one")
	}
	s, err := p.text()
	if err != nil {
		return err
	}
	h.Descr = s
	if len(s) < 3 || !strings.Contains("<>|=", s[:1]) {
		return fmt.Errorf("%q, want one as in '<f4'", s)
	}
	h.Order = binary.LittleEndian
	if s[0] == '>' {
		h.Order = binary.BigEndian
	}
	h.Kind = s[1]
	width, err := strconv.ParseUint(s[2:], 10, 8)
	// a text's width counts letters
	if err != nil || width == 0 || !strings.Contains("biufc", s[1:2]) {
		return fmt.Errorf("%q, want numbers, as in '<f4'", s)
	}
	h.Width = int(width)
	return nil
}

func (p *literal) shape(h *Array) error {
	if !p.take("(") {
		return fmt.Errorf("%.20q, want a tuple", p.rest)
	}
	for !p.take(")") {
		p.take("")
		digits := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "0123456789"))]
		d, err := strconv.ParseInt(digits, 10, strconv.IntSize)
		if err != nil {
			return fmt.Errorf("dimension %d is %.20q, want an integer up to %d", len(h.Shape), p.rest, math.MaxInt)
		}
		h.Shape = append(h.Shape, int(d))
		p.rest = strings.TrimPrefix(p.rest[len(digits):], "L") // as Python 2 wrote it
		if !p.take(",") && !strings.HasPrefix(p.rest, ")") {
			return fmt.Errorf("%.20q after dimension %d, want a comma", p.rest, len(h.Shape)-1)
		}
	}
	return nil
}
