package cpu

import (
	"math"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/portable"
	"advsweep/model"
)

// An operation is what a layer other than Linear does to one image.
type operation[T Float] interface {
	// forward writes y for all that the layer takes.
	forward(m *memory[T], y []T, x [][]T)
	// backward writes the gradient dx at x, one of what the layer takes, for d at its output y. It may change d.
	backward(m *memory[T], dx, x, y, d []T)
}

// A memory is what one worker has for one layer.
type memory[T Float] struct {
	frame, back []T
	rows        *rows[T] // counts
	gemm        *gemm.Scratch[T]
	packed      *gemm.Matrix[T] // see learn
}

// newOperation returns l's operation, which takes what has the shape in and gives out.
func newOperation[T Float](path string, l model.Layer, in, out shape) operation[T] {
	vec := gemm.NewVector[T](path)
	switch l := l.(type) {
	case model.Conv2D:
		return newConvolution[T](path, l, in, out)
	case model.Scale:
		return &scale[T]{vec, batch.Floats[T](nil, l.Weight), batch.Floats[T](nil, l.Bias)}
	case model.MaxPool2D:
		return &maxPool[T]{vec, pool{in, out, l.Kernel, l.Stride, l.Pad}}
	case model.AvgPool2D:
		return newAvgPool(vec, pool{in, out, l.Kernel, l.Stride, l.Pad}, l.CountPad)
	case model.Add:
		return add[T]{vec}
	case model.ReLU:
		return relu[T]{vec}
	case model.LeakyReLU:
		return leaky[T]{T(l.Slope)}
	case model.Sigmoid:
		return activation[T]{sigmoid, sigmoidSlope}
	case model.Tanh:
		return activation[T]{portable.Tanh, func(x float64) float64 { return 4 * sigmoidSlope(2*x) }}
	case model.GELU:
		if l.Tanh {
			return activation[T]{geluTanh, geluTanhSlope}
		}
		return activation[T]{gelu, geluSlope}
	}
	return nil
}

// A convolution goes forward by the windows of its input. Backward it goes by windows of d, the filters turned round, where these are the
// same number and there are channels enough to fill vectors, and else by columns.
type convolution[T Float] struct {
	there *windows[T]
	back  *windows[T]
	cols  *columns[T]
}

// few channels fill a vector so badly that columns are faster.
const few = 8

func newConvolution[T Float](path string, l model.Conv2D, in, out shape) *convolution[T] {
	kernel := [2]int{l.Weight.Shape()[2], l.Weight.Shape()[3]}
	there := filter(l, batch.Floats[T](nil, l.Weight))
	a := &convolution[T]{there: newWindows(path, in, out, kernel, l.Stride, l.Pad, batch.Floats[T](nil, l.Bias), there)}
	var pad [4]int
	fits := in.c >= few && l.Stride == [2]int{1, 1}
	for d := range 4 {
		pad[d] = kernel[d%2] - 1 - l.Pad[d]
		fits = fits && pad[d] >= 0
	}
	if fits {
		a.back = newWindows(path, out, in, kernel, l.Stride, pad, nil, turnedRound(kernel, there))
	} else {
		a.cols = newColumns(path, in, out, kernel, l.Stride, l.Pad, there)
	}
	return a
}

// filter reads the weights w [out, in, KH, KW] of l.
func filter[T Float](l model.Conv2D, w []T) func(o, c, u, v int) T {
	s := l.Weight.Shape()
	return func(o, c, u, v int) T { return w[((o*s[1]+c)*s[2]+u)*s[3]+v] }
}

// turnedRound are the weights that take a gradient back.
func turnedRound[T Float](kernel [2]int, weight func(o, c, u, v int) T) func(c, o, u, v int) T {
	return func(c, o, u, v int) T { return weight(o, c, kernel[0]-1-u, kernel[1]-1-v) }
}

// pack takes new weights.
func (a *convolution[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	a.there.pack(weight)
	copy(a.there.from, bias)
	if a.back != nil {
		a.back.pack(turnedRound(a.back.kernel, weight))
	} else {
		a.cols.pack(weight)
	}
}

func (a *convolution[T]) forward(m *memory[T], y []T, x [][]T) {
	a.there.apply(y, x[0], &m.frame, m.gemm)
	m.rows.flop += a.there.flop()
}

func (a *convolution[T]) backward(m *memory[T], dx, _, _, d []T) {
	if a.back != nil {
		a.back.apply(dx, d, &m.back, m.gemm)
		m.rows.flop += a.back.flop()
		return
	}
	a.cols.apply(dx, d, &m.back, m.gemm)
	m.rows.flop += a.cols.flop()
}

// A scale is x·w + b by channel.
type scale[T Float] struct {
	vec  gemm.Vector[T]
	w, b []T // [C]
}

func (a *scale[T]) forward(_ *memory[T], y []T, x [][]T) {
	a.by(y, x[0], func(w, b, x T) T { return T(w*x) + b })
}

func (a *scale[T]) backward(_ *memory[T], dx, _, _, d []T) {
	a.by(dx, d, func(w, _, d T) T { return w * d })
}

func (a *scale[T]) by(to, from []T, f func(w, b, v T) T) {
	for len(from) > 0 {
		for c, w := range a.w {
			to[c] = f(w, a.b[c], from[c])
		}
		to, from = to[len(a.w):], from[len(a.w):]
	}
}

// A pool has windows in each channel.
type pool struct {
	in, out        shape
	kernel, stride [2]int
	pad            [4]int
}

// each calls f for each row of windows and each place of a window that lies within the image there: for the windows cols, of which at
// is the first, from element at to on, and the elements x of the image, step apart.
func (p *pool) each(row func(r int), f func(y, x, cols, step int)) {
	for r := range p.out.h {
		row(r)
		for u := range p.kernel[0] {
			h := r*p.stride[0] + u - p.pad[0]
			if h < 0 || h >= p.in.h {
				continue
			}
			for v := range p.kernel[1] {
				first := max(0, (p.pad[1]-v+p.stride[1]-1)/p.stride[1]) // the first window where this place is not left of the image
				if last := min(p.out.w-1, (p.in.w-1+p.pad[1]-v)/p.stride[1]); p.in.w-1+p.pad[1]-v >= 0 && first <= last {
					f((r*p.out.w+first)*p.out.c, (h*p.in.w+first*p.stride[1]+v-p.pad[1])*p.in.c, last-first+1, p.stride[1]*p.in.c)
				}
			}
		}
	}
}

type maxPool[T Float] struct {
	vec gemm.Vector[T]
	pool
}

func (a *maxPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	inf := T(math.Inf(-1))
	for i := range y {
		y[i] = inf
	}
	c := a.out.c
	a.each(func(int) {}, func(to, from, cols, step int) { a.vec.Larger(cols, c, y[to:], c, x[0][from:], step) })
}

// backward gives each of d to the first element of its window that is the largest: each calls by rows and columns of windows.
func (a *maxPool[T]) backward(_ *memory[T], dx, x, y, d []T) {
	clear(dx)
	c := a.out.c
	a.each(func(int) {}, func(to, from, cols, step int) {
		a.vec.Hand(cols, c, dx[from:], step, x[from:], y[to:], c, d[to:])
	})
}

type avgPool[T Float] struct {
	vec gemm.Vector[T]
	pool
	count []T // [out.h·out.w]: elements of each window
}

func newAvgPool[T Float](vec gemm.Vector[T], p pool, countPad bool) *avgPool[T] {
	a := &avgPool[T]{vec, p, make([]T, p.out.h*p.out.w)}
	p.each(func(int) {}, func(to, _, cols, _ int) {
		for i := range cols {
			a.count[to/p.out.c+i]++
		}
	})
	if countPad {
		for i := range a.count {
			a.count[i] = T(p.kernel[0] * p.kernel[1])
		}
	}
	return a
}

func (a *avgPool[T]) forward(_ *memory[T], y []T, x [][]T) {
	clear(y)
	c := a.out.c
	a.each(func(int) {}, func(to, from, cols, step int) {
		for i := range cols {
			a.sum(y[to+i*c:][:c], x[0][from+i*step:])
		}
	})
	for i := range y {
		y[i] /= a.count[i/c]
	}
}

func (a *avgPool[T]) backward(_ *memory[T], dx, _, _, d []T) {
	clear(dx)
	c := a.out.c
	for i := range d {
		d[i] /= a.count[i/c]
	}
	a.each(func(int) {}, func(to, from, cols, step int) {
		for i := range cols {
			a.sum(dx[from+i*step:][:c], d[to+i*c:])
		}
	})
}

func (a *avgPool[T]) sum(to, from []T) {
	if len(to) >= short {
		a.vec.Add(to, from)
		return
	}
	for i := range to {
		to[i] += from[i]
	}
}

// add is a residual connection.
type add[T Float] struct{ vec gemm.Vector[T] }

func (a add[T]) forward(_ *memory[T], y []T, x [][]T) {
	copy(y, x[0])
	for _, x := range x[1:] {
		a.vec.Add(y, x)
	}
}

func (a add[T]) backward(_ *memory[T], dx, _, _, d []T) { copy(dx, d) }

// relu may have y where x was, and dx where d was.
type relu[T Float] struct{ vec gemm.Vector[T] }

func (a relu[T]) forward(_ *memory[T], y []T, x [][]T) {
	copy(y, x[0])
	a.vec.Gate(y, y)
}

func (a relu[T]) backward(_ *memory[T], dx, _, y, d []T) {
	copy(dx, d)
	a.vec.Gate(dx, y)
}

type leaky[T Float] struct{ slope T }

func (a leaky[T]) forward(_ *memory[T], y []T, x [][]T) { a.by(y, x[0], x[0]) }

func (a leaky[T]) backward(_ *memory[T], dx, x, _, d []T) { a.by(dx, d, x) }

func (a leaky[T]) by(to, v, x []T) {
	for i, x := range x {
		if to[i] = v[i]; !(x > 0) {
			to[i] = a.slope * v[i]
		}
	}
}

// An activation is computed in float64.
type activation[T Float] struct{ f, slope func(x float64) float64 }

func (a activation[T]) forward(_ *memory[T], y []T, x [][]T) {
	for i, v := range x[0] {
		y[i] = T(a.f(float64(v)))
	}
}

func (a activation[T]) backward(_ *memory[T], dx, x, _, d []T) {
	for i, v := range x {
		dx[i] = T(a.slope(float64(v)) * float64(d[i]))
	}
}

// The functions below and their derivatives are formed without a difference of numbers that may be nearly equal: 1 - s loses every digit
// where s rounds to 1, and the gradient would be lost with it.

func sigmoid(x float64) float64 {
	if x < 0 {
		e := portable.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + portable.Exp(-x))
}

// sigmoidSlope is s·(1-s).
func sigmoidSlope(x float64) float64 {
	e := portable.Exp(-math.Abs(x))
	return e / ((1 + e) * (1 + e))
}

// gelu is x·Φ(x), Φ by the complementary error function.
func gelu(x float64) float64 { return times(x, portable.Erfc(-x/math.Sqrt2)/2) }

func geluSlope(x float64) float64 {
	return float64(portable.Erfc(-x/math.Sqrt2)/2) + times(x, portable.Exp(-x*x/2)/math.Sqrt(2*math.Pi))
}

// times is x·v, 0 at v = 0 also of an infinite x.
func times(x, v float64) float64 {
	if v == 0 {
		return 0
	}
	return float64(x * v)
}

// geluTanh is x/2·(1 + tanh(u)) = x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³).
func geluTanh(x float64) float64 { return times(x, sigmoid(geluArgument(x))) }

func geluTanhSlope(x float64) float64 {
	const a, b = 0.79788456080286535588, 3 * 0.044715
	u := geluArgument(x)
	return sigmoid(u) + times(x*2*a*(1+float64(b*x*x)), sigmoidSlope(u))
}

func geluArgument(x float64) float64 {
	const a, b = 0.79788456080286535588, 0.044715
	return 2 * a * x * (1 + float64(b*x*x))
}
