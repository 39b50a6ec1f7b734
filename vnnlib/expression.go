package vnnlib

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A variable is one number that the network takes or gives.
type variable struct {
	output bool
	index  int
}

// A sum is Σ of[v]·v + constant.
type sum struct {
	of       map[variable]float64
	constant float64
}

// add adds factor times another sum.
func (s *sum) add(other sum, factor float64) {
	if s.of == nil && len(other.of) > 0 {
		s.of = map[variable]float64{}
	}
	for v, c := range other.of {
		s.of[v] += float64(factor * c)
	}
	s.constant += float64(factor * other.constant)
}

// inputs are the variables of a sum that the network takes, outputs the terms of those that it
// gives, in rising order. Variables that cancel are left out.
func (s *sum) inputs() (all []variable) {
	for v, c := range s.of {
		if !v.output && c != 0 {
			all = append(all, v)
		}
	}
	return all
}

func (s *sum) outputs() (all []Term) {
	for v, c := range s.of {
		if v.output && c != 0 {
			all = append(all, Term{v.index, c})
		}
	}
	slices.SortFunc(all, func(a, b Term) int { return cmp.Compare(a.Output, b.Output) })
	return all
}

// isNumber reports whether a word is a number, and no name.
func isNumber(word string) bool {
	return strings.IndexByte("0123456789+-.", word[0]) >= 0 && len(word) > 1 || word[0] >= '0' && word[0] <= '9'
}

// operators are what expressions are made of.
var operators = map[string]func(args []sum) (s sum, fault string){
	"+": func(args []sum) (s sum, fault string) {
		for _, a := range args {
			s.add(a, 1)
		}
		return s, ""
	},
	"-": func(args []sum) (s sum, fault string) {
		for i, a := range args {
			if i == 0 && len(args) > 1 {
				s.add(a, 1)
			} else {
				s.add(a, -1)
			}
		}
		return s, ""
	},
	"*": func(args []sum) (s sum, fault string) {
		s.constant = 1
		for _, a := range args {
			if len(a.of) > 0 && len(s.of) > 0 {
				return s, "multiplies variables with each other: only products with numbers are read here"
			}
			if len(s.of) > 0 {
				a, s = s, a
			}
			var product sum
			product.add(a, s.constant)
			s = product
		}
		return s, ""
	},
}

// expression reads a number, a variable, or an operator with its arguments.
func (r *reader) expression(n *node) (s sum, err error) {
	switch {
	case n.word != "" && isNumber(n.word):
		v, err := strconv.ParseFloat(n.word, 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) || strings.ContainsAny(n.word, "xXpP_") {
			return s, r.errorf(n.at, "%v is no number, want one as 0.5 or -1e-3", n)
		}
		return sum{constant: v}, nil
	case n.word != "":
		v, err := r.variable(n)
		return sum{of: map[variable]float64{v: 1}}, err
	}
	op, ok := operators[n.head()]
	if !ok {
		return s, r.errorf(n.at, "%v is no expression that is read here, want a number, a variable, or one of %s", n, keys(operators))
	}
	if len(n.list) < 2 {
		return s, r.errorf(n.at, "%v of nothing", n)
	}
	var args []sum
	for _, a := range n.list[1:] {
		v, err := r.expression(a)
		if err != nil {
			return s, err
		}
		args = append(args, v)
	}
	s, fault := op(args)
	if fault != "" {
		return s, r.errorf(n.at, "%v %s", n, fault)
	}
	return s, s.finite(r, n)
}

// finite returns an error if a factor or the constant is too large for a float64.
func (s *sum) finite(r *reader, n *node) error {
	for _, c := range s.of {
		if math.IsInf(c, 0) || math.IsNaN(c) {
			return r.errorf(n.at, "%v has a factor that is no finite number", n)
		}
	}
	if math.IsInf(s.constant, 0) || math.IsNaN(s.constant) {
		return r.errorf(n.at, "%v is no finite number", n)
	}
	return nil
}

// keys lists the names of a table in rising order.
func keys[V any](m map[string]V) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
