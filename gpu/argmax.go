//go:build cuda && linux && cgo

package gpu

import "gorgonia.org/cu"

// argmax launches class [rows], the class with the largest of the logits z [rows, out], or -1 where
// a logit is not finite.
func (p *card) argmax(class, z cu.DevicePtr, rows int) error {
	return p.launch("argmax", dim{ceil(rows, 256), 1}, dim{256, 1}, 0, []int{rows, p.classes}, class, z, int32(rows), int32(p.classes), int32(p.out()))
}
