//go:build cuda && linux && cgo

package gpu

import (
	"errors"

	"gorgonia.org/cu"
)

// A loaded is the clean images of a Load, and what is known of their gradients. load sets all
// fields. sign, flat and signed are filled later, image by image, by signClean of card; unsign
// forgets them.
type loaded struct {
	*device
	inputs int // I, of an image

	first      int    // index in the data set of image 0
	x0         buffer // [N, in]: the images
	labels     buffer // [N] of int32
	sign, flat buffer // [N, in] and [N] of int8: the signs of the gradient; whether it is all zero
	signed     []bool // [N]: whether sign and flat of an image are filled
	staging    pinned // through which images go up
}

// image, signs, flats and labelsFrom are where image i is, and what is known of it and of those
// behind it.
func (l *loaded) image(i int) cu.DevicePtr      { return at(l.x0.DevicePtr, i*padded(l.inputs), 4) }
func (l *loaded) signs(i int) cu.DevicePtr      { return at(l.sign.DevicePtr, i*padded(l.inputs), 1) }
func (l *loaded) flats(i int) cu.DevicePtr      { return at(l.flat.DevicePtr, i, 1) }
func (l *loaded) labelsFrom(i int) cu.DevicePtr { return at(l.labels.DevicePtr, i, 4) }

// load copies up images, which are bytes or floats [N, inputs], and labels [N].
func (l *loaded) load(first int, bytes []uint8, floats []float32, labels []int32) error {
	n, in := len(labels), padded(l.inputs)
	l.first, l.signed = first, make([]bool, n)
	err := l.growAll([]claim{{&l.x0, 4 * n * in}, {&l.labels, 4 * n}, {&l.sign, n * in}, {&l.flat, n}})
	if err != nil {
		return err
	}
	// Rows that have not moved read the signs and multiply them by 0.
	if err := l.fill(l.sign.DevicePtr, 0, int64(n*in)); err != nil {
		return err
	}
	if err := l.fill(l.flat.DevicePtr, 0, int64(n)); err != nil {
		return err
	}
	if err := upload(l.device, l.labels.DevicePtr, labels); err != nil {
		return err
	}
	if bytes != nil {
		return l.loadBytes(bytes, n)
	}
	return l.loadFloats(floats, n)
}

// stagingBytes is the size of the pinned piece through which images go up.
const stagingBytes = 4 << 20

// loadBytes copies pixels up as bytes, and makes floats of them there. One piece of pinned memory
// goes up at a time.
func (l *loaded) loadBytes(bytes []uint8, n int) error {
	inputs, in := l.inputs, padded(l.inputs)
	images := min(n, max(1, stagingBytes/inputs))
	if err := l.growPinned(&l.staging, images*inputs); err != nil {
		return err
	}
	raw, err := l.alloc(int64(images * inputs))
	if err != nil {
		return err
	}
	for i := 0; i < n && err == nil; i += images {
		piece := bytes[i*inputs : min(i+images, n)*inputs]
		to := pinnedSlice[uint8](l.staging, len(piece))
		copy(to, piece)
		if err = upload(l.device, raw, to); err == nil {
			err = l.pixels(l.image(i), raw, len(piece)/inputs, inputs, in)
		}
		if err == nil {
			err = l.wait() // before the pinned memory is used again
		}
	}
	return errors.Join(err, l.free(raw))
}

// loadFloats copies pixels up as floats, one piece of pinned memory at a time.
func (l *loaded) loadFloats(floats []float32, n int) error {
	inputs, in := l.inputs, padded(l.inputs)
	images := min(n, max(1, stagingBytes/(4*in)))
	if err := l.growPinned(&l.staging, 4*images*in); err != nil {
		return err
	}
	for i := 0; i < n; i += images {
		count := min(images, n-i)
		to := pinnedSlice[float32](l.staging, count*in)
		clear(to)
		for k := range count {
			copy(to[k*in:], floats[(i+k)*inputs:][:inputs])
		}
		if err := upload(l.device, l.image(i), to); err != nil {
			return err
		}
		if err := l.wait(); err != nil {
			return err
		}
	}
	return nil
}

// unsign forgets the signs of all images: signClean computes them again.
func (l *loaded) unsign() { clear(l.signed) }

// unsigned narrows images lo to hi-1 to those between the first and the last without signs.
func (l *loaded) unsigned(lo, hi int) (int, int) {
	for lo < hi && l.signed[lo] {
		lo++
	}
	for lo < hi && l.signed[hi-1] {
		hi--
	}
	return lo, hi
}

// close frees the pinned memory. The device frees its own.
func (l *loaded) close() error { return l.unpin(&l.staging) }
