package cpu

import (
	"fmt"
	"maps"
	"slices"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A pairLoop writes a function of each pair of numbers of x and y. All have one length.
type pairLoop[T Float] func(to, x, y []T)

// A pairSlope writes d times the derivative by one of both numbers.
type pairSlope[T Float] func(to, d, x, y []T)

// A pairFunction is a function of two numbers, with its derivative by each.
type pairFunction[T Float] struct {
	value  pairLoop[T]
	slopes [2]pairSlope[T]
	// narrow says that it changes by no more than both numbers together, and is 0 for zeros.
	narrow bool
}

// pairFunctions has the functions of two numbers, by the name that model.Pairwise gives. A new one
// is a row here.
func pairFunctions[T Float]() map[string]pairFunction[T] {
	pass := func(to, d, _, _ []T) { copy(to, d) }
	return map[string]pairFunction[T]{
		"add": {
			func(to, x, y []T) {
				x, y = x[:len(to)], y[:len(to)]
				for i := range to {
					to[i] = x[i] + y[i]
				}
			},
			[2]pairSlope[T]{pass, pass}, true,
		},
		"sub": {
			func(to, x, y []T) {
				x, y = x[:len(to)], y[:len(to)]
				for i := range to {
					to[i] = x[i] - y[i]
				}
			},
			[2]pairSlope[T]{pass, func(to, d, _, _ []T) {
				d = d[:len(to)]
				for i := range to {
					to[i] = -d[i]
				}
			}}, true,
		},
		"mul": {
			multiply[T],
			[2]pairSlope[T]{func(to, d, _, y []T) { multiply(to, d, y) }, func(to, d, x, _ []T) { multiply(to, d, x) }}, false,
		},
		"div": {
			divide[T],
			[2]pairSlope[T]{func(to, d, _, y []T) { divide(to, d, y) }, func(to, d, x, y []T) {
				d, x, y = d[:len(to)], x[:len(to)], y[:len(to)]
				for i := range to {
					to[i] = -(d[i] * (x[i] / y[i])) / y[i]
				}
			}}, false,
		},
		// The first of equal numbers counts, and a NaN.
		"max": choice(func(x, y T) bool { return x >= y || x != x }),
		"min": choice(func(x, y T) bool { return x <= y || x != x }),
	}
}

func multiply[T Float](to, x, y []T) {
	x, y = x[:len(to)], y[:len(to)]
	for i := range to {
		to[i] = x[i] * y[i]
	}
}

func divide[T Float](to, x, y []T) {
	x, y = x[:len(to)], y[:len(to)]
	for i := range to {
		to[i] = x[i] / y[i]
	}
}

// choice is x where first says so, and else y.
func choice[T Float](first func(x, y T) bool) pairFunction[T] {
	slope := func(want bool) pairSlope[T] {
		return func(to, d, x, y []T) {
			for i := range to {
				if to[i] = 0; first(x[i], y[i]) == want {
					to[i] = d[i]
				}
			}
		}
	}
	return pairFunction[T]{
		func(to, x, y []T) {
			for i := range to {
				if to[i] = y[i]; first(x[i], y[i]) {
					to[i] = x[i]
				}
			}
		},
		[2]pairSlope[T]{slope(true), slope(false)}, true,
	}
}

// A pairwise is a function of two values, of which each may be taken again along some dimensions.
// These are merged where both values allow it: dims are the outermost first, and steps has for each
// how far a value's numbers lie apart along it, 0 where it is taken again.
type pairwise[T Float] struct {
	vec gemm.Vector[T]
	pairFunction[T]
	dims  [3]int
	steps [3][2]int
}

// newPairwise returns an error that names the function if there is none of that name.
func newPairwise[T Float](vec gemm.Vector[T], name string, in []lower.Shape, out lower.Shape) (*pairwise[T], error) {
	all := pairFunctions[T]()
	f, ok := all[name]
	if !ok {
		return nil, fmt.Errorf("no function %q of two numbers, want one of %q", name, slices.Sorted(maps.Keys(all)))
	}
	a := &pairwise[T]{vec: vec, pairFunction: f, dims: [3]int{1, 1, 1}}
	sides := func(s lower.Shape) [3]int { return [3]int{s.H, s.W, s.C} }
	size := [2]int{1, 1}
	at := 2 // the dimension that is made, from the innermost
	for d := 2; d >= 0; d-- {
		n := sides(out)[d]
		if n == 1 {
			continue
		}
		var step [2]int
		for arg, s := range in {
			if side := sides(s)[d]; side == n {
				step[arg] = size[arg]
				size[arg] *= n
			}
		}
		// The dimension goes on where the one inside it ends.
		inner := a.steps[at]
		if a.dims[at] > 1 && step == [2]int{inner[0] * a.dims[at], inner[1] * a.dims[at]} {
			a.dims[at] *= n
			continue
		}
		if a.dims[at] > 1 {
			at--
		}
		a.dims[at], a.steps[at] = n, step
	}
	return a, nil
}

// each calls f for each run of numbers of the output that lie behind each other: n from o on, with
// x and y the places of the first in both values.
func (a *pairwise[T]) each(f func(o, x, y, n int)) {
	o, n := 0, a.dims[2]
	for i := range a.dims[0] {
		for j := range a.dims[1] {
			f(o, i*a.steps[0][0]+j*a.steps[1][0], i*a.steps[0][1]+j*a.steps[1][1], n)
			o += n
		}
	}
}

// operand returns n numbers of x from place at on, or n times that number, in buffer, if arg is
// taken again along a run.
func (a *pairwise[T]) operand(x []T, at, n, arg int, buffer *[]T) []T {
	if a.steps[2][arg] == 1 || n == 1 {
		return x[at:][:n]
	}
	*buffer = resize(*buffer, n)
	fill(*buffer, x[at])
	return *buffer
}

func (a *pairwise[T]) forward(m *memory[T], y []T, x [][]T) {
	a.each(func(o, i, j, n int) {
		a.value(y[o:][:n], a.operand(x[0], i, n, 0, &m.frame), a.operand(x[1], j, n, 1, &m.frame))
	})
}

// backward adds up what numbers that are taken again have, in rising order of the output's.
func (a *pairwise[T]) backward(m *memory[T], dx []T, x [][]T, arg int, _, d []T) {
	again := a.often(arg) > 1
	if again {
		clear(dx)
	}
	a.each(func(o, i, j, n int) {
		u, v := a.operand(x[0], i, n, 0, &m.frame), a.operand(x[1], j, n, 1, &m.frame)
		at := [2]int{i, j}[arg]
		if !again {
			a.slopes[arg](dx[at:][:n], d[o:][:n], u, v)
			return
		}
		m.back = resize(m.back, n)
		a.slopes[arg](m.back, d[o:][:n], u, v)
		if a.steps[2][arg] == 1 {
			a.vec.Add(dx[at:][:n], m.back)
			return
		}
		sum := dx[at]
		for _, v := range m.back {
			sum += v
		}
		dx[at] = sum
	})
}
