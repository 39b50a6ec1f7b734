package ref

import (
	"fmt"
	"math"

	"advsweep/model"
)

// A constant takes nothing.
type constant struct{ v []float64 }

func (l constant) forward([][]float64) []float64 { return l.v }

// backward is never asked for, since a constant takes nothing.
func (l constant) backward([]float64, [][]float64, int) []float64 {
	panic("ref: a constant takes nothing")
}

func (l constant) boundForward(_ [][]Value, a Rounding) []Value {
	z := make([]Value, len(l.v))
	for i, v := range l.v {
		z[i] = Value{v, rounded(v, a)}
	}
	return z
}

func (l constant) boundBackward([]Value, [][]Value, int, Rounding) []Value {
	panic("ref: a constant takes nothing")
}

// rounded bounds what is lost of a number of the model where a backend rounds it: nothing of one
// that float32 has.
func rounded(v float64, a Rounding) float64 {
	if float64(float32(v)) == v {
		return 0
	}
	return a.Unit * math.Abs(v)
}

// An arrange gives number index[o] of all that it takes, or 0 for -1.
type arrange struct {
	index []int32
	start []int // of each value among all
}

func newArrange(l model.Arrange, in [][]int) arrange {
	a := arrange{index: l.Index}
	n := 0
	for _, s := range in {
		a.start = append(a.start, n)
		n += size(s)
	}
	return a
}

// each calls f for each number o that is number i of the value arg.
func (l arrange) each(in, arg int, f func(o, i int)) {
	for o, i := range l.index {
		if at := int(i) - l.start[arg]; i >= 0 && at >= 0 && at < in {
			f(o, at)
		}
	}
}

func (l arrange) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.index))
	for arg, x := range in {
		l.each(len(x), arg, func(o, i int) { z[o] = x[i] })
	}
	return z
}

func (l arrange) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	l.each(len(dx), arg, func(o, i int) { dx[i] += d[o] })
	return dx
}

func (l arrange) boundForward(in [][]Value, _ Rounding) []Value {
	z := make([]Value, len(l.index))
	for arg, x := range in {
		l.each(len(x), arg, func(o, i int) { z[o] = x[i] })
	}
	return z
}

func (l arrange) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	s := newSums(len(in[arg]))
	l.each(len(in[arg]), arg, func(o, i int) { s.add(i, d[o]) })
	return s.values(a)
}

// channels returns, for each pixel of a value of that shape, the places of its channels.
func channels(shape []int) [][]int {
	pixels := size(shape) / shape[0]
	all := make([][]int, pixels)
	for p := range all {
		for c := range shape[0] {
			all[p] = append(all[p], c*pixels+p)
		}
	}
	return all
}

// reduceOf panics, naming the reduction, if there is none of that name.
func reduceOf(l model.Reduce, in, out []int) operation {
	all := channels(in)
	weighted := func(w float64) operation {
		return affine{bias: make([]float64, size(out)), row: func(o int, f func(int, float64)) {
			for _, i := range all[o] {
				f(i, w)
			}
		}}
	}
	switch l.By {
	case "sum":
		return weighted(1)
	case "mean":
		return weighted(1 / float64(in[0]))
	case "max":
		return maxPool{all}
	case "logsumexp":
		return logSumExp{all}
	}
	panic(fmt.Sprintf("ref: no reduction by %q", l.By))
}

// shares returns the softmax of x at the places, with bounds. Each number x_k off by at most worst
// scales a share by at most exp(±2·worst). Its distance from the largest rounds, too, and so do
// exp, the sum and the quotient.
func shares(x []Value, places []int, a Rounding) []Value {
	v, worst, top := make([]float64, len(places)), 0.0, math.Inf(-1)
	for k, i := range places {
		v[k] = x[i].V
		worst, top = max(worst, x[i].Err), max(top, v[k])
	}
	q := make([]Value, len(places))
	far := 0.0 // how far the distances of the terms of the sum err, by their shares
	for k, p := range Softmax(v) {
		far += p * (top - v[k])
		q[k].V = p
	}
	for k, p := range q {
		relative := math.Expm1(2*worst) + gamma(len(places)+ulps, a.Unit) + 2*a.Unit*(top-v[k]+far+2*worst)
		q[k].Err = p.V*relative + tiny
	}
	return q
}

// gather returns the numbers of x at the places.
func gather(x []float64, places []int) []float64 {
	v := make([]float64, len(places))
	for k, i := range places {
		v[k] = x[i]
	}
	return v
}

// A logSumExp is log Σ exp(x_k) over each list of places. Its derivative is the softmax.
type logSumExp struct{ places [][]int }

func (l logSumExp) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.places))
	for o, places := range l.places {
		z[o] = logSum(gather(in[0], places))
	}
	return z
}

func logSum(x []float64) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = math.Max(top, v)
	}
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

func (l logSumExp) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	for o, places := range l.places {
		for k, p := range Softmax(gather(in[arg], places)) {
			dx[places[k]] = d[o] * p
		}
	}
	return dx
}

func (l logSumExp) boundForward(in [][]Value, a Rounding) []Value {
	z := make([]Value, len(l.places))
	for o, places := range l.places {
		v := make([]float64, len(places))
		top, carried, far := math.Inf(-1), 0.0, 0.0
		for k, i := range places {
			v[k] = in[0][i].V
			top, carried = max(top, v[k]), max(carried, in[0][i].Err) // no number moves it by more
		}
		for k, p := range Softmax(v) {
			far += p * (top - v[k])
		}
		// The logarithm of the sum errs by as much as the sum does relative to itself.
		late := gamma(len(places)+ulps, a.Unit) + 2*a.Unit*(far+carried)
		sum := logSum(v)
		z[o] = Value{sum, carried + late + 2*a.Unit*(math.Abs(sum)+math.Abs(top)+carried) + ulps*a.Unit*(sum-top)}
	}
	return z
}

func (l logSumExp) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	dx := make([]Value, len(in[arg]))
	for o, places := range l.places {
		for k, q := range shares(in[arg], places, a) {
			dx[places[k]] = times(d[o], q, a)
		}
	}
	return dx
}

// A softmax is exp(x_c)/Σ exp(x_k) over each list of places. Its gradient is q_c·(d_c - Σ d_k·q_k).
type softmax struct{ places [][]int }

func (l softmax) forward(in [][]float64) []float64 {
	z := make([]float64, len(in[0]))
	for _, places := range l.places {
		for k, p := range Softmax(gather(in[0], places)) {
			z[places[k]] = p
		}
	}
	return z
}

func (l softmax) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	for _, places := range l.places {
		q, mean := Softmax(gather(in[arg], places)), 0.0
		for k, i := range places {
			mean += d[i] * q[k]
		}
		for k, i := range places {
			dx[i] = q[k] * (d[i] - mean)
		}
	}
	return dx
}

func (l softmax) boundForward(in [][]Value, a Rounding) []Value {
	z := make([]Value, len(in[0]))
	for _, places := range l.places {
		for k, q := range shares(in[0], places, a) {
			z[places[k]] = q
		}
	}
	return z
}

func (l softmax) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	dx := make([]Value, len(in[arg]))
	for _, places := range l.places {
		q, s := shares(in[arg], places, a), newSums(1)
		for k, i := range places {
			s.add(0, times(d[i], q[k], a))
		}
		mean := s.values(a)[0]
		for k, i := range places {
			rest := Value{d[i].V - mean.V, d[i].Err + mean.Err}
			rest.Err += a.Unit * (math.Abs(rest.V) + rest.Err)
			dx[i] = times(rest, q[k], a)
		}
	}
	return dx
}

// A bilinear is a sum of products: y[o] is Σ x[i]·z[j] over each triple (o, i, j).
type bilinear struct {
	outputs int
	each    func(f func(o, i, j int))
}

func matMul(l model.MatMul, in [][]int, out []int) bilinear {
	h, m := out[1], out[2]
	return bilinear{size(out), func(f func(o, i, j int)) {
		for n := range out[0] {
			for r := range h {
				for c := range m {
					for k := range in[0][0] {
						j := (n*h+r)*in[1][2] + k
						if l.Transpose {
							j = (k*h+r)*in[1][2] + n
						}
						f((n*h+r)*m+c, (k*h+r)*m+c, j)
					}
				}
			}
		}
	}}
}

func (l bilinear) forward(in [][]float64) []float64 {
	z := make([]float64, l.outputs)
	l.each(func(o, i, j int) { z[o] += in[0][i] * in[1][j] })
	return z
}

func (l bilinear) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	l.each(func(o, i, j int) {
		if arg == 0 {
			dx[i] += d[o] * in[1][j]
		} else {
			dx[j] += d[o] * in[0][i]
		}
	})
	return dx
}

func (l bilinear) boundForward(in [][]Value, a Rounding) []Value {
	s := newSums(l.outputs)
	l.each(func(o, i, j int) { s.addProduct(o, in[0][i], in[1][j]) })
	return s.products(a)
}

func (l bilinear) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	s := newSums(len(in[arg]))
	l.each(func(o, i, j int) {
		if arg == 0 {
			s.addProduct(i, d[o], in[1][j])
		} else {
			s.addProduct(j, d[o], in[0][i])
		}
	})
	return s.products(a)
}

// addProduct adds x·y to sum i. What the product rounds is counted by products.
func (s *sums) addProduct(i int, x, y Value) {
	s.add(i, Value{x.V * y.V, math.Abs(x.V)*y.Err + math.Abs(y.V)*x.Err + x.Err*y.Err})
}

// products returns sums of products, each of which may be one of a matrix product.
func (s *sums) products(a Rounding) []Value {
	for i, n := range s.n {
		s.all[i].Err += a.gamma(n)*s.abs[i] + tiny
	}
	return s.all
}
