package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// constantOf describes p without reading its numbers.
func constantOf(p *pb.TensorProto) (*constant, error) {
	dims, _, err := tensorDims(p)
	if err != nil {
		return nil, err
	}
	whole := true
	switch pb.TensorProto_DataType(p.GetDataType()) {
	case pb.TensorProto_FLOAT, pb.TensorProto_DOUBLE, pb.TensorProto_FLOAT16, pb.TensorProto_BFLOAT16:
		whole = false
	}
	return &constant{dims: dims, p: p, whole: whole}, nil
}

// numbers returns the elements of c, not to be written to.
func (g *graph) numbers(c *constant) ([]float64, error) {
	if c.p == nil {
		return c.data, nil
	}
	return g.read(c.p)
}

// each returns the constant f(x) for all x in data.
func (g *graph) each(dims []int, whole bool, data []float64, f func(float64) float64) (*value, error) {
	if err := g.spend(len(data)); err != nil {
		return nil, err
	}
	out := make([]float64, len(data))
	for i, x := range data {
		out[i] = f(x)
	}
	return &value{c: &constant{dims: dims, data: out, whole: whole}}, nil
}

func (g *graph) opConstant(n *node) (*value, error) {
	if len(n.GetAttribute()) != 1 {
		return nil, fmt.Errorf("%d attributes, want 1", len(n.GetAttribute()))
	}
	a := n.GetAttribute()[0]
	n.asked[a.GetName()] = true
	ints := func(dims []int, all ...int64) (*value, error) {
		c := &constant{dims: dims, whole: true}
		for _, v := range all {
			c.data = append(c.data, float64(v))
		}
		return &value{c: c}, g.spend(len(all))
	}
	floats := func(dims []int, all ...float32) (*value, error) {
		c := &constant{dims: dims}
		for _, v := range all {
			c.data = append(c.data, float64(v))
		}
		return &value{c: c}, g.spend(len(all))
	}
	switch a.GetName() {
	case "value":
		if a.GetT() == nil {
			return nil, errors.New("value is no tensor")
		}
		c, err := constantOf(a.GetT())
		return &value{c: c}, err
	case "value_int":
		return ints(nil, a.GetI())
	case "value_ints":
		return ints([]int{len(a.GetInts())}, a.GetInts()...)
	case "value_float":
		return floats(nil, a.GetF())
	case "value_floats":
		return floats([]int{len(a.GetFloats())}, a.GetFloats()...)
	}
	return nil, fmt.Errorf("attribute %s, want value, value_int, value_ints, value_float or value_floats", formats.Quote(a.GetName()))
}

func (g *graph) opConstantOfShape(n *node) (*value, error) {
	_, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	dims, count, err := sizesOf(data)
	if err != nil {
		return nil, err
	}
	fill := constant{}
	var with []float64
	if a := n.attribute("value", pb.AttributeProto_TENSOR); a != nil && a.GetT() != nil {
		c, err := constantOf(a.GetT())
		if err != nil {
			return nil, err
		}
		fill.whole = c.whole
		if with, err = g.numbers(c); err != nil {
			return nil, err
		}
	} else {
		with = []float64{0}
	}
	if len(with) != 1 {
		return nil, fmt.Errorf("value of %d numbers, want 1", len(with))
	}
	if err := g.spend(count); err != nil {
		return nil, err
	}
	fill.dims, fill.data = dims, make([]float64, count)
	for i := range fill.data {
		fill.data[i] = with[0]
	}
	return &value{c: &fill}, nil
}

// sizesOf returns numbers as a shape and its product.
func sizesOf(data []float64) ([]int, int, error) {
	if len(data) > formats.MaxRank {
		return nil, 0, fmt.Errorf("rank %d, want at most %d", len(data), formats.MaxRank)
	}
	dims, n := make([]int, len(data)), 1
	for i, d := range data {
		if !(d >= 0 && d <= formats.MaxElements) || int(d) > 0 && n > formats.MaxElements/int(d) {
			return nil, 0, fmt.Errorf("shape %v, want at most %d elements", data, formats.MaxElements)
		}
		dims[i] = int(d)
		n *= dims[i]
	}
	return dims, n, nil
}

func (g *graph) opShape(n *node) (*value, error) {
	if !n.has(0) {
		return nil, errors.New("no input")
	}
	v := n.in[0]
	var shape []int
	if v.c != nil {
		shape = v.c.dims
	} else {
		if _, err := n.data(0, true); err != nil {
			return nil, err
		}
		shape = v.view.shape
	}
	clamp := func(at int64) int {
		if at < 0 {
			at += int64(len(shape))
		}
		return int(max(0, min(at, int64(len(shape)))))
	}
	start, end := clamp(n.integer("start", 0)), clamp(n.integer("end", int64(len(shape))))
	c := &constant{whole: true}
	for i := start; i < end; i++ {
		size := float64(shape[i])
		if shape[i] == batchAxis {
			size = math.NaN()
		}
		c.data = append(c.data, size)
	}
	c.dims = []int{len(c.data)}
	return &value{c: c}, nil
}

// pick returns the constant of shape dims whose element at an index is data[at(index)].
func (g *graph) pick(dims []int, whole bool, data []float64, at func(index []int) int) (*value, error) {
	sizes := make([]float64, len(dims))
	for i, d := range dims {
		sizes[i] = float64(d)
	}
	_, count, err := sizesOf(sizes)
	if err != nil {
		return nil, err
	}
	if err := g.spend(count); err != nil {
		return nil, err
	}
	out := make([]float64, count)
	index := make([]int, len(dims))
	for i := range out {
		out[i] = data[at(index)]
		for k := len(dims) - 1; k >= 0; k-- {
			if index[k]++; index[k] < dims[k] {
				break
			}
			index[k] = 0
		}
	}
	return &value{c: &constant{dims: dims, data: out, whole: whole}}, nil
}

func (g *graph) opGather(n *node) (*value, error) {
	c, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	which, list, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	along, err := axis(n.integer("axis", 0), len(c.dims))
	if err != nil {
		return nil, err
	}
	size := c.dims[along]
	places := make([]int, len(list))
	for i, v := range list {
		if v < 0 {
			v += float64(size)
		}
		if !(v >= 0 && v < float64(size)) {
			return nil, fmt.Errorf("index %v of %d", v, size)
		}
		places[i] = int(v)
	}
	dims := slices.Concat(c.dims[:along], which.dims, c.dims[along+1:])
	steps, inner := natural(c.dims).strides, natural(which.dims).strides
	return g.pick(dims, c.whole, data, func(index []int) int {
		at, place := 0, 0
		for k := range along {
			at += index[k] * steps[k]
		}
		for k, s := range inner {
			place += index[along+k] * s
		}
		at += places[place] * steps[along]
		for k := along + 1; k < len(steps); k++ {
			at += index[k-1+len(inner)] * steps[k]
		}
		return at
	})
}

func (g *graph) opSlice(n *node) (*value, error) {
	c, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	var lists [4][]int64 // starts, ends, axes, steps
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if lists[i], err = n.list(name, 1+i); err != nil {
			return nil, err
		}
	}
	count := len(lists[0])
	if lists[2] == nil {
		for i := range count {
			lists[2] = append(lists[2], int64(i))
		}
	}
	if lists[3] == nil {
		for range count {
			lists[3] = append(lists[3], 1)
		}
	}
	if len(lists[1]) != count || len(lists[2]) != count || len(lists[3]) != count {
		return nil, errors.New("starts, ends, axes and steps of different lengths")
	}
	if _, err := axes(lists[2], len(c.dims)); err != nil && count > 0 {
		return nil, err
	}
	dims := slices.Clone(c.dims)
	start, step := make([]int, len(dims)), make([]int, len(dims))
	for i := range step {
		step[i] = 1
	}
	for i := range count {
		a, err := axis(lists[2][i], len(dims))
		if err != nil {
			return nil, err
		}
		size, by := int64(c.dims[a]), lists[3][i]
		if by == 0 || by > formats.MaxElements || by < -formats.MaxElements {
			return nil, fmt.Errorf("step %d", by)
		}
		clamp := func(at, lo, hi int64) int64 {
			if at < 0 {
				at += size
			}
			return max(lo, min(at, hi))
		}
		var from, to, many int64
		if by > 0 {
			from, to = clamp(lists[0][i], 0, size), clamp(lists[1][i], 0, size)
			many = (to - from + by - 1) / by
		} else {
			from, to = clamp(lists[0][i], 0, size-1), clamp(lists[1][i], -1, size-1)
			many = (from - to - by - 1) / -by
		}
		if size == 0 {
			many = 0
		}
		dims[a], start[a], step[a] = int(max(many, 0)), int(from), int(by)
	}
	steps := natural(c.dims).strides
	return g.pick(dims, c.whole, data, func(index []int) int {
		at := 0
		for k, s := range steps {
			at += (start[k] + index[k]*step[k]) * s
		}
		return at
	})
}

func (g *graph) opConcat(n *node) (*value, error) {
	if len(n.in) == 0 {
		return nil, errors.New("no inputs")
	}
	out := &constant{}
	var parts [][]float64
	var inner []int // elements behind the axis, of each
	outer, total := 1, 0
	at := n.integer("axis", 0)
	for i := range n.in {
		c, data, err := n.constant(i)
		if err != nil {
			return nil, err
		}
		along, err := axis(at, len(c.dims))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			out.dims, out.whole = slices.Clone(c.dims), c.whole
			for _, d := range c.dims[:along] {
				outer *= d
			}
		} else {
			rest, other := slices.Clone(c.dims), slices.Clone(out.dims)
			rest[along] = 0
			if len(other) != len(rest) {
				return nil, fmt.Errorf("of ranks %d and %d", len(other), len(rest))
			}
			other[along] = 0
			if !slices.Equal(rest, other) {
				return nil, fmt.Errorf("of %v and %v", out.dims, c.dims)
			}
			out.dims[along] += c.dims[along]
		}
		total += len(data)
		if out.dims[along] > formats.MaxElements || total > formats.MaxElements {
			return nil, fmt.Errorf("more than %d elements", formats.MaxElements)
		}
		parts, inner = append(parts, data), append(inner, formats.Volume(c.dims[along:]))
	}
	if err := g.spend(total); err != nil {
		return nil, err
	}
	out.data = make([]float64, 0, total)
	for o := range outer {
		for i, p := range parts {
			out.data = append(out.data, p[o*inner[i]:(o+1)*inner[i]]...)
		}
		if total == 0 {
			break
		}
	}
	return &value{c: out}, nil
}

// opReduceProd is for sizes: all numbers of one row.
func (g *graph) opReduceProd(n *node) (*value, error) {
	keep := n.integer("keepdims", 1) != 0
	n.integer("noop_with_empty_axes", 0)
	c, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	list, err := n.list("axes", 1)
	if err != nil {
		return nil, err
	}
	if len(c.dims) != 1 || len(list) > 1 || len(list) == 1 && list[0] != 0 && list[0] != -1 {
		return nil, fmt.Errorf("of %v over axes %v, want of a row of sizes", c.dims, list)
	}
	product := 1.0
	for _, v := range data {
		product *= v
	}
	out := &constant{data: []float64{product}, whole: c.whole}
	if keep {
		out.dims = []int{1}
	}
	return &value{c: out}, nil
}

// fold is Add, Sub, Mul or Div of two constants.
func (g *graph) fold(n *node) (*value, error) {
	a, x, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	b, y, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	// Of the shapes, behind each other at their ends, a size of 1 is as often as the other's says.
	rank := max(len(a.dims), len(b.dims))
	dims := make([]int, rank)
	steps := [2][]int{make([]int, rank), make([]int, rank)}
	for i := range dims {
		dims[i] = 1
	}
	for s, c := range []*constant{a, b} {
		all := natural(c.dims).strides
		for i, d := range c.dims {
			at := rank - len(c.dims) + i
			if d == 1 {
				continue
			}
			if dims[at] != 1 && dims[at] != d {
				return nil, fmt.Errorf("of constants %v and %v", a.dims, b.dims)
			}
			dims[at], steps[s][at] = d, all[i]
		}
	}
	whole := a.whole && b.whole
	op := n.GetOpType()
	if slices.Contains(dims, 0) {
		return &value{c: &constant{dims: dims, whole: whole}}, nil
	}
	left, err := g.pick(dims, whole, x, func(index []int) int { return dot(index, steps[0]) })
	if err != nil {
		return nil, err
	}
	right, err := g.pick(dims, whole, y, func(index []int) int { return dot(index, steps[1]) })
	if err != nil {
		return nil, err
	}
	out := left.c.data
	for i, y := range right.c.data {
		switch op {
		case "Add":
			out[i] += y
		case "Sub":
			out[i] -= y
		case "Mul":
			out[i] *= y
		case "Div":
			if out[i] /= y; whole {
				if y == 0 {
					return nil, errors.New("of integers by 0")
				}
				out[i] = math.Trunc(out[i])
			}
		}
	}
	return left, nil
}

func dot(a, b []int) int {
	s := 0
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}
