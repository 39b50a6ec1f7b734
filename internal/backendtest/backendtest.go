// Package backendtest is the suite that every backend must pass. It judges by internal/ref in
// float64. A value must lie within a bound on its rounding error, which is computed for each value.
// A sign must be right where the truth is farther from 0 than that bound.
package backendtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// Backend is what the suite needs. A backend that has the methods of pipeline.Counter, or those by
// which 'advsweep bench' asks for parts of Outcomes, is tested by these too.
type Backend = pipeline.Backend

// Run runs the suite on backends whose arithmetic is a. open returns a new one that holds m.
func Run(t *testing.T, a ref.Rounding, open func(t *testing.T, m *model.Model) Backend) {
	s := suite{open, a}
	for _, c := range []struct {
		name string
		f    func(*testing.T)
	}{
		{"info", s.info}, {"values", s.values}, {"steps", s.steps}, {"saturated", s.saturated}, {"special", s.special}, {"not a number", s.notANumber},
		{"ball", s.ball}, {"rows", s.rows}, {"stuck", s.stuck}, {"noise", s.noise}, {"count", s.count}, {"refusals", func(t *testing.T) { s.refusals(t, tiny()) }}, {"states", func(t *testing.T) { s.states(t, tiny()) }},
		{"gradient", s.gradient}, {"sights", s.sights}, {"gradient refusals", s.gradientRefusals}, {"outcomes", s.outcomes},
		{"general steps", s.generalSteps}, {"general rows", s.generalRows}, {"properties", s.properties}, {"losses", s.losses}, {"draws", s.draws}, {"momentum", s.momentum},
		{"general not finite", s.generalNotFinite}, {"slots", s.slots}, {"round", s.round}, {"norms", s.norms}, {"general refusals", s.generalRefusals},
	} {
		t.Run(c.name, c.f)
	}
}

type suite struct {
	open     func(t *testing.T, m *model.Model) Backend
	rounding ref.Rounding
}

// shapes are sizes of MLPs that no tile or block divides, with no, one and more hidden layers.
var shapes = [][]int{{1, 2}, {5, 3}, {3, 1, 2}, {7, 33, 4}, {30, 17, 97, 10}, {64, 48, 32, 16, 10}, {129, 515, 31}}

var batches = []int{1, 7, 33, 1000}

// batch makes n random images of 8-bit pixels, many of them 0 as MNIST's are, and labels.
func batch(r *rand.Rand, n int, m *model.Model) (*tensor.Dense, []int32) {
	in := m.Inputs()
	pixels, labels := make([]uint8, n*in), make([]int32, n)
	for i := range pixels {
		if r.IntN(2) == 0 {
			pixels[i] = uint8(r.IntN(256))
		}
	}
	for i := range labels {
		labels[i] = int32(r.IntN(m.Outputs()))
	}
	return tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels
}

// image returns pixels of image i as float64.
func image(x *tensor.Dense, i int) []float64 {
	in := x.Shape()[1]
	out := make([]float64, in)
	for k, v := range x.Data().([]uint8)[i*in:][:in] {
		out[k] = float64(v) / 255
	}
	return out
}

// check fails t unless got lies within v. NaN fails.
func check(t *testing.T, what string, got float64, v ref.Value) {
	t.Helper()
	if !(math.Abs(got-v.V) <= v.Err) {
		t.Fatalf("%s: got %v, want %v ± %.3g", what, got, v.V, v.Err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is must for a call that returns a tensor: its rows.
func get(t *testing.T, d *tensor.Dense, err error) [][]float64 {
	t.Helper()
	must(t, err)
	flat, cols := ref.Float64s(d), d.Shape()[1]
	rows := make([][]float64, d.Shape()[0])
	for i := range rows {
		rows[i] = flat[i*cols:][:cols]
	}
	return rows
}

// load opens a backend on m with images and labels.
func (s suite) load(t *testing.T, m *model.Model, x *tensor.Dense, labels []int32) Backend {
	t.Helper()
	b := s.open(t, m)
	must(t, b.Load(t.Context(), 0, x, labels))
	return b
}

// values compares logits, predictions and gradients of clean images with the truth.
func (s suite) values(t *testing.T) {
	for _, sizes := range shapes {
		for _, n := range batches {
			if work := n * sizes[0] * sizes[len(sizes)-2]; work > 5_000_000 || testing.Short() && work > 200_000 {
				continue // the reference would take long and the shape has been seen
			}
			t.Run(fmt.Sprintf("%v/B=%d", sizes, n), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(n), uint64(len(sizes))))
				s.valuesOf(t, ref.RandomModel(r, 1, sizes...), r, n)
			})
		}
	}
}

// valuesOf compares those of n images.
func (s suite) valuesOf(t *testing.T, m *model.Model, r *rand.Rand, n int) {
	x, labels := batch(r, n, m)
	b := s.load(t, m, x, labels)
	u := s.rounding
	must(t, b.Begin(t.Context(), 0, n, []float64{0}))
	d, err := b.Logits(t.Context())
	logits := get(t, d, err)
	grads := lossGradient(t, b, logits, labels)
	classes := make([]int32, n)
	must(t, predictions(t.Context(), t, b, classes))
	for i := range n {
		px := ref.Pixels(image(x, i), u)
		want, _ := ref.BoundForward(m, px, u)
		for j, v := range want {
			check(t, fmt.Sprintf("image %d: logit %d", i, j), logits[i][j], v)
		}
		if got := int(classes[i]); got != ref.Argmax(logits[i]) {
			t.Fatalf("image %d: class %d, logits %v", i, got, logits[i])
		}
		for k, v := range ref.BoundInputGradient(m, px, int(labels[i]), u) {
			check(t, fmt.Sprintf("image %d: gradient at pixel %d", i, k), grads[i][k], v)
		}
	}
}

// steps follows FGSM and an iterated attack.
func (s suite) steps(t *testing.T) {
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.125}} {
		for _, k := range []int{1, 3} {
			t.Run(fmt.Sprintf("bounds=%s/K=%d", bounds, k), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				m := ref.RandomModel(r, 1, 30, 17, 23, 10)
				unsure, moves := s.follow(t, m, r, 33, bounds, k, func(x, x0 []float64) []ref.Value { return ref.OnRay(x, x0, s.rounding) })
				// The bound of TF32 on a gradient is wider than most gradients.
				if unsure*20 > moves && s.rounding != ref.TF32 {
					t.Errorf("%d of %d signs are within rounding of 0: the test says too little", unsure, moves)
				}
			})
		}
	}
}

// follow compares an attack of k steps with the reference. Each step of the reference starts at the
// backend's own x, so that a sign that may go either way excuses nothing in later steps. pixels
// bounds x, which the backend may never have formed. follow returns how many signs, of how many,
// were too near to 0 to judge.
func (s suite) follow(t *testing.T, m *model.Model, r *rand.Rand, n int, bounds attack.Bounds, k int, pixels func(x, x0 []float64) []ref.Value) (unsure, moves int) {
	eps := []float64{0, 0.02, 0.1, 0.7}
	x0, labels := batch(r, n, m)
	b := s.load(t, m, x0, labels)
	u := s.rounding
	must(t, b.Begin(t.Context(), 0, n, eps))
	a := attack.BIM(k)
	for step := range k {
		d, err := b.Images(t.Context())
		before := get(t, d, err)
		must(t, b.Step(t.Context(), a.At(step, eps, bounds)))
		d, err = b.Images(t.Context())
		after := get(t, d, err)
		d, err = b.Logits(t.Context())
		logits := get(t, d, err)
		for row := range before {
			want, _ := ref.BoundForward(m, pixels(after[row], image(x0, row/len(eps))), u)
			for j, v := range want {
				check(t, fmt.Sprintf("row %d: logit %d", row, j), logits[row][j], v)
			}
			i, e := row/len(eps), eps[row%len(eps)]
			size := e / float64(k)
			g := ref.BoundInputGradient(m, pixels(before[row], image(x0, i)), int(labels[i]), u)
			signs := make([]float64, len(g))
			for p, v := range g {
				moves++
				if math.Abs(v.V) > v.Err || v.V == 0 && v.Err == 0 {
					signs[p] = v.V
				} else { // either sign is right: take the backend's
					unsure++
					signs[p] = after[row][p] - before[row][p]
				}
			}
			for p, want := range ref.SignStep(before[row], image(x0, i), signs, size, e, bounds) {
				// x, x0, eps, size and their sums are rounded once each.
				tol := 8 * u.Unit * (math.Abs(before[row][p]) + e + 1)
				if math.Abs(g[p].V) <= g[p].Err && g[p].Err > 0 {
					tol += 2 * size // 0 is a third answer
				}
				check(t, fmt.Sprintf("row %d: pixel %d", row, p), after[row][p], ref.Value{V: want, Err: tol})
				if !bounds.None() && !(after[row][p] >= bounds.Lo && after[row][p] <= bounds.Hi) {
					t.Fatalf("row %d: pixel %d is %v, outside %v", row, p, after[row][p], bounds)
				}
				if e == 0 && after[row][p] != before[row][p] {
					t.Fatalf("row %d: pixel %d moved from %v to %v at eps 0", row, p, before[row][p], after[row][p])
				}
			}
		}
	}
	return unsure, moves
}

// ball takes steps so long that only the projection keeps rows in the ball: after two of size
// 2·eps a pixel is on its edge, or on that of the bounds.
func (s suite) ball(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	m := ref.RandomModel(r, 1, 30, 17, 10)
	const n = 9
	x0, labels := batch(r, n, m)
	b := s.load(t, m, x0, labels)
	eps := []float64{0.0625, 0.25}
	bounds := attack.Bounds{Lo: -0.125, Hi: 1.125}
	must(t, b.Begin(t.Context(), 2, n, eps))
	for k := range 2 {
		must(t, b.Step(t.Context(), attack.Step{Direction: attack.RandomSign, Seed: 5, Index: k, Size: []float64{0.125, 0.5}, Bounds: bounds}))
	}
	d, err := b.Images(t.Context())
	for row, got := range get(t, d, err) {
		i, e := 2+row/2, eps[row%2]
		want, signs := image(x0, i), make([]int8, 30)
		for k := range 2 {
			attack.RandomSigns(signs, 5, i, 0, k)
			g := make([]float64, 30)
			for p, v := range signs {
				g[p] = float64(v)
			}
			want = ref.SignStep(want, image(x0, i), g, 2*e, e, bounds)
		}
		for p, v := range want {
			check(t, fmt.Sprintf("row %d: pixel %d", row, p), got[p], ref.Value{V: v, Err: 4 * s.rounding.Unit})
		}
	}
}

// stuck counts zero gradients in a batch that does not begin at the first image and at an early
// step: a random step, which takes no gradient, follows the one whose gradient is zero.
func (s suite) stuck(t *testing.T) {
	m := model.MLP(2, 1, 2) // z = x1 + x2 - 1: dark images have no gradient
	copy(m.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{1, 1})
	m.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = -1
	m.Layers[2].(model.Linear).Weight.Data().([]float32)[1] = 1
	s.stuckOf(t, m)
}

// stuckOf is stuck of a model of two pixels.
func (s suite) stuckOf(t *testing.T, m *model.Model) {
	x := tensor.New(tensor.WithShape(4, 2), tensor.WithBacking([]float64{1, 1, 1, 1, 0, 0, 1, 1}))
	for _, bounds := range []attack.Bounds{{}, {Lo: -9, Hi: 9}} {
		for lo, want := range [][]bool{{false, false, true, false}, {false, true, false}, {true, false}, {false}} {
			b := s.load(t, m, x, []int32{1, 1, 1, 1})
			eps := []float64{0.125, 0.25}
			must(t, b.Begin(t.Context(), lo, 4, eps))
			must(t, b.Step(t.Context(), attack.FGSM().At(0, eps, bounds)))
			must(t, b.Step(t.Context(), attack.Noise(1).At(0, []float64{5, 5}, bounds)))
			zero := make([]bool, 2*len(want))
			must(t, zeroGradient(t.Context(), t, b, zero))
			for row, got := range zero {
				if got != want[row/2] {
					t.Errorf("bounds %s, images from %d: row %d counts as zero %v, want %v", bounds, lo, row, got, want[row/2])
				}
			}
		}
	}
}

// saturated has margins of thousands of nats, where softmax - onehot is 0 in any precision. Every
// sign must still be right, and no image may count as one with a zero gradient.
func (s suite) saturated(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	s.saturatedOf(t, ref.RandomModel(r, 30, 20, 16, 5), r, 200)
}

// saturatedOf is saturated of n images.
func (s suite) saturatedOf(t *testing.T, m *model.Model, r *rand.Rand, n int) {
	x, labels := batch(r, n, m)
	for i := range labels { // confident and right
		z, _ := ref.Forward(m, image(x, i))
		labels[i] = int32(ref.Argmax(z))
	}
	b := s.load(t, m, x, labels)
	eps := []float64{1}
	must(t, b.Begin(t.Context(), 0, n, eps))
	must(t, b.Step(t.Context(), attack.FGSM().At(0, eps, attack.Bounds{})))
	zero := make([]bool, n)
	must(t, zeroGradient(t.Context(), t, b, zero))
	d, err := b.Images(t.Context())
	after := get(t, d, err)
	signs, saturated := 0, 0
	for i := range n {
		z, _ := ref.Forward(m, image(x, i))
		if p := ref.Softmax(z)[labels[i]]; float32(p) == 1 {
			saturated++
		}
		if zero[i] {
			t.Errorf("image %d counts as not attacked", i)
		}
		for p, g := range ref.BoundInputGradient(m, ref.Pixels(image(x, i), s.rounding), int(labels[i]), s.rounding) {
			if math.Abs(g.V) <= g.Err {
				continue
			}
			signs++
			moved := after[i][p] - image(x, i)[p]
			if !(moved*g.V > 0) {
				t.Fatalf("image %d: pixel %d moved by %v, gradient %v", i, p, moved, g.V)
			}
		}
	}
	// The bound of TF32 is wider than most gradients.
	if saturated < n/2 || signs < n*5 && s.rounding != ref.TF32 {
		t.Errorf("%d images saturated, %d signs compared: the test says too little", saturated, signs)
	}
}

// special has exact ties, gradients that are zero, and logits that are not finite.
func (s suite) special(t *testing.T) {
	x := tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{0.5, 0.25, 1, 0, 0, 0}))
	labels := []int32{1, 2}
	attackOne := func(t *testing.T, m *model.Model) (b Backend, class []int32, zero []bool, moved [][]float64) {
		b = s.load(t, m, x, labels)
		eps := []float64{0.5}
		class, zero = make([]int32, 2), make([]bool, 2)
		must(t, b.Begin(t.Context(), 0, 2, eps))
		must(t, predictions(t.Context(), t, b, class))
		must(t, b.Step(t.Context(), attack.FGSM().At(0, eps, attack.Bounds{})))
		must(t, zeroGradient(t.Context(), t, b, zero))
		d, err := b.Images(t.Context())
		return b, class, zero, get(t, d, err)
	}
	t.Run("all weights zero", func(t *testing.T) {
		_, class, zero, moved := attackOne(t, model.MLP(3, 4, 3))
		for i := range 2 {
			if class[i] != 0 || !zero[i] || moved[i][0] != x.Data().([]float64)[3*i] {
				t.Errorf("image %d: class %d, not attacked %v, first pixel %v; want the first class, not attacked, not moved", i, class[i], zero[i], moved[i][0])
			}
		}
	})
	t.Run("dead units", func(t *testing.T) { // z = -1 for every image: nothing passes the ReLU
		m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 3, 4, 3)
		l := m.Layers[0].(model.Linear)
		clear(l.Weight.Data().([]float32))
		for i := range l.Bias.Data().([]float32) {
			l.Bias.Data().([]float32)[i] = -1
		}
		_, _, zero, _ := attackOne(t, m)
		if !zero[0] || !zero[1] {
			t.Errorf("not attacked: %v, want both", zero)
		}
	})
	t.Run("ReLU at exactly zero", func(t *testing.T) { // its derivative there is 0
		m := model.MLP(3, 1, 3)
		for i := range 3 {
			m.Layers[0].(model.Linear).Weight.Data().([]float32)[i] = 1
			m.Layers[2].(model.Linear).Weight.Data().([]float32)[i] = float32(i)
		}
		_, _, zero, moved := attackOne(t, m)
		if zero[0] || !zero[1] || moved[1][0] != 0 {
			t.Errorf("not attacked: %v, black image moved to %v; want [false true], not moved", zero, moved[1])
		}
	})
	t.Run("infinite gradient", func(t *testing.T) { // with finite logits
		// x = 0: h1 = 1, h2 = 1e25, logits (1e35, 0); gradient 1e10·1e25·1e25.
		m := model.MLP(1, 1, 1, 2)
		for l, w := range []float32{1e25, 1e25, 1e10} {
			m.Layers[2*l].(model.Linear).Weight.Data().([]float32)[0] = w
		}
		m.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = 1
		b := s.open(t, m)
		if b.Info().Precision == "float64" {
			t.Skip("float64 holds this gradient")
		}
		must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(1, 1), tensor.WithBacking([]float32{0})), []int32{1}))
		must(t, b.Begin(t.Context(), 0, 1, []float64{0.5}))
		class := make([]int32, 1)
		must(t, predictions(t.Context(), t, b, class))
		if class[0] != 0 {
			t.Fatalf("class %d: the logits should be finite", class[0])
		}
		err := b.Step(t.Context(), attack.FGSM().At(0, []float64{0.5}, attack.Bounds{}))
		if err == nil { // the next call may report it instead
			err = predictions(t.Context(), t, b, class)
		}
		if err == nil {
			t.Fatal("no error")
		}
		if err := predictions(t.Context(), t, b, class); err == nil {
			t.Error("there are rows after the error")
		}
	})
	t.Run("infinite logits", func(t *testing.T) {
		m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 3, 4, 3)
		for _, l := range []int{0, 2} {
			for i := range m.Layers[l].(model.Linear).Weight.Data().([]float32) {
				m.Layers[l].(model.Linear).Weight.Data().([]float32)[i] = 3e38
			}
		}
		b := s.load(t, m, x, labels)
		if b.Info().Precision == "float64" {
			t.Skip("float64 holds these logits")
		}
		class := make([]int32, 2)
		must(t, b.Begin(t.Context(), 0, 2, []float64{0}))
		must(t, predictions(t.Context(), t, b, class))
		if class[0] != -1 {
			t.Errorf("class %d, want -1 for logits that are not finite", class[0])
		}
	})
}

// notANumber has infinities and NaN in the first layers. Two more layers must carry them on to the
// logits and to the gradient.
func (s suite) notANumber(t *testing.T) {
	x := tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float32{1, 1, 0, 0}))
	for name, change := range map[string]func(w []float32){
		"infinity":               func(w []float32) { w[0], w[1] = 3e38, 3e38 },
		"infinity less infinity": func(w []float32) { w[0], w[1], w[2], w[3] = 3e38, 3e38, -3e38, 3e38 },
	} {
		t.Run(name, func(t *testing.T) {
			m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 2, 4, 4, 4, 3)
			for l := 0; l < len(m.Layers); l += 2 { // every unit is open, and every weight counts
				w := m.Layers[l].(model.Linear).Weight.Data().([]float32)
				for i := range w {
					w[i] = float32(1 + i%3)
				}
				clear(m.Layers[l].(model.Linear).Bias.Data().([]float32))
			}
			change(m.Layers[0].(model.Linear).Weight.Data().([]float32))
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
			err := b.Step(t.Context(), attack.FGSM().At(0, []float64{0.5}, attack.Bounds{}))
			if err == nil {
				err = predictions(t.Context(), t, b, class)
			}
			if err == nil {
				t.Error("the gradient is not finite: no error")
			}
		})
	}
}

// rows computes the same (image, eps) pairs in many different batches. Every bit must agree.
func (s suite) rows(t *testing.T) {
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		t.Run("bounds="+bounds.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 5))
			s.rowsOf(t, ref.RandomModel(r, 1, 50, 37, 29, 10), r, 201, bounds)
		})
	}
}

// rowsOf is rows of n images within bounds.
func (s suite) rowsOf(t *testing.T, m *model.Model, r *rand.Rand, n int, bounds attack.Bounds) {
	x, labels := batch(r, n, m)
	eps := []float64{0, 0.05, 0.1, 0.35, 0.4}
	type found struct {
		class  int32
		zero   bool
		logits []float64
		image  []float64
	}
	// collect finds the batches of so many images and eps that begin at every stride-th image.
	collect := func(k, images, width, stride int) [][]found {
		b := s.load(t, m, x, labels)
		out := make([][]found, n)
		for lo := 0; lo < n; lo += stride {
			hi := min(lo+images, n)
			for e := 0; e < len(eps); e += width {
				some := eps[e:min(e+width, len(eps))]
				rows := (hi - lo) * len(some)
				class, zero := make([]int32, rows), make([]bool, rows)
				must(t, b.Begin(t.Context(), lo, hi, some))
				a := attack.BIM(k)
				for step := range a.Steps {
					must(t, b.Step(t.Context(), a.At(step, some, bounds)))
				}
				must(t, predictions(t.Context(), t, b, class))
				must(t, zeroGradient(t.Context(), t, b, zero))
				d, err := b.Logits(t.Context())
				logits := get(t, d, err)
				d, err = b.Images(t.Context())
				moved := get(t, d, err)
				for row := range rows {
					i := lo + row/len(some)
					out[i] = append(out[i], found{class[row], zero[row], logits[row], moved[row]})
				}
			}
		}
		return out
	}
	for _, k := range []int{0, 1, 3} {
		want := collect(k, n, len(eps), n)
		for _, split := range [][3]int{{1, 1, 19}, {1, 5, 13}, {7, 2, 21}, {100, 5, 100}, {n, 1, n}} {
			got := collect(k, split[0], split[1], split[2])
			for i := range n {
				for e, g := range got[i] {
					w := want[i][e]
					if g.class != w.class || g.zero != w.zero || !sameBits(g.logits, w.logits) || !sameBits(g.image, w.image) {
						t.Fatalf("K = %d, batches of %d images and %d eps: image %d at eps %v differs from one batch of all", k, split[0], split[1], i, eps[e])
					}
				}
			}
		}
	}
}

func sameBits(a, b []float64) bool {
	for i := range a {
		if math.Float64bits(a[i]) != math.Float64bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// noise compares random signs with attack.RandomSigns, keyed by the image's index in its data set.
func (s suite) noise(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	m := ref.RandomModel(r, 1, 300, 8, 4)
	x, labels := batch(r, 9, m)
	b := s.open(t, m)
	const first = 1234
	must(t, b.Load(t.Context(), first, x, labels))
	eps := []float64{0.125, 0.5}
	must(t, b.Begin(t.Context(), 2, 9, eps))
	must(t, b.Step(t.Context(), attack.Noise(77).At(0, eps, attack.Bounds{})))
	d, err := b.Images(t.Context())
	for k, got := range get(t, d, err) {
		i, e := 2+k/2, eps[k%2]
		signs := make([]int8, 300)
		attack.RandomSigns(signs, 77, first+i, 0, 0)
		for p, v := range image(x, i) {
			want := v + e*float64(signs[p])
			check(t, fmt.Sprintf("image %d, eps %v: pixel %d", i, e, p), got[p], ref.Value{V: want, Err: 2 * s.rounding.Unit})
		}
	}
	zero := make([]bool, 14)
	must(t, zeroGradient(t.Context(), t, b, zero))
	for k, z := range zero {
		if z {
			t.Errorf("row %d: noise took no gradient, but it counts as zero", k)
		}
	}
}

// count compares Count, if the backend has it, with what Outcomes says of each row. Some labels are
// right, some images have no gradient, and one has logits that are not finite.
func (s suite) count(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	m := ref.RandomModel(r, 1, 30, 17, 5)
	l := m.Layers[0].(model.Linear)
	s.countOf(t, m, r, l.Weight.Data().([]float32), l.Bias.Data().([]float32))
}

// countOf is count for a model of 30 pixels and 5 classes. Its first layer has a weight and a bias,
// and a ReLU behind it.
func (s suite) countOf(t *testing.T, m *model.Model, r *rand.Rand, weight, bias []float32) {
	if _, ok := s.open(t, m).(pipeline.Counter); !ok {
		t.Skip("the backend does not count")
	}
	const n = 70
	pixels := make([]float32, n*30)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32(r.IntN(5))
	}
	const dark, bad = 40, 60
	for o := range bias { // only light passes the first ReLU
		bias[o] = -0.01
	}
	clear(pixels[dark*30:][:30])
	x := tensor.New(tensor.WithShape(n, 30), tensor.WithBacking(pixels))
	eps := []float64{0.01, 0.1, 0.4}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for _, lo := range []int{0, 33} {
			for _, steps := range []int{0, 1, 3, -1} {
				b := s.load(t, m, x, labels)
				must(t, b.Begin(t.Context(), lo, n, eps))
				if steps < 0 { // one gradient at rows that have moved, by nothing
					steps = 1
					must(t, b.Step(t.Context(), attack.Step{Direction: attack.RandomSign, Size: make([]float64, len(eps)), Bounds: bounds}))
				}
				for k := range steps {
					must(t, b.Step(t.Context(), attack.BIM(3).At(k, eps, bounds)))
				}
				rows := (n - lo) * len(eps)
				class, zero := make([]int32, rows), make([]bool, rows)
				must(t, predictions(t.Context(), t, b, class))
				must(t, zeroGradient(t.Context(), t, b, zero))
				correct, zeros, stuck := []int{9, 9, 9}, []int{9, 9, 9}, make([]bool, n-lo)
				stuck[0] = true // what was there is overwritten
				for range 2 {   // Count again counts the same
					first, err := b.(pipeline.Counter).Count(t.Context(), correct, zeros, stuck)
					must(t, err)
					if first != -1 {
						t.Errorf("row %d counts as not finite, class %d", first, class[first])
					}
				}
				right := 0
				for e := range eps {
					wantCorrect, wantZero := 0, 0
					for i := lo; i < n; i++ {
						row := (i-lo)*len(eps) + e
						if class[row] == labels[i] {
							wantCorrect++
						}
						if zero[row] {
							wantZero++
						}
						if stuck[i-lo] != zero[row] { // no gradient at one eps is none at all here
							t.Errorf("image %d: stuck %v, zero gradient at eps %v %v", i, stuck[i-lo], eps[e], zero[row])
						}
					}
					right += wantCorrect
					if correct[e] != wantCorrect || zeros[e] != wantZero {
						t.Errorf("bounds %s, from image %d, %d steps, eps %v: %d right and %d without gradient, want %d and %d",
							bounds, lo, steps, eps[e], correct[e], zeros[e], wantCorrect, wantZero)
					}
				}
				if steps > 0 && !stuck[dark-lo:][0] && lo <= dark {
					t.Errorf("image %d has no gradient, but is not listed", dark)
				}
				if steps == 0 && right == 0 {
					t.Error("no row is right: the test says too little")
				}
				for _, room := range [][3]int{{2, 3, n - lo}, {3, 4, n - lo}, {3, 3, n - lo - 1}} {
					if _, err := b.(pipeline.Counter).Count(t.Context(), make([]int, room[0]), make([]int, room[1]), make([]bool, room[2])); err == nil {
						t.Errorf("room for %v: no error", room)
					}
				}
			}
		}
	}
	if s.rounding.Unit == ref.Float64.Unit {
		return // holds the logits below
	}
	pixels[bad*30] = 1e38
	for i := range weight {
		weight[i] *= 100
	}
	b := s.load(t, m, x, labels)
	must(t, b.Begin(t.Context(), 50, n, eps))
	first, err := b.(pipeline.Counter).Count(t.Context(), make([]int, 3), make([]int, 3), make([]bool, n-50))
	must(t, err)
	if want := (bad - 50) * len(eps); first != want {
		t.Errorf("the first row with logits that are not finite is %d, want %d", first, want)
	}
}

// tiny is a model of 4 pixels and 2 classes.
func tiny() *model.Model { return ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 4, 3, 2) }

// refusals feeds bad input to a model of 4 pixels and 2 classes. Each input must give an error and
// no panic.
func (s suite) refusals(t *testing.T, m *model.Model) {
	dense := func(shape []int, data any) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
	}
	good := dense([]int{2, 4}, make([]float32, 8))
	for name, load := range map[string]struct {
		x      *tensor.Dense
		labels []int32
	}{
		"label too large":    {good, []int32{0, 2}},
		"label negative":     {good, []int32{-1, 0}},
		"too few labels":     {good, []int32{0}},
		"too many labels":    {good, []int32{0, 1, 0}},
		"wrong image length": {dense([]int{2, 5}, make([]float32, 10)), []int32{0, 1}},
		"as many numbers":    {dense([]int{4, 2}, make([]float32, 8)), []int32{0, 1}},
		"wrong type":         {dense([]int{2, 4}, make([]int16, 8)), []int32{0, 1}},
		"NaN":                {dense([]int{2, 4}, []float32{0, 0, 0, 0, 0, float32(math.NaN()), 0, 0}), []int32{0, 1}},
		"column-major":       {tensor.New(tensor.WithShape(2, 4), tensor.AsFortran(make([]float32, 8))), []int32{0, 1}},
		"nil":                {nil, []int32{0, 1}},
		"infinite":           {dense([]int{2, 4}, []float64{0, 0, 0, 0, 0, math.Inf(-1), 0, 0}), []int32{0, 1}},
	} {
		if err := s.open(t, m).Load(t.Context(), 0, load.x, load.labels); err == nil {
			t.Errorf("load, %s: no error", name)
		}
	}
	b := s.load(t, m, good, []int32{0, 1})
	for name, begin := range map[string]struct {
		lo, hi int
		eps    []float64
	}{
		"no eps": {0, 2, nil}, "negative eps": {0, 2, []float64{-0.1}}, "NaN eps": {0, 2, []float64{math.NaN()}},
		"past the end": {0, 3, []float64{0}}, "reversed": {2, 1, []float64{0}}, "before the start": {-1, 1, []float64{0}},
	} {
		if err := b.Begin(t.Context(), begin.lo, begin.hi, begin.eps); err == nil {
			t.Errorf("begin, %s: no error", name)
		}
	}
	if b.Info().Precision == "float32" {
		if err := b.Begin(t.Context(), 0, 2, []float64{1e39}); err == nil {
			t.Error("begin, eps infinite in float32: no error")
		}
	}
	many := make([]float64, b.Info().Rows)
	for i := range many {
		many[i] = float64(i)
	}
	if err := b.Begin(t.Context(), 0, 2, many); err == nil {
		t.Error("begin, more rows than MaxRows: no error")
	}
	must(t, b.Begin(t.Context(), 0, 2, []float64{0.1, 0.2}))
	for name, step := range map[string]attack.Step{
		"too few sizes":        {Size: []float64{0.1}},
		"unknown direction":    {Direction: 7, Size: []float64{0.1, 0.2}},
		"NaN size":             {Size: []float64{0.1, math.NaN()}},
		"reversed bounds":      {Size: []float64{0.1, 0.2}, Bounds: attack.Bounds{Lo: 1, Hi: 0}},
		"images not in bounds": {Size: []float64{0.1, 0.2}, Bounds: attack.Bounds{Lo: 0.25, Hi: 1}},
	} {
		if err := b.Step(t.Context(), step); err == nil {
			t.Errorf("step, %s: no error", name)
		}
	}
	if p, ok := b.(piecewise); ok {
		if err := p.Predictions(t.Context(), make([]int32, 3)); err == nil {
			t.Error("predictions into 3 of 4 rows: no error")
		}
		if err := p.ZeroGradient(t.Context(), make([]bool, 5)); err == nil {
			t.Error("zero gradients into 5 of 4 rows: no error")
		}
	}
}

// states calls methods of a backend with m out of order, with an ended context, on an empty batch,
// and after Close.
func (s suite) states(t *testing.T, m *model.Model) {
	x, labels := batch(rand.New(rand.NewPCG(2, 2)), 200, m)
	eps := []float64{0.1}
	step := attack.FGSM().At(0, eps, attack.Bounds{})

	b := s.open(t, m)
	if _, err := b.Logits(t.Context()); err == nil {
		t.Error("logits before Load: no error")
	}
	for _, s := range []attack.Step{step, {}} {
		if err := b.Step(t.Context(), s); err == nil {
			t.Errorf("step %v before Load: no error", s)
		}
	}
	must(t, b.Load(t.Context(), 0, x, labels))
	must(t, b.Begin(t.Context(), 5, 5, eps))
	must(t, b.Step(t.Context(), step))
	must(t, predictions(t.Context(), t, b, nil))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, b.Begin(t.Context(), 0, 200, eps))
	if err := b.Step(ended, step); !errors.Is(err, context.Canceled) {
		t.Errorf("step with an ended context: %v, want %v", err, context.Canceled)
	}
	must(t, b.Begin(t.Context(), 0, 200, eps))
	if err := predictions(ended, t, b, make([]int32, 200)); !errors.Is(err, context.Canceled) {
		t.Errorf("predictions with an ended context: %v, want %v", err, context.Canceled)
	}
	must(t, b.Begin(t.Context(), 0, 200, eps))
	if _, err := b.Outcomes(ended, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("outcomes with an ended context: %v, want %v", err, context.Canceled)
	}

	// Nothing of the first batch is left after a second Load.
	y, other := batch(rand.New(rand.NewPCG(3, 3)), 50, m)
	must(t, b.Load(t.Context(), 0, y, other))
	must(t, b.Begin(t.Context(), 0, 50, eps))
	must(t, b.Step(t.Context(), step))
	d, err := b.Images(t.Context())
	again := get(t, d, err)
	fresh := s.load(t, m, y, other)
	must(t, fresh.Begin(t.Context(), 0, 50, eps))
	must(t, fresh.Step(t.Context(), step))
	d, err = fresh.Images(t.Context())
	for i, want := range get(t, d, err) {
		if !sameBits(again[i], want) {
			t.Fatalf("image %d after a second Load differs from that of a new backend", i)
		}
	}

	weights := tensor.New(tensor.WithShape(1, m.Outputs()), tensor.WithBacking(make([]float64, m.Outputs())))
	must(t, b.Close())
	for name, err := range map[string]error{
		"Load": b.Load(t.Context(), 0, x, labels), "Begin": b.Begin(t.Context(), 0, 1, eps), "Step": b.Step(t.Context(), step),
		"Predictions": predictions(t.Context(), t, b, nil), "ZeroGradient": zeroGradient(t.Context(), t, b, nil), "Close": b.Close(),
	} {
		if err == nil {
			t.Errorf("%s after Close: no error", name)
		}
	}
	for name, f := range map[string]func(context.Context) (*tensor.Dense, error){"Logits": b.Logits, "Images": b.Images, "Gradient": func(ctx context.Context) (*tensor.Dense, error) { return b.Gradient(ctx, weights) }} {
		if _, err := f(t.Context()); err == nil {
			t.Errorf("%s after Close: no error", name)
		}
	}
}
