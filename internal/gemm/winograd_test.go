package gemm

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// tileSizes are the sizes that NewTiles has.
var tileSizes = []int{2, 4}

// TestTiles compares the transforms of every path, to the bit, with those of plain Go.
func TestTiles(t *testing.T) {
	for _, path := range Paths() {
		for _, size := range tileSizes {
			t.Run(fmt.Sprintf("%s/float32/%d", path, size), func(t *testing.T) { testTiles[float32](t, path, size) })
			t.Run(fmt.Sprintf("%s/float64/%d", path, size), func(t *testing.T) { testTiles[float64](t, path, size) })
		}
	}
}

func testTiles[T Float](t *testing.T, path string, size int) {
	r := rand.New(rand.NewPCG(1, 2))
	x := NewTiles[T](path, size)
	wide, room := size+2, make([]T, TileRoom[T]())
	for _, numbers := range []func(*rand.Rand, int) []T{random[T], uneven[T], awkward[T]} {
		for _, n := range []int{0, 1, 2, 5} {
			for _, channels := range []int{1, 3, 4, 8, 15, 16, 17, 33, 64} {
				name := fmt.Sprintf("%d tiles of %d channels", n, channels)
				row, ld := (size*n+2)*channels+3, channels+2
				place := max(1, n)*ld + 5
				image := numbers(r, wide*row)
				got := random[T](r, wide*wide*place)
				want := append([]T(nil), got...)
				x.In(n, channels, image, row, got, place, ld, room)
				x.inGo(n, channels, image, row, channels, want, place, ld)
				alike(t, name+", in", got, want)
				m, bias, y := numbers(r, wide*wide*place), numbers(r, channels), random[T](r, size*row)
				want = append([]T(nil), y...)
				x.Out(n, channels, m, place, ld, bias, y, row, room)
				x.outGo(n, channels, m, place, ld, bias, want, row, channels)
				alike(t, name+", out", y, want)
			}
		}
	}
}

// uneven is numbers of all sizes that a T has, the least ones too, but so large ones that a sum of
// some is no number.
func uneven[T Float](r *rand.Rand, n int) []T {
	d, least := random[T](r, n), -149
	if T(0x1p-200) != 0 {
		least = -1074
	}
	base := least + r.IntN(-2*least-60)
	for i := range d {
		d[i] = T(math.Ldexp(float64(d[i]), min(base+r.IntN(60), -least-60)))
	}
	return d
}

// TestFused compares sums that are rounded once with those of 2,000 bits.
func TestFused(t *testing.T) {
	testFused[float32](t)
	testFused[float64](t)
}

func testFused[T Float](t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	exact := func(v T) *big.Float { return new(big.Float).SetPrec(2000).SetFloat64(float64(v)) }
	for range 2000 {
		x, y := uneven[T](r, 9), uneven[T](r, 9)
		for _, k := range []float64{.25, .5, -.5, 2, -2} {
			for i := range x {
				if r.IntN(2) == 0 { // near each other, or so that they cancel
					y[i] = -T(k) * x[i] * (1 + T(r.IntN(3)-1)*0x1p-23)
				}
				sum := new(big.Float).SetPrec(2000).Mul(exact(T(k)), exact(x[i]))
				sum.Add(sum, exact(y[i]))
				want, _ := sum.Float64()
				if T(0x1p-200) == 0 {
					one, _ := sum.Float32()
					want = float64(one)
				}
				if got := fused(k, x[i], y[i]); float64(got) != want {
					t.Fatalf("%g·%g + %g = %g, want %g", k, x[i], y[i], got, want)
				}
			}
		}
	}
}
