package corrupt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"advsweep/dataset"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// An Evaluation is what is asked of a model.
type Evaluation struct {
	Corruptions []Corruption // that are made of the images; none leaves them out
	Grid        Grid         // the zero value leaves it out
	Seed        uint64       // of noises
	// Rows bounds the rows of a batch, if it is less than backend.Info.Rows; 0 does not. It changes
	// memory and time, never the result.
	Rows int
	// Progress, if set, is called now and then from the goroutine that runs: done of total answers
	// about an image.
	Progress func(done, total int)
}

// running is an Evaluation under way.
type running struct {
	Evaluation
	b           pipeline.Backend
	done, total int
}

// atOnce is how many pixels of damaged images are held at once.
const atOnce = 1 << 20

// Run asks b of the images of set as they are, under each corruption and severity, and under each
// transformation of the grid. Pixels must lie in [0, 1]. The result does not depend on Rows, nor on
// threads. When ctx ends it soon returns ctx's error.
func (e Evaluation) Run(ctx context.Context, b pipeline.Backend, set *dataset.Set) (*Result, error) {
	if err := e.fits(b, set); err != nil {
		return nil, err
	}
	var all []Transformation
	if !e.Grid.None() {
		all = e.Grid.Transformations()
	}
	n := set.N()
	r := running{Evaluation: e, b: b, total: n * (1 + len(e.Corruptions)*Severities + len(all))}
	right, err := r.stored(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("corrupt: clean images: %w", err)
	}
	res := &Result{Clean: countOf(right)}
	for _, c := range e.Corruptions {
		for severity := 1; severity <= Severities; severity++ {
			right, err := r.made(ctx, set, func(src Image, index int) (Image, error) { return c.Apply(src, severity, e.Seed, index) })
			if err != nil {
				return nil, fmt.Errorf("corrupt: %s, severity %d: %w", c.Name, severity, err)
			}
			res.Scores = append(res.Scores, Score{Corruption: c.Name, Severity: severity, Count: countOf(right)})
		}
	}
	if all == nil {
		return res, nil
	}
	always := make([]bool, n)
	for i := range always {
		always[i] = true
	}
	res.Spatial = &SpatialResult{Grid: e.Grid, Transformations: all}
	for _, m := range all {
		right, err := r.made(ctx, set, func(src Image, _ int) (Image, error) { return m.Apply(src), nil })
		if err != nil {
			return nil, fmt.Errorf("corrupt: images %v: %w", m, err)
		}
		for i, is := range right {
			always[i] = always[i] && is
		}
		res.Spatial.Each = append(res.Spatial.Each, countOf(right))
	}
	res.Spatial.Worst = countOf(always)
	return res, nil
}

// fits returns an error unless e can be run on b over set.
func (e Evaluation) fits(b pipeline.Backend, set *dataset.Set) error {
	if set == nil || set.N() == 0 {
		return errors.New("corrupt: no images")
	}
	if err := set.Check(b.Info().Classes); err != nil {
		return err
	}
	if lo, hi := set.Range(); !(lo >= 0 && hi <= 1) {
		return fmt.Errorf("corrupt: pixels of %s reach from %.4g to %.4g, want [0, 1]: corruptions have their constants there", set.Source.Images.Name, lo, hi)
	}
	im, err := shapeOf(set)
	if err != nil {
		return err
	}
	for _, c := range e.Corruptions {
		if err := c.fits(im.C); err != nil {
			return err
		}
	}
	if e.Grid.None() {
		return nil
	}
	return e.Grid.Validate()
}

// shapeOf is an image of set without its pixels.
func shapeOf(set *dataset.Set) (Image, error) {
	switch s := set.Images.Shape(); len(s) {
	case 3:
		return Image{C: 1, H: s[1], W: s[2]}, nil
	case 4:
		return Image{C: s[1], H: s[2], W: s[3]}, nil
	default:
		return Image{}, fmt.Errorf("corrupt: images %v, want [N, H, W] or [N, C, H, W]", s)
	}
}

// blocks calls do for the images of set, some at a time, and tells the progress.
func (r *running) blocks(ctx context.Context, set *dataset.Set, do func(block *dataset.Set) ([]bool, error)) ([]bool, error) {
	n := set.N()
	size := max(1, atOnce/(set.Images.DataSize()/n))
	all := make([]bool, 0, n)
	for lo := 0; lo < n; lo += size {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		block, err := set.Slice(lo, min(size, n-lo))
		if err != nil {
			return nil, err
		}
		right, err := do(block)
		if err != nil {
			return nil, err
		}
		all = append(all, right...)
		if r.done += block.N(); r.Progress != nil {
			r.Progress(r.done, r.total)
		}
	}
	return all, nil
}

// stored returns which images of set are right as they are, [N].
func (r *running) stored(ctx context.Context, set *dataset.Set) ([]bool, error) {
	return r.blocks(ctx, set, func(block *dataset.Set) ([]bool, error) {
		return pipeline.Right(ctx, r.b, block.First, block.Images, block.Labels, r.Rows)
	})
}

// made returns which images of set are right once change has been at them, [N]. change is called
// from several goroutines. Its pixels go to the backend as float64, which rounds them to its
// precision as it does bytes, so that what changes nothing has the same bits.
func (r *running) made(ctx context.Context, set *dataset.Set, change func(src Image, index int) (Image, error)) ([]bool, error) {
	im, err := shapeOf(set)
	if err != nil {
		return nil, err
	}
	size := im.C * im.H * im.W
	return r.blocks(ctx, set, func(block *dataset.Set) ([]bool, error) {
		n := block.N()
		pixels := make([]float64, n*size)
		errs := make([]error, n)
		inParallel(n, func(i int) {
			src := im
			src.Pixels = pixelsOf(block, i, size)
			dst, err := change(src, block.First+i)
			errs[i] = err
			copy(pixels[i*size:], dst.Pixels)
		})
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		x0 := tensor.New(tensor.WithShape(block.Images.Shape()...), tensor.WithBacking(pixels))
		return pipeline.Right(ctx, r.b, block.First, x0, block.Labels, r.Rows)
	})
}

// pixelsOf returns image i of set, [size], as numbers from 0 to 1.
func pixelsOf(set *dataset.Set, i, size int) []float64 {
	x := make([]float64, size)
	switch p := set.Images.Data().(type) {
	case []uint8:
		for k, v := range p[i*size:][:size] {
			x[k] = float64(v) / 255
		}
	case []float32:
		for k, v := range p[i*size:][:size] {
			x[k] = float64(v)
		}
	}
	return x
}

// inParallel calls do for 0 to n-1 from as many goroutines as there are processors.
func inParallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	workers := min(n, runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}
