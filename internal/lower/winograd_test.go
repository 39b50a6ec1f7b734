package lower

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/model"
)

// A transforms is those of the doc comment along one dimension.
type transforms struct {
	*Tile
	in, out func(d []float64) []float64
}

var allTransforms = []transforms{
	{Tile2, func(d []float64) []float64 {
		return []float64{d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]}
	}, func(m []float64) []float64 {
		return []float64{m[0] + m[1] + m[2], m[1] - m[2] + m[3]}
	}},
	{Tile4, func(d []float64) []float64 {
		e, f := d[4]-d[2], d[3]-d[1]
		return []float64{d[0] - d[2] + e + f + f/2, d[4] - d[1] + 2*d[3] + (d[3]+d[2])/2, d[4] + d[1] - 2*d[2] + (d[3]-d[2])/2,
			e + 2*f, 2*e - f, d[5] - d[3] - f + e + e/2}
	}, func(m []float64) []float64 {
		return []float64{m[1] + m[2] + m[0] + 2*m[3] + m[4]/4, m[1] - m[2] + m[3] - m[4]/2, m[1] + m[2] + m[4] + m[3]/2, m[1] - m[2] + m[3]/4 - 2*m[4] + m[5]}
	}},
}

// twice applies f down the columns of d and then along its rows.
func twice(d [][]float64, f func(d []float64) []float64) [][]float64 {
	var down [][]float64
	for j := range d[0] {
		column := make([]float64, len(d))
		for i := range d {
			column[i] = d[i][j]
		}
		down = append(down, f(column))
	}
	var all [][]float64
	for i := range down[0] {
		row := make([]float64, len(down))
		for j := range down {
			row[j] = down[j][i]
		}
		all = append(all, f(row))
	}
	return all
}

// TestWinograd computes tiles in float64 by the formulas of the doc comment, and wants the sums of
// windows, within the rounding of some hundred numbers of size 1.
func TestWinograd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, x := range allTransforms {
		for range 100 {
			var g [9]float64
			for i := range g {
				g[i] = r.NormFloat64()
			}
			wide := x.Wide()
			d, k := make([][]float64, wide), make([]float64, x.Places())
			for i := range d {
				d[i] = make([]float64, wide)
				for j := range d[i] {
					d[i][j] = r.NormFloat64()
				}
			}
			Winograd(x.Tile, Filter([]int{1, 1, 3, 3}, g[:]), 0, 0, k)
			m := twice(d, x.in)
			for i := range m {
				for j := range m[i] {
					m[i][j] *= k[i*wide+j]
				}
			}
			for i, row := range twice(m, x.out) {
				for j, y := range row {
					want := 0.0
					for u := range 3 {
						for v := range 3 {
							want += float64(g[3*u+v] * d[i+u][j+v])
						}
					}
					if e := math.Abs(y - want); !(e < 500*0x1p-52) {
						t.Fatalf("size %d: output %d, %d of a tile is %g, want %g", x.Size, i, j, y, want)
					}
				}
			}
		}
	}
}

// TestTileNorms compares the norms of a Tile with those of the matrices of its transforms. By
// Collatz and Wielandt the largest quotient of (MᵀM·x)/x is not below the square of the norm of M
// where all elements of M and x are positive or 0, and of x positive.
func TestTileNorms(t *testing.T) {
	for _, x := range allTransforms {
		for _, c := range []struct {
			name string
			of   func(d []float64) []float64
			norm float64
		}{{"in", x.in, x.In}, {"out", x.out, x.Out}} {
			var m [][]float64 // by column
			for j := range x.Wide() {
				one := make([]float64, x.Wide())
				one[j] = 1
				column := c.of(one)
				for i, v := range column {
					column[i] = math.Abs(v)
				}
				m = append(m, column)
			}
			v, norm := make([]float64, len(m)), 0.0
			for j := range v {
				v[j] = 1
			}
			for range 200 {
				y := make([]float64, len(m[0]))
				for j, column := range m {
					for i, e := range column {
						y[i] += e * v[j]
					}
				}
				norm = 0
				most := 0.0
				for j, column := range m {
					sum := 0.0
					for i, e := range column {
						sum += e * y[i]
					}
					norm = max(norm, math.Sqrt(sum/v[j]))
					v[j] = sum
					most = max(most, sum)
				}
				for j := range v {
					v[j] /= most
				}
			}
			if !(norm < c.norm*(1+1e-12) && norm > 0.99*c.norm) {
				t.Errorf("size %d, %s: a norm of %.17g, want at most %.17g and not much less", x.Size, c.name, norm, c.norm)
			}
			if c.name == "in" {
				continue
			}
			for i := range m[0] {
				sum := 0.0
				for _, column := range m {
					sum += column[i]
				}
				if sum > x.Widest {
					t.Errorf("size %d: row %d of the outputs sums up %g, want at most %g", x.Size, i, sum, x.Widest)
				}
			}
		}
	}
}

// TestMagnitudes wants weights that no signs of a filter make larger.
func TestMagnitudes(t *testing.T) {
	for _, x := range allTransforms {
		most := make([]float64, x.Places())
		Winograd(x.Magnitudes(), func(_, _, _, _ int) float64 { return 1 }, 0, 0, most)
		reached := make([]float64, x.Places())
		for signs := range 1 << 9 {
			k := make([]float64, x.Places())
			Winograd(x.Tile, func(_, _, u, v int) float64 { return 1 - float64(signs>>(3*u+v)&1*2) }, 0, 0, k)
			for i, w := range k {
				reached[i] = max(reached[i], math.Abs(w))
			}
		}
		for i := range most {
			if d := most[i] - reached[i]; !(math.Abs(d) < 1e-15) {
				t.Errorf("size %d, place %d: at most %g, want %g", x.Size, i, most[i], reached[i])
			}
		}
	}
}

// TestTiled wants tiles for windows of 3×3 side by side with channels enough, both ways.
func TestTiled(t *testing.T) {
	same := Unfold{In: Shape{16, 8, 8}, Out: Shape{16, 8, 8}, Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	forms := []*Tile{Tile2, Tile4}
	if same.tile(forms) == nil {
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
		if change(&u); u.tile(forms) != nil {
			t.Errorf("%s: tiled", name)
		}
	}
	for side := Tile2.least; side < 40; side++ {
		u := same
		u.Out.H, u.Out.W = side, side
		want := Tile4
		if side < Tile4.least || side == 5 || side == 6 { // 9 tiles of 16 products, or 4 of 36
			want = Tile2
		}
		if got := u.tile(forms); got != want || u.tile(forms[:1]) != Tile2 {
			t.Errorf("%d by %d outputs have tiles of %d, want %d, and of 2 where there is no other", side, side, got.Size, want.Size)
		}
	}
	odd := same
	odd.Out = Shape{16, 7, 4}
	if rows, cols := odd.Tiles(); rows != 4 || cols != 2 {
		t.Errorf("%d by %d tiles of 7 by 4 outputs, want 4 by 2", rows, cols)
	}
	odd.Tile = Tile4
	if rows, cols := odd.Tiles(); rows != 2 || cols != 1 {
		t.Errorf("%d by %d tiles of 7 by 4 outputs, want 2 by 1", rows, cols)
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
		if l.Tile == nil || (l.Back.Tile != nil) != c.tiled {
			t.Errorf("%s: tiled %t forward and %t back, want true and %t", c.name, l.Tile != nil, l.Back.Tile != nil, c.tiled)
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

// TestMath wants larger tiles in fast math, the usual ones else, and an error for another name.
func TestMath(t *testing.T) {
	m := &model.Model{Input: []int{32, 8, 8}, Layers: []model.Layer{conv("c", 16, 32, 3, 1, 1)}}
	for name, want := range map[Math]*Tile{Default: Tile2, Fast: Tile4} {
		p, err := NewMath(m, name)
		if err != nil {
			t.Fatal(err)
		}
		if l := p.Ops[0].Operation.(*Convolution); l.Tile != want || l.Back.Tile != want {
			t.Errorf("%s: tiles of %d and back of %d, want %d", name, l.Tile.Size, l.Back.Tile.Size, want.Size)
		}
	}
	if _, err := NewMath(m, "slow"); err == nil || err.Error() != `lower: math "slow", want default or fast` {
		t.Errorf("%v, want an error that names slow and what there is", err)
	}
}

// TestTies wants Ties of convolutions below a max-pool, however far, and of no others.
func TestTies(t *testing.T) {
	half := [2]int{2, 2}
	pool := model.MaxPool2D{Kernel: half, Stride: half}
	m := &model.Model{Input: []int{32, 16, 16}, From: [][]int{{-1}, {0}, {1}, {1}, {2, 3}, {4}, {5}}, Layers: []model.Layer{
		conv("a", 16, 32, 3, 1, 1), model.ReLU{}, conv("b", 16, 16, 3, 1, 1), conv("c", 16, 16, 3, 1, 1), model.Add{}, pool, conv("d", 16, 16, 3, 1, 1)}}
	p, err := NewMath(m, Fast)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range p.Ops {
		if c, ok := op.Operation.(*Convolution); ok && (c.Ties != (c.Name != "d") || c.Back.Ties) {
			t.Errorf("%s: ties %t and back %t, want %t and false", c.Name, c.Ties, c.Back.Ties, c.Name != "d")
		}
	}
}
