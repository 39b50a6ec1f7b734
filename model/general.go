package model

import (
	"fmt"
	"math"
	"slices"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// This file has the layers that networks of general tensors are made of, such as attention. A value
// stays an image [C, H, W] there. Tokens [T, D] are an image of D channels and T rows, and heads of
// attention are its rows: what a row of a matrix holds are the channels of a pixel.

// generalKinds are the rows of those layers, see kinds.
var generalKinds = []kind{
	{name: "constant", fields: []string{"name"}, layer: Constant{}, examples: constantExamples,
		decode: func(b *builder, l listed, _ []int) (Layer, error) {
			t, err := b.take(weightName(l.Name), 0, 0, false)
			return Constant{l.Name, t}, err
		},
		encode: func(layer Layer, l *listed) { l.Name = layer.(Constant).Name }},
	{name: "arrange", fields: []string{"shape", "runs"}, layer: Arrange{}, examples: arrangeExamples,
		decode: func(b *builder, l listed, _ []int) (Layer, error) {
			index, err := b.unrun(l.Runs, l.Shape)
			return Arrange{Dims: l.Shape, Index: index}, err
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(Arrange)
			l.Shape, l.Runs = v.Dims, runs(v.Index)
		}},
	{name: "reduce", fields: []string{"by"}, layer: Reduce{}, examples: reduceExamples,
		decode: func(_ *builder, l listed, _ []int) (Layer, error) { return Reduce{By: l.By}, nil },
		encode: func(layer Layer, l *listed) { l.By = layer.(Reduce).By }},
	{name: "softmax", layer: Softmax{}, decode: fixed(Softmax{}), examples: softmaxExamples},
	{name: "matmul", fields: []string{"transpose"}, layer: MatMul{}, examples: matMulExamples,
		decode: func(_ *builder, l listed, _ []int) (Layer, error) { return MatMul{Transpose: l.Transpose}, nil },
		encode: func(layer Layer, l *listed) { l.Transpose = layer.(MatMul).Transpose }},
}

// Constant takes nothing and gives the same numbers for every image: an embedding of positions, or
// a mean image.
type Constant struct {
	Name  string
	Value *tensor.Dense // [I] or [C, H, W], Float32 or Float64
}

// Kind returns "constant".
func (Constant) Kind() string { return "constant" }

// Arity returns 0, 0.
func (Constant) Arity() (least, most int) { return 0, 0 }

// Shape returns the shape of the numbers.
func (l Constant) Shape([][]int) ([]int, error) {
	s := l.Value.Shape()
	if len(s) != 1 && len(s) != 3 {
		return nil, fmt.Errorf("holds %v, want [I] or [C, H, W]", []int(s))
	}
	return slices.Clone([]int(s)), nil
}

// Params returns the numbers.
func (l Constant) Params() []Param {
	rank := 1
	if l.Value != nil && l.Value.Dims() == 3 {
		rank = 3
	}
	return []Param{{weightName(l.Name), l.Value, rank}}
}

// MACs returns 0.
func (Constant) MACs([][]int, []int) int64 { return 0 }

// Arrange gives numbers of what it takes in another order and shape. It may leave numbers out, give
// them several times, put zeros between them, and put several outputs together: transposition,
// slices, padding, concatenation, shuffled channels, enlargement by repetition.
type Arrange struct {
	Dims []int // of what it gives, [I] or [C, H, W]
	// Index has, for each number that it gives, row-major, the place of that number among all that
	// the layer takes, those of the first output first, each row-major. -1 stands for 0.
	Index []int32
}

// Kind returns "arrange".
func (Arrange) Kind() string { return "arrange" }

// Arity returns 1 and no upper limit.
func (Arrange) Arity() (least, most int) { return 1, unlimited }

// Shape returns Dims, or an error unless all places are among the numbers that the layer takes.
func (l Arrange) Shape(in [][]int) ([]int, error) {
	if len(l.Dims) != 1 && len(l.Dims) != 3 {
		return nil, fmt.Errorf("shape %v, want [I] or [C, H, W]", l.Dims)
	}
	n := 1
	for _, d := range l.Dims {
		if d < 1 || n > formats.MaxElements/d {
			return nil, fmt.Errorf("shape %v, want 1 to %d elements", l.Dims, formats.MaxElements)
		}
		n *= d
	}
	if n != len(l.Index) {
		return nil, fmt.Errorf("%d places for shape %v, want %d", len(l.Index), l.Dims, n)
	}
	total := 0
	for _, s := range in {
		total += formats.Volume(s)
	}
	for o, i := range l.Index {
		if i < -1 || int(i) >= total {
			return nil, fmt.Errorf("place %d of number %d, want -1 to %d", i, o, total-1)
		}
	}
	return slices.Clone(l.Dims), nil
}

// Params returns nil.
func (Arrange) Params() []Param { return nil }

// MACs returns 0.
func (Arrange) MACs([][]int, []int) int64 { return 0 }

// runs returns index as runs of a first place, a step and a length, as layer lists hold it.
func runs(index []int32) [][3]int {
	var all [][3]int
	for at := 0; at < len(index); {
		step, n := 0, 1
		if at+1 < len(index) {
			step = int(index[at+1]) - int(index[at])
		}
		for at+n < len(index) && int(index[at+n]) == int(index[at])+n*step {
			n++
		}
		if n == 1 {
			step = 0
		}
		all = append(all, [3]int{int(index[at]), step, n})
		at += n
	}
	return all
}

// maxPlaces bounds how many places all arrangements of a layer list have. A run of many is a few
// bytes of a file, so that nothing else would bound the memory that they take.
const maxPlaces = 1 << 26

// unrun returns the index of runs for a shape.
func (b *builder) unrun(all [][3]int, shape []int) ([]int32, error) {
	want := 1
	for _, d := range shape {
		if d < 1 || want > formats.MaxElements/d {
			return nil, fmt.Errorf("shape %v, want 1 to %d elements", shape, formats.MaxElements)
		}
		want *= d
	}
	given := 0
	for _, r := range all {
		if r[2] < 1 || r[2] > want-given {
			return nil, fmt.Errorf("run %v, want %d places in all for shape %v", r, want, shape)
		}
		if max(r[1], -r[1]) > math.MaxInt32 || r[1] == math.MinInt {
			return nil, fmt.Errorf("run %v, want a step of %d at most", r, math.MaxInt32)
		}
		given += r[2]
	}
	if given != want {
		return nil, fmt.Errorf("runs of %d places, want %d for shape %v", given, want, shape)
	}
	if b.places += want; b.places > maxPlaces {
		return nil, fmt.Errorf("%d places in all arrangements so far, want %d or fewer", b.places, maxPlaces)
	}
	index := make([]int32, 0, want)
	for _, r := range all {
		for k := range r[2] {
			i := r[0] + k*r[1]
			if i < -1 || i > math.MaxInt32 {
				return nil, fmt.Errorf("run %v goes to place %d, want -1 or more", r, i)
			}
			index = append(index, int32(i))
		}
	}
	return index, nil
}

// Reductions are the ways of Reduce, by name.
var Reductions = []string{"sum", "mean", "max", "logsumexp"}

// Reduce gives one number for each pixel: of its channels the sum, the mean, the largest, or
// log Σ exp. The gradient of the largest goes to the first one.
type Reduce struct{ By string }

// Kind returns "reduce".
func (Reduce) Kind() string { return "reduce" }

// Arity returns 1, 1.
func (Reduce) Arity() (least, most int) { return 1, 1 }

// Shape returns [1, H, W], or [1] for [I].
func (l Reduce) Shape(in [][]int) ([]int, error) {
	if !slices.Contains(Reductions, l.By) {
		return nil, fmt.Errorf("by %s, want one of %v", formats.Quote(l.By), Reductions)
	}
	out := slices.Clone(in[0])
	out[0] = 1
	return out, nil
}

// Params returns nil.
func (Reduce) Params() []Param { return nil }

// MACs returns 0.
func (Reduce) MACs([][]int, []int) int64 { return 0 }

// Softmax is exp(x_c)/Σ_k exp(x_k), the sum over the channels k of a pixel.
type Softmax struct{}

// Kind returns "softmax".
func (Softmax) Kind() string { return "softmax" }

// Arity returns 1, 1.
func (Softmax) Arity() (least, most int) { return 1, 1 }

// Shape returns the shape that the layer takes.
func (Softmax) Shape(in [][]int) ([]int, error) { return in[0], nil }

// Params returns nil.
func (Softmax) Params() []Param { return nil }

// MACs returns 0.
func (Softmax) MACs([][]int, []int) int64 { return 0 }

// MatMul is a product of two matrices for each row h of two images. A matrix has a row for each
// column of the image, and that row has the channels of the pixel:
//
//	y[n, h, m] = Σ_k a[k, h, m]·b[n, h, k], or with Transpose Σ_k a[k, h, m]·b[k, h, n].
type MatMul struct {
	Transpose bool // the second matrix
}

// Kind returns "matmul".
func (MatMul) Kind() string { return "matmul" }

// Arity returns 2, 2.
func (MatMul) Arity() (least, most int) { return 2, 2 }

// Shape returns [N, H, M].
func (l MatMul) Shape(in [][]int) ([]int, error) {
	a, b := in[0], in[1]
	if len(a) != 3 || len(b) != 3 {
		return nil, fmt.Errorf("takes %v and %v, want two of [C, H, W]", a, b)
	}
	k, n := b[2], b[0]
	if l.Transpose {
		k, n = n, k
	}
	if a[1] != b[1] || a[0] != k {
		return nil, fmt.Errorf("takes %v and %v: %d and %d matrices, and sums of %d and %d terms, want equal numbers", a, b, a[1], b[1], a[0], k)
	}
	return []int{n, a[1], a[2]}, nil
}

// Params returns nil.
func (MatMul) Params() []Param { return nil }

// MACs returns the terms of all sums.
func (MatMul) MACs(in [][]int, out []int) int64 { return product(formats.Volume(out), in[0][0]) }

func constantExamples() []Example {
	v, _ := exampleWeights(3, 2, 3)
	w, _ := exampleWeights(6)
	return []Example{{Layer: Constant{"constant", v}}, {Layer: Constant{"constant", w}}}
}

// arrangeExamples have a transposition, a concatenation of two of another shape, numbers that are
// left out and given several times, and zeros.
func arrangeExamples() []Example {
	turned := Arrange{Dims: []int{3, 2, 3}}
	for c := range 3 {
		for h := range 2 {
			for w := range 3 {
				turned.Index = append(turned.Index, int32((w*2+h)*3+c))
			}
		}
	}
	both := Arrange{Dims: []int{5, 2, 3}}
	for i := range 30 {
		both.Index = append(both.Index, int32(i))
	}
	return []Example{
		{Layer: turned, In: [][]int{{3, 2, 3}}},
		{Layer: both, In: [][]int{{3, 2, 3}, {2, 2, 3}}},
		{Layer: Arrange{Dims: []int{2, 1, 4}, Index: []int32{5, -1, 5, 11, -1, 0, 11, 5}}, In: [][]int{{2, 2, 3}}},
		{Layer: Arrange{Dims: []int{7}, Index: []int32{6, 5, 5, -1, 8, 1, 0}}, In: [][]int{{6}, {3}}},
	}
}

func reduceExamples() []Example {
	var all []Example
	for _, by := range Reductions {
		all = append(all, Example{Layer: Reduce{By: by}, In: [][]int{{5, 2, 3}}}, Example{Layer: Reduce{By: by}, In: [][]int{{7}}})
	}
	return all
}

func softmaxExamples() []Example {
	return []Example{{Layer: Softmax{}, In: [][]int{{5, 2, 3}}}, {Layer: Softmax{}, In: [][]int{{7}}}}
}

// matMulExamples have matrices of H and W that their convolution keeps, see Example.
func matMulExamples() []Example {
	return []Example{
		{Layer: MatMul{}, In: [][]int{{3, 2, 3}, {5, 2, 3}}},
		{Layer: MatMul{Transpose: true}, In: [][]int{{5, 2, 3}, {5, 2, 3}}},
	}
}
