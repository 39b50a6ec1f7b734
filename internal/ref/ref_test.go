package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/model"
)

// TestGradient checks InputGradient, the truth of everything else, against central
// differences of the loss. Their error is of order h²·|f”'|, so h = 1e-5 gives 1e-9
// where no ReLU has its kink within h; a kink shows as two differences that disagree
// and that pixel is left out.
func TestGradient(t *testing.T) {
	const h = 1e-5
	compared := 0
	for seed, sizes := range [][]int{{5, 3}, {4, 6, 2}, {12, 9, 7, 5}, {9, 8, 8, 8, 4}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			m := RandomModel(r, 1, sizes...)
			for range 20 {
				x := make([]float64, sizes[0])
				for i := range x {
					x[i] = r.Float64()
				}
				y := r.IntN(sizes[len(sizes)-1])
				z, _ := Forward(m, x)
				q := 1 - Softmax(z)[y]
				loss := func(i int, d float64) float64 {
					moved := append([]float64(nil), x...)
					moved[i] += d
					z, _ := Forward(m, moved)
					return Loss(z, y)
				}
				for i, g := range InputGradient(m, x, y) {
					g *= q // back from the saturation-proof form
					left, right := (loss(i, 0)-loss(i, -h))/h, (loss(i, h)-loss(i, 0))/h
					if math.Abs(left-right) > 1e-3 {
						continue
					}
					compared++
					if d := (loss(i, h) - loss(i, -h)) / (2 * h); !(math.Abs(d-g) <= 1e-8) {
						t.Errorf("∂L/∂x[%d] = %v, central difference %v", i, g, d)
					}
				}
			}
		})
	}
	if compared < 500 {
		t.Errorf("only %d derivatives compared", compared)
	}
}

// TestLossGradient checks the form q against (softmax - onehot)/(1 - p_y) where that can
// be formed, and that it stays whole where float64 can't form it any more.
func TestLossGradient(t *testing.T) {
	z := []float64{1, -2, 0.5, 3}
	for y := range z {
		p := Softmax(z)
		for j, q := range LossGradient(z, y) {
			want := p[j]
			if j == y {
				want--
			}
			if want /= 1 - p[y]; !(math.Abs(q-want) <= 1e-15) {
				t.Errorf("label %d: q[%d] = %v, want %v", y, j, q, want)
			}
		}
	}
	q := LossGradient([]float64{900, 1, 2}, 0)
	if p := 1 / (1 + math.E); q[0] != -1 || !(math.Abs(q[1]-p) <= 1e-15) || !(math.Abs(q[2]-(1-p)) <= 1e-15) {
		t.Errorf("q = %v at a margin of 898, want [-1 %v %v]", q, p, 1-p)
	}
}

// TestBounds runs the model in float32 here, by plain loops, and holds the difference to
// the bound; a bound that is too tight fails, and so does one a million times too wide.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	m := RandomModel(r, 1, 30, 20, 20, 5)
	for range 50 {
		x := make([]float64, 30)
		for i := range x {
			x[i] = r.Float64()
		}
		got := make([]float32, len(x))
		for i, v := range x {
			got[i] = float32(v)
		}
		for _, l := range m.Layers {
			switch l := l.(type) {
			case model.Linear:
				w, b := l.Weight.Data().([]float32), l.Bias.Data().([]float32)
				z := append([]float32(nil), b...)
				for o := range z {
					for i, v := range got {
						z[o] += float32(w[o*len(got)+i] * v)
					}
				}
				got = z
			case model.ReLU:
				for i, v := range got {
					got[i] = max(v, 0)
				}
			}
		}
		logits, _ := BoundForward(m, Pixels(x, Float32), Float32)
		for j, v := range logits {
			if d := math.Abs(float64(got[j]) - v.V); !(d <= v.Err) || v.Err > 1e-3 {
				t.Fatalf("logit %d: %v in float32, %v ± %v", j, got[j], v.V, v.Err)
			}
		}
	}
}
