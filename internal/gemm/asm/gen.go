//go:build ignore

// Command gen writes gemm_amd64.s and its Go declarations: the tile kernels of
// package gemm for AVX2 with FMA and for AVX-512, in float32 and float64.
//
// A kernel adds to a tile of C the product of a panel of A and a panel of B:
//
//	c[i·ldc+j] ← c[i·ldc+j] + Σ_k a[k·MR+i]·b[k·NR+j],  0 ≤ i < MR, 0 ≤ j < NR,
//
// one chain of fused multiply-adds over k for each element, k rising, that starts
// from the old value. kernelGo in generic.go is the same in plain Go.
package main

import (
	"fmt"
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A form is one element type on one instruction set.
type form struct {
	name      string
	elem      string // Go type
	size      int    // bytes of an element
	lanes     int    // elements in a vector register
	mr, nv    int    // rows, vectors in a row; NR = nv·lanes
	reg       func() VecVirtual
	move      func(Op, Op)
	broadcast func(Op, Op)
	fma       func(Op, Op, Op)
}

const unroll = 4 // k steps in a turn of the main loop

func (f form) generate() {
	TEXT(f.name, NOSPLIT, fmt.Sprintf("func(k int, a, b, c *%s, ldc int)", f.elem))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is kernelGo with MR = %d, NR = %d and fused multiply-adds.", f.name, f.mr, f.nv*f.lanes))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(uint64(bits.TrailingZeros(uint(f.size)))), ldc)
	width := f.lanes * f.size // bytes of a vector

	acc := make([]VecVirtual, f.mr*f.nv)
	row := GP64()
	eachRow := func(op func(i, j int, m Mem)) {
		MOVQ(c, row)
		for i := range f.mr {
			for j := range f.nv {
				op(i, j, Mem{Base: row, Disp: j * width})
			}
			if i < f.mr-1 {
				ADDQ(ldc, row)
			}
		}
	}
	eachRow(func(i, j int, m Mem) {
		acc[i*f.nv+j] = f.reg()
		f.move(m, acc[i*f.nv+j])
	})

	bv := make([]VecVirtual, f.nv)
	for j := range bv {
		bv[j] = f.reg()
	}
	step := func(u int) {
		for j := range bv {
			f.move(Mem{Base: b, Disp: (u*f.nv + j) * width}, bv[j])
		}
		for i := range f.mr {
			av := f.reg()
			f.broadcast(Mem{Base: a, Disp: (u*f.mr + i) * f.size}, av)
			for j := range bv {
				f.fma(av, bv[j], acc[i*f.nv+j])
			}
		}
	}
	advance := func(steps int) {
		ADDQ(U32(uint32(steps*f.mr*f.size)), a)
		ADDQ(U32(uint32(steps*f.nv*width)), b)
	}

	turns := GP64()
	MOVQ(k, turns)
	SHRQ(Imm(2), turns) // unroll = 4
	JZ(LabelRef("tail"))
	Label("loop")
	for line := 0; line < unroll*f.nv*width; line += 128 {
		PREFETCHT0(Mem{Base: b, Disp: 1024 + line})
	}
	for u := range unroll {
		step(u)
	}
	advance(unroll)
	DECQ(turns)
	JNZ(LabelRef("loop"))
	Label("tail")
	ANDQ(Imm(unroll-1), k)
	JZ(LabelRef("store"))
	Label("tailloop")
	step(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("tailloop"))
	Label("store")
	eachRow(func(i, j int, m Mem) { f.move(acc[i*f.nv+j], m) })
	VZEROUPPER()
	RET()
}

func main() {
	ConstraintExpr("amd64,!purego")
	ps := form{elem: "float32", size: 4,
		move: func(s, d Op) { VMOVUPS(s, d) }, broadcast: func(m, d Op) { VBROADCASTSS(m, d) }, fma: func(x, y, z Op) { VFMADD231PS(x, y, z) }}
	pd := form{elem: "float64", size: 8,
		move: func(s, d Op) { VMOVUPD(s, d) }, broadcast: func(m, d Op) { VBROADCASTSD(m, d) }, fma: func(x, y, z Op) { VFMADD231PD(x, y, z) }}
	for _, f := range []form{ps, pd} {
		f.name, f.reg, f.lanes, f.mr, f.nv = "avx2_"+f.elem, YMM, 32/f.size, 6, 2
		f.generate()
		f.name, f.reg, f.lanes, f.mr, f.nv = "avx512_"+f.elem, ZMM, 64/f.size, 12, 2
		f.generate()
	}
	Generate()
}
