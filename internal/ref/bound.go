package ref

import (
	"math"

	"advsweep/model"
)

// A Value is a number with a bound on how far another program's may lie from it.
type Value struct{ V, Err float64 }

// gamma is γ_n = n·u/(1 - n·u), Higham 2002, §3.1, of a sum of n products in any
// order, fused or not: each product and each sum rounds.
func gamma(n int, u float64) float64 {
	nu := 2 * float64(n+1) * u
	return nu / (1 - nu)
}

// Pixels bounds pixels that were rounded once in arithmetic of unit roundoff u.
func Pixels(x []float64, u float64) []Value {
	v := make([]Value, len(x))
	for i, p := range x {
		v[i] = Value{p, u * math.Abs(p)}
	}
	return v
}

// OnRay bounds pixels x = x0 + size·d of which a backend may compute the first layer as
// (W·x0 + b) + size·(W·d). The terms of those sums are larger than those of W·x by
// up to 2·|size·d|, and err by γ times that more: as if x itself erred so.
func OnRay(x, x0 []float64, u float64) []Value {
	v := Pixels(x, u)
	g := gamma(len(x)+2, u)
	for i := range v {
		v[i].Err += g * 2 * math.Abs(x[i]-x0[i])
	}
	return v
}

// BoundForward returns the logits of x with a bound on their error in arithmetic of unit
// roundoff u, from the running error of each layer:
//
//	|δz_o| ≤ γ_{n+1}·(|b_o| + Σ|w_oi|(|x_i| + δx_i)) + Σ|w_oi|·δx_i,
//
// and the inputs of each layer likewise.
func BoundForward(m *model.Model, x []Value, u float64) (logits []Value, inputs [][]Value) {
	v := x
	for _, l := range m.Layers {
		inputs = append(inputs, v)
		switch l := l.(type) {
		case model.Linear:
			w, b := Float64s(l.Weight), Float64s(l.Bias)
			g := gamma(len(v)+1, u)
			z := make([]Value, len(b))
			for o := range z {
				sum, abs, carried := b[o], math.Abs(b[o]), 0.0
				for i, x := range v {
					a := w[o*len(v)+i]
					sum += a * x.V
					abs += math.Abs(a) * (math.Abs(x.V) + x.Err)
					carried += math.Abs(a) * x.Err
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
func BoundInputGradient(m *model.Model, x []Value, y int, u float64) []Value {
	logits, inputs := BoundForward(m, x, u)
	z, worst := make([]float64, len(logits)), 0.0
	for j, v := range logits {
		z[j] = v.V
		worst = math.Max(worst, v.Err)
	}
	// exp(z_j - top)/Σ: logits off by at most worst scale a share by at most exp(±2·worst);
	// exp, sum and quotient round.
	relative := math.Expm1(2*worst) + gamma(len(z)+8, u)
	d := make([]Value, len(z))
	for j, q := range LossGradient(z, y) {
		d[j] = Value{q, math.Abs(q)*relative + math.SmallestNonzeroFloat32}
	}
	d[y].Err = 0
	for i := len(m.Layers) - 1; i >= 0; i-- {
		switch l := m.Layers[i].(type) {
		case model.Linear:
			w := Float64s(l.Weight)
			g := gamma(len(d), u)
			dx := make([]Value, len(inputs[i]))
			for k := range dx {
				sum, abs, carried := 0.0, 0.0, 0.0
				for o, d := range d {
					a := w[o*len(dx)+k]
					sum += a * d.V
					abs += math.Abs(a) * (math.Abs(d.V) + d.Err)
					carried += math.Abs(a) * d.Err
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
