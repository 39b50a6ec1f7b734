package attack

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestToPlane holds the way to a plane within a box to what makes it the shortest: it reaches the
// plane, or the corner of the box that is nearest to it, and there is one λ with every pixel at
// min(λ·steep, room). λ is found by bisection here.
func TestToPlane(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	corners, walls := 0, 0
	for range 2000 {
		n := 1 + r.IntN(12)
		u, w, d := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			u[i], w[i] = r.Float64(), r.NormFloat64()
			switch r.IntN(6) {
			case 0:
				w[i] = 0
			case 1:
				u[i] = float64(r.IntN(2))
			}
		}
		bounds := Bounds{Lo: 0, Hi: 1}
		if r.IntN(4) == 0 {
			bounds = Bounds{}
		}
		rise := r.NormFloat64() * 2
		if r.IntN(10) == 0 {
			rise = 0
		}
		for norm, g := range norms {
			room := func(i int) float64 {
				switch {
				case bounds.None():
					return math.Inf(1)
				case w[i]*rise > 0:
					return 1 - u[i]
				}
				return u[i]
			}
			sum := func(lambda float64) (s float64) {
				for i, v := range w {
					if v != 0 {
						s += math.Abs(v) * min(lambda*g.steep(v), room(i))
					}
				}
				return s
			}
			lo, hi := 0.0, 1e12
			for range 200 {
				if mid := lo + (hi-lo)/2; sum(mid) < math.Abs(rise) {
					lo = mid
				} else {
					hi = mid
				}
			}
			g.toPlane(d, u, w, rise, bounds)
			got, sized := 0.0, 0.0
			for i, v := range w {
				want := 0.0
				if v != 0 && rise != 0 {
					want = math.Copysign(min(hi*g.steep(v), room(i)), v*rise)
				}
				if math.IsInf(want, 0) || math.Abs(want) > 1e9 { // no pixel moves the plane
					t.Fatalf("%v: λ %v", Norm(norm), hi)
				}
				if !(math.Abs(d[i]-want) <= 1e-9) {
					t.Fatalf("%v, bounds %v, rise %v, u %v, w %v: way %v, want %v of pixel %d", Norm(norm), bounds, rise, u, w, d, want, i)
				}
				if x := u[i] + d[i]; !bounds.None() && !(x >= -1e-15 && x <= 1+1e-15) {
					t.Fatalf("%v: pixel %v of the box", Norm(norm), x)
				}
				if d[i] != 0 && math.Abs(d[i]) == room(i) {
					walls++
				}
				got += v * d[i]
				sized += math.Abs(v)
			}
			if sized == 0 {
				continue
			}
			if reach := sum(1e12); reach < math.Abs(rise) {
				corners++
				if !(math.Abs(math.Abs(got)-reach) <= 1e-9) {
					t.Fatalf("%v: rise %v at the corner, want %v", Norm(norm), got, reach)
				}
			} else if !(math.Abs(got-rise) <= 1e-9) {
				t.Fatalf("%v: rise %v, want %v", Norm(norm), got, rise)
			}
		}
	}
	if corners < 100 || walls < 1000 {
		t.Errorf("%d corners, %d pixels at the bounds: the test says too little", corners, walls)
	}
}

// TestNorms holds the functions of each norm to what they say of each other on random numbers.
func TestNorms(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	for norm, g := range norms {
		for range 200 {
			w, v := make([]float64, 7), make([]float64, 7)
			for i := range w {
				w[i], v[i] = r.NormFloat64(), r.NormFloat64()
			}
			w[r.IntN(7)] = 0
			along := append([]float64(nil), w...)
			g.steepest(along)
			rise := 0.0
			for i := range w {
				rise += w[i] * along[i]
			}
			if n := g.length(along); !(math.Abs(n-1) <= 1e-12) || !(math.Abs(rise-g.dual(w)) <= 1e-12*rise) {
				t.Fatalf("%v: the steepest way of %v has length %v and rises by %v, want 1 and %v", Norm(norm), w, n, rise, g.dual(w))
			}
			to := r.Float64() * 3
			before := g.length(v)
			g.shrink(v, to)
			if n := g.length(v); !(math.Abs(n-min(before, to)) <= 1e-12) {
				t.Fatalf("%v: length %v shrunk to %v becomes %v", Norm(norm), before, to, n)
			}
		}
	}
}
