//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A winograd is a pass by Winograd's F(2×2, 3×3), in math mode fp32: see kernels/winograd.cu. Its
// bits are laid down in internal/lower/winograd.go.
type winograd struct {
	pieces
	places       lower.Unfold
	x, y         shape
	down, across int          // tiles of an image, by rows and columns
	u, bias      cu.DevicePtr // [16, padRows(O), pitch of x], [pitch of y]
	relu         bool         // a ReLU follows, and the last kernel computes it
}

// tilePlaces is how many places the transform of a tile has.
const tilePlaces = 16

// winogradBytes is how much of v and m a piece has for each multiprocessor. That is one wave of two
// blocks of the product where both sides have 128 channels or more, and more waves of fewer
// channels. It is 33 MiB on an H100, so that v and m mostly stay in its second-level cache.
const winogradBytes = 256 << 10

// newWinograd copies the filters to the device, as newPass does. It returns an error if kernels
// can't index the tiles of one image.
func (d *device) newWinograd(name string, places lower.Unfold, weight func(o, c, u, v int) float32, bias *tensor.Dense, relu bool) (*winograd, error) {
	if places.Tile != lower.Tile2 {
		return nil, fmt.Errorf("gpu: layer %s has tiles of %d by %d outputs, want 2 by 2", name, places.Tile.Size, places.Tile.Size)
	}
	w := &winograd{places: places, x: newShape(places.In), y: newShape(places.Out), relu: relu}
	w.down, w.across = places.Tiles()
	// A grid has at most 65,535 rows of tiles of 128, and kernels count threads in 31 bits.
	most := min(65535*128, (1<<31-1)/max(w.x.pitch, w.y.pitch))
	if w.tiles(1) > most {
		return nil, fmt.Errorf("gpu: layer %s makes %d tiles of %d and %d channels of an image, want at most %d", name, w.tiles(1), w.x.channels, w.y.channels, most)
	}
	w.images = max(1, min(most, winogradBytes*d.multiprocessors/w.bytes())/w.tiles(1))
	u, rows := make([]float32, tilePlaces*padRows(w.y.channels)*w.x.pitch), padRows(w.y.channels)
	var of [tilePlaces]float32 // a filter
	for o := range w.y.channels {
		for c := range w.x.channels {
			lower.Winograd(lower.Tile2, weight, o, c, of[:])
			for k, v := range of {
				u[(k*rows+o)*w.x.pitch+c] = v
			}
		}
	}
	b := make([]float32, w.y.pitch)
	copy(b, batch.Elements[float32](bias))
	var err error
	if w.u, err = upload32(d, u); err == nil {
		w.bias, err = upload32(d, b)
	}
	return w, err
}

// tiles is how many tiles n images have.
func (w *winograd) tiles(n int) int { return n * w.down * w.across }

// bytes is what a tile takes of v and m.
func (w *winograd) bytes() int { return 4 * tilePlaces * (w.x.pitch + w.y.pitch) }

func (w *winograd) columns(n int) int { return w.tiles(min(n, w.images)) * w.bytes() / 4 }

func (w *winograd) run(net *network, y, from, x cu.DevicePtr, n int) error {
	return w.each(n, func(i, images int) error {
		tiles := w.tiles(images)
		v := net.columns.DevicePtr
		m := at(v, tilePlaces*tiles*w.x.pitch, 4)
		if err := net.winogradIn(v, at(x, i*w.x.width, 4), w, tiles); err != nil {
			return err
		}
		if err := net.winogradProduct(m, v, w, tiles); err != nil {
			return err
		}
		return net.winogradOut(at(y, i*w.y.width, 4), behind(from, i, w.y.width), m, w, tiles)
	})
}

// winogradIn launches v [16, tiles, pitch of x]: the transform of tiles of x.
func (d *device) winogradIn(v, x cu.DevicePtr, w *winograd, tiles int) error {
	in, pad := w.places.In, w.places.Pad
	return d.launch("winograd_in", dim{ceil(tiles*w.x.pitch, 256), 1}, dim{256, 1}, 0, []int{tiles, w.x.channels},
		v, x, int32(tiles), int32(w.x.channels), int32(w.x.pitch), int32(in.H), int32(in.W), int32(pad[0]), int32(pad[1]), int32(w.down), int32(w.across))
}

// winogradProduct launches m [16, tiles, pitch of y]: the product of v and the weights of each
// place. No bit of it depends on which kernel is chosen.
func (d *device) winogradProduct(m, v cu.DevicePtr, w *winograd, tiles int) error {
	// The products share the multiprocessors.
	name, grid, shared := tile("winograd_product", "fp32", tiles, w.y.pitch, ceil(d.multiprocessors, tilePlaces))
	grid.x *= tilePlaces
	return d.launch(name, grid, dim{256, 1}, shared, []int{tiles, w.x.channels, w.y.channels},
		m, v, w.u, int32(tiles), int32(w.x.pitch), int32(w.y.channels), int32(w.y.pitch))
}

// winogradOut launches y = from + the outputs of m and the bias, and then ReLU if there is one. from
// may be 0.
func (d *device) winogradOut(y, from, m cu.DevicePtr, w *winograd, tiles int) error {
	out := w.places.Out
	return d.launch("winograd_out", dim{ceil(tiles*w.y.pitch, 256), 1}, dim{256, 1}, 0, []int{tiles, w.y.channels},
		y, from, m, w.bias, w.relu, int32(tiles), int32(w.y.channels), int32(w.y.pitch), int32(out.H), int32(out.W), int32(w.down), int32(w.across))
}
