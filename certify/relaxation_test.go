package certify

import (
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/internal/lower"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// truths has each function of relaxations by its definition, with parameters as lower gives them.
var truths = map[string]struct {
	parameters []([2]float64)
	value      func(p [2]float64, x float64) float64
}{
	"relu":       {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return max(x, 0) }},
	"leaky_relu": {[][2]float64{{0.1}, {-0.5}, {1.5}, {float64(float32(0.01))}}, func(p [2]float64, x float64) float64 { return max(x, 0) + p[0]*min(x, 0) }},
	"abs":        {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return math.Abs(x) }},
	"clip": {[][2]float64{{0, 6}, {-0.25, 0.5}, {math.Inf(-1), 1}, {-1, math.Inf(1)}, {math.Inf(-1), math.Inf(1)}, {2, 2}},
		func(p [2]float64, x float64) float64 { return min(max(x, p[0]), p[1]) }},
	"sigmoid":  {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return 1 / (1 + math.Exp(-x)) }},
	"tanh":     {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return math.Tanh(x) }},
	"gelu":     {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }},
	"silu":     {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return x / (1 + math.Exp(-x)) }},
	"softplus": {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }},
	"erf":      {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return math.Erf(x) }},
	"sin":      {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return math.Sin(x) }},
	"cos":      {[][2]float64{{}}, func(_ [2]float64, x float64) float64 { return math.Cos(x) }},
}

// TestRelaxations: on random intervals every function lies between its lines, within its span, and
// above every line around its pivot.
func TestRelaxations(t *testing.T) {
	for name := range relaxations {
		truth, ok := truths[name]
		if !ok {
			t.Errorf("%s has no truth here", name)
			continue
		}
		for _, p := range truth.parameters {
			f, err := relaxationOf(lower.Elementwise{Name: name, Parameters: p})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(3, 4))
			for range 300 {
				l := 4 * r.NormFloat64()
				u := l + math.Pow(10, 4*r.Float64()-2.5)
				down, up := f.slopes(l, u)
				lo, hi := f.heights(l, u, down, up)
				least, most := f.span(l, u)
				px, py, flat, steep, turns := f.pivot(l, u)
				w, b, straight := f.straight(l, u)
				for k := range 400 {
					x := l + (u-l)*float64(k)/399
					y := truth.value(p, x)
					const off = 1e-13
					if !(float64(down)*x+lo <= y+off) || !(y <= float64(up)*x+hi+off) || !(least <= y+off) || !(y <= most+off) {
						t.Fatalf("%s%v on [%v, %v]: %v at %v, with lines %v·x + %v and %v·x + %v, span %v to %v", name, p, l, u, y, x, down, lo, up, hi, least, most)
					}
					for _, s := range []float32{flat, steep, (flat + steep) / 2} {
						if turns && !(py+float64(s)*(x-px) <= y+off) {
							t.Fatalf("%s%v on [%v, %v]: %v at %v is below the line of slope %v around (%v, %v)", name, p, l, u, y, x, s, px, py)
						}
					}
					if straight && !(math.Abs(w*x+b-y) <= off) {
						t.Fatalf("%s%v on [%v, %v]: %v at %v, want %v·x + %v", name, p, l, u, y, x, w, b)
					}
				}
			}
		}
	}
}

func dense(v []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
}

// grid calls visit at n by n points of a box of two numbers.
func grid(lo, hi []float64, n int, visit func(x []float64)) {
	for i := range n {
		for j := range n {
			visit([]float64{lo[0] + (hi[0]-lo[0])*float64(i)/float64(n-1), lo[1] + (hi[1]-lo[1])*float64(j)/float64(n-1)})
		}
	}
}

// TestBranch: on networks of two inputs cases by ReLUs give a bound that is higher than that of
// Alpha, and no point of a grid lies below it.
func TestBranch(t *testing.T) {
	higher := 0
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 5))
		m := ref.RandomModel(r, 1, 2, 8, 8, 3)
		x := []float64{r.NormFloat64(), r.NormFloat64()}
		lo, hi := []float64{x[0] - 0.7, x[1] - 0.4}, []float64{x[0] + 0.7, x[1] + 0.4}
		// A row whose least value is just above 0 where it can be proven.
		row, least := []float64{1, -1, 0}, math.Inf(1)
		grid(lo, hi, 60, func(x []float64) {
			z, _ := ref.Forward(m, x)
			least = min(least, z[0]-z[1])
		})
		m.Layers[len(m.Layers)-1].(model.Linear).Bias.Data().([]float32)[0] += float32(0.01 - least)
		c, err := New(m, Branch)
		if err != nil {
			t.Fatal(err)
		}
		bounds := map[Method]float64{}
		for _, method := range []Method{CROWN, Alpha, Branch} {
			v, err := c.LowerBy(t.Context(), method, lo, hi, [][]float64{row})
			if err != nil {
				t.Fatal(err)
			}
			bounds[method] = v[0]
			if !(v[0] <= 0.01+1e-5) {
				t.Errorf("seed %d: %s proves %v, and 0.01 is the least value on a grid", seed, method, v[0])
			}
		}
		if bounds[Branch] > 0 && bounds[Alpha] <= 0 {
			higher++
		}
		if bounds[Branch] < bounds[CROWN] || bounds[Alpha] < bounds[CROWN] {
			t.Errorf("seed %d: %v, want them to rise from crown to branch", seed, bounds)
		}
	}
	if higher < 5 {
		t.Errorf("branching proves %d of 25 boxes that alpha does not, want at least 5", higher)
	}
	t.Logf("branching proves %d of 25 boxes that alpha does not", higher)
}

// TestMaxPool: the largest of numbers is neither above nor below its bounds, with windows that
// overlap.
func TestMaxPool(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 6))
		w := make([]float32, 2*4)
		for i := range w {
			w[i] = float32(r.NormFloat64())
		}
		m := &model.Model{Input: []int{1, 3, 3}, Layers: []model.Layer{
			model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}}, model.Linear{Name: "fc", Weight: dense(w, 2, 4), Bias: dense(make([]float32, 2), 2)},
		}}
		c, err := New(m, CROWN)
		if err != nil {
			t.Fatal(err)
		}
		lo, hi, x := make([]float64, 9), make([]float64, 9), make([]float64, 9)
		for i := range lo {
			lo[i] = r.NormFloat64()
			hi[i] = lo[i] + 2*r.Float64()
		}
		rows := [][]float64{{1, 0}, {-1, 0}, {1, -1}}
		bounds, err := c.Lower(t.Context(), lo, hi, rows)
		if err != nil {
			t.Fatal(err)
		}
		for corner := range 1 << 9 {
			for i := range x {
				if x[i] = lo[i]; corner>>i&1 == 1 {
					x[i] = hi[i]
				}
			}
			z, _ := ref.Forward(m, x)
			for k, row := range rows {
				if v := row[0]*z[0] + row[1]*z[1]; !(bounds[k] <= v+1e-12) {
					t.Fatalf("seed %d, row %d: %v at a corner, below the bound %v", seed, k, v, bounds[k])
				}
			}
		}
	}
}

// TestSplit: on its side a unit's form is not below what split.back makes of it.
func TestSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		s := split{on: r.IntN(2) == 1, beta: float32(r.IntN(2)) * r.Float32()}
		v, cx, cy := float32(r.NormFloat64()), r.NormFloat64(), r.NormFloat64()
		to, d := s.back(v, cx, cy)
		x := math.Abs(r.NormFloat64())
		y := x
		if !s.on {
			x, y = -x, 0
		}
		if form := float64(v) * (y - cy); !(float64(to)*(x-cx)+d <= form+1e-6) {
			t.Fatalf("%+v, form %v around (%v, %v): %v at x %v, below %v", s, v, cx, cy, form, x, float64(to)*(x-cx)+d)
		}
	}
}
