//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// The tests of this file give to one kernel at a time what a whole batch seldom has.

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

// onDevice runs f on the thread of a card that has an MLP of these sizes and n loaded images.
func onDevice(t *testing.T, mode string, n int, sizes []int, f func(p *card)) {
	t.Helper()
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, sizes...)
	b := open(t, m, Options{MathMode: mode})
	must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, sizes[0]), tensor.WithBacking(make([]float32, n*sizes[0]))), make([]int32, n)))
	p := b.cards[0]
	must(t, p.do(func() error { f(p); return nil }))
}

// there copies s to memory of the device, which is freed when the backend is closed.
func there[T any](t *testing.T, p *card, s []T) cu.DevicePtr {
	t.Helper()
	ptr, err := p.alloc(int64(8 * len(s)))
	if err == nil {
		err = upload(p.device, ptr, s)
	}
	if err != nil {
		t.Error(err)
	}
	return ptr
}

// back copies n elements from the device.
func back[T any](t *testing.T, p *card, ptr cu.DevicePtr, n int) []T {
	t.Helper()
	s := make([]T, n)
	if err := download(p.device, s, ptr); err != nil {
		t.Error(err)
	}
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// TestAffineNotFinite has infinities and NaN in x, dz and the mask. They must reach the elements
// that depend on them, and the padding must stay 0.
func TestAffineNotFinite(t *testing.T) {
	for _, mode := range mathModes(t) {
		for _, outs := range []int{3, 35} { // odd, in a narrow and in a wide tile
			t.Run(fmt.Sprint(mode, "/", outs), func(t *testing.T) {
				const in, rows = 5, 3
				onDevice(t, mode, rows, []int{in, outs, 2}, func(p *card) {
					l := &p.mlp.layers[0]
					wide, long := padded(outs), padded(in)
					x := make([]float32, rows*long)
					x[0], x[long+1] = inf, nan // the last row is 0
					y := there(t, p, make([]float32, rows*wide))
					check(t, p.affineForward(y, there(t, p, x), l, p.mlp.zeros.DevicePtr, true, rows))
					for i, v := range back[float32](t, p, y, rows*wide) {
						row, col := i/wide, i%wide
						switch {
						case (col >= outs || row == 2) && v != 0:
							t.Errorf("y[%d, %d] = %v, want 0", row, col, v)
						case col < outs && row == 1 && v == v:
							t.Errorf("y[%d, %d] = %v, want NaN", row, col, v)
						}
					}
					dz, h := make([]float32, rows*wide), make([]float32, rows*long)
					dz[0], dz[wide] = inf, 1
					for i := range in {
						// The mask is shut where dz is infinite, NaN in row 1, and open where dz is
						// 0.
						h[i], h[long+i], h[2*long+i] = 0, nan, 1
					}
					dx := there(t, p, make([]float32, rows*long))
					check(t, p.affineBackward(dx, there(t, p, dz), l, there(t, p, h), rows))
					w := back[float32](t, p, l.w, outs*long)
					for i, v := range back[float32](t, p, dx, rows*long) {
						row, col := i/long, i%long
						want := float32(0)
						if row == 1 && col < in {
							want = w[col] // of output 0
						}
						if !(math.Abs(float64(v-want)) <= 0x1p-10*math.Abs(float64(want))) {
							t.Errorf("dx[%d, %d] = %v, want %v", row, col, v, want)
						}
					}
					check(t, p.affineBackward(dx, there(t, p, dz), l, 0, rows))
					for i, v := range back[float32](t, p, dx, rows*long) {
						if row, col := i/long, i%long; col >= in && v != 0 || row == 0 && col < in && v-v == 0 {
							t.Errorf("without a mask dx[%d, %d] = %v", row, col, v)
						}
					}
				})
			})
		}
	}
}

// TestLossGradient has logits whose exp is infinite, and a microbatch that begins inside an image.
func TestLossGradient(t *testing.T) {
	need(t)
	onDevice(t, "fp32", 2, []int{4, 3}, func(p *card) {
		check(t, upload(p.device, p.loaded.labels.DevicePtr, []int32{0, 2}))
		z := make([]float32, 3*16)
		copy(z, []float32{1000, 990, 985})
		copy(z[16:], []float32{-2000, -1990, 3000})
		copy(z[32:], []float32{1, 1, 1})
		q := there(t, p, slices.Repeat([]float32{nan}, len(z)))
		// Row 1 of the batch is of image 0, and rows 2 and 3 are of image 1.
		check(t, p.lossGradient(q, there(t, p, z), span{0, 1, 3, 2}, objective{}))
		got := back[float32](t, p, q, len(z))
		for r, label := range []int{0, 2, 2} {
			row := make([]float64, 3)
			for j := range row {
				row[j] = float64(z[16*r+j])
			}
			for j, want := range append(ref.LossGradient(row, label), make([]float64, 13)...) {
				if v := float64(got[16*r+j]); !(math.Abs(v-want) <= 0x1p-23*math.Abs(want)) {
					t.Errorf("q[%d, %d] = %v, want %v", r, j, v, want)
				}
			}
		}
	})
}

// TestLosses checks the other losses: with ties, with classes that a formula names twice, and with
// logits that are not finite.
func TestLosses(t *testing.T) {
	need(t)
	type row struct {
		z      []float32
		label  int32
		target int32 // -1: none
		want   []float32
	}
	third := float32(1) / 3
	for name, c := range map[string]struct {
		loss attack.Loss
		rows []row
	}{
		"margin": {attack.Margin, []row{
			{[]float32{1, 3, 3, 0, 0}, 0, -1, []float32{-1, 1, 0, 0, 0}}, // the first on a tie
			{[]float32{1, 3, 3, 0, 0}, 1, -1, []float32{0, -1, 1, 0, 0}},
			{[]float32{-5, -4, -3, -2, -1}, 4, -1, []float32{0, 0, 0, 1, -1}},
			{[]float32{0, 0, 0, nan, 0}, 4, -1, []float32{nan, 0, 0, 0, 0}},
			{[]float32{0, inf, 0, 0, 0}, 4, -1, []float32{nan, 0, 0, 0, 0}},
			{[]float32{0, 0, 0, 0, -inf}, 0, -1, []float32{nan, 0, 0, 0, 0}},
		}},
		"margin t": {attack.Margin, []row{
			{[]float32{1, 3, 3, 0, 0}, 0, 2, []float32{0, -1, 1, 0, 0}},
			{[]float32{1, 3, 3, 0, 0}, 0, 1, []float32{0, 1, -1, 0, 0}},
			{[]float32{9, 3, 3, 0, 0}, 0, 4, []float32{-1, 0, 0, 0, 1}},
		}},
		"dlr": {attack.DLR, []row{
			// right
			{[]float32{3, 1, 2, 0, 0}, 0, -1, []float32{-0.5, -0.5, 1, 0, 0}},
			// wrong, the label below the third
			{[]float32{3, 1, 2, 0, -9}, 3, -1, []float32{-1 + 2*third, 1, 0, -2 * third, 0}},
			// the label is the second
			{[]float32{3, 2, 0, -9, 1}, 1, -1, []float32{0.5, -1, 0, 0, 0.5}},
			// the label is the third: the loss is 1
			{[]float32{3, 2, 0, -9, 1}, 4, -1, []float32{0, 0, 0, 0, 0}},
			// no denominator
			{[]float32{1, 1, 1, 0, 0}, 1, -1, []float32{1, -1, 0, 0, 0}},
			// no numerator
			{[]float32{2, 2, 1, 0, 0}, 1, -1, []float32{1, -1, 0, 0, 0}},
			// hardly a denominator
			{[]float32{1e-40, 0, 1e-40, 0, -1}, 4, -1, []float32{-1, 1, 0, 0, 0}},
			// differences that overflow
			{[]float32{3e38, -3e38, 0, -3e38, -3e38}, 1, -1, []float32{0, 0, 0, 0, 0}},
			{[]float32{3, 1, nan, 0, 0}, 0, -1, []float32{nan, 0, 0, 0, 0}},
			{[]float32{3, 1, 2, 0, -inf}, 0, -1, []float32{nan, 0, 0, 0, 0}},
		}},
		"dlr t": {attack.DLR, []row{
			{[]float32{4, 2, 1, 0, -1}, 0, 3, []float32{0.125, 0, -0.5, 0.375, 0}},
			{[]float32{4, 2, 1, 0, -1}, 0, 4, []float32{0.3, 0, -0.5, -0.5, 0.7}},
			{[]float32{1, 1, 1, 1, 1}, 0, 2, []float32{-1, 0, 1, 0, 0}}, // no denominator
		}},
		"cross-entropy t": {attack.CrossEntropy, []row{
			{[]float32{1, 1, 1, 1, 1}, 0, 2, []float32{-0.25, -0.25, 1, -0.25, -0.25}},
			{[]float32{900, -900, 0, 900, 0}, 3, 1, []float32{-0.5, 1, 0, -0.5, 0}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := len(c.rows)
			onDevice(t, "fp32", n, []int{4, 5}, func(p *card) {
				z, labels, targets := make([]float32, 16*n), make([]int32, n), make([]int32, n)
				var o objective
				for r, row := range c.rows {
					copy(z[16*r:], row.z)
					z[16*r+5] = 1e30 // beyond the classes
					labels[r], targets[r] = row.label, row.target
				}
				o.loss = c.loss
				if targets[0] >= 0 {
					o.targets = there(t, p, targets)
				}
				check(t, upload(p.device, p.loaded.labels.DevicePtr, labels))
				q := there(t, p, slices.Repeat([]float32{9}, 16*n))
				check(t, p.lossGradient(q, there(t, p, z), span{0, 0, n, 1}, o))
				got := back[float32](t, p, q, 16*n)
				for r, row := range c.rows {
					for j, want := range append(row.want, make([]float32, 11)...) {
						// Numbers of size 1 are rounded a few times.
						if v := got[16*r+j]; !(math.Abs(float64(v-want)) <= 4*0x1p-24) && (v == v || want == want) {
							t.Errorf("row %d: q[%d] = %v, want %v", r, j, v, want)
						}
					}
				}
			})
		})
	}
}

// TestSignOf has rows in which one pixel is not 0, or not finite, in turn at every kind of place:
// each lane of a warp has several pixels.
func TestSignOf(t *testing.T) {
	need(t)
	const inputs, width = 70, 80
	pixels := []int{1, 31, 63, 69, 32, 0} // those of lane 0 last
	onDevice(t, "fp32", 2, []int{inputs, 3}, func(p *card) {
		results := there(t, p, []int32{0, 0})
		p.batch.results = buffer{results, 8}
		for _, v := range []float32{1e-45, -1e-45, 3e38, nan, inf, -inf} {
			g := make([]float32, (len(pixels)+1)*width) // the last row is all 0
			for k, i := range pixels {
				g[k*width+i] = v
				g[k*width+inputs] = 1 // beyond the row
			}
			rows := len(pixels) + 1
			check(t, upload(p.device, at(results, 1, 4), []int32{math.MaxInt32}))
			d, zero := there(t, p, slices.Repeat([]int8{9}, rows*width)), there(t, p, make([]byte, rows))
			c := span{lo: 40, first: 7, n: rows, E: 2} // rows 7 to 13 are images 43 to 46
			check(t, p.signOf(d, zero, there(t, p, g), c))
			signs, flags := back[int8](t, p, d, rows*width), back[byte](t, p, zero, rows)
			for i, s := range signs {
				want := int8(0)
				if row, col := i/width, i%width; row < len(pixels) && col == pixels[row] {
					if v > 0 {
						want = 1
					} else if v < 0 {
						want = -1
					}
				}
				if s != want {
					t.Errorf("%v: d[%d, %d] = %d, want %d", v, i/width, i%width, s, want)
				}
			}
			for k, z := range flags {
				if want := k == len(pixels) || v != v; (z != 0) != want {
					t.Errorf("%v: zero[%d] = %d, want %v", v, k, z, want)
				}
			}
			want := int32(math.MaxInt32)
			if v-v != 0 {
				want = 43
			}
			if got := back[int32](t, p, at(results, 1, 4), 1)[0]; got != want {
				t.Errorf("%v: broken image %d, want %d", v, got, want)
			}
		}
	})
}

// TestRandomSigns compares with attack.RandomSigns, also for seeds and images that need 64 bits.
func TestRandomSigns(t *testing.T) {
	need(t)
	const inputs, width = 150, 160
	onDevice(t, "fp32", 1, []int{inputs, 3}, func(p *card) {
		for _, first := range []int{0, 1<<32 - 2, 7 << 32} {
			for _, seed := range []uint64{5, 5 | 3<<40} {
				d := there(t, p, slices.Repeat([]int8{9}, 4*width))
				check(t, p.randomSigns(d, seed, first, 6, 4))
				got := back[int8](t, p, d, 4*width)
				for k := range 4 {
					want := make([]int8, width)
					attack.RandomSigns(want[:inputs], seed, first+k, 0, 6)
					if !slices.Equal(got[k*width:][:width], want) {
						t.Errorf("first %d, seed %d: image %d differs", first, seed, k)
					}
				}
			}
		}
	})
}

// TestDirection is TestSignOf for direction, with and without momentum.
func TestDirection(t *testing.T) {
	need(t)
	const inputs, width = 70, 80
	pixels := []int{1, 31, 63, 69, 32, 0}
	for _, momentum := range []bool{false, true} {
		for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
			onDevice(t, "fp32", 2, []int{inputs, 3}, func(p *card) {
				results := there(t, p, []int32{0, 0})
				p.batch.results = buffer{results, 8}
				for _, v := range []float32{1e-45, -3, 3e38, nan, inf, -inf} {
					rows := len(pixels) + 1
					// Rows 7 to 13 are of images 43 to 46.
					c := span{lo: 40, first: 7, n: rows, E: 2}
					// The last row of g is 0.
					g, m := make([]float32, rows*width), make([]float32, (c.first+rows)*width)
					for k, i := range pixels {
						g[k*width+i] = v
						g[k*width+inputs] = 1 // beyond the row
						m[(c.first+k)*width+i] = 2
						m[(c.first+k)*width+inputs] = 7
					}
					m[(c.first+rows-1)*width+5] = 3
					check(t, upload(p.device, at(results, 1, 4), []int32{math.MaxInt32}))
					zero := there(t, p, make([]byte, rows))
					p.batch.zero = buffer{zero - cu.DevicePtr(c.first), int64(rows)}
					p.general.by = buffer{there(t, p, make([]float64, rows)), int64(8 * rows)}
					p.general.m = buffer{there(t, p, m), int64(4 * len(m))}
					check(t, p.direction(c, there(t, p, g), attack.Step{Momentum: momentum, Decay: 0.5, Norm: norm}, 1))
					flags, by := back[byte](t, p, zero, rows), back[float64](t, p, p.general.by.DevicePtr, rows)
					m = back[float32](t, p, p.general.m.DevicePtr, len(m))
					for k := range rows {
						if want := k == len(pixels); (flags[k] != 0) != want {
							t.Errorf("%v: zero[%d] = %d, want %v", v, k, flags[k], want)
						}
						if v-v != 0 {
							continue
						}
						// One pixel has all of |g|, whose mean is 1/70 of it. The last row has no
						// gradient.
						now, length := 1+math.Copysign(inputs, float64(v)), math.Abs(float64(v))
						if !momentum {
							now = 2
						}
						pixel := 5
						if k < len(pixels) {
							pixel = pixels[k]
						} else if now, length = 1.5, 0; !momentum {
							now = 3
						}
						if momentum {
							length = math.Abs(now)
						}
						want := 1.0
						if norm == attack.L2 && length > 0 {
							want = length
						}
						if !(math.Abs(by[k]-want) <= 0x1p-50*want) {
							t.Errorf("%v: by[%d] = %v, want %v", v, k, by[k], want)
						}
						for i, got := range m[(c.first+k)*width:][:width] {
							want := 0.0
							if i == pixel {
								want = now
							} else if i == inputs && k < len(pixels) {
								want = 7
							}
							if !(math.Abs(float64(got)-want) <= 0x1p-23*math.Abs(want)) {
								t.Errorf("%v: m[%d, %d] = %v, want %v", v, k, i, got, want)
							}
						}
					}
					for _, got := range m[:c.first*width] {
						if got != 0 {
							t.Errorf("%v: m of a row before the microbatch is %v", v, got)
							break
						}
					}
					want := int32(math.MaxInt32)
					if v-v != 0 {
						want = 43
					}
					if got := back[int32](t, p, at(results, 1, 4), 1)[0]; got != want {
						t.Errorf("%v: broken image %d, want %d", v, got, want)
					}
				}
				p.batch.zero = buffer{}
			})
		}
	}
}

// TestMomentumOverflow has a finite gradient that makes a momentum that is not finite.
func TestMomentumOverflow(t *testing.T) {
	need(t)
	onDevice(t, "fp32", 1, []int{16, 3}, func(p *card) {
		results := there(t, p, []int32{0, math.MaxInt32})
		p.batch.results = buffer{results, 8}
		m := make([]float32, 16)
		m[3] = 3e38
		p.batch.zero = buffer{there(t, p, make([]byte, 1)), 1}
		p.general.by = buffer{there(t, p, make([]float64, 1)), 8}
		p.general.m = buffer{there(t, p, m), 64}
		check(t, p.direction(span{5, 0, 1, 1}, there(t, p, slices.Repeat([]float32{1}, 16)), attack.Step{Momentum: true, Decay: 2}, 1))
		if got := back[int32](t, p, at(results, 1, 4), 1)[0]; got != 5 {
			t.Errorf("broken image %d, want 5", got)
		}
		p.batch.zero = buffer{}
	})
}

// TestDraw compares with attack.RandomSigns and attack.UniformDraw, also for seeds and images that
// need 64 bits.
func TestDraw(t *testing.T) {
	need(t)
	const inputs, width = 150, 160
	restarts := []int{0, 1, 65535}
	onDevice(t, "fp32", 1, []int{inputs, 3}, func(p *card) {
		p.general.restarts = buffer{there(t, p, []int32{0, 1, 65535}), 12}
		c := span{lo: 3, first: 4, n: 7, E: 3} // images 4 to 6 of the loaded ones
		p.general.aside = buffer{there(t, p, make([]float32, c.n*width)), int64(4 * c.n * width)}
		p.general.by = buffer{there(t, p, make([]float64, c.n)), int64(8 * c.n)}
		for _, first := range []int{0, 1<<32 - 5, 7 << 32} {
			for _, seed := range []uint64{5, 5 | 3<<40} {
				for _, direction := range []attack.Direction{attack.RandomSign, attack.Uniform} {
					for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
						for _, named := range []bool{false, true} {
							p.loaded.first = first
							s := attack.Step{Direction: direction, Norm: norm, Seed: seed, Index: 6}
							if named {
								s.Restarts = restarts
							}
							check(t, upload(p.device, p.general.aside.DevicePtr, slices.Repeat([]float32{9}, c.n*width)))
							check(t, p.draw(c, s))
							got := back[float32](t, p, p.general.aside.DevicePtr, c.n*width)
							by := back[float64](t, p, p.general.by.DevicePtr, c.n)
							for k := range c.n {
								image, restart := first+c.lo+(c.first+k)/c.E, 0
								if named {
									restart = restarts[(c.first+k)%c.E]
								}
								want, times := make([]float32, width), 1.0
								switch u := attack.NewUniformDraw(seed, image, restart, 6); {
								case direction == attack.RandomSign:
									signs := make([]int8, inputs)
									attack.RandomSigns(signs, seed, image, restart, 6)
									for i, v := range signs {
										want[i] = float32(v)
									}
									if norm == attack.L2 {
										times = math.Sqrt(inputs)
									}
								case norm == attack.Linf:
									for i := range inputs {
										want[i] = float32(u.Linf(i))
									}
								default:
									v := make([]int32, inputs)
									f := u.L2(v)
									for i, v := range v {
										want[i] = float32(float64(v) * f)
									}
								}
								if !slices.Equal(got[k*width:][:width], want) || by[k] != times {
									t.Errorf("%+v, first %d: row %d differs, by %v", s, first, k, by[k])
								}
							}
						}
					}
				}
			}
		}
	})
}

// TestRoundPixels has pixels near levels and between them. Some clean pixels are not on a level, or
// not in [0, 1].
func TestRoundPixels(t *testing.T) {
	need(t)
	const off = 1e-5 // of a level, within what float32 errs by
	for _, c := range []struct {
		norm       attack.Norm
		x, x0, eps float64 // in levels
		want       float32
	}{
		{attack.Linf, 10.4, 10, 1, 10},
		{attack.Linf, 10.6, 10, 1, 11},
		{attack.Linf, 10.6, 10, 0.9, 10}, // 11 is not in the ball
		{attack.Linf, 9.4, 10, 0.9, 10},
		{attack.Linf, 11, 10, 1 - off, 11}, // in the ball but for rounding
		{attack.Linf, 9, 10, 1 - off, 9},
		{attack.Linf, 11, 10, 1 - 0.01, 10},
		{attack.Linf, 8.6, 10.3, 1.5, 9},
		{attack.Linf, 10.55, 10.45, 0.2, 10}, // no level in the ball: that next to the clean pixel
		{attack.Linf, 0.2, 0, 0.3, 0},
		{attack.Linf, -3.2, 0, 5, 0},
		{attack.Linf, 258, 254, 9, 255},
		{attack.Linf, -2.7, -3, 1, 0}, // no level of [0, 255] in the ball
		{attack.Linf, 300, 301, 9, 255},
		{attack.Linf, 10, 10, 0, 10},
		{attack.Linf, 127.5, 127, 9, 128}, // to even
		{attack.L2, 10.9, 10, 9, 10},
		{attack.L2, 9.1, 10, 9, 10},
		{attack.L2, 12.5, 10, 9, 12},
		{attack.L2, 7.5, 10, 9, 8},
		{attack.L2, 12 - off, 10, 9, 12}, // is that level
		{attack.L2, 12 + off, 10, 9, 12},
		{attack.L2, 8 + off, 10, 9, 8},
		{attack.L2, 12 - 0.01, 10, 9, 11},
		{attack.L2, 10.9, 10.7, 9, 11}, // x0 between two levels
		{attack.L2, 10.1, 10.25, 9, 10},
		{attack.L2, 127.75, 127.5, 9, 127}, // a tie
		{attack.L2, -3.5, 0, 9, 0},
		{attack.L2, 257.5, 258, 9, 255},
	} {
		onDevice(t, "fp32", 1, []int{17, 3}, func(p *card) {
			p.batch.lo, p.batch.images, p.batch.eps = 0, 1, []float32{0, float32(c.eps / 255)}
			x, x0 := make([]float32, 2*32), make([]float32, 32)
			for _, i := range []int{0, 16} {
				x0[i], x[i], x[32+i] = float32(c.x0/255), float32(c.x0/255), float32(c.x/255)
			}
			x[32+17] = 0.1 // padding
			p.batch.sizes = buffer{there(t, p, []float32{5, 5, p.batch.eps[0], p.batch.eps[1]}), 16}
			p.batch.x = buffer{there(t, p, x), 256}
			p.loaded.x0 = buffer{there(t, p, x0), 128}
			p.position.fresh = false
			check(t, p.roundPixels(t.Context(), c.norm))
			got := back[float32](t, p, p.batch.x.DevicePtr, 64)
			for _, i := range []int{32, 48} {
				if got[i] != c.want/255 {
					t.Errorf("%v, x %v, x0 %v, eps %v: %v levels, want %v", c.norm, c.x, c.x0, c.eps, 255*got[i], c.want)
				}
			}
			if got[40] != 0 || got[49] != 0.1 {
				t.Errorf("pixel 8 is %v, want 0; the padding %v, want 0.1", got[40], got[49])
			}
			p.batch.x, p.loaded.x0, p.batch.sizes, p.batch.eps = buffer{}, buffer{}, buffer{}, nil
		})
	}
}

// TestNorms has differences whose squares are too small or too large for float32, in every lane of
// a warp.
func TestNorms(t *testing.T) {
	need(t)
	const inputs, width = 70, 80
	onDevice(t, "fp32", 3, []int{inputs, 3}, func(p *card) {
		p.batch.lo, p.batch.images, p.batch.eps = 1, 2, []float32{0, 1} // images 1 and 2
		p.position.fresh = false
		x, x0 := make([]float32, 4*width), make([]float32, 3*width)
		for i := range x0 {
			x0[i] = float32(i)
		}
		for r := range 4 {
			copy(x[r*width:][:width], x0[(1+r/2)*width:])
			x[r*width+inputs] = 1e30 // padding
		}
		x[width+33] += 3
		x[width+69] -= 4
		for i := range inputs {
			x0[2*width+i], x[2*width+i] = 0, 1e-30
			x[3*width+i] = -1e30
		}
		p.batch.x, p.loaded.x0 = buffer{there(t, p, x), int64(4 * len(x))}, buffer{there(t, p, x0), int64(4 * len(x0))}
		results := there(t, p, []int32{math.MaxInt32, math.MaxInt32})
		p.batch.results = buffer{results, 8}
		got := make([]attack.Norms, 4)
		check(t, p.collect(t.Context(), func() error { return p.rowNorms(t.Context(), got) }))
		root := math.Sqrt(inputs)
		for r, want := range []attack.Norms{{}, {Linf: 4, L2: 5, L0: 2}, {Linf: 1e-30, L2: float32(root * 1e-30), L0: inputs}, {Linf: 1e30, L2: float32(root * 1e30), L0: inputs}} {
			// No float32 is 1e-30, so L2 is √70 of the one next to it.
			if g := got[r]; g.Linf != want.Linf || g.L0 != want.L0 || !(math.Abs(float64(g.L2-want.L2)) <= 0x1p-22*float64(want.L2)) {
				t.Errorf("row %d: %+v, want %+v", r, g, want)
			}
		}
		p.batch.x, p.loaded.x0, p.batch.eps = buffer{}, buffer{}, nil
	})
}

// TestRayForward has a NaN before the ReLU, and rows that begin in the middle of an image.
func TestRayForward(t *testing.T) {
	need(t)
	onDevice(t, "fp32", 2, []int{4, 3, 2}, func(p *card) {
		p.mlp.layers[0].relu = true
		a, c := make([]float32, 2*16), make([]float32, 2*16)
		copy(a, []float32{1, -1, 2})
		copy(a[16:], []float32{nan, 4, -0.5})
		copy(c[16:], []float32{1, -1, 1})
		p.position.rayA, p.position.rayC = buffer{there(t, p, a), 128}, buffer{there(t, p, c), 128}
		p.batch.sizes = buffer{there(t, p, []float32{0, 1}), 8}
		p.mlp.act[0] = buffer{there(t, p, make([]float32, 3*16)), 192}
		p.mlp.act[1] = buffer{there(t, p, make([]float32, 3*16)), 192} // the logits, which are not judged
		_, err := p.rayForward(span{0, 1, 3, 2})
		check(t, err)
		got := back[float32](t, p, p.mlp.act[0].DevicePtr, 3*16)
		for r, want := range [][]float32{{1, 0, 2}, {nan, 4, 0}, {nan, 3, 0.5}} {
			for j, v := range append(want, make([]float32, 13)...) {
				if g := got[r*16+j]; g != v && (g == g || v == v) {
					t.Errorf("y[%d, %d] = %v, want %v", r, j, g, v)
				}
			}
		}
	})
}
