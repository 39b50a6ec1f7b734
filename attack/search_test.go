package attack

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// linearRows are rows of a linear model with a bend, in float64: z = W·x + (W·x)²/4. What they
// return is memory that the next call overwrites, as Rows says.
type linearRows struct {
	threads        int
	w              [][]float64 // [O][I]
	x0, x          [][]float64 // [N][I]
	pixels, slopes [][]float64 // [N][I]
	labels         []int32
	bounds         Bounds
}

// newLinearRows returns n rows of size pixels, most of which are at a bound, as in digits.
func newLinearRows(n, size, classes, threads int) *linearRows {
	r := rand.New(rand.NewPCG(11, 1))
	m := &linearRows{threads: threads, bounds: Bounds{Lo: 0, Hi: 1}, w: newMatrix(classes, size), x0: newMatrix(n, size), x: newMatrix(n, size), pixels: newMatrix(n, size), slopes: newMatrix(n, size)}
	for _, w := range m.w {
		for i := range w {
			w[i] = r.NormFloat64() / math.Sqrt(float64(size))
		}
	}
	for k, x0 := range m.x0 {
		for i := range x0 {
			if r.IntN(4) == 0 {
				x0[i] = r.Float64()
			}
		}
		copy(m.x[k], x0)
		class, _, _ := Judge(m.logits(k), 0)
		m.labels = append(m.labels, int32(class))
	}
	m.labels[0] = (m.labels[0] + 1) % int32(classes) // one is misread as it is
	return m
}

func newMatrix(rows, columns int) [][]float64 {
	m := make([][]float64, rows)
	for k := range m {
		m[k] = make([]float64, columns)
	}
	return m
}

func (m *linearRows) logits(k int) []float64 {
	z := make([]float64, len(m.w))
	for j, w := range m.w {
		for i, v := range w {
			z[j] += float64(v * m.x[k][i])
		}
		z[j] += float64(z[j]*z[j]) / 4
	}
	return z
}

// slope writes to g the gradient of Σ q_j·z_j at row k.
func (m *linearRows) slope(g []float64, k int, q []float64) {
	clear(g)
	for j, w := range m.w {
		plain := 0.0
		for i, v := range w {
			plain += float64(v * m.x[k][i])
		}
		for i, v := range w {
			g[i] += float64(q[j] * v * (1 + plain/2))
		}
	}
}

func (m *linearRows) N() int               { return len(m.x) }
func (m *linearRows) Columns() []float64   { return []float64{1000} }
func (m *linearRows) Restarts() []int      { return nil }
func (m *linearRows) Labels() []int32      { return m.labels }
func (m *linearRows) Shape() (c, h, w int) { return 1, 1, len(m.x[0]) }
func (m *linearRows) Targets() []int32     { return nil }
func (m *linearRows) Bounds() Bounds       { return m.bounds }
func (m *linearRows) Threads() int         { return m.threads }
func (m *linearRows) Done()                {}
func (m *linearRows) Images() (all []int) {
	for k := range m.x {
		all = append(all, k)
	}
	return all
}

func (m *linearRows) Step(_ context.Context, s Step) error {
	if s.Direction != Along {
		return fmt.Errorf("direction %d", s.Direction)
	}
	for k, x := range m.x {
		for i := range x {
			x[i] = m.bounds.box(x[i] + s.Along[k*len(x)+i])
		}
	}
	return nil
}

func (m *linearRows) Logits(context.Context) (z [][]float64, err error) {
	for k := range m.x {
		z = append(z, m.logits(k))
	}
	return z, nil
}

func (m *linearRows) Pixels(context.Context) ([][]float64, error) {
	for k, x := range m.x {
		copy(m.pixels[k], x)
	}
	return m.pixels, nil
}

func (m *linearRows) Gradient(_ context.Context, q []float64) (g [][]float64, err error) {
	g = newMatrix(len(m.x), len(m.x[0]))
	for k := range g {
		m.slope(g[k], k, q[k*len(m.w):][:len(m.w)])
	}
	return g, nil
}

func (m *linearRows) See(ctx context.Context, weigh func(k int, z, q []float64)) (z, g [][]float64, err error) {
	z, err = m.Logits(ctx)
	for k := range z {
		q := make([]float64, len(m.w))
		weigh(k, z[k], q)
		m.slope(m.slopes[k], k, q)
	}
	return z, slices.Clone(m.slopes), err
}

func (m *linearRows) Look(ctx context.Context, _ Step) ([][]float64, error) { return m.Logits(ctx) }
func (m *linearRows) Keep(context.Context, int, []bool) error               { return nil }
func (m *linearRows) Restore(_ context.Context, _ int, which []bool) error {
	for k, back := range which {
		if back {
			copy(m.x[k], m.x0[k])
		}
	}
	return nil
}

// What a search finds is the same to the last bit on any number of threads.
func TestSearchThreads(t *testing.T) {
	for _, method := range Methods {
		n, ok := method.(Nearest)
		if !ok {
			continue
		}
		for _, norm := range allNorms() {
			a := n.Facts().Default
			if !n.Facts().Has(norm) {
				continue
			}
			a.Norm, a.Steps = norm, 12
			t.Run(fmt.Sprintf("%s/%v", a.Kind, norm), func(t *testing.T) {
				var want []Found
				for _, threads := range []int{1, 3, 16} {
					got, err := n.Search(t.Context(), a, newLinearRows(9, 30, 4, threads))
					if err != nil {
						t.Fatal(err)
					}
					if want == nil {
						want = got
					}
					far := 0
					for k, f := range got {
						if !(f.Distance == want[k].Distance) || f.Zero != want[k].Zero || len(f.Along) != len(want[k].Along) {
							t.Fatalf("%d threads, row %d: %v, on one %v", threads, k, f, want[k])
						}
						if f.Distance > 0 && !math.IsInf(f.Distance, 1) {
							far++
						}
						for i, v := range f.Along {
							if math.Float64bits(v) != math.Float64bits(want[k].Along[i]) {
								t.Fatalf("%d threads, row %d: pixel %d moves by %v, on one %v", threads, k, i, v, want[k].Along[i])
							}
						}
					}
					if far < 1 {
						t.Errorf("%d rows of %d were fooled: the test says too little", far, len(got))
					}
				}
			})
		}
	}
}

// APGD in L1 is no search, but decides where rows go as they do.
func TestSparseThreads(t *testing.T) {
	a := APGD(CrossEntropy, 12, 1)
	a.Norm = L1
	var want [][]float64
	for _, threads := range []int{1, 3, 16} {
		rows := newLinearRows(9, 30, 4, threads)
		if err := a.Run(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = rows.x
		}
		for k, x := range rows.x {
			for i, v := range x {
				if math.Float64bits(v) != math.Float64bits(want[k][i]) {
					t.Fatalf("%d threads, row %d: pixel %d is %v, on one %v", threads, k, i, v, want[k][i])
				}
			}
		}
	}
}

// The functions of a norm that a search calls for each row at each step take no memory once there
// is enough.
func TestNormsAllocateNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 1))
	const size = 100
	d, bounds := make([]float64, size), Bounds{Lo: 0, Hi: 1}
	u, w := randomPlane(r, size)
	for norm, g := range norms {
		m := new(scratch)
		all := func() {
			g.toPlane(m, d, u, w, 2, bounds)
			g.shrink(m, d, g.length(d)/2)
			g.part(m, d, w, 0.5)
			if g.prox != nil {
				g.prox(m, d, 0.1)
			}
			intoL1(m, d, u, 1, bounds)
		}
		all()
		if n := testing.AllocsPerRun(10, all); n != 0 {
			t.Errorf("%v: %v allocations, want none", Norm(norm), n)
		}
	}
}
