package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// RunNetworks runs the cases of models that are no MLP. A backend forms the images of each step
// there, so that what it computes follows the formulas but for rounding:
//
//   - No activation's derivative cancels, see ref. It keeps its sign however small it is.
//   - A NaN passes through every layer, also through a MaxPool2D and a ReLU. An infinity passes
//     where the function's limit there is not finite.
//   - Zero gradients, byte equality, refusals and states are those of Run.
func RunNetworks(t *testing.T, a ref.Rounding, open func(t *testing.T, m *model.Model) Backend) {
	s := suite{open, a}
	for _, c := range []struct {
		name string
		f    func(*testing.T)
	}{
		{"values", s.networkValues}, {"steps", s.networkSteps}, {"saturated", s.networkSaturated}, {"small derivatives", s.smallDerivatives},
		{"exact", s.networkExact}, {"not a number", s.networkNotANumber}, {"rows", s.networkRows}, {"stuck", s.networkStuck}, {"noise", s.networkNoise}, {"count", s.networkCount},
		{"general steps", s.networkGeneralSteps}, {"general rows", s.networkGeneralRows}, {"gradient", s.networkGradient}, {"sights", s.networkSights}, {"slots", s.networkSlots},
		{"refusals", func(t *testing.T) { s.refusals(t, tinyNetwork()) }}, {"states", func(t *testing.T) { s.states(t, tinyNetwork()) }},
	} {
		t.Run(c.name, c.f)
	}
}

// drawn returns a tensor of normal numbers with standard deviation sd.
func drawn(r *rand.Rand, sd float64, shape ...int) *tensor.Dense {
	n := 1
	for _, s := range shape {
		n *= s
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(sd * r.NormFloat64())
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
}

// conv returns a convolution whose output is as large as its input, on average.
func conv(r *rand.Rand, name string, out, in, kh, kw int, stride [2]int, pad [4]int) model.Conv2D {
	return model.Conv2D{Name: name, Weight: drawn(r, math.Sqrt(2/float64(in*kh*kw)), out, in, kh, kw), Bias: drawn(r, 0.1, out), Stride: stride, Pad: pad}
}

func linear(r *rand.Rand, name string, out, in int, scale float64) model.Linear {
	return model.Linear{Name: name, Weight: drawn(r, scale*math.Sqrt(2/float64(in)), out, in), Bias: drawn(r, 0.1, out)}
}

var (
	once = [2]int{1, 1}
	half = [2]int{2, 2}
	even = [4]int{1, 1, 1, 1}
)

// lenet has the layers of the CNN that train makes, for images 1×8×8.
func lenet(r *rand.Rand, scale float64) *model.Model {
	return &model.Model{Input: []int{1, 8, 8}, Layers: []model.Layer{
		conv(r, "conv1", 4, 1, 3, 3, once, even), model.ReLU{}, model.MaxPool2D{Kernel: half, Stride: half},
		conv(r, "conv2", 8, 4, 3, 3, once, even), model.ReLU{}, model.MaxPool2D{Kernel: half, Stride: half},
		linear(r, "fc1", 5, 32, scale),
	}}
}

// resnet has a normalised input, two residual connections, and a global average. One connection
// goes around two convolutions, and one through a convolution with a stride.
func resnet(r *rand.Rand) *model.Model {
	return &model.Model{
		Input: []int{2, 6, 6},
		Layers: []model.Layer{
			model.Scale{Name: "normalise", Weight: drawn(r, 2, 2), Bias: drawn(r, 1, 2)},
			conv(r, "conv1", 3, 2, 3, 3, once, even), model.ReLU{}, // 1, 2
			conv(r, "conv2", 3, 3, 3, 3, once, even), // 3
			model.Add{}, model.ReLU{},                // 4, 5
			conv(r, "conv3", 4, 3, 3, 3, half, even),     // 6
			conv(r, "conv4", 4, 3, 1, 1, half, [4]int{}), // 7
			// 8, 9, 10
			model.Add{}, model.ReLU{}, model.AvgPool2D{Kernel: [2]int{3, 3}, Stride: once},
			linear(r, "fc1", 4, 4, 1),
		},
		From: [][]int{{-1}, {0}, {1}, {2}, {3, 2}, {4}, {5}, {5}, {7, 6}, {8}, {9}, {10}},
	}
}

// exampleName names one of model.Examples.
func exampleName(i int, e model.Example) string {
	if f, ok := e.Layer.(model.Elementwise); ok {
		name, _ := f.Function()
		return fmt.Sprintf("example %d, %s", i, name)
	}
	return fmt.Sprintf("example %d, %s", i, e.Layer.Kind())
}

// networks are models by name. Some have sizes that no tile divides, or that are 1, some have
// common shapes, some are drawn, and one has each of model.Examples.
func networks() map[string]*model.Model {
	r := rand.New(rand.NewPCG(11, 11))
	all := map[string]*model.Model{
		"lenet": lenet(r, 1), "resnet": resnet(r),
		"one pixel": {Input: []int{1, 1, 1}, Layers: []model.Layer{conv(r, "c", 3, 1, 1, 1, once, [4]int{}), model.Tanh{}, linear(r, "f", 2, 3, 1)}},
		"wide": {Input: []int{3, 5, 7}, Layers: []model.Layer{
			conv(r, "c1", 37, 3, 5, 3, once, [4]int{2, 1, 2, 1}), model.ReLU{}, conv(r, "c2", 2, 37, 1, 1, once, [4]int{}), model.LeakyReLU{Slope: 0.01}, linear(r, "f", 10, 70, 1)}},
		"strides past the edge": {Input: []int{2, 11, 9}, Layers: []model.Layer{
			conv(r, "c1", 5, 2, 3, 2, [2]int{4, 3}, [4]int{0, 2, 1, 3}), model.GELU{}, linear(r, "f", 3, 5*3*5, 1)}},
		"whole image": {Input: []int{2, 5, 4}, Layers: []model.Layer{conv(r, "c1", 9, 2, 5, 4, once, [4]int{}), model.Sigmoid{}, conv(r, "c2", 4, 9, 1, 1, once, [4]int{})}},
		"pools": {Input: []int{2, 7, 6}, Layers: []model.Layer{
			model.MaxPool2D{Kernel: [2]int{3, 3}, Stride: once, Pad: [4]int{2, 1, 1, 2}}, model.AvgPool2D{Kernel: [2]int{2, 3}, Stride: [2]int{2, 1}, Pad: [4]int{1, 2, 0, 1}},
			model.AvgPool2D{Kernel: half, Stride: half, Pad: even, CountPad: true}, linear(r, "f", 4, 2*3*5, 1)}},
		"linear after linear": {Layers: []model.Layer{linear(r, "f1", 33, 20, 1), linear(r, "f2", 17, 33, 1), model.ReLU{}, model.ReLU{}, linear(r, "f3", 5, 17, 1)}},
		"no weights":          {Input: []int{2, 2, 3}, Layers: []model.Layer{model.GELU{Tanh: true}, model.MaxPool2D{Kernel: [2]int{1, 2}, Stride: once}}},
	}
	for seed := range uint64(30) {
		all[fmt.Sprintf("drawn %d", seed)] = ref.RandomNetwork(rand.New(rand.NewPCG(seed, 12)))
	}
	for seed := range uint64(40) {
		all[fmt.Sprintf("general %d", seed)] = ref.RandomGeneral(rand.New(rand.NewPCG(seed, 24)))
	}
	for seed := range uint64(6) {
		all[fmt.Sprintf("wide %d", seed)] = ref.RandomWide(rand.New(rand.NewPCG(seed, 36)))
	}
	for i, e := range model.Examples() {
		all[exampleName(i, e)] = e.Model()
	}
	return all
}

// again reports whether a test of the short form has seen a network of that name already, in what
// another math mode runs too: all layers but products are the same kernels in every one.
func (s suite) again(name string) bool {
	return testing.Short() && s.rounding.Product != 0 && (strings.HasPrefix(name, "example") || strings.HasPrefix(name, "general") || strings.HasPrefix(name, "wide"))
}

func (s suite) networkValues(t *testing.T) {
	for name, m := range networks() {
		for _, n := range []int{1, 7} {
			if s.again(name) || n == 1 && testing.Short() && (strings.HasPrefix(name, "example") || strings.HasPrefix(name, "general") || strings.HasPrefix(name, "wide")) {
				continue
			}
			t.Run(fmt.Sprintf("%s/B=%d", name, n), func(t *testing.T) {
				must(t, m.Validate())
				s.valuesOf(t, m, rand.New(rand.NewPCG(uint64(n), 13)), n)
			})
		}
	}
}

func (s suite) networkSteps(t *testing.T) {
	pixels := func(x, _ []float64) []ref.Value { return ref.Pixels(x, s.rounding) }
	all, unsure, moves := networks(), 0, 0
	for _, name := range []string{"lenet", "resnet", "wide", "pools", "linear after linear", "no weights", "drawn 1", "drawn 2", "drawn 3", "drawn 4", "general 1", "general 2", "general 3", "general 4"} {
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			for _, k := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/bounds=%s/K=%d", name, bounds, k), func(t *testing.T) {
					u, n := s.follow(t, all[name], rand.New(rand.NewPCG(1, 14)), 3, bounds, k, pixels)
					unsure, moves = unsure+u, moves+n
				})
			}
		}
	}
	// The bound of TF32 on a gradient is wider than most gradients.
	if unsure*10 > moves && s.rounding != ref.TF32 {
		t.Errorf("%d of %d signs are within rounding of 0: the test says too little", unsure, moves)
	}
}

func (s suite) networkSaturated(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 15))
	s.saturatedOf(t, lenet(r, 1000), r, 60)
}

// smallDerivatives has activations at numbers of size 6 to 60, where s·(1-s), 1 - tanh² and 1 + erf
// are 0 in float32. It goes as far as the derivative is a normal number in float32.
func (s suite) smallDerivatives(t *testing.T) {
	for i, c := range model.Examples() {
		if c.Lo == c.Hi || s.again(exampleName(i, c)) {
			continue
		}
		t.Run(exampleName(i, c), func(t *testing.T) {
			const n = 61
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(c.Lo + (c.Hi-c.Lo)*float64(i)/(n-1))
			}
			// One pixel and two logits, h and 0, of label 1: the gradient is h's derivative at the
			// pixel.
			m := &model.Model{Input: []int{1}, Layers: []model.Layer{c.Layer, linear(rand.New(rand.NewPCG(1, 1)), "f", 2, 1, 0)}}
			m.Layers[1].(model.Linear).Weight.Data().([]float32)[0] = 1
			labels := make([]int32, n)
			for i := range labels {
				labels[i] = 1
			}
			b := s.load(t, m, tensor.New(tensor.WithShape(n, 1), tensor.WithBacking(x)), labels)
			must(t, b.Begin(t.Context(), 0, n, []float64{0}))
			d, err := b.Logits(t.Context())
			for i, got := range lossGradient(t, b, get(t, d, err), labels) {
				want := ref.BoundInputGradient(m, []ref.Value{{V: float64(x[i])}}, 1, s.rounding)[0]
				check(t, fmt.Sprintf("derivative at %v", x[i]), got[0], want)
				if !(want.Err < math.Abs(want.V)/100) && s.rounding != ref.TF32 {
					t.Errorf("derivative at %v is %v ± %v: the test says too little", x[i], want.V, want.Err)
				}
			}
		})
	}
}

// networkExact has numbers that no arithmetic rounds: ties in a window, kinks at exactly 0, an
// output that is taken twice.
func (s suite) networkExact(t *testing.T) {
	fc := func(w ...float32) model.Layer { // logits w·x and 0
		return model.Linear{Name: "f", Weight: tensor.New(tensor.WithShape(2, len(w)), tensor.WithBacking(append(w, make([]float32, len(w))...))),
			Bias: tensor.New(tensor.WithShape(2), tensor.WithBacking(make([]float32, 2)))}
	}
	named := func(l model.Layer, name string) model.Layer {
		f := l.(model.Linear)
		f.Name = name
		return f
	}
	constant := func(v ...float32) model.Layer {
		return model.Constant{Name: "c", Value: tensor.New(tensor.WithShape(len(v)), tensor.WithBacking(v))}
	}
	for _, c := range []struct {
		name string
		m    *model.Model
		x    []float32
		want []float64 // gradient for label 1
	}{
		{"max-pool, ties", &model.Model{Input: []int{1, 2, 3}, Layers: []model.Layer{model.MaxPool2D{Kernel: half, Stride: once}, fc(1, 2)}},
			[]float32{0.5, 1, 1, 1, 0.25, 1}, []float64{0, 3, 0, 0, 0, 0}},
		{"max-pool, all equal", &model.Model{Input: []int{1, 2, 2}, Layers: []model.Layer{model.MaxPool2D{Kernel: half, Stride: half}, fc(1)}},
			[]float32{0, 0, 0, 0}, []float64{1, 0, 0, 0}},
		{"max-pool, both zeros", &model.Model{Input: []int{1, 1, 2}, Layers: []model.Layer{model.MaxPool2D{Kernel: [2]int{1, 2}, Stride: once}, fc(1)}},
			[]float32{float32(math.Copysign(0, -1)), 0}, []float64{1, 0}},
		{"max-pool, negative with padding", &model.Model{Input: []int{1, 1, 2}, Layers: []model.Layer{model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: half, Pad: even}, fc(1, 2)}},
			[]float32{-1, -2}, []float64{1, 2}},
		{"relu at 0", &model.Model{Input: []int{3}, Layers: []model.Layer{model.ReLU{}, fc(1, 2, 4)}}, []float32{0, -1, 1}, []float64{0, 0, 4}},
		{"leaky relu at 0", &model.Model{Input: []int{3}, Layers: []model.Layer{model.LeakyReLU{Slope: 0.25}, fc(1, 2, 4)}}, []float32{0, -1, 1}, []float64{0.25, 0.5, 4}},
		{"relu of a relu", &model.Model{Input: []int{2}, Layers: []model.Layer{model.ReLU{}, model.ReLU{}, fc(1, 2)}}, []float32{-1, 1}, []float64{0, 2}},
		{"taken three times", &model.Model{Input: []int{2}, Layers: []model.Layer{model.ReLU{}, model.Add{}, fc(1, 2)}, From: [][]int{{-1}, {0, -1, 0}, {1}}},
			[]float32{-1, 1}, []float64{1, 6}},
		{"max, ties", &model.Model{Input: []int{3}, Layers: []model.Layer{model.LeakyReLU{Slope: 0.5}, model.Max{}, fc(1, 2, 4)}, From: [][]int{{-1}, {0, -1}, {1}}},
			// the first of equal numbers, and of -1/2 and -1 the first
			[]float32{1, 2, -1}, []float64{1, 2, 2}},
		{"min, ties", &model.Model{Input: []int{3}, Layers: []model.Layer{model.LeakyReLU{Slope: 0.5}, model.Min{}, fc(1, 2, 4)}, From: [][]int{{-1}, {-1, 0}, {1}}},
			[]float32{1, 0, -1}, []float64{1, 2, 4}},
		{"max of a value by itself", &model.Model{Input: []int{2}, Layers: []model.Layer{model.Max{}, fc(1, 2)}, From: [][]int{{-1, -1}, {0}}},
			[]float32{1, -1}, []float64{1, 2}},
		{"a value times itself", &model.Model{Input: []int{2}, Layers: []model.Layer{model.Mul{}, fc(1, 2)}, From: [][]int{{-1, -1}, {0}}},
			[]float32{0.5, 2}, []float64{1, 8}},
		{"a value less itself", &model.Model{Input: []int{2}, Layers: []model.Layer{model.Sub{}, fc(1, 2)}, From: [][]int{{-1, -1}, {0}}},
			[]float32{0.5, 2}, []float64{0, 0}},
		{"a gate by channel", &model.Model{Input: []int{2, 1, 2}, Layers: []model.Layer{model.AvgPool2D{Kernel: [2]int{1, 2}, Stride: once}, model.Mul{}, fc(1, 2, 4, 8)},
			From: [][]int{{-1}, {-1, 0}, {1}}}, // d·mean + Σ d·x / 2
			[]float32{1, 3, 0.5, 0.25}, []float64{2 + 3.5, 4 + 3.5, 1.5 + 2, 3 + 2}},
		{"div by a constant", &model.Model{Input: []int{2}, Layers: []model.Layer{constant(4), model.Div{}, fc(1, 2)}, From: [][]int{{}, {-1, 0}, {1}}},
			[]float32{0.5, 2}, []float64{0.25, 0.5}},
		{"a constant first, and what it alone makes", &model.Model{Input: []int{2}, Layers: []model.Layer{constant(1, 2), model.ReLU{}, model.Mul{}, fc(1, 2)},
			From: [][]int{{}, {0}, {1, -1}, {2}}}, []float32{0.5, 2}, []float64{1, 4}},
		{"a constant that a linear takes", &model.Model{Input: []int{2}, Layers: []model.Layer{constant(1, 2), named(fc(3, 1), "k"), model.Mul{}, fc(1, 2)},
			From: [][]int{{}, {0}, {-1, 1}, {2}}}, []float32{0.5, 2}, []float64{5, 0}},
		{"clip at both ends", &model.Model{Input: []int{5}, Layers: []model.Layer{model.Clip{Lo: -1, Hi: 2}, fc(1, 2, 4, 8, 16)}},
			[]float32{-1, -0.5, 2, 3, 1.5}, []float64{0, 2, 0, 0, 16}},
		{"roundclip at both ends, and at halves", &model.Model{Input: []int{6}, Layers: []model.Layer{model.RoundClip{Lo: -1, Hi: 2}, fc(1, 2, 4, 8, 16, 32)}},
			[]float32{-1, -1.5, 2.5, 2, 2.75, 0.5}, []float64{1, 0, 4, 8, 0, 32}},
		{"thresholded relu at its threshold", &model.Model{Input: []int{3}, Layers: []model.Layer{model.ThresholdedReLU{Alpha: 0.5}, fc(1, 2, 4)}}, []float32{0.5, 0.25, 1}, []float64{0, 0, 4}},
		{"hardswish at its kinks", &model.Model{Input: []int{3}, Layers: []model.Layer{model.Plain{Of: "hardswish"}, fc(1, 2, 4)}}, []float32{-3, 3, 4}, []float64{0, 2, 4}},
		{"abs at 0", &model.Model{Input: []int{3}, Layers: []model.Layer{model.Plain{Of: "abs"}, fc(1, 2, 4)}}, []float32{0, -1, 1}, []float64{0, -2, 4}},
		{"arrange", &model.Model{Input: []int{3}, Layers: []model.Layer{model.Arrange{Dims: []int{5}, Index: []int32{2, -1, 0, 2, -1}}, fc(1, 2, 4, 8, 16)}},
			[]float32{0.5, 1, 2}, []float64{4, 0, 9}},
		{"arrange, long runs", &model.Model{Input: []int{9}, Layers: []model.Layer{model.Arrange{Dims: []int{18}, Index: []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8}},
			fc(1, 2, 4, 8, 16, 32, 64, 128, 256, 1, 1, 1, 1, 1, 1, 1, 1, 1)}},
			[]float32{1, 1, 1, 1, 1, 1, 1, 1, 1}, []float64{2, 3, 5, 9, 17, 33, 65, 129, 257}},
		{"arrange by channels", &model.Model{Input: []int{2, 1, 2}, Layers: []model.Layer{model.Arrange{Dims: []int{2, 2, 1}, Index: []int32{3, 2, 1, 0}}, fc(1, 2, 4, 8)}},
			[]float32{1, 1, 1, 1}, []float64{8, 4, 2, 1}},
		{"reduce by max, ties", &model.Model{Input: []int{3, 1, 2}, Layers: []model.Layer{model.Reduce{By: "max"}, fc(1, 2)}},
			[]float32{0.5, 1, 2, 1, 2, 1}, []float64{0, 2, 1, 0, 0, 0}},
		{"reduce by mean", &model.Model{Input: []int{4}, Layers: []model.Layer{model.Reduce{By: "mean"}, fc(2)}}, []float32{0.5, 1, 2, 1}, []float64{0.5, 0.5, 0.5, 0.5}},
		{"max-pool, places apart", &model.Model{Input: []int{1, 1, 4}, Layers: []model.Layer{model.MaxPool2D{Kernel: [2]int{1, 2}, Stride: once, Dilation: [2]int{1, 2}}, fc(1, 2)}},
			[]float32{1, 2, 1, 3}, []float64{1, 0, 0, 2}},
		{"a layer that leads nowhere", &model.Model{Input: []int{2}, Layers: []model.Layer{model.ReLU{}, model.Tanh{}, fc(1, 2)}, From: [][]int{{-1}, {0}, {-1}}},
			[]float32{-1, 1}, []float64{1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := len(c.x)
			shape := append([]int{1}, c.m.Input...)
			b := s.load(t, c.m, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(c.x)), []int32{1})
			must(t, b.Begin(t.Context(), 0, 1, []float64{0.5}))
			d, err := b.Logits(t.Context())
			got := lossGradient(t, b, get(t, d, err), []int32{1})[0]
			for i, want := range c.want {
				if got[i] != want {
					t.Fatalf("gradient %v, want %v", got, c.want)
				}
			}
			must(t, b.Step(t.Context(), attack.FGSM().At(0, []float64{0.5}, attack.Bounds{})))
			d, err = b.Images(t.Context())
			moved := get(t, d, err)[0]
			for i := range n {
				want := float64(c.x[i])
				switch {
				case c.want[i] > 0:
					want += 0.5
				case c.want[i] < 0:
					want -= 0.5
				}
				if moved[i] != want {
					t.Fatalf("pixels %v become %v, pixel %d should be %v", c.x, moved, i, want)
				}
			}
		})
	}
}

// networkNotANumber has a first layer that overflows: infinity, or infinity less infinity, and then
// another layer, each of model.Examples.
func (s suite) networkNotANumber(t *testing.T) {
	for i, e := range model.Examples() {
		if s.again(exampleName(i, e)) {
			continue
		}
		t.Run(exampleName(i, e), func(t *testing.T) {
			shape := e.Image()
			// product has weights w and -w in turn, and a bias b. It is by pixel where e's layer
			// takes or gives an image.
			product := func(name string, out, in int, w, b float32) model.Layer {
				weight, bias := make([]float32, out*in), make([]float32, out)
				for k := range weight {
					if weight[k] = w; k%in%2 == 1 {
						weight[k] = -w
					}
				}
				for k := range bias {
					bias[k] = b
				}
				to := func(v []float32, shape ...int) *tensor.Dense {
					return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
				}
				if len(shape) == 3 {
					return model.Conv2D{Name: name, Weight: to(weight, out, in, 1, 1), Bias: to(bias, out), Stride: once}
				}
				return model.Linear{Name: name, Weight: to(weight, out, in), Bias: to(bias, out)}
			}
			m := &model.Model{Input: append([]int{1}, shape[1:]...), Layers: []model.Layer{product("c1", 2, 1, 3e38, 3e38)}, From: [][]int{{-1}}}
			e.Add(m, 0, func(name string, out int) model.Layer { return product(name, out, 2, 1, 1) })
			shapes, err := m.Shapes()
			must(t, err)
			last := len(m.Layers) - 1
			n := tensor.Shape(shapes[last]).TotalSize()
			m.Layers, m.From = append(m.Layers, linear(rand.New(rand.NewPCG(1, 16)), "f", 3, n, 1)), append(m.From, []int{last})
			// The last pixel of the first image alone is not 0.
			pixels := m.Inputs()
			data := make([]float32, 2*pixels)
			data[pixels-1] = 1
			x := tensor.New(tensor.WithShape(2, pixels), tensor.WithBacking(data))
			b := s.load(t, m, x, []int32{0, 1})
			if b.Info().Precision == "float64" {
				t.Skip("float64 holds these numbers")
			}
			must(t, b.Begin(t.Context(), 0, 2, []float64{0.5}))
			class := make([]int32, 2)
			must(t, predictions(t.Context(), t, b, class))
			if class[0] != -1 || class[1] == -1 {
				t.Errorf("classes %v, want -1 for the first alone", class)
			}
			err = b.Step(t.Context(), attack.FGSM().At(0, []float64{0.5}, attack.Bounds{}))
			if err == nil { // the next call may report it instead
				err = predictions(t.Context(), t, b, class)
			}
			if err == nil {
				t.Error("the gradient is not finite: no error")
			}
		})
	}
}

func (s suite) networkRows(t *testing.T) {
	all := networks()
	for _, name := range []string{"lenet", "resnet", "drawn 5", "general 5", "general 6"} {
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			t.Run(fmt.Sprintf("%s/bounds=%s", name, bounds), func(t *testing.T) {
				s.rowsOf(t, all[name], rand.New(rand.NewPCG(5, 17)), 23, bounds)
			})
		}
	}
}

// networkStuck is stuck with a convolution for the first layer.
func (s suite) networkStuck(t *testing.T) {
	s.stuckOf(t, &model.Model{Input: []int{1, 1, 2}, Layers: []model.Layer{
		model.Conv2D{Name: "c", Weight: tensor.New(tensor.WithShape(1, 1, 1, 2), tensor.WithBacking([]float32{1, 1})),
			Bias: tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{-1})), Stride: once},
		model.ReLU{},
		model.Linear{Name: "f", Weight: tensor.New(tensor.WithShape(2, 1), tensor.WithBacking([]float32{0, 1})),
			Bias: tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{0, 0}))},
	}})
}

// networkNoise compares a network's random signs with attack.RandomSigns, as noise does.
func (s suite) networkNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 18))
	m := lenet(r, 1)
	x, labels := batch(r, 3, m)
	b := s.open(t, m)
	must(t, b.Load(t.Context(), 99, x, labels))
	eps := []float64{0.125, 0.5}
	must(t, b.Begin(t.Context(), 1, 3, eps))
	must(t, b.Step(t.Context(), attack.Noise(77).At(0, eps, attack.Bounds{})))
	d, err := b.Images(t.Context())
	for row, got := range get(t, d, err) {
		i, e := 1+row/2, eps[row%2]
		signs := make([]int8, 64)
		attack.RandomSigns(signs, 77, 99+i, 0, 0)
		for p, v := range image(x, i) {
			check(t, fmt.Sprintf("image %d, eps %v: pixel %d", i, e, p), got[p], ref.Value{V: v + e*float64(signs[p]), Err: 2 * s.rounding.Unit})
		}
	}
}

func (s suite) networkCount(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 19))
	c := conv(r, "c", 4, 1, 3, 3, once, even)
	m := &model.Model{Input: []int{1, 5, 6}, Layers: []model.Layer{c, model.ReLU{}, model.MaxPool2D{Kernel: half, Stride: half}, linear(r, "f", 5, 24, 1)}}
	s.countOf(t, m, r, c.Weight.Data().([]float32), c.Bias.Data().([]float32))
}

func (s suite) networkGeneralSteps(t *testing.T) {
	for name, every := range map[string]int{"lenet": 7, "resnet": 11} {
		t.Run(name, func(t *testing.T) {
			m := networks()[name]
			if m.Outputs() < 4 {
				t.Fatalf("%d classes are too few for some losses", m.Outputs())
			}
			s.generalStepsOf(t, m, rand.New(rand.NewPCG(11, 21)), 2, every)
		})
	}
}

func (s suite) networkGeneralRows(t *testing.T) {
	s.generalRowsOf(t, networks()["lenet"], rand.New(rand.NewPCG(12, 22)), 5, 23)
}

func (s suite) networkSlots(t *testing.T) {
	s.slotsOf(t, networks()["resnet"], rand.New(rand.NewPCG(13, 23)))
}

// tinyNetwork is a network of 4 pixels and 2 classes.
func tinyNetwork() *model.Model {
	r := rand.New(rand.NewPCG(1, 20))
	return &model.Model{Input: []int{1, 2, 2}, Layers: []model.Layer{conv(r, "c", 2, 1, 2, 2, once, even), model.Tanh{}, linear(r, "f", 2, 18, 1)}}
}
