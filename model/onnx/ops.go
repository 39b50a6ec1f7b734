package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// operators are what is read, by name. Each returns the node's first output.
var operators map[string]func(*graph, *node) (*value, error)

func init() { // not in the declaration, which supportedOps would make refer to itself
	operators = map[string]func(*graph, *node) (*value, error){
		"Constant": (*graph).opConstant, "ConstantOfShape": (*graph).opConstantOfShape, "Shape": (*graph).opShape,
		"Gather": (*graph).opGather, "Slice": (*graph).opSlice, "Concat": (*graph).opConcat, "ReduceProd": (*graph).opReduceProd,
		"Identity": (*graph).opIdentity, "Dropout": (*graph).opDropout, "Cast": (*graph).opCast,
		"Reshape": (*graph).opReshape, "Flatten": (*graph).opFlatten, "Squeeze": (*graph).opSqueeze, "Unsqueeze": (*graph).opUnsqueeze,
		"Transpose": (*graph).opTranspose, "Pad": (*graph).opPad,
		"Gemm": (*graph).opGemm, "MatMul": (*graph).opMatMul, "Conv": (*graph).opConv,
		"MaxPool": (*graph).opMaxPool, "AveragePool": (*graph).opAveragePool, "GlobalAveragePool": (*graph).opGlobalPool,
		"GlobalMaxPool": (*graph).opGlobalPool, "ReduceMean": (*graph).opReduceMean,
		"BatchNormalization": (*graph).opBatchNormalization,
		"Add":                (*graph).opBinary, "Sub": (*graph).opBinary, "Mul": (*graph).opBinary, "Div": (*graph).opBinary,
		"Neg": (*graph).opNeg, "Pow": (*graph).opPow, "Clip": (*graph).opClip,
	}
	for name := range unaries {
		operators[name] = (*graph).opUnary
	}
	for name, layer := range activations {
		operators[name] = func(g *graph, n *node) (*value, error) { return g.activation(n, layer) }
	}
}

// A node is one of the graph, with the attributes that were asked for and the first error in one.
type node struct {
	*pb.NodeProto
	g     *graph
	in    []*value // nil where left out
	asked map[string]bool
	err   error
}

// run returns the value of n's first output.
func (g *graph) run(p *pb.NodeProto) (*value, error) {
	op := operators[p.GetOpType()]
	if d := p.GetDomain(); op == nil || d != "" && d != "ai.onnx" {
		return nil, fmt.Errorf("not supported, want only %s", supportedOps())
	}
	for _, o := range p.GetOutput()[1:] {
		if o != "" && g.uses[o] > 0 {
			return nil, fmt.Errorf("its output %s is used, want only the first", formats.Quote(o))
		}
	}
	if p.GetOutput()[0] == "" {
		return nil, errors.New("its first output has no name")
	}
	n := &node{NodeProto: p, g: g, asked: make(map[string]bool)}
	for _, name := range p.GetInput() {
		if name == "" {
			n.in = append(n.in, nil)
			continue
		}
		v := g.values[name]
		if v == nil {
			return nil, fmt.Errorf("takes %s, which nothing before it makes", formats.Quote(name))
		}
		if g.uses[name] > 1 && v.sole {
			shared := *v
			shared.sole = false
			v = &shared
		}
		n.in = append(n.in, v)
	}
	v, err := op(g, n)
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
	if v.f != nil && v.f.op == "affine" && v.f.args[0].op == "x" && g.uses[p.GetOutput()[0]] > 1 {
		return g.settle(v) // a Scale that two take, one of which may be a formula
	}
	return v, nil
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

func (n *node) integers(name string) []int64 {
	return n.attribute(name, pb.AttributeProto_INTS).GetInts()
}

// sizes returns an attribute of count sizes, or of as many otherwise.
func (n *node) sizes(name string, count int, otherwise int) []int {
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

func (n *node) wantAll(name string, value int) {
	if got := n.integers(name); slices.ContainsFunc(got, func(v int64) bool { return v != int64(value) }) {
		n.fail(fmt.Errorf("%s %v, want %d", name, got, value))
	}
}

// has reports whether input i is there.
func (n *node) has(i int) bool { return i < len(n.in) && n.in[i] != nil }

// data returns input i as one that depends on the image, without padding; formulas are left if raw
// is set.
func (n *node) data(i int, raw bool) (*value, error) {
	v, err := n.padded(i, raw)
	if err == nil && v.pads != nil {
		return nil, errors.New("takes what a Pad gives, want that before Conv, AveragePool, or MaxPool after Relu only")
	}
	return v, err
}

func (n *node) padded(i int, raw bool) (*value, error) {
	if !n.has(i) {
		return nil, fmt.Errorf("no input %d", i)
	}
	if n.in[i].c != nil {
		return nil, fmt.Errorf("input %d is a constant, want one that depends on the image", i)
	}
	if raw {
		return n.in[i], nil
	}
	return n.g.settle(n.in[i])
}

// constant returns input i and its numbers.
func (n *node) constant(i int) (*constant, []float64, error) {
	if !n.has(i) {
		return nil, nil, fmt.Errorf("no input %d", i)
	}
	c := n.in[i].c
	if c == nil {
		return nil, nil, fmt.Errorf("input %d depends on the image, want a constant", i)
	}
	data, err := n.g.numbers(c)
	if err != nil {
		return nil, nil, fmt.Errorf("input %d, %s: %w", i, formats.Quote(n.GetInput()[i]), err)
	}
	return c, data, nil
}

// list returns integers that stand in an input since some version, and in an attribute before. nil:
// neither.
func (n *node) list(name string, input int) ([]int64, error) {
	if all := n.integers(name); all != nil || !n.has(input) {
		return all, nil
	}
	c, data, err := n.constant(input)
	if err != nil {
		return nil, err
	}
	if len(c.dims) > 1 || len(data) > maxList {
		return nil, fmt.Errorf("%s of shape %v, want at most %d in a row", name, c.dims, maxList)
	}
	out := make([]int64, len(data))
	for i, v := range data {
		if math.IsNaN(v) {
			return nil, fmt.Errorf("%s depends on the size of the batch", name)
		}
		out[i] = int64(max(-1<<62, min(v, 1<<62)))
	}
	return out, nil
}

const maxList = 2 * formats.MaxRank

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

// after returns what a layer gives that takes v element by element.
func (g *graph) after(v *value, l model.Layer) (*value, error) {
	i, err := g.append(step{layer: l, from: []int{v.layer}})
	if err != nil {
		return nil, err
	}
	return &value{layer: i, view: v.view, sole: true}, nil
}

func (g *graph) opIdentity(n *node) (*value, error) {
	if !n.has(0) {
		return nil, errors.New("no input")
	}
	return n.in[0], nil
}

func (g *graph) opDropout(n *node) (*value, error) {
	n.number("ratio", 0)
	n.integer("seed", 0)
	n.integer("is_test", 1)
	if n.has(2) {
		_, on, err := n.constant(2)
		if err != nil {
			return nil, err
		}
		if len(on) != 1 || on[0] != 0 {
			return nil, errors.New("training_mode is set, want a model exported for inference")
		}
	}
	return g.opIdentity(n)
}

func (g *graph) opCast(n *node) (*value, error) {
	to := pb.TensorProto_DataType(n.integer("to", 0))
	n.integer("saturate", 0)
	if !n.has(0) {
		return nil, errors.New("no input")
	}
	whole := true
	switch to {
	case pb.TensorProto_FLOAT, pb.TensorProto_DOUBLE, pb.TensorProto_FLOAT16, pb.TensorProto_BFLOAT16:
		whole = false
	case pb.TensorProto_INT64, pb.TensorProto_INT32:
	default:
		return nil, fmt.Errorf("to %v, want a float or an integer of 32 or 64 bits", to)
	}
	if n.in[0].c == nil {
		if whole {
			return nil, fmt.Errorf("to %v of what depends on the image, want a float", to)
		}
		return n.in[0], nil
	}
	c, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	return g.each(c.dims, whole, data, func(v float64) float64 {
		if whole {
			return math.Trunc(v)
		}
		return v
	})
}

func (g *graph) opReshape(n *node) (*value, error) {
	zero := n.integer("allowzero", 0) != 0
	var target []float64
	if old := n.integers("shape"); old != nil {
		for _, d := range old {
			target = append(target, float64(d))
		}
	} else {
		c, data, err := n.constant(1)
		if err != nil {
			return nil, err
		}
		if len(c.dims) != 1 || len(data) > formats.MaxRank {
			return nil, fmt.Errorf("to a shape of rank %d, want at most %d", len(data), formats.MaxRank)
		}
		target = data
	}
	if n.has(0) && n.in[0].c != nil {
		c, data, err := n.constant(0)
		if err != nil {
			return nil, err
		}
		shape, err := reshape(c.dims, target, zero, 0)
		if err != nil {
			return nil, err
		}
		return &value{c: &constant{dims: shape, data: data, whole: c.whole}}, nil
	}
	v, err := n.data(0, true)
	if err != nil {
		return nil, err
	}
	shape, err := reshape(v.view.shape, target, zero, g.batch)
	if err != nil {
		return nil, err
	}
	return reshaped(v, shape)
}

// reshape returns the sizes that a target with 0 (as it was) and -1 (what is left) means for
// elements of a shape. batch is the batch's size where it is fixed.
func reshape(shape []int, target []float64, zero bool, batch int) ([]int, error) {
	old := view{shape: shape}
	n := old.elements()
	hasBatch := slices.Contains(shape, batchAxis)
	out := make([]int, len(target))
	rest, known, placed := -1, 1, false
	for i, d := range target {
		switch {
		case d == 0 && !zero && i < len(shape):
			out[i] = shape[i]
		case math.IsNaN(d), hasBatch && i == 0 && batch > 0 && d == float64(batch):
			out[i] = batchAxis
		case d == -1:
			if rest >= 0 {
				return nil, fmt.Errorf("to %v, want -1 once", target)
			}
			rest = i
			continue
		case d >= 0 && d <= formats.MaxElements && d == math.Trunc(d):
			out[i] = int(d)
		default:
			return nil, fmt.Errorf("to %v, want sizes", target)
		}
		if out[i] == batchAxis {
			if placed {
				return nil, fmt.Errorf("to %v, want the batch once", target)
			}
			placed = true
			continue
		}
		if known *= out[i]; known > formats.MaxElements {
			return nil, fmt.Errorf("to %v, want at most %d elements", target, formats.MaxElements)
		}
	}
	if rest >= 0 {
		switch {
		case hasBatch && !placed:
			out[rest] = batchAxis
		case known > 0 && n%known == 0:
			out[rest] = n / known
			known = n
		}
	}
	if known != n || hasBatch != slices.Contains(out, batchAxis) {
		return nil, fmt.Errorf("of %s to %s, want %d elements of each image to stay with it", by(shape), strings.ReplaceAll(fmt.Sprint(target), "NaN", "N"), n)
	}
	return out, nil
}

// reshaped returns the elements of v in another shape, in their order.
func reshaped(v *value, shape []int) (*value, error) {
	out := *v
	for i, s := range shape {
		if s == batchAxis {
			// Images lie behind each other: a size before the batch would mix them.
			if before := (&view{shape: shape[:i]}).elements(); before > 1 {
				return nil, fmt.Errorf("of %s to %s mixes images", by(v.view.shape), by(shape))
			}
		}
	}
	if i := slices.Index(v.view.shape, batchAxis); i >= 0 && (&view{shape: v.view.shape[:i]}).elements() > 1 {
		return nil, fmt.Errorf("of %s mixes images", by(v.view.shape))
	}
	if v.view.isNatural() {
		out.view = natural(shape)
		return &out, nil
	}
	// Where only sizes of 1 come or go, each axis keeps its step.
	long := func(shape []int) []int {
		return slices.DeleteFunc(slices.Clone(shape), func(s int) bool { return s == 1 })
	}
	if slices.Equal(long(shape), long(v.view.shape)) {
		out.view = view{shape: shape, strides: make([]int, len(shape)), of: v.view.of}
		from := 0
		for i, s := range shape {
			if s == 1 {
				continue
			}
			for v.view.shape[from] == 1 {
				from++
			}
			out.view.strides[i] = v.view.strides[from]
			from++
		}
		return &out, nil
	}
	depth := 1
	for of := v.view.of; of != nil; of = of.of {
		depth++
	}
	if depth == maxViews {
		return nil, fmt.Errorf("turned and reshaped more than %d times", maxViews)
	}
	of := v.view
	out.view = natural(shape)
	out.view.of = &of
	return &out, nil
}

func (g *graph) opFlatten(n *node) (*value, error) {
	v, err := n.data(0, true)
	if err != nil {
		return nil, err
	}
	shape := v.view.shape
	at := n.integer("axis", 1)
	if at < 0 {
		at += int64(len(shape))
	}
	if at < 0 || at > int64(len(shape)) {
		return nil, fmt.Errorf("axis %d of %s", at, by(shape))
	}
	size := func(part []int) int {
		if n := (&view{shape: part}).elements(); n > 1 || !slices.Contains(part, batchAxis) {
			return n
		}
		return batchAxis
	}
	before, behind := shape[:at], shape[at:]
	if slices.Contains(behind, batchAxis) || size(before) > 1 && slices.Contains(before, batchAxis) {
		return nil, fmt.Errorf("axis %d of %s mixes images", at, by(shape))
	}
	return reshaped(v, []int{size(before), size(behind)})
}

func (g *graph) opSqueeze(n *node) (*value, error)   { return g.changeRank(n, false) }
func (g *graph) opUnsqueeze(n *node) (*value, error) { return g.changeRank(n, true) }

func (g *graph) changeRank(n *node, insert bool) (*value, error) {
	list, err := n.list("axes", 1)
	if err != nil {
		return nil, err
	}
	if !n.has(0) {
		return nil, errors.New("no input")
	}
	var shape, out []int
	if n.in[0].c != nil {
		shape = n.in[0].c.dims
	} else {
		v, err := n.data(0, true)
		if err != nil {
			return nil, err
		}
		shape = v.view.shape
	}
	if insert {
		rank := len(shape) + len(list)
		if rank > formats.MaxRank {
			return nil, fmt.Errorf("to rank %d, want at most %d", rank, formats.MaxRank)
		}
		set, err := axes(list, rank)
		if err != nil {
			return nil, err
		}
		for _, new := range set {
			if new {
				out = append(out, 1)
			} else if len(shape) > 0 { // list may be missing
				out, shape = append(out, shape[0]), shape[1:]
			} else {
				return nil, errors.New("no axes")
			}
		}
	} else {
		set, err := axes(list, len(shape))
		if err != nil {
			return nil, err
		}
		for i, s := range shape {
			if set[i] && s != 1 && list != nil {
				return nil, fmt.Errorf("axis %d of %s, want one of size 1", i, by(shape))
			}
			if !set[i] || s != 1 {
				out = append(out, s)
			}
		}
	}
	if c := n.in[0].c; c != nil {
		same := *c
		same.dims = out
		return &value{c: &same}, nil
	}
	return reshaped(n.in[0], out)
}

func (g *graph) opTranspose(n *node) (*value, error) {
	if !n.has(0) {
		return nil, errors.New("no input")
	}
	perm := n.integers("perm")
	order := func(rank int) ([]int, error) {
		if perm == nil {
			for i := range rank {
				perm = append(perm, int64(rank-1-i))
			}
		}
		if len(perm) != rank {
			return nil, fmt.Errorf("perm %v for rank %d", perm, rank)
		}
		out := make([]int, rank)
		if _, err := axes(perm, rank); err != nil {
			return nil, err
		}
		for i, a := range perm {
			out[i], _ = axis(a, rank)
		}
		return out, nil
	}
	if n.in[0].c != nil {
		c, data, err := n.constant(0)
		if err != nil {
			return nil, err
		}
		turn, err := order(len(c.dims))
		if err != nil {
			return nil, err
		}
		was := natural(c.dims)
		var now view
		for _, a := range turn {
			now.shape, now.strides = append(now.shape, was.shape[a]), append(now.strides, was.strides[a])
		}
		if err := g.spend(len(data)); err != nil {
			return nil, err
		}
		out := make([]float64, len(data))
		for i := range out {
			out[i] = data[now.at(i)]
		}
		return &value{c: &constant{dims: now.shape, data: out, whole: c.whole}}, nil
	}
	v, err := n.padded(0, true)
	if err != nil {
		return nil, err
	}
	turn, err := order(len(v.view.shape))
	if err != nil {
		return nil, err
	}
	out := *v
	out.view = view{of: v.view.of}
	out.pads = nil
	for _, a := range turn {
		out.view.shape = append(out.view.shape, v.view.shape[a])
		out.view.strides = append(out.view.strides, v.view.strides[a])
		if v.pads != nil {
			out.pads = append(out.pads, v.pads[a])
		}
	}
	return &out, nil
}

func (g *graph) opPad(n *node) (*value, error) {
	if mode := n.text("mode", "constant"); mode != "constant" {
		return nil, fmt.Errorf("mode %s, want constant", formats.Quote(mode))
	}
	fill := n.number("value", 0)
	if n.has(2) {
		_, data, err := n.constant(2)
		if err != nil {
			return nil, err
		}
		if len(data) != 1 {
			return nil, errors.New("several values to fill with, want 0")
		}
		fill = data[0]
	}
	if fill != 0 {
		return nil, fmt.Errorf("with %v, want 0", fill)
	}
	pads, err := n.list("pads", 1)
	if err != nil {
		return nil, err
	}
	v, err := n.padded(0, false)
	if err != nil {
		return nil, err
	}
	rank := len(v.view.shape)
	at := make([]int, rank)
	for i := range at {
		at[i] = i
	}
	if n.has(3) {
		list, err := n.list("axes", 3)
		if err != nil {
			return nil, err
		}
		if _, err := axes(list, rank); err != nil {
			return nil, err
		}
		at = at[:len(list)]
		for i, a := range list {
			at[i], _ = axis(a, rank)
		}
	}
	if len(pads) != 2*len(at) {
		return nil, fmt.Errorf("pads %v, want %d", pads, 2*len(at))
	}
	out := *v
	out.pads = make([][2]int, rank)
	copy(out.pads, v.pads)
	some := v.pads != nil
	for i, a := range at {
		for side, p := range []int64{pads[i], pads[len(at)+i]} {
			if p < 0 || p > formats.MaxSide || p > 0 && v.view.shape[a] == batchAxis {
				return nil, fmt.Errorf("pads %v, want 0 to %d, and 0 along the batch", pads, formats.MaxSide)
			}
			out.pads[a][side] += int(p)
			if out.pads[a][side] > formats.MaxSide {
				return nil, fmt.Errorf("more than %d zeros", formats.MaxSide)
			}
			some = some || p > 0
		}
	}
	if !some {
		out.pads = nil
	}
	return &out, nil
}

func (g *graph) opGemm(n *node) (*value, error) {
	alpha, beta := n.number("alpha", 1), n.number("beta", 1)
	n.want("transA", 0)
	transB := n.integer("transB", 0) != 0
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	c, w, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	if len(v.view.shape) != 2 || len(c.dims) != 2 {
		return nil, fmt.Errorf("of %s and %v, want two matrices", by(v.view.shape), c.dims)
	}
	in, out := c.dims[0], c.dims[1]
	if transB {
		in, out = out, in
	}
	var bias []float64
	if n.has(2) {
		b, data, err := n.constant(2)
		if err != nil {
			return nil, err
		}
		if bias, err = g.row(b.dims, data, out); err != nil {
			return nil, fmt.Errorf("bias: %w", err)
		}
		for i := range bias {
			bias[i] *= beta
		}
	}
	return g.linear(n, 1, v, in, out, []int{v.view.shape[0], out}, bias, func(o, i int) float64 {
		if transB {
			return alpha * w[o*in+i]
		}
		return alpha * w[i*out+o]
	})
}

// row returns data of a shape that stands for [out] by the rules of broadcasting.
func (g *graph) row(dims []int, data []float64, out int) ([]float64, error) {
	if err := g.spend(out); err != nil {
		return nil, err
	}
	if len(data) != 1 && len(data) != out || len(dims) > 0 && dims[len(dims)-1] != len(data) {
		return nil, fmt.Errorf("shape %v, want [%d]", dims, out)
	}
	row := make([]float64, out)
	for i := range row {
		row[i] = data[i%len(data)]
	}
	return row, nil
}

// linear adds a Linear of out rows that takes v's elements in v's order. Input i of the node holds
// the weights.
func (g *graph) linear(n *node, i int, v *value, in, out int, shape []int, bias []float64, weight func(o, i int) float64) (*value, error) {
	if have := v.view.elements(); have != in || out < 1 {
		return nil, fmt.Errorf("of %s, %d elements of an image, by a matrix of %d x %d", by(v.view.shape), have, in, out)
	}
	if err := g.spend(in * out); err != nil {
		return nil, err
	}
	s := step{from: []int{v.layer}, name: g.unique(n.GetInput()[i], nodeName(n.NodeProto), "linear"), bias: bias, open: bias == nil}
	if bias == nil {
		if err := g.spend(out); err != nil {
			return nil, err
		}
		s.bias = make([]float64, out)
	}
	place := make([]int, in) // of element k of v among the layer's
	for k := range place {
		place[k] = v.view.at(k)
	}
	if g.double {
		w := make([]float64, in*out)
		for o := range out {
			for k, at := range place {
				w[o*in+at] = weight(o, k)
			}
		}
		s.layer = model.Linear{Weight: formats.Dense(w, out, in)}
	} else {
		w := make([]float32, in*out)
		for o := range out {
			for k, at := range place {
				w[o*in+at] = float32(weight(o, k))
			}
		}
		s.layer = model.Linear{Weight: formats.Dense(w, out, in)}
	}
	layer, err := g.append(s)
	if err != nil {
		return nil, err
	}
	return &value{layer: layer, view: natural(shape), sole: true}, nil
}

func (g *graph) opMatMul(n *node) (*value, error) {
	if n.has(0) && n.in[0].c != nil && n.has(1) && n.in[1].c == nil {
		return g.columns(n)
	}
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	c, w, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	dims := c.dims
	shape := slices.Clone(v.view.shape)
	for len(dims) > 2 && dims[0] == 1 && len(shape) >= len(dims) {
		dims = dims[1:]
	}
	if len(dims) != 2 || len(shape) == 0 || shape[len(shape)-1] != dims[0] {
		return nil, fmt.Errorf("of %s and %v, want a matrix of weights that fits", by(shape), c.dims)
	}
	in, out := dims[0], dims[1]
	shape[len(shape)-1] = out
	return g.linear(n, 1, v, in, out, shape, nil, func(o, i int) float64 { return w[i*out+o] })
}

// columns is MatMul with the weights on the left: images are columns [in, 1].
func (g *graph) columns(n *node) (*value, error) {
	v, err := n.data(1, false)
	if err != nil {
		return nil, err
	}
	c, w, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(v.view.shape)
	at := len(shape) - 2
	if len(shape) == 1 {
		at = 0
	}
	if len(c.dims) != 2 || at < 0 || shape[at] != c.dims[1] || len(shape) > 1 && shape[at+1] != 1 {
		return nil, fmt.Errorf("of %v and %s, want images of one column on the right, or weights there", c.dims, by(shape))
	}
	out, in := c.dims[0], c.dims[1]
	shape[at] = out
	return g.linear(n, 0, v, in, out, shape, nil, func(o, i int) float64 { return w[o*in+i] })
}

// asImage returns [C, H, W] of v, which must be [N, C, H, W] in the order of its layer. Zeros are
// not counted.
func (g *graph) asImage(v *value) ([]int, error) {
	shape := v.view.shape
	if len(shape) != 4 || shape[0] > 1 || slices.Contains(shape[1:], batchAxis) {
		return nil, fmt.Errorf("of %s, want images [N, C, H, W]", by(shape))
	}
	have := g.shape(v.layer)
	if slices.Equal(have, shape[1:]) && v.view.isNatural() {
		return have, nil
	}
	if g.fromImage(v.layer) && v.view.isNatural() {
		return nil, wantInput{slices.Clone(shape[1:])}
	}
	return nil, fmt.Errorf("of %s made of %v by turning or reshaping, want images as a layer or the file gives them", by(shape), have)
}

// fromImage reports whether a layer's output has the shape of the image because all before it keep
// it, so that the image could as well have another.
func (g *graph) fromImage(layer int) bool {
	for layer >= 0 {
		s := g.steps[layer]
		switch s.layer.(type) {
		case model.Linear, model.Conv2D, model.MaxPool2D, model.AvgPool2D, model.Add:
			return false
		}
		layer = s.from[0]
	}
	return true
}

// pads returns what v is padded with around the image.
func (v *value) around() ([4]int, error) {
	if v.pads == nil {
		return [4]int{}, nil
	}
	if v.pads[0] != [2]int{} || v.pads[1] != [2]int{} {
		return [4]int{}, errors.New("takes padded channels, want padding of rows and columns only")
	}
	return [4]int{v.pads[2][0], v.pads[3][0], v.pads[2][1], v.pads[3][1]}, nil
}

// spatial returns stride and padding of a Conv or pool, for an image [C, H, W] already padded with
// extra.
func (n *node) spatial(image []int, kernel [2]int, extra [4]int) (stride [2]int, pad [4]int) {
	stride = [2]int(n.sizes("strides", 2, 1))
	pad = [4]int(n.sizes("pads", 4, 0))
	auto := n.text("auto_pad", "NOTSET")
	if n.err == nil && (stride[0] < 1 || stride[1] < 1) {
		n.fail(fmt.Errorf("strides %v, want at least 1", stride))
	}
	if n.err != nil {
		return stride, pad
	}
	switch auto {
	case "NOTSET", "":
	case "VALID":
		pad = [4]int{}
	case "SAME_UPPER", "SAME_LOWER":
		for d := range 2 {
			size := image[1+d] + extra[d] + extra[2+d]
			all := max(((size+stride[d]-1)/stride[d]-1)*stride[d]+kernel[d]-size, 0)
			pad[d], pad[2+d] = all/2, all-all/2
			if auto == "SAME_LOWER" {
				pad[d], pad[2+d] = pad[2+d], pad[d]
			}
		}
	default:
		n.fail(fmt.Errorf("auto_pad %s, want NOTSET, VALID, SAME_UPPER or SAME_LOWER", formats.Quote(auto)))
	}
	return stride, pad
}

func plus(a, b [4]int) [4]int {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

// paddedImage returns input 0, which must be an image: its shape [C, H, W], and the padding that a
// Pad before the node has put around it.
func (n *node) paddedImage() (v *value, image []int, extra [4]int, err error) {
	if v, err = n.padded(0, false); err != nil {
		return nil, nil, extra, err
	}
	if image, err = n.g.asImage(v); err != nil {
		return nil, nil, extra, err
	}
	extra, err = v.around()
	return v, image, extra, err
}

func (g *graph) opConv(n *node) (*value, error) {
	n.want("group", 1)
	n.wantAll("dilations", 1)
	v, image, extra, err := n.paddedImage()
	if err != nil {
		return nil, err
	}
	c, w, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	if len(c.dims) != 4 || slices.Contains(c.dims, 0) {
		return nil, fmt.Errorf("weights %v, want [out, in, rows, columns]", c.dims)
	}
	kernel := [2]int{c.dims[2], c.dims[3]}
	if k := n.sizes("kernel_shape", 2, 0); n.attribute("kernel_shape", pb.AttributeProto_INTS) != nil && [2]int(k) != kernel {
		return nil, fmt.Errorf("kernel_shape %v, want %v, that of the weights", k, kernel)
	}
	stride, pad := n.spatial(image, kernel, extra)
	if n.err != nil {
		return nil, n.err
	}
	out := c.dims[0]
	s := step{from: []int{v.layer}, open: !n.has(2)}
	if n.has(2) {
		b, data, err := n.constant(2)
		if err != nil {
			return nil, err
		}
		if len(b.dims) != 1 || b.dims[0] != out {
			return nil, fmt.Errorf("bias %v, want [%d]", b.dims, out)
		}
		s.bias = slices.Clone(data)
	} else {
		s.bias = make([]float64, out)
	}
	if err := g.spend(len(w) + out); err != nil {
		return nil, err
	}
	s.name = g.unique(n.GetInput()[1], nodeName(n.NodeProto), "conv")
	s.layer = model.Conv2D{Weight: g.dense(w, c.dims...), Stride: stride, Pad: plus(pad, extra)}
	layer, err := g.append(s)
	if err != nil {
		return nil, err
	}
	return g.imageOf(layer, v), nil
}

// imageOf returns the output [C, H, W] of a layer as [N, C, H, W] with v's batch.
func (g *graph) imageOf(layer int, v *value) *value {
	return &value{layer: layer, view: natural(append([]int{v.view.shape[0]}, g.shape(layer)...)), sole: true}
}

func (g *graph) opMaxPool(n *node) (*value, error)     { return g.pool(n, true) }
func (g *graph) opAveragePool(n *node) (*value, error) { return g.pool(n, false) }

func (g *graph) pool(n *node, largest bool) (*value, error) {
	n.wantAll("dilations", 1)
	ceil := n.integer("ceil_mode", 0) != 0
	count := false
	if largest {
		n.integer("storage_order", 0) // of the second output
	} else {
		count = n.integer("count_include_pad", 0) != 0
	}
	v, image, extra, err := n.paddedImage()
	if err != nil {
		return nil, err
	}
	kernel := [2]int(n.sizes("kernel_shape", 2, 0))
	stride, pad := n.spatial(image, kernel, extra)
	if n.err != nil {
		return nil, n.err
	}
	if v.pads != nil {
		// Zeros that a Pad puts there count as the image's. They do so for an average that counts
		// padding, and for the largest where nothing is below 0: neither that nor, as ReLU's
		// derivative at 0 is 0, the gradient changes.
		positive := false
		if v.layer >= 0 {
			switch g.steps[v.layer].layer.(type) {
			case model.ReLU, model.Sigmoid:
				positive = true
			}
		}
		switch {
		case largest && !positive:
			return nil, errors.New("takes what a Pad gives, where the zeros may be the largest: want that after Relu only, or pads")
		case !largest && !count && pad != [4]int{}:
			return nil, errors.New("takes what a Pad gives, and pads without counting, want one of the two")
		}
		count = true
	}
	all := plus(pad, extra)
	if ceil {
		for d := range 2 {
			// Windows that begin within the image or before it, so many more as a remainder makes.
			size := image[1+d] + all[d] + all[2+d]
			over := (size - kernel[d] + stride[d] - 1) / stride[d]
			if size >= kernel[d] && over*stride[d] >= image[1+d]+all[d] {
				over--
			}
			more := over*stride[d] + kernel[d] - size
			if more > 0 {
				if !largest && count && all != [4]int{} {
					return nil, errors.New("ceil_mode with padding that counts, want one of the two")
				}
				all[2+d] += more
				count = count && largest
			}
		}
	}
	var l model.Layer = model.AvgPool2D{Kernel: kernel, Stride: stride, Pad: all, CountPad: count}
	if largest {
		l = model.MaxPool2D{Kernel: kernel, Stride: stride, Pad: all}
	}
	layer, err := g.append(step{layer: l, from: []int{v.layer}})
	if err != nil {
		return nil, err
	}
	return g.imageOf(layer, v), nil
}

func (g *graph) opGlobalPool(n *node) (*value, error) {
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	image, err := g.asImage(v)
	if err != nil {
		return nil, err
	}
	kernel := [2]int{image[1], image[2]}
	var l model.Layer = model.AvgPool2D{Kernel: kernel, Stride: [2]int{1, 1}}
	if n.GetOpType() == "GlobalMaxPool" {
		l = model.MaxPool2D{Kernel: kernel, Stride: [2]int{1, 1}}
	}
	layer, err := g.append(step{layer: l, from: []int{v.layer}})
	if err != nil {
		return nil, err
	}
	return g.imageOf(layer, v), nil
}

func (g *graph) opReduceMean(n *node) (*value, error) {
	keep := n.integer("keepdims", 1) != 0
	noop := n.integer("noop_with_empty_axes", 0) != 0
	list, err := n.list("axes", 1)
	if err != nil {
		return nil, err
	}
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		if noop {
			return v, nil
		}
		list = nil
	}
	shape := v.view.shape
	set, err := axes(list, len(shape))
	if err != nil {
		return nil, err
	}
	have := g.shape(v.layer)
	if len(have) != 3 || v.view.of != nil {
		return nil, fmt.Errorf("of %s made of %v, want the mean over an image's rows and columns", by(shape), have)
	}
	// All axes within a channel, and none across.
	inner := have[1] * have[2]
	var out, strides []int
	for i, s := range shape {
		within := s > 1 && v.view.strides[i] < inner
		if s != 1 && set[i] != within {
			return nil, fmt.Errorf("over axes %v of %s, want those of an image's rows and columns", list, by(shape))
		}
		switch {
		case !set[i]:
			out, strides = append(out, s), append(strides, v.view.strides[i]/inner)
		case keep:
			out, strides = append(out, 1), append(strides, 0)
		}
	}
	l := model.AvgPool2D{Kernel: [2]int{have[1], have[2]}, Stride: [2]int{1, 1}}
	layer, err := g.append(step{layer: l, from: []int{v.layer}})
	if err != nil {
		return nil, err
	}
	return &value{layer: layer, view: view{shape: out, strides: strides}, sole: true}, nil
}

func (g *graph) opBatchNormalization(n *node) (*value, error) {
	eps := n.number("epsilon", 1e-5)
	n.number("momentum", 0)
	n.want("training_mode", 0)
	n.want("spatial", 1)
	n.integer("is_test", 1)
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	rank := len(v.view.shape)
	if rank < 2 || v.view.shape[1] < 1 {
		return nil, fmt.Errorf("of %s, want [N, C, …]", by(v.view.shape))
	}
	var p [4][]float64 // scale, bias, mean, variance
	for i := range p {
		var c *constant
		if c, p[i], err = n.constant(1 + i); err != nil {
			return nil, err
		}
		if len(c.dims) != 1 || c.dims[0] != v.view.shape[1] {
			return nil, fmt.Errorf("input %d of shape %v, want [%d], the channels of %s", 1+i, c.dims, v.view.shape[1], by(v.view.shape))
		}
	}
	w, b, err := formats.FoldNorm(p[0], p[1], p[2], p[3], eps)
	if err != nil {
		return nil, err
	}
	dims := make([]int, rank-1)
	for i := range dims {
		dims[i] = 1
	}
	dims[0] = len(w)
	return g.affine(v, dims, w, b)
}

// affine returns w·x + b for constants of a shape that is broadcast to v's. w nil: 1. b nil: 0.
func (g *graph) affine(v *value, dims []int, w, b []float64) (*value, error) {
	size := g.shape(v.layer)[0]
	if err := g.spend(2 * size); err != nil {
		return nil, err
	}
	full := func(data []float64, otherwise float64) ([]float64, error) {
		if data != nil {
			return g.byChannel(v, dims, data)
		}
		out := make([]float64, size)
		for i := range out {
			out[i] = otherwise
		}
		return out, nil
	}
	fw, err := full(w, 1)
	if err != nil {
		return nil, err
	}
	fb, err := full(b, 0)
	if err != nil {
		return nil, err
	}
	layer, err := g.scale(v.layer, v.sole, fw, fb)
	if err != nil {
		return nil, err
	}
	return &value{layer: layer, view: v.view, sole: true}, nil
}

// byChannel returns a constant of shape dims, broadcast to v, as one number for each channel of v's
// layer, or each element of [I]. It is an error if it is not the same all over a channel.
func (g *graph) byChannel(v *value, dims []int, data []float64) ([]float64, error) {
	have := g.shape(v.layer)
	out := make([]float64, have[0])
	if len(dims) > len(v.view.shape) {
		return nil, fmt.Errorf("a constant of shape %v would change that of %s", dims, by(v.view.shape))
	}
	same := len(data) > 0
	for _, x := range data {
		same = same && x == data[0]
	}
	inner := formats.Volume(have) / have[0]
	type loop struct{ n, constant, channel int }
	var loops []loop
	steps, shift := natural(dims).strides, len(v.view.shape)-len(dims)
	total := 1
	for i, s := range v.view.shape {
		d, step := 1, 0
		if i >= shift {
			d, step = dims[i-shift], steps[i-shift]
		}
		if d != 1 && d != s {
			return nil, fmt.Errorf("a constant of shape %v and %s", dims, by(v.view.shape))
		}
		stride := v.view.strides[i]
		channel := 0
		if stride%inner == 0 {
			channel = stride / inner
		}
		if n := max(d, s); n > 1 && (d > 1 || channel > 0) && !same {
			loops = append(loops, loop{n, step, channel})
			if n > formats.MaxElements/total {
				return nil, fmt.Errorf("more than %d elements", formats.MaxElements)
			}
			total *= n
		}
	}
	if same {
		for i := range out {
			out[i] = data[0]
		}
		return out, nil
	}
	varies := func() error {
		if inner > 1 && len(g.input) > 1 && g.fromImage(v.layer) {
			return wantInput{[]int{formats.Volume(g.input)}}
		}
		return fmt.Errorf("a constant of shape %v varies within a channel of %s, want one number for each", dims, by(v.view.shape))
	}
	if v.view.of != nil || len(data) == 0 {
		return nil, varies()
	}
	if err := g.spend(total); err != nil {
		return nil, err
	}
	seen := make([]bool, len(out))
	index := make([]int, len(loops))
	for range total {
		from, to := 0, 0
		for k, l := range loops {
			from += index[k] * l.constant
			to += index[k] * l.channel
		}
		if seen[to] && out[to] != data[from] {
			return nil, varies()
		}
		out[to], seen[to] = data[from], true
		for k := len(loops) - 1; k >= 0; k-- {
			if index[k]++; index[k] < loops[k].n {
				break
			}
			index[k] = 0
		}
	}
	if slices.Contains(seen, false) {
		return nil, varies()
	}
	return out, nil
}

// opBinary is Add, Sub, Mul and Div.
func (g *graph) opBinary(n *node) (*value, error) {
	if !n.has(0) || !n.has(1) || len(n.in) > 2 {
		return nil, fmt.Errorf("%d inputs, want 2", len(n.in))
	}
	a, b := n.in[0], n.in[1]
	op := n.GetOpType()
	switch {
	case a.c != nil && b.c != nil:
		return g.fold(n)
	case a.c == nil && b.c == nil:
		return g.combine(n)
	}
	side, v := 1, a
	if a.c != nil {
		side, v = 0, b
	}
	if v.pads != nil {
		_, err := n.data(1-side, true)
		return nil, err
	}
	c, data, err := n.constant(side)
	if err != nil {
		return nil, err
	}
	if side == 0 && op == "Div" {
		return nil, errors.New("of a constant by what depends on the image, want the other way round")
	}
	if len(data) == 1 && len(c.dims) <= len(v.view.shape) {
		w, b := 1.0, 0.0
		switch op {
		case "Add":
			b = data[0]
		case "Sub":
			b = -data[0]
			if side == 0 {
				w, b = -1, data[0]
			}
		case "Mul":
			w = data[0]
		case "Div":
			w = 1 / data[0]
		}
		return g.scalar(v, w, b)
	}
	if err := g.spend(2 * len(data)); err != nil {
		return nil, err
	}
	w, add := make([]float64, 0), make([]float64, 0)
	switch op {
	case "Add":
		w, add = nil, data
	case "Sub":
		w = nil
		for _, x := range data {
			add = append(add, -x)
		}
		if side == 0 {
			w, add = make([]float64, len(data)), data
			for i := range w {
				w[i] = -1
			}
		}
	case "Mul":
		w, add = data, nil
	case "Div":
		add = nil
		for _, x := range data {
			w = append(w, 1/x)
		}
	}
	if v, err = g.settle(v); err != nil {
		return nil, err
	}
	return g.affine(v, c.dims, w, add)
}

// scalar returns w·v + b, as a formula until it is known whether it is part of one of asFormulas.
func (g *graph) scalar(v *value, w, b float64) (*value, error) {
	if s := w + b; s-s != 0 {
		return nil, fmt.Errorf("a factor %v and a summand %v, want finite ones", w, b)
	}
	f := v.f
	if f == nil {
		f = &formula{op: "x", size: 1}
	}
	if f.op == "affine" {
		w, b, f = f.a*w, float64(f.b*w)+b, f.args[0]
	}
	return g.apply(v, "affine", w, b, f)
}

// apply returns a formula of what v is a formula of.
func (g *graph) apply(v *value, op string, a, b float64, args ...*formula) (*value, error) {
	f, err := newFormula(op, a, b, args...)
	if err != nil {
		return nil, err
	}
	out := *v
	out.f = f
	return &out, nil
}

// combine is Add, Sub or Mul of two values that depend on the image: part of a formula if both are
// formulas of the same elements, else a residual connection.
func (g *graph) combine(n *node) (*value, error) {
	a, err := n.data(0, true)
	if err != nil {
		return nil, err
	}
	b, err := n.data(1, true)
	if err != nil {
		return nil, err
	}
	op := n.GetOpType()
	if op == "Sub" {
		if b, err = g.scalar(b, -1, 0); err != nil {
			return nil, err
		}
		op = "Add"
	}
	if a.layer == b.layer && sameView(a.view, b.view) && op != "Div" {
		fa, fb := a.f, b.f
		if fa == nil {
			fa = &formula{op: "x", size: 1}
		}
		if fb == nil {
			fb = &formula{op: "x", size: 1}
		}
		return g.apply(a, strings.ToLower(op), 0, 0, fa, fb)
	}
	if op != "Add" {
		return nil, errors.New("of two values that depend on the image, want a constant, or a whole formula of one of " + knownFormulas())
	}
	if a, err = g.settle(a); err != nil {
		return nil, err
	}
	if b, err = g.settle(b); err != nil {
		return nil, err
	}
	if !sameView(a.view, b.view) {
		return nil, fmt.Errorf("of %s and %s, want equal shapes in the same order", by(a.view.shape), by(b.view.shape))
	}
	layer, err := g.append(step{layer: model.Add{}, from: []int{a.layer, b.layer}})
	if err != nil {
		return nil, err
	}
	return &value{layer: layer, view: a.view, sole: true}, nil
}

// A unary is an operator that is one function of each number, and has no attributes.
type unary struct {
	value func(x float64) float64 // of constants, and within a formula
	// formula is set if the operator may be part of a formula. Else it takes constants alone.
	formula bool
	// layer is what the operator is by itself. nil: nothing, it must be part of one of asFormulas.
	layer model.Layer
}

// unaries are those operators, by name. One that stands in a formula of asFormulas is here, and not
// in activations.
var unaries = map[string]unary{
	"Sqrt":       {value: math.Sqrt},
	"Reciprocal": {value: func(x float64) float64 { return 1 / x }},
	"Erf":        {value: math.Erf, formula: true},
	"Tanh":       elementary(model.Tanh{}),
	"Sigmoid":    elementary(model.Sigmoid{}),
}

// elementary is an operator that is a layer.
func elementary(l model.Elementwise) unary { return unary{l.Value, true, l} }

// asFormulas are the functions that exporters write as formulas of several operators. The first
// that is near enough is taken.
var asFormulas = []model.Elementwise{model.GELU{}, model.GELU{Tanh: true}}

// knownFormulas names asFormulas, for messages.
func knownFormulas() string {
	var names []string
	for _, l := range asFormulas {
		name, _ := l.Function()
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// opUnary is a row of unaries.
func (g *graph) opUnary(n *node) (*value, error) {
	u := unaries[n.GetOpType()]
	if n.has(0) && n.in[0].c != nil {
		return g.eachOf(n, u.value)
	}
	v, err := n.data(0, true)
	if err != nil {
		return nil, err
	}
	if !u.formula {
		return nil, errors.New("of what depends on the image, want a constant")
	}
	f := v.f
	if f == nil {
		f = &formula{op: "x", size: 1}
	}
	return g.apply(v, n.GetOpType(), 0, 0, f)
}

func (g *graph) opNeg(n *node) (*value, error) {
	if n.has(0) && n.in[0].c != nil {
		return g.eachOf(n, func(x float64) float64 { return -x })
	}
	v, err := n.data(0, true)
	if err != nil {
		return nil, err
	}
	return g.scalar(v, -1, 0)
}

// eachOf returns f of each number of the constant that n takes.
func (g *graph) eachOf(n *node, f func(x float64) float64) (*value, error) {
	c, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	return g.each(c.dims, c.whole, data, f)
}

func (g *graph) opPow(n *node) (*value, error) {
	_, power, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	if len(power) != 1 {
		return nil, errors.New("several exponents, want one")
	}
	if n.has(0) && n.in[0].c != nil {
		c, data, err := n.constant(0)
		if err != nil {
			return nil, err
		}
		return g.each(c.dims, c.whole, data, func(x float64) float64 { return math.Pow(x, power[0]) })
	}
	v, err := n.data(0, true)
	if err != nil {
		return nil, err
	}
	f := v.f
	if f == nil {
		f = &formula{op: "x", size: 1}
	}
	return g.apply(v, "pow", 0, power[0], f)
}

// activations are the operators that are one function of each number, by name, with the layer that
// a node of the operator is, but for unaries.
var activations = map[string]func(n *node) (model.Layer, error){
	"Relu":      func(*node) (model.Layer, error) { return model.ReLU{}, nil },
	"LeakyRelu": func(n *node) (model.Layer, error) { return model.LeakyReLU{Slope: n.number("alpha", 0.01)}, nil },
	"Gelu": func(n *node) (model.Layer, error) {
		how := n.text("approximate", "none")
		if how != "none" && how != "tanh" {
			return nil, fmt.Errorf("approximate %s, want none or tanh", formats.Quote(how))
		}
		return model.GELU{Tanh: how == "tanh"}, nil
	},
}

// activation is a node of activations.
func (g *graph) activation(n *node, layer func(*node) (model.Layer, error)) (*value, error) {
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	l, err := layer(n)
	if err != nil {
		return nil, err
	}
	return g.after(v, l)
}

// opClip is ReLU if it cuts at 0 alone.
func (g *graph) opClip(n *node) (*value, error) {
	bound := func(name string, i int, otherwise float64) (float64, error) {
		if n.has(i) {
			_, data, err := n.constant(i)
			if err != nil {
				return 0, err
			}
			if len(data) != 1 {
				return 0, fmt.Errorf("%s of %d numbers, want 1", name, len(data))
			}
			return data[0], nil
		}
		return n.number(name, otherwise), nil
	}
	lo, err := bound("min", 1, math.Inf(-1))
	if err != nil {
		return nil, err
	}
	hi, err := bound("max", 2, math.Inf(1))
	if err != nil {
		return nil, err
	}
	v, err := n.data(0, false)
	if err != nil {
		return nil, err
	}
	open := func(x float64) bool { return x >= math.MaxFloat32 }
	switch {
	case open(hi) && open(-lo):
		return v, nil
	case open(hi) && lo == 0:
		return g.after(v, model.ReLU{})
	}
	return nil, fmt.Errorf("to %v and %v, want 0 and no upper bound, which is Relu", lo, hi)
}
