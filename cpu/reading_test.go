package cpu

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"

	"gorgonia.org/tensor"
)

// TestRead compares what is read off walks with what the rows themselves say, on small random
// models, for every kernel: the walk, the classes, the rounded classes and the counts of pixels
// must be the same, margins and norms within rounding.
func TestRead(t *testing.T) {
	for _, kernel := range Kernels() {
		t.Run(kernel+"/float32", func(t *testing.T) { testRead[float32](t, kernel, 1e-4, 3) })
		// margins are float32
		t.Run(kernel+"/float64", func(t *testing.T) { testRead[float64](t, kernel, 1e-6, 3) })
	}
}

// TestReadInDoubt is TestRead where rounding might decide everything: all rows are asked then, and
// what they say must be to the bit what any other forward pass says.
func TestReadInDoubt(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testRead[float32](t, Kernels()[0], 1e-4, 1e12) })
	t.Run("float64", func(t *testing.T) { testRead[float64](t, Kernels()[0], 1e-6, 1e12) })
}

func testRead[T Float](t *testing.T, kernel string, tol float64, doubt T) {
	var rows, open, shades, openShades, kinds int
	for seed := range testsize.Of(16, 24, 40) {
		r := rand.New(rand.NewPCG(11, uint64(seed)))
		sizes := []int{1 + r.IntN(60)}
		for range r.IntN(4) {
			sizes = append(sizes, 1+r.IntN(40))
		}
		classes := 2 + r.IntN(9)
		if seed%16 == 3 {
			classes += maxRated
		}
		m := ref.RandomModel(r, 1, append(sizes, classes)...)
		if seed%2 == 0 {
			disfigure(r, m)
		}
		n := 1 + r.IntN(23)
		x0, labels := images(r, n, m)
		if seed%5 == 1 { // class 1 loses every tie with class 0: it is never given
			top := linears(m)[len(linears(m))-1]
			w, bias := top.Weight.Data().([]float32), top.Bias.Data().([]float32)
			copy(w[len(w)/classes:][:len(w)/classes], w)
			bias[1], labels[0] = bias[0], 1
		}
		if seed%7 == 6 { // no levels
			x := make([]float32, n*m.Inputs())
			for k := range x {
				x[k] = r.Float32()
			}
			x0 = tensor.New(tensor.WithShape(n, m.Inputs()), tensor.WithBacking(x))
		}
		farthest := []float64{0.1, 0.5, 3}[r.IntN(3)]
		eps := []float64{0, 1e-9, 1e-3, 1.0 / 255, 8.0/255 - 4e-7, farthest}
		for range r.IntN(60) {
			eps = append(eps, farthest*math.Pow(r.Float64(), 2))
		}
		eps = rising(eps)
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}, {Lo: -0.25, Hi: 1.5}} {
			b, err := New[T](m, Options{Kernel: kernel, Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			b.model.mlp.doubt = doubt
			if err := b.Load(t.Context(), 0, x0, labels); err != nil {
				t.Fatal(err)
			}
			walks, got := make([]attack.Walk, n), make([]attack.Reading, n)
			if err := b.Exact(t.Context(), 0, eps[len(eps)-1], bounds, walks); err != nil {
				t.Fatal(err)
			}
			if err := b.Read(t.Context(), 0, eps, bounds, true, got); err != nil {
				t.Fatal(err)
			}
			// Neither threads nor blocks nor what was in memory change a bit.
			one, err := New[T](m, Options{Kernel: kernel, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			one.model.mlp.doubt = doubt
			if err := one.Load(t.Context(), 0, x0, labels); err != nil {
				t.Fatal(err)
			}
			half := make([]attack.Reading, n-n/2)
			for range 2 {
				if err := one.Read(t.Context(), n/2, eps, bounds, true, half); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(half, got[n/2:]) {
					t.Fatalf("model %d %v, bounds %s: half of the images read by one thread differ", seed, sizes, bounds)
				}
			}
			want := strike(t, b, n, eps, bounds)
			for i, g := range got {
				y := int(labels[i])
				if !reflect.DeepEqual(g.Walk, walks[i]) {
					t.Fatalf("model %d %v, bounds %s, image %d: the walk is %+v, alone %+v", seed, sizes, bounds, i, g.Walk, walks[i])
				}
				least, scale := float32(math.Inf(1)), 0.0
				for e := range eps {
					w := want[i*len(eps)+e]
					for _, z := range w.logits {
						scale = math.Max(scale, math.Abs(z))
					}
					_, margin, _ := attack.Judge(w.logits, y)
					least = min(least, float32(margin))
				}
				if g.At == attack.Open {
					kinds++
				} else if _, at, _ := attack.Judge(want[i*len(eps)+g.At].logits, y); !(math.Abs(float64(g.Least)-at) <= tol*scale && float64(g.Least-least) <= tol*scale) {
					t.Fatalf("model %d %v, bounds %s, image %d: least margin %v at eps[%d], where the row has %v; the least is %v", seed, sizes, bounds, i, g.Least, g.At, at, least)
				}
				if _, margin, _ := attack.Judge(want[i*len(eps)].logits, y); g.Margin != float32(margin) || int(g.Lowest) != attack.LeastLikely.Of(y, want[i*len(eps)].logits, 0) {
					t.Fatalf("model %d, image %d: clean margin %v and least likely %d, want %v of %v", seed, i, g.Margin, g.Lowest, margin, want[i*len(eps)].logits)
				}
				for e := range eps {
					w := want[i*len(eps)+e]
					class, _, _ := attack.Judge(w.logits, y)
					rows++
					switch g.Classes[e] {
					case attack.Open:
						open++
					case int32(class):
					default:
						t.Fatalf("model %d %v, bounds %s, image %d at eps[%d] = %v: class %d, want %d of %v", seed, sizes, bounds, i, e, eps[e], g.Classes[e], class, w.logits)
					}
					if levels := seed%7 != 6 && bounds.Lo >= 0; levels {
						shades++
						if g.Rounded[e] == attack.Open {
							openShades++
						}
					}
					switch right := g.Rounded[e] == 1; {
					case g.Rounded[e] == attack.Open:
					case right != (w.rounded == labels[i]):
						t.Fatalf("model %d %v, bounds %s, image %d at eps[%d] = %v: right once rounded %v, want class %d to be label %d", seed, sizes, bounds, i, e, eps[e], right, w.rounded, y)
					}
					if d := w.norms; g.Norms[e].L0 != d.L0 || !near(g.Norms[e].Linf, d.Linf) || !near(g.Norms[e].L2, d.L2) {
						t.Fatalf("model %d %v, bounds %s, image %d at eps[%d] = %v: norms %v, want %v", seed, sizes, bounds, i, e, eps[e], g.Norms[e], d)
					}
				}
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d rows, %d of them open; %d rounded, %d of them open; %d images without a margin", rows, open, shades, openShades, kinds)
	// Models that are disfigured have classes with equal logits. At two of the eps rounding decides
	// of the level.
	if doubt == 3 && (open*5 > rows || openShades*5 > shades) || kinds == 0 {
		t.Errorf("too much is open, or the test says too little")
	}
}

// near reports whether norms agree but for the rounding of pixels in float32.
func near(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-5*float64(b)+3e-7 }

// rising sorts eps and leaves out what stands twice.
func rising(eps []float64) []float64 {
	out := append([]float64(nil), eps...)
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	k := 0
	for _, v := range out {
		if k == 0 || v > out[k-1] {
			out[k] = v
			k++
		}
	}
	return out[:k]
}

// A struck is what became of a row.
type struck struct {
	logits  []float64
	norms   attack.Norms
	rounded int32
}

// strike asks all rows of FGSM themselves.
func strike[T Float](t *testing.T, b *Backend[T], n int, eps []float64, bounds attack.Bounds) (all []struck) {
	t.Helper()
	if err := b.Begin(t.Context(), 0, n, eps); err != nil {
		t.Fatal(err)
	}
	if err := b.Step(t.Context(), attack.Step{Size: eps, Bounds: bounds}); err != nil {
		t.Fatal(err)
	}
	o, err := b.Outcomes(t.Context(), &backend.Rounding{})
	if err != nil {
		t.Fatal(err)
	}
	O := b.Info().Classes
	for k, norms := range o.Norms {
		s := struck{norms: norms, rounded: o.Rounded[k]}
		switch d := o.Logits.Data().(type) {
		case []float32:
			s.logits = logits64(d[k*O:][:O])
		case []float64:
			s.logits = logits64(d[k*O:][:O])
		}
		all = append(all, s)
	}
	return all
}
