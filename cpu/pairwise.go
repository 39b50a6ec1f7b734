package cpu

import (
	"fmt"
	"maps"
	"slices"

	"advsweep/internal/lower"
)

// A pairLoop applies a function of two numbers to len(to) pairs of numbers of x and y, whose numbers
// lie step[0] and step[1] apart: 1, or 0 for one number that is taken again.
type pairLoop[T Float] func(to, x, y []T, step [2]int)

// A pairSlope adds to dx, whose numbers lie at apart, d times the derivative by one of both numbers.
type pairSlope[T Float] func(dx, d, x, y []T, at int, step [2]int)

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
	pass := func(dx, d, _, _ []T, at int, _ [2]int) {
		for i, d := range d {
			dx[i*at] += d
		}
	}
	return map[string]pairFunction[T]{
		"add": {
			func(to, x, y []T, step [2]int) {
				for i := range to {
					to[i] = x[i*step[0]] + y[i*step[1]]
				}
			},
			[2]pairSlope[T]{pass, pass}, true,
		},
		"sub": {
			func(to, x, y []T, step [2]int) {
				for i := range to {
					to[i] = x[i*step[0]] - y[i*step[1]]
				}
			},
			[2]pairSlope[T]{pass, func(dx, d, _, _ []T, at int, _ [2]int) {
				for i, d := range d {
					dx[i*at] -= d
				}
			}}, true,
		},
		"mul": {
			func(to, x, y []T, step [2]int) {
				for i := range to {
					to[i] = x[i*step[0]] * y[i*step[1]]
				}
			},
			[2]pairSlope[T]{
				func(dx, d, _, y []T, at int, step [2]int) {
					for i, d := range d {
						dx[i*at] += T(d * y[i*step[1]])
					}
				},
				func(dx, d, x, _ []T, at int, step [2]int) {
					for i, d := range d {
						dx[i*at] += T(d * x[i*step[0]])
					}
				},
			}, false,
		},
		"div": {
			func(to, x, y []T, step [2]int) {
				for i := range to {
					to[i] = x[i*step[0]] / y[i*step[1]]
				}
			},
			[2]pairSlope[T]{
				func(dx, d, _, y []T, at int, step [2]int) {
					for i, d := range d {
						dx[i*at] += d / y[i*step[1]]
					}
				},
				func(dx, d, x, y []T, at int, step [2]int) {
					for i, d := range d {
						b := y[i*step[1]]
						dx[i*at] -= T(d*(x[i*step[0]]/b)) / b
					}
				},
			}, false,
		},
		// The first of equal numbers counts, and a NaN.
		"max": choice(func(x, y T) bool { return x >= y || x != x }),
		"min": choice(func(x, y T) bool { return x <= y || x != x }),
	}
}

// choice is x where first says so, and else y.
func choice[T Float](first func(x, y T) bool) pairFunction[T] {
	slope := func(want bool) pairSlope[T] {
		return func(dx, d, x, y []T, at int, step [2]int) {
			for i, d := range d {
				if first(x[i*step[0]], y[i*step[1]]) == want {
					dx[i*at] += d
				}
			}
		}
	}
	return pairFunction[T]{
		func(to, x, y []T, step [2]int) {
			for i := range to {
				a, b := x[i*step[0]], y[i*step[1]]
				if to[i] = b; first(a, b) {
					to[i] = a
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
	pairFunction[T]
	dims  [3]int
	steps [3][2]int
}

// newPairwise returns an error that names the function if there is none of that name.
func newPairwise[T Float](name string, in []lower.Shape, out lower.Shape) (*pairwise[T], error) {
	all := pairFunctions[T]()
	f, ok := all[name]
	if !ok {
		return nil, fmt.Errorf("no function %q of two numbers, want one of %q", name, slices.Sorted(maps.Keys(all)))
	}
	a := &pairwise[T]{pairFunction: f, dims: [3]int{1, 1, 1}}
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

func (a *pairwise[T]) forward(_ *memory[T], y []T, x [][]T) {
	a.each(func(o, i, j, n int) { a.value(y[o:][:n], x[0][i:], x[1][j:], a.steps[2]) })
}

func (a *pairwise[T]) backward(_ *memory[T], dx []T, x [][]T, arg int, _, d []T) {
	clear(dx)
	a.each(func(o, i, j, n int) {
		a.slopes[arg](dx[[2]int{i, j}[arg]:], d[o:][:n], x[0][i:], x[1][j:], a.steps[2][arg], a.steps[2])
	})
}
