package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/threads"
)

// A Prover proves lower bounds on margins, as a certify.Certifier does. Several goroutines may use
// it.
type Prover interface {
	// Margin returns a number that z_label - max_{j≠label} z_j is not below for any x with lo <= x
	// <= hi, lo and hi [I].
	Margin(ctx context.Context, lo, hi []float64, label int) (float64, error)
}

// A Certificate is what was proven of the images of a sweep.
type Certificate struct {
	Method string
	// Eps has for each image, [N], the largest eps that was proven: no point of that ball is
	// misread by the model in exact arithmetic, nor of a smaller one. It is NotProven where nothing
	// was, not even of the clean image.
	Eps []float64
}

// NotProven stands for the eps of an image of which nothing was proven.
const NotProven = -1

// Holds reports whether image i is certified at eps.
func (c *Certificate) Holds(i int, eps float64) bool { return c.Eps[i] >= eps }

// A Bracket is what is known at one eps: the number of images that no perturbation within eps fools
// lies from Certified to Right.
type Bracket struct {
	Certified int // images that are proven
	Right     int // images that are right under every attack of the sweep at this eps and below
	Unknown   int // images of Right that are not proven
}

// Brackets returns the bracket at each of Eps, [E]. It is nil if nothing was certified.
func (r *Result) Brackets() []Bracket {
	if r.Certified == nil {
		return nil
	}
	all := make([]Bracket, len(r.Eps))
	for i := range r.Images {
		right := r.Images[i].Class == r.Images[i].Label
		for e, eps := range r.Eps {
			right = right && r.rightAt(i, e)
			proven := r.Certified.Holds(i, eps)
			if proven {
				all[e].Certified++
			}
			if right {
				if all[e].Right++; !proven {
					all[e].Unknown++
				}
			}
		}
	}
	return all
}

// rightAt reports whether image i is right under every attack at eps e.
func (r *Result) rightAt(i, e int) bool {
	for k := range r.Curves {
		if c := &r.Curves[k]; c.Known() && c.Class(i, e) != r.Images[i].Label {
			return false
		}
	}
	return true
}

// A Contradiction is an image that is certified at an eps and misread by an attack at one that is
// not larger. Either is wrong, or the margin is so near to 0 that rounding to float32 turned it.
type Contradiction struct {
	Image     int // its place in Result.Images
	Certified float64
	Attack    attack.Attack
	Eps       float64 // at which the attack found it
}

func (c Contradiction) String() string {
	return fmt.Sprintf("certified up to eps %v, and misread by %s at eps %v", c.Certified, c.Attack.Name, c.Eps)
}

// Contradictions lists the first of each image; nil if there is none.
func (r *Result) Contradictions() (all []Contradiction) {
	if r.Certified == nil {
		return nil
	}
	for i, top := range r.Certified.Eps {
		if top < 0 {
			continue
		}
		if found, ok := r.contradiction(i, top); ok {
			all = append(all, found)
		}
	}
	return all
}

func (r *Result) contradiction(i int, top float64) (Contradiction, bool) {
	for e, eps := range r.Eps {
		for k := range r.Curves {
			c := &r.Curves[k]
			if eps <= top && c.Known() && !c.Attack.Composite() && c.Class(i, e) != r.Images[i].Label {
				return Contradiction{i, top, c.Attack, eps}, true
			}
		}
	}
	return Contradiction{}, false
}

// fitsProof returns an error unless the sweep can be certified: it is in L∞, and there is a Prover.
func (s Sweep) fitsProof() error {
	if s.Certify == "" {
		return nil
	}
	if s.Prover == nil {
		return fmt.Errorf("pipeline: certify %q without a prover", s.Certify)
	}
	for _, a := range s.Attacks {
		if a.Norm != attack.Linf {
			return fmt.Errorf("pipeline: certify %q: certificates are of balls in linf, and %s is in %s", s.Certify, a.Name, a.Norm)
		}
	}
	return nil
}

// proofImages is how many images a chunk of proofs has at most. A proof takes as long as some
// hundred passes.
const proofImages = 16

// refinements is how often the eps of an image is halved between the largest of Sweep.Eps that is
// proven and the next.
const refinements = 4

// Proven reports of each image of set, [N], whether prover proves it right at every point of the
// ball of eps in L∞, within bounds. So many images are asked at once.
func Proven(ctx context.Context, prover Prover, set *dataset.Set, eps float64, bounds attack.Bounds, at int) ([]bool, error) {
	s, proven := Sweep{Bounds: bounds, Prover: prover}, make([]bool, set.N())
	err := eachImage(set, 0, set.N(), at, func(i int, x []float64) (err error) {
		proven[i], err = s.proven(ctx, x, eps, int(set.Labels[i]))
		return err
	})
	return proven, err
}

// eachImage calls f for images lo to hi-1 of set, so many at once. Of several errors it returns
// that of the first image, with its index in the data set.
func eachImage(set *dataset.Set, lo, hi, at int, f func(i int, x []float64) error) error {
	errs := make([]error, hi-lo)
	threads.Each(max(1, at), hi-lo, func(_, k int) {
		x, err := imageOf(set.Images, lo+k)
		if err == nil {
			err = f(lo+k, x)
		}
		errs[k] = err
	})
	for k, err := range errs {
		if err != nil {
			return fmt.Errorf("pipeline: image %d: %w", set.First+lo+k, err)
		}
	}
	return nil
}

// proven reports whether image x with a label is proven to be right within eps.
func (s Sweep) proven(ctx context.Context, x []float64, eps float64, label int) (bool, error) {
	lo, hi := s.Ball(x, eps)
	margin, err := s.Prover.Margin(ctx, lo, hi, label)
	return margin > 0, err
}

// prove returns what is proven of the images of c, as a record of proofs.
func (r *sweeping) prove(ctx context.Context, c Chunk) ([]byte, error) {
	found := make([]float64, c.Hi-c.Lo)
	err := eachImage(r.set, c.Lo, c.Hi, r.b.Info().Threads, func(i int, x []float64) (err error) {
		found[i-c.Lo], err = r.provenEps(ctx, x, int(r.set.Labels[i]))
		return err
	})
	if err != nil {
		return nil, err
	}
	r.progress(len(found))
	var to []byte
	for _, eps := range found {
		to = appendFloat(to, eps)
	}
	return to, nil
}

// provenEps returns the largest eps that bisection finds proven for image x with a label. A proof
// at an eps is one at each smaller eps, as its ball has those. So all eps share a few proofs.
func (s Sweep) provenEps(ctx context.Context, x []float64, label int) (float64, error) {
	proven := func(eps float64) (bool, error) { return s.proven(ctx, x, eps, label) }
	// The eps below from are proven, that at to and those above are not.
	from, to := 0, len(s.Eps)
	for from < to {
		mid := (from + to) / 2
		ok, err := proven(s.Eps[mid])
		if err != nil {
			return 0, err
		}
		if ok {
			from = mid + 1
		} else {
			to = mid
		}
	}
	switch from {
	case len(s.Eps):
		return s.Eps[from-1], nil
	case 0:
		if s.Eps[0] == 0 {
			return NotProven, nil
		}
		ok, err := proven(0)
		if !ok || err != nil {
			return NotProven, err
		}
	}
	least, most := 0.0, s.Eps[from]
	if from > 0 {
		least = s.Eps[from-1]
	}
	for range refinements {
		mid := least + float64(0.5*(most-least))
		ok, err := proven(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			least = mid
		} else {
			most = mid
		}
	}
	return least, nil
}

// Ball returns the box of all points that an attack can put image x at within eps and the bounds.
// It is wider than that by what rounding to float32 does to pixels.
func (s Sweep) Ball(x []float64, eps float64) (lo, hi []float64) {
	const unit = 1.0 / (1 << 22) // four roundings to float32
	lo, hi = make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		off := float64(unit * (math.Abs(v) + eps))
		lo[i], hi[i] = v-eps-off, v+eps+off
		if !s.Bounds.None() {
			least, most := s.Bounds.Lo, s.Bounds.Hi
			lo[i] = max(lo[i], least-float64(unit*math.Abs(least)))
			hi[i] = min(hi[i], most+float64(unit*math.Abs(most)))
			// An image may begin outside of the bounds.
			lo[i], hi[i] = min(lo[i], hi[i]), max(lo[i], hi[i])
			if eps == 0 {
				lo[i], hi[i] = min(lo[i], v), max(hi[i], v)
			}
		}
	}
	return lo, hi
}

// proofs reads the record of c, a Prove, and calls found for each of its images. It returns an
// error, perhaps after some calls, if c cannot have found that.
func (f form) proofs(c Chunk, payload []byte, found func(image int, eps float64)) error {
	d := &decoder{p: payload}
	for image := c.Lo; image < c.Hi && d.err == nil; image++ {
		eps := d.float()
		if !(eps == NotProven || eps >= 0 && eps <= f.Eps[len(f.Eps)-1]) {
			d.fail(errors.New("an eps that was not asked"))
		}
		if d.err == nil {
			found(image, eps)
		}
	}
	return d.end()
}

// newCertificate is one of n images by the method of s; nil if the sweep has none.
func (s Sweep) newCertificate(n int) *Certificate {
	if s.Certify == "" {
		return nil
	}
	return &Certificate{Method: s.Certify, Eps: slices.Repeat([]float64{NotProven}, n)}
}
