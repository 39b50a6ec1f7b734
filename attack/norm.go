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

// A geometry is what is known of a Norm.
type geometry struct {
	name string
	of   func(v Norms) float64
	// length is the norm of v. dual is that of a slope w: the most that Σ w_i·d_i is for d of
	// length 1.
	length, dual func(v []float64) float64
	// steep returns how far a pixel of slope w, which is not 0, goes on the shortest way along which
	// Σ w_i·d_i grows, in proportion to the others.
	steep func(w float64) float64
	// steepest makes a slope w that is not zero everywhere the way of length 1 along which Σ w_i·d_i
	// grows most.
	steepest func(w []float64)
	// shrink makes v the nearest point of the ball of radius to.
	shrink func(v []float64, to float64)
}

// norms are what is known of each Norm, by its number.
var norms = []geometry{
	Linf: {
		"linf", func(v Norms) float64 { return float64(v.Linf) },
		largestSize, sumOfSizes,
		func(float64) float64 { return 1 },
		func(w []float64) {
			for i, x := range w {
				if x != 0 {
					w[i] = math.Copysign(1, x)
				}
			}
		},
		func(v []float64, to float64) {
			for i := range v {
				v[i] = min(max(v[i], -to), to)
			}
		},
	},
	L2: {
		"l2", func(v Norms) float64 { return float64(v.L2) },
		length2, length2,
		math.Abs,
		func(w []float64) {
			n := length2(w)
			for i := range w {
				w[i] /= n
			}
		},
		func(v []float64, to float64) {
			if n := length2(v); n > to {
				for i := range v {
					v[i] *= to / n
				}
			}
		},
	},
}

func length2(v []float64) float64 { return math.Sqrt(sumOfSquares(v)) }

func largestSize(v []float64) (most float64) {
	for _, x := range v {
		most = max(most, math.Abs(x))
	}
	return most
}

func sumOfSizes(v []float64) (sum float64) {
	for _, x := range v {
		sum += math.Abs(x)
	}
	return sum
}

func sumOfSquares(v []float64) (sum float64) {
	for _, x := range v {
		sum += float64(x * x)
	}
	return sum
}

// known reports whether n has a row in norms.
func (n Norm) known() bool { return n >= 0 && int(n) < len(norms) }

func (n Norm) String() string {
	if !n.known() {
		return name("norm", int(n))
	}
	return norms[n].name
}

// Dual is the dual norm of a slope w [I]: the most that Σ w_i·d_i is for d of norm 1; NaN of an
// unknown norm.
func (n Norm) Dual(w []float64) float64 {
	if !n.known() {
		return math.NaN()
	}
	return norms[n].dual(w)
}

// NormNames lists the norms for a person: "linf or l2".
func NormNames() string {
	var all []string
	for _, n := range norms {
		all = append(all, n.name)
	}
	return words.Or(all)
}

// ParseNorm reads the name of a norm: "linf" or "l2".
func ParseNorm(s string) (Norm, error) {
	for i, n := range norms {
		if s == n.name {
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
