package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"

	"gorgonia.org/tensor"
)

// Crafted is what an attack makes of many images at one eps.
type Crafted struct {
	Attack attack.Attack
	Eps    float64
	// Images is [N, …] in the shape of the set, Float32; of the restarts of each image the one that
	// its Outcome is of.
	Images *tensor.Dense
	// Levels is the same in levels of 1/255 within the ball, as backend.Rounding has them, Uint8.
	Levels   *tensor.Dense
	Outcomes []Outcome // [N]; Rounded is what the model says of Levels
}

// craftRows bounds the rows whose images are copied out at once.
const craftRows = 1024

// CraftAll attacks every image of set at eps. What comes out does not depend on the batches that it
// is done in, and is what a Sweep finds there. progress, if not nil, is called now and then.
func CraftAll(ctx context.Context, b Backend, set *dataset.Set, a attack.Attack, eps float64, bounds attack.Bounds, progress func(done, total int)) (*Crafted, error) {
	if a.Composite() {
		return nil, fmt.Errorf("pipeline: craft: %s is no attack of its own: use WorstCrafted", a.Name)
	}
	s := Sweep{Attacks: []attack.Attack{a}, Eps: []float64{eps}, Bounds: bounds}
	if err := s.Validate(b, set); err != nil {
		return nil, err
	}
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return nil, err
	}
	n, R := set.N(), runs(a)
	inputs := b.Info().Inputs
	x, levels := make([]float32, n*inputs), make([]uint8, n*inputs)
	out := &Crafted{Attack: a, Eps: eps, Outcomes: make([]Outcome, n)}
	r := sweeping{Sweep: s, b: b, set: set, held: heldOf(set)}
	r.limit()
	r.rows = min(r.rows, craftRows)
	var err error
	if a.Staged() {
		err = r.craftStaged(ctx, x, levels, out.Outcomes, progress)
	} else {
		err = r.batches(batch{0, n, 0, 1, 0, R}, false, func(bt batch) error {
			if err := r.craft(ctx, bt, x[bt.lo*inputs:bt.hi*inputs], levels[bt.lo*inputs:bt.hi*inputs], out.Outcomes[bt.lo:bt.hi]); err != nil {
				return err
			}
			if bt.last == R && progress != nil {
				progress(bt.hi, n)
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	shape := set.Images.Shape().Clone()
	out.Images = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	out.Levels = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(levels))
	return out, nil
}

// craftStaged is craft of all images by a staged attack.
func (r *sweeping) craftStaged(ctx context.Context, x []float32, levels []uint8, found []Outcome, progress func(done, total int)) error {
	n := len(found)
	r.Rounded = true
	for lo := 0; lo < n; lo += r.rows {
		hi := min(lo+r.rows, n)
		s, err := r.staged(ctx, r.Attacks[0], places(lo, hi), r.Eps, true)
		if err != nil {
			return err
		}
		copy(found[lo:hi], s.found)
		for i := lo; i < hi; i++ {
			r.write(x, levels, i, s.moved[i-lo], s.rounded[i-lo])
		}
		if progress != nil {
			progress(hi, n)
		}
	}
	return nil
}

// write writes image i as it is moved [I], and rounded, to x and levels [images, I].
func (r *sweeping) write(x []float32, levels []uint8, i int, moved, rounded []float64) {
	inputs := len(moved)
	for j := range inputs {
		x[i*inputs+j] = float32(moved[j])
		levels[i*inputs+j] = uint8(math.Round(255 * rounded[j]))
	}
}

// craft attacks the images of bt and writes them to x and levels [images, I], and to found what
// becomes of them: all of it from the first restart on and, of later ones, those that speak for an
// image rather than what is there.
func (r *sweeping) craft(ctx context.Context, bt batch, x []float32, levels []uint8, found []Outcome) error {
	rows := rowsOf(r.b, r.Attacks[0], r.Eps, r.Bounds, r.held, bt.lo, bt.hi)
	rows.restarts(r.Eps, bt.first, bt.restarts())
	if err := rows.begin(ctx); err != nil {
		return rows.named(err)
	}
	if err := rows.attack(ctx, func() {}); err != nil {
		return rows.named(err)
	}
	images, err := r.b.Images(ctx)
	if err != nil {
		return err
	}
	moved := float64s(images)
	out, err := rows.outcomes(ctx, true) // which rounds them
	if err != nil {
		return rows.named(err)
	}
	if images, err = r.b.Images(ctx); err != nil {
		return err
	}
	rounded := float64s(images)
	inputs := r.b.Info().Inputs
	for i := range bt.images() {
		k := rows.pick(i, 0, out)
		if bt.first > 0 && !rows.beats(out[k], found[i], k) {
			continue
		}
		found[i] = out[k]
		r.write(x, levels, i, moved[k*inputs:][:inputs], rounded[k*inputs:][:inputs])
	}
	return nil
}

// WorstCrafted takes of each image, with its label in labels [N], the first of all that fools the
// model or, if none does, the one with the smallest margin, as attack.Worst counts. All are of the
// same images and eps.
func WorstCrafted(all []*Crafted, labels []int32) *Crafted {
	all = slices.DeleteFunc(slices.Clone(all), func(c *Crafted) bool { return c.Attack.Control() })
	n := len(labels)
	worst := &Crafted{Attack: attack.Worst(), Eps: all[0].Eps, Outcomes: make([]Outcome, n)}
	first := all[0].Images.Data().([]float32)
	inputs := len(first) / n
	x, levels := make([]float32, n*inputs), make([]uint8, n*inputs)
	for i, label := range labels {
		at, found := worstOf(len(all), label, func(k int) (attack.Attack, *Outcome) { return all[k].Attack, &all[k].Outcomes[i] })
		from := all[at]
		worst.Outcomes[i] = found
		copy(x[i*inputs:][:inputs], from.Images.Data().([]float32)[i*inputs:])
		copy(levels[i*inputs:][:inputs], from.Levels.Data().([]uint8)[i*inputs:])
	}
	shape := all[0].Images.Shape().Clone()
	worst.Images = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	worst.Levels = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(levels))
	return worst
}
