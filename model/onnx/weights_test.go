package onnx

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Weights of every way to store them are those of the file, to the bit, and reading takes little
// memory beside them. most counts bytes that are allocated for each byte of the file; what is
// allocated bounds what is in memory at once. Half a MiB is for all that does not grow with weights.
func TestONNXWeightsMemory(t *testing.T) {
	const rows, columns = 256, 64 * 64
	const numbers = rows * columns
	value := func(i int) float32 { return float32(i%2003-1001) / 64 } // of float16 too
	exact := func(i int) float32 { return float32(i%251-125) / 8 }    // of bfloat16 too
	raw := func(width int, put func(b []byte, v float32), value func(int) float32) []byte {
		b := make([]byte, width*numbers)
		for i := range numbers {
			put(b[width*i:], value(i))
		}
		return b
	}
	half := func(b []byte, v float32) {
		h, _ := formats.ToHalf(float64(v))
		binary.LittleEndian.PutUint16(b, h)
	}
	single := func(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) }
	double := func(b []byte, v float32) { binary.LittleEndian.PutUint64(b, math.Float64bits(float64(v))) }
	bfloat := func(b []byte, v float32) { binary.LittleEndian.PutUint16(b, uint16(math.Float32bits(v)>>16)) }
	set := func(kind pb.TensorProto_DataType, data []byte) func(m *pb.ModelProto) {
		return func(m *pb.ModelProto) {
			w := m.Graph.Initializer[0]
			w.DataType, w.Dims, w.FloatData, w.RawData = proto.Int32(int32(kind)), []int64{rows, columns}, nil, data
			m.Graph.Input[0] = valueOf("x", kind, 1, 1, 64, 64)
			m.Graph.Output[0].GetType().GetTensorType().ElemType = w.DataType
		}
	}
	floats := func(m *pb.ModelProto) {
		set(pb.TensorProto_FLOAT, nil)(m)
		for i := range numbers {
			m.Graph.Initializer[0].FloatData = append(m.Graph.Initializer[0].FloatData, value(i))
		}
	}
	inNode := func(m *pb.ModelProto) {
		set(pb.TensorProto_FLOAT, raw(4, single, value))(m)
		w := m.Graph.Initializer[0]
		m.Graph.Initializer = m.Graph.Initializer[1:]
		constant := nodeOf("Constant", "", "w", &pb.AttributeProto{Name: proto.String("value"), Type: pb.AttributeProto_TENSOR.Enum(), T: w})
		m.Graph.Node = append([]*pb.NodeProto{constant}, m.Graph.Node...)
	}
	turned := func(m *pb.ModelProto) {
		set(pb.TensorProto_FLOAT, raw(4, single, value))(m)
		m.Graph.Initializer[0].Dims = []int64{columns, rows}
		m.Graph.Node[1] = nodeOf("MatMul", "f w", "y")
	}
	transposed := func(m *pb.ModelProto) { // a convolution of one window
		set(pb.TensorProto_FLOAT, raw(4, single, value))(m)
		m.Graph.Initializer[0].Dims = []int64{16, 4096, 4, 4}
		m.Graph.Input[0] = valueOf("x", pb.TensorProto_FLOAT, 1, 16, 4, 4)
		m.Graph.Node = []*pb.NodeProto{nodeOf("ConvTranspose", "x w", "y", ints("pads", 3, 3, 3, 3))}
	}
	as := func(i int) int { return i }
	// What protobuf makes once is no part of what a file takes.
	if _, err := model.Load("testdata/pads_6000.onnx"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		change  func(m *pb.ModelProto)
		outside []byte // the data of w in another file; nil: it is in the model's
		most    float64
		value   func(i int) float32
		from    func(i int) int // which number of the file is number i of the weights
		double  bool
	}{
		{"raw", set(pb.TensorProto_FLOAT, raw(4, single, value)), nil, 1, value, as, false},
		{"in the field for float32", floats, nil, 1, value, as, false},
		{"of float64", set(pb.TensorProto_DOUBLE, raw(8, double, value)), nil, 1, value, as, true},
		{"of float16", set(pb.TensorProto_FLOAT16, raw(2, half, value)), nil, 2, value, as, false},
		{"of bfloat16", set(pb.TensorProto_BFLOAT16, raw(2, bfloat, exact)), nil, 2, exact, as, false},
		{"of a node", inNode, nil, 1, value, as, false},
		{"in another file", set(pb.TensorProto_FLOAT, nil), raw(4, single, value), 1, value, as, false},
		{"of float16 in another file", set(pb.TensorProto_FLOAT16, nil), raw(2, half, value), 3, value, as, false},
		{"transposed", turned, nil, 2, value, func(i int) int { return i%columns*rows + i/columns }, false},
		{"turned", transposed, nil, 2, value, func(i int) int { return (i/16%16*4096+i/256)*16 + 15 - i%16 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := sketch{[]*pb.NodeProto{nodeOf("Flatten", "x", "f"), nodeOf("Gemm", "f w", "y", integer("transB", 1))}, func(m *pb.ModelProto) {
				c.change(m)
				if c.outside != nil {
					m.Graph.Initializer[0].DataLocation = pb.TensorProto_EXTERNAL.Enum()
					m.Graph.Initializer[0].ExternalData = []*pb.StringStringEntryProto{{Key: proto.String("location"), Value: proto.String("w.bin")}}
				}
			}}
			data := s.bytes(t)
			path := filepath.Join(dir, "f.onnx")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "w.bin"), c.outside, 0o600); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, err := model.Load(path)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			got, size := after.TotalAlloc-before.TotalAlloc, len(data)+len(c.outside)
			if most := uint64(c.most*float64(size)) + 1<<19; got > most {
				t.Errorf("%d bytes allocated for %d of files, want at most %d", got, size, most)
			}
			w := m.Layers[len(m.Layers)-1].Params()[0].Tensor
			at := func(i int) float64 {
				if c.double {
					return w.Data().([]float64)[i]
				}
				return float64(w.Data().([]float32)[i])
			}
			if n := w.Shape().TotalSize(); n != numbers {
				t.Fatalf("%d weights, want %d", n, numbers)
			}
			for i := range numbers {
				if got, want := at(i), float64(c.value(c.from(i))); math.Float64bits(got) != math.Float64bits(want) {
					t.Fatalf("weight %d is %v, want %v", i, got, want)
				}
			}
		})
	}
}

// Data that comes in several fields of a tensor is put together, or refused, as protobuf does it.
func TestONNXCutParts(t *testing.T) {
	packed := func(field protowire.Number, data []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), data)
	}
	kind := func(of pb.TensorProto_DataType) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, fieldDataType, protowire.VarintType), uint64(of))
	}
	floats := func(from, to int) []byte {
		var b []byte
		for i := from; i < to; i++ {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i)))
		}
		return b
	}
	one := protowire.AppendFixed32(protowire.AppendTag(nil, fieldFloatData, protowire.Fixed32Type), math.Float32bits(0))
	long := make([]byte, 2*leastCut)
	for _, c := range []struct {
		name   string
		tensor []byte
		floats int // 0, 1, 2, … in the field for float32
		raw    int // bytes
		want   string
	}{
		{"one", packed(fieldFloatData, floats(0, 3000)), 3000, 0, ""},
		{"a long one and a short one", slices.Concat(packed(fieldFloatData, floats(0, 3000)), packed(fieldFloatData, floats(3000, 3002))), 3002, 0, ""},
		{"a short one and a long one", slices.Concat(packed(fieldFloatData, floats(0, 2)), packed(fieldFloatData, floats(2, 3000))), 3000, 0, ""},
		{"two long ones", slices.Concat(packed(fieldFloatData, floats(0, 2000)), packed(fieldFloatData, floats(2000, 4000))), 4000, 0, ""},
		{"a single number and a long one", slices.Concat(one, packed(fieldFloatData, floats(1, 3000))), 3000, 0, ""},
		{"raw", slices.Concat(kind(pb.TensorProto_FLOAT), packed(fieldRawData, long)), 0, len(long), ""},
		{"raw twice", slices.Concat(packed(fieldRawData, long), packed(fieldRawData, long)), 0, 0, "a tensor with two of raw data"},
		{"of 16 bits, and then of 32", slices.Concat(kind(pb.TensorProto_FLOAT16), packed(fieldRawData, long), kind(pb.TensorProto_FLOAT)), 0, 0, "a tensor of two types"},
		{"of 16 bits after its data", slices.Concat(packed(fieldRawData, long), kind(pb.TensorProto_FLOAT16)), 0, len(long), ""},
		{"not whole", packed(fieldRawData, long)[:leastCut], 0, 0, "a field is longer than what it is in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := packed(fieldGraph, slices.Concat(packed(fieldInitializer, nil), packed(fieldInitializer, c.tensor)))
			p, halves, err := parse(bytes.NewReader(data), int64(len(data)))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %s", err, c.want)
				}
				return
			}
			if err != nil || len(halves) > 0 {
				t.Fatal(err, len(halves))
			}
			got := p.GetGraph().GetInitializer()[1]
			if len(got.GetFloatData()) != c.floats || len(got.GetRawData()) != c.raw {
				t.Fatalf("%d floats and %d bytes, want %d and %d", len(got.GetFloatData()), len(got.GetRawData()), c.floats, c.raw)
			}
			for i, v := range got.GetFloatData() {
				if v != float32(i) {
					t.Fatalf("number %d is %v", i, v)
				}
			}
		})
	}
}
