package smooth

import (
	"cmp"
	"slices"
)

// A Result is what a Smoothing found of images.
type Result struct {
	Smoothing
	Classes int // of the network
	Images  []Image
	// Asked is how many images were to be certified: more than Images where it was stopped.
	Asked int
}

// Clean is how many images the network itself says the label of, as they are.
func (r *Result) Clean() int { return r.count(func(i Image) bool { return i.Clean == i.Label }) }

// Smoothed is how many images the smoothed classifier says the label of.
func (r *Result) Smoothed() int { return r.count(Image.Right) }

// Abstained is how many images it says nothing of.
func (r *Result) Abstained() int { return r.count(Image.Abstains) }

// Certified is how many images are right with a certified radius of at least radius.
func (r *Result) Certified(radius float64) int {
	return r.count(func(i Image) bool { return i.Right() && i.Radius >= radius })
}

func (r *Result) count(of func(Image) bool) (n int) {
	for _, i := range r.Images {
		if of(i) {
			n++
		}
	}
	return n
}

// MeanRadius is the average certified radius: the mean over all images of the radius of those that
// are right, and 0 of the others. It is 0 of no images.
//
// Zhai et al. 2020, arXiv:2001.02378, section 4.
func (r *Result) MeanRadius() float64 {
	if len(r.Images) == 0 {
		return 0
	}
	sum := 0.0
	for _, i := range r.Images {
		if i.Right() {
			sum += i.Radius
		}
	}
	return sum / float64(len(r.Images))
}

// A Step is a radius up to which the certified accuracy has a value.
type Step struct {
	Radius    float64
	Certified int // images that are right with a radius of at least Radius, and more above no lower one
}

// Steps is the certified accuracy at every radius: a step for each radius that an image has, from
// the smallest on. Up to and at the radius of a step, from above that of the one before, so many
// images are certified; above the last one none is.
func (r *Result) Steps() []Step {
	var radii []float64
	for _, i := range r.Images {
		if i.Right() {
			radii = append(radii, i.Radius)
		}
	}
	slices.SortFunc(radii, cmp.Compare)
	steps := []Step{}
	for k, v := range radii {
		if k == 0 || v != radii[k-1] {
			steps = append(steps, Step{v, len(radii) - k})
		}
	}
	return steps
}
