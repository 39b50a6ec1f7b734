package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"gorgonia.org/tensor"
)

// maxRank is the largest rank that one header byte can hold.
const maxRank = 255

// maxDeflate is the most bytes that one byte of deflate can stand for: a
// match of 258 bytes coded in two bits.
const maxDeflate = 1032

// Images shrink to a quarter or so, even sparse ones to a few hundredths. What claims to have
// shrunk more must stay below bombSize: it would be a gzip bomb, small to send and huge to open.
const (
	maxRatio = 100
	bombSize = 64 << 20
)

// ReadIDX returns the array of the IDX file with the bytes data: Uint8, with
// the file's shape, which must have the given rank (3 for images, 1 for
// labels). The file may be compressed by gzip, which its first bytes show. The
// result shares no memory with data.
//
// Anything but one whole array of unsigned bytes is an error that begins with
// "dataset: " and name. No more memory is taken than the file can back: a
// plain file must be exactly as long as its header says, and a compressed one
// is refused unread if it declares more than deflate can express or 100 times its
// size and 64 MiB, and is never decompressed past one byte more than it declares.
//
// Format: yann.lecun.com/exdb/mnist, "the IDX file format".
func ReadIDX(name string, data []byte, rank int) (*tensor.Dense, error) {
	t, err := readIDX(bytes.NewReader(data), int64(len(data)), [2]int{rank, rank})
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	return t, nil
}

// WriteIDX writes data as a plain IDX file of unsigned bytes with the given
// shape. It returns an error if data does not have that many elements, a
// dimension is not in [1, 2³²), or w fails.
func WriteIDX(w io.Writer, shape []int, data []byte) error {
	if len(shape) < 1 || len(shape) > maxRank {
		return fmt.Errorf("dataset: rank %d, want 1 to %d", len(shape), maxRank)
	}
	header := []byte{0, 0, ubyte, byte(len(shape))}
	dims := make([]uint64, len(shape))
	for i, d := range shape {
		if d < 1 || uint64(d) > math.MaxUint32 {
			return fmt.Errorf("dataset: dimension %d is %d, want 1 to %d", i, d, uint32(math.MaxUint32))
		}
		dims[i] = uint64(d)
		header = binary.BigEndian.AppendUint32(header, uint32(d))
	}
	if n, ok := product(dims); !ok || n != uint64(len(data)) {
		return fmt.Errorf("dataset: %d bytes, want %v", len(data), shape)
	}
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	return nil
}

// readIDX reads to the end of r, which holds size bytes as stored. The rank may be from ranks[0] to
// ranks[1].
func readIDX(r io.Reader, size int64, ranks [2]int) (*tensor.Dense, error) {
	if size == 0 {
		return nil, fmt.Errorf("empty, want an IDX file of rank %d", ranks[1])
	}
	stored := bufio.NewReaderSize(r, 64<<10)
	start, err := stored.Peek(2)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !bytes.Equal(start, []byte{0x1f, 0x8b}) {
		shape, n, err := readHeader(stored, ranks)
		if err != nil {
			return nil, err
		}
		head := int64(4 + 4*len(shape))
		if n != uint64(size-head) {
			what := "truncated"
			if n < uint64(size-head) {
				what = "oversized"
			}
			return nil, fmt.Errorf("%s: %d bytes after the header, want %d for %v", what, size-head, n, shape)
		}
		data, err := readBody(stored, shape, int(n), int(n))
		if err != nil {
			return nil, err
		}
		return dense(shape, data), nil
	}

	// Of several members, as pigz and cat make them, the reader makes one stream.
	z, err := gzip.NewReader(stored)
	if err == gzip.ErrHeader {
		return nil, err
	} else if err != nil {
		return nil, gzipError(err)
	}
	shape, n, err := readHeader(z, ranks)
	if err != nil {
		return nil, err
	}
	if err := backed(n, size, shape); err != nil {
		return nil, err
	}
	data, err := readBody(z, shape, int(n), atFirst(n, size))
	if err != nil {
		return nil, err
	}
	return dense(shape, data), nil
}

// backed returns an error if size bytes of deflate cannot hold the n bytes of the
// given shape, or if no real image file shrinks so much.
func backed(n uint64, size int64, shape []int) error {
	stored := uint64(size)
	if most := stored * maxDeflate; n > most {
		return fmt.Errorf("declares %d bytes for %v, want at most %d: %d compressed bytes can hold no more",
			n, shape, most, size)
	}
	if most := max(bombSize, stored*maxRatio); n > most {
		return fmt.Errorf("declares %d bytes for %v, want at most %d of %d compressed ones, as in a bomb: decompress it first if it is none",
			n, shape, most, size)
	}
	return nil
}

// atFirst returns for how many of n bytes, compressed to size, memory is taken
// before they are read. A real image file shrinks to about a quarter, and for it
// all memory is taken at once. A file that only claims to be large gets memory
// as its bytes come.
func atFirst(n uint64, size int64) int {
	return int(min(n, max(8*uint64(size), 4<<10)))
}

// ubyte is the type byte of unsigned bytes.
const ubyte = 0x08

var typeNames = map[byte]string{
	ubyte: "unsigned byte", 0x09: "signed byte", 0x0b: "short", 0x0c: "int", 0x0d: "float", 0x0e: "double",
}

// readHeader returns the shape of an IDX file and its product, which is
// positive and fits an int.
//
// Where several ranks will do, errors want that of images [N, H, W].
func readHeader(r io.Reader, ranks [2]int) (shape []int, n uint64, err error) {
	rank := ranks[0]
	if ranks[0] != ranks[1] {
		rank = 3
	}
	if rank < 1 || rank > maxRank {
		return nil, 0, fmt.Errorf("rank %d asked for, want 1 to %d", rank, maxRank)
	}
	header := make([]byte, 4, 4+4*maxRank)
	got, err := io.ReadFull(r, header)
	if got == 4 && header[2] == ubyte && int(header[3]) >= ranks[0] && int(header[3]) <= ranks[1] {
		rank = int(header[3])
	}
	header = header[:4+4*rank]
	if got == 4 {
		got, err = io.ReadFull(r, header[4:])
		got += 4
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, 0, gzipError(err)
	}
	// The magic is checked first. For a short file of another kind it says more
	// than the length does.
	magic := binary.BigEndian.Uint32(header)
	want := uint32(ubyte<<8 | rank)
	if got >= 4 && magic != want {
		switch named, known := typeNames[header[2]]; {
		case magic>>16 == 0 && known && header[2] != ubyte:
			return nil, 0, fmt.Errorf("magic %#x, want %#x: the type is %s, want %s", magic, want, named, typeNames[ubyte])
		case magic>>16 == 0 && known:
			return nil, 0, fmt.Errorf("magic %#x, want %#x: the rank is %d, want %d", magic, want, header[3], rank)
		}
		return nil, 0, fmt.Errorf("magic %#x, want %#x", magic, want)
	}
	if got < len(header) {
		return nil, 0, fmt.Errorf("truncated: header of %d bytes, want %d", got, len(header))
	}
	dims := make([]uint64, rank)
	for i := range dims {
		dims[i] = uint64(binary.BigEndian.Uint32(header[4+4*i:]))
		if dims[i] == 0 {
			return nil, 0, fmt.Errorf("dimension %d of %d is 0, want at least 1", i, rank)
		}
	}
	n, ok := product(dims)
	if !ok || n > math.MaxInt {
		return nil, 0, fmt.Errorf("dimensions %v overflow, want a product of at most %d", dims, math.MaxInt)
	}
	shape = make([]int, rank)
	for i, d := range dims {
		shape[i] = int(d)
	}
	return shape, n, nil
}

// product reports false if the product of dims does not fit 64 bits.
func product(dims []uint64) (uint64, bool) {
	n := uint64(1)
	for _, d := range dims {
		hi, lo := bits.Mul64(n, d)
		if hi != 0 {
			return 0, false
		}
		n = lo
	}
	return n, true
}

// readBody reads n bytes of the given shape and the end of r after them. It
// takes memory for first bytes and doubles it as they fill.
func readBody(r io.Reader, shape []int, n, first int) ([]byte, error) {
	data := make([]byte, first)
	got := 0
	for got < n {
		if got == len(data) {
			grown := make([]byte, min(2*uint64(got), uint64(n)))
			copy(grown, data)
			data = grown
		}
		// Not io.ReadFull: its error does not tell a stream that ended too
		// early from one that was cut.
		k, err := r.Read(data[got:])
		got += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, gzipError(err)
		}
	}
	if got < n {
		return nil, fmt.Errorf("truncated: %d bytes after the header, want %d for %v", got, n, shape)
	}
	// For gzip this read also compares the checksum.
	switch k, err := io.ReadFull(r, make([]byte, 1)); {
	case k == 1:
		return nil, fmt.Errorf("oversized: more than %d bytes after the header, want %d for %v", n, n, shape)
	case err != io.EOF:
		return nil, gzipError(err)
	}
	return data, nil
}

// gzipError says what a failed read means for the file.
func gzipError(err error) error {
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		return errors.New("truncated: the gzip stream ends early")
	case gzip.ErrHeader: // not at the beginning
		return errors.New("oversized: more bytes after the gzip stream, which are no gzip")
	}
	return err
}

// dense wraps data, which must have as many elements as shape says.
func dense[T uint8 | float32](shape []int, data []T) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}
