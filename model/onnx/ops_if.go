package onnx

import (
	"fmt"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

var _ = registerMany(map[string]operator{"If": (*graph).opIf})

// countUses counts what nodes take, also those of graphs within them.
func (g *graph) countUses(nodes []*pb.NodeProto, depth int) {
	for _, n := range nodes {
		for _, in := range n.GetInput() {
			g.uses[in]++
		}
		for _, a := range n.GetAttribute() {
			t := a.GetT()
			g.double = g.double || t.GetDataType() == int32(pb.TensorProto_DOUBLE) && len(t.GetDims()) > 1
			if depth < maxNesting && a.GetG() != nil {
				g.countUses(a.GetG().GetNode(), depth+1)
				for _, o := range a.GetG().GetOutput() {
					g.uses[o.GetName()]++
				}
			}
		}
	}
}

// opIf is the branch that a constant chooses.
func (g *graph) opIf(n *node) ([]*value, error) {
	n.ignore("then_branch", "else_branch")
	if n.has(0) && n.in[0].c == nil {
		return nil, fmt.Errorf("chooses by what depends on the image, want one way for all images")
	}
	on, err := n.one(0, "the condition", 0)
	if err != nil {
		return nil, err
	}
	which := "else_branch"
	if on != 0 {
		which = "then_branch"
	}
	branch := n.attribute(which, pb.AttributeProto_GRAPH).GetG()
	if n.err != nil || branch == nil {
		return nil, fmt.Errorf("no %s", which)
	}
	for _, t := range branch.GetInitializer() {
		v, err := constantOf(t)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", formats.Quote(t.GetName()), err)
		}
		if err := g.define(t.GetName(), v); err != nil {
			return nil, err
		}
	}
	for _, p := range branch.GetNode() {
		all, err := g.run(p)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", formats.Quote(opName(p)), formats.Quote(nodeName(p)), err)
		}
		for i, o := range p.GetOutput() {
			if o == "" {
				continue
			}
			var v *value
			if i < len(all) && all[i] != nil {
				one := *all[i]
				v = &one
			}
			if err := g.define(o, v); err != nil {
				return nil, err
			}
		}
	}
	var out []*value
	for _, o := range branch.GetOutput() {
		v, ok := g.values[o.GetName()]
		if !ok || v == nil {
			return nil, fmt.Errorf("its output %s is made by nothing", formats.Quote(o.GetName()))
		}
		out = append(out, v)
	}
	return out, nil
}
