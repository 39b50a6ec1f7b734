package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"advsweep/model"
	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// Operators that are products with weights, or of two values.
var _ = register(map[string]func(*graph, *node) (*value, error){
	"Gemm": (*graph).opGemm, "MatMul": (*graph).opMatMul, "Conv": eachWindow((*graph).opConv), "ConvTranspose": eachWindow((*graph).opConvTranspose), "Einsum": (*graph).opEinsum,
})

// A spread is input images of a window that moves over rows and columns. Rows of one dimension are
// images of one column.
type spread struct {
	v     *value
	image []int  // [C, H, W]
	extra [4]int // zeros that a Pad has put around: top, left, bottom, right
	row   bool   // there is one dimension
	layer int
	order order
}

// maxWindows bounds how many parts of one image are taken for images.
const maxWindows = 1 << 10

// eachWindow is op for input images [k, C, H, W] of which each image has k: windows that the batch
// counts. Each goes through a layer of its own with the same weights.
func eachWindow(op func(*graph, *node) (*value, error)) func(*graph, *node) (*value, error) {
	return func(g *graph, n *node) (*value, error) {
		v, err := n.input(0)
		if err != nil {
			return nil, err
		}
		if v.c != nil || len(v.shape) < 3 || v.shape[0] < 2 || v.batch > 0 || v.lead > 1 {
			return op(g, n)
		}
		many := v.shape[0]
		if many > maxWindows {
			return nil, fmt.Errorf("of %v, want at most %d windows of an image", v, maxWindows)
		}
		if v, err = g.settle(v); err != nil {
			return nil, err
		}
		strides := steps(v.shape)
		one := append([]int{1}, v.shape[1:]...)
		var parts []*value
		for k := range many {
			m := *n
			m.in = slices.Clone(n.in)
			if m.in[0], err = g.pick(v, one, v.batch, strides, k*strides[0]); err != nil {
				return nil, err
			}
			part, err := op(g, &m)
			n.err = m.err
			if err != nil || n.err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
		shape := append([]int{many}, parts[0].shape[1:]...)
		inner := parts[0].volume()
		return g.joined(parts, shape, v.batch, func(k int) (int, int32) { return k / inner, int32(k % inner) })
	}
}

// spread returns input i, which must be [N, C, H, W] or [N, C, L].
func (n *node) spread(i int) (*spread, error) {
	v, err := n.moving(i)
	if err != nil {
		return nil, err
	}
	return n.g.spread(v)
}

func (g *graph) spread(v *value) (*spread, error) {
	x := &spread{}
	rank := len(v.shape)
	if rank != 3 && rank != 4 || v.shape[0] > 1 || v.batch > 0 {
		return nil, fmt.Errorf("of %v, want images [N, C, H, W] or rows [N, C, L]", v)
	}
	x.row = rank == 3
	if p := v.pads; p != nil && p.pads[0] == [2]int{} && p.pads[1] == [2]int{} {
		x.extra = [4]int{p.pads[2][0], 0, p.pads[2][1], 0}
		if !x.row {
			x.extra[1], x.extra[3] = p.pads[3][0], p.pads[3][1]
		}
		v = p.v
	}
	x.v = v
	return x, x.lay(g)
}

func (x *spread) lay(g *graph) error {
	x.order = order{{0, 1}, {2}, nil}
	if !x.row {
		x.order[2] = []int{3}
	}
	x.image = x.order.dims(x.v.shape)
	var err error
	x.layer, err = g.lay(x.v, x.order, false)
	return err
}

// settle makes the zeros around a part of the image.
func (x *spread) settle(g *graph) error {
	pads := [][2]int{{}, {}, {x.extra[0], x.extra[2]}}
	if !x.row {
		pads = append(pads, [2]int{x.extra[1], x.extra[3]})
	}
	shape := slices.Clone(x.v.shape)
	for i, p := range pads {
		shape[i] += p[0] + p[1]
	}
	v, err := g.settle(&value{shape: shape, batch: x.v.batch, lead: x.v.lead, pads: &padded{x.v, pads}})
	if err != nil {
		return err
	}
	x.v, x.extra = v, [4]int{}
	return x.lay(g)
}

// padded is the image's rows and columns with padding.
func (x *spread) padded(pad [4]int) [2]int {
	return [2]int{x.image[1] + x.extra[0] + x.extra[2] + pad[0] + pad[2], x.image[2] + x.extra[1] + x.extra[3] + pad[1] + pad[3]}
}

// sides returns an attribute of rows and columns.
func (x *spread) sides(n *node, name string, otherwise int) [2]int {
	if x.row {
		one := 1
		if name == "output_padding" {
			one = 0
		}
		return [2]int{n.sides(name, 1, otherwise)[0], one}
	}
	return [2]int(n.sides(name, 2, otherwise))
}

// pads returns the attribute pads.
func (x *spread) pads(n *node) [4]int {
	if x.row {
		p := n.sides("pads", 2, 0)
		return [4]int{p[0], 0, p[1], 0}
	}
	return [4]int(n.sides("pads", 4, 0))
}

// moves returns stride and padding of a Conv or pool whose window reaches over so many rows and
// columns.
func (x *spread) moves(n *node, reach [2]int) (stride [2]int, pad [4]int) {
	stride, pad = x.sides(n, "strides", 1), x.pads(n)
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
		have := x.padded([4]int{})
		for d, size := range have {
			all := max(((size+stride[d]-1)/stride[d]-1)*stride[d]+reach[d]-size, 0)
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

// given returns what a step gives that takes the images.
func (x *spread) given(g *graph, s step) (*value, error) {
	s.from = []int{x.layer}
	layer, err := g.append(s)
	if err != nil {
		return nil, err
	}
	have := g.shape(layer)
	shape := []int{1, have[0], have[1]}
	if !x.row {
		shape = append(shape, have[2])
	} else if have[2] != 1 {
		return nil, fmt.Errorf("gives %v of rows", have)
	}
	out, err := g.lies(layer, shape, x.v.batch, x.order)
	return out.like(x.v), err
}

// pooled returns what a pool gives. One whose windows may lie in padding alone takes the images
// with their padding.
func (x *spread) pooled(g *graph, l model.Layer, pad [4]int, kernel, dilation [2]int) (*value, error) {
	for d := range 2 {
		if pad[d] >= kernel[d] || pad[2+d] >= kernel[d] || dilation[d] > 1 && (pad[d] > 0 || pad[2+d] > 0) && x.image[1+d] < (kernel[d]-1)*dilation[d]+1 {
			return nil, fmt.Errorf("pads %v with a kernel of %v on %v, want less", pad, kernel, x.image)
		}
	}
	return x.given(g, step{layer: l})
}

func (g *graph) opConv(n *node) (*value, error) {
	groups := n.integer("group", 1)
	x, err := n.spread(0)
	if err != nil {
		return nil, err
	}
	c, err := n.input(1)
	if err != nil {
		return nil, err
	}
	if c.c == nil {
		return nil, errors.New("weights depend on the image, want constant ones")
	}
	w, err := g.kernels(c, x.row)
	if err != nil {
		return nil, err
	}
	dims := w.Shape()
	kernel := [2]int{dims[2], dims[3]}
	if k := x.sides(n, "kernel_shape", 0); k[0] != 0 && k != kernel {
		return nil, fmt.Errorf("kernel_shape %v, want %v, that of the weights", k, kernel)
	}
	dilation := x.sides(n, "dilations", 1)
	stride, pad := x.moves(n, [2]int{(kernel[0]-1)*dilation[0] + 1, (kernel[1]-1)*dilation[1] + 1})
	if n.err != nil {
		return nil, n.err
	}
	if groups < 1 || int64(dims[0])%groups != 0 || groups > formats.MaxElements {
		return nil, fmt.Errorf("group %d of %d filters", groups, dims[0])
	}
	s := step{open: !n.has(2), name: g.unique(n.GetInput()[1], nodeName(n.NodeProto), "conv")}
	if s.bias, err = n.biases(2, dims[0]); err != nil {
		return nil, err
	}
	l := model.Conv2D{Weight: w, Stride: stride, Pad: plus(pad, x.extra), Groups: int(groups)}
	if groups == 1 {
		l.Groups = 0
	}
	if dilation != [2]int{1, 1} {
		l.Dilation = dilation
	}
	s.layer = l
	return x.given(g, s)
}

// biases returns input i, or zeros.
func (n *node) biases(i, out int) ([]float64, error) {
	if err := n.g.spend(out); err != nil {
		return nil, err
	}
	if !n.has(i) {
		return make([]float64, out), nil
	}
	b, data, err := n.constant(i)
	if err != nil {
		return nil, err
	}
	if len(b.shape) != 1 || b.shape[0] != out {
		return nil, fmt.Errorf("bias %v, want [%d]", b, out)
	}
	if _, err := n.g.plain(b); err != nil {
		return nil, err
	}
	return slices.Clone(data), nil
}

// kernels returns the weights of a convolution as [out, in, rows, columns].
func (g *graph) kernels(c *value, row bool) (*tensor.Dense, error) {
	dims := slices.Clone(c.shape)
	if row {
		dims = append(dims, 1)
	}
	if len(dims) != 4 || len(c.shape) != 4 && !row || slices.Contains(dims, 0) {
		return nil, fmt.Errorf("weights %v, want [out, in, rows, columns]", c)
	}
	return g.weights(c, dims)
}

// weights returns a constant as a tensor of the type of the model's weights.
func (g *graph) weights(c *value, dims []int) (*tensor.Dense, error) {
	if !g.double {
		single, err := g.singles(c)
		if err != nil {
			return nil, err
		}
		if single != nil {
			return formats.Dense(single, dims...), nil
		}
	}
	data, err := g.plain(c)
	if err != nil {
		return nil, err
	}
	if err := g.spend(len(data)); err != nil {
		return nil, err
	}
	return g.dense(data, dims...), nil
}

// opConvTranspose is a convolution of images with zeros between their pixels, with filters that are
// turned.
func (g *graph) opConvTranspose(n *node) (*value, error) {
	groups := int(n.integer("group", 1))
	x, err := n.spread(0)
	if err != nil {
		return nil, err
	}
	if x.extra != [4]int{} {
		if err := x.settle(g); err != nil {
			return nil, err
		}
	}
	c, err := n.input(1)
	if err != nil {
		return nil, err
	}
	if c.c == nil {
		return nil, errors.New("input 1 depends on the image, want a constant")
	}
	dims := slices.Clone(c.shape)
	if x.row {
		dims = append(dims, 1)
	}
	if len(dims) != 4 || slices.Contains(dims, 0) || groups < 1 || dims[0]%groups != 0 || dims[0] != x.image[0] {
		return nil, fmt.Errorf("weights %v in %d groups for %v, want [in, out, rows, columns]", c, groups, x.v)
	}
	kernel := [2]int{dims[2], dims[3]}
	if k := x.sides(n, "kernel_shape", 0); k[0] != 0 && k != kernel {
		return nil, fmt.Errorf("kernel_shape %v, want %v, that of the weights", k, kernel)
	}
	dilation, stride, pad := x.sides(n, "dilations", 1), x.sides(n, "strides", 1), x.pads(n)
	more := x.sides(n, "output_padding", 0)
	var want [2]int
	if n.integers("output_shape") != nil {
		want = x.sides(n, "output_shape", 0)
	}
	auto := n.text("auto_pad", "NOTSET")
	if n.err != nil {
		return nil, n.err
	}
	if min(stride[0], stride[1]) < 1 {
		return nil, fmt.Errorf("strides %v, want at least 1", stride)
	}
	var reach [2]int
	for d := range 2 {
		reach[d] = (kernel[d]-1)*dilation[d] + 1
		size := x.image[1+d]
		full := stride[d]*(size-1) + more[d] + reach[d]
		switch auto {
		case "NOTSET", "":
			if want[d] > 0 {
				all := full - want[d]
				pad[d], pad[2+d] = all/2, all-all/2
			}
		case "VALID":
			pad[d], pad[2+d] = 0, 0
		case "SAME_UPPER", "SAME_LOWER":
			if want[d] == 0 {
				want[d] = size * stride[d]
			}
			all := full - want[d]
			pad[d], pad[2+d] = all/2, all-all/2
			if auto == "SAME_LOWER" {
				pad[d], pad[2+d] = pad[2+d], pad[d]
			}
		default:
			return nil, fmt.Errorf("auto_pad %s, want NOTSET, VALID, SAME_UPPER or SAME_LOWER", formats.Quote(auto))
		}
	}
	// Zeros between pixels and around them; negative ones cut pixels off.
	shape := slices.Clone(x.v.shape)
	var start, end [2]int
	for d := range 2 {
		start[d], end[d] = reach[d]-1-pad[d], reach[d]-1-pad[2+d]+more[d]
		if x.row && d == 1 {
			start[d], end[d] = 0, 0
			continue
		}
		if shape[2+d] = start[d] + stride[d]*(x.image[1+d]-1) + 1 + end[d]; shape[2+d] < reach[d] {
			return nil, fmt.Errorf("of %v with pads %v leaves nothing", x.v, pad)
		}
	}
	strides, was := steps(shape), steps(x.v.shape)
	axesOf := len(shape) - 2
	wide, err := g.picked(x.v, shape, x.v.batch, func(k int) int {
		from := k / strides[1] * was[1]
		for d := range axesOf {
			at := k/strides[2+d]%shape[2+d] - start[d]
			if at < 0 || at%stride[d] != 0 || at/stride[d] >= x.image[1+d] {
				return -1
			}
			from += at / stride[d] * was[2+d]
		}
		return from
	})
	if err != nil {
		return nil, err
	}
	out := dims[1]
	weight, err := g.weights(c, dims)
	if err != nil {
		return nil, err
	}
	if err := g.spend(c.volume()); err != nil {
		return nil, err
	}
	if weight, err = filtersBack(weight, groups); err != nil {
		return nil, err
	}
	y, err := g.spread(wide)
	if err != nil {
		return nil, err
	}
	s := step{open: !n.has(2), name: g.unique(n.GetInput()[1], nodeName(n.NodeProto), "convtranspose")}
	if s.bias, err = n.biases(2, out*groups); err != nil {
		return nil, err
	}
	s.layer = model.Conv2D{Weight: weight, Stride: [2]int{1, 1}, Dilation: dilation, Groups: groups}
	return y.given(g, s)
}

// filtersBack returns filters [in, out, KH, KW] of a transposed convolution as those of an ordinary
// one, [out, in, KH, KW], turned by half a turn. in counts the channels of all groups, and out those
// of one group.
func filtersBack(w *tensor.Dense, groups int) (*tensor.Dense, error) {
	switch data := w.Data().(type) {
	case []float32:
		return turnedFilters(data, w.Shape(), groups), nil
	case []float64:
		return turnedFilters(data, w.Shape(), groups), nil
	}
	return nil, fmt.Errorf("weights of %v, want float32 or float64", w.Dtype())
}

func turnedFilters[E float32 | float64](data []E, dims []int, groups int) *tensor.Dense {
	in, out, area := dims[0]/groups, dims[1], dims[2]*dims[3]
	turned := make([]E, len(data))
	for gr := range groups {
		for i := range in {
			for o := range out {
				for k := range area {
					turned[((gr*out+o)*in+i)*area+area-1-k] = data[((gr*in+i)*out+o)*area+k]
				}
			}
		}
	}
	return formats.Dense(turned, out*groups, in, dims[2], dims[3])
}

func (g *graph) opGemm(n *node) (*value, error) {
	alpha, beta := n.number("alpha", 1), n.number("beta", 1)
	n.ignore("broadcast")
	a, err := n.input(0)
	if err != nil {
		return nil, err
	}
	b, err := n.input(1)
	if err != nil {
		return nil, err
	}
	for i, v := range []**value{&a, &b} {
		if len((*v).shape) != 2 {
			return nil, fmt.Errorf("input %d is %v, want a matrix", i, *v)
		}
		if n.flag([]string{"transA", "transB"}[i], false) {
			if *v, err = g.transpose(*v, []int{1, 0}); err != nil {
				return nil, err
			}
		}
	}
	if b.c != nil && alpha != 1 {
		if b, err = g.mapped(b, func(x float64) float64 { return float64(alpha * x) }); err != nil {
			return nil, err
		}
		alpha = 1
	}
	out, err := g.matmul(n, a, b)
	if err != nil {
		return nil, err
	}
	if alpha != 1 {
		if out, err = g.scalar(out, alpha, 0); err != nil {
			return nil, err
		}
	}
	if !n.has(2) || beta == 0 {
		return out, nil
	}
	c := n.in[2]
	if beta != 1 {
		if c.c != nil {
			c, err = g.mapped(c, func(x float64) float64 { return float64(beta * x) })
		} else {
			c, err = g.scalar(c, beta, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	return g.binary("Add", out, c)
}

func (g *graph) opMatMul(n *node) (*value, error) {
	a, err := n.input(0)
	if err != nil {
		return nil, err
	}
	b, err := n.input(1)
	if err != nil {
		return nil, err
	}
	return g.matmul(n, a, b)
}

// matmul returns the product of two values as matrices, by numpy's rules. n may name weights.
func (g *graph) matmul(n *node, a, b *value) (*value, error) {
	if len(a.shape) == 0 || len(b.shape) == 0 {
		return nil, fmt.Errorf("of %v and %v, want matrices", a, b)
	}
	var err error
	row, column := len(a.shape) == 1, len(b.shape) == 1
	if row {
		if a, err = g.reshape(a, append([]float64{1}, a.sizes()...), true); err != nil {
			return nil, err
		}
	}
	if column {
		if b, err = g.reshape(b, append(b.sizes(), 1), true); err != nil {
			return nil, err
		}
	}
	ra, rb := len(a.shape), len(b.shape)
	if a.shape[ra-1] != b.shape[rb-2] || a.batch == ra-1 || b.batch == rb-2 || b.batch == rb-1 {
		return nil, fmt.Errorf("of %v and %v, want matrices that fit, and images that do not mix", a, b)
	}
	var out *value
	switch {
	case a.c != nil && b.c != nil:
		out, err = g.matmulConstants(a, b)
	case b.c != nil && formats.Volume(b.shape[:rb-2]) == 1 && ra >= rb:
		out, err = g.linear(n, a, b)
	case a.c != nil && formats.Volume(a.shape[:ra-2]) == 1 && rb >= ra && a.batch < 0:
		// aᵀ stands for weights on the right of bᵀ.
		bt, err1 := g.swap(b)
		at, err2 := g.swap(a)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if out, err = g.linear(n, bt, at); err == nil {
			out, err = g.swap(out)
		}
	default:
		out, err = g.batched(a, b)
	}
	if err != nil {
		return nil, err
	}
	var drop []int
	rank := len(out.shape)
	if row {
		drop = append(drop, rank-2)
	}
	if column {
		drop = append(drop, rank-1)
	}
	if drop == nil {
		return out, nil
	}
	return g.drop(out, drop)
}

// swap exchanges the last two axes.
func (g *graph) swap(v *value) (*value, error) {
	turn := make([]int, len(v.shape))
	for i := range turn {
		turn[i] = i
	}
	r := len(turn)
	turn[r-1], turn[r-2] = r-2, r-1
	return g.transpose(v, turn)
}

// linear returns v·w, w [in, out] constant, with v's axes but the last: a Linear if an image has
// one row, and else a convolution of one pixel.
func (g *graph) linear(n *node, v, w *value) (*value, error) {
	rw := len(w.shape)
	in, out := w.shape[rw-2], w.shape[rw-1]
	if out < 1 || in < 1 {
		return nil, fmt.Errorf("by weights %v", w)
	}
	v, err := g.settle(v)
	if err != nil {
		return nil, err
	}
	rank := len(v.shape)
	shape := slices.Clone(v.shape)
	shape[rank-1] = out
	name := ""
	for i, x := range n.in {
		if x != nil && x.c != nil && i < 2 {
			name = n.GetInput()[i]
		}
	}
	s := step{name: g.unique(name, nodeName(n.NodeProto), "linear"), bias: make([]float64, out), open: true}
	if err := g.spend(2*out + in*out); err != nil {
		return nil, err
	}
	wt, err := g.swap(&value{shape: []int{in, out}, batch: -1, c: w.c})
	if err != nil {
		return nil, err
	}
	if v.volume() == in && g.permuted(v) { // one row: columns of weights may lie as v does
		weight, err := g.weights(wt, []int{out, in})
		if err != nil {
			return nil, err
		}
		if v.idx != nil {
			if weight, err = columnsAt(weight, v.idx); err != nil {
				return nil, err
			}
		}
		s.layer, s.from = model.Linear{Weight: weight}, []int{v.src[0]}
		layer, err := g.append(s)
		return &value{shape: shape, batch: v.batch, lead: v.lead, src: []int{layer}, sole: true}, err
	}
	o := g.channelsOf(v, []int{rank - 1})
	layer, err := g.lay(v, o, false)
	if err != nil {
		return nil, err
	}
	weight, err := g.weights(wt, []int{out, in, 1, 1})
	if err != nil {
		return nil, err
	}
	s.layer, s.from = model.Conv2D{Weight: weight, Stride: [2]int{1, 1}}, []int{layer}
	if layer, err = g.append(s); err != nil {
		return nil, err
	}
	y, err := g.lies(layer, shape, v.batch, o)
	return y.like(v), err
}

// permuted reports whether v has each number of one layer once.
func (g *graph) permuted(v *value) bool {
	if len(v.src) != 1 || v.pads != nil || v.volume() != formats.Volume(g.shape(v.src[0])) {
		return false
	}
	seen := make([]bool, v.volume())
	for _, i := range v.idx {
		if i < 0 || seen[i] {
			return false
		}
		seen[i] = true
	}
	return true
}

// columnsAt returns weights [out, in] with column k at place at[k].
func columnsAt(w *tensor.Dense, at []int32) (*tensor.Dense, error) {
	switch data := w.Data().(type) {
	case []float32:
		return turned(data, w.Shape(), at), nil
	case []float64:
		return turned(data, w.Shape(), at), nil
	}
	return nil, fmt.Errorf("weights of %v, want float32 or float64", w.Dtype())
}

func turned[E float32 | float64](w []E, shape []int, at []int32) *tensor.Dense {
	out := make([]E, len(w))
	for o := range shape[0] {
		row, to := w[o*shape[1]:][:shape[1]], out[o*shape[1]:][:shape[1]]
		for k, v := range row {
			to[at[k]] = v
		}
	}
	return formats.Dense(out, shape...)
}

// matmulConstants multiplies known matrices.
func (g *graph) matmulConstants(a, b *value) (*value, error) {
	ra, rb := len(a.shape), len(b.shape)
	m, k, n := a.shape[ra-2], a.shape[ra-1], b.shape[rb-1]
	shape, err := together(&value{shape: a.shape[:ra-2], batch: -1}, &value{shape: b.shape[:rb-2], batch: -1})
	if err != nil {
		return nil, err
	}
	x, err := g.expand(a, append(shape.sizes(), float64(m), float64(k)))
	if err != nil {
		return nil, err
	}
	y, err := g.expand(b, append(shape.sizes(), float64(k), float64(n)))
	if err != nil {
		return nil, err
	}
	p, err := g.numbers(x)
	if err != nil {
		return nil, err
	}
	q, err := g.numbers(y)
	if err != nil {
		return nil, err
	}
	many := formats.Volume(shape.shape)
	full := append(slices.Clone(shape.shape), m, n)
	count, err := countOf(full)
	if err == nil {
		err = g.spend(count)
	}
	if err == nil && k > 0 && float64(count)*float64(k) > 1<<34 {
		err = errors.New("a product of constants that takes too long")
	}
	if err != nil {
		return nil, err
	}
	out := make([]float64, count)
	for h := range many {
		for i := range m {
			row := out[(h*m+i)*n:][:n]
			for t := range k {
				w := p[(h*m+i)*k+t]
				for j, v := range q[(h*k+t)*n:][:n] {
					row[j] += float64(w * v)
				}
			}
		}
	}
	return g.rounded(known(full, out, false), a, b), nil
}

// batched returns a product of two values of which one may be constant, as a MatMul.
func (g *graph) batched(a, b *value) (*value, error) {
	ra, rb := len(a.shape), len(b.shape)
	lead := func(v *value, r int) *value {
		out := &value{shape: v.shape[:r-2], batch: v.batch, lead: v.lead}
		if out.batch >= r-2 {
			out.batch = -1
		}
		return out
	}
	shape, err := together(lead(a, ra), lead(b, rb))
	if err != nil {
		return nil, err
	}
	if a.batch == ra-2 { // rows of images that are multiplied with one matrix
		if formats.Volume(shape.shape) != 1 || b.batch >= 0 {
			return nil, fmt.Errorf("of %v and %v mixes images", a, b)
		}
	}
	m, k, n := a.shape[ra-2], a.shape[ra-1], b.shape[rb-1]
	rank := len(shape.shape) + 2
	var all []int
	for i := range rank - 2 {
		all = append(all, i)
	}
	tails := [2][2]int{{m, k}, {k, n}}
	var layers [2]int
	transpose := false
	for i, v := range []*value{a, b} {
		size := append(shape.sizes(), float64(tails[i][0]), float64(tails[i][1]))
		if shape.batch >= 0 && v.c == nil && v.batch < 0 {
			return nil, fmt.Errorf("of %v and %v mixes images", a, b)
		}
		if i == 0 && a.batch == ra-2 {
			size[rank-2] *= batchSize
		}
		if v, err = g.expand(v, size); err != nil {
			return nil, err
		}
		o := order{{rank - 1}, all, {rank - 2}}
		if v.c != nil {
			layers[i], err = g.constantAlong(v, o, v.shape)
		} else {
			if v, err = g.settle(v); err != nil {
				return nil, err
			}
			if i == 1 { // as it lies, if it can be
				if have, ok := g.orderOf(v); ok && slices.Equal(have[0], []int{rank - 2}) {
					o, transpose = order{{rank - 2}, all, {rank - 1}}, true
				}
			}
			layers[i], err = g.lay(v, o, false)
		}
		if err != nil {
			return nil, err
		}
	}
	layer, err := g.append(step{layer: model.MatMul{Transpose: transpose}, from: layers[:]})
	if err != nil {
		return nil, err
	}
	out, err := g.lies(layer, append(slices.Clone(shape.shape), m, n), shape.batch, order{{rank - 1}, all, {rank - 2}})
	if err != nil {
		return nil, err
	}
	if out.like(shape); a.batch == ra-2 {
		out.batch, out.lead = rank-2, a.lead
	}
	return out, nil
}

// opEinsum is Einsum of one value, or of two that share axes to multiply along.
func (g *graph) opEinsum(n *node) (*value, error) {
	text := strings.ReplaceAll(n.text("equation", ""), " ", "")
	left, right, explicit := strings.Cut(text, "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(n.in) || len(terms) < 1 || len(terms) > 2 || strings.Contains(text, ".") || !explicit {
		return nil, fmt.Errorf("equation %s, want one or two terms and a result, without an ellipsis", formats.Quote(text))
	}
	for i, t := range terms {
		v, err := n.input(i)
		if err != nil {
			return nil, err
		}
		if len(t) != len(v.shape) || repeats(t) || repeats(right) {
			return nil, fmt.Errorf("equation %s of %v, want a letter for each axis, each once", formats.Quote(text), v)
		}
	}
	// order returns v with the axes of letters, in their order; what it has not is of size 1.
	arranged := func(v *value, t, letters string) (*value, error) {
		var turn []int
		for _, l := range letters {
			if i := strings.IndexRune(t, l); i >= 0 {
				turn = append(turn, i)
			}
		}
		return g.transpose(v, turn)
	}
	if len(terms) == 1 {
		v, t := n.in[0], terms[0]
		var over []int
		for i, l := range t {
			if !strings.ContainsRune(right, l) {
				over = append(over, i)
			}
		}
		if len(over) > 0 {
			if v.c != nil {
				return nil, errors.New("sums of a constant are not supported")
			}
			if slices.Contains(over, v.batch) {
				return nil, v.noBatch(v.batch)
			}
			var err error
			if v, err = g.reduce(v, over, "sum"); err != nil {
				return nil, err
			}
			if v, err = g.drop(v, over); err != nil {
				return nil, err
			}
			kept := ""
			for _, l := range t {
				if strings.ContainsRune(right, l) {
					kept += string(l)
				}
			}
			t = kept
		}
		return arranged(v, t, right)
	}
	a, b := terms[0], terms[1]
	var batch, rows, sums, columns string
	for _, l := range a {
		inB, inOut := strings.ContainsRune(b, l), strings.ContainsRune(right, l)
		switch {
		case inB && inOut:
			batch += string(l)
		case inB:
			sums += string(l)
		case inOut:
			rows += string(l)
		default:
			return nil, fmt.Errorf("equation %s: %c is summed alone", formats.Quote(text), l)
		}
	}
	for _, l := range b {
		if !strings.ContainsRune(a, l) {
			if !strings.ContainsRune(right, l) {
				return nil, fmt.Errorf("equation %s: %c is summed alone", formats.Quote(text), l)
			}
			columns += string(l)
		}
	}
	x, err := arranged(n.in[0], a, batch+rows+sums)
	if err != nil {
		return nil, err
	}
	y, err := arranged(n.in[1], b, batch+sums+columns)
	if err != nil {
		return nil, err
	}
	nb, nr, ns := len(batch), len(rows), len(sums)
	merged := func(v *value, cuts ...int) (*value, error) {
		sizes := v.sizes()
		target := slices.Clone(sizes[:nb])
		from := nb
		for _, c := range cuts {
			p := 1.0
			for _, s := range sizes[from : from+c] {
				p *= s
			}
			target, from = append(target, p), from+c
		}
		return g.reshape(v, target, true)
	}
	sx, sy := x.sizes(), y.sizes()
	if x, err = merged(x, nr, ns); err != nil {
		return nil, err
	}
	if y, err = merged(y, ns, len(columns)); err != nil {
		return nil, err
	}
	out, err := g.matmul(n, x, y)
	if err != nil {
		return nil, err
	}
	lead := out.sizes()[:nb]
	if out, err = g.reshape(out, slices.Concat(lead, sx[nb:nb+nr], sy[nb+ns:]), true); err != nil {
		return nil, err
	}
	return arranged(out, batch+rows+columns, right)
}

func repeats(s string) bool {
	for i, l := range s {
		if strings.ContainsRune(s[i+1:], l) {
			return true
		}
	}
	return false
}
