package dataset

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gorgonia.org/tensor"
)

// Read returns the images and labels of two IDX files of unsigned bytes, of
// rank 3 and 1, each plain or compressed by gzip. It returns an error that
// names the file and the fault if a file is not such an array, from end to
// end, or if there are not as many labels as images.
//
// Labels are not compared with a number of classes: see Set.Check.
func Read(imagesPath, labelsPath string) (*Set, error) {
	images, imagesFile, err := ReadIDXFile(imagesPath, 3)
	if err != nil {
		return nil, err
	}
	labels, labelsFile, err := ReadIDXFile(labelsPath, 1)
	if err != nil {
		return nil, err
	}
	n := images.Shape()[0]
	if got := labels.Shape()[0]; got != n {
		return nil, fmt.Errorf("dataset: %s: %d labels, want %d, one for each image of %s", labelsPath, got, n, imagesPath)
	}
	return newSet(images, labels, imagesFile, labelsFile), nil
}

func newSet(images, labels *tensor.Dense, imagesFile, labelsFile File) *Set {
	bytes := labels.Data().([]byte)
	s := &Set{
		Images: images,
		Labels: make([]int32, len(bytes)),
		Source: Source{Images: imagesFile, Labels: labelsFile, N: len(bytes)},
	}
	for i, l := range bytes {
		s.Labels[i] = int32(l)
	}
	return s
}

// ReadDir is Read of the pair of files in dir that MNIST and its relatives
// are published as: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte for
// split "test", train-… for "train". Each may be spelled with a dot
// (t10k-images.idx3-ubyte) and end in .gz; of several, the first one in that
// order is read. The error for a missing file says what was looked for.
func ReadDir(dir, split string) (*Set, error) {
	prefix, ok := map[string]string{"test": "t10k", "train": "train"}[split]
	if !ok {
		return nil, fmt.Errorf("dataset: split %q, want test or train", split)
	}
	images, err := find(dir, prefix+"-images", "idx3-ubyte")
	if err != nil {
		return nil, err
	}
	labels, err := find(dir, prefix+"-labels", "idx1-ubyte")
	if err != nil {
		return nil, err
	}
	return Read(images, labels)
}

func find(dir, stem, kind string) (string, error) {
	names := []string{stem + "-" + kind, stem + "." + kind, stem + "-" + kind + ".gz", stem + "." + kind + ".gz"}
	for _, name := range names {
		path := filepath.Join(dir, name)
		// What is there but cannot be read is left for Read to name.
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("dataset: %s: %w: want one of %s", dir, fs.ErrNotExist, strings.Join(names, ", "))
}

// Made, and under which licence, as mnist/README.md says.
//
//go:embed mnist/*.gz
var mnist embed.FS

// MNIST1000 returns the first 1,000 images of the MNIST test set, 28×28, with
// their labels, from a copy in the program. Each call decodes it anew, so that
// the caller owns the result.
//
// LeCun, Cortes and Burges, CC BY-SA 3.0.
func MNIST1000() (*Set, error) {
	images, imagesFile, err := readEmbedded("mnist/t10k-1000-images-idx3-ubyte.gz", 3)
	if err != nil {
		return nil, err
	}
	labels, labelsFile, err := readEmbedded("mnist/t10k-1000-labels-idx1-ubyte.gz", 1)
	if err != nil {
		return nil, err
	}
	return newSet(images, labels, imagesFile, labelsFile), nil
}

func readEmbedded(path string, rank int) (*tensor.Dense, File, error) {
	data, err := mnist.ReadFile(path)
	if err != nil {
		return nil, File{}, fmt.Errorf("dataset: %w", err)
	}
	t, err := ReadIDX("embedded", data, rank)
	if err != nil {
		return nil, File{}, err
	}
	sum := sha256.Sum256(data)
	return t, File{Name: "embedded", SHA256: hex.EncodeToString(sum[:])}, nil
}
