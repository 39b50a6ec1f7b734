package cpu

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"advsweep/attack"
	"advsweep/internal/gemm"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// TestExact compares the intervals of small random models with a fine grid in float64, for every
// kernel, with and without bounds. The models have one to five layers of 1 to 40 units. Some units
// are dead, some are there twice, and some classes have equal weights. Some images are black, where
// all units without a bias have their breakpoint at once.
func TestExact(t *testing.T) {
	for _, kernel := range Kernels() {
		t.Run(kernel+"/float32", func(t *testing.T) { testExact[float32](t, kernel, 2e-5) })
		t.Run(kernel+"/float64", func(t *testing.T) { testExact[float64](t, kernel, 1e-9) })
	}
}

// testExact lets a point of the grid be on either side where the margin is within tol of 0,
// relative to the logits. Rounding decides there.
func testExact[T Float](t *testing.T, kernel string, tol float64) {
	models := testsize.Of(20, 30, 40)
	grid := testsize.Of(200, 200, 500) // points of a ray that are compared with the truth
	points, close, ends, islands, zero := 0, 0, 0, 0, 0
	for seed := range models {
		r := rand.New(rand.NewPCG(7, uint64(seed)))
		sizes := []int{1 + r.IntN(40)}
		for range r.IntN(5) {
			sizes = append(sizes, 1+r.IntN(40))
		}
		classes := 2 + r.IntN(9)
		if seed%16 == 3 {
			classes += maxRated
		}
		sizes = append(sizes, classes)
		m := ref.RandomModel(r, 1, sizes...)
		disfigure(r, m)
		if seed%5 == 0 { // nothing may depend on how large logits are
			top := linears(m)[len(linears(m))-1]
			for _, w := range [][]float32{top.Weight.Data().([]float32), top.Bias.Data().([]float32)} {
				for i := range w {
					w[i] *= 0x1p-30
				}
			}
		}
		n := 1 + r.IntN(23)
		x0, labels := images(r, n, m)
		max := []float64{0.1, 0.5, 3}[r.IntN(3)]
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.5}} {
			b, err := New[T](m, Options{Kernel: kernel, Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Load(t.Context(), 0, x0, labels); err != nil {
				t.Fatal(err)
			}
			walks := make([]attack.Walk, n)
			if err := b.Exact(t.Context(), 0, max, bounds, walks); err != nil {
				t.Fatal(err)
			}
			for i, w := range walks {
				x := make([]float64, m.Inputs())
				for k, v := range x0.Data().([]uint8)[i*len(x):][:len(x)] {
					x[k] = float64(v) / 255
				}
				y := int(labels[i])
				for _, v := range w.Correct {
					if !(v.Lo >= 0 && v.Lo < v.Hi && v.Hi <= max*(1+1e-6)) {
						t.Fatalf("model %d %v, image %d: interval %v", seed, sizes, i, v)
					}
				}
				if len(w.Correct) > 1 {
					islands++
				}
				if w.Zero {
					zero++
				}
				if len(w.Disagreed) > 0 {
					t.Errorf("model %d %v, bounds %s, image %d: forward passes disagree with the ends at %v of %v", seed, sizes, bounds, i, w.Disagreed, w.Correct)
				}
				ends += w.Ends
				sign := b.loaded.signs.of(i)
				g := make([]float64, len(x))
				for k, s := range sign {
					g[k] = float64(s)
				}
				for k := range grid + 1 {
					eps := max * float64(k) / float64(grid)
					z, _ := ref.Forward(m, ref.SignStep(x, x, g, eps, eps, bounds))
					points++
					want := ref.Argmax(z) == y
					top := math.Inf(-1)
					scale := 0.0
					for c, v := range z {
						if c != y {
							top = math.Max(top, v)
						}
						scale = math.Max(scale, math.Abs(v))
					}
					if w.At(eps, max) == want {
						continue
					}
					if math.Abs(z[y]-top) <= tol*scale {
						close++
						continue
					}
					t.Fatalf("model %d %v, bounds %s, image %d of label %d: at eps %v right is %v, want %v (margin %v); intervals %v", seed, sizes, bounds, i, y, eps, w.At(eps, max), want, z[y]-top, w.Correct)
				}
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d points, %d of them close to a tie and on the other side; %d ends, %d images with islands, %d with zero gradients", points, close, ends, islands, zero)
	if close*1000 > points || ends < models || islands == 0 || zero == 0 {
		t.Errorf("the test says too little")
	}
}

// disfigure changes a model so that it has what could make a walk fail.
func disfigure(r *rand.Rand, m *model.Model) {
	for l, layer := range m.Layers {
		a, ok := layer.(model.Linear)
		if !ok {
			continue
		}
		w, b := a.Weight.Data().([]float32), a.Bias.Data().([]float32)
		n := len(w) / len(b)
		last := l == len(m.Layers)-1
		for o := range b {
			switch r.IntN(12) {
			case 0: // the same as another
				from := r.IntN(len(b))
				copy(w[o*n:][:n], w[from*n:][:n])
				b[o] = b[from]
			case 1: // a breakpoint where a black image is
				b[o] = 0
			case 2:
				if !last { // dead
					clear(w[o*n:][:n])
					b[o] = -1
				}
			case 3: // opposite of another: a breakpoint shared
				from := r.IntN(len(b))
				for k := range n {
					w[o*n+k] = -w[from*n+k]
				}
				b[o] = -b[from]
			case 4: // round numbers, so that sums are exact
				for k := range n {
					w[o*n+k] = float32(r.IntN(3) - 1)
				}
				b[o] = float32(r.IntN(3)-1) / 2
			}
		}
	}
}

// images makes n images, some black, and labels of which about half are right.
func images(r *rand.Rand, n int, m *model.Model) (*tensor.Dense, []int32) {
	in := m.Inputs()
	pixels, labels := make([]uint8, n*in), make([]int32, n)
	for i := range n {
		x := make([]float64, in)
		for k := range in {
			if i%5 > 0 && r.IntN(3) > 0 {
				pixels[i*in+k] = uint8(r.IntN(256))
			}
			x[k] = float64(pixels[i*in+k]) / 255
		}
		z, _ := ref.Forward(m, x)
		labels[i] = int32(ref.Argmax(z))
		if r.IntN(4) == 0 {
			labels[i] = int32(r.IntN(m.Outputs()))
		}
	}
	return tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels
}

// linears returns the layers of m that have weights.
func linears(m *model.Model) (all []model.Linear) {
	for _, layer := range m.Layers {
		if l, ok := layer.(model.Linear); ok {
			all = append(all, l)
		}
	}
	return all
}

// TestBetween takes two points anywhere on a ray, near to each other or far. It compares what the
// walk concludes from them alone with the truth in float64 at 60 points between. A rate that is too
// low would show here, where bounds are wide.
func TestBetween(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testBetween[float32](t, 2e-5) })
	t.Run("float64", func(t *testing.T) { testBetween[float64](t, 1e-9) })
}

func testBetween[T Float](t *testing.T, tol float64) {
	const n = 3
	right, wrong, open := 0, 0, 0
	models := 150
	if testing.Short() {
		models = 50
	}
	for seed := range models {
		r := rand.New(rand.NewPCG(77, uint64(seed)))
		sizes := []int{1 + r.IntN(20)}
		for range seed % 5 {
			sizes = append(sizes, 1+r.IntN(12))
		}
		classes := 2 + r.IntN(5)
		if seed%7 == 3 {
			classes += maxRated
		}
		m := ref.RandomModel(r, 1, append(sizes, classes)...)
		if seed%2 == 0 {
			disfigure(r, m)
		}
		x0, labels := images(r, n, m)
		farthest := []float64{0.1, 0.5, 3}[r.IntN(3)]
		b, err := New[T](m, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Load(t.Context(), 0, x0, labels); err != nil {
			t.Fatal(err)
		}
		if err := b.model.mlp.rate(t.Context(), &b.workers, 0); err != nil {
			t.Fatal(err)
		}
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.5}} {
			w := newWalk(b, &b.workers.scratch[0])
			b.broken.clear()
			w.begin([]int{0, 1, 2}, T(farthest), bounds)
			for k := range w.images {
				w.images[k].dst = new(attack.Walk)
			}
			if !w.start() {
				t.Fatal("not finite")
			}
			for i, y := range labels {
				if w.m.rates.never[y] {
					continue
				}
				x, g := make([]float64, m.Inputs()), make([]float64, m.Inputs())
				for k := range x {
					x[k], g[k] = float64(b.loaded.clean(i)[k]), float64(b.loaded.signs.of(i)[k])
				}
				for range 6 {
					u := r.Float64() * farthest
					v := u + (farthest-u)*math.Pow(10, -3*r.Float64())
					w.images[i].known, w.open = w.images[i].known[:0], w.open[:0]
					s := []stretch[T]{{image: i, n: 2, eps: [gemm.GroupRows]T{T(u), T(v)}}}
					w.look(s)
					w.conclude(s[0])
					left := v - u
					for _, o := range w.open {
						left -= float64(o.eps[o.n-1] - o.eps[0])
						open++
					}
					for _, p := range w.images[i].known {
						left -= p.hi - p.lo
						if p.right {
							right++
						} else {
							wrong++
						}
						for k := range 60 {
							eps := p.lo + (p.hi-p.lo)*(float64(k)+0.5)/60
							z, _ := ref.Forward(m, ref.SignStep(x, x, g, eps, eps, bounds))
							top, scale := math.Inf(-1), 1.0
							for c, v := range z {
								if c != int(y) {
									top = math.Max(top, v)
								}
								scale += math.Abs(v)
							}
							if (ref.Argmax(z) == int(y)) != p.right && !(math.Abs(z[y]-top) <= tol*scale) {
								t.Fatalf("model %d %v, bounds %s, image %d, from points at %v and %v: right from %v to %v is %v, but the margin at %v is %v", seed, sizes, bounds, i, u, v, p.lo, p.hi, p.right, eps, z[y]-top)
							}
						}
					}
					if !(math.Abs(left) <= 1e-6) {
						t.Fatalf("model %d %v, bounds %s, image %d: of %v to %v %v is neither known nor open", seed, sizes, bounds, i, u, v, left)
					}
				}
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d pieces right, %d wrong, %d stretches open", right, wrong, open)
	if right < 100 || wrong < 100 || open < 50 {
		t.Errorf("the test says too little")
	}
}

// TestExactFlicker walks a model of which two classes have logits that differ only by some units.
// The units are 0 but for rounding, and so have either sign at any eps. No stretch is ever
// straight then, and the walk must end all the same.
func TestExactFlicker(t *testing.T) {
	t.Run("float32", testExactFlicker[float32])
	t.Run("float64", testExactFlicker[float64])
}

func testExactFlicker[T Float](t *testing.T) {
	const units, width = 8, 40
	m := ref.RandomModel(rand.New(rand.NewPCG(3, 3)), 1, 30, width, width, width, 5)
	l := linears(m)
	values := func(k int) (w, b []float32) {
		return l[k].Weight.Data().([]float32), l[k].Bias.Data().([]float32)
	}
	w, b := values(1)
	for u := range units { // equal, and positive
		copy(w[(2*u+1)*width:][:width], w[2*u*width:][:width])
		b[2*u], b[2*u+1] = 9, 9
	}
	w, b = values(2)
	for u := range units { // their difference
		clear(w[u*width:][:width])
		w[u*width+2*u], w[u*width+2*u+1], b[u] = 0.37, -0.37, 0
	}
	w, b = values(3)
	copy(w[width:][:width], w[:width])
	b[0], b[1] = 100, 100
	for u := range units {
		w[width+u]++
	}
	pixels := make([]uint8, 30)
	for i := range pixels {
		pixels[i] = uint8(7 * i)
	}
	back, err := New[T](m, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := back.Load(t.Context(), 0, tensor.New(tensor.WithShape(1, 30), tensor.WithBacking(pixels)), []int32{1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		if err := back.Exact(ctx, 0, 0.3, bounds, make([]attack.Walk, 1)); err != nil {
			t.Fatal(err)
		}
		if n := back.workers.scratch[0].walk.images[0].opened; n > maxOpened/4 {
			t.Errorf("bounds %s: %d stretches opened", bounds, n)
		}
	}
}

// TestExactLarge compares counts with those at single eps, where the largest eps is far from the
// scale of pixels. It wants an error where logits overflow.
func TestExactLarge(t *testing.T) {
	t.Run("float32", testExactLarge[float32])
	t.Run("float64", testExactLarge[float64])
}

func testExactLarge[T Float](t *testing.T) {
	const n = 40
	for _, scale := range []float32{1, 1e-30, 1e5} {
		r := rand.New(rand.NewPCG(7, 9))
		m := ref.RandomModel(r, 1, 20, 30, 30, 5)
		for _, l := range linears(m) {
			w := l.Weight.Data().([]float32)
			for i := range w {
				w[i] *= scale
			}
		}
		x0, labels := images(r, n, m)
		b, err := New[T](m, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Load(t.Context(), 0, x0, labels); err != nil {
			t.Fatal(err)
		}
		eps := []float64{0, 1e-35, 1e-31, 1e-4, 0.01, 0.1, 0.2, 0.3, 0.5, 1, 10, 99, 1e4, 1e29, 1e30}
		for e, largest := range eps[1:] {
			eps := eps[:e+2]
			for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
				if err := b.Begin(t.Context(), 0, n, eps); err != nil {
					t.Fatal(err)
				}
				if err := b.Step(t.Context(), attack.FGSM().At(0, eps, bounds)); err != nil {
					t.Fatal(err)
				}
				want := make([]int, len(eps))
				bad, err := b.Count(t.Context(), want, make([]int, len(eps)), make([]bool, n))
				if err != nil {
					t.Fatal(err)
				}
				walks := make([]attack.Walk, n)
				err = b.Exact(t.Context(), 0, largest, bounds, walks)
				if (err != nil) != (bad >= 0) {
					t.Fatalf("weights times %v, bounds %s, eps up to %v: %v; row %d of the grid is not finite", scale, bounds, largest, err, bad)
				}
				if err != nil {
					continue
				}
				got := make([]int, len(eps))
				for i, w := range walks {
					for k, e := range eps {
						if w.At(e, largest) {
							got[k]++
						}
					}
					if len(w.Disagreed) > 0 {
						t.Errorf("weights times %v, bounds %s, eps up to %v, image %d: forward passes disagree at %v", scale, bounds, largest, i, w.Disagreed)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("weights times %v, bounds %s, eps %v: %v right, on the grid %v", scale, bounds, eps, got, want)
				}
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExactTied has two classes that differ only in a dead unit, so that they tie everywhere. The
// first of them must be given.
func TestExactTied(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(4, 4)), 1, 3, 4, 3)
	l := linears(m)
	w, b := l[0].Weight.Data().([]float32), l[0].Bias.Data().([]float32)
	clear(w[:3])
	b[0] = -1
	w, b = l[1].Weight.Data().([]float32), l[1].Bias.Data().([]float32)
	copy(w[4:8], w[:4])
	w[4]++
	clear(w[8:])
	b[0], b[1], b[2] = 50, 50, 0
	back, err := New[float32](m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := back.Load(t.Context(), 0, tensor.New(tensor.WithShape(3, 3), tensor.WithBacking(make([]uint8, 9))), []int32{0, 1, 2}); err != nil {
		t.Fatal(err)
	}
	walks := make([]attack.Walk, 3)
	if err := back.Exact(t.Context(), 0, 0.5, attack.Bounds{}, walks); err != nil {
		t.Fatal(err)
	}
	for y, want := range [][]attack.Interval{{{Lo: 0, Hi: 0.5}}, nil, nil} {
		if got := walks[y].Correct; !slices.Equal(got, want) {
			t.Errorf("label %d: right in %v, want %v", y, got, want)
		}
	}
}

// TestCheck gives the check some ends that are in the wrong place, or the wrong way round.
func TestCheck(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	m := ref.RandomModel(r, 1, 30, 40, 40, 5)
	const n, farthest = 20, 0.5
	x0, labels := images(r, n, m)
	b, err := New[float32](m, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Load(t.Context(), 0, x0, labels); err != nil {
		t.Fatal(err)
	}
	walks := make([]attack.Walk, n)
	if err := b.Exact(t.Context(), 0, farthest, attack.Bounds{}, walks); err != nil {
		t.Fatal(err)
	}
	w, ends := b.workers.scratch[0].walk, 0
	for i := range w.images {
		image := w.images[i].image
		v := walks[image]
		if len(v.Correct) != 1 || v.Correct[0].Lo > 0 || v.Correct[0].Hi > 0.9*farthest {
			continue
		}
		at := v.Correct[0].Hi
		for _, c := range []struct {
			end  end
			want int
		}{
			{end{i, 0, at, farthest, true}, 0},
			{end{i, 0, at, farthest, false}, 1},
			{end{i, 0, at * 0.9, farthest, true}, 1},
			{end{i, 0, at * 1.1, farthest, true}, 1},
		} {
			var dst attack.Walk
			w.images[i].dst = &dst
			w.found = append(w.found[:0], c.end)
			w.check()
			if got := len(dst.Disagreed); got != c.want {
				t.Errorf("image %d, right before %v: of an end at %v, right before it %v, %d disagree, want %d", image, at, c.end.at, c.end.right, got, c.want)
			}
			ends++
		}
	}
	if ends < 20 {
		t.Errorf("%d ends: the test says too little", ends)
	}
}

// TestCheckCancels: a constant on every logit changes no class, but rounds them. At 1e6 they differ
// by less than rounding well beyond the distances at which ends are first checked. That is no error
// of the walk. In float64 an end in the wrong place is one all the same.
func TestCheckCancels(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(6, 6)), 1, 30, 40, 40, 5)
	l := linears(m)
	last := l[len(l)-1].Bias.Data().([]float32)
	for i := range last {
		last[i] += 1e6
	}
	x0, labels := images(rand.New(rand.NewPCG(7, 7)), 20, m)
	b, err := New[float64](m, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Load(t.Context(), 0, x0, labels); err != nil {
		t.Fatal(err)
	}
	walks := make([]attack.Walk, 20)
	if err := b.Exact(t.Context(), 0, 0.5, attack.Bounds{}, walks); err != nil {
		t.Fatal(err)
	}
	ends, far := 0, 0.0
	for i, v := range walks {
		if ends += v.Ends; len(v.Disagreed) > 0 {
			t.Errorf("image %d: ends %v disagree, right in %v", i, v.Disagreed, v.Correct)
		}
		far = max(far, v.Within)
	}
	// Nothing is said of them if none was tried again.
	if least := asides[sureAside] * 0x1p-53; ends < 5 || far <= least {
		t.Errorf("%d ends, checked at up to %v, want 5 and more than %v", ends, far, least)
	}
	w := b.workers.scratch[0].walk
	for i := range w.images {
		v := walks[w.images[i].image]
		if len(v.Correct) != 1 || v.Correct[0].Lo > 0 || v.Correct[0].Hi > 0.4 {
			continue
		}
		var dst attack.Walk
		w.images[i].dst = &dst
		w.found = append(w.found[:0], end{i, 0, 1.1 * v.Correct[0].Hi, 0.5, true})
		if w.check(); len(dst.Disagreed) != 1 {
			t.Errorf("image %d: an end at 1.1 of %v is not found to be wrong", i, v.Correct[0].Hi)
		}
	}
}

// TestStillZero: a zero gradient is also noted for rows that have not moved, though their gradient
// is not computed again.
func TestStillZero(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(4, 4)), 1, 3, 4, 3)
	first := linears(m)[0]
	clear(first.Weight.Data().([]float32))
	b, err := New[float32](m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Load(t.Context(), 0, tensor.New(tensor.WithShape(1, 3), tensor.WithBacking(make([]uint8, 3))), []int32{0}); err != nil {
		t.Fatal(err)
	}
	eps := []float64{0, 0.1, 0.2}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		if err := b.Begin(t.Context(), 0, 1, eps); err != nil {
			t.Fatal(err)
		}
		for k, a := range []attack.Attack{attack.Noise(3), attack.BIM(2)} {
			zero := make([]bool, len(eps))
			if err := b.Step(t.Context(), a.At(k, eps, bounds)); err != nil {
				t.Fatal(err)
			}
			if err := b.ZeroGradient(t.Context(), zero); err != nil {
				t.Fatal(err)
			}
			for e, got := range zero {
				if got != (k == 1) {
					t.Errorf("bounds %s, after step %d, eps %v: zero gradient is %v", bounds, k, eps[e], got)
				}
			}
		}
	}
}
