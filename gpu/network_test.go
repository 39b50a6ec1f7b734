//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/cusim"
	"advsweep/internal/lower"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/cu"
)

// onNothing runs f on a card that serves only to launch kernels.
func onNothing(t *testing.T, f func(p *card)) {
	t.Helper()
	need(t)
	onDevice(t, "fp32", 1, []int{4, 3}, f)
}

// bare makes a network without layers, for operations that need only its device.
func bare(p *card) *network { return &network{device: p.device} }

// whole makes n images of shape s. Elements are whole numbers, whose sums are exact, and NaN beyond
// the channels.
func whole(r *rand.Rand, s shape, n int) []float32 {
	v := make([]float32, n*s.width)
	for i := range v {
		if v[i] = float32(r.IntN(17) - 8); i%s.pitch >= s.channels {
			v[i] = nan
		}
	}
	return v
}

// expect fails t unless got, n images of shape s, is 0 beyond the channels and elsewhere want,
// within tol·|want|.
func expect(t *testing.T, what string, got []float32, s shape, n int, tol float64, want func(image, pixel, c int) float64) {
	t.Helper()
	for i, v := range got {
		image, pixel, c := i/s.width, i%s.width/s.pitch, i%s.pitch
		w := 0.0
		if c < s.channels {
			w = want(image, pixel, c)
		}
		if !(math.Abs(float64(v)-w) <= tol*math.Abs(w)) && !(math.IsNaN(w) && v != v) {
			t.Errorf("%s: image %d, pixel %d, channel %d is %v, want %v", what, image, pixel, c, v, w)
			return
		}
	}
}

// with calls f three times: with nothing to add to, with other numbers to add to, and with those
// numbers in dx itself. judge gets what f made and what was there before.
func with(t *testing.T, p *card, r *rand.Rand, s shape, n int, f func(dx, from cu.DevicePtr) error, judge func(what string, dx []float32, before func(image, pixel, c int) float64)) {
	t.Helper()
	for _, how := range []string{"alone", "and others", "in place"} {
		start, beyond := make([]float32, (n+1)*s.width), whole(r, s, n+1)
		for i := range start {
			if i%s.pitch < s.channels {
				start[i] = float32(r.IntN(9) - 4)
			}
		}
		before := func(image, pixel, c int) float64 { return float64(start[image*s.width+pixel*s.pitch+c]) }
		dx, from := there(t, p, beyond), there(t, p, start)
		switch how {
		case "alone":
			from, before = 0, func(int, int, int) float64 { return 0 }
		case "in place":
			dx, beyond = from, start
		}
		check(t, f(dx, from))
		untouched(t, p, how, dx, beyond, n*s.width)
		judge(how, back[float32](t, p, dx, n*s.width), before)
	}
}

// TestIm2col compares im2col, col2im and the pools with plain loops. Some windows reach over the
// edge, some leave pixels out, and some cover all pixels or one.
func TestIm2col(t *testing.T) {
	const n = 5
	var all []window
	for _, w := range []window{
		{in: [2]int{7, 5}, kernel: [2]int{3, 3}, stride: [2]int{1, 1}, pad: [4]int{1, 1, 1, 1}},
		{in: [2]int{5, 8}, kernel: [2]int{2, 3}, stride: [2]int{2, 3}, pad: [4]int{1, 0, 0, 2}},
		{in: [2]int{9, 4}, kernel: [2]int{4, 2}, stride: [2]int{3, 1}, pad: [4]int{0, 1, 3, 0}},
		{in: [2]int{4, 9}, kernel: [2]int{1, 2}, stride: [2]int{3, 4}},
		{in: [2]int{1, 1}, kernel: [2]int{1, 1}, stride: [2]int{1, 1}},
		{in: [2]int{3, 6}, kernel: [2]int{3, 6}, stride: [2]int{2, 2}},
		{in: [2]int{7, 9}, kernel: [2]int{3, 2}, stride: [2]int{1, 2}, pad: [4]int{1, 0, 2, 1}, dilation: [2]int{2, 3}},
		{in: [2]int{6, 5}, kernel: [2]int{2, 3}, stride: [2]int{2, 1}, pad: [4]int{1, 2, 0, 1}, dilation: [2]int{3, 2}},
	} {
		for d := range 2 {
			w.dilation[d] = max(1, w.dilation[d])
			w.out[d] = (w.in[d]+w.pad[d]+w.pad[d+2]-(w.kernel[d]-1)*w.dilation[d]-1)/w.stride[d] + 1
		}
		all = append(all, w)
	}
	onNothing(t, func(p *card) {
		for _, w := range all {
			for _, channels := range []int{1, 3, 16, 18} {
				im2colOf(t, p, w, channels, n)
			}
		}
	})
}

// im2colOf checks every kernel that has a window, for w and n images.
func im2colOf(t *testing.T, p *card, w window, channels, n int) {
	t.Helper()
	at := fmt.Sprintf(" of %d channels under %+v", channels, w)
	r := rand.New(rand.NewPCG(uint64(channels), 1))
	xs, ys := newShape(lower.Shape{C: channels, H: w.in[0], W: w.in[1]}), newShape(lower.Shape{C: channels, H: w.out[0], W: w.out[1]})
	images := whole(r, xs, n)
	x := func(image, h, w_, c int) float64 {
		if h < 0 || h >= w.in[0] || w_ < 0 || w_ >= w.in[1] {
			return 0
		}
		return float64(images[image*xs.width+(h*w.in[1]+w_)*xs.pitch+c])
	}
	outside := func(h, w_ int) bool { return h < 0 || h >= w.in[0] || w_ < 0 || w_ >= w.in[1] }
	// each calls f for the elements of the window at a pixel of the output, row by row.
	each := func(pixel int, f func(u, v, h, w_ int)) {
		for u := range w.kernel[0] {
			for v := range w.kernel[1] {
				f(u, v, pixel/w.out[1]*w.stride[0]+u*w.dilation[0]-w.pad[0], pixel%w.out[1]*w.stride[1]+v*w.dilation[1]-w.pad[1])
			}
		}
	}
	dev := there(t, p, images)
	depth := w.kernel[0] * w.kernel[1] * channels
	matrix := shape{w.outputs(), depth, padded(depth), w.outputs() * padded(depth)}
	for _, swapped := range []bool{false, true} {
		column := func(u, v, c int) int {
			if swapped {
				return (v*w.kernel[0]+u)*channels + c
			}
			return (u*w.kernel[1]+v)*channels + c
		}
		l := &unfolding{window: w, x: xs, y: ys, swapped: swapped, filters: layer{in: depth}}
		a := there(t, p, make([]float32, n*matrix.width))
		check(t, p.im2col(a, dev, l, n))
		expect(t, "im2col"+at, back[float32](t, p, a, n*matrix.width), matrix, n, 0, func(image, pixel, k int) (want float64) {
			each(pixel, func(u, v, h, w_ int) {
				for c := range channels {
					if column(u, v, c) == k {
						want = x(image, h, w_, c)
					}
				}
			})
			return want
		})
		parts := whole(r, matrix, n)
		sum := make([]float64, n*xs.width)
		for image := range n {
			for pixel := range w.outputs() {
				each(pixel, func(u, v, h, w_ int) {
					for c := range channels {
						if !outside(h, w_) {
							sum[image*xs.width+(h*w.in[1]+w_)*xs.pitch+c] += float64(parts[image*matrix.width+pixel*matrix.pitch+column(u, v, c)])
						}
					}
				})
			}
		}
		a = there(t, p, parts)
		with(t, p, r, xs, n, func(dx, from cu.DevicePtr) error { return p.col2im(dx, from, a, l, n) },
			func(how string, dx []float32, before func(image, pixel, c int) float64) {
				expect(t, "col2im, "+how+at, dx, xs, n, 0, func(image, pixel, c int) float64 {
					return before(image, pixel, c) + sum[image*xs.width+pixel*xs.pitch+c]
				})
			})
	}
	if max(w.pad[0], w.pad[2]) >= w.kernel[0] || max(w.pad[1], w.pad[3]) >= w.kernel[1] {
		return // a pool's padding must be less than its window
	}
	d := whole(r, ys, n)
	dy, y := there(t, p, d), there(t, p, make([]float32, n*ys.width))
	for _, countPad := range []bool{false, true} {
		if w.dilation != [2]int{1, 1} {
			break // no average has holes
		}
		size := func(pixel int) (k float64) {
			each(pixel, func(_, _, h, w_ int) {
				if countPad || !outside(h, w_) {
					k++
				}
			})
			return k
		}
		l := &avgPool{w, xs, ys, countPad}
		check(t, l.forward(bare(p), y, []cu.DevicePtr{dev}, n))
		expect(t, "avg_pool_forward"+at, back[float32](t, p, y, n*ys.width), ys, n, 0x1p-24, func(image, pixel, c int) (want float64) {
			each(pixel, func(_, _, h, w_ int) { want += x(image, h, w_, c) })
			return want / size(pixel)
		})
		sum := make([]float64, n*xs.width)
		for image := range n {
			for pixel := range w.outputs() {
				each(pixel, func(_, _, h, w_ int) {
					for c := range channels {
						if !outside(h, w_) {
							sum[image*xs.width+(h*w.in[1]+w_)*xs.pitch+c] += float64(d[image*ys.width+pixel*ys.pitch+c]) / size(pixel)
						}
					}
				})
			}
		}
		with(t, p, r, xs, n, func(dx, from cu.DevicePtr) error { return l.backward(bare(p), dx, from, dy, nil, 0, n) },
			func(how string, dx []float32, before func(image, pixel, c int) float64) {
				// Sums are whole multiples of 1/k. A sum so small is 0 but for rounding.
				for i := range dx {
					if v := dx[i]; v != 0 && math.Abs(float64(v)) < 1e-4 {
						dx[i] = 0
					}
				}
				expect(t, "avg_pool_backward, "+how+at, dx, xs, n, 1e-4, func(image, pixel, c int) float64 {
					if v := before(image, pixel, c) + sum[image*xs.width+pixel*xs.pitch+c]; math.Abs(v) > 1e-9 {
						return v
					}
					return 0
				})
			})
	}
	l := &maxPool{window: w, x: xs, y: ys, place: buffer{there(t, p, make([]int32, n*ys.width)), int64(4 * n * ys.width)}}
	best := func(image, pixel, c int) (value float64, place int) {
		value, place = math.Inf(-1), -1
		each(pixel, func(_, _, h, w_ int) {
			if v := x(image, h, w_, c); !outside(h, w_) && v > value {
				value, place = v, h*w.in[1]+w_
			}
		})
		return value, place
	}
	check(t, l.forward(bare(p), y, []cu.DevicePtr{dev}, n))
	expect(t, "max_pool_forward"+at, back[float32](t, p, y, n*ys.width), ys, n, 0, func(image, pixel, c int) float64 {
		v, _ := best(image, pixel, c)
		return v
	})
	given := make([]float64, n*xs.width)
	for image := range n {
		for pixel := range w.outputs() {
			for c := range channels {
				_, place := best(image, pixel, c)
				given[image*xs.width+place*xs.pitch+c] += float64(d[image*ys.width+pixel*ys.pitch+c])
			}
		}
	}
	with(t, p, r, xs, n, func(dx, from cu.DevicePtr) error { return l.backward(bare(p), dx, from, dy, nil, 0, n) },
		func(how string, dx []float32, before func(image, pixel, c int) float64) {
			expect(t, "max_pool_backward, "+how+at, dx, xs, n, 0, func(image, pixel, c int) float64 {
				return before(image, pixel, c) + given[image*xs.width+pixel*xs.pitch+c]
			})
		})
}

// TestMaxPoolNaN has a NaN at each place of a window in turn. It counts as larger than infinity.
func TestMaxPoolNaN(t *testing.T) {
	onNothing(t, func(p *card) {
		w := window{in: [2]int{2, 2}, out: [2]int{1, 1}, kernel: [2]int{2, 2}, stride: [2]int{1, 1}, dilation: [2]int{1, 1}}
		xs, ys := newShape(lower.Shape{C: 1, H: 2, W: 2}), newShape(lower.Shape{C: 1, H: 1, W: 1})
		for at := range 4 {
			for _, other := range []float32{inf, -inf, 1} {
				x := make([]float32, xs.width)
				for i := range 4 {
					if x[i*xs.pitch] = other; i == at {
						x[i*xs.pitch] = nan
					}
				}
				l := &maxPool{window: w, x: xs, y: ys, place: buffer{there(t, p, make([]int32, ys.width)), int64(4 * ys.width)}}
				y := there(t, p, make([]float32, ys.width))
				check(t, l.forward(bare(p), y, []cu.DevicePtr{there(t, p, x)}, 1))
				if v, place := back[float32](t, p, y, 1)[0], back[int32](t, p, l.place.DevicePtr, 1)[0]; v == v || int(place) != at {
					t.Errorf("NaN at %d, elsewhere %v: %v of %d", at, other, v, place)
				}
			}
		}
	})
}

// functions calls f with the operation of every elementwise function of model.Examples, the example,
// its truth, and that's derivative.
func functions(s shape, f func(l *activation, e model.Example, value, slope func(x float64) float64)) {
	for _, e := range model.Examples() {
		if l, ok := e.Layer.(model.Elementwise); ok {
			name, parameters := l.Function()
			value, slope := ref.Function(l)
			f(newActivation(lower.Elementwise{Name: name, Parameters: parameters}, s), e, value, slope)
		}
	}
}

// TestActivations compares every elementwise function with its truth. The padding has NaN.
func TestActivations(t *testing.T) {
	s := newShape(lower.Shape{C: 19, H: 3, W: 7})
	const n = 2
	onNothing(t, func(p *card) {
		functions(s, func(l *activation, e model.Example, value, slope func(x float64) float64) {
			name := fmt.Sprintf("%s%v", l.name, l.parameters)
			r := rand.New(rand.NewPCG(1, 1))
			x, dy := whole(r, s, n), whole(r, s, n)
			// x is a multiple of 1/8 between -5 and 5, or above 0 where the function is of such
			// numbers. No term there cancels another, but near a zero of a slope.
			for i := range x {
				if i%s.pitch < s.channels {
					x[i] = float32(r.IntN(81)-40) / 8
					if e.Positive {
						x[i] = float32(1+r.IntN(40)) / 8
					}
				}
			}
			x[0], dy[0] = nan, 3
			if !e.Positive {
				x[1] = 0
			}
			at := func(v []float32, image, pixel, c int) float64 { return float64(v[image*s.width+pixel*s.pitch+c]) }
			dev, y := there(t, p, x), there(t, p, make([]float32, len(x)))
			check(t, l.forward(bare(p), y, []cu.DevicePtr{dev}, n))
			// A value is rounded once, and once more if it is then added.
			expect(t, name+" forward", back[float32](t, p, y, len(x)), s, n, 0x1p-23, func(image, pixel, ch int) float64 {
				if x := at(x, image, pixel, ch); x == x {
					return value(x)
				}
				return math.NaN()
			})
			grad := there(t, p, dy)
			with(t, p, r, s, n, func(dx, from cu.DevicePtr) error {
				return l.backward(bare(p), dx, from, grad, []cu.DevicePtr{dev}, 0, n)
			},
				func(how string, dx []float32, before func(image, pixel, c int) float64) {
					for i, v := range dx {
						image, pixel, ch := i/s.width, i%s.width/s.pitch, i%s.pitch
						if ch >= s.channels {
							if v != 0 {
								t.Errorf("%s backward, %s: element %d beyond the channels is %v", name, how, i, v)
								return
							}
							continue
						}
						b := before(image, pixel, ch)
						if x[i] != x[i] { // no NaN is masked: there it has some gradient
							if float64(v) == b {
								t.Errorf("%s backward, %s: at x = NaN, dy = %v after %v it is %v, want another number", name, how, dy[i], b, v)
							}
							continue
						}
						d := at(dy, image, pixel, ch) * slope(at(x, image, pixel, ch))
						if !(math.Abs(float64(v)-b-d) <= 0x1p-22*(math.Abs(b)+math.Abs(d))) {
							t.Errorf("%s backward, %s: at x = %v, dy = %v after %v it is %v, want %v", name, how, x[i], dy[i], b, v, b+d)
							return
						}
					}
				})
		})
	})
}

// TestInfinities compares activations and their slopes at infinity with their limits. The truth has
// those at infinity, or at 1e30 where it is no number there. sin and cos have no limit.
func TestInfinities(t *testing.T) {
	s := newShape(lower.Shape{C: 2, H: 1, W: 1})
	limit := func(f func(x float64) float64, sign int) float64 {
		if v := f(math.Inf(sign)); v == v {
			return v
		}
		v := f(float64(sign) * 1e30)
		if math.Abs(v) > 1e28 {
			return math.Copysign(math.Inf(1), v)
		}
		return float64(float32(v))
	}
	onNothing(t, func(p *card) {
		x, dy := there(t, p, append([]float32{-inf, inf}, make([]float32, 14)...)), there(t, p, append([]float32{2, 2}, make([]float32, 14)...))
		functions(s, func(l *activation, e model.Example, value, slope func(x float64) float64) {
			if l.name == "sin" || l.name == "cos" {
				return
			}
			twice := func(x float64) float64 { return 2 * slope(x) }
			want := [4]float64{limit(value, -1), limit(value, 1), limit(twice, -1), limit(twice, 1)}
			y := there(t, p, make([]float32, s.width))
			check(t, l.forward(bare(p), y, []cu.DevicePtr{x}, 1))
			got := back[float32](t, p, y, 2)
			check(t, l.backward(bare(p), y, 0, dy, []cu.DevicePtr{x}, 0, 1))
			for i, v := range append(got, back[float32](t, p, y, 2)...) {
				if e.Positive && i%2 == 0 {
					continue // not a function of -∞
				}
				if float64(v) != want[i] && !(v != v && math.IsNaN(want[i])) {
					t.Errorf("%s%v: number %d is %v, want %v", l.name, l.parameters, i, v, want[i])
				}
			}
		})
	})
}

// TestLarge has numbers whose exponential is infinite in float64 too.
func TestLarge(t *testing.T) {
	s := newShape(lower.Shape{C: 2, H: 1, W: 1})
	onNothing(t, func(p *card) {
		x, dy := there(t, p, append([]float32{-1000, 1000}, make([]float32, 14)...)), there(t, p, append([]float32{2, 2}, make([]float32, 14)...))
		for _, name := range []string{"silu", "mish", "softplus", "gelu", "gelu_tanh"} {
			l, y := newActivation(lower.Elementwise{Name: name}, s), there(t, p, make([]float32, s.width))
			check(t, l.forward(bare(p), y, []cu.DevicePtr{x}, 1))
			got := back[float32](t, p, y, 2)
			check(t, l.backward(bare(p), y, 0, dy, []cu.DevicePtr{x}, 0, 1))
			if got = append(got, back[float32](t, p, y, 2)...); [4]float32(got) != [4]float32{0, 1000, 0, 2} {
				t.Errorf("%s at ±1000 is %v, and twice its slope %v, want 0 and 1000, and 0 and 2", name, got[:2], got[2:])
			}
		}
	})
}

// TestScale has a different weight and bias for every channel.
func TestScale(t *testing.T) {
	s := newShape(lower.Shape{C: 19, H: 3, W: 7})
	const n = 2
	onNothing(t, func(p *card) {
		r := rand.New(rand.NewPCG(2, 1))
		x := whole(r, s, n)
		w, b := make([]float32, s.channels), make([]float32, s.channels)
		for c := range w {
			w[c], b[c] = float32(c+2), float32(100*c)
		}
		l := &scale{there(t, p, w), there(t, p, b), s}
		dev, y := there(t, p, x), there(t, p, make([]float32, len(x)))
		check(t, l.forward(bare(p), y, []cu.DevicePtr{dev}, n))
		product := func(image, pixel, c int) float64 { return float64(x[image*s.width+pixel*s.pitch+c] * w[c]) }
		expect(t, "forward", back[float32](t, p, y, len(x)), s, n, 0, func(image, pixel, c int) float64 { return product(image, pixel, c) + float64(b[c]) })
		with(t, p, r, s, n, func(dx, from cu.DevicePtr) error { return l.backward(bare(p), dx, from, dev, nil, 0, n) },
			func(how string, dx []float32, before func(image, pixel, c int) float64) {
				expect(t, "backward, "+how, dx, s, n, 0, func(image, pixel, c int) float64 { return before(image, pixel, c) + product(image, pixel, c) })
			})
	})
}

// TestNHWC brings images from NCHW to NHWC and back. Some have several tiles, and some less than
// one. The padding has NaN.
func TestNHWC(t *testing.T) {
	onNothing(t, func(p *card) {
		for _, dims := range [][]int{{1, 2, 3}, {3, 5, 7}, {16, 4, 8}, {70, 9, 11}, {33, 1, 2}} {
			const n = 3
			s := newShape(lower.Shape{C: dims[0], H: dims[1], W: dims[2]})
			count := s.channels * s.pixels
			flat := shape{1, count, padded(count), padded(count)}
			r := rand.New(rand.NewPCG(1, 1))
			x := whole(r, flat, n)
			for i := range x {
				x[i] = float32(i) + x[i]*0 // all different
			}
			y := there(t, p, whole(r, s, n))
			check(t, p.toNHWC(y, there(t, p, x), s, n))
			nhwc := back[float32](t, p, y, n*s.width)
			expect(t, fmt.Sprint("toNHWC ", dims), nhwc, s, n, 0, func(image, pixel, c int) float64 { return float64(x[image*flat.width+c*s.pixels+pixel]) })
			for i := range nhwc {
				if i%s.pitch >= s.channels {
					nhwc[i] = nan
				}
			}
			z := there(t, p, whole(r, flat, n))
			check(t, p.toNCHW(z, there(t, p, nhwc), s, n))
			expect(t, fmt.Sprint("toNCHW ", dims), back[float32](t, p, z, len(x)), flat, n, 0, func(image, _, c int) float64 { return float64(x[image*flat.width+c]) })
		}
	})
}

// tinyNetwork makes a network and images for runs that are repeated often.
func tinyNetwork() (*model.Model, *dataset.Set) {
	r := rand.New(rand.NewPCG(4, 5))
	for {
		m := ref.RandomNetwork(r)
		kinds := fmt.Sprintf("%T", m.Layers)
		for _, l := range m.Layers {
			kinds += fmt.Sprintf(" %T", l)
		}
		if strings.Contains(kinds, "Conv2D") && strings.Contains(kinds, "MaxPool2D") && strings.Contains(kinds, "Add") && m.Outputs() == 5 {
			return m, byteSet(r, 11, 1, m.Inputs())
		}
	}
}

// TestNetworkMemory checks that a batch takes no more memory than was planned.
func TestNetworkMemory(t *testing.T) {
	need(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 6))
		m := ref.RandomNetwork(r)
		if seed == 0 {
			m = residual(r)
		}
		b := open(t, m, Options{})
		p := b.cards[0]
		p.budget.planned = min(p.budget.planned, 50)
		set := byteSet(r, 60, 1, m.Inputs())
		for i := range set.Labels {
			set.Labels[i] %= int32(m.Outputs())
		}
		must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
		must(t, b.Begin(t.Context(), 0, 60, []float64{0.1, 0.2}))
		// These, and the sizes, come out of the tenth that the plan leaves for the driver.
		const results = 4 * (2 + 2*2 + 60 + 3*2)
		if got, most := p.batchBytes(), 120*p.budget.plan.row+60*p.budget.plan.image+50*p.budget.plan.scratch+p.budget.plan.fixed+results+16*int64(len(p.batchClaims())+len(p.microbatchClaims(0))); got > most {
			t.Errorf("%s: %d bytes, planned %d: %+v", m, got, most, p.budget.plan)
		}
		must(t, b.Close())
	}
}

// TestNetworkShort is TestHalving for a network, down to microbatches of one row.
func TestNetworkShort(t *testing.T) {
	simulator(t)
	m, set := tinyNetwork()
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.BIM(2)}, Eps: []float64{0.01, 0.1, 0.3}}
	var want string
	for fail := range 60 {
		b := open(t, m, Options{})
		b.cards[0].budget.planned = 6
		if fail > 0 {
			must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
			cusim.Fail(fail, 2)
		}
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			if failed := cusim.FailedCall(); strings.HasPrefix(failed, "cuMemAlloc_") {
				t.Errorf("call %d, %s: %v", fail, failed, err)
			}
		} else if got := fmt.Sprint(res.Curves); want == "" {
			want = got
		} else if got != want {
			t.Errorf("call %d, %s: %s, want %s", fail, cusim.FailedCall(), got, want)
		}
		cusim.Reset()
		must(t, b.Close())
	}
}

// TestNetworkFailures is TestFailures for a network.
func TestNetworkFailures(t *testing.T) {
	simulator(t)
	m, set := tinyNetwork()
	run := func() (found string, err error) {
		b, err := New(m, Options{})
		if err != nil {
			return "", err
		}
		defer func() {
			if failed := b.Close(); err == nil {
				err = failed
			}
		}()
		s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM(), attack.BIM(3)}, Eps: []float64{0, 0.1}}
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(res.Curves), nil
	}
	start := cusim.Calls()
	want, err := run()
	must(t, err)
	calls, leaked := cusim.Calls()-start, cusim.Leaked()
	stride := 5
	if testing.Short() {
		stride = 31
	}
	for _, code := range []int{2, 719} { // out of memory, launch failed
		for nth := 1; nth <= calls; nth += stride {
			cusim.Fail(nth, code)
			got, err := run()
			what := fmt.Sprintf("call %d of %d, %s, fails with %d", nth, calls, cusim.FailedCall(), code)
			switch {
			case err == nil && got != want:
				t.Errorf("%s: no error, but another result: %s, want %s", what, got, want)
			case err != nil && !strings.Contains(err.Error(), "gpu: cuda:"):
				t.Errorf("%s: %v does not name the device", what, err)
			}
			cusim.Reset()
			if live := cusim.Live(); live != 0 {
				t.Fatalf("%s: %d objects are left", what, live)
			}
		}
	}
	if now := cusim.Leaked(); now != leaked {
		t.Errorf("%d objects leaked", now-leaked)
	}
}

// TestNetworkDevices is TestDevices for a network.
func TestNetworkDevices(t *testing.T) {
	infos := need(t)
	if len(infos) < 2 {
		if cusim.Loaded() {
			again(t, "CUSIM_DEVICES=3")
			return
		}
		t.Skip("needs two devices")
	}
	all := make([]int, len(infos))
	for i := range all {
		all[i] = i
	}
	m, set := tinyNetwork()
	var want string
	for _, devices := range [][]int{{0}, all} {
		b := open(t, m, Options{Devices: devices})
		must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
		must(t, b.Begin(t.Context(), 1, 11, []float64{0.1, 0.2}))
		for k := range 3 {
			must(t, b.Step(t.Context(), attack.BIM(3).At(k, []float64{0.1, 0.2}, attack.Bounds{})))
		}
		x, err := b.Images(t.Context())
		must(t, err)
		if got := fmt.Sprint(x.Data()); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%d devices differ from one", len(devices))
		}
	}
}

// TestNetworkRefused has layers with more numbers of an image than kernels can count.
func TestNetworkRefused(t *testing.T) {
	need(t)
	// An image has 2^28 floats, or 2^31.
	for h, fits := range map[int]bool{1 << 12: true, 1 << 15: false} {
		side := [2]int{h, 1 << 12}
		m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 1, 2)
		m.Input, m.Layers = []int{1, h, 1 << 12}, append([]model.Layer{model.AvgPool2D{Kernel: side, Stride: [2]int{1, 1}}}, m.Layers...)
		b, err := New(m, Options{})
		if fits {
			must(t, err)
			must(t, b.Close())
		} else if err == nil || !strings.Contains(err.Error(), "layer 0 takes or makes 2147483648 numbers an image, padding and all, want at most 1073741824") {
			t.Errorf("2^31 floats an image: %v", err)
		}
	}
}
