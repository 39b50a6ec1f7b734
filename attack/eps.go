package attack

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// MaxEps is the most values that ParseEps makes.
const MaxEps = 100_000

// ParseEps reads a comma list whose items are a number ("0.1"), a fraction
// ("8/255") or an inclusive range "lo:hi:step" ("0:0.5:0.025"). It returns the
// values in increasing order, each once. They are computed as exact fractions and rounded
// once, so "0:0.5:0.025" holds 3/40 as float64 has it and not 3·0.025.
func ParseEps(s string) ([]float64, error) {
	var out []float64
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		parts := strings.Split(item, ":")
		v := make([]*big.Rat, len(parts))
		for i, p := range parts {
			var err error
			if v[i], err = parseRat(p); err != nil {
				return nil, fmt.Errorf("attack: eps %q: %w", s, err)
			}
		}
		switch len(v) {
		case 1:
			f, _ := v[0].Float64()
			out = append(out, f)
		case 3:
			lo, hi, step := v[0], v[1], v[2]
			switch {
			case step.Sign() == 0:
				return nil, fmt.Errorf("attack: eps %q: the step of range %q is 0", s, item)
			case lo.Cmp(hi) > 0:
				return nil, fmt.Errorf("attack: eps %q: range %q is reversed, want lo <= hi", s, item)
			}
			n := new(big.Rat).Quo(new(big.Rat).Sub(hi, lo), step)
			if n.Cmp(big.NewRat(MaxEps, 1)) >= 0 {
				return nil, fmt.Errorf("attack: eps %q: range %q has more than %d values", s, item, MaxEps)
			}
			for x := new(big.Rat).Set(lo); x.Cmp(hi) <= 0; x.Add(x, step) {
				f, _ := x.Float64()
				out = append(out, f)
			}
		default:
			return nil, fmt.Errorf("attack: eps %q: %q has %d colons, want a number or lo:hi:step", s, item, len(v)-1)
		}
		if len(out) > MaxEps {
			return nil, fmt.Errorf("attack: eps %q: more than %d values", s, MaxEps)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// ValidateEps returns an error unless eps is a list of at least one value,
// each finite, not negative, and larger than the one before.
func ValidateEps(eps []float64) error {
	if err := ValidateColumns(eps); err != nil {
		return err
	}
	for i := 1; i < len(eps); i++ {
		if eps[i] == eps[i-1] {
			return fmt.Errorf("attack: eps[%d] is %v after %v, want increasing values", i, eps[i], eps[i-1])
		}
	}
	return nil
}

// ValidateColumns is ValidateEps for the columns of a batch, of which neighbours may be equal:
// restarts.
func ValidateColumns(eps []float64) error {
	if len(eps) == 0 {
		return fmt.Errorf("attack: the list of eps is empty")
	}
	for i, e := range eps {
		if !(e >= 0) || math.IsInf(e, 0) {
			return fmt.Errorf("attack: eps[%d] is %v, want a finite number >= 0", i, e)
		}
		if i > 0 && e < eps[i-1] {
			return fmt.Errorf("attack: eps[%d] is %v after %v, want values that do not fall", i, e, eps[i-1])
		}
	}
	return nil
}

// number bounds the length and the exponent, so that an exact fraction stays small.
var number = regexp.MustCompile(`^[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?$`)

func parseRat(s string) (*big.Rat, error) {
	num, den, frac := strings.Cut(strings.TrimSpace(s), "/")
	if !number.MatchString(num) || frac && !number.MatchString(den) {
		return nil, fmt.Errorf("%q is not a finite number such as 0.1 or 8/255", s)
	}
	r, ok := new(big.Rat).SetString(num)
	if frac && ok {
		var d *big.Rat
		if d, ok = new(big.Rat).SetString(den); ok {
			if d.Sign() == 0 {
				return nil, fmt.Errorf("%q divides by 0", s)
			}
			r.Quo(r, d)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%q is not a finite number such as 0.1 or 8/255", s)
	}
	if r.Sign() < 0 {
		return nil, fmt.Errorf("%q is negative", s)
	}
	return r, nil
}
