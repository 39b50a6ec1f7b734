package cpu

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"advsweep/internal/portable"
)

// A reduction makes a number of the channels of a pixel. slopes writes to dx what it changes by
// with each of them, times d. gain is that of so many channels of one pixel, see marginBound, with
// u half the distance from 1 to the next number.
type reduction[T Float] struct {
	value  func(x []T) T
	slopes func(dx, x []T, d T)
	gain   func(channels, u float64) gain
}

// reductions has the ways of model.Reduce, by name. A new one is a row here.
func reductions[T Float]() map[string]reduction[T] {
	return map[string]reduction[T]{
		"sum": {sumOf[T], func(dx, _ []T, d T) { fill(dx, d) }, func(n, u float64) gain {
			s := math.Sqrt(n)
			return gain{slope: s, slack: 2 * n * u * s, sum: s}
		}},
		"mean": {
			func(x []T) T { return sumOf(x) / T(len(x)) }, func(dx, _ []T, d T) { fill(dx, d/T(len(dx))) },
			func(n, u float64) gain {
				s := 1 / math.Sqrt(n)
				return gain{slope: s, slack: 2 * (n + 1) * u * s, sum: s * n}
			},
		},
		"max": {
			func(x []T) T { return x[firstLargest(x)] },
			func(dx, x []T, d T) {
				clear(dx)
				dx[firstLargest(x)] = d
			},
			func(_, _ float64) gain { return gain{slope: 1, sum: 1} },
		},
		// It is off by no more than the largest number is, and at zeros it is log n.
		"logsumexp": {logSumExp[T], logSumExpSlopes[T], func(n, u float64) gain {
			return gain{slope: 1, zero: math.Log(n), slack: 2 * u, slack0: float64(2 * u * math.Log(n)), sum: 1}
		}},
	}
}

// A reduce makes one number of the channels of each pixel.
type reduce[T Float] struct {
	reduction[T]
	by       string
	channels int
}

// newReduce returns an error that names the reduction if there is none of that name.
func newReduce[T Float](by string, channels int) (*reduce[T], error) {
	all := reductions[T]()
	r, ok := all[by]
	if !ok {
		return nil, fmt.Errorf("no reduction by %q, want one of %q", by, slices.Sorted(maps.Keys(all)))
	}
	return &reduce[T]{r, by, channels}, nil
}

func (a *reduce[T]) forward(_ *memory[T], y []T, x [][]T) {
	for p := range y {
		y[p] = a.value(x[0][p*a.channels:][:a.channels])
	}
}

func (a *reduce[T]) backward(_ *memory[T], dx []T, x [][]T, _ int, _, d []T) {
	for p, d := range d {
		a.slopes(dx[p*a.channels:][:a.channels], x[0][p*a.channels:][:a.channels], d)
	}
}

// sumOf is a sum from 0 in rising order.
func sumOf[T Float](x []T) (sum T) {
	for _, v := range x {
		sum += v
	}
	return sum
}

func fill[T Float](x []T, v T) {
	for i := range x {
		x[i] = v
	}
}

// firstLargest returns the place of the first largest number, or of the first NaN.
func firstLargest[T Float](x []T) int {
	best := 0
	for i, v := range x {
		if x[best] != x[best] {
			break
		}
		if v > x[best] || v != v {
			best = i
		}
	}
	return best
}

// logSumExp is top + log Σ exp(x - top), in float64 and rounded once.
func logSumExp[T Float](x []T) T {
	top, sum := float64(x[firstLargest(x)]), 0.0
	for _, v := range x {
		sum += portable.Exp(float64(v) - top)
	}
	return T(top + portable.Log(sum))
}

func logSumExpSlopes[T Float](dx, x []T, d T) {
	top, sum := float64(x[firstLargest(x)]), 0.0
	for _, v := range x {
		sum += portable.Exp(float64(v) - top)
	}
	for i, v := range x {
		dx[i] = T(float64(d) * (portable.Exp(float64(v)-top) / sum))
	}
}

// A softmax is exp(x_c)/Σ exp(x_k) over the channels of each pixel, in float64 and rounded once.
type softmax[T Float] struct{ channels int }

func (a softmax[T]) forward(_ *memory[T], y []T, x [][]T) {
	for at := 0; at < len(y); at += a.channels {
		x, y := x[0][at:][:a.channels], y[at:][:a.channels]
		top, sum := float64(x[firstLargest(x)]), 0.0
		for _, v := range x {
			sum += portable.Exp(float64(v) - top)
		}
		for i, v := range x {
			y[i] = T(portable.Exp(float64(v)-top) / sum)
		}
	}
}

// backward is y_c·(e_c - Σ e_k·y_k), the sum in float64, with e the gradient d less that of the
// largest share: d itself would lose every digit where that share rounds to 1. y is what forward
// gave: a ReLU in its place has changed nothing, since no share is below 0.
func (a softmax[T]) backward(_ *memory[T], dx []T, _ [][]T, _ int, y, d []T) {
	for at := 0; at < len(y); at += a.channels {
		y, d, dx := y[at:][:a.channels], d[at:][:a.channels], dx[at:][:a.channels]
		top, mean := float64(d[firstLargest(y)]), 0.0
		for i, v := range y {
			mean += float64((float64(d[i]) - top) * float64(v))
		}
		for i, v := range y {
			dx[i] = T(float64(v) * (float64(d[i]) - top - mean))
		}
	}
}
