//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A matMul is a product of two values, a matrix for each of their H rows: see kernels/matmul.cu.
type matMul struct {
	transpose bool // the second matrix
	h         int  // how many matrices an image has
	a, b, y   matrix
}

// A matrix is what one row of an image holds: a row for each column of the image, which has the
// channels of a pixel.
type matrix struct {
	shape
	rows int // W of the image
}

// newMatMul is o.
func newMatMul(o lower.MatMul) *matMul {
	m := &matMul{transpose: o.Transpose, h: o.A.H, a: matrix{newShape(o.A), o.A.W}, b: matrix{newShape(o.B), o.B.W}}
	out := lower.Shape{C: o.B.C, H: o.A.H, W: o.A.W}
	if o.Transpose {
		out.C = o.B.W
	}
	m.y = matrix{newShape(out), out.W}
	return m
}

// A factor is one matrix of a product, as kernels/matmul.cu reads it.
type factor struct {
	ptr    cu.DevicePtr
	matrix // as it lies
	turned bool
}

// launchMatMul launches y = from + p·q, of h matrices in each of n rows. from may be 0.
func (d *device) launchMatMul(y, from cu.DevicePtr, to matrix, p, q factor, h, n int) error {
	terms := p.channels // of a sum
	if p.turned {
		terms = p.rows
	}
	args := []any{y, from, p.ptr, q.ptr}
	for _, v := range []int{h, to.rows, to.channels, terms} {
		args = append(args, int32(v))
	}
	for _, f := range []factor{p, q} {
		down, across := f.pitch, 1
		if f.turned {
			down, across = 1, f.pitch
		}
		args = append(args, int32(down), int32(across), int32(f.rows*f.pitch))
	}
	grid := dim{h * ceil(to.rows, 64) * ceil(to.pitch, 64), n}
	return d.launch("matmul", grid, dim{256, 1}, 0, []int{n, h, to.rows, terms, to.channels}, append(args, int32(to.pitch))...)
}

func (l *matMul) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return net.launchMatMul(y, 0, l.y, factor{x[0], l.a, false}, factor{x[1], l.b, l.transpose}, l.h, n)
}

// backward is dy·bᵀ for a, and aᵀ·dy for b. With transpose it is dy·b for a, and dyᵀ·a for b.
func (l *matMul) backward(net *network, dx, from, dy cu.DevicePtr, x []cu.DevicePtr, arg, n int) error {
	switch {
	case arg == 0:
		return net.launchMatMul(dx, from, l.a, factor{dy, l.y, false}, factor{x[1], l.b, !l.transpose}, l.h, n)
	case l.transpose:
		return net.launchMatMul(dx, from, l.b, factor{dy, l.y, true}, factor{x[0], l.a, false}, l.h, n)
	}
	return net.launchMatMul(dx, from, l.b, factor{x[0], l.a, true}, factor{dy, l.y, false}, l.h, n)
}
