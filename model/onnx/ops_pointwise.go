package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/model"
	"advsweep/model/internal/formats"
)

// Operators of each number, or of each pair of numbers.
var _ = register(map[string]func(*graph, *node) (*value, error){
	"Add": (*graph).opBinary, "Sub": (*graph).opBinary, "Mul": (*graph).opBinary, "Div": (*graph).opBinary,
	"Sum": (*graph).opVariadic, "Mean": (*graph).opVariadic, "Max": (*graph).opVariadic, "Min": (*graph).opVariadic,
	"Pow": (*graph).opPow, "Clip": (*graph).opClip, "PRelu": (*graph).opPRelu, "BatchNormalization": (*graph).opBatchNormalization,
	"Neg": (*graph).opNeg, "ImageScaler": (*graph).opImageScaler,
})

// unaries are the operators that are one function of each number and have no attributes, by name.
// They may be a part of a formula.
var unaries = map[string]model.Elementwise{
	"Relu": model.ReLU{}, "Sigmoid": model.Sigmoid{}, "Tanh": model.Tanh{}, "Softplus": model.Plain{Of: "softplus"}, "Softsign": model.Plain{Of: "softsign"},
	"Mish": model.Plain{Of: "mish"}, "HardSwish": model.Plain{Of: "hardswish"}, "Abs": model.Plain{Of: "abs"}, "Exp": model.Plain{Of: "exp"}, "Log": model.Plain{Of: "log"},
	"Sqrt": model.Plain{Of: "sqrt"}, "Reciprocal": model.Plain{Of: "reciprocal"}, "Erf": model.Plain{Of: "erf"}, "Sin": model.Plain{Of: "sin"}, "Cos": model.Plain{Of: "cos"},
}

// activations are the operators that are one function of each number with attributes, by name, with
// the layer that a node is and what follows it: a factor and a summand before it, and a factor
// behind.
var activations = map[string]func(n *node) (l model.Elementwise, before [2]float64, behind float64, err error){
	"LeakyRelu": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		return model.LeakyReLU{Slope: n.number("alpha", 0.01)}, [2]float64{1}, 1, nil
	},
	"ThresholdedRelu": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		return model.ThresholdedReLU{Alpha: n.number("alpha", 1)}, [2]float64{1}, 1, nil
	},
	"Elu": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		return model.ELU{Alpha: n.number("alpha", 1), Rate: 1}, [2]float64{1}, 1, nil
	},
	"Selu": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		return model.ELU{Alpha: n.number("alpha", 1.67326319217681884765625), Rate: 1}, [2]float64{1}, n.number("gamma", 1.05070102214813232421875), nil
	},
	"Celu": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		a := n.number("alpha", 1)
		if a == 0 {
			return nil, [2]float64{}, 0, errors.New("alpha 0, want another")
		}
		return model.ELU{Alpha: a, Rate: 1 / a}, [2]float64{1}, 1, nil
	},
	"HardSigmoid": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		return model.Clip{Lo: 0, Hi: 1}, [2]float64{n.number("alpha", 0.2), n.number("beta", 0.5)}, 1, nil
	},
	"Swish": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		a := n.number("alpha", 1)
		if a == 0 {
			return nil, [2]float64{}, 0, errors.New("alpha 0, want another")
		}
		return model.Plain{Of: "silu"}, [2]float64{a}, 1 / a, nil
	},
	"Gelu": func(n *node) (model.Elementwise, [2]float64, float64, error) {
		how := n.text("approximate", "none")
		if how != "none" && how != "tanh" {
			return nil, [2]float64{}, 0, fmt.Errorf("approximate %s, want none or tanh", formats.Quote(how))
		}
		return model.GELU{Tanh: how == "tanh"}, [2]float64{1}, 1, nil
	},
}

var _ = func() bool {
	for name, l := range unaries {
		register(map[string]func(*graph, *node) (*value, error){name: func(g *graph, n *node) (*value, error) {
			n.ignore("consumed_inputs")
			v, err := n.input(0)
			if err != nil {
				return nil, err
			}
			if v.c != nil {
				return g.mapped(v, l.Value)
			}
			return g.function(v, name, 0, 0)
		}})
	}
	for name, layer := range activations {
		register(map[string]func(*graph, *node) (*value, error){name: func(g *graph, n *node) (*value, error) {
			l, before, behind, err := layer(n)
			if err != nil {
				return nil, err
			}
			v, err := n.input(0)
			if err != nil {
				return nil, err
			}
			if v.c != nil {
				return g.mapped(v, func(x float64) float64 { return float64(behind * l.Value(float64(before[0]*x)+before[1])) })
			}
			if before != [2]float64{1} {
				if v, err = g.scalar(v, before[0], before[1]); err != nil {
					return nil, err
				}
			}
			if v, err = g.after(v, l); err != nil || behind == 1 {
				return v, err
			}
			return g.scalar(v, behind, 0)
		}})
	}
	return true
}()

// after returns what a layer gives that takes v number by number.
func (g *graph) after(v *value, l model.Layer) (*value, error) {
	v, _, err := g.pointwise(v)
	if err != nil {
		return nil, err
	}
	if v, err = g.settle(v); err != nil {
		return nil, err
	}
	i, err := g.append(step{layer: l, from: []int{v.src[0]}})
	if err != nil {
		return nil, err
	}
	return &value{shape: v.shape, batch: v.batch, lead: v.lead, src: []int{i}, idx: v.idx, sole: true}, nil
}

func (g *graph) opNeg(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	if v.c != nil {
		return g.mapped(v, func(x float64) float64 { return -x })
	}
	return g.scalar(v, -1, 0)
}

func (g *graph) opPow(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	if v.c != nil {
		return g.opBinary(n)
	}
	power, err := n.one(1, "exponents", math.NaN())
	if err != nil {
		return nil, err
	}
	return g.function(v, "pow", 0, power)
}

func (g *graph) opClip(n *node) (*value, error) {
	lo, err := n.one(1, "min", n.number("min", math.Inf(-1)))
	if err != nil {
		return nil, err
	}
	hi, err := n.one(2, "max", n.number("max", math.Inf(1)))
	if err != nil {
		return nil, err
	}
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	if !(lo <= hi) {
		return nil, fmt.Errorf("to %v and %v, want min not above max", lo, hi)
	}
	return g.clip(v, lo, hi)
}

// clip returns v between lo and hi.
func (g *graph) clip(v *value, lo, hi float64) (*value, error) {
	if v.c != nil {
		return g.mapped(v, func(x float64) float64 { return min(max(x, lo), hi) })
	}
	if lo <= -math.MaxFloat32 && hi >= math.MaxFloat32 {
		return v, nil
	}
	return g.function(v, "clip", lo, hi)
}

// opPRelu is (1-s)·max(x, 0) + s·x.
func (g *graph) opPRelu(n *node) (*value, error) {
	n.ignore("consumed_inputs")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	slope, data, err := n.constant(1)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New("no slopes")
	}
	if allOf(data, data[0]) && len(slope.shape) <= len(v.shape) {
		return g.after(v, model.LeakyReLU{Slope: data[0]})
	}
	if len(slope.shape) == 1 && len(v.shape) == 4 && slope.shape[0] == v.shape[1] && v.shape[3] != v.shape[1] && g.opset < 9 {
		// by channel, before broadcasting was
		slope = &value{shape: []int{slope.shape[0], 1, 1}, batch: -1, c: slope.c}
	}
	up, err := g.after(v, model.ReLU{})
	if err != nil {
		return nil, err
	}
	rest, err := g.mapped(slope, func(s float64) float64 { return 1 - s })
	if err != nil {
		return nil, err
	}
	if up, err = g.binary("Mul", up, rest); err != nil {
		return nil, err
	}
	down, err := g.binary("Mul", v, slope)
	if err != nil {
		return nil, err
	}
	return g.binary("Add", up, down)
}

func (g *graph) opBatchNormalization(n *node) (*value, error) {
	eps := n.number("epsilon", 1e-5)
	n.ignore("momentum", "consumed_inputs")
	if n.flag("training_mode", false) {
		if n.isConstant(0) {
			return g.standardised(n, eps)
		}
		return nil, errors.New("is in training mode: it takes mean and variance of the batch, so that images depend on each other; export the model for inference (model.eval())")
	}
	n.want("spatial", 1)
	n.ignore("is_test")
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	rank := len(v.shape)
	if rank < 2 {
		return nil, fmt.Errorf("of %v, want [N, C, …]", v)
	}
	var p [4][]float64 // scale, bias, mean, variance
	for i := range p {
		var c *value
		if c, p[i], err = n.constant(1 + i); err != nil {
			return nil, err
		}
		if len(c.shape) != 1 || c.shape[0] != v.shape[1] {
			return nil, fmt.Errorf("input %d of shape %v, want [%d], the channels of %v", 1+i, c, v.shape[1], v)
		}
	}
	w, b, err := formats.FoldNorm(p[0], p[1], p[2], p[3], eps)
	if err != nil {
		return nil, err
	}
	return g.byAxis(v, 1, w, b)
}

// standardised is BatchNormalization of a constant by its own mean and variance: weights that are
// standardised. The mean and the variance are those of each place along axis 1.
//
// Qiao et al. 2019, arXiv:1903.10520.
func (g *graph) standardised(n *node, eps float64) (*value, error) {
	v, data, err := n.constant(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) < 2 || v.volume() == 0 {
		return nil, fmt.Errorf("of %v, want [N, C, …]", v)
	}
	var p [2][]float64 // scale and bias
	for i := range p {
		c, numbers, err := n.constant(1 + i)
		if err != nil {
			return nil, err
		}
		if p[i] = numbers; len(numbers) != v.shape[1] {
			return nil, fmt.Errorf("input %d of shape %v, want [%d]", 1+i, c, v.shape[1])
		}
	}
	if err := g.spend(len(data)); err != nil {
		return nil, err
	}
	inner, channels := steps(v.shape)[1], v.shape[1]
	mean, spread := make([]float64, channels), make([]float64, channels)
	many := float64(len(data) / channels)
	for k, x := range data {
		mean[k/inner%channels] += x / many
	}
	for k, x := range data {
		spread[k/inner%channels] += square(x-mean[k/inner%channels]) / many
	}
	out := make([]float64, len(data))
	for k, x := range data {
		c := k / inner % channels
		out[k] = float64((x-mean[c])*(p[0][c]/math.Sqrt(spread[c]+eps))) + p[1][c]
	}
	return known(v.shape, out, false), nil
}

// byAxis returns w·v + b, with a factor and a summand for each place along an axis.
func (g *graph) byAxis(v *value, a int, w, b []float64) (*value, error) {
	shape := make([]int, len(v.shape)-a)
	for i := range shape {
		shape[i] = 1
	}
	shape[0] = len(w)
	factor, summand := known(shape, w, false), known(shape, b, false)
	var err error
	if v.c == nil {
		out, err := g.affine(v, factor, summand)
		if !errors.Is(err, errVaries) {
			return out, err
		}
	}
	if v, err = g.binary("Mul", v, factor); err != nil {
		return nil, err
	}
	return g.binary("Add", v, summand)
}

// opImageScaler is an old operator of image networks: scale·x + bias by channel.
func (g *graph) opImageScaler(n *node) (*value, error) {
	scale, bias := n.number("scale", 1), n.floats("bias")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) < 2 || len(bias) != v.shape[1] {
		return nil, fmt.Errorf("%d biases for %v", len(bias), v)
	}
	w := make([]float64, len(bias))
	for i := range w {
		w[i] = scale
	}
	return g.byAxis(v, 1, w, bias)
}

// folds are the operators of two numbers, by name: of constants.
var folds = map[string]func(x, y float64, whole bool) float64{
	"Add": func(x, y float64, _ bool) float64 { return x + y },
	"Sub": func(x, y float64, _ bool) float64 { return x - y },
	"Mul": func(x, y float64, _ bool) float64 { return float64(x * y) },
	"Div": func(x, y float64, whole bool) float64 {
		if whole {
			return math.Trunc(x / y)
		}
		return x / y
	},
	"Max": func(x, y float64, _ bool) float64 { return max(x, y) },
	"Min": func(x, y float64, _ bool) float64 { return min(x, y) },
	"Pow": func(x, y float64, _ bool) float64 { return math.Pow(x, y) },
}

// pairs are the layers of two numbers, by the name of their operator.
var pairs = map[string]model.Layer{
	"Add": model.Add{}, "Sub": model.Sub{}, "Mul": model.Mul{}, "Div": model.Div{}, "Max": model.Max{}, "Min": model.Min{},
}

func (g *graph) opBinary(n *node) (*value, error) {
	if len(n.in) != 2 || !n.has(0) || !n.has(1) {
		return nil, fmt.Errorf("%d inputs, want 2", len(n.in))
	}
	n.ignore("consumed_inputs", "fmod")
	a, b := n.in[0], n.in[1]
	if n.flag("broadcast", false) { // before opset 7
		return nil, errors.New("broadcast, which was before opset 7: export it anew")
	}
	n.ignore("axis")
	return g.binary(n.GetOpType(), a, b)
}

// opVariadic is Sum, Mean, Max or Min of any number of values.
func (g *graph) opVariadic(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	op := n.GetOpType()
	if op == "Sum" || op == "Mean" {
		op = "Add"
	}
	for i := 1; i < len(n.in); i++ {
		next, err := n.input(i)
		if err != nil {
			return nil, err
		}
		if v, err = g.binary(op, v, next); err != nil {
			return nil, err
		}
	}
	if n.GetOpType() != "Mean" || len(n.in) == 1 {
		return v, nil
	}
	if v.c != nil {
		return g.mapped(v, func(x float64) float64 { return x / float64(len(n.in)) })
	}
	return g.scalar(v, 1/float64(len(n.in)), 0)
}

// binary returns op of each pair of numbers of a and b, broadcast to each other.
func (g *graph) binary(op string, a, b *value) (*value, error) {
	shape, err := together(a, b)
	if err != nil {
		return nil, err
	}
	switch {
	case a.c != nil && b.c != nil:
		return g.fold(op, a, b, shape)
	case b.c != nil:
		return g.withConstant(op, a, b, shape, false)
	case a.c != nil:
		return g.withConstant(op, b, a, shape, true)
	}
	if v, err := g.asFormula(op, a, b); v != nil || err != nil {
		return v, err
	}
	return g.pair(op, a, b, shape)
}

// fold is op of two constants.
func (g *graph) fold(op string, a, b, shape *value) (*value, error) {
	f, ok := folds[op]
	if !ok {
		return nil, fmt.Errorf("no %s of two constants", op)
	}
	if x, y := a.c.each, b.c.each; x != 0 || y != 0 { // places of images
		each := map[string]float64{"Add": x + y, "Sub": x - y}
		if y == 0 && b.volume() == 1 {
			with, err := g.numbers(b)
			if err != nil {
				return nil, err
			}
			each["Mul"] = float64(x * with[0])
		} else if x == 0 && a.volume() == 1 {
			with, err := g.numbers(a)
			if err != nil {
				return nil, err
			}
			each["Mul"] = float64(y * with[0])
		}
		now, ok := each[op]
		if !ok {
			return nil, fmt.Errorf("of the places of images in the batch")
		}
		v, err := g.foldFrom((*graph).first, a, b, shape, f)
		if err == nil {
			v.c.each = now
		}
		return v, err
	}
	return g.foldBy(a, b, shape, f)
}

// foldBy is f of the numbers of two constants, broadcast to each other.
func (g *graph) foldBy(a, b, shape *value, f func(x, y float64, whole bool) float64) (*value, error) {
	return g.foldFrom((*graph).numbers, a, b, shape, f)
}

// foldFrom is foldBy of what numbers returns.
func (g *graph) foldFrom(numbers func(*graph, *value) ([]float64, error), a, b, shape *value, f func(x, y float64, whole bool) float64) (*value, error) {
	whole, sized := a.c.whole && b.c.whole, a.c.sized || b.c.sized
	var data [2][]float64
	for i, v := range []*value{a, b} {
		v, err := g.expand(v, shape.sizes())
		if err != nil {
			return nil, err
		}
		if data[i], err = numbers(g, v); err != nil {
			return nil, err
		}
	}
	if err := g.spend(len(data[0])); err != nil {
		return nil, err
	}
	out := make([]float64, len(data[0]))
	for i := range out {
		if out[i] = f(data[0][i], data[1][i], whole); whole && math.IsNaN(out[i]) {
			return nil, errors.New("of whole numbers is no number")
		}
	}
	v := known(shape.shape, out, whole)
	v.batch, v.c.sized = shape.batch, sized
	return g.rounded(v, a, b), nil
}

// mapped returns f of each number of a constant.
func (g *graph) mapped(v *value, f func(float64) float64) (*value, error) {
	data, err := g.numbers(v)
	if err != nil {
		return nil, err
	}
	if err := g.spend(len(data)); err != nil {
		return nil, err
	}
	out := make([]float64, len(data))
	for i, x := range data {
		out[i] = f(x)
	}
	w := known(v.shape, out, v.c.whole)
	w.batch, w.c.sized = v.batch, v.c.sized
	return g.rounded(w, v), nil
}

// asFormula returns op of a and b as a formula, if both are formulas of the same numbers, and nil
// if they are not.
func (g *graph) asFormula(op string, a, b *value) (*value, error) {
	if op != "Add" && op != "Sub" && op != "Mul" || a.pads != nil || b.pads != nil || !g.single(a) || !g.single(b) {
		return nil, nil
	}
	if a.src[0] != b.src[0] || !slices.Equal(a.shape, b.shape) || !slices.Equal(a.idx, b.idx) || a.f == nil && b.f == nil && op != "Mul" {
		return nil, nil
	}
	if op == "Sub" {
		var err error
		if b, err = g.scalar(b, -1, 0); err != nil {
			return nil, err
		}
		op = "Add"
	}
	var f [2]*formula
	for i, v := range []*value{a, b} {
		if f[i] = v.f; f[i] == nil {
			f[i] = &formula{op: "x", size: 1}
		}
	}
	name := map[string]string{"Add": "add", "Mul": "mul"}[op]
	v, err := g.apply(a, name, 0, 0, f[0], f[1])
	if errors.Is(err, errLongFormula) {
		return nil, nil
	}
	return v, err
}

// refine splits axes of v so that each lies in one dimension of its layer, where v has the numbers
// of the layer as they lie. parts has what each axis of v becomes.
func (g *graph) refine(v *value) (parts [][]int) {
	for _, s := range v.shape {
		parts = append(parts, []int{s})
	}
	if v.c != nil || len(v.src) != 1 || v.pads != nil || v.volume() != formats.Volume(g.shape(v.src[0])) {
		return parts
	}
	for k, i := range v.idx {
		if int(i) != k {
			return parts
		}
	}
	dims := slices.Clone(g.shape(v.src[0]))
	d := 0
	for i, s := range v.shape {
		var own []int
		for left := s; left > 1; {
			for d < len(dims) && dims[d] == 1 {
				d++
			}
			if d == len(dims) {
				return parts
			}
			part := min(left, dims[d])
			if left%part != 0 || dims[d]%part != 0 {
				return parts // as they were, from here on
			}
			own = append(own, part)
			left, dims[d] = left/part, dims[d]/part
		}
		if len(own) > 0 {
			parts[i] = own
		}
	}
	return parts
}

// split reshapes v, broadcast to axes that are split into parts: an axis of size 1 stays so.
func (g *graph) split(v *value, parts [][]int) (*value, error) {
	var target []float64
	sizes, shift := v.sizes(), len(parts)-len(v.shape)
	for i, part := range parts {
		for k, p := range part {
			s := float64(p)
			switch {
			case i < shift || v.shape[i-shift] == 1:
				s = 1
			}
			if i >= shift && i-shift == v.batch && k == 0 {
				s *= sizes[i-shift] / float64(v.shape[i-shift])
			}
			target = append(target, s)
		}
	}
	return g.reshape(v, target, true)
}

// pair is op of two values that depend on the image, as a layer.
func (g *graph) pair(op string, a, b, shape *value) (*value, error) {
	layer := pairs[op]
	if layer == nil {
		return nil, fmt.Errorf("no %s of two values that depend on the image", op)
	}
	var err error
	if a, err = g.settle(a); err != nil {
		return nil, err
	}
	if b, err = g.settle(b); err != nil {
		return nil, err
	}
	// The larger one says how the result lies.
	large := a
	if b.volume() > a.volume() {
		large = b
	}
	full := slices.Equal(large.shape, shape.shape)
	parts := [][]int{}
	for _, s := range shape.shape {
		parts = append(parts, []int{s})
	}
	if full {
		parts = g.refine(large)
	}
	if a, err = g.split(a, parts); err != nil {
		return nil, err
	}
	if b, err = g.split(b, parts); err != nil {
		return nil, err
	}
	fine := slices.Concat(parts...)
	large = a
	if b.volume() > a.volume() {
		large = b
	}
	o, ok := order{}, false
	if full {
		o, ok = g.orderOf(large)
	}
	if !ok {
		at := &value{shape: fine}
		o = usual(at)
	}
	la, err := g.along(a, o, fine)
	if err != nil {
		return nil, err
	}
	lb, err := g.along(b, o, fine)
	if err != nil {
		return nil, err
	}
	if x, y := g.shape(la), g.shape(lb); len(x) != len(y) { // a vector, and an image
		if la, err = g.upright(la); err != nil {
			return nil, err
		}
		if lb, err = g.upright(lb); err != nil {
			return nil, err
		}
	}
	i, err := g.append(step{layer: layer, from: []int{la, lb}})
	if err != nil {
		return nil, err
	}
	out, err := g.lies(i, fine, -1, o)
	if err != nil {
		return nil, err
	}
	out.shape, out.batch = shape.shape, shape.batch
	return out.like(shape), nil
}

// upright returns a layer whose output is [C, H, W].
func (g *graph) upright(layer int) (int, error) {
	s := g.shape(layer)
	if len(s) == 3 {
		return layer, nil
	}
	a := model.Arrange{Dims: []int{s[0], 1, 1}, Index: make([]int32, s[0])}
	for i := range a.Index {
		a.Index[i] = int32(i)
	}
	return g.append(step{layer: a, from: []int{layer}})
}

// widened returns the sizes to which numbers of a shape are repeated in an order of axes of the
// sizes fine. A part of the order is 1 where shape is 1 along all its axes, and whole elsewhere.
func widened(shape []int, o order, fine []int) []float64 {
	target := slices.Repeat([]float64{1}, len(fine))
	for _, axes := range o {
		if !slices.ContainsFunc(axes, func(a int) bool { return shape[a] != 1 }) {
			continue
		}
		for _, a := range axes {
			target[a] = float64(fine[a])
		}
	}
	return target
}

// along returns a layer that has v in an order of axes of the sizes fine, see widened.
func (g *graph) along(v *value, o order, fine []int) (int, error) {
	target := widened(v.shape, o, fine)
	for i, s := range v.shape {
		if i == v.batch {
			target[i] = max(target[i], float64(s)) * batchSize
		}
	}
	wide := v
	if !slices.Equal(target, v.sizes()) {
		var err error
		if wide, err = g.expand(v, target); err != nil {
			return 0, err
		}
	}
	return g.lay(wide, o, true)
}

// withConstant is op of v, which depends on the image, and a constant, which stands on the left if
// first is set.
func (g *graph) withConstant(op string, v, c, shape *value, first bool) (*value, error) {
	data, err := g.plain(c)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("of %v and no numbers", v)
	}
	same := allOf(data, data[0]) && slices.Equal(shape.shape, v.shape)
	x := data[0]
	var w, b func(float64) float64 // factor and summand, for a number of c
	one := func(float64) float64 { return 1 }
	zero := func(float64) float64 { return 0 }
	id := func(x float64) float64 { return x }
	neg := func(x float64) float64 { return -x }
	switch {
	case op == "Add":
		w, b = one, id
	case op == "Sub" && !first:
		w, b = one, neg
	case op == "Sub":
		w, b = func(float64) float64 { return -1 }, id
	case op == "Mul":
		w, b = id, zero
	case op == "Div" && !first:
		w, b = func(x float64) float64 { return 1 / x }, zero
	case op == "Div" && same:
		inverse, err := g.function(v, "Reciprocal", 0, 0)
		if err != nil || x == 1 {
			return inverse, err
		}
		return g.scalar(inverse, x, 0)
	case op == "Max" && same:
		return g.clip(v, x, math.Inf(1))
	case op == "Min" && same:
		return g.clip(v, math.Inf(-1), x)
	case op == "Pow":
		return nil, errors.New("of a constant to a power that depends on the image is not supported")
	}
	if w == nil {
		return g.fixed(op, v, c, shape, first)
	}
	if same {
		return g.scalar(v, w(x), b(x))
	}
	if v.shape == nil || !slices.Equal(shape.shape, v.shape) {
		return g.fixed(op, v, c, shape, first)
	}
	fw, err := g.mapped(c, w)
	if err != nil {
		return nil, err
	}
	fb, err := g.mapped(c, b)
	if err != nil {
		return nil, err
	}
	out, err := g.affine(v, fw, fb)
	if errors.Is(err, errVaries) {
		return g.fixed(op, v, c, shape, first)
	}
	return out, err
}

// errVaries is for constants that differ within a channel.
var errVaries = errors.New("a constant that varies within a channel")

// affine returns w·v + b for constants of one shape that is broadcast to v's, each the same all
// over a channel of the layer in which v lies.
func (g *graph) affine(v, w, b *value) (*value, error) {
	x, err := g.settle(v)
	if err != nil {
		return nil, err
	}
	layer, o, err := g.whole(x)
	if err != nil {
		return nil, err
	}
	inner := formats.Volume(g.shape(layer)[1:])
	strides := o.strides(x.shape)
	var out [2][]float64
	for i, c := range []*value{w, b} {
		if all, ok, err := g.byChannel(c, x, layer, o); ok || err != nil {
			if err != nil {
				return nil, err
			}
			out[i] = all
			continue
		}
		c, err := g.expand(c, (&value{shape: x.shape, batch: -1}).sizes())
		if err != nil {
			return nil, err
		}
		data, err := g.plain(c)
		if err != nil {
			return nil, err
		}
		n := g.shape(layer)[0]
		if err := g.spend(n); err != nil {
			return nil, err
		}
		all, seen := make([]float64, n), make([]bool, n)
		same := true
		walk(x.shape, strides, func(k, at int) {
			ch := at / inner
			same = same && (!seen[ch] || all[ch] == data[k])
			all[ch], seen[ch] = data[k], true
		})
		if !same {
			return nil, errVaries
		}
		out[i] = all
	}
	i, err := g.scale(layer, x.sole && x.uses <= 1, out[0], out[1])
	if err != nil {
		return nil, err
	}
	out2, err := g.lies(i, x.shape, x.batch, o)
	return out2.like(x), err
}

// byChannel returns the numbers of c for the channels of a layer that has x in an order, if c has
// one for each place along the axis of the channels, or one in all.
func (g *graph) byChannel(c, x *value, layer int, o order) (all []float64, ok bool, err error) {
	channels := g.shape(layer)[0]
	shift := len(x.shape) - len(c.shape)
	if c.volume() != 1 {
		if len(o[0]) == 0 {
			return nil, false, nil
		}
		long := slices.DeleteFunc(slices.Clone(o[0]), func(a int) bool { return x.shape[a] == 1 })
		if len(long) != 1 || long[0] < shift || c.volume() != channels || c.shape[long[0]-shift] != channels {
			return nil, false, nil
		}
	}
	data, err := g.plain(c)
	if err != nil {
		return nil, false, err
	}
	if err := g.spend(channels); err != nil {
		return nil, false, err
	}
	all = make([]float64, channels)
	for i := range all {
		all[i] = data[min(i, len(data)-1)]
	}
	return all, true, nil
}

// fixed is op of v and a constant that a layer of its own gives.
func (g *graph) fixed(op string, v, c, shape *value, first bool) (*value, error) {
	layer := pairs[op]
	if layer == nil {
		return nil, fmt.Errorf("no %s of a constant and what depends on the image", op)
	}
	x, err := g.settle(v)
	if err != nil {
		return nil, err
	}
	o, ok := order{}, false
	if slices.Equal(x.shape, shape.shape) {
		o, ok = g.orderOf(x)
	}
	if !ok {
		o = usual(shape)
	}
	up, err := g.raise(x, shape)
	if err != nil {
		return nil, err
	}
	lx, err := g.along(up, o, shape.shape)
	if err != nil {
		return nil, err
	}
	if lx, err = g.upright(lx); err != nil {
		return nil, err
	}
	lc, err := g.constantAlong(c, o, shape.shape)
	if err != nil {
		return nil, err
	}
	from := []int{lx, lc}
	if first {
		from = []int{lc, lx}
	}
	i, err := g.append(step{layer: layer, from: from})
	if err != nil {
		return nil, err
	}
	out, err := g.lies(i, shape.shape, -1, o)
	if err != nil {
		return nil, err
	}
	out.batch = shape.batch
	return out.like(shape), nil
}

// raise gives v as many axes as shape has.
func (g *graph) raise(v, shape *value) (*value, error) {
	target := v.sizes()
	for len(target) < len(shape.shape) {
		target = append([]float64{1}, target...)
	}
	return g.reshape(v, target, true)
}

// constantAlong returns a layer that gives a constant in an order, as along does.
func (g *graph) constantAlong(c *value, o order, fine []int) (int, error) {
	up, err := g.raise(&value{shape: c.shape, batch: -1, c: c.c}, &value{shape: fine})
	if err != nil {
		return 0, err
	}
	if up, err = g.expand(up, widened(up.shape, o, fine)); err != nil {
		return 0, err
	}
	data, err := g.plain(up)
	if err != nil {
		return 0, err
	}
	out := make([]float64, len(data))
	walk(up.shape, o.strides(up.shape), func(k, at int) { out[at] = data[k] })
	return g.constantOf(o.dims(up.shape), out)
}
