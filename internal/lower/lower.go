// Package lower makes the program that backends run from a model. It decides once what all
// backends must agree on to the bit: which layers count, in which order gradients are added, in
// which order the columns of a product lie, and how a convolution goes back. Package internal/ref
// does not import it, for that is the judge and reads the model itself.
//
// Between operations an image is NHWC: the channels of a pixel lie beside each other, [H, W, C]. A
// model's images are NCHW, [C, H, W].
package lower

import (
	"cmp"
	"fmt"
	"slices"

	"advsweep/model"
)

// A Program is the operations of a model, in the order of computation. The last one gives the
// logits.
type Program struct {
	Inputs, Classes int
	Image           Shape
	// MLP says that the model is Linear layers with one ReLU between each two. Backends have faster
	// ways for it, which round differently. So what counts as one must not depend on the backend.
	MLP bool
	Ops []Op
	// Uses lists which operations take a value. Uses[0] has those that take the image, Uses[1+i]
	// those that take the output of Ops[i]. The order is that of falling operations, and a gradient
	// is the sum over them in this order. An operation that takes a value twice is listed twice,
	// the first time first.
	Uses [][]Use
	// Moves says of each value, as Uses does, whether it depends on the image. A gradient is asked
	// for only there. Values that depend on a Constant alone do not.
	Moves []bool
}

// A Use is an operation that takes a value, and as which of all that it takes.
type Use struct{ Op, Arg int }

// An Op is one operation. The logits depend on it.
type Op struct {
	Operation
	Layer   int   // its place in the model's Layers
	Takes   []int // -1 is the image, j the output of Ops[j], j below its own place
	In, Out Shape // In is that of the first value that it takes, or that of Out if it takes none
	// InPlace is set for a ReLU of an operation's output that no other operation takes. Its output
	// may lie where its input lies.
	InPlace bool
	// Rectified is set for a Linear or a Convolution whose output only a ReLU takes: the ReLU may
	// be a part of the product.
	Rectified bool
}

// New returns the program of m in the Default math, see NewMath.
func New(m *model.Model) (*Program, error) { return NewMath(m, Default) }

// NewMath returns the program of m, which must be valid. For a layer or a math that it does not
// know it returns an error that names it.
func NewMath(m *model.Model, math Math) (*Program, error) {
	forms, err := math.forms()
	if err != nil {
		return nil, fmt.Errorf("lower: %w", err)
	}
	shapes, err := m.Shapes()
	if err != nil {
		return nil, fmt.Errorf("lower: %w", err)
	}
	image := m.Input
	if image == nil {
		image = []int{m.Inputs()}
	}
	p := &Program{
		Inputs: m.Inputs(), Classes: m.Outputs(), Image: newShape(image), MLP: m.IsMLP(), Uses: make([][]Use, 1), Moves: []bool{true},
	}
	used := make([]bool, len(m.Layers))
	used[len(used)-1] = true
	for i := len(used) - 1; i >= 0; i-- {
		for _, j := range m.Takes(i) {
			if used[i] && j >= 0 {
				used[j] = true
			}
		}
	}
	place := map[int]int{-1: -1} // of a layer in Ops
	for i, l := range m.Layers {
		if !used[i] {
			continue
		}
		op := Op{Layer: i, Out: newShape(shapes[i])}
		op.In = op.Out
		var in []Shape
		moves := false
		for arg, j := range m.Takes(i) {
			op.Takes = append(op.Takes, place[j])
			in = append(in, p.Shape(place[j]))
			moves = moves || p.Moves[place[j]+1]
			p.Uses[place[j]+1] = append(p.Uses[place[j]+1], Use{len(p.Ops), arg})
		}
		if len(in) > 0 {
			op.In = in[0]
		}
		if op.Operation, err = operation(l, in, op.Out, forms); err != nil {
			return nil, fmt.Errorf("lower: layer %d: %w", i, err)
		}
		place[i] = len(p.Ops)
		p.Ops, p.Uses, p.Moves = append(p.Ops, op), append(p.Uses, nil), append(p.Moves, moves)
	}
	for _, u := range p.Uses {
		slices.SortFunc(u, func(a, b Use) int { return cmp.Or(b.Op-a.Op, a.Arg-b.Arg) })
	}
	for i := range p.Ops {
		if c, ok := p.Ops[i].Operation.(*Convolution); ok && c.Back != nil && c.In.C >= fewPooled && p.pooled(i) {
			c.Back.Tile = nil
		}
	}
	p.keepTies()
	for i := range p.Ops {
		if e, ok := p.Ops[i].Operation.(Elementwise); !ok || e.Name != "relu" {
			continue
		}
		j := p.Ops[i].Takes[0]
		if j < 0 || len(p.Uses[j+1]) != 1 {
			continue
		}
		if _, ok := p.Ops[j].Operation.(Constant); ok { // whose numbers all images share
			continue
		}
		p.Ops[i].InPlace = true
		switch p.Ops[j].Operation.(type) {
		case *Linear, *Convolution:
			p.Ops[j].Rectified = true
		}
	}
	return p, nil
}

// keepTies sets Ties of convolutions.
func (p *Program) keepTies() {
	reaches := make([]bool, len(p.Ops)) // a MaxPool, from an output
	for i := len(p.Ops) - 1; i >= 0; i-- {
		for _, u := range p.Uses[i+1] {
			_, pool := p.Ops[u.Op].Operation.(MaxPool)
			reaches[i] = reaches[i] || pool || reaches[u.Op]
		}
		if c, ok := p.Ops[i].Operation.(*Convolution); ok {
			c.Ties = reaches[i]
		}
	}
}

// pooled reports whether the gradient at the output of Ops[i] comes from a MaxPool whose windows do
// not overlap, and is zero in all of a window but one place. Between them may lie operations that
// keep a zero at its place. A convolution of such a gradient is best computed term by term, without
// those that are zero.
func (p *Program) pooled(i int) bool {
	for len(p.Uses[i+1]) == 1 {
		i = p.Uses[i+1][0].Op
		switch o := p.Ops[i].Operation.(type) {
		case MaxPool:
			return o.Stride[0] >= o.Kernel[0] && o.Stride[1] >= o.Kernel[1] && o.Places() >= leastPooled
		case Elementwise, Scale:
		default:
			return false
		}
	}
	return false
}

// leastPooled is the least number of places in the windows of a MaxPool whose gradient is mostly
// zero. fewPooled is the least number of channels of the gradient at an input for which leaving out
// zeros is faster than tiles.
const (
	leastPooled = 4
	fewPooled   = 32
)

// Shape returns the shape of the output of Ops[i], or of the image for -1.
func (p *Program) Shape(i int) Shape {
	if i < 0 {
		return p.Image
	}
	return p.Ops[i].Out
}

// Later reports, for each value that Ops[i] takes, whether the value's gradient has a term before
// the one that Ops[i] adds.
func (p *Program) Later(i int) []bool {
	later := make([]bool, len(p.Ops[i].Takes))
	for k, j := range p.Ops[i].Takes {
		later[k] = p.Uses[j+1][0] != Use{i, k}
	}
	return later
}

// A Shape is that of an image, or of a vector of C elements with H and W 1.
type Shape struct{ C, H, W int }

func newShape(dims []int) Shape {
	if len(dims) == 3 {
		return Shape{dims[0], dims[1], dims[2]}
	}
	return Shape{dims[0], 1, 1}
}

// Pixels is H·W.
func (s Shape) Pixels() int { return s.H * s.W }

// Size is how many numbers an image has.
func (s Shape) Size() int { return s.C * s.H * s.W }

// Reordered reports whether [C, H, W] and [H, W, C] are different orders.
func (s Shape) Reordered() bool { return s.C > 1 && s.Pixels() > 1 }

// ToNHWC writes an image [C, H, W] as [H, W, C].
func ToNHWC[E any](to, from []E, s Shape) {
	pixels := s.Pixels()
	for c := range s.C {
		for p, v := range from[c*pixels:][:pixels] {
			to[p*s.C+c] = v
		}
	}
}

// ToNCHW writes an image [H, W, C] as [C, H, W].
func ToNCHW[E any](to, from []E, s Shape) {
	pixels := s.Pixels()
	for c := range s.C {
		plane := to[c*pixels:][:pixels]
		for p := range plane {
			plane[p] = from[p*s.C+c]
		}
	}
}
