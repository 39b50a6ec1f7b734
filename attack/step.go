package attack

import (
	"fmt"
	"math"
)

// A Step is one move of every row of a batch, as a Method hands it to a backend. Row r is image r/E
// at column e = r%E of the list of eps. The plain step is
//
//	x ← project(x + Size[e]·d),  d = sign(∂L/∂x), or random signs, or what the method says.
//
// Without Bounds project does nothing; with Bounds it keeps x in the eps-ball around the clean
// image and in [Lo, Hi].
//
// In full a row, whose momentum m Begin sets to 0, moves so:
//
//  1. g is a positive multiple of the gradient of Loss at x, or with Nesterov at x + Size·Decay·m.
//  2. With Momentum, m ← Decay·m + g/mean|g| (only Decay·m where g is 0), and g = m.
//  3. d = sign(g), sign(0) = 0; for L2 it is g/‖g‖₂, and 0 where g is 0.
//  4. z = project(x + Size·d). For L2 project is x0 + (x - x0)·min(1, eps/‖x - x0‖₂), and then the bounds.
//  5. If Alpha is not 0, z ← project(x + Alpha·(z - x) + (1 - Alpha)·(x - old)), where old is x before the last such
//     step, or x.
//  6. x ← z.
//
// A row whose eps is 0 stays as it is.
type Step struct {
	Direction Direction
	Seed      uint64
	Index     int       // of the step, from 0; keys random draws
	Size      []float64 // [E], or [rows] for sizes of their own; in units of pixels
	Bounds    Bounds

	Norm     Norm
	Loss     Loss
	Targets  []int32 // [rows], the class to come near to; nil: away from the label
	Restarts []int   // [E], keys random draws; nil: all 0
	Ball     bool    // keep x in the eps-ball without Bounds, too
	// MI-FGSM: Dong et al. 2018, arXiv:1710.06081, with the mean of |g| as in its published code
	Momentum bool
	Decay    float64 // μ
	Nesterov bool    // NI-FGSM: Lin et al. 2020, arXiv:1908.06281; needs Momentum
	// Along is d of every row [rows, I], row-major, for Direction Along: finite numbers, of any size
	Along []float64
	Alpha float64 // APGD's inertia: Croce and Hein 2020, arXiv:2003.01690, section 3.1
}

// MaxRestarts bounds a restart's number, which shares a word of the random counter with the step's.
const MaxRestarts = 1 << 16

// Plain reports whether s is a plain step, which backends take by faster routes that round
// otherwise. It does not look at the restarts' numbers: an attack that has any names them in every
// step, so that a batch of the first alone takes the route that a batch of all takes. Sizes of
// every row of an otherwise plain step are not seen to be so in a batch of one image.
func (s Step) Plain(columns int) bool {
	return s.Direction != Uniform && s.Direction != Along && s.Norm == Linf && s.Loss == CrossEntropy && s.Targets == nil && s.Restarts == nil && !s.Ball && !s.Momentum &&
		s.Alpha == 0 && len(s.Size) == columns
}

// Validate returns an error unless s is what its fields say, for rows of a batch with so many
// columns.
func (s Step) Validate(rows, columns, classes int) error {
	switch {
	case s.Direction < Gradient || s.Direction > Along:
		return fmt.Errorf("attack: unknown direction %d", s.Direction)
	case !s.Norm.known():
		return fmt.Errorf("attack: unknown norm %d", s.Norm)
	case !s.Loss.known():
		return fmt.Errorf("attack: unknown loss %d", s.Loss)
	case s.Index < 0 || s.Index >= 1<<16:
		return fmt.Errorf("attack: step %d, want 0 to %d", s.Index, 1<<16-1)
	case len(s.Size) != columns && len(s.Size) != rows:
		return fmt.Errorf("attack: %d sizes for %d eps and %d rows", len(s.Size), columns, rows)
	case s.Targets != nil && len(s.Targets) != rows:
		return fmt.Errorf("attack: %d targets for %d rows", len(s.Targets), rows)
	case (s.Along != nil) != (s.Direction == Along) && rows > 0:
		return fmt.Errorf("attack: %d numbers to go along in direction %d, want them in direction %d alone", len(s.Along), s.Direction, Along)
	case rows > 0 && len(s.Along)%rows != 0:
		return fmt.Errorf("attack: %d numbers to go along for %d rows", len(s.Along), rows)
	case s.Restarts != nil && len(s.Restarts) != columns:
		return fmt.Errorf("attack: %d restarts for %d eps", len(s.Restarts), columns)
	case classes < s.Loss.MinClasses(s.Targets != nil) && s.Direction == Gradient:
		return fmt.Errorf("attack: loss %v of a model with %d classes, want at least %d", s.Loss, classes, s.Loss.MinClasses(s.Targets != nil))
	case s.Nesterov && !s.Momentum:
		return fmt.Errorf("attack: nesterov without momentum")
	case s.Momentum && s.Direction != Gradient:
		return fmt.Errorf("attack: momentum of a random direction")
	case !(s.Decay >= 0) || math.IsInf(s.Decay, 0):
		return fmt.Errorf("attack: decay %v, want a finite number of at least 0", s.Decay)
	case !(s.Alpha >= 0 && s.Alpha <= 1):
		return fmt.Errorf("attack: alpha %v, want 0 to 1", s.Alpha)
	}
	for i, v := range s.Size {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("attack: size[%d] is %v, want a finite number", i, v)
		}
	}
	for i, v := range s.Along {
		if v-v != 0 {
			return fmt.Errorf("attack: along[%d] is %v, want a finite number", i, v)
		}
	}
	for i, t := range s.Targets {
		if t < 0 || int(t) >= classes {
			return fmt.Errorf("attack: target of row %d is %d, want 0 to %d", i, t, classes-1)
		}
	}
	for i, r := range s.Restarts {
		if r < 0 || r >= MaxRestarts {
			return fmt.Errorf("attack: restart[%d] is %d, want 0 to %d", i, r, MaxRestarts-1)
		}
	}
	return s.Bounds.Validate()
}

// Norms are those of a perturbation x - x0: Linf the largest |x - x0|, L2 = √Σ(x - x0)² summed in
// float64, L0 how many pixels differ. L1 = Σ|x - x0|, summed in float64, is known of attacks in that
// norm alone, and else 0: no backend measures it.
type Norms struct {
	Linf, L2 float32
	L0       int32
	L1       float32
}

// In is the one of norm n; NaN of an unknown norm.
func (v Norms) In(n Norm) float64 {
	if !n.known() {
		return math.NaN()
	}
	return norms[n].of(v)
}
