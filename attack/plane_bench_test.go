package attack

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkToPlane times the way to a plane from an image like a digit: most pixels are at a bound.
func BenchmarkToPlane(b *testing.B) {
	const size = 784
	r := rand.New(rand.NewPCG(1, 1))
	u, w, d := make([]float64, size), make([]float64, size), make([]float64, size)
	for i := range u {
		w[i] = r.NormFloat64()
		if r.IntN(5) == 0 {
			u[i] = r.Float64()
		}
	}
	m := new(scratch)
	for _, norm := range []Norm{Linf, L2, L1} {
		b.Run(fmt.Sprint("norm=", norm), func(b *testing.B) {
			for b.Loop() {
				norms[norm].toPlane(m, d, u, w, 20, Bounds{Lo: 0, Hi: 1})
			}
		})
	}
}
