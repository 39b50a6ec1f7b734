package cpu

import (
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"

	"gorgonia.org/tensor"
)

// TestSpent calls each method and looks which parts have grown, in multiply-adds and in seconds.
func TestSpent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	m := ref.RandomModel(r, 1, 20, 40, 30, 5)
	const n = 11
	x0, labels := images(r, n, m)
	b, err := New[float32](m, Options{Threads: 2})
	must(t, err)
	ctx, eps := t.Context(), []float64{0, 0.1, 0.2}
	rows := n * len(eps)
	q := tensor.New(tensor.WithShape(rows, 5), tensor.WithBacking(make([]float32, rows*5)))
	for i := range rows * 5 {
		q.Data().([]float32)[i] = 1
	}
	begin := func() error { return b.Begin(ctx, 0, n, eps) }
	logits := func() error { _, err := b.Logits(ctx); return err }
	gradient := func() error { _, err := b.Gradient(ctx, q); return err }
	step := func(s attack.Step) func() error {
		return func() error { return b.Step(ctx, s) }
	}
	plain := attack.Step{Size: []float64{0, 0.05, 0.1}}
	random := attack.Step{Direction: attack.RandomSign, Size: plain.Size, Seed: 1}
	inertia := attack.Step{Size: plain.Size, Momentum: true, Decay: 1}
	type parts = map[backend.Part]bool // true: multiply-adds too
	for _, c := range []struct {
		name string
		do   func() error
		want parts
	}{
		{"load", func() error { return b.Load(ctx, 0, x0, labels) }, parts{backend.CleanPass: false}},
		{"begin", begin, parts{backend.Steps: false}},
		{"logits of clean images", logits, parts{backend.CleanPass: true}},
		{"gradient at clean images", gradient, parts{backend.Gradient: true}},
		{"first step", step(plain), parts{backend.Gradient: true, backend.Steps: true}},
		{"gradient", gradient, parts{backend.Steps: true}},
		{"second step", step(plain), parts{backend.Gradient: false, backend.Steps: true}},
		{"logits", logits, parts{backend.Looks: true}},
		{"predictions", func() error { return b.Predictions(ctx, make([]int32, rows)) }, parts{backend.Looks: true}},
		{"images", func() error { _, err := b.Images(ctx); return err }, parts{backend.Looks: false}},
		{"keep", func() error { return b.Keep(ctx, 0, make([]bool, rows)) }, parts{backend.Steps: false}},
		{"restore", func() error { return b.Restore(ctx, 0, make([]bool, rows)) }, parts{backend.Steps: false}},
		{"outcomes", func() error { _, err := b.Outcomes(ctx, nil); return err }, parts{backend.Looks: true}},
		{"outcomes rounded", func() error { _, err := b.Outcomes(ctx, &backend.Rounding{Norm: attack.Linf}); return err },
			parts{backend.Looks: true, backend.Roundings: true}},
		{"begin again", begin, parts{backend.Steps: false}},
		{"a step that is not plain", step(inertia), parts{backend.Gradient: true}},
		{"another", step(inertia), parts{backend.Steps: true}},
		{"begin a third time", begin, parts{backend.Steps: false}},
		{"a random step", step(random), parts{backend.Steps: true}},
		{"count", func() error {
			_, err := b.Count(ctx, make([]int, 3), make([]int, 3), make([]bool, n))
			return err
		}, parts{backend.Looks: true}},
		{"exact", func() error { return b.Exact(ctx, 0, 0.3, attack.Bounds{}, make([]attack.Walk, n)) },
			parts{backend.CleanPass: true, backend.Gradient: true, backend.Walk: true}},
		{"read", func() error {
			return b.Read(ctx, 0, []float64{0, 0.1, 0.3}, attack.Bounds{}, true, make([]attack.Reading, n))
		},
			parts{backend.CleanPass: true, backend.Gradient: true, backend.Walk: true, backend.Looks: true, backend.Roundings: true}},
	} {
		before, work := b.Spent(), b.Work()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		after := b.Spent()
		if b.meter.now.on {
			t.Fatalf("%s: section %v does not end", c.name, b.meter.now.part)
		}
		if got, want := after.MultiplyAdds()-before.MultiplyAdds(), (b.Work()-work)/2; got != want {
			t.Errorf("%s: %d multiply-adds, want %d, of all workers", c.name, got, want)
		}
		for p := range after {
			part := backend.Part(p)
			macs, some := c.want[part]
			if got := after[p].Seconds > before[p].Seconds; got != some {
				t.Errorf("%s: time in part %v: %v, want %v", c.name, part, got, some)
			}
			if got := after[p].MultiplyAdds > before[p].MultiplyAdds; got != macs {
				t.Errorf("%s: multiply-adds in part %v: %v, want %v", c.name, part, got, macs)
			}
		}
	}
	want := b.Spent()
	must(t, b.Close())
	if got := b.Spent(); got != want {
		t.Errorf("%v after Close, want %v", got, want)
	}
}

// TestSpentCounts counts by hand: of clean images each pixel and each unit that is not zero takes a
// row of the next layer's weights, however the rows are grouped.
func TestSpentCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	m := ref.RandomModel(r, 1, 20, 40, 30, 5)
	const n = 13
	x0, labels := images(r, n, m)
	want := uint64(0)
	for i := range n {
		x := make([]float64, 20)
		for k := range x {
			x[k] = float64(x0.Data().([]uint8)[i*20+k]) / 255
		}
		for l, layer := range linears(m) {
			z := make([]float64, layer.Weight.Shape()[0])
			w, bias := layer.Weight.Data().([]float32), layer.Bias.Data().([]float32)
			for k, v := range x {
				if v != 0 {
					want += uint64(len(z))
				}
				for o := range z {
					z[o] += v * float64(w[o*len(x)+k])
				}
			}
			for o := range z {
				z[o] += float64(bias[o])
				if l < 2 {
					z[o] = max(z[o], 0)
				}
			}
			x = z
		}
	}
	for _, threads := range []int{1, 2, 5, 16} {
		b, err := New[float32](m, Options{Threads: threads})
		must(t, err)
		must(t, b.Load(t.Context(), 0, x0, labels))
		must(t, b.Begin(t.Context(), 0, n, []float64{0}))
		_, err = b.Logits(t.Context())
		must(t, err)
		spent := b.Spent()
		if got := spent.MultiplyAdds(); got != want {
			t.Errorf("%d threads: %d multiply-adds, want %d", threads, got, want)
		}
		must(t, b.Close())
	}
}
