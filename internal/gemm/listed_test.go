package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestListed compares rows of windows of listed pixels with the product of whole windows, to the
// bit but for the sign of zeros.
func TestListed(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path+"/float32", func(t *testing.T) { testListed[float32](t, path) })
		t.Run(path+"/float64", func(t *testing.T) { testListed[float64](t, path) })
	}
}

func testListed[T Float](t *testing.T, path string) {
	r := rand.New(rand.NewPCG(3, 4))
	vec := NewVector[T](path)
	for _, images := range []int{1, 2, GroupRows} {
		for _, n := range []int{1, 7, 16, 33, 90} {
			for _, density := range []float64{0, 0.2, 1} {
				// One row of seven pixels, of which windows of three take every second.
				const wide, channels, windows, step, taps = 7, 5, 3, 2, 3
				x := make([]T, images*wide*channels)
				for i := range x {
					if r.Float64() < density {
						x[i] = T(r.NormFloat64())
					}
				}
				b, from := random[T](r, taps*channels*n), random[T](r, n+100)
				m := NewMatrix[T](path, taps*channels, n)
				m.Pack(b, n, 1)
				var pixels []Group[T]
				for p := range wide {
					const lda = channels + VectorPad
					list, a := make([]uint32, lda), make([]T, images*lda)
					k := vec.NonZero(list, a, lda, x[p*channels:], wide*channels, channels, images)
					pixels = append(pixels, Group[T]{Rows: images, List: list[:k], A: a, LDA: lda})
				}
				ldc := windows*n + 3
				got := random[T](r, images*ldc)
				want := append([]T(nil), got...)
				row := ListedRow[T]{C: got, LDC: ldc, Images: images, Windows: windows}
				for v := range taps {
					row.Taps = append(row.Taps, Tap[T]{K: v * channels, First: 0, Last: windows, Pixels: pixels[v:], Step: step})
				}
				// The first window does not have the first tap, nor the last window the last one.
				row.Taps[0].First, row.Taps[0].Pixels = 1, pixels[step:]
				row.Taps[taps-1].Last = windows - 1
				var s Scratch[T]
				m.MulListed([]ListedRow[T]{row}, from, &s)
				for i := range images {
					for w := range windows {
						a := make([]T, taps*channels)
						for v := range taps {
							if (w > 0 || v > 0) && (w < windows-1 || v < taps-1) {
								copy(a[v*channels:][:channels], x[(i*wide+w*step+v)*channels:])
							}
						}
						c := want[i*ldc+w*n:][:n]
						copy(c, from)
						m.MulAdd(c, n, a, len(a), 1, 1, &s)
					}
				}
				for k := range got {
					if got[k] != want[k] { // 0 and -0 may differ
						t.Fatalf("%s: element %d is %v, want %v", fmt.Sprintf("%d images, %d columns, density %v", images, n, density), k, got[k], want[k])
					}
				}
			}
		}
	}
}
