//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/internal/lower"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A tiledCase is a convolution by tiles, with zeros above and left of the image, and below and right.
type tiledCase struct {
	in       lower.Shape
	out      int // channels
	pad      [4]int
	relu     bool
	n, piece int // images in all, and at a time
}

var tiledCases = []tiledCase{
	{lower.Shape{C: 16, H: 6, W: 8}, 16, [4]int{1, 1, 1, 1}, false, 3, 2},
	{lower.Shape{C: 17, H: 5, W: 7}, 33, [4]int{1, 0, 0, 1}, true, 3, 1}, // odd, zeros on one side
	{lower.Shape{C: 40, H: 3, W: 9}, 16, [4]int{0, 2, 2, 0}, true, 2, 2},
	{lower.Shape{C: 20, H: 4, W: 5}, 130, [4]int{2, 2, 2, 2}, false, 5, 3}, // back without zeros
	{lower.Shape{C: 16, H: 7, W: 6}, 24, [4]int{}, true, 4, 4},             // back with two of them
	{lower.Shape{C: 130, H: 5, W: 5}, 70, [4]int{1, 1, 1, 1}, false, 2, 2},
	{lower.Shape{C: 18, H: 20, W: 19}, 19, [4]int{1, 1, 0, 2}, true, 2, 2}, // more than 128 tiles
}

// convolution draws the weights of c, with the windows forward and back that the lowering gives.
func (c tiledCase) convolution(r *rand.Rand) *lower.Convolution {
	out := lower.Shape{C: c.out, H: c.in.H + c.pad[0] + c.pad[2] - 2, W: c.in.W + c.pad[1] + c.pad[3] - 2}
	w, b := make([]float32, c.out*c.in.C*9), make([]float32, c.out)
	for _, s := range [][]float32{w, b} {
		for i := range s {
			s[i] = float32(r.NormFloat64())
		}
	}
	one := [2]int{1, 1}
	l := &lower.Convolution{Name: "c", Weight: tensor.New(tensor.WithShape(c.out, c.in.C, 3, 3), tensor.WithBacking(w)),
		Bias:   tensor.New(tensor.WithShape(c.out), tensor.WithBacking(b)),
		Unfold: lower.Unfold{In: c.in, Out: out, Kernel: [2]int{3, 3}, Stride: one, Pad: c.pad, Dilation: one, Groups: 1, Tile: lower.Tile2}}
	l.Back = &lower.Unfold{In: out, Out: c.in, Kernel: [2]int{3, 3}, Stride: one, Dilation: one, Groups: 1, Tile: lower.Tile2}
	for d := range l.Back.Pad {
		l.Back.Pad[d] = 2 - c.pad[d]
	}
	return l
}

// byTiles computes one image by the formulas of internal/lower/winograd.go, each sum rounded. x is
// [H, W, C]. y [OH, OW, O] has neither a ReLU nor anything that it is added to.
func byTiles(u lower.Unfold, weight func(o, c, u, v int) float32, bias []float32, x []float32) []float32 {
	places := func(d [4]float32) [4]float32 { return [4]float32{d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]} }
	outputs := func(m [4]float32) [2]float32 { return [2]float32{(m[0] + m[1]) + m[2], (m[1] - m[2]) + m[3]} }
	at := func(h, w, c int) float32 {
		if h < 0 || h >= u.In.H || w < 0 || w >= u.In.W {
			return 0
		}
		return x[(h*u.In.W+w)*u.In.C+c]
	}
	filters := make([][16]float32, u.Out.C*u.In.C)
	for o := range u.Out.C {
		for c := range u.In.C {
			lower.Winograd(lower.Tile2, weight, o, c, filters[o*u.In.C+c][:])
		}
	}
	y := make([]float32, u.Out.Size())
	v := make([][16]float32, u.In.C)
	for h := 0; h < u.Out.H; h += 2 {
		for w := 0; w < u.Out.W; w += 2 {
			for c := range v {
				var t [4][4]float32
				for j := range 4 {
					var d [4]float32
					for i := range 4 {
						d[i] = at(h-u.Pad[0]+i, w-u.Pad[1]+j, c)
					}
					for i, p := range places(d) {
						t[i][j] = p
					}
				}
				for i := range 4 {
					for j, p := range places(t[i]) {
						v[c][4*i+j] = p
					}
				}
			}
			for o := range u.Out.C {
				var m [4][4]float32
				for k := range 16 {
					sum := float32(0)
					for c := range v {
						sum = fused(v[c][k], filters[o*u.In.C+c][k], sum)
					}
					m[k/4][k%4] = sum
				}
				var s [2][4]float32
				for j := range 4 {
					for i, p := range outputs([4]float32{m[0][j], m[1][j], m[2][j], m[3][j]}) {
						s[i][j] = p
					}
				}
				for i := range 2 {
					for j, p := range outputs(s[i]) {
						if h+i < u.Out.H && w+j < u.Out.W {
							y[((h+i)*u.Out.W+w+j)*u.Out.C+o] = p + bias[o]
						}
					}
				}
			}
		}
	}
	return y
}

// fused is x·y + z, rounded once. The product is exact in float64. Their sum is rounded to odd
// there, so that rounding it to float32 is as if it were the first.
func fused(x, y, z float32) float32 {
	p := float64(x) * float64(y)
	sum := p + float64(z)
	// What the sum lost, exactly: Knuth's two-sum.
	b := sum - p
	lost := (p - (sum - b)) + (float64(z) - b)
	if bits := math.Float64bits(sum); lost != 0 && bits&1 == 0 {
		if (lost > 0) == (sum > 0) {
			bits++
		} else {
			bits--
		}
		sum = math.Float64frombits(bits)
	}
	return float32(sum)
}

// TestFused holds fused to a case in which rounding twice is wrong.
func TestFused(t *testing.T) {
	// 1 + 2^-24 is half way between two numbers of float32, and what is added to it, far below
	// float64's last bit, decides.
	x, z := float32(0x1p-40), float32(1+0x1p-23)
	for _, c := range []struct{ x, y, z, want float32 }{
		{0x1p-24 + 0x1p-47, 1, 1, 1 + 0x1p-23},
		{0x1p-12 + 0x1p-35, 0x1p-12 - 0x1p-35, 1, 1},
		{0x1p-12 + 0x1p-35, 0x1p-12 + 0x1p-35, 1, 1 + 0x1p-23},
		{x, 0x1p-40, z, z},
		{3, 5, -15, 0},
	} {
		if got := fused(c.x, c.y, c.z); got != c.want {
			t.Errorf("%g·%g + %g is %v, want %v", c.x, c.y, c.z, got, c.want)
		}
	}
}

// expand puts images [n, H, W, C] into rows of the device, with NaN beyond the channels.
func expand(v []float32, s shape) []float32 {
	out := make([]float32, len(v)/s.channels*s.pitch)
	for i := range out {
		if out[i] = nan; i%s.pitch < s.channels {
			out[i] = v[i/s.pitch*s.channels+i%s.pitch]
		}
	}
	return out
}

// normal draws n numbers.
func normal(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// sameBits fails t unless got, images of shape s, has the bits of want [n, H, W, C], and +0 beyond
// the channels. A NaN is as good as another.
func sameBits(t *testing.T, what string, got, want []float32, s shape) {
	t.Helper()
	for i, v := range got {
		w := float32(0)
		if c := i % s.pitch; c < s.channels {
			w = want[i/s.pitch*s.channels+c]
		}
		if math.Float32bits(v) != math.Float32bits(w) && !(v != v && w != w) {
			t.Errorf("%s: image %d, pixel %d, channel %d is %v, want %v", what, i/s.width, i%s.width/s.pitch, i%s.pitch, v, w)
			return
		}
	}
}

// TestWinograd compares both ways of convolutions by tiles with the formulas in plain Go, bit for
// bit: with a ReLU, with something to add to, and a few images at a time.
func TestWinograd(t *testing.T) {
	onNothing(t, func(p *card) {
		for _, c := range tiledCases {
			r := rand.New(rand.NewPCG(uint64(c.in.C), 14))
			l := c.convolution(r)
			a, err := p.newConv(l, c.relu, "fp32")
			check(t, err)
			filter := lower.Filter(l.Weight.Shape(), l.Weight.Data().([]float32))
			for _, way := range []struct {
				name   string
				pass   pass
				places lower.Unfold
				weight func(o, c, u, v int) float32
				bias   []float32
				relu   bool
			}{
				{"forward", a.there, l.Unfold, filter, l.Bias.Data().([]float32), c.relu},
				{"back", a.back, *l.Back, lower.FlipTranspose(l, filter), make([]float32, c.in.C), false},
			} {
				w, ok := way.pass.(*winograd)
				if !ok {
					t.Errorf("%+v goes %s by a %T", c, way.name, way.pass)
					continue
				}
				w.take(c.piece)
				images := normal(r, c.n*way.places.In.Size())
				for i := range images {
					if r.IntN(3) == 0 {
						images[i] = 0
					}
				}
				images[len(images)-1] = nan // reaches all outputs of its tiles, and no ReLU hides it
				var want []float32
				for i := range c.n {
					want = append(want, byTiles(way.places, way.weight, way.bias, images[i*way.places.In.Size():][:way.places.In.Size()])...)
				}
				if way.relu {
					for i, v := range want {
						if v < 0 {
							want[i] = 0
						}
					}
				}
				tiledOf(t, p, fmt.Sprintf("%+v %s", c, way.name), w, expand(images, w.x), want, c.n)
			}
		}
	})
}

// tiledOf runs w on n images x, alone, with something to add to, and in place.
func tiledOf(t *testing.T, p *card, what string, w *winograd, x, want []float32, n int) {
	t.Helper()
	net := bare(p)
	check(t, p.grow(&net.columns, int64(4*w.columns(n))))
	dev := there(t, p, x)
	others := normal(rand.New(rand.NewPCG(1, 15)), len(want))
	for _, how := range []string{"alone", "and others", "in place"} {
		beyond, sum := whole(rand.New(rand.NewPCG(1, 16)), w.y, n+1), want
		y, from := there(t, p, beyond), cu.DevicePtr(0)
		if how != "alone" {
			from = there(t, p, append(expand(others, w.y), beyond[n*w.y.width:]...))
			sum = make([]float32, len(want))
			for i := range sum {
				sum[i] = others[i] + want[i]
			}
		}
		if how == "in place" {
			y = from
		}
		check(t, w.run(net, y, from, dev, n))
		untouched(t, p, what+", "+how, y, beyond, n*w.y.width)
		sameBits(t, what+", "+how, back[float32](t, p, y, n*w.y.width), sum, w.y)
	}
}

// TestPasses wants tiles where the lowering has them, one way or both, and only in math mode fp32.
// Whatever the pass, both ways are the convolution of whole numbers, which is exact.
func TestPasses(t *testing.T) {
	need(t)
	const n = 3
	for _, c := range []struct {
		name              string
		mode              string
		there, back, none bool // whether the windows are tiled, and whether there are none back
		pad               int
		want              string
	}{
		{name: "both", mode: "fp32", there: true, back: true, pad: 1, want: "*gpu.winograd *gpu.winograd"},
		{name: "forward", mode: "fp32", there: true, pad: 1, want: "*gpu.winograd *gpu.unfolding"},
		{name: "back", mode: "fp32", back: true, pad: 1, want: "*gpu.unfolding *gpu.winograd"},
		{name: "neither", mode: "fp32", pad: 1, want: "*gpu.unfolding *gpu.unfolding"},
		{name: "back by col2im", mode: "fp32", there: true, none: true, pad: 3, want: "*gpu.winograd *gpu.folding"},
		{name: "col2im alone", mode: "fp32", none: true, pad: 3, want: "*gpu.unfolding *gpu.folding"},
		{name: "3xtf32", mode: "3xtf32", there: true, back: true, pad: 1, want: "*gpu.unfolding *gpu.unfolding"},
		{name: "tf32", mode: "tf32", there: true, back: true, pad: 1, want: "*gpu.unfolding *gpu.unfolding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(mathModes(t)) == 1 && c.mode != "fp32" {
				t.Skip("the device has no tensor cores for TF32")
			}
			onNothing(t, func(p *card) {
				r := rand.New(rand.NewPCG(1, 17))
				l := tiledCase{in: lower.Shape{C: 18, H: 5, W: 4}, out: 17, pad: [4]int{c.pad, c.pad, c.pad, c.pad}}.convolution(r)
				for _, v := range [][]float32{l.Weight.Data().([]float32), l.Bias.Data().([]float32)} {
					for i := range v {
						v[i] = float32(4 * (r.IntN(5) - 2)) // a quarter of it is whole
					}
				}
				form := func(tiled bool) *lower.Tile {
					if tiled {
						return lower.Tile2
					}
					return nil
				}
				l.Tile, l.Back.Tile = form(c.there), form(c.back)
				if c.none {
					l.Back = nil
				}
				a, err := p.newConv(l, false, c.mode)
				check(t, err)
				if got := fmt.Sprintf("%T %T", a.there, a.back); got != c.want {
					t.Errorf("passes %s, want %s", got, c.want)
				}
				net := bare(p)
				x, d := newValue(t, p, r, l.In, n), newValue(t, p, r, l.Out, n)
				check(t, p.grow(&net.columns, int64(4*a.columns(n))))
				check(t, p.grow(&net.spare, int64(4*n*x.width)))
				filter := lower.Filter(l.Weight.Shape(), l.Weight.Data().([]float32))
				// terms calls f for all of a number's terms.
				terms := func(h, w, o int, f func(h, w, i int, weight float64)) {
					for i := range l.In.C {
						for u := range 3 {
							for v := range 3 {
								if y, s := h+u-c.pad, w+v-c.pad; y >= 0 && y < l.In.H && s >= 0 && s < l.In.W {
									f(y, s, i, float64(filter(o, i, u, v)))
								}
							}
						}
					}
				}
				y := there(t, p, make([]float32, n*d.width))
				check(t, a.forward(net, y, []cu.DevicePtr{x.ptr}, n))
				expect(t, "forward", back[float32](t, p, y, n*d.width), d.shape, n, 0, func(image, pixel, o int) float64 {
					sum := float64(l.Bias.Data().([]float32)[o])
					terms(pixel/l.Out.W, pixel%l.Out.W, o, func(h, w, i int, weight float64) { sum += weight * x.at(image, h, w, i) })
					return sum
				})
				sums := make([]float64, n*x.width)
				for image := range n {
					every(l.Out, func(h, w, o int) {
						terms(h, w, o, func(y, s, i int, weight float64) {
							sums[image*x.width+(y*l.In.W+s)*x.pitch+i] += weight * d.at(image, h, w, o)
						})
					})
				}
				zero(t, p, d)
				with(t, p, r, x.shape, n, func(dx, from cu.DevicePtr) error { return a.backward(net, dx, from, d.ptr, nil, 0, n) },
					func(how string, dx []float32, before func(image, pixel, c int) float64) {
						expect(t, "back, "+how, dx, x.shape, n, 0, func(image, pixel, i int) float64 {
							return before(image, pixel, i) + sums[image*x.width+pixel*x.pitch+i]
						})
					})
			})
		})
	}
}

// zero clears the padding of v on the device: products take it as part of a row.
func zero(t *testing.T, p *card, v *layerValue) {
	t.Helper()
	for i := range v.v {
		if i%v.pitch >= v.channels {
			v.v[i] = 0
		}
	}
	check(t, upload(p.device, v.ptr, v.v))
}

// TestTooManyTiles has an image whose tiles kernels can't count.
func TestTooManyTiles(t *testing.T) {
	onNothing(t, func(p *card) {
		s := lower.Shape{C: 16, H: 2, W: 1 << 30}
		_, err := p.newWinograd("c", lower.Unfold{In: s, Out: s, Tile: lower.Tile2}, nil, nil, false)
		if want := "gpu: layer c makes 536870912 tiles of 16 and 16 channels of an image, want at most 8388480"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

// TestWinogradPieces wants as many images at a time as share the planned memory, and one at least.
func TestWinogradPieces(t *testing.T) {
	onNothing(t, func(p *card) {
		defer func(n int) { p.multiprocessors = n }(p.multiprocessors)
		p.multiprocessors = 132
		for _, c := range []struct{ channels, side, want int }{
			{64, 32, 16}, {256, 8, 66}, {512, 4, 132}, {64, 224, 1},
		} {
			s := lower.Shape{C: c.channels, H: c.side, W: c.side}
			w, err := p.newWinograd("c", lower.Unfold{In: s, Out: s, Tile: lower.Tile2}, func(_, _, _, _ int) float32 { return 0 },
				tensor.New(tensor.WithShape(c.channels), tensor.Of(tensor.Float32)), false)
			check(t, err)
			if w.images != c.want {
				t.Errorf("%d channels of %d×%d: %d images at a time, want %d", c.channels, c.side, c.side, w.images, c.want)
			}
			few, all := w.columns(1), w.columns(1000)
			if one := 16 * c.side * c.side / 4 * 2 * c.channels; few != one || all != c.want*one {
				t.Errorf("%d channels: %d floats for an image and %d for many, want %d and %d", c.channels, few, all, one, c.want*one)
			}
		}
	})
}
