package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// Models compares two models, or one model in two arithmetics, by what they say of the same pixels.
type Models struct {
	Clean Spread // of the logits of the images as they are
	// Own is of the images that each side's own attack made, which differ. Same is of the images
	// that A's attack made, shown to both sides. Both are [attacks·E]. They are nil for the worst
	// of all attacks, which has no images of its own.
	Own, Same []*Spread
	// SameFlips counts the images of Same whose class differs, [attacks·E]. It is -1 for the worst
	// of all attacks.
	SameFlips []int
	Signs     Signs

	// Judged is set if both sides compute one model. Then Flips are all predictions that differ at
	// the same pixels: of clean images, and of those that A's attacks made.
	Judged bool
	Flips  []Flip
}

// Outside counts the flips that rounding does not explain.
func (m *Models) Outside() int {
	n := 0
	for i := range m.Flips {
		if !m.Flips[i].Explained {
			n++
		}
	}
	return n
}

// A Spread says how far apart the logits of two sides lie: quantiles of |logit on A - logit on B|
// over all images and classes. A quantile is the least value that at least so many percent of all
// values do not exceed.
type Spread struct{ P50, P90, P99, Max float64 }

func newSpread(values []float64) Spread {
	slices.Sort(values)
	at := func(percent int) float64 { return values[max(0, (percent*len(values)+99)/100-1)] }
	return Spread{at(50), at(90), at(99), values[len(values)-1]}
}

// Signs counts the pixels of clean images at which FGSM goes another way on A than on B: the sign
// of the gradient, which may be 0, differs.
type Signs struct {
	Differ, Pixels int
	Images         int // with such a pixel
}

// A Flip is an image with the same pixels but another class on A than on B.
type Flip struct {
	Attack int // that A made it with, by its place in the result; -1: the image as it is
	Eps    float64
	Image  int   // in the data set
	A, B   int32 // the classes

	// Short is by how much, in float64, the logit of the class that a side chose is below that of
	// another class. Bound is how much of that the side's rounding can cause. Explained says that
	// Short is at most Bound on both sides and for every other class. If it is not set, Short and
	// Bound are those that are furthest apart.
	Short, Bound float64
	Explained    bool
}

// A Compare attacks the same images on two backends and sets what they say side by side.
type Compare struct {
	Attacks []attack.Attack
	Eps     []float64 // [E], increasing
	Bounds  attack.Bounds
	// Model is what both backends compute, and nil if they have two models. If it is set, a bound
	// on rounding judges each prediction that differs at the same pixels.
	Model *model.Model
	// Rows and Progress are as Sweep's.
	Rows     int
	Progress func(done, total int)
}

// pixelsOfBatch bounds the pixels of a batch, because its perturbed images are copied to the host.
const pixelsOfBatch = 1 << 24

// Run attacks every image of set on a and on b, and shows each image that a's attacks made also to
// b. The result does not depend on Rows.
func (c Compare) Run(ctx context.Context, a, b Backend, set *dataset.Set) (*Comparison, error) {
	s := Sweep{Attacks: c.Attacks, Eps: c.Eps, Bounds: c.Bounds, Rows: c.Rows, Progress: c.Progress}
	w := &comparing{c: c, set: set}
	for i, back := range []Backend{a, b} {
		if err := s.Validate(back, set); err != nil {
			return nil, err
		}
		w.sides[i].b = back
		if c.Model != nil {
			var err error
			if w.sides[i].rounding, err = roundingOf(back); err != nil {
				return nil, err
			}
		}
	}
	info := a.Info()
	inputs, classes := info.Inputs, info.Classes
	if other := b.Info().Classes; other != classes {
		return nil, fmt.Errorf("pipeline: compare: a model of %d classes with one of %d", classes, other)
	}
	w.sweep = sweeping{Sweep: s, held: heldOf(set)}
	w.sweep.rows = max(1, min(a.Info().Rows, b.Info().Rows, pixelsOfBatch/inputs))
	if c.Rows > 0 {
		w.sweep.rows = min(w.sweep.rows, c.Rows)
	}
	n, E := set.N(), len(c.Eps)
	w.sweep.total = 4 * n
	for _, at := range c.Attacks {
		if !at.Composite() {
			w.sweep.total += n * E * (2*runs(at)*(at.Steps+1) + 2)
		}
	}
	w.found.Judged = c.Model != nil
	for i := range w.sides {
		w.sides[i].res = &Result{N: n, First: set.First, Classes: classes, Eps: slices.Clone(c.Eps), Bounds: c.Bounds, Images: make([]Clean, n)}
	}
	if err := w.clean(ctx); err != nil {
		return nil, err
	}
	for k := range c.Attacks {
		if err := w.attack(ctx, k); err != nil {
			return nil, err
		}
	}
	for i := range w.sides {
		res := w.sides[i].res
		for k := range res.Curves {
			if res.Curves[k].Attack.Composite() {
				res.worst(&res.Curves[k])
			}
			res.count(&res.Curves[k])
		}
	}
	slices.SortFunc(w.found.Flips, func(x, y Flip) int {
		return cmp.Or(cmp.Compare(x.Attack, y.Attack), cmp.Compare(x.Eps, y.Eps), cmp.Compare(x.Image, y.Image))
	})
	out, err := NewComparison(w.sides[0].res, w.sides[1].res)
	if err != nil {
		return nil, err
	}
	out.Models = &w.found
	return out, nil
}

// comparing is a Compare under way. Its methods add to found and to the results of the sides, and
// change nothing else but how far sweep is.
type comparing struct {
	c     Compare
	sweep sweeping // of which it uses the batches and the progress
	set   *dataset.Set
	sides [2]side
	found Models
}

// A side is one of the two backends.
type side struct {
	b        Backend
	rounding ref.Rounding // of b's arithmetic; only if there is one Model
	res      *Result
}

// roundingOf returns how b's arithmetic rounds. It returns an error for an arithmetic without a
// bound.
func roundingOf(b Backend) (ref.Rounding, error) {
	info := b.Info()
	switch p, mode := info.Precision, info.MathMode; p {
	case "float64":
		switch mode {
		case "":
			return ref.Float64, nil
		case "fast":
			return ref.Fast64, nil
		}
		return ref.Rounding{}, fmt.Errorf("pipeline: compare: no bound on the rounding of %s in math mode %s, want fast or none", p, mode)
	case "float32":
		switch mode {
		case "", "fp32":
			return ref.Float32, nil
		case "3xtf32":
			return ref.TF32x3, nil
		case "fast":
			return ref.Fast32, nil
		}
		return ref.Rounding{}, fmt.Errorf("pipeline: compare: no bound on the rounding of %s in math mode %s, want fp32, 3xtf32 or fast", p, mode)
	case "tf32":
		return ref.TF32, nil
	default:
		return ref.Rounding{}, fmt.Errorf("pipeline: compare: no bound on the rounding of %s, want float32, float64 or tf32", p)
	}
}

// batches calls do for images lo to hi-1 at eps from to to-1, until it has had all n images at all
// E eps. It takes as many at once as fit if each image has runs rows at each eps. If do returns an
// error it must not have counted anything: if memory was short, batches calls it again with fewer.
func (w *comparing) batches(n, E, runs int, do func(lo, hi, from, to int) error) error {
	return w.sweep.batches(batch{0, n, 0, E, 0, runs}, true, func(b batch) error { return do(b.lo, b.hi, b.from, b.to) })
}

// clean compares the sides on the clean images: their logits, and the direction of FGSM's step.
func (w *comparing) clean(ctx context.Context) error {
	var apart []float64
	err := w.batches(w.set.N(), 1, 1, func(lo, hi, _, _ int) error {
		sub, err := w.set.Slice(lo, hi-lo)
		if err != nil {
			return err
		}
		var logits [2][][]float64
		var signs [2][]int8
		for i := range w.sides {
			b := w.sides[i].b
			r := &rows{b: b, a: untouched, held: heldOf(sub), hi: hi - lo, E: 1, R: 1, columns: []float64{0}}
			if err := show(ctx, b, sub.First, sub.Images, sub.Labels); err != nil {
				return err
			}
			if logits[i], err = r.logits(ctx); err != nil {
				return err
			}
			for k, z := range logits[i] {
				if _, _, ok := attack.Judge(z, int(sub.Labels[k])); !ok {
					return r.named(notFinite(k))
				}
			}
			w.sweep.progress(hi - lo)
			// The first step of FGSM goes along the gradient at the clean image, whatever eps.
			g, err := lossGradient(ctx, b, logits[i], r.label)
			if err != nil {
				return err
			}
			signs[i] = make([]int8, len(g))
			for k, v := range g {
				signs[i][k] = int8(cmp.Compare(v, 0))
			}
			w.sweep.progress(hi - lo)
		}
		inputs := len(signs[0]) / (hi - lo)
		for k, label := range sub.Labels {
			var class [2]int
			for i := range w.sides {
				z := logits[i][k]
				at, margin, _ := attack.Judge(z, int(label))
				class[i] = at
				w.sides[i].res.Images[lo+k] = Clean{Label: label, Class: int32(at), Least: int32(attack.LeastLikely.Of(int(label), z, 0)), Margin: float32(margin)}
				if at == int(label) {
					w.sides[i].res.Clean++
				}
			}
			apart = appendApart(apart, logits[0][k], logits[1][k])
			differ := 0
			for j := k * inputs; j < (k+1)*inputs; j++ {
				if signs[0][j] != signs[1][j] {
					differ++
				}
			}
			w.found.Signs.Differ += differ
			w.found.Signs.Pixels += inputs
			if differ > 0 {
				w.found.Signs.Images++
			}
			if class[0] != class[1] {
				x, err := imageOf(sub.Images, k)
				if err != nil {
					return err
				}
				if err := w.judge(ctx, Flip{Attack: -1, Image: sub.First + k, A: int32(class[0]), B: int32(class[1])}, x); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		w.found.Clean = newSpread(apart)
	}
	return err
}

// show makes b hold one row for each of the images.
func show(ctx context.Context, b Backend, first int, images *tensor.Dense, labels []int32) error {
	if err := b.Load(ctx, first, images, labels); err != nil {
		return err
	}
	return b.Begin(ctx, 0, len(labels), []float64{0})
}

// imageOf returns image k of images [N, …], as it is before any backend rounds it, [I]. A byte v is
// v/255.
func imageOf(images *tensor.Dense, k int) ([]float64, error) {
	inputs := images.Shape().TotalSize() / images.Shape()[0]
	x := make([]float64, inputs)
	switch p := images.Data().(type) {
	case []uint8:
		for i, v := range p[k*inputs:][:inputs] {
			x[i] = float64(v) / 255
		}
	case []float32:
		for i, v := range p[k*inputs:][:inputs] {
			x[i] = float64(v)
		}
	case []float64:
		copy(x, p[k*inputs:])
	default:
		return nil, fmt.Errorf("images of %v", images.Dtype())
	}
	return x, nil
}

func appendApart(to, a, b []float64) []float64 {
	for j := range a {
		to = append(to, math.Abs(a[j]-b[j]))
	}
	return to
}

// made is what one side's attack made of a batch, [images·eps].
type made struct {
	found  []Outcome
	logits [][]float64
	images *tensor.Dense // [images·eps, I]
}

// strike attacks the images of sub at eps on side i. It returns images for side 0 only.
func (w *comparing) strike(ctx context.Context, i int, a attack.Attack, sub *dataset.Set, eps []float64) (m made, err error) {
	b := w.sides[i].b
	if a.Staged() {
		return w.stage(ctx, i, a, sub, eps)
	}
	if err := b.Load(ctx, sub.First, sub.Images, sub.Labels); err != nil {
		return m, err
	}
	r, err := newRows(ctx, b, a, eps, w.c.Bounds, heldOf(sub), 0, sub.N())
	if err != nil {
		return m, err
	}
	if err := r.attack(ctx, func() { w.sweep.progress(r.n()) }); err != nil {
		return m, r.named(err)
	}
	out, err := r.outcomes(ctx, false)
	if err != nil {
		return m, r.named(err)
	}
	logits, err := r.logits(ctx)
	if err != nil {
		return m, err
	}
	var picked []int
	for k := range sub.N() {
		for e := range eps {
			row := r.pick(k, e, out)
			picked = append(picked, row)
			m.found, m.logits = append(m.found, out[row]), append(m.logits, logits[row])
		}
	}
	if i == 0 {
		x, err := b.Images(ctx)
		if err != nil {
			return m, err
		}
		inputs := b.Info().Inputs
		m.images = pickRows(x, picked, inputs)
	}
	w.sweep.progress(r.n())
	return m, nil
}

// stage is strike of a staged attack.
func (w *comparing) stage(ctx context.Context, i int, a attack.Attack, sub *dataset.Set, eps []float64) (m made, err error) {
	b := w.sides[i].b
	r := sweeping{Sweep: w.sweep.Sweep, b: b, set: sub, held: heldOf(sub), rows: w.sweep.rows}
	r.Progress = nil
	s, err := r.staged(ctx, a, places(0, sub.N()), eps, true)
	if err != nil {
		return m, err
	}
	labels := eachTimes(sub.Labels, len(eps))
	m.found, m.images = s.found, tensor.New(tensor.WithShape(len(labels), b.Info().Inputs), tensor.WithBacking(slices.Concat(s.moved...)))
	if err := show(ctx, b, 0, m.images, labels); err != nil {
		return m, err
	}
	shown := &rows{b: b}
	if m.logits, err = shown.logits(ctx); err != nil {
		return m, err
	}
	w.sweep.progress(len(labels) * (a.Steps + 1))
	return m, nil
}

// eachTimes returns each of labels n times: those of rows at n eps.
func eachTimes(labels []int32, n int) (all []int32) {
	for _, y := range labels {
		all = append(all, slices.Repeat([]int32{y}, n)...)
	}
	return all
}

// pickRows returns some rows of x [rows, I] as [len(rows), I], in x's type.
func pickRows(x *tensor.Dense, rows []int, inputs int) *tensor.Dense {
	var data any
	switch p := x.Data().(type) {
	case []uint8:
		data = picked(p, rows, inputs)
	case []float32:
		data = picked(p, rows, inputs)
	case []float64:
		data = picked(p, rows, inputs)
	}
	return tensor.New(tensor.WithShape(len(rows), inputs), tensor.WithBacking(data))
}

func picked[T any](p []T, rows []int, inputs int) []T {
	out := make([]T, 0, len(rows)*inputs)
	for _, r := range rows {
		out = append(out, p[r*inputs:][:inputs]...)
	}
	return out
}

// attack makes curve k of both sides.
func (w *comparing) attack(ctx context.Context, k int) error {
	a, n, E := w.c.Attacks[k], w.set.N(), len(w.c.Eps)
	for i := range w.sides {
		w.sides[i].res.Curves = append(w.sides[i].res.Curves, Curve{Attack: a, Outcomes: make([]Outcome, n*E)})
	}
	if a.Composite() {
		for range E {
			w.found.Own, w.found.Same, w.found.SameFlips = append(w.found.Own, nil), append(w.found.Same, nil), append(w.found.SameFlips, -1)
		}
		return nil
	}
	own, same, flips := make([][]float64, E), make([][]float64, E), make([]int, E)
	err := w.batches(n, E, runs(a), func(lo, hi, from, to int) error {
		sub, err := w.set.Slice(lo, hi-lo)
		if err != nil {
			return err
		}
		eps := w.c.Eps[from:to]
		var made [2]made
		for i := range w.sides {
			if made[i], err = w.strike(ctx, i, a, sub, eps); err != nil {
				return err
			}
		}
		// Now A's images on both sides.
		labels := eachTimes(sub.Labels, len(eps))
		inputs := w.sides[0].b.Info().Inputs
		var shown [2][][]float64
		for i := range w.sides {
			b := w.sides[i].b
			if err := show(ctx, b, 0, made[0].images, labels); err != nil {
				return err
			}
			r := &rows{b: b}
			if shown[i], err = r.logits(ctx); err != nil {
				return err
			}
			w.sweep.progress(len(labels))
		}
		var pixels []float64
		for row := range labels {
			e := from + row%len(eps)
			image := lo + row/len(eps)
			for i := range w.sides {
				w.sides[i].res.Curves[k].Outcomes[image*E+e] = made[i].found[row]
			}
			own[e] = appendApart(own[e], made[0].logits[row], made[1].logits[row])
			same[e] = appendApart(same[e], shown[0][row], shown[1][row])
			var class [2]int
			for i := range w.sides {
				var ok bool
				if class[i], _, ok = attack.Judge(shown[i][row], int(labels[row])); !ok {
					return &NotFiniteError{a.Name, w.sweep.first + image, w.c.Eps[e]}
				}
			}
			if class[0] != class[1] {
				flips[e]++
				if pixels == nil {
					pixels = float64s(made[0].images)
				}
				f := Flip{Attack: k, Eps: w.c.Eps[e], Image: w.sweep.first + image, A: int32(class[0]), B: int32(class[1])}
				if err := w.judge(ctx, f, pixels[row*inputs:][:inputs]); err != nil {
					return err
				}
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for e := range E {
		x, y := newSpread(own[e]), newSpread(same[e])
		w.found.Own, w.found.Same, w.found.SameFlips = append(w.found.Own, &x), append(w.found.Same, &y), append(w.found.SameFlips, flips[e])
	}
	return nil
}

// judge adds f, which is of the pixels x [I], to what was found, with whether rounding explains
// that one side chose class A and the other class B. It does nothing if the sides have two models.
// The bound takes two slow passes of the reference, so only flips are judged.
func (w *comparing) judge(ctx context.Context, f Flip, x []float64) error {
	if w.c.Model == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.Explained = true
	f.Short = math.Inf(-1)
	for i, class := range []int32{f.A, f.B} {
		a := w.sides[i].rounding
		z, _ := ref.BoundForward(w.c.Model, ref.Pixels(x, a), a)
		for j := range z {
			if j == int(class) {
				continue
			}
			short, bound := z[j].V-z[class].V, z[j].Err+z[class].Err
			switch within := short <= bound; { // so that NaN explains nothing
			case f.Explained && !within, !within && short-bound > f.Short-f.Bound, f.Explained && short > f.Short:
				f.Short, f.Bound = short, bound
				f.Explained = within
			}
		}
	}
	w.found.Flips = append(w.found.Flips, f)
	return nil
}
