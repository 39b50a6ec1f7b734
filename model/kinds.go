package model

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"advsweep/model/internal/formats"
)

// A kind is a row of the table of layers: all that reading and writing need to know of one.
type kind struct {
	name      string   // in layer lists and messages: "conv2d"
	fields    []string // that a layer list may give beside "type" and "from"
	anonymous bool     // "name" is among fields, but may be left out
	// layer is the zero value of the kind's type. nil: reading makes another kind of it, as batch
	// normalisation becomes a Scale.
	layer Layer
	// decode returns the layer of an entry that takes something of shape in, nil where that is not
	// known yet. nil: the entry computes nothing, and passes on what it takes.
	decode func(b *builder, l listed, in []int) (Layer, error)
	// encode fills in what an entry says of the layer beside type and from. nil: nothing.
	encode func(layer Layer, l *listed)
	// examples returns layers of the kind for tests and fingerprints, see Example. nil: layer is
	// nil.
	examples func() []Example
}

// kinds are all layers that are known, by name. A Model may hold those whose row has a layer.
var kinds = tableOf(allKinds)

// allKinds are the rows of the table, in their order.
var allKinds = slices.Concat(layerKinds, elementwiseKinds, pairwiseKinds, generalKinds)

// tableOf panics on two rows of one name, and on a layer that says another name than its row.
func tableOf(lists ...[]kind) map[string]kind {
	byName := make(map[string]kind)
	for _, k := range slices.Concat(lists...) {
		if _, twice := byName[k.name]; twice {
			panic(fmt.Sprintf("model: two kinds of layer are named %s", k.name))
		}
		byName[k.name] = k
		if k.layer != nil {
			if got := k.layer.Kind(); got != k.name {
				panic(fmt.Sprintf("model: the row %s is for a layer of kind %s", k.name, got))
			}
		}
	}
	return byName
}

// kindOf returns the row of a layer. The error for a layer of no row names its type.
func kindOf(l Layer) (kind, error) {
	if l != nil {
		// A pointer to a layer, or a type of another package, may say a name of the table.
		if v := reflect.ValueOf(l); v.Kind() != reflect.Pointer || !v.IsNil() {
			if k := kinds[l.Kind()]; k.layer != nil && reflect.TypeOf(k.layer) == reflect.TypeOf(l) {
				return k, nil
			}
		}
	}
	return kind{}, fmt.Errorf("%T, want a layer of this package, not a pointer", l)
}

// Kinds returns the names of all kinds of layers that a Model may hold, sorted.
func Kinds() []string {
	var all []string
	for _, k := range kinds {
		if k.layer != nil {
			all = append(all, k.name)
		}
	}
	slices.Sort(all)
	return all
}

// kindNames returns what an entry of a layer list may be, sorted.
func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

// arity returns how many outputs an entry of the kind takes.
func (k kind) arity() (least, most int) {
	if k.layer == nil {
		return 1, 1
	}
	return k.layer.Arity()
}

// arity puts how many outputs a layer takes into words.
func arity(least, most int) string {
	switch {
	case least == most:
		return fmt.Sprint(least)
	case most == unlimited:
		return fmt.Sprintf("at least %d", least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// fixed decodes a layer that has no fields.
func fixed(layer Layer) func(*builder, listed, []int) (Layer, error) {
	return func(*builder, listed, []int) (Layer, error) { return layer, nil }
}

// layerKinds are the rows of all layers that are not one function of each number.
var layerKinds = []kind{
	{name: "linear", fields: []string{"name"}, layer: Linear{}, examples: linearExamples,
		decode: func(b *builder, l listed, _ []int) (Layer, error) {
			w, bias, err := b.weightAndBias(l.Name, 2)
			return Linear{Name: l.Name, Weight: w, Bias: bias}, err
		},
		encode: func(layer Layer, l *listed) { l.Name = layer.(Linear).Name }},
	{name: "conv2d", fields: []string{"name", "stride", "pad", "dilation", "groups"}, layer: Conv2D{}, examples: convExamples,
		decode: func(b *builder, l listed, _ []int) (Layer, error) {
			w, bias, err := b.weightAndBias(l.Name, 4)
			_, stride, pad := l.window()
			if l.Groups != nil && *l.Groups < 1 {
				return nil, fmt.Errorf("groups %d, want 1 or more", *l.Groups)
			}
			return Conv2D{Name: l.Name, Weight: w, Bias: bias, Stride: stride, Pad: pad, Dilation: l.dilation(), Groups: l.groups()}, err
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(Conv2D)
			l.Name, l.Stride, l.Pad = v.Name, (*sides)(&v.Stride), (*margins)(&v.Pad)
			l.setDilation(v.Dilation)
			if v.Groups > 1 {
				l.Groups = &v.Groups
			}
		}},
	{name: "scale", fields: []string{"name"}, layer: Scale{}, examples: scaleExamples,
		decode: func(b *builder, l listed, _ []int) (Layer, error) {
			w, bias, err := b.weightAndBias(l.Name, 1)
			return Scale{Name: l.Name, Weight: w, Bias: bias}, err
		},
		encode: func(layer Layer, l *listed) { l.Name = layer.(Scale).Name }},
	{name: "batchnorm", fields: []string{"name", "eps"},
		decode: func(b *builder, l listed, _ []int) (Layer, error) { return b.batchNorm(l) }},
	{name: "normalize", fields: []string{"name", "mean", "std"}, anonymous: true,
		decode: func(b *builder, l listed, _ []int) (Layer, error) { return b.normalize(l) }},
	{name: "maxpool2d", fields: []string{"kernel", "stride", "pad", "dilation"}, layer: MaxPool2D{}, examples: maxPoolExamples,
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			if l.Kernel == nil {
				return nil, errors.New("no kernel")
			}
			kernel, stride, pad := l.window()
			return MaxPool2D{Kernel: kernel, Stride: stride, Pad: pad, Dilation: l.dilation()}, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(MaxPool2D)
			l.Kernel, l.Stride, l.Pad = (*sides)(&v.Kernel), (*sides)(&v.Stride), (*margins)(&v.Pad)
			l.setDilation(v.Dilation)
		}},
	{name: "avgpool2d", fields: []string{"kernel", "stride", "pad", "count_pad"}, layer: AvgPool2D{},
		examples: avgPoolExamples,
		decode: func(_ *builder, l listed, _ []int) (Layer, error) {
			if l.Kernel == nil {
				return nil, errors.New("no kernel")
			}
			kernel, stride, pad := l.window()
			if l.CountPad == nil && pad != [4]int{} {
				return nil, errors.New("padding without count_pad, want true (PyTorch's default) or false")
			}
			return AvgPool2D{Kernel: kernel, Stride: stride, Pad: pad, CountPad: l.CountPad != nil && *l.CountPad}, nil
		},
		encode: func(layer Layer, l *listed) {
			v := layer.(AvgPool2D)
			l.Kernel, l.Stride, l.Pad = (*sides)(&v.Kernel), (*sides)(&v.Stride), (*margins)(&v.Pad)
			l.CountPad = &v.CountPad
		}},
	{name: "globalavgpool2d",
		decode: func(_ *builder, _ listed, in []int) (Layer, error) {
			if len(in) != 3 {
				return nil, fmt.Errorf("takes %v, want an image [C, H, W]", in)
			}
			return AvgPool2D{Kernel: [2]int{in[1], in[2]}, Stride: [2]int{1, 1}}, nil
		}},
	{name: "flatten"},
	{name: "add", layer: Add{}, decode: fixed(Add{}), examples: addExamples},
}

// normalize returns (x - mean)/std as a Scale. Both are in the list, or are tensors of the file.
func (b *builder) normalize(l listed) (Layer, error) {
	if l.Name != "" && l.Mean == nil && l.Std == nil {
		for _, part := range []struct {
			name string
			to   *[]float64
		}{{"mean", &l.Mean}, {"std", &l.Std}} {
			name := tensorName(l.Name, part.name)
			t := b.tensors[name]
			if t == nil {
				return nil, fmt.Errorf("no tensor %s in the file, nor a mean and std in the list", formats.Quote(name))
			}
			b.used[name] = true
			*part.to = formats.Wide(t)
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
	return Scale{Name: cmp.Or(l.Name, "normalize"), Weight: b.vector(w), Bias: b.vector(s)}, nil
}
