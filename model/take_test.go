package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"advsweep/model/internal/formats"
)

// tensors64 fills tensors with numbers that are their own.
func tensors64(shape ...int) (data []float64) {
	data = make([]float64, formats.Volume(shape))
	for i := range data {
		data[i] = math.Sin(float64(7*i + 3*len(shape)))
	}
	return data
}

func linear64(name string, out, in int) Linear {
	return Linear{name, formats.Dense(tensors64(out, in), out, in), formats.Dense(tensors64(out), out)}
}

// TestTakePixels: the model of pixels in [0, 1] is the old one at lo + (hi-lo)·x, whatever takes
// the image, and an MLP stays an MLP.
func TestTakePixels(t *testing.T) {
	conv := func(name string, stride int) Conv2D {
		return Conv2D{Name: name, Weight: formats.Dense(tensors64(2, 2, 3, 3), 2, 2, 3, 3), Bias: formats.Dense(tensors64(2), 2), Stride: [2]int{stride, stride}, Pad: [4]int{1, 1, 1, 1}}
	}
	scale := Scale{"pixels", formats.Dense([]float64{2, -3}, 2), formats.Dense([]float64{1, 5}, 2)}
	image := []int{2, 3, 3}
	for _, c := range []struct {
		name string
		m    *Model
		more int // layers that come first
		mlp  bool
	}{
		{"an MLP", &Model{Input: []int{18}, Layers: []Layer{linear64("a", 4, 18), ReLU{}, linear64("b", 3, 4)}}, 0, true},
		{"a Scale", &Model{Input: image, Layers: []Layer{scale, linear64("b", 3, 18)}}, 0, false},
		{"a Conv2D with padding", &Model{Input: image, Layers: []Layer{conv("a", 1), linear64("b", 3, 18)}}, 1, false},
		{"a Scale that is called pixels, later", &Model{Input: image, Layers: []Layer{conv("a", 1), scale, linear64("b", 3, 18)}}, 1, false},
		{"a Scale beside the image", &Model{Input: image, Layers: []Layer{scale, Add{}, linear64("b", 3, 18)}, From: [][]int{{-1}, {-1, 0}, {1}}}, 1, false},
		{"a Linear beside another", &Model{Input: []int{18}, Layers: []Layer{linear64("a", 3, 18), linear64("b", 3, 18), Add{}}, From: [][]int{{-1}, {-1}, {0, 1}}}, 1, false},
	} {
		for _, line := range [][2]float64{{0, 255}, {-1, 1}, {3, 7}} {
			x := tensors64(18)
			moved := make([]float64, len(x))
			for i, v := range x {
				moved[i] = line[0] + float64((line[1]-line[0])*v)
			}
			want := evaluate(t, c.m, moved)
			m := *c.m
			if err := m.TakePixels(line[0], line[1]); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if got := len(m.Layers) - len(c.m.Layers); got != c.more {
				t.Errorf("%s: %d layers more, want %d", c.name, got, c.more)
			}
			if m.IsMLP() != c.mlp {
				t.Errorf("%s: an MLP: %v", c.name, m.IsMLP())
			}
			for k, v := range evaluate(t, &m, x) {
				// 18 products of up to 255, and sums of them
				if !(math.Abs(v-want[k]) <= 1e-12*(1+255*20)) {
					t.Errorf("%s at %v: logit %d is %v, want %v", c.name, line, k, v, want[k])
				}
			}
			if err := m.TakePixels(0, 2); err == nil {
				t.Errorf("%s: scaled twice", c.name)
			}
		}
	}
}

func TestTakePixelsErrors(t *testing.T) {
	big := MLP(2, 2)
	big.Layers[0].(Linear).Weight.Data().([]float32)[0] = 1e38
	before := slices.Clone(big.Layers[0].(Linear).Weight.Data().([]float32))
	if err := big.TakePixels(0, 255); err == nil || !strings.Contains(err.Error(), "fc1.weight") || big.Source.Pixels != "" {
		t.Errorf("a weight that overflows: %v, source %+v", err, big.Source)
	}
	if now := big.Layers[0].(Linear).Weight.Data().([]float32); !slices.Equal(now, before) {
		t.Errorf("weights are %v, want %v as before", now, before)
	}
	for _, text := range []string{"", "255", "0,", "255,0", "1,1", "0,inf", "nan,1", "0,1,2", "-1e308,1e308", "0,1e-60", "0,0.5,1"} {
		if lo, hi, err := ParsePixels(text); err == nil {
			t.Errorf("%q is read as %v, %v", text, lo, hi)
		}
	}
	if lo, hi, err := ParsePixels(" -1, 1 "); lo != -1 || hi != 1 || err != nil {
		t.Errorf("-1,1 is read as %v, %v, %v", lo, hi, err)
	}
}

// TestSetActivation: every name of Activations is that of a kind of layer, and takes the place of
// each ReLU of a model that was read by names, and of no other.
func TestSetActivation(t *testing.T) {
	data := file(raw{"fc1.weight", "F32", []int{3, 4}}, raw{"fc2.weight", "F32", []int{3, 3}}, raw{"fc3.weight", "F32", []int{2, 3}})
	for _, name := range Activations() {
		m, err := Decode("f.safetensors", data)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Notes) != 1 || m.Assumed != "relu" || m.Source.Activation != "" {
			t.Fatalf("notes %q, assumed %q, source %+v: want a note that ReLU is taken for granted", m.Notes, m.Assumed, m.Source)
		}
		if err := m.SetActivation(name); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(m.Notes) != 0 || m.Source.Activation != name {
			t.Errorf("%s: notes %q, source %+v", name, m.Notes, m.Source)
		}
		if got := m.Layers[1].Kind() + " " + m.Layers[3].Kind(); got != name+" "+name {
			t.Errorf("%s: layers are %s", name, got)
		}
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// What is written tells the activation: nothing is taken for granted then.
		again, err := m.Encode("float32")
		if err != nil {
			t.Fatal(err)
		}
		if m, err = Decode("f.safetensors", again); err != nil || m.Assumed != "" || len(m.Notes) > 0 || m.Layers[1].Kind() != name {
			t.Errorf("%s: read again: %v, %+v", name, err, m)
		}
	}
	m, _ := Decode("f.safetensors", data)
	if err := m.SetActivation("relax"); err == nil || !strings.Contains(err.Error(), "relax") || !strings.Contains(err.Error(), "tanh") {
		t.Errorf("an unknown name: %v", err)
	}
	embedded, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if err := embedded.SetActivation("tanh"); err == nil || len(embedded.Notes) > 0 {
		t.Errorf("the embedded model takes an activation: %v, notes %q", err, embedded.Notes)
	}
}

// TestFirstFactor: of several factors the small one counts, wherever it is.
func TestFirstFactor(t *testing.T) {
	s := Scale{"s", formats.Dense([]float64{2, 0.01, -4}, 3), formats.Dense(make([]float64, 3), 3)}
	again := Scale{"t", formats.Dense([]float64{0.5, 0.5, 0.5}, 3), formats.Dense(make([]float64, 3), 3)}
	if got, ok := (&Model{Input: []int{3}, Layers: []Layer{s, again, linear64("l", 2, 3)}}).FirstFactor(); got != 0.005 || !ok {
		t.Errorf("the factor is %v, %v, want 0.005", got, ok)
	}
	if got, ok := (&Model{Input: []int{3}, Layers: []Layer{linear64("l", 3, 3), s}}).FirstFactor(); ok {
		t.Errorf("the factor is %v, but a Linear comes first", got)
	}
}
