package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// awkward makes n numbers, many of which are zero, infinite or NaN.
func awkward[T Float](r *rand.Rand, n int) []T {
	d := random[T](r, n)
	for i := range d {
		switch r.IntN(12) {
		case 0:
			d[i] = T(math.NaN())
		case 1:
			d[i] = T(math.Inf(1 - 2*r.IntN(2)))
		case 2, 3, 4:
			d[i] = 0
		case 5:
			d[i] = T(math.Copysign(0, -1))
		}
	}
	return d
}

// same reports whether a == b, or both are NaN.
func same[T Float](a, b T) bool { return a == b || a != a && b != b }

func equal[T Float](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i, w := range want {
		if !same(got[i], w) {
			t.Fatalf("%s: [%d] = %v, want %v", what, i, got[i], w)
		}
	}
}

// product and sum keep the compiler from fusing.
//
//go:noinline
func product[T Float](a, b T) T { return a * b }

//go:noinline
func sum[T Float](a, b T) T { return a + b }

// eachVector calls f for every path, and for sizes that fill whole vectors or do not.
func eachVector[T Float](t *testing.T, f func(t *testing.T, x Vector[T], r *rand.Rand, n int)) {
	for _, path := range Paths() {
		t.Run(fmt.Sprintf("%s/%T", path, T(0)), func(t *testing.T) {
			x := NewVector[T](path)
			r := rand.New(rand.NewPCG(11, 12))
			for n := range 71 {
				f(t, x, r, n)
			}
			f(t, x, r, 1021)
		})
	}
}

func TestLists(t *testing.T) {
	eachVector(t, testLists[float32])
	eachVector(t, testLists[float64])
}

func testLists[T Float](t *testing.T, x Vector[T], r *rand.Rand, n int) {
	for _, rows := range []int{1, 2, GroupRows} {
		ld, lda := n+r.IntN(3), n+VectorPad+r.IntN(3)
		v, m, z0 := awkward[T](r, rows*ld), awkward[T](r, rows*ld), awkward[T](r, n)
		list, a := make([]uint32, n+VectorPad), make([]T, rows*lda)
		// check compares with the definition: the value of (row, column), and whether it lists the
		// column.
		check := func(name string, count int, value func(r, i int) (T, bool)) {
			t.Helper()
			want := 0
			for i := range n {
				any := false
				for r := range rows {
					_, own := value(r, i)
					any = any || own
				}
				if !any {
					continue
				}
				if want >= count || list[want] != uint32(i) {
					t.Fatalf("%s n=%d rows=%d: %v, want %d at %d", name, n, rows, list[:count], i, want)
				}
				for r := range rows {
					if w, _ := value(r, i); !same(a[r*lda+want], w) {
						t.Fatalf("%s n=%d rows=%d: a[%d,%d] = %v, want %v", name, n, rows, r, want, a[r*lda+want], w)
					}
				}
				want++
			}
			if count != want {
				t.Fatalf("%s n=%d rows=%d: %d columns, want %d", name, n, rows, count, want)
			}
		}
		positive := func(v, m []T) func(r, i int) (T, bool) {
			return func(r, i int) (T, bool) {
				if m[r*ld+i] <= 0 {
					return 0, false
				}
				return v[r*ld+i], true
			}
		}
		check("Positive", x.Positive(list, a, lda, v, m, ld, n, rows), positive(v, m))
		check("Positive of itself", x.Positive(list, a, lda, v, v, ld, n, rows), positive(v, v))
		check("NonZero", x.NonZero(list, a, lda, v, ld, n, rows), func(r, i int) (T, bool) {
			return v[r*ld+i], v[r*ld+i] != 0
		})
		check("Flipped", x.Flipped(list, a, lda, v, z0, ld, n, rows), func(r, i int) (T, bool) {
			z := v[r*ld+i]
			if (z > 0) == (z0[i] > 0) {
				return 0, false
			}
			return T(math.Abs(float64(z))), true
		})
	}
}

func TestElementwise(t *testing.T) {
	eachVector(t, testElementwise[float32])
	eachVector(t, testElementwise[float64])
}

func testElementwise[T Float](t *testing.T, x Vector[T], r *rand.Rand, n int) {
	a, c, s := awkward[T](r, n+3), awkward[T](r, n+3), random[T](r, 1)[0]
	dst, want := random[T](r, n+3), make([]T, n)
	copy(want, dst)
	want = append(want, dst[n:]...) // which must stay
	for i := range n {
		want[i] = sum(a[i], product(s, c[i]))
	}
	x.Line(dst[:n], a, s, c)
	equal(t, fmt.Sprintf("Line n=%d", n), dst, want)
	dst = append([]T(nil), a...)
	x.Line(dst[:n], dst, s, c)
	equal(t, fmt.Sprintf("Line n=%d dst=a", n), dst[:n], want[:n])
	dst = append([]T(nil), c...)
	x.Line(dst[:n], a, s, dst)
	equal(t, fmt.Sprintf("Line n=%d dst=c", n), dst[:n], want[:n])

	for i := range want {
		want[i] = a[i]
		if i < n {
			want[i] += c[i]
		}
	}
	dst = append(make([]T, n), a[n:]...)
	x.Plus(dst[:n], a, c)
	equal(t, fmt.Sprintf("Plus n=%d", n), dst, want)
	dst = append([]T(nil), a...)
	x.Add(dst[:n], c)
	equal(t, fmt.Sprintf("Add n=%d", n), dst, want)
}

func TestGate(t *testing.T) {
	eachVector(t, testGate[float32])
	eachVector(t, testGate[float64])
}

func testGate[T Float](t *testing.T, x Vector[T], r *rand.Rand, n int) {
	d, m := awkward[T](r, n+2), awkward[T](r, n+2)
	want := append([]T(nil), d...)
	for i := range n {
		if m[i] <= 0 {
			want[i] = 0
		}
	}
	to := append(make([]T, n), d[n:]...)
	x.Gated(to[:n], d, m)
	equal(t, fmt.Sprintf("Gated n=%d", n), to, want)
	x.Gate(d[:n], m)
	equal(t, fmt.Sprintf("Gate n=%d", n), d, want)
	x.Gate(m[:n], m)
	for i, v := range m[:n] {
		if v <= 0 && v != 0 {
			t.Fatalf("Gate n=%d of itself: [%d] = %v", n, i, v)
		}
	}
}

func TestMove(t *testing.T) {
	eachVector(t, testMove[float32])
	eachVector(t, testMove[float64])
}

func testMove[T Float](t *testing.T, vec Vector[T], r *rand.Rand, n int) {
	inf := T(math.Inf(1))
	for _, c := range []struct {
		name    string
		numbers func(*rand.Rand, int) []T
		bounds  [3]T // eps, lo, hi
	}{
		{"free", random[T], [3]T{inf, -inf, inf}},
		{"box", random[T], [3]T{.3, -.5, .6}},
		{"zero gradient", func(_ *rand.Rand, n int) []T { return make([]T, n) }, [3]T{.3, -.5, .6}},
		{"awkward", awkward[T], [3]T{.3, -.5, .6}},
	} {
		const size = .25
		eps, lo, hi := c.bounds[0], c.bounds[1], c.bounds[2]
		// All numbers but x0 may be awkward. With an awkward x0 the formula would have no one
		// result.
		xs, v, diff, g, x0 := c.numbers(r, n), c.numbers(r, n), random[T](r, n), c.numbers(r, n), random[T](r, n)
		zero, finite := true, true
		wx, wv, wd := make([]T, n), make([]T, n), make([]T, n)
		for i, x := range xs {
			var s T
			if g[i] > 0 {
				s = 1
			} else if g[i] < 0 {
				s = -1
			}
			zero = zero && s == 0
			finite = finite && !math.IsInf(float64(g[i]), 0) && !math.IsNaN(float64(g[i]))
			y := sum(x, size*s)
			wx[i] = min(max(y, x0[i]-eps, lo), x0[i]+eps, hi)
			wv[i] = wx[i] - x
			if wx[i] == y {
				wv[i] = size * s
			}
			wd[i] = wv[i] - v[i]
		}
		what := fmt.Sprintf("Move n=%d %s", n, c.name)
		into := diff
		if n%2 == 0 {
			into = g
		}
		gotZero, gotFinite := vec.Move(xs, v, into, g, x0, size, eps, lo, hi)
		equal(t, what+" x", xs, wx)
		equal(t, what+" v", v, wv)
		equal(t, what+" diff", into, wd)
		if gotZero != zero || gotFinite != finite {
			t.Fatalf("%s: zero %v finite %v, want %v %v", what, gotZero, gotFinite, zero, finite)
		}
	}
}

// TestKinked compares Kinked with the plain formula, whose three operations round alike everywhere.
func TestKinked(t *testing.T) {
	eachVector(t, testKinked[float32])
	eachVector(t, testKinked[float64])
}

func testKinked[T Float](t *testing.T, x Vector[T], r *rand.Rand, n int) {
	z0, z1 := awkward[T](r, n), awkward[T](r, n)
	list, p := make([]uint32, n+VectorPad), make([]T, n+VectorPad)
	got := x.Kinked(list, p, z0, z1)
	at := 0
	for k, a := range z0 {
		b := z1[k]
		if !(a*b < 0) {
			continue
		}
		want := -(a * b) / max(a-b, b-a)
		if at == got || list[at] != uint32(k) || p[at] != want && p[at] == p[at] || p[at] != p[at] && want == want {
			t.Fatalf("n=%d: entry %d of %d is %d %v, want %d %v", n, at, got, list[at], p[at], k, want)
		}
		at++
	}
	if at != got {
		t.Fatalf("n=%d: %d entries, want %d", n, got, at)
	}
}

func TestDifferences(t *testing.T) {
	t.Run("float32", testDifferences[float32])
	t.Run("float64", testDifferences[float64])
}

func testDifferences[T Float](t *testing.T) {
	eachVector(t, func(t *testing.T, x Vector[T], r *rand.Rand, n int) {
		for _, numbers := range []func(*rand.Rand, int) []T{random[T], awkward[T]} {
			v, v0 := numbers(r, n), random[T](r, n)
			for k := range v {
				if r.IntN(3) == 0 {
					v[k] = v0[k]
				}
			}
			var want [32]float64
			top, differ := 0.0, 0
			for k := range v {
				d := float64(v[k]) - float64(v0[k])
				want[k%32] = sum(want[k%32], product(d, d))
				top = max(top, math.Abs(d))
				if v[k] != v0[k] {
					differ++
				}
			}
			got, gotTop, gotDiffer := x.Differences(v, v0)
			equal(t, fmt.Sprintf("n=%d: sums", n), got[:], want[:])
			if !same(gotTop, top) || gotDiffer != differ {
				t.Fatalf("n=%d: largest %v and %d differ, want %v and %d", n, gotTop, gotDiffer, top, differ)
			}
		}
	})
}

func TestExpand(t *testing.T) {
	t.Run("float32", testExpand[float32])
	t.Run("float64", testExpand[float64])
}

func testExpand[T Float](t *testing.T) {
	eachVector(t, func(t *testing.T, x Vector[T], r *rand.Rand, n int) {
		for _, density := range []float64{0, 0.1, 0.5, 1} {
			var list []uint32
			for k := range n {
				if r.Float64() < density {
					list = append(list, uint32(k))
				}
			}
			src, dst := random[T](r, len(list)), make([]T, n+16)
			masks := x.Masks(make([]uint16, n), list, n)
			padded := n
			if x.expand != nil {
				padded = len(masks) * 64 / int(unsafe.Sizeof(T(0)))
			}
			x.Expand(dst[:padded:padded], src, masks)
			for k, c := range list {
				if dst[c] != src[k] {
					t.Fatalf("n=%d, %d columns: column %d is %v, want %v", n, len(list), c, dst[c], src[k])
				}
			}
		}
	})
}

func TestLevels(t *testing.T) {
	t.Run("float32", testLevels[float32])
	t.Run("float64", testLevels[float64])
}

func testLevels[T Float](t *testing.T) {
	eachVector(t, func(t *testing.T, x Vector[T], r *rand.Rand, n int) {
		for _, eps := range []float64{0, 1 / 255., 2.0 / 510, 0.1, 0.5, 3} {
			v, v0, got, want := make([]T, n), make([]T, n), make([]T, n), make([]T, n)
			for k := range v {
				v0[k] = T(r.Float64())
				if r.IntN(2) == 0 {
					v0[k] = T(r.IntN(256)) / 255
				}
				v[k] = v0[k] + T(eps)*T(r.IntN(3)-1)
				switch r.IntN(6) {
				case 0:
					v[k] = T((float64(r.IntN(256)) + 0.5) / 255)
				case 1:
					v[k] = T(2*r.Float64() - 0.5)
				case 2:
					v[k] = -T(r.Float64() / 1000) // rounds to a zero with a sign
				case 3:
					v0[k] = v0[k] - 1 // no level may lie in the ball
				case 4:
					v[k] = T(math.Inf(1 - 2*r.IntN(2)))
				}
			}
			levelsGo(want, v, v0, eps, 1e-4)
			x.Levels(got, v, v0, eps, 1e-4)
			for k := range got {
				if math.Float64bits(float64(got[k])) != math.Float64bits(float64(want[k])) {
					t.Fatalf("n=%d, eps %v: %v, from %v, becomes %v, want %v", n, eps, v[k], v0[k], got[k], want[k])
				}
			}
		}
	})
}

func BenchmarkVector(b *testing.B) {
	const n, ld = 1024, 1024 + VectorPad // rows a power of two apart would share sets of the cache
	r := rand.New(rand.NewPCG(1, 2))
	z, z0, y, w := random[float32](r, GroupRows*ld), random[float32](r, n), random[float32](r, n), random[float32](r, n)
	v, list, a := make([]float32, n), make([]uint32, ld), make([]float32, GroupRows*ld)
	inf := float32(math.Inf(1))
	for _, path := range Paths() {
		x := NewVector[float32](path)
		for _, c := range []struct {
			name string
			run  func()
		}{
			{"Positive5", func() { x.Positive(list, a, ld, z, z, ld, n, GroupRows) }},
			{"Positive2", func() { x.Positive(list, a, ld, z, z, ld, n, 2) }},
			{"Positive1", func() { x.Positive(list, a, ld, z, z, ld, n, 1) }},
			{"NonZero5", func() { x.NonZero(list, a, ld, z, ld, n, GroupRows) }},
			{"Flipped5", func() { x.Flipped(list, a, ld, z, z0, ld, n, GroupRows) }},
			{"Line", func() { x.Line(v, z0, .5, y) }},
			{"Add", func() { clear(v); x.Add(v, y) }},
			{"Move", func() { x.Move(y, v, w, z0, z[:n], 0, inf, -inf, inf) }},
			{"Differences", func() { x.Differences(z0, y) }},
			{"Levels", func() { x.Levels(v, z0, y, 0.1, 1e-4) }},
			{"Kinked", func() { x.Kinked(list, a, z[:n], z0) }},
		} {
			b.Run(fmt.Sprintf("path=%s/%s", path, c.name), func(b *testing.B) {
				for b.Loop() {
					c.run()
				}
			})
		}
	}
}
