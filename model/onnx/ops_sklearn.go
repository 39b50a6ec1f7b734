package onnx

import (
	"errors"
	"fmt"

	"advsweep/model/internal/formats"
)

// Operators of scikit-learn's models, of the domain ai.onnx.ml.
var _ = registerMany(map[string]operator{"ai.onnx.ml.LinearClassifier": (*graph).opLinearClassifier})

var _ = register(map[string]func(*graph, *node) (*value, error){
	"ai.onnx.ml.Scaler": (*graph).opScaler, "ai.onnx.ml.Normalizer": (*graph).opNormalizer, "ai.onnx.ml.LinearRegressor": (*graph).opLinearRegressor,
})

func init() {
	for _, name := range []string{"TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "SVMClassifier", "SVMRegressor"} {
		why := refused[name]
		if why == "" {
			why = "is a support vector machine of kernels, want a linear one"
		}
		registerMany(map[string]operator{"ai.onnx.ml." + name: func(*graph, *node) ([]*value, error) { return nil, errors.New(why) }})
	}
}

// coefficients returns x·Wᵀ + b for attributes coefficients [out, in] and intercepts [out].
func (g *graph) coefficients(n *node, out int) (*value, error) {
	w, b := n.floats("coefficients"), n.floats("intercepts")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) != 2 {
		return nil, fmt.Errorf("of %v, want [N, I]", v)
	}
	in := v.shape[1]
	if out == 0 {
		out = max(1, len(w)/in)
	}
	if len(w) != in*out || b != nil && len(b) != out {
		return nil, fmt.Errorf("%d coefficients and %d intercepts for %v", len(w), len(b), v)
	}
	wt, err := g.swap(known([]int{out, in}, w, false))
	if err != nil {
		return nil, err
	}
	x, err := g.matmul(n, v, wt)
	if err != nil || b == nil {
		return x, err
	}
	return g.binary("Add", x, known([]int{out}, b, false))
}

// opLinearClassifier gives scores, its second output. The first one is a class, which nothing of an
// image's logits is made of.
func (g *graph) opLinearClassifier(n *node) ([]*value, error) {
	n.ignore("classlabels_ints", "classlabels_strings", "multi_class")
	classes := max(len(n.integers("classlabels_ints")), len(n.attributeStrings("classlabels_strings")))
	post := n.text("post_transform", "NONE")
	x, err := g.coefficients(n, 0)
	if err != nil {
		return nil, err
	}
	if got := x.shape[1]; got == 1 && classes == 2 { // of two classes, the second one's score y
		zeros := []int32{-1, x.places()[0]}
		if x, err = g.settle(x); err != nil {
			return nil, err
		}
		zeros[1] = x.places()[0]
		x = &value{shape: []int{1, 2}, batch: x.batch, src: x.src, idx: zeros}
	}
	if classes > 0 && x.shape[1] != classes {
		return nil, fmt.Errorf("%d scores for %d classes", x.shape[1], classes)
	}
	switch post {
	case "NONE":
	case "SOFTMAX", "LOGISTIC":
		g.notes = append(g.notes, fmt.Sprintf("%s of LinearClassifier is left out", post))
	default:
		return nil, fmt.Errorf("post_transform %s, want NONE, SOFTMAX or LOGISTIC", formats.Quote(post))
	}
	return []*value{nil, x}, nil
}

func (g *graph) opLinearRegressor(n *node) (*value, error) {
	n.ignore("post_transform")
	return g.coefficients(n, int(n.integer("targets", 1)))
}

// opScaler is (x - offset)·scale.
func (g *graph) opScaler(n *node) (*value, error) {
	offset, scale := n.floats("offset"), n.floats("scale")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) == 0 {
		return nil, fmt.Errorf("of %v, want [N, I]", v)
	}
	size := v.shape[len(v.shape)-1]
	for _, p := range [][]float64{offset, scale} {
		if len(p) != 1 && len(p) != size {
			return nil, fmt.Errorf("%d offsets and %d scales for %v", len(offset), len(scale), v)
		}
	}
	if v, err = g.binary("Sub", v, known([]int{len(offset)}, offset, false)); err != nil {
		return nil, err
	}
	return g.binary("Mul", v, known([]int{len(scale)}, scale, false))
}

// opNormalizer divides by a norm of the last axis.
func (g *graph) opNormalizer(n *node) (*value, error) {
	how := n.text("norm", "MAX")
	by := map[string]reduction{"L1": reductions["ReduceL1"], "L2": reductions["ReduceL2"], "MAX": {before: "Abs", by: "max"}}
	r, ok := by[how]
	if !ok {
		return nil, fmt.Errorf("norm %s, want MAX, L1 or L2", formats.Quote(how))
	}
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	if len(v.shape) == 0 {
		return nil, fmt.Errorf("of %v, want [N, I]", v)
	}
	norm, err := g.step(v, r.before)
	if err != nil {
		return nil, err
	}
	if norm, err = g.reduce(norm, []int{len(v.shape) - 1}, r.by); err != nil {
		return nil, err
	}
	if norm, err = g.step(norm, r.behind); err != nil {
		return nil, err
	}
	return g.binary("Div", v, norm)
}

// attributeStrings returns an attribute of texts.
func (n *node) attributeStrings(name string) [][]byte {
	n.asked[name] = true
	for _, a := range n.GetAttribute() {
		if a.GetName() == name {
			return a.GetStrings()
		}
	}
	return nil
}
