package report

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"advsweep/pipeline"
)

// TestConfusions counts the flows of few classes and of many, where pairs are not counted one by
// one, and holds them against a count image by image.
func TestConfusions(t *testing.T) {
	const N, E = 500, 3
	for _, O := range []int{2, 300, 513, pipeline.MaxClasses} {
		t.Run(fmt.Sprint(O), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(O)))
			few := func() int32 { return int32(r.IntN(min(O, 7)) * (O - 1) / min(O-1, 6) % O) }
			res := &pipeline.Result{N: N, Classes: O, Eps: make([]float64, E), Images: make([]pipeline.Clean, N), Curves: []pipeline.Curve{{Correct: make([]int, E), Outcomes: make([]pipeline.Outcome, N*E)}}}
			c := &res.Curves[0]
			want := make([]map[[2]int]int, E)
			for e := range want {
				want[e] = map[[2]int]int{}
			}
			for i := range res.Images {
				res.Images[i].Label = few()
				for e := range E {
					c.Outcomes[i*E+e].Class = few()
					want[e][[2]int{int(res.Images[i].Label), int(c.Outcomes[i*E+e].Class)}]++
				}
			}
			for from := range E {
				for at, flows := range confusions(res, c, from, E) {
					last := flow{-1, -1, 0}
					for _, f := range flows {
						if f.n != want[from+at][[2]int{f.from, f.to}] {
							t.Errorf("eps %d: %+v, want %d", from+at, f, want[from+at][[2]int{f.from, f.to}])
						}
						if f.from < last.from || f.from == last.from && f.to <= last.to {
							t.Errorf("eps %d: %+v behind %+v", from+at, f, last)
						}
						last = f
					}
					if len(flows) != len(want[from+at]) {
						t.Errorf("eps %d: %d flows, want %d", from+at, len(flows), len(want[from+at]))
					}
				}
			}
		})
	}
}
