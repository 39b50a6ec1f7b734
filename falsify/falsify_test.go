package falsify

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"advsweep/backend"
	"advsweep/certify"
	"advsweep/cpu"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/vnnlib"

	"github.com/google/go-cmp/cmp"
)

// open opens the CPU backend in float32.
func open(t *testing.T, m *model.Model, threads int) pipeline.Backend {
	t.Helper()
	b, err := cpu.New[float32](m, cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// randomBox is a box of n inputs, some of which cannot move.
func randomBox(r *rand.Rand, n int) (lo, hi []float64) {
	for range n {
		a, width := 2*r.Float64()-1, 0.3*r.Float64()
		if r.IntN(5) == 0 {
			width = 0
		}
		lo, hi = append(lo, a), append(hi, a+width)
	}
	return lo, hi
}

// leastOf is the least value of Σ Factor·y over a box, of a network that is one Linear: in closed
// form.
func leastOf(l model.Linear, lo, hi []float64, terms []vnnlib.Term) (v float64) {
	w, bias := ref.Float64s(l.Weight), ref.Float64s(l.Bias)
	a := make([]float64, len(lo))
	for _, t := range terms {
		v += t.Factor * bias[t.Output]
		for i := range a {
			a[i] += t.Factor * w[t.Output*len(lo)+i]
		}
	}
	for i, f := range a {
		v += min(f*lo[i], f*hi[i])
	}
	return v
}

// TestLinear asks properties of linear networks, whose answers are known in closed form, with
// bounds a little on either side of the least value: sat and unsat come out, and never wrong.
func TestLinear(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	seen := map[Verdict]int{}
	for range 60 {
		const inputs, outputs = 12, 4
		m := ref.RandomModel(r, 1, inputs, outputs)
		l := m.Layers[0].(model.Linear)
		p := &vnnlib.Property{Inputs: inputs, Outputs: outputs}
		lo, hi := randomBox(r, inputs)
		want := Unsat
		for range 1 + r.IntN(3) {
			terms := []vnnlib.Term{{Output: r.IntN(2), Factor: 1 + r.Float64()}, {Output: 2 + r.IntN(2), Factor: -1 - r.Float64()}}
			least, off := leastOf(l, lo, hi, terms), 1e-3
			if r.IntN(3) > 0 {
				off = -off
			} else {
				want = Sat
			}
			p.Cases = append(p.Cases, vnnlib.Case{Lo: lo, Hi: hi, All: []vnnlib.Constraint{{Terms: terms, Bound: least + off}}})
		}
		prover, err := certify.New(m, certify.Alpha)
		if err != nil {
			t.Fatal(err)
		}
		s := Search{Model: m, Backend: open(t, m, 1), Property: p, Rounds: 6, Prover: prover}
		a, err := s.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.Verdict != want {
			t.Errorf("%s, want %s: %+v", a.Verdict, want, a)
		}
		seen[a.Verdict]++
		if a.Verdict == Sat {
			y, _ := ref.Forward(m, a.X)
			if got := p.Holds(a.X, y); got < 0 || got != a.Case {
				t.Errorf("the counterexample holds by case %d, want %d", got, a.Case)
			}
			if diff := cmp.Diff(y, a.Y); diff != "" {
				t.Errorf("outputs: %s", diff)
			}
		}
		s.Prover = nil
		if a, err = s.Run(t.Context()); err != nil || a.Verdict != map[Verdict]Verdict{Sat: Sat, Unsat: Unknown}[want] {
			t.Errorf("without a prover: %s, %v, want %s", a.Verdict, err, want)
		}
	}
	if seen[Sat] < 10 || seen[Unsat] < 10 {
		t.Errorf("answers %v: too few of one kind", seen)
	}
}

// rivals is the property that another class than label has as large a logit, in a box around x.
func rivals(x []float64, eps float64, label, classes int) *vnnlib.Property {
	p := &vnnlib.Property{Inputs: len(x), Outputs: classes}
	lo, hi := make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		lo[i], hi[i] = max(0, v-eps), min(1, v+eps)
	}
	for j := range classes {
		if j == label {
			continue
		}
		terms := []vnnlib.Term{{Output: j, Factor: -1}, {Output: label, Factor: 1}}
		if label < j {
			terms[0], terms[1] = terms[1], terms[0]
		}
		p.Cases = append(p.Cases, vnnlib.Case{Lo: lo, Hi: hi, All: []vnnlib.Constraint{{Terms: terms}}})
	}
	return p
}

// plain is a backend without the abilities that it may have beyond pipeline.Backend.
type plain struct{ pipeline.Backend }

// TestSame: an answer depends on neither threads nor what the backend can do at once, and with
// another seed on the seed.
func TestSame(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	m := ref.RandomModel(r, 1, 30, 20, 5)
	x := make([]float64, 30)
	for i := range x {
		x[i] = r.Float64()
	}
	z, _ := ref.Forward(m, x)
	p := rivals(x, 0.02, ref.Argmax(z), 5)
	var all []Answer
	for _, s := range []Search{
		{Backend: open(t, m, 1)},
		{Backend: open(t, m, 3)},
		{Backend: plain{open(t, m, 1)}},
	} {
		s.Model, s.Property, s.Rounds = m, p, 6
		least := math.Inf(1)
		s.Progress = func(now Progress) { least = now.Least }
		a, err := s.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.Y = append(a.Y, least)
		all = append(all, a)
	}
	for _, a := range all[1:] {
		if diff := cmp.Diff(all[0], a); diff != "" {
			t.Errorf("another answer:\n%s", diff)
		}
	}
}

// TestConstraints: all constraints of a case hold for its counterexample, strict ones strictly, and
// a case without any holds at once.
func TestConstraints(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	m := ref.RandomModel(r, 1, 10, 16, 3)
	lo, hi := make([]float64, 10), make([]float64, 10)
	for i := range hi {
		hi[i] = 1
	}
	inside := make([]float64, 10)
	for i := range inside {
		inside[i] = r.Float64()
	}
	y, _ := ref.Forward(m, inside)
	var c vnnlib.Case
	c.Lo, c.Hi = lo, hi
	for j, v := range y { // a small box of outputs around y
		c.All = append(c.All, vnnlib.Constraint{Terms: []vnnlib.Term{{Output: j, Factor: 1}}, Bound: v + 0.05, Strict: true},
			vnnlib.Constraint{Terms: []vnnlib.Term{{Output: j, Factor: -1}}, Bound: 0.05 - v, Strict: true})
	}
	for _, cases := range [][]vnnlib.Case{{c}, {{Lo: lo, Hi: hi}}} {
		s := Search{Model: m, Backend: open(t, m, 1), Property: &vnnlib.Property{Inputs: 10, Outputs: 3, Cases: cases}, Rounds: 10}
		a, err := s.Run(t.Context())
		if err != nil || a.Verdict != Sat || !cases[0].Holds(a.X, a.Y) {
			t.Errorf("%s, %v, want a counterexample with outputs near %v: %v", a.Verdict, err, y, a.Y)
		}
	}
}

// TestEnds: at its deadline a search is over without an error; interrupted it says so; a property
// of another network, and outputs that are not finite, are errors.
func TestEnds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := ref.RandomModel(r, 1, 10, 8, 3)
	never := &vnnlib.Property{Inputs: 10, Outputs: 3, Cases: []vnnlib.Case{{Lo: make([]float64, 10), Hi: make([]float64, 10), All: []vnnlib.Constraint{{Terms: []vnnlib.Term{{Output: 0, Factor: 1}}, Bound: -1e9}}}}}
	s := Search{Model: m, Backend: open(t, m, 1), Property: never}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if a, err := s.Run(ctx); err != nil || a.Verdict != Unknown || a.Passes == 0 {
		t.Errorf("at the deadline: %+v, %v", a, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s.Progress = func(Progress) { stop() }
	if a, err := s.Run(ctx); !errors.Is(err, context.Canceled) || a.Verdict != Unknown {
		t.Errorf("interrupted: %+v, %v", a, err)
	}
	s.Progress = nil
	s.Property = &vnnlib.Property{Inputs: 9, Outputs: 3}
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "9 inputs") {
		t.Errorf("another network: %v", err)
	}
	s.Property = &vnnlib.Property{Inputs: 10, Outputs: 3}
	if a, err := s.Run(t.Context()); err != nil || a.Verdict != Unknown && a.Verdict != Unsat {
		t.Errorf("no cases: %+v, %v", a, err)
	}
	m.Layers[0].(model.Linear).Weight.Data().([]float32)[0] = math.MaxFloat32
	far := never.Cases[0]
	far.Lo, far.Hi = make([]float64, 10), make([]float64, 10)
	for i := range far.Lo {
		far.Lo[i], far.Hi[i] = 1e30, 1e30
	}
	s = Search{Model: m, Backend: open(t, m, 1), Property: &vnnlib.Property{Inputs: 10, Outputs: 3, Cases: []vnnlib.Case{far}}, Rounds: 1}
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "finite") {
		t.Errorf("outputs that are not finite: %v", err)
	}
}

// A liar proves nothing, by an error or by bounds that say so.
type liar struct{ err error }

func (l liar) Lower(_ context.Context, _, _ []float64, q [][]float64) ([]float64, error) {
	least := make([]float64, len(q))
	for k := range least {
		least[k] = math.NaN()
	}
	return least, l.err
}

func (l liar) Linear(ctx context.Context, lo, hi []float64, q [][]float64) ([]float64, [][]float64, error) {
	least, err := l.Lower(ctx, lo, hi, q)
	slopes := make([][]float64, len(q))
	for k := range slopes {
		slopes[k] = make([]float64, len(lo))
	}
	return least, slopes, err
}

// TestUnproven: bounds that are NaN prove nothing, and a prover that cannot say is named.
func TestUnproven(t *testing.T) {
	m := ref.RandomModel(rand.New(rand.NewPCG(1, 1)), 1, 10, 8, 3)
	x := make([]float64, 10)
	z, _ := ref.Forward(m, x)
	for _, err := range []error{nil, errors.New("no lines of that layer")} {
		s := Search{Model: m, Backend: open(t, m, 1), Property: rivals(x, 1e-9, ref.Argmax(z), 3), Rounds: 5, Prover: liar{err}}
		a, got := s.Run(t.Context())
		if got != nil || a.Verdict != Unknown || a.Proven != 0 || !errors.Is(a.Unproven, err) {
			t.Errorf("%+v, %v, want unknown and %v", a, got, err)
		}
	}
}

// TestWithin: what within returns lies between the ends, and is a float32 if there is one.
func TestWithin(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 100_000 {
		lo := float64(float32(r.NormFloat64()))
		if r.IntN(2) == 0 {
			lo = r.NormFloat64()
		}
		hi := lo + math.Exp(-30*r.Float64())
		if r.IntN(8) == 0 {
			hi = lo
		}
		v := within(lo+(hi-lo)*(1.2*r.Float64()-0.1), lo, hi)
		up := float32(lo)
		if float64(up) < lo {
			up = math.Nextafter32(up, 9)
		}
		if !(v >= lo && v <= hi) || float64(up) <= hi && float64(float32(v)) != v {
			t.Fatalf("%v, want a float32 from %v to %v", v, lo, hi)
		}
	}
}

// TestJudge: with a bound that is missed by less than float32 can tell, float32 says now and then
// that a constraint holds, and the answer is never sat.
func TestJudge(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	fooled := 0
	for range 60 {
		m := ref.RandomModel(r, 1, 12, 4)
		lo, hi := randomBox(r, 12)
		for i := range lo { // to float32, so that the corners are points of the box
			lo[i], hi[i] = float64(float32(lo[i])), float64(float32(hi[i]))
		}
		terms := []vnnlib.Term{{Output: 0, Factor: 1}, {Output: 1, Factor: -1}}
		bound := leastOf(m.Layers[0].(model.Linear), lo, hi, terms) - 1e-9
		p := &vnnlib.Property{Inputs: 12, Outputs: 4, Cases: []vnnlib.Case{{Lo: lo, Hi: hi, All: []vnnlib.Constraint{{Terms: terms, Bound: bound}}}}}
		s := Search{Model: m, Backend: open(t, m, 1), Property: p, Rounds: 2}
		least := math.Inf(1)
		s.Progress = func(now Progress) { least = now.Least }
		if a, err := s.Run(t.Context()); err != nil || a.Verdict != Unknown {
			t.Errorf("%s, %v: outputs %v, bound %v", a.Verdict, err, a.Y, bound)
		}
		if least <= 0 {
			fooled++
		}
	}
	if fooled == 0 {
		t.Error("float32 was never wrong: the test shows nothing")
	}
	// The only point of a box is no float32: a constraint has to hold there and at the float32
	// nearest.
	m := ref.RandomModel(r, 1, 1, 2)
	w := m.Layers[0].(model.Linear)
	copy(w.Weight.Data().([]float32), []float32{1, -1})
	copy(w.Bias.Data().([]float32), []float32{0, 0})
	x := []float64{0.1}
	for j, at := range []float64{0.1, -float64(float32(0.1))} {
		p := &vnnlib.Property{Inputs: 1, Outputs: 2, Cases: []vnnlib.Case{{Lo: x, Hi: x, All: []vnnlib.Constraint{{Terms: []vnnlib.Term{{Output: j, Factor: 1}}, Bound: at}}}}}
		s := Search{Model: m, Backend: open(t, m, 1), Property: p, Rounds: 1}
		if a, err := s.Run(t.Context()); err != nil || a.Verdict != Unknown {
			t.Errorf("output %d: %s, %v", j, a.Verdict, err)
		}
	}
}

// A table is a prover with bounds and slopes that are given.
type table struct {
	least  []float64
	slopes [][]float64
}

func (p table) Lower(_ context.Context, _, _ []float64, q [][]float64) ([]float64, error) {
	return p.least[:len(q)], nil
}

func (p table) Linear(_ context.Context, _, _ []float64, q [][]float64) ([]float64, [][]float64, error) {
	return p.least[:len(q)], p.slopes[:len(q)], nil
}

// TestProve: a case is impossible if one of its constraints is proven to be above its bound, or at
// it if it is strict. The corner of another case is where the slopes of its hardest constraint
// point.
func TestProve(t *testing.T) {
	at := func(bound float64, strict bool) vnnlib.Constraint {
		return vnnlib.Constraint{Terms: []vnnlib.Term{{Output: 0, Factor: 1}}, Bound: bound, Strict: strict}
	}
	lo, hi := []float64{0, 0, 0}, []float64{1, 1, 1}
	p := &vnnlib.Property{Inputs: 3, Outputs: 2, Cases: []vnnlib.Case{
		{Lo: lo, Hi: hi, All: []vnnlib.Constraint{at(1, false)}},                // least 1.5
		{Lo: lo, Hi: hi, All: []vnnlib.Constraint{at(1, false)}},                // 1
		{Lo: lo, Hi: hi, All: []vnnlib.Constraint{at(1, true)}},                 // 1
		{Lo: lo, Hi: hi, All: []vnnlib.Constraint{at(1, true), at(1, false)}},   // 0.5, 0.75
		{Lo: lo, Hi: hi, All: []vnnlib.Constraint{at(9, false), at(-1, false)}}, // 0, 0
	}}
	s := &Search{Property: p, Prover: table{
		least:  []float64{1.5, 1, 1, 0.5, 0.75, 0, 0},
		slopes: [][]float64{{1, 1, 1}, {1, -1, 0}, {1, 1, 1}, {1, 1, 1}, {-1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
	}}
	for k, proof := range proofs {
		h := &hunt{search: s, answer: &Answer{}, corners: map[int][]float64{}}
		left, err := h.prove(t.Context(), proof, []int{0, 1, 2, 3, 4})
		if err != nil || !cmp.Equal(left, []int{1, 3}) {
			t.Errorf("proof %d leaves cases %v, %v, want 1 and 3", k, left, err)
		}
		if k > 0 {
			continue
		}
		for place, want := range map[int][]float64{1: {0, 1, 0.5}, 3: {1, 0, 0}} {
			if diff := cmp.Diff(want, h.corners[place]); diff != "" {
				t.Errorf("the corner of case %d:\n%s", place, diff)
			}
		}
	}
}

// few is a backend that takes a few rows at a time.
type few struct{ pipeline.Backend }

func (f few) Info() backend.Info {
	i := f.Backend.Info()
	i.Rows = 4
	return i
}

// TestBatches: what a round finds does not depend on how many rows a batch has, as far as no row
// finds a counterexample.
func TestBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	m := ref.RandomModel(r, 1, 30, 20, 5)
	x := make([]float64, 30)
	z, _ := ref.Forward(m, x)
	var least [2]float64
	for k, b := range []pipeline.Backend{open(t, m, 1), few{open(t, m, 1)}} {
		s := Search{Model: m, Backend: b, Property: rivals(x, 0.01, ref.Argmax(z), 5), Rounds: 3}
		s.Progress = func(now Progress) { least[k] = now.Least }
		if a, err := s.Run(t.Context()); err != nil || a.Verdict != Unknown {
			t.Fatalf("%s, %v, want unknown", a.Verdict, err)
		}
	}
	if !(least[0] == least[1] && least[0] > 0) {
		t.Errorf("least values %v, want one above 0", least)
	}
}
