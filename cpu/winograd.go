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
}

// stripOutputs, divided by the size of a tile, is the most tiles that go through at a time. Weights of
// some megabytes are read once for them, and what they need beside the weights fits the second-level
// cache: 80 tiles have 1,280 places of F(2×2, 3×3), and 40 have 1,440 of F(4×4, 3×3).
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
	a.pack(weight, bias)
	return a
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
	inner []T // of gemm.Tiles
	// These are of a Tile that is Cleared. filled has for each column of what a line of tiles takes
	// a bit for each row: it is set for a pixel that has a number other than 0. empty has for each
	// column of what the tiles of a strip make, tile by tile, a bit for each row: it is set for an
	// output whose window is all zero. anyEmpty says that there is such an output.
	filled, empty []uint8
	anyEmpty      bool
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
	r.inner, r.empty = resize(r.inner, gemm.TileRoom[T]()), resize(r.empty, size*a.Tile.Size)
	placeIn, placeOut := size*in+apart, size*out+apart
	r.v, r.m = resize(r.v, len(a.w)*placeIn), resize(r.m, len(a.w)*placeOut)
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
		r.anyEmpty = false
		lines(func(at, k, i, j, end int) {
			a.take(r, r.v[at*in:], placeIn, x[k*ldx:], i, j, end)
			if a.Tile.Cleared {
				a.findEmpty(r, at, x[k*ldx:], i, j, end)
			}
		})
		windows := gemm.Im2col{Rows: 1, Cols: t1 - t0, ColStride: in, Segments: []gemm.Segment{{At: 0, N: in}}, Step: 1}
		for k, w := range a.w {
			w.MulIm2col(r.m[k*placeOut:], out, a.zeros, r.v[k*placeIn:], &windows, m.gemm)
		}
		lines(func(at, k, i, j, end int) {
			a.give(r, y[k*ldy:], r.m[at*out:], placeOut, out, i, j, end)
			if r.anyEmpty {
				a.clearEmpty(r, at, y[k*ldy:], i, j, end)
			}
		})
	}
	m.rows.flop += uint64(n) * a.flop()
}

// take transforms what the tiles from column j to end-1 of row i take of the image x, to v.
func (a *winograd[T]) take(r *tileRoom[T], v []T, place int, x []T, i, j, end int) {
	in, wide := a.In, a.Tile.Wide()
	top := a.Tile.Size*i - a.Pad[0]
	left := func(j int) int { return a.Tile.Size*j - a.Pad[1] } // the first column of a tile
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
	in, wide := a.In, a.Tile.Size*n+2
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

// findEmpty finds which outputs of the tiles from column j to end-1 of row i have windows over the image
// x that are all zero. The tiles begin with the one at place at of the strip.
func (a *winograd[T]) findEmpty(r *tileRoom[T], at int, x []T, i, j, end int) {
	in, size := a.In, a.Tile.Size
	top, left, n := size*i-a.Pad[0], size*j-a.Pad[1], size*(end-j)
	r.filled = resize(r.filled, n+2)
	clear(r.filled)
	from, to := max(0, -left), min(n+2, in.W-left) // the columns that are in the image
	for u := max(0, -top); u < min(a.Tile.Wide(), in.H-top); u++ {
		line := x[(top+u)*in.W*in.C:]
		for q := from; q < to; q++ {
			if !zero(line[(left+q)*in.C:][:in.C]) {
				r.filled[q] |= 1 << u
			}
		}
	}
	all := uint8(1)<<size - 1
	for q := range n {
		w := r.filled[q] | r.filled[q+1] | r.filled[q+2]
		rows := ^(w | w>>1 | w>>2) & all
		r.empty[size*at+q] = rows
		r.anyEmpty = r.anyEmpty || rows != 0
	}
}

// zero reports whether all of v, which is not empty, is 0 or -0.
func zero[T Float](v []T) bool {
	if unsafe.Sizeof(v[0]) == 4 {
		return noBits(unsafe.Slice((*uint32)(unsafe.Pointer(&v[0])), len(v)))
	}
	return noBits(unsafe.Slice((*uint64)(unsafe.Pointer(&v[0])), len(v)))
}

// noBits reports whether no element of v has a bit but the first, which is the sign of a float. It
// takes eight at a time without a branch.
func noBits[U uint32 | uint64](v []U) bool {
	for len(v) >= 8 {
		if ((v[0]|v[1])|(v[2]|v[3])|(v[4]|v[5])|(v[6]|v[7]))<<1 != 0 {
			return false
		}
		v = v[8:]
	}
	for _, b := range v {
		if b<<1 != 0 {
			return false
		}
	}
	return true
}

// clearEmpty writes to the image y the outputs of windows that findEmpty found, which are 0 plus the
// bias.
func (a *winograd[T]) clearEmpty(r *tileRoom[T], at int, y []T, i, j, end int) {
	out, size := a.Out, a.Tile.Size
	for q, rows := range r.empty[size*at:][:min(size*end, out.W)-size*j] {
		for u := 0; rows != 0 && size*i+u < out.H; u++ {
			if rows&1 != 0 {
				copy(y[((size*i+u)*out.W+size*j+q)*out.C:], a.empty)
			}
			rows >>= 1
		}
	}
}
