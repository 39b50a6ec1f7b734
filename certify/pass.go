package certify

import (
	"context"
	"errors"
	"math"
	"slices"

	"advsweep/internal/gemm"
)

// A node is an operation of the program: what it does to boxes, and how it carries forms back.
type node interface {
	// bounds fills s and the box of the output, from the boxes of what the operation takes.
	bounds(s *state, out *box, in []*box)
	// settle ends s once the box of the output is as tight as it becomes.
	settle(s *state, out *box)
	// back carries the form a [rows][ld] at the output to what the operation takes, and adds to p
	// what that costs.
	back(w *work, i int, p *pass, a []float32)
	// apply writes out for numbers in, in float64 and without a bound on rounding. A function takes
	// the line that a form a at its output chose, and writes how far that lies from the output's
	// center. It says where to look for better slopes, and no more.
	apply(s *state, out []float64, in [][]float64, a, slopes []float32)
}

// A bending is a node that is no affine map: the tighter the boxes of what it takes, the tighter
// are the lines that it is put between.
type bending interface {
	node
	// asks sets want of the numbers of what it takes, of input arg, whose boxes decide how tight
	// lines are.
	asks(want []bool, in []*box, arg int)
}

// A state is what one box of images makes of a node.
type state struct {
	// Of an affine map: z, which W·c + b is but for slack, and reach, which |W|·r is not above,
	// [Out].
	z, slack, reach []float64
	shifts          []shift   // of the numbers of its output
	cost            []float64 // of these
	still           bool      // every shift is 0
	// Of a function: the two lines of each number, and those whose lines are not both x itself or
	// 0.
	lower, upper []line
	bent         []int32
	plain        []float32 // by number of a function's output, the slope of lines through the centers; 0 of bent
	sides        []side    // of bent, what a pass asks of their lines
	// in are the boxes of what it takes.
	in []*box
}

// A line is slope·(v - c_v) + at, a bound on what a function's output lies above its own center.
// least and most are the slopes that a lower line may have besides, through pivot and value, both
// relative to the centers; they are equal where there is no choice.
type line struct {
	slope       float32
	at          float64
	least, most float32
	pivot       float64
	value       float64
}

// A shift is z - c of a number, and what a form at it loses.
type shift struct{ shift, cost float64 }

// A side is the two lines of a number. The first is for a form of at least 0, the second for one
// below. The sign's bit chooses, since no branch can foretell it.
type side struct {
	number int32
	slope  [2]float32
	r      float64
	height [2]float64
}

// A work is the memory for one box of images at a time.
type work struct {
	*Certifier
	ctx    context.Context
	boxes  []box // by value
	states []state
	free   map[int][][]float32 // by length
	list   []uint32
	groups []gemm.Group[float32]
	packed []float32 // of groups
	mul    gemm.Scratch[float32]
	zeros  []float32
	want   []bool
	sides  []int // by number of a value, 1 + the place of a split in its row; else 0
}

func newWork(c *Certifier) *work {
	w := &work{Certifier: c, boxes: make([]box, len(c.nodes)+1), states: make([]state, len(c.nodes)), free: map[int][][]float32{}}
	most := 0
	for j := range w.boxes {
		n := c.prog.Shape(j - 1).Size()
		w.boxes[j] = newBox(n)
		most = max(most, n)
	}
	w.zeros, w.want, w.sides = make([]float32, wide(most)), make([]bool, most), make([]int, most)
	for i := range w.states {
		s := &w.states[i]
		for _, j := range c.prog.Ops[i].Takes {
			s.in = append(s.in, &w.boxes[j+1])
		}
	}
	return w
}

// wide is how far rows of n numbers lie apart: to whole vectors, with room for a number of padding.
func wide(n int) int { return (n + 1 + 15) / 16 * 16 }

// size is how many numbers value j has.
func (c *Certifier) size(j int) int { return c.prog.Shape(j - 1).Size() }

// room returns memory for n numbers, with anything in it.
func (w *work) room(n int) []float32 {
	if l := w.free[n]; len(l) > 0 {
		w.free[n] = l[:len(l)-1]
		return l[len(l)-1]
	}
	return make([]float32, n)
}

func (w *work) release(a []float32) { w.free[len(a)] = append(w.free[len(a)], a) }

// load sets the box of the image. lo and hi [I] are [C, H, W].
func (w *work) load(lo, hi []float64) {
	for o, i := range w.order {
		w.boxes[0].set(o, lo[i], hi[i])
	}
}

// A pass carries m forms back.
type pass struct {
	m     int
	a     [][]float32 // by value [m][wide(size)], nil where there is none
	d     []float64   // [m]
	lost  []float64   // [m], not below 0
	sum   []float64   // [m], of the magnitudes of all terms of d
	terms int         // of d and of lost
	// near ends forms at the outputs of functions, where their boxes are looked at.
	near   bool
	slopes [][]float32 // of lower lines by operation [m][wide(size)], where they are chosen; or nil
	kept   [][]float32 // by value, the forms that there were; nil: none is kept
	splits [][]split   // by row, the units that are on one side only; nil: none is
}

func (w *work) newPass(m int) *pass {
	all := make([]float64, 3*m)
	return &pass{m: m, a: make([][]float32, len(w.boxes)), d: all[:m], lost: all[m : 2*m], sum: all[2*m:]}
}

// add adds form a at value j, which is the pass's from now on.
func (w *work) add(p *pass, j int, a []float32) {
	had := p.a[j]
	if had == nil {
		p.a[j] = a
		return
	}
	n, r := w.size(j), w.boxes[j].r
	ld := wide(n)
	for k := range p.m {
		to, from, lost := had[k*ld:][:n], a[k*ld:][:n], 0.0
		for i, v := range from {
			to[i] += v
			lost += math.Abs(float64(float64(to[i]) * r[i]))
		}
		p.lost[k] += float64(lost*unit32) + float64(tiny32*float64(n))
	}
	p.terms += n
	w.release(a)
}

// run carries the forms back from value from. It returns an error once ctx has ended.
func (w *work) run(p *pass, from int) error {
	for j := from; j >= 0; j-- {
		a := p.a[j]
		if a == nil {
			continue
		}
		p.a[j] = nil
		if err := w.ctx.Err(); err != nil {
			return err
		}
		end := j == 0 || !w.prog.Moves[j]
		if !end && p.near {
			_, end = w.nodes[j-1].(bending)
		}
		if end {
			w.end(p, j, a)
		} else {
			w.nodes[j-1].back(w, j-1, p, a)
		}
		if p.kept != nil {
			p.kept[j] = a
			continue
		}
		w.release(a)
	}
	return nil
}

// end takes the least value of the forms a at value j, within its box.
func (w *work) end(p *pass, j int, a []float32) {
	n, r := w.size(j), w.boxes[j].r
	ld := wide(n)
	for k := range p.m {
		p.lost[k] += spread(a[k*ld:][:n], r)
	}
	p.terms += n
}

// spread returns Σ |a_i|·r_i, in float64 and with the rounding of so many terms.
func spread(a []float32, r []float64) float64 {
	r = r[:len(a)]
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		a, r := a[i:i+4:i+4], r[i:i+4:i+4]
		s0 += float64(math.Abs(float64(a[0])) * r[0])
		s1 += float64(math.Abs(float64(a[1])) * r[1])
		s2 += float64(math.Abs(float64(a[2])) * r[2])
		s3 += float64(math.Abs(float64(a[3])) * r[3])
	}
	for ; i < len(a); i++ {
		s0 += float64(math.Abs(float64(a[i])) * r[i])
	}
	return float64(s0+s1) + float64(s2+s3)
}

// bound is what form k is not below, see rounding.go.
func (p *pass) bound(k int) float64 {
	off := float64(float64(float64(p.terms+16)*(2*unit64)) * (p.sum[k] + p.lost[k]))
	return below(below(below(p.d[k]-p.lost[k]) - above(off)))
}

// shifted adds to p what lies between z of an affine map and the center of its output, and what the
// map loses, for forms a at its output.
func (p *pass) shifted(s *state, a []float32) {
	n := len(s.z)
	ld := wide(n)
	p.terms += n
	for k := range p.m {
		p.shiftedRow(s, k, a[k*ld:][:n], nil)
	}
}

// shiftedRow is shifted of row k, whose numbers a are those of the columns in list, or of all if
// list is nil.
func (p *pass) shiftedRow(s *state, k int, a []float32, list []uint32) {
	if list == nil && s.still {
		p.lost[k] += spread(a, s.cost)
		return
	}
	var d, lost, sum float64
	for t, v := range a {
		i := uint32(t)
		if list != nil {
			i = list[t]
		}
		x, of := float64(v), &s.shifts[i]
		at := float64(x * of.shift)
		d += at
		sum += math.Abs(at)
		lost += float64(math.Abs(x) * of.cost)
	}
	p.d[k] += d
	p.sum[k] += sum
	p.lost[k] += lost
}

// rows are how many forms a pass takes at once.
func (w *work) rows() int {
	const bytes, most, least = 8 << 20, 256, 8
	widest := 0
	for j := range w.boxes {
		widest = max(widest, wide(w.size(j)))
	}
	return min(most, max(least, bytes/(4*widest)))
}

// forward fills all boxes. With tight it asks passes for the boxes that intervals leave undecided.
func (w *work) forward(tight bool) error {
	for i, n := range w.nodes {
		s, out := &w.states[i], &w.boxes[i+1]
		n.bounds(s, out, s.in)
		if !out.finite() {
			return errUnbounded
		}
		if tight && w.asked[i+1] && w.prog.Moves[i+1] {
			n.settle(s, out)
			if err := w.tighten(i + 1); err != nil {
				return err
			}
		}
		n.settle(s, out)
	}
	return nil
}

// errUnbounded says that a number of the network may be anything: a weight is not finite, or sums
// overflow.
var errUnbounded = errors.New("certify: a value of the network has no finite bounds")

// wanted returns the numbers of value j whose boxes decide how tight lines are.
func (w *work) wanted(j int, to []int32) []int32 {
	want := w.want[:w.size(j)]
	clear(want)
	for _, u := range w.prog.Uses[j] {
		b, ok := w.nodes[u.Op].(bending)
		if !ok {
			continue
		}
		s, out := &w.states[u.Op], &w.boxes[u.Op+1]
		b.asks(want, s.in, u.Arg)
		if _, each := b.(curved); !each {
			continue
		}
		for _, next := range w.prog.Uses[u.Op+1] { // such as a pool after a ReLU
			if after, ok := w.nodes[next.Op].(bending); ok {
				b.bounds(s, out, s.in)
				after.asks(want, w.states[next.Op].in, next.Arg)
			}
		}
	}
	for i, yes := range want {
		if yes {
			to = append(to, int32(i))
		}
	}
	return to
}

// tighten makes the box of value j tighter by passes. Each number is first asked for the end that
// lies nearer to 0: where that decides it, the other is not asked.
func (w *work) tighten(j int) error {
	b := &w.boxes[j]
	units := w.wanted(j, nil)
	// ends are the lower one, or the upper one, of each number.
	var lowers, uppers []int32
	for _, u := range units {
		if b.c[u] > 0 {
			lowers = append(lowers, u)
		} else {
			uppers = append(uppers, u)
		}
	}
	for turn := range 2 {
		if turn == 1 {
			still := make([]bool, w.size(j))
			for _, u := range w.wanted(j, nil) {
				still[u] = true
			}
			keep := func(all []int32) (some []int32) {
				for _, u := range all {
					if still[u] {
						some = append(some, u)
					}
				}
				return some
			}
			lowers, uppers = keep(uppers), keep(lowers)
		}
		if err := w.askAll(j, lowers, 1); err != nil {
			return err
		}
		if err := w.askAll(j, uppers, -1); err != nil {
			return err
		}
	}
	return nil
}

// askAll asks for an end of each of some numbers of value j: the lower one if sign is 1, the upper
// one if it is -1.
func (w *work) askAll(j int, units []int32, sign float32) error {
	b, n := &w.boxes[j], w.size(j)
	ld, rows := wide(n), w.rows()
	type ends struct{ lo, hi float64 }
	found := make([]ends, len(units))
	for from := 0; from < len(units); from += rows {
		some := units[from:min(from+rows, len(units))]
		p := w.newPass(len(some))
		a := w.room(len(some) * ld)
		clear(a)
		for k, u := range some {
			a[k*ld+int(u)] = sign
			p.d[k] = float64(float64(sign) * b.c[u])
			p.sum[k] = math.Abs(p.d[k])
		}
		p.a[j] = a
		if err := w.run(p, j); err != nil {
			return err
		}
		for k, u := range some {
			e := ends{b.lo[u], b.hi[u]}
			switch v := p.bound(k); {
			case sign > 0 && v > e.lo:
				e.lo = min(v, e.hi)
			case sign < 0 && -v < e.hi:
				e.hi = max(-v, e.lo)
			}
			found[from+k] = e
		}
	}
	// All passes saw one box.
	for k, u := range units {
		if e := found[k]; e.lo != b.lo[u] || e.hi != b.hi[u] {
			b.set(int(u), e.lo, e.hi)
		}
	}
	w.nodes[j-1].settle(&w.states[j-1], b)
	return nil
}

// logits begins a pass of rows [K][O] at the logits.
func (w *work) logits(rows [][]float64) *pass {
	j := len(w.nodes)
	b, n := &w.boxes[j], w.size(j)
	ld := wide(n)
	p := w.newPass(len(rows))
	a := w.room(len(rows) * ld)
	clear(a)
	for k, row := range rows {
		for i, v := range row {
			f := float32(v)
			a[k*ld+i] = f
			t := float64(v * b.c[i])
			p.d[k] += t
			p.sum[k] += math.Abs(t)
			p.lost[k] += float64(math.Abs(v-float64(f)) * b.r[i])
		}
	}
	p.terms += 2 * n
	p.a[j] = a
	return p
}

// last returns the bounds of rows from the boxes as they are. near ends forms at the first
// function.
func (w *work) last(rows [][]float64, near bool) ([]float64, error) {
	bounds := make([]float64, 0, len(rows))
	for some := range slices.Chunk(rows, w.rows()) {
		p := w.logits(some)
		p.near = near
		if err := w.run(p, len(w.nodes)); err != nil {
			return nil, err
		}
		for k := range some {
			bounds = append(bounds, p.bound(k))
		}
	}
	return bounds, nil
}
