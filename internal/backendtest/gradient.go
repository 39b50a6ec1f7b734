package backendtest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// matrix is rows as a tensor.
func matrix(rows [][]float64) *tensor.Dense {
	var flat []float64
	for _, r := range rows {
		flat = append(flat, r...)
	}
	return tensor.New(tensor.WithShape(len(rows), len(rows[0])), tensor.WithBacking(flat))
}

// lossGradient returns ∂L/∂x [rows, I] at the rows' x, each row divided by its 1 - p_y. logits are
// those of the rows. The rows of one image follow each other and share its label.
func lossGradient(t *testing.T, b Backend, logits [][]float64, labels []int32) [][]float64 {
	t.Helper()
	q := make([][]float64, len(logits))
	for r, z := range logits {
		q[r] = ref.LossGradient(z, int(labels[r/(len(logits)/len(labels))]))
	}
	d, err := b.Gradient(t.Context(), matrix(q))
	return get(t, d, err)
}

// gradient compares Gradient with the truth in every state of the rows.
func (s suite) gradient(t *testing.T) {
	for _, c := range []struct {
		n     int
		sizes []int
	}{{1, []int{30, 17, 23, 10}}, {7, []int{7, 33, 4}}, {7, []int{5, 3}}, {1000, []int{5, 9, 4}}} {
		if c.n > 100 && testing.Short() {
			c.n /= 4
		}
		t.Run(fmt.Sprintf("%v/B=%d", c.sizes, c.n), func(t *testing.T) {
			r := rand.New(rand.NewPCG(17, uint64(c.n)))
			s.gradientOf(t, ref.RandomModel(r, 1, c.sizes...), r, c.n, func(x, x0 []float64) []ref.Value { return ref.OnRay(x, x0, s.rounding) })
		})
	}
	t.Run("dead units", func(t *testing.T) { // -1 for every image: nothing passes the ReLU
		r := rand.New(rand.NewPCG(17, 2))
		m := ref.RandomModel(r, 1, 3, 4, 3)
		l := m.Layers[0].(model.Linear)
		clear(l.Weight.Data().([]float32))
		for i := range l.Bias.Data().([]float32) {
			l.Bias.Data().([]float32)[i] = -1
		}
		x, labels := batch(r, 2, m)
		b := s.load(t, m, x, labels)
		must(t, b.Begin(t.Context(), 0, 2, []float64{0.5}))
		d, err := b.Gradient(t.Context(), matrix([][]float64{{1, 2, 3}, {-1, 0, 5}}))
		for row, g := range get(t, d, err) {
			for p, v := range g {
				if v != 0 {
					t.Errorf("row %d: gradient at pixel %d is %v, want 0", row, p, v)
				}
			}
		}
	})
}

func (s suite) networkGradient(t *testing.T) {
	for _, name := range []string{"lenet", "resnet", "pools", "linear after linear", "no weights", "drawn 1"} {
		t.Run(name, func(t *testing.T) {
			pixels := func(x, _ []float64) []ref.Value { return ref.Pixels(x, s.rounding) }
			s.gradientOf(t, networks()[name], rand.New(rand.NewPCG(17, 3)), 3, pixels)
		})
	}
}

// gradientOf takes gradients of n images before, between and after steps, Keep and Restore. pixels
// bounds x, which the backend may never have formed. Another backend does the same without
// gradients. The rows of both, and which gradients were zero, must be the same to the bit.
func (s suite) gradientOf(t *testing.T, m *model.Model, r *rand.Rand, n int, pixels func(x, x0 []float64) []ref.Value) {
	images, labels := batch(r, n, m)
	b, other := s.load(t, m, images, labels), s.load(t, m, images, labels)
	eps := []float64{0, 0.125, 0.25}
	all := make([]bool, 3*n)
	some := make([]bool, 3*n)
	for k := range all {
		all[k], some[k] = true, k%2 == 0
	}
	look := func(when string) {
		t.Helper()
		d, err := b.Images(t.Context())
		before := get(t, d, err)
		q := make([][]float64, len(before))
		for row := range q {
			q[row] = make([]float64, m.Outputs())
			for j := range q[row] {
				if row%5 != 4 { // the others have weights 0
					q[row][j] = float64(float32(r.NormFloat64()))
				}
			}
		}
		d, err = b.Gradient(t.Context(), matrix(q))
		got := get(t, d, err)
		if len(got) != len(before) || len(got[0]) != m.Inputs() {
			t.Fatalf("%s: gradient [%d %d], want [%d %d]", when, len(got), len(got[0]), len(before), m.Inputs())
		}
		for row, g := range got {
			_, values := ref.BoundForward(m, pixels(before[row], image(images, row/len(eps))), s.rounding)
			weights := make([]ref.Value, len(q[row]))
			for j, v := range q[row] {
				weights[j] = ref.Value{V: v}
			}
			for p, want := range ref.BoundBackward(m, values, weights, s.rounding) {
				if row%5 == 4 {
					want = ref.Value{}
				}
				check(t, fmt.Sprintf("%s, row %d: gradient at pixel %d", when, row, p), g[p], want)
			}
		}
		if s.rounding.Unit == ref.Float64.Unit {
			s.differences(t, when, m, before[0], q[0], got[0])
		}
		d, err = other.Images(t.Context())
		unmoved := get(t, d, err)
		d, err = b.Images(t.Context())
		for row, x := range get(t, d, err) {
			if !sameBits(x, unmoved[row]) {
				t.Fatalf("%s: row %d is %v, without a gradient before it %v", when, row, x, unmoved[row])
			}
		}
	}
	both := func(f func(b Backend) error) {
		t.Helper()
		must(t, f(b))
		must(t, f(other))
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		both(func(b Backend) error { return b.Begin(t.Context(), 0, n, eps) })
		look("clean")
		for k := range 3 {
			both(func(b Backend) error { return b.Step(t.Context(), attack.BIM(3).At(k, eps, bounds)) })
			look(fmt.Sprintf("bounds %v, step %d", bounds, k))
			if k == 0 {
				both(func(b Backend) error { return b.Keep(t.Context(), 0, all) })
			}
		}
		both(func(b Backend) error { return b.Restore(t.Context(), 0, some) })
		look(fmt.Sprintf("bounds %v, restored", bounds))
		both(func(b Backend) error {
			return b.Step(t.Context(), attack.Step{Ball: true, Norm: attack.L2, Size: []float64{0, 0.125, 0.25}})
		})
		look(fmt.Sprintf("bounds %v, general step", bounds))
	}
}

// differences compares g with central differences of Σ_j q_j·z_j at x. It leaves out pixels where
// the two one-sided differences say that a kink is near.
func (s suite) differences(t *testing.T, when string, m *model.Model, x, q, g []float64) {
	t.Helper()
	const h = 1e-6
	at := func(p int, by float64) (sum float64) {
		y := append([]float64(nil), x...)
		y[p] += by
		z, _ := ref.Forward(m, y)
		for j, v := range z {
			sum += q[j] * v
		}
		return sum
	}
	for p, got := range g {
		below, here, above := at(p, -h), at(p, 0), at(p, h)
		if math.Abs((above-here)-(here-below)) > 1e-4*h*(1+math.Abs(got)) {
			continue
		}
		// A sum of about 10 rounds by 1e-15, and is divided by 2e-6.
		check(t, fmt.Sprintf("%s: central difference at pixel %d", when, p), got, ref.Value{V: (above - below) / (2 * h), Err: 1e-4 * (1 + math.Abs(got))})
	}
}

// gradientRefusals asks for gradients that do not exist. Each must give an error, and the rows must
// stay.
func (s suite) gradientRefusals(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 4))
	m := ref.RandomModel(r, 1, 4, 3, 2)
	images, labels := batch(r, 3, m)
	dense := func(data any, shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
	}
	good := dense([]float64{1, -1, 2, 3, 0, 1, 4, 1, 1, 1, 0, -2}, 6, 2)
	b := s.open(t, m)
	if _, err := b.Gradient(t.Context(), good); err == nil {
		t.Error("before Load: no error")
	}
	must(t, b.Load(t.Context(), 0, images, labels))
	if _, err := b.Gradient(t.Context(), good); err == nil {
		t.Error("before Begin: no error")
	}
	must(t, b.Begin(t.Context(), 1, 1, []float64{0.1, 0.2}))
	if _, err := b.Gradient(t.Context(), good); err == nil {
		t.Error("of no rows: no error")
	}
	must(t, b.Begin(t.Context(), 0, 3, []float64{0.1, 0.2}))
	d, err := b.Gradient(t.Context(), good)
	want := get(t, d, err)
	f64 := func(n int, v float64) []float64 {
		out := make([]float64, n)
		out[n-1] = v
		return out
	}
	bad := map[string]*tensor.Dense{
		"no weights": nil, "five of six rows": dense(f64(10, 0), 5, 2), "three classes": dense(f64(18, 0), 6, 3), "transposed": dense(f64(12, 0), 2, 6),
		"one dimension": dense(f64(12, 0), 12), "three dimensions": dense(f64(12, 0), 3, 2, 2), "integers": dense(make([]int32, 12), 6, 2),
		"not a number": dense(f64(12, math.NaN()), 6, 2), "infinite": dense(f64(12, math.Inf(-1)), 6, 2),
	}
	if b.Info().Precision != "float64" {
		bad["infinite in float32"] = dense(f64(12, 1e39), 6, 2)
	}
	for name, q := range bad {
		if _, err := b.Gradient(t.Context(), q); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Weights in float32 give the same, and what was refused has moved nothing.
	q := make([]float32, 12)
	for k, v := range good.Data().([]float64) {
		q[k] = float32(v)
	}
	d, err = b.Gradient(t.Context(), dense(q, 6, 2))
	for row, g := range get(t, d, err) {
		if !sameBits(g, want[row]) {
			t.Errorf("row %d: %v of float32 weights, %v of float64", row, g, want[row])
		}
	}
	must(t, b.Close())
	if _, err := b.Gradient(t.Context(), good); err == nil {
		t.Error("after Close: no error")
	}
	if s.rounding.Unit == ref.Float64.Unit {
		return // which holds the numbers below
	}
	// x = 0: h = 1, 1e25, logits 1e35 and 0; gradient 1e10·1e25·1e25. At x = -1 all units are dead.
	steep := model.MLP(1, 1, 1, 2)
	for l, w := range []float32{1e25, 1e25, 1e10} {
		steep.Layers[2*l].(model.Linear).Weight.Data().([]float32)[0] = w
	}
	steep.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = 1
	b = s.open(t, steep)
	must(t, b.Load(t.Context(), 5, dense([]float32{-1, 0}, 2, 1), []int32{1, 1}))
	must(t, b.Begin(t.Context(), 0, 2, []float64{0.5, 0.75}))
	_, err = b.Gradient(t.Context(), dense([]float64{1, -1, 1, -1, 1, -1, 1, -1}, 4, 2))
	var of interface{ NotFiniteImage() int }
	if !errors.As(err, &of) || of.NotFiniteImage() != 6 {
		t.Errorf("infinite gradient: error %v, want one of image 6", err)
	}
}
