package study

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/dataset"
	"advsweep/internal/npy"
	"advsweep/model"
	"advsweep/record"

	"gorgonia.org/tensor"
)

// Models and images travel in one form, whatever files they came from, and are named by its hash.
// The manifest names the files.

// encodeModel is m as a safetensors file that holds every bit of it.
func encodeModel(m *model.Model) ([]byte, error) { return m.Encode(m.Dtype()) }

func decodeModel(data []byte, from record.Model) (*model.Model, error) {
	m, err := model.Decode("model.safetensors", data)
	if err != nil {
		return nil, err
	}
	m.Source = model.Source{Name: from.Name, SHA256: from.SHA256, Pixels: from.Pixels, Activation: from.Activation, Output: from.Output}
	return m, nil
}

// encodeSet is the images and labels of set as an NPZ file.
func encodeSet(set *dataset.Set) ([]byte, error) {
	var b bytes.Buffer
	err := dataset.WriteNPZ(&b,
		dataset.Array{Name: "images", Shape: set.Images.Shape(), Data: set.Images.Data()},
		dataset.Array{Name: "labels", Shape: []int{set.N()}, Data: set.Labels})
	return b.Bytes(), err
}

// decodeSet reads what encodeSet wrote, and checks that it is the data of m.
func decodeSet(data []byte, m *record.Manifest) (*dataset.Set, error) {
	set := &dataset.Set{First: m.Data.Offset, Classes: m.ClassNames, Source: dataset.Source{
		Images: dataset.File(m.Data.Images), Labels: dataset.File(m.Data.Labels)}}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("study: images: %w", err)
	}
	for _, name := range []string{"images", "labels"} {
		f, err := z.Open(name + ".npy")
		if err != nil {
			return nil, fmt.Errorf("study: images: %w", err)
		}
		a, err := npy.Read(f, int64(len(data)))
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("study: images: %s: %w", name, err)
		}
		if a.Fortran || a.Width > 1 && a.Order != binary.LittleEndian {
			return nil, fmt.Errorf("study: images: %s: %s, want it as this program writes it", name, a.Descr)
		}
		n := len(a.Data) / a.Width
		switch {
		case name == "labels" && a.Descr == "<i4" && len(a.Shape) == 1:
			set.Labels = make([]int32, n)
			for i := range set.Labels {
				set.Labels[i] = int32(binary.LittleEndian.Uint32(a.Data[4*i:]))
			}
		case name == "images" && a.Descr == "|u1":
			set.Images = tensor.New(tensor.WithShape(a.Shape...), tensor.WithBacking(slices.Clone(a.Data)))
		case name == "images" && a.Descr == "<f4":
			v := make([]float32, n)
			for i := range v {
				v[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*i:]))
			}
			set.Images = tensor.New(tensor.WithShape(a.Shape...), tensor.WithBacking(v))
		default:
			return nil, fmt.Errorf("study: images: %s: %s %v, want it as this program writes it", name, a.Descr, a.Shape)
		}
	}
	if err := set.Check(m.Classes); err != nil {
		return nil, err
	}
	if got := set.SHA256(); got != m.Data.SHA256 || set.N() != m.Data.N {
		return nil, fmt.Errorf("study: images: %d with SHA-256 %s, want %d with %s", set.N(), got, m.Data.N, m.Data.SHA256)
	}
	return set, nil
}

// Labels returns the labels of run i's images, [N].
func (f *Folder) Labels(i int) ([]int32, error) {
	r := &f.Plan.Runs[i]
	data, err := f.Input(r.Images)
	if err != nil {
		return nil, err
	}
	set, err := decodeSet(data, &r.Manifest)
	if err != nil {
		return nil, err
	}
	return set.Labels, nil
}
