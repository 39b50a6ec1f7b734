package attack

import (
	"fmt"
	"math"

	"advsweep/internal/words"
)

// A Norm is what a perturbation is measured and bounded in.
type Norm int

const (
	Linf Norm = iota // the largest |x - x0| of a pixel
	L2               // √Σ(x - x0)²
)

// norms are the names of each Norm, by its number.
var norms = []string{Linf: "linf", L2: "l2"}

// known reports whether n has a row in norms.
func (n Norm) known() bool { return n >= 0 && int(n) < len(norms) }

func (n Norm) String() string { return name("norm", int(n), norms...) }

// NormNames lists the norms for a person: "linf or l2".
func NormNames() string { return words.Or(norms) }

// ParseNorm reads the name of a norm: "linf" or "l2".
func ParseNorm(s string) (Norm, error) {
	for i, n := range norms {
		if s == n {
			return Norm(i), nil
		}
	}
	return 0, fmt.Errorf("attack: norm %q, want %s", s, NormNames())
}

// Reach returns an eps of norm that reaches any image of inputs pixels within bounds from any
// other; without bounds, within [0, 1].
func Reach(norm Norm, bounds Bounds, inputs int) float64 {
	if norm == L2 {
		return bounds.Width() * math.Sqrt(float64(inputs))
	}
	return bounds.Width()
}

// name returns names[i], or the kind and number of a value that has none.
func name(kind string, i int, names ...string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}
