//go:build ignore

// Command winograd writes winograd_amd64.s and its Go declarations: the transforms of tiles for
// AVX2 and AVX-512, in float32 and float64. winograd_go.go says what they compute. The kernels take
// whole vectors of channels. Those of F(4×4, 3×3) keep in their room what lies between the
// transforms along both dimensions, a vector for each number.
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
	isa            string
	elem           string // Go type
	size           int    // bytes of an element
	bytes          int    // of a vector register
	reg            func() VecVirtual
	move, add, sub func(...Op)
	spread         func(...Op) // a number to every lane
	// z ← x·y + z, z - x·y and y·z - x
	fma, fnma, fmsub func(...Op)
}

func (f form) sum(a, b Op) VecVirtual {
	v := f.reg()
	f.add(b, a, v)
	return v
}

// less is a - b.
func (f form) less(a, b Op) VecVirtual {
	v := f.reg()
	f.sub(b, a, v)
	return v
}

func (f form) load(m Mem) VecVirtual {
	v := f.reg()
	f.move(m, v)
	return v
}

// scaled loads a parameter that counts elements, as bytes.
func (f form) scaled(name string) Register {
	r := Load(Param(name), GP64())
	SHLQ(Imm(uint64(bits.TrailingZeros(uint(f.size)))), r)
	return r
}

// memory is where a parameter lies. The kernels keep there what no register is left for.
func memory(name string) Mem {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return p.Addr
}

// step moves p on by so many elements as a parameter says.
func (f form) step(p Register, name string) {
	r := GP64()
	MOVQ(memory(name), r)
	LEAQ(Mem{Base: p, Index: r, Scale: uint8(f.size)}, p)
}

// factors are the numbers that the transforms of F(4×4, 3×3) multiply by.
var factors = []float64{.5, 2, .25}

// factorsOf is the name of the factors of an element type.
func (f form) factorsOf() string { return "tile_factors_" + f.elem }

// data writes the factors.
func (f form) data() {
	GLOBL(f.factorsOf(), RODATA|NOPTR)
	for i, v := range factors {
		if f.size == 4 {
			DATA(4*i, F32(v))
		} else {
			DATA(8*i, F64(v))
		}
	}
}

// factor returns each of the first n factors in every lane.
func (f form) factor(n int) (k []VecVirtual) {
	for i := range n {
		v := f.reg()
		f.spread(NewDataAddr(NewStaticSymbol(f.factorsOf()), i*f.size), v)
		k = append(k, v)
	}
	return k
}

// in4 is tile4In.
func (f form) in4(d [6]VecVirtual, k []VecVirtual) [6]VecVirtual {
	half, two := k[0], k[1]
	e, g := f.less(d[4], d[2]), f.less(d[3], d[1]) // g is f there
	t0 := f.sum(f.sum(f.less(d[0], d[2]), e), g)
	f.fma(half, g, t0)
	t5 := f.sum(f.less(f.less(d[5], d[3]), g), e)
	f.fma(half, e, t5)
	t1, t2 := f.less(d[4], d[1]), f.sum(d[4], d[1])
	f.fma(two, d[3], t1)
	f.fma(half, f.sum(d[3], d[2]), t1)
	f.fnma(two, d[2], t2)
	f.fma(half, f.less(d[3], d[2]), t2)
	t3 := f.reg()
	f.move(e, t3)
	f.fma(two, g, t3)
	f.fmsub(g, two, e)
	return [6]VecVirtual{t0, t1, t2, t3, e, t5}
}

// out4 is tile4Out.
func (f form) out4(m [6]VecVirtual, k []VecVirtual) [4]VecVirtual {
	half, two, quarter := k[0], k[1], k[2]
	p, q := f.sum(m[1], m[2]), f.less(m[1], m[2])
	y0, y1, y2 := f.sum(p, m[0]), f.sum(q, m[3]), f.sum(p, m[4])
	f.fma(two, m[3], y0)
	f.fma(quarter, m[4], y0)
	f.fnma(half, m[4], y1)
	f.fma(half, m[3], y2)
	f.fma(quarter, m[3], q)
	f.fnma(two, m[4], q)
	return [4]VecVirtual{y0, y1, y2, f.sum(q, m[5])}
}

// loops writes a loop over n tiles of a loop over whole vectors of channels. starts are pointers to
// the first channel of a tile. body gets copies of them that move on with the channels, and next
// moves the starts to the next tile.
func (f form) loops(starts []Register, body func(at []Register), next func()) {
	Label("tile")
	c := f.scaled("channels")
	var at []Register
	for _, s := range starts {
		p := GP64()
		MOVQ(s, p)
		at = append(at, p)
	}
	Label("vector")
	body(at)
	for _, p := range at {
		ADDQ(Imm(uint64(f.bytes)), p)
	}
	SUBQ(Imm(uint64(f.bytes)), c)
	JNZ(LabelRef("vector"))
	next()
	DECQ(memory("n"))
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// tilesIn writes the transform of what tiles take.
func (f form) tilesIn() {
	name := fmt.Sprintf("%s_%s_tilesIn", f.isa, f.elem)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n, channels int, x *%[1]s, row, pixel int, v *%[1]s, place, ldv int, room *%[1]s)", f.elem))
	Pragma("noescape")
	Doc(name + " is tilesInGo for whole vectors of channels.")
	x, row, pixel := Load(Param("x"), GP64()), f.scaled("row"), f.scaled("pixel")
	v, place := Load(Param("v"), GP64()), f.scaled("place")
	row3 := GP64()
	LEAQ(Mem{Base: row, Index: row, Scale: 2}, row3)
	f.loops([]Register{x, v}, func(at []Register) {
		// columns calls g for the pixels of column j, from above, as memory.
		columns := func(g func(j int, d [4]Mem)) {
			p := GP64()
			MOVQ(at[0], p)
			for j := range 4 {
				g(j, [4]Mem{{Base: p}, {Base: p, Index: row, Scale: 1}, {Base: p, Index: row, Scale: 2}, {Base: p, Index: row3, Scale: 1}})
				if j < 3 {
					ADDQ(pixel, p)
				}
			}
		}
		to := GP64()
		MOVQ(at[1], to)
		// along transforms a row of a tile that has been transformed down its columns.
		along := func(t [4]VecVirtual, last bool) {
			for j, v := range []VecVirtual{f.less(t[0], t[2]), f.sum(t[1], t[2]), f.less(t[2], t[1]), f.less(t[3], t[1])} {
				f.move(v, Mem{Base: to})
				if j < 3 || !last {
					ADDQ(place, to)
				}
			}
		}
		var t, d1, d2 [4]VecVirtual
		columns(func(j int, d [4]Mem) { t[j] = f.less(f.load(d[0]), d[2]) })
		along(t, false)
		columns(func(j int, d [4]Mem) {
			d1[j], d2[j] = f.load(d[1]), f.load(d[2])
			t[j] = f.sum(d1[j], d2[j])
		})
		along(t, false)
		for j := range t {
			t[j] = f.less(d2[j], d1[j])
		}
		along(t, false)
		columns(func(j int, d [4]Mem) { t[j] = f.less(f.load(d[3]), d[1]) })
		along(t, true)
	}, func() {
		LEAQ(Mem{Base: x, Index: pixel, Scale: 2}, x)
		f.step(v, "ldv")
	})
}

// tilesOut writes the transform of the products.
func (f form) tilesOut() {
	name := fmt.Sprintf("%s_%s_tilesOut", f.isa, f.elem)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n, channels int, m *%[1]s, place, ldm int, bias, y *%[1]s, row, pixel int, room *%[1]s)", f.elem))
	Pragma("noescape")
	Doc(name + " is tilesOutGo for whole vectors of channels.")
	m, place := Load(Param("m"), GP64()), f.scaled("place")
	bias, y := Load(Param("bias"), GP64()), Load(Param("y"), GP64())
	row, pixel := f.scaled("row"), f.scaled("pixel")
	f.loops([]Register{m, bias, y}, func(at []Register) {
		from := GP64()
		MOVQ(at[0], from)
		// s[i][j] is row i of column j, down which the first transform goes.
		var s [2][4]VecVirtual
		for i := range 4 {
			for j := range 4 {
				switch p := (Mem{Base: from}); i {
				case 0:
					s[0][j] = f.load(p)
				case 1:
					s[1][j] = f.load(p)
					f.add(s[1][j], s[0][j], s[0][j])
				case 2:
					v := f.load(p)
					f.add(v, s[0][j], s[0][j])
					f.sub(v, s[1][j], s[1][j])
				case 3:
					f.add(p, s[1][j], s[1][j])
				}
				if i < 3 || j < 3 {
					ADDQ(place, from)
				}
			}
		}
		b := f.load(Mem{Base: at[1]})
		line := GP64()
		MOVQ(at[2], line)
		for i := range 2 {
			f.move(f.sum(f.sum(f.sum(s[i][0], s[i][1]), s[i][2]), b), Mem{Base: line})
			f.move(f.sum(f.sum(f.less(s[i][1], s[i][2]), s[i][3]), b), Mem{Base: line, Index: pixel, Scale: 1})
			if i == 0 {
				ADDQ(row, line)
			}
		}
	}, func() {
		f.step(m, "ldm")
		LEAQ(Mem{Base: y, Index: pixel, Scale: 2}, y)
	})
}

// tiles4In writes tiles4InGo.
func (f form) tiles4In() {
	name := fmt.Sprintf("%s_%s_tiles4In", f.isa, f.elem)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n, channels int, x *%[1]s, row, pixel int, v *%[1]s, place, ldv int, room *%[1]s)", f.elem))
	Pragma("noescape")
	Doc(name + " is tiles4InGo for whole vectors of channels.")
	x, row, pixel := Load(Param("x"), GP64()), f.scaled("row"), f.scaled("pixel")
	v, place := Load(Param("v"), GP64()), f.scaled("place")
	room := Load(Param("room"), GP64())
	k := f.factor(2)
	f.loops([]Register{x, v}, func(at []Register) {
		column := GP64()
		MOVQ(at[0], column)
		for j := range 6 {
			p := GP64()
			MOVQ(column, p)
			var d [6]VecVirtual
			for i := range d {
				d[i] = f.load(Mem{Base: p})
				if i < 5 {
					ADDQ(row, p)
				}
			}
			for i, t := range f.in4(d, k) {
				f.move(t, Mem{Base: room, Disp: (6*i + j) * f.bytes})
			}
			if j < 5 {
				ADDQ(pixel, column)
			}
		}
		to := GP64()
		MOVQ(at[1], to)
		for i := range 6 {
			var d [6]VecVirtual
			for j := range d {
				d[j] = f.load(Mem{Base: room, Disp: (6*i + j) * f.bytes})
			}
			for j, t := range f.in4(d, k) {
				f.move(t, Mem{Base: to})
				if i < 5 || j < 5 {
					ADDQ(place, to)
				}
			}
		}
	}, func() {
		LEAQ(Mem{Base: x, Index: pixel, Scale: 4}, x)
		f.step(v, "ldv")
	})
}

// tiles4Out writes tiles4OutGo.
func (f form) tiles4Out() {
	name := fmt.Sprintf("%s_%s_tiles4Out", f.isa, f.elem)
	TEXT(name, NOSPLIT, fmt.Sprintf("func(n, channels int, m *%[1]s, place, ldm int, bias, y *%[1]s, row, pixel int, room *%[1]s)", f.elem))
	Pragma("noescape")
	Doc(name + " is tiles4OutGo for whole vectors of channels.")
	m, place := Load(Param("m"), GP64()), f.scaled("place")
	bias, y := Load(Param("bias"), GP64()), Load(Param("y"), GP64())
	row, pixel := f.scaled("row"), f.scaled("pixel")
	room := Load(Param("room"), GP64())
	k := f.factor(3)
	f.loops([]Register{m, bias, y}, func(at []Register) {
		column := GP64()
		MOVQ(at[0], column)
		place6 := GP64()
		LEAQ(Mem{Base: place, Index: place, Scale: 2}, place6)
		ADDQ(place6, place6)
		for j := range 6 {
			p := GP64()
			MOVQ(column, p)
			var d [6]VecVirtual
			for i := range d {
				d[i] = f.load(Mem{Base: p})
				if i < 5 {
					ADDQ(place6, p)
				}
			}
			for i, s := range f.out4(d, k) {
				f.move(s, Mem{Base: room, Disp: (6*i + j) * f.bytes})
			}
			if j < 5 {
				ADDQ(place, column)
			}
		}
		line := GP64()
		MOVQ(at[2], line)
		for i := range 4 {
			var d [6]VecVirtual
			for j := range d {
				d[j] = f.load(Mem{Base: room, Disp: (6*i + j) * f.bytes})
			}
			to := GP64()
			MOVQ(line, to)
			for j, s := range f.out4(d, k) {
				f.add(Mem{Base: at[1]}, s, s)
				f.move(s, Mem{Base: to})
				if j < 3 {
					ADDQ(pixel, to)
				}
			}
			if i < 3 {
				ADDQ(row, line)
			}
		}
	}, func() {
		f.step(m, "ldm")
		LEAQ(Mem{Base: y, Index: pixel, Scale: 4}, y)
	})
}

func (f form) tiles() {
	f.tilesIn()
	f.tilesOut()
	f.tiles4In()
	f.tiles4Out()
}

func main() {
	ConstraintExpr("amd64,!purego")
	ps := form{elem: "float32", size: 4, move: VMOVUPS, add: VADDPS, sub: VSUBPS, spread: VBROADCASTSS, fma: VFMADD231PS, fnma: VFNMADD231PS, fmsub: VFMSUB213PS}
	pd := form{elem: "float64", size: 8, move: VMOVUPD, add: VADDPD, sub: VSUBPD, spread: VBROADCASTSD, fma: VFMADD231PD, fnma: VFNMADD231PD, fmsub: VFMSUB213PD}
	for _, f := range []form{ps, pd} {
		f.data()
		f.isa, f.bytes, f.reg = "avx2", 32, YMM
		f.tiles()
		f.isa, f.bytes, f.reg = "avx512", 64, ZMM
		f.tiles()
	}
	Generate()
}
