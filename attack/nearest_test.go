package attack

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomPlane returns a point u [n] of the box, some of whose pixels are at its ends, and a slope w
// [n], which is 0 in some.
func randomPlane(r *rand.Rand, n int) (u, w []float64) {
	u, w = make([]float64, n), make([]float64, n)
	for i := range n {
		u[i], w[i] = r.Float64(), r.NormFloat64()
		switch r.IntN(6) {
		case 0:
			w[i] = 0
		case 1:
			u[i] = float64(r.IntN(2))
		}
	}
	return u, w
}

// TestToPlane holds the way to a plane within a box to what makes it the shortest: it reaches the
// plane, or the corner of the box that is nearest to it, and there is one λ with every pixel at
// min(λ·steep, room), steep 1 for L∞ and the slope for L2. λ is found by bisection here.
func TestToPlane(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	m := new(scratch) // one for all, so that what is left in it would show
	corners, walls := 0, 0
	for range 2000 {
		n := 1 + r.IntN(12)
		u, w := randomPlane(r, n)
		d := make([]float64, n)
		bounds := Bounds{Lo: 0, Hi: 1}
		if r.IntN(4) == 0 {
			bounds = Bounds{}
		}
		rise := r.NormFloat64() * 2
		if r.IntN(10) == 0 {
			rise = 0
		}
		for norm, steep := range []func(float64) float64{Linf: func(float64) float64 { return 1 }, L2: math.Abs} {
			g := norms[norm]
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
						s += math.Abs(v) * min(lambda*steep(v), room(i))
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
			g.toPlane(m, d, u, w, rise, bounds)
			got, sized := 0.0, 0.0
			for i, v := range w {
				want := 0.0
				if v != 0 && rise != 0 {
					want = math.Copysign(min(hi*steep(v), room(i)), v*rise)
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

// plainWay is inProportion by its definition: Newton's steps one pixel at a time, in the order of
// pixels, those without a slope left out.
func plainWay(d, u, w []float64, rise float64, bounds Bounds, bySlope bool) {
	clear(d)
	if rise == 0 {
		return
	}
	steep := func(i int) float64 {
		if bySlope {
			return math.Abs(w[i])
		}
		return 1
	}
	room := func(i int) float64 {
		switch {
		case bounds.None():
			return math.Inf(1)
		case (w[i] > 0) == (rise > 0):
			return max(bounds.Hi-u[i], 0)
		}
		return max(u[i]-bounds.Lo, 0)
	}
	lambda := 0.0
	for before := -1; ; {
		rate, have, full := 0.0, 0.0, 0
		for i := range w {
			switch {
			case w[i] == 0:
			case before >= 0 && float64(lambda*steep(i)) >= room(i):
				have += float64(math.Abs(w[i]) * room(i))
				full++
			default:
				rate += float64(math.Abs(w[i]) * steep(i))
			}
		}
		if full == before {
			break
		}
		if before = full; rate == 0 {
			lambda = math.Inf(1)
			break
		}
		lambda = max(lambda, (math.Abs(rise)-have)/rate)
	}
	for i := range w {
		if w[i] != 0 {
			d[i] = math.Copysign(min(float64(lambda*steep(i)), room(i)), w[i])
			if rise < 0 {
				d[i] = -d[i]
			}
		}
	}
}

// TestToPlaneBits holds toPlane to what it means, to the last bit: for L1 and L0 pixels are sorted
// here.
func TestToPlaneBits(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 1))
	m := new(scratch)
	for range 3000 {
		n := 1 + r.IntN(60)
		u, w := randomPlane(r, n)
		bounds, rise := Bounds{Lo: 0, Hi: 1}, r.NormFloat64()*math.Pow(10, float64(r.IntN(5)-2))
		switch r.IntN(8) {
		case 0:
			bounds = Bounds{}
		case 1:
			clear(w)
		case 2:
			for i := range w { // equal gains
				w[i], u[i] = math.Copysign(1, w[i]), float64(r.IntN(3))/2
			}
		case 3:
			rise = 0
		}
		got, want := make([]float64, n), make([]float64, n)
		for norm, g := range norms {
			switch Norm(norm) {
			case Linf, L2:
				plainWay(want, u, w, rise, bounds, Norm(norm) == L2)
			default:
				clear(want)
				order, h := []int{}, headingOf(rise, bounds)
				room := func(i int) float64 { return h.room(u[i], h.down(w[i])) }
				gain := func(i int) float64 {
					if Norm(norm) == L0 {
						return math.Abs(w[i]) * room(i)
					}
					return math.Abs(w[i])
				}
				for i := range w {
					if w[i] != 0 && room(i) > 0 && rise != 0 {
						order = append(order, i)
					}
				}
				slices.SortStableFunc(order, func(a, b int) int {
					return cmp.Or(cmp.Compare(gain(b), gain(a)), cmp.Compare(math.Abs(w[b]), math.Abs(w[a])))
				})
				rest := math.Abs(rise)
				for _, i := range order {
					far := min(rest/math.Abs(w[i]), room(i))
					want[i] = math.Copysign(far, w[i]*rise)
					if rest -= float64(far * math.Abs(w[i])); far < room(i) || rest <= 0 {
						break
					}
				}
			}
			g.toPlane(m, got, u, w, rise, bounds)
			for i := range got {
				if math.Float64bits(got[i]) != math.Float64bits(want[i]) {
					t.Fatalf("%v, bounds %v, rise %v, u %v, w %v: pixel %d goes %v, want %v", Norm(norm), bounds, rise, u, w, i, got[i], want[i])
				}
			}
		}
	}
}

// TestNorms holds the functions of each norm to what they say of each other on random numbers.
func TestNorms(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	m := new(scratch) // one for all, so that what is left in it would show
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
			g.shrink(m, v, to)
			want := min(before, to)
			if g.counts {
				want = min(before, math.Floor(to))
			}
			if n := g.length(v); !(math.Abs(n-want) <= 1e-12) {
				t.Fatalf("%v: length %v shrunk to %v becomes %v", Norm(norm), before, to, n)
			}
		}
	}
}

// TestSteepestFirst holds the ways to a plane in L1 and L0 to all ways that take some pixels to the
// bounds and one pixel on to the plane. One of these is the shortest, as linear programs end in
// corners. In L0 any pixels that can reach the plane together are enough.
func TestSteepestFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	m := new(scratch) // one for all, so that what is left in it would show
	corners := 0
	for range 2000 {
		n := 1 + r.IntN(7)
		u, w := randomPlane(r, n)
		d := make([]float64, n)
		bounds, rise := Bounds{Lo: 0, Hi: 1}, r.NormFloat64()*2
		room := func(i int) float64 {
			if w[i]*rise > 0 {
				return 1 - u[i]
			}
			return u[i]
		}
		far := 0.0
		for i := range w {
			far += math.Abs(w[i]) * room(i)
		}
		fewest, shortest := math.Inf(1), math.Inf(1)
		for full := range 1 << n {
			have, long, count := 0.0, 0.0, 0.0
			for i := range n {
				if full>>i&1 == 1 {
					have += math.Abs(w[i]) * room(i)
					long += room(i)
					count++
				}
			}
			if have >= math.Abs(rise) {
				fewest = min(fewest, count)
			}
			for i := range n {
				if rest := math.Abs(rise) - have; full>>i&1 == 0 && rest >= 0 && rest <= math.Abs(w[i])*room(i) && w[i] != 0 {
					shortest = min(shortest, long+rest/math.Abs(w[i]))
				}
			}
		}
		for _, norm := range []Norm{L1, L0} {
			norms[norm].toPlane(m, d, u, w, rise, bounds)
			got := 0.0
			for i, v := range d {
				if got += v * w[i]; !(u[i]+v >= -1e-15 && u[i]+v <= 1+1e-15) {
					t.Fatalf("%v: pixel %v", norm, u[i]+v)
				}
			}
			if far < math.Abs(rise) {
				if corners++; !(math.Abs(math.Abs(got)-far) <= 1e-12) {
					t.Fatalf("%v: rise %v at the corner, want %v", norm, got, far)
				}
				continue
			}
			if !(math.Abs(got-rise) <= 1e-12) {
				t.Fatalf("%v: rise %v, want %v", norm, got, rise)
			}
			want := shortest
			if norm == L0 {
				want = fewest
			}
			if n := norms[norm].length(d); !(math.Abs(n-want) <= 1e-12) {
				t.Fatalf("%v: u %v, w %v, rise %v: length %v, want %v", norm, u, w, rise, n, want)
			}
		}
	}
	if corners < 100 {
		t.Errorf("%d corners: the test says too little", corners)
	}
}

// TestIntoL1 holds the nearest point of an L1 ball in a box to the conditions that make it so: it
// lies in both, and there is one λ, found by bisection here, with every |v| at min(|v| - λ, room).
func TestIntoL1(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	m := new(scratch) // one for all, so that what is left in it would show
	inside, walls := 0, 0
	for range 3000 {
		n := 1 + r.IntN(20)
		v, x0 := make([]float64, n), make([]float64, n)
		for i := range n {
			v[i], x0[i] = r.NormFloat64(), r.Float64()
			switch r.IntN(6) {
			case 0:
				v[i] = 0
			case 1:
				x0[i] = float64(r.IntN(2))
			case 2:
				v[i] = 0.5
			}
		}
		bounds, to := Bounds{Lo: 0, Hi: 1}, r.Float64()*float64(n)/3
		if r.IntN(4) == 0 {
			bounds = Bounds{}
		}
		at := func(lambda float64) (all []float64, sum float64) {
			for i, x := range v {
				room := math.Inf(1)
				if x > 0 && !bounds.None() {
					room = 1 - x0[i]
				} else if !bounds.None() {
					room = x0[i]
				}
				far := min(max(math.Abs(x)-lambda, 0), room)
				all = append(all, math.Copysign(far, x))
				sum += far
			}
			return all, sum
		}
		lo, hi := 0.0, 10.0
		want, sum := at(0)
		if sum <= to {
			inside++
		} else {
			for range 200 {
				if mid := (lo + hi) / 2; func() float64 { _, s := at(mid); return s }() > to {
					lo = mid
				} else {
					hi = mid
				}
			}
			want, _ = at(hi)
		}
		got := append([]float64(nil), v...)
		intoL1(m, got, x0, to, bounds)
		for i := range got {
			if !(math.Abs(got[i]-want[i]) <= 1e-12) {
				t.Fatalf("v %v, x0 %v, to %v, %v: %v, want %v", v, x0, to, bounds, got, want)
			}
			if !bounds.None() && got[i] != 0 && (x0[i]+got[i] == 0 || x0[i]+got[i] == 1) {
				walls++
			}
		}
		if n := sumOfSizes(got); !(n <= to+1e-12) {
			t.Fatalf("length %v, want at most %v", n, to)
		}
	}
	if inside < 100 || walls < 1000 {
		t.Errorf("%d inside, %d pixels at the bounds: the test says too little", inside, walls)
	}
}

// TestKeepLargest holds it to sorting.
func TestKeepLargest(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	m := new(scratch) // one for all, so that what is left in it would show
	for range 2000 {
		v := make([]float64, 1+r.IntN(30))
		for i := range v {
			if v[i] = r.NormFloat64(); r.IntN(2) == 0 {
				v[i] = float64(r.IntN(5) - 2)
			}
		}
		n := r.IntN(len(v) + 2)
		order := make([]int, len(v))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(math.Abs(v[b]), math.Abs(v[a])) })
		want := slices.Clone(v)
		for _, i := range order[min(n, len(v)):] {
			want[i] = 0
		}
		got := slices.Clone(v)
		if keepLargest(m, got, n); !slices.Equal(got, want) {
			t.Fatalf("%d of %v: %v, want %v", n, v, got, want)
		}
	}
}
