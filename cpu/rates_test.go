package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/ref"
)

// TestRates compares the rates with their formulas in float64. They are asked for layer by layer.
// Where all labels share one matrix, each rate must be at least that of every label and rival. In
// the last layer it must be the largest of those.
func TestRates(t *testing.T) {
	for _, classes := range []int{2, 10, maxRated, maxRated + 1} {
		t.Run(fmt.Sprintf("O=%d", classes), func(t *testing.T) { testRates(t, classes) })
	}
}

func testRates(t *testing.T, O int) {
	m := ref.RandomModel(rand.New(rand.NewPCG(5, 5)), 1, 6, 9, 7, O)
	l := linears(m)
	b, err := New[float32](m, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, lowest := range []int{1, 0} {
		if err := b.model.mlp.rate(t.Context(), &b.workers, lowest); err != nil {
			t.Fatal(err)
		}
	}
	largest := make([]float64, 7) // difference of two classes in the last layer
	for y := range O {
		for c := range O {
			// At the logits: when z_y falls the margin falls, when z_c rises the margin falls.
			down, up := make([]float64, O), make([]float64, O)
			if c != y {
				down[y], up[c] = 1, 1
			}
			for k := len(l) - 1; k >= 0; k-- {
				w, in := l[k].Weight.Data().([]float32), l[k].Weight.Shape()[1]
				d, u := make([]float64, in), make([]float64, in)
				for i := range in {
					net := 0.0
					for o := range down {
						v := float64(w[o*in+i])
						net += (down[o] - up[o]) * v
						d[i] += down[o]*math.Max(v, 0) + up[o]*math.Max(-v, 0)
						u[i] += down[o]*math.Max(-v, 0) + up[o]*math.Max(v, 0)
					}
					if k == len(l)-1 { // no ReLU between the two logits and their difference
						d[i], u[i] = math.Max(net, 0), math.Max(-net, 0)
						largest[i] = math.Max(largest[i], math.Abs(net))
					}
				}
				down, up = d, u
				table := b.model.mlp.rates.at(k, int32(y))
				for i := range in {
					row := make([]float32, table.Padded())
					table.MulAddGroups(row, len(row), []gemm.Group[float32]{{Rows: 1, List: []uint32{uint32(i)}, A: []float32{1}}})
					at := c
					if O > maxRated {
						at = 0
					}
					got, want := [2]float64{float64(row[at]), float64(row[b.model.mlp.rates.classes+at])}, [2]float64{d[i], u[i]}
					for j := range got {
						tol := 1e-5 * (d[i] + u[i])
						if O > maxRated && got[j] >= want[j]-tol {
							continue
						}
						if !(math.Abs(got[j]-want[j]) <= tol) {
							t.Fatalf("layer %d, input %d, label %d, rival %d: rates down and up are %v, want %v", k, i, y, c, got, want)
						}
					}
				}
			}
		}
	}
	for i, want := range largest {
		if O <= maxRated {
			break
		}
		row := make([]float32, b.model.mlp.rates.at(2, 0).Padded())
		b.model.mlp.rates.at(2, 0).MulAddGroups(row, len(row), []gemm.Group[float32]{{Rows: 1, List: []uint32{uint32(i)}, A: []float32{1}}})
		if !(math.Abs(float64(row[0])-want) <= 1e-5*want) || row[1] != row[0] {
			t.Errorf("input %d: rates of all labels are %v, want %v twice", i, row[:2], want)
		}
	}
}
