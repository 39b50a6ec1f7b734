package pipeline

import (
	"slices"

	"advsweep/attack"

	"gorgonia.org/tensor"
)

// A Result is what a Sweep found.
type Result struct {
	N       int       // images
	First   int       // index of the first one in the data set
	Clean   int       // images that are classified correctly as they are
	Classes int       // O
	Eps     []float64 // [E], increasing
	Bounds  attack.Bounds
	Images  []Clean // [N], what the model says of the clean images; nil without Sweep.Outcomes
	Curves  []Curve // one for each attack
}

// A Clean is what the model says of one image as it is.
type Clean struct {
	Label, Class int32
	Least        int32   // the class with the smallest logit but the label, the first one on a tie
	Margin       float32 // z_label - the largest other logit: above 0 if it is classified correctly
}

// An Outcome is what became of one image under one attack at one eps: of its restarts the first
// that fools the model or, if none does, the one with the smallest margin.
type Outcome struct {
	Class   int32 // that the model gives the perturbed image
	Rounded int32 // and once its pixels are rounded to 8 bits within the ball; -1 if not asked
	attack.Norms
	Margin float32 // z_label - the largest other logit
	Zero   bool    // the gradient was zero in every pixel at some step
}

// Select returns the result of some of the attacks, by their places in Curves.
func (r *Result) Select(curves ...int) *Result {
	some := *r
	some.Curves = nil
	for _, i := range curves {
		some.Curves = append(some.Curves, r.Curves[i])
	}
	return &some
}

// ZeroGradient lists the images, by their index in the data set, for which ∂L/∂x was zero in
// every pixel at some step of one of the attacks. They were not attacked, or not to
// the end: being classified correctly says nothing of them.
func (r *Result) ZeroGradient() []int {
	all := []int{}
	for _, c := range r.Curves {
		all = append(all, c.ZeroImages...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A Curve is the count of correct predictions at each eps.
type Curve struct {
	Attack  attack.Attack
	Correct []int // [E], of Result.N images
	// ZeroGradient is how many images had a zero gradient at some step, [E].
	ZeroGradient []int
	// ZeroImages lists those of any eps by their index in the data set, increasing.
	ZeroImages []int
	Exact      *Exact // the curve at every eps, if Sweep.Exact asked for it; else nil
	// Outcomes are [N·E], image i at eps e in i·E + e; nil without Sweep.Outcomes.
	Outcomes []Outcome
}

// Within returns how many images are classified correctly at every eps up to each of Eps, [E]: a
// curve that does not rise. It is nil without Outcomes. images are Result.Images.
func (c *Curve) Within(images []Clean) []int {
	if c.Outcomes == nil {
		return nil
	}
	E := len(c.Correct)
	within := make([]int, E)
	for i := range images {
		for e := 0; e < E && c.Outcomes[i*E+e].Class == images[i].Label; e++ {
			within[e]++
		}
	}
	return within
}

// FirstFailing returns the place in Eps of the least eps at which image i is not given its label,
// or -1.
func (c *Curve) FirstFailing(images []Clean, i int) int {
	E := len(c.Correct)
	for e := range E {
		if c.Outcomes[i*E+e].Class != images[i].Label {
			return e
		}
	}
	return -1
}

// An Example is one image before and after an attack.
type Example struct {
	Index       int // in the data set
	Label       int
	Attack      attack.Attack
	Eps         float64
	Bounds      attack.Bounds
	Original    Prediction
	Adversarial Prediction
	// ZeroGradient is set if the gradient was zero in every pixel at some step:
	// the image was not attacked, or not to the end.
	ZeroGradient bool
	// Clean and Perturbed are the image before and after, both of the shape
	// that the data set gives one image, such as [H, W], Float64.
	Clean, Perturbed *tensor.Dense
}

// Fooled reports whether the perturbed image is not given its label.
func (e *Example) Fooled() bool { return e.Adversarial.Class != e.Label }

// A Prediction is what a model says of one image.
type Prediction struct {
	Class         int       // argmax of the logits, the first one on a tie
	Logits        []float64 // [O]
	Probabilities []float64 // [O], softmax of the logits
}
