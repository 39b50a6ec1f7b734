package dataset

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"

	"gorgonia.org/tensor"
)

// mnistFolders are where MNIST and its relatives lie below the folder that is given: torchvision
// unpacks them there.
var mnistFolders = []string{".", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw"}

var mnistFormat = folderFormat{
	Format: Format{
		Name:  "MNIST and relatives",
		Files: "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, or train-…",
		Holds: "IDX, plain or .gz; also with a dot (t10k-images.idx3-ubyte), and in raw/, MNIST/raw/, FashionMNIST/raw/ and KMNIST/raw/ below the folder, as torchvision puts them",
	},
	found: func(d *folder, split string) string {
		found := ""
		for _, dir := range mnistFolders {
			names := append(mnistNames(split, "images"), mnistNames(split, "labels")...)
			name := d.first(below([]string{dir}, names...)...)
			if found != "" && name != "" && path.Dir(found) != "." { // two sets side by side
				return found + " and " + name
			}
			if found == "" {
				found = name
			}
		}
		return found
	},
	read: func(d *folder, q *Query, found string) (*Stored, error) {
		if a, b, both := strings.Cut(found, " and "); both {
			return nil, fmt.Errorf("dataset: %s: both %s and %s, want one of the two: name its folder", d.path, a, b)
		}
		in, err := d.sub(path.Dir(found))
		if err != nil {
			return nil, d.error(found, err)
		}
		return readMNIST(in, q)
	},
	unpack: func(base string) bool {
		for _, split := range []string{"test", "train"} {
			if slices.Contains(append(mnistNames(split, "images"), mnistNames(split, "labels")...), base) {
				return true
			}
		}
		return false
	},
}

// mnistNames returns what the file of images or labels may be called.
func mnistNames(split, what string) []string {
	stem := map[string]string{"test": "t10k-", "train": "train-"}[split] + what
	kind := map[string]string{"images": "idx3-ubyte", "labels": "idx1-ubyte"}[what]
	return []string{stem + "-" + kind, stem + "." + kind, stem + "-" + kind + ".gz", stem + "." + kind + ".gz"}
}

func readMNIST(d *folder, q *Query) (*Stored, error) {
	var paths []string
	for _, what := range []string{"images", "labels"} {
		names := mnistNames(q.Split, what)
		name := d.first(names...)
		if name == "" {
			return nil, fmt.Errorf("dataset: %s: %w: want one of %s", d.path, fs.ErrNotExist, strings.Join(names, ", "))
		}
		paths = append(paths, filepath.Join(d.path, name))
	}
	s, err := readPair(q, paths[0], paths[1], func(p string) (fs.File, int64, error) {
		f, size, err := regular.OpenFS(d.files, filepath.Base(p))
		return f, size, err
	})
	if err != nil {
		return nil, err
	}
	if isFashion(d.path, s.set.Source) {
		s.set.Source.Name, s.set.Classes = "Fashion-MNIST", fashionClasses
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
	s, err := openEmbedded(&Query{})
	if err != nil {
		return nil, err
	}
	return s.For(nil)
}

// openEmbedded reads the images that are in the program.
func openEmbedded(q *Query) (*Stored, error) {
	images, imagesFile, err := readEmbedded("mnist/t10k-1000-images-idx3-ubyte.gz", 3)
	if err != nil {
		return nil, err
	}
	labels, labelsFile, err := readEmbedded("mnist/t10k-1000-labels-idx1-ubyte.gz", 1)
	if err != nil {
		return nil, err
	}
	set := &Set{Source: Source{Images: imagesFile, Labels: labelsFile, N: images.Shape()[0]}}
	if set.Labels, err = bytesOf(labels).labels(); err != nil {
		return nil, fmt.Errorf("dataset: embedded: %w", err)
	}
	return storedOf(q, set, images.Shape(), images.Data().([]byte)), nil
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
	return t, File{Name: "embedded", SHA256: sumOf(data)}, nil
}
