package gemm

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkProduct times C = A·B by the best path on as many goroutines as there are processors,
// in blocks of 96 rows. scripts/bench-peers.sh compares it with other libraries. Packing B is not
// timed, since weights are packed once.
func BenchmarkProduct(b *testing.B) {
	const m, k, n, block = 1000, 1024, 1024, 96
	threads := runtime.GOMAXPROCS(0)
	b.Run(fmt.Sprintf("path=%s/M=%d/K=%d/N=%d", Paths()[0], m, k, n), func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		x, w, c := random[float32](r, m*k), random[float32](r, k*n), make([]float32, m*n)
		mat := NewMatrix[float32](Paths()[0], k, n)
		mat.Pack(w, n, 1)
		scratch := make([]Scratch[float32], threads)
		for b.Loop() {
			var next atomic.Int64
			var wg sync.WaitGroup
			for t := range threads {
				wg.Go(func() {
					for {
						lo := int(next.Add(block)) - block
						if lo >= m {
							return
						}
						rows := min(block, m-lo)
						block := c[lo*n : (lo+rows)*n]
						clear(block)
						mat.MulAdd(block, n, x[lo*k:], k, 1, rows, &scratch[t])
					}
				})
			}
			wg.Wait()
		}
		b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	})
}
