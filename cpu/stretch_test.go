package cpu

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/dataset"
	"advsweep/internal/gemm"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// straightNetwork returns a random network that is piecewise linear and no MLP, disfigured every
// other time: with dead units, units that are there twice, and equal rows of the last layer.
func straightNetwork(t *testing.T, r *rand.Rand, seed int) *model.Model {
	if seed%6 == 5 {
		return constantsNetwork(r)
	}
	for {
		m := ref.RandomNetwork(r)
		if seed%3 == 2 {
			m = ref.RandomGeneral(r)
		}
		b, err := New[float64](m, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if b.NotExact() == nil {
			if seed%2 == 0 {
				spoil(r, m)
			}
			return m
		}
	}
}

// constantsNetwork returns a network that multiplies by constants of both signs, takes from one,
// divides by one, and has the largest of some channels.
func constantsNetwork(r *rand.Rand) *model.Model {
	drawn := func(shape ...int) *tensor.Dense {
		n := 1
		for _, d := range shape {
			n *= d
		}
		w := make([]float32, n)
		for i := range w {
			w[i] = float32(r.NormFloat64())
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(w))
	}
	return &model.Model{
		Input: []int{1, 4, 4},
		Layers: []model.Layer{
			model.Conv2D{Name: "conv", Weight: drawn(3, 1, 3, 3), Bias: drawn(3), Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}},
			model.Constant{Name: "by", Value: drawn(3, 4, 4)},
			model.Mul{},
			model.Plain{Of: "abs"},
			model.Constant{Name: "from", Value: drawn(3, 1, 1)},
			model.Sub{},
			model.Div{},
			model.ReLU{},
			model.Reduce{By: "max"},
			model.Linear{Name: "fc", Weight: drawn(5, 16), Bias: drawn(5)},
		},
		From: [][]int{{-1}, {}, {0, 1}, {2}, {}, {4, 3}, {5, 1}, {6}, {7}, {8}},
	}
}

// spoil gives layers rows that are zero, equal or opposite, and biases of 0.
func spoil(r *rand.Rand, m *model.Model) {
	for l, layer := range m.Layers {
		var w, b *tensor.Dense
		switch a := layer.(type) {
		case model.Linear:
			w, b = a.Weight, a.Bias
		case model.Conv2D:
			w, b = a.Weight, a.Bias
		default:
			continue
		}
		switch w := w.Data().(type) {
		case []float32:
			spoilRows(r, w, b.Data().([]float32), l == len(m.Layers)-1)
		case []float64:
			spoilRows(r, w, b.Data().([]float64), l == len(m.Layers)-1)
		}
	}
}

func spoilRows[T Float](r *rand.Rand, w, b []T, last bool) {
	n := len(w) / len(b)
	for o := range b {
		from := r.IntN(len(b))
		switch r.IntN(10) {
		case 0:
			copy(w[o*n:][:n], w[from*n:][:n])
			b[o] = b[from]
		case 1:
			b[o] = 0
		case 2:
			if !last {
				clear(w[o*n:][:n])
				b[o] = -1
			}
		case 3:
			for k := range n {
				w[o*n+k] = -w[from*n+k]
			}
			b[o] = -b[from]
		case 4:
			for k := range n {
				w[o*n+k] = T(r.IntN(3) - 1)
			}
			b[o] = T(r.IntN(3)-1) / 2
		}
	}
}

// TestStretches compares the intervals of small random networks of convolutions, pools, residual
// connections, bent and linear layers of all kinds with a grid in float64 that internal/ref
// computes, with and without bounds.
func TestStretches(t *testing.T) {
	t.Run("float64", func(t *testing.T) { testStretches[float64](t, 1e-11) })
	t.Run("float32", func(t *testing.T) { testStretches[float32](t, 2e-6) })
}

// testStretches lets a point of the grid be on either side where the margin is within tol of 0,
// relative to the largest number on the way.
func testStretches[T Float](t *testing.T, tol float64) {
	models, grid := testsize.Of(20, 30, 60), testsize.Of(200, 300, 2000)
	points, close, ends, islands, looked, rays, ties := 0, 0, 0, 0, 0, 0, 0
	for seed := range models {
		r := rand.New(rand.NewPCG(20, uint64(seed)))
		m := straightNetwork(t, r, seed)
		n := 1 + r.IntN(9)
		x0, labels := images(r, n, m)
		max := []float64{0.1, 0.5, 3}[r.IntN(3)]
		b, err := New[T](m, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Load(t.Context(), 0, x0, labels); err != nil {
			t.Fatal(err)
		}
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.5}} {
			walks := make([]attack.Walk, n)
			before := b.rays.looked.Load()
			if err := b.Exact(t.Context(), 0, max, bounds, walks); err != nil {
				t.Fatalf("model %d %s: %v", seed, m, err)
			}
			looked, rays = looked+int(b.rays.looked.Load()-before), rays+n
			for i, w := range walks {
				x, g := make([]float64, m.Inputs()), make([]float64, m.Inputs())
				for k := range x {
					x[k], g[k] = float64(b.loaded.clean(i)[k]), float64(b.loaded.signs.of(i)[k])
				}
				if len(w.Disagreed) > 0 {
					t.Errorf("model %d %s, bounds %s, image %d: forward passes disagree with the ends at %v of %v", seed, m, bounds, i, w.Disagreed, w.Correct)
				}
				if w.Within >= max && w.Ends > 0 {
					ties++
				}
				if ends += w.Ends; len(w.Correct) > 1 {
					islands++
				}
				for k := range grid + 1 {
					eps := max * float64(k) / float64(grid)
					z, values := ref.Forward(m, ref.SignStep(x, x, g, eps, eps, bounds))
					points++
					y := int(labels[i])
					if w.At(eps, max) == (ref.Argmax(z) == y) {
						continue
					}
					top, scale := math.Inf(-1), 0.0
					for c, v := range z {
						if c != y {
							top = math.Max(top, v)
						}
					}
					for _, v := range values {
						for _, v := range v {
							scale = math.Max(scale, math.Abs(v))
						}
					}
					if math.Abs(z[y]-top) <= tol*scale {
						close++
						continue
					}
					t.Fatalf("model %d %s, bounds %s, image %d of label %d: at eps %v right is %v, but the margin is %v of %v; intervals %v", seed, m, bounds, i, y, eps, w.At(eps, max), z[y]-top, scale, w.Correct)
				}
			}
		}
	}
	t.Logf("%d points, %d of them close to a tie and on the other side; %d ends, %d of rays where rounding decides, %d images with islands; %.1f points looked at a ray", points, close, ends, ties, islands, float64(looked)/float64(rays))
	if close*200 > points || ends < models || islands == 0 {
		t.Errorf("the test says too little")
	}
}

// TestBands takes two points anywhere on a ray. No value of the network may leave its chord there
// by more than its band says. A ReLU that a max-pool does has no band.
func TestBands(t *testing.T) {
	checked, bent, tight := 0, 0, 0.0
	for seed := range testsize.Of(60, 200, 2000) {
		r := rand.New(rand.NewPCG(21, uint64(seed)))
		m := straightNetwork(t, r, seed)
		b, err := New[float64](m, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		x0, labels := images(r, 1, m)
		if err := b.Load(t.Context(), 0, x0, labels); err != nil {
			t.Fatal(err)
		}
		if err := b.signWalks(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		n, err := b.stretches()
		if err != nil {
			t.Fatal(err)
		}
		n.pack()
		room, inside := n.newRoom(gemm.NewVector[float64](b.model.kernel)), n.newRoom(gemm.NewVector[float64](b.model.kernel))
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			ray := b.newTrail(0, bounds)
			e0 := r.Float64()
			e1 := e0 + 2*math.Pow(10, -2*r.Float64())
			x := &room.bands[0]
			x.resize(2, 1)
			ray.at(x.point(0), e0)
			ray.at(x.point(1), e1)
			centre, radius := x.deviation(0)
			x.flat[0] = !ray.bend(centre, radius, e0, e1)
			n.carry(room, &cut{points: 2, ends: [][2]int{{0, 1}}})
			const points = 50
			at := cut{points: points}
			inside.bands[0].resize(points, points)
			for k := range points {
				ray.at(inside.bands[0].point(k), e0+(e1-e0)*float64(k)/(points-1))
				inside.bands[0].flatten(k)
				at.ends = append(at.ends, [2]int{k, k})
			}
			n.carry(inside, &at)
			for j := range room.bands[:n.head.value+1] {
				if j > 0 && n.carriers[j-1] == nil {
					continue
				}
				v, truth := &room.bands[j], &inside.bands[j]
				z0, z1 := v.point(0), v.point(1)
				c, rad := v.deviation(0)
				for i := range z0 {
					tol := 1e-12 * (math.Abs(z0[i]) + math.Abs(z1[i]) + rad[i] + 1)
					most := 0.0
					for k := range points {
						leaves := truth.point(k)[i] - chordAt(z0[i], z1[i], float64(k)/(points-1))
						most = max(most, math.Abs(leaves))
						if !(c[i]-rad[i]-tol <= leaves && leaves <= c[i]+rad[i]+tol) {
							t.Fatalf("model %d %s, bounds %s, eps %v to %v: number %d of value %d leaves its chord by %v, want %v to %v", seed, m, bounds, e0, e1, i, j, leaves, c[i]-rad[i], c[i]+rad[i])
						}
						checked++
					}
					if rad[i] > tol {
						bent++
						tight += most / (math.Abs(c[i]) + rad[i])
					}
				}
			}
		}
	}
	t.Logf("%d numbers checked, %d bend, and leave their chords by %.0f %% of what is allowed on average", checked, bent, 100*tight/float64(bent))
	if !(tight > 0.1*float64(bent)) || bent < 1000 {
		t.Error("the test says too little, or bounds are too wide")
	}
}

// embeddedCNN returns a walker of the first n images by the embedded convolutional network.
func embeddedCNN(t testing.TB, n int, o Options) *Backend[float32] {
	m, err := model.Embedded("cnn")
	if err != nil {
		t.Fatal(err)
	}
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Slice(0, n); err != nil {
		t.Fatal(err)
	}
	b, err := New[float32](m, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Load(t.Context(), set.First, set.Images, set.Labels); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStretchPoints bounds how many points of a ray of the embedded network are looked at, and
// holds that threads and the images beside it change nothing of a walk.
func TestStretchPoints(t *testing.T) {
	const n = 21
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		b := embeddedCNN(t, n, Options{Threads: 1})
		walks := make([]attack.Walk, n)
		if err := b.Exact(t.Context(), 0, 0.3, bounds, walks); err != nil {
			t.Fatal(err)
		}
		if looked := float64(b.rays.looked.Load()) / n; looked > 40 {
			t.Errorf("bounds %s: %.1f points of a ray, want 40 at most", bounds, looked)
		}
		for i, w := range walks {
			if len(w.Disagreed) > 0 || !(w.Within < 1e-4) {
				t.Errorf("bounds %s, image %d: ends within %v, disagreed %v", bounds, i, w.Within, w.Disagreed)
			}
		}
		b = embeddedCNN(t, n, Options{Threads: 3})
		for i := range walks {
			one := make([]attack.Walk, 1)
			if i == 0 {
				one = make([]attack.Walk, n)
			}
			if err := b.Exact(t.Context(), i, 0.3, bounds, one); err != nil {
				t.Fatal(err)
			}
			if want := walks[i : i+len(one)]; !reflect.DeepEqual(one, want) {
				t.Errorf("bounds %s, images from %d on: %v, want %v", bounds, i, one, want)
			}
		}
	}
}

// TestDeep asks for more points than a ray may take.
func TestDeep(t *testing.T) {
	b := embeddedCNN(t, 20, Options{Threads: 2})
	b.rays.most = 5
	var deep *backend.DeepError
	if err := b.Exact(t.Context(), 3, 0.3, attack.Bounds{}, make([]attack.Walk, 17)); !errors.As(err, &deep) || deep.Image < 3 || deep.Points < 5 {
		t.Errorf("got %v", err)
	}
}

// TestBentLeaves compares bounds of each function that bends with the deviations of many points in
// the rectangle of which they are the extremes, and holds that they are reached.
func TestBentLeaves(t *testing.T) {
	r := rand.New(rand.NewPCG(22, 0))
	for name, of := range shapes {
		for range 300 {
			a := &bent{shape: of([2]float64{-0.3 * r.Float64(), 0.2 + r.Float64()})}
			if name == "leaky_relu" {
				a.shape = of([2]float64{r.NormFloat64(), 0})
			}
			z0, z1, d, u := r.NormFloat64(), r.NormFloat64(), -r.Float64(), r.Float64()
			h0, h1 := a.f(z0), a.f(z1)
			lo, hi := a.leaves(z0, z1, h0, h1, d, u)
			least, most := 0.0, 0.0
			const n = 100
			for i := range n + 1 {
				for j := range n + 1 {
					s, by := float64(i)/n, chordAt(d, u, float64(j)/n)
					v := a.f(chordAt(z0, z1, s)+by) - chordAt(h0, h1, s)
					least, most = min(least, v), max(most, v)
				}
			}
			if !(lo <= least+1e-12 && least <= lo+0.1 && hi >= most-1e-12 && most >= hi-0.1) {
				t.Fatalf("%s of %v to %v by %v to %v: %v to %v, want about %v to %v", name, z0, z1, d, u, lo, hi, least, most)
			}
			if name == "relu" {
				if l, h := rectifiedLeaves(z0, z1, d, u); !(math.Abs(l-lo) <= 1e-12 && math.Abs(h-hi) <= 1e-12) {
					t.Fatalf("a ReLU of %v to %v by %v to %v: %v to %v, want %v to %v", z0, z1, d, u, l, h, lo, hi)
				}
			}
		}
	}
}
