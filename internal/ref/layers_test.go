package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/model"

	"gorgonia.org/tensor"
)

func dense(values []float64, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
}

// TestLayers holds layers to numbers worked out by hand; those of the pools follow PyTorch's.
func TestLayers(t *testing.T) {
	x := []float64{ // 1×3×3
		1, 2, 3,
		4, 5, 6,
		7, 8, 9}
	two := append(slices.Clone(x), 9, 8, 7, 6, 5, 4, 3, 2, 1) // 2×3×3
	one := dense([]float64{0}, 1)
	for _, c := range []struct {
		name  string
		input []int
		x     []float64
		l     model.Layer
		want  []float64
		d     []float64 // at the output
		dx    []float64
	}{
		{"conv, not flipped", []int{1, 3, 3}, x,
			model.Conv2D{Weight: dense([]float64{1, 0, 0, -10}, 1, 1, 2, 2), Bias: dense([]float64{100}, 1), Stride: [2]int{1, 1}},
			[]float64{51, 42, 24, 15}, []float64{1, 2, 3, 4}, []float64{1, 2, 0, 3, 4 - 10, -20, 0, -30, -40}},
		{"conv, padding at the top and the left", []int{1, 3, 3}, x,
			model.Conv2D{Weight: dense([]float64{1, 2, 3, 4}, 1, 1, 2, 2), Bias: one, Stride: [2]int{2, 2}, Pad: [4]int{1, 1, 0, 0}},
			[]float64{4, 3*2 + 4*3, 2*4 + 4*7, 5 + 2*6 + 3*8 + 4*9}, []float64{1, 1, 1, 1}, []float64{4, 3, 4, 2, 1, 2, 4, 3, 4}},
		{"conv, stride in rows alone, padding at the bottom and the right", []int{1, 3, 3}, x,
			model.Conv2D{Weight: dense([]float64{1, 1, 1, 1}, 1, 1, 2, 2), Bias: one, Stride: [2]int{3, 1}, Pad: [4]int{0, 0, 2, 1}},
			[]float64{12, 16, 9, 0, 0, 0}, []float64{1, 0, 0, 5, 5, 5}, []float64{1, 1, 0, 1, 1, 0, 0, 0, 0}},
		{"conv, channels", []int{2, 3, 3}, two,
			model.Conv2D{Weight: dense([]float64{1, 10, 100, 1000}, 2, 2, 1, 1), Bias: dense([]float64{0, 1}, 2), Stride: [2]int{2, 2}},
			[]float64{1 + 90, 3 + 70, 7 + 30, 9 + 10, 9101, 7301, 3701, 1901}, []float64{1, 0, 0, 0, 0, 0, 0, 2},
			[]float64{1, 0, 0, 0, 0, 0, 0, 0, 200, 10, 0, 0, 0, 0, 0, 0, 0, 2000}},
		{"linear, channels by rows", []int{2, 3, 3}, two,
			model.Linear{Weight: dense([]float64{0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 18), Bias: dense([]float64{5}, 1)},
			[]float64{5 + 2 + 90}, []float64{3}, []float64{0, 3, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"scale, by channel", []int{2, 1, 2}, []float64{1, 2, 3, 4},
			model.Scale{Weight: dense([]float64{10, -1}, 2), Bias: dense([]float64{0.5, 1}, 2)},
			[]float64{10.5, 20.5, -2, -3}, []float64{1, 1, 1, 1}, []float64{10, 10, -1, -1}},
		{"scale, by element", []int{2}, []float64{1, 2},
			model.Scale{Weight: dense([]float64{10, -1}, 2), Bias: dense([]float64{0.5, 1}, 2)},
			[]float64{10.5, -1}, []float64{1, 1}, []float64{10, -1}},
		{"max-pool, windows overlap", []int{1, 3, 3}, x, model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}},
			[]float64{5, 6, 8, 9}, []float64{1, 2, 3, 4}, []float64{0, 0, 0, 0, 1, 2, 0, 3, 4}},
		{"max-pool, ties go to the first by rows", []int{1, 2, 3}, []float64{1, 7, 0, 7, 7, 0}, model.MaxPool2D{Kernel: [2]int{2, 3}, Stride: [2]int{1, 1}},
			[]float64{7}, []float64{2}, []float64{0, 2, 0, 0, 0, 0}},
		{"max-pool, padding never wins", []int{1, 2, 2}, []float64{-1, -2, -3, -4}, model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: [4]int{1, 1, 1, 1}},
			[]float64{-1, -2, -3, -4}, []float64{1, 2, 3, 4}, []float64{1, 2, 3, 4}},
		{"avg-pool, padding does not count", []int{1, 2, 2}, []float64{4, 8, 12, 16}, model.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 2}, Pad: [4]int{1, 0, 0, 0}},
			[]float64{6, 10}, []float64{2, 4}, []float64{2, 2, 1, 1}},
		{"avg-pool, padding counts", []int{1, 2, 2}, []float64{4, 8, 12, 16}, model.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 2}, Pad: [4]int{1, 0, 0, 0}, CountPad: true},
			[]float64{3, 10}, []float64{2, 4}, []float64{1.5, 1.5, 1, 1}},
		{"global average", []int{2, 1, 2}, []float64{1, 2, 30, 40}, model.AvgPool2D{Kernel: [2]int{1, 2}, Stride: [2]int{1, 1}},
			[]float64{1.5, 35}, []float64{2, 4}, []float64{1, 1, 2, 2}},
		{"leaky relu", []int{3}, []float64{-2, 0, 3}, model.LeakyReLU{Slope: 0.25}, []float64{-0.5, 0, 3}, []float64{1, 1, 1}, []float64{0.25, 0.25, 1}},
		{"relu", []int{3}, []float64{-2, 0, 3}, model.ReLU{}, []float64{0, 0, 3}, []float64{1, 1, 1}, []float64{0, 0, 1}},
		{"sigmoid", []int{1}, []float64{math.Log(3)}, model.Sigmoid{}, []float64{0.75}, []float64{1}, []float64{0.75 * 0.25}},
		{"sigmoid, far away", []int{1}, []float64{40}, model.Sigmoid{}, []float64{1}, []float64{1}, []float64{math.Exp(-40)}},
		{"tanh", []int{1}, []float64{math.Log(3) / 2}, model.Tanh{}, []float64{0.5}, []float64{1}, []float64{0.75}},
		{"tanh, far away", []int{1}, []float64{-20}, model.Tanh{}, []float64{-1}, []float64{1}, []float64{4 * math.Exp(-40)}},
		// Φ(1) = 0.8413447460685429, φ(1) = 0.2419707245191434.
		{"gelu", []int{1}, []float64{1}, model.GELU{}, []float64{0.8413447460685429}, []float64{1}, []float64{0.8413447460685429 + 0.2419707245191434}},
		// tanh(√(2/π)·1.044715) = 0.6823839...; both by 50 digits.
		{"gelu, tanh", []int{1}, []float64{1}, model.GELU{Tanh: true}, []float64{0.84119199060827676}, []float64{1}, []float64{1.0829640838457826}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &model.Model{Input: c.input, Layers: []model.Layer{c.l}}
			z, values := Forward(m, c.x)
			near(t, "output", z, c.want)
			near(t, "gradient", Backward(m, values, c.d), c.dx)
		})
	}
	m := &model.Model{Input: []int{2}, Layers: []model.Layer{model.ReLU{}, model.Add{}}, From: [][]int{{-1}, {0, -1, 0}}}
	z, values := Forward(m, []float64{2, -3})
	near(t, "sum", z, []float64{6, -3})
	near(t, "gradient of a sum", Backward(m, values, []float64{1, 10}), []float64{3, 10})
}

// near compares to the last digits of float64.
func near(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= 1e-14*math.Abs(want[i])) {
			t.Errorf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// TestFunctions holds each elementwise function to its definition in package model, and its
// derivative to central differences of that. Their error is h²/6 times a third derivative, which is
// a few units at most. No x is so near to a whole number, where kinks are, that they matter.
func TestFunctions(t *testing.T) {
	const h = 1e-5
	for _, e := range model.Examples() {
		l, ok := e.Layer.(model.Elementwise)
		if !ok {
			continue
		}
		a, from := activationOf(l), -6.0
		if e.Positive {
			from = 0.125
		}
		for x := from + 1.0/128; x <= 6; x += 1.0 / 64 {
			want := l.Value(x)
			if got := a.f(x); !(math.Abs(got-want) <= 1e-14*(1+math.Abs(want))) {
				t.Errorf("%#v: %v at %v, want %v", l, got, x, want)
			}
			want = (l.Value(x+h) - l.Value(x-h)) / (2 * h)
			if r, ok := l.(model.RoundClip); ok { // by definition not that of its value
				want = 0
				if n := math.RoundToEven(x); r.Lo <= n && n <= r.Hi {
					want = 1
				}
			}
			if got := a.derivative(x); !(math.Abs(got-want) <= 1e-7*(1+math.Abs(want))) {
				t.Errorf("%#v: derivative %v at %v, central difference %v", l, got, x, want)
			}
		}
	}
}

// networks returns n drawn networks, and those of model.Examples, so that there are all kinds of
// layers.
func networks(n uint64, stream uint64) map[string]func() (*model.Model, *rand.Rand) {
	all := make(map[string]func() (*model.Model, *rand.Rand))
	for seed := range n {
		all[fmt.Sprint("seed ", seed)] = func() (*model.Model, *rand.Rand) {
			r := rand.New(rand.NewPCG(seed, stream))
			return RandomNetwork(r), r
		}
	}
	for seed := range n {
		all[fmt.Sprint("general seed ", seed)] = func() (*model.Model, *rand.Rand) {
			r := rand.New(rand.NewPCG(seed, stream+100))
			return RandomGeneral(r), r
		}
	}
	for i, e := range model.Examples() {
		all[fmt.Sprintf("example %d, %s", i, e.Layer.Kind())] = func() (*model.Model, *rand.Rand) {
			return e.Model(), rand.New(rand.NewPCG(uint64(i), stream))
		}
	}
	return all
}

// TestNetworkGradient is TestGradient for networks of all layers. Second derivatives are some tens,
// so that the error of the difference is 1e-8 or less.
func TestNetworkGradient(t *testing.T) {
	const h = 1e-5
	kinds, compared, left := map[string]int{}, 0, 0
	for name, draw := range networks(50, 3) {
		m, r := draw()
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		steps := false
		for _, l := range m.Layers {
			kinds[l.Kind()]++
			_, step := l.(model.RoundClip) // whose derivative is by definition not that of its value
			steps = steps || step
		}
		if steps {
			continue
		}
		x := make([]float64, m.Inputs())
		for i := range x {
			x[i] = r.Float64()
		}
		y := r.IntN(m.Outputs())
		z, _ := Forward(m, x)
		q := 1 - Softmax(z)[y]
		loss := func(i int, d float64) float64 {
			moved := slices.Clone(x)
			moved[i] += d
			z, _ := Forward(m, moved)
			return Loss(z, y)
		}
		for i, g := range InputGradient(m, x, y) {
			g *= q
			left1, right := (loss(i, 0)-loss(i, -h))/h, (loss(i, h)-loss(i, 0))/h
			if math.Abs(left1-right) > 1e-3*(1+math.Abs(g)) {
				left++
				continue
			}
			compared++
			if d := (loss(i, h) - loss(i, -h)) / (2 * h); !(math.Abs(d-g) <= 1e-7*(1+math.Abs(g))) {
				t.Errorf("%s, %s: ∂L/∂x[%d] = %v, central difference %v", name, m, i, g, d)
			}
		}
	}
	t.Log(compared, "derivatives compared,", left, "left out;", kinds)
	if compared < 2000 || left*100 > compared {
		t.Errorf("%d derivatives compared, %d left out", compared, left)
	}
	for _, kind := range model.Kinds() {
		if kinds[kind] == 0 {
			t.Errorf("no layer of kind %s", kind)
		}
	}
}

// TestBends holds the constants of GELU's bounds to second differences.
func TestBends(t *testing.T) {
	for _, c := range []struct {
		l                   model.Elementwise
		mostSlope, mostBend float64
	}{
		{model.GELU{}, geluSlope, geluBend}, {model.GELU{Tanh: true}, geluSlope, geluBend},
		{model.Plain{Of: "silu"}, siluSlope, siluBend}, {model.Plain{Of: "mish"}, mishSlope, mishBend},
	} {
		f := activationOf(c.l)
		slope, bend := 0.0, 0.0
		const h = 1e-4
		for x := -10.0; x < 10; x += 1e-3 {
			slope = max(slope, math.Abs(f.derivative(x)))
			bend = max(bend, math.Abs(f.derivative(x+h)-f.derivative(x-h))/(2*h))
		}
		t.Log(slope, bend)
		if !(slope <= c.mostSlope && bend <= c.mostBend && c.mostSlope < slope+0.015 && c.mostBend < bend+0.015) {
			t.Errorf("%#v: |f'| to %v, |f''| to %v", c.l, slope, bend)
		}
	}
}

// TestNetworkBounds rounds images and every result on the way to float32, and holds all of them,
// and the gradients, to the bounds; a bound that is far too wide fails, too.
func TestNetworkBounds(t *testing.T) {
	checked, loose := 0, 0
	for name, draw := range networks(200, 4) {
		m, r := draw()
		x := make([]float64, m.Inputs())
		for i := range x {
			x[i] = float64(r.IntN(256)) / 255
		}
		y := r.IntN(m.Outputs())
		px := Pixels(x, Float32)
		logits, bounds := BoundForward(m, px, Float32)
		rough := func(v []float64) []float64 {
			out := make([]float64, len(v))
			for i, v := range v {
				out[i] = float64(float32(v))
			}
			return out
		}
		all := layers(m)
		values := [][]float64{rough(x)}
		for i, l := range all {
			var in [][]float64
			for _, j := range m.Takes(i) {
				in = append(in, values[j+1])
			}
			values = append(values, rough(l.forward(in)))
		}
		grads := make([][]float64, len(values))
		for j, v := range values {
			grads[j] = make([]float64, len(v))
		}
		grads[len(values)-1] = rough(LossGradient(values[len(values)-1], y))
		for i := len(all) - 1; i >= 0; i-- {
			var in [][]float64
			for _, j := range m.Takes(i) {
				in = append(in, values[j+1])
			}
			for arg, j := range m.Takes(i) {
				for k, g := range rough(all[i].backward(grads[i+1], in, arg)) {
					grads[j+1][k] += g
				}
			}
		}
		for j, v := range bounds {
			for k, v := range v {
				if got := values[j][k]; !(math.Abs(got-v.V) <= v.Err) {
					t.Fatalf("%s: element %d of what layer %d gives is %v, want %v ± %v", name, k, j-1, got, v.V, v.Err)
				}
			}
		}
		truth, exact := Forward(m, x)
		d := Backward(m, exact, LossGradient(truth, y))
		size := 0.0
		for _, g := range d {
			size = max(size, math.Abs(g))
		}
		for k, v := range BoundInputGradient(m, px, y, Float32) {
			checked++
			if v.V != d[k] {
				t.Fatalf("%s: gradient %d is %v with a bound and %v without", name, k, v.V, d[k])
			}
			if got := grads[0][k]; !(math.Abs(got-v.V) <= v.Err) {
				t.Fatalf("%s: gradient %d is %v, want %v ± %v", name, k, got, v.V, v.Err)
			}
			if v.Err > 1e-2*size {
				loose++
			}
		}
		for j, v := range logits {
			checked++
			if v.Err > 1e-2*(1+math.Abs(v.V)) {
				loose++
			}
			if v.V != truth[j] {
				t.Fatalf("%s: logit %d is %v with a bound and %v without", name, j, v.V, truth[j])
			}
		}
	}
	t.Log(loose, "of", checked, "bounds are wide")
	// The deep ones, where a unit somewhere may be on either side of its kink, and normalisations,
	// whose two values err together while the bound lets each err alone: a tenth, as it is now.
	if loose*8 > checked {
		t.Errorf("%d of %d bounds are wide: they say too little", loose, checked)
	}
}

// A stray is a layer that only this test knows, and an oddball one with a function that only it
// knows.
type (
	stray   struct{ model.Layer }
	oddball struct{ model.ReLU }
)

func (oddball) Function() (string, [2]float64) { return "oddball", [2]float64{} }

// What has no truth ends in a panic that names it, not in the nearest thing that has one.
func TestNoTruth(t *testing.T) {
	for _, test := range []struct {
		layer model.Layer
		want  string
	}{
		{stray{model.Add{}}, "ref: no operation for layer 3, ref.stray (add)"},
		{oddball{}, `ref: no function "oddball", which ref.oddball asks for`},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != test.want {
					t.Errorf("%T: %s, want %s", test.layer, got, test.want)
				}
			}()
			operationOf(3, test.layer, [][]int{{2}}, []int{2})
		}()
	}
}
