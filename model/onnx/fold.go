package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// Operators of constants alone: what graphs compute sizes and tables with.
var _ = register(map[string]func(*graph, *node) (*value, error){
	"Constant": (*graph).opConstant, "ConstantOfShape": (*graph).opConstantOfShape, "ConstantFill": (*graph).opConstantFill, "Shape": (*graph).opShape, "Size": (*graph).opSize,
	"Range": (*graph).opRange, "OneHot": (*graph).opOneHot, "NonZero": (*graph).opNonZero, "CumSum": (*graph).opCumSum, "EyeLike": (*graph).opEyeLike,
	"ScatterND": (*graph).opScatterND, "Not": (*graph).opMapped,
})

// plainMaps are the operators of one number that are of constants alone, by name.
var plainMaps = map[string]func(x float64) float64{
	"Floor": math.Floor, "Ceil": math.Ceil, "Round": math.RoundToEven, "Sign": func(x float64) float64 { return truth(x > 0) - truth(x < 0) },
	"IsNaN": func(x float64) float64 { return truth(math.IsNaN(x)) }, "IsInf": func(x float64) float64 { return truth(math.IsInf(x, 0)) },
	"Tan": math.Tan, "Atan": math.Atan, "Asin": math.Asin, "Acos": math.Acos, "Sinh": math.Sinh, "Cosh": math.Cosh, "Asinh": math.Asinh, "Acosh": math.Acosh, "Atanh": math.Atanh,
}

// comparisons are the operators of two numbers that are of constants alone, by name.
var comparisons = map[string]func(x, y float64, whole bool) float64{
	"Equal": func(x, y float64, _ bool) float64 { return truth(x == y) }, "Greater": func(x, y float64, _ bool) float64 { return truth(x > y) },
	"GreaterOrEqual": func(x, y float64, _ bool) float64 { return truth(x >= y) }, "Less": func(x, y float64, _ bool) float64 { return truth(x < y) },
	"LessOrEqual": func(x, y float64, _ bool) float64 { return truth(x <= y) }, "And": func(x, y float64, _ bool) float64 { return truth(x != 0 && y != 0) },
	"Or": func(x, y float64, _ bool) float64 { return truth(x != 0 || y != 0) }, "Xor": func(x, y float64, _ bool) float64 { return truth((x != 0) != (y != 0)) },
	"Mod": func(x, y float64, whole bool) float64 {
		m := math.Mod(x, y)
		if whole && m != 0 && (m < 0) != (y < 0) { // as Python's, for integers
			m += y
		}
		return m
	},
}

var _ = func() bool {
	for name := range plainMaps {
		register(map[string]func(*graph, *node) (*value, error){name: (*graph).opMapped})
	}
	for name, f := range comparisons {
		register(map[string]func(*graph, *node) (*value, error){name: func(g *graph, n *node) (*value, error) {
			whole := !n.flag("fmod", false)
			if v, err := g.above(n); v != nil || err != nil {
				return v, err
			}
			for i := range 2 {
				if _, _, err := n.constant(i); err != nil {
					return nil, err
				}
			}
			shape, err := together(n.in[0], n.in[1])
			if err != nil {
				return nil, err
			}
			v, err := g.foldBy(n.in[0], n.in[1], shape, func(x, y float64, w bool) float64 { return f(x, y, w && whole) })
			if err == nil && name != "Mod" {
				v.c.whole, v.c.sized = true, false
			}
			return v, err
		}})
	}
	return true
}()

// above is Greater or Less of what depends on the image and one number, as a part of a formula.
func (g *graph) above(n *node) (*value, error) {
	sign, ok := map[string]float64{"Greater": 1, "GreaterOrEqual": 1, "Less": -1, "LessOrEqual": -1}[n.GetOpType()]
	if !ok || !n.has(0) || !n.has(1) || n.in[0].c != nil == (n.in[1].c != nil) {
		return nil, nil
	}
	v, c := n.in[0], 1
	if v.c != nil {
		v, c, sign = n.in[1], 0, -sign
	}
	x, err := n.one(c, "what it is compared with", math.NaN())
	if err != nil {
		return nil, err
	}
	return g.function(v, "above", x, sign)
}

func (g *graph) opMapped(n *node) (*value, error) {
	f := plainMaps[n.GetOpType()]
	if n.GetOpType() == "Not" {
		f = func(x float64) float64 { return truth(x == 0) }
	}
	n.ignore("detect_negative", "detect_positive")
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	if v.c == nil {
		return nil, errors.New("of what depends on the image has no gradient, or is not supported")
	}
	return g.mapped(v, f)
}

// constantOf describes p without reading its numbers.
func constantOf(p *pb.TensorProto) (*value, error) {
	dims, _, err := tensorDims(p)
	if err != nil {
		return nil, err
	}
	whole := true
	switch pb.TensorProto_DataType(p.GetDataType()) {
	case pb.TensorProto_FLOAT, pb.TensorProto_DOUBLE, pb.TensorProto_FLOAT16, pb.TensorProto_BFLOAT16:
		whole = false
	}
	return &value{shape: dims, batch: -1, c: &constant{p: p, whole: whole}}, nil
}

func (g *graph) opConstant(n *node) (*value, error) {
	if len(n.GetAttribute()) != 1 {
		return nil, fmt.Errorf("%d attributes, want 1", len(n.GetAttribute()))
	}
	a := n.GetAttribute()[0]
	n.asked[a.GetName()] = true
	numbers := func(shape []int, whole bool, all []float64) (*value, error) {
		return known(shape, all, whole), g.spend(len(all))
	}
	switch a.GetName() {
	case "value":
		if a.GetT() == nil {
			return nil, errors.New("value is no tensor")
		}
		return constantOf(a.GetT())
	case "value_int":
		return numbers(nil, true, []float64{float64(a.GetI())})
	case "value_ints":
		var all []float64
		for _, v := range a.GetInts() {
			all = append(all, float64(v))
		}
		return numbers([]int{len(all)}, true, all)
	case "value_float":
		return numbers(nil, false, []float64{float64(a.GetF())})
	case "value_floats":
		return numbers([]int{len(a.GetFloats())}, false, n.floats("value_floats"))
	}
	return nil, fmt.Errorf("attribute %s, want value, value_int, value_ints, value_float or value_floats", formats.Quote(a.GetName()))
}

func (g *graph) opConstantOfShape(n *node) (*value, error) {
	_, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	fill, whole := 0.0, false
	if a := n.attribute("value", pb.AttributeProto_TENSOR); a != nil && a.GetT() != nil {
		c, err := constantOf(a.GetT())
		if err != nil {
			return nil, err
		}
		whole = c.c.whole
		with, err := g.numbers(c)
		if err != nil {
			return nil, err
		}
		if len(with) != 1 {
			return nil, fmt.Errorf("value of %d numbers, want 1", len(with))
		}
		fill = with[0]
	}
	return g.filled(data, fill, whole)
}

// opConstantFill is what small copies of real networks have in place of their weights.
func (g *graph) opConstantFill(n *node) (*value, error) {
	fill := n.number("value", 0)
	n.ignore("dtype", "extra_shape", "input_as_shape")
	if shape := n.integers("shape"); shape != nil {
		var data []float64
		for _, d := range shape {
			data = append(data, float64(d))
		}
		return g.filled(data, fill, false)
	}
	_, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	return g.filled(data, fill, false)
}

// filled returns a constant of a shape of which all numbers are one.
func (g *graph) filled(sizes []float64, fill float64, whole bool) (*value, error) {
	shape := make([]int, len(sizes))
	batch := -1
	for i, d := range sizes {
		if isSized(d) && batch < 0 {
			batch, d = i, d/batchSize
		}
		if !(d >= 0 && d <= formats.MaxElements) {
			return nil, fmt.Errorf("shape %s, want at most %d elements", shapeText(sizes), formats.MaxElements)
		}
		shape[i] = int(d)
	}
	count, err := countOf(shape)
	if err != nil {
		return nil, err
	}
	v := &value{shape: shape, batch: batch, c: &constant{whole: whole}}
	if float64(float32(fill)) == fill && !whole {
		if err := g.tensors.fill(count); err != nil {
			return nil, err
		}
		g.room += 8 * count // as the file of such weights would allow
		v.c.single = make([]float32, count)
		for i := range v.c.single {
			v.c.single[i] = float32(fill)
		}
		return v, nil
	}
	if err := g.spend(count); err != nil {
		return nil, err
	}
	v.c.data = make([]float64, count)
	for i := range v.c.data {
		v.c.data[i] = fill
	}
	return v, nil
}

func (g *graph) opShape(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	sizes := v.sizes()
	clamp := func(at int64) int {
		if at < 0 {
			at += int64(len(sizes))
		}
		return int(max(0, min(at, int64(len(sizes)))))
	}
	start, end := clamp(n.integer("start", 0)), clamp(n.integer("end", int64(len(sizes))))
	sizes = sizes[start:max(start, end)]
	out := known([]int{len(sizes)}, sizes, true)
	out.c.sized = slices.ContainsFunc(sizes, isSized)
	return out, nil
}

func (g *graph) opSize(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	size := 1.0
	for _, s := range v.sizes() {
		size *= s
	}
	out := known(nil, []float64{size}, true)
	out.c.sized = isSized(size)
	return out, nil
}

func (g *graph) opRange(n *node) (*value, error) {
	var p [3]float64
	for i := range p {
		x, err := n.one(i, "a bound", math.NaN())
		if err != nil {
			return nil, err
		}
		p[i] = x
	}
	if p[0] == 0 && p[1] == batchSize && p[2] == 1 { // the place of each image
		v := known([]int{1}, []float64{0}, true)
		v.batch, v.c.each = 0, 1
		return v, nil
	}
	count := math.Ceil((p[1] - p[0]) / p[2])
	if !(count <= maxRange) {
		return nil, fmt.Errorf("from %v to %v by %v, want at most %d numbers", p[0], p[1], p[2], maxRange)
	}
	k := int(max(0, count))
	if err := g.spend(k); err != nil {
		return nil, err
	}
	out := make([]float64, k)
	for i := range out {
		out[i] = p[0] + float64(float64(i)*p[2])
	}
	return known([]int{k}, out, n.in[0].c.whole), nil
}

const maxRange = 1 << 20

func (g *graph) opOneHot(n *node) (*value, error) {
	at := n.integer("axis", -1)
	which, list, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	depth, err := n.one(1, "depth", 0)
	if err != nil {
		return nil, err
	}
	_, values, err := n.constant(2)
	if err != nil {
		return nil, err
	}
	if len(values) != 2 || !(depth >= 1 && depth <= formats.MaxSide) {
		return nil, fmt.Errorf("depth %v and %d values", depth, len(values))
	}
	along, err := axis(at, len(which.shape)+1)
	if err != nil {
		return nil, err
	}
	d := int(depth)
	shape := slices.Insert(slices.Clone(which.shape), along, d)
	count, err := countOf(shape)
	if err == nil {
		err = g.spend(count)
	}
	if err != nil {
		return nil, err
	}
	inner := formats.Volume(shape[along+1:])
	out := make([]float64, count)
	for k := range out {
		i := list[k/inner/d*inner+k%inner]
		if i < 0 {
			i += depth
		}
		out[k] = values[0]
		if i == float64(k/inner%d) {
			out[k] = values[1]
		}
	}
	return known(shape, out, n.in[2].c.whole), nil
}

func (g *graph) opNonZero(n *node) (*value, error) {
	v, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	var places []int
	for k, x := range data {
		if x != 0 {
			places = append(places, k)
		}
	}
	if err := g.spend(len(places) * len(v.shape)); err != nil {
		return nil, err
	}
	var out []float64
	for d, s := range steps(v.shape) {
		for _, k := range places {
			out = append(out, float64(k/s%v.shape[d]))
		}
	}
	return known([]int{len(v.shape), len(places)}, out, true), nil
}

func (g *graph) opCumSum(n *node) (*value, error) {
	exclusive, reverse := n.flag("exclusive", false), n.flag("reverse", false)
	v, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	a, err := n.one(1, "axis", 0)
	if err != nil {
		return nil, err
	}
	along, err := axis(int64(a), len(v.shape))
	if err != nil {
		return nil, err
	}
	if err := g.spend(len(data)); err != nil {
		return nil, err
	}
	size, inner := v.shape[along], steps(v.shape)[along]
	out := make([]float64, len(data))
	for k := range data {
		if k/inner%size != 0 {
			continue
		}
		sum := 0.0
		for i := range size {
			at := k + i*inner
			if reverse {
				at = k + (size-1-i)*inner
			}
			if exclusive {
				out[at] = sum
			}
			if sum += data[at]; !exclusive {
				out[at] = sum
			}
		}
	}
	return known(v.shape, out, v.c.whole), nil
}

func (g *graph) opEyeLike(n *node) (*value, error) {
	k := n.integer("k", 0)
	n.ignore("dtype")
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) != 2 || v.batch >= 0 {
		return nil, fmt.Errorf("of %v, want a matrix", v)
	}
	if err := g.spend(v.volume()); err != nil {
		return nil, err
	}
	out := make([]float64, v.volume())
	for i := range out {
		out[i] = truth(int64(i%v.shape[1]) == int64(i/v.shape[1])+k)
	}
	return known(v.shape, out, false), nil
}

// opScatterND writes parts into a copy: of constants, or of what depends on the image at places
// that are constant.
func (g *graph) opScatterND(n *node) (*value, error) {
	if how := n.text("reduction", "none"); how != "none" {
		return nil, fmt.Errorf("reduction %s, want none", formats.Quote(how))
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	which, list, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	with, err := n.input(2)
	if err != nil {
		return nil, err
	}
	rank := len(which.shape)
	if rank == 0 || which.shape[rank-1] > len(v.shape) || which.shape[rank-1] < 1 {
		return nil, fmt.Errorf("indices %v into %v", which, v)
	}
	depth := which.shape[rank-1]
	if v.batch >= 0 && v.batch < depth || with.batch >= 0 {
		return nil, fmt.Errorf("into %v, which counts images: want what does not mix them", v)
	}
	strides, inner := steps(v.shape), formats.Volume(v.shape[depth:])
	if with.volume() != len(list)/depth*inner {
		return nil, fmt.Errorf("%v at indices %v of %v", with, which, v)
	}
	if err := g.place(v.volume()); err != nil {
		return nil, err
	}
	from := make([]int32, v.volume()) // a place of with plus 1, or 0
	for k := range len(list) / depth {
		at := 0
		for d := range depth {
			x, size := list[k*depth+d], float64(v.shape[d])
			if x < 0 {
				x += size
			}
			if !(x >= 0 && x < size) {
				return nil, fmt.Errorf("index %v of %v", x, size)
			}
			at += int(x) * strides[d]
		}
		for i := range inner {
			from[at+i] = int32(k*inner+i) + 1
		}
	}
	choose := func(k int) (int, int32) {
		if from[k] > 0 {
			return 1, from[k] - 1
		}
		return 0, int32(k)
	}
	return g.assembled([]*value{v, with}, v.shape, v.batch, choose)
}

// none is a node of no file.
var none = new(pb.NodeProto)
