package gemm

import "math"

// The functions here compute the operations on windows on a processor without assembly, and the
// channels that the assembly leaves over: those from c on. A conversion to T keeps compilers from
// fusing.

func productsGo[T Float](g *Windows, c int, y, from, x, w []T) {
	from = from[:g.Channels]
	for i := range g.N {
		to := y[i*g.LDY:][:g.Channels]
		copy(to[c:], from[c:])
		for _, p := range g.Places {
			x, w := x[int(p.X)+i*g.LDX:][:len(to)], w[p.W:][:len(to)]
			for k := c; k < len(to); k++ {
				to[k] += T(w[k] * x[k])
			}
		}
	}
}

func largestGo[T Float](g *Windows, c int, y, x []T) {
	inf := T(math.Inf(-1))
	for i := range g.N {
		to := y[i*g.LDY:][:g.Channels]
		for k := c; k < len(to); k++ {
			to[k] = inf
		}
		for _, p := range g.Places {
			x := x[int(p.X)+i*g.LDX:][:len(to)]
			for k := c; k < len(to); k++ {
				if v := to[k]; !(v > x[k] || v != v) {
					to[k] = x[k]
				}
			}
		}
	}
}

func sumGo[T Float](g *Windows, c int, y, x []T) {
	for i := range g.N {
		to := y[i*g.LDY:][:g.Channels]
		clear(to[c:])
		for _, p := range g.Places {
			x := x[int(p.X)+i*g.LDX:][:len(to)]
			for k := c; k < len(to); k++ {
				to[k] += x[k]
			}
		}
	}
}

func meanGo[T Float](g *Windows, c int, y, x []T, by T) {
	for i := range g.N {
		for k := c; k < g.Channels; k++ {
			var sum T
			for _, p := range g.Places {
				sum += x[int(p.X)+i*g.LDX+k]
			}
			y[i*g.LDY+k] = sum / by
		}
	}
}

func handGo[T Float](g *Windows, c int, dx, x, y, d []T, more bool) {
	for i := g.N - 1; i >= 0; i-- {
		y, d := y[i*g.LDY:][:g.Channels], d[i*g.LDY:][:g.Channels]
		for k := c; k < len(y); k++ {
			left := d[k]
			for _, p := range g.Places {
				at := int(p.X) + i*g.LDX + k
				var sum, given T
				if more {
					sum = dx[at]
				}
				if !(x[at] < y[k]) {
					given, left = left, 0
				}
				dx[at] = sum + given
			}
		}
	}
}
