// Package verdict judges what a sweep found: whether its numbers can be trusted.
// Each verdict is computed in one function, which returns a Finding.
// The command check, report.html and a study's page say findings in their own words and compute
// none.
package verdict

import (
	"advsweep/attack"
)

// A Level says how bad a Finding is.
type Level int

const (
	Pass Level = iota
	Warn
	Fail
)

func (l Level) String() string { return [...]string{"PASS", "WARN", "FAIL"}[l] }

// A Question is what a Finding answers. Its text is the name that check prints.
type Question string

const (
	CleanAccuracy Question = "clean-accuracy" // is the model better than chance without an attack?

	Finite Question = "finite" // is every logit and gradient a finite number?
	AtZero Question = "eps-0"  // does eps 0 leave images as they are?
	Ball   Question = "ball"   // do perturbed images stay in their ball?
	// Iterated: does an attack of many steps fool as many as one of one?
	Iterated        Question = "iterated"
	Noise           Question = "noise"             // does an attack fool as many as a control?
	BetterThanNoise Question = "better-than-noise" // does the attack find what noise does not?
	// BlackBox: do attacks along gradients fool what an attack fools that asks for none?
	BlackBox Question = "black-box"
	// AtFar: is nothing right where any image can be reached?
	AtFar        Question = "far"
	ZeroGradient Question = "zero-gradient" // is an image right since its gradient is zero?
	Saturated    Question = "saturated"     // are margins too large for float32?
	Converged    Question = "converged"     // do twice the steps find more?
	OtherLoss    Question = "loss"          // does the margin as a loss fool more?
	Monotone     Question = "monotone"      // does a larger eps make images right?
	MinAccuracy  Question = "min-accuracy"  // is a Gate reached?
	MinCertified Question = "min-certified" // is a Gate of Proofs?

	// Of a sweep that somebody else set up.
	ShortSteps  Question = "short-steps"  // do the steps reach the largest eps?
	ExactEnds   Question = "exact-ends"   // does the exact curve agree with forward passes?
	EpsUnits    Question = "eps-units"    // can eps be in units of the pixels?
	BoundsUnits Question = "bounds-units" // can bounds?
	NoAttack    Question = "no-attack"    // does any attack look at the model?
	NoControl   Question = "no-control"   // is there a control?
	AboveChance Question = "above-chance" // is the largest eps large enough?
)

// A Finding is the answer to one question. Which fields are set depends on the question.
// Images are named by their index in the data set.
type Finding struct {
	Level  Level
	What   Question
	Attack attack.Attack // that it is about
	Other  attack.Attack // that Attack is compared with
	From   float64       // of Monotone: the smaller eps
	Eps    float64
	// Only counts images. Of two attacks: fooled by Attack alone, by Other alone. Of BlackBox: by
	// attacks along gradients alone, of which Attack is the strongest, and by Other alone.
	// Of Monotone: that become right from From to Eps, that become wrong. Else Only[0] is how many
	// it is about.
	Only [2]int
	// Right counts images that are right: under Attack and under Other, or at From and at Eps.
	// Of MinCertified Right[0] is proven. Of MinAccuracy, AtFar and AboveChance Right[0] is at Eps;
	// Right[1] of AtZero is without an attack.
	Right [2]int
	N     int // images asked
	// P is the chance of Only, or of what is more uneven, if there is nothing to find
	P       float64
	Want    float64 // of MinAccuracy and MinCertified the accuracy; else the images that are right by chance
	Images  []int   // that it is about
	Err     error   // of Finite
	Outside         // of Ball, EpsUnits and BoundsUnits
	Chance          // of CleanAccuracy
}

// Outside is where images are, or are not.
type Outside struct {
	// Excess is how far images leave their ball, and the bounds; of BoundsUnits the least and the
	// largest pixel.
	Excess [2]float64
	Bounds attack.Bounds
}

// Chance is what clean images say of chance.
type Chance struct {
	Guess  int     // how many images have the most frequent label
	Causes []Cause // the likeliest first
}

// sure is the criterion of all tests: a difference counts if its chance is below this.
const sure = 0.001

// Failed counts the findings that fail.
func Failed(found []Finding) (n int) {
	for _, f := range found {
		if f.Level == Fail {
			n++
		}
	}
	return n
}
