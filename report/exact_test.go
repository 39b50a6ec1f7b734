package report

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
)

// walks makes n walks of [0, top] up: 1.5 % of the images are wrong as they are, the others up to a critical eps
// that is log-normal around 0.05, and some are right again for a while.
func walks(n int, top float64) *pipeline.Exact {
	random := rand.New(rand.NewPCG(1, 2))
	x := &pipeline.Exact{Max: top, Walks: make([]attack.Walk, n)}
	for i := range x.Walks {
		w := &x.Walks[i]
		w.Class = i % 10
		if i%66 == 65 {
			w.Class = (i + 1) % 10
			continue
		}
		lo, hi := 0.0, float64(float32(0.05*math.Exp(0.45*random.NormFloat64())))
		for hi < top {
			w.Correct = append(w.Correct, attack.Interval{Lo: lo, Hi: hi})
			w.Ends++
			if random.Float64() > 0.05 {
				break
			}
			lo = float64(float32(hi * 1.3))
			hi = float64(float32(hi * 1.7))
			w.Ends++
		}
		if len(w.Correct) == 0 || hi >= top && lo < top {
			w.Correct = append(w.Correct, attack.Interval{Lo: lo, Hi: top})
		}
	}
	return x
}

// exactly is result with n images and walks for FGSM.
func exactly(n int, eps ...float64) *pipeline.Result {
	r := result(eps...)
	x := walks(n, eps[len(eps)-1])
	for c := range r.Curves {
		for e, eps := range eps {
			if c > 0 {
				r.Curves[c].Correct[e] = r.Curves[c].Correct[e] * n / r.N
				continue
			}
			r.Curves[0].Correct[e] = 0
			for i := range x.Walks {
				if x.Walks[i].At(eps, x.Max) {
					r.Curves[0].Correct[e]++
				}
			}
		}
	}
	r.N, r.Clean = n, r.Curves[0].Correct[0]
	r.Curves[0].Exact = x
	return r
}

func BenchmarkFigure(b *testing.B) {
	for _, c := range []struct {
		name string
		r    *pipeline.Result
	}{
		{"grid", result(grid(21, 0.5)...)},
		{"exact/N=1000", exactly(1000, grid(21, 0.5)...)},
		{"exact/N=10000", exactly(10000, grid(21, 0.5)...)},
		{"exact/N=60000", exactly(60000, grid(21, 0.2)...)},
	} {
		f := Figure{Title: "Accuracy against eps", Model: "m", Result: c.r}
		for name, draw := range map[string]func() ([]byte, error){"PNG": f.PNG, "SVG": f.SVG} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				var data []byte
				var err error
				for b.Loop() {
					if data, err = draw(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(data)), "bytes")
			})
		}
	}
}
