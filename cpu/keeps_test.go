package cpu

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"advsweep/internal/ref"
	"advsweep/model"
)

// TestNewKeepsNothing wants the bound of a backend to be the same when the weights of its model
// have changed since New. The bound is made when it is first needed.
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

// TestShared wants the bound of a backend that shares the weights of its model to be that of one
// that does not, and to be made of these weights.
func TestShared(t *testing.T) {
	convolutions := 0
	for seed := range uint64(6) {
		make := func(shared bool) (*model.Model, *Backend[float32]) {
			m := ref.RandomWide(rand.New(rand.NewPCG(seed, 1)))
			b, err := New[float32](m, Options{Shared: shared})
			must(t, err)
			return m, b
		}
		_, own := make(false)
		m, shared := make(true)
		own.makeBound()
		shared.makeBound()
		if !reflect.DeepEqual(shared.bound.marginBound, own.bound.marginBound) {
			t.Errorf("seed %d: the bound is another where the weights are shared", seed)
		}
		for i := range shared.model.net.layers {
			a, ok := shared.model.net.layers[i].op.(*convolution[float32])
			if !ok {
				continue
			}
			for _, l := range m.Layers {
				l, ok := l.(model.Conv2D)
				if !ok || l.Weight != a.lowered.Weight {
					continue
				}
				if w, ok := l.Weight.Data().([]float32); ok {
					convolutions++
					w[0] = 77
					if a.weight(0, 0, 0, 0) != 77 {
						t.Errorf("seed %d: %s has a copy of its weights", seed, l.Name)
					}
				}
			}
		}
	}
	if convolutions == 0 {
		t.Error("no network has a convolution")
	}
}
