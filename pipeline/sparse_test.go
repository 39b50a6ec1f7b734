package pipeline_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/pipeline"
)

// TestInL1 holds attacks of an eps in L1, on random models, to what the norm says: images lie in the
// ball but for what rounding their pixels does, and in the bounds to the last bit; the norm that an
// outcome has is that of the image; and a larger ball fools more images.
func TestInL1(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 1))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := correctSet(t, r, m, 40, 5, 6)
	for _, name := range []string{"apgd-ce:steps=20", "apgd-dlr:steps=2", "apgd-t:steps=10:targets=2", "square:steps=40", "noise", "uniform"} {
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			a := parse(t, name, attack.Options{Norm: attack.L1, Seed: 3, Decay: -1})[0]
			fooled := 0
			for _, eps := range []float64{0, 0.25, 1, 4, 40} {
				b := open[float32](t, m)
				made, err := pipeline.CraftAll(t.Context(), b, set, a, eps, bounds, nil)
				if err != nil {
					t.Fatal(err)
				}
				x := made.Images.Data().([]float32)
				wrong, longest := 0, 0.0
				for i, o := range made.Outcomes {
					far := 0.0
					for k, v := range image64(set, i) {
						p := float64(x[i*30+k])
						// The backend has x0 in float32.
						far += math.Abs(p - float64(float32(v)))
						if !bounds.None() && !(p >= bounds.Lo && p <= bounds.Hi) {
							t.Fatalf("%s, eps %v: pixel %v", name, eps, p)
						}
					}
					longest = max(longest, far)
					if !(math.Abs(far-float64(o.L1)) <= 1e-6*far) {
						t.Fatalf("%s, eps %v, image %d: norm %v, of the image %v", name, eps, i, o.L1, far)
					}
					// 30 pixels, each rounded by at most 2^-24 of a number below 64.
					if !(far <= eps+30*64*0x1p-24) {
						t.Fatalf("%s, bounds %v, eps %v, image %d: norm %v", name, bounds, eps, i, far)
					}
					if o.Class != set.Labels[i] {
						wrong++
					}
				}
				if a.Name != "uniform" && eps == 1 && !(longest > 0.9) {
					t.Errorf("%s: in a ball of 1 the longest way is %v", name, longest)
				}
				if eps == 0 && wrong > 0 || eps == 40 && wrong <= fooled && !a.Control() {
					t.Errorf("%s, bounds %v, eps %v: %d wrong, at a smaller one %d", name, bounds, eps, wrong, fooled)
				}
				if eps == 1 {
					fooled = wrong
				}
			}
		}
	}
}
