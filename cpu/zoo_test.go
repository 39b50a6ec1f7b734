package cpu

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/internal/ref"
	"advsweep/model"
	_ "advsweep/model/onnx"

	"gorgonia.org/tensor"
)

// Shrunk networks of all families, as PyTorch and Keras write them: logits and gradients are those
// of the float64 truth, to the last digits in float64 and to three in float32. The images are
// drawn, so that no number of a quantised network is likely to lie where rounding decides.
func TestZoo(t *testing.T) {
	paths, _ := filepath.Glob("../model/onnx/testdata/zoo/*.onnx")
	if len(paths) < 50 {
		t.Fatalf("%d files, want at least 50", len(paths))
	}
	for i, path := range paths {
		if testing.Short() && i%5 != 0 {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		t.Run(name, func(t *testing.T) {
			m, err := model.Load(path)
			must(t, err)
			for _, mode := range Maths() {
				testZoo[float64](t, m, mode, 1e-9)
				testZoo[float32](t, m, mode, 1e-3)
			}
		})
	}
}

func testZoo[T Float](t *testing.T, m *model.Model, mode string, limit float64) {
	const n = 2
	r := rand.New(rand.NewPCG(51, 1))
	in, out := m.Inputs(), m.Outputs()
	pixels, q := make([]T, n*in), make([]float64, n*out)
	for i := range pixels {
		pixels[i] = T(float32(r.Float64()))
	}
	for i := range q {
		q[i] = float64(i%5 - 2)
	}
	b, err := New[T](m, Options{Math: mode})
	must(t, err)
	must(t, b.Load(t.Context(), 0, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), make([]int32, n)))
	must(t, b.Begin(t.Context(), 0, n, []float64{0}))
	z := denseOf[T](t, b.Logits)
	d, err := b.Gradient(t.Context(), tensor.New(tensor.WithShape(n, out), tensor.WithBacking(q)))
	must(t, err)
	g := d.Data().([]T)
	for i := range n {
		x := make([]float64, in)
		for k, v := range pixels[i*in:][:in] {
			x[k] = float64(v)
		}
		logits, values := ref.Forward(m, x)
		gradient := ref.Backward(m, values, q[i*out:][:out])
		for _, c := range []struct {
			what string
			got  []T
			want []float64
		}{{"logits", z[i*out:][:out], logits}, {"gradient", g[i*in:][:in], gradient}} {
			off, top := 0.0, 0.0
			for k, want := range c.want {
				off, top = max(off, math.Abs(float64(c.got[k])-want)), max(top, math.Abs(want))
			}
			if !(off <= limit*top) {
				t.Errorf("%T, %s, image %d: %s within %.1e of the largest, want %v", z[0], mode, i, c.what, off/top, limit)
			}
		}
	}
}
