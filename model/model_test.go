package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"advsweep/model/internal/formats"
	"advsweep/model/internal/golden"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// fill gives every weight of m a small number of its own.
func fill(m *Model) *Model {
	for n, layer := range m.Layers {
		if l, ok := layer.(Linear); ok {
			for i, data := range [][]float32{l.Weight.Data().([]float32), l.Bias.Data().([]float32)} {
				for j := range data {
					data[j] = float32((j*37+i*11+n*5)%201-100) / 128
				}
			}
		}
	}
	return m
}

func TestMLP(t *testing.T) {
	m := MLP(784, 1024, 30, 10)
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	if m.Inputs() != 784 || m.Outputs() != 10 || m.String() != "784-1024-30-10" || len(m.Layers) != 5 {
		t.Errorf("inputs %d, outputs %d, %s, %d layers; want 784, 10, 784-1024-30-10, 5", m.Inputs(), m.Outputs(), m, len(m.Layers))
	}
	l := m.Layers[2].(Linear)
	if l.Name != "fc2" || !l.Weight.Shape().Eq(tensor.Shape{30, 1024}) || !l.Bias.Shape().Eq(tensor.Shape{30}) {
		t.Errorf("second layer is %s, %v, %v; want fc2, (30, 1024), (30)", l.Name, l.Weight.Shape(), l.Bias.Shape())
	}
	if m := MLP(3, 2); len(m.Layers) != 1 || m.String() != "3-2" {
		t.Errorf("MLP(3, 2) is %s of %d layers, want 3-2 of 1", m, len(m.Layers))
	}
	for _, sizes := range [][]int{nil, {3}, {3, 0}, {-1, 2}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("MLP(%v) does not panic", sizes)
				}
			}()
			MLP(sizes...)
		}()
	}
	if empty := new(Model); empty.Inputs() != 0 || empty.Outputs() != 0 || empty.String() != "0" {
		t.Errorf("empty model: inputs %d, outputs %d, %s; want 0, 0, 0", empty.Inputs(), empty.Outputs(), empty)
	}
}

func TestValidateErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Model)
		want   string
	}{
		{"no layers", func(m *Model) { m.Layers = nil }, "no layers"},
		{"no weights", func(m *Model) { m.Layers = []Layer{ReLU{}} }, "want 1 to"},
		{"input of two", func(m *Model) { m.Input = []int{3, 1} }, "input [3 1], want [I] or [C, H, W]"},
		{"input of 0", func(m *Model) { m.Input = []int{0} }, "input [0]"},
		{"input that does not fit", func(m *Model) { m.Input = []int{1, 2, 2} }, "layer fc1: takes [1 2 2], 4 elements, want 3"},
		{"pointer", func(m *Model) { l := m.Layers[0].(Linear); m.Layers[0] = &l }, "layer 0 is *model.Linear, want a layer of this package"},
		{"wiring missing", func(m *Model) { m.From = [][]int{{-1}, {0}} }, "3 layers, but From tells of 2"},
		{"takes what is not there yet", func(m *Model) { m.From = [][]int{{-1}, {1}, {1}} }, "layer 1 (relu) takes the output of layer 1"},
		{"takes nothing", func(m *Model) { m.From = [][]int{{-1}, {}, {1}} }, "takes 0 outputs, want 1"},
		{"add of one", func(m *Model) { m.Layers[1] = Add{} }, "layer 1 (add) takes 1 outputs, want at least 2"},
		{"add of two shapes", func(m *Model) { m.Layers[1], m.From = Add{}, [][]int{{-1}, {-1, 0}, {1}} }, "layer 1 (add): takes [3] and [4]"},
		{"pool without image", func(m *Model) { m.Layers[1] = MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}} }, "layer 1 (maxpool2d): takes [4], want an image"},
		{"slope", func(m *Model) { m.Layers[1] = LeakyReLU{Slope: math.NaN()} }, "slope NaN"},
		{"nil layer", func(m *Model) { m.Layers[0] = nil }, "layer 0 is <nil>"},
		{"equal names", func(m *Model) { set(m, 2, func(l *Linear) { l.Name = "fc1" }) }, "tensor fc1.weight: another one is named so too"},
		{"no weight", func(m *Model) { set(m, 0, func(l *Linear) { l.Weight = nil }) }, "tensor fc1.weight: missing"},
		{"no bias", func(m *Model) { set(m, 2, func(l *Linear) { l.Bias = nil }) }, "tensor fc2.bias: missing"},
		{"rank", func(m *Model) { set(m, 0, func(l *Linear) { l.Weight = formats.Dense(make([]float32, 12), 12) }) }, "tensor fc1.weight: shape (12), want rank 2"},
		{"type", func(m *Model) {
			set(m, 0, func(l *Linear) { l.Weight = tensor.New(tensor.Of(tensor.Int32), tensor.WithShape(4, 3)) })
		},
			"tensor fc1.weight: type int32, want float32 or float64"},
		{"types differ", func(m *Model) { set(m, 0, func(l *Linear) { l.Bias = formats.Dense(make([]float64, 4), 4) }) }, "tensor fc1.bias: float64, want float32"},
		{"bias too long", func(m *Model) { set(m, 0, func(l *Linear) { l.Bias = formats.Dense(make([]float32, 5), 5) }) }, "tensor fc1.bias: 5 elements, want 4"},
		{"shapes do not chain", func(m *Model) { set(m, 2, func(l *Linear) { l.Weight = formats.Dense(make([]float32, 10), 2, 5) }) },
			"layer fc2: takes [4], 4 elements, want 5"},
		{"transposed", func(m *Model) {
			set(m, 0, func(l *Linear) {
				if err := l.Weight.T(); err != nil {
					panic(err)
				}
			})
		}, "tensor fc1.weight: not contiguous"},
		{"NaN", func(m *Model) { m.Layers[0].(Linear).Weight.Data().([]float32)[7] = float32(math.NaN()) }, "tensor fc1.weight: element 7 is NaN"},
		{"Inf", func(m *Model) { m.Layers[2].(Linear).Bias.Data().([]float32)[1] = float32(math.Inf(-1)) }, "tensor fc2.bias: element 1 is -Inf"},
		{"one class", func(m *Model) {
			set(m, 2, func(l *Linear) {
				l.Weight, l.Bias = formats.Dense(make([]float32, 4), 1, 4), formats.Dense(make([]float32, 1), 1)
			})
		}, "layer fc2, the last one, has 1 output, want at least 2 classes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := MLP(3, 4, 2)
			m.Source.Name = "some-file"
			c.change(m)
			wantError(t, m.Validate(), "model: some-file: ", c.want)
			_ = m.String() + string(rune(m.Inputs()+m.Outputs())) // must not panic either
			if _, err := m.Encode("float32"); err == nil {
				t.Error("Encode: error is nil")
			}
		})
	}
}

func set(m *Model, i int, change func(*Linear)) {
	l := m.Layers[i].(Linear)
	change(&l)
	m.Layers[i] = l
}

// wantError fails unless err is one line that contains every part.
var wantError = golden.WantError

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers []width
		want   string // the names, or a part of the error
	}{
		{"one", []width{{"fc", 3, 2}}, "fc"},
		{"numbers", []width{{"l.10", 5, 2}, {"l.9", 4, 5}, {"l.1", 3, 4}}, "l.1 l.9 l.10"},
		{"numbers of equal shape", []width{{"10", 4, 4}, {"9", 4, 4}, {"100", 4, 4}, {"1", 4, 4}}, "1 9 10 100"},
		{"words of equal shape", []width{{"b", 4, 4}, {"a", 4, 4}}, "several orders"},
		{"square words and an end", []width{{"input", 4, 4}, {"hidden", 4, 4}, {"output", 4, 2}}, "input hidden output"},
		{"ordinals", []width{{"net.third", 4, 4}, {"net.first", 4, 4}, {"net.second", 4, 4}}, "net.first net.second net.third"},
		{"numbered words", []width{{"out_layer", 4, 4}, {"hid10", 4, 4}, {"hid9", 4, 4}, {"inp", 4, 4}}, "inp hid9 hid10 out_layer"},
		{"words that shapes contradict", []width{{"first", 4, 4}, {"second", 5, 4}, {"third", 4, 5}}, "several orders"},
		{"a word that is no rank", []width{{"input", 4, 4}, {"body", 4, 4}, {"output", 4, 4}}, "several orders"},
		{"an average beside", []width{{"fc1", 4, 3}, {"fc2", 3, 2}, {"ema.fc1", 4, 3}, {"ema.fc2", 3, 2}}, "twice, with no prefix and under ema"},
		{"two averages", []width{{"model.fc1", 4, 4}, {"model.fc2", 4, 4}, {"ema.fc1", 4, 4}, {"ema.fc2", 4, 4}}, "twice, under ema and under model"},
		{"numbers between words", []width{{"stem", 9, 6}, {"body2", 6, 6}, {"body1", 6, 6}, {"head", 6, 2}}, "stem body1 body2 head"},
		{"blocks", []width{{"encoder.0", 9, 6}, {"encoder.2", 6, 6}, {"decoder.0", 6, 6}, {"decoder.2", 6, 6}, {"head", 6, 2}},
			"encoder.0 encoder.2 decoder.0 decoder.2 head"},
		{"numbers that shapes contradict", []width{{"l1", 6, 2}, {"l2", 9, 6}}, "l2 l1"},
		{"words", []width{{"input", 8, 6}, {"hidden", 6, 5}, {"output", 5, 2}}, "input hidden output"},
		{"words backwards", []width{{"a", 3, 2}, {"b", 4, 3}, {"c", 5, 4}}, "c b a"},
		{"a square among words", []width{{"a", 6, 2}, {"b", 6, 6}, {"c", 9, 6}}, "c b a"},
		{"a loop of two", []width{{"z", 9, 6}, {"a", 6, 7}, {"b", 6, 2}, {"c", 7, 6}}, "z a c b"},
		{"two squares", []width{{"a", 6, 2}, {"b", 6, 6}, {"c", 9, 6}, {"d", 6, 6}}, "several orders"},
		{"two loops", []width{{"z", 9, 6}, {"a", 6, 7}, {"b", 7, 6}, {"c", 6, 8}, {"d", 8, 6}, {"e", 6, 2}}, "several orders"},
		{"a ring that names break", []width{{"a", 3, 4}, {"b", 5, 3}, {"c", 4, 5}}, "several orders"},
		{"gap", []width{{"a", 3, 4}, {"b", 5, 2}}, "in any order"},
		{"fork", []width{{"a", 3, 4}, {"b", 4, 2}, {"c", 4, 2}}, "in any order"},
		{"apart, balanced", []width{{"a", 3, 3}, {"b", 4, 4}}, "in any order"},
		{"apart, one walk and one ring", []width{{"a", 3, 2}, {"b", 4, 5}, {"c", 5, 4}}, "a.weight [2, 3], b.weight [5, 4], c.weight [4, 5]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := order(c.layers)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error is %q, want %q", err, c.want)
				}
				return
			}
			var names []string
			for _, l := range got {
				names = append(names, l.name)
			}
			if s := strings.Join(names, " "); s != c.want {
				t.Errorf("order is %q, want %q", s, c.want)
			}
		})
	}
}

// The walk is compared with the count of all permutations that chain, over
// every set of up to 4 layers of widths 1 to 3.
func TestOrderByShapeBruteForce(t *testing.T) {
	var all []width
	for in := 1; in <= 3; in++ {
		for out := 1; out <= 3; out++ {
			all = append(all, width{"", in, out})
		}
	}
	sets := 0
	var try func(layers []width)
	try = func(layers []width) {
		if len(layers) > 0 {
			sets++
			var only []width
			n := 0
			permute(layers, 0, func(p []width) {
				if chains(p) {
					n++
					only = append(only[:0], p...)
				}
			})
			got, count := orderByShape(layers)
			if count != min(n, 2) {
				t.Fatalf("%v: %d orders, want %d", layers, count, min(n, 2))
			}
			if n == 1 && !cmp.Equal(only, got, cmp.AllowUnexported(width{})) {
				t.Fatalf("%v: order is %v, want %v", layers, got, only)
			}
		}
		if len(layers) < 4 {
			for _, l := range all {
				l.name = string(rune('a' + len(layers)))
				try(append(layers[:len(layers):len(layers)], l))
			}
		}
	}
	try(nil)
	if want := 9 + 81 + 729 + 6561; sets != want {
		t.Errorf("%d sets, want %d", sets, want)
	}
}

func permute(layers []width, k int, visit func([]width)) {
	if k == len(layers) {
		visit(layers)
		return
	}
	for i := k; i < len(layers); i++ {
		layers[k], layers[i] = layers[i], layers[k]
		permute(layers, k+1, visit)
		layers[k], layers[i] = layers[i], layers[k]
	}
}

func TestCompareNatural(t *testing.T) {
	// In order; each two are compared both ways.
	names := []string{"", "0", "00", "1", "01", "2", "10", "010", "99999999999999999999999", "100000000000000000000000",
		"a", "a.0", "a.b", "fc", "fc1", "fc1.weight", "fc2", "fc10", "fc10a2", "fc10a10", "net.0", "net.10", "net0"}
	// "1" and "01" are the same number, then compared as strings.
	names[3], names[4] = names[4], names[3]
	names[6], names[7] = names[7], names[6]
	for i, a := range names {
		for j, b := range names {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := compareNatural(a, b); got != want {
				t.Errorf("compareNatural(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"fc1.weight":             "fc1.weight",
		"épaisseur":              "épaisseur",
		"":                       `""`,
		"a b":                    `"a b"`,
		"a\n\x1b[31m":            `"a\n\x1b[31m"`,
		"\xff":                   `"\xff"`,
		strings.Repeat("x", 200): strings.Repeat("x", 80) + "…",
	} {
		if got := formats.Quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestShapes computes those of layers on an image by the formulas of convolution arithmetic.
func TestShapes(t *testing.T) {
	conv := func(out, in, k int) Conv2D {
		return Conv2D{Name: "c", Weight: formats.Dense(make([]float32, out*in*k*k), out, in, k, k), Bias: formats.Dense(make([]float32, out), out), Stride: [2]int{1, 1}}
	}
	moved := func(l Conv2D, stride [2]int, pad [4]int) Conv2D {
		l.Stride, l.Pad = stride, pad
		return l
	}
	two := [2]int{2, 2}
	for _, c := range []struct {
		name  string
		layer Layer
		want  string
	}{
		{"conv", conv(5, 2, 3), "[5 6 4]"},
		{"conv pad", moved(conv(5, 2, 3), [2]int{2, 3}, [4]int{1, 0, 0, 1}), "[5 4 2]"},
		{"conv channels", conv(5, 3, 3), "takes [2 8 6], 2 channels, want 3"},
		{"conv large", conv(5, 2, 9), "smaller than the kernel"},
		{"conv stride", moved(conv(5, 2, 3), [2]int{0, 1}, [4]int{}), "stride [0 1]"},
		{"conv negative pad", moved(conv(5, 2, 3), [2]int{1, 1}, [4]int{-1}), "padding [-1 0 0 0]"},
		{"max", MaxPool2D{Kernel: two, Stride: two}, "[2 4 3]"},
		{"avg", AvgPool2D{Kernel: [2]int{8, 6}, Stride: [2]int{1, 1}}, "[2 1 1]"},
		{"pool pad", MaxPool2D{Kernel: two, Stride: two, Pad: [4]int{2}}, "padding [2 0 0 0] with a kernel of [2 2]"},
		{"scale", Scale{Weight: formats.Dense(make([]float32, 2), 2), Bias: formats.Dense(make([]float32, 2), 2)}, "[2 8 6]"},
		{"scale channels", Scale{Weight: formats.Dense(make([]float32, 3), 3), Bias: formats.Dense(make([]float32, 3), 3)}, "want 3 channels"},
		{"gelu", GELU{}, "[2 8 6]"},
	} {
		m := &Model{Input: []int{2, 8, 6}, Layers: []Layer{c.layer}}
		shapes, err := m.Shapes()
		if got := fmt.Sprint(shapes, err); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestEmbedded(t *testing.T) {
	for name, want := range map[string]string{"mlp": "784-1024-1024-10", "cnn": "1x28x28-16x28x28-32x14x14-10"} {
		m, err := Embedded(name)
		if err != nil {
			t.Fatal(err)
		}
		if m.String() != want || !slices.Contains(EmbeddedNames, name) {
			t.Errorf("%s is %v", name, m)
		}
	}
	for _, name := range []string{"", "resnet", "../mlp", "mnist/mlp"} {
		if m, err := Embedded(name); err == nil {
			t.Errorf("Embedded(%q) = %v, want an error", name, m)
		}
	}
}
