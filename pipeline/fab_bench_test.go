package pipeline_test

import (
	"testing"

	"advsweep/attack"
	"advsweep/model"
	"advsweep/pipeline"
)

// BenchmarkFABTargeted times FAB-T as AutoAttack has it, on 100 images and the MLP that was trained
// against attacks. What the model does is a small part of it.
func BenchmarkFABTargeted(b *testing.B) {
	m, err := model.Load("../testdata/peers/adv-mlp.safetensors")
	if err != nil {
		b.Fatal(err)
	}
	_, all := embedded(b)
	set, err := all.Slice(0, 100)
	if err != nil {
		b.Fatal(err)
	}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2, attack.L1} {
		b.Run("norm="+norm.String(), func(b *testing.B) {
			a := attack.FABTargeted(100, 9)
			a.Norm = norm
			s := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: []float64{0.1}, Bounds: attack.Bounds{Lo: 0, Hi: 1}}
			back := open[float32](b, m)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Run(b.Context(), back, set); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
