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
	L1               // Σ|x - x0|
	L0               // how many pixels differ; of an image in colour each channel counts
)

// A geometry is what is known of a Norm.
type geometry struct {
	name, title, axis string // in lists of attacks, for a person, and of an axis
	of                func(v Norms) float64
	// reach is the norm of a way of width in each of so many pixels.
	reach func(width float64, inputs int) float64
	// length is the norm of v. dual is that of a slope w: the most that Σ w_i·d_i is for d of
	// length 1. L0 has none: there it is that of a pixel that moves by 1.
	length, dual func(v []float64) float64
	// toPlane is geometry.toPlane. It uses the plane of m alone.
	toPlane func(m *scratch, d, u, w []float64, rise float64, bounds Bounds)
	// steepest makes a slope w that is not zero everywhere the way of length 1 along which Σ w_i·d_i
	// grows most.
	steepest func(w []float64)
	// shrink makes v the nearest point of the ball of radius to, nearest by the Euclidean distance
	// for L1.
	shrink func(m *scratch, v []float64, to float64)
	// prox makes v the point u for which ‖u - v‖₂²/2 + by·(norm of u) is least; by is above 0.
	// L0 has none: attacks that need it are not in L0.
	prox func(m *scratch, v []float64, by float64)
	// part writes to d a way that is a share of the way from, in (0, 1].
	part func(m *scratch, d, from []float64, share float64)
	// above says that what attacks do in this norm is decided above the backends, which know no
	// ball of it: an attack says where each row goes, a backend keeps it in the bounds.
	above bool
	// counts says that lengths are whole numbers.
	counts bool
}

// norms are what is known of each Norm, by its number.
var norms = []geometry{
	Linf: {
		name:    "linf",
		title:   "L∞",
		axis:    "the most that a pixel moves",
		of:      func(v Norms) float64 { return float64(v.Linf) },
		reach:   func(width float64, _ int) float64 { return width },
		length:  largestSize,
		dual:    sumOfSizes,
		toPlane: inProportion(false),
		steepest: func(w []float64) {
			for i, x := range w {
				if x != 0 {
					w[i] = math.Copysign(1, x)
				}
			}
		},
		shrink: func(_ *scratch, v []float64, to float64) {
			for i := range v {
				v[i] = min(max(v[i], -to), to)
			}
		},
		prox: func(m *scratch, v []float64, by float64) { // less what the dual norm's ball has of it, by Moreau
			m.rest = append(m.rest[:0], v...)
			intoL1(m, m.rest, nil, by, Bounds{})
			for i, x := range m.rest {
				v[i] -= x
			}
		},
		part: shorter,
	},
	L2: {
		name:    "l2",
		title:   "L2",
		axis:    "L2 norm of the perturbation",
		of:      func(v Norms) float64 { return float64(v.L2) },
		reach:   func(width float64, inputs int) float64 { return width * math.Sqrt(float64(inputs)) },
		length:  length2,
		dual:    length2,
		toPlane: inProportion(true),
		steepest: func(w []float64) {
			n := length2(w)
			for i := range w {
				w[i] /= n
			}
		},
		shrink: func(_ *scratch, v []float64, to float64) {
			if n := length2(v); n > to {
				for i := range v {
					v[i] *= to / n
				}
			}
		},
		prox: func(_ *scratch, v []float64, by float64) {
			n := length2(v)
			for i := range v {
				if v[i] *= max(1-by/n, 0); n <= by {
					v[i] = 0
				}
			}
		},
		part: shorter,
	},
	L1: {
		name:     "l1",
		title:    "L1",
		axis:     "L1 norm of the perturbation",
		of:       func(v Norms) float64 { return float64(v.L1) },
		reach:    func(width float64, inputs int) float64 { return width * float64(inputs) },
		length:   sumOfSizes,
		dual:     largestSize,
		toPlane:  steepestFirst(func(slope, _ float64) float64 { return slope }),
		steepest: onePixel,
		shrink:   func(m *scratch, v []float64, to float64) { intoL1(m, v, nil, to, Bounds{}) },
		prox: func(_ *scratch, v []float64, by float64) {
			for i, x := range v {
				v[i] = math.Copysign(max(math.Abs(x)-by, 0), x)
			}
		},
		part:  shorter,
		above: true,
	},
	L0: {
		name:     "l0",
		title:    "L0",
		axis:     "how many pixels move",
		of:       func(v Norms) float64 { return float64(v.L0) },
		reach:    func(_ float64, inputs int) float64 { return float64(inputs) },
		length:   moved,
		dual:     largestSize,
		toPlane:  steepestFirst(func(slope, room float64) float64 { return slope * room }),
		steepest: onePixel,
		shrink:   func(m *scratch, v []float64, to float64) { keepLargest(m, v, int(min(to, float64(len(v))))) },
		part: func(m *scratch, d, from []float64, share float64) {
			copy(d, from)
			keepLargest(m, d, int(math.Ceil(share*moved(from))))
		},
		above:  true,
		counts: true,
	},
}

// onePixel makes a slope w that is not zero everywhere a step of 1 in its steepest pixel.
func onePixel(w []float64) {
	top := 0
	for i, x := range w {
		if math.Abs(x) > math.Abs(w[top]) {
			top = i
		}
	}
	one := math.Copysign(1, w[top])
	clear(w)
	w[top] = one
}

// shorter writes share·from to d.
func shorter(_ *scratch, d, from []float64, share float64) {
	for i, v := range from {
		d[i] = share * v
	}
}

// moved counts the elements of v that are not 0.
func moved(v []float64) (n float64) {
	for _, x := range v {
		if x != 0 {
			n++
		}
	}
	return n
}

// keepLargest makes all of v 0 but the n elements of the largest size, of equal ones the first ones.
func keepLargest(m *scratch, v []float64, n int) {
	if moved(v) <= float64(n) {
		return
	}
	if n <= 0 {
		clear(v)
		return
	}
	least := nthLargest(m, v, n)
	equal := n // how many of the size least are kept
	for _, x := range v {
		if math.Abs(x) > least {
			equal--
		}
	}
	for i, x := range v {
		switch size := math.Abs(x); {
		case size > least:
		case size == least && equal > 0:
			equal--
		default:
			v[i] = 0
		}
	}
}

// nthLargest returns the n-th largest size of v, n from 1 to len(v). It is Hoare's selection.
func nthLargest(m *scratch, v []float64, n int) float64 {
	m.sizes = resize(m.sizes, len(v))
	sizes := m.sizes
	for i, x := range v {
		sizes[i] = math.Abs(x)
	}
	lo, hi, want := 0, len(sizes)-1, n-1 // by falling size
	for lo < hi {
		pivot, i, j := sizes[(lo+hi)/2], lo, hi
		for i <= j {
			for sizes[i] > pivot {
				i++
			}
			for sizes[j] < pivot {
				j--
			}
			if i <= j {
				sizes[i], sizes[j] = sizes[j], sizes[i]
				i++
				j--
			}
		}
		switch {
		case want <= j:
			hi = j
		case want >= i:
			lo = i
		default:
			return sizes[want]
		}
	}
	return sizes[want]
}

// intoL1 makes the way v [I] from x0 [I] the nearest one, by the Euclidean distance, whose Σ|v_i|
// is at most to and which stays within the bounds. x0 is within them; without bounds it may be nil.
//
// Each |v_i| becomes min(max(|v_i| - λ, 0), room_i) with the least λ of at least 0 that is enough.
// The sum falls with λ in straight pieces. Newton's steps find the piece, and halving a step that
// would leave the range in which λ is known to lie: Croce and Hein 2021, arXiv:2103.01208,
// proposition 2.1, has it by sorting.
func intoL1(m *scratch, v, x0 []float64, to float64, bounds Bounds) {
	m.rooms = resize(m.rooms, len(v))
	rooms := m.rooms
	top := 0.0
	for i, x := range v {
		switch rooms[i] = math.Inf(1); {
		case bounds.None():
		case x > 0:
			rooms[i] = max(bounds.Hi-x0[i], 0)
		default:
			rooms[i] = max(x0[i]-bounds.Lo, 0)
		}
		top = max(top, math.Abs(x))
	}
	// at returns the sum at λ, and how fast it falls there as λ grows.
	at := func(lambda float64) (sum, rate float64) {
		for i, x := range v {
			rest := math.Abs(x) - lambda
			switch {
			case rest <= 0:
			case rest > rooms[i]:
				sum += rooms[i]
			default:
				sum += rest
				rate++
			}
		}
		return sum, rate
	}
	lambda, low, high := 0.0, 0.0, top
	for range 200 {
		sum, rate := at(lambda)
		if sum > to {
			low = lambda
		} else {
			high = lambda
		}
		if lambda == 0 && sum <= to || math.Abs(sum-to) <= 1e-14*to { // sums of some thousand numbers round by less
			break
		}
		next := low + float64((high-low)/2) // the conversion keeps it from being fused on arm64
		if rate > 0 {
			if step := lambda + (sum-to)/rate; step > low && step < high {
				next = step
			}
		}
		if next == lambda || next <= low || next >= high {
			lambda = high
			break
		}
		lambda = next
	}
	for i, x := range v {
		v[i] = math.Copysign(min(max(math.Abs(x)-lambda, 0), rooms[i]), x)
	}
}

func length2(v []float64) float64 { return math.Sqrt(sumOfSquares(v)) }

func largestSize(v []float64) (most float64) {
	top := uint64(0) // the bits of sizes are in order as whole numbers, a NaN above all
	for _, x := range v {
		top = max(top, math.Float64bits(math.Abs(x)))
	}
	return math.Float64frombits(top)
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

// Title is the norm for a person: "L∞". Axis says what its eps is: "the most that a pixel moves".
func (n Norm) Title() string {
	if !n.known() {
		return n.String()
	}
	return norms[n].title
}

// Axis: see Title.
func (n Norm) Axis() string {
	if !n.known() {
		return n.String()
	}
	return norms[n].axis
}

// Dual is the dual norm of a slope w [I]: the most that Σ w_i·d_i is for d of norm 1; NaN of an
// unknown norm.
func (n Norm) Dual(w []float64) float64 {
	if !n.known() {
		return math.NaN()
	}
	return norms[n].dual(w)
}

// Above reports whether what attacks do in the norm is decided above the backends: they measure
// no L1 norm, and keep no ball of L1 or L0. An attack says where its rows go, Along, and keeps the
// ball itself; a backend keeps the bounds.
func (n Norm) Above() bool { return n.known() && norms[n].above }

// Length is the norm of a perturbation d [I]; NaN of an unknown norm.
func (n Norm) Length(d []float64) float64 {
	if !n.known() {
		return math.NaN()
	}
	return norms[n].length(d)
}

// NormNames lists the norms for a person: "linf, l2, l1 or l0".
func NormNames() string { return namesOf(allNorms()) }

func allNorms() []Norm {
	all := make([]Norm, len(norms))
	for i := range all {
		all[i] = Norm(i)
	}
	return all
}

// namesOf lists some norms for a person.
func namesOf(some []Norm) string {
	var all []string
	for _, n := range some {
		all = append(all, n.String())
	}
	return words.Or(all)
}

// ParseNorm reads the name of a norm: see NormNames.
func ParseNorm(s string) (Norm, error) {
	for i, n := range norms {
		if s == n.name {
			return Norm(i), nil
		}
	}
	return 0, fmt.Errorf("attack: norm %q, want %s", s, NormNames())
}

// Reach returns an eps of norm that reaches any image of inputs pixels within bounds from any
// other; without bounds, within [0, 1]. It is NaN of an unknown norm.
func Reach(norm Norm, bounds Bounds, inputs int) float64 {
	if !norm.known() {
		return math.NaN()
	}
	return norms[norm].reach(bounds.Width(), inputs)
}

// name returns names[i], or the kind and number of a value that has none.
func name(kind string, i int, names ...string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}
