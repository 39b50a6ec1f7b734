package model

import (
	"math"
	"testing"

	"advsweep/model/internal/formats"
)

// evaluate returns the logits of one image in float64: plain loops over the definitions in
// layers.go.
func evaluate(t *testing.T, m *Model, x []float64) []float64 {
	t.Helper()
	shapes, err := m.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	outs := make([][]float64, len(m.Layers))
	shapeOf := func(j int) []int {
		if j >= 0 {
			return shapes[j]
		}
		return m.Input
	}
	for i, l := range m.Layers {
		var in [][]float64
		for _, j := range m.Takes(i) {
			if j < 0 {
				in = append(in, x)
			} else {
				in = append(in, outs[j])
			}
		}
		y := make([]float64, formats.Volume(shapes[i]))
		switch l := l.(type) {
		case Linear:
			w, b := floats(l.Weight), floats(l.Bias)
			for o := range y {
				y[o] = b[o]
				for k, v := range in[0] {
					y[o] += w[o*len(in[0])+k] * v
				}
			}
		case Conv2D:
			w, b, s := floats(l.Weight), floats(l.Bias), l.Weight.Shape()
			windows(shapeOf(m.Takes(i)[0]), shapes[i], [2]int{s[2], s[3]}, l.Stride, l.Pad, func(k, o, c, u, v, at int, inside bool) {
				if u == 0 && v == 0 && c == 0 {
					y[k] += b[o]
				}
				if inside {
					y[k] += in[0][at] * w[((o*s[1]+c)*s[2]+u)*s[3]+v]
				}
			})
		case MaxPool2D:
			for k := range y {
				y[k] = math.Inf(-1)
			}
			windows(shapeOf(m.Takes(i)[0]), shapes[i], l.Kernel, l.Stride, l.Pad, func(k, o, c, u, v, at int, inside bool) {
				if c == o && inside {
					y[k] = max(y[k], in[0][at])
				}
			})
		case AvgPool2D:
			n := make([]float64, len(y))
			windows(shapeOf(m.Takes(i)[0]), shapes[i], l.Kernel, l.Stride, l.Pad, func(k, o, c, u, v, at int, inside bool) {
				if c == o && inside {
					y[k] += in[0][at]
				}
				if c == o && (inside || l.CountPad) {
					n[k]++
				}
			})
			for k := range y {
				y[k] /= n[k]
			}
		case Scale:
			w, b := floats(l.Weight), floats(l.Bias)
			inner := len(y) / len(w)
			for k, v := range in[0] {
				y[k] = v*w[k/inner] + b[k/inner]
			}
		case Elementwise:
			for k, v := range in[0] {
				y[k] = l.Value(v)
			}
		case Add:
			for _, part := range in {
				for k, v := range part {
					y[k] += v
				}
			}
		default:
			t.Fatalf("layer %d: no definition here of a layer of %T", i, l)
		}
		outs[i] = y
	}
	return outs[len(outs)-1]
}

// windows visits, for every output k of channel o and every channel c, the elements u, v of its
// window, at which index of the input they lie, and whether inside it.
func windows(in, out []int, kernel, stride [2]int, pad [4]int, visit func(k, o, c, u, v, at int, inside bool)) {
	k := 0
	for o := range out[0] {
		for r := range out[1] {
			for s := range out[2] {
				for c := range in[0] {
					for u := range kernel[0] {
						for v := range kernel[1] {
							y, x := r*stride[0]+u-pad[0], s*stride[1]+v-pad[1]
							visit(k, o, c, u, v, (c*in[1]+y)*in[2]+x, y >= 0 && y < in[1] && x >= 0 && x < in[2])
						}
					}
				}
				k++
			}
		}
	}
}
