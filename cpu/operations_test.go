package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"

	"gorgonia.org/tensor"
)

// BenchmarkOperations times operations on one image, forward and on the way back.
func BenchmarkOperations(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	numbers := func(shape ...int) *tensor.Dense {
		n := 1
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	}
	unfold := func(c, out, h, kernel, stride, pad, groups int) lower.Unfold {
		o := (h+2*pad-kernel)/stride + 1
		return lower.Unfold{In: lower.Shape{C: c, H: h, W: h}, Out: lower.Shape{C: out, H: o, W: o}, Kernel: [2]int{kernel, kernel},
			Stride: [2]int{stride, stride}, Pad: [4]int{pad, pad, pad, pad}, Dilation: [2]int{1, 1}, Groups: groups}
	}
	type c struct {
		name string
		op   lower.Operation
		l    lower.Unfold
	}
	var cases []c
	depthwise := func(ch, h, stride int) {
		l := unfold(ch, ch, h, 3, stride, 1, ch)
		cases = append(cases, c{fmt.Sprintf("depthwise/%dx%d/stride=%d", h, ch, stride), &lower.Convolution{Unfold: l, Weight: numbers(ch, 1, 3, 3), Bias: numbers(ch)}, l})
	}
	for _, s := range [][3]int{{96, 32, 1}, {144, 16, 1}, {192, 8, 2}, {576, 8, 1}, {960, 4, 1}, {96, 112, 2}} {
		depthwise(s[0], s[1], s[2])
	}
	for _, s := range [][5]int{{16, 28, 2, 2, 0}, {32, 14, 2, 2, 0}, {64, 32, 2, 2, 0}, {64, 112, 3, 2, 1}} {
		l := unfold(s[0], s[0], s[1], s[2], s[3], s[4], 1)
		cases = append(cases, c{fmt.Sprintf("max-pool/%dx%d/kernel=%d/stride=%d", s[1], s[0], s[2], s[3]), lower.MaxPool{Unfold: l}, l})
	}
	for _, s := range [][5]int{{64, 32, 2, 2, 0}, {512, 7, 7, 1, 0}} {
		l := unfold(s[0], s[0], s[1], s[2], s[3], s[4], 1)
		cases = append(cases, c{fmt.Sprintf("average/%dx%d/kernel=%d/stride=%d", s[1], s[0], s[2], s[3]), lower.AvgPool{Unfold: l}, l})
	}
	for _, s := range [][2]int{{64, 32}, {16, 28}} {
		l := unfold(s[0], s[0], s[1], 1, 1, 0, 1)
		cases = append(cases, c{fmt.Sprintf("scale/%dx%d", s[1], s[0]), lower.Scale{Weight: numbers(s[0]), Bias: numbers(s[0])}, l},
			c{fmt.Sprintf("relu/%dx%d", s[1], s[0]), lower.Elementwise{Name: "relu"}, l},
			c{fmt.Sprintf("add/%dx%d", s[1], s[0]), lower.Add{}, l},
			c{fmt.Sprintf("mul/%dx%d", s[1], s[0]), lower.Pairwise{Name: "mul"}, l},
			c{fmt.Sprintf("softmax/%dx%d", s[1], s[0]), lower.Softmax{}, l},
			c{fmt.Sprintf("mean/%dx%d", s[1], s[0]), lower.Reduce{By: "mean"}, unfold(s[0], 1, s[1], 1, 1, 0, 1)})
	}
	conv := func(in, out, h, kernel, stride, pad, groups int) {
		l := unfold(in, out, h, kernel, stride, pad, groups)
		o := &lower.Convolution{Unfold: l, Weight: numbers(out, in/groups, kernel, kernel), Bias: numbers(out)}
		if in/groups >= 8 && stride == 1 {
			p := kernel - 1 - pad
			bk := lower.Unfold{In: l.Out, Out: l.In, Kernel: l.Kernel, Stride: [2]int{1, 1}, Pad: [4]int{p, p, p, p}, Dilation: [2]int{1, 1}, Groups: groups}
			o.Back = &bk
		}
		cases = append(cases, c{fmt.Sprintf("conv/%dx%d-%d/kernel=%d/stride=%d/groups=%d", h, in, out, kernel, stride, groups), o, l})
	}
	for _, s := range [][7]int{{1, 16, 28, 3, 1, 1, 1}, {3, 16, 32, 3, 1, 1, 1}, {3, 32, 32, 3, 2, 1, 1}, {3, 64, 32, 3, 1, 1, 1}, {3, 64, 224, 7, 2, 3, 1}, {16, 10, 14, 1, 1, 0, 1},
		{128, 128, 16, 3, 1, 1, 32}, {256, 256, 8, 3, 1, 1, 32}, {256, 256, 8, 3, 2, 1, 32}, {240, 60, 16, 1, 1, 0, 3}, {64, 64, 16, 3, 1, 1, 4}} {
		conv(s[0], s[1], s[2], s[3], s[4], s[5], s[6])
	}
	for _, path := range gemm.Paths() {
		for _, c := range cases {
			in := []lower.Shape{c.l.In}
			switch c.op.(type) {
			case lower.Add, lower.Pairwise:
				in = append(in, c.l.In)
			}
			op, err := newOperation[float32](path, lower.Op{Operation: c.op, In: c.l.In, Out: c.l.Out}, in)
			if err != nil {
				b.Fatal(err)
			}
			var x [][]float32
			for _, s := range in {
				x = append(x, numbers(s.Size()).Data().([]float32))
			}
			d, y, dx := numbers(c.l.Out.Size()).Data().([]float32), make([]float32, c.l.Out.Size()), make([]float32, c.l.In.Size())
			again := append([]float32(nil), d...)
			m := &memory[float32]{rows: new(rows[float32]), gemm: new(gemm.Scratch[float32])}
			b.Run("path="+path+"/"+c.name+"/forward", func(b *testing.B) {
				for b.Loop() {
					op.forward(m, y, x)
				}
				if f := m.rows.flop; f > 0 {
					m.rows.flop = 0
					op.forward(m, y, x)
					b.ReportMetric(float64(m.rows.flop)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				}
			})
			b.Run("path="+path+"/"+c.name+"/backward", func(b *testing.B) {
				for b.Loop() {
					copy(d, again)
					op.backward(m, dx, x, 0, y, d)
				}
				if f := m.rows.flop; f > 0 {
					m.rows.flop = 0
					op.backward(m, dx, x, 0, y, d)
					b.ReportMetric(float64(m.rows.flop)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				}
			})
		}
	}
}
