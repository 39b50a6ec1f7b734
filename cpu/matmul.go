package cpu

import (
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A matMul is a product of two matrices for each H, see model.MatMul. A matrix is a row of pixels,
// each with its channels: a [M, K] times b [K, N], or with transpose b [N, K], is y [M, N].
type matMul[T Float] struct {
	path      string
	a, b, out lower.Shape
	transpose bool
}

// A side is a matrix in memory: element (i, j) is v[i·rows + j·columns].
type side[T Float] struct {
	v             []T
	rows, columns int
}

func (s side[T]) turned() side[T] { return side[T]{s.v, s.columns, s.rows} }

// multiply writes y [m, n] = a·b for a [m, k] and b [k, n], with room for b at packed. y lies row
// by row.
func (l *matMul[T]) multiply(s *memory[T], packed **gemm.Matrix[T], y []T, a, b side[T], m, k, n int) {
	if *packed == nil {
		*packed = gemm.NewMatrix[T](l.path, k, n)
	}
	(*packed).Pack(b.v, b.rows, b.columns)
	clear(y[:m*n])
	(*packed).MulAdd(y, n, a.v, a.rows, a.columns, m, s.gemm)
	s.rows.flop += 2 * uint64(m) * uint64(k) * uint64(n)
}

// each calls f for each H with its part of a value like a, like b, and like y.
func (l *matMul[T]) each(a, b, y []T, f func(a, b, y side[T])) {
	wide := func(v []T, s lower.Shape, h int) side[T] {
		return side[T]{v[h*s.W*s.C:][:s.W*s.C], s.C, 1}
	}
	for h := range l.out.H {
		f(wide(a, l.a, h), wide(b, l.b, h), wide(y, l.out, h))
	}
}

// right is b as a matrix [K, N].
func (l *matMul[T]) right(b side[T]) side[T] {
	if l.transpose {
		return b.turned()
	}
	return b
}

func (l *matMul[T]) forward(s *memory[T], y []T, x [][]T) {
	m, k, n := l.a.W, l.a.C, l.out.C
	l.each(x[0], x[1], y, func(a, b, y side[T]) { l.multiply(s, &s.right[0], y.v, a, l.right(b), m, k, n) })
}

// backward is da = d·bᵀ, and db = aᵀ·d or its transpose dᵀ·a.
func (l *matMul[T]) backward(s *memory[T], dx []T, x [][]T, arg int, _, d []T) {
	m, k, n := l.a.W, l.a.C, l.out.C
	if arg == 0 {
		l.each(dx, x[1], d, func(da, b, d side[T]) { l.multiply(s, &s.right[1], da.v, d, l.right(b).turned(), m, n, k) })
		return
	}
	l.each(x[0], dx, d, func(a, db, d side[T]) {
		if l.transpose {
			l.multiply(s, &s.right[2], db.v, d.turned(), a, n, m, k)
		} else {
			l.multiply(s, &s.right[2], db.v, a.turned(), d, k, m, n)
		}
	})
}
