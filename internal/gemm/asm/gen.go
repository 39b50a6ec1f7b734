//go:build ignore

// Command gen writes gemm_amd64.s and its Go declarations. These are the index kernels of package
// gemm for AVX2 with FMA and for AVX-512, in float32 and float64, for 5 rows, 2 and 1, and for more
// rows and a panel of one vector. They are also the kernels that gather columns for MulSelected.
//
// An index kernel computes a tile of C from what the tile starts from, and from the product of rows
// of A with a panel w of B. Only n columns of A are given, those that list names:
//
//	c[r·ldc+j] ← init[r·ldi+j] + Σ_t a[r·ars+t·acs]·w[list[t]·width+j]
//
// for 0 ≤ r < rows and 0 ≤ j < width. Each element is one chain of fused multiply-adds over t,
// rising, that starts from init. kernelGo in generic.go is the same in plain Go.
//
// A strip kernel does so for windows, so many times the rows of a tile, whose terms lie at offsets:
//
//	c[r·ldc+j] ← init[r·ldi+j] + Σ_t a[r·ars+at[t]]·w[t·width+j]
//
// for 0 ≤ r < times·rows. stripGo in generic.go is the same in plain Go.
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
	isa       string
	elem      string // Go type
	size      int    // bytes of an element
	bytes     int    // of a vector register
	reg       func() VecVirtual
	move      func(...Op)
	broadcast func(...Op)
	fma       func(...Op)

	widen    func(...Op)           // 8-bit to integers of size bytes; with AVX2 of 4
	permute  func(...Op)           // memory, index, k, dst
	permuteZ func(m, i, k, dst Op) // 0 where k has 0
	compare  func(...Op)           // of integers of size bytes
}

var notLess = Imm(5) // a predicate of compare

const unroll = 2 // steps in a turn of the main loop

// kernel writes the index kernel for so many rows and a panel of nv vectors. The accumulators, a
// row of w and a broadcast element fill the registers: 5·5 + 5 + 1 of 32, or 5·2 + 2 + 1 of 16. A
// panel of one vector leaves most of them free. With 5 rows each accumulator would then wait for
// itself, so there are kernels for 10 and 15 rows. rows is 1, 2 or a multiple of 5.
func (f form) kernel(rows, nv int) {
	name := fmt.Sprintf("%s_%s_%dx%d", f.isa, f.elem, rows, nv)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n int, list *uint32, a *%[1]s, ars, acs int, w, init *%[1]s, ldi int, c *%[1]s, ldc int)", f.elem))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is kernelGo for %d rows and a panel %d wide, with fused multiply-adds.", name, rows, nv*f.bytes/f.size))
	f.panels(rows, nv, 1)
}

// pair writes the kernel for so few rows that their accumulators would wait for themselves, and two
// panels of nv vectors, of which the second lies apart elements behind the first.
func (f form) pair(rows, nv int) {
	name := fmt.Sprintf("%s_%s_pair%dx%d", f.isa, f.elem, rows, nv)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n int, list *uint32, a *%[1]s, ars, acs int, w *%[1]s, apart int, init *%[1]s, ldi int, c *%[1]s, ldc int)", f.elem))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is kernelGo for %d rows and two panels, each %d wide, with fused multiply-adds.", name, rows, nv*f.bytes/f.size))
	f.panels(rows, nv, 2)
}

// panels writes a kernel for one or two panels.
func (f form) panels(rows, panel, panels int) {
	nv := panel * panels
	n := Load(Param("n"), GP64())
	list := Load(Param("list"), GP64())
	a := Load(Param("a"), GP64())
	acs := Load(Param("acs"), GP64())
	ws := []Register{Load(Param("w"), GP64())}
	shift := Imm(uint64(bits.TrailingZeros(uint(f.size))))
	SHLQ(shift, acs)
	if panels > 1 {
		apart := Load(Param("apart"), GP64())
		SHLQ(shift, apart)
		ADDQ(ws[0], apart)
		ws = append(ws, apart)
	}
	bases, element := []Register{a}, []Mem{{Base: a}} // of A, by row
	if rows > 1 {
		ars := Load(Param("ars"), GP64())
		SHLQ(shift, ars)
		element = append(element, Mem{Base: a, Index: ars, Scale: 1})
		if rows > 2 {
			ars3 := GP64()
			LEAQ(Mem{Base: ars, Index: ars, Scale: 2}, ars3)
			rest := func(a Register) []Mem {
				return []Mem{{Base: a, Index: ars, Scale: 2}, {Base: a, Index: ars3, Scale: 1}, {Base: a, Index: ars, Scale: 4}}
			}
			element = append(element, rest(a)...)
			for len(element) < rows {
				next := GP64()
				LEAQ(Mem{Base: bases[len(bases)-1], Index: ars, Scale: 4}, next)
				ADDQ(ars, next)
				bases = append(bases, next)
				element = append(append(element, Mem{Base: next}, Mem{Base: next, Index: ars, Scale: 1}), rest(next)...)
			}
		}
	}

	acc := make([]VecVirtual, rows*nv)
	eachRow := func(first, stride string, op func(i, j int, m Mem)) {
		row, ld := Load(Param(first), GP64()), Register(nil)
		if rows > 1 {
			ld = Load(Param(stride), GP64())
			SHLQ(shift, ld)
		}
		for i := range rows {
			for j := range nv {
				op(i, j, Mem{Base: row, Disp: j * f.bytes})
			}
			if i < rows-1 {
				ADDQ(ld, row)
			}
		}
	}
	eachRow("init", "ldi", func(i, j int, m Mem) {
		acc[i*nv+j] = f.reg()
		f.move(m, acc[i*nv+j])
	})

	step := func(u int) {
		k := GP64()
		MOVL(Mem{Base: list, Disp: 4 * u}, k.As32())
		IMUL3Q(U32(uint32(panel*f.bytes)), k, k)
		wv := make([]Op, nv)
		for j := range wv {
			wv[j] = Mem{Base: ws[j/panel], Index: k, Scale: 1, Disp: j % panel * f.bytes}
			if rows > 1 {
				v := f.reg()
				f.move(wv[j], v)
				wv[j] = v
			}
		}
		for i := range rows {
			av := f.reg()
			f.broadcast(element[i], av)
			for j := range wv {
				f.fma(wv[j], av, acc[i*nv+j])
			}
		}
		for _, base := range bases {
			ADDQ(acs, base)
		}
	}

	turns(n, step, func() { ADDQ(Imm(4*unroll), list) })
	eachRow("c", "ldc", func(i, j int, m Mem) { f.move(acc[i*nv+j], m) })
	VZEROUPPER()
	RET()
}

// turns writes n steps, unroll of them in a turn of a loop. next goes on from one turn to the next.
func turns(n Register, step func(u int), next func()) {
	SUBQ(Imm(unroll), n)
	JLT(LabelRef("tail"))
	Label("loop")
	for u := range unroll {
		step(u)
	}
	next()
	SUBQ(Imm(unroll), n)
	JGE(LabelRef("loop"))
	Label("tail")
	TESTQ(U32(1), n) // n is -1 or -2
	JZ(LabelRef("store"))
	step(0)
	Label("store")
}

// strip writes the strip kernel for so many rows at a time and a panel of nv vectors. Registers are
// used as kernel uses them.
func (f form) strip(rows, nv int) {
	name := fmt.Sprintf("%s_%s_strip%dx%d", f.isa, f.elem, rows, nv)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(times, n int, at *int32, a *%[1]s, ars int, w, init *%[1]s, ldi int, c *%[1]s, ldc int)", f.elem))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is stripGo for %d rows at a time and a panel %d wide, with fused multiply-adds.", name, rows, nv*f.bytes/f.size))
	shift := Imm(uint64(bits.TrailingZeros(uint(f.size))))
	load := func(name string) Register { return Load(Param(name), GP64()) }
	stride := func(name string) Register {
		r := load(name)
		SHLQ(shift, r)
		return r
	}
	times, a, ars, first, ldi, c, ldc := load("times"), load("a"), stride("ars"), load("init"), stride("ldi"), load("c"), stride("ldc")
	ars3 := GP64()
	if rows > 2 {
		LEAQ(Mem{Base: ars, Index: ars, Scale: 2}, ars3)
	}
	// eachRow moves p by so many rows.
	eachRow := func(p, ld Register, op func(i, j int, m Mem)) {
		for i := range rows {
			for j := range nv {
				op(i, j, Mem{Base: p, Disp: j * f.bytes})
			}
			ADDQ(ld, p)
		}
	}

	Label("tile")
	acc := make([]VecVirtual, rows*nv)
	eachRow(first, ldi, func(i, j int, m Mem) {
		acc[i*nv+j] = f.reg()
		f.move(m, acc[i*nv+j])
	})
	n, at, w := load("n"), load("at"), load("w")
	places := []Mem{{}, {Index: ars, Scale: 1}, {Index: ars, Scale: 2}, {Index: ars3, Scale: 1}, {Index: ars, Scale: 4}}
	step := func(u int) {
		p := GP64()
		MOVLQSX(Mem{Base: at, Disp: 4 * u}, p)
		LEAQ(Mem{Base: a, Index: p, Scale: uint8(f.size)}, p)
		wv := make([]Op, nv)
		for j := range wv {
			wv[j] = Mem{Base: w, Disp: (u*nv + j) * f.bytes}
			if rows > 1 {
				v := f.reg()
				f.move(wv[j], v)
				wv[j] = v
			}
		}
		for i := range rows {
			if i > 0 && i%5 == 0 {
				LEAQ(Mem{Base: p, Index: ars, Scale: 4}, p)
				ADDQ(ars, p)
			}
			m := places[i%5]
			m.Base = p
			av := f.reg()
			f.broadcast(m, av)
			for j := range wv {
				f.fma(wv[j], av, acc[i*nv+j])
			}
		}
	}
	turns(n, step, func() {
		ADDQ(Imm(4*unroll), at)
		ADDQ(U32(uint32(unroll*nv*f.bytes)), w)
	})
	eachRow(c, ldc, func(i, j int, m Mem) { f.move(acc[i*nv+j], m) })
	for range rows / 5 {
		LEAQ(Mem{Base: a, Index: ars, Scale: 4}, a)
		ADDQ(ars, a)
	}
	for range rows % 5 {
		ADDQ(ars, a)
	}
	DECQ(times)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// gather writes a gatherKernel for so many sources. Each source is permuted into its lanes. With
// more the kernel starts from what is there, to add a source.
func (f form) gather(sources int, more bool) {
	name, does := fmt.Sprintf("%s_%s_gather%d", f.isa, f.elem, sources), fmt.Sprintf("gathers from %d sources", sources)
	if more {
		name, does = fmt.Sprintf("%s_%s_gatherMore", f.isa, f.elem), "adds one source"
	}
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n int, list *uint32, src *%[1]s, stride int, at *int, pick *int8, dst *%[1]s, ldd int)", f.elem))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s %s, see gatherKernel.", name, does))
	n := Load(Param("n"), GP64())
	list := Load(Param("list"), GP64())
	src := Load(Param("src"), GP64())
	at := Load(Param("at"), GP64())
	pick := Load(Param("pick"), GP64())
	dst := Load(Param("dst"), GP64())
	shift := Imm(uint64(bits.TrailingZeros(uint(f.size))))
	stride, ldd := Load(Param("stride"), GP64()), Load(Param("ldd"), GP64())
	SHLQ(shift, stride)
	SHLQ(shift, ldd)
	wide := f.isa == "avx512"
	zero := f.reg()
	if wide {
		VPXORD(zero, zero, zero)
	} else {
		VXORPS(zero, zero, zero)
	}
	source, index, own := make([]Register, sources), make([]VecVirtual, sources), make([]Register, sources)
	for s := range sources {
		p := GP64()
		MOVQ(Mem{Base: at, Disp: 8 * s}, p)
		source[s] = p
		LEAQ(Mem{Base: src, Index: p, Scale: uint8(f.size)}, p)
		index[s] = f.reg()
		f.widen(Mem{Base: pick, Disp: s * f.bytes / f.size}, index[s])
		if wide {
			own[s] = K()
			f.compare(notLess, zero, index[s], own[s])
		}
	}
	Label("loop")
	k, to, x := GP64(), GP64(), f.reg()
	MOVL(Mem{Base: list}, k.As32())
	MOVQ(k, to)
	IMULQ(stride, k)
	IMULQ(ldd, to)
	if more {
		f.move(Mem{Base: dst, Index: to, Scale: 1}, x)
	}
	for s := range sources {
		m := Mem{Base: source[s], Index: k, Scale: 1}
		switch {
		case !wide: // a negative index says that the lane is not of this source
			old := x
			if s == 0 && !more {
				old = zero
			}
			y := f.reg()
			f.permute(m, index[s], y)
			VBLENDVPS(index[s], old, y, x)
		case s == 0 && !more:
			f.permuteZ(m, index[s], own[s], x)
		default:
			f.permute(m, index[s], own[s], x)
		}
	}
	f.move(x, Mem{Base: dst, Index: to, Scale: 1})
	ADDQ(Imm(4), list)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// gathers writes the gatherKernels of a form.
func (f form) gathers() {
	for sources := 1; sources <= 4; sources++ {
		f.gather(sources, false)
	}
	f.gather(1, true)
}

// prefetch writes the function that fetches some columns of rows of C.
func prefetch() {
	TEXT("prefetch", NOSPLIT, "func(rows int, c *uint8, stride, bytes int)")
	Pragma("noescape")
	Doc("prefetch fetches rows, of bytes each, into the first-level cache.")
	rows, c := Load(Param("rows"), GP64()), Load(Param("c"), GP64())
	stride, bytes := Load(Param("stride"), GP64()), Load(Param("bytes"), GP64())
	Label("row")
	i := GP64()
	XORL(i.As32(), i.As32())
	Label("line")
	PREFETCHT0(Mem{Base: c, Index: i, Scale: 1})
	ADDQ(Imm(64), i)
	CMPQ(i, bytes)
	JLT(LabelRef("line"))
	ADDQ(stride, c)
	DECQ(rows)
	JNZ(LabelRef("row"))
	RET()
}

func main() {
	ConstraintExpr("amd64,!purego")
	ps := form{elem: "float32", size: 4, move: VMOVUPS, broadcast: VBROADCASTSS, fma: VFMADD231PS,
		widen: VPMOVSXBD, permute: VPERMPS, permuteZ: VPERMPS_Z, compare: VPCMPD}
	pd := form{elem: "float64", size: 8, move: VMOVUPD, broadcast: VBROADCASTSD, fma: VFMADD231PD,
		widen: VPMOVSXBQ, permute: VPERMPD, permuteZ: VPERMPD_Z, compare: VPCMPQ}
	for _, f := range []form{ps, pd} {
		for _, rows := range []int{5, 2, 1} {
			f.isa, f.bytes, f.reg = "avx2", 32, YMM
			for nv := 1; nv <= 2; nv++ {
				f.kernel(rows, nv)
				f.strip(rows, nv)
			}
			f.isa, f.bytes, f.reg = "avx512", 64, ZMM
			for nv := 1; nv <= 5; nv++ {
				f.kernel(rows, nv)
				f.strip(rows, nv)
			}
		}
	}
	for _, f := range []form{ps, pd} {
		f.isa, f.bytes, f.reg = "avx2", 32, YMM
		f.pair(2, 2)
		f.pair(1, 2)
		f.kernel(10, 1)
		f.strip(10, 1)
		f.isa, f.bytes, f.reg = "avx512", 64, ZMM
		f.kernel(15, 1)
		f.strip(15, 1)
		f.kernel(10, 1)
		f.strip(10, 1)
	}
	for _, f := range []form{ps, pd} { // AVX2 has no permutation of float64 by a register
		f.isa, f.bytes, f.reg = "avx512", 64, ZMM
		f.gathers()
	}
	ps.isa, ps.bytes, ps.reg = "avx2", 32, YMM
	ps.gathers()
	prefetch()
	Generate()
}
