// Package ref is the truth that backends are tested against: the operations of an
// attack in float64, as plain loops over one image, in the order of their
// formulas. It shares no code with any backend and is itself checked against
// central differences.
package ref

import (
	"math"

	"advsweep/attack"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// AffineForward returns z [O] = W·x + b for W [O, I] row-major.
func AffineForward(x, w, b []float64) []float64 {
	z := make([]float64, len(b))
	for o := range z {
		z[o] = b[o]
		for i, v := range x {
			z[o] += w[o*len(x)+i] * v
		}
	}
	return z
}

// AffineBackward returns dx [I] = Wᵀ·dz for W [O, I] row-major.
func AffineBackward(dz, w []float64) []float64 {
	dx := make([]float64, len(w)/len(dz))
	for o, d := range dz {
		for i := range dx {
			dx[i] += w[o*len(dx)+i] * d
		}
	}
	return dx
}

// ReLUForward returns max(z, 0).
func ReLUForward(z []float64) []float64 {
	h := make([]float64, len(z))
	for i, v := range z {
		if v > 0 {
			h[i] = v
		}
	}
	return h
}

// ReLUBackward returns dz where z > 0 and 0 elsewhere, for dh = dz above.
func ReLUBackward(dh, z []float64) []float64 {
	dz := make([]float64, len(z))
	for i, v := range z {
		if v > 0 {
			dz[i] = dh[i]
		}
	}
	return dz
}

// Softmax returns exp(z_j) / Σ_k exp(z_k).
func Softmax(z []float64) []float64 {
	top := math.Inf(-1)
	for _, v := range z {
		top = math.Max(top, v)
	}
	p, sum := make([]float64, len(z)), 0.0
	for j, v := range z {
		p[j] = math.Exp(v - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p
}

// Loss returns L = -log softmax(z)[y].
func Loss(z []float64, y int) float64 {
	top := math.Inf(-1)
	for _, v := range z {
		top = math.Max(top, v)
	}
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(v - top)
	}
	return math.Log(sum) + top - z[y]
}

// LossGradient returns q: q_j = softmax over the classes other than y, q_y = -1.
// It is ∂L/∂z = softmax(z) - onehot(y) divided by 1 - p_y > 0.
func LossGradient(z []float64, y int) []float64 {
	others := append(append([]float64(nil), z[:y]...), z[y+1:]...)
	p := Softmax(others)
	return append(append(append([]float64(nil), p[:y]...), -1), p[y:]...)
}

// SignStep returns x + size·sign(g), sign(0) = 0. With bounds the result is first
// clipped to the ball [x0 - eps, x0 + eps], then to the bounds.
func SignStep(x, x0, g []float64, size, eps float64, bounds attack.Bounds) []float64 {
	y := make([]float64, len(x))
	for i, v := range g {
		y[i] = x[i]
		switch {
		case v > 0:
			y[i] += size
		case v < 0:
			y[i] -= size
		}
		if !bounds.None() {
			y[i] = math.Min(math.Max(y[i], x0[i]-eps), x0[i]+eps)
			y[i] = math.Min(math.Max(y[i], bounds.Lo), bounds.Hi)
		}
	}
	return y
}

// Argmax returns the place of the first largest element.
func Argmax(z []float64) int {
	best := 0
	for j, v := range z {
		if v > z[best] {
			best = j
		}
	}
	return best
}

// Forward returns the logits of x, and all that there is on the way to them: values[0] is x,
// values[j+1] the output of layer j.
func Forward(m *model.Model, x []float64) (logits []float64, values [][]float64) {
	values = [][]float64{x}
	for i, l := range layers(m) {
		var in [][]float64
		for _, j := range m.Takes(i) {
			in = append(in, values[j+1])
		}
		values = append(values, l.forward(in))
	}
	return values[len(values)-1], values
}

// InputGradient returns ∂L/∂x divided by 1 - p_y, through LossGradient.
func InputGradient(m *model.Model, x []float64, y int) []float64 {
	z, values := Forward(m, x)
	return Backward(m, values, LossGradient(z, y))
}

// Backward returns the gradient at the image, given d at the logits and the values that Forward
// returned. What is taken by several layers has the sum of their gradients.
func Backward(m *model.Model, values [][]float64, d []float64) []float64 {
	grads := make([][]float64, len(values))
	for j, v := range values {
		grads[j] = make([]float64, len(v))
	}
	copy(grads[len(values)-1], d)
	all := layers(m)
	for i := len(all) - 1; i >= 0; i-- {
		var in [][]float64
		for _, j := range m.Takes(i) {
			in = append(in, values[j+1])
		}
		for arg, j := range m.Takes(i) {
			for k, g := range all[i].backward(grads[i+1], in, arg) {
				grads[j+1][k] += g
			}
		}
	}
	return grads[0]
}

// Float64s returns the elements of t widened.
func Float64s(t *tensor.Dense) []float64 {
	switch d := t.Data().(type) {
	case []float64:
		return d
	case []float32:
		out := make([]float64, len(d))
		for i, v := range d {
			out[i] = float64(v)
		}
		return out
	}
	panic("ref: not a tensor of floats")
}
