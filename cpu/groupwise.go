package cpu

import (
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// groupsOf returns the groups of a convolution for gemm.Vector.Grouped, or nil if it has none such:
// groups as wide on both sides, narrow ones.
func groupsOf[T Float](path string, places lower.Unfold) *gemm.Groups[T] {
	if places.Groups == 1 || places.In.C != places.Out.C {
		return nil
	}
	return gemm.NewVector[T](path).Groups(places.Depth(), places.In.C)
}

// A groupwise is a convolution whose groups are narrow. A product of each group would fill a vector
// badly, and its segments would be short. It gives the bits of im2col.
//
// New makes it. Only pack changes its weights.
type groupwise[T Float] struct {
	windows[T]
	vec    gemm.Vector[T]
	groups *gemm.Groups[T]
	row    gemm.Windows // one row of windows
	w      []T          // [terms of a window, channels]
	from   []T          // b, or zeros
}

func newGroupwise[T Float](path string, places lower.Unfold, g *gemm.Groups[T], bias []T, weight func(o, c, u, v int) T) *groupwise[T] {
	c := places.Out.C
	l := &groupwise[T]{windows: newWindows[T](places), vec: gemm.NewVector[T](path), groups: g, from: make([]T, c)}
	l.row = gemm.Windows{N: l.Out.W, Channels: c, LDX: l.reads.ColStride, LDY: c}
	for i, s := range l.reads.Segments { // each a place
		l.row.Places = append(l.row.Places, gemm.Place{X: int32(s.At), W: int32(i * g.Depth * c)})
	}
	l.w = make([]T, len(l.row.Places)*g.Depth*c)
	l.pack(weight, bias)
	return l
}

func (l *groupwise[T]) pack(weight func(o, c, u, v int) T, bias []T) {
	copy(l.from, bias)
	l.Terms(func(k, c, u, v int) {
		for o := range l.Out.C {
			l.w[k*l.Out.C+o] = weight(o, c, u, v)
		}
	})
}

func (l *groupwise[T]) apply(m *memory[T], frame *[]T, n int, y []T, ldy int, x []T, ldx int) {
	x, ldx = l.frames(frame, n, x, ldx)
	for i := range n {
		for r := range l.Out.H {
			to, from := y[i*ldy+r*l.Out.W*l.Out.C:], x[i*ldx+r*l.reads.RowStride:]
			l.vec.Grouped(&l.row, l.groups, to, l.from, from, l.w, false)
		}
	}
	m.rows.flop += 2 * uint64(n*l.Out.Size()) * uint64(len(l.w)/l.Out.C)
}

// A groupwiseBack is the gradient at the input of a groupwise, where that is no convolution of d
// itself. It gives the bits of col2im.
type groupwiseBack[T Float] struct {
	lower.Unfold
	vec    gemm.Vector[T]
	groups *gemm.Groups[T]
	back   []span
	w      []T // [KH·KW, filters of a group, channels]
	zeros  []T
}

func newGroupwiseBack[T Float](path string, places lower.Unfold, g *gemm.Groups[T], weight func(o, c, u, v int) T) *groupwiseBack[T] {
	c := places.Out.C
	terms := func(window, place int) gemm.Place {
		return gemm.Place{X: int32(window * c), W: int32(place * g.Depth * c)}
	}
	l := &groupwiseBack[T]{
		Unfold: places, vec: gemm.NewVector[T](path), groups: g, back: back(places, byWindow, c, terms),
		w: make([]T, places.Places()*g.Depth*places.In.C), zeros: make([]T, places.In.C),
	}
	l.pack(weight, nil)
	return l
}

// pack takes other weights. There is no bias.
func (l *groupwiseBack[T]) pack(weight func(o, c, u, v int) T, _ []T) {
	depth := l.groups.Depth
	// o is a filter of the group, of which there are as many as channels
	l.Terms(func(k, o, u, v int) {
		for c := range l.In.C {
			l.w[k*l.In.C+c] = weight(c-c%depth+o, c%depth, u, v)
		}
	})
}

func (l *groupwiseBack[T]) apply(m *memory[T], _ *[]T, n int, dx []T, lddx int, d []T, ldd int) {
	for i := range n {
		for k := range l.back {
			s := &l.back[k]
			l.vec.Grouped(&s.Windows, l.groups, dx[i*lddx+s.to:], l.zeros, d[i*ldd+s.from:], l.w, true)
		}
	}
	m.rows.flop += 2 * uint64(n*l.Out.Size()) * uint64(len(l.w)/l.In.C)
}
