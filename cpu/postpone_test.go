package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPostpone wants the logits of a pass that does the ReLU below a max-pool after it to be, bit
// for bit, those of a pass that does it before, with images that are not finite too.
func TestPostpone(t *testing.T) {
	const n = 6
	postponed := 0
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 31))
		m, pixels := someNetwork(r, seed%someNetworks, n)
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			pixels[r.IntN(len(pixels))] = float32(v)
		}
		b, err := New[float32](m, Options{Threads: 1})
		must(t, err)
		net := b.model.net
		if net == nil || !slices.ContainsFunc(net.layers, func(l netLayer[float32]) bool { return l.late }) {
			continue
		}
		postponed++
		must(t, b.workers.each(t.Context(), 1, 1, func(w *scratch[float32], _, _ int) {
			before := slices.Clone(net.forward(w, pixels, allOf[float32](n), forGradient))
			after := net.forward(w, pixels, allOf[float32](n), forLogits)
			for i, v := range after {
				if math.Float32bits(v) != math.Float32bits(before[i]) {
					t.Errorf("seed %d: logit %d is %v, want %v", seed, i, v, before[i])
				}
			}
		}))
	}
	if postponed < 5 {
		t.Errorf("%d networks postpone a ReLU, want 5 at least", postponed)
	}
}
