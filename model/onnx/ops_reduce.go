package onnx

import (
	"fmt"
	"math"
	"slices"

	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// Operators that make fewer numbers of many: reductions, pools, softmax, and normalisations.
var _ = register(map[string]func(*graph, *node) (*value, error){
	"ReduceMean": (*graph).opReduce, "ReduceSum": (*graph).opReduce, "ReduceMax": (*graph).opReduce, "ReduceMin": (*graph).opReduce,
	"ReduceL1": (*graph).opReduce, "ReduceL2": (*graph).opReduce, "ReduceSumSquare": (*graph).opReduce, "ReduceLogSum": (*graph).opReduce,
	"ReduceLogSumExp": (*graph).opReduce, "ReduceProd": (*graph).opReduce,
	"MaxPool": eachWindow((*graph).opMaxPool), "AveragePool": eachWindow((*graph).opAveragePool),
	"GlobalAveragePool": (*graph).opGlobalPool, "GlobalMaxPool": (*graph).opGlobalPool,
	"Softmax": (*graph).opSoftmax, "LogSoftmax": (*graph).opSoftmax,
	"LayerNormalization": (*graph).opLayerNorm, "RMSNormalization": (*graph).opLayerNorm, "SimplifiedLayerNormalization": (*graph).opLayerNorm,
	"InstanceNormalization": (*graph).opInstanceNorm, "GroupNormalization": (*graph).opGroupNorm,
	"LRN": (*graph).opLRN, "LpNormalization": (*graph).opLpNorm, "MeanVarianceNormalization": (*graph).opMVN,
})

// A reduction is an operator over axes: f of each number, a Reduce, and g of what it gives.
type reduction struct {
	before, by, behind string // functions of unaries, "neg" or "square"; and a way of model.Reduce
	// fold is that of constants.
	fold func(all []float64) float64
}

// reductions are those operators, by name.
var reductions = map[string]reduction{
	"ReduceMean": {"", "mean", "", func(all []float64) float64 {
		return total(all, func(x float64) float64 { return x }) / float64(len(all))
	}},
	"ReduceSum":       {"", "sum", "", func(all []float64) float64 { return total(all, func(x float64) float64 { return x }) }},
	"ReduceMax":       {"", "max", "", slices.Max[[]float64]},
	"ReduceMin":       {"neg", "max", "neg", slices.Min[[]float64]},
	"ReduceL1":        {"Abs", "sum", "", func(all []float64) float64 { return total(all, math.Abs) }},
	"ReduceL2":        {"square", "sum", "Sqrt", func(all []float64) float64 { return math.Sqrt(total(all, square)) }},
	"ReduceSumSquare": {"square", "sum", "", func(all []float64) float64 { return total(all, square) }},
	"ReduceLogSum":    {"", "sum", "Log", func(all []float64) float64 { return math.Log(total(all, func(x float64) float64 { return x })) }},
	"ReduceLogSumExp": {"", "logsumexp", "", func(all []float64) float64 {
		top := slices.Max(all)
		return top + math.Log(total(all, func(x float64) float64 { return math.Exp(x - top) }))
	}},
	"ReduceProd": {"", "", "", func(all []float64) float64 {
		p := 1.0
		for _, x := range all {
			p *= x
		}
		return p
	}},
}

func square(x float64) float64 { return float64(x * x) }

func total(all []float64, f func(float64) float64) float64 {
	s := 0.0
	for _, x := range all {
		s += f(x)
	}
	return s
}

func (g *graph) opReduce(n *node) (*value, error) {
	keep := n.flag("keepdims", true)
	noop := n.flag("noop_with_empty_axes", false)
	list, err := n.list("axes", 1)
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		if noop {
			return v, nil
		}
		list = nil
	}
	set, err := axes(list, len(v.shape))
	if err != nil {
		return nil, err
	}
	over, _ := setOf(set)
	r, ok := reductions[n.GetOpType()]
	if !ok {
		return nil, fmt.Errorf("no reduction %s", n.GetOpType())
	}
	if v.c != nil {
		return g.reduceConstant(v, over, keep, r)
	}
	if v.batch >= 0 && set[v.batch] {
		return nil, fmt.Errorf("of %v over axis %d, which counts images: they depend on each other then, as in batch normalisation without running statistics", v, v.batch)
	}
	if v, err = g.step(v, r.before); err != nil {
		return nil, err
	}
	if r.by == "" {
		v, err = g.multiplied(v, over)
	} else {
		v, err = g.reduce(v, over, r.by)
	}
	if err != nil {
		return nil, err
	}
	if v, err = g.step(v, r.behind); err != nil {
		return nil, err
	}
	if keep {
		return v, nil
	}
	return g.drop(v, over)
}

// maxFactors bounds how many numbers a ReduceProd multiplies: each takes a layer.
const maxFactors = 1 << 10

// multiplied returns the product of all numbers along axes, which are of size 1 then.
func (g *graph) multiplied(v *value, over []int) (*value, error) {
	for _, a := range over {
		parts, strides := v.shape[a], steps(v.shape)
		if parts > maxFactors {
			return nil, fmt.Errorf("of %v over axis %d, want at most %d numbers", v, a, maxFactors)
		}
		shape := slices.Clone(v.shape)
		shape[a] = 1
		var product *value
		for k := range parts {
			part, err := g.pick(v, shape, v.batch, strides, k*strides[a])
			if err != nil {
				return nil, err
			}
			if part = part.like(v); product == nil {
				product = part
			} else if product, err = g.binary("Mul", product, part); err != nil {
				return nil, err
			}
		}
		v = product
	}
	return v, nil
}

// step returns a function of each number of v: of unaries, "neg", "square", or "" for itself.
func (g *graph) step(v *value, f string) (*value, error) {
	switch f {
	case "":
		return v, nil
	case "neg":
		return g.scalar(v, -1, 0)
	case "square":
		return g.function(v, "pow", 0, 2)
	}
	return g.function(v, f, 0, 0)
}

// drop removes axes of size 1.
func (g *graph) drop(v *value, over []int) (*value, error) {
	var target []float64
	for i, s := range v.sizes() {
		if !slices.Contains(over, i) {
			target = append(target, s)
		}
	}
	return g.reshape(v, target, true)
}

// reduceConstant reduces known numbers.
func (g *graph) reduceConstant(v *value, over []int, keep bool, r reduction) (*value, error) {
	data, err := g.numbers(v)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(v.shape)
	for _, a := range over {
		shape[a] = 1
	}
	strides := steps(shape)
	for _, a := range over {
		strides[a] = 0
	}
	n, err := countOf(shape)
	if err == nil {
		err = g.spend(n + len(data))
	}
	if err != nil {
		return nil, err
	}
	if n == 0 || len(data) == 0 {
		return nil, fmt.Errorf("of %v, no numbers", v)
	}
	groups := make([][]float64, n)
	walk(v.shape, strides, func(k, at int) { groups[at] = append(groups[at], data[k]) })
	out := make([]float64, n)
	for i, all := range groups {
		out[i] = r.fold(all)
	}
	w := g.rounded(known(shape, out, v.c.whole), v)
	w.c.sized = v.c.sized
	if keep {
		return w, nil
	}
	return g.drop(w, over)
}

// reduce returns one number for all along axes, which are of size 1 then.
func (g *graph) reduce(v *value, over []int, by string) (*value, error) {
	if slices.Contains(over, v.batch) {
		return nil, v.noBatch(v.batch)
	}
	v, err := g.settle(v)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(v.shape)
	for _, a := range over {
		shape[a] = 1
	}
	if slices.Equal(shape, v.shape) && by != "logsumexp" {
		return v, nil
	}
	parts := g.refine(v)
	var fine []int
	var all []int // axes of fine to go over
	for i, p := range parts {
		for range p {
			if slices.Contains(over, i) {
				all = append(all, len(fine))
			}
			fine = append(fine, 1)
		}
	}
	x, err := g.split(v, parts)
	if err != nil {
		return nil, err
	}
	x = &value{shape: x.shape, batch: -1, src: x.src, idx: x.idx, sole: x.sole}
	all = slices.DeleteFunc(all, func(a int) bool { return x.shape[a] == 1 })
	if o, ok := g.orderOf(x); ok && len(g.shape(x.src[0])) == 3 {
		pixels := slices.Concat(o[1], o[2])
		if subset(pixels, all) && len(pixels) > 0 && (by != "logsumexp") {
			if x, err = g.poolAll(x, o, by); err != nil {
				return nil, err
			}
			all = without(all, pixels)
		}
	}
	if len(all) > 0 || by == "logsumexp" {
		if x, err = g.overChannels(x, all, by); err != nil {
			return nil, err
		}
	}
	x.shape, x.batch, x.lead = shape, v.batch, v.lead
	return x, nil
}

// subset reports whether all has every one of some.
func subset(some, all []int) bool {
	for _, a := range some {
		if !slices.Contains(all, a) {
			return false
		}
	}
	return true
}

// poolAll reduces the pixels of each channel of what lies in an order.
func (g *graph) poolAll(x *value, o order, by string) (*value, error) {
	dims := g.shape(x.src[0])
	kernel := [2]int{dims[1], dims[2]}
	var l model.Layer = model.AvgPool2D{Kernel: kernel, Stride: [2]int{1, 1}}
	if by == "max" {
		l = model.MaxPool2D{Kernel: kernel, Stride: [2]int{1, 1}}
	}
	layer, err := g.append(step{layer: l, from: x.src})
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(x.shape)
	for _, a := range slices.Concat(o[1], o[2]) {
		shape[a] = 1
	}
	out, err := g.lies(layer, shape, -1, o)
	if err != nil || by != "sum" {
		return out, err
	}
	return g.scaled(out, float64(kernel[0]*kernel[1]))
}

// scaled is w·v as numbers of a layer.
func (g *graph) scaled(v *value, w float64) (*value, error) {
	v, err := g.scalar(v, w, 0)
	if err != nil {
		return nil, err
	}
	return g.settle(v)
}

// overChannels reduces axes by making them the channels of a layer.
func (g *graph) overChannels(x *value, over []int, by string) (*value, error) {
	o := g.channelsOf(x, over)
	layer, err := g.lay(x, o, true)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(x.shape)
	for _, a := range over {
		shape[a] = 1
	}
	if layer, err = g.append(step{layer: model.Reduce{By: by}, from: []int{layer}}); err != nil {
		return nil, err
	}
	return g.lies(layer, shape, -1, o)
}

// channelsOf returns an order of v with these axes for channels: that in which it lies, if it is
// such a one.
func (g *graph) channelsOf(v *value, over []int) order {
	if o, ok := g.orderOf(v); ok {
		long := slices.DeleteFunc(slices.Clone(over), func(a int) bool { return v.shape[a] == 1 })
		if len(o[0]) == len(long) && subset(o[0], long) {
			for a := range v.shape {
				d := 1
				if slices.Contains(over, a) { // which may become longer
					d = 0
				}
				if v.shape[a] == 1 {
					o[d] = append(o[d], a)
				}
			}
			return o
		}
	}
	o := order{over}
	for a := range v.shape {
		if !slices.Contains(over, a) {
			o[1] = append(o[1], a)
		}
	}
	return o
}

func (g *graph) opSoftmax(n *node) (*value, error) {
	otherwise := int64(-1)
	if g.opset < 13 {
		otherwise = 1
	}
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	at, err := axis(n.integer("axis", otherwise), len(v.shape))
	if err != nil {
		return nil, err
	}
	over := []int{at}
	if g.opset < 13 {
		for a := at + 1; a < len(v.shape); a++ {
			over = append(over, a)
		}
	}
	if slices.Contains(over, v.batch) {
		return nil, v.noBatch(v.batch)
	}
	if n.GetOpType() == "LogSoftmax" {
		sum, err := g.reduce(v, over, "logsumexp")
		if err != nil {
			return nil, err
		}
		return g.binary("Sub", v, sum)
	}
	if v, err = g.settle(v); err != nil {
		return nil, err
	}
	o := g.channelsOf(v, over)
	layer, err := g.lay(v, o, true)
	if err != nil {
		return nil, err
	}
	if layer, err = g.append(step{layer: model.Softmax{}, from: []int{layer}}); err != nil {
		return nil, err
	}
	out, err := g.lies(layer, v.shape, v.batch, o)
	return out.like(v), err
}

// normalise returns (v - mean)/√(variance + eps) over axes, or without the mean.
func (g *graph) normalise(v *value, over []int, eps float64, centred bool) (*value, error) {
	v, err := g.settle(v)
	if err != nil {
		return nil, err
	}
	if v.batch >= 0 && slices.Contains(over, v.batch) {
		return nil, v.noBatch(v.batch)
	}
	x := v
	if centred {
		mean, err := g.reduce(v, over, "mean")
		if err != nil {
			return nil, err
		}
		if x, err = g.binary("Sub", v, mean); err != nil {
			return nil, err
		}
		if x, err = g.settle(x); err != nil {
			return nil, err
		}
	}
	squares, err := g.function(x, "pow", 0, 2)
	if err != nil {
		return nil, err
	}
	spread, err := g.reduce(squares, over, "mean")
	if err != nil {
		return nil, err
	}
	if spread, err = g.scalar(spread, 1, eps); err != nil {
		return nil, err
	}
	if spread, err = g.function(spread, "Sqrt", 0, 0); err != nil {
		return nil, err
	}
	return g.binary("Div", x, spread)
}

// weigh returns v·w + b for inputs i and i+1 of n, which may be left out.
func (g *graph) weigh(n *node, v *value, i int) (*value, error) {
	var err error
	for k, op := range []string{"Mul", "Add"} {
		if n.has(i + k) {
			if v, err = g.binary(op, v, n.in[i+k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (g *graph) opLayerNorm(n *node) (*value, error) {
	eps := n.number("epsilon", 1e-5)
	n.ignore("stash_type")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	at, err := axis(n.integer("axis", -1), len(v.shape))
	if err != nil {
		return nil, err
	}
	var over []int
	for a := at; a < len(v.shape); a++ {
		over = append(over, a)
	}
	x, err := g.normalise(v, over, eps, n.GetOpType() == "LayerNormalization")
	if err != nil {
		return nil, err
	}
	return g.weigh(n, x, 1)
}

func (g *graph) opInstanceNorm(n *node) (*value, error) {
	eps := n.number("epsilon", 1e-5)
	n.ignore("consumed_inputs")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) < 3 {
		return nil, fmt.Errorf("of %v, want [N, C, …]", v)
	}
	var over []int
	for a := 2; a < len(v.shape); a++ {
		over = append(over, a)
	}
	x, err := g.normalise(v, over, eps, true)
	if err != nil {
		return nil, err
	}
	return g.weighChannels(n, x, 1)
}

// weighChannels is weigh for numbers by axis 1.
func (g *graph) weighChannels(n *node, v *value, i int) (*value, error) {
	var p [2][]float64
	for k := range p {
		c, data, err := n.constant(i + k)
		if err != nil {
			return nil, err
		}
		if len(c.shape) != 1 || len(data) != v.shape[1] {
			return nil, fmt.Errorf("input %d of shape %v, want [%d]", i+k, c, v.shape[1])
		}
		p[k] = data
	}
	return g.byAxis(v, 1, p[0], p[1])
}

func (g *graph) opGroupNorm(n *node) (*value, error) {
	eps, groups := n.number("epsilon", 1e-5), n.integer("num_groups", 0)
	n.ignore("stash_type")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) < 3 || groups < 1 || int64(v.shape[1])%groups != 0 {
		return nil, fmt.Errorf("of %v in %d groups", v, groups)
	}
	sizes := v.sizes()
	split := slices.Concat(sizes[:1], []float64{float64(groups), sizes[1] / float64(groups)}, sizes[2:])
	x, err := g.reshape(v, split, true)
	if err != nil {
		return nil, err
	}
	var over []int
	for a := 2; a < len(split); a++ {
		over = append(over, a)
	}
	if x, err = g.normalise(x, over, eps, true); err != nil {
		return nil, err
	}
	perGroup := g.opset < 21 && n.has(1) && n.in[1].volume() == int(groups) && int(groups) != v.shape[1]
	if perGroup { // as the operator was first defined
		if x, err = g.weighChannels(n, x, 1); err != nil {
			return nil, err
		}
		return g.reshape(x, sizes, true)
	}
	if x, err = g.reshape(x, sizes, true); err != nil {
		return nil, err
	}
	return g.weighChannels(n, x, 1)
}

func (g *graph) opMVN(n *node) (*value, error) {
	list := n.integers("axes")
	if list == nil {
		list = []int64{0, 2, 3}
	}
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	set, err := axes(list, len(v.shape))
	if err != nil {
		return nil, err
	}
	over, _ := setOf(set)
	return g.normalise(v, over, 1e-9, true)
}

func (g *graph) opLpNorm(n *node) (*value, error) {
	p := n.integer("p", 2)
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	at, err := axis(n.integer("axis", -1), len(v.shape))
	if err != nil {
		return nil, err
	}
	if err := v.noBatch(at); err != nil {
		return nil, err
	}
	r := reductions["ReduceL2"]
	switch p {
	case 2:
	case 1:
		r = reductions["ReduceL1"]
	default:
		return nil, fmt.Errorf("p %d, want 1 or 2", p)
	}
	norm, err := g.step(v, r.before)
	if err != nil {
		return nil, err
	}
	if norm, err = g.reduce(norm, []int{at}, r.by); err != nil {
		return nil, err
	}
	if norm, err = g.step(norm, r.behind); err != nil {
		return nil, err
	}
	return g.binary("Div", v, norm)
}

// opLRN is x/(bias + alpha/size·Σ x²)^beta, the sum over channels near by: a convolution of one
// pixel whose filters are 1 there.
func (g *graph) opLRN(n *node) (*value, error) {
	alpha, beta, bias, size := n.number("alpha", 1e-4), n.number("beta", 0.75), n.number("bias", 1), n.integer("size", 0)
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) != 4 || size < 1 || size > formats.MaxSide {
		return nil, fmt.Errorf("of %v over %d channels", v, size)
	}
	squares, err := g.function(v, "pow", 0, 2)
	if err != nil {
		return nil, err
	}
	layer, err := g.lay(squares, order{{0, 1}, {2}, {3}}, false)
	if err != nil {
		return nil, err
	}
	c := v.shape[1]
	if c > formats.MaxElements/c {
		return nil, fmt.Errorf("of %v, too many channels", v)
	}
	if err := g.spend(c*c + 2*c); err != nil {
		return nil, err
	}
	w, b := make([]float64, c*c), make([]float64, c)
	for i := range c {
		b[i] = bias
		for j := max(0, i-int(size-1)/2); j <= min(c-1, i+int(size)/2); j++ {
			w[i*c+j] = alpha / float64(size)
		}
	}
	layer, err = g.append(step{layer: model.Conv2D{Weight: g.dense(w, c, c, 1, 1), Stride: [2]int{1, 1}}, from: []int{layer}, name: g.unique("", nodeName(n.NodeProto), "lrn"), bias: b})
	if err != nil {
		return nil, err
	}
	near, err := g.lies(layer, v.shape, v.batch, order{{0, 1}, {2}, {3}})
	if err != nil {
		return nil, err
	}
	if near, err = g.function(near, "pow", 0, -beta); err != nil {
		return nil, err
	}
	return g.binary("Mul", v, near)
}

func (g *graph) opMaxPool(n *node) (*value, error)     { return g.pool(n, true) }
func (g *graph) opAveragePool(n *node) (*value, error) { return g.pool(n, false) }

// flatter is a pool of [N, C, D, H, W] whose window has one place along some axes, as one of
// images.
func (g *graph) flatter(n *node, v *value, largest bool) (*value, error) {
	s := v.sizes()
	kernel := n.sides("kernel_shape", 3, 0)
	var shape []float64
	var at []int // the axes that stay
	switch {
	case n.err != nil:
		return nil, n.err
	case kernel[1] == 1 && kernel[2] == 1:
		shape, at = []float64{s[0], s[1], s[2], s[3] * s[4]}, []int{0, -1}
	case kernel[0] == 1:
		shape, at = []float64{s[0], s[1] * s[2], s[3], s[4]}, []int{1, 2}
	default:
		return nil, fmt.Errorf("of %v with a kernel of %v, want one over two axes", v, kernel)
	}
	p := &pb.NodeProto{Name: n.Name, OpType: n.OpType, Input: n.Input, Output: n.Output}
	for _, a := range n.GetAttribute() {
		list := a.GetInts()
		few := &pb.AttributeProto{Name: a.Name, Type: a.Type}
		for half := 0; half+3 <= len(list); half += 3 {
			for i := range 3 {
				if drops := !slices.Contains(at, i) && (at[1] >= 0 || i > 0); drops && list[half+i] != int64(map[string]int{"kernel_shape": 1, "strides": 1, "dilations": 1}[a.GetName()]) {
					return nil, fmt.Errorf("%s %v of %v, want nothing along axes where the kernel is 1", a.GetName(), list, v)
				}
			}
			for _, i := range at {
				switch {
				case i >= 0:
					few.Ints = append(few.Ints, list[half+i])
				case a.GetName() == "pads":
					few.Ints = append(few.Ints, 0)
				default:
					few.Ints = append(few.Ints, 1)
				}
			}
		}
		if len(list) == 0 {
			few = a
		}
		p.Attribute = append(p.Attribute, few)
	}
	x, err := g.reshape(v, shape, true)
	if err != nil {
		return nil, err
	}
	for _, a := range n.GetAttribute() {
		n.ignore(a.GetName())
	}
	m := &node{NodeProto: p, g: g, in: []*value{x}, asked: make(map[string]bool)}
	out, err := g.pool(m, largest)
	if m.err != nil {
		return nil, m.err
	}
	if err != nil {
		return nil, err
	}
	o := out.sizes()
	if at[1] < 0 {
		return g.reshape(out, []float64{s[0], s[1], o[2], s[3], s[4]}, true)
	}
	return g.reshape(out, []float64{s[0], s[1], s[2], o[2], o[3]}, true)
}

func (g *graph) pool(n *node, largest bool) (*value, error) {
	if v, err := n.moving(0); err == nil && len(v.shape) == 5 {
		return g.flatter(n, v, largest)
	}
	ceil := n.flag("ceil_mode", false)
	count := false
	if largest {
		n.ignore("storage_order") // of the second output
	} else {
		count = n.flag("count_include_pad", false)
	}
	x, err := n.spread(0)
	if err != nil {
		return nil, err
	}
	kernel := x.sides(n, "kernel_shape", 0)
	dilation := x.sides(n, "dilations", 1)
	if n.err == nil && min(kernel[0], kernel[1]) < 1 {
		return nil, fmt.Errorf("kernel_shape %v, want at least 1", kernel)
	}
	reach := [2]int{(kernel[0]-1)*dilation[0] + 1, (kernel[1]-1)*dilation[1] + 1}
	plain := dilation == [2]int{1, 1}
	stride, pad := x.moves(n, reach)
	if n.err != nil {
		return nil, n.err
	}
	// Zeros that a Pad put around count as the image's.
	if x.extra != [4]int{} && (largest || !count || pad != [4]int{}) {
		if err := x.settle(g); err != nil {
			return nil, err
		}
	}
	image := x.image
	own := pad // what counts, where padding counts
	all := pad
	for d := range 2 {
		if ceil {
			// Windows that begin within the image or before it, so many more as a remainder makes.
			size := image[1+d] + x.extra[d] + x.extra[2+d] + all[d] + all[2+d]
			over := (size - reach[d] + stride[d] - 1) / stride[d]
			if size >= reach[d] && over*stride[d] >= image[1+d]+x.extra[d]+x.extra[2+d]+all[d] {
				over--
			}
			if more := over*stride[d] + reach[d] - size; more > 0 {
				all[2+d] += more
			}
		}
	}
	pad = plus(all, x.extra)
	switch {
	case largest && plain:
		return x.pooled(g, model.MaxPool2D{Kernel: kernel, Stride: stride, Pad: pad}, pad, kernel, dilation)
	case largest:
		return x.pooled(g, model.MaxPool2D{Kernel: kernel, Stride: stride, Pad: pad, Dilation: dilation}, pad, kernel, dilation)
	case !plain:
		return g.spreadMean(x, kernel, stride, dilation, own, all, count)
	case count && all != own:
		// Of the zeros that ceil_mode adds none counts.
		out, err := x.pooled(g, model.AvgPool2D{Kernel: kernel, Stride: stride, Pad: pad, CountPad: true}, pad, kernel, dilation)
		if err != nil {
			return nil, err
		}
		return g.recount(out, x.padded(own), all, own, kernel, stride)
	}
	return x.pooled(g, model.AvgPool2D{Kernel: kernel, Stride: stride, Pad: pad, CountPad: count || x.extra != [4]int{}}, pad, kernel, dilation)
}

// recount turns means over whole windows into means over what is within size rows and columns: the
// image with the padding that counts.
func (g *graph) recount(v *value, size [2]int, all, own [4]int, kernel, stride [2]int) (*value, error) {
	shape := v.shape[2:]
	w := make([]float64, formats.Volume(shape))
	for k := range w {
		within := 1
		for d, i := range []int{k / shape[1], k % shape[1]} {
			first := i*stride[d] - (all[d] - own[d])
			within *= min(first+kernel[d], size[d]) - max(first, 0)
		}
		w[k] = float64(kernel[0]*kernel[1]) / float64(within)
	}
	return g.binary("Mul", v, known([]int{shape[0], shape[1]}, w, false))
}

// spreadMean is AveragePool with dilation: a convolution of each channel.
func (g *graph) spreadMean(x *spread, kernel, stride, dilation [2]int, own, all [4]int, count bool) (*value, error) {
	c := x.image[0]
	w, b := make([]float64, c*kernel[0]*kernel[1]), make([]float64, c)
	for i := range w {
		w[i] = 1 / float64(kernel[0]*kernel[1])
	}
	if err := g.spend(len(w) + c); err != nil {
		return nil, err
	}
	l := model.Conv2D{Weight: g.dense(w, c, 1, kernel[0], kernel[1]), Stride: stride, Pad: plus(all, x.extra), Dilation: dilation, Groups: c}
	out, err := x.given(g, step{layer: l, name: g.unique("", "", "mean"), bias: b})
	if err != nil {
		return nil, err
	}
	shape := out.shape[2:]
	factor := make([]float64, formats.Volume(shape))
	for k := range factor {
		within := 1
		for d, i := range []int{k / shape[1], k % shape[1]} {
			n := 0
			for u := range kernel[d] {
				at := i*stride[d] + u*dilation[d] - all[d]
				lo, hi := 0, x.image[1+d]+x.extra[d]+x.extra[2+d]
				if count {
					lo, hi = -own[d], hi+own[2+d]
				}
				if at >= lo && at < hi {
					n++
				}
			}
			within *= max(1, n)
		}
		factor[k] = float64(kernel[0]*kernel[1]) / float64(within)
	}
	return g.binary("Mul", out, known([]int{shape[0], shape[1]}, factor, false))
}

func (g *graph) opGlobalPool(n *node) (*value, error) {
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	var over []int
	for a := 2; a < len(v.shape); a++ {
		over = append(over, a)
	}
	if len(over) == 0 {
		return nil, fmt.Errorf("of %v, want images [N, C, H, W]", v)
	}
	by := "mean"
	if n.GetOpType() == "GlobalMaxPool" {
		by = "max"
	}
	return g.reduce(v, over, by)
}
