package corrupt

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestTransformations: the grid of 125 is what the paper's ranges give, the clean image among it.
func TestTransformations(t *testing.T) {
	all := StandardGrid.Transformations()
	if len(all) != 125 {
		t.Fatalf("%d transformations, want 125", len(all))
	}
	zero := 0
	for _, m := range all {
		if m.IsZero() {
			zero++
		}
		if !slices.Contains([]float64{-30, -15, 0, 15, 30}, m.Rotation) || !slices.Contains([]float64{-3, -1.5, 0, 1.5, 3}, m.Right) || !slices.Contains([]float64{-3, -1.5, 0, 1.5, 3}, m.Down) {
			t.Errorf("%v is not of the grid", m)
		}
	}
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Transformation) int {
		for _, d := range []float64{a.Rotation - b.Rotation, a.Down - b.Down, a.Right - b.Right} {
			if d != 0 {
				return int(math.Copysign(1, d))
			}
		}
		return 0
	})
	if zero != 1 || !slices.Equal(sorted, all) || len(slices.Compact(sorted)) != 125 {
		t.Errorf("%d transformations are the clean image; want one, all different, in order", zero)
	}
	for _, c := range []struct {
		g    Grid
		want string
	}{
		{Grid{4, 30, 5, 3}, "4 rotations"}, {Grid{5, 30, 0, 3}, "0 shifts"}, {Grid{5, math.NaN(), 5, 3}, "±NaN°"}, {Grid{5, 30, 5, math.Inf(1)}, "±+Inf pixels"}, {Grid{1001, 30, 5, 3}, "1001 rotations"},
	} {
		if err := c.g.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.g, err, c.want)
		}
	}
	if err := StandardGrid.Validate(); err != nil {
		t.Error(err)
	}
}

// TestTransformationClosedForms: the identity to the bit; whole shifts are shifted arrays; a half
// shift is the mean of two; quarter turns of a square are a transpose and a flip.
func TestTransformationClosedForms(t *testing.T) {
	for _, shape := range [][3]int{{1, 28, 28}, {3, 5, 8}, {1, 1, 1}} {
		src := randomImage(3, shape[0], shape[1], shape[2])
		if got := (Transformation{}).Apply(src); !slices.Equal(got.Pixels, src.Pixels) {
			t.Errorf("%v: the transformation of nothing changes bits", shape)
		}
		at := func(c, r, s int) float64 {
			if r < 0 || r >= src.H || s < 0 || s >= src.W {
				return 0
			}
			return src.Pixels[(c*src.H+r)*src.W+s]
		}
		each := func(m Transformation, tolerance float64, want func(c, r, s int) float64) {
			t.Helper()
			got := m.Apply(src)
			for i, v := range got.Pixels {
				c, r, s := i/(src.H*src.W), i/src.W%src.H, i%src.W
				if w := want(c, r, s); !(math.Abs(v-w) <= tolerance) {
					t.Fatalf("%v %v: pixel %d %d %d is %v, want %v", shape, m, c, r, s, v, w)
				}
			}
		}
		each(Transformation{Right: 3, Down: -2}, 0, func(c, r, s int) float64 { return at(c, r+2, s-3) })
		each(Transformation{Right: 1.5}, 1e-15, func(c, r, s int) float64 { return (at(c, r, s-2) + at(c, r, s-1)) / 2 })
		each(Transformation{Right: 100}, 0, func(c, r, s int) float64 { return 0 })
		if shape[1] != shape[2] {
			continue
		}
		n := shape[1] - 1
		// Counterclockwise: the top row is what was the right column, from above.
		each(Transformation{Rotation: 90}, 1e-13, func(c, r, s int) float64 { return at(c, s, n-r) })
		each(Transformation{Rotation: -90}, 1e-13, func(c, r, s int) float64 { return at(c, n-s, r) })
		each(Transformation{Rotation: 180}, 1e-13, func(c, r, s int) float64 { return at(c, n-r, n-s) })
		// First the turn and then the shift.
		each(Transformation{Rotation: 90, Right: 2}, 1e-13, func(c, r, s int) float64 {
			if s -= 2; s < 0 {
				return 0
			}
			return at(c, s, n-r)
		})
	}
}

// TestTransformationBilinear holds every transformation of the grid to the sum over all pixels of
// the image, each with the weight max(0, 1-|dy|)·max(0, 1-|dx|) of its distance.
func TestTransformationBilinear(t *testing.T) {
	src := randomImage(4, 2, 7, 9)
	for _, m := range StandardGrid.Transformations() {
		got := m.Apply(src)
		sin, cos := math.Sincos(m.Rotation / 180 * math.Pi)
		for i, v := range got.Pixels {
			c, r, s := i/63, i/9%7, i%9
			// From the middle, y upwards, shifted back and turned back by the rotation.
			x, y := float64(s)-4-m.Right, 3-(float64(r)-m.Down)
			px, py := 4+(cos*x+sin*y), 3-(-sin*x+cos*y)
			want := 0.0
			for row := range 7 {
				for col := range 9 {
					want += max(0, 1-math.Abs(py-float64(row))) * max(0, 1-math.Abs(px-float64(col))) * src.Pixels[(c*7+row)*9+col]
				}
			}
			if !(math.Abs(v-want) < 1e-13) {
				t.Fatalf("%v: pixel %d %d %d is %v, want %v", m, c, r, s, v, want)
			}
		}
	}
}
