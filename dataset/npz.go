package dataset

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"
)

const zipMagic = "PK"

// readNPZFile returns the images and labels of one split of the NPZ file at path.
func readNPZFile(path, split string) (*Set, error) {
	f, size, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", path, err)
	}
	defer f.Close()
	s, err := readNPZ(f, size, split)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
	}
	file := File{filepath.Base(path), hex.EncodeToString(hash.Sum(nil))}
	s.Source = Source{Images: file, Labels: file, N: s.N()}
	return s, nil
}

// npzKeys returns the names that images and labels of split go by, the ones to
// prefer first. Arrays that name no split are a test set. If they were a training
// set too, a model would be tested on the images that it has learned.
func npzKeys(split string) [][2]string {
	keys := [][2]string{{"x_" + split, "y_" + split}, {split + "_images", split + "_labels"}}
	if split == "test" {
		keys = append(keys, [2]string{"images", "labels"}, [2]string{"x", "y"})
	}
	return keys
}

// readNPZ returns a set without a Source.
func readNPZ(r io.ReaderAt, size int64, split string) (*Set, error) {
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
	var want []string
	for _, k := range npzKeys(split) {
		images, labels := arrays[k[0]], arrays[k[1]]
		if images == nil || labels == nil {
			want = append(want, k[0]+" and "+k[1])
			continue
		}
		s := &Set{}
		a, err := readEntry(images, size)
		if err == nil {
			s.Images, err = a.images()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", images.Name, err)
		}
		if a, err = readEntry(labels, size); err == nil {
			s.Labels, err = a.labels()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", labels.Name, err)
		}
		if n := s.Images.Shape()[0]; s.N() != n {
			return nil, fmt.Errorf("%s: %d labels, want %d, one for each image of %s", labels.Name, s.N(), n, images.Name)
		}
		return s, nil
	}
	slices.Sort(names)
	have := fmt.Sprintf("%.20q", names[:min(len(names), 8)])
	if len(names) > 8 {
		have += " and more"
	}
	return nil, fmt.Errorf("arrays %s, want %s", have, strings.Join(want, ", or "))
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
