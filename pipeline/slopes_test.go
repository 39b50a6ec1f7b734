package pipeline_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// turned is a Bounder whose linear functions point to one corner.
type turned struct{ pipeline.Bounder }

func (turned) CanBound() bool { return true }

func (turned) Linear(_ context.Context, lo, _ []float64, rows [][]float64) (least []float64, slopes [][]float64, err error) {
	for range rows {
		g := make([]float64, len(lo))
		for i := range g {
			g[i] = float64(1 - i%2*2)
		}
		least, slopes = append(least, 0), append(slopes, g)
	}
	return least, slopes, nil
}

// TestCorner: of a linear network the attack has the least margin there is, in closed form, where
// the backend has bounds and where it has none. It begins where the bounds say.
func TestCorner(t *testing.T) {
	const n, side, eps = 6, 4, 0.2
	r := rand.New(rand.NewPCG(3, 3))
	m := ref.RandomModel(r, 1, side*side, 3)
	l := m.Layers[0].(model.Linear)
	w, bias := ref.Float64s(l.Weight), ref.Float64s(l.Bias)
	pixels, labels := make([]float32, n*side*side), make([]int32, n)
	for i := range pixels {
		pixels[i] = r.Float32()
	}
	want := make([]float64, n)
	for k := range labels {
		labels[k] = int32(k % 3)
		want[k] = math.Inf(1)
		for j := range 3 {
			if j == int(labels[k]) {
				continue
			}
			v := bias[labels[k]] - bias[j]
			for i := range side * side {
				x, a := float64(pixels[k*side*side+i]), w[int(labels[k])*side*side+i]-w[j*side*side+i]
				v += min(a*max(x-eps, 0), a*min(x+eps, 1))
			}
			want[k] = min(want[k], v)
		}
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(n, 1, side, side), tensor.WithBacking(pixels)), Labels: labels}
	b := open[float32](t, m)
	defer b.Close()
	if !b.CanBound() {
		t.Fatal("the backend has no bounds of a linear network")
	}
	a := attack.Corner(4, 2)
	for name, b := range map[string]pipeline.Backend{"bounds": b, "none": struct{ pipeline.Backend }{b}} {
		made, err := pipeline.CraftAll(t.Context(), b, set, a, eps, attack.Bounds{Lo: 0, Hi: 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, o := range made.Outcomes {
			if !(math.Abs(float64(o.Margin)-want[k]) <= 1e-5) {
				t.Errorf("%s: image %d has margin %v, want %v", name, k, o.Margin, want[k])
			}
		}
	}
	// Without a gradient nothing moves a row after its corner.
	for i := range l.Weight.Data().([]float32) {
		l.Weight.Data().([]float32)[i] = 0
	}
	flat := open[float32](t, m)
	defer flat.Close()
	made, err := pipeline.CraftAll(t.Context(), turned{flat}, set, a, eps, attack.Bounds{Lo: 0, Hi: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range made.Images.Data().([]float32) {
		corner := max(float64(pixels[i])-eps, 0)
		if i%2 == 1 {
			corner = min(float64(pixels[i])+eps, 1)
		}
		if !(math.Abs(float64(v)-corner) <= 1e-6) {
			t.Fatalf("pixel %d is %v, want %v", i, v, corner)
		}
	}
}
