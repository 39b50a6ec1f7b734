// Package model holds image classifiers: layers with their weights, and the
// file format that they are read from.
package model

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"gorgonia.org/tensor"
)

// A Model maps images x [B, I] to logits f(x) [B, O] through its layers, in order.
type Model struct {
	Layers []Layer
	Source Source
}

// A Layer is a Linear or a ReLU.
type Layer interface{ layer() }

// Linear is x·Wᵀ + b.
type Linear struct {
	Name   string        // "fc1"
	Weight *tensor.Dense // [out, in], Float32 or Float64
	Bias   *tensor.Dense // [out], of the same type
}

// ReLU is max(x, 0), its derivative at 0 taken as 0.
type ReLU struct{}

func (Linear) layer() {}
func (ReLU) layer()   {}

// A Source says where a model came from.
type Source struct {
	Name   string // base name of the file, or "embedded"
	SHA256 string // of the file's bytes, hexadecimal
}

// MLP returns a multilayer perceptron with zero weights, Float32: Linear
// layers fc1, fc2, … from sizes[0] inputs to sizes[len(sizes)-1] outputs, with
// a ReLU between each two. It panics unless there are at least two sizes, all
// positive.
func MLP(sizes ...int) *Model {
	if len(sizes) < 2 {
		panic(fmt.Sprintf("model: MLP of %d sizes, want at least 2", len(sizes)))
	}
	for i, s := range sizes {
		if s < 1 {
			panic(fmt.Sprintf("model: MLP: size %d is %d, want at least 1", i, s))
		}
	}
	linears := make([]Linear, len(sizes)-1)
	for i := range linears {
		in, out := sizes[i], sizes[i+1]
		linears[i] = Linear{
			Name:   "fc" + strconv.Itoa(i+1),
			Weight: dense(make([]float32, out*in), out, in),
			Bias:   dense(make([]float32, out), out),
		}
	}
	return stack(linears)
}

// stack puts a ReLU between each two layers.
func stack(linears []Linear) *Model {
	m := &Model{Layers: make([]Layer, 0, 2*len(linears)-1)}
	for i, l := range linears {
		if i > 0 {
			m.Layers = append(m.Layers, ReLU{})
		}
		m.Layers = append(m.Layers, l)
	}
	return m
}

// dense wraps data, which must have as many elements as shape says.
func dense[T float32 | float64](data []T, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// Inputs returns I, how many numbers one image has, and 0 for a model without
// Linear layers.
func (m *Model) Inputs() int {
	for _, layer := range m.Layers {
		if l, ok := layer.(Linear); ok {
			return l.size(1)
		}
	}
	return 0
}

// Outputs returns O, the number of classes, and 0 for a model without Linear
// layers.
func (m *Model) Outputs() int {
	for i := len(m.Layers) - 1; i >= 0; i-- {
		if l, ok := m.Layers[i].(Linear); ok {
			return l.size(0)
		}
	}
	return 0
}

// String returns the widths from inputs to outputs: "784-1024-1024-10".
func (m *Model) String() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(m.Inputs()))
	for _, layer := range m.Layers {
		if l, ok := layer.(Linear); ok {
			b.WriteString("-" + strconv.Itoa(l.size(0)))
		}
	}
	return b.String()
}

// size is 0 where l is not filled in, so that an invalid model can be printed.
func (l Linear) size(dim int) int {
	if l.Weight == nil || l.Weight.Dims() != 2 {
		return 0
	}
	return l.Weight.Shape()[dim]
}

// Validate returns an error unless m is a stack that every backend can run:
// Linear layers with one ReLU between each two, each with the outputs of the
// one before as its inputs; weights [out, in] and biases [out], contiguous,
// row-major, finite and of one type, Float32 or Float64, in a layer; names
// that differ; at least 1 input and 2 outputs. What Load and Decode return is
// valid.
func (m *Model) Validate() error {
	if err := m.validate(); err != nil {
		return fmt.Errorf("model: %s%w", prefix(m.Source.Name), err)
	}
	return nil
}

func prefix(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}

func (m *Model) validate() error {
	if len(m.Layers)%2 == 0 {
		return fmt.Errorf("%d layers, want a Linear, or several with a ReLU between each two", len(m.Layers))
	}
	var before *Linear
	seen := make(map[string]bool)
	for i, layer := range m.Layers {
		if i%2 == 1 {
			if _, ok := layer.(ReLU); !ok {
				return fmt.Errorf("layer %d is %T, want model.ReLU between two Linear", i, layer)
			}
			continue
		}
		l, ok := layer.(Linear)
		if !ok {
			return fmt.Errorf("layer %d is %T, want model.Linear", i, layer)
		}
		if seen[l.Name] {
			return fmt.Errorf("layer %d: another one is named %s too", i, quote(l.Name))
		}
		seen[l.Name] = true
		if err := l.validate(); err != nil {
			return err
		}
		if before != nil && before.size(0) != l.size(1) {
			return fmt.Errorf("layer %s has %d inputs, want %d, the outputs of layer %s",
				quote(l.Name), l.size(1), before.size(0), quote(before.Name))
		}
		before = &l
	}
	return checkOutputs(before.Name, before.size(0))
}

func checkOutputs(layer string, n int) error {
	if n < 2 {
		return fmt.Errorf("layer %s, the last one, has %d output, want at least 2 classes", quote(layer), n)
	}
	return nil
}

func (l Linear) validate() error {
	weight, bias := weightName(l.Name), biasName(l.Name)
	if err := checkTensor(l.Weight, 2); err != nil {
		return fmt.Errorf("tensor %s: %w", quote(weight), err)
	}
	if err := checkTensor(l.Bias, 1); err != nil {
		return fmt.Errorf("tensor %s: %w", quote(bias), err)
	}
	if got, want := l.Bias.Shape()[0], l.size(0); got != want {
		return fmt.Errorf("tensor %s: %d elements, want %d, the outputs of %s", quote(bias), got, want, quote(weight))
	}
	if got, want := l.Bias.Dtype(), l.Weight.Dtype(); got != want {
		return fmt.Errorf("tensor %s: %v, want %v, the type of %s", quote(bias), got, want, quote(weight))
	}
	return nil
}

func checkTensor(t *tensor.Dense, rank int) error {
	if t == nil {
		return errors.New("missing")
	}
	if t.Dims() != rank {
		return fmt.Errorf("shape %v, want rank %d", t.Shape(), rank)
	}
	// Data of a transposed tensor or of a column is in another order than the
	// shape says, and that of device memory may not be touched.
	if t.RequiresIterator() || !t.DataOrder().IsRowMajor() || !t.IsNativelyAccessible() {
		return errors.New("not contiguous and row-major in the memory of Go")
	}
	n := t.Shape().TotalSize()
	if n < 1 {
		return fmt.Errorf("shape %v, want no dimension of 0", t.Shape())
	}
	switch data := t.Data().(type) {
	case []float32:
		return checkValues(data, n)
	case []float64:
		return checkValues(data, n)
	}
	return fmt.Errorf("type %v, want float32 or float64", t.Dtype())
}

func checkValues[T float32 | float64](data []T, n int) error {
	if len(data) != n {
		return fmt.Errorf("%d elements, want %d", len(data), n)
	}
	for i, v := range data {
		if v-v != 0 { // NaN or Inf
			return notFinite(i, float64(v))
		}
	}
	return nil
}

func notFinite(i int, v float64) error {
	what := "NaN"
	if !math.IsNaN(v) {
		what = fmt.Sprintf("%+v", v)
	}
	return fmt.Errorf("element %d is %s, want finite numbers", i, what)
}

// quote returns a name from a file so that it cannot break a line, a terminal
// or an eye.
func quote(name string) string {
	const most = 80
	cut := len(name) > most
	if cut {
		name = name[:most]
	}
	plain := name != ""
	for _, r := range name {
		plain = plain && r > ' ' && strconv.IsPrint(r) && r != '"' && r != utf8Error
	}
	if !plain {
		name = strconv.Quote(name)
	}
	if cut {
		name += "…"
	}
	return name
}

// utf8Error stands for bytes that are no UTF-8, such as a rune cut in two.
const utf8Error = '\uFFFD'
