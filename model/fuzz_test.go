package model

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"advsweep/model/internal/onnx"

	"google.golang.org/protobuf/proto"
)

// FuzzDecodeONNX: as FuzzDecode.
func FuzzDecodeONNX(f *testing.F) {
	paths, err := filepath.Glob("testdata/onnx/*.onnx")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkDecodeAs(t, "f.onnx", data) })
}

// FuzzDecodeNPZ: as FuzzDecode, of archives and, so that what is in them is reached, of two arrays
// in one.
func FuzzDecodeNPZ(f *testing.F) {
	paths, err := filepath.Glob("testdata/onnx/*.npz")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{})
	}
	f.Add(npyFile("<f4", "False", "2, 3", make([]byte, 24)), npyFile(">f8", "True", "2,", make([]byte, 16)))
	f.Add(npyFile("<f2", "True", "2, 3", make([]byte, 12)), npyFile("<i8", "False", "", make([]byte, 8)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		checkDecodeAs(t, "f.npz", a)
		for _, method := range []uint16{zip.Store, zip.Deflate} {
			checkDecodeAs(t, "f.npz", archive(t, method, "fc.weight.npy", a, "fc.bias.npy", b))
		}
	})
}

// npyFile returns a file of version 1.0.
func npyFile(descr, fortran, shape string, data []byte) []byte {
	header := "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': (" + shape + "), }\n"
	return append(append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0), append([]byte(header), data...)...)
}

// archive returns a zip file of two files.
func archive(t *testing.T, method uint16, name1 string, data1 []byte, name2 string, data2 []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, name := range []string{name1, name2} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write([][]byte{data1, data2}[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzLayersJSON: as FuzzDecode, of layer lists beside one set of weights.
func FuzzLayersJSON(f *testing.F) {
	for _, text := range lists {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Skip()
		}
		checkDecode(t, listedFile(string(quoted)))
	})
}

// listedFile returns a file with a layer list, quoted as JSON, and weights of zero for any of
// lists.
func listedFile(quoted string) []byte {
	data := file(
		raw{"conv.weight", "F32", []int{2, 1, 3, 3}}, raw{"conv.bias", "F32", []int{2}},
		raw{"bn.weight", "F16", []int{2}}, raw{"bn.running_mean", "F32", []int{2}}, raw{"bn.running_var", "F32", []int{2}},
		raw{"bn.num_batches_tracked", "I64", nil}, raw{"fc.weight", "F32", []int{3, 8}},
	)
	n := binary.LittleEndian.Uint64(data)
	header := `{"__metadata__":{"format":"pt","advsweep.layers":` + quoted + `},` + string(data[9:8+n])
	return append(join(header, 0), data[8+n:]...)
}

// lists are layer lists of networks that listedFile holds, in several ways to write them.
var lists = []string{
	`{"input":[1,4,4],"layers":[{"type":"normalize","mean":[0.5],"std":[0.25]},{"type":"conv2d","name":"conv","stride":[1,1],"pad":[1,1,1,1]},
	{"type":"batchnorm","name":"bn","eps":0.001},{"type":"relu"},{"type":"maxpool2d","kernel":2},{"type":"flatten"},{"type":"linear","name":"fc"}]}`,
	`{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","pad":1},{"type":"batchnorm","name":"bn"},{"type":"tanh"},
	{"type":"add","from":[2,0]},{"type":"leakyrelu","slope":0.1},{"type":"avgpool2d","kernel":[3,3],"stride":[2,2],"pad":[0,0,1,1],"count_pad":true},{"type":"gelu","tanh":true},{"type":"linear","name":"fc"}]}`,
	`{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv"},{"type":"batchnorm","name":"bn"},{"type":"sigmoid"},{"type":"gelu","from":[1]},
	{"type":"add","from":[2,3,1]},{"type":"linear","name":"fc"}]}`,
	`{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv"},{"type":"batchnorm","name":"bn"},{"type":"globalavgpool2d"},{"type":"linear","name":"fc"}]}`,
	`{"layers":[{"type":"linear","name":"fc"}]}`,
	`{"input":[],"layers":[{"type":"add","from":[]}]}`,
	`{"input":[1,4,4],"layers":[{"type":"flatten"}]}`,
}

// FuzzONNXGraph: as FuzzDecode, of graphs that are whole as messages and wrong in up to four
// things, which bytes changed at random seldom are.
func FuzzONNXGraph(f *testing.F) {
	var graphs [][]byte
	for _, pattern := range []string{"testdata/onnx/*.onnx", "testdata/ops/*.onnx"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			graphs = append(graphs, data)
		}
	}
	for i := range uint64(50) {
		f.Add(i, i)
	}
	f.Fuzz(func(t *testing.T, which, seed uint64) {
		m := new(onnx.ModelProto)
		if err := proto.Unmarshal(graphs[which%uint64(len(graphs))], m); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(which, seed))
		for range 1 + r.IntN(4) {
			spoil(m.Graph, r)
		}
		if r.IntN(8) == 0 {
			m.OpsetImport[0].Version = proto.Int64(7 + r.Int64N(20))
		}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Skip()
		}
		checkDecodeAs(t, "f.onnx", data)
	})
}

// spoil changes one thing in g.
func spoil(g *onnx.GraphProto, r *rand.Rand) {
	var names []string
	for _, p := range g.Initializer {
		names = append(names, p.GetName())
	}
	for _, n := range g.Node {
		names = append(names, n.Output...)
	}
	names = append(names, g.Input[0].GetName(), "")
	name := func() string { return names[r.IntN(len(names))] }
	number := func() int64 {
		return []int64{-1 << 63, -1 << 31, -2, -1, 0, 1, 2, 3, 4, 5, 8, 1 << 20, 1 << 31, 1<<63 - 1}[r.IntN(14)]
	}
	if len(g.Node) == 0 {
		return
	}
	n := g.Node[r.IntN(len(g.Node))]
	switch r.IntN(12) {
	case 0:
		ops := slices.Sorted(maps.Keys(operators))
		n.OpType = &ops[r.IntN(len(ops))]
	case 1, 2:
		if len(n.Input) > 0 {
			n.Input[r.IntN(len(n.Input))] = name()
		}
	case 3:
		n.Input = append(n.Input, name())
	case 4, 5:
		if len(n.Attribute) > 0 {
			a := n.Attribute[r.IntN(len(n.Attribute))]
			if len(a.Ints) > 0 {
				a.Ints[r.IntN(len(a.Ints))] = number()
			} else {
				a.I = proto.Int64(number())
			}
		}
	case 6:
		if other := g.Node[r.IntN(len(g.Node))]; len(other.Attribute) > 0 {
			n.Attribute = append(n.Attribute, other.Attribute[r.IntN(len(other.Attribute))])
		}
	case 7:
		i, k := r.IntN(len(g.Node)), r.IntN(len(g.Node))
		g.Node[i], g.Node[k] = g.Node[k], g.Node[i]
	case 8:
		i := r.IntN(len(g.Node))
		g.Node = slices.Delete(g.Node, i, i+1)
	case 9, 10:
		if len(g.Initializer) == 0 {
			return
		}
		p := g.Initializer[r.IntN(len(g.Initializer))]
		switch {
		case r.IntN(3) == 0 && len(p.RawData) >= 8 && p.GetDataType() == int32(onnx.TensorProto_INT64):
			binary.LittleEndian.PutUint64(p.RawData[8*r.IntN(len(p.RawData)/8):], uint64(number()))
		case r.IntN(2) == 0 && len(p.Dims) > 1: // as many elements
			i, k := r.IntN(len(p.Dims)), r.IntN(len(p.Dims))
			p.Dims[i], p.Dims[k] = p.Dims[k], p.Dims[i]
		case r.IntN(2) == 0 && len(p.Dims) > 0:
			p.Dims[r.IntN(len(p.Dims))] = number()
		default:
			p.Dims = append(p.Dims, 1)
		}
	case 11:
		shape := g.Input[0].GetType().GetTensorType().GetShape()
		if r.IntN(4) == 0 {
			g.Output[0].Name = proto.String(name())
		} else if len(shape.GetDim()) > 0 {
			shape.Dim[r.IntN(len(shape.Dim))].Value = &onnx.TensorShapeProto_Dimension_DimValue{DimValue: number()}
		}
	}
}
