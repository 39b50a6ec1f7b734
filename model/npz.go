package model

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unsafe"

	"advsweep/internal/filekind"
	"advsweep/internal/npy"
	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// npz reads an NPZ file: a zip archive of arrays NAME.npy. It is hashed beside, as a whole: arrays
// are not read in the order of the file.
func (d *decoder) npz() (m *Model, err error) {
	hashed := make(chan error, 1)
	go func() {
		_, err := io.Copy(d.sum, io.NewSectionReader(d.r, 0, d.size))
		hashed <- err
	}()
	defer func() {
		if err1 := <-hashed; err == nil && err1 != nil {
			m, err = nil, err1
		}
	}()
	return d.archive()
}

func (d *decoder) archive() (*Model, error) {
	z, err := zip.NewReader(d.r, d.size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, errors.New("not a zip archive, want an NPZ file")
	} else if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // nothing is unpacked
		return nil, err
	}
	if !slices.ContainsFunc(z.File, func(f *zip.File) bool { return strings.HasSuffix(f.Name, ".npy") }) {
		if k, ok := filekind.Of(d.r, d.size); ok && k.Model != "" {
			return nil, notModel(k)
		}
	}
	var all []packed
	seen := make(map[string]bool)
	t := weights{tensors: make(map[string]*tensor.Dense)}
	left := uint64(d.size) // of the archive, which entries may not share
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			return nil, fmt.Errorf("%s in the archive, want names that end in .npy", formats.Quote(f.Name))
		}
		if seen[name] {
			return nil, fmt.Errorf("tensor %s: two of this name", formats.Quote(name))
		}
		if f.CompressedSize64 > left {
			return nil, fmt.Errorf("tensor %s: %d bytes, want at most %d, what is left of the archive", formats.Quote(name), f.CompressedSize64, left)
		}
		left -= f.CompressedSize64
		seen[name] = true
		p := packed{File: f}
		if p.entry, err = entryOf(name, f); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", formats.Quote(name), err)
		}
		all, t.entries = append(all, p), append(t.entries, p.entry)
		t.double = t.double || !p.counts && strings.HasSuffix(p.dtype, "f8")
	}
	if len(all) == 0 {
		return nil, errors.New("no arrays in the archive")
	}
	for _, p := range all {
		var read *tensor.Dense
		switch {
		case p.counts:
			err = p.pass()
		case t.double:
			read, err = unpack[float64](p)
		default:
			read, err = unpack[float32](p)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", formats.Quote(p.name), err)
		}
		if !p.counts {
			t.tensors[p.name] = read
		}
	}
	return d.build(t)
}

// A packed is an array of an archive that is not read yet.
type packed struct {
	*zip.File
	entry
}

// entryOf returns what the header of an array says, or an error for an array that is of no use.
func entryOf(name string, f *zip.File) (entry, error) {
	r, a, _, err := begin(f)
	if err != nil {
		return entry{}, err
	}
	defer r.Close()
	e := entry{name: name, dtype: a.Descr}
	for _, s := range a.Shape {
		e.shape = append(e.shape, uint64(s))
	}
	e.counts = (a.Kind == 'i' || a.Kind == 'u' || a.Kind == 'b') && (isCounter(name) || single(e.shape))
	switch {
	case e.counts:
	case a.Kind != 'f' || a.Width != 2 && a.Width != 4 && a.Width != 8:
		return e, fmt.Errorf("dtype %s, want float16, float32 or float64", formats.Quote(a.Descr))
	case len(a.Shape) > formats.MaxRank:
		return e, fmt.Errorf("rank %d, want at most %d", len(a.Shape), formats.MaxRank)
	}
	return e, nil
}

// begin returns what an array's n bytes come from.
func begin(f *zip.File) (r io.ReadCloser, a *npy.Array, n int, err error) {
	if r, err = f.Open(); err != nil {
		return nil, nil, 0, err
	}
	if a, n, err = npy.Begin(r, int64(f.CompressedSize64)); err != nil {
		r.Close()
	}
	return r, a, n, err
}

// pass reads an array that nothing wants, which must be whole all the same.
func (p packed) pass() error {
	r, a, n, err := begin(p.File)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.CopyN(io.Discard, r, int64(n)+1)
	if err == io.EOF && int(got) == n {
		return nil
	}
	if err == nil || err == io.EOF {
		return a.WrongLength(int(got), n)
	}
	return err
}

// unpack reads an array of floats. T must hold its numbers.
func unpack[T float32 | float64](p packed) (*tensor.Dense, error) {
	r, a, n, err := begin(p.File)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if a.Descr != p.dtype {
		return nil, fmt.Errorf("dtype %s, and %s when it was read before: the file changed", formats.Quote(a.Descr), formats.Quote(p.dtype))
	}
	count := n / a.Width
	// At first room for what is stored and a quarter more, as little is gained by packing weights.
	// Room for what is more comes as the numbers do, since n is but a claim.
	data := make([]T, 0, min(uint64(count), p.CompressedSize64/uint64(a.Width)*5/4+npzPiece))
	asTheyLie := formats.LittleEndian && a.Order == binary.LittleEndian && int(unsafe.Sizeof(T(0))) == a.Width
	buf := make([]byte, min(n, npzPiece*a.Width))
	for len(data) < count {
		at := len(data)
		data = slices.Grow(data, min(npzPiece, count-at))[:at+min(npzPiece, count-at)]
		piece := buf[:(len(data)-at)*a.Width]
		if asTheyLie {
			piece = formats.Bytes(data[at:])
		}
		if got, err := io.ReadFull(r, piece); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, a.WrongLength(at*a.Width+got, n)
		} else if err != nil {
			return nil, err
		}
		if !asTheyLie {
			widen(data[at:], piece, a)
		}
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err == nil {
		return nil, a.WrongLength(n+1, n)
	} else if err != io.EOF { // such as a sum that is not that of the archive
		return nil, err
	}
	if a.Fortran && len(a.Shape) > 1 {
		data = rowMajor(data, a.Shape)
	}
	if i := formats.NotFinite(data); i >= 0 {
		return nil, notFinite(i, float64(data[i]))
	}
	if len(a.Shape) == 0 { // one number
		return formats.Dense(data, 1), nil
	}
	return formats.Dense(data, a.Shape...), nil
}

// npzPiece is how many numbers are read at a time.
const npzPiece = 8 << 10

// rowMajor returns numbers of which the first index runs fastest, in row-major order.
func rowMajor[T float32 | float64](from []T, shape []int) []T {
	data := make([]T, len(from))
	// The element at an index lies at Σ index·steps.
	steps, step := make([]int, len(shape)), 1
	for i, s := range shape {
		steps[i] = step
		step *= s
	}
	index, at := make([]int, len(shape)), 0
	for i := range data {
		data[i] = from[at]
		for k := len(index) - 1; k >= 0; k-- {
			at += steps[k]
			if index[k]++; index[k] < shape[k] {
				break
			}
			at -= index[k] * steps[k]
			index[k] = 0
		}
	}
	return data
}

// widen writes the numbers in b, in the order and of the width of a, to dst.
func widen[T float32 | float64](dst []T, b []byte, a *npy.Array) {
	switch a.Width {
	case 2:
		for i := range dst {
			dst[i] = T(math.Float32frombits(formats.FromHalf(a.Order.Uint16(b[2*i:]))))
		}
	case 4:
		for i := range dst {
			dst[i] = T(math.Float32frombits(a.Order.Uint32(b[4*i:])))
		}
	case 8:
		for i := range dst {
			dst[i] = T(math.Float64frombits(a.Order.Uint64(b[8*i:])))
		}
	}
}
