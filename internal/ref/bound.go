package ref

import (
	"math"

	"advsweep/model"
)

// A Value is a number V, and a bound Err on how far from it another program's number may lie.
type Value struct{ V, Err float64 }

// A Rounding is how a backend's arithmetic errs. Every sum and product errs by at most Unit,
// relative to itself. In a matrix product each a·b errs by Product more, relative to |a·b|. A
// convolution by tiles errs Tiles times as much as such a product, if Tiles is not 0.
type Rounding struct{ Unit, Product, Tiles float64 }

// The arithmetics that backends have. The reference's own roundoff is in Unit.
//
// Tensor cores compute as in "Numerical behavior of NVIDIA tensor cores" (Fasi, Higham, Mikaitis,
// Pranesh, 2021). Products are exact. The five addends of a block of four are cut to multiples of
// 2^-23 of the largest, which errs by less than 5·2^-23·Σ|a·b| in all.
//   - TF32x3 has six such blocks for eight products before they are added in FP32. With the 2^-22
//     of the product that is left out and the 2^-23 of each factor's last bits, that is under
//     2^-18.
//   - TF32 rounds factors to 11 bits, 2^-11 each, and cuts at every block of a sum. n/4 times 5
//     addends are less than what γ_n counts with a unit of 2^-23.
//
// A CPU in fast math has convolutions by Winograd's F(4×4, 3×3). A transform makes of a term terms
// of at most 9.9 times its size along each dimension: the rows of |A|·diag(|G|·1)·|B|·1, divided by
// 3 as a filter has three weights. A sum of C channels rounds each of these C+26 times. That is
// 97·(C+26)·u, where γ of 9·C terms is 18·C·u at least: 15 times as much at 16 channels, and less
// at more. It takes for granted that the pixels of a tile are as large as those of a window, in the
// mean.
var (
	Float64 = Rounding{Unit: 2 * 0x1p-53}
	Float32 = Rounding{Unit: 0x1p-24 + 0x1p-53}
	TF32x3  = Rounding{Unit: 0x1p-24 + 0x1p-53, Product: 0x1p-18}
	TF32    = Rounding{Unit: 0x1p-23, Product: 0x1p-10 + 0x1p-20}
	Fast64  = Rounding{Unit: 2 * 0x1p-53, Tiles: 16}
	Fast32  = Rounding{Unit: 0x1p-24 + 0x1p-53, Tiles: 16}
)

// gamma bounds the error of an element of a matrix product, a sum of n terms, relative to the sum
// of the sizes of the terms.
func (r Rounding) gamma(n int) float64 { return gamma(n, r.Unit) + r.Product }

// gamma is γ_n = n·u/(1 - n·u), Higham 2002, §3.1, of a sum of n products in any
// order, fused or not: each product and each sum rounds.
func gamma(n int, u float64) float64 {
	nu := 2 * float64(n+1) * u
	return nu / (1 - nu)
}

// Pixels bounds pixels that were rounded once.
func Pixels(x []float64, a Rounding) []Value {
	v := make([]Value, len(x))
	for i, p := range x {
		v[i] = Value{p, a.Unit * math.Abs(p)}
	}
	return v
}

// OnRay bounds pixels x = x0 + size·d of which a backend may compute the first layer as
// (W·x0 + b) + size·(W·d). The terms of those sums are larger than those of W·x by
// up to 2·|size·d|, and err by γ times that more: as if x itself erred so.
func OnRay(x, x0 []float64, a Rounding) []Value {
	v := Pixels(x, a)
	g := a.gamma(len(x) + 2)
	for i := range v {
		v[i].Err += g * 2 * math.Abs(x[i]-x0[i])
	}
	return v
}

// BoundForward is Forward with bounds on the error in arithmetic a. They come from the running
// error of each layer. That of an affine layer of n terms is
//
//	|δz_o| ≤ γ_{n+1}·(|b_o| + Σ|w_oi|(|x_i| + δx_i)) + Σ|w_oi|·δx_i.
func BoundForward(m *model.Model, x []Value, a Rounding) (logits []Value, values [][]Value) {
	values = [][]Value{x}
	for i, l := range layers(m) {
		var in [][]Value
		for _, j := range m.Takes(i) {
			in = append(in, values[j+1])
		}
		values = append(values, l.boundForward(in, a))
	}
	return values[len(values)-1], values
}

// BoundInputGradient returns InputGradient with a bound on its error. Where it is not known
// whether z of a ReLU is above 0, or which element of a window is the largest, the bound counts
// all that could pass there.
func BoundInputGradient(m *model.Model, x []Value, y int, a Rounding) []Value {
	logits, values := BoundForward(m, x, a)
	z, worst := make([]float64, len(logits)), 0.0
	for j, v := range logits {
		z[j] = v.V
		worst = math.Max(worst, v.Err)
	}
	// exp(z_j - top)/Σ: logits off by at most worst scale a share by at most exp(±2·worst);
	// exp, sum and quotient round.
	relative := math.Expm1(2*worst) + gamma(len(z)+8, a.Unit)
	if len(z) == 2 {
		// one class is left, whose share is 1 whatever its logit is
		relative = gamma(len(z)+8, a.Unit)
	}
	d := make([]Value, len(z))
	for j, q := range LossGradient(z, y) {
		// Two shares are at most 1 apart, but for rounding. relative may be infinite.
		far := math.Abs(q) * relative
		if most := 1 + gamma(len(z)+8, a.Unit); !(far < most) {
			far = most
		}
		d[j] = Value{q, far + math.SmallestNonzeroFloat32}
	}
	d[y].Err = 0
	return BoundBackward(m, values, d, a)
}

// BoundBackward is Backward with bounds on the error.
func BoundBackward(m *model.Model, values [][]Value, d []Value, a Rounding) []Value {
	grads := make([][]Value, len(values))
	grads[len(values)-1] = d
	all := layers(m)
	for i := len(all) - 1; i >= 0; i-- {
		if grads[i+1] == nil { // no logit depends on this layer
			continue
		}
		var in [][]Value
		for _, j := range m.Takes(i) {
			in = append(in, values[j+1])
		}
		for arg, j := range m.Takes(i) {
			share := all[i].boundBackward(grads[i+1], in, arg, a)
			for k, g := range grads[j+1] { // taken more than once
				share[k].V += g.V
				share[k].Err += g.Err
				share[k].Err += gamma(len(all), a.Unit) * (math.Abs(share[k].V-g.V) + math.Abs(g.V) + share[k].Err)
			}
			grads[j+1] = share
		}
	}
	if grads[0] == nil {
		grads[0] = make([]Value, len(values[0]))
	}
	return grads[0]
}

// gamma is that of a matrix product, or of a sum elsewhere.
func (l affine) gamma(n int, a Rounding) float64 {
	if l.tiles {
		return a.gamma(n) * max(1, a.Tiles)
	}
	if l.product {
		return a.gamma(n)
	}
	return gamma(n, a.Unit)
}

func (l affine) boundForward(in [][]Value, a Rounding) []Value {
	z := make([]Value, len(l.bias))
	for o := range z {
		sum, abs, carried, n := l.bias[o], math.Abs(l.bias[o]), 0.0, 0
		l.row(o, func(i int, w float64) {
			for _, x := range in {
				sum += w * x[i].V
				abs += math.Abs(w) * (math.Abs(x[i].V) + x[i].Err)
				carried += math.Abs(w) * x[i].Err
				n++
			}
		})
		z[o] = Value{sum, l.gamma(n+1, a)*abs + carried}
	}
	return z
}

func (l affine) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	x := in[arg]
	dx, abs, n := make([]Value, len(x)), make([]float64, len(x)), make([]int, len(x))
	for o, d := range d {
		l.row(o, func(i int, w float64) {
			dx[i].V += w * d.V
			dx[i].Err += math.Abs(w) * d.Err
			abs[i] += math.Abs(w) * (math.Abs(d.V) + d.Err)
			n[i]++
		})
	}
	for i := range dx {
		dx[i].Err += l.gamma(n[i], a) * abs[i]
	}
	return dx
}

func (l maxPool) boundForward(in [][]Value, _ Rounding) []Value {
	z := make([]Value, len(l.windows))
	for o, w := range l.windows {
		v, low, high := math.Inf(-1), math.Inf(-1), math.Inf(-1)
		for _, i := range w {
			x := in[0][i]
			v, low, high = max(v, x.V), max(low, x.V-x.Err), max(high, x.V+x.Err)
		}
		z[o] = Value{v, max(high-v, v-low)}
	}
	return z
}

func (l maxPool) boundBackward(d []Value, in [][]Value, arg int, a Rounding) []Value {
	x := in[arg]
	dx, v := make([]Value, len(x)), make([]float64, len(x))
	abs, n := make([]float64, len(x)), make([]int, len(x))
	for i, x := range x {
		v[i] = x.V
	}
	for o, w := range l.windows {
		best := first(w, v)
		low := math.Inf(-1)
		for _, i := range w {
			low = max(low, x[i].V-x[i].Err)
		}
		sure := true
		for _, i := range w {
			// Of equal numbers that are exact, such as the zeros of a ReLU, the first counts.
			if i != best && x[i].V+x[i].Err >= low && !(x[i].Err == 0 && x[best].Err == 0) {
				sure = false
				dx[i].Err += math.Abs(d[o].V) + d[o].Err
				abs[i] += math.Abs(d[o].V) + d[o].Err
				n[i]++
			}
		}
		abs[best] += math.Abs(d[o].V) + d[o].Err
		n[best]++
		dx[best].V += d[o].V
		dx[best].Err += d[o].Err
		if !sure {
			dx[best].Err += math.Abs(d[o].V)
		}
	}
	for i, n := range n {
		if n > 1 { // windows overlap: a sum, which rounds
			dx[i].Err += gamma(n, a.Unit) * abs[i]
		}
	}
	return dx
}
