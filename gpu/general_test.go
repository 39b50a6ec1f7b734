//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/cpu"
	"advsweep/internal/backendtest"
	"advsweep/internal/ref"
	"advsweep/model"
)

// TestCPUGeneral is TestCPU for steps that are not plain, and for Keep, Restore, rounding and norms.
func TestCPUGeneral(t *testing.T) {
	need(t)
	if cpu.Kernels()[0] == "go" {
		t.Skip("the CPU kernel here does not fuse")
	}
	r := rand.New(rand.NewPCG(2, 3))
	m := ref.RandomModel(r, 1, 150, 70, 33, 10)
	const n, lo, first = 37, 2, 1<<32 - 20
	x, labels := images(r, n, m)
	clear(x.Data().([]float32)[5*150:][:150])
	// Image 5 is black, and these biases close every ReLU for it: it has no gradient.
	for o := range m.Layers[0].(model.Linear).Bias.Data().([]float32) {
		m.Layers[0].(model.Linear).Bias.Data().([]float32)[o] = -0.01
	}
	eps := []float64{0, 0.02, 0.02, 0.1, 0.3} // five, which do not divide a microbatch
	rows := (n - lo) * len(eps)
	targets, sizes := make([]int32, rows), make([]float64, rows)
	for i := range targets {
		targets[i] = int32(r.IntN(10))
		sizes[i] = 0.1 * r.Float64()
	}
	base := attack.Step{Size: []float64{0.01, 0.02, 0.03, 0.05, 0.2}, Seed: 5 | 3<<40}
	in := attack.Bounds{Lo: 0, Hi: 1}
	for name, steps := range map[string][]func(s *attack.Step){
		"margin":          {func(s *attack.Step) { s.Loss = attack.Margin }},
		"DLR":             {func(s *attack.Step) { s.Loss, s.Bounds = attack.DLR, in }},
		"cross-entropy t": {func(s *attack.Step) { s.Targets = targets }},
		"margin t":        {func(s *attack.Step) { s.Loss, s.Targets, s.Bounds = attack.Margin, targets, in }},
		"DLR t":           {func(s *attack.Step) { s.Loss, s.Targets, s.Norm = attack.DLR, targets, attack.L2 }},
		"ball":            {func(s *attack.Step) { s.Ball = true }},
		"L2":              {func(s *attack.Step) { s.Norm, s.Size = attack.L2, sizes }},
		"L2 ball":         {func(s *attack.Step) { s.Norm, s.Ball = attack.L2, true }},
		"L2 bounds":       {func(s *attack.Step) { s.Norm, s.Bounds = attack.L2, in }},
		"momentum":        {func(s *attack.Step) { s.Momentum, s.Decay = true, 0.75 }},
		"L2 momentum":     {func(s *attack.Step) { s.Norm, s.Momentum, s.Decay, s.Bounds = attack.L2, true, 1, in }},
		"nesterov": {func(s *attack.Step) {
			s.Momentum, s.Nesterov, s.Decay, s.Bounds, s.Size = true, true, 0.9, in, sizes
		}},
		"nesterov L2": {func(s *attack.Step) { s.Momentum, s.Nesterov, s.Decay, s.Norm = true, true, 0.3, attack.L2 }},
		"inertia":     {func(s *attack.Step) { s.Alpha, s.Bounds, s.Size = 0.75, in, sizes }},
		"inertia L2":  {func(s *attack.Step) { s.Alpha, s.Ball, s.Norm = 0.7, true, attack.L2 }},
		"inertia alone": {func(s *attack.Step) { s.Alpha, s.Norm, s.Size = 0.75, attack.L2, sizes },
			func(s *attack.Step) { s.Alpha, s.Norm, s.Size = 0.3, attack.L2, sizes }},
		"uniform": {func(s *attack.Step) { s.Direction, s.Restarts, s.Size = attack.Uniform, []int{0, 1, 0, 9, 65535}, eps }},
		"uniform L2": {func(s *attack.Step) {
			s.Direction, s.Norm, s.Bounds, s.Restarts = attack.Uniform, attack.L2, in, []int{7, 1, 2, 3, 4}
		}},
		"signs":    {func(s *attack.Step) { s.Direction, s.Restarts = attack.RandomSign, []int{0, 1, 2, 3, 65535} }},
		"signs L2": {func(s *attack.Step) { s.Direction, s.Norm, s.Ball = attack.RandomSign, attack.L2, true }},
		"mixed": {
			func(s *attack.Step) { s.Bounds = in },
			func(s *attack.Step) { s.Direction, s.Norm, s.Bounds = attack.Uniform, attack.L2, in },
			// This is a plain step of rows that a general step has moved.
			func(s *attack.Step) { s.Bounds = in },
			func(s *attack.Step) { s.Bounds = in },
			func(s *attack.Step) { s.Bounds = in },
			func(s *attack.Step) { s.Loss, s.Alpha, s.Ball = attack.DLR, 0.5, true },
			func(s *attack.Step) { s.Momentum, s.Decay, s.Norm = true, 1, attack.L2 },
		},
		"from a ray": {
			func(s *attack.Step) {},
			func(s *attack.Step) { s.Loss = attack.Margin },
			func(s *attack.Step) { s.Direction = attack.RandomSign },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, err := cpu.New[float32](m, cpu.Options{Dense: true})
			must(t, err)
			dev := open(t, m, Options{MathMode: "fp32"})
			dev.cards[0].budget.planned = minMicrobatch // two microbatches
			both := func(f func(b backendtest.Backend) error) {
				t.Helper()
				for _, b := range []backendtest.Backend{host, dev} {
					must(t, f(b))
				}
			}
			some := make([]bool, rows)
			for i := range some {
				some[i] = i%3 != 1
			}
			both(func(b backendtest.Backend) error { return b.Load(t.Context(), first, x, labels) })
			for range 2 { // the second time the buffers are there, and full
				both(func(b backendtest.Backend) error { return b.Begin(t.Context(), lo, n, eps) })
				k := 0
				for range 3 {
					for _, change := range steps {
						s := base
						s.Index, s.Size = k, slices.Clone(base.Size)
						change(&s)
						both(func(b backendtest.Backend) error { return b.Step(t.Context(), s) })
						switch k {
						case 0: // the clean images stay in the other rows
							both(func(b backendtest.Backend) error { return b.Keep(t.Context(), 1, some) })
						case 1:
							both(func(b backendtest.Backend) error { return b.Restore(t.Context(), 1, some) })
						case 2:
							for i := range some {
								some[i] = i%5 == 0
							}
							both(func(b backendtest.Backend) error { return b.Keep(t.Context(), 0, some) })
							both(func(b backendtest.Backend) error { return b.Keep(t.Context(), 1, some) })
						}
						compareRows(t, fmt.Sprintf("step %d", k), host, dev, rows)
						k++
					}
				}
				for i := range some {
					some[i] = i%2 == 0
				}
				both(func(b backendtest.Backend) error { return b.Restore(t.Context(), 1, some) })
				compareRows(t, "slot 1", host, dev, rows)
				both(func(b backendtest.Backend) error {
					_, err := b.Outcomes(t.Context(), &backend.Rounding{Norm: attack.Norm(k % 2)})
					return err
				})
				compareRows(t, "rounded", host, dev, rows)
				for i := range some {
					some[i] = true
				}
				both(func(b backendtest.Backend) error { return b.Restore(t.Context(), 0, some) })
				compareRows(t, "slot 0", host, dev, rows)
			}
		})
	}
}

// compareRows fails t unless both backends have the same bits in everything that they tell of their
// rows.
func compareRows(t *testing.T, when string, host *cpu.Backend[float32], dev *Backend, rows int) {
	t.Helper()
	want, err := host.Outcomes(t.Context(), nil)
	must(t, err)
	got, err := dev.Outcomes(t.Context(), nil)
	must(t, err)
	for r := range rows {
		if got.Norms[r] != want.Norms[r] {
			t.Fatalf("%s: norms of row %d are %+v, on the CPU %+v", when, r, got.Norms[r], want.Norms[r])
		}
		if got.Zero[r] != want.Zero[r] {
			t.Fatalf("%s: row %d has no gradient: %v, on the CPU %v", when, r, got.Zero[r], want.Zero[r])
		}
	}
	compare(t, when, host, dev) // logits of the ray, if the rows are on one
}

// generally takes steps of all kinds of images lo to hi-1 and uses the slots. It returns as text
// where the rows are then.
func generally(ctx ctx, b *Backend, lo, hi int, eps []float64) (string, error) {
	if err := b.Begin(ctx, lo, hi, eps); err != nil {
		return "", err
	}
	E := len(eps)
	rows := (hi - lo) * E
	set, targets, sizes := make([]bool, rows), make([]int32, rows), make([]float64, rows)
	for r := range rows { // by image and eps, not by row
		set[r] = (lo+r/E+r%E)%3 != 0
		targets[r] = int32((lo + r/E) % 5)
		sizes[r] = eps[r%E] / float64(1+(lo+r/E)%4)
	}
	if rows == 0 { // an empty list of targets would not be a step without targets
		targets = nil
	}
	in := attack.Bounds{Lo: -1, Hi: 2}
	for _, f := range []func() error{
		func() error { return b.Keep(ctx, 0, set) },
		func() error {
			return b.Step(ctx, attack.Step{Size: eps, Bounds: in, Loss: attack.DLR, Momentum: true, Nesterov: true, Decay: 1})
		},
		func() error {
			return b.Step(ctx, attack.Step{Size: sizes, Targets: targets, Loss: attack.Margin, Momentum: true, Nesterov: true, Decay: 1, Norm: attack.L2})
		},
		func() error { return b.Keep(ctx, 1, set) },
		func() error {
			return b.Step(ctx, attack.Step{Size: eps, Direction: attack.Uniform, Seed: 9, Index: 1, Restarts: make([]int, E), Norm: attack.L2, Ball: true})
		},
		func() error { return b.Step(ctx, attack.Step{Size: eps, Alpha: 0.75, Bounds: in}) },
		func() error { return b.Step(ctx, attack.Step{Size: sizes, Alpha: 0.75, Bounds: in, Norm: attack.L2}) },
		func() error { return b.Restore(ctx, 1, set) },
		func() error { return b.Step(ctx, attack.Step{Size: eps}) },
		func() error {
			_, err := b.Outcomes(ctx, &backend.Rounding{Norm: attack.L2})
			return err
		},
	} {
		if err := f(); err != nil {
			return "", err
		}
	}
	o, err := b.Outcomes(ctx, nil)
	if err != nil {
		return "", err
	}
	if rows == 0 {
		return "", nil
	}
	x, err := b.Images(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(o.Norms, o.Zero, x.Data()), nil
}
