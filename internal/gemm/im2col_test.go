package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestIm2col compares products, to the bit, with those of a copy of each window.
func TestIm2col(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testIm2col[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testIm2col[float64](t, path) })
	}
}

func testIm2col[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		g Im2col
		n int
	}{
		{Im2col{Rows: 1, Cols: 1, RowStride: 0, ColStride: 0, Segments: []Segment{{3, 1}}, Step: 1}, 1},
		{Im2col{Rows: 7, Cols: 9, RowStride: 31, ColStride: 2, Segments: []Segment{{0, 5}, {40, 5}, {17, 1}}, Step: 1}, 16},
		{Im2col{Rows: 5, Cols: 5, RowStride: 40, ColStride: 8, Segments: []Segment{{0, 24}}, Step: 1}, 33},
		{Im2col{Rows: 4, Cols: 3, RowStride: 11, ColStride: 1, Segments: []Segment{{0, 3}, {11, 3}}, Step: 1}, 90},
		{Im2col{Rows: 2, Cols: 14, RowStride: 900, ColStride: 3, Segments: []Segment{{7, 700}, {800, 700}}, Step: 1}, 7},
		{Im2col{Rows: 11, Cols: 2, RowStride: 9, ColStride: 3, Segments: []Segment{{0, 1}, {5, 2}}, Step: 1}, 100},
		{Im2col{Rows: 3, Cols: 12, RowStride: 30, ColStride: 1, Segments: []Segment{{0, 9}, {120, 9}, {240, 9}}, Step: 4}, 32},
		{Im2col{Rows: 1, Cols: 9, RowStride: 0, ColStride: 1, Segments: []Segment{{0, 600}}, Step: 3}, 81},
		{Im2col{Rows: 2, Cols: 2, RowStride: 12, ColStride: 2, Segments: []Segment{{1, 4}, {13, 4}}, Step: 1, Images: 13, ImageStride: 37, Below: 4*36 + 5}, 33},
		{Im2col{Rows: 3, Cols: 5, RowStride: 12, ColStride: 2, Segments: []Segment{{1, 4}, {13, 4}}, Step: 1, Images: 6, ImageStride: 49, Below: 15*83 + 2}, 80},
		{Im2col{Rows: 4, Cols: 4, RowStride: 30, ColStride: 5, Segments: []Segment{{1, 9}}, Step: 2, Images: 4, ImageStride: 150, Below: 16*11 + 1}, 8},
		// one row of windows behind the other, and one image behind the other in a, and in c too
		{Im2col{Rows: 4, Cols: 4, RowStride: 36, ColStride: 9, Segments: []Segment{{0, 9}}, Step: 1}, 40},
		{Im2col{Rows: 3, Cols: 3, RowStride: 21, ColStride: 7, Segments: []Segment{{0, 7}}, Step: 1, Images: 7, ImageStride: 63, Below: 9*17 + 1}, 14},
		{Im2col{Rows: 3, Cols: 3, RowStride: 21, ColStride: 7, Segments: []Segment{{0, 7}}, Step: 1, Images: 7, ImageStride: 63, Below: 9 * 17}, 14},
	} {
		k := 0
		for _, segment := range c.g.Segments {
			k += segment.N
		}
		a, b, bias := random[T](r, 5000), random[T](r, k*c.n), random[T](r, c.n+100)
		m := NewMatrix[T](path, k, c.n)
		m.Pack(b, c.n, 1)
		ldc, rows, images := c.n+3, c.g.Rows*c.g.Cols, max(1, c.g.Images)
		got := random[T](r, images*max(c.g.Below, rows*ldc))
		want := append([]T(nil), got...)
		copied := make([]T, images*rows*k)
		var s Scratch[T]
		multiply := func() {
			for image := range images {
				m.MulAdd(want[image*c.g.Below:], ldc, copied[image*rows*k:], k, 1, rows, &s)
			}
		}
		for row := range images * rows {
			image, window := row/rows, row%rows
			at := image*c.g.ImageStride + window/c.g.Cols*c.g.RowStride + window%c.g.Cols*c.g.ColStride
			to := copied[row*k:]
			for _, segment := range c.g.Segments {
				for i := range segment.N {
					to[i] = a[at+segment.At+i*c.g.Step]
				}
				to = to[segment.N:]
			}
			copy(want[image*c.g.Below+window*ldc:][:c.n], bias)
		}
		multiply()
		m.MulIm2col(got, ldc, bias, a, &c.g, &s)
		equal(t, fmt.Sprintf("%+v", c.g), got, want)
		multiply()
		m.MulIm2col(got, ldc, nil, a, &c.g, &s)
		equal(t, fmt.Sprintf("%+v on what is there", c.g), got, want)
	}
}
