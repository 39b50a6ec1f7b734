package cpu

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"advsweep/internal/ref"
)

// TestNewKeepsNothing wants the bound of a backend to be the same when the weights of its model have
// changed since New. The bound is made when it is first needed.
func TestNewKeepsNothing(t *testing.T) {
	for seed := range uint64(6) {
		m := ref.RandomWide(rand.New(rand.NewPCG(seed, 1)))
		changed, err := New[float32](m, Options{})
		must(t, err)
		same, err := New[float32](ref.RandomWide(rand.New(rand.NewPCG(seed, 1))), Options{})
		must(t, err)
		for _, l := range m.Layers {
			for _, p := range l.Params() {
				switch w := p.Tensor.Data().(type) {
				case []float32:
					clear(w)
				case []float64:
					clear(w)
				}
			}
		}
		changed.makeBound()
		same.makeBound()
		if !reflect.DeepEqual(changed.bound.marginBound, same.bound.marginBound) {
			t.Errorf("seed %d: the bound is another once the weights of the model have changed", seed)
		}
	}
}
