package pipeline

import (
	"math"
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
	Images  []Clean // [N], what the model says of the clean images
	Curves  []Curve // one for each attack
	// Certified is what was proven of the images; nil if that was not asked.
	Certified *Certificate
}

// A Clean is what the model says of one image as it is.
type Clean struct {
	Label, Class int32
	Least        int32   // the class with the smallest logit but the label, the first one on a tie
	Margin       float32 // z_label - the largest other logit: above 0 if it is classified correctly
}

// An Outcome is what became of one image under one attack at one eps: of its restarts the first
// that fools the model or, if none does, the one with the smallest margin. Toward a target, see
// attack.Target.Aims, the first that becomes the target goes before.
type Outcome struct {
	Class   int32 // that the model gives the perturbed image
	Rounded int32 // and once its pixels are rounded to 8 bits within the ball; -1 if not asked
	attack.Norms
	Margin float32 // z_label - the largest other logit
	// Zero is set if the gradient was zero in every pixel at some step; of the worst of all attacks
	// if all of them left the image unattacked. What follows from it Curve.Unattacked says.
	Zero bool
	// Stage is the place, from 1, of the stage of a staged attack that fooled the image here or at a
	// smaller eps; 0 if none did, and under other attacks. Passes is how many passes up or down the
	// network a staged attack took for the image at this eps.
	Stage  uint8
	Passes uint32
}

// unattacked is Curve.Unattacked of what became of an image with a label under a.
func (o *Outcome) unattacked(a attack.Attack, label int32) bool {
	if !o.Zero || o.Class != label {
		return false
	}
	// A random start moves every image. Of attacks that are made of several Zero says it all.
	return o.L0 == 0 || a.Start || a.Composite() || a.Staged()
}

// Target is the class that attack a goes to with image i; ok is false if it is not one for all
// restarts.
func (r *Result) Target(a attack.Attack, i int) (class int32, ok bool) {
	im := &r.Images[i]
	switch {
	case !a.Target.Aims():
		return 0, false
	case a.Target == attack.LeastLikely:
		return im.Least, true
	}
	return int32(a.Target.Of(int(im.Label), make([]float64, r.Classes), 0)), true
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

// ZeroGradient lists the images, by their index in the data set, that one of the attacks left
// Unattacked at some eps: being classified correctly says nothing of them there.
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
	// ZeroGradient is how many images were Unattacked, [E].
	ZeroGradient []int
	// ZeroImages lists those that were at any eps by their index in the data set, increasing.
	ZeroImages []int
	Exact      *Exact // the curve at every eps, if Sweep.Exact asked for it; else nil
	// Outcomes are [N·E], image i at eps e in i·E + e, of an attack that was asked row by row; nil
	// where Rays says it all.
	Outcomes []Outcome
	// Reached are [N·E], as Outcomes, of an attack toward all other classes: those, rising, that a run
	// toward them came to. An image that was wrong as it is may be given such a class without being
	// moved. It is nil of other attacks.
	Reached [][]int32
	// Rays are [N], of an attack whose outcomes were read off its walks; nil where Outcomes are.
	Rays []Ray
	// RayNorms are the means of the norms over the images at each eps [E], with Rays.
	RayNorms []MeanNorms
}

// A Ray is what became of one image along its ray, at each of Result.Eps.
type Ray struct {
	Classes []int32 // [E], that the model gives the perturbed image
	// Rounded [E] tells whether the image is given its label once its pixels are rounded, as
	// Outcome.Rounded has them; nil if not asked.
	Rounded []bool
	Zero    bool    // the gradient is zero in every pixel: the image does not move
	Least   float32 // the least margin over Eps, z_label - the largest other logit
	At      int     // its place in Eps, the first one on a tie
}

// MeanNorms are the means of the norms of perturbations over images; L1 is known of attacks in that
// norm alone.
type MeanNorms struct{ Linf, L2, L0, L1 float64 }

func (m *MeanNorms) add(v attack.Norms) {
	m.Linf, m.L2, m.L0, m.L1 = m.Linf+float64(v.Linf), m.L2+float64(v.L2), m.L0+float64(v.L0), m.L1+float64(v.L1)
}

func (m MeanNorms) over(n float64) MeanNorms {
	return MeanNorms{m.Linf / n, m.L2 / n, m.L0 / n, m.L1 / n}
}

// Known reports whether c says what became of every image: a Result of Sweep.Run always does.
func (c *Curve) Known() bool { return c.Outcomes != nil || c.Rays != nil }

// Class is what the model gives image i at eps e, by their places. c must be Known, here and below.
func (c *Curve) Class(i, e int) int32 {
	if c.Rays != nil {
		return c.Rays[i].Classes[e]
	}
	return c.Outcomes[i*len(c.Correct)+e].Class
}

// RoundedRight reports whether image i at eps e, once its pixels are rounded to 8 bits within the
// ball, is given label, which is its own. asked is false if that was not asked for.
func (c *Curve) RoundedRight(i, e int, label int32) (right, asked bool) {
	if c.Rays != nil {
		if c.Rays[i].Rounded == nil {
			return false, false
		}
		return c.Rays[i].Rounded[e], true
	}
	class := c.Outcomes[i*len(c.Correct)+e].Rounded
	return class == label, class >= 0
}

// Zero reports whether the gradient of image i was zero in every pixel at some step at eps e.
func (c *Curve) Zero(i, e int) bool {
	if c.Rays != nil {
		return c.Rays[i].Zero
	}
	return c.Outcomes[i*len(c.Correct)+e].Zero
}

// Unattacked reports whether image i with its label was not attacked at eps e, and is right for
// that: its gradient was zero in every pixel, no step moved it, and it is given its label. A
// gradient that vanishes where the image is wrong already, or on a way that it has come, is no
// fault of the attack: that of DLR does as soon as the label ranks third.
//
// A random start moves every image, so that nobody can tell whether a step did. Of an attack with
// one an image counts that is right and had a zero gradient at some step.
func (c *Curve) Unattacked(i, e int, label int32) bool {
	if c.Rays != nil {
		return c.Rays[i].Zero && c.Rays[i].Classes[e] == label
	}
	return c.Outcomes[i*len(c.Correct)+e].unattacked(c.Attack, label)
}

// EverUnattacked reports whether Unattacked holds of image i at some eps.
func (c *Curve) EverUnattacked(i int, label int32) bool {
	for e := range c.Correct {
		if c.Unattacked(i, e, label) {
			return true
		}
	}
	return false
}

// A StageCount is how many images are right after the first stages of a staged attack.
type StageCount struct {
	Attack attack.Attack // the last of these stages
	Right  []int         // [E]
}

// Stages counts, for each stage of a staged attack, the images that are right after it at each eps;
// nil of other attacks. An image that was fooled at a smaller eps, and so took no pass, is wrong
// before the first stage. images are Result.Images, of a model with so many classes.
func (c *Curve) Stages(images []Clean, classes int) []StageCount {
	E := len(c.Correct)
	var all []StageCount
	for k, stage := range c.Attack.Stages(classes) {
		s := StageCount{stage, make([]int, E)}
		for i := range images {
			if images[i].Class != images[i].Label {
				continue
			}
			for e := range E {
				if o := &c.Outcomes[i*E+e]; o.Stage == 0 || o.Passes > 0 && int(o.Stage) > k+1 {
					s.Right[e]++
				}
			}
		}
		all = append(all, s)
	}
	return all
}

// MeanPasses is how many passes up or down the network the attack asks for an image at each eps
// [E], in the mean over the images; a gradient is two. What the model says of the row in the end
// is in it, what rounding asks is not. What eps share is counted at the first one. A backend may
// do less than it is asked, as where it reads a curve off its walks. ok is false of the worst of
// all.
func (c *Curve) MeanPasses() (passes []float64, ok bool) {
	if !c.Known() || c.Attack.Composite() {
		return nil, false
	}
	one, err := c.Attack.Cost()
	if err != nil {
		return nil, false
	}
	E := len(c.Correct)
	passes = make([]float64, E)
	if !c.Attack.Staged() {
		for e := range passes {
			passes[e] = float64(runs(c.Attack)) * (one.Row + 1)
		}
		passes[0] += one.Image
		return passes, true
	}
	for k := range c.Outcomes {
		passes[k%E] += float64(c.Outcomes[k].Passes)
	}
	for e := range passes {
		passes[e] /= float64(len(c.Outcomes) / E)
	}
	return passes, true
}

// KnownOf reports whether c says what became of each of n images at each of E eps.
func (c *Curve) KnownOf(n, E int) bool {
	switch {
	case !c.Known() || len(c.Correct) != E:
		return false
	case c.Rays == nil:
		return len(c.Outcomes) == n*E
	}
	for i := range c.Rays {
		if r := &c.Rays[i]; len(r.Classes) != E || r.Rounded != nil && len(r.Rounded) != E {
			return false
		}
	}
	return len(c.Rays) == n && len(c.RayNorms) == E
}

// Moved reports whether image i at eps e, the attack's first one if that is 0, has left its place
// or its margin in the clean image, im. Of a ray the class alone tells: it begins at the image.
func (c *Curve) Moved(i, e int, im *Clean) bool {
	if c.Rays != nil {
		return c.Rays[i].Classes[e] != im.Class
	}
	o := &c.Outcomes[i*len(c.Correct)+e]
	return o.Norms != (attack.Norms{}) || o.Class != im.Class || o.Margin != im.Margin
}

// Least is the least margin of image i over all eps, and the place of the first eps that has it.
func (c *Curve) Least(i int) (margin float32, e int) {
	if c.Rays != nil {
		return c.Rays[i].Least, c.Rays[i].At
	}
	out := c.Outcomes[i*len(c.Correct):][:len(c.Correct)]
	for k := range out {
		if out[k].Margin < out[e].Margin {
			e = k
		}
	}
	return out[e].Margin, e
}

// Margin is the margin of image i at eps e. ok is false if it is not known, as of Rays.
func (c *Curve) Margin(i, e int) (margin float32, ok bool) {
	if c.Rays != nil {
		return 0, false
	}
	return c.Outcomes[i*len(c.Correct)+e].Margin, true
}

// MeanNorms are those of the perturbations at eps e.
func (c *Curve) MeanNorms(e int) MeanNorms {
	if c.Rays != nil {
		return c.RayNorms[e]
	}
	var m MeanNorms
	E := len(c.Correct)
	for k := e; k < len(c.Outcomes); k += E {
		m.add(c.Outcomes[k].Norms)
	}
	return m.over(float64(len(c.Outcomes) / E))
}

// AllMeanNorms are MeanNorms at each eps [E], in one pass over the images.
func (c *Curve) AllMeanNorms() []MeanNorms {
	if c.Rays != nil {
		return slices.Clone(c.RayNorms)
	}
	E := len(c.Correct)
	all := make([]MeanNorms, E)
	for k := range c.Outcomes {
		all[k%E].add(c.Outcomes[k].Norms)
	}
	n := float64(len(c.Outcomes) / max(1, E))
	for e := range all {
		all[e] = all[e].over(n)
	}
	return all
}

// At returns c at some eps, given by their places: what became of the images there, without
// Curve.Exact. images are Result.Images, and first is the index of the first one in the data set.
//
// Of Rays the least margin may lie at an eps that is left out. So nothing is known of margins then:
// each Least is NaN, and its At is -1.
func (c *Curve) At(images []Clean, first int, eps ...int) Curve {
	cut := Curve{Attack: c.Attack, Correct: pick(c.Correct, eps), ZeroGradient: make([]int, len(eps))}
	n := 0
	switch {
	case c.Rays != nil:
		n = len(c.Rays)
		cut.Rays, cut.RayNorms = cutRays(c.Rays, eps), pick(c.RayNorms, eps)
	case c.Outcomes != nil:
		E := len(c.Correct)
		n = len(c.Outcomes) / E
		cut.Outcomes = make([]Outcome, 0, n*len(eps))
		for i := range n {
			for _, e := range eps {
				cut.Outcomes = append(cut.Outcomes, c.Outcomes[i*E+e])
				if c.Reached != nil {
					cut.Reached = append(cut.Reached, c.Reached[i*E+e])
				}
			}
		}
	}
	cut.countUnattacked(images[:n], first)
	return cut
}

// countUnattacked fills ZeroGradient, which has room, and ZeroImages by what became of images.
func (c *Curve) countUnattacked(images []Clean, first int) {
	for i := range images {
		ever := false
		for e := range c.ZeroGradient {
			if c.Unattacked(i, e, images[i].Label) {
				c.ZeroGradient[e]++
				ever = true
			}
		}
		if ever {
			c.ZeroImages = append(c.ZeroImages, first+i)
		}
	}
}

// cutRays returns rays at some eps, given by their places, without their least margins.
func cutRays(rays []Ray, eps []int) []Ray {
	cut := make([]Ray, len(rays))
	for i := range rays {
		r := &rays[i]
		cut[i] = Ray{Classes: pick(r.Classes, eps), Zero: r.Zero, Least: float32(math.NaN()), At: -1}
		if r.Rounded != nil {
			cut[i].Rounded = pick(r.Rounded, eps)
		}
	}
	return cut
}

// pick returns some of values, by their places.
func pick[T any](values []T, places []int) []T {
	some := make([]T, len(places))
	for i, k := range places {
		some[i] = values[k]
	}
	return some
}

// Within returns how many images are classified correctly at every eps up to each of Eps, [E]: a
// curve that does not rise. It is nil if c is not Known. images are Result.Images.
func (c *Curve) Within(images []Clean) []int {
	if !c.Known() {
		return nil
	}
	E := len(c.Correct)
	within := make([]int, E)
	for i := range images {
		for e := 0; e < E && c.Class(i, e) == images[i].Label; e++ {
			within[e]++
		}
	}
	return within
}

// FirstFailing returns the place in Eps of the least eps at which image i is not given its label,
// or -1.
func (c *Curve) FirstFailing(images []Clean, i int) int {
	for e := range c.Correct {
		if c.Class(i, e) != images[i].Label {
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
	// ZeroGradient is set if the image was not attacked, and is right for that: see
	// Curve.Unattacked.
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
