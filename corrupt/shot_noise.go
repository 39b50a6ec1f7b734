package corrupt

import (
	"sort"
	"sync"
	"sync/atomic"

	"advsweep/internal/portable"
)

// shotNoise makes of every number x one of k/c, k drawn from the Poisson distribution of mean c·x:
// white is c photons.
var shotNoise = Corruption{
	Name: "shot_noise", About: "counts photons: Poisson noise, the fewer the noisier", Source: hendrycks,
	Constants: [Severities]float64{500, 250, 100, 75, 50},
	Meaning:   "photons of white",
	stream:    2,
	apply: func(dst, src Image, c float64, d draw) {
		for i, x := range src.Pixels {
			dst.Pixels[i] = float64(poisson(float64(x*c), d.uniform(i))) / c
		}
	},
}

// poisson is the quantile u, in [0, 1), of the Poisson distribution: the least k with P(K ≤ k) > u.
func poisson(mean, u float64) int {
	table, ok := poissonTables.Load(mean)
	if !ok {
		table = poissonTable(mean)
		// The numbers of bytes are few; of others there is no end.
		if poissonKept.Add(1) <= Severities*256 {
			poissonTables.Store(mean, table)
		}
	}
	all := table.([]float64)
	return sort.Search(len(all)-1, func(k int) bool { return all[k] > u })
}

// poissonTable returns P(K ≤ k) for k from 0 on, until the next term changes nothing.
func poissonTable(mean float64) []float64 {
	p := portable.Exp(-mean)
	sum := p
	table := []float64{sum}
	for k := 1; ; k++ {
		p = float64(p*mean) / float64(k)
		if float64(k) > mean && sum+p == sum {
			return table
		}
		sum += p
		table = append(table, sum)
	}
}

// poissonTables are tables by their mean, of which poissonKept were offered.
var (
	poissonTables sync.Map
	poissonKept   atomic.Int64
)
