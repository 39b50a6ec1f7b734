package onnx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/model/internal/golden"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/proto"
)

// agree fails unless the logits of m, by internal/ref, are those of r within limit.
func agree(t *testing.T, m *model.Model, r golden.Reference, limit float64) float64 {
	t.Helper()
	return r.Agree(t, func(x []float64) []float64 {
		logits, _ := ref.Forward(m, x)
		return logits
	}, limit)
}

// encode returns m as a safetensors file of its own precision.
func encode(t *testing.T, m *model.Model) []byte {
	t.Helper()
	data, err := m.Encode(m.Dtype())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkRoundTrip fails unless m is the same after it was encoded and decoded: an encoded model has
// all that a model is.
func checkRoundTrip(t *testing.T, m *model.Model) {
	t.Helper()
	data := encode(t, m)
	again, err := model.Decode("f", data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(t, again), data) {
		t.Errorf("%v is another model once it was encoded and decoded, %v", m, again)
	}
}

var wantError = golden.WantError

func TestONNX(t *testing.T) {
	paths, _ := filepath.Glob("../testdata/onnx/*.json")
	files := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "unsupported.json") {
			continue
		}
		r := golden.Read(t, path)
		for _, f := range r.Files {
			files++
			t.Run(f.File, func(t *testing.T) {
				m, err := model.Load(filepath.Join("../testdata/onnx", f.File))
				if err != nil {
					t.Fatal(err)
				}
				// The weights are float32 numbers, and so exact; what folding rounds is far below.
				limit := 2e-6
				if strings.Contains(f.File, "half") {
					limit = 2e-2 // 11 bits
				}
				t.Logf("%s %v: within %.1e", m, m.Notes, agree(t, m, r, limit))
			})
		}
	}
	if files == 0 {
		t.Error("no files")
	}
}

// Operators in forms that exporters seldom write: testdata/ops/make.py.
func TestONNXOperators(t *testing.T) {
	text, err := os.ReadFile("testdata/ops/ops.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name string
		Turn bool
		golden.Reference
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			m, err := model.Load("testdata/ops/" + c.Name + ".onnx")
			if err != nil {
				t.Fatal(err)
			}
			if c.Turn {
				c.ChannelsFirst()
			}
			// onnxruntime computes in float32: some twenty sums of up to 60 terms.
			t.Logf("%s %v: within %.1e", m, m.Notes, agree(t, m, c.Reference, 4e-6))
			checkRoundTrip(t, m)
		})
	}
	if len(all) == 0 {
		t.Error("no graphs")
	}
}

// What others write and was not read at one time is taken whole, or refused by name: the last word
// that unsupported.json says of it. What never comes is in TestONNXErrors.
func TestONNXUnsupported(t *testing.T) {
	text, err := os.ReadFile("../testdata/onnx/unsupported.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Files []struct{ File, Names string }
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, f := range all.Files {
		t.Run(f.File, func(t *testing.T) {
			path := "../testdata/onnx/" + f.File
			m, err := model.Load(path)
			if err == nil {
				checkRoundTrip(t, m)
				return
			}
			words := strings.Fields(f.Names)
			wantError(t, err, "model: "+path+": ", words[len(words)-1])
		})
	}
	if len(all.Files) == 0 {
		t.Error("no files")
	}
	if m, err := model.Load("../testdata/onnx/unsupported_ceil_pool.onnx"); err != nil {
		t.Error(err)
	} else if got, want := m.Layers[0], (model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: [4]int{0, 0, 1, 1}}); got != want {
		t.Errorf("a pool with ceil_mode is %+v, want %+v", got, want)
	}
}

// A sketch is a graph for one error: x [N, 1, 4, 4] and constants w [4, 16], k [2, 1, 2, 2], c [2],
// s [], i [2] of 1.
type sketch struct {
	nodes  []*pb.NodeProto
	change func(*pb.ModelProto)
}

func nodeOf(op, in, out string, attributes ...*pb.AttributeProto) *pb.NodeProto {
	return &pb.NodeProto{OpType: &op, Name: &out, Input: strings.Fields(in), Output: strings.Fields(out), Attribute: attributes}
}

func ints(name string, values ...int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, Type: pb.AttributeProto_INTS.Enum(), Ints: values}
}

func integer(name string, v int64) *pb.AttributeProto {
	return &pb.AttributeProto{Name: &name, Type: pb.AttributeProto_INT.Enum(), I: &v}
}

func (s sketch) bytes(t testing.TB) []byte {
	t.Helper()
	tensor := func(name string, kind pb.TensorProto_DataType, dims ...int64) *pb.TensorProto {
		p := &pb.TensorProto{Name: &name, DataType: proto.Int32(int32(kind)), Dims: dims}
		n := 1
		for _, d := range dims {
			n *= int(d)
		}
		for range n {
			if kind == pb.TensorProto_FLOAT {
				p.FloatData = append(p.FloatData, 1)
			} else {
				p.Int64Data = append(p.Int64Data, 1)
			}
		}
		return p
	}
	f, i := pb.TensorProto_FLOAT, pb.TensorProto_INT64
	value := func(name string, dims ...int64) *pb.ValueInfoProto {
		shape := &pb.TensorShapeProto{Dim: []*pb.TensorShapeProto_Dimension{{}}}
		for _, d := range dims {
			shape.Dim = append(shape.Dim, &pb.TensorShapeProto_Dimension{Value: &pb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
		}
		return &pb.ValueInfoProto{Name: &name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{
			TensorType: &pb.TypeProto_Tensor{ElemType: proto.Int32(int32(f)), Shape: shape}}}}
	}
	m := &pb.ModelProto{
		IrVersion:   proto.Int64(8),
		OpsetImport: []*pb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(17)}},
		Graph: &pb.GraphProto{
			Name: proto.String("g"),
			Node: s.nodes, Input: []*pb.ValueInfoProto{value("x", 1, 4, 4)}, Output: []*pb.ValueInfoProto{value("y")},
			Initializer: []*pb.TensorProto{tensor("w", f, 16, 4), tensor("k", f, 2, 1, 2, 2), tensor("c", f, 2), tensor("s", f), tensor("i", i, 2)},
		},
	}
	if s.change != nil {
		s.change(m)
	}
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestONNXErrors(t *testing.T) {
	// As many nodes as are named, each before the one to come.
	g := func(nodes ...*pb.NodeProto) sketch { return sketch{nodes: nodes} }
	flat, fc := nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "y")
	with := func(change func(*pb.ModelProto)) sketch { return sketch{[]*pb.NodeProto{flat, fc}, change} }
	initial := func(i int, change func(*pb.TensorProto)) sketch {
		return with(func(m *pb.ModelProto) { change(m.Graph.Initializer[i]) })
	}
	outside := func(kv ...string) sketch {
		return initial(0, func(p *pb.TensorProto) {
			p.FloatData, p.DataLocation = nil, pb.TensorProto_EXTERNAL.Enum()
			for i := 0; i < len(kv); i += 2 {
				p.ExternalData = append(p.ExternalData, &pb.StringStringEntryProto{Key: &kv[i], Value: &kv[i+1]})
			}
		})
	}
	if _, err := model.Decode("f.onnx", g(flat, fc).bytes(t)); err != nil {
		t.Fatalf("without a mistake: %v", err)
	}
	for _, c := range []struct {
		name string
		sketch
		want string
	}{
		{"no graph", with(func(m *pb.ModelProto) { m.Graph = nil }), "no graph"},
		{"no opset", with(func(m *pb.ModelProto) { m.OpsetImport = nil }), "opset 0, want at least 7"},
		{"no outputs", with(func(m *pb.ModelProto) { m.Graph.Output = nil }), "no outputs"},
		{"no inputs", with(func(m *pb.ModelProto) { m.Graph.Input = nil }), "0 inputs, want 1"},
		{"bytes as input", with(func(m *pb.ModelProto) { m.Graph.Input[0].Type.GetTensorType().ElemType = proto.Int32(7) }), "input x: type INT64, want a float or uint8"},
		{"no shape", with(func(m *pb.ModelProto) { m.Graph.Input[0].Type.GetTensorType().Shape = nil }), "input x: no shape"},
		{"no size", with(func(m *pb.ModelProto) { m.Graph.Input[0].Type.GetTensorType().Shape.Dim[2].Value = nil }), "input x: it takes images of 1 channels and of any height and width"},
		{"a huge image", with(func(m *pb.ModelProto) {
			m.Graph.Input[0].Type.GetTensorType().Shape.Dim[2].Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: 1 << 62}
		}), "input x: more than 1073741824 elements"},
		{"an output that nothing makes", g(flat), "output y does not depend on the image"},
		{"a constant output", g(nodeOf("Identity", "w", "y")), "output w does not depend on the image"},
		{"the image as output", g(nodeOf("Identity", "x", "y")), "is the image itself"},
		{"one logit", g(flat, nodeOf("MatMul", "f w", "m"), nodeOf("Reshape", "m i", "y")), "of [N 4] to [1 1]: want 4 elements"},
		{"a cycle", g(nodeOf("Relu", "y", "r"), nodeOf("Relu", "r", "y")), "Relu r: takes y, which nothing before it makes"},
		{"two of a name", g(flat, nodeOf("Relu", "f", "f"), fc), "value f: two of this name"},
		{"two tensors of a name", initial(1, func(p *pb.TensorProto) { p.Name = proto.String("w") }), "value w: two of this name"},
		{"a node that makes the input", g(nodeOf("Relu", "f", "x"), flat, fc), "nothing before it makes"},
		{"an operator that nobody knows", g(flat, nodeOf("Nonesuch", "f", "y")), "Nonesuch y: is not supported"},
		{"two images", with(func(m *pb.ModelProto) {
			m.Graph.Input = append(m.Graph.Input, &pb.ValueInfoProto{Name: proto.String("z")})
			m.Graph.Node[1] = nodeOf("MatMul", "f z", "y")
		}), "2 inputs (x, z), want 1"},
		{"more groups than channels", g(nodeOf("Conv", "x k", "y", integer("group", 2))), "Conv y: "},
		{"holes larger than the image", g(nodeOf("Conv", "x k", "y", ints("dilations", 4, 4))), "Conv y: takes [1 4 4] with padding [0 0 0 0], smaller than the kernel"},
		{"a clip upside down", g(flat, nodeOf("Neg", "s", "t"), nodeOf("Clip", "f s t", "y")), "Clip y: to 1 and -1, want min not above max"},
		{"another domain", g(flat, &pb.NodeProto{OpType: proto.String("Gemm"), Domain: proto.String("a.b"), Name: proto.String("n"), Input: []string{"f", "w"}, Output: []string{"y"}}), "a.b.Gemm n: of the domain a.b is not supported"},
		{"an attribute", g(flat, nodeOf("MatMul", "f w", "y", integer("turbo", 1))), "MatMul y: attribute turbo is not supported"},
		{"the type of an attribute", g(nodeOf("Flatten", "x", "f", ints("axis", 1)), fc), "Flatten f: attribute axis is not of type INT"},
		{"no inputs of a node", g(nodeOf("MatMul", "", "y")), "MatMul y: no input 0"},
		{"weights from the image", g(flat, nodeOf("MatMul", "f f", "y")), "MatMul y: of [N 16] and [N 16], want matrices that fit"},
		{"weights that do not fit", g(flat, nodeOf("MatMul", "f c", "y")), "MatMul y: of [N 16] and [2 1]"},
		{"Gemm of an image", g(nodeOf("Gemm", "x w", "y")), "Gemm y: input 0 is [N 1 4 4], want a matrix"},
		{"a transposed image", g(flat, nodeOf("Gemm", "f w", "y", integer("transA", 1))), "Gemm y: of [16 N] and [16 4], want matrices that fit, and images that do not mix"},
		{"a bias of another size", g(flat, nodeOf("Gemm", "f w c", "y")), "Gemm y: of [N 4] and [2], want shapes that fit"},
		{"Conv of a vector", g(flat, nodeOf("Conv", "f k", "y")), "Conv y: of [N 16], want images [N, C, H, W]"},
		{"Conv by a matrix", g(nodeOf("Conv", "x w", "y")), "Conv y: weights [16 4], want [out, in, rows, columns]"},
		{"a kernel too large", g(nodeOf("MaxPool", "x", "y", ints("kernel_shape", 5, 1))), "MaxPool y: takes [1 4 4] with padding [0 0 0 0], smaller than the kernel [5 1]"},
		{"a stride of 0", g(nodeOf("Conv", "x k", "y", ints("strides", 0, 1))), "Conv y: strides [0 1], want at least 1"},
		{"a stride of 2⁶²", g(nodeOf("Conv", "x k", "y", ints("strides", 1<<62, 1))), "want 0 to 1048576"},
		{"padding below 0", g(nodeOf("Conv", "x k", "y", ints("pads", -1, 0, 0, 0))), "Conv y: pads [-1 0 0 0], want 0 to 1048576"},
		{"padding to the top", g(nodeOf("MaxPool", "x", "y", ints("kernel_shape", 2, 2), ints("pads", 2, 0, 0, 0))), "MaxPool y: pads [2 0 0 0] with a kernel of [2 2] on [1 4 4], want less"},
		{"Pad before MaxPool", g(nodeOf("Pad", "x p", "q"), nodeOf("MaxPool", "q", "y", ints("kernel_shape", 2, 2))), "takes p, which nothing before it makes"},
		{"a batch that is reshaped", g(nodeOf("Reshape", "x i", "y")), "Reshape y: of [N 1 4 4] to [1 1]"},
		{"an axis out of range", g(nodeOf("Flatten", "x", "y", integer("axis", 5))), "Flatten y: axis 5 of [N 1 4 4]"},
		{"images mixed", g(nodeOf("Flatten", "x", "y", integer("axis", 0))), "output y: is [1 N·16], where images cannot be told from numbers"},
		{"an order of axes", g(nodeOf("Transpose", "x", "y", ints("perm", 0, 1, 2, 2))), "Transpose y: axes [0 1 2 2], want each once"},
		{"an axis of size 4", g(nodeOf("Squeeze", "x i", "y")), "Squeeze y: axes [1 1], want each once"},
		{"a choice by the image", g(flat, nodeOf("MatMul", "f w", "m"), nodeOf("Greater", "m s", "b"), nodeOf("Where", "b m s", "y")), "output y: a choice by what depends on the image, within a formula that is none of " + knownFormulas()},
		{"weights from the image in Conv", g(nodeOf("Conv", "x x", "y")), "Conv y: weights depend on the image, want constant ones"},
		{"a sum of two shapes", g(flat, nodeOf("MatMul", "f w", "m"), nodeOf("Add", "m f", "y")), "Add y: of [N 4] and [N 16], want shapes that fit"},
		{"a constant of another size", g(flat, nodeOf("MatMul", "f w", "m"), nodeOf("Add", "m c", "y")), "Add y: of [N 4] and [2], want shapes that fit"},
		{"a constant to the power of the image", g(flat, nodeOf("MatMul", "f w", "m"), nodeOf("Pow", "s m", "y")), "Pow y: "},
		{"softmax over the batch", g(flat, nodeOf("MatMul", "f w", "m"), nodeOf("Softmax", "m", "y", integer("axis", 0))), "Softmax y: over axis 0 of [N 4], want over the classes"},
		{"softmax over images", g(flat, nodeOf("Softmax", "f", "m", integer("axis", 0)), nodeOf("MatMul", "m w", "y")), "Softmax m: along axis 0 of [N 16], which counts images"},
		{"several kinds at once", g(flat, nodeOf("Nonesuch", "f", "a"), nodeOf("Nonesuch", "a", "b"), nodeOf("Floor", "f", "d"), nodeOf("Add", "b d", "y")), "3 nodes are not supported: 2 × Nonesuch (as a): is not supported; 1 × Floor (as d): of what depends on the image"},
		{"an opset that there is not", with(func(m *pb.ModelProto) { m.OpsetImport[0].Version = proto.Int64(9999) }), "opset 9999, which there is not"},
		{"an output that there is not", with(func(m *pb.ModelProto) { m.Graph.Output[0].Name = proto.String("zz") }), "output zz does not depend on the image"},
		{"two outputs", sketch{[]*pb.NodeProto{flat, nodeOf("MatMul", "f w", "y"), nodeOf("Relu", "y", "z")}, func(m *pb.ModelProto) {
			m.Graph.Output = append(m.Graph.Output, &pb.ValueInfoProto{Name: proto.String("z")})
		}}, "outputs y, z, and which is the logits cannot be told"},
		{"a second output that is used", g(nodeOf("MaxPool", "x", "p q", ints("kernel_shape", 1, 1)), nodeOf("Relu", "q", "y")), "its output 1, q, is used, which is not supported"},
		{"numbers missing", initial(0, func(p *pb.TensorProto) { p.FloatData = p.FloatData[1:] }), "MatMul y: tensor w: 63 elements of 63 in the field for FLOAT, want 64"},
		{"numbers of another type", initial(0, func(p *pb.TensorProto) { p.DataType = proto.Int32(11) }), "0 elements of 64 in the field for DOUBLE, want 64"},
		{"raw numbers missing", initial(0, func(p *pb.TensorProto) { p.FloatData, p.RawData = nil, make([]byte, 255) }), "255 bytes, want 256, shape [16 4] of FLOAT"},
		{"numbers of two forms", initial(0, func(p *pb.TensorProto) { p.RawData = make([]byte, 256) }), "data of two forms"},
		{"text", initial(0, func(p *pb.TensorProto) { p.DataType = proto.Int32(8) }), "type STRING, want a float"},
		{"not finite", initial(0, func(p *pb.TensorProto) { p.FloatData[5] = float32(math.Inf(1)) }), "tensor y.weight: element 17 is +Inf"},
		{"a negative size", initial(0, func(p *pb.TensorProto) { p.Dims = []int64{-16, -4} }), "tensor w: shape [-16 -4]: dimension 0 is negative"},
		{"a huge size", initial(0, func(p *pb.TensorProto) { p.Dims = []int64{1 << 40, 1 << 40} }), "tensor w: shape [1099511627776 1099511627776], want at most"},
		{"rank 9", initial(0, func(p *pb.TensorProto) { p.Dims = make([]int64, 9) }), "tensor w: rank 9, want at most 8"},
		{"data elsewhere", outside("location", "w.bin"), "tensor w: external data: in w.bin, want all in one file"},
		{"data nowhere", outside("offset", "0"), "tensor w: external data: no location"},
		{"an offset that is none", outside("location", "w.bin", "offset", "-1"), "external data: offset -1, want a whole number"},
		{"a sparse tensor", with(func(m *pb.ModelProto) { m.Graph.SparseInitializer = []*pb.SparseTensorProto{{}} }), "sparse initializers"},
		{"a function", sketch{[]*pb.NodeProto{flat, {OpType: proto.String("Net"), Domain: proto.String("my"), Input: []string{"f"}, Output: []string{"y"}}}, func(m *pb.ModelProto) {
			m.Functions = []*pb.FunctionProto{{Name: proto.String("Net"), Domain: proto.String("my")}}
		}}, "function Net: called with 1 inputs for 1 outputs, want at most 0 and 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := model.Decode("f.onnx", c.bytes(t))
			wantError(t, err, "model: f.onnx: ", c.want)
		})
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "cut": g(flat, fc).bytes(t)[:100], "zeros": make([]byte, 100),
		"a group without end": {0x0b, 0x0b, 0x0b},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := model.Decode("f.onnx", data)
			wantError(t, err, "model: f.onnx: ", "")
		})
	}
}

// Data in other files: within the folder, regular, and of the right size.
func TestONNXExternal(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "in")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int{"in/w.bin": 300, "secret": 300} {
		if err := os.WriteFile(filepath.Join(dir, path), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(inside, "link")); err != nil {
		t.Skip(err)
	}
	path := filepath.Join(inside, "f.onnx")
	try := func(kv ...string) (*model.Model, error) {
		t.Helper()
		s := sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "y")}, func(m *pb.ModelProto) {
			p := m.Graph.Initializer[0]
			p.FloatData, p.DataLocation = nil, pb.TensorProto_EXTERNAL.Enum()
			for i := 0; i < len(kv); i += 2 {
				p.ExternalData = append(p.ExternalData, &pb.StringStringEntryProto{Key: &kv[i], Value: &kv[i+1]})
			}
		}}
		if err := os.WriteFile(path, s.bytes(t), 0o600); err != nil {
			t.Fatal(err)
		}
		return model.Load(path)
	}
	m, err := try("location", "w.bin", "offset", "44", "length", "256")
	if err != nil {
		t.Fatal(err)
	}
	before := m.Source.SHA256
	if err := os.WriteFile(filepath.Join(inside, "w.bin"), make([]byte, 299), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err = try("location", "w.bin", "offset", "43", "length", "256"); err != nil {
		t.Fatal(err)
	}
	if m.Source.SHA256 == before {
		t.Error("the hash does not cover the data")
	}
	for _, c := range []struct {
		want string
		kv   []string
	}{
		{"in ../secret, want a path within the folder", []string{"location", "../secret"}},
		{"in /etc/passwd, want a path within the folder", []string{"location", "/etc/passwd"}},
		{`in a\b, want a path within the folder`, []string{"location", `a\b`}},
		{"link: ", []string{"location", "link"}},
		{"none: no such file", []string{"location", "none"}},
		{".: ", []string{"location", "."}},
		{"299 bytes, want 256", []string{"location", "w.bin"}},
		{"256 bytes from 44 on, want at most 299", []string{"location", "w.bin", "offset", "44", "length", "256"}},
		{"256 bytes from 9223372036854775807 on", []string{"location", "w.bin", "offset", "9223372036854775807", "length", "256"}},
		{"two entries location", []string{"location", "w.bin", "location", "w.bin"}},
		{"entry key, want location", []string{"location", "w.bin", "key", "1"}},
	} {
		_, err := try(c.kv...)
		wantError(t, err, "model: "+path+": ", "external data: ", c.want)
	}
}

// Each function that exporters write as a formula is known by its values.
func TestFormulas(t *testing.T) {
	flat, fc := nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f w", "m")
	for name, c := range map[string]struct {
		nodes []*pb.NodeProto
		want  []model.Layer // after the Linear; nil: refused
	}{
		"GELU": {[]*pb.NodeProto{nodeOf("Mul", "m r", "a"), nodeOf("Erf", "a", "b"), nodeOf("Add", "s b", "d"), nodeOf("Mul", "m d", "e"), nodeOf("Mul", "e h", "y")},
			[]model.Layer{model.GELU{}}},
		"sigmoid at the end":    {[]*pb.NodeProto{nodeOf("Sigmoid", "m", "y")}, []model.Layer{}},
		"of one another":        {[]*pb.NodeProto{nodeOf("Sigmoid", "m", "a"), nodeOf("Tanh", "a", "b"), nodeOf("Neg", "b", "y")}, []model.Layer{model.Sigmoid{}, model.Tanh{}, model.Scale{}}},
		"SiLU":                  {[]*pb.NodeProto{nodeOf("Sigmoid", "m", "a"), nodeOf("Mul", "m a", "y")}, []model.Layer{model.Plain{Of: "silu"}}},
		"Mish":                  {[]*pb.NodeProto{nodeOf("Softplus", "m", "a"), nodeOf("Tanh", "a", "b"), nodeOf("Mul", "b m", "y")}, []model.Layer{model.Plain{Of: "mish"}}},
		"a product with itself": {[]*pb.NodeProto{nodeOf("Mul", "m m", "y")}, []model.Layer{model.Mul{}}},
		"a residual sigmoid":    {[]*pb.NodeProto{nodeOf("Sigmoid", "m", "a"), nodeOf("Add", "a m", "y")}, []model.Layer{model.Sigmoid{}, model.Add{}}},
		"sigmoid of a constant": {[]*pb.NodeProto{nodeOf("Sigmoid", "s", "a"), nodeOf("Sqrt", "a", "b"), nodeOf("Neg", "b", "c1"), nodeOf("Reciprocal", "c1", "d"), nodeOf("Mul", "d m", "e"), nodeOf("Relu", "e", "y")},
			[]model.Layer{model.Scale{}, model.ReLU{}}},
		"erf alone": {[]*pb.NodeProto{nodeOf("Erf", "m", "y")}, []model.Layer{model.Plain{}}},
		"sqrt":      {[]*pb.NodeProto{nodeOf("Sqrt", "m", "y")}, []model.Layer{model.Plain{}}},
		"a choice":  {[]*pb.NodeProto{nodeOf("Greater", "m s", "a"), nodeOf("Where", "a m s", "y")}, nil},
	} {
		s := sketch{append([]*pb.NodeProto{flat, fc}, c.nodes...), func(m *pb.ModelProto) {
			scalar := func(name string, v float32) *pb.TensorProto {
				return &pb.TensorProto{Name: &name, DataType: proto.Int32(int32(pb.TensorProto_FLOAT)), FloatData: []float32{v}}
			}
			m.Graph.Initializer = append(m.Graph.Initializer, scalar("r", float32(math.Sqrt(0.5))), scalar("h", 0.5))
		}}
		m, err := model.Decode("f.onnx", s.bytes(t))
		if c.want == nil {
			if err == nil {
				t.Errorf("%s: %v, want an error", name, m.Layers)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, l := range m.Layers {
			got = append(got, fmt.Sprintf("%T", l))
		}
		want := []string{"model.Linear"}
		for _, l := range c.want {
			want = append(want, fmt.Sprintf("%T", l))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// A small file must not take much memory or time, whatever it claims.
func TestONNXMemory(t *testing.T) {
	t.Setenv(model.EnvMemory, "1073741824")
	repeat := func(first *pb.NodeProto, n int, each func(i int) *pb.NodeProto) sketch {
		nodes := []*pb.NodeProto{first}
		for i := range n {
			nodes = append(nodes, each(i))
		}
		return sketch{nodes: nodes}
	}
	v := func(i int) string { return fmt.Sprintf("v%d", i) }
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"constants doubled 60 times", func() []byte {
			s := repeat(nodeOf("Concat", "c c", "v0", integer("axis", 0)), 60, func(i int) *pb.NodeProto {
				return nodeOf("Concat", v(i)+" "+v(i), v(i+1), integer("axis", 0))
			})
			s.nodes = append(s.nodes, nodeOf("Reshape", "x v60", "y"))
			return s.bytes(t)
		}()},
		{"formulas doubled 60 times", func() []byte {
			s := repeat(nodeOf("Identity", "x", "v0"), 60, func(i int) *pb.NodeProto { return nodeOf("Mul", v(i)+" "+v(i), v(i+1)) })
			s.nodes = append(s.nodes, nodeOf("Relu", "v60", "y"))
			return s.bytes(t)
		}()},
		{"turned a thousand times", func() []byte {
			s := repeat(nodeOf("Reshape", "x i", "v0"), 1000, func(i int) *pb.NodeProto {
				if i%2 == 0 {
					return nodeOf("Transpose", v(i), v(i+1), ints("perm", 0, 2, 1, 3))
				}
				return nodeOf("Reshape", v(i)+" i", v(i+1))
			})
			s.nodes = append(s.nodes, nodeOf("Flatten", "v1000", "f"), nodeOf("MatMul", "f w", "y"))
			s.change = func(m *pb.ModelProto) {
				m.Graph.Initializer[4].Dims, m.Graph.Initializer[4].Int64Data = []int64{4}, []int64{0, 2, 8, 1}
			}
			return s.bytes(t)
		}()},
		{"a shape of 2³⁰", sketch{[]*pb.NodeProto{nodeOf("ConstantOfShape", "i", "v"), nodeOf("Add", "x v", "y")}, func(m *pb.ModelProto) {
			m.Graph.Initializer[4].Int64Data = []int64{1 << 15, 1 << 15}
		}}.bytes(t)},
		{"weights used ten thousand times", func() []byte {
			s := repeat(nodeOf("Flatten", "x", "v0"), 10000, func(i int) *pb.NodeProto { return nodeOf("MatMul", v(i)+" e", v(i+1)) })
			s.nodes = append(s.nodes, nodeOf("MatMul", "v10000 w", "y"))
			s.change = func(m *pb.ModelProto) {
				m.Graph.Initializer[1].Name, m.Graph.Initializer[1].Dims, m.Graph.Initializer[1].FloatData = proto.String("e"), []int64{16, 16}, make([]float32, 256)
			}
			return s.bytes(t)
		}()},
		{"a scale of a huge image", sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("Add", "f s", "g"), nodeOf("Relu", "g", "y")}, func(m *pb.ModelProto) {
			m.Graph.Input[0].Type.GetTensorType().Shape.Dim[1].Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: 1 << 26}
		}}.bytes(t)},
		{"a million empty nodes", append([]byte{0x3a, 0x80, 0x89, 0x7a}, bytes.Repeat([]byte{0x0a, 0x00}, 1_000_000)...)},
		{"graphs in graphs", func() []byte {
			g := &pb.GraphProto{}
			for range 1000 {
				g = &pb.GraphProto{Node: []*pb.NodeProto{{Attribute: []*pb.AttributeProto{{Name: proto.String("g"), G: g}}}}}
			}
			data, err := proto.Marshal(&pb.ModelProto{Graph: g})
			if err != nil {
				t.Fatal(err)
			}
			return data
		}()},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			start := time.Now()
			runtime.ReadMemStats(&before)
			m, err := model.Decode("f.onnx", c.data)
			runtime.ReadMemStats(&after)
			got, most := after.TotalAlloc-before.TotalAlloc, 128*uint64(len(c.data))+8<<20
			t.Logf("%d bytes: %d allocated, %v, %v", len(c.data), got, time.Since(start), err)
			if err == nil && m.Inputs() != 16 { // which a small network may be, whatever its form
				t.Errorf("error is nil, want one (%v)", m)
			}
			if got > most {
				t.Errorf("%d bytes allocated for a file of %d, want at most %d", got, len(c.data), most)
			}
		})
	}
}
