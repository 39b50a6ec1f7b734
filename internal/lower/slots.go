package lower

// A Slots says where gradients lie on the way back. The gradient at a value that only an Add takes
// is that of the Add, and needs no copy. Every other gradient lies in a slot until all gradients
// that depend on it are computed. Then the slot is free for another one.
type Slots struct {
	// Of has the slot of the gradient at the image, at the output of Ops[0], and so on, [1 + Ops].
	// It is -1 for a gradient that has no slot of its own, or that nobody asks for.
	Of    []int
	Width []int // of each slot
	// Spare is the width of the largest product that must be computed before it is added to a sum.
	// It is 0 if there is none.
	Spare int
}

// passes reports whether the gradient at the output of Ops[i], or at the image for -1, is just
// that of an Add.
func (p *Program) passes(i int) bool {
	if len(p.Uses[i+1]) != 1 || !p.Moves[i+1] {
		return false
	}
	_, ok := p.Ops[p.Uses[i+1][0].Op].Operation.(Add)
	return ok
}

// endsInProduct reports whether the way back of op ends with a product. A product overwrites, so it
// cannot be added to what is there.
func (op *Op) endsInProduct() bool {
	switch o := op.Operation.(type) {
	case *Linear:
		return true
	case *Convolution:
		return o.Back != nil
	}
	return false
}

// Slots places gradients in the order in which they are computed: by falling operation. width says
// how wide a gradient of a shape is, in a unit that the caller chooses. The gradient at the logits
// belongs to the caller and has no slot.
func (p *Program) Slots(width func(Shape) int) Slots {
	last := len(p.Ops) - 1
	s := Slots{Of: make([]int, last+2)}
	lies := make([]int, last+2) // the slot in which the gradient lies, its own or another's, or -1
	s.Of[last+1], lies[last+1] = -1, -1
	// by slot: how many gradients still need it; the slots that are free again
	var reads, free []int
	for i := last - 1; i >= -1; i-- {
		s.Of[i+1], lies[i+1] = -1, -1
		if p.passes(i) {
			lies[i+1] = lies[p.Uses[i+1][0].Op+1]
		} else if p.Moves[i+1] {
			k := len(s.Width)
			if n := len(free); n > 0 {
				k, free = free[n-1], free[:n-1]
			} else {
				s.Width, reads = append(s.Width, 0), append(reads, 0)
			}
			s.Of[i+1], lies[i+1] = k, k
			s.Width[k] = max(s.Width[k], width(p.Shape(i)))
		}
		if k := lies[i+1]; k >= 0 && i >= 0 {
			reads[k] += len(p.Ops[i].Takes)
		}
		for n, u := range p.Uses[i+1] {
			j := u.Op
			if n > 0 && p.Moves[i+1] && p.Ops[j].endsInProduct() {
				s.Spare = max(s.Spare, width(p.Shape(i)))
			}
			if k := lies[j+1]; k >= 0 {
				if reads[k]--; reads[k] == 0 {
					free = append(free, k)
				}
			}
		}
	}
	return s
}
