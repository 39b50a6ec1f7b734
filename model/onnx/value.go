package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// An ONNX graph is run once, node by node, on values that stand for tensors: constants, which are
// computed with, and numbers that layers give, which are only described. Nodes that compute make
// layers. Nodes that move numbers change the description, and a layer Arrange is made where another
// needs numbers in an order that no layer gives.

// batchSize stands for the size of the batch in numbers that are sizes. It is a prime that no other
// size has as a factor, so that of any product of sizes it can be told whether the batch is in it.
const batchSize = 1<<31 - 1

// A value is what a name of the graph stands for.
type value struct {
	shape []int // of one image
	// batch is the axis that is longer than shape says by the number of images, as the outer part
	// of it: a batch of images [N, C, H, W] is [1, C, H, W] with batch 0. -1: the file fixes one
	// image, or no axis counts images.
	batch int
	// lead is how many numbers of that axis of one image come before the next image's first one: of
	// an axis of T·N numbers it is T. 0: 1.
	lead int
	c    *constant // known numbers, or else:

	src  []int    // numbers of these layers, -1 being the image:
	idx  []int32  // each number's place among them all, row-major; -1 for a 0; nil: as they lie
	f    *formula // of each number; nil: the number itself
	pads *padded  // the numbers with zeros around; nil: none. Then src, idx and f are not set.
	uses int      // how many nodes take it
	sole bool     // no other value has numbers of the layer
}

// padded is a value within zeros.
type padded struct {
	v    *value
	pads [][2]int // before and behind along each axis
}

// A constant is a tensor of known numbers: of p, or if that is nil single, or if that is nil data.
type constant struct {
	data   []float64
	single []float32
	p      *pb.TensorProto
	// back is a matrix whose transpose the constant is, of which the numbers are not made before
	// they are asked for. nil: it is none, or they are made.
	back  *value
	whole bool // integers
	// float says that the numbers are of float32 and rounded so, in a file whose weights are of
	// float64.
	float bool
	sized bool // some number is made of the size of the batch
	// how much larger the numbers are for each next image; 0: not at all
	each float64
	// the type of quantised numbers that were computed; UNDEFINED: none
	was pb.TensorProto_DataType
}

// volume is how many numbers of one image there are.
func (v *value) volume() int { return formats.Volume(v.shape) }

// known makes a value of numbers.
func known(shape []int, data []float64, whole bool) *value {
	return &value{shape: shape, batch: -1, c: &constant{data: data, whole: whole}}
}

// isFloat reports whether the numbers are of float32.
func (c *constant) isFloat() bool {
	return c.float || c.p != nil && pb.TensorProto_DataType(c.p.GetDataType()) == pb.TensorProto_FLOAT
}

// rounded rounds a computed constant where all that it was made of is of float32: a file of float64
// may compute a table in float32.
func (g *graph) rounded(v *value, from ...*value) *value {
	some := false
	for _, f := range from {
		if !g.double || f.c == nil || !f.c.isFloat() && !f.c.whole {
			return v
		}
		some = some || f.c.isFloat()
	}
	if some && !v.c.whole {
		v.c.float = true
		for i, x := range v.c.data {
			v.c.data[i] = float64(float32(x))
		}
	}
	return v
}

// String prints a shape, "[N 3 32 32]".
func (v *value) String() string {
	parts := make([]string, len(v.shape))
	for i, s := range v.shape {
		switch {
		case i != v.batch:
			parts[i] = fmt.Sprint(s)
		case s == 1:
			parts[i] = "N"
		case v.lead > 1:
			parts[i] = fmt.Sprintf("%d·N", s)
		default:
			parts[i] = fmt.Sprintf("N·%d", s)
		}
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// sizes returns the shape as numbers, with batchSize.
func (v *value) sizes() []float64 {
	out := make([]float64, len(v.shape))
	for i, s := range v.shape {
		if out[i] = float64(s); i == v.batch {
			out[i] *= batchSize
		}
	}
	return out
}

// places returns v's places, also where they are as they lie.
func (v *value) places() []int32 {
	if v.idx != nil {
		return v.idx
	}
	all := make([]int32, v.volume())
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// place bounds how many places all values together have.
func (g *graph) place(n int) error {
	if n > g.room {
		return errors.New("the graph moves far more numbers than a classifier does")
	}
	g.room -= n
	return nil
}

// steps are the distances between neighbours along each axis of numbers as they lie.
func steps(shape []int) []int {
	out := make([]int, len(shape))
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		out[i] = step
		step *= shape[i]
	}
	return out
}

// walk calls f for each index of shape, row-major, with where it is along strides.
func walk(shape, strides []int, f func(k, at int)) {
	n := formats.Volume(shape)
	index := make([]int, len(shape))
	at := 0
	for k := range n {
		f(k, at)
		for i := len(shape) - 1; i >= 0; i-- {
			index[i]++
			at += strides[i]
			if index[i] < shape[i] {
				break
			}
			at -= index[i] * strides[i]
			index[i] = 0
		}
	}
}

// strided returns the places of shape along strides from start.
func (g *graph) strided(shape, strides []int, start int) ([]int32, error) {
	n, err := countOf(shape)
	if err != nil {
		return nil, err
	}
	if err := g.place(n); err != nil {
		return nil, err
	}
	out := make([]int32, n)
	walk(shape, strides, func(k, at int) { out[k] = int32(start + at) })
	return out, nil
}

// countOf returns the volume of a shape, or an error for one that is too large.
func countOf(shape []int) (int, error) {
	if len(shape) > formats.MaxRank {
		return 0, fmt.Errorf("rank %d, want at most %d", len(shape), formats.MaxRank)
	}
	n := 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > formats.MaxElements/d {
			return 0, fmt.Errorf("shape %v, want at most %d elements", shape, formats.MaxElements)
		}
		n *= d
	}
	return n, nil
}

// moved returns the numbers of v whose places among v's are sel, in a shape. A place of -1 stands
// for 0, and v then has no formula. nil: all as they lie. batch is the axis of the batch.
func (g *graph) moved(v *value, shape []int, batch int, sel []int32) (*value, error) {
	if v.pads != nil {
		var err error
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
	}
	out := &value{shape: shape, batch: batch, lead: v.lead, src: v.src, idx: v.idx, f: v.f, sole: v.sole && sel == nil}
	if v.c != nil {
		c := *v.c
		out.c = &c
		if sel == nil {
			if c.back != nil { // whose numbers are in another shape than out's
				if err := g.turnBack(v); err != nil {
					return nil, err
				}
				*out.c = *v.c
			}
			return out, nil
		}
		if err := g.turnBack(v); err != nil {
			return nil, err
		}
		c = *v.c
		*out.c = c
		if err := g.spend(len(sel)); err != nil {
			return nil, err
		}
		if c.p != nil || c.single != nil {
			single, err := g.singles(v)
			if err != nil {
				return nil, err
			}
			if single != nil {
				out.c.p, out.c.single = nil, make([]float32, len(sel))
				for k, i := range sel {
					if i >= 0 {
						out.c.single[k] = single[i]
					}
				}
				return out, nil
			}
		}
		data, err := g.first(v)
		if err != nil {
			return nil, err
		}
		out.c.p, out.c.single, out.c.data = nil, nil, make([]float64, len(sel))
		c.sized = false
		for k, i := range sel {
			if i >= 0 {
				out.c.data[k] = data[i]
				c.sized = c.sized || isSized(data[i])
			}
		}
		out.c.sized = out.c.sized && (c.sized || !out.c.whole)
		return out, nil
	}
	if sel == nil || v.idx == nil {
		if sel != nil {
			out.idx = sel
		}
		return out, nil
	}
	if err := g.place(len(sel)); err != nil {
		return nil, err
	}
	out.idx = make([]int32, len(sel))
	for k, i := range sel {
		if out.idx[k] = -1; i >= 0 {
			out.idx[k] = v.idx[i]
		}
	}
	return out, nil
}

// isSized reports whether x is a multiple of the size of the batch.
func isSized(x float64) bool {
	n := x / batchSize
	return x != 0 && n == float64(int64(n)) && n < 1<<32 && n > -(1<<32)
}

// numbers returns the elements of a constant, not to be written to.
func (g *graph) numbers(v *value) ([]float64, error) {
	if v.c.each != 0 {
		return nil, errors.New("computes with the places of images in the batch")
	}
	return g.first(v)
}

// first returns the elements of a constant, those for the first image.
func (g *graph) first(v *value) ([]float64, error) {
	if err := g.turnBack(v); err != nil {
		return nil, err
	}
	switch c := v.c; {
	case c.p != nil:
		all, err := g.read(c.p)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", formats.Quote(c.p.GetName()), err)
		}
		return all, nil
	case c.single != nil:
		if err := g.spend(len(c.single)); err != nil {
			return nil, err
		}
		out := make([]float64, len(c.single))
		for i, x := range c.single {
			out[i] = float64(x)
		}
		return out, nil
	default:
		return c.data, nil
	}
}

// singles returns the elements of a constant of float32, not to be written to; nil: it is of
// another type.
func (g *graph) singles(v *value) ([]float32, error) {
	if err := g.turnBack(v); err != nil {
		return nil, err
	}
	c := v.c
	if c.p == nil {
		return c.single, nil
	}
	all, err := g.readSingle(c.p)
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", formats.Quote(c.p.GetName()), err)
	}
	return all, nil
}

// turnBack makes the numbers of a constant that is a transpose.
func (g *graph) turnBack(v *value) error {
	from := v.c.back
	if from == nil {
		return nil
	}
	rows, columns := from.shape[0], from.shape[1]
	single, err := g.singles(from)
	if err != nil {
		return err
	}
	if err := g.spend(rows * columns); err != nil {
		return err
	}
	if single != nil {
		v.c.single = transposed(single, rows, columns)
	} else {
		data, err := g.first(from)
		if err != nil {
			return err
		}
		v.c.data = transposed(data, rows, columns)
	}
	v.c.back = nil
	return nil
}

// transposed returns m [rows, columns] as [columns, rows].
func transposed[E any](m []E, rows, columns int) []E {
	out := make([]E, len(m))
	const side = 64 // of a block that fits a cache
	for r0 := 0; r0 < rows; r0 += side {
		for c0 := 0; c0 < columns; c0 += side {
			for r := r0; r < min(r0+side, rows); r++ {
				for c := c0; c < min(c0+side, columns); c++ {
					out[c*rows+r] = m[r*columns+c]
				}
			}
		}
	}
	return out
}

// plain returns numbers that stand beside those of an image.
func (g *graph) plain(v *value) ([]float64, error) {
	if v.c.sized {
		return nil, errors.New("computes with the size of the batch, want images that do not depend on each other")
	}
	return g.numbers(v)
}

// An order is which axes of a value are the channels of a layer, its rows and its columns. The
// first axis of each is the outermost.
type order [3][]int

// dims returns the sizes of an order's parts.
func (o order) dims(shape []int) []int {
	out := []int{1, 1, 1}
	for d, axes := range o {
		for _, a := range axes {
			out[d] *= shape[a]
		}
	}
	return out
}

// strides returns the distances between neighbours along each axis of a value that lies in an
// order.
func (o order) strides(shape []int) []int {
	out := make([]int, len(shape))
	step := 1
	for d := 2; d >= 0; d-- {
		for _, a := range slices.Backward(o[d]) {
			out[a] = step
			step *= shape[a]
		}
	}
	return out
}

// asItLies reports whether a value that lies in an order lies row-major.
func (o order) asItLies(shape []int) bool {
	strides, natural := o.strides(shape), steps(shape)
	for i, s := range shape {
		if s != 1 && strides[i] != natural[i] {
			return false
		}
	}
	return true
}

// single reports whether v has numbers of one layer alone, without zeros, and as many at least as
// the layer gives.
func (g *graph) single(v *value) bool {
	if len(v.src) != 1 || v.pads != nil {
		return false
	}
	n := formats.Volume(g.shape(v.src[0]))
	return v.idx == nil && v.volume() == n || v.idx != nil && len(v.idx) >= n && !slices.Contains(v.idx, -1)
}

// orderOf returns the order in which v lies in its layer, of axes longer than 1.
func (g *graph) orderOf(v *value) (o order, ok bool) {
	if len(v.src) != 1 || v.pads != nil {
		return o, false
	}
	dims := g.shape(v.src[0])
	if len(dims) == 1 {
		dims = []int{dims[0], 1, 1}
	}
	if formats.Volume(dims) != v.volume() {
		return o, false
	}
	strides := steps(v.shape)
	if v.idx != nil {
		if v.idx[0] != 0 {
			return o, false
		}
		for i, step := range strides {
			if strides[i] = 0; v.shape[i] > 1 {
				strides[i] = int(v.idx[step])
			}
		}
		same := true
		walk(v.shape, strides, func(k, at int) { same = same && int(v.idx[k]) == at })
		if !same {
			return o, false
		}
	}
	var axes []int
	for i, s := range v.shape {
		if s > 1 {
			axes = append(axes, i)
		}
	}
	slices.SortFunc(axes, func(a, b int) int { return strides[b] - strides[a] })
	d, left := 0, dims[0]
	for _, a := range axes {
		for left == 1 && d < 2 {
			d++
			left = dims[d]
		}
		if left%v.shape[a] != 0 {
			return o, false
		}
		left /= v.shape[a]
		o[d] = append(o[d], a)
	}
	// Strides that fall and cover the layer are those of the order.
	want := o.strides(v.shape)
	for _, a := range axes {
		if strides[a] != want[a] {
			return o, false
		}
	}
	return o, true
}

// usual is the order of a value that is an image [N, C, H, W], tokens [N, T, C], or numbers [N, I].
func usual(v *value) (o order) {
	n := len(v.shape)
	switch {
	case n == 4:
		return order{{0, 1}, {2}, {3}}
	case n == 0:
		return o
	}
	for a := range n - 1 {
		o[1] = append(o[1], a)
	}
	o[0] = []int{n - 1}
	return o
}

// lay returns a layer [C, H, W] that has v in an order, which has every axis longer than 1. Where
// flat is set, and there is one pixel, it may be [C].
func (g *graph) lay(v *value, o order, flat bool) (int, error) {
	v, err := g.settle(v)
	if err != nil {
		return 0, err
	}
	dims := o.dims(v.shape)
	if formats.Volume(dims) != v.volume() {
		return 0, fmt.Errorf("an order of %v for %v", dims, v)
	}
	fits := false // the one layer that v is of has the shape
	if len(v.src) == 1 {
		have := g.shape(v.src[0])
		fits = slices.Equal(have, dims) || flat && len(have) == 1 && have[0] == dims[0] && dims[1] == 1 && dims[2] == 1
	}
	if fits && v.idx == nil && o.asItLies(v.shape) {
		return v.src[0], g.place(v.volume()) // as if the places below were made
	}
	// to has the place in the layer of each number of v.
	to, err := g.strided(v.shape, o.strides(v.shape), 0)
	if err != nil {
		return 0, err
	}
	if fits {
		same := true
		for k, at := range to {
			same = same && (v.idx == nil && int(at) == k || v.idx != nil && v.idx[k] == at)
		}
		if same {
			return v.src[0], nil
		}
	}
	if err := g.place(len(to)); err != nil {
		return 0, err
	}
	a := model.Arrange{Dims: dims, Index: make([]int32, len(to))}
	natural := true
	for k, at := range to {
		i := int32(k)
		if v.idx != nil {
			i = v.idx[k]
		}
		a.Index[at] = i
		natural = natural && i == at
	}
	if natural && len(v.src) == 1 && v.src[0] == -1 && len(g.input) == 1 && formats.Volume(g.input) == len(to) {
		return 0, wantInput{dims} // the image as it is
	}
	layer, err := g.append(step{layer: a, from: v.src})
	if err != nil {
		return 0, err
	}
	v.src, v.idx, v.sole = []int{layer}, to, v.uses <= 1
	return layer, nil
}

// lies returns the value of a shape that a layer gives in an order.
func (g *graph) lies(layer int, shape []int, batch int, o order) (*value, error) {
	out := &value{shape: shape, batch: batch, src: []int{layer}, sole: true}
	if o.asItLies(shape) {
		return out, nil
	}
	var err error
	out.idx, err = g.strided(shape, o.strides(shape), 0)
	return out, err
}

// whole returns a layer that gives v, in the order in which it lies if that is one, else in the
// usual order.
func (g *graph) whole(v *value) (int, order, error) {
	v, err := g.settle(v)
	if err != nil {
		return 0, order{}, err
	}
	o, ok := g.orderOf(v)
	if ok {
		return v.src[0], o, nil
	}
	o = usual(v)
	layer, err := g.lay(v, o, true)
	return layer, o, err
}

// assembled returns a value of a shape that takes numbers of several: sel has for each number which
// value, and its place there. Of constants alone it is a constant.
func (g *graph) assembled(parts []*value, shape []int, batch int, sel func(k int) (part int, at int32)) (*value, error) {
	if slices.ContainsFunc(parts, func(v *value) bool { return v.c == nil }) {
		return g.joined(parts, shape, batch, sel)
	}
	data := make([][]float64, len(parts))
	sized := false
	for i, v := range parts {
		var err error
		if data[i], err = g.numbers(v); err != nil {
			return nil, err
		}
		sized = sized || v.c.sized
	}
	n, err := countOf(shape)
	if err == nil {
		err = g.spend(n)
	}
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for k := range out {
		part, at := sel(k)
		out[k] = data[part][at]
	}
	v := g.rounded(known(shape, out, parts[0].c.whole), parts...)
	v.batch, v.c.sized = batch, sized
	return v, nil
}

// joined is assembled where some value depends on the image.
func (g *graph) joined(parts []*value, shape []int, batch int, sel func(k int) (part int, at int32)) (*value, error) {
	n, err := countOf(shape)
	if err != nil {
		return nil, err
	}
	if err := g.place(n); err != nil {
		return nil, err
	}
	out := &value{shape: shape, batch: batch, idx: make([]int32, n)}
	start := make(map[int]int32) // of a layer among all numbers
	total := 0
	use := func(layer int) int32 {
		at, ok := start[layer]
		if !ok {
			at = int32(total)
			start[layer] = at
			total += formats.Volume(g.shape(layer))
			out.src = append(out.src, layer)
		}
		return at
	}
	maps := make([][]int32, len(parts))
	for i, v := range parts {
		if v.c != nil {
			if v, err = g.constantLayer(v); err != nil {
				return nil, err
			}
		} else if v, err = g.settle(v); err != nil {
			return nil, err
		}
		all := slices.Clone(v.places())
		var starts, ends []int32
		sum := int32(0)
		for _, layer := range v.src {
			sum += int32(formats.Volume(g.shape(layer)))
			starts, ends = append(starts, use(layer)), append(ends, sum)
		}
		for k, p := range all {
			from, j := int32(0), 0
			for p >= 0 && p >= ends[j] {
				from, j = ends[j], j+1
			}
			if p >= 0 {
				all[k] = p - from + starts[j]
			}
		}
		maps[i] = all
	}
	if total > formats.MaxElements {
		return nil, fmt.Errorf("puts more than %d elements together", formats.MaxElements)
	}
	for k := range n {
		part, at := sel(k)
		out.idx[k] = -1
		if at >= 0 {
			out.idx[k] = maps[part][at]
		}
	}
	if len(out.src) == 0 { // zeros alone
		return nil, errors.New("gives zeros alone")
	}
	return out, nil
}

// constantLayer returns the numbers of a constant as those of a layer. Zeros are no layer's.
func (g *graph) constantLayer(v *value) (*value, error) {
	data, err := g.plain(v)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New("no numbers")
	}
	if !slices.ContainsFunc(data, func(x float64) bool { return x != 0 }) {
		idx, err := g.strided(v.shape, make([]int, len(v.shape)), -1)
		return &value{shape: v.shape, batch: v.batch, idx: idx}, err
	}
	layer, err := g.constantOf([]int{len(data), 1, 1}, data)
	if err != nil {
		return nil, err
	}
	return &value{shape: v.shape, batch: v.batch, src: []int{layer}, sole: true}, nil
}

// like makes the axis of the batch of v that of another value, in which it has as many numbers.
func (v *value) like(other *value) *value {
	if v != nil && other.batch >= 0 {
		v.lead = other.lead
	}
	return v
}

// constantOf returns a layer that gives data [C, H, W].
func (g *graph) constantOf(dims []int, data []float64) (int, error) {
	if err := g.spend(len(data)); err != nil {
		return 0, err
	}
	return g.append(step{layer: model.Constant{Value: g.dense(data, dims...)}, name: g.unique("", "", "constant")})
}
