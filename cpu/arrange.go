package cpu

import (
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A constant gives the same numbers for every image. A network keeps them once, see
// netLayer.shared, and calls forward only where each row needs a copy.
type constant[T Float] struct{ v []T }

func (a constant[T]) forward(_ *memory[T], y []T, _ [][]T) { copy(y, a.v) }

// backward is never called, since a constant takes nothing.
func (a constant[T]) backward(_ *memory[T], _ []T, _ [][]T, _ int, _, _ []T) {}

// A run is n numbers of a value, from place from on, that are numbers to, to+1, … of the output.
type run struct{ to, from, n int32 }

// An arrange gives numbers of what it takes in another order, see lower.Arrange. Where runs of them
// are long on average each is copied as a whole.
type arrange[T Float] struct {
	vec   gemm.Vector[T]
	runs  [][]run // by value, by rising place in the output
	long  []bool  // by value
	once  []bool  // by value: no number of it is given twice
	zeros bool    // some numbers of the output are 0
	again float64 // how often a number is given at most
}

// longRun is the length from which on a copy is worth its call. It changes no bit.
const longRun = 8

func newArrange[T Float](vec gemm.Vector[T], l *lower.Arrange, in []lower.Shape) *arrange[T] {
	a := &arrange[T]{vec: vec, runs: make([][]run, len(in)), long: make([]bool, len(in)), once: l.Once}
	given, numbers := make([][]int32, len(in)), make([]int, len(in))
	for arg, s := range in {
		given[arg] = make([]int32, s.Size())
	}
	for o, i := range l.Index {
		arg := int32(0)
		if l.From != nil {
			arg = l.From[o]
		}
		if arg < 0 {
			a.zeros = true
			continue
		}
		given[arg][i]++
		a.again = max(a.again, float64(given[arg][i]))
		numbers[arg]++
		all := a.runs[arg]
		if n := len(all); n > 0 && all[n-1].to+all[n-1].n == int32(o) && all[n-1].from+all[n-1].n == i {
			all[n-1].n++
			continue
		}
		a.runs[arg] = append(all, run{int32(o), i, 1})
	}
	for arg, n := range numbers {
		a.long[arg] = n >= longRun*len(a.runs[arg])
	}
	return a
}

func (a *arrange[T]) forward(_ *memory[T], y []T, x [][]T) {
	if a.zeros {
		clear(y)
	}
	for arg, x := range x {
		if a.long[arg] {
			for _, r := range a.runs[arg] {
				copy(y[r.to:][:r.n], x[r.from:])
			}
			continue
		}
		for _, r := range a.runs[arg] {
			for k := range r.n {
				y[r.to+k] = x[r.from+k]
			}
		}
	}
}

func (a *arrange[T]) backward(_ *memory[T], dx []T, _ [][]T, arg int, _, d []T) {
	clear(dx)
	if a.long[arg] {
		for _, r := range a.runs[arg] {
			if to := dx[r.from:][:r.n]; a.once[arg] {
				copy(to, d[r.to:])
			} else {
				a.vec.Add(to, d[r.to:])
			}
		}
		return
	}
	for _, r := range a.runs[arg] {
		for k := range r.n {
			dx[r.from+k] += d[r.to+k]
		}
	}
}
