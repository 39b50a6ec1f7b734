package model

import (
	"slices"

	"advsweep/model/internal/formats"

	"gorgonia.org/tensor"
)

// An affine is what a layer does to each number by itself: w·x + b, for numbers as they lie.
type affine struct{ w, b []float64 }

// asMLP returns m as the MLP that it is once factors and summands of single numbers, such as the
// normalisation of pixels or batch normalisation, are a part of the Linear beside them. It returns
// nil if m is no such model, or is an MLP already. Weights are computed in float64.
func (m *Model) asMLP() *Model {
	if m.IsMLP() || m.validateWiring() != nil {
		return nil
	}
	shapes, err := m.Shapes()
	if err != nil {
		return nil
	}
	out := &Model{Source: m.Source, Notes: m.Notes, Assumed: m.Assumed, Image: m.Image}
	if len(m.Input) == 3 {
		out.Image = m.Input
	}
	var waiting []affine // that no Linear has taken yet
	for _, i := range m.spine() {
		in := m.inputShape()
		if j := m.chained(i); j >= 0 {
			in = shapes[j]
		}
		last := len(out.Layers) - 1
		switch l := m.Layers[i].(type) {
		case Linear:
			if last >= 0 {
				if _, ok := out.Layers[last].(Linear); ok {
					return nil
				}
			}
			if waiting != nil {
				l = l.after(waiting)
			}
			waiting = nil
			out.Layers = append(out.Layers, l)
		case ReLU:
			if waiting != nil || last < 0 {
				return nil
			}
			out.Layers = append(out.Layers, l)
		default:
			// Two numbers of a pair that differ in shape may become more than either has.
			if _, ok := l.(Arrange); !ok && !slices.Equal(shapes[i], in) {
				return nil
			}
			a, ok := m.affine(i, formats.Volume(in))
			if !ok {
				return nil
			}
			if last >= 0 {
				if before, ok := out.Layers[last].(Linear); ok {
					out.Layers[last] = before.then(a)
					continue
				}
			}
			waiting = append(waiting, a)
		}
	}
	if waiting != nil || !out.IsMLP() || out.Outputs() < 2 {
		return nil
	}
	return out
}

// spine returns the layers from the first to the last one that take each other, constants left out,
// or nil if one takes more.
func (m *Model) spine() []int {
	var all []int
	for i := len(m.Layers) - 1; i >= 0; i = m.chained(i) {
		all = append(all, i)
		if m.chained(i) < -1 {
			return nil
		}
	}
	slices.Reverse(all)
	return all
}

// chained returns which output layer i takes beside constants, -1 for the image, or -2 if it takes
// several.
func (m *Model) chained(i int) int {
	found := -2
	for _, j := range m.Takes(i) {
		if j >= 0 {
			if _, ok := m.Layers[j].(Constant); ok {
				continue
			}
		}
		if found != -2 {
			return -2
		}
		found = j
	}
	return found
}

// affine returns what layer i does to each of n numbers, if it is an affine.
func (m *Model) affine(i, n int) (affine, bool) {
	a := affine{make([]float64, n), make([]float64, n)}
	for k := range n {
		a.w[k] = 1
	}
	switch l := m.Layers[i].(type) {
	case Scale:
		w, b := formats.Wide(l.Weight), formats.Wide(l.Bias)
		each := n / len(w)
		for k := range n {
			a.w[k], a.b[k] = w[k/each], b[k/each]
		}
		return a, true
	case Arrange:
		for k, at := range l.Index {
			if int(at) != k || len(l.Index) != n {
				return a, false
			}
		}
		return a, true
	case Add, Sub, Mul, Div:
		return a, m.withConstant(i, a)
	}
	return a, false
}

// withConstant fills in a with what layer i, a function of two numbers, does with its constant. It
// returns false if there is none of the size of the other.
func (m *Model) withConstant(i int, a affine) bool {
	takes := m.Takes(i)
	if len(takes) != 2 {
		return false
	}
	for side, j := range takes {
		if j < 0 {
			continue
		}
		c, ok := m.Layers[j].(Constant)
		if !ok {
			continue
		}
		v := formats.Wide(c.Value)
		if len(v) != len(a.w) && len(v) != 1 {
			return false
		}
		for k := range a.w {
			x := v[min(k, len(v)-1)]
			switch m.Layers[i].(type) {
			case Add:
				a.b[k] = x
			case Sub:
				if a.b[k] = -x; side == 0 {
					a.w[k], a.b[k] = -1, x
				}
			case Mul:
				a.w[k] = x
			case Div:
				if a.w[k] = 1 / x; side == 0 || x == 0 {
					return false
				}
			default:
				return false
			}
		}
		return true
	}
	return false
}

// after returns the Linear of what all give, one after the other, for numbers that l takes: of one,
// W·(w·x + b) + c. That is computed for the last one first.
func (l Linear) after(all []affine) Linear {
	w, b := wideCopy(l.Weight), wideCopy(l.Bias)
	for _, a := range slices.Backward(all) {
		n := len(a.w)
		for o := range b {
			row := w[o*n:][:n]
			for k := range row {
				b[o] += float64(row[k] * a.b[k])
				row[k] *= a.w[k]
			}
		}
	}
	return l.with(w, b)
}

// wideCopy is formats.Wide in memory of its own.
func wideCopy(t *tensor.Dense) []float64 {
	w := formats.Wide(t)
	if t.Dtype() == tensor.Float64 {
		w = slices.Clone(w)
	}
	return w
}

// then returns a of what l gives: w·(W·x + c) + b.
func (l Linear) then(a affine) Linear {
	w, b := wideCopy(l.Weight), wideCopy(l.Bias)
	n := len(w) / len(b)
	for o := range b {
		for k := range n {
			w[o*n+k] *= a.w[o]
		}
		b[o] = float64(b[o]*a.w[o]) + a.b[o]
	}
	return l.with(w, b)
}

// with returns l with other numbers, of float64 unless all are numbers of float32.
func (l Linear) with(w, b []float64) Linear {
	single := true
	for _, all := range [][]float64{w, b} {
		single = single && !slices.ContainsFunc(all, func(x float64) bool { return float64(float32(x)) != x })
	}
	dense := func(all []float64, shape ...int) *tensor.Dense {
		if !single {
			return formats.Dense(all, shape...)
		}
		narrow := make([]float32, len(all))
		for i, x := range all {
			narrow[i] = float32(x)
		}
		return formats.Dense(narrow, shape...)
	}
	return Linear{Name: l.Name, Weight: dense(w, len(b), len(w)/len(b)), Bias: dense(b, len(b))}
}
