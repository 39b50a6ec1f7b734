package onnx

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/model"
	"advsweep/model/internal/golden"
	"advsweep/model/onnx/internal/pb"

	"google.golang.org/protobuf/proto"
)

// checkDecode fails if data as a file makes Decode take much more memory than data has bytes, or
// makes a model that is not valid or not the same once it was encoded and decoded.
func checkDecode(t *testing.T, data []byte) {
	// A small file may make as many numbers as Memory allows, of eight bytes and up to four times
	// computed with, and move as many numbers as fit an image: see tensors.fill and leastPlaces.
	const spare = 2 << 30
	if m, ok := golden.Decoded(t, model.Decode, "f.onnx", data, spare); ok {
		checkRoundTrip(t, m)
	}
}

// FuzzDecodeONNX: see checkDecode.
func FuzzDecodeONNX(f *testing.F) {
	f.Setenv(model.EnvMemory, "268435456")
	for _, data := range golden.Seeds(f, "../testdata/onnx/*.onnx", "testdata/ranks/*.onnx") {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkDecode(t, data) })
}

// FuzzONNXGraph: as FuzzDecodeONNX, of graphs that are whole as messages and wrong in up to four
// things, which bytes changed at random seldom are.
func FuzzONNXGraph(f *testing.F) {
	f.Setenv(model.EnvMemory, "268435456")
	graphs := golden.Seeds(f, "../testdata/onnx/*.onnx", "testdata/ops/*.onnx", "testdata/ranks/*.onnx")
	for i := range uint64(50) {
		f.Add(i, i)
	}
	f.Fuzz(func(t *testing.T, which, seed uint64) {
		m := new(pb.ModelProto)
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
		checkDecode(t, data)
	})
}

// spoil changes one thing in g.
func spoil(g *pb.GraphProto, r *rand.Rand) {
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
		case r.IntN(3) == 0 && len(p.RawData) >= 8 && p.GetDataType() == int32(pb.TensorProto_INT64):
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
			shape.Dim[r.IntN(len(shape.Dim))].Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: number()}
		}
	}
}
