// Package model holds image classifiers: layers with their weights, and the
// file formats that they are read from. README.md in its folder tells of those.
package model

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// A Model maps images x [B, I] to logits f(x) [B, O]. Most are MLPs: Linear layers with a ReLU
// between each two. Pixels are those of the image as it is; if the model wants them normalised, a
// Scale comes first.
type Model struct {
	Input []int // shape of one image, [C, H, W] or [I]; nil: [I], the inputs of the first Linear
	// Image is the shape [C, H, W] that the file gives images, where Input is nil because the first
	// Linear takes them in a row, in that order. nil: the file knows no other shape than Input.
	Image  []int
	Layers []Layer // in the order of computation; the last one gives the logits
	// From[i] lists what layer i takes: -1 the image, j < i the output of layer j. nil: each takes
	// the one before
	From   [][]int
	Source Source
	// Assumed is the activation between the Linear layers of a model that was read by the names of
	// its tensors alone, which do not tell it: "relu", or that of SetActivation. "" elsewhere.
	Assumed string
	// what reading left out or took for granted, for people to read: "Softmax at the end is left
	// out"
	Notes []string
}

// A Source says where a model came from.
type Source struct {
	Name string // base name of the file, or "embedded"
	// of the file's bytes, and behind them those of a layer list beside it or of an ONNX file's
	// data; hexadecimal
	SHA256 string
	// Pixels is the argument of TakePixels, as "0,255", and Activation that of SetActivation. Each
	// is "" where the method was not called. Output is the output that an Ask named. With the bytes
	// they fix the model.
	Pixels, Activation, Output string
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
			Weight: formats.Dense(make([]float32, out*in), out, in),
			Bias:   formats.Dense(make([]float32, out), out),
		}
	}
	return chain(linears)
}

// chain puts a ReLU between each two layers.
func chain(linears []Linear) *Model {
	m := &Model{Layers: make([]Layer, 0, 2*len(linears)-1)}
	for i, l := range linears {
		if i > 0 {
			m.Layers = append(m.Layers, ReLU{})
		}
		m.Layers = append(m.Layers, l)
	}
	return m
}

// Inputs returns I, how many numbers one image has, and 0 for a model that says neither by its
// Input nor by a Linear.
func (m *Model) Inputs() int {
	if m.Input != nil {
		return formats.Volume(m.Input)
	}
	for _, layer := range m.Layers {
		if l, ok := layer.(Linear); ok {
			return l.size(1)
		}
	}
	return 0
}

// Outputs returns O, the number of classes, and 0 for a model whose shapes do not fit.
func (m *Model) Outputs() int {
	if m.IsMLP() { // also where it is not valid
		for i := len(m.Layers) - 1; i >= 0; i-- {
			if l, ok := m.Layers[i].(Linear); ok {
				return l.size(0)
			}
		}
	}
	shapes, err := m.Shapes()
	if err != nil || len(shapes) == 0 {
		return 0
	}
	return formats.Volume(shapes[len(shapes)-1])
}

// Takes returns what layer i takes: -1 for the image, j for the output of layer j.
func (m *Model) Takes(i int) []int {
	if m.From == nil {
		return []int{i - 1}
	}
	return m.From[i]
}

// Shapes returns the shape of one image's output of every layer, or an error that names the layer
// where shapes do not fit.
func (m *Model) Shapes() ([][]int, error) {
	if err := m.validateWiring(); err != nil {
		return nil, err
	}
	input := m.inputShape()
	if n := formats.Volume(input); n < 1 || n > formats.MaxElements {
		return nil, fmt.Errorf("input %v, want 1 to %d elements; without a Linear, Input must say", input, formats.MaxElements)
	}
	shapes := make([][]int, len(m.Layers))
	for i, l := range m.Layers {
		for _, p := range l.Params() {
			if err := checkShape(p.Tensor, p.Rank); err != nil {
				return nil, fmt.Errorf("tensor %s: %w", formats.Quote(p.Name), err)
			}
		}
		var err error
		if shapes[i], err = l.Shape(m.inShapes(i, shapes)); err != nil {
			return nil, fmt.Errorf("layer %s: %w", m.layerName(i), err)
		}
		if formats.Volume(shapes[i]) > formats.MaxElements {
			return nil, fmt.Errorf("layer %s: output %v, want at most %d elements", m.layerName(i), shapes[i], formats.MaxElements)
		}
	}
	return shapes, nil
}

// ImageShape returns the shape in which the file of m has images, [C, H, W] or [I]: that of Image,
// or of Input.
func (m *Model) ImageShape() []int {
	if m.Image != nil {
		return m.Image
	}
	return m.inputShape()
}

// inputShape returns the shape of one image: Input, or [I] where that is nil.
func (m *Model) inputShape() []int {
	if m.Input == nil {
		return []int{m.Inputs()}
	}
	return m.Input
}

// inShapes returns the shapes of all that layer i takes. shapes holds those of the layers before
// it.
func (m *Model) inShapes(i int, shapes [][]int) [][]int {
	var in [][]int
	for _, j := range m.Takes(i) {
		if j < 0 {
			in = append(in, m.inputShape())
		} else {
			in = append(in, shapes[j])
		}
	}
	return in
}

// IsMLP reports whether m is Linear layers with one ReLU between each two, one after the other.
func (m *Model) IsMLP() bool {
	if m.From != nil || len(m.Input) > 1 || len(m.Layers)%2 == 0 {
		return false
	}
	for i, l := range m.Layers {
		ok := false
		if i%2 == 0 {
			_, ok = l.(Linear)
		} else {
			_, ok = l.(ReLU)
		}
		if !ok {
			return false
		}
	}
	return true
}

// layerName names a layer in messages: by the name of its tensors, "conv1", or "3 (maxpool2d)".
func (m *Model) layerName(i int) string {
	l := m.Layers[i]
	if params := l.Params(); len(params) > 0 {
		name, _ := formats.SplitName(params[0].Name)
		return formats.Quote(name)
	}
	return fmt.Sprintf("%d (%s)", i, l.Kind())
}

// String returns the widths of an MLP from inputs to outputs, "784-1024-1024-10", and of another
// model the shapes of its image and of what its layers with weights give:
// "1x28x28-16x28x28-32x14x14-128-10".
func (m *Model) String() string {
	var b strings.Builder
	if m.IsMLP() || len(m.Layers) == 0 {
		b.WriteString(strconv.Itoa(m.Inputs()))
		for _, layer := range m.Layers {
			if l, ok := layer.(Linear); ok {
				b.WriteString("-" + strconv.Itoa(l.size(0)))
			}
		}
		return b.String()
	}
	shapes, err := m.Shapes()
	if err != nil {
		return "invalid"
	}
	by := func(shape []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", "x"), "[]") }
	parts := []string{by(m.inputShape())}
	for i, l := range m.Layers {
		for _, p := range l.Params() {
			if p.Rank > 1 { // a matrix or filters: not the factors of a Scale
				parts = append(parts, by(shapes[i]))
				break
			}
		}
	}
	const most = 8
	if n := len(parts); n > most { // a deep network: its ends
		parts = append(append(parts[:most/2:most/2], fmt.Sprintf("(%d more)", n-most)), parts[n-most/2:]...)
	}
	return strings.Join(parts, "-")
}

// size is 0 where l is not filled in, so that an invalid model can be printed.
func (l Linear) size(dim int) int {
	if l.Weight == nil || l.Weight.Dims() != 2 {
		return 0
	}
	return l.Weight.Shape()[dim]
}

// Validate returns an error unless every backend can run m: layers take what is there, in shapes
// that fit; weights are contiguous, row-major, finite and of one type, Float32 or Float64, in a
// layer; names differ; at least 1 input and 2 outputs. What Load and Decode return is valid.
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
	seen := make(map[string]bool)
	if err := m.validateWiring(); err != nil {
		return err
	}
	for _, l := range m.Layers {
		params := l.Params()
		for _, p := range params {
			if seen[p.Name] {
				return fmt.Errorf("tensor %s: another one is named so too", formats.Quote(p.Name))
			}
			seen[p.Name] = true
			if err := checkTensor(p.Tensor, p.Rank); err != nil {
				return fmt.Errorf("tensor %s: %w", formats.Quote(p.Name), err)
			}
		}
		if len(params) == 2 { // a weight and a bias
			w, b := params[0], params[1]
			if got, want := b.Tensor.Shape()[0], w.Tensor.Shape()[0]; got != want {
				return fmt.Errorf("tensor %s: %d elements, want %d, the outputs of %s", formats.Quote(b.Name), got, want, formats.Quote(w.Name))
			}
			if got, want := b.Tensor.Dtype(), w.Tensor.Dtype(); got != want {
				return fmt.Errorf("tensor %s: %v, want %v, the type of %s", formats.Quote(b.Name), got, want, formats.Quote(w.Name))
			}
		}
	}
	shapes, err := m.Shapes()
	if err != nil {
		return err
	}
	last := len(shapes) - 1
	return checkOutputs(m.layerName(last), formats.Volume(shapes[last]))
}

// validateWiring returns an error unless every layer is of a known kind and takes only what comes
// before it.
func (m *Model) validateWiring() error {
	if len(m.Layers) == 0 {
		return errors.New("no layers")
	}
	for _, s := range m.Input {
		if s < 1 || s > formats.MaxElements {
			return fmt.Errorf("input %v, want dimensions of at least 1", m.Input)
		}
	}
	if n := len(m.Input); m.Input != nil && n != 1 && n != 3 {
		return fmt.Errorf("input %v, want [I] or [C, H, W]", m.Input)
	}
	if m.From != nil && len(m.From) != len(m.Layers) {
		return fmt.Errorf("%d layers, but From tells of %d", len(m.Layers), len(m.From))
	}
	for i, l := range m.Layers {
		if _, err := kindOf(l); err != nil {
			return fmt.Errorf("layer %d is %w", i, err)
		}
		takes := m.Takes(i)
		if least, most := l.Arity(); len(takes) < least || len(takes) > most {
			return fmt.Errorf("layer %s takes %d outputs, want %s", m.layerName(i), len(takes), arity(least, most))
		}
		for _, j := range takes {
			if j < -1 || j >= i {
				return fmt.Errorf("layer %s takes the output of layer %d, want -1 (the image) to %d", m.layerName(i), j, i-1)
			}
		}
	}
	return nil
}

func checkOutputs(layer string, n int) error {
	if n < 2 {
		return fmt.Errorf("layer %s, the last one, has %d output, want at least 2 classes", layer, n)
	}
	return nil
}

func checkShape(t *tensor.Dense, rank int) error {
	if t == nil {
		return errors.New("missing")
	}
	if t.Dims() != rank {
		return fmt.Errorf("shape %v, want rank %d", t.Shape(), rank)
	}
	if t.Shape().TotalSize() < 1 {
		return fmt.Errorf("shape %v, want no dimension of 0", t.Shape())
	}
	return nil
}

func checkTensor(t *tensor.Dense, rank int) error {
	if err := checkShape(t, rank); err != nil {
		return err
	}
	// Data of a transposed tensor or of a column is in another order than the
	// shape says, and that of device memory may not be touched.
	if t.RequiresIterator() || !t.DataOrder().IsRowMajor() || !t.IsNativelyAccessible() {
		return errors.New("not contiguous and row-major in the memory of Go")
	}
	n := t.Shape().TotalSize()
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
	if i := formats.NotFinite(data); i >= 0 {
		return notFinite(i, float64(data[i]))
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
