package ref

import (
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/model"
)

// Objective returns what a step with loss l ascends at the logits z [O] of a row with label y, and
// target t or -1.
func Objective(l attack.Loss, z []float64, y, t int) float64 {
	p := order(z)
	switch {
	case l == attack.CrossEntropy && t < 0:
		return Loss(z, y)
	case l == attack.CrossEntropy:
		return -Loss(z, t)
	case l == attack.Margin && t < 0:
		return z[other(p, y)] - z[y]
	case l == attack.Margin:
		return z[t] - z[other(p, t)]
	case l == attack.DLR && t < 0:
		return -(z[y] - z[other(p, y)]) / (z[p[0]] - z[p[2]])
	case l == attack.DLR:
		return -(z[y] - z[t]) / (z[p[0]] - (z[p[2]]+z[p[3]])/2)
	}
	panic(fmt.Sprintf("ref: no value of %v", l))
}

// order returns the classes by falling logit, equal ones by rising class.
func order(z []float64) []int {
	p := make([]int, len(z))
	for j := range p {
		p[j] = j
	}
	slices.SortStableFunc(p, func(a, b int) int {
		switch {
		case z[a] > z[b]:
			return -1
		case z[a] < z[b]:
			return 1
		}
		return 0
	})
	return p
}

// other returns the first of p that is not y.
func other(p []int, y int) int {
	if p[0] == y {
		return p[1]
	}
	return p[0]
}

// ObjectiveGradient returns a positive multiple of the gradient of Objective at z. That of DLR is
// n·∂d - d·∂n for -n/d, or -∂n if d is 0.
func ObjectiveGradient(l attack.Loss, z []float64, y, t int) []float64 {
	v := make([]Value, len(z))
	for j := range z {
		v[j].V = z[j]
	}
	d, _ := BoundObjectiveGradient(l, v, y, t, Float64)
	q := make([]float64, len(z))
	for j := range q {
		q[j] = d[j].V
	}
	return q
}

// BoundObjectiveGradient is ObjectiveGradient with bounds on the error in arithmetic a. sure is
// false if logits within the bounds of z may have another order, and the gradient depends on it. A
// backend may then be right with a different gradient.
func BoundObjectiveGradient(l attack.Loss, z []Value, y, t int, a Rounding) (d []Value, sure bool) {
	v, worst := make([]float64, len(z)), 0.0
	for j := range z {
		v[j] = z[j].V
		worst = math.Max(worst, z[j].Err)
	}
	p := order(v)
	// above tells whether class j is before all of the others, for sure.
	above := func(j int, others []int) bool {
		for _, k := range others {
			if gap := z[j].V - z[k].V; k != j && gap <= z[j].Err+z[k].Err && z[j].Err+z[k].Err > 0 {
				return false
			}
		}
		return true
	}
	d = make([]Value, len(z))
	switch {
	case l == attack.CrossEntropy:
		sign, c := 1.0, y
		if t >= 0 {
			sign, c = -1, t
		}
		// exp(z_j - top)/Σ: logits off by at most worst scale a share by at most exp(±2·worst);
		// exp, sum and quotient round.
		relative := math.Expm1(2*worst) + gamma(len(z)+8, a.Unit)
		for j, q := range LossGradient(v, c) {
			d[j] = Value{sign * q, math.Abs(q)*relative + math.SmallestNonzeroFloat32}
		}
		d[c].Err = 0
		return d, true
	case l == attack.Margin:
		sign, c := 1.0, y
		if t >= 0 {
			sign, c = -1, t
		}
		j := other(p, c)
		d[j].V, d[c].V = sign, -sign
		return d, above(j, slices.DeleteFunc(slices.Clone(p), func(k int) bool { return k == c }))
	case l != attack.DLR:
		panic(fmt.Sprintf("ref: no gradient of %v", l))
	}
	// -n/d: n and d err by what their logits err by, and by a rounding or two of their own.
	sub := func(x, y Value) Value {
		v := x.V - y.V
		return Value{v, x.Err + y.Err + 4*a.Unit*math.Abs(v)}
	}
	to, last := t, 3
	if t < 0 {
		to, last = other(p, y), 2
	}
	n, den := sub(z[y], z[to]), sub(z[p[0]], z[p[2]])
	if t >= 0 {
		den = sub(z[p[0]], Value{(z[p[2]].V + z[p[3]].V) / 2, (z[p[2]].Err + z[p[3]].Err) / 2})
	}
	sure = true
	for k := range min(last+1, len(p)-1) {
		sure = sure && above(p[k], p[k+1:])
	}
	if den.V <= den.Err {
		sure = sure && den.Err == 0
		n, den = Value{}, Value{V: 1}
	}
	scale := math.Max(math.Abs(n.V), den.V)
	add := func(j int, by float64, x Value) {
		d[j].V += by * x.V / scale
		d[j].Err += math.Abs(by)*x.Err/scale + 4*a.Unit*math.Abs(by*x.V/scale)
	}
	add(p[0], 1, n)
	if t < 0 {
		add(p[2], -1, n)
	} else {
		add(p[2], -0.5, n)
		add(p[3], -0.5, n)
	}
	add(y, -1, den)
	add(to, 1, den)
	return d, sure
}

// A Row is one row of a batch between general steps.
type Row struct {
	X0    []float64 // [I]
	X     []float64 // [I], the backend's own, set before each step
	Label int
	Image int // its index in the data set
	Eps   float64
	M     []Value   // [I], the momentum; nil: 0
	Old   []float64 // [I], X before the last step with Alpha; nil: X
	lost  bool      // M is not known
}

// Step returns what x of the row is after step s, with bounds on the error in arithmetic a. size,
// target (or -1), restart and s.Along [I] are those of the row. Step changes M and Old. zero says
// whether the gradient is 0. sure is false if a backend may be right with another gradient, see
// BoundObjectiveGradient, or if a mean or a norm is within its error of 0. Then the rest says
// nothing.
//
// Let e be the error of the gradient g. An element of g/mean|g| errs by (e_i +
// |g_i|/mean·mean(e))/(mean - mean(e)), and one of g/‖g‖₂ likewise with ‖e‖₂. A sign is not known
// where |g_i| <= e_i. Clipping moves no two points apart. For the projection on the L2 ball see
// projectL2.
func (r *Row) Step(m *model.Model, s attack.Step, size float64, target, restart int, a Rounding) (next []Value, zero, sure bool) {
	knownNorm(s.Norm)
	n := len(r.X)
	if r.Eps == 0 {
		size = 0
	}
	// x, size·d and each sum round once or twice, relative to what is at most this.
	round := func(i int, more float64) float64 {
		return 8 * a.Unit * (math.Abs(r.X[i]) + math.Abs(r.X0[i]) + math.Abs(size) + math.Abs(more))
	}
	d := make([]Value, n)
	sure = true
	old := r.Old
	if old == nil {
		old = r.X
	}
	if s.Alpha != 0 {
		r.Old = slices.Clone(r.X)
	}
	if s.Direction == attack.Gradient {
		at := Pixels(r.X, a)
		if s.Nesterov && r.M != nil {
			for i := range at {
				c := size * s.Decay
				at[i].V += c * r.M[i].V
				at[i].Err += math.Abs(c)*r.M[i].Err + round(i, c*r.M[i].V)
			}
		}
		logits, inputs := BoundForward(m, at, a)
		q, ok := BoundObjectiveGradient(s.Loss, logits, r.Label, target, a)
		g := BoundBackward(m, inputs, q, a)
		sure, zero = ok, true
		mean, meanErr := 0.0, 0.0
		for _, v := range g {
			zero = zero && v.V == 0
			mean += math.Abs(v.V) / float64(n)
			meanErr += v.Err / float64(n)
		}
		if s.Momentum {
			if r.M == nil {
				r.M = make([]Value, n)
			}
			r.lost = r.lost || !sure || mean <= meanErr && mean+meanErr > 0
			if sure = !r.lost; !sure {
				return nil, zero, false
			}
			for i := range r.M {
				v := &r.M[i]
				v.Err = s.Decay*v.Err + 4*a.Unit*math.Abs(s.Decay*v.V)
				v.V *= s.Decay
				if mean > 0 {
					u := g[i].V / mean
					v.V += u
					v.Err += (g[i].Err+math.Abs(u)*meanErr)/(mean-meanErr) + (gamma(n, 0x1p-53)+4*a.Unit)*(math.Abs(u)+math.Abs(v.V))
				}
			}
			g = slices.Clone(r.M)
		}
		if s.Norm == attack.Linf {
			for i, v := range g {
				switch {
				case math.Abs(v.V) <= v.Err && v.Err > 0:
					d[i] = Value{0, 1}
				case v.V > 0:
					d[i].V = 1
				case v.V < 0:
					d[i].V = -1
				}
			}
		} else {
			norm, normErr := 0.0, 0.0
			for _, v := range g {
				norm = math.Hypot(norm, v.V)
				normErr = math.Hypot(normErr, v.Err)
			}
			if sure = sure && (norm > normErr || norm+normErr == 0); !sure {
				return nil, zero, false
			}
			for i, v := range g {
				if norm > 0 {
					u := v.V / norm
					d[i] = Value{u, (v.Err+math.Abs(u)*normErr)/(norm-normErr) + 4*a.Unit*math.Abs(u)}
				}
			}
		}
	} else if s.Direction == attack.Along {
		for i, v := range s.Along {
			d[i] = Value{v, a.Unit * math.Abs(v)}
		}
	} else {
		for i, v := range Draw(s, n, r.Image, restart) {
			d[i] = Value{v, 2 * a.Unit * math.Abs(v)}
		}
	}
	z := make([]Value, n)
	for i := range z {
		step := size * d[i].V
		z[i] = Value{r.X[i] + step, math.Abs(size)*d[i].Err + round(i, step)}
	}
	z = r.project(z, s, round)
	if s.Alpha != 0 {
		for i := range z {
			z[i].V = r.X[i] + s.Alpha*(z[i].V-r.X[i]) + (1-s.Alpha)*(r.X[i]-old[i])
			z[i].Err = s.Alpha*z[i].Err + round(i, math.Abs(old[i])+math.Abs(z[i].V))
		}
		z = r.project(z, s, round)
	}
	if r.Eps == 0 {
		for i := range z {
			z[i] = Value{V: r.X[i]}
		}
	}
	return z, zero, sure
}

// project is the projection of step s, on values with bounds.
func (r *Row) project(z []Value, s attack.Step, round func(int, float64) float64) []Value {
	out := slices.Clone(z)
	if !s.Ball && s.Bounds.None() {
		return out
	}
	if s.Norm == attack.L2 {
		out = projectL2(out, r.X0, r.Eps, round)
	} else {
		for i := range out {
			out[i].V = math.Min(math.Max(out[i].V, r.X0[i]-r.Eps), r.X0[i]+r.Eps)
			out[i].Err += round(i, r.Eps)
		}
	}
	if !s.Bounds.None() {
		for i := range out {
			out[i].V = math.Min(math.Max(out[i].V, s.Bounds.Lo), s.Bounds.Hi)
		}
	}
	return out
}

// projectL2 returns x0 + δ·c, with c = min(1, eps/‖δ‖) and δ = z - x0. Let e be the error of z.
// Then ‖δ‖ errs by at most ‖e‖. If c can be less than 1, it errs by at most ‖e‖/(‖δ‖ - ‖e‖), and
// an element of the result by e_i + |δ_i| times that. An element never errs by more than ‖e‖,
// since the projection on a convex set moves no two points apart.
func projectL2(z []Value, x0 []float64, eps float64, round func(int, float64) float64) []Value {
	norm, err := 0.0, 0.0
	for i, v := range z {
		norm = math.Hypot(norm, v.V-x0[i])
		err = math.Hypot(err, v.Err)
	}
	out := slices.Clone(z)
	c := 1.0
	if norm > eps {
		c = eps / norm
	}
	for i, v := range z {
		d := v.V - x0[i]
		out[i].V = x0[i] + c*d
		if norm+err > eps {
			e := err
			if norm > err {
				e = math.Min(err, v.Err+math.Abs(d)*err/(norm-err))
			}
			out[i].Err = e + round(i, d)
		}
	}
	return out
}

// Draw returns the random direction of step s, RandomSign or Uniform, for n pixels of an image.
func Draw(s attack.Step, n, image, restart int) []float64 {
	knownNorm(s.Norm)
	d := make([]float64, n)
	switch {
	case s.Direction != attack.RandomSign && s.Direction != attack.Uniform:
		panic(fmt.Sprintf("ref: nothing random along direction %d", int(s.Direction)))
	case s.Direction == attack.RandomSign:
		signs := make([]int8, n)
		attack.RandomSigns(signs, s.Seed, image, restart, s.Index)
		for i, v := range signs {
			d[i] = float64(v)
			if s.Norm == attack.L2 {
				d[i] /= math.Sqrt(float64(n))
			}
		}
	case s.Norm == attack.Linf:
		u := attack.NewUniformDraw(s.Seed, image, restart, s.Index)
		for i := range d {
			d[i] = u.Linf(i)
		}
	default:
		v := make([]int32, n)
		f := attack.NewUniformDraw(s.Seed, image, restart, s.Index).L2(v)
		for i := range d {
			d[i] = float64(v[i]) * f
		}
	}
	return d
}

// knownNorm panics unless this package knows steps, draws and levels in norm. Otherwise it would
// judge by the wrong norm, and nobody would notice.
func knownNorm(norm attack.Norm) {
	if norm != attack.Linf && norm != attack.L2 {
		panic(fmt.Sprintf("ref: nothing is known of %v", norm))
	}
}

// Round returns the level n of 0 to 255 that x becomes within the eps-ball of norm around x0, see
// pipeline.Backend.
func Round(norm attack.Norm, x, x0, eps float64) int {
	knownNorm(norm)
	const t = 1e-4
	level := func(v float64) int { return int(math.RoundToEven(math.Min(math.Max(v, 0), 255))) }
	if norm == attack.Linf {
		lo, hi := math.Ceil(255*(x0-eps)-t), math.Floor(255*(x0+eps)+t)
		lo, hi = math.Max(lo, 0), math.Min(hi, 255)
		if lo > hi {
			return level(255 * x0)
		}
		return level(math.Min(math.Max(math.RoundToEven(255*x), lo), hi))
	}
	v := 255 * x
	if math.Abs(v-math.RoundToEven(v)) <= t {
		return level(v)
	}
	below, above := math.Floor(v), math.Ceil(v)
	if math.Abs(above-255*x0) < math.Abs(below-255*x0) {
		return level(above)
	}
	return level(below)
}

// Norms returns the norms of x - x0, and how many pixels differ.
func Norms(x, x0 []float64) (linf, l2 float64, l0 int) {
	for i := range x {
		d := math.Abs(x[i] - x0[i])
		linf = math.Max(linf, d)
		l2 += d * d
		if d != 0 {
			l0++
		}
	}
	return linf, math.Sqrt(l2), l0
}
