package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// An operator makes the outputs of a node. Those that it leaves out must not be used.
type operator func(*graph, *node) ([]*value, error)

// operators are what is read, by name. Each file has a table of those that it makes.
var operators = make(map[string]operator)

// register adds operators, each of which gives one output.
func register(all map[string]func(*graph, *node) (*value, error)) bool {
	for name, op := range all {
		registerMany(map[string]operator{name: func(g *graph, n *node) ([]*value, error) {
			v, err := op(g, n)
			return []*value{v}, err
		}})
	}
	return true
}

// registerMany adds operators of any number of outputs. It panics on two of one name.
func registerMany(all map[string]operator) bool {
	for name, op := range all {
		if operators[name] != nil {
			panic("onnx: two operators are named " + name)
		}
		operators[name] = op
	}
	return true
}

// A node is one of the graph, with the attributes that were asked for and the first error in one.
type node struct {
	*pb.NodeProto
	g     *graph
	in    []*value // nil where left out
	asked map[string]bool
	err   error
}

// errUnknownInput is for a node that takes what a node gives that is not supported.
var errUnknownInput = errors.New("takes what is not known")

// run returns the values of n's outputs, or errUnknownInput for a node that takes what could not be
// made.
func (g *graph) run(p *pb.NodeProto) ([]*value, error) {
	op := operators[p.GetOpType()]
	if d := p.GetDomain(); d != "" && d != "ai.onnx" {
		if op = operators[d+"."+p.GetOpType()]; op == nil {
			return nil, fmt.Errorf("of the domain %s is not supported", formats.Quote(d))
		}
	}
	if op == nil {
		if why := refused[p.GetOpType()]; why != "" {
			return nil, errors.New(why)
		}
		return nil, errors.New("is not supported")
	}
	n := &node{NodeProto: p, g: g, asked: make(map[string]bool)}
	unknown := false
	for _, name := range p.GetInput() {
		if name == "" {
			n.in = append(n.in, nil)
			continue
		}
		v, ok := g.values[name]
		if !ok {
			return nil, brokenError{fmt.Sprintf("takes %s, which nothing before it makes", formats.Quote(name))}
		}
		unknown = unknown || v == nil
		n.in = append(n.in, v)
	}
	if unknown { // which has been told already
		return nil, errUnknownInput
	}
	all, err := op(g, n)
	if n.err != nil { // which may be why
		return nil, n.err
	}
	if err != nil {
		return nil, err
	}
	for _, a := range p.GetAttribute() {
		if !n.asked[a.GetName()] {
			return nil, fmt.Errorf("attribute %s is not supported", formats.Quote(a.GetName()))
		}
	}
	return all, nil
}

// attribute returns the attribute of that name and type, or nil.
func (n *node) attribute(name string, kind pb.AttributeProto_AttributeType) *pb.AttributeProto {
	n.asked[name] = true
	for _, a := range n.GetAttribute() {
		if a.GetName() != name {
			continue
		}
		if a.GetRefAttrName() != "" || a.Type != nil && a.GetType() != kind {
			n.fail(fmt.Errorf("attribute %s is not of type %v", name, kind))
		}
		return a
	}
	return nil
}

// ignore marks attributes that change no number.
func (n *node) ignore(names ...string) {
	for _, name := range names {
		n.asked[name] = true
	}
}

func (n *node) fail(err error) {
	if n.err == nil {
		n.err = err
	}
}

func (n *node) integer(name string, otherwise int64) int64 {
	if a := n.attribute(name, pb.AttributeProto_INT); a != nil {
		return a.GetI()
	}
	return otherwise
}

// flag returns an attribute that is 0 or 1.
func (n *node) flag(name string, otherwise bool) bool {
	a := n.attribute(name, pb.AttributeProto_INT)
	if a == nil {
		return otherwise
	}
	if v := a.GetI(); v != 0 && v != 1 {
		n.fail(fmt.Errorf("%s %d, want 0 or 1", name, v))
	}
	return a.GetI() == 1
}

func (n *node) number(name string, otherwise float64) float64 {
	if a := n.attribute(name, pb.AttributeProto_FLOAT); a != nil {
		return float64(a.GetF())
	}
	return otherwise
}

func (n *node) text(name, otherwise string) string {
	if a := n.attribute(name, pb.AttributeProto_STRING); a != nil {
		return string(a.GetS())
	}
	return otherwise
}

// integers returns an attribute of any number of integers. nil: it is left out.
func (n *node) integers(name string) []int64 {
	a := n.attribute(name, pb.AttributeProto_INTS)
	if a == nil {
		return nil
	}
	return append([]int64{}, a.GetInts()...)
}

func (n *node) floats(name string) []float64 {
	var out []float64
	for _, v := range n.attribute(name, pb.AttributeProto_FLOATS).GetFloats() {
		out = append(out, float64(v))
	}
	return out
}

// sides returns an attribute of count sizes, or of as many otherwise.
func (n *node) sides(name string, count int, otherwise int) []int {
	all := n.integers(name)
	out := make([]int, count)
	for i := range out {
		out[i] = otherwise
	}
	if all == nil {
		return out
	}
	if len(all) != count {
		n.fail(fmt.Errorf("%s %v, want %d numbers", name, all, count))
		return out
	}
	for i, v := range all {
		if v < 0 || v > formats.MaxSide {
			n.fail(fmt.Errorf("%s %v, want 0 to %d", name, all, formats.MaxSide))
			return out
		}
		out[i] = int(v)
	}
	return out
}

// want returns an error unless an attribute has the one value that is supported.
func (n *node) want(name string, value int64) {
	if got := n.integer(name, value); got != value {
		n.fail(fmt.Errorf("%s %d, want %d", name, got, value))
	}
}

// has reports whether input i is there.
func (n *node) has(i int) bool { return i < len(n.in) && n.in[i] != nil }

// input returns input i.
func (n *node) input(i int) (*value, error) {
	if !n.has(i) {
		return nil, fmt.Errorf("no input %d", i)
	}
	return n.in[i], nil
}

// isConstant reports whether input i is known numbers.
func (n *node) isConstant(i int) bool { return n.has(i) && n.in[i].c != nil }

// moving returns input i as numbers of layers. A constant becomes one, whose numbers are the same
// for every image.
func (n *node) moving(i int) (*value, error) {
	v, err := n.input(i)
	if err != nil || v.c == nil {
		return v, err
	}
	out, err := n.g.constantLayer(v)
	if err == nil && len(out.src) == 0 {
		return nil, fmt.Errorf("input %d is zeros alone", i)
	}
	return out, err
}

// constant returns input i and its numbers.
func (n *node) constant(i int) (*value, []float64, error) {
	v, err := n.input(i)
	if err != nil {
		return nil, nil, err
	}
	if v.c == nil {
		return nil, nil, fmt.Errorf("input %d depends on the image, want a constant", i)
	}
	data, err := n.g.numbers(v)
	if err != nil {
		return nil, nil, err
	}
	return v, data, nil
}

// one returns the only number of input i, or otherwise where that is left out.
func (n *node) one(i int, what string, otherwise float64) (float64, error) {
	if !n.has(i) {
		return otherwise, nil
	}
	_, data, err := n.constant(i)
	if err != nil {
		return 0, err
	}
	if len(data) == 0 { // as some exporters leave an input out
		return otherwise, nil
	}
	if len(data) != 1 {
		return 0, fmt.Errorf("%s of %d numbers, want 1", what, len(data))
	}
	return data[0], nil
}

// list returns integers that stand in an input since some version, and in an attribute before. nil:
// neither. The size of the batch is batchSize.
func (n *node) list(name string, input int) ([]int64, error) {
	if all := n.integers(name); all != nil || !n.has(input) {
		return all, nil
	}
	v, data, err := n.constant(input)
	if err != nil {
		return nil, err
	}
	if len(v.shape) > 1 || len(data) > maxList {
		return nil, fmt.Errorf("%s of shape %v, want at most %d in a row", name, v, maxList)
	}
	out := make([]int64, len(data))
	for i, x := range data {
		if math.IsNaN(x) {
			return nil, fmt.Errorf("%s is not a number", name)
		}
		out[i] = int64(max(-1<<62, min(x, 1<<62)))
	}
	return out, nil
}

const maxList = 1 << 10

// axis returns which of rank axes a number from -rank to rank-1 means.
func axis(a int64, rank int) (int, error) {
	if a < int64(-rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis %d, want %d to %d", a, -rank, rank-1)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// axes returns the set of axes in a list; nil: all.
func axes(list []int64, rank int) ([]bool, error) {
	set := make([]bool, rank)
	for i := range set {
		set[i] = list == nil
	}
	for _, a := range list {
		i, err := axis(a, rank)
		if err != nil {
			return nil, err
		}
		if set[i] {
			return nil, fmt.Errorf("axes %v, want each once", list)
		}
		set[i] = true
	}
	return set, nil
}

// refused are operators that no exporter of a network needs, with why they are not read.
var refused = map[string]string{
	"TreeEnsembleClassifier": "is a forest of trees, which has no gradient", "TreeEnsembleRegressor": "is a forest of trees, which has no gradient", "TreeEnsemble": "is a forest of trees, which has no gradient",
	"LSTM": "is a recurrent network, want a network of images", "GRU": "is a recurrent network, want a network of images", "RNN": "is a recurrent network, want a network of images",
	"Loop": "is a loop, want a network without one", "Scan": "is a loop, want a network without one",
	"NonMaxSuppression": "is of a detector of objects, want a classifier",
	"RandomNormal":      "draws random numbers, want a network exported for inference", "RandomNormalLike": "draws random numbers, want a network exported for inference",
	"RandomUniform": "draws random numbers, want a network exported for inference", "RandomUniformLike": "draws random numbers, want a network exported for inference",
	"Bernoulli":     "draws random numbers, want a network exported for inference",
	"SVMClassifier": "is a support vector machine of kernels, want a linear one",
}

// setOf returns the axes that are set, and the others.
func setOf(set []bool) (in, out []int) {
	for i, s := range set {
		if s {
			in = append(in, i)
		} else {
			out = append(out, i)
		}
	}
	return in, out
}

// without returns list without what is in drop.
func without(list, drop []int) []int {
	return slices.DeleteFunc(slices.Clone(list), func(i int) bool { return slices.Contains(drop, i) })
}
