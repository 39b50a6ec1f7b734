package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"advsweep/model/internal/formats"
	"advsweep/model/internal/golden"

	"github.com/google/go-cmp/cmp"
)

// The three ways to write a network that lists begins with, against the layers that they mean.
func TestLayerLists(t *testing.T) {
	for i, c := range []struct {
		name   string
		layers []string
		from   [][]int
	}{
		{"1x4x4-2x4x4-3", []string{"scale", "conv2d", "scale", "relu", "maxpool2d", "linear"}, nil},
		{"1x4x4-2x4x4-3", []string{"conv2d", "scale", "tanh", "add", "leakyrelu", "avgpool2d", "gelu", "linear"},
			[][]int{{-1}, {0}, {1}, {2, 0}, {3}, {4}, {5}, {6}}},
		{"1x4x4-2x2x2-3", []string{"conv2d", "scale", "sigmoid", "gelu", "add", "linear"}, [][]int{{-1}, {0}, {1}, {1}, {2, 3, 1}, {4}}},
	} {
		quoted, _ := json.Marshal(lists[i])
		m, err := Decode("f", listedFile(string(quoted)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range m.Layers {
			got = append(got, l.Kind())
		}
		if m.String() != c.name || !slices.Equal(got, c.layers) {
			t.Errorf("list %d is %s of %v, want %s of %v", i, m, got, c.name, c.layers)
		}
		if diff := cmp.Diff(c.from, m.From); diff != "" {
			t.Errorf("list %d: From (-want +got):\n%s", i, diff)
		}
		checkRoundTrip(t, m)
	}
	quoted, _ := json.Marshal(lists[1])
	m, err := Decode("f", listedFile(string(quoted)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Layers[5], (AvgPool2D{[2]int{3, 3}, [2]int{2, 2}, [4]int{0, 0, 1, 1}, true}); got != want {
		t.Errorf("average pool is %+v, want %+v", got, want)
	}
	if got, want := m.Layers[4], (LeakyReLU{Slope: 0.1}); got != want {
		t.Errorf("leaky ReLU is %+v, want %+v", got, want)
	}
	if got, want := m.Layers[6], (GELU{Tanh: true}); got != want {
		t.Errorf("GELU is %+v, want %+v", got, want)
	}
}

// Each example of a layer is read as it was written, with all that it says and every weight.
func TestExampleLists(t *testing.T) {
	for i, e := range Examples() {
		m := e.Model()
		checkRoundTrip(t, m)
		encoded, err := m.Encode(m.Dtype())
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode("f", encoded)
		if err != nil {
			t.Fatal(err)
		}
		for k, got := range again.Layers {
			want := m.Layers[k]
			if got, want := again.Takes(k), m.Takes(k); !slices.Equal(got, want) {
				t.Errorf("example %d, layer %d: from %v, want %v", i, k, got, want)
			}
			bare := func(l Layer) Layer { // sameNetwork compared the weights
				switch l := l.(type) {
				case Linear:
					return Linear{Name: l.Name}
				case Scale:
					return Scale{Name: l.Name}
				case Constant:
					return Constant{Name: l.Name}
				case Conv2D:
					l.Weight, l.Bias, l.Groups = nil, nil, l.Split()
					return l
				}
				return l
			}
			if diff := cmp.Diff(bare(want), bare(got), cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
				t.Errorf("example %d, layer %d, %s (-want +got):\n%s", i, k, want.Kind(), diff)
			}
		}
	}
}

// What unrun makes of runs is what they were made of, and runs are as few as they can be told.
func TestRuns(t *testing.T) {
	for _, c := range []struct {
		index []int32
		want  [][3]int
	}{
		{[]int32{0, 1, 2, 3}, [][3]int{{0, 1, 4}}},
		{[]int32{3, 2, 1, 0, -1}, [][3]int{{3, -1, 5}}},
		{[]int32{-1, -1, -1}, [][3]int{{-1, 0, 3}}},
		{[]int32{5}, [][3]int{{5, 0, 1}}},
		{[]int32{0, 4, 8, 1, 5, 9}, [][3]int{{0, 4, 3}, {1, 4, 3}}},
		{[]int32{7, 7, 0}, [][3]int{{7, 0, 2}, {0, 0, 1}}},
		{[]int32{1 << 30, 0, 1}, [][3]int{{1 << 30, -1 << 30, 2}, {1, 0, 1}}},
	} {
		got := runs(c.index)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("runs of %v (-want +got):\n%s", c.index, diff)
		}
		back, err := new(builder).unrun(got, []int{len(c.index)})
		if err != nil || !slices.Equal(back, c.index) {
			t.Errorf("%v becomes %v, %v", c.index, back, err)
		}
	}
}

// Of a function that nobody knows there is no value, and its layer has no row.
func TestUnknownFunction(t *testing.T) {
	l := Plain{Of: "sinh"}
	if v := l.Value(1); v == v {
		t.Errorf("sinh(1) is %v, want no number", v)
	}
	m := MLP(3, 2, 2)
	m.Layers[1] = l
	if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "layer 1 is ") {
		t.Errorf("error %v, want one that names layer 1", err)
	}
	for name := range plainFunctions {
		if got := (Plain{Of: name}).Kind(); got != name {
			t.Errorf("%s says that it is %s", name, got)
		}
	}
}

func TestLayerListErrors(t *testing.T) {
	conv := `{"type":"conv2d","name":"conv","pad":1},{"type":"batchnorm","name":"bn"},`
	pool := conv + `{"type":"maxpool2d","kernel":2},`
	fc := `{"type":"linear","name":"fc"}`
	for _, c := range []struct{ name, text, want string }{
		{"no JSON", `{`, "unexpected EOF"},
		{"two texts", `{"layers":[` + fc + `]} {}`, "something follows"},
		{"no layers", `{"input":[1]}`, "no layers"},
		{"a field of the list", `{"layer":[]}`, `unknown field "layer"`},
		{"no type", `{"layers":[{}]}`, "layer 0: no type"},
		{"a type that is none", `{"layers":[{"type":"conv3d"}]}`, "layer 0: type conv3d, want one of abs, add, arrange, avgpool2d"},
		{"a field that is none", `{"layers":[{"type":"relu","Name":"x"}]}`, "layer 0 (relu): field Name, want only from"},
		{"a field of another type", `{"layers":[{"type":"linear","name":"fc","stride":1}]}`, "layer 0 (linear): field stride, want only name, from"},
		{"a stride of three", `{"layers":[{"type":"conv2d","name":"conv","stride":[1,1,1]}]}`, "layer 0 (conv2d): stride: [1,1,1], want a whole number or 2"},
		{"padding of three", `{"layers":[{"type":"conv2d","name":"conv","pad":[1,1,1]}]}`, "layer 0 (conv2d): pad: [1,1,1], want a whole number or 4"},
		{"a stride of a half", `{"layers":[{"type":"conv2d","name":"conv","stride":0.5}]}`, "stride: 0.5, want a whole number"},
		{"no name", `{"layers":[{"type":"linear"}]}`, "layer 0 (linear): no name"},
		{"no kernel", `{"input":[1,4,4],"layers":[{"type":"maxpool2d"}]}`, "layer 0 (maxpool2d): no kernel"},
		{"no input", `{"layers":[` + conv + fc + `]}`, "layer 0 (conv2d): takes the image, whose shape is not given"},
		{"no tensor", `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv2"}]}`, "layer 0 (conv2d): no tensor conv2.weight in the file"},
		{"another rank", `{"input":[1,4,4],"layers":[{"type":"linear","name":"conv"}]}`, "tensor conv.weight: shape (2, 1, 3, 3), want rank 2"},
		{"a tensor unused", `{"layers":[` + fc + `]}`, "tensor conv.weight is not used by any layer"},
		{"from what is behind", `{"input":[1,4,4],"layers":[{"type":"relu","from":[0]}]}`, "layer 0 (relu): from 0, want -1 (the image) to -1"},
		{"from two", `{"input":[1,4,4],"layers":[{"type":"relu"},{"type":"relu","from":[0,-1]}]}`, "layer 1 (relu): from 2 layers, want 1"},
		{"an add of one", `{"input":[1,4,4],"layers":[{"type":"relu"},{"type":"add"}]}`, "layer 1 (add): from 1 layer, want 2"},
		{"an add of shapes", `{"input":[1,4,4],"layers":[` + pool + `{"type":"add","from":[1,2]}]}`, "layer 3 (add): takes [2 4 4] and [2 2 2], want equal shapes, or 1 where they differ"},
		{"an add of three shapes", `{"input":[1,4,4],"layers":[` + conv + `{"type":"add","from":[1,-1,1]}]}`, "layer 2 (add): takes [2 4 4] and [1 4 4], want equal shapes"},
		{"groups of none", `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","groups":0}]}`, "layer 0 (conv2d): groups 0, want 1 or more"},
		{"groups that do not divide", `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","groups":3}]}`, "layer 0 (conv2d): 3 groups of 2 filters, want a number that divides them"},
		{"groups of other channels", `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","groups":2}]}`, "layer 0 (conv2d): takes [1 4 4], 1 channels, want 2"},
		{"a window too far apart", `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","dilation":2}]}`, "layer 0 (conv2d): takes [1 4 4]"},
		{"a pool that may miss the image", `{"input":[1,2,2],"layers":[{"type":"maxpool2d","kernel":2,"pad":1,"dilation":2}]}`, "want an image of the kernel's size"},
		{"a clip without bounds", `{"input":[4],"layers":[{"type":"clip","lo":0}]}`, "layer 0 (clip): no lo and hi"},
		{"a clip the wrong way", `{"input":[4],"layers":[{"type":"clip","lo":1,"hi":0}]}`, "layer 0 (clip): from 1 to 0, want lo not above hi"},
		{"a threshold of none", `{"input":[4],"layers":[{"type":"thresholdedrelu"}]}`, "layer 0 (thresholdedrelu): no alpha"},
		{"a power of none", `{"input":[4],"layers":[{"type":"pow"}]}`, "layer 0 (pow): no power"},
		{"a constant that takes something", `{"input":[4],"layers":[{"type":"constant","name":"fc","from":[-1]}]}`, "layer 0 (constant): from 1 layers, want 0"},
		{"a product of one", `{"input":[4],"layers":[{"type":"mul"}]}`, "layer 0 (mul): from 1 layer, want 2"},
		{"a difference of three", `{"input":[4],"layers":[{"type":"sub","from":[-1,-1,-1]}]}`, "layer 0 (sub): from 3 layers, want 2"},
		{"a reduction that is none", `{"input":[4],"layers":[{"type":"reduce","by":"median"}]}`, "layer 0 (reduce): by median, want one of [sum mean max logsumexp]"},
		{"an arrangement of too few", `{"input":[4],"layers":[{"type":"arrange","shape":[4],"runs":[[0,1,3]]}]}`, "layer 0 (arrange): runs of 3 places, want 4 for shape [4]"},
		{"an arrangement of too many", `{"input":[4],"layers":[{"type":"arrange","shape":[4],"runs":[[0,1,3],[0,0,9]]}]}`, "layer 0 (arrange): run [0 0 9], want 4 places in all for shape [4]"},
		{"an arrangement of what is not there", `{"input":[4],"layers":[{"type":"arrange","shape":[2],"runs":[[3,1,2]]}]}`, "layer 0 (arrange): place 4 of number 1, want -1 to 3"},
		{"an arrangement below all", `{"input":[4],"layers":[{"type":"arrange","shape":[2],"runs":[[-1,-1,2]]}]}`, "layer 0 (arrange): run [-1 -1 2] goes to place -2, want -1 or more"},
		{"an arrangement of no shape", `{"input":[4],"layers":[{"type":"arrange","runs":[[0,1,1]]}]}`, "layer 0 (arrange): "},
		{"an arrangement too large", `{"input":[4],"layers":[{"type":"arrange","shape":[1000000000000],"runs":[[0,0,1000000000000]]}]}`, "layer 0 (arrange): shape [1000000000000], want 1 to"},
		{"an arrangement that no file backs", `{"input":[4],"layers":[{"type":"arrange","shape":[100000000],"runs":[[0,0,100000000]]}]}`, "layer 0 (arrange): 100000000 places in all arrangements so far, want 67108864 or fewer"},
		{"an arrangement of huge steps", `{"input":[4],"layers":[{"type":"arrange","shape":[5],"runs":[[0,4611686018427387904,5]]}]}`, "layer 0 (arrange): run [0 4611686018427387904 5], want a step of 2147483647 at most"},
		{"matrices that do not fit", `{"input":[2,3,4],"layers":[{"type":"matmul","from":[-1,-1]}]}`, "layer 0 (matmul): takes [2 3 4] and [2 3 4]: 3 and 3 matrices, and sums of 2 and 4 terms, want equal numbers"},
		{"shapes", `{"input":[1,5,5],"layers":[` + conv + fc + `]}`, "layer 2 (linear): takes [2 5 5], 50 elements, want 8"},
		{"padding of an average", `{"input":[1,4,4],"layers":[{"type":"avgpool2d","kernel":2,"pad":1}]}`, "padding without count_pad"},
		{"std of 0", `{"input":[1,4,4],"layers":[{"type":"normalize","mean":[0],"std":[0]}]}`, "mean 0 and std 0, want positive std"},
		{"means", `{"input":[1,4,4],"layers":[{"type":"normalize","mean":[0,1],"std":[1]}]}`, "2 means and 1 standard deviations"},
		{"variance", `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv"},{"type":"batchnorm","name":"bn","eps":0}]}`, "variance 0 and eps 0 give no finite factor"},
		{"the last is not the output", `{"input":[1,4,4],"layers":[` + pool + fc + `,{"type":"flatten","from":[2]}]}`, "the last entry does not give"},
	} {
		t.Run(c.name, func(t *testing.T) {
			quoted, _ := json.Marshal(c.text)
			_, err := Decode("f", listedFile(string(quoted)))
			wantError(t, err, "model: f: layer list in __metadata__: ", c.want)
		})
	}
}

// A list in a file of its own: beside the weights, or named; what is beside but is no list does not
// matter.
func TestLayerListFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	weights := file(raw{"fc1.weight", "F32", []int{3, 2}}, raw{"fc2.weight", "F32", []int{2, 3}})
	path := write("net.safetensors", weights)
	kinds := func(m *Model, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m.Layers[1].Kind()
	}
	plain, err := Load(path)
	if got := kinds(plain, err); got != "relu" {
		t.Errorf("without a list the second layer is %s, want relu", got)
	}
	write("net.json", []byte(`{"epochs":5}`))
	if got := kinds(Load(path)); got != "relu" {
		t.Errorf("beside another JSON file the second layer is %s, want relu", got)
	}
	write("net.json", []byte(`{"layers":[{"type":"linear","name":"fc1"},{"type":"tanh"},{"type":"linear","name":"fc2"}]}`))
	listed, err := Load(path)
	if got := kinds(listed, err); got != "tanh" {
		t.Errorf("beside a list the second layer is %s, want tanh", got)
	}
	if plain.Source.SHA256 == listed.Source.SHA256 {
		t.Error("the hash does not cover the list")
	}
	other := write("other", []byte(`{"layers":[{"type":"linear","name":"fc1"},{"type":"sigmoid"},{"type":"linear","name":"fc2"}]}`))
	if got := kinds(LoadLayers(path, other)); got != "sigmoid" {
		t.Errorf("with a named list the second layer is %s, want sigmoid", got)
	}
	_, err = LoadLayers(path, filepath.Join(dir, "none"))
	wantError(t, err, "model: "+path, "layer list", "none")
	write("net.json", []byte(`{"layers":`))
	_, err = Load(path)
	wantError(t, err, "model: "+path, "net.json", "unexpected EOF")
}

// mix is the hash that testdata/onnx/large.py makes weights and pixels with.
func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// Networks of real size: through a safetensors file with a layer list, against float64 PyTorch.
func TestLarge(t *testing.T) {
	text, err := os.ReadFile("testdata/onnx/large.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Networks []struct {
			Name   string
			Shape  []int
			Logits [][]float64
			Layers []struct {
				Op, Weight     string
				Mean           any
				Stride, Kernel any
				Pad, From      any
				Eps, Std       any
			}
			Tensors []struct {
				Name       string
				Shape      []int
				Offset     uint32
				Add, Scale float64
			}
		}
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, n := range all.Networks {
		t.Run(n.Name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(n.Name, "resnet") {
				t.Skip("short")
			}
			var layers []map[string]any
			names := map[string]string{"conv": "conv2d", "maxpool": "maxpool2d", "avgpool": "avgpool2d", "globalavgpool": "globalavgpool2d", "normalise": "normalize"}
			for _, l := range n.Layers {
				entry := map[string]any{"type": l.Op}
				if s := names[l.Op]; s != "" {
					entry["type"] = s
				}
				for key, v := range map[string]any{"stride": l.Stride, "kernel": l.Kernel, "pad": l.Pad, "eps": l.Eps, "std": l.Std, "from": l.From} {
					if v != nil {
						entry[key] = v
					}
				}
				if l.Op == "normalise" {
					entry["mean"] = l.Mean
				}
				if l.Weight != "" {
					entry["name"] = strings.TrimSuffix(l.Weight, ".weight")
				}
				layers = append(layers, entry)
			}
			list, _ := json.Marshal(map[string]any{"input": n.Shape, "layers": layers})
			var raws []raw
			for _, p := range n.Tensors {
				raws = append(raws, raw{p.Name, "F32", p.Shape})
			}
			data := file(raws...)
			at := data[len(data)-4*numbersIn(raws):]
			for _, p := range n.Tensors {
				var values []float32
				for i := range formats.Volume(p.Shape) {
					u := float64(mix(p.Offset+uint32(i))>>8)*0x1p-23 - 1
					values = append(values, float32(p.Add+p.Scale*u))
				}
				b, _ := appendNumbers(nil, values, "F32")
				copy(at, b)
				at = at[len(b):]
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "net.safetensors")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "net.json"), list, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := m.IsMLP(), strings.HasPrefix(n.Name, "mnist_fc"); got != want {
				t.Errorf("an MLP: %v, want %v", got, want)
			}
			if n.Name == "resnet18_64" { // the same code as resnet18_16, and minutes of plain loops
				t.Log(m)
				return
			}
			r := golden.Reference{Logits: n.Logits}
			for i := range n.Logits {
				x := make([]float64, formats.Volume(n.Shape))
				for k := range x {
					x[k] = float64(mix(1<<31+uint32(i*len(x)+k))>>24) / 256
				}
				r.Inputs = append(r.Inputs, x)
			}
			t.Logf("%s: within %.1e", m, r.Agree(t, func(x []float64) []float64 { return evaluate(t, m, x) }, 2e-6))
		})
	}
}

func numbersIn(raws []raw) int {
	n := 0
	for _, r := range raws {
		n += formats.Volume(r.shape)
	}
	return n
}
