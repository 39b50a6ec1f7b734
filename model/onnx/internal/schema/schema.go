// Package schema has what ONNX itself says of its operators: how many inputs and outputs each has,
// of which types, and which attributes. It knows nothing of what they compute.
package schema

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// An Op is an operator of a domain from a version on.
type Op struct {
	Inputs, Outputs []Param
	In, Out         [2]int           // the least and the largest number of them
	Attributes      []Attribute      // sorted by name
	types           map[string][]int // what the type parameters may be, of TensorProto.DataType
}

// A Param is an input or an output, or the last ones of them.
type Param struct {
	Type     string // a type parameter of the operator, or a number of TensorProto.DataType
	Optional bool   // it may be left out
	Many     bool   // it stands for any number
	Any      bool   // of which each may have another type
}

// An Attribute is one that an operator may have.
type Attribute struct {
	Name     string
	Type     int // of AttributeProto.AttributeType
	Required bool
}

// Types returns what a type may be, of TensorProto.DataType. None: it is not that of a tensor.
func (o *Op) Types(name string) []int {
	if n, err := strconv.Atoi(name); err == nil {
		return []int{n}
	}
	return o.types[name]
}

// At returns the parameter for place i of params. ok is false if there are not so many.
func At(params []Param, i int) (p Param, ok bool) {
	if n := len(params); i >= n && n > 0 && params[n-1].Many {
		i = n - 1
	}
	if i >= len(params) {
		return Param{}, false
	}
	return params[i], true
}

// Domains lists the domains whose operators are known, "" being the standard one.
var Domains = []string{"", "ai.onnx.ml"}

// Of returns the operator of that name in a version of a domain, or nil if there is none.
func Of(domain, name string, version int64) *Op {
	var found *Op
	for _, v := range all()[[2]string{domain, name}] {
		if v.since <= version {
			found = v.op
		}
	}
	return found
}

//go:embed schemas.txt
var text string

// since is an operator from a version on.
type since struct {
	since int64
	op    *Op
}

// all has the versions of every operator, by domain and name, the oldest first.
var all = sync.OnceValue(func() map[[2]string][]since {
	ops := make(map[[2]string][]since)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		number := func(i int) int {
			n, err := strconv.Atoi(f[i])
			if err != nil {
				panic(fmt.Sprintf("schema: %q: %v", line, err)) // a bug of make.py
			}
			return n
		}
		op := &Op{In: [2]int{number(3), number(4)}, Out: [2]int{number(5), number(6)}, Inputs: params(f[7]), Outputs: params(f[8]), types: make(map[string][]int)}
		for a := range parts(f[9], ",") {
			name, kind, _ := strings.Cut(a, ":")
			kind, required := strings.CutSuffix(kind, "!")
			n, _ := strconv.Atoi(kind)
			op.Attributes = append(op.Attributes, Attribute{name, n, required})
		}
		for t := range parts(f[10], ";") {
			name, list, _ := strings.Cut(t, "=")
			for s := range parts(list, ",") {
				n, _ := strconv.Atoi(s)
				op.types[name] = append(op.types[name], n)
			}
		}
		key := [2]string{f[0], f[1]}
		ops[key] = append(ops[key], since{int64(number(2)), op})
	}
	return ops
})

func params(text string) (all []Param) {
	for s := range parts(text, ",") {
		name := strings.TrimRight(s, "?*~")
		mark := s[len(name):]
		all = append(all, Param{Type: name, Optional: mark == "?", Many: mark == "*" || mark == "~", Any: mark == "~"})
	}
	return all
}

// parts is strings.SplitSeq, with no part of an empty text.
func parts(text, by string) func(func(string) bool) {
	if text == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(text, by)
}
