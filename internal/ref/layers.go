package ref

import (
	"fmt"
	"math"

	"advsweep/model"
)

// An operation is what a layer does to one image. It is an affine map, a function of each element,
// or a choice of the largest.
type operation interface {
	// forward returns the output for all that the layer takes.
	forward(in [][]float64) []float64
	// backward returns the gradient at one of what the layer takes, x, for d at its output.
	backward(d, x []float64) []float64
	boundForward(in [][]Value, a Rounding) []Value
	boundBackward(d, x []Value, a Rounding) []Value
}

// layers returns the operations of m, which must be valid.
func layers(m *model.Model) []operation {
	shapes, err := m.Shapes()
	if err != nil {
		panic("ref: " + err.Error())
	}
	input := m.Input
	if input == nil {
		input = []int{m.Inputs()}
	}
	all := make([]operation, len(m.Layers))
	for i, l := range m.Layers {
		in := input
		if j := m.Takes(i)[0]; j >= 0 {
			in = shapes[j]
		}
		all[i] = operationOf(i, l, in, shapes[i])
	}
	return all
}

// operationOf returns the operation of layer i, which takes a value of shape in and gives one of
// shape out. It panics, naming the layer, if there is none.
func operationOf(i int, l model.Layer, in, out []int) operation {
	switch l := l.(type) {
	case model.Linear:
		return linear(l)
	case model.Conv2D:
		return conv2D(l, in, out)
	case model.Scale:
		return scale(l, in)
	case model.AvgPool2D:
		return avgPool2D(l, in, out)
	case model.Add:
		return affine{bias: make([]float64, size(in)), row: func(o int, f func(int, float64)) { f(o, 1) }}
	case model.MaxPool2D:
		return maxPool{windows(in, out, l.Kernel, l.Stride, l.Pad), size(in)}
	case model.Elementwise:
		return activationOf(l)
	}
	panic(fmt.Sprintf("ref: no operation for layer %d, %T (%s)", i, l, l.Kind()))
}

// affine is y = W·x + b. For several x it is the sum of the products, with b once. row calls f(i,
// w) for each element of row o of W, but for those that are 0 by the layer's form.
type affine struct {
	bias    []float64
	row     func(o int, f func(i int, w float64))
	product bool // a backend may take it to be a matrix product
}

func (l affine) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.bias))
	for o := range z {
		sum := l.bias[o]
		l.row(o, func(i int, w float64) {
			for _, x := range in {
				sum += w * x[i]
			}
		})
		z[o] = sum
	}
	return z
}

func (l affine) backward(d, x []float64) []float64 {
	dx := make([]float64, len(x))
	for o, d := range d {
		l.row(o, func(i int, w float64) { dx[i] += w * d })
	}
	return dx
}

func linear(l model.Linear) affine {
	w, b := Float64s(l.Weight), Float64s(l.Bias)
	in := len(w) / len(b)
	return affine{b, func(o int, f func(int, float64)) {
		for i, w := range w[o*in:][:in] {
			f(i, w)
		}
	}, true}
}

func conv2D(l model.Conv2D, in, out []int) affine {
	w, b := Float64s(l.Weight), Float64s(l.Bias)
	kh, kw := l.Weight.Shape()[2], l.Weight.Shape()[3]
	bias := make([]float64, size(out))
	for o := range bias {
		bias[o] = b[o/(out[1]*out[2])]
	}
	return affine{bias, func(o int, f func(int, float64)) {
		filter, r, c := o/(out[1]*out[2]), o/out[2]%out[1], o%out[2]
		for ch := range in[0] {
			for u := range kh {
				for v := range kw {
					y, x := r*l.Stride[0]+u-l.Pad[0], c*l.Stride[1]+v-l.Pad[1]
					if y >= 0 && y < in[1] && x >= 0 && x < in[2] {
						f((ch*in[1]+y)*in[2]+x, w[((filter*in[0]+ch)*kh+u)*kw+v])
					}
				}
			}
		}
	}, true}
}

func scale(l model.Scale, in []int) affine {
	w, b := Float64s(l.Weight), Float64s(l.Bias)
	each := size(in) / in[0]
	bias := make([]float64, size(in))
	for o := range bias {
		bias[o] = b[o/each]
	}
	return affine{bias, func(o int, f func(int, float64)) { f(o, w[o/each]) }, false}
}

func avgPool2D(l model.AvgPool2D, in, out []int) affine {
	all := windows(in, out, l.Kernel, l.Stride, l.Pad)
	return affine{make([]float64, size(out)), func(o int, f func(int, float64)) {
		n := len(all[o])
		// What the window covers of the padded image, which is all of the window.
		if l.CountPad {
			n = l.Kernel[0] * l.Kernel[1]
		}
		for _, i := range all[o] {
			f(i, 1/float64(n))
		}
	}, false}
}

// windows returns, for each element of a pool's output, the elements of its input that it takes,
// row by row.
func windows(in, out []int, kernel, stride [2]int, pad [4]int) [][]int {
	var all [][]int
	for ch := range out[0] {
		for r := range out[1] {
			for c := range out[2] {
				var window []int
				for u := range kernel[0] {
					for v := range kernel[1] {
						y, x := r*stride[0]+u-pad[0], c*stride[1]+v-pad[1]
						if y >= 0 && y < in[1] && x >= 0 && x < in[2] {
							window = append(window, (ch*in[1]+y)*in[2]+x)
						}
					}
				}
				all = append(all, window)
			}
		}
	}
	return all
}

// maxPool takes the first largest of each window.
type maxPool struct {
	windows [][]int
	inputs  int
}

func (l maxPool) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.windows))
	for o, w := range l.windows {
		z[o] = in[0][first(w, in[0])]
	}
	return z
}

func (l maxPool) backward(d, x []float64) []float64 {
	dx := make([]float64, len(x))
	for o, w := range l.windows {
		dx[first(w, x)] += d[o]
	}
	return dx
}

// first returns which of the places has the first largest of x.
func first(places []int, x []float64) int {
	best := places[0]
	for _, i := range places {
		if x[i] > x[best] {
			best = i
		}
	}
	return best
}

// An activation is a function f of each element, with its derivative.
type activation struct {
	f, derivative func(x float64) float64
	// bound returns how far f and its derivative may lie from those at x.V, x being off by x.Err
	// and both functions computed in a: by a few units in the last place, from formulas in which
	// nothing cancels (see activations).
	bound func(x Value, a Rounding) (f, derivative float64)
}

func (l activation) forward(in [][]float64) []float64 {
	h := make([]float64, len(in[0]))
	for i, v := range in[0] {
		h[i] = l.f(v)
	}
	return h
}

func (l activation) backward(d, x []float64) []float64 {
	dx := make([]float64, len(x))
	for i, v := range x {
		dx[i] = d[i] * l.derivative(v)
	}
	return dx
}

// Sigmoid returns 1/(1 + exp(-x)).
func Sigmoid(x float64) float64 {
	if e := math.Exp(-math.Abs(x)); x < 0 {
		return e / (1 + e)
	} else {
		return 1 / (1 + e)
	}
}

// sigmoidDerivative is s·(1-s). In that form it is 0 in float32 from x = 17 on, as s is 1.
func sigmoidDerivative(x float64) float64 {
	e := math.Exp(-math.Abs(x))
	return e / ((1 + e) * (1 + e))
}

// The tanh form of GELU is x·Sigmoid(2u(x)), u = geluA·(x + geluB·x³).
const (
	geluA = 0.7978845608028653558798921198687637369517 // √(2/π)
	geluB = 0.044715
)

// ulps is how many units in the last place an activation's formula may err by.
const ulps = 16

// tiny is where float32 begins to lose digits: a backend may take less for 0.
const tiny = 0x1p-126

// activationOf returns the function of an elementwise layer. It panics, naming the layer, if the
// table has no such function.
func activationOf(l model.Elementwise) activation {
	name, parameters := l.Function()
	row, ok := activations[name]
	if !ok {
		panic(fmt.Sprintf("ref: no function %q, which %T asks for", name, l))
	}
	return row(parameters[0])
}

// Function returns the function of an elementwise layer and its derivative, its parameter rounded
// to float32 as a backend's is. It panics as activationOf does.
func Function(l model.Elementwise) (f, derivative func(x float64) float64) {
	activationOf(l) // for the panic
	name, parameters := l.Function()
	a := activations[name](float64(float32(parameters[0])))
	return a.f, a.derivative
}

// activations are the functions of one number, by the name that a layer says, with their
// derivatives. The formulas do not cancel, and those of a backend must not: a derivative keeps its
// sign and its first digits however small it is, down to 2^-126.
var activations = map[string]func(parameter float64) activation{
	"relu":       func(float64) activation { return kink(0) },
	"leaky_relu": kink,
	"sigmoid": func(float64) activation {
		return activation{Sigmoid, sigmoidDerivative, func(x Value, a Rounding) (float64, float64) {
			// |d log f'/dx| = |1 - 2s| ≤ 1: over x ± Err, f' changes by a factor of exp(Err) at
			// most.
			s, d := Sigmoid(x.V), sigmoidDerivative(x.V)
			return d*math.Exp(x.Err)*x.Err + ulps*a.Unit*s + tiny, d*(math.Expm1(x.Err)+ulps*a.Unit) + tiny
		}}
	},
	"tanh": func(float64) activation {
		derivative := func(x float64) float64 { return 4 * sigmoidDerivative(2*x) } // 1 - tanh²
		return activation{math.Tanh, derivative, func(x Value, a Rounding) (float64, float64) {
			d := derivative(x.V)
			return d*math.Exp(2*x.Err)*x.Err + ulps*a.Unit*math.Abs(math.Tanh(x.V)) + tiny, d*(math.Expm1(2*x.Err)+ulps*a.Unit) + tiny
		}}
	},
	"gelu": func(float64) activation {
		gate := func(x float64) (p, density float64) { // Φ and φ
			return math.Erfc(-x/math.Sqrt2) / 2, math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
		}
		// Φ and φ change by x² for each unit that -x/√2 and x²/2 err by, relative to themselves.
		return gated(gate, func(x float64) float64 { return ulps + 2*x*x })
	},
	"gelu_tanh": func(float64) activation {
		gate := func(x float64) (p, density float64) {
			v := 2 * geluA * (x + geluB*x*x*x)
			return Sigmoid(v), sigmoidDerivative(v) * 2 * geluA * (1 + 3*geluB*x*x)
		}
		return gated(gate, func(x float64) float64 { return ulps + 8*math.Abs(2*geluA*(x+geluB*x*x*x)) })
	},
}

// gated is x·p(x) with derivative p + x·p', for a gate that returns p and p'. spread returns how
// many units in the last place both may err by at x.
func gated(gate func(x float64) (p, density float64), spread func(x float64) float64) activation {
	return activation{
		func(x float64) float64 { p, _ := gate(x); return x * p },
		func(x float64) float64 { p, d := gate(x); return p + x*d },
		func(x Value, a Rounding) (float64, float64) {
			p, d := gate(x.V)
			x1, u := math.Abs(x.V), spread(x.V)*a.Unit
			return geluSlope*x.Err + u*x1*p + (1+x1)*tiny, geluBend*x.Err + u*(p+x1*d) + (1+x1)*tiny
		},
	}
}

// The largest |f'| and |f”| of either form of GELU, rounded up: 1.129 and 0.798 (TestBends).
const geluSlope, geluBend = 1.13, 0.80

// kink is x where x > 0 and slope·x elsewhere.
func kink(slope float64) activation {
	f := func(x float64) float64 {
		if x > 0 {
			return x
		}
		if slope == 0 {
			return 0
		}
		return slope * x
	}
	derivative := func(x float64) float64 {
		if x > 0 {
			return 1
		}
		return slope
	}
	return activation{f, derivative, func(x Value, a Rounding) (float64, float64) {
		s := math.Abs(slope)
		switch {
		case x.V > x.Err:
			return x.Err, 0
		case x.V < -x.Err || x.V == 0 && x.Err == 0:
			return s*x.Err + 2*a.Unit*s*(math.Abs(x.V)+x.Err), a.Unit * s
		}
		return max(1, s)*x.Err + 2*a.Unit*s*(math.Abs(x.V)+x.Err), math.Abs(1-slope) + a.Unit*s
	}}
}

func size(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}
