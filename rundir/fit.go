package rundir

import (
	"context"
	"fmt"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
)

// A BoundsError says that images are not within the bounds of a sweep.
type BoundsError struct {
	Images string  // their name
	Lo, Hi float64 // of their pixels
	Bounds attack.Bounds
}

func (e *BoundsError) Error() string {
	return fmt.Sprintf("pixels of %s reach from %.4g to %.4g, outside the bounds %s", e.Images, e.Lo, e.Hi, e.Bounds)
}

// Fit returns s as a run in a folder computes it with b: in chunks whose size fits m, and without
// what s.LeaveOut leaves out. s.Exact stays only where a curve of s can be exact and b follows
// rays, s.Rounded only where pixels are in [0, 1]: elsewhere levels of 1/255 are not those of the
// images.
//
// It returns a *BoundsError if set is not within s.Bounds. A backend finds that too, but when the
// run has begun: then it could never be finished, and would be in the way of the right one.
func Fit(s pipeline.Sweep, m *model.Model, b pipeline.Backend, set *dataset.Set) (pipeline.Sweep, error) {
	lo, hi := set.Range()
	if !s.Bounds.None() && (float32(lo) < float32(s.Bounds.Lo) || float32(hi) > float32(s.Bounds.Hi)) {
		return s, &BoundsError{set.Source.Images.Name, lo, hi, s.Bounds}
	}
	s, _ = s.LeaveOut(b.Info().Classes)
	_, follows := pipeline.AsExacter(b)
	s.Exact = s.Exact && follows && CanBeExact(s)
	s.Rounded = s.Rounded && lo >= 0 && hi <= 1
	macs, err := m.MACs()
	if err != nil {
		return s, err
	}
	if s.Exact && !pipeline.ExactPays(b) {
		macs *= dearWalk
	}
	s.ChunkWork = pipeline.ChunkWork(macs)
	return s, nil
}

// dearWalk is how many times longer the walk of a model takes for which pipeline.ExactPays is false
// than pipeline takes it to, about: 100 forward passes in the place of 20.
const dearWalk = 5

// CanBeExact reports whether s has a curve that is known at every eps on a backend that follows
// rays: one of FGSM, up to an eps above 0.
func CanBeExact(s pipeline.Sweep) bool {
	return len(s.Eps) > 0 && s.Eps[len(s.Eps)-1] > 0 && slices.ContainsFunc(s.Attacks, pipeline.Rays)
}

// CraftEach makes of set, at eps, what each attack of s makes of it, and hands it to each with the
// place of the attack in s.Attacks. progress, if set, tells how far the attack in hand is.
//
// Of a composite attack, images are those of the attack that fools best. All are kept until the end
// then; else one attack's images are in memory at a time.
func CraftEach(ctx context.Context, b pipeline.Backend, set *dataset.Set, s pipeline.Sweep, eps float64, progress func(done, total int),
	each func(at int, c *pipeline.Crafted) error) error {
	worst := slices.ContainsFunc(s.Attacks, attack.Attack.Composite)
	var plain []*pipeline.Crafted
	for at, a := range s.Attacks {
		if a.Composite() {
			continue
		}
		one, err := pipeline.CraftAll(ctx, b, set, a, eps, s.Bounds, progress)
		if err != nil {
			return err
		}
		if worst {
			plain = append(plain, one)
		} else if err := each(at, one); err != nil {
			return err
		}
	}
	k := 0
	for at, a := range s.Attacks {
		var one *pipeline.Crafted
		switch {
		case !worst:
			return nil
		case a.Composite():
			one = pipeline.WorstCrafted(plain, set.Labels)
		default:
			one = plain[k]
			k++
		}
		if err := each(at, one); err != nil {
			return err
		}
	}
	return nil
}
