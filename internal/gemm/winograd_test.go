package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestTiles compares the transforms of every path, to the bit, with those of plain Go.
func TestTiles(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testTiles[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testTiles[float64](t, path) })
	}
}

func testTiles[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(1, 2))
	x := NewTiles[T](path)
	for _, n := range []int{0, 1, 2, 5} {
		for _, channels := range []int{1, 3, 4, 8, 15, 16, 17, 33, 64} {
			name := fmt.Sprintf("%d tiles of %d channels", n, channels)
			row, ld := (2*n+2)*channels+3, channels+2
			place := max(1, n)*ld + 5
			image := random[T](r, 4*row)
			got := random[T](r, 16*place)
			want := append([]T(nil), got...)
			x.In(n, channels, image, row, got, place, ld)
			tilesInGo(n, channels, image, row, channels, want, place, ld)
			equal(t, name+", in", got, want)
			m, bias, y := random[T](r, 16*place), random[T](r, channels), random[T](r, 2*row)
			want = append([]T(nil), y...)
			x.Out(n, channels, m, place, ld, bias, y, row)
			tilesOutGo(n, channels, m, place, ld, bias, want, row, channels)
			equal(t, name+", out", y, want)
		}
	}
}
