package cpu

import (
	"unsafe"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A winograd is a convolution by tiles in Winograd's way, whose arithmetic internal/lower decides.
// It takes some tiles at a time, of one image or of several, through the transform, the products
// and the way back, so that what lies between stays in a cache.
//
// New makes it. Only pack changes its weights.
type winograd[T Float] struct {
	lower.Unfold
	tiles gemm.Tiles[T]
	w     []*gemm.Matrix[T] // by place: [C, O]
	bias  []T               // [O]
	empty []T               // [O]: outputs of a window that is all zero
	zeros []T               // what chains begin with
	// Tiles are taken of a frame of zeros around the image where framed says so, else of the image.
	// The tile in the corner begins left and above of what they are taken of, by from.
	framed bool
	seen   lower.Shape
	from   [2]int
}

// frameBytes bounds the frame into which an image is copied, so that no tile hangs over an edge. To
// copy a larger image takes longer than to piece together the tiles at its edges.
const frameBytes = 32 << 10

// stripOutputs, divided by the size of a tile, is the most tiles that go through at a time. Weights
// of some megabytes are read once for them, and what they need beside the weights fits the
// second-level cache: 80 tiles have 1,280 places of F(2×2, 3×3), and 40 have 1,440 of F(4×4, 3×3).
const stripOutputs = 160

// apart is how many numbers lie unused between the places of a transform. Without them all places
// of a tile would fall into one set of a cache.
const apart = 80

// newWinograd packs the weights, as newIm2col does. places has a Tile.
func newWinograd[T Float](path string, places lower.Unfold, bias []T, weight func(o, c, u, v int) T) *winograd[T] {
	a := &winograd[T]{Unfold: places, tiles: gemm.NewTiles[T](path, places.Tile.Size), bias: make([]T, places.Out.C), empty: make([]T, places.Out.C)}
	for range places.Tile.Places() {
		a.w = append(a.w, gemm.NewMatrix[T](path, places.In.C, places.Out.C))
	}
	a.zeros = make([]T, a.w[0].Padded())
	a.seen, a.from = a.In, [2]int{a.Pad[0], a.Pad[1]}
	rows, cols := a.Tiles()
	frame := lower.Shape{C: a.In.C, H: rows*a.Tile.Size + 2, W: cols*a.Tile.Size + 2}
	if frame.Size()*int(unsafe.Sizeof(T(0))) <= frameBytes {
		a.framed, a.seen, a.from = true, frame, [2]int{}
	}
	a.pack(weight, bias)
	return a
}

// frame writes the image x [In] to a frame in r, and returns that. What lies around is zero.
func (a *winograd[T]) frame(r *tileRoom[T], x []T) []T {
	r.frame = resize(r.frame, a.seen.Size())
	clear(r.frame)
	frame(r.frame, a.seen.W, x, a.Unfold)
	return r.frame
}

// pack takes other weights. bias may be nil.
func (a *winograd[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	in, out, part := a.In.C, a.Out.C, a.w[0].Part()
	// [C, part] each, so that there is no second copy of all weights
	w, filter := make([][]T, len(a.w)), make([]T, len(a.w))
	for k := range w {
		w[k] = make([]T, in*part)
	}
	for j0 := 0; j0 < out; j0 += part {
		for o := j0; o < min(j0+part, out); o++ {
			for c := range in {
				lower.Winograd(a.Tile, weight, o, c, filter)
				for k, v := range filter {
					w[k][c*part+o-j0] = v
				}
			}
		}
		for k := range w {
			a.w[k].PackPart(j0, w[k], part, 1)
		}
	}
	copy(a.bias, bias)
	for o, b := range a.bias {
		a.empty[o] = 0 + b // a bias of -0 gives 0
	}
}

// flop is how many operations one image takes, without the transforms.
func (a *winograd[T]) flop() uint64 {
	rows, cols := a.Tiles()
	return 2 * uint64(len(a.w)) * uint64(rows*cols) * uint64(a.In.C) * uint64(a.Out.C)
}

// A tileRoom is the memory in which a worker computes tiles.
type tileRoom[T Float] struct {
	v, m  []T // what tiles take and what they make, transformed: [places, tiles, channels]
	patch []T // pixels at an edge of an image
	frame []T // of an image
	inner []T // of gemm.Tiles
	mend  mendRoom
}

// apply writes y [n, Out] for x [n, In], whose images lie ldy and ldx apart.
func (a *winograd[T]) apply(m *memory[T], _ *[]T, n int, y []T, ldy int, x []T, ldx int) {
	rows, cols := a.Tiles()
	each := rows * cols // tiles of an image
	all := n * each
	most := stripOutputs / a.Tile.Size
	strips := (all + most - 1) / most
	size := (all + strips - 1) / strips
	size = (size + gemm.GroupRows - 1) / gemm.GroupRows * gemm.GroupRows
	in, out := a.In.C, a.w[0].Padded()
	r := m.tiles
	r.inner = resize(r.inner, gemm.TileRoom[T]())
	placeIn, placeOut := size*in+apart, size*out+apart
	r.v, r.m = resize(r.v, len(a.w)*placeIn), resize(r.m, len(a.w)*placeOut)
	framed, frame := -1, []T(nil) // the image in the frame
	for t0 := 0; t0 < all; t0 += size {
		t1 := min(t0+size, all)
		// lines calls f for the tiles from column j to end-1 of row i of image k.
		lines := func(f func(at, k, i, j, end int)) {
			for t := t0; t < t1; {
				k, i, j := t/each, t%each/cols, t%cols
				end := min(cols, j+t1-t)
				f(t-t0, k, i, j, end)
				t += end - j
			}
		}
		lines(func(at, k, i, j, end int) {
			image := x[k*ldx:]
			if a.framed {
				if framed != k {
					framed, frame = k, a.frame(r, image)
				}
				image = frame
			}
			a.take(r, r.v[at*in:], placeIn, image, i, j, end)
		})
		windows := gemm.Im2col{Rows: 1, Cols: t1 - t0, ColStride: in, Segments: []gemm.Segment{{At: 0, N: in}}, Step: 1}
		for k, w := range a.w {
			w.MulIm2col(r.m[k*placeOut:], out, a.zeros, r.v[k*placeIn:], &windows, m.gemm)
		}
		lines(func(at, k, i, j, end int) { a.give(r, y[k*ldy:], r.m[at*out:], placeOut, out, i, j, end) })
	}
	if a.Tile.Mended {
		for k := range n {
			a.mend(&r.mend, y[k*ldy:], x[k*ldx:])
		}
	}
	m.rows.flop += uint64(n) * a.flop()
}

// take transforms what the tiles from column j to end-1 of row i take of the image x, to v.
func (a *winograd[T]) take(r *tileRoom[T], v []T, place int, x []T, i, j, end int) {
	in, wide := a.seen, a.Tile.Wide()
	top := a.Tile.Size*i - a.from[0]
	left := func(j int) int { return a.Tile.Size*j - a.from[1] } // the first column of a tile
	// the tiles that are whole in the image
	lo, hi := j, j
	if top >= 0 && top+wide <= in.H {
		for lo < end && left(lo) < 0 {
			lo++
		}
		for hi = lo; hi < end && left(hi)+wide <= in.W; hi++ {
		}
	}
	if a.edge(r, v, place, x, top, left(j), lo-j); lo < hi {
		a.tiles.In(hi-lo, in.C, x[(top*in.W+left(lo))*in.C:], in.W*in.C, v[(lo-j)*in.C:], place, in.C, r.inner)
	}
	if hi < end {
		a.edge(r, v[(hi-j)*in.C:], place, x, top, left(hi), end-hi)
	}
}

// edge transforms n tiles, the first from row top and column left on, which hang over the edge of
// the image x.
func (a *winograd[T]) edge(r *tileRoom[T], v []T, place int, x []T, top, left, n int) {
	if n == 0 {
		return
	}
	in, wide := a.seen, a.Tile.Size*n+2
	r.patch = resize(r.patch, a.Tile.Wide()*wide*in.C)
	clear(r.patch)
	from, to := max(0, -left), min(wide, in.W-left) // the columns that are in the image
	for u := range a.Tile.Wide() {
		if row := top + u; row >= 0 && row < in.H && from < to {
			copy(r.patch[(u*wide+from)*in.C:(u*wide+to)*in.C], x[(row*in.W+left+from)*in.C:])
		}
	}
	a.tiles.In(n, in.C, r.patch, wide*in.C, v, place, in.C, r.inner)
}

// give writes the outputs of the tiles from column j to end-1 of row i to the image y, from their
// products m, of which a row has ld numbers.
func (a *winograd[T]) give(r *tileRoom[T], y, m []T, place, ld, i, j, end int) {
	out, size := a.Out, a.Tile.Size
	row, whole := size*i, end
	if row+size > out.H {
		whole = j
	} else if size*end > out.W {
		whole--
	}
	if whole > j {
		a.tiles.Out(whole-j, out.C, m, place, ld, a.bias, y[(row*out.W+size*j)*out.C:], out.W*out.C, r.inner)
	}
	if whole == end {
		return
	}
	// What hangs over the edge is dropped.
	n := end - whole
	wide := size * n
	r.patch = resize(r.patch, size*wide*out.C)
	a.tiles.Out(n, out.C, m[(whole-j)*ld:], place, ld, a.bias, r.patch, wide*out.C, r.inner)
	col := size * whole
	for u := range min(size, out.H-row) {
		copy(y[((row+u)*out.W+col)*out.C:][:min(wide, out.W-col)*out.C], r.patch[u*wide*out.C:])
	}
}
