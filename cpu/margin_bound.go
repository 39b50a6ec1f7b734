package cpu

import (
	"math"
	"unsafe"

	"advsweep/internal/lower"
)

// A marginBound bounds how far the margins of two images can lie apart, in terms of how far the
// images do. Both are the logits of a forward pass from the pixels, so it allows for the rounding
// of both. It proves classes: where the margins at x are larger, x̂ has the class of x.
//
// All norms are Euclidean. An operation is taken as its Lipschitz constant and a bound on its
// rounding, see gain. The chain of a product rounds its sum once for each of its terms, and also
// each term where it is not fused; see Higham, "Accuracy and Stability of Numerical Algorithms",
// 2nd ed., 3.1.
type marginBound struct {
	known bool  // false: the model has an operation of which no bound is known
	below reach // what the last operation takes, or the logits
	// With a Linear on top the margins of class y over class c change by the reach of what it takes
	// times apart[y·O+c], and by the rounding of both logits.
	out      int
	apart    []float64 // [O, O]: ‖W_y - W_c‖, or √2 where no Linear is on top
	rounding []gain    // [O]: slack and slack0 of each logit
	widest   reach     // of it only norm and norm0: no partial sum of any operation is larger
}

// A reach bounds a value of the two passes. With d = ‖x̂ - x‖, n at least the norms of x and x̂,
// and e a bound on what the first operation at x errs besides:
//
//	‖v̂ - v‖ <= far·d + extra·e + drift·n + drift0
//	max(‖v‖, ‖v̂‖) <= norm·n + extra·e + norm0
type reach struct{ far, extra, drift, drift0, norm, norm0 float64 }

// A gain bounds an operation y = f(x) that is computed as y + r:
//
//	‖f(x̂) - f(x)‖ <= slope·‖x̂ - x‖
//	‖f(x)‖ <= slope·‖x‖ + zero
//	‖r‖ <= slack·‖x‖ + slack0
//
// No partial sum is larger than sum·‖x‖ + zero.
type gain struct{ slope, zero, slack, slack0, sum float64 }

// spare makes up for the rounding of a bound itself, which is computed in float64.
const spare = 1 + 1e-9

// through returns the reach of what an operation with gain g makes of r. first says that it is the
// first operation, whose result at x may err by e besides.
func (r reach) through(g gain, first bool) reach {
	y := reach{
		far:    g.slope * r.far,
		extra:  g.slope * r.extra,
		drift:  float64(g.slope*r.drift) + float64(2*g.slack*r.norm),
		drift0: float64(g.slope*r.drift0) + float64(2*(float64(g.slack*r.norm0)+g.slack0)),
		norm:   (g.slope + g.slack) * r.norm,
		norm0:  float64((g.slope+g.slack)*r.norm0) + g.zero + g.slack0,
	}
	if first {
		y.extra++
	} else {
		y.drift0 += float64(2 * g.slack * r.extra) // e is at most 1, see decides
		y.norm0 += float64(g.slack * r.extra)
	}
	return y.times(spare)
}

func (r reach) times(s float64) reach {
	return reach{r.far * s, r.extra * s, r.drift * s, r.drift0 * s, r.norm * s, r.norm0 * s}
}

func (r reach) plus(o reach) reach {
	return reach{r.far + o.far, r.extra + o.extra, r.drift + o.drift, r.drift0 + o.drift0, r.norm + o.norm, r.norm0 + o.norm0}
}

// decides reports whether images x and x̂, with ‖x̂ - x‖ = d and norms of n at most, surely have
// the same class. z [O] is the logits at x, as they were computed. The first operation at x errs by
// e more than from the pixels.
func (b *marginBound) decides(z []float64, d, n, e float64) bool {
	most := float64(b.widest.norm*n) + b.widest.norm0
	if !b.known || !(e <= 1) || !(most < 1e30) {
		return false
	}
	y := 0
	for c, v := range z {
		if v-v != 0 {
			return false
		}
		if v > z[y] {
			y = c
		}
	}
	far, size := b.top(d, n, e)
	for c, v := range z {
		if c != y && !(z[y]-v > b.change(y, c, far, size)) {
			return false
		}
	}
	return true
}

// top bounds by how much what the last operation takes, or the logits, differ, and their norms.
func (b *marginBound) top(d, n, e float64) (far, size float64) {
	r := &b.below
	return (float64(r.far*d) + float64(r.extra*e) + float64(r.drift*n) + r.drift0) * spare, (float64(r.norm*n) + float64(r.extra*e) + r.norm0) * spare
}

// change bounds by how much the margin of class y over class c differs, for far and size of top.
func (b *marginBound) change(y, c int, far, size float64) float64 {
	p, q := &b.rounding[y], &b.rounding[c]
	return (float64(b.apart[y*b.out+c]*far) + float64(2*(float64((p.slack+q.slack)*size)+p.slack0+q.slack0))) * spare
}

// roundoff returns two numbers. unit is half the distance from 1 to the next number: what a
// rounding changes by at most, as a share of the result. least is the smallest number above 0.
func roundoff[T Float]() (unit, least float64) {
	if unsafe.Sizeof(T(0)) == 4 {
		return 0x1p-24, 0x1p-149
	}
	return 0x1p-53, math.SmallestNonzeroFloat64
}

// logits makes the bound of out logits that are below itself.
func (b *marginBound) logits(below reach, out int) {
	b.known, b.below, b.out = true, below, out
	b.apart, b.rounding = make([]float64, out*out), make([]gain, out)
	for k := range b.apart {
		b.apart[k] = math.Sqrt2
	}
}

// linearTop makes the bound of the logits that a Linear a with these weights makes of below.
func linearTop[T Float](b *marginBound, below reach, a *affine[T], weights []T) {
	b.logits(below, a.out)
	u, least := roundoff[T]()
	for y := range a.out {
		row, late, n := weights[y*a.in:][:a.in], 0.0, float64(a.in+1)
		for k, w := range row {
			late += float64(float64(w) * float64(w) * (n - float64(k)) * (n - float64(k)))
		}
		more := u * (1 + float64(2*n*u)) * spare
		b.rounding[y].slack = math.Sqrt(late) * more
		b.rounding[y].slack0 = float64(math.Abs(float64(a.bias[y]))*n*more) + float64(least*n)
		for c := range a.out {
			b.apart[y*a.out+c] = distance(row, weights[c*a.in:][:a.in])
		}
	}
}

// A matrixGain collects the sums of the elements of a matrix [rows, columns].
type matrixGain struct {
	rows, columns []float64 // sums of |w|
	square, late  float64   // sums of w² and (w·k)², with k the roundings that follow
}

func newMatrixGain(rows, columns int) *matrixGain {
	return &matrixGain{rows: make([]float64, rows), columns: make([]float64, columns)}
}

// add adds element w, after which the chain rounds k times.
func (m *matrixGain) add(row, column int, w float64, k int) {
	a := math.Abs(w)
	m.rows[row] += a
	m.columns[column] += a
	m.square += float64(w * w)
	m.late += float64(w * w * float64(k) * float64(k))
}

// greatest returns the largest of v, at least 0.
func greatest(v []float64) (top float64) {
	for _, v := range v {
		top = max(top, v)
	}
	return top
}

// productGain returns the gain of y = b + W·x with outputs numbers, for m of W. A number of x lies
// in so many windows at most (times), and a chain has so many terms. norm is ‖b‖ over all windows,
// and spectral a bound on the norm of W, or 0.
func productGain[T Float](m *matrixGain, terms, times int, norm, spectral float64, outputs int) gain {
	u, least := roundoff[T]()
	sum := min(math.Sqrt(greatest(m.rows)*greatest(m.columns)), math.Sqrt(m.square*float64(times)))
	slope := sum
	if spectral > 0 {
		slope = min(slope, spectral)
	}
	k := float64(terms + 1)
	slack := min(sum*k, math.Sqrt(m.late*float64(times))) * u * (1 + float64(2*k*u))
	return gain{
		slope: slope * spare, zero: norm * spare, sum: sum * spare,
		slack: slack * spare, slack0: (float64(norm*k*u*(1+float64(2*k*u))) + float64(least*k*math.Sqrt(float64(outputs)))) * spare,
	}
}

// affineGain is the gain of a Linear with these weights. spectral is a bound on their norm, or 0.
func affineGain[T Float](a *affine[T], weights []T, spectral float64) gain {
	m := newMatrixGain(a.out, a.in)
	for o := range a.out {
		for k, w := range weights[o*a.in:][:a.in] {
			m.add(o, k, float64(w), a.in-k+1)
		}
	}
	return productGain[T](m, a.in, 1, norm2(a.bias), spectral, a.out)
}

// A bounded is an operation whose gain is known.
type bounded interface {
	// gain returns it for values of shape in and out.
	gain(in, out lower.Shape) gain
}

func (a *convolution[T]) gain(in, out lower.Shape) gain {
	l := a.lowered
	norm := norm2(a.bias) * math.Sqrt(float64(out.Pixels()))
	f := a.magnitudes()
	g := productGain[T](f.matrix(l), l.Size(), l.Places(), norm, 0, out.Size())
	if l.Tile != nil {
		u, least := roundoff[T]()
		g.slack, g.slack0, g.sum = f.tiledSlack(l, norm, u, least)
	}
	return g
}

// filterSums are sums over the weights of a convolution, for each place of a window. They are made
// in one pass, since a deep network has many weights.
type filterSums struct {
	places   int
	outputs  []float64 // [O, places]: sums of |w| over channels
	channels []float64 // [C of In, places]: sums of |w| over outputs
	squares  []float64 // [channels of a window, places]: sums of w² over outputs
}

// magnitudes returns the sums over the weights of a.
func (a *convolution[T]) magnitudes() filterSums {
	l := a.lowered
	places, depth, filters := l.Places(), l.Depth(), l.Out.C/l.Groups
	f := filterSums{places, make([]float64, l.Out.C*places), make([]float64, l.In.C*places), make([]float64, depth*places)}
	for o := range l.Out.C {
		own, group := f.outputs[o*places:][:places], f.channels[o/filters*depth*places:]
		for c := range depth {
			channel, squares := group[c*places:][:places], f.squares[c*places:][:places]
			p := 0
			for u := range l.Kernel[0] {
				for v := range l.Kernel[1] {
					w := math.Abs(float64(a.weight(o, c, u, v)))
					own[p] += w
					channel[p] += w
					squares[p] += float64(w * w)
					p++
				}
			}
		}
	}
	return f
}

// matrix returns the sums over the weights as those of one matrix, whose columns are the channels
// that its windows take.
func (f filterSums) matrix(l *lower.Convolution) *matrixGain {
	m := newMatrixGain(l.Out.C, l.In.C)
	l.Terms(func(t, c, u, v int) {
		square, k := f.squares[c*f.places+u*l.Kernel[1]+v], float64(l.Size()-t+1)
		m.square += square
		m.late += float64(square * k * k)
	})
	for i, sum := range f.outputs {
		m.rows[i/f.places] += sum
	}
	for i, sum := range f.channels {
		m.columns[i/f.places] += sum
	}
	return m
}

// tiledSlack returns slack, slack0 and sum of a convolution by tiles, with norm that of the bias
// over all windows, and u and least of roundoff.
//
// A number of the image lies in four tiles at most, a factor of 2 in norm. The matrices of the
// transforms have magnitudes whose norms are Tile.In and Tile.Out. Each is applied along both
// dimensions, which squares its norm. A transform adds numbers in such a way that no partial sum
// has a term twice with opposite signs. So the magnitudes of all terms of the outputs have a norm
// of at most 2·In²·Out² times that of the image and the largest norm of the weights of a place.
// These are at most the weights that the magnitudes of a filter have, with magnitudes in the
// transform of the filter too. The transform of the sums and norms of all filters bounds those of
// the weights. A term is rounded C times in its chain, and Tile.Roundings times besides, of which
// eight are a weight's. An output that is set to 0 has no error. Where Ties is set the error of one
// output may be that of all pixels.
//
// What is too small for the format errs by least at each rounding, in a chain or behind it, of the
// numbers that an output sums up. These count Widest² with the factors that they have. What tiles
// take may err by least where a transform halves it, once along each dimension.
func (f filterSums) tiledSlack(l *lower.Convolution, norm, u, least float64) (slack, slack0, sum float64) {
	t := l.Tile
	magnitudes, filter := t.Magnitudes(), make([]float64, t.Places())
	// largest returns for each place of the transform the largest of n numbers by place of a window.
	largest := func(n int, of func(i, p int) float64) []float64 {
		top := make([]float64, t.Places())
		for i := range n {
			lower.Winograd(magnitudes, func(_, _, u, v int) float64 { return of(i, 3*u+v) }, 0, 0, filter)
			for k, v := range filter {
				top[k] = max(top[k], v)
			}
		}
		return top
	}
	rows := largest(l.Out.C, func(o, p int) float64 { return f.outputs[o*f.places+p] })
	columns := largest(l.In.C, func(c, p int) float64 { return f.channels[c*f.places+p] })
	frobenius := largest(1, func(_, p int) float64 {
		square := 0.0
		for c := range l.Depth() {
			square += f.squares[c*f.places+p]
		}
		return math.Sqrt(square)
	})
	top := least * math.Sqrt(float64(l.In.C*l.Out.C)) // weights that are rounded to 0
	for k := range rows {
		top = max(top, min(math.Sqrt(rows[k]*columns[k]), frobenius[k]))
	}
	again := 1.0
	if t.Mended && l.Ties {
		again = math.Sqrt(float64(l.Out.Pixels()))
	}
	k := float64(l.In.C + t.Roundings)
	sum = 2 * float64(t.In*t.In) * float64(t.Out*t.Out) * top * spare
	rounding := k * u * (1 + float64(2*k*u)) * spare
	taken := float64(t.Places() * l.In.C * l.Out.Pixels()) // at least as many numbers as tiles take
	slack0 = float64(norm*rounding) + float64(float64(t.Widest*t.Widest)*k*least*math.Sqrt(float64(l.Out.Size()))*spare) +
		float64(again*(t.In+1)*least*math.Sqrt(taken)*float64(t.Out*t.Out)*top*spare)
	return again * sum * rounding, slack0, sum
}

// norm bounds the norm of a convolution by the largest of its groups' filters, as a matrix
// [filters, terms of a window]: a number of the image lies in as many windows as a window has
// places at most, and groups share no number.
func (a *convolution[T]) norm(norm normBound[T]) float64 {
	l := a.lowered
	out, terms := l.Out.C/l.Groups, l.Size()
	top := 0.0
	for g := range l.Groups {
		s := norm(func() []T {
			w := make([]T, out*terms)
			l.Terms(func(t, c, u, v int) {
				for o := range out {
					w[o*terms+t] = a.weight(g*out+o, c, u, v)
				}
			})
			return w
		}, out, terms)
		if s == 0 {
			return math.Inf(1)
		}
		top = max(top, s)
	}
	return top * math.Sqrt(float64(l.Places())) * spare
}

func (a *depthwise[T]) gain(in, out lower.Shape) gain {
	m, terms := newMatrixGain(out.C, in.C), a.Places()
	for k, w := range a.w {
		c := k % out.C
		m.add(c, c, float64(w), terms-k/out.C+1)
	}
	return productGain[T](m, terms, terms, norm2(a.bias)*math.Sqrt(float64(out.Pixels())), 0, out.Size())
}

func (a *scale[T]) gain(_, out lower.Shape) gain {
	u, least := roundoff[T]()
	slope, pixels := 0.0, math.Sqrt(float64(out.Pixels()))
	for _, w := range a.w {
		slope = max(slope, math.Abs(float64(w)))
	}
	norm := norm2(a.b) * pixels
	return gain{slope, norm, 3 * u * slope, float64(3*u*norm) + float64(least*math.Sqrt(float64(out.Size()))), slope}
}

// windows returns in how many windows a number lies at most.
func (p *pool) windows() float64 {
	n := 1
	for d := range p.Kernel {
		if p.Dilation[d] > 1 { // as many as places at most
			n *= p.Kernel[d]
			continue
		}
		n *= (p.Kernel[d] + p.Stride[d] - 1) / p.Stride[d]
	}
	return float64(n)
}

func (a *maxPool[T]) gain(_, _ lower.Shape) gain {
	s := math.Sqrt(a.windows()) * spare
	return gain{slope: s, sum: s}
}

func (a *avgPool[T]) gain(_, out lower.Shape) gain {
	u, least := roundoff[T]()
	fewest := math.Inf(1)
	for _, c := range a.count {
		fewest = min(fewest, float64(c))
	}
	// Within a window |Σx/c|² <= Σx²/c, where c is not less than how many x there are.
	s := float64(math.Sqrt(a.windows()/fewest) * spare) // 2·s is s + s to a compiler
	terms := float64(a.Places() + 1)
	return gain{slope: s, slack: s * 2 * terms * u, slack0: least * math.Sqrt(float64(out.Size())), sum: s * terms}
}

func (a relu[T]) gain(_, _ lower.Shape) gain { return gain{slope: 1, sum: 1} }

func (a clip[T]) gain(_, out lower.Shape) gain {
	zero := math.Abs(float64(min(max(0, a.lo), a.hi))) * math.Sqrt(float64(out.Size()))
	return gain{slope: 1, zero: zero * spare, sum: 1}
}

func (a absolute[T]) gain(_, _ lower.Shape) gain { return gain{slope: 1, sum: 1} }

func (a *reduce[T]) gain(in, out lower.Shape) gain {
	u, least := roundoff[T]()
	u += 0x1p-45 // by far more than a logarithm errs in float64
	g, pixels := a.reduction.gain(float64(in.C), u), math.Sqrt(float64(out.Pixels()))
	return gain{
		slope: g.slope * spare, zero: g.zero * pixels * spare, sum: g.sum * spare,
		slack: g.slack * spare, slack0: float64((g.slack0+float64(least*float64(in.C)))*pixels) * spare,
	}
}

// gain has the largest sum of a row of the derivative diag(q) - q·qᵀ, 2·q·(1-q) <= 1/2, as its
// slope.
func (a softmax[T]) gain(in, out lower.Shape) gain {
	u, least := roundoff[T]()
	u += 0x1p-40 // by far more than a share errs in float64
	pixels := math.Sqrt(float64(out.Pixels()))
	return gain{
		slope: 0.5 * spare, zero: pixels / math.Sqrt(float64(in.C)) * spare, sum: 0.5 * spare,
		slack0: float64(2*u*pixels) + float64(least*math.Sqrt(float64(out.Size()))),
	}
}

// widened is the reach of the value with numbers that are given again so often.
func (r reach) widened(again float64) reach {
	if again <= 1 {
		return r
	}
	return r.times(math.Sqrt(again) * spare)
}

// reach returns that of the result before it is rounded, for a narrow function.
func (a *pairwise[T]) reach(x, y reach) reach {
	return x.widened(a.often(0)).plus(y.widened(a.often(1)))
}

// often is how often a number of a value is taken.
func (a *pairwise[T]) often(arg int) float64 {
	n := 1.0
	for d, size := range a.dims {
		if a.steps[d][arg] == 0 {
			n *= float64(size)
		}
	}
	return n
}

func (a activation[T]) gain(_, out lower.Shape) gain {
	u, least := roundoff[T]()
	u += 0x1p-45 // by far more than the functions err in float64
	zero := a.zero * math.Sqrt(float64(out.Size()))
	return gain{a.steepest, zero, u * a.steepest, float64(u*zero) + float64(least*math.Sqrt(float64(out.Size()))), a.steepest}
}

func (a leaky[T]) gain(_, out lower.Shape) gain {
	u, least := roundoff[T]()
	s := max(1, math.Abs(float64(a.slope)))
	return gain{slope: s, slack: 2 * u * s, slack0: least * math.Sqrt(float64(out.Size())), sum: s}
}

// A normBound returns a bound on the spectral norm of what w returns [rows, columns], or 0 for none.
type normBound[T Float] func(w func() []T, rows, columns int) float64

// these returns a function that returns w.
func these[T Float](w []T) func() []T { return func() []T { return w } }

// networkBound returns the bound of n.
func networkBound[T Float](n *network[T], norm normBound[T]) (b marginBound) {
	values := make([]reach, len(n.values))
	values[0] = reach{far: 1, norm: 1}
	u, _ := roundoff[T]()
	widen := func(in reach, g gain) {
		b.widest.norm = max(b.widest.norm, g.sum*in.norm)
		b.widest.norm0 = max(b.widest.norm0, float64(g.sum*in.norm0)+g.zero)
	}
	for i := range n.layers {
		l := &n.layers[i]
		var in reach // of the first value that it takes
		if len(l.takes) > 0 {
			in = values[l.takes[0]]
		}
		switch op := l.op.(type) {
		case constant[T]:
			values[i+1] = reach{norm0: norm2(op.v) * spare}
		case *pairwise[T]:
			if !op.narrow {
				return marginBound{}
			}
			in := op.reach(in, values[l.takes[1]])
			g := gain{slope: 1, slack: 4 * u, sum: 1}
			widen(in, g)
			values[i+1] = in.through(g, false)
		case *arrange[T]:
			for _, j := range l.takes[1:] {
				in = in.plus(values[j])
			}
			values[i+1] = in.widened(op.again)
		case nil:
			a, w := l.linear, l.linear.weights()
			if i == len(n.layers)-1 {
				widen(in, affineGain(a, w, 0))
				linearTop(&b, in, a, w)
				return b
			}
			g := affineGain(a, w, norm(these(w), a.out, a.in))
			widen(in, g)
			values[i+1] = in.through(g, false)
		case add[T]:
			for _, j := range l.takes[1:] {
				in = in.plus(values[j])
			}
			g := gain{slope: 1, slack: 2 * float64(len(l.takes)) * u, sum: 1}
			widen(in, g)
			values[i+1] = in.through(g, false)
		case bounded:
			if a, ok := l.op.(activation[T]); ok && a.steepest == 0 {
				return marginBound{}
			}
			g := op.gain(n.values[l.takes[0]].Shape, n.values[i+1].Shape)
			if c, ok := l.op.(*convolution[T]); ok {
				g.slope = min(g.slope, c.norm(norm))
			}
			widen(in, g)
			values[i+1] = in.through(g, false)
		default:
			return marginBound{}
		}
	}
	b.logits(values[len(n.layers)], n.out)
	return b
}

// mlpBound returns the bound of m. first is the gain of its first layer.
func mlpBound[T Float](m *mlp[T], norm normBound[T]) (b marginBound, first gain) {
	r := reach{far: 1, norm: 1}
	for l := range m.layers {
		a := &m.layers[l]
		top := l == len(m.layers)-1
		s, w := 0.0, a.weights()
		if !top {
			s = norm(these(w), a.out, a.in)
		}
		g := affineGain(a, w, s)
		b.widest.norm = max(b.widest.norm, g.sum*r.norm)
		b.widest.norm0 = max(b.widest.norm0, float64(g.sum*r.norm0)+g.zero)
		if l == 0 {
			first = g
		}
		if top {
			linearTop(&b, r, a, w)
			return b, first
		}
		r = r.through(g, l == 0)
	}
	return marginBound{}, first
}
