// Package certify proves lower bounds on what a network says within a box of images. An attack
// shows that a margin can be low; a certificate shows that it cannot be lower.
//
// Bounds are those of CROWN and DeepPoly: each function of the network is put between two straight
// lines, and a linear form of the logits is carried back through them to the pixels, where its
// least value is plain. They hold for every graph of layers that has a row in operations.go.
//
// What is proven holds for the model in exact arithmetic on its weights: rounding.go says why no
// rounding of this package can make a bound too high. It does not hold for what a backend computes
// in float32, whose rounding may turn a margin that is nearly zero.
//
// Zhang et al. 2018, arXiv:1811.00866; Singh et al. 2019, "An abstract domain for certifying neural
// networks"; Gowal et al. 2018, arXiv:1810.12715; Xu et al. 2021, arXiv:2011.13824.
package certify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
	"advsweep/model"
)

// A Method is how bounds are found, by its name.
type Method string

const (
	// IBP carries intervals forward, and takes the last affine layers at once.
	IBP Method = "ibp"
	// CROWN carries lines back from every unit that intervals leave undecided, and from the logits.
	CROWN Method = "crown"
	// Alpha is CROWN whose lower slopes are then moved, row by row, to where the bound is highest.
	Alpha Method = "alpha"
	// Branch is Alpha, and then cases by the signs of units: a case takes a unit to be shut or
	// open, and all cases together are the box. There are at most BranchBudget of them in a call.
	Branch Method = "branch"
	// Auto is IBP, then CROWN, then Alpha, each for the rows that the one before has not proven to
	// be above 0.
	Auto Method = "auto"
)

// methods has a row for each Method, which says in a line what it does.
var methods = []struct {
	Name  Method
	About string
}{
	{IBP, "interval bounds"},
	{CROWN, "backward linear bounds (CROWN, DeepPoly) with adaptive slopes"},
	{Alpha, "backward linear bounds whose slopes are optimised (alpha-CROWN, of the last bound only)"},
	{Branch, "alpha, then cases by the signs of ReLUs, with a budget (as beta-CROWN)"},
	{Auto, "ibp, then crown, then alpha, each for what is not proven yet"},
}

// Methods lists the names, weakest first.
func Methods() (names []string) {
	for _, m := range methods {
		names = append(names, string(m.Name))
	}
	return names
}

// ParseMethod returns the method of a name. It returns an error that names it if there is none.
func ParseMethod(name string) (Method, error) {
	for _, m := range methods {
		if string(m.Name) == name {
			return m.Name, nil
		}
	}
	return "", fmt.Errorf("certify: unknown method %q, want one of %s", name, strings.Join(Methods(), ", "))
}

// About says in a line what the method does; it is empty for one that is unknown.
func (m Method) About() string {
	for _, row := range methods {
		if row.Name == m {
			return row.About
		}
	}
	return ""
}

// A Certifier proves bounds for one model. It may be used by several goroutines at once.
type Certifier struct {
	prog   *lower.Program
	method Method
	nodes  []node
	order  []int32 // [I]: where number i of an image [C, H, W] lies in [H, W, C]
	asked  []bool  // by value: whether a function takes it, so that its bounds decide how tight lines are
	apart  []bool  // by value: its numbers may be anything in their intervals, whatever the others are
	back   gemm.Vector[float32]
	spare  sync.Pool // *work
}

// New returns a certifier of m by a method. It returns an error that names the layer for an
// operation between whose lines nothing is known.
func New(m *model.Model, method Method) (*Certifier, error) {
	if _, err := ParseMethod(string(method)); err != nil {
		return nil, err
	}
	prog, err := lower.New(m)
	if err != nil {
		return nil, fmt.Errorf("certify: %w", err)
	}
	path, err := gemm.Path("")
	if err != nil {
		return nil, fmt.Errorf("certify: %w", err)
	}
	c := &Certifier{
		prog: prog, method: method, nodes: make([]node, len(prog.Ops)), order: make([]int32, prog.Inputs),
		asked: make([]bool, len(prog.Ops)+1), apart: make([]bool, len(prog.Ops)+1), back: gemm.NewVector[float32](path),
	}
	c.apart[0] = true
	plain := make([]int32, prog.Inputs)
	for i := range plain {
		plain[i] = int32(i)
	}
	lower.ToNHWC(c.order, plain, prog.Image)
	for i, op := range prog.Ops {
		var shapes []lower.Shape
		for _, j := range op.Takes {
			shapes = append(shapes, prog.Shape(j))
		}
		if c.nodes[i], err = newNode(path, op, shapes, prog); err != nil {
			return nil, fmt.Errorf("certify: layer %d: %w", op.Layer, err)
		}
		c.place(i, op)
	}
	c.spare.New = func() any { return newWork(c) }
	return c, nil
}

// place sets what decides whether passes are asked for values around operation i.
func (c *Certifier) place(i int, op lower.Op) {
	n := c.nodes[i]
	each := false // a function of each number
	switch n := n.(type) {
	case straight:
		_, each = n.linear.(scale)
	case curved:
		each = true
	}
	c.apart[i+1] = each && c.apart[op.Takes[0]+1]
	if _, bends := n.(bending); !bends {
		return
	}
	for _, j := range op.Takes {
		if j < 0 {
			continue
		}
		from := j
		if _, is := c.nodes[j].(curved); is { // whose own bounds are those of what it takes
			from = c.prog.Ops[j].Takes[0]
		}
		if from < 0 {
			continue
		}
		if _, is := c.nodes[from].(straight); !is {
			continue
		}
		exact := true // intervals are, of a map of numbers that are apart
		for _, k := range c.prog.Ops[from].Takes {
			exact = exact && c.apart[k+1]
		}
		c.asked[from+1] = c.asked[from+1] || !exact || len(c.prog.Ops[from].Takes) > 1
	}
}

// Inputs is I and Classes is O of the model.
func (c *Certifier) Inputs() int  { return c.prog.Inputs }
func (c *Certifier) Classes() int { return c.prog.Classes }

// Lower returns, for each row of rows [K][O], a number that Σ_j rows[k][j]·z_j is not below, z
// being the logits of any image x with lo <= x <= hi, element by element. lo and hi are [I], in the
// order of the model's inputs. A number that cannot be bounded is -Inf. It depends on nothing but
// what is given. It returns an error for numbers that are not finite, for lo > hi, and once ctx has
// ended.
func (c *Certifier) Lower(ctx context.Context, lo, hi []float64, rows [][]float64) ([]float64, error) {
	return c.LowerBy(ctx, c.method, lo, hi, rows)
}

// LowerBy is Lower by another method than that of New.
func (c *Certifier) LowerBy(ctx context.Context, method Method, lo, hi []float64, rows [][]float64) ([]float64, error) {
	if err := c.fits(lo, hi, rows); err != nil {
		return nil, err
	}
	w := c.spare.Get().(*work)
	defer c.spare.Put(w)
	w.ctx = ctx
	w.load(lo, hi)
	bounds, err := w.lower(method, rows)
	if errors.Is(err, errUnbounded) {
		return slices.Repeat([]float64{math.Inf(-1)}, len(rows)), nil
	}
	if err != nil {
		return nil, err
	}
	for k, v := range bounds {
		if !(v > math.Inf(-1)) { // NaN
			bounds[k] = math.Inf(-1)
		}
	}
	return bounds, nil
}

// fits returns an error unless there is a box of images and there are rows of logits.
func (c *Certifier) fits(lo, hi []float64, rows [][]float64) error {
	if I := c.prog.Inputs; len(lo) != I || len(hi) != I {
		return fmt.Errorf("certify: a box of %d and %d numbers, want %d", len(lo), len(hi), I)
	}
	for i := range lo {
		if !(lo[i] <= hi[i]) || math.IsInf(lo[i], 0) || math.IsInf(hi[i], 0) {
			return fmt.Errorf("certify: input %d from %v to %v, want finite numbers that do not fall", i, lo[i], hi[i])
		}
	}
	for k, row := range rows {
		if len(row) != c.prog.Classes {
			return fmt.Errorf("certify: row %d has %d numbers, want one for each of %d logits", k, len(row), c.prog.Classes)
		}
		if i := slices.IndexFunc(row, func(v float64) bool { return v-v != 0 }); i >= 0 {
			return fmt.Errorf("certify: row %d has %v for logit %d, want a finite number", k, row[i], i)
		}
	}
	return nil
}

// Margins are the rows of all margins of a label among so many classes, z_label - z_j for j ≠ label
// in rising order: [O-1][O].
func Margins(label, classes int) (rows [][]float64) {
	for j := range classes {
		if j == label {
			continue
		}
		row := make([]float64, classes)
		row[label], row[j] = 1, -1
		rows = append(rows, row)
	}
	return rows
}

// Margin returns a number that the margin of a label is not below within a box, see Lower.
func (c *Certifier) Margin(ctx context.Context, lo, hi []float64, label int) (float64, error) {
	if label < 0 || label >= c.prog.Classes {
		return 0, fmt.Errorf("certify: label %d, want one of %d classes", label, c.prog.Classes)
	}
	bounds, err := c.Lower(ctx, lo, hi, Margins(label, c.prog.Classes))
	if err != nil {
		return 0, err
	}
	return slices.Min(bounds), nil
}
