package model

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gorgonia.org/tensor"
)

// listKey is where the metadata of a safetensors file holds a layer list.
const listKey = "advsweep.layers"

// weights are the tensors of a file, all of one type. Those that only count are not read.
type weights struct {
	entries []entry
	tensors map[string]*tensor.Dense
	double  bool
}

// isCounter reports whether a tensor is one that batch normalisation counts with in training.
func isCounter(name string) bool { return strings.HasSuffix(name, ".num_batches_tracked") }

// isLayerList reports whether a JSON text has what makes it a layer list, or is broken and so may be one.
func isLayerList(text []byte) bool {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return !json.Valid(text)
	}
	_, ok := keys["layers"]
	return ok
}

// build returns the model of t by the layer list, or by names where there is none.
func (d *decoder) build(t weights) (*Model, error) {
	if d.list == nil {
		widths, err := widthsOf(t.entries)
		if err != nil {
			return nil, err
		}
		return stackOf(widths, t), nil
	}
	m, err := buildList(d.list, t)
	if err != nil {
		return nil, fmt.Errorf("layer list %s: %w", d.listName, err)
	}
	if m.Input != nil {
		if s := (&Model{Layers: m.Layers, From: m.From}); s.IsStack() && volume(m.Input) == s.Inputs() {
			m.Input = nil // which has the fast routes
		}
	}
	return m, m.validate()
}

// layerFields are those that each type of a layer list has beside "type" and "from".
var layerFields = map[string][]string{
	"linear": {"name"}, "conv2d": {"name", "stride", "pad"}, "scale": {"name"},
	"batchnorm": {"name", "eps"}, "normalize": {"name", "mean", "std"},
	"maxpool2d": {"kernel", "stride", "pad"}, "avgpool2d": {"kernel", "stride", "pad", "count_pad"}, "globalavgpool2d": {},
	"relu": {}, "leakyrelu": {"slope"}, "sigmoid": {}, "tanh": {}, "gelu": {"tanh"}, "flatten": {}, "add": {},
}

// A listed layer is one of a layer list.
type listed struct {
	Type     string   `json:"type"`
	Name     string   `json:"name,omitempty"`
	Kernel   *sides   `json:"kernel,omitempty"`
	Stride   *sides   `json:"stride,omitempty"`
	Pad      *margins `json:"pad,omitempty"`
	CountPad *bool    `json:"count_pad,omitempty"`
	Slope    *float64 `json:"slope,omitempty"`
	Tanh     bool     `json:"tanh,omitempty"`

	Eps       *float64  `json:"eps,omitempty"`
	Mean, Std []float64 `json:"-"`
	From      []int     `json:"from,omitempty"`
}

// sides are [rows, columns], or one number for both.
type sides [2]int

func (s *sides) UnmarshalJSON(text []byte) error {
	all, err := numbersOf(text, 2)
	if err == nil {
		copy(s[:], all)
	}
	return err
}

// margins are [top, left, bottom, right], or [rows, columns] on both sides, or one number for all.
type margins [4]int

func (m *margins) UnmarshalJSON(text []byte) error {
	all, err := numbersOf(text, 2)
	if err != nil {
		all, err = numbersOf(text, 4)
	} else {
		all = append(all, all...)
	}
	if err == nil {
		copy(m[:], all)
	}
	return err
}

func numbersOf(text []byte, n int) ([]int, error) {
	var one int
	if json.Unmarshal(text, &one) == nil && string(text) != "null" {
		return slices.Repeat([]int{one}, n), nil
	}
	var all []int
	if err := json.Unmarshal(text, &all); err != nil || len(all) != n {
		return nil, fmt.Errorf("%.40s, want a whole number or %d", text, n)
	}
	return all, nil
}

// parseList reads a layer list without looking at weights.
func parseList(text []byte) (input []int, layers []listed, err error) {
	var list struct {
		Input  []int
		Layers []map[string]json.RawMessage
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, errors.New("something follows the object")
	}
	if len(list.Layers) == 0 {
		return nil, nil, errors.New("no layers")
	}
	for i, fields := range list.Layers {
		var l listed
		if fields["type"] == nil {
			return nil, nil, fmt.Errorf("layer %d: no type", i)
		}
		if err := json.Unmarshal(fields["type"], &l.Type); err != nil {
			return nil, nil, fmt.Errorf("layer %d: type: %w", i, err)
		}
		known, ok := layerFields[l.Type]
		if !ok {
			return nil, nil, fmt.Errorf("layer %d: type %s, want one of %s", i, quote(l.Type), strings.Join(slices.Sorted(maps.Keys(layerFields)), ", "))
		}
		fail := func(format string, args ...any) error {
			return fmt.Errorf("layer %d (%s): %w", i, l.Type, fmt.Errorf(format, args...))
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			to := map[string]any{
				"name": &l.Name, "kernel": &l.Kernel, "stride": &l.Stride, "pad": &l.Pad, "count_pad": &l.CountPad,
				"slope": &l.Slope, "tanh": &l.Tanh, "eps": &l.Eps, "mean": &l.Mean, "std": &l.Std, "from": &l.From,
			}[key]
			if key == "type" {
				continue
			}
			if to == nil || key != "from" && !slices.Contains(known, key) {
				return nil, nil, fail("field %s, want only %s", quote(key), strings.Join(append(slices.Clone(known), "from"), ", "))
			}
			if err := json.Unmarshal(fields[key], to); err != nil {
				return nil, nil, fail("%s: %w", key, err)
			}
			if key == "from" && l.From == nil {
				return nil, nil, fail("from is null, want a list of layers")
			}
		}
		layers = append(layers, l)
	}
	return list.Input, layers, nil
}

// buildList returns the model of a layer list and the weights that it names.
func buildList(text []byte, t weights) (*Model, error) {
	input, layers, err := parseList(text)
	if err != nil {
		return nil, err
	}
	m := &Model{Input: input}
	b := builder{weights: t, used: make(map[string]bool)}
	at := make([]int, len(layers)) // the layer of m whose output an entry has
	var shapes [][]int
	chain := true
	for i, l := range layers {
		fail := func(err error) error { return fmt.Errorf("layer %d (%s): %w", i, l.Type, err) }
		if l.From == nil {
			l.From = []int{i - 1}
		}
		if n := len(l.From); l.Type != "add" && n != 1 {
			return nil, fail(fmt.Errorf("from %d layers, want 1", n))
		}
		var from []int
		var in [][]int
		for _, j := range l.From {
			if j < -1 || j >= i {
				return nil, fail(fmt.Errorf("from %d, want -1 (the image) to %d", j, i-1))
			}
			if j >= 0 {
				j = at[j]
			}
			from = append(from, j)
			switch {
			case j >= 0:
				in = append(in, shapes[j])
			case m.Input != nil:
				in = append(in, m.Input)
			default:
				in = append(in, nil)
			}
		}
		if l.Type == "flatten" {
			at[i] = from[0]
			continue
		}
		if len(from) == 0 {
			return nil, fail(errors.New("from no layers"))
		}
		layer, err := b.layer(l, in[0])
		if err != nil {
			return nil, fail(err)
		}
		if in[0] == nil && m.Input == nil {
			linear, ok := layer.(Linear)
			if !ok {
				return nil, fail(errors.New("takes the image, whose shape is not given as input"))
			}
			m.Input = []int{linear.size(1)}
			in[0] = m.Input
		}
		if l.Type == "add" && len(in) < 2 {
			return nil, fail(errors.New("from 1 layer, want 2 or more"))
		}
		if volume(in[0]) < 1 {
			return nil, fail(fmt.Errorf("takes %v", in[0]))
		}
		shape, err := layer.shape(in)
		if err != nil {
			return nil, fail(err)
		}
		at[i] = len(m.Layers)
		chain = chain && len(from) == 1 && from[0] == len(m.Layers)-1
		m.Layers, m.From, shapes = append(m.Layers, layer), append(m.From, from), append(shapes, shape)
	}
	for _, e := range t.entries {
		if !b.used[e.name] && !isCounter(e.name) {
			return nil, fmt.Errorf("tensor %s is not used by any layer", quote(e.name))
		}
	}
	if len(m.Layers) == 0 || at[len(at)-1] != len(m.Layers)-1 {
		return nil, errors.New("the last entry does not give the last layer's output")
	}
	if chain {
		m.From = nil
	}
	return m, nil
}

// A builder makes layers of weights.
type builder struct {
	weights
	used map[string]bool
}

// take returns a tensor of the given rank that must be there unless optional is set, with as many elements in its first dimension as
// first says; 0: any.
func (b *builder) take(name string, rank, first int, optional bool) (*tensor.Dense, error) {
	t := b.tensors[name]
	if t == nil {
		if optional {
			return nil, nil
		}
		return nil, fmt.Errorf("no tensor %s in the file", quote(name))
	}
	b.used[name] = true
	if err := checkShape(t, rank); err != nil {
		return nil, fmt.Errorf("tensor %s: %w", quote(name), err)
	}
	if got := t.Shape()[0]; first > 0 && got != first {
		return nil, fmt.Errorf("tensor %s: %d elements, want %d", quote(name), got, first)
	}
	return t, nil
}

// vector returns data as a tensor of the model's type.
func (b *builder) vector(data []float64) *tensor.Dense {
	if b.double {
		return dense(data, len(data))
	}
	single := make([]float32, len(data))
	for i, v := range data {
		single[i] = float32(v)
	}
	return dense(single, len(data))
}

func (b *builder) layer(l listed, in []int) (Layer, error) {
	if slices.Contains(layerFields[l.Type], "name") && l.Name == "" && l.Type != "normalize" {
		return nil, errors.New("no name")
	}
	kernel, stride, pad := [2]int{}, [2]int{1, 1}, [4]int{}
	if l.Kernel != nil {
		kernel, stride = *l.Kernel, *l.Kernel // as PyTorch's pools
	}
	if l.Stride != nil {
		stride = *l.Stride
	}
	if l.Pad != nil {
		pad = *l.Pad
	}
	switch l.Type {
	case "linear", "conv2d", "scale":
		rank := map[string]int{"linear": 2, "conv2d": 4, "scale": 1}[l.Type]
		w, err := b.take(weightName(l.Name), rank, 0, false)
		if err != nil {
			return nil, err
		}
		n := w.Shape()[0]
		bias, err := b.take(biasName(l.Name), 1, n, true)
		if err != nil {
			return nil, err
		}
		if bias == nil {
			bias = b.vector(make([]float64, n))
		}
		switch l.Type {
		case "linear":
			return Linear{l.Name, w, bias}, nil
		case "scale":
			return Scale{l.Name, w, bias}, nil
		}
		return Conv2D{l.Name, w, bias, stride, pad}, nil
	case "batchnorm":
		return b.batchNorm(l)
	case "normalize":
		if l.Name != "" && l.Mean == nil && l.Std == nil {
			for _, part := range []struct {
				name string
				to   *[]float64
			}{{"mean", &l.Mean}, {"std", &l.Std}} {
				name := tensorName(l.Name, part.name)
				t := b.tensors[name]
				if t == nil {
					return nil, fmt.Errorf("no tensor %s in the file, nor a mean and std in the list", quote(name))
				}
				b.used[name] = true
				*part.to = wide(t)
			}
		}
		n := len(l.Mean)
		if n == 0 || len(l.Std) != n {
			return nil, fmt.Errorf("%d means and %d standard deviations, want one of each for every channel", n, len(l.Std))
		}
		w, s := make([]float64, n), make([]float64, n)
		for i, std := range l.Std {
			w[i], s[i] = 1/std, -l.Mean[i]/std
			if v := w[i] + s[i]; v-v != 0 || std < 0 {
				return nil, fmt.Errorf("mean %v and std %v, want positive std", l.Mean[i], std)
			}
		}
		return Scale{cmp.Or(l.Name, "normalize"), b.vector(w), b.vector(s)}, nil
	case "maxpool2d", "avgpool2d":
		if l.Kernel == nil {
			return nil, errors.New("no kernel")
		}
		if l.Type == "maxpool2d" {
			return MaxPool2D{kernel, stride, pad}, nil
		}
		if l.CountPad == nil && pad != [4]int{} {
			return nil, errors.New("padding without count_pad, want true (PyTorch's default) or false")
		}
		return AvgPool2D{kernel, stride, pad, l.CountPad != nil && *l.CountPad}, nil
	case "globalavgpool2d":
		if len(in) != 3 {
			return nil, fmt.Errorf("takes %v, want an image [C, H, W]", in)
		}
		return AvgPool2D{Kernel: [2]int{in[1], in[2]}, Stride: [2]int{1, 1}}, nil
	case "relu":
		return ReLU{}, nil
	case "leakyrelu":
		slope := 0.01
		if l.Slope != nil {
			slope = *l.Slope
		}
		return LeakyReLU{slope}, nil
	case "sigmoid":
		return Sigmoid{}, nil
	case "tanh":
		return Tanh{}, nil
	case "gelu":
		return GELU{l.Tanh}, nil
	}
	return Add{}, nil
}

// batchNorm folds the four tensors of batch normalisation, two of which may be missing.
func (b *builder) batchNorm(l listed) (Layer, error) {
	var all [4][]float64
	n := 0
	for i, part := range []string{"running_mean", "running_var", "weight", "bias"} {
		t, err := b.take(tensorName(l.Name, part), 1, n, i > 1)
		switch {
		case err != nil:
			return nil, err
		case t == nil:
			all[i] = slices.Repeat([]float64{float64(3 - i)}, n) // weight 1, bias 0
			continue
		}
		n = t.Shape()[0]
		all[i] = wide(t)
	}
	eps := 1e-5
	if l.Eps != nil {
		eps = *l.Eps
	}
	w, s, err := foldNorm(all[2], all[3], all[0], all[1], eps)
	if err != nil {
		return nil, err
	}
	return Scale{l.Name, b.vector(w), b.vector(s)}, nil
}

// wide returns the numbers of t.
func wide(t *tensor.Dense) []float64 {
	if data, ok := t.Data().([]float64); ok {
		return data
	}
	var all []float64
	for _, v := range t.Data().([]float32) {
		all = append(all, float64(v))
	}
	return all
}

// layerList returns m's layers as a layer list.
func (m *Model) layerList() ([]byte, error) {
	list := struct {
		Input  []int    `json:"input,omitempty"`
		Layers []listed `json:"layers"`
	}{Input: m.Input}
	if m.Input == nil {
		list.Input = []int{m.Inputs()}
	}
	for i, layer := range m.Layers {
		l := listed{Type: kind(layer)}
		if from := m.Takes(i); len(from) != 1 || from[0] != i-1 {
			l.From = from
		}
		switch v := layer.(type) {
		case Linear:
			l.Name = v.Name
		case Scale:
			l.Name = v.Name
		case Conv2D:
			l.Name, l.Stride, l.Pad = v.Name, (*sides)(&v.Stride), (*margins)(&v.Pad)
		case MaxPool2D:
			l.Kernel, l.Stride, l.Pad = (*sides)(&v.Kernel), (*sides)(&v.Stride), (*margins)(&v.Pad)
		case AvgPool2D:
			l.Kernel, l.Stride, l.Pad, l.CountPad = (*sides)(&v.Kernel), (*sides)(&v.Stride), (*margins)(&v.Pad), &v.CountPad
		case LeakyReLU:
			l.Slope = &v.Slope
		case GELU:
			l.Tanh = v.Tanh
		}
		if len(layer.parameters()) > 0 && l.Name == "" {
			return nil, fmt.Errorf("layer %d (%s) has no name", i, l.Type)
		}
		list.Layers = append(list.Layers, l)
	}
	return json.Marshal(list)
}
