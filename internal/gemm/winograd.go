package gemm

// Tiles has the transforms of Winograd's F(2×2, 3×3) of one path, see internal/lower. Each gives
// the same bits on every path.
type Tiles[T Float] struct {
	whole multiple // of channels: a vector
	in    func(n, channels int, x *T, row, pixel int, v *T, place, ldv int)
	out   func(n, channels int, m *T, place, ldm int, bias, y *T, row, pixel int)
}

// NewTiles returns the transforms of a path that Path returned.
func NewTiles[T Float](path string) Tiles[T] {
	for _, t := range tiles(path) {
		if t, ok := t.(Tiles[T]); ok {
			return t
		}
	}
	return Tiles[T]{}
}

// In transforms what n tiles take, side by side, in the channels of a pixel. Element x[0] is the
// first channel of the first pixel of the first tile. From a pixel to the one below it are row
// elements, and to the one on its right as many as there are channels. Place k of tile t is written
// to v[k·place + t·ldv:], channel by channel.
func (x Tiles[T]) In(n, channels int, image []T, row int, v []T, place, ldv int) {
	if n == 0 {
		return
	}
	_ = image[3*row+(2*n+2)*channels-1]
	_ = v[15*place+(n-1)*ldv+channels-1]
	k := x.whole.of(channels)
	if k > 0 {
		x.in(n, k, &image[0], row, channels, &v[0], place, ldv)
	}
	if k < channels {
		tilesInGo(n, channels-k, image[k:], row, channels, v[k:], place, ldv)
	}
}

// Out transforms products m, which lie as In says of v, and adds the bias [channels]. It writes the
// 2×2 outputs of each of n tiles, side by side, which lie as In says of pixels.
func (x Tiles[T]) Out(n, channels int, m []T, place, ldm int, bias, y []T, row int) {
	if n == 0 {
		return
	}
	_ = m[15*place+(n-1)*ldm+channels-1]
	_ = y[row+2*n*channels-1]
	bias = bias[:channels]
	k := x.whole.of(channels)
	if k > 0 {
		x.out(n, k, &m[0], place, ldm, &bias[0], &y[0], row, channels)
	}
	if k < channels {
		tilesOutGo(n, channels-k, m[k:], place, ldm, bias[k:], y[k:], row, channels)
	}
}
