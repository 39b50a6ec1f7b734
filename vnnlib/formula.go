package vnnlib

import "math"

// A part is what one way to fulfil a formula asks for: all of it.
type part struct {
	ends []end
	all  []Constraint
}

// An end is the lower or the upper end of an input's interval.
type end struct {
	input int
	upper bool
	at    float64
	node  *node // that says so
}

func (p part) with(other part) part {
	return part{append(p.ends[:len(p.ends):len(p.ends)], other.ends...), append(p.all[:len(p.all):len(p.all)], other.all...)}
}

// maxCases bounds how many cases a property has, once "and" and "or" are multiplied out.
const maxCases = 10_000

// A comparison says how a sum that is compared with 0 is written as sums that are to be at most 0,
// or below it: all of them, or any.
type comparison struct {
	signs  []float64 // a factor of the sum for each
	strict bool
	any    bool
}

var comparisons = map[string]comparison{
	"<=": {signs: []float64{1}},
	"<":  {signs: []float64{1}, strict: true},
	">=": {signs: []float64{-1}},
	">":  {signs: []float64{-1}, strict: true},
	"==": {signs: []float64{1, -1}},
	"=":  {signs: []float64{1, -1}}, // as version 1 has it
	"!=": {signs: []float64{1, -1}, strict: true, any: true},
}

// formula returns the ways to fulfil n, none if there is none.
func (r *reader) formula(n *node) ([]part, error) {
	switch head := n.head(); head {
	case "and", "or":
		if len(n.list) < 2 {
			return nil, r.errorf(n.at, "%v of nothing", n)
		}
		ways := []part{{}}
		if head == "or" {
			ways = nil
		}
		for _, m := range n.list[1:] {
			more, err := r.formula(m)
			if err != nil {
				return nil, err
			}
			if head == "or" {
				ways = append(ways, more...)
			} else if ways, err = r.both(n, ways, more); err != nil {
				return nil, err
			}
			if len(ways) > maxCases {
				return nil, r.tooMany(n)
			}
		}
		return ways, nil
	}
	compare, ok := comparisons[n.head()]
	if !ok {
		return nil, r.errorf(n.at, "%v is no formula that is read here, want and, or, or one of %s", n, keys(comparisons))
	}
	if len(n.list) != 3 {
		return nil, r.errorf(n.at, "%v compares %d things, want two", n, len(n.list)-1)
	}
	var s sum
	for i, factor := range []float64{1, -1} {
		side, err := r.expression(n.list[1+i])
		if err != nil {
			return nil, err
		}
		s.add(side, factor)
	}
	if err := s.finite(r, n); err != nil {
		return nil, err
	}
	return r.compared(n, s, compare)
}

// both returns the ways to fulfil one of a and one of b. n is the formula that asks for both.
func (r *reader) both(n *node, a, b []part) (ways []part, err error) {
	if len(a) > 0 && len(b) > maxCases/len(a) {
		return nil, r.tooMany(n)
	}
	if len(a) == 1 && len(b) == 1 { // a long conjunction is one part, which grows
		a[0].ends, a[0].all = append(a[0].ends, b[0].ends...), append(a[0].all, b[0].all...)
		return a, nil
	}
	for _, x := range a {
		for _, y := range b {
			ways = append(ways, x.with(y))
		}
	}
	return ways, nil
}

func (r *reader) tooMany(n *node) error {
	return r.errorf(n.at, "%v has more than %d ways to be fulfilled: split the property into several", n, maxCases)
}

// compared returns the ways to fulfil that s compares so with 0.
func (r *reader) compared(n *node, s sum, c comparison) ([]part, error) {
	inputs, outputs := s.inputs(), s.outputs()
	switch {
	case len(inputs) > 1:
		return nil, r.errorf(n.at, "%v speaks of %d inputs at once: only boxes of inputs are read here, each input between two numbers", n, len(inputs))
	case len(inputs) == 1 && len(outputs) > 0:
		return nil, r.errorf(n.at, "%v speaks of inputs and outputs at once: only boxes of inputs and constraints on outputs are read here", n)
	case len(inputs) == 1 && c.any:
		return nil, r.errorf(n.at, "%v leaves one number out of an input's interval: only boxes of inputs are read here", n)
	}
	var ways []part
	var whole part
	fulfilled := true
	for _, sign := range c.signs {
		var p part
		switch {
		case len(inputs) == 1:
			factor := sign * s.of[inputs[0]]
			e := end{input: inputs[0].index, upper: factor > 0, at: -sign * s.constant / factor, node: n}
			if e.at == 0 {
				e.at = 0 // and not -0
			}
			if c.strict && e.upper {
				e.at = math.Nextafter(e.at, math.Inf(-1))
			} else if c.strict {
				e.at = math.Nextafter(e.at, math.Inf(1))
			}
			if math.IsInf(e.at, 0) || math.IsNaN(e.at) {
				return nil, r.errorf(n.at, "%v has an end that is no finite number", n)
			}
			p.ends = []end{e}
		case len(outputs) > 0:
			k := Constraint{Bound: -sign * s.constant, Strict: c.strict}
			for _, t := range outputs {
				k.Terms = append(k.Terms, Term{t.Output, sign * t.Factor})
			}
			p.all = []Constraint{k}
		default: // of numbers alone
			holds := sign*s.constant < 0 || s.constant == 0 && !c.strict
			fulfilled = fulfilled && holds
			if c.any && holds {
				return []part{{}}, nil
			}
			continue
		}
		ways, whole = append(ways, p), whole.with(p)
	}
	switch {
	case c.any:
		return ways, nil
	case !fulfilled:
		return nil, nil
	}
	return []part{whole}, nil
}
