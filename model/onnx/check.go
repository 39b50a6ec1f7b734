package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
	"advsweep/model/onnx/internal/schema"
)

// A file may say one thing in two places: a node has inputs, and its operator says how many; a
// value is said to be of a type, and is made by a node of another. What is not whole in this sense
// is refused, also in parts that the logits do not need: whoever wrote it meant another network
// than the one that is read. That shapes fit is seen when the graph is converted.
//
// ONNX 1.23.2, docs/IR.md, and what its checker says of files.

// newestIR is the newest version of the format that is known here.
const newestIR = 14

// A checker looks at one file.
type checker struct {
	t *tensors
	// versions of the operator sets that the file imports, by domain. "ai.onnx" is "".
	opsets    map[string]int64
	functions map[string]*pb.FunctionProto
	inside    bool // in a function, whose attributes may be those of the call
	notes     *[]string
}

// note adds what is unusual, once.
func (c *checker) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(*c.notes, n) {
		*c.notes = append(*c.notes, n)
	}
}

// A scope has the types of the values that are there, 0 for one that is not known or no tensor.
type scope struct {
	types map[string]int32
	outer *scope // of the graph around it
}

func (s *scope) of(name string) (kind int32, ok bool) {
	for ; s != nil; s = s.outer {
		if kind, ok = s.types[name]; ok {
			return kind, true
		}
	}
	return 0, false
}

// add gives a name to a value of a type. A name is given once.
func (s *scope) add(name string, kind int32) error {
	if name == "" {
		return errors.New("a value without a name")
	}
	if _, ok := s.types[name]; ok {
		return fmt.Errorf("value %s: two of this name", formats.Quote(name))
	}
	s.types[name] = kind
	return nil
}

// check returns an error unless the file that p is of is whole, and notes of what is unusual.
func (t *tensors) check(p *pb.ModelProto) (notes []string, err error) {
	c := checker{t: t, opsets: make(map[string]int64), functions: make(map[string]*pb.FunctionProto), notes: &notes}
	switch v := p.GetIrVersion(); {
	case p.IrVersion == nil:
		return nil, errors.New("no version of the format (ir_version)")
	case v < 3 || v > newestIR+20:
		return nil, fmt.Errorf("version %d of the format (ir_version), want 3 to %d", v, newestIR)
	case v > newestIR:
		c.note("version %d of the format (ir_version) is newer than %d, the newest known here", v, newestIR)
	}
	for _, o := range p.GetOpsetImport() {
		d := domainOf(o.GetDomain())
		if v, ok := c.opsets[d]; ok && v != o.GetVersion() {
			return nil, fmt.Errorf("two operator sets of the domain %s", formats.Quote(d))
		}
		c.opsets[d] = o.GetVersion()
	}
	for _, f := range p.GetFunctions() {
		c.functions[domainOf(f.GetDomain())+"."+f.GetName()] = f
	}
	for _, f := range p.GetFunctions() {
		if err := c.function(f); err != nil {
			return nil, fmt.Errorf("function %s: %w", formats.Quote(f.GetName()), err)
		}
	}
	if p.GetGraph().GetName() == "" {
		c.note("its graph has no name, as ONNX wants one to have")
	}
	err = c.graph(p.GetGraph(), nil)
	if err == nil {
		c.idle(p.GetGraph())
	}
	return notes, err
}

// idle makes a note of inputs that nothing takes, and of nodes that take the image and that no
// output needs. They are not looked at any further.
func (c *checker) idle(g *pb.GraphProto) {
	initial := make(map[string]bool)
	for _, p := range g.GetInitializer() {
		initial[p.GetName()] = true
	}
	needed, moving := make(map[string]bool), make(map[string]bool)
	for _, o := range g.GetOutput() {
		needed[o.GetName()] = true
	}
	for _, n := range slices.Backward(g.GetNode()) {
		if slices.ContainsFunc(n.GetOutput(), func(o string) bool { return needed[o] }) {
			eachInput(n, func(name string) { needed[name] = true })
		}
	}
	for _, in := range g.GetInput() {
		if initial[in.GetName()] {
			continue
		}
		if moving[in.GetName()] = true; !needed[in.GetName()] {
			c.note("nothing that its outputs need takes the input %s", formats.Quote(in.GetName()))
		}
	}
	for _, n := range g.GetNode() {
		of := false
		eachInput(n, func(name string) { of = of || moving[name] })
		for _, o := range n.GetOutput() {
			moving[o] = of
		}
		if of && !slices.ContainsFunc(n.GetOutput(), func(o string) bool { return needed[o] }) {
			c.note("nodes that no output needs are not read, as %s %s", formats.Quote(opName(n)), formats.Quote(nodeName(n)))
			return
		}
	}
}

// eachInput calls f for all that a node takes, also within its graphs.
func eachInput(n *pb.NodeProto, f func(name string)) {
	for _, name := range n.GetInput() {
		f(name)
	}
	for _, a := range n.GetAttribute() {
		for _, in := range a.GetG().GetNode() {
			eachInput(in, f)
		}
		for _, o := range a.GetG().GetOutput() {
			f(o.GetName())
		}
	}
}

func domainOf(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

// function looks at the nodes of a function. What its calls give it is not known.
func (c *checker) function(f *pb.FunctionProto) error {
	in := *c
	in.inside = true
	if len(f.GetOpsetImport()) > 0 {
		in.opsets = make(map[string]int64)
		for _, o := range f.GetOpsetImport() {
			in.opsets[domainOf(o.GetDomain())] = o.GetVersion()
		}
	}
	s := &scope{types: make(map[string]int32)}
	for _, name := range f.GetInput() {
		if err := s.add(name, 0); err != nil {
			return err
		}
	}
	return in.nodes(f.GetNode(), s)
}

// graph looks at a graph within the values of outer, which has none of the main graph's.
func (c *checker) graph(g *pb.GraphProto, outer *scope) error {
	s := &scope{types: make(map[string]int32), outer: outer}
	inputs := make(map[string]*pb.ValueInfoProto)
	for _, in := range g.GetInput() {
		if err := s.add(in.GetName(), elemType(in)); err != nil {
			return err
		}
		inputs[in.GetName()] = in
	}
	for _, p := range g.GetInitializer() {
		fail := func(err error) error { return fmt.Errorf("tensor %s: %w", formats.Quote(p.GetName()), err) }
		if _, err := c.t.form(p); err != nil {
			return fail(err)
		}
		in := inputs[p.GetName()]
		if in == nil {
			if err := s.add(p.GetName(), p.GetDataType()); err != nil {
				return err
			}
			continue
		}
		// An input with a default value, as old files list all weights.
		delete(inputs, p.GetName())
		if kind := elemType(in); kind != 0 && kind != p.GetDataType() {
			return fail(fmt.Errorf("is %v, and said to be %v as an input", typeName(p.GetDataType()), typeName(kind)))
		}
		if shape := in.GetType().GetTensorType().GetShape(); shape != nil {
			fits := len(shape.GetDim()) == len(p.GetDims())
			for i := 0; fits && i < len(p.GetDims()); i++ {
				d := shape.GetDim()[i]
				fits = d.GetDimParam() != "" || d.GetDimValue() == p.GetDims()[i] || d.Value == nil
			}
			if !fits {
				return fail(fmt.Errorf("is of shape %v, and said to be of another as an input", p.GetDims()))
			}
		}
	}
	if err := c.nodes(g.GetNode(), s); err != nil {
		return err
	}
	for _, v := range g.GetValueInfo() {
		if err := c.said("value", v, s); err != nil {
			return err
		}
	}
	for _, o := range g.GetOutput() {
		if err := c.said("output", o, s); err != nil {
			return err
		}
		if outer == nil && o.GetType().GetTensorType() != nil && elemType(o) == 0 {
			return fmt.Errorf("output %s: a tensor of no type", formats.Quote(o.GetName()))
		}
		if _, ok := s.of(o.GetName()); !ok {
			return fmt.Errorf("output %s: nothing makes it", formats.Quote(o.GetName()))
		}
	}
	return nil
}

// said returns an error if v says another type of a value than it is of.
func (c *checker) said(what string, v *pb.ValueInfoProto, s *scope) error {
	said := elemType(v)
	if _, ok := pb.TensorProto_DataType_name[said]; !ok {
		return fmt.Errorf("%s %s: type %d, which there is not", what, formats.Quote(v.GetName()), said)
	}
	if kind, ok := s.of(v.GetName()); ok && kind != 0 && said != 0 && kind != said {
		return fmt.Errorf("%s %s: is %v, and said to be %v", what, formats.Quote(v.GetName()), typeName(kind), typeName(said))
	}
	return nil
}

// elemType returns the type of a tensor's elements, 0 if v is none.
func elemType(v *pb.ValueInfoProto) int32 { return v.GetType().GetTensorType().GetElemType() }

func typeName(kind int32) string { return pb.TensorProto_DataType(kind).String() }

// nodes looks at nodes in their order and adds what they make to s.
func (c *checker) nodes(all []*pb.NodeProto, s *scope) error {
	for _, n := range all {
		kinds, err := c.node(n, s)
		if err != nil {
			return fmt.Errorf("%s %s: %w", formats.Quote(opName(n)), formats.Quote(nodeName(n)), err)
		}
		for i, o := range n.GetOutput() {
			if o == "" {
				continue
			}
			if err := s.add(o, kinds[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// node returns the types of what n makes.
func (c *checker) node(n *pb.NodeProto, s *scope) ([]int32, error) {
	kinds := make([]int32, len(n.GetOutput()))
	in := make([]int32, len(n.GetInput()))
	for i, name := range n.GetInput() {
		if name == "" {
			continue
		}
		var ok bool
		if in[i], ok = s.of(name); !ok {
			return nil, fmt.Errorf("takes %s, which nothing before it makes", formats.Quote(name))
		}
	}
	if err := c.attributes(n.GetAttribute(), s); err != nil {
		return nil, err
	}
	domain := domainOf(n.GetDomain())
	f := c.functions[domain+"."+n.GetOpType()]
	if _, ok := c.opsets[domain]; !ok && f == nil {
		return nil, fmt.Errorf("is of the domain %s, of which the file names no operator set", formats.Quote(domain))
	}
	if f != nil || !slices.Contains(schema.Domains, domain) {
		return kinds, nil
	}
	op := schema.Of(domain, n.GetOpType(), c.opsets[domain])
	if op == nil {
		// Others have some beside the standard ones.
		if operators[opName(n)] != nil && schema.Of(domain, n.GetOpType(), math.MaxInt64) == nil {
			return kinds, nil
		}
		return nil, fmt.Errorf("is no operator of version %d", c.opsets[domain])
	}
	if err := counts(n, op); err != nil {
		return nil, err
	}
	if err := c.ownAttributes(n, op); err != nil {
		return nil, err
	}
	bound := make(map[string]int32) // types by parameter
	for i, kind := range in {
		p, _ := schema.At(op.Inputs, i)
		may := op.Types(p.Type)
		switch {
		case n.GetInput()[i] == "" && !p.Optional && !p.Many:
			return nil, fmt.Errorf("no input %d", i)
		case kind == 0 || len(may) == 0:
			continue
		case !takes(may, kind):
			return nil, fmt.Errorf("input %d is %v, which it does not take", i, typeName(kind))
		}
		if p.Any {
			continue
		}
		if have := bound[p.Type]; have != 0 && have != kind {
			return nil, fmt.Errorf("input %d is %v, and another that must be of its type is %v", i, typeName(kind), typeName(have))
		}
		bound[p.Type] = kind
	}
	for i := range kinds {
		p, _ := schema.At(op.Outputs, i)
		if made := makes[n.GetOpType()]; made != nil && i == 0 {
			kinds[i] = made(n, bound[p.Type])
		} else if may := op.Types(p.Type); len(may) == 1 {
			kinds[i] = int32(may[0])
		} else if !p.Any {
			kinds[i] = bound[p.Type]
		}
	}
	return kinds, nil
}

// takes reports whether a type is among those that an operator may take. Exporters write bfloat16
// where a version knew float16 alone.
func takes(may []int, kind int32) bool {
	if pb.TensorProto_DataType(kind) == pb.TensorProto_BFLOAT16 && slices.Contains(may, int(pb.TensorProto_FLOAT16)) {
		return true
	}
	return slices.Contains(may, int(kind))
}

// counts returns an error unless n has as many inputs and outputs as its operator.
func counts(n *pb.NodeProto, op *schema.Op) error {
	for _, c := range []struct {
		what string
		n    int
		want [2]int
	}{{"inputs", len(n.GetInput()), op.In}, {"outputs", len(n.GetOutput()), op.Out}} {
		if c.n < c.want[0] || c.n > c.want[1] {
			return fmt.Errorf("%d %s, want %d to %d", c.n, c.what, c.want[0], c.want[1])
		}
	}
	return nil
}

// legacy are attributes of operator sets before those that are read. Old exporters left them where
// they say nothing any more, or what they always said.
var legacy = []string{"consumed_inputs", "broadcast", "axis", "is_test", "spatial"}

// ownAttributes returns an error unless all attributes of n are those of its operator, and all are
// there that must be.
func (c *checker) ownAttributes(n *pb.NodeProto, op *schema.Op) error {
	all := n.GetAttribute()
	for _, a := range all {
		i := slices.IndexFunc(op.Attributes, func(s schema.Attribute) bool { return s.Name == a.GetName() })
		switch {
		case i < 0 && slices.Contains(legacy, a.GetName()):
			c.note("attribute %s of %s, which operator sets from %d on have not, says nothing", a.GetName(), opName(n), minOpset)
		case i < 0:
			return fmt.Errorf("attribute %s, which it has not", formats.Quote(a.GetName()))
		case a.Type != nil && int(a.GetType()) != op.Attributes[i].Type:
			return fmt.Errorf("attribute %s is %v, want %v", a.GetName(), a.GetType(), pb.AttributeProto_AttributeType(op.Attributes[i].Type))
		}
	}
	for _, s := range op.Attributes {
		if s.Required && !slices.ContainsFunc(all, func(a *pb.AttributeProto) bool { return a.GetName() == s.Name }) {
			return fmt.Errorf("no attribute %s", s.Name)
		}
	}
	return nil
}

// attributes returns an error unless each of all has a name of its own and one value of its type.
func (c *checker) attributes(all []*pb.AttributeProto, s *scope) error {
	seen := make(map[string]bool)
	for _, a := range all {
		name := a.GetName()
		switch {
		case name == "":
			return errors.New("an attribute without a name")
		case seen[name]:
			return fmt.Errorf("two attributes %s", formats.Quote(name))
		case a.GetRefAttrName() != "" && !c.inside:
			return fmt.Errorf("attribute %s is that of a call, outside a function", formats.Quote(name))
		}
		seen[name] = true
		fail := func(err error) error { return fmt.Errorf("attribute %s: %w", formats.Quote(name), err) }
		if a.GetRefAttrName() == "" {
			if err := oneValue(a); err != nil {
				return fail(err)
			}
		}
		for _, t := range append(slices.Clone(a.GetTensors()), a.GetT()) {
			if t == nil {
				continue
			}
			if _, err := c.t.form(t); err != nil {
				return fail(err)
			}
		}
		for _, g := range append(slices.Clone(a.GetGraphs()), a.GetG()) {
			if g == nil {
				continue
			}
			if err := c.graph(g, s); err != nil {
				return fail(err)
			}
		}
	}
	return nil
}

// oneValue returns an error if a has values of other types than its own, or none where it needs
// one.
func oneValue(a *pb.AttributeProto) error {
	if a.Type == nil { // as before types were said
		return nil
	}
	have := map[pb.AttributeProto_AttributeType]bool{
		pb.AttributeProto_FLOAT: a.F != nil, pb.AttributeProto_INT: a.I != nil, pb.AttributeProto_STRING: a.S != nil, pb.AttributeProto_TENSOR: a.T != nil,
		pb.AttributeProto_GRAPH: a.G != nil, pb.AttributeProto_SPARSE_TENSOR: a.SparseTensor != nil, pb.AttributeProto_TYPE_PROTO: a.Tp != nil,
		pb.AttributeProto_FLOATS: len(a.Floats) > 0, pb.AttributeProto_INTS: len(a.Ints) > 0, pb.AttributeProto_STRINGS: len(a.Strings) > 0, pb.AttributeProto_TENSORS: len(a.Tensors) > 0,
		pb.AttributeProto_GRAPHS: len(a.Graphs) > 0, pb.AttributeProto_SPARSE_TENSORS: len(a.SparseTensors) > 0, pb.AttributeProto_TYPE_PROTOS: len(a.TypeProtos) > 0,
	}
	if _, ok := have[a.GetType()]; !ok {
		return fmt.Errorf("type %v, which there is not", a.GetType())
	}
	for kind, is := range have {
		if is && kind != a.GetType() {
			return fmt.Errorf("is said to be %v, and has a value of another type", a.GetType())
		}
	}
	single := a.GetType() < pb.AttributeProto_FLOATS || a.GetType() == pb.AttributeProto_SPARSE_TENSOR || a.GetType() == pb.AttributeProto_TYPE_PROTO
	if single && !have[a.GetType()] {
		return fmt.Errorf("is %v, and has no value", a.GetType())
	}
	return nil
}

// makes are the types of the first output of operators that attributes tell it of, by name. bound
// is that of the inputs, or 0.
var makes = map[string]func(n *pb.NodeProto, bound int32) int32{
	"Cast":            byAttribute("to", 0),
	"EyeLike":         byAttribute("dtype", 0),
	"RandomNormal":    byAttribute("dtype", pb.TensorProto_FLOAT),
	"RandomUniform":   byAttribute("dtype", pb.TensorProto_FLOAT),
	"Bernoulli":       byAttribute("dtype", 0),
	"ConstantOfShape": byTensor(pb.TensorProto_FLOAT),
	"Constant":        byTensor(0),
	"QuantizeLinear": func(n *pb.NodeProto, bound int32) int32 {
		if bound != 0 {
			return bound
		}
		return byAttribute("output_dtype", 0)(n, 0)
	},
}

// byAttribute is the type that an attribute has the number of.
func byAttribute(name string, otherwise pb.TensorProto_DataType) func(*pb.NodeProto, int32) int32 {
	return func(n *pb.NodeProto, bound int32) int32 {
		for _, a := range n.GetAttribute() {
			if a.GetName() == name {
				return int32(a.GetI())
			}
		}
		return max(bound, int32(otherwise))
	}
}

// byTensor is the type of the value of a constant.
func byTensor(otherwise pb.TensorProto_DataType) func(*pb.NodeProto, int32) int32 {
	return func(n *pb.NodeProto, _ int32) int32 {
		for _, a := range n.GetAttribute() {
			switch a.GetName() {
			case "value":
				return a.GetT().GetDataType()
			case "value_float", "value_floats":
				return int32(pb.TensorProto_FLOAT)
			case "value_int", "value_ints":
				return int32(pb.TensorProto_INT64)
			case "value_string", "value_strings":
				return int32(pb.TensorProto_STRING)
			}
		}
		return int32(otherwise)
	}
}
