//go:build ignore

// Command activation writes activation_amd64.s, its Go declarations and the table of them: the
// elementwise functions of package cpu for AVX-512 and AVX2, in float32 and float64.
//
// Each kernel widens its numbers to float64, does in each lane what the scalar code does, and
// rounds once. Every product and every sum is rounded by itself, in the order of the scalar code,
// so the bits are the same. Where the scalar code branches, the kernel computes both sides and
// chooses. Comments here say where it leaves out a branch, and why the bits are still the same.
// Exp, Erfc and the others are those of package portable, whose numbers they take.
//
// The AVX-512 kernels take any n, the AVX2 kernels only a multiple of 4.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"log"
	"math"
	"os"
	"strings"

	"advsweep/internal/portable"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A form is one element type on one instruction set.
type form struct {
	isa  string
	elem string // Go type
	reg  func() VecVirtual
	mask Register // of the lanes that there are, for AVX-512
}

func (f form) wide() bool { return f.isa == "avx512" }

// lanes is how many float64 a vector has.
func (f form) lanes() int {
	if f.wide() {
		return 8
	}
	return 4
}

func (f form) size() int {
	if f.elem == "float32" {
		return 4
	}
	return 8
}

// An activation is an elementwise function: its value at x, and what it hands back at x for d
// behind it. p are its parameters.
type activation struct {
	name  string
	value func(f form, x VecVirtual, p params) VecVirtual
	back  func(f form, x, d VecVirtual, p params) VecVirtual
}

// params are the two parameters of a function, in memory.
type params [2]Mem

// slope is the back of a function with this derivative.
func slope(s func(f form, x VecVirtual, p params) VecVirtual) func(f form, x, d VecVirtual, p params) VecVirtual {
	return func(f form, x, d VecVirtual, p params) VecVirtual { return f.mul(s(f, x, p), d) }
}

// activations are all functions that have kernels. Their names are those of package cpu.
var activations = []activation{
	{"sigmoid", sigmoid, slope(sigmoidSlope)},
	{"tanh", tanh, slope(tanhSlope)},
	{"gelu", gelu, slope(geluSlope)},
	{"gelu_tanh", geluTanh, slope(geluTanhSlope)},
	{"silu", silu, slope(siluSlope)},
	{"mish", mish, slope(mishSlope)},
	{"hardswish", hardSwish, slope(hardSwishSlope)},
	{"softplus", softPlus, slope(sigmoid)},
	{"softsign", softSign, slope(softSignSlope)},
	{"exp", exp, slope(exp)},
	{"erf", erf, slope(erfSlope)},
	{"elu", elu, slope(eluSlope)},
	{"round_clip", roundClip, slope(roundClipSlope)},
	{"leaky_relu", leaky, leakyBack},
	{"clip", clip, clipBack},
	{"thresholded_relu", thresholded, thresholdedBack},
	{"abs", absolute, absoluteBack},
}

// Operands of the arithmetic below are a register, a number, or a float64 in memory that is meant
// for every lane.

// A pool is the numbers that the kernels take from memory. Each fills a vector of AVX2, and AVX-512
// broadcasts the first.
type pool struct {
	name string
	at   map[uint64]int
	bits []uint64
}

var numbers = pool{name: "activation_numbers", at: map[uint64]int{}}

func (c *pool) address(bits uint64) Mem {
	at, ok := c.at[bits]
	if !ok {
		at = 8 * len(c.bits)
		c.at[bits] = at
		c.bits = append(c.bits, bits, bits, bits, bits)
	}
	return NewDataAddr(NewStaticSymbol(c.name), at)
}

// A word is the bits of a lane.
type word uint64

const (
	sign    word = 1 << 63
	allBits word = 1<<64 - 1
)

// operand returns v for an instruction: a register or, for AVX-512 to broadcast (b), memory.
func (f form) operand(v any) (o Op, b bool) {
	switch v := v.(type) {
	case VecVirtual:
		return v, false
	case float64:
		return numbers.address(math.Float64bits(v)), f.wide()
	case word:
		return numbers.address(uint64(v)), f.wide()
	case Mem:
		if f.wide() {
			return v, true
		}
		r := f.reg()
		VBROADCASTSD(v, r)
		return r, false
	}
	panic(fmt.Sprintf("an operand is %T", v))
}

// in returns a register with v.
func (f form) in(v any) VecVirtual {
	o, b := f.operand(v)
	if r, ok := o.(VecVirtual); ok {
		return r
	}
	r := f.reg()
	if b {
		VBROADCASTSD(o, r)
	} else {
		VMOVUPD(o, r)
	}
	return r
}

// An instruction is one with a vector in memory, and the same with a broadcast.
type instruction [2]func(...Op)

func (f form) two(x instruction, a VecVirtual, b any) VecVirtual {
	r := f.reg()
	o, broadcast := f.operand(b)
	if broadcast {
		x[1](o, a, r)
	} else {
		x[0](o, a, r)
	}
	return r
}

func (f form) add(a VecVirtual, b any) VecVirtual {
	return f.two(instruction{VADDPD, VADDPD_BCST}, a, b)
}

func (f form) sub(a VecVirtual, b any) VecVirtual {
	return f.two(instruction{VSUBPD, VSUBPD_BCST}, a, b)
}

func (f form) mul(a VecVirtual, b any) VecVirtual {
	return f.two(instruction{VMULPD, VMULPD_BCST}, a, b)
}

func (f form) div(a VecVirtual, b any) VecVirtual {
	return f.two(instruction{VDIVPD, VDIVPD_BCST}, a, b)
}

// max and min return b where one is NaN.
func (f form) max(a VecVirtual, b any) VecVirtual {
	return f.two(instruction{VMAXPD, VMAXPD_BCST}, a, b)
}

func (f form) min(a VecVirtual, b any) VecVirtual {
	return f.two(instruction{VMINPD, VMINPD_BCST}, a, b)
}

// Plain AVX-512 has the bitwise operations for integers only.

func (f form) and(a VecVirtual, b any) VecVirtual {
	if f.wide() {
		return f.two(instruction{VPANDQ, VPANDQ_BCST}, a, b)
	}
	return f.two(instruction{VANDPD}, a, b)
}

func (f form) or(a VecVirtual, b any) VecVirtual {
	if f.wide() {
		return f.two(instruction{VPORQ, VPORQ_BCST}, a, b)
	}
	return f.two(instruction{VORPD}, a, b)
}

func (f form) xor(a VecVirtual, b any) VecVirtual {
	if f.wide() {
		return f.two(instruction{VPXORQ, VPXORQ_BCST}, a, b)
	}
	return f.two(instruction{VXORPD}, a, b)
}

func (f form) abs(x VecVirtual) VecVirtual { return f.and(x, allBits&^sign) }

// minus is -|x|.
func (f form) minus(x VecVirtual) VecVirtual { return f.or(x, sign) }

func (f form) negated(x VecVirtual) VecVirtual { return f.xor(x, sign) }

// copysign is x >= 0 with the sign of s.
func (f form) copysign(x, s VecVirtual) VecVirtual { return f.or(x, f.and(s, sign)) }

// These are predicates of a comparison. None of them raises an exception.
const (
	equal           = 0
	notEqual        = 4 // or unordered
	less            = 17
	lessEqual       = 18
	notLess         = 21 // or unordered
	notLessEqual    = 22 // or unordered
	notGreater      = 26 // or unordered
	notGreaterEqual = 25 // or unordered
	greaterEqual    = 29
	greater         = 30
)

// compare returns the mask of the lanes in which a and b compare so.
func (f form) compare(a VecVirtual, predicate uint64, b any) Register {
	o, broadcast := f.operand(b)
	if !f.wide() {
		m := f.reg()
		VCMPPD(Imm(predicate), o, a, m)
		return m
	}
	m := K()
	if broadcast {
		VCMPPD_BCST(Imm(predicate), o, a, m)
	} else {
		VCMPPD(Imm(predicate), o, a, m)
	}
	return m
}

// choose is yes in the lanes of a mask and no elsewhere.
func (f form) choose(mask Register, yes any, no VecVirtual) VecVirtual {
	r := f.reg()
	o, broadcast := f.operand(yes)
	switch {
	case broadcast:
		VBLENDMPD_BCST(o, no, mask, r)
	case f.wide():
		VBLENDMPD(o, no, mask, r)
	default:
		VBLENDVPD(mask, o, no, r)
	}
	return r
}

// keep is x in the lanes of a mask and 0 elsewhere.
func (f form) keep(mask Register, x VecVirtual) VecVirtual {
	r := f.reg()
	if f.wide() {
		VMOVAPD_Z(x, mask, r)
	} else {
		VANDPD(x, mask, r)
	}
	return r
}

// times is x·v, but 0 at v = 0 even if x is infinite.
func (f form) times(x, v VecVirtual) VecVirtual {
	return f.keep(f.compare(v, notEqual, 0.0), f.mul(x, v))
}

// polynomial is the value at x of a polynomial, whose coefficients are given from the highest power
// down.
func (f form) polynomial(x VecVirtual, coefficients []float64) VecVirtual {
	p := f.mul(x, coefficients[0])
	for _, c := range coefficients[1 : len(coefficients)-1] {
		p = f.mul(x, f.add(p, c))
	}
	return f.add(p, coefficients[len(coefficients)-1])
}

var table = portable.Numbers()

// The tables of the powers, and of what rounding them left.
const powers, powerRests = "activation_powers", "activation_rests"

// gather returns the elements of a table of 64 that index names.
func (f form) gather(name string, index VecVirtual) VecVirtual {
	base, r := GP64(), f.reg()
	LEAQ(NewDataAddr(NewStaticSymbol(name), 0), base)
	m := Mem{Base: base, Index: index, Scale: 8}
	VMOVAPD(index, r) // for lanes that are not gathered, whose index is 0
	if f.wide() {
		k := K()
		KMOVW(f.mask, k) // which the gather clears
		VGATHERQPD(m, k, r)
	} else {
		k := f.in(allBits)
		VGATHERQPD(k, m, r)
	}
	return r
}

// rounded is x rounded to a whole number: the nearest or even one (0), or the one not above x (1).
func (f form) rounded(x VecVirtual, way uint64) VecVirtual {
	const quiet = 8 // no exception
	r := f.reg()
	if f.wide() {
		VRNDSCALEPD(Imm(quiet|way), x, r)
	} else {
		VROUNDPD(Imm(quiet|way), x, r)
	}
	return r
}

// whole is the number to which adding an integer leaves that in the low bits.
const whole = 0x1.8p52

// series is e**r - 1 for r near 0, as Exp has it.
func (f form) series(r VecVirtual) VecVirtual {
	p := f.polynomial(r, []float64{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5})
	return f.add(f.mul(f.mul(r, r), p), r)
}

// exp is Exp. x is clipped where the result is infinite or 0, and is then no case of its own. Tiny
// numbers are none either: k and with it everything but p = x is 0 or 1.
func exp(f form, x VecVirtual, _ params) VecVirtual {
	return f.expBelow(f.min(f.in(1000.0), x))
}

// expBelow is exp for x <= 1000.
func (f form) expBelow(x VecVirtual) VecVirtual {
	x = f.max(f.in(-1000.0), x)
	v := f.add(f.mul(x, table.Steps), 0.5)
	var fk, k VecVirtual
	if f.wide() {
		magic := f.in(whole)
		k = f.reg()
		VADDPD_RD_SAE(magic, v, k)
		fk = f.sub(k, magic)
	} else {
		fk = f.rounded(v, 1)
		k = f.add(fk, whole)
	}
	// The first product is exact, so that fusing it rounds as the scalar code does.
	r := f.reg()
	VMOVAPD(x, r)
	if f.wide() {
		VFNMADD231PD_BCST(numbers.address(math.Float64bits(table.Ln2Hi/64)), fk, r)
	} else {
		VFNMADD231PD(numbers.address(math.Float64bits(table.Ln2Hi/64)), fk, r)
	}
	r = f.sub(r, f.mul(fk, table.Ln2Lo/64))
	p := f.series(r)
	index := f.and(k, word(63))
	t0, t1 := f.gather(powers, index), f.gather(powerRests, index)
	y := f.add(f.add(f.mul(p, t0), t1), t0)
	m := f.mul(fk, 1.0/64)
	if f.wide() {
		VSCALEFPD(m, y, y) // by 2**⌊m⌋, rounded once
		return y
	}
	// The factor is the product of two, of which the first leaves the result exact.
	power := func(m VecVirtual) VecVirtual {
		r := f.add(m, whole+1023)
		VPSLLQ(Imm(52), r, r)
		return r
	}
	m = f.rounded(m, 1)
	half := f.rounded(f.mul(m, 0.5), 1)
	y = f.mul(y, power(half))
	return f.mul(y, power(f.sub(m, half)))
}

// sigmoids returns the sigmoid and its slope, with one exponential.
func (f form) sigmoids(x VecVirtual) (value, slope func() VecVirtual) {
	e := f.expBelow(f.minus(x))
	d := f.add(e, 1.0)
	value = func() VecVirtual {
		return f.div(f.choose(f.compare(x, less, 0.0), e, f.in(1.0)), d)
	}
	return value, func() VecVirtual { return f.div(e, f.mul(d, d)) }
}

func sigmoid(f form, x VecVirtual, _ params) VecVirtual {
	value, _ := f.sigmoids(x)
	return value()
}

func sigmoidSlope(f form, x VecVirtual, _ params) VecVirtual {
	_, slope := f.sigmoids(x)
	return slope()
}

func silu(f form, x VecVirtual, p params) VecVirtual { return f.times(x, sigmoid(f, x, p)) }

func siluSlope(f form, x VecVirtual, _ params) VecVirtual {
	value, slope := f.sigmoids(x)
	return f.add(value(), f.times(x, slope()))
}

// tanh is Tanh. 1 - 2/(Exp(2a)+1) is 1 by itself where a > 22. -0 and NaN need no case since the
// convergent is taken of |x|.
func tanh(f form, x VecVirtual, _ params) VecVirtual {
	a := f.abs(x)
	large := f.sub(f.in(1.0), f.div(f.in(2.0), f.add(exp(f, f.add(a, a), params{}), 1.0)))
	z := f.mul(a, a)
	n := f.add(f.mul(f.add(f.mul(f.add(z, 594.0), z), 45045.0), z), 675675.0)
	d := f.add(f.mul(f.add(f.mul(f.add(f.mul(f.add(z, 630.0), z), 51975.0), z), 945945.0), z), 2027025.0)
	small := f.sub(a, f.mul(f.mul(f.div(n, d), z), a))
	return f.copysign(f.choose(f.compare(a, greaterEqual, 0.625), large, small), x)
}

func tanhSlope(f form, x VecVirtual, p params) VecVirtual {
	return f.mul(sigmoidSlope(f, f.add(x, x), p), 4.0)
}

// erfc is Erfc. |x| is clipped where e**-x² is 0, which makes the results 0 and 2. Below -6 it is 2
// without a case of its own.
func (f form) erfc(x VecVirtual) VecVirtual {
	a := f.min(f.in(28.0), f.abs(x))
	t := f.div(f.sub(a, 3.75), f.add(a, 3.75))
	u := f.mul(t, t)
	even, odd := f.polynomial(u, table.ErfcEven[:]), f.polynomial(u, table.ErfcOdd[:])
	sum := f.add(f.mul(odd, t), even)
	top := f.and(a, allBits&^(1<<27-1))
	e := f.expBelow(f.negated(f.mul(top, top)))
	// The argument of the second exponential is within 2**-15, so that k is 0.
	near := f.add(f.series(f.mul(f.sub(top, a), f.add(top, a))), 1.0)
	y := f.div(f.mul(f.mul(e, near), sum), f.add(f.add(a, a), 1.0))
	return f.choose(f.compare(x, less, 0.0), f.sub(f.in(2.0), y), y)
}

// normal is Φ(x).
func (f form) normal(x VecVirtual) VecVirtual {
	return f.mul(f.erfc(f.div(f.negated(x), math.Sqrt2)), 0.5)
}

func gelu(f form, x VecVirtual, _ params) VecVirtual { return f.times(x, f.normal(x)) }

func geluSlope(f form, x VecVirtual, _ params) VecVirtual {
	e := f.expBelow(f.mul(f.negated(f.mul(x, x)), 0.5))
	bell := f.times(x, f.div(e, math.Sqrt(2*math.Pi)))
	return f.add(f.normal(x), bell)
}

// cubic is 1 + b·x·x.
func (f form) cubic(x VecVirtual, b float64) VecVirtual { return f.add(f.mul(f.mul(x, b), x), 1.0) }

func (f form) geluArgument(x VecVirtual) VecVirtual {
	const a, b = 0.79788456080286535588, 0.044715
	return f.mul(f.mul(x, 2*a), f.cubic(x, b))
}

func geluTanh(f form, x VecVirtual, p params) VecVirtual {
	return f.times(x, sigmoid(f, f.geluArgument(x), p))
}

func geluTanhSlope(f form, x VecVirtual, _ params) VecVirtual {
	const a, b = 0.79788456080286535588, 3 * 0.044715
	value, slope := f.sigmoids(f.geluArgument(x))
	factor := f.mul(f.mul(f.add(x, x), a), f.cubic(x, b))
	return f.add(value(), f.times(factor, slope()))
}

// mishGate returns the numerators and the common denominator of p and its slope. The slope is
// divided by the square of that.
func (f form) mishGate(x VecVirtual) (p, slope, denominator VecVirtual) {
	e := f.expBelow(f.minus(x))
	negative := f.compare(x, less, 0.0)
	twice, plus := f.add(e, e), f.add(e, 1.0)
	below, above := f.mul(f.add(e, 2.0), e), f.add(twice, 1.0)
	denominator = f.choose(negative, f.add(below, 2.0), f.add(f.mul(twice, e), above))
	four := f.mul(e, 4.0)
	slope = f.choose(negative, f.mul(four, plus), f.mul(f.mul(four, e), plus))
	return f.choose(negative, below, above), slope, denominator
}

func mish(f form, x VecVirtual, _ params) VecVirtual {
	p, _, d := f.mishGate(x)
	return f.times(x, f.div(p, d))
}

func mishSlope(f form, x VecVirtual, _ params) VecVirtual {
	p, s, d := f.mishGate(x)
	return f.add(f.div(p, d), f.times(x, f.div(s, f.mul(d, d))))
}

// hinge is 0 up to -3, above from 3 on, and between elsewhere.
func (f form) hinge(x VecVirtual, above any, between VecVirtual) VecVirtual {
	return f.keep(f.compare(x, notLessEqual, -3.0), f.choose(f.compare(x, greaterEqual, 3.0), above, between))
}

func hardSwish(f form, x VecVirtual, _ params) VecVirtual {
	return f.hinge(x, x, f.div(f.mul(f.add(x, 3.0), x), 6.0))
}

func hardSwishSlope(f form, x VecVirtual, _ params) VecVirtual {
	return f.hinge(x, 1.0, f.div(f.add(f.add(x, x), 3.0), 6.0))
}

// softPlus is max(x, 0) + Log1p(e), e = e**-|x| from 0 to 1. For e < √2 - 1 that is logOf(e, 0),
// which is e by itself where e is tiny. Elsewhere it is logOf of a half of 1 + e, plus what 1 + e
// left out.
func softPlus(f form, x VecVirtual, _ params) VecVirtual {
	e := f.expBelow(f.minus(x))
	u := f.add(e, 1.0)
	far := f.compare(e, notLess, math.Sqrt2-1)
	rest := f.keep(far, f.div(f.sub(e, f.sub(u, 1.0)), u))
	// Log takes out a factor 2 where half is not below √½. So it does where half is 1, as its case
	// for that, which Frexp gives as ½, comes to the same.
	half := f.mul(u, 0.5)
	halved := f.compare(half, notLess, math.Sqrt2/2)
	v := f.sub(f.choose(halved, half, u), 1.0)
	v = f.choose(far, v, e)
	k := f.keep(far, f.keep(halved, f.in(1.0)))
	log := f.add(f.logOf(v, k), rest)
	return f.add(f.max(f.in(0.0), x), log)
}

// logOf is logOf.
func (f form) logOf(v, k VecVirtual) VecVirtual {
	s := f.div(v, f.add(v, 2.0))
	z := f.mul(s, s)
	p := f.mul(f.polynomial(z, table.Log[:]), z)
	half := f.mul(f.mul(v, v), 0.5)
	low := f.add(f.mul(f.add(p, half), s), f.mul(k, table.Ln2Lo))
	return f.add(f.sub(v, f.sub(half, low)), f.mul(k, table.Ln2Hi))
}

func softSign(f form, x VecVirtual, _ params) VecVirtual {
	a := f.abs(x)
	y := f.div(x, f.add(a, 1.0))
	return f.choose(f.compare(a, equal, math.Inf(1)), f.copysign(f.in(1.0), x), y)
}

func softSignSlope(f form, x VecVirtual, _ params) VecVirtual {
	a := f.add(f.abs(x), 1.0)
	return f.div(f.div(f.in(1.0), a), a)
}

// erf is Erf.
func erf(f form, x VecVirtual, _ params) VecVirtual {
	const rest = 2/1.77245385090551602729816748334114518279754945612238712821380779 - 1
	a := f.abs(x)
	p := f.polynomial(f.mul(x, x), append(table.Erf[:len(table.Erf):len(table.Erf)], rest))
	near := f.add(f.mul(p, x), x)
	far := f.copysign(f.sub(f.in(1.0), f.erfc(a)), x)
	return f.choose(f.compare(a, less, 0.5), near, far)
}

func erfSlope(f form, x VecVirtual, _ params) VecVirtual {
	return f.mul(f.expBelow(f.negated(f.mul(x, x))), 2/math.SqrtPi)
}

// elu has Expm1 where x is not above 0.
func elu(f form, x VecVirtual, p params) VecVirtual {
	v := f.mul(x, p[1])
	far := f.sub(exp(f, v, p), 1.0)
	near := f.add(f.mul(f.polynomial(v, table.Expm1[:]), f.mul(v, v)), v)
	// The series of -0 is 0. That of other tiny numbers is v by itself.
	near = f.choose(f.compare(v, equal, 0.0), v, near)
	near = f.choose(f.compare(v, lessEqual, -0.35), far, near)
	near = f.choose(f.compare(v, greaterEqual, 0.41), far, near)
	return f.choose(f.compare(x, greater, 0.0), x, f.mul(near, p[0]))
}

func eluSlope(f form, x VecVirtual, p params) VecVirtual {
	s := f.mul(exp(f, f.mul(x, p[1]), p), f.mul(f.in(p[0]), p[1]))
	return f.choose(f.compare(x, greater, 0.0), 1.0, s)
}

// roundClip has Go's max and min, which know the signs of zeros.
func roundClip(f form, x VecVirtual, p params) VecVirtual {
	r, lo, hi := f.rounded(x, 0), f.in(p[0]), f.in(p[1])
	r = f.choose(f.compare(r, equal, lo), f.and(r, lo), f.max(lo, r))
	return f.choose(f.compare(r, equal, hi), f.or(r, hi), f.min(hi, r))
}

func roundClipSlope(f form, x VecVirtual, p params) VecVirtual {
	r := f.rounded(x, 0)
	inside := f.keep(f.compare(r, notLess, p[0]), f.in(1.0))
	return f.keep(f.compare(r, notGreater, p[1]), inside)
}

// The rest need no float64. A product of two float32 is exact in float64, so that it is rounded
// once here too.

func leaky(f form, x VecVirtual, p params) VecVirtual { return leakyBack(f, x, x, p) }

func leakyBack(f form, x, d VecVirtual, p params) VecVirtual {
	return f.choose(f.compare(x, greater, 0.0), d, f.mul(d, p[0]))
}

func clip(f form, x VecVirtual, p params) VecVirtual {
	return f.min(f.in(p[1]), f.max(f.in(p[0]), x))
}

func clipBack(f form, x, d VecVirtual, p params) VecVirtual {
	above := f.keep(f.compare(x, notLessEqual, p[0]), d)
	return f.keep(f.compare(x, notGreaterEqual, p[1]), above)
}

func thresholded(f form, x VecVirtual, p params) VecVirtual { return thresholdedBack(f, x, x, p) }

func thresholdedBack(f form, x, d VecVirtual, p params) VecVirtual {
	return f.keep(f.compare(x, notLessEqual, p[0]), d)
}

func absolute(f form, x VecVirtual, _ params) VecVirtual { return f.abs(x) }

func absoluteBack(f form, x, d VecVirtual, _ params) VecVirtual {
	d = f.choose(f.compare(x, less, 0.0), f.negated(d), d)
	return f.keep(f.compare(x, notEqual, 0.0), d)
}

// kernel writes one kernel. Its body returns what is stored for the loaded vectors.
func (f form) kernel(name, signature, doc, to string, from []string, body func(f form, v []VecVirtual, p params) VecVirtual) {
	name = f.isa + "_" + f.elem + "_" + name
	TEXT(name, NOSPLIT, strings.ReplaceAll(signature, "T", f.elem))
	Pragma("noescape")
	Doc(name + " " + doc)
	n := Load(Param("n"), GP64())
	pointers := []Register{Load(Param(to), GP64())}
	for _, v := range from {
		pointers = append(pointers, Load(Param(v), GP64()))
	}
	base := Load(Param("p"), GP64())
	if f.wide() {
		f.mask = K()
		all := GP32()
		MOVL(U32(0xff), all)
		KMOVW(all, f.mask)
	}
	Label("loop")
	if f.wide() {
		CMPQ(n, Imm(8))
		JGE(LabelRef("whole"))
		rest := GP64()
		MOVQ(I32(-1), rest)
		SHLXQ(n, rest, rest)
		NOTQ(rest)
		KMOVW(rest.As32(), f.mask)
		Label("whole")
	}
	var v []VecVirtual
	for _, p := range pointers[1:] {
		v = append(v, f.load(Mem{Base: p}))
	}
	f.store(body(f, v, params{{Base: base}, {Base: base, Disp: 8}}), Mem{Base: pointers[0]})
	for _, p := range pointers {
		ADDQ(Imm(uint64(f.lanes()*f.size())), p)
	}
	SUBQ(Imm(uint64(f.lanes())), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func (f form) load(m Mem) VecVirtual {
	v := f.reg()
	switch {
	case f.wide() && f.size() == 4:
		VCVTPS2PD_Z(m, f.mask, v)
	case f.wide():
		VMOVUPD_Z(m, f.mask, v)
	case f.size() == 4:
		VCVTPS2PD(m, v)
	default:
		VMOVUPD(m, v)
	}
	return v
}

func (f form) store(v VecVirtual, m Mem) {
	switch {
	case f.wide() && f.size() == 4:
		y := YMM()
		VCVTPD2PS(v, y)
		VMOVUPS(y.AsZ(), f.mask, m)
	case f.wide():
		VMOVUPD(v, f.mask, m)
	case f.size() == 4:
		x := XMM()
		VCVTPD2PSY(v, x)
		VMOVUPS(x, m)
	default:
		VMOVUPD(v, m)
	}
}

func main() {
	list := flag.String("table", "", "output file of the table")
	flag.Parse()
	ConstraintExpr("amd64,!purego")
	var rows bytes.Buffer
	fmt.Fprintf(&rows, "// Code generated by command: go run activation.go. DO NOT EDIT.\n\n")
	fmt.Fprintf(&rows, "//go:build amd64 && !purego\n\npackage gemm\n")
	for _, isa := range []string{"avx512", "avx2"} {
		for _, elem := range []string{"float32", "float64"} {
			f := form{isa: isa, elem: elem, reg: ZMM}
			whole := 1
			if !f.wide() {
				f.reg, whole = YMM, f.lanes()
			}
			fmt.Fprintf(&rows, "\nvar %s_%s_activations = map[string]Activation[%s]{\n", isa, elem, elem)
			for _, a := range activations {
				f.kernel(a.name, "func(n int, y, x *T, p *float64)", fmt.Sprintf("writes y = %s(x).", a.name),
					"y", []string{"x"}, func(f form, v []VecVirtual, p params) VecVirtual { return a.value(f, v[0], p) })
				f.kernel(a.name+"_back", "func(n int, dx, x, d *T, p *float64)", fmt.Sprintf("writes dx, the gradient of %s at x for d behind it.", a.name),
					"dx", []string{"x", "d"}, func(f form, v []VecVirtual, p params) VecVirtual { return a.back(f, v[0], v[1], p) })
				kernel := isa + "_" + elem + "_" + a.name
				fmt.Fprintf(&rows, "%q: {%d, %s, %s_back},\n", a.name, whole, kernel, kernel)
			}
			fmt.Fprintf(&rows, "}\n")
		}
	}
	data(numbers.name, numbers.bits)
	var p, rests []uint64
	for _, v := range table.Powers {
		p, rests = append(p, math.Float64bits(v[0])), append(rests, math.Float64bits(v[1]))
	}
	data(powers, p)
	data(powerRests, rests)
	text, err := format.Source(rows.Bytes())
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*list, text, 0o666); err != nil {
		log.Fatal(err)
	}
	Generate()
}

func data(name string, bits []uint64) {
	GLOBL(name, RODATA|NOPTR)
	for i, b := range bits {
		DATA(8*i, U64(b))
	}
}
