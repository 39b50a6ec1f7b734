package model

import (
	"archive/zip"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/model/internal/golden"

	"gorgonia.org/tensor"
)

// Lists for the weights of testdata/onnx/make.py.
var onnxLists = map[string]string{
	"mlp": "", // names tell it
	"cnn": `{"input":[1,8,8],"layers":[{"type":"conv2d","name":"conv1","pad":1},{"type":"relu"},{"type":"maxpool2d","kernel":2},
		{"type":"conv2d","name":"conv2","stride":2,"pad":[1,1]},{"type":"relu"},{"type":"flatten"},{"type":"linear","name":"fc1"},{"type":"relu"},{"type":"linear","name":"fc2"}]}`,
	"resnet": `{"input":[3,8,8],"layers":[{"type":"normalize","name":"norm"},{"type":"conv2d","name":"stem","pad":1},{"type":"batchnorm","name":"bn"},{"type":"relu"},
		{"type":"conv2d","name":"block1.conv1","pad":1},{"type":"batchnorm","name":"block1.bn1"},{"type":"relu"},
		{"type":"conv2d","name":"block1.conv2","pad":1},{"type":"batchnorm","name":"block1.bn2"},{"type":"add","from":[8,3]},{"type":"relu"},
		{"type":"conv2d","name":"block2.conv1","stride":2,"pad":1},{"type":"batchnorm","name":"block2.bn1"},{"type":"relu"},
		{"type":"conv2d","name":"block2.conv2","pad":1},{"type":"batchnorm","name":"block2.bn2"},
		{"type":"conv2d","name":"block2.down.0","stride":2,"from":[10]},{"type":"batchnorm","name":"block2.down.1"},{"type":"add","from":[15,17]},{"type":"relu"},
		{"type":"globalavgpool2d"},{"type":"flatten"},{"type":"linear","name":"fc"}]}`,
}

// The weights that PyTorch saved, in every format and type, give what PyTorch says of them.
func TestWeights(t *testing.T) {
	files := 0
	for name, list := range onnxLists {
		text, err := os.ReadFile("testdata/onnx/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		paths, _ := filepath.Glob("testdata/onnx/" + name + "_*")
		for _, path := range paths {
			if ext := filepath.Ext(path); ext != ".safetensors" && ext != ".npz" {
				continue
			}
			files++
			t.Run(filepath.Base(path), func(t *testing.T) {
				layers := ""
				if list != "" {
					layers = filepath.Join(t.TempDir(), "layers")
					if err := os.WriteFile(layers, []byte(list), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				m, err := LoadLayers(path, layers)
				if err != nil {
					t.Fatal(err)
				}
				r := golden.Read(t, "testdata/onnx/"+name+".json")
				for _, dtype := range []string{"float16", "bfloat16"} {
					if strings.Contains(path, "_"+dtype) {
						r.Logits = nil // which Unmarshal would write into
						if err := json.Unmarshal(all["logits_"+dtype], &r.Logits); err != nil {
							t.Fatal(err)
						}
					}
				}
				t.Logf("%s: within %.1e", m, r.Agree(t, func(x []float64) []float64 { return evaluate(t, m, x) }, 2e-6))
			})
		}
	}
	if files < 6 {
		t.Errorf("%d files, want more", files)
	}
}

// Types, byte orders and orders of the elements of arrays.
func TestNPZ(t *testing.T) {
	half := []byte{0, 0x3c, 0, 0x40, 0, 0x42, 0, 0x44, 0, 0x45, 0, 0x46} // 1 to 6
	big := []byte{0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name, descr, order, shape string
		data                      []byte
		want                      []float64
		dtype                     tensor.Dtype
	}{
		{"row-major", "<f2", "False", "2, 3", half, []float64{1, 2, 3, 4, 5, 6}, tensor.Float64},
		{"Fortran", "<f2", "True", "2, 3", half, []float64{1, 3, 5, 2, 4, 6}, tensor.Float64},
		{"Fortran, turned", "<f2", "True", "3, 2", half, []float64{1, 4, 2, 5, 3, 6}, tensor.Float64},
		{"big endian", ">f8", "False", "2, 1", big, []float64{1, -2}, tensor.Float64},
	} {
		t.Run(c.name, func(t *testing.T) {
			bias := npyFile("<f8", "False", "2,", make([]byte, 16))
			if c.shape[0] == '3' {
				bias = npyFile("<f8", "False", "3,", make([]byte, 24))
			}
			m, err := Decode("f", archive(t, zip.Deflate, "fc.weight.npy", npyFile(c.descr, c.order, c.shape, c.data), "fc.bias.npy", bias))
			if err != nil {
				t.Fatal(err)
			}
			l := m.Layers[0].(Linear)
			if got := floats(l.Weight); !sameBits(got, c.want) || l.Weight.Dtype() != c.dtype || l.Name != "fc" {
				t.Errorf("%s is %v of %v, want fc, %v of %v", l.Name, got, l.Weight.Dtype(), c.want, c.dtype)
			}
		})
	}
	// Three dimensions of different size, against the definition of the order.
	data := make([]float32, 24)
	for i := range data {
		data[i] = float32(i)
	}
	raw, _ := appendNumbers(nil, data, "F32")
	kernel := npyFile("<f4", "True", "2, 3, 2, 2", raw)
	list := `{"input":[3,2,2],"layers":[{"type":"conv2d","name":"fc"}]}`
	d := archive(t, zip.Store, "fc.weight.npy", kernel, "fc.num_batches_tracked.npy", npyFile("<i8", "False", "", make([]byte, 8)))
	dir := t.TempDir()
	for name, text := range map[string][]byte{"f.npz": d, "f.json": []byte(list)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Load(filepath.Join(dir, "f.npz"))
	if err != nil {
		t.Fatal(err)
	}
	got := floats(m.Layers[0].(Conv2D).Weight)
	for o := range 2 {
		for c := range 3 {
			for u := range 2 {
				for v := range 2 {
					if want := float64(o + 2*(c+3*(u+2*v))); got[((o*3+c)*2+u)*2+v] != want {
						t.Errorf("element %d %d %d %d is %v, want %v", o, c, u, v, got[((o*3+c)*2+u)*2+v], want)
					}
				}
			}
		}
	}
}

func TestNPZErrors(t *testing.T) {
	two := npyFile("<f4", "False", "2, 1", make([]byte, 8))
	nan, _ := appendNumbers(nil, []float64{0, math.NaN()}, "F64")
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"no zip", []byte("hello"), "a text file, want ONNX, safetensors or NPZ"},
		{"torch.save", archive(t, zip.Store, "archive/data.pkl", two, "archive/data/0", two), "a file of torch.save, want ONNX, safetensors or NPZ: pickled programs are not run"},
		{"another file", archive(t, zip.Store, "a.weight", two, "b", two), "a zip archive, want ONNX, safetensors or NPZ: unpack it"},
		{"another file beside arrays", archive(t, zip.Store, "a.npy", two, "b", two), "b in the archive, want names that end in .npy"},
		{"two of a name", archive(t, zip.Store, "a.weight.npy", two, "a.weight.npy", two), "tensor a.weight: two of this name"},
		{"integers", archive(t, zip.Store, "a.weight.npy", npyFile("<i4", "False", "2, 1", make([]byte, 8)), "b.weight.npy", two), "tensor a.weight: dtype <i4, want float16, float32 or float64"},
		{"complex", archive(t, zip.Store, "a.weight.npy", npyFile("<c8", "False", "2, 1", make([]byte, 16)), "b.weight.npy", two), "tensor a.weight: dtype <c8, want"},
		{"wide floats", archive(t, zip.Store, "a.weight.npy", npyFile("<f16", "False", "2, 1", make([]byte, 32)), "b.weight.npy", two), "tensor a.weight: dtype <f16, want"},
		{"text", archive(t, zip.Store, "a.weight.npy", []byte("hello"), "b.weight.npy", two), `tensor a.weight: starts with "hello"`},
		{"cut", archive(t, zip.Store, "a.weight.npy", two[:len(two)-1], "b.weight.npy", two), "tensor a.weight: truncated: 7 bytes after the header, want 8"},
		{"too long", archive(t, zip.Store, "a.weight.npy", append(two[:len(two):len(two)], 0), "b.weight.npy", two), "tensor a.weight: oversized, at least: 9 bytes after the header, want 8"},
		{"a huge claim", archive(t, zip.Store, "a.weight.npy", npyFile("<f4", "False", "65536, 65536", nil), "b.weight.npy", two), "tensor a.weight: declares 17179869184 bytes"},
		{"an overflow", archive(t, zip.Store, "a.weight.npy", npyFile("<f4", "False", "4294967296, 4294967296", nil), "b.weight.npy", two), "overflow, want a product"},
		{"NaN", archive(t, zip.Store, "a.weight.npy", npyFile("<f8", "False", "2, 1", nan), "b.weight.npy", two), "tensor a.weight: element 1 is NaN"},
		{"no order", archive(t, zip.Store, "a.weight.npy", two, "b.weight.npy", two), "the layers do not follow each other in any order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode("f.npz", c.data)
			wantError(t, err, "model: f.npz: ", c.want)
		})
	}
}
