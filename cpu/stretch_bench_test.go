package cpu

import (
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/model"
)

// BenchmarkStretches walks 50 rays of the embedded convolutional network on one thread, up to eps
// 0.5. It also says how many points of a ray are looked at.
func BenchmarkStretches(b *testing.B) {
	m, err := model.Embedded("cnn")
	if err != nil {
		b.Fatal(err)
	}
	set, err := dataset.MNIST1000()
	if err != nil {
		b.Fatal(err)
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		b.Run("bounds="+bounds.String(), func(b *testing.B) {
			walker, err := New[float32](m, Options{Threads: 1})
			if err != nil {
				b.Fatal(err)
			}
			if err := walker.Load(b.Context(), 0, set.Images, set.Labels); err != nil {
				b.Fatal(err)
			}
			walks := make([]attack.Walk, 50)
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
