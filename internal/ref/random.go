package ref

import (
	"math"
	"math/rand/v2"

	"advsweep/model"
)

// RandomModel returns a stack of Linear and ReLU of the given sizes whose weights
// are normal with variance scale²·2/in, so that activations keep their size at scale 1.
func RandomModel(r *rand.Rand, scale float64, sizes ...int) *model.Model {
	m := model.MLP(sizes...)
	for _, l := range m.Layers {
		if l, ok := l.(model.Linear); ok {
			sd := scale * math.Sqrt(2/float64(l.Weight.Shape()[1]))
			for _, w := range [][]float32{l.Weight.Data().([]float32), l.Bias.Data().([]float32)} {
				for i := range w {
					w[i] = float32(r.NormFloat64() * sd)
				}
			}
		}
	}
	return m
}
