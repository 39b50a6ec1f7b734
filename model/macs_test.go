package model

import (
	"math"
	"testing"

	"advsweep/model/internal/formats"
)

// TestMACs compares with counts by hand.
func TestMACs(t *testing.T) {
	conv := func(name string, out, in, kh, kw int, stride [2]int, pad [4]int) Conv2D {
		return Conv2D{Name: name, Weight: formats.Dense(make([]float32, out*in*kh*kw), out, in, kh, kw), Bias: formats.Dense(make([]float32, out), out),
			Stride: stride, Pad: pad}
	}
	linear := func(name string, out, in int) Linear {
		return Linear{Name: name, Weight: formats.Dense(make([]float32, out*in), out, in), Bias: formats.Dense(make([]float32, out), out)}
	}
	scale := func(name string, n int) Scale {
		return Scale{Name: name, Weight: formats.Dense(make([]float32, n), n), Bias: formats.Dense(make([]float32, n), n)}
	}
	for _, c := range []struct {
		name string
		m    *Model
		want int64
	}{
		{"perceptron", MLP(784, 1024, 1024, 10), 784*1024 + 1024*1024 + 1024*10},
		// Rows: (7 + 1 + 2 - 3)/2 + 1 = 4; columns: (9 + 0 + 1 - 2)/3 + 1 = 3.
		{"padded and strided convolution", &Model{Input: []int{3, 7, 9}, Layers: []Layer{conv("c", 5, 3, 3, 2, [2]int{2, 3}, [4]int{1, 0, 2, 1})}},
			5 * 4 * 3 * (3 * 3 * 2)},
		{"pools, activations and sums count nothing", &Model{Input: []int{2, 4, 4}, Layers: []Layer{
			scale("s", 2), ReLU{}, conv("c", 2, 2, 1, 1, [2]int{1, 1}, [4]int{}), Add{}, MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, GELU{}, linear("f", 3, 8),
		}, From: [][]int{{-1}, {0}, {1}, {1, 2}, {3}, {4}, {5}}}, 2*4*4 + 2*4*4*2 + 3*8},
	} {
		if got, err := c.m.MACs(); got != c.want || err != nil {
			t.Errorf("%s: %d, want %d (%v)", c.name, got, c.want, err)
		}
	}
	if _, err := (&Model{Input: []int{3}, Layers: []Layer{linear("f", 1, 2)}}).MACs(); err == nil {
		t.Error("shapes that do not fit: no error")
	}
	m, err := Embedded("cnn")
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := m.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	for i, l := range m.Layers { // by the weights' own sizes
		switch l := l.(type) {
		case Conv2D:
			want += int64(l.Weight.DataSize() * shapes[i][1] * shapes[i][2])
		case Linear:
			want += int64(l.Weight.DataSize())
		}
	}
	if got, err := m.MACs(); got != want || err != nil {
		t.Errorf("the embedded cnn: %d, want %d (%v)", got, want, err)
	}
	t.Logf("the embedded cnn, %v: %d", m, want)

	// 2^28 outputs of nearly 2^20 weights each, 2^16 times, are nearly 2^64.
	big := &Model{Input: []int{1, 1 << 14, 1 << 14}}
	for range 1 << 16 {
		big.Layers = append(big.Layers, bigConv)
	}
	if got, err := big.MACs(); got != math.MaxInt64 || err != nil {
		t.Errorf("overflow: %d, want %d (%v)", got, int64(math.MaxInt64), err)
	}
}

// bigConv has a filter of 1023² weights and gives as many pixels as it takes.
var bigConv = Conv2D{
	Name:   "big",
	Weight: formats.Dense(make([]float32, 1023*1023), 1, 1, 1023, 1023), Bias: formats.Dense(make([]float32, 1), 1),
	Stride: [2]int{1, 1}, Pad: [4]int{511, 511, 511, 511},
}
