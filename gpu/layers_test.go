//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/internal/lower"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A layerValue is n images of one shape: on the host with NaN beyond the channels, and on the device.
type layerValue struct {
	dims lower.Shape
	shape
	v   []float32
	ptr cu.DevicePtr
}

// newValue draws n images of whole numbers, whose sums and products are exact.
func newValue(t *testing.T, p *card, r *rand.Rand, s lower.Shape, n int) *layerValue {
	t.Helper()
	v := &layerValue{dims: s, shape: newShape(s)}
	v.v = whole(r, v.shape, n)
	v.ptr = there(t, p, v.v)
	return v
}

// at is the number of channel c of pixel (h, w).
func (v *layerValue) at(image, h, w, c int) float64 {
	return float64(v.v[image*v.width+(h*v.dims.W+w)*v.pitch+c])
}

// every calls f for every pixel and channel of s, in rising order of [H, W, C].
func every(s lower.Shape, f func(h, w, c int)) {
	for h := range s.H {
		for w := range s.W {
			for c := range s.C {
				f(h, w, c)
			}
		}
	}
}

// layerOf checks an operation of the values x with an output of shape out, both ways. forward
// returns a number of the output. backward adds to dx, [H, W, C] of value arg, what dy gives.
func layerOf(t *testing.T, p *card, what string, l operation, x []*layerValue, out lower.Shape, n int, tol float64,
	forward func(image, h, w, c int) float64, backward func(image, arg int, dy func(h, w, c int) float64, add func(h, w, c int, v float64))) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(out.Size()), 3))
	s := newShape(out)
	var ptrs []cu.DevicePtr
	for _, v := range x {
		ptrs = append(ptrs, v.ptr)
	}
	beyond := whole(r, s, n+1)
	y := there(t, p, beyond)
	check(t, l.forward(bare(p), y, ptrs, n))
	untouched(t, p, what+" forward", y, beyond, n*s.width)
	expect(t, what+" forward", back[float32](t, p, y, n*s.width), s, n, tol, func(image, pixel, c int) float64 {
		return forward(image, pixel/out.W, pixel%out.W, c)
	})
	d := newValue(t, p, r, out, n)
	for arg, v := range x {
		sum := make([]float64, n*v.width)
		for image := range n {
			backward(image, arg, func(h, w, c int) float64 { return d.at(image, h, w, c) },
				func(h, w, c int, g float64) { sum[image*v.width+(h*v.dims.W+w)*v.pitch+c] += g })
		}
		with(t, p, r, v.shape, n, func(dx, from cu.DevicePtr) error { return l.backward(bare(p), dx, from, d.ptr, ptrs, arg, n) },
			func(how string, dx []float32, before func(image, pixel, c int) float64) {
				for i, got := range dx {
					image, pixel, c := i/v.width, i%v.width/v.pitch, i%v.pitch
					want, size := 0.0, 0.0
					if c < v.channels {
						want, size = before(image, pixel, c)+sum[i], math.Abs(before(image, pixel, c))+math.Abs(sum[i])
					}
					if !(math.Abs(float64(got)-want) <= tol*size) {
						t.Errorf("%s backward at value %d, %s: image %d, pixel %d, channel %d is %v, want %v", what, arg, how, image, pixel, c, got, want)
						return
					}
				}
			})
	}
}

// untouched fails t unless what lies at ptr from number n on is still v there.
func untouched(t *testing.T, p *card, what string, ptr cu.DevicePtr, v []float32, n int) {
	t.Helper()
	for i, got := range back[float32](t, p, ptr, len(v))[n:] {
		if want := v[n+i]; math.Float32bits(got) != math.Float32bits(want) {
			t.Errorf("%s: number %d beyond the last image is %v, was %v", what, i, got, want)
			return
		}
	}
}

// TestPairwise has each function of two numbers, of equal shapes, and taken again along every set of
// dimensions on either side.
func TestPairwise(t *testing.T) {
	const n = 2
	onNothing(t, func(p *card) {
		for name, f := range map[string]func(a, b float64) (y, da, db float64){
			"add": func(a, b float64) (float64, float64, float64) { return a + b, 1, 1 },
			"sub": func(a, b float64) (float64, float64, float64) { return a - b, 1, -1 },
			"mul": func(a, b float64) (float64, float64, float64) { return a * b, b, a },
			"div": func(a, b float64) (float64, float64, float64) { return a / b, 1 / b, -a / b / b },
			"max": func(a, b float64) (float64, float64, float64) {
				if a >= b {
					return a, 1, 0
				}
				return b, 0, 1
			},
			"min": func(a, b float64) (float64, float64, float64) {
				if a <= b {
					return a, 1, 0
				}
				return b, 0, 1
			},
		} {
			for again := range 16 {
				r := rand.New(rand.NewPCG(uint64(again), 2))
				in := []lower.Shape{{C: 19, H: 3, W: 5}, {C: 19, H: 3, W: 5}}
				side := &in[again/8]
				for d, dim := range []*int{&side.H, &side.W, &side.C} {
					if again>>d&1 == 1 {
						*dim = 1
					}
				}
				if again == 5 { // each is taken again along a dimension of the other
					in[1].W = 1
				}
				x := []*layerValue{newValue(t, p, r, in[0], n), newValue(t, p, r, in[1], n)}
				if name == "div" {
					// Powers of two divide exactly.
					for i, v := range x[1].v {
						if v == v {
							x[1].v[i] = float32(math.Ldexp(1-2*float64(i%2), int(v)/4))
						}
					}
					x[1].ptr = there(t, p, x[1].v)
				}
				out := lower.Shape{C: 19, H: 3, W: 5}
				pair := func(image, h, w, c int) (a, b float64, at [2][3]int) {
					for k, s := range in {
						at[k] = [3]int{min(h, s.H-1), min(w, s.W-1), min(c, s.C-1)}
					}
					return x[0].at(image, at[0][0], at[0][1], at[0][2]), x[1].at(image, at[1][0], at[1][1], at[1][2]), at
				}
				layerOf(t, p, fmt.Sprint(name, " of ", in), newPairwise(name, in, out), x, out, n, 0,
					func(image, h, w, c int) float64 {
						a, b, _ := pair(image, h, w, c)
						y, _, _ := f(a, b)
						return y
					},
					func(image, arg int, dy func(h, w, c int) float64, add func(h, w, c int, v float64)) {
						every(out, func(h, w, c int) {
							a, b, at := pair(image, h, w, c)
							_, da, db := f(a, b)
							add(at[arg][0], at[arg][1], at[arg][2], dy(h, w, c)*[2]float64{da, db}[arg])
						})
					})
			}
		}
	})
}

// TestPairwiseNaN has a NaN on either side: it is larger and smaller than all, and its gradient is
// not lost.
func TestPairwiseNaN(t *testing.T) {
	s := lower.Shape{C: 4, H: 1, W: 1}
	onNothing(t, func(p *card) {
		pad := func(v ...float32) cu.DevicePtr { return there(t, p, append(v, make([]float32, 12)...)) }
		a, b, dy := pad(nan, 1, nan, inf), pad(1, nan, nan, inf), pad(2, 2, 2, 2)
		for _, name := range []string{"max", "min"} {
			l := newPairwise(name, []lower.Shape{s, s}, s)
			y := pad(0, 0, 0, 0)
			check(t, l.forward(bare(p), y, []cu.DevicePtr{a, b}, 1))
			for i, v := range back[float32](t, p, y, 4) {
				if (v == v) != (i == 3) {
					t.Errorf("%s: number %d is %v, want NaN but for the last", name, i, v)
				}
			}
			for arg, want := range [][4]float32{{2, 0, 2, 2}, {0, 2, 0, 0}} {
				check(t, l.backward(bare(p), y, 0, dy, []cu.DevicePtr{a, b}, arg, 1))
				if got := [4]float32(back[float32](t, p, y, 4)); got != want {
					t.Errorf("%s: gradient at value %d is %v, want %v", name, arg, got, want)
				}
			}
		}
	})
}

// TestPairwiseOrder has sums that round: the gradient at one number is added from 0 in rising order
// of the output.
func TestPairwiseOrder(t *testing.T) {
	one, out := lower.Shape{C: 1, H: 1, W: 1}, lower.Shape{C: 5, H: 3, W: 4}
	onNothing(t, func(p *card) {
		r := rand.New(rand.NewPCG(1, 4))
		s := newShape(out)
		d := make([]float32, s.width)
		var want float32
		for i := range d {
			if i%s.pitch < s.channels {
				d[i] = float32(r.NormFloat64())
				want += d[i]
			}
		}
		l := newPairwise("add", []lower.Shape{one, out}, out)
		dx, x := there(t, p, make([]float32, 16)), there(t, p, d)
		check(t, l.backward(bare(p), dx, 0, x, []cu.DevicePtr{x, x}, 0, 1))
		if got := back[float32](t, p, dx, 1)[0]; got != want {
			t.Errorf("sum %v, want %v", got, want)
		}
	})
}

// TestConstant has the same numbers in every row.
func TestConstant(t *testing.T) {
	s := lower.Shape{C: 19, H: 3, W: 5}
	onNothing(t, func(p *card) {
		v := make([]float32, s.Size())
		for i := range v {
			v[i] = float32(i + 1)
		}
		l, err := p.newConstant(lower.Constant{Value: tensor.New(tensor.WithShape(1, s.Size()), tensor.WithBacking(v))}, newShape(s))
		check(t, err)
		layerOf(t, p, "constant", l, nil, s, 3, 0, func(_, h, w, c int) float64 { return float64(v[(h*s.W+w)*s.C+c]) }, nil)
		if err := l.backward(bare(p), 0, 0, 0, nil, 0, 1); err == nil {
			t.Error("a gradient at a constant: no error")
		}
	})
}

// TestConstantLogits has logits that do not depend on the image: its gradient is 0, whatever was in
// that memory before.
func TestConstantLogits(t *testing.T) {
	need(t)
	r := rand.New(rand.NewPCG(1, 13))
	m := ref.RandomModel(r, 1, 3, 4)
	l := m.Layers[0].(model.Linear)
	v := tensor.New(tensor.WithShape(3), tensor.WithBacking([]float32{1, 2, 3}))
	m = &model.Model{Input: []int{2, 3, 3}, Layers: []model.Layer{model.Constant{Name: "v", Value: v}, l}, From: [][]int{nil, {0}}}
	must(t, m.Validate())
	b := open(t, m, Options{})
	x, labels := images(r, 3, m)
	must(t, b.Load(t.Context(), 0, x, labels))
	must(t, b.Begin(t.Context(), 0, 3, []float64{0.1}))
	g, err := weighted(t.Context(), b)
	must(t, err)
	for i, d := range g.Data().([]float32) {
		if d != 0 {
			t.Fatalf("gradient %d is %v, want 0", i, d)
		}
	}
}

// TestArrange has numbers once, several times, never, from three values of which one gives none, and
// zeros.
func TestArrange(t *testing.T) {
	const n = 2
	in := []lower.Shape{{C: 19, H: 3, W: 5}, {C: 3, H: 1, W: 2}, {C: 40, H: 2, W: 2}}
	out := lower.Shape{C: 35, H: 4, W: 3}
	draw := func(r *rand.Rand, values, zeros int, once bool) *lower.Arrange {
		l := &lower.Arrange{From: make([]int32, out.Size()), Index: make([]int32, out.Size()), Once: make([]bool, len(in))}
		next := make([][]int, len(in))
		for k, s := range in {
			l.Once[k] = true
			next[k] = r.Perm(s.Size())
		}
		seen := map[[2]int32]bool{}
		for o := range l.Index {
			k := r.IntN(values)
			switch {
			case r.IntN(100) < zeros, once && len(next[k]) == 0:
				l.From[o] = -1
				continue
			case once:
				l.From[o], l.Index[o] = int32(k), int32(next[k][0])
				next[k] = next[k][1:]
			default:
				l.From[o], l.Index[o] = int32(k), int32(r.IntN(in[k].Size()))
			}
			at := [2]int32{l.From[o], l.Index[o]}
			l.Once[k] = l.Once[k] && !seen[at]
			seen[at] = true
		}
		return l
	}
	onNothing(t, func(p *card) {
		r := rand.New(rand.NewPCG(1, 5))
		plain := draw(r, 1, 0, false)
		plain.From = nil
		for name, l := range map[string]*lower.Arrange{
			"plain": plain, "once": draw(r, 3, 10, true), "often": draw(r, 3, 10, false), "two of three": draw(r, 2, 30, false), "zeros": draw(r, 3, 100, true),
		} {
			x := []*layerValue{newValue(t, p, r, in[0], n), newValue(t, p, r, in[1], n), newValue(t, p, r, in[2], n)}
			a, err := p.newArrange(l, in, out)
			check(t, err)
			if once := a.takes[0].first == 0; once != (name == "once" || name == "zeros") {
				t.Errorf("%s: each number is given once: %t", name, once)
			}
			source := func(h, w, c int) (k, h1, w1, c1 int) {
				o := (h*out.W+w)*out.C + c
				if l.From != nil {
					k = int(l.From[o])
				}
				if i := int(l.Index[o]); k >= 0 {
					s := in[k]
					h1, w1, c1 = i/s.C/s.W, i/s.C%s.W, i%s.C
				}
				return k, h1, w1, c1
			}
			layerOf(t, p, "arrange, "+name, a, x, out, n, 0,
				func(image, h, w, c int) float64 {
					k, h1, w1, c1 := source(h, w, c)
					if k < 0 {
						return 0
					}
					return x[k].at(image, h1, w1, c1)
				},
				func(_, arg int, dy func(h, w, c int) float64, add func(h, w, c int, v float64)) {
					every(out, func(h, w, c int) {
						if k, h1, w1, c1 := source(h, w, c); k == arg {
							add(h1, w1, c1, dy(h, w, c))
						}
					})
				})
		}
	})
}

// TestArrangeOrder has sums that round: the gradient at a number is added from 0 in rising order of
// its places.
func TestArrangeOrder(t *testing.T) {
	one, out := lower.Shape{C: 1, H: 1, W: 1}, lower.Shape{C: 5, H: 3, W: 4}
	onNothing(t, func(p *card) {
		r := rand.New(rand.NewPCG(1, 6))
		s := newShape(out)
		d := make([]float32, s.width)
		var want float32
		for i := range d {
			if i%s.pitch < s.channels {
				d[i] = float32(r.NormFloat64())
				want += d[i]
			}
		}
		l, err := p.newArrange(&lower.Arrange{Index: make([]int32, out.Size()), Once: []bool{false}}, []lower.Shape{one}, out)
		check(t, err)
		dx := there(t, p, make([]float32, 16))
		check(t, l.backward(bare(p), dx, 0, there(t, p, d), nil, 0, 1))
		if got := back[float32](t, p, dx, 1)[0]; got != want {
			t.Errorf("sum %v, want %v", got, want)
		}
	})
}

// channelShapes have less channels than a warp has lanes, as many, and more than one round of them.
var channelShapes = []lower.Shape{{C: 1, H: 2, W: 2}, {C: 5, H: 2, W: 3}, {C: 32, H: 1, W: 3}, {C: 33, H: 3, W: 3}, {C: 70, H: 1, W: 1}}

// TestReduce has every reduction, with ties of the largest.
func TestReduce(t *testing.T) {
	const n = 3
	onNothing(t, func(p *card) {
		for _, s := range channelShapes {
			r := rand.New(rand.NewPCG(uint64(s.C), 7))
			x := newValue(t, p, r, s, n)
			pixel := func(image, h, w int) []float64 {
				v := make([]float64, s.C)
				for c := range v {
					v[c] = x.at(image, h, w, c)
				}
				return v
			}
			for by, f := range map[string]func(v []float64) (y float64, slope []float64){
				"sum": func(v []float64) (float64, []float64) { return total(v), repeat(1, len(v)) },
				"mean": func(v []float64) (float64, []float64) {
					return total(v) / float64(len(v)), repeat(1/float64(len(v)), len(v))
				},
				"max": func(v []float64) (float64, []float64) {
					best := 0
					for c := range v {
						if v[c] > v[best] {
							best = c
						}
					}
					slope := repeat(0, len(v))
					slope[best] = 1
					return v[best], slope
				},
				"logsumexp": func(v []float64) (float64, []float64) {
					sum := 0.0
					for _, x := range v {
						sum += math.Exp(x)
					}
					return math.Log(sum), ref.Softmax(v)
				},
			} {
				out := lower.Shape{C: 1, H: s.H, W: s.W}
				tol := 0x1p-22 // a number is rounded once or twice; log Σ exp is never near 0 here
				layerOf(t, p, fmt.Sprintf("%s of %+v", by, s), &reduce{"reduce_" + by, newShape(s), newShape(out)}, []*layerValue{x}, out, n, tol,
					func(image, h, w, _ int) float64 { y, _ := f(pixel(image, h, w)); return y },
					func(image, _ int, dy func(h, w, c int) float64, add func(h, w, c int, v float64)) {
						every(out, func(h, w, _ int) {
							_, slope := f(pixel(image, h, w))
							for c, v := range slope {
								add(h, w, c, v*dy(h, w, 0))
							}
						})
					})
			}
		}
	})
}

func total(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

func repeat(v float64, n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// TestReduceOrder has sums that round: channels are added from 0 in rising order. NaN and infinity
// are not lost.
func TestReduceOrder(t *testing.T) {
	s, one := newShape(lower.Shape{C: 70, H: 1, W: 2}), newShape(lower.Shape{C: 1, H: 1, W: 2})
	onNothing(t, func(p *card) {
		r := rand.New(rand.NewPCG(1, 8))
		v := make([]float32, s.width)
		var want float32
		for i := range s.channels {
			v[i] = float32(r.NormFloat64())
			want += v[i]
		}
		of := func(by string) []float32 {
			y := there(t, p, make([]float32, one.width))
			check(t, (&reduce{"reduce_" + by, s, one}).forward(bare(p), y, []cu.DevicePtr{there(t, p, v)}, 1))
			return back[float32](t, p, y, one.width)
		}
		if got := of("sum")[0]; got != want {
			t.Errorf("sum %v, want %v", got, want)
		}
		if got := of("mean")[0]; got != want/70 {
			t.Errorf("mean %v, want %v", got, want/70)
		}
		for _, at := range []int{0, 31, 40, 69} {
			for _, bad := range []float32{nan, inf, -inf} {
				was := v[at]
				v[at] = bad
				for by, want := range map[string]float32{"max": bad, "logsumexp": bad} {
					if bad == -inf {
						break // the largest is another
					}
					if got := of(by)[0]; got != want && (got == got || want == want) {
						t.Errorf("%s with %v at %d is %v", by, bad, at, got)
					}
				}
				v[at] = was
			}
		}
		for i := range s.channels { // all are the least
			v[i] = -inf
		}
		for _, by := range []string{"max", "logsumexp"} {
			if got := of(by)[0]; got != -inf {
				t.Errorf("%s of -∞ is %v", by, got)
			}
		}
	})
}

// TestSoftmax compares softmax with its formula. Its gradient keeps its first digits where one
// probability rounds to 1.
func TestSoftmax(t *testing.T) {
	const n = 2
	onNothing(t, func(p *card) {
		for _, s := range channelShapes {
			r := rand.New(rand.NewPCG(uint64(s.C), 9))
			x := newValue(t, p, r, s, n)
			for i := range x.v {
				if i%x.pitch < s.C && i/x.pitch%2 == 1 {
					x.v[i] *= 20 // one probability of such a pixel is 1 but for 1e-9, or for less
				}
			}
			x.ptr = there(t, p, x.v)
			softmax := &softmax{newShape(s)}
			probabilities := func(image, h, w int) []float64 {
				v := make([]float64, s.C)
				for c := range v {
					v[c] = x.at(image, h, w, c)
				}
				return ref.Softmax(v)
			}
			y, d := there(t, p, whole(r, x.shape, n)), newValue(t, p, r, s, n)
			check(t, softmax.forward(bare(p), y, []cu.DevicePtr{x.ptr}, n))
			close := func(got float32, want float64) bool {
				return math.Abs(float64(got)-want) <= 0x1p-22*math.Abs(want)+0x1p-126
			}
			for i, got := range back[float32](t, p, y, n*x.width) {
				image, h, w, c := i/x.width, i%x.width/x.pitch/s.W, i/x.pitch%s.W, i%x.pitch
				want := 0.0
				if c < s.C {
					want = probabilities(image, h, w)[c]
				}
				if !close(got, want) {
					t.Errorf("softmax of %+v: %v at (%d, %d) channel %d, want %v", s, got, h, w, c, want)
					return
				}
			}
			with(t, p, r, x.shape, n, func(dx, from cu.DevicePtr) error {
				return softmax.backward(bare(p), dx, from, d.ptr, []cu.DevicePtr{x.ptr}, 0, n)
			}, func(how string, dx []float32, before func(image, pixel, c int) float64) {
				for i, got := range dx {
					image, h, w, c := i/x.width, i%x.width/x.pitch/s.W, i/x.pitch%s.W, i%x.pitch
					want, size := 0.0, 0.0
					if c < s.C {
						// Σ_k p_c·p_k·(dy_c - dy_k) has no difference of p.
						q := probabilities(image, h, w)
						for k := range q {
							want += q[c] * q[k] * (d.at(image, h, w, c) - d.at(image, h, w, k))
							size += q[c] * q[k] * math.Abs(d.at(image, h, w, c)-d.at(image, h, w, k))
						}
						want += before(image, i%x.width/x.pitch, c)
						size += math.Abs(before(image, i%x.width/x.pitch, c))
					}
					if !(math.Abs(float64(got)-want) <= 0x1p-22*size+0x1p-126) {
						t.Errorf("softmax of %+v backward, %s: %v at (%d, %d) channel %d, want %v", s, how, got, h, w, c, want)
						return
					}
				}
			})
		}
	})
}

// TestMatMul has products smaller and larger than a tile, either way.
func TestMatMul(t *testing.T) {
	const n = 2
	onNothing(t, func(p *card) {
		for _, c := range []struct{ H, M, K, N int }{{1, 1, 1, 1}, {3, 5, 7, 6}, {2, 64, 16, 64}, {1, 70, 33, 65}, {2, 3, 130, 17}, {1, 17, 3, 130}} {
			for _, transpose := range []bool{false, true} {
				r := rand.New(rand.NewPCG(uint64(c.M), 10))
				o := lower.MatMul{Transpose: transpose, A: lower.Shape{C: c.K, H: c.H, W: c.M}, B: lower.Shape{C: c.N, H: c.H, W: c.K}}
				if transpose {
					o.B.C, o.B.W = o.B.W, o.B.C
				}
				a, b := newValue(t, p, r, o.A, n), newValue(t, p, r, o.B, n)
				bAt := func(image, h, k, j int) float64 {
					if transpose {
						return b.at(image, h, j, k)
					}
					return b.at(image, h, k, j)
				}
				out := lower.Shape{C: c.N, H: c.H, W: c.M}
				layerOf(t, p, fmt.Sprintf("%+v", o), newMatMul(o), []*layerValue{a, b}, out, n, 0,
					func(image, h, i, j int) (sum float64) {
						for k := range c.K {
							sum += a.at(image, h, i, k) * bAt(image, h, k, j)
						}
						return sum
					},
					func(image, arg int, dy func(h, w, c int) float64, add func(h, w, c int, v float64)) {
						every(out, func(h, i, j int) {
							for k := range c.K {
								switch {
								case arg == 0:
									add(h, i, k, dy(h, i, j)*bAt(image, h, k, j))
								case transpose:
									add(h, j, k, dy(h, i, j)*a.at(image, h, i, k))
								default:
									add(h, k, j, dy(h, i, j)*a.at(image, h, i, k))
								}
							}
						})
					})
			}
		}
	})
}

// TestMatMulOrder has sums that round: one chain of fused multiply-adds in rising order of terms.
func TestMatMulOrder(t *testing.T) {
	const terms = 37
	o := lower.MatMul{A: lower.Shape{C: terms, H: 1, W: 1}, B: lower.Shape{C: 1, H: 1, W: terms}}
	onNothing(t, func(p *card) {
		r := rand.New(rand.NewPCG(1, 11))
		l := newMatMul(o)
		a, b := make([]float32, l.a.width), make([]float32, l.b.width)
		var want float32
		for k := range terms {
			a[k], b[k*l.b.pitch] = float32(r.NormFloat64()), float32(r.NormFloat64())
			want = float32(math.FMA(float64(a[k]), float64(b[k*l.b.pitch]), float64(want)))
		}
		y := there(t, p, make([]float32, l.y.width))
		check(t, l.forward(bare(p), y, []cu.DevicePtr{there(t, p, a), there(t, p, b)}, 1))
		if got := back[float32](t, p, y, 1)[0]; got != want {
			t.Errorf("product %v, want %v", got, want)
		}
	})
}

// TestGroupedConv has convolutions by channel, with several filters a channel, and of groups of a few
// channels, which go back by windows or by the flipped convolution, with and without dilation.
func TestGroupedConv(t *testing.T) {
	const n = 2
	onNothing(t, func(p *card) {
		for _, c := range []struct {
			groups, depth, filters int
			kernel, stride         [2]int
			pad                    [4]int
			dilation               [2]int
			flipped, relu          bool
		}{
			{groups: 18, depth: 1, filters: 1, kernel: [2]int{3, 3}, stride: [2]int{1, 1}, pad: [4]int{1, 1, 1, 1}, dilation: [2]int{1, 1}},
			{groups: 33, depth: 1, filters: 1, kernel: [2]int{3, 2}, stride: [2]int{2, 1}, pad: [4]int{2, 0, 1, 3}, dilation: [2]int{1, 2}, relu: true},
			{groups: 5, depth: 1, filters: 4, kernel: [2]int{3, 2}, stride: [2]int{2, 1}, pad: [4]int{2, 0, 1, 3}, dilation: [2]int{1, 1}, relu: true},
			{groups: 3, depth: 2, filters: 3, kernel: [2]int{2, 3}, stride: [2]int{1, 2}, pad: [4]int{0, 1, 1, 0}, dilation: [2]int{2, 2}},
			{groups: 2, depth: 9, filters: 10, kernel: [2]int{3, 3}, stride: [2]int{1, 1}, pad: [4]int{1, 1, 1, 1}, dilation: [2]int{1, 1}, flipped: true},
			{groups: 2, depth: 8, filters: 3, kernel: [2]int{2, 3}, stride: [2]int{1, 1}, pad: [4]int{2, 1, 0, 3}, dilation: [2]int{3, 2}, flipped: true, relu: true},
		} {
			r := rand.New(rand.NewPCG(uint64(c.groups), 12))
			in := lower.Shape{C: c.groups * c.depth, H: 6, W: 7}
			out := lower.Shape{C: c.groups * c.filters}
			out.H = (in.H+c.pad[0]+c.pad[2]-(c.kernel[0]-1)*c.dilation[0]-1)/c.stride[0] + 1
			out.W = (in.W+c.pad[1]+c.pad[3]-(c.kernel[1]-1)*c.dilation[1]-1)/c.stride[1] + 1
			weights, bias := make([]float32, out.C*c.depth*c.kernel[0]*c.kernel[1]), make([]float32, out.C)
			for i := range weights {
				weights[i] = float32(r.IntN(9) - 4)
			}
			for i := range bias {
				bias[i] = float32(r.IntN(9) - 4)
			}
			l := &lower.Convolution{Name: "c", Weight: tensor.New(tensor.WithShape(out.C, c.depth, c.kernel[0], c.kernel[1]), tensor.WithBacking(weights)),
				Bias:   tensor.New(tensor.WithShape(out.C), tensor.WithBacking(bias)),
				Unfold: lower.Unfold{In: in, Out: out, Kernel: c.kernel, Stride: c.stride, Pad: c.pad, Dilation: c.dilation, Groups: c.groups}}
			if c.flipped {
				l.Back = &lower.Unfold{In: out, Out: in, Kernel: c.kernel, Stride: [2]int{1, 1}, Dilation: c.dilation, Groups: c.groups}
				for d := range l.Back.Pad {
					l.Back.Pad[d] = (c.kernel[d%2]-1)*c.dilation[d%2] - c.pad[d]
				}
			}
			g, err := p.newOperation(lower.Op{Operation: l, In: in, Out: out, Rectified: c.relu}, []lower.Shape{in}, "fp32")
			check(t, err)
			if _, ok := g.(*depthwise); ok != (c.depth == 1 && c.filters == 1) {
				t.Errorf("%+v is a %T", c, g)
			}
			x := newValue(t, p, r, in, n)
			// terms calls f for all of a number's terms.
			terms := func(h, w, o int, f func(h, w, i int, weight float64)) {
				for i := range c.depth {
					for u := range c.kernel[0] {
						for v := range c.kernel[1] {
							y, s := h*c.stride[0]+u*c.dilation[0]-c.pad[0], w*c.stride[1]+v*c.dilation[1]-c.pad[1]
							if y >= 0 && y < in.H && s >= 0 && s < in.W {
								f(y, s, o/c.filters*c.depth+i, float64(weights[((o*c.depth+i)*c.kernel[0]+u)*c.kernel[1]+v]))
							}
						}
					}
				}
			}
			layerOf(t, p, fmt.Sprintf("%+v", c), g, []*layerValue{x}, out, n, 0,
				func(image, h, w, o int) float64 {
					sum := float64(bias[o])
					terms(h, w, o, func(h, w, i int, weight float64) { sum += weight * x.at(image, h, w, i) })
					if c.relu {
						return max(sum, 0)
					}
					return sum
				},
				func(_, _ int, dy func(h, w, c int) float64, add func(h, w, c int, v float64)) {
					every(out, func(h, w, o int) {
						d := dy(h, w, o)
						terms(h, w, o, func(h, w, i int, weight float64) { add(h, w, i, weight*d) })
					})
				})
		}
	})
}
