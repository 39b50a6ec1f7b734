package onnx

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"advsweep/model"
	"advsweep/model/onnx/internal/pb"
)

// A few bytes that ask for gigabytes are refused before anything is made, and told of with the
// bytes that they ask for. Found by others: a Conv of one image [1, 28, 28] with pads of 6000.
func TestONNXNetworkMemory(t *testing.T) {
	pads, err := os.ReadFile("testdata/pads_6000.onnx")
	if err != nil {
		t.Fatal(err)
	}
	filled := sketch{[]*pb.NodeProto{nodeOf("ConstantOfShape", "i", "v"), nodeOf("Flatten", "x", "f"), nodeOf("MatMul", "f v", "y")}, func(m *pb.ModelProto) {
		m.Graph.Initializer[4].Int64Data = []int64{16, 1 << 20}
	}}.bytes(t)
	for _, c := range []struct {
		name, most string
		data       []byte
		want       string
		need       uint64
	}{
		// 3·12028² numbers of 4 bytes, and 3 more.
		{"pads", "1073741824", pads, "Conv h: one image takes 1736073408 bytes up to here, want at most 1073741824", 1736073408},
		{"pads and what follows", "1736073408", pads, "GlobalAveragePool g: one image takes 1736073420 bytes up to here, want at most 1736073408", 1736073420},
		{"pads that are allowed", "1736073420", pads, "", 0},
		// 16·2²⁰ numbers of 8 bytes.
		{"weights that no file holds", "134217727", filled, "ConstantOfShape v: numbers that no file holds: one image takes 134217728 bytes", 134217728},
		{"and their products", "134217728", filled, "MatMul y: one image takes 138412032 bytes", 138412032},
		{"weights that are allowed", "138412032", filled, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(model.EnvMemory, c.most)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := model.Decode("f.onnx", c.data)
			runtime.ReadMemStats(&after)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, "model: f.onnx: ", c.want, model.EnvMemory)
			if e, ok := errors.AsType[*model.MemoryError](err); !ok || e.Need != c.need {
				t.Errorf("error %#v, want of %d bytes", e, c.need)
			}
			if got := after.TotalAlloc - before.TotalAlloc; c.name != "and their products" && got > 1<<20 {
				t.Errorf("%d bytes allocated for a file of %d, want at most a MiB", got, len(c.data))
			}
		})
	}
}
