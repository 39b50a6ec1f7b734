//go:build linux

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"syscall"
	"testing"
	"unsafe"
)

// A fence is memory between two pages that nothing may touch.
type fence struct{ memory []byte }

func newFence(t *testing.T, bytes int) fence {
	page := syscall.Getpagesize()
	size := (bytes + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mprotect(m[page:page+size], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return fence{m[page : page+size]}
}

// A yard hands out fenced slices, all at the end of their fences or all at the start.
type yard struct {
	t      *testing.T
	fences []fence
	used   int
	start  bool
}

const yardBytes = 1 << 17

// fenced returns src copied to a slice next to a page that nothing may touch, until free.
func fenced[T any](y *yard, src []T) []T {
	if y.used == len(y.fences) {
		y.fences = append(y.fences, newFence(y.t, yardBytes))
	}
	m := y.fences[y.used].memory
	y.used++
	bytes := len(src) * int(unsafe.Sizeof(*new(T)))
	if bytes > len(m) {
		y.t.Fatalf("%d bytes do not fit a fence", bytes)
	}
	if bytes == 0 {
		return nil
	}
	at := len(m) - bytes
	if y.start {
		at = 0
	}
	s := unsafe.Slice((*T)(unsafe.Pointer(&m[at])), len(src))
	copy(s, src)
	return s
}

func (y *yard) free() { y.used = 0 }

// TestGuard runs every kernel and every operation on memory that ends, or begins, at pages that
// nothing may touch: one element too many is a fault.
func TestGuard(t *testing.T) {
	for _, path := range Paths() {
		for _, start := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/start=%v", path, start), func(t *testing.T) {
				defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
				y := &yard{t: t, start: start}
				guardProducts[float32](y, path)
				guardProducts[float64](y, path)
				guardVector[float32](y, path)
				guardVector[float64](y, path)
				guardTiles[float32](y, path)
				guardTiles[float64](y, path)
			})
		}
	}
}

func guardProducts[T Float](y *yard, path string) {
	r := rand.New(rand.NewPCG(13, 14))
	for n := 1; n <= 97; n++ {
		for _, k := range []int{1, 2, 7, 33} {
			y.free()
			mat := NewMatrix[T](path, k, n)
			mat.Pack(random[T](r, k*n), n, 1)
			mat.data, mat.identity, mat.zero = fenced(y, mat.data), fenced(y, mat.identity), fenced(y, mat.zero)
			mat.Pack(fenced(y, random[T](r, k*n)), 1, k)
			s := Scratch[T]{tile: fenced(y, make([]T, GroupRows*mat.width))}
			gathered := Scratch[T]{tile: fenced(y, make([]T, k*mat.width))}
			data, groups, used := random[T](r, 26*k), []Group[T](nil), y.used
			for _, rows := range []int{1, 2, 5, 13, 26} {
				y.used = used
				a := fenced(y, data[:rows*k])
				c := fenced(y, make([]T, (rows-1)*(n+2)+n))
				mat.MulAdd(c, n+2, a, k, 1, rows, &s)
				mat.MulAdd(c, n+2, a, 1, rows, rows, &s)
				mat.MulIm2col(c, n+2, fenced(y, make([]T, mat.Padded())), a, &Im2col{Rows: 1, Cols: rows, ColStride: k, Segments: []Segment{{0, k}}, Step: 1}, &s)
				mat.MulIm2col(c, n+2, nil, a, &Im2col{Rows: rows, Cols: 1, RowStride: 1, Segments: []Segment{{0, k}}, Step: rows}, &s)
			}
			y.used = used
			for _, rows := range []int{1, 2, 5} {
				g, _ := randomGroups[T](r, rows, k, rows, .7)
				g[0].List = append(g[0].List, uint32(k-1)) // and the last row of B
				if l := g[0].List; len(l) > 1 && l[len(l)-2] == l[len(l)-1] {
					g[0].List = l[:len(l)-1]
				}
				g[0].LDA = len(g[0].List)
				g[0].A = fenced(y, random[T](r, rows*g[0].LDA))
				g[0].List = fenced(y, g[0].List)
				groups = append(groups[:0], g...)
				p := mat.Padded()
				c := fenced(y, make([]T, (rows-1)*(p+2)+p))
				mat.MulAddGroups(c, p+2, groups)
				mat.MulGroups(c, p+2, groups, fenced(y, make([]T, p)))
				mat.MulGroups(c, p+2, []Group[T]{{Rows: rows}}, fenced(y, make([]T, p)))
				columns := append(someOf(r, n-1, .4), uint32(n-1))
				p = (len(columns) + mat.kernel.lanes - 1) / mat.kernel.lanes * mat.kernel.lanes
				c = fenced(y, make([]T, (rows-1)*(p+2)+p))
				mat.MulSelected(c, p+2, []Selection[T]{{fenced(y, columns), groups}}, &gathered)
			}
		}
	}
}

func guardVector[T Float](y *yard, path string) {
	x := NewVector[T](path)
	r := rand.New(rand.NewPCG(15, 16))
	inf := T(math.Inf(1))
	for n := 1; n <= 71; n++ {
		numbers := func(n int) []T { return fenced(y, random[T](r, n)) }
		for _, rows := range []int{1, 2, GroupRows} {
			y.free()
			ld, lda := n+1, n+VectorPad
			m, v, z0 := numbers((rows-1)*ld+n), numbers((rows-1)*ld+n), numbers(n)
			list, a := fenced(y, make([]uint32, n+VectorPad)), numbers(rows*lda)
			x.Positive(list, a, lda, v, m, ld, n, rows)
			// every column: the last vector is stored furthest
			x.NonZero(list, a, lda, v, ld, n, rows)
			x.Flipped(list, a, lda, v, z0, ld, n, rows)
		}
		y.free()
		a, b, c, d, e := numbers(n), numbers(n), numbers(n), numbers(n), numbers(n)
		x.Line(a, b, 2, c)
		x.Add(a, b)
		x.Move(a, b, c, d, e, .5, inf, -inf, inf)
		x.Kinked(fenced(y, make([]uint32, n+VectorPad)), numbers(n+VectorPad), a, b)
		x.Gated(a, b, c)
		x.Plus(a, b, c)
		for _, windows := range []int{1, 3, 7} {
			y.free()
			g := Windows{windows, n, n + 3, n + 1, []Place{{0, 0}, {5, int32(2 * n)}, {2, int32(n)}}}
			p, q := numbers(5+(windows-1)*(n+3)+n), numbers(5+(windows-1)*(n+3)+n)
			u, v := numbers((windows-1)*(n+1)+n), numbers((windows-1)*(n+1)+n)
			x.Products(&g, u, numbers(n), p, numbers(3*n))
			x.Largest(&g, u, p)
			x.Sum(&g, u, p)
			x.Mean(&g, u, p, 3)
			x.Hand(&g, q, p, u, v, false)
			x.Hand(&g, q, p, u, v, true)
			for _, depth := range []int{1, 2, 4, 8} {
				if groups := x.Groups(depth, n); groups != nil {
					g.Places = []Place{{0, 0}, {5, int32(depth * n)}}
					w := numbers(2 * depth * n)
					groups.pick = fenced(y, groups.pick)
					x.Grouped(&g, groups, u, numbers(n), p, w, false)
					x.Grouped(&g, groups, u, numbers(n), p, w, true)
				}
			}
		}
	}
}

// guardTiles is a part of TestGuard.
func guardTiles[T Float](y *yard, path string) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, size := range tileSizes {
		x, wide := NewTiles[T](path, size), size+2
		for channels := 1; channels <= 67; channels++ {
			for n := 1; n <= 3; n++ {
				y.free()
				numbers := func(n int) []T { return fenced(y, random[T](r, n)) }
				row := (size*n + 2) * channels
				v, room := numbers(wide*wide*n*channels), numbers(TileRoom[T]())
				x.In(n, channels, numbers(wide*row), row, v, n*channels, channels, room)
				x.Out(n, channels, v, n*channels, channels, numbers(channels), numbers((size-1)*row+size*n*channels), row, room)
			}
		}
	}
}
