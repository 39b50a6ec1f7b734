package onnx

import (
	"fmt"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/proto"
)

// maxInlined bounds how many nodes the functions of a file become.
const maxInlined = 1 << 16

// inline returns nodes with those of functions that the file brings in place of their calls.
func inline(nodes []*pb.NodeProto, functions map[string]*pb.FunctionProto) ([]*pb.NodeProto, error) {
	if len(functions) == 0 {
		return nodes, nil
	}
	in := inliner{functions: functions}
	err := in.add(nodes, func(name string) string { return name }, nil, 0)
	return in.out, err
}

// An inliner copies nodes.
type inliner struct {
	functions map[string]*pb.FunctionProto
	out       []*pb.NodeProto
	calls     int
}

// add copies nodes with other names, with attributes that are those of the call in place of those
// that refer to them.
func (in *inliner) add(nodes []*pb.NodeProto, name func(string) string, call map[string]*pb.AttributeProto, depth int) error {
	if depth == maxNesting {
		return fmt.Errorf("functions call each other %d deep", depth)
	}
	for _, n := range nodes {
		if len(in.out) >= maxInlined {
			return fmt.Errorf("functions become more than %d nodes", maxInlined)
		}
		c := &pb.NodeProto{Name: n.Name, OpType: n.OpType, Domain: n.Domain}
		for _, i := range n.GetInput() {
			c.Input = append(c.Input, name(i))
		}
		for _, o := range n.GetOutput() {
			c.Output = append(c.Output, name(o))
		}
		for _, a := range n.GetAttribute() {
			if ref := a.GetRefAttrName(); ref != "" && depth > 0 {
				given := call[ref]
				if given == nil { // left out, as the operator's own default
					continue
				}
				a = proto.Clone(given).(*pb.AttributeProto)
				a.Name = proto.String(nameOf(n, ref))
			}
			c.Attribute = append(c.Attribute, a)
		}
		f := in.functions[n.GetDomain()+"."+n.GetOpType()]
		if f == nil {
			in.out = append(in.out, c)
			continue
		}
		if err := in.expand(f, c, depth); err != nil {
			return fmt.Errorf("function %s: %w", formats.Quote(f.GetName()), err)
		}
	}
	return nil
}

// nameOf returns the name of the attribute of n that refers to ref.
func nameOf(n *pb.NodeProto, ref string) string {
	for _, a := range n.GetAttribute() {
		if a.GetRefAttrName() == ref {
			return a.GetName()
		}
	}
	return ref
}

// expand adds the nodes of f for a call.
func (in *inliner) expand(f *pb.FunctionProto, call *pb.NodeProto, depth int) error {
	if len(call.GetInput()) > len(f.GetInput()) || len(call.GetOutput()) > len(f.GetOutput()) {
		return fmt.Errorf("called with %d inputs for %d outputs, want at most %d and %d", len(call.GetInput()), len(call.GetOutput()), len(f.GetInput()), len(f.GetOutput()))
	}
	in.calls++
	prefix := fmt.Sprintf("%s/%d/", f.GetName(), in.calls)
	names := map[string]string{"": ""}
	for i, formal := range f.GetInput() {
		names[formal] = ""
		if i < len(call.GetInput()) {
			names[formal] = call.GetInput()[i]
		}
	}
	passes := make(map[string]string) // outputs that are inputs
	for i, formal := range f.GetOutput() {
		if i < len(call.GetOutput()) && call.GetOutput()[i] != "" {
			if from, ok := names[formal]; ok {
				passes[call.GetOutput()[i]] = from
				continue
			}
			names[formal] = call.GetOutput()[i]
		}
	}
	given := make(map[string]*pb.AttributeProto)
	for _, a := range f.GetAttributeProto() {
		given[a.GetName()] = a
	}
	for _, a := range call.GetAttribute() {
		given[a.GetName()] = a
	}
	err := in.add(f.GetNode(), func(name string) string {
		if to, ok := names[name]; ok {
			return to
		}
		return prefix + name
	}, given, depth+1)
	for to, from := range passes {
		in.out = append(in.out, &pb.NodeProto{OpType: proto.String("Identity"), Input: []string{from}, Output: []string{to}})
	}
	return err
}
