package verdict

import (
	"slices"

	"advsweep/stat"
)

// A Said is what a model says of one clean image.
type Said struct{ Label, Class int32 }

// Clean asks whether a model of so many classes, of which said is known, is better than always the
// same answer: the label that most images of said have. It fails where the count of right images
// has a chance of sure or more under that answer, by the exact binomial test, one-sided. Then
// nothing that is measured of the model tells of its robustness, and the causes that said itself
// shows are listed.
//
// Where all images right would be no proof either, since they are few or nearly all of one label,
// it warns unless all are right, and fails where no more are right than one of classes gives.
func Clean(said []Said, classes int) Finding {
	n := len(said)
	f := Finding{What: CleanAccuracy, N: n, Want: float64(n) * stat.Ratio(1, classes)}
	labels := make(map[int32]int)
	for _, v := range said {
		labels[v.Label]++
		if v.Class == v.Label {
			f.Right[0]++
		}
	}
	for _, count := range labels {
		f.Guess = max(f.Guess, count)
	}
	share := stat.Ratio(f.Guess, n)
	f.P = stat.BinomialTail(f.Right[0], n, share)
	switch few := stat.BinomialTail(n, n, share) >= sure; {
	case f.P < sure || few && f.Right[0] == n:
		return f
	case few && float64(f.Right[0]) > f.Want:
		f.Level = Warn
		return f
	}
	f.Level = Fail
	f.Causes = causes(said, classes, f)
	for i, v := range said {
		if v.Class != v.Label {
			f.Images = append(f.Images, i)
		}
	}
	return f
}

// A Reason is what may be behind clean images that are wrong.
type Reason string

const (
	Shifted      Reason = "shifted"       // labels are the model's plus Shift, modulo the classes
	Permuted     Reason = "permuted"      // labels are those of the model in another order
	OneClass     Reason = "one-class"     // nearly all images are given one class
	PixelRange   Reason = "pixel-range"   // the model takes pixels from Lo to Hi
	Divided      Reason = "divided"       // the model takes pixels divided by 255
	Rescaled     Reason = "rescaled"      // the model takes pixels from 0 to 1
	Normalised   Reason = "normalised"    // the model takes pixels with the mean and std of Name
	Reversed     Reason = "reversed"      // the model takes BGR
	CaffeOrder   Reason = "caffe"         // the model takes BGR from 0 to 255 less a mean
	Inverted     Reason = "inverted"      // the model takes white for black
	Transposed   Reason = "transposed"    // rows are columns
	ChannelsLast Reason = "channels-last" // the model takes pixels with channels last
	Activation   Reason = "activation"    // the layers have Name between them
)

// Reasons are all that are known.
var Reasons = []Reason{Shifted, Permuted, OneClass, PixelRange, Divided, Rescaled, Normalised, Reversed, CaffeOrder, Inverted, Transposed, ChannelsLast, Activation}

// A Cause is a reason with what speaks for it.
type Cause struct {
	Reason Reason
	// Right is how many of N images are right with what mends it; of OneClass, how many are given
	// one class.
	Right, N int
	Shift    int     // of Shifted
	Lo, Hi   float64 // of PixelRange
	Name     string  // of Normalised, a data set; of Activation, a function
	Class    int     // of OneClass
}

// oneClass is the share of images from which on a model gives them all one class.
const oneClass = 0.95

// causes lists what said alone tells of why f found no more right than by chance.
func causes(said []Said, classes int, f Finding) (all []Cause) {
	type pair struct{ label, class int32 }
	count, given := make(map[pair]int), make(map[int32]int)
	for _, v := range said {
		count[pair{v.Label, v.Class}]++
		given[v.Class]++
	}
	for class, k := range given {
		if float64(k) >= oneClass*float64(f.N) && k > 1 {
			return []Cause{{Reason: OneClass, Class: int(class), Right: k, N: f.N}}
		}
	}
	// Each class stands for the label that most of its images have. If that is another label for
	// every class, and makes far more images right, only the numbers of the classes are wrong.
	pairs := make([]pair, 0, len(count))
	for p := range count {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := count[b] - count[a]; c != 0 {
			return c
		}
		if c := int(a.label - b.label); c != 0 {
			return c
		}
		return int(a.class - b.class)
	})
	labelOf, taken := make(map[int32]int32), make(map[int32]bool)
	right := 0
	for _, p := range pairs {
		if _, done := labelOf[p.class]; !done && !taken[p.label] {
			labelOf[p.class], taken[p.label] = p.label, true
			right += count[p]
		}
	}
	// Choosing the best order makes some right by luck: only nearly all are evidence.
	if len(taken) < 2 || float64(right) < 0.75*float64(f.N) || f.N < 4*len(taken) ||
		stat.BinomialTail(right, f.N, stat.Ratio(f.Guess, f.N)) >= sure {
		return nil
	}
	shifts := make(map[int32]int)
	for class, label := range labelOf {
		s := ((label-class)%int32(classes) + int32(classes)) % int32(classes)
		if 2*s > int32(classes) {
			s -= int32(classes)
		}
		shifts[s] += count[pair{label, class}]
	}
	for shift, k := range shifts {
		if float64(k) >= 0.75*float64(f.N) {
			return []Cause{{Reason: Shifted, Shift: int(shift), Right: k, N: f.N}}
		}
	}
	return []Cause{{Reason: Permuted, Right: right, N: f.N}}
}

// clean is Clean of all images of the result.
func (j judge) clean() Finding {
	said := make([]Said, len(j.Images))
	for i := range j.Images {
		said[i] = Said{j.Images[i].Label, j.Images[i].Class}
	}
	f := Clean(said, j.Classes)
	for i := range f.Images {
		f.Images[i] += j.First
	}
	return f
}
