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
	if g.Channels-c <= FewChannels {
		for k := c; k < g.Channels; k++ {
			sumChannel(g, y[k:], x[k:])
		}
		return
	}
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

// FewChannels is the most channels that Sum takes well outside of vectors: one for itself, and of
// that some windows at once, for each sum waits for the one before it.
const FewChannels = 4

func sumChannel[T Float](g *Windows, y, x []T) {
	ldx, ldy, i := g.LDX, g.LDY, 0
	for ; i+4 <= g.N; i += 4 {
		var a, b, c, d T
		for _, p := range g.Places {
			v := x[int(p.X)+i*ldx:][:3*ldx+1]
			a += v[0]
			b += v[ldx]
			c += v[2*ldx]
			d += v[3*ldx]
		}
		to := y[i*ldy:][:3*ldy+1]
		to[0], to[ldy], to[2*ldy], to[3*ldy] = a, b, c, d
	}
	for ; i < g.N; i++ {
		var a T
		for _, p := range g.Places {
			a += x[int(p.X)+i*ldx]
		}
		y[i*ldy] = a
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
