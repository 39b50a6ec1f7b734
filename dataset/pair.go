package dataset

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"advsweep/internal/npy"
	"advsweep/internal/regular"

	"gorgonia.org/tensor"
)

// A pairFormat is a file that holds one array, images or labels.
type pairFormat struct {
	Format
	sniff func(start []byte) bool
	// read reads to the end of r, which is size bytes as stored.
	read func(r io.Reader, size int64, labels bool) (*array, error)
}

var npyFormat = pairFormat{
	Format: Format{
		Name: "NPY", Files: "numpy.save",
		Holds: "images [N, H, W], [N, C, H, W], [N, H, W, C] or [N, I] of any integers, floats or booleans; labels [N] or [N, 1] of integers; C or Fortran order, either byte order",
	},
	sniff: func(start []byte) bool { return strings.HasPrefix(string(start), npy.Magic) },
	read:  func(r io.Reader, size int64, labels bool) (*array, error) { return readNPY(r, size) },
}

var idxFormat = pairFormat{
	Format: Format{
		Name: "IDX", Files: "as MNIST's, plain or .gz",
		Holds: "images [N, H, W], [N, C, H, W], [N, H, W, C] or [N, I] and labels [N] of unsigned bytes",
	},
	sniff: func([]byte) bool { return true }, // it comes last: its errors say what is wrong
	read: func(r io.Reader, size int64, labels bool) (*array, error) {
		ranks := [2]int{2, 4}
		if labels {
			ranks = [2]int{1, 1}
		}
		t, err := readIDX(r, size, ranks)
		if err != nil {
			return nil, err
		}
		return bytesOf(t), nil
	},
}

// openPair reads the images of one file with the labels of another.
func openPair(q *Query) (*Stored, error) {
	if q.Images == "" {
		return openEmbedded(q)
	}
	return readPair(q, q.Images, q.Labels, func(path string) (fs.File, int64, error) {
		f, size, err := regular.Open(path)
		return f, size, err
	})
}

// readPair reads the files at paths, which open opens.
func readPair(q *Query, imagesPath, labelsPath string, open func(path string) (fs.File, int64, error)) (*Stored, error) {
	images, imagesFile, err := readFile(imagesPath, open, false)
	if err != nil {
		return nil, err
	}
	labels, labelsFile, err := readFile(labelsPath, open, true)
	if err != nil {
		return nil, err
	}
	s := &Stored{query: *q, set: Set{Source: Source{Images: imagesFile, Labels: labelsFile}}}
	if s.set.Labels, err = labels.labels(); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", labelsPath, err)
	}
	if err := s.store(images); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", imagesPath, err)
	}
	n := s.shape[0]
	if s.set.N() != n {
		return nil, fmt.Errorf("dataset: %s: %d labels, want %d, one for each image of %s%s", labelsPath, s.set.N(), n, imagesPath, single(s.shape, s.set.N()))
	}
	s.set.Source.N = n
	return s, nil
}

// single is a hint for an array that seems to be one image without its dimension N.
func single(shape []int, labels int) string {
	if labels == 1 {
		return fmt.Sprintf(", an array %v: a single image is [1, …]", shape)
	}
	return ""
}

// readFile reads the array of one file.
func readFile(path string, open func(path string) (fs.File, int64, error), labels bool) (*array, File, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, File{}, fmt.Errorf("dataset: %s: %w", path, err)
	}
	defer f.Close()
	hash := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(f, hash), 64<<10)
	start, _ := r.Peek(8) // an error comes again
	var a *array
	if strings.HasPrefix(string(start), zipMagic) {
		err = errors.New("a zip archive, want IDX or NPY: an NPZ file has its labels inside and is read as a whole")
	} else {
		for _, format := range pairFormats {
			if format.sniff(start) {
				a, err = format.read(r, size, labels)
				break
			}
		}
	}
	if err != nil {
		return nil, File{}, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
	}
	return a, File{filepath.Base(path), hex.EncodeToString(hash.Sum(nil))}, nil
}

// bytesOf returns the array that an IDX file holds.
func bytesOf(t *tensor.Dense) *array {
	return &array{&npy.Array{Kind: 'u', Width: 1, Shape: t.Shape(), Descr: "|u1", Data: t.Data().([]byte)}}
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
