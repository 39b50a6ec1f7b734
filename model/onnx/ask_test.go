package onnx

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/proto"
)

// load writes s as a file and reads it with what ask says.
func load(t *testing.T, s sketch, ask model.Ask) (*model.Model, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.onnx")
	if err := os.WriteFile(path, s.bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return model.LoadAsking(path, "", ask)
}

// A file that leaves rows and columns free takes those that it is asked with, and without says that
// they are wanted.
func TestFreeSize(t *testing.T) {
	s := sketch{[]*pb.NodeProto{nodeOf("Conv", "x k", "a"), nodeOf("GlobalAveragePool", "a", "y")}, func(m *pb.ModelProto) {
		dims := m.Graph.Input[0].Type.GetTensorType().Shape.Dim
		dims[2].Value, dims[3].Value = nil, nil
	}}
	_, err := load(t, s, model.Ask{})
	var free *model.FreeSizeError
	if !errors.As(err, &free) || free.Channels != 1 {
		t.Fatalf("error %v, want one that asks for images of 1 channel", err)
	}
	m, err := load(t, s, model.Ask{Image: []int{1, 6, 5}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 6, 5}; !slices.Equal(m.Input, want) {
		t.Errorf("input %v, want %v", m.Input, want)
	}
}

// Of several outputs the one that is asked for is taken, and Source tells which.
func TestOutput(t *testing.T) {
	s := sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "y"), nodeOf("Neg", "y", "z")}, func(m *pb.ModelProto) {
		m.Graph.Output = append(m.Graph.Output, &pb.ValueInfoProto{Name: proto.String("z")})
	}}
	x := make([]float64, 16)
	for i := range x {
		x[i] = 1
	}
	for name, want := range map[string]float64{"y": 16, "z": -16} {
		m, err := load(t, s, model.Ask{Output: name})
		if err != nil {
			t.Fatal(err)
		}
		if logits, _ := ref.Forward(m, x); logits[0] != want || m.Source.Output != name {
			t.Errorf("output %s: logits %v and source %q, want %v", name, logits, m.Source.Output, want)
		}
	}
	_, err := load(t, s, model.Ask{Output: "v"})
	wantError(t, err, "no output v, want one of y, z")
}

// Nodes of a function are put in the place of its call, with the call's attributes.
func TestInline(t *testing.T) {
	call := &pb.NodeProto{OpType: proto.String("Net"), Domain: proto.String("my"), Input: []string{"f"}, Output: []string{"y"},
		Attribute: []*pb.AttributeProto{{Name: proto.String("slope"), Type: pb.AttributeProto_FLOAT.Enum(), F: proto.Float32(0.25)}}}
	alpha := &pb.AttributeProto{Name: proto.String("alpha"), Type: pb.AttributeProto_FLOAT.Enum(), RefAttrName: proto.String("slope")}
	s := sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "g"), nodeOf("MatMul", "g w", "f"), call}, func(m *pb.ModelProto) {
		m.Functions = []*pb.FunctionProto{{
			Name: proto.String("Net"), Domain: proto.String("my"), Input: []string{"a"}, Output: []string{"b"}, Attribute: []string{"slope"},
			Node: []*pb.NodeProto{nodeOf("Neg", "a", "f"), nodeOf("LeakyRelu", "f", "b", alpha)},
		}}
	}}
	m, err := load(t, s, model.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float64, 16)
	x[3] = 2
	if logits, _ := ref.Forward(m, x); logits[0] != -0.5 {
		t.Errorf("logits %v, want -0.5: a quarter of -2", logits)
	}
}

// An input of bytes is given pixels times 255.
func TestBytes(t *testing.T) {
	s := sketch{[]*pb.NodeProto{nodeOf("Cast", "x", "a", integer("to", int64(pb.TensorProto_FLOAT))), nodeOf("Flatten", "a", "f"), nodeOf("MatMul", "f w", "y")}, func(m *pb.ModelProto) {
		m.Graph.Input[0].Type.GetTensorType().ElemType = proto.Int32(int32(pb.TensorProto_UINT8))
	}}
	m, err := load(t, s, model.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float64, 16)
	x[5] = 1
	if logits, _ := ref.Forward(m, x); logits[0] != 255 || len(m.Notes) == 0 {
		t.Errorf("logits %v and notes %q, want 255 and a note", logits, m.Notes)
	}
	if !m.IsMLP() {
		t.Errorf("%v is no MLP", m)
	}
}

// A Gemm of numbers of which some are given twice, and as many are left out, takes them as they
// are.
func TestTwice(t *testing.T) {
	s := sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("Gather", "f j", "g", integer("axis", 1)), nodeOf("MatMul", "g w", "y")}, func(m *pb.ModelProto) {
		j := &pb.TensorProto{Name: proto.String("j"), DataType: proto.Int32(int32(pb.TensorProto_INT64)), Dims: []int64{16}}
		for k := range int64(16) {
			j.Int64Data = append(j.Int64Data, k/2)
		}
		m.Graph.Initializer = append(m.Graph.Initializer, j)
	}}
	m, err := load(t, s, model.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float64, 16)
	x[3], x[12] = 1, 8
	if logits, _ := ref.Forward(m, x); logits[0] != 2 {
		t.Errorf("logits %v, want 2: the fourth number twice, and the thirteenth not", logits)
	}
}

// uneven gives the weights "w" of a sketch different numbers.
func uneven(m *pb.ModelProto) {
	for _, w := range m.Graph.Initializer {
		if w.GetName() == "w" {
			for i := range w.FloatData {
				w.FloatData[i] = float32(i*i%7) / 8
			}
		}
	}
}

// TestAsIs: the numbers of the file go in and come out as they are, where they are asked for so.
func TestAsIs(t *testing.T) {
	s := sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "z"), nodeOf("Softmax", "z", "y")}, uneven}
	x := make([]float64, 16)
	for i := range x {
		x[i] = float64(i) / 16
	}
	left, err := load(t, s, model.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := load(t, s, model.Ask{AsIs: true})
	if err != nil {
		t.Fatal(err)
	}
	logits, _ := ref.Forward(left, x)
	probs, _ := ref.Forward(kept, x)
	for j, want := range ref.Softmax(logits) {
		if d := probs[j] - want; !(d <= 1e-12 && d >= -1e-12) {
			t.Errorf("output %d is %v, want %v", j, probs[j], want)
		}
	}
	// Images N×H×W×C keep their order.
	turned := sketch{[]*pb.NodeProto{nodeOf("Transpose", "x", "t", ints("perm", 0, 3, 1, 2)), nodeOf("Flatten", "t", "f"), nodeOf("MatMul", "f w", "y")}, func(m *pb.ModelProto) {
		dims := m.Graph.Input[0].Type.GetTensorType().Shape.Dim
		for i, d := range []int64{1, 2, 4, 2} {
			dims[i].Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: d}
		}
		uneven(m)
	}}
	m, err := load(t, turned, model.Ask{AsIs: true})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := load(t, turned, model.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	planes := make([]float64, 16) // x as [C, H, W]
	for i := range 8 {
		planes[i], planes[8+i] = x[2*i], x[2*i+1]
	}
	got, _ := ref.Forward(m, x)
	want, _ := ref.Forward(moved, planes)
	for j := range want {
		if d := got[j] - want[j]; !(d <= 1e-12 && d >= -1e-12) {
			t.Errorf("outputs %v, want %v", got, want)
		}
	}
}
