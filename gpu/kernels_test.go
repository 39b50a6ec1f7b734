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

// What a whole batch seldom meets is handed here to one kernel at a time.

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

// onDevice runs f on the thread of a part that holds a model of these sizes and n images.
func onDevice(t *testing.T, product string, n int, sizes []int, f func(p *part)) {
	t.Helper()
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, sizes...)
	b := open(t, m, Options{Product: product})
	must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, sizes[0]), tensor.WithBacking(make([]float32, n*sizes[0]))), make([]int32, n)))
	p := b.parts[0]
	must(t, p.do(func() error { f(p); return nil }))
}

// there copies s to the device.
func there[T any](t *testing.T, p *part, s []T) cu.DevicePtr {
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
func back[T any](t *testing.T, p *part, ptr cu.DevicePtr, n int) []T {
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

// TestAffineNotFinite has infinities and NaN in x, dz and the mask: they go where they belong, and the padding stays 0.
func TestAffineNotFinite(t *testing.T) {
	for _, product := range products(t) {
		for _, outs := range []int{3, 35} { // odd, in a narrow and in a wide tile
			t.Run(fmt.Sprint(product, "/", outs), func(t *testing.T) {
				const in, rows = 5, 3
				onDevice(t, product, rows, []int{in, outs, 2}, func(p *part) {
					l := &p.layers[0]
					wide, long := padded(outs), padded(in)
					x := make([]float32, rows*long)
					x[0], x[long+1] = inf, nan // the last row is 0
					y := there(t, p, make([]float32, rows*wide))
					check(t, p.affineForward(y, there(t, p, x), l, p.zeros.DevicePtr, true, rows))
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
						h[i], h[long+i], h[2*long+i] = 0, nan, 1 // shut under an infinity; not known; open under 0
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

// TestLossGradient has logits beyond what exp can take, and two images of which a chunk begins in the second.
func TestLossGradient(t *testing.T) {
	need(t)
	onDevice(t, "fp32", 2, []int{4, 3}, func(p *part) {
		check(t, upload(p.device, p.labels.DevicePtr, []int32{0, 2}))
		z := make([]float32, 3*16)
		copy(z, []float32{1000, 990, 985})
		copy(z[16:], []float32{-2000, -1990, 3000})
		copy(z[32:], []float32{1, 1, 1})
		q := there(t, p, slices.Repeat([]float32{nan}, len(z)))
		check(t, p.lossGradient(q, there(t, p, z), span{0, 1, 3, 2}, objective{})) // row 1 of the batch is image 0, rows 2 and 3 are image 1
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

// TestSignOf has rows with one pixel that is not 0, or not finite, wherever it may lie.
func TestSignOf(t *testing.T) {
	need(t)
	const inputs, width = 70, 80
	pixels := []int{1, 31, 63, 69, 32, 0} // those of lane 0 last
	onDevice(t, "fp32", 2, []int{inputs, 3}, func(p *part) {
		results := there(t, p, []int32{0, 0})
		p.deviceResults = buffer{results, 8}
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

// TestRandomSigns compares with attack.RandomSigns where both words of seed and image count.
func TestRandomSigns(t *testing.T) {
	need(t)
	const inputs, width = 150, 160
	onDevice(t, "fp32", 1, []int{inputs, 3}, func(p *part) {
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

// TestRayForward has a NaN before the ReLU, and rows that begin in the middle of an image.
func TestRayForward(t *testing.T) {
	need(t)
	onDevice(t, "fp32", 2, []int{4, 3, 2}, func(p *part) {
		p.layers[0].relu = true
		a, c := make([]float32, 2*16), make([]float32, 2*16)
		copy(a, []float32{1, -1, 2})
		copy(a[16:], []float32{nan, 4, -0.5})
		copy(c[16:], []float32{1, -1, 1})
		p.rayA, p.rayC = buffer{there(t, p, a), 128}, buffer{there(t, p, c), 128}
		p.sizes = buffer{there(t, p, []float32{0, 1}), 8}
		p.act[0] = buffer{there(t, p, make([]float32, 3*16)), 192}
		check(t, p.rayForward(span{0, 1, 3, 2}))
		got := back[float32](t, p, p.act[0].DevicePtr, 3*16)
		for r, want := range [][]float32{{1, 0, 2}, {nan, 4, 0}, {nan, 3, 0.5}} {
			for j, v := range append(want, make([]float32, 13)...) {
				if g := got[r*16+j]; g != v && (g == g || v == v) {
					t.Errorf("y[%d, %d] = %v, want %v", r, j, g, v)
				}
			}
		}
	})
}
