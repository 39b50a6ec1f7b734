package lower

// A convolution of 3×3 windows side by side may be computed by Winograd's F(2×2, 3×3), which takes
// 16 products for the four outputs of a tile where 36 terms would be summed: Lavin and Gray 2016,
// "Fast Algorithms for Convolutional Neural Networks", section 4.1. Its sums are shorter than those
// of a product with the im2col matrix, by nine, and its float32 error is smaller.
//
// Unfold.Tiled says which convolutions are computed so. A gradient that comes from a max-pool is
// not, see Program.pooled. The bits are the same on all backends. Each sum and each difference
// below is rounded.
//
// Tile (i, j) makes the outputs of rows 2i and 2i+1 and of columns 2j and 2j+1, as far as there are
// such. It takes the 4×4 pixels d from (2i - Pad[0], 2j - Pad[1]) on, which are 0 outside of the
// image. For each channel the tile is transformed down its columns and then along its rows, each
// time by
//
//	t0 = d0 - d2, t1 = d1 + d2, t2 = d2 - d1, t3 = d3 - d1.
//
// Place k = 4·row + column of the result has a product of its own. It is a chain of fused
// multiply-adds that starts at 0, over rising channels, with the weights that Winograd gives. The
// 4×4 numbers m of an output channel are transformed down columns and then along rows by
//
//	y0 = (m0 + m1) + m2, y1 = (m1 - m2) + m3,
//
// and the bias is added. A gradient has a bias of 0, which is added too.
//
// An output is 0 to the bit, if its bias is 0, where all that its window has is 0.

// Tile is the rows, and the columns, of outputs of a tile, and TilePlaces how many places its
// transform has.
const (
	Tile       = 2
	TilePlaces = 16
)

// fewTiled is the least number of channels, on either side, for which tiles pay: below it the
// transforms take as long as what they save.
const fewTiled = 16

// leastTiled is the least height and width of what tiles make. Below it a window is mostly padding.
const leastTiled = 3

// tiles reports whether the convolution of w is computed by tiles.
func (w Unfold) tiles() bool {
	one := [2]int{1, 1}
	return w.Kernel == [2]int{3, 3} && w.Stride == one && w.Dilation == one && w.Groups == 1 &&
		min(w.In.C, w.Out.C) >= fewTiled && min(w.Out.H, w.Out.W) >= leastTiled
}

// Tiles returns how many tiles there are, by rows and columns.
func (w Unfold) Tiles() (rows, cols int) {
	return (w.Out.H + Tile - 1) / Tile, (w.Out.W + Tile - 1) / Tile
}

// Winograd returns the weights of the TilePlaces products for the filter of output o and channel c,
// which weight gives by row u and column v of the window. They are computed in float64 and rounded
// once. A filter is transformed as the tiles are, down columns and then along rows, by
//
//	g0, ((g0 + g1) + g2)/2, ((g0 - g1) + g2)/2, g2.
func Winograd[E float32 | float64](weight func(o, c, u, v int) E, o, c int) (k [TilePlaces]E) {
	transform := func(g0, g1, g2 float64) [4]float64 {
		return [4]float64{g0, ((g0 + g1) + g2) / 2, ((g0 - g1) + g2) / 2, g2}
	}
	var down [3][4]float64 // by column and then row
	for v := range down {
		down[v] = transform(float64(weight(o, c, 0, v)), float64(weight(o, c, 1, v)), float64(weight(o, c, 2, v)))
	}
	for i := range 4 {
		for j, u := range transform(down[0][i], down[1][i], down[2][i]) {
			k[4*i+j] = E(u)
		}
	}
	return k
}
