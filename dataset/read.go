package dataset

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/npy"
	"advsweep/internal/regular"

	"gorgonia.org/tensor"
)

// Read returns the images of one file with the labels of another. Each is IDX or
// NPY; its first bytes say which. It returns an error that names the file and the
// fault if a file is not one whole array, from end to end, or if there are not
// as many labels as images.
//
// IDX is unsigned bytes, plain or compressed by gzip, images [N, H, W], labels
// [N]. NPY images are [N, H, W], [N, C, H, W] or [N, H, W, C] of uint8, where v
// is the pixel v/255, or of float32 or float64, which are the pixels themselves;
// float64 is rounded to float32. NPY labels are integers, [N] or [N, 1]. Either
// may be in C or Fortran order, and of either byte order.
//
// If there are four dimensions, the channels are the second or the last, whichever
// is 1, 3 or 4. It is an error if both are, or neither.
//
// Labels are not compared with a number of classes: see Set.Check.
func Read(imagesPath, labelsPath string) (*Set, error) {
	images, imagesFile, err := readFile(imagesPath, 3)
	if err != nil {
		return nil, err
	}
	labels, labelsFile, err := readFile(labelsPath, 1)
	if err != nil {
		return nil, err
	}
	s := &Set{Source: Source{Images: imagesFile, Labels: labelsFile}}
	if s.Images, err = images.images(); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", imagesPath, err)
	}
	if s.Labels, err = labels.labels(); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", labelsPath, err)
	}
	s.Source.N = s.Images.Shape()[0]
	if s.N() != s.Source.N {
		return nil, fmt.Errorf("dataset: %s: %d labels, want %d, one for each image of %s", labelsPath, s.N(), s.Source.N, imagesPath)
	}
	return s, nil
}

// readFile reads an NPY file, or an IDX file of the given rank.
func readFile(path string, rank int) (*array, File, error) {
	f, size, err := regular.Open(path)
	if err != nil {
		return nil, File{}, fmt.Errorf("dataset: %s: %w", path, err)
	}
	defer f.Close()
	hash := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(f, hash), 64<<10)
	start, _ := r.Peek(len(npy.Magic)) // an error comes again
	var a *array
	switch {
	case string(start) == npy.Magic:
		a, err = readNPY(r, size)
	case strings.HasPrefix(string(start), zipMagic):
		err = errors.New("a zip archive, want IDX or NPY: an NPZ file has its labels inside and is read as a whole")
	default:
		var t *tensor.Dense
		if t, err = readIDX(r, size, rank); err == nil {
			a = bytesOf(t)
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

// Load returns the images and labels of a split, "test" or "train", of a data set.
// It reads
//
//   - an NPZ file with arrays as Read takes them in NPY: x_test and y_test,
//     test_images and test_labels, images and labels, or x and y. If there are
//     several pairs it takes the first in that order. For the training set it takes
//     x_train and y_train, or train_images and train_labels, and no others: arrays
//     that name no split are a test set.
//   - a folder with the pair of IDX files that MNIST and its relatives are
//     published as: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, or
//     train-… . Each may be spelled with a dot (t10k-images.idx3-ubyte) and end
//     in .gz; of several, the first one in that order is read.
//   - a folder with the binary files of CIFAR-10: test_batch.bin, or
//     data_batch_1.bin to data_batch_5.bin.
//   - a folder with PNG files, grayscale or RGB, of 8 bits a channel and of one
//     size, and a labels.csv with the header file,label and a line for each: a
//     path inside the folder and an integer. The images come in its order. It
//     is a test set unless the folder has subfolders named test and train with
//     a labels.csv each.
//
// Images are as Read gives them. Load sets Source.Name and Classes for two sets. It
// knows CIFAR-10 by the names of its files. It knows Fashion-MNIST by the SHA-256 of
// the published .gz files or, if a copy has other bytes, by "fashion" in the name of
// the folder or of the folder around it.
//
// An error names the file and the fault. If a file is missing it says which names
// Load tried, and wraps fs.ErrNotExist. A folder that holds two of these kinds is an
// error.
func Load(path, split string) (*Set, error) {
	if split != "test" && split != "train" {
		return nil, fmt.Errorf("dataset: split %q, want test or train", split)
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return readNPZFile(path, split)
	}
	var kinds []kind
	for _, k := range []kind{mnistKind(path, split), cifarKind(path, split), pngKind(path, split)} {
		if k.found != "" {
			kinds = append(kinds, k)
		}
	}
	switch len(kinds) {
	case 0:
		return nil, fmt.Errorf("dataset: %s: no %s images: %w: want %s, %s or %s", path, split, fs.ErrNotExist,
			mnistNames(split, "images")[0], cifarNames(split)[0], filepath.Join(split, labelsCSV))
	case 1:
		return kinds[0].read()
	}
	return nil, fmt.Errorf("dataset: %s: both %s and %s, want a folder for each", path, kinds[0].found, kinds[1].found)
}

// A kind is a way to store a split in a folder.
type kind struct {
	found string // a file that tells it, or ""
	read  func() (*Set, error)
}

func mnistKind(dir, split string) kind {
	names := append(mnistNames(split, "images"), mnistNames(split, "labels")...)
	return kind{first(dir, names...), func() (*Set, error) { return readMNIST(dir, split) }}
}

func cifarKind(dir, split string) kind {
	return kind{first(dir, cifarNames(split)...), func() (*Set, error) { return readCIFAR10(dir, split) }}
}

func pngKind(dir, split string) kind {
	names := []string{filepath.Join(split, labelsCSV)}
	if split == "test" {
		names = append(names, labelsCSV)
	}
	found := first(dir, names...)
	return kind{found, func() (*Set, error) { return readPNGDir(filepath.Join(dir, filepath.Dir(found))) }}
}

// first returns the first of names that is in dir, or "". A file that is there but
// cannot be read counts: who reads it returns the error.
func first(dir string, names ...string) string {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return name
		}
	}
	return ""
}

// mnistNames returns what the file of images or labels may be called.
func mnistNames(split, what string) []string {
	stem := map[string]string{"test": "t10k-", "train": "train-"}[split] + what
	kind := map[string]string{"images": "idx3-ubyte", "labels": "idx1-ubyte"}[what]
	return []string{stem + "-" + kind, stem + "." + kind, stem + "-" + kind + ".gz", stem + "." + kind + ".gz"}
}

func readMNIST(dir, split string) (*Set, error) {
	var paths []string
	for _, what := range []string{"images", "labels"} {
		names := mnistNames(split, what)
		name := first(dir, names...)
		if name == "" {
			return nil, fmt.Errorf("dataset: %s: %w: want one of %s", dir, fs.ErrNotExist, strings.Join(names, ", "))
		}
		paths = append(paths, filepath.Join(dir, name))
	}
	s, err := Read(paths[0], paths[1])
	if err != nil {
		return nil, err
	}
	if isFashion(dir, s.Source) {
		s.Source.Name, s.Classes = "Fashion-MNIST", fashionClasses
	}
	return s, nil
}

var fashionClasses = []string{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"}

// fashionFiles are the SHA-256 of the published pairs of images and labels, on
// which the programs that download and check them agree.
//
// Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
var fashionFiles = [][2]string{
	{"346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"},
	{"3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"},
}

func isFashion(dir string, s Source) bool {
	if slices.Contains(fashionFiles, [2]string{s.Images.SHA256, s.Labels.SHA256}) {
		return true
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	near := filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir))
	return strings.Contains(strings.ToLower(near), "fashion")
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
	s := &Set{Images: images, Source: Source{Images: imagesFile, Labels: labelsFile, N: images.Shape()[0]}}
	if s.Labels, err = bytesOf(labels).labels(); err != nil {
		return nil, fmt.Errorf("dataset: embedded: %w", err)
	}
	return s, nil
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
