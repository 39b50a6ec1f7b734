package verdict_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/verdict"

	"gorgonia.org/tensor"
)

// said is what a model says of images whose labels go round all classes: the first right ones are
// right, and class gives the others' class.
func said(n, classes, right int, class func(label int) int) []verdict.Said {
	all := make([]verdict.Said, n)
	for i := range all {
		label := i % classes
		all[i] = verdict.Said{Label: int32(label), Class: int32(label)}
		if i >= right {
			all[i].Class = int32(class(label))
		}
	}
	return all
}

// TestClean: with 60 images of 3 labels always the same answer gives 20. That 32 or more are right
// has then a chance of 0.00131, and 33 or more of 0.00055, by sums of exact products.
func TestClean(t *testing.T) {
	next := func(label int) int { return (label + 1) % 3 }
	one := func(n, right int) []verdict.Said { // of one label
		all := make([]verdict.Said, n)
		for i := right; i < n; i++ {
			all[i].Class = 1
		}
		return all
	}
	for _, c := range []struct {
		name  string
		said  []verdict.Said
		level verdict.Level
		guess int
		cause string
	}{
		{"no better than a guess", said(60, 3, 32, next), verdict.Fail, 20, ""},
		{"better", said(60, 3, 33, next), verdict.Pass, 20, ""},
		{"shifted", said(60, 3, 0, next), verdict.Fail, 20, "moved by -1 60 of 60"},
		{"shifted the other way, of many classes", said(100, 10, 0, func(l int) int { return (l + 9) % 10 }), verdict.Fail, 10, "moved by +1 100 of 100"},
		{"permuted", said(100, 5, 0, func(l int) int { return []int{3, 0, 4, 2, 1}[l] }), verdict.Fail, 20, "best order 100 of 100"},
		{"one class", said(60, 3, 0, func(int) int { return 2 }), verdict.Fail, 20, "60 of 60 images class 2"},
		{"nearly one label", func() []verdict.Said {
			all := one(60, 0)
			for i := range 6 {
				all[i] = verdict.Said{Label: 1}
			}
			for i := 6; i < 12; i++ {
				all[i].Class = 0
			}
			return all
		}(), verdict.Fail, 54, "nothing else here tells of the model"},
		{"all right, of one label", one(60, 60), verdict.Pass, 60, ""},
		{"nearly all right, of one label", one(60, 59), verdict.Warn, 60, ""},
		{"none right, of one label", one(60, 0), verdict.Fail, 60, ""},
		{"one image, right", one(1, 1), verdict.Pass, 1, ""},
		{"a few, mostly right", said(5, 3, 4, next), verdict.Warn, 2, ""},
	} {
		classes := 3
		if strings.Contains(c.name, "many") {
			classes = 10
		}
		if strings.Contains(c.name, "permuted") {
			classes = 5
		}
		f := verdict.Clean(c.said, classes)
		if f.Level != c.level || f.Guess != c.guess || f.N != len(c.said) {
			t.Errorf("%s: %s, guess %d, want %s, %d: %s", c.name, f.Level, f.Guess, c.level, c.guess, f)
		}
		if wrong := f.N - f.Right[0]; f.Level == verdict.Fail && len(f.Images) != wrong {
			t.Errorf("%s: names %d images, want the %d that are wrong", c.name, len(f.Images), wrong)
		}
		if strings.Contains(f.String(), "order") != strings.Contains(c.cause, "order") {
			t.Errorf("%s: %s", c.name, f)
		}
		if c.cause == "" && len(f.Causes) > 0 && f.Causes[0].Reason != verdict.OneClass || !strings.Contains(f.String(), c.cause) {
			t.Errorf("%s: %s, want cause %q", c.name, f, c.cause)
		}
	}
}

// bars are images [n, 3, 2, 2] of 3 classes: class k is bright in channel k and, in rows and
// columns, in its first pixel. Values are 0.1 and 0.8, those of even images a little more.
func bars(n int) *dataset.Set {
	pixels, labels := make([]float32, n*12), make([]int32, n)
	for i := range n {
		labels[i] = int32(i % 3)
		for at := range 12 {
			pixels[i*12+at] = 0.1
			if at/4 == i%3 && at%4 != 2 {
				pixels[i*12+at] = 0.8 + 0.05*float32(i%2)
			}
		}
	}
	return &dataset.Set{Images: tensor.New(tensor.WithShape(n, 3, 2, 2), tensor.WithBacking(pixels)), Labels: labels}
}

// brightest is the model that gives an image the class of its brightest channel, where pixels are
// as low as in training or not: logit k is its sum less a threshold, cut off below 0 and above 1.
func brightest(order [3]int, low, factor float32) *model.Model {
	w, b := make([]float32, 36), make([]float32, 3)
	for k := range 3 {
		for at := range 12 {
			if at/4 == order[k] {
				w[k*12+at] = factor
			}
		}
		b[k] = -low
	}
	return &model.Model{Input: []int{3, 2, 2}, Layers: []model.Layer{
		model.Linear{Name: "a", Weight: tensor.New(tensor.WithShape(3, 12), tensor.WithBacking(w)), Bias: tensor.New(tensor.WithShape(3), tensor.WithBacking(b))},
		model.ReLU{}, // equal logits below the threshold: class 0
		model.Linear{Name: "b", Weight: tensor.New(tensor.WithShape(3, 3), tensor.WithBacking([]float32{1, 0, 0, 0, 1, 0, 0, 0, 1})), Bias: tensor.New(tensor.WithShape(3), tensor.WithBacking(make([]float32, 3)))},
	}}
}

// TestProber: what makes a model right that is at chance is found and named, and a sound model is
// left alone.
func TestProber(t *testing.T) {
	look := func(m *model.Model, set *dataset.Set) verdict.Finding {
		t.Helper()
		p := &verdict.Prober{Model: m, Open: func(m *model.Model) (pipeline.Backend, error) { return cpu.New[float32](m, cpu.Options{}) }}
		f, err := p.Look(t.Context(), open(t, m), set)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	plain := [3]int{0, 1, 2}
	for _, c := range []struct {
		name string
		m    *model.Model
		want verdict.Reason // the first cause; "": sound
	}{
		{"sound", brightest(plain, 1, 1), ""},
		{"made for 0 to 255", brightest(plain, 300, 1), verdict.PixelRange},
		{"made for BGR", brightest([3]int{2, 1, 0}, 1, 1), verdict.Reversed},
		{"black is white", brightest(plain, -3, -1), verdict.Inverted},
	} {
		f := look(c.m, bars(90))
		switch {
		case c.want == "" && (f.Level != verdict.Pass || len(f.Causes) > 0):
			t.Errorf("%s: %s: %s", c.name, f.Level, f)
		case c.want != "" && (f.Level != verdict.Fail || len(f.Causes) == 0 || f.Causes[0].Reason != c.want || f.Causes[0].Right != f.Causes[0].N):
			t.Errorf("%s: %s: %s, want cause %s", c.name, f.Level, f, c.want)
		}
	}
	// The labels of BGR are also those of another order of classes. Both are said.
	if f := look(brightest([3]int{2, 1, 0}, 1, 1), bars(90)); len(f.Causes) < 2 {
		t.Errorf("BGR: %s", f)
	}
	// Bytes from 0 to 16, and of 0 and 1, are v/255.
	for _, top := range []float64{16, 1} {
		set := bars(90)
		pixels := set.Images.Data().([]float32)
		for i, v := range pixels {
			pixels[i] = float32(math.Round(top*float64(v)/0.85)) / 255
		}
		f := look(brightest(plain, 1, 1), set)
		if f.Level != verdict.Fail || len(f.Causes) == 0 || f.Causes[0].Reason != verdict.PixelRange || !(math.Abs(f.Causes[0].Hi-255/top) < 1e-4) {
			t.Errorf("bytes up to %v: %s: %s", top, f.Level, f)
		}
	}
	// With --pixels it is not found again.
	m := brightest(plain, 300, 1)
	if err := m.TakePixels(0, 255); err != nil {
		t.Fatal(err)
	}
	if f := look(m, bars(90)); f.Level != verdict.Pass || len(f.Causes) > 0 {
		t.Errorf("made for 0 to 255, scaled: %s", f)
	}
	// A sigmoid of pixels from 0 to 255 is 1 everywhere, of those in [0, 1] it is not.
	m = brightest(plain, 1, 1)
	m.Layers = append([]model.Layer{model.Sigmoid{}}, m.Layers...)
	set := bars(90)
	for i := range set.Images.Data().([]float32) {
		set.Images.Data().([]float32)[i] *= 255
	}
	if f := look(m, set); f.Level != verdict.Fail || len(f.Causes) == 0 || f.Causes[0].Reason != verdict.Divided {
		t.Errorf("images from 0 to 255: %s: %s", f.Level, f)
	}
	if f := look(m, bars(90)); f.Level != verdict.Pass {
		t.Errorf("images in [0, 1]: %s", f)
	}
}

// TestProberActivation: an MLP whose file does not tell its activation is tried with all of them,
// also where it is better than chance, and not where the user said it.
func TestProberActivation(t *testing.T) {
	// The inputs are ±1 and the class is which of 3 is most negative: tanh keeps that, ReLU does
	// not.
	const n = 120
	pixels, labels := make([]float32, n*3), make([]int32, n)
	for i := range n {
		labels[i] = int32(i % 3)
		for k := range 3 {
			pixels[i*3+k] = 0.5 + 0.1*float32(i%4)
		}
		pixels[i*3+i%3] = 0.1
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(n, 1, 3), tensor.WithBacking(pixels)), Labels: labels}
	square := func(name string, d float32, b float32) model.Linear {
		return model.Linear{Name: name, Weight: tensor.New(tensor.WithShape(3, 3), tensor.WithBacking([]float32{d, 0, 0, 0, d, 0, 0, 0, d})),
			Bias: tensor.New(tensor.WithShape(3), tensor.WithBacking([]float32{b, b, b}))}
	}
	m := &model.Model{Layers: []model.Layer{square("a", 1, -2), model.ReLU{}, square("b", -1, 0)}, Assumed: "relu"}
	p := &verdict.Prober{Model: m, Open: func(m *model.Model) (pipeline.Backend, error) { return cpu.New[float32](m, cpu.Options{}) }}
	f, err := p.Look(t.Context(), open(t, m), set)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, c := range f.Causes {
		names[c.Name] = c.Reason == verdict.Activation && c.Right == c.N
	}
	if f.Level != verdict.Fail || !names["leakyrelu"] || len(f.Causes) != 3 {
		t.Errorf("%s: %s", f.Level, f)
	}
	if m.Assumed != "relu" || m.Layers[1].Kind() != "relu" {
		t.Errorf("the probe changed the model: %+v", m)
	}
}

// TestUnits: eps and bounds that cannot be in the units of pixels.
func TestUnits(t *testing.T) {
	fgsm, l2 := attack.FGSM(), attack.FGSM()
	l2.Norm = attack.L2
	unit, bytes, none := attack.Bounds{Lo: 0, Hi: 1}, attack.Bounds{Lo: 0, Hi: 255}, attack.Bounds{}
	for _, c := range []struct {
		a      attack.Attack
		eps    float64
		bounds attack.Bounds
		lo, hi float64
		want   string
	}{
		{fgsm, 1, unit, 0, 1, ""},
		{fgsm, 8, unit, 0, 1, "[eps-units]"},
		{fgsm, 8, none, 0, 1, "[eps-units]"},
		{fgsm, 0.5, bytes, 0, 1, "[bounds-units]"},
		{fgsm, 8, bytes, 0, 1, "[bounds-units eps-units]"},
		{fgsm, 8, bytes, 0, 255, ""},
		{fgsm, 8, none, 0, 255, ""},
		{fgsm, 256, none, 0, 255, "[eps-units]"},
		{fgsm, 8, none, -2, 2, "[eps-units]"},
		{l2, 8, unit, 0, 1, ""},
		{l2, 11, unit, 0, 1, "[eps-units]"}, // the root of 100 pixels is 10
	} {
		var got []verdict.Question
		for _, f := range verdict.Units(pipeline.Sweep{Attacks: []attack.Attack{c.a}, Eps: []float64{0, c.eps}, Bounds: c.bounds}, c.lo, c.hi, 100) {
			got = append(got, f.What)
			if s := f.String(); f.Level != verdict.Warn || strings.Contains(s, "no words") {
				t.Errorf("%s: %s", f.Level, s)
			}
		}
		if text := fmt.Sprint(got); text != c.want && (c.want != "" || got != nil) {
			t.Errorf("eps %v in %s, bounds %s, pixels from %v to %v: %s, want %q", c.eps, c.a.Norm, c.bounds, c.lo, c.hi, text, c.want)
		}
	}
}
