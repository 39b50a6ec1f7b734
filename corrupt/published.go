package corrupt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"advsweep/dataset"
	"advsweep/pipeline"
)

// A Published is a folder of corrupted images that somebody else made, as NPY arrays.
type Published struct {
	Dir    string
	Arrays []Array // in the order of their names
}

// An Array is a corruption as files hold it.
type Array struct {
	Corruption     string
	Images, Labels string // paths
	Severities     int    // one after another, of the same images; 0: there is but one
	// Clean says that the images are the clean ones: MNIST-C's folder identity.
	Clean bool
	// Extra says that the mean corruption accuracy leaves the array out, as RobustBench does with
	// all of CIFAR-10-C but fifteen.
	Extra bool
}

// Benchmark are the corruptions over which the mean corruption accuracy is taken.
//
// Hendrycks and Dietterich 2019, arXiv:1903.12261, section 4.1. Four more are published for tuning.
var Benchmark = []string{
	"gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
	"snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
}

// The names of files in a form of folder.
const (
	labelsName     = "labels.npy"      // beside the arrays of CIFAR-10-C
	testImagesName = "test_images.npy" // in each folder of MNIST-C
	testLabelsName = "test_labels.npy"
)

// OpenPublished finds the arrays of a folder. It is as CIFAR-10-C, an array NAME.npy for each
// corruption [5·N, H, W, C] beside labels.npy [5·N], or as MNIST-C, a folder NAME for each with
// test_images.npy [N, H, W, 1] and test_labels.npy [N]. It returns an error that says what it
// looked for if the folder is neither, or both.
func OpenPublished(dir string) (*Published, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("corrupt: %w", err)
	}
	var files, folders []Array
	labels := filepath.Join(dir, labelsName)
	for _, e := range entries { // sorted by name
		name, path := e.Name(), filepath.Join(dir, e.Name())
		if corruption, ok := strings.CutSuffix(name, ".npy"); ok && name != labelsName {
			files = append(files, Array{Corruption: corruption, Images: path, Labels: labels, Severities: Severities, Extra: !slices.Contains(Benchmark, corruption)})
		}
		images := filepath.Join(path, testImagesName)
		if there(images) {
			folders = append(folders, Array{Corruption: name, Images: images, Labels: filepath.Join(path, testLabelsName), Clean: name == "identity"})
		}
	}
	p := &Published{Dir: dir, Arrays: append(files, folders...)}
	switch {
	case len(p.Arrays) == 0:
		return nil, fmt.Errorf("corrupt: %s: no corruptions: want NAME.npy with %s, as CIFAR-10-C has, or folders with %s and %s, as MNIST-C has: %w",
			dir, labelsName, testImagesName, testLabelsName, fs.ErrNotExist)
	case len(files) > 0 && len(folders) > 0:
		return nil, fmt.Errorf("corrupt: %s: both %s and %s: want arrays in the folder, or folders of arrays", dir, filepath.Base(files[0].Images), filepath.Join(folders[0].Corruption, testImagesName))
	case len(files) > 0 && !there(labels):
		return nil, fmt.Errorf("corrupt: %s: %s and no %s beside it: %w", dir, filepath.Base(files[0].Images), labelsName, fs.ErrNotExist)
	}
	return p, nil
}

func there(path string) bool { _, err := os.Stat(path); return err == nil }

// Names lists the corruptions of p.
func (p *Published) Names() []string {
	var names []string
	for _, a := range p.Arrays {
		names = append(names, a.Corruption)
	}
	return names
}

// Select returns p with the arrays of some corruptions, in p's order. It returns an error that
// names one that p does not have.
func (p *Published) Select(names []string) (*Published, error) {
	some := &Published{Dir: p.Dir}
	for _, name := range names {
		if !slices.Contains(p.Names(), name) {
			return nil, fmt.Errorf("corrupt: %s: no corruption %.60q, want one of %s", p.Dir, name, strings.Join(p.Names(), ", "))
		}
	}
	for _, a := range p.Arrays {
		if slices.Contains(names, a.Corruption) {
			some.Arrays = append(some.Arrays, a)
		}
	}
	return some, nil
}

// A Selection says which images of published arrays are taken, and how files are read.
type Selection struct {
	Query dataset.Query // the settings; its names of files are not looked at
	Shape []int         // of an image of the model, as Stored.For takes it
	// Of each severity, N images from Offset on. N = 0: all that are left.
	Offset, N int
}

// open reads the images of a.
func (how Selection) open(a Array) (*dataset.Set, error) {
	q := how.Query
	q.Images, q.Labels, q.Path, q.Split = a.Images, a.Labels, "", ""
	stored, err := dataset.Open(q)
	if err != nil {
		return nil, err
	}
	return stored.For(how.Shape)
}

// Published asks b of the arrays of p, and of the images of clean, which may be nil. One array is
// in memory at a time. Corruptions and Grid of e are not looked at. An error names the file.
func (e Evaluation) Published(ctx context.Context, b pipeline.Backend, clean *dataset.Set, p *Published, how Selection) (*Result, error) {
	if len(p.Arrays) == 0 {
		return nil, errors.New("corrupt: no arrays")
	}
	e.Corruptions, e.Grid = nil, Grid{}
	res := &Result{}
	// Numbers of images are known once files are read, so the progress counts severities, by
	// thousandths.
	all, at := 0, 0
	for _, a := range p.Arrays {
		all += a.pieces()
	}
	if clean != nil {
		all++
	}
	ask := func(set *dataset.Set) (Count, error) {
		if err := e.fits(b, set); err != nil {
			return Count{}, err
		}
		r := running{Evaluation: e, b: b, total: set.N()}
		if e.Progress != nil {
			r.Progress = func(done, total int) { e.Progress(1000*at+1000*done/total, 1000*all) }
		}
		right, err := r.stored(ctx, set)
		at++
		return countOf(right), err
	}
	if clean != nil {
		var err error
		if res.Clean, err = ask(clean); err != nil {
			return nil, fmt.Errorf("corrupt: clean images: %w", err)
		}
	}
	n := 0 // images of each severity
	for _, a := range p.Arrays {
		// Else the last array stays until as much again is read, which is 300 MB of CIFAR-10-C.
		runtime.GC()
		set, err := how.open(a)
		if err != nil {
			return nil, err
		}
		if set.N()%a.pieces() != 0 {
			return nil, fmt.Errorf("corrupt: %s: %d images, want those of %d severities one after another, as many of each", a.Images, set.N(), a.pieces())
		}
		res.Files = append(res.Files, ArrayFiles{a.Corruption, set.Source.Images, set.Source.Labels})
		for k := range a.pieces() {
			some, err := how.cut(set, k, a.pieces())
			if err != nil {
				return nil, fmt.Errorf("corrupt: %s: %w", a.Images, err)
			}
			count, err := ask(some)
			if err != nil {
				return nil, fmt.Errorf("corrupt: %s: %w", a.Images, err)
			}
			if n == 0 {
				n = count.N
			}
			if count.N != n {
				return nil, fmt.Errorf("corrupt: %s: %d images, want %d as in the other arrays: the mean takes as many of each", a.Images, count.N, n)
			}
			if a.Clean && clean == nil {
				res.Clean = count
				continue
			}
			score := Score{Corruption: a.Corruption, Extra: a.Extra || a.Clean, Count: count}
			if a.Severities > 0 {
				score.Severity = k + 1
			}
			res.Scores = append(res.Scores, score)
		}
	}
	return res, nil
}

// pieces is how many of equal length the array has.
func (a Array) pieces() int { return max(1, a.Severities) }

// cut returns the images that how asks for of piece k of set.
func (how Selection) cut(set *dataset.Set, k, pieces int) (*dataset.Set, error) {
	size := set.N() / pieces
	n := how.N
	if n == 0 {
		n = size - how.Offset
	}
	if how.Offset < 0 || how.Offset >= size || n < 1 || n > size-how.Offset {
		return nil, fmt.Errorf("%d images from index %d on, and a severity has %d", n, how.Offset, size)
	}
	return set.Slice(k*size+how.Offset, n)
}
