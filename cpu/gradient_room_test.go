package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/tensor"
)

// TestGradientRooms compares gradients, to the bit, with those of a network in which each value's
// has a room of its own, and wants fewer rooms than values.
func TestGradientRooms(t *testing.T) {
	const n = 23
	rooms, values := 0, 0
	for seed := range someNetworks {
		r := rand.New(rand.NewPCG(seed, 31))
		m, pixels := someNetwork(r, seed, n)
		q := make([]float64, n*m.Outputs())
		for i := range q {
			q[i] = r.NormFloat64()
		}
		var all [2][]float32
		for k := range all {
			b, err := New[float32](m, Options{Threads: 1})
			must(t, err)
			net := b.model.net
			if net == nil {
				continue
			}
			if k == 1 {
				rooms += len(net.rooms)
				var apart []gradientRoom
				for _, j := range slices.Concat(net.rooms...) {
					apart = append(apart, gradientRoom{j})
				}
				values += len(apart)
				net.rooms = apart
			}
			must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, m.Inputs()), tensor.WithBacking(pixels)), make([]int32, n)))
			must(t, b.Begin(t.Context(), 0, n, []float64{0}))
			g, err := b.Gradient(t.Context(), tensor.New(tensor.WithShape(n, m.Outputs()), tensor.WithBacking(q)))
			must(t, err)
			all[k] = g.Data().([]float32)
		}
		if i := differs(all[0], all[1]); i >= 0 {
			t.Errorf("seed %d, %s: gradient %d is %v, with rooms apart %v", seed, m, i, all[0][i], all[1][i])
		}
	}
	if 2*rooms > values {
		t.Errorf("%d rooms for %d values, want at most half as many", rooms, values)
	}
}

// differs returns the first place at which the bits of a and b differ, or -1.
func differs(a, b []float32) int {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}
