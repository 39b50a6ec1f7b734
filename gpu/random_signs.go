//go:build cuda && linux && cgo

package gpu

import "gorgonia.org/cu"

// randomSigns launches d [images, in] of int8: the signs of attack.RandomSigns for images first to
// first+images-1 of the data set.
func (p *card) randomSigns(d cu.DevicePtr, seed uint64, first, step, images int) error {
	return p.launch("random_signs", dim{ceil(images*ceil(p.in(), 128), 256), 1}, dim{256, 1}, 0, []int{images, p.inputs},
		d, uint32(seed), uint32(seed>>32), uint32(first), uint32(uint64(first)>>32), uint32(step), int32(images), int32(p.inputs), int32(p.in()))
}
