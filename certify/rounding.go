package certify

import "math"

// No rounding makes a bound too high. All that is carried is how far values lie from a reference
// point, so that errors are multiplied by radii and not by the values themselves.
//
// A value v of the network has a box: a center c and a radius r, both float64, with |v - c| <= r in
// exact arithmetic. A pass carries a form Σ A_i·(v_i - c_i), A in float32, and a number d in
// float64, and holds that
//
//	what is asked >= d - lost + Σ A_i·(v_i - c_i)
//
// for every image in the box. Its steps keep that so:
//
//   - An affine layer v = W·u + b has z, which is W·c_u + b but for at most slack. So v - c_v is
//     W·(u - c_u) + (z - c_v) but for slack. The product Aᵀ·W in float32, a chain of n fused
//     multiply-adds on weights that are rounded once, errs by at most γ_n·|A|ᵀ|W| in each element
//     (Higham 2002, section 3.1). It is multiplied by r_u, and |A|ᵀ·|W|·r_u is |A|ᵀ·reach, where
//     reach = |W|·r_u is the radius that intervals have anyway. So an elementwise bound costs no
//     product of its own.
//   - A function is between two lines of slopes in float32, which were chosen first. Their heights are
//     found after that, for these slopes, and moved outward by ulps. A slope times A in float32 errs
//     by a part in 2²⁴ of the result, times r.
//   - A sum of two forms in float32 errs by a part in 2²⁴ of the sum, times r.
//   - Numbers below the normal ones of float32 err by at most 2⁻¹⁴⁹ each: tiny·Σr covers these.
//   - d and lost are sums in float64. Of each the magnitudes of all terms are summed too, and at the
//     end n·2⁻⁵² of that is taken off, n being the number of terms.
//
// At the pixels Σ A_i·(x_i - c_i) >= -Σ |A_i|·r_i.
const (
	unit32 = 1.0 / (1 << 24)
	unit64 = 1.0 / (1 << 53)
	tiny32 = 0x1p-149
)

// gamma32 bounds the relative error of n roundings to float32, see gamma of Higham 2002, section
// 3.1. It is +Inf where there is no such bound.
func gamma32(n int) float64 {
	if x := float64(float64(n) * unit32); x < 0.5 {
		return up(x / (1 - x))
	}
	return math.Inf(1)
}

// gamma64 is gamma32 of float64.
func gamma64(n int) float64 {
	x := float64(float64(n) * unit64)
	return up(x / (1 - x))
}

// up returns a number that is not below the exact result of a few operations, none of which
// cancelled, whose rounded result is x >= 0.
func up(x float64) float64 { return float64(x * (1 + 16*unit64)) }

// below and above return the next numbers.
func below(x float64) float64 { return math.Nextafter(x, math.Inf(-1)) }
func above(x float64) float64 { return math.Nextafter(x, math.Inf(1)) }

// A box is what is known of the numbers of a value: lo <= v <= hi and |v - c| <= r.
type box struct {
	lo, hi []float64
	c, r   []float64
}

func newBox(n int) box {
	all := make([]float64, 4*n)
	return box{all[:n:n], all[n : 2*n : 2*n], all[2*n : 3*n : 3*n], all[3*n:]}
}

// set makes number i lie from lo to hi.
func (b *box) set(i int, lo, hi float64) {
	if lo == hi {
		b.lo[i], b.hi[i], b.c[i], b.r[i] = lo, hi, lo, 0
		return
	}
	c := lo + float64(0.5*(hi-lo))
	b.lo[i], b.hi[i], b.c[i], b.r[i] = lo, hi, c, above(max(hi-c, c-lo))
}

// around makes number i lie within r of c.
func (b *box) around(i int, c, r float64) {
	b.c[i], b.r[i] = c, r
	if r == 0 {
		b.lo[i], b.hi[i] = c, c
		return
	}
	b.lo[i], b.hi[i] = below(c-r), above(c+r)
}

// finite reports whether all numbers have bounds.
func (b *box) finite() bool {
	for i, r := range b.r {
		if c := b.c[i]; r-r != 0 || c-c != 0 {
			return false
		}
	}
	return true
}

// copyFrom makes number i that of another box.
func (b *box) copyFrom(i int, from *box, j int) {
	b.lo[i], b.hi[i], b.c[i], b.r[i] = from.lo[j], from.hi[j], from.c[j], from.r[j]
}
