package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// Operators that move numbers. They work on constants as on what depends on the image.
var _ = register(map[string]func(*graph, *node) (*value, error){
	"Identity": (*graph).opIdentity, "Dropout": (*graph).opDropout, "Cast": (*graph).opCast, "CastLike": (*graph).opCastLike,
	"Reshape": (*graph).opReshape, "Flatten": (*graph).opFlatten, "Squeeze": (*graph).opSqueeze, "Unsqueeze": (*graph).opUnsqueeze,
	"Transpose": (*graph).opTranspose, "Slice": (*graph).opSlice, "Gather": (*graph).opGather, "GatherND": (*graph).opGatherND,
	"GatherElements": (*graph).opGatherElements, "Concat": (*graph).opConcat, "Expand": (*graph).opExpand, "Tile": (*graph).opTile, "Pad": (*graph).opPad,
	"DepthToSpace": (*graph).opDepthToSpace, "SpaceToDepth": (*graph).opSpaceToDepth, "Where": (*graph).opWhere, "Trilu": (*graph).opTrilu,
})

var _ = registerMany(map[string]operator{"Split": (*graph).opSplit})

func (g *graph) opIdentity(n *node) (*value, error) { return n.input(0) }

func (g *graph) opDropout(n *node) (*value, error) {
	n.ignore("seed", "is_test")
	// It says nothing of inference, but a broken one is the sign of a broken file.
	if ratio, err := n.one(1, "ratio", n.number("ratio", 0.5)); err != nil {
		return nil, err
	} else if !(ratio >= 0 && ratio <= 1) {
		return nil, fmt.Errorf("ratio %v, want 0 to 1", ratio)
	}
	if on, err := n.one(2, "training_mode", 0); err != nil {
		return nil, err
	} else if on != 0 {
		return nil, errors.New("training_mode is set, want a model exported for inference")
	}
	return n.input(0)
}

func (g *graph) opCast(n *node) (*value, error) {
	to := pb.TensorProto_DataType(n.integer("to", 0))
	n.ignore("saturate", "round_mode")
	return g.cast(n, to)
}

func (g *graph) opCastLike(n *node) (*value, error) {
	n.ignore("saturate", "round_mode")
	like, err := n.input(1)
	if err != nil {
		return nil, err
	}
	to := pb.TensorProto_FLOAT
	if like.c != nil && like.c.whole {
		to = pb.TensorProto_INT64
	}
	return g.cast(n, to)
}

// cast is Cast to a type. What depends on the image keeps its precision.
func (g *graph) cast(n *node, to pb.TensorProto_DataType) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	whole := true
	switch to {
	case pb.TensorProto_FLOAT, pb.TensorProto_DOUBLE, pb.TensorProto_FLOAT16, pb.TensorProto_BFLOAT16:
		whole = false
	case pb.TensorProto_INT64, pb.TensorProto_INT32, pb.TensorProto_INT8, pb.TensorProto_UINT8, pb.TensorProto_INT16, pb.TensorProto_UINT16, pb.TensorProto_BOOL:
	default:
		return nil, fmt.Errorf("to %v, want a float, an integer or a bool", to)
	}
	if v.c == nil {
		if whole {
			return nil, fmt.Errorf("to %v of what depends on the image, which has no gradient: want a float", to)
		}
		return v, nil
	}
	float := g.double && to == pb.TensorProto_FLOAT
	if v.c.whole == whole && to != pb.TensorProto_BOOL && v.c.isFloat() == float {
		return v, nil
	}
	out, err := g.mapped(v, func(x float64) float64 {
		switch {
		case to == pb.TensorProto_BOOL:
			return truth(x != 0)
		case whole:
			return math.Trunc(x)
		}
		return x
	})
	if err != nil {
		return nil, err
	}
	if out.c.whole, out.c.float = whole, float; float {
		for i, x := range out.c.data {
			out.c.data[i] = float64(float32(x))
		}
	}
	return out, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// target returns a shape that an attribute or input 1 holds.
func (n *node) target(name string) ([]float64, error) {
	if old := n.integers(name); old != nil {
		var target []float64
		for _, d := range old {
			target = append(target, float64(d))
		}
		return target, nil
	}
	v, data, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	if len(v.shape) != 1 || len(data) > formats.MaxRank {
		return nil, fmt.Errorf("to a shape of rank %d, want at most %d", len(data), formats.MaxRank)
	}
	return data, nil
}

func (g *graph) opReshape(n *node) (*value, error) {
	zero := n.flag("allowzero", false)
	target, err := n.target("shape")
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	return g.reshape(v, target, zero)
}

// reshape returns v in the shape that a target with 0 (as it was) and -1 (what is left) means.
func (g *graph) reshape(v *value, target []float64, zero bool) (*value, error) {
	fail := func(format string, args ...any) (*value, error) {
		return nil, fmt.Errorf("of %v to %s: %w", v, shapeText(target), fmt.Errorf(format, args...))
	}
	shape := make([]int, len(target))
	batch, rest, count := -1, -1, 1
	have := v.sizes()
	// A file of a fixed batch may say it as a number. One that says it itself, as what asks for
	// axes one by one does, has other numbers of that size.
	guess := g.batch > 1 && v.batch >= 0 && !slices.ContainsFunc(target, isSized)
	for i, d := range target {
		if d == 0 && !zero && i < len(have) {
			d = have[i]
		}
		if d == -1 {
			if rest >= 0 {
				return fail("want -1 once")
			}
			rest = i
			continue
		}
		if isSized(d) || i == 0 && guess && int(d)%g.batch == 0 && d > 0 && v.volume()*g.batch >= int(d) {
			if !isSized(d) {
				d *= batchSize / float64(g.batch)
			}
			if batch >= 0 {
				return fail("want the batch once")
			}
			batch = i
			d /= batchSize
		}
		if !(d >= 0 && d <= formats.MaxElements) || d != math.Trunc(d) {
			return fail("want sizes")
		}
		shape[i] = int(d)
		if shape[i] > 0 && count > formats.MaxElements/shape[i] {
			return fail("want at most %d elements", formats.MaxElements)
		}
		count *= shape[i]
	}
	n := v.volume()
	if rest >= 0 {
		if count == 0 || n%count != 0 {
			return fail("want %d elements of each image to stay with it", n)
		}
		shape[rest] = n / count
		count = n
		if v.batch >= 0 && batch < 0 {
			batch = rest
		}
	}
	if count != n {
		return fail("want %d elements of each image to stay with it", n)
	}
	if v.batch >= 0 && batch < 0 {
		return fail("want the batch in both")
	}
	lead := 0
	if batch >= 0 && v.batch < 0 { // numbers that are the same for every image
		lead = 1
	} else if batch >= 0 {
		// So many numbers of one image come before the next image's.
		before, now := formats.Volume(v.shape[:v.batch])*max(1, v.lead), formats.Volume(shape[:batch])
		if now == 0 || before%now != 0 || shape[batch]%(before/now) != 0 {
			return fail("mixes images")
		}
		lead = before / now
	}
	if v.pads != nil {
		var err error
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
	}
	out, err := g.moved(v, shape, batch, nil)
	if err == nil {
		out.lead = lead
	}
	return out, err
}

// shapeText prints sizes, with N for that of the batch.
func shapeText(sizes []float64) string {
	text := "["
	for i, d := range sizes {
		if i > 0 {
			text += " "
		}
		switch {
		case d == batchSize:
			text += "N"
		case isSized(d):
			text += fmt.Sprintf("N·%g", d/batchSize)
		default:
			text += fmt.Sprintf("%g", d)
		}
	}
	return text + "]"
}

func (g *graph) opFlatten(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	at := n.integer("axis", 1)
	if at < 0 {
		at += int64(len(v.shape))
	}
	if at < 0 || at > int64(len(v.shape)) {
		return nil, fmt.Errorf("axis %d of %v", at, v)
	}
	sizes := v.sizes()
	target := []float64{1, 1}
	for i, s := range sizes {
		side := 0
		if i >= int(at) {
			side = 1
		}
		target[side] *= s
	}
	return g.reshape(v, target, true)
}

func (g *graph) opSqueeze(n *node) (*value, error)   { return g.changeRank(n, false) }
func (g *graph) opUnsqueeze(n *node) (*value, error) { return g.changeRank(n, true) }

func (g *graph) changeRank(n *node, insert bool) (*value, error) {
	list, err := n.list("axes", 1)
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	sizes := v.sizes()
	var target []float64
	if insert {
		rank := len(sizes) + len(list)
		if rank > formats.MaxRank {
			return nil, fmt.Errorf("to rank %d, want at most %d", rank, formats.MaxRank)
		}
		set, err := axes(list, rank)
		if err != nil {
			return nil, err
		}
		for _, new := range set {
			if new {
				target = append(target, 1)
			} else if len(sizes) > 0 { // list may be missing
				target, sizes = append(target, sizes[0]), sizes[1:]
			} else {
				return nil, errors.New("no axes")
			}
		}
		return g.reshape(v, target, true)
	}
	set, err := axes(list, len(sizes))
	if err != nil {
		return nil, err
	}
	for i, s := range sizes {
		if set[i] && s != 1 && list != nil {
			return nil, fmt.Errorf("axis %d of %v, want one of size 1", i, v)
		}
		if !set[i] || s != 1 {
			target = append(target, s)
		}
	}
	return g.reshape(v, target, true)
}

func (g *graph) opTranspose(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	rank := len(v.shape)
	perm := n.integers("perm")
	if perm == nil {
		for i := range rank {
			perm = append(perm, int64(rank-1-i))
		}
	}
	if len(perm) != rank {
		return nil, fmt.Errorf("perm %v for rank %d", perm, rank)
	}
	if _, err := axes(perm, rank); err != nil {
		return nil, err
	}
	turn := make([]int, rank)
	for i, a := range perm {
		if turn[i] = int(a); a < 0 { // which only axes may be
			return nil, fmt.Errorf("perm %v, want 0 to %d", perm, rank-1)
		}
	}
	return g.transpose(v, turn)
}

// transpose returns v with axis turn[i] as its axis i.
func (g *graph) transpose(v *value, turn []int) (*value, error) {
	if v.c != nil && v.c.each == 0 && slices.Equal(turn, []int{1, 0}) && v.volume() > 0 {
		if v.c.back != nil {
			return v.c.back, nil
		}
		return &value{shape: []int{v.shape[1], v.shape[0]}, batch: -1, c: &constant{back: v, whole: v.c.whole, sized: v.c.sized, was: v.c.kind()}}, nil
	}
	shape, strides := make([]int, len(turn)), make([]int, len(turn))
	was := steps(v.shape)
	batch := -1
	var long []int
	for i, a := range turn {
		if shape[i], strides[i] = v.shape[a], was[a]; a == v.batch {
			batch = i
		}
		if v.shape[a] > 1 {
			long = append(long, a)
		}
	}
	if v.pads != nil {
		p := &padded{v: v.pads.v}
		for _, a := range turn {
			p.pads = append(p.pads, v.pads.pads[a])
		}
		inner, err := g.transpose(v.pads.v, turn)
		p.v = inner
		return &value{shape: shape, batch: batch, pads: p}, err
	}
	if slices.IsSorted(long) {
		return g.moved(v, shape, batch, nil)
	}
	sel, err := g.strided(shape, strides, 0)
	if err != nil {
		return nil, err
	}
	return g.moved(v, shape, batch, sel)
}

// noBatch returns an error if axis a of v counts images.
func (v *value) noBatch(a int) error {
	if a == v.batch {
		return fmt.Errorf("along axis %d of %v, which counts images: want what does not mix them", a, v)
	}
	return nil
}

func (g *graph) opSlice(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	var lists [4][]int64 // starts, ends, axes, steps
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if n.has(1+i) && len(n.in[1+i].shape) != 1 {
			return nil, fmt.Errorf("%s of shape %v, want them in a row", name, n.in[1+i])
		}
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
	if _, err := axes(lists[2], len(v.shape)); err != nil && count > 0 {
		return nil, err
	}
	shape, strides := slices.Clone(v.shape), steps(v.shape)
	start := 0
	same := true
	for i := range count {
		a, err := axis(lists[2][i], len(shape))
		if err != nil {
			return nil, err
		}
		size, by := int64(v.shape[a]), lists[3][i]
		if by == 0 || by > formats.MaxElements || by < -formats.MaxElements {
			return nil, fmt.Errorf("step %d", by)
		}
		if a == v.batch {
			if by == 1 && lists[0][i] == 0 && lists[1][i] >= size*batchSize {
				continue
			}
			return nil, v.noBatch(a)
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
		same = same && many == size && by == 1
		shape[a] = int(max(many, 0))
		start += int(from) * strides[a]
		strides[a] *= int(by)
	}
	if same {
		return v, nil
	}
	return g.pick(v, shape, v.batch, strides, start)
}

// pick returns the numbers of v along strides from start. v has no zeros around it then.
func (g *graph) pick(v *value, shape []int, batch int, strides []int, start int) (*value, error) {
	if v.pads != nil {
		var err error
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
	}
	if v.c == nil && slices.Contains(shape, 0) {
		return nil, fmt.Errorf("of %v leaves nothing", v)
	}
	sel, err := g.strided(shape, strides, start)
	if err != nil {
		return nil, err
	}
	return g.moved(v, shape, batch, sel)
}

// picked is pick for places that are told one by one.
func (g *graph) picked(v *value, shape []int, batch int, at func(k int) int) (*value, error) {
	if v.pads != nil {
		var err error
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
	}
	n, err := countOf(shape)
	if err != nil {
		return nil, err
	}
	if v.c == nil && n == 0 {
		return nil, fmt.Errorf("of %v leaves nothing", v)
	}
	if err := g.place(n); err != nil {
		return nil, err
	}
	sel := make([]int32, n)
	for k := range sel {
		sel[k] = int32(at(k))
	}
	return g.moved(v, shape, batch, sel)
}

// indices returns input i as places along an axis of size many.
func (n *node) indices(i, size int) (*value, []int, error) {
	v, list, err := n.constant(i)
	if err != nil {
		return nil, nil, err
	}
	places := make([]int, len(list))
	for k, x := range list {
		if x < 0 {
			x += float64(size)
		}
		if !(x >= 0 && x < float64(size)) {
			return nil, nil, fmt.Errorf("index %v of %d", x, size)
		}
		places[k] = int(x)
	}
	return v, places, nil
}

func (g *graph) opGather(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	along, err := axis(n.integer("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	if which, err := n.input(1); err == nil && which.c != nil && which.c.each != 0 {
		return g.gatherImages(v, which, along)
	}
	if err := v.noBatch(along); err != nil {
		return nil, err
	}
	which, places, err := n.indices(1, v.shape[along])
	if err != nil {
		return nil, err
	}
	shape := slices.Concat(v.shape[:along], which.shape, v.shape[along+1:])
	if _, err := countOf(shape); err != nil {
		return nil, err
	}
	batch := v.batch
	if batch > along {
		batch += len(which.shape) - 1
	}
	inner, many := formats.Volume(v.shape[along+1:]), len(places)
	return g.picked(v, shape, batch, func(k int) int {
		o, i := k/inner, k%inner
		return (o/many*v.shape[along]+places[o%many])*inner + i
	})
}

// gatherImages is Gather along the axis of the batch, of places that lie within the same image for
// every image.
func (g *graph) gatherImages(v, which *value, along int) (*value, error) {
	if along != v.batch || along != 0 || v.lead > 1 || which.batch < 0 || which.c.each != float64(v.shape[0]) {
		return nil, fmt.Errorf("along axis %d of %v at places that differ by image", along, v)
	}
	data, err := g.first(which)
	if err != nil {
		return nil, err
	}
	inner := formats.Volume(v.shape[1:])
	for _, x := range data {
		if !(x >= 0 && x < float64(v.shape[0])) {
			return nil, fmt.Errorf("at place %v of %v, which is in another image", x, v)
		}
	}
	shape := slices.Concat(which.shape, v.shape[1:])
	if _, err := countOf(shape); err != nil {
		return nil, err
	}
	out, err := g.picked(v, shape, which.batch, func(k int) int { return int(data[k/inner])*inner + k%inner })
	if err == nil {
		out.lead = which.lead
	}
	return out, err
}

// opGatherND is GatherND of indices that pick single numbers or parts along all their axes.
func (g *graph) opGatherND(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	first := int(n.integer("batch_dims", 0))
	which, list, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	rank := len(which.shape)
	if rank == 0 || first < 0 || first >= rank {
		return nil, fmt.Errorf("indices %v with %d batch dimensions", which, first)
	}
	depth := which.shape[rank-1]
	if depth < 1 || first+depth > len(v.shape) {
		return nil, fmt.Errorf("indices %v into %v", which, v)
	}
	if v.batch >= first && v.batch < first+depth {
		return nil, v.noBatch(v.batch)
	}
	for d := range first {
		if which.shape[d] != v.shape[d] {
			return nil, fmt.Errorf("indices %v into %v with %d batch dimensions", which, v, first)
		}
	}
	strides := steps(v.shape)
	count := len(list) / depth
	starts := make([]int, count)
	each := 1 // index tuples of one place in the leading axes
	for _, d := range which.shape[first : rank-1] {
		each *= d
	}
	outer := formats.Volume(v.shape[first:])
	for k := range starts {
		if each > 0 {
			starts[k] = k / each * outer
		}
		for d := range depth {
			x, size := list[k*depth+d], float64(v.shape[first+d])
			if x < 0 {
				x += size
			}
			if !(x >= 0 && x < size) {
				return nil, fmt.Errorf("index %v of %v", x, size)
			}
			starts[k] += int(x) * strides[first+d]
		}
	}
	rest := v.shape[first+depth:]
	shape := slices.Concat(which.shape[:rank-1], rest)
	batch := v.batch
	if batch >= first+depth {
		batch += len(shape) - len(v.shape)
	}
	inner := formats.Volume(rest)
	return g.picked(v, shape, batch, func(k int) int { return starts[k/inner] + k%inner })
}

func (g *graph) opGatherElements(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	along, err := axis(n.integer("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	if err := v.noBatch(along); err != nil {
		return nil, err
	}
	which, places, err := n.indices(1, v.shape[along])
	if err != nil {
		return nil, err
	}
	if len(which.shape) != len(v.shape) {
		return nil, fmt.Errorf("indices %v into %v", which, v)
	}
	for d := range v.shape {
		if d != along && which.shape[d] > v.shape[d] {
			return nil, fmt.Errorf("indices %v into %v", which, v)
		}
	}
	strides := steps(v.shape)
	own := steps(which.shape)
	return g.picked(v, which.shape, v.batch, func(k int) int {
		at := places[k] * strides[along]
		for d, s := range own {
			if d != along {
				at += k / s % which.shape[d] * strides[d]
			}
		}
		return at
	})
}

func (g *graph) opConcat(n *node) (*value, error) {
	if len(n.in) == 0 {
		return nil, errors.New("no inputs")
	}
	a := n.integer("axis", 0)
	return g.concat(n.in, a)
}

// concat puts values one behind the other along an axis.
func (g *graph) concat(all []*value, a int64) (*value, error) {
	var parts []*value
	constant, batch := true, -1
	for i, v := range all {
		if v == nil {
			return nil, fmt.Errorf("no input %d", i)
		}
		constant = constant && v.c != nil
		batch = max(batch, v.batch)
		if v.volume() > 0 || len(v.shape) != 1 { // an empty list
			parts = append(parts, v)
		}
	}
	if len(parts) == 0 {
		return all[0], nil
	}
	along, err := axis(a, len(parts[0].shape))
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(parts[0].shape)
	shape[along] = 0
	inner := 1
	for _, d := range shape[along+1:] {
		inner *= d
	}
	for _, v := range parts {
		rest := slices.Clone(v.shape)
		if len(rest) != len(shape) {
			return nil, fmt.Errorf("of ranks %d and %d", len(shape), len(rest))
		}
		size := rest[along]
		rest[along] = shape[along]
		if !slices.Equal(rest, shape) || v.batch >= 0 && v.batch != batch {
			return nil, fmt.Errorf("of %v and %v along axis %d", parts[0], v, along)
		}
		if shape[along] += size; shape[along] > formats.MaxElements {
			return nil, fmt.Errorf("more than %d elements", formats.MaxElements)
		}
	}
	if along == batch {
		return nil, parts[0].noBatch(along)
	}
	var which, offset []int // of each place along the axis: the value, and the place in it
	for i, v := range parts {
		for k := range v.shape[along] {
			which, offset = append(which, i), append(offset, k)
		}
	}
	many := shape[along]
	sel := func(k int) (int, int32) {
		o, i := k/inner, k%inner
		p := which[o%many]
		return p, int32((o/many*parts[p].shape[along]+offset[o%many])*inner + i)
	}
	if constant {
		count, err := countOf(shape)
		if err == nil {
			err = g.spend(5 * count) // for what tells of each number
		}
		if err != nil {
			return nil, err
		}
	}
	return g.assembled(parts, shape, batch, sel)
}

func (g *graph) opSplit(n *node) ([]*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	along, err := axis(n.integer("axis", 0), len(v.shape))
	if err != nil {
		return nil, err
	}
	if err := v.noBatch(along); err != nil {
		return nil, err
	}
	list, err := n.list("split", 1)
	if err != nil {
		return nil, err
	}
	parts := len(n.GetOutput())
	if want := int(n.integer("num_outputs", int64(parts))); want != parts {
		return nil, fmt.Errorf("num_outputs %d for %d outputs", want, parts)
	}
	size := v.shape[along]
	if list == nil {
		each := (size + parts - 1) / parts
		for k := range parts {
			list = append(list, int64(max(0, min(each, size-k*each))))
		}
	}
	if len(list) != parts {
		return nil, fmt.Errorf("split %v for %d outputs", list, parts)
	}
	strides := steps(v.shape)
	var out []*value
	start := 0
	for i, many := range list {
		if many < 0 || int(many) > size-start {
			return nil, fmt.Errorf("split %v of %d", list, size)
		}
		if n.g.uses[n.GetOutput()[i]] == 0 {
			out = append(out, nil)
		} else {
			shape := slices.Clone(v.shape)
			shape[along] = int(many)
			part, err := g.pick(v, shape, v.batch, strides, start*strides[along])
			if err != nil {
				return nil, err
			}
			out = append(out, part)
		}
		start += int(many)
	}
	if start != size {
		return nil, fmt.Errorf("split %v of %d", list, size)
	}
	return out, nil
}

func (g *graph) opExpand(n *node) (*value, error) {
	target, err := n.target("")
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	return g.expand(v, target)
}

// expand repeats v along axes of size 1, and new ones before, to sizes that may have the batch.
func (g *graph) expand(v *value, target []float64) (*value, error) {
	have := v.sizes()
	rank := max(len(have), len(target))
	shape, strides := make([]int, rank), make([]int, rank)
	batch := -1
	was := steps(v.shape)
	same := rank == len(have)
	for i := range shape {
		h, t := 1.0, 1.0
		if k := i - rank + len(have); k >= 0 {
			h, strides[i] = have[k], was[k]
		}
		if k := i - rank + len(target); k >= 0 {
			t = target[k]
		}
		switch {
		case h == t || t == 1 || g.batch > 1 && t == float64(g.batch) && h == batchSize:
		case h == 1:
			h, strides[i] = t, 0
			same = same && t == batchSize
		default:
			return nil, fmt.Errorf("of %v to %s", v, shapeText(target))
		}
		if isSized(h) {
			if batch >= 0 {
				return nil, fmt.Errorf("of %v to %s, want the batch once", v, shapeText(target))
			}
			batch = i
			h /= batchSize
		}
		if !(h >= 0 && h <= formats.MaxElements) {
			return nil, fmt.Errorf("to %s, want at most %d elements", shapeText(target), formats.MaxElements)
		}
		shape[i] = int(h)
	}
	if same {
		return g.moved(v, shape, batch, nil)
	}
	return g.pick(v, shape, batch, strides, 0)
}

func (g *graph) opTile(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	_, reps, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	if len(reps) != len(v.shape) {
		return nil, fmt.Errorf("of %v %d times along axes", v, len(reps))
	}
	shape := make([]int, len(reps))
	batch := v.batch
	for i, r := range reps {
		if isSized(r) && v.batch < 0 && v.shape[i] == 1 {
			batch, r = i, r/batchSize
		}
		if r != 1 {
			if err := v.noBatch(i); err != nil {
				return nil, err
			}
		}
		if !(r >= 0 && r <= formats.MaxElements) || r != math.Trunc(r) {
			return nil, fmt.Errorf("%v times, want whole numbers", reps)
		}
		if r > 0 && v.shape[i] > formats.MaxElements/int(r) {
			return nil, fmt.Errorf("more than %d elements", formats.MaxElements)
		}
		shape[i] = v.shape[i] * int(r)
	}
	was, now := steps(v.shape), steps(shape)
	return g.picked(v, shape, batch, func(k int) int {
		at := 0
		for d := range shape {
			at += k / now[d] % shape[d] % v.shape[d] * was[d]
		}
		return at
	})
}

func (g *graph) opPad(n *node) (*value, error) {
	mode := n.text("mode", "constant")
	fill, err := n.one(2, "the value to fill with", n.number("value", 0))
	if err != nil {
		return nil, err
	}
	name := "pads"
	if g.opset < 2 {
		name = "paddings"
	}
	list, err := n.list(name, 1)
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	rank := len(v.shape)
	at := make([]int, rank)
	for i := range at {
		at[i] = i
	}
	if n.has(3) {
		which, err := n.list("axes", 3)
		if err != nil {
			return nil, err
		}
		if _, err := axes(which, rank); err != nil {
			return nil, err
		}
		at = at[:len(which)]
		for i, a := range which {
			at[i], _ = axis(a, rank)
		}
	}
	if len(list) != 2*len(at) {
		return nil, fmt.Errorf("pads %v, want %d", list, 2*len(at))
	}
	pads := make([][2]int, rank)
	some, less := false, false
	for i, a := range at {
		for side, p := range []int64{list[i], list[len(at)+i]} {
			if p < -formats.MaxSide || p > formats.MaxSide {
				return nil, fmt.Errorf("pads %v, want -%d to %d", list, formats.MaxSide, formats.MaxSide)
			}
			if p != 0 {
				if err := v.noBatch(a); err != nil {
					return nil, err
				}
			}
			pads[a][side] = int(p)
			some, less = some || p != 0, less || p < 0
		}
	}
	if !some {
		return v, nil
	}
	shape := make([]int, rank)
	for i, s := range v.shape {
		if shape[i] = s + pads[i][0] + pads[i][1]; shape[i] < 1 {
			return nil, fmt.Errorf("of %v by %v leaves nothing", v, pads)
		}
	}
	if _, err := countOf(shape); err != nil {
		return nil, err
	}
	if mode == "constant" && fill == 0 && v.c == nil && !less {
		if v.pads != nil { // zeros around zeros
			for i, p := range v.pads.pads {
				pads[i][0], pads[i][1] = pads[i][0]+p[0], pads[i][1]+p[1]
			}
			v = v.pads.v
		}
		return &value{shape: shape, batch: v.batch, pads: &padded{v, pads}}, nil
	}
	return g.pad(v, mode, fill, pads, shape)
}

// pad is Pad where zeros around are not all of it.
func (g *graph) pad(v *value, mode string, fill float64, pads [][2]int, shape []int) (*value, error) {
	lines := make([][]int, len(shape)) // by axis and place: the place in v, or -1
	for i, s := range v.shape {
		for k := range shape[i] {
			p := k - pads[i][0]
			if p < 0 || p >= s {
				switch mode {
				case "constant":
					p = -1
				case "edge":
					p = max(0, min(p, s-1))
				case "reflect":
					if p < 0 {
						p = -p
					}
					if period := 2 * (s - 1); period > 0 {
						if p %= period; p >= s {
							p = period - p
						}
					} else {
						p = 0
					}
				case "wrap":
					p = (p%s + s) % s
				default:
					return nil, fmt.Errorf("mode %s, want constant, reflect, edge or wrap", formats.Quote(mode))
				}
			}
			lines[i] = append(lines[i], p)
		}
	}
	was, now := steps(v.shape), steps(shape)
	at := func(k int) int {
		from := 0
		for d := range shape {
			p := lines[d][k/now[d]%shape[d]]
			if p < 0 {
				return -1
			}
			from += p * was[d]
		}
		return from
	}
	if mode == "constant" && fill != 0 {
		one := known([]int{1}, []float64{fill}, v.c != nil && v.c.whole)
		return g.assembled([]*value{v, one}, shape, v.batch, func(k int) (int, int32) {
			if p := at(k); p >= 0 {
				return 0, int32(p)
			}
			return 1, 0
		})
	}
	if v.c == nil { // a formula of 0 need not be 0
		var err error
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
	}
	return g.picked(v, shape, v.batch, at)
}

func (g *graph) opDepthToSpace(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	mode := n.text("mode", "DCR")
	b := int(n.integer("blocksize", 0))
	if len(v.shape) != 4 || b < 1 || b > formats.MaxSide || v.shape[1]%(b*b) != 0 {
		return nil, fmt.Errorf("of %v in blocks of %d", v, b)
	}
	s := v.sizes()
	c, h, w, f := s[1]/float64(b*b), s[2], s[3], float64(b)
	split, turn := []float64{s[0], f, f, c, h, w}, []int{0, 3, 4, 1, 5, 2}
	switch mode {
	case "DCR":
	case "CRD":
		split, turn = []float64{s[0], c, f, f, h, w}, []int{0, 1, 4, 2, 5, 3}
	default:
		return nil, fmt.Errorf("mode %s, want DCR or CRD", formats.Quote(mode))
	}
	return g.regroup(v, split, turn, []float64{s[0], c, h * f, w * f})
}

func (g *graph) opSpaceToDepth(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	b := int(n.integer("blocksize", 0))
	if len(v.shape) != 4 || b < 1 || v.shape[2]%b != 0 || v.shape[3]%b != 0 {
		return nil, fmt.Errorf("of %v in blocks of %d", v, b)
	}
	s, f := v.sizes(), float64(b)
	return g.regroup(v, []float64{s[0], s[1], s[2] / f, f, s[3] / f, f}, []int{0, 3, 5, 1, 2, 4}, []float64{s[0], s[1] * f * f, s[2] / f, s[3] / f})
}

// regroup reshapes v, turns it and reshapes it again.
func (g *graph) regroup(v *value, split []float64, turn []int, shape []float64) (*value, error) {
	v, err := g.reshape(v, split, true)
	if err != nil {
		return nil, err
	}
	if v, err = g.transpose(v, turn); err != nil {
		return nil, err
	}
	return g.reshape(v, shape, true)
}

// opWhere chooses by a constant, or in a formula.
func (g *graph) opWhere(n *node) (*value, error) {
	if n.has(0) && n.in[0].c == nil {
		return g.choice(n)
	}
	_, on, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	a, err := n.input(1)
	if err != nil {
		return nil, err
	}
	b, err := n.input(2)
	if err != nil {
		return nil, err
	}
	shape, err := together(n.in[0], a, b)
	if err != nil {
		return nil, err
	}
	all := []*value{n.in[0], a, b}
	for i, v := range all {
		if all[i], err = g.expand(v, shape.sizes()); err != nil {
			return nil, err
		}
	}
	if on, err = g.numbers(all[0]); err != nil {
		return nil, err
	}
	choose := func(k int) (int, int32) {
		if on[k] != 0 {
			return 0, int32(k)
		}
		return 1, int32(k)
	}
	v, err := g.assembled(all[1:], shape.shape, shape.batch, choose)
	if err == nil && v.c != nil {
		v.c.sized = v.c.sized || n.in[0].c.sized
	}
	return v, err
}

// choice is Where as a part of a formula.
func (g *graph) choice(n *node) (*value, error) {
	var f []*formula
	for i, v := range n.in {
		if v == nil || v.c == nil && (!g.single(v) || v.pads != nil || v.src[0] != n.in[0].src[0] || !slices.Equal(v.shape, n.in[0].shape) || !slices.Equal(v.idx, n.in[0].idx)) {
			return nil, errors.New("chooses between other numbers than it compares")
		}
		switch {
		case v.c != nil:
			x, err := n.one(i, "a choice", 0)
			if err != nil {
				return nil, err
			}
			f = append(f, &formula{op: "affine", b: x, args: []*formula{{op: "x", size: 1}}, size: 2})
		case v.f == nil:
			f = append(f, &formula{op: "x", size: 1})
		default:
			f = append(f, v.f)
		}
	}
	if len(f) != 3 {
		return nil, fmt.Errorf("%d inputs, want 3", len(f))
	}
	return g.apply(n.in[0], "where", 0, 0, f...)
}

// together returns the shape that values are broadcast to, as a value of that shape.
func together(all ...*value) (*value, error) {
	rank := 0
	for _, v := range all {
		rank = max(rank, len(v.shape))
	}
	out := &value{shape: make([]int, rank), batch: -1}
	for i := range out.shape {
		out.shape[i] = 1
	}
	for _, v := range all {
		shift := rank - len(v.shape)
		for i, s := range v.shape {
			switch now := out.shape[shift+i]; {
			case now == 1 || now == s:
				out.shape[shift+i] = s
			case s != 1:
				return nil, fmt.Errorf("of %v and %v, want shapes that fit", all[0], v)
			}
		}
		if v.batch < 0 {
			continue
		}
		if b := shift + v.batch; out.batch >= 0 && out.batch != b {
			return nil, fmt.Errorf("of %v and %v mixes images", all[0], v)
		} else if out.batch >= 0 && max(1, out.lead) != max(1, v.lead) {
			return nil, fmt.Errorf("of %v and %v, whose images lie in another order", all[0], v)
		} else {
			out.batch, out.lead = b, v.lead
		}
	}
	for _, v := range all {
		if b := out.batch - rank + len(v.shape); out.batch >= 0 && b >= 0 && v.batch < 0 && v.shape[b] != 1 {
			return nil, fmt.Errorf("of %v and %v: one has images where the other has numbers", all[0], v)
		}
	}
	return out, nil
}

func (g *graph) opTrilu(n *node) (*value, error) {
	upper := n.flag("upper", true)
	shift, err := n.one(1, "k", 0)
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	rank := len(v.shape)
	if rank < 2 {
		return nil, fmt.Errorf("of %v, want a matrix", v)
	}
	if v.c == nil {
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
	}
	rows, cols := v.shape[rank-2], v.shape[rank-1]
	return g.picked(v, v.shape, v.batch, func(k int) int {
		if d := float64(k%cols - k/cols%rows); upper && d < shift || !upper && d > shift {
			return -1
		}
		return k
	})
}
