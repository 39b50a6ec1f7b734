package pipeline_test

import (
	"fmt"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/rundir"
)

// BenchmarkWorks times the works that 'advsweep bench' knows by these names, on the embedded model
// and images: all that 'advsweep sweep' computes, but W3 has 1,000 of its 10,000 images.
// done-GFLOP/s is of the products made, dense-GFLOP/s of those that a dense program makes that finds
// the counts alone, takes no gradient twice and the first layer of FGSM without bounds once for the
// direction.
func BenchmarkWorks(b *testing.B) {
	m, set := embedded(b)
	const weights, first, n = 784*1024 + 1024*1024 + 1024*10, 784 * 1024, 1000
	for _, work := range []struct {
		name  string
		steps int
		eps   string
	}{{"W1", 1, "0:0.5:1/40"}, {"W2", 5, "0:0.5:1/40"}, {"W3", 1, "0:0.5:1/200"}} {
		eps, err := attack.ParseEps(work.eps)
		if err != nil {
			b.Fatal(err)
		}
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			for _, exact := range []bool{true, false} {
				if exact && work.steps > 1 {
					continue
				}
				route, E := "grid", len(eps)
				if exact {
					route = "exact"
				}
				b.Run(fmt.Sprintf("%s/bounds=%s/route=%s/N=%d", work.name, bounds, route, n), func(b *testing.B) {
					back := open[float32](b, m)
					s := pipeline.Sweep{Attacks: []attack.Attack{attack.BIM(work.steps)}, Eps: eps, Bounds: bounds, Exact: exact, Rounded: true}
					s, err := rundir.Fit(s, m, back, set)
					if err != nil {
						b.Fatal(err)
					}
					before := back.Work()
					for b.Loop() {
						if _, err := s.Run(b.Context(), back, set); err != nil {
							b.Fatal(err)
						}
					}
					dense := 4*weights + E*((work.steps-1)*4*weights+2*weights)
					if work.steps == 1 && bounds.None() {
						dense = 4*weights + 2*first + E*2*(weights-first)
					}
					seconds := b.Elapsed().Seconds()
					b.ReportMetric(float64(n*dense)*float64(b.N)/seconds/1e9, "dense-GFLOP/s")
					b.ReportMetric(float64(back.Work()-before)/seconds/1e9, "done-GFLOP/s")
				})
			}
		}
	}
}
