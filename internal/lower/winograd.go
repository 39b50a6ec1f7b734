package lower

import (
	"fmt"
	"math"

	"advsweep/internal/words"
)

// A convolution of 3×3 windows side by side may be computed by Winograd's F(s×s, 3×3): Lavin and
// Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1. A tile of s×s
// outputs takes (s+2)² products, where 9·s² terms would be summed. A form of it is a Tile.
//
// Unfold.Tile says which convolutions are computed so, and by which form. A gradient that comes
// from a max-pool is not, see Program.pooled. The bits are the same on all backends that have the
// form. Each sum and each difference below is rounded.
//
// Tile (i, j) makes the outputs of rows s·i to s·i+s-1 and of columns s·j to s·j+s-1, as far as
// there are such. It takes the (s+2)² pixels d from (s·i - Pad[0], s·j - Pad[1]) on, which are 0
// outside of the image. For each channel the tile is transformed down its columns and then along
// its rows. Place k = (s+2)·row + column of the result has a product of its own. It is a chain of
// fused multiply-adds that starts at 0, over rising channels, with the weights that Winograd gives.
// The (s+2)² numbers m of an output channel are transformed down columns and then along rows, and
// the bias is added. A gradient has a bias of 0, which is added too.
//
// An output is 0 to the bit, if its bias is 0, where all that its window has is 0.
//
// F(2×2, 3×3) takes 16 products for four outputs. Its sums are shorter than those of a product with
// the im2col matrix, by nine, and its float32 error is smaller. Its transforms are
//
//	t0 = d0 - d2, t1 = d1 + d2, t2 = d2 - d1, t3 = d3 - d1,
//	y0 = (m0 + m1) + m2, y1 = (m1 - m2) + m3.
//
// F(4×4, 3×3) takes 36 products for sixteen outputs. Its float32 error is two to three times that
// of the product with the im2col matrix. It interpolates at 0, 1, -1, 1/2, -2 and infinity, which
// errs less than 2 in place of 1/2: Barabasz, Anderson, Soodhalter and Gregg 2020, "Error Analysis
// and Improving the Accuracy of Winograd Convolution for Deep Neural Networks". With e = d4 - d2
// and f = d3 - d1 its transforms are
//
//	t0 = (((d0 - d2) + e) + f) + f/2
//	t1 = ((d4 - d1) + 2·d3) + (d3 + d2)/2
//	t2 = ((d4 + d1) - 2·d2) + (d3 - d2)/2
//	t3 = e + 2·f
//	t4 = 2·e - f
//	t5 = (((d5 - d3) - f) + e) + e/2,
//
//	y0 = (((m1 + m2) + m0) + 2·m3) + m4/4
//	y1 = ((m1 - m2) + m3) - m4/2
//	y2 = ((m1 + m2) + m4) + m3/2
//	y3 = (((m1 - m2) + m3/4) - 2·m4) + m5.
//
// A factor is fused with the sum that it is in: the exact product is added, and the sum is rounded
// once. All factors are powers of two.
//
// The transforms of F(4×4, 3×3) leave of a window that is all zero a number near 0, where the rest
// of its tile is not zero. Such an output is set to 0 before the bias is added: each one of which
// no pixel in the 3×3 window has a channel other than 0. Else a gradient of 0 would get a sign, and
// a sign decides of a step. With F(2×2, 3×3) nothing need be set.
//
// Windows that are the same and lie side by side, as in an image that is flat somewhere, have the
// same output with F(2×2, 3×3) where they are in one tile, and mostly else. With F(4×4, 3×3) they
// have not, and a max-pool above would choose among them by rounding. So where Unfold.Ties is set,
// a window is joined with the one on its left where all numbers of both are equal, and with the one
// above. All that are joined so, one with the next, get the output of the first, by rows and then
// by columns. Windows that are all zero are not among them.

// A Tile is a form of Winograd's F(Size×Size, 3×3). There is one of each size: they are compared as
// pointers, and nothing changes them.
type Tile struct {
	Size int // rows, and columns, of the outputs of a tile
	// least is the least height and width of what tiles of this form make.
	least int
	// filter has a row for each place along one dimension: the factors of the three weights of a
	// filter.
	filter [6][3]float64
	// Mended says that outputs of windows that are all zero are set to 0, and that with Unfold.Ties
	// windows that are the same have the same output.
	Mended bool
	// In and Out bound the norms of the matrices of the transforms, with magnitudes as elements,
	// along one dimension.
	In, Out float64
	// Widest is the largest sum of magnitudes of a row of the matrix of outputs.
	Widest float64
	// Roundings is how often a term is rounded besides those of its chain: by both transforms along
	// both dimensions, as a weight and with the bias.
	Roundings int
}

// Wide is the rows, and the columns, of what a tile takes.
func (t *Tile) Wide() int { return t.Size + 2 }

// Places is how many places the transform of a tile has.
func (t *Tile) Places() int { return t.Wide() * t.Wide() }

// Magnitudes returns a form whose weights are sums of magnitudes: no weight of t is larger than the
// one that it has for the magnitudes of a filter.
func (t *Tile) Magnitudes() *Tile {
	m := *t
	for i, row := range m.filter {
		for u, v := range row {
			m.filter[i][u] = math.Abs(v)
		}
	}
	return &m
}

// Tile2 is F(2×2, 3×3) and Tile4 F(4×4, 3×3).
var (
	Tile2 = &Tile{
		Size:   2,
		least:  3, // below it a window is mostly padding
		filter: [6][3]float64{{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
		In:     2.2882456112707372, Out: 2.2360679774997898, // √(3+√5), √5
		Widest: 3, Roundings: 16,
	}
	Tile4 = &Tile{
		Size: 4,
		// An image of one tile has too few products for the time that reading the weights takes.
		least: 5,
		filter: [6][3]float64{
			{1, 0, 0}, {third, third, third}, {-third, third, -third},
			{-4 * fifteenth, -2 * fifteenth, -fifteenth}, {fifteenth, -2 * fifteenth, 4 * fifteenth}, {0, 0, 1},
		},
		Mended: true,
		In:     7.04, Out: 3.98,
		Widest: 5.25, Roundings: 26,
	}
)

// third is 1/3, and fifteenth 2/15, in float64.
const third, fifteenth = float64(1.0 / 3), float64(2.0 / 15)

// A Math is a choice among ways of computing that differ in speed and in rounding.
type Math string

// Default is what results are compared in. Fast takes larger tiles, with larger errors.
const (
	Default Math = "default"
	Fast    Math = "fast"
)

// tilesOf lists the forms that a Math chooses from. A later one is taken where it has fewer
// products.
var tilesOf = []struct {
	Math
	forms []*Tile
}{
	{Default, []*Tile{Tile2}},
	{Fast, []*Tile{Tile2, Tile4}},
}

// Maths lists the names of all, the default first.
func Maths() (list []string) {
	for _, m := range tilesOf {
		list = append(list, string(m.Math))
	}
	return list
}

// forms returns the forms of m, or an error that lists the names that there are.
func (m Math) forms() ([]*Tile, error) {
	for _, t := range tilesOf {
		if t.Math == m {
			return t.forms, nil
		}
	}
	return nil, fmt.Errorf("math %q, want %s", m, words.Or(Maths()))
}

// fewTiled is the least number of channels, on either side, for which tiles pay: below it the
// transforms take as long as what they save.
const fewTiled = 16

// tile returns the form by which the convolution of w is computed, of those that there are, or nil.
func (w Unfold) tile(forms []*Tile) (best *Tile) {
	one := [2]int{1, 1}
	if w.Kernel != [2]int{3, 3} || w.Stride != one || w.Dilation != one || w.Groups != 1 ||
		min(w.In.C, w.Out.C) < fewTiled {
		return nil
	}
	for _, t := range forms {
		if min(w.Out.H, w.Out.W) >= t.least && (best == nil || w.products(t) < w.products(best)) {
			best = t
		}
	}
	return best
}

// products is how many products an image takes by t, for each channel on both sides.
func (w Unfold) products(t *Tile) int {
	w.Tile = t
	rows, cols := w.Tiles()
	return rows * cols * t.Places()
}

// Tiles returns how many tiles there are, by rows and columns. Of a convolution without tiles it
// counts those of F(2×2, 3×3).
func (w Unfold) Tiles() (rows, cols int) {
	size := Tile2.Size
	if w.Tile != nil {
		size = w.Tile.Size
	}
	return (w.Out.H + size - 1) / size, (w.Out.W + size - 1) / size
}

// Winograd writes to k the weights of the products of t, by place, for the filter of output o and
// channel c, which weight gives by row u and column v of the window. They are computed in float64
// and rounded once. A filter is transformed as the tiles are, down columns and then along rows.
// With F(2×2, 3×3) that is by
//
//	g0, (g0/2 + g1/2) + g2/2, (g0/2 - g1/2) + g2/2, g2,
//
// and with F(4×4, 3×3), r = 1/3 and s = 2/15, by
//
//	g0, (r·g0 + r·g1) + r·g2, (-r·g0 + r·g1) - r·g2,
//	(-4s·g0 - 2s·g1) - s·g2, (s·g0 - 2s·g1) + 4s·g2, g2.
func Winograd[E float32 | float64](t *Tile, weight func(o, c, u, v int) E, o, c int, k []E) {
	wide := t.Wide()
	filter := t.filter[:wide]
	k = k[:wide*wide]
	var down [6][3]float64
	for v := range 3 {
		g0, g1, g2 := float64(weight(o, c, 0, v)), float64(weight(o, c, 1, v)), float64(weight(o, c, 2, v))
		for i := range filter {
			f := &filter[i]
			down[i][v] = float64(float64(f[0]*g0)+float64(f[1]*g1)) + float64(f[2]*g2)
		}
	}
	for i := range filter {
		g0, g1, g2 := down[i][0], down[i][1], down[i][2]
		for j := range filter {
			f := &filter[j]
			k[j] = E(float64(float64(f[0]*g0)+float64(f[1]*g1)) + float64(f[2]*g2))
		}
		k = k[wide:]
	}
}
