package attack

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The draws are a contract, as those of RandomSigns: results of earlier versions, and the other
// backends', depend on them. The answers were computed from Philox4x32-10 blocks by a Python
// program that shares no code with this one.
func TestUniformDrawLayout(t *testing.T) {
	for _, c := range []struct {
		seed          uint64
		image         uint64
		restart, step int
		linf          [11]int // 2^23·d
		l2            [11]int32
		factor        float64
	}{
		{1 | 2<<32, 3, 0, 4,
			[11]int{7773551, 4118347, -5356817, 5751954, 6747972, -5266623, 611380, 7497105, 837390, 1382964, -5318922},
			[11]int32{109, 216, 15, 204, 124, -120, -58, 139, 1, -194, 77}, 0.0011099898168392436},
		{7, 5<<32 | 9, 513, 65535,
			[11]int{6755553, -3825595, -1171580, -2825541, -1147126, -6637211, -6784923, -3869763, -6885101, -7235601, -6519488},
			[11]int32{71, -183, -60, 112, -86, -29, -99, 80, -85, -99, -256}, 0.0012973219605869385},
	} {
		if c.image > math.MaxInt {
			continue // an int has 32 bits here
		}
		u := NewUniformDraw(c.seed, int(c.image), c.restart, c.step)
		for _, i := range []int{10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3} { // in any order
			if got, want := u.Linf(i), float64(c.linf[i])/(1<<23); got != want {
				t.Errorf("seed %d: pixel %d is %v, want %v", c.seed, i, got, want)
			}
		}
		var v [11]int32
		if got := u.L2(v[:]); v != c.l2 || got != c.factor {
			t.Errorf("seed %d: L2 %v by %v, want %v by %v", c.seed, v, got, c.l2, c.factor)
		}
	}
}

func TestRandomSignsRestart(t *testing.T) { // as TestRandomSignsLayout, restart 300
	d := make([]int8, 300)
	RandomSigns(d, 1|2<<32, 3, 300, 4)
	var got strings.Builder
	for _, v := range append(d[:40:40], d[120:140]...) {
		got.WriteByte("-.+"[v+1])
	}
	if want := "++--++-+-+-++-+-+++----+---+--+----++--+---+++--++-+-+---+-+"; got.String() != want {
		t.Errorf("signs %s, want %s", got.String(), want)
	}
}

// TestUniformDraw holds the draws to the moments of what they are drawn from, within 5 standard
// deviations of the sample's: a coordinate uniform in [-1, 1) has mean 0 and variance 1/3, v has
// mean 0 and variance 4·65535/12, and the radius is uniform in [0, 1).
func TestUniformDraw(t *testing.T) {
	const images, in = 500, 784
	var linf, square, v1, v2, radius, radius2, neighbours float64
	for image := range images {
		u := NewUniformDraw(1, image, 0, 0)
		last := 0.0
		for i := range in {
			d := u.Linf(i)
			if !(d >= -1 && d < 1) || float64(float32(d)) != d {
				t.Fatalf("image %d: pixel %d is %v, want a float32 in [-1, 1)", image, i, d)
			}
			linf, square, neighbours, last = linf+d, square+d*d, neighbours+d*last, d
		}
		v := make([]int32, in)
		f := u.L2(v)
		norm := 0.0
		for _, x := range v {
			v1, v2 = v1+float64(x), v2+float64(x)*float64(x)
			norm += float64(x) * float64(x) * f * f
		}
		if norm = math.Sqrt(norm); !(norm < 1+1e-12) {
			t.Fatalf("image %d: norm %v, want less than 1", image, norm)
		}
		radius, radius2 = radius+norm, radius2+norm*norm
	}
	for _, c := range []struct {
		name              string
		sum, n, mean, std float64
	}{
		{"Linf", linf, images * in, 0, math.Sqrt(1. / 3)},
		{"Linf²", square, images * in, 1. / 3, math.Sqrt(1./5 - 1./9)},
		{"neighbours", neighbours, images * in, 0, 1. / 3},
		{"v", v1, images * in, 0, math.Sqrt(21845)},
		// as of a normal distribution, whose tails are heavier
		{"v²", v2, images * in, 21845, math.Sqrt(2) * 21845},
		{"radius", radius, images, 0.5, math.Sqrt(1. / 12)},
		{"radius²", radius2, images, 1. / 3, math.Sqrt(1./5 - 1./9)},
	} {
		if got, tol := c.sum/c.n, 5*c.std/math.Sqrt(c.n); !(math.Abs(got-c.mean) <= tol) {
			t.Errorf("mean of %s is %v, want %v ± %.2g", c.name, got, c.mean, tol)
		}
	}
}

// Another seed, image, restart or step is another draw, and RandomSigns of the same key shares no
// block.
func TestUniformDrawKeys(t *testing.T) {
	draw := func(seed uint64, image, restart, step int) [8]float64 {
		var d [8]float64
		u := NewUniformDraw(seed, image, restart, step)
		for i := range d {
			d[i] = u.Linf(i)
		}
		return d
	}
	seen := map[[8]float64]string{}
	for _, k := range [][4]uint64{{1, 2, 3, 4}, {2, 2, 3, 4}, {1 + 1<<40, 2, 3, 4}, {1, 3, 3, 4}, {1, 2 + 1<<32, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5}, {1, 2, 0, 4}, {1, 2, 3, 0}} {
		if k[1] > math.MaxInt {
			continue // an int has 32 bits here
		}
		d := draw(k[0], int(k[1]), int(k[2]), int(k[3]))
		if other, ok := seen[d]; ok {
			t.Errorf("%v and %s have the same draw", k, other)
		}
		seen[d] = fmt.Sprint(k)
	}
	if d := cmp.Diff(draw(1, 2, 3, 4), draw(1, 2, 3, 4)); d != "" {
		t.Errorf("one key, two draws:\n%s", d)
	}
	signs := make([]int8, 128)
	RandomSigns(signs, 1, 2, 3, 4)
	u := NewUniformDraw(1, 2, 3, 4)
	same := 0
	for i, s := range signs { // bit i of the first four words
		if (u.Word(i/32)>>(i%32)&1 == 1) == (s < 0) {
			same++
		}
	}
	if same < 30 || same > 98 { // of 128 coins, 6 standard deviations
		t.Errorf("%d of 128 bits are those of RandomSigns", same)
	}
}
