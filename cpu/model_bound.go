package cpu

import "math"

// A modelBound is the marginBound of a Backend's model. It is made when it is first asked for, from
// sums over the weights. A sharper one takes products of the weights and is made once so many rows
// have been asked that it would have paid.
type modelBound[T Float] struct {
	marginBound
	made, sharp bool
	hopeful     int     // rows that were asked and that a sharper one may have decided
	work, pass  float64 // multiplications of the sharper one, and of a forward pass of a row
	// first is the gain of the first layer of an MLP, and frobenius the norm of its weights.
	first     gain
	frobenius float64
}

// make makes it with norms of the weights.
func (m *modelBound[T]) make(b *Backend[T], norm normBound[T]) {
	m.made = true
	if net := b.model.net; net != nil {
		m.marginBound = networkBound(net, norm)
	} else {
		m.marginBound, m.first = mlpBound(b.model.mlp, norm)
		m.frobenius = norm2(b.model.mlp.layers[0].weights())
	}
}

// makeBound makes the bound from sums over the weights, once.
func (b *Backend[T]) makeBound() {
	m := &b.bound
	if m.made {
		return
	}
	m.make(b, func(_ func() []T, rows, columns int) float64 { m.work += spectralWork(rows, columns); return 0 })
	if net := b.model.net; net != nil {
		m.pass = net.macs()
	} else {
		for _, a := range b.model.mlp.layers {
			// about half of what it takes is zero
			m.pass += float64(float64(a.in) * float64(a.out) / 2)
		}
	}
}

// sharper is by how much the sharper bound is less than the first one, about. The norm of a trained
// layer is a third or a quarter of what the sums of its weights allow.
const sharper = 16

// sharpen makes the sharper bound, and returns true, if it is time to: when the forward passes of
// the rows that it may have spared, and of n that it may spare, take as long.
func (b *Backend[T]) sharpen(n int) bool {
	m := &b.bound
	if m.sharp || !m.known {
		return false
	}
	if m.hopeful += n; float64(m.hopeful)*m.pass <= m.work {
		return false
	}
	m.sharp = true
	m.make(b, b.spectral)
	return true
}

// macs returns how many multiplications a forward pass of one row takes.
func (n *network[T]) macs() (macs float64) {
	for i := range n.layers {
		switch l := &n.layers[i]; op := l.op.(type) {
		case nil:
			macs += float64(float64(l.linear.in) * float64(l.linear.out))
		case *convolution[T]:
			l := op.lowered
			macs += float64(float64(l.Size()) * float64(l.Out.Size()))
		case *depthwise[T]:
			macs += float64(float64(op.Places()) * float64(op.Out.Size()))
		case *matMul[T]:
			macs += float64(float64(op.a.C) * float64(op.out.Size()))
		}
	}
	return macs
}

// A chains counts what the sums of one row have gone through since its first step: see moves. A
// term that step j lists has been added to z at every step since, so that it counts once for each.
type chains struct {
	steps          float64
	size           float64 // the largest size of a step
	listed, wide   float64 // Σ m and Σ m√m, for the m terms that each step added to u
	listedZ, wideZ float64 // the sums of these over the steps
}

// add notes that so many terms were added to u.
func (c *chains) add(listed int) {
	m := float64(listed + 2) // a difference of moves, and the sum, round too
	c.listed += m
	c.wide += float64(m * math.Sqrt(m))
}

// step notes that u was added to z.
func (c *chains) step() {
	c.steps++
	c.listedZ += c.listed
	c.wideZ += c.wide
}

// excess returns a function that bounds by how much the first layer of row r, as it is now, errs
// more than one from the pixels, +Inf where that is not known. size is not less than ‖x‖ and ‖x0‖.
// The function holds until the next step.
func (b *Backend[T]) excess() func(r int, size float64) float64 {
	s := &b.state
	switch {
	case b.model.net != nil || s.fresh || !s.ray.on && !s.moves.on:
		return func(int, float64) float64 { return 0 }
	case s.ray.on && s.ray.second:
		return func(int, float64) float64 { return math.Inf(1) }
	case s.ray.on:
		return func(r int, size float64) float64 {
			_, e := b.batch.of(r)
			return b.bound.excess(&chains{steps: 1, size: float64(s.ray.size[e])}, size, b.model.in)
		}
	}
	return func(r int, size float64) float64 { return b.bound.excess(&s.moves.chains[r], size, b.model.in) }
}

// excess bounds by how much W·x + b of a row errs as the sum of z0 and u, with in pixels. Every
// move is at most its size in every pixel, and each difference of moves at most twice that. The
// norm of u is not more than the bound below plus its error, which is less than 1 where the bound
// is of use.
func (m *modelBound[T]) excess(c *chains, size float64, in int) float64 {
	u, _ := roundoff[T]()
	g, all := &m.first, math.Sqrt(float64(in))
	move := c.size * all // ‖v‖ at most
	far := size + float64(c.steps*move)
	z0 := float64(g.slack*size) + g.slack0
	first := float64(c.steps * move * (g.slack + float64(2*u*g.slope)))
	chain := float64(u * (float64(c.listedZ*(float64(g.slope*move)+1)) + float64(float64(c.wideZ*m.frobenius)*2*c.size)))
	sums := float64(c.steps * u * (float64(g.slope*far) + g.zero + 1))
	pixels := float64(c.steps * u * g.slope * (float64(2*far) + float64(4*move)))
	return (z0 + first + chain + sums + pixels) * 1.01
}
