package lower

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/model"
)

// TestWinograd computes tiles in float64 by the formulas of the doc comment, and wants the sums of
// windows, within the rounding of some twenty numbers of size 1.
func TestWinograd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	down := func(d [4]float64) [4]float64 { return [4]float64{d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]} }
	for range 100 {
		var g [9]float64
		for i := range g {
			g[i] = r.NormFloat64()
		}
		var d, m [4][4]float64
		for i := range d {
			for j := range d {
				d[i][j] = r.NormFloat64()
			}
		}
		k := Winograd(Filter([]int{1, 1, 3, 3}, g[:]), 0, 0)
		for j := range 4 {
			c := down([4]float64{d[0][j], d[1][j], d[2][j], d[3][j]})
			for i := range 4 {
				m[i][j] = c[i]
			}
		}
		for i := range 4 {
			m[i] = down(m[i])
			for j := range 4 {
				m[i][j] *= k[4*i+j]
			}
		}
		var y [2][2]float64
		for i := range 2 {
			var s [4]float64
			for j := range 4 {
				if s[j] = m[0][j] + m[1][j] + m[2][j]; i == 1 {
					s[j] = m[1][j] - m[2][j] + m[3][j]
				}
			}
			y[i] = [2]float64{s[0] + s[1] + s[2], s[1] - s[2] + s[3]}
		}
		for i := range 2 {
			for j := range 2 {
				want := 0.0
				for u := range 3 {
					for v := range 3 {
						want += float64(g[3*u+v] * d[i+u][j+v])
					}
				}
				if e := math.Abs(y[i][j] - want); !(e < 100*0x1p-52) {
					t.Fatalf("output %d, %d of a tile is %g, want %g", i, j, y[i][j], want)
				}
			}
		}
	}
}

// TestTiled wants tiles for windows of 3×3 side by side with channels enough, both ways.
func TestTiled(t *testing.T) {
	same := Unfold{In: Shape{16, 8, 8}, Out: Shape{16, 8, 8}, Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	if !same.tiles() {
		t.Error("a plain convolution is not tiled")
	}
	for name, change := range map[string]func(u *Unfold){
		"a kernel of 3 by 2": func(u *Unfold) { u.Kernel[1] = 2 },
		"a stride":           func(u *Unfold) { u.Stride[0] = 2 },
		"a dilation":         func(u *Unfold) { u.Dilation[1] = 2 },
		"groups":             func(u *Unfold) { u.Groups = 2 },
		"few channels":       func(u *Unfold) { u.In.C = 15 },
		"few filters":        func(u *Unfold) { u.Out.C = 15 },
		"a low image":        func(u *Unfold) { u.Out.H = 2 },
		"a narrow image":     func(u *Unfold) { u.Out.W = 2 },
	} {
		u := same
		if change(&u); u.tiles() {
			t.Errorf("%s: tiled", name)
		}
	}
	odd := same
	odd.Out = Shape{16, 7, 4}
	if rows, cols := odd.Tiles(); rows != 4 || cols != 2 {
		t.Errorf("%d by %d tiles of 7 by 4 outputs, want 4 by 2", rows, cols)
	}
}

// TestPooled wants no tiles for a gradient that comes from a max-pool and is mostly zero.
func TestPooled(t *testing.T) {
	same, half := [2]int{1, 1}, [2]int{2, 2}
	for _, c := range []struct {
		name  string
		from  [][]int
		after []model.Layer
		tiled bool
	}{
		{"a ReLU", nil, []model.Layer{model.ReLU{}}, true},
		{"a pool", nil, []model.Layer{model.MaxPool2D{Kernel: half, Stride: half}}, false},
		{"a ReLU and a pool", nil, []model.Layer{model.ReLU{}, model.MaxPool2D{Kernel: half, Stride: half}}, false},
		{"a pool whose windows overlap", nil, []model.Layer{model.MaxPool2D{Kernel: [2]int{3, 3}, Stride: half}}, true},
		{"a pool of one place", nil, []model.Layer{model.MaxPool2D{Kernel: same, Stride: same}}, true},
		{"an average", nil, []model.Layer{model.AvgPool2D{Kernel: half, Stride: half}}, true},
		{"a pool, and an Add of what it takes", [][]int{{-1}, {0}, {1}, {0}, {2, 3}}, []model.Layer{
			model.ReLU{}, model.MaxPool2D{Kernel: half, Stride: half}, model.AvgPool2D{Kernel: half, Stride: half}, model.Add{}}, true},
	} {
		m := &model.Model{Input: []int{32, 8, 8}, From: c.from, Layers: append([]model.Layer{conv("c", 16, 32, 3, 1, 1)}, c.after...)}
		l := program(t, m).Ops[0].Operation.(*Convolution)
		if !l.Tiled || l.Back.Tiled != c.tiled {
			t.Errorf("%s: tiled %t forward and %t back, want true and %t", c.name, l.Tiled, l.Back.Tiled, c.tiled)
		}
	}
}

// TestInside compares the windows in which a column is a pixel with those that are found one by one.
func TestInside(t *testing.T) {
	for in := 1; in <= 6; in++ {
		for kernel := 1; kernel <= 3; kernel++ {
			for stride := 1; stride <= 3; stride++ {
				for pad := range 4 {
					for dilation := 1; dilation <= 3; dilation++ {
						out := (in+2*pad-(kernel-1)*dilation-1)/stride + 1
						if in+2*pad < (kernel-1)*dilation+1 {
							continue
						}
						w := newUnfold(Shape{1, 1, in}, Shape{1, 1, out}, [2]int{1, kernel}, [2]int{1, stride}, [4]int{0, pad, 0, pad}, [2]int{1, dilation}, 1)
						for v := range kernel {
							lo, hi, col := w.Inside(v)
							for o := range out {
								at := o*stride + v*dilation - pad
								inside := at >= 0 && at < in
								if inside != (o >= lo && o < hi) || inside && at != col+(o-lo)*stride {
									t.Fatalf("%+v, column %d: window %d has column %d of the image, and yet %d to %d, from column %d on, are inside", w, v, o, at, lo, hi-1, col)
								}
							}
						}
					}
				}
			}
		}
	}
}
