package onnx

import (
	"math"
	"slices"
	"strings"
	"testing"

	"advsweep/model"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/proto"
)

// value is a tensor's type and, if dims is not nil, its shape.
func valueOf(name string, kind pb.TensorProto_DataType, dims ...int64) *pb.ValueInfoProto {
	t := &pb.TypeProto_Tensor{ElemType: proto.Int32(int32(kind))}
	if dims != nil {
		t.Shape = &pb.TensorShapeProto{}
	}
	for _, d := range dims {
		t.Shape.Dim = append(t.Shape.Dim, &pb.TensorShapeProto_Dimension{Value: &pb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &pb.ValueInfoProto{Name: &name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{TensorType: t}}}
}

// Files in which one thing is wrong that the logits may not need, a row for each kind that
// scripts/zoo/mutate.py found to be read and onnxruntime or ONNX's checker refuses. Each was read
// before.
func TestONNXMalformed(t *testing.T) {
	flat := func() *pb.NodeProto { return nodeOf("Flatten", "x", "f", integer("axis", 1)) }
	fc := func() *pb.NodeProto { return nodeOf("Gemm", "f w", "y", integer("transA", 0)) }
	// The file with one thing changed.
	with := func(change func(m *pb.ModelProto)) sketch { return sketch{[]*pb.NodeProto{flat(), fc()}, change} }
	// The file with one node more.
	more := func(n *pb.NodeProto) sketch { return sketch{[]*pb.NodeProto{flat(), n, fc()}, nil} }
	// The file with one attribute of fc more.
	attribute := func(a ...*pb.AttributeProto) sketch {
		return with(func(m *pb.ModelProto) { m.Graph.Node[1].Attribute = append(m.Graph.Node[1].Attribute, a...) })
	}
	named := func(name string, kind pb.AttributeProto_AttributeType) *pb.AttributeProto {
		return &pb.AttributeProto{Name: &name, Type: &kind}
	}
	second := func(domain string, version int64) sketch {
		return with(func(m *pb.ModelProto) {
			m.OpsetImport = append(m.OpsetImport, &pb.OperatorSetIdProto{Domain: &domain, Version: &version})
		})
	}
	both := integer("transB", 0)
	both.Ints = []int64{1}
	call := integer("transB", 0)
	call.I, call.RefAttrName = nil, proto.String("other")
	if m, err := model.Decode("f.onnx", with(nil).bytes(t)); err != nil || len(m.Notes) > 0 {
		t.Fatalf("without a mistake: %v, %v", m, err)
	}
	for _, c := range []struct {
		name string
		sketch
		want string
	}{
		{"no version", with(func(m *pb.ModelProto) { m.IrVersion = nil }), "no version of the format (ir_version)"},
		{"an old version", with(func(m *pb.ModelProto) { m.IrVersion = proto.Int64(2) }), "version 2 of the format (ir_version), want 3 to 14"},
		{"a version that there is not", with(func(m *pb.ModelProto) { m.IrVersion = proto.Int64(99) }), "version 99 of the format (ir_version), want 3 to 14"},
		{"two operator sets", second("ai.onnx", 13), `two operator sets of the domain ""`},
		{"a domain of no operator set", with(func(m *pb.ModelProto) {
			m.Graph.Node = append(m.Graph.Node, &pb.NodeProto{OpType: proto.String("Toy"), Domain: proto.String("toy"), Output: []string{"t"}})
		}),
			"toy.Toy t: is of the domain toy, of which the file names no operator set"},

		{"an input without a name", with(func(m *pb.ModelProto) { m.Graph.Input = append(m.Graph.Input, valueOf("", pb.TensorProto_FLOAT, 2)) }), "a value without a name"},
		{"an input twice", with(func(m *pb.ModelProto) { m.Graph.Input = append(m.Graph.Input, valueOf("z", 1, 2), valueOf("z", 1, 2)) }), "value z: two of this name"},
		{"weights of another type as an input", with(func(m *pb.ModelProto) {
			m.Graph.Input = append(m.Graph.Input, valueOf("w", pb.TensorProto_INT64, 16, 4))
		}), "tensor w: is FLOAT, and said to be INT64 as an input"},
		{"weights of another shape as an input", with(func(m *pb.ModelProto) {
			m.Graph.Input = append(m.Graph.Input, valueOf("w", pb.TensorProto_FLOAT, 4, 16))
		}), "tensor w: is of shape [16 4], and said to be of another as an input"},
		{"an output of another type", with(func(m *pb.ModelProto) { m.Graph.Output[0].Type.GetTensorType().ElemType = proto.Int32(7) }), "output y: is FLOAT, and said to be INT64"},
		{"an output of a type that there is not", with(func(m *pb.ModelProto) { m.Graph.Output[0].Type.GetTensorType().ElemType = proto.Int32(77) }), "output y: type 77, which there is not"},
		{"an output of no type", with(func(m *pb.ModelProto) { m.Graph.Output[0].Type.GetTensorType().ElemType = proto.Int32(0) }), "output y: a tensor of no type"},
		{"a value that is said to be of another type", with(func(m *pb.ModelProto) {
			m.Graph.ValueInfo = append(m.Graph.ValueInfo, valueOf("f", pb.TensorProto_INT64))
		}), "value f: is FLOAT, and said to be INT64"},

		{"a tensor that nothing takes, cut", with(func(m *pb.ModelProto) { m.Graph.Initializer[1].FloatData = m.Graph.Initializer[1].FloatData[1:] }), "tensor k: 7 elements of 7 in the field for FLOAT, want 8"},
		{"a tensor of a type that there is not", with(func(m *pb.ModelProto) { m.Graph.Initializer[1].DataType = proto.Int32(77) }), "tensor k: type 77, want one that there is"},

		{"an operator that there is not", more(nodeOf("Nothing", "x", "aside")), "Nothing aside: is no operator of version 17"},
		{"an operator that came later", sketch{[]*pb.NodeProto{flat(), nodeOf("Gelu", "f", "g"), nodeOf("Gemm", "g w", "y")}, nil}, "Gelu g: is no operator of version 17"},
		{"an input that nothing makes", more(nodeOf("Relu", "nowhere", "aside")), "Relu aside: takes nowhere, which nothing before it makes"},
		{"a node in front of what it takes", sketch{[]*pb.NodeProto{flat(), nodeOf("Relu", "y", "aside"), fc()}, nil}, "Relu aside: takes y, which nothing before it makes"},
		{"two values of a name", more(nodeOf("Relu", "x", "k")), "value k: two of this name"},
		{"an input too many", more(nodeOf("Transpose", "x f", "aside")), "Transpose aside: 2 inputs, want 1 to 1"},
		{"an unnamed input too many", with(func(m *pb.ModelProto) { m.Graph.Node[0].Input = []string{"x", ""} }), "Flatten f: 2 inputs, want 1 to 1"},
		{"an input too few", more(nodeOf("Add", "x", "aside")), "Add aside: 1 inputs, want 2 to 2"},
		{"an input left out", with(func(m *pb.ModelProto) {
			m.Graph.Node = append(m.Graph.Node, &pb.NodeProto{OpType: proto.String("Add"), Input: []string{"x", ""}, Output: []string{"aside"}})
		}), "Add aside: no input 1"},
		{"an output too many", with(func(m *pb.ModelProto) { m.Graph.Node[0].Output = []string{"f", "more"} }), "Flatten f: 2 outputs, want 1 to 1"},
		{"inputs of two types", more(nodeOf("Add", "x i", "aside")), "Add aside: input 1 is INT64, and another that must be of its type is FLOAT"},
		{"an input of a type that is not taken", more(nodeOf("Reshape", "x c", "aside")), "Reshape aside: input 1 is FLOAT, which it does not take"},
		{"weights of another type", with(func(m *pb.ModelProto) {
			w := m.Graph.Initializer[0]
			w.DataType, w.FloatData, w.Int32Data = proto.Int32(6), nil, make([]int32, 64)
		}), "Gemm y: input 1 is INT32, and another that must be of its type is FLOAT"},

		{"an attribute twice", attribute(integer("transB", 0), integer("transB", 0)), "Gemm y: two attributes transB"},
		{"an attribute of no name", more(nodeOf("Relu", "x", "aside", integer("", 0))), "Relu aside: an attribute without a name"},
		{"an attribute of two values", attribute(both), "Gemm y: attribute transB: is said to be INT, and has a value of another type"},
		{"an attribute of no value", attribute(named("transB", pb.AttributeProto_INT)), "Gemm y: attribute transB: is INT, and has no value"},
		{"an attribute of a type that there is not", with(func(m *pb.ModelProto) {
			m.Graph.Node = append(m.Graph.Node, nodeOf("Relu", "x", "aside", named("alpha", 55)))
		}), "Relu aside: attribute alpha: type 55, which there is not"},
		{"an attribute of a call", more(nodeOf("Gemm", "f w", "aside", call)), "Gemm aside: attribute transB is that of a call, outside a function"},
		{"an attribute that an operator has not", more(nodeOf("Relu", "x", "aside", integer("alpha", 1))), "Relu aside: attribute alpha, which it has not"},
		{"an attribute of another type", more(nodeOf("Concat", "x", "aside", ints("axis", 1))), "Concat aside: attribute axis is INTS, want INT"},
		{"no attribute that must be there", more(nodeOf("Concat", "x", "aside")), "Concat aside: no attribute axis"},
		{"a flag that is none", sketch{[]*pb.NodeProto{nodeOf("Conv", "x k", "v"), nodeOf("ReduceMean", "v", "m", ints("axes", 2, 3), integer("keepdims", 3)), nodeOf("Flatten", "m", "y")}, nil},
			"ReduceMean m: keepdims 3, want 0 or 1"},
		{"an empty list", sketch{[]*pb.NodeProto{nodeOf("Conv", "x k", "v", ints("strides")), nodeOf("GlobalAveragePool", "v", "p"), nodeOf("Flatten", "p", "y")}, nil}, "Conv v: strides [], want 2 numbers"},
		{"an order of axes from behind", sketch{[]*pb.NodeProto{nodeOf("Transpose", "x", "t", ints("perm", 0, 1, 3, -2)), nodeOf("Flatten", "t", "f"), nodeOf("MatMul", "f w", "y")}, nil}, "Transpose t: perm [0 1 3 -2], want 0 to 3"},
		{"a ratio that is none", sketch{[]*pb.NodeProto{flat(), nodeOf("Dropout", "f s", "d"), nodeOf("MatMul", "d w", "y")},
			func(m *pb.ModelProto) { m.Graph.Initializer[3].FloatData[0] = float32(math.NaN()) }}, "Dropout d: ratio NaN, want 0 to 1"},
		{"a start that is no list", sketch{[]*pb.NodeProto{nodeOf("Slice", "x q q2 q3", "v"), nodeOf("Flatten", "v", "f"), nodeOf("MatMul", "f w", "y")}, func(m *pb.ModelProto) {
			for name, v := range map[string]int64{"q": 0, "q2": 9} {
				m.Graph.Initializer = append(m.Graph.Initializer, &pb.TensorProto{Name: &name, DataType: proto.Int32(7), Int64Data: []int64{v}})
			}
			m.Graph.Initializer = append(m.Graph.Initializer, &pb.TensorProto{Name: proto.String("q3"), DataType: proto.Int32(7), Dims: []int64{1}, Int64Data: []int64{2}})
		}}, "Slice v: starts of shape [], want them in a row"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := model.Decode("f.onnx", c.bytes(t))
			wantError(t, err, "model: f.onnx: ", c.want)
		})
	}
}

// What is merely unusual is read, and told.
func TestONNXUnusual(t *testing.T) {
	with := func(change func(m *pb.ModelProto)) sketch {
		return sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "m"), nodeOf("Add", "m s", "y")}, change}
	}
	for _, c := range []struct {
		name string
		sketch
		want string // "": no note
	}{
		{"nothing", with(nil), ""},
		{"a new version", with(func(m *pb.ModelProto) { m.IrVersion = proto.Int64(15) }), "version 15 of the format (ir_version) is newer than 14, the newest known here"},
		{"no name", with(func(m *pb.ModelProto) { m.Graph.Name = nil }), "its graph has no name"},
		{"an operator set twice", with(func(m *pb.ModelProto) { m.OpsetImport = append(m.OpsetImport, m.OpsetImport[0]) }), ""},
		{"an input that nothing takes", with(func(m *pb.ModelProto) { m.Graph.Input = append(m.Graph.Input, valueOf("more", 1, 2)) }), "nothing that its outputs need takes the input more"},
		{"a node that no output needs", with(func(m *pb.ModelProto) {
			m.Graph.Node = append(m.Graph.Node, nodeOf("Transpose", "x", "aside", ints("perm", 0, 0, 7)))
		}), "nodes that no output needs are not read, as Transpose aside"},
		{"a constant that no output needs", with(func(m *pb.ModelProto) { m.Graph.Node = append(m.Graph.Node, nodeOf("Neg", "s", "aside")) }), ""},
		{"an attribute of old", with(func(m *pb.ModelProto) { m.Graph.Node[2].Attribute = []*pb.AttributeProto{integer("axis", 1)} }), "attribute axis of Add, which operator sets from 7 on have not, says nothing"},
		{"no images", with(func(m *pb.ModelProto) {
			m.Graph.Input[0].Type.GetTensorType().Shape.Dim[0].Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: 0}
		}), "it says that it takes 0 images at a time, which is taken for any number"},
		{"images that are turned first", sketch{[]*pb.NodeProto{nodeOf("Transpose", "x", "t", ints("perm", 0, 3, 1, 2)), nodeOf("Flatten", "t", "f"), nodeOf("MatMul", "f w", "y")}, nil}, "images [N 1 4 4] are taken as N×H×W×C, as a Transpose makes N×C×H×W of them"},
		{"an output of columns", sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "m"), nodeOf("Transpose", "m", "y", ints("perm", 1, 0))}, nil}, "its output y is [4 N]: the images are its axis 1, and not its first"},
		{"weights listed as an input", with(func(m *pb.ModelProto) { m.Graph.Input = append(m.Graph.Input, valueOf("w", 1, 16, 4)) }), ""},
		{"an output of no shape", with(func(m *pb.ModelProto) { m.Graph.Output[0] = valueOf("y", 1) }), ""},
		{"an output of which nothing is said", with(func(m *pb.ModelProto) { m.Graph.Output[0].Type = nil }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := model.Decode("f.onnx", c.bytes(t))
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(m.Notes) > 0 || c.want != "" && !slices.ContainsFunc(m.Notes, func(n string) bool { return strings.HasPrefix(n, c.want) }) {
				t.Errorf("notes %q, want %q", m.Notes, c.want)
			}
		})
	}
}
