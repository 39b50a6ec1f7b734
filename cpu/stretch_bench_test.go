package cpu

import (
	"testing"

	"advsweep/attack"
)

// BenchmarkStretches walks 50 rays of the embedded convolutional network on one thread, up to eps
// 0.5. It also says how many points of a ray are looked at.
func BenchmarkStretches(b *testing.B) {
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		b.Run("bounds="+bounds.String(), func(b *testing.B) {
			walks := make([]attack.Walk, 50)
			walker := embeddedCNN(b, len(walks), Options{Threads: 1})
			for b.Loop() {
				if err := walker.Exact(b.Context(), 0, 0.5, bounds, walks); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(walker.rays.looked.Load())/float64(b.N*len(walks)), "points/ray")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(walks)), "us/ray")
		})
	}
}
