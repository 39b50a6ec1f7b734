package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"advsweep/model/internal/formats"

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

// isLayerList reports whether a JSON text has what makes it a layer list, or is broken and so may
// be one.
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
		a, err := arrange(t.entries)
		if err != nil {
			return nil, err
		}
		return mlpOf(a, t), nil
	}
	m, err := buildList(d.list, t)
	if err != nil {
		return nil, fmt.Errorf("layer list %s: %w", d.listName, err)
	}
	if m.Input != nil {
		if s := (&Model{Layers: m.Layers, From: m.From}); s.IsMLP() && formats.Volume(m.Input) == s.Inputs() {
			m.Image, m.Input = imageOf(m.Input), nil // which has the fast routes
		}
	}
	return m, m.validate()
}

// imageOf is what Model.Image is for an input of that shape.
func imageOf(input []int) []int {
	if len(input) == 3 {
		return input
	}
	return nil
}

// A listed layer is one of a layer list. The tag of a field is its key there, for reading as for
// writing.
type listed struct {
	Type string `json:"type"`
	Name string `json:"name,omitempty"`
	listedWindow
	listedFunction
	listedOrder

	Eps  *float64  `json:"eps,omitempty"`
	Mean []float64 `json:"mean,omitempty"`
	Std  []float64 `json:"std,omitempty"`
	From *[]int    `json:"from,omitempty"`
}

// listedWindow is what an entry says of a kernel and how it moves.
type listedWindow struct {
	Kernel   *sides   `json:"kernel,omitempty"`
	Stride   *sides   `json:"stride,omitempty"`
	Pad      *margins `json:"pad,omitempty"`
	CountPad *bool    `json:"count_pad,omitempty"`
	Dilation *sides   `json:"dilation,omitempty"`
	Groups   *int     `json:"groups,omitempty"`
}

// listedFunction is what an entry says of a function of one number.
type listedFunction struct {
	Slope *float64 `json:"slope,omitempty"`
	Tanh  bool     `json:"tanh,omitempty"`
	Lo    *float64 `json:"lo,omitempty"`
	Hi    *float64 `json:"hi,omitempty"`
	Alpha *float64 `json:"alpha,omitempty"`
	Rate  *float64 `json:"rate,omitempty"`
	Power *float64 `json:"power,omitempty"`
}

// listedOrder is what an entry says of how numbers lie, and of sums over them.
type listedOrder struct {
	Shape     []int    `json:"shape,omitempty"`
	Runs      [][3]int `json:"runs,omitempty"`
	By        string   `json:"by,omitempty"`
	Transpose bool     `json:"transpose,omitempty"`
}

// field returns a pointer to the field whose key that is, as encoding/json has it; nil: there is
// none.
func (l *listed) field(key string) any {
	v := reflect.ValueOf(l).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == key && !f.Anonymous {
			return v.FieldByIndex(f.Index).Addr().Interface()
		}
	}
	return nil
}

// dilation returns how far the places of a window lie apart; 0 stands for 1.
func (l listed) dilation() [2]int {
	if l.Dilation == nil || *l.Dilation == (sides{1, 1}) {
		return [2]int{}
	}
	return *l.Dilation
}

// setDilation fills in the dilation of a window unless it is 1.
func (l *listed) setDilation(d [2]int) {
	if d = [2]int{max(1, d[0]), max(1, d[1])}; d != [2]int{1, 1} {
		l.Dilation = (*sides)(&d)
	}
}

// groups returns in how many groups channels are; 0 stands for 1.
func (l listed) groups() int {
	if l.Groups == nil || *l.Groups == 1 {
		return 0
	}
	return *l.Groups
}

// bounds returns lo and hi, which must be there.
func (l listed) bounds() (lo, hi float64, err error) {
	if l.Lo == nil || l.Hi == nil {
		return 0, 0, errors.New("no lo and hi")
	}
	return *l.Lo, *l.Hi, nil
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
		row, ok := kinds[l.Type]
		if !ok {
			return nil, nil, fmt.Errorf("layer %d: type %s, want one of %s", i, formats.Quote(l.Type), strings.Join(kindNames(), ", "))
		}
		fail := func(format string, args ...any) error {
			return fmt.Errorf("layer %d (%s): %w", i, l.Type, fmt.Errorf(format, args...))
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if key == "type" {
				continue
			}
			to := l.field(key)
			if to == nil || key != "from" && !slices.Contains(row.fields, key) {
				return nil, nil, fail("field %s, want only %s", formats.Quote(key), strings.Join(append(slices.Clone(row.fields), "from"), ", "))
			}
			if err := json.Unmarshal(fields[key], to); err != nil {
				return nil, nil, fail("%s: %w", key, err)
			}
			if key == "from" && (l.From == nil || *l.From == nil) {
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
		row := kinds[l.Type] // which parseList looked up
		least, most := row.arity()
		takes := []int{i - 1}
		if l.From != nil {
			takes = *l.From
		} else if most == 0 {
			takes = nil
		}
		if n := len(takes); n > most || n < least && most == 1 {
			return nil, fail(fmt.Errorf("from %d layers, want %s", n, arity(least, most)))
		}
		var from []int
		var in [][]int
		for _, j := range takes {
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
		if row.decode == nil {
			at[i] = from[0]
			continue
		}
		if len(from) == 0 && least > 0 {
			return nil, fail(errors.New("from no layers"))
		}
		var first []int
		if len(in) > 0 {
			first = in[0]
		}
		layer, err := b.layer(row, l, first)
		if err != nil {
			return nil, fail(err)
		}
		if len(in) > 0 && in[0] == nil && m.Input == nil {
			linear, ok := layer.(Linear)
			if !ok {
				return nil, fail(errors.New("takes the image, whose shape is not given as input"))
			}
			m.Input = []int{linear.size(1)}
			in[0] = m.Input
		}
		if len(in) < least {
			return nil, fail(fmt.Errorf("from %d layer, want %d or more", len(in), least))
		}
		if len(in) > 0 && formats.Volume(in[0]) < 1 {
			return nil, fail(fmt.Errorf("takes %v", in[0]))
		}
		shape, err := layer.Shape(in)
		if err != nil {
			return nil, fail(err)
		}
		at[i] = len(m.Layers)
		chain = chain && len(from) == 1 && from[0] == len(m.Layers)-1
		m.Layers, m.From, shapes = append(m.Layers, layer), append(m.From, from), append(shapes, shape)
	}
	for _, e := range t.entries {
		if !b.used[e.name] && !e.counts {
			return nil, fmt.Errorf("tensor %s is not used by any layer", formats.Quote(e.name))
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
	// places is how many places arrangements have so far, see maxPlaces.
	places int
}

// take returns a tensor of the given rank, 0 for any, that must be there unless optional is set. It
// has as many elements in its first dimension as first says; 0: any.
func (b *builder) take(name string, rank, first int, optional bool) (*tensor.Dense, error) {
	t := b.tensors[name]
	if t == nil {
		if optional {
			return nil, nil
		}
		return nil, fmt.Errorf("no tensor %s in the file", formats.Quote(name))
	}
	b.used[name] = true
	if rank == 0 && t != nil {
		rank = t.Dims()
	}
	if err := checkShape(t, rank); err != nil {
		return nil, fmt.Errorf("tensor %s: %w", formats.Quote(name), err)
	}
	if got := t.Shape()[0]; first > 0 && got != first {
		return nil, fmt.Errorf("tensor %s: %d elements, want %d", formats.Quote(name), got, first)
	}
	return t, nil
}

// vector returns data as a tensor of the model's type.
func (b *builder) vector(data []float64) *tensor.Dense {
	if b.double {
		return formats.Dense(data, len(data))
	}
	single := make([]float32, len(data))
	for i, v := range data {
		single[i] = float32(v)
	}
	return formats.Dense(single, len(data))
}

// layer returns the layer of an entry of kind row, which takes something of shape in.
func (b *builder) layer(row kind, l listed, in []int) (Layer, error) {
	if slices.Contains(row.fields, "name") && l.Name == "" && !row.anonymous {
		return nil, errors.New("no name")
	}
	return row.decode(b, l, in)
}

// window returns the kernel, stride and padding of an entry. Without a stride, that of a pool is
// its kernel, as in PyTorch, and that of a convolution is 1.
func (l listed) window() (kernel, stride [2]int, pad [4]int) {
	stride = [2]int{1, 1}
	if l.Kernel != nil {
		kernel, stride = *l.Kernel, *l.Kernel
	}
	if l.Stride != nil {
		stride = *l.Stride
	}
	if l.Pad != nil {
		pad = *l.Pad
	}
	return kernel, stride, pad
}

// weightAndBias returns the tensors of a layer whose weight has the given rank. A bias that is not
// in the file is 0.
func (b *builder) weightAndBias(name string, rank int) (w, bias *tensor.Dense, err error) {
	if w, err = b.take(weightName(name), rank, 0, false); err != nil {
		return nil, nil, err
	}
	n := w.Shape()[0]
	if bias, err = b.take(biasName(name), 1, n, true); err != nil {
		return nil, nil, err
	}
	if bias == nil {
		bias = b.vector(make([]float64, n))
	}
	return w, bias, nil
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
		all[i] = formats.Wide(t)
	}
	eps := 1e-5
	if l.Eps != nil {
		eps = *l.Eps
	}
	w, s, err := formats.FoldNorm(all[2], all[3], all[0], all[1], eps)
	if err != nil {
		return nil, err
	}
	return Scale{Name: l.Name, Weight: b.vector(w), Bias: b.vector(s)}, nil
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
		row, err := kindOf(layer)
		if err != nil {
			return nil, fmt.Errorf("layer %d is %w", i, err)
		}
		l := listed{Type: row.name}
		_, most := layer.Arity()
		if from := m.Takes(i); most > 0 && (len(from) != 1 || from[0] != i-1) {
			l.From = &from
		}
		if row.encode != nil {
			row.encode(layer, &l)
		}
		if len(layer.Params()) > 0 && l.Name == "" {
			return nil, fmt.Errorf("layer %d (%s) has no name", i, l.Type)
		}
		list.Layers = append(list.Layers, l)
	}
	return json.Marshal(list)
}
