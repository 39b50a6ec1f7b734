// Package smooth certifies a smoothed classifier by randomized smoothing. The smoothed classifier
// says of an image the class that a network says most often of the image with normal noise. Around
// the image it says the same within an L2 radius that follows from how often. What is certified is
// the smoothed classifier and not the network, and an image's radius is wrong with a chance of at
// most alpha.
//
// Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918.
package smooth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/portable"
	"advsweep/pipeline"
	"advsweep/stat"

	"gorgonia.org/tensor"
)

// A Smoothing certifies images: Certify of the paper.
type Smoothing struct {
	Sigma float64 // standard deviation of the noise on each pixel, in units of pixels
	// Choose is how many draws choose the class, n0 of the paper, and Draws how many others count
	// it, n of the paper.
	Choose, Draws int
	// Alpha is the chance, at most, that what is certified of an image is wrong.
	Alpha float64
	Seed  uint64
}

// MaxDraws bounds Choose and Draws: the number of a draw has 32 bits.
const MaxDraws = 1_000_000_000

// A FieldError says that a field of a Smoothing has a value that it cannot have.
type FieldError struct {
	Field string // its name in Smoothing
	Err   error
}

func (e *FieldError) Error() string { return fmt.Sprintf("smooth: %s %v", e.Field, e.Err) }
func (e *FieldError) Unwrap() error { return e.Err }

// Validate returns a *FieldError unless s can be run.
func (s Smoothing) Validate() error {
	// No draw lies beyond 6.35.
	if far := float32(8 * s.Sigma); !(s.Sigma > 0) || far-far != 0 {
		return &FieldError{"Sigma", fmt.Errorf("%v, want a finite number above 0", s.Sigma)}
	}
	if !(s.Alpha > 0 && s.Alpha < 1) {
		return &FieldError{"Alpha", fmt.Errorf("%v, want a chance between 0 and 1", s.Alpha)}
	}
	for _, f := range []struct {
		name string
		n    int
	}{{"Choose", s.Choose}, {"Draws", s.Draws}} {
		if f.n < 1 || f.n > MaxDraws {
			return &FieldError{f.name, fmt.Errorf("%d, want 1 to %d", f.n, MaxDraws)}
		}
	}
	// Of a fair coin all throws fall alike with this chance.
	need := 1
	for chance := 0.5; chance > s.Alpha; chance /= 2 {
		need++
	}
	if s.Draws < need {
		return &FieldError{"Draws", fmt.Errorf("%d, too few to certify anything with a chance of failure of %v, want at least %d", s.Draws, s.Alpha, need)}
	}
	return nil
}

// Largest is the radius of an image all of whose draws have its class: no radius is larger. It is 0
// where even these are too few.
func (s Smoothing) Largest() float64 {
	_, radius := s.radius(s.Draws)
	return radius
}

// radius returns the lower end of the interval of the chance of a class that count of Draws have,
// and the certified radius, 0 where the end is below 1/2.
func (s Smoothing) radius(count int) (low, radius float64) {
	low = stat.ClopperPearson(count, s.Draws, s.Alpha)
	if low < 0.5 {
		return low, 0
	}
	return low, float64(s.Sigma * portable.NormalQuantile(low))
}

// An Image is what was found of one image.
type Image struct {
	Index int   // in its data set
	Label int32 // the true class
	Clean int32 // the class that the network says of the image as it is
	// Class is the one that most of the first draws have, of equal ones the first. The smoothed
	// classifier says it, if it does not abstain.
	Class int32
	Count int     // how many of the Draws others have Class
	Low   float64 // lower end of the interval of Class's chance
	// Radius is the L2 radius, in units of pixels, within which the smoothed classifier says Class;
	// 0 if it abstains.
	Radius float64
}

// Abstains reports whether the smoothed classifier says nothing of the image: the draws do not show
// that Class has a chance of 1/2.
func (i Image) Abstains() bool { return i.Low < 0.5 }

// Right reports whether the smoothed classifier says the image's label.
func (i Image) Right() bool { return !i.Abstains() && i.Class == i.Label }

// A Runner runs a Smoothing on a backend. Nothing that is found depends on its fields.
type Runner struct {
	Backend pipeline.Backend
	Rows    int // of a batch, if it is less than the backend's and not 0
	Threads int // that draw noise; below 1: one for each processor
	// Progress, if set, is called now and then from the goroutine of Run: done of total draws.
	Progress func(done, total int)
}

// Run certifies every image of set, one after the other, and calls each for what was found of it.
// When ctx ends it soon returns ctx's error; what each was given is whole. It returns an error of
// each as it is, and that of an image whose logits are not finite.
func (r Runner) Run(ctx context.Context, s Smoothing, set *dataset.Set, each func(Image) error) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if set == nil || set.N() == 0 || set.Images == nil {
		return errors.New("smooth: no images")
	}
	info := r.Backend.Info()
	if err := set.Check(info.Classes); err != nil {
		return err
	}
	one := &sampler{Runner: r, s: s, total: set.N() * (s.Choose + s.Draws), rows: max(1, maxNumbers/info.Inputs)}
	for i := range set.N() {
		image, err := set.Slice(i, 1)
		if err != nil {
			return err
		}
		found, err := one.certify(ctx, image)
		if err != nil {
			return err
		}
		if err := each(found); err != nil {
			return err
		}
	}
	return nil
}

// maxNumbers is how many pixels the rows of a batch have in all, at most: 32 MB in float32.
const maxNumbers = 1 << 23

// A sampler counts classes of images with noise.
type sampler struct {
	Runner
	s           Smoothing
	rows        int // of a batch, at most
	done, total int // draws
}

// certify returns what is found of the one image of set.
func (r *sampler) certify(ctx context.Context, set *dataset.Set) (Image, error) {
	image := Image{Index: set.First, Label: set.Labels[0]}
	classes, err := r.classes(ctx, set.Images, set.Labels)
	if err != nil {
		return image, r.named(image.Index, -1, err)
	}
	image.Clean = classes[0]
	first, err := r.count(ctx, set, 0, r.s.Choose)
	if err != nil {
		return image, err
	}
	image.Class = int32(slices.Index(first, slices.Max(first)))
	rest, err := r.count(ctx, set, r.s.Choose, r.s.Choose+r.s.Draws)
	if err != nil {
		return image, err
	}
	image.Count = rest[image.Class]
	image.Low, image.Radius = r.s.radius(image.Count)
	return image, nil
}

// count returns how many of the draws from one number to before another have each class, [O].
func (r *sampler) count(ctx context.Context, set *dataset.Set, from, to int) ([]int, error) {
	counts := make([]int, r.Backend.Info().Classes)
	for at := from; at < to; {
		rows := min(r.rows, r.Backend.Info().Rows, to-at)
		if r.Rows > 0 {
			rows = min(rows, r.Rows)
		}
		noisy, err := r.noisy(set, at, rows)
		if err != nil {
			return nil, err
		}
		classes, err := r.classes(ctx, noisy, slices.Repeat(set.Labels, rows))
		var short interface{ OutOfMemory() bool }
		if rows > 1 && errors.As(err, &short) && short.OutOfMemory() {
			r.rows = rows / 2
			continue
		}
		if err != nil {
			return nil, r.named(set.First, at, err)
		}
		for _, c := range classes {
			counts[c]++
		}
		at += rows
		if r.done += rows; r.Progress != nil {
			r.Progress(r.done, r.total)
		}
	}
	return counts, nil
}

// classes returns what the network says of images [rows, …] with labels [rows]: the first largest
// logit of each.
func (r *sampler) classes(ctx context.Context, images *tensor.Dense, labels []int32) ([]int32, error) {
	if err := r.Backend.Load(ctx, 0, images, labels); err != nil {
		return nil, err
	}
	if err := r.Backend.Begin(ctx, 0, len(labels), []float64{0}); err != nil {
		return nil, err
	}
	logits, err := r.Backend.Logits(ctx)
	if err != nil {
		return nil, err
	}
	return classesOf(logits, r.Backend.Info().Classes)
}

// classesOf returns the first largest of each row of logits [rows, classes], of Float32 or Float64.
// It returns an attack.NotFiniteRow for a row that is not finite.
func classesOf(logits *tensor.Dense, classes int) ([]int32, error) {
	switch z := logits.Data().(type) {
	case []float32:
		return largest(z, classes)
	case []float64:
		return largest(z, classes)
	}
	return nil, fmt.Errorf("smooth: logits of %v, want float32 or float64", logits.Dtype())
}

func largest[T float32 | float64](logits []T, classes int) (all []int32, err error) {
	z := make([]float64, classes)
	for row := range slices.Chunk(logits, classes) {
		for j, v := range row {
			z[j] = float64(v)
		}
		class, _, ok := attack.Judge(z, 0)
		if !ok {
			return nil, attack.NotFiniteRow(len(all))
		}
		all = append(all, int32(class))
	}
	return all, nil
}

// named returns err with the image that it is of, if it is of a row. draw is the number of the draw
// of row 0, or -1 of the image as it is.
func (r *sampler) named(image, draw int, err error) error {
	var row attack.NotFiniteRow
	switch {
	case !errors.As(err, &row):
		return err
	case draw < 0:
		return fmt.Errorf("smooth: image %d: its logits are not finite", image)
	}
	return fmt.Errorf("smooth: image %d with noise of sigma %v: the logits of draw %d are not finite", image, r.s.Sigma, draw+int(row))
}

// noisy returns the one image of set with each of so many draws from number first on, [rows, …], in
// the backend's precision. Pixels leave their range, as in the paper: nothing is clipped.
func (r *sampler) noisy(set *dataset.Set, first, rows int) (*tensor.Dense, error) {
	clean, err := pixels(set.Images)
	if err != nil {
		return nil, err
	}
	shape := set.Images.Shape().Clone()
	shape[0] = rows
	if r.Backend.Info().Precision == "float64" {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(drawn[float64](r, clean, set.First, first, rows))), nil
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(drawn[float32](r, clean, set.First, first, rows))), nil
}

// drawn returns the rows of noisy, [rows·I], of an image with pixels clean [I].
func drawn[T float32 | float64](r *sampler, clean []float64, image, first, rows int) []T {
	size, threads := len(clean), r.Threads
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	all := make([]T, rows*size)
	var wg sync.WaitGroup
	share := (rows + threads - 1) / threads
	for lo := 0; lo < rows; lo += share {
		wg.Go(func() {
			noise := make([]float64, size)
			for row := lo; row < min(lo+share, rows); row++ {
				attack.Normals(noise, r.s.Seed, image, uint32(first+row))
				for i, z := range noise {
					all[row*size+i] = T(clean[i] + float64(r.s.Sigma*z))
				}
			}
		})
	}
	wg.Wait()
	return all
}

// pixels are those of images of Uint8, whose v is the pixel v/255, or of Float32.
func pixels(images *tensor.Dense) ([]float64, error) {
	switch data := images.Data().(type) {
	case []uint8:
		all := make([]float64, len(data))
		for i, v := range data {
			all[i] = float64(v) / 255
		}
		return all, nil
	case []float32:
		all := make([]float64, len(data))
		for i, v := range data {
			all[i] = float64(v)
		}
		return all, nil
	}
	return nil, fmt.Errorf("smooth: images of %v, want uint8 or float32", images.Dtype())
}
