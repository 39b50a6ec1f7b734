package dataset

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// unzipped is a file of a zip archive.
func unzipped(t *testing.T, archive []byte, name string) []byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWriteNPZRoundTrip(t *testing.T) {
	for _, shape := range [][]int{{3, 4, 5}, {2, 3, 4, 5}, {1, 1, 7}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		pixels, labels := make([]float32, n), make([]int32, shape[0])
		for i := range pixels {
			pixels[i] = float32(i)/7 - 3
		}
		for i := range labels {
			labels[i] = int32(3 * i)
		}
		arrays := []Array{{"images", shape, pixels}, {"labels", []int{shape[0]}, labels}, {"eps", []int{1}, []float64{0.1}}, {"levels", []int{2}, []uint8{1, 2}}}
		var b, again bytes.Buffer
		if err := WriteNPZ(&b, arrays...); err != nil {
			t.Fatal(err)
		}
		if err := WriteNPZ(&again, arrays...); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Errorf("%v: two writes differ (%v)", shape, err)
		}
		path := filepath.Join(t.TempDir(), "a.npz")
		if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := Load(path, "test")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(pixels, s.Images.Data()); d != "" || !slices.Equal([]int(s.Images.Shape()), shape) {
			t.Errorf("images %v of %v: %s", s.Images.Shape(), shape, d)
		}
		if d := cmp.Diff(labels, s.Labels); d != "" {
			t.Errorf("%v: labels: %s", shape, d)
		}
	}
}

// TestWriteNPZAsNumPy compares with what numpy.save wrote (testdata/arrays.py), but for the spaces
// that pad its header.
func TestWriteNPZAsNumPy(t *testing.T) {
	for _, name := range []string{"nhw_f4.npy", "nhw_f8.npy", "nhw_u1.npy", "nchw_u1.npy", "labels_i4.npy"} {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		a, err := readNPY(bytes.NewReader(want), int64(len(want)))
		if err != nil {
			t.Fatal(err)
		}
		mine := Array{Name: "a", Shape: a.Shape}
		switch a.Descr {
		case "|u1":
			mine.Data = a.Data
		case "<i4":
			labels, err := a.labels()
			if err != nil {
				t.Fatal(err)
			}
			mine.Data = labels
		case "<f4":
			x, err := a.images()
			if err != nil {
				t.Fatal(err)
			}
			mine.Data = x.Data()
		case "<f8":
			x, err := a.images() // whose values float32 holds
			if err != nil {
				t.Fatal(err)
			}
			var wide []float64
			for _, v := range x.Data().([]float32) {
				wide = append(wide, float64(v))
			}
			mine.Data = wide
		}
		var b bytes.Buffer
		if err := WriteNPZ(&b, mine); err != nil {
			t.Fatal(err)
		}
		got := unzipped(t, b.Bytes(), "a.npy")
		head := func(data []byte) (string, []byte) {
			end := bytes.IndexByte(data[10:], '\n') + 11
			if end%64 != 0 {
				t.Errorf("%s: header of %d bytes, want a multiple of 64", name, end)
			}
			return strings.TrimRight(string(data[10:end]), " \n"), data[end:]
		}
		gotHead, gotData := head(got)
		wantHead, wantData := head(want)
		if gotHead != wantHead || !bytes.Equal(gotData, wantData) && a.Descr != "<f8" {
			t.Errorf("%s: header %q, want %q; data equal: %v", name, gotHead, wantHead, bytes.Equal(gotData, wantData))
		}
		if len(gotData) != len(wantData) {
			t.Errorf("%s: %d bytes, want %d", name, len(gotData), len(wantData))
		}
	}
}

func TestWriteNPZErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		a          Array
	}{
		{"too few", "array x: 2 elements, want 3 for [3]", Array{"x", []int{3}, []int32{1, 2}}},
		{"type", "array x: []int, want", Array{"x", []int{1}, []int{1}}},
	} {
		if err := WriteNPZ(io.Discard, c.a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	full := errors.New("disk full")
	if err := WriteNPZ(broken{full}, Array{"x", []int{5000}, make([]float32, 5000)}); !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestWritePNGsRoundTrip(t *testing.T) {
	for _, shape := range [][]int{{3, 4, 5}, {2, 3, 4, 5}, {2, 1, 4, 5}} {
		n := tensor.Shape(shape).TotalSize()
		pixels, labels := make([]uint8, n), make([]int32, shape[0])
		for i := range pixels {
			pixels[i] = uint8(37 * i)
		}
		for i := range labels {
			labels[i] = int32(9 - i)
		}
		var b bytes.Buffer
		if err := WritePNGs(&b, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(pixels)), labels, 40); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if z.File[0].Name != "000040.png" {
			t.Errorf("first file %s, want 000040.png", z.File[0].Name)
		}
		if err := os.CopyFS(dir, z); err != nil {
			t.Fatal(err)
		}
		s, err := Load(dir, "test")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(pixels, s.Images.Data()); d != "" || s.N() != shape[0] {
			t.Errorf("%v: %s", shape, d)
		}
		if d := cmp.Diff(labels, s.Labels); d != "" {
			t.Errorf("%v: labels: %s", shape, d)
		}
	}
}

func TestWritePNGsErrors(t *testing.T) {
	two := tensor.New(tensor.WithShape(1, 2, 3, 3), tensor.WithBacking(make([]uint8, 18)))
	if err := WritePNGs(io.Discard, two, []int32{0}, 0); err == nil || HasPNG(two.Shape()) {
		t.Errorf("2 channels: %v, HasPNG %v", err, HasPNG(two.Shape()))
	}
	floats := tensor.New(tensor.WithShape(1, 3, 3), tensor.WithBacking(make([]float32, 9)))
	if err := WritePNGs(io.Discard, floats, []int32{0}, 0); err == nil {
		t.Error("float32: no error")
	}
	grey := tensor.New(tensor.WithShape(1, 3, 3), tensor.WithBacking(make([]uint8, 9)))
	if err := WritePNGs(io.Discard, grey, []int32{0, 1}, 0); err == nil || !strings.Contains(err.Error(), "2 labels, want 1") {
		t.Errorf("2 labels: %v", err)
	}
	full := errors.New("disk full")
	if err := WritePNGs(broken{full}, grey, []int32{0}, 0); !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
}
