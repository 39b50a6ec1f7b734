package ref

import (
	"fmt"
	"math"

	"advsweep/model"
)

// A pair is a function f of two numbers, with the derivatives by each of them.
type pair struct {
	f      func(x, y float64) float64
	slopes func(x, y float64) [2]float64
	// bound returns how far f and both derivatives may lie from those at x.V and y.V, as the bound
	// of an activation does.
	bound func(x, y Value, a Rounding) (f float64, slopes [2]float64)
}

// pairs are the functions of two numbers, by the name that model.Pairwise says.
var pairs = map[string]pair{
	"add": {
		func(x, y float64) float64 { return x + y },
		func(_, _ float64) [2]float64 { return [2]float64{1, 1} },
		func(x, y Value, a Rounding) (float64, [2]float64) {
			return x.Err + y.Err + a.Unit*(math.Abs(x.V+y.V)+x.Err+y.Err), [2]float64{}
		},
	},
	"sub": {
		func(x, y float64) float64 { return x - y },
		func(_, _ float64) [2]float64 { return [2]float64{1, -1} },
		func(x, y Value, a Rounding) (float64, [2]float64) {
			return x.Err + y.Err + a.Unit*(math.Abs(x.V-y.V)+x.Err+y.Err), [2]float64{}
		},
	},
	"mul": {
		func(x, y float64) float64 { return x * y },
		func(x, y float64) [2]float64 { return [2]float64{y, x} },
		func(x, y Value, a Rounding) (float64, [2]float64) {
			carried := math.Abs(x.V)*y.Err + math.Abs(y.V)*x.Err + x.Err*y.Err
			return carried + a.Unit*(math.Abs(x.V*y.V)+carried) + tiny, [2]float64{y.Err, x.Err}
		},
	},
	"div": {
		func(x, y float64) float64 { return x / y },
		func(x, y float64) [2]float64 { return [2]float64{1 / y, -x / y / y} },
		func(x, y Value, a Rounding) (float64, [2]float64) {
			size := math.Abs(y.V)
			least := size - y.Err
			if !(least > 0) {
				return unknown, [2]float64{unknown, unknown}
			}
			// x̂/ŷ - x/y = (x̂ - x)/ŷ - x/y·(ŷ - y)/ŷ, and likewise for 1/y and x/y².
			q := math.Abs(x.V) / size
			f := (x.Err + q*y.Err) / least
			first := y.Err / least / size
			second := x.Err/least/least + q*y.Err/least*(1/least+1/size)
			u := ulps * a.Unit
			return f + u*(q+f) + tiny, [2]float64{first + u/least + tiny, second + u*(q/size+second) + tiny}
		},
	},
	"max": chosen(func(x, y float64) bool { return x >= y }),
	"min": chosen(func(x, y float64) bool { return x <= y }),
}

// unknown is a bound where nothing is known, such as that of 1/x where x may be 0. No number of
// float32 is as large. Infinity is, but its product with 0 would be no bound at all.
const unknown = 1e60

// chosen is x where wins says so, and otherwise y. Of equal numbers it is x.
func chosen(wins func(x, y float64) bool) pair {
	return pair{
		func(x, y float64) float64 {
			switch {
			case wins(x, y):
				return x
			case x != x:
				return x
			}
			return y
		},
		func(x, y float64) [2]float64 {
			if wins(x, y) {
				return [2]float64{1, 0}
			}
			return [2]float64{0, 1}
		},
		func(x, y Value, _ Rounding) (float64, [2]float64) {
			far := math.Abs(x.V - y.V)
			if far > x.Err+y.Err || x.Err == 0 && y.Err == 0 {
				if wins(x.V, y.V) {
					return x.Err, [2]float64{}
				}
				return y.Err, [2]float64{}
			}
			// the larger one moves by no more than either
			return max(x.Err, y.Err), [2]float64{1, 1}
		},
	}
}

// A pairwise applies a pair to number at[0][o] of the first value and at[1][o] of the second.
type pairwise struct {
	pair
	at [2][]int
}

// pairwiseOf returns the function of that name of values of shapes in. It panics, naming the layer,
// if the table has no such function.
func pairwiseOf(name string, l model.Layer, in [][]int, out []int) pairwise {
	row, ok := pairs[name]
	if !ok {
		panic(fmt.Sprintf("ref: no function %q of two numbers, which %T asks for", name, l))
	}
	p := pairwise{pair: row}
	for arg := range p.at {
		for o := range size(out) {
			// The place in each dimension, 0 where the value has 1.
			at, rest, step := 0, o, 1
			for d := len(out) - 1; d >= 0; d-- {
				if n := in[arg][d]; n > 1 {
					at += rest % out[d] * step
					step *= n
				}
				rest /= out[d]
			}
			p.at[arg] = append(p.at[arg], at)
		}
	}
	return p
}

func (l pairwise) forward(in [][]float64) []float64 {
	z := make([]float64, len(l.at[0]))
	for o := range z {
		z[o] = l.f(in[0][l.at[0][o]], in[1][l.at[1][o]])
	}
	return z
}

func (l pairwise) backward(d []float64, in [][]float64, arg int) []float64 {
	dx := make([]float64, len(in[arg]))
	for o, d := range d {
		dx[l.at[arg][o]] += d * l.slopes(in[0][l.at[0][o]], in[1][l.at[1][o]])[arg]
	}
	return dx
}

func (l pairwise) boundForward(in [][]Value, a Rounding) []Value {
	z := make([]Value, len(l.at[0]))
	for o := range z {
		x, y := in[0][l.at[0][o]], in[1][l.at[1][o]]
		err, _ := l.bound(x, y, a)
		z[o] = Value{l.f(x.V, y.V), err}
	}
	return z
}

func (l pairwise) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	s := newSums(len(in[arg]))
	for o, d := range d {
		x, y := in[0][l.at[0][o]], in[1][l.at[1][o]]
		_, err := l.bound(x, y, a)
		s.add(l.at[arg][o], times(d, Value{l.slopes(x.V, y.V)[arg], err[arg]}, a))
	}
	return s.values(a)
}

// times returns d·g, the product rounded. A product by a sure 0, 1 or -1 is exact.
func times(d, g Value, a Rounding) Value {
	v := Value{d.V * g.V, math.Abs(d.V)*g.Err + d.Err*(math.Abs(g.V)+g.Err)}
	if g.Err != 0 || g.V != 0 && math.Abs(g.V) != 1 {
		v.Err += a.Unit * (math.Abs(v.V) + v.Err)
	}
	return v
}

// sums are sums of values, each of which rounds if it has more than one term.
type sums struct {
	all []Value
	abs []float64 // of the terms
	n   []int
}

func newSums(n int) *sums { return &sums{make([]Value, n), make([]float64, n), make([]int, n)} }

func (s *sums) add(i int, v Value) {
	s.all[i].V += v.V
	s.all[i].Err += v.Err
	s.abs[i] += math.Abs(v.V) + v.Err
	s.n[i]++
}

func (s *sums) values(a Rounding) []Value {
	for i, n := range s.n {
		if n > 1 {
			s.all[i].Err += gamma(n, a.Unit) * s.abs[i]
		}
	}
	return s.all
}
