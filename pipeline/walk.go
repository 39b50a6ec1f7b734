package pipeline

import (
	"context"
	"slices"

	"advsweep/attack"
)

// walk walks the images of c and returns what it finds as a record of walks: what is read off them
// too, if the sweep reads its attack.
func (r *sweeping) walk(ctx context.Context, c Chunk) ([]byte, error) {
	walker, _ := AsExacter(r.b) // Validate has seen to it
	n := c.Hi - c.Lo
	if !r.reads(r.Attacks[c.Attack]) {
		walks := make([]attack.Walk, n)
		if err := walker.Exact(ctx, c.Lo, r.Eps[len(r.Eps)-1], r.Bounds, walks); err != nil {
			return nil, err
		}
		r.progress(n)
		return r.form().walk(r.labels[c.Lo:c.Hi], walks), nil
	}
	if len(r.readings) < n {
		r.readings = make([]attack.Reading, n)
	}
	read := r.readings[:n]
	if err := walker.Read(ctx, c.Lo, r.Eps, r.Bounds, r.Rounded, read); err != nil {
		return nil, err
	}
	if err := r.ask(ctx, c, read); err != nil {
		return nil, err
	}
	r.progress(n)
	return r.form().reading(r.labels[c.Lo:c.Hi], read), nil
}

// ask asks for the rows of c that read leaves open, as a Strike would. Images that follow each
// other and are open at the same eps are asked together.
func (r *sweeping) ask(ctx context.Context, c Chunk, read []attack.Reading) error {
	bare := make([]bool, len(read))
	for i := range read {
		if bare[i] = read[i].Norms == nil; bare[i] {
			read[i].Norms = make([]attack.Norms, len(r.Eps))
		}
	}
	for i := 0; i < len(read); {
		at := openAt(&read[i])
		j := i + 1
		for j < len(read) && slices.Equal(openAt(&read[j]), at) {
			j++
		}
		if len(at) > 0 {
			if err := r.askAt(ctx, r.Attacks[c.Attack], c.Lo+i, at, read[i:j], bare[i:j]); err != nil {
				return err
			}
		}
		i = j
	}
	for i := range read {
		if bare[i] {
			r.form().follow(c, read[i].Norms)
		}
	}
	return nil
}

// openAt lists the places of eps at which something of v is open.
func openAt(v *attack.Reading) (at []int) {
	for e, class := range v.Classes {
		if class == attack.Open || v.Rounded != nil && v.Rounded[e] == attack.Open {
			at = append(at, e)
		}
	}
	return at
}

// askAt asks for the rows of images lo, lo+1, … at the eps that have these places, and writes to
// read what was open there, and norms too where it is bare of them.
func (r *sweeping) askAt(ctx context.Context, a attack.Attack, lo int, at []int, read []attack.Reading, bare []bool) error {
	eps := make([]float64, len(at))
	for k, e := range at {
		eps[k] = r.Eps[e]
	}
	return r.batches(batch{lo, lo + len(read), 0, len(at), 0, 1}, false, func(bt batch) error {
		one := rowsOf(r.b, a, eps[bt.from:bt.to], r.Bounds, r.held, bt.lo, bt.hi)
		if err := one.begin(ctx); err != nil {
			return one.named(err)
		}
		if err := one.attack(ctx, func() {}); err != nil {
			return one.named(err)
		}
		out, err := one.outcomes(ctx, r.Rounded)
		if err != nil {
			return one.named(err)
		}
		for k, o := range out {
			v, e := &read[bt.lo+k/bt.eps()-lo], at[bt.from+k%bt.eps()]
			if bare[bt.lo+k/bt.eps()-lo] {
				v.Norms[e] = o.Norms
			}
			if v.Classes[e] == attack.Open {
				v.Classes[e] = o.Class
				if v.At == attack.Open || o.Margin < v.Least || o.Margin == v.Least && e < v.At {
					v.Least, v.At = o.Margin, e
				}
			}
			if v.Rounded == nil || v.Rounded[e] != attack.Open {
				continue
			}
			v.Rounded[e] = 0
			if o.Rounded == r.labels[bt.lo+k/bt.eps()] {
				v.Rounded[e] = 1
			}
		}
		return nil
	})
}
