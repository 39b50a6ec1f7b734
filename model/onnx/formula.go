package onnx

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"advsweep/model"
)

// A formula is a function of one number x, made of a few operations.
type formula struct {
	// op is "x", "affine" (a·x + b), "pow" (to the b), "clip" (from a to b), "add", "mul", "above",
	// "where", or a row of unaries.
	op   string
	a, b float64
	args []*formula
	size int // operations, those that are shared counted each time
	// done is the layer that computes it of the numbers of a layer, plus 2. 0: none yet. A formula
	// is of one layer.
	done int
	// shared says that several values may be this formula, by way of a name that several nodes
	// take: what is computed of it then may not be changed for one of them.
	shared bool
}

// maxFormula is a few times what any way to write one of asFormulas takes.
const maxFormula = 64

// asFormulas are the functions that exporters write as formulas of several operators. The first
// that is near enough is taken.
var asFormulas = []model.Elementwise{
	model.GELU{}, model.GELU{Tanh: true}, model.Plain{Of: "silu"}, model.Plain{Of: "hardswish"}, model.Plain{Of: "mish"}, model.Plain{Of: "softplus"},
}

// knownFormulas names asFormulas, for messages.
func knownFormulas() string {
	var names []string
	for _, l := range asFormulas {
		name, _ := l.Function()
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

var errLongFormula = errors.New("a long formula")

func newFormula(op string, a, b float64, args ...*formula) (*formula, error) {
	f := &formula{op: op, a: a, b: b, args: args, size: 1}
	for _, arg := range args {
		f.size += arg.size
	}
	if f.size > maxFormula {
		return nil, errLongFormula
	}
	return f, nil
}

// eval returns f at x. Products are rounded, and sums after them, on every processor.
func (f *formula) eval(x float64) float64 {
	switch f.op {
	case "x":
		return x
	case "affine":
		return float64(f.a*f.args[0].eval(x)) + f.b
	case "pow":
		return math.Pow(f.args[0].eval(x), f.b)
	case "add":
		return f.args[0].eval(x) + f.args[1].eval(x)
	case "mul":
		return float64(f.args[0].eval(x) * f.args[1].eval(x))
	case "above": // 1 where x is above a, or for b -1 below it; kinks are nobody's concern
		return truth(f.b*f.args[0].eval(x) > f.b*f.a)
	case "where":
		if f.args[0].eval(x) != 0 {
			return f.args[1].eval(x)
		}
		return f.args[2].eval(x)
	case "clip":
		return min(max(f.args[0].eval(x), f.a), f.b)
	}
	return unaries[f.op].Value(f.args[0].eval(x))
}

// combines reports whether f takes x in more than one place, as all of asFormulas do that are no
// operators of their own.
func (f *formula) combines() bool {
	for len(f.args) == 1 {
		f = f.args[0]
	}
	return len(f.args) > 1
}

// known returns the one of asFormulas that f is, if any. Exporters write them in many orders and
// with rounded constants, so f is known by its values; the two forms of GELU differ by up to 5e-4.
func (f *formula) known() (model.Elementwise, bool) {
	const most = 1e-4
	if !f.combines() && f.size < 3 {
		return nil, false
	}
	for _, l := range asFormulas {
		off := 0.0
		for x := -8.0; x <= 8; x += 1.0 / 16 {
			if off = max(off, math.Abs(f.eval(x)-l.Value(x))); !(off <= most) { // or NaN
				break
			}
		}
		if off <= most {
			return l, true
		}
	}
	return nil, false
}

// settle computes v's formula and puts its zeros around it, so that v has numbers of layers alone.
// It changes v and returns it.
func (g *graph) settle(v *value) (*value, error) {
	if v.pads != nil {
		inner, err := g.settle(v.pads.v)
		if err != nil {
			return nil, err
		}
		out, err := g.pad(inner, "constant", 0, v.pads.pads, v.shape)
		if err != nil {
			return nil, err
		}
		v.src, v.idx, v.pads, v.sole = out.src, out.idx, nil, false
		return v, nil
	}
	if v.f == nil {
		return v, nil
	}
	layer, err := g.compute(v.f, v.src[0], v.sole && v.uses <= 1)
	if err != nil {
		return nil, err
	}
	v.sole = v.uses <= 1 && !v.f.shared && (v.sole || layer != v.src[0])
	v.src, v.f = []int{layer}, nil
	return v, nil
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

// pointwise returns v as numbers of one layer, of which a formula can be made, with its formula.
func (g *graph) pointwise(v *value) (*value, *formula, error) {
	if v.pads != nil || !g.single(v) {
		settled, err := g.settle(v)
		if err != nil {
			return nil, nil, err
		}
		if !g.single(settled) {
			if _, err := g.lay(settled, usual(settled), true); err != nil {
				return nil, nil, err
			}
		}
		v = settled
	}
	if v.f != nil {
		return v, v.f, nil
	}
	return v, &formula{op: "x", size: 1}, nil
}

// function returns op of each number of v, with up to two parameters.
func (g *graph) function(v *value, op string, a, b float64) (*value, error) {
	v, f, err := g.pointwise(v)
	if err != nil {
		return nil, err
	}
	out, err := g.apply(v, op, a, b, f)
	if !errors.Is(err, errLongFormula) {
		return out, err
	}
	if v, err = g.settle(v); err != nil {
		return nil, err
	}
	return g.apply(v, op, a, b, &formula{op: "x", size: 1})
}

// scalar returns w·v + b.
func (g *graph) scalar(v *value, w, b float64) (*value, error) {
	if s := w + b; s-s != 0 {
		return nil, fmt.Errorf("a factor %v and a summand %v, want finite ones", w, b)
	}
	v, f, err := g.pointwise(v)
	if err != nil {
		return nil, err
	}
	if f.op == "affine" {
		return g.apply(v, "affine", f.a*w, float64(f.b*w)+b, f.args[0])
	}
	return g.function(v, "affine", w, b)
}

// compute returns the layer that gives f of each element of x.
func (g *graph) compute(f *formula, x int, sole bool) (int, error) {
	if f.op == "x" {
		return x, nil
	}
	if f.done > 0 {
		return f.done - 2, nil
	}
	var layer int
	var err error
	if l, ok := f.known(); ok {
		layer, err = g.append(step{layer: l, from: []int{x}})
	} else {
		var in []int
		if f.op == "where" || f.op == "above" {
			return 0, fmt.Errorf("a choice by what depends on the image, within a formula that is none of %s", knownFormulas())
		}
		for _, arg := range f.args {
			i, err := g.compute(arg, x, sole)
			if err != nil {
				return 0, err
			}
			in = append(in, i)
		}
		switch f.op {
		case "affine":
			layer, err = g.uniform(in[0], sole && in[0] == x, f.a, f.b)
		case "add":
			layer, err = g.append(step{layer: model.Add{}, from: in})
		case "mul":
			layer, err = g.append(step{layer: model.Mul{}, from: in})
		case "pow":
			layer, err = g.append(step{layer: model.Pow{Power: f.b}, from: in})
		case "clip":
			layer, err = g.append(step{layer: clip(f.a, f.b), from: in})
		default:
			l, ok := unaries[f.op]
			if !ok {
				return 0, fmt.Errorf("%s of what depends on the image, within a formula that is none of %s", f.op, knownFormulas())
			}
			layer, err = g.append(step{layer: l, from: in})
		}
	}
	f.done = layer + 2
	return layer, err
}

// clip returns the layer that cuts numbers off at lo and hi. Bounds that are beyond all numbers of
// float32 are none.
func clip(lo, hi float64) model.Elementwise {
	if lo == 0 && hi >= math.MaxFloat32 {
		return model.ReLU{}
	}
	return model.Clip{Lo: max(lo, -math.MaxFloat64), Hi: min(hi, math.MaxFloat64)}
}

// uniform returns the layer that gives a·x + b.
func (g *graph) uniform(x int, sole bool, a, b float64) (int, error) {
	n := g.shape(x)[0]
	if err := g.spend(2 * n); err != nil {
		return 0, err
	}
	w, s := make([]float64, n), make([]float64, n)
	for i := range w {
		w[i], s[i] = a, b
	}
	return g.scale(x, sole, w, s)
}

// scale returns the layer that gives w·x + b by channel of the output x of a layer. If nothing else
// takes x that may be what x has as a bias, or a Scale, changed.
func (g *graph) scale(x int, sole bool, w, b []float64) (int, error) {
	if x >= 0 && sole && !g.steps[x].taken {
		switch s := &g.steps[x]; s.layer.(type) {
		case model.Scale:
			for i := range w {
				s.weight[i] *= w[i]
				s.bias[i] = float64(s.bias[i]*w[i]) + b[i]
			}
			return x, nil
		case model.Linear, model.Conv2D:
			if s.open && allOf(w, 1) {
				s.bias, s.open = b, false
				return x, nil
			}
		}
	}
	return g.append(step{layer: model.Scale{Weight: g.dense(w, len(w))}, from: []int{x}, name: g.unique("", "", "scale"), weight: w, bias: b})
}

// allOf reports whether all of data are x.
func allOf(data []float64, x float64) bool {
	for _, v := range data {
		if v != x {
			return false
		}
	}
	return true
}
