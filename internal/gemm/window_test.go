package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// alike fails unless got and want have the same bits, the sign of a zero too, or are both NaN.
func alike[T Float](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i, w := range want {
		g := got[i]
		if !same(g, w) || g == 0 && math.Signbit(float64(g)) != math.Signbit(float64(w)) {
			t.Fatalf("%s: [%d] = %v, want %v", what, i, g, w)
		}
	}
}

// TestWindows compares the operations on windows with their definitions, number by number and to
// the bit, on every path.
func TestWindows(t *testing.T) {
	eachVector(t, testWindows[float32])
	eachVector(t, testWindows[float64])
}

func testWindows[T Float](t *testing.T, v Vector[T], r *rand.Rand, n int) {
	for _, windows := range []int{0, 1, 2, 3, 4, 7, 13} {
		for _, places := range []int{0, 1, 2, 4, 9} {
			g := Windows{N: windows, Channels: n, LDX: n + r.IntN(3), LDY: n + r.IntN(3)}
			for range places {
				g.Places = append(g.Places, Place{int32(r.IntN(3 * (n + 1))), int32(r.IntN(2*n + 1))})
			}
			what := fmt.Sprintf("%d windows, %d places, %d channels", windows, places, n)
			numbers := random[T]
			if r.IntN(2) == 0 {
				numbers = awkward[T]
			}
			x, w := numbers(r, 3*(n+1)+windows*g.LDX+n), numbers(r, 3*n+1)
			from, old := numbers(r, n), random[T](r, windows*g.LDY+n+1)
			for i := range x { // ties, which windows have
				if j := i - g.LDX; j >= 0 && r.IntN(3) == 0 {
					x[i] = x[j]
				}
			}
			// each is the definition of an operation: of the number k of window i.
			each := func(f func(i, k int, x func(p int) T) T) []T {
				y := slices.Clone(old)
				for i := range windows {
					for k := range n {
						y[i*g.LDY+k] = f(i, k, func(p int) T { return x[int(g.Places[p].X)+i*g.LDX+k] })
					}
				}
				return y
			}
			y := slices.Clone(old)
			v.Products(&g, y, from, x, w)
			alike(t, "Products of "+what, y, each(func(_, k int, x func(int) T) T {
				y := from[k]
				for p := range places {
					y = sum(y, product(w[int(g.Places[p].W)+k], x(p)))
				}
				return y
			}))
			total := func(_, _ int, x func(int) T) (y T) {
				for p := range places {
					y = sum(y, x(p))
				}
				return y
			}
			v.Sum(&g, y, x)
			alike(t, "Sum of "+what, y, each(total))
			v.Mean(&g, y, x, 3)
			alike(t, "Mean of "+what, y, each(func(i, k int, x func(int) T) T { return total(i, k, x) / 3 }))
			if places == 1 && windows > 0 {
				one := Windows{windows, n, g.LDY, g.LDY, []Place{{}}}
				again, halves := slices.Clone(y), slices.Clone(y)
				for i := range windows {
					for k := range n {
						halves[i*g.LDY+k] = sum(0, y[i*g.LDY+k]) / 2
					}
				}
				v.Mean(&one, again, again, 2)
				alike(t, "Mean in place of "+what, again, halves)
			}
			v.Largest(&g, y, x)
			alike(t, "Largest of "+what, y, each(func(_, _ int, x func(int) T) T {
				y := T(math.Inf(-1))
				for p := range places {
					if v := x(p); !(y > v || y != y) {
						y = v
					}
				}
				return y
			}))
			testHand(t, what, v, r, &g, x, y)
		}
	}
}

// testHand gives d to the first place that is not below y, where places of a window, and windows
// where they overlap, are their own.
func testHand[T Float](t *testing.T, what string, v Vector[T], r *rand.Rand, g *Windows, x, y []T) {
	for p := range g.Places {
		g.Places[p].X = int32(p * g.Channels)
	}
	for _, more := range []bool{false, true} {
		what := fmt.Sprintf("Hand of %s, more %v", what, more)
		if !more {
			g.LDX = len(g.Places)*g.Channels + r.IntN(3)
		} else if len(g.Places) > 1 {
			g.LDX = (len(g.Places) - 1) * g.Channels
		}
		x := append(slices.Clone(x), random[T](r, g.N*g.LDX+(len(g.Places)+1)*g.Channels)...)
		v.Largest(g, y, x)
		got, d := random[T](r, len(x)), awkward[T](r, len(y))
		want, left := slices.Clone(got), slices.Clone(d)
		v.Hand(g, got, x, y, d, more)
		alike(t, what+": d", d, left)
		for i := g.N - 1; i >= 0; i-- {
			for _, p := range g.Places {
				for k := range g.Channels {
					at, o := int(p.X)+i*g.LDX+k, i*g.LDY+k
					if !more {
						want[at] = 0
					}
					if !(x[at] < y[o]) {
						want[at] = sum(want[at], left[o])
						left[o] = 0
					}
				}
			}
		}
		alike(t, what, got, want)
	}
}
