package attack

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bounds is the closed interval [Lo, Hi] that pixels are kept in. The zero value
// means no bounds: the perturbed pixel may leave the range of the clean ones.
type Bounds struct{ Lo, Hi float64 }

// None reports whether b is the zero value, no bounds.
func (b Bounds) None() bool { return b == Bounds{} }

// Width is Hi - Lo; without bounds that of [0, 1], in which pixels lie.
func (b Bounds) Width() float64 {
	if b.None() {
		return 1
	}
	return b.Hi - b.Lo
}

// box returns v kept within the bounds, if there are any.
func (b Bounds) box(v float64) float64 {
	lo, hi := b.Ends()
	return min(max(v, lo), hi)
}

// Ends are Lo and Hi, without bounds those of all numbers.
func (b Bounds) Ends() (lo, hi float64) {
	if b.None() {
		return math.Inf(-1), math.Inf(1)
	}
	return b.Lo, b.Hi
}

// String gives "none" or "lo,hi", which ParseBounds reads back.
func (b Bounds) String() string {
	if b.None() {
		return "none"
	}
	return strconv.FormatFloat(b.Lo, 'g', -1, 64) + "," + strconv.FormatFloat(b.Hi, 'g', -1, 64)
}

// Validate returns an error unless b is no bounds or finite with Lo < Hi.
func (b Bounds) Validate() error {
	if b.None() {
		return nil
	}
	if math.IsInf(b.Lo, 0) || math.IsInf(b.Hi, 0) || !(b.Lo < b.Hi) {
		return fmt.Errorf("attack: bounds %s, want finite lo,hi with lo < hi", b)
	}
	return nil
}

// ParseBounds reads "none" or "lo,hi".
func ParseBounds(s string) (Bounds, error) {
	if s == "none" {
		return Bounds{}, nil
	}
	lo, hi, ok := strings.Cut(s, ",")
	if ok {
		l, err1 := strconv.ParseFloat(strings.TrimSpace(lo), 64)
		h, err2 := strconv.ParseFloat(strings.TrimSpace(hi), 64)
		b := Bounds{Lo: l, Hi: h}
		if err1 == nil && err2 == nil && !b.None() && b.Validate() == nil {
			return b, nil
		}
	}
	return Bounds{}, fmt.Errorf("attack: bounds %q, want none or lo,hi with lo < hi, as in 0,1", s)
}
