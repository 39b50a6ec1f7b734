package dataset

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
)

const zipMagic = "PK"

var npzFormat = fileFormat{
	Format: Format{
		Name: "NPZ", Files: "numpy.savez, numpy.savez_compressed",
		Holds: "arrays as in NPY: " + npzNames("test") + "; of the training set only " + npzNames("train"),
	},
	sniff: func(name string, start []byte) bool {
		return bytes.HasPrefix(start, []byte(zipMagic)) || strings.HasSuffix(name, ".npz")
	},
	read: readNPZFile,
}

// readNPZFile returns the images and labels of one split of the NPZ file at path.
func readNPZFile(path string, q *Query) (*Stored, error) {
	f, size, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", path, err)
	}
	defer f.Close()
	s, err := readNPZ(f, size, q)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
	}
	file := File{filepath.Base(path), hex.EncodeToString(hash.Sum(nil))}
	s.set.Source.Images, s.set.Source.Labels, s.set.Source.N = file, file, s.set.N()
	return s, nil
}

// npzKeys returns the names that images and labels of split go by, the ones to
// prefer first. Arrays that name no split are a test set. If they were a training
// set too, a model would be tested on the images that it has learned.
func npzKeys(split string) [][2]string {
	keys := [][2]string{{"x_" + split, "y_" + split}, {"X_" + split, "y_" + split}, {"X_" + split, "Y_" + split},
		{split + "_images", split + "_labels"}, {split + "_x", split + "_y"}, {split + "_data", split + "_labels"}}
	if split == "test" {
		keys = append(keys, [2]string{"images", "labels"}, [2]string{"x", "y"}, [2]string{"X", "y"}, [2]string{"X", "Y"},
			[2]string{"data", "target"}, [2]string{"images", "target"}, [2]string{"data", "labels"}, unnamed)
	}
	return keys
}

// unnamed are what numpy.savez(file, x, y) names its arrays.
var unnamed = [2]string{"arr_0", "arr_1"}

// npzNames lists npzKeys for people.
func npzNames(split string) string {
	var want []string
	for _, k := range npzKeys(split) {
		want = append(want, k[0]+" and "+k[1])
	}
	return strings.Join(want, ", or ")
}

// readNPZ returns a set without the names of its files.
func readNPZ(r io.ReaderAt, size int64, q *Query) (*Stored, error) {
	z, err := zip.NewReader(r, size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, errors.New("not a zip archive, want an NPZ file")
	} else if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // nothing is unpacked
		return nil, err
	}
	arrays := map[string]*zip.File{}
	var names []string
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			continue
		}
		if arrays[name] != nil {
			return nil, fmt.Errorf("%.60q is there twice, want each array once", f.Name)
		}
		arrays[name] = f
		names = append(names, name)
	}
	slices.Sort(names)
	have := fmt.Sprintf("%.20q", names[:min(len(names), 8)])
	if len(names) > 8 {
		have += " and more"
	}
	if len(names) == 0 && len(z.File) > 0 {
		return nil, fmt.Errorf("a zip archive without arrays, it holds %.40q: unpack it, and give the folder", z.File[0].Name)
	}
	keys := npzKeys(q.Split)
	if q.ImagesKey != "" || q.LabelsKey != "" {
		keys = nil
		for _, k := range npzKeys(q.Split) { // the other one by its usual name
			keys = append(keys, [2]string{cmp.Or(q.ImagesKey, k[0]), cmp.Or(q.LabelsKey, k[1])})
		}
	}
	for _, k := range keys {
		images, labels := arrays[k[0]], arrays[k[1]]
		if images == nil || labels == nil {
			continue
		}
		s := &Stored{query: *q}
		if k == unnamed {
			s.note(remedy.Keys, "its arrays have no names: the first, arr_0, was taken for the images and arr_1 for the labels")
		}
		a, err := readEntry(images, size)
		if err == nil {
			err = s.store(a)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", images.Name, err)
		}
		if a, err = readEntry(labels, size); err == nil {
			s.set.Labels, err = a.labels()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", labels.Name, err)
		}
		if n := s.shape[0]; s.set.N() != n {
			return nil, fmt.Errorf("%s: %d labels, want %d, one for each image of %s%s", labels.Name, s.set.N(), n, images.Name, single(s.shape, s.set.N()))
		}
		return s, nil
	}
	want := fmt.Sprintf("x_%[1]s and y_%[1]s, or %[1]s_images and %[1]s_labels", q.Split)
	if q.Split == "test" {
		want += ", or images and labels, or x and y"
	}
	want += ", or the like"
	if q.ImagesKey != "" || q.LabelsKey != "" {
		want = fmt.Sprintf("%q and %q", cmp.Or(q.ImagesKey, "the usual name of images"), cmp.Or(q.LabelsKey, "the usual name of labels"))
	}
	return nil, remedy.Want(remedy.Keys, fmt.Errorf("arrays %s, want %s", have, want))
}

// readEntry reads one array of an archive of size bytes.
func readEntry(f *zip.File, size int64) (*array, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// The archive may claim any size for an entry. It backs no more bytes than it has itself.
	stored := int64(min(f.CompressedSize64, uint64(size)))
	a, err := readNPY(r, stored)
	if err != nil {
		return nil, err
	}
	return a, nil
}
