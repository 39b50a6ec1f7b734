package model

import "math"

// MACs returns how many multiplications with an addition the layers with weights make of one image,
// forward:
//
//	Linear out·in, Conv2D out·in·KH·KW of each pixel that it gives, Scale 1 of each element,
//
// whether a factor is 0 or not, also where a window hangs over the border. Biases, pools,
// activations and sums are left out, which are a few operations for each element. It is at most
// math.MaxInt64. An error names the layer whose shapes do not fit or whose type is not known.
func (m *Model) MACs() (int64, error) {
	shapes, err := m.Shapes()
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for i, l := range m.Layers {
		n := l.MACs(m.inShapes(i, shapes), shapes[i])
		if n > math.MaxInt64-total {
			return math.MaxInt64, nil
		}
		total += n
	}
	return total, nil
}
