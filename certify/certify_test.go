package certify_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/certify"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"

	"gorgonia.org/tensor"
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
	refused, networks := 0, testsize.Of(12, 60, 400)
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
				// Tighter boxes may have lines that are a little farther off around smooth
				// functions.
				if before != nil && method != "auto" && method != "branch" && !(bounds[k] >= before[k]-1e-3*(1+math.Abs(before[k]))) {
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

// linear is a network of Linear layers of these sizes, whose weights have magnitudes far apart.
func linear(r *rand.Rand, sizes ...int) *model.Model {
	m := &model.Model{}
	for l, in := range sizes[:len(sizes)-1] {
		out := sizes[l+1]
		w, b := make([]float32, out*in), make([]float32, out)
		for i := range w {
			w[i] = float32(r.NormFloat64() * math.Pow(2, float64(r.IntN(24)-12)))
		}
		for i := range b {
			b[i] = float32(r.NormFloat64())
		}
		m.Layers = append(m.Layers, model.Linear{
			Name: "fc", Weight: tensor.New(tensor.WithShape(out, in), tensor.WithBacking(w)), Bias: tensor.New(tensor.WithShape(out), tensor.WithBacking(b)),
		})
	}
	return m
}

// exactLeast is the least value of row·z of a linear network over a box, in numbers of 2000 bits.
func exactLeast(m *model.Model, lo, hi, row []float64) *big.Float {
	number := func(v float64) *big.Float { return new(big.Float).SetPrec(2000).SetFloat64(v) }
	var a []*big.Float
	for _, v := range row {
		a = append(a, number(v))
	}
	least := number(0)
	for l := len(m.Layers) - 1; l >= 0; l-- {
		layer := m.Layers[l].(model.Linear)
		w, b := layer.Weight.Data().([]float32), layer.Bias.Data().([]float32)
		in := len(w) / len(b)
		below := make([]*big.Float, in)
		for i := range below {
			below[i] = number(0)
			for o := range b {
				below[i].Add(below[i], number(0).Mul(a[o], number(float64(w[o*in+i]))))
			}
		}
		for o, v := range b {
			least.Add(least, number(0).Mul(a[o], number(float64(v))))
		}
		a = below
	}
	for i, v := range a {
		end := lo[i]
		if v.Sign() < 0 {
			end = hi[i]
		}
		least.Add(least, number(0).Mul(v, number(end)))
	}
	return least
}

// TestLinear: on a network without functions every backward bound is the least value itself, and
// rounding never puts it above, however much cancels.
func TestLinear(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := linear(r, 1+r.IntN(30), 1+r.IntN(20), 1+r.IntN(20), 3)
		x := make([]float64, m.Inputs())
		for i := range x {
			x[i] = r.NormFloat64() * 1000
		}
		lo, hi := box(r, x, math.Pow(2, -20*r.Float64()))
		rows := [][]float64{{1, -1, 0}, {0.1, -0.3, 0.7}, {0, 1, -1}}
		c, err := certify.New(m, certify.CROWN)
		if err != nil {
			t.Fatal(err)
		}
		bounds, err := c.Lower(t.Context(), lo, hi, rows)
		if err != nil {
			t.Fatal(err)
		}
		for k, row := range rows {
			exact := exactLeast(m, lo, hi, row)
			if new(big.Float).SetFloat64(bounds[k]).Cmp(exact) > 0 {
				t.Errorf("seed %d, row %d: bound %v above the least value %v", seed, k, bounds[k], exact)
			}
			middle, _ := ref.Forward(m, x)
			least, _ := exact.Float64()
			if breadth := math.Abs(dot(middle, row) - least); !(least-bounds[k] <= 1e-4*breadth+1e-9*math.Abs(least)) {
				t.Errorf("seed %d, row %d: bound %v, want the least value %v within 1e-4 of %v", seed, k, bounds[k], least, breadth)
			}
		}
	}
}

// TestRefused: what has no bounds is refused by name, and what is no box is an error.
func TestRefused(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 4, 5, 3)
	c, err := certify.New(m, certify.CROWN)
	if err != nil {
		t.Fatal(err)
	}
	lo, hi := make([]float64, 4), []float64{1, 1, 1, 1}
	rows := certify.Margins(1, 3)
	for name, ask := range map[string]func() error{
		"inputs":     func() error { _, err := c.Lower(t.Context(), lo[:3], hi, rows); return err },
		"falls":      func() error { _, err := c.Lower(t.Context(), hi, lo, rows); return err },
		"not finite": func() error { _, err := c.Lower(t.Context(), []float64{math.NaN(), 0, 0, 0}, hi, rows); return err },
		"infinite":   func() error { _, err := c.Lower(t.Context(), lo, []float64{math.Inf(1), 1, 1, 1}, rows); return err },
		"row":        func() error { _, err := c.Lower(t.Context(), lo, hi, [][]float64{{1, -1}}); return err },
		"label":      func() error { _, err := c.Margin(t.Context(), lo, hi, 3); return err },
		"method":     func() error { _, err := c.LowerBy(t.Context(), "simplex", lo, hi, rows); return err },
	} {
		if ask() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := certify.New(m, "simplex"); err == nil || !strings.Contains(err.Error(), `"simplex"`) || !strings.Contains(err.Error(), "crown") {
		t.Errorf("unknown method: %v", err)
	}
	soft := *m
	soft.Layers = append(slices.Clone(m.Layers), model.Softmax{})
	if _, err := certify.New(&soft, certify.IBP); err == nil || !strings.Contains(err.Error(), "Softmax") {
		t.Errorf("softmax: %v, want a refusal by name", err)
	}
	m.Layers[0].(model.Linear).Weight.Data().([]float32)[0] = float32(math.NaN())
	c, err = certify.New(m, certify.CROWN)
	if err != nil {
		t.Fatal(err)
	}
	bounds, err := c.Lower(t.Context(), lo, hi, rows)
	if err != nil || slices.Max(bounds) > math.Inf(-1) {
		t.Errorf("a weight that is no number: bounds %v, %v, want nothing proven", bounds, err)
	}
}
