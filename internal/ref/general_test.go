package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"advsweep/model"
)

// TestGeneralLayers holds the layers of general tensors to numbers worked out by hand.
func TestGeneralLayers(t *testing.T) {
	for _, c := range []struct {
		name   string
		l      model.Layer
		shapes [][]int
		in     [][]float64
		want   []float64
		d      []float64
		dx     [][]float64
	}{
		{"mul by channel", model.Mul{}, [][]int{{2, 1, 2}, {2, 1, 1}}, [][]float64{{1, 2, 3, 4}, {10, -1}},
			[]float64{10, 20, -3, -4}, []float64{1, 2, 3, 4}, [][]float64{{10, 20, -3, -4}, {1 + 4, 9 + 16}}},
		{"sub, both taken along", model.Sub{}, [][]int{{1, 2, 1}, {1, 1, 2}}, [][]float64{{10, 20}, {1, 2}},
			[]float64{9, 8, 19, 18}, []float64{1, 2, 3, 4}, [][]float64{{3, 7}, {-4, -6}}},
		{"add of two shapes", model.Add{}, [][]int{{2}, {1}}, [][]float64{{1, 2}, {10}}, []float64{11, 12}, []float64{1, 2}, [][]float64{{1, 2}, {3}}},
		{"div", model.Div{}, [][]int{{2}, {2}}, [][]float64{{1, -6}, {4, 2}}, []float64{0.25, -3}, []float64{1, 1}, [][]float64{{0.25, 0.5}, {-1.0 / 16, 1.5}}},
		{"max, ties to the first", model.Max{}, [][]int{{3}, {3}}, [][]float64{{1, 2, 3}, {3, 2, 1}}, []float64{3, 2, 3}, []float64{1, 2, 4},
			[][]float64{{0, 2, 4}, {1, 0, 0}}},
		{"min, ties to the first", model.Min{}, [][]int{{3}, {3}}, [][]float64{{1, 2, 3}, {3, 2, 1}}, []float64{1, 2, 1}, []float64{1, 2, 4},
			[][]float64{{1, 2, 0}, {0, 0, 4}}},
		{"arrange", model.Arrange{Dims: []int{5}, Index: []int32{3, -1, 0, 3, 2}}, [][]int{{2}, {2}}, [][]float64{{1, 2}, {3, 4}},
			[]float64{4, 0, 1, 4, 3}, []float64{1, 2, 3, 4, 5}, [][]float64{{3, 0}, {5, 1 + 4}}},
		{"sum of channels", model.Reduce{By: "sum"}, [][]int{{2, 1, 2}}, [][]float64{{1, 2, 3, 4}}, []float64{4, 6}, []float64{1, 2}, [][]float64{{1, 2, 1, 2}}},
		{"mean of channels", model.Reduce{By: "mean"}, [][]int{{2, 1, 2}}, [][]float64{{1, 2, 3, 4}}, []float64{2, 3}, []float64{1, 2}, [][]float64{{0.5, 1, 0.5, 1}}},
		{"max of channels", model.Reduce{By: "max"}, [][]int{{2, 1, 2}}, [][]float64{{1, 5, 1, 4}}, []float64{1, 5}, []float64{1, 2}, [][]float64{{1, 2, 0, 0}}},
		{"logsumexp of channels", model.Reduce{By: "logsumexp"}, [][]int{{2}}, [][]float64{{math.Log(1), math.Log(3)}}, []float64{math.Log(4)}, []float64{4},
			[][]float64{{1, 3}}},
		// q = 1/4, 3/4 and Σ d·q = 4.
		{"softmax", model.Softmax{}, [][]int{{2}}, [][]float64{{math.Log(1), math.Log(3)}}, []float64{0.25, 0.75}, []float64{16, 0}, [][]float64{{3, -3}}},
		// [1 2; 3 4]·[5 6; 7 8], a matrix having a row for each column of the image.
		{"matmul", model.MatMul{}, [][]int{{2, 1, 2}, {2, 1, 2}}, [][]float64{{1, 3, 2, 4}, {5, 7, 6, 8}},
			[]float64{19, 43, 22, 50}, []float64{1, 0, 0, 0}, [][]float64{{5, 0, 7, 0}, {1, 2, 0, 0}}},
		{"matmul, the second transposed", model.MatMul{Transpose: true}, [][]int{{2, 1, 2}, {2, 1, 2}}, [][]float64{{1, 3, 2, 4}, {5, 6, 7, 8}},
			[]float64{5 + 14, 15 + 28, 6 + 16, 18 + 32}, []float64{1, 0, 0, 0}, [][]float64{{5, 0, 7, 0}, {1, 0, 2, 0}}},
		{"conv, two groups", model.Conv2D{Weight: dense([]float64{1, 10, 100, 1000}, 4, 1, 1, 1), Bias: dense([]float64{0, 0, 0, 1}, 4), Stride: [2]int{1, 1}, Groups: 2},
			[][]int{{2, 1, 1}}, [][]float64{{2, 3}}, []float64{2, 20, 300, 3001}, []float64{1, 1, 1, 0}, [][]float64{{11, 100}}},
		{"conv, dilation", model.Conv2D{Weight: dense([]float64{1, 10}, 1, 1, 1, 2), Bias: dense([]float64{0}, 1), Stride: [2]int{1, 1}, Dilation: [2]int{1, 2}},
			[][]int{{1, 1, 4}}, [][]float64{{1, 2, 3, 4}}, []float64{31, 42}, []float64{1, 2}, [][]float64{{1, 2, 10, 20}}},
		{"max-pool, dilation", model.MaxPool2D{Kernel: [2]int{1, 2}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 2}},
			[][]int{{1, 1, 4}}, [][]float64{{5, 6, 3, 7}}, []float64{5, 7}, []float64{1, 2}, [][]float64{{1, 0, 0, 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := c.l.Shape(c.shapes)
			if err != nil {
				t.Fatal(err)
			}
			op := operationOf(0, c.l, c.shapes, out)
			near(t, "output", op.forward(c.in), c.want)
			for arg, want := range c.dx {
				near(t, fmt.Sprintf("gradient at %d", arg), op.backward(c.d, c.in, arg), want)
			}
		})
	}
	m := &model.Model{Input: []int{2}, From: [][]int{{}, {0, -1}, {1, 1}}, Layers: []model.Layer{
		model.Constant{Name: "c", Value: dense([]float64{10, 20}, 2)}, model.Sub{}, model.Mul{}}}
	z, values := Forward(m, []float64{4, 5})
	near(t, "square", z, []float64{36, 225})
	near(t, "gradient of a product of a value by itself", Backward(m, values, []float64{1, 2}), []float64{-12, -60})
}

// TestIntervals draws what each layer takes from within intervals and rounds what it gives to
// float32. Value and gradient must be within the bounds from the intervals' middles.
func TestIntervals(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for i, e := range model.Examples() {
		t.Run(fmt.Sprintf("%d %s", i, e.Layer.Kind()), func(t *testing.T) {
			out, err := e.Layer.Shape(e.In)
			if err != nil {
				t.Fatal(err)
			}
			op := operationOf(0, e.Layer, e.In, out)
			for n := range 400 {
				// Intervals from a unit wide to a number wide, around numbers that are near kinks.
				wide := math.Ldexp(1, -r.IntN(25))
				draw := func(n int, positive bool) (v []Value, x []float64) {
					for range n {
						at := 4 * r.NormFloat64()
						switch r.IntN(4) {
						case 0:
							at = math.Round(2*at) / 2
						case 1:
							at /= 8
						}
						if positive {
							at = 0.125 + math.Abs(at)
						}
						c := Value{float64(float32(at)), wide * r.Float64()}
						y := float64(float32(c.V + c.Err*[]float64{-1, 0, 1, 2*r.Float64() - 1}[r.IntN(4)]))
						c.Err = max(c.Err, math.Abs(y-c.V))
						v, x = append(v, c), append(x, y)
					}
					return v, x
				}
				var in [][]Value
				var x [][]float64
				for _, s := range e.In {
					v, y := draw(size(s), e.Positive)
					in, x = append(in, v), append(x, y)
				}
				hold := func(what string, got []float64, want []Value) {
					for k, v := range want {
						if g := float64(float32(got[k])); !(math.Abs(g-v.V) <= v.Err || g != g && v.Err > unknown/1e9) {
							t.Fatalf("draw %d: number %d of %s is %v, want %v ± %v", n, k, what, g, v.V, v.Err)
						}
					}
				}
				hold("the output", op.forward(x), op.boundForward(in, Float32))
				d, g := draw(size(out), false)
				for arg := range in {
					hold(fmt.Sprint("the gradient at ", arg), op.backward(g, x, arg), op.boundBackward(d, in, arg, Float32))
				}
			}
		})
	}
}
