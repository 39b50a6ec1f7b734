package gemm

import "unsafe"

// A Place is a place of a window: where its first channel lies, from where the window begins in the
// image, and where the weights of the place begin.
type Place struct{ X, W int32 }

// Windows are N windows over an image, of which each makes Channels numbers, one of each channel
// alone. All have the same Places. From a window to the next it is LDX elements in the image, and
// LDY in what the windows make.
type Windows struct {
	N, Channels int
	LDX, LDY    int
	Places      []Place
}

// A windowKernels has the operations on windows of one path. The places are pairs of numbers.
type windowKernels[T Float] struct {
	products       func(n, c int, y *T, ldy int, x *T, ldx int, places *int32, count int, w, from *T)
	largest, sum   func(n, c int, y *T, ldy int, x *T, ldx int, places *int32, count int)
	mean           func(n, c int, y *T, ldy int, x *T, ldx int, places *int32, count int, by T)
	hand, handMore func(n, c int, dx, x *T, ldx int, y, d *T, ldy int, places *int32, count int)
	// These are of Grouped. ldw is in bytes. pick has for each term the lane that each lane takes.
	grouped, groupedApart func(n, c int, y *T, ldy int, x *T, ldx int, places *int32, count int, w *T, ldw int, from *T, depth int, pick *int32)
	lanes                 int // of a vector of these
}

// check panics if y or x is too short for g. They begin with the first window. It returns how many
// channels the assembly takes; there are places if that is not 0.
func (x *Vector[T]) check(g *Windows, y, image []T) int {
	if g.N == 0 || g.Channels == 0 {
		return 0
	}
	_ = y[(g.N-1)*g.LDY+g.Channels-1]
	if len(g.Places) == 0 {
		return 0
	}
	last := (g.N-1)*g.LDX + g.Channels - 1
	for _, p := range g.Places {
		_ = image[int(p.X)]
		_ = image[int(p.X)+last]
	}
	return x.assembly(g.Channels)
}

// list returns the places as the assembly takes them.
func (g *Windows) list() (*int32, int) {
	return (*int32)(unsafe.Pointer(&g.Places[0])), len(g.Places)
}

// Products writes y = from + Σ w·x over the places of each window. Each product is rounded, and
// then added to the sum, in the order of Places. from has the number that a sum begins with, and w
// the weights of each place, by channel.
func (x Vector[T]) Products(g *Windows, y, from, image, w []T) {
	k := x.check(g, y, image)
	if k > 0 {
		_ = from[g.Channels-1]
		for _, p := range g.Places {
			_ = w[int(p.W)]
			_ = w[int(p.W)+g.Channels-1]
		}
		places, count := g.list()
		x.window.products(g.N, k, &y[0], g.LDY, &image[0], g.LDX, places, count, &w[0], &from[0])
	}
	if k < g.Channels {
		productsGo(g, k, y, from, image, w)
	}
}

// Largest writes to y the largest number of each window, or a NaN if there is one, or -Inf where
// there are no places.
func (x Vector[T]) Largest(g *Windows, y, image []T) {
	k := x.check(g, y, image)
	if k > 0 {
		places, count := g.list()
		x.window.largest(g.N, k, &y[0], g.LDY, &image[0], g.LDX, places, count)
	}
	if k < g.Channels {
		largestGo(g, k, y, image)
	}
}

// Sum writes y = Σ x over the places of each window, from 0 and in the order of Places.
func (x Vector[T]) Sum(g *Windows, y, image []T) {
	k := x.check(g, y, image)
	if k > 0 {
		places, count := g.list()
		x.window.sum(g.N, k, &y[0], g.LDY, &image[0], g.LDX, places, count)
	}
	if k < g.Channels {
		sumGo(g, k, y, image)
	}
}

// Mean is Sum, divided by by. If windows have one place, y may be the image.
func (x Vector[T]) Mean(g *Windows, y, image []T, by T) {
	k := x.check(g, y, image)
	if k > 0 {
		places, count := g.list()
		x.window.mean(g.N, k, &y[0], g.LDY, &image[0], g.LDX, places, count, by)
	}
	if k < g.Channels {
		meanGo(g, k, y, image, by)
	}
}

// Hand is the way back of Largest. d has the gradient at y, and the first place whose number is not
// below y (a NaN is not) has it in dx. The others have 0. With more, d is added to what dx has:
// windows that overlap must begin so, with what is not -0. The last window comes first.
func (x Vector[T]) Hand(g *Windows, dx, image, y, d []T, more bool) {
	k := x.check(g, y, image)
	_, _ = dx[:len(image)], d[:len(y)]
	if k > 0 {
		places, count := g.list()
		kernel := x.window.hand
		if more {
			kernel = x.window.handMore
		}
		i, o := (g.N-1)*g.LDX, (g.N-1)*g.LDY
		kernel(g.N, k, &dx[i], &image[i], -g.LDX, &y[o], &d[o], -g.LDY, places, count)
	}
	if k < g.Channels {
		handGo(g, k, dx, image, y, d, more)
	}
}

// A Groups is how the channels of windows are in groups of Depth each.
type Groups[T Float] struct {
	Depth int
	pick  []int32 // [Depth, lanes]: as 32-bit words, two a lane in float64
}

// widestGroup is how many channels a group of Grouped has at most. A product of each group of 16
// fills its vectors, and takes less time.
const widestGroup = 8

// Groups returns groups of so many channels for Grouped, or nil if the path has no Grouped for them:
// the groups of a vector must be whole ones.
func (x Vector[T]) Groups(depth, channels int) *Groups[T] {
	lanes := x.window.lanes
	if lanes == 0 || lanes%depth != 0 || depth > widestGroup || channels%depth != 0 || x.assembly(channels) != channels {
		return nil
	}
	g, words := &Groups[T]{Depth: depth}, int(unsafe.Sizeof(T(0)))/4
	for k := range depth {
		for lane := range lanes {
			g.pick = append(g.pick, int32(lane-lane%depth+k))
			g.pick = append(g.pick, make([]int32, words-1)...)
		}
	}
	return g
}

// Grouped writes y = from + Σ w·x over the places of each window and the channels k of the group
// that a channel is in. The weights of a place are [Depth, Channels]. Each number is one chain of
// fused multiply-adds, by places and then by k, as it is in Matrix.MulIm2col. With apart the chain of
// a place begins with 0, and is then added to the sum of those before it.
func (x Vector[T]) Grouped(g *Windows, groups *Groups[T], y, from, image, w []T, apart bool) {
	if x.check(g, y, image) == 0 {
		for i := range g.N { // there are no places
			copy(y[i*g.LDY:][:g.Channels], from)
		}
		return
	}
	_ = from[g.Channels-1]
	for _, p := range g.Places {
		_ = w[int(p.W)]
		_ = w[int(p.W)+groups.Depth*g.Channels-1]
	}
	kernel := x.window.grouped
	if apart {
		kernel = x.window.groupedApart
	}
	places, count := g.list()
	kernel(g.N, g.Channels, &y[0], g.LDY, &image[0], g.LDX, places, count, &w[0], g.Channels*int(unsafe.Sizeof(T(0))), &from[0], groups.Depth, &groups.pick[0])
}
