//go:build ignore

// Command vector writes vector_amd64.s and its Go declarations: the operations of Vector for
// AVX-512 in float32 and float64, and for AVX2 in float32. vector_go.go says what they compute.
// The AVX-512 forms take any n, the AVX2 forms only a multiple of 8.
package main

import (
	"fmt"
	"math/bits"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A form is one element type on one instruction set.
type form struct {
	isa   string
	elem  string // Go type
	size  int    // bytes of an element
	bytes int    // of a vector register
	reg   func() VecVirtual

	move, broadcast, add, sub, mul, div, max, min, cmp func(...Op)
	moveZ                                              func(m, k, dst Op) // 0 where k has 0
}

// These are predicates of a comparison. None of them raises an exception.
var (
	equal        = Imm(0)
	unordered    = Imm(3)
	notEqual     = Imm(4) // or unordered
	less         = Imm(17)
	notLess      = Imm(21) // or unordered
	notLessEqual = Imm(22) // or unordered
	greater      = Imm(30)
)

func (f form) wide() bool { return f.isa == "avx512" }
func (f form) lanes() int { return f.bytes / f.size }
func (f form) shift() Op  { return Imm(uint64(bits.TrailingZeros(uint(f.size)))) }

func (f form) text(name, signature, doc string) {
	name = f.isa + "_" + f.elem + "_" + name
	TEXT(name, NOSPLIT, strings.ReplaceAll(signature, "T", f.elem))
	Pragma("noescape")
	Doc(name + " " + doc)
}

func (f form) zero() VecVirtual {
	z := f.reg()
	if f.wide() {
		VPXORD(z, z, z)
	} else {
		VXORPS(z, z, z)
	}
	return z
}

// scalar broadcasts a parameter.
func (f form) scalar(name string) VecVirtual {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := f.reg()
	f.broadcast(p.Addr, v)
	return v
}

// constant fills a register with 32-bit words lo, or 64-bit elements made of hi and lo.
func (f form) constant(hi, lo uint32) VecVirtual {
	v := f.reg()
	if f.size == 8 {
		r := GP64()
		MOVQ(U64(uint64(hi)<<32|uint64(lo)), r)
		x := XMM()
		VMOVQ(r, x)
		VPBROADCASTQ(x, v)
	} else {
		r := GP32()
		MOVL(U32(hi), r)
		x := XMM()
		VMOVD(r, x)
		VPBROADCASTD(x, v)
	}
	return v
}

// A strip is the elements of one turn of a loop: a whole vector, or under a mask what is left over.
type strip struct {
	form
	mask Register
	name string
}

func (p strip) load(m Mem) VecVirtual {
	v := p.reg()
	if p.mask != nil {
		p.moveZ(m, p.mask, v)
	} else {
		p.move(m, v)
	}
	return v
}

func (p strip) store(v Op, m Mem) {
	if p.mask != nil {
		p.move(v, p.mask, m)
	} else {
		p.move(v, m)
	}
}

// loop writes a loop of body over whole vectors and, for AVX-512, body once more for the rest. n
// counts down, and the pointers move on.
func (f form) loop(n Register, pointers []Register, body func(p strip)) {
	SUBQ(Imm(uint64(f.lanes())), n)
	JLT(LabelRef("tail"))
	Label("loop")
	body(strip{f, nil, "loop"})
	for _, p := range pointers {
		ADDQ(Imm(uint64(f.bytes)), p)
	}
	SUBQ(Imm(uint64(f.lanes())), n)
	JGE(LabelRef("loop"))
	Label("tail")
	if f.wide() {
		ADDQ(Imm(uint64(f.lanes())), n)
		JZ(LabelRef("done"))
		m, k := GP64(), K()
		MOVQ(I32(-1), m)
		SHLXQ(n, m, m)
		NOTQ(m)
		KMOVW(m.As32(), k)
		body(strip{f, k, "tail"})
		Label("done")
	}
}

// addresses returns p, p + s … p + 4s, as many as there are rows.
func addresses(rows int, p, s Register) []Mem {
	m := []Mem{{Base: p}}
	if rows > 1 {
		m = append(m, Mem{Base: p, Index: s, Scale: 1})
	}
	if rows > 2 {
		s3 := GP64()
		LEAQ(Mem{Base: s, Index: s, Scale: 2}, s3)
		m = append(m, Mem{Base: p, Index: s, Scale: 2}, Mem{Base: p, Index: s3, Scale: 1}, Mem{Base: p, Index: s, Scale: 4})
	}
	return m
}

func stride(name string, shift Op) Register {
	s := Load(Param(name), GP64())
	SHLQ(shift, s)
	return s
}

// list writes a list maker. For each vector of columns it makes the values and their masks. What
// any mask has is then moved together and stored as a whole vector. The next vector overwrites
// what that has too much.
func (f form) list(op string, rows int, order, iota Mem) {
	f.text(fmt.Sprintf("%s%d", op, rows), "func(n int, list *uint32, a *T, lda int, v, m *T, ld int) int",
		fmt.Sprintf("is %sGo for %d rows.", op, rows))
	n := Load(Param("n"), GP64())
	list := Load(Param("list"), GP64())
	a := Load(Param("a"), GP64())
	v := Load(Param("v"), GP64())
	pointers := []Register{v}
	var m, ld, lda Register
	if op != "nonZero" {
		m = Load(Param("m"), GP64())
		pointers = append(pointers, m)
	}
	if rows > 1 {
		ld, lda = stride("ld", f.shift()), stride("lda", f.shift())
	}
	as, vs := addresses(rows, a, lda), addresses(rows, v, ld)
	var ms []Mem
	switch op {
	case "positive":
		ms = addresses(rows, m, ld)
	case "flipped", "kinked":
		ms = []Mem{{Base: m}}
	}
	zero := f.zero()
	abs := zero
	if op == "flipped" || op == "kinked" {
		abs = f.constant(0x7fffffff, 0xffffffff)
	}
	ids, step := f.reg(), f.reg() // columns; AVX2 has them as the first of the vector, and adds
	{
		r, x := GP32(), XMM()
		MOVL(U32(uint32(f.lanes())), r)
		VMOVD(r, x)
		VPBROADCASTD(x, step)
	}
	if f.wide() {
		VMOVDQU32(iota, ids)
	} else {
		VPXOR(ids, ids, ids)
	}

	f.loop(n, pointers, func(p strip) {
		union := GP32()
		values := make([]VecVirtual, rows)
		if f.wide() {
			all := K()
			var z0 Register
			if op == "flipped" {
				z0 = K()
				f.cmp(greater, zero, p.load(ms[0]), z0)
			}
			for r := range rows {
				k := K()
				if r == 0 {
					k = all
				}
				switch op {
				case "positive":
					f.cmp(notLessEqual, zero, p.load(ms[r]), k)
					values[r] = f.reg()
					f.moveZ(vs[r], k, values[r])
				case "nonZero":
					values[r] = p.load(vs[r])
					f.cmp(notEqual, zero, values[r], k)
				case "flipped":
					x := p.load(vs[r])
					f.cmp(greater, zero, x, k)
					KXORW(k, z0, k)
					values[r] = f.reg()
					if f.size == 8 {
						VPANDQ_Z(abs, x, k, values[r])
					} else {
						VPANDD_Z(abs, x, k, values[r])
					}
				case "kinked":
					values[r] = f.kink(p, vs[r], ms[0], func(x Op) { f.cmp(less, zero, x, k); KMOVW(k, union) }, union)
					VPANDD(abs, values[r], values[r])
				}
				if r > 0 {
					KORW(k, all, all)
				}
			}
			KMOVW(all, union)
			c := f.reg()
			VPCOMPRESSD_Z(ids, all, c)
			VMOVDQU32(c, Mem{Base: list})
			for r, x := range values {
				c := f.reg()
				if f.size == 8 {
					VCOMPRESSPD_Z(x, all, c)
				} else {
					VCOMPRESSPS_Z(x, all, c)
				}
				f.move(c, as[r])
			}
		} else {
			all := f.reg()
			z0 := f.reg()
			if op == "flipped" {
				f.move(ms[0], z0)
				f.cmp(greater, zero, z0, z0)
			}
			for r := range rows {
				k := f.reg()
				if r == 0 {
					k = all
				}
				x := f.reg()
				switch op {
				case "positive":
					f.move(ms[r], k)
					f.cmp(notLessEqual, zero, k, k)
					VANDPS(vs[r], k, x)
				case "nonZero":
					f.move(vs[r], x)
					f.cmp(notEqual, zero, x, k)
				case "flipped":
					f.move(vs[r], x)
					f.cmp(greater, zero, x, k)
					VXORPS(k, z0, k)
					VANDPS(abs, x, x)
					VANDPS(k, x, x)
				case "kinked":
					x = f.kink(p, vs[r], ms[0], func(x Op) { f.cmp(less, zero, x, k); VMOVMSKPS(k, union) }, union)
					VANDPS(abs, x, x)
				}
				values[r] = x
				if r > 0 {
					VORPS(k, all, all)
				}
			}
			VMOVMSKPS(all, union)
			base, first, c := GP64(), f.reg(), f.reg()
			LEAQ(order, base)
			VPMOVZXBD(Mem{Base: base, Index: union.As64(), Scale: 8}, first)
			VPADDD(ids, first, c)
			VMOVDQU(c, Mem{Base: list})
			for r, x := range values {
				VPERMPS(x, first, x)
				f.move(x, as[r])
			}
		}
		POPCNTL(union, union)
		LEAQ(Mem{Base: list, Index: union.As64(), Scale: 4}, list)
		LEAQ(Mem{Base: a, Index: union.As64(), Scale: uint8(f.size)}, a)
		Label(p.name + "none")
		VPADDD(step, ids, ids)
	})
	VZEROUPPER()
	SUBQ(Load(Param("list"), GP64()), list)
	SHRQ(Imm(2), list)
	Store(list, ReturnIndex(0))
	RET()
}

// kink returns the vector x·y/(x - y) of the elements x at v and y at m. It skips the rest of the
// strip if mask, given x·y, puts no bit in union. Few vectors have a kink, and a division takes
// long.
func (f form) kink(p strip, v, m Mem, mask func(product Op), union Register) VecVirtual {
	x, y, q := p.load(v), p.load(m), f.reg()
	f.mul(y, x, q)
	mask(q)
	TESTL(union, union)
	JZ(LabelRef(p.name + "none"))
	f.sub(y, x, x)
	f.div(x, q, q)
	return q
}

func (f form) line() {
	f.text("line", "func(n int, dst, a *T, s T, c *T)", "is lineGo.")
	n := Load(Param("n"), GP64())
	dst, a, c := Load(Param("dst"), GP64()), Load(Param("a"), GP64()), Load(Param("c"), GP64())
	s := f.scalar("s")
	f.loop(n, []Register{dst, a, c}, func(p strip) {
		x := p.load(Mem{Base: c})
		f.mul(x, s, x)
		f.add(x, p.load(Mem{Base: a}), x)
		p.store(x, Mem{Base: dst})
	})
	VZEROUPPER()
	RET()
}

func (f form) plus() {
	f.text("plus", "func(n int, dst, a, c *T)", "is plusGo.")
	n := Load(Param("n"), GP64())
	dst, a, c := Load(Param("dst"), GP64()), Load(Param("a"), GP64()), Load(Param("c"), GP64())
	f.loop(n, []Register{dst, a, c}, func(p strip) {
		x := p.load(Mem{Base: a})
		f.add(p.load(Mem{Base: c}), x, x)
		p.store(x, Mem{Base: dst})
	})
	VZEROUPPER()
	RET()
}

// gate writes Gated. It keeps d where m is not at most 0.
func (f form) gate() {
	f.text("gate", "func(n int, dst, d, m *T)", "is gateGo.")
	n := Load(Param("n"), GP64())
	dst, d, m := Load(Param("dst"), GP64()), Load(Param("d"), GP64()), Load(Param("m"), GP64())
	zero := f.zero()
	f.loop(n, []Register{dst, d, m}, func(p strip) {
		x := f.reg()
		if f.wide() {
			k := K()
			f.cmp(notLessEqual, zero, p.load(Mem{Base: m}), k)
			f.moveZ(Mem{Base: d}, k, x)
		} else {
			k := f.reg()
			f.cmp(notLessEqual, zero, p.load(Mem{Base: m}), k)
			VANDPS(Mem{Base: d}, k, x)
		}
		p.store(x, Mem{Base: dst})
	})
	VZEROUPPER()
	RET()
}

// step writes Move. Its parameter g is named dx, since g is a register to the assembler. g - g is
// NaN where g is not finite.
func (f form) step() {
	f.text("move", "func(n int, xs, v, diff, dx, x0 *T, size, eps, lo, hi T) (zero, finite bool)", "is moveGo.")
	n := Load(Param("n"), GP64())
	var pointers []Register
	for _, name := range []string{"xs", "v", "diff", "dx", "x0"} {
		pointers = append(pointers, Load(Param(name), GP64()))
	}
	xs, v, diff, g, x0 := Mem{Base: pointers[0]}, Mem{Base: pointers[1]}, Mem{Base: pointers[2]}, Mem{Base: pointers[3]}, Mem{Base: pointers[4]}
	size, eps, lo, hi := f.scalar("size"), f.scalar("eps"), f.scalar("lo"), f.scalar("hi")
	zero := f.zero()
	minus := f.reg()
	f.sub(size, zero, minus)
	var some, odd Op // some sign is not 0, some g is not finite
	if f.wide() {
		some, odd = K(), K()
		KXORW(some, some, some)
		KXORW(odd, odd, odd)
	} else {
		some, odd = f.zero(), f.zero()
	}
	f.loop(n, pointers, func(p strip) {
		gv, s, t := p.load(g), f.reg(), f.reg()
		up, down, same := Op(nil), Op(nil), Op(nil)
		if f.wide() {
			kup, kdown, kodd := K(), K(), K()
			f.cmp(greater, zero, gv, kup)
			f.cmp(less, zero, gv, kdown)
			f.moveZ(size, kup, s)
			f.move(minus, kdown, s)
			KORW(kup, some, some)
			KORW(kdown, some, some)
			f.sub(gv, gv, t)
			f.cmp(unordered, t, t, kodd)
			KORW(kodd, odd, odd)
		} else {
			up, down = f.reg(), s
			f.cmp(greater, zero, gv, up)
			f.cmp(less, zero, gv, down)
			VORPS(up, some, some)
			VORPS(down, some, some)
			VANDPS(size, up, up)
			VANDPS(minus, down, down)
			VORPS(up, down, s)
			f.sub(gv, gv, t)
			f.cmp(unordered, t, t, t)
			VORPS(t, odd, odd)
		}
		x, y := p.load(xs), f.reg()
		f.add(s, x, y)
		c, bound := p.load(x0), f.reg()
		// If one of two numbers is NaN, VMAX and VMIN return the one that stands first here.
		f.sub(eps, c, bound)
		f.max(y, bound, t)
		f.max(t, lo, t)
		f.add(eps, c, bound)
		f.min(t, bound, t)
		f.min(t, hi, t)
		p.store(t, xs)
		f.sub(x, t, x)
		if f.wide() {
			same = K()
			f.cmp(equal, y, t, same)
			f.move(s, same, x)
		} else {
			f.cmp(equal, y, t, y)
			VBLENDVPS(y, s, x, x)
		}
		old := p.load(v)
		p.store(x, v)
		f.sub(old, x, x)
		p.store(x, diff)
	})
	flag := func(acc Op, name string) {
		b := GP8()
		if f.wide() {
			KORTESTW(acc, acc)
		} else {
			VPTEST(acc, acc)
		}
		SETEQ(b)
		Store(b, Return(name))
	}
	flag(some, "zero")
	flag(odd, "finite")
	VZEROUPPER()
	RET()
}

// eight loads eight elements as float64.
func (f form) eight(m Mem) VecVirtual {
	v := ZMM()
	if f.size == 8 {
		VMOVUPD(m, v)
	} else {
		VCVTPS2PD(m, v)
	}
	return v
}

// differences writes differencesGo for AVX-512. n is a multiple of 32.
func (f form) differences() {
	f.text("differences", "func(n int, sums *float64, tops *uint64, x, x0 *T) (differ int)",
		"is differencesGo. The largest difference is the largest of the 8 tops.")
	n := Load(Param("n"), GP64())
	x, x0 := Load(Param("x"), GP64()), Load(Param("x0"), GP64())
	differ, some := GP64(), GP64()
	XORQ(differ, differ)
	abs, top, sums := f.constant64(0x7fffffff, 0xffffffff), ZMM(), make([]VecVirtual, 4)
	VPXORQ(top, top, top)
	for i := range sums {
		sums[i] = ZMM()
		VPXORQ(sums[i], sums[i], sums[i])
	}
	Label("loop")
	for i, sum := range sums {
		d := f.eight(Mem{Base: x, Disp: 8 * i * f.size})
		VSUBPD(f.eight(Mem{Base: x0, Disp: 8 * i * f.size}), d, d)
		square, size := ZMM(), ZMM()
		VMULPD(d, d, square)
		VADDPD(square, sum, sum)
		VPANDQ(abs, d, size)
		VPMAXUQ(size, top, top)
	}
	for at := 0; at < 32*f.size; at += f.bytes {
		v, k := f.reg(), K()
		f.move(Mem{Base: x, Disp: at}, v)
		f.cmp(notEqual, Mem{Base: x0, Disp: at}, v, k)
		KMOVW(k, some.As32())
		POPCNTQ(some, some)
		ADDQ(some, differ)
	}
	ADDQ(U32(uint32(32*f.size)), x)
	ADDQ(U32(uint32(32*f.size)), x0)
	SUBQ(Imm(32), n)
	JNZ(LabelRef("loop"))
	to := Load(Param("sums"), GP64())
	for i, sum := range sums {
		VMOVUPD(sum, Mem{Base: to, Disp: 64 * i})
	}
	VMOVDQU64(top, Mem{Base: Load(Param("tops"), GP64())})
	Store(differ, Return("differ"))
	VZEROUPPER()
	RET()
}

// differences4 writes differencesGo of float32 for AVX2. n is a multiple of 32. VPCMPGTQ compares
// with a sign, which is 0 here.
func (f form) differences4() {
	f.text("differences", "func(n int, sums *float64, tops *uint64, x, x0 *T) (differ int)",
		"is differencesGo. The largest difference is in the first 4 tops.")
	n := Load(Param("n"), GP64())
	x, x0 := Load(Param("x"), GP64()), Load(Param("x0"), GP64())
	differ, some := GP64(), GP64()
	XORQ(differ, differ)
	abs, top, sums := f.constant64(0x7fffffff, 0xffffffff), f.zero(), make([]VecVirtual, 8)
	for i := range sums {
		sums[i] = f.zero()
	}
	Label("loop")
	for i, sum := range sums {
		d, y, square, more := YMM(), YMM(), YMM(), YMM()
		VCVTPS2PD(Mem{Base: x, Disp: 16 * i}, d)
		VCVTPS2PD(Mem{Base: x0, Disp: 16 * i}, y)
		VSUBPD(y, d, d)
		VMULPD(d, d, square)
		VADDPD(square, sum, sum)
		VPAND(abs, d, d)
		VPCMPGTQ(top, d, more)
		VBLENDVPD(more, d, top, top)
	}
	for at := 0; at < 32*f.size; at += f.bytes {
		v := f.reg()
		f.move(Mem{Base: x, Disp: at}, v)
		f.cmp(notEqual, Mem{Base: x0, Disp: at}, v, v)
		VMOVMSKPS(v, some.As32())
		POPCNTQ(some, some)
		ADDQ(some, differ)
	}
	ADDQ(U32(uint32(32*f.size)), x)
	ADDQ(U32(uint32(32*f.size)), x0)
	SUBQ(Imm(32), n)
	JNZ(LabelRef("loop"))
	to := Load(Param("sums"), GP64())
	for i, sum := range sums {
		VMOVUPD(sum, Mem{Base: to, Disp: 32 * i})
	}
	VMOVDQU(top, Mem{Base: Load(Param("tops"), GP64())})
	Store(differ, Return("differ"))
	VZEROUPPER()
	RET()
}

// expand writes Expand for AVX-512: whole vectors, zero where the mask is.
func (f form) expand() {
	f.text("expand", "func(n int, dst, src *T, masks *uint16)", "is expandGo, but writes 0 in the columns that are not listed.")
	n := Load(Param("n"), GP64())
	dst, src, masks := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("masks"), GP64())
	Label("loop")
	m, k, v := GP64(), K(), ZMM()
	MOVWQZX(Mem{Base: masks}, m)
	KMOVW(m.As32(), k)
	POPCNTQ(m, m)
	if f.size == 8 {
		VEXPANDPD_Z(Mem{Base: src}, k, v)
	} else {
		VEXPANDPS_Z(Mem{Base: src}, k, v)
	}
	f.move(v, Mem{Base: dst})
	LEAQ(Mem{Base: src, Index: m, Scale: uint8(f.size)}, src)
	ADDQ(Imm(64), dst)
	ADDQ(Imm(2), masks)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// constant64 fills a register with 64-bit elements made of hi and lo.
func (f form) constant64(hi, lo uint32) VecVirtual {
	f.size = 8
	return f.constant(hi, lo)
}

// levels writes levelsGo for AVX-512. n is a multiple of 8. Of equal zeros VMAX returns the one
// that stands first here.
func (f form) levels() {
	f.text("levels", "func(n int, dst, x, x0 *T, eps, near float64)", "is levelsGo, for x that is no NaN.")
	n := Load(Param("n"), GP64())
	dst, x, x0 := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("x0"), GP64())
	wide := f
	wide.broadcast, wide.size = VBROADCASTSD, 8
	eps, near := wide.scalar("eps"), wide.scalar("near")
	zero, top := wide.zero(), wide.constant(0x406fe000, 0) // 255
	last := top
	if f.size == 4 {
		r, v := GP32(), XMM()
		MOVL(U32(0x437f0000), r)
		VMOVD(r, v)
		last = YMM()
		VPBROADCASTD(v, last)
	}
	const even, down, up = 8, 9, 10 // directions of VRNDSCALEPD, without exceptions
	Label("loop")
	c, v, lo, hi, k := f.eight(Mem{Base: x0}), f.eight(Mem{Base: x}), ZMM(), ZMM(), K()
	VSUBPD(eps, c, lo)
	VMULPD(top, lo, lo)
	VSUBPD(near, lo, lo)
	VRNDSCALEPD(Imm(up), lo, lo)
	VMAXPD(zero, lo, lo)
	VADDPD(eps, c, hi)
	VMULPD(top, hi, hi)
	VADDPD(near, hi, hi)
	VRNDSCALEPD(Imm(down), hi, hi)
	VMINPD(top, hi, hi)
	VCMPPD(greater, hi, lo, k)
	VMOVAPD(c, k, v)
	VMOVAPD(zero, k, lo)
	VMOVAPD(top, k, hi)
	VMULPD(top, v, v)
	VRNDSCALEPD(Imm(even), v, v)
	VMAXPD(lo, v, v)
	VMINPD(hi, v, v)
	if f.size == 8 {
		VDIVPD(top, v, v)
		VMOVUPD(v, Mem{Base: dst})
	} else {
		y := YMM()
		VCVTPD2PS(v, y)
		VDIVPS(last, y, y)
		VMOVUPS(y, Mem{Base: dst})
	}
	for _, p := range []Register{dst, x, x0} {
		ADDQ(Imm(uint64(8*f.size)), p)
	}
	SUBQ(Imm(8), n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// levels4 writes levelsGo of float32 for AVX2, as levels does. n is a multiple of 8.
func (f form) levels4() {
	f.text("levels", "func(n int, dst, x, x0 *T, eps, near float64)", "is levelsGo, for x that is no NaN.")
	n := Load(Param("n"), GP64())
	dst, x, x0 := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("x0"), GP64())
	wide := f
	wide.broadcast, wide.size = VBROADCASTSD, 8
	eps, near := wide.scalar("eps"), wide.scalar("near")
	zero, top := wide.zero(), wide.constant(0x406fe000, 0) // 255
	last := XMM()
	VCVTPD2PSY(top, last)
	const even, down, up = 8, 9, 10 // directions of VROUNDPD, without exceptions
	Label("loop")
	for at := 0; at < 8*f.size; at += 16 {
		c, v, lo, hi, k, y := YMM(), YMM(), YMM(), YMM(), YMM(), XMM()
		VCVTPS2PD(Mem{Base: x0, Disp: at}, c)
		VCVTPS2PD(Mem{Base: x, Disp: at}, v)
		VSUBPD(eps, c, lo)
		VMULPD(top, lo, lo)
		VSUBPD(near, lo, lo)
		VROUNDPD(Imm(up), lo, lo)
		VMAXPD(zero, lo, lo)
		VADDPD(eps, c, hi)
		VMULPD(top, hi, hi)
		VADDPD(near, hi, hi)
		VROUNDPD(Imm(down), hi, hi)
		VMINPD(top, hi, hi)
		VCMPPD(greater, hi, lo, k)
		VBLENDVPD(k, c, v, v)
		VBLENDVPD(k, zero, lo, lo)
		VBLENDVPD(k, top, hi, hi)
		VMULPD(top, v, v)
		VROUNDPD(Imm(even), v, v)
		VMAXPD(lo, v, v)
		VMINPD(hi, v, v)
		VCVTPD2PSY(v, y)
		VDIVPS(last, y, y)
		VMOVUPS(y, Mem{Base: dst, Disp: at})
	}
	for _, p := range []Register{dst, x, x0} {
		ADDQ(Imm(uint64(8*f.size)), p)
	}
	SUBQ(Imm(8), n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func main() {
	ConstraintExpr("amd64,!purego")
	iota := GLOBL("iota", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(i)))
	}
	// For each mask of 8 bits: the places of the bits that are set, a byte each.
	order := GLOBL("order", RODATA|NOPTR)
	for m := range 256 {
		var bytes uint64
		for i, at := 0, 0; i < 8; i++ {
			if m>>i&1 != 0 {
				bytes |= uint64(i) << (8 * at)
				at++
			}
		}
		DATA(8*m, U64(bytes))
	}
	ps := form{elem: "float32", size: 4, move: VMOVUPS, moveZ: VMOVUPS_Z, broadcast: VBROADCASTSS, add: VADDPS, sub: VSUBPS,
		mul: VMULPS, div: VDIVPS, max: VMAXPS, min: VMINPS, cmp: VCMPPS}
	pd := form{elem: "float64", size: 8, move: VMOVUPD, moveZ: VMOVUPD_Z, broadcast: VBROADCASTSD, add: VADDPD, sub: VSUBPD,
		mul: VMULPD, div: VDIVPD, max: VMAXPD, min: VMINPD, cmp: VCMPPD}
	for _, f := range []form{ps, pd} {
		f.isa, f.bytes, f.reg = "avx512", 64, ZMM
		f.all(order, iota)
	}
	ps.isa, ps.bytes, ps.reg = "avx2", 32, YMM
	ps.all(order, iota)
	Generate()
}

func (f form) all(order, iota Mem) {
	for _, rows := range []int{5, 2, 1} {
		for _, op := range []string{"positive", "nonZero", "flipped"} {
			f.list(op, rows, order, iota)
		}
	}
	f.line()
	f.plus()
	f.step()
	f.list("kinked", 1, order, iota)
	f.gate()
	if f.wide() {
		f.differences()
		f.levels()
		f.expand()
	} else {
		f.differences4()
		f.levels4()
	}
}
