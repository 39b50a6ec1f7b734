package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// A form is one combination of the options of a general step.
type form struct {
	name string
	step attack.Step
	// These say which options the step has that differ by row or by column of eps.
	targeted, sized bool
	inputs          int // of the model
}

// forms are one in seven of all combinations, which has every pair of options, and directions that
// are no gradient, for a model with so many inputs.
func forms(inputs int) (all []form) {
	k := 0
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		for _, loss := range []attack.Loss{attack.CrossEntropy, attack.Margin, attack.DLR} {
			for _, targeted := range []bool{false, true} {
				for memory := range 4 {
					for _, alpha := range []float64{0, 0.75} {
						for limits := range 4 {
							for _, sized := range []bool{false, true} {
								if k++; k%7 != 0 {
									continue
								}
								s := attack.Step{Norm: norm, Loss: loss, Alpha: alpha, Ball: limits%2 == 1,
									Momentum: memory > 0, Nesterov: memory > 1, Decay: []float64{0, 1, 0.75, 0}[memory]}
								if limits > 1 {
									s.Bounds = attack.Bounds{Lo: -0.0625, Hi: 1}
								}
								all = append(all, form{step: s, targeted: targeted, sized: sized})
							}
						}
					}
				}
			}
		}
	}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		for _, d := range []attack.Direction{attack.RandomSign, attack.Uniform, attack.Along} {
			for limits := range 4 {
				s := attack.Step{Direction: d, Norm: norm, Seed: 3, Alpha: float64(limits%2) / 4, Ball: limits%2 == 1}
				if limits > 1 {
					s.Bounds = attack.Bounds{Lo: -0.0625, Hi: 1}
				}
				all = append(all, form{step: s, sized: limits == 2})
			}
		}
	}
	for i := range all {
		f := &all[i]
		s := f.step
		f.inputs = inputs
		f.name = fmt.Sprintf("direction=%d norm=%v loss=%v targeted=%v momentum=%v decay=%v nesterov=%v alpha=%v ball=%v bounds=%v sized=%v",
			s.Direction, s.Norm, s.Loss, f.targeted, s.Momentum, s.Decay, s.Nesterov, s.Alpha, s.Ball, s.Bounds, f.sized)
	}
	return all
}

// at returns step k of f for images lo to hi-1 and columns from to to-1 of eps. The options of a
// row do not depend on the batch that it is in.
func (f form) at(k, lo, hi int, eps []float64, from, to, classes int) attack.Step {
	s := f.step
	s.Index = k
	s.Restarts = []int{0, 0, 3, 65535, 1}[from:to]
	r := func(i, e int) *rand.Rand { return rand.New(rand.NewPCG(uint64(i), uint64(e+100*k))) }
	for i := lo; i < hi; i++ {
		for e := from; e < to; e++ {
			if f.targeted {
				s.Targets = append(s.Targets, int32(r(i, e).IntN(classes)))
			}
			if f.step.Direction == attack.Along {
				r := r(i, e)
				for range f.inputs {
					s.Along = append(s.Along, math.Round(4*r.NormFloat64())/2) // many are 0
				}
			}
			if f.sized {
				s.Size = append(s.Size, eps[e]*(0.25+r(i, e).Float64()))
			}
		}
	}
	if !f.sized {
		for _, e := range eps[from:to] {
			s.Size = append(s.Size, 0.625*e)
		}
	}
	if lo == hi { // no rows, which is not no targets
		s.Targets = nil
	}
	return s
}

// generalSteps compares every form with the reference: three general steps, and a plain one before,
// between or behind them. As in steps, each step of the reference starts at the backend's own x.
func (s suite) generalSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 1))
	s.generalStepsOf(t, ref.RandomModel(r, 1, 12, 9, 8, 5), r, 4, 1)
}

// generalStepsOf takes every every-th form at n images.
func (s suite) generalStepsOf(t *testing.T, m *model.Model, r *rand.Rand, n, every int) {
	classes := m.Outputs()
	images, labels := batch(r, n, m)
	const first = 40
	b := s.open(t, m)
	must(t, b.Load(t.Context(), first, images, labels))
	eps := []float64{0, 0.0625, 0.25, 0.25, 0.75}
	u := s.rounding
	unsure, pixels := 0, 0
	all := forms(m.Inputs())
	for c := 0; c < len(all); c += every {
		f := all[c]
		must(t, b.Begin(t.Context(), 0, n, eps))
		d, err := b.Images(t.Context())
		clean := get(t, d, err)
		rows := make([]ref.Row, len(clean))
		for r := range rows {
			rows[r] = ref.Row{X0: clean[r], Label: int(labels[r/len(eps)]), Image: first + r/len(eps), Eps: eps[r%len(eps)]}
		}
		before := clean
		for k := range 4 {
			step := f.at(k, 0, n, eps, 0, len(eps), classes)
			if k == c/every%4 {
				step = attack.BIM(3).At(k, eps, f.step.Bounds)
			}
			what := fmt.Sprintf("%s: step %d", f.name, k)
			if err := b.Step(t.Context(), step); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			d, err := b.Images(t.Context())
			after := get(t, d, err)
			d, err = b.Logits(t.Context())
			logits := get(t, d, err)
			for r := range rows {
				row, e := &rows[r], r%len(eps)
				what := fmt.Sprintf("%s, row %d", what, r)
				size, target, restart := step.Size[e%len(step.Size)], -1, 0
				if len(step.Size) == len(rows) {
					size = step.Size[r]
				}
				if step.Targets != nil {
					target = int(step.Targets[r])
				}
				if step.Restarts != nil {
					restart = step.Restarts[e]
				}
				row.X = before[r]
				own := step
				if step.Along != nil {
					own.Along = step.Along[r*f.inputs:][:f.inputs]
				}
				want, _, sure := row.Step(m, own, size, target, restart, u)
				for p := range after[r] {
					pixels++
					if !sure || want[p].Err > 0.05*math.Abs(size) {
						unsure++
					}
					if sure {
						check(t, fmt.Sprintf("%s: pixel %d", what, p), after[r][p], want[p])
					}
				}
				s.checkInside(t, what, step, after[r], clean[r], eps[e])
				if eps[e] == 0 && !sameBits(after[r], clean[r]) {
					t.Fatalf("%s: moved at eps 0", what)
				}
				z, _ := ref.BoundForward(m, ref.OnRay(after[r], clean[r], u), u)
				for j, v := range z {
					check(t, fmt.Sprintf("%s: logit %d", what, j), logits[r][j], v)
				}
			}
			before = after
		}
	}
	if unsure*4 > pixels && u != ref.TF32 { // TF32's bounds are wider than most gradients
		t.Errorf("%d of %d pixels are not known: the test says too little", unsure, pixels)
	}
}

// checkInside fails t unless x lies in the ball and in the bounds of the step. A pixel, eps and
// their sum are each rounded, by a unit of x0 or of eps. For all pixels together that is a unit of
// their norm.
func (s suite) checkInside(t *testing.T, what string, step attack.Step, x, x0 []float64, eps float64) {
	t.Helper()
	if !step.Bounds.None() {
		for p, v := range x {
			if !(v >= step.Bounds.Lo && v <= step.Bounds.Hi) {
				t.Fatalf("%s: pixel %d is %v, outside %v", what, p, v, step.Bounds)
			}
		}
	}
	if step.Bounds.None() && !step.Ball {
		return
	}
	u := 0x1p-23
	if s.rounding.Unit == ref.Float64.Unit {
		u = 0x1p-52
	}
	linf, l2, _ := ref.Norms(x, x0)
	_, size, _ := ref.Norms(x, make([]float64, len(x)))
	if got, most := linf, eps+2*u*(eps+size); step.Norm == attack.Linf && !(got <= most) {
		t.Fatalf("%s: a pixel moved by %v, want at most eps %v", what, got, eps)
	}
	if got, most := l2, eps+2*u*(eps+size); step.Norm == attack.L2 && !(got <= most) {
		t.Fatalf("%s: the image moved by %v, want at most eps %v", what, got, eps)
	}
}

// properties makes steps of every form, as extreme as Validate allows, on random models, images and
// bounds. x must stay in the ball and in the bounds of the step, and must not move at eps 0.
func (s suite) properties(t *testing.T) {
	for trial := range 60 {
		r := rand.New(rand.NewPCG(uint64(trial), 9))
		sizes := [][]int{{1, 5}, {7, 3, 5}, {40, 11, 6, 5}}[trial%3]
		all := forms(sizes[0])
		m := ref.RandomModel(r, math.Exp(r.NormFloat64()), sizes...)
		n, in := 1+r.IntN(4), sizes[0]
		bounds := attack.Bounds{Lo: -r.Float64(), Hi: 0.5 + r.Float64()}
		pixels, labels := make([]float64, n*in), make([]int32, n)
		lo, hi := float64(float32(bounds.Lo)), float64(float32(bounds.Hi))
		bounds = attack.Bounds{Lo: lo, Hi: hi}
		for i := range pixels { // many on the bounds
			pixels[i] = float64(float32(lo + (hi-lo)*math.Min(math.Max(1.5*r.Float64()-0.25, 0), 1)))
			pixels[i] = math.Min(math.Max(pixels[i], lo), hi)
		}
		for i := range labels {
			labels[i] = int32(r.IntN(5))
		}
		b := s.load(t, m, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(pixels)), labels)
		eps := []float64{0, math.Exp(3 * r.NormFloat64()), math.Exp(3 * r.NormFloat64()), 1e-6, math.Exp(r.NormFloat64())}
		slices.Sort(eps)
		for range 3 {
			f := all[r.IntN(len(all))]
			if !f.step.Bounds.None() {
				f.step.Bounds = bounds
			}
			f.step.Seed = r.Uint64()
			must(t, b.Begin(t.Context(), 0, n, eps))
			d, err := b.Images(t.Context())
			clean := get(t, d, err)
			for k := range 3 {
				step := f.at(k, 0, n, eps, 0, len(eps), 5)
				for i := range step.Size {
					step.Size[i] *= math.Exp(2 * r.NormFloat64())
					if step.Size[i] == 0 {
						step.Size[i] = 1 // a row at eps 0 stays all the same
					}
					if r.IntN(8) == 0 {
						step.Size[i] *= -1
					}
				}
				if k == trial%4 {
					// a plain one
					step = attack.Step{Size: step.Size[:len(eps)], Bounds: f.step.Bounds}
				}
				what := fmt.Sprintf("trial %d: %s: step %d", trial, f.name, k)
				if err := b.Step(t.Context(), step); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				d, err := b.Images(t.Context())
				for row, x := range get(t, d, err) {
					what := fmt.Sprintf("%s, row %d", what, row)
					s.checkInside(t, what, step, x, clean[row], eps[row%len(eps)])
					if row%len(eps) == 0 && !sameBits(x, clean[row]) {
						t.Fatalf("%s: moved at eps 0", what)
					}
				}
			}
		}
		must(t, b.Close())
	}
}

// generalRows computes the same rows in many different batches. Every bit must agree.
func (s suite) generalRows(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 1))
	s.generalRowsOf(t, ref.RandomModel(r, 1, 50, 23, 5), r, 9, 5)
}

// generalRowsOf takes every every-th form at n images.
func (s suite) generalRowsOf(t *testing.T, m *model.Model, r *rand.Rand, n, every int) {
	classes := m.Outputs()
	images, labels := batch(r, n, m)
	b := s.load(t, m, images, labels)
	eps := []float64{0, 0.0625, 0.25, 0.25, 0.75}
	all := forms(m.Inputs())
	for c := 0; c < len(all); c += every {
		f := all[c]
		var want [][]float64
		for _, split := range [][2]int{{n, 5}, {1, 5}, {4, 2}, {n, 1}} {
			got := make([][]float64, n*len(eps))
			for lo := 0; lo < n; lo += split[0] {
				hi := min(lo+split[0], n)
				for from := 0; from < len(eps); from += split[1] {
					to := min(from+split[1], len(eps))
					must(t, b.Begin(t.Context(), lo, hi, eps[from:to]))
					for k := range 2 {
						must(t, b.Step(t.Context(), f.at(k, lo, hi, eps, from, to, classes)))
					}
					d, err := b.Images(t.Context())
					x := get(t, d, err)
					d, err = b.Logits(t.Context())
					z := get(t, d, err)
					norms := make([]attack.Norms, len(x))
					must(t, rowNorms(t.Context(), t, b, norms))
					for r := range x {
						i, e := lo+r/(to-from), from+r%(to-from)
						got[i*len(eps)+e] = slices.Concat(x[r], z[r], []float64{float64(norms[r].Linf), float64(norms[r].L2), float64(norms[r].L0)})
					}
				}
			}
			if want == nil {
				want = got
			}
			for r := range want {
				if !sameBits(got[r], want[r]) {
					t.Fatalf("%s: batches of %d images and %d eps: row %d differs from one batch of all", f.name, split[0], split[1], r)
				}
			}
		}
	}
}

// losses finds the gradient at the logits from a step, with a model whose logits are its image. Any
// precision holds these logits, and some are tied.
func (s suite) losses(t *testing.T) {
	for _, classes := range []int{2, 3, 4, 7} {
		m := model.MLP(classes, classes)
		for j := range classes {
			m.Layers[0].(model.Linear).Weight.Data().([]float32)[j*classes+j] = 1
		}
		r := rand.New(rand.NewPCG(uint64(classes), 5))
		const n = 24
		x, labels, targets := make([]float32, n*classes), make([]int32, n), make([]int32, n)
		for i := range x {
			x[i] = float32(r.IntN(9)-4) * []float32{0.125, 1, 64}[i/classes%3]
		}
		for i := range labels {
			labels[i], targets[i] = int32(r.IntN(classes)), int32(r.IntN(classes))
		}
		b := s.load(t, m, tensor.New(tensor.WithShape(n, classes), tensor.WithBacking(x)), labels)
		for _, loss := range []attack.Loss{attack.CrossEntropy, attack.Margin, attack.DLR} {
			for _, targeted := range []bool{false, true} {
				if classes < loss.MinClasses(targeted) {
					continue
				}
				step := attack.Step{Loss: loss, Norm: attack.L2, Size: []float64{0.25}}
				if targeted {
					step.Targets = targets
				}
				must(t, b.Begin(t.Context(), 0, n, []float64{1}))
				must(t, b.Step(t.Context(), step))
				zero := make([]bool, n)
				must(t, zeroGradient(t.Context(), t, b, zero))
				d, err := b.Images(t.Context())
				for i, got := range get(t, d, err) {
					z, target := make([]ref.Value, classes), -1
					for j := range z {
						z[j].V = float64(x[i*classes+j])
					}
					if targeted {
						target = int(targets[i])
					}
					g, sure := ref.BoundObjectiveGradient(loss, z, int(labels[i]), target, s.rounding)
					if !sure {
						t.Fatalf("the reference is not sure of exact logits %v", z)
					}
					norm := 0.0
					for _, v := range g {
						norm = math.Hypot(norm, v.V)
					}
					what := fmt.Sprintf("loss %v, label %d, target %d, logits %v", loss, labels[i], target, z)
					if zero[i] != (norm == 0) {
						t.Errorf("%s: counts as zero %v, gradient %v", what, zero[i], g)
					}
					for j, v := range g {
						want := z[j].V
						if norm > 0 {
							want += 0.25 * v.V / norm
						}
						// The gradient is rounded in one product and a norm, and x in one sum.
						tol := 16*s.rounding.Unit*(math.Abs(z[j].V)+1) + 4*s.rounding.Product
						check(t, fmt.Sprintf("%s: pixel %d", what, j), got[j], ref.Value{V: want, Err: tol})
					}
				}
			}
		}
	}
}

// draws compares random directions with the reference, those of Uniform to the bit. Black images
// move by just the direction.
func (s suite) draws(t *testing.T) {
	const in, n = 300, 3
	far := uint64(1<<32 + 5) // where an int has 64 bits
	first := int(far)
	m := model.MLP(in, 2)
	b := s.open(t, m)
	must(t, b.Load(t.Context(), first, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(make([]uint8, n*in))), make([]int32, n)))
	eps, restarts := []float64{1, 1, 1}, []int{0, 65535, 2}
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		for _, d := range []attack.Direction{attack.RandomSign, attack.Uniform} {
			step := attack.Step{Direction: d, Norm: norm, Seed: 1<<63 + 9, Index: 65535, Size: []float64{1, 1, 1}, Restarts: restarts}
			must(t, b.Begin(t.Context(), 1, n, eps))
			must(t, b.Step(t.Context(), step))
			x, err := b.Images(t.Context())
			for r, got := range get(t, x, err) {
				want := ref.Draw(step, in, first+1+r/3, restarts[r%3])
				for p := range want {
					tol := 0.0
					if b.Info().Precision != "float64" {
						want[p] = float64(float32(want[p]))
					}
					if d == attack.RandomSign && norm == attack.L2 {
						tol = 4 * s.rounding.Unit
					}
					check(t, fmt.Sprintf("direction %d, norm %v, row %d: pixel %d", d, norm, r, p), got[p], ref.Value{V: want[p], Err: tol})
				}
			}
		}
	}
}

// momentum has images whose gradient vanishes after the first step, while the momentum does not,
// and images that have no gradient.
func (s suite) momentum(t *testing.T) {
	m := model.MLP(2, 1, 2) // z = x1 + x2 - 1: dark images have no gradient
	copy(m.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{1, 1})
	m.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = -1
	m.Layers[2].(model.Linear).Weight.Data().([]float32)[1] = 1
	b := s.load(t, m, tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float64{1, 1, 0, 0})), []int32{1, 1})
	for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
		for _, momentum := range []bool{false, true} {
			for _, again := range []int{0, 1} { // nothing is left of the first Begin
				must(t, b.Begin(t.Context(), 0, 2, []float64{8}))
				step := attack.Step{Norm: norm, Ball: true, Momentum: momentum, Size: []float64{1.5}}
				if momentum {
					step.Decay = 0.5
				}
				want, factor := 1.0, 1.5
				if norm == attack.L2 {
					factor /= math.Sqrt2
				}
				for k := range 3 {
					step.Index = k
					must(t, b.Step(t.Context(), step))
					if k == 0 || momentum {
						want -= factor
					}
					zero := make([]bool, 2)
					must(t, zeroGradient(t.Context(), t, b, zero))
					if zero[0] != (k > 0) || !zero[1] {
						t.Errorf("norm %v, momentum %v, Begin %d, step %d: zero gradients %v", norm, momentum, again, k, zero)
					}
					d, err := b.Images(t.Context())
					x := get(t, d, err)
					for p := range 2 {
						what := fmt.Sprintf("norm %v, momentum %v, Begin %d, step %d: pixel %d", norm, momentum, again, k, p)
						check(t, what, x[0][p], ref.Value{V: want, Err: 16*s.rounding.Unit + 4*s.rounding.Product})
						check(t, what+" of the dark image", x[1][p], ref.Value{})
					}
				}
			}
		}
	}
	// The gradient counts where the row is now and not where it came from. It is 0 there, also in a
	// plain step that does not move the row.
	must(t, b.Begin(t.Context(), 0, 1, []float64{8}))
	zero := make([]bool, 1)
	for k, size := range []float64{1, 0} {
		must(t, b.Step(t.Context(), attack.Step{Ball: k == 0, Size: []float64{size}}))
		must(t, zeroGradient(t.Context(), t, b, zero))
		if zero[0] != (k == 1) {
			t.Errorf("step %d of size %v: zero gradient %v", k, size, zero[0])
		}
	}
}

// generalNotFinite has, for every loss, an image whose gradient is not finite, and one whose
// logits are not finite.
func (s suite) generalNotFinite(t *testing.T) {
	if s.rounding.Unit == ref.Float64.Unit {
		t.Skip("float64 holds these numbers")
	}
	// x = 0: h = 1, 1e25, logits 1e35 and 0; gradient 1e10·1e25·1e25. x = 1e10: infinite logits.
	m := model.MLP(1, 1, 1, 4)
	for l, w := range []float32{1e25, 1e25, 1e10} {
		m.Layers[2*l].(model.Linear).Weight.Data().([]float32)[0] = w
	}
	m.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = 1
	for name, pixel := range map[string]float32{"gradient": 0, "logits": 1e10} {
		for _, loss := range []attack.Loss{attack.CrossEntropy, attack.Margin, attack.DLR} {
			if name == "gradient" && loss == attack.DLR {
				continue // which the scale of the logits is taken out of
			}
			for _, momentum := range []bool{false, true} {
				for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
					what := fmt.Sprintf("%s, loss %v, momentum %v, norm %v", name, loss, momentum, norm)
					b := s.open(t, m)
					must(t, b.Load(t.Context(), 5, tensor.New(tensor.WithShape(2, 1), tensor.WithBacking([]float32{-1, pixel})), []int32{1, 1}))
					must(t, b.Begin(t.Context(), 0, 2, []float64{0.5}))
					err := b.Step(t.Context(), attack.Step{Loss: loss, Norm: norm, Momentum: momentum, Ball: true, Size: []float64{0.5}})
					if err == nil { // the next call may report it instead
						err = predictions(t.Context(), t, b, make([]int32, 2))
					}
					if err == nil || !strings.Contains(err.Error(), "image 6") {
						t.Errorf("%s: error %v, want one that names image 6", what, err)
					}
					if err := rowNorms(t.Context(), t, b, make([]attack.Norms, 2)); err == nil {
						t.Errorf("%s: there are rows after the error", what)
					}
					must(t, b.Close())
				}
			}
		}
	}
}

// slots keeps and restores rows in every state: as they came, after plain steps, and after general
// ones.
func (s suite) slots(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 1))
	s.slotsOf(t, ref.RandomModel(r, 1, 20, 9, 7, 4), r)
}

func (s suite) slotsOf(t *testing.T, m *model.Model, r *rand.Rand) {
	const n = 4
	images, labels := batch(r, n, m)
	b := s.load(t, m, images, labels)
	eps := []float64{0, 0.125, 0.25}
	const rows = n * 3
	current := func() [][]float64 {
		d, err := b.Images(t.Context())
		return get(t, d, err)
	}
	some := func(every, from int) []bool {
		set := make([]bool, rows)
		for r := from; r < rows; r += every {
			set[r] = true
		}
		return set
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for _, ball := range []bool{false, true} { // a general step
			step := func(k int) {
				s := attack.BIM(3).At(k, eps, bounds)
				s.Ball = ball
				must(t, b.Step(t.Context(), s))
			}
			what := fmt.Sprintf("bounds %v, ball %v", bounds, ball)
			must(t, b.Begin(t.Context(), 0, n, eps))
			clean := current()
			must(t, b.Keep(t.Context(), 1, some(1, 0)))
			step(0)
			one := current()
			must(t, b.Keep(t.Context(), 0, some(2, 0)))
			step(1)
			must(t, b.Keep(t.Context(), 1, some(4, 1)))
			two := current()
			step(2)
			three := current()
			compare := func(when string, want func(r int) []float64) {
				t.Helper()
				got := current()
				d, err := b.Logits(t.Context())
				logits := get(t, d, err)
				for r := range got {
					if !sameBits(got[r], want(r)) {
						t.Fatalf("%s, %s: row %d is %v, want %v", what, when, r, got[r], want(r))
					}
					z, _ := ref.BoundForward(m, ref.OnRay(got[r], clean[r], s.rounding), s.rounding)
					for j, v := range z {
						check(t, fmt.Sprintf("%s, %s: row %d: logit %d", what, when, r, j), logits[r][j], v)
					}
				}
			}
			compare("as it was", func(r int) []float64 { return three[r] })
			must(t, b.Restore(t.Context(), 0, some(3, 0)))
			compare("slot 0", func(r int) []float64 {
				switch {
				case r%3 != 0:
					return three[r]
				case r%2 == 0:
					return one[r]
				}
				return clean[r] // was not kept
			})
			must(t, b.Restore(t.Context(), 1, some(1, 0)))
			fromSlot1 := func(r int) []float64 {
				if r%4 == 1 {
					return two[r]
				}
				return clean[r]
			}
			compare("slot 1", fromSlot1)
			must(t, b.Restore(t.Context(), 1, make([]bool, rows)))
			compare("no row of slot 1", fromSlot1)
			// A step goes on from what was restored.
			random := attack.Step{Direction: attack.RandomSign, Seed: 4, Size: []float64{0, 0.125, 0.25}, Bounds: attack.Bounds{Lo: -2, Hi: 3}}
			must(t, b.Step(t.Context(), random))
			for r, got := range current() {
				d := ref.Draw(random, len(got), r/3, 0)
				for p, v := range ref.SignStep(fromSlot1(r), clean[r], d, random.Size[r%3], eps[r%3], random.Bounds) {
					check(t, fmt.Sprintf("%s: row %d after a step from slot 1: pixel %d", what, r, p), got[p], ref.Value{V: v, Err: 8 * s.rounding.Unit})
				}
			}
			must(t, b.Begin(t.Context(), 0, n, eps))
			must(t, b.Restore(t.Context(), 1, some(1, 0)))
			compare("slot 1 after Begin", func(r int) []float64 { return clean[r] })
			// Fewer rows and then all: what lay behind the fewer must not come back.
			must(t, b.Keep(t.Context(), 0, some(1, 0)))
			must(t, b.Begin(t.Context(), 0, 1, eps[:1]))
			must(t, b.Keep(t.Context(), 0, []bool{true}))
			must(t, b.Begin(t.Context(), 0, n, eps))
			step(0)
			must(t, b.Restore(t.Context(), 0, some(1, 0)))
			compare("slot 0 after two Begin", func(r int) []float64 { return clean[r] })
		}
	}
}

// round compares rounded rows with the reference, for images of bytes and others, from any pixels.
// It leaves out a pixel within 5e-5 of a place where the reference changes from one level to
// another, since 255·x rounds.
func (s suite) round(t *testing.T) {
	const n, in = 3, 40
	r := rand.New(rand.NewPCG(14, 1))
	m := model.MLP(in, 2)
	bytes := make([]uint8, n*in)
	floats := make([]float64, n*in)
	for i := range bytes {
		bytes[i] = uint8(r.IntN(256))
		floats[i] = r.Float64()*1.5 - 0.25
	}
	eps := []float64{0, 0.001, 0.002, 0.03, 8. / 255, 0.47}
	near := func(v float64) bool { return math.Abs(v-math.RoundToEven(v)) < 5e-5 }
	for name, x0 := range map[string]any{"bytes": bytes, "floats": floats} {
		b := s.load(t, m, tensor.New(tensor.WithShape(n, in), tensor.WithBacking(x0)), make([]int32, n))
		for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
			for steps := range 3 {
				must(t, b.Begin(t.Context(), 0, n, eps))
				d, err := b.Images(t.Context())
				clean := get(t, d, err)
				for k := range steps {
					step := attack.Step{Direction: attack.Uniform, Norm: norm, Ball: true, Index: k, Size: []float64{1, 0.002, 0.002, 0.03, 0.06, 0.75}}
					if steps == 1 { // plain
						step = attack.Step{Direction: attack.RandomSign, Size: []float64{0, 0.0005, 0.001, 0.029, 7.6 / 255, 0.2}}
					}
					must(t, b.Step(t.Context(), step))
				}
				d, err = b.Images(t.Context())
				before := get(t, d, err)
				must(t, roundRows(t.Context(), t, b, norm))
				d, err = b.Images(t.Context())
				left, all := 0, 0
				for r, got := range get(t, d, err) {
					e := eps[r%len(eps)]
					if b.Info().Precision != "float64" {
						e = float64(float32(e))
					}
					for p, v := range got {
						x, x0 := before[r][p], clean[r][p]
						all++
						switch off := math.Abs(255*x - math.RoundToEven(255*x)); {
						case norm == attack.Linf && (near(255*x-0.5) || near(255*x0-0.5) || near(255*(x0-e)-1e-4) || near(255*(x0+e)+1e-4)),
							norm == attack.L2 && (math.Abs(off-1e-4) < 5e-5 || near(255*x0-0.5)):
							left++
							continue
						}
						level := ref.Round(norm, x, x0, e)
						want := float64(level) / 255
						if b.Info().Precision != "float64" {
							want = float64(float32(level) / 255)
						}
						if v != want {
							t.Fatalf("%s, norm %v, %d steps, row %d: pixel %d is %v, %v of a level, want level %d: x %v, clean %v, eps %v", name, norm, steps, r, p, v, 255*v, level, x, x0, e)
						}
						if name == "bytes" && norm == attack.Linf && !(math.Abs(v-x0) <= e+1e-6) {
							t.Fatalf("norm %v, %d steps, row %d: pixel %d moved by %v, eps %v", norm, steps, r, p, v-x0, e)
						}
						if name == "bytes" && x >= 0 && x <= 1 && norm == attack.L2 && !(math.Abs(v-x0) <= math.Abs(x-x0)+1e-6) {
							t.Fatalf("norm %v, %d steps, row %d: pixel %d moved away from %v to %v, clean %v", norm, steps, r, p, x, v, x0)
						}
					}
					if name == "bytes" && e == 0 && !sameBits(got, clean[r]) {
						t.Fatalf("norm %v: row %d moved at eps 0", norm, r)
					}
				}
				if left*20 > all {
					t.Errorf("%s, norm %v: %d of %d pixels left out: the test says too little", name, norm, left, all)
				}
			}
		}
	}
}

// norms compares norms with the reference, in every state of the rows.
func (s suite) norms(t *testing.T) {
	const n = 3
	r := rand.New(rand.NewPCG(15, 1))
	m := ref.RandomModel(r, 1, 70, 9, 4)
	images, labels := batch(r, n, m)
	b := s.load(t, m, images, labels)
	eps := []float64{0, 0.125, 0.25}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for steps := range 5 {
			must(t, b.Begin(t.Context(), 0, n, eps))
			d, err := b.Images(t.Context())
			clean := get(t, d, err)
			for k := range steps {
				s := attack.BIM(3).At(k, eps, bounds)
				if k == 2 {
					s.Norm, s.Ball = attack.L2, true
				}
				must(t, b.Step(t.Context(), s))
			}
			d, err = b.Images(t.Context())
			x := get(t, d, err)
			got := make([]attack.Norms, len(x))
			must(t, rowNorms(t.Context(), t, b, got))
			for r, v := range got {
				linf, l2, l0 := ref.Norms(x[r], clean[r])
				what := fmt.Sprintf("bounds %v, %d steps, row %d", bounds, steps, r)
				check(t, what+": linf", float64(v.Linf), ref.Value{V: linf, Err: 0x1p-23 * linf})
				check(t, what+": l2", float64(v.L2), ref.Value{V: l2, Err: 0x1p-22 * l2})
				if int(v.L0) != l0 {
					t.Errorf("%s: l0 %d, want %d", what, v.L0, l0)
				}
				if r%3 > 0 && steps > 0 && l0 == 0 {
					t.Errorf("%s: did not move: the test says too little", what)
				}
			}
		}
	}
}

// generalRefusals feeds bad input and calls methods out of order. Each must give an error and no
// panic, and the rows must be as they were.
func (s suite) generalRefusals(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 1))
	m := ref.RandomModel(r, 1, 4, 3, 2)
	in := m.Inputs()
	images, labels := batch(r, 2, m)
	eps := []float64{0.125, 0.25}
	size := []float64{0.125, 0.25}
	nan := math.NaN()
	calls := func(b Backend, rows int) map[string]error {
		return map[string]error{
			"Keep": b.Keep(t.Context(), 0, make([]bool, rows)), "Restore": b.Restore(t.Context(), 0, make([]bool, rows)),
			"rounding": roundRows(t.Context(), t, b, attack.Linf), "norms": rowNorms(t.Context(), t, b, make([]attack.Norms, rows)),
			"Step": b.Step(t.Context(), attack.Step{Ball: true, Size: size}),
		}
	}
	b := s.load(t, m, images, labels)
	for name, err := range calls(b, 0) {
		if err == nil {
			t.Errorf("%s before Begin: no error", name)
		}
	}
	must(t, b.Begin(t.Context(), 1, 1, eps)) // no rows
	for name, err := range calls(b, 0) {
		if err != nil {
			t.Errorf("%s of no rows: %v", name, err)
		}
	}
	must(t, b.Begin(t.Context(), 0, 2, eps))
	must(t, b.Step(t.Context(), attack.Step{Ball: true, Size: size}))
	d, err := b.Images(t.Context())
	before := get(t, d, err)
	for name, step := range map[string]attack.Step{
		"three sizes":              {Ball: true, Size: []float64{1, 1, 1}},
		"no sizes":                 {Ball: true},
		"infinite size":            {Ball: true, Size: []float64{1, math.Inf(1)}},
		"unknown direction":        {Direction: 4, Size: size},
		"along nothing":            {Direction: attack.Along, Size: size},
		"along too little":         {Direction: attack.Along, Size: size, Along: make([]float64, 4*in-4)},
		"along too much":           {Direction: attack.Along, Size: size, Along: make([]float64, 4*in+4)},
		"along part of a row":      {Direction: attack.Along, Size: size, Along: make([]float64, 4*in-1)},
		"along a NaN":              {Direction: attack.Along, Size: size, Along: append(make([]float64, 4*in-1), nan)},
		"along and no such step":   {Along: make([]float64, 4*in), Size: size},
		"momentum of along":        {Direction: attack.Along, Momentum: true, Size: size, Along: make([]float64, 4*in)},
		"negative direction":       {Direction: -1, Size: size},
		"unknown norm":             {Norm: 2, Size: size},
		"unknown loss":             {Loss: 3, Size: size},
		"too few targets":          {Targets: []int32{0, 1}, Size: size},
		"target of no class":       {Targets: []int32{0, 1, 2, 0}, Size: size},
		"negative target":          {Targets: []int32{0, 1, -1, 0}, Size: size},
		"no targets but not nil":   {Targets: []int32{}, Size: size},
		"dlr of two classes":       {Loss: attack.DLR, Size: size},
		"too few restarts":         {Restarts: []int{0}, Size: size},
		"negative restart":         {Restarts: []int{0, -1}, Size: size},
		"restart too large":        {Restarts: []int{0, 65536}, Size: size},
		"step too large":           {Index: 65536, Ball: true, Size: size},
		"negative step":            {Index: -1, Ball: true, Size: size},
		"nesterov alone":           {Nesterov: true, Ball: true, Size: size},
		"momentum of noise":        {Direction: attack.Uniform, Momentum: true, Size: size},
		"decay not a number":       {Momentum: true, Decay: nan, Size: size},
		"negative decay":           {Momentum: true, Decay: -1, Size: size},
		"infinite decay":           {Momentum: true, Decay: math.Inf(1), Size: size},
		"alpha above 1":            {Alpha: 1.5, Size: size},
		"negative alpha":           {Alpha: -0.5, Size: size},
		"alpha not a number":       {Alpha: nan, Size: size},
		"reversed bounds":          {Ball: true, Size: size, Bounds: attack.Bounds{Lo: 1, Hi: 0}},
		"images not in the bounds": {Ball: true, Size: size, Bounds: attack.Bounds{Lo: 0.5, Hi: 0.625}},
	} {
		if err := b.Step(t.Context(), step); err == nil {
			t.Errorf("step, %s: no error", name)
		}
	}
	for name, err := range map[string]error{
		"keep in slot 2": b.Keep(t.Context(), 2, make([]bool, 4)), "keep in slot -1": b.Keep(t.Context(), -1, make([]bool, 4)),
		"keep 3 of 4 rows":  b.Keep(t.Context(), 0, make([]bool, 3)),
		"restore of slot 2": b.Restore(t.Context(), 2, make([]bool, 4)), "restore of slot -1": b.Restore(t.Context(), -1, make([]bool, 4)),
		"restore 5 of 4 rows": b.Restore(t.Context(), 1, make([]bool, 5)), "restore nil": b.Restore(t.Context(), 1, nil),
		"round in norm 2": roundRows(t.Context(), t, b, 2), "round in norm -1": roundRows(t.Context(), t, b, -1),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	d, err = b.Images(t.Context())
	if after := get(t, d, err); !slices.EqualFunc(before, after, sameBits) {
		t.Error("what was refused moved rows")
	}
	four := ref.RandomModel(r, 1, 4, 3)
	c := s.load(t, four, images, labels)
	must(t, c.Begin(t.Context(), 0, 2, eps))
	if err := c.Step(t.Context(), attack.Step{Loss: attack.DLR, Targets: make([]int32, 4), Size: size}); err == nil {
		t.Error("targeted dlr of three classes: no error")
	}
	must(t, b.Close())
	for name, err := range calls(b, 4) {
		if err == nil {
			t.Errorf("%s after Close: no error", name)
		}
	}
}
