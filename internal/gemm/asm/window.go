//go:build ignore

// Command window writes window_amd64.s and its Go declarations: the operations on windows of an
// image, for AVX-512 in float32 and float64, and for AVX2 in float32. window_go.go says what they
// compute. The AVX-512 forms take any number of channels, the AVX2 forms only a multiple of 8.
//
// A vector has channels of one window. What the window makes of them stays in a register over all
// its places, and several windows are in hand at once, so that one does not wait for another.
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

	move, broadcast, add, mul, div, max, cmp func(...Op)
	fma, permute                             func(...Op)
	zeroing
}

// A zeroing is instructions that write 0 where k has 0.
type zeroing struct {
	moveZ func(m, k, dst Op)
	addZ  func(x, y, k, dst Op)
}

// These are predicates of a comparison. None of them raises an exception.
var (
	unordered = Imm(3)
	ordered   = Imm(7)
	notLess   = Imm(21) // or unordered
)

const placeBytes = 8 // of a Place: X and W, 4 bytes each

func (f form) wide() bool    { return f.isa == "avx512" }
func (f form) lanes() uint64 { return uint64(f.bytes / f.size) }
func (f form) shift() Op     { return Imm(uint64(bits.TrailingZeros(uint(f.size)))) }

func (f form) text(name, signature, doc string) {
	symbol := f.isa + "_" + f.elem + "_" + name
	TEXT(symbol, NOSPLIT, strings.ReplaceAll(signature, "T", f.elem))
	Pragma("noescape")
	Doc(symbol + " " + doc)
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

// A strip is a vector of channels: a whole one, or under a mask what is left over.
type strip struct {
	form
	mask Register
	name string // of its labels
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

// channels writes a loop of body over the channels. at counts their bytes.
func (f form) channels(name string, at Register, body func(p strip)) {
	left := Load(Param("c"), GP64())
	XORQ(at, at)
	SUBQ(Imm(f.lanes()), left)
	JLT(LabelRef(name + "rest"))
	Label(name + "whole")
	body(strip{f, nil, name + "whole"})
	ADDQ(Imm(uint64(f.bytes)), at)
	SUBQ(Imm(f.lanes()), left)
	JGE(LabelRef(name + "whole"))
	Label(name + "rest")
	if f.wide() {
		ADDQ(Imm(f.lanes()), left)
		JZ(LabelRef(name + "done"))
		m, k := GP64(), K()
		MOVQ(I32(-1), m)
		SHLXQ(left, m, m)
		NOTQ(m)
		KMOVW(m.As32(), k)
		body(strip{f, k, name + "part"})
		Label(name + "done")
	}
}

// places writes a loop of body over the places of a window from the first on, or from the second.
// list points to the place in hand.
func (p strip) places(from int, body func(list Register)) {
	list, count := Load(Param("places"), GP64()), Load(Param("count"), GP64())
	if from > 0 {
		ADDQ(U32(uint32(from*placeBytes)), list)
	}
	SUBQ(U32(uint32(from)), count)
	JLE(LabelRef(p.name + "end"))
	Label(p.name + "place")
	body(list)
	ADDQ(Imm(placeBytes), list)
	DECQ(count)
	JNZ(LabelRef(p.name + "place"))
	Label(p.name + "end")
}

// severalWindows writes a loop of body over the windows and their channels: four windows at a time,
// then two, then one. n counts windows, and x and y point to the first of those that are left.
func (f form) severalWindows(n, x, y, ldx, at Register, body func(p strip, windows int)) {
	for _, windows := range []int{4, 2, 1} {
		name := fmt.Sprintf("w%d", windows)
		Label(name)
		CMPQ(n, Imm(uint64(windows)))
		JLT(LabelRef(name + "few"))
		f.channels(name, at, func(p strip) { body(p, windows) })
		ldy := Load(Param("ldy"), GP64())
		SHLQ(f.shift(), ldy)
		LEAQ(Mem{Base: x, Index: ldx, Scale: uint8(windows)}, x)
		LEAQ(Mem{Base: y, Index: ldy, Scale: uint8(windows)}, y)
		SUBQ(Imm(uint64(windows)), n)
		JMP(LabelRef(name))
		Label(name + "few")
	}
	VZEROUPPER()
	RET()
}

// startWindows begins the sum of each window with what from has.
func (p strip) startWindows(acc []VecVirtual, at Register) {
	for i := range acc {
		if i == 0 {
			acc[i] = p.load(Mem{Base: Load(Param("from"), GP64()), Index: at, Scale: 1})
		} else {
			acc[i] = p.reg()
			p.move(acc[0], acc[i])
		}
	}
}

// storeWindows stores what each window makes, once last has changed it.
func (p strip) storeWindows(acc []VecVirtual, y, at Register, last func(v VecVirtual)) {
	to, ldy := GP64(), Load(Param("ldy"), GP64())
	SHLQ(p.shift(), ldy)
	LEAQ(Mem{Base: y, Index: at, Scale: 1}, to)
	for i, v := range acc {
		last(v)
		p.store(v, Mem{Base: to})
		if i < len(acc)-1 {
			ADDQ(ldy, to)
		}
	}
}

// window writes an operation that makes a number of a window and a channel.
func (f form) window(op, parameters string) {
	f.text(op, "func(n, c int, y *T, ldy int, x *T, ldx int, places *int32, count int"+parameters+")", "is "+op+"Go.")
	n, y, x := Load(Param("n"), GP64()), Load(Param("y"), GP64()), Load(Param("x"), GP64())
	ldx, ldx3, at := Load(Param("ldx"), GP64()), GP64(), GP64()
	SHLQ(f.shift(), ldx)
	LEAQ(Mem{Base: ldx, Index: ldx, Scale: 2}, ldx3)
	var by VecVirtual
	if op == "mean" {
		by = f.reg()
		p, err := Param("by").Resolve()
		if err != nil {
			panic(err)
		}
		f.broadcast(p.Addr, by)
	}
	f.severalWindows(n, x, y, ldx, at, func(p strip, windows int) {
		first := GP64() // the channels of the first window
		LEAQ(Mem{Base: x, Index: at, Scale: 1}, first)
		// element returns where a place is in each window.
		element := func(list Register) []Mem {
			e := GP64()
			MOVLQSX(Mem{Base: list}, e)
			LEAQ(Mem{Base: first, Index: e, Scale: uint8(f.size)}, e)
			return []Mem{{Base: e}, {Base: e, Index: ldx, Scale: 1}, {Base: e, Index: ldx, Scale: 2}, {Base: e, Index: ldx3, Scale: 1}}
		}
		acc := make([]VecVirtual, windows)
		switch op {
		case "products":
			weights := Load(Param("w"), GP64())
			ADDQ(at, weights)
			p.startWindows(acc, at)
			p.places(0, func(list Register) {
				k := GP64()
				MOVLQSX(Mem{Base: list, Disp: 4}, k)
				w := p.load(Mem{Base: weights, Index: k, Scale: uint8(f.size)})
				e := element(list)
				for i, sum := range acc {
					t := f.reg()
					if p.mask != nil {
						t = p.load(e[i])
						f.mul(w, t, t)
					} else {
						f.mul(e[i], w, t)
					}
					f.add(t, sum, sum)
				}
			})
		case "largest":
			e := element(Load(Param("places"), GP64()))
			for i := range acc {
				acc[i] = p.load(e[i])
			}
			p.places(1, func(list Register) {
				e := element(list)
				for i, top := range acc {
					v := p.load(e[i])
					// The larger one, or v if one is NaN. But a NaN of top stays.
					if f.wide() {
						k := K()
						f.cmp(ordered, top, top, k)
						f.max(v, top, k, top)
					} else {
						k := f.reg()
						f.cmp(unordered, top, top, k)
						f.max(v, top, v)
						VBLENDVPS(k, top, v, top)
					}
				}
			})
		case "sum", "mean":
			for i := range acc {
				acc[i] = f.zero()
			}
			p.places(0, func(list Register) {
				e := element(list)
				for i, sum := range acc {
					if p.mask != nil {
						f.add(p.load(e[i]), sum, sum)
					} else {
						f.add(e[i], sum, sum)
					}
				}
			})
		default:
			panic("no operation " + op)
		}
		p.storeWindows(acc, y, at, func(v VecVirtual) {
			if op == "mean" {
				f.div(by, v, v)
			}
		})
	})
}

// grouped writes a convolution of groups that are no wider than a vector, or with apart its way
// back, which adds the products of a place up by themselves before it adds them to the rest. A
// vector has channels of several groups, or of one. Term k of each place is the vector of weights
// times a vector in which each lane has channel k of its group: one permutation of the place's
// channels.
func (f form) grouped(op string) {
	apart := op == "groupedApart"
	f.text(op, "func(n, c int, y *T, ldy int, x *T, ldx int, places *int32, count int, w *T, ldw int, from *T, depth int, pick *int32)",
		"is of Vector.Grouped.")
	n, y, x := Load(Param("n"), GP64()), Load(Param("y"), GP64()), Load(Param("x"), GP64())
	ldx, at := Load(Param("ldx"), GP64()), GP64()
	SHLQ(f.shift(), ldx)
	address := func(name string) Mem {
		p, err := Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		return p.Addr
	}
	f.severalWindows(n, x, y, ldx, at, func(p strip, windows int) {
		acc := make([]VecVirtual, windows)
		p.startWindows(acc, at)
		p.places(0, func(list Register) {
			e, v := GP64(), make([]VecVirtual, windows)
			MOVLQSX(Mem{Base: list}, e)
			SHLQ(f.shift(), e)
			ADDQ(at, e)
			ADDQ(x, e)
			for i := range v {
				v[i] = p.load(Mem{Base: e})
				if i < windows-1 {
					ADDQ(ldx, e)
				}
			}
			sums := acc
			if apart {
				sums = make([]VecVirtual, windows)
				for i := range sums {
					sums[i] = f.zero()
				}
			}
			weights, pick, k := GP64(), Load(Param("pick"), GP64()), Load(Param("depth"), GP64())
			MOVLQSX(Mem{Base: list, Disp: 4}, weights)
			SHLQ(f.shift(), weights)
			ADDQ(at, weights)
			ADDQ(address("w"), weights)
			Label(p.name + "term")
			w, lane := p.load(Mem{Base: weights}), f.reg()
			f.move(Mem{Base: pick}, lane)
			for i, sum := range sums {
				t := f.reg()
				f.permute(v[i], lane, t)
				f.fma(w, t, sum)
			}
			ADDQ(Imm(uint64(f.bytes)), pick)
			ADDQ(address("ldw"), weights)
			DECQ(k)
			JNZ(LabelRef(p.name + "term"))
			for i := range acc {
				if apart {
					f.add(sums[i], acc[i], acc[i])
				}
			}
		})
		p.storeWindows(acc, y, at, func(VecVirtual) {})
	})
}

// hand writes the way back of a max-pool, window by window. With more it adds to what is there.
func (f form) hand(op string) {
	more := op == "handMore"
	f.text(op, "func(n, c int, dx, x *T, ldx int, y, d *T, ldy int, places *int32, count int)",
		"is handGo.")
	n, dx, x := Load(Param("n"), GP64()), Load(Param("dx"), GP64()), Load(Param("x"), GP64())
	y, d, at := Load(Param("y"), GP64()), Load(Param("d"), GP64()), GP64()
	zero := f.zero()
	Label("window")
	f.channels("", at, func(p strip) {
		top, left := p.load(Mem{Base: y, Index: at, Scale: 1}), p.load(Mem{Base: d, Index: at, Scale: 1})
		image, gradient := GP64(), GP64()
		LEAQ(Mem{Base: x, Index: at, Scale: 1}, image)
		LEAQ(Mem{Base: dx, Index: at, Scale: 1}, gradient)
		p.places(0, func(list Register) {
			e := GP64()
			MOVLQSX(Mem{Base: list}, e)
			v := p.load(Mem{Base: image, Index: e, Scale: uint8(f.size)})
			to := Mem{Base: gradient, Index: e, Scale: uint8(f.size)}
			old := zero
			if more {
				old = p.load(to)
			}
			if f.wide() {
				k := K()
				f.cmp(notLess, top, v, k)
				if more {
					f.add(left, old, k, old)
				} else {
					old = f.reg()
					f.addZ(left, zero, k, old)
				}
				f.move(zero, k, left)
			} else {
				k, given := f.reg(), f.reg()
				f.cmp(notLess, top, v, k)
				VANDPS(left, k, given)
				VANDNPS(left, k, left)
				f.add(given, old, given)
				old = given
			}
			p.store(old, to)
		})
	})
	ldx, ldy := Load(Param("ldx"), GP64()), Load(Param("ldy"), GP64())
	for _, p := range []Register{x, dx} {
		LEAQ(Mem{Base: p, Index: ldx, Scale: uint8(f.size)}, p)
	}
	for _, p := range []Register{y, d} {
		LEAQ(Mem{Base: p, Index: ldy, Scale: uint8(f.size)}, p)
	}
	DECQ(n)
	JNZ(LabelRef("window"))
	VZEROUPPER()
	RET()
}

func (f form) all() {
	f.window("products", ", w, from *T")
	f.window("largest", "")
	f.window("sum", "")
	f.window("mean", ", by T")
	f.hand("hand")
	f.hand("handMore")
	f.grouped("grouped")
	f.grouped("groupedApart")
}

func main() {
	ConstraintExpr("amd64,!purego")
	ps := form{elem: "float32", size: 4, move: VMOVUPS, zeroing: zeroing{VMOVUPS_Z, VADDPS_Z}, broadcast: VBROADCASTSS, add: VADDPS,
		mul: VMULPS, div: VDIVPS, max: VMAXPS, cmp: VCMPPS, fma: VFMADD231PS, permute: VPERMPS}
	pd := form{elem: "float64", size: 8, move: VMOVUPD, zeroing: zeroing{VMOVUPD_Z, VADDPD_Z}, broadcast: VBROADCASTSD, add: VADDPD,
		mul: VMULPD, div: VDIVPD, max: VMAXPD, cmp: VCMPPD, fma: VFMADD231PD, permute: VPERMPD}
	for _, f := range []form{ps, pd} {
		f.isa, f.bytes, f.reg = "avx512", 64, ZMM
		f.all()
	}
	ps.isa, ps.bytes, ps.reg = "avx2", 32, YMM
	ps.all()
	Generate()
}
