package formats

import (
	"encoding/binary"
	"math"
	"testing"
)

// A number that is not finite is found at every place of slices that are no multiple of anything,
// and the largest finite ones are not taken for one.
func TestNotFinite(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testNotFinite[float32](t, math.MaxFloat32, math.SmallestNonzeroFloat32) })
	t.Run("float64", func(t *testing.T) { testNotFinite[float64](t, math.MaxFloat64, math.SmallestNonzeroFloat64) })
}

func testNotFinite[T float32 | float64](t *testing.T, largest, least T) {
	for n := range 35 {
		data := make([]T, n)
		for i := range data {
			data[i] = []T{largest, -largest, least, 0, -1}[i%5]
		}
		if got := NotFinite(data); got != -1 {
			t.Fatalf("of %v: %d, want -1", data, got)
		}
		for i := range data {
			for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				was := data[i]
				data[i] = T(bad)
				if got := NotFinite(data); got != i {
					t.Errorf("%v at %d of %d: %d", bad, i, n, got)
				}
				data[n-1] = T(math.NaN()) // the first one counts
				if got := NotFinite(data); got != i {
					t.Errorf("%v at %d of %d, and one at the end: %d", bad, i, n, got)
				}
				data[n-1] = []T{largest, -largest, least, 0, -1}[(n-1)%5]
				data[i] = was
			}
		}
	}
}

func TestBytes(t *testing.T) {
	data := []float64{1, -2.5}
	b := Bytes(data)
	for i, v := range data {
		if got := math.Float64frombits(binary.NativeEndian.Uint64(b[8*i:])); got != v {
			t.Errorf("number %d is %v, want %v", i, got, v)
		}
	}
	if b := Bytes([]float32{1, 2, 3}); len(b) != 12 {
		t.Errorf("%d bytes of three float32, want 12", len(b))
	}
	if b := Bytes[float32](nil); len(b) != 0 {
		t.Errorf("%d bytes of nothing", len(b))
	}
}
