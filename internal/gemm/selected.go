package gemm

import (
	"slices"
	"unsafe"
)

// A Selection is some rows of A, in groups, and the columns of C that are wanted for all of them.
type Selection[T Float] struct {
	Columns []uint32 // of C, rising
	Groups  []Group[T]
}

// A block of MulSelected has some rows of B, in all columns. selectedBytes bounds it, since it
// should stay in a second-level cache of 1 MB while all selections go past it. selectedRows bounds
// it too, since most of what is gathered from it for a panel should stay in the first-level cache.
const (
	selectedBytes = 512 << 10
	selectedRows  = 128
)

// selectedDepth is how many rows of B a block of MulSelected has.
func (m *Matrix[T]) selectedDepth() int {
	return min(m.K, selectedRows, max(16, selectedBytes/(m.Padded()*int(unsafe.Sizeof(T(0))))))
}

// A gatherKernel gathers a vector of chosen columns from each of n rows of B. The columns lie in
// several source vectors. For l = 0 … lanes-1
//
//	dst[list[i]·ldd + l] = src[list[i]·stride + at[s] + pick[s·lanes + l]]
//
// with the one s for which pick is not negative. Where there is no such s, the result is 0. In the
// kernel that adds a source it is what was there. n is not 0.
type gatherKernel[T Float] func(n int, list *uint32, src *T, stride int, at *int, pick *int8, dst *T, ldd int)

// A selected is the memory of MulSelected besides the tile [K][width], whose rows have what was
// gathered from the rows of B in the block. locate sets where columns are, and union what a block
// has.
type selected struct {
	// These say where the chosen columns are, for all selections together.
	first  []int  // by vector of chosen columns: its first source
	at     []int  // by source: where it begins in row 0 of B
	stride []int  // by source: the width of the panel that it is in
	pick   []int8 // by source and lane: the element of the source, or -1

	next  []int    // by group, of all selections: the first element of List that is not done
	count []int    // by group, of one selection: how many elements from next on are in the block
	rows  []uint32 // the rows of B in the block that any group of the selection lists
}

// MulSelected computes C ← A·B in the wanted columns of each selection. The bits are those of
// MulGroups from zeros. C is compact: element j of a row belongs to column Columns[j]. Its stride
// ldc must not be less than len(Columns) rounded up to whole vectors; Padded() is enough. The
// columns from len(Columns) up to there are written too. Anything may be in C before. C must not
// overlap A. A row of C is in one selection only.
//
// Gathering the columns of a selection takes as long as the product of 5 to 10 rows with these
// columns. So this is the faster way where many rows with similar lists want few columns.
// BenchmarkMulSelected compares the two.
func (m *Matrix[T]) MulSelected(c []T, ldc int, selections []Selection[T], s *Scratch[T]) {
	if m.N == 0 {
		return
	}
	depth, lanes := m.selectedDepth(), m.kernel.lanes
	if need := m.K * m.width; cap(s.tile) < need {
		s.tile = make([]T, need)
	}
	tile := s.tile[:m.K*m.width]
	w := &s.selected
	w.first, w.at, w.stride, w.pick, w.next = w.first[:0], w.at[:0], w.stride[:0], w.pick[:0], w.next[:0]
	for i := range selections {
		x := &selections[i]
		for j := range x.Groups {
			w.next = append(w.next, 0)
			g, padded := &x.Groups[j], (len(x.Columns)+lanes-1)/lanes*lanes
			switch {
			case len(x.Columns) == 0:
			case len(g.List) == 0:
				for r := g.Row; r < g.Row+g.Rows; r++ {
					clear(c[r*ldc:][:padded])
				}
			default:
				_ = c[(g.Row+g.Rows-1)*ldc+padded-1]
				_ = g.A[(g.Rows-1)*g.LDA+len(g.List)-1]
				_ = m.identity[g.List[len(g.List)-1]]
				_ = m.data[int(x.Columns[len(x.Columns)-1])*m.K]
			}
		}
		m.locate(w, x.Columns)
	}
	w.first = append(w.first, len(w.at))

	for k0 := 0; k0 < m.K; k0 += depth {
		next, first := w.next, w.first
		for i := range selections {
			x := &selections[i]
			union(w, x.Groups, next, k0, min(k0+depth, m.K))
			for j0 := 0; j0 < len(x.Columns); j0 += m.width {
				columns := x.Columns[j0:min(j0+m.width, len(x.Columns))]
				vectors := (len(columns) + lanes - 1) / lanes
				width := vectors * lanes
				switch {
				case len(w.rows) == 0:
				case m.kernel.gather == nil:
					m.gatherGo(tile, width, columns, w.rows)
				default:
					m.gather(tile, width, first[:vectors+1], w)
				}
				first = first[vectors:]
				if m.kernel.prefetch != nil { // short kernels would wait for C
					size := int(unsafe.Sizeof(T(0)))
					for j, n := range w.count {
						if g := &x.Groups[j]; n > 0 {
							m.kernel.prefetch(g.Rows, (*uint8)(unsafe.Pointer(&c[g.Row*ldc+j0])), ldc*size, width*size)
						}
					}
				}
				for j, n := range w.count {
					g := &x.Groups[j]
					for r := 0; r < g.Rows && n > 0; {
						h, mulAdd := m.kernel.index.of(g.Rows-r, vectors)
						to := &c[(g.Row+r)*ldc+j0]
						init, ldi := to, ldc
						if next[j] == 0 { // nothing has been added yet
							init, ldi = &m.zero[0], 0
						}
						mulAdd(n, &g.List[next[j]], &g.A[r*g.LDA+next[j]], g.LDA, 1, &tile[0], init, ldi, to, ldc)
						r += h
					}
				}
			}
			for j, n := range w.count {
				next[j] += n
			}
			next = next[len(w.count):]
		}
	}
}

// union sets rows and count to what groups list, from next on, of the rows k0 to end-1 of B.
func union[T Float](w *selected, groups []Group[T], next []int, k0, end int) {
	var listed [selectedRows]uint8
	w.count, w.rows = w.count[:0], slices.Grow(w.rows[:0], selectedRows)[:selectedRows]
	for j := range groups {
		list := groups[j].List[next[j]:]
		n := 0
		for n < len(list) && int(list[n]) < end {
			listed[int(list[n])-k0] = 1
			n++
		}
		w.count = append(w.count, n)
	}
	n := 0
	for i, l := range listed[:end-k0] {
		// Written before it is known to count, since a branch could not be predicted.
		w.rows[n] = uint32(k0 + i)
		n += int(l)
	}
	w.rows = w.rows[:n]
}

// locate appends the sources of the chosen columns: the vectors of panels in which they lie.
func (m *Matrix[T]) locate(w *selected, columns []uint32) {
	lanes := uint32(m.kernel.lanes)
	last := ^uint32(0)
	for j, k := range columns {
		lane := j % int(lanes)
		if lane == 0 {
			w.first = append(w.first, len(w.at))
		}
		if v := k / lanes; lane == 0 || v != last {
			last = v
			j0 := int(v*lanes) / m.width * m.width
			w.at = append(w.at, j0*m.K+int(v*lanes)-j0)
			w.stride = append(w.stride, min(m.width, m.Padded()-j0))
			for range lanes {
				w.pick = append(w.pick, -1)
			}
		}
		w.pick[len(w.pick)-int(lanes)+lane] = int8(k % lanes)
	}
}

// gather fills w.rows of tile [K][width] with the chosen columns whose sources begin at first.
func (m *Matrix[T]) gather(tile []T, width int, first []int, w *selected) {
	lanes, n, list := m.kernel.lanes, len(w.rows), &w.rows[0]
	for v := range len(first) - 1 {
		dst := &tile[v*lanes]
		for s := first[v]; s < first[v+1]; {
			// One kernel takes several sources that have one stride. The others come one by one.
			stride, h, kernel := w.stride[s], 1, m.kernel.gatherMore
			if s == first[v] {
				for h < len(m.kernel.gather) && s+h < first[v+1] && w.stride[s+h] == stride {
					h++
				}
				kernel = m.kernel.gather[h-1]
			}
			kernel(n, list, &m.data[0], stride, &w.at[s], &w.pick[s*lanes], dst, width)
			s += h
		}
	}
}

// gatherGo fills rows of tile [K][width] with the chosen columns, and 0 behind them.
func (m *Matrix[T]) gatherGo(tile []T, width int, columns, rows []uint32) {
	for j, k := range columns {
		p, stride := m.panel(int(k) / m.width * m.width)
		p = p[int(k)%m.width:]
		for _, row := range rows {
			tile[int(row)*width+j] = p[int(row)*stride]
		}
	}
	for _, row := range rows {
		clear(tile[int(row)*width:][len(columns):width])
	}
}
