package gemm

import "unsafe"

// Tiles has the transforms of Winograd's F(size×size, 3×3) of one path, see internal/lower. Each
// gives the same bits on every path.
type Tiles[T Float] struct {
	tileForm[T]
	whole multiple // of channels: a vector
	in    tilesIn[T]
	out   tilesOut[T]
}

type (
	tilesIn[T Float]  func(n, channels int, x *T, row, pixel int, v *T, place, ldv int, room *T)
	tilesOut[T Float] func(n, channels int, m *T, place, ldm int, bias, y *T, row, pixel int, room *T)
)

// A tileForm is a size of tiles, with the transforms in plain Go.
type tileForm[T Float] struct {
	size  int // rows, and columns, of the outputs of a tile
	inGo  func(n, channels int, x []T, row, pixel int, v []T, place, ldv int)
	outGo func(n, channels int, m []T, place, ldm int, bias, y []T, row, pixel int)
}

func tileForms[T Float]() []tileForm[T] {
	return []tileForm[T]{{2, tilesInGo[T], tilesOutGo[T]}, {4, tiles4InGo[T], tiles4OutGo[T]}}
}

// NewTiles returns the transforms of a path that Path returned, for tiles of size×size outputs.
// There are those of 2 and of 4. For another size it returns ones that panic.
func NewTiles[T Float](path string, size int) (x Tiles[T]) {
	for _, t := range tiles(path) {
		if t, ok := t.(Tiles[T]); ok && t.size == size {
			x = t
		}
	}
	for _, f := range tileForms[T]() {
		if f.size == size {
			x.tileForm = f
		}
	}
	return x
}

// TileRoom is how many numbers the transforms keep in their room: 36 vectors of 64 bytes.
func TileRoom[T Float]() int { return 36 * 64 / int(unsafe.Sizeof(T(0))) }

// wide is the rows, and the columns, of what a tile takes.
func (x *Tiles[T]) wide() int { return x.size + 2 }

// In transforms what n tiles take, side by side, in the channels of a pixel. Element x[0] is the
// first channel of the first pixel of the first tile. From a pixel to the one below it are row
// elements, and to the one on its right as many as there are channels. Place k of tile t is written
// to v[k·place + t·ldv:], channel by channel. room has TileRoom numbers, which are overwritten.
func (x Tiles[T]) In(n, channels int, image []T, row int, v []T, place, ldv int, room []T) {
	if n == 0 {
		return
	}
	wide := x.wide()
	_ = image[(wide-1)*row+(x.size*n+2)*channels-1]
	_ = v[(wide*wide-1)*place+(n-1)*ldv+channels-1]
	k := x.whole.of(channels)
	if k > 0 {
		_ = room[TileRoom[T]()-1]
		x.in(n, k, &image[0], row, channels, &v[0], place, ldv, &room[0])
	}
	if k < channels {
		x.inGo(n, channels-k, image[k:], row, channels, v[k:], place, ldv)
	}
}

// Out transforms products m, which lie as In says of v, and adds the bias [channels]. It writes the
// size×size outputs of each of n tiles, side by side, which lie as In says of pixels. room is as
// there.
func (x Tiles[T]) Out(n, channels int, m []T, place, ldm int, bias, y []T, row int, room []T) {
	if n == 0 {
		return
	}
	wide := x.wide()
	_ = m[(wide*wide-1)*place+(n-1)*ldm+channels-1]
	_ = y[(x.size-1)*row+x.size*n*channels-1]
	bias = bias[:channels]
	k := x.whole.of(channels)
	if k > 0 {
		_ = room[TileRoom[T]()-1]
		x.out(n, k, &m[0], place, ldm, &bias[0], &y[0], row, channels, &room[0])
	}
	if k < channels {
		x.outGo(n, channels-k, m[k:], place, ldm, bias[k:], y[k:], row, channels)
	}
}
