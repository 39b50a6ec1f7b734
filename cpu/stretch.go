package cpu

import (
	"fmt"
	"math"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A stretch of a ray is what lies between two points of it. Every value of a model whose operations
// are piecewise linear is computed at both points in float64, and carried along is a bound of how
// far it leaves its chord, the straight line between them, anywhere inside the stretch.
//
//   - A linear operation W takes values to W·z. Of a deviation between centre - radius and
//     centre + radius it makes W·centre and |W|·radius.
//   - A unit that is on one straight piece throughout the stretch passes its deviation on. A ReLU
//     that is shut makes it 0: what happens before it is of no account.
//   - Any other unit bends. Its deviation is bounded in closed form, see bent and tops.
//
// A walk of MLPs bounds deviations by rates that are made once of the weights, see rates. These
// cannot know which units are shut, and no convolution has them.

// A band is a value of the model on stretches of rays. A chord is the line between its values at
// both points.
type band struct {
	size, ld int       // numbers of a row, and from a row to the next
	z        []float64 // at the points [P, ld]
	// The deviation of the value from its chord inside a stretch is between centre - radius and
	// centre + radius, [S, ld].
	centre, radius []float64
	flat           []bool // [S]: centre and radius are 0 in all numbers
}

// resize makes room for so many points and stretches.
func (v *band) resize(points, stretches int) {
	v.z = resize(v.z, points*v.ld)
	v.centre, v.radius = resize(v.centre, stretches*v.ld), resize(v.radius, stretches*v.ld)
	v.flat = resize(v.flat, stretches)
}

func (v *band) point(p int) []float64 { return v.z[p*v.ld:][:v.size] }

func (v *band) deviation(s int) (centre, radius []float64) {
	return v.centre[s*v.ld:][:v.size], v.radius[s*v.ld:][:v.size]
}

// flatten says that stretch s of the value is its chord.
func (v *band) flatten(s int) {
	c, r := v.deviation(s)
	clear(c)
	clear(r)
	v.flat[s] = true
}

// A cut says which points of a band each of its stretches is between.
type cut struct {
	points int
	ends   [][2]int
	// rounds adds to the radius of every value what rounding may have done to it in float64, to
	// first order in the rounding of one operation.
	rounds bool
}

// A carrier is what an operation does to bands.
type carrier interface {
	// pack prepares weights. It is called once, before the first carry.
	pack()
	// carry writes to, at the points and on the stretches of a cut, for all bands that the
	// operation takes.
	carry(m *carrying, to *band, in []*band, c *cut)
}

// A carrying is the memory that one worker has for one operation: for its values, centres and
// radii, and for values that are summed.
type carrying struct {
	memory [4]memory[float64]
	x      [][]float64
	ldx    []int
	spare  [2][]float64
}

// A stretchNet carries bands through a program. It is made once, and its weights are packed at the
// first walk.
type stretchNet struct {
	prog     *lower.Program
	carriers []carrier
	takes    [][]int // by operation, the values that it takes: 0 is the image
	widths   []int   // by value: from a row of its band to the next
	head     head
	packed   bool
}

// newStretchNet returns the carriers of net's program. It returns an error that names the first
// operation that is not piecewise linear, or that is not known to be.
func newStretchNet[T Float](path string, prog *lower.Program, net *network[T]) (*stretchNet, error) {
	n := &stretchNet{prog: prog, carriers: make([]carrier, len(prog.Ops)), widths: make([]int, len(prog.Ops)+1)}
	n.widths[0] = prog.Image.Size()
	for i, op := range prog.Ops {
		n.widths[i+1] = op.Out.Size()
		var takes []int
		for _, j := range op.Takes {
			takes = append(takes, j+1)
		}
		n.takes = append(n.takes, takes)
	}
	for i := range prog.Ops {
		var err error
		if n.carriers[i], err = newCarrier(path, n, i, net); err != nil {
			return nil, fmt.Errorf("layer %d: %w", prog.Ops[i].Layer, err)
		}
	}
	n.rectifyBehind()
	n.head = newHead(n)
	return n, nil
}

// rectifyBehind has a ReLU that only a max-pool takes done by the max-pool, and nothing in its
// place.
func (n *stretchNet) rectifyBehind() {
	for i, op := range n.prog.Ops {
		if _, ok := n.carriers[i].(rectified); !ok || len(n.prog.Uses[i+1]) != 1 {
			continue
		}
		pool := n.prog.Uses[i+1][0].Op
		if t, ok := n.carriers[pool].(*tops); ok {
			t.rectified = true
			n.carriers[i], n.takes[pool] = nil, []int{op.Takes[0] + 1}
		}
	}
}

// pack packs all weights.
func (n *stretchNet) pack() {
	if n.packed {
		return
	}
	for _, c := range n.carriers[:n.head.from] {
		if c != nil {
			c.pack()
		}
	}
	n.head.pack()
	n.packed = true
}

// bytes is how much memory one point and one stretch take in all bands.
func (n *stretchNet) bytes() (bytes int) {
	for _, w := range n.widths {
		bytes += 3 * 8 * w
	}
	return bytes
}

// A stretchRoom is what one worker carries bands in.
type stretchRoom struct {
	rows    rows[float64]
	gemm    gemm.Scratch[float64]
	tiles   tileRoom[float64]
	listing listing[float64]
	bands   []band
	own     []carrying
	in      []*band
}

func (n *stretchNet) newRoom(vec gemm.Vector[float64]) *stretchRoom {
	w := &stretchRoom{rows: rows[float64]{vec: vec}, bands: make([]band, len(n.widths)), own: make([]carrying, len(n.carriers))}
	for j := range w.bands {
		w.bands[j].size, w.bands[j].ld = n.prog.Shape(j-1).Size(), n.widths[j]
	}
	for i := range w.own {
		for k := range w.own[i].memory {
			m := &w.own[i].memory[k]
			m.rows, m.gemm, m.tiles, m.listing = &w.rows, &w.gemm, &w.tiles, &w.listing
		}
	}
	return w
}

// carry computes all bands that the head needs from that of the image, w.bands[0].
func (n *stretchNet) carry(w *stretchRoom, c *cut) {
	for i := range n.prog.Ops[:n.head.from] {
		if n.carriers[i] == nil {
			continue
		}
		to := &w.bands[i+1]
		to.resize(c.points, len(c.ends))
		w.in = w.in[:0]
		for _, j := range n.takes[i] {
			w.in = append(w.in, &w.bands[j])
		}
		n.carriers[i].carry(&w.own[i], to, w.in, c)
		if c.rounds {
			addRounding(to, c, oneRounding)
		}
	}
}

// oneRounding is what one operation in float64 may change a number by, relative to it.
const oneRounding = 0x1p-52

// addRounding makes each radius larger by a share of the values at both ends.
func addRounding(v *band, c *cut, share float64) {
	for s, e := range c.ends {
		_, r := v.deviation(s)
		z0, z1 := v.point(e[0]), v.point(e[1])
		for i := range r {
			r[i] += float64(share * max(math.Abs(z0[i]), math.Abs(z1[i])))
		}
		v.flat[s] = false
	}
}
