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

	"advsweep/internal/filekind"
	"advsweep/internal/npy"
	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// npz reads an NPZ file: a zip archive of arrays NAME.npy.
func (d *decoder) npz() (*Model, error) {
	if _, err := io.Copy(d.sum, io.NewSectionReader(d.r, 0, d.size)); err != nil {
		return nil, err
	}
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
	arrays := make(map[string]*npy.Array)
	var entries []entry
	left := uint64(d.size) // of the archive, which entries may not share
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			return nil, fmt.Errorf("%s in the archive, want names that end in .npy", formats.Quote(f.Name))
		}
		if arrays[name] != nil {
			return nil, fmt.Errorf("tensor %s: two of this name", formats.Quote(name))
		}
		if f.CompressedSize64 > left {
			return nil, fmt.Errorf("tensor %s: %d bytes, want at most %d, what is left of the archive", formats.Quote(name), f.CompressedSize64, left)
		}
		left -= f.CompressedSize64
		if arrays[name], err = readArray(f); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", formats.Quote(name), err)
		}
		e := entry{name: name, dtype: arrays[name].Descr}
		for _, s := range arrays[name].Shape {
			e.shape = append(e.shape, uint64(s))
		}
		a := arrays[name]
		e.counts = (a.Kind == 'i' || a.Kind == 'u' || a.Kind == 'b') && (isCounter(name) || single(e.shape))
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, errors.New("no arrays in the archive")
	}
	t := weights{entries: entries, tensors: make(map[string]*tensor.Dense)}
	for _, a := range arrays {
		t.double = t.double || a.Kind == 'f' && a.Width == 8
	}
	for _, e := range entries {
		a := arrays[e.name]
		if e.counts {
			continue
		}
		if a.Kind != 'f' || a.Width != 2 && a.Width != 4 && a.Width != 8 {
			return nil, fmt.Errorf("tensor %s: dtype %s, want float16, float32 or float64", formats.Quote(e.name), formats.Quote(a.Descr))
		}
		if len(a.Shape) > formats.MaxRank {
			return nil, fmt.Errorf("tensor %s: rank %d, want at most %d", formats.Quote(e.name), len(a.Shape), formats.MaxRank)
		}
		if t.double {
			t.tensors[e.name], err = fromArray[float64](a)
		} else {
			t.tensors[e.name], err = fromArray[float32](a)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", formats.Quote(e.name), err)
		}
		delete(arrays, e.name) // its bytes
	}
	return d.build(t)
}

func readArray(f *zip.File) (*npy.Array, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return npy.Read(r, int64(f.CompressedSize64))
}

// fromArray returns a's numbers in row-major order. T must hold them all.
func fromArray[T float32 | float64](a *npy.Array) (*tensor.Dense, error) {
	data := make([]T, len(a.Data)/a.Width)
	// The element at an index lies at Σ index·steps.
	steps, step := make([]int, len(a.Shape)), 1
	for i := range a.Shape {
		at := len(a.Shape) - 1 - i
		if a.Fortran {
			at = i
		}
		steps[at] = step
		step *= a.Shape[at]
	}
	index, from := make([]int, len(a.Shape)), 0
	for i := range data {
		v := element(a.Data[from*a.Width:], a.Width, a.Order)
		if v-v != 0 {
			return nil, notFinite(i, v)
		}
		data[i] = T(v)
		for k := len(index) - 1; k >= 0; k-- {
			from += steps[k]
			if index[k]++; index[k] < a.Shape[k] {
				break
			}
			from -= index[k] * steps[k]
			index[k] = 0
		}
	}
	if len(a.Shape) == 0 { // one number
		return formats.Dense(data, 1), nil
	}
	return formats.Dense(data, a.Shape...), nil
}

func element(b []byte, width int, order binary.ByteOrder) float64 {
	switch width {
	case 2:
		return float64(math.Float32frombits(formats.FromHalf(order.Uint16(b))))
	case 4:
		return float64(math.Float32frombits(order.Uint32(b)))
	}
	return math.Float64frombits(order.Uint64(b))
}
