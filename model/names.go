package model

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// A naming is a way to name the tensors of an MLP.
type naming struct {
	// split returns the layer that a tensor is of, and "weight" or "bias". ok is false for a name
	// of another form.
	split func(name string, rank int) (layer, part string, ok bool)
	// kernels is set where matrices are [in, out] by the meaning of the name. Elsewhere the biases
	// tell, and if they fit both, PyTorch's [out, in] is what split's names mean, or with
	// positional set nothing is.
	kernels, positional bool
}

// namings are all that are known. Of a file whose tensors fit several, the first counts.
var namings = []naming{
	// PyTorch: fc1.weight, fc1.bias
	{split: func(name string, _ int) (layer, part string, ok bool) {
		layer, part = formats.SplitName(name)
		return layer, part, part == "weight" || part == "bias"
	}},
	// Keras and Flax: dense/kernel:0, params.Dense_0.bias
	{kernels: true, split: func(name string, _ int) (layer, part string, ok bool) {
		layer, part = formats.SplitName(strings.ReplaceAll(strings.TrimSuffix(name, ":0"), "/", "."))
		if part == "kernel" {
			part = "weight"
		}
		return layer, part, part == "weight" || part == "bias"
	}},
	// By hand: W1, b1, weights_2, bias2
	{positional: true, split: func(name string, _ int) (layer, part string, ok bool) {
		m := byHand.FindStringSubmatch(strings.ToLower(name))
		if m == nil {
			return "", "", false
		}
		part = "weight"
		if m[1][0] == 'b' {
			part = "bias"
		}
		return "fc" + m[2], part, true
	}},
	// numpy.savez of a list: arr_0 a matrix, arr_1 its bias, ...
	{positional: true, split: func(name string, rank int) (layer, part string, ok bool) {
		var k int
		if n, err := fmt.Sscanf(name, "arr_%d", &k); n != 1 || err != nil || fmt.Sprintf("arr_%d", k) != name {
			return "", "", false
		}
		if rank == 1 {
			return fmt.Sprintf("arr_%d", k-1), "bias", true
		}
		return name, "weight", true
	}},
}

var byHand = regexp.MustCompile(`^(w|weight|weights|b|bias|biases)_?([0-9]+)$`)

// namingOf returns the naming that all tensors fit, and PyTorch's where there is none: its errors
// name what does not.
func namingOf(entries []entry) naming {
	for _, n := range namings {
		if !slices.ContainsFunc(entries, func(e entry) bool {
			_, _, ok := n.split(e.name, len(e.shape))
			return !e.counts && !ok
		}) {
			return n
		}
	}
	return namings[0]
}

// An arrangement is the Linear layers that names alone tell, in order.
type arrangement struct {
	widths           []width
	matrices, biases map[string]*entry // by layer
	// kernels is set where weights are [in, out].
	kernels bool
	notes   []string
}

// arrange returns the Linear layers that the entries make by their names alone.
func arrange(entries []entry) (*arrangement, error) {
	a, err := findLayers(entries)
	if err != nil {
		return nil, err
	}
	how := ""
	if a.widths, how, err = order(a.widths); err != nil {
		return nil, err
	}
	if how != "" {
		a.notes = append(a.notes, how)
	}
	last := a.widths[len(a.widths)-1]
	return a, checkOutputs(formats.Quote(last.name), last.out)
}

// findLayers returns the Linear layers that the entries make, in no order.
func findLayers(entries []entry) (*arrangement, error) {
	n := namingOf(entries)
	biases, matrices := make(map[string]*entry), make(map[string]*entry)
	a := &arrangement{matrices: matrices, biases: biases}
	var names, counters []string
	for i := range entries {
		e := &entries[i]
		if e.counts {
			if !isCounter(e.name) {
				counters = append(counters, formats.Quote(e.name))
			}
			continue
		}
		layer, part, _ := n.split(e.name, len(e.shape))
		quoted := formats.Quote(e.name)
		switch {
		case part == "weight" && len(e.shape) == 2:
			if _, twice := matrices[layer]; twice {
				return nil, fmt.Errorf("tensor %s: another one is of layer %s too", quoted, formats.Quote(layer))
			}
			matrices[layer] = e
			names = append(names, layer)
		case part == "weight":
			return nil, fmt.Errorf("tensor %s: shape %d, want [out in]: %s", quoted, e.shape, mlpOnly)
		case part == "bias" && len(e.shape) == 1:
			biases[layer] = e
		case part == "bias":
			return nil, fmt.Errorf("tensor %s: shape %d, want [out]: %s", quoted, e.shape, mlpOnly)
		case part == "running_mean" || part == "running_var":
			return nil, fmt.Errorf("tensor %s is of batch normalisation, and names do not tell before or after which layer it goes: %s", quoted, mlpOnly)
		default:
			return nil, fmt.Errorf("tensor %s: want names that end in .weight or .bias: %s", quoted, mlpOnly)
		}
	}
	if len(names) > 0 {
		if err := a.turn(n, names, matrices, biases); err != nil {
			return nil, err
		}
	}
	for _, layer := range names {
		e := matrices[layer]
		in, out := int(e.shape[1]), int(e.shape[0])
		if a.kernels {
			in, out = out, in
		}
		a.widths = append(a.widths, width{layer, in, out})
	}
	for _, e := range entries { // not biases: the first in the file is named
		if layer, part, _ := n.split(e.name, len(e.shape)); part == "bias" && matrices[layer] == nil && !e.counts {
			return nil, fmt.Errorf("tensor %s: there is no %s: %s", formats.Quote(e.name), formats.Quote(weightName(layer)), mlpOnly)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no tensor is the matrix of a layer: %s", mlpOnly)
	}
	if len(counters) > 0 {
		a.notes = append(a.notes, strings.Join(counters[:min(len(counters), 8)], ", ")+": single whole numbers, which are of no layer, are left out")
	}
	return a, nil
}

// turn finds whether matrices are [in, out]. In all of a file they are the same way round.
func (a *arrangement) turn(n naming, names []string, matrices, biases map[string]*entry) error {
	rows, columns := true, true // have the length of every bias
	for _, layer := range names {
		b, ok := biases[layer]
		if !ok {
			continue
		}
		m := matrices[layer]
		rows, columns = rows && b.shape[0] == m.shape[0], columns && b.shape[0] == m.shape[1]
		if n.kernels && !columns {
			return fmt.Errorf("tensor %s: shape %d, want [%d], the outputs of %s", formats.Quote(b.name), b.shape, m.shape[1], formats.Quote(m.name))
		}
		if !rows && !columns {
			return fmt.Errorf("tensor %s: shape %d, want [%d], the outputs of %s", formats.Quote(b.name), b.shape, m.shape[0], formats.Quote(m.name))
		}
	}
	switch {
	case n.kernels:
		a.kernels = true
	case rows && columns && n.positional: // all square, or no bias
		return fmt.Errorf("matrices may be [out in] or [in out], which names as %s do not tell: call them NAME.weight [out in] or NAME.kernel [in out], with NAME.bias",
			formats.Quote(matrices[names[0]].name))
	case !rows:
		a.kernels = true
		a.notes = append(a.notes, "matrices are read as [in out], as Keras has them, since only so do the biases fit")
	}
	return nil
}

// mlpOf returns the MLP of the layers in a.
func mlpOf(a *arrangement, t weights) *Model {
	linears := make([]Linear, len(a.widths))
	for i, w := range a.widths {
		weight := t.tensors[a.matrices[w.name].name]
		var bias *tensor.Dense
		if b := a.biases[w.name]; b != nil {
			bias = t.tensors[b.name]
		}
		switch {
		case bias != nil:
		case t.double:
			bias = formats.Dense(make([]float64, w.out), w.out)
		default:
			bias = formats.Dense(make([]float32, w.out), w.out)
		}
		if a.kernels {
			weight = transposed(weight)
		}
		linears[i] = Linear{Name: w.name, Weight: weight, Bias: bias}
	}
	m := chain(linears)
	m.Notes = a.notes
	if len(linears) > 1 {
		m.Assumed, m.Notes = "relu", append(slices.Clone(a.notes), assumedNote)
	}
	return m
}

// transposed returns the transpose of a matrix.
func transposed(t *tensor.Dense) *tensor.Dense {
	rows, columns := t.Shape()[0], t.Shape()[1]
	switch data := t.Data().(type) {
	case []float64:
		return formats.Dense(turned(data, rows, columns), columns, rows)
	default:
		return formats.Dense(turned(data.([]float32), rows, columns), columns, rows)
	}
}

func turned[T float32 | float64](data []T, rows, columns int) []T {
	out := make([]T, len(data))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = data[r*columns+c]
		}
	}
	return out
}

// ranks are words that have an order, by families.
var ranks = []map[string]int{
	{"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8},
	{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8},
	{"in": 1, "inp": 1, "input": 1, "hid": 2, "hidden": 2, "mid": 2, "middle": 2, "out": 3, "outp": 3, "output": 3},
}

// byWords returns the layers in the order that words of their names tell, such as first and second
// or input, hidden and output. ok is false where they tell none, or layers do not chain in it.
func byWords(layers []width) (sorted []width, ok bool) {
	for _, family := range ranks {
		at := make(map[string]int) // by name
		taken := make(map[int]bool)
		for _, l := range layers {
			for _, word := range strings.FieldsFunc(strings.ToLower(l.name), func(r rune) bool { return r < 'a' || r > 'z' }) {
				if rank := family[word]; rank > 0 && at[l.name] == 0 && !taken[rank] {
					at[l.name], taken[rank] = rank, true
				}
			}
		}
		if len(at) != len(layers) {
			continue
		}
		sorted = slices.Clone(layers)
		slices.SortFunc(sorted, func(a, b width) int { return at[a.name] - at[b.name] })
		if chains(sorted) {
			return sorted, true
		}
	}
	return nil, false
}

// copies returns two prefixes of names under which there are the same layers, "" for none before
// them, as a file has that holds an average of the weights beside the weights.
func copies(layers []width) (prefixes []string) {
	under := make(map[string][]string)
	for _, l := range layers {
		shape := fmt.Sprintf(" %d %d", l.in, l.out)
		under[""] = append(under[""], l.name+shape)
		if prefix, rest, ok := strings.Cut(l.name, "."); ok {
			under[prefix+"."] = append(under[prefix+"."], rest+shape)
		}
	}
	seen := make(map[string]string) // a prefix, by what is under it
	for _, prefix := range slices.Sorted(maps.Keys(under)) {
		all := under[prefix]
		if prefix == "" { // those that have no prefix
			all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return strings.Contains(s, ".") })
		}
		if len(all) == 0 {
			continue
		}
		slices.Sort(all)
		key := strings.Join(all, "\n")
		if first, twice := seen[key]; twice {
			return []string{first, prefix}
		}
		seen[key] = prefix
	}
	return nil
}
