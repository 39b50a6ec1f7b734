package model

import (
	"math"
	"math/bits"
)

// MACs returns how many multiplications with an addition the layers with weights make of one image, forward:
//
//	Linear out·in, Conv2D out·in·KH·KW of each pixel that it gives, Scale 1 of each element,
//
// whether a factor is 0 or not, also where a window hangs over the border. Biases, pools, activations and sums are left out, which are
// a few operations for each element. It returns 0 for a model whose shapes do not fit, and at most math.MaxInt64.
func (m *Model) MACs() int64 {
	shapes, err := m.Shapes()
	if err != nil {
		return 0
	}
	total := uint64(0)
	for i, l := range m.Layers {
		each := 0 // of an element that the layer gives
		switch l := l.(type) {
		case Linear:
			each = l.size(1)
		case Conv2D:
			each = volume(l.Weight.Shape()[1:])
		case Scale:
			each = 1
		}
		high, n := bits.Mul64(uint64(volume(shapes[i])), uint64(each))
		if total += n; high != 0 || n > math.MaxInt64 || total > math.MaxInt64 {
			return math.MaxInt64
		}
	}
	return int64(total)
}
