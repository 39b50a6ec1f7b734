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

// The draws of Normals are a contract, as those of UniformDraw. The answers are those of a Python
// program, whose quantile is that of its standard library.
func TestNormalsLayout(t *testing.T) {
	for _, c := range []struct {
		seed, image uint64
		draw        uint32
		want        [6]float64
	}{
		{1 | 2<<32, 3, 4, [6]float64{-1.82205895103554, -1.5624075707120066, 0.7569341345384318, 0.8061379266063061, -2.5965707794096833, -2.241779598152304}},
		{7, 5<<32 | 9, 1<<32 - 1, [6]float64{0.31618149216404656, 0.1743080594697731, 0.303398462232377, -0.25286092910524693, 0.1825168593420034, 0.846052258602987}},
	} {
		if c.image > math.MaxInt {
			continue // an int has 32 bits here
		}
		var got [6]float64
		Normals(got[:], c.seed, int(c.image), c.draw)
		for i := range got {
			if !(math.Abs(got[i]-c.want[i]) <= 1e-14) {
				t.Errorf("seed %d: pixel %d is %v, want %v", c.seed, i, got[i], c.want[i])
			}
		}
	}
}

// TestNormals holds draws to the moments and quantiles of a standard normal number, within 5
// standard deviations of the sample's: over pixels and draws, from one pixel to the next, and from
// one draw to the next.
func TestNormals(t *testing.T) {
	const draws, in = 2000, 301
	var power [5]float64
	var beside, after float64
	var below [7]float64
	d, last := make([]float64, in), make([]float64, in)
	for draw := range draws {
		Normals(d, 1, 7, uint32(draw))
		for i, z := range d {
			for k, v := 1, z; k <= 4; k, v = k+1, v*z {
				power[k] += v
			}
			if i > 0 {
				beside += z * d[i-1]
			}
			after += z * last[i]
			for k := range below {
				if z < float64(k-3) {
					below[k]++
				}
			}
		}
		copy(last, d)
	}
	const n = draws * in
	check := func(name string, sum, mean, std float64) {
		t.Helper()
		if got, tol := sum/n, 5*std/math.Sqrt(n); !(math.Abs(got-mean) <= tol) {
			t.Errorf("mean of %s is %v, want %v ± %.2g", name, got, mean, tol)
		}
	}
	check("z", power[1], 0, 1)
	check("z²", power[2], 1, math.Sqrt(2))
	check("z³", power[3], 0, math.Sqrt(15))
	check("z⁴", power[4], 3, math.Sqrt(96))
	check("neighbours", beside, 0, 1)
	check("draws", after, 0, 1)
	for k, count := range below {
		p := math.Erfc(-float64(k-3)/math.Sqrt2) / 2
		check(fmt.Sprint("z < ", k-3), count, p, math.Sqrt(p*(1-p)))
	}
}

// Another seed, image or draw of Normals is another draw.
func TestNormalsKeys(t *testing.T) {
	seen := map[[4]float64]string{}
	for _, k := range [][3]uint64{{1, 2, 3}, {2, 2, 3}, {1 + 1<<40, 2, 3}, {1, 3, 3}, {1, 2, 4}} {
		var d [4]float64
		Normals(d[:], k[0], int(k[1]), uint32(k[2]))
		if other, ok := seen[d]; ok {
			t.Errorf("%v and %s have the same draw", k, other)
		}
		seen[d] = fmt.Sprint(k)
	}
}
