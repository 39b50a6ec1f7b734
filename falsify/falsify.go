// Package falsify looks for an input of a network that makes a property of VNN-LIB true, a
// counterexample, and asks a Prover whether there is any.
//
// All cases of the property are attacked at once, as rows of one batch. A row minimises its case's
// criterion, see attack.go, over the case's box by steps along the sign of the gradient. What it
// finds is a counterexample only if the float64 judge says so.
package falsify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/vnnlib"
)

// A Verdict is what is known of a property, in the words of the competition.
type Verdict string

const (
	Sat     Verdict = "sat"     // a counterexample is found
	Unsat   Verdict = "unsat"   // it is proven that there is none
	Unknown Verdict = "unknown" // neither
)

// A Search is a property of a network, and how to look.
type Search struct {
	// Model is the network, read with model.Ask.AsIs: its inputs and outputs are those of the
	// property. It judges what is found.
	Model   *model.Model
	Backend pipeline.Backend // holds Model, and computes the steps
	// Property is not to change while Run runs.
	Property *vnnlib.Property
	Seed     uint64 // of the starts, with case, start and input
	// Rounds is how many rounds there are, see round; 0: until the context ends.
	Rounds int
	Prover Prover // nil: nothing is proven
	// Progress is told after each step how it stands; it may be nil.
	Progress func(Progress)
}

// A Prover bounds outputs from below.
type Prover interface {
	// Lower returns for each row of weights q [K][O] a number that Σ q[k][j]·y[j] of the outputs y
	// is at no point of the box lo, hi [I] below. It may be -Inf. It returns an error if the
	// network has something that the prover cannot bound.
	Lower(ctx context.Context, lo, hi []float64, q [][]float64) ([]float64, error)
	// Linear is a Lower that is found sooner, and a linear function of the inputs [K][I] for each
	// row that is nowhere above Σ q[k][j]·y[j], but for a constant: where it is least, so may the
	// sum be.
	Linear(ctx context.Context, lo, hi []float64, q [][]float64) (least []float64, slopes [][]float64, err error)
}

// A Progress is how a search stands.
type Progress struct {
	Round int // from 1
	Open  int // cases that are neither met nor proven impossible
	// Least is the least value of any case's criterion so far: at 0 or below a counterexample.
	Least float64
}

// An Answer is what a search has found.
type Answer struct {
	Verdict Verdict
	// X [Inputs] is the counterexample, Y [Outputs] what the network gives for it in float64, and
	// Case the place of the first case that holds. All are of Sat alone; Case is -1 of others.
	X, Y []float64
	Case int
	// Proven counts the cases of which it is proven that they hold nowhere.
	Proven int
	// Unproven is why nothing could be proven, if the Prover said so.
	Unproven error
	Rounds   int // that were begun
	Passes   int // up or down the network, of all rows; a gradient is two
}

// Run looks for a counterexample until it has one, has proven that there is none, or ctx ends. At
// ctx's deadline it returns Unknown without an error; if ctx is cancelled it returns what is known
// and ctx's error. It returns an error if the property is not of the network, or if the network
// gives something that is not finite.
func (s *Search) Run(ctx context.Context) (Answer, error) {
	a := Answer{Verdict: Unknown, Case: -1}
	p := s.Property
	if err := p.Fits(s.Model.Inputs(), s.Model.Outputs()); err != nil {
		return a, err
	}
	open := make([]int, len(p.Cases)) // places of the cases that are not proven impossible
	for k := range open {
		open[k] = k
	}
	h := &hunt{search: s, answer: &a, corners: map[int][]float64{}}
	for r := 0; s.Rounds == 0 || r < s.Rounds; r++ {
		if len(open) > 0 {
			a.Rounds = r + 1
			if err := h.round(ctx, r, open); err != nil || a.Verdict == Sat {
				return a, ended(ctx, err)
			}
		}
		if proof, ok := proofs[r]; ok && s.Prover != nil && a.Unproven == nil {
			left, err := h.prove(ctx, proof, open)
			if ctx.Err() != nil {
				return a, ended(ctx, ctx.Err())
			}
			a.Proven, a.Unproven, open = a.Proven+len(open)-len(left), err, left
		}
		if len(open) == 0 {
			a.Verdict = Unsat
			return a, nil
		}
	}
	return a, nil
}

// ended returns err, but nil where it comes of ctx's deadline.
func ended(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return err
}

// A proof bounds sums of outputs, with weights q [K][O], from below in the box of c. Row k is of a
// constraint of the case of[k].
type proof func(h *hunt, ctx context.Context, c *vnnlib.Case, of []int, q [][]float64) ([]float64, error)

// proofs are tried after some rounds, by their number: what is easy to find is found sooner, and
// what is easy to prove is proven sooner.
var proofs = map[int]proof{
	0: func(h *hunt, ctx context.Context, c *vnnlib.Case, of []int, q [][]float64) ([]float64, error) {
		least, slopes, err := h.search.Prover.Linear(ctx, c.Lo, c.Hi, q)
		if err == nil {
			h.turn(c, of, least, slopes)
		}
		return least, err
	},
	3: func(h *hunt, ctx context.Context, c *vnnlib.Case, _ []int, q [][]float64) ([]float64, error) {
		return h.search.Prover.Lower(ctx, c.Lo, c.Hi, q)
	},
}

// prove returns which of the open cases a proof does not show to hold nowhere. Cases of one box are
// bounded together.
func (h *hunt) prove(ctx context.Context, by proof, open []int) (left []int, err error) {
	p := h.search.Property
	for len(open) > 0 {
		box := sameBox(p, open)
		open = open[len(box):]
		var of []int      // the case of each row
		var q [][]float64 // the rows: sums of all constraints
		var all []*vnnlib.Constraint
		for _, k := range box {
			for j := range p.Cases[k].All {
				c := &p.Cases[k].All[j]
				w := make([]float64, p.Outputs)
				for _, t := range c.Terms {
					w[t.Output] = t.Factor
				}
				of, q, all = append(of, k), append(q, w), append(all, c)
			}
		}
		impossible := map[int]bool{}
		if len(q) > 0 {
			least, err := by(h, ctx, &p.Cases[box[0]], of, q)
			if err == nil && len(least) != len(q) {
				err = fmt.Errorf("falsify: %d bounds of %d sums", len(least), len(q))
			}
			if err != nil {
				return slices.Concat(left, box, open), err
			}
			for i, v := range least {
				if v > all[i].Bound || v == all[i].Bound && all[i].Strict {
					impossible[of[i]] = true
				}
			}
		}
		left = append(left, slices.DeleteFunc(slices.Clone(box), func(k int) bool { return impossible[k] })...)
	}
	return left, nil
}
