// Package gemm multiplies matrices, C ← C + A·B, on one goroutine. A is dense or sparse by rows.
// The package also has the operations on vectors that go with it.
//
// B is packed once and used often, as weights are. A is taken as it stands. Every element of C is
// one chain of fused multiply-adds over k in rising order. That holds whatever the shape, the
// blocking, the kernel, or the other rows of A. A sparse A leaves out terms that are zero, which
// changes nothing but the sign of zeros. So a result does not depend on the batch size, and AVX2,
// AVX-512 and NEON agree bit for bit. Only the plain-Go kernel may differ, where the compiler does
// not fuse.
package gemm

//go:generate go run -modfile=../../tools/go.mod asm/gen.go -out gemm_amd64.s -stubs gemm_amd64.go -pkg gemm
//go:generate go run -modfile=../../tools/go.mod asm/vector.go -out vector_amd64.s -stubs vector_amd64.go -pkg gemm
//go:generate go run -modfile=../../tools/go.mod asm/window.go -out window_amd64.s -stubs window_amd64.go -pkg gemm
//go:generate go run -modfile=../../tools/go.mod asm/winograd.go -out winograd_amd64.s -stubs winograd_amd64.go -pkg gemm
//go:generate go run -modfile=../../tools/go.mod asm/activation.go -table activations_amd64.go -out activation_amd64.s -stubs activation_amd64.go -pkg gemm
//go:generate go run asm/arm64.go -out gemm_arm64.s

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"
)

// Float is an element type.
type Float interface{ float32 | float64 }

// A kernel is the arithmetic of one path: AVX-512, AVX2, NEON or plain Go (generic.go). A panel of
// B is one vector to some vectors wide.
type kernel[T Float] struct {
	path   string // "avx512", "avx2", "neon", "go"
	lanes  int    // elements in a vector
	index  sets[indexKernel[T]]
	strips sets[stripKernel[T]]
	// These compute two rows, and one, with two whole panels that lie side by side. They are nil on
	// a path whose panels are wide enough for so few rows.
	pairTwo, pairOne pairKernel[T]

	// MulSelected uses these. They are nil on a path that does not have them.
	gather     []gatherKernel[T] // by the number of sources less 1
	gatherMore gatherKernel[T]   // adds a source
	prefetch   func(rows int, c *uint8, stride, bytes int)
}

// An indexKernel is a product with listed rows of a panel, see kernelGo.
type indexKernel[T Float] func(n int, list *uint32, a *T, ars, acs int, w, init *T, ldi int, c *T, ldc int)

// A pairKernel is an indexKernel for two panels, of which the second lies apart elements behind the
// first.
type pairKernel[T Float] func(n int, list *uint32, a *T, ars, acs int, w *T, apart int, init *T, ldi int, c *T, ldc int)

// Paths lists the kernels that this processor can run, best first.
func Paths() []string {
	var names []string
	for _, k := range kernels[float32]() {
		names = append(names, k.path)
	}
	return names
}

// EnvPath names the environment variable that forces one of Paths.
const EnvPath = "ADVSWEEP_KERNEL"

// Path returns the path of that name. If name is empty, it returns the one that EnvPath forces, or
// else the best. It returns an error if this processor has no such path.
func Path(name string) (string, error) {
	from := ""
	if name == "" {
		name, from = os.Getenv(EnvPath), EnvPath+"="
	}
	paths := Paths()
	if name == "" {
		return paths[0], nil
	}
	for _, p := range paths {
		if p == name {
			return p, nil
		}
	}
	return "", fmt.Errorf("gemm: %s%s: no such kernel here, want one of %s", from, name, strings.Join(paths, ", "))
}

// blockBytes bounds a block of a panel of B. The block must stay in a second-level cache of 512 KB
// or more, beside the rows of A that go past it.
const blockBytes = 400 << 10

// A Matrix is a right-hand matrix B [K, N], packed for one kernel.
type Matrix[T Float] struct {
	K, N     int
	kernel   kernel[T]
	width    int      // columns of a panel; the last panel has only the vectors that it needs
	depth    int      // rows of a block
	data     []T      // the panels, each [K][width], zero behind column N
	identity []uint32 // 0, 1, … K-1: the list of a dense row
	zero     []T      // [width]
}

// NewMatrix makes room for a matrix [k, n] on a path that Path returned. Its elements are zero
// until Pack.
func NewMatrix[T Float](path string, k, n int) *Matrix[T] {
	m := &Matrix[T]{K: k, N: n}
	for _, m.kernel = range kernels[T]() {
		if m.kernel.path == path {
			break
		}
	}
	m.width = m.kernel.lanes * len(m.kernel.index.one)
	deepest := blockBytes / (m.width * int(unsafe.Sizeof(T(0))))
	blocks := max(1, (k+deepest-1)/deepest)
	m.depth = (k + blocks - 1) / blocks
	m.data = make([]T, k*m.Padded())
	m.zero = make([]T, m.width)
	m.identity = make([]uint32, k)
	for i := range m.identity {
		m.identity[i] = uint32(i)
	}
	return m
}

// Abs is the matrix of the magnitudes of m's elements. It shares what m has beside them.
func (m *Matrix[T]) Abs() *Matrix[T] {
	a := *m
	a.data = make([]T, len(m.data))
	for i, v := range m.data {
		a.data[i] = max(v, -v)
	}
	return &a
}

// Padded is N rounded up to whole vectors of the path.
func (m *Matrix[T]) Padded() int {
	return (m.N + m.kernel.lanes - 1) / m.kernel.lanes * m.kernel.lanes
}

// panel returns the panel [K][width] that begins at column j0, and its width.
func (m *Matrix[T]) panel(j0 int) ([]T, int) {
	width := min(m.width, m.Padded()-j0)
	return m.data[j0*m.K:][:m.K*width], width
}

// Pack copies b, with element (k, n) at b[k·rs + n·cs]. Use strides (N, 1) for a B that is
// row-major, and (1, K) for the transpose of a row-major [N, K].
func (m *Matrix[T]) Pack(b []T, rs, cs int) {
	if m.K == 0 {
		return
	}
	for j0 := 0; j0 < m.N; j0 += m.width {
		m.PackPart(j0, b[j0*cs:], rs, cs)
	}
}

// Part is how many columns PackPart packs at a time: some vectors.
func (m *Matrix[T]) Part() int { return m.width }

// PackPart packs columns j0 to j0+Part()-1, as far as there are such, where j0 is a multiple of
// Part(). Element (k, n) is b[k·rs + (n-j0)·cs].
func (m *Matrix[T]) PackPart(j0 int, b []T, rs, cs int) {
	if m.K > 0 {
		p, width := m.panel(j0)
		pack(p, b, cs, rs, min(width, m.N-j0), width)
	}
}

// A Scratch is the memory that MulAdd, MulIm2col, MulListed and MulSelected work in. The zero value
// is ready. One goroutine uses it at a time.
type Scratch[T Float] struct {
	tile     []T
	selected selected
	terms    []int32 // of an Im2col
	begun    []bool  // by window, see listedPanel.row
}

// MulAdd computes C ← C + A·B, with B = m. A is [rows, K] with element (i, k) at a[i·rs + k·cs]. C
// is [rows, N], row-major with stride ldc. C must not overlap A. Start C from zero or from a bias.
func (m *Matrix[T]) MulAdd(c []T, ldc int, a []T, rs, cs, rows int, s *Scratch[T]) {
	if rows == 0 || m.N == 0 || m.K == 0 {
		return
	}
	_ = c[(rows-1)*ldc+m.N-1]
	_ = a[(rows-1)*rs+(m.K-1)*cs]
	for k0 := 0; k0 < m.K; k0 += m.depth {
		list := m.identity[k0:min(k0+m.depth, m.K)]
		for j0 := 0; j0 < m.N; j0 += m.width {
			p := m.part(j0, s)
			for i := 0; i < rows; {
				h, mulAdd := m.kernel.index.of(rows-i, p.vectors)
				tile, ar := c[i*ldc+j0:], &a[i*rs+k0*cs]
				if p.w == p.width {
					mulAdd(len(list), &list[0], ar, rs, cs, &p.b[0], &tile[0], ldc, &tile[0], ldc)
				} else {
					init, ldi := p.begin(h, nil, tile, ldc)
					mulAdd(len(list), &list[0], ar, rs, cs, &p.b[0], init, ldi, &p.tile[0], p.width)
					p.end(h, tile, ldc)
				}
				i += h
			}
		}
	}
}

// A part is one panel of B as products use it, with a tile for the rows of C where it is no whole
// vectors.
type part[T Float] struct {
	b        []T // [K][width]
	w, width int // columns, and those with padding
	vectors  int
	tile     []T // [GroupRows, width]
}

// part returns the panel that begins at column j0.
func (m *Matrix[T]) part(j0 int, s *Scratch[T]) part[T] {
	if cap(s.tile) < GroupRows*m.width {
		s.tile = make([]T, GroupRows*m.width)
	}
	b, width := m.panel(j0)
	return part[T]{b, min(width, m.N-j0), width, width / m.kernel.lanes, s.tile}
}

// begin returns what a product of so many rows starts from where the part is no whole vectors, for
// it works on the tile then: on from, or on a copy of the rows of c, which lie ldc apart, if from
// is nil.
func (p *part[T]) begin(rows int, from, c []T, ldc int) (init *T, ldi int) {
	if from != nil {
		return &from[0], 0
	}
	for r := range rows {
		copy(p.tile[r*p.width:][:p.w], c[r*ldc:])
	}
	return &p.tile[0], p.width
}

// end copies so many rows of the tile to c, where they lie ldc apart.
func (p *part[T]) end(rows int, c []T, ldc int) {
	for r := range rows {
		copy(c[r*ldc:][:p.w], p.tile[r*p.width:])
	}
}

// GroupRows is how many rows a kernel takes at once at most, but for a narrow kernel. Two rows take
// about as long as one, since one row waits for B.
const GroupRows = 5

// A Group is rows of A, by the columns in which any of them is not zero.
type Group[T Float] struct {
	Row  int      // of C, the first
	Rows int      // GroupRows, 2 or 1
	List []uint32 // columns k, rising
	A    []T      // [Rows][LDA]: A[r·LDA+t] is the element of row r in column List[t]
	LDA  int
}

// MulAddGroups computes C ← C + A·B for rows of A given as groups. The bits are those of MulAdd,
// but for the sign of zeros: only products with zero are left out of a chain. C has rows of stride
// ldc >= Padded(). Its columns N to Padded()-1 are written too, with what is there plus 0. C must
// not overlap A.
func (m *Matrix[T]) MulAddGroups(c []T, ldc int, groups []Group[T]) {
	m.mulGroups(c, ldc, groups, nil)
}

// MulGroups computes C ← from + A·B in the rows of the groups. from [Padded()] is a bias or zeros.
// The bits are those of MulAddGroups on rows that are copies of from. What was in C does not
// matter. Columns N to Padded()-1 are written too, with what from has there plus 0. Rows of a
// group whose list is empty become from. C must not overlap A or from.
func (m *Matrix[T]) MulGroups(c []T, ldc int, groups []Group[T], from []T) {
	m.mulGroups(c, ldc, groups, from[:m.Padded()])
}

// mulGroups is MulGroups, or MulAddGroups if from is nil.
func (m *Matrix[T]) mulGroups(c []T, ldc int, groups []Group[T], from []T) {
	if m.N == 0 {
		return
	}
	for i := range groups {
		if g := &groups[i]; len(g.List) == 0 {
			for r := g.Row; r < g.Row+g.Rows && from != nil; r++ {
				copy(c[r*ldc:][:len(from)], from)
			}
		} else {
			_ = c[(g.Row+g.Rows-1)*ldc+m.Padded()-1]
			_ = g.A[(g.Rows-1)*g.LDA+len(g.List)-1]
			_ = m.identity[g.List[len(g.List)-1]]
		}
	}
	// A panel stays in the cache for all groups.
	for k0 := 0; k0 < m.K; k0 += m.depth {
		paired := false // groups of few rows have had this panel with the one before
		for j0 := 0; j0 < m.N; j0 += m.width {
			b, width := m.panel(j0)
			pairs := !paired && m.kernel.pairTwo != nil && j0+2*m.width <= m.Padded()
			for i := range groups {
				g := &groups[i]
				few := g.Rows < GroupRows
				if paired && few {
					continue
				}
				lo, hi := 0, len(g.List)
				if m.depth < m.K {
					lo, _ = slices.BinarySearch(g.List, uint32(k0))
					hi, _ = slices.BinarySearch(g.List, uint32(k0+m.depth))
				}
				if lo < hi {
					p := groupPanel[T]{lo, hi, j0, b, width, pairs && few}
					p.multiply(m, c, ldc, g, from)
				}
			}
			paired = pairs
		}
	}
}

// A groupPanel is one panel, or two, with the terms lo to hi-1 of a group.
type groupPanel[T Float] struct {
	lo, hi int
	j0     int // the column where it begins
	b      []T
	width  int
	pair   bool
}

// multiply adds what the terms and the panel make to the rows of g in c.
func (p *groupPanel[T]) multiply(m *Matrix[T], c []T, ldc int, g *Group[T], from []T) {
	for r := 0; r < g.Rows; {
		tile := &c[(g.Row+r)*ldc+p.j0]
		init, ldi := tile, ldc
		if p.lo == 0 && from != nil { // nothing has been added yet
			init, ldi = &from[p.j0], 0
		}
		a, n := &g.A[r*g.LDA+p.lo], p.hi-p.lo
		switch rows := g.Rows - r; {
		case p.pair && rows >= 2:
			m.kernel.pairTwo(n, &g.List[p.lo], a, g.LDA, 1, &p.b[0], p.width*m.K, init, ldi, tile, ldc)
			r += 2
		case p.pair:
			m.kernel.pairOne(n, &g.List[p.lo], a, g.LDA, 1, &p.b[0], p.width*m.K, init, ldi, tile, ldc)
			r++
		default:
			h, mulAdd := m.kernel.index.of(rows, p.width/m.kernel.lanes)
			mulAdd(n, &g.List[p.lo], a, g.LDA, 1, &p.b[0], init, ldi, tile, ldc)
			r += h
		}
	}
}

// packDepth is how many rows of a panel pack fills at a time where the columns of the source are
// contiguous. These rows must stay in the first-level cache.
const packDepth = 64

// pack writes dst [depth][width]: dst[k·width + j] = src[j·js + k·ks] for j < w, and 0 for the
// rest.
func pack[T Float](dst, src []T, js, ks, w, width int) {
	depth := len(dst) / width
	switch {
	case js == 1:
		for k := range depth {
			row := dst[k*width:][:width]
			copy(row[:w], src[k*ks:])
			clear(row[w:])
		}
	case ks == 1:
		for k0 := 0; k0 < depth; k0 += packDepth {
			d := dst[k0*width : min(k0+packDepth, depth)*width]
			n := len(d) / width
			j := 0
			for ; j+2 <= w; j += 2 {
				p, q := src[j*js+k0:][:n], src[(j+1)*js+k0:][:n]
				d := d[j:]
				for k := range p {
					pair := d[k*width:][:2]
					pair[0], pair[1] = p[k], q[k]
				}
			}
			if j < w {
				for k, v := range src[j*js+k0:][:n] {
					d[k*width+j] = v
				}
			}
			for k := range n {
				clear(d[k*width:][w:width])
			}
		}
	default:
		for k := range depth {
			row := dst[k*width:][:width]
			clear(row)
			for j := range w {
				row[j] = src[j*js+k*ks]
			}
		}
	}
}
