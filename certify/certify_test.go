package certify_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/certify"
	"advsweep/internal/ref"
	"advsweep/model"
)

// box returns a random box around x.
func box(r *rand.Rand, x []float64, eps float64) (lo, hi []float64) {
	for _, v := range x {
		lo, hi = append(lo, v-float64(eps*r.Float64())), append(hi, v+float64(eps*r.Float64()))
	}
	return lo, hi
}

// dot is Σ a·b.
func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += float64(v * b[i])
	}
	return sum
}

// descend looks for a low value of row·z in a box: by points, corners and gradient steps.
func descend(r *rand.Rand, m *model.Model, lo, hi, row []float64) float64 {
	least := math.Inf(1)
	x := make([]float64, len(lo))
	for try := range 12 {
		for i := range x {
			switch try % 3 {
			case 0:
				x[i] = lo[i] + float64((hi[i]-lo[i])*r.Float64())
			case 1:
				x[i] = []float64{lo[i], hi[i]}[r.IntN(2)]
			}
		}
		for range 4 {
			z, values := ref.Forward(m, x)
			least = min(least, dot(z, row))
			g := ref.Backward(m, values, row)
			for i := range x {
				if g[i] > 0 {
					x[i] = lo[i]
				} else if g[i] < 0 {
					x[i] = hi[i]
				}
			}
		}
		z, _ := ref.Forward(m, x)
		least = min(least, dot(z, row))
	}
	return least
}

// TestSound compares bounds with values of random networks: no point of a box is below.
func TestSound(t *testing.T) {
	refused := 0
	const networks = 300
	for seed := range uint64(networks) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := ref.RandomNetwork(r)
		x := make([]float64, m.Inputs())
		for i := range x {
			x[i] = r.Float64()
		}
		lo, hi := box(r, x, math.Pow(10, -3*r.Float64()))
		rows := certify.Margins(0, m.Outputs())
		var before []float64
		for _, method := range certify.Methods() {
			c, err := certify.New(m, certify.Method(method))
			if err != nil {
				refused++
				t.Log(err)
				break
			}
			bounds, err := c.Lower(t.Context(), lo, hi, rows)
			if err != nil {
				t.Fatal(err)
			}
			for k, row := range rows {
				least := descend(r, m, lo, hi, row)
				if !(bounds[k] <= least+1e-12*(1+math.Abs(least))) {
					t.Errorf("seed %d, %s: row %d is %v at a point, below the bound %v", seed, method, k, least, bounds[k])
				}
				if math.IsInf(bounds[k], -1) {
					t.Errorf("seed %d, %s: row %d has no bound", seed, method, k)
				}
				if before != nil && method != "auto" && !(bounds[k] >= before[k]) {
					t.Errorf("seed %d, %s: row %d has %v, and the weaker method has %v", seed, method, k, bounds[k], before[k])
				}
			}
			before = bounds
		}
	}
	t.Logf("%d of %d networks refused", refused, networks)
	if refused > networks/2 {
		t.Errorf("%d of %d networks are refused", refused, networks)
	}
}
