package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/model"
)

// eachObjective calls f for every loss, with and without targets, of every label.
func eachObjective(classes int, f func(l attack.Loss, y, target int)) {
	for _, l := range []attack.Loss{attack.CrossEntropy, attack.Margin, attack.DLR} {
		for y := range classes {
			for target := -1; target < classes; target++ {
				if classes >= l.MinClasses(target >= 0) {
					f(l, y, target)
				}
			}
		}
	}
}

func unitOf(g []float64) []float64 {
	top := 0.0
	for _, v := range g {
		top = math.Max(top, math.Abs(v))
	}
	out := slices.Clone(g)
	for j := range out {
		if top > 0 {
			out[j] /= top
		}
	}
	return out
}

// TestObjectiveGradient checks the gradients against central differences of Objective, both by
// their largest element: the former are multiples. Logits are 0.05 apart or more, so that no order
// changes within h, and the differences err by h² times a third derivative of at most 1/0.05³ or
// so, relative to gradients of 0.01 and more.
func TestObjectiveGradient(t *testing.T) {
	const h = 1e-6
	r := rand.New(rand.NewPCG(1, 3))
	for classes := 2; classes < 7; classes++ {
		for range 20 {
			z := make([]float64, classes)
			for j, k := range r.Perm(classes) {
				z[j] = 0.4*float64(k) + 0.35*r.Float64()
			}
			eachObjective(classes, func(l attack.Loss, y, target int) {
				want := make([]float64, classes)
				for j := range want {
					at := func(d float64) float64 {
						moved := slices.Clone(z)
						moved[j] += d
						return Objective(l, moved, y, target)
					}
					want[j] = (at(h) - at(-h)) / (2 * h)
				}
				got := unitOf(ObjectiveGradient(l, z, y, target))
				// 0, and so are the differences but for rounding
				if l == attack.DLR && target == y {
					want = make([]float64, classes)
				}
				want = unitOf(want)
				for j := range want {
					if !(math.Abs(got[j]-want[j]) <= 1e-6) {
						t.Fatalf("loss %v, label %d, target %d, logits %v: %v, central differences %v", l, y, target, z, got, want)
					}
				}
			})
		}
	}
}

// TestObjectiveTies: of equal logits the first is the larger, as if each lay a little below the one
// before. Where that leaves DLR's denominator 0 the gradient is that of minus the numerator.
func TestObjectiveTies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	flat := 0
	for classes := 2; classes < 7; classes++ {
		for range 30 {
			z, apart := make([]float64, classes), make([]float64, classes)
			for j := range z {
				z[j] = float64(r.IntN(3))
				apart[j] = z[j] - 1e-9*float64(j)
			}
			eachObjective(classes, func(l attack.Loss, y, target int) {
				want := unitOf(ObjectiveGradient(l, apart, y, target))
				p := order(z)
				if l == attack.DLR && (target < 0 && z[p[0]] == z[p[2]] || target >= 0 && z[p[0]] == z[p[3]]) {
					flat++
					to := target
					if to < 0 {
						to = other(p, y)
					}
					want = make([]float64, classes)
					want[y]--
					want[to]++
				}
				got := unitOf(ObjectiveGradient(l, z, y, target))
				for j := range want {
					if !(math.Abs(got[j]-want[j]) <= 1e-7) {
						t.Fatalf("loss %v, label %d, target %d, logits %v: %v, want %v", l, y, target, z, got, want)
					}
				}
			})
		}
	}
	if flat < 20 {
		t.Errorf("%d denominators of 0: the test says too little", flat)
	}
}

// TestBoundObjectiveGradient moves logits within their bounds: where the bound is sure, gradients
// stay within it.
func TestBoundObjectiveGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	unsure, all := 0, 0
	for k := range 200 {
		classes := 2 + k%5
		z, moved := make([]Value, classes), make([]float64, classes)
		for j := range z {
			z[j] = Value{r.NormFloat64(), 0.02 * r.Float64()}
			moved[j] = z[j].V + z[j].Err*(2*float64(r.IntN(2))-1)
		}
		eachObjective(classes, func(l attack.Loss, y, target int) {
			want, sure := BoundObjectiveGradient(l, z, y, target, Float64)
			all++
			if !sure {
				unsure++
				return
			}
			scale := 1.0
			got := ObjectiveGradient(l, moved, y, target)
			// a multiple: by the larger of n and d, each of its own logits
			if l == attack.DLR && target != y {
				scale = multiple(z, moved, y, target)
			}
			for j, v := range want {
				if d := math.Abs(scale*got[j] - v.V); !(d <= v.Err+1e-12) {
					t.Fatalf("loss %v, label %d, target %d, logits %v: %v at %v, want %v", l, y, target, z, got, moved, want)
				}
			}
		})
	}
	if unsure*3 > all {
		t.Errorf("%d of %d are not sure: the test says too little", unsure, all)
	}
}

// multiple returns by how much the scale of DLR's gradient differs at moved and at z.
func multiple(z []Value, moved []float64, y, target int) float64 {
	scale := func(z []float64) float64 {
		p := order(z)
		n, d := 0.0, 0.0
		if target < 0 {
			n, d = z[y]-z[other(p, y)], z[p[0]]-z[p[2]]
		} else {
			n, d = z[y]-z[target], z[p[0]]-(z[p[2]]+z[p[3]])/2
		}
		return math.Max(math.Abs(n), d)
	}
	v := make([]float64, len(z))
	for j := range z {
		v[j] = z[j].V
	}
	return scale(moved) / scale(v)
}

// TestProjectL2 checks that the projection is on the ball, is the nearest point of it, and that its
// bound holds for points within that of z.
func TestProjectL2(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	none := func(int, float64) float64 { return 1e-15 }
	for k := range 200 {
		n := 1 + k%7
		x0, z, moved := make([]float64, n), make([]Value, n), make([]Value, n)
		for i := range z {
			x0[i] = r.NormFloat64()
			z[i] = Value{x0[i] + r.NormFloat64(), 0.3 * r.Float64()}
			moved[i].V = z[i].V + z[i].Err*(2*r.Float64()-1)
		}
		eps := 3 * r.Float64()
		got, other := projectL2(z, x0, eps, none), projectL2(moved, x0, eps, none)
		dot, norm, length := 0.0, 0.0, 0.0
		for i, v := range got {
			if !(math.Abs(other[i].V-v.V) <= v.Err+1e-12) {
				t.Fatalf("case %d: pixel %d: %v, want %v", k, i, other[i].V, v)
			}
			norm = math.Hypot(norm, v.V-x0[i])
			length = math.Hypot(length, z[i].V-x0[i])
			dot += (z[i].V - x0[i]) * (v.V - x0[i])
		}
		if want := math.Min(length, eps); !(math.Abs(norm-want) <= 1e-12) || !(math.Abs(dot-norm*length) <= 1e-12) {
			t.Fatalf("case %d: ‖δ‖ %v from %v, eps %v, inner product %v", k, norm, length, eps, dot)
		}
	}
}

func TestRound(t *testing.T) {
	for _, c := range []struct {
		norm       attack.Norm
		x, x0, eps float64 // times 255
		want       int
	}{
		{attack.Linf, 10.4, 10, 1, 10},
		{attack.Linf, 10.6, 10, 1, 11},
		{attack.Linf, 10.6, 10, 0.7, 10}, // 11 is outside
		{attack.Linf, 9.4, 10, 0.7, 10},
		{attack.Linf, 11, 10, 0.99995, 11}, // within t
		{attack.Linf, 10.5, 10, 1, 10},     // to even
		{attack.Linf, 11.5, 10, 2, 12},
		{attack.Linf, 10.5, 10.6, 0.1, 11}, // no level within
		{attack.Linf, -3, 2, 5, 0},
		{attack.Linf, 257, 254, 5, 255},
		{attack.Linf, 300, 299.7, 1, 255}, // no level of a byte within
		{attack.Linf, -20.2, -20, 1, 0},
		{attack.L2, 10.6, 10, 1, 10},
		{attack.L2, 9.4, 10, 1, 10},
		{attack.L2, 13.2, 10, 1, 13},
		{attack.L2, 6.8, 10, 1, 7},
		{attack.L2, 12.99995, 10, 1, 13}, // is a level
		{attack.L2, 10.6, 10.7, 1, 11},   // no level between
		{attack.L2, 10.6, 10.5, 1, 10},   // as near
		{attack.L2, 300, 299, 1, 255},
		{attack.L2, -5.5, -3, 1, 0},
	} {
		if got := Round(c.norm, c.x/255, c.x0/255, c.eps/255); got != c.want {
			t.Errorf("%v: %v within %v of %v: %d, want %d", c.norm, c.x, c.eps, c.x0, got, c.want)
		}
	}
}

// TestStep checks the reference's step by hand, for a model whose gradient is known: z = (0, x1 +
// 3·x2), label 1, so that the margin rises along -(1, 3).
func TestStep(t *testing.T) {
	m := RandomModel(rand.New(rand.NewPCG(1, 1)), 0, 2, 2)
	copy(m.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{0, 0, 1, 3})
	norm := math.Sqrt(10)
	for _, c := range []struct {
		name string
		s    attack.Step
		eps  float64
		x    [2]float64 // before
		old  []float64
		m    []Value
		want [2]float64
		next [2]float64 // the momentum
	}{
		{"sign", attack.Step{}, 1, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.25, 0.25}, [2]float64{}},
		{"ball", attack.Step{Ball: true}, 0.125, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.375, 0.375}, [2]float64{}},
		{"bounds", attack.Step{Bounds: attack.Bounds{Lo: 0.4, Hi: 1}}, 1, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.4, 0.4}, [2]float64{}},
		{"l2", attack.Step{Norm: attack.L2}, 1, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.5 - 0.25/norm, 0.5 - 0.75/norm}, [2]float64{}},
		{"l2 ball", attack.Step{Norm: attack.L2, Ball: true}, 0.125, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.5 - 0.125/norm, 0.5 - 0.375/norm}, [2]float64{}},
		{"momentum", attack.Step{Momentum: true, Decay: 0.5}, 1, [2]float64{0.5, 0.5}, nil, []Value{{4, 0}, {1, 0}}, [2]float64{0.75, 0.25}, [2]float64{1.5, -1}},
		{"alpha", attack.Step{Alpha: 0.75}, 1, [2]float64{0.5, 0.5}, []float64{0.25, 0.75}, nil, [2]float64{0.5 - 0.1875 + 0.0625, 0.5 - 0.1875 - 0.0625}, [2]float64{}},
		{"alpha first", attack.Step{Alpha: 0.75}, 1, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.5 - 0.1875, 0.5 - 0.1875}, [2]float64{}},
		{"eps 0", attack.Step{Momentum: true, Norm: attack.L2}, 0, [2]float64{0.5, 0.5}, nil, nil, [2]float64{0.5, 0.5}, [2]float64{-0.5, -1.5}},
	} {
		c.s.Loss = attack.Margin
		r := Row{X0: []float64{0.5, 0.5}, X: c.x[:], Label: 1, Eps: c.eps, Old: c.old, M: c.m}
		got, zero, sure := r.Step(m, c.s, 0.25, -1, 0, Float64)
		if zero || !sure {
			t.Fatalf("%s: zero %v, sure %v", c.name, zero, sure)
		}
		for i, v := range got {
			if !(math.Abs(v.V-c.want[i]) <= 1e-15) || !(v.Err <= 1e-13) {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
			if c.s.Momentum && !(math.Abs(r.M[i].V-c.next[i]) <= 1e-15) {
				t.Errorf("%s: momentum %v, want %v", c.name, r.M, c.next)
			}
		}
		if c.s.Alpha != 0 && fmt.Sprint(r.Old) != fmt.Sprint(c.x) {
			t.Errorf("%s: old %v, want %v", c.name, r.Old, c.x)
		}
	}
}

// The judge has no answer to a loss, a norm or a direction that it does not know, and says so.
func TestUnknown(t *testing.T) {
	z := []float64{3, 2, 1, 0}
	row := func() *Row { return &Row{X: []float64{0}, X0: []float64{0}, Eps: 1} }
	for want, f := range map[string]func(){
		"value of loss(3)":    func() { Objective(attack.DLR+1, z, 0, -1) },
		"gradient of loss(3)": func() { ObjectiveGradient(attack.DLR+1, z, 0, -1) },
		"norm(4), a step": func() {
			row().Step(nil, attack.Step{Norm: attack.L0 + 1, Direction: attack.Uniform}, 0, -1, 0, Float64)
		},
		"norm(4), a level": func() { Round(attack.L0+1, 0, 0, 0) },
		"norm(4), a draw":  func() { Draw(attack.Step{Direction: attack.Uniform, Norm: attack.L0 + 1}, 3, 0, 0) },
		"l1, a level":      func() { Round(attack.L1, 0, 0, 0) },
		"l0, a step":       func() { row().Step(nil, attack.Step{Norm: attack.L0, Direction: attack.Uniform}, 0, -1, 0, Float64) },
		"direction 0":      func() { Draw(attack.Step{}, 3, 0, 0) },
	} {
		func() {
			defer func() {
				short, _, _ := strings.Cut(want, ",")
				if got := fmt.Sprint(recover()); !strings.Contains(got, short) {
					t.Errorf("%s: panic %q, want one with it", want, got)
				}
			}()
			f()
		}()
	}
}
