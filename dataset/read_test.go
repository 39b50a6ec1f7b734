package dataset

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The hash is that of mnist/README.md, made by Python. The labels are those
// of reference.json (labels16), made by PyTorch 2.15.0 from the whole file.
func TestMNIST1000(t *testing.T) {
	s, err := MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1000, 28, 28}, []int(s.Images.Shape())); diff != "" {
		t.Errorf("shape (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int32{7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6, 9, 0, 1, 5}, s.Labels[:16]); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if got, want := s.SHA256(), "433b45373ea5854af220ecaa5779542557e32a893fbaf90aa26d1e31123335de"; got != want {
		t.Errorf("SHA256 = %s, want %s", got, want)
	}
	want := Source{
		Images: File{"embedded", "e6df9031b9b363a25db582d85c91bf14c85cda2edb01e9547498cdac7987c294"},
		Labels: File{"embedded", "1d0c7b2aaae172d2ac1ec6e0ae6bf4fdf2dbd29f09988eb8bd5a28a2069d4aca"},
		N:      1000,
	}
	if named(s.Source) != want || s.N() != 1000 || s.First != 0 {
		t.Errorf("N = %d, First = %d, Source = %v, want 1000, 0, %v", s.N(), s.First, s.Source, want)
	}
	if err := s.Check(10); err != nil {
		t.Error(err)
	}
}

// Plain, compressed and embedded copies are the same set, under every name.
func TestLoadMNIST(t *testing.T) {
	embedded, err := MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	pixels := embedded.Images.Data().([]byte)
	labels := make([]byte, embedded.N())
	for i, l := range embedded.Labels {
		labels[i] = byte(l)
	}
	images, labelFile := idx(t, []int{1000, 28, 28}, pixels), idx(t, []int{1000}, labels)
	for _, c := range []struct {
		name, split, images, labels string
		compress                    bool
	}{
		{"plain", "test", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", false},
		{"gzip", "train", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", true},
		{"dots", "test", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte", false},
		{"dots and gzip", "train", "train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", true},
		{"gzip under a plain name", "test", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", true},
		{"plain under a gzip name", "test", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, stored := t.TempDir(), images
			if c.compress {
				stored = gz(t, images)
				writeFile(t, dir, c.labels, gz(t, labelFile))
			} else {
				writeFile(t, dir, c.labels, labelFile)
			}
			writeFile(t, dir, c.images, stored)
			s, err := Load(dir, c.split)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.SHA256(), embedded.SHA256(); got != want {
				t.Errorf("SHA256 = %s, want %s", got, want)
			}
			if s.Source.Images.Name != c.images || s.Source.Labels.Name != c.labels || s.Source.N != 1000 {
				t.Errorf("Source = %v, want the names %s, %s and N 1000", s.Source, c.images, c.labels)
			}
			if got, want := s.Source.Images.SHA256, sum(stored); got != want {
				t.Errorf("SHA-256 of the file = %s, want %s", got, want)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	images := writeFile(t, dir, "t10k-images-idx3-ubyte", idx(t, []int{3, 2, 2}, make([]byte, 12)))
	four := writeFile(t, dir, "four-labels", idx(t, []int{4}, make([]byte, 4)))
	missing := filepath.Join(dir, "missing")
	read := func(images, labels string) error { _, err := Read(images, labels); return err }
	load := func(dir, split string) error { _, err := Load(dir, split); return err }
	for _, c := range []struct {
		name string
		err  error
		want []string
	}{
		{"counts", read(images, four), []string{four, "4 labels, want 3", images}},
		{"swapped", read(four, images), []string{four, "magic 0x801, want 0x803"}},
		{"labels of images", read(images, images), []string{images, "magic 0x803, want 0x801"}},
		{"missing images", read(missing, four), []string{missing, "no such file"}},
		{"missing labels", read(images, missing), []string{missing, "no such file"}},
		{"directory", read(dir, four), []string{dir, "a directory, want a regular file"}},
		{"labels not in the directory", load(dir, "test"),
			[]string{dir, "t10k-labels-idx1-ubyte, t10k-labels.idx1-ubyte, t10k-labels-idx1-ubyte.gz"}},
		{"images not in the directory", load(dir, "train"), []string{dir, "train-images-idx3-ubyte"}},
		{"no directory", load(missing, "test"), []string{missing, "no test images", "no such file"}},
		{"split", load(dir, "validation"), []string{`split "validation", want test or train`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.err, append(c.want, "dataset: ")...) })
	}
	if err := load(missing, "test"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is %v, want fs.ErrNotExist in it", err)
	}
}

func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func BenchmarkMNIST1000(b *testing.B) {
	for b.Loop() {
		if _, err := MNIST1000(); err != nil {
			b.Fatal(err)
		}
	}
}
