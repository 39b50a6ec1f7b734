package ref

import (
	"math"

	"advsweep/model"
)

// A Value is a number with a bound on how far another program's may lie from it.
type Value struct{ V, Err float64 }

// A Rounding is how a backend's arithmetic errs: every sum and product by Unit at most, relative to itself, and
// in a matrix product each a·b by Product more, relative to |a·b|.
type Rounding struct{ Unit, Product float64 }

// The arithmetics that backends have. The reference's own roundoff is in Unit.
//
// Tensor cores as in "Numerical behavior of NVIDIA tensor cores" (Fasi, Higham, Mikaitis, Pranesh, 2021): products are exact, and
// the five addends of a block of four are cut to multiples of 2^-23 of the largest, by less than 5·2^-23·Σ|a·b| in all.
//   - TF32x3 has six such blocks for eight products before they are added in FP32: under 2^-18 with
//     the 2^-22 of the product that is left out and the 2^-23 of each factor's last bits.
//   - TF32 rounds factors to 11 bits, 2^-11 each, and cuts at every block of a sum: n/4 times 5 addends is less than
//     what γ_n counts with a unit of 2^-23.
var (
	Float64 = Rounding{Unit: 2 * 0x1p-53}
	Float32 = Rounding{Unit: 0x1p-24 + 0x1p-53}
	TF32x3  = Rounding{Unit: 0x1p-24 + 0x1p-53, Product: 0x1p-18}
	TF32    = Rounding{Unit: 0x1p-23, Product: 0x1p-10 + 0x1p-20}
)

// gamma bounds the relative error of a matrix product's element of n terms, against the sum of their sizes.
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

// BoundForward returns the logits of x with a bound on their error in arithmetic a, from the
// running error of each layer:
//
//	|δz_o| ≤ γ_{n+1}·(|b_o| + Σ|w_oi|(|x_i| + δx_i)) + Σ|w_oi|·δx_i,
//
// and the inputs of each layer likewise.
func BoundForward(m *model.Model, x []Value, a Rounding) (logits []Value, inputs [][]Value) {
	v := x
	for _, l := range m.Layers {
		inputs = append(inputs, v)
		switch l := l.(type) {
		case model.Linear:
			w, b := Float64s(l.Weight), Float64s(l.Bias)
			g := a.gamma(len(v) + 1)
			z := make([]Value, len(b))
			for o := range z {
				sum, abs, carried := b[o], math.Abs(b[o]), 0.0
				for i, x := range v {
					w := w[o*len(v)+i]
					sum += w * x.V
					abs += math.Abs(w) * (math.Abs(x.V) + x.Err)
					carried += math.Abs(w) * x.Err
				}
				z[o] = Value{sum, g*abs + carried}
			}
			v = z
		case model.ReLU:
			h := make([]Value, len(v))
			for i, z := range v {
				h[i] = Value{math.Max(z.V, 0), z.Err}
			}
			v = h
		}
	}
	return v, inputs
}

// BoundInputGradient returns InputGradient with a bound on its error, from the running
// error of each layer. A unit whose z may be on either side of 0 counts with
// all that it could carry.
func BoundInputGradient(m *model.Model, x []Value, y int, a Rounding) []Value {
	logits, inputs := BoundForward(m, x, a)
	z, worst := make([]float64, len(logits)), 0.0
	for j, v := range logits {
		z[j] = v.V
		worst = math.Max(worst, v.Err)
	}
	// exp(z_j - top)/Σ: logits off by at most worst scale a share by at most exp(±2·worst);
	// exp, sum and quotient round.
	relative := math.Expm1(2*worst) + gamma(len(z)+8, a.Unit)
	d := make([]Value, len(z))
	for j, q := range LossGradient(z, y) {
		d[j] = Value{q, math.Abs(q)*relative + math.SmallestNonzeroFloat32}
	}
	d[y].Err = 0
	return BoundBackward(m, inputs, d, a)
}

// BoundBackward is Backward with bounds on the error.
func BoundBackward(m *model.Model, inputs [][]Value, d []Value, a Rounding) []Value {
	for i := len(m.Layers) - 1; i >= 0; i-- {
		switch l := m.Layers[i].(type) {
		case model.Linear:
			w := Float64s(l.Weight)
			g := a.gamma(len(d))
			dx := make([]Value, len(inputs[i]))
			for k := range dx {
				sum, abs, carried := 0.0, 0.0, 0.0
				for o, d := range d {
					w := w[o*len(dx)+k]
					sum += w * d.V
					abs += math.Abs(w) * (math.Abs(d.V) + d.Err)
					carried += math.Abs(w) * d.Err
				}
				dx[k] = Value{sum, g*abs + carried}
			}
			d = dx
		case model.ReLU:
			for k, z := range inputs[i] {
				switch {
				case math.Abs(z.V) <= z.Err:
					if z.V > 0 {
						d[k].Err += math.Abs(d[k].V)
					} else {
						d[k] = Value{0, math.Abs(d[k].V) + d[k].Err}
					}
				case z.V <= 0:
					d[k] = Value{}
				}
			}
		}
	}
	return d
}
