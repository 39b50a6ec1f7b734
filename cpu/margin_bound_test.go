package cpu

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// boundModels returns small models of every kind of layer: MLPs, some of them large enough that the
// roundings of a chain count, and networks.
func boundModels(r *rand.Rand) []*model.Model {
	all := []*model.Model{ref.RandomModel(r, 1, 300, 200, 100, 5), ref.RandomModel(r, 1, 40, 9), ref.RandomModel(r, 0.1, 64, 50, 60, 30, 4)}
	for range 40 {
		all = append(all, ref.RandomNetwork(r))
	}
	for range 8 {
		all = append(all, ref.RandomWide(r))
	}
	return all
}

// mathOf returns each of Maths in turn.
func mathOf(k int) string { return Maths()[k%len(Maths())] }

// TestMarginBound compares the bound with how far margins do move: from rows that steps have moved,
// in every form in which x may lie, to rows near them that are computed from the pixels.
func TestMarginBound(t *testing.T) {
	t.Run("float32", testMarginBound[float32])
	t.Run("float64", testMarginBound[float64])
}

func testMarginBound[T Float](t *testing.T) {
	r := rand.New(rand.NewPCG(41, 1))
	const n = 3
	eps := []float64{0, 0.01, 0.1, 0.2, 0.3, 0.7}
	checked, closest := 0, 0.0
	models := boundModels(r)
	all := len(models) // that have bounds
	for _, e := range model.Examples() {
		models = append(models, e.Model())
	}
	for k, m := range models {
		in, out := m.Inputs(), m.Outputs()
		options := Options{Math: mathOf(k)}
		b, err := New[T](m, options)
		must(t, err)
		if b.makeBound(); k >= all && !b.bound.known { // see TestUnknownBounds
			continue
		}
		b.bound = modelBound[T]{}
		other, err := New[T](m, options)
		must(t, err)
		pixels, labels := make([]uint8, n*in), make([]int32, n)
		for i := range pixels {
			pixels[i] = uint8(r.IntN(256) * r.IntN(2))
		}
		for i := range labels {
			labels[i] = int32(r.IntN(out))
		}
		must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels))
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			for steps := range 5 {
				must(t, b.Begin(t.Context(), 0, n, eps))
				for j := range steps {
					must(t, b.Step(t.Context(), attack.BIM(4).At(j, eps, bounds)))
				}
				z, x := denseOf[T](t, b.Logits), denseOf[T](t, b.Images)
				excess := b.excess()
				for _, sharp := range []bool{false, true} {
					if b.makeBound(); sharp {
						b.bound.make(b, b.spectral)
					}
					if !b.bound.known {
						t.Fatalf("model %d: no bound", k)
					}
					for _, by := range []float64{0, 1e-7, 1e-3, 0.1} {
						near := make([]T, len(x))
						for i, v := range x {
							near[i] = v + T(by*r.NormFloat64())
						}
						must(t, other.Load(t.Context(), 0, tensor.New(tensor.WithShape(n*len(eps), in), tensor.WithBacking(near)), make([]int32, n*len(eps))))
						must(t, other.Begin(t.Context(), 0, n*len(eps), []float64{0}))
						there := denseOf[T](t, other.Logits)
						for row := range n * len(eps) {
							x, near := x[row*in:][:in], near[row*in:][:in]
							size := max(norm2(x), norm2(near), norm2(b.loaded.clean(row/len(eps)))) * (1 + 1e-12)
							far, top := b.bound.top(distance(x, near), size, excess(row, size))
							for y := range out {
								for c := range out {
									here := float64(z[row*out+y]) - float64(z[row*out+c])
									moved := math.Abs(float64(there[row*out+y]) - float64(there[row*out+c]) - here)
									most := b.bound.change(y, c, far, top)
									if !(moved <= most) {
										t.Fatalf("model %d (%v), bounds %v, %d steps, row %d, by %v, sharp %v: margin of %d over %d moves by %v, bound %v", k, m, bounds, steps, row, by, sharp, y, c, moved, most)
									}
									if y != c {
										checked++
										closest = max(closest, moved/most)
									}
								}
							}
						}
					}
					b.bound = modelBound[T]{}
				}
			}
		}
	}
	if checked == 0 || closest < 0.1 {
		t.Errorf("of %d margins none is nearer to its bound than %v of it", checked, closest)
	}
	t.Logf("%d margins, up to %.2f of the bound", checked, closest)
}

// TestUnknownBounds lists the layers of which no bound is known. Whether a wrong bound is given for
// another one is for TestMarginBound.
func TestUnknownBounds(t *testing.T) {
	want := map[string]bool{
		"mul": true, "div": true, "matmul": true, "exp": true, "log": true, "sqrt": true, "reciprocal": true, "pow": true,
		"roundclip": true, "thresholdedrelu": true,
	}
	for i, e := range model.Examples() {
		b, err := New[float32](e.Model(), Options{})
		must(t, err)
		if b.makeBound(); b.bound.known == want[e.Layer.Kind()] {
			t.Errorf("example %d, %s: bound known %v, want %v", i, e.Layer.Kind(), b.bound.known, !b.bound.known)
		}
	}
}

// denseOf returns the elements of what f returns.
func denseOf[T Float](t *testing.T, f func(ctx context.Context) (*tensor.Dense, error)) []T {
	t.Helper()
	d, err := f(t.Context())
	must(t, err)
	return d.Data().([]T)
}

// TestRoundedClasses compares the classes of rounded rows with those of asking every row. The top
// of the models has two classes that nearly tie, so that margins are of every size down to
// rounding.
func TestRoundedClasses(t *testing.T) {
	t.Run("float32", testRoundedClasses[float32])
	t.Run("float64", testRoundedClasses[float64])
}

func testRoundedClasses[T Float](t *testing.T) {
	r := rand.New(rand.NewPCG(42, 1))
	const n = 12
	for k, m := range boundModels(r) {
		in, out := m.Inputs(), m.Outputs()
		if l, ok := m.Layers[len(m.Layers)-1].(model.Linear); ok {
			nearTie(l, math.Pow(10, -float64(1+k%7)))
		}
		b, err := New[T](m, Options{Math: mathOf(k)})
		must(t, err)
		images, labels := make([]float32, n*in), make([]int32, n)
		for i := range images {
			images[i] = float32(r.IntN(256)) / 255
			if i >= n/2*in { // no level
				images[i] = r.Float32()
			}
		}
		for i := range labels {
			labels[i] = int32(r.IntN(out))
		}
		must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(images)), labels))
		for _, eps := range [][]float64{{0, 0, 1 / 255., 1.5 / 255, 2 / 255., 8 / 255.}, {0.1, 0.2, 0.2, 0.5, 0.5, 0.5}} {
			for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
				for steps := range 4 {
					for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
						must(t, b.Begin(t.Context(), 0, n, eps))
						for j := range steps {
							s := attack.BIM(max(steps, 1)).At(j, eps, bounds)
							s.Ball = j == 2 // general
							must(t, b.Step(t.Context(), s))
						}
						o, err := b.Outcomes(t.Context(), &backend.Rounding{Norm: norm})
						must(t, err)
						want := make([]int32, n*len(eps))
						must(t, b.Predictions(t.Context(), want))
						for row, c := range o.Rounded {
							if c != want[row] {
								t.Fatalf("model %d (%v), eps %v, bounds %v, %d steps: row %d has class %d, asked %d", k, m, eps, bounds, steps, row, c, want[row])
							}
						}
					}
				}
			}
		}
	}
}

// nearTie gives the first two classes of l the same weights but for one, which differs by so much.
func nearTie(l model.Linear, by float64) {
	n := l.Weight.Shape()[1]
	switch w := l.Weight.Data().(type) {
	case []float32:
		copy(w[n:2*n], w[:n])
		w[n] += float32(by)
	case []float64:
		copy(w[n:2*n], w[:n])
		w[n] += by
	}
	switch bias := l.Bias.Data().(type) {
	case []float32:
		bias[1] = bias[0]
	case []float64:
		bias[1] = bias[0]
	}
}

// TestRoundedWork counts the multiplications that the classes of rounded rows take. Where an
// earlier pass has the answer they take none, and where rounding is all that moves a row next to
// none.
func TestRoundedWork(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 1))
	lenet := &model.Model{Input: []int{1, 8, 8}, Layers: []model.Layer{
		model.Conv2D{Name: "c", Weight: drawnWeights(r, 0.5, 8, 1, 3, 3), Bias: drawnWeights(r, 0.1, 8), Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}},
		model.ReLU{}, model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}},
		model.Linear{Name: "l", Weight: drawnWeights(r, 0.2, 5, 128), Bias: drawnWeights(r, 0.1, 5)},
	}}
	const n = 100
	for k, m := range []*model.Model{ref.RandomModel(r, 1, 64, 50, 40, 5), lenet} {
		b, err := New[float32](m, Options{})
		must(t, err)
		pixels, labels := make([]uint8, n*64), make([]int32, n)
		for i := range pixels {
			pixels[i] = uint8(r.IntN(256))
		}
		must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, 64), tensor.WithBacking(pixels)), labels))
		for _, c := range []struct {
			what  string
			eps   []float64
			steps int
			most  float64 // share of the work of the logits
		}{
			{"clean", []float64{0, 0, 0}, 0, 0},
			{"clean after steps", []float64{0, 0}, 2, 0},
			{"levels", []float64{1 / 255., 2 / 255., 8 / 255.}, 1, 0.1},
			{"between levels", []float64{8.2 / 255, 8.4 / 255, 8.6 / 255, 8.8 / 255}, 1, 0.26},
		} {
			must(t, b.Begin(t.Context(), 0, n, c.eps))
			for j := range c.steps {
				must(t, b.Step(t.Context(), attack.BIM(c.steps).At(j, c.eps, attack.Bounds{Lo: 0, Hi: 1})))
			}
			start := b.Work()
			must(t, b.whole(t.Context()))
			_, err := b.Logits(t.Context())
			must(t, err)
			logits := b.Work() - start
			_, err = b.Outcomes(t.Context(), nil)
			must(t, err)
			start = b.Work()
			_, err = b.Outcomes(t.Context(), &backend.Rounding{})
			must(t, err)
			if share := float64(b.Work()-start)/float64(logits) - 1; share > c.most+1e-9 {
				t.Errorf("model %d, %s: rounding takes %.3f of the work of the logits, want %v at most", k, c.what, share, c.most)
			} else {
				t.Logf("model %d, %s: %.3f", k, c.what, share)
			}
		}
	}
}

func drawnWeights(r *rand.Rand, sd float64, shape ...int) *tensor.Dense {
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

// TestSpectral compares the bound on spectral norms with norms that are known.
func TestSpectral(t *testing.T) {
	b, err := New[float32](ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 4, 3), Options{})
	must(t, err)
	r := rand.New(rand.NewPCG(44, 1))
	for _, shape := range [][2]int{{1, 1}, {1, 9}, {7, 3}, {40, 200}, {200, 40}, {300, 301}} {
		rows, columns := shape[0], shape[1]
		// A matrix of rank 1, s·u·vᵀ for unit vectors, has the norm s.
		u, v := unitVector(r, rows), unitVector(r, columns)
		w := make([]float32, rows*columns)
		for i := range rows {
			for j := range columns {
				w[i*columns+j] = float32(3 * u[i] * v[j])
			}
		}
		if got := b.spectral(these(w), rows, columns); got < 3*(1-1e-6) || got > 3*1.001 {
			t.Errorf("%v: a norm of %v, want 3", shape, got)
		}
		for i := range w { // noise
			w[i] += float32(r.NormFloat64() / 50)
		}
		got, frobenius := b.spectral(these(w), rows, columns), norm2(w)
		least := 0.0 // ‖wᵀu‖
		for j := range columns {
			s := 0.0
			for i := range rows {
				s += float64(w[i*columns+j]) * u[i]
			}
			least += s * s
		}
		if got < math.Sqrt(least) || got > frobenius*1.001 {
			t.Errorf("%v with noise: a norm of %v, want %v to %v", shape, got, math.Sqrt(least), frobenius)
		}
	}
	if got := b.spectral(these([]float32{1e30, 0, 0, 1}), 2, 2); got != 0 {
		t.Errorf("of weights whose squares overflow: %v, want none", got)
	}
}

func unitVector(r *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = r.NormFloat64()
	}
	s := norm2(v)
	for i := range v {
		v[i] /= s
	}
	return v
}

// TestExcess compares the first layer of rows that steps have moved with one that is computed in
// float64.
func TestExcess(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 1))
	const n, in = 4, 200
	m := ref.RandomModel(r, 1, in, 100, 30, 5)
	b, err := New[float32](m, Options{})
	must(t, err)
	pixels, labels := make([]uint8, n*in), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256) * r.IntN(2))
	}
	must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels))
	eps := []float64{0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.7}
	a, closest := &b.model.mlp.layers[0], 0.0
	weights := a.weights()
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for _, steps := range []int{0, 1, 2, 5, 40} {
			must(t, b.Begin(t.Context(), 0, n, eps))
			for j := range steps {
				must(t, b.Step(t.Context(), attack.BIM(max(steps, 1)).At(j, eps, bounds)))
			}
			w := &b.workers.scratch[0]
			z, x := b.firstLayer(w, 0, n*len(eps)), denseOf[float32](t, b.Images)
			excess := b.excess()
			b.makeBound()
			for row := range n * len(eps) {
				x, sum := x[row*in:][:in], 0.0
				for o := range a.out {
					exact := float64(a.bias[o])
					for k, v := range x {
						exact += float64(v) * float64(weights[o*in+k])
					}
					d := float64(z[row*a.stride+o]) - exact
					sum += d * d
				}
				size := max(norm2(x), norm2(b.loaded.clean(row/len(eps))))
				errs, most := math.Sqrt(sum), excess(row, size)+b.bound.first.slack*size+b.bound.first.slack0
				if !(errs <= most) {
					t.Fatalf("bounds %v, %d steps, row %d: the first layer errs by %v, bound %v", bounds, steps, row, errs, most)
				}
				if steps > 1 {
					closest = max(closest, errs/most)
				}
				if steps > 1 && row%len(eps) > 0 && errs < most/1e4 {
					t.Errorf("bounds %v, %d steps, row %d: the first layer errs by %v, the bound %v says nothing", bounds, steps, row, errs, most)
				}
				if e := excess(row, size); steps > 0 && e < errs/2 {
					t.Errorf("bounds %v, %d steps, row %d: an excess of %v, which errs by %v", bounds, steps, row, e, errs)
				}
			}
		}
	}
	t.Logf("up to %.4f of the bound", closest)
}
