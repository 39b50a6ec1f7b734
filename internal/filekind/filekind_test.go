package filekind

import (
	"archive/zip"
	"bytes"
	"slices"
	"strings"
	"testing"
)

// archive is a zip archive with empty entries of these names.
func archive(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range names {
		if _, err := z.Create(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOf(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{"", "an empty file"},
		{"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "a Git LFS pointer"},
		{"\x1c\x00\x00\x00TFL3\x00\x00", "a TFLite model"},
		{"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"},
		{"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00}\x94.", "a Python pickle"},
		{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "a file of torch.save"},
		{"\x1f\x8b\x08", "a gzip file"},
		{strings.Repeat("a", 100) + strings.Repeat("\x00", 157) + "ustar\x00", "a tar archive"},
		{"\xef\xbb\xbf \n<!DOCTYPE HTML>\n", "an HTML page"},
		{"<html lang='de'>", "an HTML page"},
		{"<?xml version='1.0'?>\n<html xmlns='x'>", "an HTML page"},
		{"<?xml version='1.0'?>\n<net name='x'>", "an XML file"},
		{"\n {\"layers\": []}", "a JSON file"},
		{"[1, 2]", "a JSON file"},
		{"file,label\n", "a text file"},
		{"für " + strings.Repeat("ü", 400), "a text file"}, // whose head ends within a rune, or may
		{"a" + strings.Repeat("ü", 400), "a text file"},
		{"\x08\x07\x12\x07pytorch", ""}, // ONNX
		{"text\x00", ""},
		{"text\xff", ""},
		{string(archive(t)), "an empty zip archive"},
		{string(archive(t, "m/code/x.py", "m/data.pkl", "m/constants.pkl")), "a TorchScript module"},
		{string(archive(t, "m/data.pkl", "m/version")), "a file of torch.save"},
		{string(archive(t, "config.json", "model.weights.h5")), "a Keras model"},
		{string(archive(t, "saved_model.pb")), "a TensorFlow SavedModel"},
		{string(archive(t, "a.bin")), "a zip archive"},
		{string(archive(t, "x_test.npy")), "an NPZ file"},
		{"PK\x03\x04 cut", "a zip archive that is cut off or damaged"},
	} {
		k, ok := Of(strings.NewReader(c.data), int64(len(c.data)))
		if k.Name != c.want || ok != (c.want != "") {
			t.Errorf("%.20q: %q, %v, want %q", c.data, k.Name, ok, c.want)
		}
	}
}

// TestTable: each row is found by its own bytes, before no other, and says what to do.
func TestTable(t *testing.T) {
	for _, one := range kinds {
		data := append(bytes.Repeat([]byte{1}, one.at), one.magic...)
		if k, ok := at(data); !ok || k != one.Kind && !(k == pickle && strings.HasPrefix(one.magic, "\x80\x02")) {
			t.Errorf("%q at %d: %q, want %q", one.magic, one.at, k.Name, one.Name)
		}
		if one.Model == "" || one.Data == "" {
			t.Errorf("%s: no remedy", one.Name)
		}
	}
	for _, one := range archives {
		if k := inZip([]string{"folder" + one.suffix}); k.Name != one.Name {
			t.Errorf("an archive with %s: %q, want %q", one.suffix, k.Name, one.Name)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add([]byte("PK\x03\x04"))
	f.Add(archive(f, "data.pkl", "a"))
	f.Add([]byte("{\"a\": 1}"))
	f.Add([]byte("a\xc3"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, ok := Of(bytes.NewReader(data), int64(len(data)))
		if ok != (k.Name != "") {
			t.Errorf("%q, %v", k.Name, ok)
		}
		again, _ := Of(bytes.NewReader(slices.Clone(data)), int64(len(data)))
		if again != k {
			t.Errorf("%q, and again %q", k.Name, again.Name)
		}
	})
}
