package certify_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/certify"
	"advsweep/internal/ref"
)

// TestLinearFunctions wants the linear functions to lie below their rows at random points of random
// networks, least to be what CROWN proves or less, and the slopes of one Linear to be its weights.
func TestLinearFunctions(t *testing.T) {
	asked := 0
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := ref.RandomNetwork(r)
		c, err := certify.New(m, certify.CROWN)
		if err != nil {
			continue
		}
		asked++
		x := make([]float64, m.Inputs())
		for i := range x {
			x[i] = r.Float64()
		}
		lo, hi := box(r, x, math.Pow(10, -3*r.Float64()))
		rows := certify.Margins(0, m.Outputs())
		least, slopes, err := c.Linear(t.Context(), lo, hi, rows)
		if err != nil {
			t.Fatal(err)
		}
		proven, err := c.Lower(t.Context(), lo, hi, rows)
		if err != nil {
			t.Fatal(err)
		}
		for k, row := range rows {
			if !(least[k] <= proven[k]) {
				t.Errorf("seed %d: least of row %d is %v, and CROWN proves %v", seed, k, least[k], proven[k])
			}
			corner, size := 0.0, 0.0
			for i, a := range slopes[k] {
				corner += min(float64(a*lo[i]), float64(a*hi[i]))
				size += math.Abs(a) * max(math.Abs(lo[i]), math.Abs(hi[i]))
			}
			for range 20 {
				at := 0.0
				for i := range x {
					x[i] = lo[i] + float64((hi[i]-lo[i])*r.Float64())
					at += float64(slopes[k][i] * x[i])
				}
				z, _ := ref.Forward(m, x)
				v := 0.0
				for j, q := range row {
					v += float64(q * z[j])
				}
				if !(v-(least[k]+at-corner) >= -1e-5*(1+size+math.Abs(v))) {
					t.Fatalf("seed %d: row %d is %v at a point, and its linear function %v", seed, k, v, least[k]+at-corner)
				}
			}
		}
	}
	if asked < 40 {
		t.Errorf("%d networks were asked", asked)
	}
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 6, 3)
	c, err := certify.New(m, certify.CROWN)
	if err != nil {
		t.Fatal(err)
	}
	_, slopes, err := c.Linear(t.Context(), make([]float64, 6), []float64{1, 1, 1, 1, 1, 1}, [][]float64{{0, 1, 0}})
	if err != nil {
		t.Fatal(err)
	}
	z0, _ := ref.Forward(m, make([]float64, 6))
	for i, a := range slopes[0] {
		x := make([]float64, 6)
		x[i] = 1
		z, _ := ref.Forward(m, x)
		if want := z[1] - z0[1]; !(math.Abs(a-want) <= 1e-6) {
			t.Errorf("slope %d is %v, want %v", i, a, want)
		}
	}
}
