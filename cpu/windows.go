package cpu

import (
	"slices"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// A span is windows side by side that have the same places in the image: all of one row, or those
// of one column in its border. The first of them makes element to of the output, and begins at
// element from of the image.
type span struct {
	gemm.Windows
	to, from int
}

// A spanner makes spans of one operation.
type spanner struct {
	spans []span
	lists [][]gemm.Place // those of the spans, each once
	found []gemm.Place   // of the window in hand, X from the beginning of the image
	apart bool           // the window in hand begins a row
}

// add adds a window, whose places are in found, to the span before it, or begins a span. ldx and
// ldy are those of a span.
func (s *spanner) add(to, channels, ldx, ldy int) {
	from := int32(0)
	if len(s.found) > 0 {
		from = slices.MinFunc(s.found, func(a, b gemm.Place) int { return int(a.X - b.X) }).X
	}
	places := slices.Clone(s.found)
	for i := range places {
		places[i].X -= from
	}
	s.found = s.found[:0]
	apart := s.apart
	s.apart = false
	if n := len(s.spans) - 1; n >= 0 && !apart {
		last := &s.spans[n]
		if last.to+last.N*last.LDY == to && last.from+last.N*last.LDX == int(from) && slices.Equal(last.Places, places) {
			last.N++
			return
		}
	}
	i := slices.IndexFunc(s.lists, func(l []gemm.Place) bool { return slices.Equal(l, places) })
	if i < 0 {
		i = len(s.lists)
		s.lists = append(s.lists, places)
	}
	s.spans = append(s.spans, span{gemm.Windows{N: 1, Channels: channels, LDX: ldx, LDY: ldy, Places: s.lists[i]}, to, int(from)})
}

// there returns the windows of l, each channel for itself, by rows and columns. The places of one
// are those that are no padding, by rows and columns. Their weights are [KH·KW, C].
func there(l lower.Unfold) []span {
	var s spanner
	c := l.Out.C
	for r := range l.Out.H {
		s.apart = true
		for col := range l.Out.W {
			for u := range l.Kernel[0] {
				for v := range l.Kernel[1] {
					y, x := r*l.Stride[0]+u*l.Dilation[0]-l.Pad[0], col*l.Stride[1]+v*l.Dilation[1]-l.Pad[1]
					if y >= 0 && y < l.In.H && x >= 0 && x < l.In.W {
						s.found = append(s.found, gemm.Place{X: int32((y*l.In.W + x) * c), W: int32((u*l.Kernel[1] + v) * c)})
					}
				}
			}
			s.add((r*l.Out.W+col)*c, c, l.Stride[1]*c, c)
		}
	}
	return s.spans
}

// An order is that of the windows that a pixel is in, within a row of windows. A gradient is the
// sum over them in an order.
type order int

const (
	byPlace  order = iota // by rising column of the place that the pixel has in them
	byWindow              // by rising column of the windows
)

// back returns, as windows over the output of l, the windows that each pixel of the image is in, by
// rising row of windows and then in order o. A window is ld elements long there. place says where a
// place of a window is, for a pixel that has it; both count by rows and columns.
func back(l lower.Unfold, o order, ld int, place func(window, place int) gemm.Place) []span {
	var s spanner
	c := l.In.C
	for y := range l.In.H {
		for first := range min(l.Stride[1], l.In.W) {
			s.apart = true
			for x := first; x < l.In.W; x += l.Stride[1] {
				for u := l.Kernel[0] - 1; u >= 0; u-- {
					for v := range l.Kernel[1] {
						if o == byWindow {
							v = l.Kernel[1] - 1 - v
						}
						h, w := y+l.Pad[0]-u*l.Dilation[0], x+l.Pad[1]-v*l.Dilation[1]
						r, col := h/l.Stride[0], w/l.Stride[1]
						if h%l.Stride[0] == 0 && w%l.Stride[1] == 0 && h >= 0 && w >= 0 && r < l.Out.H && col < l.Out.W {
							s.found = append(s.found, place(r*l.Out.W+col, u*l.Kernel[1]+v))
						}
					}
				}
				s.add((y*l.In.W+x)*c, c, ld, l.Stride[1]*c)
			}
		}
	}
	return s.spans
}

// backByPlace is back for windows of one number, and weights, of each channel.
func backByPlace(l lower.Unfold) []span {
	c := l.Out.C
	return back(l, byPlace, c, func(window, place int) gemm.Place { return gemm.Place{X: int32(window * c), W: int32(place * c)} })
}
