package model

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/words"
	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// assumedNote is the note of a model whose activation is taken for granted.
const assumedNote = "ReLU between its layers is taken for granted: the names of tensors do not tell the activation"

// Activations returns the names of the functions that SetActivation takes: every elementwise layer,
// with its parameters, if it has any, as a layer list leaves them out.
func Activations() []string {
	var all []string
	for _, k := range elementwiseKinds {
		if _, err := k.decode(&builder{}, listed{Type: k.name}, nil); err == nil {
			all = append(all, k.name)
		}
	}
	return all
}

// SetActivation puts the function of that name, one of Activations, between the Linear layers of a
// model that was read by the names of its tensors alone, instead of the ReLU that was taken for
// granted. Source tells of it. It returns an error for a model whose file tells its activations.
func (m *Model) SetActivation(name string) error {
	at := slices.IndexFunc(elementwiseKinds, func(k kind) bool { return k.name == name })
	switch {
	case at < 0:
		return fmt.Errorf("model: activation %s, want %s", formats.Quote(name), words.Or(Activations()))
	case m.Assumed == "":
		return fmt.Errorf("model: %sactivation %s, but the file tells its activations itself", prefix(m.Source.Name), name)
	}
	layer, err := elementwiseKinds[at].decode(&builder{}, listed{Type: name}, nil)
	if err != nil {
		return fmt.Errorf("model: activation %s: %w", name, err)
	}
	m.Layers = slices.Clone(m.Layers)
	for i, l := range m.Layers {
		if _, ok := l.(Elementwise); ok {
			m.Layers[i] = layer
		}
	}
	m.Assumed, m.Source.Activation = name, name
	m.Notes = slices.DeleteFunc(slices.Clone(m.Notes), func(n string) bool { return n == assumedNote })
	return nil
}

// ParsePixels reads "LO,HI", what a model takes for a black and for a white pixel.
func ParsePixels(s string) (lo, hi float64, err error) {
	a, b, ok := strings.Cut(s, ",")
	lo, err1 := strconv.ParseFloat(strings.TrimSpace(a), 64)
	hi, err2 := strconv.ParseFloat(strings.TrimSpace(b), 64)
	if !ok || err1 != nil || err2 != nil || checkPixels(lo, hi) != nil {
		return 0, 0, fmt.Errorf("%s, want LO,HI with LO below HI, as in 0,255 or -1,1", formats.Quote(s))
	}
	return lo, hi, nil
}

func checkPixels(lo, hi float64) error {
	if !(lo < hi) || math.IsInf(hi-lo, 0) || float32(hi-lo) == 0 || math.IsInf(float64(float32(hi-lo)), 0) {
		return fmt.Errorf("pixels from %v to %v, want two finite numbers, the lower one first", lo, hi)
	}
	return nil
}

// TakePixels makes of m, which takes pixels from lo to hi, the model that takes the same pixels
// from 0 to 1: it computes lo + (hi - lo)·x of every pixel x first. Gradients, eps and bounds are
// those of x. Source tells of it.
//
// If m begins with a Linear or a Scale that alone takes the image, the line is folded into its
// weights, in float64 and rounded once, so an MLP stays one. Else a Scale comes first.
func (m *Model) TakePixels(lo, hi float64) error {
	if err := checkPixels(lo, hi); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if m.Source.Pixels != "" {
		return fmt.Errorf("model: %spixels are scaled already, from %s", prefix(m.Source.Name), m.Source.Pixels)
	}
	if err := m.Validate(); err != nil {
		return err
	}
	layers := slices.Clone(m.Layers)
	from := m.From
	switch first := layers[0].(type) {
	case Linear:
		if !m.firstAlone() {
			layers, from = m.scaledFirst(lo, hi)
			break
		}
		first.Weight, first.Bias = scaledRows(first.Weight, first.Bias, lo, hi)
		layers[0] = first
	case Scale:
		if !m.firstAlone() {
			layers, from = m.scaledFirst(lo, hi)
			break
		}
		first.Weight, first.Bias = scaledRows(first.Weight, first.Bias, lo, hi)
		layers[0] = first
	default:
		layers, from = m.scaledFirst(lo, hi)
	}
	after := *m
	after.Layers, after.From = layers, from
	after.Source.Pixels = strconv.FormatFloat(lo, 'g', -1, 64) + "," + strconv.FormatFloat(hi, 'g', -1, 64)
	if err := after.validate(); err != nil { // a weight that became infinite
		return fmt.Errorf("model: %spixels from %v to %v: %w", prefix(m.Source.Name), lo, hi, err)
	}
	*m = after
	return nil
}

// firstAlone reports whether layer 0 takes the image, and no other layer does.
func (m *Model) firstAlone() bool {
	for i := range m.Layers {
		if slices.Contains(m.Takes(i), -1) != (i == 0) {
			return false
		}
	}
	return true
}

// scaledRows returns W·(hi-lo) and b + lo·(the sum of each row of W), for W [out, n] and b [out],
// each rounded to the type of the numbers that it is made of.
func scaledRows(w, b *tensor.Dense, lo, hi float64) (weight, bias *tensor.Dense) {
	sums := wideCopy(b)
	shape := slices.Clone([]int(w.Shape()))
	if data, ok := w.Data().([]float64); ok {
		weight = formats.Dense(scaled(data, sums, lo, hi), shape...)
	} else {
		weight = formats.Dense(scaled(w.Data().([]float32), sums, lo, hi), shape...)
	}
	return weight, like(b, sums)
}

// scaled returns W·(hi-lo), and adds lo·W to the sum of each row.
func scaled[T float32 | float64](w []T, sums []float64, lo, hi float64) []T {
	out := make([]T, len(w))
	n := len(w) / len(sums)
	for i, v := range w {
		out[i] = T(float64(v) * (hi - lo))
		sums[i/n] += float64(float64(v) * lo)
	}
	return out
}

// scaledFirst returns the layers of m with lo + (hi-lo)·x before them, and what each takes.
func (m *Model) scaledFirst(lo, hi float64) (layers []Layer, from [][]int) {
	n, dtype := m.inputShape()[0], tensor.Float32
	if m.Dtype() == "float64" {
		dtype = tensor.Float64
	}
	name := "pixels"
	for slices.ContainsFunc(m.Layers, func(l Layer) bool {
		return slices.ContainsFunc(l.Params(), func(p Param) bool { return p.Name == weightName(name) || p.Name == biasName(name) })
	}) {
		name += "_"
	}
	one := tensor.New(tensor.Of(dtype), tensor.WithShape(n))
	first := Scale{Name: name, Weight: like(one, slices.Repeat([]float64{hi - lo}, n)), Bias: like(one, slices.Repeat([]float64{lo}, n))}
	layers = append([]Layer{first}, m.Layers...)
	if m.From == nil {
		return layers, nil
	}
	from = [][]int{{-1}}
	for _, takes := range m.From {
		moved := make([]int, len(takes)) // the image is layer 0 now, and every layer one further on
		for k, j := range takes {
			moved[k] = j + 1
		}
		from = append(from, moved)
	}
	return layers, from
}

// like returns data, rounded to the type of t, in its shape.
func like(t *tensor.Dense, data []float64) *tensor.Dense {
	shape := slices.Clone([]int(t.Shape()))
	if t.Dtype() == tensor.Float64 {
		return formats.Dense(data, shape...)
	}
	single := make([]float32, len(data))
	for i, v := range data {
		single[i] = float32(v)
	}
	return formats.Dense(single, shape...)
}

// FirstFactor returns the factor of least size by which the first layers of m multiply a pixel
// before anything else is computed of it. ok is false where the first layer is no Scale.
//
// A model for pixels from 0 to 255 begins with a factor of 1/255, or 1/(255·std), as a rule.
func (m *Model) FirstFactor() (factor float64, ok bool) {
	factor = 1
	for i, l := range m.Layers {
		s, is := l.(Scale)
		if !is || !slices.Equal(m.Takes(i), []int{i - 1}) {
			break
		}
		w := formats.Wide(s.Weight)
		factor *= slices.MinFunc(w, func(a, b float64) int {
			switch {
			case math.Abs(a) < math.Abs(b):
				return -1
			case math.Abs(a) > math.Abs(b):
				return 1
			}
			return 0
		})
		ok = true
	}
	return factor, ok
}
